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

#include "target/secret.h"
#include "target/tgt_glue.h"
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

static int target_new(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params)
{
	char name[VMS_REG_NAME_MAX + 2];
	struct vms_reg_entry *e;
	struct vms_errmsg msg;
	struct job *j;

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
	e = vms_reg_target_by_tid(registry_sync(), (uint32_t)req->tid);
	if (e) {
		tgt_adm_say("target number %d is %s, in the whole cluster", req->tid, e->name);
		return TGTADM_TARGET_EXIST;
	}
	e = vms_reg_target(registry_sync(), name);
	if (e && e->value) {
		tgt_adm_say("%s is target number %u, in the whole cluster", name,
			    vms_reg_tid(e->value));
		return TGTADM_TARGET_EXIST;
	}
	if (!e)
		e = vms_reg_target_make(registry_sync(), name);
	j = calloc(1, sizeof(*j));
	if (!j || !(j->rec = vms_reg_new(name, (uint32_t)req->tid))) {
		free(j);
		return TGTADM_NOMEM;
	}
	j->mtask = mtask;
	j->e = e;
	j->tid = (uint32_t)req->tid;
	snprintf(j->name, sizeof(j->name), "%s", name);
	registry_job(j);
	return TGT_MGMT_PENDING;
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

static int lun_change(struct job *j, const struct tgtadm_req *req, const char *params,
		      struct vms_errmsg *msg)
{
	char volume[256], name[256], value[256], buf[1024], *p = buf, *opt;

	j->option_lun = req->lun;
	switch (req->op) {
	case OP_NEW:
		if (!param(params, "path", volume, sizeof(volume)))
			return vms_fail(msg, VMS_E_INVAL, "--backing-store VOLUME is needed");
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
				return vms_fail(msg, VMS_E_INVAL, "'%s' is no name=value", opt);
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
	registry_job(j);
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
		registry_accounts();
	else if (status == VMS_E_CONFLICT)
		tgt_adm_say("account %s was changed through another gateway at the same "
			    "moment: look, and repeat",
			    a->user);
	else
		tgt_adm_say("the catalog did not confirm it (%s): it may or may not hold", why);
	mtask_complete(a->mtask, status ? TGTADM_UNKNOWN_ERR : 0);
	free(a);
}

static int account_put(struct mgmt_task *mtask, const char *user, const char *value, uint64_t rev)
{
	struct account_job *a = calloc(1, sizeof(*a));

	if (!a)
		return TGTADM_NOMEM;
	a->mtask = mtask;
	snprintf(a->user, sizeof(a->user), "%s", user);
	vms_reg_put_account(registry_sync(), user, value, rev, account_written, a);
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
	e = vms_reg_account(registry_sync(), user);
	if (!e || !e->value)
		return TGT_MGMT_LOCAL;
	for (unsigned i = 0; (t = vms_reg_target_at(registry_sync(), i)); i++) {
		const char *out = json_string_value(json_object_get(t->value, "user_out"));

		if (t->value &&
		    (vms_reg_has(t->value, VMS_REG_USERS, user) || (out && !strcmp(out, user)))) {
			tgt_adm_say("account %s is bound to target %u (%s): unbind it first", user,
				    vms_reg_tid(t->value), t->name);
			return TGTADM_INVALID_REQUEST;
		}
	}
	return account_put(mtask, user, NULL, e->rev);
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
