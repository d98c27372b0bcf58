// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring: creates the cluster, takes storage nodes in, shows the ring. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/cmd.h"
#include "utils/tool/nodes.h"
#include "utils/tool/view.h"

#define FORMAT_MS_MAX 600000u /* a large log is written once */
#define PARTS_PER_TXN 100u

/* ---- init ---- */

static int part_bits_of(uint64_t partitions, uint32_t *bits)
{
	for (*bits = 0; *bits <= VMS_PART_BITS_MAX; ++*bits)
		if (1ull << *bits == partitions)
			return 0;
	return VMS_E_INVAL;
}

static int run_init(struct cmd_call *c)
{
	struct tool *t = c->t;
	uint64_t partitions = 1024, copies = 2, min_copies = 0;
	const char *factor_text = "1";
	const struct vms_opt opts[] = {
		{0, "partitions", VMS_OPT_U64, &partitions, "N",
		 "a power of two, 1 to 65536 (default 1024); fixed for good"},
		{0, "copies", VMS_OPT_U64, &copies, "N", "of everything, 1 to 5 (default 2)"},
		{0, "min-copies", VMS_OPT_U64, &min_copies, "N",
		 "writes need this many (default 1 of 2, 2 of 3 or more)"},
		{0, "timing-factor", VMS_OPT_STRING, &factor_text, "F",
		 "scales all times of the cluster (default 1)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_cat_cluster cl = {.next_branch = 1, .next_node = 1, .next_gateway = 1,
				     .rebuild_after_s = VMS_REBUILD_AFTER_S,
				     .move_bytes_s = VMS_MOVE_BYTES_S,
				     .scrub_days = VMS_SCRUB_DAYS};
	struct vms_cat_cmp cmp = {"cluster", 0};
	struct vms_cat_op op = {"cluster", NULL, 0};
	struct vms_errmsg e = {""};
	char uuid[37], *end, *val;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (part_bits_of(partitions, &cl.part_bits))
		return cmd_usage(c, "--partitions %" PRIu64 ": must be a power of two from 1 to 65536",
				  partitions);
	if (!copies || copies > VMS_COPIES_MAX)
		return cmd_usage(c, "--copies %" PRIu64 ": must be 1 to %d", copies, VMS_COPIES_MAX);
	if (!min_copies)
		min_copies = copies <= 2 ? 1 : 2;
	if (min_copies > copies)
		return cmd_usage(c, "--min-copies %" PRIu64 " is more than --copies %" PRIu64,
				  min_copies, copies);
	cl.timing_factor = strtod(factor_text, &end);
	if (*end || !(cl.timing_factor >= 0.1 && cl.timing_factor <= 1000))
		return cmd_usage(c, "--timing-factor %s: must be a number from 0.1 to 1000",
				  factor_text);
	cl.copies = (uint32_t)copies;
	cl.min_copies = (uint32_t)min_copies;
	tool_uuid_new(cl.uuid);
	tool_uuid_text(cl.uuid, uuid);
	val = vms_cat_cluster_encode(&cl);
	op.val = val;
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct tool_kvs kv;

		rc = tool_txn(t, &cmp, 1, &op, 1, &e);
		if (!tool_txn_again(rc))
			break;
		/* Ours from a lost answer, or somebody else's? */
		rc = tool_get(t, "cluster", &kv, &e);
		if (!rc && kv.n) {
			rc = strcmp(kv.d[0].val, val) ? VMS_E_EXIST : 0;
			tool_kvs_free(&kv);
			break;
		}
		tool_kvs_free(&kv);
	}
	free(val);
	if (rc == VMS_E_EXIST)
		return tool_fail(t, "this catalog holds a cluster already; vmstore-ring status shows it");
	if (rc)
		return tool_fail(t, "%s", e.text);
	if (t->json)
		return tool_print_json(json_pack("{ss sI sI}", "cluster", uuid, "partitions",
						 (json_int_t)partitions, "copies",
						 (json_int_t)copies));
	printf("cluster %s created: %" PRIu64 " partitions, %" PRIu64 " copies\n"
	       "next: vmstore-ring join ADDRESS... for each storage node\n",
	       uuid, partitions, copies);
	return TOOL_OK;
}

/* ---- join ---- */

struct join_opts {
	const char *zone;
	uint64_t weight; /* 0: the node's own */
};

/* Writes node/<id> for a new node; *id. Repeats under conflicts. */
static int register_node(struct tool *t, const char *address, json_t *ident, const struct join_opts *o,
			 struct view *v, uint32_t *id, struct vms_errmsg *e)
{
	const char *name = json_string_value(json_object_get(ident, "name"));
	const char *zone = o->zone ? o->zone : json_string_value(json_object_get(ident, "zone"));
	uint64_t weight = o->weight ? o->weight
				    : (uint64_t)json_integer_value(json_object_get(ident, "weight"));

	if (!name || !*name || strlen(name) >= 64 || (zone && strlen(zone) >= 64) || !weight ||
	    weight > VMS_RING_WEIGHT_MAX)
		return vms_fail(e, VMS_E_INVAL, "%s: the node's name, zone or weight is unusable",
				address);
	for (unsigned i = 0; i < TOOL_TRIES; i++) {
		struct vms_cat_node n = {.weight = (uint32_t)weight};
		struct vms_cat_cluster c = v->cluster;
		char key[VMS_CAT_KEY_BYTES_MAX];
		struct vms_cat_cmp cmp[2] = {{"cluster", v->cluster_revision}, {key, 0}};
		struct vms_cat_op op[2] = {{"cluster", NULL, 0}, {key, NULL, 0}};
		int rc;

		VMS_VEC_FOREACH(&v->nodes, old) {
			if (strcmp(old->n.name, name))
				continue;
			/* An earlier join that stopped half-way: go on with its id. */
			if (!old->n.incarnation && !strcmp(old->n.address, address)) {
				*id = old->n.id;
				return 0;
			}
			return vms_fail(e, VMS_E_EXIST,
					"a node called '%s' is in the ring already (id %u at %s); give the one at %s another name",
					name, old->n.id, old->n.address, address);
		}
		if (v->cluster.has_data)
			return vms_fail(e, VMS_E_UNSUPPORTED,
					"the cluster holds volumes: in this version nodes join before the first volume is created");
		if (v->nodes.n >= VMS_NODES_MAX - 1)
			return vms_fail(e, VMS_E_FULL, "the ring has %zu nodes, no more fit",
					v->nodes.n);
		n.id = c.next_node++;
		snprintf(n.name, sizeof(n.name), "%s", name);
		snprintf(n.address, sizeof(n.address), "%.63s", address);
		snprintf(n.zone, sizeof(n.zone), "%s", zone ? zone : "");
		vms_cat_key_node(key, n.id);
		op[0].val = vms_cat_cluster_encode(&c);
		op[1].val = vms_cat_node_encode(&n);
		rc = tool_txn(t, cmp, 2, op, 2, e);
		free((char *)op[0].val);
		free((char *)op[1].val);
		*id = n.id;
		if (!rc || !tool_txn_again(rc))
			return rc;
		view_free(v);
		rc = view_load(t, v, e);
		if (rc)
			return rc;
	}
	return vms_fail(e, VMS_E_CONFLICT, "the catalog changes all the time; try again");
}

/* One node: identity, record, format. */
static int join_node(struct tool *t, const char *address, const struct join_opts *o, struct view *v)
{
	struct vms_errmsg e = {""};
	json_t *ident = NULL, *done = NULL;
	const char *told, *name;
	char uuid[37];
	uint32_t id = 0;
	int rc;

	rc = tool_call(t, address, "identity", NULL, 5000, &ident, &e);
	if (rc)
		return tool_fail(t, "%s", e.text);
	tool_uuid_text(v->cluster.uuid, uuid);
	told = json_string_value(json_object_get(ident, "address"));
	name = json_string_value(json_object_get(ident, "name"));
	if (!told || !name) {
		rc = tool_fail(t, "%s: what answers is no storage node", address);
		goto out;
	}
	if (json_is_true(json_object_get(ident, "joined"))) {
		const char *theirs = json_string_value(json_object_get(ident, "cluster"));

		if (!theirs || strcmp(theirs, uuid)) {
			rc = tool_fail(t, "%s: node '%s' belongs to another cluster (%s); empty its folder first if that data is not needed",
				       address, name, theirs ? theirs : "unknown");
			goto out;
		}
		if (!t->json)
			printf("%s: node '%s' is in the ring already\n", told, name);
		rc = 0;
		goto out;
	}
	rc = register_node(t, told, ident, o, v, &id, &e);
	if (rc) {
		rc = tool_fail(t, "%s", e.text);
		goto out;
	}
	if (!t->json) {
		char size[VMS_SIZE_TEXT_MAX];

		printf("%s: node '%s' becomes node %u; it writes its log of %s now\n", told, name,
		       id,
		       vms_size_format((uint64_t)json_integer_value(
					       json_object_get(ident, "log_bytes")),
				       size));
		fflush(stdout);
	}
	rc = tool_call(t, address, "format",
		       json_pack("{ss sI sI}", "cluster", uuid, "part_bits",
				 (json_int_t)v->cluster.part_bits, "node", (json_int_t)id),
		       FORMAT_MS_MAX, &done, &e);
	if (rc)
		rc = tool_fail(t, "%s", e.text);
out:
	json_decref(ident);
	json_decref(done);
	return rc;
}

/* Plans the table anew and writes what differs. No data exists, so a crash half-way
 * leaves a table that works and that the next join completes. */
static int replan(struct tool *t, struct view *v, unsigned *changed, struct vms_errmsg *e)
{
	const struct vms_ring_params rp = {v->cluster.part_bits, v->cluster.copies};
	struct vms_ring_member *m = calloc(v->nodes.n + 1, sizeof(*m));
	struct vms_ring_table prev, next;
	uint32_t p = 0;
	int rc;

	*changed = 0;
	for (size_t i = 0; i < v->nodes.n; i++)
		m[i] = (struct vms_ring_member){v->nodes.d[i].n.id, v->nodes.d[i].n.weight,
						v->nodes.d[i].n.zone};
	rc = view_table(v, &prev);
	if (!rc) {
		rc = vms_ring_check(&prev, m, (unsigned)v->nodes.n, &rp, e);
		if (!rc)
			rc = vms_ring_plan(&prev, m, (unsigned)v->nodes.n, &rp, &next);
		if (rc)
			vms_ring_table_close(&prev);
	}
	free(m);
	if (rc)
		return rc;
	while (!rc && p < v->nparts) {
		struct vms_cat_cmp cmp[PARTS_PER_TXN + 1] = {{"cluster", v->cluster_revision}};
		struct vms_cat_op op[PARTS_PER_TXN];
		char key[PARTS_PER_TXN][VMS_CAT_KEY_BYTES_MAX];
		unsigned n = 0;

		for (; p < v->nparts && n < PARTS_PER_TXN; p++) {
			struct vms_part_conf *old = &v->part[p].conf;
			struct vms_part_conf c = {.epoch = old->epoch + 1,
						  .loss_epoch = old->loss_epoch};
			const struct vms_ring_row *row = &next.row[p];

			if (!row->n || (prev.row[p].n == row->n &&
					!memcmp(prev.row[p].node, row->node,
						row->n * sizeof(row->node[0]))))
				continue;
			c.primary = row->node[0];
			c.nmembers = row->n;
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
	vms_ring_table_close(&prev);
	vms_ring_table_close(&next);
	return rc;
}

static int run_join(struct cmd_call *c)
{
	struct tool *t = c->t;
	struct join_opts o = {0};
	const struct vms_opt opts[] = {
		{0, "zone", VMS_OPT_STRING, &o.zone, "ZONE",
		 "what fails together with these nodes (default: the node's own setting)"},
		{0, "weight", VMS_OPT_U64, &o.weight, "N",
		 "share of the data, 100 is normal (default: the node's own setting)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	unsigned changed = 0, total = 0;
	struct view v;
	int rc, bad = TOOL_OK;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	for (unsigned i = 0; i < c->n; i++) {
		struct vms_conf_addr a;

		if (vms_conf_addr_parse(c->arg[i], 0, &a, &e))
			return cmd_usage(c, "%s", e.text);
	}
	if (o.weight > VMS_RING_WEIGHT_MAX)
		return cmd_usage(c, "--weight %" PRIu64 ": at most %u", o.weight,
				  VMS_RING_WEIGHT_MAX);
	rc = view_load(t, &v, &e);
	for (unsigned i = 0; !rc && i < c->n; i++) {
		bad |= join_node(t, c->arg[i], &o, &v);
		view_free(&v);
		rc = view_load(t, &v, &e);
	}
	for (unsigned i = 0; !rc && i < TOOL_TRIES; i++) {
		if (v.cluster.has_data)
			break; /* nothing new was taken in */
		rc = replan(t, &v, &changed, &e);
		total += changed;
		if (!tool_txn_again(rc))
			break;
		view_free(&v);
		rc = view_load(t, &v, &e);
	}
	if (rc)
		bad = tool_fail(t, "%s", e.text);
	else if (t->json)
		tool_print_json(json_pack("{sI sI}", "nodes", (json_int_t)v.nodes.n,
					  "partitions_changed", (json_int_t)total));
	else
		printf("ring: %zu nodes, %u of %u partitions placed anew\n", v.nodes.n, total,
		       v.nparts);
	if (!rc && !t->json && v.nodes.n < v.cluster.copies)
		printf("note: %u copies need %u nodes; join more before creating volumes\n",
		       v.cluster.copies, v.cluster.copies);
	view_free(&v);
	return bad;
}

/* ---- status ---- */

static void print_status(struct view *v, const struct view_health *h)
{
	char uuid[37], used[VMS_SIZE_TEXT_MAX], total[VMS_SIZE_TEXT_MAX];
	struct vms_table *tab;

	tool_uuid_text(v->cluster.uuid, uuid);
	printf("cluster     %s\nhealth      %s\n", uuid, view_health_word(v, h));
	printf("partitions  %u: %u complete, %u serving", v->nparts, h->complete, h->serving);
	if (h->degraded)
		printf(", %u degraded", h->degraded);
	if (h->down)
		printf(", %u down", h->down);
	if (h->missing_copies)
		printf(", %u with missing copies", h->missing_copies);
	if (h->placed < v->nparts)
		printf(", %u not placed", v->nparts - h->placed);
	printf("\ncopies      %u (writes need %u)\n", v->cluster.copies, v->cluster.min_copies);
	if (h->total_bytes)
		printf("space       %s of %s used\n", vms_size_human(h->used_bytes, used),
		       vms_size_human(h->total_bytes, total));
	printf("volumes     %zu\n", v->volumes.n);
	if (h->loss_epochs)
		printf("losses      unflushed writes may have been lost %" PRIu64 " times\n",
		       h->loss_epochs);
	printf("\n");
	tab = vms_table_open(">node|<name|<address|<zone|>weight|>replicas|>primaries|<state|>used|>of");
	VMS_VEC_FOREACH(&v->nodes, n) {
		char id[16], weight[16], rep[16], pri[16];
		uint64_t u, s;
		bool space = view_node_space(n, &u, &s);
		const char *cells[] = {id, n->n.name, n->n.address, n->n.zone, weight, rep, pri,
				       n->up ? "up" : n->why,
				       space ? vms_size_human(u, used) : "",
				       space ? vms_size_human(s, total) : ""};

		snprintf(id, sizeof(id), "%u", n->n.id);
		snprintf(weight, sizeof(weight), "%u", n->n.weight);
		snprintf(rep, sizeof(rep), "%u", n->replicas);
		snprintf(pri, sizeof(pri), "%u", n->primaries);
		vms_table_cells(tab, 10, cells);
	}
	vms_table_print(tab, stdout);
	vms_table_close(tab);
	if (!v->gateways.n)
		return;
	printf("\n");
	tab = vms_table_open(">gateway|<name|<portal|>starts");
	VMS_VEC_FOREACH(&v->gateways, g) {
		char id[16], inc[24];
		const char *cells[] = {id, g->name, g->portal, inc};

		snprintf(id, sizeof(id), "%u", g->id);
		snprintf(inc, sizeof(inc), "%" PRIu64, g->incarnation);
		vms_table_cells(tab, 4, cells);
	}
	vms_table_print(tab, stdout);
	vms_table_close(tab);
}

static int run_status(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {
		{0, "json", VMS_OPT_FLAG, &t->json, NULL, "print JSON, with the whole table"},
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	struct view_health h;
	struct view v;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = view_load(t, &v, &e);
	if (rc) {
		view_free(&v);
		return tool_fail(t, "%s", e.text);
	}
	view_ask_nodes(t, &v);
	view_health(&v, &h);
	if (t->json)
		tool_print_json(view_json(&v));
	else
		print_status(&v, &h);
	rc = strcmp(view_health_word(&v, &h), "ok") ? TOOL_DEGRADED : TOOL_OK;
	view_free(&v);
	return rc;
}

/* ---- drain ---- */

#define DRAIN_POLL_MS 50u
#define DRAIN_AGAIN_MS 1000u /* what came meanwhile is in a log, too */

/* Sum of what the nodes have not in containers yet, or -1 when one did not answer. */
static int64_t undrained(struct tool *t, struct nodes *ns, const char *call,
			 struct vms_errmsg *e)
{
	int64_t sum = 0;

	nodes_ask(t, ns, call, NULL, 10000);
	for (unsigned i = 0; i < ns->n; i++) {
		if (!ns->p[i].answer || ns->p[i].status) {
			vms_fail(e, VMS_E_DISCONNECTED, "%s: %s", ns->p[i].name, ns->p[i].why);
			return -1;
		}
		sum += json_integer_value(json_object_get(ns->p[i].answer, "undrained"));
	}
	return sum;
}

static int run_drain(struct cmd_call *c)
{
	struct tool *t = c->t;
	uint64_t timeout_s = 600, begin, now, asked;
	const struct vms_opt opts[] = {
		{0, "timeout", VMS_OPT_U64, &timeout_s, "S", "give up after S seconds (default 600)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	struct nodes ns;
	unsigned nodes;
	int64_t left;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = nodes_open(t, &ns, &e);
	if (!rc)
		rc = nodes_ready(t, &ns, 5000, &e);
	if (rc) {
		nodes_close(t, &ns);
		return tool_fail(t, "%s", e.text);
	}
	begin = asked = vms_clock_ms();
	left = undrained(t, &ns, "drain", &e);
	while (left > 0) {
		now = vms_clock_ms();
		if (now - begin > timeout_s * 1000) {
			vms_fail(&e, VMS_E_TIMEOUT,
				 "%" PRIi64 " chunks are not drained after %" PRIu64
				 " s (is anything writing?)",
				 left, timeout_s);
			left = -1;
			break;
		}
		tool_wait(t, DRAIN_POLL_MS);
		if (now - asked >= DRAIN_AGAIN_MS)
			asked = now;
		left = undrained(t, &ns, asked == now ? "drain" : "space", &e);
	}
	nodes = ns.n;
	nodes_close(t, &ns);
	if (left < 0)
		return tool_fail(t, "%s", e.text);
	now = vms_clock_ms() - begin;
	if (t->json)
		return tool_print_json(json_pack("{sf sI}", "seconds", (double)now / 1e3, "nodes",
						 (json_int_t)nodes));
	printf("drained in %.1f s\n", (double)now / 1e3);
	return TOOL_OK;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){.name = "init",
			    .args = "[OPTIONS]",
			    .brief = "create the cluster in an empty catalog",
			    .about = "Creates the cluster in an empty catalog.",
			    .run = run_init},
	&(const struct cmd){
		.name = "join",
		.args = "[OPTIONS] ADDRESS...",
		.brief = "take the storage node at HOST:PORT into the ring",
		.about = "Takes the storage nodes that answer at ADDRESS (HOST:PORT) into the ring and\n"
			 "places the partitions on them. Repeating it completes a join that was\n"
			 "interrupted.",
		.min = 1,
		.max = CMD_ARGS_MAX,
		.run = run_join},
	&(const struct cmd){
		.name = "status",
		.args = "[--json]",
		.brief = "show ring, partitions, replicas, health and space",
		.about = "Shows ring, partitions, replicas, health and space. Exit code 3: degraded.",
		.run = run_status},
	&(const struct cmd){
		.name = "drain",
		.args = "[--timeout S] [--json]",
		.brief = "move all that the logs hold into containers, now",
		.about = "Makes every node drain its log now instead of when it fills or ages, and waits\n"
			 "until all written data is in containers and checkpointed on all its copies.",
		.run = run_drain},
	NULL,
};

int main(int argc, char **argv)
{
	const struct cmd root = {
		.name = "vmstore-ring",
		.brief = "Creates a VMStore cluster, takes storage nodes in, shows the ring",
		.sub = subs};

	return cmd_main(&root,
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the cluster is degraded.",
			argc, argv);
}
