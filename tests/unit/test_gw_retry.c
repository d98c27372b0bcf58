// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ops that are lost, refused, aborted or half applied: repeated with their number and tick,
 * given up in time, never answered before they are settled.
 */
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

static uint8_t w1_data[8192];
static struct vms_iov w1_iov;

/* ---- nothing late ---- */

static struct vms_gw_cmd w1;

/* A write is sent, its connection lost, and made again; the answer never came. */
static void lose_a_write(uint32_t mutant)
{
	f_start(mutant, DISK);
	memset(w1_data, 3, sizeof(w1_data));
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.hold_writes = true;
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w1), VMS_GW_PENDING);
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 1);
	f_run(250); /* a newer tick comes */
	f_lose(1);
	f_forget_held();
	f_run(600);
}

static void a_lost_op_is_repeated_with_id_and_tick(void)
{
	lose_a_write(0);
	CU_ASSERT_EQUAL(f.n_write, 2);
	CU_ASSERT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	CU_ASSERT_EQUAL(f.last_write.slot, f.prev_write.slot);
	CU_ASSERT_EQUAL(f.last_write.tick, f.prev_write.tick);
	CU_ASSERT(f.last_write.flags & VMS_F_RETRY);
	CU_ASSERT_FALSE(f.prev_write.flags & VMS_F_RETRY);
	CU_ASSERT_FALSE(f_ended(&w1)); /* nobody knows yet */
	f.hold_writes = false;
	f_release();
	CU_ASSERT(f_ended(&w1));
	CU_ASSERT_EQUAL(w1.status, 0);
	f_stop();

	lose_a_write(VMS_GWM_RESTAMP);
	CU_ASSERT_NOT_EQUAL(f.last_write.tick, f.prev_write.tick);
	f_stop();
	lose_a_write(VMS_GWM_NEW_ID);
	CU_ASSERT_NOT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	f_stop();
	lose_a_write(VMS_GWM_FAIL_UNKNOWN);
	CU_ASSERT(f_ended(&w1));
	f_stop();
}

static void a_refusal_of_a_lost_op_counts_while_outcomes_are_kept(void)
{
	lose_a_write(0);
	f.hold_writes = false;
	f.write_status = VMS_E_TOO_OLD;
	f_release();
	CU_ASSERT_EQUAL(w1.status, VMS_E_BUSY);
	f_stop();

	lose_a_write(0);
	f_run(10000); /* a long failover */
	f.hold_writes = false;
	f.write_status = VMS_E_TOO_OLD;
	f_release();
	CU_ASSERT_EQUAL(w1.status, VMS_E_BUSY);
	f_stop();

	lose_a_write(0);
	f_run(VMS_OUTCOME_KEEP_T_OP / 2 * 2000); /* the node may forget soon */
	f.hold_writes = false;
	f.write_status = VMS_E_TOO_OLD;
	f_release();
	/* applied or not, it will not be any more */
	CU_ASSERT_EQUAL(w1.status, VMS_E_BUSY);
	CU_ASSERT(w1.partial);
	f_stop();
}

static void a_refused_op_is_repeated_until_it_is_too_old(void)
{
	f_start(0, DISK);
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.write_status = VMS_E_AGAIN;
	CU_ASSERT_EQUAL(f_do(&w1), 1);
	f_run(500);
	CU_ASSERT(f.n_write > 1);
	CU_ASSERT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	CU_ASSERT_EQUAL(f.last_write.tick, f.prev_write.tick);
	CU_ASSERT_FALSE(f_ended(&w1));
	f_run(2500); /* beyond T_op: it was refused each time, so surely not applied */
	CU_ASSERT(f_ended(&w1));
	CU_ASSERT_EQUAL(w1.status, VMS_E_BUSY);
	f_stop();
}

/* The command's own turn began with its poll: a tick that came in the same turn
 * does not count for it. */
static void a_command_refers_to_ticks_of_earlier_turns(void)
{
	uint64_t held;

	f_start(0, DISK);
	held = f.tick[1];
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.hold_writes = true;
	f.now += 100;
	f_tick(1);
	vms_gw_turn_begin(f.gw, f.now);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w1), VMS_GW_PENDING);
	vms_gw_turn_end(f.gw, f.now);
	f_pump();
	CU_ASSERT_EQUAL(f.last_write.tick, held);
	f.hold_writes = false;
	f_release();
	f_write_blocks(24, 8, 1);
	CU_ASSERT_EQUAL(f.last_write.tick, held + 1);
	f_stop();
}

static void standing_still_drops_the_initiators(void)
{
	f_start(0, DISK);
	f_run(5000);
	CU_ASSERT_EQUAL(f.drops, 0);
	f.now += 1500; /* our own clock jumped */
	f_pump();
	CU_ASSERT_EQUAL(f.drops, 1);
	f_stop();
}

static void node_time_that_ran_ahead_drops_the_initiators(void)
{
	uint8_t body[10] = {0};
	struct vms_msg m = {.type = VMS_MSG_TICK,
			    .partition = VMS_PART_NONE,
			    .req_id = 9,
			    .tick_incarnation = 1,
			    .body = body,
			    .body_bytes = 10};

	f_start(0, DISK);
	f_run(1000);
	f.now += 200;
	m.tick = ++f.tick[1];
	vms_put_le64(body, f.now + 3000); /* our clock stood still meanwhile */
	f_event(VMS_GEV_MSG, 1, &m);
	CU_ASSERT_EQUAL(f.drops, 1);
	f_stop();
}

/* ---- abort ---- */

static bool abort_ends_early(uint32_t mutant)
{
	bool early;

	f_start(mutant, DISK);
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.hold_writes = f.hold_cancel = true;
	f.nended = 0;
	vms_gw_submit(f.gw, &w1);
	f_pump();
	vms_gw_abort(f.gw, &w1);
	f_pump();
	early = f_ended(&w1);
	if (!early) {
		CU_ASSERT_EQUAL(f.n_cancel, 1);
		f.hold_cancel = false;
		f.held[0]->m.type = VMS_MSG_REPAIR; /* the write itself is lost on the way */
		f_release();
		CU_ASSERT(f_ended(&w1));
		CU_ASSERT_EQUAL(w1.status, VMS_E_CANCELLED);
	}
	f_stop();
	return early;
}

static void an_abort_ends_when_the_op_is_settled(void)
{
	CU_ASSERT_FALSE(abort_ends_early(0));
	CU_ASSERT(abort_ends_early(VMS_GWM_ABORT_EARLY));
}

static void an_aborted_op_that_was_applied_says_so(void)
{
	f_start(0, DISK);
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.hold_writes = true;
	f.nended = 0;
	f.cancel_status = VMS_E_BUSY;
	vms_gw_submit(f.gw, &w1);
	f_pump();
	vms_gw_abort(f.gw, &w1);
	f_pump();
	CU_ASSERT_FALSE(f_ended(&w1));
	f.hold_writes = false;
	f_release();
	CU_ASSERT(f_ended(&w1));
	CU_ASSERT_EQUAL(w1.status, 0);
	f_stop();
}

static void an_aborted_read_ends_at_once(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	f.hold_pages = true;
	c = f_cmd(VMS_GW_READ, 24, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_pump();
	vms_gw_abort(f.gw, &c);
	f_pump();
	CU_ASSERT(f_ended(&c));
	CU_ASSERT_EQUAL(c.status, VMS_E_CANCELLED);
	f.hold_pages = false;
	f_release();
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 0);
	f_stop();
}

/* ---- several pieces, kinds of ops ---- */

static int partial(uint32_t mutant, bool *told)
{
	struct vms_gw_cmd c;
	int rc;

	f_start(mutant, DISK);
	f.write_status = VMS_E_TOO_OLD;
	f.write_ok_first = 1;
	c = f_cmd(VMS_GW_WRITE, 8184, 16);
	f_data(&c, &w1_iov, w1_data, 8192);
	rc = f_do(&c);
	*told = c.partial;
	f_stop();
	return rc;
}

/* BUSY, as that is repeated; and those who ask hear that it is not as if nothing was. */
static void half_applied_is_busy(void)
{
	bool told;

	CU_ASSERT_EQUAL(partial(0, &told), VMS_E_BUSY);
	CU_ASSERT(told);
	CU_ASSERT_EQUAL(partial(VMS_GWM_PARTIAL_BUSY, &told), VMS_E_BUSY);
	CU_ASSERT_FALSE(told);
	CU_ASSERT_EQUAL(partial(VMS_GWM_PARTIAL_ERR, &told), VMS_E_TIMEOUT);
}

/* Applied, and nobody can tell whether there was a loss: the repetition asks again. */
static void a_fua_write_without_a_catalog_is_repeated(void)
{
	f_start(0, VMS_ACK_MEMORY);
	f.cat_down = true;
	memset(w1_data, 3, sizeof(w1_data));
	w1 = f_cmd(VMS_GW_WRITE, 24, 8);
	w1.flags = VMS_GW_FUA;
	w1.initiator_port = "a";
	f_data(&w1, &w1_iov, w1_data, 4096);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w1), VMS_GW_PENDING);
	f_run(VMS_OUTCOME_KEEP_T_OP / 2 * 2000 - 2000);
	CU_ASSERT_FALSE(f_ended(&w1));
	f_run(4000);
	CU_ASSERT(f_ended(&w1));
	CU_ASSERT_EQUAL(w1.status, VMS_E_BUSY);
	CU_ASSERT(w1.partial);
	f_cat_up();
	f_run(2000);
	CU_ASSERT_EQUAL(f_do(&w1), 0);
	CU_ASSERT_FALSE(w1.partial);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(a_lost_op_is_repeated_with_id_and_tick),
	VMS_TEST(a_refusal_of_a_lost_op_counts_while_outcomes_are_kept),
	VMS_TEST(a_refused_op_is_repeated_until_it_is_too_old),
	VMS_TEST(a_command_refers_to_ticks_of_earlier_turns),
	VMS_TEST(standing_still_drops_the_initiators),
	VMS_TEST(node_time_that_ran_ahead_drops_the_initiators),
	VMS_TEST(an_abort_ends_when_the_op_is_settled),
	VMS_TEST(an_aborted_op_that_was_applied_says_so),
	VMS_TEST(an_aborted_read_ends_at_once),
	VMS_TEST(half_applied_is_busy),
	VMS_TEST(a_fua_write_without_a_catalog_is_repeated),
};
VMS_TEST_MAIN("gateway: retry", tests)
