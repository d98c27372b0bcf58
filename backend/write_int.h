/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of WRITE: an op before it is ordered, and what its files share. */
#ifndef VMS_WRITE_INT_H
#define VMS_WRITE_INT_H

#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_write.h"
#include "include/types.h"
#include "include/wire.h"

/* One WRITE, borrowed from a frame or from a waiting op. */
struct wreq {
	const struct vms_msg *m;
	vms_conn_id conn;
	uint8_t kind;
	unsigned np;
	const struct vms_piece *pieces;
	const uint8_t *payload;
	uint64_t payload_bytes;
	uint64_t arrived_ms;
};
enum { W_ORDERED, W_ANSWERED, W_WAIT };

static inline struct vms_opid opid_of(const struct vms_msg *m)
{
	return (struct vms_opid){m->sender, m->slot, m->incarnation, m->sequence};
}

static inline struct wreq wreq_of(const struct op *o)
{
	return (struct wreq){&o->req,	o->conn,    o->kind,	      o->np,
			     o->pieces, o->payload, o->payload_bytes, o->arrived_ms};
}

static inline bool wreq_is_locking(const struct wreq *w)
{
	return w->kind == VMS_WRITE_CAW || w->kind == VMS_WRITE_ORWRITE ||
	       w->kind == VMS_WRITE_REF || w->kind == VMS_WRITE_COPY;
}

/* ---- node_write.c ---- */

/* W_ORDERED, W_ANSWERED or W_WAIT. outcome: 0, or what the op ends with, instead of its
 * bytes. */
int write_order(struct vms_node *n, struct part *p, const struct wreq *w, int outcome,
		uint32_t outcome_aux);
/* Order it now if that is possible. waited: it comes from the queue. */
int write_try_order(struct vms_node *n, struct part *p, const struct wreq *w, bool waited);
/* It waits no more, and is in no list. */
void write_wait_drop(struct vms_node *n, struct op *o);

/* ---- write_check.c ---- */

void write_answer(struct vms_node *n, const struct wreq *w, int status);
/* An op that was ordered before: its old answer. */
void write_answer_again(struct vms_node *n, const struct wreq *w, struct part *p,
			const struct vms_outcome *oc);
/* The checks, in their order. 0: may be ordered; 1: answered; 2: must wait. */
int write_check(struct vms_node *n, struct part *p, const struct wreq *w, bool waited);
/* Above half full, writers are admitted at a rate that falls smoothly; and they yield to
 * copies. */
bool write_admit(struct vms_node *n, struct part *p, const struct wreq *w);
/* What the write's record takes of the log: of one by reference, what it refers to. */
uint64_t wreq_log_bytes(const struct wreq *w);
/* Can anything be ordered in this partition now? */
bool write_can_order(struct vms_node *n, struct part *p, const struct wreq *w);
/* Do they share a chunk? */
bool write_overlaps(const struct op *l, const struct wreq *w);

/* ---- write_held.c: below min_copies ---- */

bool write_too_few(const struct vms_node *n, const struct part *p);
/* It is committed, and not acknowledged before there are enough. The op is the list's now. */
void write_hold(struct part *p, struct op *o, struct vms_outcome *oc);
/* The like, asked for anew: this node has begun to lead since, or its connection is another. */
void write_hold_again(struct vms_node *n, struct part *p, const struct wreq *w,
		      struct vms_outcome *oc);
/* All that is held ends with that status; 0: as it has. */
void write_held_end(struct vms_node *n, struct part *p, int status);

/* ---- write_lock.c: COMPARE AND WRITE, ORWRITE, writes by reference ---- */

void write_lock_add(struct vms_node *n, struct part *p, struct op *o);
void write_lock_end(struct vms_node *n, struct part *p, struct op *o);
void write_lock_step(struct vms_node *n, struct part *p);

#endif
