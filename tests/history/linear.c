// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is the history of each unit linearizable?
 *
 * Just-in-time linearization (G. Lowe, "Testing for linearizability", 2017) over
 * the moments at which operations begin and end. A *state* is the value of the unit
 * and which of the pending operations have taken effect. When an operation ends, it
 * must have: every state in which it has not is replaced by all those that follow
 * from it by letting pending operations take effect, in any order, up to this one.
 * No state left: no order explains what was seen. Reads change nothing, so they take
 * effect in each state as soon as they may; this loses no order.
 *
 * An operation of unknown outcome may or may not have taken effect at its bound, so
 * both kinds of states live on.
 *
 * A write whose value nobody ever saw explains nothing; it may only be in the way. If its
 * outcome is unknown it is left out. If not, the best moment for it is right before another
 * plain write: so it has no moment of its own but takes effect with the next one, or when it ends.
 * The exception is a COMPARE AND WRITE that miscompared: any value may be why. What may have
 * been there at that time counts like others; what surely was not is a write with another one
 * wholly between it and the miscompare.
 *
 * A value that was seen may be overwritten only when all who saw it have: it never
 * comes back. Zeros may, as many can write them; they have no writer here.
 *
 * Effort: linear in the length of a history, exponential only in the writes pending on
 * one unit at one time whose values were seen. Values are unique, so most states die with
 * the next read.
 */
#include "tests/history/history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX 64u
#define STATES_MAX  200000u
#define SHOWN	    24u /* operations around a violation */

#define ZEROS  0u
#define NOBODY UINT32_MAX

struct rop { /* an operation as one unit sees it */
	const struct vms_history_op *op;
	uint64_t seen;
	uint32_t writes, wants; /* values by their writers: place in the unit's list, + 1 */
	uint64_t last_seen;	/* a write: when the last one began that surely saw it */
	unsigned slot;
	bool idle; /* a write that nobody saw */
};

struct event {
	uint64_t t;
	struct rop *r;
	bool end;
};

struct state {
	uint32_t value;
	uint64_t done; /* bit per slot */
};

struct set {
	struct state *s;
	uint32_t *index; /* open addressing: place in s, + 1 */
	size_t n, cap, index_cap;
};

struct run {
	struct rop *all; /* of the unit */
	uint64_t now_ns;
	struct rop *slot[PENDING_MAX];
	uint64_t pending; /* slots taken */
	uint64_t idle;	  /* those of them that hold idle writes */
	struct set now, next, seen;
	bool full;
};

static size_t hash_of(const struct state *s, size_t cap)
{
	uint64_t h = (s->value ^ s->done * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	return (h ^ h >> 29) & (cap - 1);
}

static void set_free(struct set *t)
{
	free(t->s);
	free(t->index);
	*t = (struct set){0};
}

static void set_clear(struct set *t)
{
	t->n = 0;
	if (t->index_cap > 4096)
		set_free(t); /* it was hard once; clearing that every time would be slow */
	else if (t->index)
		memset(t->index, 0, t->index_cap * sizeof(*t->index));
}

static int set_grow(struct set *t)
{
	size_t cap = t->cap ? t->cap * 2 : 64;
	struct state *s = realloc(t->s, cap * sizeof(*s));

	if (!s)
		return -1;
	t->s = s;
	t->cap = cap;
	free(t->index);
	t->index_cap = cap * 2;
	t->index = calloc(t->index_cap, sizeof(*t->index));
	if (!t->index)
		return -1;
	for (size_t k = 0; k < t->n; k++) {
		size_t i = hash_of(&t->s[k], t->index_cap);

		while (t->index[i])
			i = (i + 1) & (t->index_cap - 1);
		t->index[i] = (uint32_t)(k + 1);
	}
	return 0;
}

/* 1: added, 0: was there, -1: out of memory */
static int set_add(struct set *t, struct state s)
{
	size_t i;

	if (t->n == t->cap && set_grow(t))
		return -1;
	for (i = hash_of(&s, t->index_cap); t->index[i]; i = (i + 1) & (t->index_cap - 1)) {
		const struct state *o = &t->s[t->index[i] - 1];

		if (o->value == s.value && o->done == s.done)
			return 0;
	}
	t->s[t->n++] = s;
	t->index[i] = (uint32_t)t->n;
	return 1;
}

/* Does it only look? What it must find is in *want; *is says whether that or else. */
static bool looks(const struct rop *r, bool *is)
{
	*is = r->op->outcome != VMS_HISTORY_MISCOMPARE;
	return r->op->kind == VMS_HISTORY_READ || !*is;
}

/* Let every pending look take effect that may. */
static struct state look(const struct run *u, struct state s)
{
	for (uint64_t m = u->pending & ~s.done; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);
		bool is;

		if (looks(u->slot[i], &is) && (s.value == u->slot[i]->wants) == is)
			s.done |= 1ull << i;
	}
	return s;
}

/* May operation x write over what is there in s, or will it be missed? */
static bool may_overwrite(const struct run *u, const struct state *s, unsigned x)
{
	if (s->value == ZEROS)
		return true;
	if (u->all[s->value - 1].last_seen > u->now_ns)
		return false;
	for (uint64_t m = u->pending & ~s->done & ~(1ull << x); m; m &= m - 1) {
		const struct rop *r = u->slot[__builtin_ctzll(m)];

		if (r->op->kind != VMS_HISTORY_WRITE && r->op->outcome == VMS_HISTORY_OK &&
		    r->wants == s->value)
			return false;
	}
	return true;
}

/* All states that follow from those of now by letting pending operations take effect
 * until that of slot x has. keep: also those in which it has not. */
static int expand(struct run *u, unsigned x, bool keep)
{
	uint64_t bit = 1ull << x;

	set_clear(&u->next);
	set_clear(&u->seen);
	for (size_t k = 0; k < u->now.n; k++) {
		struct state s = u->now.s[k];

		if (s.done & bit) {
			s.done &= ~bit;
			if (set_add(&u->next, s) < 0)
				return -1;
			continue;
		}
		if (keep && set_add(&u->next, s) < 0)
			return -1;
		if (set_add(&u->seen, s) < 0)
			return -1;
	}
	for (size_t k = 0; k < u->seen.n; k++) {
		struct state from = u->seen.s[k];

		if (u->seen.n + u->next.n > STATES_MAX) {
			u->full = true;
			return 0;
		}
		for (uint64_t m = u->pending & ~from.done; m; m &= m - 1) {
			unsigned i = (unsigned)__builtin_ctzll(m);
			const struct vms_history_op *o = u->slot[i]->op;
			struct state s = from;
			bool is;

			if (looks(u->slot[i], &is))
				continue;
			if (o->kind == VMS_HISTORY_CAW && u->slot[i]->wants != s.value)
				continue;
			if ((u->slot[i]->idle && i != x) || !may_overwrite(u, &s, i))
				continue;
			s.value = u->slot[i]->writes;
			s.done |= 1ull << i;
			if (o->kind == VMS_HISTORY_WRITE) /* the other one saw what was there */
				s.done |= u->idle & u->pending;
			s = look(u, s);
			if (s.done & bit) {
				s.done &= ~bit;
				if (set_add(&u->next, s) < 0)
					return -1;
			} else if (set_add(&u->seen, s) < 0) {
				return -1;
			}
		}
	}
	struct set t = u->now;

	u->now = u->next;
	u->next = t;
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->t != y->t)
		return x->t < y->t ? -1 : 1;
	return x->end - y->end; /* what touches is concurrent */
}

/* ---- telling ---- */

static const char *value_text(uint64_t v, char *buf, size_t len)
{
	if (v == VMS_HISTORY_TORN)
		return "torn";
	if (!v)
		return "zeros";
	snprintf(buf, len, "%" PRIu64, v);
	return buf;
}

static void tell_op(const struct vms_history *h, const struct rop *r, uint64_t t0, FILE *err)
{
	static const char *const outcome[] = {"ok", "fail", "miscompare", "unknown"};
	const struct vms_history_op *o = r->op;
	char a[24], b[24];

	fprintf(err, "    %10.3f to ", (double)(o->start - t0) / 1e6);
	if (o->end == VMS_HISTORY_NEVER)
		fprintf(err, "         ?");
	else
		fprintf(err, "%10.3f", (double)(o->end - t0) / 1e6);
	if (o->kind == VMS_HISTORY_READ)
		fprintf(err, " ms  read %s", value_text(r->seen, a, sizeof(a)));
	else if (o->kind == VMS_HISTORY_WRITE)
		fprintf(err, " ms  write %s", value_text(o->value, a, sizeof(a)));
	else
		fprintf(err, " ms  compare %s, write %s", value_text(o->expect, a, sizeof(a)),
			value_text(o->value, b, sizeof(b)));
	fprintf(err, ", %s (%s:%u)\n", outcome[o->outcome], vms_history_file(h, o->file), o->line);
}

/* at: the operation that has no place in any order. */
static void tell(const struct vms_history *h, uint32_t unit, const struct rop *all, size_t n,
		 const struct rop *at, FILE *err)
{
	size_t from = 0, k, i = (size_t)(at - all);
	uint64_t t0 = all[0].op->start;
	char a[24];

	fprintf(err, "WRONG: unit %" PRIu32 " has no order of its operations that explains:\n",
		unit);
	tell_op(h, at, t0, err);
	if (at->op->kind == VMS_HISTORY_READ && at->seen == VMS_HISTORY_TORN) {
		fprintf(err, "  nobody wrote that\n");
		return;
	}
	if (at->op->kind == VMS_HISTORY_READ && at->seen) {
		for (k = 0; k < n; k++)
			if (all[k].op->kind != VMS_HISTORY_READ && all[k].op->value == at->seen)
				break;
		if (k == n) {
			fprintf(err, "  nobody wrote %s to this unit\n",
				value_text(at->seen, a, sizeof(a)));
		} else {
			fprintf(err, "  it was written by\n");
			tell_op(h, &all[k], t0, err);
		}
	}
	if (i > SHOWN)
		from = i - SHOWN;
	fprintf(err, "  operations on the unit around it, by their beginning:\n");
	for (k = from; k < n && k < i + SHOWN / 4; k++)
		tell_op(h, &all[k], t0, err);
}

/* ---- one unit ---- */

struct writer {
	uint64_t value;
	uint32_t at;
};

static int by_value(const void *a, const void *b)
{
	const struct writer *x = a, *y = b;

	return x->value < y->value ? -1 : x->value > y->value;
}

/* Who wrote what the others saw; which writes are idle. */
static int find_writers(struct rop *all, size_t n)
{
	struct writer *w = malloc((n + 1) * sizeof(*w)), key, *hit;
	const struct vms_history_op **miss = malloc((n + 1) * sizeof(*miss));
	uint64_t *from = malloc((n + 1) * sizeof(*from));
	size_t writers = 0, misses = 0;

	if (!w || !miss || !from) {
		free(w);
		free(miss);
		free(from);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		all[i].writes = ZEROS;
		all[i].last_seen = 0;
		if (!all[i].op->value)
			continue;
		all[i].writes = (uint32_t)i + 1;
		/* a COMPARE AND WRITE that was answered saw something itself */
		all[i].idle = all[i].op->kind == VMS_HISTORY_WRITE ||
			      all[i].op->outcome == VMS_HISTORY_UNKNOWN;
		w[writers++] = (struct writer){all[i].op->value, (uint32_t)i};
	}
	qsort(w, writers, sizeof(*w), by_value);
	for (size_t i = 0; i < n; i++) {
		const struct vms_history_op *o = all[i].op;

		if (o->outcome == VMS_HISTORY_MISCOMPARE)
			miss[misses++] = o;
		if (o->kind == VMS_HISTORY_WRITE)
			continue;
		key.value = o->kind == VMS_HISTORY_READ ? all[i].seen : o->expect;
		hit = bsearch(&key, w, writers, sizeof(*w), by_value);
		all[i].wants = hit ? hit->at + 1 : key.value ? NOBODY : ZEROS;
		if (!hit || (o->kind == VMS_HISTORY_READ && o->outcome != VMS_HISTORY_OK))
			continue;
		all[hit->at].idle = false;
		if (o->outcome == VMS_HISTORY_OK && o->start > all[hit->at].last_seen)
			all[hit->at].last_seen = o->start;
	}
	for (size_t k = 0; k < misses;
	     k++) { /* what was there may have been written from then on */
		from[k] = 0;
		for (size_t i = 0; i < n && all[i].op->start < miss[k]->start; i++) {
			const struct vms_history_op *o = all[i].op;

			if (o->kind != VMS_HISTORY_READ && o->outcome == VMS_HISTORY_OK &&
			    o->end < miss[k]->start && o->start > from[k])
				from[k] = o->start;
		}
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < misses && all[i].idle; k++)
			if (from[k] <= all[i].op->end && all[i].op->start <= miss[k]->end)
				all[i].idle = false;
	free(w);
	free(miss);
	free(from);
	return 0;
}

/* 0 linearizable, 1 not (*at: which operation), 2 undecided, -1 out of memory */
static int check_unit(struct run *u, struct rop *all, size_t n, const struct rop **at,
		      uint64_t *states_max)
{
	struct event *ev = malloc((2 * n + 1) * sizeof(*ev));
	size_t events = 0;
	int rc = 0;

	if (!ev || find_writers(all, n)) {
		free(ev);
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		const struct vms_history_op *o = all[i].op;

		if (o->outcome == VMS_HISTORY_FAIL ||
		    (o->outcome == VMS_HISTORY_UNKNOWN &&
		     (o->kind == VMS_HISTORY_READ || all[i].idle)))
			continue;
		ev[events++] = (struct event){o->start, &all[i], false};
		if (o->end != VMS_HISTORY_NEVER)
			ev[events++] = (struct event){o->end, &all[i], true};
	}
	qsort(ev, events, sizeof(*ev), by_time);
	u->pending = u->idle = 0;
	u->all = all;
	u->full = false;
	set_clear(&u->now);
	/* a fresh volume */
	if (set_add(&u->now, (struct state){ZEROS, 0}) < 0)
		rc = -1;
	for (size_t e = 0; e < events && !rc; e++) {
		struct rop *r = ev[e].r;

		u->now_ns = ev[e].t;
		if (!ev[e].end) {
			if (u->pending == UINT64_MAX) {
				rc = 2;
				break;
			}
			r->slot = (unsigned)__builtin_ctzll(~u->pending);
			u->slot[r->slot] = r;
			u->pending |= 1ull << r->slot;
			if (r->idle)
				u->idle |= 1ull << r->slot;
			else
				u->idle &= ~(1ull << r->slot);
			set_clear(&u->next);
			for (size_t k = 0; k < u->now.n && !rc; k++)
				if (set_add(&u->next, look(u, u->now.s[k])) < 0)
					rc = -1;
			struct set t = u->now;

			u->now = u->next;
			u->next = t;
			continue;
		}
		if (expand(u, r->slot, r->op->outcome == VMS_HISTORY_UNKNOWN))
			rc = -1;
		else if (u->full)
			rc = 2;
		else if (!u->now.n) {
			*at = r;
			rc = 1;
		}
		u->pending &= ~(1ull << r->slot);
		if (u->now.n > *states_max)
			*states_max = u->now.n;
	}
	free(ev);
	return rc;
}

/* ---- all ---- */

struct piece { /* an operation cut into units, for sorting */
	uint32_t unit;
	struct rop r;
};

static int by_unit(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->unit != y->unit)
		return x->unit < y->unit ? -1 : 1;
	if (x->r.op->start != y->r.op->start)
		return x->r.op->start < y->r.op->start ? -1 : 1;
	return 0;
}

static void count(struct vms_history_result *r, const struct vms_history_op *o)
{
	r->ops++;
	r->reads += o->kind == VMS_HISTORY_READ;
	r->writes += o->kind == VMS_HISTORY_WRITE;
	r->caws += o->kind == VMS_HISTORY_CAW;
	r->unknown += o->outcome == VMS_HISTORY_UNKNOWN;
	r->refused += o->outcome == VMS_HISTORY_FAIL;
}

int vms_history_check(const struct vms_history *h, struct vms_history_result *r, FILE *err)
{
	size_t n, pieces = 0, k = 0;
	const struct vms_history_op *op = vms_history_ops(h, &n);
	struct run u = {0};
	struct piece *piece;
	struct rop *all;
	int rc = 0;

	*r = (struct vms_history_result){0};
	for (size_t i = 0; i < n; i++)
		pieces += op[i].n;
	piece = malloc((pieces + 1) * sizeof(*piece));
	all = malloc((pieces + 1) * sizeof(*all));
	if (!piece || !all) {
		rc = -1;
		goto out;
	}
	for (size_t i = 0; i < n; i++) {
		count(r, &op[i]);
		for (uint32_t j = 0; j < op[i].n; j++)
			piece[k++] = (struct piece){
				op[i].unit + j,
				{.op = &op[i], .seen = op[i].seen ? op[i].seen[j] : 0}};
	}
	qsort(piece, pieces, sizeof(*piece), by_unit);
	for (size_t from = 0, to; from < pieces && rc >= 0; from = to) {
		const struct rop *at = NULL;

		for (to = from; to < pieces && piece[to].unit == piece[from].unit; to++)
			all[to - from] = piece[to].r;
		r->units++;
		rc = check_unit(&u, all, to - from, &at, &r->states_max);
		if (rc == 1) {
			r->wrong++;
			tell(h, piece[from].unit, all, to - from, at, err);
		} else if (rc == 2) {
			r->undecided++;
			fprintf(err, "UNDECIDED: unit %" PRIu32 ": too many operations at once\n",
				piece[from].unit);
		}
	}
out:
	set_free(&u.now);
	set_free(&u.next);
	set_free(&u.seen);
	free(piece);
	free(all);
	return rc < 0 ? -1 : 0;
}
