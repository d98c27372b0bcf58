/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of the checker: sim_check.c (registers), sim_check_copy.c (copies between them),
 * sim_check_atomic.c (writes of several at once). */
#ifndef SIM_CHECK_INT_H
#define SIM_CHECK_INT_H

#include "tests/sim/sim.h"

struct rec {		    /* one op on one block */
	uint64_t inv, resp; /* resp UINT64_MAX: may take effect until ever */
	uint64_t value;
	uint32_t copy; /* write by a copy: 1 + its index in copies; value means nothing */
	bool write;
	bool must; /* write: surely applied */
	bool dead; /* write surely not applied, or read that failed */
};
struct block {
	struct rec *r;
	uint32_t n, room;
	bool copied; /* some copy writes here */
};
struct opref {
	uint64_t lba;
	uint32_t n;
	uint32_t *idx; /* index into each block's list */
	bool write;
	bool atomic;
};
struct caw {
	uint64_t lba, old_value, new_value;
};
struct miscompare {
	uint64_t lba, old_value, inv, resp;
};
struct copy {
	const struct sim_check *src;
	uint64_t src_lba, lba;
	bool placed; /* contents tell their place */
};
struct sim_check {
	uint64_t nblocks;
	struct block *b;
	struct opref *ops;
	uint32_t nops, room;
	struct caw *caw;
	uint32_t ncaw, caw_room;
	struct miscompare *mis;
	uint32_t nmis, mis_room;
	struct copy *copy;
	uint32_t ncopies, copy_room;
	uint32_t natomics;
};

/* What may have given block lba this value: writes of it, and copies of a block that may have
 * held it while they ran. Times of the earliest beginning and the latest end. */
struct sim_origin {
	bool any, copied;
	uint64_t inv, resp;
};
void sim_origin(const struct sim_check *c, uint64_t lba, uint64_t value, struct sim_origin *out);
/* May that record, a copy's, have written the value? */
bool sim_copy_brings(const struct sim_check *c, uint64_t lba, const struct rec *r, uint64_t value);
/* Each read of a block that copies write to shows what it may; see sim_check_copy.c. */
bool sim_copied_verify(const struct sim_check *c, uint64_t lba, char *why, size_t room);

/* sim_check_atomic.c; the first also notes what was seen in the blocks' lists. */
bool sim_atomic_verify(struct sim_check *c, char *why, size_t room);
bool sim_atomic_image(const struct sim_check *c, const uint64_t *image, char *why, size_t room);

#endif
