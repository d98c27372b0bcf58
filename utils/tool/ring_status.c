// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-ring status: ring, copies and what moves, on one screen. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/look.h"
#include "utils/tool/ring_cmds.h"

#define SAMPLE_MS 1000u

/* How fast it goes. */
struct pace {
	uint64_t bytes_s; /* 0: not known, or nothing moves */
	uint64_t left_s;
};

/* Two looks with some time between them; r is the later one afterwards. */
static void sample(struct tool *t, struct ring *r, struct pace *pace)
{
	uint64_t t0 = vms_clock_ms(), before = r->left_bytes, ms;
	struct vms_errmsg e;
	struct ring next;

	memset(pace, 0, sizeof(*pace));
	if (r->left_bytes <= r->wait_bytes)
		return; /* nothing moves */
	while (vms_clock_ms() - t0 < SAMPLE_MS)
		tool_wait(t, 50);
	if (ring_load(t, &next, &e)) {
		ring_free(&next);
		return;
	}
	ring_free(r);
	*r = next;
	ring_ask(t, r);
	ring_count(r);
	ms = vms_clock_ms() - t0;
	if (r->left_bytes >= before || !ms)
		return;
	pace->bytes_s = (before - r->left_bytes) * 1000 / ms;
	ms = r->left_bytes > r->wait_bytes ? r->left_bytes - r->wait_bytes : 0;
	pace->left_s = pace->bytes_s ? ms / pace->bytes_s + 1 : 0;
}

static void print_partitions(struct ring *r, const struct view_health *h)
{
	const struct view *v = &r->v;
	uint32_t stopped = 0, shown = 0, waiting = 0, last = 0;

	printf("partitions  %u: %u complete, %u serving", v->nparts, h->complete, h->serving);
	if (h->missing_copies)
		printf(", %u short of copies", h->missing_copies);
	if (h->degraded)
		printf(", %u with a member down", h->degraded);
	if (h->down)
		printf(", %u cannot be reached", h->down);
	if (h->stand)
		printf(", %u stand", h->stand);
	if (h->placed < v->nparts)
		printf(", %u not placed", v->nparts - h->placed);
	printf("\n");
	for (uint32_t p = 0; r->part && p < v->nparts; p++) {
		stopped += r->part[p].asked && !r->part[p].serving;
		if (r->part[p].serving && r->part[p].writes_wait)
			last = waiting++ ? last : p;
	}
	if (waiting)
		printf("writes      wait in %u partitions (partition %u: %s)\n", waiting, last,
		       r->part[last].state);
	ring_stand_print(r, "stands      ", 4);
	if (stopped)
		printf("not served  %u partitions:", stopped);
	for (uint32_t p = 0; stopped && p < v->nparts && shown < 4; p++) {
		if (!r->part[p].asked || r->part[p].serving)
			continue;
		printf("%s %u %s", shown++ ? "," : "", p, r->part[p].state);
	}
	if (stopped)
		printf("%s\n", stopped > shown ? ", …" : "");
}

static void print_moving(const struct ring *r, const struct pace *pace)
{
	char left[VMS_SIZE_TEXT_MAX], rate[VMS_SIZE_TEXT_MAX], dur[VMS_SIZE_TEXT_MAX];

	if (!ring_planned(r))
		printf("planning    a change of the membership is being worked in\n");
	if (r->wait_copies)
		printf("waiting     %u copies for nodes that do not run, about %s\n",
		       r->wait_copies, vms_size_human(r->wait_bytes, left));
	else if (r->wait_parts)
		printf("waiting     %u partitions for nodes to lead them that do not run\n",
		       r->wait_parts);
	if (r->moving == r->wait_parts)
		return;
	printf("moving      %u copies in %u partitions, about %s to go",
	       r->left_copies - r->wait_copies, r->moving - r->wait_parts,
	       vms_size_human(r->left_bytes > r->wait_bytes ? r->left_bytes - r->wait_bytes : 0,
			      left));
	if (pace->bytes_s)
		printf(", %s/s, %s left", vms_size_human(pace->bytes_s, rate),
		       vms_duration_format(pace->left_s * 1000, dur));
	if (r->v.cluster.move_bytes_s)
		printf(" (no node sends more than %s/s",
		       vms_size_human(r->v.cluster.move_bytes_s, rate));
	if (r->v.cluster.move_bytes_s && r->urgent)
		printf(", but for %u urgent copies", r->urgent);
	if (r->v.cluster.move_bytes_s)
		printf(")");
	printf("\n");
}

/* Why writes are slower than the disks. */
static void print_yielding(const struct ring *r)
{
	const char *head = "yielding";
	struct view_yield y;
	char dur[VMS_SIZE_TEXT_MAX];

	VMS_VEC_FOREACH (&r->v.nodes, n) {
		if (!view_node_yields(n, &y))
			continue;
		printf("%-12swrites to %s are slowed, so that a copy that they outrun gets done "
		       "there (step %" PRIu64 " of %" PRIu64 ", for %s)\n",
		       head, n->n.name, y.step, y.steps,
		       vms_duration_format(y.seconds * 1000, dur));
		head = "";
	}
}

static json_t *yielding_json(const struct ring *r)
{
	json_t *a = json_array();
	struct view_yield y;

	VMS_VEC_FOREACH (&r->v.nodes, n)
		if (view_node_yields(n, &y))
			json_array_append_new(a, json_pack("{ss sI sI sI}", "node", n->n.name,
							   "step", (json_int_t)y.step, "steps",
							   (json_int_t)y.steps, "seconds",
							   (json_int_t)y.seconds));
	return a;
}

static void print_nodes(const struct ring *r)
{
	char used[VMS_SIZE_TEXT_MAX], total[VMS_SIZE_TEXT_MAX];
	struct vms_table *tab = vms_table_open(
		">node|<name|<address|<zone|>weight|>copies|>wanted|>leads|<state|>used|>of|>full");

	VMS_VEC_FOREACH (&r->v.nodes, n) {
		char id[16], weight[16], rep[16], pri[16], wanted[16], full[16] = "", state[200];
		uint64_t u, s;
		bool space = view_node_space(n, &u, &s);
		uint32_t w = 0;
		const char *cells[] = {id,
				       n->n.name,
				       n->n.address,
				       n->n.zone,
				       weight,
				       rep,
				       wanted,
				       pri,
				       state,
				       space ? vms_size_human(u, used) : "",
				       space ? vms_size_human(s, total) : "",
				       full};

		for (uint32_t p = 0; p < r->v.nparts; p++) {
			const struct vms_part_conf *c = &r->v.part[p].conf;
			uint32_t want[VMS_COPIES_MAX];

			for (unsigned k = c->epoch ? vms_cat_part_want(c, want) : 0; k; k--)
				w += want[k - 1] == n->n.id;
		}
		snprintf(id, sizeof(id), "%u", n->n.id);
		snprintf(weight, sizeof(weight), "%u", n->n.weight);
		snprintf(rep, sizeof(rep), "%u", n->replicas);
		snprintf(wanted, sizeof(wanted), "%u", w);
		snprintf(pri, sizeof(pri), "%u", n->primaries);
		if (space && s)
			snprintf(full, sizeof(full), "%u %%", (unsigned)(u * 100 / s));
		if (n->n.state == VMS_NODE_IN)
			snprintf(state, sizeof(state), "%s%s%s", n->up ? "up" : n->why,
				 *view_node_full(n) ? ", " : "", view_node_full(n));
		else
			snprintf(state, sizeof(state), "%s%s%s", view_state_word(n->n.state),
				 n->up ? "" : ", ", n->up ? "" : n->why);
		vms_table_cells(tab, 12, cells);
	}
	vms_table_print(tab, stdout);
	vms_table_close(tab);
}

static void print_gateways(const struct gates *g)
{
	struct vms_table *tab;

	if (!g->gws.n)
		return;
	printf("\n");
	tab = vms_table_open(">gateway|<name|<portal|<state|>initiators|>starts");
	for (size_t i = 0; i < g->gws.n; i++) {
		const struct vms_cat_gateway *gw = &g->gws.d[i].g;
		const struct gate_state *st = &g->st[i];
		char id[16], inits[16], inc[24];
		const char *cells[] = {id,    gw->name, gw->portal, gate_state_text(gw, st),
				       inits, inc};

		snprintf(id, sizeof(id), "%u", gw->id);
		snprintf(inits, sizeof(inits), st->up ? "%u" : "-", st->sessions);
		snprintf(inc, sizeof(inc), "%" PRIu64, gw->incarnation);
		vms_table_cells(tab, 6, cells);
	}
	vms_table_print(tab, stdout);
	vms_table_close(tab);
}

static void print_status(struct look *l, const struct pace *pace)
{
	const struct view_health *h = &l->h;
	struct ring *r = &l->r;
	char uuid[37], used[VMS_SIZE_TEXT_MAX], total[VMS_SIZE_TEXT_MAX];
	const struct view *v = &r->v;

	tool_uuid_text(v->cluster.uuid, uuid);
	printf("cluster     %s\nhealth      %s\n", uuid, look_word(l));
	print_partitions(r, h);
	printf("copies      %u (writes need %u)", v->cluster.copies, v->cluster.min_copies);
	if (v->cluster.rebuild_after_s)
		printf("; made anew when a node is away for %s",
		       vms_duration_format(v->cluster.rebuild_after_s * 1000ull, used));
	printf("\n");
	if (h->total_bytes)
		printf("space       %s of %s used\n", vms_size_human(h->used_bytes, used),
		       vms_size_human(h->total_bytes, total));
	printf("volumes     %zu\n", v->volumes.n);
	if (h->loss_epochs)
		printf("losses      unflushed writes may have been lost %" PRIu64 " times\n",
		       h->loss_epochs);
	VMS_VEC_FOREACH (&r->v.nodes, n) {
		if (view_node_lost(n))
			printf("damaged     %" PRIu64 " places on every copy, says %s: see "
			       "vmstore-ring scrub\n",
			       view_node_lost(n), n->n.name);
	}
	etcd_print(&l->e, 12);
	look_print_gateways(l, 12);
	print_moving(r, pace);
	print_yielding(r);
	printf("\n");
	print_nodes(r);
	print_gateways(&l->g);
}

static json_t *to_json(struct look *l, const struct pace *pace)
{
	const struct ring *r = &l->r;
	json_t *o = look_json(l);

	json_object_set_new(o, "planned", json_boolean(ring_planned(r)));
	json_object_set_new(
		o, "moving",
		json_pack("{sI sI sI sI sI sI sI sI sI sI so}", "partitions", (json_int_t)r->moving,
			  "copies", (json_int_t)r->left_copies, "drops", (json_int_t)r->left_drops,
			  "leads", (json_int_t)r->left_leads, "bytes_left",
			  (json_int_t)r->left_bytes, "bytes_s", (json_int_t)pace->bytes_s,
			  "seconds_left", (json_int_t)pace->left_s, "limit_bytes_s",
			  (json_int_t)r->v.cluster.move_bytes_s, "waiting_copies",
			  (json_int_t)r->wait_copies, "urgent_copies", (json_int_t)r->urgent,
			  "yielding", yielding_json(r)));
	return o;
}

static int run_status(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {
		{0, "json", VMS_OPT_FLAG, &t->json, NULL, "print JSON, with the whole table"},
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	struct pace pace;
	struct look l;
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	rc = look_load(t, &l, &e);
	if (rc) {
		rc = look_fail(t, &l, &e);
		look_free(&l);
		return rc;
	}
	sample(t, &l.r, &pace);
	look_again(&l);
	if (t->json)
		tool_print_json(to_json(&l, &pace));
	else
		print_status(&l, &pace);
	rc = look_exit_code(&l);
	look_free(&l);
	return rc;
}

const struct cmd ring_status = {
	.name = "status",
	.args = "[--json]",
	.brief = "show ring, partitions, copies, health, space, catalog, gateways, what moves",
	.about =
		"Shows ring, partitions, copies, health, space, catalog, gateways and what moves. "
		"Exit\n"
		"codes: 0 ok, 3 degraded (as of vmstore status: a gateway that is down and not "
		"drained, "
		"and\n"
		"a member of etcd that does not answer, count too), 4 some data cannot be reached.",
	.run = run_status};
