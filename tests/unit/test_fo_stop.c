// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lead is handed over: to who is to have it, by a node that is stopped, by all of them, and
 * without a catalog.
 */
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/fo_rig.h"

static void test_hand_over(void)
{
	struct vms_part_conf c;
	uint64_t rev, from;
	char key[VMS_CAT_KEY_BYTES_MAX];

	up(3, 2, 90, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	/* both gateways hold the page */
	for (unsigned g = 0; g < 2; g++) {
		struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
				    .partition = 0,
				    .branch = BR,
				    .snap_gen = 1,
				    .extent = E0,
				    .aux = 1};
		struct rig_reply re;

		m.epoch = rig_conf(&R, 0, NULL).epoch;
		rig_send(&R, g, 0, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
		CU_ASSERT_EQUAL(re.status, 0);
		rig_reply_free(&re);
	}
	c = rig_conf(&R, 0, &rev);
	c.nwant = 2;
	c.want[0] = 2;
	c.want[1] = 1;
	vms_cat_key_part(key, 0);
	R.gw[1].mute_inval = true; /* it has to be waited for */
	R.gw[0].invals = 0;
	rig_put(&R, key, vms_cat_part_encode(&c));
	rig_run(&R, 700);
	CU_ASSERT_EQUAL(R.gw[0].invals, 1);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	R.gw[1].mute_inval = false;
	rig_run(&R, 30000);
	from = R.now_us;
	CU_ASSERT_EQUAL(put(0, E0, 2, 5000), 0);
	CU_ASSERT(R.now_us - from < 1000000);
	c = rig_conf(&R, 0, NULL);
	CU_ASSERT(c.primary == 2 && c.nmembers == 2 && c.handover == c.epoch &&
		  c.member[0].node == 2);
	CU_ASSERT(R.node[0].n->st.handovers == 1);
	CU_ASSERT_EQUAL(part_at(0, 0)->state, PS_BACKUP);
	CU_ASSERT_TRUE(shows(E0, 2));
	/* the new one fails: back again */
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 3, 8000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	CU_ASSERT_TRUE(shows(E0, 3));
	down();
}

/* A hand-over under load stalls nobody for long, and loses nothing. */
static void test_hand_over_load(void)
{
	struct vms_part_conf c;
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t worst = 0;

	up(3, 2, 91, VMS_ACK_DISK);
	E0 = extent_in(0);
	vms_cat_key_part(key, 0);
	for (unsigned k = 0; k < 120; k++) {
		uint64_t from = R.now_us;

		if (k % 40 == 20) {
			c = rig_conf(&R, 0, NULL);
			c.nwant = 2;
			c.want[0] = c.primary == 1 ? 2 : 1;
			c.want[1] = c.primary;
			rig_put(&R, key, vms_cat_part_encode(&c));
		}
		CU_ASSERT_EQUAL(put(k % 2, E0, 1000 + k, 5000), 0);
		if (R.now_us - from > worst)
			worst = R.now_us - from;
		rig_run(&R, 10);
	}
	CU_ASSERT_TRUE(shows(E0, 1119));
	CU_ASSERT(R.node[0].n->st.handovers + R.node[1].n->st.handovers == 3);
	CU_ASSERT(worst < 700000);
	down();
}

/* The primary dies and is back at once, again and again. The other member leads as soon as
 * the leases of the first process have run out, neither earlier nor later. */
static void test_primary_restarted_at_once(void)
{
	static const unsigned mutant[] = {0, MUT_RAISE_LEAD, MUT_GRANT_ANY, MUT_GRANT_NEW};

	for (unsigned k = 0; k < 4; k++) {
		struct vms_node *n;
		uint64_t until;
		bool early, late;

		R.mutant = mutant[k];
		up(3, 2, 42, VMS_ACK_DISK);
		E0 = extent_in(0);
		rig_run(&R, 6000);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		n = R.node[1].n;
		until = node_peer(n, 1, false)->grant_until_ms;
		for (int i = 0; i < 5 && rig_primary(&R, 0) == 0; i++) {
			rig_node_crash(&R, 0, false);
			rig_run(&R, 300);
			rig_node_start(&R, 0);
			for (int j = 0; j < 90 && rig_primary(&R, 0) == 0; j++)
				rig_run(&R, 10);
		}
		early = n->now_ms < until;
		late = n->now_ms > until + 700;
		CU_ASSERT_EQUAL(late, mutant[k] == MUT_RAISE_LEAD || mutant[k] == MUT_GRANT_ANY);
		CU_ASSERT_EQUAL(early, mutant[k] == MUT_GRANT_NEW);
		if (!k) {
			CU_ASSERT_EQUAL(put(1, E0, 2, 5000), 0);
			CU_ASSERT_TRUE(shows(E0, 2));
		}
		down();
	}
	R.mutant = 0;
}

/* A node that is stopped gives away what it leads; as a backup it is not waited for. */
static void test_stopped_on_purpose(void)
{
	for (int hard = 0; hard < 2; hard++)
		for (unsigned who = 0; who < 2; who++) {
			struct vms_node_event ev = {.type = VMS_NEV_STOP};
			uint64_t from, took = 0;

			R.mutant = hard ? MUT_STOP_HARD : 0;
			up(3, 2, 43, VMS_ACK_DISK);
			E0 = extent_in(0);
			rig_run(&R, 6000);
			CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
			ev.now_ms = R.node[who].n->now_ms;
			vms_node_step(R.node[who].n, &ev);
			vms_node_turn_end(R.node[who].n, ev.now_ms);
			from = R.now_us;
			for (unsigned i = 0; R.now_us - from < 5000000; i++) {
				uint64_t t = R.now_us;

				if (R.node[who].stopped && R.node[who].n)
					rig_node_crash(&R, who, true);
				if (!hard || !R.node[who].n) {
					CU_ASSERT_EQUAL(put(0, E0, 2 + i, 8000), 0);
					took = R.now_us - t > took ? R.now_us - t : took;
				}
				rig_run(&R, 10);
			}
			CU_ASSERT(!R.node[who].n);
			CU_ASSERT_FALSE(in_set(0, who));
			CU_ASSERT_EQUAL(took < 400000, !hard);
			for (uint32_t p = 0; p < 1u << BITS && !hard; p++)
				CU_ASSERT_NOT_EQUAL(rig_primary(&R, p), who);
			rig_node_start(&R, who);
			rig_run(&R, 12000);
			CU_ASSERT_TRUE(in_set(0, 0) && in_set(0, 1));
			CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
			down();
		}
	R.mutant = 0;
}

/* All nodes are stopped, one soon after the other: the sets stay as they are, and nobody is
 * left alone with what it leads. */
static void test_all_stopped(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		unsigned copies = 0;

		R.mutant = mutant ? MUT_STOP_DROPS : 0;
		up(3, 3, 44, VMS_ACK_DISK);
		E0 = extent_in(0);
		rig_run(&R, 6000);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		for (unsigned i = 0; i < 3; i++) {
			struct vms_node_event ev = {.type = VMS_NEV_STOP};

			ev.now_ms = R.node[i].n->now_ms;
			vms_node_step(R.node[i].n, &ev);
			vms_node_turn_end(R.node[i].n, ev.now_ms);
			rig_run(&R, 80);
		}
		for (int i = 0; i < 600; i++) {
			for (unsigned k = 0; k < 3; k++)
				if (R.node[k].n && R.node[k].stopped)
					rig_node_crash(&R, k, true);
			rig_run(&R, 10);
		}
		for (unsigned k = 0; k < 3; k++)
			CU_ASSERT(!R.node[k].n);
		for (uint32_t p = 0; p < 1u << BITS; p++)
			copies += rig_conf(&R, p, NULL).nmembers;
		CU_ASSERT_EQUAL(copies == 3u << BITS, !mutant);
		for (unsigned k = 0; k < 3; k++)
			rig_node_start(&R, k);
		CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
		connect_all();
		CU_ASSERT_TRUE(shows(E0, 1));
		down();
	}
	R.mutant = 0;
}

/* A node that is stopped while no catalog answers gives nothing away, as nobody could take it:
 * it serves until it goes. */
static uint64_t stop_without_catalog(unsigned mutant)
{
	struct vms_node_event ev = {.type = VMS_NEV_STOP};
	uint64_t worst = 0, last;
	unsigned seed = 2;

	R.mutant = mutant;
	up(3, 2, 47, VMS_ACK_DISK);
	E0 = extent_in(0);
	rig_run(&R, 6000);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	rig_run(&R, 2000);
	ev.now_ms = R.node[0].n->now_ms;
	vms_node_step(R.node[0].n, &ev);
	vms_node_turn_end(R.node[0].n, ev.now_ms);
	last = R.now_us;
	while (!R.node[0].stopped && R.now_us - last < 20000000) {
		if (!put(0, E0, seed++, 60)) {
			worst = R.now_us - last > worst ? R.now_us - last : worst;
			last = R.now_us;
		}
		rig_run(&R, 10);
	}
	CU_ASSERT(R.node[0].stopped);
	worst = R.now_us - last > worst ? R.now_us - last : worst;
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_OK;
	down();
	R.mutant = 0;
	return worst / 1000;
}

static void test_stopped_without_catalog(void)
{
	CU_ASSERT(stop_without_catalog(0) < 600);
	CU_ASSERT(stop_without_catalog(MUT_RETIRE_DEAF) > 2000);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_hand_over),
	VMS_TEST(test_hand_over_load),
	VMS_TEST(test_primary_restarted_at_once),
	VMS_TEST(test_stopped_on_purpose),
	VMS_TEST(test_all_stopped),
	VMS_TEST(test_stopped_without_catalog),
};
VMS_TEST_MAIN("failover: hand-over", tests)
