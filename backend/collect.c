// SPDX-License-Identifier: GPL-2.0-only
/*
 * Partition-local collector: mark with one source (addresses cross no
 * partitions yet). The primary walks its pages, delta included, a few at a time;
 * addresses removed or written meanwhile count as live. Sealed containers that
 * nothing refers to are named in a SWEEP record; each replica unlinks them after
 * the checkpoint that holds the record. When containers hold more than
 * gc_target_percent of what is live, the emptiest sealed ones are emptied by
 * REMAP records. A container is swept only when every move out of it is durable
 * on all members and so no gateway is given its addresses any more.
 * Keeps invariants 19, 20, 27 (rules B2, B3, B5).
 */
#include "backend/node_int.h"

#define PAGES_PER_STEP 128u
#define GC_JOBS_MAX    2u

enum gc_phase { GC_MARK, GC_MOVE };

struct gc_entry {
	struct vms_page_key key;
	uint16_t index;
	vms_addr addr;
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
	uint32_t crc[VMS_SEG_ENTRIES_MAX];
	uint8_t valid[VMS_SEG_ENTRIES_MAX];
	bool ok[VMS_SEG_ENTRIES_MAX];
	uint8_t *buf;
};

static void job_free(struct gc_job *g)
{
	free(g->buf);
	free(g);
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

void gc_moved(struct vms_node *n, struct part *p, vms_addr from, vms_addr to, uint64_t seq)
{
	struct ctr *c;

	if (from != VMS_ADDR_HOLE && (c = part_ctr(p, vms_addr_container(from)))) {
		if (c->live)
			c->live--;
		if (p->live_chunks)
			p->live_chunks--;
		c->moved_seq = seq;
		c->dirty = true;
		if (p->gc && p->gc->phase == GC_MARK && n->mut != MUT_SWEEP_LIVE)
			c->mark++;
	}
	if (to != VMS_ADDR_HOLE && (c = part_ctr(p, vms_addr_container(to)))) {
		c->live++;
		c->mark++;
		p->live_chunks++;
		c->dirty = true;
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

	VMS_VEC_FOREACH(&p->ctrs, c) {
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
	VMS_VEC_FOREACH(&p->ctrs, c)
		c->victim = false;
	p->gc_at_ms = n->now_ms + 200;
	job_free(g);
}

static int mark_page(void *arg, const struct vms_page *pg)
{
	struct gc_job *g = arg;

	if (g->pages++ == PAGES_PER_STEP) {
		g->resume = pg->key;
		g->resumed = true;
		g->more = true;
		return 1;
	}
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		struct ctr *c;

		if (pg->entry[i] == VMS_ADDR_HOLE)
			continue;
		c = part_ctr(g->p, vms_addr_container(pg->entry[i]));
		if (c)
			c->mark++;
	}
	return 0;
}

static void sweep_order(struct vms_node *n, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_SWEEP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8 * 256];
	struct ctr *dead[256];
	unsigned k = 0;

	VMS_VEC_FOREACH(&p->ctrs, c)
		if (c->marked && c->state == 2 && c->mark == 0 && !c->sweeping && !foreign(c) &&
		    !c->refs_ordered && c->moved_seq <= p->safe_seq && k < 256) {
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
}

/* The emptiest sealed containers, until the rest is within the target. */
static bool victims(struct vms_node *n, struct part *p)
{
	uint64_t total = 0, live = 0, goal;
	bool any = false;

	VMS_VEC_FOREACH(&p->ctrs, c) {
		if (c->state == 3 || c->sweeping || foreign(c))
			continue;
		total += c->chunks;
		live += c->live;
	}
	goal = live * n->conf.gc_target_percent / 100 * 9 / 10;
	while (total > goal) {
		struct ctr *best = NULL;

		VMS_VEC_FOREACH(&p->ctrs, c)
			if (c->state == 2 && !c->sweeping && !c->victim && !foreign(c) && c->live &&
			    c->live * 4 < c->chunks * 3ull &&
			    (!best || c->live * best->chunks < best->live * c->chunks))
				best = c;
		if (!best)
			break;
		best->victim = true;
		any = true;
		total -= best->chunks - best->live;
	}
	return any;
}

static int move_page(void *arg, const struct vms_page *pg)
{
	struct gc_job *g = arg;

	if (g->pages++ == PAGES_PER_STEP || g->ne + VMS_SUBEXT_CHUNKS / 2 > 2 * VMS_SEG_ENTRIES_MAX) {
		g->resume = pg->key;
		g->resumed = true;
		g->more = true;
		return 1;
	}
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
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
		g->e[g->ne++] = (struct gc_entry){pg->key, (uint16_t)i, pg->entry[i]};
	}
	return 0;
}

static void move_order(struct vms_node *n, struct part *p)
{
	struct gc_job *g = p->gc;
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	uint8_t meta[8 + VMS_MOVE_BYTES * VMS_SEG_ENTRIES_MAX];
	uint64_t ctr;
	uint32_t seg;
	unsigned k = 0;

	for (unsigned i = 0; i < g->ne; i++)
		k += g->ok[i];
	if (!k) {
		g->ordered_wait = false;
		g->ne = 0;
		return;
	}
	if (drain_place(n, p, k, &ctr, &seg))
		return;
	k = 0;
	for (unsigned i = 0; i < g->ne; i++) {
		struct gc_entry *e = &g->e[i];

		if (!g->ok[i])
			continue;
		m[k] = (struct vms_move){.branch = e->key.branch,
					 .snap_gen = e->key.snap_gen,
					 .extent = e->key.subext / VMS_EXTENT_SUBEXTS,
					 .chunk = (uint16_t)(e->key.subext % VMS_EXTENT_SUBEXTS *
								     VMS_SUBEXT_CHUNKS +
							     e->index),
					 .valid = g->valid[i],
					 .crc = g->crc[i],
					 .from_seq = e->addr,
					 .to = vms_addr_make(
						 ctr, (uint32_t)vms_seg_chunk_offset(seg, k))};
		k++;
	}
	vms_rec_moves_encode(meta, m, k);
	r.meta = meta;
	r.meta_bytes = vms_rec_moves_bytes(k);
	if (part_order(n, p, &r, NULL, 0))
		return;
	p->open_seg++;
	p->open_chunks += k;
	g->ordered_wait = false;
	g->ne = 0;
}

static void move_read(struct vms_node *n, struct fetch *f)
{
	struct gc_job *g = f->arg;

	g->busy = false;
	for (unsigned i = 0; i < f->nent; i++) {
		g->ok[i] = f->e[i].status == 0 || f->e[i].status == VMS_E_BAD_SECTORS;
		g->crc[i] = f->e[i].crc;
		g->valid[i] = f->e[i].valid;
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
	for (unsigned i = 0; i < g->ne; i++) {
		f->e[i].addr = g->e[i].addr;
		f->e[i].buf = g->buf + (size_t)i * VMS_CHUNK_BYTES;
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
	VMS_VEC_FOREACH(&p->ctrs, c)
		if (c->marked)
			c->live = c->mark;
	sweep_order(n, p);
	if (!worth(n, p) || !victims(n, p)) {
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
	n->gc_jobs++;
	VMS_VEC_FOREACH(&p->ctrs, c) {
		c->mark = 0;
		c->marked = c->state == 2;
		c->victim = false;
	}
}

void gc_timer(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
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
