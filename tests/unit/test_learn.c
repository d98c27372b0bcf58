// SPDX-License-Identifier: GPL-2.0-only
/*
 * A node gets its copy of a partition: whole, by the log alone, through crashes at each step;
 * containers with dead places, collection meanwhile.
 */
#include "backend/learn.h"
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "tests/unit/learn_rig.h"
#include "utils/lib/bytes.h"

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

/* The learner (stale: it has an old copy), or the primary, crashes when the copy has
 * come to that step. */
static void crash_at(enum learn_phase ph, bool second, bool stale, bool primary, uint64_t seed)
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
	while (!(second ? at_pass2(node, ph) : at_phase(node, ph)) && turn++ < 60000)
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

static bool crash_each_way(enum learn_phase ph, bool second)
{
	for (unsigned k = 0; k < 4; k++) {
		unsigned bad = CU_get_number_of_failures();

		crash_at(ph, second, k & 1, k & 2, 300 + ph * 4 + k);
		if (CU_get_number_of_failures() > bad) {
			fprintf(stderr, "in phase %s, %s copy, the %s crashed\n",
				learn_phase_name(ph), k & 1 ? "stale" : "no",
				k & 2 ? "primary" : "learner");
			return false;
		}
	}
	return true;
}

static void test_crash_steps(void)
{
	for (unsigned ph = LP_BEGIN; ph <= LP_READY; ph++)
		if (!crash_each_way(ph, false))
			return;
}

/* Containers come in two passes: at_phase() is content with the first. */
static void test_crash_second_pass(void)
{
	for (unsigned ph = LP_BEGIN; ph <= LP_VERIFY; ph++)
		if ((ph <= LP_MARK || ph >= LP_LIST) && !crash_each_way(ph, true))
			return;
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

/* Collection does not take from the copy what it still needs; and what is told as sent for the
 * copy is what has come. */
static void test_collection(void)
{
	uint64_t sent = 0;

	some_data(83);
	for (unsigned t = 0; t < 6; t++) {
		for (unsigned c = 0; c < V_CHS; c += 3)
			v_write(&V[0], t % 3, c, next_id++);
		v_drain();
	}
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->cluster.move_bytes_s = 512 << 10;
	learn_on(2, 0);
	while (!at_phase(2, LP_FETCH))
		rig_step(&R);
	/* at the limit also when a collector that does not wait moves much */
	feed_get(part_on(0, 0), 3)->pre_bytes = 0;
	/* much is dead by now, and collected from here on */
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 110;
	rig_run(&R, 3000);
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_COPY);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(0)->st.feeds, 1);
	for (unsigned i = 0; i < 3; i++)
		sent += R.node[i].n->st.moved_bytes;
	CU_ASSERT_TRUE(sent > 0 && sent <= node(2)->st.learnt_bytes);
	finish(2);
}

static void test_mutants(void)
{
	static const struct learn_mutant m[] = {
		{MUT_LN_MARK, test_crash_steps},   {MUT_LN_DEAD, test_dead_places},
		{MUT_LN_SHARED, test_dead_places}, {MUT_LN_HOLD, test_empty},
		{MUT_LN_PAGES, test_crash_steps},  {MUT_LN_EXTRA, test_crash_steps},
		{MUT_LN_SWEEP, test_collection},   {MUT_LN_GAP, test_long},
	};

	each_is_caught(m, sizeof(m) / sizeof(*m));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_empty),
	VMS_TEST(test_short),
	VMS_TEST(test_long),
	VMS_TEST(test_crash_steps),
	VMS_TEST(test_crash_second_pass),
	VMS_TEST(test_ready_swept),
	VMS_TEST(test_almost_ready),
	VMS_TEST(test_dead_places),
	VMS_TEST(test_collection),
	VMS_TEST(test_mutants),
};
VMS_TEST_MAIN("learn", tests)
