// SPDX-License-Identifier: GPL-2.0-only
/*
 * The set of a partition's members: dropped, added, with a catalog whose answers get lost,
 * below min_copies, copied to another catalog, and without any.
 */
#include "backend/learn_serve.h"
#include "backend/node.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/fo_rig.h"

static uint32_t extent_after(uint32_t part, uint32_t e)
{
	while (part_of(++e) != part)
		;
	return e;
}

/* Answers of the catalog get lost, or what was asked for happens much later. */
static void test_unknown_outcome(void)
{
	static const enum rig_cat_mode mode[] = {RIG_CAT_LOSE, RIG_CAT_LATE, RIG_CAT_LATE};
	static const uint64_t late_ms[] = {0, 700, 4000};

	for (int k = 0; k < 3; k++) {
		for (unsigned victim = 0; victim < 2; victim++) {
			up(3, 2, 50 + 2 * (unsigned)k + victim, VMS_ACK_DISK);
			E0 = extent_in(0);
			CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
			R.node[1 - victim].cat_mode = mode[k];
			R.node[1 - victim].cat_late_ms = late_ms[k];
			rig_node_crash(&R, victim, false);
			CU_ASSERT_EQUAL(put(1, E0, 2, 15000), 0);
			CU_ASSERT_EQUAL(rig_primary(&R, 0), 1 - victim);
			CU_ASSERT_TRUE(shows(E0, 2));
			down();
		}
	}
}

/* A member about to be dropped is needed until it is known that it has been. */
static void test_drop_unknown(void)
{
	up(3, 2, 58, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_LATE;
	R.node[0].cat_late_ms = 6000;
	rig_node_crash(&R, 1, false);
	rig_run(&R, 4600); /* asked for, not done */
	CU_ASSERT_TRUE(in_set(0, 1));
	CU_ASSERT_NOT_EQUAL(put(0, E0, 2, 300), 0);
	CU_ASSERT_TRUE(in_set(0, 1));
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT_EQUAL(put(0, E0, 3, 5000), 0);
	down();
}

/* The same of a write that was on its way, and that the third copy has meanwhile. */
static void test_drop_asked_for(void)
{
	struct rig_reply re;
	struct w w = {.slot = 2, .seed = 2};
	struct part *p;

	up(3, 3, 58, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[0].cat_mode = RIG_CAT_LATE;
	R.node[0].cat_late_ms = 6000;
	w.extent = E0;
	p = part_at(0, 0);
	if (!R.gw[0].up[0])
		rig_gw_connect(&R, 0, 0);
	rig_run(&R, 50);
	write_to(0, 0, &w, &re);
	CU_ASSERT_FALSE(re.done);
	for (int i = 0; i < 2000 && !p->pend_head && !re.done; i++)
		rig_step(&R);
	CU_ASSERT_PTR_NOT_NULL(p->pend_head); /* ordered, and nobody has it yet */
	rig_node_pause(&R, 1, 1400);
	rig_node_crash(&R, 2, true);
	rig_run(&R, 3500);
	CU_ASSERT_TRUE(in_set(0, 2) && p->proposed);
	CU_ASSERT_EQUAL(p->m[1].held, p->seq_last);
	CU_ASSERT_TRUE(p->committed < p->seq_last);
	rig_run(&R, 5000);
	CU_ASSERT_FALSE(in_set(0, 2));
	CU_ASSERT_EQUAL(p->committed, p->seq_last);
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	CU_ASSERT_EQUAL(put(0, E0, 3, 5000), 0);
	down();
}

/* Node 1 has been dropped and comes back; returns when it is about to be made a member:
 * what the catalog is asked from then on happens 3 s later. */
static struct part *about_to_add(uint64_t seed)
{
	struct part *p;

	up(3, 2, seed, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	CU_ASSERT_FALSE(in_set(0, 1));
	rig_node_start(&R, 1);
	p = part_at(0, 0);
	R.node[0].cat_late_ms = 3000;
	for (int i = 0; i < 200000 && !p->cand && rig_step(&R); i++)
		if (learn_state(p, 2, NULL, NULL) == LEARN_READY)
			R.node[0].cat_mode = RIG_CAT_LATE;
	CU_ASSERT_EQUAL(p->cand, 2);
	return p;
}

/* A candidate is needed from before it is proposed until it is known what became of
 * that: it may be a member by then, and take over. */
static void test_add_unknown(void)
{
	struct rig_reply re;
	struct w w = {.slot = 2, .seed = 3};
	struct part *p = about_to_add(63);
	uint8_t x[CHUNK];

	for (int i = 0; i < 200000 && !p->proposed && rig_step(&R); i++)
		;
	CU_ASSERT_TRUE(p->proposed);
	/* node 0 hears nothing more, neither from it nor from the catalog */
	rig_cut(&R, 0, 1, true);
	rig_cut(&R, 1, 0, true);
	rig_run(&R, 10);
	R.node[0].cat_mode = RIG_CAT_DOWN;
	w.extent = E0;
	write_to(0, 0, &w, &re);
	rig_run(&R, 2500);
	CU_ASSERT(!re.done || re.status != 0);
	CU_ASSERT_FALSE(in_set(0, 1));
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(in_set(0, 1)); /* it happened in the end */
	CU_ASSERT(!re.done || re.status != 0);
	for (int i = 0; i < 100 && rig_primary(&R, 0) == 0; i++)
		rig_run(&R, 100);
	CU_ASSERT_EQUAL(rig_primary(&R, 0), 1); /* and it has taken over */
	CU_ASSERT_EQUAL(put(1, E0, 4, 8000), 0);
	CU_ASSERT_NOT_EQUAL(R.gw[0].up[0] ? read_from(0, 0, E0, x, 300) : VMS_E_AGAIN, 0);
	R.gw[0].nwait = 0;
	rig_reply_free(&re);
	rig_cut(&R, 0, 1, false);
	rig_cut(&R, 1, 0, false);
	R.node[0].cat_mode = RIG_CAT_OK;
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(shows(E0, 4));
	down();
}

/* Pages that gateways hold say nothing of a new member: they come back before it is
 * proposed. */
static void test_add_pages(void)
{
	struct vms_msg m = {
		.type = VMS_MSG_GET_PAGES, .partition = 0, .branch = BR, .snap_gen = 1, .aux = 1};
	struct rig_reply re;

	up(3, 2, 64, VMS_ACK_DISK);
	E0 = extent_in(0);
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	m.extent = E0;
	m.epoch = rig_conf(&R, 0, NULL).epoch;
	rig_send(&R, 1, 0, &m, &re);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	R.gw[1].invals = 0;
	R.gw[1].mute_inval = true;
	rig_node_start(&R, 1);
	rig_run(&R, 2000);
	CU_ASSERT_EQUAL(part_at(0, 0)->cand, 2);
	CU_ASSERT_EQUAL(R.gw[1].invals, 1);
	CU_ASSERT_FALSE(in_set(0, 1));
	R.gw[1].mute_inval = false;
	rig_gw_restart(&R, 1); /* its pages are void with its session */
	for (int i = 0; i < 100 && !in_set(0, 1); i++) {
		connect_all();
		rig_run(&R, 100);
	}
	CU_ASSERT_TRUE(in_set(0, 1));
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

static void test_min_copies(void)
{
	struct rig_reply re;
	struct w w = {.slot = 1, .seed = 2};
	json_t *j, *e;
	size_t i;
	bool said = false;

	R.min_copies = 2;
	up(3, 2, 80, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	rig_node_crash(&R, 1, false);
	rig_run(&R, 3000);
	CU_ASSERT_FALSE(in_set(0, 1)); /* it shrinks all the same */
	w.extent = E0;
	for (int k = 0; k < 2; k++) {
		write_to(0, 0, &w, &re);
		rig_wait(&R, &re, 5000);
		R.gw[0].epoch[0] = re.m.epoch;
		if (re.status != VMS_E_EPOCH)
			break;
		rig_reply_free(&re);
	}
	CU_ASSERT_EQUAL(re.status, VMS_E_BUSY);
	rig_reply_free(&re);
	CU_ASSERT_TRUE(shows(E0, 1)); /* reads go on */
	j = vms_node_json(R.node[0].n, "partitions");
	json_array_foreach (j, i, e)
		said |= !strcmp(json_string_value(json_object_get(e, "text")),
				"degraded: 1 of 2 copies, min_copies 2: writes wait");
	CU_ASSERT_TRUE(said);
	json_decref(j);
	/* fewer are enough, says the admin */
	{
		struct vms_cat_cluster cl = R.node[0].n->cluster;

		cl.min_copies = 1;
		rig_put(&R, "cluster", vms_cat_cluster_encode(&cl));
	}
	CU_ASSERT_EQUAL(put(0, E0, 3, 3000), 0);
	down();
}

/* In parts, for tools: one answer has no room for all of them. */
static void test_told_in_parts(void)
{
	json_t *all, *req, *some;

	up(3, 2, 82, VMS_ACK_DISK);
	all = vms_node_json(R.node[0].n, "partitions");
	CU_ASSERT_FATAL(json_array_size(all) > 2);
	req = json_pack("{sO sI}", "from", json_object_get(json_array_get(all, 1), "number"), "max",
			(json_int_t)2);
	some = vms_node_partitions(R.node[0].n, req);
	CU_ASSERT_EQUAL(json_array_size(some), 2);
	for (size_t i = 0; i < 2; i++)
		CU_ASSERT_TRUE(json_equal(json_array_get(some, i), json_array_get(all, 1 + i)));
	json_decref(some);
	json_object_set_new(req, "from", json_integer(1 << R.part_bits));
	some = vms_node_partitions(R.node[0].n, req);
	CU_ASSERT_EQUAL(json_array_size(some), 0);
	json_decref(some);
	some = vms_node_partitions(R.node[0].n, NULL);
	CU_ASSERT_EQUAL(json_array_size(some), json_array_size(all));
	json_decref(some);
	json_decref(req);
	json_decref(all);
	down();
}

/* What was ordered for two copies is on one when the other is dropped, or leads alone after it:
 * below min_copies that is not acknowledged, however often it is asked for, and not forgotten.
 * Returns how often it was all the same. */
static unsigned acknowledged_alone(uint32_t mutant, bool takeover)
{
	unsigned stays = takeover, goes = !takeover, acks;
	struct w w = {.slot = 2, .seed = 2};
	struct rig_reply re;
	struct part *p;

	R.mutant = mutant;
	R.min_copies = 2;
	up(3, 2, 81, VMS_ACK_DISK);
	E0 = extent_in(0);
	w.extent = E0;
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
	p = part_at(0, 0);
	/* the other one does not get it, or does not say so */
	rig_cut(&R, takeover, !takeover, true);
	write_to(0, 0, &w, &re);
	for (int i = 0; i < 2000 && !p->pend_head; i++)
		rig_step(&R);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p->pend_head);
	rig_run(&R, 100);
	CU_ASSERT_FALSE(re.done);
	rig_node_crash(&R, goes, true);
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, goes));
	CU_ASSERT_EQUAL(rig_primary(&R, 0), stays);
	CU_ASSERT_TRUE(shows(E0, 2)); /* committed */
	acks = re.done && !re.status;
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	w.flags |= VMS_F_RETRY;
	acks += write_within(0, &w, 3000) == 0;
	acks += write_within(0, &w, 60000) == 0;
	rig_cut(&R, takeover, !takeover, false);
	rig_node_start(&R, goes);
	CU_ASSERT_EQUAL(write_within(0, &w, 15000), 0);
	for (int i = 0; i < 100 && mutant && !in_set(0, goes); i++)
		rig_run(&R, 100);
	CU_ASSERT_TRUE(in_set(0, goes));
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
	R.mutant = 0;
	R.min_copies = 0;
	return acks;
}

static void test_min_copies_acks(void)
{
	for (int takeover = 0; takeover < 2; takeover++) {
		CU_ASSERT_EQUAL(acknowledged_alone(0, takeover), 0);
		CU_ASSERT(acknowledged_alone(MUT_FEW_ACKS, takeover) > 0);
	}
}

/* A flush, or what a snapshot asks; TIMEOUT: no answer within that time. */
static int durable_within(unsigned nd, bool snapshot, uint64_t ms)
{
	struct vms_msg m = {.type = snapshot ? VMS_MSG_FLOOR : VMS_MSG_FLUSH,
			    .partition = VMS_PART_NONE,
			    .branch = BR};
	struct rig_reply re;
	int st;

	if (snapshot) {
		m.snap_gen = m.lun_fence = 1;
		m.flags = VMS_F_FUA;
	}

	rig_send(&R, 0, nd, &m, &re);
	if (!rig_wait(&R, &re, ms)) {
		R.gw[0].nwait = 0;
		return VMS_E_TIMEOUT;
	}
	st = re.status;
	rig_reply_free(&re);
	return st;
}

/* In memory on both, acknowledged, and durable on the one that stays: a flush says so only when
 * there are min_copies again. One before that covers all that there is is as good as ever.
 * So it is with a snapshot. Returns how many said so all the same. */
static unsigned flushed_alone(uint32_t mutant)
{
	struct w one = {.seed = 1, .flags = VMS_F_MEMORY}, two = {.seed = 2, .flags = VMS_F_MEMORY};
	unsigned alone;

	R.mutant = mutant;
	R.min_copies = 2;
	up(3, 2, 84, VMS_ACK_MEMORY);
	E0 = one.extent = two.extent = extent_in(0);
	CU_ASSERT_EQUAL(write_within(0, &one, 5000), 0);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
	CU_ASSERT_EQUAL(durable_within(0, false, 3000), 0);
	rig_node_crash(&R, 1, true);
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT_EQUAL(durable_within(0, false, 3000), 0); /* that was on two */
	CU_ASSERT_EQUAL(durable_within(0, true, 3000), 0);
	rig_node_start(&R, 1);
	for (int i = 0; i < 300 && !in_set(0, 1); i++)
		rig_run(&R, 100);
	CU_ASSERT_TRUE(in_set(0, 1));
	CU_ASSERT_EQUAL(write_within(0, &two, 15000), 0);
	rig_node_crash(&R, 1, true); /* it had it in memory */
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 1));
	CU_ASSERT_TRUE(shows(E0, 2));
	alone = durable_within(0, false, 10000) == 0;
	alone += durable_within(0, true, 10000) == 0;
	rig_node_start(&R, 1);
	for (int i = 0; i < 300 && !in_set(0, 1); i++)
		rig_run(&R, 100);
	CU_ASSERT_TRUE(in_set(0, 1));
	CU_ASSERT_EQUAL(durable_within(0, false, 5000), 0);
	CU_ASSERT_EQUAL(durable_within(0, true, 5000), 0);
	down();
	R.mutant = 0;
	R.min_copies = 0;
	return alone;
}

static unsigned durable_on(unsigned nd, uint64_t ms)
{
	if (!R.gw[0].up[nd])
		rig_gw_connect(&R, 0, nd);
	rig_run(&R, 100);
	return (durable_within(nd, false, ms) == 0) + (durable_within(nd, true, ms) == 0);
}

static void back_in_set(unsigned nd)
{
	rig_node_start(&R, nd);
	for (int i = 0; i < 300 && !in_set(0, nd); i++)
		rig_run(&R, 100);
	CU_ASSERT_TRUE(in_set(0, nd));
}

/* The same where the primary dies: who leads then says so of what was on min_copies before
 * (returned: how often, of two), and of nothing else (how often all the same: in *alone). */
static unsigned flushed_after(uint32_t mutant, unsigned *alone)
{
	struct w one = {.seed = 1, .flags = VMS_F_MEMORY}, two = {.seed = 2, .flags = VMS_F_MEMORY};
	unsigned good, lead;

	R.mutant = mutant;
	R.min_copies = 2;
	up(3, 2, 84, VMS_ACK_MEMORY);
	E0 = one.extent = two.extent = extent_in(0);
	CU_ASSERT_EQUAL(write_within(0, &one, 5000), 0);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
	CU_ASSERT_EQUAL(durable_on(0, 3000), 2);
	rig_run(&R, 500); /* the other one has been told */
	rig_node_crash(&R, 0, true);
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 0));
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 1);
	good = durable_on(1, 10000);
	back_in_set(0);
	rig_run(&R, 5000); /* the lead may go back to it */
	lead = rig_primary(&R, 0);
	CU_ASSERT_EQUAL(durable_on(lead, 5000), 2);
	CU_ASSERT_EQUAL(write_within(0, &two, 15000), 0);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), lead);
	rig_node_crash(&R, lead, true); /* it had it in memory */
	rig_run(&R, 4000);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), !lead);
	CU_ASSERT_FALSE(in_set(0, lead));
	CU_ASSERT_TRUE(shows(E0, 2));
	*alone = durable_on(!lead, 10000);
	back_in_set(lead);
	CU_ASSERT_EQUAL(durable_on(rig_primary(&R, 0), 5000), 2);
	down();
	R.mutant = 0;
	R.min_copies = 0;
	return good;
}

/* Of three, two stay, and one of these: what was durable on two only is not on three. */
static unsigned flushed_by_last(uint32_t mutant)
{
	struct w one = {.seed = 1, .flags = VMS_F_MEMORY}, two = {.seed = 2, .flags = VMS_F_MEMORY};
	unsigned alone;

	R.mutant = mutant;
	R.min_copies = 3;
	up(3, 3, 85, VMS_ACK_MEMORY);
	E0 = one.extent = two.extent = extent_in(0);
	CU_ASSERT_EQUAL(write_within(0, &one, 5000), 0);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
	CU_ASSERT_EQUAL(durable_on(0, 3000), 2);
	CU_ASSERT_EQUAL(write_within(0, &two, 5000), 0);
	rig_node_crash(&R, 2, true); /* it had it in memory */
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 2));
	CU_ASSERT_EQUAL(durable_on(0, 10000), 0);
	CU_ASSERT(part_at(1, 0)->all_durable >= part_at(1, 0)->mem_last);
	rig_node_crash(&R, 0, true);
	rig_run(&R, 4000);
	CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 1);
	alone = durable_on(1, 10000);
	back_in_set(0);
	back_in_set(2);
	CU_ASSERT_EQUAL(durable_on(rig_primary(&R, 0), 5000), 2);
	down();
	R.mutant = 0;
	R.min_copies = 0;
	return alone;
}

static void test_min_copies_flush_lead(void)
{
	unsigned alone;

	CU_ASSERT_EQUAL(flushed_after(0, &alone), 2);
	CU_ASSERT_EQUAL(alone, 0);
	CU_ASSERT_EQUAL(flushed_after(MUT_ENOUGH_UNTOLD, &alone), 0);
	CU_ASSERT_EQUAL(flushed_by_last(0), 0);
	CU_ASSERT_EQUAL(flushed_by_last(MUT_ENOUGH_ALL), 2);
}

static void test_min_copies_flush(void)
{
	CU_ASSERT_EQUAL(flushed_alone(0), 0);
	CU_ASSERT_EQUAL(flushed_alone(MUT_FLUSH_FEW), 2);
}

/* Whoever cancels it is not told that it never happened, nor that it has. */
static void test_min_copies_cancel(void)
{
	struct w w = {.slot = 2, .seed = 2};
	struct rig_reply re, ce;
	struct vms_msg m = {.type = VMS_MSG_CANCEL, .partition = 0, .slot = 2};
	struct part *p;

	R.min_copies = 2;
	up(3, 2, 81, VMS_ACK_DISK);
	E0 = extent_in(0);
	w.extent = E0;
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	p = part_at(0, 0);
	rig_cut(&R, 0, 1, true);
	write_to(0, 0, &w, &re);
	for (int i = 0; i < 2000 && !p->pend_head; i++)
		rig_step(&R);
	rig_node_crash(&R, 1, true);
	rig_run(&R, 4000);
	CU_ASSERT_FALSE(in_set(0, 1));
	R.gw[0].nwait = 0;
	w.flags |= VMS_F_RETRY;
	CU_ASSERT_NOT_EQUAL(write_within(0, &w, 1000), 0);
	m.sequence = w.sequence;
	rig_send(&R, 0, 0, &m, &ce);
	CU_ASSERT_TRUE(rig_wait(&R, &ce, 1000));
	CU_ASSERT_EQUAL(ce.status, VMS_E_BUSY); /* not CANCELLED: it has happened */
	rig_reply_free(&ce);
	rig_cut(&R, 0, 1, false);
	rig_node_start(&R, 1);
	CU_ASSERT_EQUAL(write_within(0, &w, 15000), 0);
	CU_ASSERT_TRUE(in_set(0, 1));
	down();
	R.min_copies = 0;
}

/* A member is added by a transaction that happens long after the candidate has lost
 * sight of the primary: what it has must still be there then. */
static void test_added_late(void)
{
	for (int mutant = 0; mutant < 2; mutant++) {
		struct vms_part_conf pc;
		struct part *a, *c = NULL;

		R.mutant = mutant ? MUT_LN_LIMBO : 0;
		up(3, 2, 41, VMS_ACK_DISK);
		E0 = extent_in(0);
		CU_ASSERT_EQUAL_FATAL(rig_primary(&R, 0), 0);
		CU_ASSERT_FALSE_FATAL(in_set(0, 2));
		CU_ASSERT_EQUAL(put(0, E0, 2, 5000), 0);
		R.node[0].cat_mode = RIG_CAT_LATE;
		R.node[0].cat_late_ms = 9000;
		pc = part_at(0, 0)->conf;
		pc.nwant = 2;
		pc.want[0] = 1;
		pc.want[1] = 3;
		rig_put(&R, "part/0000", vms_cat_part_encode(&pc));
		for (int i = 0; i < 4000; i++) {
			a = part_at(0, 0);
			if (a->cand && a->proposed)
				break;
			rig_run(&R, 5);
		}
		CU_ASSERT_TRUE_FATAL(a->cand == 3 && a->proposed);
		rig_cut(&R, 0, 2, true);
		rig_cut(&R, 2, 0, true);
		for (int i = 0; i < 1600 && (c = part_at(2, 0)) && c->learn; i++)
			rig_run(&R, 5);
		CU_ASSERT_FALSE(c && c->learn);
		CU_ASSERT_FALSE(in_set(0, 2));
		for (int i = 0; i < 4000 && !in_set(0, 2); i++)
			rig_run(&R, 5);
		CU_ASSERT_TRUE(in_set(0, 2));
		rig_node_crash(&R, 0, true);
		rig_node_crash(&R, 1, true);
		for (int i = 0; i < 800 && (rig_primary(&R, 0) != 2 || !part_at(2, 0) ||
					    part_at(2, 0)->state != PS_ACTIVE);
		     i++)
			rig_run(&R, 20);
		connect_all();
		rig_run(&R, 600);
		CU_ASSERT_EQUAL(shows(E0, 2), !mutant);
		if (mutant)
			rig_close(&R);
		else
			down();
	}
	R.mutant = 0;
}

/* The catalog has moved (doc/etcd.md): the old one changes nothing any more, all nodes are
 * stopped and started together, with the new one. Nothing is lost in memory mode either. */
static void test_move_catalog(void)
{
	uint64_t last;

	up(3, 2, 46, VMS_ACK_MEMORY);
	rig_run(&R, 6000);
	for (uint32_t p = 0; p < 1u << BITS; p++)
		CU_ASSERT_EQUAL(put(0, extent_in(p), 10 + p, 5000), 0);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].cat_mode = RIG_CAT_DOWN;
	last = R.now_us;
	for (unsigned i = 0; i < 3; i++) {
		struct vms_node_event ev = {.type = VMS_NEV_STOP, .now_ms = R.node[i].n->now_ms};

		vms_node_step(R.node[i].n, &ev);
		vms_node_turn_end(R.node[i].n, ev.now_ms);
	}
	for (unsigned i = 0; i < 3; i++)
		while (!R.node[i].stopped && R.now_us - last < 5000000)
			rig_run(&R, 10);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(R.node[i].stopped);
		rig_node_crash(&R, i, true);
		R.node[i].cat_mode = RIG_CAT_OK;
	}
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	for (uint32_t p = 0; p < 1u << BITS; p++)
		CU_ASSERT_EQUAL(put(0, extent_after(p, extent_in(p)), 20 + p, 5000), 0);
	CU_ASSERT(R.now_us - last < 4000000);
	for (size_t i = 0; i < R.kv.n; i++)
		CU_ASSERT(strncmp(R.kv.d[i].key, "loss/", 5) != 0 || !R.kv.d[i].val);
	connect_all();
	for (uint32_t p = 0; p < 1u << BITS; p++)
		CU_ASSERT_TRUE(shows(extent_in(p), 10 + p));
	down();
}

/* Ticks name the peers whose leases matter, and no others. */
static void test_ticks_name_who_matters(void)
{
	up(3, 2, 39, VMS_ACK_DISK);
	for (int round = 0; round < 2; round++) {
		for (unsigned nd = 0; nd < 2; nd++) {
			unsigned want = 0;

			for (unsigned k = 0; k < 3; k++) {
				bool with = false;

				for (uint32_t p = 0; p < 1u << BITS; p++)
					with |= k != nd && part_at(nd, p) &&
						part_at(nd, p)->primary && in_set(p, k);
				want += with;
			}
			CU_ASSERT_EQUAL(R.gw[0].npeers[nd], want);
			CU_ASSERT(!round || want <= 1);
		}
		rig_node_crash(&R, 2, false);
		rig_run(&R, 6000);
	}
	down();
}

static void test_member_without_catalog(void)
{
	up(3, 3, 110, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	R.node[2].cat_mode = RIG_CAT_DOWN;
	rig_node_crash(&R, 1, false);
	CU_ASSERT_EQUAL(put(0, E0, 2, 8000), 0);
	CU_ASSERT(rig_conf(&R, 0, NULL).nmembers == 2 && in_set(0, 2));
	CU_ASSERT_EQUAL(part_at(2, 0)->conf.epoch, rig_conf(&R, 0, NULL).epoch);
	CU_ASSERT_TRUE(shows(E0, 2));
	down();
}

/* Five copies are as many as there may be: when the one that leads is to go, and who is to
 * lead instead has none yet, room is made by a member that leads meanwhile (simulator seed
 * 50028). Returns whether the set became as it is wanted. */
static bool full_set_moves(uint32_t mutant)
{
	struct vms_part_conf pc;
	bool moved;

	R.mutant = mutant;
	up(6, 5, 91, VMS_ACK_DISK);
	E0 = extent_in(0);
	CU_ASSERT_EQUAL(put(0, E0, 1, 5000), 0);
	pc = rig_conf(&R, 0, NULL);
	CU_ASSERT_EQUAL_FATAL(pc.nmembers, 5);
	CU_ASSERT_FALSE_FATAL(in_set(0, 5));
	CU_ASSERT_EQUAL_FATAL(pc.primary, 1);
	pc.nwant = 5;
	pc.want[0] = 6;
	for (unsigned i = 1; i < 5; i++)
		pc.want[i] = i + 1;
	rig_put(&R, "part/0000", vms_cat_part_encode(&pc));
	for (int i = 0; i < 600 && (in_set(0, 0) || rig_primary(&R, 0) != 5); i++)
		rig_run(&R, 100);
	moved = in_set(0, 5) && !in_set(0, 0) && rig_primary(&R, 0) == 5;
	CU_ASSERT_EQUAL(rig_conf(&R, 0, NULL).nmembers, 5);
	connect_all();
	rig_run(&R, 600);
	CU_ASSERT_TRUE(shows(E0, 1));
	CU_ASSERT_EQUAL(put(0, E0, 2, 5000), 0);
	down();
	R.mutant = 0;
	return moved;
}

static void test_full_set(void)
{
	CU_ASSERT_TRUE(full_set_moves(0));
	CU_ASSERT_FALSE(full_set_moves(MUT_FULL_LEAD));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_told_in_parts),
	VMS_TEST(test_unknown_outcome),
	VMS_TEST(test_drop_unknown),
	VMS_TEST(test_drop_asked_for),
	VMS_TEST(test_add_unknown),
	VMS_TEST(test_add_pages),
	VMS_TEST(test_min_copies),
	VMS_TEST(test_min_copies_acks),
	VMS_TEST(test_min_copies_cancel),
	VMS_TEST(test_min_copies_flush),
	VMS_TEST(test_min_copies_flush_lead),
	VMS_TEST(test_move_catalog),
	VMS_TEST(test_full_set),
	VMS_TEST(test_added_late),
	VMS_TEST(test_ticks_name_who_matters),
	VMS_TEST(test_member_without_catalog),
};
VMS_TEST_MAIN("failover: members", tests)
