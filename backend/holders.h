/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which gateway holds which index page: per (branch, extent) and gateway session
 * a bit per sub-extent. Bounded; the least recently given entry is the one to
 * invalidate when full. Owner: the node thread. Keeps invariant 3.
 */
#ifndef VMS_HOLDERS_H
#define VMS_HOLDERS_H

#include "backend/htab.h"

struct vms_holder_gw {
	uint32_t gateway;
	uint8_t subexts;
};

struct vms_holder {
	struct vms_hlink link;
	struct vms_holder *older, *newer; /* by use */
	uint64_t branch;
	uint32_t extent, partition;
	uint32_t n, room;
	struct vms_holder_gw *gw;
};

struct vms_holders {
	struct vms_htab tab;
	struct vms_holder *oldest, *newest;
	uint64_t n, max;
};

void vms_holders_init(struct vms_holders *h, uint64_t max);
void vms_holders_close(struct vms_holders *h);
struct vms_holder *vms_holder_find(struct vms_holders *h, uint64_t branch, uint32_t extent);
void vms_holder_add(struct vms_holders *h, uint32_t partition, uint64_t branch, uint32_t extent,
		    uint32_t gateway, uint8_t subexts);
/* Clear bits of one gateway in the entry; the entry goes when nobody is left
 * (returns true then). */
bool vms_holder_clear(struct vms_holders *h, struct vms_holder *e, uint32_t gateway,
		      uint8_t subexts);
void vms_holders_drop_gateway(struct vms_holders *h, uint32_t gateway);

#endif
