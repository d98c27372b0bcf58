// SPDX-License-Identifier: GPL-2.0-only
/* What `vmstore stats`, ADMIN and tests see of a gateway, as JSON. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "target/gw_int.h"

static json_t *num(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *stats(struct vms_gw *gw)
{
	json_t *o = json_object();
	const struct vms_chunk_cache_stats *cc = vms_cc_stats(gw->cc);

#define X(name, help) json_object_set_new(o, "gateway." #name, num(gw->st.name));
	GW_STATS(X)
#undef X
	json_object_set_new(o, "gateway.chunk_cache_slots", num(vms_cc_slots(gw->cc)));
	json_object_set_new(o, "gateway.chunk_cache_used", num(vms_cc_used(gw->cc)));
	json_object_set_new(o, "gateway.chunk_cache_pinned", num(vms_cc_pinned(gw->cc)));
	json_object_set_new(o, "gateway.chunk_cache_hits", num(cc->hits));
	json_object_set_new(o, "gateway.chunk_cache_misses", num(cc->misses));
	json_object_set_new(o, "gateway.chunk_cache_evictions", num(cc->evictions));
	json_object_set_new(o, "gateway.page_cache_slots", num(vms_pc_slots(gw->pc)));
	json_object_set_new(o, "gateway.page_cache_used", num(vms_pc_used(gw->pc)));
	json_object_set_new(o, "gateway.space_used", num(gw->space.used_permille));
	json_object_set_new(o, "gateway.space_refused", num(gw->space.refusing));
	json_object_set_new(o, "gateway.space_warnings", num(gw->space.warnings));
	json_object_set_new(o, "gateway.reads_waiting", num(gw->npieces));
	json_object_set_new(o, "gateway.ops_waiting", num(gw->ops_waiting));
	json_object_set_new(o, "gateway.slots_used", num(gw->nslots - gw->slot_free_n));
	json_object_set_new(o, "gateway.outstanding_bytes", num(gw->outstanding_bytes));
	return o;
}

static json_t *volumes(struct vms_gw *gw)
{
	json_t *a = json_array();

	gw_each(l, &gw->vols)
	{
		const struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);
		json_t *o = json_object();

		json_object_set_new(o, "name", json_string(v->name));
		json_object_set_new(o, "snapshot", json_boolean(v->snap));
		json_object_set_new(o, "open", json_boolean(v->state == GV_OPEN));
		json_object_set_new(o, "size_bytes", num(v->rec.size_bytes));
		json_object_set_new(o, "branch", num(v->rec.branch));
		json_object_set_new(o, "snap_gen", num(v->rec.snap_gen));
		json_object_set_new(o, "stopped", json_boolean(gw_vol_holds(v)));
		json_object_set_new(
			o, "write_ack",
			json_string(v->rec.write_ack == VMS_ACK_MEMORY ? "memory" : "disk"));
		json_object_set_new(o, "openers", num(v->nopeners));
		json_object_set_new(o, "losses", num(v->loss));
		json_object_set_new(o, "commands", num(v->ncmds));
		json_object_set_new(o, "reads", num(v->st.reads));
		json_object_set_new(o, "reads_cached", num(v->st.read_sync));
		json_object_set_new(o, "read_bytes", num(v->st.read_bytes));
		json_object_set_new(o, "writes", num(v->st.writes));
		json_object_set_new(o, "write_bytes", num(v->st.write_bytes));
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *status(struct vms_gw *gw)
{
	static const char *const names[] = {"down", "connecting", "hello", "ready"};
	json_t *o = json_object(), *a = json_array();
	unsigned closing = 0;

	for (const struct gw_closing *c = gw->closing; c; c = c->next)
		closing++;
	json_object_set_new(o, "name", json_string(gw->conf.name));
	json_object_set_new(o, "portal", json_string(gw->conf.portal));
	json_object_set_new(o, "id", num(gw->id));
	json_object_set_new(o, "incarnation", num(gw->incarnation));
	json_object_set_new(o, "ready", json_boolean(gw->ready));
	json_object_set_new(o, "cut_off", json_boolean(gw->cut));
	json_object_set_new(o, "partitions", num(gw->nparts));
	json_object_set_new(o, "partitions_known", num(gw->parts_known));
	for (uint32_t i = 1; i < gw->node_top; i++) {
		const struct gw_node *n = gw->node[i];
		json_t *e;

		if (!n)
			continue;
		e = json_object();
		json_object_set_new(e, "id", num(n->id));
		json_object_set_new(e, "name", json_string(n->name));
		json_object_set_new(e, "address", json_string(n->address));
		json_object_set_new(e, "state", json_string(names[n->state]));
		json_object_set_new(e, "incarnation", num(n->incarnation));
		json_object_set_new(e, "tick", num(n->tick));
		json_object_set_new(
			e, "lease_ms",
			num(n->lease_until_ms > gw->now_ms ? n->lease_until_ms - gw->now_ms : 0));
		json_object_set_new(e, "requests", num(n->rpc_sent));
		json_object_set_new(e, "reconnects", num(n->reconnects));
		json_array_append_new(a, e);
	}
	json_object_set_new(o, "nodes", a);
	json_object_set_new(o, "closing", num(closing)); /* registrations to be withdrawn */
	return o;
}

json_t *vms_gw_json(struct vms_gw *gw, const char *what)
{
	if (!strcmp(what, "stats"))
		return stats(gw);
	if (!strcmp(what, "volumes"))
		return volumes(gw);
	return status(gw);
}
