/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a source into a volume: zeros become holes, what the cluster has already is
 * referred to by fingerprint where the volume allows it, and what the volume has at the
 * same place is left alone. Bounded: IMAGE_DEPTH blocks of
 * 512 KiB are under way.
 *
 * Owner: one thread, the one of the dev.
 */
#ifndef VMS_IMAGE_COPYIN_H
#define VMS_IMAGE_COPYIN_H

#include "utils/image/dev.h"
#include "utils/image/source.h"

#define IMAGE_DEPTH 16u

struct image_counts {
	uint64_t read;	     /* bytes of the image looked at, holes included */
	uint64_t zero;	     /* holes and zeros */
	uint64_t referenced; /* found in the cluster: only fingerprints were sent */
	uint64_t same;	     /* what the volume had there already */
	uint64_t sent;	     /* as data */
};

struct image_copyin {
	struct image_dev *dev;
	struct image_vol *vol;
	/* Pieces in ascending order, not beyond the volume's end, gaps allowed; as
	 * image_src_next(). */
	void *src;
	int (*next)(void *src, uint8_t *buf, struct image_piece *p, struct vms_errmsg *msg);
	/* Ask the cluster by fingerprint before data is sent; salt of the volume's
	 * branch. */
	bool ask;
	uint8_t salt[32];
	uint32_t salt_bytes;
	bool blank;		/* the volume holds nothing but zeros where the image has them */
	uint64_t checkpoint_ms; /* flush, and tell checkpoint(), this often */
	void *arg;
	/* All of the image before done_bytes is durable. 0 or what stops the copy. */
	int (*checkpoint)(void *arg, uint64_t done_bytes, struct vms_errmsg *msg);
	/* After each block; true: stop at the next place to go on from. */
	bool (*progress)(void *arg, uint64_t done_bytes);
	struct image_counts n;
};

/* From the source's place to its end, then a flush. VMS_E_CANCELLED: stopped by
 * progress(), after a checkpoint. The image must not be longer than the volume. */
int image_copy_in(struct image_copyin *c, struct vms_errmsg *msg);
/* Makes [from, to) of the volume a hole; multiples of 4096. */
int image_zero_out(struct image_dev *dev, struct image_vol *vol, uint64_t from, uint64_t to,
		   struct vms_errmsg *msg);

#endif
