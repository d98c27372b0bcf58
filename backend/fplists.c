// SPDX-License-Identifier: GPL-2.0-only
#include "backend/fplists.h"

#include <string.h>

#include "backend/ctr.h"
#include "backend/htab.h"
#include "utils/lib/bytes.h"

struct entry {
	struct vms_hlink link; /* key: prefix */
	struct list *list;
	uint32_t off; /* of the chunk in its container */
};

struct list {
	struct vms_hlink link; /* key: container */
	struct list *older, *newer;
	uint64_t bytes;
	uint32_t n;
	struct entry e[];
};

struct vms_fplists {
	struct vms_htab chunk, ctr;
	struct list *oldest, *newest;
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
		vms_htab_del(&l->chunk, &s->e[i].link);
	vms_htab_del(&l->ctr, &s->link);
	unlink_list(l, s);
	l->bytes -= s->bytes;
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
	free(l);
}

static struct list *list_of(const struct vms_fplists *l, uint64_t ctr)
{
	struct vms_hlink *h = vms_htab_find(&l->ctr, ctr);

	return h ? vms_hlink_entry(h, struct list, link) : NULL;
}

bool vms_fplists_has(const struct vms_fplists *l, uint64_t ctr)
{
	return list_of(l, ctr) != NULL;
}

void vms_fplists_del(struct vms_fplists *l, uint64_t ctr)
{
	struct list *s = list_of(l, ctr);

	if (s)
		drop(l, s);
}

bool vms_fplists_add(struct vms_fplists *l, uint64_t ctr, const uint8_t *body, size_t bytes,
		     uint32_t segs, uint64_t key_mask)
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
	p = body + ((size_t)segs + 7) / 8 * 8;
	for (uint32_t g = 0; g < segs; g++)
		for (unsigned i = 0; i < body[g]; i++, p += 8) {
			struct entry *e = &s->e[k];
			vms_fp_prefix f = vms_get_le64(p);

			if (!f)
				continue;
			e->list = s;
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

	for (struct vms_hlink *h = vms_htab_find(&l->chunk, p); h && n < room; h = vms_htab_next(h)) {
		struct entry *e = vms_hlink_entry(h, struct entry, link);

		out[n++] = vms_addr_make(e->list->link.key, e->off);
		if (l->newest != e->list) {
			unlink_list(l, e->list);
			newest(l, e->list);
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
