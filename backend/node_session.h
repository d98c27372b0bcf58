/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sessions with gateways: ticks, pages they hold and are asked for, cancelled ops; floors of
 * gateways and branches.
 */
#ifndef VMS_NODE_SESSION_H
#define VMS_NODE_SESSION_H

#include "backend/htab.h"
#include "backend/node.h"
#include "include/wire.h"
#include "utils/lib/vec.h"

struct conn;
struct op;
struct part;
struct vms_node;

/* A write that takes more from a page than that takes all of it: it would be asked for
 * again rather than chunk by chunk. */
#define INVAL_RUNS_MAX	 16u
#define INVAL_CHUNKS_MAX 32u

#define NODE_TICKS_KEPT 64u
#define NODE_SLOT_MAX	65536u

struct inval {
	struct vms_hlink link;	   /* key: req_id */
	struct inval *prev, *next; /* of the session */
	struct session *sess;
	struct op *op;	     /* NULL: only to make room */
	struct part *recall; /* counted in its recalls, or trim_left */
	bool trim;
	bool named; /* chunks, not pages: the gateway is a holder still */
	/* the gateway is no holder of it any more, but has it until it answers */
	bool loose;
	struct vms_hlink by_page; /* loose: in n->loose */
	uint64_t branch;
	uint32_t extent, part;
	uint8_t subexts;
	uint64_t sent_ms;
};

struct tomb {
	uint64_t sequence, until_ms;
};

struct session {
	struct session *next;
	uint32_t gateway;
	uint64_t incarnation;
	vms_conn_id conn;
	bool live;     /* pages may be in use */
	uint64_t tick; /* last issued */
	uint64_t tick_ms[NODE_TICKS_KEPT];
	uint64_t tick_base; /* first number of this incarnation's ticks */
	bool tick_wait;
	uint64_t lease_from_ms;
	struct inval *invals;
	VMS_VEC(struct tomb) tomb; /* by slot */
};

struct gwfloor {
	struct vms_hlink link; /* key: gateway */
	uint64_t incarnation;  /* logged */
	uint64_t min;	       /* enforced; above it if the log had no room for the catalog's */
	uint64_t log_pos;      /* durable when the log is beyond; 0: durable */
};

struct session *session_get(struct vms_node *n, uint32_t gateway);
void session_hello(struct vms_node *n, struct conn *c);
void session_conn_down(struct vms_node *n, struct session *s);
void session_void(struct vms_node *n, struct session *s);
void session_tick(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void session_timer(struct vms_node *n);
int session_age_check(struct vms_node *n, const struct vms_msg *m);
uint64_t session_op_deadline(struct vms_node *n, const struct vms_msg *m);
void session_void_branch(struct vms_node *n, struct part *p, uint64_t branch);
/* What a write takes from other gateways: pages, or chunks of them. */
struct inval_what {
	uint8_t subexts;
	unsigned nrun; /* 0: the pages */
	struct vms_inval_run run[INVAL_RUNS_MAX];
};
void session_inval_pieces(const struct vms_piece *pieces, unsigned np, struct inval_what *what);
unsigned session_invalidate(struct vms_node *n, struct part *p, uint64_t branch, uint32_t extent,
			    const struct inval_what *what, uint64_t seq, uint32_t except,
			    struct op *op);
void session_inval_done(struct vms_node *n, struct inval *iv);
/* All pages of the partition come back: p->recalls falls to 0. */
void session_recall(struct vms_node *n, struct part *p);
void session_recall_void(struct vms_node *n, struct part *p);
/* The same for one that others lead now; nobody waits. */
void session_lost(struct vms_node *n, struct part *p);
void session_inval_reply(struct vms_node *n, struct conn *c, const struct vms_msg *m);
bool session_tomb(struct vms_node *n, const struct vms_opid *op);
void session_cancel(struct vms_node *n, struct conn *c, const struct vms_msg *m);
int floor_gateway(struct vms_node *n, uint32_t gateway, uint64_t incarnation, uint64_t *pos);
/* What the catalog has: enforced from here on, logged when there is room. */
void floor_gateway_known(struct vms_node *n, uint32_t gateway, uint64_t incarnation);
void floor_gateways_retry(struct vms_node *n);
int floor_branch(struct vms_node *n, uint64_t branch, uint64_t snap_gen, uint64_t fence,
		 uint64_t *pos);
void floor_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);

#endif
