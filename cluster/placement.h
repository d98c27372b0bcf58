/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the catalog's records to the nodes that ought to hold each partition ("wants").
 * What the coordinator among the storage nodes writes and what `vmstore-ring plan`
 * shows come from here, so they cannot differ. Pure; owner thread: any.
 */
#ifndef VMS_PLACEMENT_H
#define VMS_PLACEMENT_H

#include "cluster/catalog.h"
#include "cluster/ring.h"

/* What the planner counts the node with: nothing while it has never run, leaves, is
 * being emptied or is taken for lost. */
static inline uint32_t vms_place_weight(const struct vms_cat_node *n)
{
	return n->state == VMS_NODE_IN && n->incarnation ? n->weight : 0;
}

/* Plans anew. part[0..2^part_bits-1]: as in the catalog, epoch 0 where there is no
 * record. out: close it when 0 is returned. VMS_E_INVAL: msg says why there is no plan
 * (no node has a weight). */
int vms_place(const struct vms_cat_cluster *c, const struct vms_cat_node *node, unsigned nnodes,
	      const struct vms_part_conf *part, struct vms_ring_table *out, struct vms_errmsg *msg);
/* The table of the present wants; close it. 0 or VMS_E_NOMEM. */
int vms_place_wants(const struct vms_cat_cluster *c, const struct vms_part_conf *part,
		    struct vms_ring_table *out);
/* Does the partition want just this row, in this order? */
bool vms_place_same(const struct vms_part_conf *part, const struct vms_ring_row *row);

#endif
