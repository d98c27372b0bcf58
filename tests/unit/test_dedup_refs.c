// SPDX-License-Identifier: GPL-2.0-only
/* Deduplication: writes that carry fingerprints or addresses instead of bytes. */
#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "tests/unit/dedup_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"

/* REFS chunks from `chunk` on, by fingerprint; what is there into found. */
#define REFS 100u
static int put_ref(uint64_t branch, uint32_t extent, unsigned chunk, const uint64_t *seed,
		   uint32_t crc_wrong, uint64_t sequence, uint8_t found[REFS])
{
	uint8_t fps[32 * REFS], b[CHUNK];
	struct vms_fp *fp = vms_fp_open(NULL, 0);
	struct vms_piece pc[REFS];

	for (unsigned i = 0; i < REFS; i++) {
		fill(b, seed[i]);
		vms_fp_chunk(fp, b, CHUNK, fps + 32 * i);
		pc[i] = (struct vms_piece){(uint16_t)(chunk + i), 1, 0xff, 0,
					   vms_crc32c(0, b, CHUNK) ^ crc_wrong};
	}
	vms_fp_close(fp);
	return put_pieces(branch, extent, VMS_WRITE_REF, pc, REFS,
			  (struct vms_iov){fps, sizeof(fps)}, 2, sequence, found);
}

/* The same by address, as EXTENDED COPY does. */
static int put_copy(uint64_t branch, uint32_t extent, unsigned chunk, const vms_addr *addr,
		    unsigned n, uint64_t sequence, uint8_t *found)
{
	uint8_t payload[8 * REFS];
	struct vms_piece pc[REFS];

	for (unsigned i = 0; i < n; i++) {
		vms_put_le64(payload + 8 * i, addr[i]);
		pc[i] = (struct vms_piece){(uint16_t)(chunk + i), 1, 0xff, 0, 0};
	}
	return put_pieces(branch, extent, VMS_WRITE_COPY, pc, n, (struct vms_iov){payload, 8 * n},
			  3, sequence, found);
}

static void test_by_address(void)
{
	vms_addr a[REFS], wrong[REFS];
	uint8_t found[REFS], x[CHUNK];

	R.gen_bytes = 1 << 20;
	up(2, 3, 14);
	put_image(7, 0, 50000, 0);
	settle();
	rig_run(&R, 500);
	/* from the pages of another volume, in whatever partitions they lie */
	for (unsigned i = 0; i < REFS; i++)
		a[i] = wrong[i] = addr_of(7, 0, i);
	/* no chunk, and what is no address of a container: nothing happens */
	wrong[41] = vms_addr_make(vms_addr_container(a[41]) + 999, 64);
	wrong[43] = VMS_ADDR_HOLE;
	CU_ASSERT_EQUAL(put_copy(8, 5, 20, wrong, REFS, 1, found), VMS_E_NOENT);
	CU_ASSERT(found[43] == 0 && found[40] == 1);
	wrong[43] = a[43];
	CU_ASSERT_EQUAL(put_copy(8, 5, 20, wrong, REFS, 2, found), VMS_E_NOENT);
	CU_ASSERT(found[41] == 0 && found[40] == 1 && found[43] == 1);
	CU_ASSERT_EQUAL(get(8, 5, 20, x, 400), 0);
	CU_ASSERT_TRUE(vms_is_zero(x, CHUNK));
	CU_ASSERT_EQUAL(put_copy(8, 5, 20, a, REFS, 3, found), 0);
	for (unsigned i = 0; i < REFS; i++)
		expect(8, 5, 20 + i, 50000 + i);
	/* asked again: applied once, even with other content in between */
	put(8, 5, 21, 1);
	CU_ASSERT_EQUAL(put_copy(8, 5, 20, a, REFS, 3, found), 0);
	expect(8, 5, 21, 1);
	settle();
	/* drained, it is a reference */
	CU_ASSERT_EQUAL(addr_of(8, 5, 22), addr_of(7, 0, 2));
	restart_all(true);
	CU_ASSERT_EQUAL(put_copy(8, 5, 20, a, REFS, 3, found), 0);
	expect(8, 5, 21, 1);
	expect(8, 5, 22, 50002);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* Writes by reference wait with the chunks that they will have read, not with the few
 * bytes that came: the bound on what waiting writes take holds for them, too. */
static void test_refs_wait(void)
{
	enum { N = 512, OPS = 120 };
	static uint8_t body[VMS_WRITE_BODY_BYTES(N)], payload[8 * N];
	static struct vms_piece pc[N];
	struct vms_iov iov = {payload, sizeof(payload)};
	struct rig_reply re[OPS];
	unsigned lead, other, busy = 0;
	uint32_t part;
	struct vms_node *n;

	up(2, 3, 15);
	part = part_of(8, 5);
	lead = rig_primary(&R, part);
	n = R.node[lead].n;
	other = rig_conf(&R, part, NULL).member[1].node - 1;
	CU_ASSERT_NOT_EQUAL_FATAL(other, lead);
	rig_node_crash(&R, other, false);
	rig_run(&R, 100);
	for (unsigned i = 0; i < N; i++)
		pc[i] = (struct vms_piece){(uint16_t)i, 1, 0xff, 0, 0};
	vms_write_body_encode(body, VMS_WRITE_COPY, pc, N);
	for (unsigned i = 0; i < OPS; i++) {
		struct vms_msg m = {.type = VMS_MSG_WRITE,
				    .partition = part,
				    .branch = 8,
				    .snap_gen = 1,
				    .lun_fence = 1,
				    .extent = 5,
				    .slot = 10 + i,
				    .sequence = 1,
				    .epoch = node_part(n, part)->conf.epoch,
				    .payload = &iov,
				    .npayload = 1,
				    .payload_bytes = sizeof(payload),
				    .body = body,
				    .body_bytes = sizeof(body)};

		rig_send(&R, 0, lead, &m, &re[i]);
	}
	rig_run(&R, 200);
	for (unsigned i = 0; i < OPS; i++)
		busy += re[i].done && re[i].status == VMS_E_BUSY;
	CU_ASSERT(n->nwait > 0 && n->nwait * (uint64_t)N * CHUNK <= NODE_WAIT_BYTES_MAX);
	CU_ASSERT_EQUAL(busy + n->nwait, OPS);
	rig_run(&R, 4000); /* too old by now */
	for (unsigned i = 0; i < OPS; i++) {
		CU_ASSERT(re[i].done);
		if (re[i].done)
			rig_reply_free(&re[i]);
	}
	CU_ASSERT_EQUAL(n->nwait, 0);
	CU_ASSERT_EQUAL(n->wait_bytes, 0);
	rig_close(&R);
}

static void test_by_reference(void)
{
	uint64_t there[REFS], some[REFS];
	uint8_t found[REFS], x[CHUNK];
	unsigned n = 0;

	for (unsigned i = 0; i < REFS; i++)
		there[i] = some[i] = 50000 + i;
	some[41] = 99999;

	R.gen_bytes = 1 << 20;
	up(2, 3, 14);
	put_image(7, 0, 50000, 0);
	settle();
	rig_run(&R, 500);
	/* one is missing: nothing happens, the answer tells which */
	CU_ASSERT_EQUAL(put_ref(8, 5, 20, some, 0, 1, found), VMS_E_NOENT);
	for (unsigned i = 0; i < REFS; i++)
		n += found[i];
	CU_ASSERT_EQUAL(n, REFS - 1);
	CU_ASSERT_EQUAL(found[41], 0);
	CU_ASSERT_EQUAL(get(8, 5, 20, x, 400), 0);
	CU_ASSERT_TRUE(vms_is_zero(x, CHUNK));
	/* the gateway's checksum is of other content */
	CU_ASSERT_EQUAL(put_ref(8, 5, 20, there, 1, 2, found), VMS_E_NOENT);
	CU_ASSERT_EQUAL(put_ref(8, 5, 20, there, 0, 3, found), 0);
	for (unsigned i = 0; i < REFS; i++)
		expect(8, 5, 20 + i, there[i]);
	/* asked again: applied once, even with other content in between */
	put(8, 5, 21, 1);
	CU_ASSERT_EQUAL(put_ref(8, 5, 20, there, 0, 3, found), 0);
	expect(8, 5, 21, 1);
	settle();
	CU_ASSERT_EQUAL(addr_of(8, 5, 20), addr_of(7, 0, 0));
	CU_ASSERT_EQUAL(addr_of(8, 5, 22), addr_of(7, 0, 2));
	restart_all(true);
	CU_ASSERT_EQUAL(put_ref(8, 5, 20, there, 0, 3, found), 0);
	expect(8, 5, 21, 1);
	expect(8, 5, 22, there[2]);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* An image is there whose first chunks a write to (8, 5) refers to; who leads that. */
static unsigned refs_up(uint32_t mutant, uint8_t *payload, struct vms_piece *pc, unsigned refs)
{
	R.gen_bytes = 1 << 20;
	R.mutant = mutant;
	up(2, 3, 14);
	put_image(7, 0, 50000, 0);
	settle();
	rig_run(&R, 500);
	for (unsigned i = 0; i < refs; i++) {
		vms_put_le64(payload + 8 * i, addr_of(7, 0, i));
		pc[i] = (struct vms_piece){(uint16_t)i, 1, 0xff, 0, 0};
	}
	return rig_primary(&R, part_of(8, 5));
}

/* The most of the log that writes by reference were admitted for at a time, of n->log; all
 * of them have to end well. */
static uint64_t most_of_log(uint32_t mutant, uint64_t *client)
{
	enum { OPS = 24 };
	static uint8_t body[OPS][VMS_WRITE_BODY_BYTES(REFS)], payload[8 * REFS];
	struct vms_iov iov = {payload, sizeof(payload)};
	static struct rig_reply re[OPS];
	struct vms_piece pc[REFS];
	uint64_t most = 0;
	struct vms_node *n;
	unsigned lead, k = 0;

	lead = refs_up(mutant, payload, pc, REFS);
	n = R.node[lead].n;
	*client = vms_wal_size_bytes(n->wal) / 8 * 7;
	memset(re, 0, sizeof(re));
	for (uint32_t x = 0; k < OPS; x++) {
		uint32_t part = part_of(8, x);

		if (rig_primary(&R, part) != lead)
			continue;
		vms_write_body_encode(body[k], VMS_WRITE_COPY, pc, REFS);
		struct vms_msg m = {.type = VMS_MSG_WRITE,
				    .partition = part,
				    .branch = 8,
				    .snap_gen = 1,
				    .lun_fence = 1,
				    .extent = x,
				    .slot = 10 + k,
				    .sequence = 1,
				    .epoch = node_part(n, part)->conf.epoch,
				    .payload = &iov,
				    .npayload = 1,
				    .payload_bytes = sizeof(payload),
				    .body = body[k],
				    .body_bytes = VMS_WRITE_BODY_BYTES(REFS)};

		rig_send(&R, 0, lead, &m, &re[k++]);
	}
	for (unsigned ms = 0; ms < 1000; ms++) {
		rig_run(&R, 1);
		most = most > n->lock_bytes ? most : n->lock_bytes;
	}
	for (k = 0; !mutant && k < OPS; k++)
		CU_ASSERT(re[k].done && !re[k].status);
	CU_ASSERT(mutant || !n->lock_bytes);
	R.gen_bytes = 0;
	R.mutant = 0;
	rig_close(&R);
	return most;
}

/* They count as what they refer to before they have read it, or they would fill a small log,
 * and those of the other members, reserve and all, however full these are. */
static void test_refs_and_the_log(void)
{
	uint64_t client, most = most_of_log(0, &client);

	CU_ASSERT(most > 0 && most <= client * 6 / 10);
	CU_ASSERT(most_of_log(MUT_LOCK_FREE, &client) > client);
}

/* What of the pace's savings one write by reference has used when it is a lock, in bytes. */
static uint64_t pace_used(uint32_t mutant, uint64_t *bytes)
{
	enum { OP_REFS = 20 };
	static uint8_t body[VMS_WRITE_BODY_BYTES(OP_REFS)];
	uint8_t payload[8 * OP_REFS];
	struct vms_iov iov = {payload, sizeof(payload)};
	struct vms_piece pc[OP_REFS];
	struct rig_reply re = {0};
	uint64_t client, fake, used = 0;
	struct vms_node *n;
	unsigned lead;

	lead = refs_up(mutant, payload, pc, OP_REFS);
	n = R.node[lead].n;
	client = vms_wal_size_bytes(n->wal) / 8 * 7;
	vms_write_body_encode(body, VMS_WRITE_COPY, pc, OP_REFS);
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(8, 5),
			    .branch = 8,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = 5,
			    .slot = 10,
			    .sequence = 1,
			    .epoch = node_part(n, part_of(8, 5))->conf.epoch,
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = sizeof(payload),
			    .body = body,
			    .body_bytes = sizeof(body)};

	/* the log counts as full as where writers are let in slowest: little is saved up
	 * between two steps */
	CU_ASSERT_FATAL(log_permille(n) < 880);
	fake = client / 1000 * (880 - log_permille(n));
	n->lock_bytes += fake;
	n->pace_bytes = client;
	*bytes = OP_REFS * VMS_CHUNK_BYTES + 512;
	rig_send(&R, 0, lead, &m, &re);
	for (unsigned i = 0; i < 10000 && n->lock_bytes == fake; i++)
		rig_step(&R);
	CU_ASSERT_EQUAL(n->lock_bytes, fake + *bytes);
	/* it was cut to this before the lock was counted */
	used = client / 32 - n->pace_bytes;
	n->lock_bytes -= fake;
	rig_run(&R, 1000);
	CU_ASSERT(re.done && !re.status);
	rig_reply_free(&re);
	R.gen_bytes = 0;
	R.mutant = 0;
	rig_close(&R);
	return used;
}

/* Such a write waits for its turn to become a lock. It counts then, and only then. */
static void test_refs_count_once(void)
{
	uint64_t bytes;

	CU_ASSERT_EQUAL(pace_used(0, &bytes), bytes);
	CU_ASSERT(pace_used(MUT_LOCK_TWICE, &bytes) > bytes);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_refs_wait),	 VMS_TEST(test_by_reference),	 VMS_TEST(test_by_address),
	VMS_TEST(test_refs_and_the_log), VMS_TEST(test_refs_count_once),
};

VMS_TEST_MAIN("dedup_refs", tests)
