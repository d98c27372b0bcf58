/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Targets as the cluster has them: "target/<name>" in the catalog, the same on every
 * gateway. Records are JSON objects (struct json_t) whose form vms_reg_check() holds;
 * everything here is a pure function on them, so that gateways (target/tgt_registry.c)
 * and tools (`vmstore target`) change and compare them in one way.
 *
 * Record (doc/architecture.md "Catalog keys"):
 *   name       text, the iSCSI name; also in the key
 *   tid        1..65535, tgt's number of the target, the same on all gateways
 *   offline    bool, optional
 *   redirect   bool, optional: logins may be sent to a gateway with less to do
 *   addresses  [text], initiator addresses that are admitted ("ALL": everyone)
 *   names      [text], initiator names that are admitted
 *   users      [text], accounts initiators log in with (CHAP)
 *   user_out   text, optional: account the target answers with (mutual CHAP)
 *   params     {name: value}, optional: tgtadm --op update
 *   luns       [{lun, volume, params {name: value}}], by lun, 1..16383. Parameters that
 *              are written are those of vms_reg_lun_param_check() (reg_doc.h)
 *
 * Every node of the graph is owned by its record. Any thread.
 */
#ifndef VMS_REGISTRY_H
#define VMS_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "include/err.h"

#define VMS_REG_TID_MAX	 65535u
#define VMS_REG_LUN_MAX	 16383u
#define VMS_REG_NAME_MAX 223u  /* RFC 7143, 4.2.7.1 */
#define VMS_REG_LIST_MAX 1024u /* entries of one list */

struct json_t;

enum vms_reg_list { VMS_REG_ADDRESSES, VMS_REG_NAMES, VMS_REG_USERS };

/* A new record; NULL: out of memory. Name and tid must be right (vms_reg_name_check). */
struct json_t *vms_reg_new(const char *name, uint32_t tid);
/* 0, or VMS_E_CORRUPT with msg naming what is wrong, after `where`. */
int vms_reg_check(const struct json_t *rec, const char *where, struct vms_errmsg *msg);
/* From text; NULL with msg. */
struct json_t *vms_reg_decode(const char *text, const char *where, struct vms_errmsg *msg);
/* malloc'ed text, sorted keys: equal records have equal texts. */
char *vms_reg_encode(const struct json_t *rec);
/* Does it fit into one value of the catalog? Else VMS_E_FULL with msg: lists have a limit of
 * their own, names and parameters together only this one. */
int vms_reg_room_check(const struct json_t *rec, struct vms_errmsg *msg);

const char *vms_reg_name(const struct json_t *rec);
uint32_t vms_reg_tid(const struct json_t *rec);
bool vms_reg_redirect(const struct json_t *rec);
/* The LUN's volume, or NULL. */
const char *vms_reg_volume(const struct json_t *rec, uint64_t lun);
/* The LUN of that volume, or UINT64_MAX. */
uint64_t vms_reg_lun_of(const struct json_t *rec, const char *volume);
bool vms_reg_has(const struct json_t *rec, enum vms_reg_list list, const char *what);
unsigned vms_reg_luns(const struct json_t *rec);

/* What targets refer to, volumes and accounts, is not in their own records. Whoever adds
 * such a reference, or takes away what may be referred to, rewrites this key in the same
 * transaction, compared with its revision from before they looked at all targets and
 * accounts (gateways: reg_sync.h, tools: target_refs()): of two at the same moment one
 * looks again. */
#define VMS_REG_REFS_KEY "targetrefs"
/* Does rec refer to a volume or an account that `was` (NULL: new) does not? */
bool vms_reg_refers_more(const struct json_t *was, const struct json_t *rec);

/* iSCSI name: iqn., eui. or naa., at most 223 bytes of what names are made of. */
int vms_reg_name_check(const char *name, struct vms_errmsg *msg);

/* The same for the name of a target that somebody makes anew: no upper case after iqn.,
 * as initiators may send it folded (RFC 3722), and two names must not be one. */
int vms_reg_new_name_check(const char *name, struct vms_errmsg *msg);

/* Address or network of initiators that tgtd can match, or ALL. For what somebody asks for
 * anew: records that have another one are taken. */
int vms_reg_address_check(const char *address, struct vms_errmsg *msg);

/* Changes of a record. 0, or VMS_E_EXIST, VMS_E_NOENT, VMS_E_INVAL, VMS_E_FULL with msg;
 * then nothing has changed. */
int vms_reg_bind(struct json_t *rec, enum vms_reg_list list, const char *what,
		 struct vms_errmsg *msg);
int vms_reg_unbind(struct json_t *rec, enum vms_reg_list list, const char *what,
		   struct vms_errmsg *msg);
int vms_reg_set_user_out(struct json_t *rec, const char *user, struct vms_errmsg *msg);
void vms_reg_set_offline(struct json_t *rec, bool offline);
void vms_reg_set_redirect(struct json_t *rec, bool redirect);
/* value NULL: it is not set any more (VMS_E_NOENT: it was not). */
int vms_reg_set_param(struct json_t *rec, const char *name, const char *value,
		      struct vms_errmsg *msg);
int vms_reg_add_lun(struct json_t *rec, uint64_t lun, const char *volume, struct vms_errmsg *msg);
int vms_reg_remove_lun(struct json_t *rec, uint64_t lun, struct vms_errmsg *msg);
int vms_reg_set_lun_param(struct json_t *rec, uint64_t lun, const char *name, const char *value,
			  struct vms_errmsg *msg);
/* The lowest LUN above 0 that is free. */
uint64_t vms_reg_free_lun(const struct json_t *rec);

/* ---- what leads from one record to another ---- */

enum vms_reg_what {
	VMS_RS_TARGET_DELETE,
	VMS_RS_LUN_DELETE,
	VMS_RS_UNBIND,	     /* list, a: what */
	VMS_RS_USER_OUT_OFF, /* a: account */
	VMS_RS_TARGET_NEW,   /* a: name */
	VMS_RS_STATE,	     /* a: "offline" or "ready" */
	VMS_RS_PARAM,	     /* a: name, b: value */
	VMS_RS_LUN_NEW,	     /* a: volume */
	VMS_RS_LUN_PARAM,    /* a: name, b: value */
	VMS_RS_USER_OUT,     /* a: account */
	VMS_RS_BIND,	     /* list, a: what */
	VMS_RS_PARAM_OFF,    /* a: name; it gets its default */
	VMS_RS_LUN_PARAM_OFF,
};
struct vms_reg_step {
	enum vms_reg_what what;
	enum vms_reg_list list;
	uint32_t tid;
	uint64_t lun;
	const char *a, *b; /* borrowed from the records */
};
/* The steps from `from` (NULL: no target) to `to` (NULL: no target), in an order in
 * which nobody is admitted to what is not complete: what goes, then what comes, binding
 * last; accounts before names and addresses. Stops when fn returns nonzero, and returns
 * that. */
int vms_reg_steps(const struct json_t *from, const struct json_t *to,
		  int (*fn)(void *arg, const struct vms_reg_step *s), void *arg);

#endif
