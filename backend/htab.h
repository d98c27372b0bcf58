/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intrusive chained hash table keyed by exact 64-bit numbers: one pointer chase
 * per lookup, no allocation per entry. Keys that occur twice are allowed (the
 * owner compares further). Owner: the node thread.
 */
#ifndef VMS_HTAB_H
#define VMS_HTAB_H

#include <stdint.h>
#include <stdlib.h>

#include "include/types.h"
#include "utils/lib/assert.h"

struct vms_hlink {
	struct vms_hlink *next;
	uint64_t key;
};

struct vms_htab {
	struct vms_hlink **bucket;
	uint32_t mask; /* buckets - 1 */
	uint32_t n;
	bool addrs; /* keys are addresses of chunks: neighbours lie in the same cache line */
};

#define vms_hlink_entry(l, type, member) ((type *)((char *)(l)-offsetof(type, member)))

static inline uint32_t vms_htab_at_(const struct vms_htab *t, uint64_t key)
{
	uint64_t chunk = key / VMS_CHUNK_BYTES;

	return t->mask &
	       (uint32_t)(t->addrs ? vms_mix64(chunk / 8) * 8 + chunk % 8 : vms_mix64(key));
}

static inline void vms_htab_init(struct vms_htab *t, uint32_t buckets /* power of two */)
{
	t->bucket = calloc(buckets, sizeof(*t->bucket));
	vms_assert(t->bucket);
	t->mask = buckets - 1;
	t->n = 0;
	t->addrs = false;
}

static inline void vms_htab_init_addrs(struct vms_htab *t, uint32_t buckets)
{
	vms_htab_init(t, buckets);
	t->addrs = true;
}

static inline void vms_htab_free(struct vms_htab *t)
{
	free(t->bucket);
	t->bucket = NULL;
	t->n = 0;
}

static inline void vms_htab_grow_(struct vms_htab *t)
{
	struct vms_htab g;

	vms_htab_init(&g, (t->mask + 1) * 4);
	g.addrs = t->addrs;
	for (uint32_t i = 0; i <= t->mask; i++) {
		struct vms_hlink *l = t->bucket[i], *next;

		for (; l; l = next) {
			struct vms_hlink **b = &g.bucket[vms_htab_at_(&g, l->key)];

			next = l->next;
			l->next = *b;
			*b = l;
		}
	}
	g.n = t->n;
	free(t->bucket);
	*t = g;
}

static inline void vms_htab_add(struct vms_htab *t, struct vms_hlink *l, uint64_t key)
{
	struct vms_hlink **b;

	if (t->n > t->mask * 2ull)
		vms_htab_grow_(t);
	b = &t->bucket[vms_htab_at_(t, key)];
	l->key = key;
	l->next = *b;
	*b = l;
	t->n++;
}

/* First entry with this key; the next one: vms_htab_next(). */
static inline struct vms_hlink *vms_htab_find(const struct vms_htab *t, uint64_t key)
{
	struct vms_hlink *l = t->bucket[vms_htab_at_(t, key)];

	while (l && l->key != key)
		l = l->next;
	return l;
}

static inline struct vms_hlink *vms_htab_next(const struct vms_hlink *l)
{
	uint64_t key = l->key;

	for (l = l->next; l && l->key != key; l = l->next)
		;
	return (struct vms_hlink *)l;
}

static inline void vms_htab_del(struct vms_htab *t, struct vms_hlink *l)
{
	struct vms_hlink **p = &t->bucket[vms_htab_at_(t, l->key)];

	while (*p && *p != l)
		p = &(*p)->next;
	vms_assert(*p);
	*p = l->next;
	t->n--;
}

#endif
