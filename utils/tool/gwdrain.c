// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/gwdrain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int find(const struct gateways *gws, const char *name, struct vms_errmsg *msg)
{
	for (size_t i = 0; i < gws->n; i++)
		if (!strcmp(gws->d[i].g.name, name))
			return (int)i;
	vms_fail(msg, VMS_E_NOENT, "there is no gateway '%s'", name);
	return -1;
}

static struct gate_state *of_id(const struct gateways *g, struct gate_state *s, uint32_t id)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->d[i].g.id == id)
			return &s[i];
	return NULL;
}

int gate_states(struct tool *t, const struct gateways *g, struct gate_state **out,
		struct vms_errmsg *msg)
{
	struct tool_kvs loads = VMS_VEC_INIT, drains = VMS_VEC_INIT;
	struct gate_state *st = calloc(g->n + 1, sizeof(*st)), *s;
	int rc = tool_range(t, "gwload/", &loads, msg);

	vms_assert(st);
	if (!rc)
		rc = tool_range(t, "gwdrain/", &drains, msg);
	for (size_t i = 0; !rc && i < drains.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&drains.d[i]);
		struct vms_cat_gwdrain d;

		rc = vms_cat_gwdrain_decode(&c, &d, msg);
		s = rc ? NULL : of_id(g, st, d.gateway);
		if (s) {
			s->draining = true;
			s->drain = d;
			s->drain_rev = c.mod_revision;
		}
	}
	for (size_t i = 0; !rc && i < loads.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&loads.d[i]);
		struct vms_cat_gwload l;

		rc = vms_cat_gwload_decode(&c, &l, NULL, msg);
		s = rc ? NULL : of_id(g, st, l.gateway);
		if (s) {
			s->up = true;
			s->sessions = l.sessions;
			s->knows = l.draining == s->draining;
		}
	}
	tool_kvs_free(&loads);
	tool_kvs_free(&drains);
	if (rc) {
		free(st);
		st = NULL;
	}
	*out = st;
	return rc;
}

const char *gate_state_text(const struct vms_cat_gateway *g, const struct gate_state *s)
{
	if (!g->portal[0])
		return "tool";
	if (!s->up)
		return s->draining ? "drained,down" : "down";
	if (s->draining)
		return s->sessions || !s->knows ? "draining" : "drained";
	return "up";
}

/* Another that takes initiators of the cluster's targets, or -1. */
static int other(const struct gateways *g, const struct gate_state *s, int self)
{
	for (size_t i = 0; i < g->n; i++)
		if ((int)i != self && g->d[i].g.portals[0] && s[i].up && !s[i].draining)
			return (int)i;
	return -1;
}

static int try_drain(struct tool *t, const struct gateways *gws, const char *name, uint32_t seconds,
		     bool force, struct vms_errmsg *msg)
{
	char gate[VMS_CAT_KEY_BYTES_MAX], key[VMS_CAT_KEY_BYTES_MAX], left[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_gwdrain rec = {.seconds = seconds, .since_s = (uint64_t)time(NULL)};
	struct vms_cat_cmp cmp[3];
	struct vms_cat_op op = {key, NULL, 0};
	struct gate_state *st;
	int at = find(gws, name, msg), rest, rc;

	if (at < 0)
		return VMS_E_NOENT;
	if (!gws->d[at].g.portal[0])
		return vms_fail(msg, VMS_E_INVAL, "'%s' is a tool, no initiator is connected to it",
				name);
	rc = gate_states(t, gws, &st, msg);
	if (rc)
		return rc;
	rest = other(gws, st, at);
	if (rest < 0 && !force) {
		free(st);
		return vms_fail(msg, VMS_E_BUSY,
				"no other gateway is up and takes initiators, so those of '%s' "
				"would lose their disks; --force drains it all the same",
				name);
	}
	rec.gateway = gws->d[at].g.id;
	if (st[at].draining)
		rec.since_s = st[at].drain.since_s;
	vms_settings_name(NULL, rec.by);
	vms_cat_key_gateway(gate, rec.gateway);
	vms_cat_key_gwdrain(key, rec.gateway);
	cmp[0] = (struct vms_cat_cmp){gate, gws->d[at].mod_revision};
	cmp[1] = (struct vms_cat_cmp){key, st[at].drain_rev};
	if (rest >= 0) { /* two that are drained at once do not count on each other */
		vms_cat_key_gwdrain(left, gws->d[rest].g.id);
		cmp[2] = (struct vms_cat_cmp){left, 0};
	}
	free(st);
	op.val = vms_cat_gwdrain_encode(&rec);
	rc = tool_txn(t, cmp, rest >= 0 ? 3 : 2, &op, 1, msg);
	free((char *)op.val);
	return rc;
}

int gate_drain(struct tool *t, const char *name, uint32_t seconds, bool force,
	       struct vms_errmsg *msg)
{
	unsigned tries = 0;
	int rc;

	do {
		struct gateways gws;

		rc = gateways_load(t, &gws, msg);
		if (!rc)
			rc = try_drain(t, &gws, name, seconds, force, msg);
		gateways_free(&gws);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

int gate_undrain(struct tool *t, const char *name, bool *was, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_gateway g;
	struct gate_state s;
	unsigned tries = 0;
	int rc;

	do {
		struct vms_cat_op op = {key, NULL, 0};
		struct vms_cat_cmp cmp = {key, 0};

		rc = gate_look(t, name, &s, &g, msg);
		if (rc)
			return rc;
		*was = s.draining;
		if (!s.draining)
			return 0;
		vms_cat_key_gwdrain(key, g.id);
		cmp.mod_revision = s.drain_rev;
		rc = tool_txn(t, &cmp, 1, &op, 1, msg);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

int gate_look(struct tool *t, const char *name, struct gate_state *out, struct vms_cat_gateway *g,
	      struct vms_errmsg *msg)
{
	struct gate_state *st = NULL;
	struct gateways gws;
	int rc = gateways_load(t, &gws, msg), at;

	if (!rc) {
		at = find(&gws, name, msg);
		rc = at < 0 ? VMS_E_NOENT : gate_states(t, &gws, &st, msg);
		if (!rc) {
			*out = st[at];
			*g = gws.d[at].g;
		}
	}
	free(st);
	gateways_free(&gws);
	return rc;
}
