// SPDX-License-Identifier: GPL-2.0-only
/* Copies of partitions that are made again: whatever runs meanwhile and whatever
 * crashes, in the end they hold the same as the primary's. */
#include "tests/unit/vol_rig.h"

#include "backend/learn_int.h"

static uint32_t next_id = 1;

static struct part *part_on(unsigned node, uint32_t number)
{
	return R.node[node].n ? node_part(R.node[node].n, number) : NULL;
}

/* The set of a partition as the catalog has it from now on: node numbers from 0, the
 * primary first, ended by a negative one. */
static void set_put(uint32_t number, const int *nodes)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_part_conf pc;
	struct vms_cat_kv kv;
	struct rig_kv *k;
	uint32_t got;

	vms_cat_key_part(key, number);
	k = v_key(key);
	kv = (struct vms_cat_kv){k->key, k->val, (uint32_t)strlen(k->val), k->mod, 1};
	CU_ASSERT_EQUAL_FATAL(vms_cat_part_decode(&kv, &got, &pc, NULL), 0);
	pc.epoch++;
	pc.nmembers = 0;
	for (; *nodes >= 0; nodes++) {
		struct vms_node *n = R.node[*nodes].n;
		struct vms_member *m = &pc.member[pc.nmembers++];

		m->node = (uint32_t)*nodes + 1;
		if (n)
			m->incarnation = n->incarnation;
	}
	pc.primary = pc.member[0].node;
	if (number < 64)
		R.lead[number] = (uint8_t)pc.primary;
	rig_put(&R, key, vms_cat_part_encode(&pc));
	for (unsigned g = 0; g < RIG_GWS; g++)
		R.gw[g].epoch[number] = pc.epoch;
}
#define SET(part, ...) set_put(part, (const int[]){__VA_ARGS__, -1})

static void learn_on(unsigned node, uint32_t number)
{
	struct vms_node *n = R.node[rig_primary(&R, number)].n;
	struct part *p = n ? node_part(n, number) : NULL;
	struct peer *pe = n ? node_peer(n, node + 1, false) : NULL;

	if (p && part_serving(p) && pe && learn_start(n, p, pe))
		vms_node_turn_end(n, n->now_ms);
}

static enum learn_state state_on(unsigned node, uint32_t number)
{
	struct part *p = part_on(rig_primary(&R, number), number);

	return p ? learn_state(p, node + 1, NULL, NULL) : LEARN_NONE;
}

/* Until the copy is ready; started again when an attempt ended early. */
static bool learn_wait(unsigned node, uint32_t number, unsigned ms)
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

static int take_page(void *arg, const struct vms_page *p)
{
	struct pages_of *o = arg;

	VMS_VEC_PUSH(&o->v, *p);
	return 0;
}

static void same_pages(const char *what, unsigned a, unsigned b, uint32_t number)
{
	struct pages_of x = {VMS_VEC_INIT}, y = {VMS_VEC_INIT};

	vms_pages_each(R.node[a].n->pages, number, NULL, take_page, &x);
	vms_pages_each(R.node[b].n->pages, number, NULL, take_page, &y);
	if (x.v.n != y.v.n)
		v_fail("%s: part %u: %zu pages on node %u, %zu on node %u", what, number, x.v.n, a + 1,
		       y.v.n, b + 1);
	for (size_t i = 0; i < x.v.n && x.v.n == y.v.n; i++)
		if (x.v.d[i].key.branch != y.v.d[i].key.branch ||
		    x.v.d[i].key.subext != y.v.d[i].key.subext ||
		    x.v.d[i].key.snap_gen != y.v.d[i].key.snap_gen || memcmp(x.v.d[i].entry, y.v.d[i].entry, sizeof(x.v.d[i].entry)))
			v_fail("%s: part %u: page %zu differs", what, number, i);
	VMS_VEC_FREE(&x.v);
	VMS_VEC_FREE(&y.v);
}

static void same_ctrs(const char *what, unsigned a, unsigned b, uint32_t number)
{
	struct part *p = part_on(a, number), *q = part_on(b, number);
	uint8_t x[V_CHUNK], y[V_CHUNK];
	size_t n = 0, m = 0;

	VMS_VEC_FOREACH(&q->ctrs, c)
		m += c->state == 1 || c->state == 2;
	VMS_VEC_FOREACH(&p->ctrs, c) {
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
				vms_addr at = vms_addr_make(c->number, (uint32_t)(vms_seg_offset(s) +
										  V_CHUNK * i));

				if (i && (places_has(&c->dead, at) != places_has(&d->dead, at)))
					v_fail("%s: %llx dead in one", what, (unsigned long long)at);
				if (c->dead.count)
					continue;
				if (sim_disk_read(R.node[a].sd, c->number, vms_addr_offset_bytes(at), x,
						  V_CHUNK) ||
				    sim_disk_read(R.node[b].sd, c->number, vms_addr_offset_bytes(at), y,
						  V_CHUNK) ||
				    memcmp(x, y, V_CHUNK)) {
					v_fail("%s: %llx: bytes differ", what, (unsigned long long)at);
					return;
				}
			}
	}
	if (n != m)
		v_fail("%s: part %u: %zu containers on node %u, %zu on node %u", what, number, n, a + 1,
		       m, b + 1);
}

/* After everything is drained and applied everywhere. */
static void same(const char *what, unsigned a, unsigned b, uint32_t number)
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

static void load(unsigned ops)
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
			uint8_t b[512];

			/* part of a chunk: what is below shows through */
			vms_rng_fill(&R.rng, b, sizeof(b));
			v->img.id[0][V_CHS - 1] = 0;
			v_write(v, v_pick(V_EXTS), v_pick(V_CHS), next_id++);
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

static void up(unsigned bits, uint64_t seed)
{
	v_up(3, 2, bits, seed);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 120;
}

static void fsck_all(void)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		const char *bad;

		rig_node_crash(&R, i, false);
		bad = rig_fsck(&R, i);
		if (bad)
			v_fail("node %u: fsck: %s", i + 1, bad);
	}
}

/* A node that has nothing of the partition gets a copy while clients write, becomes a
 * member, then the primary. */
static void empty_learner(uint64_t seed)
{
	unsigned rounds = 0;

	up(1, seed);
	load(500);
	v_drain();
	load(100);
	learn_on(2, 0);
	while (state_on(2, 0) != LEARN_READY && rounds++ < 200 && v_bad < 5) {
		load(3);
		learn_on(2, 0);
		rig_run(&R, 10);
	}
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	load(50);
	SET(0, 0, 1, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(50);
	v_check_all("three members");
	v_drain();
	same("member", 0, 1, 0);
	same("learnt", 0, 2, 0);
	/* the learnt copy has to do */
	SET(0, 2, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("led by the learnt copy");
	load(100);
	v_check_all("led by the learnt copy, later");
	CU_ASSERT_TRUE(V_WAIT(60000, R.node[0].n->st.copies_deleted == 1));
	fsck_all();
	v_down();
}

static void test_empty(void)
{
	for (uint64_t seed = 1; seed <= 3; seed++)
		empty_learner(seed);
}

static struct vms_node *node(unsigned i)
{
	return R.node[i].n;
}

/* A member that was away for a moment: the log is enough. */
static void test_short(void)
{
	up(0, 21);
	load(300);
	v_drain();
	rig_node_crash(&R, 1, true);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < 20; i++)
		v_write(V[0].used ? &V[0] : &V[1], 0, i, next_id++);
	rig_node_start(&R, 1);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(learn_wait(1, 0, 30000));
	CU_ASSERT_FALSE(feed_get(part_on(0, 0), 2)->base);
	CU_ASSERT_TRUE(node(1)->st.learnt_bytes < 512 << 10);
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(30);
	v_drain();
	same("back", 0, 1, 0);
	SET(0, 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("led by the one that was away");
	fsck_all();
	v_down();
}

/* A member that was away for long: the log has gone on, only what differs is sent. */
static void test_long(void)
{
	uint64_t all;

	up(0, 22);
	v_create(0);
	for (uint32_t e = 0; e < V_EXTS; e++)
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	rig_run(&R, 6000);
	rig_node_crash(&R, 1, true);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned turn = 0; turn < 12; turn++) {
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], 0, c, next_id++);
		v_drain();
		rig_run(&R, 500);
	}
	rig_node_start(&R, 1);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_TRUE(feed_get(part_on(0, 0), 2)->base);
	all = sim_disk_container_bytes(R.node[0].sd);
	CU_ASSERT_TRUE(node(1)->st.kept_bytes > 0);
	printf("  %llu bytes in containers, %llu kept, %llu sent\n", (unsigned long long)all,
	       (unsigned long long)node(1)->st.kept_bytes,
	       (unsigned long long)node(1)->st.learnt_bytes);
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(30);
	v_drain();
	same("back", 0, 1, 0);
	SET(0, 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("led by the one that was away");
	fsck_all();
	v_down();
}

static const struct vms_test tests[] = {
	VMS_TEST(test_empty),
	VMS_TEST(test_short),
	VMS_TEST(test_long),
};

VMS_TEST_MAIN("learn", tests)
