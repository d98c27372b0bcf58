/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a volume or snapshot to whoever takes it: in ascending order, holes left out.
 * Bounded: IMAGE_OUT_DEPTH reads of at most 512 KiB are under way.
 *
 * Owner: one thread, the one of the dev.
 */
#ifndef VMS_IMAGE_COPYOUT_H
#define VMS_IMAGE_COPYOUT_H

#include "utils/image/dev.h"

#define IMAGE_OUT_DEPTH 16u

struct image_copyout {
	struct image_dev *dev;
	struct image_vol *vol;
	uint64_t from, to; /* bytes of the volume, multiples of 4096 */
	void *arg;
	/* data: borrowed for the call. 0 or what stops the copy. */
	int (*data)(void *arg, uint64_t offset, const uint8_t *data, uint64_t len,
		    struct vms_errmsg *msg);
	/* Everything before done_bytes has been handed out. true: stop. */
	bool (*progress)(void *arg, uint64_t done_bytes);
};

/* VMS_E_CANCELLED: stopped by progress(). */
int image_copy_out(struct image_copyout *c, struct vms_errmsg *msg);

#endif
