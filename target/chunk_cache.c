// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chunk cache, see chunk_cache.h. Two FIFO queues as index lists over one slot
 * array, a chained hash over the same indexes, and a ghost table of 32-bit tags
 * stamped with the number of the insertion at which they left (a tag older than
 * one turnover of the main queue no longer counts).
 */
#include "target/chunk_cache.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/arena.h"
#include "utils/lib/assert.h"

#define CC_SLOTS_MIN 64u
#define CC_SCAN_MAX  128u /* slots looked at to find one that can go */
#define CC_FREQ_MAX  3u

enum { Q_FREE, Q_SMALL, Q_MAIN };

struct slot {
	vms_addr addr;
	uint32_t hash_next;
	uint32_t newer, older; /* queue links; free list uses newer */
	uint16_t pins;
	uint8_t freq;
	uint8_t queue;
};

struct queue {
	uint32_t newest, oldest, n;
};

struct ghost {
	uint32_t tag;
	uint32_t stamp;
};

struct vms_chunk_cache {
	uint8_t *data;
	struct slot *slot;
	uint32_t *bucket;
	struct ghost *ghost;
	uint32_t nslots, bucket_mask, ghost_mask;
	uint32_t free_head;
	uint32_t used, pinned;
	uint32_t small_target;
	uint32_t stamp;
	struct queue small, main;
	struct vms_chunk_cache_stats st;
};

static uint32_t pow2_at_least(uint32_t n)
{
	uint32_t p = 64;

	while (p < n)
		p <<= 1;
	return p;
}

struct vms_chunk_cache *vms_cc_new(uint64_t bytes)
{
	struct vms_chunk_cache *c = calloc(1, sizeof(*c));
	uint64_t n = bytes / VMS_CHUNK_BYTES;
	size_t slot_bytes, bucket_bytes;

	if (!c)
		return NULL;
	if (n < CC_SLOTS_MIN)
		n = CC_SLOTS_MIN;
	if (n > UINT32_MAX / 4)
		n = UINT32_MAX / 4;
	c->nslots = (uint32_t)n;
	c->bucket_mask = pow2_at_least(c->nslots) - 1;
	c->ghost_mask = pow2_at_least(c->nslots) - 1;
	c->small_target = c->nslots / 10 ? c->nslots / 10 : 1;
	slot_bytes = (size_t)n * sizeof(*c->slot);
	bucket_bytes = (c->bucket_mask + 1ull) * sizeof(*c->bucket);
	/* one piece: what finds a chunk lies in huge pages as the chunk does, and a random one
	 * misses the address cache for none of them */
	c->data = vms_arena_alloc((size_t)n * VMS_CHUNK_BYTES + slot_bytes + bucket_bytes);
	c->ghost = calloc(c->ghost_mask + 1ull, sizeof(*c->ghost));
	if (!c->data || !c->ghost) {
		vms_cc_free(c);
		return NULL;
	}
	c->slot = (struct slot *)(c->data + (size_t)n * VMS_CHUNK_BYTES);
	c->bucket = (uint32_t *)((uint8_t *)c->slot + slot_bytes);
	memset(c->slot, 0, slot_bytes);
	memset(c->bucket, 0xff, bucket_bytes);
	for (uint32_t i = 0; i < c->nslots; i++)
		c->slot[i].newer = i + 1 < c->nslots ? i + 1 : VMS_CC_NONE;
	c->free_head = 0;
	c->small.newest = c->small.oldest = VMS_CC_NONE;
	c->main.newest = c->main.oldest = VMS_CC_NONE;
	c->stamp = c->nslots; /* so that an empty ghost entry is an old one */
	return c;
}

void vms_cc_free(struct vms_chunk_cache *c)
{
	if (!c)
		return;
	free(c->data); /* slots and buckets with it */
	free(c->ghost);
	free(c);
}

static void queue_push(struct vms_chunk_cache *c, struct queue *q, uint32_t i, uint8_t name)
{
	struct slot *s = &c->slot[i];

	s->queue = name;
	s->newer = VMS_CC_NONE;
	s->older = q->newest;
	if (q->newest != VMS_CC_NONE)
		c->slot[q->newest].newer = i;
	else
		q->oldest = i;
	q->newest = i;
	q->n++;
}

static void queue_del(struct vms_chunk_cache *c, struct queue *q, uint32_t i)
{
	struct slot *s = &c->slot[i];

	if (s->newer != VMS_CC_NONE)
		c->slot[s->newer].older = s->older;
	else
		q->newest = s->older;
	if (s->older != VMS_CC_NONE)
		c->slot[s->older].newer = s->newer;
	else
		q->oldest = s->newer;
	q->n--;
}

static inline uint32_t *bucket_of(const struct vms_chunk_cache *c, vms_addr a)
{
	return &c->bucket[vms_mix64(a) & c->bucket_mask];
}

static inline uint32_t lookup(const struct vms_chunk_cache *c, vms_addr a)
{
	uint32_t i = *bucket_of(c, a);

	while (i != VMS_CC_NONE && c->slot[i].addr != a)
		i = c->slot[i].hash_next;
	return i;
}

static void hash_add(struct vms_chunk_cache *c, uint32_t i)
{
	uint32_t *b = bucket_of(c, c->slot[i].addr);

	c->slot[i].hash_next = *b;
	*b = i;
}

static void hash_del(struct vms_chunk_cache *c, uint32_t i)
{
	uint32_t *at = bucket_of(c, c->slot[i].addr);

	while (*at != i) {
		vms_assert(*at != VMS_CC_NONE);
		at = &c->slot[*at].hash_next;
	}
	*at = c->slot[i].hash_next;
}

uint32_t vms_cc_find(struct vms_chunk_cache *c, vms_addr a)
{
	uint32_t i = lookup(c, a);

	if (i == VMS_CC_NONE) {
		c->st.misses++;
		return i;
	}
	c->st.hits++;
	if (c->slot[i].freq < CC_FREQ_MAX)
		c->slot[i].freq++;
	return i;
}

bool vms_cc_has(const struct vms_chunk_cache *c, vms_addr a)
{
	return lookup(c, a) != VMS_CC_NONE;
}

static inline uint32_t ghost_tag(vms_addr a, uint64_t *h)
{
	*h = vms_mix64(a ^ 0x6a09e667f3bcc909ull);
	return (uint32_t)(*h >> 32) | 1;
}

static void ghost_put(struct vms_chunk_cache *c, vms_addr a)
{
	uint64_t h;
	uint32_t tag = ghost_tag(a, &h);

	c->ghost[h & c->ghost_mask] = (struct ghost){tag, c->stamp};
}

static bool ghost_take(struct vms_chunk_cache *c, vms_addr a)
{
	uint64_t h;
	uint32_t tag = ghost_tag(a, &h);
	struct ghost *g = &c->ghost[h & c->ghost_mask];

	if (g->tag != tag || c->stamp - g->stamp >= c->nslots)
		return false;
	g->tag = 0;
	return true;
}

static void release(struct vms_chunk_cache *c, uint32_t i)
{
	hash_del(c, i);
	c->slot[i].queue = Q_FREE;
	c->slot[i].newer = c->free_head;
	c->free_head = i;
	c->used--;
}

/* Make one slot free; false when too many are pinned. */
static bool evict(struct vms_chunk_cache *c)
{
	for (unsigned scan = 0; scan < CC_SCAN_MAX; scan++) {
		bool small = c->small.n > c->small_target || c->main.n == 0;
		struct queue *q = small ? &c->small : &c->main;
		uint32_t i = q->oldest;
		struct slot *s = &c->slot[i];

		queue_del(c, q, i);
		if (s->pins || (small ? s->freq > 1 : s->freq > 0)) {
			if (small)
				s->freq = 0;
			else if (s->freq)
				s->freq--;
			queue_push(c, &c->main, i, Q_MAIN);
			continue;
		}
		if (small)
			ghost_put(c, s->addr);
		release(c, i);
		c->st.evictions++;
		return true;
	}
	return false;
}

uint32_t vms_cc_insert(struct vms_chunk_cache *c, vms_addr a)
{
	uint32_t i;
	struct slot *s;

	vms_assert(lookup(c, a) == VMS_CC_NONE);
	if (c->free_head == VMS_CC_NONE && !evict(c)) {
		c->st.full++;
		return VMS_CC_NONE;
	}
	i = c->free_head;
	s = &c->slot[i];
	c->free_head = s->newer;
	c->used++;
	c->stamp++;
	c->st.inserts++;
	s->addr = a;
	s->freq = 0;
	s->pins = 0;
	hash_add(c, i);
	if (ghost_take(c, a)) {
		c->st.ghost_hits++;
		queue_push(c, &c->main, i, Q_MAIN);
	} else {
		queue_push(c, &c->small, i, Q_SMALL);
	}
	return i;
}

uint8_t *vms_cc_data(const struct vms_chunk_cache *c, uint32_t slot)
{
	return c->data + (size_t)slot * VMS_CHUNK_BYTES;
}

void vms_cc_drop(struct vms_chunk_cache *c, vms_addr a)
{
	uint32_t i = lookup(c, a);

	/* a pinned slot is being read: it goes in its turn */
	if (i == VMS_CC_NONE || c->slot[i].pins)
		return;
	queue_del(c, c->slot[i].queue == Q_SMALL ? &c->small : &c->main, i);
	release(c, i);
}

void vms_cc_rekey(struct vms_chunk_cache *c, vms_addr from, vms_addr to)
{
	uint32_t i = lookup(c, from);

	if (i == VMS_CC_NONE || lookup(c, to) != VMS_CC_NONE)
		return;
	hash_del(c, i);
	c->slot[i].addr = to;
	hash_add(c, i);
}

void vms_cc_pin(struct vms_chunk_cache *c, uint32_t slot)
{
	vms_assert(slot < c->nslots && c->slot[slot].pins < UINT16_MAX);
	if (c->slot[slot].pins++ == 0)
		c->pinned++;
}

void vms_cc_unpin(struct vms_chunk_cache *c, uint32_t slot)
{
	vms_assert(slot < c->nslots && c->slot[slot].pins > 0);
	if (--c->slot[slot].pins == 0)
		c->pinned--;
}

uint32_t vms_cc_slot_of(const struct vms_chunk_cache *c, const void *p)
{
	uintptr_t d = (uintptr_t)p - (uintptr_t)c->data;

	return d < (uintptr_t)c->nslots * VMS_CHUNK_BYTES ? (uint32_t)(d / VMS_CHUNK_BYTES)
							  : VMS_CC_NONE;
}

const struct vms_chunk_cache_stats *vms_cc_stats(const struct vms_chunk_cache *c)
{
	return &c->st;
}
uint32_t vms_cc_slots(const struct vms_chunk_cache *c)
{
	return c->nslots;
}
uint32_t vms_cc_used(const struct vms_chunk_cache *c)
{
	return c->used;
}
uint32_t vms_cc_pinned(const struct vms_chunk_cache *c)
{
	return c->pinned;
}
