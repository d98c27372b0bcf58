// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/ring.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/size.h"

#define PARTS_PER_TXN 100u
#define ASK_MS_MAX    5000u
/* Partitions of one answer: up to 1 KiB each, and a frame takes 4 MiB. */
#define PARTS_PER_ASK 2000u

/* ---- reading ---- */

int ring_load(struct tool *t, struct ring *r, struct vms_errmsg *e)
{
	memset(r, 0, sizeof(*r));
	return view_load(t, &r->v, e);
}

void ring_free(struct ring *r)
{
	view_free(&r->v);
	free(r->part);
	r->part = NULL;
}

static uint64_t number(const json_t *o, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

/* One partition as node x tells of it. */
static void take_part(struct ring *r, const struct view_node *x, const json_t *o)
{
	uint64_t p = number(o, "number"), bytes = number(o, "live_chunks") * VMS_CHUNK_BYTES;
	const char *state = json_string_value(json_object_get(o, "state"));
	const char *text = json_string_value(json_object_get(o, "text"));
	const json_t *learner;
	struct ring_part *q;
	size_t i;

	if (p >= r->v.nparts)
		return;
	q = &r->part[p];
	if (bytes > q->bytes)
		q->bytes = bytes;
	if (r->v.part[p].conf.primary != x->n.id || !state)
		return;
	q->asked = true;
	q->serving = !strcmp(state, "active");
	q->writes_wait = text && strstr(text, "writes wait");
	q->stands = json_is_true(json_object_get(o, "bytes_wait")) ? number(o, "bytes_seq") : 0;
	snprintf(q->state, sizeof(q->state), "%s", text ? text : state);
	json_array_foreach (json_object_get(o, "learners"), i, learner) {
		uint64_t done = number(learner, "done_bytes");

		q->copied += done < bytes ? done : bytes;
		q->urgent += json_is_true(json_object_get(learner, "urgent"));
	}
}

/* A part of what node x holds, from partition *from on. False: that was the last one. */
static bool take_parts(struct ring *r, const struct view_node *x, const json_t *answer,
		       uint64_t *from)
{
	const json_t *o;
	size_t k;

	/* a node of an earlier release tells all at once, whatever it is asked for */
	if (!json_array_size(answer) || number(json_array_get(answer, 0), "number") < *from)
		return false;
	json_array_foreach (answer, k, o) {
		take_part(r, x, o);
		*from = number(o, "number") + 1;
	}
	return *from < r->v.nparts;
}

static void ask_parts(struct tool *t, struct ring *r, struct tool_peer *p)
{
	size_t n = r->v.nodes.n, left = 0;
	uint64_t *from = calloc(n + 1, sizeof(*from));
	bool *more = calloc(n + 1, sizeof(*more));

	vms_assert(from && more);
	for (size_t i = 0; i < n; i++)
		left += more[i] = r->v.nodes.d[i].up;
	while (left) {
		for (size_t i = 0; i < n; i++)
			if (more[i])
				tool_peer_ask(t, &p[i], "partitions",
					      json_pack("{sI sI}", "from", (json_int_t)from[i],
							"max", (json_int_t)PARTS_PER_ASK));
		tool_peers_wait(t, p, (unsigned)n, ASK_MS_MAX, NULL, NULL);
		for (size_t i = left = 0; i < n; i++)
			left += more[i] = more[i] && !p[i].status &&
					  take_parts(r, &r->v.nodes.d[i], p[i].answer, &from[i]);
	}
	free(from);
	free(more);
}

void ring_ask(struct tool *t, struct ring *r)
{
	size_t n = r->v.nodes.n;
	struct tool_peer *p = calloc(n + 1, sizeof(*p));

	vms_assert(p);
	view_ask_nodes(t, &r->v);
	free(r->part);
	r->part = calloc(r->v.nparts, sizeof(*r->part));
	vms_assert(r->part);
	for (size_t i = 0; i < n; i++)
		snprintf(p[i].address, sizeof(p[i].address), "%s", r->v.nodes.d[i].n.address);
	ask_parts(t, r, p);
	for (size_t i = 0; i < n; i++)
		tool_peer_close(t, &p[i]);
	free(p);
}

struct view_node *ring_node(struct view *v, const char *spec, struct vms_errmsg *e)
{
	struct view_node *named = NULL, *numbered = NULL;
	uint64_t id;

	VMS_VEC_FOREACH (&v->nodes, n)
		if (!strcmp(n->n.name, spec))
			named = n;
	if (!vms_u64_parse(spec, &id, NULL) && id && id <= UINT32_MAX)
		numbered = view_node(v, (uint32_t)id);
	if (named && numbered && named != numbered) {
		vms_fail(e, VMS_E_INVAL,
			 "node %s is called '%s', and node %s is number %s: which one? Say %u, or "
			 "the name of the other",
			 named->n.name, spec, numbered->n.name, spec, named->n.id);
		return NULL;
	}
	if (named || numbered)
		return named ? named : numbered;
	vms_fail(e, VMS_E_NOENT, "the ring has no node '%s'; vmstore-ring status lists them", spec);
	return NULL;
}

struct vms_cat_node *ring_records(const struct view *v)
{
	struct vms_cat_node *list = calloc(v->nodes.n + 1, sizeof(*list));

	vms_assert(list);
	for (size_t i = 0; i < v->nodes.n; i++)
		list[i] = v->nodes.d[i].n;
	return list;
}

struct vms_part_conf *ring_confs(const struct view *v)
{
	struct vms_part_conf *c = calloc(v->nparts, sizeof(*c));

	vms_assert(c);
	for (uint32_t p = 0; p < v->nparts; p++)
		c[p] = v->part[p].conf;
	return c;
}

/* ---- what is to be moved ---- */

static bool has(const uint32_t *list, unsigned n, uint32_t node)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i] == node)
			return true;
	return false;
}

static bool away(const struct ring *r, uint32_t node)
{
	VMS_VEC_FOREACH (&r->v.nodes, x)
		if (x->n.id == node)
			return x->asked && !x->up;
	return true;
}

void ring_count(struct ring *r)
{
	r->left_bytes = 0;
	r->left_copies = r->left_drops = r->left_leads = r->moving = 0;
	r->wait_copies = r->wait_parts = 0;
	r->wait_bytes = 0;
	r->urgent = 0;
	for (uint32_t p = 0; p < r->v.nparts; p++) {
		const struct vms_part_conf *c = &r->v.part[p].conf;
		uint32_t want[VMS_COPIES_MAX], member[VMS_COPIES_MAX];
		unsigned nw, copies = 0, drops = 0, waits = 0, lead;
		uint64_t bytes;

		if (!c->epoch)
			continue;
		nw = vms_cat_part_want(c, want);
		for (uint32_t i = 0; i < c->nmembers; i++) {
			member[i] = c->member[i].node;
			drops += !has(want, nw, member[i]);
		}
		for (unsigned i = 0; i < nw; i++) {
			if (has(member, c->nmembers, want[i]))
				continue;
			copies++;
			waits += away(r, want[i]);
		}
		lead = nw && want[0] != c->primary;
		r->left_copies += copies;
		r->left_drops += drops;
		r->left_leads += lead;
		r->moving += copies || drops || lead;
		r->wait_copies += waits;
		/* members that are not wanted stay until all copies are there */
		r->wait_parts += (copies || drops || lead) && copies == waits &&
				 (copies || !drops) && (!lead || away(r, want[0]));
		if (!r->part || !copies)
			continue;
		r->urgent += r->part[p].urgent;
		r->wait_bytes += r->part[p].bytes * waits;
		bytes = r->part[p].bytes * copies;
		r->left_bytes += bytes > r->part[p].copied ? bytes - r->part[p].copied : 0;
	}
}

bool ring_planned(const struct ring *r)
{
	struct vms_cat_node *list = ring_records(&r->v);
	struct vms_part_conf *conf = ring_confs(&r->v);
	struct vms_ring_table t;
	bool same = true;

	if (r->v.cluster.has_data &&
	    !vms_place(&r->v.cluster, list, (unsigned)r->v.nodes.n, conf, &t, NULL)) {
		for (uint32_t p = 0; p < r->v.nparts; p++)
			same &= !conf[p].epoch || vms_place_same(&conf[p], &t.row[p]);
		vms_ring_table_close(&t);
	}
	free(list);
	free(conf);
	return same;
}

/* ---- changing it ---- */

static bool same_node(const struct vms_cat_node *a, const struct vms_cat_node *b)
{
	char *x = vms_cat_node_encode(a), *y = vms_cat_node_encode(b);
	bool same = !strcmp(x, y);

	free(x);
	free(y);
	return same;
}

/* The edited view against the one that was read. */
static int write_change(struct tool *t, const struct view *v, const struct vms_cat_node *was,
			size_t nwas, struct vms_errmsg *e)
{
	struct vms_cat_cmp cmp[RING_CHANGE_NODES_MAX + 1] = {{"cluster", v->cluster_revision}};
	struct vms_cat_op op[RING_CHANGE_NODES_MAX + 1] = {{"cluster", NULL, 0}};
	char(*key)[VMS_CAT_KEY_BYTES_MAX] = calloc(v->nodes.n + 1, sizeof(*key));
	unsigned k = 1;
	int rc = 0;

	vms_assert(key);
	for (size_t i = 0; i < v->nodes.n; i++) {
		const struct view_node *x = &v->nodes.d[i];

		if (i < nwas && same_node(&x->n, &was[i]))
			continue;
		if (k > RING_CHANGE_NODES_MAX) {
			rc = vms_fail(e, VMS_E_FULL,
				      "more than %u nodes would change at once; name fewer",
				      RING_CHANGE_NODES_MAX);
			break;
		}
		vms_cat_key_node(key[i], x->n.id);
		cmp[k] = (struct vms_cat_cmp){key[i], x->mod_revision};
		op[k] = (struct vms_cat_op){key[i], vms_cat_node_encode(&x->n), 0};
		k++;
	}
	op[0].val = vms_cat_cluster_encode(&v->cluster);
	if (!rc)
		rc = tool_txn(t, cmp, k, op, k, e);
	for (unsigned i = 0; i < k; i++)
		free((char *)op[i].val);
	free(key);
	return rc;
}

/* Nodes that hold no place in a ring without data may go at once. */
static int drop_left(struct tool *t, const struct view *v, struct vms_errmsg *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < v->nodes.n; i++) {
		const struct view_node *x = &v->nodes.d[i];
		char key[VMS_CAT_KEY_BYTES_MAX], *val;
		struct vms_cat_cmp cmp[2] = {{"cluster", v->cluster_revision},
					     {key, x->mod_revision}};
		struct vms_cat_op op[2] = {{"cluster", NULL, 0}, {key, NULL, 0}};

		if (x->n.state != VMS_NODE_LEAVING || x->replicas)
			continue;
		vms_cat_key_node(key, x->n.id);
		op[0].val = val = vms_cat_cluster_encode(&v->cluster);
		rc = tool_txn(t, cmp, 2, op, 2, e);
		free(val);
		if (!rc)
			return VMS_E_CONFLICT; /* read again: there may be more */
	}
	return rc;
}

/* Writes rows that differ as the members themselves. A crash half-way leaves a table
 * that works and that the next change completes. */
static int write_rows(struct tool *t, struct view *v, const struct vms_ring_table *next,
		      unsigned *changed, struct vms_errmsg *e)
{
	uint32_t p = 0;
	int rc = 0;

	while (!rc && p < v->nparts) {
		struct vms_cat_cmp cmp[PARTS_PER_TXN + 1] = {{"cluster", v->cluster_revision}};
		struct vms_cat_op op[PARTS_PER_TXN];
		char key[PARTS_PER_TXN][VMS_CAT_KEY_BYTES_MAX];
		unsigned n = 0;

		for (; p < v->nparts && n < PARTS_PER_TXN; p++) {
			struct vms_part_conf *old = &v->part[p].conf;
			const struct vms_ring_row *row = &next->row[p];
			struct vms_part_conf c = {.epoch = old->epoch + 1,
						  .primary = row->node[0],
						  .nmembers = row->n,
						  .loss_epoch = old->loss_epoch};

			if (!row->n || (old->epoch && vms_place_same(old, row)))
				continue;
			for (uint32_t i = 0; i < row->n; i++)
				c.member[i].node = row->node[i];
			vms_cat_key_part(key[n], p);
			cmp[n + 1] = (struct vms_cat_cmp){key[n], v->part[p].mod_revision};
			op[n] = (struct vms_cat_op){key[n], vms_cat_part_encode(&c), 0};
			n++;
		}
		if (!n)
			break;
		rc = tool_txn(t, cmp, n + 1, op, n, e);
		for (unsigned i = 0; i < n; i++)
			free((char *)op[i].val);
		*changed += n;
	}
	return rc;
}

/* No data exists: the table is what the plan says, at once. */
static int place(struct tool *t, struct vms_errmsg *e)
{
	int rc = VMS_E_CONFLICT;

	for (unsigned i = 0; i < 4 * TOOL_TRIES && tool_txn_again(rc); i++) {
		struct vms_ring_table next;
		struct vms_part_conf *conf;
		struct vms_cat_node *list;
		unsigned changed = 0;
		struct view v;

		rc = view_load(t, &v, e);
		if (rc || v.cluster.has_data) {
			view_free(&v);
			return rc;
		}
		list = ring_records(&v);
		conf = ring_confs(&v);
		for (size_t k = 0; k < v.nodes.n; k++)
			list[k].incarnation = 1; /* it counts from the start */
		rc = vms_place(&v.cluster, list, (unsigned)v.nodes.n, conf, &next, e);
		if (!rc) {
			rc = write_rows(t, &v, &next, &changed, e);
			vms_ring_table_close(&next);
		} else {
			rc = 0; /* no node yet */
		}
		if (!rc)
			rc = changed ? VMS_E_CONFLICT : drop_left(t, &v, e);
		free(list);
		free(conf);
		view_free(&v);
	}
	return rc;
}

int ring_change(struct tool *t, ring_edit_fn edit, void *arg, struct vms_errmsg *e)
{
	bool has_data = false;
	unsigned tries = 0;
	int rc;

	do {
		struct vms_cat_node *was;
		struct view v;
		size_t n;

		rc = view_load(t, &v, e);
		if (rc) {
			view_free(&v);
			return rc;
		}
		was = ring_records(&v);
		n = v.nodes.n;
		rc = edit(arg, &v, e);
		if (!rc)
			rc = write_change(t, &v, was, n, e);
		has_data = v.cluster.has_data;
		free(was);
		view_free(&v);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	if (rc || has_data)
		return rc;
	return place(t, e);
}
