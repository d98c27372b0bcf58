// SPDX-License-Identifier: GPL-2.0-only
/* The table of pruning: branches, the points that lie on them, and which of them have to be
 * looked at. */
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/htab.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/prune_int.h"
#include "cluster/catalog.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

struct pbranch *prune_find(const struct pbranches *v, uint64_t branch)
{
	size_t lo = 0, hi = v->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (v->d[mid].branch < branch)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->n && v->d[lo].branch == branch ? &v->d[lo] : NULL;
}

size_t prune_first_point(const struct points *v, uint64_t branch, uint64_t gen)
{
	size_t lo = 0, hi = v->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct point *q = &v->d[mid];

		if (q->branch < branch || (q->branch == branch && q->gen < gen))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool prune_pointed(const struct points *v, uint64_t branch, uint64_t gen, uint64_t next, bool any)
{
	for (size_t i = prune_first_point(v, branch, gen);
	     i < v->n && v->d[i].branch == branch && v->d[i].gen < next; i++)
		if (any || !v->d[i].via)
			return true;
	return false;
}

static int point_cmp(const void *a, const void *b)
{
	const struct point *x = a, *y = b;

	if (x->branch != y->branch)
		return x->branch < y->branch ? -1 : 1;
	if (x->gen != y->gen)
		return x->gen < y->gen ? -1 : 1;
	return 0;
}

static int branch_cmp(const void *a, const void *b)
{
	const struct pbranch *x = a, *y = b;

	return x->branch < y->branch ? -1 : x->branch > y->branch;
}

void prune_reaped_clear(struct reaped *d, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free(d[i].bits);
	*n = 0;
}

/* A point that was there and is not any more? */
static bool lost_points(const struct prune *pr, uint64_t branch)
{
	for (size_t i = prune_first_point(&pr->oldpts, branch, 0);
	     i < pr->oldpts.n && pr->oldpts.d[i].branch == branch; i++)
		if (!prune_pointed(&pr->pts, branch, pr->oldpts.d[i].gen, pr->oldpts.d[i].gen + 1,
				   pr->oldpts.d[i].via != 0))
			return true;
	return false;
}

static void count_reaped(struct vms_node *n, struct prune *pr, struct pbranch *b)
{
	uint8_t *all = calloc(1, prune_bits_bytes(n));
	size_t said = 0;

	vms_assert(all);
	b->here = b->all = true;
	VMS_VEC_FOREACH (&pr->reaped, r) {
		if (r->branch != b->branch)
			continue;
		said++;
		for (size_t i = 0; r->bits && i < prune_bits_bytes(n); i++)
			all[i] |= r->bits[i];
	}
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct part *p = n->part[i];

		if (prune_bit(all, i))
			continue;
		b->all = false;
		b->here &= !(p && p->known && p->primary);
	}
	if (n->mut == MUT_PRUNE_NODES) {
		b->all = said >= pr->nodes.n;
		b->here = false;
		VMS_VEC_FOREACH (&pr->reaped, r)
			b->here |= r->branch == b->branch && r->node == n->id;
	}
	free(all);
}

/* Floors of branches that are no more need not be kept. */
static void floors_forget(struct vms_node *n, struct prune *pr)
{
	for (uint32_t i = 0; i <= n->branches.mask; i++)
		for (struct vms_hlink *l = n->branches.bucket[i]; l; l = l->next) {
			struct branch *b = vms_hlink_entry(l, struct branch, link);

			if (!b->floor_dirty || prune_find(&pr->br, l->key))
				continue;
			b->floor_dirty = false;
			b->floor_forget = true;
			n->floors_dirty = true;
		}
}

void prune_table_make(struct vms_node *n, struct prune *pr)
{
	struct pvolume *end = pr->vols.d + pr->vols.n;
	size_t nrec = pr->br.n;
	bool any = false;

	prune_watch(n, pr);
	if (nrec)
		qsort(pr->br.d, nrec, sizeof(*pr->br.d), branch_cmp);
	/* volumes of the first release have no record of their branch */
	for (struct pvolume *v = pr->vols.d; v < end; v++)
		if (!prune_find(&(struct pbranches){pr->br.d, nrec, nrec}, v->branch)) {
			struct pbranch *x = VMS_VEC_ADD(&pr->br);

			memset(x, 0, sizeof(*x));
			x->branch = v->branch;
			x->owner = v->id;
		}
	if (pr->br.n)
		qsort(pr->br.d, pr->br.n, sizeof(*pr->br.d), branch_cmp);
	if (pr->pts.n)
		qsort(pr->pts.d, pr->pts.n, sizeof(*pr->pts.d), point_cmp);
	for (size_t i = 0; i < pr->pts.n; i++) {
		struct pbranch *b = prune_find(&pr->br, pr->pts.d[i].branch);

		if (b)
			b->seen = true;
	}
	/* children come before their ancestors: their numbers are higher */
	for (size_t i = pr->br.n; i-- > 0;) {
		struct pbranch *b = &pr->br.d[i];

		if (prune_gone(b) || n->mut == MUT_PRUNE_CLONE)
			continue;
		for (unsigned k = 0; k < b->nancestors; k++) {
			struct vms_cat_ancestor *a = &b->ancestor[k];
			struct pbranch *x = prune_find(&pr->br, a->branch);

			VMS_VEC_PUSH(&pr->pts, ((struct point){a->branch, a->snap_gen, b->branch,
							       a->limit_chunks}));
			if (x)
				x->seen = true;
		}
	}
	if (pr->pts.n)
		qsort(pr->pts.d, pr->pts.n, sizeof(*pr->pts.d), point_cmp);
	VMS_VEC_FOREACH (&pr->br, b) {
		struct pbranch *o = prune_find(&pr->old, b->branch);
		struct branch *nb = node_branch(n, b->branch, false);

		if (b->dead && nb)
			nb->dead = true; /* whatever the watch is at */
		b->from = b->dead ? UINT64_MAX : 0;
		for (struct pvolume *v = pr->vols.d; v < end && !b->dead; v++) {
			if (v->id != b->owner)
				continue;
			b->left_by = b->branch < v->branch && b->rev <= pr->rev0;
			b->from = b->left_by ? UINT64_MAX : v->snap_gen;
		}
		count_reaped(n, pr, b);
		b->dirty = (b->dead && (!o || !o->dead)) || (b->left_by && (!o || !o->left_by)) ||
			   lost_points(pr, b->branch) || (o ? o->dirty : !pr->old.n) ||
			   (prune_gone(b) && !b->here);
		any |= b->dirty;
	}
	pr->full = any;
	prune_reaped_clear(pr->clean.d, &pr->clean.n);
	floors_forget(n, pr);
	pr->phase = PR_SCAN;
	pr->scan_ms = pr->step_ms = n->now_ms;
	pr->part = any || pr->late.n ? 0 : n->nparts;
	pr->entered = false;
	if (n->mut == MUT_PRUNE_NEW)
		pr->step_ms += 1000; /* what was read is out of date by then */
	node_wake_at(n, pr->step_ms);
}
