// SPDX-License-Identifier: GPL-2.0-only
/* May a WRITE be ordered? All checks of "Nothing late", and how many writers the log bears. */
#include "backend/branch.h"
#include "backend/lease.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/outcome.h"
#include "backend/write_int.h"
#include "backend/yield.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/bytes.h"

void write_answer(struct vms_node *n, const struct wreq *w, int status)
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

/* An op that was ordered before: its old answer. Addresses are not repeated (a
 * later write may have replaced them): ASK. */
void write_answer_again(struct vms_node *n, const struct wreq *w, struct part *p,
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

int write_check(struct vms_node *n, struct part *p, const struct wreq *w, bool waited)
{
	const struct vms_msg *m = w->m;
	struct vms_opid op = opid_of(m);
	struct vms_outcome *oc;
	struct gwfloor *g;
	struct branch *b;
	int rc = 0;

	if (!p || !p->known || !p->primary) {
		write_answer(n, w, VMS_E_NOT_PRIMARY);
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
		write_answer(n, w,
			     (m->flags & VMS_F_RETRY) ? VMS_E_AGAIN
			     : waited		      ? VMS_E_BUSY
						      : VMS_E_TOO_OLD);
		return W_ANSWERED;
	}
	if (oc && oc->op.sequence == op.sequence) {
		if (!oc->status && write_too_few(n, p) && n->mut != MUT_FEW_ACKS)
			write_hold_again(n, p, w, oc);
		else
			write_answer_again(n, w, p, oc);
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
	else if (g && (op.incarnation < g->incarnation || op.incarnation < g->min) &&
		 n->mut != MUT_NO_INC_FLOOR)
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
	else if (part_used_up(n, p, w->kind != VMS_WRITE_ZERO))
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
		write_answer(n, w, rc);
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

uint64_t wreq_log_bytes(const struct wreq *w)
{
	bool refers = w->kind == VMS_WRITE_REF || w->kind == VMS_WRITE_COPY;

	return (refers ? (uint64_t)w->np * VMS_CHUNK_BYTES : w->payload_bytes) + 512;
}

static bool log_admit(struct vms_node *n, const struct part *p, uint64_t bytes)
{
	uint64_t client = vms_wal_size_bytes(n->wal) / 8 * 7;
	uint64_t f = fill_permille(n, p), rate, ms, most;

	/* Locks come on top, as soon as they have read what they refer to. */
	if (n->lock_bytes && n->mut != MUT_LOCK_FREE)
		f += n->lock_bytes * 1000 / client;
	if (f <= 500)
		return true;
	if (f >= 930)
		return false; /* the rest is for what is on its way already */
	rate = (256ull << 10) * (1000 - f) * (1000 - f) / 250000 + 2048; /* per ms */
	ms = n->now_ms - n->pace_ms;
	n->pace_ms = n->now_ms;
	n->pace_bytes += rate * (ms > 100 ? 100 : ms);
	/* What is saved up must not fill a small log before anybody hears how full it is. */
	most = rate * 100 < client / 32 ? rate * 100 : client / 32;
	if (n->pace_bytes > most)
		n->pace_bytes = most;
	if (n->pace_bytes < bytes && n->pace_bytes < most / 2)
		return false;
	n->pace_bytes -= bytes < n->pace_bytes ? bytes : n->pace_bytes;
	return true;
}

bool write_admit(struct vms_node *n, struct part *p, const struct wreq *w)
{
	uint64_t bytes = n->mut == MUT_LOCK_FREE ? w->payload_bytes + 512 : wreq_log_bytes(w);

	if (!yield_admit(n, p, w->arrived_ms) || !log_admit(n, p, bytes))
		return false;
	yield_count(n, p, bytes);
	return true;
}

bool write_overlaps(const struct op *l, const struct wreq *w)
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

bool write_can_order(struct vms_node *n, struct part *p, const struct wreq *w)
{
	if (!part_members_ready(p) || !part_leased(n, p))
		return false;
	if (write_too_few(n, p))
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
