// SPDX-License-Identifier: GPL-2.0-only
#include "backend/overlay.h"
#include "tests/unit/cunit.h"

static struct vms_ovl o;
static struct vms_ovl_part part;
static struct vms_ovl_ext *e;

static void begin(void)
{
	part = (struct vms_ovl_part){0};
	vms_ovl_init(&o);
	e = vms_ovl_ext_get(&o, &part, 1, 1, 0, 1, true);
}

static void end(void)
{
	vms_ovl_part_drop(&o, &part);
	vms_ovl_close(&o);
}

static void write_at(uint16_t chunk, uint64_t seq, uint8_t mask)
{
	vms_ovl_piece_add(&o, vms_ovl_chunk_get(&o, e, chunk, true), seq, mask, false, seq * 4096,
			  seq << 12, 0);
}

static void newer_pieces_cover_older_ones(void)
{
	struct vms_ovl_view v;

	begin();
	write_at(5, 10, 0xff);
	write_at(5, 12, 0x0f);
	vms_ovl_view(&o, e, 5, 11, &v);
	CU_ASSERT(v.have == 0xff && v.newest_seq == 10 && v.uncommitted);
	vms_ovl_view(&o, e, 5, 12, &v);
	CU_ASSERT(v.have == 0xff && v.newest_seq == 12 && v.src[0]->seq == 12 && v.src[7]->seq == 10);
	end();
}

static void a_range_shows_zeros_under_newer_pieces(void)
{
	struct vms_ovl_view v;

	begin();
	write_at(5, 10, 0xff);
	vms_ovl_range_add(&o, e, 11, 0, 0, 100);
	write_at(5, 12, 0xfe);
	vms_ovl_view(&o, e, 5, 12, &v);
	CU_ASSERT(v.have == 0xfe && v.zero == 0x01 && v.newest_seq == 12);
	end();
}

/* A backup gets the records of a write, a range over it, a partial write and the
 * drain of that one before it hears that the range is committed: the pinned chunk
 * keeps its oldest piece, which must not come back when the range is drained. */
static void a_drained_range_takes_along_what_it_covered(void)
{
	struct vms_ovl_chunk *c;
	struct vms_ovl_view v;

	begin();
	write_at(5, 10, 0xff);
	write_at(100, 10, 0xff); /* behind the range */
	vms_ovl_range_add(&o, e, 11, 0, 0, 100);
	write_at(5, 12, 0xfe);
	c = vms_ovl_chunk_get(&o, e, 5, false);
	c->pins++;
	vms_ovl_commit_range(&o, e, 0, 100, 12);
	CU_ASSERT_EQUAL(part.npieces, 3); /* nothing dropped: pinned */
	vms_ovl_range_drained(&o, e, 0, 11);
	vms_ovl_view(&o, e, 5, 12, &v);
	CU_ASSERT(v.have == 0xfe && v.zero == 0 && v.newest_seq == 12);
	CU_ASSERT_EQUAL(part.npieces, 2);
	CU_ASSERT_EQUAL(part.nranges, 0);
	vms_ovl_view(&o, e, 100, 12, &v);
	CU_ASSERT_EQUAL(v.newest_seq, 10);
	c->pins--;
	end();
}

static void a_drain_leaves_newer_pieces(void)
{
	struct vms_ovl_view v;

	begin();
	write_at(5, 10, 0xff);
	write_at(5, 12, 0x01);
	vms_ovl_drained(&o, vms_ovl_chunk_get(&o, e, 5, false), 10);
	vms_ovl_view(&o, e, 5, 12, &v);
	CU_ASSERT(v.have == 0x01 && v.newest_seq == 12);
	CU_ASSERT_EQUAL(part.npieces, 1);
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(newer_pieces_cover_older_ones),
	VMS_TEST(a_range_shows_zeros_under_newer_pieces),
	VMS_TEST(a_drained_range_takes_along_what_it_covered),
	VMS_TEST(a_drain_leaves_newer_pieces),
};

VMS_TEST_MAIN("backend/overlay", tests)
