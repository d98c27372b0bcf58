// SPDX-License-Identifier: GPL-2.0-only
/* Reservations across gateways: three cores over one catalog. Each step of a change in
 * turn with its gateway killed, outcomes that are not known, stale reads, gateways cut
 * off; then all of it at random. */
#include "target/gw_pr.h"
#include "tests/unit/cunit.h"
#include "tests/unit/pr_rig.h"

enum { REG, RES, REL, CLR, PRE, PREAB, REGI };
#define GOOD	 VMS_SAM_GOOD
#define CONFLICT VMS_SAM_RESERVATION_CONFLICT
#define BUSY	 VMS_SAM_BUSY
#define OUT	 0x5f
#define RESERVE	 0x16
#define RELEASE	 0x17

static const struct vms_pr *table(int gw)
{
	return vms_gw_vol_pr(R.g[gw].vol);
}

static void all_have(uint64_t fence)
{
	for (int i = 0; i < R_GWS; i++)
		if (R.g[i].open)
			CU_ASSERT(table(i)->fence >= fence);
}

/* The catalog's record. */
static struct vms_pr record(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	const struct r_version *v;
	struct vms_gw_vol_info info;
	struct vms_pr t;
	int i = 0;

	while (!R.g[i].open)
		i++;
	vms_gw_vol_info(R.g[i].vol, &info);
	vms_pr_key(key, info.uuid);
	v = r_at(r_kv(key, true), UINT64_MAX);
	vms_assert(!vms_pr_decode(&t, key, v ? v->val : NULL, NULL));
	return t;
}

static void good_means_everywhere(void)
{
	r_start(1, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	CU_ASSERT_EQUAL(r_do(1, 1, OUT, REG, 0, 0, 0xb), GOOD);
	for (int i = 0; i < R_GWS; i++)
		CU_ASSERT(table(i)->n == 2 && !table(i)->held);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, RES, VMS_PR_WE_RO, 0xa, 0), GOOD);
	all_have(R.good);
	CU_ASSERT_TRUE(r_write(0, 0));
	CU_ASSERT_TRUE(r_write(1, 1));
	CU_ASSERT_FALSE(r_write(1, 0)); /* the same host, another target port */
	CU_ASSERT_FALSE(r_write(2, 2));
	r_run(50);
	CU_ASSERT(R.wr[0][0].status == 0 && R.wr[1][1].status == 0 && R.applied == 2);
	CU_ASSERT_EQUAL(r_do(2, 0, OUT, RES, VMS_PR_WE, 0xa, 0), CONFLICT);
	CU_ASSERT_EQUAL(r_do(1, 1, OUT, PRE, VMS_PR_EA, 0xb, 0xa), GOOD);
	CU_ASSERT_FALSE(r_write(0, 0));
	CU_ASSERT_EQUAL(R.fence, table(0)->fence);
	CU_ASSERT_EQUAL(r_do(0, 0, 0x5e, 0, 0, 0, 0), GOOD);
	CU_ASSERT(R.cmd[0][0].pc.in_bytes == 16 && vms_get_be64(R.cmd[0][0].pc.in + 8) == 0xb);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

static void everything_survives_a_restart_of_all(void)
{
	r_start(2, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, RES, VMS_PR_EA, 0xa, 0), GOOD);
	for (int i = 0; i < R_GWS; i++)
		r_gw_kill(i);
	r_run(100);
	for (int i = 0; i < R_GWS; i++)
		r_gw_start(i);
	r_run(3000);
	CU_ASSERT_TRUE(r_write(0, 0));
	CU_ASSERT_FALSE(r_write(1, 1));
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REL, VMS_PR_EA, 0xa, 0), GOOD);
	CU_ASSERT_TRUE(r_write(1, 1));
	r_run(50);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

static void a_dead_gateway_does_not_hold_it_up(void)
{
	uint64_t t0;

	r_start(3, 0);
	r_gw_kill(2);
	t0 = R.now;
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	/* its sessions end with their lease */
	CU_ASSERT(R.now - t0 > 1500 && R.now - t0 < 4500);
	CU_ASSERT(R.incarnation[3] == 2);
	t0 = R.now;
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, RES, VMS_PR_WE, 0xa, 0), GOOD);
	CU_ASSERT(R.now - t0 < 300);
	r_gw_start(2);
	r_run(2500);
	CU_ASSERT(R.g[2].open && !r_write(2, 0));
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* A gateway whose sessions have ended is asked for, and comes back before the floor that shuts
 * it out: it has a lease again. How long does the change take? */
static uint64_t change_takes(uint32_t mutant, bool came_back)
{
	uint64_t t0;

	r_start(31, mutant);
	r_gw_kill(2);
	r_run(3000);
	R.came_back = came_back;
	t0 = R.now;
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	CU_ASSERT_EQUAL(R.incarnation[3], 2);
	t0 = R.now - t0;
	r_stop();
	return t0;
}
static void one_that_comes_back_meanwhile_has_a_lease(void)
{
	CU_ASSERT(change_takes(0, false) < 1500);
	CU_ASSERT(change_takes(0, true) > 2000);
	CU_ASSERT(change_takes(VMS_GWM_FENCE_BACK, true) < 1500);
}

/* It lives and serves, but does not hear of reservations: it is shut out, and its cached
 * pages have run out before anybody is told GOOD. */
static void one_without_the_catalog_is_shut_out(void)
{
	struct r_cmd *c;

	r_start(4, 0);
	r_cut(1, true);
	c = r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
	r_run(9500);
	CU_ASSERT(c->busy && !R.g[1].fatal);
	for (unsigned i = 0; i < 600 && c->busy; i++)
		r_step();
	CU_ASSERT(!c->busy && c->pc.sense.status == GOOD);
	CU_ASSERT_TRUE(R.g[1].fatal);
	CU_ASSERT_EQUAL(R.incarnation[2], 2);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* The only primary has just been restarted: a gateway that has not come back yet, and is
 * late with the table, is no dead one. */
static unsigned shut_out_after_a_restart(uint64_t silent_ms)
{
	struct r_cmd *c;

	r_start(17, 0);
	R.silent = silent_ms;
	r_cut(1, true);
	R.g[1].away = R.now + 1000;
	r_node_restart();
	c = r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
	r_run(4000);
	r_cut(1, false);
	r_run(4000);
	CU_ASSERT(!c->busy && c->pc.sense.status == GOOD);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
	return R.g[1].fatal || R.incarnation[2] != 1;
}
static void a_restart_of_the_primary_shuts_nobody_out(void)
{
	CU_ASSERT_EQUAL(shut_out_after_a_restart(3000), 0);
	CU_ASSERT_EQUAL(shut_out_after_a_restart(0), 1); /* or this proves nothing */
}

/* A change that its gateway has left behind, in a table that nobody can read. */
static void a_damaged_table_does_not_flood_the_log(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_gw_vol_info info;

	r_start(18, 0);
	r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
	while (!R.nhist)
		r_step();
	r_gw_kill(0);
	vms_gw_vol_info(R.g[1].vol, &info);
	vms_pr_key(key, info.uuid);
	r_run(100); /* the others have heard of it */
	CU_ASSERT(table(1)->pending && table(2)->pending);
	R.rubbish = true;
	R.rev++;
	r_put(key, "{}");
	r_run(10000);
	for (int i = 1; i < R_GWS; i++)
		CU_ASSERT(R.g[i].errors > 5 && R.g[i].errors <= 12);
	r_stop();
}

/* Somebody else says that the change is over while its own gateway still waits, and a
 * gateway comes back meanwhile: that one finds no change under way and has nothing to
 * acknowledge, and must not be shut out for it, each time it comes back. */
static void who_finds_it_over_is_not_waited_for(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX], *text;
	struct vms_gw_vol_info info;
	struct vms_pr t;
	struct r_cmd *c;

	r_start(6, 0);
	r_cut(1, true);
	c = r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
	r_run(200);
	t = record();
	CU_ASSERT(c->busy && t.pending);
	r_gw_kill(1);
	t.pending = false;
	text = vms_pr_encode(&t);
	vms_pr_free(&t);
	vms_gw_vol_info(R.g[0].vol, &info);
	vms_pr_key(key, info.uuid);
	R.rev++;
	r_put(key, text);
	free(text);
	r_cut(1, false);
	r_gw_start(1);
	r_run(1000);
	CU_ASSERT(!c->busy && c->pc.sense.status == GOOD);
	r_run(20000);
	CU_ASSERT(R.g[1].open && !R.g[1].fatal);
	CU_ASSERT(r_do(1, 0, OUT, REG, 0, 0, 0xb) == GOOD);
	r_stop();
}

static void without_the_catalog_it_ends_busy(void)
{
	struct r_cmd *c;
	struct vms_pr t;

	r_start(5, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	for (int i = 0; i < R_GWS; i++)
		r_cut(i, true);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, RES, VMS_PR_EA, 0xa, 0), BUSY);
	/* invariant 30 */
	CU_ASSERT_TRUE(r_write(1, 1));
	r_run(50);
	CU_ASSERT(R.wr[1][1].ended && !R.wr[1][1].status);
	for (int i = 0; i < R_GWS; i++)
		r_cut(i, false);
	r_run(3000);
	t = record();
	CU_ASSERT(t.n == 1 && !t.held && !t.pending);
	vms_pr_free(&t);
	/* cut off when it has been asked: the outcome is not known, and it says so */
	c = r_submit(0, 0, OUT, RES, VMS_PR_EA, 0xa, 0, 0);
	R.unknown = 1000;
	for (unsigned i = 0; i < 3000 && c->busy; i++)
		r_step();
	CU_ASSERT(!c->busy);
	CU_ASSERT(c->pc.sense.status == GOOD || (c->pc.sense.status == VMS_SAM_CHECK_CONDITION &&
						 c->pc.sense.asc == VMS_ASC_COMMAND_TIMEOUT));
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* Whatever becomes of an answer, a change is made once. */
static void unknown_outcomes_are_settled(void)
{
	unsigned good = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct vms_pr t;
		int rc;

		r_start(seed, 0);
		R.unknown = 400;
		rc = r_do(0, 0, OUT, REG, 0, 0, 0xa);
		good += rc == GOOD;
		R.unknown = 0;
		r_run(4000);
		t = record();
		/* REGISTER of an unregistered port with key 0: a second one would conflict */
		CU_ASSERT(rc == GOOD || rc == VMS_SAM_CHECK_CONDITION);
		CU_ASSERT(t.n <= 1 && t.generation == t.n && !t.pending);
		CU_ASSERT(rc != GOOD || t.n == 1);
		CU_ASSERT_EQUAL(R.violations, 0);
		vms_pr_free(&t);
		r_stop();
	}
	CU_ASSERT(good > 15);
}

/* The gateway dies at each moment of the change. What is left is the table before it or
 * after it, at all gateways, and nothing is under way. */
static void a_gateway_that_dies_leaves_nothing_half_done(void)
{
	unsigned before = 0, after = 0;

	for (unsigned ms = 0; ms <= 300; ms += 10) {
		struct vms_pr t;

		r_start(7 + ms, 0);
		R.delay_ms = 30;
		CU_ASSERT_EQUAL(r_do(1, 1, OUT, REG, 0, 0, 0xb), GOOD);
		CU_ASSERT_EQUAL(r_do(1, 1, OUT, RES, VMS_PR_EA, 0xb, 0), GOOD);
		CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
		r_submit(0, 0, OUT, PREAB, VMS_PR_EA, 0xa, 0xb, 0);
		r_run(ms);
		r_gw_kill(0);
		r_run(9000);
		t = record();
		CU_ASSERT_FALSE(t.pending);
		before += t.n == 2;
		after += t.n == 1;
		CU_ASSERT(t.n == 2 ? t.reg[t.holder].key == 0xb : t.reg[t.holder].key == 0xa);
		CU_ASSERT(table(1)->fence == t.fence && table(2)->fence == t.fence);
		CU_ASSERT_EQUAL(r_write(1, 1), t.n == 2);
		CU_ASSERT_EQUAL(r_do(2, 2, OUT, REG, 0, 0, 0xc), GOOD);
		CU_ASSERT_EQUAL(R.violations, 0);
		vms_pr_free(&t);
		r_stop();
	}
	CU_ASSERT(before > 2 && after > 2);
}

/* Commands of the preempted nexus run at another gateway: GOOD waits for them there. */
static void preempt_and_abort_waits_for_the_other_gateway(void)
{
	struct r_cmd *c;

	r_start(8, 0);
	CU_ASSERT_EQUAL(r_do(1, 1, OUT, REG, 0, 0, 0xb), GOOD);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	R.g[1].wait = true;
	c = r_submit(0, 0, OUT, PREAB, 0, 0xa, 0xb, 0);
	r_run(3000);
	CU_ASSERT(c->busy && table(1)->n == 1);
	CU_ASSERT(table(1)->nevents == 1 && table(1)->event[0].abort);
	vms_gw_pr_settled(R.g[1].gw, R.g[1].vol, table(1)->fence);
	r_run(100);
	CU_ASSERT(!c->busy && c->pc.sense.status == GOOD);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* What CLEAR TASK SET ends runs at another gateway: GOOD waits for that one, too. */
static void clear_task_set_waits_for_the_other_gateway(void)
{
	struct r_cmd *c = &R.cmd[0][0];

	r_start(13, 0);
	R.g[1].wait = true;
	c->pc.vol = R.g[0].vol;
	c->pc.cookie = c;
	c->pc.req.cdb = c->cdb; /* for the rig only */
	c->busy = true;
	vms_gw_pr_clear_tasks(R.g[0].gw, &c->pc);
	r_run(3000);
	CU_ASSERT_TRUE(c->busy);
	CU_ASSERT_FATAL(table(1)->nevents == 1);
	CU_ASSERT(table(1)->event[0].all && !table(1)->event[0].asc);
	vms_gw_pr_settled(R.g[1].gw, R.g[1].vol, table(1)->fence);
	r_run(100);
	CU_ASSERT(!c->busy && c->pc.sense.status == GOOD);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* A write that was let through waits at its gateway while another host preempts: it is
 * not sent under the new number, and ends in RESERVATION CONFLICT. */
static void a_write_that_was_let_through_is_checked_again(void)
{
	r_start(9, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	CU_ASSERT_TRUE(r_write(1, 1));
	r_run(50);
	CU_ASSERT_EQUAL(R.applied, 1);
	/* the node is away from gateway 2, which has the write in hand */
	r_disconnect(&R.g[1], 1);
	vms_gw_step(R.g[1].gw,
		    &(struct vms_gw_event){.type = VMS_GEV_CONN_DOWN, .now_ms = R.now, .node = 1});
	R.wr[1][1].ended = 0;
	CU_ASSERT_TRUE(r_write(1, 1));
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, RES, VMS_PR_WE, 0xa, 0), GOOD);
	r_run(1500);
	CU_ASSERT(R.wr[1][1].ended == 1 &&
		  (R.wr[1][1].status == VMS_E_RESERVED || R.wr[1][1].status == VMS_E_BUSY));
	CU_ASSERT_EQUAL(R.applied, 1);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* A gateway that reaches no node may have been shut out, and the reservation that it knows
 * be past: it refuses by it only once it is sure to be asked. */
static void who_may_be_shut_out_refuses_nobody(void)
{
	r_start(12, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
	CU_ASSERT_EQUAL(r_do(0, 0, OUT, RES, VMS_PR_WE, 0xa, 0), GOOD);
	CU_ASSERT_EQUAL(vms_gw_refusal(R.g[1].gw), VMS_E_RESERVED);
	R.g[1].away = R.now + 1000;
	R.g[1].drop = true;
	r_run(50);
	CU_ASSERT_EQUAL(vms_gw_refusal(R.g[1].gw), VMS_E_BUSY);
	CU_ASSERT_EQUAL(vms_gw_refusal(R.g[2].gw), VMS_E_RESERVED);
	r_run(3000);
	CU_ASSERT_EQUAL(vms_gw_refusal(R.g[1].gw), VMS_E_RESERVED);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

static void reserve_belongs_to_a_living_session(void)
{
	r_start(10, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, RESERVE, 0, 0, 0, 0), GOOD);
	all_have(R.good);
	CU_ASSERT_FALSE(r_write(1, 1));
	CU_ASSERT_TRUE(r_write(0, 0));
	CU_ASSERT_EQUAL(r_do(1, 1, RESERVE, 0, 0, 0, 0), CONFLICT);
	CU_ASSERT_EQUAL(r_do(1, 1, RELEASE, 0, 0, 0, 0), GOOD); /* has no effect */
	CU_ASSERT_FALSE(r_write(1, 1));
	/* who has it lives: a doubt changes nothing */
	vms_gw_pr_doubt(R.g[1].gw, R.g[1].vol);
	r_run(2000);
	CU_ASSERT_FALSE(r_write(1, 1));
	/* the session ends */
	vms_gw_pr_session_end(R.g[0].gw, R.g[0].vol, 100);
	r_run(200);
	CU_ASSERT_TRUE(r_write(1, 1));
	r_run(50);
	/* the gateway dies */
	CU_ASSERT_EQUAL(r_do(0, 0, RESERVE, 0, 0, 0, 0), GOOD);
	r_gw_kill(0);
	for (unsigned i = 0; i < 5 && table(1)->held; i++) {
		CU_ASSERT_FALSE(r_write(1, 1));
		vms_gw_pr_doubt(R.g[1].gw, R.g[1].vol);
		r_run(1010);
	}
	CU_ASSERT_TRUE(r_write(1, 1));
	r_run(50);
	/* ... and is started again at once */
	CU_ASSERT_EQUAL(r_do(1, 1, RESERVE, 0, 0, 0, 0), GOOD);
	r_gw_kill(1);
	r_gw_start(1);
	r_run(2500);
	CU_ASSERT(R.g[1].open && !r_write(1, 1));
	vms_gw_pr_doubt(R.g[1].gw, R.g[1].vol);
	r_run(200);
	CU_ASSERT_TRUE(r_write(1, 1));
	/* a reset ends it from anywhere */
	r_run(50);
	CU_ASSERT_EQUAL(r_do(1, 1, RESERVE, 0, 0, 0, 0), GOOD);
	vms_gw_pr_session_end(R.g[2].gw, R.g[2].vol, 0);
	r_run(200);
	CU_ASSERT_FALSE(table(1)->held);
	CU_ASSERT_EQUAL(R.violations, 0);
	r_stop();
}

/* What has not been decided can be given up; the rest goes its way. */
static void abort_before_and_after(void)
{
	struct r_cmd *c;
	struct vms_pr t;

	r_start(11, 0);
	c = r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
	vms_gw_pr_abort(R.g[0].gw, &c->pc);
	r_run(100);
	CU_ASSERT(!c->busy && c->pc.sense.status == VMS_SAM_TASK_ABORTED);
	t = record();
	CU_ASSERT_EQUAL(t.n, 0);
	vms_pr_free(&t);
	c = r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
	while (!R.nhist)
		r_step();
	vms_gw_pr_abort(R.g[0].gw, &c->pc);
	r_run(100);
	CU_ASSERT(!c->busy && c->pc.sense.status == GOOD);
	r_stop();
}

/* Who is asked to do so looks no more at a command whose memory goes. */
static void what_is_forgotten_is_not_looked_at(void)
{
	for (unsigned ms = 0; ms <= 60; ms += 10) {
		struct vms_gw_pr_cmd *pc = calloc(1, sizeof(*pc));
		struct r_cmd *c;

		vms_assert(pc);
		r_start(12, 0);
		R.delay_ms = 20;
		pc->vol = R.g[0].vol;
		vms_gw_pr_reset(R.g[0].gw, pc);
		r_run(ms);
		if (!ms) /* it has ended, and is to be told */
			vms_gw_pr_abort(R.g[0].gw, pc);
		vms_gw_pr_forget(R.g[0].gw, pc);
		memset(pc, 0xff, sizeof(*pc));
		free(pc);
		c = r_submit(0, 0, OUT, REG, 0, 0, 0xa, 0xa);
		if (!ms)
			vms_gw_pr_abort(R.g[0].gw, &c->pc);
		r_run(1000);
		CU_ASSERT(c->ended && (!ms || c->pc.sense.status == GOOD));
		CU_ASSERT_EQUAL(R.violations, 0);
		r_stop();
	}
}

/* The table and the acknowledgements come in several answers: what changes between two of
 * them is not missed. */
static void a_change_while_the_table_is_read_is_seen(void)
{
	for (unsigned ms = 0; ms < 1000; ms += 20) {
		r_start(14, 0);
		CU_ASSERT_EQUAL(r_do(0, 0, OUT, REG, 0, 0, 0xa), GOOD);
		r_gw_kill(2);
		R.page = 1;
		R.delay_ms = 30;
		r_gw_start(2);
		r_run(ms);
		r_submit(0, 0, OUT, RES, VMS_PR_WE, 0xa, 0, 0);
		r_run(4000);
		CU_ASSERT(R.g[2].open && !R.g[2].fatal && table(2)->held);
		CU_ASSERT_EQUAL(table(2)->fence, table(0)->fence);
		CU_ASSERT_EQUAL(R.violations, 0);
		r_stop();
	}
}

/* Commands meet a RESERVE again and again while nobody can be asked about it. */
static void doubts_do_not_pile_up(void)
{
	unsigned n = 0;

	r_start(15, 0);
	CU_ASSERT_EQUAL(r_do(0, 0, RESERVE, 0, 0, 0, 0), GOOD);
	r_cut(1, true);
	for (unsigned i = 0; i < 20; i++) {
		CU_ASSERT_FALSE(r_write(1, 1));
		vms_gw_pr_doubt(R.g[1].gw, R.g[1].vol);
		r_run(1010);
	}
	for (const struct gw_pr_job *j = R.g[1].vol->pr->jobs; j; j = j->next)
		n++;
	CU_ASSERT_EQUAL(n, 1);
	r_gw_kill(0);
	r_cut(1, false);
	r_run(4000);
	vms_gw_pr_doubt(R.g[1].gw, R.g[1].vol);
	r_run(1000);
	CU_ASSERT_TRUE(r_write(1, 1));
	r_stop();
}

/* LOGICAL UNIT RESET goes by this number. */
static void others_are_not_forgotten_while_they_are_read(void)
{
	struct vms_gw_vol_info info;
	unsigned least = R_GWS;

	r_start(16, 0);
	R.delay_ms = 50;
	r_cut(0, true);
	r_run(300);
	r_cut(0, false);
	for (unsigned i = 0; i < 200; i++) {
		r_step();
		vms_gw_vol_info(R.g[0].vol, &info);
		least = info.openers < least ? info.openers : least;
	}
	CU_ASSERT_EQUAL(least, R_GWS);
	r_gw_kill(2);
	r_run(50);
	CU_ASSERT_EQUAL(r_do(1, 1, OUT, REG, 0, 0, 0xb), GOOD);
	r_run(200);
	vms_gw_vol_info(R.g[0].vol, &info);
	CU_ASSERT_EQUAL(info.openers, R_GWS - 1);
	r_stop();
}

/* ---- at random ---- */

static uint64_t key_of[R_GWS][R_NEXUS];
static uint64_t refused_key[4096];
static unsigned nrefused;

static void random_command(void)
{
	int gw = (int)r_below(R_GWS), k = (int)r_below(R_NEXUS);
	struct r_cmd *c = &R.cmd[gw][k];
	static uint64_t next_key = 0x1000;
	uint64_t own = key_of[gw][k], victim = key_of[r_below(R_GWS)][r_below(R_NEXUS)];
	static const uint8_t types[] = {VMS_PR_WE,    VMS_PR_EA,    VMS_PR_WE_RO,
					VMS_PR_EA_RO, VMS_PR_WE_AR, VMS_PR_EA_AR};
	uint8_t type = types[r_below(6)];

	if (c->ended) {
		c->ended = false;
		if (c->key && c->pc.sense.status == GOOD)
			key_of[gw][k] = c->key;
		else if (c->key && c->pc.sense.status == BUSY)
			refused_key[nrefused++ % 4096] = c->key;
	}
	if (!R.g[gw].open || R.g[gw].fatal || c->busy)
		return;
	switch (r_below(9)) {
	case 0:
	case 1:
	case 2:
		next_key++;
		r_submit(gw, k, OUT, REGI, 0, 0, next_key, next_key);
		break;
	case 3:
		r_submit(gw, k, OUT, RES, type, own, 0, 0);
		break;
	case 4:
		r_submit(gw, k, OUT, PREAB, type, own, victim, 0);
		break;
	case 5:
		r_submit(gw, k, OUT, r_below(4) ? REL : CLR, type, own, 0, 0);
		break;
	case 6:
		r_submit(gw, k, RESERVE, 0, 0, 0, 0, 0);
		break;
	case 7:
		r_submit(gw, k, RELEASE, 0, 0, 0, 0, 0);
		break;
	default:
		r_submit(gw, k, 0x5e, r_below(4), 0, 0, 0, 0);
	}
}

static void random_fault(void)
{
	int i = (int)r_below(R_GWS);

	switch (r_below(5)) {
	case 0:
		r_gw_kill(i);
		break;
	case 1:
		if (R.g[i].gw)
			r_cut(i, true);
		break;
	case 2:
		if (R.g[i].gw && R.g[i].cut && !R.g[i].fatal)
			r_cut(i, false);
		break;
	default:
		if (R.g[i].fatal)
			r_gw_kill(i);
		if (!R.g[i].gw)
			r_gw_start(i);
	}
}

static unsigned at_random(uint64_t seed, unsigned steps)
{
	unsigned bad;
	struct vms_pr t;

	r_start(seed, 0);
	memset(key_of, 0, sizeof(key_of));
	nrefused = 0;
	R.unknown = seed % 3 ? 60 : 0;
	R.stale = seed % 2 ? 200 : 0;
	R.delay_ms = 2 + r_below(40);
	for (unsigned n = 0; n < steps; n++) {
		int gw = (int)r_below(R_GWS), k = (int)r_below(R_NEXUS);

		r_step();
		if (!r_below(4))
			random_command();
		if (R.g[gw].open && !R.g[gw].fatal && !R.wr[gw][k].busy)
			r_write(gw, k);
		if (!r_below(200))
			random_fault();
		if (R.nhist > R_HIST - 200)
			break;
	}
	/* it all calms down */
	R.unknown = R.stale = 0;
	for (int i = 0; i < R_GWS; i++) {
		if (R.g[i].fatal)
			r_gw_kill(i);
		if (R.g[i].gw)
			r_cut(i, false);
		else
			r_gw_start(i);
	}
	r_run(16000);
	for (int i = 0; i < R_GWS; i++)
		if (R.g[i].fatal || !R.g[i].open) {
			r_gw_kill(i);
			r_gw_start(i);
		}
	r_run(8000);
	bad = R.violations;
	t = record();
	bad += t.pending;
	for (int i = 0; i < R_GWS; i++)
		bad += !R.g[i].open || table(i)->fence != t.fence;
	for (unsigned i = 0; i < nrefused && i < 4096; i++)
		bad += r_fence_of(refused_key[i]) != 0;
	vms_pr_free(&t);
	if (getenv("R_STAT"))
		fprintf(stderr, "seed %llu: %u tables, %u floors, %u writes applied, %u bad\n",
			(unsigned long long)seed, R.nhist, R.floors, R.applied, bad);
	r_stop();
	return bad;
}

static void all_of_it_at_random(void)
{
	unsigned seeds = getenv("R_SEEDS") ? (unsigned)atoi(getenv("R_SEEDS")) : 12;

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		unsigned bad = at_random(seed, 3000);

		if (bad)
			fprintf(stderr, "seed %llu: %u\n", (unsigned long long)seed, bad);
		CU_ASSERT_EQUAL(bad, 0);
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(good_means_everywhere),
	VMS_TEST(everything_survives_a_restart_of_all),
	VMS_TEST(a_dead_gateway_does_not_hold_it_up),
	VMS_TEST(one_that_comes_back_meanwhile_has_a_lease),
	VMS_TEST(one_without_the_catalog_is_shut_out),
	VMS_TEST(a_restart_of_the_primary_shuts_nobody_out),
	VMS_TEST(a_damaged_table_does_not_flood_the_log),
	VMS_TEST(who_finds_it_over_is_not_waited_for),
	VMS_TEST(without_the_catalog_it_ends_busy),
	VMS_TEST(unknown_outcomes_are_settled),
	VMS_TEST(a_gateway_that_dies_leaves_nothing_half_done),
	VMS_TEST(preempt_and_abort_waits_for_the_other_gateway),
	VMS_TEST(clear_task_set_waits_for_the_other_gateway),
	VMS_TEST(a_write_that_was_let_through_is_checked_again),
	VMS_TEST(who_may_be_shut_out_refuses_nobody),
	VMS_TEST(reserve_belongs_to_a_living_session),
	VMS_TEST(abort_before_and_after),
	VMS_TEST(what_is_forgotten_is_not_looked_at),
	VMS_TEST(a_change_while_the_table_is_read_is_seen),
	VMS_TEST(doubts_do_not_pile_up),
	VMS_TEST(others_are_not_forgotten_while_they_are_read),
	VMS_TEST(all_of_it_at_random),
};
VMS_TEST_MAIN("gw_pr", tests)
