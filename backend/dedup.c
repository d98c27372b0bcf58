// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looking for chunks: recent chunks and cached lists first; the hooks among the
 * fingerprints are asked of their owners, in one message per owner and turn; what they
 * name brings the lists of that container and its neighbours; then every fingerprint
 * is compared with all cached lists, and what is found there is confirmed by the
 * primary of the chunk's partition. Each step waits for the slowest answer of the one
 * before, all of them together at most DEDUP_LIMIT_MS.
 */
#include "backend/dedup.h"

#include <stdlib.h>
#include <string.h>

#include "backend/dedup_int.h"
#include "backend/dedup_msg.h"
#include "backend/fplists.h"
#include "backend/hooks.h"
#include "backend/htab.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define AGAIN_MAX 3u /* other candidates for chunks whose first ones are no more */

enum phase { LOOK_HOOKS, LOOK_LISTS, LOOK_CONFIRM };

struct look_ent {
	uint8_t fp[32];
	vms_fp_prefix key;
	vms_addr cand; /* to be confirmed */
	bool asked;    /* it has been */
	uint64_t ctr;  /* that its owner named (hooks) */
};

struct look {
	struct look *prev, *next;
	uint32_t part;
	enum phase phase;
	bool issuing, over;
	unsigned waiting; /* answers, of this step or given up */
	unsigned n;
	unsigned refused, again; /* candidates that are no more; rounds for others */
	uint64_t until_ms;
	dedup_fn fn;
	void *arg;
	struct dedup_hit *hit;
	struct look_ent e[];
};

/* A LIST_FETCH on its way. */
struct lfetch {
	struct vms_hlink link; /* key: container */
	VMS_VEC(struct {
		struct look *look;
		vms_fp_prefix key;
	})
	waits;
};

static void look_step(struct vms_node *n, struct look *k);

static void look_free(struct look *k)
{
	free(k->hit);
	free(k);
}

static void look_put(struct vms_node *n, struct look *k)
{
	vms_assert(k->waiting > 0);
	k->waiting--;
	if (k->waiting || k->issuing)
		return;
	if (k->over)
		look_free(k);
	else
		look_step(n, k);
}

/* The asker gets what is known by now. */
static void look_end(struct vms_node *n, struct look *k)
{
	struct dedup *d = n->dedup;

	if (k->prev)
		k->prev->next = k->next;
	else
		d->looks = k->next;
	if (k->next)
		k->next->prev = k->prev;
	else
		d->looks_tail = k->prev;
	d->nlooks--;
	k->over = true;
	k->fn(n, k->arg, n->closing ? NULL : k->hit);
	if (!k->waiting)
		look_free(k);
}

/* ---- candidates ---- */

static vms_addr probe(struct dedup *d, const struct look *k, unsigned part_bits, vms_fp_prefix key)
{
	const struct recent *r = &d->recent[vms_mix64(key) & d->recent_mask];
	vms_addr a[4];
	unsigned n;

	/* the own partition's needs nobody else's consent */
	if (r->addr && r->key == key && vms_addr_partition(r->addr, part_bits) == k->part)
		return r->addr;
	n = vms_fplists_find(d->lists, key, a, 4);
	for (unsigned i = 0; i < n; i++)
		if (vms_addr_partition(a[i], part_bits) == k->part)
			return a[i];
	if (n)
		return a[0];
	return r->addr && r->key == key ? r->addr : VMS_ADDR_HOLE;
}

static void probe_all(struct vms_node *n, struct look *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (!k->e[i].cand)
			k->e[i].cand = probe(n->dedup, k, n->conf.part_bits, k->e[i].key);
}

/* Lists keep what was collected since: the next candidate gets its turn. */
static void forget(struct dedup *d, vms_fp_prefix key, vms_addr a)
{
	struct recent *r = &d->recent[vms_mix64(key) & d->recent_mask];

	if (r->addr == a)
		r->addr = VMS_ADDR_HOLE;
	vms_fplists_forget(d->lists, key, a);
}

/* ---- hooks ---- */

unsigned dedup_owner(struct vms_node *n, vms_fp_prefix key)
{
	uint64_t best = 0, w = vms_mix64(key + n->id * 0x9e3779b97f4a7c15ull);
	unsigned at = DEDUP_SELF;

	best = w;
	for (unsigned i = 0; i < n->npeers; i++) {
		if (!n->peer[i]->known)
			continue;
		w = vms_mix64(key + n->peer[i]->id * 0x9e3779b97f4a7c15ull);
		if (w > best) {
			best = w;
			at = i;
		}
	}
	return at;
}

static void hooks_ask(struct vms_node *n, struct look *k)
{
	struct dedup *d = n->dedup;

	for (unsigned i = 0; i < k->n; i++) {
		unsigned o;

		if (k->e[i].cand || !vms_is_hook(k->e[i].key))
			continue;
		d->st.hooks_asked++;
		o = dedup_owner(n, k->e[i].key);
		if (o == DEDUP_SELF) {
			k->e[i].ctr = vms_hooks_find(d->hooks, k->e[i].key);
			d->st.hooks_found += k->e[i].ctr != 0;
		} else if (n->peer[o]->conn) {
			VMS_VEC_PUSH(&d->q[o].hooks, ((struct ask){k, i}));
			k->waiting++;
		}
	}
}

/* What a merged request was about. */
struct many {
	unsigned n;
	struct ask e[];
};

static struct many *many_take(const struct ask *a, unsigned n)
{
	struct many *y = malloc(sizeof(*y) + n * sizeof(y->e[0]));

	vms_assert(y);
	y->n = n;
	memcpy(y->e, a, n * sizeof(y->e[0]));
	return y;
}

static void hooks_answer(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct dedup *d = n->dedup;
	struct many *y = arg;
	uint64_t *ctr = malloc(y->n * sizeof(*ctr));
	bool ok;

	vms_assert(ctr);
	n->dedup->st.unanswered += !m;
	ok = m && !m->status && vms_dm_ctrs_decode(m, ctr, y->n) == (int)y->n;
	for (unsigned i = 0; i < y->n; i++) {
		struct look *k = y->e[i].look;

		if (ok && !k->over) {
			k->e[y->e[i].idx].ctr = ctr[i];
			d->st.hooks_found += ctr[i] != 0;
		}
		look_put(n, k);
	}
	free(ctr);
	free(y);
}

static void hooks_send(struct vms_node *n, unsigned at)
{
	struct dq *q = &n->dedup->q[at];
	uint8_t *body = malloc(8 * VMS_DM_HOOKS_MAX);
	size_t done = 0, have = q->hooks.n;

	vms_assert(body);
	while (done < have) {
		unsigned k = have - done < VMS_DM_HOOKS_MAX ? (unsigned)(have - done)
							    : VMS_DM_HOOKS_MAX;
		struct vms_msg m = {.type = VMS_MSG_HOOK_LOOKUP, .partition = VMS_PART_NONE};
		struct many *y = many_take(q->hooks.d + done, k);

		for (unsigned i = 0; i < k; i++)
			vms_put_le64(body + 8 * i, y->e[i].look->e[y->e[i].idx].key);
		m.body = body;
		m.body_bytes = 8 * k;
		done += k;
		if (!rpc_send(n, n->peer[at], &m, DEDUP_STEP_MS, hooks_answer, y))
			hooks_answer(n, y, NULL);
	}
	free(body);
	/* answers may have asked for more meanwhile */
	memmove(q->hooks.d, q->hooks.d + done, (q->hooks.n - done) * sizeof(*q->hooks.d));
	q->hooks.n -= done;
}

/* ---- lists ---- */

static void lists_end(struct vms_node *n, struct lfetch *f, int status, const uint8_t *p,
		      size_t bytes)
{
	struct dedup *d = n->dedup;
	uint64_t ctr = f->link.key;
	struct vms_dm_list l;
	size_t at = 0;

	vms_htab_del(&d->fetches, &f->link);
	/* whole or not at all */
	while (!status && vms_dm_list_next(p, bytes, &at, &l) > 0)
		;
	if (!status && at == bytes) {
		at = 0;
		while (vms_dm_list_next(p, bytes, &at, &l) > 0)
			if (vms_fplists_add(d->lists, l.ctr, l.body, l.bytes, l.segs, d->key_mask,
					    n->now_ms))
				d->st.lists_fetched++;
	}
	if (status == VMS_E_GONE) {
		d->st.lists_gone++;
		vms_fplists_del(d->lists, ctr);
	}
	for (size_t i = 0; i < f->waits.n; i++) {
		if (status == VMS_E_GONE && !n->closing)
			dedup_hook_del(n, f->waits.d[i].key, ctr);
		look_put(n, f->waits.d[i].look);
	}
	VMS_VEC_FREE(&f->waits);
	free(f);
}

static void lists_own(struct vms_node *n, void *arg, int status, const uint8_t *p, size_t bytes)
{
	lists_end(n, arg, status, p, bytes);
}

static void lists_answer(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	const uint8_t *p = m && m->npayload ? m->payload[0].base : NULL;

	n->dedup->st.unanswered += !m;
	lists_end(n, arg, m ? m->status : VMS_E_TIMEOUT, p, p ? m->payload[0].len : 0);
}

/* Which lists does the look-up need that are not here, or that miss what they should
 * hold (an open container has grown)? */
static void lists_ask(struct vms_node *n, struct look *k)
{
	struct dedup *d = n->dedup;

	for (unsigned i = 0; i < k->n; i++) {
		uint64_t ctr = k->e[i].ctr, had;
		struct vms_hlink *l;
		struct lfetch *f;
		uint32_t part;
		vms_addr a;

		if (!ctr)
			continue;
		part = vms_addr_partition(vms_addr_make(ctr, 0), n->conf.part_bits);
		had = vms_fplists_added(d->lists, ctr);
		if (had && (vms_fplists_find(d->lists, k->e[i].key, &a, 1) ||
			    n->now_ms - had < DEDUP_FRESH_MS))
			continue;
		l = vms_htab_find(&d->fetches, ctr);
		f = l ? vms_hlink_entry(l, struct lfetch, link) : calloc(1, sizeof(*f));
		vms_assert(f);
		VMS_VEC_RESERVE(&f->waits, f->waits.n + 1);
		f->waits.d[f->waits.n].look = k;
		f->waits.d[f->waits.n++].key = k->e[i].key;
		k->waiting++;
		if (l)
			continue;
		vms_htab_add(&d->fetches, &f->link, ctr);
		if (n->pconf[part].primary == n->id) {
			lists_start(n, ctr, DEDUP_LIST_CHUNKS, lists_own, f);
		} else {
			struct vms_msg m = {.type = VMS_MSG_LIST_FETCH,
					    .partition = part,
					    .aux = DEDUP_LIST_CHUNKS,
					    .body_bytes = 8};
			uint8_t body[8];

			vms_put_le64(body, ctr);
			m.body = body;
			m.epoch = n->pconf[part].epoch;
			if (!rpc_send(n, node_peer(n, n->pconf[part].primary, false), &m,
				      DEDUP_STEP_MS, lists_answer, f))
				lists_end(n, f, VMS_E_DISCONNECTED, NULL, 0);
		}
	}
}

/* ---- confirmation ---- */

static void take_answer(struct vms_node *n, struct look *k, uint32_t i,
			const struct vms_dm_answer *a)
{
	struct look_ent *e = &k->e[i];

	if (k->over)
		return;
	if (a->status) {
		n->dedup->st.confirms_no++;
		if (a->status == VMS_E_AGAIN)
			return; /* there, but not safe yet */
		forget(n->dedup, e->key, e->cand);
		e->cand = VMS_ADDR_HOLE;
		e->asked = false;
		k->refused++;
		return;
	}
	k->hit[i] = (struct dedup_hit){k->e[i].cand, a->stamp, a->crc};
}

static void confirms_answer(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct many *y = arg;
	struct vms_dm_answer *a = malloc(y->n * sizeof(*a));
	bool ok;

	vms_assert(a);
	n->dedup->st.unanswered += !m;
	ok = m && !m->status && vms_dm_answer_decode(m, a, y->n) == (int)y->n;
	for (unsigned i = 0; i < y->n; i++) {
		struct look *k = y->e[i].look;

		if (ok)
			take_answer(n, k, y->e[i].idx, &a[i]);
		look_put(n, k);
	}
	free(a);
	free(y);
}

static void confirms_send(struct vms_node *n, unsigned at)
{
	struct dq *q = &n->dedup->q[at];
	uint8_t *body = malloc(VMS_DM_CONFIRM_BYTES * VMS_DM_CONFIRM_MAX);
	size_t done = 0, have = q->confirms.n;

	vms_assert(body);
	while (done < have) {
		unsigned k = have - done < VMS_DM_CONFIRM_MAX ? (unsigned)(have - done)
							      : VMS_DM_CONFIRM_MAX;
		struct vms_msg m = {.type = VMS_MSG_CONFIRM, .partition = VMS_PART_NONE};
		struct many *y = many_take(q->confirms.d + done, k);

		for (unsigned i = 0; i < k; i++) {
			struct look_ent *e = &y->e[i].look->e[y->e[i].idx];

			vms_dm_confirm_encode(body + VMS_DM_CONFIRM_BYTES * i, e->cand, e->fp);
		}
		m.body = body;
		m.body_bytes = VMS_DM_CONFIRM_BYTES * k;
		done += k;
		if (!rpc_send(n, n->peer[at], &m, DEDUP_LIMIT_MS, confirms_answer, y))
			confirms_answer(n, y, NULL);
	}
	free(body);
	memmove(q->confirms.d, q->confirms.d + done,
		(q->confirms.n - done) * sizeof(*q->confirms.d));
	q->confirms.n -= done;
}

struct own_confirm {
	struct look *look;
	unsigned n;
	uint32_t idx[];
};

static void own_answer(struct vms_node *n, void *arg, const struct vms_dm_answer *a)
{
	struct own_confirm *o = arg;

	for (unsigned i = 0; a && i < o->n; i++)
		take_answer(n, o->look, o->idx[i], &a[i]);
	look_put(n, o->look);
	free(o);
}

static unsigned peer_at(struct vms_node *n, uint32_t node)
{
	for (unsigned i = 0; i < n->npeers; i++)
		if (n->peer[i]->id == node)
			return i;
	return DEDUP_SELF;
}

static void confirms_ask(struct vms_node *n, struct look *k)
{
	struct own_confirm *o = malloc(sizeof(*o) + k->n * sizeof(o->idx[0]));
	struct vms_dm_confirm *own = malloc(k->n * sizeof(*own));
	struct dedup *d = n->dedup;

	vms_assert(o && own);
	o->look = k;
	o->n = 0;
	for (unsigned i = 0; i < k->n; i++) {
		uint32_t part, node;
		unsigned at;

		if (!k->e[i].cand || k->e[i].asked)
			continue;
		k->e[i].asked = true;
		d->st.confirms++;
		part = vms_addr_partition(k->e[i].cand, n->conf.part_bits);
		node = n->pconf[part].primary;
		if (node == n->id) {
			own[o->n].addr = k->e[i].cand;
			memcpy(own[o->n].fp, k->e[i].fp, 32);
			o->idx[o->n++] = i;
			continue;
		}
		at = peer_at(n, node);
		if (at == DEDUP_SELF || !n->peer[at]->conn)
			continue;
		VMS_VEC_PUSH(&d->q[at].confirms, ((struct ask){k, i}));
		k->waiting++;
	}
	if (o->n) {
		k->waiting++;
		confirm_start(n, own, o->n, k->part, own_answer, o);
	} else {
		free(o);
	}
	free(own);
}

/* ---- steps ---- */

static void look_step(struct vms_node *n, struct look *k)
{
	while (!k->waiting) {
		k->issuing = true;
		switch (k->phase) {
		case LOOK_HOOKS:
			k->phase = LOOK_LISTS;
			if (!n->closing)
				lists_ask(n, k);
			break;
		case LOOK_LISTS:
			k->phase = LOOK_CONFIRM;
			if (!n->closing) {
				probe_all(n, k);
				confirms_ask(n, k);
			}
			break;
		case LOOK_CONFIRM:
			if (!k->refused || k->again == AGAIN_MAX || n->closing) {
				look_end(n, k);
				return;
			}
			k->refused = 0;
			k->again++;
			probe_all(n, k);
			confirms_ask(n, k);
			break;
		}
		k->issuing = false;
	}
}

void dedup_lookup(struct vms_node *n, uint32_t partition, const uint8_t (*fp)[32], unsigned count,
		  dedup_fn fn, void *arg)
{
	struct look *k = calloc(1, sizeof(*k) + count * sizeof(k->e[0]));
	struct dedup *d = n->dedup;

	vms_assert(k);
	k->hit = calloc(count + 1, sizeof(*k->hit));
	vms_assert(k->hit);
	k->part = partition;
	k->n = count;
	k->fn = fn;
	k->arg = arg;
	k->until_ms = n->now_ms + DEDUP_LIMIT_MS;
	k->prev = d->looks_tail;
	if (d->looks_tail)
		d->looks_tail->next = k;
	else
		d->looks = k;
	d->looks_tail = k;
	d->nlooks++;
	d->st.lookups++;
	node_wake_at(n, k->until_ms);
	for (unsigned i = 0; i < count; i++) {
		memcpy(k->e[i].fp, fp[i], 32);
		k->e[i].key = dedup_key(d, fp[i]);
	}
	probe_all(n, k);
	k->issuing = true;
	hooks_ask(n, k);
	k->issuing = false;
	look_step(n, k);
}

bool dedup_may_refer(struct vms_node *n, struct part *p, const struct dedup_hit *h)
{
	struct ctr *c;

	if (vms_addr_partition(h->addr, n->conf.part_bits) != p->number)
		return h->stamp >= p->gc_cycle;
	c = part_ctr(p, vms_addr_container(h->addr));
	if (!c || (c->state != 1 && c->state != 2) || c->sweeping || c->punching || c->emptying ||
	    c->victim || part_addr_check(n, p, h->addr))
		return false;
	if (c->stamp < p->gc_cycle)
		c->stamp = p->gc_cycle;
	return true;
}

/* ---- the node's life ---- */

int dedup_open(struct vms_node *n)
{
	uint64_t hooks = n->conf.dedup_hooks_bytes, lists = n->conf.dedup_lists_bytes;
	uint32_t room = 64;
	struct dedup *d;

	if (!hooks)
		hooks = 64u << 20;
	if (!lists)
		lists = 64u << 20;
	d = calloc(1, sizeof(*d));
	if (!d)
		return VMS_E_NOMEM;
	n->dedup = d;
	d->hooks = vms_hooks_new(hooks);
	d->lists = vms_fplists_new(lists / 8 * 7);
	while (room * 2ull * sizeof(*d->recent) <= lists / 8)
		room *= 2;
	d->recent = calloc(room, sizeof(*d->recent));
	if (!d->recent)
		return VMS_E_NOMEM;
	d->recent_mask = room - 1;
	d->key_mask = n->conf.fp_bits && n->conf.fp_bits < 64 ? ((uint64_t)1 << n->conf.fp_bits) - 1
							      : UINT64_MAX;
	vms_htab_init(&d->fetches, 64);
	d->q[DEDUP_SELF].tell_all = true;
	return 0;
}

void dedup_close(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	if (!d)
		return;
	/* what waits in queues was never sent: end it like a lost answer */
	for (unsigned i = 0; i <= DEDUP_SELF; i++) {
		for (size_t x = 0; x < d->q[i].hooks.n; x++)
			look_put(n, d->q[i].hooks.d[x].look);
		for (size_t x = 0; x < d->q[i].confirms.n; x++)
			look_put(n, d->q[i].confirms.d[x].look);
		VMS_VEC_FREE(&d->q[i].hooks);
		VMS_VEC_FREE(&d->q[i].confirms);
		VMS_VEC_FREE(&d->q[i].adds);
	}
	serve_close(n);
	vms_assert(!d->looks);
	vms_htab_free(&d->fetches);
	vms_hooks_free(d->hooks);
	vms_fplists_free(d->lists);
	free(d->recent);
	free(d);
	n->dedup = NULL;
}

void dedup_turn_end(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	for (unsigned i = 0; i < n->npeers; i++) {
		if (d->q[i].hooks.n)
			hooks_send(n, i);
		if (d->q[i].confirms.n)
			confirms_send(n, i);
	}
	hooks_turn_end(n);
}

void dedup_timer(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	while (d->looks && d->looks->until_ms <= n->now_ms) {
		d->st.lookups_timed_out++;
		look_end(n, d->looks);
	}
	serve_timer(n);
	hooks_timer(n);
}

void dedup_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	switch (m->type) {
	case VMS_MSG_HOOK_LOOKUP:
		serve_hook_lookup(n, c, m);
		break;
	case VMS_MSG_HOOK_ADD:
		serve_hook_add(n, c, m);
		break;
	case VMS_MSG_LIST_FETCH:
		serve_list(n, c, m);
		break;
	default:
		serve_confirm(n, c, m);
	}
}

void dedup_count_hashed(struct vms_node *n, unsigned chunks)
{
	n->dedup->st.hashed += chunks;
}

void dedup_count_hits(struct vms_node *n, unsigned batch, unsigned own, unsigned foreign,
		      unsigned refused)
{
	n->dedup->st.hits_batch += batch;
	n->dedup->st.hits_own += own;
	n->dedup->st.hits_foreign += foreign;
	n->dedup->st.hits_refused += refused;
}

const struct dedup_stats *dedup_stats(const struct vms_node *n)
{
	return &n->dedup->st;
}

uint64_t dedup_gauge(const struct vms_node *n, const char *name)
{
	const struct dedup *d = n->dedup;

	if (!strcmp(name, "hooks"))
		return vms_hooks_count(d->hooks);
	if (!strcmp(name, "hook_bytes"))
		return vms_hooks_bytes(d->hooks);
	if (!strcmp(name, "hooks_evicted"))
		return vms_hooks_evicted(d->hooks);
	if (!strcmp(name, "lists"))
		return vms_fplists_count(d->lists);
	return vms_fplists_bytes(d->lists);
}
