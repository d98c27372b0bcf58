/* SPDX-License-Identifier: GPL-2.0-only */
/* What every unit test's main() does: run one suite, print CUnit's summary and
 * exit 1 when anything failed. */
#ifndef VMS_TESTS_CUNIT_H
#define VMS_TESTS_CUNIT_H

#include <stdio.h>
#include <CUnit/Basic.h>

struct vms_test {
	const char *name;
	void (*fn)(void);
};

#define VMS_TEST(fn)                                                                               \
	{                                                                                          \
#fn, fn                                                                            \
	}

static inline int vms_test_main_(const char *suite_name, const struct vms_test *t, size_t n)
{
	CU_pSuite s;
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 2;
	s = CU_add_suite(suite_name, NULL, NULL);
	if (!s)
		return 2;
	for (size_t i = 0; i < n; i++)
		if (!CU_add_test(s, t[i].name, t[i].fn))
			return 2;
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_tests_failed() +
		 CU_get_number_of_suites_failed();
	/* a suite that ran nothing must not count as a pass */
	if (CU_get_number_of_tests_run() != n || CU_get_number_of_asserts() == 0)
		failed++;
	CU_cleanup_registry();
	return failed ? 1 : 0;
}

#define VMS_TEST_MAIN(suite_name, tests)                                                           \
	int main(void)                                                                             \
	{                                                                                          \
		return vms_test_main_(suite_name, tests, sizeof(tests) / sizeof((tests)[0]));      \
	}

#endif
