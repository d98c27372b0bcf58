// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies that go: not needed any more, half gone, on a node that crashes meanwhile; where they
 * stand.
 */
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "include/types.h"
#include "tests/unit/learn_rig.h"

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

/* Made, ready to be added, and then wanted no more: no later epoch will ever tell of it
 * (simulator seed 12498). */
static void test_out_ready(void)
{
	uint64_t epoch;

	some_data(89);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	/* as long as it may be added it stays */
	rig_run(&R, 10000);
	CU_ASSERT_FALSE(holds_nothing(2));
	epoch = part_on(0, 0)->conf.epoch;
	CU_ASSERT_EQUAL(part_on(2, 0)->view_epoch, epoch);
	/* clients were faster than attempts before it */
	part_on(2, 0)->outrun = 3;
	/* as long as a member is away, too */
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	CU_ASSERT_TRUE(V_WAIT(20000, !part_members_ready(part_on(0, 0))));
	learn_stop(node(0), part_on(0, 0), 3, false);
	vms_node_turn_end(node(0), node(0)->now_ms);
	rig_run(&R, 10000);
	CU_ASSERT_FALSE(holds_nothing(2));
	CU_ASSERT_EQUAL(part_on(2, 0)->outrun, 3);
	rig_cut(&R, 0, 1, false);
	rig_cut(&R, 1, 0, false);
	CU_ASSERT_TRUE(V_WAIT(20000, holds_nothing(2)));
	/* the next copy, whenever that is, begins with no writes that yield to it */
	CU_ASSERT_PTR_NOT_NULL_FATAL(part_on(2, 0));
	CU_ASSERT_EQUAL(part_on(2, 0)->outrun, 0);
	CU_ASSERT_EQUAL(part_on(0, 0)->conf.epoch, epoch);
	CU_ASSERT_TRUE(V_WAIT(5000, sim_disk_container_bytes(R.node[2].sd) == 0));
	same("afterwards", 0, 1, 0);
	v_check_all("afterwards");
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

static void test_mutants(void)
{
	static const struct learn_mutant m[] = {
		{MUT_OUT_EARLY, test_out},
		{MUT_OUT_HALF, test_out_again},
		{MUT_OUT_LOG, test_out},
		{MUT_OUT_EQUAL, test_out_ready},
	};

	each_is_caught(m, sizeof(m) / sizeof(*m));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_out_base),  VMS_TEST(test_out),	    VMS_TEST(test_out_again),
	VMS_TEST(test_out_ready), VMS_TEST(test_out_crash), VMS_TEST(test_places),
	VMS_TEST(test_mutants),
};
VMS_TEST_MAIN("learn: out", tests)
