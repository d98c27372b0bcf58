// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failover: a primary or another member that is killed, paused, cut off or started again, also
 * two at once, also all; pages and ticks afterwards.
 */
#include "backend/lease.h"
#include "include/types.h"
#include "tests/unit/fo_rig.h"

static void test_primary_killed(void)
{
	for (unsigned copies = 2; copies <= 3; copies++) {
		struct vms_part_conf c;
		uint64_t from;

		up(3, copies, 10 + copies, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		rig_node_crash(&R, 0, false);
		from = R.now_us;
		CU_ASSERT_EQUAL(put(1, E0, 2, 8000), 0);
		CU_ASSERT(R.now_us - from < 3500000);
		CU_ASSERT(R.now_us - from > 1500000); /* the lease had to run out */
		c = rig_conf(&R, 0, NULL);
		CU_ASSERT(c.primary == 2 && c.nmembers == copies - 1 && c.member[0].node == 2);
		CU_ASSERT(c.nwant == copies && c.want[0] == 1);
		CU_ASSERT_TRUE(shows(E0, 2));
		CU_ASSERT(R.node[1].n->st.takeovers > 0);
		/* it comes back: not in the set, it serves nothing, until it has caught up */
		rig_node_start(&R, 0);
		for (int i = 0; i < 400 && !R.gw[0].up[0]; i++) {
			rig_gw_connect(&R, 0, 0);
			rig_run(&R, 2);
		}
		CU_ASSERT_FALSE(in_set(0, 0));
		{
			uint8_t x[CHUNK];

			CU_ASSERT_EQUAL(read_from(0, 0, E0, x, 1000), VMS_E_NOT_PRIMARY);
			CU_ASSERT(part_at(0, 0)->out && !part_at(0, 0)->primary);
		}
		CU_ASSERT_TRUE(shows(E0, 2));
		/* then it is a member, and leads again, as wanted */
		for (int i = 0; i < 200 && rig_primary(&R, 0) != 0; i++)
			rig_run(&R, 100);
		CU_ASSERT_TRUE(rig_wait_active(&R, 5000));
		c = rig_conf(&R, 0, NULL);
		CU_ASSERT(c.primary == 1 && c.nmembers == copies && c.handover == c.epoch);
		CU_ASSERT(R.node[1].n->st.promotions > 0 && R.node[1].n->st.handovers > 0);
		CU_ASSERT_TRUE(shows(E0, 2));
		CU_ASSERT_EQUAL(put(1, E0, 3, 5000), 0);
		CU_ASSERT_TRUE(shows(E0, 3));
		down();
	}
}

static void test_backup_killed(void)
{
	uint64_t from;

	up(3, 2, 20, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, true);
	from = R.now_us;
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	/* the connection was gone for half a lease */
	CU_ASSERT(R.now_us - from < 1700000 && R.now_us - from > 900000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT(R.node[0].n->st.drops > 0);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* It answers nothing, but its connections stay. */
static void test_backup_paused(void)
{
	uint64_t from;

	up(3, 2, 21, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_pause(&R, 1, 30000);
	from = R.now_us;
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	CU_ASSERT(R.now_us - from < 2300000 && R.now_us - from > 1200000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* A primary that stood still and wakes: it neither reads nor commits, also before it
 * has heard of its successor. */
static void test_primary_paused(void)
{
	uint8_t x[CHUNK], old[CHUNK];
	struct rig_reply re, late;
	struct w w = {.slot = 3, .seed = 9};
	int st;

	up(3, 2, 22, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	fill(old, 1);
	/* no news from the catalog either */
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_node_pause(&R, 0, 8000);
	CU_ASSERT_EQUAL(put(1, E0, 2, 7000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
	/* these wait in its socket */
	w.extent = E0;
	write_to(0, 0, &w, &late);
	(void)re;
	while (R.node[0].paused_us > R.now_us)
		rig_run(&R, 1);
	for (int i = 0; i < 10; i++) {
		st = R.gw[0].up[0] ? read_from(0, 0, E0, x, 300) : VMS_E_DISCONNECTED;
		CU_ASSERT(st != 0 || !memcmp(x, old, 0));
		CU_ASSERT_NOT_EQUAL(st, 0);
		rig_run(&R, 100);
	}
	CU_ASSERT(!late.done || late.status != 0);
	R.gw[0].nwait = 0;
	rig_reply_free(&late);
	CU_ASSERT_TRUE(part_at(0, 0)->primary); /* it still thinks so */
	R.node[0].cat_mode = RIG_CAT_OK;
	rig_run(&R, 4000);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* Cut off from its backup in one direction only. */
static void test_one_way(void)
{
	for (int dir = 0; dir < 2; dir++) {
		uint64_t from;

		up(3, 2, 30 + (unsigned)dir, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		rig_cut(&R, dir ? 1 : 0, dir ? 0 : 1, true);
		from = R.now_us;
		CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
		CU_ASSERT(R.now_us - from < 3500000);
		rig_run(&R, 5000);
		/* exactly one of them is in the set, and it leads */
		CU_ASSERT(in_set(0, 0) != in_set(0, 1));
		CU_ASSERT_TRUE(shows(E0, 2));
		rig_cut(&R, dir ? 1 : 0, dir ? 0 : 1, false);
		rig_run(&R, 8000);
		CU_ASSERT_TRUE(shows(E0, 2));
		CU_ASSERT_EQUAL(put(1, E0, 3, 8000), 0);
		CU_ASSERT_TRUE(shows(E0, 3));
		down();
	}
}

/* The lead goes over with the primary cut off from the other members alone: gateways
 * reach both, and its pages and answers must not outlast what it was promised. */
static void test_primary_cut_off(void)
{
	uint8_t x[CHUNK], want[CHUNK];
	bool taken = false;

	up(3, 3, 35, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	for (unsigned i = 1; i < 3; i++) {
		rig_cut(&R, 0, i, true);
		rig_cut(&R, i, 0, true);
	}
	fill(want, 1);
	for (int i = 0; i < 100 && !taken; i++) {
		int st = read_from(0, 0, E0, x, 300);

		CU_ASSERT(st == 0 || st == VMS_E_AGAIN);
		rig_run(&R, 50);
		taken = rig_primary(&R, 0) != 0;
	}
	CU_ASSERT_TRUE(taken);
	CU_ASSERT_EQUAL(put(1, E0, 2, 5000), 0);
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(read_from(0, 0, E0, x, 300), VMS_E_AGAIN);
		rig_run(&R, 100);
	}
	/* what its ticks tell gateways: nothing of these peers runs */
	for (unsigned i = 0; i < R.node[0].n->npeers; i++)
		CU_ASSERT_EQUAL(lease_left_ms(R.node[0].n, R.node[0].n->peer[i]), 0);
	down();
}

static void test_double_fault(void)
{
	up(3, 3, 60, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	/* the first in line dies, too: the second takes over */
	rig_node_crash(&R, 0, false);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 10000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 2);
	CU_ASSERT(rig_conf(&R, 0, NULL).nmembers == 1);
	CU_ASSERT_TRUE(shows(E0, 2));
	/* one after the other */
	down();
	up(3, 3, 61, VMS_ACK_DISK);
	E0 = extent_in(0);
	rig_node_crash(&R, 0, false);
	CU_ASSERT_EQUAL(put(0, E0, 1, 10000), 0);
	rig_node_crash(&R, rig_primary(&R, 0), true);
	CU_ASSERT_EQUAL(put(0, E0, 2, 10000), 0);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* All nodes down, started in any order, some much later. */
static void test_cold_start(void)
{
	static const uint8_t order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	for (int k = 0; k < 6; k++) {
		uint64_t gap[] = {0, 300, 3000, 12000, 4000, 1500};
		unsigned changed = 0;

		up(3, 2, 70 + (unsigned)k, VMS_ACK_DISK);
		for (uint32_t p = 0; p < 4; p++)
			CU_ASSERT_EQUAL(put(0, extent_in(p), 100 + p, 5000), 0);
		for (unsigned i = 0; i < 3; i++)
			rig_node_crash(&R, i, true);
		rig_run(&R, 1000);
		for (unsigned i = 0; i < 3; i++) {
			rig_node_start(&R, order[k][i]);
			rig_run(&R, gap[(unsigned)k]);
			for (uint32_t p = 0; p < 4; p++)
				changed += rig_conf(&R, p, NULL).nmembers < 2;
		}
		CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
		for (uint32_t p = 0; p < 4; p++) {
			CU_ASSERT_TRUE(shows(extent_in(p), 100 + p));
			changed += rig_conf(&R, p, NULL).nmembers < 2;
		}
		/* those that come within 5 s are waited for */
		if (gap[k] * 2 < 4500)
			CU_ASSERT_EQUAL(changed, 0);
		down();
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(test_primary_killed), VMS_TEST(test_backup_killed), VMS_TEST(test_backup_paused),
	VMS_TEST(test_primary_paused), VMS_TEST(test_one_way),	     VMS_TEST(test_primary_cut_off),
	VMS_TEST(test_double_fault),   VMS_TEST(test_cold_start),
};
VMS_TEST_MAIN("failover", tests)
