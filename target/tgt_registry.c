// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cluster's targets and accounts on this tgtd, see tgt_registry.h.
 *
 * For each target there is what has been made here (`made`), and what ought to be: the
 * catalog's record, or the one a tgtadm wants. vms_reg_steps() leads from one to the
 * other; each step that tgt has done is done on `made` too, so the walk can be broken
 * off and begun again at any point. LUNs take their time (their volumes are opened);
 * nobody is admitted while one is on its way.
 *
 * A LUN that cannot be made (its volume is gone, say) is left out, logged, and tried
 * again every 5 s; an account that cannot be bound keeps the target closed: better
 * nobody than everybody.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "list.h"
#include "util.h"
#include "tgtd.h"
#include "target.h"
#include "driver.h"
#include "tgtadm.h"

#include "target/reg_sync.h"
#include "target/secret.h"
#include "target/tgt_glue.h"
#include "target/tgt_registry.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#undef eprintf
#undef dprintf

#define RETRY_MS  5000
#define SETTLE_MS 10000 /* initiators wait for LUNs at start, at most */
#define ANSWER_MS 25000 /* a tgtadm waits, at most */
#define LATER	  1	/* a walk stops: something is on its way */
#define FAILED	  2

/* A LUN that could not be made. */
struct skip {
	uint64_t lun;
	int64_t until_ms;
	struct skip *next;
};

/* vms_reg_entry.priv of a target. */
struct made {
	struct vms_reg_entry *e;
	json_t *now; /* what tgt has; NULL: nothing */
	struct skip *skips;
	unsigned pending;
	int64_t retry_ms;
	bool dirty;
	int err; /* of the walk, for the tgtadm */
	char why[512];
};

/* A request of tgtadm. */
struct job {
	struct mgmt_task *mtask;
	struct vms_reg_entry *e; /* target; NULL: account */
	char name[256];		 /* of target or user */
	uint32_t tid;
	json_t *rec;   /* wanted; NULL: deleted */
	char *options; /* bsopts of the LUN it makes */
	uint64_t option_lun;
	int64_t since_ms;
	bool force, started, written;
	struct job *next;
};

/* One LUN on its way. */
struct lunop {
	struct made *m;
	uint64_t lun;
	bool make;
	char volume[256];
};

static struct {
	struct vms_reg_sync *s;
	const struct vms_reg_bs *bs;
	struct job *jobs; /* the first is being worked on */
	bool have_key, settled, accounts_due;
	uint8_t key[VMS_SECRET_KEY_BYTES];
	char key_path[256];
	int64_t now_ms, open_ms;
	int lld;
} r;

/* ---- steps ---- */

static struct made *made_of(struct vms_reg_entry *e)
{
	if (!e->priv) {
		struct made *m = calloc(1, sizeof(*m));

		vms_assert(m);
		m->e = e;
		e->priv = m;
	}
	return e->priv;
}

static json_t *goal_of(struct made *m)
{
	struct job *j = r.jobs;

	if (j && j->started && !j->written && j->e == m->e)
		return j->rec;
	return m->e->value;
}

static bool is_jobs(struct made *m)
{
	return r.jobs && r.jobs->started && r.jobs->e == m->e;
}

static int step_failed(struct made *m, int err, const char *what)
{
	m->err = err ? err : TGTADM_UNKNOWN_ERR;
	snprintf(m->why, sizeof(m->why), "%s", what);
	return FAILED;
}

static struct skip *skip_of(struct made *m, uint64_t lun)
{
	struct skip *k = m->skips;

	while (k && k->lun != lun)
		k = k->next;
	return k;
}

static void skip_forget(struct made *m, uint64_t lun)
{
	struct skip **at = &m->skips, *k;

	while ((k = *at)) {
		if (k->lun == lun) {
			*at = k->next;
			free(k);
		} else {
			at = &k->next;
		}
	}
}

static void lun_done(void *arg, int err, const char *why)
{
	struct lunop *o = arg;
	struct made *m = o->m;
	struct vms_errmsg e;

	m->pending--;
	m->dirty = true;
	if (!err && o->make) {
		skip_forget(m, o->lun);
		(void)vms_reg_add_lun(m->now, o->lun, o->volume, &e);
	} else if (!err) {
		(void)vms_reg_remove_lun(m->now, o->lun, &e);
	} else if (is_jobs(m)) {
		step_failed(m, err, why);
	} else {
		struct skip *k = skip_of(m, o->lun);

		vms_error("target %s: LUN %" PRIu64
			  " (%s) cannot be %s, tried again in %d s: %s",
			  m->e->name, o->lun, o->volume, o->make ? "made" : "deleted",
			  RETRY_MS / 1000, why);
		if (!k) {
			k = calloc(1, sizeof(*k));
			vms_assert(k);
			k->lun = o->lun;
			k->next = m->skips;
			m->skips = k;
		}
		k->until_ms = r.now_ms + RETRY_MS;
	}
	free(o);
}

static int lun_step(struct made *m, const struct vms_reg_step *s)
{
	bool make = s->what == VMS_RS_LUN_NEW;
	struct skip *k = skip_of(m, s->lun);
	struct lunop *o;
	const char *options = NULL;

	if (k && !is_jobs(m) && k->until_ms > r.now_ms)
		return 0;
	o = calloc(1, sizeof(*o));
	vms_assert(o);
	o->m = m;
	o->lun = s->lun;
	o->make = make;
	snprintf(o->volume, sizeof(o->volume), "%s",
		 make				  ? s->a
		 : vms_reg_volume(m->now, s->lun) ? vms_reg_volume(m->now, s->lun)
						  : "");
	m->pending++;
	if (!make) {
		r.bs->lun_delete((int)s->tid, s->lun, lun_done, o);
		return 0;
	}
	if (is_jobs(m) && r.jobs->options && r.jobs->option_lun == s->lun)
		options = r.jobs->options;
	r.bs->lun_new((int)s->tid, s->lun, s->a, options, lun_done, o);
	return m->err && is_jobs(m) ? FAILED : 0;
}

static int param_step(const struct vms_reg_step *s)
{
	char buf[600];

	if (s->what == VMS_RS_LUN_PARAM) {
		snprintf(buf, sizeof(buf), "%s=%s", s->a, s->b);
		return tgt_device_update((int)s->tid, s->lun, buf);
	}
	memset(buf, 0, sizeof(buf));
	snprintf(buf, sizeof(buf) - 2, "%s", s->a);
	snprintf(buf + strlen(buf) + 1, sizeof(buf) - strlen(buf) - 2, "%s", s->b);
	return tgt_drivers[r.lld]->update(MODE_TARGET, OP_UPDATE, (int)s->tid, 0, 0, 0,
					  buf);
}

static int bind_step(const struct vms_reg_step *s, bool on)
{
	char what[256];
	int tid = (int)s->tid;

	snprintf(what, sizeof(what), "%s", s->a);
	switch (s->list) {
	case VMS_REG_ADDRESSES:
		return on ? acl_add(tid, what) : acl_del(tid, what);
	case VMS_REG_NAMES:
		return on ? iqn_acl_add(tid, what) : iqn_acl_del(tid, what);
	default:
		return account_ctl(tid, ACCOUNT_TYPE_INCOMING, what, on);
	}
}

/* The same on m->now. */
static void note(struct made *m, const struct vms_reg_step *s)
{
	struct vms_errmsg e;

	switch (s->what) {
	case VMS_RS_TARGET_NEW:
		m->now = vms_reg_new(s->a, s->tid);
		vms_assert(m->now);
		break;
	case VMS_RS_TARGET_DELETE:
		json_decref(m->now);
		m->now = NULL;
		break;
	case VMS_RS_BIND:
		(void)vms_reg_bind(m->now, s->list, s->a, &e);
		break;
	case VMS_RS_UNBIND:
		(void)vms_reg_unbind(m->now, s->list, s->a, &e);
		break;
	case VMS_RS_USER_OUT:
		(void)vms_reg_set_user_out(m->now, s->a, &e);
		break;
	case VMS_RS_USER_OUT_OFF:
		(void)vms_reg_set_user_out(m->now, NULL, &e);
		break;
	case VMS_RS_STATE:
		vms_reg_set_offline(m->now, !strcmp(s->a, "offline"));
		break;
	case VMS_RS_PARAM:
		(void)vms_reg_set_param(m->now, s->a, s->b, &e);
		break;
	case VMS_RS_LUN_PARAM:
		(void)vms_reg_set_lun_param(m->now, s->lun, s->a, s->b, &e);
		break;
	default:
		break;
	}
}

static int do_step(void *arg, const struct vms_reg_step *s)
{
	struct made *m = arg;
	char buf[300];
	int rc = 0, tid = (int)s->tid;

	switch (s->what) {
	case VMS_RS_LUN_NEW:
	case VMS_RS_LUN_DELETE:
		return lun_step(m, s);
	case VMS_RS_TARGET_NEW:
		snprintf(buf, sizeof(buf), "targetname=%s", s->a);
		rc = tgt_target_create(r.lld, tid, buf);
		if (rc)
			snprintf(buf, sizeof(buf), "target %d (%s) cannot be made here",
				 tid, s->a);
		break;
	case VMS_RS_TARGET_DELETE:
		if (m->pending)
			return LATER;
		rc = tgt_target_destroy(r.lld, tid, 1);
		if (rc == TGTADM_TARGET_ACTIVE) {
			/* its sessions have been closed, their commands are ending */
			m->retry_ms = r.now_ms + 100;
			return LATER;
		}
		snprintf(buf, sizeof(buf), "target %d cannot be deleted here", tid);
		break;
	case VMS_RS_LUN_PARAM:
		if (!vms_reg_volume(m->now, s->lun))
			return m->pending ? LATER : 0; /* left out */
		rc = param_step(s);
		snprintf(buf, sizeof(buf), "LUN %" PRIu64 " does not take %s=%s", s->lun,
			 s->a, s->b);
		break;
	case VMS_RS_PARAM:
		rc = param_step(s);
		snprintf(buf, sizeof(buf), "target %d does not take %s=%s", tid, s->a,
			 s->b);
		break;
	case VMS_RS_STATE:
		snprintf(buf, sizeof(buf), "%s", s->a);
		rc = tgt_set_target_state(tid, buf);
		snprintf(buf, sizeof(buf), "target %d does not go %s", tid, s->a);
		break;
	case VMS_RS_USER_OUT:
	case VMS_RS_USER_OUT_OFF:
		snprintf(buf, sizeof(buf), "%s", s->a);
		rc = account_ctl(tid, ACCOUNT_TYPE_OUTGOING, buf,
				 s->what == VMS_RS_USER_OUT);
		snprintf(buf, sizeof(buf),
			 "account %s cannot be bound: there is none of that name here",
			 s->a);
		break;
	case VMS_RS_BIND:
		if (m->pending)
			return LATER;
		rc = bind_step(s, true);
		snprintf(
		    buf, sizeof(buf), "'%s' cannot be bound to target %d%s", s->a, tid,
		    s->list == VMS_REG_USERS ? ": there is no account of that name here"
					     : "");
		break;
	case VMS_RS_UNBIND:
		rc = bind_step(s, false);
		snprintf(buf, sizeof(buf), "'%s' cannot be unbound from target %d", s->a,
			 tid);
		break;
	}
	if (rc)
		return step_failed(m, rc, buf);
	note(m, s);
	return 0;
}

/* As far as it goes now. True: tgt has what it ought to have. */
static bool walk(struct made *m)
{
	json_t *from = m->now ? json_deep_copy(m->now) : NULL, *to = goal_of(m);
	int rc;

	json_incref(to);
	m->dirty = false;
	m->err = 0;
	m->retry_ms = 0;
	rc = m->pending ? LATER : vms_reg_steps(from, to, do_step, m);
	json_decref(from);
	json_decref(to);
	if (rc == FAILED && !is_jobs(m)) {
		vms_error("target %s: %s; tried again in %d s", m->e->name, m->why,
			  RETRY_MS / 1000);
		m->retry_ms = r.now_ms + RETRY_MS;
	}
	for (struct skip *k = m->skips; k; k = k->next)
		if (!m->retry_ms || k->until_ms < m->retry_ms)
			m->retry_ms = k->until_ms;
	return !rc && !m->pending;
}

/* ---- accounts ---- */

static void accounts_work(void)
{
	struct vms_reg_entry *e;
	struct vms_errmsg msg;
	char user[256], secret[VMS_SECRET_BYTES_MAX + 1];

	for (unsigned i = 0; (e = vms_reg_account_at(r.s, i)); i++) {
		if (!e->changed)
			continue;
		e->changed = false;
		snprintf(user, sizeof(user), "%s", e->name);
		if (!e->value) {
			(void)account_del(user);
			continue;
		}
		if (!r.have_key) {
			vms_error("account %s of the cluster cannot be used here: no "
				  "secrets_key in the configuration",
				  user);
			continue;
		}
		if (vms_secret_open(
			r.key, user,
			json_string_value(json_object_get(e->value, "sealed")), secret,
			&msg))
			vms_error("%s", msg.text);
		else if (account_set(user, secret))
			vms_error("account %s: out of memory", user);
		memset(secret, 0, sizeof(secret));
	}
}

/* ---- jobs ---- */

static void job_end(int err, const char *why)
{
	struct job *j = r.jobs;

	r.jobs = j->next;
	if (j->e)
		made_of(j->e)->dirty = true;
	if (err && why && why[0])
		tgt_adm_say("%s", why);
	mtask_complete(j->mtask, err);
	json_decref(j->rec);
	free(j->options);
	free(j);
}

static void job_written(void *arg, int status, const char *why)
{
	char text[400];

	(void)arg;
	if (!r.jobs)
		return;
	if (!status) {
		job_end(0, NULL);
		return;
	}
	if (status == VMS_E_CONFLICT)
		snprintf(text, sizeof(text),
			 "%s was changed through another gateway at the same moment: "
			 "look at it, and repeat",
			 r.jobs->name);
	else if (status == VMS_E_EXIST)
		snprintf(text, sizeof(text),
			 "target number %u is taken in the cluster: choose another --tid",
			 r.jobs->tid);
	else
		snprintf(text, sizeof(text),
			 "the catalog did not confirm it (%s): it may or may not hold; "
			 "look again with --op show",
			 why);
	job_end(TGTADM_UNKNOWN_ERR, text);
}

static void job_work(void)
{
	struct job *j = r.jobs;
	struct made *m;

	if (!j || j->written)
		return;
	if (!j->started) {
		if (j->e && made_of(j->e)->pending)
			return;
		j->started = true;
	}
	m = made_of(j->e);
	if (m->err) {
		job_end(m->err, m->why);
		m->err = 0;
		return;
	}
	if (walk(m)) {
		j->written = true;
		vms_reg_put_target(r.s, j->name, j->tid, j->rec, j->e->rev, job_written,
				   NULL);
	} else if (m->err) {
		job_end(m->err, m->why);
		m->err = 0;
	} else if (r.now_ms - j->since_ms > ANSWER_MS) {
		job_end(TGTADM_UNKNOWN_ERR, "it took too long on this gateway; nothing "
					    "was changed in the cluster");
	}
}

static void job_add(struct job *j)
{
	struct job **at = &r.jobs;

	while (*at)
		at = &(*at)->next;
	j->since_ms = r.now_ms;
	*at = j;
}

/* ---- requests of tgtadm ---- */

static bool param(const char *params, const char *name, char *out, size_t room)
{
	size_t n = strlen(name);

	for (const char *p = params; *p; p += strcspn(p, ",")) {
		if (*p == ',')
			p++;
		if (!strncmp(p, name, n) && p[n] == '=') {
			size_t len = strcspn(p + n + 1, ",");

			if (len >= room)
				return false;
			memcpy(out, p + n + 1, len);
			out[len] = 0;
			return true;
		}
	}
	return false;
}

static int say(const struct vms_errmsg *e, int err)
{
	tgt_adm_say("%s", e->text);
	return err;
}

static int target_new(struct mgmt_task *mtask, const struct tgtadm_req *req,
		      const char *params)
{
	char name[VMS_REG_NAME_MAX + 2];
	struct vms_reg_entry *e;
	struct vms_errmsg msg;
	struct job *j;

	if (!param(params, "targetname", name, sizeof(name))) {
		tgt_adm_say(
		    "a target needs a name of at most %u characters: --targetname IQN",
		    VMS_REG_NAME_MAX);
		return TGTADM_INVALID_REQUEST;
	}
	if (vms_reg_name_check(name, &msg))
		return say(&msg, TGTADM_INVALID_REQUEST);
	if (req->tid < 1 || req->tid > (int)VMS_REG_TID_MAX) {
		tgt_adm_say("target numbers (--tid) go from 1 to %u", VMS_REG_TID_MAX);
		return TGTADM_INVALID_REQUEST;
	}
	e = vms_reg_target_by_tid(r.s, (uint32_t)req->tid);
	if (e) {
		tgt_adm_say("target number %d is %s, in the whole cluster", req->tid,
			    e->name);
		return TGTADM_TARGET_EXIST;
	}
	e = vms_reg_target(r.s, name);
	if (e && e->value) {
		tgt_adm_say("%s is target number %u, in the whole cluster", name,
			    vms_reg_tid(e->value));
		return TGTADM_TARGET_EXIST;
	}
	if (!e)
		e = vms_reg_target_make(r.s, name);
	j = calloc(1, sizeof(*j));
	if (!j || !(j->rec = vms_reg_new(name, (uint32_t)req->tid))) {
		free(j);
		return TGTADM_NOMEM;
	}
	j->mtask = mtask;
	j->e = e;
	j->tid = (uint32_t)req->tid;
	snprintf(j->name, sizeof(j->name), "%s", name);
	job_add(j);
	return TGT_MGMT_PENDING;
}

static int target_update(json_t *rec, const char *params, struct vms_errmsg *msg)
{
	char name[256];
	const char *v = strchr(params, '=');

	if (!v || (size_t)(v - params) >= sizeof(name))
		return vms_fail(msg, VMS_E_INVAL,
				"--name PARAMETER --value VALUE are needed");
	memcpy(name, params, (size_t)(v - params));
	name[v - params] = 0;
	v++;
	if (!strcmp(name, "state")) {
		if (strcmp(v, "offline") && strcmp(v, "ready"))
			return vms_fail(msg, VMS_E_INVAL,
					"state is 'ready' or 'offline', not '%s'", v);
		vms_reg_set_offline(rec, !strcmp(v, "offline"));
		return 0;
	}
	if (!strcmp(name, "redirect")) {
		if (strcmp(v, "off") && strcmp(v, "on"))
			return vms_fail(msg, VMS_E_INVAL,
					"redirect is 'on' or 'off', not '%s'", v);
		vms_reg_set_redirect(rec, !strcmp(v, "on"));
		return 0;
	}
	return vms_reg_set_param(rec, name, v, msg);
}

/* --op bind and unbind of addresses and names. */
static int acl_change(json_t *rec, const struct tgtadm_req *req, const char *params,
		      struct vms_errmsg *msg)
{
	static const char *const word[] = {"initiator-address", "initiator-name"};
	char what[256];
	int rc = VMS_E_INVAL;

	for (unsigned l = 0; l < 2; l++) {
		if (!param(params, word[l], what, sizeof(what)))
			continue;
		rc = req->op == OP_BIND
			 ? vms_reg_bind(rec, (enum vms_reg_list)l, what, msg)
			 : vms_reg_unbind(rec, (enum vms_reg_list)l, what, msg);
		if (rc)
			return rc;
	}
	return rc ? vms_fail(msg, rc, "--initiator-address or --initiator-name is needed")
		  : 0;
}

static int lun_change(struct job *j, const struct tgtadm_req *req, const char *params,
		      struct vms_errmsg *msg)
{
	char volume[256], name[256], value[256], buf[1024], *p = buf, *opt;

	j->option_lun = req->lun;
	switch (req->op) {
	case OP_NEW:
		if (!param(params, "path", volume, sizeof(volume)))
			return vms_fail(msg, VMS_E_INVAL,
					"--backing-store VOLUME is needed");
		if (param(params, "bsopts", buf, sizeof(buf)))
			j->options = strdup(buf);
		return vms_reg_add_lun(j->rec, req->lun, volume, msg);
	case OP_DELETE:
		return vms_reg_remove_lun(j->rec, req->lun, msg);
	case OP_UPDATE:
		snprintf(buf, sizeof(buf), "%s",
			 strncmp(params, "targetOps ", 10) ? params : params + 10);
		while ((opt = strsep(&p, ","))) {
			char *eq = strchr(opt, '=');
			int rc;

			if (!eq || eq - opt >= 256 || strlen(eq + 1) >= 256) {
				if (!opt[0])
					continue;
				return vms_fail(msg, VMS_E_INVAL, "'%s' is no name=value",
						opt);
			}
			*eq = 0;
			snprintf(name, sizeof(name), "%s", opt);
			snprintf(value, sizeof(value), "%s", eq + 1);
			rc = vms_reg_set_lun_param(j->rec, req->lun, name, value, msg);
			if (rc)
				return rc;
		}
		return 0;
	default:
		return vms_fail(msg, VMS_E_UNSUPPORTED, "no such operation on a LUN");
	}
}

static int account_change(json_t *rec, const struct tgtadm_req *req, const char *user,
			  struct vms_errmsg *msg)
{
	struct vms_reg_entry *a = vms_reg_account(r.s, user);

	if (req->op == OP_BIND && (!a || !a->value))
		return vms_fail(msg, VMS_E_NOENT, "there is no account %s in the cluster",
				user);
	if (req->ac_dir == ACCOUNT_TYPE_OUTGOING)
		return vms_reg_set_user_out(rec, req->op == OP_BIND ? user : NULL, msg);
	return req->op == OP_BIND ? vms_reg_bind(rec, VMS_REG_USERS, user, msg)
				  : vms_reg_unbind(rec, VMS_REG_USERS, user, msg);
}

static int err_of(int rc, int mode)
{
	switch (rc) {
	case VMS_E_EXIST:
		return mode == MODE_DEVICE ? TGTADM_LUN_EXIST : TGTADM_INVALID_REQUEST;
	case VMS_E_NOENT:
		return mode == MODE_DEVICE    ? TGTADM_NO_LUN
		       : mode == MODE_ACCOUNT ? TGTADM_NO_USER
					      : TGTADM_INVALID_REQUEST;
	case VMS_E_NOMEM:
		return TGTADM_NOMEM;
	default:
		return TGTADM_INVALID_REQUEST;
	}
}

/* A change of a target that exists. */
static int change(struct mgmt_task *mtask, const struct tgtadm_req *req,
		  const char *params)
{
	struct vms_reg_entry *e = vms_reg_target_by_tid(r.s, (uint32_t)req->tid);
	struct vms_errmsg msg = {""};
	char user[256];
	struct scsi_lu *lu;
	struct job *j;
	int rc = 0;

	if (!e) {
		tgt_adm_say("there is no target number %d in the cluster", req->tid);
		return TGTADM_NO_TARGET;
	}
	j = calloc(1, sizeof(*j));
	if (!j)
		return TGTADM_NOMEM;
	j->rec = json_deep_copy(e->value);
	vms_assert(j->rec);
	if (req->mode == MODE_DEVICE) {
		rc = lun_change(j, req, params, &msg);
	} else if (req->mode == MODE_ACCOUNT) {
		rc = param(params, "user", user, sizeof(user))
			 ? account_change(j->rec, req, user, &msg)
			 : vms_fail(&msg, VMS_E_INVAL, "--user is needed");
	} else if (req->op == OP_UPDATE) {
		rc = target_update(j->rec, params, &msg);
	} else if (req->op == OP_BIND || req->op == OP_UNBIND) {
		rc = acl_change(j->rec, req, params, &msg);
	} else if (req->op == OP_DELETE) {
		lu = tgt_lu_find(req->tid, 0);
		if (lu && !req->force && !list_empty(&lu->tgt->it_nexus_list)) {
			free(j->options);
			json_decref(j->rec);
			free(j);
			tgt_adm_say("initiators are logged in to %s on this gateway: "
				    "--force closes their sessions, on all gateways",
				    e->name);
			return TGTADM_TARGET_ACTIVE;
		}
		json_decref(j->rec);
		j->rec = NULL;
	}
	if (rc) {
		free(j->options);
		json_decref(j->rec);
		free(j);
		return say(&msg, err_of(rc, (int)req->mode));
	}
	j->mtask = mtask;
	j->e = e;
	j->tid = (uint32_t)req->tid;
	snprintf(j->name, sizeof(j->name), "%s", e->name);
	job_add(j);
	return TGT_MGMT_PENDING;
}

/* ---- accounts by tgtadm ---- */

struct account_job {
	struct mgmt_task *mtask;
	char user[256];
};

static void account_written(void *arg, int status, const char *why)
{
	struct account_job *a = arg;

	if (!status)
		accounts_work();
	else if (status == VMS_E_CONFLICT)
		tgt_adm_say("account %s was changed through another gateway at the same "
			    "moment: look, and repeat",
			    a->user);
	else
		tgt_adm_say("the catalog did not confirm it (%s): it may or may not hold",
			    why);
	mtask_complete(a->mtask, status ? TGTADM_UNKNOWN_ERR : 0);
	free(a);
}

static int account_put(struct mgmt_task *mtask, const char *user, const char *value,
		       uint64_t rev)
{
	struct account_job *a = calloc(1, sizeof(*a));

	if (!a)
		return TGTADM_NOMEM;
	a->mtask = mtask;
	snprintf(a->user, sizeof(a->user), "%s", user);
	vms_reg_put_account(r.s, user, value, rev, account_written, a);
	return TGT_MGMT_PENDING;
}

static int account_new(struct mgmt_task *mtask, const char *params)
{
	char user[256], sealed[VMS_SECRET_TEXT_MAX], *text;
	const char *at = strstr(params, ",password="), *secret = at ? at + 10 : "";
	uint8_t nonce[VMS_SECRET_NONCE_BYTES];
	struct vms_reg_entry *e;
	struct vms_errmsg msg;
	json_t *v;
	int rc;

	if (!param(params, "user", user, sizeof(user)) || !user[0] || !at)
		return TGT_MGMT_LOCAL; /* tgt says what is wrong */
	if (strlen(secret) < 12 || strlen(secret) > VMS_SECRET_BYTES_MAX)
		return TGT_MGMT_LOCAL;
	if (!r.have_key) {
		tgt_adm_say(
		    "accounts are kept by the whole cluster, sealed with a key: set "
		    "secrets_key = FILE in [cluster] of every gateway (vmstore.conf(5))");
		return TGTADM_INVALID_REQUEST;
	}
	e = vms_reg_account(r.s, user);
	if (e && e->value) {
		tgt_adm_say("account %s exists in the cluster", user);
		return TGTADM_USER_EXIST;
	}
	if (RAND_bytes(nonce, sizeof(nonce)) != 1) {
		tgt_adm_say("OpenSSL has no random numbers");
		return TGTADM_UNKNOWN_ERR;
	}
	rc = vms_secret_seal(r.key, nonce, user, secret, sealed, &msg);
	if (rc)
		return say(&msg, TGTADM_INVALID_REQUEST);
	v = json_pack("{s:s,s:s}", "user", user, "sealed", sealed);
	text = v ? json_dumps(v, JSON_COMPACT) : NULL;
	json_decref(v);
	if (!text) {
		tgt_adm_say("account %s: a name is UTF-8 text", user);
		return TGTADM_INVALID_REQUEST;
	}
	rc = account_put(mtask, user, text, 0);
	free(text);
	return rc;
}

static int account_delete(struct mgmt_task *mtask, const char *params)
{
	char user[256];
	struct vms_reg_entry *e, *t;

	if (!param(params, "user", user, sizeof(user)))
		return TGT_MGMT_LOCAL;
	e = vms_reg_account(r.s, user);
	if (!e || !e->value)
		return TGT_MGMT_LOCAL;
	for (unsigned i = 0; (t = vms_reg_target_at(r.s, i)); i++) {
		const char *out =
		    json_string_value(json_object_get(t->value, "user_out"));

		if (t->value && (vms_reg_has(t->value, VMS_REG_USERS, user) ||
				 (out && !strcmp(out, user)))) {
			tgt_adm_say(
			    "account %s is bound to target %u (%s): unbind it first",
			    user, vms_reg_tid(t->value), t->name);
			return TGTADM_INVALID_REQUEST;
		}
	}
	return account_put(mtask, user, NULL, e->rev);
}

int vms_registry_mgmt(struct mgmt_task *mtask, const struct tgtadm_req *req,
		      const char *params)
{
	char type[64];

	if (!vms_reg_sync_loaded(r.s)) {
		tgt_adm_say("this gateway does not know the cluster's targets yet (is "
			    "the catalog reachable?): try again");
		return TGTADM_UNKNOWN_ERR;
	}
	switch (req->mode) {
	case MODE_TARGET:
		if (req->op == OP_NEW)
			return target_new(mtask, req, params);
		return change(mtask, req, params);
	case MODE_DEVICE:
		if (req->op == OP_NEW && (!param(params, "bstype", type, sizeof(type)) ||
					  strcmp(type, "vmstore")))
			return TGT_MGMT_LOCAL;
		if (req->op != OP_NEW) {
			struct vms_reg_entry *e =
			    vms_reg_target_by_tid(r.s, (uint32_t)req->tid);

			if (!e || !vms_reg_volume(e->value, req->lun))
				return TGT_MGMT_LOCAL; /* this tgtd's own */
		}
		return change(mtask, req, params);
	case MODE_ACCOUNT:
		if (req->op == OP_NEW)
			return account_new(mtask, params);
		if (req->op == OP_DELETE)
			return account_delete(mtask, params);
		if (req->tid == (int)GLOBAL_TID)
			return TGT_MGMT_LOCAL; /* discovery */
		return change(mtask, req, params);
	default:
		return TGT_MGMT_LOCAL;
	}
}

/* ---- the owner's calls ---- */

int vms_registry_open(struct vms_catalog *cat, const char *key_path,
		      const struct vms_reg_bs *bs, struct vms_errmsg *msg)
{
	memset(&r, 0, sizeof(r));
	if (key_path) {
		int rc = vms_secret_key_load(key_path, r.key, msg);

		if (rc)
			return rc;
		r.have_key = true;
	}
	r.lld = get_driver_index("iscsi");
	r.bs = bs;
	r.now_ms = r.open_ms = tgt_turn_now_ms;
	r.s = vms_reg_sync_open(cat, (uint64_t)r.now_ms);
	return r.s ? 0 : vms_fail(msg, VMS_E_NOMEM, "out of memory");
}

void vms_registry_close(void)
{
	struct vms_reg_entry *e;

	if (!r.s)
		return;
	while (r.jobs)
		job_end(TGTADM_UNKNOWN_ERR, "tgtd is stopping");
	for (unsigned i = 0; (e = vms_reg_target_at(r.s, i)); i++) {
		struct made *m = e->priv;

		if (!m)
			continue;
		while (m->skips)
			skip_forget(m, m->skips->lun);
		json_decref(m->now);
		free(m);
	}
	vms_reg_sync_close(r.s);
	memset(&r, 0, sizeof(r));
}

bool vms_registry_active(void)
{
	return r.s != NULL;
}

void vms_registry_work(int64_t now_ms)
{
	struct vms_reg_entry *e;
	bool open = false;

	if (!r.s)
		return;
	r.now_ms = now_ms;
	vms_reg_sync_timer(r.s, (uint64_t)now_ms);
	if (!vms_reg_sync_loaded(r.s))
		return;
	if (vms_reg_sync_changed(r.s))
		accounts_work();
	job_work();
	for (unsigned i = 0; (e = vms_reg_target_at(r.s, i)); i++) {
		struct made *m = made_of(e);

		if (e->changed) {
			e->changed = false;
			m->dirty = true;
			while (m->skips)
				skip_forget(m, m->skips->lun);
		}
		if (is_jobs(m)) {
			open = true;
			continue;
		}
		if (m->dirty || (m->retry_ms && now_ms >= m->retry_ms))
			(void)walk(m);
		open |= m->dirty || m->pending;
	}
	if (!r.settled && (!open || now_ms - r.open_ms > SETTLE_MS)) {
		r.settled = true;
		r.bs->settled();
	}
}

json_t *vms_registry_json(void)
{
	struct vms_reg_entry *e;
	unsigned targets = 0, luns = 0, left = 0, accounts = 0;

	for (unsigned i = 0; r.s && (e = vms_reg_target_at(r.s, i)); i++) {
		struct made *m = e->priv;

		targets += e->value != NULL;
		luns += m && m->now ? vms_reg_luns(m->now) : 0;
		for (struct skip *k = m ? m->skips : NULL; k; k = k->next)
			left++;
	}
	for (unsigned i = 0; r.s && (e = vms_reg_account_at(r.s, i)); i++)
		accounts += e->value != NULL;
	return json_pack("{s:i,s:i,s:i,s:i}", "config.targets", targets, "config.luns", luns,
			 "config.luns_left_out", left, "config.accounts", accounts);
}
