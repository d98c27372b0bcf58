// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fresh floors for a new primary. What the catalog has told by watch may be behind,
 * and floors are raised at the primaries of the time alone: a node that has become
 * primary reads gateway/ and volume/ again, with an answer no older than the change
 * that made it so, before it serves. One reading serves all partitions won before it
 * began. Keeps invariants 4, 5 (rules C5, E7).
 */
#include "backend/fresh.h"

#include <stdio.h>

#include "backend/node_cat.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"

#define FRESH_PREFIXES 2u
static const unsigned prefix_of[FRESH_PREFIXES] = {1, 2}; /* gateway/, volume/ */

static void page(struct vms_node *n);

static void done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	unsigned w = prefix_of[n->fresh_at];

	if (r->status) {
		n->fresh_busy = false;
		n->fresh_ms = n->now_ms + n->tm.tick_ms / 4 + 1;
		return;
	}
	if (!n->fresh_after[0] && r->revision < n->fresh_low)
		n->fresh_low = r->revision;
	for (unsigned i = 0; i < r->nkv && !n->poisoned; i++)
		cat_apply(n, w, &r->kv[i]);
	if (r->more && r->nkv) {
		snprintf(n->fresh_after, sizeof(n->fresh_after), "%s", r->kv[r->nkv - 1].key);
		page(n);
		return;
	}
	n->fresh_after[0] = 0;
	if (++n->fresh_at < FRESH_PREFIXES) {
		page(n);
		return;
	}
	n->fresh_busy = false;
	if (n->fresh_low > n->fresh_rev)
		n->fresh_rev = n->fresh_low;
	/* an answer may be older than the change it was asked for: again */
	n->fresh_ms = n->now_ms + n->tm.tick_ms / 16 + 1;
	part_serve_check(n);
}

static void page(struct vms_node *n)
{
	n->cat->ops->range(n->cat, cat_prefix(prefix_of[n->fresh_at]),
			   n->fresh_after[0] ? n->fresh_after : NULL, done, n);
}

/* Floors as of that revision are needed. True: they are there. */
bool fresh_need(struct vms_node *n, uint64_t rev)
{
	if (rev <= n->fresh_rev || n->mut == MUT_NO_FRESH)
		return true;
	if (n->fresh_busy || n->now_ms < n->fresh_ms || n->poisoned)
		return false;
	n->fresh_busy = true;
	n->fresh_at = 0;
	n->fresh_after[0] = 0;
	n->fresh_low = UINT64_MAX;
	page(n);
	return false;
}
