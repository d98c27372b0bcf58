/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Branches: the lines of history that volumes write on. A branch shows its own pages,
 * and below them those of its ancestors, each up to a number and a size. The list is
 * flat and short (VMS_ANCESTORS_MAX).
 */
#ifndef VMS_TOOL_BRANCH_H
#define VMS_TOOL_BRANCH_H

#include "utils/tool/tool.h"

enum { BRANCH_LIVE = 1, BRANCH_DEAD = 2 };

struct branch_info {
	struct vms_cat_branch b;
	uint64_t mod_revision; /* 0: the catalog has no record (volume of an older cluster) */
};
VMS_VEC_TYPE(branches, struct branch_info);

int branches_load(struct tool *t, struct branches *out, struct vms_errmsg *msg);
void branches_free(struct branches *l);
/* One branch; without a record it is as volume v tells: no ancestors. */
int branch_get(struct tool *t, uint64_t branch, const struct vms_cat_volume *v,
	       struct branch_info *out, struct vms_errmsg *msg);

/* *out: a new branch, number 0, that shows what (from, snap_gen) shows below
 * limit_bytes. VMS_E_FULL: it would have too many ancestors. */
int branch_grow(const struct vms_cat_branch *from, uint64_t snap_gen, uint64_t limit_bytes,
		struct vms_cat_branch *out, struct vms_errmsg *msg);
/* Does b show pages of `branch` at snap_gen (0: at any)? */
bool branch_sees(const struct vms_cat_branch *b, uint64_t branch, uint64_t snap_gen);

/* Does volume `volume` (by id) show pages of another one: at one snapshot of it, or
 * (branch 0) at any? */
bool branches_clone_of(const struct branches *all, uint64_t volume, uint64_t of, uint64_t branch,
		       uint64_t snap_gen);

/* Marks those branches of the volume dead that it has left and that no snapshot is on;
 * storage nodes then drop what nothing else shows. Repeatable. */
int branches_settle(struct tool *t, const char *volume, struct vms_errmsg *msg);

#endif
