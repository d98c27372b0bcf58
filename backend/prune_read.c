// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pruning reads the catalog: volumes, snapshots, branches, what has been reaped, nodes. The
 * order is what makes the answer safe (prune.c); an answer as of before the one that came
 * first begins it anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/prune.h"
#include "backend/prune_int.h"
#include "cluster/catalog.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

static const char *const prefixes[PX_N] = {"volume/", "snap/", "branch/", "reaped/", "node/"};

static uint8_t *bits_decode(const struct vms_node *n, const char *text)
{
	size_t bytes = prune_bits_bytes(n);
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

void prune_again_in(struct vms_node *n, struct prune *pr, uint64_t ms)
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
		prune_again_in(n, pr, 4ull * n->tm.tick_ms);
		return;
	}
	/* Read one after the other is what the table relies on: an answer as of before
	 * the one that came first would miss what was made in between. */
	if (pr->px == PX_VOLUME && !pr->after[0])
		pr->rev0 = pr->read_rev = r->revision;
	if (r->revision < pr->read_rev && n->mut != MUT_PRUNE_STALE) {
		prune_again_in(n, pr, n->tm.tick_ms);
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
		prune_again_in(n, pr, 40ull * n->tm.tick_ms);
	else if (pr->px < PX_N)
		read_page(n);
	else
		prune_table_make(n, pr);
}

static void read_page(struct vms_node *n)
{
	struct prune *pr = n->prune;

	pr->busy = true;
	n->cat->ops->range(n->cat, prefixes[pr->px], pr->after[0] ? pr->after : NULL, read_done, n);
}

void prune_read_start(struct vms_node *n, struct prune *pr)
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
	prune_reaped_clear(pr->reaped.d, &pr->reaped.n);
	VMS_VEC_CLEAR(&pr->nodes);
	read_page(n);
}

void prune_watch(struct vms_node *n, struct prune *pr)
{
	if (!pr->watch[0])
		pr->watch[0] = n->cat->ops->watch(n->cat, prefixes[PX_SNAP], pr->watch_rev[0],
						  watch_snap, n);
	if (!pr->watch[1])
		pr->watch[1] = n->cat->ops->watch(n->cat, prefixes[PX_BRANCH], pr->watch_rev[1],
						  watch_branch, n);
}
