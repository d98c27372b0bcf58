// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telling hooks to their owners: when the record that wrote a chunk is safe (in the
 * durable index of all members), and again, container by container in the background,
 * to an owner that has started anew or missed something, and to all after the own
 * start. Losing any of it loses space, nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/ctr_list.h"
#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/dedup_msg.h"
#include "backend/hooks.h"
#include "backend/match.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define ADDS_SEND    512u /* entries that make a message go out at once */
#define ADDS_WAIT_MS 20u
#define ADDS_MAX     65536u /* that wait for one node; beyond: all again later */
#define TELL_WAIT_MS 10u    /* between two containers */

static void add_now(struct vms_node *n, unsigned at, const struct vms_dm_hook *h)
{
	struct dedup *d = n->dedup;
	struct dq *q = &d->q[at];

	d->st.hooks_told++;
	if (at == DEDUP_SELF) {
		vms_hooks_add(d->hooks, h->key, h->ctr, h->old);
		return;
	}
	if (!n->peer[at]->conn || q->adds.n >= ADDS_MAX) {
		q->tell_all = true;
		return;
	}
	if (!q->adds.n)
		q->adds_ms = n->now_ms;
	VMS_VEC_PUSH(&q->adds, *h);
}

void dedup_hook_del(struct vms_node *n, vms_fp_prefix key, uint64_t ctr)
{
	unsigned at = dedup_owner(n, key);
	struct vms_msg m = {.type = VMS_MSG_HOOK_ADD, .partition = VMS_PART_NONE, .aux = 1};
	struct vms_dm_hook h = {key, ctr, 0};
	uint8_t body[VMS_DM_HOOK_BYTES];

	if (at == DEDUP_SELF) {
		vms_hooks_del(n->dedup->hooks, key, ctr);
		return;
	}
	if (!n->peer[at]->conn)
		return;
	vms_dm_hook_encode(body, &h);
	m.body = body;
	m.body_bytes = sizeof(body);
	m.req_id = 0; /* no answer wanted */
	node_send(n, n->peer[at]->conn, &m);
}

/* ---- as chunks become safe ---- */

void dedup_applied(struct vms_node *n, struct part *p, uint8_t type, uint64_t seq,
		   const struct vms_move *m, unsigned nm)
{
	struct dedup *d = n->dedup;

	for (unsigned i = 0; i < nm; i++) {
		struct recent *r;
		vms_fp_prefix key;

		if (!m[i].has_fp || m[i].valid != VMS_MASK_FULL || !vms_move_placed(&m[i]))
			continue;
		match_applied(p, seq);
		key = dedup_key(d, m[i].fp);
		r = &d->recent[vms_mix64(key) & d->recent_mask];
		*r = (struct recent){key, m[i].to};
		if (!vms_is_hook(key))
			continue;
		VMS_VEC_PUSH(
			&p->hooks_due,
			((struct hook_due){seq, key, vms_addr_container(m[i].to),
					   type == VMS_REC_REMAP ? vms_addr_container(m[i].from_seq)
								 : 0}));
	}
}

void dedup_safe(struct vms_node *n, struct part *p)
{
	size_t k = 0;

	while (k < p->hooks_due.n && p->hooks_due.d[k].seq <= p->safe_seq) {
		struct hook_due *h = &p->hooks_due.d[k++];
		struct vms_dm_hook a = {h->key, h->ctr, h->old};

		add_now(n, dedup_owner(n, h->key), &a);
	}
	if (!k)
		return;
	memmove(p->hooks_due.d, p->hooks_due.d + k, (p->hooks_due.n - k) * sizeof(*p->hooks_due.d));
	p->hooks_due.n -= k;
	if (!p->hooks_due.n)
		VMS_VEC_FREE(&p->hooks_due);
}

void dedup_part_close(struct part *p)
{
	VMS_VEC_FREE(&p->hooks_due);
}

struct told {
	unsigned at;
	uint64_t incarnation;
};

static void adds_answer(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct told *t = arg;

	if (!m || m->status)
		n->dedup->q[t->at].tell_all = true;
	free(t);
}

static void adds_send(struct vms_node *n, unsigned at)
{
	struct dq *q = &n->dedup->q[at];
	uint8_t *body = malloc(VMS_DM_HOOK_BYTES * VMS_DM_HOOKS_MAX);
	size_t done = 0;

	vms_assert(body);
	while (done < q->adds.n) {
		size_t k = q->adds.n - done;
		struct vms_msg m = {.type = VMS_MSG_HOOK_ADD, .partition = VMS_PART_NONE};
		struct told *t = malloc(sizeof(*t));

		vms_assert(t);
		t->at = at;
		if (k > VMS_DM_HOOKS_MAX)
			k = VMS_DM_HOOKS_MAX;
		for (size_t i = 0; i < k; i++)
			vms_dm_hook_encode(body + VMS_DM_HOOK_BYTES * i, &q->adds.d[done + i]);
		m.body = body;
		m.body_bytes = (uint32_t)(VMS_DM_HOOK_BYTES * k);
		done += k;
		if (!rpc_send(n, n->peer[at], &m, n->tm.lease_ms, adds_answer, t))
			adds_answer(n, t, NULL);
	}
	free(body);
	VMS_VEC_FREE(&q->adds);
}

void hooks_turn_end(struct vms_node *n)
{
	for (unsigned i = 0; i < n->npeers; i++) {
		struct dq *q = &n->dedup->q[i];

		if (!q->adds.n)
			continue;
		if (q->adds.n >= ADDS_SEND || n->now_ms - q->adds_ms >= ADDS_WAIT_MS)
			adds_send(n, i);
		else
			node_wake_at(n, q->adds_ms + ADDS_WAIT_MS);
	}
}

/* ---- all of them again ---- */

void dedup_peer_up(struct vms_node *n, struct peer *pe)
{
	for (unsigned i = 0; i < n->npeers; i++) {
		struct dq *q = &n->dedup->q[i];

		if (n->peer[i] != pe || q->incarnation == pe->incarnation)
			continue;
		q->incarnation = pe->incarnation;
		q->tell_all = true;
	}
}

static void tell_list(struct vms_node *n, void *arg, int status, const uint8_t *body, size_t bytes,
		      uint32_t segs, bool any)
{
	uint64_t *ctr = arg;
	struct dedup *d = n->dedup;
	size_t at = ((size_t)segs + 7) / 8 * 8;

	d->tell_busy = false;
	for (; !status && any && at + 8 <= bytes; at += 8) {
		struct vms_dm_hook h = {vms_get_le64(body + at), *ctr, 0};
		unsigned o;

		if (!h.key || !vms_is_hook(h.key))
			continue;
		h.key &= d->key_mask;
		o = dedup_owner(n, h.key);
		if (!d->q[o].telling)
			continue;
		d->st.hooks_told_again++;
		add_now(n, o, &h);
	}
	free(ctr);
}

/* The next container of a partition that this node leads; false: that was the last. */
static bool tell_next(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	for (; d->tell_part < n->nparts; d->tell_part++, d->tell_after = 0) {
		struct part *p = n->part[d->tell_part];

		if (!part_serving(p))
			continue;
		VMS_VEC_FOREACH (&p->ctrs, c) {
			uint64_t *number;

			if (c->number <= d->tell_after || !c->segs ||
			    (c->state != 1 && c->state != 2) || c->sweeping)
				continue;
			d->tell_after = c->number;
			number = malloc(sizeof(*number));
			vms_assert(number);
			*number = c->number;
			d->tell_busy = true;
			ctr_list_read(n, c->number, c->segs, c->state == 2, tell_list, number);
			return true;
		}
	}
	return false;
}

static bool telling(const struct vms_node *n)
{
	bool any = n->dedup->q[DEDUP_SELF].telling;

	for (unsigned i = 0; i < n->npeers; i++)
		any |= n->dedup->q[i].telling;
	return any;
}

/* A round tells everyone who needed it when it began. */
static void tell_begin(struct vms_node *n)
{
	struct dedup *d = n->dedup;
	bool any = false;

	for (unsigned i = 0; i <= DEDUP_SELF; i++) {
		struct dq *q = &d->q[i];

		if (!q->tell_all || (i < DEDUP_SELF && (i >= n->npeers || !n->peer[i]->conn)))
			continue;
		q->tell_all = false;
		q->telling = true;
		any = true;
	}
	if (any) {
		d->tell_part = 0;
		d->tell_after = 0;
	}
}

void hooks_timer(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	if (n->phase != SP_RUN || d->tell_busy || n->now_ms < d->tell_ms || n->stopping)
		return;
	if (!telling(n)) {
		for (uint32_t i = 0; i < n->nparts; i++) {
			struct part *p = n->part[i];

			/* what is led must serve: else its containers would be missed */
			if (p && p->known && p->primary && p->state != PS_ACTIVE) {
				d->tell_ms = n->now_ms + n->tm.tick_ms;
				return;
			}
		}
		tell_begin(n);
		if (!telling(n)) {
			d->tell_ms = n->now_ms + n->tm.tick_ms;
			return;
		}
	}
	d->tell_ms = n->now_ms + TELL_WAIT_MS;
	if (!tell_next(n)) {
		for (unsigned i = 0; i <= DEDUP_SELF; i++)
			d->q[i].telling = false;
		d->tell_ms = n->now_ms + n->tm.tick_ms;
	}
	node_wake_at(n, d->tell_ms);
}
