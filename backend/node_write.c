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
 * Keeps invariants 2, 3, 4, 8, 9, 10 (rules "Nothing late", A9, C3, C5, C6, C11).
 */
#include "backend/node_write.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/ctr.h"
#include "backend/fetch.h"
#include "backend/lease.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_flush.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "backend/write_ref.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define NODE_WRITE_BYTES_MAX (2u << 20)
#define NODE_STAND_SHARE     8u /* partitions that stand may have an eighth of the log */

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
	free(o->pieces);
	free(o->payload);
	o->next = n->free_ops;
	n->free_ops = o;
}

/* One WRITE, borrowed from a frame or from a waiting op. */
struct wreq {
	const struct vms_msg *m;
	vms_conn_id conn;
	uint8_t kind;
	unsigned np;
	const struct vms_piece *pieces;
	const uint8_t *payload;
	uint64_t payload_bytes;
};
enum { W_ORDERED, W_ANSWERED, W_WAIT };

static void answer(struct vms_node *n, const struct wreq *w, int status)
{
	if (status == VMS_E_BUSY)
		n->st.busy++;
	else if (status == VMS_E_TOO_OLD)
		n->st.too_old++;
	node_reply(n, w->conn, w->m, status);
}

/* Names the number to go by: a gateway that the catalog does not reach may need it. */
static void answer_snap_gen(struct vms_node *n, const struct wreq *w, const struct part *p,
			    const struct branch *b)
{
	struct vms_msg re;

	vms_msg_reply_init(&re, w->m, VMS_E_SNAP_GEN);
	re.epoch = p->conf.epoch;
	re.snap_gen = b->gen_min;
	node_send(n, w->conn, &re);
}

static struct vms_opid opid_of(const struct vms_msg *m)
{
	return (struct vms_opid){m->sender, m->slot, m->incarnation, m->sequence};
}

/* An op that was ordered before: its old answer. Addresses are not repeated (a
 * later write may have replaced them): ASK. */
static void answer_again(struct vms_node *n, const struct wreq *w, struct part *p,
			 const struct vms_outcome *oc)
{
	struct vms_msg re;

	n->st.dups++;
	vms_msg_reply_init(&re, w->m, oc->status);
	re.epoch = p->conf.epoch;
	re.sequence = oc->seq;
	re.aux = oc->aux;
	if (oc->status == 0) {
		for (unsigned i = 0; i < w->np; i++)
			vms_put_le64(n->addr_buf + 8 * i, VMS_ADDR_ASK);
		re.body = n->addr_buf;
		re.body_bytes = 8 * w->np;
	}
	node_send(n, w->conn, &re);
}

bool part_no_room(const struct vms_node *n, const struct part *p)
{
	bool full = n->nospc;

	for (unsigned i = 0; i < p->nm && n->mut != MUT_FULL_MEMBER; i++)
		full |= i != p->self && p->m[i].peer && p->m[i].peer->full;
	return full;
}

bool part_cramped(const struct vms_node *n, const struct part *p)
{
	bool cramped = n->cramped;

	for (unsigned i = 0; i < p->nm; i++)
		cramped |= i != p->self && p->m[i].peer && p->m[i].peer->cramped;
	return cramped && n->mut != MUT_FULL_MOVE;
}

/* The checks, in their order. 0: may be ordered; 1: answered; 2: must wait. */
static int check(struct vms_node *n, struct part *p, const struct wreq *w, bool waited)
{
	const struct vms_msg *m = w->m;
	struct vms_opid op = opid_of(m);
	struct vms_outcome *oc;
	struct gwfloor *g;
	struct branch *b;
	int rc = 0;

	if (!p || !p->known || !p->primary) {
		answer(n, w, VMS_E_NOT_PRIMARY);
		return W_ANSWERED;
	}
	oc = n->mut == MUT_SKIP_DUP ? NULL : vms_outcome_find(&n->outcomes, p->number, &op);
	if (oc && oc->op.sequence == op.sequence && oc->pending) {
		struct op *o = oc->pending;

		o->conn = w->conn; /* the answer goes to the newest asker */
		o->req.req_id = m->req_id;
		return W_ANSWERED;
	}
	if (!part_serving(p)) {
		/* outcomes that the log brought are not known to be committed yet */
		if (n->now_ms <= session_op_deadline(n, m))
			return W_WAIT;
		answer(n, w,
		       (m->flags & VMS_F_RETRY) ? VMS_E_AGAIN
		       : waited			? VMS_E_BUSY
						: VMS_E_TOO_OLD);
		return W_ANSWERED;
	}
	if (oc && oc->op.sequence == op.sequence) {
		answer_again(n, w, p, oc);
		return W_ANSWERED;
	}
	g = node_gwfloor(n, op.gateway, false);
	b = node_branch(n, m->branch, false);
	if (oc && oc->op.sequence > op.sequence)
		rc = VMS_E_STALE_SEQ;
	else if (m->epoch < p->conf.epoch)
		rc = VMS_E_EPOCH;
	else if (m->epoch > p->conf.epoch)
		return W_WAIT; /* the own watch brings that epoch soon */
	else if (g && op.incarnation < g->incarnation && n->mut != MUT_NO_INC_FLOOR)
		rc = VMS_E_INCARNATION;
	else if (!b || !b->known)
		rc = VMS_E_AGAIN; /* the own watch brings it soon */
	else if (m->snap_gen < b->gen_min && n->mut != MUT_SNAP_FLOOR)
		rc = VMS_E_SNAP_GEN;
	else if ((m->lun_fence < b->fence_min || b->dead) && n->mut != MUT_BACK_FENCE)
		rc = VMS_E_LUN_FENCE;
	else if (session_age_check(n, m))
		rc = waited ? VMS_E_BUSY : VMS_E_TOO_OLD;
	else if (session_tomb(n, &op))
		rc = VMS_E_CANCELLED;
	else if (w->kind != VMS_WRITE_ZERO && part_no_room(n, p))
		rc = VMS_E_NOSPC;
	else if (n->stopping)
		rc = VMS_E_STOPPING;
	if (!rc)
		return 0;
	if (rc == VMS_E_NOSPC)
		n->st.nospc++;
	if (rc == VMS_E_STALE_SEQ)
		n->st.stale++;
	if (rc == VMS_E_SNAP_GEN)
		answer_snap_gen(n, w, p, b);
	else
		answer(n, w, rc);
	return W_ANSWERED;
}

/* How full is the log that this write would go to, own or a member's? */
static uint32_t fill_permille(const struct vms_node *n, const struct part *p)
{
	uint32_t f = log_permille(n);

	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && p->m[i].peer && p->m[i].peer->log_permille > f)
			f = p->m[i].peer->log_permille;
	return f;
}

/* Above half full, writers are admitted at a rate that falls smoothly. */
static bool admit(struct vms_node *n, const struct part *p, uint64_t bytes)
{
	uint32_t f = fill_permille(n, p);
	uint64_t rate, ms;

	if (f <= 500)
		return true;
	if (f >= 930)
		return false; /* the rest is for what is on its way already */
	rate = (256ull << 10) * (1000 - f) * (1000 - f) / 250000 + 2048; /* per ms */
	ms = n->now_ms - n->pace_ms;
	n->pace_ms = n->now_ms;
	n->pace_bytes += rate * (ms > 100 ? 100 : ms);
	if (n->pace_bytes > rate * 100)
		n->pace_bytes = rate * 100;
	if (n->pace_bytes < bytes && n->pace_bytes < rate * 50)
		return false;
	n->pace_bytes -= bytes < n->pace_bytes ? bytes : n->pace_bytes;
	return true;
}

static bool overlaps(const struct op *l, const struct wreq *w)
{
	if (l->req.branch != w->m->branch || l->req.extent != w->m->extent)
		return false;
	for (unsigned i = 0; i < l->np; i++)
		for (unsigned k = 0; k < w->np; k++)
			if (l->pieces[i].chunk < w->pieces[k].chunk + w->pieces[k].count &&
			    w->pieces[k].chunk < l->pieces[i].chunk + l->pieces[i].count)
				return true;
	return false;
}

static void part_stand_more(struct vms_node *n, struct part *p, uint64_t seq)
{
	const struct prec *r = part_rec(p, seq);

	if (!r)
		return;
	p->stand_bytes += r->bytes;
	n->stand_bytes += r->bytes;
}

void part_stands(struct vms_node *n, struct part *p, bool stands)
{
	if (stands == p->bytes_wait)
		return;
	p->bytes_wait = stands;
	n->stand_bytes -= p->stand_bytes;
	p->stand_bytes = 0;
	for (uint64_t s = p->applied + 1; stands && s <= p->seq_last; s++)
		part_stand_more(n, p, s);
}

/* Nothing of what it orders would leave the log, which is the other partitions', too. */
bool part_stands_full(const struct vms_node *n, const struct part *p)
{
	return p->bytes_wait && n->mut != MUT_STAND_FILLS &&
	       n->stand_bytes >= vms_wal_size_bytes(n->wal) / NODE_STAND_SHARE;
}

/* Can anything be ordered in this partition now? */
static bool can_order(struct vms_node *n, struct part *p, const struct wreq *w)
{
	if (!part_members_ready(p) || !part_leased(n, p))
		return false;
	if (p->nm < n->cluster.min_copies && n->mut != MUT_MIN_COPIES)
		return false; /* too few copies: they wait, then end BUSY */
	if (part_stands_full(n, p))
		return false;
	if (p->next_pos + w->np + NODE_CEILING_STEP / 2 > p->ceiling_ordered)
		part_order_ceiling(n, p);
	if (p->next_pos + w->np > p->ceiling)
		return false;
	if ((w->m->flags & VMS_F_MEMORY) && !(w->m->flags & VMS_F_FUA) && !p->mem_ok) {
		if (!p->mem_ordered) {
			p->mem_ordered = true;
			part_order_ceiling(n, p);
		}
		return false;
	}
	return true;
}

static int order(struct vms_node *n, struct part *p, const struct wreq *w, int outcome,
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
		answer(n, w, rc);
		return W_ANSWERED;
	}
	if (p->bytes_wait)
		part_stand_more(n, p, r.seq);
	o = op_new(n);
	o->part = p;
	o->state = OP_ORDERED;
	o->conn = w->conn;
	o->req = *m;
	o->req.body = NULL;
	o->req.payload = NULL;
	o->req.npayload = 0;
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
	o->req = *w->m;
	o->req.body = NULL;
	o->req.payload = NULL;
	o->req.npayload = 0;
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

static struct wreq wreq_of(const struct op *o)
{
	return (struct wreq){&o->req,	o->conn,    o->kind,	     o->np,
			     o->pieces, o->payload, o->payload_bytes};
}

static void wait_drop(struct vms_node *n, struct op *o)
{
	n->nwait--;
	n->wait_bytes -= o->wait_bytes;
	op_free(n, o);
}

static bool is_locking(const struct wreq *w)
{
	return w->kind == VMS_WRITE_CAW || w->kind == VMS_WRITE_ORWRITE ||
	       w->kind == VMS_WRITE_REF || w->kind == VMS_WRITE_COPY;
}

/* Order it now if that is possible. locked: the op holds the lock itself. */
static int try_order(struct vms_node *n, struct part *p, const struct wreq *w, bool waited)
{
	int rc = check(n, p, w, waited);

	if (rc)
		return rc;
	for (struct op *l = p->locks; l; l = l->next)
		if (overlaps(l, w))
			return W_WAIT;
	if (!can_order(n, p, w) || !admit(n, p, w->payload_bytes + 512))
		return W_WAIT;
	if (is_locking(w))
		return W_WAIT; /* the caller makes it a lock */
	return order(n, p, w, 0, 0);
}

static void lock_step(struct vms_node *n, struct part *p);

static void lock_add(struct vms_node *n, struct part *p, struct op *o)
{
	struct op **at = &p->locks;

	while (*at)
		at = &(*at)->next;
	o->next = NULL;
	o->state = OP_LOCK;
	*at = o;
	part_mark_retry(n, p);
}

static void wait_add(struct vms_node *n, struct part *p, const struct wreq *w)
{
	struct op *o;

	if (n->nwait >= NODE_WAIT_OPS_MAX || n->wait_bytes + wait_cost(w) > NODE_WAIT_BYTES_MAX) {
		answer(n, w,
		       !part_serving(p) && (w->m->flags & VMS_F_RETRY) ? VMS_E_AGAIN : VMS_E_BUSY);
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
	struct wreq w = {.m = m, .conn = c->id, .pieces = n->piece_buf};
	uint64_t at = 0;
	int np, rc;

	n->st.writes++;
	np = vms_write_body_decode(m, &w.kind, n->piece_buf);
	if (np <= 0 || m->slot >= NODE_SLOT_MAX || m->sender != c->sess->gateway ||
	    m->incarnation != c->sess->incarnation || m->sequence == 0) {
		answer(n, &w, VMS_E_PROTO);
		return;
	}
	/* a number above all would be the last one of its branch */
	if (m->payload_bytes > NODE_WRITE_BYTES_MAX || m->snap_gen > INT64_MAX) {
		answer(n, &w, VMS_E_INVAL);
		return;
	}
	w.np = (unsigned)np;
	w.payload = m->npayload ? m->payload[0].base : NULL;
	w.payload_bytes = m->payload_bytes;
	if (w.kind == VMS_WRITE_CAW)
		at = w.payload_bytes / 2;
	if ((w.kind == VMS_WRITE_REF || w.kind == VMS_WRITE_COPY) &&
	    (uint64_t)np * VMS_CHUNK_BYTES > NODE_WRITE_BYTES_MAX) {
		answer(n, &w, VMS_E_INVAL);
		return;
	}
	for (int i = 0; i < np && w.kind < VMS_WRITE_REF && w.kind != VMS_WRITE_ZERO; i++) {
		size_t len = vms_mask_sectors(n->piece_buf[i].mask) * VMS_LB_BYTES;

		if (vms_crc32c(0, w.payload + at, len) != n->piece_buf[i].crc) {
			answer(n, &w, VMS_E_CORRUPT);
			return;
		}
		at += len;
	}
	if (p && p->wait_head && p->primary && part_serving(p)) {
		rc = check(n, p, &w, false); /* keep the order of arrival */
		if (!rc)
			rc = W_WAIT;
	} else {
		rc = try_order(n, p, &w, false);
	}
	if (rc == W_WAIT)
		wait_add(n, p, &w);
	if (p && rc == W_WAIT && is_locking(&w))
		part_mark_retry(n, p);
}

/* ---- COMPARE AND WRITE, ORWRITE ---- */

struct lock_read {
	struct op *o;
	struct part *p;
	uint8_t *data;	/* np chunks */
	uint8_t *patch; /* the same, with masks */
	uint8_t *patched;
};

static void lock_unlink(struct part *p, struct op *o)
{
	struct op **at = &p->locks;

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
}

static void lock_end(struct vms_node *n, struct part *p, struct op *o)
{
	lock_unlink(p, o);
	wait_drop(n, o);
	part_mark_retry(n, p);
}

/* All bytes are there: compare or merge, then order in this same step. */
static void lock_ready(struct vms_node *n, struct part *p, struct op *o, const uint8_t *data)
{
	struct wreq w = wreq_of(o);
	uint8_t *in = o->payload;
	uint64_t half = o->payload_bytes / 2, off = 0, diff = 0;
	bool same = true;
	int rc = o->dead ? W_ANSWERED : check(n, p, &w, true);

	if (!rc && !can_order(n, p, &w))
		rc = W_WAIT;
	if (rc == W_WAIT) {
		o->state = OP_LOCK; /* everything again, reading included */
		node_wake_at(n, n->now_ms + 1);
		return;
	}
	if (rc) {
		lock_end(n, p, o);
		return;
	}
	for (unsigned i = 0; i < o->np; i++)
		for (unsigned s = 0; s < 8; s++) {
			const uint8_t *old = data + i * VMS_CHUNK_BYTES + s * VMS_LB_BYTES;

			if (!(o->pieces[i].mask >> s & 1))
				continue;
			if (o->kind == VMS_WRITE_CAW) {
				for (unsigned k = 0; same && k < VMS_LB_BYTES; k++)
					if (in[off + k] != old[k]) {
						same = false;
						diff = off + k;
					}
			} else {
				for (unsigned k = 0; k < VMS_LB_BYTES; k++)
					in[off + k] |= old[k];
			}
			off += VMS_LB_BYTES;
		}
	if (o->kind == VMS_WRITE_CAW) {
		w.payload = o->payload + half;
		w.payload_bytes = half;
	} else {
		off = 0;
		for (unsigned i = 0; i < o->np; i++) {
			size_t len = vms_mask_sectors(o->pieces[i].mask) * VMS_LB_BYTES;

			o->pieces[i].crc = vms_crc32c(0, o->payload + off, len);
			off += len;
		}
	}
	rc = same ? order(n, p, &w, 0, 0) : order(n, p, &w, VMS_E_MISCOMPARE, (uint32_t)diff);
	if (rc == W_WAIT) {
		/* the log is full; ORWRITE's bytes are merged already, which does not
		 * change what merging them again gives */
		o->state = OP_LOCK;
		node_wake_at(n, n->now_ms + 1);
		return;
	}
	lock_end(n, p, o);
}

static void lock_read_done(struct vms_node *n, struct fetch *f)
{
	struct lock_read *lr = f->arg;
	struct op *o = lr->o;
	struct part *p = lr->p;
	int bad = 0;

	o->read_busy = false;
	o->fetch = NULL;
	for (unsigned i = 0; i < o->np; i++) {
		struct fetch_ent *e = &f->e[i];
		uint8_t need = o->pieces[i].mask & (uint8_t)~lr->patched[i];

		if (need && (e->status || (need & ~e->valid)))
			bad = e->status && e->status != VMS_E_BAD_SECTORS ? e->status
									  : VMS_E_BAD_SECTORS;
		chunk_merge(e->buf, lr->patch + i * VMS_CHUNK_BYTES, lr->patched[i]);
	}
	if (bad == VMS_E_GONE || bad == VMS_E_UNKNOWN || bad == VMS_E_AGAIN ||
	    bad == VMS_E_STOPPING) {
		o->state = OP_LOCK; /* moved meanwhile: look again */
		if (bad != VMS_E_STOPPING)
			part_mark_retry(n, p);
	} else if (bad) {
		struct wreq w = wreq_of(o);

		answer(n, &w, bad);
		lock_end(n, p, o);
	} else {
		lock_ready(n, p, o, lr->data);
	}
	free(lr->data);
	free(lr->patch);
	free(lr->patched);
	free(lr);
	fetch_free(f);
}

static void lock_read(struct vms_node *n, struct part *p, struct op *o)
{
	struct lock_read *lr;
	struct vms_page page;
	struct seen seen;
	unsigned sub = UINT32_MAX;
	struct fetch *f;
	int rc = 0;

	if (part_see(n, p, o->req.branch, o->req.extent, VMS_GEN_LIVE, &seen))
		return; /* the branch is known since the op was checked */
	for (unsigned i = 0; i < o->np; i++) {
		struct vms_ovl_view v;

		vms_ovl_view_stack(&n->ovl, &seen.ovl, o->pieces[i].chunk, p->committed,
				   VMS_ADDR_ASK, &v);
		if (v.uncommitted)
			return; /* a commit wakes us */
	}
	lr = calloc(1, sizeof(*lr));
	f = fetch_new(n, o->np);
	vms_assert(lr && f);
	lr->o = o;
	lr->p = p;
	lr->data = calloc(o->np, VMS_CHUNK_BYTES);
	lr->patch = calloc(o->np, VMS_CHUNK_BYTES);
	lr->patched = calloc(o->np, 1);
	vms_assert(lr->data && lr->patch && lr->patched);
	f->done = lock_read_done;
	f->arg = lr;
	for (unsigned i = 0; i < o->np; i++) {
		unsigned ch = o->pieces[i].chunk;
		struct vms_ovl_view v;

		if (ch / VMS_SUBEXT_CHUNKS != sub) {
			sub = ch / VMS_SUBEXT_CHUNKS;
			rc = part_page(n, p, &seen, sub, &page);
		}
		part_view(n, p, &seen, (uint16_t)ch, p->committed, VMS_ADDR_ASK, &v);
		if (rc) {
			memset(page.entry, 0, sizeof(page.entry));
			f->e[i].skip = true;
			f->e[i].status = VMS_E_AGAIN; /* the page is being repaired */
		}
		chunk_resolve(n, p, &v, &page, (uint16_t)ch, lr->patch + i * VMS_CHUNK_BYTES,
			      &lr->patched[i], &f->e[i].addr);
		f->e[i].buf = lr->data + i * VMS_CHUNK_BYTES;
	}
	o->state = OP_READ;
	o->read_busy = true;
	o->fetch = f;
	fetch_start(n, f);
}

static void lock_step(struct vms_node *n, struct part *p)
{
	struct op *o, *next;

	for (o = p->locks; o; o = next) {
		next = o->next;
		if (o->state != OP_LOCK || o->read_busy)
			continue;
		if (o->dead) {
			lock_end(n, p, o);
			continue;
		}
		if (part_serving(p) && o->kind == VMS_WRITE_REF)
			write_ref_look(n, p, o);
		else if (part_serving(p) && o->kind == VMS_WRITE_COPY)
			write_copy_look(n, p, o);
		else if (part_serving(p))
			lock_read(n, p, o);
	}
}

/* The chunks of a write by reference: all there (their bytes in data), or which. */
void write_ref_ready(struct vms_node *n, struct part *p, struct op *o, const uint8_t *data,
		     const uint8_t *found)
{
	struct wreq w = wreq_of(o);
	int rc = o->dead ? W_ANSWERED : check(n, p, &w, true);
	bool all = data != NULL;

	for (unsigned i = 0; i < o->np; i++)
		all &= found[i] != 0;
	if (!rc && !all) {
		struct vms_msg re;

		vms_msg_reply_init(&re, &o->req, VMS_E_NOENT);
		re.epoch = p->conf.epoch;
		re.body = found;
		re.body_bytes = o->np;
		node_send(n, o->conn, &re);
		rc = W_ANSWERED;
	}
	if (!rc && !can_order(n, p, &w))
		rc = W_WAIT;
	if (!rc) {
		w.payload = data;
		w.payload_bytes = (uint64_t)o->np * VMS_CHUNK_BYTES;
		rc = order(n, p, &w, 0, 0);
	}
	if (rc == W_WAIT) {
		o->state = OP_LOCK; /* everything again, looking up included */
		node_wake_at(n, n->now_ms + 1);
		return;
	}
	lock_end(n, p, o);
}

/* ---- the waiting queue ---- */

void write_retry(struct vms_node *n, struct part *p)
{
	struct op *o;

	if (p->locks)
		lock_step(n, p);
	while ((o = p->wait_head)) {
		struct wreq w = wreq_of(o);
		bool lock = false;
		int rc;

		if (o->dead) {
			rc = W_ANSWERED;
		} else if (is_locking(&w)) {
			rc = check(n, p, &w, true);
			if (!rc) {
				for (struct op *l = p->locks; l; l = l->next)
					if (overlaps(l, &w))
						rc = W_WAIT;
				if (!rc && can_order(n, p, &w) && admit(n, p, w.payload_bytes))
					lock = true;
				else
					rc = W_WAIT;
			}
		} else {
			rc = try_order(n, p, &w, true);
		}
		if (rc == W_WAIT)
			break;
		p->wait_head = o->next;
		if (!p->wait_head)
			p->wait_tail = NULL;
		p->nwait--;
		if (lock)
			lock_add(n, p, o);
		else
			wait_drop(n, o);
	}
}

/* Ops whose age has ended. */
void write_timer(struct vms_node *n, struct part *p)
{
	struct op **at = &p->wait_head, *o;

	p->wait_tail = NULL;
	while ((o = *at)) {
		struct wreq w = wreq_of(o);

		if (!o->dead && n->now_ms <= session_op_deadline(n, &o->req)) {
			p->wait_tail = o;
			at = &o->next;
			continue;
		}
		/* A partition that has just begun to serve again may know the op: its
		 * outcome came with the log, and then it must not be called BUSY. */
		if (!o->dead && !part_serving(p))
			answer(n, &w, (o->req.flags & VMS_F_RETRY) ? VMS_E_AGAIN : VMS_E_BUSY);
		else if (!o->dead && check(n, p, &w, true) != W_ANSWERED)
			answer(n, &w, VMS_E_BUSY);
		*at = o->next;
		p->nwait--;
		wait_drop(n, o);
	}
	for (o = p->locks; o;) {
		struct op *next = o->next;

		if (o->state == OP_LOCK && !o->read_busy &&
		    (o->dead || n->now_ms > session_op_deadline(n, &o->req))) {
			struct wreq w = wreq_of(o);

			if (!o->dead)
				answer(n, &w,
				       !part_serving(p) && (o->req.flags & VMS_F_RETRY)
					       ? VMS_E_AGAIN
					       : VMS_E_BUSY);
			lock_end(n, p, o);
		}
		o = next;
	}
	part_mark_retry(n, p);
}

/* A connection ended or was replaced: its ops that are not ordered never will
 * be; ordered ones lose their route until they are asked for again. */
void write_conn_void(struct vms_node *n, vms_conn_id conn)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		for (struct op *o = p->wait_head; o; o = o->next)
			if (o->conn == conn)
				o->dead = true;
		for (struct op *o = p->locks; o; o = o->next)
			if (o->conn == conn)
				o->dead = true;
		for (struct op *o = p->pend_head; o; o = o->next)
			if (o->conn == conn)
				o->conn = 0;
	}
}

/* Ops that are ordered may be in the next primary's log or not: their gateway asks it.
 * The others have surely not happened here. */
void write_demote(struct vms_node *n, struct part *p)
{
	struct op *o;

	for (struct session *s = n->sessions; s; s = s->next)
		for (struct inval *iv = s->invals; iv; iv = iv->next)
			if (iv->op && iv->op->part == p)
				iv->op = NULL;
	while ((o = p->pend_head)) {
		struct vms_opid op = opid_of(&o->req);
		struct vms_outcome *oc = vms_outcome_find(&n->outcomes, p->number, &op);

		p->pend_head = o->next;
		n->npend--;
		if (oc && oc->pending == o)
			vms_outcome_settle(&n->outcomes, oc, n->now_ms);
		if (o->conn)
			node_reply(n, o->conn, &o->req, VMS_E_DISCONNECTED);
		op_free(n, o);
	}
	p->pend_tail = NULL;
	while ((o = p->wait_head)) {
		struct wreq w = wreq_of(o);

		p->wait_head = o->next;
		p->nwait--;
		if (!o->dead)
			answer(n, &w, VMS_E_NOT_PRIMARY);
		wait_drop(n, o);
	}
	p->wait_tail = NULL;
	for (o = p->locks; o;) {
		struct op *next = o->next;
		struct wreq w = wreq_of(o);

		/* those that are read for end when they have been read */
		if (o->state == OP_LOCK && !o->read_busy) {
			if (!o->dead)
				answer(n, &w, VMS_E_NOT_PRIMARY);
			lock_end(n, p, o);
		}
		o = next;
	}
	for (struct flush *f = n->flushes; f; f = f->next)
		for (size_t i = 0; i < f->want.n; i++)
			f->moved |= f->want.d[i].part == p->number;
}

/* CANCEL: drop the op if it waits. */
bool write_cancel(struct vms_node *n, struct part *p, const struct vms_opid *op)
{
	bool found = false;

	for (int k = 0; k < 2; k++)
		for (struct op *o = k ? p->locks : p->wait_head; o; o = o->next)
			if (o->req.sender == op->gateway && o->req.incarnation == op->incarnation &&
			    o->req.slot == op->slot && o->req.sequence <= op->sequence) {
				struct wreq w = wreq_of(o);

				if (!o->dead)
					answer(n, &w, VMS_E_CANCELLED);
				o->dead = true;
				found = true;
			}
	if (found)
		part_mark_retry(n, p);
	return found;
}

/* The op's record is committed: keep its outcome, answer. */
void write_committed(struct vms_node *n, struct part *p, struct op *o, const struct vms_rec *r,
		     const struct vms_piece *pieces, unsigned np)
{
	struct vms_opid op = opid_of(&o->req);
	struct vms_outcome *oc = vms_outcome_find(&n->outcomes, p->number, &op);
	struct vms_msg re;
	struct seen seen;

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

/* ---- TRIM ---- */

/* All versions of the branch lose their tail, snapshots too: for volumes that have
 * none. Without its own page an ancestor's would show again, and descendants would
 * lose what they show: refused. */
void trim_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct flush *f;

	if (m->branch == 0 || m->aux >= VMS_EXTENT_CHUNKS) {
		node_reply(n, c->id, m, VMS_E_INVAL);
		return;
	}
	if (!node_branch_known(n, m->branch) || !branch_alone(n, m->branch)) {
		node_reply(n, c->id, m,
			   node_branch_known(n, m->branch) ? VMS_E_UNSUPPORTED : VMS_E_AGAIN);
		return;
	}
	if (part_behind(n, m->sequence)) {
		node_reply(n, c->id, m, VMS_E_AGAIN);
		return;
	}
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (p && p->known && p->primary && (!part_serving(p) || !part_members_ready(p))) {
			node_reply(n, c->id, m, VMS_E_AGAIN);
			return;
		}
	}
	f = flush_new(n, c, m);
	if (!f)
		return;
	f->armed = true;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];
		struct vms_rec r = {.type = VMS_REC_TRIM,
				    .flags = VMS_RF_INTERNAL,
				    .branch = m->branch,
				    .extent = m->extent,
				    .aux = m->aux};

		if (!p || !p->known || !p->primary)
			continue;
		if (part_order(n, p, &r, NULL, 0)) {
			/* TRIM is idempotent: the tool repeats it */
			node_reply(n, c->id, m, VMS_E_BUSY);
			flush_conn_void(n, c->id);
			return;
		}
		VMS_VEC_RESERVE(&f->want, f->want.n + 1);
		f->want.d[f->want.n].part = i;
		f->want.d[f->want.n++].seq = r.seq;
	}
}

/* Two segments of moved chunks: as many as are on their way in a partition. */
#define MOVE_BYTES (2u * (1 + VMS_SEG_ENTRIES_MAX) * VMS_CHUNK_BYTES)

/* How much room a node keeps: what its log holds must still fit into containers, with
 * some to collect in. The disk is asked now and then; what has gone into the log since
 * is on its way there. */
static void space_look(struct vms_node *n)
{
	uint64_t taken = vms_wal_appended_pos(n->wal) - n->space_pos;
	bool before = n->nospc, nearfull;

	if (n->now_ms >= n->space_ms) {
		uint64_t collect = n->conf.container_bytes_max;

		n->space_ms = n->now_ms + 500;
		if (n->disk.ops->space(n->disk.ctx, &n->space_free, &n->space_total,
				       &n->meta_permille))
			return;
		if (collect > n->space_total / 16)
			collect = n->space_total / 16;
		n->space_need = vms_wal_used_bytes(n->wal) + collect + n->space_total / 32;
		n->space_pos = vms_wal_appended_pos(n->wal);
		n->cramped = n->space_free < vms_wal_used_bytes(n->wal) + MOVE_BYTES;
		nearfull = n->space_total - n->space_free > n->space_total / 20 * 17 ||
			   n->meta_permille > 700;
		if (nearfull && !n->nearfull && !n->nospc)
			node_log(n, VMS_LOG_WARN,
				 "the disk or the index is nearly full: add a "
				 "node, or delete something (vmstore-ring advise)");
		n->nearfull = nearfull;
		n->nospc = n->space_free < n->space_need + (before ? n->space_total / 64 : 0) ||
			   n->meta_permille > (before ? 780 : 800);
	} else if (!before && n->space_total && n->mut != MUT_FULL_LATE) {
		n->nospc = n->space_free < n->space_need + taken;
	}
	if (n->nospc != before)
		node_log(n, VMS_LOG_WARN,
			 n->nospc ? "space is low: new writes are refused, reads go on"
				  : "space is there again: writes are taken");
}

/* Paced writers, unsynced memory-mode records, free space. */
void admission_timer(struct vms_node *n)
{
	if (n->nwait) {
		for (uint32_t i = 0; i < n->nparts; i++)
			if (n->part[i] && (n->part[i]->wait_head || n->part[i]->locks))
				part_mark_retry(n, n->part[i]);
		node_wake_at(n, n->now_ms + 1);
	}
	if (n->dur.n && n->now_ms - n->mem_sync_ms >= 1000) {
		n->mem_sync_ms = n->now_ms;
		n->want_sync = true;
	}
	space_look(n);
}
