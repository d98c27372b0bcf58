// SPDX-License-Identifier: GPL-2.0-only
#include "target/vpd.h"

#include <string.h>

#include "include/types.h"
#include "target/cdb.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"

static struct vms_lu_ident id = {
	.uuid = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef, 0x80, 1, 2, 3, 4, 5, 6, 7},
	.nblocks = 20971520,
	.target_name = "iqn.2011-06.org.vmstore:demo",
	.portal_group = 2,
	.target_port = 2,
};
static uint8_t out[VMS_INQUIRY_BYTES_MAX], cdb[16];
static struct vms_sense s;

static int inquiry(int page)
{
	memset(cdb, 0, sizeof(cdb));
	memset(out, 0xee, sizeof(out));
	cdb[0] = 0x12;
	if (page >= 0) {
		cdb[1] = 1;
		cdb[2] = (uint8_t)page;
	}
	return vms_vpd_inquiry(&id, cdb, false, out, &s);
}

static void standard_inquiry(void)
{
	CU_ASSERT_EQUAL(inquiry(-1), 96);
	CU_ASSERT_EQUAL(out[0], 0);
	CU_ASSERT_EQUAL(out[2], 6);
	CU_ASSERT_EQUAL(out[3], 0x12);
	CU_ASSERT_EQUAL(out[4], 91);
	CU_ASSERT_EQUAL(out[5], 0x18); /* TPGS: implicit; 3PC */
	CU_ASSERT_EQUAL(out[7], 2);
	CU_ASSERT_FALSE(memcmp(out + 8, "VMSTORE VMStore disk    0001", 28));
	CU_ASSERT_EQUAL(vms_get_be16(out + 64), 0x0960);
}

/* A LUN may have a vendor, product and revision of its own; what it is known by stays. */
static void told_another_vendor(void)
{
	uint8_t page[VMS_INQUIRY_BYTES_MAX];
	int n = inquiry(0x83);

	memcpy(page, out, sizeof(page));
	id.vendor = "ACME";
	id.product = "Boot disk 16 chr";
	CU_ASSERT_EQUAL(inquiry(-1), 96);
	CU_ASSERT_FALSE(memcmp(out + 8, "ACME    Boot disk 16 chr0001", 28));
	id.product = "x";
	id.revision = "9";
	CU_ASSERT_EQUAL(inquiry(-1), 96);
	CU_ASSERT_FALSE(memcmp(out + 8, "ACME    x               9   ", 28));
	CU_ASSERT(inquiry(0x83) == n && !memcmp(page, out, (size_t)n));
	id.vendor = id.product = id.revision = NULL;
}

static void a_page_without_evpd_is_refused(void)
{
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x12;
	cdb[2] = 0x80;
	CU_ASSERT_EQUAL(vms_vpd_inquiry(&id, cdb, false, out, &s), -1);
	CU_ASSERT_EQUAL(inquiry(0xc0), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
}

static void missing_lun_says_so(void)
{
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x12;
	CU_ASSERT_EQUAL(vms_vpd_inquiry(&id, cdb, true, out, &s), 96);
	CU_ASSERT_EQUAL(out[0], 0x7f);
}

static void listed_pages_exist_and_have_right_lengths(void)
{
	uint8_t list[32];
	int n = inquiry(0);

	CU_ASSERT_EQUAL(n, 4 + 8);
	memcpy(list, out, (size_t)n);
	for (int i = 4; i < n; i++) {
		int len = inquiry(list[i]);

		if (i > 4)
			CU_ASSERT(list[i] > list[i - 1]);
		CU_ASSERT(len >= 4);
		CU_ASSERT_EQUAL(out[1], list[i]);
		CU_ASSERT_EQUAL(vms_get_be16(out + 2), len - 4);
	}
}

static void identity_is_the_uuid(void)
{
	int len;

	CU_ASSERT_EQUAL(inquiry(0x80), 36);
	CU_ASSERT_FALSE(memcmp(out + 4, "123456789abc4def8001020304050607", 32));
	len = inquiry(0x83);
	/* NAA-6 comes first: it is what multipath and udev take */
	CU_ASSERT(out[4] == 1 && out[5] == 3 && out[7] == 16);
	CU_ASSERT_FALSE(memcmp(out + 8,
			       "\x60\x25\x64\xd2\x34\x56\x78\x9a\x80\x01\x02\x03\x04\x05"
			       "\x06\x07",
			       16));
	/* designators fill the page exactly */
	int at = 4, types = 0;
	while (at < len) {
		types |= 1 << (out[at + 1] & 15);
		at += 4 + out[at + 3];
	}
	CU_ASSERT_EQUAL(at, len);
	CU_ASSERT_EQUAL(types, 1 << 3 | 1 << 1 | 1 << 8 | 1 << 10 | 1 << 4 | 1 << 5);
}

static void only_the_port_differs_between_gateways(void)
{
	struct vms_lu_ident other = id;
	uint8_t a[VMS_INQUIRY_BYTES_MAX];
	int n = inquiry(0x83), at = 4;

	memcpy(a, out, sizeof(a));
	other.target_port = 9;
	other.portal_group = 9;
	CU_ASSERT_EQUAL(vms_vpd_inquiry(&other, cdb, false, out, &s), n);
	while (at < n) {
		int d = 4 + a[at + 3];
		bool port = (a[at + 1] & 0x30) == 0x10;

		CU_ASSERT_EQUAL(memcmp(a + at, out + at, (size_t)d) != 0, port);
		at += d;
	}
}

static void block_limits_tell_the_parsers_limits(void)
{
	CU_ASSERT_EQUAL(inquiry(0xb0), 64);
	CU_ASSERT_EQUAL(out[4], 1);
	CU_ASSERT_EQUAL(out[5], VMS_CAW_BLOCKS_MAX);
	CU_ASSERT_EQUAL(vms_get_be16(out + 6), 8);
	CU_ASSERT_EQUAL(vms_get_be32(out + 8), VMS_XFER_BLOCKS_MAX);
	CU_ASSERT_EQUAL(vms_get_be32(out + 20), VMS_UNMAP_BLOCKS_MAX);
	CU_ASSERT_EQUAL(vms_get_be32(out + 24), VMS_UNMAP_DESCS_MAX);
	CU_ASSERT_EQUAL(vms_get_be32(out + 28), 8);
	CU_ASSERT_EQUAL(vms_get_be32(out + 32), 0x80000000u);
	CU_ASSERT_EQUAL(vms_get_be64(out + 36), VMS_WRITE_SAME_BLOCKS_MAX);
	/* atomic writes: what is aligned to the maximum never crosses an extent */
	CU_ASSERT_EQUAL(vms_get_be32(out + 44), VMS_ATOMIC_BLOCKS_MAX);
	CU_ASSERT_EQUAL(vms_get_be32(out + 48), VMS_ATOMIC_BLOCKS_MAX);
	CU_ASSERT_EQUAL(vms_get_be32(out + 52), 8);
	CU_ASSERT_EQUAL(vms_get_be32(out + 56), VMS_ATOMIC_BLOCKS_MAX_BOUNDARY);
	CU_ASSERT_EQUAL(vms_get_be32(out + 60), VMS_ATOMIC_BOUNDARY_MAX);
}

static void thin_and_non_rotating(void)
{
	inquiry(0xb1);
	CU_ASSERT_EQUAL(vms_get_be16(out + 4), 1);
	CU_ASSERT_EQUAL(inquiry(0xb2), 8);
	CU_ASSERT_EQUAL(out[5], 0xe4);
	CU_ASSERT_EQUAL(out[6], 2);
}

static int sense6(uint8_t b1, uint8_t page, uint8_t sub);
static int select6(uint8_t *list, uint8_t n);

static void the_threshold_is_told(void)
{
	uint8_t l[64];

	inquiry(0xb2);
	CU_ASSERT(out[4] == 0 && out[7] == 0);
	CU_ASSERT_EQUAL(sense6(8, 0x1c, 2), -1);
	id.thin_soft_percent = 80;
	CU_ASSERT_EQUAL(inquiry(0xb2), 8);
	/* less than 2^32 sets in the largest volume; a percentage, to 1 % */
	CU_ASSERT((VMS_VOL_BYTES_MAX / VMS_LB_BYTES) >> out[4] < 1ull << 32 && out[4]);
	CU_ASSERT_EQUAL(out[7], 10);
	CU_ASSERT_EQUAL(sense6(8, 0x1c, 2), 4 + 24);
	CU_ASSERT(out[4] == 0x5c && out[5] == 2 && vms_get_be16(out + 6) == 20);
	CU_ASSERT_EQUAL(out[8], 0);	/* every nexus is told */
	CU_ASSERT_EQUAL(out[20], 0x88); /* enabled, percentage, armed decreasing */
	CU_ASSERT_EQUAL(out[21], 3);	/* of what is available */
	CU_ASSERT_EQUAL(vms_get_be32(out + 24), 20);
	memcpy(l, out, 28);
	l[0] = 0;
	CU_ASSERT_EQUAL(select6(l, 28), 0);
	l[27] = 10;
	CU_ASSERT_EQUAL(select6(l, 28), -1); /* not to be changed from here */
	CU_ASSERT_EQUAL(s.field, 27);
	CU_ASSERT_EQUAL(sense6(8, 0x5c, 2), 4 + 24); /* changeable values */
	CU_ASSERT_EQUAL(out[20], 0);
	CU_ASSERT_EQUAL(sense6(8, 0x1c, 0xff), 4 + 24);
	CU_ASSERT_EQUAL(sense6(8, 0x3f, 0xff), 4 + 20 + 12 + 32 + 24);
	CU_ASSERT_EQUAL(sense6(8, 0x3f, 0), 4 + 20 + 12);
	CU_ASSERT_EQUAL(sense6(8, 0x1c, 0), -1); /* informational exceptions: not offered */
	CU_ASSERT_EQUAL(sense6(8, 0x0a, 2), -1);
	id.thin_soft_percent = 0;
}

static void capacities(void)
{
	struct vms_lu_ident big = id;

	memset(cdb, 0, sizeof(cdb));
	CU_ASSERT_EQUAL(vms_vpd_read_capacity10(&id, cdb, out, &s), 8);
	CU_ASSERT_EQUAL(vms_get_be32(out), 20971519);
	CU_ASSERT_EQUAL(vms_get_be32(out + 4), 512);
	big.nblocks = UINT64_C(0x100000000);
	vms_vpd_read_capacity10(&big, cdb, out, &s);
	CU_ASSERT_EQUAL(vms_get_be32(out), UINT32_MAX);
	big.nblocks++;
	vms_vpd_read_capacity10(&big, cdb, out, &s);
	CU_ASSERT_EQUAL(vms_get_be32(out), UINT32_MAX);
	CU_ASSERT_EQUAL(vms_vpd_read_capacity16(&big, cdb, out, &s), 32);
	CU_ASSERT_EQUAL(vms_get_be64(out), UINT64_C(0x100000000));
	CU_ASSERT_EQUAL(out[13], 3);
	CU_ASSERT_EQUAL(out[14], 0xc0);
	vms_put_be32(cdb + 2, 1); /* an LBA without PMI */
	CU_ASSERT_EQUAL(vms_vpd_read_capacity10(&id, cdb, out, &s), -1);
}

static struct vms_mode m;

static int sense6(uint8_t b1, uint8_t page, uint8_t sub)
{
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x1a;
	cdb[1] = b1;
	cdb[2] = page;
	cdb[3] = sub;
	return vms_vpd_mode_sense(&id, &m, cdb, out, &s);
}

static void mode_sense_pages(void)
{
	memset(&m, 0, sizeof(m));
	CU_ASSERT_EQUAL(sense6(8, 0x08, 0), 4 + 20);
	CU_ASSERT_EQUAL(out[0], 23);
	CU_ASSERT_EQUAL(out[2], 0x10);
	CU_ASSERT(out[4] == 0x08 && out[5] == 18 && !(out[6] & 4));
	CU_ASSERT_EQUAL(sense6(0, 0x3f, 0), 4 + 8 + 20 + 12);
	CU_ASSERT_EQUAL(out[3], 8);
	CU_ASSERT_EQUAL(vms_get_be32(out + 8), 512);
	CU_ASSERT_EQUAL(sense6(8, 0x3f, 0xff), 4 + 20 + 12 + 32);
	CU_ASSERT_EQUAL(sense6(8, 0x0a, 1), 4 + 32);
	CU_ASSERT_EQUAL(sense6(8, 0x1c, 0), -1);
	CU_ASSERT_EQUAL(sense6(8, 0x08, 3), -1);
	CU_ASSERT_EQUAL(sense6(8, 0xc8, 0), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_SAVING_NOT_SUPPORTED);
}

static void write_cache_is_what_the_volume_has(void)
{
	id.write_cache = true;
	sense6(8, 0x08, 0);
	CU_ASSERT_EQUAL(out[6] & 4, 4);
	sense6(8, 0x48, 0);
	CU_ASSERT_EQUAL(out[6], 0); /* and cannot be changed */
	id.write_cache = false;
}

static void mode_sense_10_long_descriptor(void)
{
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x5a;
	cdb[1] = 0x10;
	cdb[2] = 0x0a;
	CU_ASSERT_EQUAL(vms_vpd_mode_sense(&id, &m, cdb, out, &s), 8 + 16 + 12);
	CU_ASSERT_EQUAL(vms_get_be16(out), 34);
	CU_ASSERT_EQUAL(out[4], 1);
	CU_ASSERT_EQUAL(vms_get_be16(out + 6), 16);
	CU_ASSERT_EQUAL(vms_get_be64(out + 8), id.nblocks);
}

static int select6(uint8_t *list, uint8_t n)
{
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x15;
	cdb[1] = 0x10;
	cdb[4] = n;
	return vms_vpd_mode_select(&id, &m, cdb, list, n, &s);
}

static void mode_select_changes_what_may_change(void)
{
	uint8_t l[64];

	memset(&m, 0, sizeof(m));
	CU_ASSERT_EQUAL(sense6(8, 0x0a, 0), 16);
	CU_ASSERT_EQUAL(out[4 + 5], 0x40); /* TAS, as aborts do; it cannot be changed */
	memcpy(l, out, 16);
	l[0] = 0;
	CU_ASSERT_EQUAL(select6(l, 16), 0);
	l[4 + 4] |= 8; /* SWP */
	CU_ASSERT_EQUAL(select6(l, 16), 1);
	CU_ASSERT_TRUE(m.swp);
	sense6(8, 0x0a, 0);
	CU_ASSERT_EQUAL(out[2] & 0x80, 0x80);
	CU_ASSERT_EQUAL(out[4 + 4] & 8, 8);
	l[4 + 3] = 0; /* queue algorithm: fixed */
	l[4 + 4] = 0;
	CU_ASSERT_EQUAL(select6(l, 16), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_PARAMETERS);
	CU_ASSERT_EQUAL(s.field, 7);
	CU_ASSERT_TRUE(m.swp); /* nothing of it was applied */
	m.swp = false;
}

static void mode_select_rejects_broken_lists(void)
{
	uint8_t l[64];

	sense6(8, 0x0a, 0);
	memcpy(l, out, 16);
	l[0] = 0;
	CU_ASSERT_EQUAL(select6(l, 15), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_PARAMETER_LIST_LENGTH);
	CU_ASSERT_EQUAL(select6(l, 3), -1);
	CU_ASSERT_EQUAL(select6(l, 0), 0);
	l[3] = 200; /* block descriptors beyond the end */
	CU_ASSERT_EQUAL(select6(l, 16), -1);
	memcpy(l, out, 16);
	memset(cdb, 0, sizeof(cdb));
	cdb[0] = 0x15;
	cdb[1] = 0x11; /* SP */
	cdb[4] = 16;
	CU_ASSERT_EQUAL(vms_vpd_mode_select(&id, &m, cdb, l, 16, &s), -1);
	CU_ASSERT_EQUAL(s.asc, VMS_ASC_INVALID_FIELD_IN_CDB);
}

static const struct vms_test tests[] = {
	VMS_TEST(standard_inquiry),
	VMS_TEST(told_another_vendor),
	VMS_TEST(a_page_without_evpd_is_refused),
	VMS_TEST(missing_lun_says_so),
	VMS_TEST(listed_pages_exist_and_have_right_lengths),
	VMS_TEST(identity_is_the_uuid),
	VMS_TEST(only_the_port_differs_between_gateways),
	VMS_TEST(block_limits_tell_the_parsers_limits),
	VMS_TEST(thin_and_non_rotating),
	VMS_TEST(the_threshold_is_told),
	VMS_TEST(capacities),
	VMS_TEST(mode_sense_pages),
	VMS_TEST(write_cache_is_what_the_volume_has),
	VMS_TEST(mode_sense_10_long_descriptor),
	VMS_TEST(mode_select_changes_what_may_change),
	VMS_TEST(mode_select_rejects_broken_lists),
};
VMS_TEST_MAIN("vpd", tests)
