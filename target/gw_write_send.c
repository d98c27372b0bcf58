// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sending of ordered ops: the queue of each node, what waits for a slot, a barrier or a
 * primary, and what is repeated after a pause.
 *
 * Of a command with several pieces nothing is sent while one of them has nowhere to go:
 * once a piece is applied the command can only end GOOD or in an error.
 */
#include "target/gw_int.h"
#include "target/gw_write.h"

void gw_op_retry(struct vms_gw *gw, struct gw_op *op, uint32_t ms)
{
	op->state = GO_RETRY;
	op->due_ms = gw->now_ms + ms;
	gw_list_add(&gw->retry, &op->link);
	gw_wake_at(gw, op->due_ms);
}

void gw_op_backoff(struct vms_gw *gw, struct gw_op *op)
{
	op->backoff_ms = op->backoff_ms ? op->backoff_ms * 2 : GW_RETRY_MS;
	if (op->backoff_ms > GW_RETRY_MS_MAX)
		op->backoff_ms = GW_RETRY_MS_MAX;
	gw_op_retry(gw, op, op->backoff_ms);
}

bool gw_op_expired(const struct vms_gw *gw, const struct gw_op *op)
{
	return !op->unknown && gw->now_ms - op->req->t_ms > gw->tm.t_op_ms;
}

void gw_op_hold(struct vms_gw *gw, struct gw_op *op)
{
	op->state = GO_HELD;
	gw_list_add(&op->req->vol->held, &op->link);
	gw->st.ops_held++;
}

/* A CANCEL of an aborted op is no write and goes all the same. */
static inline bool op_must_wait(const struct gw_op *op)
{
	return gw_vol_holds(op->req->vol) && !op->req->aborted;
}

/* The last that was heard of it was a refusal, or it is not there. */
static bool part_in_doubt(struct vms_gw *gw, uint32_t partition)
{
	struct gw_node *n = gw_primary(gw, partition);

	return gw->part[partition].refuses || !n || n->state != GN_READY;
}

/* Another piece of its command goes first: one whose partition may not take it. If that
 * becomes too old before it is ordered, so does this one, and the command ends BUSY. */
static bool op_goes_later(struct vms_gw *gw, const struct gw_op *op)
{
	const struct gw_req *r = op->req;

	if (__builtin_expect(!r->ops->req_next, 1) || op->sent_ever || r->aborted ||
	    gw_mutant(gw, VMS_GWM_PIECE_ALONE))
		return false;
	for (const struct gw_op *o = r->ops; o; o = o->req_next)
		if (part_in_doubt(gw, o->partition))
			return o != op;
	return false;
}

void gw_op_route(struct vms_gw *gw, struct gw_op *op, bool front)
{
	struct gw_node *n = gw_primary(gw, op->partition);

	if (op_must_wait(op)) {
		gw_op_hold(gw, op);
		return;
	}
	if (op_goes_later(gw, op)) {
		gw_op_retry(gw, op, GW_RETRY_MS);
		return;
	}
	if (!n || n->state != GN_READY) {
		gw_op_retry(gw, op, 2 * GW_RETRY_MS);
		return;
	}
	op->state = GO_QUEUED;
	op->queued_node = n->id;
	n->ops_bytes += op->bytes;
	if (front)
		gw_list_add_head(&n->ops, &op->link);
	else
		gw_list_add(&n->ops, &op->link);
	gw->want_send = true;
}

void gw_cancel_send(struct vms_gw *gw, struct gw_op *op, struct gw_node *n)
{
	struct vms_msg m = {.type = VMS_MSG_CANCEL,
			    .partition = op->partition,
			    .epoch = gw->part[op->partition].c.epoch,
			    .slot = op->slot,
			    .sequence = op->sequence,
			    .branch = op->req->vol->rec.branch,
			    .extent = op->extent};

	op->cancel_rpc = gw_rpc_send(gw, n, GR_CANCEL, op, &m);
}

/* The op is in no list. False: the node went down. */
static bool op_send(struct vms_gw *gw, struct gw_op *op, struct gw_node *n)
{
	struct gw_req *r = op->req;
	const struct vms_cat_volume *rec = &r->vol->rec;
	/* A copy may be on its way already: the node knows what has become of it, and
	 * refuses it under the earlier number if that is nothing. */
	bool refused = op->sent_ever && gw_pr_refuses(r);
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = op->partition,
			    .epoch = gw->part[op->partition].c.epoch,
			    .slot = op->slot,
			    .sequence = op->sequence,
			    .tick = r->tv->t[n->id].tick,
			    .tick_incarnation = r->tv->t[n->id].incarnation,
			    .branch = rec->branch,
			    .snap_gen = rec->snap_gen,
			    .lun_fence = refused ? op->sent_fence : r->vol->fence,
			    .extent = op->extent};

	op->node = n->id;
	if (r->aborted) {	    /* unknown: what has become of it? */
		if (op->cancel_rpc) /* unanswered: one at a time */
			gw_rpc_forget(gw, op->cancel_rpc);
		gw_cancel_send(gw, op, n);
		if (op->cancel_rpc)
			op->state = GO_SENT;
		return op->cancel_rpc != NULL;
	}
	if (op->sent_ever) {
		gw->st.ops_retried++;
		m.flags |= VMS_F_RETRY;
		if (gw_mutant(gw, VMS_GWM_RESTAMP)) {
			m.tick = n->tick;
			m.tick_incarnation = n->tick_incarnation;
		}
		if (gw_mutant(gw, VMS_GWM_NEW_ID))
			m.sequence = op->sequence = gw->next_sequence++;
	}
	if (r->cmd->flags & VMS_GW_FUA)
		m.flags |= VMS_F_FUA;
	if (rec->write_ack == VMS_ACK_MEMORY)
		m.flags |= VMS_F_MEMORY;
	if (!op->marked)
		gw_own_add(gw, op);
	gw_op_encode(gw, op, &m);
	op->rpc = gw_rpc_send(gw, n, GR_WRITE, op, &m);
	if (!op->rpc)
		return false;
	op->sent_gen = m.snap_gen;
	op->sent_fence = m.lun_fence;
	op->state = GO_SENT;
	if (!op->sent_ever)
		op->sent_ms = gw->now_ms;
	op->sent_ever = true;
	gw->st.ops_sent++;
	return true;
}

static void node_writes_send(struct vms_gw *gw, struct gw_node *n)
{
	while (!gw_list_empty(&n->ops)) {
		uint64_t batch = 0;

		if (n->state != GN_READY) {
			struct gw_op *op = gw_entry(n->ops.next, struct gw_op, link);

			gw_list_del(&op->link);
			n->ops_bytes -= op->bytes;
			gw_op_retry(gw, op, 2 * GW_RETRY_MS);
			continue;
		}
		/* One batch is on its way: what comes meanwhile merges into the next,
		 * unless that is full or the batch takes long. */
		if (n->inflight_ops) {
			if (n->inflight_bytes >= GW_INFLIGHT_BYTES)
				return;
			if (n->ops_bytes < GW_BATCH_BYTES &&
			    gw->now_ms - n->batch_ms <= GW_BATCH_WAIT_MS) {
				gw_wake_at(gw, n->batch_ms + GW_BATCH_WAIT_MS + 1);
				return;
			}
		}
		n->batch_ms = gw->now_ms;
		gw->st.batches++;
		while (!gw_list_empty(&n->ops) && n->state == GN_READY) {
			struct gw_op *op = gw_entry(n->ops.next, struct gw_op, link);

			if (batch && batch + op->bytes > GW_BATCH_BYTES)
				break;
			batch += op->bytes + 1;
			gw_list_del(&op->link);
			n->ops_bytes -= op->bytes;
			op->state = GO_RETRY; /* in no queue */
			if (op->req->vol->gone && !op->unknown) {
				gw_op_end(gw, op, VMS_E_NOENT);
			} else if (gw_op_expired(gw, op)) {
				gw_op_end(gw, op, VMS_E_BUSY);
			} else if (!op->sent_ever && gw_pr_refuses(op->req)) {
				gw->st.pr_refused++;
				gw_op_end(gw, op, vms_gw_refusal(gw));
			} else if (op_must_wait(op)) {
				gw_op_hold(gw, op);
			} else if (gw_primary(gw, op->partition) != n || op_goes_later(gw, op)) {
				gw_op_route(gw, op, false);
			} else if (!op_send(gw, op, n)) {
				gw_op_retry(gw, op, 2 * GW_RETRY_MS);
			}
		}
	}
}

void gw_writes_send(struct vms_gw *gw)
{
	gw_slots_refill(gw);
	for (uint32_t i = 1; i < gw->node_top; i++)
		if (gw->node[i] && !gw_list_empty(&gw->node[i]->ops))
			node_writes_send(gw, gw->node[i]);
}

void gw_ops_stop(struct vms_gw *gw, struct vms_gw_vol *v)
{
	gw_each(l, &gw->slot_wait)
	{
		struct gw_op *op = gw_entry(l, struct gw_op, link);

		if (op->req->vol != v)
			continue;
		gw_list_del(l);
		gw_op_hold(gw, op);
	}
}

void gw_ops_release(struct vms_gw *gw, struct vms_gw_vol *v)
{
	vms_assert(!gw_vol_holds(v));
	while (!gw_list_empty(&v->held)) {
		struct gw_op *op = gw_entry(v->held.next, struct gw_op, link);

		gw_list_del(&op->link);
		if (op->slotted) {
			gw_op_route(gw, op, false);
		} else {
			op->state = GO_SLOT;
			gw_list_add(&gw->slot_wait, &op->link);
		}
		gw->want_send = true;
	}
	gw_wake_at(gw, gw->now_ms);
}

void gw_slots_refill(struct vms_gw *gw)
{
	while (gw->slot_free_n && !gw_list_empty(&gw->slot_wait)) {
		struct gw_op *op = gw_entry(gw->slot_wait.next, struct gw_op, link);

		gw_list_del(&op->link);
		gw->ops_waiting--;
		op->slot = gw->slot_free[--gw->slot_free_n];
		op->sequence = gw->next_sequence++;
		op->slotted = true;
		gw_op_route(gw, op, false);
	}
}
