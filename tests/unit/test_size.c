// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/size.h"
#include "tests/unit/cunit.h"

#include <string.h>

static void sizes_parse(void)
{
	static const struct {
		const char *t;
		uint64_t v;
	} ok[] = {
		{"0", 0},
		{"4096", 4096},
		{"512K", 524288},
		{"20G", UINT64_C(20) << 30},
		{"20g", UINT64_C(20) << 30},
		{"20GiB", UINT64_C(20) << 30},
		{"20GB", UINT64_C(20) << 30},
		{"1.5T", UINT64_C(3) << 39},
		{"0.5k", 512},
		{"7B", 7},
		{"15E", UINT64_C(15) << 60},
		{"18446744073709551615", UINT64_MAX},
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
		v = 1234567;
		CU_ASSERT_EQUAL(vms_size_parse(ok[i].t, &v, NULL), 0);
		CU_ASSERT_EQUAL(v, ok[i].v);
	}
}

static void bad_sizes_are_named(void)
{
	static const char *const bad[] = {"",	   "G",	  "-1",	  "+1",
					  "1 G",   " 1",  "1X",	  "1.G",
					  "1..5G", "0.3", "16E",  "18446744073709551616",
					  "1GG",   "1Gi", "0x10", "99999999999999999999G",
					  "1e3"};
	struct vms_errmsg e;
	uint64_t v;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e.text[0] = 0;
		CU_ASSERT_EQUAL(vms_size_parse(bad[i], &v, &e), VMS_E_INVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, bad[i]));
	}
}

static void durations_parse_and_need_a_unit(void)
{
	struct vms_errmsg e;
	uint64_t ms;

	CU_ASSERT(!vms_duration_parse("250ms", &ms, NULL) && ms == 250);
	CU_ASSERT(!vms_duration_parse("2s", &ms, NULL) && ms == 2000);
	CU_ASSERT(!vms_duration_parse("1.5s", &ms, NULL) && ms == 1500);
	CU_ASSERT(!vms_duration_parse("10min", &ms, NULL) && ms == 600000);
	CU_ASSERT(!vms_duration_parse("1h", &ms, NULL) && ms == 3600000);
	CU_ASSERT(!vms_duration_parse("0", &ms, NULL) && ms == 0);
	CU_ASSERT(vms_duration_parse("5", &ms, &e) == VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "250ms"));
	CU_ASSERT(vms_duration_parse("1m", &ms, NULL) == VMS_E_INVAL);
	CU_ASSERT(vms_duration_parse("0.5ms", &ms, NULL) == VMS_E_INVAL);
	CU_ASSERT(vms_duration_parse("-1s", &ms, NULL) == VMS_E_INVAL);
}

static void numbers_are_whole(void)
{
	uint64_t v;

	CU_ASSERT(!vms_u64_parse("1024", &v, NULL) && v == 1024);
	CU_ASSERT(vms_u64_parse("1.0", &v, NULL) == VMS_E_INVAL);
	CU_ASSERT(vms_u64_parse("12a", &v, NULL) == VMS_E_INVAL);
	CU_ASSERT(vms_u64_parse("", &v, NULL) == VMS_E_INVAL);
}

static void formats_parse_back(void)
{
	static const uint64_t v[] = {0,
				     1,
				     512,
				     1024,
				     1536,
				     524288,
				     UINT64_C(20) << 30,
				     UINT64_MAX,
				     UINT64_C(1) << 63,
				     86400000,
				     60000,
				     61000,
				     250};
	char t[VMS_SIZE_TEXT_MAX];
	uint64_t back;

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		CU_ASSERT(!vms_size_parse(vms_size_format(v[i], t), &back, NULL));
		CU_ASSERT_EQUAL(back, v[i]);
		CU_ASSERT(!vms_duration_parse(vms_duration_format(v[i], t), &back, NULL));
		CU_ASSERT_EQUAL(back, v[i]);
	}
	CU_ASSERT_STRING_EQUAL(vms_size_format(UINT64_C(20) << 30, t), "20G");
	CU_ASSERT_STRING_EQUAL(vms_duration_format(600000, t), "10min");
	CU_ASSERT_STRING_EQUAL(vms_duration_format(0, t), "0ms");
	CU_ASSERT_STRING_EQUAL(vms_size_human(0, t), "0 B");
	CU_ASSERT_STRING_EQUAL(vms_size_human(1536, t), "1.50 KiB");
	CU_ASSERT_STRING_EQUAL(vms_size_human(UINT64_C(20) << 30, t), "20.0 GiB");
	CU_ASSERT_STRING_EQUAL(vms_size_human(UINT64_MAX, t), "16.0 EiB");
	CU_ASSERT_STRING_EQUAL(vms_size_human(1023, t), "1.00 KiB");
}

static const struct vms_test tests[] = {
	VMS_TEST(sizes_parse),
	VMS_TEST(bad_sizes_are_named),
	VMS_TEST(durations_parse_and_need_a_unit),
	VMS_TEST(numbers_are_whole),
	VMS_TEST(formats_parse_back),
};
VMS_TEST_MAIN("size", tests)
