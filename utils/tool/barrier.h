/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The coordinator of a volume's barrier: between "stop" and "release" no gateway
 * sends a write of the volume, so that what was written before and what comes
 * after lie on two sides of one number (doc/architecture.md "Barrier").
 *
 * All of it is in the catalog; each step is one transaction that compares. Whoever
 * dies leaves a barrier that anyone may abandon: a number is spent, nothing else.
 */
#ifndef VMS_TOOL_BARRIER_H
#define VMS_TOOL_BARRIER_H

#include "utils/tool/tool.h"

/* A barrier that is older than this has lost its coordinator. */
#define BARRIER_OLD_MS 10000u

struct barrier_report {
	uint32_t attempts;
	uint64_t held_ms;    /* writes were held, last attempt, at most */
	char fenced[160];    /* gateways that were shut out, by name, or "" */
	char abandoned[240]; /* an unfinished snapshot that was in the way, or "" */
};

#define BARRIER_TRY_MS 10000u

/* Makes snapshot VOLUME@SNAP: a consistent cut over all gateways that have the volume
 * open. Repeats a failed attempt for try_ms; on failure nothing of it is left. */
int barrier_snapshot(struct tool *t, const char *volume, const char *snap, uint32_t try_ms,
		     struct vms_cat_snap *out, struct barrier_report *rep, struct vms_errmsg *msg);

/* The same of a volume that is being imported, which is ready by the transaction that
 * completes the snapshot. origin: uuid of the snapshot whose content it has. */
int barrier_snapshot_of_import(struct tool *t, const char *volume, const char *snap,
			       const uint8_t origin[16], uint32_t try_ms, struct vms_cat_snap *out,
			       struct barrier_report *rep, struct vms_errmsg *msg);

/* A change of the volume that every gateway knows, and none is in the middle of anything,
 * when it returns. */
struct barrier_change {
	/* Gateways hold writes, nothing else, until all know the volume as it is from the
	 * stop on. Else they end all commands and begin none (BUSY): nothing is on its way
	 * when it becomes what it is from the release on. */
	bool writes_only;
	/* What the volume is from the stop on, or a refusal. *done: nothing is to be done. */
	int (*stop)(void *arg, struct vms_cat_volume *next, bool *done, struct vms_errmsg *msg);
	/* ... and from the release on; may be NULL. */
	void (*release)(void *arg, struct vms_cat_volume *next);
	void *arg;
};
/* Repeats a failed attempt for try_ms. On failure msg says whether the volume is changed
 * already. */
int barrier_change(struct tool *t, const char *volume, const struct barrier_change *ch,
		   uint32_t try_ms, struct barrier_report *rep, struct vms_errmsg *msg);

/* Returns when no barrier of the volume is under way: waits for one that is alive,
 * abandons one that is older than BARRIER_OLD_MS. abandoned: "VOLUME@SNAP" whose making
 * it gave up, or "" (240 bytes; may be NULL). 0 also when there is no such volume. */
int barrier_settle(struct tool *t, const char *volume, char *abandoned, struct vms_errmsg *msg);

/* Gives up the barrier with this number if it is still under way. */
int barrier_abandon(struct tool *t, const char *volume, uint64_t barrier_id,
		    struct vms_errmsg *msg);

#endif
