/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is done with snapshots: list, delete, roll back, clone. All of it changes the
 * catalog only; storage nodes drop what nothing shows any more by themselves.
 *
 * A point (branch, snap_gen) keeps the pages it shows. Points are snapshots, and the
 * ancestors in branch/ records: so a snapshot whose record goes keeps serving the
 * branches that grew from it.
 */
#ifndef VMS_TOOL_SNAP_H
#define VMS_TOOL_SNAP_H

#include "utils/tool/tool.h"

struct snap_info {
	struct vms_cat_snap s;
	uint64_t mod_revision;
};
VMS_VEC_TYPE(snaps, struct snap_info);

/* Snapshots of a volume ("": of all volumes), oldest first. Free in any case. */
int snaps_load(struct tool *t, const char *volume, struct snaps *out, struct vms_errmsg *msg);
void snaps_free(struct snaps *s);
const char *snap_state_word(uint8_t state);
json_t *snap_json(const struct vms_cat_snap *s);

#endif
