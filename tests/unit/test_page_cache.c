// SPDX-License-Identifier: GPL-2.0-only
#include "target/page_cache.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

#define LIVE VMS_GEN_LIVE

static void a_page_is_found_by_its_key(void)
{
	struct vms_page_cache *c = vms_pc_new(1 << 20);
	struct vms_pc_page *p = vms_pc_insert(c, 7, LIVE, 3, 2);

	p->version = 9;
	CU_ASSERT_PTR_EQUAL(vms_pc_find(c, 7, LIVE, 3, 2), p);
	CU_ASSERT_PTR_EQUAL(vms_pc_insert(c, 7, LIVE, 3, 2), p);
	CU_ASSERT_PTR_NULL(vms_pc_find(c, 7, LIVE, 3, 1));
	CU_ASSERT_PTR_NULL(vms_pc_find(c, 7, LIVE, 2, 2));
	CU_ASSERT_PTR_NULL(vms_pc_find(c, 6, LIVE, 3, 2));
	CU_ASSERT_EQUAL(vms_pc_used(c), 1);
	vms_pc_free(c);
}

static void a_dropped_page_is_gone_and_its_place_reused(void)
{
	struct vms_page_cache *c = vms_pc_new(0);

	for (uint32_t i = 0; i < vms_pc_slots(c); i++)
		vms_pc_insert(c, 1, LIVE, i, 0);
	vms_pc_drop(c, vms_pc_find(c, 1, LIVE, 5, 0));
	CU_ASSERT_PTR_NULL(vms_pc_find(c, 1, LIVE, 5, 0));
	vms_pc_insert(c, 2, LIVE, 0, 0);
	for (uint32_t i = 0; i < vms_pc_slots(c); i++)
		CU_ASSERT((vms_pc_find(c, 1, LIVE, i, 0) != NULL) == (i != 5));
	vms_pc_free(c);
}

static void the_page_in_use_survives(void)
{
	struct vms_page_cache *c = vms_pc_new(0);

	vms_pc_insert(c, 1, LIVE, 0, 0);
	for (uint32_t i = 1; i < 500; i++) {
		CU_ASSERT_PTR_NOT_NULL(vms_pc_find(c, 1, LIVE, 0, 0));
		vms_pc_insert(c, 1, LIVE, i, 0);
		CU_ASSERT(vms_pc_used(c) <= vms_pc_slots(c));
	}
	vms_pc_free(c);
}

static void a_snapshot_has_pages_of_its_own(void)
{
	struct vms_page_cache *c = vms_pc_new(1 << 20);
	struct vms_pc_page *live = vms_pc_insert(c, 1, LIVE, 3, 2), *snap;

	CU_ASSERT_PTR_NULL(vms_pc_find(c, 1, 5, 3, 2));
	snap = vms_pc_insert(c, 1, 5, 3, 2);
	CU_ASSERT_PTR_NOT_EQUAL(snap, live);
	CU_ASSERT_PTR_EQUAL(vms_pc_find(c, 1, 5, 3, 2), snap);
	vms_pc_drop_all(c, 1, LIVE);
	CU_ASSERT_PTR_NULL(vms_pc_find(c, 1, LIVE, 3, 2));
	CU_ASSERT_PTR_EQUAL(vms_pc_find(c, 1, 5, 3, 2), snap);
	vms_pc_drop(c, snap);
	CU_ASSERT_EQUAL(vms_pc_used(c), 0);
	vms_pc_free(c);
}

static void a_branch_goes_as_a_whole(void)
{
	struct vms_page_cache *c = vms_pc_new(1 << 20);

	for (uint32_t i = 0; i < 100; i++)
		vms_pc_insert(c, 1 + i % 2, LIVE, i, 0);
	vms_pc_drop_all(c, 1, LIVE);
	for (uint32_t i = 0; i < 100; i++)
		CU_ASSERT((vms_pc_find(c, 1 + i % 2, LIVE, i, 0) != NULL) == (i % 2 == 1));
	CU_ASSERT_EQUAL(vms_pc_used(c), 50);
	vms_pc_free(c);
}

static void random_use_matches_its_keys(void)
{
	struct vms_page_cache *c = vms_pc_new(0);
	struct vms_rng r;
	unsigned wrong = 0;

	vms_rng_init(&r, 3);
	for (unsigned k = 0; k < 100000; k++) {
		uint32_t e = (uint32_t)vms_rng_below(&r, 40);
		uint8_t s = (uint8_t)vms_rng_below(&r, 8);
		struct vms_pc_page *p = vms_pc_find(c, 1, LIVE, e, s);

		if (!p) {
			p = vms_pc_insert(c, 1, LIVE, e, s);
			p->version = e * 8ull + s;
		}
		wrong += p->version != e * 8ull + s;
		if (vms_rng_chance(&r, 0.1))
			vms_pc_drop(c, p);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	vms_pc_free(c);
}

static const struct vms_test tests[] = {
	VMS_TEST(a_page_is_found_by_its_key), VMS_TEST(a_dropped_page_is_gone_and_its_place_reused),
	VMS_TEST(the_page_in_use_survives),   VMS_TEST(a_snapshot_has_pages_of_its_own),
	VMS_TEST(a_branch_goes_as_a_whole),   VMS_TEST(random_use_matches_its_keys),
};
VMS_TEST_MAIN("page_cache", tests)
