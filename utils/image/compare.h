/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What volume or snapshot b has that a has not, a piece at a time. Chunks with the same
 * address are equal and cost nothing but their place in an index page; the others are
 * read and compared, so that a piece is told only when its content differs.
 *
 * Bounded: some extents are looked at and some blocks read ahead. Owner: one thread, the
 * one of the dev.
 */
#ifndef VMS_IMAGE_COMPARE_H
#define VMS_IMAGE_COMPARE_H

#include "utils/image/dev.h"
#include "utils/image/source.h"

struct image_compare;

/* a NULL: nothing but zeros, as is everything behind its end. Up to the end of b. */
struct image_compare *image_compare_open(struct image_dev *dev, struct image_vol *a,
					 struct image_vol *b);
void image_compare_close(struct image_compare *c);

/* Ascending: zeros where a has other content, or b's data, whole chunks within one
 * 512 KiB block, in buf (IMAGE_PIECE_BYTES). 1: a piece; 0: the end; VMS_E_*. */
int image_compare_next(struct image_compare *c, uint8_t *buf, struct image_piece *p,
		       struct vms_errmsg *msg);

/* How far it is, in bytes of b. */
uint64_t image_compare_at(const struct image_compare *c);

#endif
