// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of reservations that this gateway goes by: read when a volume is opened,
 * replaced by what the watch brings, acknowledged while it is under way. See gw_pr.h.
 *
 * A table's number is a lun_fence. Ops carry it only from when the table is here, so no
 * op leaves under a number whose table it was not checked against (rules D2, D9): one
 * that was let through by an earlier table is checked again before it is sent, and a
 * copy of it that is on its way already carries the earlier number.
 * Keeps invariants 4, 13, 14.
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_pr.h"

#define LOST_MS	 1000u /* a change under way for so long has lost its gateway */
#define DOUBT_MS 1000u /* between two looks at who has RESERVE */

const struct vms_pr *vms_gw_vol_pr(const struct vms_gw_vol *v)
{
	static const struct vms_pr none = {.holder = -1};

	return v->pr ? &v->pr->table : &none;
}

uint64_t gw_pr_table(const struct vms_gw_vol *v)
{
	return v->pr ? v->pr->table.fence : 0;
}

/* Has a reservation come between the command's check and now? */
bool gw_pr_refuses_(const struct gw_req *r)
{
	const struct vms_gw_cmd *cmd = r->cmd;

	return cmd->who && !gw_mutant(r->vol->gw, VMS_GWM_PR_UNCHECKED) &&
	       vms_pr_refuses(&r->vol->pr->table, cmd->who, cmd->access);
}

int vms_gw_refusal(struct vms_gw *gw)
{
	return vms_gw_current(gw) || gw_mutant(gw, VMS_GWM_PR_STALE) ? VMS_E_RESERVED : VMS_E_BUSY;
}

void gw_pr_wake(struct gw_pr *p, uint64_t at_ms)
{
	gw_wake_at(p->v->gw, at_ms);
}

/* ---- numbers ---- */

bool gw_pr_fence(struct vms_gw_vol *v)
{
	uint64_t table = gw_pr_table(v), before = v->fence;

	if (table > v->fence)
		v->fence = table;
	if (v->rec.pr_fence <= table && v->rec.lun_fence > v->fence)
		v->fence = v->rec.lun_fence;
	return v->fence > before;
}

void gw_pr_behind(struct vms_gw_vol *v)
{
	if (v->pr)
		v->pr->reload = true;
}

/* ---- the acknowledgement ---- */

static void ack_run(struct gw_pr *p);

static void ack_done(void *arg, const struct vms_cat_reply *r)
{
	struct gw_pr *p = arg;

	p->ack.busy = false;
	if (!r->status)
		p->ack.told = p->ack.telling;
	else /* our registration is gone (we are shut out), or nobody knows: say it again */
		p->ack.retry_ms = p->v->gw->now_ms + GW_CAT_RETRY_MS;
	ack_run(p);
}

/* Compares the registration, so that a process that was shut out, or has a successor,
 * says nothing. */
static void ack_run(struct gw_pr *p)
{
	struct vms_gw_vol *v = p->v;
	struct vms_gw *gw = v->gw;
	char okey[VMS_CAT_KEY_BYTES_MAX], akey[VMS_CAT_KEY_BYTES_MAX], *val;

	if (!p->table.pending || p->settled < p->table.fence || p->ack.told >= p->table.fence ||
	    p->ack.busy || !v->open_rev)
		return;
	if (gw->now_ms < p->ack.retry_ms) {
		gw_wake_at(gw, p->ack.retry_ms);
		return;
	}
	p->ack.busy = true;
	p->ack.telling = p->table.fence;
	gw_vol_open_key(v, okey);
	vms_pr_key_ack(akey, v->rec.uuid, gw->id);
	val = vms_pr_ack_encode(&(struct vms_pr_ack){gw->id, gw->incarnation, p->table.fence});
	gw->cat->ops->txn(gw->cat, &(struct vms_cat_cmp){okey, v->open_rev}, 1,
			  &(struct vms_cat_op){akey, val, 0}, 1, ack_done, p);
	free(val);
}

void vms_gw_pr_settled(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t fence)
{
	struct gw_pr *p = v->pr;

	(void)gw;
	if (!p || fence <= p->settled)
		return;
	p->settled = fence;
	ack_run(p);
	gw_pr_run_kick(p);
}

/* ---- the table ---- */

void gw_pr_take(struct gw_pr *p, struct vms_pr *table, uint64_t rev)
{
	struct vms_gw_vol *v = p->v;
	struct vms_gw *gw = v->gw;
	bool newer = table->fence > p->table.fence;

	if (rev <= p->rev || table->fence < p->table.fence) {
		vms_pr_free(table);
		return;
	}
	p->rev = rev;
	vms_pr_free(&p->table);
	p->table = *table;
	vms_pr_init(table);
	if (newer) {
		p->pending_ms = gw->now_ms;
		if (gw_pr_fence(v))
			gw_barrier_numbers(v);
		/* before it is open nobody has been let through by an earlier one */
		if (v->state != GV_OPEN || !gw->up.pr_changed ||
		    (gw_mutant(gw, VMS_GWM_CLEAR_ALONE) && p->table.nevents &&
		     p->table.event[0].all && !p->table.event[0].asc) ||
		    gw->up.pr_changed(gw->up.ctx, v, &p->table))
			p->settled = p->table.fence;
	}
	ack_run(p);
	if (p->table.pending)
		gw_wake_at(gw, p->pending_ms + LOST_MS);
}

static void ack_heard(struct gw_pr *p, const struct vms_cat_kv *kv)
{
	struct vms_pr_ack a;

	if (!kv->val || vms_pr_ack_decode(&a, kv->key, kv->val, NULL) ||
	    a.gateway >= VMS_GATEWAYS_MAX)
		return;
	if (a.incarnation < p->acks[a.gateway].incarnation)
		return;
	if (a.incarnation > p->acks[a.gateway].incarnation)
		p->acks[a.gateway].fence = 0;
	p->acks[a.gateway].incarnation = a.incarnation;
	if (a.fence > p->acks[a.gateway].fence)
		p->acks[a.gateway].fence = a.fence;
}

/* "pr/<uuid>" and what is below it. */
void gw_pr_events(struct gw_pr *p, const struct vms_cat_reply *r)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_errmsg msg;
	struct vms_pr t;

	vms_pr_key(key, p->v->rec.uuid);
	for (unsigned i = 0; i < r->nkv; i++) {
		const struct vms_cat_kv *kv = &r->kv[i];

		if (strcmp(kv->key, key)) {
			ack_heard(p, kv);
		} else if (!kv->val) {
			p->rev = kv->mod_revision; /* with its volume */
		} else if (vms_pr_decode(&t, key, kv->val, &msg)) {
			/* it is not taken, so its change does not end without us being shut
			 * out: better than to let the wrong host write */
			gw_log(p->v->gw, VMS_LOG_ERROR, "volume %s: %s", p->v->name, msg.text);
		} else {
			gw_pr_take(p, &t, kv->mod_revision);
		}
	}
	gw_pr_run_kick(p);
}

/* ---- reading, watching ---- */

static void watch_event(void *arg, const struct vms_cat_reply *r)
{
	struct gw_pr *p = arg;

	if (r->status) {
		p->watch = 0;
		p->reload = true;
		p->reload_ms = p->v->gw->now_ms + GW_CAT_RETRY_MS;
		gw_pr_wake(p, p->reload_ms);
		return;
	}
	gw_pr_events(p, r);
}

static void read_again(struct gw_pr *p)
{
	p->reading = false;
	p->reload = true;
	p->reload_ms = p->v->gw->now_ms + GW_CAT_RETRY_MS;
	gw_pr_wake(p, p->reload_ms);
}

static void table_got(void *arg, const struct vms_cat_reply *r)
{
	struct gw_pr *p = arg;
	struct vms_gw_vol *v = p->v;
	struct vms_gw *gw = v->gw;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	struct vms_errmsg msg;
	struct vms_pr t;

	/* An answer as of before our registration may lack a change that did not ask us. */
	if (r->status || r->revision < v->open_rev) {
		read_again(p);
		return;
	}
	if (!p->read_rev)
		p->read_rev = r->revision;
	vms_pr_key(prefix, v->rec.uuid);
	if (r->nkv && !strcmp(r->kv[0].key, prefix) && v->state == GV_PR) {
		if (vms_pr_decode(&t, prefix, r->kv[0].val, &msg)) {
			gw_vol_pr_failed(v, msg.text);
			return;
		}
		vms_pr_free(&t);
	}
	gw_pr_events(p, r);
	if (r->more && r->nkv) {
		/* acknowledgements; the table is the first key */
		gw->cat->ops->range(gw->cat, prefix, r->kv[r->nkv - 1].key, table_got, p);
		return;
	}
	p->reading = false;
	/* what has changed since the first part of the answer is not in it */
	if (!p->watch)
		p->watch = gw->cat->ops->watch(gw->cat, prefix, p->read_rev, watch_event, p);
	if (v->state == GV_PR)
		gw_vol_pr_loaded(v);
}

static void table_read(struct gw_pr *p)
{
	char prefix[VMS_CAT_KEY_BYTES_MAX];

	p->reload = false;
	p->reading = true;
	p->read_rev = 0;
	vms_pr_key(prefix, p->v->rec.uuid);
	p->v->gw->cat->ops->range(p->v->gw->cat, prefix, NULL, table_got, p);
}

void gw_pr_load(struct vms_gw_vol *v)
{
	if (!v->pr) {
		v->pr = calloc(1, sizeof(*v->pr));
		vms_assert(v->pr);
		v->pr->v = v;
		v->pr->jobs_tail = &v->pr->jobs;
		vms_pr_init(&v->pr->table);
	}
	table_read(v->pr);
}

void gw_pr_free(struct vms_gw_vol *v)
{
	struct gw_pr *p = v->pr;

	if (!p)
		return;
	gw_pr_run_free(p);
	v->gw->cat->ops->forget(v->gw->cat, p);
	if (p->watch)
		v->gw->cat->ops->unwatch(v->gw->cat, p->watch);
	while (p->jobs) {
		struct gw_pr_job *j = p->jobs;

		p->jobs = j->next;
		free(j);
	}
	vms_pr_free(&p->table);
	free(p);
	v->pr = NULL;
}

/* ---- what ends RESERVE by itself ---- */

void vms_gw_pr_session_end(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t session)
{
	struct vms_pr_owner o = {gw->id, gw->incarnation, session};

	if (!v->pr || !v->pr->table.reserve.gateway)
		return;
	if (!session)
		o = v->pr->table.reserve;
	gw_pr_job_add(v->pr, GW_PR_END, NULL, &o);
}

void vms_gw_pr_doubt(struct vms_gw *gw, struct vms_gw_vol *v)
{
	const struct vms_pr_owner *o;

	if (!v->pr || gw_mutant(gw, VMS_GWM_PR_GHOST))
		return;
	o = &v->pr->table.reserve;
	if (!o->gateway || gw->now_ms < v->pr->doubt_ms)
		return;
	v->pr->doubt_ms = gw->now_ms + DOUBT_MS;
	/* without the catalog they would pile up */
	for (const struct gw_pr_job *j = v->pr->jobs; j; j = j->next)
		if (j->kind == GW_PR_DOUBT || j->kind == GW_PR_END)
			return;
	if (o->gateway != gw->id)
		gw_pr_job_add(v->pr, GW_PR_DOUBT, NULL, NULL);
	else if (o->incarnation != gw->incarnation) /* of the process before this one */
		gw_pr_job_add(v->pr, GW_PR_END, NULL, o);
}

/* ---- time ---- */

void gw_pr_timer(struct vms_gw *gw)
{
	gw_each(l, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(l, struct vms_gw_vol, link);
		struct gw_pr *p = v->pr;
		/* they do not all come at once, and its own gateway may only be slow */
		uint64_t lost = LOST_MS + 100ull * (gw->id % 32);

		if (!p)
			continue;
		if (p->reload && !p->reading) {
			if (gw->now_ms >= p->reload_ms)
				table_read(p);
			else
				gw_wake_at(gw, p->reload_ms);
		}
		if (v->state != GV_OPEN)
			continue;
		ack_run(p);
		if (p->table.pending && !p->jobs && !gw_mutant(gw, VMS_GWM_PR_LEFT)) {
			if (gw->now_ms - p->pending_ms >= lost)
				gw_pr_job_add(p, GW_PR_FINISH, NULL, NULL);
			else
				gw_wake_at(gw, p->pending_ms + lost);
		}
		gw_pr_run_kick(p);
	}
}
