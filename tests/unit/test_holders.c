// SPDX-License-Identifier: GPL-2.0-only
/* Which gateway holds which page: the table, the order of use and the lists of the
 * partitions say the same, whatever comes and goes. */
#include "backend/holders.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

#define PARTS	64u
#define EXTENTS 512u
#define GWS	3u

static uint32_t part_of(uint32_t extent)
{
	return extent * 7 % PARTS;
}

/* Every entry is in the list of its partition, once, and in no other; bits[] is what has
 * to be in them. */
static void same(struct vms_holders *h, uint8_t bits[EXTENTS][GWS])
{
	uint64_t listed = 0, aged = 0, want = 0;

	for (uint32_t p = 0; p < PARTS; p++)
		for (struct vms_holder *e = vms_holders_first(h, p); e; e = e->next) {
			listed++;
			CU_ASSERT_EQUAL(e->partition, p);
			CU_ASSERT_EQUAL(part_of(e->extent), p);
			CU_ASSERT_PTR_EQUAL(vms_holder_find(h, 9, e->extent), e);
			CU_ASSERT(!e->next || e->next->prev == e);
			for (uint32_t i = 0; i < e->n; i++)
				CU_ASSERT_EQUAL(e->gw[i].subexts,
						bits[e->extent][e->gw[i].gateway]);
		}
	for (struct vms_holder *e = h->oldest; e; e = e->newer)
		aged++;
	for (uint32_t x = 0; x < EXTENTS; x++) {
		bool any = false;

		for (unsigned g = 0; g < GWS; g++)
			any |= bits[x][g] != 0;
		want += any;
		CU_ASSERT_EQUAL(vms_holder_find(h, 9, x) != NULL, any);
	}
	CU_ASSERT_EQUAL(listed, want);
	CU_ASSERT_EQUAL(aged, want);
	CU_ASSERT_EQUAL(h->n, want);
}

static void lists_and_table_agree(void)
{
	uint8_t bits[EXTENTS][GWS] = {{0}};
	struct vms_holders h;
	struct vms_rng r;

	vms_rng_init(&r, 5);
	vms_holders_init(&h, 1000);
	CU_ASSERT_PTR_NULL(vms_holders_first(&h, 3));
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t x = (uint32_t)vms_rng_below(&r, EXTENTS);
		uint32_t g = (uint32_t)vms_rng_below(&r, GWS);
		uint8_t b = (uint8_t)vms_rng_below(&r, 256);
		struct vms_holder *e = vms_holder_find(&h, 9, x);

		if (vms_rng_chance(&r, 0.5) && b) {
			vms_holder_add(&h, part_of(x), 9, x, g, b);
			bits[x][g] |= b;
		} else if (e && bits[x][g]) {
			vms_holder_clear(&h, e, g, b);
			bits[x][g] &= (uint8_t)~b;
		}
		if (i % 5000 == 4999) {
			vms_holders_drop_gateway(&h, g);
			for (x = 0; x < EXTENTS; x++)
				bits[x][g] = 0;
		}
		if (i % 500 == 0 || i % 5000 == 4999)
			same(&h, bits);
	}
	vms_holders_close(&h);
}

/* What a hand-over looks at: the entries of its partition, not those of the node. */
static void a_partition_s_list_is_as_long_as_its_pages(void)
{
	struct vms_holders h;
	unsigned seen = 0;

	vms_holders_init(&h, 1u << 18);
	for (uint32_t x = 0; x < 100000; x++)
		vms_holder_add(&h, x % 1000, 9, x, 1, 1);
	for (struct vms_holder *e = vms_holders_first(&h, 17), *next; e; e = next) {
		next = e->next;
		seen++;
		CU_ASSERT(vms_holder_clear(&h, e, 1, 0xff));
	}
	CU_ASSERT_EQUAL(seen, 100);
	CU_ASSERT_PTR_NULL(vms_holders_first(&h, 17));
	CU_ASSERT_EQUAL(h.n, 100000 - 100);
	vms_holders_close(&h);
}

static const struct vms_test tests[] = {
	VMS_TEST(lists_and_table_agree),
	VMS_TEST(a_partition_s_list_is_as_long_as_its_pages),
};

VMS_TEST_MAIN("holders", tests)
