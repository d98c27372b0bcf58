// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a new primary knows of its predecessor's: outcomes of ops, void records, floors, what
 * was in memory only, stubs of addresses.
 */
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/outcome.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/fo_rig.h"

/* A write that was ordered, then its primary dies: once, with its outcome. */
static void test_retry_once(void)
{
	struct rig_reply re, re2;
	struct w w = {.slot = 4, .seed = 5}, w2;
	uint64_t dups;

	up(3, 2, 95, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	w.extent = E0;
	/* the backup gets it, the answer is lost */
	write_to(0, 0, &w, &re);
	while (part_at(1, 0)->seq_last == part_at(0, 0)->seq_last && rig_step(&R))
		;
	while (part_at(1, 0)->seq_last < part_at(0, 0)->seq_last && rig_step(&R))
		;
	rig_node_crash(&R, 0, false);
	if (!rig_wait(&R, &re, 1000))
		R.gw[0].nwait = 0;
	rig_reply_free(&re);
	/* something newer over the other path, then the retry */
	for (int i = 0; i < 400 && (rig_primary(&R, 0) == 0 || part_at(1, 0)->state != PS_ACTIVE);
	     i++)
		rig_run(&R, 20);
	CU_ASSERT_EQUAL(put(1, E0, 6, 8000), 0);
	dups = R.node[1].n->st.dups;
	w2 = w;
	w2.flags |= VMS_F_RETRY;
	CU_ASSERT_EQUAL(write_within(0, &w2, 3000), 0);
	CU_ASSERT_EQUAL(R.node[1].n->st.dups, dups + 1);
	CU_ASSERT_TRUE(shows(E0, 6));
	(void)re2;
	down();
}

/* Records that a former primary ordered alone are void, and so are their outcomes. */
static void test_void_outcome(void)
{
	struct part *p;
	struct rig_reply re;
	struct w w = {.slot = 5, .seed = 5};
	struct vms_opid op;

	up(3, 2, 96, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	w.extent = E0;
	write_to(0, 0, &w, &re);
	rig_run(&R, 20);
	p = part_at(0, 0);
	CU_ASSERT(p->seq_last > p->committed && p->pend_head);
	op = (struct vms_opid){R.gw[0].id, 5, 1, w.sequence};
	CU_ASSERT_PTR_NOT_NULL(vms_outcome_find(&R.node[0].n->outcomes, 0, &op));
	R.node[0].cat_mode = RIG_CAT_DOWN;
	CU_ASSERT_EQUAL(put(1, E0, 2, 8000), 0);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
	R.node[0].cat_mode = RIG_CAT_OK;
	for (int i = 0; i < 100 && part_at(0, 0)->primary; i++)
		rig_run(&R, 100);
	CU_ASSERT_FALSE(p->primary);
	CU_ASSERT_PTR_NULL(p->pend_head);
	/* its gateway is not told that it failed, nor that it is done */
	CU_ASSERT(!re.done || re.status == VMS_E_DISCONNECTED);
	if (!re.done)
		R.gw[0].nwait = 0;
	rig_reply_free(&re);
	part_truncate(R.node[0].n, p, p->committed + 1);
	{
		const struct vms_outcome *o = vms_outcome_find(&R.node[0].n->outcomes, 0, &op);

		/* it is ordered when it is sent again; the op before it is still known */
		CU_ASSERT(o && o->op.sequence == w.sequence - 1);
	}
	down();
}

/* Floors that were raised while this node did not lead are known before it serves. */
static void test_fresh_floors(void)
{
	uint64_t before;

	up(3, 2, 97, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	/* node 1 hears nothing of a newer process of gateway 1 */
	{
		struct vms_cat_gateway g = {.id = 1, .name = "g1", .incarnation = 9};

		R.node[1].cat_mode = RIG_CAT_DOWN;
		rig_put(&R, "gateway/00000001", vms_cat_gateway_encode(&g));
		rig_run(&R, 50);
		R.node[1].cat_mode = RIG_CAT_OK;
	}
	CU_ASSERT(!node_gwfloor(R.node[1].n, 1, false) ||
		  node_gwfloor(R.node[1].n, 1, false)->incarnation < 9);
	before = R.node[1].n->fresh_rev;
	rig_node_crash(&R, 0, false);
	for (int i = 0; i < 400 && part_at(1, 0)->state != PS_ACTIVE; i++)
		rig_run(&R, 10);
	CU_ASSERT_EQUAL(part_at(1, 0)->state, PS_ACTIVE);
	CU_ASSERT(R.node[1].n->fresh_rev > before);
	CU_ASSERT_EQUAL(node_gwfloor(R.node[1].n, 1, false)->incarnation, 9);
	down();
}

/* The primary of a memory-mode volume dies: the member has what was acknowledged.
 * Both die: the loss is told. */
static void test_memory_mode(void)
{
	for (int both = 0; both < 2; both++) {
		struct w w = {.seed = 2, .flags = VMS_F_MEMORY};
		char key[VMS_CAT_KEY_BYTES_MAX];

		up(3, 2, 100 + (unsigned)both, VMS_ACK_MEMORY);
		E0 = extent_in(0);
		w.extent = E0;
		CU_ASSERT_EQUAL(write_within(0, &w, 8000), 0);
		rig_node_crash(&R, 0, true);
		if (both) {
			rig_node_crash(&R, 1, true);
			rig_node_start(&R, 1);
		}
		for (int i = 0;
		     i < 800 && (rig_primary(&R, 0) == 0 || part_at(1, 0)->state != PS_ACTIVE); i++)
			rig_run(&R, 20);
		CU_ASSERT_EQUAL(rig_primary(&R, 0), 1);
		vms_cat_key_loss(key, BR);
		if (both) {
			CU_ASSERT(rig_cat_number(&R, key) > 0);
		} else {
			CU_ASSERT_EQUAL(rig_cat_number(&R, key), 0);
			connect_all();
			rig_run(&R, 300);
			CU_ASSERT_TRUE(shows(E0, 2));
		}
		down();
	}
}

/* What is asked of "all that you lead" is answered when the node has heard of all that
 * the asker has. */
static void test_floor_of_who_is_behind(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		uint64_t rev;

		R.mutant = mutant ? MUT_FLOOR_BEHIND : 0;
		up(2, 2, 38, VMS_ACK_DISK);
		rev = R.node[0].n->part_rev;
		CU_ASSERT_EQUAL(ask(0, 0, VMS_MSG_FLOOR, 0, rev, 3000), 0);
		CU_ASSERT_EQUAL(ask(0, 0, VMS_MSG_FLOOR, 0, rev + 1000, 3000),
				mutant ? 0 : VMS_E_AGAIN);
		down();
	}
	R.mutant = 0;
}

/* No checkpoint for some seconds, so no address becomes safe. */
static void checkpoints_wait(void)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		R.node[i].n->ckpt_ms = R.node[i].n->now_ms;
		R.node[i].n->copy_end = UINT64_MAX;
	}
}

/* What a primary keeps of the names that gateways know goes with its lead. */
static void test_stubs_go_with_the_lead(void)
{
	struct part *p;

	up(3, 2, 45, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	p = part_at(0, 0);
	CU_ASSERT_TRUE_FATAL(p && p->primary);
	checkpoints_wait();
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_node_drain(R.node[i].n);
	for (int i = 0; i < 2000 && !p->ovl.nstubs; i++) {
		checkpoints_wait();
		rig_run(&R, 1);
	}
	CU_ASSERT_TRUE(p->ovl.nstubs && p->stubs.n);
	{
		struct vms_part_conf pc = p->conf;

		pc.nwant = 2;
		pc.want[0] = 2;
		pc.want[1] = 1;
		rig_put(&R, "part/0000", vms_cat_part_encode(&pc));
	}
	for (int i = 0; i < 2000 && p->primary; i++) {
		CU_ASSERT_TRUE(p->ovl.nstubs);
		checkpoints_wait();
		rig_run(&R, 5);
	}
	CU_ASSERT_FALSE(p->primary);
	CU_ASSERT_EQUAL(p->ovl.nstubs, 0);
	CU_ASSERT_EQUAL(p->stubs.n, 0);
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->copy_end = 0;
	connect_all();
	CU_ASSERT_TRUE(shows(E0, 1));
	down();
}

static const struct vms_test tests[] = {
	VMS_TEST(test_retry_once),
	VMS_TEST(test_void_outcome),
	VMS_TEST(test_fresh_floors),
	VMS_TEST(test_memory_mode),
	VMS_TEST(test_floor_of_who_is_behind),
	VMS_TEST(test_stubs_go_with_the_lead),
};
VMS_TEST_MAIN("failover: outcomes", tests)
