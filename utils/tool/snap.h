/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is done with snapshots once they exist: list, delete. Deleting changes the
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
/* One; VMS_E_NOENT with words when it does not exist. */
int snap_get(struct tool *t, const char *volume, const char *snap, struct snap_info *out,
	     struct vms_errmsg *msg);
/* The same, but one that is being made is waited for; one whose tool died is given up, and
 * does not exist. */
int snap_get_made(struct tool *t, const char *volume, const char *snap, struct snap_info *out,
		  struct vms_errmsg *msg);
const char *snap_state_word(uint8_t state);
json_t *snap_json(const struct vms_cat_snap *s);

/* What became of one snapshot that was to be deleted. */
struct snap_fate {
	bool gone;
	int status; /* refused */
	struct vms_errmsg why;
};
/* Deletes those of the n snapshots that may be: complete or half deleted, exported by no
 * gateway, no clone made of them. 0: fate[] tells; else the catalog failed, some may
 * have gone, and the same command goes on. */
int snaps_remove(struct tool *t, struct snap_info *s, size_t n, struct snap_fate *fate,
		 struct vms_errmsg *msg);

/* Names of the volumes that show pages of volume `id` (of one of its snapshots), with
 * commas; how many. */
struct snap_clones {
	unsigned n;
	char names[200];
};
struct branches;
/* branch, snap_gen: of one snapshot; branch 0: of any of the volume's. */
int snap_clones(struct tool *t, const struct branches *all, uint64_t id, uint64_t branch,
		uint64_t snap_gen, struct snap_clones *out, struct vms_errmsg *msg);

#endif
