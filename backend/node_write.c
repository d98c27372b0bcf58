// SPDX-License-Identifier: GPL-2.0-only
/*
 * WRITE in all its kinds, from the frame to the ordered record and its answer.
 *
 * All checks of "Nothing late" are made in the step that orders: duplicate,
 * epoch, floors, age, cancel. An op that cannot be ordered now waits in a bounded
 * queue and is checked from the start when it leaves; at the end of its age it is
 * answered BUSY (surely not ordered). COMPARE AND WRITE and ORWRITE lock their
 * chunks at arrival, wait until all earlier writes to them are committed, read,
 * and are then ordered as a plain WRITE of the resulting bytes.
 *
 * Here an op comes, is ordered and is answered; write_check.c says whether it may be
 * ordered, write_lock.c reads for those that compare, write_wait.c has the queue.
 * Keeps invariants 2, 3, 4, 8, 9, 10 (rules "Nothing late", A9, C3, C5, C6, C11).
 */
#include "backend/node_write.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/record.h"
#include "backend/write_int.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define NODE_WRITE_BYTES_MAX (2u << 20)

struct op *op_new(struct vms_node *n)
{
	struct op *o = n->free_ops;

	if (o)
		n->free_ops = o->next;
	else
		o = malloc(sizeof(*o));
	vms_assert(o);
	memset(o, 0, sizeof(*o));
	return o;
}

void op_free(struct vms_node *n, struct op *o)
{
	n->lock_bytes -= o->lock_bytes;
	free(o->pieces);
	free(o->payload);
	o->next = n->free_ops;
	n->free_ops = o;
}

int write_order(struct vms_node *n, struct part *p, const struct wreq *w, int outcome,
		uint32_t outcome_aux)
{
	const struct vms_msg *m = w->m;
	struct vms_rec r = {
		.type = outcome			    ? VMS_REC_OUTCOME
			: w->kind == VMS_WRITE_ZERO ? VMS_REC_ZERO
						    : VMS_REC_WRITE,
		.branch = m->branch,
		.snap_gen = m->snap_gen,
		.extent = m->extent,
		.first_pos = p->next_pos,
		.op = opid_of(m),
		.outcome = outcome,
		.outcome_aux = outcome_aux,
	};
	struct vms_iov iov = {w->payload, w->payload_bytes};
	struct vms_outcome *oc;
	struct inval_what what;
	struct op *o;
	int rc;

	if ((m->flags & VMS_F_MEMORY) && !(m->flags & VMS_F_FUA))
		r.flags |= VMS_RF_MEMORY;
	if (!outcome) {
		vms_rec_pieces_encode(n->meta_buf, w->pieces, w->np);
		r.meta = n->meta_buf;
		r.meta_bytes = vms_rec_pieces_bytes(w->np);
		r.payload_bytes = (uint32_t)w->payload_bytes;
	}
	rc = part_order(n, p, &r, &iov, !outcome && w->payload_bytes ? 1 : 0);
	if (rc == VMS_E_FULL)
		return W_WAIT;
	if (rc) {
		write_answer(n, w, rc);
		return W_ANSWERED;
	}
	if (p->bytes_wait)
		part_stand_more(n, p, r.seq);
	o = op_new(n);
	o->part = p;
	o->state = OP_ORDERED;
	o->conn = w->conn;
	o->req = vms_msg_head(m);
	o->kind = w->kind;
	o->np = w->np;
	o->seq = r.seq;
	o->arrived_ms = n->now_ms;
	if (p->pend_tail)
		p->pend_tail->next = o;
	else
		p->pend_head = o;
	p->pend_tail = o;
	n->npend++;
	oc = vms_outcome_put(&n->outcomes, p->number, &r.op, outcome, outcome_aux, r.seq,
			     part_rec(p, r.seq)->log_pos, n->now_ms);
	oc->pending = o;
	n->st.write_bytes += w->payload_bytes;
	if (outcome)
		return W_ORDERED;
	session_inval_pieces(w->pieces, w->np, &what);
	o->inval_left = session_invalidate(n, p, m->branch, m->extent, &what, r.seq, m->sender, o);
	return W_ORDERED;
}

/* What it takes while it waits, at most: what came with it, and the chunks that it makes
 * the node read. */
static uint64_t wait_cost(const struct wreq *w)
{
	uint64_t chunks = (uint64_t)w->np * VMS_CHUNK_BYTES;

	return w->payload_bytes + w->np * sizeof(struct vms_piece) +
	       (w->kind == VMS_WRITE_CAW || w->kind == VMS_WRITE_ORWRITE ? 2 * chunks
		: w->kind == VMS_WRITE_REF || w->kind == VMS_WRITE_COPY	 ? chunks
									 : 0);
}

static struct op *op_copy(struct vms_node *n, struct part *p, const struct wreq *w)
{
	struct op *o = op_new(n);

	o->part = p;
	o->conn = w->conn;
	o->req = vms_msg_head(w->m);
	o->kind = w->kind;
	o->np = w->np;
	o->pieces = malloc(w->np * sizeof(*o->pieces));
	vms_assert(o->pieces);
	memcpy(o->pieces, w->pieces, w->np * sizeof(*o->pieces));
	o->payload_bytes = w->payload_bytes;
	if (w->payload_bytes) {
		o->payload = malloc(w->payload_bytes);
		vms_assert(o->payload);
		memcpy(o->payload, w->payload, w->payload_bytes);
	}
	o->arrived_ms = n->now_ms;
	n->nwait++;
	o->wait_bytes = wait_cost(w);
	n->wait_bytes += o->wait_bytes;
	return o;
}

void write_wait_drop(struct vms_node *n, struct op *o)
{
	n->nwait--;
	n->wait_bytes -= o->wait_bytes;
	op_free(n, o);
}

int write_try_order(struct vms_node *n, struct part *p, const struct wreq *w, bool waited)
{
	int rc = write_check(n, p, w, waited);

	if (rc)
		return rc;
	for (struct op *l = p->locks; l; l = l->next)
		if (write_overlaps(l, w))
			return W_WAIT;
	if (!write_can_order(n, p, w))
		return W_WAIT;
	if (wreq_is_locking(w)) {
		if (n->mut == MUT_LOCK_TWICE)
			write_admit(n, p, w);
		return W_WAIT; /* write_retry() makes it a lock, and admits it then */
	}
	if (!write_admit(n, p, w))
		return W_WAIT;
	return write_order(n, p, w, 0, 0);
}

static void wait_add(struct vms_node *n, struct part *p, const struct wreq *w)
{
	struct op *o;

	if (n->nwait >= NODE_WAIT_OPS_MAX || n->wait_bytes + wait_cost(w) > NODE_WAIT_BYTES_MAX) {
		write_answer(n, w,
			     !part_serving(p) && (w->m->flags & VMS_F_RETRY) ? VMS_E_AGAIN
									     : VMS_E_BUSY);
		return;
	}
	o = op_copy(n, p, w);
	o->state = OP_WAIT;
	if (p->wait_tail)
		p->wait_tail->next = o;
	else
		p->wait_head = o;
	p->wait_tail = o;
	p->nwait++;
	node_wake_at(n, n->now_ms + 1);
}

void write_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct wreq w = {.m = m, .conn = c->id, .pieces = n->piece_buf, .arrived_ms = n->now_ms};
	uint64_t at = 0;
	int np, rc;

	n->st.writes++;
	np = vms_write_body_decode(m, &w.kind, n->piece_buf);
	if (np <= 0 || m->slot >= NODE_SLOT_MAX || m->sender != c->sess->gateway ||
	    m->incarnation != c->sess->incarnation || m->sequence == 0) {
		write_answer(n, &w, VMS_E_PROTO);
		return;
	}
	/* a number above all would be the last one of its branch */
	if (m->payload_bytes > NODE_WRITE_BYTES_MAX || m->snap_gen > INT64_MAX) {
		write_answer(n, &w, VMS_E_INVAL);
		return;
	}
	w.np = (unsigned)np;
	w.payload = m->npayload ? m->payload[0].base : NULL;
	w.payload_bytes = m->payload_bytes;
	if (w.kind == VMS_WRITE_CAW)
		at = w.payload_bytes / 2;
	if ((w.kind == VMS_WRITE_REF || w.kind == VMS_WRITE_COPY) &&
	    (uint64_t)np * VMS_CHUNK_BYTES > NODE_WRITE_BYTES_MAX) {
		write_answer(n, &w, VMS_E_INVAL);
		return;
	}
	for (int i = 0; i < np && w.kind < VMS_WRITE_REF && w.kind != VMS_WRITE_ZERO; i++) {
		size_t len = vms_mask_sectors(n->piece_buf[i].mask) * VMS_LB_BYTES;

		if (vms_crc32c(0, w.payload + at, len) != n->piece_buf[i].crc) {
			write_answer(n, &w, VMS_E_CORRUPT);
			return;
		}
		at += len;
	}
	if (p && p->wait_head && p->primary && part_serving(p)) {
		rc = write_check(n, p, &w, false); /* keep the order of arrival */
		if (!rc)
			rc = W_WAIT;
	} else {
		rc = write_try_order(n, p, &w, false);
	}
	if (rc == W_WAIT)
		wait_add(n, p, &w);
	if (p && rc == W_WAIT && wreq_is_locking(&w))
		part_mark_retry(n, p);
}

/* The op's record is committed: keep its outcome, answer. */
void write_committed(struct vms_node *n, struct part *p, struct op *o, const struct vms_rec *r,
		     const struct vms_piece *pieces, unsigned np)
{
	struct vms_opid op = opid_of(&o->req);
	struct vms_outcome *oc = vms_outcome_find(&n->outcomes, p->number, &op);
	struct vms_msg re;
	struct seen seen;

	if (oc && oc->pending == o && !r->outcome && write_too_few(n, p) &&
	    n->mut != MUT_FEW_ACKS) {
		write_hold(p, o, oc);
		return;
	}
	if (oc && oc->pending == o)
		vms_outcome_settle(&n->outcomes, oc, n->now_ms);
	if (o->conn) {
		vms_msg_reply_init(&re, &o->req, r->outcome);
		re.epoch = p->conf.epoch;
		re.sequence = r->seq;
		re.aux = r->outcome_aux;
		if (np && part_see(n, p, r->branch, r->extent, VMS_GEN_LIVE, &seen))
			seen.ovl.n = 0;
		for (unsigned i = 0; i < np; i++) {
			vms_addr a = VMS_ADDR_ASK;
			struct vms_ovl_view v;
			unsigned k;

			/* the address only while nothing newer is ordered there (a page
			 * given out meanwhile says ASK and must go on saying so) */
			for (k = 0; k < pieces[i].count; k++) {
				vms_ovl_view_stack(&n->ovl, &seen.ovl,
						   (uint16_t)(pieces[i].chunk + k), r->seq,
						   VMS_ADDR_ASK, &v);
				if (v.uncommitted || v.newest_seq != r->seq)
					break;
				a = v.addr;
			}
			if (k < pieces[i].count)
				a = VMS_ADDR_ASK;
			vms_put_le64(n->addr_buf + 8 * i, a);
		}
		re.body = n->addr_buf;
		re.body_bytes = 8 * np;
		node_send(n, o->conn, &re);
	}
	op_free(n, o);
}
