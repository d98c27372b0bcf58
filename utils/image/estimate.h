/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What deduplication would save: counts distinct 4 KiB chunks by SHA-256 over any
 * number of files, in bounded memory.
 *
 * A fingerprint's rank is the number of its trailing zero bits. While everything
 * fits, every fingerprint is kept and all counts are exact. When the table is full,
 * the lowest rank that is still kept is dropped (distinct sampling, Gibbons 2001): as
 * fingerprints are evenly spread, what holds for those of rank r and above, times
 * 2^r, holds for all. Counters are kept per rank, so dropping one costs no accuracy
 * of the others. With a million fingerprints left the error is about 0.1 %.
 *
 * Owner: one thread.
 */
#ifndef VMS_IMAGE_ESTIMATE_H
#define VMS_IMAGE_ESTIMATE_H

#include "include/err.h"
#include "include/types.h"

struct image_est;

/* In bytes, all multiples of 4096 but for bytes. A file's chunks are zero, distinct or
 * dup; distinct = unique + shared. */
struct image_est_counts {
	uint64_t bytes;	   /* as long as the file */
	uint64_t zero;	   /* holes and chunks of zeros */
	uint64_t distinct; /* content, each counted once */
	uint64_t dup;	   /* repeated within the file */
	uint64_t unique;   /* in no other file (total: in one file only) */
	uint64_t shared;   /* also in another file (total: in more than one) */
	uint64_t added;	   /* what no file before this one had; the sum is the total's
			      distinct */
};

/* memory_bytes: bound of the table. chunks_max: no more chunks than this will come,
 * so that a small job gets a small table; 0: not known. NULL: no memory. */
struct image_est *image_est_open(uint64_t memory_bytes, uint64_t chunks_max);
void image_est_close(struct image_est *e);

/* Begins the next file, number 0, 1, …; everything added belongs to it. */
unsigned image_est_file(struct image_est *e);
/* data: len_bytes long; the last chunk may be short, it counts as filled up with zeros.
 */
void image_est_data(struct image_est *e, const uint8_t *data, uint64_t len_bytes);
void image_est_zeros(struct image_est *e, uint64_t len_bytes);

void image_est_counts(const struct image_est *e, unsigned file, struct image_est_counts *out);
void image_est_total(const struct image_est *e, struct image_est_counts *out);
/* One of so many fingerprints is kept; 1: all counts are exact. */
uint64_t image_est_one_of(const struct image_est *e);

#endif
