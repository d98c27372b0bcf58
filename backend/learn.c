// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making a copy of a partition here, or bringing a stale one up to date.
 *
 * A learner is a crashed node that replays: it takes the primary's log from the
 * oldest record on, and under it a base copy (pages, outcomes, containers) that was
 * read while the primary went on, so its parts are of different moments. Replay
 * makes it exact: a page carries the seq of the last record applied to it and skips
 * older ones; a segment that was copied is not written again; what died, was shared
 * or sealed before stays so. The apply lane stands still until the base copy is there.
 *
 * When what is here is only a little behind, the log alone is enough. Else the flag
 * "incomplete" is durable before anything is touched and goes with the commit behind
 * the comparison with the primary (digest.c). A crash at any step starts again from
 * BEGIN; containers that are here are compared and kept.
 *
 * Records that come while the base does wait for it in the log, and with them all that
 * the node logs. So the containers come twice, as in the migration of a machine that runs:
 * first in a pass that begins no log (they are copied, synced and read back), then, after
 * another BEGIN, for good: what the first pass has is told by its headers' checksums, and
 * only what came since is fetched.
 *
 * Records of an earlier attempt still lie in the log: those below log_from are void.
 * Nothing is applied here before it is durable in the own log: unlike a member's,
 * nobody waits for this one's.
 *
 * Keeps invariants 1, 4, 19, 27 (rules A1, A6, B5, C5, E2).
 */
#include "backend/learn.h"

#include <stdlib.h>
#include <string.h>

#include "backend/apply.h"
#include "backend/checkpoint.h"
#include "backend/collect.h"
#include "backend/dedup.h"
#include "backend/digest.h"
#include "backend/drain.h"
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/out.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/round.h"
#include "backend/rpc.h"
#include "backend/wal.h"
#include "backend/yield.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define LEARNS_MAX 16u /* at a time, on this node */
#define BASES_MAX  2u  /* of them, that copy everything */
#define PIN_SHARE  4u  /* more of the log than this part of it waits: the base is urgent */

static const char *const phase_name[] = {
	[LP_BEGIN] = "begin",	[LP_MARK] = "mark",    [LP_LOG] = "log",
	[LP_STREAM] = "stream", [LP_PAGES] = "pages",  [LP_OUTCOMES] = "outcomes",
	[LP_LIST] = "list",	[LP_DROP] = "drop",    [LP_HEADS] = "compare",
	[LP_FETCH] = "fetch",	[LP_SYNC] = "sync",    [LP_VERIFY] = "verify",
	[LP_APPLY] = "apply",	[LP_CHECK] = "digest", [LP_DIGEST] = "digest",
	[LP_COMMIT] = "commit", [LP_READY] = "ready",
};

const char *learn_phase_name(unsigned phase)
{
	return phase < sizeof(phase_name) / sizeof(*phase_name) && phase_name[phase]
		       ? phase_name[phase]
		       : "start";
}

struct learn *learn_of(struct vms_node *n, uint32_t part, uint64_t serial)
{
	struct part *p = node_part(n, part);

	return p && p->learn && p->learn->serial == serial ? p->learn : NULL;
}

/* ---- the partition's sequence in memory ---- */

void part_forget(struct vms_node *n, struct part *p)
{
	apply_abort(n, p);
	drain_abort(n, p);
	gc_abort(n, p);
	round_part_changed(n, p);
	dedup_part_close(p);
	digest_close(n, p);
	vms_ovl_part_drop(&n->ovl, &p->ovl);
	VMS_VEC_FREE(&p->recs);
	p->recs_head = 0;
	p->recs_first = 1;
	p->seq_last = p->committed = p->applied = p->own_durable = p->all_durable = 0;
	p->enough_durable = 0;
	p->view_epoch = p->view_first = p->intact_view = p->view_seq = 0;
	p->ck_view_epoch = p->ck_view_first = 0;
	p->ck_view.n = 0;
	p->mem_flag = p->mem_ordered = p->mem_ok = false;
	p->mem_last = p->last_internal = p->replay_applied = 0;
	p->was_active = false;
	p->repl_conn = 0;
	p->ack_held = p->ack_durable = p->told_commit = 0;
	p->next_pos = p->ceiling = p->ceiling_ordered = p->next_ctr = 0;
	p->open_ctr = p->open_ordered = 0;
	p->open_seg = p->open_chunks = 0;
	p->drain_req = p->clean_pos = p->hold_ms = 0;
	p->scan_due = p->base_wait = p->copied = p->branch_wait = false;
	p->moves_ordered = 0;
	VMS_VEC_CLEAR(&p->trims);
	p->drain_applied = p->drain_ckpt = p->safe_seq = p->frozen_drain = 0;
	VMS_VEC_FREE(&p->stubs);
	p->stubs_head = 0;
	p->gc_cycle = p->match_seq = p->live_chunks = p->prune_seq = 0;
	p->digest_after = 0;
	/* records of that sequence that are on their way to the disk tell nothing now */
	for (size_t i = 0; i < n->dur.n; i++) {
		struct dur *d = &n->dur.d[(n->dur.head + i) % n->dur.room];

		if (d->part == p->number)
			d->seq = 0;
	}
	for (size_t i = 0; i < p->ctrs.n; i++) {
		struct ctr *c = &p->ctrs.d[i];

		c->refs_ordered = c->punching = 0;
		c->sweeping = c->sealing = c->marked = c->victim = c->rmarked = false;
		c->sharing = c->shared;
		c->mark_gone = c->moved_seq = c->stamp = 0;
		places_free(&c->mark);
		places_free(&c->rmark);
	}
	p->state_dirty = true;
}

/* Holes that were still to be punched into this partition's containers. */
static void holes_forget(struct vms_node *n, uint32_t part)
{
#define FORGET(v)                                                                                  \
	do {                                                                                       \
		size_t keep_ = 0;                                                                  \
		for (size_t i_ = 0; i_ < (v).n; i_++)                                              \
			if (vms_addr_partition(vms_addr_make((v).d[i_].ctr, 0),                    \
					       n->conf.part_bits) != part)                         \
				(v).d[keep_++] = (v).d[i_];                                        \
		(v).n = keep_;                                                                     \
	} while (0)
	FORGET(n->punch);
	FORGET(n->punch_next);
	FORGET(n->punch_new);
#undef FORGET
}

/* Files of the partition that are still to be removed: a number must not come into
 * use again before its old file is gone. */
static bool unlinks_left(const struct vms_node *n, uint32_t part)
{
	for (size_t i = 0; i < n->unlink.n + n->unlink_next.n; i++) {
		uint64_t c = i < n->unlink.n ? n->unlink.d[i] : n->unlink_next.d[i - n->unlink.n];

		if (vms_addr_partition(vms_addr_make(c, 0), n->conf.part_bits) == part)
			return true;
	}
	return n->unlinks > 0;
}

/* ---- beginning and ending ---- */

static void learn_end(struct vms_node *n, struct part *p)
{
	struct learn *l = p->learn;

	if (!l)
		return;
	p->learn = NULL;
	n->nlearns--;
	learn_ctrs_free(&l->ctrs);
	learn_ctrs_free(&l->known);
	free(l);
}

void learn_close(struct vms_node *n, struct part *p)
{
	learn_end(n, p);
}

/* This attempt is over. What is incomplete stays so, until the next one. */
static void learn_abort(struct vms_node *n, struct part *p)
{
	/* One that has been called ready may be a member by now, or become one: a change of
	 * the set that is on its way cannot be taken back. It stays what it is until the
	 * next attempt. */
	bool half = p->copy_state == COPY_INCOMPLETE ||
		    (p->learn && p->learn->base &&
		     (p->learn->phase != LP_READY || n->mut == MUT_LN_LIMBO));

	/* once installed they are the partition's own, and may have been swept since */
	if (p->learn && p->learn->phase < LP_SYNC)
		learn_ctrs_keep(n, p, p->learn);
	learn_end(n, p);
	p->repl_conn = 0;
	if (half) {
		part_forget(n, p);
		holes_forget(n, p->number);
		/* that it is whole was not durable yet, and now it is not: the index and the
		 * files are there, but nothing is known of them */
		if (n->mut != MUT_LN_HALF)
			p->copy_state = COPY_INCOMPLETE;
	}
}

void learn_fail(struct vms_node *n, struct part *p, const char *why)
{
	struct learn *l = p->learn;
	struct peer *pe = node_peer(n, l->primary, false);
	struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = p->number, .aux = LOP_FAILED};

	node_log(n, VMS_LOG_WARN, "partition %u: making a copy ended early (%s): %s", p->number,
		 learn_phase_name(l->phase), why);
	m.epoch = l->epoch;
	m.sequence = l->id;
	m.body = (const uint8_t *)why;
	m.body_bytes = (uint32_t)strlen(why);
	if (pe && pe->conn)
		node_send(n, pe->conn, &m);
	learn_abort(n, p);
}

void learn_log_full(struct vms_node *n, struct part *p)
{
	if (!p->learn)
		return;
	yield_more(n, p, &p->outrun);
	learn_fail(n, p, "the learner's log is full");
}

static unsigned running(const struct vms_node *n)
{
	unsigned k = 0;

	for (uint32_t i = 0; i < n->nparts && n->nlearns; i++)
		k += n->part[i] && n->part[i]->learn && n->part[i]->learn->phase < LP_READY;
	return k;
}

static unsigned bases(const struct vms_node *n)
{
	unsigned k = 0;

	for (uint32_t i = 0; i < n->nparts && n->nlearns; i++)
		k += n->part[i] && n->part[i]->learn &&
		     (n->part[i]->learn->base || n->part[i]->learn->may_base) &&
		     n->part[i]->learn->phase < LP_READY;
	return k;
}

static void learn_begin(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = m->partition < n->nparts ? node_part_make(n, m->partition) : NULL;
	struct learn *l;

	if (p && p->learn)
		learn_abort(n, p);
	if (!p || n->phase != SP_RUN || n->stopping || p->known || p->primary ||
	    m->epoch < p->epoch || m->epoch < p->conf.epoch || out_deleting(p) ||
	    running(n) >= LEARNS_MAX) {
		struct vms_msg no = {.type = VMS_MSG_LEARN,
				     .status = VMS_E_BUSY,
				     .partition = m->partition,
				     .epoch = m->epoch,
				     .sequence = m->sequence,
				     .aux = LOP_FAILED};

		node_send(n, c->id, &no); /* it tries again soon */
		return;
	}
	l = calloc(1, sizeof(*l));
	vms_assert(l);
	l->part = p->number;
	l->phase = LP_BEGIN;
	l->id = m->sequence;
	l->serial = ++n->feed_ids;
	l->epoch = p->epoch = m->epoch;
	l->primary = c->peer->id;
	p->conf.primary = c->peer->id;
	p->learn = l;
	p->gone = false;
	if (n->mut != MUT_OUT_HALF)
		out_close(p);
	n->nlearns++;
	learn_go(n, p);
}

void learn_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);

	if (m->aux == LOP_START) {
		learn_begin(n, c, m);
		return;
	}
	if (m->aux == LOP_STOP) {
		if (p && p->learn && p->learn->id == m->sequence &&
		    p->learn->primary == c->peer->id)
			learn_abort(n, p);
		return;
	}
	learn_serve_msg(n, c, m);
}

void learn_peer_lost(struct vms_node *n, struct peer *pe)
{
	for (uint32_t i = 0; i < n->nparts && n->nlearns; i++)
		if (n->part[i] && n->part[i]->learn && n->part[i]->learn->primary == pe->id)
			learn_abort(n, n->part[i]);
}

void learn_epoch(struct part *p, uint64_t epoch)
{
	if (p->learn && epoch > p->learn->epoch)
		p->learn->epoch = epoch;
	if (p->learn && p->epoch < p->learn->epoch)
		p->epoch = p->learn->epoch;
}

void learn_conf(struct vms_node *n, struct part *p)
{
	struct learn *l = p->learn;

	if (!l)
		return;
	if (!p->known) {
		struct peer *pe = node_peer(n, l->primary, false);

		/* the same process goes on leading: so does the copy */
		if (p->conf.epoch < l->epoch || p->conf.primary == l->primary) {
			learn_epoch(p, p->conf.epoch);
			if (l->conn && pe && pe->conn == l->conn)
				p->repl_conn = l->conn;
			repl_ack_want(n, p);
		} else {
			learn_abort(n, p);
		}
		return;
	}
	if (l->phase != LP_READY)
		node_log(n, VMS_LOG_ERROR,
			 "partition %u: member of the set with an unfinished copy", p->number);
	n->st.learnt++;
	p->outrun = 0;
	learn_end(n, p);
}

/* ---- what the lanes ask ---- */

bool learn_holds(const struct vms_node *n, const struct part *p)
{
	return p->learn ? p->learn->base && p->learn->phase < LP_APPLY && n->mut != MUT_LN_HOLD
			: p->copy_state != COPY_WHOLE;
}

bool learn_has(const struct vms_node *n, struct part *p, uint64_t seq, vms_addr a)
{
	struct learn *l = p->learn;
	uint32_t seg = (vms_addr_offset_bytes(a) / VMS_CHUNK_BYTES - 1) / 65;
	struct ctr *c;

	if (!l || !l->base || seq > l->end_seq)
		return false;
	c = part_ctr(p, vms_addr_container(a));
	if (!c || !c->state)
		return seq <= l->list_seq;
	return seg < c->segs && c->used[seg] && n->mut != MUT_LN_AGAIN;
}

/* What it replays may be of a branch that was deleted since and has no record any more. What
 * its pages stood on is not known here; they go with a DROP, which was ordered before the
 * record went, and so before the DIGEST that is asked for when everything has been applied.
 * Before it becomes a member it has all that is durable on those. */
bool learn_compares(const struct vms_node *n, const struct part *p, uint64_t seq)
{
	const struct learn *l = p->learn;

	return !l || (l->phase == LP_DIGEST && seq >= l->digest_seq) || n->mut == MUT_LN_BRANCH;
}

bool learn_ghost(struct part *p, uint64_t seq, uint64_t number)
{
	struct ctr *c = part_ctr(p, number);

	return p->learn && p->learn->base && seq <= p->learn->list_seq && (!c || !c->state);
}

/* ---- requests ---- */

struct lcall {
	uint32_t part;
	uint64_t serial;
};

bool learn_ask(struct vms_node *n, struct learn *l, struct peer *pe, unsigned op,
	       const uint8_t *body, uint32_t bytes, rpc_fn fn, void *arg)
{
	struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = l->part, .aux = op};

	m.epoch = l->epoch;
	m.sequence = l->id;
	m.flags = l->urgent ? VMS_F_FUA : 0;
	m.body = body;
	m.body_bytes = bytes;
	return rpc_send(n, pe ? pe : node_peer(n, l->primary, false), &m, 5ull * n->tm.lease_ms, fn,
			arg);
}

void learn_later(struct vms_node *n, struct learn *l, const struct vms_msg *re, uint32_t ms)
{
	l->paced = re->status == VMS_E_BUSY && re->aux;
	l->wait_ms = n->now_ms + (l->paced ? re->aux : ms);
	node_wake_at(n, l->wait_ms);
}

static void answer(struct vms_node *n, void *arg, const struct vms_msg *re);

static void ask(struct vms_node *n, struct part *p, unsigned op, const uint8_t *body,
		uint32_t bytes)
{
	struct learn *l = p->learn;
	struct lcall *k = malloc(sizeof(*k));

	vms_assert(k);
	*k = (struct lcall){p->number, l->serial};
	l->busy = true;
	if (!learn_ask(n, l, NULL, op, body, bytes, answer, k)) {
		free(k);
		learn_fail(n, p, "no connection to the primary");
	}
}

static void progress(struct vms_node *n, struct part *p, unsigned op)
{
	struct learn *l = p->learn;
	uint8_t b[40] = {(uint8_t)l->phase};

	vms_put_le64(b + 8, l->done_bytes);
	vms_put_le64(b + 16, l->total_bytes);
	vms_put_le64(b + 24, l->moved_bytes);
	vms_put_le64(b + 32, l->lost_chunks);
	l->told_ms = n->now_ms;
	if (op == LOP_READY) {
		ask(n, p, op, b, sizeof(b));
	} else {
		struct peer *pe = node_peer(n, l->primary, false);
		struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = p->number, .aux = op};

		m.epoch = l->epoch;
		m.sequence = l->id;
		m.flags = l->urgent ? VMS_F_FUA : 0;
		m.body = b;
		m.body_bytes = sizeof(b);
		if (pe && pe->conn)
			node_send(n, pe->conn, &m);
	}
}

/* What is here: up to where it is committed, the records' epochs, whether it is whole. */
static void ask_begin(struct vms_node *n, struct part *p)
{
	uint8_t b[24 + 24 * 64];
	unsigned k = 0;
	uint64_t from = 0, epoch = 0;

	vms_put_le64(b, p->committed);
	vms_put_le64(b + 8, p->seq_last);
	memset(b + 16, 0, 8);
	b[16] = p->copy_state == COPY_WHOLE && !p->differs &&
		(p->has_data || p->drain_applied || p->ctrs.n || p->seq_last);
	/* The log alone, or later. Several are asked at the same time: the answer may make
	 * any of those that were told nothing a whole copy. */
	p->learn->may_base = false;
	p->learn->may_base = p->learn->base || bases(n) < BASES_MAX;
	b[17] = !p->learn->may_base;
	b[18] = !p->learn->pre_done && n->mut != MUT_LN_ONE_PASS;
	/* newest runs first: the older ones matter less */
	for (uint64_t s = p->seq_last; b[16] && s > p->committed && k < 64; s--) {
		struct prec *pr = part_rec(p, s);

		if (!pr)
			break;
		if (pr->epoch != epoch) {
			epoch = pr->epoch;
			vms_put_le64(b + 24 + 24 * k, epoch);
			vms_put_le64(b + 24 + 24 * k + 16, s);
			k++;
		}
		from = s;
		vms_put_le64(b + 24 + 24 * (k - 1) + 8, from);
	}
	ask(n, p, LOP_BEGIN, b, 24 + 24 * k);
}

/* From here on it is as if this were the second attempt, but for what it knows. */
static void pre_over(struct learn *l)
{
	learn_ctrs_free(&l->known);
	l->known = l->ctrs;
	l->ctrs = (struct lctrs){0};
	l->pre = false;
	l->pre_done = true;
	l->ctr_after = l->list_seq = 0;
	l->at = l->seg = l->rounds = 0;
	l->phase = LP_BEGIN;
}

static void on_begin(struct vms_node *n, struct part *p, const struct vms_msg *re)
{
	struct learn *l = p->learn;
	uint64_t common;

	if (re->body_bytes != sizeof(l->blob)) {
		learn_fail(n, p, "BEGIN was answered wrongly");
		return;
	}
	memcpy(l->blob, re->body, sizeof(l->blob));
	l->base = l->blob[0];
	common = vms_get_le64(l->blob + 8);
	l->next = vms_get_le64(l->blob + 16);
	l->total_bytes = l->base ? vms_get_le64(l->blob + 104) : 0;
	if (!l->base) {
		if (common < p->committed || common > p->seq_last) {
			learn_fail(n, p, "BEGIN was answered wrongly");
			return;
		}
		if (common < p->seq_last)
			part_truncate(n, p, common + 1);
		p->digest_after = p->digest_after > common ? p->digest_after : common;
		l->end_seq = common;
		l->phase = LP_LOG;
		return;
	}
	l->pre = l->blob[2];
	if (l->pre && !l->total_bytes) {
		pre_over(l); /* nothing to fetch */
		return;
	}
	part_forget(n, p);
	holes_forget(n, p->number);
	p->copy_state = COPY_INCOMPLETE;
	p->log_from = vms_wal_appended_pos(n->wal);
	p->forget_outcomes = true;
	p->mem_flag = l->blob[1];
	p->view_epoch = vms_get_le64(l->blob + 32);
	p->view_first = vms_get_le64(l->blob + 40);
	p->ck_view_epoch = vms_get_le64(l->blob + 112);
	p->ck_view.n = 0; /* those that were in it tell */
	p->ck_view_first = vms_get_le64(l->blob + 120);
	if (n->mut != MUT_LN_CEILING) {
		p->next_pos = vms_get_le64(l->blob + 48);
		p->ceiling = p->ceiling_ordered = vms_get_le64(l->blob + 56);
		p->next_ctr = vms_get_le64(l->blob + 64);
	}
	p->gc_cycle = vms_get_le64(l->blob + 72);
	p->live_chunks = vms_get_le64(l->blob + 88);
	p->seq_last = p->committed = p->applied = l->next - 1;
	p->own_durable = p->all_durable = l->next - 1;
	p->recs_first = l->next;
	p->has_data = true;
	l->ticket = ckpt_request(n);
	l->phase = LP_MARK;
}

static void ask_log(struct vms_node *n, struct part *p)
{
	uint8_t b[8];

	vms_put_le64(b, p->learn->next);
	ask(n, p, LOP_LOG, b, sizeof(b));
}

static void on_log(struct vms_node *n, struct part *p, const struct vms_msg *re)
{
	struct learn *l = p->learn;
	const uint8_t *at = re->npayload ? re->payload[0].base : NULL;
	size_t left = re->npayload ? re->payload[0].len : 0;

	if (re->body_bytes != 16) {
		learn_fail(n, p, "LOG was answered wrongly");
		return;
	}
	while (left) {
		struct vms_rec r;
		int64_t bytes = vms_rec_decode(at, left, &r, true);
		int rc;

		if (bytes < 0 || r.partition != p->number || r.seq <= p->seq_last) {
			learn_fail(n, p, "a damaged record came");
			return;
		}
		rc = part_append_raw(n, p, &r, at, (uint32_t)bytes);
		if (rc) {
			learn_log_full(n, p);
			return;
		}
		l->moved_bytes += (uint64_t)bytes;
		n->st.learnt_bytes += (uint64_t)bytes;
		at += bytes;
		left -= (size_t)bytes;
	}
	l->next = vms_get_le64(re->body);
	if (l->next > vms_get_le64(re->body + 8))
		l->phase = LP_STREAM;
}

static void ask_stream(struct vms_node *n, struct part *p)
{
	struct learn *l = p->learn;
	uint8_t b[8];

	p->repl_conn = l->conn = node_peer(n, l->primary, false)->conn;
	p->ack_held = p->ack_durable = 0;
	p->in_ack = false;
	vms_put_le64(b, p->seq_last);
	ask(n, p, LOP_STREAM, b, sizeof(b));
}

/* ---- pages ---- */

static void ask_pages(struct vms_node *n, struct part *p)
{
	struct learn *l = p->learn;
	uint8_t b[20];

	vms_put_le64(b, l->page.branch);
	vms_put_le64(b + 8, l->page.snap_gen);
	vms_put_le32(b + 16, l->page.subext);
	ask(n, p, LOP_PAGES, b, l->page_any ? sizeof(b) : 0);
}

struct stale {
	const struct vms_page_key *after, *last; /* (after, last]; NULL: open */
	const uint8_t *got;
	unsigned ngot, at;
	VMS_VEC(struct vms_page_key) del;
};

static int key_cmp(const struct vms_page_key *a, const struct vms_page_key *b)
{
	if (a->branch != b->branch)
		return a->branch < b->branch ? -1 : 1;
	if (a->subext != b->subext)
		return a->subext < b->subext ? -1 : 1;
	return a->snap_gen < b->snap_gen ? -1 : a->snap_gen > b->snap_gen;
}

static void page_get(const uint8_t *b, uint32_t part, struct vms_page *pg)
{
	pg->key.partition = part;
	pg->key.branch = vms_get_le64(b);
	pg->key.snap_gen = vms_get_le64(b + 8);
	pg->key.subext = vms_get_le32(b + 16);
	pg->drain_seq = vms_get_le64(b + 20);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		pg->entry[i] = vms_get_le64(b + 28 + 8ul * i);
}

#define PAGE_BYTES (28u + 8u * VMS_SUBEXT_CHUNKS)

static int stale_page(void *arg, const struct vms_page *pg)
{
	struct stale *s = arg;

	if (s->after && key_cmp(&pg->key, s->after) <= 0)
		return 0;
	if (s->last && key_cmp(&pg->key, s->last) > 0)
		return 1;
	for (; s->at < s->ngot; s->at++) {
		const uint8_t *b = s->got + (size_t)s->at * PAGE_BYTES;
		struct vms_page_key k = {pg->key.partition, vms_get_le64(b), vms_get_le32(b + 16),
					 vms_get_le64(b + 8)};
		int c = key_cmp(&k, &pg->key);

		if (c == 0)
			return 0;
		if (c > 0)
			break;
	}
	VMS_VEC_PUSH(&s->del, pg->key);
	return 0;
}

static void on_pages(struct vms_node *n, struct part *p, const struct vms_msg *re)
{
	struct learn *l = p->learn;
	const uint8_t *b = re->npayload ? re->payload[0].base : NULL;
	size_t bytes = re->npayload ? re->payload[0].len : 0;
	struct stale s = {.after = l->page_any ? &l->page : NULL,
			  .got = b,
			  .ngot = (unsigned)(bytes / PAGE_BYTES)};
	struct vms_page_key from = {.partition = p->number};
	struct vms_page pg;
	int rc;

	if (bytes % PAGE_BYTES || (re->aux && !s.ngot)) {
		learn_fail(n, p, "PAGES was answered wrongly");
		return;
	}
	if (re->aux) {
		page_get(b + (size_t)(s.ngot - 1) * PAGE_BYTES, p->number, &pg);
		s.last = &pg.key;
	}
	if (s.after)
		from = l->page;
	/* pages that a stale copy has and the primary has not any more; a damaged one
	 * among them is overwritten, or goes with the next attempt */
	rc = vms_pages_each(n->pages, p->number, &from, stale_page, &s);
	if (rc < 0)
		node_log(n, VMS_LOG_WARN, "partition %u: an index page of the old copy is damaged",
			 p->number);
	VMS_VEC_FOREACH (&s.del, k)
		if (n->mut != MUT_LN_PAGES)
			vms_pages_del(n->pages, k);
	VMS_VEC_FREE(&s.del);
	for (unsigned i = 0; i < s.ngot; i++) {
		struct vms_page got;

		page_get(b + (size_t)i * PAGE_BYTES, p->number, &got);
		vms_pages_put(n->pages, &got);
		l->page = got.key;
		l->page_any = true;
	}
	l->moved_bytes += bytes;
	n->st.learnt_bytes += bytes;
	p->state_dirty = true;
	if (!re->aux)
		l->phase = LP_OUTCOMES;
}

/* ---- outcomes, containers ---- */

static void ask_outcomes(struct vms_node *n, struct part *p)
{
	struct learn *l = p->learn;
	uint8_t b[16];

	vms_put_le32(b, l->op.gateway);
	vms_put_le32(b + 4, l->op.slot);
	vms_put_le64(b + 8, l->op.incarnation);
	ask(n, p, LOP_OUTCOMES, b, l->op_any ? sizeof(b) : 0);
}

static void on_outcomes(struct vms_node *n, struct part *p, const struct vms_msg *re)
{
	struct learn *l = p->learn;
	const uint8_t *b = re->npayload ? re->payload[0].base : NULL;
	size_t left = re->npayload ? re->payload[0].len : 0;

	l->moved_bytes += left;
	n->st.learnt_bytes += left;
	for (; left >= 40; left -= 40, b += 40) {
		struct vms_opid op = {.gateway = vms_get_le32(b),
				      .slot = vms_get_le32(b + 4),
				      .incarnation = vms_get_le64(b + 8),
				      .sequence = vms_get_le64(b + 16)};
		uint64_t seq = vms_get_le64(b + 32);

		l->op = op;
		l->op_any = true;
		/* its record is in the own log: that one counts */
		if (part_rec(p, seq) || n->mut == MUT_LN_OUTCOMES)
			continue;
		vms_outcome_put(&n->outcomes, p->number, &op, (int32_t)vms_get_le32(b + 24),
				vms_get_le32(b + 28), seq, LEARN_OUTCOME_POS, n->now_ms);
	}
	if (!re->aux)
		l->phase = LP_LIST;
}

static void ask_list(struct vms_node *n, struct part *p)
{
	uint8_t b[8];

	vms_put_le64(b, p->learn->ctr_after);
	ask(n, p, LOP_CTRS, b, sizeof(b));
}

static void on_list(struct vms_node *n, struct part *p, const struct vms_msg *re)
{
	struct learn *l = p->learn;

	if (re->body_bytes != 8 ||
	    (re->npayload && learn_ctrs_add(l, re->payload[0].base, re->payload[0].len)) ||
	    (re->aux && !re->npayload)) {
		learn_fail(n, p, "CTRS was answered wrongly");
		return;
	}
	if (!l->list_seq)
		l->list_seq = vms_get_le64(re->body);
	if (l->ctrs.n)
		l->ctr_after = VMS_VEC_LAST(&l->ctrs).number;
	l->moved_bytes += re->payload_bytes;
	n->st.learnt_bytes += re->payload_bytes;
	if (!re->aux)
		l->phase = LP_DROP;
}

/* ---- the machine ---- */

static void answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct lcall k = *(struct lcall *)arg;
	struct learn *l = learn_of(n, k.part, k.serial);
	struct part *p = node_part(n, k.part);

	free(arg);
	if (!l || n->closing)
		return;
	l->busy = l->may_base = false;
	if (!re) {
		learn_fail(n, p, "the primary does not answer");
		return;
	}
	if (re->status == VMS_E_BUSY || re->status == VMS_E_AGAIN) {
		learn_later(n, l, re, n->tm.tick_ms / 4);
		return;
	}
	if (re->status) {
		if (re->status == VMS_E_GONE)
			learn_fail(n, p, "the primary feeds this node no more");
		else
			learn_fail(n, p, vms_err_text(re->status));
		return;
	}
	switch (l->phase) {
	case LP_BEGIN:
		on_begin(n, p, re);
		break;
	case LP_LOG:
		on_log(n, p, re);
		break;
	case LP_STREAM:
		repl_ack_want(n, p);
		if (l->base) {
			l->phase = LP_PAGES;
		} else {
			l->end_seq = p->seq_last;
			l->phase = LP_APPLY;
		}
		break;
	case LP_PAGES:
		on_pages(n, p, re);
		break;
	case LP_OUTCOMES:
		on_outcomes(n, p, re);
		break;
	case LP_LIST:
		on_list(n, p, re);
		break;
	case LP_CHECK:
		l->digest_seq = re->body_bytes == 8 ? vms_get_le64(re->body) : 0;
		l->phase = LP_DIGEST;
		break;
	case LP_READY:
		l->ticket = 0; /* told */
		break;
	default:
		break;
	}
	if (p->learn)
		learn_go(n, p);
}

bool learn_paused(struct vms_node *n, struct learn *l)
{
	/* Recovery never fills a node: what is left is for those that write. */
	if (!n->nospc && (!n->space_total || n->space_free > n->space_total / 10)) {
		l->paused_ms = 0;
		return false;
	}
	if (!l->paused_ms)
		l->paused_ms = n->now_ms;
	l->wait_ms = n->now_ms + n->tm.tick_ms;
	node_wake_at(n, l->wait_ms);
	return true;
}

/* The base copy is there: the lane may go, to what makes it exact. */
static void base_ready(struct vms_node *n, struct part *p, struct learn *l)
{
	uint64_t drained = vms_get_le64(l->blob + 80);

	l->end_seq = p->seq_last;
	p->digest_after = l->end_seq;
	l->phase = LP_APPLY;
	/* records below the log's start are in the pages */
	if (drained > p->drain_applied)
		p->drain_applied = drained;
	apply_run(n, p);
}

/* Numbers that only records of dead containers named. */
static void ghosts_gone(struct part *p)
{
	size_t k = 0;

	for (size_t i = 0; i < p->ctrs.n; i++) {
		if (!p->ctrs.d[i].state && !p->ctrs.d[i].refs_ordered &&
		    p->ctrs.d[i].number != p->opening)
			ctr_free(&p->ctrs.d[i]);
		else
			p->ctrs.d[k++] = p->ctrs.d[i];
	}
	p->ctrs.n = k;
}

void learn_go(struct vms_node *n, struct part *p)
{
	struct learn *l;
	enum learn_phase before;

	do {
		l = p->learn;
		if (!l || l->busy || n->poisoned || n->now_ms < l->wait_ms)
			return;
		before = l->phase;
		switch (l->phase) {
		case LP_BEGIN:
			ask_begin(n, p);
			break;
		case LP_MARK:
			/* nothing of an earlier attempt is on its way to the disk */
			if (n->ckpt_ended >= l->ticket && !p->learn_ios &&
			    !unlinks_left(n, p->number))
				l->phase = l->pre ? LP_LIST : LP_LOG;
			break;
		case LP_LOG:
			ask_log(n, p);
			break;
		case LP_STREAM:
			ask_stream(n, p);
			break;
		case LP_PAGES:
			ask_pages(n, p);
			break;
		case LP_OUTCOMES:
			ask_outcomes(n, p);
			break;
		case LP_LIST:
			ask_list(n, p);
			break;
		case LP_DROP:
			if (learn_drop(n, p, l) && !unlinks_left(n, p->number)) {
				l->at = l->seg = 0;
				l->done_bytes = 0;
				l->phase = LP_HEADS;
			}
			break;
		case LP_HEADS:
			if (learn_heads(n, p, l)) {
				l->at = l->seg = 0;
				l->phase = LP_FETCH;
			}
			break;
		case LP_FETCH:
			if (learn_fetch(n, p, l)) {
				learn_install(n, p, l);
				n->outcomes_learnt |= !l->pre;
				l->ticket = ckpt_request(n);
				l->phase = LP_SYNC;
			}
			break;
		case LP_SYNC:
			if (n->ckpt_ended >= l->ticket) {
				l->at = l->seg = 0;
				l->bad = false;
				l->phase = LP_VERIFY;
			}
			break;
		case LP_VERIFY:
			if (!learn_verify(n, p, l))
				break;
			if (!l->bad && l->pre) {
				pre_over(l);
			} else if (!l->bad) {
				base_ready(n, p, l);
			} else if (++l->rounds > 4) {
				learn_fail(n, p,
					   "bytes that were written are read back wrongly: check "
					   "this node's disk");
			} else {
				l->at = l->seg = 0;
				l->phase = LP_FETCH;
			}
			break;
		case LP_APPLY:
			if (p->applied >= l->end_seq) {
				ghosts_gone(p);
				l->phase = LP_CHECK;
			}
			break;
		case LP_CHECK:
			ask(n, p, LOP_CHECK, NULL, 0);
			break;
		case LP_COMMIT:
			if (n->ckpt_ended >= l->ticket) {
				l->done_bytes = l->total_bytes;
				l->ticket = 1;
				l->phase = LP_READY;
			}
			break;
		case LP_READY:
			if (l->ticket)
				progress(n, p, LOP_READY);
			break;
		default:
			break;
		}
	} while (p->learn == l && l->phase != before);
}

void learn_digest(struct vms_node *n, struct part *p, uint64_t seq, int status)
{
	struct learn *l = p->learn;

	if (!l || l->phase != LP_DIGEST || seq < l->digest_seq)
		return;
	if (status == VMS_E_CORRUPT) {
		learn_fail(n, p, "it differs from the primary's copy");
		return;
	}
	if (status) {
		l->phase = LP_CHECK; /* nobody knows any more: once again */
	} else {
		p->copy_state = COPY_WHOLE;
		p->differs = false;
		p->state_dirty = true;
		n->outcomes_learnt = true;
		l->ticket = ckpt_request(n);
		l->phase = LP_COMMIT;
	}
	learn_go(n, p);
}

/* A record merges with a chunk of another partition that died while this copy was
 * not counted, and what came of it has died, too: everything is needed then. */
static bool stands_still(struct vms_node *n, struct part *p, struct learn *l)
{
	if (l->phase != LP_APPLY || p->applied != l->applied || !p->apply) {
		l->applied = p->applied;
		l->applied_ms = n->now_ms;
		return false;
	}
	if (n->now_ms - l->applied_ms < 4ull * n->tm.lease_ms)
		return false;
	p->differs = true;
	learn_fail(n, p, "its records cannot be applied to this copy");
	return true;
}

/* How much of the own log stays because the base is not there: what has come since the
 * oldest of the partition's records, whoever it belongs to. */
static uint64_t pinned_bytes(const struct vms_node *n, const struct part *p)
{
	uint64_t end = vms_wal_appended_pos(n->wal), first = end;

	if (!learn_holds(n, p))
		return 0;
	for (size_t i = p->recs_head; i < p->recs.n; i++) {
		uint64_t at = p->recs.d[i].log_pos;

		if (at && at < first)
			first = at;
		if (at && !p->copied)
			break; /* they lie in their order */
	}
	return end - first;
}

/* All that is written to this node waits for room in its log: a copy must not take it. First
 * the base comes as fast as it can. When that is not enough, or it does not come at all, the
 * copy is given up: what has been fetched is kept, the next attempt goes on from there. */
static bool yields(struct vms_node *n, struct part *p, struct learn *l)
{
	uint64_t pinned = pinned_bytes(n, p), size = vms_wal_size_bytes(n->wal);

	l->urgent = pinned > size / PIN_SHARE || p->outrun;
	if (l->urgent && l->paced) {
		l->paced = false;
		l->wait_ms = n->now_ms;
	}
	if (pinned <= size / 2 || log_permille(n) <= LOG_YIELDS || n->mut == MUT_MV_STAYS)
		return false;
	if (!l->paused_ms) /* it is not clients that hold it up */
		yield_more(n, p, &p->outrun);
	learn_fail(n, p, "the learner's log fills up before the base is there");
	return true;
}

void learn_timer(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts && n->nlearns; i++) {
		struct part *p = n->part[i];
		struct learn *l = p ? p->learn : NULL;

		if (!l)
			continue;
		if (l->paused_ms && n->now_ms - l->paused_ms > 30ull * n->tm.lease_ms) {
			learn_fail(n, p, "this node's disk is too full to take a copy");
			continue;
		}
		/* Its digest has been told before the number was known, or has been lost
		 * with the connection: another one. */
		if (l->phase == LP_DIGEST && p->applied >= l->digest_seq && !digest_under_way(p) &&
		    n->mut != MUT_LN_ASK_ONCE) {
			l->phase = LP_CHECK;
			l->wait_ms = n->now_ms + n->tm.tick_ms;
		}
		if (stands_still(n, p, l) || yields(n, p, l))
			continue;
		if (n->now_ms - l->told_ms >= n->tm.tick_ms)
			progress(n, p, LOP_PROGRESS);
		learn_go(n, p);
	}
}
