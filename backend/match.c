// SPDX-License-Identifier: GPL-2.0-only
/*
 * The matcher: asks all nodes whether chunks have become safe since its last pass; if
 * so, takes its part of the fingerprint space slice by slice (as many slices as keep
 * one below a million entries), has the chunks of the slice listed by every node, a
 * batch at a time, and sends pairs (duplicate, lowest address with that prefix) to the
 * primaries of the duplicates. Sorting goes bucket by bucket, one per step.
 * A node that is busy is asked again; one that is away is left out, and the pass
 * is made again when it is back.
 */
#include "backend/match.h"

#include <stdlib.h>

#include "backend/match_int.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/prune.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define SLICE_ENTS    (512u << 10) /* wanted size of a slice */
#define ENTS_MAX      (1u << 20)   /* largest: what is beyond is left out */
#define TRIES_MAX     240u	   /* busy answers in a row, a quarter of a tick each */
#define WAIT_TICKS    40u	   /* between two passes, at least; and as long as it took */
#define IDLE_PERMILLE 600u	   /* of the log */

bool match_idle(const struct vms_node *n)
{
	return n->conf.dedup_background && n->phase == SP_RUN && !n->stopping && !n->closing &&
	       n->nwait < 16 && log_permille(n) < IDLE_PERMILLE;
}

static void wait_ms(struct vms_node *n, uint64_t ms)
{
	n->match->next_ms = n->now_ms + ms;
	node_wake_at(n, n->match->next_ms);
}

static void slice_clear(struct match *m)
{
	for (unsigned i = 0; i < MATCH_BUCKETS; i++)
		VMS_VEC_FREE(&m->bucket[i]);
	VMS_VEC_FREE(&m->pairs);
	m->nents = 0;
	m->bucket_at = 0;
	m->pair_at = m->pair_n = 0;
}

static struct match_seen *seen_of(struct match *m, uint32_t id)
{
	VMS_VEC_FOREACH (&m->seen, s)
		if (s->id == id)
			return s;
	return NULL;
}

static void pass_end(struct vms_node *n, bool made)
{
	struct match *m = n->match;
	uint64_t took = n->now_ms - m->start_ms;

	slice_clear(m);
	m->phase = M_IDLE;
	m->asking = false;
	if (made) {
		m->st.passes++;
		VMS_VEC_FOREACH (&m->nodes, d) {
			struct match_seen *s = seen_of(m, d->id);

			if (m->incomplete)
				continue;
			if (!s) {
				VMS_VEC_PUSH(&m->seen, ((struct match_seen){.id = d->id}));
				s = &m->seen.d[m->seen.n - 1];
			}
			s->incarnation = d->incarnation;
			s->news = d->news;
		}
	}
	wait_ms(n, (made ? WAIT_TICKS : WAIT_TICKS / 4) * (uint64_t)n->tm.tick_ms + took);
}

/* ---- is there anything new? ---- */

static void slices_begin(struct vms_node *n)
{
	struct match *m = n->match;
	uint64_t chunks = 0;
	bool any = false;
	uint32_t below = 0;
	size_t k = 0;

	/* who does not answer, or does not take part, is left out */
	VMS_VEC_FOREACH (&m->nodes, d)
		if (d->answered)
			m->nodes.d[k++] = *d;
	m->nodes.n = k;
	VMS_VEC_FOREACH (&m->nodes, d) {
		struct match_seen *s = seen_of(m, d->id);

		chunks += d->chunks;
		any |= !s || s->incarnation != d->incarnation || s->news != d->news;
	}
	for (unsigned i = 0; i < n->npeers; i++)
		below += n->peer[i]->known && n->peer[i]->id < n->id;
	if (!any || !chunks) {
		pass_end(n, false);
		return;
	}
	m->want = (struct match_want){.nodes = 1, .node = below};
	for (unsigned i = 0; i < n->npeers; i++)
		m->want.nodes += n->peer[i]->known;
	m->want.slices = (uint32_t)(chunks / m->want.nodes / SLICE_ENTS + 1);
	m->node_at = 0;
	m->incomplete = false;
	m->phase = M_PULL;
	m->tries = 0;
	wait_ms(n, 0);
}

static void poll_answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	uint32_t id = (uint32_t)(uintptr_t)arg;
	struct match *m = n->match;

	if (n->closing)
		return;
	VMS_VEC_FOREACH (&m->nodes, d)
		if (d->id == id && re && !re->status && re->body_bytes == 16) {
			d->chunks = vms_get_le64(re->body);
			d->news = vms_get_le64(re->body + 8);
			d->answered = true;
		}
	if (!--m->polls)
		slices_begin(n);
}

static void polls_send(struct vms_node *n)
{
	struct match *m = n->match;
	unsigned sent = 0;

	m->start_ms = n->now_ms;
	m->phase = M_POLL;
	m->polls = 1;
	m->nodes.n = 0;
	for (unsigned i = 0; i < n->npeers; i++) {
		struct peer *pe = n->peer[i];

		if (pe->known && pe->conn)
			VMS_VEC_PUSH(&m->nodes,
				     ((struct match_node){.id = pe->id,
							  .incarnation = pe->incarnation}));
	}
	VMS_VEC_PUSH(&m->nodes, ((struct match_node){(uint32_t)n->id, n->incarnation, m->news,
						     match_chunks(n), true}));
	for (size_t i = 0; i + 1 < m->nodes.n; i++) {
		struct vms_msg q = {.type = VMS_MSG_MATCH_POLL, .partition = VMS_PART_NONE};
		uint32_t id = m->nodes.d[i].id;

		if (rpc_send(n, node_peer(n, id, false), &q, 4ull * n->tm.tick_ms, poll_answer,
			     (void *)(uintptr_t)id))
			sent++;
	}
	m->polls += sent;
	if (!--m->polls)
		slices_begin(n);
}

/* ---- the chunks of a slice ---- */

static void pulled(struct vms_node *n, int status, const struct match_cursor *at,
		   const uint8_t *payload, size_t bytes)
{
	struct match *m = n->match;

	m->asking = false;
	if (n->closing || m->phase != M_PULL)
		return;
	wait_ms(n, gc_pace_ms(n));
	if (status == VMS_E_BUSY && ++m->tries < TRIES_MAX) {
		wait_ms(n, n->tm.tick_ms / 4 + 1);
		return;
	}
	m->tries = 0;
	if (!status)
		for (size_t i = 0; i + MATCH_ENT_BYTES <= bytes; i += MATCH_ENT_BYTES) {
			struct match_ent e = {vms_get_le64(payload + i),
					      vms_get_le64(payload + i + 8)};

			if (m->nents == ENTS_MAX || !match_addr_ok(n, e.addr))
				continue;
			m->nents++;
			VMS_VEC_PUSH(&m->bucket[vms_mix64(e.key) >> 56], e);
		}
	if (!status && at->part != VMS_PART_NONE && m->nents < ENTS_MAX) {
		m->want.at = *at;
		return;
	}
	if (status) {
		m->incomplete = true;
		m->st.lost++;
	}
	m->want.at = (struct match_cursor){0};
	if (++m->node_at == m->nodes.n) {
		m->phase = M_SORT;
		m->bucket_at = 0;
	}
}

static void pull_answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct match_cursor at = {VMS_PART_NONE, 0, 0};
	int status = re ? re->status : VMS_E_TIMEOUT;

	if (!status && re->body_bytes != MATCH_CURSOR_BYTES)
		status = VMS_E_PROTO;
	if (!status)
		at = (struct match_cursor){vms_get_le32(re->body), vms_get_le32(re->body + 4),
					   vms_get_le64(re->body + 8)};
	pulled(n, status, &at, re && re->npayload ? re->payload[0].base : NULL,
	       re && re->npayload ? re->payload[0].len : 0);
	(void)arg;
}

static void pull_step(struct vms_node *n)
{
	struct match *m = n->match;
	struct match_node *d = &m->nodes.d[m->node_at];
	struct vms_msg q = {.type = VMS_MSG_MATCH_PULL, .partition = VMS_PART_NONE};
	struct match_cursor none = {VMS_PART_NONE, 0, 0};
	uint8_t body[MATCH_WANT_BYTES];

	m->asking = true;
	if (d->id == n->id) {
		match_pull(n, &m->want, pulled);
		return;
	}
	match_want_encode(body, &m->want);
	q.body = body;
	q.body_bytes = sizeof(body);
	if (!rpc_send(n, node_peer(n, d->id, false), &q, 4ull * n->tm.lease_ms, pull_answer, NULL))
		pulled(n, VMS_E_DISCONNECTED, &none, NULL, 0);
}

/* ---- pairs ---- */

static int ent_cmp(const void *a, const void *b)
{
	const struct match_ent *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int pair_cmp(const void *a, const void *b)
{
	const struct match_pair *x = a, *y = b;

	if (x->dest != y->dest)
		return x->dest < y->dest ? -1 : 1;
	return x->dup < y->dup ? -1 : x->dup > y->dup;
}

static void sort_step(struct vms_node *n)
{
	struct match *m = n->match;
	struct match_ent *e = m->bucket[m->bucket_at].d;
	size_t k = m->bucket[m->bucket_at].n, first = 0;

	if (k)
		qsort(e, k, sizeof(*e), ent_cmp);
	for (size_t i = 1; i < k; i++) {
		uint32_t part = vms_addr_partition(e[i].addr, n->conf.part_bits);

		if (e[i].key != e[first].key)
			first = i;
		else if (e[i].addr != e[i - 1].addr)
			VMS_VEC_PUSH(&m->pairs, ((struct match_pair){n->pconf[part].primary,
								     e[i].addr, e[first].addr}));
	}
	VMS_VEC_FREE(&m->bucket[m->bucket_at]);
	m->bucket_at++;
	if (m->pairs.n >= MATCH_BATCH || (m->bucket_at == MATCH_BUCKETS && m->pairs.n)) {
		qsort(m->pairs.d, m->pairs.n, sizeof(*m->pairs.d), pair_cmp);
		m->pair_at = 0;
		m->phase = M_PAIRS;
		m->tries = 0;
	} else if (m->bucket_at == MATCH_BUCKETS) {
		slice_clear(m);
		m->node_at = 0;
		m->phase = M_PULL;
		if (++m->want.slice == m->want.slices) {
			pass_end(n, true);
			return;
		}
	}
	wait_ms(n, k ? gc_pace_ms(n) : 0);
}

static void pairs_sent(struct vms_node *n, int status)
{
	struct match *m = n->match;

	m->asking = false;
	if (n->closing || m->phase != M_PAIRS)
		return;
	if (status == VMS_E_BUSY && ++m->tries < TRIES_MAX) {
		wait_ms(n, n->tm.tick_ms / 4 + 1);
		return;
	}
	m->tries = 0;
	m->pair_at += m->pair_n;
	if (status) {
		m->incomplete = true;
		m->st.lost++;
	}
	if (m->pair_at == m->pairs.n) {
		m->pairs.n = 0;
		m->phase = M_SORT;
		if (m->bucket_at == MATCH_BUCKETS)
			m->bucket_at--; /* an empty one: goes on behind it */
	}
	wait_ms(n, gc_pace_ms(n));
}

static void pairs_answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	pairs_sent(n, re ? re->status : VMS_E_TIMEOUT);
	(void)arg;
}

static void pairs_step(struct vms_node *n)
{
	struct match *m = n->match;
	struct match_pair *p = &m->pairs.d[m->pair_at];
	struct vms_msg q = {.type = VMS_MSG_MATCH_PAIRS, .partition = VMS_PART_NONE};
	uint8_t *body = malloc(MATCH_ENT_BYTES * MATCH_BATCH);

	vms_assert(body);
	m->pair_n = 0;
	while (m->pair_n < MATCH_BATCH && m->pair_at + m->pair_n < m->pairs.n &&
	       p[m->pair_n].dest == p->dest) {
		vms_put_le64(body + MATCH_ENT_BYTES * m->pair_n, p[m->pair_n].dup);
		vms_put_le64(body + MATCH_ENT_BYTES * m->pair_n + 8, p[m->pair_n].to);
		m->pair_n++;
	}
	q.body = body;
	q.body_bytes = (uint32_t)(MATCH_ENT_BYTES * m->pair_n);
	m->asking = true;
	if (p->dest == n->id)
		pairs_sent(n, match_take_pairs(n, q.body, q.body_bytes));
	else if (!rpc_send(n, node_peer(n, p->dest, false), &q, 4ull * n->tm.lease_ms, pairs_answer,
			   NULL))
		pairs_sent(n, VMS_E_DISCONNECTED);
	free(body);
}

/* ---- the node's life ---- */

static void matcher_step(struct vms_node *n)
{
	struct match *m = n->match;

	if (m->asking || m->polls || n->now_ms < m->next_ms)
		return;
	if (!match_idle(n)) {
		wait_ms(n, n->tm.tick_ms);
		return;
	}
	switch (m->phase) {
	case M_IDLE:
		polls_send(n);
		break;
	case M_POLL:
		break;
	case M_PULL:
		pull_step(n);
		break;
	case M_SORT:
		sort_step(n);
		break;
	case M_PAIRS:
		pairs_step(n);
		break;
	}
}

void match_timer(struct vms_node *n)
{
	if (!n->conf.dedup_background || n->phase != SP_RUN)
		return;
	matcher_step(n);
	match_remap_timer(n);
}

void match_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	switch (m->type) {
	case VMS_MSG_MATCH_POLL:
		match_serve_poll(n, c, m);
		break;
	case VMS_MSG_MATCH_PULL:
		match_serve_pull(n, c, m);
		break;
	case VMS_MSG_MATCH_PAIRS:
		node_reply(n, c->id, m, match_take_pairs(n, m->body, m->body_bytes));
		break;
	default:
		node_reply(n, c->id, m, match_take_remap(n, m->body, m->body_bytes, m->aux == 1));
	}
}

void match_applied(struct part *p, uint64_t seq)
{
	if (!p->match_seq)
		p->match_seq = seq;
}

void match_view(struct vms_node *n, struct part *p)
{
	n->match->news++;
	p->match_seq = p->safe_seq + 1;
}

void match_safe(struct vms_node *n, struct part *p)
{
	if (!p->match_seq || p->match_seq > p->safe_seq)
		return;
	n->match->news++;
	p->match_seq = p->drain_applied > p->safe_seq ? p->safe_seq + 1 : 0;
}

const struct match_stats *match_stats(const struct vms_node *n)
{
	return &n->match->st;
}

int match_open(struct vms_node *n)
{
	n->match = calloc(1, sizeof(*n->match));
	if (!n->match)
		return VMS_E_NOMEM;
	n->match->next_ms = n->now_ms + WAIT_TICKS * (uint64_t)n->tm.tick_ms;
	match_remap_open(n);
	return 0;
}

void match_close(struct vms_node *n)
{
	struct match *m = n->match;

	if (!m)
		return;
	match_remap_close(n);
	slice_clear(m);
	VMS_VEC_FREE(&m->nodes);
	VMS_VEC_FREE(&m->seen);
	free(m);
	n->match = NULL;
}
