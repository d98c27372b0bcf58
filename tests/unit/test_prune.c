// SPDX-License-Identifier: GPL-2.0-only
/* Pruning: what nothing can see goes, what something can see stays. */
#include "backend/node_mutant.h"
#include "backend/prune.h"
#include "cluster/catalog.h"
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

/* A node has found all that it leads empty, then it is given a partition that nobody has
 * looked at (simulator seed 90). */
static void test_lead_moves(void)
{
	struct part *held;
	struct v_vol *v;

	v_up(2, 2, 3, 7);
	v = v_create(0);
	for (uint32_t e = 0; e < 64; e++) {
		uint8_t b[V_CHUNK];

		v_fill(b, next_id++);
		CU_ASSERT_EQUAL(v_write_raw(v, e, 0, 1, 0xff, b, V_CHUNK), 0);
	}
	v_drain();
	rig_run(&R, 9000);
	CU_ASSERT_EQUAL(R.node[1].n->part[1]->primary + R.node[1].n->part[7]->primary, 2);
	CU_ASSERT_TRUE(V_WAIT(1000, !R.node[1].n->part[1]->apply));
	/* node 2 does not get beyond partition 1 */
	held = R.node[1].n->part[1];
	held->apply_wait = true;
	held->hold_ms = UINT64_MAX;
	R.node[1].n->apply_waits++;
	v_rm(v);
	CU_ASSERT_TRUE(V_WAIT(30000, v_keys("reaped/") == 1));
	v_set_put(7, (const int[]){0, 1, -1});
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	held->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, v_keys("branch/") == 0));
	CU_ASSERT_EQUAL(v_pages(v->branch), 0);
	CU_ASSERT_TRUE(V_WAIT(30000, v_ctr_bytes() == 0));
	CU_ASSERT_EQUAL(v_keys("reaped/"), 0);
	v_down();
}

static void restart_all(void)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
}

/* Many deletions are one scan, not one each. */
static void test_burst(void)
{
	struct v_vol *v;
	uint64_t scans, pages;

	v_up(3, 2, 2, 3);
	v = v_create(0);
	for (unsigned s = 0; s < 60; s++) {
		for (uint32_t e = 0; e < V_EXTS; e++)
			v_write(v, e, s % V_CHS, next_id++);
		v_snap(v, s);
	}
	v_drain();
	CU_ASSERT_EQUAL(v_pages(v->branch), 60 * V_EXTS);
	rig_run(&R, 4000);
	scans = STAT(scans);
	pages = STAT(pages_scanned);
	for (unsigned s = 0; s < 59; s++) {
		v_snap_rm(v, s);
		rig_run(&R, 20);
	}
	CU_ASSERT_TRUE(V_WAIT(20000, v_pages(v->branch) == V_EXTS));
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(STAT(scans) - scans <= 3 * 5);
	CU_ASSERT_TRUE(STAT(pages_scanned) - pages <= 5 * 60 * V_EXTS);
	v_check_all("one snapshot left");
	v_down();
}

/* The snapshot goes first, the page that it alone needs becomes superfluous with the
 * next write over it. */
static void test_late(void)
{
	struct v_vol *v;

	v_up(3, 2, 2, 4);
	v = v_create(0);
	write_all(v, 3);
	v_drain();
	v_snap(v, 0);
	rig_run(&R, 4000);
	v_snap_rm(v, 0);
	rig_run(&R, 4000);
	CU_ASSERT_EQUAL(v_pages(v->branch), V_EXTS);
	for (uint32_t e = 0; e < V_EXTS; e++)
		v_write(v, e, 1, next_id++);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(v->branch) == V_EXTS));
	v_check_all("written over");
	v_down();
}

/* Parents go before their clones, which keep what they see of them, page by page. */
static void test_clone(void)
{
	struct v_vol *v, *c, *d;

	v_up(3, 2, 2, 5);
	v = v_create(0);
	write_all(v, 5);
	v_drain();
	v_snap(v, 0);
	write_all(v, 2);
	v_drain();
	c = v_clone(1, v, 0);
	v_write(c, 0, 2, next_id++);
	v_drain();
	v_snap(c, 0);
	d = v_clone(2, c, 0);
	v_write(d, 1, 3, next_id++);
	v_rm(v);
	v_snap_rm(v, 0);
	rig_run(&R, 6000);
	v_check_all("parent deleted");
	/* of the parent only what the snapshot of the clone does not cover itself */
	CU_ASSERT_EQUAL(v_pages(v->branch), V_EXTS - 1);
	CU_ASSERT_EQUAL(v_keys("branch/"), 3);
	restart_all();
	v_check_all("restarted");
	write_all(c, 1);
	write_all(d, 1);
	v_snap_rm(c, 0);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(v->branch) == 0));
	v_check_all("clones written over");
	v_rm(c);
	CU_ASSERT_TRUE(V_WAIT(20000, v_pages(c->branch) == 0));
	v_check_all("first clone deleted");
	v_rm(d);
	CU_ASSERT_TRUE(V_WAIT(30000, v_keys("branch/") == 0));
	CU_ASSERT_TRUE(V_WAIT(30000, v_ctr_bytes() == 0));
	v_down();
}

static void test_rollback(void)
{
	struct v_vol *v;
	uint64_t old;

	v_up(3, 2, 2, 6);
	v = v_create(0);
	write_all(v, 3);
	v_snap(v, 0);
	write_all(v, 3);
	v_drain();
	old = v->branch;
	v_rollback(v, 0);
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(old) == V_EXTS));
	v_check_all("rolled back");
	v_write(v, 2, 1, next_id++);
	v_drain();
	v_snap_rm(v, 0);
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(old) == V_EXTS - 1));
	v_check_all("its snapshot deleted");
	v_rm(v);
	CU_ASSERT_TRUE(V_WAIT(30000, v_keys("branch/") == 0));
	CU_ASSERT_EQUAL(v_keys("reaped/"), 0);
	CU_ASSERT_TRUE(V_WAIT(30000, v_ctr_bytes() == 0));
	v_down();
}

/* Runs until some node is at this prefix of the catalog. */
static bool reading(int px)
{
	for (unsigned k = 0; k < 200000; k++) {
		for (unsigned i = 0; i < R.nnodes; i++)
			if (R.node[i].n && prune_reading(R.node[i].n) == px)
				return true;
		rig_step(&R);
	}
	return false;
}

/* Whatever is made while a node reads the catalog is seen by it, or is covered by the
 * order in which it reads. */
static void test_between(void)
{
	v_up(3, 2, 2, 8);
	for (int px = 0; px < 5 && v_bad < 5; px++)
		for (int what = 0; what < 5 && v_bad < 5; what++) {
			struct v_vol *v = v_create(0), *c = NULL;

			write_all(v, 2);
			v_snap(v, 0);
			write_all(v, 2);
			v_snap(v, 1);
			write_all(v, 2);
			v_drain();
			rig_run(&R, 4000);
			v_snap_rm(v, 0); /* makes them look */
			CU_ASSERT_TRUE(reading(px));
			v_nowait = true;
			switch (what) {
			case 0: /* a snapshot; a page over what it shows follows */
				v_snap(v, 2);
				break;
			case 1:
				c = v_clone(1, v, 1);
				v_snap_rm(v, 1);
				break;
			case 2: /* a snapshot, then the volume leaves its branch */
				v_snap(v, 2);
				v_rollback(v, 1);
				break;
			case 3:
				v_snap(v, 2);
				c = v_clone(1, v, 2);
				v_rm(v);
				v_snap_rm(v, 1);
				v_snap_rm(v, 2);
				break;
			default:
				v_rollback(v, 1);
				v_snap(v, 3);
				break;
			}
			v_nowait = false;
			v_learn();
			if (v->used)
				write_all(v, 2);
			v_drain();
			rig_run(&R, 6000);
			v_check_all("in between");
			for (unsigned s = 0; s < V_SNAPS; s++)
				if (v->snap[s].used)
					v_snap_rm(v, s);
			if (v->used)
				v_rm(v);
			if (c)
				v_rm(c);
			CU_ASSERT_TRUE(V_WAIT(60000, v_keys("branch/") == 0));
		}
	CU_ASSERT_TRUE(V_WAIT(30000, v_ctr_bytes() == 0));
	v_down();
}

/* A page stays as long as parts of chunks that are not drained yet lie over it, even
 * when nobody will ever read them: all replicas must drain the same bytes. */
static void test_base(void)
{
	uint8_t x[V_CHUNK];
	struct v_vol *v;
	uint64_t old;

	v_up(3, 2, 2, 8);
	v = v_create(0);
	write_all(v, 2);
	v_drain();
	v_snap(v, 0);
	for (uint32_t e = 0; e < V_EXTS; e++) {
		v_fill(x, 77 + e);
		CU_ASSERT_EQUAL(v_write_raw(v, e, 0, 1, 0x03, x, 1024), 0);
	}
	v_snap(v, 1);
	/* on to a branch that sees nothing of the old one */
	old = v->branch;
	v->snap[0].img = (struct v_image){0};
	v->cut = true;
	v_rollback(v, 0);
	v_snap_rm(v, 0);
	v_snap_rm(v, 1);
	rig_run(&R, 4000);
	CU_ASSERT_EQUAL(v_pages(old), V_EXTS);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(10000, v_pages(old) == 0));
	v_check_all("drained");
	v_down();
}

static void test_random(void)
{
	const char *s = getenv("VMS_PRUNE_SEEDS");
	uint64_t from = 1000, to = from + 12;

	if (s) {
		from = strtoull(s, NULL, 10);
		to = strchr(s, '.') ? strtoull(strrchr(s, '.') + 1, NULL, 10) + 1 : from + 1;
	}
	for (uint64_t seed = from; seed < to; seed++) {
		v_random(seed, 0);
		if (v_bad) {
			fprintf(stderr,
				"repeat with: VMS_PRUNE_SEEDS=%llu build/tests/test_prune\n",
				(unsigned long long)seed);
			return;
		}
	}
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_PRUNE_NEW, test_between));
	CU_ASSERT_TRUE(v_catches(MUT_PRUNE_DEAD, test_between));
	CU_ASSERT_TRUE(v_catches(MUT_PRUNE_CLONE, test_clone));
	CU_ASSERT_TRUE(v_catches(MUT_PRUNE_BASE, test_base));
	CU_ASSERT_TRUE(v_catches(MUT_PRUNE_NODES, test_lead_moves));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_snap_rm),	   VMS_TEST(test_volume_rm), VMS_TEST(test_burst),
	VMS_TEST(test_lead_moves), VMS_TEST(test_late),	     VMS_TEST(test_clone),
	VMS_TEST(test_rollback),   VMS_TEST(test_between),   VMS_TEST(test_base),
	VMS_TEST(test_random),	   VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("prune", tests)
