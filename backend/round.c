// SPDX-License-Identifier: GPL-2.0-only
/*
 * Collection of containers that several partitions refer to: mark and sweep over the
 * whole cluster, in numbered rounds ("cycles").
 *
 * The number lies in the catalog; the lowest live node raises it by compare when the
 * nodes report enough garbage. Every node then does two things for the partitions it
 * leads:
 *
 * - mark: each partition orders MARK k (durable before anything is marked). From then
 *   on it orders no reference to another partition that was confirmed with a stamp
 *   below k. It walks its pages, and adds what is ordered and not applied, addresses
 *   that gateways may still be given (stubs), and every address removed while it walks.
 *   What it finds goes to the primaries of those addresses, as a set of places per
 *   segment. When all of that has arrived, and what was removed before the walk is
 *   durable on all members (else a replay could need it), the partition counts as
 *   complete in its epoch.
 * - sweep: when all partitions of the cluster are complete, in the epochs they are in
 *   now, a partition frees what is unmarked in its shared containers that were sealed
 *   and shared before its own walk and have not been confirmed to anyone since it
 *   ordered MARK k (the container's stamp is below k).
 *
 * Why this is enough: a reference ordered before MARK k of its partition is in the
 * marks; one ordered later was confirmed with stamp k or more, so the container has
 * that stamp and is left alone. Stamps lie in memory: a partition whose epoch changes
 * sweeps only in a cycle begun afterwards. One silent partition means no sweep at all.
 *
 * A container without any mark dies as a whole (SWEEP). Unmarked runs of at least
 * 64 KiB die by PUNCH, which is applied by all members; the disk's space goes back
 * when the checkpoint that holds it is durable.
 *
 * Owner: the node thread. Keeps invariants 20, 21, 23 (rules B2, B3, B5).
 */
#include "backend/round.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/empty.h"
#include "backend/htab.h"
#include "backend/learn_serve.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/rpc.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PAGES_PER_STEP	   128u
#define TABLE_MAX	   32768u /* segments marked and not sent yet */
#define FRAME_SEGS	   8192u
#define FRAME_BYTES	   16u /* of one segment: u64 address of its header, u64 places */
#define QUEUE_PAUSE	   8u  /* frames to one node before the walk waits */
#define OUT_MAX		   4u
#define PUNCH_BLOCKS	   16u			      /* 64 KiB */
#define FORGET_ROUND_MS(n) (480ull * (n)->tm.tick_ms) /* 2 min: begin anew */

struct seg_mark {
	struct vms_hlink link; /* key: address of the segment's header */
	uint64_t mask;
	struct seg_mark *next;
};

struct frame {
	struct frame *next;
	struct dest *dest;
	uint64_t cycle;
	uint8_t aux; /* 0: marks, 1: partitions that are complete */
	uint32_t bytes;
	uint8_t body[];
};

/* Another node that leads partitions. */
struct dest {
	struct vms_node *n;
	struct peer *peer;
	uint64_t incarnation; /* when the cycle began; a new process sweeps nothing in it */
	bool skip;
	struct frame *head, *tail;
	unsigned queued, out;
	uint64_t retry_ms;
};

/* What another node reports about itself. */
struct report {
	uint32_t node;
	uint64_t done;	 /* cycle in which all it leads is swept, or will not be */
	uint64_t want;	 /* bytes that a round might free */
	uint64_t shared; /* containers that rounds are about */
};

enum walk { W_NONE, W_MARK, W_WALK };

struct round {
	uint64_t cycle, rev;
	bool known, busy; /* the catalog has been read; is being asked */
	uint64_t watch, retry_ms;
	uint64_t since_ms, next_ms; /* coordinator: when this cycle was seen, the next may begin */
	bool over;		    /* coordinator: the end has been noticed */
	uint64_t report_ms;
	VMS_VEC(struct report) reports;
	/* marking */
	struct part *p;
	enum walk walk;
	uint64_t mark_seq, step_ms;
	bool more, damaged;
	struct vms_page_key resume;
	unsigned pages;
	struct vms_htab table;
	struct seg_mark *marks;
	unsigned nmarks;
	VMS_VEC(struct dest *) dests;
	/* what has arrived: per partition of the cluster */
	struct {
		uint64_t cycle, epoch;
	} * src;
	uint32_t missing;
	/* sweeping */
	uint64_t done;
	uint32_t at;
	uint64_t ctr_at; /* number of the next container */
};

/* ---- marks ---- */

static void flush(struct vms_node *n, struct round *rd);

static void mark_own(struct vms_node *n, vms_addr header, uint64_t mask)
{
	struct part *q = node_part(n, vms_addr_partition(header, n->conf.part_bits));
	struct ctr *c = q && q->primary ? part_ctr(q, vms_addr_container(header)) : NULL;

	if (!c || !c->shared)
		return;
	for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++)
		if (mask >> i & 1)
			places_set(&c->rmark, header + (i + 1ull) * VMS_CHUNK_BYTES);
}

static bool own_primary(const struct vms_node *n, uint32_t q)
{
	return n->pconf[q].primary == n->id;
}

void round_mark(struct vms_node *n, vms_addr a)
{
	struct round *rd = n->round;
	uint32_t off = vms_addr_offset_bytes(a), q = vms_addr_partition(a, n->conf.part_bits);
	vms_addr header = vms_addr_make(vms_addr_container(a), vms_seg_header_offset(off));
	unsigned i = vms_seg_index(off);
	struct vms_hlink *l;
	struct seg_mark *s;

	if (a <= VMS_ADDR_LOST || vms_addr_is_log(a, n->conf.part_bits) || i >= VMS_SEG_ENTRIES_MAX)
		return;
	if (own_primary(n, q)) {
		mark_own(n, header, 1ull << i);
		return;
	}
	l = vms_htab_find(&rd->table, header);
	if (l) {
		vms_hlink_entry(l, struct seg_mark, link)->mask |= 1ull << i;
		return;
	}
	s = malloc(sizeof(*s));
	vms_assert(s);
	s->mask = 1ull << i;
	s->next = rd->marks;
	rd->marks = s;
	rd->nmarks++;
	vms_htab_add(&rd->table, &s->link, header);
	if (rd->nmarks >= TABLE_MAX)
		flush(n, rd);
}

static void table_clear(struct round *rd)
{
	while (rd->marks) {
		struct seg_mark *s = rd->marks;

		rd->marks = s->next;
		free(s);
	}
	rd->nmarks = 0;
	vms_htab_free(&rd->table);
	vms_htab_init(&rd->table, 1024);
}

/* ---- to the other nodes ---- */

static void dest_clear(struct dest *d)
{
	while (d->head) {
		struct frame *f = d->head;

		d->head = f->next;
		free(f);
	}
	d->tail = NULL;
	d->queued = 0;
}

static void dest_push(struct dest *d, struct frame *f, bool front)
{
	f->dest = d;
	f->next = front ? d->head : NULL;
	if (front) {
		d->head = f;
		if (!d->tail)
			d->tail = f;
	} else {
		if (d->tail)
			d->tail->next = f;
		else
			d->head = f;
		d->tail = f;
	}
	d->queued++;
}

static struct dest *dest_of(struct round *rd, uint32_t node)
{
	VMS_VEC_FOREACH (&rd->dests, d)
		if ((*d)->peer->id == node)
			return *d;
	return NULL;
}

static struct frame *frame_new(const struct round *rd, uint8_t aux, uint32_t bytes)
{
	struct frame *f = calloc(1, sizeof(*f) + bytes);

	vms_assert(f);
	f->cycle = rd->cycle;
	f->aux = aux;
	f->bytes = bytes;
	return f;
}

/* All marks in the table become frames. */
static void flush(struct vms_node *n, struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, dp) {
		struct dest *d = *dp;
		struct frame *f = NULL;
		uint32_t room = rd->nmarks < FRAME_SEGS ? rd->nmarks : FRAME_SEGS;

		for (struct seg_mark *s = d->skip ? NULL : rd->marks; s; s = s->next) {
			uint32_t q = vms_addr_partition(s->link.key, n->conf.part_bits);

			if (n->pconf[q].primary != d->peer->id)
				continue;
			if (!f)
				f = frame_new(rd, 0, room * FRAME_BYTES);
			if (f->dest == NULL) {
				f->dest = d;
				f->bytes = 0;
			}
			vms_put_le64(f->body + f->bytes, s->link.key);
			vms_put_le64(f->body + f->bytes + 8, s->mask);
			f->bytes += FRAME_BYTES;
			if (f->bytes == room * FRAME_BYTES) {
				dest_push(d, f, false);
				f = NULL;
			}
		}
		if (f)
			dest_push(d, f, false);
	}
	table_clear(rd);
}

static void frame_done(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct frame *f = arg;
	struct dest *d = f->dest;

	d->out--;
	if (n->closing || f->cycle != n->round->cycle || d->skip ||
	    (re && (re->status == 0 || re->status == VMS_E_GONE))) {
		free(f);
		return;
	}
	/* lost, or it does not know of the cycle yet */
	dest_push(d, f, true);
	d->retry_ms = n->now_ms + n->tm.tick_ms / 4 + 1;
	node_wake_at(n, d->retry_ms);
}

static bool leads(const struct vms_node *n, uint32_t node)
{
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->pconf[i].primary == node)
			return true;
	return false;
}

static void dests_go(struct vms_node *n, struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, dp) {
		struct dest *d = *dp;

		if (d->peer->incarnation != d->incarnation && d->peer->conn && !d->skip) {
			/* a new process: its partitions sweep nothing in this cycle */
			d->skip = d->incarnation != 0 && n->mut != MUT_RD_EPOCH_Q;
			d->incarnation = d->peer->incarnation;
			if (d->skip)
				dest_clear(d);
		}
		/* One that is gone, and what it led with it. Who leads that now sweeps nothing
		 * in this cycle; nor does this one, should it come back: it lacks our word. */
		if (d->head && !d->skip && !d->peer->conn && n->now_ms >= d->retry_ms) {
			d->skip = !leads(n, d->peer->id) && n->mut != MUT_RD_GONE_NODE;
			d->retry_ms = n->now_ms + n->tm.tick_ms;
			if (d->skip)
				dest_clear(d);
			else
				node_wake_at(n, d->retry_ms);
		}
		while (d->head && d->out < OUT_MAX && d->peer->conn && n->now_ms >= d->retry_ms) {
			struct frame *f = d->head;
			struct vms_msg m = {.type = VMS_MSG_MARK,
					    .partition = VMS_PART_NONE,
					    .sequence = f->cycle,
					    .aux = f->aux,
					    .body = f->body,
					    .body_bytes = f->bytes};

			d->head = f->next;
			if (!d->head)
				d->tail = NULL;
			d->queued--;
			d->out++;
			if (!rpc_send(n, d->peer, &m, 4ull * n->tm.lease_ms, frame_done, f)) {
				d->out--;
				dest_push(d, f, true);
				d->retry_ms = n->now_ms + n->tm.tick_ms;
				break;
			}
			n->st.mark_frames++;
		}
	}
}

static bool dests_idle(const struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, d)
		if (!(*d)->skip && ((*d)->queued || (*d)->out))
			return false;
	return true;
}

static bool dests_full(const struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, d)
		if ((*d)->queued > QUEUE_PAUSE)
			return true;
	return false;
}

/* ---- marking ---- */

/* What pages do not show, or not any more. */
static void roots(struct vms_node *n, struct part *p)
{
	for (uint64_t s = p->applied + 1; s <= p->seq_last; s++) {
		struct vms_move m[VMS_SEG_ENTRIES_MAX];
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;
		int k;

		if (!pr || (pr->type != VMS_REC_DRAIN && pr->type != VMS_REC_REMAP) ||
		    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0)
			continue;
		k = vms_rec_moves_decode(&r, m, VMS_SEG_ENTRIES_MAX);
		for (int i = 0; i < k; i++)
			if (m[i].flags & VMS_MOVE_REF)
				round_mark(n, m[i].to);
	}
	for (size_t i = p->stubs_head; i < p->stubs.n; i++) {
		struct stub_ref *r = &p->stubs.d[i];
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r->branch,
							r->extent, r->snap_gen, false);
		struct vms_ovl_chunk *c = e ? vms_ovl_chunk_get(&n->ovl, e, r->chunk, false) : NULL;

		if (!c || !c->stub)
			continue;
		round_mark(n, c->stub_handed);
		round_mark(n, c->stub_to);
		/* when its time is over the old address is garbage */
		p->rd_gone += !vms_addr_is_log(c->stub_handed, n->conf.part_bits);
	}
}

static int walk_page(void *arg, const struct vms_page *pg)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	if (rd->pages++ == PAGES_PER_STEP) {
		rd->resume = pg->key;
		rd->more = true;
		return 1;
	}
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		if (pg->entry[i] != VMS_ADDR_HOLE)
			round_mark(n, pg->entry[i]);
	return 0;
}

static void walk_stop(struct round *rd)
{
	if (rd->p)
		rd->p->rd_walking = false;
	rd->p = NULL;
	rd->walk = W_NONE;
}

static bool walked(const struct round *rd, const struct part *p)
{
	return p->rd_cycle == rd->cycle && p->rd_epoch == p->conf.epoch;
}

static bool may_walk(const struct part *p)
{
	return part_serving(p) && part_members_ready(p);
}

static void walk_begin(struct vms_node *n, struct round *rd, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_MARK, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8];

	rd->mark_seq = 0;
	if (p->gc_cycle < rd->cycle) {
		vms_put_le64(meta, rd->cycle);
		r.meta = meta;
		r.meta_bytes = sizeof(meta);
		if (part_order(n, p, &r, NULL, 0)) {
			rd->step_ms = n->now_ms + n->tm.tick_ms;
			return;
		}
		rd->mark_seq = r.seq;
		n->st.marks++;
	}
	rd->p = p;
	rd->walk = W_MARK;
	p->rd_epoch = p->conf.epoch;
}

static void walk_step(struct vms_node *n, struct round *rd)
{
	struct part *p = rd->p;
	int rc;

	if (!may_walk(p) || p->rd_epoch != p->conf.epoch) {
		walk_stop(rd); /* once more, from the start, in the new epoch */
		return;
	}
	if (rd->walk == W_MARK) {
		if (p->committed < rd->mark_seq)
			return;
		rd->walk = W_WALK;
		memset(&rd->resume, 0, sizeof(rd->resume));
		rd->resume.partition = p->number;
		p->rd_walking = n->mut != MUT_RD_REMOVED;
		p->rd_safe = p->drain_applied;
		/* What this round may still hold for live: what went since its first walk here.
		 * This is the first when it has ordered MARK, also after a change of the lead. */
		if (rd->mark_seq || n->mut == MUT_RD_TWICE) {
			p->rd_gone = 0;
			p->rd_unsure = false;
		}
		VMS_VEC_FOREACH (&p->ctrs, c) {
			c->rmarked = c->shared && (c->state == 2 || n->mut == MUT_RD_OPEN);
			c->rmark_gone = false;
		}
		roots(n, p);
	}
	if (dests_full(rd))
		return;
	rd->pages = 0;
	rd->more = false;
	rc = vms_pages_each(n->pages, p->number, &rd->resume, walk_page, n);
	n->st.pages_marked += rd->pages;
	if (rc < 0) {
		if (!rd->damaged)
			node_log(n, VMS_LOG_ERROR,
				 "partition %u: an index page is damaged, nothing "
				 "is collected in the cluster until it is repaired",
				 p->number);
		rd->damaged = true;
		rd->step_ms = n->now_ms + 40ull * n->tm.tick_ms;
		walk_stop(rd);
		return;
	}
	if (rd->more)
		return;
	p->rd_cycle = rd->cycle;
	p->rd_sent = false;
	walk_stop(rd);
}

/* Partitions whose marks have all arrived. */
static void complete(struct vms_node *n, struct round *rd)
{
	uint32_t count = 0;
	uint8_t *body;

	if (rd->nmarks)
		flush(n, rd);
	if (!dests_idle(rd)) {
		dests_go(n, rd);
		return;
	}
	body = malloc(16ull * n->nparts);
	vms_assert(body);
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || !p->primary || p->rd_sent || !walked(rd, p))
			continue;
		if (p->safe_seq < p->rd_safe && n->mut != MUT_RD_UNSAFE) {
			n->hungry = true;
			continue;
		}
		p->rd_sent = true;
		rd->src[i].cycle = rd->cycle;
		rd->src[i].epoch = p->conf.epoch;
		vms_put_le32(body + 16 * count, i);
		vms_put_le32(body + 16 * count + 4, 0);
		vms_put_le64(body + 16 * count + 8, p->conf.epoch);
		count++;
	}
	for (uint32_t at = 0; at < count; at += FRAME_SEGS) {
		uint32_t k = count - at < FRAME_SEGS ? count - at : FRAME_SEGS;

		VMS_VEC_FOREACH (&rd->dests, d) {
			struct frame *f;

			if ((*d)->skip)
				continue;
			f = frame_new(rd, 1, 16 * k);
			memcpy(f->body, body + 16 * at, 16ull * k);
			dest_push(*d, f, false);
		}
	}
	free(body);
	dests_go(n, rd);
}

static void mark_step(struct vms_node *n, struct round *rd)
{
	bool all = true;

	dests_go(n, rd);
	if (n->now_ms < rd->step_ms) {
		node_wake_at(n, rd->step_ms);
		return;
	}
	rd->step_ms = n->now_ms + gc_pace_ms(n);
	if (!rd->p)
		for (uint32_t i = 0; i < n->nparts && !rd->p; i++) {
			struct part *p = n->part[i];

			if (!p || !p->known || !p->primary || walked(rd, p))
				continue;
			if (may_walk(p) && !n->stopping)
				walk_begin(n, rd, p);
			all = false;
		}
	if (rd->p) {
		walk_step(n, rd);
		node_wake_at(n, rd->step_ms);
		return;
	}
	for (uint32_t i = 0; i < n->nparts && all; i++)
		all = !n->part[i] || !n->part[i]->primary || n->part[i]->rd_sent;
	if (!all || rd->nmarks || !dests_idle(rd)) {
		complete(n, rd);
		node_wake_at(n, n->now_ms + n->tm.tick_ms / 16 + 1);
	}
}

void round_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct round *rd = n->round;
	int rc = 0;

	if (!rd || !rd->known || m->sequence > rd->cycle)
		rc = VMS_E_AGAIN; /* the own watch tells soon */
	else if (m->sequence < rd->cycle)
		rc = VMS_E_GONE;
	else if (m->body_bytes % 16)
		rc = VMS_E_PROTO;
	for (uint32_t at = 0; !rc && at < m->body_bytes; at += 16) {
		uint64_t head = vms_get_le64(m->body + at);
		uint32_t i = (uint32_t)head;

		if (m->aux == 0) {
			mark_own(n, head, vms_get_le64(m->body + at + 8));
		} else if (i < n->nparts && n->pconf[i].primary == c->peer->id) {
			rd->src[i].cycle = rd->cycle;
			rd->src[i].epoch = vms_get_le64(m->body + at + 8);
		}
	}
	node_reply(n, c->id, m, rc);
}

/* ---- sweeping ---- */

/* All partitions of the cluster, in the epochs they are in as far as is known here. */
static bool part_complete(struct vms_node *n, const struct round *rd, uint32_t i)
{
	if (n->mut == MUT_RD_PARTIAL && !own_primary(n, i) && !node_primary_conn(n, i))
		return true;
	return rd->src[i].cycle == rd->cycle &&
	       (rd->src[i].epoch == n->pconf[i].epoch || n->mut == MUT_RD_EPOCH_P);
}

static bool marks_complete(struct vms_node *n, struct round *rd)
{
	if (!part_complete(n, rd, rd->missing)) /* most likely it still is */
		return false;
	for (uint32_t i = 0; i < n->nparts; i++)
		if (!part_complete(n, rd, i)) {
			rd->missing = i;
			return false;
		}
	return true;
}

static bool may_sweep(const struct vms_node *n, const struct round *rd, const struct part *p)
{
	if (n->mut == MUT_RD_EPOCH_Q)
		return may_walk(p);
	return p->sweep_cycle == rd->cycle && p->sweep_epoch == p->conf.epoch && may_walk(p);
}

static bool eligible(const struct vms_node *n, const struct round *rd, const struct ctr *c)
{
	return c->rmarked && c->shared && c->state == 2 && !c->sweeping && !c->punching &&
	       !c->refs_ordered && (c->stamp < rd->cycle || n->mut == MUT_RD_STAMP);
}

static uint64_t used_places(const struct ctr *c, uint32_t seg)
{
	unsigned n = c->used[seg] ? c->used[seg] : VMS_SEG_ENTRIES_MAX;

	return n >= VMS_SEG_ENTRIES_MAX ? UINT64_MAX : (1ull << n) - 1;
}

/* Unmarked runs worth a punch: 64 KiB of chunks that take space. Returns the chunks
 * that die newly. A segment's header goes with its last chunk. */
static unsigned runs(const struct ctr *c, uint64_t *die)
{
	unsigned run = 0, fresh = 0;
	uint32_t from = 0, end = c->segs * 65;

	memset(die, 0, c->segs * sizeof(*die));
	for (uint32_t b = 0; b <= end; b++) {
		uint32_t seg = b / 65;
		uint64_t live = b < end && seg < c->rmark.n ? c->rmark.bit[seg] : 0;
		bool keep = b == end || (b % 65 == 0 ? live != 0 : live >> (b % 65 - 1) & 1);

		if (!keep) {
			run += b % 65 && (used_places(c, seg) >> (b % 65 - 1) & 1);
			continue;
		}
		if (run >= PUNCH_BLOCKS)
			for (uint32_t x = from; x < b; x++)
				if (x % 65)
					die[x / 65] |= 1ull << (x % 65 - 1);
		run = 0;
		from = b + 1;
	}
	for (uint32_t s = 0; s < c->segs; s++) {
		die[s] &= used_places(c, s);
		if (s < c->dead.n)
			die[s] &= ~c->dead.bit[s];
		fresh += (unsigned)__builtin_popcountll(die[s]);
	}
	return fresh;
}

static int punch_order(struct vms_node *n, struct part *p, struct ctr *c, const uint64_t *die)
{
	struct vms_rec r = {.type = VMS_REC_PUNCH, .flags = VMS_RF_INTERNAL};
	struct vms_punch *d = malloc((c->segs + 1) * sizeof(*d));
	uint8_t *meta = malloc(16 + (size_t)c->segs * VMS_PUNCH_BYTES);
	unsigned k = 0;
	int rc;

	vms_assert(d && meta);
	for (uint32_t i = 0; i < c->segs; i++)
		if (die[i])
			d[k++] = (struct vms_punch){i, die[i]};
	vms_rec_punch_put(&r, meta, c->number, d, k);
	rc = part_order(n, p, &r, NULL, 0);
	free(d);
	free(meta);
	return rc;
}

/* Some containers of the partition; true: all done. */
static bool sweep_step(struct vms_node *n, struct round *rd, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_SWEEP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8 * 64];
	unsigned punched = 0, k = 0;
	size_t i = 0;

	if (feed_holds_ctrs(n, p))
		return false; /* a learner is still copying them */
	if (!rd->ctr_at)
		p->rd_again = false;
	while (i < p->ctrs.n && p->ctrs.d[i].number < rd->ctr_at)
		i++;
	for (; i < p->ctrs.n && k < 64 && punched < 4; i++) {
		struct ctr *c = &p->ctrs.d[i];
		uint64_t *die;
		unsigned fresh;

		if (!eligible(n, rd, c)) {
			/* what was given out meanwhile is looked at in the next cycle */
			p->rd_again |= c->shared && c->state == 2 && c->rmarked && !c->sweeping &&
				       c->rmark.count + c->dead.count + c->settled < c->chunks;
			continue;
		}
		/* marks count what was removed after they were made: the next round tells; what
		 * other partitions removed is in their rd_gone */
		p->rd_again |= c->rmark_gone && n->mut != MUT_RD_OWN_GONE;
		if (c->rmark.count == 0) {
			vms_put_le64(meta + 8 * k++, c->number);
			continue;
		}
		die = malloc(c->segs * sizeof(*die) + 8);
		vms_assert(die);
		fresh = runs(c, die);
		if (fresh >= PUNCH_BLOCKS) {
			if (punch_order(n, p, c, die)) {
				free(die);
				break;
			}
			punched++;
		}
		free(die);
		c->live = c->rmark.count;
		c->settled = 0;
		fresh = fresh >= PUNCH_BLOCKS ? fresh : 0;
		if (c->chunks > c->live + c->dead.count + fresh)
			c->settled = c->chunks - c->live - c->dead.count - fresh;
		c->dirty = true;
		if (c->live * 4 < c->chunks && c->settled >= 3 * c->live)
			empty_add(n, p, c);
	}
	if (k) {
		r.meta = meta;
		r.meta_bytes = 8 * k;
		if (part_order(n, p, &r, NULL, 0))
			return false; /* no log space: the same containers again */
	}
	rd->ctr_at = i < p->ctrs.n ? p->ctrs.d[i].number : UINT64_MAX;
	return i >= p->ctrs.n;
}

static void sweep_end(struct part *p)
{
	VMS_VEC_FOREACH (&p->ctrs, c) {
		places_free(&c->rmark);
		c->rmarked = false;
	}
}

/* Nothing here will be swept in this cycle: a restarted process is not sent the marks.
 * Then its part is over when its own marks have been sent. */
static bool only_source(struct vms_node *n, const struct round *rd)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || !p->known || !p->primary)
			continue;
		if (!walked(rd, p) || !p->rd_sent || n->mut == MUT_RD_EPOCH_Q ||
		    (p->sweep_cycle == rd->cycle && p->sweep_epoch == p->conf.epoch))
			return false;
	}
	return dests_idle(rd);
}

static void sweep(struct vms_node *n, struct round *rd)
{
	if (rd->done >= rd->cycle || (!marks_complete(n, rd) && !only_source(n, rd)))
		return;
	while (rd->at < n->nparts) {
		struct part *p = n->part[rd->at];

		if (p && p->known && p->primary) {
			if (!may_sweep(n, rd, p)) {
				p->rd_again = true;
			} else if (!sweep_step(n, rd, p)) {
				node_wake_at(n, n->now_ms + gc_pace_ms(n));
				return;
			}
			sweep_end(p);
		}
		rd->at++;
		rd->ctr_at = 0;
	}
	rd->done = rd->cycle;
	rd->report_ms = n->now_ms;
	n->st.rounds++;
}

/* ---- the cycle ---- */

static void cycle_set(struct vms_node *n, struct round *rd, uint64_t cycle, bool begun)
{
	bool unswept = rd->done < rd->cycle;

	if (cycle <= rd->cycle && rd->known)
		return;
	rd->cycle = cycle;
	rd->since_ms = n->now_ms;
	rd->over = false;
	walk_stop(rd);
	table_clear(rd);
	VMS_VEC_FOREACH (&rd->dests, d) {
		dest_clear(*d);
		(*d)->skip = false;
		(*d)->incarnation = (*d)->peer->incarnation;
	}
	for (unsigned i = 0; i < n->npeers; i++) {
		struct dest *d;

		if (dest_of(rd, n->peer[i]->id))
			continue;
		d = calloc(1, sizeof(*d));
		vms_assert(d);
		d->n = n;
		d->peer = n->peer[i];
		d->incarnation = d->peer->conn ? d->peer->incarnation : 0;
		VMS_VEC_PUSH(&rd->dests, d);
	}
	rd->at = 0;
	rd->ctr_at = 0;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		sweep_end(p);
		VMS_VEC_FOREACH (&p->ctrs, c)
			c->emptying = false; /* what was not moved may be referred to again */
		p->rd_sent = false;
		/* stamps since now are complete as long as the epoch stays */
		p->sweep_cycle = begun && may_walk(p) ? cycle : 0;
		p->sweep_epoch = p->conf.epoch;
		p->rd_again |= unswept || !p->sweep_cycle;
	}
	node_wake_at(n, n->now_ms);
}

void round_part_changed(struct vms_node *n, struct part *p)
{
	if (n->round && n->round->p == p)
		walk_stop(n->round);
	p->rd_walking = false;
	sweep_end(p);
	if (p->sweep_cycle)
		p->rd_again = true;
	if (n->mut != MUT_RD_EPOCH_Q)
		p->sweep_cycle = 0;
}

static uint64_t cycle_of(const struct vms_cat_kv *kv)
{
	json_t *o = kv->val ? json_loads(kv->val, 0, NULL) : NULL;
	uint64_t k = o ? (uint64_t)json_integer_value(json_object_get(o, "cycle")) : 0;

	json_decref(o);
	return k;
}

static void gc_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	if (r->status) {
		n->cat->ops->unwatch(n->cat, rd->watch);
		rd->watch = 0;
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		if (!strcmp(r->kv[i].key, "gc")) {
			rd->rev = r->kv[i].mod_revision;
			cycle_set(n, rd, cycle_of(&r->kv[i]), true);
		}
}

static void gc_read(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	rd->busy = false;
	rd->retry_ms = n->now_ms + n->tm.tick_ms;
	if (r->status)
		return;
	rd->rev = r->nkv ? r->kv[0].mod_revision : 0;
	/* whether it began before or after an epoch changed is not known */
	cycle_set(n, rd, r->nkv ? cycle_of(&r->kv[0]) : 0, false);
	rd->known = true;
	if (!rd->watch)
		rd->watch = n->cat->ops->watch(n->cat, "gc", r->revision, gc_event, n);
}

static void gc_raised(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;

	(void)r; /* the watch tells, whatever came of it */
	n->round->busy = false;
	n->round->next_ms = n->now_ms + 4ull * n->tm.tick_ms;
}

/* ---- who begins a cycle, and when ---- */

/* Bytes that a round might free; *unsure: perhaps more, of which a former primary, or an
 * earlier process of this node, knew. */
static uint64_t want(struct vms_node *n, uint64_t *shared, bool *unsure)
{
	uint64_t chunks = 0;

	*shared = 0;
	*unsure = false;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || !p->known || !p->primary)
			continue;
		chunks += p->rd_gone;
		*unsure |= p->rd_unsure && n->mut != MUT_RD_UNASKED;
		VMS_VEC_FOREACH (&p->ctrs, c) {
			uint64_t known = c->live + c->dead.count + c->settled;

			if (!c->shared || c->state != 2 || c->sweeping)
				continue;
			(*shared)++;
			if (known < c->chunks)
				chunks += c->chunks - known;
			else if (p->rd_again)
				chunks++;
		}
	}
	return chunks * VMS_CHUNK_BYTES;
}

static struct report *report_of(struct round *rd, uint32_t node)
{
	struct report *r;

	VMS_VEC_FOREACH (&rd->reports, x)
		if (x->node == node)
			return x;
	r = VMS_VEC_ADD(&rd->reports);
	*r = (struct report){.node = node};
	return r;
}

void round_report_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct report *r;

	if (!n->round || m->body_bytes < 24)
		return;
	r = report_of(n->round, c->peer->id);
	r->done = vms_get_le64(m->body);
	r->want = vms_get_le64(m->body + 8);
	r->shared = vms_get_le64(m->body + 16);
}

static struct peer *coordinator(struct vms_node *n)
{
	struct peer *best = NULL;

	for (unsigned i = 0; i < n->npeers; i++)
		if (n->peer[i]->conn && n->peer[i]->id < n->id &&
		    (!best || n->peer[i]->id < best->id))
			best = n->peer[i];
	return best;
}

/* Only when everyone can take part: one missing partition, and nothing is freed. */
static bool all_there(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++)
		if (!n->pconf[i].epoch ||
		    (n->pconf[i].primary != n->id && !node_primary_conn(n, i)))
			return false;
	return true;
}

static void coordinate(struct vms_node *n, struct round *rd, uint64_t mine, uint64_t shared)
{
	uint64_t total = mine, took;
	bool done = rd->done >= rd->cycle || !rd->cycle;
	struct vms_cat_cmp cmp = {"gc", rd->rev};
	char val[64];
	struct vms_cat_op op = {"gc", val, 0};

	for (unsigned i = 0; i < n->npeers; i++) {
		struct report *r;

		if (!n->peer[i]->conn)
			continue;
		r = report_of(rd, n->peer[i]->id);
		total += r->want;
		shared += r->shared;
		done &= r->done >= rd->cycle;
	}
	took = n->now_ms - rd->since_ms;
	if (done && !rd->over) {
		rd->over = true;
		rd->next_ms = n->now_ms + 8ull * n->tm.tick_ms + 2 * took;
	}
	/* little garbage waits longer */
	if (!done ? took < FORGET_ROUND_MS(n)
		  : n->now_ms < rd->next_ms + (total < 65536 ? 40ull * n->tm.tick_ms : 0))
		return;
	if (!total || !shared || rd->busy || !all_there(n))
		return;
	rd->busy = true;
	snprintf(val, sizeof(val), "{\"cycle\": %llu}", (unsigned long long)rd->cycle + 1);
	n->cat->ops->txn(n->cat, &cmp, 1, &op, 1, gc_raised, n);
}

void round_timer(struct vms_node *n)
{
	struct round *rd = n->round;

	if (!rd) {
		rd = n->round = calloc(1, sizeof(*rd));
		vms_assert(rd);
		rd->src = calloc(n->nparts, sizeof(*rd->src));
		vms_assert(rd->src);
		vms_htab_init(&rd->table, 1024);
	}
	if (n->stopping)
		return;
	if (!rd->watch) {
		if (!rd->busy && n->now_ms >= rd->retry_ms) {
			rd->busy = true;
			n->cat->ops->get(n->cat, "gc", gc_read, n);
		}
		if (!rd->known)
			return;
	}
	if (rd->cycle) {
		mark_step(n, rd);
		sweep(n, rd);
	}
	if (n->now_ms >= rd->report_ms) {
		struct peer *pe = coordinator(n);
		bool unsure;
		uint64_t shared, w = want(n, &shared, &unsure) + unsure;
		uint8_t body[24];
		struct vms_msg m = {.type = VMS_MSG_SWEEP,
				    .partition = VMS_PART_NONE,
				    .body = body,
				    .body_bytes = sizeof(body)};

		rd->report_ms = n->now_ms + 2ull * n->tm.tick_ms;
		vms_put_le64(body, rd->done);
		vms_put_le64(body + 8, w);
		vms_put_le64(body + 16, shared);
		if (pe)
			node_send(n, pe->conn, &m);
		else
			coordinate(n, rd, w, shared);
	}
	node_wake_at(n, rd->report_ms);
}

uint64_t round_cycle(const struct vms_node *n)
{
	return n->round ? n->round->cycle : 0;
}

uint64_t round_want(struct vms_node *n)
{
	uint64_t shared;
	bool unsure;

	return want(n, &shared, &unsure);
}

const char *round_phase(struct vms_node *n)
{
	const struct round *rd = n->round;

	if (!rd || rd->done >= rd->cycle)
		return "idle";
	if (rd->p)
		return "marking";
	for (uint32_t i = 0; i < n->nparts; i++)
		if (rd->src[i].cycle != rd->cycle)
			return "waiting";
	return "sweeping";
}

void round_close(struct vms_node *n)
{
	struct round *rd = n->round;

	if (!rd)
		return;
	n->round = NULL;
	table_clear(rd);
	vms_htab_free(&rd->table);
	VMS_VEC_FOREACH (&rd->dests, d) {
		dest_clear(*d);
		free(*d);
	}
	VMS_VEC_FREE(&rd->dests);
	VMS_VEC_FREE(&rd->reports);
	free(rd->src);
	free(rd);
}
