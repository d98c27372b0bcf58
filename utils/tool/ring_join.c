// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-ring join, replace: storage nodes that are new.
 *
 * Each node tells its name, gets a record that lets it hold nothing yet, and formats its
 * folder; when all of them run one change of the membership lets them in (and, with
 * replace, another one out), so that everything moves once. A crash in between leaves
 * nodes that hold nothing; the same command goes on with them.
 *
 * A node whose folder was emptied gets its number back, and nothing else: the process that
 * had it cannot run any more, since the new one has its address, and it must be in no set,
 * or it might be believed that it still had what its set relied on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/size.h"
#include "utils/tool/ring.h"
#include "utils/tool/ring_cmds.h"

#define IDENTITY_MS   5000u
#define LOOK_MS	      2000u /* --dry-run: is anybody there? */
#define WEIGHT_UNSET  UINT64_MAX
#define FORMAT_MS_MAX 600000u /* a large log is written once */
#define SHED_MS_MAX   20000u
#define RUN_MS_MAX    20000u /* until it has started behind its format */

struct join {
	struct ring_opts o;
	const char *zone; /* NULL: the node's own */
	uint64_t weight;  /* 0: the node's own */
	uint64_t wait_start_s;
	struct ring r;	 /* asked, when there is data */
	const char *old; /* replace: leaves */
	uint32_t *id;	 /* of the new ones */
	bool *had;	 /* ... this one was in the ring before */
	json_t *back;	 /* [{"node", "name", "was"}] of those that had to go, or were empty */
	unsigned n;
	char **at; /* as they were given */
	uint32_t gone;
	/* the node that is being registered */
	const char *name, *address, *own_zone;
	uint64_t own_weight;
	uint32_t given;
	bool again; /* ... that it had before its folder was emptied */
	bool dry;
};

/* Sets that an emptied node is still in: *only of them without another member. */
static unsigned sets_with(const struct view *v, uint32_t id, unsigned *only)
{
	unsigned n = 0;

	*only = 0;
	for (uint32_t p = 0; p < v->nparts; p++) {
		const struct vms_part_conf *c = &v->part[p].conf;

		for (unsigned i = 0; i < c->nmembers; i++) {
			if (c->member[i].node != id)
				continue;
			n++;
			*only += c->nmembers == 1;
		}
	}
	return n;
}

/* That node is in the ring, and the one at its address has an empty folder. */
static int edit_again(struct join *j, const struct view *v, const struct vms_cat_node *n,
		      struct vms_errmsg *e)
{
	unsigned only, sets = sets_with(v, n->id, &only);

	if (only)
		return vms_fail(
			e, VMS_E_EXIST,
			"%s: node '%s' had the only copy of %u partitions, and its folder is "
			"empty: find its disk, or give them up (vmstore-ring give-up %s)",
			j->address, j->name, only, j->name);
	if (sets)
		return vms_fail(e, VMS_E_BUSY,
				"%s: node '%s' is in the sets of %u partitions still, which the "
				"others have not given up; try again in some seconds",
				j->address, j->name, sets);
	j->again = true;
	return VMS_E_CANCELLED;
}

/* The number of one more node. None is given twice, so that a disk that comes back after its
 * node has left is nobody's: they run out, however few nodes there are. */
static int new_number(struct view *v, uint32_t *id, struct vms_errmsg *e)
{
	if (v->cluster.next_node >= VMS_NODES_MAX)
		return vms_fail(e, VMS_E_FULL,
				"all %u numbers of nodes are given away, those of nodes that have "
				"left too, and no new one fits into this cluster; a node of the "
				"ring that comes back under its name and address, with an empty "
				"folder, keeps its own",
				VMS_NODES_MAX - 1);
	*id = v->cluster.next_node++;
	return 0;
}

/* A record for one new node, or the one an earlier join gave it. */
static int edit_register(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct join *j = arg;
	struct vms_cat_node n = {.state = VMS_NODE_DRAINED, .incarnation = j->dry};
	const char *zone = j->zone ? j->zone : j->own_zone;
	uint64_t weight = j->weight ? j->weight : j->own_weight;

	if (!weight || weight > VMS_RING_WEIGHT_MAX || strlen(j->name) >= sizeof(n.name) ||
	    strlen(zone) >= sizeof(n.zone) || strlen(j->address) >= sizeof(n.address))
		return vms_fail(e, VMS_E_INVAL, "%s: the node's name, zone or weight is unusable",
				j->address);
	VMS_VEC_FOREACH (&v->nodes, old) {
		if (strcmp(old->n.name, j->name))
			continue;
		j->given = old->n.id;
		/* an earlier join that stopped half-way, or a lost answer */
		if (!old->n.incarnation && !strcmp(old->n.address, j->address))
			return VMS_E_CANCELLED;
		if (!strcmp(old->n.address, j->address) && old->n.state != VMS_NODE_LEAVING)
			return edit_again(j, v, &old->n, e);
		return vms_fail(
			e, VMS_E_EXIST,
			"a node called '%s' is in the ring already (id %u at %s); give the one at "
			"%s another name, or take the old one out: vmstore-ring leave %s",
			j->name, old->n.id, old->n.address, j->address, j->name);
	}
	if (new_number(v, &n.id, e))
		return VMS_E_FULL;
	j->given = n.id;
	n.weight = (uint32_t)weight;
	snprintf(n.name, sizeof(n.name), "%s", j->name);
	snprintf(n.address, sizeof(n.address), "%s", j->address);
	snprintf(n.zone, sizeof(n.zone), "%s", zone);
	*VMS_VEC_ADD(&v->nodes) = (struct view_node){.n = n};
	return 0;
}

/* A node that was in the ring is not new: whoever had it leave or drained ought to know. */
static void take_back(struct join *j, const struct view_node *x)
{
	json_array_append_new(
		j->back,
		json_pack("{sI ss ss}", "node", (json_int_t)x->n.id, "name", x->n.name, "was",
			  x->n.state == VMS_NODE_OUT ? "lost" : view_state_word(x->n.state)));
}

static void print_back(const struct join *j)
{
	json_t *o;
	size_t i;

	json_array_foreach (j->back, i, o) {
		const char *was = json_string_value(json_object_get(o, "was"));

		printf("node %s was %s: taken back, it %s its share of the data%s\n",
		       json_string_value(json_object_get(o, "name")),
		       strcmp(was, "lost") ? was : "taken for lost", j->dry ? "would get" : "gets",
		       strcmp(was, "drained") ? "" : " (or an earlier join of it was interrupted)");
	}
}

/* All new nodes in, the replaced one out. */
static int edit_admit(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct join *j = arg;
	unsigned changed = 0;
	struct view_node *old = j->old ? ring_node(v, j->old, e) : NULL;

	json_array_clear(j->back);
	if (j->old && !old)
		return VMS_E_NOENT;
	for (unsigned i = 0; i < j->n; i++) {
		struct view_node *x = view_node(v, j->id[i]);

		if (!x)
			return vms_fail(e, VMS_E_NOENT, "node %u has left the ring meanwhile",
					j->id[i]);
		if (old == x)
			return vms_fail(e, VMS_E_INVAL, "node %s cannot replace itself", x->n.name);
		if (old && x->n.state == VMS_NODE_IN) {
			/* a slip of the address would empty a node, and give another's place to
			 * one that has a place of its own; only a repeated replace finds this */
			if (old->n.state != VMS_NODE_LEAVING)
				return vms_fail(e, VMS_E_EXIST,
						"node %s has a share of the data already, replace "
						"takes a new one: to give what %s holds to all "
						"the others, vmstore-ring leave %s",
						x->n.name, old->n.name, old->n.name);
			continue;
		}
		changed += x->n.state != VMS_NODE_IN;
		if (j->had[i] && x->n.state != VMS_NODE_IN)
			take_back(j, x);
		x->n.state = VMS_NODE_IN;
		/* takes over place and share, unless it was told otherwise */
		if (old && !j->zone)
			snprintf(x->n.zone, sizeof(x->n.zone), "%s", old->n.zone);
		if (old && !j->weight)
			x->n.weight = old->n.weight;
	}
	if (old) {
		changed += old->n.state != VMS_NODE_LEAVING;
		old->n.state = VMS_NODE_LEAVING;
		j->gone = old->n.id;
	}
	if (!changed)
		return VMS_E_CANCELLED;
	return old && v->cluster.has_data ? ring_may(&j->r, v, &j->o, e) : 0;
}

/* What would be, for --dry-run: the nodes as if they had run already. */
static int edit_dry(void *arg, struct view *v, struct vms_errmsg *e)
{
	struct join *j = arg;

	for (unsigned i = 0; i < j->n; i++) {
		struct vms_cat_node n = {.state = VMS_NODE_DRAINED,
					 .incarnation = 1,
					 .weight = j->weight ? (uint32_t)j->weight : 100};

		/* one that is in the ring, perhaps with a folder that was emptied */
		VMS_VEC_FOREACH (&v->nodes, x)
			if (!strcmp(x->n.address, j->at[i]))
				j->id[i] = x->n.id, j->had[i] = x->n.incarnation;
		if (j->id[i])
			continue;
		snprintf(n.name, sizeof(n.name), "new%u", i + 1);
		snprintf(n.zone, sizeof(n.zone), "%s", j->zone ? j->zone : "");
		if (new_number(v, &n.id, e))
			return VMS_E_FULL;
		j->id[i] = n.id;
		*VMS_VEC_ADD(&v->nodes) = (struct view_node){.n = n};
	}
	return edit_admit(arg, v, e);
}

/* Its identity; one that is not started yet is waited for. */
static int identity(struct tool *t, const struct join *j, const char *address, json_t **out,
		    struct vms_errmsg *e)
{
	uint64_t t0 = vms_clock_ms();
	bool said = false;
	int rc;

	for (;;) {
		rc = tool_call(t, address, "identity", NULL, IDENTITY_MS, out, e);
		if (!rc || !tool_txn_again(rc) || tool_interrupted() ||
		    vms_clock_ms() - t0 >= j->wait_start_s * 1000)
			return rc;
		if (!said)
			tool_note(t, "nothing answers at %s yet: start vmstored there; waiting",
				  address);
		said = true;
		for (unsigned i = 0; i < 20 && !tool_interrupted(); i++)
			tool_wait(t, 50);
	}
}

/* A plan is a plan, whether the nodes run or not; but an address may be a slip. */
static void note_silent(struct tool *t, char **address, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		json_t *ident = NULL;
		struct vms_errmsg e;

		if (tool_call(t, address[i], "identity", NULL, LOOK_MS, &ident, &e))
			tool_note(t, "nothing answers at %s now: vmstored has to run there by then",
				  address[i]);
		json_decref(ident);
	}
}

/* One node: identity, record, format. *id: its number. */
static int prepare(struct tool *t, struct join *j, const char *address, const char *uuid,
		   const struct vms_cat_cluster *cl, uint32_t *id, bool *had)
{
	struct vms_errmsg e = {""};
	json_t *ident = NULL, *done = NULL;
	const char *theirs, *zone;
	int rc = identity(t, j, address, &ident, &e);

	*had = false;
	if (rc)
		return tool_fail(
			t, "%s%s", e.text,
			j->wait_start_s
				? ""
				: " (is vmstored started there? --wait-start waits for it)");
	j->name = json_string_value(json_object_get(ident, "name"));
	j->address = json_string_value(json_object_get(ident, "address"));
	zone = json_string_value(json_object_get(ident, "zone"));
	j->own_zone = zone ? zone : "";
	j->own_weight = (uint64_t)json_integer_value(json_object_get(ident, "weight"));
	theirs = json_string_value(json_object_get(ident, "cluster"));
	rc = TOOL_OK;
	if (!j->name || !*j->name || !j->address) {
		rc = tool_fail(t, "%s: what answers is no storage node", address);
		goto out;
	}
	if (json_is_true(json_object_get(ident, "joined"))) {
		if (!theirs || strcmp(theirs, uuid)) {
			rc = tool_fail(t,
				       "%s: node '%s' belongs to another cluster (%s); empty its "
				       "folder first if that data is not needed",
				       address, j->name, theirs ? theirs : "unknown");
			goto out;
		}
		*id = (uint32_t)json_integer_value(json_object_get(ident, "node"));
		*had = true;
		if (!t->json)
			printf("%s: node '%s' is in the ring already\n", j->address, j->name);
		goto out;
	}
	j->again = false;
	for (uint64_t t0 = vms_clock_ms();;) {
		rc = ring_change(t, edit_register, j, &e);
		/* sets shed a node that is gone within seconds */
		if (rc != VMS_E_BUSY || vms_clock_ms() - t0 > SHED_MS_MAX || tool_interrupted())
			break;
		for (unsigned i = 0; i < 10 && !tool_interrupted(); i++)
			tool_wait(t, 50);
	}
	if (rc && rc != VMS_E_CANCELLED) {
		rc = tool_fail(t, "%s", e.text);
		goto out;
	}
	*id = j->given;
	*had = j->again;
	if (!t->json) {
		char size[VMS_SIZE_TEXT_MAX];

		printf("%s: node '%s' %s node %u%s; it writes its log of %s now\n", j->address,
		       j->name, j->again ? "is again" : "becomes", *id, j->again ? ", empty" : "",
		       vms_size_format(
			       (uint64_t)json_integer_value(json_object_get(ident, "log_bytes")),
			       size));
		fflush(stdout);
	}
	rc = tool_call(t, address, "format",
		       json_pack("{ss sI sI}", "cluster", uuid, "part_bits",
				 (json_int_t)cl->part_bits, "node", (json_int_t)*id),
		       FORMAT_MS_MAX, &done, &e);
	if (rc)
		rc = tool_fail(t, "%s", e.text);
out:
	json_decref(ident);
	json_decref(done);
	return rc;
}

/* Until all of them have run: the planner counts a node from then on. */
static void wait_running(struct tool *t, const struct join *j)
{
	uint64_t t0 = vms_clock_ms();
	bool all = false;

	while (!all && vms_clock_ms() - t0 < RUN_MS_MAX && !tool_interrupted()) {
		struct view v;

		all = !view_load(t, &v, NULL);
		for (unsigned i = 0; all && i < j->n; i++) {
			const struct view_node *x = view_node(&v, j->id[i]);

			all = !x || x->n.incarnation;
		}
		view_free(&v);
		if (!all)
			tool_wait(t, 50);
	}
}

static int report(struct tool *t)
{
	struct vms_errmsg e = {""};
	uint32_t placed = 0, weighed = 0;
	struct view v;
	int rc = view_load(t, &v, &e);

	for (uint32_t p = 0; !rc && p < v.nparts; p++)
		placed += v.part[p].conf.epoch > 0;
	VMS_VEC_FOREACH (&v.nodes, x)
		weighed += x->n.state == VMS_NODE_IN;
	if (!rc && !t->json) {
		printf("ring: %zu nodes, %u of %u partitions placed\n", v.nodes.n, placed,
		       v.nparts);
		if (weighed < v.cluster.copies)
			printf("note: %u copies need %u nodes; join more before creating volumes\n",
			       v.cluster.copies, v.cluster.copies);
	}
	fflush(stdout);
	view_free(&v);
	return rc ? tool_fail(t, "%s", e.text) : TOOL_OK;
}

/* Behind the options: the new nodes are address[0..n-1]. */
static int admit(struct cmd_call *c, struct join *j, char **address, unsigned n, const char *what)
{
	struct tool *t = c->t;
	struct vms_errmsg e = {""};
	char uuid[37];
	bool has_data;
	int rc, code = TOOL_OK;

	if (n > RING_CHANGE_NODES_MAX)
		return cmd_usage(c, "%u nodes: at most %u at a time", n, RING_CHANGE_NODES_MAX);
	for (unsigned i = 0; i < n; i++) {
		struct vms_conf_addr a;

		if (vms_conf_addr_parse(address[i], 0, &a, &e))
			return cmd_usage(c, "%s", e.text);
	}
	if (j->zone && vms_settings_zone_check(j->zone, &e))
		return cmd_usage(c, "--zone: %s", e.text);
	if (j->weight == WEIGHT_UNSET)
		j->weight = 0;
	else if (!j->weight || j->weight > VMS_RING_WEIGHT_MAX)
		return cmd_usage(c, "--weight %" PRIu64 ": must be 1 to %u", j->weight,
				 VMS_RING_WEIGHT_MAX);
	rc = ring_load(t, &j->r, &e);
	if (!rc && j->old && !ring_node(&j->r.v, j->old, &e))
		rc = VMS_E_NOENT;
	if (rc) {
		ring_free(&j->r);
		return tool_fail(t, "%s", e.text);
	}
	has_data = j->r.v.cluster.has_data;
	tool_uuid_text(j->r.v.cluster.uuid, uuid);
	if (has_data)
		ring_ask(t, &j->r);
	j->id = calloc(n + 1, sizeof(*j->id));
	j->had = calloc(n + 1, sizeof(*j->had));
	j->back = json_array();
	j->dry = j->o.dry_run;
	j->n = n;
	j->at = address;
	if (j->o.dry_run) {
		code = ring_dry_run(t, &j->r, edit_dry, j);
		if (code == TOOL_OK && !t->json)
			print_back(j);
		note_silent(t, address, n);
		goto out;
	}
	tool_catch_signals();
	for (unsigned i = 0, good = 0; i < n; i++) {
		int bad = prepare(t, j, address[i], uuid, &j->r.v.cluster, &j->id[good],
				  &j->had[good]);

		good += !bad;
		j->n = good;
		code |= bad;
	}
	if (!j->n || (code && j->old))
		goto out;
	if (has_data)
		wait_running(t, j);
	rc = ring_change(t, edit_admit, j, &e);
	if (rc && rc != VMS_E_CANCELLED) {
		code = tool_fail(t, "%s", e.text);
		goto out;
	}
	if (!t->json)
		print_back(j);
	code |= report(t);
	if (has_data && !j->o.no_wait && code == TOOL_OK)
		code = ring_wait(t, what, j->gone, j->o.timeout_s);
	if (t->json && code == TOOL_OK) {
		json_t *ids = json_array();

		for (unsigned i = 0; i < j->n; i++)
			json_array_append_new(ids, json_integer(j->id[i]));
		tool_print_json(json_pack("{so sO sb}", "nodes", ids, "taken_back", j->back, "done",
					  (int)(!has_data || !j->o.no_wait)));
	}
out:
	json_decref(j->back);
	free(j->had);
	free(j->id);
	ring_free(&j->r);
	return code;
}

#define JOIN_OPTS(j)                                                                                 \
	{0,                                                                                          \
	 "zone",                                                                                     \
	 VMS_OPT_STRING,                                                                             \
	 &(j).zone,                                                                                  \
	 "ZONE",                                                                                     \
	 "what fails together with these nodes (default: the node's own setting)"},                  \
		{0,	      "weight",                                                              \
		 VMS_OPT_U64, &(j).weight,                                                           \
		 "N",	      "share of the data, 100 is normal (default: the node's own setting)"}, \
		{0,                                                                                  \
		 "wait-start",                                                                       \
		 VMS_OPT_SECONDS,                                                                    \
		 &(j).wait_start_s,                                                                  \
		 "TIME",                                                                             \
		 "wait so long for a node that is not started yet"},                                 \
		RING_OPT_DRY((j).o), RING_OPT_WAIT((j).o)

static int run_join(struct cmd_call *c)
{
	struct join j = {.weight = WEIGHT_UNSET};
	const struct vms_opt opts[] = {JOIN_OPTS(j), CMD_OPT_JSON(c), VMS_OPT_END};
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	return admit(c, &j, c->arg, c->n, "join");
}

static int run_replace(struct cmd_call *c)
{
	struct join j = {.weight = WEIGHT_UNSET};
	const struct vms_opt opts[] = {JOIN_OPTS(j), RING_OPT_FORCE(j.o), CMD_OPT_JSON(c),
				       VMS_OPT_END};
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	j.old = c->arg[0];
	return admit(c, &j, c->arg + 1, 1, "replace");
}

const struct cmd ring_join = {.name = "join",
			      .args = "[OPTIONS] ADDRESS...",
			      .brief = "take the storage node at HOST:PORT into the ring",
			      .about = "Takes the storage nodes that answer at ADDRESS (HOST:PORT) "
				       "into the ring. They get\n"
				       "their share of the data while everything goes on. "
				       "Repeating it completes a join that\n"
				       "was interrupted.",
			      .min = 1,
			      .max = CMD_ARGS_MAX,
			      .run = run_join};
const struct cmd ring_replace = {
	.name = "replace",
	.args = "[OPTIONS] NODE ADDRESS",
	.brief = "a new node takes the place of another",
	.about = "The storage node that answers at ADDRESS takes zone, weight and data of NODE, "
		 "which\n"
		 "leaves. NODE may be down when others have copies of all that it holds.",
	.min = 2,
	.max = 2,
	.run = run_replace};
