// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scan of pruning: partition by partition, page by page, what no point shows any more is
 * dropped, and what the overlay holds of dead branches with it. It ends with what is left to
 * do (prune.c).
 */
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/prune_int.h"
#include "backend/record.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PAGES_PER_STEP 128u

static int under_cmp(const void *a, const void *b)
{
	const struct under *x = a, *y = b;

	return x->extent < y->extent ? -1 : x->extent > y->extent;
}

/* Does something that is not drained yet look through to [gen, next) of the branch? */
static bool needed_below(struct prune *pr, uint64_t branch, uint64_t gen, uint64_t next,
			 uint32_t subext)
{
	uint32_t extent = subext / VMS_EXTENT_SUBEXTS;
	size_t lo = 0, hi = pr->under.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (pr->under.d[mid].extent < extent)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < pr->under.n && pr->under.d[lo].extent == extent; lo++) {
		const struct vms_ovl_ext *e = pr->under.d[lo].e;
		const struct branch *b;

		if (e->branch == branch) {
			if (e->snap_gen >= gen && e->snap_gen < next)
				return true;
			continue;
		}
		b = node_branch(pr->n, e->branch, false);
		if (!b || !b->known)
			return true;
		for (unsigned k = 0; k < b->nancestors; k++)
			if (b->ancestor[k].branch == branch && b->ancestor[k].snap_gen >= gen &&
			    b->ancestor[k].snap_gen < next)
				return true;
	}
	return false;
}

/* Do all readers of the branch b find a page on the way to its ancestor `branch` at
 * this sub-extent, in b or in between? (Descendants of b have that ancestor in their
 * own lists.) */
static bool covered(struct prune *pr, const struct pbranch *b, uint64_t branch, uint32_t subext)
{
	struct branch *nb = node_branch(pr->n, b->branch, false);
	struct vms_page_key k = {pr->p->number, b->branch, subext, b->from};
	struct vms_page pg;

	if (b->from != UINT64_MAX && (!nb || nb->gen_min < k.snap_gen))
		k.snap_gen = nb ? nb->gen_min : 0;
	for (size_t i = prune_first_point(&pr->pts, b->branch, 0);
	     i < pr->pts.n && pr->pts.d[i].branch == b->branch; i++)
		if (!pr->pts.d[i].via && pr->pts.d[i].gen < k.snap_gen)
			k.snap_gen = pr->pts.d[i].gen;
	for (size_t u = 0; u < pr->under.n; u++)
		if (pr->under.d[u].e->branch == b->branch &&
		    pr->under.d[u].extent == subext / VMS_EXTENT_SUBEXTS &&
		    pr->under.d[u].e->snap_gen < k.snap_gen)
			k.snap_gen = pr->under.d[u].e->snap_gen;
	if (vms_pages_lookup(pr->n->pages, &k, &pg) == 0)
		return true;
	for (unsigned i = 0; i < b->nancestors && b->ancestor[i].branch != branch; i++) {
		k.branch = b->ancestor[i].branch;
		k.snap_gen = b->ancestor[i].snap_gen;
		if ((uint64_t)subext * VMS_SUBEXT_CHUNKS >= b->ancestor[i].limit_chunks ||
		    vms_pages_lookup(pr->n->pages, &k, &pg) == 0)
			return true;
	}
	return false;
}

/* Does a descendant look through to [gen, next)? */
static bool looked_through(struct prune *pr, const struct vms_page_key *k, uint64_t next)
{
	for (size_t i = prune_first_point(&pr->pts, k->branch, k->snap_gen);
	     i < pr->pts.n && pr->pts.d[i].branch == k->branch && pr->pts.d[i].gen < next; i++) {
		const struct point *q = &pr->pts.d[i];
		const struct pbranch *d = q->via ? prune_find(&pr->br, q->via) : NULL;

		if ((uint64_t)k->subext * VMS_SUBEXT_CHUNKS >= q->limit)
			continue;
		if (!d || !covered(pr, d, k->branch, k->subext))
			return true;
	}
	return false;
}

/* The page `k` is followed by one of number `next` (UINT64_MAX: by none). First what
 * can be told without looking at other pages. */
static void consider(struct prune *pr, const struct vms_page_key *k, uint64_t next)
{
	struct pbranch *b = prune_find(&pr->br, k->branch);

	if (!b || (pr->full && !b->dirty))
		return;
	if ((next > b->from && pr->n->mut != MUT_PRUNE_NEW) ||
	    (next == UINT64_MAX && b->from != UINT64_MAX) ||
	    prune_pointed(&pr->pts, k->branch, k->snap_gen, next, false))
		return;
	pr->c[pr->nc++] = (struct cand){*k, next};
}

/* false: once more later. */
static bool judge(struct prune *pr, const struct cand *c)
{
	const struct vms_page_key *k = &c->key;
	struct pbranch *b = prune_find(&pr->br, k->branch);
	struct branch *nb = node_branch(pr->n, k->branch, false);
	/* numbers from here on may still be ordered here */
	uint64_t from = b->from == UINT64_MAX ? UINT64_MAX : nb ? nb->gen_min : 0;

	if (looked_through(pr, k, c->next))
		return true;
	if (c->next > from || (pr->n->mut != MUT_PRUNE_BASE &&
			       needed_below(pr, k->branch, k->snap_gen, c->next, k->subext))) {
		b->left = b->left_part = true;
		return false;
	}
	pr->d[pr->nd++] = (struct vms_drop){k->branch, k->snap_gen, k->subext};
	return true;
}

static int scan_page(void *arg, const struct vms_page *pg)
{
	struct prune *pr = arg;
	const struct vms_page_key *k = &pg->key;
	struct pbranch *b;

	if (pr->have_prev) {
		bool same = pr->prev.branch == k->branch && pr->prev.subext == k->subext;

		consider(pr, &pr->prev, same ? k->snap_gen : UINT64_MAX);
		pr->have_prev = false;
	}
	if (pr->nc == VMS_DROPS_MAX || pr->pages++ == PAGES_PER_STEP) {
		pr->resume = *k;
		pr->more = true;
		return 1;
	}
	b = prune_find(&pr->br, k->branch);
	if (!b || !b->dirty) {
		struct pbranch *x;

		/* on to the next branch to look at */
		for (x = pr->br.d; x < pr->br.d + pr->br.n; x++)
			if (x->dirty && x->branch > k->branch)
				break;
		if (x == pr->br.d + pr->br.n)
			return 2;
		pr->resume = (struct vms_page_key){k->partition, x->branch, 0, 0};
		pr->more = true;
		return 1;
	}
	pr->prev = *k;
	pr->have_prev = true;
	return 0;
}

/* The partition cannot be looked at now: all of its branches once more later. */
static void part_missed(struct prune *pr)
{
	VMS_VEC_FOREACH (&pr->br, b)
		b->left |= b->dirty;
}

static void part_next(struct prune *pr)
{
	pr->part++;
	pr->entered = false;
}

/* All of the partition has been looked at. */
static void part_clean(struct vms_node *n, struct prune *pr, const struct part *p)
{
	if (!pr->clean_epoch)
		pr->clean_epoch = calloc(n->nparts, sizeof(*pr->clean_epoch));
	vms_assert(pr->clean_epoch);
	pr->clean_epoch[p->number] = p->conf.epoch;
	VMS_VEC_FOREACH (&pr->br, b) {
		struct reaped *c = NULL;

		if (!prune_gone(b) || !b->dirty || b->left_part)
			continue;
		VMS_VEC_FOREACH (&pr->clean, x)
			if (x->branch == b->branch)
				c = x;
		if (!c) {
			c = VMS_VEC_ADD(&pr->clean);
			*c = (struct reaped){b->branch, (uint32_t)n->id,
					     calloc(1, prune_bits_bytes(n))};
			vms_assert(c->bits);
		}
		c->bits[p->number / 8] |= (uint8_t)(1u << p->number % 8);
	}
}

/* What the log holds of a branch that is gone is not drained, it drops out. */
static bool overlay_drop(struct vms_node *n, struct prune *pr, struct part *p)
{
	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next) {
		struct pbranch *b = prune_find(&pr->br, e->branch);
		struct vms_rec r = {.type = VMS_REC_TRIM,
				    .flags = VMS_RF_INTERNAL,
				    .branch = e->branch,
				    .aux = VMS_TRIM_OVERLAY};

		if (!b || !prune_gone(b) || !b->dirty || (!e->nranges && !e->chunks))
			continue;
		if (p->trims.n || part_order(n, p, &r, NULL, 0) == 0)
			pr->wait_seq = p->seq_last;
		return true;
	}
	return false;
}

static int late_page(void *arg, const struct vms_page *pg)
{
	struct prune *pr = arg;

	if (!pr->have_prev) {
		if (pg->key.branch != pr->prev.branch || pg->key.subext != pr->prev.subext ||
		    pg->key.snap_gen != pr->prev.snap_gen)
			return 1; /* it is gone */
		pr->have_prev = true;
		return 0;
	}
	consider(pr, &pr->prev,
		 pg->key.branch == pr->prev.branch && pg->key.subext == pr->prev.subext
			 ? pg->key.snap_gen
			 : UINT64_MAX);
	pr->have_prev = false;
	return 1;
}

/* The pages noted of this partition; those that may not go yet stay noted. */
static int late_pages(struct vms_node *n, struct prune *pr, struct part *p)
{
	unsigned count = 0;
	size_t k = 0;
	int rc = 0;

	for (size_t i = 0; i < pr->late.n; i++) {
		struct late *l = &pr->late.d[i];
		unsigned before = pr->nc;

		if (l->key.partition != p->number || rc < 0 || pr->nc == VMS_DROPS_MAX ||
		    count++ == PAGES_PER_STEP) {
			pr->late.d[k++] = *l;
			pr->more |= l->key.partition == p->number && rc >= 0;
			continue;
		}
		pr->prev = l->key;
		pr->have_prev = false;
		rc = vms_pages_each(n->pages, p->number, &l->key, late_page, pr);
		if (rc >= 0 && pr->have_prev)
			consider(pr, &pr->prev, UINT64_MAX);
		pr->have_prev = false;
		pr->pages++;
		if (pr->nc > before && !judge(pr, &pr->c[before]))
			VMS_VEC_PUSH(&pr->again, *l);
	}
	pr->late.n = k;
	return rc;
}

void prune_scan_step(struct vms_node *n, struct prune *pr)
{
	struct part *p = node_part(n, pr->part);
	struct vms_rec r = {.type = VMS_REC_DROP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_DROPS_META_MAX];
	int rc;

	if (!p || !p->known || !p->primary) {
		part_next(pr);
		return;
	}
	if (!part_serving(p) || !part_members_ready(p) || n->stopping ||
	    (pr->entered && pr->epoch != p->conf.epoch)) {
		part_missed(pr);
		part_next(pr);
		return;
	}
	if (!pr->entered) {
		pr->entered = true;
		pr->epoch = p->conf.epoch;
		pr->wait_seq = 0;
		pr->more = false;
		VMS_VEC_FOREACH (&pr->br, b)
			b->left_part = false;
		memset(&pr->resume, 0, sizeof(pr->resume));
		pr->resume.partition = p->number;
	}
	if (p->applied < pr->wait_seq)
		return;
	if (pr->full && overlay_drop(n, pr, p))
		return;
	pr->p = p;
	pr->pages = pr->nc = pr->nd = 0;
	pr->more = pr->have_prev = false;
	VMS_VEC_CLEAR(&pr->under);
	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next)
		VMS_VEC_PUSH(&pr->under, ((struct under){e->extent, e}));
	if (pr->under.n)
		qsort(pr->under.d, pr->under.n, sizeof(*pr->under.d), under_cmp);
	if (pr->full) {
		rc = vms_pages_each(n->pages, p->number, &pr->resume, scan_page, pr);
		if (rc >= 0 && pr->have_prev)
			consider(pr, &pr->prev, UINT64_MAX);
		for (unsigned i = 0; rc >= 0 && i < pr->nc; i++)
			judge(pr, &pr->c[i]);
	} else {
		rc = late_pages(n, pr, p);
	}
	if (rc < 0) {
		node_log(n, VMS_LOG_ERROR,
			 "partition %u: an index page is damaged, nothing of it "
			 "is pruned",
			 p->number);
		part_missed(pr);
		part_next(pr);
		return;
	}
	n->st.pages_scanned += pr->pages;
	if (pr->nd) {
		vms_rec_drops_put(&r, meta, pr->d, pr->nd);
		if (part_order(n, p, &r, NULL, 0)) {
			/* no log space: the same pages again */
			pr->more = true;
			if (pr->full)
				pr->resume = (struct vms_page_key){p->number, pr->d[0].branch,
								   pr->d[0].subext, 0};
			for (unsigned i = 0; !pr->full && i < pr->nd; i++)
				VMS_VEC_PUSH(&pr->late,
					     ((struct late){{p->number, pr->d[i].branch,
							     pr->d[i].subext, pr->d[i].snap_gen}}));
			return;
		}
		pr->wait_seq = p->seq_last;
	}
	if (!pr->more && !pr->nd) {
		if (pr->full)
			part_clean(n, pr, p);
		part_next(pr);
	} else if (!pr->more && pr->full) {
		/* the last DROP of the partition is waited for as well */
		pr->resume = (struct vms_page_key){p->number, UINT64_MAX, UINT32_MAX, UINT64_MAX};
	}
}

void prune_scan_end(struct vms_node *n, struct prune *pr)
{
	bool left = false, reap = false;

	n->st.scans += pr->full;
	VMS_VEC_FOREACH (&pr->br, b) {
		if (!pr->full)
			break;
		b->dirty &= b->left;
		left |= b->left;
		reap |= prune_gone(b) && !b->left && !b->here;
	}
	VMS_VEC_FOREACH (&pr->again, l)
		VMS_VEC_PUSH(&pr->late, *l);
	VMS_VEC_CLEAR(&pr->again);
	for (size_t i = 0; i < pr->late.n;) {
		struct part *p = node_part(n, pr->late.d[i].key.partition);

		if (p && p->primary)
			i++;
		else
			VMS_VEC_REMOVE_FAST(&pr->late, i);
	}
	left |= pr->late.n != 0;
	for (uint32_t i = 0; i < n->nparts && reap; i++)
		if (n->part[i])
			n->part[i]->prune_seq = n->part[i]->drain_applied;
	if (reap) {
		pr->phase = PR_SETTLE;
		n->hungry = true;
		return;
	}
	pr->phase = PR_IDLE;
	VMS_VEC_FOREACH (&pr->br, b)
		reap |= prune_gone(b) && b->all;
	VMS_VEC_FOREACH (&pr->reaped, r)
		reap |= !prune_find(&pr->br, r->branch);
	if (reap) {
		pr->phase = PR_REAP;
		return;
	}
	/* a burst of deletions is scanned for together */
	pr->due_ms = n->now_ms + n->tm.tick_ms + (n->now_ms - pr->scan_ms);
	if (left)
		prune_again_in(n, pr, 8ull * n->tm.tick_ms + (n->now_ms - pr->scan_ms));
}
