// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/pace.h"
#include "tests/unit/cunit.h"

static unsigned asked, give_up_at;
static bool stop(void)
{
	return ++asked == give_up_at;
}

/* A piece may be larger than what may be moved in a second. */
static void a_low_limit_is_kept(void)
{
	struct image_pace p = {.bytes_per_s = 1000};
	uint64_t t0 = vms_clock_ms();

	image_pace(&p, 500, stop);
	image_pace(&p, 500 + 1300, stop);
	CU_ASSERT(vms_clock_ms() - t0 >= 1300);
	CU_ASSERT(asked >= 5);
}

static void it_can_be_given_up(void)
{
	struct image_pace p = {.bytes_per_s = 1};

	asked = 0;
	give_up_at = 2;
	image_pace(&p, 0, stop);
	image_pace(&p, UINT64_MAX / 4096, stop); /* would take for ever */
	CU_ASSERT_EQUAL(asked, 2);
}

static void without_a_limit_nobody_waits(void)
{
	struct image_pace p = {0};

	asked = 0;
	image_pace(&p, 0, stop);
	image_pace(&p, UINT64_MAX, stop);
	CU_ASSERT_EQUAL(asked, 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(a_low_limit_is_kept),
	VMS_TEST(it_can_be_given_up),
	VMS_TEST(without_a_limit_nobody_waits),
};
VMS_TEST_MAIN("pace", tests)
