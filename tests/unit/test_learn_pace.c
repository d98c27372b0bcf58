// SPDX-License-Identifier: GPL-2.0-only
/*
 * How fast copies are made: the limit, and that it never costs clients anything.
 */
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "include/types.h"
#include "tests/unit/learn_rig.h"

/* The longest that any write of these tests may take. Of those the log holds up at its usual
 * fill level none takes a tenth of it. */
#define ANSWERED_MS 1000u

/* Two partitions, so that the learner is a member of the other one. Each third write goes to
 * the one that is copied. */
static void data(uint64_t seed)
{
	up(1, seed);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 100000;
	v_create(0);
	for (uint32_t e = 0; e < V_EXTS; e++)
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	rig_run(&R, 6000);
	CU_ASSERT_PTR_NOT_NULL(part_on(2, 1));
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
}

static void limit(uint64_t bytes_s)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->cluster.move_bytes_s = bytes_s;
}

/* One chunk; how long it took, in ms. */
static uint64_t write_one(unsigned i)
{
	uint64_t at = R.now_us;

	v_write(&V[0], i % V_EXTS, i / V_EXTS % V_CHS, next_id++);
	at = (R.now_us - at) / 1000;
	rig_run(&R, 1);
	return at;
}

/* The same, to that partition. */
static uint64_t write_to(uint32_t part, unsigned i)
{
	while (v_part(&V[0], i % V_EXTS) != part)
		i++;
	return write_one(i);
}

/* A request more than what it allows may go out at once, a quarter of a second's worth before. */
static uint64_t allowed(uint64_t bytes_s, uint64_t ms)
{
	return bytes_s * ms / 1000 + bytes_s / 4 + 66 * V_CHUNK;
}

static void test_limit(void)
{
	const uint64_t rate = 256 << 10;
	uint64_t at;

	data(201);
	limit(rate);
	rig_run(&R, 2000);
	at = R.now_us;
	learn_on(2, 0);
	for (unsigned t = 0; t < 200 && state_on(2, 0) != LEARN_READY; t++) {
		rig_run(&R, 50);
		CU_ASSERT(node(0)->st.moved_bytes <= allowed(rate, (R.now_us - at) / 1000));
	}
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	CU_ASSERT(node(0)->st.moved_bytes > 1 << 20);
	CU_ASSERT_EQUAL(node(0)->st.moved_urgent_bytes, 0);
	CU_ASSERT_EQUAL(node(0)->st.feeds, 1);
	finish(2);
}

/* Clients go first: while any of them waits the limit falls to an eighth. */
static void test_yields(void)
{
	const uint64_t rate = 320 << 10;
	uint64_t first;

	data(202);
	limit(rate);
	learn_on(2, 0);
	node(0)->nreads++; /* one read that takes all that time */
	rig_run(&R, 1000);
	first = node(0)->st.moved_bytes;
	rig_run(&R, 16000);
	node(0)->nreads--;
	CU_ASSERT(node(0)->st.moved_bytes > first);
	CU_ASSERT(node(0)->st.moved_bytes - first <= allowed(rate / 8, 16000));
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_COPY);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(0)->st.moved_urgent_bytes, 0);
	finish(2);
}

/* Below min_copies writes wait for the copy itself: neither the limit nor they hold it up. */
static void test_below_min_copies(void)
{
	data(207);
	limit(64 << 10);
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->cluster.min_copies = 3;
	node(0)->nwait++; /* they wait all the time */
	learn_on(2, 0);
	CU_ASSERT_TRUE(learn_wait(2, 0, 5000));
	node(0)->nwait--;
	CU_ASSERT(node(0)->st.moved_urgent_bytes > 1 << 20);
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->cluster.min_copies = 1;
	finish(2);
}

/* Until the second pass begins: writes go on meanwhile, and wait for nothing. */
static unsigned to_second_pass(uint64_t *most)
{
	unsigned i;

	for (i = 0; i < 20000 && !at_pass2(2, LP_LOG) && *most <= ANSWERED_MS && v_bad < 5; i++) {
		uint64_t ms = write_one(i);

		*most = ms > *most ? ms : *most;
		rig_run(&R, 20);
	}
	CU_ASSERT_TRUE(at_pass2(2, LP_LOG));
	return i;
}

/* However low the limit is when records wait for the base: writes go on, and it is made. */
static void test_constant_writes(void)
{
	uint64_t ms, most = 0;

	data(203);
	limit(1 << 20);
	learn_on(2, 0);
	for (unsigned i = to_second_pass(&most); state_on(2, 0) != LEARN_READY; i++) {
		if (i > 30000 || most > ANSWERED_MS || v_bad)
			break;
		limit(1 << 10);
		ms = write_one(i);
		most = ms > most ? ms : most;
		learn_on(2, 0);
	}
	CU_ASSERT(most <= ANSWERED_MS);
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	CU_ASSERT(node(0)->st.moved_urgent_bytes > 0);
	finish(2);
}

/* While the base comes no record waits for it: with a limit at which the log goes round many
 * times nothing of it is urgent, and what came in the first pass does not come again. */
static void test_two_passes(void)
{
	uint64_t most = 0, base = 0;

	data(205);
	VMS_VEC_FOREACH (&part_on(0, 0)->ctrs, c)
		base += (uint64_t)c->chunks * V_CHUNK;
	CU_ASSERT(base > 1 << 20);
	limit(384 << 10);
	learn_on(2, 0);
	for (unsigned i = 0; i < 20000 && state_on(2, 0) != LEARN_READY && v_bad < 5; i++) {
		uint64_t ms = write_to(i % 20 > 0, i);

		most = ms > most ? ms : most;
		rig_run(&R, 3);
	}
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	CU_ASSERT(most <= ANSWERED_MS);
	CU_ASSERT_EQUAL(node(0)->st.feeds, 1);
	CU_ASSERT_EQUAL(node(0)->st.moved_urgent_bytes, 0);
	CU_ASSERT(node(0)->st.moved_bytes < base * 2);
	CU_ASSERT(node(2)->st.kept_bytes < base / 4);
	finish(2);
}

/* Clients write faster than the limit is: the copy ends all the same, and not with a second
 * pass that is many times what there is. */
static void test_outrun(void)
{
	uint64_t most = 0;

	data(206);
	limit(16 << 10);
	learn_on(2, 0);
	for (unsigned i = 0; i < 3000 && state_on(2, 0) != LEARN_READY && v_bad < 5; i++) {
		uint64_t ms = write_to(0, i);

		most = ms > most ? ms : most;
		rig_run(&R, 5);
	}
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	CU_ASSERT(most <= ANSWERED_MS);
	CU_ASSERT_EQUAL(node(0)->st.feeds, 1);
	finish(2);
}

/* A copy that does not get on, here because the learner's disk is too full, gives the log
 * back. */
static void test_gives_way(void)
{
	uint64_t ms, most = 0;

	data(204);
	limit(256 << 10);
	learn_on(2, 0);
	for (unsigned i = to_second_pass(&most); i < 6000 && most <= ANSWERED_MS && !v_bad; i++) {
		struct vms_node *n = node(2);

		n->space_ms = n->now_ms + 60000;
		n->space_free = n->space_total / 12;
		ms = write_one(i);
		most = ms > most ? ms : most;
		learn_on(2, 0);
	}
	CU_ASSERT(most <= ANSWERED_MS);
	CU_ASSERT(node(0)->st.feeds > 1);
	/* no writes would yield to that: clients are not what holds it up */
	CU_ASSERT_EQUAL(part_on(2, 0)->outrun, 0);
	part_on(2, 0)->outrun = YIELD_STEPS;
	for (unsigned i = 0;
	     i < 20000 && !(part_on(2, 0)->learn && part_on(2, 0)->learn->paused_ms); i++) {
		struct vms_node *n = node(2);

		n->space_ms = n->now_ms + 60000;
		n->space_free = n->space_total / 12;
		learn_on(2, 0);
		rig_run(&R, 1);
	}
	CU_ASSERT_TRUE(part_on(2, 0)->learn && part_on(2, 0)->learn->paused_ms);
	rig_run(&R, 100);
	CU_ASSERT_EQUAL(node(2)->yield.steps, 0);
	node(2)->space_ms = 0;
	finish(2);
}

/* The learner's disk takes so long for what the second pass fetches. */
#define SLOW_MS 8000u

static void slow_learner(uint64_t *id, uint64_t *until_ms)
{
	struct learn *l = part_on(2, 0)->learn;

	if (!l || !at_pass2(2, LP_HEADS) || l->phase > LP_FETCH)
		return;
	if (l->id != *id) {
		*id = l->id;
		*until_ms = node(2)->now_ms + SLOW_MS;
	}
	if (node(2)->now_ms < *until_ms)
		l->wait_ms = *until_ms;
}

/* The step that a node tells, and for how long; at once. */
static unsigned said_step(unsigned nd, uint64_t *seconds)
{
	json_t *o = vms_node_json(node(nd), "status"), *y = json_object_get(o, "yield");
	unsigned step = (unsigned)json_integer_value(json_object_get(y, "step"));

	CU_ASSERT_EQUAL(json_integer_value(json_object_get(y, "steps")), YIELD_STEPS);
	*seconds = (uint64_t)json_integer_value(json_object_get(y, "seconds"));
	json_decref(o);
	return step;
}

/* Without any limit clients fill the learner's log before the base is there: attempt for
 * attempt they write less to it, also to the partition that the learner is a member of, and
 * none of them waits long. */
static void test_outrun_at_full_speed(void)
{
	uint64_t most = 0, id = 0, until = 0, s, before, from = 0;
	unsigned step = 0;

	data(208);
	limit(0);
	learn_on(2, 0);
	CU_ASSERT_EQUAL(said_step(2, &s), 0);
	for (unsigned i = 0; i < 30000 && state_on(2, 0) != LEARN_READY && v_bad < 5; i++) {
		uint64_t ms = write_one(i);

		most = ms > most ? ms : most;
		if (most > ANSWERED_MS)
			break;
		slow_learner(&id, &until);
		learn_on(2, 0);
		/* said from then on, also in the pauses between attempts */
		before = step;
		step = said_step(2, &s);
		CU_ASSERT(step >= before && step >= node(2)->yield.steps);
		if (!from && step)
			from = R.now_us;
		CU_ASSERT(from ? s + 1 - (R.now_us - from) / 1000000 <= 2 : !s);
	}
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	CU_ASSERT(most <= ANSWERED_MS);
	CU_ASSERT(node(0)->st.feeds > 1);
	CU_ASSERT(part_on(2, 0)->outrun > 0);
	CU_ASSERT_EQUAL(step, part_on(2, 0)->outrun);
	CU_ASSERT_EQUAL(said_step(0, &s), 0); /* that node's log alone */
	rig_run(&R, 500);
	CU_ASSERT_EQUAL(node(0)->yield.steps, 0);
	CU_ASSERT_EQUAL(node_peer(node(0), 3, false)->yield.steps, 0);
	rig_run(&R, 61000);
	CU_ASSERT_EQUAL(said_step(2, &s), 0);
	CU_ASSERT_EQUAL(s, 0);
	finish(2);
}

/* However far they yield: none waits longer than it may, and each is answered as ever. */
static void test_yields_no_longer(void)
{
	uint64_t most = 0, id = 0, until = 0, before;
	unsigned i;

	data(209);
	limit(0);
	learn_on(2, 0);
	for (i = 0; i < 5000 && !part_on(2, 0); i++)
		rig_step(&R);
	CU_ASSERT_PTR_NOT_NULL_FATAL(part_on(2, 0));
	part_on(2, 0)->outrun = YIELD_STEPS;
	for (i = 0; i < 100000 && !id; i++) {
		rig_step(&R);
		slow_learner(&id, &until);
	}
	CU_ASSERT_NOT_EQUAL(id, 0);
	rig_run(&R, 500); /* all have been told */
	CU_ASSERT_EQUAL(node_peer(node(0), 3, false)->yield.steps, YIELD_STEPS);
	before = R.now_us;
	for (i = 0; i < 12 && most <= ANSWERED_MS && v_bad < 5; i++) {
		uint64_t ms = write_to(0, i);

		most = ms > most ? ms : most;
		slow_learner(&id, &until);
	}
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_COPY);
	CU_ASSERT((R.now_us - before) / 1000 > 3000);
	CU_ASSERT(most <= ANSWERED_MS);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(0)->st.feeds, 1);
	finish(2);
}

static void test_mutants(void)
{
	static const struct learn_mutant m[] = {
		{MUT_MV_ANY, test_limit},
		{MUT_MV_HOLDS, test_constant_writes},
		{MUT_MV_RUDE, test_yields},
		{MUT_MV_STAYS, test_gives_way},
		{MUT_LN_ONE_PASS, test_two_passes},
		{MUT_LN_FORGETS, test_two_passes},
		{MUT_LN_OUTRUN, test_outrun},
		{MUT_MV_BELOW, test_below_min_copies},
		{MUT_MV_PUSHY, test_outrun_at_full_speed},
		{MUT_MV_SAYS_ON, test_outrun_at_full_speed},
		{MUT_MV_HELD, test_yields_no_longer},
	};

	each_is_caught(m, sizeof(m) / sizeof(*m));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_limit),
	VMS_TEST(test_yields),
	VMS_TEST(test_constant_writes),
	VMS_TEST(test_two_passes),
	VMS_TEST(test_gives_way),
	VMS_TEST(test_outrun),
	VMS_TEST(test_mutants),
	VMS_TEST(test_below_min_copies),
	VMS_TEST(test_outrun_at_full_speed),
	VMS_TEST(test_yields_no_longer),
};
VMS_TEST_MAIN("learn: pace", tests)
