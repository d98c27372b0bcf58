// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes that nobody has: the last search for them, and giving them up.
 *
 * A partition stands (lack.c). Whoever gives up what its record lacks has the primary look
 * for it once more, at every node that is connected, members of the set or not: for the chunk
 * that the record makes, which another replica may have written, and for the base below it.
 * What is found is checked against the record and used, and the lane goes on by itself. A node
 * that does not answer, or is away and not named as one to go on without, ends the search.
 *
 * Then the lane looks at the record once more, as its own disk may have the bytes again. What
 * it lacks after that is given up: a container of its own is opened, a REMAP record
 * moves the chunks there (and the references that wait for them), and it is sealed. The set
 * commits that as any record. Keeps invariant 25.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/lack.h"
#include "backend/lack_int.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/overlay.h"
#include "backend/repair.h"
#include "backend/rpc.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

struct want { /* one question to each node */
	vms_addr header;
	uint64_t places;
	bool base; /* of the chunk `to`; else the chunks of the record's own segment */
	vms_addr to;
};

struct lack_search {
	struct part *p;
	bool busy, dead; /* a question is under way */
	bool over;	 /* every node that is connected has answered everything */
	uint64_t noted;	 /* as of then */
	unsigned peer, at;
	VMS_VEC(struct want) want;
	VMS_VEC(uint32_t) asked;   /* nodes */
	VMS_VEC(uint32_t) without; /* nodes that need not be asked */
};

static void search_free(struct lack_search *s)
{
	VMS_VEC_FREE(&s->want);
	VMS_VEC_FREE(&s->asked);
	VMS_VEC_FREE(&s->without);
	free(s);
}

void lack_search_end(struct lack *l)
{
	struct lack_search *s = l->search;

	l->search = NULL;
	if (!s)
		return;
	if (s->busy)
		s->dead = true; /* freed when the answer comes */
	else
		search_free(s);
}

__attribute__((format(printf, 3, 4))) static void search_fail(struct vms_node *n, struct part *p,
							      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->lack->why, sizeof(p->lack->why), fmt, ap);
	va_end(ap);
	lack_search_end(p->lack);
	node_log(n, VMS_LOG_WARN, "partition %u: nothing of record %llu is given up: %s", p->number,
		 (unsigned long long)p->lack->seq, p->lack->why);
}

static struct lack_ent *ent_of(struct lack *l, vms_addr to)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->e[i].m.to == to)
			return &l->e[i];
	return NULL;
}

static vms_addr header_of(vms_addr a)
{
	return vms_addr_make(vms_addr_container(a),
			     vms_seg_header_offset(vms_addr_offset_bytes(a)));
}

static bool in_container(const struct vms_node *n, vms_addr a)
{
	return a != VMS_ADDR_HOLE && a != VMS_ADDR_LOST && a != VMS_ADDR_ASK &&
	       !vms_addr_is_log(a, n->conf.part_bits) && lack_place(a) < VMS_SEG_ENTRIES_MAX;
}

/* ---- what a node answers ---- */

/* A chunk that lies below one of the record: with what the log has above it. */
static void over_base(struct vms_node *n, struct part *p, const struct lack *l,
		      const struct vms_move *m, uint8_t *b)
{
	uint8_t patch[VMS_CHUNK_BYTES], patched = 0;
	struct vms_ovl_view v;
	struct vms_page page;
	struct seen seen;
	vms_addr base;

	if (l->type != VMS_REC_DRAIN || !node_branch(n, m->branch, true)->known ||
	    part_see(n, p, m->branch, m->extent, m->snap_gen, &seen))
		return;
	memset(&page, 0, sizeof(page));
	vms_ovl_view_stack(&n->ovl, &seen.ovl, m->chunk, m->from_seq, VMS_ADDR_ASK, &v);
	chunk_resolve(n, p, &v, &page, m->chunk, patch, &patched, &base);
	chunk_merge(b, patch, patched);
}

/* Is it what the record wants there? */
static void try_chunk(struct vms_node *n, struct part *p, const struct want *w, unsigned place,
		      const uint8_t *data)
{
	struct lack *l = p->lack;
	vms_addr to = w->base ? w->to
			      : vms_addr_make(vms_addr_container(w->header),
					      vms_addr_offset_bytes(w->header) +
						      VMS_CHUNK_BYTES * (place + 1));
	struct lack_ent *e = ent_of(l, to);
	uint8_t b[VMS_CHUNK_BYTES];

	if (!e || l->found[lack_place(to)])
		return;
	memcpy(b, data, sizeof(b));
	if (w->base)
		over_base(n, p, l, &e->m, b);
	for (unsigned s = 0; s < 8; s++)
		if (!(e->m.valid >> s & 1))
			memset(b + s * VMS_LB_BYTES, 0, VMS_LB_BYTES);
	if (vms_crc32c(0, b, sizeof(b)) != e->m.crc)
		return;
	l->found[lack_place(to)] = malloc(sizeof(b));
	vms_assert(l->found[lack_place(to)]);
	memcpy(l->found[lack_place(to)], b, sizeof(b));
}

static void take_answer(struct vms_node *n, struct part *p, const struct want *w,
			const struct vms_msg *m)
{
	const uint8_t *pay = m->npayload ? m->payload[0].base : NULL;
	uint64_t mask;

	if (m->body_bytes != 8 || !pay)
		return;
	mask = vms_get_le64(m->body);
	if (m->payload[0].len != (1ull + (unsigned)__builtin_popcountll(mask)) * VMS_CHUNK_BYTES)
		return;
	for (unsigned k = 0; k < VMS_SEG_ENTRIES_MAX; k++)
		if (mask >> k & 1) {
			pay += VMS_CHUNK_BYTES; /* behind the header */
			try_chunk(n, p, w, k, pay);
		}
}

static void search_go(struct vms_node *n, struct part *p);

static void answered(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct lack_search *s = arg;
	struct part *p = s->p;

	s->busy = false;
	if (s->dead) {
		search_free(s);
		return;
	}
	/* GONE, UNKNOWN: it has no such chunk */
	if (!m || (vms_err_retryable(m->status) && m->status != VMS_E_GONE &&
		   m->status != VMS_E_UNKNOWN)) {
		search_fail(n, p, "node %u does not answer", n->peer[s->peer]->id);
		return;
	}
	if (!m->status) /* else its copy is damaged as well */
		take_answer(n, p, &s->want.d[s->at], m);
	s->at++;
	search_go(n, p);
}

static bool has(const uint32_t *d, size_t k, uint32_t node)
{
	while (k && d[k - 1] != node)
		k--;
	return k != 0;
}

/* Nodes of the cluster without a connection. */
static bool is_away(const struct peer *pe)
{
	return pe->known && !pe->conn;
}

/* All questions to a node, then to the next one. */
static void search_go(struct vms_node *n, struct part *p)
{
	struct lack_search *s = p->lack->search;

	for (; s->peer < n->npeers; s->peer++, s->at = 0) {
		struct peer *pe = n->peer[s->peer];
		struct vms_msg q = {
			.type = VMS_MSG_REPAIR, .partition = p->number, .aux = REPAIR_SEG};
		uint8_t body[16];

		if (!pe->conn || n->mut == MUT_LACK_BLIND)
			continue;
		if (s->at == s->want.n) {
			VMS_VEC_PUSH(&s->asked, pe->id);
			continue;
		}
		vms_put_le64(body, s->want.d[s->at].header);
		vms_put_le64(body + 8, s->want.d[s->at].places);
		q.body = body;
		q.body_bytes = sizeof(body);
		q.partition = vms_addr_partition(s->want.d[s->at].header, n->conf.part_bits);
		s->busy = true;
		if (rpc_send(n, pe, &q, n->tm.lease_ms, answered, s))
			return;
		s->busy = false;
		search_fail(n, p, "node %u does not answer", pe->id);
		return;
	}
	s->over = true;
	s->noted = p->lack->noted;
	if (p->apply_wait) {
		p->hold_ms = n->now_ms; /* the lane looks again */
		node_wake_at(n, n->now_ms);
	}
}

/* ---- giving up ---- */

struct given {
	VMS_VEC(struct vms_move) m; /* those with a place first */
	const struct lack *l;
	vms_addr place[VMS_SEG_ENTRIES_MAX];
};

static void ref_moved(void *arg, const struct vms_move *ref, unsigned i)
{
	struct given *g = arg;

	*VMS_VEC_ADD(&g->m) = (struct vms_move){.branch = ref->branch,
						.snap_gen = ref->snap_gen,
						.extent = ref->extent,
						.chunk = ref->chunk,
						.valid = VMS_MASK_FULL,
						.flags = VMS_MOVE_REF,
						.from_seq = ref->to,
						.to = g->place[i]};
}

static int order(struct vms_node *n, struct part *p, uint8_t type, const uint8_t *meta,
		 uint32_t bytes)
{
	struct vms_rec r = {
		.type = type, .flags = VMS_RF_INTERNAL, .meta = meta, .meta_bytes = bytes};

	return part_order(n, p, &r, NULL, 0);
}

static int order_moves(struct vms_node *n, struct part *p, const struct vms_move *m, unsigned k)
{
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_MOVES_META_MAX];

	vms_rec_moves_put(&r, meta, m, k);
	return part_order(n, p, &r, NULL, 0);
}

static int give_up(struct vms_node *n, struct part *p)
{
	struct lack *l = p->lack;
	struct given g = {.m = VMS_VEC_INIT, .l = l};
	vms_addr to[VMS_SEG_ENTRIES_MAX];
	uint64_t ctr = p->next_ctr;
	uint8_t meta[16];
	int rc;

	if (ctr - vms_ctr_first(p->number, n->conf.part_bits) >= vms_ctr_count(n->conf.part_bits))
		return VMS_E_NOSPC;
	/* a drain that is being put together may name the places once more */
	drain_abort(n, p);
	for (unsigned i = 0; i < l->n; i++) {
		struct vms_move m = l->e[i].m;

		to[i] = m.to;
		g.place[i] = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(0, i));
		m.flags &= VMS_MOVE_COPY;
		m.valid = n->mut == MUT_LACK_ZEROS ? VMS_MASK_FULL : l->e[i].keep;
		m.crc = l->e[i].crc;
		m.from_seq = m.to;
		m.to = g.place[i];
		m.has_fp = false;
		VMS_VEC_PUSH(&g.m, m);
	}
	lack_refs(n, p, l->seq, to, l->n, ref_moved, &g);
	vms_put_le64(meta, ctr);
	vms_put_le64(meta + 8, n->incarnation);
	rc = order(n, p, VMS_REC_CTR_OPEN, meta, sizeof(meta));
	for (size_t at = 0; !rc && at < g.m.n; at += VMS_SEG_ENTRIES_MAX) {
		size_t k = g.m.n - at;

		rc = order_moves(n, p, g.m.d + at,
				 k < VMS_SEG_ENTRIES_MAX ? (unsigned)k : VMS_SEG_ENTRIES_MAX);
		if (!rc && !at)
			l->given = p->seq_last;
	}
	vms_put_le64(meta + 8, vms_seg_offset(1));
	if (!rc)
		rc = order(n, p, VMS_REC_CTR_SEAL, meta, sizeof(meta));
	VMS_VEC_FREE(&g.m);
	if (!l->given)
		return rc;
	n->st.given_up += l->n;
	node_log(n, VMS_LOG_ERROR,
		 "partition %u: %u chunks of record %llu are given up by order of the "
		 "administrator: what is lost of them reads as an error until it is written",
		 p->number, l->n, (unsigned long long)l->seq);
	return 0;
}

/* The search is over, and the lane has looked at the record after it. */
static void decide(struct vms_node *n, struct part *p)
{
	struct lack *l = p->lack;
	struct lack_search *s = l->search;
	int rc;

	for (unsigned i = 0; i < n->npeers; i++) {
		const struct peer *pe = n->peer[i];
		bool away = is_away(pe);

		if ((away && !has(s->without.d, s->without.n, pe->id) && n->mut != MUT_LACK_AWAY) ||
		    (pe->conn && !has(s->asked.d, s->asked.n, pe->id) &&
		     n->mut != MUT_LACK_BLIND)) {
			search_fail(n, p, "node %u has %s meanwhile", pe->id,
				    away ? "gone" : "come");
			return;
		}
	}
	for (unsigned i = 0; i < l->n; i++) {
		bool to = false, base = !in_container(n, l->e[i].base);

		VMS_VEC_FOREACH (&s->want, w) {
			to |= !w->base && header_of(l->e[i].m.to) == w->header &&
			      (w->places >> lack_place(l->e[i].m.to) & 1);
			base |= w->base && w->to == l->e[i].m.to &&
				w->header == header_of(l->e[i].base);
		}
		if (!to || !base) {
			search_fail(n, p, "more is damaged than before");
			return;
		}
	}
	if (l->away) {
		search_fail(n, p, "nodes are away that have the same content elsewhere");
		return;
	}
	if (!part_serving(p) || !part_members_ready(p) || !p->bytes_wait) {
		search_fail(n, p, "a member of its set does not answer");
		return;
	}
	rc = give_up(n, p);
	if (rc)
		search_fail(n, p, "the record cannot be written now: %s", vms_err_text(rc));
	else
		lack_search_end(l);
}

void lack_timer(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts && n->nlacks; i++) {
		struct part *p = n->part[i];

		if (!p || !p->lack)
			continue;
		if (!p->primary || p->lack->epoch != p->conf.epoch)
			lack_end(n, p); /* who was asked, and what was ordered, counts no more */
		else if (p->lack->search && p->lack->search->over &&
			 p->lack->noted != p->lack->search->noted)
			decide(n, p);
	}
}

static void search_start(struct vms_node *n, struct part *p, const json_t *without)
{
	struct lack *l = p->lack;
	struct lack_search *s = calloc(1, sizeof(*s));
	struct want *w;
	const json_t *v;
	size_t k;

	vms_assert(s);
	s->p = p;
	json_array_foreach (without, k, v)
		VMS_VEC_PUSH(&s->without, (uint32_t)json_integer_value(v));
	w = VMS_VEC_ADD(&s->want);
	*w = (struct want){.header = header_of(l->e[0].m.to)};
	for (unsigned i = 0; i < l->n; i++)
		w->places |= 1ull << lack_place(l->e[i].m.to); /* they lie in one segment */
	for (unsigned i = 0; i < l->n; i++)
		if (in_container(n, l->e[i].base))
			*VMS_VEC_ADD(&s->want) = (struct want){
				.header = header_of(l->e[i].base),
				.places = 1ull << lack_place(l->e[i].base),
				.base = true,
				.to = l->e[i].m.to};
	l->search = s;
	l->why[0] = 0;
	search_go(n, p);
}

/* ---- administration ---- */

int lack_give_up(struct vms_node *n, json_t *req, struct vms_errmsg *msg)
{
	json_int_t number = json_integer_value(json_object_get(req, "partition"));
	json_int_t seq = json_integer_value(json_object_get(req, "record"));
	const json_t *without = json_object_get(req, "without"), *v;
	struct part *p = number >= 0 && number < n->nparts ? n->part[number] : NULL;
	struct lack *l = p ? p->lack : NULL;

	if (!p || !p->known || !p->primary)
		return vms_fail(msg, VMS_E_NOT_PRIMARY, "partition %lld is led by another node",
				(long long)number);
	if (!l || !l->n || l->seq != (uint64_t)seq || l->epoch != p->conf.epoch ||
	    (!p->bytes_wait && !l->given))
		return vms_fail(msg, VMS_E_NOENT, "partition %lld does not stand at record %lld",
				(long long)number, (long long)seq);
	if (l->search || (l->given && l->given > p->committed))
		return 0;
	if (!part_serving(p) || !part_members_ready(p))
		return vms_fail(msg, VMS_E_AGAIN,
				"partition %u: a member of its set does not answer", p->number);
	for (unsigned i = 0; i < n->npeers; i++) {
		bool named = false;
		size_t k;

		json_array_foreach (without, k, v)
			named |= json_integer_value(v) == n->peer[i]->id;
		if (is_away(n->peer[i]) && !named && n->mut != MUT_LACK_AWAY)
			return vms_fail(msg, VMS_E_UNSUPPORTED,
					"node %u does not run and may have the bytes",
					n->peer[i]->id);
	}
	search_start(n, p, without);
	return 0;
}

int vms_node_lost(struct vms_node *n, json_t *req, json_t **answer, struct vms_errmsg *msg)
{
	const json_t *one = json_object_get(req, "partition");
	int rc = one ? lack_give_up(n, req, msg) : 0;
	json_int_t of;

	one = one ? one : json_object_get(req, "of");
	of = json_integer_value(one);
	if (rc)
		*answer = NULL;
	else if (!one)
		*answer = lack_json(n, 0, n->nparts);
	else if (of < 0 || of >= n->nparts)
		*answer = lack_json(n, 0, 0);
	else
		*answer = lack_json(n, (uint32_t)of, (uint32_t)of + 1);
	return rc;
}

struct told {
	json_t *a;
	const struct lack *l;
};

static void tell(json_t *a, const struct vms_move *m, uint8_t lost, bool ref)
{
	json_array_append_new(a, json_pack("{sI sI sI sI sI sb}", "branch", (json_int_t)m->branch,
					   "snap_gen", (json_int_t)m->snap_gen, "extent",
					   (json_int_t)m->extent, "chunk", (json_int_t)m->chunk,
					   "lost_sectors", (json_int_t)lost, "same_content", ref));
}

static void tell_ref(void *arg, const struct vms_move *ref, unsigned i)
{
	struct told *t = arg;

	tell(t->a, ref, t->l->e[i].m.valid & (uint8_t)~t->l->e[i].keep, true);
}

json_t *lack_json(struct vms_node *n, uint32_t first, uint32_t end)
{
	json_t *parts = json_array(), *away = json_array();

	for (uint32_t i = first; i < end && n->nlacks; i++) {
		struct part *p = n->part[i];
		struct lack *l = p ? p->lack : NULL;
		struct told t = {json_array(), l};
		vms_addr to[VMS_SEG_ENTRIES_MAX];

		for (unsigned k = 0; l && k < l->n; k++) {
			to[k] = l->e[k].m.to;
			tell(t.a, &l->e[k].m, l->e[k].m.valid & (uint8_t)~l->e[k].keep, false);
		}
		if (!l || !p->primary || (!p->bytes_wait && !l->given)) {
			json_decref(t.a);
			continue;
		}
		lack_refs(n, p, l->seq, to, l->n, tell_ref, &t);
		json_array_append_new(parts,
				      json_pack("{sI sI ss ss so}", "partition", (json_int_t)i,
						"record", (json_int_t)l->seq, "state",
						l->search  ? "searching"
						: l->given ? "given up"
							   : "stands",
						"why", l->why, "chunks", t.a));
	}
	for (unsigned i = 0; i < n->npeers; i++)
		if (is_away(n->peer[i]))
			json_array_append_new(away, json_integer(n->peer[i]->id));
	return json_pack("{so so sI}", "partitions", parts, "away", away, "given_up",
			 (json_int_t)n->st.given_up);
}
