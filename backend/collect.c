// SPDX-License-Identifier: GPL-2.0-only
/*
 * Partition-local collector, for containers that only their own partition refers
 * to (the others: round.c). The primary walks its pages, delta included, a few at a
 * time, and marks chunk places; addresses removed or written meanwhile count as
 * live. Sealed containers that nothing refers to are named in a SWEEP record; each
 * replica unlinks them after the checkpoint that holds the record. When containers
 * hold more than gc_target_percent of what is live, the emptiest sealed ones are
 * emptied by REMAP records: one copy of each chunk, however many pages (snapshots,
 * duplicates) refer to it; the others follow as references to that copy. A
 * container is swept only when every move out of it is durable on all members and
 * so no gateway is given its addresses any more.
 *
 * Between marks `live` is an estimate on the low side: removing one of several
 * references counts as a death. A mark that finds nothing makes the next one wait
 * longer. Keeps invariants 19, 20, 27 (rules B2, B3, B5).
 */
#include "backend/collect.h"

#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/fetch.h"
#include "backend/htab.h"
#include "backend/learn_serve.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/round.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define PAGES_PER_STEP 128u
#define GC_JOBS_MAX    2u
#define MOVED_MAX      65536u /* chunks that one job moves */
#define WAIT_MIN_MS    200u
#define WAIT_MAX_MS    20000u

enum gc_phase { GC_MARK, GC_MOVE };

struct gc_entry {
	struct vms_page_key key;
	uint16_t index;
	vms_addr addr;
	vms_addr to;  /* has been copied there; HOLE: it is read and copied now */
	int16_t same; /* of the batch's entry that copies the same chunk, or -1 */
};

/* Where the chunks of victims have gone. */
struct gc_moved {
	struct vms_hlink link; /* key: old address */
	vms_addr to;
};

struct gc_job {
	enum gc_phase phase;
	bool busy, dead, more, last;
	struct vms_page_key resume;
	bool resumed;
	struct part *p;
	struct vms_node *n;
	unsigned pages;
	unsigned ne;
	struct gc_entry e[VMS_SEG_ENTRIES_MAX];
	bool ordered_wait; /* e[] is read, waits for a place */
	struct fetch_ent got[VMS_SEG_ENTRIES_MAX];
	uint8_t *buf;
	struct vms_htab map; /* struct gc_moved */
	bool useful;
	unsigned idle; /* batches in a row of which nothing could be read */
	uint64_t start_ms;
};

static void job_free(struct gc_job *g)
{
	for (uint32_t i = 0; g->map.bucket && i <= g->map.mask; i++)
		while (g->map.bucket[i]) {
			struct vms_hlink *l = g->map.bucket[i];

			g->map.bucket[i] = l->next;
			free(vms_hlink_entry(l, struct gc_moved, link));
		}
	vms_htab_free(&g->map);
	free(g->buf);
	free(g);
}

/* ---- chunk places of a container ---- */

bool places_set(struct places *s, vms_addr a)
{
	uint32_t off = vms_addr_offset_bytes(a), seg = (off / VMS_CHUNK_BYTES - 1) / 65;
	unsigned i = vms_seg_index(off);

	if (i >= VMS_SEG_ENTRIES_MAX)
		return false;
	if (seg >= s->n) {
		uint32_t n = s->n ? s->n * 2 : 8;

		while (n <= seg)
			n *= 2;
		s->bit = realloc(s->bit, n * sizeof(*s->bit));
		vms_assert(s->bit);
		memset(s->bit + s->n, 0, (n - s->n) * sizeof(*s->bit));
		s->n = n;
	}
	if (s->bit[seg] >> i & 1)
		return false;
	s->bit[seg] |= 1ull << i;
	s->count++;
	return true;
}

void places_or(struct places *s, uint32_t seg, uint64_t places)
{
	vms_addr a = vms_addr_make(0, (uint32_t)vms_seg_offset(seg));

	for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++)
		if (places >> i & 1)
			places_set(s, a + (i + 1ull) * VMS_CHUNK_BYTES);
}

bool places_has(const struct places *s, vms_addr a)
{
	uint32_t off = vms_addr_offset_bytes(a), seg = (off / VMS_CHUNK_BYTES - 1) / 65;
	unsigned i = vms_seg_index(off);

	return seg < s->n && i < VMS_SEG_ENTRIES_MAX && (s->bit[seg] >> i & 1);
}

void places_free(struct places *s)
{
	free(s->bit);
	memset(s, 0, sizeof(*s));
}

void gc_abort(struct vms_node *n, struct part *p)
{
	struct gc_job *g = p->gc;

	if (!g)
		return;
	p->gc = NULL;
	n->gc_jobs--;
	if (g->busy)
		g->dead = true;
	else
		job_free(g);
}

void ctr_segs(struct ctr *c, uint32_t segs)
{
	if (segs <= c->segs)
		return;
	c->used = realloc(c->used, segs);
	vms_assert(c->used);
	memset(c->used + c->segs, 0, segs - c->segs);
	c->segs = segs;
}

void ctr_free(struct ctr *c)
{
	free(c->used);
	c->used = NULL;
	places_free(&c->mark);
	places_free(&c->rmark);
	places_free(&c->dead);
}

/* A segment's header goes with its last place. */
static bool block_dead(const struct ctr *c, uint32_t b)
{
	uint32_t seg = b / 65;
	uint64_t dead = seg < c->dead.n ? c->dead.bit[seg] : 0;
	unsigned n = c->used[seg] ? c->used[seg] : VMS_SEG_ENTRIES_MAX;

	if (b % 65 > n)
		return dead != 0; /* nothing was ever written there */
	if (b % 65)
		return dead >> (b % 65 - 1) & 1;
	return dead == (n >= VMS_SEG_ENTRIES_MAX ? UINT64_MAX : (1ull << n) - 1);
}

void ctr_holes(struct vms_node *n, const struct ctr *c, uint32_t seg, uint32_t end)
{
	uint32_t b = seg * 65, last = c->segs * 65;

	while (b > 0 && block_dead(c, b - 1))
		b--;
	while (b < last && b < end * 65) {
		uint32_t from = b;

		while (b < last && block_dead(c, b))
			b++;
		if (b > from)
			VMS_VEC_PUSH(&n->punch_new,
				     ((struct hole){c->number, VMS_CHUNK_BYTES * (1ull + from),
						    VMS_CHUNK_BYTES * (uint64_t)(b - from)}));
		else
			b++;
	}
}

void gc_moved(struct vms_node *n, struct part *p, vms_addr from, vms_addr to, bool ref,
	      uint64_t seq)
{
	bool marking = p->gc && p->gc->phase == GC_MARK;
	struct ctr *c;

	if (p->rd_walking && from != VMS_ADDR_HOLE)
		round_mark(n, from);
	if (from != VMS_ADDR_HOLE && vms_addr_partition(from, n->conf.part_bits) != p->number)
		p->rd_gone++;

	if (from != VMS_ADDR_HOLE && (c = part_ctr(p, vms_addr_container(from)))) {
		if (c->live)
			c->live--;
		if (p->live_chunks)
			p->live_chunks--;
		c->moved_seq = seq;
		c->dirty = true;
		c->rmark_gone = true;
		if (marking) {
			places_set(&c->mark, from);
			c->mark_gone++;
		}
	}
	if (to != VMS_ADDR_HOLE && (c = part_ctr(p, vms_addr_container(to)))) {
		if (!ref) {
			c->live++;
			p->live_chunks++;
		}
		c->dirty = true;
		if (marking)
			places_set(&c->mark, to);
	}
}

/* Containers that other partitions may refer to are not this collector's. */
static bool foreign(const struct ctr *c)
{
	return c->shared || c->sharing;
}

static bool worth(struct vms_node *n, struct part *p)
{
	uint64_t total = 0, live = 0, all = 0;
	bool dead = false;

	VMS_VEC_FOREACH (&p->ctrs, c) {
		if (c->state == 3)
			continue;
		all += c->live;
		if (foreign(c))
			continue;
		total += c->chunks;
		live += c->live;
		dead |= c->state == 2 && c->live == 0 && !c->sweeping && !c->refs_ordered &&
			c->moved_seq <= p->safe_seq;
	}
	p->live_chunks = all;
	if (dead)
		return true;
	if (total <= live + (live ? 16 : 0) || total * 100 <= live * n->conf.gc_target_percent)
		return false;
	n->hungry = true;
	return true;
}

static void gc_end(struct vms_node *n, struct part *p)
{
	struct gc_job *g = p->gc;

	p->gc = NULL;
	n->gc_jobs--;
	VMS_VEC_FOREACH (&p->ctrs, c) {
		c->victim = false;
		places_free(&c->mark);
	}
	p->gc_wait_ms = g->useful || !p->gc_wait_ms ? WAIT_MIN_MS : p->gc_wait_ms * 2;
	if (p->gc_wait_ms > WAIT_MAX_MS)
		p->gc_wait_ms = WAIT_MAX_MS;
	p->gc_at_ms = n->now_ms + p->gc_wait_ms + (n->now_ms - g->start_ms);
	job_free(g);
}

/* A walk has come far enough for a step: it goes on at that page. */
static bool step_full(struct gc_job *g, const struct vms_page *pg)
{
	if (g->pages++ != PAGES_PER_STEP)
		return false;
	g->resume = pg->key;
	g->resumed = true;
	g->more = true;
	return true;
}

static int mark_page(void *arg, const struct vms_page *pg)
{
	struct gc_job *g = arg;

	if (step_full(g, pg))
		return 1;
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		struct ctr *c;

		if (pg->entry[i] == VMS_ADDR_HOLE)
			continue;
		c = part_ctr(g->p, vms_addr_container(pg->entry[i]));
		if (c && c->marked)
			places_set(&c->mark, pg->entry[i]);
	}
	return 0;
}

static void sweep_order(struct vms_node *n, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_SWEEP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8 * 256];
	struct ctr *dead[256];
	unsigned k = 0;

	if (feed_holds_ctrs(n, p))
		return;
	VMS_VEC_FOREACH (&p->ctrs, c)
		if (c->marked && c->state == 2 && c->mark.count == 0 && !c->sweeping &&
		    !foreign(c) && (!c->refs_ordered || n->mut == MUT_GC_ORDERED) &&
		    c->moved_seq <= p->safe_seq && k < 256) {
			dead[k] = c;
			vms_put_le64(meta + 8 * k++, c->number);
		}
	if (!k)
		return;
	r.meta = meta;
	r.meta_bytes = 8 * k;
	if (part_order(n, p, &r, NULL, 0))
		return;
	for (unsigned i = 0; i < k; i++)
		dead[i]->sweeping = true;
	p->gc->useful = true;
}

/* The emptiest sealed containers, until the rest is within the target. */
static bool victims(struct vms_node *n, struct part *p)
{
	uint64_t total = 0, live = 0, goal, moved = 0;
	bool any = false;

	VMS_VEC_FOREACH (&p->ctrs, c) {
		if (c->state == 3 || c->sweeping || foreign(c))
			continue;
		total += c->chunks;
		live += c->live;
	}
	goal = live * n->conf.gc_target_percent / 100 * 9 / 10;
	while (total > goal) {
		struct ctr *best = NULL;

		VMS_VEC_FOREACH (&p->ctrs, c)
			if (c->state == 2 && !c->sweeping && !c->victim && !foreign(c) && c->live &&
			    c->live * 4 < c->chunks * 3ull &&
			    (!best || c->live * best->chunks < best->live * c->chunks))
				best = c;
		if (!best || (any && moved + best->live > MOVED_MAX))
			break;
		best->victim = true;
		any = true;
		moved += best->live;
		total -= best->chunks - best->live;
	}
	return any;
}

/* The copy of a chunk that this job has made; HOLE: none that may be referred to. No
 * round that began before frees it. */
static vms_addr copied(const struct gc_job *g, vms_addr from)
{
	struct vms_hlink *l = g->n->mut == MUT_GC_COPIES ? NULL : vms_htab_find(&g->map, from);
	vms_addr to = l ? vms_hlink_entry(l, struct gc_moved, link)->to : VMS_ADDR_HOLE;
	struct ctr *c = l ? part_ctr(g->p, vms_addr_container(to)) : NULL;

	if (!c || c->state == 3 || c->sweeping || c->punching || places_has(&c->dead, to))
		return VMS_ADDR_HOLE;
	if (c->stamp < g->p->gc_cycle)
		c->stamp = g->p->gc_cycle;
	return to;
}

static int move_page(void *arg, const struct vms_page *pg)
{
	struct gc_job *g = arg;

	if (step_full(g, pg))
		return 1;
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		struct gc_entry *e;
		struct ctr *c;

		if (pg->entry[i] == VMS_ADDR_HOLE)
			continue;
		c = part_ctr(g->p, vms_addr_container(pg->entry[i]));
		if (!c || !c->victim)
			continue;
		if (g->ne == VMS_SEG_ENTRIES_MAX) {
			/* this page again: what was moved no longer shows */
			g->resume = pg->key;
			g->resumed = true;
			g->more = true;
			return 1;
		}
		e = &g->e[g->ne++];
		*e = (struct gc_entry){pg->key, (uint16_t)i, pg->entry[i], copied(g, pg->entry[i]),
				       -1};
		for (unsigned k = 0; k + 1 < g->ne && e->to == VMS_ADDR_HOLE && e->same < 0 &&
				     g->n->mut != MUT_GC_COPIES;
		     k++)
			if (g->e[k].addr == e->addr && g->e[k].to == VMS_ADDR_HOLE)
				e->same = (int16_t)k;
	}
	return 0;
}

static void move_order(struct vms_node *n, struct part *p)
{
	struct gc_job *g = p->gc;
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	uint8_t meta[VMS_MOVES_META_MAX];
	uint64_t ctr = 0;
	uint32_t seg = 0;
	unsigned data = 0, k = 0;
	int16_t place[VMS_SEG_ENTRIES_MAX];

	for (unsigned i = 0; i < g->ne; i++)
		data += g->e[i].to == VMS_ADDR_HOLE && g->e[i].same < 0 && g->got[i].status == 0;
	if (data && part_cramped(n, p)) {
		gc_end(n, p);
		return;
	}
	if (data && drain_place(n, p, data, &ctr, &seg))
		return;
	data = 0;
	for (unsigned i = 0; i < g->ne; i++) {
		struct gc_entry *e = &g->e[i];
		unsigned from = e->same < 0 ? i : (unsigned)e->same;
		struct vms_move *x = &m[k];

		place[i] = -1;
		*x = (struct vms_move){
			.branch = e->key.branch,
			.snap_gen = e->key.snap_gen,
			.extent = e->key.subext / VMS_EXTENT_SUBEXTS,
			.chunk = (uint16_t)(e->key.subext % VMS_EXTENT_SUBEXTS * VMS_SUBEXT_CHUNKS +
					    e->index),
			.valid = VMS_MASK_FULL,
			.from_seq = e->addr,
			.to = e->to};
		if (e->to != VMS_ADDR_HOLE) {
			x->flags = VMS_MOVE_REF;
			if (copied(g, e->addr) != e->to)
				continue; /* gone since: the next walk copies it */
		} else if (g->got[from].status) {
			continue;
		} else if (e->same >= 0) {
			x->flags = VMS_MOVE_REF;
			x->to = vms_addr_make(
				ctr, (uint32_t)vms_seg_chunk_offset(seg, (unsigned)place[from]));
		} else {
			place[i] = (int16_t)data;
			x->valid = g->got[i].valid;
			x->crc = g->got[i].crc;
			x->has_fp = g->got[i].has_fp;
			memcpy(x->fp, g->got[i].fp, sizeof(x->fp));
			x->to = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(seg, data++));
		}
		k++;
	}
	if (k) {
		vms_rec_moves_put(&r, meta, m, k);
		if (part_order(n, p, &r, NULL, 0))
			return;
	}
	for (unsigned i = 0; i < g->ne; i++) {
		struct gc_moved *x;

		if (place[i] < 0)
			continue;
		x = calloc(1, sizeof(*x));
		vms_assert(x);
		x->to = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(seg, (unsigned)place[i]));
		vms_htab_add(&g->map, &x->link, g->e[i].addr);
	}
	if (data) {
		p->open_seg++;
		p->open_chunks += data;
	}
	g->useful |= k != 0;
	g->idle = k ? 0 : g->idle + 1;
	g->ordered_wait = false;
	g->ne = 0;
}

static void move_read(struct vms_node *n, struct fetch *f)
{
	struct gc_job *g = f->arg;

	g->busy = false;
	for (unsigned i = 0; i < f->nent; i++) {
		g->got[i] = f->e[i];
		if (f->e[i].status == VMS_E_BAD_SECTORS)
			g->got[i].status = 0; /* goes on as it is */
	}
	fetch_free(f);
	if (g->dead) {
		job_free(g);
		return;
	}
	g->ordered_wait = true;
	(void)n;
}

static void move_start(struct vms_node *n, struct gc_job *g)
{
	struct fetch *f = fetch_new(n, g->ne);

	if (!g->buf)
		g->buf = malloc((size_t)VMS_SEG_ENTRIES_MAX * VMS_CHUNK_BYTES);
	vms_assert(g->buf);
	f->arg = g;
	f->done = move_read;
	f->want_fp = true;
	for (unsigned i = 0; i < g->ne; i++) {
		f->e[i].addr = g->e[i].addr;
		f->e[i].buf = g->buf + (size_t)i * VMS_CHUNK_BYTES;
		f->e[i].skip = g->e[i].to != VMS_ADDR_HOLE || g->e[i].same >= 0;
	}
	g->busy = true;
	fetch_start(n, f);
}

static void gc_step(struct vms_node *n, struct part *p)
{
	struct gc_job *g = p->gc;
	bool again = g->resumed;

	if (g->busy)
		return;
	if (!part_serving(p) || !part_members_ready(p) || n->stopping) {
		gc_end(n, p);
		return;
	}
	if (g->ordered_wait) {
		if (p->moves_ordered < 2)
			move_order(n, p);
		return;
	}
	if (g->idle > 4) {
		gc_end(n, p);
		return;
	}
	/* moves on their way still show in the pages: wait for them */
	if (g->phase == GC_MOVE && p->moves_ordered)
		return;
	g->more = false;
	g->pages = 0;
	g->ne = 0;
	if (vms_pages_each(n->pages, p->number, again ? &g->resume : NULL,
			   g->phase == GC_MARK ? mark_page : move_page, g) < 0) {
		gc_end(n, p); /* a damaged page: nothing may be swept */
		return;
	}
	if (g->phase == GC_MOVE && g->ne) {
		move_start(n, g);
		if (!g->more)
			g->last = true;
		return;
	}
	if (g->more && !(g->phase == GC_MOVE && g->last))
		return;
	if (g->phase == GC_MOVE) {
		gc_end(n, p);
		return;
	}
	VMS_VEC_FOREACH (&p->ctrs, c)
		if (c->marked) /* what went meanwhile is marked, but the next mark may not find it
				*/
			c->live = c->mark.count > c->mark_gone ? c->mark.count - c->mark_gone : 0;
	sweep_order(n, p);
	if (part_cramped(n, p) || !worth(n, p) || !victims(n, p)) {
		gc_end(n, p);
		return;
	}
	g->phase = GC_MOVE;
	g->resumed = false;
}

static void gc_start(struct vms_node *n, struct part *p)
{
	p->gc = calloc(1, sizeof(*p->gc));
	vms_assert(p->gc);
	p->gc->p = p;
	p->gc->n = n;
	p->gc->start_ms = n->now_ms;
	vms_htab_init(&p->gc->map, 64);
	n->gc_jobs++;
	VMS_VEC_FOREACH (&p->ctrs, c) {
		places_free(&c->mark);
		c->mark_gone = 0;
		c->marked = c->state == 2;
		c->victim = false;
	}
}

void gc_timer(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts && n->gc_jobs; i++) {
		struct part *p = n->part[i];

		if (p && p->gc)
			gc_step(n, p);
	}
	for (uint32_t k = 0; k < n->nparts && k < 64 && n->gc_jobs < GC_JOBS_MAX; k++) {
		struct part *p = n->part[n->gc_next];
		struct ctr *c;

		n->gc_next = (n->gc_next + 1) % n->nparts;
		if (!p || p->gc || !part_serving(p) || !part_members_ready(p) || n->stopping ||
		    n->now_ms < p->gc_at_ms || !p->ctrs.n)
			continue;
		/* opened for what has dropped out since; or for rounds, which only take
		 * sealed ones */
		c = p->open_ctr ? part_ctr(p, p->open_ctr) : NULL;
		if (c && !p->drain && !p->moves_ordered &&
		    (foreign(c) ? c->chunks && c->live * 2 < c->chunks
				: !c->chunks && !p->open_chunks && !p->live_chunks &&
					  p->ovl.npieces + p->ovl.nranges == 0)) {
			drain_seal_open(n, p);
			p->gc_at_ms = n->now_ms + WAIT_MIN_MS;
			continue;
		}
		if (!worth(n, p)) {
			p->gc_at_ms = n->now_ms + n->tm.tick_ms;
			continue;
		}
		/* an open container that is mostly dead goes too */
		c = p->open_ctr ? part_ctr(p, p->open_ctr) : NULL;
		if (c && c->chunks && c->live * 2 < c->chunks && !p->moves_ordered && !p->drain) {
			drain_seal_open(n, p);
			p->gc_at_ms = n->now_ms + 100;
			continue;
		}
		gc_start(n, p);
	}
	if (n->gc_jobs)
		node_wake_at(n, n->now_ms + 2);
}
