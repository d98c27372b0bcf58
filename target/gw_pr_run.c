// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes of a volume's reservations, one after the other: read the volume and the
 * table, make the next table, decide it by one transaction, carry it to all gateways and
 * nodes, say that it is over. See gw_pr.h.
 *
 * Every step begins by reading and can be repeated. A transaction of unknown outcome is
 * sent again as it was, comparing the same revisions: at most one of them counts, and
 * the table says whose it is. A command ends BUSY only when none was sent.
 * Keeps invariants 13, 14, 30 (rules D9, E6).
 */
#include <inttypes.h>
#include <stdio.h>

#include "cluster/admin.h"
#include "target/gw_pr.h"

#define LOOK_MS		 200u /* who has the volume open is read again while somebody is silent */
#define RESERVE_WAIT_MS	 300u /* for the end of another gateway's session */
#define RESERVE_RETRY_MS 30u
#define SILENT_MS	 300u /* then the nodes are asked whether it lives */
#define STALE_MS	 20u  /* an answer was older than what is known */
#define SESSIONS_MS	 1000u

/* Times that scale: until a command ends BUSY, or as unknown once it may be decided; until
 * a gateway that lives but does not answer is shut out. */
#define BUSY_T_OP    2u
#define UNKNOWN_T_OP 10u
#define SHUT_T_OP    5u

static void run_go(struct gw_pr_run *r);

static struct vms_gw *run_gw(const struct gw_pr_run *r)
{
	return r->p->v->gw;
}

static void run_later(struct gw_pr_run *r, enum gw_pr_step step, uint32_t ms)
{
	r->busy = false;
	r->step = step;
	r->retry_ms = run_gw(r)->now_ms + ms;
	gw_wake_at(run_gw(r), r->retry_ms);
}

static void run_next(struct gw_pr_run *r, enum gw_pr_step step)
{
	r->busy = false;
	r->step = step;
	r->retry_ms = 0;
	run_go(r);
}

static void run_drop(struct gw_pr_run *r)
{
	if (r->changed)
		vms_pr_free(&r->next);
	free(r->rec_text);
	free(r->table_text);
	r->changed = r->maybe = r->decided = false;
	r->rec_text = r->table_text = NULL;
}

void gw_pr_run_free(struct gw_pr *p)
{
	struct gw_pr_run *r = p->run;

	if (!r)
		return;
	gw_ask_stop(&r->ask);
	gw_fence_stop(&r->fencing);
	p->v->gw->cat->ops->forget(p->v->gw->cat, r);
	run_drop(r);
	free(r);
	p->run = NULL;
}

/* ---- answers ---- */

static void answer(struct vms_gw *gw, struct gw_pr_job *j)
{
	struct vms_gw_pr_cmd *cmd = j->cmd;

	j->cmd = NULL;
	if (!cmd)
		return;
	cmd->next = NULL;
	*gw->pr_done_tail = cmd;
	gw->pr_done_tail = &cmd->next;
	if (!gw->in_call)
		gw_wake_at(gw, gw->now_ms);
}

static void answer_err(struct gw_pr *p, struct gw_pr_job *j, int err)
{
	const struct vms_sense_cmd sc = {.write = false};

	if (j->cmd)
		vms_sense_from_err(&j->cmd->sense, err, &sc);
	answer(p->v->gw, j);
}

static void answer_good(struct gw_pr *p, struct gw_pr_job *j)
{
	if (j->cmd)
		j->cmd->sense = (struct vms_sense){.status = VMS_SAM_GOOD};
	answer(p->v->gw, j);
}

/* The first job is done; the next one, if there is one, begins. */
static void job_done(struct gw_pr *p)
{
	struct gw_pr_job *j = p->jobs;

	vms_assert(!j->cmd);
	gw_pr_run_free(p);
	p->jobs = j->next;
	if (!p->jobs)
		p->jobs_tail = &p->jobs;
	free(j);
	if (p->jobs) {
		p->v->gw->kick = true;
		gw_wake_at(p->v->gw, p->v->gw->now_ms);
	}
}

static void persistent_in(struct gw_pr *p, struct gw_pr_job *j)
{
	struct vms_gw_pr_cmd *cmd = j->cmd;
	int n;

	cmd->in = malloc(VMS_PR_IN_BYTES_MAX);
	vms_assert(cmd->in);
	n = vms_pr_in(&p->table, cmd->req.cdb, cmd->in, &cmd->sense);
	cmd->in_bytes = n < 0 ? 0 : (uint32_t)n;
	answer(p->v->gw, j);
}

/* ---- reading ---- */

/* What is to be done, from what has just been read. */
static void decide(struct gw_pr_run *r);

static void table_got(void *arg, const struct vms_cat_reply *re)
{
	struct gw_pr_run *r = arg;
	struct gw_pr *p = r->p;
	struct vms_errmsg msg;
	struct vms_pr t;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (re->status || re->revision < p->rev || re->revision < r->rec_rev ||
	    re->revision < r->min_rev || re->revision < p->v->open_rev) {
		run_later(r, PR_VOLUME, re->status ? GW_CAT_RETRY_MS : STALE_MS);
		return;
	}
	if (re->nkv) {
		vms_pr_key(key, p->v->rec.uuid);
		if (vms_pr_decode(&t, key, re->kv[0].val, &msg)) {
			gw_log(run_gw(r), VMS_LOG_ERROR, "volume %s: %s", p->v->name, msg.text);
			/* it may stay so: not the next attempt, and the next line, at once */
			p->pending_ms = run_gw(r)->now_ms;
			answer_err(p, r->job, VMS_E_CORRUPT);
			job_done(p);
			return;
		}
		gw_pr_take(p, &t, re->kv[0].mod_revision);
	}
	r->table_rev = re->nkv ? re->kv[0].mod_revision : 0;
	r->busy = false;
	decide(r);
}

static void volume_got(void *arg, const struct vms_cat_reply *re)
{
	struct gw_pr_run *r = arg;
	struct gw_pr *p = r->p;

	if (re->status || re->revision < p->v->rev || re->revision < r->min_rev) {
		run_later(r, PR_VOLUME, re->status ? GW_CAT_RETRY_MS : STALE_MS);
		return;
	}
	if (p->v->gone || !re->nkv ||
	    (!p->v->snap && (vms_cat_volume_decode(&re->kv[0], &r->rec, NULL) ||
			     memcmp(r->rec.uuid, p->v->rec.uuid, sizeof(r->rec.uuid))))) {
		answer_err(p, r->job, VMS_E_NOENT);
		job_done(p);
		return;
	}
	r->rec_rev = re->kv[0].mod_revision;
	run_next(r, PR_TABLE);
}

/* ---- deciding ---- */

static bool ours(const struct gw_pr_run *r, const struct vms_pr *t)
{
	return t->by.gateway == r->next.by.gateway && t->by.incarnation == r->next.by.incarnation &&
	       t->by.session == r->next.by.session;
}

/* A RESERVE that meets another gateway's: the session that has it may just have ended,
 * and its gateway is about to say so. Worth a moment. */
static bool worth_waiting(const struct gw_pr_run *r)
{
	const struct gw_pr *p = r->p;
	const struct gw_pr_job *j = r->job;

	return j->kind == GW_PR_COMMAND && j->cmd &&
	       j->cmd->sense.status == VMS_SAM_RESERVATION_CONFLICT &&
	       (j->cmd->req.cdb[0] == 0x16 || j->cmd->req.cdb[0] == 0x56) &&
	       p->table.reserve.gateway && p->table.reserve.gateway != run_gw(r)->id &&
	       run_gw(r)->now_ms - j->since_ms < RESERVE_WAIT_MS;
}

/* The next table is made of the present one: GOOD without a change, an error, or what is
 * to be put. */
static int make_next(struct gw_pr_run *r)
{
	struct gw_pr *p = r->p;
	struct vms_gw *gw = run_gw(r);
	struct gw_pr_job *j = r->job;
	int rc = 0;

	switch (j->kind) {
	case GW_PR_COMMAND:
		if (j->cmd)
			rc = vms_pr_step(&p->table, &j->cmd->req, &r->next, &j->cmd->sense);
		break;
	case GW_PR_RESET:
		if (j->cmd)
			rc = vms_pr_reset(&p->table, &r->next);
		break;
	case GW_PR_CLEAR:
		if (j->cmd)
			rc = vms_pr_clear_tasks(&p->table, &r->next);
		break;
	case GW_PR_END:
	case GW_PR_DOUBT:
		rc = vms_pr_reserve_end(&p->table, &j->owner, &r->next);
		break;
	case GW_PR_FINISH:
		break;
	}
	if (rc <= 0)
		return rc;
	r->changed = true;
	r->next.fence = p->table.fence > r->rec.lun_fence ? p->table.fence : r->rec.lun_fence;
	r->next.fence++;
	r->next.by = (struct vms_pr_owner){gw->id, gw->incarnation, ++gw->pr_serial};
	r->table_text = vms_pr_encode_next(&p->table, &r->next);
	if (!r->table_text) {
		run_drop(r);
		if (j->cmd)
			vms_sense_fail(&j->cmd->sense, VMS_SK_ILLEGAL_REQUEST,
				       VMS_ASC_INSUFFICIENT_REGISTRATIONS);
		return -1;
	}
	if (!p->v->snap) {
		struct vms_cat_volume rec = r->rec;

		rec.lun_fence = rec.pr_fence = r->next.fence;
		r->rec_text = vms_cat_volume_encode(&rec);
	}
	return 1;
}

static void finish(struct gw_pr_run *r, uint64_t fence)
{
	r->fence = fence;
	if (!r->p->table.pending) {
		run_next(r, PR_OVER);
		return;
	}
	r->wait_ms = run_gw(r)->now_ms;
	r->asked_ms = 0;
	run_next(r, PR_OPENERS);
}

static void decide(struct gw_pr_run *r)
{
	struct gw_pr *p = r->p;
	struct gw_pr_job *j = r->job;
	int rc;

	if (j->kind == GW_PR_COMMAND && j->cmd && j->cmd->req.cdb[0] == 0x5e) {
		persistent_in(p, j);
		job_done(p);
		return;
	}
	if (r->maybe) {
		/* A transaction of ours is out there. It compared a revision that is past. */
		if (ours(r, &p->table)) {
			r->maybe = false;
			r->decided = true;
			run_gw(r)->st.pr_changes++;
			finish(r, p->table.fence); /* if somebody else has not */
			return;
		}
		if (p->table.fence > r->next.fence) {
			/* it was, and is over; or it never was */
			run_gw(r)->st.pr_unknown++;
			answer_err(p, j, VMS_E_TIMEOUT);
			job_done(p);
			return;
		}
		run_drop(r); /* another one has that number */
	}
	if (p->table.pending) {
		r->finishes = true;
		finish(r, p->table.fence);
		return;
	}
	/* who has RESERVE is looked for first */
	if (j->kind == GW_PR_DOUBT && !r->listing && p->table.reserve.gateway) {
		r->listing = true;
		r->fence = 0;
		j->owner = p->table.reserve;
		run_next(r, PR_OPENERS);
		return;
	}
	run_drop(r);
	rc = make_next(r);
	if (rc > 0) {
		run_next(r, PR_PUT);
		return;
	}
	if (worth_waiting(r)) {
		run_later(r, PR_VOLUME, RESERVE_RETRY_MS);
		return;
	}
	if (!rc && j->cmd)
		answer_good(p, j);
	else
		answer(p->v->gw, j); /* sense is set */
	job_done(p);
}

/* ---- the transaction ---- */

static void put_done(void *arg, const struct vms_cat_reply *re)
{
	struct gw_pr_run *r = arg;
	struct gw_pr *p = r->p;
	struct vms_pr t;

	if (re->status == VMS_E_CONFLICT) {
		/* something has changed, perhaps by an earlier sending of this one: what is
		 * read must not be older than that */
		if (re->revision > r->min_rev)
			r->min_rev = re->revision;
		if (!r->maybe)
			run_drop(r);
		run_later(r, PR_VOLUME, 0);
		return;
	}
	if (re->status) {
		r->maybe = true;
		if (gw_mutant(run_gw(r), VMS_GWM_PR_TWICE))
			run_drop(r);
		run_later(r, r->maybe ? PR_PUT : PR_VOLUME, GW_CAT_RETRY_MS);
		return;
	}
	r->maybe = false;
	r->decided = true;
	run_gw(r)->st.pr_changes++;
	vms_pr_copy(&t, &r->next);
	gw_pr_take(p, &t, re->revision);
	finish(r, r->next.fence);
}

static void put(struct gw_pr_run *r)
{
	struct vms_gw_vol *v = r->p->v;
	char vkey[VMS_CAT_KEY_BYTES_MAX], tkey[VMS_CAT_KEY_BYTES_MAX];
	unsigned n = v->snap ? 1 : 2;

	gw_vol_key(v, vkey);
	vms_pr_key(tkey, v->rec.uuid);
	v->gw->cat->ops->txn(
		v->gw->cat, (struct vms_cat_cmp[]){{tkey, r->table_rev}, {vkey, r->rec_rev}}, 2,
		(struct vms_cat_op[]){{tkey, r->table_text, 0}, {vkey, r->rec_text, 0}}, n,
		put_done, r);
}

/* ---- who has to take it ---- */

static void openers_got(void *arg, const struct vms_cat_reply *re)
{
	struct gw_pr_run *r = arg;
	struct gw_pr *p = r->p;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_open o;

	if (re->status || re->revision < p->rev) {
		/* without the catalog nobody can have acknowledged anything */
		r->wait_ms = run_gw(r)->now_ms;
		run_later(r, PR_OPENERS, re->status ? GW_CAT_RETRY_MS : STALE_MS);
		return;
	}
	for (unsigned i = 0; i < re->nkv && r->nopeners < GW_PR_OPENERS_MAX; i++) {
		if (vms_cat_open_decode(&re->kv[i], &o, NULL))
			continue;
		r->opener[r->nopeners].gateway = o.gateway;
		r->opener[r->nopeners++].incarnation = o.incarnation;
	}
	if (re->more && re->nkv) {
		gw_vol_open_prefix(p->v, prefix);
		run_gw(r)->cat->ops->range(run_gw(r)->cat, prefix, re->kv[re->nkv - 1].key,
					   openers_got, r);
		return;
	}
	r->look_ms = run_gw(r)->now_ms + LOOK_MS;
	run_next(r, PR_WAIT);
}

static void sessions_told(void *arg, const struct vms_msg *m)
{
	struct gw_pr_run *r = arg;
	json_t *list = m->npayload ? vms_admin_json(m)
				   : json_loadb((const char *)m->body, m->body_bytes, 0, NULL);
	json_t *s;
	size_t i;

	/* a list that nobody can read proves nothing */
	r->live |= !json_is_array(list);
	json_array_foreach (list, i, s)
		r->live |= (uint64_t)json_integer_value(json_object_get(s, "gateway")) ==
				   r->silent &&
			   json_is_true(json_object_get(s, "live"));
	json_decref(list);
}

static void shut_done(void *arg)
{
	struct gw_pr_run *r = arg;

	/* its successor has its own time to answer */
	r->wait_ms = run_gw(r)->now_ms;
	run_next(r, PR_OPENERS);
}

static void shut_out(struct gw_pr_run *r)
{
	struct vms_gw_vol *v = r->p->v;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (v->snap)
		vms_cat_key_snapopen(key, v->rec.id, v->read_gen, r->silent);
	else
		vms_cat_key_open(key, v->rec.id, r->silent);
	r->busy = false;
	r->step = PR_FENCE;
	r->fencing.done = shut_done;
	r->fencing.arg = r;
	gw_fence_start(&r->fencing, v->gw, r->silent, r->silent_incarnation, r->live, key);
}

static void sessions_done(void *arg, int status)
{
	struct gw_pr_run *r = arg;
	struct vms_gw *gw = run_gw(r);
	bool dead = !status && !r->live;

	r->asked_ms = gw->now_ms;
	if (r->job->kind == GW_PR_DOUBT && !r->fence) {
		if (dead) {
			shut_out(r);
		} else { /* it has what it has */
			job_done(r->p);
		}
		return;
	}
	if (!dead && gw->now_ms - r->wait_ms < (uint64_t)SHUT_T_OP * gw->tm.t_op_ms) {
		run_next(r, PR_WAIT);
		return;
	}
	r->live = !dead;
	shut_out(r);
}

/* Does a process of this gateway live, as far as the nodes know? */
static void ask_sessions(struct gw_pr_run *r, uint32_t gateway, uint64_t incarnation)
{
	/* as a process takes it, and as its core does (the simulator has no more) */
	static const char call[] = "{\"call\":\"sessions\"}", what[] = "{\"what\":\"sessions\"}";
	static const struct vms_iov iov = {call, sizeof(call) - 1};
	const struct vms_msg m = {.type = VMS_MSG_ADMIN,
				  .flags = VMS_F_PAYLOAD_CRC,
				  .partition = VMS_PART_NONE,
				  .incarnation = run_gw(r)->incarnation,
				  .body = (const uint8_t *)what,
				  .body_bytes = sizeof(what) - 1,
				  .payload = &iov,
				  .npayload = 1,
				  .payload_bytes = sizeof(call) - 1};

	r->silent = gateway;
	r->silent_incarnation = incarnation;
	r->live = false;
	r->busy = false;
	r->step = PR_ALIVE;
	r->ask.reply = sessions_told;
	r->ask.done = sessions_done;
	r->ask.arg = r;
	gw_ask_start(&r->ask, run_gw(r), &m, r->p->rev, SESSIONS_MS);
}

static bool has_taken(const struct gw_pr_run *r, unsigned i)
{
	const struct gw_pr *p = r->p;
	uint32_t g = r->opener[i].gateway;

	if (g == p->v->gw->id)
		return p->settled >= r->fence && r->opener[i].incarnation == p->v->gw->incarnation;
	return g < VMS_GATEWAYS_MAX && p->acks[g].incarnation == r->opener[i].incarnation &&
	       p->acks[g].fence >= r->fence;
}

/* Of a session with RESERVE: is its gateway still there? */
static void look_for_owner(struct gw_pr_run *r)
{
	const struct vms_pr_owner *o = &r->job->owner;

	for (unsigned i = 0; i < r->nopeners; i++)
		if (r->opener[i].gateway == o->gateway &&
		    r->opener[i].incarnation == o->incarnation) {
			ask_sessions(r, o->gateway, o->incarnation);
			return;
		}
	decide(r);
}

static void look_for_silent(struct gw_pr_run *r)
{
	struct vms_gw *gw = run_gw(r);
	const struct vms_pr *t = &r->p->table;
	unsigned i = 0;

	/* Somebody has said that it is over, all had taken it then. Who has opened the
	 * volume since acknowledges nothing and is not to be waited for. */
	if (!t->pending || t->fence != r->fence) {
		run_next(r, PR_OVER);
		return;
	}
	while (i < r->nopeners && (has_taken(r, i) || gw_mutant(gw, VMS_GWM_PR_EARLY)))
		i++;
	if (i == r->nopeners) {
		run_next(r, r->p->v->snap ? PR_OVER : PR_FLOOR);
		return;
	}
	if (gw->now_ms >= r->look_ms) { /* it may have closed */
		run_next(r, PR_OPENERS);
		return;
	}
	gw_wake_at(gw, r->look_ms);
	/* we ourselves only wait for commands to end */
	if (gw->now_ms - r->wait_ms >= SILENT_MS && gw->now_ms - r->asked_ms >= SILENT_MS &&
	    (r->opener[i].gateway != gw->id || r->opener[i].incarnation != gw->incarnation))
		ask_sessions(r, r->opener[i].gateway, r->opener[i].incarnation);
}

/* ---- its end ---- */

static void floors_done(void *arg, int status)
{
	struct gw_pr_run *r = arg;

	/* All gateways have taken the table; what they had let through before is too old by
	 * now, wherever its primary is. */
	(void)status;
	run_next(r, PR_OVER);
}

static void floors(struct gw_pr_run *r)
{
	struct vms_gw *gw = run_gw(r);
	const struct vms_msg m = {.type = VMS_MSG_FLOOR,
				  .partition = VMS_PART_NONE,
				  .incarnation = gw->incarnation,
				  .branch = r->p->v->rec.branch,
				  .lun_fence = r->fence};

	r->ask.reply = NULL;
	r->ask.done = floors_done;
	r->ask.arg = r;
	gw_ask_start(&r->ask, gw, &m, r->p->rev, 2 * gw->tm.t_op_ms + gw->tm.lease_ms);
}

static void over_done(void *arg, const struct vms_cat_reply *re)
{
	struct gw_pr_run *r = arg;

	(void)re; /* somebody else may have said so; who finds it under way says it again */
	if (r->finishes) {
		r->finishes = false;
		if (r->job->kind != GW_PR_FINISH) {
			run_next(r, PR_VOLUME);
			return;
		}
		run_gw(r)->st.pr_finished++;
	}
	job_done(r->p);
}

static void over(struct gw_pr_run *r)
{
	struct gw_pr *p = r->p;
	char key[VMS_CAT_KEY_BYTES_MAX], *text;
	struct vms_pr t;

	if (r->decided)
		answer_good(p, r->job);
	if (!p->table.pending || p->table.fence != r->fence) {
		over_done(r, NULL);
		return;
	}
	vms_pr_copy(&t, &p->table);
	t.pending = false;
	text = vms_pr_encode(&t);
	vms_pr_free(&t);
	vms_assert(text);
	vms_pr_key(key, p->v->rec.uuid);
	p->v->gw->cat->ops->txn(p->v->gw->cat, &(struct vms_cat_cmp){key, p->rev}, 1,
				&(struct vms_cat_op){key, text, 0}, 1, over_done, r);
	free(text);
}

/* ---- driving ---- */

static void run_go(struct gw_pr_run *r)
{
	struct vms_gw_vol *v = r->p->v;
	struct vms_catalog *cat = v->gw->cat;
	char key[VMS_CAT_KEY_BYTES_MAX];

	if (r->busy)
		return;
	if (v->gw->now_ms < r->retry_ms) {
		gw_wake_at(v->gw, r->retry_ms);
		return;
	}
	switch (r->step) {
	case PR_VOLUME:
		r->busy = true;
		gw_vol_key(v, key);
		cat->ops->get(cat, key, volume_got, r);
		break;
	case PR_TABLE:
		r->busy = true;
		vms_pr_key(key, v->rec.uuid);
		cat->ops->get(cat, key, table_got, r);
		break;
	case PR_PUT:
		r->busy = true;
		put(r);
		break;
	case PR_OPENERS:
		r->busy = true;
		r->nopeners = 0;
		gw_vol_open_prefix(v, key);
		cat->ops->range(cat, key, NULL, openers_got, r);
		break;
	case PR_WAIT:
		if (r->fence)
			look_for_silent(r);
		else
			look_for_owner(r);
		break;
	case PR_FLOOR:
		if (!r->ask.gw)
			floors(r);
		break;
	case PR_OVER:
		r->busy = true;
		over(r);
		break;
	case PR_ALIVE:
	case PR_FENCE: /* they come back by themselves */
		break;
	}
}

/* A command does not wait for ever: BUSY while surely nothing has happened. */
static void run_deadline(struct gw_pr *p)
{
	struct vms_gw *gw = p->v->gw;

	for (struct gw_pr_job *j = p->jobs; j; j = j->next) {
		bool first = j == p->jobs && p->run;
		bool sent = first && (p->run->maybe || p->run->decided ||
				      (p->run->step == PR_PUT && p->run->busy));
		uint64_t at = j->since_ms +
			      (uint64_t)gw->tm.t_op_ms * (sent ? UNKNOWN_T_OP : BUSY_T_OP);

		if (!j->cmd)
			continue;
		if (gw->now_ms < at) {
			gw_wake_at(gw, at);
			continue;
		}
		if (sent)
			gw->st.pr_unknown++;
		answer_err(p, j,
			   sent && !gw_mutant(gw, VMS_GWM_PR_BUSY) ? VMS_E_TIMEOUT : VMS_E_BUSY);
	}
}

/* Somebody asked for it, and may no longer want it. */
static bool of_somebody(const struct gw_pr_job *j)
{
	return j->kind == GW_PR_COMMAND || j->kind == GW_PR_RESET || j->kind == GW_PR_CLEAR;
}

void gw_pr_run_kick(struct gw_pr *p)
{
	struct gw_pr_run *r = p->run;

	run_deadline(p);
	/* answered while nothing of it was decided: what is left of the run has no purpose */
	if (r && of_somebody(r->job) && !r->job->cmd && !r->decided && !r->finishes) {
		job_done(p);
		r = p->run;
	}
	if (!r && p->jobs && p->v->state == GV_OPEN) {
		r = p->run = calloc(1, sizeof(*r));
		vms_assert(r);
		r->p = p;
		r->job = p->jobs;
		r->step = PR_VOLUME;
	}
	if (!r)
		return;
	gw_fence_timer(&r->fencing);
	if (p->run == r)
		run_go(r);
}

void gw_pr_job_add(struct gw_pr *p, enum gw_pr_kind kind, struct vms_gw_pr_cmd *cmd,
		   const struct vms_pr_owner *owner)
{
	struct gw_pr_job *j = calloc(1, sizeof(*j));

	vms_assert(j);
	j->kind = kind;
	j->cmd = cmd;
	if (owner)
		j->owner = *owner;
	j->since_ms = p->v->gw->now_ms;
	*p->jobs_tail = j;
	p->jobs_tail = &j->next;
	p->v->gw->kick = true;
	gw_wake_at(p->v->gw, p->v->gw->now_ms);
}

/* ---- the caller's ---- */

static void job_new(struct vms_gw *gw, enum gw_pr_kind kind, struct vms_gw_pr_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	const struct vms_sense_cmd sc = {.write = false};
	struct gw_pr_job j = {.cmd = cmd};

	cmd->in = NULL;
	cmd->in_bytes = 0;
	if (gw->phase != GP_RUN || v->state != GV_OPEN || v->gone) {
		vms_sense_from_err(&cmd->sense, v->gone ? VMS_E_NOENT : VMS_E_STOPPING, &sc);
		answer(gw, &j);
		return;
	}
	gw_pr_job_add(v->pr, kind, cmd, NULL);
}

void vms_gw_pr_submit(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	job_new(gw, GW_PR_COMMAND, cmd);
}

void vms_gw_pr_reset(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	job_new(gw, GW_PR_RESET, cmd);
}

void vms_gw_pr_clear_tasks(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	job_new(gw, GW_PR_CLEAR, cmd);
}

void vms_gw_pr_abort(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	struct gw_pr *p = cmd->vol->pr;

	(void)gw;
	for (struct gw_pr_job *j = p ? p->jobs : NULL; j; j = j->next) {
		bool first = j == p->jobs && p->run;

		if (j->cmd != cmd)
			continue;
		if (first && (p->run->maybe || p->run->decided || p->run->step == PR_PUT))
			return; /* it may happen: how it ends will be told */
		answer_err(p, j, VMS_E_CANCELLED);
		p->v->gw->kick = true;
		gw_wake_at(p->v->gw, p->v->gw->now_ms);
		return;
	}
}

void vms_gw_pr_forget(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd)
{
	struct gw_pr *p = cmd->vol->pr;

	for (struct gw_pr_job *j = p ? p->jobs : NULL; j; j = j->next)
		if (j->cmd == cmd)
			j->cmd = NULL;
	for (struct vms_gw_pr_cmd **at = &gw->pr_done; *at;) {
		if (*at == cmd)
			*at = cmd->next;
		else
			at = &(*at)->next;
		if (!*at)
			gw->pr_done_tail = at;
	}
}
