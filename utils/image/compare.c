// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/compare.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define EXTENTS 8u  /* looked at ahead */
#define READS	16u /* blocks read ahead */

struct look {
	struct image_io a, b;
	uint64_t offset;
	unsigned n; /* chunks */
	vms_addr addr_a[VMS_EXTENT_CHUNKS], addr_b[VMS_EXTENT_CHUNKS];
};

struct block {
	struct image_io a, b;
	uint64_t offset;
	unsigned n;
	bool hole; /* b is one: nothing is read of it */
	bool reads_a;
	uint8_t *buf_a, *buf_b;
};

/* Rings: [head, head + n). */
struct image_compare {
	struct image_dev *dev;
	struct image_vol *a, *b;
	uint64_t a_bytes, b_bytes;
	uint64_t look_at; /* extents up to here have been asked about */
	struct look look[EXTENTS];
	unsigned look_head, nlooks, at_chunk; /* of the first look: taken so far */
	struct block block[READS];
	unsigned block_head, nblocks, in_block; /* of the first block: handed out so far */
	uint64_t told;
};

struct image_compare *image_compare_open(struct image_dev *dev, struct image_vol *a,
					 struct image_vol *b)
{
	struct image_compare *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->dev = dev;
	c->a = a;
	c->b = b;
	c->a_bytes = a ? image_vol_bytes(a) : 0;
	c->b_bytes = image_vol_bytes(b);
	for (unsigned i = 0; i < READS; i++) {
		c->block[i].buf_a = malloc(VMS_SUBEXT_BYTES);
		c->block[i].buf_b = malloc(VMS_SUBEXT_BYTES);
		vms_assert(c->block[i].buf_a && c->block[i].buf_b);
	}
	return c;
}

static void await(struct image_compare *c, const struct image_io *io, bool submitted)
{
	while (submitted && !io->reaped)
		image_reap(c->dev);
}

static void block_await(struct image_compare *c, struct block *k)
{
	await(c, &k->a, k->reads_a);
	await(c, &k->b, !k->hole);
}

static void look_await(struct image_compare *c, struct look *l)
{
	await(c, &l->a, l->offset < c->a_bytes);
	await(c, &l->b, true);
}

void image_compare_close(struct image_compare *c)
{
	if (!c)
		return;
	/* what is under way writes to our memory */
	for (; c->nlooks; c->nlooks--, c->look_head = (c->look_head + 1) % EXTENTS)
		look_await(c, &c->look[c->look_head]);
	for (; c->nblocks; c->nblocks--, c->block_head = (c->block_head + 1) % READS)
		block_await(c, &c->block[c->block_head]);
	for (unsigned i = 0; i < READS; i++) {
		free(c->block[i].buf_a);
		free(c->block[i].buf_b);
	}
	free(c);
}

uint64_t image_compare_at(const struct image_compare *c)
{
	return c->told;
}

static uint64_t at_most(uint64_t v, uint64_t max)
{
	return v < max ? v : max;
}

static void look_ahead(struct image_compare *c)
{
	while (c->nlooks < EXTENTS && c->look_at < c->b_bytes) {
		struct look *l = &c->look[(c->look_head + c->nlooks++) % EXTENTS];
		uint64_t len = at_most(c->b_bytes - c->look_at, VMS_EXTENT_BYTES);

		l->offset = c->look_at;
		l->n = (unsigned)(len / VMS_CHUNK_BYTES);
		memset(l->addr_a, 0, sizeof(l->addr_a));
		l->b = (struct image_io){.op = IMAGE_MAP,
					 .vol = c->b,
					 .offset = l->offset,
					 .len = len,
					 .addrs = l->addr_b};
		image_submit(c->dev, &l->b);
		if (l->offset < c->a_bytes) {
			l->a = (struct image_io){.op = IMAGE_MAP,
						 .vol = c->a,
						 .offset = l->offset,
						 .len = at_most(c->a_bytes - l->offset, len),
						 .addrs = l->addr_a};
			image_submit(c->dev, &l->a);
		}
		c->look_at += len;
	}
}

static bool equal(const struct look *l, unsigned i)
{
	return l->addr_a[i] == l->addr_b[i] && l->addr_a[i] != VMS_ADDR_ASK;
}

/* The next run of chunks whose addresses differ, b being a hole in all or in none. */
static void read_run(struct image_compare *c, struct look *l)
{
	struct block *k = &c->block[(c->block_head + c->nblocks++) % READS];
	unsigned from = c->at_chunk, to = from;
	unsigned end = (from / VMS_SUBEXT_CHUNKS + 1) * VMS_SUBEXT_CHUNKS;
	uint64_t a_len;

	k->hole = l->addr_b[from] == VMS_ADDR_HOLE;
	k->reads_a = false;
	for (;
	     to < l->n && to < end && !equal(l, to) && (l->addr_b[to] == VMS_ADDR_HOLE) == k->hole;
	     to++)
		k->reads_a |= l->addr_a[to] != VMS_ADDR_HOLE;
	k->offset = l->offset + (uint64_t)from * VMS_CHUNK_BYTES;
	k->n = to - from;
	c->at_chunk = to;
	if (!k->hole) {
		k->b = (struct image_io){.op = IMAGE_READ,
					 .vol = c->b,
					 .offset = k->offset,
					 .len = (uint64_t)k->n * VMS_CHUNK_BYTES,
					 .buf = k->buf_b};
		image_submit(c->dev, &k->b);
	} else {
		memset(k->buf_b, 0, (size_t)k->n * VMS_CHUNK_BYTES);
	}
	memset(k->buf_a, 0, (size_t)k->n * VMS_CHUNK_BYTES);
	if (!k->reads_a)
		return;
	a_len = at_most(c->a_bytes - k->offset, (uint64_t)k->n * VMS_CHUNK_BYTES);
	k->a = (struct image_io){
		.op = IMAGE_READ, .vol = c->a, .offset = k->offset, .len = a_len, .buf = k->buf_a};
	image_submit(c->dev, &k->a);
}

/* Fills the ring of blocks. */
static int read_ahead(struct image_compare *c, struct vms_errmsg *msg)
{
	while (c->nblocks < READS) {
		struct look *l = &c->look[c->look_head];

		look_ahead(c);
		if (!c->nlooks)
			return 0;
		look_await(c, l);
		if (l->b.status)
			return image_io_fail(c->dev, &l->b, msg);
		if (l->offset < c->a_bytes && l->a.status)
			return image_io_fail(c->dev, &l->a, msg);
		while (c->at_chunk < l->n && equal(l, c->at_chunk))
			c->at_chunk++;
		if (c->at_chunk == l->n) {
			c->look_head = (c->look_head + 1) % EXTENTS;
			c->nlooks--;
			c->at_chunk = 0;
			/* a long way without a difference is progress, too */
			if (!c->nblocks)
				c->told = l->offset + (uint64_t)l->n * VMS_CHUNK_BYTES;
			continue;
		}
		read_run(c, l);
	}
	return 0;
}

static bool chunk_equal(const struct block *k, unsigned i)
{
	return !memcmp(k->buf_a + (size_t)i * VMS_CHUNK_BYTES,
		       k->buf_b + (size_t)i * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
}

static bool chunk_zero(const struct block *k, unsigned i)
{
	return vms_is_zero(k->buf_b + (size_t)i * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
}

int image_compare_next(struct image_compare *c, uint8_t *buf, struct image_piece *p,
		       struct vms_errmsg *msg)
{
	for (;;) {
		struct block *k = &c->block[c->block_head];
		unsigned i, from;
		int rc = read_ahead(c, msg);

		if (rc)
			return rc;
		if (!c->nblocks) {
			c->told = c->b_bytes;
			return 0;
		}
		block_await(c, k);
		if (!k->hole && k->b.status)
			return image_io_fail(c->dev, &k->b, msg);
		if (k->reads_a && k->a.status)
			return image_io_fail(c->dev, &k->a, msg);
		i = c->in_block;
		while (i < k->n && chunk_equal(k, i))
			i++;
		c->told = k->offset + (uint64_t)i * VMS_CHUNK_BYTES;
		if (i == k->n) {
			c->block_head = (c->block_head + 1) % READS;
			c->nblocks--;
			c->in_block = 0;
			continue;
		}
		from = i;
		p->zero = chunk_zero(k, i);
		while (i < k->n && !chunk_equal(k, i) && chunk_zero(k, i) == p->zero)
			i++;
		p->offset = k->offset + (uint64_t)from * VMS_CHUNK_BYTES;
		p->len = (uint64_t)(i - from) * VMS_CHUNK_BYTES;
		if (!p->zero)
			memcpy(buf, k->buf_b + (size_t)from * VMS_CHUNK_BYTES, p->len);
		c->in_block = i;
		return 1;
	}
}
