/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes that are to be seen as a whole (WRITE ATOMIC within its limits). What is judged of
 * one by each block for itself is sim_check.c's; here:
 *
 *	- no read, and no snapshot, shows one of its blocks and in another one what is surely
 *	  older, or another atomic write of both blocks;
 *	- who sees a block of it has seen all of it: it counts as acknowledged then, whatever
 *	  became of its command (a crash included).
 */
#include "tests/sim/sim_check_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

struct atomic {
	uint64_t value;
	const struct opref *op;
	uint64_t inv, seen; /* first end of a read that shows it */
};
struct atomics {
	VMS_VEC(struct atomic) v;
};

void sim_check_atomic(struct sim_check *c, uint32_t id)
{
	c->ops[id].atomic = true;
	c->natomics++;
}

static const struct rec *rec_of(const struct sim_check *c, const struct opref *o, uint32_t i)
{
	return &c->b[o->lba + i].r[o->idx[i]];
}

static int by_value(const void *a, const void *b)
{
	const struct atomic *x = a, *y = b;

	return (x->value > y->value) - (x->value < y->value);
}

static void collect(const struct sim_check *c, struct atomics *v)
{
	for (uint32_t i = 0; i < c->nops; i++)
		if (c->ops[i].atomic) {
			const struct rec *r = rec_of(c, &c->ops[i], 0);

			VMS_VEC_PUSH(&v->v,
				     ((struct atomic){r->value, &c->ops[i], r->inv, UINT64_MAX}));
		}
	if (v->v.n)
		qsort(v->v.d, v->v.n, sizeof(*v->v.d), by_value);
}

static bool covers(const struct opref *o, uint64_t lba)
{
	return lba >= o->lba && lba < o->lba + o->n;
}

/* The atomic write of that value that covers the block; NULL: none. */
static struct atomic *find(const struct atomics *v, uint64_t lba, uint64_t value)
{
	struct atomic key = {.value = value}, *a;

	a = value ? bsearch(&key, v->v.d, v->v.n, sizeof(key), by_value) : NULL;
	return a && covers(a->op, lba) ? a : NULL;
}

/* Where block `at` shows a: can block lba not have that value at the same time? */
static bool mixed(const struct sim_check *c, const struct atomics *v, const struct atomic *a,
		  uint64_t at, uint64_t lba, uint64_t value)
{
	const struct block *b = &c->b[lba];
	const struct atomic *o;
	bool there = !value;

	if (value == a->value || b->copied) /* what was there before may have come back */
		return false;
	o = find(v, lba, value);
	if (o && covers(o->op, at) && !c->b[at].copied)
		return true;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct rec *r = &b->r[i];

		if (!r->write || r->dead || r->value != value)
			continue;
		there = true;
		if (r->resp >= a->inv)
			return false;
	}
	return there; /* a value that was never written is for others to tell of */
}

static void tell(char *why, size_t room, const struct atomic *a, uint64_t at, uint64_t lba,
		 uint64_t value, const char *who)
{
	snprintf(why, room,
		 "%s shows value %llu, written at once to lba %llu +%u, at lba %llu, and the older "
		 "%llu at lba %llu",
		 who, (unsigned long long)a->value, (unsigned long long)a->op->lba, a->op->n,
		 (unsigned long long)at, (unsigned long long)value, (unsigned long long)lba);
}

static bool read_verify(const struct sim_check *c, const struct atomics *v, const struct opref *o,
			char *why, size_t room)
{
	struct atomic *a = NULL;

	for (uint32_t i = 0; i < o->n; i++) {
		const struct rec *r = rec_of(c, o, i);

		if (a && a->value == r->value)
			continue;
		a = find(v, o->lba + i, r->value);
		if (!a)
			continue;
		a->seen = r->resp < a->seen ? r->resp : a->seen;
		for (uint32_t k = 0; k < o->n; k++) {
			const struct rec *x = rec_of(c, o, k);
			char who[80];

			if (!covers(a->op, o->lba + k) ||
			    !mixed(c, v, a, o->lba + i, o->lba + k, x->value))
				continue;
			snprintf(who, sizeof(who), "read at %llu..%llu us",
				 (unsigned long long)r->inv, (unsigned long long)r->resp);
			tell(why, room, a, o->lba + i, o->lba + k, x->value, who);
			return false;
		}
	}
	return true;
}

bool sim_atomic_verify(struct sim_check *c, char *why, size_t room)
{
	struct atomics v = {VMS_VEC_INIT};
	bool ok = true;

	if (!c->natomics)
		return true;
	collect(c, &v);
	for (uint32_t i = 0; i < c->nops && ok; i++)
		if (!c->ops[i].write && !rec_of(c, &c->ops[i], 0)->dead)
			ok = read_verify(c, &v, &c->ops[i], why, room);
	for (size_t k = 0; k < v.v.n; k++) {
		const struct atomic *a = &v.v.d[k];

		for (uint32_t i = 0; i < a->op->n && a->seen != UINT64_MAX; i++) {
			struct rec *r = &c->b[a->op->lba + i].r[a->op->idx[i]];

			r->must |= !r->dead;
			r->resp = a->seen < r->resp ? a->seen : r->resp;
		}
	}
	VMS_VEC_FREE(&v.v);
	return ok;
}

bool sim_atomic_image(const struct sim_check *c, const uint64_t *image, char *why, size_t room)
{
	struct atomics v = {VMS_VEC_INIT};
	bool ok = true;

	if (!c->natomics)
		return true;
	collect(c, &v);
	for (uint64_t lba = 0; lba < c->nblocks && ok; lba++) {
		const struct atomic *a = image[lba] == SIM_UNSEEN ? NULL
								  : find(&v, lba, image[lba]);

		for (uint64_t k = a ? a->op->lba : 0; a && k < a->op->lba + a->op->n && ok; k++)
			if (image[k] != SIM_UNSEEN && mixed(c, &v, a, lba, k, image[k])) {
				tell(why, room, a, lba, k, image[k], "a snapshot");
				ok = false;
			}
	}
	VMS_VEC_FREE(&v.v);
	return ok;
}
