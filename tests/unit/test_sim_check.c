/* SPDX-License-Identifier: GPL-2.0-only */
/* The simulator's checker must accept what is legal and find what is not. */
#include "tests/sim/sim.h"
#include "tests/sim/sim_acks.h"
#include "tests/unit/cunit.h"

static struct sim_check *c;
static char why[256];

static uint32_t w(uint64_t value, uint64_t inv, enum sim_outcome o, uint64_t resp)
{
	uint32_t id = sim_check_invoke(c, true, 3, 1, value, inv);
	sim_check_write_end(c, id, o, resp);
	return id;
}
static void r(uint64_t value, uint64_t inv, uint64_t resp)
{
	uint32_t id = sim_check_invoke(c, false, 3, 1, 0, inv);
	sim_check_read_value(c, id, 0, value);
	sim_check_read_end(c, id, true, resp);
}
static void begin(void)
{
	c = sim_check_new(8);
}
static bool end(void)
{
	bool ok = sim_check_verify(c, why, sizeof(why));
	sim_check_free(c);
	return ok;
}

static void test_miscompare_needs_another_value(void)
{
	for (int k = 0; k < 4; k++) {
		begin();
		w(1, 10, SIM_APPLIED, 20);
		if (k == 1) /* may have been there at that time */
			w(2, 35, SIM_MAYBE, 90);
		if (k == 2)
			w(2, 35, SIM_NEVER, 90);
		if (k == 3)
			w(2, 60, SIM_APPLIED, 90);
		sim_check_miscompare(c, 3, 1, 30, 50);
		CU_ASSERT_EQUAL(end(), k == 1);
	}
	/* the value was being written still */
	begin();
	w(1, 10, SIM_APPLIED, 40);
	sim_check_miscompare(c, 3, 1, 30, 50);
	CU_ASSERT_TRUE(end());
}
static void test_plain_sequence_is_legal(void)
{
	begin();
	r(0, 1, 2);
	w(1, 10, SIM_APPLIED, 20);
	r(1, 30, 40);
	w(2, 50, SIM_APPLIED, 60);
	r(2, 70, 80);
	CU_ASSERT_TRUE(end());
}
static void test_concurrent_writes_either_order(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 50);
	w(2, 20, SIM_APPLIED, 40);
	r(1, 60, 70);
	r(1, 80, 90);
	CU_ASSERT_TRUE(end());
}
static void test_read_during_write_may_be_old_or_new(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 20);
	w(2, 30, SIM_APPLIED, 90);
	r(1, 40, 50);
	r(2, 60, 70);
	CU_ASSERT_TRUE(end());
}
static void test_new_then_old_is_found(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 20);
	w(2, 30, SIM_APPLIED, 90);
	r(2, 40, 50);
	r(1, 60, 70);
	CU_ASSERT_FALSE(end());
}
static void test_lost_write_is_found(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 20);
	w(2, 30, SIM_APPLIED, 40);
	r(1, 50, 60);
	CU_ASSERT_FALSE(end());
}
static void test_lost_first_write_is_found(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 20);
	r(0, 50, 60);
	CU_ASSERT_FALSE(end());
}
static void test_unknown_may_apply_within_its_window(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 20);
	w(2, 30, SIM_MAYBE, 100);
	r(1, 40, 50);
	r(2, 60, 70);
	CU_ASSERT_TRUE(end());
}
static void test_ghost_write_is_found(void)
{
	begin();
	w(2, 30, SIM_MAYBE, 100); /* window over at 100 */
	w(3, 110, SIM_APPLIED, 120);
	r(3, 130, 140);
	r(2, 150, 160); /* the old one landed later */
	CU_ASSERT_FALSE(end());
}
static void test_cancelled_write_must_not_be_read(void)
{
	begin();
	w(2, 30, SIM_NEVER, 40);
	r(2, 50, 60);
	CU_ASSERT_FALSE(end());
}
static void test_torn_and_foreign_are_found(void)
{
	uint8_t b[VMS_LB_BYTES];
	begin();
	r(UINT64_MAX, 1, 2);
	CU_ASSERT_FALSE(end());
	begin();
	r(77, 1, 2);
	CU_ASSERT_FALSE(end());
	sim_block_fill(b, 9, 5);
	CU_ASSERT_EQUAL(sim_block_parse(b, 9), 5);
	CU_ASSERT_EQUAL(sim_block_parse(b, 10), 5 | 10ull << 32); /* of lba 9 */
	b[300] ^= 1;
	CU_ASSERT_EQUAL(sim_block_parse(b, 9), UINT64_MAX);
}
static void test_zeroing(void)
{
	begin();
	w(1, 10, SIM_APPLIED, 20);
	w(0, 30, SIM_APPLIED, 40);
	r(0, 50, 60);
	CU_ASSERT_TRUE(end());
	begin();
	w(1, 10, SIM_APPLIED, 20);
	w(0, 30, SIM_APPLIED, 40);
	r(1, 50, 60);
	CU_ASSERT_FALSE(end());
}
static void test_two_caw_on_one_value(void)
{
	begin();
	sim_check_caw(c, 3, 9, 10);
	sim_check_caw(c, 3, 9, 11);
	CU_ASSERT_FALSE(end());
}

/* A write of one block: invoked, and ended. */
static void at(uint64_t lba, uint64_t value, uint64_t inv, enum sim_outcome o, uint64_t resp)
{
	sim_check_write_end(c, sim_check_invoke(c, true, lba, 1, value, inv), o, resp);
}

/* A snapshot between 100 and 200 that shows these values of blocks 0 and 1. */
static bool cut(uint64_t zero, uint64_t one)
{
	uint64_t image[8];
	char why[256];

	for (unsigned i = 0; i < 8; i++)
		image[i] = SIM_UNSEEN;
	image[0] = zero;
	image[1] = one;
	return sim_check_cut(c, image, 100, 200, why, sizeof(why));
}

static void cut_holds_what_was_acknowledged_before(void)
{
	begin();
	at(0, 1, 10, SIM_APPLIED, 20);
	at(1, 2, 30, SIM_APPLIED, 40);
	CU_ASSERT_TRUE(cut(1, 2));
	CU_ASSERT_FALSE(cut(1, 0)); /* 2 is missing */
	CU_ASSERT_FALSE(cut(0, 2));
	CU_ASSERT_FALSE(cut(9, 2)); /* never written */
	sim_check_free(c);
}

static void cut_holds_causes_of_what_it_holds(void)
{
	begin();
	/* both while it was made: 2 was seen before 3 began */
	at(0, 1, 10, SIM_APPLIED, 20);
	at(0, 2, 110, SIM_APPLIED, 120);
	at(1, 3, 130, SIM_APPLIED, 140);
	CU_ASSERT_TRUE(cut(1, 0));
	CU_ASSERT_TRUE(cut(2, 0));
	CU_ASSERT_TRUE(cut(2, 3));
	CU_ASSERT_FALSE(cut(1, 3)); /* the effect without its cause */
	sim_check_free(c);
	/* of those that overlapped either may be there alone */
	begin();
	at(0, 2, 110, SIM_APPLIED, 135);
	at(1, 3, 130, SIM_APPLIED, 140);
	CU_ASSERT_TRUE(cut(0, 3));
	CU_ASSERT_TRUE(cut(2, 0));
	sim_check_free(c);
	/* one that may have been applied is nobody's cause */
	begin();
	at(0, 2, 110, SIM_MAYBE, 120);
	at(1, 3, 130, SIM_APPLIED, 140);
	CU_ASSERT_TRUE(cut(0, 3));
	sim_check_free(c);
}

static void cut_holds_nothing_from_behind_it(void)
{
	begin();
	at(0, 1, 210, SIM_APPLIED, 220);
	CU_ASSERT_TRUE(cut(0, 0));
	CU_ASSERT_FALSE(cut(1, 0));
	sim_check_free(c);
	begin();
	at(0, 1, 110, SIM_NEVER, 120);
	CU_ASSERT_FALSE(cut(1, 0));
	sim_check_free(c);
}

static void cut_with_zeroing(void)
{
	begin();
	at(0, 1, 10, SIM_APPLIED, 20);
	at(0, 0, 30, SIM_APPLIED, 40);
	CU_ASSERT_TRUE(cut(0, 0));
	CU_ASSERT_FALSE(cut(1, 0)); /* zeroed before */
	at(0, 2, 50, SIM_APPLIED, 60);
	CU_ASSERT_FALSE(cut(0, 0)); /* the zeros were overwritten before */
	CU_ASSERT_TRUE(cut(2, 0));
	sim_check_free(c);
}

static void history_that_begins_with_something(void)
{
	begin();
	sim_check_initial(c, 3, 7);
	r(7, 10, 20);
	w(8, 30, SIM_APPLIED, 40);
	r(8, 50, 60);
	CU_ASSERT_TRUE(end());
	begin();
	sim_check_initial(c, 3, 7);
	r(0, 10, 20);
	CU_ASSERT_FALSE(end());
}

/* ---- copies ---- */

static void rd(uint64_t lba, uint64_t value, uint64_t inv, uint64_t resp)
{
	uint32_t id = sim_check_invoke(c, false, lba, 1, 0, inv);

	sim_check_read_value(c, id, 0, value);
	sim_check_read_end(c, id, true, resp);
}

/* Of one block. */
static void copy(uint64_t to, uint64_t from, uint64_t inv, enum sim_outcome o, uint64_t resp)
{
	sim_check_write_end(c, sim_check_copy(c, to, 1, c, from, true, inv), o, resp);
}

#define OF(lba, value) ((value) | ((lba) + 1ull) << 32)

/* Block 1 is copied to block 3 from 100 to 200; before that it was written with 1, then 2, and
 * block 3 with 9. */
static void copied(enum sim_outcome o)
{
	begin();
	at(1, 1, 10, SIM_APPLIED, 20);
	at(1, 2, 30, SIM_APPLIED, 40);
	at(3, 9, 50, SIM_APPLIED, 60);
	copy(3, 1, 100, o, 200);
}

static void a_copy_is_what_its_source_was_at_some_moment(void)
{
	copied(SIM_APPLIED);
	rd(3, OF(1, 2), 210, 220);
	CU_ASSERT_TRUE(end());
	copied(SIM_APPLIED);
	rd(3, OF(1, 1), 210, 220); /* it was that, before the copy */
	CU_ASSERT_FALSE(end());
	copied(SIM_APPLIED);
	rd(3, OF(2, 2), 210, 220); /* of another block */
	CU_ASSERT_FALSE(end());
	copied(SIM_APPLIED);
	at(1, 3, 150, SIM_APPLIED, 160);
	rd(3, OF(1, 3), 210, 220); /* it became that meanwhile */
	CU_ASSERT_TRUE(end());
	copied(SIM_APPLIED);
	at(1, 3, 201, SIM_APPLIED, 220);
	rd(3, OF(1, 3), 230, 240); /* or afterwards */
	CU_ASSERT_FALSE(end());
	copied(SIM_APPLIED);
	rd(3, OF(1, 2), 80, 90); /* read before it was copied */
	CU_ASSERT_FALSE(end());
}

static void a_copy_is_a_write(void)
{
	copied(SIM_APPLIED);
	rd(3, 9, 210, 220); /* lost */
	CU_ASSERT_FALSE(end());
	copied(SIM_APPLIED);
	rd(3, 9, 150, 160);
	CU_ASSERT_TRUE(end());
	copied(SIM_NEVER);
	rd(3, OF(1, 2), 210, 220);
	CU_ASSERT_FALSE(end());
	copied(SIM_NEVER);
	rd(3, 9, 210, 220);
	CU_ASSERT_TRUE(end());
	for (unsigned late = 0; late < 2; late++) { /* what was written then stays */
		copied(SIM_MAYBE);
		at(3, 10, 210, SIM_APPLIED, 220);
		rd(3, OF(1, 2), late ? 230 : 190, late ? 240 : 195);
		CU_ASSERT_EQUAL(end(), !late);
	}
	copied(SIM_MAYBE); /* seen, so it was: and then not the older one */
	rd(3, OF(1, 2), 120, 130);
	rd(3, 9, 140, 150);
	CU_ASSERT_FALSE(end());
}

static void a_copy_of_a_copy(void)
{
	copied(SIM_APPLIED);
	copy(5, 3, 300, SIM_APPLIED, 400);
	rd(5, OF(1, 2), 410, 420);
	CU_ASSERT_TRUE(end());
	copied(SIM_APPLIED);
	copy(5, 3, 300, SIM_APPLIED, 400);
	rd(5, OF(3, 9), 410, 420);
	CU_ASSERT_FALSE(end());
	copied(SIM_APPLIED); /* and back: 2 again where 3 was */
	at(1, 3, 210, SIM_APPLIED, 220);
	copy(1, 3, 300, SIM_APPLIED, 400);
	rd(1, 2, 410, 420);
	CU_ASSERT_TRUE(end());
	begin(); /* round and round comes from nowhere */
	copy(1, 3, 100, SIM_APPLIED, 200);
	copy(3, 1, 100, SIM_APPLIED, 200);
	rd(3, OF(1, 2), 210, 220);
	CU_ASSERT_FALSE(end());
}

/* Blocks 1 and 2 are copied to 3 and 4 from 100 to 400, and meanwhile block 3 to block 2: block
 * 4 may be what block 1 was (simulator seed 9341). */
static bool round_by_another(uint64_t inv, uint64_t resp)
{
	uint32_t id;

	begin();
	at(1, 7, 10, SIM_APPLIED, 20);
	at(2, 8, 10, SIM_APPLIED, 20);
	at(3, 9, 10, SIM_APPLIED, 20);
	id = sim_check_copy(c, 3, 2, c, 1, true, 100);
	copy(2, 3, inv, SIM_APPLIED, resp);
	sim_check_write_end(c, id, SIM_APPLIED, 400);
	rd(4, OF(1, 7), 410, 420);
	return end();
}

static void a_copy_reads_what_another_brought_of_it(void)
{
	CU_ASSERT_TRUE(round_by_another(200, 250));
	CU_ASSERT_FALSE(round_by_another(50, 60)); /* block 3 was 9 then */
	CU_ASSERT_FALSE(round_by_another(405, 408));
}

static void cut_with_copies(void)
{
	begin();
	at(2, 1, 10, SIM_APPLIED, 20);
	copy(0, 2, 30, SIM_APPLIED, 40);
	at(1, 2, 150, SIM_APPLIED, 160);
	CU_ASSERT_TRUE(cut(OF(2, 1), 2));
	CU_ASSERT_FALSE(cut(0, 2));
	CU_ASSERT_FALSE(cut(OF(2, 2), 2));
	sim_check_free(c);
}

/* ---- writes of several blocks at once ---- */

static void whole(uint64_t value, uint64_t inv, enum sim_outcome o, uint64_t resp)
{
	uint32_t id = sim_check_invoke(c, true, 2, 3, value, inv);

	sim_check_atomic(c, id);
	sim_check_write_end(c, id, o, resp);
}

/* Blocks 2 and 3, by one command. */
static void both(uint64_t two, uint64_t three, uint64_t inv, uint64_t resp)
{
	uint32_t id = sim_check_invoke(c, false, 2, 2, 0, inv);

	sim_check_read_value(c, id, 0, two);
	sim_check_read_value(c, id, 1, three);
	sim_check_read_end(c, id, true, resp);
}

static void at_once_or_not_at_all(void)
{
	static const struct {
		uint64_t two, three;
		bool legal;
	} saw[] = {{8, 9, true}, {5, 5, true}, {5, 9, false}, {8, 5, false}, {5, 0, false}};

	for (unsigned i = 0; i < sizeof(saw) / sizeof(*saw); i++) { /* while it is written */
		begin();
		at(2, 8, 10, SIM_APPLIED, 20);
		at(3, 9, 10, SIM_APPLIED, 20);
		whole(5, 100, SIM_APPLIED, 200);
		both(saw[i].two, saw[i].three, 150, 160);
		CU_ASSERT_EQUAL(end(), saw[i].legal);
	}
	for (unsigned late = 0; late < 2; late++) { /* a newer one beside it is none */
		begin();
		whole(5, 100, SIM_APPLIED, 200);
		at(3, 9, late ? 120 : 10, SIM_APPLIED, late ? 130 : 20);
		both(5, 9, 150, 160);
		CU_ASSERT_EQUAL(end(), late);
	}
	/* two at once over each other: one has to be the later one of all */
	begin();
	whole(5, 100, SIM_APPLIED, 200);
	whole(6, 100, SIM_APPLIED, 200);
	both(5, 6, 210, 220);
	CU_ASSERT_FALSE(end());
}

static void who_sees_a_part_has_seen_all(void)
{
	begin();
	at(3, 9, 10, SIM_APPLIED, 20);
	whole(5, 100, SIM_MAYBE, 200);
	rd(2, 5, 120, 130);
	rd(3, 9, 140, 150);
	CU_ASSERT_FALSE(end());
	begin();
	at(3, 9, 10, SIM_APPLIED, 20);
	whole(5, 100, SIM_MAYBE, 200);
	rd(3, 9, 140, 150);
	CU_ASSERT_TRUE(end());
}

static void cut_with_several_at_once(void)
{
	uint64_t image[8];

	for (unsigned i = 0; i < 8; i++)
		image[i] = SIM_UNSEEN;
	for (unsigned all = 0; all < 2; all++) {
		begin();
		whole(5, 100, SIM_APPLIED, 200);
		image[2] = 5;
		image[3] = all ? 5 : 0;
		CU_ASSERT_EQUAL(sim_check_cut(c, image, 100, 200, why, sizeof(why)), all);
		sim_check_free(c);
	}
}

/* ---- who acknowledges ---- */

static struct sim_acks acks;

static enum sim_ack_is ack(int proc, uint64_t epoch, uint64_t record, uint32_t slot)
{
	struct sim_ack before, a = {.partition = 3,
				    .epoch = epoch,
				    .record = record,
				    .gateway = 7,
				    .slot = slot,
				    .incarnation = 2,
				    .proc = proc};

	return sim_acks_add(&acks, &a, &before);
}

/* Process 1 leads in epochs 4 and 5, then process 2. */
static void acks_begin(void)
{
	memset(&acks, 0, sizeof(acks));
	CU_ASSERT_EQUAL(ack(1, 4, 9, 1), SIM_ACK_NEW);
	CU_ASSERT_EQUAL(ack(1, 4, 10, 2), SIM_ACK_NEW);
	CU_ASSERT_EQUAL(ack(1, 5, 12, 2), SIM_ACK_NEW);
	CU_ASSERT_EQUAL(ack(2, 6, 14, 3), SIM_ACK_NEW);
}

static void one_acknowledges_in_an_epoch(void)
{
	struct sim_ack before, a = {.partition = 4, .epoch = 2, .record = 1, .proc = 1};

	acks_begin();
	CU_ASSERT_EQUAL(ack(2, 6, 15, 4), SIM_ACK_NEW);
	CU_ASSERT_EQUAL(ack(1, 6, 16, 4), SIM_ACK_TWO);
	CU_ASSERT_EQUAL(ack(1, 6, 14, 3), SIM_ACK_TWO); /* nor may it repeat it */
	/* another partition, and another process in the same place */
	CU_ASSERT_EQUAL(sim_acks_add(&acks, &a, &before), SIM_ACK_NEW);
	a.life++;
	CU_ASSERT_EQUAL(sim_acks_add(&acks, &a, &before), SIM_ACK_TWO);
	sim_acks_free(&acks);
}

/* One that stood still says once more what was said in its time; nothing else. */
static void a_former_primary_repeats_answers(void)
{
	struct sim_ack before, a = {.partition = 3,
				    .epoch = 5,
				    .record = 12,
				    .gateway = 7,
				    .slot = 2,
				    .incarnation = 2,
				    .proc = 1};

	acks_begin();
	CU_ASSERT_EQUAL(ack(1, 5, 12, 2), SIM_ACK_AGAIN);
	CU_ASSERT_EQUAL(ack(1, 5, 9, 1), SIM_ACK_AGAIN); /* given in the epoch before */
	CU_ASSERT_EQUAL(ack(1, 5, 13, 2), SIM_ACK_LATE); /* never given */
	CU_ASSERT_EQUAL(ack(1, 5, 12, 1), SIM_ACK_LATE); /* another op */
	CU_ASSERT_EQUAL(ack(1, 4, 12, 2), SIM_ACK_LATE); /* given in a later epoch only */
	CU_ASSERT_EQUAL(ack(1, 5, 14, 3), SIM_ACK_LATE); /* by the next primary only */
	a.incarnation++;
	CU_ASSERT_EQUAL(sim_acks_add(&acks, &a, &before), SIM_ACK_LATE);
	CU_ASSERT(before.proc == 2 && before.epoch == 6);
	a.incarnation--;
	a.gateway++;
	CU_ASSERT_EQUAL(sim_acks_add(&acks, &a, &before), SIM_ACK_LATE);
	/* what it says late counts for nothing */
	CU_ASSERT_EQUAL(ack(2, 6, 15, 4), SIM_ACK_NEW);
	sim_acks_free(&acks);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_plain_sequence_is_legal),
	VMS_TEST(test_miscompare_needs_another_value),
	VMS_TEST(test_concurrent_writes_either_order),
	VMS_TEST(test_read_during_write_may_be_old_or_new),
	VMS_TEST(test_new_then_old_is_found),
	VMS_TEST(test_lost_write_is_found),
	VMS_TEST(test_lost_first_write_is_found),
	VMS_TEST(test_unknown_may_apply_within_its_window),
	VMS_TEST(test_ghost_write_is_found),
	VMS_TEST(test_cancelled_write_must_not_be_read),
	VMS_TEST(test_torn_and_foreign_are_found),
	VMS_TEST(test_zeroing),
	VMS_TEST(test_two_caw_on_one_value),
	VMS_TEST(cut_holds_what_was_acknowledged_before),
	VMS_TEST(cut_holds_causes_of_what_it_holds),
	VMS_TEST(cut_holds_nothing_from_behind_it),
	VMS_TEST(cut_with_zeroing),
	VMS_TEST(history_that_begins_with_something),
	VMS_TEST(a_copy_is_what_its_source_was_at_some_moment),
	VMS_TEST(a_copy_is_a_write),
	VMS_TEST(a_copy_of_a_copy),
	VMS_TEST(a_copy_reads_what_another_brought_of_it),
	VMS_TEST(cut_with_copies),
	VMS_TEST(at_once_or_not_at_all),
	VMS_TEST(who_sees_a_part_has_seen_all),
	VMS_TEST(cut_with_several_at_once),
	VMS_TEST(one_acknowledges_in_an_epoch),
	VMS_TEST(a_former_primary_repeats_answers),
};
VMS_TEST_MAIN("sim_check", tests)
