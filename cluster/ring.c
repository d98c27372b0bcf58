// SPDX-License-Identifier: GPL-2.0-only
/* The planner works on quotas. First every node's best achievable share is found by
 * raising one water level over all weights (bounded per node by one replica of each
 * partition, per zone by what rule 2 allows). Rounded shares are quotas. What the
 * previous table holds within the rules stays; free places are then filled, and
 * surplus moved, by walking the tokens from the partition's start to the first node
 * below its quota. Where no single step helps, the shortest chain of moves is searched
 * (an augmenting path); quotas within the bounds can always be met, so this ends in a
 * table that fills every place.
 *
 * All arithmetic is on integers, so that every machine plans the same table. */
#include "cluster/ring.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/ring_int.h"
#include "utils/lib/assert.h"

#define KEY_BITS      33
#define TOKENS_NORMAL 64   /* tokens of a node of weight 100 */
#define TOKENS_MAX    4096 /* more change nothing: quotas bound the load anyway */
#define NO_NODE	      0xffffu
#define ROOT	      0xfffeu

static uint64_t mix3(uint64_t a, uint64_t b)
{
	return vms_mix64(vms_mix64(a + UINT64_C(0x9e3779b97f4a7c15)) ^
			 (b * UINT64_C(0xd1342543de82ef95) + 1));
}

/* ---- rows ---- */

static bool holds(const struct plan *p, unsigned node, unsigned part)
{
	return p->has[(size_t)node * p->words + part / 64] >> part % 64 & 1;
}

static void set_holds(struct plan *p, unsigned node, unsigned part, bool on)
{
	uint64_t *w = &p->has[(size_t)node * p->words + part / 64];
	uint64_t bit = UINT64_C(1) << part % 64;

	*w = on ? *w | bit : *w & ~bit;
	p->load[node] += on ? 1 : -1u;
}

/* May node b join part, in the place of a (or, a = NO_NODE, in a free place)? */
static bool fits(const struct plan *p, unsigned part, unsigned a, unsigned b)
{
	unsigned zb = p->zone[b], in_zone = 0, free_places;

	if (holds(p, b, part))
		return false;
	free_places = p->r - p->cnt[part];
	if (a == NO_NODE) {
		if (!free_places)
			return false;
		free_places--;
	}
	if (a != NO_NODE && p->zone[a] == zb)
		return true;
	for (unsigned i = 0; i < p->cnt[part]; i++)
		in_zone += p->zone[p->row[part][i]] == zb;
	if (in_zone >= p->zone_max[zb])
		return false;
	if (p->zone_has_min) {
		unsigned need = 0;

		for (unsigned z = 0; z < p->nz; z++) {
			unsigned k = z == zb;

			for (unsigned i = 0; i < p->cnt[part]; i++)
				k += p->row[part][i] != a && p->zone[p->row[part][i]] == z;
			if (k < p->zone_min[z])
				need += p->zone_min[z] - k;
		}
		if (need > free_places)
			return false;
	}
	return true;
}

static void row_add(struct plan *p, unsigned part, unsigned b)
{
	p->row[part][p->cnt[part]++] = (uint16_t)b;
	set_holds(p, b, part, true);
}

static void row_drop(struct plan *p, unsigned part, unsigned at)
{
	set_holds(p, p->row[part][at], part, false);
	p->cnt[part]--;
	memmove(&p->row[part][at], &p->row[part][at + 1],
		(p->cnt[part] - at) * sizeof(p->row[part][0]));
}

static unsigned row_find(const struct plan *p, unsigned part, unsigned node)
{
	unsigned i = 0;

	while (p->row[part][i] != node)
		i++;
	return i;
}

/* The newcomer goes to the end: a node that has no data yet should not lead. */
static void row_swap(struct plan *p, unsigned part, unsigned a, unsigned b)
{
	row_drop(p, part, row_find(p, part, a));
	row_add(p, part, b);
}

/* Keeps of the previous row what is still allowed; drops from its end. */
static void keep_row(struct plan *p, unsigned part, const struct vms_ring_row *old)
{
	for (unsigned i = 0; i < old->n && p->cnt[part] < p->r; i++) {
		unsigned lo = 0, hi = p->n, z, k = 0;

		while (lo < hi) {
			unsigned mid = (lo + hi) / 2;

			if (p->id[mid] < old->node[i])
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo == p->n || p->id[lo] != old->node[i] || holds(p, lo, part))
			continue;
		z = p->zone[lo];
		for (unsigned j = 0; j < p->cnt[part]; j++)
			k += p->zone[p->row[part][j]] == z;
		if (k < p->zone_max[z])
			row_add(p, part, lo);
	}
	/* make room for zones that the row misses altogether */
	while (p->zone_has_min) {
		unsigned need = 0, in[VMS_NODES_MAX] = {0}, at;

		for (unsigned i = 0; i < p->cnt[part]; i++)
			in[p->zone[p->row[part][i]]]++;
		for (unsigned z = 0; z < p->nz; z++)
			need += in[z] < p->zone_min[z] ? p->zone_min[z] - in[z] : 0;
		if (need <= p->r - p->cnt[part])
			break;
		for (at = p->cnt[part] - 1u;; at--) {
			unsigned z = p->zone[p->row[part][at]];

			if (in[z] > p->zone_min[z])
				break;
			vms_assert(at);
		}
		row_drop(p, part, at);
	}
}

/* ---- tokens ---- */

static int token_cmp(const void *a, const void *b)
{
	const struct token *x = a, *y = b;

	if (x->pos != y->pos)
		return x->pos < y->pos ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

static unsigned token_count(uint32_t weight)
{
	uint64_t k = (uint64_t)weight * TOKENS_NORMAL / VMS_RING_WEIGHT_NORMAL;

	return k < 1 ? 1 : k > TOKENS_MAX ? TOKENS_MAX : (unsigned)k;
}

/* A node's tokens depend on its id and weight alone, so they stay when others come
 * and go. */
static int make_tokens(struct plan *p)
{
	size_t k = 0;

	for (unsigned i = 0; i < p->n; i++)
		p->ntok += token_count(p->weight[i]);
	p->tok = malloc(p->ntok * sizeof(*p->tok));
	if (!p->tok)
		return VMS_E_NOMEM;
	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned t = 0; t < token_count(p->weight[i]); t++) {
			p->tok[k].pos = mix3(p->id[i], t) >> (64 - KEY_BITS);
			p->tok[k++].node = i;
		}
	}
	qsort(p->tok, p->ntok, sizeof(*p->tok), token_cmp);
	return 0;
}

static size_t token_at(const struct plan *p, unsigned part)
{
	uint64_t pos = (uint64_t)part << (KEY_BITS - p->bits);
	size_t lo = 0, hi = p->ntok;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (p->tok[mid].pos < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* First node clockwise from the partition's start that is below its quota and may
 * stand in for a; NO_NODE if there is none. */
static unsigned walk(const struct plan *p, unsigned part, unsigned a)
{
	bool tried[VMS_NODES_MAX] = {false};
	unsigned left = p->n;
	size_t t = token_at(p, part);

	for (unsigned i = 0; i < p->n; i++) {
		if (p->load[i] >= p->quota[i]) {
			tried[i] = true;
			left--;
		}
	}
	for (; left; t++) {
		unsigned b;

		if (t >= p->ntok)
			t = 0;
		b = p->tok[t].node;
		if (tried[b])
			continue;
		if (fits(p, part, a, b))
			return b;
		tried[b] = true;
		left--;
	}
	return NO_NODE;
}

/* Partitions are visited in a scattered order, so that what is decided early and what
 * late do not form two contiguous pieces of the circle. */
static unsigned scattered(const struct plan *p, unsigned i)
{
	return (i * UINT32_C(0x9e3779b1)) & (p->parts - 1);
}

/* ---- filling and balancing ---- */

/* Fills free places from nodes below their quota. A node that still needs as many
 * places as there are partitions left that it could join must not be passed over, or it
 * could not reach its quota any more: such nodes go first. */
static void fill(struct plan *p)
{
	uint32_t open[VMS_NODES_MAX]; /* partitions with free places it is not in */

	memset(open, 0, sizeof(open));
	for (unsigned part = 0; part < p->parts; part++) {
		if (p->cnt[part] == p->r)
			continue;
		for (unsigned b = 0; b < p->n; b++)
			open[b] += !holds(p, b, part);
	}
	for (unsigned i = 0; i < p->parts; i++) {
		unsigned part = scattered(p, i);
		bool was_open = p->cnt[part] < p->r, member[VMS_NODES_MAX];

		if (!was_open)
			continue;
		for (unsigned b = 0; b < p->n; b++)
			member[b] = holds(p, b, part);
		for (unsigned b = 0; b < p->n && p->cnt[part] < p->r; b++)
			if (p->load[b] < p->quota[b] && p->quota[b] - p->load[b] >= open[b] &&
			    fits(p, part, NO_NODE, b))
				row_add(p, part, b);
		while (p->cnt[part] < p->r) {
			unsigned b = walk(p, part, NO_NODE);

			if (b == NO_NODE)
				break;
			row_add(p, part, b);
		}
		for (unsigned b = 0; b < p->n; b++)
			open[b] -= !member[b];
	}
}

/* Moves surplus replicas straight to nodes below their quota; backups first. */
static void shed(struct plan *p)
{
	for (int pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < p->parts; i++) {
			unsigned part = scattered(p, i);
			unsigned at = p->cnt[part];

			while (at-- > (pass ? 0u : 1u)) {
				unsigned a = p->row[part][at], b;

				if (p->load[a] <= p->quota[a])
					continue;
				b = walk(p, part, a);
				if (b != NO_NODE)
					row_swap(p, part, a, b);
			}
		}
	}
}

struct search {
	uint16_t parent[VMS_NODES_MAX]; /* NO_NODE: not reached; ROOT: start */
	uint32_t via[VMS_NODES_MAX];	/* partition in which parent makes way */
	uint16_t queue[VMS_NODES_MAX];
	unsigned head, tail;
};

static void search_init(struct search *s)
{
	s->head = s->tail = 0;
	for (unsigned i = 0; i < VMS_NODES_MAX; i++)
		s->parent[i] = NO_NODE;
}

static void search_root(struct search *s, unsigned node)
{
	s->parent[node] = ROOT;
	s->queue[s->tail++] = (uint16_t)node;
}

/* A partition in which b may take a's place; parts if there is none. */
static unsigned find_via(const struct plan *p, unsigned a, unsigned b)
{
	for (unsigned w = 0; w < p->words; w++) {
		uint64_t bits = p->has[(size_t)a * p->words + w] &
				~p->has[(size_t)b * p->words + w];

		for (; bits; bits &= bits - 1) {
			unsigned part = w * 64 + (unsigned)__builtin_ctzll(bits);

			if (fits(p, part, a, b))
				return part;
		}
	}
	return p->parts;
}

/* Shortest chain from the roots to a node below its quota; NO_NODE if none. */
static unsigned search_run(const struct plan *p, struct search *s)
{
	for (unsigned i = 0; i < s->tail; i++)
		if (p->load[s->queue[i]] < p->quota[s->queue[i]])
			return s->queue[i];
	while (s->head < s->tail) {
		unsigned a = s->queue[s->head++];

		for (unsigned b = 0; b < p->n; b++) {
			unsigned part;

			if (s->parent[b] != NO_NODE)
				continue;
			part = find_via(p, a, b);
			if (part == p->parts)
				continue;
			s->parent[b] = (uint16_t)a;
			s->via[b] = part;
			if (p->load[b] < p->quota[b])
				return b;
			s->queue[s->tail++] = (uint16_t)b;
		}
	}
	return NO_NODE;
}

/* Shifts one replica along the chain that ends in b, last step first, so that every
 * table in between is valid. Two steps may want the same partition; the second then
 * takes another one, or gives up, which leaves a shorter problem. Returns the root
 * reached, or NO_NODE. */
static unsigned search_apply(struct plan *p, const struct search *s, unsigned b)
{
	while (s->parent[b] != ROOT) {
		unsigned a = s->parent[b], part = s->via[b];

		if (!holds(p, a, part) || !fits(p, part, a, b))
			part = find_via(p, a, b);
		if (part == p->parts)
			return NO_NODE;
		row_swap(p, part, a, b);
		b = a;
	}
	return b;
}

/* Fills the places that fill() could not, by chains of moves. */
static void fill_by_chains(struct plan *p)
{
	for (unsigned part = 0; part < p->parts; part++) {
		unsigned tries = 2 * p->n;

		while (p->cnt[part] < p->r) {
			struct search s;
			unsigned b, root = NO_NODE;

			search_init(&s);
			for (b = 0; b < p->n; b++)
				if (fits(p, part, NO_NODE, b))
					search_root(&s, b);
			vms_assert(s.tail); /* zone bounds leave room for r replicas */
			b = search_run(p, &s);
			if (b != NO_NODE)
				root = search_apply(p, &s, b);
			if (root != NO_NODE && fits(p, part, NO_NODE, root))
				row_add(p, part, root);
			else if (!tries--)
				/* never seen; a full row above its quota beats a gap */
				row_add(p, part, s.queue[0]);
		}
	}
}

/* Moves surplus that shed() could not, by chains of moves. */
static void shed_by_chains(struct plan *p)
{
	uint64_t surplus = 0;

	for (unsigned i = 0; i < p->n; i++)
		surplus += p->load[i] > p->quota[i] ? p->load[i] - p->quota[i] : 0;
	for (surplus *= 2; surplus; surplus--) {
		struct search s;
		unsigned b;

		search_init(&s);
		for (unsigned i = 0; i < p->n; i++)
			if (p->load[i] > p->quota[i])
				search_root(&s, i);
		if (!s.tail)
			return;
		b = search_run(p, &s);
		if (b == NO_NODE)
			return;
		search_apply(p, &s, b);
	}
}

/* ---- primaries ---- */

static unsigned lead_min(const struct plan *p, unsigned i)
{
	return p->load[i] / p->r;
}

static unsigned lead_max(const struct plan *p, unsigned i)
{
	return (p->load[i] + p->r - 1) / p->r;
}

static void lead_swap(struct plan *p, unsigned part, unsigned b)
{
	unsigned at = row_find(p, part, b);

	p->prim[p->row[part][0]]--;
	p->prim[b]++;
	p->row[part][at] = p->row[part][0];
	p->row[part][0] = (uint16_t)b;
}

/* Passes leads along the shortest chain from one of the `from` nodes to one of the
 * `to` nodes; edge a -> b: b is a backup where a leads. */
static bool lead_chain(struct plan *p, const bool *from, const bool *to)
{
	struct search s;
	unsigned found = NO_NODE;

	search_init(&s);
	for (unsigned i = 0; i < p->n; i++)
		if (from[i])
			search_root(&s, i);
	while (s.head < s.tail && found == NO_NODE) {
		unsigned a = s.queue[s.head++];

		for (unsigned w = 0; w < p->words && found == NO_NODE; w++) {
			uint64_t bits = p->has[(size_t)a * p->words + w];

			for (; bits && found == NO_NODE; bits &= bits - 1) {
				unsigned part = w * 64 + (unsigned)__builtin_ctzll(bits);

				if (p->row[part][0] != a)
					continue;
				for (unsigned k = 1; k < p->cnt[part]; k++) {
					unsigned b = p->row[part][k];

					if (s.parent[b] != NO_NODE)
						continue;
					s.parent[b] = (uint16_t)a;
					s.via[b] = part;
					s.queue[s.tail++] = (uint16_t)b;
					if (to[b]) {
						found = b;
						break;
					}
				}
			}
		}
	}
	if (found == NO_NODE)
		return false;
	/* each step uses a partition led by another node, so they do not interfere */
	while (s.parent[found] != ROOT) {
		lead_swap(p, s.via[found], found);
		found = s.parent[found];
	}
	return true;
}

/* For rows that are new as a whole no lead is worth keeping: the node that is
 * furthest from its number of leads takes it. */
static void lead_new_rows(struct plan *p, const struct vms_ring_table *prev)
{
	for (unsigned i = 0; i < p->parts; i++) {
		unsigned part = scattered(p, i), best = p->row[part][0];

		if (prev && prev->row[part].n) {
			p->prim[best]++;
			continue;
		}
		for (unsigned k = 1; k < p->cnt[part]; k++) {
			unsigned b = p->row[part][k];

			if ((uint64_t)p->prim[b] * p->load[best] <
			    (uint64_t)p->prim[best] * p->load[b])
				best = b;
		}
		p->prim[p->row[part][0]]++;
		if (best != p->row[part][0])
			lead_swap(p, part, best);
	}
}

/* Giving each member of a row 1/r of its lead would meet every bound exactly, so whole
 * leads can meet them rounded, and chains find that. */
static void spread_leads(struct plan *p)
{
	bool from[VMS_NODES_MAX], to[VMS_NODES_MAX];

	do {
		for (unsigned i = 0; i < p->n; i++) {
			from[i] = p->prim[i] > lead_max(p, i);
			to[i] = p->prim[i] < lead_max(p, i);
		}
	} while (lead_chain(p, from, to));
	do {
		for (unsigned i = 0; i < p->n; i++) {
			from[i] = p->prim[i] > lead_min(p, i);
			to[i] = p->prim[i] < lead_min(p, i);
		}
	} while (lead_chain(p, from, to));
}

/* ---- interface ---- */

int vms_ring_table_init(struct vms_ring_table *t, const struct vms_ring_params *params)
{
	size_t parts = (size_t)1 << params->part_bits;

	t->part_bits = params->part_bits;
	t->copies = params->copies;
	t->row = calloc(parts, sizeof(*t->row));
	if (!t->row)
		return VMS_E_NOMEM;
	for (size_t i = 0; i < parts; i++)
		for (unsigned k = 0; k < VMS_COPIES_MAX; k++)
			t->row[i].node[k] = VMS_RING_NONE;
	return 0;
}

void vms_ring_table_close(struct vms_ring_table *t)
{
	free(t->row);
	t->row = NULL;
}

static void plan_close(struct plan *p)
{
	if (!p)
		return;
	free(p->row);
	free(p->cnt);
	free(p->has);
	free(p->tok);
	free(p);
}

/* Members, zones and shares; no memory for rows yet. */
static struct plan *plan_open(const struct vms_ring_member *m, unsigned n,
			      const struct vms_ring_params *params)
{
	struct plan *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->bits = params->part_bits;
	p->parts = 1u << p->bits;
	p->words = (p->parts + 63) / 64;
	ring_take_members(p, m, n);
	p->r = params->copies < p->n ? params->copies : p->n;
	ring_zone_bounds(p);
	ring_find_shares(p);
	return p;
}

int vms_ring_plan(const struct vms_ring_table *prev, const struct vms_ring_member *m, unsigned n,
		  const struct vms_ring_params *params, struct vms_ring_table *out)
{
	struct plan *p;
	int r = vms_ring_check(prev, m, n, params, NULL);

	if (r)
		return r;
	p = plan_open(m, n, params);
	if (!p)
		return VMS_E_NOMEM;
	r = VMS_E_NOMEM;
	p->row = calloc(p->parts, sizeof(*p->row));
	p->cnt = calloc(p->parts, sizeof(*p->cnt));
	p->has = calloc((size_t)p->n * p->words, sizeof(*p->has));
	if (!p->row || !p->cnt || !p->has || make_tokens(p))
		goto out;
	if (vms_ring_table_init(out, params))
		goto out;
	r = 0;
	for (unsigned i = 0; prev && i < p->parts; i++)
		keep_row(p, i, &prev->row[i]);
	ring_find_quotas(p);
	fill(p);
	shed(p);
	fill_by_chains(p);
	shed_by_chains(p);
	lead_new_rows(p, prev);
	spread_leads(p);
	for (unsigned i = 0; i < p->parts; i++) {
		vms_assert(p->cnt[i] == p->r);
		out->row[i].n = p->r;
		for (unsigned k = 0; k < p->r; k++)
			out->row[i].node[k] = p->id[p->row[i][k]];
	}
out:
	plan_close(p);
	return r;
}

static bool row_has(const struct vms_ring_row *r, uint32_t id)
{
	for (unsigned i = 0; r && i < r->n; i++)
		if (r->node[i] == id)
			return true;
	return false;
}

static void put_move(struct vms_ring_move *moves, unsigned max, unsigned *k, uint32_t part,
		     uint32_t from, uint32_t to)
{
	if (*k < max)
		moves[*k] = (struct vms_ring_move){part, from, to};
	(*k)++;
}

unsigned vms_ring_diff(const struct vms_ring_table *a, const struct vms_ring_table *b,
		       struct vms_ring_move *moves, unsigned max)
{
	unsigned k = 0;

	vms_assert(!a || a->part_bits == b->part_bits);
	for (uint32_t part = 0; part < vms_ring_parts(b); part++) {
		const struct vms_ring_row *x = a ? &a->row[part] : NULL, *y = &b->row[part];
		unsigned i = 0, nx = x ? x->n : 0;

		/* the i-th that leaves is paired with the i-th that comes */
		for (unsigned j = 0; j < y->n; j++) {
			if (row_has(x, y->node[j]))
				continue;
			while (i < nx && row_has(y, x->node[i]))
				i++;
			put_move(moves, max, &k, part, i < nx ? x->node[i] : VMS_RING_NONE,
				 y->node[j]);
			i += i < nx;
		}
		for (; i < nx; i++)
			if (!row_has(y, x->node[i]))
				put_move(moves, max, &k, part, x->node[i], VMS_RING_NONE);
		if (nx && y->n && x->node[0] != y->node[0])
			put_move(moves, max, &k, part, y->node[0], y->node[0]);
	}
	return k;
}

int vms_ring_loads(const struct vms_ring_table *t, const struct vms_ring_member *m, unsigned n,
		   struct vms_ring_load *load)
{
	struct vms_ring_params params = {t->part_bits, t->copies};
	struct plan *p;
	int r = vms_ring_check(NULL, m, n, &params, NULL);

	if (r)
		return r;
	p = plan_open(m, n, &params);
	if (!p)
		return VMS_E_NOMEM;
	for (unsigned i = 0; i < n; i++) {
		load[i] = (struct vms_ring_load){.id = m[i].id};
		for (unsigned k = 0; k < p->n; k++)
			if (p->id[k] == m[i].id)
				load[i].share = (double)p->share[k] / (double)SHARE_ONE;
	}
	plan_close(p);
	for (uint32_t part = 0; part < vms_ring_parts(t); part++) {
		const struct vms_ring_row *row = &t->row[part];

		for (unsigned k = 0; k < row->n; k++) {
			for (unsigned i = 0; i < n; i++) {
				if (load[i].id != row->node[k])
					continue;
				load[i].replicas++;
				load[i].primaries += k == 0;
				break;
			}
		}
	}
	return 0;
}
