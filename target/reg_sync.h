/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The catalog's targets and accounts, as this gateway knows them: loaded by range,
 * kept by watch, changed by compare. Sans-I/O, on the owner's loop; says that something
 * has changed, the owner then looks (target/tgt_registry.c, and tools).
 *
 * Keys: "target/<name>" (registry.h), "targetid/<tid as %08x>" → name in quotes (so that
 * no number is given twice), "account/<user>" (secret.h).
 *
 * A change that refers to more than before (VMS_REG_REFS_KEY in registry.h), or takes an
 * account away, is compared with that key as of when everything was in the mirror. So what
 * the owner decided by looking at the mirror (no other target has the volume, none demands
 * the account) still holds when it is written; if it does not, VMS_E_CONFLICT comes when the
 * mirror is as it is now, and the owner decides again.
 *
 * A change whose outcome is unknown is resolved by the watch or the next reload; the
 * caller is told VMS_E_TIMEOUT or VMS_E_DISCONNECTED and follows the mirror.
 */
#ifndef VMS_REG_SYNC_H
#define VMS_REG_SYNC_H

#include "cluster/catalog.h"
#include "target/registry.h"

struct vms_reg_sync;

/* One record of the mirror, owned by it. What is deleted keeps its place, without value.
 */
struct vms_reg_entry {
	const char *name;     /* of target or user */
	struct json_t *value; /* NULL: deleted */
	uint64_t rev;	      /* mod revision; 0: not in the catalog */
	bool changed;	      /* the owner clears it */
	void *priv;	      /* the owner's */
	uint32_t load;	      /* the last whole load that brought it */
};
typedef void (*vms_reg_done_fn)(void *arg, int status, const char *why);

/* cat: borrowed. */
struct vms_reg_sync *vms_reg_sync_open(struct vms_catalog *cat, uint64_t now_ms);
void vms_reg_sync_close(struct vms_reg_sync *s);
void vms_reg_sync_timer(struct vms_reg_sync *s, uint64_t now_ms);
/* Everything that was in the catalog when it started is in the mirror. */
bool vms_reg_sync_loaded(const struct vms_reg_sync *s);
/* Something has changed since the last call. */
bool vms_reg_sync_changed(struct vms_reg_sync *s);

/* i from 0 until NULL comes; the order changes when entries come. */
struct vms_reg_entry *vms_reg_target_at(struct vms_reg_sync *s, unsigned i);
struct vms_reg_entry *vms_reg_account_at(struct vms_reg_sync *s, unsigned i);
struct vms_reg_entry *vms_reg_target(struct vms_reg_sync *s, const char *name);
/* A place for one that is about to be made: no value, revision 0. */
struct vms_reg_entry *vms_reg_target_make(struct vms_reg_sync *s, const char *name);
struct vms_reg_entry *vms_reg_target_by_tid(struct vms_reg_sync *s, uint32_t tid);
struct vms_reg_entry *vms_reg_account(struct vms_reg_sync *s, const char *user);

/* Writes a target's record over the one the mirror had at revision rev (0: new; the
 * tid's key is taken with it); rec NULL: deletes it. done comes later, once, from the
 * loop: 0 (the mirror has it), VMS_E_CONFLICT (somebody else was faster; the mirror has
 * theirs: decide again), VMS_E_EXIST (the tid is another target's), or the catalog's error. */
void vms_reg_put_target(struct vms_reg_sync *s, const char *name, uint32_t tid,
			const struct json_t *rec, uint64_t rev, vms_reg_done_fn done, void *arg);
/* value: JSON text; NULL: deletes it. */
void vms_reg_put_account(struct vms_reg_sync *s, const char *user, const char *value, uint64_t rev,
			 vms_reg_done_fn done, void *arg);

#endif
