// SPDX-License-Identifier: GPL-2.0-only
/* Page cache, see page_cache.h: a chained hash over an array of pages and a
 * clock hand for replacement. */
#include "target/page_cache.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define PC_SLOTS_MIN 16u
#define PC_NONE	     UINT32_MAX

struct vms_page_cache {
	struct vms_pc_page *page;
	uint32_t *bucket;
	uint32_t n, mask, hand, used, fresh; /* fresh: pages never used yet start here */
	uint32_t free_head;		     /* dropped pages, linked by hash_next */
};

struct vms_page_cache *vms_pc_new(uint64_t bytes)
{
	struct vms_page_cache *c = calloc(1, sizeof(*c));
	uint64_t n = bytes / sizeof(struct vms_pc_page);
	uint32_t b = 64;

	if (!c)
		return NULL;
	if (n < PC_SLOTS_MIN)
		n = PC_SLOTS_MIN;
	if (n > 1u << 30)
		n = 1u << 30;
	while (b < n)
		b <<= 1;
	c->n = (uint32_t)n;
	c->mask = b - 1;
	c->free_head = PC_NONE;
	c->page = calloc(n, sizeof(*c->page));
	c->bucket = malloc((size_t)b * sizeof(*c->bucket));
	if (!c->page || !c->bucket) {
		vms_pc_free(c);
		return NULL;
	}
	memset(c->bucket, 0xff, (size_t)b * sizeof(*c->bucket));
	return c;
}

void vms_pc_free(struct vms_page_cache *c)
{
	if (!c)
		return;
	free(c->page);
	free(c->bucket);
	free(c);
}

static inline uint32_t *bucket_of(const struct vms_page_cache *c, uint64_t branch, uint64_t gen,
				  uint32_t extent, uint8_t sub)
{
	uint64_t h = vms_mix64(branch * 0x9e3779b97f4a7c15ull + gen * 0xc2b2ae3d27d4eb4full +
			       ((uint64_t)extent << 3 | sub));

	return &c->bucket[h & c->mask];
}

struct vms_pc_page *vms_pc_find(struct vms_page_cache *c, uint64_t branch, uint64_t gen,
				uint32_t extent, uint8_t sub)
{
	uint32_t i = *bucket_of(c, branch, gen, extent, sub);

	while (i != PC_NONE) {
		struct vms_pc_page *p = &c->page[i];

		if (p->branch == branch && p->extent == extent && p->sub == sub && p->gen == gen) {
			p->used = 1;
			return p;
		}
		i = p->hash_next;
	}
	return NULL;
}

static void unhash(struct vms_page_cache *c, uint32_t i)
{
	struct vms_pc_page *p = &c->page[i];
	uint32_t *at = bucket_of(c, p->branch, p->gen, p->extent, p->sub);

	while (*at != i) {
		vms_assert(*at != PC_NONE);
		at = &c->page[*at].hash_next;
	}
	*at = p->hash_next;
	p->live = 0;
	c->used--;
}

struct vms_pc_page *vms_pc_insert(struct vms_page_cache *c, uint64_t branch, uint64_t gen,
				  uint32_t extent, uint8_t sub)
{
	struct vms_pc_page *p = vms_pc_find(c, branch, gen, extent, sub);
	uint32_t i, *b;

	if (p)
		return p;
	if (c->free_head != PC_NONE) {
		i = c->free_head;
		c->free_head = c->page[i].hash_next;
	} else if (c->fresh < c->n) {
		i = c->fresh++;
	} else {
		while (c->page[c->hand].used) {
			c->page[c->hand].used = 0;
			c->hand = c->hand + 1 < c->n ? c->hand + 1 : 0;
		}
		i = c->hand;
		c->hand = c->hand + 1 < c->n ? c->hand + 1 : 0;
		unhash(c, i);
	}
	p = &c->page[i];
	p->branch = branch;
	p->gen = gen;
	p->extent = extent;
	p->sub = sub;
	p->used = 0;
	p->idle = 0;
	p->live = 1;
	b = bucket_of(c, branch, gen, extent, sub);
	p->hash_next = *b;
	*b = i;
	c->used++;
	return p;
}

void vms_pc_drop(struct vms_page_cache *c, struct vms_pc_page *p)
{
	uint32_t i = (uint32_t)(p - c->page);

	vms_assert(i < c->n && p->live);
	unhash(c, i);
	p->used = 0;
	p->hash_next = c->free_head;
	c->free_head = i;
}

void vms_pc_drop_all(struct vms_page_cache *c, uint64_t branch, uint64_t gen)
{
	for (uint32_t i = 0; i < c->fresh; i++)
		if (c->page[i].live && c->page[i].branch == branch && c->page[i].gen == gen)
			vms_pc_drop(c, &c->page[i]);
}

uint32_t vms_pc_slots(const struct vms_page_cache *c)
{
	return c->n;
}
uint32_t vms_pc_used(const struct vms_page_cache *c)
{
	return c->used;
}
