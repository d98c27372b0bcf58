// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void gates_load(struct tool *t, struct gates *g)
{
	if (gateways_load(t, &g->gws, &g->why) || gate_states(t, &g->gws, &g->st, &g->why)) {
		gateways_free(&g->gws);
		return;
	}
	for (size_t i = 0; i < g->gws.n; i++) {
		if (!g->gws.d[i].g.portal[0])
			continue; /* a tool */
		g->all++;
		g->up += g->st[i].up;
		g->down += !g->st[i].up && !g->st[i].draining;
		g->sessions += g->st[i].sessions;
	}
}

int look_load(struct tool *t, struct look *l, struct vms_errmsg *msg)
{
	int rc;

	memset(l, 0, sizeof(*l));
	rc = ring_load(t, &l->r, msg);
	if (!rc || rc == VMS_E_TIMEOUT || rc == VMS_E_DISCONNECTED)
		etcd_ask(t, &l->e);
	if (rc)
		return rc;
	ring_ask(t, &l->r);
	gates_load(t, &l->g);
	look_again(l);
	return 0;
}

int look_fail(struct tool *t, const struct look *l, const struct vms_errmsg *msg)
{
	char text[256];

	tool_fail(t, "%s", msg->text);
	for (unsigned i = 0; i < l->e.m.n; i++)
		if (*etcd_member_text(&l->e, i, text))
			tool_note(t, "etcd member %s %s", l->e.address[i], text);
	for (unsigned i = 0; i < l->e.m.nalarms; i++)
		tool_note(t, "etcd member %s: alarm %s", etcd_alarm_member(&l->e, i, text),
			  etcd_alarm_word(l->e.m.alarm[i].kind));
	return TOOL_FAILED;
}

void look_again(struct look *l)
{
	ring_count(&l->r);
	view_health(&l->r.v, &l->h);
}

void look_free(struct look *l)
{
	free(l->g.st);
	gateways_free(&l->g.gws);
	ring_free(&l->r);
}

static bool less_safe(const struct look *l)
{
	return l->g.down || l->g.why.text[0] || !etcd_well(&l->e);
}

const char *look_word(const struct look *l)
{
	const char *ring = view_health_word(&l->r.v, &l->h);

	return !strcmp(ring, "ok") && less_safe(l) ? "degraded" : ring;
}

int look_exit_code(const struct look *l)
{
	int code = view_exit_code(&l->r.v, &l->h);

	return code == TOOL_OK && less_safe(l) ? TOOL_DEGRADED : code;
}

/* What view_json() says of gateways, and what of that is so now. */
static void gates_json(const struct gates *g, json_t *list)
{
	json_t *x;
	size_t k;

	json_array_foreach (list, k, x)
		for (size_t i = 0; !g->why.text[0] && i < g->gws.n; i++) {
			const struct gate_state *st = &g->st[i];

			if (json_integer_value(json_object_get(x, "id")) !=
			    (json_int_t)g->gws.d[i].g.id)
				continue;
			json_object_set_new(x, "state",
					    json_string(gate_state_text(&g->gws.d[i].g, st)));
			json_object_set_new(x, "up", json_boolean(st->up));
			json_object_set_new(x, "draining", json_boolean(st->draining));
			json_object_set_new(x, "initiators",
					    st->up ? json_integer(st->sessions) : json_null());
		}
}

json_t *look_json(struct look *l)
{
	json_t *o = view_json(&l->r.v);

	json_object_set_new(o, "health", json_string(look_word(l)));
	json_object_set_new(o, "standing", ring_stand_json(&l->r));
	json_object_set_new(o, "catalog", etcd_json(&l->e));
	gates_json(&l->g, json_object_get(o, "gateways"));
	return o;
}

void look_print_gateways(const struct look *l, int head)
{
	const struct gates *g = &l->g;

	if (g->why.text[0]) {
		printf("%-*s? %s\n", head, "gateways", g->why.text);
		return;
	}
	printf("%-*s%u of %u up, %u session%s of initiators\n", head, "gateways", g->up, g->all,
	       g->sessions, g->sessions == 1 ? "" : "s");
	for (size_t i = 0; i < g->gws.n; i++) {
		const struct vms_cat_gateway *gw = &g->gws.d[i].g;
		const struct gate_state *st = &g->st[i];

		/* one that is drained is easily forgotten */
		if (st->draining)
			printf("%*s%s is %s (asked for on %s): it takes no initiators until "
			       "vmstore gateway undrain %s\n",
			       head, "", gw->name, gate_state_text(gw, st), st->drain.by, gw->name);
		else if (gw->portal[0] && !st->up)
			printf("%*s%s is down: its initiators have one path less (vmstore "
			       "gateway forget %s, if it is gone for good)\n",
			       head, "", gw->name, gw->name);
	}
}
