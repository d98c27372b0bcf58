// SPDX-License-Identifier: GPL-2.0-only
/* Chunks that are invalidated one by one: the rest of their page is kept, and what was asked
 * for before fills nothing. */
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

#define BLK 8u /* of a chunk */

static bool at_once(uint32_t chunk, int value)
{
	bool done;

	return f_read_value((uint64_t)chunk * BLK, BLK, &done) == value && done;
}

/* Chunks 3 and 4 are 1 and 2, and both are cached. */
static void up(uint32_t mutant)
{
	f_start(mutant, DISK);
	f_other_writes(3, 1);
	f_other_writes(4, 2);
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 1);
	CU_ASSERT_EQUAL(f_read_value(4 * BLK, BLK, NULL), 2);
	f.n_pages = f.n_addr = f.n_lba = 0;
}

static void the_rest_of_the_page_is_kept(void)
{
	up(0);
	f_other_writes_one(3, 7, false);
	CU_ASSERT_EQUAL(f.inval_gone, 0);
	CU_ASSERT(at_once(4, 2));
	CU_ASSERT_EQUAL(f.n_lba, 0);
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 7);
	CU_ASSERT_EQUAL(f.n_lba, 1);
	CU_ASSERT(at_once(3, 7)); /* its answer has told the address */
	f_other_writes_one(3, 0, true);
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 0);
	CU_ASSERT(at_once(3, 0)); /* a hole is known, too */
	CU_ASSERT_EQUAL(f.n_lba, 2);
	CU_ASSERT_EQUAL(f.n_pages, 0);
	CU_ASSERT_EQUAL(f.n_addr, 0);
	f_stop();
}

/* Still being written when it is asked for: by place again, until that is over. */
static void a_chunk_without_an_address_stays_unknown(void)
{
	up(0);
	f_other_writes_one(3, 7, false);
	f.lba_ask = true;
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 7);
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 7);
	CU_ASSERT_EQUAL(f.n_lba, 2);
	f.lba_ask = false;
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 7);
	CU_ASSERT(at_once(3, 7));
	CU_ASSERT_EQUAL(f.n_lba, 3);
	CU_ASSERT_EQUAL(f.n_pages, 0);
	f_stop();
}

/* The answer to a read by place was resolved before a write and comes behind its
 * INVALIDATE. What is read later? asked: another read by place is on its way by then. */
static int read_behind(uint32_t mutant, bool asked)
{
	struct vms_gw_cmd a, b;
	struct f_msg *second = NULL;
	vms_addr old, now;
	int v;

	up(mutant);
	f_other_writes_one(3, 2, false);
	old = f.map[3];
	f.hold_lba = true;
	a = f_cmd(VMS_GW_READ, 3 * BLK, BLK);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &a), VMS_GW_PENDING);
	f_pump();
	f_other_writes_one(3, 7, false);
	now = f.map[3];
	if (asked) {
		b = f_cmd(VMS_GW_READ, 3 * BLK, BLK);
		CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &b), VMS_GW_PENDING);
		f_pump();
		second = f.held[--f.nheld]; /* its answer comes later */
	}
	CU_ASSERT_EQUAL(f.nheld, 1);
	f.map[3] = old;
	f.hold_lba = false;
	f_release();
	f.map[3] = now;
	if (asked)
		f.held[f.nheld++] = second;
	f.nended = 0;
	v = f_read_value(3 * BLK, BLK, NULL);
	f_release();
	vms_gw_unpin(f.gw, &a);
	if (asked)
		vms_gw_unpin(f.gw, &b);
	f_stop();
	return v;
}
static void what_was_asked_for_before_a_write_fills_nothing(void)
{
	CU_ASSERT_EQUAL(read_behind(0, false), 7);
	CU_ASSERT_EQUAL(read_behind(0, true), 7);
	CU_ASSERT_EQUAL(read_behind(VMS_GWM_FILL_OLD, false), 2);
	CU_ASSERT_EQUAL(read_behind(VMS_GWM_FILL_OLD, true), 2);
}

/* Another gateway writes chunk 3, which is then asked for by place: the answer is held. Returns
 * the address it has. */
static vms_addr read_held(struct vms_gw_cmd *a)
{
	up(0);
	f_other_writes_one(3, 2, false);
	f.hold_lba = true;
	*a = f_cmd(VMS_GW_READ, 3 * BLK, BLK);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, a), VMS_GW_PENDING);
	f_pump();
	return f.map[3];
}

/* ... nor a page that has been dropped and asked for anew meanwhile. */
static void it_fills_no_other_page(void)
{
	struct vms_gw_cmd a;
	vms_addr old, now;

	old = read_held(&a);
	f_other_writes(3, 7);
	now = f.map[3];
	f.map[3] = VMS_ADDR_ASK; /* as the new page shows it: being written */
	CU_ASSERT_EQUAL(f_read_value(4 * BLK, BLK, NULL), 2);
	CU_ASSERT_EQUAL(f.n_pages, 1);
	f.map[3] = old;
	f.hold_lba = false;
	f_release();
	f.map[3] = now;
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 7);
	vms_gw_unpin(f.gw, &a);
	f_stop();
}

/* The answer to an own write is newer than that to a read before it. */
static void an_own_write_is_not_undone(void)
{
	struct vms_gw_cmd a;
	vms_addr old, now;

	old = read_held(&a);
	CU_ASSERT_EQUAL(f_write_blocks(3 * BLK, BLK, 9), 0);
	CU_ASSERT(at_once(3, 9));
	now = f.map[3];
	f.map[3] = old;
	f.hold_lba = false;
	f_release();
	f.map[3] = now;
	CU_ASSERT(at_once(3, 9));
	vms_gw_unpin(f.gw, &a);
	f_stop();
}

/* So that it is not told of every write for ever. */
static void what_is_left_of_nothing_is_said(void)
{
	struct vms_gw_cmd c;

	up(0);
	f_other_writes_one(3, 3, false);
	CU_ASSERT_EQUAL(f.inval_gone, 0);
	f_other_writes_one(200, 3, false); /* the second page has not been asked for */
	CU_ASSERT_EQUAL(f.inval_gone, 2);
	f_other_writes(3, 3);
	CU_ASSERT_EQUAL(f.inval_gone, 1);
	/* one that is on its way is something */
	f.hold_pages = true;
	c = f_cmd(VMS_GW_READ, 3 * BLK, BLK);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_pump();
	f_other_writes_one(3, 4, false);
	CU_ASSERT_EQUAL(f.inval_gone, 0);
	f.hold_pages = false;
	f_release();
	vms_gw_unpin(f.gw, &c);
	f_stop();
}

static void a_page_that_nobody_reads_goes(void)
{
	unsigned n = 0;

	up(0);
	for (unsigned i = 0; i < 20; i++) {
		f_other_writes_one(3, 3, false);
		CU_ASSERT(at_once(4, 2));
		CU_ASSERT_EQUAL(f.inval_gone, 0);
	}
	while (!f.inval_gone && n++ < 20)
		f_other_writes_one(3, 3, false);
	CU_ASSERT(n > 1 && n < 10);
	CU_ASSERT_EQUAL(f.inval_gone, 1);
	CU_ASSERT_EQUAL(f_read_value(4 * BLK, BLK, NULL), 2);
	CU_ASSERT_EQUAL(f.n_pages, 1);
	f_stop();
}

/* Whatever the body says, no page that it may mean is kept. */
static void a_damaged_list_takes_all(void)
{
	static const struct {
		uint8_t bytes;
		struct vms_inval_run run[2];
		uint8_t subs;
	} bad[] = {
		{3, {{3, 1}}, 1},	  {5, {{3, 1}}, 1},
		{4, {{3, 0}}, 1},	  {4, {{1024, 1}}, 1},
		{4, {{1000, 100}}, 0xff}, {8, {{9, 1}, {3, 1}}, 1},
		{8, {{3, 4}, {5, 1}}, 1}, {4, {{3, 1}}, 2 /* not its */},
		{4, {{127, 2}}, 1},	  {4, {{0xffff, 0xffff}}, 0xff},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t body[2 * VMS_INVAL_RUN_BYTES];

		up(0);
		vms_inval_encode(body, bad[i].run, 2);
		f_invalidate(0, bad[i].subs, body, bad[i].bytes);
		CU_ASSERT_EQUAL(f_read_value(4 * BLK, BLK, NULL), 2);
		CU_ASSERT_EQUAL(f.n_pages, 1);
		f_stop();
	}
}

/* Large reads move a page rather than all their chunks. */
static void a_large_read_asks_for_the_page(void)
{
	struct vms_gw_cmd c;

	up(0);
	c = f_cmd(VMS_GW_READ, 0, 32 * BLK);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	vms_gw_unpin(f.gw, &c);
	f_other_writes_one(3, 7, false);
	f.n_pages = f.n_addr = f.n_lba = 0;
	c = f_cmd(VMS_GW_READ, 0, 32 * BLK);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(((const uint8_t *)c.riov[3].base)[0], 7);
	vms_gw_unpin(f.gw, &c);
	CU_ASSERT(f.n_pages == 1 && f.n_addr == 1 && f.n_lba == 0);
	CU_ASSERT(at_once(3, 7));
	f_stop();
}

/* What is unknown is not taken for mapped. */
static void lba_status_asks_for_the_page(void)
{
	struct vms_gw_lba_range r[8];
	struct vms_gw_cmd c;
	vms_addr a[8];

	up(0);
	f_other_writes_one(3, 0, true);
	c = f_cmd(VMS_GW_LBA_STATUS, 0, 0);
	c.ranges = r;
	c.nranges = 8;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(c.nranges, 3);
	CU_ASSERT(r[0].nblocks == 4 * BLK && !r[0].mapped);
	CU_ASSERT(r[1].nblocks == BLK && r[1].mapped);
	f_other_writes_one(3, 6, false);
	c = f_cmd(VMS_GW_MAP, 0, 8 * BLK);
	c.addrs = a;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(a[3], f.map[3]);
	/* nor is a token ever told for an address */
	f_other_writes_one(3, 7, false);
	f.lba_ask = true;
	CU_ASSERT_EQUAL(f_read_value(3 * BLK, BLK, NULL), 7);
	f.map[3] = VMS_ADDR_ASK;
	c = f_cmd(VMS_GW_MAP, 0, 8 * BLK);
	c.addrs = a;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(a[3], VMS_ADDR_ASK);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(the_rest_of_the_page_is_kept),
	VMS_TEST(a_chunk_without_an_address_stays_unknown),
	VMS_TEST(what_was_asked_for_before_a_write_fills_nothing),
	VMS_TEST(it_fills_no_other_page),
	VMS_TEST(an_own_write_is_not_undone),
	VMS_TEST(what_is_left_of_nothing_is_said),
	VMS_TEST(a_page_that_nobody_reads_goes),
	VMS_TEST(a_damaged_list_takes_all),
	VMS_TEST(a_large_read_asks_for_the_page),
	VMS_TEST(lba_status_asks_for_the_page),
};
VMS_TEST_MAIN("gw_entry", tests)
