// SPDX-License-Identifier: GPL-2.0-only
#include "backend/fplists.h"

#include <string.h>

#include "backend/ctr.h"
#include "backend/htab.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

struct entry {
	struct vms_hlink link; /* key: prefix */
	uint32_t slot;	       /* of its list */
	uint32_t off;	       /* of the chunk in its container; 0: forgotten */
};

struct list {
	struct vms_hlink link; /* key: container */
	struct list *older, *newer;
	uint64_t bytes, added_ms;
	uint32_t n, slot;
	struct entry e[];
};

struct vms_fplists {
	struct vms_htab chunk, ctr;
	struct list *oldest, *newest;
	VMS_VEC(struct list *) slots;
	VMS_VEC(uint32_t) free_slots;
	uint64_t bytes, bytes_max;
};

bool vms_fplist_check(const uint8_t *body, size_t bytes, uint32_t segs, uint32_t *chunks)
{
	uint32_t n = 0;
	size_t pad = ((size_t)segs + 7) / 8 * 8;

	if (segs > VMS_CTR_SEGS_MAX || bytes < pad)
		return false;
	for (size_t i = 0; i < pad; i++) {
		if (body[i] > VMS_SEG_ENTRIES_MAX || (i >= segs && body[i]))
			return false;
		n += body[i];
	}
	*chunks = n;
	return bytes == vms_fplist_bytes(segs, n);
}

struct vms_fplists *vms_fplists_new(uint64_t bytes_max)
{
	struct vms_fplists *l = calloc(1, sizeof(*l));

	vms_assert(l);
	vms_htab_init(&l->chunk, 1024);
	vms_htab_init(&l->ctr, 64);
	l->bytes_max = bytes_max;
	return l;
}

/* What an entry costs: itself and its share of the table. */
static uint64_t cost(uint32_t n)
{
	return sizeof(struct list) + n * (sizeof(struct entry) + sizeof(void *));
}

static void unlink_list(struct vms_fplists *l, struct list *s)
{
	if (s->older)
		s->older->newer = s->newer;
	else
		l->oldest = s->newer;
	if (s->newer)
		s->newer->older = s->older;
	else
		l->newest = s->older;
}

static void newest(struct vms_fplists *l, struct list *s)
{
	s->newer = NULL;
	s->older = l->newest;
	if (l->newest)
		l->newest->newer = s;
	else
		l->oldest = s;
	l->newest = s;
}

static void drop(struct vms_fplists *l, struct list *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->e[i].off)
			vms_htab_del(&l->chunk, &s->e[i].link);
	vms_htab_del(&l->ctr, &s->link);
	unlink_list(l, s);
	l->bytes -= s->bytes;
	VMS_VEC_PUSH(&l->free_slots, s->slot);
	free(s);
}

void vms_fplists_free(struct vms_fplists *l)
{
	if (!l)
		return;
	while (l->oldest) {
		struct list *s = l->oldest;

		l->oldest = s->newer;
		free(s);
	}
	vms_htab_free(&l->chunk);
	vms_htab_free(&l->ctr);
	VMS_VEC_FREE(&l->slots);
	VMS_VEC_FREE(&l->free_slots);
	free(l);
}

static struct list *list_of(const struct vms_fplists *l, uint64_t ctr)
{
	struct vms_hlink *h = vms_htab_find(&l->ctr, ctr);

	return h ? vms_hlink_entry(h, struct list, link) : NULL;
}

uint64_t vms_fplists_added(const struct vms_fplists *l, uint64_t ctr)
{
	const struct list *s = list_of(l, ctr);

	return s ? s->added_ms : 0;
}

void vms_fplists_del(struct vms_fplists *l, uint64_t ctr)
{
	struct list *s = list_of(l, ctr);

	if (s)
		drop(l, s);
}

void vms_fplists_forget(struct vms_fplists *l, vms_fp_prefix p, vms_addr a)
{
	for (struct vms_hlink *h = vms_htab_find(&l->chunk, p); h; h = vms_htab_next(h)) {
		struct entry *e = vms_hlink_entry(h, struct entry, link);

		if (vms_addr_make(l->slots.d[e->slot]->link.key, e->off) != a)
			continue;
		vms_htab_del(&l->chunk, h);
		e->off = 0;
		return;
	}
}

bool vms_fplists_add(struct vms_fplists *l, uint64_t ctr, const uint8_t *body, size_t bytes,
		     uint32_t segs, uint64_t key_mask, uint64_t now_ms)
{
	uint32_t chunks, k = 0;
	const uint8_t *p;
	struct list *s;

	vms_fplists_del(l, ctr);
	if (!vms_fplist_check(body, bytes, segs, &chunks) || cost(chunks) > l->bytes_max)
		return false;
	while (l->oldest && l->bytes + cost(chunks) > l->bytes_max)
		drop(l, l->oldest);
	s = malloc(sizeof(*s) + chunks * sizeof(*s->e));
	if (!s)
		return false;
	if (l->free_slots.n) {
		s->slot = VMS_VEC_POP(&l->free_slots);
	} else {
		s->slot = (uint32_t)l->slots.n;
		VMS_VEC_PUSH(&l->slots, s);
	}
	l->slots.d[s->slot] = s;
	s->added_ms = now_ms ? now_ms : 1;
	p = body + ((size_t)segs + 7) / 8 * 8;
	for (uint32_t g = 0; g < segs; g++)
		for (unsigned i = 0; i < body[g]; i++, p += 8) {
			struct entry *e = &s->e[k];
			vms_fp_prefix f = vms_get_le64(p);

			if (!f)
				continue;
			e->slot = s->slot;
			e->off = (uint32_t)vms_seg_chunk_offset(g, i);
			vms_htab_add(&l->chunk, &e->link, f & key_mask);
			k++;
		}
	s->n = k;
	vms_htab_add(&l->ctr, &s->link, ctr);
	newest(l, s);
	s->bytes = cost(chunks);
	l->bytes += s->bytes;
	return true;
}

unsigned vms_fplists_find(struct vms_fplists *l, vms_fp_prefix p, vms_addr *out, unsigned room)
{
	unsigned n = 0;

	for (struct vms_hlink *h = vms_htab_find(&l->chunk, p); h && n < room;
	     h = vms_htab_next(h)) {
		struct entry *e = vms_hlink_entry(h, struct entry, link);
		struct list *s = l->slots.d[e->slot];

		out[n++] = vms_addr_make(s->link.key, e->off);
		if (l->newest != s) {
			unlink_list(l, s);
			newest(l, s);
		}
	}
	return n;
}

uint64_t vms_fplists_count(const struct vms_fplists *l)
{
	return l->ctr.n;
}

uint64_t vms_fplists_bytes(const struct vms_fplists *l)
{
	return l->bytes;
}
