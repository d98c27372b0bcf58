/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copies of partitions that are made over the volume rig, and whether two of them are the same:
 * what test_learn.c and test_learn_*.c share.
 */
#ifndef VMS_TESTS_LEARN_RIG_H
#define VMS_TESTS_LEARN_RIG_H

#include <jansson.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/vec.h"

static uint32_t next_id = 1;

static inline struct part *part_on(unsigned node, uint32_t number)
{
	return R.node[node].n ? node_part(R.node[node].n, number) : NULL;
}

#define SET(part, ...) v_set_put(part, (const int[]){__VA_ARGS__, -1})

static inline void learn_on(unsigned node, uint32_t number)
{
	struct vms_node *n = R.node[rig_primary(&R, number)].n;
	struct part *p = n ? node_part(n, number) : NULL;
	struct peer *pe = n ? node_peer(n, node + 1, false) : NULL;

	if (p && part_serving(p) && pe && learn_start(n, p, pe))
		vms_node_turn_end(n, n->now_ms);
}

static inline enum learn_state state_on(unsigned node, uint32_t number)
{
	struct part *p = part_on(rig_primary(&R, number), number);

	return p ? learn_state(p, node + 1, NULL, NULL) : LEARN_NONE;
}

/* Until the copy is ready; started again when an attempt ended early. */
static inline bool learn_wait(unsigned node, uint32_t number, unsigned ms)
{
	uint64_t end = R.now_us + ms * 1000ull;

	while (state_on(node, number) != LEARN_READY && R.now_us < end) {
		learn_on(node, number);
		rig_run(&R, 20);
	}
	return state_on(node, number) == LEARN_READY;
}

/* ---- are two copies the same? ---- */

struct pages_of {
	VMS_VEC(struct vms_page) v;
};

static inline int take_page(void *arg, const struct vms_page *p)
{
	struct pages_of *o = arg;

	VMS_VEC_PUSH(&o->v, *p);
	return 0;
}

static inline void same_pages(const char *what, unsigned a, unsigned b, uint32_t number)
{
	struct pages_of x = {VMS_VEC_INIT}, y = {VMS_VEC_INIT};

	vms_pages_each(R.node[a].n->pages, number, NULL, take_page, &x);
	vms_pages_each(R.node[b].n->pages, number, NULL, take_page, &y);
	if (x.v.n != y.v.n)
		v_fail("%s: part %u: %zu pages on node %u, %zu on node %u", what, number, x.v.n,
		       a + 1, y.v.n, b + 1);
	for (size_t i = 0; i < x.v.n && x.v.n == y.v.n; i++)
		if (x.v.d[i].key.branch != y.v.d[i].key.branch ||
		    x.v.d[i].key.subext != y.v.d[i].key.subext ||
		    x.v.d[i].key.snap_gen != y.v.d[i].key.snap_gen ||
		    memcmp(x.v.d[i].entry, y.v.d[i].entry, sizeof(x.v.d[i].entry)))
			v_fail("%s: part %u: page %zu differs", what, number, i);
	VMS_VEC_FREE(&x.v);
	VMS_VEC_FREE(&y.v);
}

static inline void same_ctrs(const char *what, unsigned a, unsigned b, uint32_t number)
{
	struct part *p = part_on(a, number), *q = part_on(b, number);
	uint8_t x[V_CHUNK], y[V_CHUNK];
	size_t n = 0, m = 0;

	VMS_VEC_FOREACH (&q->ctrs, c)
		m += c->state == 1 || c->state == 2;
	VMS_VEC_FOREACH (&p->ctrs, c) {
		struct ctr *d = part_ctr(q, c->number);

		if (c->state != 1 && c->state != 2)
			continue;
		n++;
		if (!d || d->state != c->state || d->segs != c->segs || d->chunks != c->chunks ||
		    d->shared != c->shared || d->dead.count != c->dead.count ||
		    d->epoch != c->epoch || d->incarnation != c->incarnation ||
		    (c->segs && memcmp(c->used, d->used, c->segs))) {
			v_fail("%s: container %llx differs", what, (unsigned long long)c->number);
			continue;
		}
		for (uint32_t s = 0; s < c->segs; s++)
			for (unsigned i = 0; i <= c->used[s]; i++) {
				vms_addr at = vms_addr_make(
					c->number, (uint32_t)(vms_seg_offset(s) + V_CHUNK * i));

				if (i && (places_has(&c->dead, at) != places_has(&d->dead, at)))
					v_fail("%s: %llx dead in one", what,
					       (unsigned long long)at);
				if (c->dead.count)
					continue;
				if (sim_disk_read(R.node[a].sd, c->number,
						  vms_addr_offset_bytes(at), x, V_CHUNK) ||
				    sim_disk_read(R.node[b].sd, c->number,
						  vms_addr_offset_bytes(at), y, V_CHUNK) ||
				    memcmp(x, y, V_CHUNK)) {
					v_fail("%s: %llx: bytes differ", what,
					       (unsigned long long)at);
					return;
				}
			}
	}
	if (n != m)
		v_fail("%s: part %u: %zu containers on node %u, %zu on node %u", what, number, n,
		       a + 1, m, b + 1);
}

/* After everything is drained and applied everywhere. */
static inline void same(const char *what, unsigned a, unsigned b, uint32_t number)
{
	struct part *p = part_on(a, number), *q = part_on(b, number);

	if (!V_WAIT(20000, p->applied == p->seq_last && q->applied == p->seq_last)) {
		v_fail("%s: part %u: applied %llu and %llu of %llu", what, number,
		       (unsigned long long)p->applied, (unsigned long long)q->applied,
		       (unsigned long long)p->seq_last);
		return;
	}
	same_pages(what, a, b, number);
	same_ctrs(what, a, b, number);
	if (q->ceiling_ordered != p->ceiling_ordered || q->next_ctr != p->next_ctr ||
	    q->gc_cycle != p->gc_cycle)
		v_fail("%s: part %u: positions differ", what, number);
}

/* ---- load ---- */

/* In two parts; what lies below shows through in between. */
static inline void write_halves(struct v_vol *v, uint32_t ext, unsigned ch)
{
	uint8_t b[V_CHUNK];
	uint32_t id = next_id++;

	v_fill(b, id);
	if (v_write_raw(v, ext, ch, 1, 0x0f, b, V_CHUNK / 2))
		v_fail("half a chunk was not written");
	if (v_pick(2))
		rig_run(&R, v_pick(60));
	if (v_write_raw(v, ext, ch, 1, 0xf0, b + V_CHUNK / 2, V_CHUNK / 2))
		v_fail("half a chunk was not written");
	v->img.id[ext][ch] = id;
}

static inline void load(unsigned ops)
{
	for (unsigned op = 0; op < ops && v_bad < 5; op++) {
		struct v_vol *v = &V[v_pick(4)];
		unsigned s = v_pick(5), what = v_pick(100);

		if (!v->used) {
			struct v_vol *from = &V[v_pick(4)];

			if (from->used && from->snap[s].used && from->nanc < 4)
				v_clone((unsigned)(v - V), from, s);
			else
				v_create((unsigned)(v - V));
			continue;
		}
		if (what < 62) {
			v_write(v, v_pick(V_EXTS), v_pick(V_CHS), next_id++);
		} else if (what < 70) {
			write_halves(v, v_pick(V_EXTS), v_pick(V_CHS));
		} else if (what < 76) {
			v_zero(v, v_pick(V_EXTS), v_pick(V_CHS / 2), 1 + v_pick(V_CHS / 2));
		} else if (what < 82 && !v->snap[s].used) {
			v_snap(v, s);
		} else if (what < 88 && v->snap[s].used) {
			v_snap_rm(v, s);
		} else if (what < 90 && v->snap[s].used && v->nanc < 4) {
			v_rollback(v, s);
		} else if (what < 91) {
			for (unsigned k = 0; k < V_SNAPS; k++)
				if (v->snap[k].used)
					v_snap_rm(v, k);
			v_rm(v);
		} else if (what < 94) {
			for (unsigned i = 0; i < R.nnodes; i++)
				if (R.node[i].n)
					vms_wal_gen_seal(R.node[i].n->wal);
		} else {
			rig_run(&R, v_pick(300));
		}
	}
}

/* Nobody has found anything wrong. */
static inline void all_right(const char *what)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		struct vms_node *n = R.node[i].n;

		if (n && (n->st.digest_bad || n->st.corrupt || n->st.lost_chunks))
			v_fail("%s: node %u: %llu digests differ, %llu chunks damaged, %llu lost",
			       what, i + 1, (unsigned long long)n->st.digest_bad,
			       (unsigned long long)n->st.corrupt,
			       (unsigned long long)n->st.lost_chunks);
	}
}

static inline void up(unsigned bits, uint64_t seed)
{
	v_up(3, 2, bits, seed);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 120;
}

static inline int stray(void *arg, uint64_t number, uint64_t size)
{
	struct vms_node *n = arg;
	struct part *p = node_part(n, vms_addr_partition(vms_addr_make(number, 0), R.part_bits));
	struct ctr *c = p ? part_ctr(p, number) : NULL;

	(void)size;
	return !c || !c->state;
}

/* Files that no index knows of are removed. */
static inline bool no_strays(void)
{
	bool any = false;

	for (unsigned i = 0; i < R.nnodes; i++)
		any |= R.node[i].n &&
		       R.node[i].disk.ops->ctr_list(R.node[i].disk.ctx, stray, R.node[i].n) > 0;
	return !any;
}

static inline void fsck_all(void)
{
	if (!V_WAIT(10000, no_strays()))
		v_fail("container files are left that nobody knows of");
	all_right("at the end");
	for (unsigned i = 0; i < R.nnodes; i++) {
		const char *bad;

		rig_node_crash(&R, i, false);
		bad = rig_fsck(&R, i);
		if (bad)
			v_fail("node %u: fsck: %s", i + 1, bad);
	}
}

static inline struct vms_node *node(unsigned i)
{
	return R.node[i].n;
}

/* ---- crashes ---- */

/* Writes over a part of a volume, drained, until logs have gone round. */
static inline void turnovers(struct v_vol *v, unsigned turns)
{
	for (unsigned t = 0; t < turns; t++) {
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(v, 0, c, next_id++);
		v_drain();
		rig_run(&R, 300);
	}
}

static inline bool at_phase(unsigned node, enum learn_phase ph)
{
	struct part *p = part_on(node, 0);

	/* containers come in the pass before */
	return p && p->learn && p->learn->phase >= ph &&
	       (!p->learn->pre || ph <= LP_MARK || (ph >= LP_LIST && ph <= LP_VERIFY));
}

/* The second pass has come so far. */
static inline bool at_pass2(unsigned node, enum learn_phase ph)
{
	struct part *p = part_on(node, 0);

	return p && p->learn && p->learn->phase >= ph && !p->learn->pre && p->learn->pre_done;
}

/* Everything the set holds is right, whoever leads. */
static inline void finish(unsigned learner)
{
	unsigned lead = rig_primary(&R, 0);

	CU_ASSERT_TRUE(learn_wait(learner, 0, 60000));
	SET(0, (int)lead, (int)learner);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(15);
	v_drain();
	same("learnt", lead, learner, 0);
	rig_node_crash(&R, learner, true);
	rig_node_start(&R, learner);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	SET(0, (int)learner, (int)lead);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("led by the learnt copy");
	fsck_all();
	v_down();
}

static inline void some_data(uint64_t seed)
{
	up(0, seed);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 100000;
	v_create(0);
	for (uint32_t e = 0; e < 3; e++)
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	rig_run(&R, 6000);
}

/* ---- containers with dead places, shared ones ---- */

static inline bool order(struct vms_node *n, struct part *p, struct vms_rec *r)
{
	bool ok = part_order(n, p, r, NULL, 0) == 0;

	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 300);
	return ok;
}

/* ---- a record whose bytes nobody has ---- */

/* A bit of that chunk turns. */
static inline bool rot(unsigned node, vms_addr a)
{
	return sim_disk_rot(R.node[node].sd, vms_addr_container(a),
			    vms_addr_offset_bytes(a) / V_CHUNK, 100);
}

static inline uint32_t ext_in(uint32_t part)
{
	uint32_t e = 0;

	while (v_part(&V[0], e) != part)
		e++;
	return e;
}

/* Where chunk 3 of the extent lies. */
static inline vms_addr third(unsigned node, uint32_t ext)
{
	struct vms_page_key key = {0, V[0].branch, ext * VMS_EXTENT_SUBEXTS, VMS_GEN_LIVE};
	struct vms_page page;

	CU_ASSERT_EQUAL_FATAL(vms_pages_lookup(R.node[node].n->pages, &key, &page), 0);
	return page.entry[3];
}

/* Partition 0 on nodes 0 and 1. Chunk 3 lies in a container, a half of it is written over;
 * the lane of that node stands before the record that merges them. */
static inline struct part *lane_stands(uint64_t seed, unsigned nd, uint32_t *ext)
{
	uint8_t b[V_CHUNK];
	struct part *q;

	up(2, seed);
	v_create(0);
	*ext = ext_in(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], *ext, c, next_id++);
	v_drain();
	same("at first", 0, 1, 0);
	rig_run(&R, 7000); /* the index is on disk, too */
	q = part_on(nd, 0);
	if (nd) { /* the primary's holds the drain up, too */
		q->apply_wait = true;
		q->hold_ms = UINT64_MAX;
		node(nd)->apply_waits++;
	}
	v_fill(b, next_id++);
	CU_ASSERT_EQUAL(v_write_raw(&V[0], *ext, 3, 1, 0x0f, b, V_CHUNK / 2), 0);
	for (unsigned i = 0; i < 3; i++)
		vms_wal_gen_seal(node(i)->wal);
	for (unsigned i = 0; i < 100000 && !q->moves_ordered && rig_step(&R); i++)
		;
	CU_ASSERT_TRUE(q->moves_ordered && !q->apply);
	if (!nd) {
		q->apply_wait = true;
		q->hold_ms = UINT64_MAX;
		node(nd)->apply_waits++;
	}
	CU_ASSERT_TRUE(V_WAIT(10000, q->committed == part_on(0, 0)->seq_last &&
					     (!nd || part_on(0, 0)->applied == q->committed)));
	CU_ASSERT_TRUE(q->applied < q->committed);
	return q;
}

/* The log of that node goes round, with writes to a partition that it leads. */
static inline void log_goes_round(unsigned n)
{
	uint64_t open = vms_wal_gen_open(node(n)->wal);
	uint32_t ext = 0;

	while (rig_primary(&R, v_part(&V[0], ext)) != n || !v_part(&V[0], ext))
		ext++;
	for (unsigned t = 0; t < 12; t++) {
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], ext, c, next_id++);
		rig_run(&R, 1000);
	}
	CU_ASSERT_TRUE(vms_wal_gen_oldest(node(n)->wal) > open);
}

/* What the node tells of partition 0, and how many of those it leads it says stand. */
static inline json_t *told(unsigned nd, int *stand)
{
	json_t *st = vms_node_json(node(nd), "status"), *a = vms_node_json(node(nd), "partitions");
	json_t *one = json_incref(json_array_get(a, 0));

	*stand = (int)json_integer_value(json_object_get(st, "partitions_bytes_wait"));
	json_decref(a);
	json_decref(st);
	return one;
}

static inline bool says(json_t *o, const char *text)
{
	const char *t = json_string_value(json_object_get(o, "text"));

	return t && strstr(t, text);
}

/* A defect, and the case that finds it. */
struct learn_mutant {
	unsigned mutant;
	void (*test)(void);
};

static inline void each_is_caught(const struct learn_mutant *m, size_t n)
{
	CU_ASSERT(n > 0);
	for (size_t i = 0; i < n; i++)
		if (!v_catches(m[i].mutant, m[i].test)) {
			fprintf(stderr, "mutant %u is not caught\n", m[i].mutant);
			CU_FAIL("a mutant is not caught");
		}
}

#endif
