// SPDX-License-Identifier: GPL-2.0-only
/*
 * Answers to ordered ops, and what becomes of their commands. The new addresses go into the
 * cached pages; an outcome that nobody knows any more counts as applied, perhaps (rules C5,
 * C12).
 */
#include <inttypes.h>

#include "target/gw_int.h"
#include "target/gw_read.h"
#include "target/gw_write.h"

/* ---- the end of an op ---- */

static void req_status(struct gw_req *r, int status)
{
	/* a definite error outweighs "try again" */
	if (!r->status || ((r->status == VMS_E_BUSY || r->status == VMS_E_CANCELLED) &&
			   status != VMS_E_BUSY && status != VMS_E_CANCELLED))
		r->status = status;
}

/* One line a second: there may be many at once. */
static void partial_log(struct vms_gw *gw, const struct gw_req *r)
{
	gw->st.partial++;
	if (gw->partial_ms && gw->now_ms - gw->partial_ms < 1000)
		return;
	gw->partial_ms = gw->now_ms;
	gw_log(gw, VMS_LOG_INFO,
	       "volume %s: a write of %u blocks at LBA %" PRIu64
	       " was applied in part (%s after %" PRIu64 " ms): its initiator is told to repeat it",
	       r->vol->name, r->cmd->nblocks, r->cmd->lba, vms_err_text(r->status),
	       gw->now_ms - r->t_ms);
}

static void write_end(struct vms_gw *gw, struct gw_req *r)
{
	if (r->status && r->applied && !gw_mutant(gw, VMS_GWM_PARTIAL_BUSY)) {
		if (r->status == VMS_E_CANCELLED ||
		    (gw_mutant(gw, VMS_GWM_PARTIAL_ERR) && vms_err_retryable(r->status))) {
			/* TASK ABORTED would say that nothing has happened */
			partial_log(gw, r);
			r->status = VMS_E_TIMEOUT;
		} else if (r->status == VMS_E_RESERVED ||
			   (vms_err_retryable(r->status) && r->status != VMS_E_TIMEOUT)) {
			/* the initiator repeats it, and is told then what shuts it out */
			partial_log(gw, r);
			r->status = VMS_E_BUSY;
			r->cmd->partial = true;
		}
	}
	if (!r->status && (r->cmd->flags & VMS_GW_FUA) && r->vol->rec.write_ack == VMS_ACK_MEMORY) {
		gw_loss_check(gw, r);
		return;
	}
	gw_req_end(gw, r);
}

void gw_op_end(struct vms_gw *gw, struct gw_op *op, int status)
{
	struct gw_req *r = op->req;
	struct gw_op **at = &r->ops;

	if (op->state == GO_QUEUED) {
		struct gw_node *n = gw->node[op->queued_node];

		n->ops_bytes -= op->bytes;
	}
	gw_list_del(&op->link);
	if (op->rpc)
		gw_rpc_forget(gw, op->rpc);
	if (op->cancel_rpc)
		gw_rpc_forget(gw, op->cancel_rpc);
	if (op->marked)
		gw_own_del(gw, op);
	if (op->slotted)
		gw->slot_free[gw->slot_free_n++] = op->slot;
	else
		gw->ops_waiting--;
	while (*at != op)
		at = &(*at)->req_next;
	*at = op->req_next;
	gw_pool_put(&gw->p_op, op);
	if (status)
		req_status(r, status);
	else
		r->applied = true;
	if (--r->npend == 0)
		write_end(gw, r);
}

void gw_op_pages_forget(struct vms_gw *gw, const struct gw_op *op)
{
	uint32_t last = (gw_op_chunk_end(op) - 1) / VMS_SUBEXT_CHUNKS;

	for (uint32_t s = gw_op_chunk0(op) / VMS_SUBEXT_CHUNKS; s <= last; s++) {
		struct vms_pc_page *p = vms_pc_find(gw->pc, op->req->vol->rec.branch, VMS_GEN_LIVE,
						    op->extent, (uint8_t)s);
		if (p)
			vms_pc_drop(gw->pc, p);
	}
}

/* The answer names the new addresses: bring cached pages up to date, and keep the
 * data under them (bounded: big writes stream past the cache). */
static void op_applied(struct vms_gw *gw, struct gw_op *op, const struct vms_msg *m)
{
	struct gw_part *part = &gw->part[op->partition];
	struct gw_node *n = gw->node[op->node];
	const struct gw_req *r = op->req;
	uint32_t c = gw_op_chunk0(op), end = gw_op_chunk_end(op), chunks = end - c;
	struct vms_pc_page *pg = NULL;
	uint32_t sub = UINT32_MAX;
	bool zero = op->kind == VMS_WRITE_ZERO, fill;
	struct vms_piece zp[3];
	unsigned nzp = zero ? gw_op_zero_pieces(op, zp) : 0, z = 0;
	struct gw_cursor cur;

	/* a repeated op's answer may be an old outcome: ask for the pages again */
	if (op->sent_ever && (op->unknown || op->backoff_ms || op->lost_ms)) {
		gw_op_pages_forget(gw, op);
		return;
	}
	if (m->body_bytes < (zero ? nzp : chunks) * 8) {
		gw_op_pages_forget(gw, op);
		return;
	}
	fill = op->kind == VMS_WRITE_DATA && !r->pattern && chunks <= GW_WT_CHUNKS_MAX;
	if (fill) {
		gw_data_slice(r->cmd, op->data_off, op->bytes, gw->iov, GW_IOV_ROOM);
		cur = (struct gw_cursor){gw->iov, 0};
	}
	for (uint32_t i = 0; c < end; i++, c++) {
		uint8_t mask = gw_op_chunk_mask(op, c);
		vms_addr a;
		uint32_t slot = VMS_CC_NONE;

		/* zeros: one answer for a piece. ASK when something newer is ordered there: its
		 * invalidation came before this answer, nobody would tell us again */
		while (zero && c >= zp[z].chunk + (uint32_t)zp[z].count)
			z++;
		a = vms_get_le64(m->body + 8 * (zero ? z : i));

		if (c / VMS_SUBEXT_CHUNKS != sub) {
			sub = c / VMS_SUBEXT_CHUNKS;
			pg = gw_page_good(gw, r->vol, op->extent, (uint8_t)sub, part, n);
			if (pg && pg->version >= m->sequence)
				pg = NULL; /* has it already, or something newer */
			if (pg)
				pg->version = m->sequence;
		}
		if (pg) {
			/* part of a chunk zeroed: its address is not told */
			if ((zero && (mask != VMS_MASK_FULL || a > VMS_ADDR_ASK)) ||
			    (!zero && a == VMS_ADDR_HOLE)) {
				vms_pc_drop(gw->pc, pg);
				pg = NULL;
			} else {
				pg->entry[c % VMS_SUBEXT_CHUNKS] = a;
			}
		}
		if (!fill)
			continue;
		if (mask == VMS_MASK_FULL && a > VMS_ADDR_ASK && !vms_cc_has(gw->cc, a))
			slot = vms_cc_insert(gw->cc, a);
		gw_cursor_copy(&cur, slot == VMS_CC_NONE ? NULL : vms_cc_data(gw->cc, slot),
			       VMS_LB_BYTES * vms_mask_sectors(mask));
	}
}

/* ---- answers ---- */

/* A primary says that the op has not been and will not be ordered. Nodes remember
 * outcomes for a time: near its end, counted from the first send, this proves only that it
 * will not be, if a send of it was lost. Then it counts as applied, perhaps, and may be
 * repeated; but not a COMPARE AND WRITE, which would meet its own value. */
static void op_never(struct vms_gw *gw, struct gw_op *op, int status)
{
	uint64_t known_ms = (uint64_t)VMS_OUTCOME_KEEP_T_OP / 2 * gw->tm.t_op_ms;

	if (op->unknown && gw->now_ms - op->sent_ms >= known_ms) {
		gw_op_pages_forget(gw, op);
		if (op->kind == VMS_WRITE_CAW || status != VMS_E_BUSY)
			status = VMS_E_TIMEOUT;
		op->req->applied = true;
		gw->st.outcomes_lost++;
	}
	gw_op_end(gw, op, status);
}

/* Which chunks of a REF or COPY the cluster has: all (m is NULL), or those the answer names. */
static void ref_found(const struct gw_op *op, const struct vms_msg *m)
{
	uint32_t n = op->nblk / VMS_CHUNK_BLOCKS;

	if (op->kind != VMS_WRITE_REF && op->kind != VMS_WRITE_COPY)
		return;
	for (uint32_t i = 0; i < n; i++)
		op->req->cmd->found[i] = !m || (m->body_bytes == n && m->body[i] != 0);
}

void gw_write_reply(struct vms_gw *gw, struct gw_op *op, const struct vms_msg *m, int status)
{
	op->rpc = NULL;
	switch (status) {
	case 0:
		gw->part[op->partition].refuses = false;
		ref_found(op, NULL);
		op_applied(gw, op, m);
		gw_op_end(gw, op, 0);
		break;
	case VMS_E_NOENT: /* REF, COPY: nothing was ordered */
		ref_found(op, m);
		gw_op_end(gw, op, status);
		break;
	case VMS_E_DISCONNECTED:
		gw->part[op->partition].refuses = true;
		op->unknown = true;
		op->lost_ms = gw->now_ms;
		gw->st.ops_unknown++;
		if (op->cancel_rpc) {
			gw_rpc_forget(gw, op->cancel_rpc);
			op->cancel_rpc = NULL;
		}
		if (gw_mutant(gw, VMS_GWM_FAIL_UNKNOWN))
			gw_op_end(gw, op, VMS_E_BUSY);
		else
			gw_op_retry(gw, op, 0);
		break;
	case VMS_E_MISCOMPARE:
		op->req->miscompare_bytes = m->aux;
		gw_op_end(gw, op, status);
		break;
	case VMS_E_TOO_OLD:
		gw->st.ops_too_old++;
		op_never(gw, op, VMS_E_BUSY);
		break;
	case VMS_E_INCARNATION:
		gw_fatal(gw, status,
			 "it was shut out while it stood still or did not answer, or a newer "
			 "process of its name is known to the nodes");
		break;
	case VMS_E_EPOCH:
	case VMS_E_NOT_PRIMARY:
		gw_cat_ask_part(gw, op->partition);
		/* fall through */
	case VMS_E_BUSY:
	case VMS_E_AGAIN:
	case VMS_E_FULL:
	case VMS_E_STOPPING:
	case VMS_E_POISONED:
	case VMS_E_NOMEM:
		gw->part[op->partition].refuses = true;
		/* fall through */
	case VMS_E_SNAP_GEN:
	case VMS_E_LUN_FENCE:
		gw->st.ops_refused++;
		if (op->req->aborted && !op->unknown)
			gw_op_end(gw, op, VMS_E_CANCELLED);
		else if (gw_op_expired(gw, op))
			gw_op_end(gw, op, VMS_E_BUSY);
		else if (status == VMS_E_LUN_FENCE && gw_pr_refuses(op->req)) {
			gw->st.pr_refused++;
			op_never(gw, op, vms_gw_refusal(gw));
		} else if ((status == VMS_E_SNAP_GEN || status == VMS_E_LUN_FENCE) &&
			   !op->req->aborted)
			gw_barrier_refused(gw, op, m->snap_gen);
		else
			gw_op_backoff(gw, op);
		break;
	case VMS_E_CANCELLED:
		gw_op_end(gw, op, status);
		break;
	default:
		gw_op_pages_forget(gw, op);
		gw_op_end(gw, op, status);
	}
}

void gw_cancel_reply(struct vms_gw *gw, struct gw_op *op, const struct vms_msg *m, int status)
{
	op->cancel_rpc = NULL;
	if (status == 0) {
		op_never(gw, op, VMS_E_CANCELLED);
		return;
	}
	if (status == VMS_E_EXIST) {
		int outcome = (int32_t)m->aux;

		gw_op_pages_forget(gw, op);
		gw_op_end(gw, op, outcome);
		return;
	}
	if (op->rpc || op->state != GO_SENT)
		return; /* its own answer is still to come, or was a refusal to try again */
	if (status == VMS_E_DISCONNECTED)
		op->lost_ms = gw->now_ms;
	/* ordered and not committed, or not to be known now: ask again */
	gw_op_backoff(gw, op);
}
