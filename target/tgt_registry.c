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

#include "target/secret.h"
#include "target/tgt_glue.h"
#include "target/tgt_registry_int.h"
#include "target/vpd.h"
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
	bool have_key, settled;
	uint8_t key[VMS_SECRET_KEY_BYTES];
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

		vms_error("target %s: LUN %" PRIu64 " (%s) cannot be %s, tried again in %d s: %s",
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

static void account_released(const char *name);

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
	return tgt_drivers[r.lld]->update(MODE_TARGET, OP_UPDATE, (int)s->tid, 0, 0, 0, buf);
}

/* Back to what it is by default. */
static int param_off_step(struct made *m, const struct vms_reg_step *s)
{
	static const char *const usual[][2] = {{"online", "1"},
					       {"vendor_id", VMS_VPD_VENDOR},
					       {"product_id", VMS_VPD_PRODUCT},
					       {"product_rev", VMS_VPD_REVISION}};
	const char *volume = vms_reg_volume(m->now, s->lun);
	struct vms_reg_step to = *s;

	if (s->what == VMS_RS_PARAM_OFF) {
		to.what = VMS_RS_PARAM;
		to.b = "";
		return param_step(&to);
	}
	to.what = VMS_RS_LUN_PARAM;
	to.b = NULL;
	for (unsigned i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (!strcmp(s->a, usual[i][0]))
			to.b = usual[i][1];
	if (!strcmp(s->a, "readonly"))
		to.b = volume && strchr(volume, '@') ? "1" : "0";
	/* (a record of an earlier release may have others, which have no effect) */
	return to.b ? param_step(&to) : 0;
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
	case VMS_RS_PARAM_OFF:
		(void)vms_reg_set_param(m->now, s->a, NULL, &e);
		break;
	case VMS_RS_LUN_PARAM_OFF:
		(void)vms_reg_set_lun_param(m->now, s->lun, s->a, NULL, &e);
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
			snprintf(buf, sizeof(buf), "target %d (%s) cannot be made here", tid, s->a);
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
		snprintf(buf, sizeof(buf), "LUN %" PRIu64 " does not take %s=%s", s->lun, s->a,
			 s->b);
		if (!rc)
			r.bs->lun_param(tid, s->lun, s->a);
		break;
	case VMS_RS_PARAM_OFF:
	case VMS_RS_LUN_PARAM_OFF:
		rc = param_off_step(m, s);
		snprintf(buf, sizeof(buf), "target %d does not take %s back to its default", tid,
			 s->a);
		if (!rc && s->what == VMS_RS_LUN_PARAM_OFF)
			r.bs->lun_param(tid, s->lun, s->a);
		break;
	case VMS_RS_PARAM:
		rc = param_step(s);
		snprintf(buf, sizeof(buf), "target %d does not take %s=%s", tid, s->a, s->b);
		break;
	case VMS_RS_STATE:
		snprintf(buf, sizeof(buf), "%s", s->a);
		rc = tgt_set_target_state(tid, buf);
		snprintf(buf, sizeof(buf), "target %d does not go %s", tid, s->a);
		break;
	case VMS_RS_USER_OUT:
	case VMS_RS_USER_OUT_OFF:
		snprintf(buf, sizeof(buf), "%s", s->a);
		rc = account_ctl(tid, ACCOUNT_TYPE_OUTGOING, buf, s->what == VMS_RS_USER_OUT);
		snprintf(buf, sizeof(buf),
			 "account %s cannot be bound: there is none of that name here", s->a);
		break;
	case VMS_RS_BIND:
		if (m->pending)
			return LATER;
		rc = bind_step(s, true);
		snprintf(buf, sizeof(buf), "'%s' cannot be bound to target %d%s", s->a, tid,
			 s->list == VMS_REG_USERS ? ": there is no account of that name here" : "");
		break;
	case VMS_RS_UNBIND:
		rc = bind_step(s, false);
		snprintf(buf, sizeof(buf), "'%s' cannot be unbound from target %d", s->a, tid);
		break;
	}
	if (rc)
		return step_failed(m, rc, buf);
	note(m, s);
	if (s->what == VMS_RS_USER_OUT_OFF ||
	    (s->what == VMS_RS_UNBIND && s->list == VMS_REG_USERS))
		account_released(s->a);
	return 0;
}

/*
 * An account is to come to a target that is there: nobody is admitted before it is bound.
 * The walk may break off between the old account's end and the new one's beginning (a LUN
 * is opened, the account cannot be used here), and a target without accounts admits
 * everybody that its lists admit.
 */
static int close_door(struct made *m, const json_t *from, const json_t *to)
{
	const json_t *users = json_object_get(to, "users");
	bool comes = false;
	json_t *shut, *x;
	size_t i;
	int rc;

	if (!from || !to)
		return 0;
	json_array_foreach (users, i, x)
		comes |= !vms_reg_has(from, VMS_REG_USERS, json_string_value(x));
	if (!comes)
		return 0;
	shut = json_deep_copy(from);
	vms_assert(shut);
	json_array_clear(json_object_get(shut, "addresses"));
	json_array_clear(json_object_get(shut, "names"));
	rc = vms_reg_steps(from, shut, do_step, m);
	json_decref(shut);
	return rc;
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
	rc = m->pending ? LATER : close_door(m, from, to);
	if (!rc && m->now) {
		json_decref(from);
		from = json_deep_copy(m->now);
	}
	if (!rc)
		rc = vms_reg_steps(from, to, do_step, m);
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

/* Demands a target here this account, or answers with it? */
static bool is_bound(const char *user)
{
	struct vms_reg_entry *e;

	for (unsigned i = 0; (e = vms_reg_target_at(r.s, i)); i++) {
		const struct made *m = e->priv;
		const char *out = m ? json_string_value(json_object_get(m->now, "user_out")) : NULL;

		if ((m && m->now && vms_reg_has(m->now, VMS_REG_USERS, user)) ||
		    (out && !strcmp(out, user)))
			return true;
	}
	return false;
}

/* It is gone, or nobody knows its secret. While a target demands it, it stays, with a
 * secret that nobody has: a target that demands none admits everybody. */
static void account_lock(char *user)
{
	char hex[2 * 32 + 1];
	uint8_t random[32];

	if (!is_bound(user)) {
		(void)account_del(user);
		return;
	}
	vms_assert(RAND_bytes(random, sizeof(random)) == 1);
	for (unsigned i = 0; i < sizeof(random); i++)
		snprintf(hex + 2 * i, 3, "%02x", random[i]);
	if (account_set(user, hex))
		vms_error("account %s: out of memory", user);
	explicit_bzero(hex, sizeof(hex));
}

/* A target has let go of an account. */
static void account_released(const char *name)
{
	const struct vms_reg_entry *e = vms_reg_account(r.s, name);
	char user[256];

	if (!e || e->value || is_bound(name))
		return;
	snprintf(user, sizeof(user), "%s", name);
	(void)account_del(user);
}

void registry_accounts(void)
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
			account_lock(user);
			continue;
		}
		if (!r.have_key) {
			vms_error("account %s of the cluster cannot be used here: no "
				  "secrets_key in the configuration",
				  user);
			continue;
		}
		if (vms_secret_open(r.key, user,
				    json_string_value(json_object_get(e->value, "sealed")), secret,
				    &msg)) {
			vms_error("%s", msg.text);
			account_lock(user); /* not with the secret it had before */
		} else if (account_set(user, secret)) {
			vms_error("account %s: out of memory", user);
		}
		explicit_bzero(secret, sizeof(secret));
	}
}

/* ---- jobs ---- */

static void job_end(int err, const char *why)
{
	struct job *j = r.jobs;

	r.jobs = j->next;
	made_of(j->e)->dirty = true;
	if (err && why && why[0])
		tgt_adm_say("%s", why);
	mtask_complete(j->mtask, err);
	registry_job_free(j);
}

/* Its wish, applied to the record as it is now. False: it cannot be any more. */
static bool job_rebuild(struct job *j)
{
	struct vms_errmsg msg = {""};
	int err = registry_build(j, &msg);

	made_of(j->e)->dirty = true;
	if (err)
		job_end(err, msg.text);
	return !err;
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
	if (status == VMS_E_CONFLICT && r.now_ms - r.jobs->since_ms <= ANSWER_MS) {
		/* somebody was faster, the mirror has theirs: ours comes on top of it, or cannot
		 * be any more */
		r.jobs->written = false;
		(void)job_rebuild(r.jobs);
		return;
	}
	if (status == VMS_E_CONFLICT)
		snprintf(text, sizeof(text),
			 "%s, or which volumes and accounts are in use, is changed by others all "
			 "the time: look at it, and repeat",
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
		if (made_of(j->e)->pending)
			return;
		j->started = true;
	}
	/* who was before us in the queue, or another gateway, has changed it */
	if (j->base != j->e->rev && !job_rebuild(j))
		return;
	m = made_of(j->e);
	if (m->err) {
		job_end(m->err, m->why);
		m->err = 0;
		return;
	}
	if (walk(m)) {
		j->written = true;
		vms_reg_put_target(r.s, j->name, j->tid, j->rec, j->base, job_written, NULL);
	} else if (m->err) {
		job_end(m->err, m->why);
		m->err = 0;
	} else if (r.now_ms - j->since_ms > ANSWER_MS) {
		job_end(TGTADM_UNKNOWN_ERR, "it took too long on this gateway; nothing "
					    "was changed in the cluster");
	}
}

void registry_job(struct job *j)
{
	struct job **at = &r.jobs;

	while (*at)
		at = &(*at)->next;
	j->since_ms = r.now_ms;
	*at = j;
}

struct vms_reg_sync *registry_sync(void)
{
	return r.s;
}

const uint8_t *registry_key(void)
{
	return r.have_key ? r.key : NULL;
}

/* ---- the owner's calls ---- */

int vms_registry_open(struct vms_catalog *cat, const char *key_path, const struct vms_reg_bs *bs,
		      struct vms_errmsg *msg)
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
		registry_accounts();
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

bool vms_registry_target(int tid, bool *redirect)
{
	const struct vms_reg_entry *e = r.s ? vms_reg_target_by_tid(r.s, (uint32_t)tid) : NULL;

	*redirect = e && vms_reg_redirect(e->value);
	return e != NULL;
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
