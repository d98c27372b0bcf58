// SPDX-License-Identifier: GPL-2.0-only
/*
 * Comparing replicas. A DIGEST record has its place in the partition's sequence;
 * each replica whose apply lane reaches it sums up its pages and containers as they
 * are then, a few at a time, and tells the primary, which compares with its own sum.
 * Both change only in the lane, so equal replicas have equal sums, whatever is
 * ordered behind. What runs ahead of the lane (positions, numbers, outcomes) only
 * grows: the record carries what the primary had, and a replica says whether it has
 * at least that.
 *
 * A record that was in the log when this process started, or lies below the end of
 * the base copy it learnt, is passed over: the index may have been ahead of it. So are all
 * while a copy is made, but the one it asks for: learn_compares().
 *
 * Keeps invariants 1, 4 (rules A1, B5, C5).
 */
#include "backend/digest.h"

#include <stdlib.h>
#include <string.h>

#include "backend/apply.h"
#include "backend/learn.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/outcome.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/repair.h"
#include "backend/rpc.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define STEP_PAGES   256u
#define KEPT	     4u
#define SAMPLE	     64u
#define SAMPLE_BYTES 24u
#define META_HEAD    24u

struct digest {
	bool running; /* the lane stands at seq */
	bool more;
	bool busy; /* counted in n->digests */
	uint64_t seq;
	struct vms_page_key resume;
	unsigned pages;
	struct digest_sum sum;
	/* own results, newest first */
	struct {
		uint64_t seq;
		struct digest_sum sum;
	} kept[KEPT];
	uint64_t ordered; /* primary: the last one */
	/* told by this replica to the primary */
	uint64_t telling, told, ask_ms;
	int answer; /* of `told`: 0 equal, CORRUPT differs, AGAIN not known yet */
};

static struct digest *get(struct part *p)
{
	if (!p->digest) {
		p->digest = calloc(1, sizeof(*p->digest));
		vms_assert(p->digest);
	}
	return p->digest;
}

static void busy(struct vms_node *n, struct digest *d)
{
	bool now = d->running || d->telling;

	n->digests += (unsigned)now - (unsigned)d->busy;
	d->busy = now;
}

bool digest_under_way(const struct part *p)
{
	return p->digest && (p->digest->running || p->digest->telling);
}

void digest_close(struct vms_node *n, struct part *p)
{
	if (p->digest && p->digest->busy)
		n->digests--;
	free(p->digest);
	p->digest = NULL;
}

static uint64_t hash(const void *data, size_t bytes)
{
	return vms_mix64((uint64_t)vms_crc32c(0x9e3779b9u, data, bytes) << 32 |
			 vms_crc32c(0, data, bytes));
}

/* ---- the record ---- */

int digest_order(struct vms_node *n, struct part *p, uint64_t *seq)
{
	struct vms_rec r = {.type = VMS_REC_DIGEST, .flags = VMS_RF_INTERNAL};
	struct digest *d = get(p);
	uint8_t meta[META_HEAD + SAMPLE * SAMPLE_BYTES];
	uint64_t young = 10ull * n->tm.t_op_ms;
	uint32_t k = 0;
	int rc;

	if (!part_serving(p))
		return VMS_E_AGAIN;
	if (d->ordered > p->committed) {
		*seq = d->ordered;
		return 0;
	}
	vms_put_le64(meta + 8, p->ceiling_ordered);
	vms_put_le64(meta + 16, p->gc_cycle);
	/* outcomes that nobody may have forgotten yet, from the oldest on; what was read at
	 * the start, or came with a copy, may be older than it looks */
	for (struct vms_outcome *o = n->outcomes.oldest; o && k < SAMPLE; o = o->newer) {
		uint8_t *b = meta + META_HEAD + (size_t)k * SAMPLE_BYTES;

		if (o->partition != p->number || o->pending || n->now_ms - o->time_ms > young ||
		    o->time_ms <= n->start_ms || o->log_pos <= LEARN_OUTCOME_POS)
			continue;
		vms_put_le32(b, o->op.gateway);
		vms_put_le32(b + 4, o->op.slot);
		vms_put_le64(b + 8, o->op.incarnation);
		vms_put_le64(b + 16, o->op.sequence);
		k++;
	}
	vms_put_le32(meta, k);
	vms_put_le32(meta + 4, 0);
	r.meta = meta;
	r.meta_bytes = META_HEAD + k * SAMPLE_BYTES;
	rc = part_order(n, p, &r, NULL, 0);
	if (rc)
		return VMS_E_AGAIN;
	d->ordered = *seq = p->seq_last;
	return 0;
}

/* ---- summing up ---- */

static int sum_page(void *arg, const struct vms_page *pg)
{
	struct digest *d = arg;
	uint64_t key[3] = {pg->key.branch, pg->key.snap_gen, pg->key.subext};

	if (d->pages++ == STEP_PAGES) {
		d->resume = pg->key;
		d->more = true;
		return 1;
	}
	d->sum.pages += vms_mix64(hash(key, sizeof(key)) ^ hash(pg->entry, sizeof(pg->entry)));
	d->sum.npages++;
	return 0;
}

static void sum_ctrs(struct part *p, struct digest_sum *s)
{
	VMS_VEC_FOREACH (&p->ctrs, c) {
		uint64_t v[6] = {c->number,
				 c->epoch,
				 c->incarnation,
				 c->state | c->shared << 8,
				 (uint64_t)c->segs << 32 | c->chunks,
				 0};
		uint64_t h;

		if (c->state != 1 && c->state != 2)
			continue;
		for (uint32_t i = 0; i < c->dead.n; i++)
			if (c->dead.bit[i])
				v[5] += vms_mix64(c->dead.bit[i] ^ vms_mix64(i + 1ull));
		h = hash(v, sizeof(v)) ^ (c->segs ? hash(c->used, c->segs) : 0);
		s->ctrs += vms_mix64(h);
		s->nctrs++;
	}
}

/* Does this replica have at least what the primary had? */
static void sum_rest(struct vms_node *n, struct part *p, const struct vms_rec *r,
		     struct digest_sum *s)
{
	uint32_t k = r->meta_bytes >= META_HEAD ? vms_get_le32(r->meta) : 0;

	/* a restarted primary hands out positions from the ceiling on, without a record */
	s->pos = r->meta_bytes < META_HEAD || p->ceiling_ordered < vms_get_le64(r->meta + 8) ||
		 p->gc_cycle < vms_get_le64(r->meta + 16);
	for (uint32_t i = 0; i < k && META_HEAD + (i + 1) * SAMPLE_BYTES <= r->meta_bytes; i++) {
		const uint8_t *b = r->meta + META_HEAD + (size_t)i * SAMPLE_BYTES;
		struct vms_opid op = {.gateway = vms_get_le32(b),
				      .slot = vms_get_le32(b + 4),
				      .incarnation = vms_get_le64(b + 8)};
		struct vms_outcome *o = vms_outcome_find(&n->outcomes, p->number, &op);

		s->outcomes += !o || o->op.sequence < vms_get_le64(b + 16);
	}
}

static bool step(struct vms_node *n, struct part *p, struct digest *d)
{
	int rc;

	d->pages = 0;
	d->more = false;
	rc = vms_pages_each(n->pages, p->number,
			    d->resume.partition == p->number ? &d->resume : NULL, sum_page, d);
	if (rc < 0 && repair_page_waits(n, p->number)) {
		/* from the beginning, when it has been repaired */
		memset(&d->resume, 0xff, sizeof(d->resume));
		d->sum.pages = d->sum.npages = 0;
		node_wake_at(n, n->now_ms + n->tm.tick_ms / 4);
		return false;
	}
	if (rc < 0) {
		/* its own sum is then no other's */
		d->sum.pages ^= vms_mix64(n->id + 1);
		n->st.corrupt++;
		node_log(n, VMS_LOG_ERROR, "partition %u: an index page is damaged (%s)", p->number,
			 vms_err_text(rc));
		d->more = false;
	}
	if (d->more) {
		node_wake_at(n, n->now_ms + gc_pace_ms(n) - 1);
		return false;
	}
	sum_ctrs(p, &d->sum);
	memmove(&d->kept[1], &d->kept[0], sizeof(d->kept[0]) * (KEPT - 1));
	d->kept[0].seq = d->seq;
	d->kept[0].sum = d->sum;
	d->running = false;
	p->applied = d->seq;
	n->st.digests++;
	if (!p->primary && p->repl_conn) {
		d->telling = d->seq;
		d->ask_ms = n->now_ms;
		d->answer = VMS_E_AGAIN;
		node_wake_at(n, n->now_ms);
	}
	return true;
}

bool digest_apply(struct vms_node *n, struct part *p, uint64_t seq)
{
	struct digest *d = get(p);
	struct prec *pr = part_rec(p, seq);
	struct vms_rec r;
	bool rc;

	if (d->running)
		return true;
	if (seq <= p->digest_after || !pr || !learn_compares(n, p, seq) ||
	    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0)
		return false;
	d->running = true;
	busy(n, d);
	d->seq = seq;
	memset(&d->resume, 0xff, sizeof(d->resume));
	memset(&d->sum, 0, sizeof(d->sum));
	sum_rest(n, p, &r, &d->sum);
	rc = !step(n, p, d);
	busy(n, d);
	return rc;
}

/* ---- telling the primary ---- */

struct tell {
	uint32_t part;
	uint64_t seq;
};

static void told(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct tell *t = arg;
	struct part *p = node_part(n, t->part);
	struct digest *d = p ? p->digest : NULL;
	int status = re ? re->status : VMS_E_AGAIN;

	if (d && d->telling == t->seq) {
		d->ask_ms = n->now_ms + n->tm.tick_ms / 4;
		if (status != VMS_E_AGAIN) {
			d->told = t->seq;
			d->telling = 0;
			d->answer = status == VMS_E_CORRUPT ? VMS_E_CORRUPT
				    : status		    ? VMS_E_GONE
							    : 0;
			if (d->answer == VMS_E_CORRUPT) {
				n->st.digest_bad++;
				p->differs = true;
				node_log(n, VMS_LOG_ERROR,
					 "partition %u: this copy differs from the primary's: it "
					 "has "
					 "to be made again",
					 p->number);
			}
			learn_digest(n, p, d->told, d->answer);
		}
		node_wake_at(n, d->ask_ms);
	}
	free(t);
}

static void tell(struct vms_node *n, struct part *p, struct digest *d)
{
	struct vms_msg m = {.type = VMS_MSG_DIGEST, .partition = p->number};
	struct digest_sum s = {0};
	struct tell *t;
	uint8_t b[48];

	for (unsigned i = 0; i < KEPT; i++)
		if (d->kept[i].seq == d->telling)
			s = d->kept[i].sum;
	vms_put_le64(b, s.pages);
	vms_put_le64(b + 8, s.ctrs);
	vms_put_le64(b + 16, s.outcomes);
	vms_put_le64(b + 24, s.pos);
	vms_put_le64(b + 32, s.npages);
	vms_put_le64(b + 40, s.nctrs);
	m.epoch = p->epoch;
	m.sequence = d->telling;
	m.body = b;
	m.body_bytes = sizeof(b);
	t = malloc(sizeof(*t));
	vms_assert(t);
	*t = (struct tell){p->number, d->telling};
	d->ask_ms = n->now_ms + n->tm.lease_ms;
	if (!rpc_send(n, node_peer(n, p->conf.primary, false), &m, n->tm.lease_ms, told, t)) {
		d->telling = 0; /* its primary is gone, or this copy is not fed any more */
		free(t);
	}
}

/* All partitions that are led here, one after the other, once in scrub_days. */
static void round_go(struct vms_node *n)
{
	uint64_t every = n->cluster.scrub_days * 86400000ull / n->nparts, seq;
	struct part *p;

	if (!every || n->now_ms < n->digest_ms)
		return;
	if (n->digest_ms) {
		p = n->part[n->digest_next++ % n->nparts];
		if (part_serving(p) && p->nm > 1 && part_members_ready(p))
			(void)digest_order(n, p, &seq);
	}
	n->digest_ms = n->now_ms + every;
}

void digest_timer(struct vms_node *n)
{
	round_go(n);
	for (uint32_t i = 0; i < n->nparts && n->digests; i++) {
		struct part *p = n->part[i];
		struct digest *d = p ? p->digest : NULL;

		if (!d || !d->busy)
			continue;
		if (d->running && step(n, p, d))
			apply_run(n, p);
		if (d->telling && n->now_ms >= d->ask_ms)
			tell(n, p, d);
		busy(n, d);
	}
}

void digest_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct member *mb = p && p->known && p->primary ? part_member(p, c->peer) : NULL;
	struct digest *d = p ? p->digest : NULL;
	const struct digest_sum *own = NULL;
	struct digest_sum s;
	struct vms_rd r;
	bool equal;

	vms_rd_init(&r, m->body, m->body_bytes);
	s.pages = vms_rd_u64(&r);
	s.ctrs = vms_rd_u64(&r);
	s.outcomes = vms_rd_u64(&r);
	s.pos = vms_rd_u64(&r);
	s.npages = vms_rd_u64(&r);
	s.nctrs = vms_rd_u64(&r);
	if (!mb || !d || !vms_rd_ok(&r)) {
		node_reply(n, c->id, m, VMS_E_GONE);
		return;
	}
	for (unsigned i = 0; i < KEPT; i++)
		if (d->kept[i].seq == m->sequence)
			own = &d->kept[i].sum;
	if (!own) {
		node_reply(n, c->id, m,
			   d->kept[0].seq < m->sequence && d->ordered >= m->sequence ? VMS_E_AGAIN
										     : VMS_E_GONE);
		return;
	}
	equal = (s.pages == own->pages && s.ctrs == own->ctrs && !s.outcomes && !s.pos) ||
		n->mut == MUT_LN_DIGEST;
	if (!equal) {
		n->st.digest_bad++;
		mb->differs = true;
		node_log(n, VMS_LOG_ERROR,
			 "partition %u: the copy on node %u differs at %llu (pages %s, containers "
			 "%s, "
			 "outcomes missing %llu, positions %s): it will be made again",
			 p->number, c->peer->id, (unsigned long long)m->sequence,
			 s.pages == own->pages ? "equal" : "differ",
			 s.ctrs == own->ctrs ? "equal" : "differ", (unsigned long long)s.outcomes,
			 s.pos ? "too low" : "right");
	} else {
		mb->differs = false;
	}
	node_reply(n, c->id, m, equal ? 0 : VMS_E_CORRUPT);
}
