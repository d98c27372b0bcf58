// SPDX-License-Identifier: GPL-2.0-only
#include "target/cdb.h"

#include <string.h>

#include "target/opcodes.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"

#define CAP UINT64_C(20971520) /* 10 GiB */

static uint8_t b[16];
static struct vms_cdb c;
static struct vms_sense s;

static void cdb16(uint8_t op, uint8_t b1, uint64_t lba, uint32_t n)
{
	memset(b, 0, sizeof(b));
	b[0] = op;
	b[1] = b1;
	vms_put_be64(b + 2, lba);
	vms_put_be32(b + 10, n);
}

static void cdb10(uint8_t op, uint8_t b1, uint32_t lba, uint16_t n)
{
	memset(b, 0, sizeof(b));
	b[0] = op;
	b[1] = b1;
	vms_put_be32(b + 2, lba);
	vms_put_be16(b + 7, n);
}

static int parse(uint64_t cap)
{
	memset(&s, 0, sizeof(s));
	return vms_cdb_parse(b, vms_cdb_group_bytes(b[0]), cap, &c, &s);
}

static bool is_bad(uint8_t key, uint16_t asc)
{
	return s.status == VMS_SAM_CHECK_CONDITION && s.key == key && s.asc == asc;
}

static void read6_length_0_is_256(void)
{
	memset(b, 0, sizeof(b));
	b[0] = 0x08;
	vms_put_be24(b + 1, 0xff1234); /* the upper three bits are not LBA */
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_READ && c.lba == 0x1f1234 && c.nblocks == 256);
	CU_ASSERT_EQUAL(c.in_bytes, 256 * 512);
}

static void read_and_write_of_all_lengths(void)
{
	cdb10(0x28, 0x18, 100, 8);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_READ && c.lba == 100 && c.nblocks == 8);
	CU_ASSERT_EQUAL(c.gw_flags, VMS_GW_FUA | VMS_GW_DPO);
	CU_ASSERT_FALSE(c.write);
	memset(b, 0, sizeof(b));
	b[0] = 0xaa;
	vms_put_be32(b + 2, 7);
	vms_put_be32(b + 6, 9);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_WRITE && c.lba == 7 && c.nblocks == 9 && c.write);
	CU_ASSERT_EQUAL(c.out_bytes, 9 * 512);
	cdb16(0x8a, 0x08, CAP - 1, 1);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.lba == CAP - 1 && c.gw_flags == VMS_GW_FUA);
}

static void ranges_do_not_wrap(void)
{
	cdb16(0x88, 0, UINT64_MAX, 1);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LBA_OUT_OF_RANGE));
	CU_ASSERT(s.info_valid && s.info == UINT64_MAX);
	cdb16(0x88, 0, UINT64_MAX - 3, 8);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	cdb16(0x88, 0, 1, UINT32_MAX);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	cdb16(0x88, 0, CAP - 1, 2);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT_EQUAL(s.info, CAP); /* the first block that is not there */
}

static void nothing_at_the_end_is_allowed(void)
{
	cdb16(0x8a, 0, CAP, 0);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_TRUE(c.nothing);
	cdb16(0x8a, 0, CAP + 1, 0);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LBA_OUT_OF_RANGE));
}

static void protection_is_refused_everywhere(void)
{
	static const uint8_t ops[] = {0x28, 0x2a, 0x2e, 0x2f, 0x41, 0x88, 0x89, 0x8a,
				      0x8b, 0x8e, 0x8f, 0x93, 0xa8, 0xaa, 0xae, 0xaf};

	for (unsigned i = 0; i < sizeof(ops); i++)
		for (unsigned p = 1; p < 8; p++) {
			memset(b, 0, sizeof(b));
			b[0] = ops[i];
			b[1] = (uint8_t)(p << 5);
			b[ops[i] == 0x89		      ? 13
			  : vms_cdb_group_bytes(ops[i]) == 10 ? 8
			  : vms_cdb_group_bytes(ops[i]) == 12 ? 9
							      : 13] = 1;
			CU_ASSERT_EQUAL(parse(CAP), -1);
			CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB));
		}
}

static void transfer_limit(void)
{
	cdb16(0x88, 0, 0, VMS_XFER_BLOCKS_MAX);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	cdb16(0x88, 0, 0, VMS_XFER_BLOCKS_MAX + 1);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB));
	CU_ASSERT_EQUAL(s.field, 10);
}

static void verify_modes(void)
{
	cdb10(0x2f, 0x00, 5, 3);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_VERIFY && c.out_bytes == 0);
	cdb10(0x2f, 0x02, 5, 3);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.out_bytes == 3 * 512 && !c.repeat_block);
	cdb10(0x2f, 0x06, 5, 3);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.out_bytes == 512 && c.repeat_block);
	cdb10(0x2f, 0x04, 5, 3);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	cdb16(0x8e, 0x02, 5, 3);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_WRITE && c.verify_after && c.verify_compare && c.write);
	CU_ASSERT(c.gw_flags & VMS_GW_FUA);
}

static void write_same_forms(void)
{
	cdb10(0x41, 0x08, 0, 8);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_WRITE_SAME && c.out_bytes == 512);
	cdb16(0x93, 0x09, 0, 8);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_ZERO && c.out_bytes == 0);
	cdb16(0x93, 0x01, 0, 8); /* NDOB without UNMAP */
	CU_ASSERT_EQUAL(parse(CAP), -1);
	cdb16(0x93, 0x18, 0, 8); /* ANCHOR */
	CU_ASSERT_EQUAL(parse(CAP), -1);
	cdb16(0x93, 0x00, 0, 0); /* WSNZ */
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB));
	cdb16(0x93, 0x00, 0, VMS_WRITE_SAME_BLOCKS_MAX + 1);
	CU_ASSERT_EQUAL(parse(CAP), -1);
}

static void compare_and_write_stays_in_an_extent(void)
{
	cdb16(0x89, 0x08, VMS_EXTENT_BLOCKS - 1, 0);
	b[13] = 1;
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_CAW && c.nblocks == 1 && c.out_bytes == 1024);
	CU_ASSERT_EQUAL(c.gw_flags, VMS_GW_FUA);
	b[13] = 2;
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB));
	cdb16(0x89, 0, 0, 0);
	b[13] = VMS_CAW_BLOCKS_MAX + 1;
	CU_ASSERT_EQUAL(parse(CAP), -1);
	b[13] = 0;
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_TRUE(c.nothing);
}

static void atomic(uint64_t lba, uint16_t n, uint16_t boundary)
{
	memset(b, 0, sizeof(b));
	b[0] = 0x9c;
	vms_put_be64(b + 2, lba);
	vms_put_be16(b + 10, boundary);
	vms_put_be16(b + 12, n);
}

static void write_atomic_is_one_op_or_nothing(void)
{
	static const struct {
		uint64_t lba;
		uint16_t n, boundary;
		int field; /* -1: right */
	} t[] = {
		{0, 8, 0, -1},	       {256, 256, 0, -1},    {8192 - 256, 256, 0, -1},
		{CAP - 8, 8, 0, -1},   {0, 264, 0, 12},	     {0, 4, 0, 12},
		{4, 8, 0, 2},	       {8192 - 8, 16, 0, 2}, /* over an extent's end */
		{8192 - 8, 16, 8, -1}, {8, 4096, 4096, -1},  {8, 4104, 4096, 12},
		{0, 8, 24, 10}, /* not a power of two */
		{0, 8, 4, 10},	       {0, 8, 8192, 10},
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		atomic(t[i].lba, t[i].n, t[i].boundary);
		CU_ASSERT_EQUAL(parse(CAP), t[i].field < 0 ? 0 : -1);
		if (t[i].field < 0) {
			CU_ASSERT(c.op == VMS_GW_WRITE && c.write && c.atomic);
			CU_ASSERT(c.lba == t[i].lba && c.nblocks == t[i].n);
			CU_ASSERT_EQUAL(c.out_bytes, t[i].n * 512u);
		} else {
			CU_ASSERT(is_bad(5, VMS_ASC_INVALID_FIELD_IN_CDB));
			CU_ASSERT(s.field_in_cdb && s.field == t[i].field);
		}
	}
	/* whatever starts where VPD page B0 says lies within an extent */
	CU_ASSERT_EQUAL(VMS_EXTENT_BLOCKS % VMS_ATOMIC_BLOCKS_MAX, 0);
	CU_ASSERT_EQUAL(VMS_EXTENT_BLOCKS % VMS_ATOMIC_BOUNDARY_MAX, 0);
	atomic(CAP, 8, 0);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(5, VMS_ASC_LBA_OUT_OF_RANGE));
	atomic(0, 0, 0);
	CU_ASSERT(!parse(CAP) && c.nothing);
	/* too little data: nothing of it is written, though a WRITE would be cut */
	atomic(0, 16, 0);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 8 * 512, &s), -1);
	CU_ASSERT(is_bad(5, VMS_ASC_INVALID_FIELD_IN_COMMAND_IU));
	atomic(0, 8, 0);
	b[1] = 0x20;
	CU_ASSERT_EQUAL(parse(CAP), -1);
}

static void prefetch_and_flush(void)
{
	cdb16(0x90, 0, CAP - 10, 0);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_PREFETCH && c.nblocks == 10);
	cdb16(0x91, 0x02, CAP - 10, 11);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	cdb16(0x91, 0x02, 5, 5);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_FLUSH && c.nblocks == 0 && !c.write);
}

static void lba_status(void)
{
	cdb16(0x9e, 0x12, CAP - 1, 24);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.op == VMS_GW_LBA_STATUS && c.nblocks == 1 && c.in_bytes == 24);
	cdb16(0x9e, 0x12, 9, 24); /* inside a physical block: from the next one on */
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_EQUAL(c.lba, 16);
	cdb16(0x9e, 0x12, CAP, 24);
	CU_ASSERT_EQUAL(parse(CAP), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LBA_OUT_OF_RANGE));
}

static void short_and_long_data(void)
{
	cdb10(0x2a, 0, 10, 4);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 4096, &s), 0);
	CU_ASSERT(c.nblocks == 4 && c.out_bytes == 2048);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 1024, &s), 0); /* whole blocks: those */
	CU_ASSERT(c.nblocks == 2 && c.out_bytes == 1024 && c.cdb_out_bytes == 2048);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 200, &s), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_COMMAND_IU));
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 0, &s), 0);
	CU_ASSERT_TRUE(c.nothing);
	cdb16(0x8b, 0, 10, 4); /* ORWRITE: all or nothing */
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 1024, &s), -1);
	cdb10(0x41, 0, 10, 4);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 512, &s), 0);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 1024, &s), -1);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 256, &s), -1);
	cdb16(0x89, 0, 0, 0); /* 256 blocks do not fit into its length field */
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_EQUAL(vms_cdb_fit_data(&c, 512 * 512, &s), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_CDB));
}

static uint8_t list[8 + 16 * 70];

static void unmap_desc(unsigned i, uint64_t lba, uint32_t n)
{
	vms_put_be64(list + 8 + 16 * i, lba);
	vms_put_be32(list + 8 + 16 * i + 8, n);
	vms_put_be16(list, (uint16_t)(6 + 16 * (i + 1)));
	vms_put_be16(list + 2, (uint16_t)(16 * (i + 1)));
}

static void unmap_lists(void)
{
	struct vms_range r[VMS_UNMAP_DESCS_MAX];

	memset(list, 0, sizeof(list));
	unmap_desc(0, 8, 16);
	unmap_desc(1, 100, 0);
	unmap_desc(2, CAP - 8, 8);
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 8 + 48, CAP, r, &s), 2);
	CU_ASSERT(r[0].lba == 8 && r[0].nblocks == 16 && r[1].lba == CAP - 8);
	/* cut off inside the second descriptor: the rest is ignored */
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 8 + 24, CAP, r, &s), 1);
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 8, CAP, r, &s), 0);
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 7, CAP, r, &s), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_PARAMETER_LIST_LENGTH));
}

static void unmap_checks_all_before_any(void)
{
	struct vms_range r[VMS_UNMAP_DESCS_MAX];

	memset(list, 0, sizeof(list));
	unmap_desc(0, 8, 16);
	unmap_desc(1, UINT64_MAX - 1, 8);
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 8 + 32, CAP, r, &s), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_LBA_OUT_OF_RANGE));
	unmap_desc(0, 0, VMS_UNMAP_BLOCKS_MAX);
	unmap_desc(1, VMS_UNMAP_BLOCKS_MAX, 1);
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 8 + 32, CAP, r, &s), -1);
	CU_ASSERT(is_bad(VMS_SK_ILLEGAL_REQUEST, VMS_ASC_INVALID_FIELD_IN_PARAMETERS));
	memset(list, 0, sizeof(list));
	for (unsigned i = 0; i < 65; i++)
		unmap_desc(i, i, 1);
	CU_ASSERT_EQUAL(vms_cdb_unmap_list(list, 8 + 16 * 65, CAP, r, &s), -1);
}

static void unmap_cdb(void)
{
	memset(b, 0, sizeof(b));
	b[0] = 0x42;
	vms_put_be16(b + 7, 24);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT(c.unmap_list && c.out_bytes == 24 && c.write);
	vms_put_be16(b + 7, 0);
	CU_ASSERT_EQUAL(parse(CAP), 0);
	CU_ASSERT_TRUE(c.nothing);
	b[1] = 1;
	CU_ASSERT_EQUAL(parse(CAP), -1);
}

static void short_cdbs_are_refused(void)
{
	for (unsigned op = 0; op < 256; op++)
		for (unsigned n = 0; n < vms_cdb_group_bytes((uint8_t)op); n++) {
			memset(b, 0, sizeof(b));
			b[0] = (uint8_t)op;
			CU_ASSERT_EQUAL(vms_cdb_parse(b, n, CAP, &c, &s), -1);
		}
}

static void the_table_and_the_parser_agree(void)
{
	for (size_t i = 0; i < vms_opcodes_count; i++) {
		const struct vms_opcode *o = &vms_opcodes[i];

		if (i)
			CU_ASSERT(o[-1].opcode < o->opcode ||
				  (o[-1].opcode == o->opcode && o[-1].sa < o->sa));
		CU_ASSERT_EQUAL(o->usage[0], o->opcode);
		CU_ASSERT_EQUAL(o->cdb_bytes, vms_cdb_group_bytes(o->opcode));
		CU_ASSERT_EQUAL(o->usage[o->cdb_bytes - 1], 0x04);
		CU_ASSERT_PTR_EQUAL(vms_opcode_find(o->opcode, o->sa), o);
	}
	for (unsigned op = 0; op < 256; op++)
		for (unsigned sa = 0; sa < 32; sa++) {
			memset(b, 0, sizeof(b));
			b[0] = (uint8_t)op;
			b[1] = (uint8_t)sa;
			if (vms_cdb_is_io(b, 16))
				CU_ASSERT_PTR_NOT_NULL(vms_opcode_find((uint8_t)op, sa));
		}
}

static void opcode_reports(void)
{
	uint8_t out[VMS_OPCODES_REPORT_BYTES_MAX], r[12] = {0xa3, 0x0c};
	int n = vms_opcodes_report(r, out, sizeof(out));

	CU_ASSERT_EQUAL(n, (int)(4 + 8 * vms_opcodes_count));
	CU_ASSERT_EQUAL(vms_get_be32(out), (uint32_t)n - 4);
	r[2] = 0x80; /* RCTD */
	CU_ASSERT_EQUAL(vms_opcodes_report(r, out, sizeof(out)), (int)(4 + 20 * vms_opcodes_count));
	CU_ASSERT_EQUAL(vms_get_be16(out + 12), 0x0a);
	r[2] = 1;
	r[3] = 0x28;
	CU_ASSERT_EQUAL(vms_opcodes_report(r, out, sizeof(out)), 14);
	CU_ASSERT(out[1] == 3 && vms_get_be16(out + 2) == 10 && out[4] == 0x28);
	r[3] = 0x9e; /* has service actions */
	CU_ASSERT(vms_opcodes_report(r, out, sizeof(out)) < 0);
	r[2] = 2;
	r[5] = 0x10;
	CU_ASSERT_EQUAL(vms_opcodes_report(r, out, sizeof(out)), 20);
	CU_ASSERT_EQUAL(out[5], 0x10);
	r[3] = 0x28; /* has none */
	CU_ASSERT(vms_opcodes_report(r, out, sizeof(out)) < 0);
	r[2] = 3;
	r[3] = 0x85;
	CU_ASSERT_EQUAL(vms_opcodes_report(r, out, sizeof(out)), 4);
	CU_ASSERT_EQUAL(out[1], 1);
	r[2] = 4;
	CU_ASSERT(vms_opcodes_report(r, out, sizeof(out)) < 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(read6_length_0_is_256),
	VMS_TEST(read_and_write_of_all_lengths),
	VMS_TEST(ranges_do_not_wrap),
	VMS_TEST(nothing_at_the_end_is_allowed),
	VMS_TEST(protection_is_refused_everywhere),
	VMS_TEST(transfer_limit),
	VMS_TEST(verify_modes),
	VMS_TEST(write_same_forms),
	VMS_TEST(compare_and_write_stays_in_an_extent),
	VMS_TEST(write_atomic_is_one_op_or_nothing),
	VMS_TEST(prefetch_and_flush),
	VMS_TEST(lba_status),
	VMS_TEST(short_and_long_data),
	VMS_TEST(unmap_lists),
	VMS_TEST(unmap_checks_all_before_any),
	VMS_TEST(unmap_cdb),
	VMS_TEST(short_cdbs_are_refused),
	VMS_TEST(the_table_and_the_parser_agree),
	VMS_TEST(opcode_reports),
};
VMS_TEST_MAIN("cdb", tests)
