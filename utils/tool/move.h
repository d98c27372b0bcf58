/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * New branches: a volume that moves to one (rollback, shrinking below snapshots), a new
 * volume on one (clone). A quiet barrier keeps gateways from opening the volume meanwhile,
 * and those that have it open from using it; a tool that dies leaves one that is
 * abandoned, and at most a branch that nothing writes to.
 */
#ifndef VMS_TOOL_MOVE_H
#define VMS_TOOL_MOVE_H

#include "utils/tool/tool.h"

struct volume_move {
	const char *volume;
	const char *what;    /* for refusals: "rolled back" */
	const char *snap;    /* to the state of this snapshot; NULL: of the present */
	uint64_t size_bytes; /* without a snapshot: the new size, not above the present one */
	bool online;	     /* also while gateways have it open; else that is refused */
};
/* *out: as it is then, on all gateways. */
int move_volume(struct tool *t, const struct volume_move *mv, struct vms_cat_volume *out,
		struct vms_errmsg *msg);

/* Makes volume `name` of VOLUME@SNAP, size_bytes 0: as large. */
int move_clone(struct tool *t, const char *volume, const char *snap, const char *name,
	       uint64_t size_bytes, struct vms_cat_volume *out, struct vms_errmsg *msg);

#endif
