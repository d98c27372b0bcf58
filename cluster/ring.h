/* SPDX-License-Identifier: GPL-2.0-only */
/* Placement: which nodes hold which partition.
 *
 * A pure function of (previous table, membership): the same input gives the same
 * table on every machine, whatever the order of the members. No clock, no random
 * source, no I/O. Owner thread: any.
 *
 * The 33-bit container space is a circle cut into 2^part_bits equal partitions.
 * Each node owns tokens on it in proportion to its weight; clockwise from a
 * partition's start the tokens give that partition's order of nodes. On top of
 * that walk stand, in this order of strength:
 *
 *   1. a partition's replicas lie on different nodes;
 *   2. they lie in different zones while there are enough of them, else as evenly
 *      over the zones as their sizes allow (a node without zone is its own zone);
 *   3. bounded load: a node holds its best achievable share, rounded up or down.
 *      The share is proportional to weight where 1 and 2 allow it: no node can hold
 *      more than one replica of each partition;
 *   4. replicas of the previous table stay where they are;
 *   5. primaries are spread like replicas: a node leads its replicas divided by the
 *      number of copies, rounded up or down, and leads go on where they are.
 *
 * Load never follows from chance: adding a node moves just its share to it. */
#ifndef VMS_RING_H
#define VMS_RING_H

#include <stdint.h>

#include "include/err.h"
#include "include/types.h"

#define VMS_RING_WEIGHT_NORMAL 100u
#define VMS_RING_WEIGHT_MAX    1000000u

struct vms_ring_params {
	uint32_t part_bits; /* 0..VMS_PART_BITS_MAX, fixed at format time */
	uint32_t copies;    /* 1..VMS_COPIES_MAX */
};

struct vms_ring_member {
	uint32_t id;	  /* unique; not VMS_RING_NONE */
	uint32_t weight;  /* 100 = normal; 0 = is to hold nothing (being drained) */
	const char *zone; /* borrowed during the call; NULL or "": a zone of its own */
};

#define VMS_RING_NONE UINT32_MAX

struct vms_ring_row {
	uint32_t n;		       /* replicas: copies, or fewer when nodes are fewer */
	uint32_t node[VMS_COPIES_MAX]; /* ids, primary first; the rest VMS_RING_NONE */
};

struct vms_ring_table {
	uint32_t part_bits;
	uint32_t copies;	  /* as asked for */
	struct vms_ring_row *row; /* 2^part_bits, owned by the table */
};

/* An empty table (every row n = 0), for callers that fill in rows from the catalog.
 * 0 or VMS_E_NOMEM. Release with vms_ring_table_close(). */
int vms_ring_table_init(struct vms_ring_table *t, const struct vms_ring_params *params);
void vms_ring_table_close(struct vms_ring_table *t);

static inline uint32_t vms_ring_parts(const struct vms_ring_table *t)
{
	return UINT32_C(1) << t->part_bits;
}

/* Says in words what is wrong with an input that vms_ring_plan() would refuse:
 * VMS_E_INVAL with e filled, or 0. */
int vms_ring_check(const struct vms_ring_table *prev, const struct vms_ring_member *m, unsigned n,
		   const struct vms_ring_params *params, struct vms_errmsg *e);

/* Plans a table for members m[0..n-1].
 * prev: the table in force, borrowed, may be NULL (nothing placed yet); its part_bits
 * must equal params'. Nodes in it that are no longer members lose their places.
 * out: initialised by the call on success; close it. Must not be prev.
 * Returns 0; VMS_E_INVAL (see vms_ring_check()); VMS_E_NOMEM. */
int vms_ring_plan(const struct vms_ring_table *prev /* may be NULL */,
		  const struct vms_ring_member *m, unsigned n, const struct vms_ring_params *params,
		  struct vms_ring_table *out);

/* One change between two tables. A replica that goes from one node to another is one
 * move; from = VMS_RING_NONE: a replica is added, to = VMS_RING_NONE: one is dropped;
 * from = to: only the lead of the partition changes, to this node. */
struct vms_ring_move {
	uint32_t partition;
	uint32_t from;
	uint32_t to;
};

/* Lists the moves that turn a (may be NULL: empty) into b, by partition; data moves
 * first. moves: room for max entries, may be NULL when max is 0. Returns the number of
 * moves, which may exceed max. Both tables must have the same part_bits. */
unsigned vms_ring_diff(const struct vms_ring_table *a, const struct vms_ring_table *b,
		       struct vms_ring_move *moves, unsigned max);

/* How a table treats one member. */
struct vms_ring_load {
	uint32_t id;
	uint32_t replicas;
	uint32_t primaries;
	double share; /* best achievable number of replicas for this membership */
};

/* Fills load[0..n-1] in the order of m. 0 or VMS_E_INVAL. */
int vms_ring_loads(const struct vms_ring_table *t, const struct vms_ring_member *m, unsigned n,
		   struct vms_ring_load *load);

#endif
