/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests of gateways to three nodes that share chunks, and the state they come to: what
 * the tests of deduplication (test_dedup*.c) share.
 */
#ifndef VMS_TESTS_DEDUP_RIG_H
#define VMS_TESTS_DEDUP_RIG_H

#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

/* ---- requests ---- */

static inline uint32_t part_of(uint64_t branch, uint32_t extent)
{
	return vms_extent_partition(branch, extent, R.part_bits);
}

/* First extent of the branch (its own lineage) in a partition. */
static inline uint32_t ext_in(uint64_t branch, uint32_t part)
{
	for (uint32_t e = 0;; e++)
		if (part_of(branch, e) == part)
			return e;
}

static inline void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

static inline void connect_all(void)
{
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 400);
}

static inline int ask(unsigned g, struct vms_msg *m, struct rig_reply *re, int tries)
{
	return rig_ask(&R, g, m, re, tries, NULL);
}

/* A WRITE of n pieces; its status. found: NULL, or what of it is there when not all is. */
static inline int put_pieces(uint64_t branch, uint32_t extent, uint8_t kind, struct vms_piece *pc,
			     unsigned n, struct vms_iov iov, uint32_t slot, uint64_t sequence,
			     uint8_t *found)
{
	uint8_t body[VMS_WRITE_BODY_BYTES(VMS_SUBEXT_CHUNKS)];
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(branch, extent),
			    .branch = branch,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = extent,
			    .slot = slot,
			    .sequence = sequence,
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = iov.len,
			    .body = body,
			    .body_bytes = VMS_WRITE_BODY_BYTES(n)};
	int st;

	vms_assert(n <= VMS_SUBEXT_CHUNKS);
	vms_write_body_encode(body, kind, pc, n);
	st = ask(0, &m, &re, 400);
	if (found)
		memset(found, 9, n);
	if (found && st == VMS_E_NOENT && re.m.body_bytes == n)
		memcpy(found, re.body, n);
	if (re.done)
		rig_reply_free(&re);
	return st;
}

static inline int put_kind(uint64_t branch, uint32_t extent, unsigned chunk, uint8_t kind,
			   uint8_t mask, const uint8_t *data)
{
	struct vms_piece pc = {(uint16_t)chunk, 1, mask, 0, 0};
	size_t half = vms_mask_sectors(mask) * VMS_LB_BYTES;
	struct vms_iov iov = {data, kind == VMS_WRITE_CAW ? 2 * half : half};

	pc.crc = vms_crc32c(0, data + (iov.len - half), half);
	return put_pieces(branch, extent, kind, &pc, 1, iov, 1, ++R.gw[0].next_seq[1], NULL);
}

static inline void put(uint64_t branch, uint32_t extent, unsigned chunk, uint64_t seed)
{
	uint8_t b[CHUNK];

	fill(b, seed);
	CU_ASSERT_EQUAL(put_kind(branch, extent, chunk, VMS_WRITE_DATA, 0xff, b), 0);
}

static inline int get(uint64_t branch, uint32_t extent, unsigned chunk, uint8_t *out, int tries)
{
	uint8_t body[2];
	struct rig_reply re;
	int st = VMS_E_TIMEOUT;

	vms_put_le16(body, (uint16_t)chunk);
	for (int i = 0; i < tries; i++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = part_of(branch, extent),
				    .branch = branch,
				    .snap_gen = 1,
				    .extent = extent,
				    .body = body,
				    .body_bytes = 2};

		st = ask(1, &m, &re, tries);
		if (st)
			return st;
		st = (int16_t)vms_get_le16(re.body + 12);
		if (vms_get_le64(re.body) == VMS_ADDR_HOLE)
			memset(out, 0, CHUNK);
		else if (!st && re.m.payload_bytes == CHUNK)
			memcpy(out, re.payload, CHUNK);
		rig_reply_free(&re);
		if (st != VMS_E_AGAIN && st != VMS_E_GONE && st != VMS_E_UNKNOWN)
			return st;
		rig_run(&R, 20);
	}
	return st;
}

static inline void expect(uint64_t branch, uint32_t extent, unsigned chunk, uint64_t seed)
{
	uint8_t b[CHUNK], x[CHUNK];

	fill(b, seed);
	CU_ASSERT_EQUAL(get(branch, extent, chunk, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
}

static inline vms_addr addr_of(uint64_t branch, uint32_t extent, unsigned chunk)
{
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = part_of(branch, extent),
			    .branch = branch,
			    .snap_gen = 1,
			    .extent = extent,
			    .aux = 1u << chunk / VMS_SUBEXT_CHUNKS};
	struct rig_reply re;
	vms_addr a = VMS_ADDR_HOLE;

	CU_ASSERT_EQUAL_FATAL(ask(1, &m, &re, 400), 0);
	if (!re.body[5])
		a = vms_get_le64(re.body + 16 + 8 * (chunk % VMS_SUBEXT_CHUNKS));
	rig_reply_free(&re);
	return a;
}

/* What a gateway would do with the address: ask the members of its partition. */
static inline int addr_read(vms_addr a, uint8_t *out)
{
	struct rig_reply re;
	uint8_t body[8];
	int st = VMS_E_TIMEOUT;

	vms_put_le64(body, a);
	for (unsigned k = 0; k < R.copies; k++) {
		struct vms_msg m = {.type = VMS_MSG_READ_ADDR,
				    .partition = vms_addr_partition(a, R.part_bits),
				    .body = body,
				    .body_bytes = 8};
		unsigned nd = (rig_primary(&R, m.partition) + k) % R.nnodes;

		if (!R.gw[1].up[nd])
			continue;
		rig_send(&R, 1, nd, &m, &re);
		if (!rig_wait(&R, &re, 5000))
			continue;
		st = re.status ? re.status : (int16_t)vms_get_le16(re.body + 12);
		if (!st)
			memcpy(out, re.payload, CHUNK);
		rig_reply_free(&re);
		if (!st)
			return 0;
	}
	return st;
}

/* ---- state ---- */

static inline struct part *led(uint32_t part)
{
	return node_part(R.node[rig_primary(&R, part)].n, part);
}

static inline bool drained(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		for (uint32_t k = 0; R.node[i].n && k < 1u << R.part_bits; k++) {
			struct part *p = node_part(R.node[i].n, k);

			if (p && (p->ovl.npieces || p->ovl.nranges || p->moves_ordered ||
				  (part_serving(p) && p->safe_seq < p->drain_applied)))
				return false;
		}
	return true;
}

/* Everything written is drained and in the durable index of all members. */
static inline void settle(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].n)
			vms_wal_gen_seal(R.node[i].n->wal);
	for (int i = 0; i < 300 && !drained(); i++)
		rig_run(&R, 100);
	CU_ASSERT_TRUE(drained());
}

/* Bring everything down and up again. */
static inline void restart_all(bool power)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		rig_node_crash(&R, i, power);
	for (unsigned i = 0; i < R.nnodes; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	connect_all();
}

static inline void up(unsigned copies, unsigned bits, uint64_t seed)
{
	rig_open(&R, 3, copies, bits, seed);
	for (uint64_t v = 7; v < 10; v++)
		rig_volume(&R, v, VMS_ACK_DISK);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	connect_all();
}

static inline struct dedup_stats sum(void)
{
	struct dedup_stats t = {0};

	for (unsigned i = 0; i < R.nnodes; i++) {
		const struct dedup_stats *s = R.node[i].n ? dedup_stats(R.node[i].n) : NULL;

		for (size_t k = 0; s && k < sizeof(t) / 8; k++)
			((uint64_t *)&t)[k] += ((const uint64_t *)s)[k];
	}
	return t;
}

/* 512 chunks, 128 in each of four extents from `extent` on, moved on by `shift`. */
static inline void put_image(uint64_t branch, uint32_t extent, uint64_t seed, unsigned shift)
{
	for (unsigned i = 0; i < 512; i++)
		put(branch, extent + i / 128, i % 128 + shift, seed + i);
}

#endif
