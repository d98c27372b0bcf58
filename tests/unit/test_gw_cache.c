// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a gateway reads and keeps: pages past their lease, invalidated, older than what it has
 * heard of, own writes without an answer, damaged and moved chunks.
 */
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

static uint8_t w1_data[8192];

static void what_was_written_is_read(void)
{
	bool done;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_read_value(0, 64, NULL), 0);
	CU_ASSERT_EQUAL(f_write_blocks(8, 16, 5), 0);
	CU_ASSERT_EQUAL(f_read_value(8, 16, &done), 5);
	CU_ASSERT(done); /* the answer named the addresses, the data was kept */
	CU_ASSERT_EQUAL(f_read_value(24, 8, &done), 0);
	CU_ASSERT_EQUAL(f_write_blocks(9, 1, 6), 0);
	CU_ASSERT_EQUAL(f_read_value(8, 1, NULL), 5);
	CU_ASSERT_EQUAL(f_read_value(9, 1, NULL), 6);
	CU_ASSERT_EQUAL(f_read_value(10, 6, NULL), 5);
	f_stop();
}

static void dest_and_pinned_reads_agree(void)
{
	static uint8_t dest[3000 * 512];
	struct vms_gw_cmd c, d;
	size_t at = 0;

	f_start(0, DISK);
	for (unsigned i = 0; i < 1500; i++)
		f_store(i, 0xff, memset(dest, (int)(i * 7 + 1), 4096));
	for (int round = 0; round < 2; round++) {
		d = f_cmd(VMS_GW_READ, 8189, 3000); /* across an extent, ends unaligned */
		d.dest = dest;
		CU_ASSERT_EQUAL(f_do(&d), 0);
		c = f_cmd(VMS_GW_READ, 8189, 3000);
		CU_ASSERT_EQUAL(f_do(&c), 0);
		at = 0;
		for (unsigned i = 0; i < c.nriov; i++) {
			CU_ASSERT(!memcmp(c.riov[i].base, dest + at, c.riov[i].len));
			at += c.riov[i].len;
		}
		CU_ASSERT_EQUAL(at, sizeof(dest));
		CU_ASSERT_EQUAL(dest[0], (uint8_t)(1023 * 7 + 1));
		CU_ASSERT_EQUAL(dest[3 * 512], (uint8_t)(1024 * 7 + 1));
		vms_gw_unpin(f.gw, &c);
	}
	f_stop();
}

static void the_same_miss_is_asked_for_once(void)
{
	struct vms_gw_cmd a, b;

	f_start(0, DISK);
	f_other_writes(3, 9);
	a = f_cmd(VMS_GW_READ, 24, 8);
	b = f_cmd(VMS_GW_READ, 24, 8);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &a), VMS_GW_PENDING);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &b), VMS_GW_PENDING);
	f_pump();
	CU_ASSERT(f_ended(&a) && f_ended(&b));
	CU_ASSERT_EQUAL(f.n_pages, 1);
	CU_ASSERT_EQUAL(f.n_addr, 1);
	CU_ASSERT_PTR_EQUAL(a.riov[0].base, b.riov[0].base);
	vms_gw_unpin(f.gw, &a);
	vms_gw_unpin(f.gw, &b);
	f_stop();
}

/* ---- coherence ---- */

static int read_after_other_write(uint32_t mutant)
{
	int v;

	f_start(mutant, DISK);
	f_other_writes(3, 1);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	f_other_writes(3, 2);
	v = f_read_value(24, 8, NULL);
	f_stop();
	return v;
}

static void an_invalidated_page_is_not_used(void)
{
	CU_ASSERT_EQUAL(read_after_other_write(0), 2);
	CU_ASSERT_EQUAL(read_after_other_write(VMS_GWM_INVALIDATE), 1);
}

static void an_invalidation_is_answered(void)
{
	f_start(0, DISK);
	f_other_writes(3, 1);
	CU_ASSERT_EQUAL(f.n_inval_ok, 1);
	f_stop();
}

/* No tick for longer than the lease: node 1 has let others write meanwhile. */
static bool cached_past_lease(uint32_t mutant)
{
	bool done;

	f_start(mutant, DISK);
	f_other_writes(3, 1);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	CU_ASSERT_EQUAL(f_read_value(24, 8, &done), 1);
	CU_ASSERT(done);
	for (int i = 0; i < 11; i++) {
		f.now += 200;
		f_pump();
	}
	CU_ASSERT_EQUAL(f_read_value(24, 8, &done), 1);
	f_stop();
	return done;
}

static void a_page_is_not_used_past_its_lease(void)
{
	CU_ASSERT_FALSE(cached_past_lease(0));
	CU_ASSERT(cached_past_lease(VMS_GWM_LEASE));
}

static int read_after_reconnect(uint32_t mutant)
{
	uint8_t p[4096];
	int v;

	f_start(mutant, DISK);
	f_other_writes(3, 1);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	f_lose(1);
	memset(p, 2, sizeof(p));
	f_store(3, 0xff, p); /* nobody told us */
	f_run(500);
	v = f_read_value(24, 8, NULL);
	f_stop();
	return v;
}

static void a_lost_connection_voids_its_pages(void)
{
	CU_ASSERT_EQUAL(read_after_reconnect(0), 2);
	CU_ASSERT_EQUAL(read_after_reconnect(VMS_GWM_KEEP_PAGES), 1);
}

static bool own_write_hidden(uint32_t mutant)
{
	uint8_t data[4096];
	struct vms_iov iov;
	struct vms_gw_cmd w;
	bool done;

	f_start(mutant, DISK);
	f_other_writes(3, 1);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	w = f_cmd(VMS_GW_WRITE, 24, 8);
	memset(data, 2, sizeof(data));
	f_data(&w, &iov, data, sizeof(data));
	f.hold_writes = true;
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &w), VMS_GW_PENDING);
	f_pump();
	f_read_value(24, 8, &done);
	f.hold_writes = false;
	f_release();
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 2);
	f_stop();
	return !done;
}

static void an_unanswered_own_write_hides_the_cached_chunk(void)
{
	CU_ASSERT(own_write_hidden(0));
	CU_ASSERT_FALSE(own_write_hidden(VMS_GWM_OWN_WRITES));
}

/* Another gateway's write is ordered behind ours: it invalidated our page before ours was
 * answered, and will not again when it is committed. */
static void something_newer_behind_an_own_write_is_asked_for(void)
{
	for (int zero = 0; zero < 2; zero++) {
		struct vms_gw_cmd w;
		uint8_t data[4096], newer[4096];
		struct vms_iov iov;

		f_start(0, DISK);
		f_other_writes(3, 1);
		CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
		w = f_cmd(zero ? VMS_GW_ZERO : VMS_GW_WRITE, 24, 8);
		if (!zero) {
			memset(data, 2, sizeof(data));
			f_data(&w, &iov, data, sizeof(data));
		}
		f.write_ask = true;
		CU_ASSERT_EQUAL(f_do(&w), 0);
		memset(newer, 7, sizeof(newer));
		f_store(3, VMS_MASK_FULL, newer);
		CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 7);
		f_stop();
	}
}

static unsigned stale_page(uint32_t mutant)
{
	struct vms_gw_cmd c;
	bool done;

	f_start(mutant, DISK);
	f.hold_pages = true;
	c = f_cmd(VMS_GW_READ, 24, 8);
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_PENDING);
	f_pump();
	f_other_writes(3, 2);
	f.seq--; /* the page that is answered now was taken before that write */
	f.map[3] = VMS_ADDR_HOLE;
	f.hold_pages = false;
	f_release();
	vms_gw_unpin(f.gw, &c);
	f_read_value(24, 8, &done);
	f_stop();
	return done;
}

static void a_page_older_than_an_invalidation_is_not_installed(void)
{
	CU_ASSERT_FALSE(stale_page(0));
	CU_ASSERT(stale_page(VMS_GWM_STALE_PAGE));
}

static void a_page_update_applies_only_to_the_old_address(void)
{
	uint8_t body[48] = {0};
	struct vms_msg m = {.type = VMS_MSG_PAGE_UPDATE,
			    .sender = 1,
			    .epoch = 1,
			    .branch = F_BRANCH,
			    .body = body,
			    .body_bytes = 48};
	bool done;

	f_start(0, DISK);
	f_other_writes(3, 1);
	f_other_writes(4, 2);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	CU_ASSERT_EQUAL(f_read_value(32, 8, NULL), 2);
	vms_put_le16(body, 3);
	vms_put_le64(body + 8, f.map[3]);
	vms_put_le64(body + 16, vms_addr_make(5, 8192));
	vms_put_le16(body + 24, 4);
	vms_put_le64(body + 32, vms_addr_make(5, 4096)); /* not what is there */
	vms_put_le64(body + 40, vms_addr_make(5, 12288));
	f_event(VMS_GEV_MSG, 1, &m);
	CU_ASSERT_EQUAL(f_read_value(24, 8, &done), 1);
	CU_ASSERT(done);
	CU_ASSERT_EQUAL(f_read_value(32, 8, &done), 2);
	CU_ASSERT(done);
	f_stop();
}

/* ---- damaged and moved chunks ---- */

static int read_corrupt(uint32_t mutant, unsigned *repairs)
{
	int v;

	f_start(mutant, DISK);
	f_other_writes(3, 1);
	f.corrupt_node1 = true;
	v = f_read_value(24, 8, NULL);
	*repairs = f.n_repair;
	f_stop();
	return v;
}

static void a_damaged_copy_is_replaced_and_reported(void)
{
	unsigned repairs;

	CU_ASSERT_EQUAL(read_corrupt(0, &repairs), 1);
	CU_ASSERT_EQUAL(repairs, 1);
	CU_ASSERT_EQUAL(read_corrupt(VMS_GWM_NO_CRC, &repairs), -1);
}

static void a_chunk_damaged_everywhere_is_an_error(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	f_other_writes(3, 1);
	f_other_writes(4, 1);
	f.corrupt_node1 = f.corrupt_lba = true;
	f.reachable[2] = false;
	f_lose(2);
	/* the other copy is out of reach: not lost */
	c = f_cmd(VMS_GW_READ, 24, 16);
	f_do(&c);
	f_run(4250);
	CU_ASSERT(f_ended(&c));
	CU_ASSERT_EQUAL(c.status, VMS_E_BUSY);
	/* the set goes on without it */
	f_set(2, (uint32_t[]){1, 0});
	f_pump();
	c = f_cmd(VMS_GW_READ, 24, 16);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(c.info_lba, 24);
	f_stop();
}

static void a_gone_address_is_looked_up_again(void)
{
	f_start(0, DISK);
	f_other_writes(3, 1);
	f.gone_once = true;
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 1);
	CU_ASSERT_EQUAL(f.n_pages, 2);
	CU_ASSERT_EQUAL(f.n_addr, 2);
	f_stop();
}

static void sequential_reads_are_read_ahead(void)
{
	bool done = false;

	f_start(0, DISK);
	for (uint32_t i = 0; i < 200; i++)
		f_store(i, 0xff, memset(w1_data, 1, 4096));
	for (unsigned i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(f_read_value(i * 8, 8, &done), 1);
	CU_ASSERT(done);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(what_was_written_is_read),
	VMS_TEST(dest_and_pinned_reads_agree),
	VMS_TEST(the_same_miss_is_asked_for_once),
	VMS_TEST(an_invalidated_page_is_not_used),
	VMS_TEST(an_invalidation_is_answered),
	VMS_TEST(a_page_is_not_used_past_its_lease),
	VMS_TEST(a_lost_connection_voids_its_pages),
	VMS_TEST(an_unanswered_own_write_hides_the_cached_chunk),
	VMS_TEST(something_newer_behind_an_own_write_is_asked_for),
	VMS_TEST(a_page_older_than_an_invalidation_is_not_installed),
	VMS_TEST(a_page_update_applies_only_to_the_old_address),
	VMS_TEST(a_damaged_copy_is_replaced_and_reported),
	VMS_TEST(a_chunk_damaged_everywhere_is_an_error),
	VMS_TEST(a_gone_address_is_looked_up_again),
	VMS_TEST(sequential_reads_are_read_ahead),
};
VMS_TEST_MAIN("gateway: cache", tests)
