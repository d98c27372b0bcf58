// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/estimate.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/fp.h"
#include "utils/lib/vec.h"

#define RANKS	     40u /* more would need 2^40 times the table */
#define KEY_BYTES    20u /* of the fingerprint: 160 bits */
#define SLOTS_MIN    1024u
#define SHARED	     0x80000000u
#define FULL_PERCENT 80u

/* owner: number + 1 of the last file that had it, 0 in a free slot; SHARED once more
 * than one file had it. */
struct slot {
	uint8_t key[KEY_BYTES];
	uint32_t owner;
};

struct file {
	uint64_t bytes, zero, data; /* zero, data: chunks */
	uint64_t distinct[RANKS], shared[RANKS], added[RANKS];
};

struct image_est {
	struct vms_fp *fp;
	struct slot *slot;
	uint64_t nslots, used;
	unsigned rank_min;	/* lower ones are not kept */
	uint64_t shared[RANKS]; /* content that is in more than one file */
	VMS_VEC(struct file) files;
};

struct image_est *image_est_open(uint64_t memory_bytes, uint64_t chunks_max)
{
	struct image_est *e = calloc(1, sizeof(*e));

	vms_assert(e);
	e->nslots = memory_bytes / sizeof(struct slot);
	if (chunks_max && chunks_max < e->nslots / 2)
		e->nslots = chunks_max * 3 / 2;
	if (e->nslots < SLOTS_MIN)
		e->nslots = SLOTS_MIN;
	e->slot = calloc(e->nslots, sizeof(struct slot));
	if (!e->slot) {
		free(e);
		return NULL;
	}
	e->fp = vms_fp_open(NULL, 0);
	return e;
}

void image_est_close(struct image_est *e)
{
	if (!e)
		return;
	vms_fp_close(e->fp);
	VMS_VEC_FREE(&e->files);
	free(e->slot);
	free(e);
}

unsigned image_est_file(struct image_est *e)
{
	vms_assert(e->files.n < SHARED - 2);
	(void)VMS_VEC_ADD(&e->files);
	return (unsigned)e->files.n - 1;
}

/* ---- the table: open addressing, ordered by home, no tombstones ---- */

static uint64_t home(const struct image_est *e, const uint8_t *key)
{
	return (uint64_t)(((unsigned __int128)vms_get_le64(key) * e->nslots) >> 64);
}

static unsigned rank_of(const uint8_t *key)
{
	/* other bits than those that choose the home's high part */
	uint64_t v = vms_get_le64(key + 8);
	unsigned r = v ? (unsigned)__builtin_ctzll(v) : RANKS;

	return r < RANKS ? r : RANKS - 1;
}

static uint64_t next_slot(const struct image_est *e, uint64_t i)
{
	return i + 1 == e->nslots ? 0 : i + 1;
}

/* The slot of key, or the free one where it belongs. */
static struct slot *look_up(struct image_est *e, const uint8_t *key)
{
	uint64_t i = home(e, key);

	while (e->slot[i].owner && memcmp(e->slot[i].key, key, KEY_BYTES))
		i = next_slot(e, i);
	return &e->slot[i];
}

/* Empties slot i and closes the gap. */
static void take_out(struct image_est *e, uint64_t i)
{
	uint64_t gap = i, j = i;

	for (;;) {
		uint64_t h;

		j = next_slot(e, j);
		if (!e->slot[j].owner)
			break;
		h = home(e, e->slot[j].key);
		/* may the entry at j move to the gap: is its home not behind the gap? */
		if (gap <= j ? h <= gap || h > j : h <= gap && h > j) {
			e->slot[gap] = e->slot[j];
			gap = j;
		}
	}
	memset(&e->slot[gap], 0, sizeof(struct slot));
	e->used--;
}

static void drop_lowest_rank(struct image_est *e)
{
	uint64_t first = 0, i, seen;

	e->rank_min++;
	vms_assert(e->rank_min < RANKS);
	/* begin behind a free slot, so that no run is met in its middle */
	while (e->slot[first].owner)
		first++;
	for (i = first, seen = 0; seen < e->nslots; seen++, i = next_slot(e, i))
		while (e->slot[i].owner && rank_of(e->slot[i].key) < e->rank_min)
			take_out(e, i);
}

static void add_chunk(struct image_est *e, const uint8_t *chunk)
{
	uint32_t me = (uint32_t)e->files.n;
	struct file *f = &VMS_VEC_LAST(&e->files);
	uint8_t fp[VMS_FP_BYTES];
	struct slot *s;
	unsigned r;

	f->data++;
	vms_fp_chunk(e->fp, chunk, VMS_CHUNK_BYTES, fp);
	r = rank_of(fp);
	if (r < e->rank_min)
		return;
	s = look_up(e, fp);
	if (!s->owner) {
		memcpy(s->key, fp, KEY_BYTES);
		s->owner = me;
		f->distinct[r]++;
		f->added[r]++;
		if (++e->used >= e->nslots / 100 * FULL_PERCENT)
			drop_lowest_rank(e);
	} else if ((s->owner & ~SHARED) != me) {
		if (!(s->owner & SHARED)) {
			e->files.d[s->owner - 1].shared[r]++;
			e->shared[r]++;
		}
		s->owner = me | SHARED;
		f->distinct[r]++;
		f->shared[r]++;
	}
}

void image_est_data(struct image_est *e, const uint8_t *data, uint64_t len)
{
	uint8_t last[VMS_CHUNK_BYTES];

	vms_assert(e->files.n);
	VMS_VEC_LAST(&e->files).bytes += len;
	for (; len; data += VMS_CHUNK_BYTES) {
		const uint8_t *c = data;

		if (len < VMS_CHUNK_BYTES) {
			memset(last, 0, sizeof(last));
			memcpy(last, data, len);
			c = last;
		}
		if (vms_is_zero(c, VMS_CHUNK_BYTES))
			VMS_VEC_LAST(&e->files).zero++;
		else
			add_chunk(e, c);
		len -= len < VMS_CHUNK_BYTES ? len : VMS_CHUNK_BYTES;
	}
}

void image_est_zeros(struct image_est *e, uint64_t len)
{
	struct file *f = &VMS_VEC_LAST(&e->files);

	f->bytes += len;
	f->zero += (len + VMS_CHUNK_BYTES - 1) / VMS_CHUNK_BYTES;
}

/* ---- results ---- */

static uint64_t sum(const struct image_est *e, const uint64_t *by_rank)
{
	uint64_t n = 0;

	for (unsigned r = e->rank_min; r < RANKS; r++)
		n += by_rank[r];
	return n << e->rank_min;
}

static uint64_t at_most(uint64_t v, uint64_t max)
{
	return v < max ? v : max;
}

void image_est_counts(const struct image_est *e, unsigned file, struct image_est_counts *out)
{
	const struct file *f = &e->files.d[file];

	vms_assert(file < e->files.n);
	/* an estimate may exceed what there is */
	out->bytes = f->bytes;
	out->zero = f->zero * VMS_CHUNK_BYTES;
	out->distinct = at_most(sum(e, f->distinct), f->data);
	out->dup = (f->data - out->distinct) * VMS_CHUNK_BYTES;
	out->shared = at_most(sum(e, f->shared), out->distinct) * VMS_CHUNK_BYTES;
	out->added = at_most(sum(e, f->added), out->distinct) * VMS_CHUNK_BYTES;
	out->distinct *= VMS_CHUNK_BYTES;
	out->unique = out->distinct - out->shared;
}

void image_est_total(const struct image_est *e, struct image_est_counts *out)
{
	uint64_t data = 0;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < e->files.n; i++) {
		struct image_est_counts c;

		image_est_counts(e, i, &c);
		out->bytes += c.bytes;
		out->zero += c.zero;
		out->added += c.added;
		data += e->files.d[i].data * VMS_CHUNK_BYTES;
	}
	out->distinct = out->added;
	out->dup = data - out->distinct;
	out->shared = at_most(sum(e, e->shared) * VMS_CHUNK_BYTES, out->distinct);
	out->unique = out->distinct - out->shared;
}

uint64_t image_est_one_of(const struct image_est *e)
{
	return 1ull << e->rank_min;
}
