// SPDX-License-Identifier: GPL-2.0-only
/* Collection: nothing that is reachable is freed, all that is not is freed. */
#include "tests/unit/vol_rig.h"

static uint32_t next_id = 1;

static uint64_t stat_sum(size_t off)
{
	uint64_t s = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		s += *(uint64_t *)((char *)&R.node[i].n->st + off);
	return s;
}
#define STAT(f) stat_sum(offsetof(struct node_stats, f))

static void gc_target(unsigned percent)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->conf.gc_target_percent = percent;
}

struct addrs {
	VMS_VEC(vms_addr) v;
};

static int addr_cmp(const void *a, const void *b)
{
	vms_addr x = *(const vms_addr *)a, y = *(const vms_addr *)b;

	return x < y ? -1 : x > y;
}

static int addrs_page(void *arg, const struct vms_page *p)
{
	struct addrs *s = arg;

	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		if (p->entry[i] != VMS_ADDR_HOLE)
			VMS_VEC_PUSH(&s->v, p->entry[i]);
	return 0;
}

/* Different addresses in all pages, and all entries. */
static size_t addresses(size_t *all)
{
	struct addrs s = {VMS_VEC_INIT};
	size_t k = 0;

	for (uint32_t p = 0; p < 1u << R.part_bits; p++)
		vms_pages_each(R.node[rig_primary(&R, p)].n->pages, p, NULL, addrs_page, &s);
	if (s.v.n)
		qsort(s.v.d, s.v.n, sizeof(*s.v.d), addr_cmp);
	for (size_t i = 0; i < s.v.n; i++)
		k += i == 0 || s.v.d[i] != s.v.d[i - 1];
	*all = s.v.n;
	VMS_VEC_FREE(&s.v);
	return k;
}

/* Emptying a container makes one copy of a chunk, whatever the number of pages that
 * refer to it. */
static void test_one_copy(void)
{
	struct v_vol *v;
	uint64_t moved;
	size_t before, after, all;

	v_up(3, 2, 0, 11);
	gc_target(100000);
	v = v_create(0);
	for (uint32_t e = 0; e < 4; e++)
		for (unsigned c = 0; c < 128; c++)
			v_write(v, e, c, next_id++);
	v_drain();
	for (uint32_t e = 0; e < 4; e++)
		for (unsigned c = 0; c < 128; c++)
			if (c % 8)
				v_write(v, e, c, next_id++);
	v_drain();
	for (unsigned s = 0; s < 3; s++) {
		v_snap(v, s);
		for (uint32_t e = 0; e < 4; e++)
			v_write(v, e, 1, next_id++);
		v_drain();
	}
	before = addresses(&all);
	CU_ASSERT_TRUE(all > 3 * before);
	moved = STAT(remapped);
	gc_target(110);
	CU_ASSERT_TRUE(V_WAIT(40000, STAT(swept) > 0));
	rig_run(&R, 10000);
	after = addresses(&all);
	CU_ASSERT_TRUE(all > 3 * after);
	CU_ASSERT_EQUAL(before, after);
	CU_ASSERT_TRUE(STAT(remapped) > moved);
	v_check_all("emptied");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	v_check_all("after restarts");
	v_rm(v);
	for (unsigned s = 0; s < 3; s++)
		v_snap_rm(v, s);
	CU_ASSERT_TRUE(V_WAIT(60000, v_ctr_bytes() == 0));
	CU_ASSERT_EQUAL(v_keys("branch/"), 0);
	v_down();
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_GC_COPIES, test_one_copy));
	CU_ASSERT_FALSE(v_catches(MUT_NONE, test_one_copy));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_one_copy),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("gc", tests)
