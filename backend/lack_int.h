/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to lack.c and lack_search.c. */
#ifndef VMS_LACK_INT_H
#define VMS_LACK_INT_H

#include "backend/ctr.h"
#include "backend/lack.h"
#include "backend/record.h"
#include "include/types.h"
#include "utils/lib/vec.h"

struct lack_search;

struct lack_ent {
	struct vms_move m;
	vms_addr base;
	uint8_t keep; /* sectors that are left, of m.valid */
	uint32_t crc; /* of them, zeros in between */
};

/* In the partition, from when its primary has looked in vain until the record is applied, or
 * the epoch is another. */
struct lack {
	uint64_t seq, epoch;
	uint8_t type; /* of the record */
	unsigned n;
	struct lack_ent e[VMS_SEG_ENTRIES_MAX];
	uint64_t noted; /* how often the lane has come to that */
	bool away;	/* the last time, nodes that may have a base of a twin were away */
	uint8_t *found[VMS_SEG_ENTRIES_MAX]; /* by place in the segment */
	uint64_t given;			     /* the record that gives it up, when it is ordered */
	struct lack_search *search;
	char why[200]; /* the last search gave nothing up */
};

/* Each reference to one of the n places that DRAIN records from seq on make. */
typedef void (*lack_ref_fn)(void *arg, const struct vms_move *ref, unsigned i);
void lack_refs(struct vms_node *n, struct part *p, uint64_t seq, const vms_addr *to, unsigned nto,
	       lack_ref_fn fn, void *arg);
void lack_search_end(struct lack *l);

/* Which chunk of its segment an address is. */
static inline unsigned lack_place(vms_addr a)
{
	return vms_seg_index(vms_addr_offset_bytes(a));
}

#endif
