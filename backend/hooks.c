// SPDX-License-Identifier: GPL-2.0-only
#include "backend/hooks.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define SUBS	 256u
#define ROOM_MIN 4u
#define CTR_MASK ((1ull << VMS_CTR_BITS) - 1)
#define TAG_BITS 31
#define LOAD_MAX 85u /* percent */

struct sub {
	uint64_t *e; /* tag << 33 | container; 0: free */
	uint32_t room, n;
};

struct vms_hooks {
	struct sub sub[SUBS];
	uint64_t bytes, bytes_max, n, evicted;
};

struct vms_hooks *vms_hooks_new(uint64_t bytes_max)
{
	struct vms_hooks *h = calloc(1, sizeof(*h));

	vms_assert(h);
	h->bytes = sizeof(*h);
	h->bytes_max = bytes_max;
	return h;
}

void vms_hooks_free(struct vms_hooks *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < SUBS; i++)
		free(h->sub[i].e);
	free(h);
}

/* Where an entry belongs follows from its tag, so that growing needs no more. */
static uint32_t home(const struct sub *s, uint64_t tag)
{
	return (uint32_t)(tag * s->room >> TAG_BITS);
}

static uint64_t tag_of(uint64_t mixed)
{
	return mixed >> (64 - TAG_BITS);
}

static struct sub *sub_of(const struct vms_hooks *h, uint64_t mixed)
{
	return (struct sub *)&h->sub[mixed % SUBS];
}

static uint32_t next(const struct sub *s, uint32_t i)
{
	return i + 1 == s->room ? 0 : i + 1;
}

static void put(struct sub *s, uint64_t entry)
{
	uint32_t i = home(s, entry >> VMS_CTR_BITS);

	while (s->e[i])
		i = next(s, i);
	s->e[i] = entry;
}

/* False: the bound does not allow it. */
static bool grow(struct vms_hooks *h, struct sub *s)
{
	struct sub g = {.room = s->room < ROOM_MIN ? ROOM_MIN : s->room + (s->room + 3) / 4,
			.n = s->n};
	uint64_t more = (uint64_t)(g.room - s->room) * sizeof(*g.e);

	if (h->bytes + more > h->bytes_max)
		return false;
	g.e = calloc(g.room, sizeof(*g.e));
	if (!g.e)
		return false;
	for (uint32_t i = 0; i < s->room; i++)
		if (s->e[i])
			put(&g, s->e[i]);
	free(s->e);
	*s = g;
	h->bytes += more;
	return true;
}

static int64_t find(const struct sub *s, uint64_t tag)
{
	if (!s->room)
		return -1;
	for (uint32_t i = home(s, tag); s->e[i]; i = next(s, i))
		if (s->e[i] >> VMS_CTR_BITS == tag)
			return i;
	return -1;
}

static void remove_at(struct vms_hooks *h, struct sub *s, uint32_t hole)
{
	s->e[hole] = 0;
	s->n--;
	h->n--;
	/* close the gap: what follows may stand there only because of it */
	for (uint32_t i = next(s, hole); s->e[i]; i = next(s, i)) {
		uint32_t want = home(s, s->e[i] >> VMS_CTR_BITS);
		bool stays = hole < i ? want > hole && want <= i : want > hole || want <= i;

		if (stays)
			continue;
		s->e[hole] = s->e[i];
		s->e[i] = 0;
		hole = i;
	}
}

void vms_hooks_add(struct vms_hooks *h, vms_fp_prefix hook, uint64_t ctr, uint64_t old)
{
	uint64_t mixed = vms_mix64(hook), tag = tag_of(mixed);
	uint64_t entry = tag << VMS_CTR_BITS | (ctr & CTR_MASK);
	struct sub *s = sub_of(h, mixed);
	int64_t at = find(s, tag);

	if (!(ctr & CTR_MASK))
		return;
	if (at >= 0) {
		if ((s->e[at] & CTR_MASK) == old)
			s->e[at] = entry;
		return;
	}
	if ((s->n + 1) * 100ull > s->room * LOAD_MAX && !grow(h, s)) {
		uint32_t i;

		if (!s->n)
			return; /* a bound below anything useful */
		/* full: whoever stands at an arbitrary place gives way */
		i = (uint32_t)(vms_mix64(mixed + h->evicted) % s->room);
		while (!s->e[i])
			i = next(s, i);
		remove_at(h, s, i);
		h->evicted++;
	}
	put(s, entry);
	s->n++;
	h->n++;
}

uint64_t vms_hooks_find(const struct vms_hooks *h, vms_fp_prefix hook)
{
	uint64_t mixed = vms_mix64(hook);
	const struct sub *s = sub_of(h, mixed);
	int64_t at = find(s, tag_of(mixed));

	return at < 0 ? 0 : s->e[at] & CTR_MASK;
}

void vms_hooks_del(struct vms_hooks *h, vms_fp_prefix hook, uint64_t ctr)
{
	uint64_t mixed = vms_mix64(hook);
	struct sub *s = sub_of(h, mixed);
	int64_t at = find(s, tag_of(mixed));

	if (at >= 0 && (s->e[at] & CTR_MASK) == ctr)
		remove_at(h, s, (uint32_t)at);
}

uint64_t vms_hooks_count(const struct vms_hooks *h)
{
	return h->n;
}

uint64_t vms_hooks_bytes(const struct vms_hooks *h)
{
	return h->bytes;
}

uint64_t vms_hooks_evicted(const struct vms_hooks *h)
{
	return h->evicted;
}
