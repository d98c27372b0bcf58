// SPDX-License-Identifier: GPL-2.0-only
/* Deduplication: places that refer to a chunk elsewhere, ordered by hand: what keeps it, and
 * what is written over it. */
#include "backend/dedup.h"
#include "backend/node_int.h"
#include "backend/node_repl.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "tests/unit/dedup_rig.h"

/* Order a record that makes (branch, extent, chunk) refer to `to`. */
static void refer(uint64_t branch, uint32_t extent, unsigned chunk, vms_addr to)
{
	uint32_t number = part_of(branch, extent);
	struct vms_move m = {.branch = branch,
			     .snap_gen = 1,
			     .extent = extent,
			     .chunk = (uint16_t)chunk,
			     .valid = VMS_MASK_FULL,
			     .flags = VMS_MOVE_REF,
			     .from_seq = addr_of(branch, extent, chunk),
			     .to = to};
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_MOVES_META_MAX];

	vms_rec_moves_put(&r, meta, &m, 1);
	CU_ASSERT_EQUAL(part_order(R.node[rig_primary(&R, number)].n, led(number), &r, NULL, 0), 0);
}

/* A reference within the partition keeps its container from the collector, from the
 * moment it is ordered; after a restart too. */
static void test_own_partition(void)
{
	vms_addr a;
	struct ctr *c;
	uint32_t e;

	R.gen_bytes = 256 << 10;
	up(2, 2, 1);
	e = ext_in(7, 0);
	put(7, e, 1, 100);
	put(7, e, 2, 100);
	settle();
	a = addr_of(7, e, 1);
	CU_ASSERT_EQUAL(vms_addr_partition(a, 2), 0);
	refer(7, e, 2, a);
	c = part_ctr(led(0), vms_addr_container(a));
	CU_ASSERT_EQUAL(c->refs_ordered, 1);
	rig_run(&R, 100);
	c = part_ctr(led(0), vms_addr_container(a));
	CU_ASSERT_EQUAL(c->refs_ordered, 0);
	settle();
	CU_ASSERT_EQUAL(addr_of(7, e, 2), a);
	/* the first place goes: the reference alone keeps the chunk */
	for (unsigned i = 0; i < 500; i++)
		put(7, e, i == 2 ? 3 : i, 1000 + i);
	settle();
	rig_run(&R, 8000);
	expect(7, e, 2, 100);
	CU_ASSERT_EQUAL(addr_of(7, e, 2), addr_of(7, e, 2));
	restart_all(true);
	expect(7, e, 2, 100);
	CU_ASSERT_EQUAL(led(0)->moves_ordered, 0);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* A reference to a partition that this node does not have: reads, merges, compare and
 * write, drains over it; with the other node away it waits, and nothing is lost. */
static void test_foreign_base(void)
{
	uint32_t e, f, g;
	uint8_t b[CHUNK], x[CHUNK], d[1024];
	struct vms_node *n1;

	R.gen_bytes = 256 << 10;
	up(2, 2, 2);
	e = ext_in(7, 0); /* members 1, 2 */
	f = ext_in(8, 2); /* members 3, 1 */
	g = ext_in(8, 1); /* members 2, 3: node 1 has none of it */
	for (unsigned i = 0; i < 4; i++) {
		put(7, e, i, 200 + i);
		put(8, f, i, 200 + i);
		put(8, g, i, 200 + i);
	}
	settle();
	refer(7, e, 0, addr_of(8, f, 0));
	refer(7, e, 1, addr_of(8, g, 1));
	refer(7, e, 2, addr_of(8, g, 2));
	refer(7, e, 3, addr_of(8, g, 3));
	rig_run(&R, 200);
	settle();
	n1 = R.node[0].n;
	CU_ASSERT_EQUAL(addr_of(7, e, 1), addr_of(8, g, 1));
	CU_ASSERT_EQUAL(addr_read(addr_of(7, e, 1), x), 0);
	for (unsigned i = 0; i < 4; i++)
		expect(7, e, i, 200 + i);
	CU_ASSERT_TRUE(n1->st.fetched_remote > 0);
	/* some sectors over it, read from the log, drained on both members */
	fill(b, 201);
	memset(b + 512, 0x11, 1024);
	CU_ASSERT_EQUAL(put_kind(7, e, 1, VMS_WRITE_DATA, 0x06, b + 512), 0);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	settle();
	CU_ASSERT_EQUAL(vms_addr_partition(addr_of(7, e, 1), 2), 0);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	expect(8, g, 1, 201);
	/* compare and write on it */
	fill(b, 202);
	memcpy(d, b + 1024, 512);
	memset(d + 512, 0x22, 512);
	CU_ASSERT_EQUAL(put_kind(7, e, 2, VMS_WRITE_CAW, 0x04, d), 0);
	CU_ASSERT_EQUAL(put_kind(7, e, 2, VMS_WRITE_CAW, 0x04, d), VMS_E_MISCOMPARE);
	memset(b + 1024, 0x22, 512);
	CU_ASSERT_EQUAL(get(7, e, 2, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	/* its primary away: the other member serves */
	settle();
	rig_node_crash(&R, 1, false);
	rig_run(&R, 500);
	CU_ASSERT_EQUAL(get(7, e, 3, x, 10), 0);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	connect_all();
	/* power cut with the merge in the log only */
	fill(b, 203);
	memset(b, 0x33, 512);
	CU_ASSERT_EQUAL(put_kind(7, e, 3, VMS_WRITE_DATA, 0x01, b), 0);
	restart_all(true);
	CU_ASSERT_EQUAL(get(7, e, 3, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	settle();
	CU_ASSERT_EQUAL(get(7, e, 3, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* All that have a chunk to merge with are away: what needs it waits, the log does not. */
static void test_base_away(void)
{
	uint8_t b[CHUNK], x[CHUNK];
	uint32_t e, g, o;

	R.gen_bytes = 256 << 10;
	up(1, 2, 3);
	e = ext_in(7, 0); /* node 1 */
	g = ext_in(8, 1); /* node 2 */
	o = ext_in(7, 2); /* node 3 */
	put(7, e, 1, 300);
	put(8, g, 1, 300);
	settle();
	refer(7, e, 1, addr_of(8, g, 1));
	settle();
	fill(b, 300);
	memset(b, 0x44, 512);
	CU_ASSERT_EQUAL(put_kind(7, e, 1, VMS_WRITE_DATA, 0x01, b), 0);
	rig_node_crash(&R, 1, false);
	rig_run(&R, 500);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 3), VMS_E_AGAIN);
	/* the logs turn over several times */
	for (unsigned i = 0; i < 4000; i++) {
		put(7, e, 100 + i % 50, 5000 + i);
		put(7, o, 100 + i % 50, 5000 + i);
	}
	CU_ASSERT_TRUE(R.node[0].n->st.copied > 0);
	CU_ASSERT_TRUE(led(0)->base_wait);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	connect_all();
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	settle();
	CU_ASSERT_FALSE(led(0)->base_wait);
	restart_all(true);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	for (unsigned i = 3950; i < 4000; i++)
		expect(7, e, 100 + i % 50, 5000 + i);
	R.gen_bytes = 0;
	rig_close(&R);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_own_partition),
	VMS_TEST(test_foreign_base),
	VMS_TEST(test_base_away),
};

VMS_TEST_MAIN("dedup_base", tests)
