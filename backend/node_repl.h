/* SPDX-License-Identifier: GPL-2.0-only */
/* A partition's records: ordered, sent, held, durable, committed. */
#ifndef VMS_NODE_REPL_H
#define VMS_NODE_REPL_H

#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/record.h"
#include "backend/wal.h"

struct member;
struct part;
struct prec;

#define NODE_CEILING_STEP (1ull << 20)

struct dur {
	uint64_t end_pos;
	uint32_t part;
	uint64_t seq;
};

struct prec *part_rec(struct part *p, uint64_t seq); /* NULL: not there */

/* Order a record at the primary: appended, ingested, on its way. */
int part_order(struct vms_node *n, struct part *p, struct vms_rec *r, const struct vms_iov *iov,
	       unsigned niov);
void part_rec_put(struct vms_node *n, struct part *p, const struct vms_rec *r,
		  struct vms_rec_ref ref, bool live);
void part_truncate(struct vms_node *n, struct part *p, uint64_t from);
/* A reference to a container of its own partition is ordered (on), or settled. */
void part_ref_count(struct vms_node *n, struct part *p, const struct vms_move *m, bool on);
void part_recs_pop(struct part *p, uint64_t below_pos);
int part_append_raw(struct vms_node *n, struct part *p, const struct vms_rec *r, const uint8_t *raw,
		    uint32_t bytes);
void repl_records(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void repl_ack(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void repl_advance(struct vms_node *n, struct part *p);
void repl_durable(struct vms_node *n);
void repl_flush_out(struct vms_node *n); /* end of a turn */
void repl_want(struct vms_node *n, struct part *p);
/* Does the member not know yet of what is committed, or durable on all? */
bool repl_to_tell(const struct part *p, const struct member *m);
uint32_t log_permille(const struct vms_node *n);
/* A steady load keeps the log about half full by itself; a copy that is made must not take
 * the rest: fuller than that, it is given up. */
#define LOG_YIELDS 850u
/* What a node tells the others of its room: the log in 1/1000, NODE_FULL while it
 * refuses new data for lack of space. */
#define NODE_FULL	 0x10000u
#define NODE_LEAVING	 0x20000u /* it is being stopped: give it no lead */
#define NODE_CRAMPED	 0x40000u /* not even chunks can be moved to empty containers */
#define NODE_YIELD_SHIFT 20u	  /* above: struct yield's steps */
static inline uint32_t node_fill(const struct vms_node *n)
{
	return log_permille(n) | (n->nospc ? NODE_FULL : 0) | (n->retiring ? NODE_LEAVING : 0) |
	       (n->cramped ? NODE_CRAMPED : 0) | (uint32_t)n->yield.steps << NODE_YIELD_SHIFT;
}
static inline void peer_fill(struct peer *pe, uint32_t aux)
{
	pe->log_permille = aux & 0xffff;
	pe->full = aux & NODE_FULL;
	pe->leaving = aux & NODE_LEAVING;
	pe->cramped = aux & NODE_CRAMPED;
	pe->yield.steps = aux >> NODE_YIELD_SHIFT & 7;
	if (pe->yield.steps > YIELD_STEPS)
		pe->yield.steps = YIELD_STEPS;
}
void repl_ack_want(struct vms_node *n, struct part *p);
void part_order_ceiling(struct vms_node *n, struct part *p);
void part_fua(struct vms_node *n, struct part *p);

#endif
