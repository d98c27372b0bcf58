// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verification model; model.h states the rules.
 *
 * Stamp of one 512-byte block, little-endian:
 *   OFFSET SIZE FIELD
 *        0    8 magic "VMSTAMP1"
 *        8    8 run id
 *       16    8 seq, the version
 *       24    8 LBA of this block
 *       32    8 first LBA of the write
 *       40    4 blocks of the write
 *       44    4 writer
 *       48    8 byte address of the chunk this block lies in
 *       56  452 random bytes derived from run id, seq and LBA
 *      508    4 CRC32C of bytes 0..507
 */
#include "utils/bench/model.h"
#include "utils/bench/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define STAMP_MAGIC 0x31504d4154534d56ull
#define SEQ_INITIAL 0ull

struct version {
	uint64_t seq;
	uint64_t start; /* of the write */
	uint64_t f;	/* earliest end of an operation on it; NEVER: not known to have occurred */
	uint64_t s;	/* latest start of an operation on it */
	uint64_t deadline; /* NEVER while outstanding and for acknowledged ones */
	bool zero;	   /* reads as zeros */
	bool consumed;	   /* a COMPARE AND WRITE matched it */
};

struct block {
	struct version *v; /* NULL: never written, only the initial content */
	uint32_t n, cap;
	uint32_t reading;    /* reads in flight */
	uint64_t read_since; /* lower bound of their starts, while there are any */
};

struct vms_model {
	struct vms_model_opts o;
	struct block *b;
	vms_model_observe_fn observe;
	void *observe_arg;
};

struct stamp {
	uint64_t seq, lba, wlba;
	uint32_t wn, writer;
};

static uint32_t stamp_crc(const unsigned char *p)
{
	return vms_crc32c(0, p, 508);
}

void vms_model_stamp(const struct vms_model *m, void *data, uint64_t seq, uint32_t writer,
		     uint64_t lba, uint32_t n)
{
	unsigned char *p = data;

	for (uint32_t i = 0; i < n; i++, p += VMS_MODEL_BLOCK_BYTES) {
		uint64_t at = lba + i;
		struct vms_bench_gen g = {.kind = VMS_BENCH_UNIQUE,
					  .state = m->o.run_id ^ seq * 0xd1342543de82ef95ull ^
						   at * 0x9e3779b97f4a7c15ull};

		vms_put_le64(p, STAMP_MAGIC);
		vms_put_le64(p + 8, m->o.run_id);
		vms_put_le64(p + 16, seq);
		vms_put_le64(p + 24, at);
		vms_put_le64(p + 32, lba);
		vms_put_le32(p + 40, n);
		vms_put_le32(p + 44, writer);
		vms_put_le64(p + 48, at * VMS_MODEL_BLOCK_BYTES & ~(uint64_t)4095);
		vms_bench_fill(&g, p + 56, 508 - 56);
		vms_put_le32(p + 508, stamp_crc(p));
	}
}

/* 1: a stamp of this run; 0: something else. */
static int stamp_read(const struct vms_model *m, const unsigned char *p, struct stamp *st)
{
	if (vms_get_le64(p) != STAMP_MAGIC || vms_get_le64(p + 8) != m->o.run_id ||
	    vms_get_le32(p + 508) != stamp_crc(p))
		return 0;
	st->seq = vms_get_le64(p + 16);
	st->lba = vms_get_le64(p + 24);
	st->wlba = vms_get_le64(p + 32);
	st->wn = vms_get_le32(p + 40);
	st->writer = vms_get_le32(p + 44);
	return 1;
}

struct vms_model *vms_model_new(const struct vms_model_opts *o)
{
	struct vms_model *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->o = *o;
	m->b = calloc(o->blocks, sizeof(*m->b));
	if (!m->b) {
		free(m);
		return NULL;
	}
	return m;
}

void vms_model_free(struct vms_model *m)
{
	if (!m)
		return;
	for (uint64_t i = 0; i < m->o.blocks; i++)
		free(m->b[i].v);
	free(m->b);
	free(m);
}

const struct vms_model_opts *vms_model_opts(const struct vms_model *m)
{
	return &m->o;
}

void vms_model_set_observer(struct vms_model *m, vms_model_observe_fn fn, void *arg)
{
	m->observe = fn;
	m->observe_arg = arg;
}

static struct block *block_at(struct vms_model *m, uint64_t lba)
{
	if (lba < m->o.first_lba || lba - m->o.first_lba >= m->o.blocks)
		abort();
	return &m->b[lba - m->o.first_lba];
}

static struct version *add(struct block *b, uint64_t seq, uint64_t start)
{
	struct version *v;

	if (b->n == b->cap) {
		uint32_t cap = b->cap ? b->cap * 2 : 2;

		v = realloc(b->v, cap * sizeof(*v));
		if (!v)
			abort();
		b->v = v;
		b->cap = cap;
	}
	v = &b->v[b->n++];
	*v = (struct version){.seq = seq,
			      .start = start,
			      .f = VMS_MODEL_NEVER,
			      .s = start,
			      .deadline = VMS_MODEL_NEVER};
	return v;
}

/* The first write to a block makes its initial content a version like others. */
static void materialise(struct block *b, enum vms_model_initial initial)
{
	if (!b->n) {
		struct version *v = add(b, SEQ_INITIAL, 0);

		v->f = 0;
		v->zero = initial == VMS_MODEL_ZERO;
	}
}

static struct version *find(struct block *b, uint64_t seq)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].seq == seq)
			return &b->v[i];
	return NULL;
}

static uint64_t end_of(const struct version *v)
{
	return v->f < v->deadline ? v->f : v->deadline;
}

/* Drop what no read still running or yet to start may return: versions that
 * surely ended before an operation on another, completed version started. */
static void purge(struct block *b, uint64_t now)
{
	uint64_t from = b->reading ? b->read_since : now;
	uint64_t s_max = 0, s_second = 0;
	uint32_t k = 0, top = UINT32_MAX;

	if (b->n < 2)
		return;
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->v[i].f >= from)
			continue;
		if (top == UINT32_MAX || b->v[i].s > s_max) {
			s_second = s_max;
			s_max = b->v[i].s;
			top = i;
		} else if (b->v[i].s > s_second) {
			s_second = b->v[i].s;
		}
	}
	for (uint32_t i = 0; i < b->n; i++)
		if (end_of(&b->v[i]) >= (i == top ? s_second : s_max))
			b->v[k++] = b->v[i];
	b->n = k;
}

void vms_model_write_begin(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n,
			   uint64_t now, bool zero)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(m, lba + i);

		materialise(b, m->o.initial);
		add(b, seq, now)->zero = zero;
	}
}

void vms_model_write_done(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n, uint64_t now)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(m, lba + i);
		struct version *v = find(b, seq);

		if (v && now < v->f)
			v->f = now;
		purge(b, now + 1);
	}
}

void vms_model_write_lost(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n,
			  uint64_t deadline)
{
	for (uint32_t i = 0; i < n; i++) {
		struct version *v = find(block_at(m, lba + i), seq);

		if (v)
			v->deadline = deadline;
	}
}

unsigned vms_model_write_refused(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n)
{
	unsigned seen = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(m, lba + i);
		struct version *v = find(b, seq);

		if (!v)
			continue;
		seen += v->f != VMS_MODEL_NEVER;
		*v = b->v[--b->n];
	}
	return seen;
}

void vms_model_read_begin(struct vms_model *m, uint64_t lba, uint32_t n, uint64_t now)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(m, lba + i);

		if (!b->reading++)
			b->read_since = now;
	}
}

void vms_model_read_cancel(struct vms_model *m, uint64_t lba, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		block_at(m, lba + i)->reading--;
}

static void complain(FILE *err, unsigned *bad, const struct block *b, uint64_t lba,
		     const struct stamp *st, const unsigned char *p, uint64_t start, uint64_t now,
		     const char *what)
{
	if ((*bad)++ >= 8 || !err)
		return;
	fprintf(err, "WRONG: LBA %" PRIu64 " (chunk at byte %" PRIu64 "): %s; ", lba,
		lba * VMS_MODEL_BLOCK_BYTES & ~(uint64_t)4095, what);
	if (st)
		fprintf(err,
			"read seq %" PRIu64 " writer %u LBA %" PRIu64
			" (write of %u blocks at %" PRIu64 ")",
			st->seq, st->writer, st->lba, st->wn, st->wlba);
	else if (vms_is_zero(p, VMS_MODEL_BLOCK_BYTES))
		fprintf(err, "read zeros");
	else
		fprintf(err, "read %02x%02x%02x%02x%02x%02x%02x%02x...", p[0], p[1], p[2], p[3],
			p[4], p[5], p[6], p[7]);
	fprintf(err, "; read [%" PRIu64 ", %" PRIu64 "]; allowed:", start, now);
	if (!b->n)
		fprintf(err, " initial content");
	for (uint32_t i = 0; i < b->n && i < 6; i++)
		fprintf(err,
			" seq %" PRIu64 " (start %" PRIu64 " end %" PRIu64 " last %" PRIu64 ")",
			b->v[i].seq, b->v[i].start, end_of(&b->v[i]), b->v[i].s);
	fputc('\n', err);
}

static bool covers(const struct stamp *st, uint64_t lba)
{
	return lba >= st->wlba && lba - st->wlba < st->wn;
}

/* One read saw st[] in consecutive blocks of one chunk (has[] false: something
 * without a stamp; first[]: the initial content): no two writes may each look
 * newer than the other, and none may be there in part. */
static bool torn(const struct stamp *st, const bool *has, const bool *first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!has[i])
			continue;
		for (uint32_t j = 0; j < n; j++) {
			uint64_t lba_j = st[i].lba + j - i;

			if (i == j || (has[j] && st[i].seq == st[j].seq) || !covers(&st[i], lba_j))
				continue;
			if (has[j] ? covers(&st[j], st[i].lba) : first[j])
				return true;
		}
	}
	return false;
}

struct seen_run {
	uint64_t lba, seq, f, s;
	uint32_t n;
};

static void seen_flush(struct vms_model *m, struct seen_run *r)
{
	if (r->n && m->observe)
		m->observe(m->observe_arg, r->lba, r->n, r->seq, r->f, r->s);
	r->n = 0;
}

/* The version a block's content stands for. NULL: none that is allowed.
 * *sure: false when zeros could be several of them. */
static struct version *version_of(const struct vms_model *m, struct block *b,
				  const struct stamp *st, bool has, const unsigned char *p,
				  bool *sure)
{
	struct version *v = NULL;
	unsigned zeros = 0;

	*sure = true;
	if (has) {
		v = find(b, st->seq);
		return v && !v->zero ? v : NULL;
	}
	if (vms_is_zero(p, VMS_MODEL_BLOCK_BYTES)) {
		for (uint32_t i = 0; i < b->n; i++) {
			if (b->v[i].zero ||
			    (b->v[i].seq == SEQ_INITIAL && m->o.initial == VMS_MODEL_ANY)) {
				v = &b->v[i];
				zeros++;
			}
		}
		*sure = zeros == 1;
		return v;
	}
	return m->o.initial == VMS_MODEL_ANY ? find(b, SEQ_INITIAL) : NULL;
}

/* An operation in [start, now] saw version v. Returns false when that cannot be. */
static bool observe(struct block *b, struct version *v, uint64_t start, uint64_t now)
{
	if (end_of(v) < v->f)
		v->f = end_of(v);
	if (now < v->f)
		v->f = now;
	if (start > v->s)
		v->s = start;
	for (uint32_t k = 0; k < b->n; k++) {
		const struct version *w = &b->v[k];

		if (w != v && w->f != VMS_MODEL_NEVER && v->f < w->s && w->f < v->s)
			return false;
	}
	return true;
}

/* Check the n blocks at p, seen in [start, now]; consume: by a COMPARE AND WRITE. */
static unsigned seen(struct vms_model *m, uint64_t lba, uint32_t n, const unsigned char *p,
		     uint64_t start, uint64_t now, bool consume, FILE *err)
{
	struct stamp st[VMS_MODEL_CHUNK_BLOCKS];
	bool has[VMS_MODEL_CHUNK_BLOCKS], first[VMS_MODEL_CHUNK_BLOCKS];
	struct seen_run run = {0};
	unsigned bad = 0;
	uint32_t k = 0;

	for (uint32_t i = 0; i < n; i++, p += VMS_MODEL_BLOCK_BYTES) {
		uint64_t at = lba + i, f_before;
		struct block *b = block_at(m, at);
		bool one = b->n < 2, sure;
		const struct stamp *x;
		struct version *v;

		has[k] = stamp_read(m, p, &st[k]);
		first[k] = false;
		x = has[k] ? &st[k] : NULL;
		if (x && x->lba != at) {
			complain(err, &bad, b, at, x, p, start, now, "data of another address");
			has[k] = false;
			goto next;
		}
		if (!b->n) {
			first[k] = !x;
			if (x)
				complain(err, &bad, b, at, x, p, start, now,
					 "stamp in a block never written");
			else if (m->o.initial == VMS_MODEL_ZERO &&
				 !vms_is_zero(p, VMS_MODEL_BLOCK_BYTES))
				complain(err, &bad, b, at, NULL, p, start, now,
					 "unwritten block is not zero");
			goto next;
		}
		v = version_of(m, b, x, has[k], p, &sure);
		if (!v) {
			complain(err, &bad, b, at, x, p, start, now,
				 x ? "stale, or applied although refused"
				 : vms_is_zero(p, VMS_MODEL_BLOCK_BYTES)
					 ? "acknowledged data lost (zeros)"
					 : "torn block or foreign data");
			goto next;
		}
		if (!sure) /* legal as one of several; which one stays open */
			goto next;
		first[k] = v->seq == SEQ_INITIAL;
		f_before = v->f;
		if (!observe(b, v, start, now))
			complain(err, &bad, b, at, x, p, start, now,
				 "stale: a newer version was already settled");
		if (consume && x) {
			if (v->consumed)
				complain(err, &bad, b, at, x, p, start, now,
					 "two COMPARE AND WRITE matched the same version");
			v->consumed = true;
		}
		if (!one || f_before == VMS_MODEL_NEVER) {
			if (run.n && run.seq == v->seq && run.f == v->f && run.s == v->s &&
			    run.lba + run.n == at) {
				run.n++;
			} else {
				seen_flush(m, &run);
				run = (struct seen_run){
					.lba = at, .seq = v->seq, .f = v->f, .s = v->s, .n = 1};
			}
		}
		purge(b, now + 1);
	next:
		k++;
		if ((at + 1) % VMS_MODEL_CHUNK_BLOCKS == 0 || i + 1 == n) {
			if (m->o.chunk_atomic && torn(st, has, first, k))
				complain(err, &bad, b, at, has[k - 1] ? &st[k - 1] : NULL, p, start,
					 now, "torn chunk: two writes each partly newer");
			k = 0;
		}
	}
	seen_flush(m, &run);
	return bad;
}

unsigned vms_model_read_end(struct vms_model *m, uint64_t lba, uint32_t n, const void *data,
			    uint64_t start, uint64_t now, FILE *err)
{
	vms_model_read_cancel(m, lba, n);
	return seen(m, lba, n, data, start, now, false, err);
}

unsigned vms_model_compared(struct vms_model *m, uint64_t lba, uint32_t n, const void *old,
			    uint64_t start, uint64_t now, FILE *err)
{
	vms_model_read_cancel(m, lba, n);
	return seen(m, lba, n, old, start, now, true, err);
}

void vms_model_restore(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n, uint64_t start,
		       uint64_t f, uint64_t s, uint64_t deadline, bool zero)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(m, lba + i);
		struct version *v = find(b, seq);

		if (!v)
			v = add(b, seq, start);
		v->f = f;
		v->s = s;
		v->deadline = deadline;
		v->zero = zero;
	}
}

void vms_model_observed(struct vms_model *m, uint64_t seq, uint64_t lba, uint32_t n, uint64_t f,
			uint64_t s)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = block_at(m, lba + i);
		struct version *v = find(b, seq);

		if (!v)
			continue;
		if (f < v->f)
			v->f = f;
		if (s > v->s)
			v->s = s;
		purge(b, (f > s ? f : s) + 1);
	}
}

static bool same(const struct block *x, const struct block *y)
{
	if (x->n != y->n)
		return false;
	for (uint32_t i = 0; i < x->n; i++) {
		const struct version *a = &x->v[i], *b = &y->v[i];

		if (a->seq != b->seq || a->start != b->start || a->f != b->f || a->s != b->s ||
		    a->deadline != b->deadline || a->zero != b->zero)
			return false;
	}
	return true;
}

int vms_model_dump(const struct vms_model *m, vms_model_dump_fn fn, void *arg)
{
	uint64_t i = 0;

	while (i < m->o.blocks) {
		const struct block *a = &m->b[i];
		uint64_t k = i + 1;
		int rc;

		if (!a->n) {
			i++;
			continue;
		}
		while (k < m->o.blocks && k - i < (1u << 20) && same(&m->b[k], a))
			k++;
		for (uint32_t j = 0; j < a->n; j++) {
			const struct version *v = &a->v[j];

			rc = fn(arg, v->seq, m->o.first_lba + i, (uint32_t)(k - i), v->start, v->f,
				v->s, v->deadline, v->zero);
			if (rc)
				return rc;
		}
		i = k;
	}
	return 0;
}

uint64_t vms_model_written(const struct vms_model *m)
{
	uint64_t c = 0;

	for (uint64_t i = 0; i < m->o.blocks; i++)
		c += m->b[i].n > 0;
	return c;
}

uint64_t vms_model_candidates(const struct vms_model *m)
{
	uint64_t c = 0;

	for (uint64_t i = 0; i < m->o.blocks; i++)
		c += m->b[i].n;
	return c;
}
