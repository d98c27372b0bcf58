// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leases of a primary and who may take over: what a grant rules out, for how long, and by
 * which of the catalog's records.
 */
#include "backend/holders.h"
#include "backend/lease.h"
#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/fo_rig.h"

/* The backup took over while the primary could not be reached; then they meet again
 * before the primary has heard of it: an answered tick does not count. */
static void test_lease_revision(void)
{
	uint8_t x[CHUNK];
	uint64_t epoch;

	up(3, 2, 36, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
		rig_run(&R, 50);
	CU_ASSERT_EQUAL(put(1, E0, 2, 5000), 0);
	rig_cut(&R, 0, 1, false);
	rig_cut(&R, 1, 0, false);
	for (int i = 0; i < 40; i++) {
		CU_ASSERT_NOT_EQUAL(read_from(0, 0, E0, x, 300), 0);
		rig_run(&R, 200);
	}
	/* they do meet */
	CU_ASSERT(R.node[0].n->peer[0]->conn || R.node[0].n->peer[1]->conn);
	epoch = part_at(0, 0)->conf.epoch;
	R.node[0].cat_mode = RIG_CAT_OK;
	rig_run(&R, 1000);
	/* it may have been brought up to date and got the lead back by then */
	CU_ASSERT_TRUE(part_at(0, 0)->conf.epoch > epoch);
	down();
}

/* The primary of partition 0, which the catalog does not reach, is taken over, while a gateway
 * has a page of it. */
static void lead_is_lost(uint32_t mutant)
{
	struct rig_gw *g = &R.gw[0];

	up(3, 2, 36, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
	CU_ASSERT_TRUE_FATAL(g->up[0]);
	if (mutant) /* else the one of the zoo, if any */
		R.node[0].n->mut = mutant;
	vms_holder_add(&R.node[0].n->holders, 0, BR, E0, g->id, 1);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
		rig_run(&R, 50);
	CU_ASSERT_TRUE_FATAL(part_at(0, 0)->primary && g->up[0]);
	CU_ASSERT_PTR_NOT_NULL(vms_holders_first(&R.node[0].n->holders, 0));
}

/* It hears of that. */
static void loss_is_known(void)
{
	R.node[0].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 1000 && part_at(0, 0)->primary; i++)
		rig_run(&R, 1);
	CU_ASSERT_FALSE(part_at(0, 0)->primary);
}

/* Then its leases count again, for the rest of what it leads: the page goes before a tick
 * tells so (simulator seed 2294). */
static unsigned told_of_loss(uint32_t mutant)
{
	unsigned before;

	lead_is_lost(mutant);
	before = R.gw[0].invals;
	loss_is_known();
	rig_run(&R, 5); /* less than to the next tick */
	CU_ASSERT_PTR_NULL(vms_holders_first(&R.node[0].n->holders, 0));
	before = R.gw[0].invals - before;
	down();
	return before;
}

static void test_lost_pages(void)
{
	CU_ASSERT_EQUAL(told_of_loss(0), 1);
	CU_ASSERT_EQUAL(told_of_loss(MUT_LOST_PAGES), 0);
}

/* The gateway's connection changes meanwhile: it has dropped what it had of that node when it
 * says HELLO, and nothing is waited for that was asked on the connection before. Returns how
 * much is. away: it had none when the lead went; else it has been told and does not answer. */
static unsigned asked_before(bool away, uint32_t mutant)
{
	struct rig_gw *g = &R.gw[0];
	struct vms_node *n;
	unsigned before, left;

	lead_is_lost(mutant);
	n = R.node[0].n;
	before = g->invals;
	g->mute_inval = true;
	if (away)
		rig_gw_restart(&R, 0);
	loss_is_known();
	rig_run(&R, 5);
	CU_ASSERT_EQUAL(g->invals - before, away ? 0 : 1);
	CU_ASSERT_PTR_NULL(vms_holders_first(&n->holders, 0));
	CU_ASSERT_EQUAL(n->loose.n, 1); /* its page may be in use: the lease runs */
	if (!away) { /* it sees that the connection is lost before the node does */
		g->conn[0] = 0;
		g->up[0] = false;
	}
	rig_gw_connect(&R, 0, 0);
	for (int i = 0; i < 100 && !g->up[0]; i++)
		rig_run(&R, 1);
	CU_ASSERT_TRUE(g->up[0]);
	left = n->loose.n + n->invals.n;
	CU_ASSERT_EQUAL(g->invals - before, away ? 0 : 1); /* nor asked again */
	g->mute_inval = false;
	down();
	return left;
}

static void test_lost_across_hello(void)
{
	for (unsigned away = 0; away < 2; away++) {
		CU_ASSERT_EQUAL(asked_before(away, 0), 0);
		CU_ASSERT_NOT_EQUAL(asked_before(away, MUT_HELLO_ASKED), 0);
	}
}

/* A write is on both disks while the backup's lease does not count, because the primary
 * has not read the backup's last take over: it ends as soon as it has, whatever else
 * happens. */
static void test_lease_counts_later(void)
{
	struct vms_node *n;
	struct rig_reply re;
	struct peer *pe;
	struct w w = {0};
	uint64_t rev;

	up(2, 2, 37, VMS_ACK_DISK);
	w.extent = E0 = extent_in(0);
	w.seed = 3;
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	n = R.node[0].n;
	pe = node_peer(n, 2, false);
	CU_ASSERT_TRUE_FATAL(rig_primary(&R, 0) == 0 && pe);
	/* right after a tick, and for less than the time to the next */
	while (n->now_ms - pe->tick_sent_ms > 5 || pe->tick_wait)
		rig_step(&R);
	rev = pe->lease_rev;
	write_to(0, 0, &w, &re);
	while (part_at(0, 0)->seq_last == part_at(0, 0)->committed)
		rig_step(&R);
	pe->lease_rev = n->part_rev + 1;
	rig_run(&R, 60);
	CU_ASSERT_FALSE(re.done);
	CU_ASSERT_TRUE(part_at(0, 0)->m[1].durable == part_at(0, 0)->seq_last);
	CU_ASSERT_EQUAL_FATAL(pe->lease_rev, n->part_rev + 1);
	lease_part_rev(n, n->part_rev + 1);
	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 60);
	CU_ASSERT_TRUE(re.done);
	pe->lease_rev = rev;
	CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	down();
}

/* Kill one, write, kill the other, start the first alone: it must not serve. */
static void test_succession(void)
{
	uint8_t x[CHUNK];

	up(3, 2, 40, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, true);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	rig_node_crash(&R, 0, true);
	rig_node_start(&R, 1);
	rig_run(&R, 15000);
	connect_all();
	rig_run(&R, 300);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	CU_ASSERT_NOT_EQUAL(read_from(0, 1, E0, x, 500), 0);
	rig_node_start(&R, 0);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(shows(E0, 2));
	CU_ASSERT_EQUAL(put(0, E0, 3, 8000), 0);
	down();
}

/* A process that starts with an old view of the catalog decides nothing by it. */
static void test_stale_catalog(void)
{
	up(3, 2, 41, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_cat_freeze(&R);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	rig_node_crash(&R, 0, false);
	R.node[1].cat_mode = RIG_CAT_STALE;
	rig_node_start(&R, 1);
	rig_run(&R, 15000);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	CU_ASSERT(!part_at(1, 0) || part_at(1, 0)->state != PS_ACTIVE);
	R.node[1].cat_mode = RIG_CAT_OK;
	rig_node_start(&R, 0);
	rig_run(&R, 6000);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* The take over happens when the former primary is back already and has been promised
 * a lease again: its successor waits for the end of that. */
static void test_late_take_over(void)
{
	uint8_t x[CHUNK], old[CHUNK];
	bool stale = false;

	up(3, 2, 59, VMS_ACK_DISK);
	E0 = extent_in(0);
	fill(old, 1);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[1].cat_mode = RIG_CAT_LATE;
	R.node[1].cat_late_ms = 3000;
	/* node 0 must not drop node 1, nor hear of what happens */
	R.node[0].cat_mode = RIG_CAT_DOWN;
	rig_node_pause(&R, 0, 2600);
	rig_run(&R, 2700);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
	for (int i = 0; i < 4000 && rig_primary(&R, 0) == 0; i++) {
		rig_gw_connect(&R, 0, 0);
		rig_run(&R, 1);
	}
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
	CU_ASSERT_EQUAL(part_at(0, 0)->state, PS_ACTIVE);
	CU_ASSERT_TRUE(R.gw[0].up[0]);
	/* the connection that brings the news that leases do not count is cut */
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	R.node[1].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 200 && !stale; i++) {
		struct part *b = part_at(1, 0);

		rig_gw_connect(&R, 0, 0);

		if (b->state == PS_ACTIVE && b->primary)
			stale = read_from(0, 0, E0, x, 5) == 0;
		rig_run(&R, 20);
	}
	CU_ASSERT_FALSE(stale);
	down();
}

/* The primary loses its power while the catalog is away, and comes back before it: it waits
 * for the catalog longer than for the others. With the first answer it must not drop the one
 * who has what was acknowledged (simulator seed 13912). Returns losses told. */
static uint64_t start_without_catalog(uint32_t mutant)
{
	struct w w = {.seed = 2, .flags = VMS_F_MEMORY};
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t lost;

	R.mutant = mutant;
	up(3, 2, 103, VMS_ACK_MEMORY);
	E0 = extent_in(0);
	w.extent = E0;
	CU_ASSERT_EQUAL(write_within(0, &w, 8000), 0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	rig_node_crash(&R, 0, true);
	rig_run(&R, 300);
	rig_node_start(&R, 0);
	rig_run(&R, 8000);
	/* it is the first to hear again, and is not connected yet */
	rig_node_pause(&R, 1, 1500);
	R.node[0].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 300 && R.node[0].n->phase != SP_RUN; i++)
		rig_run(&R, 20);
	rig_run(&R, 1500);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 800 && !(part_at(0, 0)->state == PS_ACTIVE && part_at(0, 0)->primary) &&
			!(part_at(1, 0)->state == PS_ACTIVE && part_at(1, 0)->primary);
	     i++)
		rig_run(&R, 20);
	vms_cat_key_loss(key, BR);
	rig_run(&R, 3000);
	lost = rig_cat_number(&R, key);
	if (!lost) {
		connect_all();
		rig_run(&R, 300);
		CU_ASSERT_TRUE(shows(E0, 2));
	}
	down();
	R.mutant = 0;
	return lost;
}

static void test_started_without_catalog(void)
{
	CU_ASSERT_EQUAL(start_without_catalog(0), 0);
	CU_ASSERT(start_without_catalog(MUT_OLD_AT_START) > 0);
}

/* A primary that does not know yet that it is none any more: "all is durable" is not for
 * it to say, what others have taken since then is not. */
static void test_flush_without_lease(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		struct w w = {.seed = 2, .flags = VMS_F_MEMORY};
		bool flushed;

		R.mutant = mutant ? MUT_FLUSH_LEASE : 0;
		up(3, 3, 37, VMS_ACK_MEMORY);
		w.extent = E0 = extent_in(0);
		CU_ASSERT_EQUAL(write_within(0, &w, 5000), 0);
		CU_ASSERT_EQUAL(ask(0, 0, VMS_MSG_FLUSH, 0, 0, 3000), 0);
		R.node[0].cat_mode = RIG_CAT_DOWN;
		for (unsigned i = 1; i < 3; i++) {
			rig_cut(&R, 0, i, true);
			rig_cut(&R, i, 0, true);
		}
		for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
			rig_run(&R, 50);
		CU_ASSERT(part_at(0, 0)->primary);
		CU_ASSERT_NOT_EQUAL(rig_primary(&R, 0), 0);
		flushed = ask(0, 0, VMS_MSG_FLUSH, 0, 0, 3000) == 0 ||
			  ask(0, 0, VMS_MSG_FLOOR, VMS_F_FUA, 0, 3000) == 0;
		CU_ASSERT_EQUAL(flushed, mutant);
		down();
	}
	R.mutant = 0;
}

/* Restarted within the lease: a backup stays in the set; what a primary led goes to the
 * other member, and comes back when it has been up for a while. */
static void test_quick_restart(void)
{
	for (unsigned who = 0; who < 2; who++) {
		up(3, 2, 111 + who, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
		rig_node_crash(&R, who, false);
		rig_run(&R, 300);
		rig_node_start(&R, who);
		CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
		CU_ASSERT_EQUAL(rig_primary(&R, 0), !who);
		CU_ASSERT(in_set(0, 0) && in_set(0, 1));
		CU_ASSERT_TRUE(shows(E0, 2));
		rig_run(&R, 12000);
		CU_ASSERT(in_set(0, 0) && in_set(0, 1));
		CU_ASSERT_EQUAL(rig_primary(&R, 0), 0);
		CU_ASSERT_TRUE(shows(E0, 2));
		down();
	}
}

static void test_no_catalog_no_change(void)
{
	up(3, 2, 115, VMS_ACK_DISK);
	E0 = extent_in(0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	rig_run(&R, 20000);
	CU_ASSERT_EQUAL(put(0, E0, 1, 3000), 0);
	CU_ASSERT_TRUE(shows(E0, 1));
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(R.node[i].n->st.drops, 0);
		R.node[i].cat_mode = RIG_CAT_OK;
	}
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(put(0, E0, 2, 3000), 0);
	down();
}

/* What the simulator's planner of faults goes by. The catalog tells of a restarted member at
 * once; the set's memory it has when the primary has formed a view with it, and that one may
 * not hear of it for long. */
static void test_remembers(void)
{
	struct vms_part_conf pc;
	unsigned lead, other;
	uint64_t inc;

	up(3, 2, 81, VMS_ACK_MEMORY);
	pc = rig_conf(&R, 0, NULL);
	lead = pc.member[0].node - 1;
	other = pc.member[1].node - 1;
	inc = pc.member[1].incarnation;
	CU_ASSERT_TRUE(sim_node_remembers(R.node[lead].n, 0, pc.epoch));
	CU_ASSERT_TRUE(sim_node_remembers(R.node[other].n, 0, pc.epoch));
	R.node[lead].cat_mode = RIG_CAT_DOWN;
	rig_node_crash(&R, other, true);
	rig_node_start(&R, other);
	rig_run(&R, 9000);
	pc = rig_conf(&R, 0, NULL);
	CU_ASSERT_EQUAL(pc.nmembers, 2);
	CU_ASSERT_EQUAL(pc.primary, lead + 1);
	CU_ASSERT(pc.member[1].node == other + 1 && pc.member[1].incarnation > inc);
	CU_ASSERT_FALSE(sim_node_remembers(R.node[lead].n, 0, pc.epoch));
	CU_ASSERT_FALSE(sim_node_remembers(R.node[other].n, 0, pc.epoch));
	R.node[lead].cat_mode = RIG_CAT_OK;
	CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
	pc = rig_conf(&R, 0, NULL);
	CU_ASSERT_TRUE(sim_node_remembers(R.node[lead].n, 0, pc.epoch));
	CU_ASSERT_TRUE(sim_node_remembers(R.node[other].n, 0, pc.epoch));
	down();
}

static const struct vms_test tests[] = {
	VMS_TEST(test_lease_revision),
	VMS_TEST(test_lost_pages),
	VMS_TEST(test_lost_across_hello),
	VMS_TEST(test_lease_counts_later),
	VMS_TEST(test_succession),
	VMS_TEST(test_stale_catalog),
	VMS_TEST(test_started_without_catalog),
	VMS_TEST(test_late_take_over),
	VMS_TEST(test_flush_without_lease),
	VMS_TEST(test_quick_restart),
	VMS_TEST(test_no_catalog_no_change),
	VMS_TEST(test_remembers),
};
VMS_TEST_MAIN("failover: leases", tests)
