// SPDX-License-Identifier: GPL-2.0-only
/*
 * FLUSH, and FLOOR's wait: answered when all that was ordered before is committed and durable
 * where it must be. Owner: the node thread.
 */
#include "backend/node_flush.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/lease.h"
#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define NODE_FLUSHES_MAX 256u

struct flush *flush_new(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct flush *f;

	if (n->nflushes >= NODE_FLUSHES_MAX) {
		node_reply(n, c->id, m, VMS_E_BUSY);
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	vms_assert(f);
	f->conn = c->id;
	f->req = vms_msg_head(m);
	f->arrived_ms = n->now_ms;
	f->next = n->flushes;
	n->flushes = f;
	n->nflushes++;
	return f;
}

void flush_wait_floor(struct vms_node *n, struct conn *c, const struct vms_msg *m, uint64_t pos,
		      uint32_t aux)
{
	struct flush *f = flush_new(n, c, m);

	if (!f)
		return;
	f->log_pos = pos;
	f->aux = aux;
	f->settle = m->flags & VMS_F_FUA && n->mut != MUT_FLOOR_EARLY;
	f->armed = !f->settle;
	n->want_sync = true;
}

void flush_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct volume *v = branch_volume(n, m->branch);

	n->st.flushes++;
	if (v && v->known && v->write_ack == VMS_ACK_DISK) {
		node_reply(n, c->id, m, 0); /* whatever was answered is durable */
		return;
	}
	flush_new(n, c, m);
}

/* Below min_copies nothing that was acknowledged in memory counts as durable, neither for a
 * flush nor for a snapshot: only what was on enough nodes before does. No such record is
 * ordered meanwhile. */
static bool too_few_have(const struct vms_node *n, const struct flush *f, const struct part *p)
{
	return (f->req.type == VMS_MSG_FLUSH || f->settle) && p->nm < n->cluster.min_copies &&
	       p->mem_last > p->enough_durable && n->mut != MUT_FLUSH_FEW;
}

/* What the flush waits for: fixed once every led partition serves, because only
 * then a loss is known. Memory-mode records; to settle: all records. */
static void flush_arm(struct vms_node *n, struct flush *f)
{
	if (n->phase != SP_RUN || !n->loss_loaded)
		return;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (p && p->known && p->primary && p->state != PS_ACTIVE)
			return;
	}
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];
		uint64_t seq;

		if (!p || !p->known || !p->primary)
			continue;
		seq = f->settle ? p->seq_last : p->mem_last;
		if (seq <= p->all_durable && seq <= p->committed && !too_few_have(n, f, p))
			continue;
		VMS_VEC_RESERVE(&f->want, f->want.n + 1);
		f->want.d[f->want.n].part = i;
		f->want.d[f->want.n++].seq = seq;
		part_fua(n, p);
	}
	f->armed = true;
}

/* FLUSH tells the loss notices this node knows of the branch. */
static void flush_answer(struct vms_node *n, struct flush *f, int rc)
{
	struct volume *v = branch_volume(n, f->req.branch);
	struct vms_msg re;

	if (!f->conn || !f->req.req_id)
		return;
	vms_msg_reply_init(&re, &f->req, rc);
	if (f->req.type == VMS_MSG_FLUSH && v)
		re.aux = (uint32_t)v->loss;
	else if (f->req.type == VMS_MSG_FLOOR)
		re.aux = f->aux;
	node_send(n, f->conn, &re);
}

/* "All of it is durable" can only be said of what nobody else leads by now. */
static bool flush_leased(const struct vms_node *n, const struct flush *f)
{
	if (n->mut == MUT_FLUSH_LEASE || (f->req.type == VMS_MSG_FLOOR && !f->settle))
		return true;
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct part *p = n->part[i];

		if (p && p->known && p->primary && !part_leased(n, p))
			return false;
	}
	return true;
}

void flush_check(struct vms_node *n)
{
	struct flush **at = &n->flushes, *f;

	while ((f = *at)) {
		int rc = 1;

		if (!f->armed)
			flush_arm(n, f);
		if (f->armed) {
			while (f->want.n) {
				struct part *p = node_part(n, VMS_VEC_LAST(&f->want).part);

				if (p->all_durable < VMS_VEC_LAST(&f->want).seq ||
				    p->committed < VMS_VEC_LAST(&f->want).seq ||
				    too_few_have(n, f, p))
					break;
				/* what is cut off must not show when the volume grows again */
				if (f->req.type == VMS_MSG_TRIM && n->mut != MUT_TRIM_EARLY &&
				    (p->applied < VMS_VEC_LAST(&f->want).seq || p->trim_left))
					break;
				f->want.n--;
			}
			if (!f->want.n && vms_wal_durable_pos(n->wal) >= f->log_pos &&
			    flush_leased(n, f))
				rc = 0;
		}
		if (f->moved)
			rc = VMS_E_AGAIN; /* some of it is another primary's now */
		/* a member is missing: the asker decides how long to go on */
		if (rc == 1 && (!f->armed || f->settle || !f->want.n) &&
		    n->now_ms - f->arrived_ms > n->tm.t_op_ms)
			rc = VMS_E_BUSY;
		if (rc == 1) {
			at = &f->next;
			continue;
		}
		flush_answer(n, f, rc);
		*at = f->next;
		n->nflushes--;
		VMS_VEC_FREE(&f->want);
		free(f);
	}
}

void flush_conn_void(struct vms_node *n, vms_conn_id conn)
{
	struct flush **at = &n->flushes, *f;

	while ((f = *at)) {
		if (f->conn != conn) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		n->nflushes--;
		VMS_VEC_FREE(&f->want);
		free(f);
	}
}
