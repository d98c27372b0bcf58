/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blocks that copies have written. What a copy brings is known only once it is read, and it
 * may be there twice, so such a value has no write of its own: what is asked is where it may
 * have come from. A copy may have brought a value when its source may have held that at some
 * moment of it, which is asked of the source's history in the same way.
 *
 * Checks: a read shows a value that has an origin which nothing that surely came between the
 * two has replaced. What surely came between: acknowledged writes and copies, and values that
 * were seen meanwhile. Values that no copy can have brought are sim_check.c's besides.
 */
#include "tests/sim/sim_check_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define DEPTH_MAX 2u /* copies of copies beyond that may bring anything */

/* Who may have given a block a value? Asked of each of its records at most once. */
struct question {
	const struct sim_check *c;
	const struct block *b;
	uint64_t lba, value;
	unsigned depth;
	const struct question *up; /* who asks, for what this copy brings it; NULL: nobody */
	const struct copy *via;
	enum { UNKNOWN = 0, NO, YES } * known; /* by record */
};

static void question(struct question *q, const struct sim_check *c, uint64_t lba, uint64_t value,
		     const struct question *up, const struct copy *via)
{
	const struct block *b = &c->b[lba];

	*q = (struct question){c, b, lba, value, up ? up->depth + 1 : 0, up, via, NULL};
	if (!b->copied)
		return;
	q->known = calloc(b->n, sizeof(*q->known));
	vms_assert(q->known);
}

/* The value of a block at one place, as it is told at another one (sim_block_parse()). */
static uint64_t moved(const struct copy *k, uint64_t value, uint64_t from, uint64_t to)
{
	uint64_t place = value >> 32 ? (value >> 32) - 1 : from;

	if (!value || !k->placed)
		return value;
	return (uint32_t)value | (place == to ? 0 : (place + 1) << 32);
}

static bool may_hold(struct question *q, uint64_t from_us, uint64_t to_us);

static bool brings(const struct question *q, const struct rec *r)
{
	const struct copy *k = &q->c->copy[r->copy - 1];
	uint64_t src_lba = k->src_lba + (q->lba - k->lba);
	struct question ask;
	bool yes;

	/* A value that only goes round among copies comes from nowhere. But a copy that takes
	 * long may read what another has brought of a block that it wrote itself before. */
	for (const struct question *u = q; u->up; u = u->up)
		if (u->via == k && u->up->lba == q->lba)
			return false;
	if (q->depth == DEPTH_MAX)
		return true;
	question(&ask, k->src, src_lba, moved(k, q->value, q->lba, src_lba), q, k);
	yes = may_hold(&ask, r->inv, r->resp);
	free(ask.known);
	return yes;
}

/* Is record i a write that may have given the block this value? */
static bool gives(struct question *q, uint32_t i)
{
	const struct rec *r = &q->b->r[i];

	if (!r->write || r->dead)
		return false;
	if (!r->copy)
		return r->value == q->value;
	if (!q->known[i])
		q->known[i] = brings(q, r) ? YES : NO;
	return q->known[i] == YES;
}

/* Something else was surely written after until_us and before from_us. */
static bool replaced(struct question *q, uint64_t until_us, uint64_t from_us)
{
	if (until_us >= from_us)
		return false;
	for (uint32_t i = 0; i < q->b->n; i++) {
		const struct rec *x = &q->b->r[i];

		if (x->write && x->must && until_us < x->inv && x->resp < from_us && !gives(q, i))
			return true;
	}
	return false;
}

/* May the block have held the value at some moment from from_us to to_us? */
static bool may_hold(struct question *q, uint64_t from_us, uint64_t to_us)
{
	if (!q->value && !replaced(q, 0, from_us))
		return true;
	for (uint32_t i = 0; i < q->b->n; i++) {
		const struct rec *r = &q->b->r[i];

		if (r->inv <= to_us && gives(q, i) && !replaced(q, r->resp, from_us))
			return true;
	}
	return false;
}

static void origin(struct question *q, struct sim_origin *out)
{
	*out = (struct sim_origin){.any = !q->value, .inv = q->value ? UINT64_MAX : 0};
	for (uint32_t i = 0; i < q->b->n; i++) {
		const struct rec *r = &q->b->r[i];

		if (!gives(q, i))
			continue;
		out->any = true;
		out->copied |= r->copy != 0;
		out->inv = r->inv < out->inv ? r->inv : out->inv;
		out->resp = r->resp > out->resp ? r->resp : out->resp;
	}
}

void sim_origin(const struct sim_check *c, uint64_t lba, uint64_t value, struct sim_origin *out)
{
	struct question q;

	question(&q, c, lba, value, NULL, NULL);
	origin(&q, out);
	free(q.known);
}

bool sim_copy_brings(const struct sim_check *c, uint64_t lba, const struct rec *r, uint64_t value)
{
	const struct question q = {.c = c, .b = &c->b[lba], .lba = lba, .value = value};

	return brings(&q, r);
}

/* ---- reads ---- */

struct seen { /* a value that was read */
	struct question q;
	uint64_t inv, f; /* it was written between these */
};
struct seen_vec {
	VMS_VEC(struct seen) v;
};

static struct seen *seen_of(struct seen_vec *v, uint64_t value)
{
	for (size_t k = 0; k < v->v.n; k++)
		if (v->v.d[k].q.value == value)
			return &v->v.d[k];
	return NULL;
}

static bool is_read(const struct rec *r)
{
	return !r->write && !r->dead && r->value != UINT64_MAX;
}

static void tell(char *why, size_t room, uint64_t lba, const struct rec *r, const char *what)
{
	snprintf(why, room, "lba %llu: read at %llu..%llu us returned value %llu of lba %llu: %s",
		 (unsigned long long)lba, (unsigned long long)r->inv, (unsigned long long)r->resp,
		 (unsigned long long)(uint32_t)r->value,
		 (unsigned long long)(r->value >> 32 ? (r->value >> 32) - 1 : lba), what);
}

static bool seen_find(const struct sim_check *c, uint64_t lba, struct seen_vec *v, char *why,
		      size_t room)
{
	const struct block *b = &c->b[lba];

	for (uint32_t i = 0; i < b->n; i++) {
		const struct rec *r = &b->r[i];
		struct seen *x;
		struct sim_origin o;

		if (!is_read(r))
			continue;
		x = seen_of(v, r->value);
		if (x) {
			x->f = r->resp < x->f ? r->resp : x->f;
			continue;
		}
		x = VMS_VEC_ADD(&v->v);
		question(&x->q, c, lba, r->value, NULL, NULL);
		origin(&x->q, &o);
		x->inv = o.inv;
		x->f = r->resp;
		if (!o.any) {
			tell(why, room, lba, r,
			     "never written here, and no copy can have brought it");
			return false;
		}
	}
	return true;
}

/* Is the value, written at the latest until until_us, surely gone at from_us? */
static bool gone(const struct seen_vec *v, struct seen *x, uint64_t until_us, uint64_t from_us)
{
	if (until_us >= from_us)
		return false;
	for (size_t i = 0; i < v->v.n; i++) {
		const struct seen *o = &v->v.d[i];

		if (o != x && until_us < o->inv && o->f < from_us)
			return true;
	}
	return replaced(&x->q, until_us, from_us);
}

bool sim_copied_verify(const struct sim_check *c, uint64_t lba, char *why, size_t room)
{
	const struct block *b = &c->b[lba];
	struct seen_vec v = {VMS_VEC_INIT};
	bool ok = seen_find(c, lba, &v, why, room);

	for (uint32_t i = 0; i < b->n && ok; i++) {
		const struct rec *r = &b->r[i];
		struct seen *x;

		if (!is_read(r))
			continue;
		x = seen_of(&v, r->value);
		ok = !r->value && !gone(&v, x, 0, r->inv);
		for (uint32_t k = 0; k < b->n && !ok; k++)
			ok = b->r[k].inv <= r->resp && gives(&x->q, k) &&
			     !gone(&v, x, b->r[k].resp, r->inv);
		if (!ok)
			tell(why, room, lba, r,
			     "it had been replaced before, or was copied here later");
	}
	for (size_t i = 0; i < v.v.n; i++)
		free(v.v.d[i].q.known);
	VMS_VEC_FREE(&v.v);
	return ok;
}
