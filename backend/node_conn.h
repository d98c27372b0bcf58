/* SPDX-License-Identifier: GPL-2.0-only */
/* Connections of a node, and the other nodes as it sees them. */
#ifndef VMS_NODE_CONN_H
#define VMS_NODE_CONN_H

#include "backend/htab.h"
#include "backend/node.h"
#include "backend/yield.h"
#include "include/wire.h"
#include "utils/lib/vec.h"

struct session;
struct vms_node;

struct conn {
	struct vms_hlink link;
	vms_conn_id id;
	bool hello, closing, outgoing;
	uint8_t role;
	uint32_t peer_id;
	uint64_t incarnation;
	struct session *sess;
	struct peer *peer;
	/* HELLO waits until this log position is durable */
	uint64_t hello_pos;
	struct vms_msg hello_req;
	bool hello_wait;
	struct conn *prev, *next;
};

#define PEER_GRANTS 8

struct peer {
	uint32_t id;
	bool known;  /* in the catalog */
	bool listed; /* ... in the list that is being read */
	char address[64];
	uint64_t cat_incarnation, incarnation;
	vms_conn_id conn; /* 0: not connected (HELLO done) */
	uint64_t next_connect_ms;
	uint64_t tick, tick_sent_ms;
	bool tick_wait;
	/* lease.c: until when it will not take over from this process, and which of its
	 * processes said so, having taken over at that revision; the other way round */
	uint64_t lease_until_ms, lease_inc, lease_rev;
	/* granted to its present process; to those before it, newest first */
	uint64_t grant_until_ms, grant_inc;
	struct {
		uint64_t incarnation, until_ms;
	} granted[PEER_GRANTS];
	uint64_t up_ms;		/* its present process is connected */
	bool leaving;		/* ... and is being stopped */
	bool cramped;		/* ... and has no room for moved chunks either */
	uint64_t heard_ms;	/* last answered TICK */
	uint64_t down_ms;	/* the connection was lost */
	VMS_VEC(uint32_t) out;	/* partitions with something to send */
	VMS_VEC(uint32_t) ack;	/* partitions to acknowledge */
	uint64_t unacked_bytes; /* received and not acknowledged as held */
	uint64_t inflight_bytes;
	bool want_fua, held_wanted;
	bool ckpt_dirty;
	uint32_t log_permille; /* how full its log is */
	struct yield yield;    /* to copies that are made there */
	bool full;	       /* it refuses new data for lack of space */
};

struct conn *conn_get(struct vms_node *n, vms_conn_id id);
void conn_event(struct vms_node *n, const struct vms_node_event *ev);
void conn_timer(struct vms_node *n);
void conn_durable(struct vms_node *n); /* the log's durable end has moved */
int node_send(struct vms_node *n, vms_conn_id conn, struct vms_msg *m);
void node_reply(struct vms_node *n, vms_conn_id conn, const struct vms_msg *req, int status);
struct peer *node_peer(struct vms_node *n, uint32_t id, bool create);
void peer_lost(struct vms_node *n, struct peer *pe);
void node_dispatch(struct vms_node *n, struct conn *c, const struct vms_msg *m);

#endif
