// SPDX-License-Identifier: GPL-2.0-only
#include "include/err.h"
#include "tests/unit/cunit.h"

#include <string.h>

static void every_code_has_name_text_and_flag(void)
{
	unsigned n = 0;

#define X(name, number, retryable, text_)                                                          \
	CU_ASSERT_EQUAL(VMS_E_##name, -(number));                                                  \
	CU_ASSERT_STRING_EQUAL(vms_err_name(VMS_E_##name), "VMS_E_" #name);                        \
	CU_ASSERT_STRING_EQUAL(vms_err_text(VMS_E_##name), text_);                                 \
	CU_ASSERT_EQUAL(vms_err_retryable(VMS_E_##name), retryable);                               \
	n++;
	VMS_ERR_LIST(X)
#undef X
	CU_ASSERT(n >= 35);
}

/* The numbers are on the wire: they are appended to, never changed. */
static void wire_numbers_are_fixed(void)
{
	CU_ASSERT_EQUAL(VMS_E_INVAL, -1);
	CU_ASSERT_EQUAL(VMS_E_EPOCH, -11);
	CU_ASSERT_EQUAL(VMS_E_GONE, -20);
	CU_ASSERT_EQUAL(VMS_E_PERM, -35);
}

static void unknown_codes_are_still_printable(void)
{
	CU_ASSERT_STRING_EQUAL(vms_err_name(0), "VMS_OK");
	CU_ASSERT_STRING_EQUAL(vms_err_name(-9999), "VMS_E_?");
	CU_ASSERT_STRING_EQUAL(vms_err_text(12), "unknown error code");
	CU_ASSERT_EQUAL(vms_err_retryable(-9999), 0);
}

static void fail_fills_the_message_and_returns_the_code(void)
{
	struct vms_errmsg e;
	char big[400];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	CU_ASSERT_EQUAL(vms_fail(&e, VMS_E_RANGE, "lba %d", 7), VMS_E_RANGE);
	CU_ASSERT_STRING_EQUAL(e.text, "lba 7");
	CU_ASSERT_EQUAL(vms_fail(NULL, VMS_E_BUSY, "x"), VMS_E_BUSY);
	CU_ASSERT_EQUAL(vms_fail(&e, VMS_E_IO, "%s", big), VMS_E_IO);
	CU_ASSERT_EQUAL(strlen(e.text), sizeof(e.text) - 1);
}

static const struct vms_test tests[] = {
	VMS_TEST(every_code_has_name_text_and_flag),
	VMS_TEST(wire_numbers_are_fixed),
	VMS_TEST(unknown_codes_are_still_printable),
	VMS_TEST(fail_fills_the_message_and_returns_the_code),
};
VMS_TEST_MAIN("err", tests)
