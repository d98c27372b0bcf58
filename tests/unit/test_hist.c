// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/hist.h"
#include "utils/lib/rng.h"
#include "tests/unit/cunit.h"

static struct vms_hist h, h2;

static void empty_histogram_is_zero(void)
{
	vms_hist_init(&h);
	CU_ASSERT_EQUAL(vms_hist_percentile(&h, 50), 0);
	CU_ASSERT_EQUAL(vms_hist_mean(&h), 0);
}

static void small_values_are_exact(void)
{
	vms_hist_init(&h);
	for (unsigned v = 0; v < 64; v++)
		vms_hist_add(&h, v);
	CU_ASSERT_EQUAL(vms_hist_percentile(&h, 0), 0);
	CU_ASSERT_EQUAL(vms_hist_percentile(&h, 50), 31);
	CU_ASSERT_EQUAL(vms_hist_percentile(&h, 100), 63);
	CU_ASSERT_EQUAL(vms_hist_mean(&h), 31.5);
}

static void every_power_of_two_lands_within_the_error(void)
{
	unsigned bad = 0;

	for (unsigned b = 0; b < 64; b++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (UINT64_C(1) << b) + (uint64_t)(int64_t)d, p;

			vms_hist_init(&h);
			vms_hist_add(&h, 0);
			vms_hist_add(&h, v);
			vms_hist_add(&h, UINT64_MAX);
			p = vms_hist_percentile(&h, 60);
			bad += p < v || (double)p > (double)v * 1.032;
		}
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(h.max, UINT64_MAX);
}

static void percentiles_of_a_uniform_sample(void)
{
	struct vms_rng r;

	vms_rng_init(&r, 1);
	vms_hist_init(&h);
	for (int i = 0; i < 200000; i++)
		vms_hist_add(&h, vms_rng_below(&r, 100000));
	CU_ASSERT(vms_hist_percentile(&h, 50) > 49000 && vms_hist_percentile(&h, 50) < 52000);
	CU_ASSERT(vms_hist_percentile(&h, 99) > 98000 && vms_hist_percentile(&h, 99) < 100000);
	CU_ASSERT(vms_hist_percentile(&h, 99.9) <= vms_hist_percentile(&h, 100));
}

static void merge_equals_adding_to_one(void)
{
	static struct vms_hist all;
	struct vms_rng r;

	vms_rng_init(&r, 2);
	vms_hist_init(&h);
	vms_hist_init(&h2);
	vms_hist_init(&all);
	for (int i = 0; i < 1000; i++) {
		uint64_t v = vms_rng_u64(&r) >> vms_rng_below(&r, 60);

		vms_hist_add(&all, v);
		vms_hist_add(i % 3 ? &h : &h2, v);
	}
	vms_hist_merge(&h, &h2);
	CU_ASSERT(!memcmp(&h, &all, sizeof(h)));
}

static const struct vms_test tests[] = {
	VMS_TEST(empty_histogram_is_zero),
	VMS_TEST(small_values_are_exact),
	VMS_TEST(every_power_of_two_lands_within_the_error),
	VMS_TEST(percentiles_of_a_uniform_sample),
	VMS_TEST(merge_equals_adding_to_one),
};
VMS_TEST_MAIN("hist", tests)
