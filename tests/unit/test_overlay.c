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
	CU_ASSERT(v.have == 0xff && v.newest_seq == 12 && v.src[0]->seq == 12 &&
		  v.src[7]->seq == 10);
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

/* ---- stacks of layers ---- */

static void layer_write(uint64_t branch, uint64_t gen, uint16_t chunk, uint64_t seq, uint8_t mask)
{
	struct vms_ovl_ext *x = vms_ovl_ext_get(&o, &part, 1, branch, 0, gen, true);

	vms_ovl_piece_add(&o, vms_ovl_chunk_get(&o, x, chunk, true), seq, mask, false, seq * 4096,
			  seq << 12, 0);
}

static void see(const struct vms_stack *st, uint16_t chunk, uint64_t committed, vms_addr entry,
		struct vms_ovl_view *v)
{
	struct vms_ovl_stack s;

	vms_ovl_stack(&o, 1, st, 0, &s);
	vms_ovl_view_stack(&o, &s, chunk, committed, entry, v);
}

static void a_line_keeps_its_numbers_in_order(void)
{
	static const uint64_t gens[] = {5, 9, 7, 2, 8};
	struct vms_ovl_ext *x, *head;
	unsigned n = 0;

	begin(); /* has number 1, empty */
	for (unsigned i = 0; i < 5; i++)
		layer_write(1, gens[i], 3, 10 + i, 0xff);
	for (unsigned pass = 0; pass < 2; pass++) {
		uint64_t last = UINT64_MAX;

		head = vms_ovl_line(&o, 1, 1, 0, UINT64_MAX);
		for (x = head, n = 0; x; x = x->older, n++) {
			CU_ASSERT_TRUE(x->snap_gen < last);
			CU_ASSERT_PTR_EQUAL(x->older ? x->older->newer : x, x);
			CU_ASSERT_PTR_EQUAL(vms_ovl_ext_get(&o, &part, 1, 1, 0, x->snap_gen, false),
					    x);
			last = x->snap_gen;
		}
		CU_ASSERT_EQUAL(n, pass ? 4 : 6);
		CU_ASSERT_EQUAL(head->snap_gen, pass ? 8 : 9);
		CU_ASSERT_EQUAL(vms_ovl_line(&o, 1, 1, 0, 6)->snap_gen, pass ? 2 : 5);
		/* the newest and one in the middle go */
		for (uint64_t g = 5; g <= 9 && !pass; g += 4) {
			struct vms_ovl_chunk *c;

			x = vms_ovl_ext_get(&o, &part, 1, 1, 0, g, false);
			c = vms_ovl_chunk_get(&o, x, 3, false);
			vms_ovl_drained(&o, c, UINT64_MAX);
			vms_ovl_chunk_tidy(&o, c);
			vms_ovl_ext_tidy(&o, x);
		}
	}
	CU_ASSERT_PTR_NULL(vms_ovl_line(&o, 1, 1, 0, 0));
	CU_ASSERT_PTR_NULL(vms_ovl_line(&o, 1, 2, 0, 9));
	CU_ASSERT_PTR_NULL(vms_ovl_line(&o, 2, 1, 0, 9));
	end();
}

static void layers_show_through_sector_by_sector(void)
{
	struct vms_stack st = {3, {{9, 4, UINT64_MAX}, {1, 2, 100}, {0, 7, 100}}};
	struct vms_ovl_view v;

	begin();
	layer_write(0, 7, 5, 8, 0xff);
	layer_write(0, 8, 5, 9, 0xff); /* above the ceiling */
	layer_write(1, 2, 5, 10, 0x3c);
	layer_write(1, 3, 5, 11, 0xff); /* above the ceiling */
	layer_write(9, 3, 5, 12, 0x10);
	layer_write(9, 4, 5, 13, 0x20);
	see(&st, 5, 20, 0, &v);
	CU_ASSERT(v.have == 0xff && v.newest_seq == 13 && !v.uncommitted);
	CU_ASSERT(v.src[5]->seq == 13 && v.src[4]->seq == 12 && v.src[3]->seq == 10 &&
		  v.src[2]->seq == 10 && v.src[0]->seq == 8);
	CU_ASSERT_EQUAL(v.addr, 13 << 12);
	CU_ASSERT_EQUAL(v.min_seq, 8);
	see(&st, 5, 12, 0, &v);
	CU_ASSERT(v.uncommitted && v.newest_seq == 12 && v.src[5]->seq == 10);
	/* behind the limit nothing of the ancestors shows */
	layer_write(0, 7, 100, 14, 0xff);
	layer_write(0, 7, 99, 15, 0xff);
	see(&st, 100, 20, 77, &v);
	CU_ASSERT(v.have == 0 && v.newest_seq == 0 && v.addr == 77);
	see(&st, 99, 20, 77, &v);
	CU_ASSERT_EQUAL(v.have, 0xff);
	/* a range of a newer layer hides all below it */
	vms_ovl_range_add(&o, vms_ovl_ext_get(&o, &part, 1, 9, 0, 4, true), 16, 0, 90, 20);
	see(&st, 99, 20, 77, &v);
	CU_ASSERT(v.zero == 0xff && v.have == 0 && v.addr == VMS_ADDR_HOLE);
	see(&st, 99, 15, 77, &v);
	CU_ASSERT(v.have == 0xff && v.uncommitted);
	/* a snapshot does not see what is newer */
	st.l[0].snap_gen = 3;
	see(&st, 5, 20, 0, &v);
	CU_ASSERT(v.newest_seq == 12 && v.src[5]->seq == 10 && !v.uncommitted);
	end();
}

static void a_stub_of_any_layer_counts_for_its_address_only(void)
{
	struct vms_stack st = {2, {{9, 4, UINT64_MAX}, {1, 1, 100}}};
	struct vms_ovl_stack s;
	struct vms_ovl_view v;

	begin();
	vms_ovl_stub_set(&o, vms_ovl_chunk_get(&o, e, 5, true), 1000, 2000, 7);
	see(&st, 5, 20, 2000, &v);
	CU_ASSERT(v.newest_seq == 0 && v.addr == 1000);
	see(&st, 5, 20, 3000, &v); /* the page has gone on since */
	CU_ASSERT_EQUAL(v.addr, 3000);
	layer_write(9, 4, 5, 12, 0x10);
	see(&st, 5, 20, 2000, &v);
	CU_ASSERT(v.newest_seq == 12 && v.addr == 12 << 12);
	vms_ovl_stack(&o, 1, &st, 0, &s);
	CU_ASSERT_EQUAL(vms_ovl_handed(&o, &s, 5, 2000), 1000);
	CU_ASSERT_EQUAL(vms_ovl_handed(&o, &s, 6, 2000), 2000);
	st.l[1].limit_chunks = 5;
	vms_ovl_stack(&o, 1, &st, 0, &s);
	CU_ASSERT_EQUAL(vms_ovl_handed(&o, &s, 5, 2000), 2000);
	end();
}

static void undrained_is_what_no_record_takes(void)
{
	struct vms_ovl_chunk *c;

	begin();
	write_at(5, 10, 0xff);
	c = vms_ovl_chunk_get(&o, e, 5, false);
	CU_ASSERT_TRUE(vms_ovl_undrained(e, c));
	c->pins = 1;
	c->pin_seq = 10;
	CU_ASSERT_FALSE(vms_ovl_undrained(e, c));
	write_at(5, 12, 0x01);
	CU_ASSERT_TRUE(vms_ovl_undrained(e, c));
	/* a range over it is drained for it */
	vms_ovl_range_add(&o, e, 13, 0, 0, 100);
	CU_ASSERT_FALSE(vms_ovl_undrained(e, c));
	c->pins = 0;
	end();
}

/* Addresses of chunks that lie next to each other are found in one cache line, and all of
 * them are found, however often the table has grown. */
static void neighbours_share_a_line(void)
{
	static struct vms_hlink l[20000];
	struct vms_htab t;
	unsigned apart = 0, wrong = 0;

	vms_htab_init_addrs(&t, 16);
	for (unsigned i = 0; i < 20000; i++)
		vms_htab_add(&t, &l[i], vms_addr_make(5 + i / 5000, 4096 * (8 + i % 5000)));
	CU_ASSERT_TRUE(t.mask > 16);
	for (unsigned i = 0; i < 20000; i++) {
		wrong += vms_htab_find(&t, l[i].key) != &l[i];
		wrong += vms_htab_find(&t, l[i].key + (1ull << 50)) != NULL;
		apart += vms_htab_at_(&t, l[i].key) / 8 != vms_htab_at_(&t, l[i & ~7u].key) / 8;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(apart, 0);
	for (unsigned i = 0; i < 20000; i += 2)
		vms_htab_del(&t, &l[i]);
	for (unsigned i = 0; i < 20000; i++)
		wrong += !vms_htab_find(&t, l[i].key) != (i % 2 == 0);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(t.n, 10000);
	vms_htab_free(&t);
}

static const struct vms_test tests[] = {
	VMS_TEST(newer_pieces_cover_older_ones),
	VMS_TEST(a_range_shows_zeros_under_newer_pieces),
	VMS_TEST(a_drained_range_takes_along_what_it_covered),
	VMS_TEST(a_drain_leaves_newer_pieces),
	VMS_TEST(a_line_keeps_its_numbers_in_order),
	VMS_TEST(layers_show_through_sector_by_sector),
	VMS_TEST(a_stub_of_any_layer_counts_for_its_address_only),
	VMS_TEST(undrained_is_what_no_record_takes),
	VMS_TEST(neighbours_share_a_line),
};

VMS_TEST_MAIN("backend/overlay", tests)
