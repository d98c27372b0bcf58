// SPDX-License-Identifier: GPL-2.0-only
/* Pruning: what nothing can see goes, what something can see stays. */
#include "tests/unit/vol_rig.h"

static uint32_t next_id = 1;

static void write_all(struct v_vol *v, unsigned chs)
{
	for (uint32_t e = 0; e < V_EXTS; e++)
		for (unsigned c = 0; c < chs; c++)
			v_write(v, e, c, next_id++);
}

static uint64_t stat_sum(size_t off)
{
	uint64_t s = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		s += *(uint64_t *)((char *)&R.node[i].n->st + off);
	return s;
}
#define STAT(f) stat_sum(offsetof(struct node_stats, f))

/* A snapshot's pages go with it, the others' stay. */
static void test_snap_rm(void)
{
	struct v_vol *v;
	unsigned with;

	v_up(3, 2, 2, 1);
	v = v_create(0);
	for (unsigned s = 0; s < 4; s++) {
		write_all(v, 3);
		v_drain();
		v_snap(v, s);
	}
	write_all(v, 3);
	v_drain();
	rig_run(&R, 10000);
	with = v_pages(v->branch);
	CU_ASSERT_EQUAL(with, 5 * V_EXTS);
	v_check_all("with snapshots");
	v_snap_rm(v, 1);
	v_snap_rm(v, 2);
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(v->branch) == 3 * V_EXTS));
	v_check_all("two deleted");
	v_snap_rm(v, 0);
	v_snap_rm(v, 3);
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(v->branch) == V_EXTS));
	v_check_all("all deleted");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	CU_ASSERT_EQUAL(v_pages(v->branch), V_EXTS);
	v_check_all("after restarts");
	v_down();
}

/* A deleted volume: pages, containers, the records of its branch, all of it, and
 * what was not drained is not drained for nothing. */
static void test_volume_rm(void)
{
	struct v_vol *v, *w;
	uint64_t drained;

	v_up(3, 2, 2, 2);
	v = v_create(0);
	w = v_create(1);
	write_all(v, 20);
	write_all(w, 2);
	v_drain();
	write_all(v, 20); /* stays in the log */
	rig_run(&R, 9000);
	drained = STAT(drained_chunks);
	v_rm(v);
	CU_ASSERT_TRUE(V_WAIT(30000, v_keys("branch/") == 1));
	CU_ASSERT_EQUAL(v_pages(v->branch), 0);
	CU_ASSERT_EQUAL(v_keys("reaped/"), 0);
	CU_ASSERT_TRUE(STAT(drained_chunks) - drained < V_EXTS * 20);
	v_check_all("the other volume");
	v_rm(w);
	CU_ASSERT_TRUE(V_WAIT(30000, v_keys("branch/") == 0));
	CU_ASSERT_TRUE(V_WAIT(30000, v_ctr_bytes() == 0));
	if (v_ctr_bytes())
		fprintf(stderr, "left: %llu bytes\n", (unsigned long long)v_ctr_bytes());
	v_down();
}

static const struct vms_test tests[] = {
	VMS_TEST(test_snap_rm),
	VMS_TEST(test_volume_rm),
};

VMS_TEST_MAIN("prune", tests)
