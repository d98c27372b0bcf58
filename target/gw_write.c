// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ordered ops: writes, zeroes, compare-and-write, or-write. Here commands become ops, are
 * aborted and age; gw_write.h names the other files.
 *
 * An op keeps one id (slot, sequence) and one tick for all its life, travels on one
 * connection at a time, and ends in one of three ways: a primary told its outcome;
 * it was refused or never sent and became too old, so it is known to be impossible;
 * or it was cancelled and a primary confirmed that. While its outcome is unknown it
 * is repeated, however long that takes (rules C4, C5, C11, C12).
 * Keeps invariants 1, 2, 3, 10, 11, 15.
 */
#include "target/gw_int.h"
#include "target/gw_write.h"

/* ---- abort, time ---- */

/* Its partition has not come back within the time in which a set sheds a dead member
 * (rules C12). Long before that every primary refuses the op by its age: either it lies
 * in a log, before all that is ordered later, or it never will. So the initiator's task
 * management is answered; the command itself ends as "unknown". */
static void abort_give_up(struct vms_gw *gw, struct gw_req *r)
{
	while (r->ops) {
		bool last = r->npend == 1;

		gw->st.aborts_given_up++;
		gw_op_pages_forget(gw, r->ops);
		gw_op_end(gw, r->ops, VMS_E_TIMEOUT);
		if (last)
			return;
	}
}

static void aborts_timer(struct vms_gw *gw)
{
	uint64_t wait_ms = gw_patience_ms(gw) + gw->tm.lease_ms;

	if (!gw->naborted || gw_mutant(gw, VMS_GWM_ABORT_WAITS))
		return;
	gw_each(l, &gw->reqs)
	{
		struct gw_req *r = gw_entry(l, struct gw_req, link);

		if (r->aborted && r->ops && gw->now_ms - r->aborted_ms >= wait_ms)
			abort_give_up(gw, r);
	}
}

void gw_write_abort(struct vms_gw *gw, struct gw_req *r)
{
	struct gw_op *op = r->ops, *next;

	for (; op; op = next) {
		next = op->req_next;
		if (op->state == GO_SENT && !gw_mutant(gw, VMS_GWM_ABORT_EARLY)) {
			struct gw_node *n = gw->node[op->node];

			if (op->rpc && !op->cancel_rpc && n->state == GN_READY)
				gw_cancel_send(gw, op, n);
		} else if (op->state == GO_HELD && op->unknown &&
			   !gw_mutant(gw, VMS_GWM_ABORT_EARLY)) {
			gw_list_del(&op->link);
			gw_op_route(gw, op, true);
		} else if (!op->unknown || gw_mutant(gw, VMS_GWM_ABORT_EARLY)) {
			/* the command may end with its last op */
			bool last = r->npend == 1;

			gw_op_end(gw, op, VMS_E_CANCELLED);
			if (last)
				return;
		}
	}
}

void gw_write_timer(struct vms_gw *gw)
{
	struct gw_link run;

	gw_list_init(&run);
	gw_each(l, &gw->retry)
	{
		struct gw_op *op = gw_entry(l, struct gw_op, link);

		if (gw->kicked || op->due_ms <= gw->now_ms) {
			gw_list_del(l);
			gw_list_add(&run, l);
		} else {
			gw_wake_at(gw, op->due_ms);
		}
	}
	while (!gw_list_empty(&run)) {
		struct gw_op *op = gw_entry(run.next, struct gw_op, link);

		gw_list_del(&op->link);
		if (gw_op_expired(gw, op))
			gw_op_end(gw, op, VMS_E_BUSY);
		else
			gw_op_route(gw, op, true);
	}
	while (!gw_list_empty(&gw->slot_wait)) {
		struct gw_op *op = gw_entry(gw->slot_wait.next, struct gw_op, link);

		if (!gw_op_expired(gw, op))
			break;
		gw_op_end(gw, op, VMS_E_BUSY);
	}
	gw_each(lv, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(lv, struct vms_gw_vol, link);

		gw_each(l, &v->held)
		{
			struct gw_op *op = gw_entry(l, struct gw_op, link);

			if (gw_op_expired(gw, op))
				gw_op_end(gw, op, VMS_E_BUSY);
		}
	}
	aborts_timer(gw);
}

/* ---- submit ---- */

static void op_new(struct vms_gw *gw, struct gw_req *r, uint8_t kind, uint64_t lba, uint32_t nblk)
{
	struct gw_op *op = gw_pool_zget(&gw->p_op);
	uint64_t payload = (uint64_t)nblk * VMS_LB_BYTES;

	gw_list_init(&op->link);
	op->req = r;
	op->kind = kind;
	op->extent = (uint32_t)(lba / VMS_EXTENT_BLOCKS);
	op->blk0 = (uint32_t)(lba % VMS_EXTENT_BLOCKS);
	op->nblk = nblk;
	op->partition = vms_extent_partition(r->vol->rec.lineage, op->extent,
					     gw->cluster.part_bits);
	op->data_off = (lba - r->cmd->lba) * VMS_LB_BYTES;
	op->bytes = kind == VMS_WRITE_ZERO   ? 0
		    : kind == VMS_WRITE_CAW  ? 2 * payload
		    : kind == VMS_WRITE_REF  ? payload / VMS_CHUNK_BYTES * VMS_GW_FP_BYTES
		    : kind == VMS_WRITE_COPY ? payload / VMS_CHUNK_BYTES * 8
					     : payload;
	op->state = GO_SLOT;
	op->req_next = r->ops;
	r->ops = op;
	r->npend++;
	gw->ops_waiting++;
	if (gw_vol_holds(r->vol))
		gw_op_hold(gw, op);
	else
		gw_list_add(&gw->slot_wait, &op->link);
}

static int refuse(struct vms_gw_cmd *cmd, int status)
{
	cmd->status = status;
	return VMS_GW_DONE;
}

int gw_write_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	uint64_t lba = cmd->lba, end = cmd->lba + cmd->nblocks;
	uint64_t bytes = (uint64_t)cmd->nblocks * VMS_LB_BYTES, want = bytes;
	uint32_t first = (uint32_t)(lba / VMS_EXTENT_BLOCKS);
	uint32_t extents = (uint32_t)((end - 1) / VMS_EXTENT_BLOCKS) - first + 1;
	uint8_t kind = VMS_WRITE_DATA;
	struct gw_req *r;

	switch (cmd->op) {
	case VMS_GW_ZERO:
		kind = VMS_WRITE_ZERO;
		want = bytes = 0;
		break;
	case VMS_GW_CAW:
		kind = VMS_WRITE_CAW;
		want = bytes = 2 * bytes;
		break;
	case VMS_GW_ORWRITE:
		kind = VMS_WRITE_ORWRITE;
		break;
	case VMS_GW_WRITE_SAME:
		want = VMS_LB_BYTES;
		break;
	case VMS_GW_REF:
		kind = VMS_WRITE_REF;
		bytes = bytes / VMS_CHUNK_BYTES * VMS_GW_FP_BYTES;
		want = 0;
		if (lba % VMS_CHUNK_BLOCKS || cmd->nblocks % VMS_CHUNK_BLOCKS || extents > 1 ||
		    !cmd->fps || !cmd->crcs || !cmd->found)
			return refuse(cmd, VMS_E_INVAL);
		break;
	case VMS_GW_COPY:
		kind = VMS_WRITE_COPY;
		want = 0;
		if (lba % VMS_CHUNK_BLOCKS || cmd->nblocks % VMS_CHUNK_BLOCKS || extents > 1 ||
		    cmd->nblocks / VMS_CHUNK_BLOCKS > VMS_GW_COPY_CHUNKS_MAX || !cmd->addrs ||
		    !cmd->found)
			return refuse(cmd, VMS_E_INVAL);
		for (uint32_t i = 0; i < cmd->nblocks / VMS_CHUNK_BLOCKS; i++)
			if (!vms_gw_addr_fixed(gw, cmd->addrs[i]))
				return refuse(cmd, VMS_E_INVAL);
		break;
	default:
		break;
	}
	if (v->snap)
		return refuse(cmd, VMS_E_PERM);
	if (v->rec.write_protect)
		return refuse(cmd, vms_gw_current(gw) ? VMS_E_PERM : VMS_E_BUSY);
	if (cmd->data_bytes < want)
		return refuse(cmd, VMS_E_INVAL);
	if (extents > 1 && (kind == VMS_WRITE_CAW || kind == VMS_WRITE_ORWRITE))
		return refuse(cmd, VMS_E_INVAL); /* not one primary's: not atomic (rules A9) */
	if (want && cmd->ndata > GW_IOV_ROOM)
		return refuse(cmd, VMS_E_INVAL);
	if ((gw->outstanding_bytes &&
	     gw->outstanding_bytes + bytes > gw->conf.outstanding_bytes_max) ||
	    (gw->ops_waiting && gw->ops_waiting + extents > gw->nslots * 4)) {
		gw->st.full++;
		return refuse(cmd, VMS_E_FULL);
	}
	/* no tick of a node held: nothing it could check the age by (rules C4) */
	for (uint32_t e = 0; e < extents; e++) {
		uint32_t part = vms_extent_partition(v->rec.lineage, first + e,
						     gw->cluster.part_bits);
		uint32_t primary = gw->part[part].c.primary;

		if (!gw->part[part].c.epoch || primary >= VMS_NODES_MAX ||
		    !gw->tv->t[primary].tick) {
			gw->st.busy++;
			return refuse(cmd, VMS_E_BUSY);
		}
	}
	r = gw_req_new(gw, cmd);
	r->nchunks = 0; /* no data goes to the initiator */
	r->tv = gw_tv_get(gw);
	if (cmd->op == VMS_GW_WRITE_SAME) {
		struct gw_cursor cur = {gw->iov, 0};

		r->pattern = aligned_alloc(VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
		vms_assert(r->pattern);
		gw_data_slice(cmd, 0, VMS_LB_BYTES, gw->iov, GW_IOV_ROOM);
		gw_cursor_copy(&cur, r->pattern, VMS_LB_BYTES);
		if (vms_is_zero(r->pattern, VMS_LB_BYTES)) {
			kind = VMS_WRITE_ZERO;
			bytes = 0;
		} else {
			for (unsigned i = 1; i < VMS_CHUNK_BLOCKS; i++)
				memcpy(r->pattern + i * VMS_LB_BYTES, r->pattern, VMS_LB_BYTES);
			r->pattern_crc = vms_crc32c(0, r->pattern, VMS_CHUNK_BYTES);
		}
	}
	r->bytes = bytes;
	gw->outstanding_bytes += bytes;
	gw->st.writes++;
	gw->st.writes_ref += kind == VMS_WRITE_REF;
	gw->st.writes_copy += kind == VMS_WRITE_COPY;
	gw->st.write_bytes += (uint64_t)cmd->nblocks * VMS_LB_BYTES;
	v->st.writes++;
	v->st.write_bytes += (uint64_t)cmd->nblocks * VMS_LB_BYTES;
	while (lba < end) {
		uint64_t stop = (lba / VMS_EXTENT_BLOCKS + 1) * VMS_EXTENT_BLOCKS;

		if (stop > end)
			stop = end;
		op_new(gw, r, kind, lba, (uint32_t)(stop - lba));
		lba = stop;
	}
	gw_slots_refill(gw);
	gw->want_send = true;
	return VMS_GW_PENDING;
}
