// SPDX-License-Identifier: GPL-2.0-only
#include "backend/record.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static uint8_t data[8192], buf[65536], meta[VMS_MOVES_META_MAX];

static uint32_t make_write(struct vms_rec *r)
{
	struct vms_piece p[2] = {{.chunk = 3, .count = 1, .mask = 0xff},
				 {.chunk = 9, .count = 1, .mask = 0x05}};
	struct vms_iov iov[2] = {{data, 4096}, {data + 4096, 1024}};

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	p[0].crc = vms_crc32c(0, data, 4096);
	p[1].crc = vms_crc32c(0, data + 4096, 1024);
	vms_rec_pieces_encode(meta, p, 2);
	*r = (struct vms_rec){.type = VMS_REC_WRITE,
			      .flags = VMS_RF_MEMORY,
			      .partition = 77,
			      .epoch = 5,
			      .seq = 1234567890123ull,
			      .branch = 42,
			      .snap_gen = 6,
			      .extent = 99,
			      .aux = 17,
			      .first_pos = 1ull << 40,
			      .op = {2, 31, 7, 88},
			      .outcome = VMS_E_MISCOMPARE,
			      .outcome_aux = 512,
			      .meta_bytes = vms_rec_pieces_bytes(2),
			      .payload_bytes = 5120,
			      .meta = meta};
	(void)vms_rec_encode(r, iov, 2, buf, 0);
	return vms_rec_bytes(r->meta_bytes, r->payload_bytes);
}

static void write_comes_back(void)
{
	struct vms_rec r, d;
	struct vms_piece p[2];
	uint32_t n = make_write(&r);

	CU_ASSERT_EQUAL(n % 8, 0);
	CU_ASSERT_EQUAL(vms_rec_decode(buf, n, &d, true), n);
	CU_ASSERT_EQUAL(d.type, VMS_REC_WRITE);
	CU_ASSERT_EQUAL(d.flags, VMS_RF_MEMORY);
	CU_ASSERT_EQUAL(d.partition, 77);
	CU_ASSERT_EQUAL(d.epoch, 5);
	CU_ASSERT_EQUAL(d.seq, 1234567890123ull);
	CU_ASSERT_EQUAL(d.branch, 42);
	CU_ASSERT_EQUAL(d.snap_gen, 6);
	CU_ASSERT_EQUAL(d.extent, 99);
	CU_ASSERT_EQUAL(d.aux, 17);
	CU_ASSERT_EQUAL(d.first_pos, 1ull << 40);
	CU_ASSERT_EQUAL(d.op.gateway, 2);
	CU_ASSERT_EQUAL(d.op.slot, 31);
	CU_ASSERT_EQUAL(d.op.incarnation, 7);
	CU_ASSERT_EQUAL(d.op.sequence, 88);
	CU_ASSERT_EQUAL(d.outcome, VMS_E_MISCOMPARE);
	CU_ASSERT_EQUAL(d.outcome_aux, 512);
	CU_ASSERT_EQUAL(d.payload_bytes, 5120);
	CU_ASSERT_EQUAL(memcmp(d.payload, data, 5120), 0);
	CU_ASSERT_EQUAL(vms_rec_pieces_decode(&d, p, 2), 2);
	CU_ASSERT_EQUAL(p[0].chunk, 3);
	CU_ASSERT_EQUAL(p[1].mask, 5);
	CU_ASSERT_EQUAL(vms_rec_pieces_decode(&d, p, 1), VMS_E_CORRUPT);
}

static void each_damaged_byte_is_found(void)
{
	struct vms_rec r, d;
	uint32_t n = make_write(&r), padding = n - 120 - r.meta_bytes - r.payload_bytes;
	unsigned missed = 0;

	for (uint32_t i = 0; i < n - padding; i++) {
		buf[i] ^= 0x40;
		missed += vms_rec_decode(buf, n, &d, true) >= 0;
		buf[i] ^= 0x40;
	}
	CU_ASSERT_EQUAL(missed, 0);
	/* the payload is looked at only when asked */
	buf[n - padding - 1] ^= 1;
	CU_ASSERT_EQUAL(vms_rec_decode(buf, n, &d, false), n);
}

static void each_short_length_is_refused(void)
{
	struct vms_rec r, d;
	uint32_t n = make_write(&r);
	unsigned missed = 0;

	for (uint32_t i = 0; i < n; i++)
		missed += vms_rec_decode(buf, i, &d, true) >= 0;
	CU_ASSERT_EQUAL(missed, 0);
}

static int pieces(uint8_t type, const struct vms_piece *p, unsigned n, uint32_t payload)
{
	struct vms_piece out[8];
	struct vms_rec r = {.type = type, .meta = meta, .payload_bytes = payload};

	vms_rec_pieces_encode(meta, p, n);
	r.meta_bytes = vms_rec_pieces_bytes(n);
	return vms_rec_pieces_decode(&r, out, 8);
}

static void pieces_that_no_one_makes_are_refused(void)
{
	struct vms_piece overlap[2] = {{4, 1, 0xff, 0, 0}, {4, 1, 0xff, 0, 0}};
	struct vms_piece range = {1023, 2, 0xff, 0, 0};
	struct vms_piece empty = {1, 1, 0, 0, 0};
	struct vms_piece part_run = {1, 2, 0x0f, 0, 0};
	struct vms_piece run = {1000, 24, 0xff, 0, 0};

	CU_ASSERT_EQUAL(pieces(VMS_REC_WRITE, overlap, 2, 8192), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(pieces(VMS_REC_ZERO, &range, 1, 0), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(pieces(VMS_REC_ZERO, &empty, 1, 0), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(pieces(VMS_REC_ZERO, &part_run, 1, 0), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(pieces(VMS_REC_ZERO, &run, 1, 0), 1);
	CU_ASSERT_EQUAL(pieces(VMS_REC_ZERO, &run, 1, 512), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(pieces(VMS_REC_WRITE, &run, 1, 24 * 4096), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(pieces(VMS_REC_ZERO, &run, 0, 0), VMS_E_CORRUPT);
}

static int moves(const struct vms_move *m, unsigned n)
{
	static struct vms_move out[64];
	struct vms_rec r = {.type = VMS_REC_DRAIN, .meta = meta};

	vms_rec_moves_encode(meta, m, n);
	r.meta_bytes = vms_rec_moves_bytes(n);
	return vms_rec_moves_decode(&r, out, 64);
}

static void moves_come_back_and_wrong_ones_do_not(void)
{
	struct vms_move m[3] = {
		{.branch = 1,
		 .snap_gen = 2,
		 .extent = 3,
		 .chunk = 4,
		 .valid = 0xff,
		 .crc = 9,
		 .from_seq = 10,
		 .to = VMS_ADDR_HOLE},
		{.branch = 1, .chunk = 5, .valid = 0xff, .to = vms_addr_make(8, 8192)},
		{.branch = 1, .chunk = 1023, .valid = 0x0f, .to = vms_addr_make(8, 12288)},
	};
	struct vms_move out[3];
	struct vms_rec r = {.type = VMS_REC_DRAIN, .meta = meta};

	CU_ASSERT_EQUAL(moves(m, 3), 3);
	r.meta_bytes = vms_rec_moves_bytes(3);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 3), 3);
	CU_ASSERT_EQUAL(out[0].from_seq, 10);
	CU_ASSERT_EQUAL(out[2].valid, 0x0f);
	CU_ASSERT_EQUAL(out[2].to, vms_addr_make(8, 12288));
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 2), VMS_E_CORRUPT);
	r.meta_bytes--;
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 3), VMS_E_CORRUPT);
	m[2].to = m[1].to;
	CU_ASSERT_EQUAL(moves(m, 3), VMS_E_CORRUPT);
	m[2].to = vms_addr_make(9, 12288);
	CU_ASSERT_EQUAL(moves(m, 3), VMS_E_CORRUPT);
	m[2].to = vms_addr_make(8, 12289);
	CU_ASSERT_EQUAL(moves(m, 3), VMS_E_CORRUPT);
	m[2].to = vms_addr_make(8, 12288);
	m[2].chunk = 1024;
	CU_ASSERT_EQUAL(moves(m, 3), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(moves(m, 0), 0);
}

/* fingerprints behind the moves; references among places */
static void moves_with_references(void)
{
	struct vms_move m[4] = {
		{.branch = 1, .chunk = 4, .valid = 0xff, .to = VMS_ADDR_HOLE},
		{.branch = 1,
		 .chunk = 5,
		 .valid = 0xff,
		 .crc = 7,
		 .to = vms_addr_make(8, 8192),
		 .has_fp = true,
		 .fp = {0, 0, 9}},
		{.branch = 1,
		 .chunk = 6,
		 .valid = 0xff,
		 .flags = VMS_MOVE_REF,
		 .to = vms_addr_make(3, 8192)},
		{.branch = 1, .chunk = 7, .valid = 0xff, .to = vms_addr_make(8, 12288)},
	};
	struct vms_move out[4];
	struct vms_rec r = {.type = VMS_REC_DRAIN};

	vms_rec_moves_put(&r, meta, m, 4);
	CU_ASSERT_EQUAL(r.aux, VMS_MOVES_FP);
	CU_ASSERT_EQUAL(r.meta_bytes, vms_rec_moves_bytes(4) + 4 * VMS_MOVE_FP_BYTES);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), 4);
	CU_ASSERT_TRUE(out[1].has_fp && !memcmp(out[1].fp, m[1].fp, 32));
	CU_ASSERT_FALSE(out[0].has_fp || out[2].has_fp || out[3].has_fp);
	CU_ASSERT_EQUAL(out[2].to, m[2].to);
	CU_ASSERT_FALSE(vms_move_placed(&out[2]));
	CU_ASSERT_TRUE(vms_move_placed(&out[3]));
	/* lengths that do not fit what aux says */
	r.aux = 0;
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	r.aux = 3;
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	r.aux = VMS_MOVES_FP;
	r.meta_bytes -= 32;
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	/* a hole has no fingerprint and is no reference; a range is neither */
	m[0].has_fp = true;
	m[0].fp[0] = 1;
	vms_rec_moves_put(&r, meta, m, 4);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	m[0].has_fp = false;
	m[0].flags = VMS_MOVE_REF;
	vms_rec_moves_put(&r, meta, m, 4);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	m[0].flags = VMS_MOVE_REF | VMS_MOVE_RANGE;
	vms_rec_moves_put(&r, meta, m, 4);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	m[0].flags = 0;
	m[2].to++;
	vms_rec_moves_put(&r, meta, m, 4);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), VMS_E_CORRUPT);
	/* without any fingerprint nothing follows */
	m[2].to--;
	m[1].has_fp = false;
	vms_rec_moves_put(&r, meta, m, 4);
	CU_ASSERT_EQUAL(r.aux, 0);
	CU_ASSERT_EQUAL(vms_rec_moves_decode(&r, out, 4), 4);
}

static void drops_and_punches(void)
{
	struct vms_drop d[2] = {{1, 2, 3}, {4, 5, 6}}, dout[VMS_DROPS_MAX];
	struct vms_punch x[2] = {{3, 0xff}, {7, 1ull << 63}}, xout[4];
	struct vms_rec r = {.type = VMS_REC_DROP};
	uint64_t ctr;

	vms_rec_drops_put(&r, meta, d, 2);
	CU_ASSERT_EQUAL(vms_rec_drops_decode(&r, dout), 2);
	CU_ASSERT_EQUAL(dout[1].branch, 4);
	CU_ASSERT_EQUAL(dout[1].snap_gen, 5);
	CU_ASSERT_EQUAL(dout[1].subext, 6);
	r.meta_bytes--;
	CU_ASSERT_EQUAL(vms_rec_drops_decode(&r, dout), VMS_E_CORRUPT);
	r.meta_bytes++;
	meta[8 + 20] = 1;
	CU_ASSERT_EQUAL(vms_rec_drops_decode(&r, dout), VMS_E_CORRUPT);
	vms_rec_punch_put(&r, meta, 99, x, 2);
	CU_ASSERT_EQUAL(vms_rec_punch_decode(&r, &ctr, xout, 4), 2);
	CU_ASSERT_EQUAL(ctr, 99);
	CU_ASSERT_TRUE(xout[1].seg == 7 && xout[1].places == 1ull << 63);
	CU_ASSERT_EQUAL(vms_rec_punch_decode(&r, &ctr, xout, 1), VMS_E_CORRUPT);
	x[1].seg = 3;
	vms_rec_punch_put(&r, meta, 99, x, 2);
	CU_ASSERT_EQUAL(vms_rec_punch_decode(&r, &ctr, xout, 4), VMS_E_CORRUPT);
	x[1] = (struct vms_punch){4, 0};
	vms_rec_punch_put(&r, meta, 99, x, 2);
	CU_ASSERT_EQUAL(vms_rec_punch_decode(&r, &ctr, xout, 4), VMS_E_CORRUPT);
}

static const struct vms_test tests[] = {
	VMS_TEST(drops_and_punches),
	VMS_TEST(write_comes_back),
	VMS_TEST(each_damaged_byte_is_found),
	VMS_TEST(each_short_length_is_refused),
	VMS_TEST(pieces_that_no_one_makes_are_refused),
	VMS_TEST(moves_come_back_and_wrong_ones_do_not),
	VMS_TEST(moves_with_references),
};
VMS_TEST_MAIN("record", tests)
