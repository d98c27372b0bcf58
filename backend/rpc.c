// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of this node to other nodes: each ends exactly once, with the answer or
 * without (connection lost, time over, closing). Owner: the node thread.
 */
#include "backend/rpc.h"

#include <stdlib.h>

#include "backend/htab.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "utils/lib/assert.h"

struct rpc {
	struct vms_hlink link; /* key: req_id */
	struct rpc *prev, *next;
	struct peer *peer;
	uint64_t until_ms;
	rpc_fn fn;
	void *arg;
};

static void rpc_end(struct vms_node *n, struct rpc *r, const struct vms_msg *re)
{
	rpc_fn fn = r->fn;
	void *arg = r->arg;

	vms_htab_del(&n->rpcs, &r->link);
	if (r->prev)
		r->prev->next = r->next;
	else
		n->rpc_list = r->next;
	if (r->next)
		r->next->prev = r->prev;
	free(r);
	fn(n, arg, re);
}

bool rpc_send(struct vms_node *n, struct peer *pe, struct vms_msg *m, uint64_t timeout_ms,
	      rpc_fn fn, void *arg)
{
	struct rpc *r;

	if (!pe || !pe->conn || n->stopping || n->closing)
		return false;
	m->req_id = n->next_req++;
	if (node_send(n, pe->conn, m))
		return false;
	r = calloc(1, sizeof(*r));
	vms_assert(r);
	r->peer = pe;
	r->until_ms = n->now_ms + timeout_ms;
	r->fn = fn;
	r->arg = arg;
	vms_htab_add(&n->rpcs, &r->link, m->req_id);
	r->next = n->rpc_list;
	if (n->rpc_list)
		n->rpc_list->prev = r;
	n->rpc_list = r;
	node_wake_at(n, r->until_ms);
	return true;
}

bool rpc_reply(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_hlink *l = vms_htab_find(&n->rpcs, m->req_id);
	struct rpc *r = l ? vms_hlink_entry(l, struct rpc, link) : NULL;

	if (!r || r->peer != c->peer)
		return false;
	rpc_end(n, r, m);
	return true;
}

/* An end may start or end others: from the front again each time. */
static void rpc_drop(struct vms_node *n, const struct peer *pe, uint64_t until_ms)
{
	struct rpc *r;

	do {
		for (r = n->rpc_list; r; r = r->next)
			if ((!pe || r->peer == pe) && r->until_ms <= until_ms)
				break;
		if (r)
			rpc_end(n, r, NULL);
	} while (r);
}

void rpc_peer_lost(struct vms_node *n, struct peer *pe)
{
	rpc_drop(n, pe, UINT64_MAX);
}

void rpc_timer(struct vms_node *n)
{
	rpc_drop(n, NULL, n->now_ms);
}

void rpc_close(struct vms_node *n)
{
	rpc_drop(n, NULL, UINT64_MAX);
	vms_htab_free(&n->rpcs);
}
