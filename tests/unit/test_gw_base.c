// SPDX-License-Identifier: GPL-2.0-only
/* Pages that clones share: asked for once, and not a moment longer than they are shared. */
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

#define SUB (VMS_SUBEXT_CHUNKS * 8ull) /* blocks */

static struct vms_gw_vol *clone_vol[F_CLONES];

static void be(unsigned clone)
{
	f.vol = clone_vol[clone];
}

/* The first eight sub-extents hold 1 to 8 in their first chunks, likewise the next
 * extent's; two clones of it are open. */
static void clones_up(uint32_t mutant)
{
	struct vms_gw_vol *v;

	f_start(mutant, MEMORY);
	v = f.vol;
	for (unsigned s = 0; s < 16; s++)
		CU_ASSERT_EQUAL(f_write_blocks(s * SUB, 8, (uint8_t)(s % 8 + 1)), 0);
	f.clones = true;
	for (unsigned i = 0; i < F_CLONES; i++) {
		memcpy(f.clone[i], f.map, sizeof(f.map));
		vms_assert(vms_gw_vol_open(f.gw, i ? "c2" : "c1", F_CHUNKS * 4096ull, MEMORY, NULL,
					   &clone_vol[i], NULL) == 0);
		f_pump();
		f_run(500);
	}
	f.vol = v;
	f.n_pages = f.n_own = 0;
}

static void read_all(unsigned clone)
{
	be(clone);
	for (unsigned s = 0; s < 16; s++)
		CU_ASSERT_EQUAL(f_read_value(s * SUB, 8, NULL), (int)(s % 8 + 1));
}

/* Another gateway writes a chunk of the clone, and tells. */
static void other_writes(unsigned clone, uint32_t chunk, uint8_t value, bool first)
{
	uint8_t p[4096];
	struct vms_msg m = {.type = VMS_MSG_INVALIDATE,
			    .req_id = 77,
			    .sender = f.primary,
			    .incarnation = f.incarnation[f.primary],
			    .epoch = f.epoch,
			    .branch = F_BRANCH + 1 + clone,
			    .extent = chunk / 1024,
			    .aux = 1u << (chunk % 1024 / 128),
			    .sequence = ++f.seq};

	memset(p, value, sizeof(p));
	if (first)
		f_event(VMS_GEV_MSG, f.primary, &m);
	f.to = f.clone[clone];
	f_store(chunk, 0xff, p);
	f.to = NULL;
	f.clone_own[clone][chunk / 1024] |= (uint8_t)(1u << (chunk % 1024 / 128));
	if (!first)
		f_event(VMS_GEV_MSG, f.primary, &m);
	f_pump();
}

static void a_second_clone_asks_for_no_page(void)
{
	clones_up(0);
	read_all(0);
	CU_ASSERT_EQUAL(f.n_pages, 16);
	read_all(1);
	/* one page tells whose clone it is, one question the rest */
	CU_ASSERT_EQUAL(f.n_pages, 17);
	CU_ASSERT_EQUAL(f.n_own, 1);
	CU_ASSERT_EQUAL(f.own_asked, 2);
	read_all(0);
	read_all(1);
	CU_ASSERT_EQUAL(f.n_pages, 17);
	CU_ASSERT_EQUAL(f.n_own, 1);
	f_stop();
}

static int others_write(uint32_t mutant)
{
	int v;

	clones_up(mutant);
	read_all(0);
	read_all(1);
	other_writes(1, 0, 77, true);
	be(1);
	v = f_read_value(0, 8, NULL);
	be(0);
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 1);
	f_stop();
	return v;
}
static void a_write_of_another_gateway_ends_sharing(void)
{
	CU_ASSERT_EQUAL(others_write(0), 77);
	CU_ASSERT_EQUAL(others_write(VMS_GWM_CLAIM_KEPT), 1);
}

static void an_own_write_ends_sharing_and_costs_no_page(void)
{
	unsigned n;

	clones_up(0);
	read_all(0);
	read_all(1);
	n = f.n_pages;
	be(1);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 99), 0);
	CU_ASSERT_EQUAL(f_read_value(8, 8, NULL), 99);
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 1);
	CU_ASSERT_EQUAL(f.n_pages, n);
	be(0);
	CU_ASSERT_EQUAL(f_read_value(8, 8, NULL), 0);
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 1);
	CU_ASSERT_EQUAL(f.n_pages, n);
	/* and another gateway's write to the same page still ends it */
	other_writes(1, 0, 78, true);
	be(1);
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 78);
	CU_ASSERT_EQUAL(f_read_value(8, 8, NULL), 99);
	f_stop();
}

/* While a write is on its way, whatever a node says of its page is not for long. */
static void a_page_that_comes_while_it_is_written_is_the_clones_own(void)
{
	struct vms_gw_cmd w;
	struct vms_iov iov;
	uint8_t data[4096];

	clones_up(0);
	read_all(0);
	be(1);
	CU_ASSERT_EQUAL(f_read_value(SUB, 8, NULL), 2); /* it has a base now */
	f.hold_writes = true;
	w = f_cmd(VMS_GW_WRITE, 0, 8);
	memset(data, 55, sizeof(data));
	f_data(&w, &iov, data, sizeof(data));
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w), VMS_GW_PENDING);
	f_pump();
	/* the claims are asked for now, and the page too */
	CU_ASSERT_EQUAL(f_read_value(2 * 8, 8, NULL), 0);
	f.hold_writes = false;
	f_release();
	CU_ASSERT(f_ended(&w));
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 55);
	f_stop();
}

/* A claim that is on its way while somebody writes. */
static int late_claim(bool own)
{
	struct vms_gw_cmd c, w;
	struct vms_iov iov;
	uint8_t data[4096];
	int v;

	clones_up(0);
	read_all(0);
	be(1);
	CU_ASSERT_EQUAL(f_read_value(SUB, 8, NULL), 2);
	f.hold_own = true;
	c = f_cmd(VMS_GW_READ, 2 * SUB, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_pump();
	CU_ASSERT_EQUAL(f.nheld, 1);
	if (own) {
		w = f_cmd(VMS_GW_WRITE, 0, 8);
		memset(data, 55, sizeof(data));
		f_data(&w, &iov, data, sizeof(data));
		CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w), VMS_GW_PENDING);
		f_pump();
		CU_ASSERT(f_ended(&w));
	} else {
		other_writes(1, 0, 55, true);
	}
	/* it was answered before that write was ordered */
	f.clone_own[1][0] = 0;
	f.hold_own = false;
	f_release();
	CU_ASSERT(f_ended(&c));
	vms_gw_unpin(f.gw, &c);
	f.clone_own[1][0] = 1;
	v = f_read_value(0, 8, NULL);
	f_stop();
	return v;
}
static void a_claim_older_than_a_write_says_nothing(void)
{
	CU_ASSERT_EQUAL(late_claim(false), 55);
	CU_ASSERT_EQUAL(late_claim(true), 55);
}

static void an_address_that_is_gone_is_asked_for_again(void)
{
	clones_up(0);
	read_all(0);
	read_all(1);
	/* the chunk has moved, and is in no cache */
	for (unsigned i = 0; i < F_CLONES; i++)
		for (unsigned s = 0; s < 16; s++)
			f.clone[i][s * 128 + 1] = f_store(s * 128 + 1, 0xff, (uint8_t[4096]){7});
	f.n_pages = 0;
	f.gone_once = true;
	be(1);
	CU_ASSERT_NOT_EQUAL(f_read_value(3 * SUB, 8, NULL), -1000);
	f_lose(1); /* a new session: nothing is claimed */
	f_run(500);
	f.gone_once = true;
	read_all(1);
	read_all(0);
	f_stop();
}

static void claims_end_with_their_session_and_epoch(void)
{
	unsigned n;

	clones_up(0);
	read_all(0);
	read_all(1);
	n = f.n_pages;
	f_lose(1);
	other_writes(1, 0, 44, false); /* nobody is told: we hold nothing */
	f_run(500);
	be(1);
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 44);
	CU_ASSERT(f.n_pages > n);
	be(0);
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 1);
	n = f.n_pages;
	f_part(2);
	f_pump();
	be(1);
	f.to = f.clone[1];
	f_store(0, 0xff, (uint8_t[4096]){0});
	f.to = NULL;
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 0);
	CU_ASSERT(f.n_pages > n);
	f_stop();
}

static void a_node_of_an_earlier_release_is_asked_page_by_page(void)
{
	clones_up(0);
	f.no_own = true;
	read_all(0);
	read_all(1);
	CU_ASSERT_EQUAL(f.n_own, 1);
	CU_ASSERT_EQUAL(f.n_pages, 32);
	read_all(1);
	CU_ASSERT_EQUAL(f.n_pages, 32);
	f_stop();
}

static void an_aborted_read_leaves_no_trace(void)
{
	struct vms_gw_cmd c;

	clones_up(0);
	read_all(0);
	be(1);
	CU_ASSERT_EQUAL(f_read_value(SUB, 8, NULL), 2);
	f.hold_own = true;
	c = f_cmd(VMS_GW_READ, 2 * SUB, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_pump();
	vms_gw_abort(f.gw, &c);
	f_pump();
	CU_ASSERT(f_ended(&c));
	vms_gw_vol_close(f.gw, clone_vol[1]);
	f.hold_own = false;
	f_release();
	be(0);
	read_all(0);
	f_stop();
}

/* The primary stands still and loses its partition: who waits for its claims does not
 * wait for it. */
static void claims_of_a_former_primary_are_not_waited_for(void)
{
	struct vms_gw_cmd c;

	clones_up(0);
	read_all(0);
	be(1);
	CU_ASSERT_EQUAL(f_read_value(SUB, 8, NULL), 2);
	f.hold_own = true;
	c = f_cmd(VMS_GW_READ, 2 * SUB, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_pump();
	f.hold_own = false;
	f_set(2, (uint32_t[]){2, 1, 0});
	f_pump();
	f_run(250);
	CU_ASSERT(f_ended(&c));
	CU_ASSERT_EQUAL(c.status, 0);
	vms_gw_unpin(f.gw, &c);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(a_second_clone_asks_for_no_page),
	VMS_TEST(a_write_of_another_gateway_ends_sharing),
	VMS_TEST(an_own_write_ends_sharing_and_costs_no_page),
	VMS_TEST(a_page_that_comes_while_it_is_written_is_the_clones_own),
	VMS_TEST(a_claim_older_than_a_write_says_nothing),
	VMS_TEST(an_address_that_is_gone_is_asked_for_again),
	VMS_TEST(claims_end_with_their_session_and_epoch),
	VMS_TEST(a_node_of_an_earlier_release_is_asked_page_by_page),
	VMS_TEST(an_aborted_read_leaves_no_trace),
	VMS_TEST(claims_of_a_former_primary_are_not_waited_for),
};
VMS_TEST_MAIN("gw_base", tests)
