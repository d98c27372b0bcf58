// SPDX-License-Identifier: GPL-2.0-only
/* Collection: nothing that is reachable is freed, all that is not is freed. */
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/gc_rig.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

static uint32_t next_id = 1;

/* What another partition refers to stays, whatever becomes of its first owner; then
 * all of it goes. */
static void test_shared(void)
{
	vms_addr a;

	pair_up(21, 2);
	pair_refer(0, PAIR);
	seal(0);
	v_check_all("referred to");
	a = entry(va, ea, 0, NULL);
	v_rm(va);
	CU_ASSERT_TRUE(V_WAIT(30000, v_pages(va->branch) == 0));
	rig_run(&R, 30000);
	CU_ASSERT_TRUE(STAT(rounds) > 0);
	CU_ASSERT_TRUE(ctr_of(a) && ctr_of(a)->state == 2);
	v_check_all("owner deleted");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	rig_run(&R, 30000);
	v_check_all("restarted");
	v_rm(vb);
	all_gone("shared");
	v_down();
}

static int addr_status(vms_addr a)
{
	uint32_t q = vms_addr_partition(a, R.part_bits);
	struct vms_msg m = {.type = VMS_MSG_READ_ADDR, .partition = q};
	struct rig_reply re;
	uint8_t body[8];
	int st;

	vms_put_le64(body, a);
	m.body = body;
	m.body_bytes = 8;
	st = v_call(0, m, &re);
	if (!st) {
		st = (int16_t)vms_get_le16(re.body + 12);
		rig_reply_free(&re);
	}
	return st;
}

/* Dead stretches of a container that lives on are given back to the disk. */
static void test_punch(void)
{
	vms_addr a[PAIR];
	uint64_t before;
	struct ctr *c;

	pair_up(22, 2);
	pair_refer(0, PAIR);
	seal(0);
	for (unsigned i = 0; i < PAIR; i++)
		a[i] = entry(va, ea, i, NULL);
	before = v_ctr_bytes();
	v_rm(va);
	v_zero(vb, eb, 4, 30);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(60000, (c = ctr_of(a[0])) && c->dead.count >= 16));
	CU_ASSERT_TRUE(V_WAIT(10000, STAT(punched) >= 2 * 16));
	CU_ASSERT_TRUE(v_ctr_bytes() + 32 * V_CHUNK <= before);
	for (int round = 0; round < 2; round++) {
		unsigned gone = 0;

		c = ctr_of(a[0]);
		for (unsigned i = 0; i < PAIR; i++) {
			bool dead = places_has(&c->dead, a[i]);

			CU_ASSERT_EQUAL(addr_status(a[i]), dead ? VMS_E_GONE : 0);
			CU_ASSERT_FALSE(dead && (i < 4 || i >= 34));
			gone += dead;
		}
		CU_ASSERT_EQUAL(gone, c->dead.count);
		v_check_all("punched");
		for (unsigned i = 0; i < 3 && !round; i++) {
			rig_node_crash(&R, i, true);
			rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		}
	}
	v_rm(vb);
	all_gone("punch");
	v_down();
}

/* Confirmed after the marks began, referred to after they ended: it stays. */
static void test_late_hit(void)
{
	uint64_t stamp = 0, k;
	vms_addr a;

	pair_up(23, 2);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	seal(0);
	CU_ASSERT_TRUE(V_WAIT(20000, ctr_of(a)->state == 2));
	v_rm(va);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(v_pages(va->branch) == 0));
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->gc_cycle == k && part_at(1)->gc_cycle == k));
	/* a stamp from before is refused by now */
	CU_ASSERT_FALSE(refer(vb, eb, 0, a, stamp));
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	CU_ASSERT_EQUAL(stamp, k);
	rig_run(&R, 2500); /* the round ends meanwhile */
	CU_ASSERT_TRUE(STAT(rounds) >= 3);
	CU_ASSERT_EQUAL(cycle_now(), k);
	CU_ASSERT_TRUE(refer(vb, eb, 0, a, stamp));
	rig_run(&R, 20000);
	CU_ASSERT_EQUAL(entry(vb, eb, 0, NULL), a);
	v_check_all("late hit");
	v_rm(vb);
	all_gone("late hit");
	v_down();
}

/* A sweep is ordered: from that step on nobody is given the container. */
static void test_sweep_confirm(void)
{
	uint64_t stamp = 0;
	vms_addr a;

	pair_up(24, 2);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	seal(0);
	v_rm(va);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	CU_ASSERT_FALSE(confirm(a, &stamp));
	v_rm(vb);
	all_gone("sweep");
	CU_ASSERT_FALSE(confirm(a, &stamp));
	v_down();
}

/* A record that is ordered and not applied yet may refer to a container in which nothing
 * is referred to otherwise: it stays. */
static void test_ordered_ref(void)
{
	struct vms_move m = {.flags = VMS_MOVE_REF};
	uint64_t number = 0;
	struct vms_node *n;
	struct v_vol *v;
	struct part *p;

	v_up(1, 1, 0, 13);
	gc_target(100000);
	v = v_create(0);
	for (unsigned round = 0; round < 2; round++) {
		for (uint32_t e = 0; e < 4; e++)
			for (unsigned c = 0; c < 128; c++)
				v_write(v, e, c, next_id++);
		if (round == 0)
			v_drain();
	}
	n = R.node[0].n;
	p = node_part(n, 0);
	VMS_VEC_FOREACH (&p->ctrs, c)
		if (c->state == 2 && c->chunks && !number)
			number = c->number;
	CU_ASSERT_TRUE_FATAL(number != 0);
	m.to = vms_addr_make(number, VMS_CHUNK_BYTES);
	part_ref_count(n, p, &m, true);
	v_drain();
	gc_target(110);
	CU_ASSERT_TRUE(V_WAIT(40000, STAT(swept) > 0));
	rig_run(&R, 40000);
	CU_ASSERT_TRUE_FATAL(part_ctr(p, number) != NULL);
	CU_ASSERT_TRUE(part_ctr(p, number)->live == 0 && part_ctr(p, number)->state == 2);
	part_ref_count(n, p, &m, false);
	CU_ASSERT_TRUE(V_WAIT(90000, !part_ctr(p, number) || part_ctr(p, number)->state == 3));
	v_check_all("collected");
	v_down();
}

/* Duplicates everywhere, through the real index. */
static void test_random(void)
{
	const char *s = getenv("VMS_GC_SEEDS");
	uint64_t from = 3000, to = from + 12;

	if (s) {
		from = strtoull(s, NULL, 10);
		to = strchr(s, '.') ? strtoull(strrchr(s, '.') + 1, NULL, 10) + 1 : from + 1;
	}
	for (uint64_t seed = from; seed < to; seed++) {
		R.match = seed % 3 == 0;
		v_random(seed, 50 + seed % 4 * 15);
		if (v_bad) {
			fprintf(stderr, "repeat with: VMS_GC_SEEDS=%llu build/tests/test_gc\n",
				(unsigned long long)seed);
			return;
		}
	}
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_RD_STAMP, test_late_hit));
	CU_ASSERT_TRUE(v_catches(MUT_RD_GONE, test_punch));
	CU_ASSERT_FALSE(v_catches(MUT_NONE, test_late_hit));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_shared),	      VMS_TEST(test_punch),	  VMS_TEST(test_late_hit),
	VMS_TEST(test_sweep_confirm), VMS_TEST(test_ordered_ref), VMS_TEST(test_random),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("gc", tests)
