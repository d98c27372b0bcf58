// SPDX-License-Identifier: GPL-2.0-only
/*
 * One question to the primary of every partition (gw_ask.c): who has to answer, who need not, and
 * when it is over. Two partitions, led by nodes 1 and 2.
 */
#include "target/gw_int.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"

static struct gw_ask ask;
static unsigned replies, ends;
static int end_status;
static bool inside;

static void reply(void *arg, const struct vms_msg *m)
{
	CU_ASSERT_PTR_EQUAL(arg, &ask);
	CU_ASSERT_EQUAL(m->status, 0);
	replies++;
}

static void done(void *arg, int status)
{
	CU_ASSERT_PTR_EQUAL(arg, &ask);
	CU_ASSERT_FALSE(inside); /* the asker has not returned yet */
	CU_ASSERT_PTR_NULL(ask.gw);
	ends++;
	end_status = status;
}

static void up(uint32_t mutant, bool answers_count)
{
	f_second = 2;
	f_start(mutant, VMS_ACK_DISK);
	f_run(500);
	CU_ASSERT_EQUAL_FATAL(f.primary, 1);
	memset(&ask, 0, sizeof(ask));
	ask.done = done;
	ask.reply = answers_count ? reply : NULL;
	ask.arg = &ask;
	replies = ends = f.n_floor = f.n_floor_gw = 0;
}

static void start(uint64_t revision, uint32_t wait_ms)
{
	struct vms_msg m = {
		.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .sender = 9, .incarnation = 1};

	inside = true;
	gw_ask_start(&ask, f.gw, &m, revision, wait_ms);
	inside = false;
	f_pump();
}

static void over(void)
{
	gw_ask_stop(&ask);
	f_stop();
	f_second = 0;
}

/* The second partition is led by that node from now on. */
static void second_is(uint32_t node)
{
	struct vms_part_conf pc = {
		.epoch = 2, .primary = node, .nmembers = 1, .member = {{node, 1}}};
	char key[VMS_CAT_KEY_BYTES_MAX];

	f_second = node;
	vms_cat_key_part(key, 1);
	f_put_free(key, vms_cat_part_encode(&pc));
}

static void all_primaries_are_asked_once(void)
{
	up(0, true);
	start(0, 5000);
	f_run(100);
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(end_status, 0);
	CU_ASSERT_EQUAL(replies, 2);
	CU_ASSERT_EQUAL(f.n_floor_gw, 2);
	f_run(1000);
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(f.n_floor_gw, 2);
	over();
}

/* AGAIN is asked again; and it ends when its time is over. */
static void who_says_again_is_asked_again(void)
{
	up(0, false);
	f.floor_again = true;
	start(0, 5000);
	f_run(1000);
	CU_ASSERT_EQUAL(ends, 0);
	CU_ASSERT_TRUE(f.n_floor_gw > 4);
	f.floor_again = false;
	f_run(200);
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(end_status, 0);
	over();

	up(0, false);
	f.floor_again = true;
	start(0, 1000);
	f_run(900);
	CU_ASSERT_EQUAL(ends, 0);
	f_run(300);
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(end_status, VMS_E_TIMEOUT);
	CU_ASSERT_PTR_NULL(ask.gw);
	over();
}

/* Node 2 is away. Somebody else takes over: who reads the catalog before it serves knows without
 * being asked, unless answers are what is asked for. */
static void who_takes_over(bool answers_count, uint32_t mutant, unsigned asked, bool ended)
{
	up(mutant, answers_count);
	f.reachable[2] = false;
	f_lose(2);
	f_run(100);
	start(0, 20000);
	f_run(1000);
	CU_ASSERT_EQUAL(ends, 0);
	CU_ASSERT_EQUAL(f.n_floor_gw, 1);
	second_is(1);
	f_run(1000);
	CU_ASSERT_EQUAL(ends, ended);
	CU_ASSERT_EQUAL(f.n_floor_gw, asked);
	over();
}
static void who_takes_over_knows(void)
{
	who_takes_over(false, 0, 1, true);
	who_takes_over(true, 0, 1, true); /* node 1 has answered */
	who_takes_over(false, VMS_GWM_ASK_ALL, 1, false);
}

/* A part/ that is older than the change names nobody. */
static void an_old_answer_does_not_count(void)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		up(bad ? VMS_GWM_ASK_OLD : 0, false);
		start(f.rev + 1, 5000);
		f_run(1000);
		CU_ASSERT_EQUAL(ends, bad);
		CU_ASSERT_EQUAL(f.n_floor_gw, bad ? 2 : 0);
		f_put("unrelated", "{}");
		f_run(200);
		CU_ASSERT_EQUAL(ends, 1);
		CU_ASSERT_EQUAL(end_status, 0);
		CU_ASSERT_EQUAL(f.n_floor_gw, 2);
		over();
	}
}

/* The catalog is away: asked again, and nobody has to answer while nobody is known. */
static void the_catalog_is_away(void)
{
	up(0, false);
	f.cat_down = true;
	start(0, 5000);
	f_run(1000);
	CU_ASSERT_EQUAL(ends, 0);
	CU_ASSERT_EQUAL(f.n_floor_gw, 0);
	f_cat_up();
	f_run(200);
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(end_status, 0);
	over();
}

/* Stopped in the middle: nothing of it comes back, and it can be started again. */
static void a_stopped_one_hears_nothing(void)
{
	up(0, true);
	f.floor_again = true;
	start(0, 5000);
	f_run(100);
	gw_ask_stop(&ask);
	gw_ask_stop(&ask);
	f.floor_again = false;
	f_run(6000);
	CU_ASSERT_EQUAL(ends + replies, 0);
	start(0, 5000);
	f_run(100);
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(replies, 2);
	over();
}

static const struct vms_test tests[] = {
	VMS_TEST(all_primaries_are_asked_once), VMS_TEST(who_says_again_is_asked_again),
	VMS_TEST(who_takes_over_knows),		VMS_TEST(an_old_answer_does_not_count),
	VMS_TEST(the_catalog_is_away),		VMS_TEST(a_stopped_one_hears_nothing),
};
VMS_TEST_MAIN("gateway: questions to all primaries", tests)
