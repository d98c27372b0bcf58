/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which gateway holds which index page: per (branch, extent) and gateway session
 * a bit per sub-extent. Bounded; the least recently given entry is the one to
 * invalidate when full. Each partition has a list of its own: what concerns one of a
 * thousand partitions (hand-over, a change of its primary) does not look at the pages of
 * the others. Owner: the node thread. Keeps invariant 3.
 */
#ifndef VMS_HOLDERS_H
#define VMS_HOLDERS_H

#include "backend/htab.h"
#include "utils/lib/vec.h"

struct vms_holder_gw {
	uint32_t gateway;
	uint8_t subexts;
};

struct vms_holder {
	struct vms_hlink link;
	struct vms_holder *older, *newer; /* by use */
	struct vms_holder *prev, *next;	  /* of the same partition */
	uint64_t branch;
	uint32_t extent, partition;
	uint32_t n, room;
	struct vms_holder_gw *gw;
};

struct vms_holders {
	struct vms_htab tab;
	struct vms_holder *oldest, *newest;
	VMS_VEC(struct vms_holder *) part; /* by partition: the first of its list */
	uint64_t n, max;
};

void vms_holders_init(struct vms_holders *h, uint64_t max);
void vms_holders_close(struct vms_holders *h);
/* The first entry of a partition, NULL: none; the others by ->next. */
struct vms_holder *vms_holders_first(const struct vms_holders *h, uint32_t partition);
struct vms_holder *vms_holder_find(struct vms_holders *h, uint64_t branch, uint32_t extent);
void vms_holder_add(struct vms_holders *h, uint32_t partition, uint64_t branch, uint32_t extent,
		    uint32_t gateway, uint8_t subexts);
/* Clear bits of one gateway in the entry; the entry goes when nobody is left
 * (returns true then). */
bool vms_holder_clear(struct vms_holders *h, struct vms_holder *e, uint32_t gateway,
		      uint8_t subexts);
void vms_holders_drop_gateway(struct vms_holders *h, uint32_t gateway);

#endif
