// SPDX-License-Identifier: GPL-2.0-only
/* Deduplication: chunks found at drain time, between places, partitions and nodes. */
#include "backend/dedup.h"
#include "backend/wal.h"
#include "include/types.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "tests/unit/dedup_rig.h"

static uint64_t ctr_bytes(void)
{
	uint64_t b = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		b += sim_disk_container_bytes(R.node[i].sd);
	return b;
}

static void expect_image(uint64_t branch, uint32_t extent, uint64_t seed, unsigned shift)
{
	for (unsigned i = 0; i < 512; i++)
		expect(branch, extent + i / 128, i % 128 + shift, seed + i);
}

/* How many of its chunks have an address that the first image has too. */
static unsigned shared_with(uint64_t a, uint32_t ea, unsigned sa, uint64_t b, uint32_t eb,
			    unsigned sb)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 512; i++)
		n += addr_of(a, ea + i / 128, i % 128 + sa) ==
		     addr_of(b, eb + i / 128, i % 128 + sb);
	return n;
}

/* Another volume, other partitions and nodes: the same chunks are stored once. After a
 * restart of all nodes too, when the hooks are read from the containers again. */
static void found_again(unsigned fp_bits, unsigned least)
{
	struct dedup_stats s;
	uint64_t one, two;
	uint8_t x[CHUNK], b[CHUNK];
	unsigned k;

	R.gen_bytes = 1 << 20;
	R.fp_bits = fp_bits;
	up(2, 3, 11);
	put_image(7, 0, 10000, 0);
	settle();
	rig_run(&R, 500);
	one = ctr_bytes();
	put_image(8, 100, 10000, 300);
	settle();
	two = ctr_bytes();
	expect_image(7, 0, 10000, 0);
	expect_image(8, 100, 10000, 300);
	k = shared_with(7, 0, 0, 8, 100, 300);
	s = sum();
	printf("[%u of 512 shared, %llu KiB, then %llu KiB more] ", k,
	       (unsigned long long)one >> 10, (unsigned long long)(two - one) >> 10);
	CU_ASSERT_TRUE(k >= least);
	CU_ASSERT_TRUE(s.hits_foreign >= least / 2);
	CU_ASSERT_TRUE(s.hooks_found > 0 && s.lists_fetched > 0 && s.shares > 0);
	/* what a gateway is told can be read at the address' own members */
	for (unsigned i = 0; i < 512; i += 37) {
		fill(b, 10000 + i);
		CU_ASSERT_EQUAL(addr_read(addr_of(8, 100 + i / 128, i % 128 + 300), x), 0);
		CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	}
	restart_all(true);
	expect_image(8, 100, 10000, 300);
	rig_run(&R, 5000); /* hooks are told again */
	CU_ASSERT_TRUE(sum().hooks_told_again > 0);
	put_image(9, 50, 10000, 77);
	settle();
	k = shared_with(7, 0, 0, 9, 50, 77);
	CU_ASSERT_TRUE(k >= least);
	expect_image(9, 50, 10000, 77);
	R.gen_bytes = 0;
	R.fp_bits = 0;
	rig_close(&R);
}

static void test_found(void)
{
	found_again(0, 500);
}

/* Keys of 16 bits collide all the time: only the full fingerprint decides. */
static void test_short_keys(void)
{
	found_again(16, 300);
}

/* Equal chunks of one batch, and of one partition later on: no other node is asked. */
static void test_own(void)
{
	uint32_t e;
	vms_addr a;

	R.gen_bytes = 1 << 20;
	up(1, 0, 12);
	e = 0;
	for (unsigned i = 0; i < 200; i++)
		put(7, e, i, 77);
	settle();
	a = addr_of(7, e, 0);
	for (unsigned i = 1; i < 200; i++)
		CU_ASSERT_EQUAL(addr_of(7, e, i), a);
	CU_ASSERT_EQUAL(sum().hits_batch + sum().hits_own, 199);
	put(8, 9, 5, 77);
	settle();
	CU_ASSERT_EQUAL(addr_of(8, 9, 5), a);
	CU_ASSERT_EQUAL(sum().hits_batch + sum().hits_own, 200);
	CU_ASSERT_EQUAL(sum().shares, 0);
	expect(8, 9, 5, 77);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* A node that owns hooks and chunks hangs: look-ups end in time, drains go on, what is
 * not found is written. */
static void test_silent(void)
{
	uint64_t t0;
	uint32_t e;
	unsigned k = 0;

	R.gen_bytes = 1 << 20;
	up(2, 3, 13);
	put_image(7, 0, 30000, 0);
	settle();
	rig_run(&R, 500);
	e = ext_in(8, 0); /* nodes 1, 2 */
	for (unsigned i = 0; i < 200; i++)
		put(8, e, i, 30000 + i);
	R.node[2].fatal = true; /* it takes no event any more */
	vms_wal_gen_seal(R.node[0].n->wal);
	t0 = R.now_us;
	while (led(0)->ovl.npieces && R.now_us - t0 < 3000000)
		rig_step(&R);
	CU_ASSERT_EQUAL(led(0)->ovl.npieces, 0);
	CU_ASSERT_TRUE(R.now_us - t0 < 1500000);
	CU_ASSERT_TRUE(dedup_stats(R.node[0].n)->unanswered > 0);
	/* what the two others know was still found */
	CU_ASSERT_TRUE(dedup_stats(R.node[0].n)->hits_foreign > 0);
	for (unsigned i = 0; i < 200; i++)
		expect(8, e, i, 30000 + i);
	R.node[2].fatal = false;
	rig_node_crash(&R, 2, true);
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	connect_all();
	settle();
	for (unsigned i = 0; i < 200; i++) {
		expect(8, e, i, 30000 + i);
		k += addr_of(8, e, i) == addr_of(7, i / 128, i % 128);
	}
	printf("[%u of 200 found with a node silent] ", k);
	R.gen_bytes = 0;
	rig_close(&R);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_found),
	VMS_TEST(test_short_keys),
	VMS_TEST(test_own),
	VMS_TEST(test_silent),
};

VMS_TEST_MAIN("dedup", tests)
