// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verifier must be trusted more than what it verifies: each rule of
 * utils/bench/model.h is shown accepting what is right and naming what is wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <CUnit/Basic.h>

#include "utils/bench/bench.h"
#include "utils/bench/model.h"

#define BLOCKS 64

static struct vms_model *fresh(bool atomic)
{
	struct vms_model_opts o = {
		.blocks = BLOCKS, .run_id = 42, .initial = VMS_MODEL_ZERO, .chunk_atomic = atomic};

	return vms_model_new(&o);
}

/* One read of n blocks at lba over [start, end], content: stamps of seq[i],
 * each from a write of wn[i] blocks at wlba[i]; 0 reads as zeros. */
static unsigned read_seqs(struct vms_model *m, uint64_t lba, uint32_t n, const uint64_t *seq,
			  const uint64_t *wlba, const uint32_t *wn, uint64_t start, uint64_t end)
{
	unsigned char buf[BLOCKS * 512], tmp[BLOCKS * 512];

	memset(buf, 0, sizeof(buf));
	for (uint32_t i = 0; i < n; i++) {
		if (!seq[i])
			continue;
		vms_model_stamp(m, tmp, seq[i], 1, wlba[i], wn[i]);
		memcpy(buf + i * 512, tmp + (lba + i - wlba[i]) * 512, 512);
	}
	vms_model_read_begin(m, lba, n, start);
	return vms_model_read_end(m, lba, n, buf, start, end, NULL);
}

static unsigned read1(struct vms_model *m, uint64_t lba, uint64_t seq, uint64_t start, uint64_t end)
{
	uint32_t one = 1;

	return read_seqs(m, lba, 1, &seq, &lba, &one, start, end);
}

static void put(struct vms_model *m, uint64_t seq, uint64_t lba, uint64_t start, uint64_t end)
{
	vms_model_write_begin(m, seq, lba, 1, start, false);
	vms_model_write_done(m, seq, lba, 1, end);
}

static void unwritten_reads_zero(void)
{
	struct vms_model *m = fresh(true);
	unsigned char junk[512];

	CU_ASSERT_EQUAL(read1(m, 3, 0, 1, 2), 0);
	memset(junk, 7, sizeof(junk));
	vms_model_read_begin(m, 3, 1, 3);
	CU_ASSERT_EQUAL(vms_model_read_end(m, 3, 1, junk, 3, 4, NULL), 1);
	vms_model_free(m);
}

static void acknowledged_is_readable(void)
{
	struct vms_model *m = fresh(true);

	put(m, 1, 3, 10, 20);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 30, 40), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 0, 50, 60), 1); /* lost */
	vms_model_free(m);
}

static void old_version_is_stale(void)
{
	struct vms_model *m = fresh(true);

	put(m, 1, 3, 10, 20);
	put(m, 2, 3, 30, 40);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 50, 60), 1);
	CU_ASSERT_EQUAL(read1(m, 3, 2, 70, 80), 0);
	vms_model_free(m);
}

static void old_version_is_right_for_an_older_read(void)
{
	struct vms_model *m = fresh(true);
	unsigned char buf[512];

	put(m, 1, 3, 10, 20);
	vms_model_stamp(m, buf, 1, 1, 3, 1);
	vms_model_read_begin(m, 3, 1, 25);
	put(m, 2, 3, 30, 40);
	CU_ASSERT_EQUAL(vms_model_read_end(m, 3, 1, buf, 25, 50, NULL), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 60, 70), 1);
	vms_model_free(m);
}

static void concurrent_writes_either_then_fixed(void)
{
	struct vms_model *m = fresh(true);

	vms_model_write_begin(m, 1, 3, 1, 10, false);
	vms_model_write_begin(m, 2, 3, 1, 11, false);
	vms_model_write_done(m, 2, 3, 1, 20);
	vms_model_write_done(m, 1, 3, 1, 21);
	CU_ASSERT_EQUAL(read1(m, 3, 2, 30, 40), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 50, 60), 1); /* 2 was settled */
	CU_ASSERT_EQUAL(read1(m, 3, 2, 70, 80), 0);
	vms_model_free(m);
}

static void reads_never_go_back(void)
{
	struct vms_model *m = fresh(true);

	put(m, 1, 3, 1, 2);
	vms_model_write_begin(m, 2, 3, 1, 10, false); /* outstanding all the time */
	CU_ASSERT_EQUAL(read1(m, 3, 1, 20, 30), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 2, 40, 50), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 60, 70), 1);
	vms_model_free(m);
}

static void concurrent_reads_may_differ(void)
{
	struct vms_model *m = fresh(true);
	unsigned char old[512], new[512];

	put(m, 1, 3, 1, 2);
	vms_model_write_begin(m, 2, 3, 1, 10, false);
	vms_model_stamp(m, old, 1, 1, 3, 1);
	vms_model_stamp(m, new, 2, 1, 3, 1);
	vms_model_read_begin(m, 3, 1, 20);
	vms_model_read_begin(m, 3, 1, 21);
	CU_ASSERT_EQUAL(vms_model_read_end(m, 3, 1, new, 20, 30, NULL), 0);
	CU_ASSERT_EQUAL(vms_model_read_end(m, 3, 1, old, 21, 31, NULL), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 40, 41), 1);
	vms_model_free(m);
}

static void lost_write_either_until_seen(void)
{
	struct vms_model *m = fresh(true);

	put(m, 1, 3, 1, 2);
	vms_model_write_begin(m, 2, 3, 1, 10, false);
	vms_model_write_lost(m, 2, 3, 1, 100);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 20, 30), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 2, 40, 50), 0); /* it arrived late, but in time */
	CU_ASSERT_EQUAL(read1(m, 3, 1, 60, 70), 1);
	vms_model_free(m);
}

static void lost_write_never_after_deadline(void)
{
	struct vms_model *m = fresh(true);

	put(m, 1, 3, 1, 2);
	vms_model_write_begin(m, 2, 3, 1, 10, false);
	vms_model_write_lost(m, 2, 3, 1, 100);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 110, 120), 0); /* settled: it never happened */
	CU_ASSERT_EQUAL(read1(m, 3, 2, 130, 140), 1);
	vms_model_free(m);
}

static void late_write_over_a_newer_one(void)
{
	struct vms_model *m = fresh(true);

	vms_model_write_begin(m, 1, 3, 1, 10, false);
	vms_model_write_lost(m, 1, 3, 1, 100);
	put(m, 2, 3, 110, 120); /* the repeat, over another path */
	CU_ASSERT_EQUAL(read1(m, 3, 2, 130, 140), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 150, 160), 1);
	vms_model_free(m);
}

static void refused_but_applied(void)
{
	struct vms_model *m = fresh(true);

	vms_model_write_begin(m, 1, 3, 1, 10, false);
	CU_ASSERT_EQUAL(vms_model_write_refused(m, 1, 3, 1), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 0, 20, 30), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 40, 50), 1);
	vms_model_write_begin(m, 2, 4, 1, 60, false);
	CU_ASSERT_EQUAL(read1(m, 4, 2, 61, 62), 0);
	CU_ASSERT_EQUAL(vms_model_write_refused(m, 2, 4, 1), 1);
	vms_model_free(m);
}

static void torn_chunk(void)
{
	struct vms_model *m = fresh(true);
	uint64_t seq[8], at[8] = {8, 8, 8, 8, 8, 8, 8, 8};
	uint32_t n[8] = {8, 8, 8, 8, 8, 8, 8, 8};

	vms_model_write_begin(m, 1, 8, 8, 10, false);
	vms_model_write_begin(m, 2, 8, 8, 11, false);
	for (int i = 0; i < 8; i++)
		seq[i] = i < 4 ? 1 : 2;
	CU_ASSERT_EQUAL(read_seqs(m, 8, 8, seq, at, n, 20, 30), 1);
	vms_model_free(m);

	/* In part over the initial content: torn too. */
	m = fresh(true);
	vms_model_write_begin(m, 1, 8, 8, 10, false);
	for (int i = 0; i < 8; i++)
		seq[i] = i < 4;
	CU_ASSERT_EQUAL(read_seqs(m, 8, 8, seq, at, n, 20, 30), 1);
	vms_model_free(m);

	/* A smaller write over a part of a larger one: not torn. */
	m = fresh(true);
	vms_model_write_begin(m, 1, 8, 8, 10, false);
	vms_model_write_begin(m, 2, 10, 2, 11, false);
	for (int i = 0; i < 8; i++)
		seq[i] = 1;
	seq[2] = seq[3] = 2;
	at[2] = at[3] = 10;
	n[2] = n[3] = 2;
	CU_ASSERT_EQUAL(read_seqs(m, 8, 8, seq, at, n, 20, 30), 0);
	vms_model_free(m);
}

static void torn_block_and_misplaced(void)
{
	struct vms_model *m = fresh(true);
	unsigned char buf[512];

	put(m, 1, 3, 10, 20);
	put(m, 2, 5, 10, 20);
	vms_model_stamp(m, buf, 1, 1, 3, 1);
	buf[300] ^= 1;
	vms_model_read_begin(m, 3, 1, 30);
	CU_ASSERT_EQUAL(vms_model_read_end(m, 3, 1, buf, 30, 40, NULL), 1);
	vms_model_stamp(m, buf, 2, 1, 5, 1);
	vms_model_read_begin(m, 3, 1, 50);
	CU_ASSERT_EQUAL(vms_model_read_end(m, 3, 1, buf, 50, 60, NULL), 1);
	vms_model_free(m);
}

static void candidates_stay_few(void)
{
	struct vms_model *m = fresh(true);

	for (uint64_t i = 1; i < 1000; i++)
		put(m, i, 3, i * 10, i * 10 + 5);
	CU_ASSERT_EQUAL(vms_model_written(m), 1);
	CU_ASSERT_EQUAL(vms_model_candidates(m), 1);
	vms_model_free(m);
}

static int copy_candidate(void *arg, uint64_t seq, uint64_t lba, uint32_t n, uint64_t start,
			  uint64_t f, uint64_t s, uint64_t deadline, bool zero)
{
	vms_model_restore(arg, seq, lba, n, start, f, s, deadline, zero);
	return 0;
}

static void dump_and_restore(void)
{
	struct vms_model *m = fresh(true), *c = fresh(true);

	vms_model_write_begin(m, 1, 0, 20, 1, false);
	vms_model_write_done(m, 1, 0, 20, 2);
	vms_model_write_begin(m, 2, 4, 2, 10, false);
	vms_model_write_lost(m, 2, 4, 2, 100);
	CU_ASSERT_EQUAL(vms_model_dump(m, copy_candidate, c), 0);
	CU_ASSERT_EQUAL(vms_model_candidates(c), vms_model_candidates(m));
	CU_ASSERT_EQUAL(read1(c, 30, 0, 200, 210), 0);
	CU_ASSERT_EQUAL(read1(c, 4, 2, 200, 210), 0);
	CU_ASSERT_EQUAL(read1(c, 4, 1, 220, 230), 1); /* 2 was seen */
	CU_ASSERT_EQUAL(read1(c, 5, 1, 220, 230), 0);
	vms_model_free(m);
	vms_model_free(c);
}

static void zeros_of_unmap(void)
{
	struct vms_model *m = fresh(true);

	put(m, 1, 3, 1, 2);
	vms_model_write_begin(m, 2, 3, 1, 10, true);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 11, 12), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 0, 13, 14), 0);
	CU_ASSERT_EQUAL(read1(m, 3, 1, 15, 16), 1); /* the zeros were seen */
	vms_model_write_done(m, 2, 3, 1, 20);
	CU_ASSERT_EQUAL(read1(m, 3, 0, 21, 22), 0);
	put(m, 3, 3, 30, 31);
	CU_ASSERT_EQUAL(read1(m, 3, 0, 32, 33), 1); /* resurrected zeros */
	vms_model_free(m);

	/* Zeros in a part of a chunk are no tear. */
	m = fresh(true);
	{
		uint64_t seq[8] = {1, 1, 0, 0, 1, 1, 1, 1}, at[8];
		uint32_t n[8];

		for (int i = 0; i < 8; i++) {
			at[i] = 8;
			n[i] = 8;
		}
		vms_model_write_begin(m, 1, 8, 8, 10, false);
		vms_model_write_done(m, 1, 8, 8, 11);
		vms_model_write_begin(m, 2, 10, 2, 20, true);
		vms_model_write_done(m, 2, 10, 2, 21);
		CU_ASSERT_EQUAL(read_seqs(m, 8, 8, seq, at, n, 30, 31), 0);
	}
	vms_model_free(m);
}

static void compare_and_write(void)
{
	struct vms_model *m = fresh(true);
	unsigned char old[512];

	put(m, 1, 3, 1, 2);
	vms_model_stamp(m, old, 1, 1, 3, 1);
	vms_model_read_begin(m, 3, 1, 10);
	vms_model_write_begin(m, 2, 3, 1, 10, false);
	vms_model_read_begin(m, 3, 1, 11);
	vms_model_write_begin(m, 3, 3, 1, 11, false);
	CU_ASSERT_EQUAL(vms_model_compared(m, 3, 1, old, 10, 20, NULL), 0);
	vms_model_write_done(m, 2, 3, 1, 20);
	/* The other one cannot have matched the same version. */
	CU_ASSERT(vms_model_compared(m, 3, 1, old, 11, 21, NULL) > 0);
	vms_model_free(m);

	/* Matched something long overwritten. */
	m = fresh(true);
	put(m, 1, 3, 1, 2);
	put(m, 2, 3, 3, 4);
	vms_model_read_begin(m, 3, 1, 10);
	vms_model_write_begin(m, 3, 3, 1, 10, false);
	CU_ASSERT_EQUAL(vms_model_compared(m, 3, 1, old, 10, 20, NULL), 1);
	vms_model_free(m);

	/* Before a concurrent write that was acknowledged first: right. */
	m = fresh(true);
	put(m, 1, 3, 1, 2);
	vms_model_write_begin(m, 2, 3, 1, 5, false);
	vms_model_read_begin(m, 3, 1, 10);
	vms_model_write_begin(m, 3, 3, 1, 10, false);
	vms_model_write_done(m, 2, 3, 1, 15);
	CU_ASSERT_EQUAL(vms_model_compared(m, 3, 1, old, 10, 20, NULL), 0);
	vms_model_write_done(m, 3, 3, 1, 20);
	CU_ASSERT_EQUAL(read1(m, 3, 2, 30, 31), 0);
	vms_model_free(m);
}

static void sizes(void)
{
	uint64_t v;

	CU_ASSERT(!vms_bench_parse_size("4k", &v) && v == 4096);
	CU_ASSERT(!vms_bench_parse_size("2G", &v) && v == 2ull << 30);
	CU_ASSERT(!vms_bench_parse_size("1MiB", &v) && v == 1 << 20);
	CU_ASSERT(vms_bench_parse_size("", &v));
	CU_ASSERT(vms_bench_parse_size("-1", &v));
	CU_ASSERT(vms_bench_parse_size("4kk", &v));
	CU_ASSERT(vms_bench_parse_size("99999999999T", &v));
}

int main(void)
{
	CU_pSuite s;
	unsigned failed;

	CU_initialize_registry();
	s = CU_add_suite("bench_model", NULL, NULL);
	CU_ADD_TEST(s, unwritten_reads_zero);
	CU_ADD_TEST(s, acknowledged_is_readable);
	CU_ADD_TEST(s, old_version_is_stale);
	CU_ADD_TEST(s, old_version_is_right_for_an_older_read);
	CU_ADD_TEST(s, concurrent_writes_either_then_fixed);
	CU_ADD_TEST(s, reads_never_go_back);
	CU_ADD_TEST(s, concurrent_reads_may_differ);
	CU_ADD_TEST(s, lost_write_either_until_seen);
	CU_ADD_TEST(s, lost_write_never_after_deadline);
	CU_ADD_TEST(s, late_write_over_a_newer_one);
	CU_ADD_TEST(s, refused_but_applied);
	CU_ADD_TEST(s, torn_chunk);
	CU_ADD_TEST(s, torn_block_and_misplaced);
	CU_ADD_TEST(s, candidates_stay_few);
	CU_ADD_TEST(s, dump_and_restore);
	CU_ADD_TEST(s, zeros_of_unmap);
	CU_ADD_TEST(s, compare_and_write);
	CU_ADD_TEST(s, sizes);
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
