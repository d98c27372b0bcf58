// SPDX-License-Identifier: GPL-2.0-only
/* The gateway core while sets change: leases of the members, another primary, nodes
 * that come and go, bad copies. Scripted nodes; each defect the core can be built with
 * (enum vms_gw_mutant, from 30 on) is shown to be seen by the case that guards it. */
#include <jansson.h>
#include <stdio.h>

#include "target/gw_int.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

static struct vms_gw_cmd w1;
static uint8_t w1_data[8192];
static struct vms_iov w1_iov;

static uint64_t stat_of(const char *name)
{
	json_t *j = vms_gw_json(f.gw, "stats");
	char key[64];
	uint64_t n;

	snprintf(key, sizeof(key), "gateway.%s", name);
	n = (uint64_t)json_integer_value(json_object_get(j, key));
	json_decref(j);
	return n;
}

/* Ticks from now on tell these leases of the peers 2 and 3; 0: that one is not told. */
static void leases(uint32_t of2_ms, uint32_t of3_ms)
{
	f.npeers = 0;
	if (of2_ms) {
		f.peer[f.npeers] = 2;
		f.peer_ms[f.npeers++] = of2_ms;
	}
	if (of3_ms) {
		f.peer[f.npeers] = 3;
		f.peer_ms[f.npeers++] = of3_ms;
	}
	f_run(250);
}

static void pass(uint64_t ms) /* without a tick */
{
	f.now += ms;
	f_pump();
}

static bool cached(void)
{
	bool done;

	CU_ASSERT_EQUAL(f_read_value(24, 8, &done), 1);
	return done;
}

/* ---- leases of the set's members ---- */

static void start_cached(uint32_t mutant)
{
	f_start(mutant, DISK);
	f_other_writes(3, 1);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	CU_ASSERT(cached());
}

static bool past_peer_lease(uint32_t mutant)
{
	bool was;

	start_cached(mutant);
	leases(700, 0); /* counts from the acknowledgement before, 250 ms ago */
	pass(400);
	CU_ASSERT(cached());
	pass(100); /* the session's lease goes on for long */
	was = cached();
	f_run(500); /* it was renewed */
	CU_ASSERT(cached());
	f_stop();
	return was;
}
static void a_page_does_not_outlast_a_members_lease(void)
{
	CU_ASSERT_FALSE(past_peer_lease(0));
	CU_ASSERT(past_peer_lease(VMS_GWM_PEER_LEASE));
}

static void a_dead_peer_concerns_its_own_partitions_only(void)
{
	start_cached(0);
	leases(2000, 1); /* node 3 is in sets of others */
	pass(100);
	CU_ASSERT(cached());
	f_set(2, (uint32_t[]){1, 2, 3, 0});
	f_pump();
	leases(2000, 1);
	pass(100);
	CU_ASSERT_FALSE(cached());
	CU_ASSERT_FALSE(cached());
	f_set(3, (uint32_t[]){1, 2, 0}); /* dropped */
	f_pump();
	leases(2000, 0);
	cached();
	CU_ASSERT(cached());
	f_stop();
}

static bool by_old_peers(uint32_t mutant)
{
	bool was;

	start_cached(mutant);
	leases(UINT32_MAX, UINT32_MAX);
	leases(0, 1);
	pass(100);
	was = cached();
	f_stop();
	return was;
}
static void a_lease_that_is_not_told_any_more_has_run_out(void)
{
	CU_ASSERT_FALSE(by_old_peers(0));
	CU_ASSERT(by_old_peers(VMS_GWM_OLD_PEERS));
}

/* Simulator seed 2294: the node leads nothing any more, and the gateway, which the catalog
 * does not reach, believes that it does. */
static bool by_unnamed(uint32_t mutant)
{
	bool was;

	start_cached(mutant);
	leases(2000, 2000);
	CU_ASSERT(cached());
	leases(0, 0);
	was = cached();
	leases(2000, 2000);
	cached();
	CU_ASSERT(cached());
	f_stop();
	return was;
}

/* The set has a member that the newest tick does not know of. */
static bool by_unnamed_member(uint32_t mutant)
{
	bool was;

	start_cached(mutant);
	leases(2000, 0);
	f_set(2, (uint32_t[]){1, 2, 3, 0});
	f_pump();
	cached();
	was = cached();
	leases(2000, 2000);
	cached();
	CU_ASSERT(cached());
	f_stop();
	return was;
}

static void a_lease_that_is_not_named_is_none(void)
{
	CU_ASSERT_FALSE(by_unnamed(0));
	CU_ASSERT(by_unnamed(VMS_GWM_UNNAMED));
	CU_ASSERT_FALSE(by_unnamed_member(0));
	CU_ASSERT(by_unnamed_member(VMS_GWM_UNNAMED));
}

static bool before_first_tick(uint32_t mutant)
{
	bool was;

	start_cached(mutant);
	leases(1000, 0);
	f_lose(1);
	pass(100);
	f_pump();
	CU_ASSERT(f.connected[1]);
	cached();
	was = cached();
	f_run(250);
	cached();
	CU_ASSERT(cached());
	f_stop();
	return was;
}
static void no_page_is_good_before_the_first_tick(void)
{
	CU_ASSERT_FALSE(before_first_tick(0));
	CU_ASSERT(before_first_tick(VMS_GWM_HELLO_PAGES));
}

static int read_in_next_epoch(uint32_t mutant)
{
	int v;

	start_cached(mutant);
	f_set(2, (uint32_t[]){2, 1, 0}); /* the lead goes away and comes back */
	f_set(3, (uint32_t[]){1, 2, 0});
	f_store(3, 0xff, memset(w1_data, 2, 4096)); /* meanwhile: nobody told us */
	f_pump();
	v = f_read_value(24, 8, NULL);
	f_stop();
	return v;
}
static void a_page_does_not_outlast_its_epoch(void)
{
	CU_ASSERT_EQUAL(read_in_next_epoch(0), 2);
	CU_ASSERT_EQUAL(read_in_next_epoch(VMS_GWM_OLD_EPOCH), 1);
}

/* ---- another primary ---- */

static void submit_write(uint8_t value)
{
	memset(w1_data, value, sizeof(w1_data));
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w1), VMS_GW_PENDING);
	f_pump();
}

/* A write whose primary dies before it has answered. */
static void start_orphan(uint32_t mutant)
{
	f_start(mutant, DISK);
	f.hold_writes = true;
	submit_write(3);
	f.reachable[1] = false;
	f_lose(1);
	f_forget_held();
}

/* Node 1 stands still, its connection stays. */
static bool write_moves(uint32_t mutant)
{
	struct vms_msg first;
	uint64_t tick2;
	bool ended;

	f_start(mutant, DISK);
	tick2 = f.tick[2];
	f.mute[1] = true;
	submit_write(3);
	first = f.last_write;
	CU_ASSERT_EQUAL(f.n_write, 1);
	f_run(750); /* newer ticks of node 2 come: they are not this command's */
	f_set(2, (uint32_t[]){2, 0});
	f_pump();
	ended = f_ended(&w1);
	if (ended) {
		CU_ASSERT_EQUAL(w1.status, 0);
		CU_ASSERT_EQUAL(f.n_write, 2);
		CU_ASSERT_EQUAL(f.write_node, 2);
		CU_ASSERT_EQUAL(f.last_write.epoch, 2);
		CU_ASSERT(f.last_write.flags & VMS_F_RETRY);
		CU_ASSERT_EQUAL(f.last_write.slot, first.slot);
		CU_ASSERT_EQUAL(f.last_write.sequence, first.sequence);
		CU_ASSERT_EQUAL(f.last_write.tick, tick2);
		CU_ASSERT_EQUAL(stat_of("ops_moved"), 1);
		f.mute[1] = false; /* what it says now is nobody's business */
		f_release();
		CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 3);
	}
	f_stop();
	return ended;
}
static void a_write_goes_on_at_the_new_primary(void)
{
	CU_ASSERT(write_moves(0));
	CU_ASSERT_FALSE(write_moves(VMS_GWM_STAY));
}

static void a_write_of_a_dead_primary_ends_good_or_busy(void)
{
	/* it was ordered, and the new primary knows */
	start_orphan(0);
	f_run(2000);
	CU_ASSERT_FALSE(f_ended(&w1));
	f.hold_writes = false;
	f_set(2, (uint32_t[]){2, 0});
	f_pump();
	CU_ASSERT(f_ended(&w1) && w1.status == 0);
	f_stop();
	/* it was not */
	start_orphan(0);
	f_run(2000);
	f.hold_writes = false;
	f.write_status = VMS_E_TOO_OLD;
	f_set(2, (uint32_t[]){2, 0});
	f_pump();
	CU_ASSERT(f_ended(&w1) && w1.status == VMS_E_BUSY);
	/* nothing was sent yet: busy after T_op */
	f.write_status = 0;
	f.reachable[2] = false;
	f_lose(2);
	submit_write(4);
	f_run(2250);
	CU_ASSERT(f_ended(&w1) && w1.status == VMS_E_BUSY);
	f_stop();
}

/* A write over two extents, the second one in the partition of node 2. */
static void submit_two(void)
{
	uint32_t e = 0;

	while (vms_extent_partition(f.vol->rec.lineage, e, 1) ||
	       !vms_extent_partition(f.vol->rec.lineage, e + 1, 1))
		e++;
	CU_ASSERT_FATAL((e + 2) * VMS_EXTENT_CHUNKS <= F_CHUNKS);
	w1 = f_cmd(VMS_GW_WRITE, (uint64_t)(e + 1) * VMS_EXTENT_BLOCKS - 4, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w1), VMS_GW_PENDING);
	f_pump();
}

static void nothing_is_sent_while_a_piece_has_nowhere_to_go(void)
{
	f_second = 2;
	f_start(0, DISK);
	submit_two();
	CU_ASSERT(f_ended(&w1) && !w1.status && f.writes_at[1] == 1 && f.writes_at[2] == 1);
	f.reachable[2] = false;
	f_lose(2);
	submit_two();
	f_run(2500);
	CU_ASSERT(f_ended(&w1) && w1.status == VMS_E_BUSY);
	CU_ASSERT_EQUAL(f.writes_at[1], 1);
	/* back in time */
	submit_two();
	f_run(250);
	CU_ASSERT_EQUAL(f.writes_at[1], 1);
	f.reachable[2] = true;
	f_run(1500);
	CU_ASSERT(f_ended(&w1) && w1.status == 0);
	CU_ASSERT(f.writes_at[1] == 2 && f.writes_at[2] == 2);
	/* one that is there and takes nothing */
	f.second_status = VMS_E_AGAIN;
	f.reachable[2] = false;
	f_lose(2);
	f.reachable[2] = true;
	f_run(1500);
	submit_two(); /* nobody knows yet */
	f_run(2500);
	CU_ASSERT(f_ended(&w1));
	f.writes_at[1] = 0;
	submit_two();
	f_run(2500);
	CU_ASSERT(f_ended(&w1) && w1.status == VMS_E_BUSY);
	CU_ASSERT_EQUAL(f.writes_at[1], 0);
	submit_two();
	f_run(250);
	f.second_status = 0;
	f_run(500);
	CU_ASSERT(f_ended(&w1) && w1.status == 0);
	CU_ASSERT_EQUAL(f.writes_at[1], 1);
	f_stop();
	f_second = 0;
}

static void a_refusal_makes_it_read_the_configuration(void)
{
	f_start(0, DISK);
	f_watches(false);
	f_set(2, (uint32_t[]){2, 1, 0}); /* the watch does not tell */
	submit_write(3);
	f_run(100);
	CU_ASSERT(f_ended(&w1) && w1.status == 0);
	CU_ASSERT_EQUAL(f.write_node, 2);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 3);
	f_watches(true);
	f_set(3, (uint32_t[]){1, 2, 0});
	f_run(500);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 4), 0);
	CU_ASSERT_EQUAL(f.write_node, 1);
	f_stop();
}

static void reads_go_on_at_the_new_primary(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	f_other_writes(3, 1);
	/* a page request at a primary that stands still */
	f.mute[1] = true;
	c = f_cmd(VMS_GW_READ, 24, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_run(1000);
	CU_ASSERT_FALSE(f_ended(&c));
	f_set(2, (uint32_t[]){2, 0});
	f_run(100);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT_EQUAL(stat_of("reads_moved"), 1);
	vms_gw_unpin(f.gw, &c);
	/* nobody leads for longer than T_op: it waits for the failover all the same */
	f.reachable[2] = false;
	f_lose(2);
	f_forget_held();
	c = f_cmd(VMS_GW_READ, 4096, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_run(3000);
	CU_ASSERT_FALSE(f_ended(&c));
	f.mute[1] = false;
	f_lose(1);
	f_set(3, (uint32_t[]){1, 0});
	f_run(500);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	vms_gw_unpin(f.gw, &c);
	/* but not for ever */
	f.reachable[1] = false;
	f_lose(1);
	f.nended = 0;
	c = f_cmd(VMS_GW_READ, 8192, 8);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_run(4250);
	CU_ASSERT(f_ended(&c) && c.status == VMS_E_BUSY);
	f_stop();
}

static bool abort_ends(uint32_t mutant)
{
	bool ended;

	start_orphan(mutant);
	vms_gw_abort(f.gw, &w1);
	f_run(5000); /* the set may still shed its dead members */
	CU_ASSERT_FALSE(f_ended(&w1));
	f_run(1250);
	ended = f_ended(&w1);
	if (ended) {
		CU_ASSERT_EQUAL(w1.status, VMS_E_TIMEOUT); /* it may have been applied */
		CU_ASSERT_EQUAL(stat_of("aborts_given_up"), 1);
	}
	f_stop();
	return ended;
}
static void an_abort_does_not_wait_for_ever(void)
{
	CU_ASSERT(abort_ends(0));
	CU_ASSERT_FALSE(abort_ends(VMS_GWM_ABORT_WAITS));
}

static void an_aborted_op_is_settled_by_the_new_primary(void)
{
	start_orphan(0);
	vms_gw_abort(f.gw, &w1);
	f_run(1000);
	CU_ASSERT_FALSE(f_ended(&w1));
	f_set(2, (uint32_t[]){2, 0});
	f_pump();
	CU_ASSERT_EQUAL(f.n_cancel, 1);
	CU_ASSERT(f_ended(&w1) && w1.status == VMS_E_CANCELLED);
	CU_ASSERT_EQUAL(f.n_write, 1);
	f_stop();
}

/* ---- flush ---- */

static struct vms_gw_cmd fl;
static void submit_flush(void)
{
	fl = f_cmd(VMS_GW_FLUSH, 0, 0);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &fl), VMS_GW_PENDING);
	f_pump();
}

static bool flush_moves(uint32_t mutant)
{
	bool ended;

	f_start(mutant, MEMORY);
	f.mute[1] = true;
	submit_flush();
	CU_ASSERT(f.n_flush == 1 && f.flush_node == 1);
	f_set(2, (uint32_t[]){2, 0});
	f_pump();
	ended = f_ended(&fl);
	if (ended) {
		CU_ASSERT_EQUAL(fl.status, 0);
		CU_ASSERT(f.n_flush == 2 && f.flush_node == 2);
	}
	f_stop();
	return ended;
}
static void a_flush_asks_who_leads_now(void)
{
	CU_ASSERT(flush_moves(0));
	CU_ASSERT_FALSE(flush_moves(VMS_GWM_FLUSH_ONCE));
}

/* The news and the former primary's answer come in one turn. */
static void an_answer_does_not_cover_what_was_taken_over(void)
{
	f_start(0, MEMORY);
	f.hold_flush = true;
	submit_flush();
	f_set(2, (uint32_t[]){2, 1, 0});
	while (f.ncall)
		f_call_run();
	f.hold_flush = false;
	f_handle(f.held[0]);
	f_forget_held();
	CU_ASSERT_FALSE(f_ended(&fl));
	f_pump();
	CU_ASSERT(f_ended(&fl) && fl.status == 0);
	CU_ASSERT_EQUAL(f.flush_node, 2);
	f_stop();
}

static int flush_told_of_loss(uint32_t mutant)
{
	int rc;

	f_start(mutant, MEMORY);
	submit_flush();
	CU_ASSERT(f_ended(&fl) && fl.status == 0);
	f_watches(false); /* late */
	f_put("loss/0000000000000001", "1");
	f.flush_loss = 1;
	submit_flush();
	CU_ASSERT(f_ended(&fl));
	rc = fl.status;
	f_stop();
	return rc;
}
static void a_loss_that_a_node_knows_is_not_missed(void)
{
	CU_ASSERT_EQUAL(flush_told_of_loss(0), VMS_E_DATA_LOSS);
	CU_ASSERT_EQUAL(flush_told_of_loss(VMS_GWM_FLUSH_LOSS), 0);
}

static void a_flush_of_a_partition_that_is_gone_ends_busy(void)
{
	f_start(0, MEMORY);
	f.reachable[1] = false;
	f_lose(1);
	submit_flush();
	f_run(8250);
	CU_ASSERT(f_ended(&fl) && fl.status == VMS_E_BUSY);
	f_stop();
}

/* ---- nodes come and go ---- */

static void nodes_join_move_and_leave(void)
{
	f_start(0, DISK);
	f_node(3, "host3:1");
	f_pump();
	CU_ASSERT(f.connected[3]);
	f_run(500);
	f_set(2, (uint32_t[]){3, 1, 0});
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 5), 0);
	CU_ASSERT_EQUAL(f.write_node, 3);
	/* another address, also while the old one is being tried */
	f_node(3, "host9:1");
	f_run(500);
	CU_ASSERT_STRING_EQUAL(f.address[3], "host9:1");
	CU_ASSERT(f.connected[3]);
	f.reachable[3] = false;
	f_lose(3);
	f_run(250);
	f_node(3, "host10:1");
	f.reachable[3] = true;
	f_run(500);
	CU_ASSERT_STRING_EQUAL(f.address[3], "host10:1");
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 6), 0);
	CU_ASSERT_EQUAL(f.write_node, 3);
	f_set(3, (uint32_t[]){1, 0});
	f_put("node/00000003", NULL);
	f_run(500);
	CU_ASSERT_FALSE(f.connected[3]);
	CU_ASSERT_FALSE(f.want[3]);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 6);
	f_stop();
}

static bool stays_after_gap(uint32_t mutant)
{
	bool was;

	f_start(mutant, DISK);
	f_watches(false);
	f_put("node/00000002", NULL);
	f_watches(true);
	f_run(500);
	was = f.connected[2];
	CU_ASSERT(f.connected[1]);
	f_node(2, "host2:1"); /* the new watch tells */
	f_run(500);
	CU_ASSERT(f.connected[2]);
	f_stop();
	return was;
}
static void a_node_that_left_unseen_is_forgotten(void)
{
	CU_ASSERT_FALSE(stays_after_gap(0));
	CU_ASSERT(stays_after_gap(VMS_GWM_KEEP_NODES));
}

static void a_node_that_stands_still_does_not_stop_the_start(void)
{
	f_start(0, DISK);
	vms_gw_free(f.gw);
	f.ncall = f.nq = 0;
	memset(f.connected, 0, sizeof(f.connected));
	f.mute[2] = true; /* its kernel takes connections */
	f_gw_start(0);
	f_run(2000);
	CU_ASSERT_FALSE(vms_gw_ready(f.gw)); /* it may have ops of our predecessor */
	f_run(4000);
	CU_ASSERT(vms_gw_ready(f.gw));
	f_stop();
}

static void a_newer_process_is_noticed_after_a_gap_too(void)
{
	struct vms_cat_gateway g = {.id = 1, .name = "gw", .incarnation = 9};

	f_start(0, DISK);
	f_watches(false);
	f_put_free("gateway/00000001", vms_cat_gateway_encode(&g));
	f_watches(true);
	f_run(500);
	CU_ASSERT_EQUAL(f.fatals, 1);
	f_stop();
}

/* ---- bad copies ---- */

static unsigned repairs_of(uint32_t mutant)
{
	unsigned n;

	f_start(mutant, DISK);
	f_other_writes(3, 1);
	f.corrupt_node1 = true;
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	n = f.n_repair;
	CU_ASSERT(!n || f.repair_node == 1);
	f_stop();
	return n;
}
static void a_bad_copy_is_told_when_the_reader_is_served(void)
{
	struct vms_gw_cmd c;

	CU_ASSERT_EQUAL(repairs_of(0), 1);
	CU_ASSERT_EQUAL(repairs_of(VMS_GWM_NO_REPAIR), 0);
	/* not before: the good copy's node does not answer now */
	f_start(0, DISK);
	f_other_writes(3, 1);
	f.corrupt_node1 = f.corrupt_lba = f.mute[2] = true;
	c = f_cmd(VMS_GW_READ, 24, 8);
	f.nended = 0;
	vms_gw_submit(f.gw, &c);
	f_run(1000);
	CU_ASSERT_FALSE(f_ended(&c)); /* nor is it lost */
	CU_ASSERT_EQUAL(f.n_repair, 0);
	f.mute[2] = false;
	f_forget_held();
	f_run(1000);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT_EQUAL(f.n_repair, 1);
	vms_gw_unpin(f.gw, &c);
	f_stop();
}

static void by_place_too(void)
{
	f_start(0, DISK);
	f_other_writes(3, 1);
	f.corrupt_lba = true;
	for (int i = 0; i < 11; i++)
		pass(200); /* no lease any more: by place at the primary */
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	CU_ASSERT(f.n_lba > 0);
	CU_ASSERT_EQUAL(f.n_repair, 1);
	CU_ASSERT_EQUAL(f.repair_node, 1);
	f_stop();
}

static void a_bad_disk_is_not_drowned_in_repairs(void)
{
	f_start(0, DISK);
	for (uint32_t i = 0; i < 500; i++)
		f_store(i, 0xff, memset(w1_data, 1, 4096));
	f.corrupt_node1 = true;
	CU_ASSERT_EQUAL(f_read_value(0, 4000, NULL), 1);
	CU_ASSERT_EQUAL(f.n_repair, 64);
	CU_ASSERT_EQUAL(stat_of("repairs_held"), 436);
	for (uint32_t i = 0; i < 100; i++)
		f_store(i, 0xff, memset(w1_data, 2, 4096));
	f_lose(1); /* our pages are void */
	f_run(100);
	f_run(150);
	f_tick(1);
	CU_ASSERT_EQUAL(f_read_value(0, 800, NULL), 2);
	CU_ASSERT_EQUAL(f.n_repair, 64 + 25);
	f_stop();
}

/* ---- a gateway that is no path ---- */

/* Node 2 leads and is silent here. */
static unsigned drops_of(uint32_t mutant, uint32_t others_ms, bool all)
{
	unsigned n;

	f_start(mutant, DISK);
	f_set(2, (uint32_t[]){2, 1, 3, 0});
	f_pump();
	leases(others_ms, 2000);
	for (uint32_t i = 1; i <= F_NODES; i++)
		f.mute[i] = all || i == 2;
	f_run(2250);
	CU_ASSERT_EQUAL(f.drops, 0);
	CU_ASSERT(vms_gw_reaches(f.gw));
	f_run(1000);
	n = f.drops;
	CU_ASSERT_EQUAL(vms_gw_reaches(f.gw), !n);
	f_run(5000);
	CU_ASSERT_EQUAL(f.drops, n); /* once */
	for (uint32_t i = 1; i <= F_NODES; i++)
		f.mute[i] = false;
	f_forget_held();
	f_run(4000);
	CU_ASSERT(vms_gw_reaches(f.gw));
	f_stop();
	return n;
}

static void initiators_leave_a_gateway_that_is_cut_off(void)
{
	CU_ASSERT_EQUAL(drops_of(0, 2000, false), 1);
	CU_ASSERT_EQUAL(drops_of(0, 0, false), 0); /* nobody reaches it */
	CU_ASSERT_EQUAL(drops_of(0, 2000, true), 1);
	CU_ASSERT_EQUAL(drops_of(VMS_GWM_REACH, 2000, false), 0);
	CU_ASSERT_EQUAL(drops_of(VMS_GWM_REACH, 2000, true), 0);
}

/* A node that was away for all comes back; gateways are not always the first to reach it. */
static void one_that_others_reach_first_is_no_cut(void)
{
	f_start(0, DISK);
	f_set(2, (uint32_t[]){2, 1, 3, 0});
	f_pump();
	leases(0, 2000);
	f.mute[2] = true;
	f_run(6000);
	leases(2000, 2000);
	f_run(2000);
	CU_ASSERT_EQUAL(f.drops, 0);
	CU_ASSERT(vms_gw_reaches(f.gw));
	f_run(1000); /* by now it is */
	CU_ASSERT_EQUAL(f.drops, 1);
	CU_ASSERT_FALSE(vms_gw_reaches(f.gw));
	f_stop();
}

/* ---- what the cluster's records refuse ---- */

/* Simulator seed 9103: the volume grew while the gateway stood still for 9.5 s. */
static int beyond_the_end_after(uint32_t mutant, uint64_t ms)
{
	struct vms_gw_cmd c;
	int status;

	f_start(mutant, DISK);
	f_run(500);
	c = f_cmd(VMS_GW_READ, F_CHUNKS * 8, 8);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_RANGE);
	f.now += ms;
	vms_gw_turn_begin(f.gw, f.now);
	c = f_cmd(VMS_GW_READ, F_CHUNKS * 8, 8);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_DONE);
	status = c.status;
	vms_gw_turn_end(f.gw, f.now);
	f_run(4000);
	c = f_cmd(VMS_GW_READ, F_CHUNKS * 8, 8);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_RANGE);
	f_stop();
	return status;
}
static void one_that_stood_still_does_not_go_by_old_records(void)
{
	CU_ASSERT_EQUAL(beyond_the_end_after(0, 1000), VMS_E_RANGE);
	CU_ASSERT_EQUAL(beyond_the_end_after(0, 2300), VMS_E_BUSY);
	CU_ASSERT_EQUAL(beyond_the_end_after(VMS_GWM_SLEPT, 2300), VMS_E_RANGE);
}

/* GET LBA STATUS is asked at the end too, where there is nothing to look at. */
static int end_after(uint32_t mutant, uint64_t lba, uint64_t ms)
{
	struct vms_gw_lba_range ranges[4];
	struct vms_gw_cmd c;
	int status;

	f_start(mutant, DISK);
	f_run(500);
	for (int slept = 0; slept < 2; slept++) {
		c = f_cmd(VMS_GW_LBA_STATUS, lba, 0);
		c.ranges = ranges;
		c.nranges = 4;
		CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_DONE);
		status = c.status;
		if (slept)
			break;
		CU_ASSERT_EQUAL(status, VMS_E_RANGE);
		f.now += ms;
		vms_gw_turn_begin(f.gw, f.now);
	}
	/* what no record says is wrong at any time */
	c = f_cmd(VMS_GW_LBA_STATUS, 0, 0);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_DONE);
	CU_ASSERT_EQUAL(c.status, VMS_E_INVAL);
	vms_gw_turn_end(f.gw, f.now);
	f_run(4000);
	c = f_cmd(VMS_GW_LBA_STATUS, lba, 0);
	c.ranges = ranges;
	c.nranges = 4;
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_RANGE);
	f_stop();
	return status;
}
static void nor_does_get_lba_status(void)
{
	for (unsigned beyond = 0; beyond < 2; beyond++) {
		uint64_t lba = F_CHUNKS * 8 + beyond;

		CU_ASSERT_EQUAL(end_after(0, lba, 1000), VMS_E_RANGE);
		CU_ASSERT_EQUAL(end_after(0, lba, 2300), VMS_E_BUSY);
	}
	CU_ASSERT_EQUAL(end_after(VMS_GWM_OLD_END, F_CHUNKS * 8, 2300), VMS_E_RANGE);
}

static const struct vms_test tests[] = {
	VMS_TEST(one_that_stood_still_does_not_go_by_old_records),
	VMS_TEST(nor_does_get_lba_status),
	VMS_TEST(initiators_leave_a_gateway_that_is_cut_off),
	VMS_TEST(one_that_others_reach_first_is_no_cut),
	VMS_TEST(a_page_does_not_outlast_a_members_lease),
	VMS_TEST(a_dead_peer_concerns_its_own_partitions_only),
	VMS_TEST(a_lease_that_is_not_told_any_more_has_run_out),
	VMS_TEST(a_lease_that_is_not_named_is_none),
	VMS_TEST(no_page_is_good_before_the_first_tick),
	VMS_TEST(a_page_does_not_outlast_its_epoch),
	VMS_TEST(a_write_goes_on_at_the_new_primary),
	VMS_TEST(a_write_of_a_dead_primary_ends_good_or_busy),
	VMS_TEST(nothing_is_sent_while_a_piece_has_nowhere_to_go),
	VMS_TEST(a_refusal_makes_it_read_the_configuration),
	VMS_TEST(reads_go_on_at_the_new_primary),
	VMS_TEST(an_abort_does_not_wait_for_ever),
	VMS_TEST(an_aborted_op_is_settled_by_the_new_primary),
	VMS_TEST(a_flush_asks_who_leads_now),
	VMS_TEST(an_answer_does_not_cover_what_was_taken_over),
	VMS_TEST(a_loss_that_a_node_knows_is_not_missed),
	VMS_TEST(a_flush_of_a_partition_that_is_gone_ends_busy),
	VMS_TEST(nodes_join_move_and_leave),
	VMS_TEST(a_node_that_left_unseen_is_forgotten),
	VMS_TEST(a_node_that_stands_still_does_not_stop_the_start),
	VMS_TEST(a_newer_process_is_noticed_after_a_gap_too),
	VMS_TEST(a_bad_copy_is_told_when_the_reader_is_served),
	VMS_TEST(by_place_too),
	VMS_TEST(a_bad_disk_is_not_drowned_in_repairs),
};
VMS_TEST_MAIN("gateway failover", tests)
