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
 * Owner: the node thread. Keeps invariants 17, 20, 27 (rules D4, D5, A2).
 */
#include "backend/prune.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/htab.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/round.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PAGES_PER_STEP 128u
#define TXN_KEYS       100u
#define LATE_MAX       16384u

enum phase {
	PR_IDLE,
	PR_READ,   /* the catalog, prefix by prefix */
	PR_SCAN,   /* partition by partition */
	PR_SETTLE, /* until what was dropped is durable on all members */
	PR_REAP,   /* a transaction of the catalog is out */
};
enum prefix { PX_VOLUME, PX_SNAP, PX_BRANCH, PX_REAPED, PX_NODE, PX_N };
static const char *const prefixes[PX_N] = {"volume/", "snap/", "branch/", "reaped/", "node/"};

struct point {
	uint64_t branch, gen;
	uint64_t via;	/* the descendant that sees it; 0: a snapshot */
	uint64_t limit; /* chunks from here on are not seen */
};

struct pbranch {
	uint64_t branch, owner;
	uint64_t rev;	    /* of its record; 0: it has none */
	uint64_t from;	    /* all numbers from here on are points; UINT64_MAX: none */
	bool dead, left_by; /* its volume is gone; is on a younger one */
	bool seen;	    /* a point lies on it */
	bool dirty;
	bool left;	/* the scan left something of it behind, or missed a partition */
	bool left_part; /* ... in this partition */
	bool here, all; /* the partitions that this node leads, all are named in reaped/ */
	unsigned nancestors;
	struct vms_cat_ancestor ancestor[VMS_ANCESTORS_MAX];
};

struct pvolume {
	uint64_t id, branch, snap_gen;
};

/* A bit for each partition: its primary has found nothing of the branch any more. */
struct reaped {
	uint64_t branch;
	uint32_t node; /* who said so */
	uint8_t *bits; /* NULL: an older version, which did not tell the partitions */
};

VMS_VEC_TYPE(points, struct point);
VMS_VEC_TYPE(pbranches, struct pbranch);

/* A page over which a newer one was made. */
struct late {
	struct vms_page_key key;
};

/* A page that no snapshot shows, and the number of the one that follows it. */
struct cand {
	struct vms_page_key key;
	uint64_t next;
};

/* An entry of the overlay by extent. */
struct under {
	uint32_t extent;
	const struct vms_ovl_ext *e;
};

struct prune {
	enum phase phase;
	bool hint, busy;
	uint64_t due_ms, step_ms;
	uint64_t watch[2]; /* snap/, branch/ */
	/* reading */
	enum prefix px;
	char after[VMS_CAT_KEY_BYTES_MAX];
	uint64_t rev0, watch_rev[2], read_rev;
	bool bad;
	VMS_VEC(struct pvolume) vols;
	VMS_VEC(struct reaped) reaped;
	VMS_VEC(uint32_t) nodes;
	struct pbranches br, old;  /* ascending */
	struct points pts, oldpts; /* ascending by branch, gen */
	/* scanning */
	uint32_t part;
	uint64_t epoch, wait_seq;
	bool entered, more;
	struct vms_page_key resume;
	struct part *p;
	struct vms_node *n;
	unsigned pages;
	bool have_prev;
	struct vms_page_key prev;
	bool full;		      /* whole branches are scanned; else only what is in late */
	VMS_VEC(struct reaped) clean; /* found by this scan */
	uint64_t *clean_epoch;	      /* ... by partition, in that epoch of it */
	VMS_VEC(struct late) late, again;
	unsigned nc, nd;
	struct cand c[VMS_DROPS_MAX];
	struct vms_drop d[VMS_DROPS_MAX];
	VMS_VEC(struct under) under;
	uint64_t scan_ms;
};

/* ---- points ---- */

static struct pbranch *find(const struct pbranches *v, uint64_t branch)
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

static size_t first_point(const struct points *v, uint64_t branch, uint64_t gen)
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

/* Does a snapshot show [gen, next) of the branch, or is there any point at all? */
static bool pointed(const struct points *v, uint64_t branch, uint64_t gen, uint64_t next, bool any)
{
	for (size_t i = first_point(v, branch, gen);
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

/* Nothing reads it and nothing ever will. */
static bool gone(const struct pbranch *b)
{
	return b->dead && !b->seen;
}

static void reaped_clear(struct reaped *d, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free(d[i].bits);
	*n = 0;
}

static bool bit_of(const uint8_t *bits, uint32_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static size_t bits_bytes(const struct vms_node *n)
{
	return (n->nparts + 7) / 8;
}

static uint8_t *bits_decode(const struct vms_node *n, const char *text)
{
	size_t bytes = bits_bytes(n);
	uint8_t *b;

	if (strlen(text) != 2 * bytes)
		return NULL;
	b = malloc(bytes);
	vms_assert(b);
	for (size_t i = 0; i < bytes; i++) {
		char hex[3] = {text[2 * i], text[2 * i + 1], 0}, *end;

		b[i] = (uint8_t)strtoul(hex, &end, 16);
		if (*end || hex[0] == '-' || hex[0] == '+' || hex[0] == ' ') {
			free(b);
			return NULL;
		}
	}
	return b;
}

static char *bits_encode(const struct vms_node *n, const uint8_t *bits)
{
	size_t bytes = bits_bytes(n);
	char *t = malloc(2 * bytes + 1);

	vms_assert(t);
	for (size_t i = 0; i < bytes; i++)
		snprintf(t + 2 * i, 3, "%02x", bits[i]);
	return t;
}

/* ---- the catalog ---- */

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
		if (gone(&v->d[i])) {
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
	b = pr->phase == PR_READ ? NULL : find(&pr->br, from->branch);
	if (b && (made->branch == from->branch
			  ? pointed(&pr->pts, from->branch, from->snap_gen, made->snap_gen, false)
			  : b->from != UINT64_MAX || pointed(&pr->pts, from->branch, from->snap_gen,
							     UINT64_MAX, false)))
		return;
	if (pr->late.n < LATE_MAX)
		VMS_VEC_PUSH(&pr->late, ((struct late){*from}));
	else if (b)
		b->dirty = true;
	if (!pr->hint && pr->due_ms < n->now_ms + 6ull * n->tm.tick_ms)
		pr->due_ms = n->now_ms + 6ull * n->tm.tick_ms;
	pr->hint = true;
}

/* A snapshot is deleted, a branch has died. */
static void watched(struct vms_node *n, unsigned w, const struct vms_cat_reply *r)
{
	struct prune *pr = n->prune;

	if (r->status) {
		n->cat->ops->unwatch(n->cat, pr->watch[w]);
		pr->watch[w] = 0; /* the next reading begins it anew */
		prune_hint(n);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_cat_branch b;
		struct vms_errmsg e;

		if (w == 0 ? !r->kv[i].val
			   : r->kv[i].val && !vms_cat_branch_decode(&r->kv[i], &b, &e) &&
				     b.state == 2)
			prune_hint(n);
	}
}

static void watch_snap(void *arg, const struct vms_cat_reply *r)
{
	watched(arg, 0, r);
}

static void watch_branch(void *arg, const struct vms_cat_reply *r)
{
	watched(arg, 1, r);
}

static void on_kv(struct vms_node *n, struct prune *pr, const struct vms_cat_kv *kv)
{
	struct vms_errmsg e = {""};

	switch (pr->px) {
	case PX_VOLUME: {
		struct vms_cat_volume v;

		if (vms_cat_volume_decode(kv, &v, &e))
			break;
		VMS_VEC_PUSH(&pr->vols, ((struct pvolume){v.id, v.branch, v.snap_gen}));
		return;
	}
	case PX_SNAP: {
		struct vms_cat_snap s;

		if (vms_cat_snap_decode(kv, &s, &e))
			break;
		VMS_VEC_PUSH(&pr->pts, ((struct point){s.branch, s.snap_gen, 0, UINT64_MAX}));
		return;
	}
	case PX_BRANCH: {
		struct vms_cat_branch b;
		struct pbranch *x;

		if (vms_cat_branch_decode(kv, &b, &e))
			break;
		x = VMS_VEC_ADD(&pr->br);
		memset(x, 0, sizeof(*x));
		x->branch = b.branch;
		x->owner = b.owner;
		x->rev = kv->mod_revision;
		x->dead = b.state == 2 &&
			  (kv->mod_revision <= pr->rev0 || n->mut == MUT_PRUNE_DEAD);
		if (b.state == 2 && !x->dead)
			pr->hint = true; /* next time */
		x->nancestors = b.nancestors;
		memcpy(x->ancestor, b.ancestor, sizeof(b.ancestor));
		return;
	}
	case PX_REAPED: {
		char *end;
		uint64_t branch = strtoull(kv->key + strlen("reaped/"), &end, 16);

		if (*end == '/')
			VMS_VEC_PUSH(&pr->reaped,
				     ((struct reaped){branch, (uint32_t)strtoul(end + 1, NULL, 16),
						      bits_decode(n, kv->val)}));
		return;
	}
	case PX_NODE: {
		struct vms_cat_node c;

		if (vms_cat_node_decode(kv, &c, &e))
			break;
		VMS_VEC_PUSH(&pr->nodes, c.id);
		return;
	}
	default:
		return;
	}
	/* what cannot be read might be in use */
	pr->bad = true;
	node_log(n, VMS_LOG_ERROR, "nothing is pruned: %s", e.text);
}

static void read_page(struct vms_node *n);
static void table_make(struct vms_node *n, struct prune *pr);

static void again_in(struct vms_node *n, struct prune *pr, uint64_t ms)
{
	if (pr->phase == PR_READ) {
		/* what is known to be dirty is in the former table */
		VMS_VEC_FREE(&pr->br);
		VMS_VEC_FREE(&pr->pts);
		pr->br = pr->old;
		pr->pts = pr->oldpts;
		memset(&pr->old, 0, sizeof(pr->old));
		memset(&pr->oldpts, 0, sizeof(pr->oldpts));
	}
	pr->phase = PR_IDLE;
	pr->hint = true;
	pr->due_ms = n->now_ms + ms;
	node_wake_at(n, pr->due_ms);
}

static void read_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct prune *pr = n->prune;

	pr->busy = false;
	if (r->status) {
		again_in(n, pr, 4ull * n->tm.tick_ms);
		return;
	}
	/* Read one after the other is what the table relies on: an answer as of before
	 * the one that came first would miss what was made in between. */
	if (pr->px == PX_VOLUME && !pr->after[0])
		pr->rev0 = pr->read_rev = r->revision;
	if (r->revision < pr->read_rev && n->mut != MUT_PRUNE_STALE) {
		again_in(n, pr, n->tm.tick_ms);
		return;
	}
	pr->read_rev = r->revision;
	if (!pr->after[0] && (pr->px == PX_SNAP || pr->px == PX_BRANCH))
		pr->watch_rev[pr->px - PX_SNAP] = r->revision;
	for (unsigned i = 0; i < r->nkv; i++)
		on_kv(n, pr, &r->kv[i]);
	pr->after[0] = 0;
	if (r->more && r->nkv)
		snprintf(pr->after, sizeof(pr->after), "%s", r->kv[r->nkv - 1].key);
	else
		pr->px++;
	if (pr->bad)
		again_in(n, pr, 40ull * n->tm.tick_ms);
	else if (pr->px < PX_N)
		read_page(n);
	else
		table_make(n, pr);
}

static void read_page(struct vms_node *n)
{
	struct prune *pr = n->prune;

	pr->busy = true;
	n->cat->ops->range(n->cat, prefixes[pr->px], pr->after[0] ? pr->after : NULL, read_done, n);
}

static void read_start(struct vms_node *n, struct prune *pr)
{
	pr->phase = PR_READ;
	pr->hint = pr->bad = false;
	pr->px = PX_VOLUME;
	pr->after[0] = 0;
	VMS_VEC_FREE(&pr->old);
	VMS_VEC_FREE(&pr->oldpts);
	pr->old = pr->br;
	pr->oldpts = pr->pts;
	memset(&pr->br, 0, sizeof(pr->br));
	memset(&pr->pts, 0, sizeof(pr->pts));
	VMS_VEC_CLEAR(&pr->vols);
	reaped_clear(pr->reaped.d, &pr->reaped.n);
	VMS_VEC_CLEAR(&pr->nodes);
	read_page(n);
}

/* A point that was there and is not any more? */
static bool lost_points(const struct prune *pr, uint64_t branch)
{
	for (size_t i = first_point(&pr->oldpts, branch, 0);
	     i < pr->oldpts.n && pr->oldpts.d[i].branch == branch; i++)
		if (!pointed(&pr->pts, branch, pr->oldpts.d[i].gen, pr->oldpts.d[i].gen + 1,
			     pr->oldpts.d[i].via != 0))
			return true;
	return false;
}

static void count_reaped(struct vms_node *n, struct prune *pr, struct pbranch *b)
{
	uint8_t *all = calloc(1, bits_bytes(n));
	size_t said = 0;

	vms_assert(all);
	b->here = b->all = true;
	VMS_VEC_FOREACH (&pr->reaped, r) {
		if (r->branch != b->branch)
			continue;
		said++;
		for (size_t i = 0; r->bits && i < bits_bytes(n); i++)
			all[i] |= r->bits[i];
	}
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct part *p = n->part[i];

		if (bit_of(all, i))
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

			if (!b->floor_dirty || find(&pr->br, l->key))
				continue;
			b->floor_dirty = false;
			b->floor_forget = true;
			n->floors_dirty = true;
		}
}

/* All has been read: branches, their points, and which of them to look at. */
static void table_make(struct vms_node *n, struct prune *pr)
{
	struct pvolume *end = pr->vols.d + pr->vols.n;
	size_t nrec = pr->br.n;
	bool any = false;

	if (!pr->watch[0])
		pr->watch[0] = n->cat->ops->watch(n->cat, prefixes[PX_SNAP], pr->watch_rev[0],
						  watch_snap, n);
	if (!pr->watch[1])
		pr->watch[1] = n->cat->ops->watch(n->cat, prefixes[PX_BRANCH], pr->watch_rev[1],
						  watch_branch, n);
	if (nrec)
		qsort(pr->br.d, nrec, sizeof(*pr->br.d), branch_cmp);
	/* volumes of the first release have no record of their branch */
	for (struct pvolume *v = pr->vols.d; v < end; v++)
		if (!find(&(struct pbranches){pr->br.d, nrec, nrec}, v->branch)) {
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
		struct pbranch *b = find(&pr->br, pr->pts.d[i].branch);

		if (b)
			b->seen = true;
	}
	/* children come before their ancestors: their numbers are higher */
	for (size_t i = pr->br.n; i-- > 0;) {
		struct pbranch *b = &pr->br.d[i];

		if (gone(b) || n->mut == MUT_PRUNE_CLONE)
			continue;
		for (unsigned k = 0; k < b->nancestors; k++) {
			struct vms_cat_ancestor *a = &b->ancestor[k];
			struct pbranch *x = find(&pr->br, a->branch);

			VMS_VEC_PUSH(&pr->pts, ((struct point){a->branch, a->snap_gen, b->branch,
							       a->limit_chunks}));
			if (x)
				x->seen = true;
		}
	}
	if (pr->pts.n)
		qsort(pr->pts.d, pr->pts.n, sizeof(*pr->pts.d), point_cmp);
	VMS_VEC_FOREACH (&pr->br, b) {
		struct pbranch *o = find(&pr->old, b->branch);
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
			   (gone(b) && !b->here);
		any |= b->dirty;
	}
	pr->full = any;
	reaped_clear(pr->clean.d, &pr->clean.n);
	floors_forget(n, pr);
	pr->phase = PR_SCAN;
	pr->scan_ms = pr->step_ms = n->now_ms;
	pr->part = any || pr->late.n ? 0 : n->nparts;
	pr->entered = false;
	if (n->mut == MUT_PRUNE_NEW)
		pr->step_ms += 1000; /* what was read is out of date by then */
	node_wake_at(n, pr->step_ms);
}

/* ---- the scan ---- */

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
	for (size_t i = first_point(&pr->pts, b->branch, 0);
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
	for (size_t i = first_point(&pr->pts, k->branch, k->snap_gen);
	     i < pr->pts.n && pr->pts.d[i].branch == k->branch && pr->pts.d[i].gen < next; i++) {
		const struct point *q = &pr->pts.d[i];
		const struct pbranch *d = q->via ? find(&pr->br, q->via) : NULL;

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
	struct pbranch *b = find(&pr->br, k->branch);

	if (!b || (pr->full && !b->dirty))
		return;
	if ((next > b->from && pr->n->mut != MUT_PRUNE_NEW) ||
	    (next == UINT64_MAX && b->from != UINT64_MAX) ||
	    pointed(&pr->pts, k->branch, k->snap_gen, next, false))
		return;
	pr->c[pr->nc++] = (struct cand){*k, next};
}

/* false: once more later. */
static bool judge(struct prune *pr, const struct cand *c)
{
	const struct vms_page_key *k = &c->key;
	struct pbranch *b = find(&pr->br, k->branch);
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
	b = find(&pr->br, k->branch);
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

		if (!gone(b) || !b->dirty || b->left_part)
			continue;
		VMS_VEC_FOREACH (&pr->clean, x)
			if (x->branch == b->branch)
				c = x;
		if (!c) {
			c = VMS_VEC_ADD(&pr->clean);
			*c = (struct reaped){b->branch, (uint32_t)n->id, calloc(1, bits_bytes(n))};
			vms_assert(c->bits);
		}
		c->bits[p->number / 8] |= (uint8_t)(1u << p->number % 8);
	}
}

/* What the log holds of a branch that is gone is not drained, it drops out. */
static bool overlay_drop(struct vms_node *n, struct prune *pr, struct part *p)
{
	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next) {
		struct pbranch *b = find(&pr->br, e->branch);
		struct vms_rec r = {.type = VMS_REC_TRIM,
				    .flags = VMS_RF_INTERNAL,
				    .branch = e->branch,
				    .aux = VMS_TRIM_OVERLAY};

		if (!b || !gone(b) || !b->dirty || (!e->nranges && !e->chunks))
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

static void scan_step(struct vms_node *n, struct prune *pr)
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

/* ---- dead branches that are empty ---- */

static void scan_end(struct vms_node *n, struct prune *pr)
{
	bool left = false, reap = false;

	n->st.scans += pr->full;
	VMS_VEC_FOREACH (&pr->br, b) {
		if (!pr->full)
			break;
		b->dirty &= b->left;
		left |= b->left;
		reap |= gone(b) && !b->left && !b->here;
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
		reap |= gone(b) && b->all;
	VMS_VEC_FOREACH (&pr->reaped, r)
		reap |= !find(&pr->br, r->branch);
	if (reap) {
		pr->phase = PR_REAP;
		return;
	}
	/* a burst of deletions is scanned for together */
	pr->due_ms = n->now_ms + n->tm.tick_ms + (n->now_ms - pr->scan_ms);
	if (left)
		again_in(n, pr, 8ull * n->tm.tick_ms + (n->now_ms - pr->scan_ms));
}

static void key_reaped(char *out, uint64_t branch, uint32_t node)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "reaped/%016llx/%08x", (unsigned long long)branch,
		 node);
}

static void reap_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct prune *pr = n->prune;

	pr->busy = false;
	/* whatever came of it: read again, where it stands */
	again_in(n, pr, r->status ? 2ull * n->tm.tick_ms : 1);
}

/* What this node may say of a dead branch now, as text; NULL: nothing new. What was found is
 * durable on all members, and has been found by the one that leads still. */
static char *say(struct vms_node *n, struct prune *pr, const struct pbranch *b)
{
	uint8_t *bits = calloc(1, bits_bytes(n));
	char *text = NULL;
	bool any = n->mut == MUT_PRUNE_NODES;

	vms_assert(bits);
	VMS_VEC_FOREACH (&pr->reaped, r)
		for (size_t i = 0;
		     r->branch == b->branch && r->node == n->id && r->bits && i < bits_bytes(n);
		     i++)
			bits[i] |= r->bits[i];
	VMS_VEC_FOREACH (&pr->clean, c)
		for (uint32_t i = 0; c->branch == b->branch && i < n->nparts; i++) {
			const struct part *p = n->part[i];

			if (!bit_of(c->bits, i) || bit_of(bits, i) || !p || !p->known ||
			    !p->primary || p->conf.epoch != pr->clean_epoch[i] ||
			    p->safe_seq < p->prune_seq)
				continue;
			bits[i / 8] |= (uint8_t)(1u << i % 8);
			any = true;
		}
	if (any)
		text = bits_encode(n, bits);
	free(bits);
	return text;
}

/* Say what is empty here, or remove the records of what is empty everywhere. */
static void reap(struct vms_node *n, struct prune *pr)
{
	char(*keys)[VMS_CAT_KEY_BYTES_MAX] = calloc(TXN_KEYS + 1, sizeof(*keys));
	struct vms_cat_op op[TXN_KEYS + 1];
	struct vms_cat_cmp cmp;
	unsigned k = 0, ncmp = 0, said;
	bool later = false;

	vms_assert(keys);
	VMS_VEC_FOREACH (&pr->br, b) {
		char *text;

		if (!gone(b) || b->left || b->here || k == TXN_KEYS)
			continue;
		text = say(n, pr, b);
		if (!text) { /* the lead has changed since */
			later = true;
			continue;
		}
		key_reaped(keys[k], b->branch, (uint32_t)n->id);
		op[k] = (struct vms_cat_op){keys[k], text, 0};
		k++;
	}
	said = k;
	VMS_VEC_FOREACH (&pr->reaped, r) {
		/* left over by the one that removed the record */
		if (k || find(&pr->br, r->branch))
			continue;
		key_reaped(keys[k], r->branch, r->node);
		op[k] = (struct vms_cat_op){keys[k], NULL, 0};
		k++;
	}
	VMS_VEC_FOREACH (&pr->br, b) {
		if (k || !gone(b) || !b->all)
			continue;
		vms_cat_key_branch(keys[k], b->branch);
		cmp = (struct vms_cat_cmp){keys[k], b->rev};
		ncmp = 1;
		op[k] = (struct vms_cat_op){keys[k], NULL, 0};
		k++;
		VMS_VEC_FOREACH (&pr->reaped, r) {
			if (r->branch != b->branch || k > TXN_KEYS)
				continue;
			key_reaped(keys[k], r->branch, r->node);
			op[k] = (struct vms_cat_op){keys[k], NULL, 0};
			k++;
		}
	}
	if (k) {
		pr->busy = true;
		n->cat->ops->txn(n->cat, &cmp, ncmp, op, k, reap_done, n);
	} else if (later) {
		again_in(n, pr, 8ull * n->tm.tick_ms);
	} else {
		pr->phase = PR_IDLE;
	}
	for (unsigned i = 0; i < said; i++)
		free((char *)op[i].val);
	free(keys);
}

static bool settled(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (p && p->known && p->primary && p->safe_seq < p->prune_seq)
			return false;
	}
	return true;
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
			read_start(n, pr);
		return;
	case PR_SCAN:
		if (n->now_ms < pr->step_ms) {
			node_wake_at(n, pr->step_ms);
			return;
		}
		while (pr->part < n->nparts) {
			uint32_t at = pr->part;

			scan_step(n, pr);
			if (pr->part == at)
				break;
		}
		if (pr->part >= n->nparts)
			scan_end(n, pr);
		pr->step_ms = n->now_ms + gc_pace_ms(n);
		node_wake_at(n, pr->step_ms);
		return;
	case PR_SETTLE:
		if (settled(n))
			pr->phase = PR_REAP;
		else if (pr->hint && n->now_ms - pr->scan_ms > 40ull * n->tm.tick_ms)
			pr->phase = PR_IDLE;
		node_wake_at(n, n->now_ms + n->tm.tick_ms / 4);
		return;
	case PR_REAP:
		reap(n, pr);
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
		gone_left += gone(b) && !b->here;
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
	reaped_clear(pr->reaped.d, &pr->reaped.n);
	VMS_VEC_FREE(&pr->reaped);
	reaped_clear(pr->clean.d, &pr->clean.n);
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
