// SPDX-License-Identifier: GPL-2.0-only
/* Risks of each node by itself: whether it runs, its space, its disk. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/advice_int.h"

#define NEARFULL_PERCENT       85u
#define FULL_PERCENT	       95u
#define DAMAGED_MANY	       100u
#define INDEX_NEARFULL_PERCENT 70u /* as the node itself counts: doc/storage-node.md */
#define INDEX_FULL_PERCENT     80u
#define NUMBERS_PERMILLE       500u /* of a partition's container numbers (rule B9) */
#define YIELDS_LONG_S	       60u  /* a few attempts at a copy */
#define NODE_NUMBERS_LEFT      64u  /* numbers for nodes that are new */

/* What the cluster does about a node that is away. */
static void without_it(const struct view *v, const struct view_node *x, char out[200])
{
	const struct vms_cat_cluster *c = &v->cluster;
	char after[VMS_SIZE_TEXT_MAX];

	if (!x->replicas)
		snprintf(out, 200, "; it holds nothing");
	else if (c->copies == 1)
		snprintf(out, 200, "; what it holds cannot be reached");
	else if (!c->rebuild_after_s)
		snprintf(out, 200, "; the others go on without it, and never make its copies anew");
	else if (advice_holders(v) <= c->copies)
		snprintf(out, 200,
			 "; the others go on without it, but no other node is there for its "
			 "%u copies",
			 x->replicas);
	else
		snprintf(out, 200,
			 "; the others go on without it, and make its copies anew when it has "
			 "been away for %s",
			 vms_duration_format(c->rebuild_after_s * 1000ull, after));
}

static void health(const struct view *v, const struct view_node *x, struct advices *out)
{
	char rest[200];
	struct advice *a;

	if (x->n.state == VMS_NODE_OUT) {
		a = advice_add(out, ADVICE_NOW,
			       "node %s is taken for lost; its copies are made anew on the others",
			       x->n.name);
		advice_mend(a,
			    "on %s: `systemctl start vmstored`; or, if it never comes back: "
			    "`vmstore-ring replace %s HOST:PORT`, or `vmstore-ring leave %s`",
			    x->n.address, x->n.name, x->n.name);
	} else if (!x->n.incarnation) {
		a = advice_add(out, ADVICE_SOON,
			       "node %s has joined and has never run: it holds nothing", x->n.name);
		advice_mend(a, "on %s: `systemctl start vmstored`; or `vmstore-ring leave %s`",
			    x->n.address, x->n.name);
	} else if (!x->up && !strcmp(x->why, "not joined")) {
		a = advice_add(out, ADVICE_NOW, "node %s runs on an empty folder", x->n.name);
		advice_mend(a,
			    "if its data is lost: `vmstore-ring join %s`; otherwise set dir in its "
			    "configuration to the folder that it had, and `systemctl restart "
			    "vmstored` there",
			    x->n.address);
	} else if (!x->up) {
		without_it(v, x, rest);
		a = advice_add(out, ADVICE_NOW, "node %s: %s%s", x->n.name, x->why, rest);
		advice_mend(a,
			    "on %s: `journalctl -u vmstored -n 50`, `systemctl start vmstored`; "
			    "see 'A node is down' in doc/operations.md",
			    x->n.address);
	} else if (x->n.state == VMS_NODE_DRAINED) {
		a = advice_add(out, ADVICE_SOON,
			       "node %s is drained: it holds nothing and adds no safety",
			       x->n.name);
		advice_mend(a, "`vmstore-ring undrain %s`, or `vmstore-ring leave %s`", x->n.name,
			    x->n.name);
	}
	if (x->up && !json_is_true(json_object_get(x->status, "catalog"))) {
		a = advice_add(
			out, ADVICE_NOW,
			"node %s does not reach the catalog: I/O goes on, nothing can be changed "
			"there",
			x->n.name);
		advice_mend(a,
			    "check the network between %s and the catalog, and catalog in its "
			    "configuration; there: `journalctl -u vmstored -n 50`",
			    x->n.address);
	}
}

static void space(const struct view_node *x, struct advices *out)
{
	const json_t *s = json_object_get(x->status, "space");
	uint64_t total = advice_number(s, "total_bytes"), fre = advice_number(s, "free_bytes");
	uint64_t index = advice_number(s, "index_used_permille") / 10;
	unsigned full = total ? (unsigned)((total - (fre < total ? fre : total)) * 100 / total) : 0;
	struct advice *a;

	if (view_node_lost(x)) {
		a = advice_add(out, ADVICE_NOW,
			       "%" PRIu64 " places are damaged on every node that has them, says "
			       "%s: they read as medium errors",
			       view_node_lost(x), x->n.name);
		advice_mend(a, "`vmstore-ring scrub status` names them; write them again from a "
			       "backup, or delete the volume");
	}
	if (full >= FULL_PERCENT || !strcmp(view_node_full(x), "full")) {
		a = advice_add(
			out, ADVICE_NOW,
			"node %s is full (%u %% of its file system): writes to it end with 'no "
			"space'",
			x->n.name, full);
		advice_mend(a, "delete volumes or snapshots (`vmstore reclaim` shows what comes "
			       "back), or `vmstore-ring join HOST:PORT`");
	} else if (full >= NEARFULL_PERCENT) {
		a = advice_add(out, ADVICE_SOON,
			       "node %s is nearly full (%u %% of its file system)", x->n.name,
			       full);
		advice_mend(a,
			    "`vmstore-ring join HOST:PORT`; or give it a smaller share: "
			    "`vmstore-ring reweight %s %u`",
			    x->n.name, x->n.weight > 1 ? x->n.weight * 4 / 5 : 1);
	}
	if (index >= INDEX_NEARFULL_PERCENT) {
		a = advice_add(out, index >= INDEX_FULL_PERCENT ? ADVICE_NOW : ADVICE_SOON,
			       "the index of node %s is %" PRIu64 " %% full", x->n.name, index);
		advice_mend(a,
			    "raise index_size in [node] of its configuration, and on %s: "
			    "`systemctl restart vmstored`",
			    x->n.address);
	}
}

/* A copy that was outrun goes by the limit for copies no longer, but the next one does, until it
 * is outrun as well: so it helps to lift the limit. */
static void yielding(const struct view *v, const struct view_node *x, struct advices *out)
{
	struct view_yield y;
	struct advice *a;
	char dur[VMS_SIZE_TEXT_MAX];

	if (!view_node_yields(x, &y) || y.seconds < YIELDS_LONG_S)
		return;
	a = advice_add(out, ADVICE_SOON,
		       "writes to node %s have been slowed for %s, as they outrun a copy that is "
		       "made there (step %" PRIu64 " of %" PRIu64 ")",
		       x->n.name, vms_duration_format(y.seconds * 1000, dur), y.step, y.steps);
	advice_mend(a,
		    "%suntil `vmstore-ring status` shows nothing that moves: write less; it would "
		    "not be so with a larger log_size, which a node gets when it is formatted",
		    v->cluster.move_bytes_s
			    ? "copies may go faster: `vmstore-ring throttle none`; or, "
			    : "");
}

static void numbers(const struct view_node *x, struct advices *out)
{
	uint64_t used = advice_number(json_object_get(x->status, "core"),
				      "container_numbers_permille");
	struct advice *a;

	if (used < NUMBERS_PERMILLE)
		return;
	a = advice_add(out, used >= 900 ? ADVICE_NOW : ADVICE_SOON,
		       "on node %s a partition has used %" PRIu64 " %% of its container numbers, "
		       "or of the places in its log",
		       x->n.name, used / 10);
	advice_mend(a, "make a new cluster with more partitions and move the volumes: `vmstore "
		       "export-diff --full VOLUME@SNAP FILE`, there `vmstore import-diff FILE "
		       "VOLUME`");
}

/* Joins and replacements that are left: a number is not given twice. */
static void node_numbers(const struct view *v, struct advices *out)
{
	uint32_t next = v->cluster.next_node,
		 left = next < VMS_NODES_MAX ? VMS_NODES_MAX - next : 0;
	struct advice *a;

	if (left >= NODE_NUMBERS_LEFT)
		return;
	a = advice_add(out, left <= v->nodes.n ? ADVICE_SOON : ADVICE_NOTE,
		       "%u of %u numbers for nodes are left: so many can still join, or replace "
		       "another one",
		       left, VMS_NODES_MAX - 1);
	advice_mend(a,
		    "join a node whose disk is new under its old name and address (`vmstore-ring "
		    "join HOST:PORT`): it keeps its number");
}

static void versions(const struct view *v, struct advices *out)
{
	const char *first = NULL, *first_name = NULL;

	VMS_VEC_FOREACH (&v->nodes, x) {
		const char *is = advice_word(x->status, "version");
		struct advice *a;

		if (!*is)
			continue;
		if (first && strcmp(first, is)) {
			a = advice_add(out, ADVICE_SOON,
				       "nodes run different versions: %s %s, %s %s", first_name,
				       first, x->n.name, is);
			advice_mend(a, "install the same version on all nodes, one node after the "
				       "other, each time until `vmstore-ring status` says ok");
			return;
		}
		first = is;
		first_name = x->n.name;
	}
}

static void scrub(const struct advice_facts *f, const struct advice_scrub *s, struct advices *out)
{
	uint64_t days = f->l->r.v.cluster.scrub_days,
		 last = advice_number(s->said, "last_complete");
	uint64_t began = advice_number(s->said, "began"), since = last > began ? last : began;
	struct advice *a;

	if (advice_number(s->said, "damaged") >= DAMAGED_MANY) {
		a = advice_add(out, ADVICE_SOON,
			       "the disk of node %s has lost %" PRIu64
			       " places that were mended: it may be failing",
			       s->node, advice_number(s->said, "damaged"));
		advice_mend(a, "`vmstore-ring replace %s HOST:PORT`", s->node);
	}
	if (!strcmp(advice_word(s->said, "state"), "paused")) {
		a = advice_add(out, ADVICE_SOON,
			       "node %s does not verify its disk: it was told to pause", s->node);
		advice_mend(a, "`vmstore-ring scrub resume`");
	} else if (days && since && f->now_s > since + days * 86400 * 3 / 2) {
		/* half as much again as the round ought to take */
		a = advice_add(out, ADVICE_SOON,
			       "node %s has not verified its whole disk for %" PRIu64 " days",
			       s->node, (f->now_s - since) / 86400);
		advice_mend(a,
			    "`vmstore-ring scrub start`, or `vmstore-ring set --scrub-days %" PRIu64
			    "`",
			    days * 2);
	}
}

void advice_nodes(const struct advice_facts *f, struct advices *out)
{
	const struct view *v = &f->l->r.v;

	VMS_VEC_FOREACH (&v->nodes, x) {
		health(v, x, out);
		space(x, out);
		yielding(v, x, out);
		numbers(x, out);
	}
	node_numbers(v, out);
	versions(v, out);
	if (!v->cluster.scrub_days)
		advice_mend(advice_add(out, ADVICE_SOON,
				       "stored data is not verified: a disk that rots is noticed "
				       "when it is read"),
			    "`vmstore-ring set --scrub-days 7`");
	for (unsigned i = 0; i < f->nscrub; i++)
		scrub(f, &f->scrub[i], out);
}
