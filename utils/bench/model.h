/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a correct LUN may answer, per logical block, under concurrent writers,
 * lost connections and writes whose outcome is unknown.
 *
 * Each write is a *version* with a number (seq) of its own; the stamp in every
 * 512-byte block names it, so a read tells exactly which write it saw. For a
 * register with unique values linearizability is decided by zones (Gibbons and
 * Korach, "Testing shared memories", SIAM J. Comput. 26(4)): a version's zone
 * runs from the earliest end of any operation on it (f) to the latest start of
 * any operation on it (s). Two zones must never satisfy f1 < s2 and f2 < s1.
 * A version that no later read may legally return is dropped; reading it after
 * that is a violation (stale, or lost and resurrected).
 *
 * A write whose connection was lost may take effect until its deadline; after
 * that it either took effect or never does, and the first read settles it.
 *
 * Times are nanoseconds of any clock that never goes back. One thread.
 */
#ifndef VMS_BENCH_MODEL_H
#define VMS_BENCH_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define VMS_MODEL_BLOCK_BYTES  512u
#define VMS_MODEL_CHUNK_BLOCKS 8u
#define VMS_MODEL_NEVER	       UINT64_MAX

struct vms_model;

enum vms_model_initial {
	VMS_MODEL_ANY,	/* unwritten blocks may hold anything */
	VMS_MODEL_ZERO, /* unwritten blocks must read as zeros */
};

struct vms_model_opts {
	uint64_t blocks; /* logical blocks covered, from LBA first_lba */
	uint64_t first_lba;
	uint64_t run_id; /* in every stamp: tells this state's data from older data */
	enum vms_model_initial initial;
	bool chunk_atomic; /* one read never sees parts of two writes out of order in a chunk */
};

/* Called when a read settles something a restart could not know (an
 * unacknowledged version seen, or one of several candidates). lba: first block. */
typedef void (*vms_model_observe_fn)(void *arg, uint64_t lba, uint32_t n, uint64_t seq, uint64_t f,
				     uint64_t s);

/* Returns NULL when out of memory. */
struct vms_model *vms_model_new(const struct vms_model_opts *o);
void vms_model_free(struct vms_model *m);
const struct vms_model_opts *vms_model_opts(const struct vms_model *m);
void vms_model_set_observer(struct vms_model *m, vms_model_observe_fn fn, void *arg);

/* A write of n blocks at lba starts now; seq must be larger than all before.
 * zero: it writes zeros (UNMAP, WRITE SAME), which carry no stamp; a read of
 * zeros then counts for any zero version that is allowed. */
void vms_model_write_begin(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n,
			   uint64_t now, bool zero);
/* It was answered GOOD. */
void vms_model_write_done(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n,
			  uint64_t now);
/* Its outcome is unknown; it cannot take effect after deadline. */
void vms_model_write_lost(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n,
			  uint64_t deadline);
/* It was answered so that it surely was not and will not be applied (BUSY).
 * Returns how many of its blocks a read had already returned: each a violation. */
unsigned vms_model_write_refused(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n);

/* Each read begun ends by exactly one of end and cancel. */
void vms_model_read_begin(struct vms_model *m, uint64_t lba, uint32_t n, uint64_t now);
void vms_model_read_cancel(struct vms_model *m, uint64_t lba, uint32_t n);
/* Check data (n blocks) read in [start, now]. Returns the number of violations;
 * each is described on a line of its own in *err (at most 8 per call). */
unsigned vms_model_read_end(struct vms_model *m, uint64_t lba, uint32_t n, const void *data,
			    uint64_t start, uint64_t now, FILE *err);

/* A COMPARE AND WRITE was answered GOOD at now: old (n blocks) was current at some
 * moment in [start, now], and no other one may have matched it. Ends the read
 * that was begun beside its write. To be called before vms_model_write_done. Returns violations as
 * read_end. */
unsigned vms_model_compared(struct vms_model *m, uint64_t lba, uint32_t n, const void *old,
			    uint64_t start, uint64_t now, FILE *err);

/* Fill data (n blocks) with the stamps of write seq by writer. */
void vms_model_stamp(const struct vms_model *m, void *data, uint64_t seq, uint32_t writer,
		     uint64_t lba, uint32_t n);

/* Replay: set or add one candidate of a range (acked: a complete version). */
void vms_model_restore(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n, uint64_t start,
		       uint64_t f, uint64_t s, uint64_t deadline, bool zero);
void vms_model_observed(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n, uint64_t f,
			uint64_t s);
/* Dump all candidates as runs, for restore. */
typedef int (*vms_model_dump_fn)(void *arg, uint64_t seq, uint64_t lba, uint32_t n, uint64_t start,
				 uint64_t f, uint64_t s, uint64_t deadline, bool zero);
int vms_model_dump(const struct vms_model *m, vms_model_dump_fn fn, void *arg);

/* Blocks ever written; versions that a read could still return, in all. */
uint64_t vms_model_written(const struct vms_model *m);
uint64_t vms_model_candidates(const struct vms_model *m);

#endif
