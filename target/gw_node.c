// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sessions with the storage nodes: connections, HELLO, ticks and leases, and the
 * table of requests that wait for an answer.
 *
 * Ticks are stop-and-wait. The lease of a session counts from the moment the
 * previous tick was answered (so from before the node sent the one that brought
 * it), and a lost connection ends it at once together with every page that came
 * over it (rules A5, C7, C8). A command refers to the ticks that were held when
 * the turn before its own ended (rules C2, C4).
 */
#include <inttypes.h>
#include <stdio.h>

#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"
#include "target/gw_write.h"

struct gw_node *gw_node_get(struct vms_gw *gw, uint32_t id, bool create)
{
	struct gw_node *n;

	if (id == 0 || id >= VMS_NODES_MAX)
		return NULL;
	n = gw->node[id];
	if (n || !create)
		return n;
	n = calloc(1, sizeof(*n));
	vms_assert(n);
	n->id = id;
	gw_list_init(&n->rpcs);
	gw_list_init(&n->ops);
	n->try_ms = gw->now_ms;
	n->connect_ms = gw->now_ms;
	n->alive_ms = n->nobody_ms = gw->now_ms;
	n->backoff_ms = GW_CONNECT_MS;
	gw->node[id] = n;
	if (id >= gw->node_top)
		gw->node_top = id + 1;
	gw->kick = true;
	return n;
}

/* ---- ticks as commands see them ---- */

struct gw_tickvec *gw_tv_get(struct vms_gw *gw)
{
	gw->tv->refs++;
	return gw->tv;
}

void gw_tv_put(struct vms_gw *gw, struct gw_tickvec *tv)
{
	if (--tv->refs == 0)
		gw_pool_put(&gw->p_tv, tv);
}

void gw_ticks_publish(struct vms_gw *gw)
{
	struct gw_tickvec *tv = gw->tv;

	if (!gw->ticks_changed)
		return;
	gw->ticks_changed = false;
	if (tv->refs > 1) {
		tv->refs--;
		tv = gw->tv = gw_pool_zget(&gw->p_tv);
		tv->refs = 1;
	}
	for (uint32_t i = 0; i < gw->node_top; i++) {
		const struct gw_node *n = gw->node[i];

		tv->t[i].tick = n ? n->tick : 0;
		tv->t[i].incarnation = n ? n->tick_incarnation : 0;
	}
	tv->n = gw->node_top;
}

/* ---- rpcs ---- */

static struct gw_rpc *rpc_new(struct vms_gw *gw)
{
	struct gw_rpc *r;

	if (!gw_list_empty(&gw->rpc_free)) {
		r = gw_entry(gw->rpc_free.next, struct gw_rpc, link);
		gw_list_del(&r->link);
	} else {
		if (gw->nrpc == gw->rpc_room) {
			uint32_t room = gw->rpc_room ? gw->rpc_room * 2 : 256;
			struct gw_rpc **a = realloc(gw->rpc, room * sizeof(*a));

			vms_assert(a);
			gw->rpc = a;
			gw->rpc_room = room;
		}
		r = gw_pool_zget(&gw->p_rpc);
		r->index = gw->nrpc++;
		gw->rpc[r->index] = r;
		gw_list_init(&r->link);
	}
	r->gen = ++gw->rpc_gen;
	if (!r->gen)
		r->gen = ++gw->rpc_gen;
	return r;
}

void gw_rpc_forget(struct vms_gw *gw, struct gw_rpc *r)
{
	if (r->type == GR_WRITE) {
		struct gw_node *n = gw->node[r->node];
		struct gw_op *op = r->obj;

		n->inflight_ops--;
		n->inflight_bytes -= op->bytes;
	}
	gw_list_del(&r->link);
	r->type = 0;
	r->gen = 0;
	r->obj = NULL;
	gw_list_add_head(&gw->rpc_free, &r->link);
}

static struct gw_rpc *rpc_find(struct vms_gw *gw, uint64_t req_id)
{
	uint32_t index = (uint32_t)req_id, gen = (uint32_t)(req_id >> 32);

	if (!gen || index >= gw->nrpc || gw->rpc[index]->gen != gen)
		return NULL;
	return gw->rpc[index];
}

int gw_send(struct vms_gw *gw, struct gw_node *n, struct vms_msg *m)
{
	int rc;

	m->sender = gw->id;
	m->incarnation = gw->incarnation;
	rc = gw->up.send(gw->up.ctx, n->id, m);
	if (rc)
		gw_node_down(gw, n, vms_err_text(rc));
	return rc;
}

struct gw_rpc *gw_rpc_send(struct vms_gw *gw, struct gw_node *n, enum gw_rpc_type type, void *obj,
			   struct vms_msg *m)
{
	struct gw_rpc *r = rpc_new(gw);
	int rc;

	r->type = type;
	r->node = n->id;
	r->sent_ms = gw->now_ms;
	r->obj = obj;
	m->req_id = (uint64_t)r->gen << 32 | r->index;
	m->sender = gw->id;
	if (type != GR_ASK) /* FLOOR of a gateway: its incarnation, not ours */
		m->incarnation = gw->incarnation;
	n->rpc_sent++;
	rc = gw->up.send(gw->up.ctx, n->id, m);
	if (rc) {
		r->type = 0;
		r->gen = 0;
		gw_list_add_head(&gw->rpc_free, &r->link);
		gw_node_down(gw, n, vms_err_text(rc));
		return NULL;
	}
	gw_list_add(&n->rpcs, &r->link);
	if (type == GR_WRITE) {
		struct gw_op *op = obj;

		n->inflight_ops++;
		n->inflight_bytes += op->bytes;
	}
	return r;
}

static void hello_reply(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m, int status);

/* The rpc is forgotten before its handler runs. m is NULL when status was made here. */
static void rpc_answer(struct vms_gw *gw, struct gw_rpc *r, const struct vms_msg *m, int status)
{
	enum gw_rpc_type type = r->type;
	uint32_t node = r->node;
	void *obj = r->obj;

	gw_rpc_forget(gw, r);
	switch (type) {
	case GR_HELLO:
		hello_reply(gw, gw->node[node], m, status);
		break;
	case GR_OPEN:
		if (obj)
			gw_vol_nodes_answered(gw, obj);
		break;
	case GR_PAGES:
		gw_pages_reply(gw, obj, m, status);
		break;
	case GR_OWN:
		gw_own_reply(gw, obj, m, status);
		break;
	case GR_ADDR:
		gw_addr_reply(gw, obj, node, m, status);
		break;
	case GR_LBA:
		gw_lba_reply(gw, obj, node, m, status);
		break;
	case GR_WRITE:
		gw_write_reply(gw, obj, m, status);
		break;
	case GR_CANCEL:
		gw_cancel_reply(gw, obj, m, status);
		break;
	case GR_FLUSH:
		gw_flush_reply(gw, obj, node, m, status);
		break;
	case GR_ASK:
		if (obj)
			gw_ask_reply(obj, node, m, status);
		break;
	}
}

/* ---- connections ---- */

void gw_node_connected(struct vms_gw *gw, struct gw_node *n)
{
	struct vms_hello h = {.role = VMS_ROLE_GATEWAY,
			      .version_min = VMS_WIRE_VERSION,
			      .version_max = VMS_WIRE_VERSION};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .partition = VMS_PART_NONE};

	if (n->state >= GN_HELLO)
		gw_node_down(gw, n, "connected anew");
	memcpy(h.cluster_uuid, gw->cluster.uuid, 16);
	snprintf(h.name, sizeof(h.name), "%s", gw->conf.name);
	m.body = body;
	m.body_bytes = vms_hello_encode(body, &h);
	n->state = GN_HELLO;
	if (!gw_mutant(gw, VMS_GWM_KEEP_PAGES))
		n->session++;
	n->hello_ms = gw->now_ms;
	n->ack_ms = gw->now_ms;
	n->good_until_ms = n->lease_until_ms = 0;
	n->no_claims = false;
	n->heard_ms = gw->now_ms;
	gw_rpc_send(gw, n, GR_HELLO, NULL, &m);
}

void gw_node_down(struct vms_gw *gw, struct gw_node *n, const char *why)
{
	struct gw_link lost;
	bool was_up = n->state >= GN_HELLO;

	if (n->state == GN_DOWN)
		return;
	if (n->state == GN_READY) {
		n->reconnects++;
		gw->st.reconnects++;
		n->try_ms = gw->now_ms;
		n->backoff_ms = GW_CONNECT_MS;
		gw_log(gw, VMS_LOG_WARN, "node %u (%s): %s", n->id, n->address, why);
	}
	n->state = GN_DOWN;
	if (!gw_mutant(gw, VMS_GWM_KEEP_PAGES))
		n->session++;
	n->good_until_ms = n->lease_until_ms = 0;
	n->connect_ms = gw->now_ms + n->backoff_ms;
	n->backoff_ms = n->backoff_ms * 2 > GW_CONNECT_MS_MAX ? GW_CONNECT_MS_MAX
							      : n->backoff_ms * 2;
	if (was_up)
		gw->up.disconnect(gw->up.ctx, n->id);
	/* answers to these never come; handlers may queue new work but, the node
	 * being down, send nothing to it */
	gw_list_init(&lost);
	while (!gw_list_empty(&n->rpcs)) {
		struct gw_link *l = n->rpcs.next;

		gw_list_del(l);
		gw_list_add(&lost, l);
	}
	while (!gw_list_empty(&lost))
		rpc_answer(gw, gw_entry(lost.next, struct gw_rpc, link), NULL, VMS_E_DISCONNECTED);
	gw->kick = true;
}

static void hello_reply(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m, int status)
{
	if (n->state != GN_HELLO)
		return;
	if (status == VMS_E_INCARNATION) {
		gw_fatal(gw, status,
			 "it was shut out while it stood still or did not answer, or a newer "
			 "process of its name is known to the nodes");
		return;
	}
	if (status) {
		char why[160];

		snprintf(why, sizeof(why), "HELLO was answered: %s", vms_err_text(status));
		gw_node_down(gw, n, why);
		return;
	}
	n->state = GN_READY;
	n->backoff_ms = GW_CONNECT_MS;
	n->heard_ms = n->alive_ms = gw->now_ms;
	/* from the moment the HELLO left: the node counts from its receipt */
	n->lease_until_ms = n->hello_ms + gw->tm.lease_ms;
	/* how long others let it lead is told with its first tick */
	memset(n->peer_until_ms, 0, sizeof(n->peer_until_ms));
	n->good_until_ms = gw_mutant(gw, VMS_GWM_HELLO_PAGES) ? n->lease_until_ms : 0;
	if (m->incarnation != n->incarnation) {
		n->incarnation = m->incarnation;
		gw->topo_stamp++;
	}
	gw_log(gw, VMS_LOG_INFO, "node %u (%s) serves us", n->id, n->address);
	gw_vols_node_ready(gw, n);
	gw->kick = true;
	gw->want_send = true;
}

/* ---- ticks ---- */

/* A volume lies on all nodes: the fullest one is where its writes are refused first. */
static void space_look(struct vms_gw *gw)
{
	struct vms_gw_space *s = &gw->space;
	uint32_t soft = 10 * gw->conf.thin_soft_percent;
	bool refused = s->refusing;

	s->used_permille = 0;
	s->refusing = false;
	for (uint32_t i = 1; i < gw->node_top; i++) {
		const struct gw_node *n = gw->node[i];

		if (!n || !n->known)
			continue;
		s->refusing |= n->refusing;
		if (n->used_permille > s->used_permille)
			s->used_permille = n->used_permille;
	}
	if (s->refusing != refused)
		gw_log(gw, refused ? VMS_LOG_INFO : VMS_LOG_ERROR, "%s",
		       refused ? "the storage nodes take new data again"
			       : "a storage node has no space left: new data is refused");
	if (!soft)
		return;
	if (!gw->space_warned && s->used_permille >= soft) {
		gw->space_warned = true;
		s->warnings++;
		gw_log(gw, VMS_LOG_WARN,
		       "a storage node is %u %% full: initiators are warned (thin_soft_threshold)",
		       s->used_permille / 10);
	} else if (s->used_permille + GW_THIN_BACK <= soft) {
		gw->space_warned = false;
	}
}

void vms_gw_space(const struct vms_gw *gw, struct vms_gw_space *out)
{
	*out = gw->space;
}

/* Does n's newest tick tell of the leases of all members of that set? A node that does not
 * lead the partition any more, or does not know of a member yet, does not. */
static bool names_all(const struct gw_node *n, const struct vms_part_conf *c)
{
	for (uint32_t i = 0; i < c->nmembers; i++) {
		uint32_t id = c->member[i].node;

		if (id != n->id && id < VMS_NODES_MAX && !n->peer_until_ms[id])
			return false;
	}
	return true;
}

/* The set of a partition is another one: the bound that holds for whatever n has handed out
 * is none if it says nothing of a member. */
void gw_lease_set(struct vms_gw *gw, const struct vms_part_conf *c)
{
	struct gw_node *n = c->primary < VMS_NODES_MAX ? gw->node[c->primary] : NULL;

	if (n && !names_all(n, c) && !gw_mutant(gw, VMS_GWM_UNNAMED))
		n->good_until_ms = 0;
}

/* Leases count from the moment the previous tick was answered, `from`, so from before
 * the node sent this one. */
static void tick_leases(struct vms_gw *gw, struct gw_node *n, struct vms_rd *rd, unsigned peers,
			uint64_t from)
{
	n->good_until_ms = n->lease_until_ms = from + gw->tm.lease_ms;
	if (!gw_mutant(gw, VMS_GWM_OLD_PEERS))
		memset(n->peer_until_ms, 0, sizeof(n->peer_until_ms));
	for (unsigned i = 0; i < peers; i++) {
		uint32_t id = vms_rd_u32(rd), ms = vms_rd_u32(rd);
		uint64_t until = ms == UINT32_MAX ? GW_LEASE_FOREVER : from + ms;

		if (!vms_rd_ok(rd))
			break;
		if (id < VMS_NODES_MAX)
			n->peer_until_ms[id] = until;
		if (until < n->good_until_ms && !gw_mutant(gw, VMS_GWM_PEER_LEASE))
			n->good_until_ms = until;
	}
	for (uint32_t p = 0; p < gw->nparts && n->good_until_ms; p++)
		if (gw->part[p].c.primary == n->id)
			gw_lease_set(gw, &gw->part[p].c);
}

static void tick(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m)
{
	struct vms_msg re;
	struct vms_rd rd;
	uint64_t node_ms;
	uint16_t peers;

	vms_rd_init(&rd, m->body, m->body_bytes);
	node_ms = vms_rd_u64(&rd);
	peers = vms_rd_u16(&rd);
	if (!vms_rd_ok(&rd) || m->tick == 0) {
		gw_node_down(gw, n, "malformed tick");
		return;
	}
	/* Frozen with our clock standing still (with one that went on, enter() has
	 * noticed already): from then on node time is ahead of ours by more than ever
	 * before. A tick that was merely late on its way makes it seem behind. The
	 * slack is 1 % of drift of either clock. */
	if (n->tick && m->tick_incarnation == n->tick_incarnation && gw->ready) {
		uint64_t theirs = node_ms - n->tick_node_ms, ours = gw->now_ms - n->tick_own_ms;
		int64_t ahead = (int64_t)(node_ms - gw->now_ms);

		n->ahead_ms -= (int64_t)(ours / 50);
		if (node_ms > n->tick_node_ms && theirs > gw->tm.tick_gap_ms &&
		    ahead > n->ahead_ms + (int64_t)(gw->tm.tick_gap_ms / 2 + ours / 25)) {
			char why[128];

			snprintf(why, sizeof(why),
				 "%" PRIu64 " ms passed at node %u between two ticks, %" PRIu64
				 " ms here",
				 theirs, n->id, ours);
			gw_drop_initiators(gw, why);
		}
		if (ahead > n->ahead_ms)
			n->ahead_ms = ahead;
	} else {
		n->ahead_ms = (int64_t)(node_ms - gw->now_ms);
	}
	n->tick = m->tick;
	n->tick_incarnation = m->tick_incarnation;
	n->tick_node_ms = node_ms;
	n->tick_own_ms = gw->now_ms;
	n->heard_ms = n->alive_ms = gw->now_ms;
	gw->ticks_changed = true;
	gw->st.ticks++;

	tick_leases(gw, n, &rd, peers, n->ack_ms);
	if (vms_rd_left(&rd) >= 5) {
		n->used_permille = vms_rd_u32(&rd);
		n->refusing = vms_rd_u8(&rd) & 1;
		space_look(gw);
	}
	n->ack_ms = gw->now_ms;
	re = (struct vms_msg){.type = VMS_MSG_TICK,
			      .flags = VMS_F_REPLY,
			      .req_id = m->req_id,
			      .partition = VMS_PART_NONE,
			      .tick = m->tick,
			      .tick_incarnation = m->tick_incarnation};
	gw_send(gw, n, &re);
}

/* Some lease has run out. Those that count are the session's and the ones that the
 * other members of the partition's set gave the primary (design 9). Which these are is
 * told by the configuration of the epoch the page is of: before a set grows, the primary
 * takes back all pages of the old one. */
bool gw_lease_ok_(struct vms_gw *gw, const struct gw_part *p, const struct gw_node *n)
{
	if (gw_mutant(gw, VMS_GWM_LEASE))
		return true;
	if (gw->now_ms >= n->lease_until_ms)
		return false;
	for (uint32_t i = 0; i < p->c.nmembers; i++) {
		uint32_t id = p->c.member[i].node;

		if (id != n->id && id < VMS_NODES_MAX && gw->now_ms >= n->peer_until_ms[id])
			return false;
	}
	return true;
}

/* ---- frames ---- */

void gw_node_msg(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m)
{
	struct gw_rpc *r;

	if (m->partition < gw->nparts && m->epoch > gw->part[m->partition].c.epoch)
		gw_cat_ask_part(gw, m->partition);
	if (m->flags & VMS_F_REPLY) {
		r = rpc_find(gw, m->req_id);
		/* forgotten meanwhile: timed out or aborted */
		if (r && r->node == n->id)
			rpc_answer(gw, r, m, m->status);
		return;
	}
	switch (m->type) {
	case VMS_MSG_HELLO:
		return; /* the node's own; its answer to ours is what counts */
	case VMS_MSG_TICK:
		tick(gw, n, m);
		return;
	case VMS_MSG_INVALIDATE:
		gw_invalidate(gw, n, m);
		return;
	case VMS_MSG_PAGE_UPDATE:
		gw_page_update(gw, n, m);
		return;
	default:
		if (m->req_id) {
			struct vms_msg re;

			vms_msg_reply_init(&re, m, VMS_E_UNSUPPORTED);
			gw_send(gw, n, &re);
		}
	}
}

/* ---- partitions that moved ---- */

/* A write that a former primary has not answered is sent again to its successor, in
 * whose epoch the frame that is still on its way can no longer be ordered (rules C11).
 * Page and chunk requests are simply repeated. */
static void node_moved(struct vms_gw *gw, struct gw_node *n)
{
	struct gw_link moved;

	gw_list_init(&moved);
	gw_each(l, &n->rpcs)
	{
		struct gw_rpc *r = gw_entry(l, struct gw_rpc, link);
		uint32_t p;

		switch (r->type) {
		case GR_WRITE:
		case GR_CANCEL:
			p = ((struct gw_op *)r->obj)->partition;
			break;
		case GR_PAGES:
			p = ((struct gw_pagereq *)r->obj)->partition;
			break;
		case GR_LBA:
			p = ((struct gw_piece *)r->obj)->partition;
			break;
		case GR_OWN:
			p = gw_claim_waits(gw, r->obj, n);
			break;
		default:
			continue;
		}
		if (p == VMS_PART_NONE || gw_primary(gw, p) == n)
			continue;
		gw_list_del(l);
		gw_list_add(&moved, l);
	}
	while (!gw_list_empty(&moved)) {
		struct gw_rpc *r = gw_entry(moved.next, struct gw_rpc, link);
		bool op = r->type == GR_WRITE || r->type == GR_CANCEL;

		gw->st.ops_moved += r->type == GR_WRITE;
		gw->st.reads_moved += !op;
		rpc_answer(gw, r, NULL, op ? VMS_E_DISCONNECTED : VMS_E_AGAIN);
	}
}

void gw_nodes_moved(struct vms_gw *gw)
{
	if (!gw->moved)
		return;
	gw->moved = false;
	for (uint32_t i = 1; i < gw->node_top; i++)
		if (gw->node[i] && !gw_mutant(gw, VMS_GWM_STAY))
			node_moved(gw, gw->node[i]);
	gw_flush_moved(gw);
	memset(gw->gained, 0, sizeof(gw->gained));
	gw->want_send = true;
}

/* ---- time ---- */

static void rpc_timeouts(struct vms_gw *gw, struct gw_node *n)
{
	uint64_t addr_ms = gw->tm.tick_gap_ms / 2, read_ms = gw->tm.t_op_ms;

	gw_each(l, &n->rpcs)
	{
		struct gw_rpc *r = gw_entry(l, struct gw_rpc, link);
		uint64_t age = gw->now_ms - r->sent_ms;

		if (age < addr_ms)
			break; /* the rest is younger */
		if ((r->type == GR_ADDR) ||
		    ((r->type == GR_PAGES || r->type == GR_OWN || r->type == GR_LBA) &&
		     age >= read_ms)) {
			rpc_answer(gw, r, NULL, VMS_E_TIMEOUT);
			/* the handler may have sent or lost others */
			if (n->state != GN_READY)
				return;
			l_n = n->rpcs.next;
		}
	}
}

void gw_node_timer(struct vms_gw *gw)
{
	bool all = true;

	if (gw->phase < GP_CONNECT || gw->phase == GP_DEAD)
		return;
	for (uint32_t i = 1; i < gw->node_top; i++) {
		struct gw_node *n = gw->node[i];

		if (!n || !n->known || !n->address[0])
			continue;
		switch (n->state) {
		case GN_CONNECTING:
		case GN_DOWN:
			if (gw->now_ms >= n->connect_ms) {
				n->state = GN_CONNECTING;
				n->connect_ms = gw->now_ms + n->backoff_ms;
				n->backoff_ms = n->backoff_ms * 2 > GW_CONNECT_MS_MAX
							? GW_CONNECT_MS_MAX
							: n->backoff_ms * 2;
				gw->up.connect(gw->up.ctx, n->id, n->address);
			}
			gw_wake_at(gw, n->connect_ms);
			if (gw->now_ms - gw->connect_start_ms <= GW_REACH_MS)
				all = false;
			break;
		case GN_HELLO:
			/* Reachable: initiators wait for its answer (rules E7). One that
			 * stands still gives none; by then all that our predecessor sent
			 * is too old for it. */
			if (gw->now_ms - gw->connect_start_ms <=
			    GW_REACH_MS + 2ull * gw->tm.lease_ms)
				all = false;
			if (gw->now_ms - n->hello_ms > 2ull * gw->tm.lease_ms)
				gw_node_down(gw, n, "HELLO was not answered in time");
			break;
		case GN_READY:
			if (gw->now_ms - n->heard_ms > 2ull * gw->tm.lease_ms)
				gw_node_down(gw, n, "no tick in time");
			else
				rpc_timeouts(gw, n);
			break;
		}
	}
	if (gw->phase == GP_CONNECT && all) {
		gw->phase = GP_RUN;
		gw->ready = true;
		gw->last_ms = gw->now_ms;
		gw_log(gw, VMS_LOG_INFO, "gateway %s (%u) is ready, incarnation %" PRIu64,
		       gw->conf.name, gw->id, gw->incarnation);
		gw->kick = true;
	} else if (gw->phase == GP_CONNECT) {
		gw_wake_at(gw, gw->now_ms + 20);
	}
}
