// SPDX-License-Identifier: GPL-2.0-only
/* Collection: rounds over all partitions, with nodes that are away, restarted or gone, and
 * references that come and go meanwhile. */
#include "backend/drain.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/round_int.h"
#include "backend/wal.h"
#include "include/types.h"
#include "tests/unit/gc_rig.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

/* One node is away, with references that nobody else knows of: nothing is freed. */
static void test_silent(void)
{
	vms_addr a;

	pair_up(25, 1);
	pair_refer(0, PAIR);
	seal(0);
	rig_run(&R, 6000);
	a = entry(va, ea, 0, NULL);
	rig_node_crash(&R, 1, true);
	v_rm(va);
	CU_ASSERT_TRUE(V_WAIT(30000, entry(va, ea, 0, NULL) == VMS_ADDR_HOLE));
	cycle_raise();
	rig_run(&R, 20000);
	CU_ASSERT_TRUE(ctr_of(a) && ctr_of(a)->state == 2 && !ctr_of(a)->sweeping);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 30000);
	v_check_all("silent");
	v_rm(vb);
	all_gone("silent");
	v_down();
}

/* The owner restarts in the middle of a round and has forgotten whom it said yes to. */
static void test_stamps_lost(void)
{
	uint64_t stamp = 0, k;
	vms_addr a;

	pair_up(26, 1);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	seal(0);
	v_rm(va);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(v_pages(va->branch) == 0));
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->gc_cycle == k && part_at(1)->gc_cycle == k));
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	CU_ASSERT_EQUAL(stamp, k);
	rig_node_crash(&R, 0, true);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	CU_ASSERT_TRUE(refer(vb, eb, 0, a, stamp));
	rig_run(&R, 3000);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 30000);
	CU_ASSERT_EQUAL(entry(vb, eb, 0, NULL), a);
	v_check_all("stamps lost");
	v_rm(vb);
	all_gone("stamps lost");
	v_down();
}

/* Pages of partition 1 that come before those of volume 1 in a walk. */
static void fill_pages(struct v_vol *v, unsigned count)
{
	uint8_t b[V_CHUNK];

	v_fill(b, 5);
	for (uint32_t e = 100; count; e++) {
		if (v_part(v, e) != 1)
			continue;
		CU_ASSERT_EQUAL(v_write_raw(v, e, 0, 1, 0xff, b, V_CHUNK), 0);
		count--;
	}
}

/* References that go while the pages are walked: what they named stays in this round,
 * for a replay may bring them back. */
static void test_removed(void)
{
	uint64_t k, rounds, stamp = 0;
	vms_addr a, own;

	pair_up(27, 2);
	fill_pages(va, 400);
	v_drain();
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_write(vb, eb, 100, 4711);
	v_drain();
	rig_run(&R, 6000);
	own = entry(vb, eb, 100, NULL);
	CU_ASSERT_TRUE_FATAL(V_WAIT(60000, STAT(rounds) > 0));
	rig_run(&R, 12000);
	rounds = STAT(rounds);
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_walking));
	for (unsigned c = 0; c < PAIR; c++) {
		stamp = part_at(1)->gc_cycle;
		CU_ASSERT_TRUE(refer(vb, eb, c, own, stamp));
		vb->img.id[eb][c] = 4711;
	}
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	CU_ASSERT_EQUAL(entry(vb, eb, PAIR - 1, NULL), own);
	CU_ASSERT_TRUE(V_WAIT(20000, STAT(rounds) >= rounds + 3));
	CU_ASSERT_TRUE(ctr_of(a) && ctr_of(a)->state == 2 && !ctr_of(a)->sweeping);
	v_check_all("removed");
	v_rm(va);
	v_rm(vb);
	all_gone("removed");
	v_down();
}

/* The same at home: between a partition's own walk and the end of the round it removes the
 * last references to its shared container. The marks name them; it must not be held for live
 * for ever (simulator seed 21987). */
static void test_removed_own(void)
{
	uint64_t k;

	pair_up(31, 2);
	pair_refer(0, PAIR);
	seal(0);
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	rig_run(&R, 20000); /* rounds have nothing more to do */
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	part_at(1)->rd_safe = UINT64_MAX; /* holds the round */
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->rd_cycle == k));
	v_rm(va);
	v_rm(vb);
	CU_ASSERT_TRUE(V_WAIT(30000, v_pages(0) == 0));
	CU_ASSERT_EQUAL(cycle_now(), k);
	part_at(1)->rd_safe = 0;
	all_gone("removed at home");
	v_down();
}

/* Containers of partition 0 that are shared, and nobody refers to them. */
static bool shared_left(void)
{
	VMS_VEC_FOREACH (&part_at(0)->ctrs, c)
		if (c->shared && c->state != 3)
			return true;
	return false;
}

/* References to another partition have gone, and the only one that has counted them is
 * restarted before a round comes: one is asked for all the same. Where everything rests it is
 * the only one. */
static void test_forgotten(void)
{
	uint64_t k;

	pair_up(35, 1);
	pair_refer(0, PAIR);
	seal(0);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 40000); /* rounds have nothing more to do */
	k = cycle_now();
	rig_run(&R, 60000);
	CU_ASSERT_EQUAL(cycle_now(), k);
	CU_ASSERT_TRUE(shared_left());
	for (unsigned i = 0; i < 3; i++) { /* nothing has gone */
		k = cycle_now();
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		rig_run(&R, 60000);
		CU_ASSERT(cycle_now() <= k + 1);
		k = cycle_now();
		rig_run(&R, 120000);
		CU_ASSERT_EQUAL(cycle_now(), k);
	}
	v_check_all("restarted");
	k = cycle_now();
	rig_cut(&R, 0, 2, true); /* no round begins */
	rig_cut(&R, 2, 0, true);
	CU_ASSERT_TRUE(V_WAIT(20000, !node_primary_conn(R.node[0].n, 2)));
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(10000, part_at(1)->rd_gone >= PAIR));
	rig_run(&R, 6000);
	rig_node_crash(&R, 1, true);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(part_at(1)->rd_gone, 0); /* its index has had it */
	CU_ASSERT_EQUAL(cycle_now(), k);
	CU_ASSERT_TRUE(shared_left());
	rig_cut(&R, 0, 2, false);
	rig_cut(&R, 2, 0, false);
	if (!V_WAIT(60000, !shared_left()))
		v_fail("garbage that a former process knew of stays");
	v_check_all("forgotten");
	v_rm(va);
	v_rm(vb);
	all_gone("forgotten");
	v_down();
}

/* References go between a partition's walk and one more in the same round, which a new epoch
 * made necessary: the marks of the first name them, so the round frees nothing. The next one
 * does. */
static void test_walked_twice(void)
{
	uint64_t k, e;

	pair_up(36, 2);
	pair_refer(0, PAIR);
	seal(0);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 40000);
	k = cycle_raise();
	e = part_at(1)->conf.epoch;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(2)->rd_cycle == k));
	part_at(2)->rd_safe = UINT64_MAX; /* holds the round */
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_sent && part_at(1)->rd_cycle == k));
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	CU_ASSERT_TRUE_FATAL(V_WAIT(10000, part_at(1)->rd_gone >= PAIR));
	rig_run(&R, 6000);
	CU_ASSERT_EQUAL(cycle_now(), k);
	rig_node_crash(&R, 2, true); /* a member of partitions 1 and 2 */
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k && part_at(1)->rd_epoch > e));
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	if (!V_WAIT(60000, !shared_left()))
		v_fail("garbage that was marked before it went stays");
	v_check_all("walked twice");
	v_rm(va);
	v_rm(vb);
	all_gone("walked twice");
	v_down();
}

/* What was removed just before, and could come back by a replay, is waited for. */
static void test_unsafe(void)
{
	uint64_t k;
	vms_addr a;

	pair_up(28, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 20000); /* rounds have nothing more to do, the index is durable */
	for (unsigned c = 0; c < PAIR; c++)
		v_write(vb, eb, c, 5000 + c);
	vms_wal_gen_seal(R.node[1].n->wal);
	CU_ASSERT_TRUE_FATAL(
		STEP_UNTIL(vms_addr_partition(entry(vb, eb, PAIR - 1, NULL), R.part_bits) == 1));
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	CU_ASSERT_EQUAL(part_at(1)->rd_safe, part_at(1)->drain_applied);
	part_at(1)->rd_safe = UINT64_MAX; /* as if a member's checkpoint took long */
	rig_run(&R, 4000);
	CU_ASSERT_TRUE(ctr_of(a) && !ctr_of(a)->sweeping && ctr_of(a)->state == 2);
	part_at(1)->rd_safe = 0;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	v_check_all("unsafe");
	v_rm(va);
	v_rm(vb);
	all_gone("unsafe");
	v_down();
}

/* A shared container that takes chunks while the round is on. */
static void test_open(void)
{
	uint64_t stamp = 0, k;
	vms_addr a, b;

	pair_up(29, 1);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	CU_ASSERT_EQUAL(ctr_of(a)->state, 1);
	part_at(0)->gc_at_ms = UINT64_MAX; /* it is not sealed for being empty */
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 6000);
	CU_ASSERT_EQUAL_FATAL(ctr_of(a)->state, 1);
	rig_node_crash(&R, 2, true); /* holds the round */
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->rd_cycle == k));
	v_write(va, ea, 7, 4712);
	v_drain();
	b = entry(va, ea, 7, NULL);
	CU_ASSERT_EQUAL_FATAL(vms_addr_container(a), vms_addr_container(b));
	seal(0);
	rig_run(&R, 1000);
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 20000);
	v_check_all("open");
	v_rm(va);
	v_rm(vb);
	all_gone("open");
	v_down();
}

/* Chunks of a sealed container that both volumes referred to, and neither does any more. */
static vms_addr pair_let_go(uint64_t seed)
{
	vms_addr a;

	pair_up(seed, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	rig_run(&R, 300);
	return a;
}

/* An epoch change after the marks: they are made again before anything is freed. */
static void test_epoch(void)
{
	uint64_t k, e;
	vms_addr a;

	a = pair_let_go(30);
	k = cycle_raise();
	e = part_at(1)->conf.epoch;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(2)->rd_cycle == k));
	part_at(2)->rd_safe = UINT64_MAX; /* holds the round */
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_sent && part_at(1)->rd_cycle == k));
	rig_node_crash(&R, 2, true); /* a member of partitions 1 and 2 */
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k && part_at(1)->rd_epoch > e &&
					!part_at(1)->rd_sent));
	part_at(1)->rd_safe = UINT64_MAX;
	rig_run(&R, 6000);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(ctr_of(a) && !ctr_of(a)->sweeping && ctr_of(a)->state == 2);
	part_at(1)->rd_safe = 0;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	v_check_all("epoch");
	v_rm(va);
	v_rm(vb);
	all_gone("epoch");
	v_down();
}

/* Only the volume in partition 1, which node 2 leads, refers to what lies in partition 0. */
static void pair_moves(uint64_t seed, vms_addr *a)
{
	pair_up(seed, 2);
	pair_refer(0, PAIR);
	seal(0);
	*a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	v_set_put(1, (const int[]){2, 1, -1});
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	rig_run(&R, 6000); /* containers may be swept, too */
}

/* Partition 0 has moved from node 0 to node 1, and a round begins; the node that refers to it
 * hears of the second before the first (simulator seed 51297). */
static void test_view(void)
{
	struct vms_node *n;
	uint64_t rev;
	vms_addr a;

	pair_moves(38, &a);
	n = R.node[2].n;
	R.node[2].cat_mute = "part/";
	rev = n->part_rev;
	n->part_rev = UINT64_MAX; /* nor do ticks tell it in time */
	v_set_put(0, (const int[]){1, 0, -1});
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0) && round_may_walk(part_at(0))));
	cycle_raise();
	rig_run(&R, 6000);
	v_check_all("view");
	n->part_rev = rev;
	rig_cat_told(&R, 2);
	rig_run(&R, 1000);
	v_check_all("view, told");
	v_rm(va);
	v_rm(vb);
	all_gone("view");
	v_down();
}

/* The round has begun, and the partition moves; its new primary hears of the round after it has
 * taken over. */
static void test_late(void)
{
	uint64_t k;
	vms_addr a;

	pair_moves(39, &a);
	R.node[1].cat_mute = "gc";
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	rig_run(&R, 300);
	v_set_put(0, (const int[]){1, 0, -1});
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	rig_run(&R, 300);
	rig_cat_told(&R, 1);
	rig_run(&R, 6000);
	v_check_all("late");
	v_rm(va);
	v_rm(vb);
	all_gone("late");
	v_down();
}

/* A node goes for good in the middle of a round: the round does not wait for it (simulator
 * seeds 894 and 1264). */
static void test_gone_node(void)
{
	vms_addr a;
	uint64_t k;

	a = pair_let_go(34);
	CU_ASSERT_TRUE_FATAL(ctr_of(a) != NULL);
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->gc_cycle == k));
	rig_node_crash(&R, 2, false);
	v_set_put(1, (const int[]){1, -1});
	v_set_put(2, (const int[]){0, -1});
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	v_check_all("a node is gone");
	v_rm(va);
	v_rm(vb);
	CU_ASSERT_TRUE(V_WAIT(60000, v_keys("branch/") == 0 && !part_at(0)->ctrs.n &&
					     !part_at(1)->ctrs.n));
	v_down();
}

/* The lowest node raises the cycles; without it the next one does. */
static void test_coordinator(void)
{
	uint64_t k;

	pair_up(31, 1);
	/* partition 0 lies on node 1, which stays away: nothing can begin */
	pair_refer(0, PAIR);
	seal(0);
	rig_run(&R, 3000);
	k = cycle_now();
	rig_node_crash(&R, 0, true);
	rig_run(&R, 20000);
	CU_ASSERT_EQUAL(cycle_now(), k);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_rm(va);
	v_rm(vb);
	for (int i = 0; i < 12; i++) { /* the coordinator again and again, at any step */
		rig_run(&R, 100 + vms_rng_below(&R.rng, 1500));
		rig_node_crash(&R, 0, i & 1);
		rig_run(&R, vms_rng_below(&R.rng, 300));
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	all_gone("coordinator");
	v_down();
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_RD_PARTIAL, test_silent));
	CU_ASSERT_TRUE(v_catches(MUT_RD_EPOCH_P, test_epoch));
	CU_ASSERT_TRUE(v_catches(MUT_RD_EPOCH_Q, test_stamps_lost));
	CU_ASSERT_TRUE(v_catches(MUT_RD_REMOVED, test_removed));
	CU_ASSERT_TRUE(v_catches(MUT_RD_UNSAFE, test_unsafe));
	CU_ASSERT_TRUE(v_catches(MUT_RD_OPEN, test_open));
	CU_ASSERT_TRUE(v_catches(MUT_RD_OWN_GONE, test_removed_own));
	CU_ASSERT_TRUE(v_catches(MUT_RD_GONE_NODE, test_gone_node));
	CU_ASSERT_TRUE(v_catches(MUT_RD_UNASKED, test_forgotten));
	CU_ASSERT_TRUE(v_catches(MUT_RD_TWICE, test_walked_twice));
	CU_ASSERT_TRUE(v_catches(MUT_RD_VIEW, test_view));
	CU_ASSERT_TRUE(v_catches(MUT_RD_LATE, test_late));
	CU_ASSERT_FALSE(v_catches(MUT_NONE, test_silent));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_silent),	    VMS_TEST(test_stamps_lost), VMS_TEST(test_removed),
	VMS_TEST(test_removed_own), VMS_TEST(test_forgotten),	VMS_TEST(test_walked_twice),
	VMS_TEST(test_unsafe),	    VMS_TEST(test_open),	VMS_TEST(test_epoch),
	VMS_TEST(test_view),	    VMS_TEST(test_late),	VMS_TEST(test_gone_node),
	VMS_TEST(test_coordinator), VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("gc_round", tests)
