// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections: HELLO both ways, peers (lower node id connects to higher), ticks
 * between nodes, dispatch of frames by role.
 *
 * The first frame of a connection is HELLO. A gateway's HELLO is answered only
 * when its incarnation is durably logged as its floor (rules E7); a new
 * connection of the same sender voids the older one. Keeps invariants 8, 29.
 */
#include "backend/node_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/apply.h"
#include "backend/checkpoint.h"
#include "backend/dedup.h"
#include "backend/digest.h"
#include "backend/drain.h"
#include "backend/htab.h"
#include "backend/learn.h"
#include "backend/learn_serve.h"
#include "backend/lease.h"
#include "backend/match.h"
#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/node_flush.h"
#include "backend/node_int.h"
#include "backend/node_json.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/out.h"
#include "backend/own.h"
#include "backend/repair.h"
#include "backend/round.h"
#include "backend/rpc.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"

struct conn *conn_get(struct vms_node *n, vms_conn_id id)
{
	struct vms_hlink *l = vms_htab_find(&n->conns, id);

	return l ? vms_hlink_entry(l, struct conn, link) : NULL;
}

static struct conn *conn_add(struct vms_node *n, vms_conn_id id, bool outgoing)
{
	struct conn *c = conn_get(n, id);

	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	vms_assert(c);
	c->id = id;
	c->outgoing = outgoing;
	vms_htab_add(&n->conns, &c->link, id);
	c->next = n->conn_list;
	if (n->conn_list)
		n->conn_list->prev = c;
	n->conn_list = c;
	return c;
}

static void conn_close(struct vms_node *n, struct conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	n->up.close(n->up.ctx, c->id);
}

int node_send(struct vms_node *n, vms_conn_id conn, struct vms_msg *m)
{
	struct conn *c = conn_get(n, conn);

	if (!c || c->closing)
		return VMS_E_DISCONNECTED;
	/* answers echo the op id in these fields; HELLO names the process */
	if (!(m->flags & VMS_F_REPLY) || m->type == VMS_MSG_HELLO) {
		m->sender = (uint32_t)n->id;
		m->incarnation = n->incarnation;
	}
	return n->up.send(n->up.ctx, conn, m);
}

void node_reply(struct vms_node *n, vms_conn_id conn, const struct vms_msg *req, int status)
{
	struct vms_msg re;
	struct part *p = node_part(n, req->partition);

	if (!req->req_id)
		return;
	vms_msg_reply_init(&re, req, status);
	if (p && p->known)
		re.epoch = p->conf.epoch;
	node_send(n, conn, &re);
}

struct peer *node_peer(struct vms_node *n, uint32_t id, bool create)
{
	for (unsigned i = 0; i < n->npeers; i++)
		if (n->peer[i]->id == id)
			return n->peer[i];
	if (!create || n->npeers == VMS_NODES_MAX || id == 0)
		return NULL;
	n->peer[n->npeers] = calloc(1, sizeof(struct peer));
	vms_assert(n->peer[n->npeers]);
	n->peer[n->npeers]->id = id;
	/* it has as long to come as one that was lost just now */
	n->peer[n->npeers]->down_ms = n->now_ms;
	return n->peer[n->npeers++];
}

static void hello_send(struct vms_node *n, vms_conn_id conn, const struct vms_msg *req, int status)
{
	struct vms_hello h = {.role = VMS_ROLE_NODE,
			      .version_min = VMS_WIRE_VERSION,
			      .version_max = VMS_WIRE_VERSION};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .partition = VMS_PART_NONE};

	memcpy(h.cluster_uuid, n->conf.cluster_uuid, 16);
	snprintf(h.name, sizeof(h.name), "%s", n->conf.name);
	snprintf(h.address, sizeof(h.address), "%s", n->conf.address);
	if (req)
		vms_msg_reply_init(&m, req, status);
	else
		m.req_id = n->next_req++;
	m.body = body;
	m.body_bytes = vms_hello_encode(body, &h);
	node_send(n, conn, &m);
}

void peer_lost(struct vms_node *n, struct peer *pe)
{
	struct conn *c = conn_get(n, pe->conn);

	if (c)
		c->peer = NULL;
	pe->conn = 0;
	pe->tick_wait = false;
	pe->inflight_bytes = 0;
	pe->unacked_bytes = 0;
	pe->down_ms = n->now_ms;
	pe->next_connect_ms = n->now_ms + n->tm.tick_ms / 2;
	part_peer_change(n, pe);
	rpc_peer_lost(n, pe);
	feed_peer_lost(n, pe);
	learn_peer_lost(n, pe);
}

static void peer_up(struct vms_node *n, struct peer *pe, struct conn *c)
{
	if (pe->conn && pe->conn != c->id) {
		struct conn *old = conn_get(n, pe->conn);

		peer_lost(n, pe);
		if (old)
			conn_close(n, old);
	}
	if (pe->incarnation != c->incarnation || !pe->conn)
		pe->up_ms = n->now_ms;
	pe->conn = c->id;
	pe->incarnation = c->incarnation;
	pe->leaving = false;
	if (c->incarnation > pe->cat_incarnation)
		pe->cat_incarnation = c->incarnation;
	c->peer = pe;
	pe->tick_wait = false;
	/* the lease is asked for at once */
	pe->tick_sent_ms = n->now_ms - n->tm.tick_ms;
	pe->heard_ms = n->now_ms;
	node_wake_at(n, n->now_ms);
	part_peer_change(n, pe);
	ckpt_peer_up(n, pe);
	dedup_peer_up(n, pe);
}

static void hello_answer(struct vms_node *n, struct conn *c)
{
	c->hello_wait = false;
	c->hello = true;
	if (c->role == VMS_ROLE_GATEWAY)
		session_hello(n, c);
	hello_send(n, c->id, &c->hello_req, 0);
	if (c->role == VMS_ROLE_NODE)
		peer_up(n, c->peer, c);
}

static void on_hello(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_hello h;
	static const uint8_t zero[16];
	uint64_t pos = 0;
	int rc = 0;

	if (m->flags & VMS_F_REPLY) {
		struct peer *pe = c->peer;

		if (!c->outgoing || c->hello)
			return;
		if (m->status || !pe || m->sender != pe->id || vms_hello_decode(m, &h) ||
		    h.role != VMS_ROLE_NODE || m->incarnation < pe->cat_incarnation) {
			conn_close(n, c);
			return;
		}
		c->hello = true;
		c->role = VMS_ROLE_NODE;
		c->peer_id = m->sender;
		c->incarnation = m->incarnation;
		peer_up(n, pe, c);
		return;
	}
	if (c->hello || c->hello_wait)
		return;
	if (vms_hello_decode(m, &h))
		rc = VMS_E_PROTO;
	else if (h.version_min > VMS_WIRE_VERSION || h.version_max < VMS_WIRE_VERSION)
		rc = VMS_E_VERSION;
	else if (memcmp(h.cluster_uuid, n->conf.cluster_uuid, 16) &&
		 memcmp(h.cluster_uuid, zero, 16))
		rc = VMS_E_CONFIG;
	else if (h.role != VMS_ROLE_TOOL && n->phase <= SP_SELF)
		rc = VMS_E_AGAIN; /* no incarnation yet */
	if (!rc) {
		c->role = h.role;
		c->peer_id = m->sender;
		c->incarnation = m->incarnation;
	}
	if (!rc && h.role == VMS_ROLE_NODE) {
		struct peer *pe = node_peer(n, m->sender, false);

		if (!pe || m->sender == n->id)
			rc = VMS_E_AGAIN; /* the catalog has not told yet */
		else if (m->incarnation < pe->cat_incarnation)
			rc = VMS_E_INCARNATION;
		else
			c->peer = pe;
	} else if (!rc && h.role == VMS_ROLE_GATEWAY) {
		if (m->sender == 0 || m->incarnation == 0)
			rc = VMS_E_PROTO;
		else if (!session_get(n, m->sender) && n->nsessions >= VMS_GATEWAYS_MAX)
			rc = VMS_E_FULL;
		else
			rc = floor_gateway(n, m->sender, m->incarnation, &pos);
	} else if (!rc && h.role != VMS_ROLE_TOOL) {
		rc = VMS_E_PROTO;
	}
	if (rc) {
		hello_send(n, c->id, m, rc);
		conn_close(n, c);
		return;
	}
	c->hello_req = vms_msg_head(m);
	c->hello_pos = pos;
	c->hello_wait = true;
	if (pos <= vms_wal_durable_pos(n->wal))
		hello_answer(n, c);
}

void conn_durable(struct vms_node *n)
{
	uint64_t d = vms_wal_durable_pos(n->wal);
	struct conn *c, *next;

	for (c = n->conn_list; c; c = next) {
		next = c->next;
		if (c->hello_wait && c->hello_pos <= d && !c->closing)
			hello_answer(n, c);
	}
}

/* A tick asks for a lease, its answer grants it (lease.c). */
static void peer_tick(struct vms_node *n, struct peer *pe, const struct vms_msg *m)
{
	struct vms_msg re;

	peer_fill(pe, m->aux);
	if (m->flags & VMS_F_REPLY) {
		if (pe->tick_wait && m->tick == pe->tick) {
			pe->tick_wait = false;
			lease_won(n, pe, pe->tick_sent_ms, m->sequence);
		}
		return;
	}
	vms_msg_reply_init(&re, m, 0);
	re.tick = m->tick;
	re.aux = node_fill(n);
	re.sequence = n->took_rev;
	lease_grant(n, pe);
	node_send(n, pe->conn, &re);
}

void node_dispatch(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	bool gw = c->role == VMS_ROLE_GATEWAY, node = c->role == VMS_ROLE_NODE;
	bool tool = c->role == VMS_ROLE_TOOL, reply = m->flags & VMS_F_REPLY;

	if (node && reply && rpc_reply(n, c, m))
		return;
	switch (m->type) {
	case VMS_MSG_TICK:
		if (node)
			peer_tick(n, c->peer, m);
		else if (gw && reply)
			session_tick(n, c, m);
		return;
	case VMS_MSG_WRITE:
		if (gw && !reply) {
			write_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_INVALIDATE:
		if (gw && reply) {
			session_inval_reply(n, c, m);
			return;
		}
		break;
	case VMS_MSG_REPLICATE:
		if (node && reply)
			repl_ack(n, c, m);
		else if (node)
			repl_records(n, c, m);
		return;
	case VMS_MSG_VIEW_STATE:
		if (node) {
			part_view_state(n, c, m);
			return;
		}
		break;
	case VMS_MSG_CATCHUP:
		if (node) {
			part_catchup(n, c, m);
			return;
		}
		break;
	case VMS_MSG_CHECKPOINT:
		if (node) {
			ckpt_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_LEARN:
		if (node && !reply) {
			learn_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_DIGEST:
		if (node && !reply) {
			digest_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_OUT_QUERY:
		if (node && !reply) {
			out_query_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_MARK:
		if (node && !reply) {
			round_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_SWEEP:
		if (node && !reply) {
			round_report_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_DRAIN:
		if (node) {
			drain_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_HOOK_LOOKUP:
	case VMS_MSG_HOOK_ADD:
	case VMS_MSG_LIST_FETCH:
	case VMS_MSG_CONFIRM:
		if (node && !reply) {
			dedup_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_MATCH_POLL:
	case VMS_MSG_MATCH_PULL:
	case VMS_MSG_MATCH_PAIRS:
	case VMS_MSG_MATCH_REMAP:
		if (node && !reply) {
			match_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_READ_ADDR:
		if (node && reply) {
			apply_peer_reply(n, m);
			return;
		}
		break;
	}
	if (reply)
		return;
	switch (m->type) {
	case VMS_MSG_OPEN:
		node_reply(n, c->id, m, 0);
		return;
	case VMS_MSG_GET_PAGES:
		if (gw) {
			read_pages(n, c, m);
			return;
		}
		break;
	case VMS_MSG_OWN:
		if (gw) {
			own_serve(n, c, m);
			return;
		}
		break;
	case VMS_MSG_READ_ADDR:
		read_addr(n, c, m);
		return;
	case VMS_MSG_READ_LBA:
		read_lba(n, c, m);
		return;
	case VMS_MSG_FLUSH:
		if (!node) {
			flush_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_FLOOR:
		if (!node) {
			floor_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_CANCEL:
		if (gw) {
			session_cancel(n, c, m);
			return;
		}
		break;
	case VMS_MSG_TRIM:
		if (tool) {
			trim_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_REPAIR:
		if (!tool && n->phase == SP_RUN) {
			repair_msg(n, c, m);
			return;
		}
		break;
	case VMS_MSG_ADMIN:
	case VMS_MSG_STATS:
		if (!node) {
			node_json_msg(n, c, m);
			return;
		}
		break;
	}
	node_reply(n, c->id, m, VMS_E_UNSUPPORTED);
}

static void conn_down(struct vms_node *n, struct conn *c)
{
	struct session *s = c->sess;
	struct peer *pe = c->peer;

	write_conn_void(n, c->id);
	flush_conn_void(n, c->id);
	vms_htab_del(&n->conns, &c->link);
	if (c->prev)
		c->prev->next = c->next;
	else
		n->conn_list = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (s && s->conn == c->id)
		session_conn_down(n, s);
	if (pe && pe->conn == c->id)
		peer_lost(n, pe);
	else if (pe && c->outgoing)
		pe->next_connect_ms = n->now_ms + n->tm.tick_ms / 2;
	free(c);
}

void conn_event(struct vms_node *n, const struct vms_node_event *ev)
{
	struct conn *c;

	switch (ev->type) {
	case VMS_NEV_CONN_UP:
		if (n->phase <= SP_SELF || n->stopping) {
			n->up.close(n->up.ctx, ev->conn);
			return;
		}
		c = conn_add(n, ev->conn, true);
		c->peer = node_peer(n, ev->node, false);
		if (!c->peer) {
			conn_close(n, c);
			return;
		}
		hello_send(n, c->id, NULL, 0);
		return;
	case VMS_NEV_ACCEPT:
		conn_add(n, ev->conn, false);
		return;
	case VMS_NEV_CONN_DOWN:
		c = conn_get(n, ev->conn);
		if (c)
			conn_down(n, c);
		return;
	default:
		break;
	}
	c = conn_get(n, ev->conn);
	if (!c || c->closing)
		return;
	if (ev->msg->type == VMS_MSG_HELLO) {
		on_hello(n, c, ev->msg);
		return;
	}
	if (!c->hello) {
		if (!c->hello_wait)
			conn_close(n, c);
		return;
	}
	/* frames of a connection that a newer one has replaced are not read */
	if ((c->role == VMS_ROLE_NODE && (!c->peer || c->peer->conn != c->id)) ||
	    (c->role == VMS_ROLE_GATEWAY && (!c->sess || c->sess->conn != c->id)))
		return;
	node_dispatch(n, c, ev->msg);
}

void conn_timer(struct vms_node *n)
{
	if (n->phase <= SP_SELF || n->stopping)
		return;
	for (unsigned i = 0; i < n->npeers; i++) {
		struct peer *pe = n->peer[i];

		if (!pe->conn) {
			if (pe->known && pe->id > n->id && pe->address[0] &&
			    n->now_ms >= pe->next_connect_ms) {
				n->up.connect(n->up.ctx, pe->id, pe->address);
				pe->next_connect_ms = n->now_ms + n->tm.tick_ms;
			}
			continue;
		}
		if (pe->tick_wait && n->now_ms - pe->tick_sent_ms > 2ull * n->tm.lease_ms) {
			struct conn *c = conn_get(n, pe->conn);

			node_log(n, VMS_LOG_WARN, "node %u does not answer: connecting again",
				 pe->id);
			peer_lost(n, pe);
			if (c)
				conn_close(n, c);
			continue;
		}
		if (!pe->tick_wait && n->now_ms - pe->tick_sent_ms >= n->tm.tick_ms) {
			struct vms_msg m = {.type = VMS_MSG_TICK, .partition = VMS_PART_NONE};
			uint8_t body[10];

			m.req_id = n->next_req++;
			m.tick = ++pe->tick;
			m.tick_incarnation = n->incarnation;
			m.aux = node_fill(n);
			vms_put_le64(body, n->now_ms);
			vms_put_le16(body + 8, 0);
			m.body = body;
			m.body_bytes = sizeof(body);
			pe->tick_wait = true;
			pe->tick_sent_ms = n->now_ms;
			node_send(n, pe->conn, &m);
		}
	}
}
