// SPDX-License-Identifier: GPL-2.0-only
/* Collection: what lives in a container that is nearly empty is moved, and the container
 * goes. */
#include <jansson.h>

#include "backend/ctr.h"
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "include/types.h"
#include "tests/unit/gc_rig.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/vec.h"

static uint32_t next_id = 1;

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

/* Chunks of a node that go by an old name, and what it says is not drained. */
static unsigned renamed(struct vms_node *n, json_int_t *undrained)
{
	json_t *o = vms_node_json(n, "space");
	size_t k = 0;

	*undrained = json_integer_value(json_object_get(o, "undrained"));
	json_decref(o);
	for (uint32_t i = 0; i < n->nparts; i++)
		k += n->part[i] ? n->part[i]->stubs.n - n->part[i]->stubs_head : 0;
	return (unsigned)k;
}

/* Emptying a container makes one copy of a chunk, whatever the number of pages that
 * refer to it. It drains nothing: those who wait for empty logs do not wait for it. */
static void test_one_copy(void)
{
	struct v_vol *v;
	json_int_t undrained;
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
	CU_ASSERT_TRUE(V_WAIT(20000, !renamed(R.node[0].n, &undrained)));
	CU_ASSERT_EQUAL(undrained, 0);
	gc_target(110);
	CU_ASSERT_TRUE(V_WAIT(40000, renamed(R.node[0].n, &undrained)));
	CU_ASSERT_EQUAL(undrained, 0);
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

/* Little pieces all over a shared container: what lives is copied, everyone is told, the
 * container goes. With a crash of the owner in between it is done once more. */
static void empty_run(uint64_t seed, unsigned crash_ms)
{
	uint64_t number;
	vms_addr a;

	R.match = true;
	pair_up(seed, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	number = vms_addr_container(a);
	v_zero(va, ea, 0, PAIR);
	for (unsigned c = 0; c < PAIR; c++)
		if (c % 8)
			v_write(vb, eb, c, 0);
	v_drain();
	if (crash_ms) {
		CU_ASSERT_TRUE_FATAL(STEP_UNTIL(ctr_of(a) && ctr_of(a)->emptying));
		rig_run(&R, crash_ms);
		rig_node_crash(&R, 0, true);
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		v_check_all("crashed while emptying");
	}
	CU_ASSERT_TRUE(V_WAIT(120000, !ctr_of(a)));
	if (ctr_of(a))
		v_print_ctrs();
	for (unsigned c = 0; c < PAIR; c += 8) {
		vms_addr b = entry(vb, eb, c, NULL);

		CU_ASSERT_EQUAL(vms_addr_partition(b, R.part_bits), 0);
		CU_ASSERT_NOT_EQUAL(vms_addr_container(b), number);
	}
	v_check_all("emptied");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	rig_run(&R, 15000);
	v_check_all("restarted");
	v_rm(va);
	v_rm(vb);
	all_gone("emptied");
	v_down();
}

/* A chunk dies between its being read and the record that copies it: it is left out, since its
 * bytes may be gone when that is applied. */
static void test_empty_dead(void)
{
	struct part *p;
	vms_addr a, b;
	uint64_t off;

	R.match = true;
	pair_up(60, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	for (unsigned c = 0; c < PAIR; c++)
		if (c % 8)
			v_write(vb, eb, c, 0);
	v_drain();
	b = entry(vb, eb, 8, NULL);
	off = vms_addr_offset_bytes(b);
	CU_ASSERT_EQUAL_FATAL(vms_addr_container(a), vms_addr_container(b));
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(ctr_of(a) && ctr_of(a)->emptying));
	p = part_at(0);
	p->moves_ordered += 2; /* holds it */
	rig_run(&R, 500);
	v_zero(vb, eb, 8, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct part *q = node_part(R.node[i].n, 0);
		struct ctr *c = q ? part_ctr(q, vms_addr_container(b)) : NULL;

		if (c)
			places_or(&c->dead,
				  (uint32_t)((vms_seg_header_offset(off) - VMS_CHUNK_BYTES) /
					     (65ull * VMS_CHUNK_BYTES)),
				  1ull << vms_seg_index(off));
	}
	p->moves_ordered -= 2;
	rig_run(&R, 3000);
	for (unsigned i = 0; i < 3; i++)
		if (R.node[i].n->st.corrupt)
			v_fail("node %u copies a chunk that is dead", i);
	v_check_all("emptied");
	v_down();
}

static void test_empty(void)
{
	for (unsigned i = 0; getenv("VMS_GC_EMPTY") && i < 40; i++)
		empty_run(200 + i, 1 + i * 97 % 2500);
	empty_run(51, 0);
	for (unsigned i = 0; i < 6; i++)
		empty_run(52 + i, 1 + i * i * 37);
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_GC_COPIES, test_one_copy));
	CU_ASSERT_TRUE(v_catches(MUT_EMPTY_DEAD, test_empty_dead));
	CU_ASSERT_FALSE(v_catches(MUT_NONE, test_one_copy));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_one_copy),
	VMS_TEST(test_empty),
	VMS_TEST(test_empty_dead),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("gc_empty", tests)
