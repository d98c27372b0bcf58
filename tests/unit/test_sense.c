// SPDX-License-Identifier: GPL-2.0-only
#include "target/sense.h"

#include <string.h>

#include "include/err.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"

static const struct vms_sense_cmd rd = {.write = false}, wr = {.write = true};

static void fixed_format_has_its_fields(void)
{
	struct vms_sense s;
	uint8_t b[VMS_SENSE_BYTES_MAX];

	vms_sense_bad_cdb(&s, 7);
	CU_ASSERT_EQUAL(vms_sense_encode(&s, false, b), 18);
	CU_ASSERT_EQUAL(b[0], 0x70);
	CU_ASSERT_EQUAL(b[2], VMS_SK_ILLEGAL_REQUEST);
	CU_ASSERT_EQUAL(b[7], 10);
	CU_ASSERT_EQUAL(vms_get_be16(b + 12), VMS_ASC_INVALID_FIELD_IN_CDB);
	CU_ASSERT_EQUAL(b[15], 0xc0);
	CU_ASSERT_EQUAL(vms_get_be16(b + 16), 7);
}

static void information_goes_into_both_formats(void)
{
	struct vms_sense s;
	uint8_t b[VMS_SENSE_BYTES_MAX];

	vms_sense_bad_lba(&s, 0x12345678);
	vms_sense_encode(&s, false, b);
	CU_ASSERT_EQUAL(b[0], 0xf0);
	CU_ASSERT_EQUAL(vms_get_be32(b + 3), 0x12345678);
	CU_ASSERT_EQUAL(vms_sense_encode(&s, true, b), 20);
	CU_ASSERT_EQUAL(b[0], 0x72);
	CU_ASSERT_EQUAL(b[7], 12);
	CU_ASSERT_EQUAL(b[8], 0);
	CU_ASSERT_EQUAL(b[9], 10);
	CU_ASSERT_EQUAL(b[10], 0x80);
	CU_ASSERT_EQUAL(vms_get_be64(b + 12), 0x12345678);
}

static void information_beyond_32_bits_is_not_cut(void)
{
	struct vms_sense s;
	uint8_t b[VMS_SENSE_BYTES_MAX];

	vms_sense_bad_lba(&s, UINT64_C(0x100000001));
	vms_sense_encode(&s, false, b);
	CU_ASSERT_EQUAL(b[0], 0x70);
	CU_ASSERT_EQUAL(vms_get_be32(b + 3), 0);
	vms_sense_encode(&s, true, b);
	CU_ASSERT_EQUAL(vms_get_be64(b + 12), UINT64_C(0x100000001));
}

static void descriptor_field_pointer(void)
{
	struct vms_sense s;
	uint8_t b[VMS_SENSE_BYTES_MAX];

	vms_sense_bad_param(&s, 20);
	CU_ASSERT_EQUAL(vms_sense_encode(&s, true, b), 16);
	CU_ASSERT_EQUAL(b[8], 2);
	CU_ASSERT_EQUAL(b[9], 6);
	CU_ASSERT_EQUAL(b[12], 0x80);
	CU_ASSERT_EQUAL(vms_get_be16(b + 13), 20);
}

static void the_segment_of_a_copy_is_told(void)
{
	struct vms_sense c;
	uint8_t b[VMS_SENSE_BYTES_MAX];

	vms_sense_fail(&c, VMS_SK_COPY_ABORTED, VMS_ASC_THIRD_PARTY_FAILURE);
	c.csi_valid = true;
	c.csi = 3; /* the segment stands in the lower two bytes */
	CU_ASSERT_EQUAL(vms_sense_encode(&c, false, b), 18);
	CU_ASSERT(b[2] == 0x0a && b[10] == 0 && b[11] == 3 && b[12] == 0x0d && b[13] == 0x01);
	CU_ASSERT_EQUAL(vms_sense_encode(&c, true, b), 20);
	CU_ASSERT(b[1] == 0x0a && b[7] == 12 && b[8] == 0x01 && b[9] == 0x0a && b[19] == 3);
}

static void every_error_has_a_condition(void)
{
	struct vms_sense s;

#define X(name, number, retryable, text)                                                           \
	vms_sense_from_err(&s, VMS_E_##name, &wr);                                                 \
	CU_ASSERT_NOT_EQUAL(s.status, VMS_SAM_GOOD);                                               \
	if (s.status == VMS_SAM_CHECK_CONDITION)                                                   \
		CU_ASSERT_NOT_EQUAL(s.key, 0);
	VMS_ERR_LIST(X)
#undef X
	vms_sense_from_err(&s, VMS_OK, &wr);
	CU_ASSERT_EQUAL(s.status, VMS_SAM_GOOD);
}

static void errors_map(void)
{
	static const struct {
		int err;
		uint8_t status, key;
		uint16_t asc;
	} t[] = {
		{VMS_E_BUSY, VMS_SAM_BUSY, 0, 0},
		{VMS_E_TOO_OLD, VMS_SAM_BUSY, 0, 0},
		{VMS_E_FULL, VMS_SAM_TASK_SET_FULL, 0, 0},
		{VMS_E_CANCELLED, VMS_SAM_TASK_ABORTED, 0, 0},
		{VMS_E_TIMEOUT, 2, VMS_SK_ABORTED_COMMAND, 0x2e02},
		{VMS_E_IO, 2, VMS_SK_MEDIUM_ERROR, 0x0c00},
		{VMS_E_NOSPC, 2, VMS_SK_DATA_PROTECT, 0x2707},
		{VMS_E_DATA_LOSS, 2, VMS_SK_MEDIUM_ERROR, 0x0c00},
		{VMS_E_NOENT, 2, VMS_SK_NOT_READY, 0x3e00},
		{VMS_E_POISONED, 2, VMS_SK_HARDWARE_ERROR, 0x4400},
		{VMS_E_RANGE, 2, VMS_SK_ILLEGAL_REQUEST, 0x2100},
	};
	struct vms_sense s;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		vms_sense_from_err(&s, t[i].err, &wr);
		CU_ASSERT_EQUAL(s.status, t[i].status);
		CU_ASSERT_EQUAL(s.key, t[i].key);
		CU_ASSERT_EQUAL(s.asc, t[i].asc);
	}
}

static void bad_reads_name_their_block(void)
{
	struct vms_sense_cmd c = {.have_info = true, .info_lba = 77};
	struct vms_sense s;

	vms_sense_from_err(&s, VMS_E_CORRUPT, &c);
	CU_ASSERT_EQUAL(s.key, VMS_SK_MEDIUM_ERROR);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_UNRECOVERED_READ);
	CU_ASSERT(s.info_valid && s.info == 77);
	vms_sense_from_err(&s, VMS_E_BAD_SECTORS, &rd);
	CU_ASSERT_FALSE(s.info_valid);
}

static void miscompare_tells_the_offset(void)
{
	struct vms_sense_cmd c = {.write = true, .miscompare_bytes = 0};
	struct vms_sense s;

	vms_sense_from_err(&s, VMS_E_MISCOMPARE, &c);
	CU_ASSERT_EQUAL(s.key, VMS_SK_MISCOMPARE);
	CU_ASSERT(s.info_valid && s.info == 0);
}

/* What is repeated for sure is no error; what is not must not look as if nothing was. */
static void partly_applied_is_repeated(void)
{
	struct vms_sense_cmd c = {.write = true, .partly_applied = true};
	static const int busy[] = {VMS_E_BUSY, VMS_E_FULL, VMS_E_EPOCH, VMS_E_NOMEM,
				   VMS_E_RESERVED};
	static const int error[] = {VMS_E_CANCELLED, VMS_E_TIMEOUT};
	struct vms_sense s;

	for (unsigned i = 0; i < sizeof(busy) / sizeof(busy[0]); i++) {
		vms_sense_from_err(&s, busy[i], &c);
		CU_ASSERT_EQUAL(s.status, VMS_SAM_BUSY);
	}
	for (unsigned i = 0; i < sizeof(error) / sizeof(error[0]); i++) {
		vms_sense_from_err(&s, error[i], &c);
		CU_ASSERT_EQUAL(s.status, VMS_SAM_CHECK_CONDITION);
		CU_ASSERT_EQUAL(s.key, VMS_SK_ABORTED_COMMAND);
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(fixed_format_has_its_fields),
	VMS_TEST(information_goes_into_both_formats),
	VMS_TEST(information_beyond_32_bits_is_not_cut),
	VMS_TEST(descriptor_field_pointer),
	VMS_TEST(the_segment_of_a_copy_is_told),
	VMS_TEST(every_error_has_a_condition),
	VMS_TEST(errors_map),
	VMS_TEST(bad_reads_name_their_block),
	VMS_TEST(miscompare_tells_the_offset),
	VMS_TEST(partly_applied_is_repeated),
};
VMS_TEST_MAIN("sense", tests)
