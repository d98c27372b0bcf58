// SPDX-License-Identifier: GPL-2.0-only
/*
 * Volumes and snapshots of a gateway: opening (registered in the catalog before the
 * first op), what their watches bring, closing.
 *
 * A snapshot ("VOLUME@SNAP") is a volume whose reads carry the snapshot's number and
 * that takes no writes. It is registered under snapopen/, comparing its record, so
 * that nobody removes it meanwhile; nodes keep no track of who reads it, since what
 * it shows never changes.
 *
 * As in gw_catalog.c every catalog call may end with an unknown outcome; each step
 * begins by reading and can be repeated. Callbacks come from the owner's loop; they
 * use the clock of the last entry.
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"

static void vol_run(struct vms_gw_vol *v);

/* Keys of its record, of its registration, and of all registrations. */
void gw_vol_key(const struct vms_gw_vol *v, char *out)
{
	if (v->snap)
		vms_cat_key_snap(out, v->rec.name, v->snap_name, NULL);
	else
		vms_cat_key_volume(out, v->rec.name, NULL);
}

void gw_vol_open_key(const struct vms_gw_vol *v, char *out)
{
	if (v->snap)
		vms_cat_key_snapopen(out, v->rec.id, v->read_gen, v->gw->id);
	else
		vms_cat_key_open(out, v->rec.id, v->gw->id);
}

void gw_vol_open_prefix(const struct vms_gw_vol *v, char *out)
{
	if (v->snap)
		snprintf(out, VMS_CAT_KEY_BYTES_MAX, "snapopen/%016" PRIx64 "/%016" PRIx64 "/",
			 v->rec.id, v->read_gen);
	else
		snprintf(out, VMS_CAT_KEY_BYTES_MAX, "open/%016" PRIx64 "/", v->rec.id);
}

/* ---- life ---- */

static void vol_free(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;

	gw->cat->ops->forget(gw->cat, v);
	gw_register_vol_gone(v);
	gw_barrier_free(v);
	gw_pr_free(v);
	gw_base_leave(v);
	if (v->watch_vol)
		gw->cat->ops->unwatch(gw->cat, v->watch_vol);
	if (v->watch_open)
		gw->cat->ops->unwatch(gw->cat, v->watch_open);
	if (v->watch_loss)
		gw->cat->ops->unwatch(gw->cat, v->watch_loss);
	while (v->waits) {
		struct gw_vol_wait *w = v->waits;

		v->waits = w->next;
		free(w);
	}
	for (uint32_t i = 1; i < gw->node_top; i++) {
		if (!gw->node[i])
			continue;
		gw_each(l, &gw->node[i]->rpcs)
		{
			struct gw_rpc *r = gw_entry(l, struct gw_rpc, link);

			if (r->type == GR_OPEN && r->obj == v)
				r->obj = NULL;
		}
	}
	gw_list_del(&v->link);
	free(v);
}

static void vol_answer(struct vms_gw_vol *v, int status, const char *text)
{
	struct vms_gw *gw = v->gw;

	while (v->waits) {
		struct gw_vol_wait *w = v->waits;
		void *arg = w->arg;

		v->waits = w->next;
		free(w);
		gw->up.vol_opened(gw->up.ctx, v, arg, status, text);
	}
}

static void vol_withdraw(struct vms_gw_vol *v);

static void vol_fail(struct vms_gw_vol *v, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void vol_fail(struct vms_gw_vol *v, int status, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	vol_withdraw(v);
	vol_answer(v, status, text);
	vol_free(v);
}

static void vol_again(struct vms_gw_vol *v, enum gw_vol_state state, uint32_t ms)
{
	v->state = state;
	v->busy = false;
	v->retry_ms = v->gw->now_ms + ms;
	gw_wake_at(v->gw, v->retry_ms);
}

static void vol_next(struct vms_gw_vol *v, enum gw_vol_state state)
{
	v->state = state;
	v->busy = false;
	vol_run(v);
}

static void vol_changed(struct vms_gw_vol *v)
{
	if (v->state == GV_OPEN)
		v->gw->up.vol_changed(v->gw->up.ctx, v);
}

/* Nothing that happens to it reaches what was opened any more. */
static void vol_gone(struct vms_gw_vol *v, const char *why)
{
	gw_log(v->gw, VMS_LOG_WARN, "volume %s %s: its LUN answers NOT READY from now on", v->name,
	       why);
	v->gone = true;
	gw_barrier_look(v);
}

/* The record as the catalog has it now. */
static void vol_take(struct vms_gw_vol *v, const struct vms_cat_volume *rec)
{
	uint64_t gen = v->rec.snap_gen;

	if (rec->branch != v->rec.branch)
		gw_base_leave(v);
	v->rec = *rec;
	if (!v->open_rev || !gw_mutant(v->gw, VMS_GWM_OLD_SIZE))
		v->nblocks = rec->size_bytes / VMS_LB_BYTES;
	if (gw_pr_fence(v) || rec->snap_gen > gen)
		v->behind = false;
	/* learned from the nodes, who are ahead of the catalog's answers to us */
	if (v->rec.snap_gen < v->ahead_gen)
		v->rec.snap_gen = v->ahead_gen;
	gw_barrier_look(v);
}

/* It moves to another branch (rolled back, shrunk below snapshots), and nothing is on its
 * way: what is known of the branch it leaves is forgotten as if the volume were closed. */
static void vol_leave_branch(struct vms_gw_vol *v)
{
	gw_log(v->gw, VMS_LOG_INFO, "volume %s leaves branch %" PRIu64, v->name, v->rec.branch);
	gw_read_vol_gone(v->gw, v);
	vms_pc_drop_all(v->gw->pc, v->rec.branch, v->read_gen);
	gw_base_leave(v);
}

/* What it shows is fixed; it can only become another one. */
static void snap_changed(struct vms_gw_vol *v, const struct vms_cat_kv *kv)
{
	struct vms_cat_snap s;
	struct vms_errmsg msg;

	if (vms_cat_snap_decode(kv, &s, &msg))
		gw_log(v->gw, VMS_LOG_ERROR, "%s", msg.text);
	else if (v->open_rev && memcmp(s.uuid, v->rec.uuid, sizeof(s.uuid)))
		vol_gone(v, "was exchanged for another of that name");
}

static void vol_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_volume rec;
	struct vms_errmsg msg;

	if (r->status) {
		v->watch_vol = 0;
		v->again |= 1;
		gw_wake_at(v->gw, v->gw->now_ms + GW_CAT_RETRY_MS);
		return;
	}
	gw_vol_key(v, key);
	for (unsigned i = 0; i < r->nkv; i++) {
		const struct vms_cat_kv *kv = &r->kv[i];

		if (strcmp(kv->key, key) || kv->mod_revision <= v->rev)
			continue;
		v->rev = kv->mod_revision;
		if (v->gone)
			continue;
		if (!kv->val) {
			vol_gone(v, "was deleted");
		} else if (v->snap) {
			snap_changed(v, kv);
		} else if (vms_cat_volume_decode(kv, &rec, &msg)) {
			gw_log(v->gw, VMS_LOG_ERROR, "%s", msg.text);
			continue;
		} else if (rec.id != v->rec.id || memcmp(rec.uuid, v->rec.uuid, sizeof(rec.uuid))) {
			vol_gone(v, "was exchanged for another of that name");
		} else if (rec.branch != v->rec.branch && v->open_rev && (!v->quiet || v->ncmds)) {
			/* tools wait until nothing goes on */
			vol_gone(v, "was rolled back while it was in use");
		} else {
			if (rec.branch != v->rec.branch && v->open_rev)
				vol_leave_branch(v);
			vol_take(v, &rec);
			v->gw->kick = true;
		}
		vol_changed(v);
	}
}

/* "open/<volume id>/<gateway>": from the key, the value may be gone. */
static void opener_apply(struct vms_gw_vol *v, const struct vms_cat_kv *kv)
{
	const char *s = strrchr(kv->key, '/');
	uint32_t id = s ? (uint32_t)strtoul(s + 1, NULL, 16) : UINT32_MAX;

	if (id >= VMS_GATEWAYS_MAX || v->opener[id] == (kv->val != NULL))
		return;
	v->opener[id] = kv->val != NULL;
	v->nopeners += kv->val ? 1 : -1u;
}

static void open_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	unsigned before = v->nopeners;

	if (r->status) {
		v->watch_open = 0;
		v->again |= 2;
		gw_wake_at(v->gw, v->gw->now_ms + GW_CAT_RETRY_MS);
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		opener_apply(v, &r->kv[i]);
	if (v->nopeners != before)
		vol_changed(v);
}

static void loss_set(struct vms_gw_vol *v, const struct vms_cat_reply *r)
{
	for (unsigned i = 0; i < r->nkv; i++) {
		uint64_t n = r->kv[i].val ? strtoull(r->kv[i].val, NULL, 10) : 0;

		if (n > v->loss)
			v->loss = n;
	}
}

static void loss_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;

	if (r->status) {
		v->watch_loss = 0;
		v->again |= 4;
		gw_wake_at(v->gw, v->gw->now_ms + GW_CAT_RETRY_MS);
		return;
	}
	loss_set(v, r);
}

static void vol_loss_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (r->status) {
		if (v->state == GV_LOSS)
			vol_again(v, GV_LOSS, GW_CAT_RETRY_MS);
		else
			v->again |= 4;
		return;
	}
	loss_set(v, r);
	vms_cat_key_loss(key, v->rec.id);
	if (!v->watch_loss)
		v->watch_loss = v->gw->cat->ops->watch(v->gw->cat, key, r->revision, loss_event, v);
	if (v->state == GV_LOSS)
		vol_next(v, GV_PR);
}

static void vol_open_done(struct vms_gw_vol *v);

static void vol_list_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	char prefix[VMS_CAT_KEY_BYTES_MAX];

	if (r->status) {
		if (v->state == GV_LIST)
			vol_again(v, GV_LIST, GW_CAT_RETRY_MS);
		else
			v->again |= 2;
		return;
	}
	if (!v->list_rev) { /* the first part: until now the former list was as good as any */
		v->list_rev = r->revision;
		memset(v->opener, 0, sizeof(v->opener));
		v->nopeners = 0;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		opener_apply(v, &r->kv[i]);
	gw_vol_open_prefix(v, prefix);
	if (r->more && r->nkv) {
		v->gw->cat->ops->range(v->gw->cat, prefix, r->kv[r->nkv - 1].key, vol_list_got, v);
		return;
	}
	if (!v->watch_open)
		v->watch_open = v->gw->cat->ops->watch(v->gw->cat, prefix, v->list_rev, open_event,
						       v);
	if (v->state == GV_LIST) {
		vol_next(v, v->snap ? GV_PR : GV_LOSS);
	} else {
		vol_changed(v);
	}
}

void gw_vol_registered(struct vms_gw_vol *v, int status, uint64_t revision)
{
	if (status) {
		/* the volume changed, or nobody knows: look again */
		vol_again(v, GV_GET, GW_CAT_RETRY_MS);
		return;
	}
	v->open_rev = revision;
	vol_next(v, GV_LIST);
}

static void vol_created(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;

	if (r->status)
		vol_again(v, GV_GET, GW_CAT_RETRY_MS);
	else
		vol_next(v, GV_GET);
}

/* The cluster's record as it is now: a branch number is taken from it. */
static void vol_cluster_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	struct vms_gw *gw = v->gw;
	struct vms_cat_cluster c;
	struct vms_cat_volume rec = v->rec;
	struct vms_errmsg msg;
	char key[VMS_CAT_KEY_BYTES_MAX], bkey[VMS_CAT_KEY_BYTES_MAX], *cval, *vval, *bval;

	if (r->status || !r->nkv) {
		vol_again(v, GV_GET, GW_CAT_RETRY_MS);
		return;
	}
	if (vms_cat_cluster_decode(&r->kv[0], &c, &msg)) {
		vol_fail(v, VMS_E_CORRUPT, "%s", msg.text);
		return;
	}
	if (!c.next_branch)
		c.next_branch = 1;
	rec.id = rec.branch = rec.lineage = c.next_branch++;
	rec.dedup = true;
	c.has_data = true;
	/* random within this process, different in every process of every gateway */
	vms_rng_fill(&gw->rng, rec.uuid, sizeof(rec.uuid));
	vms_put_le64(rec.uuid, vms_get_le64(rec.uuid) ^ vms_mix64(rec.branch));
	vms_put_le64(rec.uuid + 8,
		     vms_get_le64(rec.uuid + 8) ^ vms_mix64(gw->incarnation << 32 | gw->id));
	rec.uuid[6] = (uint8_t)((rec.uuid[6] & 0x0f) | 0x40); /* RFC 4122 4.4: version 4 */
	rec.uuid[8] = (uint8_t)((rec.uuid[8] & 0x3f) | 0x80);
	rec.size_bytes = v->create_bytes;
	rec.write_ack = v->create_ack;
	rec.snap_gen = 1;
	rec.lun_fence = 1;
	rec.state = 1;
	vms_cat_key_volume(key, rec.name, NULL);
	vms_cat_key_branch(bkey, rec.branch);
	cval = vms_cat_cluster_encode(&c);
	vval = vms_cat_volume_encode(&rec);
	bval = vms_cat_branch_encode(&(struct vms_cat_branch){
		.branch = rec.branch, .lineage = rec.lineage, .owner = rec.id, .state = 1});
	gw->cat->ops->txn(
		gw->cat, (struct vms_cat_cmp[]){{"cluster", r->kv[0].mod_revision}, {key, 0}}, 2,
		(struct vms_cat_op[]){{"cluster", cval, 0}, {bkey, bval, 0}, {key, vval, 0}}, 3,
		vol_created, v);
	free(cval);
	free(vval);
	free(bval);
}

static void snap_got(struct vms_gw_vol *v, const struct vms_cat_kv *kv)
{
	struct vms_cat_snap s;
	struct vms_errmsg msg;

	if (!kv) {
		vol_fail(v, VMS_E_NOENT,
			 "there is no snapshot %s; `vmstore snap ls %s` lists those of the volume",
			 v->name, v->rec.name);
		return;
	}
	if (vms_cat_snap_decode(kv, &s, &msg)) {
		vol_fail(v, VMS_E_CORRUPT, "%s", msg.text);
		return;
	}
	if (s.state != VMS_SNAP_COMPLETE) {
		vol_fail(v, VMS_E_BUSY, "snapshot %s is %s", v->name,
			 s.state == VMS_SNAP_CREATING ? "still being made" : "being deleted");
		return;
	}
	v->rev = kv->mod_revision;
	v->rec.id = s.id;
	v->rec.branch = v->rec.lineage = s.branch;
	v->rec.snap_gen = v->read_gen = s.snap_gen;
	v->rec.size_bytes = s.size_bytes;
	v->rec.state = 1;
	memcpy(v->rec.uuid, s.uuid, sizeof(v->rec.uuid));
	v->nblocks = s.size_bytes / VMS_LB_BYTES;
	v->gone = false;
	vol_next(v, GV_BRANCH);
}

/* Where its extents lie. A branch of the first release has no record, and is its own
 * lineage. */
static void snap_branch_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	struct vms_cat_branch b;
	struct vms_errmsg msg;

	if (r->status) {
		vol_again(v, GV_BRANCH, GW_CAT_RETRY_MS);
		return;
	}
	/* An answer as of before the snapshot does not know its branch yet. */
	if (r->revision < v->rev) {
		vol_again(v, GV_BRANCH, GW_CAT_RETRY_MS);
		return;
	}
	if (r->nkv) {
		if (vms_cat_branch_decode(&r->kv[0], &b, &msg)) {
			vol_fail(v, VMS_E_CORRUPT, "%s", msg.text);
			return;
		}
		v->rec.lineage = b.lineage;
	}
	vol_next(v, GV_REGISTER);
}

static void vol_got(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;
	struct vms_gw *gw = v->gw;
	struct vms_cat_volume rec;
	struct vms_errmsg msg;
	char key[VMS_CAT_KEY_BYTES_MAX];

	gw_vol_key(v, key);
	if (r->status) {
		if (v->state == GV_GET)
			vol_again(v, GV_GET, GW_CAT_RETRY_MS);
		else
			v->again |= 1;
		return;
	}
	if (v->state == GV_OPEN) { /* after a gap in the watch */
		struct vms_cat_reply event = *r;
		struct vms_cat_kv none = {.key = key, .mod_revision = r->revision};

		if (!r->nkv) {
			event.kv = &none;
			event.nkv = 1;
		}
		if (!v->watch_vol)
			v->watch_vol = gw->cat->ops->watch(gw->cat, key, r->revision, vol_event, v);
		vol_event(v, &event);
		return;
	}
	if (v->snap) {
		if (!v->watch_vol)
			v->watch_vol = gw->cat->ops->watch(gw->cat, key, r->revision, vol_event, v);
		snap_got(v, r->nkv ? &r->kv[0] : NULL);
		return;
	}
	if (!r->nkv) {
		if (v->create_bytes)
			vol_next(v, GV_CREATE);
		else
			vol_fail(v, VMS_E_NOENT,
				 "volume %s does not exist; create it with `vmstore volume create` "
				 "or give a size",
				 v->rec.name);
		return;
	}
	if (vms_cat_volume_decode(&r->kv[0], &rec, &msg)) {
		vol_fail(v, VMS_E_CORRUPT, "%s", msg.text);
		return;
	}
	if (rec.state == 2) {
		vol_fail(v, VMS_E_BUSY, "volume %s is being deleted", rec.name);
		return;
	}
	if (rec.state == 4 && !gw->conf.tool) {
		vol_fail(v, VMS_E_BUSY,
			 "volume %s is being imported; `vmstore import` goes on with it", rec.name);
		return;
	}
	v->rev = r->kv[0].mod_revision;
	v->gone = false;
	vol_take(v, &rec);
	if (!v->watch_vol)
		v->watch_vol = gw->cat->ops->watch(gw->cat, key, r->revision, vol_event, v);
	if (rec.barrier != VMS_BARRIER_NONE)
		vol_again(v, GV_GET, GW_BARRIER_LOOK_MS); /* it asks those that are in already */
	else
		vol_next(v, GV_REGISTER);
}

/* With those that are to be registered just now (gw_register.c). */
static void vol_register(struct vms_gw_vol *v)
{
	if (v->gone || v->rec.barrier != VMS_BARRIER_NONE) {
		vol_again(v, GV_GET, GW_BARRIER_LOOK_MS);
		return;
	}
	v->reg_waits = true;
	v->gw->kick = true;
	gw_wake_at(v->gw, v->gw->now_ms);
}

static bool send_open(struct vms_gw *gw, struct vms_gw_vol *v, struct gw_node *n, bool close,
		      bool wait)
{
	struct vms_msg m = {.type = VMS_MSG_OPEN,
			    .flags = close ? VMS_F_CLOSE : 0,
			    .partition = VMS_PART_NONE,
			    .branch = v->rec.branch,
			    .snap_gen = v->rec.snap_gen,
			    .lun_fence = v->fence};

	return gw_rpc_send(gw, n, GR_OPEN, wait ? v : NULL, &m) != NULL;
}

void gw_vols_node_ready(struct vms_gw *gw, struct gw_node *n)
{
	gw_each(l, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);

		if (v->state >= GV_NODES && !v->snap && n->state == GN_READY)
			send_open(gw, v, n, false, false);
	}
}

static void vol_open_done(struct vms_gw_vol *v)
{
	v->state = GV_OPEN;
	gw_log(v->gw, VMS_LOG_INFO, "volume %s is open, %u gateway(s) have it", v->name,
	       v->nopeners);
	vol_answer(v, 0, NULL);
}

void gw_vol_pr_loaded(struct vms_gw_vol *v)
{
	if (!v->snap) {
		vol_next(v, GV_NODES);
		return;
	}
	v->busy = false;
	vol_open_done(v);
}

void gw_vol_pr_failed(struct vms_gw_vol *v, const char *why)
{
	vol_fail(v, VMS_E_CORRUPT, "%s", why);
}

void gw_vol_nodes_answered(struct vms_gw *gw, struct vms_gw_vol *v)
{
	(void)gw;
	if (v->open_pending && --v->open_pending == 0 && v->state == GV_NODES)
		vol_open_done(v);
}

static void vol_run(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (v->state == GV_WAIT) {
		if (!gw->ready)
			return;
		v->state = GV_GET;
		v->start_ms = gw->now_ms;
	}
	if (v->state == GV_OPEN) {
		vol_answer(v, 0, NULL); /* opened a second time */
		return;
	}
	if (gw->now_ms - v->start_ms > GW_OPEN_MS) {
		if (v->rec.barrier != VMS_BARRIER_NONE)
			vol_fail(v, VMS_E_BUSY,
				 "volume %s: one snapshot after the other is being made", v->name);
		else
			vol_fail(v, VMS_E_TIMEOUT, "volume %s: the catalog does not answer",
				 v->name);
		return;
	}
	if (v->state == GV_NODES) {
		if (v->busy && gw->now_ms >= v->open_deadline_ms) {
			v->open_pending = 0;
			vol_open_done(v);
		}
		if (v->busy)
			return;
	}
	if (v->busy)
		return;
	if (gw->now_ms < v->retry_ms) {
		gw_wake_at(gw, v->retry_ms);
		return;
	}
	v->busy = true;
	switch (v->state) {
	case GV_GET:
		gw_vol_key(v, key);
		gw->cat->ops->get(gw->cat, key, vol_got, v);
		break;
	case GV_BRANCH:
		vms_cat_key_branch(key, v->rec.branch);
		gw->cat->ops->get(gw->cat, key, snap_branch_got, v);
		break;
	case GV_CREATE:
		gw->cat->ops->get(gw->cat, "cluster", vol_cluster_got, v);
		break;
	case GV_REGISTER:
		vol_register(v);
		break;
	case GV_LIST:
		gw_vol_open_prefix(v, key);
		v->list_rev = 0;
		gw->cat->ops->range(gw->cat, key, NULL, vol_list_got, v);
		break;
	case GV_LOSS:
		vms_cat_key_loss(key, v->rec.id);
		gw->cat->ops->get(gw->cat, key, vol_loss_got, v);
		break;
	case GV_PR:
		gw_pr_load(v);
		break;
	case GV_NODES:
		v->open_deadline_ms = gw->now_ms + GW_REACH_MS;
		gw_wake_at(gw, v->open_deadline_ms);
		v->open_pending = 1;
		for (uint32_t i = 1; i < gw->node_top; i++)
			if (gw->node[i] && gw->node[i]->state == GN_READY) {
				v->open_pending++;
				if (!send_open(gw, v, gw->node[i], false, true))
					v->open_pending--;
			}
		gw_vol_nodes_answered(gw, v);
		break;
	default:
		break;
	}
}

int vms_gw_vol_open(struct vms_gw *gw, const char *name, uint64_t create_bytes, uint8_t write_ack,
		    void *arg, struct vms_gw_vol **out, struct vms_errmsg *msg)
{
	char volume[128], snap[104] = "";
	struct gw_vol_wait *w;
	struct vms_gw_vol *v = NULL;
	int rc;

	*out = NULL;
	if (strchr(name, '@'))
		rc = vms_cat_snap_name_split(name, volume, snap, msg);
	else
		rc = vms_cat_volume_name_check(name, msg);
	if (rc)
		return rc;
	if (snap[0] && create_bytes)
		return vms_fail(msg, VMS_E_INVAL,
				"%s is a snapshot: it has a size and cannot be created here", name);
	if (create_bytes % VMS_LB_BYTES || create_bytes > VMS_VOL_BYTES_MAX)
		return vms_fail(msg, VMS_E_INVAL,
				"size %" PRIu64 ": it must be a multiple of %u and at most 2^54",
				create_bytes, VMS_LB_BYTES);
	if (write_ack > VMS_ACK_MEMORY)
		return vms_fail(msg, VMS_E_INVAL, "write_ack must be disk or memory");
	if (gw->phase == GP_DEAD)
		return vms_fail(msg, VMS_E_STOPPING, "this gateway is stopping");
	gw_each(l, &gw->vols)
	{
		struct vms_gw_vol *o = gw_entry(l, struct vms_gw_vol, link);

		if (!strcmp(o->name, name))
			v = o;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return vms_fail(msg, VMS_E_NOMEM, "no memory to open volume %s", name);
	if (!v) {
		v = calloc(1, sizeof(*v));
		if (!v) {
			free(w);
			return vms_fail(msg, VMS_E_NOMEM, "no memory to open volume %s", name);
		}
		v->gw = gw;
		v->state = GV_WAIT;
		v->create_bytes = create_bytes;
		v->create_ack = write_ack;
		v->loss_stamp = UINT64_MAX;
		v->snap = snap[0];
		v->read_gen = VMS_GEN_LIVE;
		snprintf(v->name, sizeof(v->name), "%s", name);
		snprintf(v->rec.name, sizeof(v->rec.name), "%s", snap[0] ? volume : name);
		snprintf(v->snap_name, sizeof(v->snap_name), "%s", snap);
		gw_list_init(&v->loss_wait);
		gw_list_init(&v->held);
		gw_list_add(&gw->vols, &v->link);
	}
	w->arg = arg;
	w->next = v->waits;
	v->waits = w;
	v->opens++;
	*out = v;
	gw->kick = true;
	gw_wake_at(gw, gw->now_ms);
	return 0;
}

static void vol_withdraw(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct gw_closing *c;

	if (v->state >= GV_NODES && !v->snap)
		for (uint32_t i = 1; i < gw->node_top; i++)
			if (gw->node[i] && gw->node[i]->state == GN_READY)
				send_open(gw, v, gw->node[i], true, false);
	/* the nodes forget who holds pages of it */
	vms_pc_drop_all(gw->pc, v->rec.branch, v->read_gen);
	gw_base_leave(v);
	if (!v->open_rev && (!v->reg_unsure || gw_mutant(gw, VMS_GWM_REG_LEFT)))
		return;
	gw_vol_open_key(v, key);
	c = gw_closing_new(gw, v->rec.id, key, v->open_rev);
	c->unsure = v->reg_unsure;
	if (v->open_rev)
		gw_barrier_close(v, c);
	v->open_rev = 0;
	gw_closing_run(gw);
}

void vms_gw_vol_close(struct vms_gw *gw, struct vms_gw_vol *v)
{
	if (--v->opens)
		return;
	vms_assert(v->ncmds == 0);
	vol_withdraw(v);
	/* read-ahead still knows the volume */
	gw_read_vol_gone(gw, v);
	vol_free(v);
}

void vms_gw_vol_info(const struct vms_gw_vol *v, struct vms_gw_vol_info *out)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", v->name);
	memcpy(out->uuid, v->rec.uuid, sizeof(out->uuid));
	out->size_bytes = v->rec.size_bytes;
	out->write_ack = v->rec.write_ack;
	out->openers = v->nopeners;
	/* while it is being shrunk only what is behind its end goes */
	out->read_only = v->snap || v->gone || v->rec.write_protect ||
			 (v->rec.state != 1 && v->rec.state != 3);
	out->rollbacks = v->rec.rollbacks;
	out->gone = v->gone;
}

/* ---- time ---- */

static void vol_watches(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint8_t again = v->again;

	v->again = 0;
	/* whatever fails again has its pause */
	v->again_ms = gw->now_ms + GW_CAT_RETRY_MS;
	gw_wake_at(gw, v->again_ms);
	if (again & 1) {
		gw_vol_key(v, key);
		gw->cat->ops->get(gw->cat, key, vol_got, v);
	}
	if (again & 2) {
		gw_vol_open_prefix(v, key);
		v->list_rev = 0;
		gw->cat->ops->range(gw->cat, key, NULL, vol_list_got, v);
	}
	if (again & 4) {
		vms_cat_key_loss(key, v->rec.id);
		gw->cat->ops->get(gw->cat, key, vol_loss_got, v);
	}
}

void gw_vols_timer(struct vms_gw *gw)
{
	gw_closing_run(gw);
	gw_each(l, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);

		if (v->state != GV_OPEN || v->waits)
			vol_run(v);
		else if (v->again && gw->now_ms >= v->again_ms)
			vol_watches(v);
	}
	gw_register_run(gw);
}

void gw_vols_fini(struct vms_gw *gw)
{
	gw_register_fini(gw);
	if (!gw->vols.next)
		return; /* start failed before the lists were made */
	while (!gw_list_empty(&gw->vols))
		vol_free(gw_entry(gw->vols.next, struct vms_gw_vol, link));
}
