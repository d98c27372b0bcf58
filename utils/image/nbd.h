/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An image file of any format as a disk: qemu-nbd serves it to this process alone, over
 * a socket that only the two know (systemd socket activation), through libnbd.
 *
 * Calls block. One thread.
 */
#ifndef VMS_IMAGE_NBD_H
#define VMS_IMAGE_NBD_H

#include "include/err.h"
#include "include/types.h"

struct image_nbd;

/* format: QEMU's name. follow: files that the image names may be opened too. */
int image_nbd_open(struct image_nbd **out, const char *path, const char *format, bool writable,
		   bool follow, struct vms_errmsg *msg);
/* Waits for qemu-nbd to end. */
void image_nbd_close(struct image_nbd *n);
uint64_t image_nbd_bytes(const struct image_nbd *n);

int image_nbd_read(struct image_nbd *n, uint64_t offset, uint8_t *buf, uint64_t len,
		   struct vms_errmsg *msg);
int image_nbd_write(struct image_nbd *n, uint64_t offset, const uint8_t *buf, uint64_t len,
		    struct vms_errmsg *msg);
int image_nbd_flush(struct image_nbd *n, struct vms_errmsg *msg);
/* The state that the byte at offset has, and up to where at least: *end > offset. */
int image_nbd_status(struct image_nbd *n, uint64_t offset, bool *zero, uint64_t *end,
		     struct vms_errmsg *msg);

#endif
