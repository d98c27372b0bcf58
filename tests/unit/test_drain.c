// SPDX-License-Identifier: GPL-2.0-only
/* What a member whose log fills up asks of the primary, and that it is heard: both cases
 * once left a log full for good, so that every write ended BUSY. And how much goes to one
 * container. */
#include "backend/checkpoint.h"
#include "backend/drain.h"
#include "backend/drain_int.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

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

/* ---- how large containers get ---- */

#define RUN_CHUNKS 318u /* less than makes the log drain by itself, if written at once */
#define RUN_OF	   32u	/* in each write */

/* Writes RUN_CHUNKS chunks of an extent of partition 0 and has them drained; of every `of`
 * places the last one is left out, if it is not 0. */
static void write_and_drain(unsigned of)
{
	enum { WRITES = (RUN_CHUNKS + RUN_OF - 1) / RUN_OF };
	static uint8_t data[RUN_CHUNKS][VMS_CHUNK_BYTES];
	struct rig_reply re[WRITES];
	unsigned lead = rig_primary(&R, 0);
	uint32_t extent = 0;
	struct vms_rng g;

	while (vms_extent_partition(BR, extent, R.part_bits) != 0)
		extent++;
	vms_rng_init(&g, 17);
	vms_rng_fill(&g, data, sizeof(data));
	rig_gw_connect(&R, 0, lead);
	rig_run(&R, 500);
	for (unsigned i = 0; i < 2; i++) /* no draining before all is there */
		R.node[i].n->gen_seal_ms = R.now_us / 1000;
	for (unsigned w = 0; w < WRITES; w++) {
		unsigned first = w * RUN_OF,
			 k = RUN_CHUNKS - first < RUN_OF ? RUN_CHUNKS - first : RUN_OF;
		uint8_t body[VMS_WRITE_BODY_BYTES(RUN_OF)];
		struct vms_piece pc[RUN_OF];
		struct vms_iov iov = {data[first], (size_t)k * VMS_CHUNK_BYTES};
		struct vms_msg m = {.type = VMS_MSG_WRITE,
				    .partition = 0,
				    .epoch = rig_conf(&R, 0, NULL).epoch,
				    .branch = BR,
				    .snap_gen = 1,
				    .lun_fence = 1,
				    .extent = extent,
				    .slot = w,
				    .sequence = ++R.gw[0].next_seq[w],
				    .body = body,
				    .payload = &iov,
				    .npayload = 1,
				    .payload_bytes = iov.len};

		for (unsigned i = 0; i < k; i++) {
			unsigned at = first + i;

			pc[i] = (struct vms_piece){
				.chunk = (uint16_t)(of ? at / (of - 1) * of + at % (of - 1) : at),
				.count = 1,
				.mask = VMS_MASK_FULL,
				.crc = vms_crc32c(0, data[at], VMS_CHUNK_BYTES)};
		}
		vms_write_body_encode(body, VMS_WRITE_DATA, pc, k);
		m.body_bytes = VMS_WRITE_BODY_BYTES(k);
		rig_send(&R, 0, lead, &m, &re[w]);
	}
	for (unsigned w = 0; w < WRITES; w++) {
		CU_ASSERT_TRUE_FATAL(rig_wait(&R, &re[w], 5000));
		CU_ASSERT_EQUAL_FATAL(re[w].status, 0);
		rig_reply_free(&re[w]);
	}
	for (unsigned i = 0; i < 2; i++)
		vms_node_drain(R.node[i].n);
	rig_run(&R, 5000);
}

/* What is written one after the other goes to one container, which is closed with it; what has
 * gaps goes to several of the usual size. The same on all replicas, and after a loss of power. */
static void neighbours_share_a_container(void)
{
	for (unsigned gaps = 0; gaps < 2; gaps++) {
		up(7);
		write_and_drain(gaps ? 7 : 0);
		for (unsigned again = 0; again < 2; again++) {
			for (unsigned i = 0; i < 2; i++) {
				struct part *p = node_part(R.node[i].n, 0);
				unsigned count = 0, chunks = 0, most = 0, sealed = 0;

				VMS_VEC_FOREACH (&p->ctrs, c) {
					count += c->chunks != 0;
					chunks += c->chunks;
					sealed += c->state == 2;
					most = c->chunks > most ? c->chunks : most;
				}
				CU_ASSERT_EQUAL(chunks, RUN_CHUNKS);
				CU_ASSERT_EQUAL(count, 1 + gaps);
				if (gaps)
					CU_ASSERT_TRUE(most <= CTR_CHUNKS_MIN);
				/* after a new start all are */
				CU_ASSERT_EQUAL(sealed, 1 + (gaps && again));
			}
			for (unsigned i = 0; i < 2 && !again; i++) {
				rig_node_crash(&R, i, true);
				CU_ASSERT_PTR_NULL(rig_fsck(&R, i));
			}
			for (unsigned i = 0; i < 2 && !again; i++)
				rig_node_start(&R, i);
			CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
			rig_run(&R, 3000);
		}
		rig_close(&R);
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(a_member_that_asks_again_is_heard),
	VMS_TEST(what_lies_behind_a_record_copied_forward_is_asked_for),
	VMS_TEST(a_log_that_is_lent_is_not_freed),
	VMS_TEST(neighbours_share_a_container),
};
VMS_TEST_MAIN("drain", tests)
