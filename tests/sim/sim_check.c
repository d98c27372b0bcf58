/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Linearizability of each logical block over all gateways. Written values are
 * unique, so a history is a set of clusters (one write and the reads that
 * returned it), and the test is near-linear.
 *
 * Checks, per block: a read returns a value whose write had been invoked and was
 * not reported as never applied; zones of different values do not conflict.
 * Zeros are not unique (UNMAP, initial state): for them only staleness and
 * origin are checked. Does not check: order between different blocks (SCSI
 * promises none).
 * Source: Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26(4).
 */
#include "tests/sim/sim_check_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

struct sim_check *sim_check_new(uint64_t nblocks)
{
	struct sim_check *c = calloc(1, sizeof(*c));
	c->nblocks = nblocks;
	c->b = calloc(nblocks, sizeof(*c->b));
	return c;
}
void sim_check_free(struct sim_check *c)
{
	for (uint64_t i = 0; i < c->nblocks; i++)
		free(c->b[i].r);
	for (uint32_t i = 0; i < c->nops; i++)
		free(c->ops[i].idx);
	free(c->ops);
	free(c->b);
	free(c->caw);
	free(c->mis);
	free(c->copy);
	free(c);
}
uint32_t sim_check_invoke(struct sim_check *c, bool write, uint64_t lba, uint32_t n, uint64_t value,
			  uint64_t now_us)
{
	if (c->nops == c->room) {
		c->room = c->room ? c->room * 2 : 256;
		c->ops = realloc(c->ops, sizeof(*c->ops) * c->room);
	}
	struct opref *o = &c->ops[c->nops];
	*o = (struct opref){lba, n, malloc(sizeof(uint32_t) * n), write, false};
	vms_assert(lba + n <= c->nblocks);
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = &c->b[lba + i];
		if (b->n == b->room) {
			b->room = b->room ? b->room * 2 : 8;
			b->r = realloc(b->r, sizeof(*b->r) * b->room);
		}
		o->idx[i] = b->n;
		b->r[b->n++] = (struct rec){now_us, UINT64_MAX, value, 0, write, false, !write};
	}
	return c->nops++;
}
uint32_t sim_check_copy(struct sim_check *c, uint64_t lba, uint32_t n, const struct sim_check *src,
			uint64_t src_lba, bool placed, uint64_t now_us)
{
	uint32_t id = sim_check_invoke(c, true, lba, n, 0, now_us);

	if (c->ncopies == c->copy_room) {
		c->copy_room = c->copy_room ? c->copy_room * 2 : 16;
		c->copy = realloc(c->copy, sizeof(*c->copy) * c->copy_room);
	}
	c->copy[c->ncopies++] = (struct copy){src, src_lba, lba, placed};
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = &c->b[lba + i];

		b->r[b->n - 1].copy = c->ncopies;
		b->copied = true;
	}
	return id;
}
void sim_check_write_end(struct sim_check *c, uint32_t id, enum sim_outcome oc, uint64_t now_us)
{
	struct opref *o = &c->ops[id];
	for (uint32_t i = 0; i < o->n; i++) {
		struct rec *r = &c->b[o->lba + i].r[o->idx[i]];
		r->resp = now_us;
		r->must = oc == SIM_APPLIED;
		r->dead = oc == SIM_NEVER;
	}
}
void sim_check_read_value(struct sim_check *c, uint32_t id, uint32_t i, uint64_t value)
{
	struct opref *o = &c->ops[id];
	c->b[o->lba + i].r[o->idx[i]].value = value;
}
void sim_check_read_end(struct sim_check *c, uint32_t id, bool ok, uint64_t now_us)
{
	struct opref *o = &c->ops[id];
	for (uint32_t i = 0; i < o->n; i++) {
		struct rec *r = &c->b[o->lba + i].r[o->idx[i]];
		r->resp = now_us;
		r->dead = !ok;
	}
}
void sim_check_caw(struct sim_check *c, uint64_t lba, uint64_t old_value, uint64_t new_value)
{
	if (c->ncaw == c->caw_room) {
		c->caw_room = c->caw_room ? c->caw_room * 2 : 64;
		c->caw = realloc(c->caw, sizeof(*c->caw) * c->caw_room);
	}
	c->caw[c->ncaw++] = (struct caw){lba, old_value, new_value};
}

void sim_check_miscompare(struct sim_check *c, uint64_t lba, uint64_t old_value, uint64_t inv_us,
			  uint64_t resp_us)
{
	if (c->nmis == c->mis_room) {
		c->mis_room = c->mis_room ? c->mis_room * 2 : 64;
		c->mis = realloc(c->mis, sizeof(*c->mis) * c->mis_room);
	}
	c->mis[c->nmis++] = (struct miscompare){lba, old_value, inv_us, resp_us};
}

void sim_check_initial(struct sim_check *c, uint64_t lba, uint64_t value)
{
	if (value) /* behind the zeros of time 0 */
		sim_check_write_end(c, sim_check_invoke(c, true, lba, 1, value, 1), SIM_APPLIED, 1);
}

/* The write that gave block b this value; NULL: none. */
static const struct rec *write_of(const struct block *b, uint64_t value)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (b->r[i].write && !b->r[i].copy && b->r[i].value == value)
			return &b->r[i];
	return NULL;
}

bool sim_check_cut(struct sim_check *c, const uint64_t *image, uint64_t begin_us, uint64_t end_us,
		   char *why, size_t room)
{
	uint64_t newest = begin_us, newest_lba = UINT64_MAX;

	for (uint64_t lba = 0; lba < c->nblocks; lba++) {
		const struct rec *w;
		struct sim_origin o;

		if (image[lba] == SIM_UNSEEN || image[lba] == 0)
			continue;
		sim_origin(c, lba, image[lba], &o);
		if (!o.any || o.inv > end_us) {
			w = write_of(&c->b[lba], image[lba]);
			snprintf(why, room,
				 "snapshot of %llu..%llu us: lba %llu shows value %llu, which %s",
				 (unsigned long long)begin_us, (unsigned long long)end_us,
				 (unsigned long long)lba, (unsigned long long)image[lba],
				 !w	   ? "was never written here"
				 : w->dead ? "was reported as never applied"
					   : "was written after it");
			return false;
		}
		if (o.inv > newest) {
			newest = o.inv;
			newest_lba = lba;
		}
	}
	for (uint64_t lba = 0; lba < c->nblocks; lba++) {
		const struct block *b = &c->b[lba];
		uint64_t shown = 0; /* response of what it shows */
		struct sim_origin o;

		if (image[lba] == SIM_UNSEEN)
			continue;
		if (image[lba] || b->copied) {
			sim_origin(c, lba, image[lba], &o);
			shown = o.resp;
		}
		for (uint32_t i = 0; i < b->n && !image[lba]; i++) /* any zeroing will do */
			if (b->r[i].write && !b->r[i].value && !b->r[i].copy && !b->r[i].dead &&
			    b->r[i].inv <= end_us && b->r[i].resp > shown)
				shown = b->r[i].resp;
		for (uint32_t i = 0; i < b->n; i++) {
			const struct rec *x = &b->r[i];

			if (!x->write || !x->must || x->resp >= newest || shown >= x->inv ||
			    (x->copy ? sim_copy_brings(c, lba, x, image[lba])
				     : x->value == image[lba]))
				continue;
			snprintf(why, room,
				 "snapshot of %llu..%llu us is no cut: lba %llu shows value %llu "
				 "(until "
				 "%llu us), not %llu acknowledged at %llu us, before %s%llu began "
				 "at %llu us",
				 (unsigned long long)begin_us, (unsigned long long)end_us,
				 (unsigned long long)lba, (unsigned long long)image[lba],
				 (unsigned long long)shown, (unsigned long long)x->value,
				 (unsigned long long)x->resp,
				 newest_lba == UINT64_MAX ? "the snapshot "
							  : "what it shows of lba ",
				 (unsigned long long)(newest_lba == UINT64_MAX ? 0 : newest_lba),
				 (unsigned long long)newest);
			return false;
		}
	}
	return sim_atomic_image(c, image, why, room);
}

struct zone { /* of one value in one block */
	uint64_t value;
	uint64_t f;   /* earliest response of any op of the cluster */
	uint64_t s;   /* latest invocation */
	uint64_t inv; /* of the write */
	uint64_t wresp;
	bool written, dead, must, read;
};
static int zone_cmp(const void *a, const void *b)
{
	const struct zone *x = a, *y = b;
	return (x->value > y->value) - (x->value < y->value);
}
static int zone_start_cmp(const void *a, const void *b)
{
	const struct zone *x = a, *y = b;
	uint64_t p = x->f < x->s ? x->f : x->s, q = y->f < y->s ? y->f : y->s;
	return (p > q) - (p < q);
}

static bool was_read(const struct block *b, uint64_t value)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (!b->r[i].write && !b->r[i].dead && b->r[i].value == value)
			return true;
	return false;
}

static bool block_verify(const struct sim_check *c, uint64_t lba, char *why, size_t room)
{
	const struct block *b = &c->b[lba];
	struct zone *z = calloc(b->n + 1, sizeof(*z));
	uint32_t nz = 0;
	bool ok = false;

	if (b->copied && !sim_copied_verify(c, lba, why, room))
		goto out;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct rec *r = &b->r[i];
		struct sim_origin o = {.copied = false};

		/* what copies may have brought has no place of its own in the order, and what
		 * nobody has read sim_copied_verify() has looked at */
		if (r->write && r->value && b->copied) {
			o.copied = !was_read(b, r->value);
			if (!o.copied)
				sim_origin(c, lba, r->value, &o);
		}
		if (r->write && r->value && !o.copied)
			z[nz++] = (struct zone){r->value, r->resp, r->inv,  r->inv, r->resp,
						true,	  r->dead, r->must, false};
	}
	qsort(z, nz, sizeof(*z), zone_cmp);
	for (uint32_t i = 0; i < b->n; i++) {
		const struct rec *r = &b->r[i];
		if (r->write || r->dead)
			continue;
		if (r->value == UINT64_MAX) {
			snprintf(why, room,
				 "lba %llu: read at %llu..%llu us returned a torn or foreign block",
				 (unsigned long long)lba, (unsigned long long)r->inv,
				 (unsigned long long)r->resp);
			goto out;
		}
		if (r->value == 0 && b->copied)
			continue;
		if (r->value == 0) {
			/* Some zero write (or the start) must be allowed as its origin: no
			 * surely applied value may lie wholly between the two. */
			bool found = false;
			for (uint32_t k = 0; k <= b->n && !found; k++) {
				struct rec zero = {0, 0, 0, 0, true, true, false};
				const struct rec *o = k == b->n ? &zero : &b->r[k];
				if (!o->write || o->value || o->dead || o->inv > r->resp)
					continue;
				uint64_t oresp = o->resp;
				bool stale = false;
				for (uint32_t j = 0; j < b->n && !stale; j++) {
					const struct rec *w = &b->r[j];
					stale = w->write && w->must && w->value && oresp < w->inv &&
						w->resp < r->inv;
				}
				found = !stale;
			}
			if (!found) {
				snprintf(why, room,
					 "lba %llu: read at %llu..%llu us returned zeros, but a "
					 "later "
					 "acknowledged write was lost",
					 (unsigned long long)lba, (unsigned long long)r->inv,
					 (unsigned long long)r->resp);
				goto out;
			}
			continue;
		}
		struct zone key = {.value = r->value};
		struct zone *v = bsearch(&key, z, nz, sizeof(*z), zone_cmp);
		if (!v && b->copied)
			continue;
		if (!v) {
			snprintf(why, room, "lba %llu: read returned value %llu never written here",
				 (unsigned long long)lba, (unsigned long long)r->value);
			goto out;
		}
		if (v->dead) {
			snprintf(why, room,
				 "lba %llu: read at %llu..%llu us returned value %llu whose write "
				 "(%llu..%llu us) was reported as never applied",
				 (unsigned long long)lba, (unsigned long long)r->inv,
				 (unsigned long long)r->resp, (unsigned long long)r->value,
				 (unsigned long long)v->inv, (unsigned long long)v->wresp);
			goto out;
		}
		if (r->resp < v->inv) {
			snprintf(why, room, "lba %llu: value %llu read before it was written",
				 (unsigned long long)lba, (unsigned long long)r->value);
			goto out;
		}
		v->read = true;
		if (r->resp < v->f)
			v->f = r->resp;
		if (r->inv > v->s)
			v->s = r->inv;
	}
	/* Keep clusters that certainly took effect; a maybe-write nobody read may be
	 * placed nowhere. Surely applied zero writes kill every older value. */
	uint32_t m = 0;
	for (uint32_t i = 0; i < nz; i++)
		if (!z[i].dead && (z[i].must || z[i].read))
			z[m++] = z[i];
	nz = m;
	for (uint32_t i = 0; i < nz; i++) {
		if (z[i].f >= z[i].s)
			continue; /* backward zone */
		for (uint32_t k = 0; k < b->n; k++) {
			const struct rec *o = &b->r[k];
			/* A surely applied zeroing wholly inside a forward zone of another
			 * value: between first response and last invocation. */
			if (o->write && !o->value && o->must && o->inv > z[i].f &&
			    o->resp < z[i].s) { /* a copy does not bring that value */
				snprintf(why, room,
					 "lba %llu: value %llu read after it had been %s at "
					 "%llu..%llu us",
					 (unsigned long long)lba, (unsigned long long)z[i].value,
					 o->copy ? "copied over" : "zeroed",
					 (unsigned long long)o->inv, (unsigned long long)o->resp);
				goto out;
			}
		}
	}
	qsort(z, nz, sizeof(*z), zone_start_cmp);
	uint64_t end = 0;
	uint32_t who = 0;
	bool have = false;
	for (uint32_t i = 0; i < nz; i++) { /* forward zones must not overlap */
		if (z[i].f >= z[i].s)
			continue;
		if (have && z[i].f < end) {
			snprintf(
				why, room,
				"lba %llu: values %llu (seen until %llu us) and %llu (written "
				"%llu..%llu, seen %llu..%llu us) overlap: stale read or lost write",
				(unsigned long long)lba, (unsigned long long)z[who].value,
				(unsigned long long)z[who].s, (unsigned long long)z[i].value,
				(unsigned long long)z[i].inv, (unsigned long long)z[i].wresp,
				(unsigned long long)z[i].f, (unsigned long long)z[i].s);
			goto out;
		}
		end = z[i].s;
		who = i;
		have = true;
	}
	for (uint32_t i = 0; i < nz; i++) { /* no backward zone inside a forward one */
		if (z[i].f < z[i].s)
			continue;
		for (uint32_t k = 0; k < nz; k++)
			if (z[k].f < z[k].s && z[k].f < z[i].s && z[i].f < z[k].s) {
				snprintf(why, room,
					 "lba %llu: value %llu was read until %llu us although "
					 "value "
					 "%llu was written wholly in between (%llu..%llu us)",
					 (unsigned long long)lba, (unsigned long long)z[k].value,
					 (unsigned long long)z[k].s, (unsigned long long)z[i].value,
					 (unsigned long long)z[i].s, (unsigned long long)z[i].f);
				goto out;
			}
	}
	ok = true;
out:
	free(z);
	return ok;
}

static int caw_cmp(const void *a, const void *b)
{
	const struct caw *x = a, *y = b;
	if (x->lba != y->lba)
		return x->lba < y->lba ? -1 : 1;
	return (x->old_value > y->old_value) - (x->old_value < y->old_value);
}

/* Its value was there all the time when its write had ended before, and each other write
 * had ended before that one began, or began afterwards, or never was. */
static bool miscompare_verify(const struct block *b, const struct miscompare *x)
{
	const struct rec *w = x->old_value ? write_of(b, x->old_value) : NULL;

	if (!w || !w->must || w->resp >= x->inv)
		return true;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct rec *o = &b->r[i];

		if (o->write && o != w && !o->dead && o->resp >= w->inv && o->inv <= x->resp)
			return true;
	}
	return false;
}

bool sim_check_verify(struct sim_check *c, char *why, size_t room)
{
	if (!sim_atomic_verify(c, why, room))
		return false;
	for (uint32_t i = 0; i < c->nmis; i++)
		if (!miscompare_verify(&c->b[c->mis[i].lba], &c->mis[i])) {
			snprintf(why, room,
				 "lba %llu: COMPARE AND WRITE at %llu..%llu us did not find value "
				 "%llu, "
				 "which was there",
				 (unsigned long long)c->mis[i].lba,
				 (unsigned long long)c->mis[i].inv,
				 (unsigned long long)c->mis[i].resp,
				 (unsigned long long)c->mis[i].old_value);
			return false;
		}
	for (uint64_t i = 0; i < c->nblocks; i++)
		if (c->b[i].n && !block_verify(c, i, why, room))
			return false;
	if (c->ncaw) /* NULL otherwise */
		qsort(c->caw, c->ncaw, sizeof(*c->caw), caw_cmp);
	for (uint32_t i = 1; i < c->ncaw; i++)
		if (c->caw[i].old_value && !c->b[c->caw[i].lba].copied &&
		    !caw_cmp(&c->caw[i - 1], &c->caw[i])) {
			snprintf(why, room,
				 "lba %llu: two COMPARE AND WRITE succeeded on value %llu",
				 (unsigned long long)c->caw[i].lba,
				 (unsigned long long)c->caw[i].old_value);
			return false;
		}
	return true;
}

void sim_block_fill(uint8_t *b, uint64_t lba, uint64_t value)
{
	if (!value) {
		memset(b, 0, VMS_LB_BYTES);
		return;
	}
	for (unsigned i = 0; i < VMS_LB_BYTES; i += 16) {
		uint64_t k = vms_mix64(value * 64 + i);
		memcpy(b + i, &value, 8);
		k ^= lba;
		memcpy(b + i + 8, &k, 8);
	}
}
uint64_t sim_block_parse(const uint8_t *b, uint64_t lba)
{
	uint64_t value, place;
	uint8_t want[VMS_LB_BYTES];
	memcpy(&value, b, 8);
	sim_block_fill(want, lba, value);
	if (!memcmp(want, b, VMS_LB_BYTES))
		return value;
	/* copied from another place? */
	memcpy(&place, b + 8, 8);
	place ^= vms_mix64(value * 64);
	if (!value || value > UINT32_MAX || place >= UINT32_MAX / 2)
		return UINT64_MAX;
	sim_block_fill(want, place, value);
	return memcmp(want, b, VMS_LB_BYTES) ? UINT64_MAX : value | (place + 1) << 32;
}
void sim_block_make(uint8_t *b, uint64_t lba, uint64_t value)
{
	if (value >> 32)
		sim_block_fill(b, (value >> 32) - 1, (uint32_t)value);
	else
		sim_block_fill(b, lba, value);
}
