// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who leads what, as of a cycle's begin. Marks go to the nodes that lead the partitions they
 * are about. The watch of the partitions may be behind that of the cycle: a node that marks by
 * what it knows then tells a former primary, and the new one, which sweeps in an epoch that
 * began before the cycle, frees what is referred to (simulator seed 51297). So each node reads
 * the partitions once more when a cycle begins, from a catalog that is not behind it, and marks
 * after that (round.c).
 */
#include <stdio.h>

#include "backend/node_cat.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/round_int.h"

static void part_page(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	if (!rd) /* closed meanwhile */
		return;
	rd->view_busy = false;
	if (r->status || r->revision < rd->rev || rd->view_cycle != rd->cycle) {
		rd->view_cycle = 0; /* from the start */
		rd->view_ms = r->status || r->revision < rd->rev ? n->now_ms + n->tm.tick_ms : 0;
		node_wake_at(n, rd->view_ms > n->now_ms ? rd->view_ms : n->now_ms);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		cat_part(n, &r->kv[i]);
	if (r->more && r->nkv) {
		snprintf(rd->view_after, sizeof(rd->view_after), "%s", r->kv[r->nkv - 1].key);
		rd->view_busy = true;
		n->cat->ops->range(n->cat, "part/", rd->view_after, part_page, n);
		return;
	}
	rd->viewed = rd->cycle;
	node_wake_at(n, n->now_ms);
}

bool round_viewed(struct vms_node *n, struct round *rd)
{
	if (rd->viewed == rd->cycle || n->mut == MUT_RD_VIEW)
		return true;
	if (rd->view_busy)
		return false;
	if (n->now_ms < rd->view_ms) {
		node_wake_at(n, rd->view_ms);
		return false;
	}
	rd->view_cycle = rd->cycle;
	rd->view_busy = true;
	n->cat->ops->range(n->cat, "part/", NULL, part_page, n);
	return rd->viewed == rd->cycle;
}
