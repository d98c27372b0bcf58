// SPDX-License-Identifier: GPL-2.0-only
/* The planner of the storage nodes: wants follow the membership, whoever coordinates and
 * wherever it stops. Nodes 1 to 3 run; others exist in the catalog only. */
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "cluster/catalog.h"
#include "cluster/placement.h"
#include "cluster/ring.h"
#include "include/types.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"

#define BITS  8u
#define PARTS (1u << BITS)

static struct rig R;

/* ---- the catalog ---- */

static struct vms_cat_kv record(const char *key)
{
	for (size_t i = 0; i < R.kv.n; i++)
		if (!strcmp(R.kv.d[i].key, key))
			return (struct vms_cat_kv){.key = R.kv.d[i].key,
						   .val = R.kv.d[i].val,
						   .val_bytes = (uint32_t)strlen(R.kv.d[i].val),
						   .mod_revision = R.kv.d[i].mod};
	return (struct vms_cat_kv){.key = NULL};
}

static struct vms_cat_cluster cluster(void)
{
	struct vms_cat_kv kv = record("cluster");
	struct vms_cat_cluster c;
	struct vms_errmsg e;

	CU_ASSERT_EQUAL_FATAL(vms_cat_cluster_decode(&kv, &c, &e), 0);
	return c;
}

static void cluster_put(struct vms_cat_cluster c)
{
	rig_put(&R, "cluster", vms_cat_cluster_encode(&c));
}

static bool node_get(uint32_t id, struct vms_cat_node *out)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_kv kv;
	struct vms_errmsg e;

	vms_cat_key_node(key, id);
	kv = record(key);
	return kv.key && !vms_cat_node_decode(&kv, out, &e);
}

/* As the tools do: the cluster's record rises too. */
static void node_put(struct vms_cat_node x)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_node(key, x.id);
	rig_put(&R, key, vms_cat_node_encode(&x));
	cluster_put(cluster());
}

static void node_add(uint32_t id)
{
	struct vms_cat_node x = {.id = id, .weight = 100, .incarnation = 1, .state = VMS_NODE_IN};

	snprintf(x.name, sizeof(x.name), "n%u", id);
	snprintf(x.address, sizeof(x.address), "n%u:1", id);
	node_put(x);
}

static void node_state(uint32_t id, uint8_t state)
{
	struct vms_cat_node x;

	CU_ASSERT_TRUE_FATAL(node_get(id, &x));
	x.state = state;
	node_put(x);
}

static struct vms_part_conf part(uint32_t number, uint64_t *rev)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_part_conf c;
	struct vms_cat_kv kv;
	struct vms_errmsg e;

	vms_cat_key_part(key, number);
	kv = record(key);
	CU_ASSERT_EQUAL_FATAL(vms_cat_part_decode(&kv, &number, &c, &e), 0);
	if (rev)
		*rev = kv.mod_revision;
	return c;
}

static void wants(uint32_t w[PARTS][VMS_COPIES_MAX], unsigned n[PARTS])
{
	memset(w, 0xff, PARTS * sizeof(w[0]));
	for (uint32_t i = 0; i < PARTS; i++) {
		struct vms_part_conf c = part(i, NULL);

		n[i] = vms_cat_part_want(&c, w[i]);
	}
}

static unsigned wanted_by(uint32_t node)
{
	static uint32_t w[PARTS][VMS_COPIES_MAX];
	unsigned n[PARTS], sum = 0;

	wants(w, n);
	for (uint32_t i = 0; i < PARTS; i++)
		for (unsigned k = 0; k < n[i]; k++)
			sum += w[i][k] == node;
	return sum;
}

static void up(unsigned copies, uint32_t mutant, uint64_t seed)
{
	struct vms_cat_cluster c;

	memset(&R, 0, sizeof(R));
	R.mutant = mutant;
	rig_open(&R, 3, copies, BITS, seed);
	c = cluster();
	c.has_data = true;
	cluster_put(c);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	rig_run(&R, 4000); /* the table the rig begins with is made even */
}

/* What is wanted is what a plan from the present wants gives: nothing is left to do. */
static bool settled(void)
{
	struct vms_part_conf p[PARTS];
	struct vms_cat_cluster c = cluster();
	struct vms_cat_node list[16];
	struct vms_ring_table t;
	unsigned n = 0;
	bool same = true;

	for (uint32_t id = 1; id < 16; id++)
		n += node_get(id, &list[n]);
	for (uint32_t i = 0; i < PARTS; i++)
		p[i] = part(i, NULL);
	if (vms_place(&c, list, n, p, &t, NULL))
		return false;
	for (uint32_t i = 0; i < PARTS; i++)
		same &= vms_place_same(&p[i], &t.row[i]);
	vms_ring_table_close(&t);
	return same;
}

static bool wait_settled(uint64_t ms)
{
	for (uint64_t t = 0; t < ms; t += 50) {
		rig_run(&R, 50);
		if (settled())
			return true;
	}
	return false;
}

/* ---- tests ---- */

static void nothing_is_planned_before_the_first_volume(void)
{
	struct vms_cat_cluster c;

	up(2, 0, 1);
	c = cluster();
	c.has_data = false;
	cluster_put(c);
	node_add(4);
	rig_run(&R, 6000);
	CU_ASSERT_EQUAL(wanted_by(4), 0);
	rig_close(&R);
}

static void a_new_node_is_wanted_for_its_share(void)
{
	static uint32_t before[PARTS][VMS_COPIES_MAX], after[PARTS][VMS_COPIES_MAX];
	unsigned nb[PARTS], na[PARTS], moved = 0;
	uint64_t rev[PARTS];
	bool still = true;

	up(2, 0, 2);
	CU_ASSERT_TRUE(settled());
	wants(before, nb);
	node_add(4);
	CU_ASSERT_TRUE(wait_settled(20000));
	wants(after, na);
	for (uint32_t i = 0; i < PARTS; i++) {
		CU_ASSERT_EQUAL(na[i], 2);
		for (unsigned k = 0; k < 2; k++)
			moved += after[i][k] != before[i][0] && after[i][k] != before[i][1];
	}
	CU_ASSERT_EQUAL(wanted_by(4), PARTS * 2 / 4);
	CU_ASSERT(moved <= PARTS * 2 / 4 * 5 / 4);
	/* and that is it: the records are left alone from now on */
	for (uint32_t i = 0; i < PARTS; i++)
		(void)part(i, &rev[i]);
	rig_run(&R, 1000);
	for (uint32_t i = 0; i < PARTS; i++) {
		struct vms_part_conf c = part(i, NULL);
		uint32_t w[VMS_COPIES_MAX];

		still &= vms_cat_part_want(&c, w) == 2 && !memcmp(w, after[i], 8);
	}
	CU_ASSERT_TRUE(still);
	rig_close(&R);
}

static void a_node_that_has_never_run_is_not_counted(void)
{
	struct vms_cat_node x;

	up(2, 0, 3);
	node_add(4);
	CU_ASSERT_TRUE_FATAL(node_get(4, &x));
	x.incarnation = 0;
	node_put(x);
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(wanted_by(4), 0);
	rig_close(&R);
}

static void a_drained_node_is_wanted_nowhere_and_stays(void)
{
	struct vms_cat_node x;

	up(2, 0, 4);
	node_state(3, VMS_NODE_DRAINED);
	CU_ASSERT_TRUE(wait_settled(20000));
	CU_ASSERT_EQUAL(wanted_by(3), 0);
	rig_run(&R, 5000);
	CU_ASSERT_TRUE(node_get(3, &x) && x.state == VMS_NODE_DRAINED);
	node_state(3, VMS_NODE_IN);
	CU_ASSERT_TRUE(wait_settled(20000));
	CU_ASSERT(wanted_by(3) >= PARTS * 2 / 3);
	rig_close(&R);
}

static void a_leaving_node_goes_when_nothing_names_it(void)
{
	struct vms_cat_node x;

	up(2, 0, 5);
	node_add(4);
	CU_ASSERT_TRUE(wait_settled(20000));
	CU_ASSERT_TRUE(wanted_by(4) > 0);
	node_state(4, VMS_NODE_LEAVING);
	rig_run(&R, 6000);
	CU_ASSERT_EQUAL(wanted_by(4), 0);
	CU_ASSERT_FALSE(node_get(4, &x));
	rig_close(&R);
}

/* A member of the catalog that is behind shows a node that has left meanwhile; the cluster's
 * record is the present one (simulator seed 6692). Returns what that node is wanted for. */
static unsigned after_a_stale_list(uint32_t mutant)
{
	struct vms_cat_node x;
	unsigned w;

	up(2, mutant, 5);
	node_add(4);
	CU_ASSERT_TRUE(wait_settled(20000));
	rig_cat_freeze(&R);
	node_state(4, VMS_NODE_LEAVING);
	rig_run(&R, 6000);
	CU_ASSERT_FALSE(node_get(4, &x));
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_stale = "node/";
	rig_run(&R, 6000);
	w = wanted_by(4);
	rig_close(&R);
	return w;
}
static void a_node_that_has_left_is_not_wanted_again(void)
{
	CU_ASSERT_EQUAL(after_a_stale_list(0), 0);
	CU_ASSERT(after_a_stale_list(MUT_PLAN_STALE) > 0); /* or this proves nothing */
}

/* Partitions as they were before a node was wanted anywhere, nodes as they are: nothing seems
 * to be left to do when that node is drained (simulator seed 1723). */
static unsigned after_stale_partitions(uint32_t mutant)
{
	struct vms_cat_node x;
	unsigned w;

	up(2, mutant, 6);
	rig_cat_freeze(&R);
	node_add(4);
	CU_ASSERT_TRUE(wait_settled(20000));
	CU_ASSERT_TRUE(wanted_by(4) > 0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_stale = "part/";
	CU_ASSERT_TRUE_FATAL(node_get(4, &x));
	x.state = VMS_NODE_DRAINED;
	node_put(x);
	rig_run(&R, 6000);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_stale = NULL;
	rig_run(&R, 6000);
	w = wanted_by(4);
	rig_close(&R);
	return w;
}
static void a_want_that_was_not_seen_is_changed_all_the_same(void)
{
	CU_ASSERT_EQUAL(after_stale_partitions(0), 0);
	CU_ASSERT(after_stale_partitions(MUT_PLAN_STALE) > 0); /* or this proves nothing */
}

static void zone_put(uint32_t id, const char *zone)
{
	struct vms_cat_node x;

	CU_ASSERT_TRUE_FATAL(node_get(id, &x));
	snprintf(x.zone, sizeof(x.zone), "%s", zone);
	node_put(x);
}

/* Two nodes share a rack, a third one has its own: returns how many partitions want both of
 * the first. */
static unsigned wanted_in_one_zone(uint32_t mutant)
{
	unsigned both = 0;

	up(2, mutant, 8);
	zone_put(1, "a");
	zone_put(2, "a");
	zone_put(3, "b");
	rig_run(&R, 6000);
	for (uint32_t i = 0; i < PARTS; i++) {
		struct vms_part_conf c = part(i, NULL);
		uint32_t w[VMS_COPIES_MAX];

		CU_ASSERT_EQUAL_FATAL(vms_cat_part_want(&c, w), 2);
		both += w[0] != 3 && w[1] != 3;
	}
	rig_close(&R);
	return both;
}
static void copies_are_wanted_in_different_zones(void)
{
	CU_ASSERT_EQUAL(wanted_in_one_zone(0), 0);
	CU_ASSERT(wanted_in_one_zone(MUT_PLAN_ZONES) > 0); /* or this proves nothing */
}

static void copies_change_by_one_each(void)
{
	static uint32_t before[PARTS][VMS_COPIES_MAX], after[PARTS][VMS_COPIES_MAX];
	unsigned nb[PARTS], na[PARTS], kept = 0;
	struct vms_cat_cluster c;

	up(2, 0, 6);
	wants(before, nb);
	c = cluster();
	c.copies = 3;
	cluster_put(c);
	CU_ASSERT_TRUE(wait_settled(20000));
	wants(after, na);
	for (uint32_t i = 0; i < PARTS; i++) {
		CU_ASSERT_EQUAL(na[i], 3);
		for (unsigned k = 0; k < 3; k++)
			kept += after[i][k] == before[i][0] || after[i][k] == before[i][1];
	}
	CU_ASSERT_EQUAL(kept, PARTS * 2);
	c = cluster();
	c.copies = c.min_copies = 1;
	cluster_put(c);
	CU_ASSERT_TRUE(wait_settled(20000));
	wants(after, na);
	for (uint32_t i = 0; i < PARTS; i++)
		CU_ASSERT_EQUAL(na[i], 1);
	rig_close(&R);
}

/* The coordinator dies at any point of its work; the next one finishes it. */
static void a_plan_is_finished_by_the_next_coordinator(void)
{
	unsigned halfway = 0;

	for (unsigned cut = 0; cut < 12; cut++) {
		up(2, 0, 100 + cut);
		node_add(4);
		node_add(5);
		for (unsigned i = 0; i < 20000 && !wanted_by(4); i++)
			rig_step(&R);
		for (unsigned i = 0; i < cut; i++)
			rig_step(&R);
		halfway += wanted_by(4) > 0 && !settled();
		rig_node_crash(&R, 0, true);
		CU_ASSERT_TRUE(wait_settled(20000));
		CU_ASSERT(wanted_by(4) >= PARTS * 2 / 5 && wanted_by(5) >= PARTS * 2 / 5);
		rig_close(&R);
	}
	CU_ASSERT(halfway > 0);
}

/* Three at once, and a membership that changes under them. */
static void many_coordinators_do_no_harm(void)
{
	for (unsigned seed = 0; seed < 4; seed++) {
		struct vms_cat_node x;

		up(2, MUT_PLAN_ALL, 200 + seed);
		node_add(4);
		rig_run(&R, 2 + seed);
		node_state(3, VMS_NODE_DRAINED);
		rig_run(&R, 3);
		node_add(5);
		CU_ASSERT_TRUE(wait_settled(40000));
		CU_ASSERT_EQUAL(wanted_by(3), 0);
		CU_ASSERT_EQUAL(wanted_by(4) + wanted_by(5) + wanted_by(1) + wanted_by(2),
				PARTS * 2);
		CU_ASSERT(wanted_by(5) >= PARTS * 2 / 4 && node_get(3, &x));
		rig_close(&R);
	}
}

/* The lowest node runs, but gets nothing done; and then it does again. */
static void the_next_node_acts_for_a_coordinator_that_is_stuck(void)
{
	up(2, 0, 10);
	rig_run(&R, 25000); /* its beat has been seen */
	R.node[0].n->mut = MUT_PLAN_NONE;
	node_add(4);
	rig_run(&R, 30000);
	CU_ASSERT_EQUAL(wanted_by(4), 0);
	rig_run(&R, 90000);
	CU_ASSERT_TRUE(settled() && wanted_by(4) > 0);
	R.node[0].n->mut = 0;
	rig_run(&R, 60000);
	node_add(5);
	CU_ASSERT_TRUE(wait_settled(20000));
	CU_ASSERT(wanted_by(5) >= PARTS * 2 / 5);
	rig_close(&R);
}

static void a_node_that_is_away_too_long_is_out(void)
{
	struct vms_cat_cluster c;
	struct vms_cat_node x;

	up(2, 0, 7);
	c = cluster();
	c.rebuild_after_s = 30;
	cluster_put(c);
	node_add(4);
	rig_run(&R, 25000);
	CU_ASSERT_TRUE(node_get(4, &x) && x.state == VMS_NODE_IN);
	CU_ASSERT(wanted_by(4) > 0);
	rig_run(&R, 15000);
	CU_ASSERT_TRUE(node_get(4, &x) && x.state == VMS_NODE_OUT);
	CU_ASSERT_EQUAL(wanted_by(4), 0);
	rig_close(&R);
}

static void a_node_that_is_back_is_in_again(void)
{
	struct vms_cat_cluster c;
	struct vms_cat_node x;

	up(2, 0, 8);
	c = cluster();
	c.rebuild_after_s = 30;
	cluster_put(c);
	node_state(3, VMS_NODE_OUT);
	rig_run(&R, 6000);
	CU_ASSERT_TRUE(node_get(3, &x) && x.state == VMS_NODE_IN);
	CU_ASSERT_TRUE(wait_settled(20000));
	CU_ASSERT(wanted_by(3) >= PARTS * 2 / 3);
	rig_close(&R);
}

static void a_node_whose_record_is_gone_stops(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	up(2, 0, 9);
	vms_cat_key_node(key, 3);
	rig_put(&R, key, NULL);
	rig_run(&R, 5000);
	CU_ASSERT_TRUE(R.node[2].stopped && !R.node[2].fatal);
	rig_close(&R);
}

/* The node's watches end, and the list it reads then is from before it joined (simulator seed
 * 6200). Does it stop? */
static bool after_a_list_without_it(uint32_t mutant)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	bool stopped;

	up(2, mutant, 10);
	vms_cat_key_node(key, 3);
	rig_cat_freeze(&R);
	R.old_revision = 1;
	for (size_t i = 0; i < R.old.n; i++)
		if (!strcmp(R.old.d[i].key, key)) {
			free(R.old.d[i].val);
			memmove(&R.old.d[i], &R.old.d[i + 1],
				(R.old.n - i - 1) * sizeof(R.old.d[0]));
			R.old.n--;
		}
	R.node[2].cat_stale = "node/";
	rig_cat_gap(&R, 2);
	rig_run(&R, 3000);
	stopped = R.node[2].stopped;
	R.node[2].cat_stale = NULL;
	if (!stopped) { /* one that is gone in a newer list stops it */
		rig_cat_gap(&R, 2);
		rig_run(&R, 3000);
		CU_ASSERT_FALSE(R.node[2].stopped);
		R.node[2].cat_mode = RIG_CAT_DOWN;
		rig_put(&R, key, NULL);
		rig_cat_gap(&R, 2);
		rig_run(&R, 1000);
		R.node[2].cat_mode = RIG_CAT_OK;
		rig_run(&R, 5000);
		CU_ASSERT_TRUE(R.node[2].stopped);
	}
	rig_close(&R);
	return stopped;
}
static void a_list_from_before_it_joined_says_nothing(void)
{
	CU_ASSERT_FALSE(after_a_list_without_it(0));
	CU_ASSERT_TRUE(after_a_list_without_it(MUT_LEFT_BEFORE));
}

int main(void)
{
	static const struct vms_test tests[] = {
		VMS_TEST(a_list_from_before_it_joined_says_nothing),
		VMS_TEST(nothing_is_planned_before_the_first_volume),
		VMS_TEST(a_new_node_is_wanted_for_its_share),
		VMS_TEST(a_node_that_has_never_run_is_not_counted),
		VMS_TEST(a_drained_node_is_wanted_nowhere_and_stays),
		VMS_TEST(a_leaving_node_goes_when_nothing_names_it),
		VMS_TEST(a_node_that_has_left_is_not_wanted_again),
		VMS_TEST(a_want_that_was_not_seen_is_changed_all_the_same),
		VMS_TEST(copies_are_wanted_in_different_zones),
		VMS_TEST(copies_change_by_one_each),
		VMS_TEST(a_plan_is_finished_by_the_next_coordinator),
		VMS_TEST(many_coordinators_do_no_harm),
		VMS_TEST(the_next_node_acts_for_a_coordinator_that_is_stuck),
		VMS_TEST(a_node_that_is_away_too_long_is_out),
		VMS_TEST(a_node_that_is_back_is_in_again),
		VMS_TEST(a_node_whose_record_is_gone_stops),
	};

	return vms_test_main_("plan", tests, sizeof(tests) / sizeof(tests[0]));
}
