// SPDX-License-Identifier: GPL-2.0-only
/* What a member whose log fills up asks of the primary, and that it is heard. Both cases
 * once left a log full for good, so that every write ended BUSY. */
#include "backend/drain_int.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"

#define BR 7ull

static struct rig R;

static void up(uint64_t seed)
{
	R.failover = true;
	R.min_copies = 1;
	rig_open(&R, 2, 2, 1, seed);
	rig_volume(&R, BR, VMS_ACK_DISK);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	rig_run(&R, 6000);
}

/* A request for the same records as before counts: the scan that it led to may have found
 * members not ready, or had no room for all. */
static void a_member_that_asks_again_is_heard(void)
{
	for (unsigned mutant = 0; mutant < 2; mutant++) {
		uint8_t body[16] = {0};
		struct vms_msg m = {.type = VMS_MSG_DRAIN,
				    .partition = VMS_PART_NONE,
				    .body = body,
				    .body_bytes = sizeof(body)};
		struct vms_node *n;
		struct part *p;
		struct conn *c;

		R.mutant = mutant ? MUT_DRAIN_ONCE : 0;
		up(5);
		n = R.node[rig_primary(&R, 0)].n;
		p = node_part(n, 0);
		c = conn_get(n, n->peer[0]->conn);
		CU_ASSERT_PTR_NOT_NULL_FATAL(c);
		CU_ASSERT_TRUE(p->primary && part_serving(p));
		vms_put_le32(body, 0);
		vms_put_le64(body + 8, p->seq_last);
		p->scan_due = false;
		drain_msg(n, c, &m);
		CU_ASSERT_TRUE(p->scan_due);
		/* the scan has been, and did not do it */
		p->scan_due = false;
		drain_msg(n, c, &m);
		CU_ASSERT_EQUAL(p->scan_due, !mutant);
		rig_close(&R);
	}
	R.mutant = 0;
}

/* What has to be drained for the log below a place to be free: the newest record there,
 * though an older one lies above it, copied forward. */
static void what_lies_behind_a_record_copied_forward_is_asked_for(void)
{
	static const uint64_t pos[] = {4096, 90112, 8192, 12288, 94208};
	const char *env = getenv("VMS_NODE_MUTANT"); /* would this test find it? */
	unsigned mut = env ? (unsigned)atoi(env) : MUT_NONE;
	struct part p = {.recs_first = 21};

	for (unsigned i = 0; i < 5; i++)
		*VMS_VEC_ADD(&p.recs) = (struct prec){.log_pos = pos[i]};
	CU_ASSERT_EQUAL(drain_seq_below(&p, 65536, mut), 24);
	CU_ASSERT_EQUAL(drain_seq_below(&p, 8192, mut), 21);
	CU_ASSERT_EQUAL(drain_seq_below(&p, 1ull << 40, mut), 25);
	CU_ASSERT_EQUAL(drain_seq_below(&p, 65536, MUT_DRAIN_SHORT), 21);
	VMS_VEC_FREE(&p.recs);
}

/* Threads of the disk read from the log: what they have been lent stays until it is returned,
 * whether anything else needs it or not. */
static void a_log_that_is_lent_is_not_freed(void)
{
	struct log_lend one = {.pos = 0}, two = {.pos = 0};
	struct vms_node *n;
	uint64_t oldest;

	for (unsigned lent = 0; lent < 2; lent++) {
		up(6);
		n = R.node[0].n;
		oldest = vms_wal_gen_oldest(n->wal);
		if (lent) {
			log_lend(n, &one, vms_wal_appended_pos(n->wal));
			log_lend(n, &two, vms_wal_appended_pos(n->wal));
			/* the lowest position counts */
			log_lend(n, &one, vms_wal_gen_start_pos(n->wal, oldest));
		}
		for (unsigned i = 0; i < 2; i++)
			vms_node_drain(R.node[i].n);
		rig_run(&R, 8000);
		CU_ASSERT_EQUAL(vms_wal_gen_oldest(n->wal) == oldest, lent);
		log_return(n, &one);
		log_return(n, &one);
		log_return(n, &two);
		CU_ASSERT_PTR_NULL(n->lends);
		rig_run(&R, 8000);
		CU_ASSERT_TRUE(vms_wal_gen_oldest(n->wal) > oldest);
		rig_close(&R);
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(a_member_that_asks_again_is_heard),
	VMS_TEST(what_lies_behind_a_record_copied_forward_is_asked_for),
	VMS_TEST(a_log_that_is_lent_is_not_freed),
};
VMS_TEST_MAIN("drain", tests)
