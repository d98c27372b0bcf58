/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the gateway core: ordered ops. Shared by the files that an op goes through and
 * those that ask what is on its way.
 */
#ifndef VMS_GW_WRITE_H
#define VMS_GW_WRITE_H

#include "target/gw_int.h"

/* Chunks of the extent that the op covers, in part or whole: [first, end). */
static inline uint32_t gw_op_chunk0(const struct gw_op *op)
{
	return op->blk0 / VMS_CHUNK_BLOCKS;
}
static inline uint32_t gw_op_chunk_end(const struct gw_op *op)
{
	return (op->blk0 + op->nblk + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;
}

/* ---- gw_write.c: commands, abort, time ---- */

int gw_write_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);
void gw_write_abort(struct vms_gw *gw, struct gw_req *req);
void gw_write_timer(struct vms_gw *gw);

/* ---- gw_own.c: own writes in flight ---- */

/* From the op's first send to its end its chunks are masked in cached pages. */
void gw_own_add(struct vms_gw *gw, struct gw_op *op);
void gw_own_del(struct vms_gw *gw, struct gw_op *op);
/* Mask the chunks of own writes in flight in a page that is being installed. */
void gw_own_mask(struct vms_gw *gw, struct vms_pc_page *p);
/* Is an own write in flight on those chunks of the extent? */
bool gw_own_overlap(struct vms_gw *gw, uint64_t branch, uint32_t extent, uint32_t chunk0,
		    uint32_t n);

/* ---- gw_op_data.c: what an op carries ---- */

/* Walks a gather list in steps. */
struct gw_cursor {
	const struct vms_iov *iov;
	size_t off;
};
void gw_cursor_copy(struct gw_cursor *c, uint8_t *dst, size_t len); /* dst NULL: skips */
/* Gather list of bytes [off, off + len) of the command's data; returns its entries. */
unsigned gw_data_slice(const struct vms_gw_cmd *cmd, uint64_t off, uint64_t len,
		       struct vms_iov *iov, unsigned room);
/* Sectors of the chunk that the op covers. */
uint8_t gw_op_chunk_mask(const struct gw_op *op, uint32_t chunk);
/* Pieces of a ZERO op: a partial first chunk, whole ones as one piece, a partial
 * last one. */
unsigned gw_op_zero_pieces(const struct gw_op *op, struct vms_piece *p);
/* Body and payload of an op into the gateway's scratch buffers. */
void gw_op_encode(struct vms_gw *gw, const struct gw_op *op, struct vms_msg *m);

/* ---- gw_write_send.c: the way of an op to its primary ---- */

void gw_writes_send(struct vms_gw *gw);
/* Ops that wait for a slot get those that are free. */
void gw_slots_refill(struct vms_gw *gw);
/* Send the op when that is allowed: front before all others of its node. */
void gw_op_route(struct vms_gw *gw, struct gw_op *op, bool front);
void gw_op_retry(struct vms_gw *gw, struct gw_op *op, uint32_t ms);
/* Refused for now: a little later again, a little longer each time. */
void gw_op_backoff(struct vms_gw *gw, struct gw_op *op);
/* Too old to be sent again, and nobody can have ordered it. */
bool gw_op_expired(const struct vms_gw *gw, const struct gw_op *op);
/* Writes of its volume must not be sent now. */
void gw_op_hold(struct vms_gw *gw, struct gw_op *op);
void gw_cancel_send(struct vms_gw *gw, struct gw_op *op, struct gw_node *n);
/* The volume stops: what has no slot yet gets none. Then it goes on. */
void gw_ops_stop(struct vms_gw *gw, struct vms_gw_vol *v);
void gw_ops_release(struct vms_gw *gw, struct vms_gw_vol *v);

/* ---- gw_write_reply.c: answers, and the end of an op ---- */

void gw_write_reply(struct vms_gw *gw, struct gw_op *op, const struct vms_msg *m, int status);
void gw_cancel_reply(struct vms_gw *gw, struct gw_op *op, const struct vms_msg *m, int status);
/* The op has ended; its command does with its last one. */
void gw_op_end(struct vms_gw *gw, struct gw_op *op, int status);
/* What the op may have changed is asked for again. */
void gw_op_pages_forget(struct vms_gw *gw, const struct gw_op *op);

#endif
