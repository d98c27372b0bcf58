// SPDX-License-Identifier: GPL-2.0-only
/* vmstore gateway: list gateways, forget one that is gone. Drains:
 * cmd_gateway_drain.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/tool/cmds.h"
#include "utils/tool/gwdrain.h"

/* ---- ls ---- */

/* Volumes by number, for names. */
struct volumes {
	VMS_VEC(struct vms_cat_volume) v;
};

static const char *volume_name(const struct volumes *vols, uint64_t id)
{
	VMS_VEC_FOREACH (&vols->v, v)
		if (v->id == id)
			return v->name;
	return "?";
}

static int load_volumes(struct tool *t, struct volumes *out, struct vms_errmsg *e)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "volume/", &kv, e);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);

		rc = vms_cat_volume_decode(&c, VMS_VEC_ADD(&out->v), e);
	}
	tool_kvs_free(&kv);
	return rc;
}

/* Names of what the gateway has open: "vm1", "vm1@s" is told as "vm1@" and a number. */
static int opened(struct tool *t, const char *prefix, uint32_t gateway, const struct volumes *vols,
		  json_t *out, struct vms_errmsg *e)
{
	struct tool_kvs kv;
	int rc = tool_range(t, prefix, &kv, e);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_open o;

		if (vms_cat_open_decode(&c, &o, NULL) || o.gateway != gateway)
			continue;
		json_array_append_new(out,
				      o.snap_gen ? json_sprintf("%s@(%" PRIu64 ")",
								volume_name(vols, o.id), o.snap_gen)
						 : json_string(volume_name(vols, o.id)));
	}
	tool_kvs_free(&kv);
	return rc;
}

/* Live sessions at the nodes; -1: no node could be asked. */
static int sessions_of(const struct nodes *ns, uint32_t gateway)
{
	int live = -1;

	for (unsigned i = 0; i < ns->n; i++) {
		json_t *s;
		size_t k;

		if (!json_is_array(ns->p[i].answer))
			continue;
		live = live < 0 ? 0 : live;
		json_array_foreach (ns->p[i].answer, k, s)
			live += (uint64_t)json_integer_value(json_object_get(s, "gateway")) ==
					gateway &&
				json_is_true(json_object_get(s, "live"));
	}
	return live;
}

static void add_row(struct vms_table *tab, const struct vms_cat_gateway *g,
		    const struct gate_state *st, int live, unsigned nodes, json_t *open)
{
	char id[16], starts[24], sess[32], inits[16], names[128] = "";
	json_t *name;
	size_t i;

	snprintf(id, sizeof(id), "%" PRIu32, g->id);
	snprintf(starts, sizeof(starts), "%" PRIu64, g->incarnation);
	snprintf(sess, sizeof(sess), live < 0 ? "?" : "%d of %u", live, nodes);
	snprintf(inits, sizeof(inits), st->up ? "%u" : "-", st->sessions);
	json_array_foreach (open, i, name) {
		size_t n = strlen(names);

		if (n + strlen(json_string_value(name)) + 8 > sizeof(names)) {
			snprintf(names + n, sizeof(names) - n, ", ...");
			break;
		}
		snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
			 json_string_value(name));
	}
	vms_table_cells(tab, 8,
			(const char *[]){id, g->name,
					 g->portals[0]	? g->portals
					 : g->portal[0] ? g->portal
							: "(tool)",
					 gate_state_text(g, st), inits, starts, sess, names});
}

/* Takes open. */
static json_t *to_json(const struct vms_cat_gateway *g, const struct gate_state *st, int live,
		       unsigned nodes, json_t *open)
{
	json_t *j = json_pack("{sI ss ss ss sI si si so sb sb}", "id", (json_int_t)g->id, "name",
			      g->name, "portal", g->portal, "state", gate_state_text(g, st),
			      "incarnation", (json_int_t)g->incarnation, "sessions", live, "nodes",
			      (int)nodes, "open", open, "up", (int)st->up, "draining",
			      (int)st->draining);
	json_t *portals = json_array();

	for (const char *s = g->portals; *s;) {
		size_t n = strcspn(s, " ");

		json_array_append_new(portals, json_stringn(s, n));
		s += n + (s[n] == ' ');
	}
	json_object_set_new(j, "portals", portals);
	json_object_set_new(j, "initiators", st->up ? json_integer(st->sessions) : json_null());
	if (st->draining)
		json_object_set_new(j, "drain",
				    json_pack("{sI si ss}", "since_s",
					      (json_int_t)st->drain.since_s, "timeout_s",
					      (int)st->drain.seconds, "by", st->drain.by));
	return j;
}

static int run_ls(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct gateways gws = VMS_VEC_INIT;
	struct volumes vols = {VMS_VEC_INIT};
	struct nodes ns = {0};
	struct vms_errmsg e = {""};
	struct gate_state *st = NULL;
	struct vms_table *tab;
	json_t *list;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	tab = vms_table_open(">gateway|<name|<portals|<state|>initiators|>starts|>sessions|<open");
	list = json_array();
	code = gateways_load(c->t, &gws, &e);
	if (!code)
		code = gate_states(c->t, &gws, &st, &e);
	if (!code)
		code = load_volumes(c->t, &vols, &e);
	if (!code)
		code = nodes_open(c->t, &ns, &e);
	if (!code)
		nodes_ask(c->t, &ns, "sessions", NULL, 3000);
	for (size_t i = 0; !code && i < gws.n; i++) {
		const struct vms_cat_gateway *g = &gws.d[i].g;
		json_t *open = json_array();
		int live = sessions_of(&ns, g->id);

		code = opened(c->t, "open/", g->id, &vols, open, &e);
		if (!code)
			code = opened(c->t, "snapopen/", g->id, &vols, open, &e);
		add_row(tab, g, &st[i], live, ns.n, open);
		json_array_append_new(list, to_json(g, &st[i], live, ns.n, open));
	}
	code = cmd_list_end(c, code, &e, tab, list);
	nodes_close(c->t, &ns);
	gateways_free(&gws);
	free(st);
	VMS_VEC_FREE(&vols.v);
	return code;
}

/* ---- forget ---- */

static int run_forget(struct cmd_call *c)
{
	bool force = false, kept = false;
	const struct vms_opt opts[] = {
		{0, "force", VMS_OPT_FLAG, &force, NULL,
		 "also one that lives; its initiators lose it"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	const struct gateway_info *found = NULL;
	struct vms_errmsg e = {""};
	struct gateways gws;
	int code, rc;

	if (!cmd_parse(c, opts, &code))
		return code;
	rc = gateways_load(c->t, &gws, &e);
	VMS_VEC_FOREACH (&gws, g)
		if (!strcmp(g->g.name, c->arg[0]))
			found = g;
	if (!rc && !found)
		rc = vms_fail(&e, VMS_E_NOENT, "there is no gateway '%s'", c->arg[0]);
	if (!rc)
		rc = gateway_forget(c->t, found, force, &kept, &e);
	if (rc)
		code = tool_fail(c->t, "%s", e.text);
	else if (c->t->json)
		tool_print_json(json_pack("{ss sb}", "forgotten", c->arg[0], "record_kept", kept));
	else if (kept)
		printf("gateway %s is shut out and has nothing open any more; a storage node is "
		       "down, so it\n"
		       "stays on the list: repeat this when the node is up\n",
		       c->arg[0]);
	else
		printf("gateway %s forgotten\n", c->arg[0]);
	gateways_free(&gws);
	return code;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){
		.name = "ls",
		.args = "[--json]",
		.brief = "list gateways, their portals and initiators, what they have open",
		.run = run_ls},
	&cmd_gateway_drain,
	&cmd_gateway_undrain,
	&(const struct cmd){.name = "forget",
			    .args = "NAME [--force]",
			    .brief = "take one that is gone for good off the list",
			    .about = "Shuts out a gateway that will not come back: no storage node "
				     "takes a write of it\n"
				     "any more, and what it had open counts as closed. Refused "
				     "while a node has a live\n"
				     "session of it. A gateway that is started under that name "
				     "again is a new one.",
			    .min = 1,
			    .max = 1,
			    .run = run_forget},
	NULL,
};
const struct cmd cmd_gateway = {.name = "gateway",
				.brief = "list gateways, empty one, forget one that is gone",
				.sub = subs};
