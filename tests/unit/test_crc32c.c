// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "tests/unit/cunit.h"

#include <string.h>

/* Independent bitwise reference, reflected polynomial 0x82f63b78. */
static uint32_t slow(uint32_t crc, const uint8_t *p, size_t n)
{
	crc = ~crc;
	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

/* Source: RFC 7143 appendix A.4 */
static void published_vectors(void)
{
	uint8_t b[32];

	CU_ASSERT_EQUAL(vms_crc32c(0, "123456789", 9), 0xe3069283);
	memset(b, 0, sizeof(b));
	CU_ASSERT_EQUAL(vms_crc32c(0, b, 32), 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	CU_ASSERT_EQUAL(vms_crc32c(0, b, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	CU_ASSERT_EQUAL(vms_crc32c(0, b, 32), 0x46dd794e);
	CU_ASSERT_EQUAL(vms_crc32c(0, NULL, 0), 0);
	CU_ASSERT_EQUAL(vms_crc32c(0x12345678, NULL, 0), 0x12345678);
}

static void continued_equals_whole_at_every_cut(void)
{
	uint8_t b[300];
	struct vms_rng r;
	uint32_t whole;
	unsigned bad = 0;

	vms_rng_init(&r, 1);
	vms_rng_fill(&r, b, sizeof(b));
	whole = vms_crc32c(0, b, sizeof(b));
	for (size_t cut = 0; cut <= sizeof(b); cut++) {
		uint32_t c = vms_crc32c(0, b, cut);

		bad += vms_crc32c(c, b + cut, sizeof(b) - cut) != whole;
	}
	CU_ASSERT_EQUAL(bad, 0);
}

static void equals_reference_at_all_lengths_and_alignments(void)
{
	static uint8_t b[5000];
	struct vms_rng r;
	unsigned bad = 0;

	vms_rng_init(&r, 2);
	vms_rng_fill(&r, b, sizeof(b));
	for (size_t n = 0; n < 600; n++)
		bad += vms_crc32c(0, b + n % 17, n) != slow(0, b + n % 17, n);
	bad += vms_crc32c(7, b + 3, 4096) != slow(7, b + 3, 4096);
	CU_ASSERT_EQUAL(bad, 0);
}

static void one_flipped_bit_changes_it(void)
{
	uint8_t b[512] = {0};
	uint32_t c = vms_crc32c(0, b, sizeof(b));
	unsigned same = 0;

	for (unsigned i = 0; i < sizeof(b) * 8; i++) {
		b[i / 8] ^= (uint8_t)(1 << i % 8);
		same += vms_crc32c(0, b, sizeof(b)) == c;
		b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	CU_ASSERT_EQUAL(same, 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(published_vectors),
	VMS_TEST(continued_equals_whole_at_every_cut),
	VMS_TEST(equals_reference_at_all_lengths_and_alignments),
	VMS_TEST(one_flipped_bit_changes_it),
};
VMS_TEST_MAIN("crc32c", tests)
