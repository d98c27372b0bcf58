// SPDX-License-Identifier: GPL-2.0-only
/* Counts of vmstore estimate against a plain count, exact and sampled. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/image/estimate.h"
#include "utils/lib/bytes.h"
#include "utils/lib/fp.h"
#include "utils/lib/progress.h"
#include "utils/lib/rng.h"

#define C VMS_CHUNK_BYTES

/* A chunk that is different for each n. */
static void chunk(uint8_t *out, uint64_t n)
{
	memset(out, 0x5a, C);
	vms_put_le64(out + 100, n);
}

static void add(struct image_est *e, uint64_t n)
{
	uint8_t b[C];

	chunk(b, n);
	image_est_data(e, b, C);
}

static void fingerprints_are_sha256_behind_the_salt(void)
{
	/* FIPS 180-2 appendix B.1: SHA-256("abc") */
	static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};
	struct vms_fp *plain = vms_fp_open(NULL, 0), *salted = vms_fp_open("ab", 2);
	uint8_t a[VMS_FP_BYTES], b[VMS_FP_BYTES], c[VMS_FP_BYTES];

	vms_fp_chunk(plain, "abc", 3, a);
	CU_ASSERT(!memcmp(a, abc, 4));
	vms_fp_chunk(salted, "c", 1, b);
	vms_fp_chunk(salted, "c", 1, c);
	CU_ASSERT(!memcmp(a, b, 32) && !memcmp(a, c, 32));
	vms_fp_chunk(salted, "d", 1, b);
	CU_ASSERT(memcmp(a, b, 32));
	vms_fp_close(plain);
	vms_fp_close(salted);
}

static void files_are_told_apart(void)
{
	struct image_est *e = image_est_open(1 << 20, 0);
	struct image_est_counts c;
	uint8_t b[2 * C] = {0};

	image_est_file(e); /* 1 1 2 3 0 and a hole of three */
	add(e, 1);
	add(e, 1);
	add(e, 2);
	add(e, 3);
	image_est_data(e, b, C);
	image_est_zeros(e, 3 * C);
	image_est_file(e); /* 3 3 4 */
	add(e, 3);
	add(e, 3);
	add(e, 4);
	image_est_file(e); /* 3 2 5, the last cut short */
	add(e, 3);
	add(e, 2);
	chunk(b, 5);
	image_est_data(e, b, 200);

	image_est_counts(e, 0, &c);
	CU_ASSERT(c.bytes == 8 * C && c.zero == 4 * C && c.distinct == 3 * C && c.dup == C);
	CU_ASSERT(c.unique == C && c.shared == 2 * C && c.added == 3 * C);
	image_est_counts(e, 1, &c);
	CU_ASSERT(c.bytes == 3 * C && c.zero == 0 && c.distinct == 2 * C && c.dup == C);
	CU_ASSERT(c.unique == C && c.shared == C && c.added == C);
	image_est_counts(e, 2, &c);
	CU_ASSERT(c.bytes == 2 * C + 200 && c.distinct == 3 * C && c.dup == 0);
	CU_ASSERT(c.unique == C && c.shared == 2 * C && c.added == C);
	image_est_total(e, &c);
	CU_ASSERT(c.bytes == 13 * C + 200 && c.zero == 4 * C && c.distinct == 5 * C);
	CU_ASSERT(c.dup == 5 * C && c.unique == 3 * C && c.shared == 2 * C);
	CU_ASSERT_EQUAL(image_est_one_of(e), 1);
	image_est_close(e);
}

/* The end of a file is filled up with zeros: that may make it equal to other content. */
static void a_short_end_counts_as_filled_up(void)
{
	struct image_est *e = image_est_open(1 << 20, 0);
	struct image_est_counts c;
	uint8_t b[C] = {7};

	image_est_file(e);
	image_est_data(e, b, C);
	image_est_file(e);
	image_est_data(e, b, 1);
	image_est_total(e, &c);
	CU_ASSERT(c.bytes == C + 1 && c.distinct == C && c.shared == C && c.dup == C);
	image_est_close(e);
}

/* Random numbers of a small range, against a table of flags. */
static void a_plain_count_agrees(void)
{
	enum { RANGE = 3000, FILES = 5 };
	static uint8_t had[FILES][RANGE];
	struct image_est *e = image_est_open(1 << 20, 8000);
	struct image_est_counts c;
	struct vms_rng rng;
	uint64_t added = 0;

	memset(had, 0, sizeof(had));
	vms_rng_init(&rng, 5);
	for (unsigned f = 0; f < FILES; f++) {
		image_est_file(e);
		for (unsigned i = 0; i < 1500; i++) {
			uint64_t n = vms_rng_below(&rng, RANGE);

			had[f][n] = 1;
			add(e, n);
		}
	}
	for (unsigned f = 0; f < FILES; f++) {
		uint64_t distinct = 0, shared = 0, fresh = 0;

		for (unsigned n = 0; n < RANGE; n++) {
			unsigned before = 0, others = 0;

			for (unsigned g = 0; g < FILES; g++) {
				others += g != f && had[g][n];
				before += g < f && had[g][n];
			}
			distinct += had[f][n];
			shared += had[f][n] && others;
			fresh += had[f][n] && !before;
		}
		image_est_counts(e, f, &c);
		CU_ASSERT(c.distinct == distinct * C && c.shared == shared * C &&
			  c.added == fresh * C && c.dup == (1500 - distinct) * C);
		added += fresh;
	}
	image_est_total(e, &c);
	CU_ASSERT_EQUAL(c.distinct, added * C);
	image_est_close(e);
}

static int near(uint64_t got, uint64_t want)
{
	return got > want / 100 * 95 && got < want / 100 * 105;
}

/* 200,000 distinct chunks in a table for some 17,000: two files share a quarter. */
static void a_full_table_samples(void)
{
	struct image_est *e = image_est_open(512 << 10, 0);
	struct image_est_counts c;

	image_est_file(e);
	for (uint64_t n = 0; n < 100000; n++)
		add(e, n);
	image_est_file(e);
	for (uint64_t n = 75000; n < 200000; n++)
		add(e, n);
	CU_ASSERT(image_est_one_of(e) == 16);
	image_est_counts(e, 0, &c);
	CU_ASSERT(c.bytes == 100000ull * C && near(c.distinct, 100000ull * C));
	CU_ASSERT(near(c.shared, 25000ull * C) && near(c.unique, 75000ull * C));
	image_est_counts(e, 1, &c);
	CU_ASSERT(near(c.distinct, 125000ull * C) && near(c.added, 100000ull * C));
	CU_ASSERT(near(c.shared, 25000ull * C));
	image_est_total(e, &c);
	CU_ASSERT(near(c.distinct, 200000ull * C) && near(c.shared, 25000ull * C));
	CU_ASSERT(c.distinct + c.dup == 225000ull * C);
	/* what stayed in the table is still found: a third file of known content adds
	 * little */
	image_est_file(e);
	for (uint64_t n = 0; n < 200000; n += 2)
		add(e, n);
	image_est_counts(e, 2, &c);
	CU_ASSERT(c.added == 0 && near(c.shared, 100000ull * C));
	image_est_close(e);
}

static void progress_tells_rate_and_time_left(void)
{
	char text[VMS_PROGRESS_TEXT_MAX];
	struct vms_progress p;

	vms_progress_open(&p, NULL, false, "import", 0, 100 << 20, 1000);
	CU_ASSERT_STRING_EQUAL(vms_progress_text(&p, 0, text),
			       "import [                    ]   0%  0 B");
	vms_progress_update(&p, 10 << 20, 2000);
	vms_progress_text(&p, 10 << 20, text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "[##                  ]  10%"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "10.0 MiB/s  9 s left"));
	/* a job that goes on does not count what was done before it as its rate */
	vms_progress_open(&p, NULL, false, "import", 90 << 20, 100 << 20, 1000);
	vms_progress_update(&p, 91 << 20, 2000);
	CU_ASSERT_PTR_NOT_NULL(strstr(vms_progress_text(&p, 91 << 20, text), "/s  9 s left"));
	/* more than there should be */
	CU_ASSERT_PTR_NOT_NULL(strstr(vms_progress_text(&p, 200 << 20, text), "100%"));
	vms_progress_open(&p, NULL, false, "x\ny", 0, 0, 0);
	CU_ASSERT_STRING_EQUAL(vms_progress_text(&p, 5 << 20, text), "x?y  5.00 MiB");
}

static const struct vms_test tests[] = {
	VMS_TEST(fingerprints_are_sha256_behind_the_salt),
	VMS_TEST(files_are_told_apart),
	VMS_TEST(a_short_end_counts_as_filled_up),
	VMS_TEST(a_plain_count_agrees),
	VMS_TEST(a_full_table_samples),
	VMS_TEST(progress_tells_rate_and_time_left),
};
VMS_TEST_MAIN("estimate", tests)
