// SPDX-License-Identifier: GPL-2.0-only
/*
 * What nodes know of branches and numbers: ancestors, floors, losses, records that wait for
 * their branch, who is told of what.
 */
#include "backend/branch.h"
#include "backend/node_int.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/layer_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

/* ---- what nodes know of branches ---- */

static void a_volume_counts_only_with_its_branch(void)
{
	uint8_t b[CHUNK] = {1};
	struct wr w = {.branch = 20, .gen = 1, .kind = VMS_WRITE_DATA, .data = b, .tries = 1};
	vms_addr e[VMS_SUBEXT_CHUNKS];
	struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .branch = 20};
	struct vms_stack st;
	struct rig_reply re;

	up(2, 1, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put(0, &w), 0 + VMS_E_EPOCH); /* learns the epoch */
	CU_ASSERT_EQUAL(put(0, &w), VMS_E_AGAIN);
	rig_send(&R, 0, 0, &m, &re);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
	CU_ASSERT_EQUAL(re.status, VMS_E_AGAIN);
	rig_reply_free(&re);
	/* both in the catalog; the volume's event comes first: nobody may take it for one
	 * without ancestors */
	rig_volume_put(&R, (struct vms_cat_volume){.branch = 20, .lineage = LIN, .snap_gen = 1});
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 20,
						   .lineage = LIN,
						   .salted = true,
						   .salt = {9},
						   .nancestors = 1,
						   .ancestor = {{LIN, 1, 100}}});
	while (!node_volume(node(0), 20, true)->known)
		rig_step(&R);
	CU_ASSERT_FALSE(node_branch_known(node(0), 20));
	CU_ASSERT_EQUAL(node_stack(node(0), 20, 1, &st), VMS_E_AGAIN);
	w.tries = 0;
	CU_ASSERT_EQUAL(put(0, &w), 0);
	CU_ASSERT_EQUAL(pages(1, 20, VMS_GEN_LIVE, 0, 0, e), 0);
	CU_ASSERT_EQUAL(floor_all(20, 2, 0), 0);
	for (unsigned i = 0; i < 3; i++) {
		const struct branch *br = node_branch(node(i), 20, false);

		CU_ASSERT_TRUE_FATAL(br && br->known);
		CU_ASSERT_TRUE(br->salted && br->salt[0] == 9 && !br->dedup);
		CU_ASSERT_EQUAL(br->nancestors, 1);
		CU_ASSERT_EQUAL(br->snap_gen, 2);
		/* what shows through is sealed */
		CU_ASSERT_EQUAL(node_branch(node(i), LIN, false)->gen_min, 2);
	}
	rig_close(&R);
}

/* A volume of the first release has no branch record: the catalog says so. */
static void a_volume_without_record_has_no_ancestors(void)
{
	up(2, 2, VMS_ACK_DISK);
	rig_volume_put(&R, (struct vms_cat_volume){
				   .branch = 30, .lineage = LIN, .snap_gen = 4, .dedup = true});
	CU_ASSERT_EQUAL(put_seed(30, 4, 0, 1, 11), 0);
	CU_ASSERT_TRUE(shows(30, 4, 0, 1, 11));
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 3; i++) {
			const struct branch *br = node_branch(node(i), 30, false);

			CU_ASSERT_TRUE(br && br->known && br->dedup && !br->nancestors);
			CU_ASSERT_EQUAL(br->snap_gen, 4);
		}
		rig_run(&R, 100);
		for (unsigned i = 0; i < 3 && !round; i++)
			rig_node_crash(&R, i, true);
		for (unsigned i = 0; i < 3 && !round; i++)
			rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		rig_run(&R, 500);
	}
	CU_ASSERT_TRUE(shows(30, 4, 0, 1, 11));
	rig_close(&R);
}

static void ancestors_must_be_older(void)
{
	up(2, 3, VMS_ACK_DISK);
	fprintf(stderr, "(a refused record follows)\n");
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 20,
						   .lineage = LIN,
						   .nancestors = 1,
						   .ancestor = {{21, 1, 100}}});
	rig_run(&R, 100);
	CU_ASSERT_FALSE(node_branch_known(node(0), 20));
	rig_close(&R);
}

/* Floors come with the volume's record too, and no number goes down once a higher
 * one was ordered. */
static void numbers_never_go_down(void)
{
	struct vms_cat_volume v = {.branch = LIN, .snap_gen = 3, .lun_fence = 1};

	up(2, 4, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 1, 1), 0);
	rig_volume_put(&R, v);
	rig_run(&R, 50);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 1, 2), VMS_E_SNAP_GEN);
	CU_ASSERT_EQUAL(put_seed(LIN, 3, 0, 1, 3), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 9, 0, 1, 4), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 8, 0, 1, 5), VMS_E_SNAP_GEN);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(node_branch(node(i), LIN, false)->snap_gen, 3);
	v.lun_fence = 2;
	rig_volume_put(&R, v);
	rig_run(&R, 50);
	CU_ASSERT_EQUAL(put_seed(LIN, 9, 0, 1, 6), VMS_E_LUN_FENCE);
	/* logged, not only remembered */
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	for (unsigned i = 0; i < 3; i++) {
		const struct branch *b;

		rig_node_start(&R, i);
		b = node_branch(node(i), LIN, false);
		CU_ASSERT_TRUE(b && b->snap_gen >= 3 && b->lun_fence == 2);
	}
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_close(&R);
}

/* A volume that moved to another branch is told of a loss once, under its number. */
static void a_loss_is_told_per_volume(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	up(2, 5, VMS_ACK_MEMORY);
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 9,
						   .lineage = LIN,
						   .owner = LIN,
						   .nancestors = 1,
						   .ancestor = {{LIN, 1, 1 << 20}}});
	rig_volume_put(&R, (struct vms_cat_volume){.name = "v7",
						   .id = LIN,
						   .branch = 9,
						   .lineage = LIN,
						   .snap_gen = 2,
						   .write_ack = VMS_ACK_MEMORY});
	rig_run(&R, 50);
	{
		uint8_t b[CHUNK] = {1};
		struct wr w = {.branch = 9,
			       .gen = 2,
			       .kind = VMS_WRITE_DATA,
			       .data = b,
			       .flags = VMS_F_MEMORY};

		CU_ASSERT_EQUAL(put(0, &w), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	vms_cat_key_loss(key, LIN);
	CU_ASSERT_TRUE(rig_cat_number(&R, key) > 0);
	vms_cat_key_loss(key, 9);
	CU_ASSERT_EQUAL(rig_cat_number(&R, key), 0);
	/* and a flush under either branch hears of it */
	for (uint64_t br = LIN; br <= 9; br += 2) {
		struct vms_msg m = {
			.type = VMS_MSG_FLUSH, .partition = VMS_PART_NONE, .branch = br};
		struct rig_reply re;

		rig_gw_connect(&R, 0, 0);
		rig_run(&R, 300);
		rig_send(&R, 0, 0, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
		CU_ASSERT_EQUAL(re.status, 0);
		CU_ASSERT_TRUE(re.m.aux > 0);
		rig_reply_free(&re);
	}
	rig_close(&R);
}

/* Two writes to one chunk, the second under a new number, both on their way: the
 * answer to the first must not name an address, pages say ASK meanwhile. */
static void answers_know_of_newer_numbers(void)
{
	static uint8_t b[2][CHUNK];
	struct vms_piece pc = {5, 1, 0xff, 0, 0};
	uint8_t body[2][VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov[2];
	struct rig_reply re[2];

	up(1, 50, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	for (unsigned k = 0; k < 2; k++) {
		struct vms_msg m = {.type = VMS_MSG_WRITE,
				    .partition = part_of(0),
				    .branch = LIN,
				    .snap_gen = 1 + k,
				    .lun_fence = 1,
				    .slot = 2 + k,
				    .sequence = 1,
				    .epoch = R.gw[0].epoch[part_of(0)],
				    .body = body[k],
				    .body_bytes = sizeof(body[k]),
				    .payload = &iov[k],
				    .npayload = 1,
				    .payload_bytes = CHUNK};

		fill(b[k], 60 + k);
		iov[k] = (struct vms_iov){b[k], CHUNK};
		pc.crc = vms_crc32c(0, b[k], CHUNK);
		vms_write_body_encode(body[k], VMS_WRITE_DATA, &pc, 1);
		rig_send(&R, 0, rig_primary(&R, part_of(0)), &m, &re[k]);
	}
	for (unsigned k = 0; k < 2; k++) {
		CU_ASSERT_TRUE(rig_wait(&R, &re[k], 1000));
		CU_ASSERT_EQUAL(re[k].status, 0);
		CU_ASSERT_EQUAL(vms_get_le64(re[k].body) == VMS_ADDR_ASK, k == 0);
		rig_reply_free(&re[k]);
	}
	CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 60));
	CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 5, 61));
	rig_close(&R);
}

static int floor_once(unsigned nd, uint64_t gen, uint64_t ms)
{
	struct vms_msg m = {.type = VMS_MSG_FLOOR,
			    .partition = VMS_PART_NONE,
			    .branch = LIN,
			    .snap_gen = gen,
			    .lun_fence = 1,
			    .flags = VMS_F_FUA};
	struct rig_reply re;
	int st;

	rig_send(&R, 0, nd, &m, &re);
	st = rig_wait(&R, &re, ms) ? re.status : VMS_E_TIMEOUT;
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	return st;
}

/* The flush of memory mode that a snapshot contains: what was answered before FLOOR is
 * on all disks when it is answered; without it a power cut takes it. */
static void floor_settles_memory_mode(void)
{
	static uint8_t b[CHUNK];
	struct wr w = {
		.branch = LIN, .gen = 1, .kind = VMS_WRITE_DATA, .data = b, .flags = VMS_F_MEMORY};
	unsigned lost = 0;

	fill(b, 5);
	for (unsigned settled = 0; settled < 2; settled++) {
		up(1, 70, VMS_ACK_MEMORY);
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 999, 1), 0);
		rig_run(&R, 1500);
		for (w.chunk = 0; w.chunk < 30; w.chunk++)
			CU_ASSERT_EQUAL(put(0, &w), 0);
		if (settled)
			next_gen(LIN, 2);
		for (unsigned i = 0; i < 3; i++)
			rig_node_crash(&R, i, true);
		for (unsigned i = 0; i < 3; i++)
			rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		for (uint16_t c = 0; c < 30; c++) {
			uint8_t x[CHUNK];
			vms_addr a;

			CU_ASSERT_EQUAL(lba(1, LIN, 1, 0, c, x, &a), 0);
			if (memcmp(x, b, CHUNK)) {
				lost++;
				CU_ASSERT_FALSE(settled);
			}
		}
		rig_close(&R);
	}
	CU_ASSERT_TRUE(lost > 0);
}

/* A write is ordered but a member is missing: FLOOR does not call that settled. */
static void floor_waits_for_what_was_ordered(void)
{
	static uint8_t b[CHUNK];
	struct vms_piece pc = {5, 1, 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {b, CHUNK};
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .branch = LIN,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .slot = 3,
			    .sequence = 1,
			    .body = body,
			    .body_bytes = sizeof(body),
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = CHUNK};
	unsigned nd;

	up(0, 80, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	nd = rig_primary(&R, 0);
	fill(b, 2);
	pc.crc = vms_crc32c(0, b, CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	m.epoch = R.gw[0].epoch[0];
	rig_send(&R, 0, nd, &m, &re);
	while (primary_part(0)->seq_last == primary_part(0)->committed)
		rig_step(&R);
	rig_node_crash(&R, (nd + 1) % 3, true);
	rig_run(&R, 10);
	CU_ASSERT_EQUAL(floor_once(nd, 2, 1000), VMS_E_TIMEOUT);
	CU_ASSERT_EQUAL(floor_once(nd, 2, 5000), VMS_E_BUSY);
	rig_node_start(&R, (nd + 1) % 3);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(floor_once(nd, 2, 5000), 0);
	CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 2)); /* it is in the snapshot */
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 3), VMS_E_SNAP_GEN);
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	rig_close(&R);
}

/* Snapshots are sealed: who has their pages hears nothing of later writes. */
static void only_readers_of_the_present_are_told(void)
{
	vms_addr e[VMS_SUBEXT_CHUNKS];

	up(1, 90, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	next_gen(LIN, 2);
	CU_ASSERT_EQUAL(pages(1, LIN, 1, 0, 0, e), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 5, 2), 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 0);
	for (unsigned k = 0; k < 2; k++) {
		CU_ASSERT_EQUAL(pages(1, LIN, k ? 2 : VMS_GEN_LIVE, 0, 0, e), 0);
		CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 5, 3 + k), 0);
		CU_ASSERT_EQUAL(R.gw[1].invals, 1 + k);
	}
	rig_close(&R);
}

/* A backup whose watch lags gets the drain of a clone it does not know: the record
 * waits, the others' too, and everything goes on when the branch arrives. A read of the
 * catalog that is as of before the clone does not make it a branch without ancestors. */
static void records_wait(bool stale)
{
	struct part *p;
	bool waited = false;

	up(0, 95, VMS_ACK_DISK);
	p = node_part(node(1), 0);
	for (uint16_t i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, i, 10 + i), 0);
	next_gen(LIN, 2);
	rig_cat_freeze(&R);
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
	for (uint16_t i = 5; i < 15; i++) {
		uint8_t b[VMS_LB_BYTES] = {(uint8_t)i};
		struct wr w = {.branch = 20,
			       .gen = 1,
			       .chunk = i,
			       .mask = 0x10,
			       .data = b,
			       .kind = VMS_WRITE_DATA};

		CU_ASSERT_EQUAL(put(0, &w), 0);
	}
	R.node[1].cat_stale_get = stale ? "branch/" : NULL;
	node_branch(node(1), 20, false)->known = false;
	vms_wal_gen_seal(node(0)->wal);
	primary_part(0)->scan_due = true;
	for (unsigned i = 0; i < 20000 && !waited; i++) {
		rig_step(&R);
		waited = p->branch_wait && p->applied < p->committed;
	}
	CU_ASSERT_TRUE(waited);
	if (stale) {
		rig_run(&R, 2000);
		CU_ASSERT_FALSE(node_branch_known(node(1), 20));
		CU_ASSERT_TRUE(p->applied < p->committed);
		R.node[1].cat_stale_get = NULL;
	}
	rig_run(&R, 2000);
	CU_ASSERT_TRUE(node_branch_known(node(1), 20));
	CU_ASSERT_EQUAL(p->applied, p->committed);
	CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
	CU_ASSERT_EQUAL(node(0)->st.corrupt + node(1)->st.corrupt, 0);
	for (uint16_t i = 0; i < 10; i++) {
		uint8_t x[CHUNK], want[CHUNK];
		vms_addr a;

		fill(want, 10 + i);
		if (i >= 5) {
			memset(want + 4 * VMS_LB_BYTES, 0, VMS_LB_BYTES);
			want[4 * VMS_LB_BYTES] = (uint8_t)i;
		}
		CU_ASSERT_EQUAL(lba(1, 20, VMS_GEN_LIVE, 0, i, x, &a), 0);
		CU_ASSERT_EQUAL(memcmp(x, want, CHUNK), 0);
	}
	rig_close(&R);
}

static void records_wait_for_their_branch(void)
{
	records_wait(false);
	records_wait(true);
}

static int trim_at(uint64_t branch, uint32_t extent, uint32_t chunk)
{
	int st = 0;

	for (unsigned i = 0; i < R.nnodes && !st; i++) {
		struct vms_msg m = {.type = VMS_MSG_TRIM,
				    .partition = VMS_PART_NONE,
				    .branch = branch,
				    .extent = extent,
				    .aux = chunk};
		struct rig_reply re;

		rig_send(&R, 1, i, &m, &re);
		st = rig_wait(&R, &re, 5000) ? re.status : VMS_E_TIMEOUT;
		rig_reply_free(&re);
	}
	return st;
}

/* TRIM cuts all versions of a branch; it is for volumes that stand alone. */
static void trim_is_for_volumes_that_stand_alone(void)
{
	R.gw[1].tool = true;
	up(1, 96, VMS_ACK_DISK);
	for (uint16_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, i, 10 + i), 0);
	drain_all();
	next_gen(LIN, 2);
	for (uint16_t i = 0; i < 8; i += 2)
		CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, i, 20 + i), 0);
	CU_ASSERT_EQUAL(trim_at(77, 0, 4), VMS_E_AGAIN);
	CU_ASSERT_EQUAL(trim_at(LIN, 0, 4), 0);
	R.gw[1].tool = false;
	rig_gw_restart(&R, 1);
	connect_all();
	for (unsigned drained = 0; drained < 2; drained++) {
		for (uint16_t i = 0; i < 8; i++) {
			CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, i,
					     i >= 4 ? 0 : 10 + i + (i % 2 ? 0 : 10)));
			CU_ASSERT_TRUE(shows(LIN, 1, 0, i, i < 4 ? 10 + i : 0));
		}
		drain_all();
	}
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
	R.gw[1].tool = true;
	rig_gw_restart(&R, 1);
	connect_all();
	CU_ASSERT_EQUAL(trim_at(LIN, 0, 2), VMS_E_UNSUPPORTED);
	CU_ASSERT_EQUAL(trim_at(20, 0, 2), VMS_E_UNSUPPORTED);
	R.gw[1].tool = false;
	rig_gw_restart(&R, 1);
	connect_all();
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 3, 13));
	rig_close(&R);
}

static const struct vms_test tests[] = {
	VMS_TEST(a_volume_counts_only_with_its_branch),
	VMS_TEST(a_volume_without_record_has_no_ancestors),
	VMS_TEST(ancestors_must_be_older),
	VMS_TEST(numbers_never_go_down),
	VMS_TEST(a_loss_is_told_per_volume),
	VMS_TEST(answers_know_of_newer_numbers),
	VMS_TEST(floor_settles_memory_mode),
	VMS_TEST(floor_waits_for_what_was_ordered),
	VMS_TEST(only_readers_of_the_present_are_told),
	VMS_TEST(records_wait_for_their_branch),
	VMS_TEST(trim_is_for_volumes_that_stand_alone),
};
VMS_TEST_MAIN("node snapshots", tests)
