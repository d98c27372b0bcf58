/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where an image's bytes come from: pieces in ascending order that cover it without
 * gaps, each either zeros of any length or data. Holes of a sparse file are known
 * without being read; data that happens to be zeros is not told apart here.
 *
 * Calls block. Owner: one thread.
 */
#ifndef VMS_IMAGE_SOURCE_H
#define VMS_IMAGE_SOURCE_H

#include "include/err.h"
#include "include/types.h"

#define IMAGE_PIECE_BYTES   VMS_SUBEXT_BYTES
#define IMAGE_BYTES_UNKNOWN UINT64_MAX

struct image_src;

struct image_src_conf {
	const char *path;   /* "-": standard input, as raw bytes */
	const char *format; /* QEMU's name; NULL: find out */
	bool raw;	    /* NULL format means raw: QEMU is not asked */
	bool follow;	    /* other files that the image names may be read too */
};

/* offset and len are multiples of 4096, but for the end of the image. Data lies
 * within one 512 KiB block of the image. */
struct image_piece {
	uint64_t offset, len;
	bool zero;
};

/* 0 or VMS_E_* with a message that names the file. */
int image_src_open(struct image_src **out, const struct image_src_conf *conf,
		   struct vms_errmsg *msg);
void image_src_close(struct image_src *s);

/* IMAGE_BYTES_UNKNOWN: a pipe, whose end is not known before it is read. */
uint64_t image_src_bytes(const struct image_src *s);

const char *image_src_format(const struct image_src *s);
/* "size, time of the last change" of the file: what tells that it is still the same one.
 * Empty when nothing does: pipes, disks, images that name other files. */
const char *image_src_identity(const struct image_src *s);
/* Go on from here, a multiple of 4096; not for a pipe. */
void image_src_seek(struct image_src *s, uint64_t offset);

/* buf: IMAGE_PIECE_BYTES, written for data only. 1: a piece; 0: the end; VMS_E_*. */
int image_src_next(struct image_src *s, uint8_t *buf, struct image_piece *p,
		   struct vms_errmsg *msg);

#endif
