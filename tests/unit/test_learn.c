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

static void same_ctrs(const char *what, unsigned a, unsigned b, uint32_t number)
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

/* In two parts; what lies below shows through in between. */
static void write_halves(struct v_vol *v, uint32_t ext, unsigned ch)
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
static void all_right(const char *what)
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

static void up(unsigned bits, uint64_t seed)
{
	v_up(3, 2, bits, seed);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 120;
}

static int stray(void *arg, uint64_t number, uint64_t size)
{
	struct vms_node *n = arg;
	struct part *p = node_part(n, vms_addr_partition(vms_addr_make(number, 0), R.part_bits));
	struct ctr *c = p ? part_ctr(p, number) : NULL;

	(void)size;
	return !c || !c->state;
}

/* Files that no index knows of are removed. */
static bool no_strays(void)
{
	bool any = false;

	for (unsigned i = 0; i < R.nnodes; i++)
		any |= R.node[i].n &&
		       R.node[i].disk.ops->ctr_list(R.node[i].disk.ctx, stray, R.node[i].n) > 0;
	return !any;
}

static void fsck_all(void)
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

/* ---- crashes ---- */

/* Writes over a part of a volume, drained, until logs have gone round. */
static void turnovers(struct v_vol *v, unsigned turns)
{
	for (unsigned t = 0; t < turns; t++) {
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(v, 0, c, next_id++);
		v_drain();
		rig_run(&R, 300);
	}
}

static bool at_phase(unsigned node, enum learn_phase ph)
{
	struct part *p = part_on(node, 0);

	return p && p->learn && p->learn->phase >= ph;
}

/* Everything the set holds is right, whoever leads. */
static void finish(unsigned learner)
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

/* The learner (stale: it has an old copy), or the primary, crashes when the copy has
 * come to that step. */
static void crash_at(enum learn_phase ph, bool stale, bool primary, uint64_t seed)
{
	unsigned turn = 0, node = stale ? 1 : 2;
	const char *bad;

	up(0, seed);
	v_create(0);
	for (uint32_t e = 0; e < 2; e++)
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	if (stale) {
		rig_node_crash(&R, 1, true);
		SET(0, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		turnovers(&V[0], 7);
		rig_node_start(&R, 1);
	}
	load(20);
	rig_run(&R, 1500);
	learn_on(node, 0);
	while (!at_phase(node, ph) && turn++ < 60000)
		rig_step(&R);
	if (turn > 60000)
		v_fail("phase %u is not reached", ph);
	rig_node_crash(&R, primary ? 0 : node, true);
	bad = rig_fsck(&R, primary ? 0 : node);
	if (bad)
		v_fail("fsck of a copy that is being made: %s", bad);
	rig_run(&R, 50);
	rig_node_start(&R, primary ? 0 : node);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(10);
	finish(node);
}

/* Containers that came with the copy are swept while it is ready; then the primary goes
 * and the copy is made again. It must not take the swept ones for files of its own. */
static void test_ready_swept(void)
{
	unsigned turn = 0;

	up(0, 77);
	v_create(0);
	for (uint32_t e = 0; e < 2; e++)
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	learn_on(2, 0);
	while (!at_phase(2, LP_READY) && turn++ < 60000)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_READY));
	turnovers(&V[0], 7);
	rig_run(&R, 1500);
	CU_ASSERT_TRUE(at_phase(2, LP_READY));
	rig_node_crash(&R, 0, true);
	rig_run(&R, 50);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(10);
	finish(2);
}

/* The primary goes when the copy is known to be whole and that is not durable yet: nothing of
 * it counts then, and the next attempt must not take what is in the index for a state that
 * the log alone leads on from (simulator seed 11696). */
static void test_almost_ready(void)
{
	unsigned turn = 0;

	up(0, 79);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	learn_on(2, 0);
	while (!at_phase(2, LP_COMMIT) && turn++ < 60000)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_COMMIT));
	rig_node_crash(&R, 0, false);
	rig_run(&R, 50);
	CU_ASSERT_PTR_NULL(node_part(R.node[2].n, 0)->learn);
	CU_ASSERT_EQUAL(node_part(R.node[2].n, 0)->copy_state, COPY_INCOMPLETE);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	load(10);
	finish(2);
}

/* A disk that fails to write while a copy is made ends the node, as with any other write
 * (simulator seed 580). */
static void test_disk_fails(void)
{
	up(0, 78);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	turnovers(&V[0], 7); /* the log alone does not do */
	learn_on(2, 0);
	for (unsigned turn = 0; !at_phase(2, LP_LIST) && turn < 60000; turn++)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_LIST));
	sim_disk_fail_at(R.node[2].sd, SIM_CTR_WRITE, VMS_E_IO);
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(R.node[2].fatal);
	rig_node_crash(&R, 2, true);
	rig_node_start(&R, 2);
	finish(2);
}

/* A full disk refuses a container's file header and takes a segment behind it: the next
 * attempt must not take that file for one that has its header (simulator seed 12555). */
static void test_header_refused(void)
{
	unsigned turn = 0;
	struct learn *l;
	const char *bad;

	up(0, 79);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	turnovers(&V[0], 7); /* the log alone does not do */
	learn_on(2, 0);
	while (!at_phase(2, LP_HEADS) && turn++ < 60000)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_HEADS));
	sim_disk_fail_at(R.node[2].sd, SIM_CTR_WRITE, VMS_E_NOSPC);
	l = part_on(2, 0)->learn;
	while (part_on(2, 0)->learn == l && turn++ < 60000)
		rig_step(&R);
	CU_ASSERT_TRUE(!part_on(2, 0)->learn && !R.node[2].fatal);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	rig_node_crash(&R, 2, true);
	bad = rig_fsck(&R, 2);
	if (bad)
		v_fail("fsck of a copy whose first attempt met a full disk: %s", bad);
	rig_node_start(&R, 2);
	finish(2);
}

/* A disk that fails to read once loses nothing: the source is asked again (simulator
 * seed 1903). */
static void test_read_fails_once(void)
{
	up(0, 79);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	turnovers(&V[0], 7);
	rig_node_crash(&R, 1, true); /* the primary is the only source */
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	learn_on(2, 0);
	for (unsigned turn = 0; !at_phase(2, LP_LIST) && turn < 60000; turn++)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_LIST));
	sim_disk_fail(R.node[0].sd, SIM_DISK_READS, false);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(sim_disk_failed(R.node[0].sd), SIM_DISK_READS);
	CU_ASSERT_EQUAL(R.node[2].n->st.lost_chunks, 0);
	v_check_all("read again");
	rig_node_start(&R, 1);
	v_down();
}

/* Nor does it cost the copy a footer (simulator seed 1255): one read fails, at each step of
 * the fetching in turn. */
static void test_footer_once(void)
{
	bool more = true;

	for (unsigned k = 0; more && !v_bad; k += 2) {
		unsigned step = 0;
		const char *bad;

		up(0, 80);
		v_create(0);
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], 0, c, next_id++);
		v_drain();
		turnovers(&V[0], 7);
		rig_node_crash(&R, 1, true); /* the primary is the only source */
		SET(0, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		learn_on(2, 0);
		for (unsigned turn = 0; !at_phase(2, LP_FETCH) && turn < 60000; turn++)
			rig_step(&R);
		while (step < k && !at_phase(2, LP_FETCH + 1)) {
			rig_step(&R);
			step++;
		}
		more = !at_phase(2, LP_FETCH + 1);
		CU_ASSERT_TRUE(more || k > 20);
		sim_disk_fail(R.node[0].sd, SIM_DISK_READS, false);
		CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
		sim_disk_fail(R.node[0].sd, 0, false);
		SET(0, 0, 2);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		rig_node_crash(&R, 2, true);
		bad = rig_fsck(&R, 2);
		if (bad)
			v_fail("a read fails after step %u: fsck: %s", k, bad);
		rig_node_start(&R, 2);
		rig_node_start(&R, 1);
		v_check_all("read once more");
		v_down();
	}
}

static void test_crash_steps(void)
{
	for (unsigned ph = LP_BEGIN; ph <= LP_READY; ph++)
		for (unsigned k = 0; k < 4; k++) {
			unsigned bad = CU_get_number_of_failures();

			crash_at(ph, k & 1, k & 2, 300 + ph * 4 + k);
			if (CU_get_number_of_failures() > bad) {
				fprintf(stderr, "in phase %s, %s copy, the %s crashed\n",
					learn_phase_name(ph), k & 1 ? "stale" : "no",
					k & 2 ? "primary" : "learner");
				return;
			}
		}
}

/* A copy leaves the set with a record that merges with a chunk of an own container, which
 * the set then collects: that is no damage, and the record waits (simulator seed 22). */
static void test_out_base(void)
{
	uint8_t b[V_CHUNK];
	struct vms_page page;
	struct part *p, *q;
	struct seen seen;
	uint64_t ctr;

	up(0, 81);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	same("at first", 0, 1, 0);
	p = part_on(0, 0);
	q = part_on(1, 0);
	CU_ASSERT_EQUAL_FATAL(part_see(node(0), p, V[0].branch, 0, V[0].gen, &seen), 0);
	CU_ASSERT_EQUAL_FATAL(part_page(node(0), p, &seen, 0, &page), 0);
	ctr = vms_addr_container(page.entry[3]);
	CU_ASSERT_PTR_NOT_NULL_FATAL(part_ctr(p, ctr));
	/* the lane of the other member stands */
	q->apply_wait = true;
	q->hold_ms = UINT64_MAX;
	node(1)->apply_waits++;
	v_fill(b, next_id++);
	CU_ASSERT_EQUAL(v_write_raw(&V[0], 0, 3, 1, 0x0f, b, V_CHUNK / 2), 0);
	v_drain();
	CU_ASSERT_TRUE(q->moves_ordered && q->applied < q->committed);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(V_WAIT(10000, !q->known));
	turnovers(&V[0], 2);
	CU_ASSERT_TRUE(V_WAIT(60000, !part_ctr(p, ctr)));
	q->hold_ms = 0;
	rig_run(&R, 3000);
	CU_ASSERT_EQUAL(node(1)->st.corrupt, 0);
	CU_ASSERT_TRUE(q->moves_ordered && q->applied < q->committed);
	finish(1);
}

/* An attempt left records in the learner's log; later ones must not see them. */
static void test_attempts(void)
{
	unsigned turn = 0;

	up(0, 31);
	v_create(0);
	for (uint32_t e = 0; e < V_EXTS; e++)
		for (unsigned c = 0; c < 40; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	for (unsigned c = 0; c < 40; c++)
		v_write(&V[0], 1, c, next_id++); /* not drained: in its log */
	learn_on(2, 0);
	while (!at_phase(2, LP_PAGES) && turn++ < 60000)
		rig_step(&R);
	rig_run(&R, 5);
	learn_stop(node(0), part_on(0, 0), 3, false);
	for (unsigned t = 0; t < 5; t++) {
		for (unsigned c = 0; c < 40; c++)
			v_write(&V[0], 1, c, next_id++);
		for (unsigned i = 0; i < 10; i++) {
			vms_wal_gen_seal(node(0)->wal); /* the learner's log stays as it is */
			vms_wal_gen_seal(node(1)->wal);
			rig_run(&R, 100);
		}
	}
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_node_crash(&R, 2, true);
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	SET(0, 2, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("after two attempts");
	fsck_all();
	v_down();
}

static void put_bytes(unsigned node, uint64_t ctr, uint64_t off, const uint8_t *b)
{
	struct vms_iov iov = {b, V_CHUNK};

	vms_assert(!R.node[node].n);
	R.node[node].disk.ops->ctr_write(R.node[node].disk.ctx, ctr, off, &iov, 1, 1);
	rig_run(&R, 5);
	R.node[node].disk.ops->ctr_sync(R.node[node].disk.ctx, 2);
	rig_run(&R, 5);
}

/* A file that was in no checkpoint when the node crashed, of a container that its
 * primary has swept since. */
static void test_strays(void)
{
	uint8_t b[V_CHUNK] = {1};

	up(0, 32);
	v_create(0);
	turnovers(&V[0], 2);
	rig_node_crash(&R, 1, false);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	put_bytes(1, part_on(0, 0)->next_ctr + 5, 0, b);
	turnovers(&V[0], 8);
	rig_node_start(&R, 1);
	CU_ASSERT_FALSE(no_strays());
	rig_run(&R, 1500);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_TRUE(V_WAIT(10000, no_strays()));
	CU_ASSERT_TRUE(feed_get(part_on(0, 0), 2)->base);
	finish(1);
}

/* ---- damage ---- */

/* Chunk i of segment 0 of the first sealed container gets other bytes there. */
static uint64_t damage(unsigned node, unsigned i)
{
	struct part *p = part_on(0, 0);
	uint8_t b[V_CHUNK];
	uint64_t ctr = 0;

	VMS_VEC_FOREACH (&p->ctrs, c)
		if (!ctr && c->segs && c->used[0] > 8)
			ctr = c->number;
	CU_ASSERT_NOT_EQUAL_FATAL(ctr, 0);
	memset(b, 0x5a, sizeof(b));
	rig_node_crash(&R, node, false);
	put_bytes(node, ctr, vms_seg_chunk_offset(0, i), b);
	rig_node_start(&R, node);
	rig_run(&R, 1500);
	return ctr;
}

static void some_data(uint64_t seed)
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

/* Its own old container is damaged: that segment is fetched. */
static void test_damage_own(void)
{
	some_data(41);
	rig_node_crash(&R, 1, false);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	turnovers(&V[0], 7);
	damage(1, 3);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_TRUE(feed_get(part_on(0, 0), 2)->base);
	CU_ASSERT_TRUE(node(1)->st.kept_bytes > 0);
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_drain();
	same("damaged before", 0, 1, 0);
	all_right("damage of its own");
	v_down();
}

/* The primary's copy is damaged: the other member's bytes are taken. Both are, in
 * different places: each place from where it is whole. */
static void damage_others(bool both)
{
	some_data(42 + both);
	damage(0, 3);
	if (both)
		damage(1, 5);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(2)->st.lost_chunks, 0);
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("of a damaged primary");
	rig_node_crash(&R, 2, false);
	CU_ASSERT_PTR_NULL(rig_fsck(&R, 2));
	v_down();
}

static void test_damage_primary(void)
{
	damage_others(false);
}

static void test_damage_both(void)
{
	damage_others(true);
}

/* Nobody has it: it stays unreadable, and is not made up. */
static void test_damage_all(void)
{
	uint8_t body[2 * V_CHS];
	struct rig_reply re;
	unsigned bad = 0, wrong = 0;

	some_data(44);
	damage(0, 3);
	damage(1, 3);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(2)->st.lost_chunks, 1);
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < V_CHS; i++)
		vms_put_le16(body + 2 * i, (uint16_t)i);
	for (uint32_t e = 0; e < 3; e++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = 0,
				    .branch = V[0].branch,
				    .snap_gen = VMS_GEN_LIVE,
				    .extent = e,
				    .body = body,
				    .body_bytes = sizeof(body)};
		size_t at = 0;

		CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
		for (unsigned i = 0; i < V_CHS; i++) {
			int st = (int16_t)vms_get_le16(re.body + 16 * i + 12);
			uint8_t want[V_CHUNK];

			bad += st != 0;
			v_fill(want, V[0].img.id[e][i]);
			if (!st) {
				wrong += memcmp(want, re.payload + at, V_CHUNK) != 0;
				at += V_CHUNK;
			}
		}
		rig_reply_free(&re);
	}
	CU_ASSERT_EQUAL(bad, 1);
	CU_ASSERT_EQUAL(wrong, 0);
	v_down();
}

/* ---- containers with dead places, shared ones ---- */

static bool order(struct vms_node *n, struct part *p, struct vms_rec *r)
{
	bool ok = part_order(n, p, r, NULL, 0) == 0;

	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 300);
	return ok;
}

static void test_dead_places(void)
{
	struct vms_rec share = {.type = VMS_REC_SHARE, .flags = VMS_RF_INTERNAL};
	struct part *p;
	struct ctr *c;
	uint64_t number, dead;
	uint8_t b[8];

	some_data(51);
	p = part_on(0, 0);
	number = p->ctrs.d[0].number;
	vms_put_le64(b, number);
	share.meta = b;
	share.meta_bytes = 8;
	CU_ASSERT_TRUE(order(node(0), p, &share));
	for (uint32_t e = 0; e < 3; e++)
		for (unsigned k = 0; k < V_CHS; k++)
			if (e < 1)
				v_write(&V[0], e, k, next_id++);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(60000, (c = part_ctr(p, number)) && c->dead.count > 0));
	rig_run(&R, 6000);
	CU_ASSERT_PTR_NOT_NULL_FATAL((c = part_ctr(p, number)));
	dead = c->dead.count;
	turnovers(&V[0], 4); /* no record of that is left in the log */
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	c = part_ctr(part_on(2, 0), number);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_TRUE(c->shared);
	CU_ASSERT_TRUE(c->dead.count >= dead);
	finish(2);
}

/* ---- retries ---- */

/* An op whose record no log holds any more is known to the new primary. */
static void test_outcomes(void)
{
	struct vms_piece pc = {5, 1, 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)], b[V_CHUNK];
	struct vms_iov iov = {b, V_CHUNK};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .slot = 77,
			    .sequence = 1,
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = V_CHUNK,
			    .body = body,
			    .body_bytes = sizeof(body)};
	struct rig_reply re;

	some_data(61);
	v_fill(b, 999999);
	m.branch = V[0].branch;
	pc.crc = vms_crc32c(0, b, V_CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	CU_ASSERT_EQUAL(v_call(0, m, &re), 0);
	rig_reply_free(&re);
	v_write(&V[0], 0, 5, next_id++);
	turnovers(&V[0], 3);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	m.flags = VMS_F_RETRY;
	m.tick = 0;
	CU_ASSERT_EQUAL(v_call(0, m, &re), 0);
	rig_reply_free(&re);
	v_check_all("after a late retry");
	all_right("outcomes");
	v_down();
}

/* ---- a returning primary ---- */

/* It had ordered what nobody else got; the set went on without it. */
static void test_void(void)
{
	struct part *p;
	uint64_t last;

	some_data(71);
	/* the other member hears nothing more */
	rig_node_crash(&R, 1, true);
	for (unsigned i = 0; i < 5; i++) {
		struct vms_rec r = {.type = VMS_REC_CEILING, .flags = VMS_RF_INTERNAL};
		uint8_t b[8];

		p = part_on(0, 0);
		vms_put_le64(b, p->ceiling_ordered);
		r.meta = b;
		r.meta_bytes = 8;
		CU_ASSERT_TRUE(order(node(0), p, &r));
	}
	last = p->seq_last;
	CU_ASSERT_TRUE(p->committed < last);
	rig_node_crash(&R, 0, true);
	SET(0, 1);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < 20; i++)
		v_write(&V[0], 1, i, next_id++);
	rig_node_start(&R, 0);
	rig_run(&R, 2000);
	CU_ASSERT_TRUE(learn_wait(0, 0, 60000));
	CU_ASSERT_FALSE(feed_get(part_on(1, 0), 1)->base);
	finish(0);
}

/* A DRAIN became void, other records have its place and the index holds those: the log
 * still has all of them when the node starts. What it counts is what is to be applied. */
static void test_void_counted(void)
{
	struct vms_rec r = {.type = VMS_REC_DRAIN, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_MOVES_META_MAX];
	struct log_lend lend = {0};
	struct vms_move mv;
	struct part *p;
	uint64_t last, gen;

	some_data(72);
	rig_cut(&R, 0, 1, true);
	p = part_on(0, 0);
	mv = (struct vms_move){.branch = V[0].branch,
			       .snap_gen = 1,
			       .extent = 1,
			       .valid = VMS_MASK_FULL,
			       .from_seq = p->seq_last,
			       .to = VMS_ADDR_HOLE};
	vms_rec_moves_put(&r, meta, &mv, 1);
	CU_ASSERT_TRUE(order(node(0), p, &r));
	last = p->seq_last;
	gen = vms_wal_gen_open(node(0)->wal);
	CU_ASSERT_TRUE(p->moves_ordered > 0 && p->committed < last && p->own_durable == last);
	rig_node_crash(&R, 0, true);
	rig_cut(&R, 0, 1, false);
	SET(0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < 20; i++)
		v_write(&V[0], 1, i, next_id++);
	rig_node_start(&R, 0);
	log_lend(node(0), &lend, vms_wal_gen_start_pos(node(0)->wal, gen)); /* it stays */
	rig_run(&R, 2000);
	CU_ASSERT_TRUE(learn_wait(0, 0, 60000));
	CU_ASSERT_FALSE(feed_get(part_on(1, 0), 1)->base);
	p = part_on(0, 0);
	CU_ASSERT_TRUE(V_WAIT(10000, p->applied == p->seq_last && p->applied > last));
	p->state_dirty = true;
	ckpt_request(node(0));
	rig_run(&R, 1000);
	log_return(node(0), &lend);
	rig_node_crash(&R, 0, true);
	rig_node_start(&R, 0);
	p = part_on(0, 0);
	CU_ASSERT_TRUE(p->replay_applied > last && vms_wal_gen_oldest(node(0)->wal) <= gen);
	CU_ASSERT_EQUAL(p->moves_ordered, 0);
	CU_ASSERT_TRUE(learn_wait(0, 0, 60000));
	CU_ASSERT_TRUE(V_WAIT(10000, p->applied == p->seq_last));
	CU_ASSERT_EQUAL(p->moves_ordered, 0);
	finish(0);
}

/* ---- what must not pass ---- */

/* A copy that differs is not taken, and is made again. */
static void test_differs(void)
{
	struct vms_page_key k = {0};
	unsigned turn = 0;
	struct part *p;

	some_data(81);
	learn_on(2, 0);
	while (!at_phase(2, LP_APPLY) && turn++ < 60000)
		rig_step(&R);
	p = part_on(2, 0);
	CU_ASSERT_TRUE_FATAL(p && p->learn && p->learn->phase < LP_READY);
	k = (struct vms_page_key){0, V[0].branch, 1 * 8, V[0].gen};
	vms_pages_del(node(2)->pages, &k);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(state_on(2, 0) != LEARN_READY);
	CU_ASSERT_TRUE(node(2)->st.digest_bad > 0);
	CU_ASSERT_EQUAL(part_on(2, 0)->copy_state, COPY_INCOMPLETE);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("made again");
	v_down();
}

/* The answer to its digest is lost: it asks again. */
static void test_digest_lost(void)
{
	unsigned turn = 0;
	struct part *p;
	uint64_t seq;

	some_data(82);
	learn_on(2, 0);
	while (!at_phase(2, LP_DIGEST) && turn++ < 60000)
		rig_step(&R);
	p = part_on(2, 0);
	CU_ASSERT_TRUE_FATAL(p && p->learn && p->learn->phase == LP_DIGEST);
	seq = p->learn->digest_seq;
	p->learn->digest_seq = UINT64_MAX; /* what is told now is not the one it waits for */
	rig_run(&R, 1000);
	CU_ASSERT_TRUE_FATAL(p->learn && p->learn->phase == LP_DIGEST && p->applied >= seq);
	p->learn->digest_seq = seq;
	rig_run(&R, 2000);
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	v_down();
}

/* Members are compared once in scrub_days; one that differs says so. */
static void test_round(void)
{
	struct vms_page_key k;

	some_data(84);
	rig_run(&R, 1000);
	node(0)->cluster.scrub_days = 7;
	node(0)->digest_ms = 1; /* it is time */
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(node(0)->st.digests > 0 && node(1)->st.digests > 0);
	CU_ASSERT_EQUAL(node(0)->st.digest_bad, 0);
	k = (struct vms_page_key){0, V[0].branch, 8, V[0].gen};
	vms_pages_del(node(1)->pages, &k);
	node(0)->digest_ms = 1;
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(node(0)->st.digest_bad > 0);
	CU_ASSERT_TRUE(part_on(1, 0)->differs);
	CU_ASSERT_TRUE(part_on(0, 0)->m[1].differs);
	v_down();
}

/* The epoch changes while acknowledgements of the former one are on their way: they say what
 * the learner's log holds all the same, and nothing else would say it again. */
static void test_acks_of_former_epoch(void)
{
	struct vms_msg m = {.type = VMS_MSG_REPLICATE, .flags = VMS_F_REPLY};
	uint8_t body[32] = {0};
	struct conn c = {0};
	struct member *mb;
	struct part *p;

	some_data(86);
	learn_on(2, 0);
	rig_run(&R, 3000);
	CU_ASSERT_EQUAL_FATAL(state_on(2, 0), LEARN_READY);
	p = part_on(0, 0);
	CU_ASSERT_TRUE_FATAL(p && p->nl == 1 && p->m[p->nm].learner);
	mb = &p->m[p->nm];
	v_write(&V[0], 0, 1, next_id++);
	rig_run(&R, 500);
	CU_ASSERT_EQUAL_FATAL(mb->held, p->seq_last);
	SET(0, 0, 1);
	rig_run(&R, 500);
	CU_ASSERT_TRUE_FATAL(p->nl == 1 && mb->learner && mb->streaming);
	/* as if its last answer had been on its way when the epoch rose */
	mb->held = mb->durable = p->seq_last - 1;
	vms_put_le32(body, p->number);
	vms_put_le64(body + 8, p->conf.epoch - 1);
	vms_put_le64(body + 16, p->seq_last);
	vms_put_le64(body + 24, p->seq_last);
	c.peer = node_peer(node(0), 3, false);
	m.body = body;
	m.body_bytes = sizeof(body);
	repl_ack(node(0), &c, &m);
	CU_ASSERT_EQUAL(mb->held, p->seq_last);
	/* a member's history may have been another one */
	p->m[1].held = p->m[1].durable = p->seq_last - 1;
	c.peer = node_peer(node(0), 2, false);
	repl_ack(node(0), &c, &m);
	CU_ASSERT_EQUAL(p->m[1].held, p->seq_last - 1);
	rig_run(&R, 3000);
	v_down();
}

/* Nothing is applied that a power loss could take from the own log. */
static void test_durable_first(void)
{
	unsigned turn = 0;

	R.slow_sync = 3;
	some_data(82);
	learn_on(2, 0);
	while (!at_phase(2, LP_APPLY) && turn++ < 60000)
		rig_step(&R);
	for (unsigned i = 0; i < 40; i++) {
		struct part *p = part_on(2, 0);
		struct rig_reply re;
		struct vms_msg m = {
			.type = VMS_MSG_FLUSH, .partition = VMS_PART_NONE, .branch = V[0].branch};

		v_write(&V[0], 0, i, next_id++);
		rig_send(&R, 0, 0, &m, &re);
		if (i % 8 == 0)
			vms_node_drain(node(0));
		for (turn = 0; turn < 300; turn++) {
			rig_step(&R);
			if (p->learn && p->applied > p->own_durable)
				v_fail("applied %llu, durable %llu", (unsigned long long)p->applied,
				       (unsigned long long)p->own_durable);
		}
		rig_wait(&R, &re, 5000);
		rig_reply_free(&re);
	}
	v_down();
}

/* Collection does not take from the copy what it still needs. */
static void test_collection(void)
{
	some_data(83);
	for (unsigned i = 0; i < 3; i++) {
		R.node[i].n->conf.gc_target_percent = 110;
		R.node[i].n->cluster.move_bytes_s = 2 << 20;
	}
	learn_on(2, 0);
	for (unsigned t = 0; t < 60 && state_on(2, 0) != LEARN_READY; t++) {
		for (unsigned c = 0; c < V_CHS; c += 3)
			v_write(&V[0], t % 3, c, next_id++);
		v_drain();
		rig_run(&R, 100);
	}
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(0)->st.feeds, 1);
	finish(2);
}

/* ---- copies that go ---- */

static bool holds_nothing(unsigned i)
{
	struct part *p = part_on(i, 0);

	return !p || (!p->has_data && !p->ctrs.n && !p->drain_applied);
}

static void test_out(void)
{
	some_data(91);
	for (unsigned c = 0; c < 20; c++)
		v_write(&V[0], 0, c, next_id++);
	/* one of two: it stays, whatever time passes */
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 20000);
	CU_ASSERT_FALSE(holds_nothing(1));
	/* two others: it goes */
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(V_WAIT(20000, holds_nothing(1)));
	CU_ASSERT_TRUE(V_WAIT(5000, sim_disk_container_bytes(R.node[1].sd) == 0));
	/* and does not come back with the log */
	rig_run(&R, 1000);
	rig_node_crash(&R, 1, true);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(holds_nothing(1));
	rig_run(&R, 1500);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_TRUE(feed_get(part_on(0, 0), 2)->base);
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	same("again", 0, 1, 0);
	v_check_all("again");
	fsck_all();
	v_down();
}

/* Learnt again right after it was deleted, then out and needed: the end of that deletion
 * has no part in the new copy. */
static void test_out_again(void)
{
	some_data(90);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(V_WAIT(20000, node(1)->st.copies_deleted == 1));
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	vms_wal_gen_seal(node(1)->wal);
	rig_run(&R, 3000);
	rig_node_crash(&R, 1, true);
	rig_node_start(&R, 1);
	rig_run(&R, 1500);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_FALSE(feed_get(part_on(0, 0), 2)->base);
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	fsck_all();
	v_down();
}

/* A crash while it is being deleted; what is left of it is never taken for a copy. */
static void test_out_crash(void)
{
	for (unsigned after = 0; after < 12; after++) {
		uint64_t end;

		some_data(92 + after);
		CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
		SET(0, 0, 2);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		end = R.now_us + 20000000;
		while (part_on(1, 0)->copy_state != COPY_DELETING && R.now_us < end)
			rig_step(&R);
		for (unsigned i = 0; i < after * after * 8; i++)
			rig_step(&R);
		rig_node_crash(&R, 1, true);
		CU_ASSERT_PTR_NULL(rig_fsck(&R, 1));
		rig_node_start(&R, 1);
		rig_run(&R, 1500);
		CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
		SET(0, 0, 1);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		same("again", 0, 1, 0);
		fsck_all();
		v_down();
	}
}

/* ---- each rule is needed ---- */

static unsigned bases_on(unsigned node)
{
	struct vms_node *n = R.node[node].n;
	unsigned k = 0;

	for (uint32_t i = 0; i < n->nparts; i++)
		k += n->part[i] && n->part[i]->learn && n->part[i]->learn->base &&
		     n->part[i]->learn->phase < LP_READY;
	return k;
}

/* Six whole copies are wanted on one node, from two others. Two at a time are made,
 * there as well as from each primary; the others take no place meanwhile, so that those
 * that need the log alone find one. */
static void test_places(void)
{
	static const uint32_t of0[] = {0, 6, 12, 15}, of1[] = {3, 9};
	struct vms_node *a, *b;
	unsigned most = 0, waiting = 0;

	up(4, 171);
	load(600);
	v_drain();
	for (unsigned i = 0; i < 2; i++)
		SET(of1[i], 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	a = R.node[0].n;
	b = R.node[1].n;
	a->cluster.move_bytes_s = b->cluster.move_bytes_s = 16 << 10;
	for (unsigned i = 0; i < 4; i++)
		learn_on(2, of0[i]);
	for (unsigned i = 0; i < 2; i++)
		learn_on(2, of1[i]);
	for (unsigned i = 0; i < 50; i++) {
		rig_run(&R, 10);
		most = bases_on(2) > most ? bases_on(2) : most;
	}
	CU_ASSERT_EQUAL(most, 2);
	CU_ASSERT(a->nfeeds + b->nfeeds <= 2);
	CU_ASSERT(a->nbases + b->nbases <= 2);
	for (unsigned i = 0; i < 4; i++)
		waiting += state_on(2, of0[i]) == LEARN_WAITS;
	for (unsigned i = 0; i < 2; i++)
		waiting += state_on(2, of1[i]) == LEARN_WAITS;
	CU_ASSERT(waiting >= 3);
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 0; k < 4; k++)
			learn_on(2, of0[k]);
		for (unsigned k = 0; k < 2; k++)
			learn_on(2, of1[k]);
		rig_run(&R, 10);
		most = bases_on(2) > most ? bases_on(2) : most;
		CU_ASSERT(a->nbases <= 2 && b->nbases <= 2);
	}
	CU_ASSERT_EQUAL(most, 2);
	a->cluster.move_bytes_s = b->cluster.move_bytes_s = 0;
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_TRUE(learn_wait(2, of0[i], 60000));
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_TRUE(learn_wait(2, of1[i], 60000));
	CU_ASSERT_EQUAL(a->nfeeds + a->nbases + b->nfeeds + b->nbases, 0);
	for (unsigned i = 0; i < 4; i++)
		same("copied in turn", 0, 2, of0[i]);
	all_right("copied in turn");
	v_down();
}

/* ---- a record whose bytes nobody has ---- */

/* A bit of that chunk turns. */
static bool rot(unsigned node, vms_addr a)
{
	return sim_disk_rot(R.node[node].sd, vms_addr_container(a),
			    vms_addr_offset_bytes(a) / V_CHUNK, 100);
}

static bool page_rot(unsigned node, uint32_t ext)
{
	struct vms_page_key key = {0, V[0].branch, ext * VMS_EXTENT_SUBEXTS, V[0].gen};
	uint8_t k[VMS_PAGE_KEY_BYTES];

	vms_page_key_encode(k, &key);
	return sim_disk_meta_rot(R.node[node].sd, k, sizeof(k), 200);
}

static uint32_t ext_in(uint32_t part)
{
	uint32_t e = 0;

	while (v_part(&V[0], e) != part)
		e++;
	return e;
}

/* Where chunk 3 of the extent lies. */
static vms_addr third(unsigned node, uint32_t ext)
{
	struct vms_page_key key = {0, V[0].branch, ext * VMS_EXTENT_SUBEXTS, VMS_GEN_LIVE};
	struct vms_page page;

	CU_ASSERT_EQUAL_FATAL(vms_pages_lookup(R.node[node].n->pages, &key, &page), 0);
	return page.entry[3];
}

/* Partition 0 on nodes 0 and 1. Chunk 3 lies in a container, a half of it is written over;
 * the lane of that node stands before the record that merges them. */
static struct part *lane_stands(uint64_t seed, unsigned nd, uint32_t *ext)
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
static void log_goes_round(unsigned n)
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

/* A copy that is out of its set: what its own record needs is damaged in it. The others'
 * log goes on, and the copy is made again when it is wanted. */
static void test_bytes_out(void)
{
	uint32_t ext;
	struct part *q = lane_stands(82, 1, &ext);

	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(V_WAIT(10000, !q->known));
	CU_ASSERT_TRUE(page_rot(1, ext));
	q->hold_ms = 0;
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(q->applied < q->committed);
	log_goes_round(1);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	v_write(&V[0], ext, 3, next_id++);
	SET(0, 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_drain();
	same("made again", 1, 0, 0);
	v_check_all("led by the copy made again");
	v_down();
}

/* A member of the set; neither what the record merges with is whole in any copy, nor what
 * has come of it: the primary lets it go, and it gets a copy of what there is. */
static void test_bytes_member(void)
{
	uint32_t ext;
	struct part *q = lane_stands(83, 1, &ext), *p = part_on(0, 0);
	vms_addr to = third(0, ext), from = third(1, ext);

	CU_ASSERT_NOT_EQUAL(from, to);
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from) && rot(0, to));
	for (unsigned i = 0; i < 3; i++)
		node(i)->conf.fixed_sets = false;
	q->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, node(0)->st.drops == 1));
	CU_ASSERT_EQUAL(p->nm, 1);
	CU_ASSERT_TRUE(V_WAIT(120000, p->nm == 2 && p->state == PS_ACTIVE));
	CU_ASSERT_TRUE(q->known && !q->differs);
	v_write(&V[0], ext, 3, next_id++);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(20000, q->applied == p->seq_last && p->applied == p->seq_last));
	same_pages("made again", 0, 1, 0);
	v_check_all("written again");
	v_down();
}

/* The primary, alone in its set. Its partition stands and says so; the others go on, and
 * so does it when the bytes are there again. */
static void test_bytes_primary(void)
{
	uint32_t ext;
	struct part *p;
	vms_addr from;

	p = lane_stands(84, 0, &ext);
	from = third(0, ext);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from)); /* the copy that is out would do, too */
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	log_goes_round(0);
	CU_ASSERT_TRUE(p->bytes_wait && p->applied < p->committed);
	CU_ASSERT_TRUE(rot(0, from)); /* the bit turns back */
	CU_ASSERT_TRUE(V_WAIT(20000, !p->bytes_wait && p->applied == p->committed));
	v_write(&V[0], ext, 3, next_id++);
	v_drain();
	v_check_all("the bytes are back");
	v_down();
}

static void test_mutants(void)
{
	static const struct {
		unsigned mutant;
		void (*test)(void);
	} m[] = {
		{MUT_LN_MARK, test_crash_steps},
		{MUT_LN_VOID, test_attempts},
		{MUT_LN_OUTCOMES, test_outcomes},
		{MUT_LN_DEAD, test_dead_places},
		{MUT_LN_SHARED, test_dead_places},
		{MUT_LN_HOLD, test_empty},
		{MUT_LN_PAGES, test_crash_steps},
		{MUT_LN_EXTRA, test_crash_steps},
		{MUT_LN_VERIFY, test_damage_own},
		{MUT_LN_TRUST, test_damage_primary},
		{MUT_LN_AGAIN, test_bytes_member},
		{MUT_LN_SWEEP, test_collection},
		{MUT_LN_COMMON, test_void},
		{MUT_LN_GAP, test_long},
		{MUT_LN_DIGEST, test_differs},
		{MUT_LN_CEILING, test_outcomes},
		{MUT_LN_VALID, test_durable_first},
		{MUT_OUT_EARLY, test_out},
		{MUT_OUT_HALF, test_out_again},
		{MUT_OUT_LOG, test_out},
		{MUT_PEER_FOREVER, test_bytes_out},
		{MUT_PEER_FOREVER, test_bytes_member},
		{MUT_PEER_FOREVER, test_bytes_primary},
		{MUT_LN_HEADLESS, test_header_refused},
		{MUT_VOID_COUNTED, test_void_counted},
	};

	for (size_t i = 0; i < sizeof(m) / sizeof(*m); i++)
		if (!v_catches(m[i].mutant, m[i].test)) {
			fprintf(stderr, "mutant %u is not caught\n", m[i].mutant);
			CU_FAIL("a mutant is not caught");
		}
}

static const struct vms_test tests[] = {
	VMS_TEST(test_empty),
	VMS_TEST(test_short),
	VMS_TEST(test_long),
	VMS_TEST(test_crash_steps),
	VMS_TEST(test_disk_fails),
	VMS_TEST(test_read_fails_once),
	VMS_TEST(test_footer_once),
	VMS_TEST(test_out_base),
	VMS_TEST(test_ready_swept),
	VMS_TEST(test_almost_ready),
	VMS_TEST(test_attempts),
	VMS_TEST(test_strays),
	VMS_TEST(test_damage_own),
	VMS_TEST(test_damage_primary),
	VMS_TEST(test_damage_both),
	VMS_TEST(test_damage_all),
	VMS_TEST(test_dead_places),
	VMS_TEST(test_outcomes),
	VMS_TEST(test_void),
	VMS_TEST(test_differs),
	VMS_TEST(test_digest_lost),
	VMS_TEST(test_round),
	VMS_TEST(test_durable_first),
	VMS_TEST(test_collection),
	VMS_TEST(test_out),
	VMS_TEST(test_out_again),
	VMS_TEST(test_out_crash),
	VMS_TEST(test_places),
	VMS_TEST(test_acks_of_former_epoch),
	VMS_TEST(test_bytes_out),
	VMS_TEST(test_bytes_member),
	VMS_TEST(test_bytes_primary),
	VMS_TEST(test_header_refused),
	VMS_TEST(test_void_counted),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("learn", tests)
