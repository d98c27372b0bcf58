/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of the gateway core: lists, pools of objects, sets of nodes. */
#ifndef VMS_GW_LIST_H
#define VMS_GW_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "include/types.h"

/* ---- lists and pools ---- */

struct gw_link {
	struct gw_link *next, *prev;
};
#define gw_entry(l, T, f) ((T *)((char *)(l)-offsetof(T, f)))
static inline void gw_list_init(struct gw_link *h)
{
	h->next = h->prev = h;
}
static inline bool gw_list_empty(const struct gw_link *h)
{
	return h->next == h;
}
static inline void gw_list_add(struct gw_link *h, struct gw_link *l) /* at the tail */
{
	l->next = h;
	l->prev = h->prev;
	h->prev->next = l;
	h->prev = l;
}
static inline void gw_list_add_head(struct gw_link *h, struct gw_link *l)
{
	gw_list_add(h->next, l);
}
static inline void gw_list_del(struct gw_link *l)
{
	l->next->prev = l->prev;
	l->prev->next = l->next;
	l->next = l->prev = l;
}
/* Walk that survives removal of the current entry. */
#define gw_each(l, h)                                                                              \
	for (struct gw_link *l = (h)->next, *l##_n = l->next; l != (h); l = l##_n, l##_n = l->next)

struct gw_pool {
	size_t size;
	unsigned per; /* objects taken from malloc at once */
	void *free;   /* linked through the first pointer */
	void *slabs;
	uint64_t live;
};
void gw_pool_init(struct gw_pool *p, size_t size, unsigned per);
void *gw_pool_get_(struct gw_pool *p);		   /* slow half: aborts when memory is out */
static inline void *gw_pool_get(struct gw_pool *p) /* not zeroed */
{
	void *o = p->free;

	if (__builtin_expect(!o, 0))
		return gw_pool_get_(p);
	p->free = *(void **)o;
	p->live++;
	return o;
}
static inline void *gw_pool_zget(struct gw_pool *p)
{
	return memset(gw_pool_get(p), 0, p->size);
}
static inline void gw_pool_put(struct gw_pool *p, void *o)
{
	*(void **)o = p->free;
	p->free = o;
	p->live--;
}
void gw_pool_fini(struct gw_pool *p);

/* ---- sets of nodes, a bit each ---- */

static inline void gw_bit_set(uint64_t *b, uint32_t i)
{
	b[i / 64] |= 1ull << (i % 64);
}
static inline void gw_bit_clear(uint64_t *b, uint32_t i)
{
	b[i / 64] &= ~(1ull << (i % 64));
}
static inline bool gw_bit_get(const uint64_t *b, uint32_t i)
{
	return b[i / 64] >> (i % 64) & 1;
}
static inline bool gw_bits_none(const uint64_t *b)
{
	for (unsigned i = 0; i < VMS_NODES_MAX / 64; i++)
		if (b[i])
			return false;
	return true;
}

#endif
