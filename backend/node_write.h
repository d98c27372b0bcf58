/* SPDX-License-Identifier: GPL-2.0-only */
/* Ops of gateways on their way to be ordered and committed. */
#ifndef VMS_NODE_WRITE_H
#define VMS_NODE_WRITE_H

#include "backend/node.h"
#include "backend/record.h"
#include "include/wire.h"

struct conn;
struct fetch;
struct part;
struct vms_node;

#define NODE_WAIT_BYTES_MAX (64u << 20) /* held by ops that wait to be ordered, see wait_cost() */
#define NODE_WAIT_OPS_MAX   8192u

enum op_state { OP_WAIT, OP_LOCK, OP_READ, OP_ORDERED };
struct op {
	struct op *next; /* pend, wait, lock list; free list */
	struct part *part;
	enum op_state state;
	vms_conn_id conn;
	struct vms_msg req; /* header only */
	uint8_t kind;
	unsigned np;
	struct vms_piece *pieces; /* own copy while it waits */
	uint8_t *payload;
	uint64_t payload_bytes;
	uint64_t wait_bytes; /* its part of the node's */
	uint64_t lock_bytes; /* the same: of the log, of a lock that is not ordered yet */
	uint64_t seq, first_pos;
	unsigned inval_left;
	uint64_t arrived_ms;
	bool read_busy, dead;
	struct fetch *fetch;
};

/* Is there a member that has no place for new data in its containers? */
bool part_no_room(const struct vms_node *n, const struct part *p);
/* Numbers of containers and places in the sequence are given once and end (rules B9): what is
 * left is for what the log holds already. data: the write brings bytes that need a container. */
bool part_used_up(const struct vms_node *n, const struct part *p, bool data);
/* … or none for a segment of chunks that are moved, on top of what its log holds: it would
 * wait for room with it, and with all that comes after it. */
bool part_cramped(const struct vms_node *n, const struct part *p);
/* For bytes that nobody has it stands, or does no more; one more record of one that does. */
void part_stands(struct vms_node *n, struct part *p, bool stands);
void part_stand_more(struct vms_node *n, struct part *p, uint64_t seq);
/* It stands, and partitions that do have as much of the log as they may. */
bool part_stands_full(const struct vms_node *n, const struct part *p);

struct op *op_new(struct vms_node *n);
void op_free(struct vms_node *n, struct op *o);
void write_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void write_retry(struct vms_node *n, struct part *p);
void write_timer(struct vms_node *n, struct part *p);
/* What is committed and not acknowledged for lack of copies is, when there are enough. */
void write_held(struct vms_node *n, struct part *p);
void write_committed(struct vms_node *n, struct part *p, struct op *o, const struct vms_rec *r,
		     const struct vms_piece *pieces, unsigned np);
void write_conn_void(struct vms_node *n, vms_conn_id conn);
void write_ref_ready(struct vms_node *n, struct part *p, struct op *o, const uint8_t *data,
		     const uint8_t *found);
/* This node does not lead the partition any more: its ops go elsewhere. */
void write_demote(struct vms_node *n, struct part *p);
bool write_cancel(struct vms_node *n, struct part *p, const struct vms_opid *op);

void trim_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void admission_timer(struct vms_node *n);

#endif
