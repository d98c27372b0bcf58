// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owner of duplicates: reads the full fingerprint of each, has the other copy
 * confirmed with it (CONFIRM, as drains do), and collects what was confirmed in a
 * table. When no more come, pages are walked and REMAP records ordered that turn
 * references to a duplicate into references to the other copy, by compare: what was
 * overwritten meanwhile stays as it is. A duplicate that other partitions may refer
 * to is told to the other nodes too, which walk their pages alike.
 *
 * A confirmation holds while its stamp is not below the partition's own mark; one that
 * has become too old is left out. A table is only used for whole walks, and a partition
 * whose epoch changes is walked from the start.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/dedup_msg.h"
#include "backend/fetch.h"
#include "backend/htab.h"
#include "backend/match_int.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define QUEUE_MAX      16384u
#define TABLE_MAX      65536u
#define PAGES_PER_STEP 128u
#define MOVES_AHEAD    2u
#define CONFIRM_MS     (5 * DEDUP_LIMIT_MS)

/* ---- tables ---- */

static void table_open(struct match_table *t)
{
	memset(t, 0, sizeof(*t));
	vms_htab_init(&t->ent, 64);
}

static void table_close(struct match_table *t)
{
	for (uint32_t i = 0; t->ent.bucket && i <= t->ent.mask; i++)
		while (t->ent.bucket[i]) {
			struct vms_hlink *l = t->ent.bucket[i];

			t->ent.bucket[i] = l->next;
			free(vms_hlink_entry(l, struct match_ent_to, link));
		}
	vms_htab_free(&t->ent);
	free(t->parts);
	t->parts = NULL;
}

static struct match_ent_to *table_find(const struct match_table *t, vms_addr dup)
{
	struct vms_hlink *l = vms_htab_find(&t->ent, dup);

	return l ? vms_hlink_entry(l, struct match_ent_to, link) : NULL;
}

static void table_add(struct vms_node *n, struct match_table *t, vms_addr dup, vms_addr to,
		      uint64_t stamp, bool wide)
{
	uint32_t part = vms_addr_partition(dup, n->conf.part_bits);
	struct match_ent_to *e = table_find(t, dup);

	if (!e) {
		e = calloc(1, sizeof(*e));
		vms_assert(e);
		vms_htab_add(&t->ent, &e->link, dup);
	}
	e->to = to;
	e->stamp = stamp;
	e->wide = wide;
	t->all |= wide;
	if (!t->parts) {
		t->parts = calloc((n->nparts + 63) / 64, sizeof(*t->parts));
		vms_assert(t->parts);
	}
	t->parts[part / 64] |= 1ull << part % 64;
	n->match->added_ms = n->now_ms;
}

/* ---- from pairs to the table ---- */

struct match_res { /* pairs that are being confirmed */
	unsigned n, pending;
	bool issuing;
	uint8_t *buf;
	struct fetch *fetch;
	struct {
		vms_addr dup, to;
		uint64_t stamp;
		uint8_t fp[32];
		bool known, asked, ok, wide;
	} e[MATCH_RES_MAX];
};

struct group { /* one question to one node */
	unsigned n;
	uint16_t idx[MATCH_RES_MAX];
};

static struct ctr *dup_ctr(struct vms_node *n, vms_addr a)
{
	struct part *p = node_part(n, vms_addr_partition(a, n->conf.part_bits));
	struct ctr *c;

	if (!part_serving(p) || part_addr_check(n, p, a))
		return NULL;
	c = part_ctr(p, vms_addr_container(a));
	return c && (c->state == 1 || c->state == 2) && !c->sweeping && !c->victim ? c : NULL;
}

static void told(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	if (!n->closing && (!re || (re->status && re->status != VMS_E_UNSUPPORTED))) {
		n->match->again = true;
		n->match->st.lost++;
	}
	(void)arg;
}

static void res_end(struct vms_node *n, struct match_res *r)
{
	struct match *m = n->match;
	uint8_t body[MATCH_REMAP_BYTES * MATCH_RES_MAX];
	struct vms_msg q = {.type = VMS_MSG_MATCH_REMAP, .partition = VMS_PART_NONE};

	m->res = NULL;
	for (unsigned i = 0; i < r->n && !n->closing; i++) {
		if (!r->e[i].ok)
			continue;
		m->st.pairs++;
		table_add(n, &m->next, r->e[i].dup, r->e[i].to, r->e[i].stamp, r->e[i].wide);
		if (!r->e[i].wide)
			continue;
		vms_put_le64(body + q.body_bytes, r->e[i].dup);
		vms_put_le64(body + q.body_bytes + 8, r->e[i].to);
		vms_put_le64(body + q.body_bytes + 16, r->e[i].stamp);
		q.body_bytes += MATCH_REMAP_BYTES;
	}
	q.body = body;
	for (unsigned i = 0; i < n->npeers && q.body_bytes; i++)
		if (n->peer[i]->known && n->mut != MUT_MATCH_ALONE &&
		    !rpc_send(n, n->peer[i], &q, 4ull * n->tm.lease_ms, told, NULL))
			m->again = true;
	free(r);
}

static void res_put(struct vms_node *n, struct match_res *r)
{
	r->pending--;
	if (!r->pending && !r->issuing)
		res_end(n, r);
}

static void take_answers(struct vms_node *n, struct group *g, const struct vms_dm_answer *a)
{
	struct match_res *r = n->match->res;

	for (unsigned i = 0; i < g->n; i++) {
		/* gone: it is not listed any more, another copy may be */
		if (!a || a[i].status == VMS_E_AGAIN || a[i].status == VMS_E_GONE)
			n->match->again = true;
		r->e[g->idx[i]].ok = a && !a[i].status;
		if (a)
			r->e[g->idx[i]].stamp = a[i].stamp;
		if (n->mut == MUT_MATCH_TRUST) {
			r->e[g->idx[i]].ok = true;
			r->e[g->idx[i]].stamp = UINT64_MAX;
		}
	}
	n->match->st.lost += !a;
	free(g);
	res_put(n, r);
}

static void own_answer(struct vms_node *n, void *arg, const struct vms_dm_answer *a)
{
	take_answers(n, arg, a);
}

static void remote_answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct vms_dm_answer a[MATCH_RES_MAX];
	struct group *g = arg;
	bool ok = re && !re->status && vms_dm_answer_decode(re, a, MATCH_RES_MAX) == (int)g->n;

	take_answers(n, g, ok ? a : NULL);
}

/* One message per node; the own partition's chunks need not be shared for its own
 * pages. */
static void confirms(struct vms_node *n, struct match_res *r)
{
	uint8_t *body = malloc(VMS_DM_CONFIRM_BYTES * MATCH_RES_MAX);
	struct vms_dm_confirm *e = malloc(MATCH_RES_MAX * sizeof(*e));

	vms_assert(body && e);
	r->issuing = true;
	for (unsigned i = 0; i < r->n; i++) {
		uint32_t part = vms_addr_partition(r->e[i].to, n->conf.part_bits);
		uint32_t dest = n->pconf[part].primary, own = VMS_PART_NONE;
		struct vms_msg q = {.type = VMS_MSG_CONFIRM, .partition = VMS_PART_NONE};
		struct group *g;

		if (!r->e[i].known || r->e[i].asked)
			continue;
		if (!r->e[i].wide && part == vms_addr_partition(r->e[i].dup, n->conf.part_bits))
			own = part;
		g = calloc(1, sizeof(*g));
		vms_assert(g);
		for (unsigned k = i; k < r->n; k++) {
			uint32_t to = vms_addr_partition(r->e[k].to, n->conf.part_bits);
			bool same = !r->e[k].wide &&
				    to == vms_addr_partition(r->e[k].dup, n->conf.part_bits);

			if (!r->e[k].known || r->e[k].asked || n->pconf[to].primary != dest ||
			    (same ? to : VMS_PART_NONE) != own)
				continue;
			r->e[k].asked = true;
			e[g->n].addr = r->e[k].to;
			memcpy(e[g->n].fp, r->e[k].fp, 32);
			vms_dm_confirm_encode(body + VMS_DM_CONFIRM_BYTES * g->n, r->e[k].to,
					      r->e[k].fp);
			g->idx[g->n++] = (uint16_t)k;
		}
		r->pending++;
		if (dest == n->id) {
			confirm_start(n, e, g->n, own, own_answer, g);
			continue;
		}
		q.body = body;
		q.body_bytes = VMS_DM_CONFIRM_BYTES * g->n;
		if (!rpc_send(n, node_peer(n, dest, false), &q, CONFIRM_MS, remote_answer, g))
			take_answers(n, g, NULL);
	}
	r->issuing = false;
	free(body);
	free(e);
	if (!r->pending)
		res_end(n, r);
}

static void res_read(struct vms_node *n, struct fetch *f)
{
	struct match_res *r = f->arg;

	for (unsigned i = 0; i < r->n; i++) {
		struct fetch_ent *x = &f->e[i];
		struct ctr *c = dup_ctr(n, r->e[i].dup);

		if (x->status || !x->has_fp || x->valid != VMS_MASK_FULL || !c)
			continue;
		memcpy(r->e[i].fp, x->fp, sizeof(r->e[i].fp));
		r->e[i].known = true;
		/* nobody but its partition refers to it: from now on it may, and then
		 * it stays */
		r->e[i].wide = c->shared || c->sharing;
	}
	fetch_free(f);
	free(r->buf);
	r->buf = NULL;
	if (n->closing)
		res_end(n, r);
	else
		confirms(n, r);
}

static void res_start(struct vms_node *n)
{
	struct match *m = n->match;
	struct match_res *r = calloc(1, sizeof(*r));
	struct fetch *f;
	size_t at = 0;

	vms_assert(r);
	for (; at < m->queue.n && r->n < MATCH_RES_MAX; at++) {
		struct match_pair *p = &m->queue.d[at];

		if (!dup_ctr(n, p->dup))
			continue;
		r->e[r->n].dup = p->dup;
		r->e[r->n++].to = p->to;
	}
	memmove(m->queue.d, m->queue.d + at, (m->queue.n - at) * sizeof(*m->queue.d));
	m->queue.n -= at;
	if (!r->n) {
		free(r);
		return;
	}
	m->res = r;
	r->buf = malloc((size_t)r->n * VMS_CHUNK_BYTES);
	vms_assert(r->buf);
	f = fetch_new(n, r->n);
	f->arg = r;
	f->done = res_read;
	f->own_only = true;
	f->want_fp = true;
	for (unsigned i = 0; i < r->n; i++) {
		f->e[i].addr = r->e[i].dup;
		f->e[i].buf = r->buf + (size_t)i * VMS_CHUNK_BYTES;
	}
	fetch_start(n, f);
}

int match_take_pairs(struct vms_node *n, const uint8_t *body, uint32_t bytes)
{
	struct match *m = n->match;
	uint32_t k = bytes / MATCH_ENT_BYTES;

	if (!n->conf.dedup_background)
		return VMS_E_UNSUPPORTED;
	if (!k || k > MATCH_BATCH || bytes % MATCH_ENT_BYTES)
		return VMS_E_PROTO;
	for (uint32_t i = 0; i < k; i++) {
		vms_addr dup = vms_get_le64(body + MATCH_ENT_BYTES * i);
		vms_addr to = vms_get_le64(body + MATCH_ENT_BYTES * i + 8);

		if (!match_addr_ok(n, dup) || !match_addr_ok(n, to) || to >= dup)
			return VMS_E_PROTO;
	}
	if (m->queue.n + k > QUEUE_MAX || m->next.ent.n >= TABLE_MAX)
		return VMS_E_BUSY;
	for (uint32_t i = 0; i < k; i++)
		VMS_VEC_PUSH(&m->queue,
			     ((struct match_pair){(uint32_t)n->id,
						  vms_get_le64(body + MATCH_ENT_BYTES * i),
						  vms_get_le64(body + MATCH_ENT_BYTES * i + 8)}));
	node_wake_at(n, n->now_ms);
	return 0;
}

int match_take_remap(struct vms_node *n, const uint8_t *body, uint32_t bytes, bool moved)
{
	struct match *m = n->match;
	uint32_t k = bytes / MATCH_REMAP_BYTES;

	if (!n->conf.dedup_background)
		return VMS_E_UNSUPPORTED;
	if (!k || k > MATCH_RES_MAX || bytes % MATCH_REMAP_BYTES)
		return VMS_E_PROTO;
	for (uint32_t i = 0; i < k; i++) {
		vms_addr dup = vms_get_le64(body + MATCH_REMAP_BYTES * i);
		vms_addr to = vms_get_le64(body + MATCH_REMAP_BYTES * i + 8);

		if (!match_addr_ok(n, dup) || !match_addr_ok(n, to) ||
		    (moved ? to == dup : to >= dup))
			return VMS_E_PROTO;
	}
	if (m->next.ent.n >= 2 * TABLE_MAX)
		return VMS_E_BUSY;
	for (uint32_t i = 0; i < k; i++) {
		const uint8_t *b = body + MATCH_REMAP_BYTES * i;

		table_add(n, &m->next, vms_get_le64(b), vms_get_le64(b + 8), vms_get_le64(b + 16),
			  true);
	}
	node_wake_at(n, n->now_ms + 2ull * n->tm.tick_ms);
	return 0;
}

/* ---- walking pages ---- */

struct walk {
	struct vms_node *n;
	struct match *m;
	struct part *p;
	unsigned pages, nm;
	bool more;
	struct vms_move mv[VMS_SEG_ENTRIES_MAX];
};

/* May this partition refer to the other copy, in a record ordered now? */
static bool usable(struct vms_node *n, struct part *p, const struct match_ent_to *e)
{
	struct dedup_hit h = {.addr = e->to, .stamp = e->stamp};

	if (n->mut == MUT_MATCH_STAMP)
		return true;
	return e->stamp >= p->gc_cycle && dedup_may_refer(n, p, &h);
}

static int walk_page(void *arg, const struct vms_page *pg)
{
	struct walk *w = arg;

	if (w->pages++ == PAGES_PER_STEP) {
		w->m->resume = pg->key;
		w->more = true;
		return 1;
	}
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		struct match_ent_to *e = NULL;

		if (pg->entry[i] != VMS_ADDR_HOLE)
			e = table_find(&w->m->cur, pg->entry[i]);
		if (!e || (!e->wide &&
			   vms_addr_partition(pg->entry[i], w->n->conf.part_bits) != w->p->number))
			continue;
		if (!usable(w->n, w->p, e)) {
			w->m->again = true;
			continue;
		}
		if (w->nm == VMS_SEG_ENTRIES_MAX) {
			/* this page again, when what was changed no longer shows */
			w->m->resume = pg->key;
			w->more = true;
			return 1;
		}
		w->mv[w->nm++] = (struct vms_move){
			.branch = pg->key.branch,
			.snap_gen = pg->key.snap_gen,
			.extent = pg->key.subext / VMS_EXTENT_SUBEXTS,
			.chunk = (uint16_t)(pg->key.subext % VMS_EXTENT_SUBEXTS *
						    VMS_SUBEXT_CHUNKS +
					    i),
			.valid = VMS_MASK_FULL,
			.flags = VMS_MOVE_REF,
			.from_seq = pg->entry[i],
			.to = e->to};
	}
	return 0;
}

static void walk_next(struct match *m)
{
	m->walk_part++;
	m->walk_begun = false;
}

static void walk_step(struct vms_node *n)
{
	struct match *m = n->match;
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_MOVES_META_MAX];
	struct vms_page_key at;
	struct walk w = {.n = n, .m = m};
	struct part *p;
	int rc;

	for (; m->walk_part < n->nparts; walk_next(m)) {
		uint32_t k = m->walk_part;

		p = n->part[k];
		if (p && p->primary && (m->cur.all || (m->cur.parts[k / 64] >> k % 64 & 1)))
			break;
	}
	if (m->walk_part == n->nparts) {
		table_close(&m->cur);
		table_open(&m->cur);
		m->walking = false;
		return;
	}
	p = n->part[m->walk_part];
	if (!part_serving(p) || !part_members_ready(p)) {
		m->again = true;
		walk_next(m);
		return;
	}
	if (!m->walk_begun || m->walk_epoch != p->conf.epoch) {
		m->walk_begun = true;
		m->walk_epoch = p->conf.epoch;
		m->walk_seq = 0;
		memset(&m->resume, 0, sizeof(m->resume));
		m->resume.partition = p->number;
	}
	if (p->applied < m->walk_seq || p->moves_ordered >= MOVES_AHEAD)
		return;
	w.p = p;
	at = m->resume;
	rc = vms_pages_each(n->pages, p->number, &at, walk_page, &w);
	if (rc < 0) {
		walk_next(m); /* a damaged page: the collector says so */
		return;
	}
	if (w.nm) {
		vms_rec_moves_put(&r, meta, w.mv, w.nm);
		if (part_order(n, p, &r, NULL, 0)) {
			m->resume = at; /* later */
			return;
		}
		m->walk_seq = r.seq;
		m->st.remapped += w.nm;
	}
	if (!w.more)
		walk_next(m);
}

void match_remap_timer(struct vms_node *n)
{
	struct match *m = n->match;

	if (n->now_ms < m->walk_ms)
		return;
	if (!match_idle(n)) {
		if (m->walking || m->queue.n || m->next.ent.n) {
			m->walk_ms = n->now_ms + n->tm.tick_ms;
			node_wake_at(n, m->walk_ms);
		}
		return;
	}
	m->walk_ms = n->now_ms + gc_pace_ms(n);
	if (!m->res && m->queue.n && m->next.ent.n < TABLE_MAX)
		res_start(n);
	/* not while more are on their way: a walk is long */
	if (!m->walking && m->next.ent.n &&
	    (m->next.ent.n >= TABLE_MAX ||
	     (!m->res && !m->queue.n && n->now_ms - m->added_ms >= 2ull * n->tm.tick_ms))) {
		struct match_table t = m->cur;

		m->cur = m->next;
		m->next = t;
		m->walking = true;
		m->walk_part = 0;
		m->walk_begun = false;
	}
	if (m->walking)
		walk_step(n);
	if (m->again && !m->walking && !m->res && !m->queue.n && !m->next.ent.n) {
		m->news++;
		m->again = false;
	}
	if (m->walking || m->queue.n)
		node_wake_at(n, m->walk_ms);
	else if (m->next.ent.n)
		node_wake_at(n, n->now_ms + n->tm.tick_ms);
}

void match_remap_open(struct vms_node *n)
{
	table_open(&n->match->cur);
	table_open(&n->match->next);
}

void match_remap_close(struct vms_node *n)
{
	vms_assert(!n->match->res);
	table_close(&n->match->cur);
	table_close(&n->match->next);
	VMS_VEC_FREE(&n->match->queue);
}
