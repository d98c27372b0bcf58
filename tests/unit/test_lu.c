// SPDX-License-Identifier: GPL-2.0-only
#include "target/lu.h"

#include <string.h>

#include "tests/unit/cunit.h"

static struct vms_lu lu;
static struct vms_lu_req q;
static bool current;

static void on_others(void *ctx, uint64_t session, uint16_t asc)
{
	(void)ctx;
	(void)session;
	(void)asc;
}
static bool on_current(void *ctx)
{
	(void)ctx;
	return current;
}

/* A READ or WRITE(10) of one block; 1000 blocks there are. */
static enum vms_lu_answer rw(bool write, uint32_t lba, bool is_current)
{
	static const struct vms_lu_sink sink = {NULL, on_others, on_current};
	static uint8_t cdb[10], block[512];

	memset(cdb, 0, sizeof(cdb));
	cdb[0] = write ? 0x2a : 0x28;
	cdb[4] = (uint8_t)(lba >> 8);
	cdb[5] = (uint8_t)lba;
	cdb[8] = 1;
	current = is_current;
	q = (struct vms_lu_req){.cdb = cdb, .cdb_bytes = 10, .who.owner = {1, 1, 7}};
	if (write) {
		q.out = block;
		q.out_bytes = sizeof(block);
	}
	return vms_lu_exec(&lu, &q, &sink);
}

static void start(void)
{
	memset(&lu, 0, sizeof(lu));
	vms_lu_init(&lu);
	vms_lu_no_reservations(&lu);
	lu.ident.nblocks = 1000;
	lu.ready = true;
}

static void old_records_refuse_nothing(void)
{
	start();
	CU_ASSERT_EQUAL(rw(false, 999, false), VMS_LU_IO);
	CU_ASSERT_EQUAL(rw(false, 1000, true), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.asc, VMS_ASC_LBA_OUT_OF_RANGE);
	CU_ASSERT_EQUAL(rw(false, 1000, false), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.status, VMS_SAM_BUSY);

	lu.ident.write_protect = true;
	CU_ASSERT_EQUAL(rw(true, 0, true), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.asc, VMS_ASC_WRITE_PROTECTED);
	CU_ASSERT_EQUAL(rw(true, 0, false), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.status, VMS_SAM_BUSY);
	CU_ASSERT_EQUAL(rw(false, 0, false), VMS_LU_IO);
}

static void nor_does_an_old_table_of_reservations(void)
{
	struct vms_pr table;

	start();
	vms_pr_init(&table);
	table.reserve = (struct vms_pr_owner){2, 1, 8};
	table.held = true;
	lu.pr = &table;
	CU_ASSERT_EQUAL(rw(true, 0, true), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.status, VMS_SAM_RESERVATION_CONFLICT);
	CU_ASSERT_EQUAL(rw(true, 0, false), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.status, VMS_SAM_BUSY);
	vms_pr_free(&table);
}

static void what_no_record_says_stays_refused(void)
{
	start();
	lu.mode.swp = true; /* the initiator's own */
	CU_ASSERT_EQUAL(rw(true, 0, false), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.asc, VMS_ASC_SOFTWARE_WRITE_PROTECTED);
	lu.ready = false;
	CU_ASSERT_EQUAL(rw(false, 1000, false), VMS_LU_END);
	CU_ASSERT_EQUAL(q.sense.key, VMS_SK_NOT_READY);
}

static const struct vms_test tests[] = {
	VMS_TEST(old_records_refuse_nothing),
	VMS_TEST(nor_does_an_old_table_of_reservations),
	VMS_TEST(what_no_record_says_stays_refused),
};
VMS_TEST_MAIN("logical unit", tests)
