// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/bytes.h"
#include "tests/unit/cunit.h"

static void little_endian_layout(void)
{
	uint8_t b[9];

	memset(b, 0xee, sizeof(b));
	vms_put_le16(b + 1, 0x1234);
	CU_ASSERT(b[0] == 0xee && b[1] == 0x34 && b[2] == 0x12 && b[3] == 0xee);
	vms_put_le32(b + 1, 0x12345678);
	CU_ASSERT(b[1] == 0x78 && b[4] == 0x12 && b[5] == 0xee);
	vms_put_le64(b + 1, UINT64_C(0x0123456789abcdef));
	CU_ASSERT(b[1] == 0xef && b[8] == 0x01);
	CU_ASSERT_EQUAL(vms_get_le64(b + 1), UINT64_C(0x0123456789abcdef));
	CU_ASSERT_EQUAL(vms_get_le32(b + 1), 0x89abcdef);
	CU_ASSERT_EQUAL(vms_get_le16(b + 1), 0xcdef);
}

static void big_endian_sorts_like_numbers(void)
{
	uint8_t a[8], b[8];

	vms_put_be64(a, 0xff);
	vms_put_be64(b, 0x100);
	CU_ASSERT(memcmp(a, b, 8) < 0);
	CU_ASSERT(a[7] == 0xff && b[6] == 1);
	CU_ASSERT_EQUAL(vms_get_be64(b), 0x100);
	vms_put_be32(a, 0x01020304);
	CU_ASSERT(a[0] == 1 && a[3] == 4);
	CU_ASSERT_EQUAL(vms_get_be32(a), 0x01020304);
	vms_put_be16(a, 0x0102);
	CU_ASSERT(a[0] == 1 && a[1] == 2);
	CU_ASSERT_EQUAL(vms_get_be16(a), 0x0102);
	vms_put_be24(a, 0x010203);
	CU_ASSERT(a[0] == 1 && a[2] == 3);
	CU_ASSERT_EQUAL(vms_get_be24(a), 0x010203);
}

static void reader_reads_to_the_end(void)
{
	uint8_t b[15];
	struct vms_wr w;
	struct vms_rd r;

	vms_wr_init(&w, b, sizeof(b));
	vms_wr_u8(&w, 1);
	vms_wr_u16(&w, 2);
	vms_wr_u32(&w, 3);
	vms_wr_u64(&w, 4);
	CU_ASSERT(vms_wr_ok(&w));
	CU_ASSERT_EQUAL(vms_wr_len(&w), 15);
	CU_ASSERT_EQUAL(vms_wr_left(&w), 0);
	vms_rd_init(&r, b, sizeof(b));
	CU_ASSERT_EQUAL(vms_rd_u8(&r), 1);
	CU_ASSERT_EQUAL(vms_rd_u16(&r), 2);
	CU_ASSERT_EQUAL(vms_rd_u32(&r), 3);
	CU_ASSERT_FALSE(vms_rd_done(&r));
	CU_ASSERT_EQUAL(vms_rd_u64(&r), 4);
	CU_ASSERT(vms_rd_done(&r));
}

static void reader_past_the_end_is_bad_and_stays_bad(void)
{
	uint8_t b[3] = {1, 2, 3}, dst[4] = {9, 9, 9, 9};
	struct vms_rd r;

	vms_rd_init(&r, b, sizeof(b));
	CU_ASSERT_EQUAL(vms_rd_u32(&r), 0);
	CU_ASSERT_FALSE(vms_rd_ok(&r));
	CU_ASSERT_EQUAL(vms_rd_u8(&r), 0);
	CU_ASSERT_FALSE(vms_rd_done(&r));

	vms_rd_init(&r, b, sizeof(b));
	vms_rd_bytes(&r, dst, 4);
	CU_ASSERT(r.bad && dst[0] == 0 && dst[3] == 0);

	vms_rd_init(&r, b, sizeof(b));
	CU_ASSERT_PTR_NULL(vms_rd_take(&r, SIZE_MAX));
	CU_ASSERT(r.bad);

	vms_rd_init(&r, NULL, 0);
	CU_ASSERT(vms_rd_done(&r));
	vms_rd_skip(&r, 0);
	CU_ASSERT(vms_rd_done(&r));
	CU_ASSERT_EQUAL(vms_rd_u8(&r), 0);
	CU_ASSERT(r.bad);
}

static void writer_never_writes_past_its_capacity(void)
{
	uint8_t b[8];
	struct vms_wr w;

	memset(b, 0xaa, sizeof(b));
	vms_wr_init(&w, b, 4);
	vms_wr_u16(&w, 1);
	vms_wr_u32(&w, 0);
	CU_ASSERT_FALSE(vms_wr_ok(&w));
	CU_ASSERT_EQUAL(vms_wr_len(&w), 2);
	CU_ASSERT_EQUAL(b[2], 0xaa);
	vms_wr_u8(&w, 7); /* would fit, but the encoding is already broken */
	CU_ASSERT_EQUAL(b[2], 0xaa);
	CU_ASSERT_EQUAL(b[4], 0xaa);

	vms_wr_init(&w, b, sizeof(b));
	vms_wr_zero(&w, 3);
	vms_wr_bytes(&w, "xyz", 3);
	vms_wr_be16(&w, 0x0102);
	CU_ASSERT(vms_wr_ok(&w));
	CU_ASSERT(b[2] == 0 && b[3] == 'x' && b[6] == 1 && b[7] == 2);
}

static const struct vms_test tests[] = {
	VMS_TEST(little_endian_layout),
	VMS_TEST(big_endian_sorts_like_numbers),
	VMS_TEST(reader_reads_to_the_end),
	VMS_TEST(reader_past_the_end_is_bad_and_stays_bad),
	VMS_TEST(writer_never_writes_past_its_capacity),
};
VMS_TEST_MAIN("bytes", tests)
