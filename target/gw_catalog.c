// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gateway's view of the catalog: start (identity and incarnation, rules E7),
 * nodes and partition configurations. Volumes: gw_volume.c.
 *
 * Nothing here is on the way of an I/O: with the catalog gone the gateway goes on
 * with what it knows (invariant 30). Every call may end with an unknown outcome;
 * each step therefore begins by reading and can be repeated. Callbacks come from the
 * owner's loop; they use the clock of the last entry.
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_int.h"

/* ---- nodes and partitions ---- */

static void node_gone(struct vms_gw *gw, struct gw_node *n)
{
	bool making = n->state == GN_CONNECTING;

	n->known = false;
	n->refusing = false;
	n->used_permille = 0;
	gw_node_down(gw, n, "it has left the cluster");
	if (making)
		gw->up.disconnect(gw->up.ctx, n->id);
}

static void node_apply(struct vms_gw *gw, const struct vms_cat_kv *kv)
{
	struct vms_cat_node rec;
	struct vms_errmsg msg;
	struct gw_node *n;

	if (!kv->val) {
		const char *s = strrchr(kv->key, '/');

		n = gw_node_get(gw, s ? (uint32_t)strtoul(s + 1, NULL, 16) : 0, false);
		if (n && n->known)
			node_gone(gw, n);
		return;
	}
	if (vms_cat_node_decode(kv, &rec, &msg)) {
		gw_log(gw, VMS_LOG_ERROR, "%s", msg.text);
		return;
	}
	n = gw_node_get(gw, rec.id, true);
	if (!n) {
		gw_log(gw, VMS_LOG_ERROR, "node %u: ids go from 1 to %u", rec.id,
		       VMS_NODES_MAX - 1);
		return;
	}
	n->known = n->seen = true;
	snprintf(n->name, sizeof(n->name), "%s", rec.name);
	if (strcmp(n->address, rec.address)) {
		bool making = n->state == GN_CONNECTING;

		snprintf(n->address, sizeof(n->address), "%s", rec.address);
		gw_node_down(gw, n, "its address has changed");
		if (making) /* to the old one */
			gw->up.disconnect(gw->up.ctx, n->id);
		n->connect_ms = gw->now_ms;
		n->backoff_ms = GW_CONNECT_MS;
		gw->kick = true;
		gw_wake_at(gw, gw->now_ms);
	}
}

static void part_apply(struct vms_gw *gw, const struct vms_cat_kv *kv)
{
	struct vms_part_conf c;
	struct vms_errmsg msg;
	struct gw_part *p;
	uint32_t number;

	if (!kv->val)
		return;
	if (vms_cat_part_decode(kv, &number, &c, &msg)) {
		gw_log(gw, VMS_LOG_ERROR, "%s", msg.text);
		return;
	}
	if (number >= gw->nparts)
		return;
	p = &gw->part[number];
	if (p->rev >= kv->mod_revision || c.epoch < p->c.epoch)
		return;
	if (!p->rev)
		gw->parts_known++;
	p->rev = kv->mod_revision;
	if (c.epoch == p->c.epoch) { /* only who ought to hold it: nothing to do for us */
		p->c = c;
		return;
	}
	if (p->c.epoch && c.primary != p->c.primary) {
		gw->moved = true;
		gw->st.partitions_moved++;
		if (c.primary < VMS_NODES_MAX)
			gw_bit_set(gw->gained, c.primary);
	}
	p->c = c;
	gw_lease_set(gw, &p->c);
	gw->topo_stamp++;
	gw->kick = true;
	gw_wake_at(gw, gw->now_ms);
}

static void part_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (!r->status && r->nkv)
		part_apply(gw, &r->kv[0]);
}

/* A node knows a newer epoch: do not wait for the watch. */
void gw_cat_ask_part(struct vms_gw *gw, uint32_t partition)
{
	struct gw_part *p = &gw->part[partition];
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (p->asked_ms && gw->now_ms - p->asked_ms < GW_CAT_RETRY_MS / 2)
		return;
	p->asked_ms = gw->now_ms;
	vms_cat_key_part(key, partition);
	gw->cat->ops->get(gw->cat, key, part_got, gw);
}

static void node_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status) {
		gw->watch_node = 0;
		gw->reload_nodes = true;
		gw_wake_at(gw, gw->now_ms + GW_CAT_RETRY_MS);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		node_apply(gw, &r->kv[i]);
}

static void part_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status) {
		gw->watch_part = 0;
		gw->reload_parts = true;
		gw_wake_at(gw, gw->now_ms + GW_CAT_RETRY_MS);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		part_apply(gw, &r->kv[i]);
}

static void self_check(struct vms_gw *gw, const struct vms_cat_kv *kv)
{
	struct vms_cat_gateway rec;
	struct vms_errmsg msg;

	if (kv->val && !vms_cat_gateway_decode(kv, &rec, &msg) && rec.id == gw->id &&
	    rec.incarnation > gw->incarnation)
		gw_fatal(gw, VMS_E_INCARNATION,
			 "it was shut out while it stood still or did not answer, or a newer "
			 "process of its name has registered in the catalog: start it again, "
			 "and give each gateway a name of its own");
}

static void self_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status) {
		gw->watch_gw = 0;
		gw->reload_self = true;
		gw_wake_at(gw, gw->now_ms + GW_CAT_RETRY_MS);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		self_check(gw, &r->kv[i]);
}

/* After a gap in the watch. */
static void self_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (r->status) {
		gw->reload_self = true;
		gw->cat_retry_ms = gw->now_ms + GW_CAT_RETRY_MS;
		gw_wake_at(gw, gw->cat_retry_ms);
		return;
	}
	vms_cat_key_gateway(key, gw->id);
	gw->watch_gw = gw->cat->ops->watch(gw->cat, key, r->revision, self_event, gw);
	for (unsigned i = 0; i < r->nkv; i++)
		self_check(gw, &r->kv[i]);
}

/* ---- start ---- */

void gw_start_retry(struct vms_gw *gw, enum gw_phase phase)
{
	gw->phase = phase;
	gw->cat_busy = false;
	gw->cat_retry_ms = gw->now_ms + GW_CAT_RETRY_MS;
	gw_wake_at(gw, gw->cat_retry_ms);
}

static void cluster_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;
	struct vms_errmsg msg = {""};

	if (r->status || !r->nkv) {
		if (!r->status)
			gw_log(gw, VMS_LOG_WARN,
			       "the catalog holds no cluster yet: run `vmstore-ring init`");
		gw_start_retry(gw, GP_CLUSTER);
		return;
	}
	if (vms_cat_cluster_decode(&r->kv[0], &gw->cluster, &msg) ||
	    gw->cluster.part_bits > VMS_PART_BITS_MAX) {
		gw_fatal(gw, VMS_E_CORRUPT,
			 msg.text[0] ? msg.text : "cluster: part_bits is too large");
		return;
	}
	gw->cluster_rev = r->kv[0].mod_revision;
	if (gw->cluster.timing_factor > 0)
		gw->tm = vms_timing_default(gw->cluster.timing_factor);
	if (!gw->part) {
		gw->nparts = 1u << gw->cluster.part_bits;
		gw->part = calloc(gw->nparts, sizeof(*gw->part));
		vms_assert(gw->part);
	}
	gw->phase = GP_FIND;
	gw->found = false;
	gw->cat_busy = false;
	gw_start_run(gw);
}

static bool differ(const char *was, const char *is)
{
	return was[0] && is[0] && strcmp(was, is);
}

/* A higher incarnation shuts out the process that has the name. That is right for one that
 * was started again, and wrong for a second gateway whose configuration is a copy of the
 * first one's: with both restarted by their supervisors they would shut out each other for
 * ever. Another place: only once the other's catalog session has ended. Machines that are
 * copies of each other may have one name (and machine-id), and all addresses are one portal;
 * no two have the same start. */
static bool maybe_twin(const struct vms_gw *gw)
{
	const struct vms_cat_gateway *was = &gw->found_gw;

	return gw->found && gw->conf.portal[0] && was->portal[0] &&
	       (strcmp(was->portal, gw->conf.portal) || differ(was->host, gw->conf.host) ||
		differ(was->boot, gw->conf.boot));
}

static void gateways_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;
	struct vms_errmsg msg;

	if (r->status) {
		gw_start_retry(gw, GP_CLUSTER);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_cat_gateway rec;

		if (vms_cat_gateway_decode(&r->kv[i], &rec, &msg)) {
			gw_log(gw, VMS_LOG_ERROR, "%s", msg.text);
			continue;
		}
		if (!strcmp(rec.name, gw->conf.name)) {
			gw->found = true;
			gw->found_gw = rec;
			gw->found_rev = r->kv[i].mod_revision;
		}
	}
	if (r->more && r->nkv) {
		gw->cat->ops->range(gw->cat, "gateway/", r->kv[r->nkv - 1].key, gateways_got, gw);
		return;
	}
	gw->phase = maybe_twin(gw) ? GP_TWIN : GP_CLAIM;
	gw->cat_busy = false;
	gw_start_run(gw);
}

static void twin_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status || r->nkv) {
		if (r->nkv && !gw->told_twin)
			gw_log(gw, VMS_LOG_WARN,
			       "gateway '%s' runs already, at %s on %s: this one waits until it "
			       "has "
			       "ended; if they are two, give this one another name (name in "
			       "[gateway])",
			       gw->conf.name,
			       gw->found_gw.portals[0] ? gw->found_gw.portals : gw->found_gw.portal,
			       gw->found_gw.host[0] ? gw->found_gw.host : "another machine");
		gw->told_twin |= r->nkv > 0;
		gw_start_retry(gw, GP_CLUSTER);
		return;
	}
	gw->phase = GP_CLAIM;
	gw->cat_busy = false;
	gw_start_run(gw);
}

static void claim_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status) {
		/* conflict or unknown: read again. A number spent for nothing is no harm. */
		gw_start_retry(gw, GP_CLUSTER);
		return;
	}
	gw->id = gw->found_gw.id;
	gw->incarnation = gw->found_gw.incarnation;
	gw->gw_rev = r->revision;
	gw->phase = GP_NODES;
	gw->cat_busy = false;
	gw_start_run(gw);
}

static void claim(struct vms_gw *gw)
{
	char gkey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_cmp cmp[2];
	struct vms_cat_op op[2];
	char *gval, *cval = NULL;
	unsigned n = 1;

	snprintf(gw->found_gw.portal, sizeof(gw->found_gw.portal), "%s", gw->conf.portal);
	snprintf(gw->found_gw.host, sizeof(gw->found_gw.host), "%s", gw->conf.host);
	snprintf(gw->found_gw.boot, sizeof(gw->found_gw.boot), "%s", gw->conf.boot);
	if (gw->found) {
		gw->found_gw.incarnation++;
	} else {
		if (!gw->cluster.next_gateway)
			gw->cluster.next_gateway = 1;
		if (gw->cluster.next_gateway >= VMS_GATEWAYS_MAX) {
			gw->phase = GP_NUMBER;
			gw_number_find(gw);
			return;
		}
		gw->found_rev = 0;
		gw->found_gw.id = gw->cluster.next_gateway++;
		gw->found_gw.incarnation = gw->cluster.gateways_from + 1;
		snprintf(gw->found_gw.name, sizeof(gw->found_gw.name), "%s", gw->conf.name);
		cval = vms_cat_cluster_encode(&gw->cluster);
		cmp[1] = (struct vms_cat_cmp){"cluster", gw->cluster_rev};
		op[1] = (struct vms_cat_op){"cluster", cval, 0};
		n = 2;
	}
	vms_cat_key_gateway(gkey, gw->found_gw.id);
	gval = vms_cat_gateway_encode(&gw->found_gw);
	cmp[0] = (struct vms_cat_cmp){gkey, gw->found_rev};
	op[0] = (struct vms_cat_op){gkey, gval, 0};
	gw->cat->ops->txn(gw->cat, cmp, n, op, n, claim_done, gw);
	free(gval);
	free(cval);
}

static void nodes_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status) {
		if (gw->phase == GP_NODES) {
			gw_start_retry(gw, GP_NODES);
		} else {
			gw->reload_nodes = true;
			gw->cat_retry_ms = gw->now_ms + GW_CAT_RETRY_MS;
			gw_wake_at(gw, gw->cat_retry_ms);
		}
		return;
	}
	if (!gw->nodes_rev || r->revision < gw->nodes_rev) /* each page may be of another moment */
		gw->nodes_rev = r->revision;
	for (unsigned i = 0; i < r->nkv; i++)
		node_apply(gw, &r->kv[i]);
	if (r->more && r->nkv) {
		gw->cat->ops->range(gw->cat, "node/", r->kv[r->nkv - 1].key, nodes_got, gw);
		return;
	}
	for (uint32_t i = 1; i < gw->node_top; i++) {
		struct gw_node *n = gw->node[i];

		if (n && n->known && !n->seen && !gw_mutant(gw, VMS_GWM_KEEP_NODES))
			node_gone(gw, n);
	}
	gw->watch_node = gw->cat->ops->watch(gw->cat, "node/", gw->nodes_rev, node_event, gw);
	if (gw->phase != GP_NODES)
		return;
	gw->phase = GP_PARTS;
	gw->cat_busy = false;
	gw_start_run(gw);
}

static void parts_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	if (r->status) {
		if (gw->phase == GP_PARTS) {
			gw_start_retry(gw, GP_PARTS);
		} else {
			gw->reload_parts = true;
			gw->cat_retry_ms = gw->now_ms + GW_CAT_RETRY_MS;
			gw_wake_at(gw, gw->cat_retry_ms);
		}
		return;
	}
	if (!gw->parts_rev || r->revision < gw->parts_rev) /* each page may be of another moment */
		gw->parts_rev = r->revision;
	for (unsigned i = 0; i < r->nkv; i++)
		part_apply(gw, &r->kv[i]);
	if (r->more && r->nkv) {
		gw->cat->ops->range(gw->cat, "part/", r->kv[r->nkv - 1].key, parts_got, gw);
		return;
	}
	gw->watch_part = gw->cat->ops->watch(gw->cat, "part/", gw->parts_rev, part_event, gw);
	if (gw->phase != GP_PARTS)
		return;
	gw->cat_busy = false;
	gw->phase = GP_CONNECT;
	gw->connect_start_ms = gw->now_ms;
	for (uint32_t i = 1; i < gw->node_top; i++)
		if (gw->node[i])
			gw->node[i]->connect_ms = gw->now_ms;
	gw->kick = true;
	gw_wake_at(gw, gw->now_ms);
}

static void nodes_load(struct vms_gw *gw)
{
	gw->nodes_rev = 0;
	for (uint32_t i = 1; i < gw->node_top; i++)
		if (gw->node[i])
			gw->node[i]->seen = false;
	gw->cat->ops->range(gw->cat, "node/", NULL, nodes_got, gw);
}

static void parts_load(struct vms_gw *gw)
{
	gw->parts_rev = 0;
	gw->cat->ops->range(gw->cat, "part/", NULL, parts_got, gw);
}

void gw_start_run(struct vms_gw *gw)
{
	if (gw->cat_busy || gw->now_ms < gw->cat_retry_ms)
		return;
	gw->cat_busy = true;
	switch (gw->phase) {
	case GP_CLUSTER:
		gw->cat->ops->get(gw->cat, "cluster", cluster_got, gw);
		break;
	case GP_FIND:
		gw->cat->ops->range(gw->cat, "gateway/", NULL, gateways_got, gw);
		break;
	case GP_TWIN: {
		char key[VMS_CAT_KEY_BYTES_MAX];

		vms_cat_key_gwload(key, gw->found_gw.id);
		gw->cat->ops->get(gw->cat, key, twin_got, gw);
		break;
	}
	case GP_CLAIM:
		claim(gw);
		break;
	case GP_NUMBER: /* goes on by its own answers */
		break;
	case GP_NODES: {
		char key[VMS_CAT_KEY_BYTES_MAX];

		vms_cat_key_gateway(key, gw->id);
		if (!gw->watch_gw)
			gw->watch_gw = gw->cat->ops->watch(gw->cat, key, gw->gw_rev, self_event,
							   gw);
		nodes_load(gw);
		break;
	}
	case GP_PARTS:
		parts_load(gw);
		break;
	default:
		gw->cat_busy = false;
	}
}

/* Registrations that an earlier process of this gateway left behind: its ops are
 * fenced off by our incarnation, so they only make volumes look open. */
#define GW_SWEEPS 2
static const char *const swept_prefix[GW_SWEEPS] = {"open/", "snapopen/"};

static void stale_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw *gw = arg;

	gw->sweep_busy = false;
	if (r->status)
		return;
	for (unsigned i = 0; i < r->nkv; i++) {
		struct vms_cat_open o;
		struct vms_errmsg msg;

		if (vms_cat_open_decode(&r->kv[i], &o, &msg) || o.gateway != gw->id ||
		    o.incarnation >= gw->incarnation)
			continue;
		gw_closing_new(gw, o.id, r->kv[i].key, r->kv[i].mod_revision);
	}
	gw_closing_run(gw);
	if (r->more && r->nkv) {
		gw->sweep_busy = true;
		gw->cat->ops->range(gw->cat, swept_prefix[gw->sweep], r->kv[r->nkv - 1].key,
				    stale_got, gw);
	} else if (++gw->sweep < GW_SWEEPS) {
		gw_wake_at(gw, gw->now_ms);
	}
}

/* ---- time ---- */

void gw_cat_timer(struct vms_gw *gw)
{
	if (gw->phase < GP_CONNECT) {
		gw_start_run(gw);
		if (gw->cat_retry_ms > gw->now_ms)
			gw_wake_at(gw, gw->cat_retry_ms);
		return;
	}
	if (gw->reload_nodes && gw->now_ms >= gw->cat_retry_ms) {
		gw->reload_nodes = false;
		nodes_load(gw);
	}
	if (gw->reload_parts && gw->now_ms >= gw->cat_retry_ms) {
		gw->reload_parts = false;
		parts_load(gw);
	}
	if (gw->reload_self && gw->now_ms >= gw->cat_retry_ms) {
		char key[VMS_CAT_KEY_BYTES_MAX];

		gw->reload_self = false;
		vms_cat_key_gateway(key, gw->id);
		gw->cat->ops->get(gw->cat, key, self_got, gw);
	}
	if (!gw->ready)
		return;
	/* what is opened again meanwhile needs no sweeping */
	if (!gw->sweep_ms) {
		gw->sweep_ms = gw->now_ms + GW_SWEEP_MS;
		gw_wake_at(gw, gw->sweep_ms);
	}
	if (gw->sweep < GW_SWEEPS && !gw->sweep_busy && !gw->registering &&
	    gw->now_ms >= gw->sweep_ms) {
		gw->sweep_busy = true;
		gw->cat->ops->range(gw->cat, swept_prefix[gw->sweep], NULL, stale_got, gw);
	}
	gw_vols_timer(gw);
}

void gw_cat_fini(struct vms_gw *gw)
{
	gw->cat->ops->forget(gw->cat, gw);
	if (gw->watch_node)
		gw->cat->ops->unwatch(gw->cat, gw->watch_node);
	if (gw->watch_part)
		gw->cat->ops->unwatch(gw->cat, gw->watch_part);
	if (gw->watch_gw)
		gw->cat->ops->unwatch(gw->cat, gw->watch_gw);
	gw_vols_fini(gw);
}
