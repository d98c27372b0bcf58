// SPDX-License-Identifier: GPL-2.0-only
/* Copies inside the gateway: every way a piece can go, against a model of the volume. */
#include "target/copy.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

#define BLOCKS (F_CHUNKS * 8u)

static const struct vms_pr_nexus nexus = {.initiator = "iqn.a"};
static const struct vms_pr_who who = {.nexus = &nexus};
static uint8_t model[BLOCKS]; /* a block is one byte, repeated */
static struct vms_copy *c;

/* Instead of the library's: there may be no memory for the buffer of a piece. */
static bool no_memory;
void *aligned_alloc(size_t align, size_t bytes)
{
	void *p;

	return no_memory || posix_memalign(&p, align, bytes) ? NULL : p;
}

static void put(uint64_t lba, uint32_t n, uint8_t value)
{
	CU_ASSERT_EQUAL(f_write_blocks(lba, n, value), 0);
	memset(model + lba, value, n);
}

/* Different bytes in each block of a range: order matters then. */
static void put_stripes(uint64_t lba, uint32_t n, uint8_t first)
{
	static uint8_t data[1024 * 512];
	struct vms_gw_cmd w = f_cmd(VMS_GW_WRITE, lba, n);

	for (uint32_t i = 0; i < n; i++) {
		model[lba + i] = (uint8_t)(first + i % 200);
		memset(data + 512 * i, model[lba + i], 512);
	}
	f_data(&w, &f_iov, data, 512 * n);
	CU_ASSERT_EQUAL(f_do(&w), 0);
}

/* What has ended goes where the adapter would send it. */
static void deliver(void)
{
	for (unsigned i = 0; i < f.nended; i++)
		if (f.ended[i]->cookie == &c)
			vms_copy_ended(c, f.ended[i]);
	f.nended = 0;
}

static enum vms_copy_state turns(unsigned n, uint64_t ms)
{
	enum vms_copy_state s = VMS_COPY_WAITING;

	while (n-- && s != VMS_COPY_ENDED) {
		s = vms_copy_run(c, f.now);
		f_run(ms);
		deliver();
	}
	return s;
}

static int copy(uint64_t from, uint64_t to, uint32_t n)
{
	struct vms_copy_range r = {f.vol, f.vol, from, to, n};
	int status;

	f.nended = 0;
	c = vms_copy_new(f.gw, &c, "iqn.a,i,0x1", &who);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	vms_copy_begin(c, &r);
	CU_ASSERT_EQUAL(turns(4000, 1), VMS_COPY_ENDED);
	status = vms_copy_status(c);
	if (!status) {
		memmove(model + to, model + from, n);
		CU_ASSERT_EQUAL(vms_copy_blocks(c), from == to ? 0 : n);
	}
	vms_copy_free(c);
	return status;
}

static unsigned differ(uint64_t lba, uint32_t n)
{
	unsigned bad = 0;

	for (uint64_t b = lba; b < lba + n; b++) {
		const uint8_t *d = f_chunk(f.map[b / 8]) + 512 * (b % 8);

		bad += d[0] != model[b] || d[511] != model[b];
	}
	return bad;
}

static void start(bool drained)
{
	f_start(0, VMS_ACK_DISK);
	f.drained = drained;
	memset(model, 0, sizeof(model));
}

static void containers_are_copied_by_address_and_holes_stay_holes(void)
{
	start(true);
	put(0, 800, 'a');
	put(1600, 800, 'b');
	put(20000, 1000, 'x'); /* is overwritten, also by the hole */
	f.n_write = f.n_lba = f.n_addr = 0;
	CU_ASSERT_EQUAL(copy(0, 19200, 2400), 0);
	CU_ASSERT_EQUAL(differ(0, BLOCKS), 0);
	CU_ASSERT(f.n_copy > 0);
	CU_ASSERT_EQUAL(f.n_lba + f.n_addr, 0); /* no data came */
	CU_ASSERT_EQUAL(f.map[(19200 + 800) / 8], VMS_ADDR_HOLE);
	f_stop();
}

static void what_is_not_drained_is_read_and_written(void)
{
	start(false);
	put_stripes(64, 900, 3);
	CU_ASSERT_EQUAL(copy(64, 9000, 904), 0);
	CU_ASSERT_EQUAL(f.n_copy, 0);
	CU_ASSERT_EQUAL(differ(0, BLOCKS), 0);
	f_stop();
}

static void ranges_need_not_be_aligned(void)
{
	static const uint32_t t[][3] = {
		{3, 16003, 1},	     {3, 16003, 3000}, {5, 16006, 3000}, {8188, 20476, 9},
		{8190, 24570, 5000}, {7, 30000, 8},    {0, 16384, 5},	 {1, 16386, 7000},
	};

	start(true);
	for (unsigned i = 0; i < 9; i++)
		put_stripes(i * 1000, 900, (uint8_t)(1 + i));
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CU_ASSERT_EQUAL(copy(t[i][0], t[i][1], t[i][2]), 0);
		CU_ASSERT_EQUAL(differ(0, BLOCKS), 0);
	}
	f_stop();
}

static void overlapping_ranges_are_moved(void)
{
	static const uint32_t t[][3] = {
		{100, 101, 2000}, {101, 100, 2000}, {0, 2048, 5000}, {2048, 0, 5000},
		{0, 8, 4000},	  {16, 8, 4000},    {500, 500, 900},
	};

	for (unsigned d = 0; d < 2; d++) {
		start(d);
		for (unsigned i = 0; i < 8; i++)
			put_stripes(i * 1000, 1000, (uint8_t)(1 + 7 * i));
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			CU_ASSERT_EQUAL(copy(t[i][0], t[i][1], t[i][2]), 0);
			CU_ASSERT_EQUAL(differ(0, 9000), 0);
		}
		f_stop();
	}
}

static void an_address_that_is_gone_is_read_by_place(void)
{
	start(true);
	put_stripes(0, 1000, 1);
	f.gone = f.map[50];
	CU_ASSERT_EQUAL(copy(0, 16384, 1000), 0);
	CU_ASSERT_EQUAL(differ(0, BLOCKS), 0);
	CU_ASSERT(f.n_copy > 1); /* the others went by address all the same */
	/* a node that does not know the op */
	f.write_status = VMS_E_UNSUPPORTED;
	CU_ASSERT_EQUAL(copy(0, 16384, 1000), VMS_E_UNSUPPORTED);
	f.write_status = 0;
	f_stop();
}

static void refusals_are_waited_out_for_a_while(void)
{
	struct vms_copy_range r = {NULL, NULL, 0, 16384, 4000};

	start(true);
	put(0, 4000, 'a');
	r.from = r.to = f.vol;
	f.nended = 0;
	c = vms_copy_new(f.gw, &c, "iqn.a,i,0x1", &who);
	vms_copy_begin(c, &r);
	f.write_status = VMS_E_BUSY; /* the core's own patience ends after T_op */
	CU_ASSERT_NOT_EQUAL(turns(5000, 1), VMS_COPY_ENDED);
	f.write_status = 0;
	CU_ASSERT_EQUAL(turns(5000, 1), VMS_COPY_ENDED);
	CU_ASSERT_EQUAL(vms_copy_status(c), 0);
	memmove(model + 16384, model, 4000);
	CU_ASSERT_EQUAL(differ(0, BLOCKS), 0);
	vms_copy_free(c);
	/* and no longer */
	f.nended = 0;
	c = vms_copy_new(f.gw, &c, "iqn.a,i,0x1", &who);
	vms_copy_begin(c, &r);
	f.write_status = VMS_E_BUSY;
	CU_ASSERT_EQUAL(turns(400, 100), VMS_COPY_ENDED);
	CU_ASSERT_EQUAL(vms_copy_status(c), VMS_E_BUSY);
	CU_ASSERT_EQUAL(vms_copy_blocks(c), 0);
	CU_ASSERT_FALSE(vms_copy_failed_reading(c));
	vms_copy_free(c);
	f_stop();
}

/* As for all that is refused: for a while, then BUSY. */
static void memory_that_does_not_come_is_not_waited_for_for_ever(void)
{
	struct vms_copy_range r = {NULL, NULL, 64, 16384, 900};

	start(false);
	put_stripes(64, 900, 3);
	r.from = r.to = f.vol;
	f.nended = 0;
	c = vms_copy_new(f.gw, &c, "iqn.a,i,0x1", &who);
	vms_copy_begin(c, &r);
	no_memory = true;
	CU_ASSERT_NOT_EQUAL(turns(50, 100), VMS_COPY_ENDED);
	no_memory = false;
	CU_ASSERT_EQUAL(turns(4000, 1), VMS_COPY_ENDED);
	CU_ASSERT_EQUAL(vms_copy_status(c), 0);
	vms_copy_free(c);
	f.nended = 0;
	c = vms_copy_new(f.gw, &c, "iqn.a,i,0x1", &who);
	vms_copy_begin(c, &r);
	no_memory = true;
	CU_ASSERT_EQUAL(turns(400, 100), VMS_COPY_ENDED);
	no_memory = false;
	CU_ASSERT_EQUAL(vms_copy_status(c), VMS_E_NOMEM);
	CU_ASSERT_FALSE(vms_copy_touched(c));
	vms_copy_free(c);
	f_stop();
}

static void an_abort_begins_nothing_new_and_ends_when_all_is_settled(void)
{
	struct vms_copy_range r = {NULL, NULL, 0, 16384, 16000};
	unsigned writes;

	start(true);
	put(0, 8000, 'a');
	put(8000, 8000, 'b');
	r.from = r.to = f.vol;
	f.nended = 0;
	c = vms_copy_new(f.gw, &c, "iqn.a,i,0x1", &who);
	vms_copy_begin(c, &r);
	f.hold_writes = true;
	f.hold_cancel = true;
	CU_ASSERT_NOT_EQUAL(turns(20, 1), VMS_COPY_ENDED);
	CU_ASSERT(f.nheld > 0);
	vms_copy_abort(c);
	CU_ASSERT_NOT_EQUAL(turns(20, 1), VMS_COPY_ENDED); /* outcomes are not known yet */
	writes = f.n_write + f.nheld;
	f.hold_writes = f.hold_cancel = false;
	while (f.nheld) {
		struct f_msg *q = f.held[--f.nheld];

		f_handle(q);
		free(q);
	}
	CU_ASSERT_EQUAL(turns(100, 1), VMS_COPY_ENDED);
	CU_ASSERT(f.n_write <= writes);
	CU_ASSERT_EQUAL(vms_copy_status(c), VMS_E_CANCELLED);
	vms_copy_free(c);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(containers_are_copied_by_address_and_holes_stay_holes),
	VMS_TEST(what_is_not_drained_is_read_and_written),
	VMS_TEST(ranges_need_not_be_aligned),
	VMS_TEST(overlapping_ranges_are_moved),
	VMS_TEST(an_address_that_is_gone_is_read_by_place),
	VMS_TEST(refusals_are_waited_out_for_a_while),
	VMS_TEST(memory_that_does_not_come_is_not_waited_for_for_ever),
	VMS_TEST(an_abort_begins_nothing_new_and_ends_when_all_is_settled),
};
VMS_TEST_MAIN("copy", tests)
