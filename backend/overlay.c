// SPDX-License-Identifier: GPL-2.0-only
/*
 * Overlay of undrained writes; see overlay.h. Invariants 1, 3, 27.
 *
 * Pieces hang newest first under their chunk. Nothing here knows commits but as
 * a number given by the caller, so replay, backup and primary share the code.
 */
#include "backend/overlay.h"

#include <string.h>

#define SLAB_ITEMS 1024

struct slab {
	struct slab *next;
};

static void *pool_get(struct vms_ovl *o, void **head, size_t bytes)
{
	void *p;

	if (!*head) {
		struct slab *s = malloc(sizeof(*s) + SLAB_ITEMS * bytes);
		char *at = (char *)(s + 1);

		vms_assert(s);
		s->next = o->slabs;
		o->slabs = s;
		for (int i = 0; i < SLAB_ITEMS; i++, at += bytes) {
			*(void **)at = *head;
			*head = at;
		}
	}
	p = *head;
	*head = *(void **)p;
	return p;
}

static void pool_put(void **head, void *p)
{
	*(void **)p = *head;
	*head = p;
}

void vms_ovl_init(struct vms_ovl *o)
{
	memset(o, 0, sizeof(*o));
	vms_htab_init(&o->ext, 1024);
	vms_htab_init_addrs(&o->addr, 1u << 14);
	vms_htab_init_addrs(&o->stub, 1u << 10);
}

void vms_ovl_close(struct vms_ovl *o)
{
	struct slab *s = o->slabs, *next;

	for (uint32_t i = 0; o->ext.bucket && i <= o->ext.mask; i++) {
		struct vms_hlink *l = o->ext.bucket[i], *nl;

		for (; l; l = nl) {
			struct vms_ovl_ext *e = vms_hlink_entry(l, struct vms_ovl_ext, link),
					   *older;

			nl = l->next;
			for (; e; e = older) {
				older = e->older;
				free(e->range);
				free(e);
			}
		}
	}
	vms_htab_free(&o->ext);
	vms_htab_free(&o->addr);
	vms_htab_free(&o->stub);
	for (; s; s = next) {
		next = s->next;
		free(s);
	}
	o->slabs = NULL;
}

static uint64_t ext_key(uint32_t partition, uint64_t branch, uint32_t extent)
{
	return vms_mix64(branch * 0x9e3779b97f4a7c15ull + extent) ^
	       vms_mix64((uint64_t)partition << 40);
}

static struct vms_ovl_ext *ext_head(const struct vms_ovl *o, uint32_t partition, uint64_t branch,
				    uint32_t extent)
{
	struct vms_hlink *l = vms_htab_find(&o->ext, ext_key(partition, branch, extent));

	for (; l; l = vms_htab_next(l)) {
		struct vms_ovl_ext *e = vms_hlink_entry(l, struct vms_ovl_ext, link);

		if (e->branch == branch && e->extent == extent && e->partition == partition)
			return e;
	}
	return NULL;
}

struct vms_ovl_ext *vms_ovl_line(const struct vms_ovl *o, uint32_t partition, uint64_t branch,
				 uint32_t extent, uint64_t max_gen)
{
	struct vms_ovl_ext *e = ext_head(o, partition, branch, extent);

	while (e && e->snap_gen > max_gen)
		e = e->older;
	return e;
}

struct vms_ovl_ext *vms_ovl_ext_get(struct vms_ovl *o, struct vms_ovl_part *p, uint32_t partition,
				    uint64_t branch, uint32_t extent, uint64_t snap_gen,
				    bool create)
{
	struct vms_ovl_ext *e = ext_head(o, partition, branch, extent), *newer = NULL;

	for (; e && e->snap_gen > snap_gen; e = e->older)
		newer = e;
	if (e && e->snap_gen == snap_gen)
		return e;
	if (!create)
		return NULL;
	{
		struct vms_ovl_ext *older = e;

		e = calloc(1, sizeof(*e));
		vms_assert(e);
		e->older = older;
		e->newer = newer;
		if (older)
			older->newer = e;
		if (newer)
			newer->older = e;
	}
	e->branch = branch;
	e->extent = extent;
	e->snap_gen = snap_gen;
	e->partition = partition;
	e->part = p;
	e->next = p->exts;
	if (p->exts)
		p->exts->prev = e;
	p->exts = e;
	if (!newer) {
		if (e->older)
			vms_htab_del(&o->ext, &e->older->link);
		vms_htab_add(&o->ext, &e->link, ext_key(partition, branch, extent));
	}
	return e;
}

void vms_ovl_ext_tidy(struct vms_ovl *o, struct vms_ovl_ext *e)
{
	if (e->chunks || e->nranges)
		return;
	if (e->prev)
		e->prev->next = e->next;
	else
		e->part->exts = e->next;
	if (e->next)
		e->next->prev = e->prev;
	if (e->older)
		e->older->newer = e->newer;
	if (e->newer) {
		e->newer->older = e->older;
	} else {
		vms_htab_del(&o->ext, &e->link);
		if (e->older)
			vms_htab_add(&o->ext, &e->older->link, e->link.key);
	}
	free(e->range);
	free(e);
}

static inline struct vms_ovl_chunk *chunk_of(const struct vms_ovl_ext *e, uint16_t chunk)
{
	const struct vms_ovl_group *g = e->group[chunk / VMS_OVL_GROUP_CHUNKS];

	return g ? g->c[chunk % VMS_OVL_GROUP_CHUNKS] : NULL;
}

struct vms_ovl_chunk *vms_ovl_chunk_get(struct vms_ovl *o, struct vms_ovl_ext *e, uint16_t chunk,
					bool create)
{
	struct vms_ovl_chunk *c = chunk_of(e, chunk);
	struct vms_ovl_group **g = &e->group[chunk / VMS_OVL_GROUP_CHUNKS];

	if (c)
		return c;
	if (!create)
		return NULL;
	if (!*g) {
		*g = pool_get(o, &o->free_groups, sizeof(**g));
		memset(*g, 0, sizeof(**g));
	}
	c = pool_get(o, &o->free_chunks, sizeof(*c));
	memset(c, 0, sizeof(*c));
	c->ext = e;
	c->chunk = chunk;
	c->next = e->chunks;
	if (e->chunks)
		e->chunks->prev = c;
	e->chunks = c;
	e->nchunks++;
	o->nchunks++;
	(*g)->c[chunk % VMS_OVL_GROUP_CHUNKS] = c;
	(*g)->n++;
	return c;
}

void vms_ovl_chunk_tidy(struct vms_ovl *o, struct vms_ovl_chunk *c)
{
	struct vms_ovl_ext *e = c->ext;
	struct vms_ovl_group **g = &e->group[c->chunk / VMS_OVL_GROUP_CHUNKS];

	if (c->newest || c->stub || c->pins)
		return;
	if (c->prev)
		c->prev->next = c->next;
	else
		e->chunks = c->next;
	if (c->next)
		c->next->prev = c->prev;
	(*g)->c[c->chunk % VMS_OVL_GROUP_CHUNKS] = NULL;
	if (!--(*g)->n) {
		pool_put(&o->free_groups, *g);
		*g = NULL;
	}
	e->nchunks--;
	o->nchunks--;
	pool_put(&o->free_chunks, c);
}

static void piece_free(struct vms_ovl *o, struct vms_ovl_piece *p)
{
	if (p->addr)
		vms_htab_del(&o->addr, &p->by_addr);
	p->c->ext->part->npieces--;
	o->npieces--;
	pool_put(&o->free_pieces, p);
}

void vms_ovl_piece_add(struct vms_ovl *o, struct vms_ovl_chunk *c, uint64_t seq, uint8_t mask,
		       bool zero, uint64_t data_pos, vms_addr addr, uint32_t crc)
{
	struct vms_ovl_piece **at = &c->newest, *p;

	while (*at && (*at)->seq > seq)
		at = &(*at)->older;
	if (*at && (*at)->seq == seq) {
		(*at)->data_pos = data_pos;
		return;
	}
	p = pool_get(o, &o->free_pieces, sizeof(*p));
	p->c = c;
	p->seq = seq;
	p->mask = mask;
	p->zero = zero;
	p->data_pos = data_pos;
	p->addr = addr;
	p->crc = crc;
	p->older = *at;
	*at = p;
	c->ext->part->npieces++;
	o->npieces++;
	if (addr)
		vms_htab_add(&o->addr, &p->by_addr, addr);
}

void vms_ovl_range_add(struct vms_ovl *o, struct vms_ovl_ext *e, uint64_t seq, uint64_t rec_pos,
		       uint16_t first, uint16_t count)
{
	uint32_t i = e->nranges;

	for (uint32_t k = 0; k < e->nranges; k++)
		if (e->range[k].seq == seq && e->range[k].first == first) {
			e->range[k].rec_pos = rec_pos; /* copied forward */
			return;
		}
	if (e->nranges == e->range_room) {
		e->range_room = e->range_room ? e->range_room * 2 : 4;
		e->range = realloc(e->range, e->range_room * sizeof(*e->range));
		vms_assert(e->range);
	}
	for (; i && e->range[i - 1].seq > seq; i--)
		e->range[i] = e->range[i - 1];
	e->range[i] = (struct vms_ovl_range){seq, rec_pos, first, count, 0};
	e->nranges++;
	e->part->nranges++;
}

/* Seq of the newest committed range over the chunk; 0: none. *newer: an
 * uncommitted one lies over it. *pos: where the range's record lies. */
static uint64_t range_over(const struct vms_ovl_ext *e, uint16_t chunk, uint64_t committed,
			   bool *newer, uint64_t *pos)
{
	*newer = false;
	for (uint32_t i = e->nranges; i-- > 0;) {
		const struct vms_ovl_range *r = &e->range[i];

		if (chunk < r->first || chunk >= r->first + r->count)
			continue;
		if (r->seq > committed) {
			*newer = true;
			continue;
		}
		*pos = r->rec_pos;
		return r->seq;
	}
	return 0;
}

void vms_ovl_commit(struct vms_ovl *o, struct vms_ovl_chunk *c, uint64_t committed)
{
	struct vms_ovl_piece *p, *cut = NULL;
	bool newer;
	uint64_t pos, rseq;
	uint8_t have = 0;

	if (c->stub && c->newest)
		for (p = c->newest; p; p = p->older)
			if (p->seq <= committed && p->seq > c->stub_seq) {
				vms_ovl_stub_drop(o, c);
				break;
			}
	if (c->pins)
		return;
	rseq = range_over(c->ext, c->chunk, committed, &newer, &pos);
	for (p = c->newest; p; p = p->older) {
		if (p->seq > committed)
			continue;
		if (p->seq < rseq)
			break;
		have |= p->mask;
		if (have == VMS_MASK_FULL) {
			cut = p;
			break;
		}
	}
	/* p: first piece that is wholly covered, or the one that completes the cover */
	if (!p)
		return;
	if (cut) {
		/* a partial piece that completes the cover still shows sectors: keep it */
		p = cut->older;
		cut->older = NULL;
	} else {
		struct vms_ovl_piece **at = &c->newest;

		while (*at != p)
			at = &(*at)->older;
		*at = NULL;
	}
	while (p) {
		struct vms_ovl_piece *next = p->older;

		piece_free(o, p);
		p = next;
	}
}

void vms_ovl_commit_range(struct vms_ovl *o, struct vms_ovl_ext *e, uint16_t first, uint16_t count,
			  uint64_t committed)
{
	struct vms_ovl_chunk *c, *next;

	for (c = e->chunks; c; c = next) {
		next = c->next;
		if (c->chunk < first || c->chunk >= first + count)
			continue;
		if (c->stub)
			vms_ovl_stub_drop(o, c);
		vms_ovl_commit(o, c, committed);
		vms_ovl_chunk_tidy(o, c);
	}
}

void vms_ovl_commit_all(struct vms_ovl *o, struct vms_ovl_part *p, uint64_t committed)
{
	struct vms_ovl_ext *e, *en;

	for (e = p->exts; e; e = en) {
		struct vms_ovl_chunk *c, *cn;

		en = e->next;
		for (c = e->chunks; c; c = cn) {
			cn = c->next;
			vms_ovl_commit(o, c, committed);
			vms_ovl_chunk_tidy(o, c);
		}
		vms_ovl_ext_tidy(o, e);
	}
}

void vms_ovl_drained(struct vms_ovl *o, struct vms_ovl_chunk *c, uint64_t upto)
{
	struct vms_ovl_piece **at = &c->newest, *p;

	while (*at && (*at)->seq > upto)
		at = &(*at)->older;
	p = *at;
	*at = NULL;
	while (p) {
		struct vms_ovl_piece *next = p->older;

		piece_free(o, p);
		p = next;
	}
}

void vms_ovl_range_drained(struct vms_ovl *o, struct vms_ovl_ext *e, uint16_t first, uint64_t seq)
{
	struct vms_ovl_chunk *c, *next;

	for (uint32_t i = 0; i < e->nranges; i++)
		if (e->range[i].seq == seq && e->range[i].first == first) {
			/* What the range covers goes with it. A chunk whose next drain was
			 * ordered before the range committed here (a backup, replay) was
			 * pinned then and has kept it: without the range it would show
			 * through again. No drain still to come names it: the primary
			 * dropped it before. */
			for (c = e->chunks; c; c = next) {
				next = c->next;
				if (c->chunk < first || c->chunk >= first + e->range[i].count)
					continue;
				vms_ovl_drained(o, c, seq);
				vms_ovl_chunk_tidy(o, c);
			}
			memmove(&e->range[i], &e->range[i + 1],
				(e->nranges - i - 1) * sizeof(*e->range));
			e->nranges--;
			e->part->nranges--;
			return;
		}
}

void vms_ovl_void(struct vms_ovl *o, struct vms_ovl_part *part, uint64_t from)
{
	struct vms_ovl_ext *e, *en;

	for (e = part->exts; e; e = en) {
		struct vms_ovl_chunk *c, *cn;
		uint32_t k = 0;

		en = e->next;
		for (c = e->chunks; c; c = cn) {
			cn = c->next;
			while (c->newest && c->newest->seq >= from) {
				struct vms_ovl_piece *p = c->newest;

				c->newest = p->older;
				piece_free(o, p);
			}
			vms_ovl_chunk_tidy(o, c);
		}
		for (uint32_t i = 0; i < e->nranges; i++)
			if (e->range[i].seq < from)
				e->range[k++] = e->range[i];
		part->nranges -= e->nranges - k;
		e->nranges = k;
		vms_ovl_ext_tidy(o, e);
	}
}

void vms_ovl_trim(struct vms_ovl *o, struct vms_ovl_part *part, uint64_t branch,
		  uint64_t first_chunk, uint64_t below)
{
	struct vms_ovl_ext *e, *en;

	for (e = part->exts; e; e = en) {
		uint64_t base = (uint64_t)e->extent * VMS_EXTENT_CHUNKS;
		struct vms_ovl_chunk *c, *cn;
		uint32_t k = 0;

		en = e->next;
		if (e->branch != branch || base + VMS_EXTENT_CHUNKS <= first_chunk)
			continue;
		for (c = e->chunks; c; c = cn) {
			cn = c->next;
			if (base + c->chunk < first_chunk)
				continue;
			if (c->stub && c->stub_seq < below)
				vms_ovl_stub_drop(o, c);
			vms_ovl_drained(o, c, below - 1);
			vms_ovl_chunk_tidy(o, c);
		}
		for (uint32_t i = 0; i < e->nranges; i++)
			if (e->range[i].seq >= below || base + e->range[i].first < first_chunk)
				e->range[k++] = e->range[i];
		part->nranges -= e->nranges - k;
		e->nranges = k;
		vms_ovl_ext_tidy(o, e);
	}
}

void vms_ovl_part_drop(struct vms_ovl *o, struct vms_ovl_part *part)
{
	struct vms_ovl_ext *e, *en;

	for (e = part->exts; e; e = en) {
		struct vms_ovl_chunk *c, *cn;

		en = e->next;
		for (c = e->chunks; c; c = cn) {
			cn = c->next;
			if (c->stub)
				vms_ovl_stub_drop(o, c);
			c->pins = 0;
			vms_ovl_drained(o, c, UINT64_MAX);
			vms_ovl_chunk_tidy(o, c);
		}
		part->nranges -= e->nranges;
		e->nranges = 0;
		vms_ovl_ext_tidy(o, e);
	}
}

void vms_ovl_stub_drop(struct vms_ovl *o, struct vms_ovl_chunk *c)
{
	if (!c->stub)
		return;
	vms_htab_del(&o->stub, &c->by_stub);
	c->stub = false;
	c->ext->part->nstubs--;
}

void vms_ovl_stub_set(struct vms_ovl *o, struct vms_ovl_chunk *c, vms_addr handed, vms_addr to,
		      uint64_t seq)
{
	vms_ovl_stub_drop(o, c);
	c->stub = true;
	c->stub_handed = handed;
	c->stub_to = to;
	c->stub_seq = seq;
	c->ext->part->nstubs++;
	vms_htab_add(&o->stub, &c->by_stub, handed);
}

bool vms_ovl_fades(const struct vms_ovl_ext *e, const struct vms_ovl_chunk *c, uint64_t seq)
{
	uint8_t have = 0, shown = 0; /* by all, by those up to seq */
	uint64_t pos, below;
	bool newer;

	below = range_over(e, c->chunk, seq, &newer, &pos);
	if (newer)
		return true;
	/* as vms_ovl_commit() does it once all above is committed: the most that goes */
	for (const struct vms_ovl_piece *p = c->newest; p && shown != VMS_MASK_FULL; p = p->older) {
		if (p->seq <= seq) {
			if (p->seq < below)
				break;
			if (have == VMS_MASK_FULL && (p->mask & (uint8_t)~shown))
				return true;
			shown |= p->mask;
		}
		have |= p->mask;
	}
	return false;
}

bool vms_ovl_undrained(const struct vms_ovl_ext *e, const struct vms_ovl_chunk *c)
{
	uint64_t pos;
	bool newer;

	return c->newest && c->newest->seq > (c->pins ? c->pin_seq : 0) &&
	       c->newest->seq > range_over(e, c->chunk, UINT64_MAX, &newer, &pos);
}

/* Add what a layer has to what the layers above it have left open. */
static inline void view_layer(const struct vms_ovl_ext *e, const struct vms_ovl_chunk *c,
			      uint16_t chunk, uint64_t committed, struct vms_ovl_view *v)
{
	uint64_t rseq, rpos = 0;
	bool newer;

	rseq = range_over(e, chunk, committed, &newer, &rpos);
	v->uncommitted |= newer;
	for (struct vms_ovl_piece *p = c ? c->newest : NULL; p; p = p->older) {
		uint8_t m;

		if (p->seq > committed) {
			v->uncommitted = true;
			continue;
		}
		if (p->seq < rseq)
			break;
		if (!v->newest_seq) {
			v->newest_seq = p->seq;
			v->addr = p->addr;
		}
		m = p->mask & (uint8_t) ~(v->have | v->zero);
		if (!m)
			continue;
		if (p->data_pos < v->min_pos)
			v->min_pos = p->data_pos;
		if (p->seq < v->min_seq)
			v->min_seq = p->seq;
		if (p->zero) {
			v->zero |= m;
		} else {
			for (int i = 0; i < 8; i++)
				if (m >> i & 1)
					v->src[i] = p;
			v->have |= m;
		}
		if ((v->have | v->zero) == VMS_MASK_FULL)
			break;
	}
	if (rseq && (v->have | v->zero) != VMS_MASK_FULL) {
		v->zero |= (uint8_t)~v->have;
		if (rpos < v->min_pos)
			v->min_pos = rpos;
		if (rseq < v->min_seq)
			v->min_seq = rseq;
		if (!v->newest_seq) {
			v->newest_seq = rseq;
			v->addr = VMS_ADDR_HOLE;
		}
	}
}

static void view_begin(struct vms_ovl_view *v)
{
	memset(v, 0, sizeof(*v));
	v->min_pos = v->min_seq = UINT64_MAX;
}

void vms_ovl_view(const struct vms_ovl *o, const struct vms_ovl_ext *e, uint16_t chunk,
		  uint64_t committed, struct vms_ovl_view *v)
{
	view_begin(v);
	if (!e)
		return;
	v->c = chunk_of(e, chunk);
	view_layer(e, v->c, chunk, committed, v);
}

void vms_ovl_stack(const struct vms_ovl *o, uint32_t partition, const struct vms_stack *st,
		   uint32_t extent, struct vms_ovl_stack *out)
{
	uint64_t base = (uint64_t)extent * VMS_EXTENT_CHUNKS;

	out->n = 0;
	for (unsigned i = 0; i < st->n && st->l[i].limit_chunks > base; i++) {
		struct vms_ovl_ext *e = vms_ovl_line(o, partition, st->l[i].branch, extent,
						     st->l[i].snap_gen);
		uint64_t limit = st->l[i].limit_chunks - base;

		if (!e)
			continue;
		out->l[out->n].e = e;
		out->l[out->n++].limit = limit < VMS_EXTENT_CHUNKS ? (uint16_t)limit
								   : VMS_EXTENT_CHUNKS;
	}
}

vms_addr vms_ovl_handed(const struct vms_ovl *o, const struct vms_ovl_stack *s, uint16_t chunk,
			vms_addr entry)
{
	for (unsigned i = 0; i < s->n && chunk < s->l[i].limit; i++) {
		const struct vms_ovl_ext *e = s->l[i].e;

		for (; e && e->part->nstubs; e = e->older) {
			struct vms_ovl_chunk *c = chunk_of(e, chunk);

			if (c && c->stub && c->stub_to == entry)
				return c->stub_handed;
		}
	}
	return entry;
}

void vms_ovl_view_stack(const struct vms_ovl *o, const struct vms_ovl_stack *s, uint16_t chunk,
			uint64_t committed, vms_addr entry, struct vms_ovl_view *v)
{
	vms_addr handed = entry;

	view_begin(v);
	for (unsigned i = 0; i < s->n && chunk < s->l[i].limit; i++)
		for (const struct vms_ovl_ext *e = s->l[i].e; e; e = e->older) {
			struct vms_ovl_chunk *c = chunk_of(e, chunk);

			if (!i && e == s->l[0].e)
				v->c = c;
			if (!c && !e->nranges)
				continue;
			view_layer(e, c, chunk, committed, v);
			if ((v->have | v->zero) == VMS_MASK_FULL)
				return;
			if (handed == entry && c && c->stub && c->stub_to == entry)
				handed = c->stub_handed;
		}
	if (!v->newest_seq)
		v->addr = handed;
}

struct vms_ovl_piece *vms_ovl_by_addr(const struct vms_ovl *o, vms_addr a)
{
	struct vms_hlink *l = vms_htab_find(&o->addr, a);

	return l ? vms_hlink_entry(l, struct vms_ovl_piece, by_addr) : NULL;
}

struct vms_ovl_chunk *vms_ovl_by_stub(const struct vms_ovl *o, vms_addr a)
{
	struct vms_hlink *l = vms_htab_find(&o->stub, a);

	return l ? vms_hlink_entry(l, struct vms_ovl_chunk, by_stub) : NULL;
}
