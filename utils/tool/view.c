// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/tool/catalog_fill.h"

#define NAMES_MAX 6u /* nodes that are named in a line */

int view_cluster(struct tool *t, struct vms_cat_cluster *out, uint64_t *mod_revision,
		 struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_get(t, "cluster", &kv, msg);

	if (!rc && !kv.n)
		rc = catalog_fill_interrupted(t, msg);
	if (!rc && !kv.n)
		rc = vms_fail(msg, VMS_E_NOENT,
			      "the catalog is empty: create the cluster with vmstore-ring init; if "
			      "one has lost its catalog, bring that back with vmstore-ring "
			      "restore-catalog");
	if (!rc) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[0]);

		*mod_revision = c.mod_revision;
		rc = vms_cat_cluster_decode(&c, out, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

static int load_nodes(struct tool *t, struct view *v, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "node/", &kv, msg);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct view_node *n = VMS_VEC_ADD(&v->nodes);

		n->mod_revision = c.mod_revision;
		rc = vms_cat_node_decode(&c, &n->n, msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

static int load_parts(struct tool *t, struct view *v, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "part/", &kv, msg);

	v->nparts = 1u << v->cluster.part_bits;
	v->part = calloc(v->nparts, sizeof(*v->part));
	vms_assert(v->part);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_part_conf pc;
		uint32_t number;

		rc = vms_cat_part_decode(&c, &number, &pc, msg);
		if (!rc && number >= v->nparts)
			rc = vms_fail(msg, VMS_E_CORRUPT,
				      "the catalog has %s, but the cluster has %u partitions",
				      c.key, v->nparts);
		if (!rc) {
			v->part[number].conf = pc;
			v->part[number].mod_revision = c.mod_revision;
		}
	}
	tool_kvs_free(&kv);
	return rc;
}

static int load_gateways(struct tool *t, struct view *v, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "gateway/", &kv, msg);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);

		rc = vms_cat_gateway_decode(&c, VMS_VEC_ADD(&v->gateways), msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

static int load_volumes(struct tool *t, struct view *v, struct vms_errmsg *msg)
{
	struct tool_kvs kv;
	int rc = tool_range(t, "volume/", &kv, msg);

	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);

		rc = vms_cat_volume_decode(&c, VMS_VEC_ADD(&v->volumes), msg);
	}
	tool_kvs_free(&kv);
	return rc;
}

int view_load(struct tool *t, struct view *v, struct vms_errmsg *msg)
{
	int rc;

	memset(v, 0, sizeof(*v));
	rc = view_cluster(t, &v->cluster, &v->cluster_revision, msg);
	if (!rc)
		rc = load_nodes(t, v, msg);
	if (!rc)
		rc = load_parts(t, v, msg);
	if (!rc)
		rc = load_gateways(t, v, msg);
	if (!rc)
		rc = load_volumes(t, v, msg);
	for (uint32_t p = 0; !rc && p < v->nparts; p++) {
		const struct vms_part_conf *c = &v->part[p].conf;

		for (uint32_t i = 0; c->epoch && i < c->nmembers; i++) {
			struct view_node *n = view_node(v, c->member[i].node);

			if (!n)
				continue;
			n->replicas++;
			n->primaries += c->member[i].node == c->primary;
		}
	}
	return rc;
}

void view_free(struct view *v)
{
	VMS_VEC_FOREACH (&v->nodes, n)
		json_decref(n->status);
	VMS_VEC_FREE(&v->nodes);
	VMS_VEC_FREE(&v->gateways);
	VMS_VEC_FREE(&v->volumes);
	free(v->part);
	v->part = NULL;
}

struct view_node *view_node(struct view *v, uint32_t id)
{
	VMS_VEC_FOREACH (&v->nodes, n)
		if (n->n.id == id)
			return n;
	return NULL;
}

void view_ask_nodes(struct tool *t, struct view *v)
{
	struct tool_peer *p = calloc(v->nodes.n + 1, sizeof(*p));

	vms_assert(p);
	for (size_t i = 0; i < v->nodes.n; i++) {
		snprintf(p[i].address, sizeof(p[i].address), "%s", v->nodes.d[i].n.address);
		tool_peer_ask(t, &p[i], "status", NULL);
	}
	tool_peers_wait(t, p, (unsigned)v->nodes.n, 3000, NULL, NULL);
	for (size_t i = 0; i < v->nodes.n; i++) {
		struct view_node *n = &v->nodes.d[i];
		const char *state;

		n->asked = true;
		if (p[i].status) {
			snprintf(n->why, sizeof(n->why), "down: %.100s", p[i].why);
		} else {
			n->status = json_incref(p[i].answer);
			state = json_string_value(json_object_get(n->status, "state"));
			n->up = state && !strcmp(state, "running");
			if (!n->up)
				snprintf(n->why, sizeof(n->why), "%.100s",
					 state ? state : "unknown state");
		}
		tool_peer_close(t, &p[i]);
	}
	free(p);
}

static bool number(json_t *o, const char *name, uint64_t *out)
{
	json_t *v = json_object_get(o, name);

	*out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
	return json_is_integer(v);
}

bool view_node_space(const struct view_node *n, uint64_t *used, uint64_t *total)
{
	json_t *s = json_object_get(n->status, "space");
	uint64_t chunks, fre;

	if (!number(s, "container_chunks", &chunks) || !number(s, "free_bytes", &fre))
		return false;
	*used = chunks * VMS_CHUNK_BYTES;
	*total = *used + fre;
	return true;
}

const char *view_node_full(const struct view_node *n)
{
	const char *s = json_string_value(
		json_object_get(json_object_get(n->status, "space"), "state"));

	return !s ? "" : !strcmp(s, "full") ? "full" : !strcmp(s, "nearfull") ? "nearly full" : "";
}

uint64_t view_node_lost(const struct view_node *n)
{
	uint64_t k;

	number(json_object_get(n->status, "core"), "lost", &k);
	return k;
}

bool view_node_yields(const struct view_node *n, struct view_yield *y)
{
	json_t *o = json_object_get(json_object_get(n->status, "core"), "yield");

	return n->up && number(o, "step", &y->step) && number(o, "steps", &y->steps) &&
	       number(o, "seconds", &y->seconds) && y->step;
}

void view_health(struct view *v, struct view_health *h)
{
	memset(h, 0, sizeof(*h));
	for (uint32_t p = 0; p < v->nparts; p++) {
		const struct vms_part_conf *c = &v->part[p].conf;
		bool all = true, any = false;

		if (!c->epoch)
			continue;
		h->placed++;
		h->loss_epochs += c->loss_epoch;
		for (uint32_t i = 0; i < c->nmembers; i++) {
			struct view_node *n = view_node(v, c->member[i].node);

			all &= n && n->up;
			any |= n && n->up;
		}
		h->below_min += c->nmembers < v->cluster.min_copies;
		if (!any)
			h->down++;
		else if (!all)
			h->degraded++;
		else if (c->nmembers < v->cluster.copies)
			h->missing_copies++;
		else
			h->complete++;
	}
	VMS_VEC_FOREACH (&v->nodes, n) {
		uint64_t used, total;

		h->nodes_up += n->up;
		h->nodes_full += !strcmp(view_node_full(n), "full");
		h->lost += view_node_lost(n);
		if (n->up && number(json_object_get(n->status, "core"), "partitions_active", &used))
			h->serving += (uint32_t)used;
		if (n->up &&
		    number(json_object_get(n->status, "core"), "partitions_bytes_wait", &used))
			h->stand += (uint32_t)used;
		if (view_node_space(n, &used, &total)) {
			h->used_bytes += used;
			h->total_bytes += total;
		}
	}
}

void view_missing(struct view *v, char *out, size_t room)
{
	unsigned named = 0;
	size_t at = 0;

	*out = 0;
	VMS_VEC_FOREACH (&v->nodes, n) {
		bool needed = false;

		for (uint32_t p = 0; !n->up && !needed && p < v->nparts; p++) {
			const struct vms_part_conf *c = &v->part[p].conf;
			bool any = false, in = false;

			for (uint32_t i = 0; c->epoch && i < c->nmembers; i++) {
				const struct view_node *m = view_node(v, c->member[i].node);

				any |= m && m->up;
				in |= c->member[i].node == n->n.id;
			}
			needed = in && !any;
		}
		if (needed && named++ < NAMES_MAX && at < room)
			at += (size_t)snprintf(out + at, room - at, "%s%s", named > 1 ? ", " : "",
					       n->n.name);
	}
	if (named > NAMES_MAX && at < room)
		snprintf(out + at, room - at, ", …");
}

const char *view_health_word(const struct view *v, const struct view_health *h)
{
	if (!h->placed)
		return "empty";
	if (h->down)
		return "down";
	if (h->complete < v->nparts || h->serving < v->nparts || h->nodes_up < v->nodes.n ||
	    h->nodes_full || h->lost || h->stand)
		return "degraded";
	return "ok";
}

int view_exit_code(const struct view *v, const struct view_health *h)
{
	if (h->down)
		return TOOL_UNAVAILABLE;
	return strcmp(view_health_word(v, h), "ok") ? TOOL_DEGRADED : TOOL_OK;
}

const char *view_state_word(uint8_t state)
{
	switch (state) {
	case VMS_NODE_IN:
		return "in";
	case VMS_NODE_LEAVING:
		return "leaving";
	case VMS_NODE_OUT:
		return "out";
	case VMS_NODE_DRAINED:
		return "drained";
	default:
		return "?";
	}
}

static json_t *node_json(const struct view_node *n)
{
	json_t *o = json_pack("{sI ss ss ss sI ss sI sI sI}", "id", (json_int_t)n->n.id, "name",
			      n->n.name, "address", n->n.address, "zone", n->n.zone, "weight",
			      (json_int_t)n->n.weight, "membership", view_state_word(n->n.state),
			      "incarnation", (json_int_t)n->n.incarnation, "replicas",
			      (json_int_t)n->replicas, "primaries", (json_int_t)n->primaries);
	uint64_t used, total;

	if (n->asked) {
		json_object_set_new(o, "up", json_boolean(n->up));
		json_object_set_new(o, "full", json_boolean(!strcmp(view_node_full(n), "full")));
		if (!n->up)
			json_object_set_new(o, "why", json_string(n->why));
		if (n->status)
			json_object_set(o, "status", n->status);
		if (view_node_space(n, &used, &total)) {
			json_object_set_new(o, "used_bytes", json_integer((json_int_t)used));
			json_object_set_new(o, "total_bytes", json_integer((json_int_t)total));
		}
	}
	return o;
}

json_t *view_json(struct view *v)
{
	json_t *nodes = json_array(), *parts = json_array(), *gws = json_array();
	struct view_health h;
	char uuid[37];

	view_health(v, &h);
	tool_uuid_text(v->cluster.uuid, uuid);
	VMS_VEC_FOREACH (&v->nodes, n)
		json_array_append_new(nodes, node_json(n));
	for (uint32_t p = 0; p < v->nparts; p++) {
		const struct vms_part_conf *c = &v->part[p].conf;
		json_t *m = json_array(), *w = json_array();
		uint32_t want[VMS_COPIES_MAX];
		unsigned nw = c->epoch ? vms_cat_part_want(c, want) : 0;

		for (uint32_t i = 0; c->epoch && i < c->nmembers; i++)
			json_array_append_new(m, json_integer(c->member[i].node));
		for (unsigned i = 0; i < nw; i++)
			json_array_append_new(w, json_integer(want[i]));
		json_array_append_new(parts,
				      json_pack("{sI sI sI so so sI}", "partition", (json_int_t)p,
						"epoch", (json_int_t)c->epoch, "primary",
						(json_int_t)c->primary, "members", m, "want", w,
						"loss_epoch", (json_int_t)c->loss_epoch));
	}
	VMS_VEC_FOREACH (&v->gateways, g)
		json_array_append_new(gws, json_pack("{sI ss ss sI}", "id", (json_int_t)g->id,
						     "name", g->name, "portal", g->portal,
						     "incarnation", (json_int_t)g->incarnation));
	return json_pack(
		"{ss ss sI sI sI sf sb sI s{sI sI sI sI sI sI sI sI} sI sI sI so so so}", "health",
		view_health_word(v, &h), "cluster", uuid, "partitions", (json_int_t)v->nparts,
		"copies", (json_int_t)v->cluster.copies, "min_copies",
		(json_int_t)v->cluster.min_copies, "timing_factor", v->cluster.timing_factor,
		"has_data", (int)v->cluster.has_data, "volumes", (json_int_t)v->volumes.n,
		"partition_states", "complete", (json_int_t)h.complete, "serving",
		(json_int_t)h.serving, "missing_copies", (json_int_t)h.missing_copies, "degraded",
		(json_int_t)h.degraded, "down", (json_int_t)h.down, "below_min_copies",
		(json_int_t)h.below_min, "not_placed", (json_int_t)(v->nparts - h.placed),
		"standing", (json_int_t)h.stand, "loss_epochs", (json_int_t)h.loss_epochs,
		"used_bytes", (json_int_t)h.used_bytes, "total_bytes", (json_int_t)h.total_bytes,
		"nodes", nodes, "gateways", gws, "table", parts);
}
