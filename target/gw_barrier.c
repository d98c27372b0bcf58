// SPDX-License-Identifier: GPL-2.0-only
/*
 * A volume's barrier, the gateway's part (doc/architecture.md "Barrier"). The
 * volume's record says stop: from then on no write of the volume is sent, and all
 * that is sent later carries the new number. It says release: what was held goes.
 * Both are acknowledged in the catalog. Reads, and writes on their way, go on.
 *
 * Initiators are not stalled for a snapshot: after GW_HOLD_MS what is held goes
 * under the new number and the barrier is vetoed. Without the catalog it goes all
 * the same; the missing acknowledgement is the veto then. So "released" is said
 * only by a gateway that has sent nothing between stop and release.
 *
 * A quiet barrier (resizing, rolling back, write protection) asks for more: from the stop
 * on every new command ends BUSY, and "stopped" is said when the last one has ended.
 * Nobody lets go of it by himself: what the volume is to be is not known until the
 * release, or until somebody abandons the barrier.
 *
 * The same place holds writes that a node refused because the number they carry has
 * passed. Such an op has surely not been applied; it is sent again, with its id and
 * its tick, when the record with newer numbers has come.
 * Keeps invariants 3, 4, 17 (rules "Snapshots, clones, barriers", D1, D2, D5).
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_int.h"
#include "target/gw_write.h"

#define ABANDON_KEYS 100u /* of snapshots and acknowledgements */

/* An abandoned barrier: its number stays spent, its snapshot and acknowledgements
 * go with it, in one transaction. */
struct gw_abandon {
	struct vms_gw_vol *v;
	struct vms_cat_volume rec;
	uint64_t rev;
	unsigned n, nsnaps; /* keys; the first nsnaps are compared */
	struct {
		char key[VMS_CAT_KEY_BYTES_MAX];
		uint64_t rev;
	} kv[ABANDON_KEYS];
};

/* ---- stop, release ---- */

static void stop(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;

	if (v->stopped || gw_mutant(gw, VMS_GWM_NO_HOLD))
		return;
	v->stopped = true;
	v->stopped_ms = gw->now_ms;
	gw_ops_stop(gw, v);
	gw_wake_at(gw, v->stopped_ms + GW_HOLD_MS);
}

static void go_on(struct vms_gw_vol *v)
{
	v->stopped = false;
	if (!v->behind)
		gw_ops_release(v->gw, v);
}

static void veto(struct vms_gw_vol *v)
{
	v->gw->st.barrier_vetoes++;
	v->bar.let_go = true;
	v->bar.want = gw_mutant(v->gw, VMS_GWM_NO_VETO) ? v->bar.want : VMS_ACK_VETO;
}

static void ack_run(struct vms_gw_vol *v);

static void ack_done(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gw_vol *v = arg;

	v->ack.busy = false;
	if (!r->status) {
		if (v->ack.id == v->bar.id)
			v->bar.told = v->ack.state;
	} else {
		/* The volume's record has changed (its watch tells), our registration is
		 * gone (we are fenced off), or nobody knows: it can be said twice. */
		v->ack.retry_ms = v->gw->now_ms + (v->ack.rev == v->rev ? GW_BARRIER_LOOK_MS : 0);
	}
	ack_run(v);
}

/* Compares the record it answers to, so that nothing is left behind by an ack that
 * comes after the barrier; and the registration, so that a process that was fenced
 * off, or has a successor, says nothing. */
static void ack_run(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;
	char vkey[VMS_CAT_KEY_BYTES_MAX], okey[VMS_CAT_KEY_BYTES_MAX], akey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_ack a = {.id = v->rec.id,
				.gateway = gw->id,
				.incarnation = gw->incarnation,
				.barrier_id = v->bar.id,
				.state = v->bar.want};
	char *val;

	if (!v->bar.want || v->bar.told == v->bar.want || v->ack.busy || !v->open_rev || v->gone)
		return;
	if (gw->now_ms < v->ack.retry_ms) {
		gw_wake_at(gw, v->ack.retry_ms);
		return;
	}
	v->ack.busy = true;
	v->ack.id = v->bar.id;
	v->ack.state = v->bar.want;
	v->ack.rev = v->rev;
	vms_cat_key_volume(vkey, v->rec.name, NULL);
	vms_cat_key_open(okey, v->rec.id, gw->id);
	vms_cat_key_ack(akey, v->rec.id, gw->id);
	val = vms_cat_ack_encode(&a);
	gw->cat->ops->txn(gw->cat, (struct vms_cat_cmp[]){{vkey, v->rev}, {okey, v->open_rev}}, 2,
			  &(struct vms_cat_op){akey, val, 0}, 1, ack_done, v);
	free(val);
}

void gw_barrier_look(struct vms_gw_vol *v)
{
	const struct vms_cat_volume *rec = &v->rec;
	struct vms_gw *gw = v->gw;

	if (v->gone || rec->barrier == VMS_BARRIER_NONE) {
		memset(&v->bar, 0, sizeof(v->bar));
		v->quiet = false;
		if (v->gone)
			v->behind = false;
		go_on(v);
		return;
	}
	if (v->bar.id != rec->barrier_id) {
		memset(&v->bar, 0, sizeof(v->bar));
		v->bar.id = rec->barrier_id;
		v->bar.seen_ms = gw->now_ms;
		v->ack.retry_ms = 0;
		gw->st.barriers += v->open_rev != 0;
		/* never stopped for it, or its number was used already */
		if (rec->barrier != VMS_BARRIER_STOP ||
		    (rec->snap_gen <= v->ahead_gen && !rec->barrier_quiet))
			veto(v);
	}
	v->quiet = !v->bar.let_go && rec->barrier == VMS_BARRIER_STOP && rec->barrier_quiet;
	if (v->quiet) {
		go_on(v); /* what another barrier held has to end */
		v->bar.want = v->ncmds && !gw_mutant(gw, VMS_GWM_LOUD) ? 0 : VMS_ACK_STOPPED;
	} else if (!v->bar.let_go && rec->barrier == VMS_BARRIER_STOP) {
		v->bar.want = VMS_ACK_STOPPED;
		stop(v);
	} else {
		if (!v->bar.let_go)
			v->bar.want = VMS_ACK_RELEASED;
		go_on(v);
	}
	ack_run(v);
	gw_wake_at(gw, v->bar.seen_ms + GW_BARRIER_AGE_MS);
}

void gw_barrier_numbers(struct vms_gw_vol *v)
{
	v->behind = false;
	if (!v->stopped)
		gw_ops_release(v->gw, v);
}

/* ---- refused ops ---- */

void gw_barrier_refused(struct vms_gw *gw, struct gw_op *op, uint64_t floor_gen)
{
	struct vms_gw_vol *v = op->req->vol;

	gw->st.ops_fenced++;
	if (floor_gen > v->floor_gen)
		v->floor_gen = floor_gen;
	/* the record may have come since it was sent */
	if (!v->behind && !v->gone && v->rec.snap_gen <= op->sent_gen &&
	    v->fence <= op->sent_fence) {
		v->behind = true;
		v->behind_ms = gw->now_ms;
		v->behind_ask_ms = gw->now_ms + GW_BARRIER_LOOK_MS;
		gw_ops_stop(gw, v);
		gw_wake_at(gw, v->behind_ask_ms);
	}
	gw_op_route(gw, op, true);
}

/* The watch is late: ask. A catalog that cannot be reached does not stop I/O
 * (invariant 30): after the time a barrier may take, the number that the nodes go by
 * will do. Should its barrier still be on, it is vetoed when it is met. */
static void behind_run(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;

	if (gw->now_ms - v->behind_ms >= GW_HOLD_MS && v->floor_gen > v->rec.snap_gen) {
		gw_log(gw, VMS_LOG_WARN,
		       "volume %s: the catalog does not tell of snap_gen %" PRIu64
		       ", which the nodes ask for; writes go on under it",
		       v->rec.name, v->floor_gen);
		v->rec.snap_gen = v->ahead_gen = v->floor_gen;
		v->behind = false;
		if (!v->stopped)
			gw_ops_release(gw, v);
		return;
	}
	/* What was refused then is too old by now: see whether it still is so. */
	if (gw->now_ms - v->behind_ms >= gw->tm.t_op_ms) {
		v->behind = false;
		if (!v->stopped)
			gw_ops_release(gw, v);
		return;
	}
	if (gw->now_ms >= v->behind_ask_ms) {
		v->behind_ask_ms = gw->now_ms + 2 * GW_BARRIER_LOOK_MS;
		v->again |= 1;
		gw_pr_behind(v);
		gw_wake_at(gw, gw->now_ms);
	}
	gw_wake_at(gw, v->behind_ask_ms);
}

/* ---- a barrier without a coordinator ---- */

static void abandon_end(struct gw_abandon *a, int status)
{
	struct vms_gw_vol *v = a->v;

	v->abandon = NULL;
	if (status) {
		/* somebody else did it, or it has to be tried again */
		v->bar.seen_ms += GW_CAT_RETRY_MS;
		gw_wake_at(v->gw, v->bar.seen_ms + GW_BARRIER_AGE_MS);
	}
	free(a);
}

static void abandoned(void *arg, const struct vms_cat_reply *r)
{
	struct gw_abandon *a = arg;
	struct vms_gw *gw = a->v->gw;

	if (!r->status) {
		gw->st.barriers_abandoned++;
		gw_log(gw, VMS_LOG_WARN,
		       "volume %s: a snapshot or a change of it was begun and not ended "
		       "within %u s; it was abandoned",
		       a->rec.name, GW_BARRIER_AGE_MS / 1000);
		a->v->retry_ms = 0;
	}
	abandon_end(a, r->status);
}

static void abandon_acks_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_abandon *a = arg;
	struct vms_cat_cmp cmp[ABANDON_KEYS + 1];
	struct vms_cat_op op[ABANDON_KEYS + 1];
	char vkey[VMS_CAT_KEY_BYTES_MAX], *val;

	if (r->status) {
		abandon_end(a, r->status);
		return;
	}
	/* More than there is room for stays behind; it names a barrier that is over. */
	for (unsigned i = 0; i < r->nkv && a->n < ABANDON_KEYS; i++)
		snprintf(a->kv[a->n++].key, VMS_CAT_KEY_BYTES_MAX, "%s", r->kv[i].key);
	a->rec.barrier = VMS_BARRIER_NONE;
	vms_cat_key_volume(vkey, a->rec.name, NULL);
	val = vms_cat_volume_encode(&a->rec);
	cmp[0] = (struct vms_cat_cmp){vkey, a->rev};
	op[0] = (struct vms_cat_op){vkey, val, 0};
	for (unsigned i = 0; i < a->n; i++) {
		if (i < a->nsnaps)
			cmp[i + 1] = (struct vms_cat_cmp){a->kv[i].key, a->kv[i].rev};
		op[i + 1] = (struct vms_cat_op){a->kv[i].key, NULL, 0};
	}
	a->v->gw->cat->ops->txn(a->v->gw->cat, cmp, a->nsnaps + 1, op, a->n + 1, abandoned, a);
	free(val);
}

static void abandon_snaps_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_abandon *a = arg;
	struct vms_gw *gw = a->v->gw;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_snap s;

	if (r->status) {
		abandon_end(a, r->status);
		return;
	}
	for (unsigned i = 0; i < r->nkv && a->n < ABANDON_KEYS / 2; i++) {
		if (vms_cat_snap_decode(&r->kv[i], &s, NULL) || s.id != a->rec.id ||
		    s.state != VMS_SNAP_CREATING)
			continue;
		snprintf(a->kv[a->n].key, VMS_CAT_KEY_BYTES_MAX, "%s", r->kv[i].key);
		a->kv[a->n++].rev = r->kv[i].mod_revision;
	}
	a->nsnaps = a->n;
	if (r->more && r->nkv) {
		snprintf(prefix, sizeof(prefix), "snap/%s@", a->rec.name);
		gw->cat->ops->range(gw->cat, prefix, r->kv[r->nkv - 1].key, abandon_snaps_got, a);
		return;
	}
	snprintf(prefix, sizeof(prefix), "ack/%016" PRIx64 "/", a->rec.id);
	gw->cat->ops->range(gw->cat, prefix, NULL, abandon_acks_got, a);
}

static void abandon(struct vms_gw_vol *v)
{
	struct gw_abandon *a = calloc(1, sizeof(*a));
	char prefix[VMS_CAT_KEY_BYTES_MAX];

	vms_assert(a);
	a->v = v;
	a->rec = v->rec;
	a->rev = v->rev;
	v->abandon = a;
	snprintf(prefix, sizeof(prefix), "snap/%s@", a->rec.name);
	v->gw->cat->ops->range(v->gw->cat, prefix, NULL, abandon_snaps_got, a);
}

void gw_barrier_free(struct vms_gw_vol *v)
{
	if (!v->abandon)
		return;
	v->gw->cat->ops->forget(v->gw->cat, v->abandon);
	free(v->abandon);
	v->abandon = NULL;
}

/* ---- closing, time ---- */

/* What was let go must be known before the registration goes: the coordinator asks
 * nobody who has closed. */
void gw_barrier_close(struct vms_gw_vol *v, struct gw_closing *c)
{
	struct vms_gw *gw = v->gw;
	struct vms_cat_ack a = {.id = v->rec.id,
				.gateway = gw->id,
				.incarnation = gw->incarnation,
				.barrier_id = v->bar.id,
				.state = VMS_ACK_VETO};

	if (!v->bar.id || !v->bar.let_go || v->bar.told == VMS_ACK_VETO)
		return;
	c->vkey = malloc(VMS_CAT_KEY_BYTES_MAX);
	vms_assert(c->vkey);
	vms_cat_key_volume(c->vkey, v->rec.name, NULL);
	c->vrev = v->rev;
	c->barrier_id = v->bar.id;
	c->veto = vms_cat_ack_encode(&a);
}

void gw_barrier_timer(struct vms_gw *gw)
{
	gw_each(l, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);
		/* those that wait to open go first, the others one after the other */
		uint64_t patience = GW_BARRIER_AGE_MS + (v->open_rev ? 100ull + 10 * gw->id : 0);

		if (v->stopped && gw->now_ms - v->stopped_ms >= GW_HOLD_MS) {
			gw_log(gw, VMS_LOG_WARN,
			       "volume %s: a snapshot held writes for %u ms; they go on, "
			       "it fails",
			       v->rec.name, GW_HOLD_MS);
			veto(v);
			go_on(v);
		} else if (v->stopped) {
			gw_wake_at(gw, v->stopped_ms + GW_HOLD_MS);
		}
		if (v->behind)
			behind_run(v);
		if (!v->bar.id)
			continue;
		if (v->quiet && !v->ncmds)
			v->bar.want = VMS_ACK_STOPPED;
		if (gw_mutant(gw, VMS_GWM_QUIET_ENDS) && gw->now_ms - v->bar.seen_ms > GW_HOLD_MS)
			v->quiet = false;
		ack_run(v);
		if (v->abandon)
			continue;
		if (gw->now_ms - v->bar.seen_ms >= patience)
			abandon(v);
		else
			gw_wake_at(gw, v->bar.seen_ms + patience);
	}
}
