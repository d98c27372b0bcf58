// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gateway sessions: ticks (stop-and-wait, node time), the session lease, the age
 * of ops, incarnation and branch floors, invalidations under way, cancels.
 *
 * The node's end of the lease counts from receipt of the last tick's answer, the
 * gateway's from sending that answer, so the node's ends later. When it runs out
 * the connection is closed: the gateway starts over and drops its pages.
 * Keeps invariants 3, 8, 9, 10 (rules A5, C2, C4, C6-C8, E7).
 */
#include "backend/node_session.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/copyfwd.h"
#include "backend/holders.h"
#include "backend/htab.h"
#include "backend/lease.h"
#include "backend/node_conn.h"
#include "backend/node_flush.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_write.h"
#include "backend/outcome.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

struct session *session_get(struct vms_node *n, uint32_t gateway)
{
	struct session *s = n->sessions;

	while (s && s->gateway != gateway)
		s = s->next;
	return s;
}

static uint64_t lease_end(const struct vms_node *n, const struct session *s)
{
	/* 1 % for drifting clocks */
	return s->lease_from_ms + n->tm.lease_ms + n->tm.lease_ms / 100 + 2;
}

/* All pages of the session are void: the gateway has dropped them, or their
 * lease has run out. */
void session_void(struct vms_node *n, struct session *s)
{
	s->live = false;
	vms_holders_drop_gateway(&n->holders, s->gateway);
	while (s->invals)
		session_inval_done(n, s->invals);
}

void session_hello(struct vms_node *n, struct conn *c)
{
	struct session *s = session_get(n, c->peer_id);

	if (!s) {
		s = calloc(1, sizeof(*s));
		vms_assert(s);
		s->gateway = c->peer_id;
		s->next = n->sessions;
		n->sessions = s;
		n->nsessions++;
	}
	if (s->conn && s->conn != c->id) {
		struct conn *old = conn_get(n, s->conn);

		write_conn_void(n, s->conn);
		flush_conn_void(n, s->conn);
		if (old) {
			old->sess = NULL;
			if (!old->closing) {
				old->closing = true;
				n->up.close(n->up.ctx, old->id);
			}
		}
	}
	if (n->mut == MUT_HELLO_ASKED)
		vms_holders_drop_gateway(&n->holders, s->gateway);
	else
		session_void(n, s);
	if (c->incarnation != s->incarnation) {
		s->incarnation = c->incarnation;
		s->tick_base = s->tick + 1; /* earlier ticks are another process's */
		VMS_VEC_FREE(&s->tomb);
	}
	s->conn = c->id;
	s->live = true;
	s->tick_wait = false;
	s->lease_from_ms = n->now_ms;
	c->sess = s;
	node_wake_at(n, n->now_ms);
}

void session_conn_down(struct vms_node *n, struct session *s)
{
	(void)n;
	s->conn = 0; /* pages stay valid until the lease ends */
	s->tick_wait = false;
}

/* Nodes whose leases this one needs for something it leads, or is about to. */
static void needed_peers(const struct vms_node *n, uint64_t set[VMS_NODES_MAX / 64])
{
	memset(set, 0, VMS_NODES_MAX / 8);
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct part *p = n->part[i];

		if (!p || !p->known || !p->primary)
			continue;
		for (unsigned k = 0; k < p->conf.nmembers; k++)
			set[p->conf.member[k].node / 64 % (VMS_NODES_MAX / 64)] |=
				1ull << p->conf.member[k].node % 64;
		if (p->cand)
			set[p->cand / 64 % (VMS_NODES_MAX / 64)] |= 1ull << p->cand % 64;
	}
}

static void tick_send(struct vms_node *n, struct session *s)
{
	uint64_t needed[VMS_NODES_MAX / 64];
	struct vms_msg m = {.type = VMS_MSG_TICK, .partition = VMS_PART_NONE};
	uint8_t body[15 + 8 * VMS_NODES_MAX];
	uint64_t used = n->space_total - n->space_free;
	unsigned k = 0;

	s->tick++;
	s->tick_ms[s->tick % NODE_TICKS_KEPT] = n->now_ms;
	s->tick_wait = true;
	m.req_id = n->next_req++;
	m.tick = s->tick;
	m.tick_incarnation = n->incarnation;
	vms_put_le64(body, n->now_ms);
	/* No page of a partition outlasts the leases of its primary. A peer that does not
	 * matter is not named: while all that are have leases, gateways need not look at
	 * each partition's members. */
	needed_peers(n, needed);
	for (unsigned i = 0; i < n->npeers; i++) {
		uint32_t id = n->peer[i]->id;
		uint64_t left = lease_left_ms(n, n->peer[i]);

		if (!(needed[id / 64 % (VMS_NODES_MAX / 64)] >> id % 64 & 1))
			continue;
		if (n->mut == MUT_NO_LEASE || n->conf.fixed_sets)
			left = UINT32_MAX;
		vms_put_le32(body + 10 + 8 * k, id);
		vms_put_le32(body + 14 + 8 * k, (uint32_t)left);
		k++;
	}
	vms_put_le16(body + 8, (uint16_t)k);
	/* how full this node is: its containers or its index, whichever is fuller */
	used = n->space_total ? used * 1000 / n->space_total : 0;
	vms_put_le32(body + 10 + 8 * k,
		     used > n->meta_permille ? (uint32_t)used : n->meta_permille);
	body[14 + 8 * k] = n->nospc ? 1 : 0;
	m.body = body;
	m.body_bytes = 15 + 8 * k;
	node_send(n, s->conn, &m);
}

void session_tick(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct session *s = c->sess;

	if (!s->tick_wait || m->tick != s->tick)
		return;
	s->tick_wait = false;
	s->lease_from_ms = n->now_ms;
}

void session_timer(struct vms_node *n)
{
	for (struct session *s = n->sessions; s; s = s->next) {
		struct conn *c = s->conn ? conn_get(n, s->conn) : NULL;

		if (s->live && n->now_ms > lease_end(n, s)) {
			session_void(n, s);
			if (c) {
				s->conn = 0;
				c->sess = NULL;
				write_conn_void(n, c->id);
				flush_conn_void(n, c->id);
				if (!c->closing) {
					c->closing = true;
					n->up.close(n->up.ctx, c->id);
				}
			}
			continue;
		}
		if (c && !s->tick_wait && !n->stopping &&
		    (s->tick < s->tick_base ||
		     n->now_ms - s->tick_ms[s->tick % NODE_TICKS_KEPT] >= n->tm.tick_ms))
			tick_send(n, s);
	}
}

/* Time at which the op becomes too old; 0: it is too old or its tick is not one
 * that this process issued to that session. */
uint64_t session_op_deadline(struct vms_node *n, const struct vms_msg *m)
{
	struct session *s = session_get(n, m->sender);

	if (!s || s->incarnation != m->incarnation || m->tick_incarnation != n->incarnation ||
	    m->tick < s->tick_base || m->tick == 0 || m->tick > s->tick ||
	    s->tick - m->tick >= NODE_TICKS_KEPT)
		return 0;
	return s->tick_ms[m->tick % NODE_TICKS_KEPT] + n->tm.t_op_ms;
}

int session_age_check(struct vms_node *n, const struct vms_msg *m)
{
	if (n->mut == MUT_SKIP_AGE)
		return 0;
	return n->now_ms > session_op_deadline(n, m) ? VMS_E_TOO_OLD : 0;
}

/* ---- invalidation ---- */

void session_inval_pieces(const struct vms_piece *pieces, unsigned np, struct inval_what *what)
{
	unsigned chunks = 0;
	bool named = true;

	what->subexts = 0;
	what->nrun = 0;
	for (unsigned i = 0; i < np; i++) {
		unsigned first = pieces[i].chunk, count = pieces[i].count;
		struct vms_inval_run *last = what->nrun ? &what->run[what->nrun - 1] : NULL;

		for (unsigned s = first / VMS_SUBEXT_CHUNKS; s * VMS_SUBEXT_CHUNKS < first + count;
		     s++)
			what->subexts |= (uint8_t)(1u << s);
		chunks += count;
		if (chunks > INVAL_CHUNKS_MAX)
			named = false;
		if (last && last->chunk + (unsigned)last->count == first)
			last->count = (uint16_t)(last->count + count);
		else if (what->nrun == INVAL_RUNS_MAX)
			named = false;
		else
			what->run[what->nrun++] = (struct vms_inval_run){(uint16_t)first,
									 (uint16_t)count};
	}
	if (!named)
		what->nrun = 0;
}

/* what: names the chunks; NULL: the pages go. */
static struct inval *inval_send(struct vms_node *n, struct session *s, struct part *p,
				uint64_t branch, uint32_t extent, uint8_t subexts, uint64_t seq,
				struct op *op, const struct inval_what *what)
{
	struct vms_msg m = {.type = VMS_MSG_INVALIDATE, .partition = p->number};
	uint8_t body[INVAL_RUNS_MAX * VMS_INVAL_RUN_BYTES];
	struct inval *iv = calloc(1, sizeof(*iv));

	vms_assert(iv);
	iv->sess = s;
	iv->op = op;
	iv->sent_ms = n->now_ms;
	iv->branch = branch;
	iv->extent = extent;
	iv->part = p->number;
	iv->subexts = subexts;
	iv->named = what != NULL;
	iv->next = s->invals;
	if (s->invals)
		s->invals->prev = iv;
	s->invals = iv;
	m.req_id = n->next_req++;
	vms_htab_add(&n->invals, &iv->link, m.req_id);
	m.epoch = p->conf.epoch;
	m.branch = branch;
	m.extent = extent;
	m.aux = subexts;
	m.sequence = seq;
	if (what) {
		vms_inval_encode(body, what->run, what->nrun);
		m.body = body;
		m.body_bytes = what->nrun * VMS_INVAL_RUN_BYTES;
	}
	n->st.invalidations++;
	if (s->conn)
		node_send(n, s->conn, &m);
	return iv;
}

void session_inval_done(struct vms_node *n, struct inval *iv)
{
	struct op *o = iv->op;
	struct part *p = iv->recall;
	bool trim = iv->trim;

	if (iv->loose)
		vms_htab_del(&n->loose, &iv->by_page);
	vms_htab_del(&n->invals, &iv->link);
	if (iv->prev)
		iv->prev->next = iv->next;
	else
		iv->sess->invals = iv->next;
	if (iv->next)
		iv->next->prev = iv->prev;
	free(iv);
	if (p) {
		unsigned *left = trim ? &p->trim_left : &p->recalls;

		vms_assert(*left > 0);
		if (--*left == 0)
			node_wake_at(n, n->now_ms);
	}
	if (o) {
		vms_assert(o->inval_left > 0);
		if (--o->inval_left == 0)
			part_mark_dirty(n, o->part);
	}
}

void session_inval_reply(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_hlink *l = vms_htab_find(&n->invals, m->req_id);
	struct inval *iv = l ? vms_hlink_entry(l, struct inval, link) : NULL;

	if (!iv || iv->sess != c->sess)
		return;
	/* Nothing is left of these there, and nothing was on its way when it said so: what it
	 * has asked for since comes behind this answer. */
	if (iv->named && (m->aux & iv->subexts)) {
		struct vms_holder *e = vms_holder_find(&n->holders, iv->branch, iv->extent);

		if (e)
			vms_holder_clear(&n->holders, e, iv->sess->gateway,
					 (uint8_t)m->aux & iv->subexts);
	}
	session_inval_done(n, iv);
}

static uint64_t page_key(uint64_t branch, uint32_t extent)
{
	return vms_mix64(branch) + extent;
}

/* The table of holders forgets it with this. Until the gateway has answered, a write has
 * to be told to it, too. */
static void inval_loose(struct vms_node *n, struct inval *iv)
{
	iv->loose = true;
	vms_htab_add(&n->loose, &iv->by_page, page_key(iv->branch, iv->extent));
}

/* Those who were asked to give the page back and have not answered: what they answer to
 * this comes after that. */
static unsigned loose_invalidate(struct vms_node *n, struct part *p, uint64_t branch,
				 uint32_t extent, uint8_t subexts, uint64_t seq, uint32_t except,
				 struct op *op)
{
	struct vms_hlink *l = n->loose.n ? vms_htab_find(&n->loose, page_key(branch, extent))
					 : NULL;
	unsigned count = 0;

	for (; l && n->mut != MUT_LOOSE_PAGES; l = vms_htab_next(l)) {
		struct inval *iv = vms_hlink_entry(l, struct inval, by_page);

		if (iv->branch != branch || iv->extent != extent || !(iv->subexts & subexts) ||
		    iv->sess->gateway == except)
			continue;
		inval_send(n, iv->sess, p, branch, extent, iv->subexts & subexts, seq, op, NULL);
		count++;
	}
	return count;
}

/* Tell every other gateway that holds one of these pages. A session whose
 * connection is down is waited for until its lease has run out. Who loses a page is no
 * holder of it any more; who loses chunks of it is, and is told of the next write, too. */
unsigned session_invalidate(struct vms_node *n, struct part *p, uint64_t branch, uint32_t extent,
			    const struct inval_what *what, uint64_t seq, uint32_t except,
			    struct op *op)
{
	struct vms_holder *e = vms_holder_find(&n->holders, branch, extent);
	struct op *by = n->mut == MUT_NO_INVAL_WAIT ? NULL : op;
	uint8_t subexts = what->subexts;
	unsigned count = op ? loose_invalidate(n, p, branch, extent, subexts, seq, except, by) : 0;

	for (uint32_t i = 0; e && i < e->n;) {
		struct vms_holder_gw g = e->gw[i];
		struct session *s;

		if (g.gateway == except || !(g.subexts & subexts)) {
			i++;
			continue;
		}
		s = session_get(n, g.gateway);
		if (s && s->live && what->nrun) {
			inval_send(n, s, p, branch, extent, subexts, seq, by, what);
			count++;
			if (n->mut != MUT_HOLDER_ONCE) {
				i++;
				continue;
			}
		} else if (s && s->live) {
			struct inval *iv = inval_send(n, s, p, branch, extent, g.subexts & subexts,
						      seq, by, NULL);

			if (!op)
				inval_loose(n, iv);
			count++;
		}
		if (vms_holder_clear(&n->holders, e, g.gateway, subexts))
			break;
		if (i < e->n && e->gw[i].gateway == g.gateway)
			i++;
	}
	return n->mut == MUT_NO_INVAL_WAIT ? 0 : count;
}

void session_holders_trim(struct vms_node *n)
{
	static const struct inval_what all = {.subexts = 0xff};

	while (n->holders.n > n->holders.max) {
		struct vms_holder *h = n->holders.oldest;

		/* a write that comes now waits for the answers all the same (loose) */
		session_invalidate(n, node_part(n, h->partition), h->branch, h->extent, &all, 0, 0,
				   NULL);
	}
}

static void void_wait(struct part *p, struct inval *iv)
{
	iv->recall = p;
	iv->trim = true;
	p->trim_left++;
}

/* What gateways hold of the branch there is void. They count as holders still: a write that
 * comes now must not be acknowledged before each of them has dropped its page. */
void session_void_branch(struct vms_node *n, struct part *p, uint64_t branch)
{
	/* and those that have been asked back already */
	for (struct session *s = n->loose.n ? n->sessions : NULL; s; s = s->next)
		for (struct inval *iv = s->invals; iv; iv = iv->next)
			if (iv->loose && iv->part == p->number && iv->branch == branch)
				void_wait(p, inval_send(n, s, p, branch, iv->extent, iv->subexts,
							p->seq_last, NULL, NULL));
	for (struct vms_holder *h = vms_holders_first(&n->holders, p->number); h; h = h->next) {
		for (uint32_t i = 0; h->branch == branch && i < h->n; i++) {
			struct session *s = session_get(n, h->gw[i].gateway);

			if (s && s->live) {
				struct inval *iv = inval_send(n, s, p, h->branch, h->extent,
							      h->gw[i].subexts, p->seq_last, NULL,
							      NULL);

				void_wait(p, iv);
			}
		}
	}
}

/* Whoever holds pages of the partition is told to give them back; waited: p->recalls counts
 * who has not answered. */
static void pages_back(struct vms_node *n, struct part *p, bool waited)
{
	for (struct vms_holder *h = vms_holders_first(&n->holders, p->number), *next; h; h = next) {
		next = h->next;
		for (uint32_t i = h->n; i-- > 0;) {
			struct vms_holder_gw g = h->gw[i];
			struct session *s = session_get(n, g.gateway);

			if (s && s->live && (waited || n->mut != MUT_LOST_PAGES)) {
				struct inval *iv = inval_send(n, s, p, h->branch, h->extent,
							      g.subexts, p->seq_last, NULL, NULL);

				if (waited) {
					iv->recall = p;
					p->recalls++;
				}
				inval_loose(n, iv);
			}
			if (vms_holder_clear(&n->holders, h, g.gateway, 0xff))
				break;
		}
	}
}

/* Every page of the partition that some gateway holds comes back. */
void session_recall(struct vms_node *n, struct part *p)
{
	pages_back(n, p, true);
}

/* Others answer for the partition now: the pages that are out of it are void. This node's
 * leases from them count again from here on, and do not speak of it any more. So who holds a
 * page is told before the next tick tells of leases, on the same connection; nobody waits. */
void session_lost(struct vms_node *n, struct part *p)
{
	pages_back(n, p, false);
}

/* What comes back now is not waited for any more. */
void session_recall_void(struct vms_node *n, struct part *p)
{
	for (struct session *s = p->recalls ? n->sessions : NULL; s; s = s->next)
		for (struct inval *iv = s->invals; iv; iv = iv->next)
			if (iv->recall == p && !iv->trim)
				iv->recall = NULL;
	p->recalls = 0;
}

/* ---- floors ---- */

/* One for each start of a gateway, shutting out of one, fence and snapshot, however long nothing
 * leaves the log: half the reserve is for those records that let it go on. Who is told AGAIN
 * repeats. */
static bool floor_room(const struct vms_node *n)
{
	return vms_wal_free_bytes(n->wal) > vms_wal_size_bytes(n->wal) / NODE_GEN_SHARE ||
	       n->mut == MUT_FLOOR_LAST;
}

static int floor_record(struct vms_node *n, struct vms_rec *r, uint64_t *pos)
{
	struct vms_rec_ref ref;
	int rc;

	if (!floor_room(n))
		return VMS_E_FULL;
	r->type = VMS_REC_NODE_FLOOR;
	r->flags = VMS_RF_INTERNAL;
	r->partition = VMS_PART_NONE;
	rc = vms_wal_append(n->wal, r, NULL, 0, true, &ref);
	if (rc)
		return rc;
	n->want_sync = true;
	n->floors_dirty = true;
	*pos = ref.log_pos + ref.bytes;
	return 0;
}

/* Raise the incarnation floor of a gateway; *pos: durable when the log is beyond
 * it. VMS_E_INCARNATION: a higher one is known, and logged. */
int floor_gateway(struct vms_node *n, uint32_t gateway, uint64_t incarnation, uint64_t *pos)
{
	struct gwfloor *g = node_gwfloor(n, gateway, true);
	uint64_t want = incarnation > g->min ? incarnation : g->min;
	struct vms_rec r = {.op = {.gateway = gateway, .incarnation = want}};
	int rc;

	*pos = g->log_pos;
	if (want > g->incarnation) {
		rc = floor_record(n, &r, pos);
		if (rc)
			return rc == VMS_E_FULL ? VMS_E_AGAIN : rc;
		g->incarnation = g->min = want;
		g->log_pos = *pos;
	}
	return incarnation < g->incarnation && n->mut != MUT_NO_INC_FLOOR ? VMS_E_INCARNATION : 0;
}

static void gwfloor_log(struct vms_node *n, uint32_t gateway, uint64_t incarnation)
{
	uint64_t pos;

	if (floor_gateway(n, gateway, incarnation, &pos) == VMS_E_AGAIN)
		n->floors_retry = true;
}

/* A partition that this node leads next is served by what the catalog has, so a full log is no
 * reason to take an older process. */
void floor_gateway_known(struct vms_node *n, uint32_t gateway, uint64_t incarnation)
{
	struct gwfloor *g = node_gwfloor(n, gateway, true);

	if (incarnation > g->min && n->mut != MUT_FLOOR_LOST)
		g->min = incarnation;
	gwfloor_log(n, gateway, incarnation);
}

void floor_gateways_retry(struct vms_node *n)
{
	for (uint32_t i = 0; i <= n->gwfloors.mask; i++)
		for (struct vms_hlink *l = n->gwfloors.bucket[i]; l; l = l->next) {
			struct gwfloor *g = vms_hlink_entry(l, struct gwfloor, link);

			if (g->min > g->incarnation)
				gwfloor_log(n, (uint32_t)l->key, g->min);
		}
}

int floor_branch(struct vms_node *n, uint64_t branch, uint64_t snap_gen, uint64_t fence,
		 uint64_t *pos)
{
	struct branch *b = node_branch(n, branch, true);
	struct vms_rec r = {.branch = branch};
	uint8_t meta[8];
	int rc;

	*pos = vms_wal_appended_pos(n->wal);
	if (snap_gen <= b->snap_gen && fence <= b->lun_fence)
		return 0;
	r.snap_gen = snap_gen > b->snap_gen ? snap_gen : b->snap_gen;
	vms_put_le64(meta, fence > b->lun_fence ? fence : b->lun_fence);
	r.meta = meta;
	r.meta_bytes = sizeof(meta);
	rc = floor_record(n, &r, pos);
	if (rc)
		return rc == VMS_E_FULL ? VMS_E_AGAIN : rc;
	b->snap_gen = r.snap_gen;
	b->lun_fence = vms_get_le64(meta);
	b->floor_dirty = true;
	branch_raise(b, b->snap_gen, b->lun_fence);
	return 0;
}

/* Answered when durable; with flag FUA also what this node had ordered before, so what
 * a snapshot shows is settled: committed, and durable on all members. */
void floor_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	uint64_t pos = 0;
	bool held = false;
	int rc;

	if (m->branch && (m->snap_gen > INT64_MAX || m->lun_fence > INT64_MAX))
		rc = VMS_E_INVAL;
	else if (part_behind(n, m->sequence))
		rc = VMS_E_AGAIN;
	else if (m->branch && !node_branch_known(n, m->branch))
		rc = VMS_E_AGAIN; /* once it is answered, the branch is known here */
	else if (m->branch)
		rc = floor_branch(n, m->branch, m->snap_gen, m->lun_fence, &pos);
	else
		rc = floor_gateway(n, m->aux, m->incarnation, &pos);
	if (rc == VMS_E_INCARNATION)
		rc = 0; /* already above */
	if (rc) {
		node_reply(n, c->id, m, rc);
		return;
	}
	if (!m->branch) {
		struct session *s = session_get(n, m->aux);

		/* the fenced process may hold pages: they run out with its session, which
		 * may be younger than what the sender knows */
		held = s && s->incarnation < m->incarnation && s->live;
		if (s && s->incarnation < m->incarnation && s->conn) {
			struct conn *old = conn_get(n, s->conn);

			if (old && !old->closing && old != c) {
				old->closing = true;
				n->up.close(n->up.ctx, old->id);
			}
		}
	}
	flush_wait_floor(n, c, m, pos, held);
}

/* ---- cancel ---- */

bool session_tomb(struct vms_node *n, const struct vms_opid *op)
{
	struct session *s = session_get(n, op->gateway);

	return n->mut != MUT_SKIP_CANCEL && s && s->incarnation == op->incarnation &&
	       op->slot < s->tomb.n && s->tomb.d[op->slot].sequence >= op->sequence &&
	       n->now_ms < s->tomb.d[op->slot].until_ms;
}

void session_cancel(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_opid op = {m->sender, m->slot, m->incarnation, m->sequence};
	struct part *p = node_part(n, m->partition);
	struct session *s = c->sess;
	struct vms_outcome *o = NULL;
	struct vms_msg re;

	if (!p || m->sender != s->gateway || m->incarnation != s->incarnation ||
	    m->slot >= NODE_SLOT_MAX) {
		node_reply(n, c->id, m, VMS_E_INVAL);
		return;
	}
	if (!p->primary) {
		node_reply(n, c->id, m, VMS_E_NOT_PRIMARY);
		return;
	}
	if (!part_serving(p)) {
		/* what the log holds of it is not known before the view is formed */
		node_reply(n, c->id, m, VMS_E_AGAIN);
		return;
	}
	o = vms_outcome_find(&n->outcomes, p->number, &op);
	if (o && o->op.sequence == op.sequence) {
		vms_msg_reply_init(&re, m, o->pending ? VMS_E_BUSY : VMS_E_EXIST);
		re.epoch = p->conf.epoch;
		re.aux = (uint32_t)o->status;
		node_send(n, c->id, &re);
		return;
	}
	write_cancel(n, p, &op);
	while (s->tomb.n <= m->slot)
		(void)VMS_VEC_ADD(&s->tomb);
	if (s->tomb.d[m->slot].sequence <= m->sequence) {
		s->tomb.d[m->slot].sequence = m->sequence;
		s->tomb.d[m->slot].until_ms = n->now_ms + 2ull * n->tm.t_op_ms + 1;
	}
	node_reply(n, c->id, m, 0);
}
