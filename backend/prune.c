// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pruning: index pages that no volume, snapshot or clone can see any more are
 * dropped, and what the log holds of deleted volumes is not drained first.
 * Deleting is a change of the catalog and nothing else; each primary does the rest
 * from what it reads there, also after a restart.
 *
 * A point is a (branch, snap_gen) that someone reads: a snapshot, or a place in the
 * ancestor list of a branch in use. A page shows at all points from its own
 * snap_gen up to the next page's; when there is none it is dropped by a DROP record
 * that names it exactly. A safe answer needs no lock, only an order of reading:
 *
 * - volumes first: all numbers from a volume's snap_gen as read there count as
 *   points, so whatever is made later is covered;
 * - then snapshots, then branches: a clone compares its snapshot when it is made,
 *   so either the snapshot or the branch is seen;
 * - a branch is dead for good only when that was so before the volumes were read: a
 *   snapshot made on it in between could have been missed. It is left for good when
 *   its volume was on a younger one, for volumes never go back.
 *
 * A place in an ancestor list is a point only where the descendant really looks
 * through: where its readers have no page of its own.
 *
 * What is not drained yet counts too: an entry of the overlay needs the page below
 * it as its base, through ancestors as well. This is looked at again in the step
 * that orders the DROP, so the same bytes are drained on all replicas.
 *
 * A dead branch that nothing names goes as a whole. In which partitions no page of it is
 * left, in the durable index of all members, their primaries say (reaped/). Such a
 * partition stays so whoever leads it later; when each has been named by somebody the
 * branch's record goes. It is not enough that each node has said so once: the lead of a
 * partition that has not been looked at may be handed to one that has. One scan serves all
 * deletions seen before it; pages that become superfluous later, when a newer one is made over
 * them, are noted one by one (prune_copied()).
 *
 * Here is when; prune_read.c reads, prune_table.c knows branches and points, prune_scan.c drops
 * pages, prune_reap.c ends what is empty.
 *
 * Owner: the node thread. Keeps invariants 17, 20, 27 (rules D4, D5, A2).
 */
#include "backend/prune.h"

#include <jansson.h>
#include <stdlib.h>

#include "backend/branch.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune_int.h"
#include "backend/round.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define LATE_MAX 16384u

void prune_hint(struct vms_node *n)
{
	struct prune *pr = n->prune;

	if (!pr || pr->hint)
		return;
	pr->hint = true;
	if (pr->due_ms < n->now_ms + 2ull * n->tm.tick_ms)
		pr->due_ms = n->now_ms + 2ull * n->tm.tick_ms;
	node_wake_at(n, pr->due_ms);
}

/* This node leads one more partition, in which it has not looked for anything yet. */
void prune_led(struct vms_node *n)
{
	struct prune *pr = n->prune;
	const struct pbranches *v = pr ? pr->phase == PR_READ ? &pr->old : &pr->br : NULL;

	for (size_t i = 0; v && i < v->n; i++)
		if (prune_gone(&v->d[i])) {
			prune_hint(n);
			return;
		}
}

/* A page was made as a copy of an older one, of its own branch or of an ancestor: is
 * that still needed? What is known here only decides whether to ask the catalog. */
void prune_copied(void *arg, const struct vms_page_key *made, const struct vms_page_key *from)
{
	struct vms_node *n = arg;
	struct prune *pr = n->prune;
	struct part *p = node_part(n, made->partition);
	struct pbranch *b;

	if (!pr || !p || !p->primary)
		return;
	b = pr->phase == PR_READ ? NULL : prune_find(&pr->br, from->branch);
	if (b &&
	    (made->branch == from->branch
		     ? prune_pointed(&pr->pts, from->branch, from->snap_gen, made->snap_gen, false)
		     : b->from != UINT64_MAX || prune_pointed(&pr->pts, from->branch,
							      from->snap_gen, UINT64_MAX, false)))
		return;
	if (pr->late.n < LATE_MAX)
		VMS_VEC_PUSH(&pr->late, ((struct late){*from}));
	else if (b)
		b->dirty = true;
	if (!pr->hint && pr->due_ms < n->now_ms + 6ull * n->tm.tick_ms)
		pr->due_ms = n->now_ms + 6ull * n->tm.tick_ms;
	pr->hint = true;
}

/* ---- pace ---- */

uint64_t gc_pace_ms(const struct vms_node *n)
{
	return n->npend || n->nwait || n->nreads ? 8 : 1;
}

void prune_timer(struct vms_node *n)
{
	struct prune *pr = n->prune;

	if (!pr) {
		pr = n->prune = calloc(1, sizeof(*pr));
		vms_assert(pr);
		pr->n = n;
		pr->hint = true;
		pr->due_ms = n->now_ms + 8ull * n->tm.tick_ms;
	}
	if (pr->busy || n->stopping)
		return;
	switch (pr->phase) {
	case PR_IDLE:
		if (!pr->hint)
			return;
		if (n->now_ms < pr->due_ms)
			node_wake_at(n, pr->due_ms);
		else
			prune_read_start(n, pr);
		return;
	case PR_SCAN:
		if (n->now_ms < pr->step_ms) {
			node_wake_at(n, pr->step_ms);
			return;
		}
		while (pr->part < n->nparts) {
			uint32_t at = pr->part;

			prune_scan_step(n, pr);
			if (pr->part == at)
				break;
		}
		if (pr->part >= n->nparts)
			prune_scan_end(n, pr);
		pr->step_ms = n->now_ms + gc_pace_ms(n);
		node_wake_at(n, pr->step_ms);
		return;
	case PR_SETTLE:
		if (prune_settled(n))
			pr->phase = PR_REAP;
		else if (pr->hint && n->now_ms - pr->scan_ms > 40ull * n->tm.tick_ms)
			pr->phase = PR_IDLE;
		node_wake_at(n, n->now_ms + n->tm.tick_ms / 4);
		return;
	case PR_REAP:
		prune_reap(n, pr);
		return;
	default:
		return;
	}
}

int prune_reading(const struct vms_node *n)
{
	return n->prune && n->prune->phase == PR_READ ? (int)n->prune->px : -1;
}

json_t *prune_json(struct vms_node *n)
{
	static const char *const words[] = {"idle", "reading", "scanning", "settling", "reaping"};
	struct prune *pr = n->prune;
	uint64_t chunks = 0, live = 0;
	json_int_t gone_left = 0;

	VMS_VEC_FOREACH (&pr->br, b)
		gone_left += prune_gone(b) && !b->here;
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i] && n->part[i]->primary)
			VMS_VEC_FOREACH (&n->part[i]->ctrs, c) {
				chunks += c->chunks - c->dead.count;
				live += c->live;
			}
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "round", round_phase(n), "cycle", (json_int_t)round_cycle(n), "want_bytes",
			 (json_int_t)round_want(n), "pages_dropped",
			 (json_int_t)n->st.pages_dropped, "remapped", (json_int_t)n->st.remapped,
			 "pruning", words[pr->phase], "pending", pr->phase != PR_IDLE || pr->hint,
			 "walked", (json_int_t)(pr->phase == PR_SCAN ? pr->part : n->nparts),
			 "partitions", (json_int_t)n->nparts, "dead_branches", gone_left,
			 "collecting", (json_int_t)n->gc_jobs, "container_chunks",
			 (json_int_t)chunks, "live_chunks", (json_int_t)live);
}

void prune_close(struct vms_node *n)
{
	struct prune *pr = n->prune;

	if (!pr)
		return;
	VMS_VEC_FREE(&pr->vols);
	prune_reaped_clear(pr->reaped.d, &pr->reaped.n);
	VMS_VEC_FREE(&pr->reaped);
	prune_reaped_clear(pr->clean.d, &pr->clean.n);
	VMS_VEC_FREE(&pr->clean);
	free(pr->clean_epoch);
	VMS_VEC_FREE(&pr->nodes);
	VMS_VEC_FREE(&pr->br);
	VMS_VEC_FREE(&pr->old);
	VMS_VEC_FREE(&pr->pts);
	VMS_VEC_FREE(&pr->oldpts);
	VMS_VEC_FREE(&pr->under);
	VMS_VEC_FREE(&pr->late);
	VMS_VEC_FREE(&pr->again);
	free(pr);
	n->prune = NULL;
}
