/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Targets and accounts of the cluster, changed in the catalog itself: no gateway has to
 * run; those that do follow by their watch (target/reg_sync.h has the same keys).
 *
 * Every change is compared with the record it was made from, and repeated with what
 * somebody else has made of it meanwhile; an answer that was lost is looked up.
 */
#ifndef VMS_TOOL_TARGET_STORE_H
#define VMS_TOOL_TARGET_STORE_H

#include "target/registry.h"
#include "target/secret.h"
#include "utils/tool/tool.h"

struct target_entry {
	json_t *rec;
	uint64_t mod_revision;
};
VMS_VEC_TYPE(targets, struct target_entry);
struct account_entry {
	char user[256];
	char sealed[VMS_SECRET_TEXT_MAX];
	uint64_t mod_revision;
};
VMS_VEC_TYPE(accounts, struct account_entry);

/* By name. Free in any case. */
int targets_load(struct tool *t, struct targets *out, struct vms_errmsg *msg);
void targets_free(struct targets *v);
/* NULL: there is none. */
struct target_entry *targets_find(struct targets *v, const char *name);
/* The lowest number that no target has. */
uint32_t targets_free_tid(const struct targets *v);
/* VMS_E_EXIST: volume is a LUN of another target than name; a volume is one LUN at each
 * gateway. */
int targets_elsewhere(const struct targets *v, const char *name, const char *volume,
		      struct vms_errmsg *msg);

/* Revision of VMS_REG_REFS_KEY (target/registry.h): to be read before looking. */
int target_refs(struct tool *t, uint64_t *revision, struct vms_errmsg *msg);
/* That part of a transaction. */
void target_refs_part(uint64_t revision, struct vms_cat_cmp *cmp, struct vms_cat_op *op);

/* Writes a record over the one at this revision (0: a new target, its number is taken
 * with it); rec NULL deletes. refs: of target_refs(), if it refers to more than before;
 * then *refs is what it is afterwards. 0, VMS_E_CONFLICT: read again; VMS_E_EXIST: the
 * number is another target's. */
int target_store(struct tool *t, const char *name, uint32_t tid, const json_t *rec,
		 uint64_t mod_revision, uint64_t *refs, struct vms_errmsg *msg);
/* Reads, changes by fn, writes, until nobody was faster. all: the targets as they were
 * read. fn: 0 or VMS_E_* with msg. out: the record as written, may be NULL. */
typedef int (*target_change_fn)(void *arg, struct targets *all, json_t *rec,
				struct vms_errmsg *msg);
int target_change(struct tool *t, const char *name, target_change_fn fn, void *arg, json_t **out,
		  struct vms_errmsg *msg);

/* The volume, or VOLUME@SNAP, exists and can become a LUN. */
int target_volume_check(struct tool *t, const char *volume, struct vms_errmsg *msg);

/* ---- accounts ---- */

int accounts_load(struct tool *t, struct accounts *out, struct vms_errmsg *msg);
struct account_entry *accounts_find(struct accounts *v, const char *user);
/* The key of [cluster] secrets_key. */
int account_key(struct tool *t, uint8_t key[VMS_SECRET_KEY_BYTES], struct vms_errmsg *msg);
/* Name and secret are what CHAP and tgt can carry: VMS_E_INVAL says what is not. */
int account_user_check(const char *user, struct vms_errmsg *msg);
int account_secret_check(const char *secret, struct vms_errmsg *msg);
int account_seal(struct tool *t, const char *user, const char *secret,
		 char sealed[VMS_SECRET_TEXT_MAX], struct vms_errmsg *msg);
/* sealed NULL deletes, with refs as target_store(). 0 or VMS_E_CONFLICT, ... */
int account_store(struct tool *t, const char *user, const char *sealed, uint64_t mod_revision,
		  uint64_t *refs, struct vms_errmsg *msg);
/* Deletes one that no target uses (VMS_E_BUSY: msg names those that do). */
int account_delete(struct tool *t, const char *user, struct vms_errmsg *msg);
/* VMS_E_BUSY: targets use it, msg names them. */
int account_unused(const struct targets *v, const char *user, struct vms_errmsg *msg);
/* First line of a file ("-": standard input; a terminal is asked without echo). */
int account_secret_read(const char *path, const char *user, char secret[VMS_SECRET_BYTES_MAX + 1],
			struct vms_errmsg *msg);

#endif
