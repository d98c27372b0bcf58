// SPDX-License-Identifier: GPL-2.0-only
/*
 * Snapshots that a gateway opens and serves: what they show, how they are registered, what
 * becomes of one that is not there yet, not there, or goes away.
 */
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

static uint8_t w1_data[8192];
static struct vms_iov w1_iov;

/* ---- snapshots ---- */

#define SNAPOPEN_1 "snapopen/0000000000000001/0000000000000001/00000001"

static struct vms_gw_vol *snap_open(void)
{
	struct vms_gw_vol *s;

	f_snapshot("s", VMS_SNAP_COMPLETE);
	vms_assert(!vms_gw_vol_open(f.gw, "v@s", 0, 0, NULL, &s, NULL));
	f_run(500);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, 0);
	return s;
}

static int read_of(struct vms_gw_vol *v, uint64_t lba, bool *done)
{
	struct vms_gw_vol *live = f.vol;
	int rc;

	f.vol = v;
	rc = f_read_value(lba, 8, done);
	f.vol = live;
	return rc;
}

static void a_snapshot_shows_what_was(void)
{
	struct vms_gw_vol *s;
	struct vms_gw_cmd w;
	bool done;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 5), 0);
	s = snap_open();
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 6), 0);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 6);
	CU_ASSERT_EQUAL(f.read_gen, VMS_GEN_LIVE); /* not the volume's number */
	CU_ASSERT_EQUAL(read_of(s, 24, NULL), 5);
	CU_ASSERT_EQUAL(f.read_gen, 1);
	CU_ASSERT_EQUAL(read_of(s, 24, &done), 5);
	CU_ASSERT(done);
	CU_ASSERT_EQUAL(f_read_value(24, 8, &done), 6);
	CU_ASSERT(done);
	/* its pages are not those of the live volume */
	f_other_writes(3, 7);
	CU_ASSERT_EQUAL(read_of(s, 24, &done), 5);
	CU_ASSERT(done);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 7);
	f.hold_writes = true;
	w = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&w, &w1_iov, w1_data, 4096);
	vms_gw_submit(f.gw, &w);
	f_pump();
	CU_ASSERT_EQUAL(read_of(s, 24, &done), 5);
	CU_ASSERT(done);
	f.hold_writes = false;
	f_release();
	/* by place too */
	for (int i = 0; i < 11; i++) {
		f.now += 200;
		f_pump();
	}
	CU_ASSERT_EQUAL(read_of(s, 24, &done), 5);
	CU_ASSERT_FALSE(done);
	CU_ASSERT(f.n_lba > 0);
	CU_ASSERT_EQUAL(f.read_gen, 1);
	CU_ASSERT(f_read_value(24, 8, NULL) != 5);
	CU_ASSERT_EQUAL(f.read_gen, VMS_GEN_LIVE);
	f_stop();
}

static void a_snapshot_is_registered_and_takes_no_writes(void)
{
	static const enum vms_gw_op ops[] = {VMS_GW_WRITE, VMS_GW_ZERO, VMS_GW_WRITE_SAME,
					     VMS_GW_CAW, VMS_GW_ORWRITE};
	struct vms_gw_vol_info info, live;
	struct vms_gw_vol *s;
	struct vms_gw_cmd c;

	f_start(0, MEMORY);
	s = snap_open();
	vms_gw_vol_info(f.vol, &live);
	vms_gw_vol_info(s, &info);
	CU_ASSERT_STRING_EQUAL(info.name, "v@s");
	CU_ASSERT(info.read_only && !live.read_only);
	CU_ASSERT_EQUAL(info.openers, 1);
	CU_ASSERT_EQUAL(info.size_bytes, F_CHUNKS * 4096ull);
	CU_ASSERT_EQUAL(info.uuid[3], 0x5a);
	CU_ASSERT(memcmp(info.uuid, live.uuid, 16) != 0);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find(SNAPOPEN_1)->val);
	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		c = f_cmd(ops[i], 0, 8);
		c.vol = s;
		f_data(&c, &w1_iov, w1_data, 8192);
		CU_ASSERT_EQUAL(f_do(&c), VMS_E_PERM);
	}
	c = f_cmd(VMS_GW_FLUSH, 0, 0);
	c.vol = s;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(f.n_flush, 0);
	CU_ASSERT_EQUAL(f.n_write, 0);
	vms_gw_vol_close(f.gw, s);
	f_run(300);
	CU_ASSERT_PTR_NULL(f_kv_find(SNAPOPEN_1)->val);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find("open/0000000000000001/00000001")->val);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 6), 0);
	f_stop();
}

static void a_snapshot_that_is_not_there_is_not_opened(void)
{
	struct vms_errmsg msg;
	struct vms_gw_vol *s;

	f_start(0, DISK);
	f_snapshot("s", VMS_SNAP_CREATING);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "v@s", 4096, 0, NULL, &s, &msg), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "v@", 0, 0, NULL, &s, &msg), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "@s", 0, 0, NULL, &s, &msg), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "v@s@s", 0, 0, NULL, &s, &msg), VMS_E_INVAL);
	vms_assert(!vms_gw_vol_open(f.gw, "v@none", 0, 0, NULL, &s, &msg));
	f_run(300);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, -VMS_E_NOENT);
	vms_assert(!vms_gw_vol_open(f.gw, "v@s", 0, 0, NULL, &s, &msg));
	f_run(300);
	CU_ASSERT_EQUAL(f.opened, 3);
	CU_ASSERT_EQUAL(f.open_status, -VMS_E_BUSY);
	f_snapshot("s", VMS_SNAP_DELETING);
	vms_assert(!vms_gw_vol_open(f.gw, "v@s", 0, 0, NULL, &s, &msg));
	f_run(300);
	CU_ASSERT_EQUAL(f.opened, 4);
	CU_ASSERT_EQUAL(f.open_status, -VMS_E_BUSY);
	CU_ASSERT_PTR_NULL(f_kv_find(SNAPOPEN_1));
	f_stop();
}

/* It lies where its branch's record says. That there is none is believed as of a revision
 * that shows the snapshot, not as of one when the branch had not been made. */
static void a_snapshot_waits_for_its_branch(void)
{
	struct vms_cat_branch b = {.branch = F_BRANCH, .lineage = 7, .owner = 1, .state = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_gw_vol *s;

	f_start(0, DISK);
	vms_cat_key_branch(key, F_BRANCH);
	f.branch_rev = f.rev;
	f_put_free(key, vms_cat_branch_encode(&b));
	f_snapshot("s", VMS_SNAP_COMPLETE);
	vms_assert(!vms_gw_vol_open(f.gw, "v@s", 0, 0, NULL, &s, NULL));
	f_run(1500);
	CU_ASSERT_EQUAL(f.opened, 1);
	CU_ASSERT_PTR_NULL(f_kv_find(SNAPOPEN_1));
	f.branch_rev = f_kv_find("snap/v@s")->rev;
	f_run(500);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, 0);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find(SNAPOPEN_1));
	f_stop();
	/* the first release made none */
	f_start(0, DISK);
	f_snapshot("s", VMS_SNAP_COMPLETE);
	f_put(key, NULL);
	f.branch_rev = f_kv_find("snap/v@s")->rev;
	vms_assert(!vms_gw_vol_open(f.gw, "v@s", 0, 0, NULL, &s, NULL));
	f_run(500);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, 0);
	f_stop();
}

static void a_snapshot_that_goes_away_is_not_served(void)
{
	struct vms_gw_vol_info info;
	struct vms_gw_vol *s;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 5), 0);
	s = snap_open();
	CU_ASSERT_EQUAL(read_of(s, 24, NULL), 5);
	f_put("snap/v@s", NULL); /* tools refuse it while snapopen/ is there */
	f_pump();
	CU_ASSERT_EQUAL(read_of(s, 24, NULL), VMS_E_NOENT - 1000);
	vms_gw_vol_info(s, &info);
	CU_ASSERT(info.gone);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 5);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(a_snapshot_shows_what_was),
	VMS_TEST(a_snapshot_is_registered_and_takes_no_writes),
	VMS_TEST(a_snapshot_that_is_not_there_is_not_opened),
	VMS_TEST(a_snapshot_waits_for_its_branch),
	VMS_TEST(a_snapshot_that_goes_away_is_not_served),
};
VMS_TEST_MAIN("gateway: snapshots", tests)
