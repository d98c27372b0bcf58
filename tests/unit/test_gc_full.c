// SPDX-License-Identifier: GPL-2.0-only
/* Full disks: nothing new is taken that has no place, and deleting makes room again. */
#include <jansson.h>
#include <string.h>

#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/wal.h"
#include "include/err.h"
#include "tests/unit/vol_rig.h"

static uint32_t next_id = 1;

/* A full disk: nothing new is taken, but deleting works, and then there is room. */
static void test_full(void)
{
	static uint8_t b[V_CHUNK];
	unsigned full = 0, i;
	struct v_vol *v;

	R.space_bytes = 12 << 20;
	v_up(3, 2, 2, 41);
	v = v_create(0);
	for (i = 0; i < 8000 && full < 30; i++) {
		int rc;

		v_fill(b, 900000 + i);
		rc = v_write_raw(v, i % 40, i / 40, 1, 0xff, b, V_CHUNK);
		if (rc == VMS_E_NOSPC) {
			full++;
			rig_run(&R, 50);
		} else if (rc && rc != VMS_E_BUSY) {
			v_fail("write %u: %s", i, vms_err_name(rc));
		}
	}
	CU_ASSERT_TRUE(full > 0);
	v_rm(v);
	CU_ASSERT_TRUE(V_WAIT(90000, v_keys("branch/") == 0));
	CU_ASSERT_TRUE(V_WAIT(60000, v_ctr_bytes() == 0));
	v = v_create(1);
	rig_run(&R, 1500); /* until all nodes have looked, and told the others */
	CU_ASSERT_EQUAL(v_write(v, 0, 0, 123), 0);
	v_check_all("room again");
	R.space_bytes = 0;
	v_down();
}

/* The disk of a member fills up, not the primary's: nothing new is taken that would have
 * no place there; reading, deleting, restarting and collecting go on. */
static void test_full_member(void)
{
	static uint8_t b[V_CHUNK];
	struct v_vol *v, *w;
	unsigned p, m;
	int rc = 0;

	v_up(2, 2, 0, 43);
	v = v_create(0);
	w = v_create(1);
	v_learn();
	for (unsigned i = 0; i < 200; i++) {
		v_write(v, i % 2, i / 2, next_id++);
		v_write(w, i % 2, i / 2, next_id++);
	}
	v_drain();
	rig_run(&R, 3000);
	p = rig_primary(&R, 0);
	m = !p;
	sim_disk_space(R.node[m].sd, 12 << 20);
	sim_disk_leave(R.node[m].sd, 900 << 10);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(R.node[m].n->nospc);
	CU_ASSERT_FALSE(R.node[p].n->nospc);
	v_fill(b, 1);
	rc = v_write_raw(v, 0, 0, 1, 0xff, b, V_CHUNK);
	CU_ASSERT_EQUAL(rc, VMS_E_NOSPC);
	v_check_all("full");
	for (unsigned i = 0; i < 2; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	v_check_all("restarted while full");
	p = rig_primary(&R, 0);
	CU_ASSERT_TRUE(V_WAIT(5000, R.node[m].n->nospc));
	rig_run(&R, 1500);
	if (p != m)
		CU_ASSERT_EQUAL(v_write_raw(v, 0, 0, 1, 0xff, b, V_CHUNK), VMS_E_NOSPC);
	v_zero(v, 0, 0, 10);
	v_rm(w);
	CU_ASSERT_TRUE(V_WAIT(90000, !R.node[m].n->nospc));
	rig_run(&R, 1500);
	CU_ASSERT_EQUAL(v_write(v, 0, 0, next_id++), 0);
	v_check_all("room again");
	v_down();
}

/* Something else has filled the disk of a member: containers are not emptied there, since
 * what the member cannot write would hold up everything that comes after it. */
static void test_full_cramped(void)
{
	struct v_vol *v, *w;
	unsigned m;

	v_up(2, 2, 0, 44);
	v = v_create(0);
	w = v_create(1);
	v_learn();
	for (unsigned i = 0; i < 200; i++) {
		v_write(v, i % 2, i / 2, next_id++);
		v_write(w, i % 2, i / 2, next_id++);
	}
	v_drain();
	rig_run(&R, 3000);
	m = !rig_primary(&R, 0);
	sim_disk_leave(R.node[m].sd, 128 << 10);
	for (unsigned i = 0; i < 2; i++) { /* what they wrote is sealed */
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(R.node[m].n->cramped);
	v_zero(v, 0, 0, 10);
	v_rm(w);
	rig_run(&R, 10000);
	CU_ASSERT_EQUAL(sim_disk_refused(R.node[m].sd), 0);
	v_check_all("cramped");
	sim_disk_leave(R.node[m].sd, UINT64_MAX);
	CU_ASSERT_TRUE(V_WAIT(5000, !R.node[m].n->nospc));
	rig_run(&R, 1500);
	CU_ASSERT_EQUAL(v_write(v, 0, 0, next_id++), 0);
	CU_ASSERT_TRUE(V_WAIT(90000, v_keys("branch/") == 1));
	v_check_all("room again");
	v_down();
}

/* Much is written between two looks at the disk: what lies in the log has been counted. */
static void test_full_fast(void)
{
	static uint8_t b[V_CHUNK];
	struct vms_node *n;
	struct v_vol *v;
	uint64_t room;
	unsigned i;
	int rc = 0;

	v_up(1, 1, 0, 47);
	v = v_create(0);
	v_learn();
	for (i = 0; i < 100; i++)
		v_write(v, i % 2, i / 2, next_id++);
	v_drain();
	n = R.node[0].n;
	/* room for another 512 KiB */
	room = sim_disk_container_bytes(R.node[0].sd) + vms_wal_used_bytes(n->wal) + (512 << 10);
	sim_disk_space(R.node[0].sd, room * 32 / 29);
	rig_run(&R, 1000);
	while (n->space_ms - n->now_ms < 450)
		rig_run(&R, 10);
	CU_ASSERT_FALSE(n->nospc);
	for (i = 0; i < 400 && !rc && n->now_ms < n->space_ms; i++) {
		v_fill(b, next_id++);
		rc = v_write_raw(v, 1, i % 100, 1, 0xff, b, V_CHUNK);
	}
	CU_ASSERT_EQUAL(rc, VMS_E_NOSPC);
	CU_ASSERT_TRUE(i > 60 && i < 140);
	v_down();
}

static struct part *led(void)
{
	return R.node[rig_primary(&R, 0)].n->part[0];
}

static unsigned told_permille(void)
{
	json_t *o = vms_node_json(R.node[rig_primary(&R, 0)].n, "status");
	unsigned n = (unsigned)json_integer_value(json_object_get(o, "container_numbers_permille"));

	json_decref(o);
	return n;
}

/* Numbers are given once and end. A write says so before it is taken; what is in the log has
 * numbers left, and everything that needs none goes on. */
static void test_used_up(void)
{
	static uint8_t b[V_CHUNK];
	uint64_t end = vms_ctr_first(0, 0) + vms_ctr_count(0);
	struct v_vol *v;
	json_t *o;

	v_up(2, 2, 0, 48);
	v = v_create(0);
	v_learn();
	led()->next_ctr = end - vms_ctr_count(0) / 64 - 1;
	CU_ASSERT_EQUAL(told_permille(), 984);
	CU_ASSERT_EQUAL(v_write(v, 0, 0, next_id++), 0);
	led()->next_ctr = end - vms_ctr_count(0) / 64;
	v_fill(b, 1);
	CU_ASSERT_EQUAL(v_write_raw(v, 0, 60, 1, 0xff, b, V_CHUNK), VMS_E_NOSPC);
	o = vms_node_json(R.node[rig_primary(&R, 0)].n, "partitions");
	CU_ASSERT_PTR_NOT_NULL(strstr(
		json_string_value(json_object_get(json_array_get(o, 0), "text")), "used up"));
	json_decref(o);
	v_drain();
	CU_ASSERT_TRUE(led()->next_ctr > end - vms_ctr_count(0) / 64);
	v_zero(v, 0, 0, 10);
	for (unsigned i = 0; i < 2; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	CU_ASSERT_EQUAL(v_write_raw(v, 0, 60, 1, 0xff, b, V_CHUNK), VMS_E_NOSPC);
	v_check_all("no containers");
	v_down();

	v_up(2, 2, 0, 49);
	v = v_create(0);
	v_learn();
	led()->next_pos = vms_logpos_max(0) - 2 * NODE_CEILING_STEP - 50;
	CU_ASSERT_EQUAL(told_permille(), 999);
	for (unsigned i = 0; i < 50; i++)
		CU_ASSERT_EQUAL(v_write(v, 0, i, next_id++), 0);
	CU_ASSERT_EQUAL(v_write_raw(v, 0, 60, 1, 0xff, b, V_CHUNK), VMS_E_NOSPC);
	v_check_all("no places");
	v_drain();
	for (unsigned i = 0; i < 2; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	CU_ASSERT_EQUAL(v_write_raw(v, 0, 60, 1, 0xff, b, V_CHUNK), VMS_E_NOSPC);
	v_check_all("no places, started again");
	v_down();
}

/* A copy that is begun or deleted knows of no number: none of its partition's are used. */
static void test_no_number(void)
{
	struct part *p;
	uint64_t next;

	v_up(2, 2, 2, 50);
	p = R.node[rig_primary(&R, 0)].n->part[3];
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	next = p->next_ctr;
	CU_ASSERT_EQUAL(told_permille(), 0);
	p->next_ctr = 0; /* as part_forget() does */
	CU_ASSERT_EQUAL(told_permille(), 0);
	p->next_ctr = vms_ctr_first(3, 2) + vms_ctr_count(2) / 2;
	CU_ASSERT_EQUAL(told_permille(), 500);
	p->next_ctr = next;
	v_down();
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_FULL_MEMBER, test_full_member));
	CU_ASSERT_TRUE(v_catches(MUT_FULL_LATE, test_full_fast));
	CU_ASSERT_TRUE(v_catches(MUT_FULL_MOVE, test_full_cramped));
	CU_ASSERT_TRUE(v_catches(MUT_USED_UP, test_used_up));
	CU_ASSERT_FALSE(v_catches(MUT_NONE, test_full_fast));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_full),	     VMS_TEST(test_full_member), VMS_TEST(test_full_fast),
	VMS_TEST(test_full_cramped), VMS_TEST(test_used_up),	 VMS_TEST(test_mutants),
	VMS_TEST(test_no_number),
};

VMS_TEST_MAIN("gc_full", tests)
