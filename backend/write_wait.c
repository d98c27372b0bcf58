// SPDX-License-Identifier: GPL-2.0-only
/* WRITEs that wait to be ordered: again and again, until their age ends, their connection or
 * the partition's lead goes, or they are cancelled. */
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_flush.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/outcome.h"
#include "backend/write_int.h"
#include "include/types.h"
#include "include/wire.h"

void write_retry(struct vms_node *n, struct part *p)
{
	struct op *o;

	if (p->locks)
		write_lock_step(n, p);
	while ((o = p->wait_head)) {
		struct wreq w = wreq_of(o);
		bool lock = false;
		int rc;

		if (o->dead) {
			rc = W_ANSWERED;
		} else if (wreq_is_locking(&w)) {
			rc = write_check(n, p, &w, true);
			if (!rc) {
				for (struct op *l = p->locks; l; l = l->next)
					if (write_overlaps(l, &w))
						rc = W_WAIT;
				if (!rc && write_can_order(n, p, &w) && write_admit(n, p, &w))
					lock = true;
				else
					rc = W_WAIT;
			}
		} else {
			rc = write_try_order(n, p, &w, true);
		}
		if (rc == W_WAIT)
			break;
		p->wait_head = o->next;
		if (!p->wait_head)
			p->wait_tail = NULL;
		p->nwait--;
		if (lock)
			write_lock_add(n, p, o);
		else
			write_wait_drop(n, o);
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
			write_answer(n, &w,
				     (o->req.flags & VMS_F_RETRY) ? VMS_E_AGAIN : VMS_E_BUSY);
		else if (!o->dead && write_check(n, p, &w, true) != W_ANSWERED)
			write_answer(n, &w, VMS_E_BUSY);
		*at = o->next;
		p->nwait--;
		write_wait_drop(n, o);
	}
	for (o = p->locks; o;) {
		struct op *next = o->next;

		if (o->state == OP_LOCK && !o->read_busy &&
		    (o->dead || n->now_ms > session_op_deadline(n, &o->req))) {
			struct wreq w = wreq_of(o);

			if (!o->dead)
				write_answer(n, &w,
					     !part_serving(p) && (o->req.flags & VMS_F_RETRY)
						     ? VMS_E_AGAIN
						     : VMS_E_BUSY);
			write_lock_end(n, p, o);
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
		for (struct op *o = p->held; o; o = o->next)
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
	write_held_end(n, p, VMS_E_DISCONNECTED);
	while ((o = p->wait_head)) {
		struct wreq w = wreq_of(o);

		p->wait_head = o->next;
		p->nwait--;
		if (!o->dead)
			write_answer(n, &w, VMS_E_NOT_PRIMARY);
		write_wait_drop(n, o);
	}
	p->wait_tail = NULL;
	for (o = p->locks; o;) {
		struct op *next = o->next;
		struct wreq w = wreq_of(o);

		/* those that are read for end when they have been read */
		if (o->state == OP_LOCK && !o->read_busy) {
			if (!o->dead)
				write_answer(n, &w, VMS_E_NOT_PRIMARY);
			write_lock_end(n, p, o);
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
					write_answer(n, &w, VMS_E_CANCELLED);
				o->dead = true;
				found = true;
			}
	if (found)
		part_mark_retry(n, p);
	return found;
}
