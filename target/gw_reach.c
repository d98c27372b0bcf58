// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is this gateway a path at all? One that is cut off from all storage nodes, or from one
 * that leads partitions and that others do reach, answers its initiators nothing for as long
 * as that lasts, while another gateway may be well. So it closes their connections and lets
 * nobody in until it reaches the node again: multipathing goes another way.
 *
 * What others reach is known from ticks: they name the peers whose leases the sender has.
 * A node that nobody reaches is no reason: its partitions will be led by others, or are
 * lost to every gateway. Nor is one that comes back and is reached by the others first.
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_int.h"

/* A lease that somebody else has of a node not heard for so long was granted after it
 * was heard here last. */
static uint64_t lost_ms(const struct vms_gw *gw)
{
	return gw->tm.lease_ms + 2ull * gw->tm.tick_ms;
}

static bool silent(const struct vms_gw *gw, const struct gw_node *n, uint64_t ms)
{
	return gw->now_ms - n->alive_ms > ms;
}

static bool leads(const struct vms_gw *gw, const struct gw_node *n)
{
	for (uint32_t p = 0; p < gw->nparts; p++)
		if (gw->part[p].c.primary == n->id)
			return true;
	return false;
}

/* Has some node that is heard a lease of it, granted when this gateway heard it no more, and
 * for longer than the gateway has had to reach it by now? One that was away for all is reached
 * by some before others: that is no cut. */
static bool others_reach(const struct vms_gw *gw, struct gw_node *n)
{
	bool asked = false;

	for (uint32_t i = 1; i < gw->node_top; i++) {
		const struct gw_node *o = gw->node[i];

		if (!o || o == n || !o->known || silent(gw, o, gw->tm.tick_gap_ms))
			continue;
		if (o->peer_until_ms[n->id] > gw->now_ms &&
		    o->peer_until_ms[n->id] != GW_LEASE_FOREVER)
			return gw->now_ms - n->nobody_ms > lost_ms(gw);
		asked = true;
	}
	if (asked)
		n->nobody_ms = gw->now_ms;
	return false;
}

static bool cut_off(struct vms_gw *gw, char *why, size_t room)
{
	bool any = false, heard = false;

	for (uint32_t i = 1; i < gw->node_top; i++) {
		struct gw_node *n = gw->node[i];
		bool theirs;

		if (!n || !n->known || !n->address[0])
			continue;
		any = true;
		theirs = others_reach(gw, n);
		if (!silent(gw, n, lost_ms(gw))) {
			heard = true;
			continue;
		}
		if (theirs && leads(gw, n)) {
			snprintf(why, room,
				 "node %" PRIu32 " (%s) is not reached from here for %" PRIu64
				 " ms, though it is by others",
				 n->id, n->address, gw->now_ms - n->alive_ms);
			return true;
		}
	}
	snprintf(why, room, "no storage node is reached");
	return any && !heard;
}

void gw_reach_timer(struct vms_gw *gw)
{
	char why[160];
	bool cut;

	if (gw->phase != GP_RUN || gw->now_ms < gw->reach_ms || gw_mutant(gw, VMS_GWM_REACH))
		return;
	gw->reach_ms = gw->now_ms + gw->tm.tick_ms / 2;
	cut = cut_off(gw, why, sizeof(why));
	if (cut == gw->cut)
		return;
	gw->cut = cut;
	if (!cut) {
		gw_log(gw, VMS_LOG_INFO,
		       "the storage nodes are reached again: initiators are let in");
		return;
	}
	gw_log(gw, VMS_LOG_WARN, "initiators have to go through other gateways: %s", why);
	gw_drop_initiators(gw, why);
}

bool vms_gw_reaches(const struct vms_gw *gw)
{
	return !gw->cut;
}

/* Who shuts a gateway out tells every primary, and when it may live waits for its leases:
 * one that has the lease of a primary, whose own leases run, is not shut out yet, so no later
 * record counts without it. One that stood still, or is cut off, cannot tell. */
bool vms_gw_current(struct vms_gw *gw)
{
	for (uint32_t p = 0; p < gw->nparts; p++) {
		const struct gw_node *n = gw_primary(gw, p);

		if (n && n->state == GN_READY && gw_lease_ok(gw, &gw->part[p], n))
			return true;
	}
	return false;
}
