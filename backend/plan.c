// SPDX-License-Identifier: GPL-2.0-only
/*
 * The planner: which node ought to hold which partition ("want" in part/<n>).
 *
 * Tools change who is a member and what the cluster wants (node/ and cluster); the
 * coordinator, the lowest node that runs, turns that into wants by a pure function of
 * the present wants and the membership (cluster/placement.h) and writes those that
 * differ, by compare on each partition and on the cluster's record, in batches. So it
 * can be interrupted anywhere and goes on, and two coordinators write the same or
 * lose by compare. What is wanted is made true by the primaries (set management).
 *
 * It also
 * - takes a node for lost (state out) that has not been connected for rebuild_after_s
 *   and is in no in-sync set that has another member, and takes it in again when it is
 *   back,
 * - removes the record of a node that leaves when no partition has it as a member or
 *   wants it; every change of the membership raises the cluster's record, so such a
 *   removal cannot pass a plan that was made before it.
 *
 * As long as no volume has ever existed nothing is done here: the tools place
 * partitions themselves, since no data has to move.
 *
 * A coordinator that runs but does not get anything done, because it alone does not
 * reach the catalog, must not stop all this: it writes a beat ("planner") as long as it
 * can; when that stays the same for long the next node acts in its place, until a
 * lower one is heard of again. Two that act do no harm, see above.
 *
 * Owner: the node thread.
 */
#include "backend/plan.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "cluster/catalog.h"
#include "cluster/placement.h"
#include "cluster/ring.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

#define PASS_TICKS  8u	 /* between two looks at the membership */
#define BATCH_MAX   100u /* partitions in one transaction */
#define BEAT_TICKS  80u	 /* 20 s: between two beats, and between two looks at it */
#define STALE_BEATS 3u	 /* the same for so long: the next one acts */
#define NODES_BATCH 20u	 /* node records in one transaction */

enum pl_step {
	PL_IDLE,
	PL_CLUSTER, /* "cluster" is being read */
	PL_NODES,   /* "node/" */
	PL_MEMBERS, /* states of nodes are being written */
	PL_PARTS,   /* "part/" */
	PL_WRITE,   /* wants are being written */
	PL_REMOVE,  /* a node that has left: its record */
	PL_BEAT,    /* "planner" is being read, or written */
};

struct pl_node {
	struct vms_cat_node n;
	uint64_t rev;
};

/* When a node was last seen to take part; kept over passes. */
struct pl_away {
	uint32_t node;
	uint64_t since_ms;
};

struct planner {
	enum pl_step step;
	uint64_t next_ms;
	bool coordinator;
	char beat[64];	  /* as last read */
	uint64_t beat_ms; /* it has changed */
	uint64_t look_ms, tell_ms, beats;
	uint64_t planned; /* digest of the membership for which all wants are written */
	struct vms_cat_cluster cluster;
	uint64_t cluster_rev;
	uint64_t as_of_rev; /* what is read next must not be older */
	VMS_VEC(struct pl_node) nodes;
	VMS_VEC(struct pl_away) away;
	char after[VMS_CAT_KEY_BYTES_MAX]; /* last key of the page before */
	struct vms_part_conf *part;
	uint64_t *rev; /* of part/<n> */
	struct vms_ring_table next;
	bool have_next;
	uint32_t at;	/* next partition to be looked at */
	uint32_t first; /* of the batch that is out */
	unsigned batch;
	uint64_t wants, outs, ins, removed; /* counted, for status */
};

static void parts_drop(struct planner *pl)
{
	free(pl->part);
	free(pl->rev);
	pl->part = NULL;
	pl->rev = NULL;
	if (pl->have_next)
		vms_ring_table_close(&pl->next);
	pl->have_next = false;
}

static void pass_end(struct vms_node *n, struct planner *pl, uint64_t pause_ms)
{
	parts_drop(pl);
	pl->step = PL_IDLE;
	pl->next_ms = n->now_ms + pause_ms;
	node_wake_at(n, pl->next_ms);
}

/* Something did not work: all over again, from the catalog. */
static void pass_again(struct vms_node *n, struct planner *pl)
{
	pass_end(n, pl, n->tm.tick_ms + vms_rng_below(&n->rng, n->tm.tick_ms));
}

/* ---- membership ---- */

static uint64_t digest_add(uint64_t d, uint64_t v)
{
	return vms_mix64(d ^ (v + UINT64_C(0x9e3779b97f4a7c15)));
}

/* All that a plan depends on, but the present wants. With the revisions of the nodes: a
 * stale read may show what was wanted before others wanted something else meanwhile, and
 * what is wanted now once more; the wants are not those then. */
static uint64_t membership(const struct planner *pl)
{
	uint64_t d = digest_add(1, pl->cluster.copies);

	VMS_VEC_FOREACH (&pl->nodes, x) {
		d = digest_add(d, x->n.id);
		d = digest_add(d, x->rev);
		d = digest_add(d, vms_place_weight(&x->n));
		d = digest_add(d, x->n.state == VMS_NODE_LEAVING);
		for (const char *z = x->n.zone; *z; z++)
			d = digest_add(d, (uint8_t)*z);
	}
	return d | 1;
}

/* In a set with another member: who decides about it is that set. */
static bool in_shared_set(const struct vms_node *n, uint32_t node)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct vms_part_conf *c = &n->pconf[i];

		for (uint32_t k = 0; c->epoch && c->nmembers > 1 && k < c->nmembers; k++)
			if (c->member[k].node == node)
				return true;
	}
	return false;
}

static struct pl_away *away_of(struct planner *pl, uint32_t node)
{
	VMS_VEC_FOREACH (&pl->away, a)
		if (a->node == node)
			return a;
	return NULL;
}

static bool connected(struct vms_node *n, uint32_t node)
{
	struct peer *pe = node == n->id ? NULL : node_peer(n, node, false);

	return node == n->id || (pe && pe->conn);
}

/* The state that the node ought to have by what is seen of it now. */
static uint8_t state_due(struct vms_node *n, struct planner *pl, const struct vms_cat_node *x)
{
	struct pl_away *a = away_of(pl, x->id);

	if (connected(n, x->id)) {
		if (a)
			VMS_VEC_REMOVE_FAST(&pl->away, (size_t)(a - pl->away.d));
		return x->state == VMS_NODE_OUT ? VMS_NODE_IN : x->state;
	}
	if (x->state != VMS_NODE_IN || !x->incarnation)
		return x->state;
	if (!a) {
		a = VMS_VEC_ADD(&pl->away);
		*a = (struct pl_away){x->id, n->now_ms};
	}
	if (!pl->cluster.rebuild_after_s ||
	    n->now_ms - a->since_ms < pl->cluster.rebuild_after_s * 1000ull ||
	    in_shared_set(n, x->id))
		return x->state;
	return VMS_NODE_OUT;
}

static void members_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;

	/* whatever came out: read it again at once */
	if (r->status)
		pass_again(n, n->planner);
	else
		pass_end(n, n->planner, 1);
}

/* Writes states that are due; false: there are none. */
static bool members_write(struct vms_node *n, struct planner *pl)
{
	struct vms_cat_cmp cmp[NODES_BATCH + 1] = {{"cluster", pl->cluster_rev}};
	struct vms_cat_op op[NODES_BATCH + 1] = {{"cluster", NULL, 0}};
	char key[NODES_BATCH][VMS_CAT_KEY_BYTES_MAX];
	unsigned k = 0;

	VMS_VEC_FOREACH (&pl->nodes, x) {
		uint8_t due = k < NODES_BATCH ? state_due(n, pl, &x->n) : x->n.state;

		if (due == x->n.state)
			continue;
		node_log(n, VMS_LOG_WARN,
			 due == VMS_NODE_OUT
				 ? "node %s (id %u) has been away for %u s: its copies are made "
				   "anew on other nodes"
				 : "node %s (id %u) is back: it gets its share of the data again",
			 x->n.name, x->n.id, pl->cluster.rebuild_after_s);
		*(due == VMS_NODE_OUT ? &pl->outs : &pl->ins) += 1;
		x->n.state = due;
		vms_cat_key_node(key[k], x->n.id);
		cmp[k + 1] = (struct vms_cat_cmp){key[k], x->rev};
		op[k + 1] = (struct vms_cat_op){key[k], vms_cat_node_encode(&x->n), 0};
		k++;
	}
	if (!k)
		return false;
	op[0].val = vms_cat_cluster_encode(&pl->cluster);
	pl->step = PL_MEMBERS;
	n->cat->ops->txn(n->cat, cmp, k + 1, op, k + 1, members_done, n);
	for (unsigned i = 0; i <= k; i++)
		free((char *)op[i].val);
	return true;
}

/* ---- a node that has left ---- */

static bool named(const struct planner *pl, uint32_t nparts, uint32_t node)
{
	for (uint32_t i = 0; i < nparts; i++) {
		const struct vms_part_conf *c = &pl->part[i];

		for (uint32_t k = 0; k < c->nmembers; k++)
			if (c->member[k].node == node)
				return true;
		for (uint32_t k = 0; k < c->nwant; k++)
			if (c->want[k] == node)
				return true;
	}
	return false;
}

static void remove_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;

	n->planner->removed += r->status == 0;
	members_done(arg, r);
}

/* All wants are written: is there a node whose record may go? */
static bool remove_left(struct vms_node *n, struct planner *pl)
{
	VMS_VEC_FOREACH (&pl->nodes, x) {
		char key[VMS_CAT_KEY_BYTES_MAX], *val;
		struct vms_cat_cmp cmp[2] = {{"cluster", pl->cluster_rev}, {key, x->rev}};
		struct vms_cat_op op[2] = {{"cluster", NULL, 0}, {key, NULL, 0}};

		if (x->n.state != VMS_NODE_LEAVING || named(pl, n->nparts, x->n.id))
			continue;
		vms_cat_key_node(key, x->n.id);
		op[0].val = val = vms_cat_cluster_encode(&pl->cluster);
		node_log(n, VMS_LOG_INFO,
			 "node %s (id %u) holds nothing any more and leaves the ring", x->n.name,
			 x->n.id);
		pl->step = PL_REMOVE;
		n->cat->ops->txn(n->cat, cmp, 2, op, 2, remove_done, n);
		free(val);
		return true;
	}
	return false;
}

/* ---- wants ---- */

static void write_next(struct vms_node *n, struct planner *pl);

static void write_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct planner *pl = n->planner;

	if (r->status) {
		/* some partition has changed, or the membership: smaller steps get
		 * through */
		pl->batch = pl->batch > 1 ? pl->batch / 2 : 1;
		pass_again(n, pl);
		return;
	}
	for (uint32_t i = pl->first; i < pl->at; i++)
		pl->wants += !vms_place_same(&pl->part[i], &pl->next.row[i]);
	pl->batch = pl->batch * 2 < BATCH_MAX ? pl->batch * 2 : BATCH_MAX;
	write_next(n, pl);
}

static void write_next(struct vms_node *n, struct planner *pl)
{
	struct vms_cat_cmp cmp[BATCH_MAX + 1] = {{"cluster", pl->cluster_rev}};
	struct vms_cat_op op[BATCH_MAX];
	char(*key)[VMS_CAT_KEY_BYTES_MAX] = calloc(BATCH_MAX, sizeof(*key));
	unsigned k = 0;

	vms_assert(key);
	for (pl->first = pl->at; pl->at < n->nparts && k < pl->batch; pl->at++) {
		struct vms_part_conf c = pl->part[pl->at];
		const struct vms_ring_row *row = &pl->next.row[pl->at];

		/* a partition without a record is no planner's to make up */
		if (!c.epoch || vms_place_same(&c, row))
			continue;
		c.nwant = row->n;
		memcpy(c.want, row->node, row->n * sizeof(row->node[0]));
		vms_cat_key_part(key[k], pl->at);
		cmp[k + 1] = (struct vms_cat_cmp){key[k], pl->rev[pl->at]};
		op[k] = (struct vms_cat_op){key[k], vms_cat_part_encode(&c), 0};
		k++;
	}
	if (k) {
		pl->step = PL_WRITE;
		n->cat->ops->txn(n->cat, cmp, k + 1, op, k, write_done, n);
		for (unsigned i = 0; i < k; i++)
			free((char *)op[i].val);
	}
	free(key);
	if (k)
		return;
	if (remove_left(n, pl))
		return;
	pl->planned = membership(pl);
	pass_end(n, pl, (uint64_t)PASS_TICKS * n->tm.tick_ms);
}

static void plan_parts(struct vms_node *n, struct planner *pl)
{
	struct vms_cat_node *list = calloc(pl->nodes.n + 1, sizeof(*list));
	struct vms_errmsg e = {""};
	int rc;

	vms_assert(list);
	for (size_t i = 0; i < pl->nodes.n; i++)
		list[i] = pl->nodes.d[i].n;
	for (size_t i = 0; i < pl->nodes.n && n->mut == MUT_PLAN_ZONES; i++)
		list[i].zone[0] = 0;
	rc = vms_place(&pl->cluster, list, (unsigned)pl->nodes.n, pl->part, &pl->next, &e);
	free(list);
	if (rc) {
		/* nothing can be wanted: what is there stays */
		node_log(n, VMS_LOG_DEBUG, "planner: %s", e.text);
		pass_end(n, pl, (uint64_t)PASS_TICKS * n->tm.tick_ms);
		return;
	}
	pl->have_next = true;
	pl->at = 0;
	write_next(n, pl);
}

/* ---- reading ---- */

/* A member of the catalog that is behind may answer with what was before the cluster's record
 * that a plan is written under: a node that has left since would be wanted again. The like of
 * partitions from before the nodes were read: a want that has been written since would not be
 * seen, and when it is the one that was to be changed (simulator seed 1723), never be mended. */
static bool recent(const struct vms_node *n, const struct vms_cat_reply *r)
{
	return r->revision >= n->planner->as_of_rev || n->mut == MUT_PLAN_STALE;
}

static void parts_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct planner *pl = n->planner;

	if (r->status || !recent(n, r)) {
		pass_again(n, pl);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_part_conf c;
		struct vms_errmsg e;
		uint32_t number;

		if (vms_cat_part_decode(&r->kv[i], &number, &c, &e) || number >= n->nparts) {
			node_log(n, VMS_LOG_ERROR, "planner: %s: nothing is planned", r->kv[i].key);
			pass_end(n, pl, 10ull * PASS_TICKS * n->tm.tick_ms);
			return;
		}
		pl->part[number] = c;
		pl->rev[number] = r->kv[i].mod_revision;
	}
	if (r->more && r->nkv) {
		snprintf(pl->after, sizeof(pl->after), "%s", r->kv[r->nkv - 1].key);
		n->cat->ops->range(n->cat, "part/", pl->after, parts_done, n);
		return;
	}
	plan_parts(n, pl);
}

static void parts_read(struct vms_node *n, struct planner *pl)
{
	parts_drop(pl);
	pl->part = calloc(n->nparts, sizeof(*pl->part));
	pl->rev = calloc(n->nparts, sizeof(*pl->rev));
	vms_assert(pl->part && pl->rev);
	pl->step = PL_PARTS;
	n->cat->ops->range(n->cat, "part/", NULL, parts_done, n);
}

static bool member_anywhere(const struct vms_node *n, uint32_t node)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct vms_part_conf *c = &n->pconf[i];

		for (uint32_t k = 0; c->epoch && k < c->nmembers; k++)
			if (c->member[k].node == node)
				return true;
	}
	return false;
}

/* As far as is known here; the records decide. */
static bool somebody_left(const struct vms_node *n, const struct planner *pl)
{
	VMS_VEC_FOREACH (&pl->nodes, x)
		if (x->n.state == VMS_NODE_LEAVING && !member_anywhere(n, x->n.id))
			return true;
	return false;
}

static void nodes_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct planner *pl = n->planner;

	if (r->status || !recent(n, r)) {
		pass_again(n, pl);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++) {
		struct pl_node *x = VMS_VEC_ADD(&pl->nodes);
		struct vms_errmsg e;

		x->rev = r->kv[i].mod_revision;
		if (vms_cat_node_decode(&r->kv[i], &x->n, &e)) {
			node_log(n, VMS_LOG_ERROR, "planner: %s", e.text);
			pass_end(n, pl, 10ull * PASS_TICKS * n->tm.tick_ms);
			return;
		}
	}
	if (r->more && r->nkv) {
		snprintf(pl->after, sizeof(pl->after), "%s", r->kv[r->nkv - 1].key);
		n->cat->ops->range(n->cat, "node/", pl->after, nodes_done, n);
		return;
	}
	pl->as_of_rev = r->revision;
	if (members_write(n, pl))
		return;
	if (membership(pl) != pl->planned || somebody_left(n, pl))
		parts_read(n, pl);
	else
		pass_end(n, pl, (uint64_t)PASS_TICKS * n->tm.tick_ms);
}

static void cluster_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct planner *pl = n->planner;
	struct vms_errmsg e;

	if (r->status || !r->nkv || vms_cat_cluster_decode(&r->kv[0], &pl->cluster, &e)) {
		pass_again(n, pl);
		return;
	}
	pl->cluster_rev = r->kv[0].mod_revision;
	pl->as_of_rev = pl->cluster_rev;
	if (!pl->cluster.has_data || pl->cluster.part_bits != n->conf.part_bits) {
		pass_end(n, pl, (uint64_t)PASS_TICKS * n->tm.tick_ms);
		return;
	}
	VMS_VEC_CLEAR(&pl->nodes);
	pl->step = PL_NODES;
	n->cat->ops->range(n->cat, "node/", NULL, nodes_done, n);
}

/* ---- from the node ---- */

/* Nodes that run and come before this one. */
static unsigned lower_nodes(const struct vms_node *n)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n->npeers; i++)
		k += n->peer[i]->conn && n->peer[i]->id < n->id;
	return k;
}

static void step_down(struct planner *pl)
{
	/* how long the others have been away is counted by who coordinates */
	pl->coordinator = false;
	VMS_VEC_CLEAR(&pl->away);
	pl->planned = 0;
}

static void beat_read(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct planner *pl = n->planner;
	const char *text = r->nkv ? r->kv[0].val : "";
	unsigned long from = 0;

	if (r->status) {
		pass_again(n, pl);
		return;
	}
	pl->look_ms = n->now_ms + (uint64_t)BEAT_TICKS * n->tm.tick_ms;
	if (sscanf(text, "{\"node\": %lu", &from) != 1)
		from = 0;
	if (strcmp(text, pl->beat)) {
		snprintf(pl->beat, sizeof(pl->beat), "%s", text);
		pl->beat_ms = n->now_ms;
		if (pl->coordinator && from < n->id)
			step_down(pl);
	} else if (!pl->coordinator &&
		   n->now_ms - pl->beat_ms >
			   (uint64_t)STALE_BEATS * BEAT_TICKS * n->tm.tick_ms * lower_nodes(n)) {
		node_log(n, VMS_LOG_WARN,
			 "no lower node plans: this one acts as the coordinator for now");
		pl->coordinator = true;
	}
	pass_end(n, pl, 1);
}

static void beat_told(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct planner *pl = n->planner;

	if (r->status) {
		pass_again(n, pl);
		return;
	}
	pl->tell_ms = n->now_ms + (uint64_t)BEAT_TICKS * n->tm.tick_ms;
	pass_end(n, pl, 1);
}

static void beat_tell(struct vms_node *n, struct planner *pl)
{
	char val[64];
	const struct vms_cat_op op = {"planner", val, 0};

	snprintf(val, sizeof(val), "{\"node\": %llu, \"beat\": %llu}", (unsigned long long)n->id,
		 (unsigned long long)(n->incarnation << 20 | ++pl->beats));
	snprintf(pl->beat, sizeof(pl->beat), "%s", val);
	pl->step = PL_BEAT;
	n->cat->ops->txn(n->cat, NULL, 0, &op, 1, beat_told, n);
}

void plan_hint(struct vms_node *n)
{
	struct planner *pl = n->planner;

	if (pl && pl->step == PL_IDLE && pl->next_ms > n->now_ms + 1) {
		pl->next_ms = n->now_ms + 1;
		node_wake_at(n, pl->next_ms);
	}
}

void plan_timer(struct vms_node *n)
{
	struct planner *pl = n->planner;
	unsigned lower;

	if (!pl) {
		pl = n->planner = calloc(1, sizeof(*pl));
		vms_assert(pl);
		pl->batch = BATCH_MAX;
		/* the peers come first, or every starting node would plan once */
		pl->next_ms = n->now_ms + (uint64_t)PASS_TICKS * n->tm.tick_ms;
		pl->beat_ms = n->now_ms;
	}
	if (n->mut == MUT_PLAN_NONE)
		return;
	if (n->stopping || pl->step != PL_IDLE)
		return;
	if (n->now_ms < pl->next_ms) {
		node_wake_at(n, pl->next_ms);
		return;
	}
	lower = n->mut == MUT_PLAN_ALL ? 0 : lower_nodes(n);
	if (lower && n->now_ms >= pl->look_ms) {
		pl->step = PL_BEAT;
		n->cat->ops->get(n->cat, "planner", beat_read, n);
		return;
	}
	if (lower && !pl->coordinator) {
		step_down(pl);
		pass_end(n, pl, (uint64_t)PASS_TICKS * n->tm.tick_ms);
		return;
	}
	pl->coordinator = true;
	if (n->now_ms >= pl->tell_ms) {
		beat_tell(n, pl);
		return;
	}
	pl->step = PL_CLUSTER;
	n->cat->ops->get(n->cat, "cluster", cluster_done, n);
}

struct json_t *plan_json(const struct vms_node *n)
{
	const struct planner *pl = n->planner;

	if (!pl)
		return json_object();
	return json_pack("{s:b, s:b, s:I, s:I, s:I, s:I}", "coordinator", pl->coordinator, "done",
			 pl->step == PL_IDLE && pl->planned, "wants_written", (json_int_t)pl->wants,
			 "taken_out", (json_int_t)pl->outs, "taken_in", (json_int_t)pl->ins,
			 "removed", (json_int_t)pl->removed);
}

void plan_close(struct vms_node *n)
{
	struct planner *pl = n->planner;

	if (!pl)
		return;
	n->planner = NULL;
	parts_drop(pl);
	VMS_VEC_FREE(&pl->nodes);
	VMS_VEC_FREE(&pl->away);
	free(pl);
}
