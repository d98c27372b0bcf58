/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to apply.c (the lane), apply_moves.c and apply_now.c (what records do). */
#ifndef VMS_APPLY_INT_H
#define VMS_APPLY_INT_H

#include "backend/apply.h"
#include "backend/ctr.h"
#include "backend/checkpoint.h"
#include "backend/node_int.h"
#include "backend/record.h"

enum job_state { JOB_BASE, JOB_PEER, JOB_WRITE, JOB_RETRY, JOB_PAGES };

struct apply_job {
	struct dio d;
	struct vms_node *n;
	struct part *p;
	enum job_state state;
	bool dead, io;
	struct log_lend lend; /* of the chunks that lie there */
	bool there;	      /* the bytes are: a copy that is being made got them with its base */
	bool out;	      /* it began while the copy was in no set */
	bool baseless;	      /* of a branch that is lost: what it merges with is not known */
	uint8_t type;
	uint64_t seq;
	unsigned nm;
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	vms_addr handed[VMS_SEG_ENTRIES_MAX]; /* address gateways may know it by; 0: none */
	uint8_t patched[VMS_SEG_ENTRIES_MAX];
	bool changed[VMS_SEG_ENTRIES_MAX]; /* moves that changed a page */
	/* should it lack bytes: of each move what lies below it, the sectors that lie in the log,
	 * and those that are whole at all */
	vms_addr base[VMS_SEG_ENTRIES_MAX];
	uint8_t over[VMS_SEG_ENTRIES_MAX], keep[VMS_SEG_ENTRIES_MAX];
	struct lack_twins *twins;
	bool twins_away;
	uint8_t *buf; /* segment header, then the chunks that are put together */
	const uint8_t *at[VMS_SEG_ENTRIES_MAX]; /* chunks of the segment: in buf, or in the log */
	struct vms_iov iov[1 + VMS_SEG_ENTRIES_MAX];
	uint8_t *patch; /* chunks' overlay sectors */
	unsigned nchunks;
	unsigned place[VMS_SEG_ENTRIES_MAX]; /* move -> chunk in buf */
	uint64_t ctr;
	uint32_t seg_off;
	size_t write_bytes;
	uint64_t write_off;
	uint64_t peer_req;
	bool asked; /* another replica, since it began */
	uint64_t retry_ms;
};

/* ---- apply.c ---- */

/* The partition's job for that record, with room for so many blocks. */
struct apply_job *apply_job_new(struct vms_node *n, struct part *p, const struct vms_rec *r,
				unsigned blocks);
void apply_job_write(struct vms_node *n, struct apply_job *j);
/* The record is applied. */
void apply_job_end(struct vms_node *n, struct part *p, struct apply_job *j);
/* The record from the start, later: what it needs may be there then. */
void apply_job_again(struct vms_node *n, struct part *p, struct apply_job *j, uint64_t ms);
void apply_job_free(struct apply_job *j);

/* ---- apply_moves.c ---- */

/* What the record changes depends on the ancestors of its branches: all known? */
bool apply_branches_known(struct vms_node *n, struct part *p, const struct vms_rec *r);
void apply_moves_start(struct vms_node *n, struct part *p, const struct vms_rec *r);
/* The bytes are in their places: change pages, take the chunks from the overlay. */
void apply_moves_finish(struct vms_node *n, struct part *p, struct apply_job *j);
void apply_peer_ask(struct vms_node *n, struct part *p, struct apply_job *j);

/* ---- apply_now.c ---- */

/* False: a page is damaged and must be repaired first. What was done already is not done
 * again. */
bool apply_trim(struct vms_node *n, struct part *p, const struct vms_rec *r);
bool apply_drop(struct vms_node *n, struct part *p, const struct vms_rec *r);
void apply_sweep(struct vms_node *n, struct part *p, const struct vms_rec *r);
void apply_punch(struct vms_node *n, struct part *p, const struct vms_rec *r);
void apply_share(struct part *p, const struct vms_rec *r);

#endif
