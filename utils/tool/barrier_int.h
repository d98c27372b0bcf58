/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of the barrier's coordinator: barrier.c (snapshots), barrier_quiet.c
 * (changes of the volume itself) and move.c (the volume moves to another branch).
 */
#ifndef VMS_TOOL_BARRIER_INT_H
#define VMS_TOOL_BARRIER_INT_H

#include "utils/tool/barrier.h"
#include "utils/tool/gateway.h"

#define BARRIER_SILENT_MS 150u /* then the nodes are asked about those that did not answer */
#define BARRIER_ASKED_MAX 100u /* compares and deletes of one transaction */

/* A gateway that had the volume open when the intent was written. */
struct barrier_asked {
	uint32_t gateway;
	uint64_t incarnation;
	char key[VMS_CAT_KEY_BYTES_MAX]; /* of its acknowledgement */
	uint64_t ack_revision;
	uint8_t state; /* enum vms_ack_state; 0: none yet */
	bool gone;     /* closed, or fenced */
};

struct barrier_run {
	struct tool *t;
	struct vms_cat_volume v; /* as last written by us */
	uint64_t v_revision;
	struct vms_cat_snap s;
	uint64_t s_revision;
	VMS_VEC(struct barrier_asked) asked;
	struct nodes nodes;
	struct gateways gateways;
	uint64_t watch_ack, watch_open;
	bool lost;   /* a watch ended: nothing can be concluded any more */
	uint64_t t0; /* before the intent */
	struct barrier_report *rep;
	const uint8_t *origin; /* of a volume that is being imported; NULL: it is not */
	bool change;	       /* no snapshot: a veto and whoever goes do no harm */
	/* what the volume is made by the next barrier_step_again(); may be NULL */
	void (*edit)(void *arg, struct vms_cat_volume *next);
	void *edit_arg;
};

int barrier_volume_get(struct tool *t, const char *name, struct vms_cat_volume *v,
		       uint64_t *revision, struct vms_errmsg *msg);
/* Writes volume (and snapshot) by compare with what r has; an unknown outcome is read back. */
int barrier_step(struct barrier_run *r, const struct vms_cat_volume *next,
		 const struct vms_cat_snap *snap, const struct vms_cat_cmp *more_cmp, unsigned more,
		 bool forget_acks, struct vms_errmsg *msg);
/* The next stage of the barrier, repeated as long as it is ours. */
int barrier_step_again(struct barrier_run *r, uint8_t barrier, const struct vms_cat_snap *snap,
		       const struct vms_cat_cmp *more_cmp, unsigned more, struct vms_errmsg *msg);
/* Who has it open, after the intent; watches what they answer. */
int barrier_find_asked(struct barrier_run *r, struct vms_errmsg *msg);
/* One that has not answered; one that has stopped and not answered the release. */
struct barrier_asked *barrier_not_stopped(struct barrier_run *r);
struct barrier_asked *barrier_not_released(struct barrier_run *r);
/* Fences off those that have not answered and that no node hears of any more. */
int barrier_shut_out(struct barrier_run *r, struct vms_errmsg *msg);
/* No use in waiting; why. */
bool barrier_hopeless(void *arg);
int barrier_say_broken(struct barrier_run *r, struct vms_errmsg *msg);

/* ---- barrier_quiet.c, in this order ---- */

/* The stop is written (r->v, r->v_revision). Until all gateways that have the volume open
 * have said so; those that are dead are shut out. */
int barrier_quiet_stopped(struct barrier_run *r, struct vms_errmsg *msg);
/* Release, until all have seen it (only the end of it when nobody was asked), and the
 * barrier's end. edit: what the volume is from here on. *done: it is so, whatever is
 * returned. */
int barrier_quiet_release(struct barrier_run *r, void (*edit)(void *arg, struct vms_cat_volume *v),
			  void *arg, bool *done, struct vms_errmsg *msg);
/* After either has failed, or at the end. */
void barrier_quiet_end(struct barrier_run *r, int rc);

#endif
