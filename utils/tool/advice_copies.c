// SPDX-License-Identifier: GPL-2.0-only
/* Risks of the copies: how many there are, on what, and whether lost ones can be made
 * anew. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/advice_int.h"

#define STANDING_MAX 8u /* partitions that are named */

/* ---- what is so now ---- */

static void missing(struct look *l, struct advices *out)
{
	const struct view_health *h = &l->h;
	struct advice *a;
	char names[300];

	if (h->down) {
		view_missing(&l->r.v, names, sizeof(names));
		a = advice_add(out, ADVICE_NOW,
			       "%u partitions cannot be reached: no node that has them up to date "
			       "runs (%s)",
			       h->down, names);
		advice_mend(a, "on any of these: `systemctl start vmstored`; see 'Data cannot be "
			       "reached' in doc/operations.md");
	}
	if (h->below_min) {
		a = advice_add(out, ADVICE_NOW,
			       "writes wait in %u partitions that have fewer than %u copies",
			       h->below_min, l->r.v.cluster.min_copies);
		advice_mend(a, "start the nodes that are down; or go on with fewer copies, at the "
			       "risk that the next failure loses what is written until then: "
			       "`vmstore-ring set --min-copies 1`");
	}
	if (h->missing_copies || h->degraded) {
		a = advice_add(out, ADVICE_NOW, "%u partitions have fewer copies than wanted",
			       h->missing_copies + h->degraded);
		advice_mend(a, "none needed while `vmstore-ring status` shows them moving; start "
			       "nodes that are down");
	}
}

static void stopped(const struct ring *r, struct advices *out)
{
	uint32_t n = 0, first = 0;
	struct advice *a;

	for (uint32_t p = 0; p < r->v.nparts; p++)
		if (r->part[p].asked && !r->part[p].serving)
			first = n++ ? first : p;
	if (!n)
		return;
	a = advice_add(out, ADVICE_NOW, "%u partitions are not served (partition %u: %s)", n, first,
		       r->part[first].state);
	advice_mend(a, "wait some seconds; if it stays, `vmstore-ring status` names what they wait "
		       "for");
}

/* What they need is damaged on every node that runs. */
static void standing(struct ring *r, struct advices *out)
{
	char who[700], mend[300];
	struct advice *a;
	uint32_t n = 0;

	for (uint32_t p = 0; p < r->v.nparts; p++) {
		if (!r->part[p].stands || n++ >= STANDING_MAX)
			continue;
		ring_stand_who(r, p, who, sizeof(who));
		ring_stand_mend(r, p, mend, sizeof(mend));
		a = advice_add(out, ADVICE_NOW,
			       "partition %u stands: the bytes of record %" PRIu64 " are %s%s", p,
			       r->part[p].stands, who,
			       r->part[p].writes_wait
				       ? "; its writes wait"
				       : "; it takes some writes more, then they wait");
		advice_mend(a, "%s", mend);
	}
	if (n > STANDING_MAX)
		advice_mend(
			advice_add(out, ADVICE_NOW, "%u partitions more stand", n - STANDING_MAX),
			"`vmstore-ring status --json` lists them: standing");
}

/* ---- what a failure would cost ---- */

static void settings(const struct view *v, const struct view_health *h, struct advices *out)
{
	const struct vms_cat_cluster *c = &v->cluster;
	uint32_t holders = advice_holders(v);
	char after[VMS_SIZE_TEXT_MAX];
	struct advice *a;

	if (c->copies == 1) {
		a = advice_add(out, ADVICE_NOW,
			       "there is one copy of everything: a lost disk loses data, and what "
			       "is on a node that is down cannot be reached");
		advice_mend(a, "%s`vmstore-ring set --copies 2`",
			    holders < 2 ? "`vmstore-ring join HOST:PORT`, then " : "");
	} else if (c->min_copies == c->copies) {
		bool anew = holders > c->copies && c->rebuild_after_s;

		vms_duration_format(c->rebuild_after_s * 1000ull, after);
		a = advice_add(out, ADVICE_SOON,
			       "writes need all %u copies (min-copies): one lost node stops writes "
			       "to its partitions until %s%s",
			       c->copies,
			       anew ? "its copies are made anew, which begins after "
				    : "it is back",
			       anew ? after : "");
		advice_mend(a, "`vmstore-ring set --min-copies %u`", c->copies - 1);
	} else if (c->copies >= 3 && c->min_copies == 1) {
		a = advice_add(out, ADVICE_SOON,
			       "writes are acknowledged with one copy of %u left: the next failure "
			       "loses them",
			       c->copies);
		advice_mend(a, "`vmstore-ring set --min-copies 2`");
	}
	if (!c->rebuild_after_s && c->copies > 1)
		advice_mend(advice_add(out, ADVICE_SOON,
				       "copies of a node that stays away are never made anew"),
			    "`vmstore-ring set --rebuild-after 10min`");
	if (c->timing_factor != 1)
		advice_mend(advice_add(out, ADVICE_NOTE,
				       "all times are scaled by %g: failures are noticed %s than "
				       "usual",
				       c->timing_factor,
				       c->timing_factor > 1 ? "later" : "earlier"),
			    "none: it was fixed when the cluster was made");
	if (h->loss_epochs)
		advice_mend(advice_add(out, ADVICE_NOTE,
				       "unflushed writes may have been lost %" PRIu64 " times so "
				       "far",
				       h->loss_epochs),
			    "check the volumes with write_ack=memory that were in use then");
}

static uint32_t zones(const struct view *v, uint32_t *named)
{
	uint32_t n = 0;

	*named = 0;
	for (size_t i = 0; i < v->nodes.n; i++) {
		const struct vms_cat_node *x = &v->nodes.d[i].n;
		bool first = true;

		if (!vms_place_weight(x))
			continue;
		*named += x->zone[0] != 0;
		for (size_t k = 0; k < i; k++)
			first &= !(x->zone[0] && vms_place_weight(&v->nodes.d[k].n) &&
				   !strcmp(x->zone, v->nodes.d[k].n.zone));
		n += first;
	}
	return n;
}

/* Are there enough of them? */
static void holders(const struct view *v, struct advices *out)
{
	const struct vms_cat_cluster *c = &v->cluster;
	uint32_t n = advice_holders(v), named, nz = zones(v, &named);
	struct advice *a;

	if (n < c->copies) {
		a = advice_add(out, ADVICE_NOW, "%u nodes hold data, %u copies are wanted", n,
			       c->copies);
		advice_mend(a, "`vmstore-ring join HOST:PORT`, or `vmstore-ring set --copies %u`",
			    n ? n : 1);
	} else if (n == c->copies && n > 1) {
		a = advice_add(out, ADVICE_SOON,
			       "as many nodes as copies (%u): the copies of a lost node cannot be "
			       "made anew, there is no node for them",
			       n);
		advice_mend(a, "`vmstore-ring join HOST:PORT`");
	}
	if (n >= c->copies && nz < c->copies) {
		a = advice_add(out, ADVICE_SOON,
			       "%u zones for %u copies: copies of one partition share a zone, and "
			       "one that fails takes several of them with it",
			       nz, c->copies);
		advice_mend(a,
			    "`vmstore-ring join HOST:PORT --zone ZONE` with a machine in another "
			    "zone, or correct the zones: `vmstore-ring zone NODE ZONE`");
	} else if (named && named < n) {
		a = advice_add(out, ADVICE_NOTE,
			       "%u of %u nodes have no zone; each counts as one of its own",
			       n - named, n);
		advice_mend(a, "`vmstore-ring zone NODE ZONE`");
	}
}

/* If the node that holds most is lost: where would its copies go? */
static void largest(const struct ring *r, struct advices *out)
{
	const struct view_node *most = NULL;
	struct ring_lack lack;
	uint64_t used, total, max = 0;
	struct view v = r->v;
	size_t at = 0;

	if (!v.cluster.has_data || !r->part || v.cluster.copies < 2 ||
	    advice_holders(&v) <= v.cluster.copies)
		return;
	for (size_t i = 0; i < v.nodes.n; i++)
		if (vms_place_weight(&v.nodes.d[i].n) &&
		    view_node_space(&v.nodes.d[i], &used, &total) && (!most || used > max)) {
			most = &v.nodes.d[i];
			max = used;
			at = i;
		}
	if (!most)
		return;
	v.nodes.d = malloc(v.nodes.n * sizeof(*v.nodes.d));
	vms_assert(v.nodes.d);
	memcpy(v.nodes.d, r->v.nodes.d, v.nodes.n * sizeof(*v.nodes.d));
	v.nodes.d[at].n.state = VMS_NODE_OUT;
	if (!ring_lacks(r, &v, &lack, NULL) && lack.bytes) {
		char move[VMS_SIZE_TEXT_MAX], over[VMS_SIZE_TEXT_MAX], need[VMS_SIZE_TEXT_MAX],
			room[VMS_SIZE_TEXT_MAX];
		struct advice *a = advice_add(out, ADVICE_SOON,
					      "if node %s, the largest, is lost its copies (%s) do "
					      "not fit on the others, "
					      "%s is too much: %s would get %s and has room for %s",
					      most->n.name, vms_size_human(lack.moves, move),
					      vms_size_human(lack.bytes, over), lack.node,
					      vms_size_human(lack.need, need),
					      vms_size_human(lack.room, room));

		advice_mend(a, "`vmstore-ring join HOST:PORT`");
	}
	free(v.nodes.d);
}

void advice_copies(const struct advice_facts *f, struct advices *out)
{
	struct look *l = f->l;

	missing(l, out);
	settings(&l->r.v, &l->h, out);
	holders(&l->r.v, out);
	largest(&l->r, out);
	stopped(&l->r, out);
	standing(&l->r, out);
}
