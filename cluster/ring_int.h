/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to ring.c and ring_share.c: a plan that is being made. */
#ifndef VMS_RING_INT_H
#define VMS_RING_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/types.h"

#define SHARE_SHIFT 20 /* shares are counted in 2^-20 replicas */
#define SHARE_ONE   (UINT64_C(1) << SHARE_SHIFT)

struct token {
	uint64_t pos;
	uint32_t node;
};

struct plan {
	unsigned bits, parts, words;
	unsigned r; /* replicas per partition: copies, or fewer nodes */
	unsigned n; /* nodes with a weight */
	unsigned nz;
	uint32_t id[VMS_NODES_MAX]; /* ascending */
	uint32_t weight[VMS_NODES_MAX];
	uint16_t zone[VMS_NODES_MAX];
	uint64_t share[VMS_NODES_MAX];
	uint32_t quota[VMS_NODES_MAX];
	uint32_t load[VMS_NODES_MAX];
	uint32_t prim[VMS_NODES_MAX];
	uint32_t zone_nodes[VMS_NODES_MAX];
	uint32_t zone_min[VMS_NODES_MAX]; /* replicas of one partition in this zone */
	uint32_t zone_max[VMS_NODES_MAX];
	bool zone_has_min;
	uint16_t (*row)[VMS_COPIES_MAX];
	uint8_t *cnt;
	uint64_t *has; /* bit map per node: partitions it holds */
	struct token *tok;
	size_t ntok;
};

struct vms_ring_member;

/* Members with a weight, by id, and their zones; n: all of them are checked. */
void ring_take_members(struct plan *p, const struct vms_ring_member *m, unsigned n);
/* Replicas of one partition that each zone may, and must, have. */
void ring_zone_bounds(struct plan *p);
void ring_find_shares(struct plan *p);
/* Whole numbers for the shares, as near as can be to the loads that are there. */
void ring_find_quotas(struct plan *p);

#endif
