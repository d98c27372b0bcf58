// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies that nobody counts any more. A node that holds data of a partition in whose
 * set it is not asks the primary whether that may go; nobody deletes anything on
 * another node. The primary says yes when the copy is of no later epoch than its
 * own, the node is neither in the set nor wanted, and all nodes that are wanted are
 * in the set and up. Of the same epoch is one that was ready to be added, and then was
 * not wanted any more; nobody but this primary could have added it, and as long as it
 * might, it feeds it. Then the node deletes its own copy: "deleting" is durable first,
 * then pages, outcomes and containers go; what is left is the note from where on its
 * log counts, until that log is gone. A crash goes on where it was; a learner waits
 * for the end.
 *
 * Owner: the node thread. Keeps invariants 1, 27 (rule E5).
 */
#include "backend/out.h"

#include <stdlib.h>

#include "backend/checkpoint.h"
#include "backend/learn.h"
#include "backend/learn_serve.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/rpc.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define STEP_PAGES 256u

enum out_phase {
	OP_IDLE,
	OP_ASK,
	OP_MARK, /* "deleting" becomes durable */
	OP_PAGES,
	OP_CTRS,
	OP_FILES, /* in no index any more; the files go */
	OP_DONE,  /* the log still has records of it */
};

struct out_copy {
	enum out_phase phase;
	uint64_t ask_ms, ticket;
};

bool out_deleting(const struct part *p)
{
	return p->copy_state == COPY_DELETING && !(p->out_copy && p->out_copy->phase == OP_DONE);
}

void out_close(struct part *p)
{
	free(p->out_copy);
	p->out_copy = NULL;
}

/* ---- the primary's side ---- */

static bool wanted(const struct part *p, uint32_t node)
{
	bool hit = false;

	for (unsigned i = 0; i < p->conf.nwant; i++)
		hit |= p->conf.want[i] == node;
	for (unsigned i = 0; i < p->conf.nmembers; i++)
		hit |= p->conf.member[i].node == node;
	return hit;
}

/* Every node that is wanted is in the set, up, and has not been found to differ. */
static bool set_whole(const struct vms_node *n, const struct part *p)
{
	unsigned want = p->conf.nwant ? p->conf.nwant : n->cluster.copies;

	if (!part_members_ready(p) || p->nm < want)
		return false;
	for (unsigned i = 0; i < p->nm; i++)
		if (p->m[i].differs)
			return false;
	for (unsigned i = 0; i < p->conf.nwant; i++) {
		bool in = false;

		for (unsigned k = 0; k < p->nm; k++)
			in |= p->m[k].node == p->conf.want[i];
		if (!in)
			return false;
	}
	return true;
}

void out_query_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct vms_msg re;
	struct vms_rd r;
	uint64_t epoch;
	int rc = 0;

	vms_rd_init(&r, m->body, m->body_bytes);
	epoch = vms_rd_u64(&r);
	if (!vms_rd_ok(&r))
		rc = VMS_E_PROTO;
	else if (!part_serving(p))
		rc = VMS_E_NOT_PRIMARY;
	else if (n->mut == MUT_OUT_EARLY)
		rc = 0;
	else if (wanted(p, c->peer->id) || feed_get(p, c->peer->id) || epoch > p->conf.epoch ||
		 (epoch == p->conf.epoch && n->mut == MUT_OUT_EQUAL) || !set_whole(n, p))
		rc = VMS_E_BUSY;
	vms_msg_reply_init(&re, m, rc);
	re.epoch = p && p->known ? p->conf.epoch : 0;
	node_send(n, c->id, &re);
}

/* ---- the copy's side ---- */

static void delete_begin(struct vms_node *n, struct part *p)
{
	struct out_copy *o = p->out_copy;

	node_log(n, VMS_LOG_INFO,
		 "partition %u: the set is complete without this node: its copy is "
		 "deleted",
		 p->number);
	part_forget(n, p);
	p->outrun = 0;
	p->copy_state = COPY_DELETING;
	p->log_from = n->mut == MUT_OUT_LOG ? 0 : vms_wal_appended_pos(n->wal);
	p->forget_outcomes = true;
	p->state_dirty = true;
	o->ticket = ckpt_request(n);
	o->phase = OP_MARK;
}

struct query {
	uint32_t part;
	uint64_t epoch;
};

static void answered(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct query q = *(struct query *)arg;
	struct part *p = node_part(n, q.part);
	struct out_copy *o = p ? p->out_copy : NULL;

	free(arg);
	if (!o || o->phase != OP_ASK)
		return;
	o->phase = OP_IDLE;
	o->ask_ms = n->now_ms + 4ull * n->tm.tick_ms;
	if (n->closing || !re || re->status || p->known || p->learn || n->stopping)
		return;
	if ((re->epoch < q.epoch || re->epoch < p->conf.epoch) && n->mut != MUT_OUT_EARLY)
		return;
	delete_begin(n, p);
}

static void ask(struct vms_node *n, struct part *p, struct out_copy *o)
{
	struct vms_msg m = {.type = VMS_MSG_OUT_QUERY, .partition = p->number};
	struct query *q;
	uint8_t b[8];

	o->ask_ms = n->now_ms + 4ull * n->tm.tick_ms;
	q = malloc(sizeof(*q));
	vms_assert(q);
	/* an incomplete copy is of no epoch */
	*q = (struct query){p->number, p->copy_state == COPY_INCOMPLETE ? 0 : p->view_epoch};
	vms_put_le64(b, q->epoch);
	m.epoch = p->conf.epoch;
	m.body = b;
	m.body_bytes = sizeof(b);
	o->phase = OP_ASK;
	if (!rpc_send(n, node_peer(n, p->conf.primary, false), &m, 2ull * n->tm.lease_ms, answered,
		      q)) {
		free(q);
		o->phase = OP_IDLE;
	}
}

struct some {
	unsigned n;
	struct vms_page_key key[STEP_PAGES];
};

static int some_page(void *arg, const struct vms_page *pg)
{
	struct some *s = arg;

	if (s->n == STEP_PAGES)
		return 1;
	s->key[s->n++] = pg->key;
	return 0;
}

/* True: none is left. A damaged one has no key that could be read: the next start of
 * fsck names it. */
static bool pages_step(struct vms_node *n, struct part *p)
{
	struct some *s = malloc(sizeof(*s));
	bool last;

	vms_assert(s);
	s->n = 0;
	vms_pages_each(n->pages, p->number, NULL, some_page, s);
	for (unsigned i = 0; i < s->n; i++)
		vms_pages_del(n->pages, &s->key[i]);
	last = s->n < STEP_PAGES;
	free(s);
	return last;
}

static bool files_left(const struct vms_node *n, const struct part *p)
{
	for (size_t i = 0; i < n->unlink.n + n->unlink_next.n; i++) {
		uint64_t c = i < n->unlink.n ? n->unlink.d[i] : n->unlink_next.d[i - n->unlink.n];

		if (vms_addr_partition(vms_addr_make(c, 0), n->conf.part_bits) == p->number)
			return true;
	}
	return n->unlinks > 0;
}

static void go(struct vms_node *n, struct part *p, struct out_copy *o)
{
	switch (o->phase) {
	case OP_IDLE:
		if (n->now_ms >= o->ask_ms)
			ask(n, p, o);
		return;
	case OP_MARK:
		if (n->ckpt_ended >= o->ticket && !p->learn_ios)
			o->phase = OP_PAGES;
		return;
	case OP_PAGES:
		if (!pages_step(n, p)) {
			node_wake_at(n, n->now_ms + gc_pace_ms(n));
			return;
		}
		o->phase = OP_CTRS;
		return;
	case OP_CTRS:
		VMS_VEC_FOREACH (&p->ctrs, c)
			c->state = 3;
		p->has_data = false;
		o->ticket = ckpt_request(n);
		o->phase = OP_FILES;
		return;
	case OP_FILES:
		if (n->ckpt_ended < o->ticket || files_left(n, p))
			return;
		n->st.copies_deleted++;
		p->out = false;
		o->phase = OP_DONE;
		return;
	case OP_DONE:
		if (vms_wal_gen_start_pos(n->wal, vms_wal_gen_oldest(n->wal)) < p->log_from &&
		    n->mut != MUT_OUT_LOG)
			return;
		p->copy_state = COPY_WHOLE; /* of nothing */
		p->log_from = 0;
		p->gone = p->state_dirty = true;
		ckpt_request(n);
		out_close(p);
		return;
	default:
		return;
	}
}

static bool something(const struct part *p)
{
	return p->has_data || p->drain_applied || p->ctrs.n || p->copy_state == COPY_INCOMPLETE;
}

void out_timer(struct vms_node *n)
{
	if (n->now_ms < n->out_ms || n->stopping)
		return;
	n->out_ms = n->now_ms + n->tm.tick_ms / 8 + 1;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || p->known || p->learn || !n->pconf[i].epoch)
			continue;
		if (p->copy_state != COPY_DELETING && !something(p))
			continue;
		if (!p->out_copy) {
			p->out_copy = calloc(1, sizeof(*p->out_copy));
			vms_assert(p->out_copy);
			p->out_copy->ask_ms = n->now_ms + 4ull * n->tm.tick_ms;
		}
		if (p->copy_state == COPY_DELETING && p->out_copy->phase < OP_MARK)
			p->out_copy->phase = OP_PAGES; /* of an earlier process */
		go(n, p, p->out_copy);
	}
}
