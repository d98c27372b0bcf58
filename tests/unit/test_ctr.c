// SPDX-License-Identifier: GPL-2.0-only
#include "backend/ctr.h"
#include "include/err.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static uint8_t block[VMS_CHUNK_BYTES];

static void header_comes_back(void)
{
	struct vms_ctr_header h = {0x1ffffffffull, 3, 4, 5, "0123456789abcde"}, d;

	vms_ctr_header_encode(block, &h);
	CU_ASSERT_EQUAL(vms_ctr_header_decode(block, &d), 0);
	CU_ASSERT_EQUAL(d.ctr, h.ctr);
	CU_ASSERT_EQUAL(d.partition, 3);
	CU_ASSERT_EQUAL(d.epoch, 4);
	CU_ASSERT_EQUAL(d.incarnation, 5);
	CU_ASSERT_EQUAL(memcmp(d.cluster_uuid, h.cluster_uuid, 16), 0);
}

static void unknown_incompatible_feature_is_refused_by_name(void)
{
	struct vms_ctr_header h = {.ctr = 1}, d;

	vms_ctr_header_encode(block, &h);
	vms_put_le32(block + 12, 1);
	vms_put_le32(block + 4092, vms_crc32c(0, block, 4092));
	CU_ASSERT_EQUAL(vms_ctr_header_decode(block, &d), VMS_E_VERSION);
}

static struct vms_seg make_seg(unsigned n)
{
	struct vms_seg s = {
		.ctr = 7, .offset_bytes = (uint32_t)vms_seg_offset(2), .n = n, .seq = 55};

	for (unsigned i = 0; i < n; i++)
		s.e[i] = (struct vms_seg_entry){
			.addr = vms_addr_make(7, (uint32_t)vms_seg_chunk_offset(2, i)),
			.crc = i * 3,
			.valid = 0xff,
			.has_fp = i & 1,
			.fp = {i & 1 ? (uint8_t)i : 0}};
	return s;
}

static void full_segment_comes_back(void)
{
	struct vms_seg s = make_seg(64), d;
	unsigned wrong = 0;

	vms_seg_encode(block, &s);
	CU_ASSERT_EQUAL(vms_seg_decode(block, 7, s.offset_bytes, &d), 0);
	CU_ASSERT_EQUAL(d.n, 64);
	CU_ASSERT_EQUAL(d.seq, 55);
	for (unsigned i = 0; i < 64; i++)
		wrong += d.e[i].addr != s.e[i].addr || d.e[i].crc != s.e[i].crc ||
			 d.e[i].valid != 0xff || d.e[i].has_fp != s.e[i].has_fp ||
			 d.e[i].fp[0] != s.e[i].fp[0];
	CU_ASSERT_EQUAL(wrong, 0);
}

static void segment_of_another_place_is_refused(void)
{
	struct vms_seg s = make_seg(2), d;

	vms_seg_encode(block, &s);
	CU_ASSERT_EQUAL(vms_seg_decode(block, 8, s.offset_bytes, &d), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_seg_decode(block, 7, s.offset_bytes + 4096, &d), VMS_E_CORRUPT);
	/* an entry that names an address elsewhere */
	s.e[1].addr += 4096;
	vms_seg_encode(block, &s);
	CU_ASSERT_EQUAL(vms_seg_decode(block, 7, s.offset_bytes, &d), VMS_E_CORRUPT);
}

static void each_damaged_byte_is_found(void)
{
	struct vms_seg s = make_seg(64), d;
	struct vms_ctr_header hd, h = {.ctr = 1};
	struct vms_ctr_footer fd, f = {1, 4096, 2, 1, 24, 5};
	unsigned missed = 0;

	vms_seg_encode(block, &s);
	for (unsigned i = 0; i < sizeof(block); i++) {
		block[i] ^= 4;
		missed += vms_seg_decode(block, 7, s.offset_bytes, &d) == 0;
		block[i] ^= 4;
	}
	vms_ctr_header_encode(block, &h);
	for (unsigned i = 0; i < sizeof(block); i++) {
		block[i] ^= 4;
		missed += vms_ctr_header_decode(block, &hd) == 0;
		block[i] ^= 4;
	}
	vms_ctr_footer_encode(block, &f);
	for (unsigned i = 0; i < sizeof(block); i++) {
		block[i] ^= 4;
		missed += vms_ctr_footer_decode(block, &fd) == 0;
		block[i] ^= 4;
	}
	CU_ASSERT_EQUAL(missed, 0);
}

static void footer_comes_back(void)
{
	struct vms_ctr_footer f = {12, 1ull << 26, 16000, 256, 128 << 10, 0xabcdef01}, d;

	vms_ctr_footer_encode(block, &f);
	CU_ASSERT_EQUAL(vms_ctr_footer_decode(block, &d), 0);
	CU_ASSERT_EQUAL(d.ctr, 12);
	CU_ASSERT_EQUAL(d.length_bytes, 1ull << 26);
	CU_ASSERT_EQUAL(d.nchunks, 16000);
	CU_ASSERT_EQUAL(d.segs, 256);
	CU_ASSERT_EQUAL(d.list_bytes, 128 << 10);
	CU_ASSERT_EQUAL(d.list_crc, 0xabcdef01);
	CU_ASSERT_EQUAL(vms_ctr_list_blocks(d.list_bytes), 32);
	CU_ASSERT_EQUAL(vms_ctr_list_blocks(1), 1);
}

static void grid_names_the_header_of_each_chunk(void)
{
	unsigned wrong = 0;

	for (uint32_t k = 0; k < 300; k++)
		for (unsigned i = 0; i < 64; i++) {
			uint32_t at = (uint32_t)vms_seg_chunk_offset(k, i);

			wrong += vms_seg_header_offset(at) != vms_seg_offset(k) ||
				 vms_seg_index(at) != i;
		}
	CU_ASSERT_EQUAL(wrong, 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(header_comes_back),
	VMS_TEST(unknown_incompatible_feature_is_refused_by_name),
	VMS_TEST(full_segment_comes_back),
	VMS_TEST(segment_of_another_place_is_refused),
	VMS_TEST(each_damaged_byte_is_found),
	VMS_TEST(footer_comes_back),
	VMS_TEST(grid_names_the_header_of_each_chunk),
};
VMS_TEST_MAIN("ctr", tests)
