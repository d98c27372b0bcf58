// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ordered ops: writes, zeroes, compare-and-write, or-write.
 *
 * An op keeps one id (slot, sequence) and one tick for all its life, travels on one
 * connection at a time, and ends in one of three ways: a primary told its outcome;
 * it was refused or never sent and became too old, so it is known to be impossible;
 * or it was cancelled and a primary confirmed that. While its outcome is unknown it
 * is repeated, however long that takes (rules C4, C5, C11, C12).
 *
 * Of a command with several pieces nothing is sent while one of them has nowhere to go:
 * once a piece is applied the command can only end GOOD or in an error.
 *
 * From its first send to its end the op's chunks are masked in the page cache: the
 * primary may have made it visible to others already (rules A4).
 * Keeps invariants 1, 2, 3, 10, 11, 15.
 */
#include <inttypes.h>

#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"

static void slots_refill(struct vms_gw *gw);

/* ---- own writes in flight ---- */

static inline struct gw_wext **wext_bucket(struct vms_gw *gw, uint64_t branch, uint32_t extent)
{
	return &gw->wext_hash[vms_mix64(branch * 0x9e3779b97f4a7c15ull + extent) & (GW_HASH - 1)];
}

static struct gw_wext *wext_find(struct vms_gw *gw, uint64_t branch, uint32_t extent)
{
	struct gw_wext *w = *wext_bucket(gw, branch, extent);

	while (w && (w->branch != branch || w->extent != extent))
		w = w->hash_next;
	return w;
}

static inline uint32_t op_chunk0(const struct gw_op *op)
{
	return op->blk0 / VMS_CHUNK_BLOCKS;
}
static inline uint32_t op_chunk_end(const struct gw_op *op)
{
	return (op->blk0 + op->nblk + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;
}

bool gw_own_overlap(struct vms_gw *gw, uint64_t branch, uint32_t extent, uint32_t chunk0,
		    uint32_t n)
{
	struct gw_wext *w = wext_find(gw, branch, extent);

	for (struct gw_op *o = w ? w->ops : NULL; o; o = o->wx_next)
		if (op_chunk0(o) < chunk0 + n && op_chunk_end(o) > chunk0)
			return true;
	return false;
}

static void page_mask(struct vms_pc_page *p, uint32_t from, uint32_t to)
{
	uint32_t base = (uint32_t)p->sub * VMS_SUBEXT_CHUNKS;

	if (from < base)
		from = base;
	if (to > base + VMS_SUBEXT_CHUNKS)
		to = base + VMS_SUBEXT_CHUNKS;
	for (uint32_t c = from; c < to; c++)
		p->own[(c - base) >> 6] |= 1ull << ((c - base) & 63);
}

void gw_own_mask(struct vms_gw *gw, struct vms_pc_page *p)
{
	struct gw_wext *w = p->gen == VMS_GEN_LIVE ? wext_find(gw, p->branch, p->extent) : NULL;

	for (struct gw_op *o = w ? w->ops : NULL; o; o = o->wx_next)
		page_mask(p, op_chunk0(o), op_chunk_end(o));
}

static void own_mark(struct vms_gw *gw, struct gw_op *op)
{
	uint64_t branch = op->req->vol->rec.branch;
	struct gw_wext *w = wext_find(gw, branch, op->extent);
	uint32_t last = (op_chunk_end(op) - 1) / VMS_SUBEXT_CHUNKS;

	if (!w) {
		struct gw_wext **b = wext_bucket(gw, branch, op->extent);

		w = gw_pool_zget(&gw->p_wext);
		w->branch = branch;
		w->extent = op->extent;
		w->hash_next = *b;
		*b = w;
	}
	if (op->req->vol->base)
		gw_base_own(gw, op->req->vol, op->partition, op->extent,
			    op_chunk0(op) / VMS_SUBEXT_CHUNKS, last);
	op->wx_next = w->ops;
	w->ops = op;
	op->marked = true;
	for (uint32_t s = op_chunk0(op) / VMS_SUBEXT_CHUNKS; s <= last; s++) {
		struct vms_pc_page *p = vms_pc_find(gw->pc, branch, VMS_GEN_LIVE, op->extent,
						    (uint8_t)s);

		if (p)
			page_mask(p, op_chunk0(op), op_chunk_end(op));
	}
}

static void own_unmark(struct vms_gw *gw, struct gw_op *op)
{
	uint64_t branch = op->req->vol->rec.branch;
	struct gw_wext *w = wext_find(gw, branch, op->extent);
	struct gw_op **at = &w->ops;
	uint32_t last = (op_chunk_end(op) - 1) / VMS_SUBEXT_CHUNKS;

	while (*at != op)
		at = &(*at)->wx_next;
	*at = op->wx_next;
	op->marked = false;
	for (uint32_t s = op_chunk0(op) / VMS_SUBEXT_CHUNKS; s <= last; s++) {
		struct vms_pc_page *p = vms_pc_find(gw->pc, branch, VMS_GEN_LIVE, op->extent,
						    (uint8_t)s);

		if (!p)
			continue;
		p->own[0] = p->own[1] = 0;
		for (struct gw_op *o = w->ops; o; o = o->wx_next)
			page_mask(p, op_chunk0(o), op_chunk_end(o));
	}
	if (!w->ops) {
		struct gw_wext **b = wext_bucket(gw, branch, op->extent);

		while (*b != w)
			b = &(*b)->hash_next;
		*b = w->hash_next;
		gw_pool_put(&gw->p_wext, w);
	}
}

/* ---- the command's data ---- */

/* Gather list of bytes [off, off + len) of the command's data; returns its entries. */
static unsigned data_slice(const struct vms_gw_cmd *cmd, uint64_t off, uint64_t len,
			   struct vms_iov *iov, unsigned room)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cmd->ndata && len; i++) {
		uint64_t have = cmd->data[i].len, take;

		if (off >= have) {
			off -= have;
			continue;
		}
		take = have - off < len ? have - off : len;
		vms_assert(n < room);
		iov[n].base = (const uint8_t *)cmd->data[i].base + off;
		iov[n++].len = take;
		len -= take;
		off = 0;
	}
	vms_assert(len == 0);
	return n;
}

/* Walks a gather list in steps. */
struct cursor {
	const struct vms_iov *iov;
	size_t off;
};

static uint32_t cursor_crc(struct cursor *c, size_t len)
{
	uint32_t crc = 0;

	while (len) {
		size_t have = c->iov->len - c->off, take = have < len ? have : len;

		crc = vms_crc32c(crc, (const uint8_t *)c->iov->base + c->off, take);
		len -= take;
		c->off += take;
		if (c->off == c->iov->len) {
			c->iov++;
			c->off = 0;
		}
	}
	return crc;
}

static void cursor_copy(struct cursor *c, uint8_t *dst, size_t len)
{
	while (len) {
		size_t have = c->iov->len - c->off, take = have < len ? have : len;

		if (dst) {
			memcpy(dst, (const uint8_t *)c->iov->base + c->off, take);
			dst += take;
		}
		len -= take;
		c->off += take;
		if (c->off == c->iov->len) {
			c->iov++;
			c->off = 0;
		}
	}
}

static uint8_t chunk_mask(const struct gw_op *op, uint32_t chunk)
{
	uint32_t first = chunk * VMS_CHUNK_BLOCKS, end = op->blk0 + op->nblk;
	uint32_t lo = op->blk0 > first ? op->blk0 - first : 0;
	uint32_t hi = end - first < VMS_CHUNK_BLOCKS ? end - first : VMS_CHUNK_BLOCKS;

	return (uint8_t)((0xffu << lo) & (0xffu >> (8 - hi)));
}

/* Pieces of a ZERO op: a partial first chunk, whole ones as one piece, a partial
 * last one. */
static unsigned zero_pieces(const struct gw_op *op, struct vms_piece *p)
{
	uint32_t c = op_chunk0(op), end = op_chunk_end(op);
	unsigned n = 0;

	while (c < end) {
		uint8_t mask = chunk_mask(op, c);

		p[n] = (struct vms_piece){.chunk = (uint16_t)c, .count = 1, .mask = mask};
		if (mask == VMS_MASK_FULL) {
			uint32_t stop = chunk_mask(op, end - 1) == VMS_MASK_FULL ? end : end - 1;

			p[n].count = (uint16_t)(stop - c);
			c = stop;
		} else {
			c++;
		}
		n++;
	}
	return n;
}

/* Body and payload of an op into the gateway's scratch buffers. */
static void op_encode(struct vms_gw *gw, const struct gw_op *op, struct vms_msg *m)
{
	struct vms_piece pieces[VMS_EXTENT_CHUNKS];
	const struct gw_req *r = op->req;
	uint32_t c = op_chunk0(op), end = op_chunk_end(op);
	struct cursor cur;
	unsigned n = 0;

	if (op->kind == VMS_WRITE_ZERO) {
		n = zero_pieces(op, pieces);
	} else if (op->kind == VMS_WRITE_REF) {
		for (; c < end; c++, n++)
			pieces[n] = (struct vms_piece){.chunk = (uint16_t)c,
						       .count = 1,
						       .mask = VMS_MASK_FULL,
						       .crc = r->cmd->crcs[n]};
		gw->iov[0].base = r->cmd->fps;
		gw->iov[0].len = op->bytes;
		m->payload = gw->iov;
		m->npayload = 1;
		m->payload_bytes = op->bytes;
	} else if (op->kind == VMS_WRITE_COPY) {
		for (; c < end; c++, n++) {
			pieces[n] = (struct vms_piece){
				.chunk = (uint16_t)c, .count = 1, .mask = VMS_MASK_FULL};
			vms_put_le64(gw->addrs + 8 * n, r->cmd->addrs[n]);
		}
		gw->iov[0].base = gw->addrs;
		gw->iov[0].len = op->bytes;
		m->payload = gw->iov;
		m->npayload = 1;
		m->payload_bytes = op->bytes;
	} else {
		if (r->pattern) {
			for (uint32_t i = c; i < end; i++) {
				gw->iov[i - c].base = r->pattern;
				gw->iov[i - c].len = VMS_LB_BYTES *
						     vms_mask_sectors(chunk_mask(op, i));
			}
			m->npayload = end - c;
		} else {
			m->npayload = data_slice(r->cmd, op->data_off, op->bytes, gw->iov,
						 GW_IOV_ROOM);
		}
		cur = (struct cursor){gw->iov, 0};
		if (op->kind == VMS_WRITE_CAW)
			cursor_copy(&cur, NULL, op->bytes / 2);
		for (; c < end; c++, n++) {
			uint8_t mask = chunk_mask(op, c);
			uint32_t bytes = VMS_LB_BYTES * vms_mask_sectors(mask);

			pieces[n] = (struct vms_piece){
				.chunk = (uint16_t)c, .count = 1, .mask = mask};
			if (r->pattern && mask == VMS_MASK_FULL)
				pieces[n].crc = r->pattern_crc;
			else if (r->pattern)
				pieces[n].crc = vms_crc32c(0, r->pattern, bytes);
			else
				pieces[n].crc = cursor_crc(&cur, bytes);
		}
		m->payload = gw->iov;
		m->payload_bytes = op->bytes;
	}
	vms_write_body_encode(gw->body, op->kind, pieces, n);
	m->body = gw->body;
	m->body_bytes = VMS_WRITE_BODY_BYTES(n);
}

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

static void op_end(struct vms_gw *gw, struct gw_op *op, int status)
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
		own_unmark(gw, op);
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

static void pages_forget(struct vms_gw *gw, const struct gw_op *op)
{
	uint32_t last = (op_chunk_end(op) - 1) / VMS_SUBEXT_CHUNKS;

	for (uint32_t s = op_chunk0(op) / VMS_SUBEXT_CHUNKS; s <= last; s++) {
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
	uint32_t c = op_chunk0(op), end = op_chunk_end(op), chunks = end - c;
	struct vms_pc_page *pg = NULL;
	uint32_t sub = UINT32_MAX;
	bool zero = op->kind == VMS_WRITE_ZERO, fill;
	struct vms_piece zp[3];
	unsigned nzp = zero ? zero_pieces(op, zp) : 0, z = 0;
	struct cursor cur;

	/* a repeated op's answer may be an old outcome: ask for the pages again */
	if (op->sent_ever && (op->unknown || op->backoff_ms || op->lost_ms)) {
		pages_forget(gw, op);
		return;
	}
	if (m->body_bytes < (zero ? nzp : chunks) * 8) {
		pages_forget(gw, op);
		return;
	}
	fill = op->kind == VMS_WRITE_DATA && !r->pattern && chunks <= GW_WT_CHUNKS_MAX;
	if (fill) {
		data_slice(r->cmd, op->data_off, op->bytes, gw->iov, GW_IOV_ROOM);
		cur = (struct cursor){gw->iov, 0};
	}
	for (uint32_t i = 0; c < end; i++, c++) {
		uint8_t mask = chunk_mask(op, c);
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
		cursor_copy(&cur, slot == VMS_CC_NONE ? NULL : vms_cc_data(gw->cc, slot),
			    VMS_LB_BYTES * vms_mask_sectors(mask));
	}
}

/* ---- sending ---- */

static void op_retry(struct vms_gw *gw, struct gw_op *op, uint32_t ms)
{
	op->state = GO_RETRY;
	op->due_ms = gw->now_ms + ms;
	gw_list_add(&gw->retry, &op->link);
	gw_wake_at(gw, op->due_ms);
}

/* Refused for now: a little later again, a little longer each time. */
static void op_backoff(struct vms_gw *gw, struct gw_op *op)
{
	op->backoff_ms = op->backoff_ms ? op->backoff_ms * 2 : GW_RETRY_MS;
	if (op->backoff_ms > GW_RETRY_MS_MAX)
		op->backoff_ms = GW_RETRY_MS_MAX;
	op_retry(gw, op, op->backoff_ms);
}

static bool op_expired(const struct vms_gw *gw, const struct gw_op *op)
{
	return !op->unknown && gw->now_ms - op->req->t_ms > gw->tm.t_op_ms;
}

/* Writes of its volume must not be sent now. */
static void op_hold(struct vms_gw *gw, struct gw_op *op)
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
		op_hold(gw, op);
		return;
	}
	if (op_goes_later(gw, op)) {
		op_retry(gw, op, GW_RETRY_MS);
		return;
	}
	if (!n || n->state != GN_READY) {
		op_retry(gw, op, 2 * GW_RETRY_MS);
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

static void cancel_send(struct vms_gw *gw, struct gw_op *op, struct gw_node *n)
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
		cancel_send(gw, op, n);
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
		own_mark(gw, op);
	op_encode(gw, op, &m);
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
			op_retry(gw, op, 2 * GW_RETRY_MS);
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
				op_end(gw, op, VMS_E_NOENT);
			} else if (op_expired(gw, op)) {
				op_end(gw, op, VMS_E_BUSY);
			} else if (!op->sent_ever && gw_pr_refuses(op->req)) {
				gw->st.pr_refused++;
				op_end(gw, op, vms_gw_refusal(gw));
			} else if (op_must_wait(op)) {
				op_hold(gw, op);
			} else if (gw_primary(gw, op->partition) != n || op_goes_later(gw, op)) {
				gw_op_route(gw, op, false);
			} else if (!op_send(gw, op, n)) {
				op_retry(gw, op, 2 * GW_RETRY_MS);
			}
		}
	}
}

void gw_writes_send(struct vms_gw *gw)
{
	slots_refill(gw);
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
		op_hold(gw, op);
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

static void slots_refill(struct vms_gw *gw)
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

/* ---- answers ---- */

/* A primary says that the op has not been and will not be ordered. Nodes remember
 * outcomes for a time: near its end, counted from the first send, this proves only that it
 * will not be, if a send of it was lost. Then it counts as applied, perhaps, and may be
 * repeated; but not a COMPARE AND WRITE, which would meet its own value. */
static void op_never(struct vms_gw *gw, struct gw_op *op, int status)
{
	uint64_t known_ms = (uint64_t)VMS_OUTCOME_KEEP_T_OP / 2 * gw->tm.t_op_ms;

	if (op->unknown && gw->now_ms - op->sent_ms >= known_ms) {
		pages_forget(gw, op);
		if (op->kind == VMS_WRITE_CAW || status != VMS_E_BUSY)
			status = VMS_E_TIMEOUT;
		op->req->applied = true;
		gw->st.outcomes_lost++;
	}
	op_end(gw, op, status);
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
		op_end(gw, op, 0);
		break;
	case VMS_E_NOENT: /* REF, COPY: nothing was ordered */
		ref_found(op, m);
		op_end(gw, op, status);
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
			op_end(gw, op, VMS_E_BUSY);
		else
			op_retry(gw, op, 0);
		break;
	case VMS_E_MISCOMPARE:
		op->req->miscompare_bytes = m->aux;
		op_end(gw, op, status);
		break;
	case VMS_E_TOO_OLD:
		gw->st.ops_too_old++;
		op_never(gw, op, VMS_E_BUSY);
		break;
	case VMS_E_INCARNATION:
		gw_fatal(gw, status, "a newer process of this gateway is known to the nodes");
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
			op_end(gw, op, VMS_E_CANCELLED);
		else if (op_expired(gw, op))
			op_end(gw, op, VMS_E_BUSY);
		else if (status == VMS_E_LUN_FENCE && gw_pr_refuses(op->req)) {
			gw->st.pr_refused++;
			op_never(gw, op, vms_gw_refusal(gw));
		} else if ((status == VMS_E_SNAP_GEN || status == VMS_E_LUN_FENCE) &&
			   !op->req->aborted)
			gw_barrier_refused(gw, op, m->snap_gen);
		else
			op_backoff(gw, op);
		break;
	case VMS_E_CANCELLED:
		op_end(gw, op, status);
		break;
	default:
		pages_forget(gw, op);
		op_end(gw, op, status);
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

		pages_forget(gw, op);
		op_end(gw, op, outcome);
		return;
	}
	if (op->rpc || op->state != GO_SENT)
		return; /* its own answer is still to come, or was a refusal to try again */
	if (status == VMS_E_DISCONNECTED)
		op->lost_ms = gw->now_ms;
	/* ordered and not committed, or not to be known now: ask again */
	op_backoff(gw, op);
}

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
		pages_forget(gw, r->ops);
		op_end(gw, r->ops, VMS_E_TIMEOUT);
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
				cancel_send(gw, op, n);
		} else if (op->state == GO_HELD && op->unknown &&
			   !gw_mutant(gw, VMS_GWM_ABORT_EARLY)) {
			gw_list_del(&op->link);
			gw_op_route(gw, op, true);
		} else if (!op->unknown || gw_mutant(gw, VMS_GWM_ABORT_EARLY)) {
			/* the command may end with its last op */
			bool last = r->npend == 1;

			op_end(gw, op, VMS_E_CANCELLED);
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
		if (op_expired(gw, op))
			op_end(gw, op, VMS_E_BUSY);
		else
			gw_op_route(gw, op, true);
	}
	while (!gw_list_empty(&gw->slot_wait)) {
		struct gw_op *op = gw_entry(gw->slot_wait.next, struct gw_op, link);

		if (!op_expired(gw, op))
			break;
		op_end(gw, op, VMS_E_BUSY);
	}
	gw_each(lv, &gw->vols)
	{
		struct vms_gw_vol *v = gw_entry(lv, struct vms_gw_vol, link);

		gw_each(l, &v->held)
		{
			struct gw_op *op = gw_entry(l, struct gw_op, link);

			if (op_expired(gw, op))
				op_end(gw, op, VMS_E_BUSY);
		}
	}
	aborts_timer(gw);
}

/* ---- submit ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

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
		op_hold(gw, op);
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
		struct cursor cur = {gw->iov, 0};

		r->pattern = aligned_alloc(VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
		vms_assert(r->pattern);
		data_slice(cmd, 0, VMS_LB_BYTES, gw->iov, GW_IOV_ROOM);
		cursor_copy(&cur, r->pattern, VMS_LB_BYTES);
		if (all_zero(r->pattern, VMS_LB_BYTES)) {
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
	slots_refill(gw);
	gw->want_send = true;
	return VMS_GW_PENDING;
}
