/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of rounds: where this node stands in the cycle, and what its parts share. Owner: the
 * node thread. */
#ifndef VMS_ROUND_INT_H
#define VMS_ROUND_INT_H

#include "backend/htab.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "include/types.h"
#include "utils/lib/vec.h"

#define FRAME_SEGS 8192u /* in one frame */

struct seg_mark {
	struct vms_hlink link; /* key: address of the segment's header */
	uint64_t mask;
	struct seg_mark *next;
};

struct frame {
	struct frame *next;
	struct dest *dest;
	uint64_t cycle;
	uint8_t aux; /* 0: marks, 1: partitions that are complete */
	uint32_t bytes;
	uint8_t body[];
};

/* Another node that leads partitions. */
struct dest {
	struct vms_node *n;
	struct peer *peer;
	uint64_t incarnation; /* when the cycle began; a new process sweeps nothing in it */
	bool skip;
	struct frame *head, *tail;
	unsigned queued, out;
	uint64_t retry_ms;
};

/* What another node reports about itself. */
struct report {
	uint32_t node;
	uint64_t done;	 /* cycle in which all it leads is swept, or will not be */
	uint64_t want;	 /* bytes that a round might free */
	uint64_t shared; /* containers that rounds are about */
};

enum walk { W_NONE, W_MARK, W_WALK };

struct round {
	uint64_t cycle, rev;
	bool known, busy; /* the catalog has been read; is being asked */
	uint64_t watch, retry_ms;
	uint64_t since_ms, next_ms; /* coordinator: when this cycle was seen, the next may begin */
	bool over;		    /* coordinator: the end has been noticed */
	uint64_t report_ms;
	VMS_VEC(struct report) reports;
	/* marking */
	struct part *p;
	enum walk walk;
	uint64_t mark_seq, step_ms;
	bool more, damaged;
	struct vms_page_key resume;
	unsigned pages;
	struct vms_htab table;
	struct seg_mark *marks;
	unsigned nmarks;
	VMS_VEC(struct dest *) dests;
	/* what has arrived: per partition of the cluster */
	struct {
		uint64_t cycle, epoch;
	} * src;
	uint32_t missing;
	/* the partitions as of this cycle's begin (round_view.c) */
	uint64_t viewed, view_cycle, view_ms;
	char view_after[32];
	bool view_busy;
	/* sweeping */
	uint64_t done;
	uint32_t at;
	uint64_t ctr_at; /* number of the next container */
};

static inline bool round_own_primary(const struct vms_node *n, uint32_t q)
{
	return n->pconf[q].primary == n->id;
}

/* ---- round_send.c: marks, and their way to the other nodes ---- */

/* Places of a segment that lies here are referred to. */
void round_mark_own(struct vms_node *n, vms_addr header, uint64_t mask);
/* Marks that are not sent yet are forgotten. */
void round_table_clear(struct round *rd);
/* All marks in the table become frames. */
void round_flush(struct vms_node *n, struct round *rd);
struct dest *round_dest_of(struct round *rd, uint32_t node);
void round_dest_clear(struct dest *d);
void round_dest_push(struct dest *d, struct frame *f, bool front);
struct frame *round_frame_new(const struct round *rd, uint8_t aux, uint32_t bytes);
/* Frames are sent. Is everything answered; does a node have to be waited for? */
void round_dests_go(struct vms_node *n, struct round *rd);
bool round_dests_idle(const struct round *rd);
bool round_dests_full(const struct round *rd);

/* ---- round_view.c: who leads what ---- */

/* Are the partitions known here as they were when the cycle began, or later? Else they are
 * being asked for. */
bool round_viewed(struct vms_node *n, struct round *rd);

/* ---- round_mark.c: marking ---- */

void round_mark_step(struct vms_node *n, struct round *rd);
void round_walk_stop(struct round *rd);
/* The partition has been walked in this cycle and its present epoch. */
bool round_walked(const struct round *rd, const struct part *p);
bool round_may_walk(const struct part *p);

/* ---- round_sweep.c: sweeping ---- */

/* When all partitions are complete: what is unmarked here goes, a few containers a step. */
void round_sweep(struct vms_node *n, struct round *rd);
/* The partition's marks are not needed any more. */
void round_sweep_end(struct part *p);

#endif
