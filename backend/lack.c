// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes that nobody has: the apply lane's part. A record says where chunks go and which
 * checksum they have. When their base has rotted on every replica since, nobody can make
 * these bytes and the partition stands (apply_moves.c).
 *
 * Before that the lane tries the record's twins: references to the same place that were
 * ordered before it is written. Their content is the same, but it lies elsewhere, maybe
 * whole. After it the primary keeps what is left of each chunk by sectors, for the list and
 * for the record that gives the rest up (lack_search.c).
 *
 * Giving up is a REMAP record that moves each of these chunks on to another place, with the
 * sectors that are left as its valid mask; so all replicas, also one that comes back with the
 * bytes, hold the same from there on. The record that stands in front of it is applied with
 * that mask, too. No other REMAP names a place that its primary has not written yet. Keeps
 * invariant 25 (rules A2, A7).
 */
#include "backend/lack.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/ctr.h"
#include "backend/fetch.h"
#include "backend/lack_int.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/overlay.h"
#include "backend/wal.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/vec.h"

void lack_refs(struct vms_node *n, struct part *p, uint64_t seq, const vms_addr *to, unsigned nto,
	       lack_ref_fn fn, void *arg)
{
	struct vms_move m[VMS_SEG_ENTRIES_MAX];

	for (uint64_t s = seq; s <= p->seq_last; s++) {
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;
		int k;

		if (!pr || !pr->log_pos || pr->type != VMS_REC_DRAIN ||
		    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0)
			continue;
		k = vms_rec_moves_decode(&r, m, VMS_SEG_ENTRIES_MAX);
		for (int i = 0; i < k; i++)
			for (unsigned t = 0; t < nto && (m[i].flags & VMS_MOVE_REF); t++)
				if (m[i].to == to[t])
					fn(arg, &m[i], t);
	}
}

/* ---- twins ---- */

struct twin {
	struct vms_move m;
	uint8_t *buf;	  /* a chunk: what lies below; or all of it, when over is all */
	uint8_t *patch;	  /* a chunk: sectors of the log */
	uint8_t over;	  /* these sectors */
	bool unread;	  /* not now, but maybe later */
	unsigned fetched; /* entry of the fetch */
};

struct lack_twins {
	VMS_VEC(struct twin) v;
};

static void twin_add(void *arg, const struct vms_move *ref, unsigned i)
{
	struct lack_twins *t = arg;

	(void)i;
	*VMS_VEC_ADD(&t->v) = (struct twin){.m = *ref};
}

struct lack_twins *lack_twins(struct vms_node *n, struct part *p, uint64_t seq,
			      const struct vms_move *m, unsigned nm)
{
	struct lack_twins *t = calloc(1, sizeof(*t));
	vms_addr to[VMS_SEG_ENTRIES_MAX];
	unsigned k = 0;

	vms_assert(t);
	for (unsigned i = 0; i < nm; i++)
		if (vms_move_placed(&m[i]))
			to[k++] = m[i].to;
	lack_refs(n, p, seq, to, k, twin_add, t);
	if (t->v.n)
		return t;
	lack_twins_free(t);
	return NULL;
}

unsigned lack_twins_count(const struct lack_twins *t)
{
	return t ? (unsigned)t->v.n : 0;
}

static void twin_fetch(struct vms_node *n, struct part *p, struct twin *w, struct fetch_ent *e)
{
	struct branch *b = node_branch(n, w->m.branch, true);
	struct vms_ovl_view v;
	struct vms_page page;
	struct seen seen;

	e->skip = true;
	w->buf = malloc(2 * (size_t)VMS_CHUNK_BYTES);
	vms_assert(w->buf);
	w->patch = w->buf + VMS_CHUNK_BYTES;
	w->unread = true;
	if (!b->known || part_see(n, p, w->m.branch, w->m.extent, w->m.snap_gen, &seen))
		return;
	vms_ovl_view_stack(&n->ovl, &seen.ovl, w->m.chunk, w->m.from_seq, VMS_ADDR_ASK, &v);
	if ((v.have | v.zero) == VMS_MASK_FULL) {
		memset(&page, 0, sizeof(page));
	} else {
		if (part_page(n, p, &seen, w->m.chunk / VMS_SUBEXT_CHUNKS, &page))
			return; /* it is being repaired */
		e->skip = false;
		e->buf = w->buf;
	}
	chunk_resolve(n, p, &v, &page, w->m.chunk, w->patch, &w->over, &e->addr);
	w->unread = false;
}

void lack_twins_fetch(struct vms_node *n, struct part *p, struct lack_twins *t, struct fetch *f,
		      unsigned first)
{
	for (size_t i = 0; t && i < t->v.n; i++) {
		t->v.d[i].fetched = first + (unsigned)i;
		twin_fetch(n, p, &t->v.d[i], &f->e[first + i]);
	}
}

/* Sectors that are whole, put together in w->buf. */
static uint8_t twin_merge(const struct twin *w, const struct fetch *f)
{
	const struct fetch_ent *e = &f->e[w->fetched];
	uint8_t base = 0;

	if (w->unread)
		return 0;
	if (!e->skip && (!e->status || e->status == VMS_E_BAD_SECTORS))
		base = e->status ? e->valid : VMS_MASK_FULL;
	chunk_merge(w->buf, w->patch, w->over);
	return base | w->over;
}

bool lack_twins_merge(const struct lack_twins *t, const struct fetch *f, const struct vms_move *m,
		      uint8_t *b, uint8_t *over, uint8_t *keep)
{
	bool away = false;

	for (size_t i = 0; t && i < t->v.n; i++) {
		const struct twin *w = &t->v.d[i];
		uint8_t have, more;

		if (w->m.to != m->to)
			continue;
		have = twin_merge(w, f);
		away |= w->unread ||
			(!f->e[w->fetched].skip && (f->e[w->fetched].status == VMS_E_AGAIN ||
						    f->e[w->fetched].status == VMS_E_STOPPING));
		if (have == VMS_MASK_FULL) {
			if (vms_crc32c(0, w->buf, VMS_CHUNK_BYTES) == m->crc) {
				memcpy(b, w->buf, VMS_CHUNK_BYTES);
				*over = *keep = VMS_MASK_FULL;
				return false;
			}
			have = w->over; /* what lies below it is not what it was */
		}
		chunk_merge(b, w->buf, (uint8_t)(w->over & ~*over));
		*over |= w->over;
		more = have & (uint8_t) ~(*keep | w->over);
		chunk_merge(b, w->buf, more);
		*keep |= have | w->over;
	}
	return away;
}

void lack_twins_free(struct lack_twins *t)
{
	if (!t)
		return;
	VMS_VEC_FOREACH (&t->v, w)
		free(w->buf);
	VMS_VEC_FREE(&t->v);
	free(t);
}

/* ---- what is lacking ---- */

static void ent_set(const struct vms_node *n, struct lack_ent *e, const struct lack_chunk *c)
{
	uint8_t b[VMS_CHUNK_BYTES];

	e->m = c->m;
	e->base = c->base;
	e->keep = c->keep & c->m.valid;
	if (e->keep == c->m.valid)
		e->keep = c->over & c->m.valid; /* some of it is not what the record says */
	if (e->keep == c->m.valid || n->mut == MUT_LACK_ALL)
		e->keep = 0;
	memset(b, 0, sizeof(b));
	chunk_merge(b, c->b, e->keep);
	e->crc = vms_crc32c(0, b, sizeof(b));
}

void lack_note(struct vms_node *n, struct part *p, uint64_t seq, const struct lack_chunk *c,
	       unsigned nc, bool away)
{
	struct lack *l = p->lack;
	const struct prec *pr = part_rec(p, seq);

	if (!p->known || !p->primary || !pr)
		return;
	if (l && (l->seq != seq || l->epoch != p->conf.epoch)) {
		lack_end(n, p);
		l = NULL;
	}
	if (!l) {
		l = calloc(1, sizeof(*l));
		vms_assert(l);
		l->seq = seq;
		l->epoch = p->conf.epoch;
		l->type = pr->type;
		p->lack = l;
		n->nlacks++;
	}
	l->n = nc;
	for (unsigned i = 0; i < nc; i++)
		ent_set(n, &l->e[i], &c[i]);
	l->away = away;
	l->noted++;
}

void lack_end(struct vms_node *n, struct part *p)
{
	struct lack *l = p->lack;

	if (!l)
		return;
	p->lack = NULL;
	n->nlacks--;
	lack_search_end(l);
	for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++)
		free(l->found[i]);
	free(l);
}

const uint8_t *lack_found(const struct part *p, uint64_t seq, vms_addr to)
{
	return p->lack && p->lack->seq == seq ? p->lack->found[lack_place(to)] : NULL;
}

bool lack_given(struct vms_node *n, struct part *p, uint64_t seq, struct vms_move *m)
{
	struct vms_move g[VMS_SEG_ENTRIES_MAX];
	vms_addr place = m->to;
	bool any = false;

	/* the newest counts: something more was lost after an earlier one */
	for (uint64_t s = seq + 1; s <= p->committed; s++) {
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;
		int k;

		if (!pr || !pr->log_pos || pr->type != VMS_REC_REMAP ||
		    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0)
			continue;
		k = vms_rec_moves_decode(&r, g, VMS_SEG_ENTRIES_MAX);
		for (int i = 0; i < k; i++) {
			if (!vms_move_placed(&g[i]) || g[i].from_seq != place)
				continue;
			any |= m->valid != g[i].valid || m->crc != g[i].crc;
			m->valid = g[i].valid;
			m->crc = g[i].crc;
		}
	}
	if (any)
		m->has_fp = false; /* no longer the content that it stands for */
	return any;
}
