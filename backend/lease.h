/* SPDX-License-Identifier: GPL-2.0-only */
/* Leases between nodes: until when others do not take over. */
#ifndef VMS_LEASE_H
#define VMS_LEASE_H

#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"

struct peer;

void lease_grant(struct vms_node *n, struct peer *pe);
uint64_t lease_granted_ms(const struct vms_node *n, const struct peer *pe, uint64_t incarnation);
/* part/ is known up to rev. */
void lease_part_rev(struct vms_node *n, uint64_t rev);
void lease_won(struct vms_node *n, struct peer *pe, uint64_t sent_ms, uint64_t rev);
void lease_timer(struct vms_node *n);
uint64_t lease_left_ms(const struct vms_node *n, const struct peer *pe);
/* Who asks has read a change of part/ that has not come here yet: it is looked for. */
static inline bool part_behind(struct vms_node *n, uint64_t revision)
{
	if (revision <= n->part_rev || n->mut == MUT_FLOOR_BEHIND)
		return false;
	n->behind = true;
	return true;
}

/* Reads need only the primary, as long as this process has been serving and the other
 * members have promised not to take over. */
bool part_leased(const struct vms_node *n, const struct part *p);
static inline bool part_readable(const struct vms_node *n, const struct part *p)
{
	return p && p->primary && (p->state == PS_ACTIVE || p->was_active) && !p->handing &&
	       part_leased(n, p);
}

#endif
