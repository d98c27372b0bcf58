/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to backend/fsck*.c. */
#ifndef VMS_FSCK_INT_H
#define VMS_FSCK_INT_H

#include <uthash.h>

#include "backend/ctr.h"
#include "backend/fsck.h"
#include "backend/page_patch.h"
#include "backend/wal.h"
#include "utils/lib/assert.h"

/* What a repair does with a container. */
enum { FIX_ENTRY = 1, FIX_HEADER = 2, FIX_FOOTER = 4, FIX_DROP_ENTRY = 8 };

struct fctr { /* one container that index, log or folder know of */
	uint64_t number;
	/* its index entry */
	bool entry, entry_bad, shared;
	uint8_t state; /* 1 open, 2 sealed, 3 dead */
	uint32_t segs;
	uint64_t chunks, epoch, incarnation;
	/* places that have died by PUNCH: a mask per segment, and which of its index values
	 * (128 segments each) there are */
	uint64_t *dead, dead_values;
	uint32_t dead_segs;
	bool in_log;
	bool file;
	uint64_t file_bytes;
	/* a bit per 4096 bytes of it that pages name, and those that pages of its own
	 * partition do */
	uint64_t *ref, *own;
	uint32_t words;
	uint64_t nrefs;
	/* what its segments say */
	uint32_t seen_segs;
	uint64_t seen_chunks;
	uint8_t *used; /* chunks of each segment, 0: not known */
	uint32_t used_segs;
	bool segs_damaged;
	bool segs_dead; /* headers went with their last chunk: nothing to count there */
	unsigned fix, fixes;
	UT_hash_handle hh;
};

struct fpart {
	bool here;
	bool half; /* its copy is being made or deleted: nothing in it counts */
	bool out;  /* of no set: it and the other copies know nothing of each other */
	uint64_t drain_seq, next_ctr;
};

struct fsck {
	struct vms_fsck *out;
	const struct vms_disk *disk;
	const struct vms_fsck_io *io;
	const struct vms_fsck_conf *conf;
	bool have_ident, have_log, whole_index;
	struct fpart *part; /* by number; have_ident */
	struct fctr *ctrs;
	uint8_t block[VMS_CHUNK_BYTES];
	struct vms_seg seg;
	/* a whole segment of `ahead_ctr` from `ahead_off` on; 0: nothing */
	uint64_t ahead_ctr, ahead_off;
	uint8_t ahead[(VMS_SEG_ENTRIES_MAX + 1) * VMS_CHUNK_BYTES];
};

struct fctr *fsck_ctr(struct fsck *c, uint64_t number, bool make);
/* f, fix: may be NULL and 0. */
void fsck_problem(struct fsck *c, enum vms_fsck_class class, struct fctr *f, unsigned fix,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void fsck_container(struct fsck *c, struct fctr *f);
/* The fingerprint list behind a footer (fplists.h), from the segment headers; the
 * caller frees it. any: some fingerprint is known. */
uint8_t *fsck_list_make(struct fsck *c, struct fctr *f, uint32_t segs, size_t *bytes, bool *any);
const char *fsck_list_check(struct fsck *c, struct fctr *f, const struct vms_ctr_footer *foot,
			    uint32_t segs);
int fsck_footer_write(struct fsck *c, struct fctr *f, struct vms_ctr_footer *foot, uint32_t segs);
/* Everything found repairable, in one go. */
int fsck_repair(struct fsck *c);

#endif
