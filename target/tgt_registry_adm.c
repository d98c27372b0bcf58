// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tgtadm asks for, as changes of the cluster's records; see tgt_registry.h. A
 * request that cannot be is answered at once, in words; nothing has changed then.
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

#include "target/reg_doc.h"
#include "target/secret.h"
#include "target/tgt_glue.h"
#include "target/tgt_portals.h"
#include "target/tgt_registry_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#undef eprintf
#undef dprintf

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

/* Takes the request: what it asks for can be, as far as is known now. */
static struct job *job_new(struct mgmt_task *mtask, const struct tgtadm_req *req,
			   const char *params, struct vms_reg_entry *e)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j || !(j->params = strdup(params))) {
		free(j);
		return NULL;
	}
	j->mtask = mtask;
	j->req = *req;
	j->e = e;
	j->tid = (uint32_t)req->tid;
	snprintf(j->name, sizeof(j->name), "%s", e->name);
	return j;
}

void registry_job_free(struct job *j)
{
	json_decref(j->rec);
	free(j->options);
	free(j->params);
	free(j);
}

static int job_begin(struct job *j)
{
	struct vms_errmsg msg = {""};
	int rc;

	if (!j)
		return TGTADM_NOMEM;
	rc = registry_build(j, &msg);
	if (rc) {
		registry_job_free(j);
		return say(&msg, rc);
	}
	registry_job(j);
	return TGT_MGMT_PENDING;
}

static int target_new(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	char name[VMS_REG_NAME_MAX + 2];
	struct vms_reg_entry *e;
	struct vms_errmsg msg;

	if (!param(params, "targetname", name, sizeof(name))) {
		tgt_adm_say("a target needs a name of at most %u characters: --targetname IQN",
			    VMS_REG_NAME_MAX);
		return TGTADM_INVALID_REQUEST;
	}
	if (vms_reg_new_name_check(name, &msg))
		return say(&msg, TGTADM_INVALID_REQUEST);
	if (req->tid < 1 || req->tid > (int)VMS_REG_TID_MAX) {
		tgt_adm_say("target numbers (--tid) go from 1 to %u", VMS_REG_TID_MAX);
		return TGTADM_INVALID_REQUEST;
	}
	e = vms_reg_target(registry_sync(), name);
	if (!e)
		e = vms_reg_target_make(registry_sync(), name);
	return job_begin(job_new(mtask, req, params, e));
}

static int build_new(struct job *j, struct vms_errmsg *msg)
{
	const struct vms_reg_entry *other = vms_reg_target_by_tid(registry_sync(), j->tid);

	if (other && other != j->e) {
		vms_fail(msg, VMS_E_EXIST, "target number %u is %s, in the whole cluster", j->tid,
			 other->name);
		return TGTADM_TARGET_EXIST;
	}
	if (j->e->value) {
		vms_fail(msg, VMS_E_EXIST, "%s is target number %u, in the whole cluster", j->name,
			 vms_reg_tid(j->e->value));
		return TGTADM_TARGET_EXIST;
	}
	j->rec = vms_reg_new(j->name, j->tid);
	vms_assert(j->rec);
	return 0;
}

static int target_update(json_t *rec, const char *params, struct vms_errmsg *msg)
{
	char name[256];
	const char *v = strchr(params, '=');

	if (!v || (size_t)(v - params) >= sizeof(name))
		return vms_fail(msg, VMS_E_INVAL, "--name PARAMETER --value VALUE are needed");
	memcpy(name, params, (size_t)(v - params));
	name[v - params] = 0;
	v++;
	if (!strcmp(name, "state")) {
		if (strcmp(v, "offline") && strcmp(v, "ready"))
			return vms_fail(msg, VMS_E_INVAL, "state is 'ready' or 'offline', not '%s'",
					v);
		vms_reg_set_offline(rec, !strcmp(v, "offline"));
		return 0;
	}
	if (!strcmp(name, "redirect")) {
		if (strcmp(v, "off") && strcmp(v, "on"))
			return vms_fail(msg, VMS_E_INVAL, "redirect is 'on' or 'off', not '%s'", v);
		vms_reg_set_redirect(rec, !strcmp(v, "on"));
		return 0;
	}
	/* without a value: as it was */
	return vms_reg_set_param(rec, name, v[0] ? v : NULL, msg);
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
		if (req->op == OP_BIND && l == VMS_REG_ADDRESSES &&
		    vms_reg_address_check(what, msg))
			return VMS_E_INVAL;
		rc = req->op == OP_BIND ? vms_reg_bind(rec, (enum vms_reg_list)l, what, msg)
					: vms_reg_unbind(rec, (enum vms_reg_list)l, what, msg);
		if (rc)
			return rc;
	}
	return rc ? vms_fail(msg, rc, "--initiator-address or --initiator-name is needed") : 0;
}

/* VMS_E_EXIST: it is a LUN of another target; a volume is one LUN at each gateway. */
static int volume_elsewhere(const struct job *j, const char *volume, struct vms_errmsg *msg)
{
	const struct vms_reg_entry *t;

	for (unsigned i = 0; (t = vms_reg_target_at(registry_sync(), i)); i++) {
		const json_t *v = t->value;

		if (v && vms_reg_elsewhere(&v, 1, j->name, volume))
			return vms_fail(msg, VMS_E_EXIST,
					"volume %s is LUN %" PRIu64 " of %s; it can be one LUN "
					"only",
					volume, vms_reg_lun_of(v, volume), t->name);
	}
	return 0;
}

static int lun_change(struct job *j, struct vms_errmsg *msg)
{
	char volume[256], name[256], value[256], buf[1024], *p = buf, *opt;
	const struct tgtadm_req *req = &j->req;
	const char *params = j->params;

	j->option_lun = req->lun;
	switch (req->op) {
	case OP_NEW:
		if (!param(params, "path", volume, sizeof(volume)))
			return vms_fail(msg, VMS_E_INVAL, "--backing-store VOLUME is needed");
		if (param(params, "bsopts", buf, sizeof(buf)))
			j->options = strdup(buf);
		if (volume_elsewhere(j, volume, msg))
			return VMS_E_EXIST;
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
				return vms_fail(msg, VMS_E_INVAL, "'%s' is no name=value", opt);
			}
			*eq = 0;
			snprintf(name, sizeof(name), "%s", opt);
			snprintf(value, sizeof(value), "%s", eq + 1);
			/* without a value: as it was */
			rc = value[0] ? vms_reg_lun_param_check(name, value, msg) : 0;
			if (!rc)
				rc = vms_reg_set_lun_param(j->rec, req->lun, name,
							   value[0] ? value : NULL, msg);
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
	struct vms_reg_entry *a = vms_reg_account(registry_sync(), user);

	if (req->op == OP_BIND && (!a || !a->value))
		return vms_fail(msg, VMS_E_NOENT, "there is no account %s in the cluster", user);
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
static int change(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	struct vms_reg_entry *e = vms_reg_target_by_tid(registry_sync(), (uint32_t)req->tid);
	char names[128];
	unsigned elsewhere;
	struct scsi_lu *lu;

	if (!e) {
		tgt_adm_say("there is no target number %d in the cluster", req->tid);
		return TGTADM_NO_TARGET;
	}
	if (req->mode == MODE_TARGET && req->op == OP_DELETE) {
		lu = tgt_lu_find(req->tid, 0);
		if (lu && !req->force && !list_empty(&lu->tgt->it_nexus_list)) {
			tgt_adm_say("initiators are logged in to %s on this gateway: "
				    "--force closes their sessions, on all gateways",
				    e->name);
			return TGTADM_TARGET_ACTIVE;
		}
		if (!req->force &&
		    (elsewhere = tgt_portals_elsewhere(e->name, names, sizeof(names)))) {
			tgt_adm_say("%s has %u session%s on %s: --force closes them, on all "
				    "gateways",
				    e->name, elsewhere, elsewhere == 1 ? "" : "s", names);
			return TGTADM_TARGET_ACTIVE;
		}
	}
	return job_begin(job_new(mtask, req, params, e));
}

static int build_change(struct job *j, struct vms_errmsg *msg)
{
	const struct tgtadm_req *req = &j->req;
	char user[256];
	int rc = 0;

	if (!j->e->value || vms_reg_tid(j->e->value) != j->tid) {
		vms_fail(msg, VMS_E_NOENT, "target number %u (%s) was deleted at this moment",
			 j->tid, j->name);
		return TGTADM_NO_TARGET;
	}
	if (req->mode == MODE_TARGET && req->op == OP_DELETE)
		return 0;
	j->rec = json_deep_copy(j->e->value);
	vms_assert(j->rec);
	if (req->mode == MODE_DEVICE)
		rc = lun_change(j, msg);
	else if (req->mode == MODE_ACCOUNT)
		rc = param(j->params, "user", user, sizeof(user))
			     ? account_change(j->rec, req, user, msg)
			     : vms_fail(msg, VMS_E_INVAL, "--user is needed");
	else if (req->op == OP_UPDATE)
		rc = target_update(j->rec, j->params, msg);
	else if (req->op == OP_BIND || req->op == OP_UNBIND)
		rc = acl_change(j->rec, req, j->params, msg);
	return rc ? err_of(rc, (int)req->mode) : 0;
}

int registry_build(struct job *j, struct vms_errmsg *msg)
{
	int err;

	json_decref(j->rec);
	free(j->options);
	j->rec = NULL;
	j->options = NULL;
	j->base = j->e->rev;
	err = j->req.mode == MODE_TARGET && j->req.op == OP_NEW ? build_new(j, msg)
								: build_change(j, msg);
	if (!err && j->rec && vms_reg_room_check(j->rec, msg))
		err = TGTADM_INVALID_REQUEST;
	return err;
}

/* ---- accounts by tgtadm ---- */

#define DELETE_TRIES 20 /* while others change what refers to accounts */

struct account_job {
	struct mgmt_task *mtask;
	char user[256];
	unsigned tries; /* to delete it; 0: it is made */
};

static int account_delete_try(struct account_job *a);

static void account_written(void *arg, int status, const char *why)
{
	struct account_job *a = arg;
	int err = status ? TGTADM_UNKNOWN_ERR : 0;

	if (status == VMS_E_CONFLICT && a->tries && a->tries < DELETE_TRIES) {
		err = account_delete_try(a);
		if (err == TGT_MGMT_PENDING)
			return;
		if (err == TGT_MGMT_LOCAL)
			err = 0; /* somebody else has deleted it */
		status = 0;
	}
	if (!status)
		registry_accounts();
	else if (status == VMS_E_CONFLICT)
		tgt_adm_say("account %s was changed through another gateway at the same "
			    "moment: look, and repeat",
			    a->user);
	else
		tgt_adm_say("the catalog did not confirm it (%s): it may or may not hold", why);
	mtask_complete(a->mtask, err);
	free(a);
}

static struct account_job *account_job_new(struct mgmt_task *mtask, const char *user)
{
	struct account_job *a = calloc(1, sizeof(*a));

	if (a) {
		a->mtask = mtask;
		snprintf(a->user, sizeof(a->user), "%s", user);
	}
	return a;
}

static int account_new(struct mgmt_task *mtask, const char *params)
{
	char user[256], sealed[VMS_SECRET_TEXT_MAX], *text;
	const char *at = strstr(params, ",password="), *secret = at ? at + 10 : "";
	uint8_t nonce[VMS_SECRET_NONCE_BYTES];
	struct account_job *a;
	struct vms_reg_entry *e;
	struct vms_errmsg msg;
	json_t *v;
	int rc;

	if (!param(params, "user", user, sizeof(user)) || !user[0] || !at)
		return TGT_MGMT_LOCAL; /* tgt says what is wrong */
	if (strlen(secret) < 12 || strlen(secret) > VMS_SECRET_BYTES_MAX)
		return TGT_MGMT_LOCAL;
	if (!registry_key()) {
		tgt_adm_say("accounts are kept by the whole cluster, sealed with a key: set "
			    "secrets_key = FILE in [cluster] of every gateway (vmstore.conf(5))");
		return TGTADM_INVALID_REQUEST;
	}
	e = vms_reg_account(registry_sync(), user);
	if (e && e->value) {
		tgt_adm_say("account %s exists in the cluster", user);
		return TGTADM_USER_EXIST;
	}
	if (RAND_bytes(nonce, sizeof(nonce)) != 1) {
		tgt_adm_say("OpenSSL has no random numbers");
		return TGTADM_UNKNOWN_ERR;
	}
	rc = vms_secret_seal(registry_key(), nonce, user, secret, sealed, &msg);
	if (rc)
		return say(&msg, TGTADM_INVALID_REQUEST);
	v = json_pack("{s:s,s:s}", "user", user, "sealed", sealed);
	text = v ? json_dumps(v, JSON_COMPACT) : NULL;
	json_decref(v);
	if (!text) {
		tgt_adm_say("account %s: a name is UTF-8 text", user);
		return TGTADM_INVALID_REQUEST;
	}
	a = account_job_new(mtask, user);
	if (a)
		vms_reg_put_account(registry_sync(), user, text, 0, account_written, a);
	free(text);
	return a ? TGT_MGMT_PENDING : TGTADM_NOMEM;
}

/* As the mirror is now. TGT_MGMT_LOCAL: there is none; TGT_MGMT_PENDING: asked for; or
 * tgtadm's code. */
static int account_delete_try(struct account_job *a)
{
	struct vms_reg_entry *e = vms_reg_account(registry_sync(), a->user), *t;

	if (!e || !e->value)
		return TGT_MGMT_LOCAL;
	for (unsigned i = 0; (t = vms_reg_target_at(registry_sync(), i)); i++) {
		const char *out = json_string_value(json_object_get(t->value, "user_out"));

		if (t->value && (vms_reg_has(t->value, VMS_REG_USERS, a->user) ||
				 (out && !strcmp(out, a->user)))) {
			tgt_adm_say("account %s is bound to target %u (%s): unbind it first",
				    a->user, vms_reg_tid(t->value), t->name);
			return TGTADM_INVALID_REQUEST;
		}
	}
	a->tries++;
	vms_reg_put_account(registry_sync(), a->user, NULL, e->rev, account_written, a);
	return TGT_MGMT_PENDING;
}

static int account_delete(struct mgmt_task *mtask, const char *params)
{
	struct account_job *a;
	char user[256];
	int rc;

	if (!param(params, "user", user, sizeof(user)))
		return TGT_MGMT_LOCAL;
	a = account_job_new(mtask, user);
	if (!a)
		return TGTADM_NOMEM;
	rc = account_delete_try(a);
	if (rc != TGT_MGMT_PENDING)
		free(a);
	return rc;
}

int vms_registry_mgmt(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	char type[64];

	if (!vms_reg_sync_loaded(registry_sync())) {
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
		if (req->op == OP_NEW &&
		    (!param(params, "bstype", type, sizeof(type)) || strcmp(type, "vmstore")))
			return TGT_MGMT_LOCAL;
		if (req->op != OP_NEW) {
			struct vms_reg_entry *e = vms_reg_target_by_tid(registry_sync(),
									(uint32_t)req->tid);

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
