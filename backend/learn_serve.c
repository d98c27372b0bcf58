// SPDX-License-Identifier: GPL-2.0-only
/*
 * Feeding a learner: the primary's side of learn.c. Everything is answered from
 * what is there at that moment; the learner replays the log over it, so no snapshot
 * is needed. What the primary owes it meanwhile:
 *
 * - the log from the oldest record on, until the learner has it (given up when the
 *   log is nearly full: serving clients comes first); nothing of it in the pass before;
 * - no container and no chunk place of the partition dies from BEGIN on until the
 *   records have been applied, so whatever they merge with can be copied, and what they
 *   made can be asked for when they merge with another partition's chunk that has died;
 * - nothing is told as good that does not match its checksums.
 *
 * Owner: the node thread. Keeps invariants 1, 19, 27 (rules A1, B5, E2).
 */
#include "backend/learn_serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/digest.h"
#include "backend/learn.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/outcome.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/set.h"
#include "backend/wal.h"
#include "backend/yield.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

#define PAGES_MAX     512u
#define PAGE_BYTES    (28u + 8u * VMS_SUBEXT_CHUNKS)
#define PAGES_COUNTED ((uint64_t)PAGES_MAX * PAGE_BYTES / 8)
#define OUTCOMES_MAX  4096u
#define OUTCOME_BYTES 40u
#define CTRS_BYTES    (1u << 20)
#define LOG_BYTES     (1u << 20)
#define PAUSE_MS      2000u
#define WAIT_MS_MAX   1000u /* the rate may be another then */
#define BASES_MAX     2u    /* whole copies at a time, from this node */

/* ---- throttle ---- */

/* May so many bytes go out now? 0: yes, they are counted; else how long to wait. The limit is
 * there for the clients' sake: it does not count where it would hold them up. */
static uint32_t move_wait(struct vms_node *n, uint64_t bytes, bool urgent)
{
	struct move_rate *r = &n->move;
	uint64_t rate = n->cluster.move_bytes_s, gone = n->now_ms - r->at_ms;
	int64_t top;

	if (!rate || n->mut == MUT_MV_ANY) {
		n->st.moved_bytes += bytes;
		return 0;
	}
	if (n->now_ms - r->look_ms >= 100) {
		bool busy = n->npend || n->nwait || n->nreads;

		r->look_ms = n->now_ms;
		if (busy && r->slow < 3 && n->mut != MUT_MV_RUDE)
			r->slow++;
		else if (!busy && r->slow)
			r->slow--;
	}
	rate = rate >> r->slow ? rate >> r->slow : 1;
	top = (int64_t)(rate / 4 + VMS_CHUNK_BYTES);
	r->at_ms = n->now_ms;
	r->tokens += gone < UINT64_MAX / 1000 / rate ? (int64_t)(rate * gone / 1000) : top;
	if (r->tokens > top)
		r->tokens = top;
	if (urgent) {
		/* the others do not have to wait longer for it than for one of them */
		if (r->tokens > 0)
			r->tokens -= (int64_t)bytes;
		n->st.moved_bytes += bytes;
		n->st.moved_urgent_bytes += bytes;
		return 0;
	}
	if (r->tokens <= 0) {
		uint64_t ms = 1 + (uint64_t)-r->tokens * 1000 / rate;

		return ms < WAIT_MS_MAX ? (uint32_t)ms : WAIT_MS_MAX;
	}
	r->tokens -= (int64_t)bytes;
	n->st.moved_bytes += bytes;
	return 0;
}

/* Clients are held up soon, unless it gets on: or they are, as writes wait for copies. f: NULL
 * of one that another primary feeds. */
static bool is_urgent(const struct vms_node *n, const struct part *p, const struct feed *f,
		      const struct vms_msg *m)
{
	bool few = p->conf.nmembers < n->cluster.min_copies && n->mut != MUT_MV_BELOW;

	return (few || (f && f->outrun) || (f ? f->urgent : (m->flags & VMS_F_FUA) != 0)) &&
	       n->cluster.move_bytes_s && n->mut != MUT_MV_HOLDS && n->mut != MUT_MV_ANY;
}

/* The pace counts what there may be before it is looked for; what is told is what has gone. */
static void move_sent(struct vms_node *n, uint64_t counted, uint64_t bytes, bool urgent)
{
	n->st.moved_bytes += bytes - counted;
	if (urgent)
		n->st.moved_urgent_bytes += bytes - counted;
}

static uint64_t ctr_bytes(const struct part *p)
{
	uint64_t bytes = 0;

	VMS_VEC_FOREACH (&p->ctrs, ct)
		if (ct->state == 1 || ct->state == 2)
			bytes += (uint64_t)(ct->chunks - ct->dead.count) * VMS_CHUNK_BYTES;
	return bytes;
}

/* Clients write faster than the pass before comes. What they write is left for the second
 * pass, which the log waits for, and nothing of it is collected meanwhile: a copy that is
 * made at the limit would not come to an end, and take ever more space. */
static bool outgrown(const struct vms_node *n, const struct part *p, const struct feed *f)
{
	return f->pre_bytes && ctr_bytes(p) > f->pre_bytes + f->pre_bytes / 2 &&
	       n->mut != MUT_LN_OUTRUN;
}

/* ---- feeds of a partition ---- */

struct feed *feed_get(const struct part *p, uint32_t node)
{
	struct feed *f = p->feeds;

	while (f && f->node != node)
		f = f->next;
	return f;
}

static void feed_heavy(struct vms_node *n, struct feed *f, bool heavy)
{
	n->nbases += heavy;
	n->nbases -= f->heavy;
	f->heavy = heavy;
}

/* It feeds no more, or the learner has all: the next one may begin. */
static void feed_idle(struct vms_node *n, struct feed *f)
{
	n->nfeeds -= f->st == LEARN_COPY;
	feed_heavy(n, f, false);
	set_soon(n);
}

static void feed_free(struct vms_node *n, struct part *p, struct feed *f)
{
	struct feed **at = &p->feeds;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	feed_idle(n, f);
	part_learner_del(n, p, f->node);
	n->feeds--;
	free(f);
}

static void feed_failed(struct vms_node *n, struct part *p, struct feed *f, const char *why)
{
	feed_idle(n, f);
	f->st = LEARN_FAILED;
	f->hold_log = UINT64_MAX;
	f->hold_ctrs = false;
	part_learner_del(n, p, f->node);
	if (f->fails < 8)
		f->fails++;
	f->again_ms = n->now_ms + ((uint64_t)PAUSE_MS << (f->fails < 3 ? f->fails : 3));
	snprintf(f->why, sizeof(f->why), "%s", why);
	node_log(n, VMS_LOG_WARN,
		 "partition %u: copying to node %u ended early: %s; next attempt in "
		 "%llu s",
		 p->number, f->node, why, (unsigned long long)(f->again_ms - n->now_ms) / 1000);
}

/* Everything is needed, and as many as may copy everything do so already, here or there.
 * It ends here and is started again: were it to wait at its place, those that need the
 * log alone would find none, until the log does not go back to where they are. */
static void feed_waits(struct vms_node *n, struct part *p, struct feed *f, struct conn *c,
		       bool theirs)
{
	struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = p->number, .aux = LOP_STOP};

	feed_idle(n, f);
	f->st = LEARN_WAITS;
	f->hold_log = UINT64_MAX;
	f->hold_ctrs = false;
	/* when a place is free here is known; what the learner does with others is not */
	f->again_ms = n->now_ms;
	if (theirs)
		f->again_ms += n->tm.tick_ms + vms_rng_below(&n->rng, 2 * n->tm.tick_ms);
	snprintf(f->why, sizeof(f->why), "others are copied first");
	m.epoch = p->conf.epoch;
	m.sequence = f->id;
	node_send(n, c->id, &m);
}

bool feed_holds_ctrs(const struct vms_node *n, const struct part *p)
{
	for (const struct feed *f = p->feeds; f; f = f->next)
		if (f->hold_ctrs && n->mut != MUT_LN_SWEEP)
			return true;
	return false;
}

uint64_t feed_keep_seq(const struct part *p)
{
	uint64_t keep = UINT64_MAX;

	for (const struct feed *f = p->feeds; f; f = f->next) {
		if (f->hold_log < keep)
			keep = f->hold_log;
	}
	for (unsigned i = p->nm; i < p->nm + p->nl; i++)
		if (p->m[i].streaming && p->m[i].sent + 1 < keep)
			keep = p->m[i].sent + 1;
	return keep;
}

bool learn_start(struct vms_node *n, struct part *p, struct peer *pe)
{
	struct feed *f = feed_get(p, pe->id);
	struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = p->number, .aux = LOP_START};

	if (f && !feed_rests(f))
		return true;
	if (!part_serving(p) || !pe->conn || (f && n->now_ms < f->again_ms))
		return false;
	if (f && f->st == LEARN_WAITS) {
		if (n->nbases >= BASES_MAX)
			return false;
		feed_heavy(n, f, true); /* not all of them for the one place */
	}
	if (!f) {
		f = calloc(1, sizeof(*f));
		vms_assert(f);
		f->node = pe->id;
		f->next = p->feeds;
		p->feeds = f;
		n->feeds++;
	}
	f->st = LEARN_COPY;
	n->nfeeds++;
	f->id = (n->now_ms << 16) ^ ++n->feed_ids;
	f->heard_ms = n->now_ms;
	f->hold_log = UINT64_MAX;
	f->hold_ctrs = f->streams = f->urgent = false;
	f->pre_bytes = 0;
	f->phase = 0;
	f->done_bytes = f->total_bytes = f->moved_bytes = f->lost_chunks = 0;
	f->why[0] = 0;
	m.epoch = p->conf.epoch;
	m.sequence = f->id;
	node_send(n, pe->conn, &m);
	n->st.feeds++;
	return true;
}

enum learn_state learn_state(const struct part *p, uint32_t node, uint64_t *done, uint64_t *total)
{
	const struct feed *f = feed_get(p, node);

	if (done)
		*done = f ? f->done_bytes : 0;
	if (total)
		*total = f ? f->total_bytes : 0;
	return f ? f->st : LEARN_NONE;
}

void learn_stop(struct vms_node *n, struct part *p, uint32_t node, bool promoted)
{
	struct feed *f = feed_get(p, node);
	struct peer *pe = node_peer(n, node, false);
	struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = p->number, .aux = LOP_STOP};

	if (!f) {
		part_learner_del(n, p, node);
		return;
	}
	m.epoch = p->conf.epoch;
	m.sequence = f->id;
	if (!promoted && pe && pe->conn && !feed_rests(f))
		node_send(n, pe->conn, &m);
	feed_free(n, p, f);
}

void feeds_close(struct vms_node *n, struct part *p)
{
	while (p->feeds)
		feed_free(n, p, p->feeds);
}

void feed_peer_lost(struct vms_node *n, struct peer *pe)
{
	for (uint32_t i = 0; i < n->nparts && n->feeds; i++) {
		struct feed *f = n->part[i] ? feed_get(n->part[i], pe->id) : NULL;

		if (!f || feed_rests(f))
			continue;
		feed_failed(n, n->part[i], f, "its connection was lost");
		f->fails = 0;
		f->again_ms = n->now_ms + n->tm.tick_ms;
	}
}

void feed_timer(struct vms_node *n)
{
	bool full = log_permille(n) > LOG_YIELDS;

	for (uint32_t i = 0; i < n->nparts && n->feeds; i++) {
		struct part *p = n->part[i];
		struct feed *f, *next;

		for (f = p ? p->feeds : NULL; f; f = next) {
			struct member *m = part_learner(p, f->node);

			next = f->next;
			if (!p->known || !p->primary)
				feed_free(n, p, f);
			else if (feed_rests(f))
				continue;
			else if (full && (f->hold_log != UINT64_MAX ||
					  (m && m->streaming && m->sent < p->committed))) {
				yield_more(n, p, &f->outrun);
				feed_failed(n, p, f, "the log fills up");
			} else if (f->streams && (!m || !m->streaming))
				feed_failed(n, p, f, "the stream has ended");
			else if (f->st == LEARN_COPY &&
				 n->now_ms - f->heard_ms > 10ull * n->tm.lease_ms)
				feed_failed(n, p, f, "the learner says nothing");
		}
	}
}

/* ---- answers ---- */

static bool ctrs_settled(const struct part *p)
{
	VMS_VEC_FOREACH (&p->ctrs, c)
		if ((c->sweeping && c->state != 3) || c->punching)
			return false;
	return true;
}

static bool present_from(struct part *p, uint64_t seq)
{
	for (; seq <= p->seq_last; seq++)
		if (!part_rec(p, seq))
			return false;
	return true;
}

/* Where the learner's log and this one part: two records of the same (epoch, seq) have
 * the same past, and what it knew to be committed is in every later view. The body
 * lists its runs of records of one epoch. */
static uint64_t common_point(struct vms_node *n, struct part *p, uint64_t committed, uint64_t last,
			     struct vms_rd *runs)
{
	struct vms_rd r = *runs;
	uint64_t best = committed;

	while (vms_rd_left(&r) >= 24) {
		uint64_t epoch = vms_rd_u64(&r), from = vms_rd_u64(&r), to = vms_rd_u64(&r);

		for (uint64_t s = to < p->seq_last ? to : p->seq_last; s >= from && s > best; s--) {
			struct prec *pr = part_rec(p, s);

			if (!pr)
				break;
			if (pr->epoch == epoch)
				best = s;
		}
	}
	return n->mut == MUT_LN_COMMON && last <= p->seq_last ? last : best;
}

static void begin(struct vms_node *n, struct conn *c, struct part *p, struct feed *f,
		  const struct vms_msg *m)
{
	uint8_t b[128] = {0};
	uint64_t committed, last, common, bytes;
	struct vms_msg re;
	struct vms_rd r;
	bool whole, base, no_base, pre;

	vms_rd_init(&r, m->body, m->body_bytes);
	committed = vms_rd_u64(&r);
	last = vms_rd_u64(&r);
	whole = vms_rd_u8(&r);
	no_base = vms_rd_u8(&r);
	pre = vms_rd_u8(&r);
	vms_rd_skip(&r, 5);
	if (!vms_rd_ok(&r)) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	common = common_point(n, p, committed, last, &r);
	base = !whole || common > p->seq_last ||
	       !(n->mut == MUT_LN_GAP || present_from(p, common + 1));
	if (base && (no_base || (!f->heavy && n->nbases >= BASES_MAX))) {
		node_reply(n, c->id, m, VMS_E_AGAIN);
		feed_waits(n, p, f, c, no_base);
		return;
	}
	feed_heavy(n, f, base);
	f->base = base;
	f->hold_ctrs = true;
	if (base && !ctrs_settled(p)) {
		node_reply(n, c->id, m, VMS_E_AGAIN);
		return;
	}
	pre &= base;
	f->hold_log = pre ? UINT64_MAX : base ? p->recs_first : common + 1;
	bytes = ctr_bytes(p);
	f->pre_bytes = pre ? bytes : 0;
	b[0] = base;
	b[1] = p->mem_flag;
	b[2] = pre;
	vms_put_le64(b + 8, common);
	vms_put_le64(b + 16, base ? p->recs_first : common + 1);
	vms_put_le64(b + 24, p->seq_last);
	vms_put_le64(b + 32, p->view_epoch);
	vms_put_le64(b + 40, p->view_first);
	vms_put_le64(b + 48, p->next_pos);
	vms_put_le64(b + 56, p->ceiling_ordered);
	vms_put_le64(b + 64, p->next_ctr);
	vms_put_le64(b + 72, p->gc_cycle);
	vms_put_le64(b + 80, p->drain_applied);
	vms_put_le64(b + 88, p->live_chunks);
	vms_put_le64(b + 96, p->applied);
	vms_put_le64(b + 104, bytes);
	vms_put_le64(b + 112, p->ck_view_epoch);
	vms_put_le64(b + 120, p->ck_view_first);
	vms_msg_reply_init(&re, m, 0);
	re.body = b;
	re.body_bytes = sizeof(b);
	node_send(n, c->id, &re);
}

static void log_part(struct vms_node *n, struct conn *c, struct part *p, struct feed *f,
		     const struct vms_msg *m)
{
	struct vms_iov iov[512];
	uint8_t b[16], first[8];
	struct vms_rd r;
	struct vms_msg re;
	size_t bytes = 0;
	unsigned k = 0;
	uint64_t s;

	vms_rd_init(&r, m->body, m->body_bytes);
	vms_rd_bytes(&r, first, sizeof(first));
	if (!vms_rd_ok(&r)) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	s = vms_get_le64(first);
	f->hold_log = s; /* all below is in the learner's log */
	for (; s <= p->seq_last && k < 512; s++) {
		struct prec *pr = part_rec(p, s);

		if (!pr)
			continue; /* applied and freed before BEGIN */
		if (k && bytes + pr->bytes > LOG_BYTES)
			break;
		iov[k++] = (struct vms_iov){vms_wal_ptr(n->wal, pr->log_pos), pr->bytes};
		bytes += pr->bytes;
	}
	vms_put_le64(b, s);
	vms_put_le64(b + 8, p->seq_last);
	vms_msg_reply_init(&re, m, 0);
	re.body = b;
	re.body_bytes = sizeof(b);
	re.payload = iov;
	re.npayload = k;
	re.payload_bytes = bytes;
	node_send(n, c->id, &re);
}

static void stream(struct vms_node *n, struct conn *c, struct part *p, struct feed *f,
		   const struct vms_msg *m)
{
	struct member *mb;
	struct vms_rd r;
	uint64_t last;

	vms_rd_init(&r, m->body, m->body_bytes);
	last = vms_rd_u64(&r);
	if (!vms_rd_ok(&r) || last > p->seq_last || !present_from(p, last + 1)) {
		node_reply(n, c->id, m, VMS_E_GONE);
		return;
	}
	mb = part_learner_add(n, p, c->peer);
	if (!mb) {
		node_reply(n, c->id, m, VMS_E_BUSY);
		return;
	}
	node_reply(n, c->id, m, 0);
	member_inflight_drop(mb);
	mb->streaming = true;
	mb->sent = mb->held = last;
	mb->durable = mb->told = mb->told_all = mb->told_enough = 0;
	mb->progress_ms = n->now_ms;
	f->streams = true;
	f->hold_log = UINT64_MAX;
	repl_want(n, p);
}

struct pages_out {
	uint8_t *buf;
	unsigned n;
	const struct vms_page_key *after;
	bool more;
};

static int page_out(void *arg, const struct vms_page *pg)
{
	struct pages_out *o = arg;
	uint8_t *b = o->buf + (size_t)o->n * PAGE_BYTES;

	if (o->after && o->after->branch == pg->key.branch && o->after->subext == pg->key.subext &&
	    o->after->snap_gen == pg->key.snap_gen)
		return 0;
	if (o->n == PAGES_MAX) {
		o->more = true;
		return 1;
	}
	vms_put_le64(b, pg->key.branch);
	vms_put_le64(b + 8, pg->key.snap_gen);
	vms_put_le32(b + 16, pg->key.subext);
	vms_put_le64(b + 20, pg->drain_seq);
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		vms_put_le64(b + 28 + 8ul * i, pg->entry[i]);
	o->n++;
	return 0;
}

static void pages(struct vms_node *n, struct conn *c, struct part *p, struct feed *f,
		  const struct vms_msg *m)
{
	struct vms_page_key after = {.partition = p->number};
	struct pages_out o = {.n = 0};
	struct vms_iov iov;
	struct vms_msg re;
	struct vms_rd r;
	uint32_t wait;
	int rc;

	vms_rd_init(&r, m->body, m->body_bytes);
	if (vms_rd_left(&r)) {
		after.branch = vms_rd_u64(&r);
		after.snap_gen = vms_rd_u64(&r);
		after.subext = vms_rd_u32(&r);
		o.after = &after;
	}
	if (!vms_rd_ok(&r)) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	vms_msg_reply_init(&re, m, 0);
	wait = move_wait(n, PAGES_COUNTED, is_urgent(n, p, f, m));
	if (wait) {
		re.status = VMS_E_BUSY;
		re.aux = wait;
		node_send(n, c->id, &re);
		return;
	}
	o.buf = malloc((size_t)PAGES_MAX * PAGE_BYTES);
	vms_assert(o.buf);
	rc = vms_pages_each(n->pages, p->number, &after, page_out, &o);
	if (rc < 0) {
		node_log(n, VMS_LOG_ERROR,
			 "partition %u: an index page is damaged (%s): no copy can "
			 "be made of it",
			 p->number, vms_err_text(rc));
		re.status = rc;
	} else {
		iov = (struct vms_iov){o.buf, (size_t)o.n * PAGE_BYTES};
		re.aux = o.more;
		re.flags |= VMS_F_PAYLOAD_CRC;
		re.payload = &iov;
		re.npayload = o.n ? 1 : 0;
		re.payload_bytes = iov.len;
	}
	move_sent(n, PAGES_COUNTED, re.payload_bytes, is_urgent(n, p, f, m));
	node_send(n, c->id, &re);
	free(o.buf);
	(void)f;
}

static void outcomes(struct vms_node *n, struct conn *c, struct part *p, const struct vms_msg *m)
{
	const struct vms_outcome **list = malloc(OUTCOMES_MAX * sizeof(*list));
	uint8_t *buf = malloc((size_t)OUTCOMES_MAX * OUTCOME_BYTES);
	struct vms_opid after;
	struct vms_iov iov;
	struct vms_msg re;
	struct vms_rd r;
	unsigned k;
	bool any;

	vms_assert(list && buf);
	vms_rd_init(&r, m->body, m->body_bytes);
	any = vms_rd_left(&r) >= 16;
	after.gateway = any ? vms_rd_u32(&r) : 0;
	after.slot = any ? vms_rd_u32(&r) : 0;
	after.incarnation = any ? vms_rd_u64(&r) : 0;
	k = vms_outcomes_list(&n->outcomes, p->number, any ? &after : NULL, list, OUTCOMES_MAX);
	for (unsigned i = 0; i < k; i++) {
		uint8_t *b = buf + (size_t)i * OUTCOME_BYTES;

		vms_put_le32(b, list[i]->op.gateway);
		vms_put_le32(b + 4, list[i]->op.slot);
		vms_put_le64(b + 8, list[i]->op.incarnation);
		vms_put_le64(b + 16, list[i]->op.sequence);
		vms_put_le32(b + 24, (uint32_t)list[i]->status);
		vms_put_le32(b + 28, list[i]->aux);
		vms_put_le64(b + 32, list[i]->seq);
	}
	vms_msg_reply_init(&re, m, 0);
	iov = (struct vms_iov){buf, (size_t)k * OUTCOME_BYTES};
	re.aux = k == OUTCOMES_MAX;
	re.flags |= VMS_F_PAYLOAD_CRC;
	re.payload = &iov;
	re.npayload = k ? 1 : 0;
	re.payload_bytes = iov.len;
	node_send(n, c->id, &re);
	free(list);
	free(buf);
}

/* Containers behind a number: all that the index says of them. */
static void ctrs(struct vms_node *n, struct conn *c, struct part *p, const struct vms_msg *m)
{
	uint8_t *buf = malloc(2 * CTRS_BYTES), b[8];
	struct vms_iov iov;
	struct vms_msg re;
	struct vms_rd r;
	uint64_t after;
	size_t at = 0;

	vms_assert(buf);
	vms_rd_init(&r, m->body, m->body_bytes);
	after = vms_rd_u64(&r);
	vms_msg_reply_init(&re, m, vms_rd_ok(&r) ? 0 : VMS_E_PROTO);
	VMS_VEC_FOREACH (&p->ctrs, ct) {
		uint32_t nd = ct->dead.n < ct->segs ? ct->dead.n : ct->segs;

		if (ct->number <= after || (ct->state != 1 && ct->state != 2))
			continue;
		if (at > CTRS_BYTES) {
			re.aux = 1;
			break;
		}
		vms_put_le64(buf + at, ct->number);
		vms_put_le64(buf + at + 8, ct->epoch);
		vms_put_le64(buf + at + 16, ct->incarnation);
		vms_put_le64(buf + at + 24, ct->live);
		vms_put_le32(buf + at + 32, ct->segs);
		vms_put_le32(buf + at + 36, ct->chunks);
		vms_put_le32(buf + at + 40, nd);
		buf[at + 44] = ct->state;
		buf[at + 45] = ct->shared;
		vms_put_le16(buf + at + 46, 0);
		at += 48;
		memcpy(buf + at, ct->used, ct->segs);
		at += ct->segs;
		for (uint32_t i = 0; i < nd; i++, at += 8)
			vms_put_le64(buf + at, ct->dead.bit[i]);
	}
	vms_put_le64(b, p->applied);
	iov = (struct vms_iov){buf, at};
	re.body = b;
	re.body_bytes = sizeof(b);
	re.flags |= VMS_F_PAYLOAD_CRC;
	re.payload = &iov;
	re.npayload = at ? 1 : 0;
	re.payload_bytes = at;
	node_send(n, c->id, &re);
	free(buf);
}

/* ---- segments: read from the disk, checked, sent ---- */

struct seg_out {
	struct dio d;
	vms_conn_id conn;
	struct vms_msg req;
	uint64_t ctr;
	uint32_t seg, end, got; /* HEADS: seg..end - 1, got of them read */
	uint64_t counted;	/* by the pace */
	bool urgent;
	bool heads, footer, body;
	size_t body_bytes;
	unsigned nchunks;
	struct vms_seg sg;
	uint8_t *buf;
};

static void seg_free(struct seg_out *o)
{
	free(o->buf);
	free(o);
}

static void seg_reply(struct vms_node *n, struct seg_out *o, int status, const uint8_t *body,
		      uint32_t body_bytes, const struct vms_iov *iov, unsigned niov)
{
	struct vms_msg re;

	vms_msg_reply_init(&re, &o->req, status);
	re.body = body;
	re.body_bytes = body_bytes;
	re.payload = iov;
	re.npayload = niov;
	for (unsigned i = 0; i < niov; i++)
		re.payload_bytes += iov[i].len;
	re.flags |= VMS_F_PAYLOAD_CRC;
	move_sent(n, o->counted, re.payload_bytes + body_bytes, o->urgent);
	node_send(n, o->conn, &re);
	seg_free(o);
}

static void seg_corrupt(struct vms_node *n, const struct seg_out *o, const char *what)
{
	n->st.corrupt++;
	node_log_place(n, VMS_LOG_ERROR, vms_mix64(o->ctr) + o->seg,
		       "container %09llx: %s of segment %u is damaged; found while a "
		       "copy was made",
		       (unsigned long long)o->ctr, what, o->seg);
}

/* All of the segment has been read. */
static void seg_send(struct vms_node *n, struct seg_out *o)
{
	struct vms_iov iov[1 + VMS_SEG_ENTRIES_MAX];
	uint64_t good = 0, bad = 0;
	struct part *p = node_part(n, o->req.partition);
	struct ctr *c = p ? part_ctr(p, o->ctr) : NULL;
	uint64_t dead = c && o->seg < c->dead.n ? c->dead.bit[o->seg] : 0;
	unsigned k = 0;
	uint8_t b[16];

	iov[k++] = (struct vms_iov){o->buf, VMS_CHUNK_BYTES};
	for (unsigned i = 0; i < o->nchunks; i++) {
		const uint8_t *ch = o->buf + (size_t)(1 + i) * VMS_CHUNK_BYTES;

		if (dead >> i & 1)
			continue;
		if (vms_crc32c(0, ch, VMS_CHUNK_BYTES) != o->sg.e[i].crc &&
		    n->mut != MUT_LN_TRUST) {
			bad |= 1ull << i;
			continue;
		}
		good |= 1ull << i;
		if ((const uint8_t *)iov[k - 1].base + iov[k - 1].len == ch)
			iov[k - 1].len += VMS_CHUNK_BYTES;
		else
			iov[k++] = (struct vms_iov){ch, VMS_CHUNK_BYTES};
	}
	if (bad)
		seg_corrupt(n, o, "a chunk");
	vms_put_le64(b, good);
	vms_put_le64(b + 8, dead);
	seg_reply(n, o, 0, b, sizeof(b), iov, k);
}

static void seg_read(struct vms_node *n, struct seg_out *o, uint64_t off, void *to, size_t len);

static void heads_got(struct vms_node *n, struct seg_out *o, int status)
{
	uint8_t *out = o->buf + VMS_CHUNK_BYTES + 4ul * o->got++;
	struct vms_seg sg;

	vms_put_le32(out, 0);
	if (!status &&
	    !vms_seg_decode(o->buf, o->ctr, (uint32_t)vms_seg_offset(o->seg + o->got - 1), &sg))
		vms_put_le32(out, vms_get_le32(o->buf + VMS_CHUNK_BYTES - 4));
	if (o->seg + o->got < o->end) {
		seg_read(n, o, vms_seg_offset(o->seg + o->got), o->buf, VMS_CHUNK_BYTES);
		return;
	}
	seg_reply(n, o, 0, o->buf + VMS_CHUNK_BYTES, 4 * o->got, NULL, 0);
}

static void seg_got(struct vms_node *n, struct dio *d, int status)
{
	struct seg_out *o = (struct seg_out *)((char *)d - offsetof(struct seg_out, d));
	struct vms_ctr_footer ft;
	struct vms_iov iov;

	if (n->closing || status == VMS_E_STOPPING) {
		seg_free(o);
		return;
	}
	if (o->heads) {
		heads_got(n, o, status);
		return;
	}
	if (o->footer && !o->body) {
		if (status || vms_ctr_footer_decode(o->buf, &ft) || ft.ctr != o->ctr ||
		    ft.list_bytes > (1u << 20)) {
			seg_corrupt(n, o, "the footer");
			seg_reply(n, o, VMS_E_CORRUPT, NULL, 0, NULL, 0);
			return;
		}
		o->body_bytes = ft.list_bytes;
		if (ft.list_bytes) {
			size_t len = vms_ctr_list_blocks(ft.list_bytes) * VMS_CHUNK_BYTES;

			o->buf = realloc(o->buf, VMS_CHUNK_BYTES + len);
			vms_assert(o->buf);
			o->body = true;
			seg_read(n, o, vms_seg_offset(o->seg) + VMS_CHUNK_BYTES,
				 o->buf + VMS_CHUNK_BYTES, len);
			return;
		}
	}
	if (o->footer) {
		if (status || (o->body && (vms_ctr_footer_decode(o->buf, &ft) ||
					   vms_crc32c(0, o->buf + VMS_CHUNK_BYTES, ft.list_bytes) !=
						   ft.list_crc))) {
			seg_corrupt(n, o, "the fingerprint list");
			seg_reply(n, o, VMS_E_CORRUPT, NULL, 0, NULL, 0);
			return;
		}
		iov = (struct vms_iov){o->buf,
				       VMS_CHUNK_BYTES + vms_ctr_list_blocks(o->body_bytes) *
								 VMS_CHUNK_BYTES};
		seg_reply(n, o, 0, NULL, 0, &iov, 1);
		return;
	}
	if (!o->body) {
		if (status ||
		    vms_seg_decode(o->buf, o->ctr, (uint32_t)vms_seg_offset(o->seg), &o->sg)) {
			seg_corrupt(n, o, "the header");
			seg_reply(n, o, VMS_E_CORRUPT, NULL, 0, NULL, 0);
			return;
		}
		o->nchunks = o->sg.n;
		o->body = true;
		seg_read(n, o, vms_seg_offset(o->seg) + VMS_CHUNK_BYTES, o->buf + VMS_CHUNK_BYTES,
			 (size_t)o->nchunks * VMS_CHUNK_BYTES);
		return;
	}
	if (status) {
		seg_corrupt(n, o, "a chunk");
		seg_reply(n, o, VMS_E_CORRUPT, NULL, 0, NULL, 0);
		return;
	}
	seg_send(n, o);
}

static void seg_read(struct vms_node *n, struct seg_out *o, uint64_t off, void *to, size_t len)
{
	int rc = n->disk.ops->ctr_read_now(n->disk.ctx, o->ctr, off, to, len);

	if (rc == VMS_E_AGAIN)
		n->disk.ops->ctr_read(n->disk.ctx, o->ctr, off, to, len, dio_token(n, &o->d));
	else
		seg_got(n, &o->d, rc);
}

/* What sending that segment, or the footer, costs. */
static uint64_t seg_bytes(const struct ctr *c, uint32_t seg)
{
	unsigned n = seg < c->segs && c->used[seg] ? c->used[seg] : VMS_SEG_ENTRIES_MAX;

	return (1ull + n) * VMS_CHUNK_BYTES;
}

/* Also answered by members that do not lead: what the primary has lost they may have. */
static void segs(struct vms_node *n, struct conn *c, struct part *p, const struct vms_msg *m,
		 bool heads, const struct feed *f)
{
	struct seg_out *o;
	struct ctr *ct;
	struct vms_rd r;
	uint64_t number;
	uint64_t counted;
	uint32_t seg, end;
	uint32_t wait;

	vms_rd_init(&r, m->body, m->body_bytes);
	number = vms_rd_u64(&r);
	seg = vms_rd_u32(&r);
	end = vms_rd_u32(&r);
	ct = vms_rd_ok(&r) ? part_ctr(p, number) : NULL;
	if (!ct || (ct->state != 1 && ct->state != 2) || seg > ct->segs ||
	    (heads && (seg >= end || end > ct->segs || end - seg > 1024))) {
		node_reply(n, c->id, m, ct ? VMS_E_PROTO : VMS_E_GONE);
		return;
	}
	counted = heads ? (end - seg) * VMS_CHUNK_BYTES : seg_bytes(ct, seg);
	wait = move_wait(n, counted, is_urgent(n, p, f, m));
	if (wait) {
		struct vms_msg re;

		vms_msg_reply_init(&re, m, VMS_E_BUSY);
		re.aux = wait;
		node_send(n, c->id, &re);
		return;
	}
	o = calloc(1, sizeof(*o));
	vms_assert(o);
	o->d.fn = seg_got;
	o->conn = c->id;
	o->req = *m;
	o->req.body = NULL;
	o->req.payload = NULL;
	o->req.body_bytes = 0;
	o->req.npayload = 0;
	o->req.payload_bytes = 0;
	o->ctr = number;
	o->seg = seg;
	o->end = end;
	o->counted = counted;
	o->urgent = is_urgent(n, p, f, m);
	o->heads = heads;
	o->footer = !heads && seg == ct->segs;
	o->buf = malloc(heads ? VMS_CHUNK_BYTES + 4096
			      : (1 + VMS_SEG_ENTRIES_MAX) * VMS_CHUNK_BYTES);
	vms_assert(o->buf);
	seg_read(n, o, vms_seg_offset(seg), o->buf, VMS_CHUNK_BYTES);
}

/* ---- the end ---- */

static void progress(struct feed *f, const struct vms_msg *m)
{
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	f->phase = vms_rd_u8(&r);
	vms_rd_skip(&r, 7);
	f->done_bytes = vms_rd_u64(&r);
	f->total_bytes = vms_rd_u64(&r);
	f->moved_bytes = vms_rd_u64(&r);
	f->lost_chunks = vms_rd_u64(&r);
}

static void ready(struct vms_node *n, struct part *p, struct feed *f, const struct vms_msg *m)
{
	feed_idle(n, f);
	f->st = LEARN_READY;
	f->hold_ctrs = false;
	f->fails = 0;
	progress(f, m);
	node_log(n, VMS_LOG_INFO, "partition %u: node %u has a complete copy (%llu bytes sent)",
		 p->number, f->node, (unsigned long long)f->moved_bytes);
}

/* What a record of ours merges with is damaged in a member's copy, and nobody gives it the
 * bytes. It has been applied here: that copy can be made again from this one. */
static void unfit(struct vms_node *n, struct conn *c, struct part *p, const struct vms_msg *m)
{
	struct member *mb = p && p->known && p->primary ? part_member(p, c->peer) : NULL;

	if (!mb || mb->learner || mb->differs || m->epoch != p->conf.epoch ||
	    p->applied < m->sequence)
		return;
	mb->differs = true;
	node_log(n, VMS_LOG_ERROR,
		 "partition %u: record %llu cannot be applied to the copy on node %u: it will be "
		 "made again",
		 p->number, (unsigned long long)m->sequence, c->peer->id);
}

void learn_serve_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct feed *f = p ? feed_get(p, c->peer->id) : NULL;
	char why[200];

	if (m->aux == LOP_UNFIT) {
		unfit(n, c, p, m);
		return;
	}
	if (m->aux == LOP_SEG && p && p->known && p->copy_state == COPY_WHOLE &&
	    !(f && f->id == m->sequence)) {
		segs(n, c, p, m, false, NULL);
		return;
	}
	if (!p || !p->primary || !f || f->id != m->sequence || feed_rests(f)) {
		if (m->req_id)
			node_reply(n, c->id, m, VMS_E_GONE);
		return;
	}
	f->heard_ms = n->now_ms;
	f->urgent = m->flags & VMS_F_FUA || outgrown(n, p, f);
	if (!part_serving(p) && m->req_id) {
		node_reply(n, c->id, m, VMS_E_AGAIN); /* a view is being formed */
		return;
	}
	switch (m->aux) {
	case LOP_BEGIN:
		begin(n, c, p, f, m);
		return;
	case LOP_LOG:
		log_part(n, c, p, f, m);
		return;
	case LOP_STREAM:
		stream(n, c, p, f, m);
		return;
	case LOP_PAGES:
		pages(n, c, p, f, m);
		return;
	case LOP_OUTCOMES:
		outcomes(n, c, p, m);
		return;
	case LOP_CTRS:
		ctrs(n, c, p, m);
		return;
	case LOP_HEADS:
	case LOP_SEG:
		segs(n, c, p, m, m->aux == LOP_HEADS, f);
		return;
	case LOP_CHECK: {
		struct vms_msg re;
		uint64_t seq = 0;
		uint8_t b[8];

		f->hold_ctrs = false; /* the base copy is there */
		vms_msg_reply_init(&re, m, digest_order(n, p, &seq));
		vms_put_le64(b, seq);
		re.body = b;
		re.body_bytes = sizeof(b);
		node_send(n, c->id, &re);
		return;
	}
	case LOP_READY:
		ready(n, p, f, m);
		node_reply(n, c->id, m, 0);
		return;
	case LOP_PROGRESS:
		progress(f, m);
		return;
	case LOP_FAILED:
		if (m->status == VMS_E_BUSY) { /* it takes others at present */
			feed_idle(n, f);
			f->st = LEARN_FAILED;
			f->hold_log = UINT64_MAX;
			f->again_ms = n->now_ms + n->tm.tick_ms +
				      vms_rng_below(&n->rng, 2 * n->tm.tick_ms);
			return;
		}
		snprintf(why, sizeof(why), "%.*s", (int)(m->body_bytes < 199 ? m->body_bytes : 199),
			 m->body_bytes ? (const char *)m->body : "");
		feed_failed(n, p, f, why);
		return;
	default:
		node_reply(n, c->id, m, VMS_E_UNSUPPORTED);
		return;
	}
}
