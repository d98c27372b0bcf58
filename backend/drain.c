// SPDX-License-Identifier: GPL-2.0-only
/*
 * Draining: the primary names, for each chunk of its sealed log generations, the
 * newest committed seq and a new place in the partition's open container (DRAIN
 * records, one segment each); every replica copies the bytes itself (apply_moves.c).
 *
 * Overwritten chunks have dropped out, zero chunks become holes. Ranges of an
 * extent are drained before its later chunks, and older layers (lower snap_gens,
 * ancestors) before newer ones: below the overlay of all layers lie the pages of all
 * layers, and a newer layer's first page, a copy of what shows below, misses nothing.
 * New addresses are handed out only
 * when the checkpoint that holds them is durable on all members (stubs, safe_seq);
 * then gateways are told old and new. Keeps invariants 1, 3, 27
 * (rules A1, A2, A4, A8, B1).
 */
#include "backend/drain.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/checkpoint.h"
#include "backend/ctr.h"
#include "backend/dedup.h"
#include "backend/drain_int.h"
#include "backend/fetch.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/overlay.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/vec.h"

static int item_cmp(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->branch != y->branch)
		return x->branch < y->branch ? -1 : 1;
	if (x->extent != y->extent)
		return x->extent < y->extent ? -1 : 1;
	if (x->snap_gen != y->snap_gen)
		return x->snap_gen < y->snap_gen ? -1 : 1;
	if (x->range != y->range)
		return x->range ? -1 : 1;
	if (x->range && x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return (int)x->chunk - (int)y->chunk;
}

void drain_job_free(struct vms_node *n, struct drain_job *d)
{
	for (unsigned i = 0; i < d->n; i++)
		free(d->e[i].patch);
	log_return(n, &d->lend);
	n->drain_bytes -= (uint64_t)d->room * VMS_CHUNK_BYTES;
	VMS_VEC_FREE(&d->items);
	free(d->data);
	free(d->e);
	free(d);
}

static void job_room(struct vms_node *n, struct drain_job *d)
{
	d->room = d->items.n < DRAIN_BATCH_MAX ? (unsigned)d->items.n : DRAIN_BATCH_MAX;
	d->data = malloc((size_t)d->room * VMS_CHUNK_BYTES);
	d->e = calloc(d->room, sizeof(*d->e));
	vms_assert(d->data && d->e);
	n->drain_bytes += (uint64_t)d->room * VMS_CHUNK_BYTES;
}

/* The layers below an extent's entries of one branch and snap_gen. */
static bool below(struct vms_node *n, struct part *p, const struct vms_ovl_ext *e,
		  struct vms_ovl_stack *out)
{
	const struct branch *b = node_branch(n, e->branch, false);
	struct seen s;

	out->n = 0;
	if (!b || !b->known)
		return false;
	if (!e->older && !b->nancestors)
		return true;
	if (part_see(n, p, e->branch, e->extent, e->snap_gen, &s))
		return false;
	*out = s.ovl;
	/* the first line begins with e itself */
	if (!(out->l[0].e = e->older))
		memmove(&out->l[0], &out->l[1], --out->n * sizeof(out->l[0]));
	return true;
}

static bool pull(struct vms_node *n, struct part *p, const struct vms_ovl_ext *e)
{
	struct vms_ovl_stack s;
	bool any = false;

	below(n, p, e, &s);
	for (unsigned i = 0; i < s.n; i++)
		for (struct vms_ovl_ext *o = s.l[i].e; o; o = o->older)
			any = o->pulled = true;
	return any;
}

static bool named(const struct batch_ent *e, unsigned k, const struct vms_ovl_ext *o,
		  uint16_t chunk, uint64_t seq, bool range)
{
	for (unsigned i = 0; i < k; i++)
		if (e[i].take && e[i].m.from_seq == seq && e[i].m.chunk == chunk &&
		    e[i].m.branch == o->branch && e[i].m.snap_gen == o->snap_gen &&
		    e[i].m.extent == o->extent && !(e[i].m.flags & VMS_MOVE_RANGE) == !range)
			return true;
	return false;
}

/* Is anything left below e that neither an ordered record takes nor the first k of
 * this batch? */
static bool older_left(struct vms_node *n, struct part *p, const struct vms_ovl_ext *e,
		       const struct batch_ent *b, unsigned k)
{
	struct vms_ovl_stack s;

	if (!below(n, p, e, &s))
		return true;
	for (unsigned i = 0; i < s.n; i++)
		for (struct vms_ovl_ext *o = s.l[i].e; o; o = o->older) {
			for (uint32_t x = 0; x < o->nranges; x++)
				if (!o->range[x].pins &&
				    !named(b, k, o, o->range[x].first, o->range[x].seq, true))
					return true;
			for (struct vms_ovl_chunk *c = o->chunks; c; c = c->next)
				if (vms_ovl_undrained(o, c) &&
				    !named(b, k, o, c->chunk, c->newest->seq, false))
					return true;
		}
	return false;
}

/* Chunks and ranges of an extent that can be drained now; upto: only chunks that need
 * log below limit or seqs up to req, else only the others. */
static void take(struct vms_node *n, struct part *p, struct vms_ovl_ext *e, uint64_t limit,
		 uint64_t req, bool upto, bool ranges, struct drain_job *d)
{
	struct branch *b = node_branch(n, e->branch, true);

	if (!b->known) {
		branch_ask(n, b);
		return;
	}
	for (struct vms_ovl_chunk *c = e->chunks; c; c = c->next) {
		struct vms_ovl_view v;

		if (!c->newest || c->pins)
			continue;
		vms_ovl_view(&n->ovl, e, c->chunk, p->committed, &v);
		if (v.newest_seq && (v.min_pos < limit || v.min_seq <= req) == upto)
			*VMS_VEC_ADD(&d->items) = (struct item){
				e->branch, e->snap_gen, e->extent, c->chunk, 1, 0, false};
	}
	for (uint32_t i = 0; ranges && i < e->nranges; i++)
		if (e->range[i].seq <= p->committed && !e->range[i].pins)
			*VMS_VEC_ADD(&d->items) = (struct item){
				e->branch,	   e->snap_gen,	    e->extent, e->range[i].first,
				e->range[i].count, e->range[i].seq, true};
}

/* What of the partition must go for the log below limit (or the seqs up to req)
 * to be freed. d NULL: only look. Sets clean_pos: nothing below it is needed any
 * more, what is drained but not applied included. Older layers of the same extent
 * come along, even when they were copied forward to above the limit. */
static void scan(struct vms_node *n, struct part *p, uint64_t limit, uint64_t req,
		 struct drain_job *d)
{
	uint64_t low = limit;
	bool pulled = false;

	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next) {
		struct vms_ovl_chunk *c;
		bool here = false;

		for (uint32_t i = 0; i < e->nranges; i++) {
			here |= e->range[i].rec_pos < limit || e->range[i].seq <= req;
			if (e->range[i].rec_pos < low)
				low = e->range[i].rec_pos;
		}
		for (c = e->chunks; c; c = c->next) {
			struct vms_ovl_view v;

			if (!c->newest)
				continue;
			for (struct vms_ovl_piece *pc = c->newest; pc; pc = pc->older)
				if ((pc->seq > p->committed || c->pins) && pc->data_pos < low)
					low = pc->data_pos;
			vms_ovl_view(&n->ovl, e, c->chunk, p->committed, &v);
			if (v.min_pos < low)
				low = v.min_pos;
			here |= v.min_pos < limit || v.min_seq <= req;
		}
		e->scanned = here;
		e->pulled = false;
		if (d && here)
			take(n, p, e, limit, req, true, true, d);
	}
	for (struct vms_ovl_ext *e = d ? p->ovl.exts : NULL; e; e = e->next)
		if (e->scanned)
			pulled |= pull(n, p, e);
	for (struct vms_ovl_ext *e = pulled ? p->ovl.exts : NULL; e; e = e->next)
		if (e->pulled)
			take(n, p, e, limit, req, false, !e->scanned, d);
	if (low > p->clean_pos)
		p->clean_pos = low;
}

/* The partition has no job any more. */
static void job_off(struct vms_node *n, struct part *p)
{
	size_t i = 0;

	p->drain = NULL;
	while (n->drains.d[i] != p->number)
		i++;
	VMS_VEC_REMOVE_FAST(&n->drains, i);
}

void drain_abort(struct vms_node *n, struct part *p)
{
	struct drain_job *d = p->drain;

	p->open_ctr = p->open_ordered = 0;
	if (!d)
		return;
	job_off(n, p);
	if (d->busy)
		d->dead = true;
	else
		drain_job_free(n, d);
}

static void job_done(struct vms_node *n, struct part *p)
{
	struct drain_job *d = p->drain;

	job_off(n, p);
	/* what a write on its way keeps here is not looked for every millisecond, should that
	 * one take long; the timer does all the same */
	if (d->ordered || !d->faded) {
		drain_scan_due(n, p);
		node_wake_at(n, n->now_ms + 1);
	}
	drain_job_free(n, d);
}

/* What was written one after the other is written over, and dies, like that: one container for
 * it leaves no more behind than four, and spares files, their syncs and records. */
static bool is_run(const struct vms_node *n, const struct drain_job *d)
{
	size_t next = 0;

	for (size_t i = 1; i < d->items.n; i++) {
		const struct item *a = &d->items.d[i - 1], *b = &d->items.d[i];

		next += !a->range && !b->range && a->branch == b->branch &&
			a->snap_gen == b->snap_gen && a->extent == b->extent &&
			a->chunk + 1 == b->chunk;
	}
	return next >= CTR_CHUNKS_MIN && (next >= d->items.n / 8 * 7 || n->mut == MUT_RUN_ANY);
}

static struct vms_ovl_ext *batch_ext(struct vms_node *n, struct part *p, const struct batch_ent *b)
{
	return vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, b->m.branch, b->m.extent, b->m.snap_gen,
			       false);
}

/* Is it as it was when it was read? */
static bool still(struct vms_node *n, struct part *p, const struct batch_ent *b)
{
	struct vms_ovl_ext *e = batch_ext(n, p, b);
	const struct vms_move *m = &b->m;
	struct vms_ovl_chunk *c;
	struct vms_ovl_piece *pc;
	struct vms_ovl_view v;

	if (!e)
		return false;
	if (m->flags & VMS_MOVE_RANGE) {
		bool there = false;

		for (uint32_t x = 0; x < e->nranges; x++)
			there |= e->range[x].seq == m->from_seq && e->range[x].first == m->chunk &&
				 !e->range[x].pins;
		return there;
	}
	c = vms_ovl_chunk_get(&n->ovl, e, m->chunk, false);
	pc = c ? c->newest : NULL;
	while (pc && pc->seq != m->from_seq)
		pc = pc->older;
	if (!pc || c->pins)
		return false; /* overwritten meanwhile: it drops out */
	/* the same sectors as when it was read? A later write may have let older pieces
	 * go that still show as of from_seq; then zeros of a range below may show instead */
	vms_ovl_view(&n->ovl, e, m->chunk, m->from_seq, &v);
	return v.have == b->own && v.zero == b->own_zero;
}

/* A backup may hear of the commit of a later write before it has this record (which waits
 * for room on the way) and has let go of the pieces then. So the later one is waited for:
 * some of them go with it, or it is in the way no more. */
static bool fades(struct vms_node *n, struct part *p, const struct batch_ent *b)
{
	struct vms_ovl_ext *e = batch_ext(n, p, b);

	return !(b->m.flags & VMS_MOVE_RANGE) && n->mut != MUT_DRAIN_FADING &&
	       vms_ovl_fades(e, vms_ovl_chunk_get(&n->ovl, e, b->m.chunk, false), b->m.from_seq);
}

static void batch_dedup_done(struct vms_node *n, struct part *p, struct drain_job *d);

static void batch_clear(struct vms_node *n, struct drain_job *d)
{
	log_return(n, &d->lend);
	for (unsigned i = 0; i < d->n; i++)
		free(d->e[i].patch);
	d->n = d->next = 0;
}

/* What becomes of an entry of the record that is being made. */
enum fate { TO_HOLE, TO_PLACE, TO_HIT, TO_SAME };

/* An address that an earlier record of the batch named: may this one name it too? A
 * container of the own partition may be so new that its header is not written yet. */
static bool place_stands(struct vms_node *n, struct part *p, vms_addr a, uint64_t stamp)
{
	struct ctr *c;

	if (vms_addr_partition(a, n->conf.part_bits) != p->number)
		return stamp >= p->gc_cycle;
	c = part_ctr(p, vms_addr_container(a));
	return c && c->state != 3 && !c->sweeping && !c->punching && !c->victim;
}

static enum fate fate_of(struct vms_node *n, struct part *p, struct drain_job *d, unsigned i,
			 unsigned from)
{
	struct batch_ent *b = &d->e[i], *o;

	if (b->m.to == VMS_ADDR_HOLE)
		return TO_HOLE;
	if (b->hit.addr)
		return dedup_may_refer(n, p, &b->hit) ? TO_HIT : TO_PLACE;
	if (!b->same)
		return TO_PLACE;
	/* the first of them has a place in this record, or got one before; then what was
	 * said of that place must still hold (a TRIM may have let it die meanwhile) */
	o = &d->e[b->same - 1];
	if (b->same - 1 >= from)
		return o->take ? TO_SAME : TO_PLACE;
	return o->put && place_stands(n, p, o->put, o->hit.stamp) ? TO_SAME : TO_PLACE;
}

/* All content is there: name places and order the next record of the batch. */
static void batch_order(struct vms_node *n, struct part *p)
{
	struct drain_job *d = p->drain;
	struct vms_rec r = {.type = VMS_REC_DRAIN, .flags = VMS_RF_INTERNAL};
	struct vms_move out[VMS_SEG_ENTRIES_MAX];
	unsigned idx[VMS_SEG_ENTRIES_MAX];
	enum fate fate[VMS_SEG_ENTRIES_MAX];
	uint8_t meta[VMS_MOVES_META_MAX];
	unsigned k = 0, data = 0, place = 0, own = 0, at = 0, refused = 0, i;
	unsigned count[4] = {0};
	bool again = false;
	uint64_t ctr = 0;
	uint32_t seg = 0;

	if (p->trims.n)
		return; /* what was read may be gone when the TRIM is applied: looked at then */
	for (i = d->next; i < d->n && k < VMS_SEG_ENTRIES_MAX; i++) {
		struct batch_ent *b = &d->e[i];
		struct vms_ovl_ext *e;

		b->take = still(n, p, b);
		if (b->take && fades(n, p, b)) {
			b->take = false;
			d->faded = true;
		}
		e = b->take ? batch_ext(n, p, b) : NULL;
		/* items are sorted: all of one page have the same answer */
		if (e && !(i > d->next && d->e[i - 1].take && batch_ext(n, p, &d->e[i - 1]) == e) &&
		    n->mut != MUT_YOUNG_FIRST && older_left(n, p, e, d->e + d->next, i - d->next))
			b->take = false;
		if (!b->take)
			continue;
		idx[k] = i;
		fate[k] = fate_of(n, p, d, i, d->next);
		count[fate[k]]++;
		if (fate[k] == TO_PLACE && b->hit.addr) {
			refused++;
			again |= b->again = !b->asked_again && b->m.has_fp;
		}
		k++;
	}
	if (again) {
		d->busy = d->nested = true;
		drain_dedup_again(n, p, d, batch_dedup_done);
		d->nested = false;
		return;
	}
	if (!k) {
		d->next = i;
		return;
	}
	data = count[TO_PLACE];
	if (data && drain_place(n, p, data, &ctr, &seg))
		return; /* tried again when the container is open, or by the timer */
	/* holes first; places ascend */
	for (int pass = 0; pass < 2; pass++)
		for (unsigned x = 0; x < k; x++) {
			struct batch_ent *b = &d->e[idx[x]];
			struct vms_move *m = &out[at];

			if ((fate[x] == TO_HOLE) != (pass == 0))
				continue;
			*m = b->m;
			at++;
			if (fate[x] == TO_HOLE)
				continue;
			if (fate[x] == TO_PLACE)
				m->to = vms_addr_make(ctr,
						      (uint32_t)vms_seg_chunk_offset(seg, place++));
			else
				m->to = fate[x] == TO_HIT ? b->hit.addr : d->e[b->same - 1].put;
			b->put = m->to;
			if (fate[x] == TO_PLACE)
				continue;
			m->flags |= VMS_MOVE_REF;
			m->has_fp = false;
			own += fate[x] == TO_HIT &&
			       vms_addr_partition(m->to, n->conf.part_bits) == p->number;
		}
	vms_rec_moves_put(&r, meta, out, k);
	if (part_order(n, p, &r, NULL, 0)) {
		for (unsigned x = 0; x < k; x++)
			d->e[idx[x]].put = VMS_ADDR_HOLE;
		return; /* no log space: later */
	}
	d->ordered = true;
	if (data) {
		p->open_seg++;
		p->open_chunks += data;
	}
	dedup_count_hits(n, count[TO_SAME], own, count[TO_HIT] - own, refused);
	d->next = i;
}

static void batch_read(struct vms_node *n, struct fetch *f);
static void drain_go(struct vms_node *n, struct part *p);

struct batch_arg {
	struct drain_job *d;
	struct part *p;
	bool sync;
};

static void batch_content(struct drain_job *d, struct fetch *f)
{
	for (unsigned i = 0; i < d->n; i++) {
		struct batch_ent *be = &d->e[i];
		struct fetch_ent *e = &f->e[i];
		uint8_t *b = d->data + (size_t)i * VMS_CHUNK_BYTES;

		if ((be->m.flags & VMS_MOVE_RANGE) || be->m.to == VMS_ADDR_HOLE)
			continue;
		be->m.valid = VMS_MASK_FULL;
		if (be->chunk != b) { /* checked when it came, and again before it is written */
			if (vms_is_zero(be->chunk, VMS_CHUNK_BYTES))
				be->m.to = VMS_ADDR_HOLE;
			be->m.crc = be->m.to == VMS_ADDR_HOLE ? 0 : be->crc;
			continue;
		}
		if (be->patch) {
			if (e->status) {
				/* an unreadable base never blocks the log */
				be->m.valid = e->status == VMS_E_BAD_SECTORS ? e->valid : 0;
				be->m.valid |= be->patched;
				if (e->status != VMS_E_BAD_SECTORS)
					memset(b, 0, VMS_CHUNK_BYTES);
			}
			chunk_merge(b, be->patch, be->patched);
			free(be->patch);
			be->patch = NULL;
			for (unsigned s = 0; s < 8; s++)
				if (!(be->m.valid >> s & 1))
					memset(b + s * VMS_LB_BYTES, 0, VMS_LB_BYTES);
		}
		if (be->m.valid == VMS_MASK_FULL && vms_is_zero(b, VMS_CHUNK_BYTES)) {
			be->m.to = VMS_ADDR_HOLE;
			be->m.crc = 0;
		} else {
			be->m.crc = vms_crc32c(0, b, VMS_CHUNK_BYTES);
		}
	}
}

static void batch_dedup_done(struct vms_node *n, struct part *p, struct drain_job *d)
{
	d->busy = false;
	if (d->dead)
		drain_job_free(n, d);
	else if (!n->closing && !d->nested)
		drain_go(n, p);
}

static void batch_read(struct vms_node *n, struct fetch *f)
{
	struct batch_arg *a = f->arg;
	struct drain_job *d = a->d;
	struct part *p = a->p;
	bool stop = false, away = false;

	d->busy = d->reading = false;
	for (unsigned i = 0; i < f->nent; i++) {
		away |= f->e[i].status == VMS_E_AGAIN;
		stop |= f->e[i].status == VMS_E_STOPPING;
		/* collected between look-up and read: looked up again */
		stop |= f->e[i].status == VMS_E_GONE || f->e[i].status == VMS_E_UNKNOWN;
	}
	if (d->dead) {
		drain_job_free(n, d);
	} else if (stop || away) {
		p->base_wait = away;
		if (away)
			p->hold_ms = n->now_ms + n->tm.tick_ms;
		batch_clear(n, d);
		d->at = d->items.n; /* the next scan finds them again */
	} else {
		p->base_wait = false;
		batch_content(d, f);
		d->busy = drain_dedup(n, p, d, batch_dedup_done);
		if (!d->busy)
			log_return(n, &d->lend);
		if (!a->sync && !d->busy)
			drain_go(n, p);
	}
	free(a);
	fetch_free(f);
}

static void batch_start(struct vms_node *n, struct part *p)
{
	struct drain_job *d = p->drain;
	struct batch_arg *a = calloc(1, sizeof(*a));
	struct fetch *f = fetch_new(n, d->room);

	vms_assert(a);
	a->d = d;
	a->p = p;
	a->sync = true;
	f->arg = a;
	f->done = batch_read;
	f->patient = true;
	batch_clear(n, d);
	while (d->n < d->room && d->at < d->items.n) {
		struct item *it = &d->items.d[d->at++];
		struct batch_ent *be = &d->e[d->n];
		struct fetch_ent *fe = &f->e[d->n];
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, it->branch,
							it->extent, it->snap_gen, false);
		struct vms_ovl_view v;
		struct vms_page page;
		struct seen seen;
		uint8_t *to;

		if (!e || part_see(n, p, it->branch, it->extent, it->snap_gen, &seen))
			continue;
		memset(be, 0, sizeof(*be));
		be->m.branch = it->branch;
		be->m.snap_gen = it->snap_gen;
		be->m.extent = it->extent;
		be->m.chunk = it->chunk;
		be->m.valid = VMS_MASK_FULL;
		fe->skip = true;
		if (it->range) {
			be->m.flags = VMS_MOVE_RANGE;
			be->m.crc = it->count;
			be->m.from_seq = it->seq;
			d->n++;
			continue;
		}
		vms_ovl_view(&n->ovl, e, it->chunk, p->committed, &v);
		if (!v.newest_seq || !v.c || v.c->pins || !v.c->newest)
			continue;
		if (!(v.have | v.zero))
			continue;
		{
			struct vms_ovl_piece *pc = v.c->newest;

			while (pc && pc->seq > p->committed)
				pc = pc->older;
			if (!pc || pc->seq != v.newest_seq)
				continue; /* only the range shows: it is drained as such */
		}
		{
			/* a range that came after the scan goes first */
			bool wait = false;

			for (uint32_t x = 0; x < e->nranges; x++) {
				bool listed = e->range[x].pins != 0;

				for (unsigned y = 0; y < d->n && !listed; y++)
					listed = d->e[y].m.flags & VMS_MOVE_RANGE &&
						 d->e[y].m.extent == e->extent &&
						 d->e[y].m.branch == e->branch &&
						 d->e[y].m.snap_gen == e->snap_gen &&
						 d->e[y].m.from_seq == e->range[x].seq;
				wait |= !listed && e->range[x].seq < v.newest_seq &&
					it->chunk >= e->range[x].first &&
					it->chunk < e->range[x].first + e->range[x].count;
			}
			if (wait)
				continue;
		}
		be->m.from_seq = v.newest_seq;
		be->m.to = VMS_ADDR_ASK; /* a place follows */
		be->own = v.have;
		be->own_zero = v.zero;
		vms_ovl_view_stack(&n->ovl, &seen.ovl, it->chunk, p->committed, VMS_ADDR_ASK, &v);
		be->chunk = chunk_in_log(n, &v);
		if (be->chunk) {
			be->crc = v.src[0]->crc;
			log_lend(n, &d->lend, v.src[0]->data_pos);
			d->n++;
			continue;
		}
		be->chunk = to = d->data + (size_t)d->n * VMS_CHUNK_BYTES;
		if ((v.have | v.zero) != VMS_MASK_FULL) {
			memset(page.entry, 0, sizeof(page.entry));
			fe->skip = false;
			fe->buf = to;
			be->patch = to = malloc(VMS_CHUNK_BYTES);
			vms_assert(to);
			if (part_page(n, p, &seen, it->chunk / VMS_SUBEXT_CHUNKS, &page)) {
				/* it is being repaired; what lies under the write must not
				 * be given up meanwhile */
				fe->skip = true;
				fe->status = n->mut == MUT_DRAIN_BLIND ? VMS_E_CORRUPT
								       : VMS_E_AGAIN;
			}
		}
		chunk_resolve(n, p, &v, &page, it->chunk, to, &be->patched, &fe->addr);
		d->n++;
	}
	f->nent = d->n;
	if (!d->n) {
		free(a);
		fetch_free(f);
		return;
	}
	d->busy = d->reading = true;
	fetch_start(n, f);
	if (p->drain == d && d->reading)
		a->sync = false;
}

/* The partition has to be looked at for what can be drained. */
void drain_scan_due(struct vms_node *n, struct part *p)
{
	p->scan_due = n->drain_look = true;
}

/* Go on with a partition's job as far as records on their way allow. */
static void drain_go(struct vms_node *n, struct part *p)
{
	struct drain_job *d;

	while ((d = p->drain) && !d->busy) {
		unsigned before = d->next;

		if (!part_serving(p) || !part_members_ready(p) || n->stopping) {
			job_done(n, p);
			return;
		}
		if (p->moves_ordered >= DRAIN_AHEAD_MAX || p->trims.n)
			return;
		if (d->next < d->n) {
			batch_order(n, p);
			if (d->next == before)
				return; /* waits for a container or for log space */
			continue;
		}
		if (d->at >= d->items.n) {
			if (d->run)
				drain_run_end(n, p);
			job_done(n, p);
			return;
		}
		batch_start(n, p);
	}
}

/* A record of the partition was applied. */
void drain_applied(struct vms_node *n, struct part *p)
{
	if (p->drain)
		drain_go(n, p);
}

uint64_t drain_seq_below(const struct part *p, uint64_t pos, unsigned mut)
{
	uint64_t s = p->recs_first;

	/* records copied forward lie behind newer ones */
	for (size_t i = p->recs_head; i < p->recs.n; i++) {
		if (p->recs.d[i].log_pos < pos)
			s = p->recs_first + (i - p->recs_head);
		else if (mut == MUT_DRAIN_SHORT)
			break;
	}
	return s;
}

static void ask_primary(struct vms_node *n, struct part *p, uint8_t *body, unsigned *k)
{
	vms_put_le32(body + 16 * *k, p->number);
	vms_put_le32(body + 16 * *k + 4, 0);
	vms_put_le64(body + 16 * *k + 8, drain_seq_below(p, n->drain_limit, n->mut));
	(*k)++;
}

/* A member asks for partitions to be drained; the answer names those that cannot
 * be, because nodes that have a chunk to merge with are away. */
void drain_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_msg re = {
		.type = VMS_MSG_DRAIN, .flags = VMS_F_REPLY, .partition = VMS_PART_NONE};
	uint8_t body[16 * 256];
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	while (vms_rd_left(&r) >= 16) {
		struct part *p = node_part(n, vms_rd_u32(&r));
		uint64_t seq;

		vms_rd_skip(&r, 4);
		seq = vms_rd_u64(&r);
		if (m->flags & VMS_F_REPLY) {
			if (p && !p->primary && p->repl_conn == c->id)
				p->base_wait = true;
			continue;
		}
		if (p && p->primary) {
			/* asked again: the last scan found members not ready, or had no
			 * room for all; its own log may not need it any more */
			if (seq > p->drain_req || n->mut != MUT_DRAIN_ONCE)
				drain_scan_due(n, p);
			if (seq > p->drain_req)
				p->drain_req = seq;
		}
		if (p && p->primary && p->base_wait && re.body_bytes < sizeof(body)) {
			vms_put_le32(body + re.body_bytes, p->number);
			vms_put_le32(body + re.body_bytes + 4, 0);
			vms_put_le64(body + re.body_bytes + 8, seq);
			re.body_bytes += 16;
		}
	}
	re.body = body;
	if (re.body_bytes)
		node_send(n, c->id, &re);
}

void drain_timer(struct vms_node *n)
{
	uint64_t tail = vms_wal_gen_start_pos(n->wal, vms_wal_gen_oldest(n->wal));
	uint64_t size = vms_wal_size_bytes(n->wal), used = vms_wal_used_bytes(n->wal);
	bool again = n->now_ms >= n->drain_ms;
	uint64_t limit;

	/* A third full; or space is low and what was deleted waits in the log; or many
	 * snapshots were taken and reads go through ever more layers. */
	if (tail >= vms_wal_sealed_pos(n->wal) &&
	    ((used > size * 3 / 10 && n->now_ms - n->gen_seal_ms > 50) ||
	     (n->deep && n->now_ms - n->gen_seal_ms > n->tm.tick_ms) ||
	     (n->nospc && used && n->now_ms - n->gen_seal_ms > 1000))) {
		vms_wal_gen_seal(n->wal);
		n->gen_seal_ms = n->now_ms;
		n->deep = false;
	}
	limit = vms_wal_sealed_pos(n->wal);
	if (limit <= tail)
		limit = 0;
	if (limit > n->drain_limit) {
		n->drain_limit = limit;
		again = true;
	}
	if (again)
		n->drain_ms = n->now_ms + n->tm.tick_ms;
	/* each may end here, which moves the last one to its place */
	for (size_t i = n->drains.n; i-- > 0;) {
		struct part *p = n->part[n->drains.d[i]];

		if (p->known || p->learn)
			drain_go(n, p);
	}
	/* All of them only when there is something to find: this runs every 2 ms. */
	if (!again && !n->drain_look)
		goto end;
	n->drain_look = false;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || (!p->known && !p->learn))
			continue;
		if (part_serving(p) && again)
			drain_seal_left(n, p);
		if (p->drain)
			continue;
		if (p->clean_pos >= n->drain_limit && !p->scan_due) {
			p->base_wait = false;
			continue;
		}
		if (!p->ovl.exts) {
			p->clean_pos = n->drain_limit;
			p->scan_due = false;
			continue;
		}
		if (!again && !p->scan_due)
			continue;
		if (!part_serving(p) || !part_members_ready(p) || n->stopping) {
			p->scan_due = false;
			scan(n, p, n->drain_limit, 0, NULL);
			continue;
		}
		if (n->drains.n >= DRAIN_JOBS_MAX || n->now_ms < p->hold_ms ||
		    (n->drains.n && n->drain_bytes >= DRAIN_BYTES_MAX)) {
			n->drain_look |= p->scan_due;
			continue;
		}
		p->scan_due = false;
		p->drain = calloc(1, sizeof(*p->drain));
		vms_assert(p->drain);
		scan(n, p, n->drain_limit, p->drain_req, p->drain);
		if (!p->drain->items.n) {
			drain_job_free(n, p->drain);
			p->drain = NULL;
			continue;
		}
		VMS_VEC_PUSH(&n->drains, p->number);
		qsort(p->drain->items.d, p->drain->items.n, sizeof(struct item), item_cmp);
		p->drain->run = is_run(n, p->drain);
		job_room(n, p->drain);
		drain_go(n, p);
	}
	if (again) {
		uint8_t *body = malloc(16 * (size_t)n->nparts);

		vms_assert(body);
		for (unsigned x = 0; x < n->npeers && limit; x++) {
			struct peer *pe = n->peer[x];
			struct vms_msg m = {.type = VMS_MSG_DRAIN, .partition = VMS_PART_NONE};
			unsigned k = 0;

			for (uint32_t i = 0; pe->conn && i < n->nparts && k < 4096; i++) {
				struct part *p = n->part[i];

				if (p && (p->known || p->learn) && !p->primary &&
				    p->conf.primary == pe->id && p->clean_pos < n->drain_limit)
					ask_primary(n, p, body, &k);
			}
			if (!k)
				continue;
			m.body = body;
			m.body_bytes = 16 * k;
			node_send(n, pe->conn, &m);
		}
		free(body);
	}
end:
	if (n->drains.n)
		node_wake_at(n, n->now_ms + 2);
}

void vms_node_drain(struct vms_node *n)
{
	vms_wal_gen_seal(n->wal);
	n->gen_seal_ms = n->now_ms;
	node_wake_at(n, n->now_ms);
}
