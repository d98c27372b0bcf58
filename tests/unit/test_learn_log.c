// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a copy knows of the log: outcomes of retries, void records of a returning primary,
 * digests, what is durable.
 */
#include "backend/checkpoint.h"
#include "backend/digest.h"
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/learn_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

/* An attempt left records in the learner's log; later ones must not see them. */
static void test_attempts(void)
{
	unsigned turn = 0;

	up(0, 31);
	v_create(0);
	for (uint32_t e = 0; e < V_EXTS; e++)
		for (unsigned c = 0; c < 40; c++)
			v_write(&V[0], e, c, next_id++);
	v_drain();
	for (unsigned c = 0; c < 40; c++)
		v_write(&V[0], 1, c, next_id++); /* not drained: in its log */
	learn_on(2, 0);
	while (!at_phase(2, LP_PAGES) && turn++ < 60000)
		rig_step(&R);
	rig_run(&R, 5);
	learn_stop(node(0), part_on(0, 0), 3, false);
	for (unsigned t = 0; t < 5; t++) {
		for (unsigned c = 0; c < 40; c++)
			v_write(&V[0], 1, c, next_id++);
		for (unsigned i = 0; i < 10; i++) {
			vms_wal_gen_seal(node(0)->wal); /* the learner's log stays as it is */
			vms_wal_gen_seal(node(1)->wal);
			rig_run(&R, 100);
		}
	}
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_node_crash(&R, 2, true);
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	SET(0, 2, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("after two attempts");
	fsck_all();
	v_down();
}

/* ---- retries ---- */

/* An op whose record no log holds any more is known to the new primary. */
static void test_outcomes(void)
{
	struct vms_piece pc = {5, 1, 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)], b[V_CHUNK];
	struct vms_iov iov = {b, V_CHUNK};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .slot = 77,
			    .sequence = 1,
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = V_CHUNK,
			    .body = body,
			    .body_bytes = sizeof(body)};
	struct rig_reply re;

	some_data(61);
	v_fill(b, 999999);
	m.branch = V[0].branch;
	pc.crc = vms_crc32c(0, b, V_CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	CU_ASSERT_EQUAL(v_call(0, m, &re), 0);
	rig_reply_free(&re);
	v_write(&V[0], 0, 5, next_id++);
	turnovers(&V[0], 3);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	m.flags = VMS_F_RETRY;
	m.tick = 0;
	CU_ASSERT_EQUAL(v_call(0, m, &re), 0);
	rig_reply_free(&re);
	v_check_all("after a late retry");
	all_right("outcomes");
	v_down();
}

/* ---- a returning primary ---- */

/* It had ordered what nobody else got; the set went on without it. */
static void test_void(void)
{
	struct part *p;
	uint64_t last;

	some_data(71);
	/* the other member hears nothing more */
	rig_node_crash(&R, 1, true);
	for (unsigned i = 0; i < 5; i++) {
		struct vms_rec r = {.type = VMS_REC_CEILING, .flags = VMS_RF_INTERNAL};
		uint8_t b[8];

		p = part_on(0, 0);
		vms_put_le64(b, p->ceiling_ordered);
		r.meta = b;
		r.meta_bytes = 8;
		CU_ASSERT_TRUE(order(node(0), p, &r));
	}
	last = p->seq_last;
	CU_ASSERT_TRUE(p->committed < last);
	rig_node_crash(&R, 0, true);
	SET(0, 1);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < 20; i++)
		v_write(&V[0], 1, i, next_id++);
	rig_node_start(&R, 0);
	rig_run(&R, 2000);
	CU_ASSERT_TRUE(learn_wait(0, 0, 60000));
	CU_ASSERT_FALSE(feed_get(part_on(1, 0), 1)->base);
	finish(0);
}

/* A DRAIN became void, other records have its place and the index holds those: the log
 * still has all of them when the node starts. What it counts is what is to be applied. */
static void test_void_counted(void)
{
	struct vms_rec r = {.type = VMS_REC_DRAIN, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_MOVES_META_MAX];
	struct log_lend lend = {0};
	struct vms_move mv;
	struct part *p;
	uint64_t last, gen;

	some_data(72);
	rig_cut(&R, 0, 1, true);
	p = part_on(0, 0);
	mv = (struct vms_move){.branch = V[0].branch,
			       .snap_gen = 1,
			       .extent = 1,
			       .valid = VMS_MASK_FULL,
			       .from_seq = p->seq_last,
			       .to = VMS_ADDR_HOLE};
	vms_rec_moves_put(&r, meta, &mv, 1);
	CU_ASSERT_TRUE(order(node(0), p, &r));
	last = p->seq_last;
	gen = vms_wal_gen_open(node(0)->wal);
	CU_ASSERT_TRUE(p->moves_ordered > 0 && p->committed < last && p->own_durable == last);
	rig_node_crash(&R, 0, true);
	rig_cut(&R, 0, 1, false);
	SET(0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < 20; i++)
		v_write(&V[0], 1, i, next_id++);
	rig_node_start(&R, 0);
	log_lend(node(0), &lend, vms_wal_gen_start_pos(node(0)->wal, gen)); /* it stays */
	rig_run(&R, 2000);
	CU_ASSERT_TRUE(learn_wait(0, 0, 60000));
	CU_ASSERT_FALSE(feed_get(part_on(1, 0), 1)->base);
	p = part_on(0, 0);
	CU_ASSERT_TRUE(V_WAIT(10000, p->applied == p->seq_last && p->applied > last));
	p->state_dirty = true;
	ckpt_request(node(0));
	rig_run(&R, 1000);
	log_return(node(0), &lend);
	rig_node_crash(&R, 0, true);
	rig_node_start(&R, 0);
	p = part_on(0, 0);
	CU_ASSERT_TRUE(p->replay_applied > last && vms_wal_gen_oldest(node(0)->wal) <= gen);
	CU_ASSERT_EQUAL(p->moves_ordered, 0);
	CU_ASSERT_TRUE(learn_wait(0, 0, 60000));
	CU_ASSERT_TRUE(V_WAIT(10000, p->applied == p->seq_last));
	CU_ASSERT_EQUAL(p->moves_ordered, 0);
	finish(0);
}

/* ---- a branch that is gone ---- */

/* A copy that was away while a clone was deleted is brought up to date by the log, and finds
 * records of the clone, whose record the catalog has not any more: what its pages stood on is
 * not known, but they go with a record that follows. It is no damage, and no difference
 * (simulator seed 14451). */
static void gone_branch(unsigned mask)
{
	struct log_lend lend = {0};
	uint8_t b[V_CHUNK];
	struct part *p;
	uint64_t seq = 0;
	unsigned before;

	some_data(73 + mask);
	v_snap(&V[0], 0);
	before = v_keys("branch/");
	v_clone(1, &V[0], 0);
	v_learn();
	log_lend(node(0), &lend, vms_wal_appended_pos(node(0)->wal)); /* all of it stays */
	v_write(&V[1], 0, 1, next_id++);
	rig_node_crash(&R, 1, true);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_write(&V[1], 1, 3, next_id++);
	v_fill(b, next_id++);
	if (mask)
		CU_ASSERT_EQUAL(v_write_raw(&V[1], 1, 5, 1, mask, b, V_CHUNK / 2), 0);
	v_drain();
	p = part_on(0, 0);
	CU_ASSERT_EQUAL_FATAL(digest_order(node(0), p, &seq), 0);
	vms_node_turn_end(node(0), node(0)->now_ms);
	CU_ASSERT_TRUE(V_WAIT(10000, p->applied >= seq));
	v_rm(&V[1]);
	CU_ASSERT_TRUE(V_WAIT(60000, v_keys("branch/") == before));
	CU_ASSERT_TRUE(p->seq_last > seq);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_FALSE(feed_get(p, 2)->base);
	all_right("a branch is gone");
	log_return(node(0), &lend);
	finish(1);
}

static void test_gone_branch(void)
{
	gone_branch(0);
	gone_branch(0x0f);
}

/* ---- what must not pass ---- */

/* A copy that differs is not taken, and is made again. */
static void test_differs(void)
{
	struct vms_page_key k = {0};
	unsigned turn = 0;
	struct part *p;

	some_data(81);
	learn_on(2, 0);
	while (!at_phase(2, LP_APPLY) && turn++ < 60000)
		rig_step(&R);
	p = part_on(2, 0);
	CU_ASSERT_TRUE_FATAL(p && p->learn && p->learn->phase < LP_READY);
	k = (struct vms_page_key){0, V[0].branch, 1 * 8, V[0].gen};
	vms_pages_del(node(2)->pages, &k);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(state_on(2, 0) != LEARN_READY);
	CU_ASSERT_TRUE(node(2)->st.digest_bad > 0);
	CU_ASSERT_EQUAL(part_on(2, 0)->copy_state, COPY_INCOMPLETE);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("made again");
	v_down();
}

/* The answer to its digest is lost: it asks again. */
static void test_digest_lost(void)
{
	unsigned turn = 0;
	struct part *p;
	uint64_t seq;

	some_data(82);
	learn_on(2, 0);
	while (!at_phase(2, LP_DIGEST) && turn++ < 60000)
		rig_step(&R);
	p = part_on(2, 0);
	CU_ASSERT_TRUE_FATAL(p && p->learn && p->learn->phase == LP_DIGEST);
	seq = p->learn->digest_seq;
	p->learn->digest_seq = UINT64_MAX; /* what is told now is not the one it waits for */
	rig_run(&R, 1000);
	CU_ASSERT_TRUE_FATAL(p->learn && p->learn->phase == LP_DIGEST && p->applied >= seq);
	p->learn->digest_seq = seq;
	rig_run(&R, 2000);
	CU_ASSERT_EQUAL(state_on(2, 0), LEARN_READY);
	v_down();
}

/* Members are compared once in scrub_days; one that differs says so. */
static void test_round(void)
{
	struct vms_page_key k;

	some_data(84);
	rig_run(&R, 1000);
	node(0)->cluster.scrub_days = 7;
	node(0)->digest_ms = 1; /* it is time */
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(node(0)->st.digests > 0 && node(1)->st.digests > 0);
	CU_ASSERT_EQUAL(node(0)->st.digest_bad, 0);
	k = (struct vms_page_key){0, V[0].branch, 8, V[0].gen};
	vms_pages_del(node(1)->pages, &k);
	node(0)->digest_ms = 1;
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(node(0)->st.digest_bad > 0);
	CU_ASSERT_TRUE(part_on(1, 0)->differs);
	CU_ASSERT_TRUE(part_on(0, 0)->m[1].differs);
	v_down();
}

/* The epoch changes while acknowledgements of the former one are on their way: they say what
 * the learner's log holds all the same, and nothing else would say it again. */
static void test_acks_of_former_epoch(void)
{
	struct vms_msg m = {.type = VMS_MSG_REPLICATE, .flags = VMS_F_REPLY};
	uint8_t body[32] = {0};
	struct conn c = {0};
	struct member *mb;
	struct part *p;

	some_data(86);
	learn_on(2, 0);
	rig_run(&R, 3000);
	CU_ASSERT_EQUAL_FATAL(state_on(2, 0), LEARN_READY);
	p = part_on(0, 0);
	CU_ASSERT_TRUE_FATAL(p && p->nl == 1 && p->m[p->nm].learner);
	mb = &p->m[p->nm];
	v_write(&V[0], 0, 1, next_id++);
	rig_run(&R, 500);
	CU_ASSERT_EQUAL_FATAL(mb->held, p->seq_last);
	SET(0, 0, 1);
	rig_run(&R, 500);
	CU_ASSERT_TRUE_FATAL(p->nl == 1 && mb->learner && mb->streaming);
	/* as if its last answer had been on its way when the epoch rose */
	mb->held = mb->durable = p->seq_last - 1;
	vms_put_le32(body, p->number);
	vms_put_le64(body + 8, p->conf.epoch - 1);
	vms_put_le64(body + 16, p->seq_last);
	vms_put_le64(body + 24, p->seq_last);
	c.peer = node_peer(node(0), 3, false);
	m.body = body;
	m.body_bytes = sizeof(body);
	repl_ack(node(0), &c, &m);
	CU_ASSERT_EQUAL(mb->held, p->seq_last);
	/* a member's history may have been another one */
	p->m[1].held = p->m[1].durable = p->seq_last - 1;
	c.peer = node_peer(node(0), 2, false);
	repl_ack(node(0), &c, &m);
	CU_ASSERT_EQUAL(p->m[1].held, p->seq_last - 1);
	rig_run(&R, 3000);
	v_down();
}

/* Nothing is applied that a power loss could take from the own log. */
static void test_durable_first(void)
{
	unsigned turn = 0;

	R.slow_sync = 3;
	some_data(82);
	learn_on(2, 0);
	while (!at_phase(2, LP_APPLY) && turn++ < 60000)
		rig_step(&R);
	for (unsigned i = 0; i < 40; i++) {
		struct part *p = part_on(2, 0);
		struct rig_reply re;
		struct vms_msg m = {
			.type = VMS_MSG_FLUSH, .partition = VMS_PART_NONE, .branch = V[0].branch};

		v_write(&V[0], 0, i, next_id++);
		rig_send(&R, 0, 0, &m, &re);
		if (i % 8 == 0)
			vms_node_drain(node(0));
		for (turn = 0; turn < 300; turn++) {
			rig_step(&R);
			if (p->learn && p->applied > p->own_durable)
				v_fail("applied %llu, durable %llu", (unsigned long long)p->applied,
				       (unsigned long long)p->own_durable);
		}
		rig_wait(&R, &re, 5000);
		rig_reply_free(&re);
	}
	v_down();
}

/* The last of the learner's log is for the sets it is in: without it nothing that these need
 * could be written any more, and nothing would ever leave the log. */
static void test_reserve(void)
{
	struct log_lend held = {0};
	struct vms_wal *w;
	uint64_t reserve;

	up(0, 88);
	v_create(0);
	for (unsigned c = 0; c < 40; c++)
		v_write(&V[0], 1, c, next_id++);
	w = node(2)->wal;
	reserve = vms_wal_free_bytes(w) - vms_wal_room_bytes(w);
	log_lend(node(2), &held, 0);
	CU_ASSERT_EQUAL_FATAL(rig_log_fill(w, vms_wal_room_bytes, 4 * RIG_FILL_BYTES), 0);
	learn_on(2, 0);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(vms_wal_free_bytes(w) + RIG_FILL_BYTES >= reserve);
	CU_ASSERT_NOT_EQUAL(state_on(2, 0), LEARN_READY);
	log_return(node(2), &held);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("with room in the log");
	v_down();
}

static void test_mutants(void)
{
	static const struct learn_mutant m[] = {
		{MUT_LN_VOID, test_attempts},
		{MUT_LN_OUTCOMES, test_outcomes},
		{MUT_LN_COMMON, test_void},
		{MUT_LN_DIGEST, test_differs},
		{MUT_LN_CEILING, test_outcomes},
		{MUT_LN_VALID, test_durable_first},
		{MUT_VOID_COUNTED, test_void_counted},
		{MUT_LN_BRANCH, test_gone_branch},
		{MUT_LN_RESERVE, test_reserve},
	};

	each_is_caught(m, sizeof(m) / sizeof(*m));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_attempts),      VMS_TEST(test_outcomes),
	VMS_TEST(test_void),	      VMS_TEST(test_differs),
	VMS_TEST(test_digest_lost),   VMS_TEST(test_round),
	VMS_TEST(test_durable_first), VMS_TEST(test_acks_of_former_epoch),
	VMS_TEST(test_void_counted),  VMS_TEST(test_gone_branch),
	VMS_TEST(test_reserve),	      VMS_TEST(test_mutants),
};
VMS_TEST_MAIN("learn: log", tests)
