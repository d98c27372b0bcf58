// SPDX-License-Identifier: GPL-2.0-only
/* Storage node core: chunks shared between places, partitions and nodes. */
#include "backend/ctr.h"
#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/fplists.h"
#include "backend/hooks.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"
#include "utils/lib/rng.h"

#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

/* ---- requests ---- */

static uint32_t part_of(uint64_t branch, uint32_t extent)
{
	return vms_extent_partition(branch, extent, R.part_bits);
}

/* First extent of the branch (its own lineage) in a partition. */
static uint32_t ext_in(uint64_t branch, uint32_t part)
{
	for (uint32_t e = 0;; e++)
		if (part_of(branch, e) == part)
			return e;
}

static void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

static void connect_all(void)
{
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 400);
}

/* Send m to the primary of its partition until it is settled. */
static int ask(unsigned g, struct vms_msg *m, struct rig_reply *re, int tries)
{
	int st = VMS_E_TIMEOUT;

	for (int i = 0; i < tries; i++) {
		unsigned nd = rig_primary(&R, m->partition);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			m->flags |= m->type == VMS_MSG_WRITE ? VMS_F_RETRY : 0;
			continue;
		}
		m->epoch = R.gw[g].epoch[m->partition];
		m->tick = 0;
		rig_send(&R, g, nd, m, re);
		if (!rig_wait(&R, re, 20000)) {
			R.gw[g].nwait = 0;
			return VMS_E_TIMEOUT;
		}
		st = re->status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m->partition] = re->m.epoch;
		if (st == VMS_E_EPOCH || st == VMS_E_DISCONNECTED || st == VMS_E_AGAIN ||
		    st == VMS_E_NOT_PRIMARY || (st == VMS_E_BUSY && m->type != VMS_MSG_WRITE)) {
			rig_reply_free(re);
			if (st == VMS_E_DISCONNECTED && m->type == VMS_MSG_WRITE)
				m->flags |= VMS_F_RETRY;
			if (st != VMS_E_EPOCH && i + 1 < tries)
				rig_run(&R, 20);
			continue;
		}
		return st;
	}
	return st;
}

static int put_kind(uint64_t branch, uint32_t extent, unsigned chunk, uint8_t kind, uint8_t mask,
		    const uint8_t *data)
{
	struct vms_piece pc = {(uint16_t)chunk, 1, mask, 0, 0};
	size_t half = vms_mask_sectors(mask) * VMS_LB_BYTES;
	struct vms_iov iov = {data, kind == VMS_WRITE_CAW ? 2 * half : half};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(branch, extent),
			    .branch = branch,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = extent,
			    .slot = 1};
	int st;

	pc.crc = vms_crc32c(0, data + (iov.len - half), half);
	vms_write_body_encode(body, kind, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	m.payload = &iov;
	m.npayload = 1;
	m.payload_bytes = iov.len;
	m.sequence = ++R.gw[0].next_seq[1];
	st = ask(0, &m, &re, 400);
	if (re.done)
		rig_reply_free(&re);
	return st;
}

static void put(uint64_t branch, uint32_t extent, unsigned chunk, uint64_t seed)
{
	uint8_t b[CHUNK];

	fill(b, seed);
	CU_ASSERT_EQUAL(put_kind(branch, extent, chunk, VMS_WRITE_DATA, 0xff, b), 0);
}

static int get(uint64_t branch, uint32_t extent, unsigned chunk, uint8_t *out, int tries)
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

static void expect(uint64_t branch, uint32_t extent, unsigned chunk, uint64_t seed)
{
	uint8_t b[CHUNK], x[CHUNK];

	fill(b, seed);
	CU_ASSERT_EQUAL(get(branch, extent, chunk, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
}

static vms_addr addr_of(uint64_t branch, uint32_t extent, unsigned chunk)
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
static int addr_read(vms_addr a, uint8_t *out)
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

static struct part *led(uint32_t part)
{
	return node_part(R.node[rig_primary(&R, part)].n, part);
}

static bool drained(void)
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
static void settle(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].n)
			vms_wal_gen_seal(R.node[i].n->wal);
	for (int i = 0; i < 300 && !drained(); i++)
		rig_run(&R, 100);
	CU_ASSERT_TRUE(drained());
}

/* Bring everything down and up again. */
static void restart_all(bool power)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		rig_node_crash(&R, i, power);
	for (unsigned i = 0; i < R.nnodes; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	connect_all();
}

static void up(unsigned copies, unsigned bits, uint64_t seed)
{
	rig_open(&R, 3, copies, bits, seed);
	for (uint64_t v = 7; v < 10; v++)
		rig_volume(&R, v, VMS_ACK_DISK);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	connect_all();
}

/* Order a record that makes (branch, extent, chunk) refer to `to`. */
static void refer(uint64_t branch, uint32_t extent, unsigned chunk, vms_addr to)
{
	uint32_t number = part_of(branch, extent);
	struct vms_move m = {.branch = branch,
			     .snap_gen = 1,
			     .extent = extent,
			     .chunk = (uint16_t)chunk,
			     .valid = VMS_MASK_FULL,
			     .flags = VMS_MOVE_REF,
			     .from_seq = addr_of(branch, extent, chunk),
			     .to = to};
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[VMS_MOVES_META_MAX];

	vms_rec_moves_put(&r, meta, &m, 1);
	CU_ASSERT_EQUAL(part_order(R.node[rig_primary(&R, number)].n, led(number), &r, NULL, 0), 0);
}

/* ---- references by hand ---- */

/* A reference within the partition keeps its container from the collector, from the
 * moment it is ordered; after a restart too. */
static void test_own_partition(void)
{
	vms_addr a;
	struct ctr *c;
	uint32_t e;

	R.gen_bytes = 256 << 10;
	up(2, 2, 1);
	e = ext_in(7, 0);
	put(7, e, 1, 100);
	put(7, e, 2, 100);
	settle();
	a = addr_of(7, e, 1);
	CU_ASSERT_EQUAL(vms_addr_partition(a, 2), 0);
	refer(7, e, 2, a);
	c = part_ctr(led(0), vms_addr_container(a));
	CU_ASSERT_EQUAL(c->refs_ordered, 1);
	rig_run(&R, 100);
	c = part_ctr(led(0), vms_addr_container(a));
	CU_ASSERT_EQUAL(c->refs_ordered, 0);
	settle();
	CU_ASSERT_EQUAL(addr_of(7, e, 2), a);
	/* the first place goes: the reference alone keeps the chunk */
	for (unsigned i = 0; i < 500; i++)
		put(7, e, i == 2 ? 3 : i, 1000 + i);
	settle();
	rig_run(&R, 8000);
	expect(7, e, 2, 100);
	CU_ASSERT_EQUAL(addr_of(7, e, 2), addr_of(7, e, 2));
	restart_all(true);
	expect(7, e, 2, 100);
	CU_ASSERT_EQUAL(led(0)->moves_ordered, 0);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* A reference to a partition that this node does not have: reads, merges, compare and
 * write, drains over it; with the other node away it waits, and nothing is lost. */
static void test_foreign_base(void)
{
	uint32_t e, f, g;
	uint8_t b[CHUNK], x[CHUNK], d[1024];
	struct vms_node *n1;

	R.gen_bytes = 256 << 10;
	up(2, 2, 2);
	e = ext_in(7, 0); /* members 1, 2 */
	f = ext_in(8, 2); /* members 3, 1 */
	g = ext_in(8, 1); /* members 2, 3: node 1 has none of it */
	for (unsigned i = 0; i < 4; i++) {
		put(7, e, i, 200 + i);
		put(8, f, i, 200 + i);
		put(8, g, i, 200 + i);
	}
	settle();
	refer(7, e, 0, addr_of(8, f, 0));
	refer(7, e, 1, addr_of(8, g, 1));
	refer(7, e, 2, addr_of(8, g, 2));
	refer(7, e, 3, addr_of(8, g, 3));
	rig_run(&R, 200);
	settle();
	n1 = R.node[0].n;
	CU_ASSERT_EQUAL(addr_of(7, e, 1), addr_of(8, g, 1));
	CU_ASSERT_EQUAL(addr_read(addr_of(7, e, 1), x), 0);
	for (unsigned i = 0; i < 4; i++)
		expect(7, e, i, 200 + i);
	CU_ASSERT_TRUE(n1->st.fetched_remote > 0);
	/* some sectors over it, read from the log, drained on both members */
	fill(b, 201);
	memset(b + 512, 0x11, 1024);
	CU_ASSERT_EQUAL(put_kind(7, e, 1, VMS_WRITE_DATA, 0x06, b + 512), 0);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	settle();
	CU_ASSERT_EQUAL(vms_addr_partition(addr_of(7, e, 1), 2), 0);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	expect(8, g, 1, 201);
	/* compare and write on it */
	fill(b, 202);
	memcpy(d, b + 1024, 512);
	memset(d + 512, 0x22, 512);
	CU_ASSERT_EQUAL(put_kind(7, e, 2, VMS_WRITE_CAW, 0x04, d), 0);
	CU_ASSERT_EQUAL(put_kind(7, e, 2, VMS_WRITE_CAW, 0x04, d), VMS_E_MISCOMPARE);
	memset(b + 1024, 0x22, 512);
	CU_ASSERT_EQUAL(get(7, e, 2, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	/* its primary away: the other member serves */
	settle();
	rig_node_crash(&R, 1, false);
	rig_run(&R, 500);
	CU_ASSERT_EQUAL(get(7, e, 3, x, 10), 0);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	connect_all();
	/* power cut with the merge in the log only */
	fill(b, 203);
	memset(b, 0x33, 512);
	CU_ASSERT_EQUAL(put_kind(7, e, 3, VMS_WRITE_DATA, 0x01, b), 0);
	restart_all(true);
	CU_ASSERT_EQUAL(get(7, e, 3, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	settle();
	CU_ASSERT_EQUAL(get(7, e, 3, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* All that have a chunk to merge with are away: what needs it waits, the log does not. */
static void test_base_away(void)
{
	uint8_t b[CHUNK], x[CHUNK];
	uint32_t e, g, o;

	R.gen_bytes = 256 << 10;
	up(1, 2, 3);
	e = ext_in(7, 0); /* node 1 */
	g = ext_in(8, 1); /* node 2 */
	o = ext_in(7, 2); /* node 3 */
	put(7, e, 1, 300);
	put(8, g, 1, 300);
	settle();
	refer(7, e, 1, addr_of(8, g, 1));
	settle();
	fill(b, 300);
	memset(b, 0x44, 512);
	CU_ASSERT_EQUAL(put_kind(7, e, 1, VMS_WRITE_DATA, 0x01, b), 0);
	rig_node_crash(&R, 1, false);
	rig_run(&R, 500);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 3), VMS_E_AGAIN);
	/* the logs turn over several times */
	for (unsigned i = 0; i < 4000; i++) {
		put(7, e, 100 + i % 50, 5000 + i);
		put(7, o, 100 + i % 50, 5000 + i);
	}
	CU_ASSERT_TRUE(R.node[0].n->st.copied > 0);
	CU_ASSERT_TRUE(led(0)->base_wait);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	connect_all();
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	settle();
	CU_ASSERT_FALSE(led(0)->base_wait);
	restart_all(true);
	CU_ASSERT_EQUAL(get(7, e, 1, x, 400), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	for (unsigned i = 3950; i < 4000; i++)
		expect(7, e, 100 + i % 50, 5000 + i);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* ---- found at drain time ---- */

static struct dedup_stats sum(void)
{
	struct dedup_stats t = {0};

	for (unsigned i = 0; i < R.nnodes; i++) {
		const struct dedup_stats *s = R.node[i].n ? dedup_stats(R.node[i].n) : NULL;

		for (size_t k = 0; s && k < sizeof(t) / 8; k++)
			((uint64_t *)&t)[k] += ((const uint64_t *)s)[k];
	}
	return t;
}

static uint64_t ctr_bytes(void)
{
	uint64_t b = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		b += sim_disk_container_bytes(R.node[i].sd);
	return b;
}

/* 512 chunks, 128 in each of four extents from `extent` on, moved on by `shift`. */
static void put_image(uint64_t branch, uint32_t extent, uint64_t seed, unsigned shift)
{
	for (unsigned i = 0; i < 512; i++)
		put(branch, extent + i / 128, i % 128 + shift, seed + i);
}

static void expect_image(uint64_t branch, uint32_t extent, uint64_t seed, unsigned shift)
{
	for (unsigned i = 0; i < 512; i++)
		expect(branch, extent + i / 128, i % 128 + shift, seed + i);
}

/* How many of its chunks have an address that the first image has too. */
static unsigned shared_with(uint64_t a, uint32_t ea, unsigned sa, uint64_t b, uint32_t eb,
			    unsigned sb)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 512; i++)
		n += addr_of(a, ea + i / 128, i % 128 + sa) ==
		     addr_of(b, eb + i / 128, i % 128 + sb);
	return n;
}

/* Another volume, other partitions and nodes: the same chunks are stored once. After a
 * restart of all nodes too, when the hooks are read from the containers again. */
static void found_again(unsigned fp_bits, unsigned least)
{
	struct dedup_stats s;
	uint64_t one, two;
	uint8_t x[CHUNK], b[CHUNK];
	unsigned k;

	R.gen_bytes = 1 << 20;
	R.fp_bits = fp_bits;
	up(2, 3, 11);
	put_image(7, 0, 10000, 0);
	settle();
	rig_run(&R, 500);
	one = ctr_bytes();
	put_image(8, 100, 10000, 300);
	settle();
	two = ctr_bytes();
	expect_image(7, 0, 10000, 0);
	expect_image(8, 100, 10000, 300);
	k = shared_with(7, 0, 0, 8, 100, 300);
	s = sum();
	printf("[%u of 512 shared, %llu KiB, then %llu KiB more] ", k,
	       (unsigned long long)one >> 10, (unsigned long long)(two - one) >> 10);
	CU_ASSERT_TRUE(k >= least);
	CU_ASSERT_TRUE(s.hits_foreign >= least / 2);
	CU_ASSERT_TRUE(s.hooks_found > 0 && s.lists_fetched > 0 && s.shares > 0);
	/* what a gateway is told can be read at the address' own members */
	for (unsigned i = 0; i < 512; i += 37) {
		fill(b, 10000 + i);
		CU_ASSERT_EQUAL(addr_read(addr_of(8, 100 + i / 128, i % 128 + 300), x), 0);
		CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
	}
	restart_all(true);
	expect_image(8, 100, 10000, 300);
	rig_run(&R, 5000); /* hooks are told again */
	CU_ASSERT_TRUE(sum().hooks_told_again > 0);
	put_image(9, 50, 10000, 77);
	settle();
	k = shared_with(7, 0, 0, 9, 50, 77);
	CU_ASSERT_TRUE(k >= least);
	expect_image(9, 50, 10000, 77);
	R.gen_bytes = 0;
	R.fp_bits = 0;
	rig_close(&R);
}

static void test_found(void)
{
	found_again(0, 500);
}

/* Keys of 16 bits collide all the time: only the full fingerprint decides. */
static void test_short_keys(void)
{
	found_again(16, 300);
}

/* Equal chunks of one batch, and of one partition later on: no other node is asked. */
static void test_own(void)
{
	uint32_t e;
	vms_addr a;

	R.gen_bytes = 1 << 20;
	up(1, 0, 12);
	e = 0;
	for (unsigned i = 0; i < 200; i++)
		put(7, e, i, 77);
	settle();
	a = addr_of(7, e, 0);
	for (unsigned i = 1; i < 200; i++)
		CU_ASSERT_EQUAL(addr_of(7, e, i), a);
	CU_ASSERT_EQUAL(sum().hits_batch + sum().hits_own, 199);
	put(8, 9, 5, 77);
	settle();
	CU_ASSERT_EQUAL(addr_of(8, 9, 5), a);
	CU_ASSERT_EQUAL(sum().hits_batch + sum().hits_own, 200);
	CU_ASSERT_EQUAL(sum().shares, 0);
	expect(8, 9, 5, 77);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* A node that owns hooks and chunks hangs: look-ups end in time, drains go on, what is
 * not found is written. */
static void test_silent(void)
{
	uint64_t t0;
	uint32_t e;
	unsigned k = 0;

	R.gen_bytes = 1 << 20;
	up(2, 3, 13);
	put_image(7, 0, 30000, 0);
	settle();
	rig_run(&R, 500);
	e = ext_in(8, 0); /* nodes 1, 2 */
	for (unsigned i = 0; i < 200; i++)
		put(8, e, i, 30000 + i);
	R.node[2].fatal = true; /* it takes no event any more */
	vms_wal_gen_seal(R.node[0].n->wal);
	t0 = R.now_us;
	while (led(0)->ovl.npieces && R.now_us - t0 < 3000000)
		rig_step(&R);
	CU_ASSERT_EQUAL(led(0)->ovl.npieces, 0);
	CU_ASSERT_TRUE(R.now_us - t0 < 1500000);
	CU_ASSERT_TRUE(dedup_stats(R.node[0].n)->unanswered > 0);
	/* what the two others know was still found */
	CU_ASSERT_TRUE(dedup_stats(R.node[0].n)->hits_foreign > 0);
	for (unsigned i = 0; i < 200; i++)
		expect(8, e, i, 30000 + i);
	R.node[2].fatal = false;
	rig_node_crash(&R, 2, true);
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	connect_all();
	settle();
	for (unsigned i = 0; i < 200; i++) {
		expect(8, e, i, 30000 + i);
		k += addr_of(8, e, i) == addr_of(7, i / 128, i % 128);
	}
	printf("[%u of 200 found with a node silent] ", k);
	R.gen_bytes = 0;
	rig_close(&R);
}

/* ---- by reference ---- */

/* REFS chunks from `chunk` on, by fingerprint; what is there into found. */
#define REFS 100u
static int put_ref(uint64_t branch, uint32_t extent, unsigned chunk, const uint64_t *seed,
		   uint32_t crc_wrong, uint64_t sequence, uint8_t found[REFS])
{
	uint8_t body[VMS_WRITE_BODY_BYTES(REFS)], fps[32 * REFS], b[CHUNK];
	struct vms_fp *fp = vms_fp_open(NULL, 0);
	struct vms_iov iov = {fps, sizeof(fps)};
	struct vms_piece pc[REFS];
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(branch, extent),
			    .branch = branch,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = extent,
			    .slot = 2,
			    .sequence = sequence,
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = sizeof(fps),
			    .body = body,
			    .body_bytes = sizeof(body)};
	int st;

	for (unsigned i = 0; i < REFS; i++) {
		fill(b, seed[i]);
		vms_fp_chunk(fp, b, CHUNK, fps + 32 * i);
		pc[i] = (struct vms_piece){(uint16_t)(chunk + i), 1, 0xff, 0,
					   vms_crc32c(0, b, CHUNK) ^ crc_wrong};
	}
	vms_fp_close(fp);
	vms_write_body_encode(body, VMS_WRITE_REF, pc, REFS);
	st = ask(0, &m, &re, 400);
	memset(found, 9, REFS);
	if (st == VMS_E_NOENT && re.m.body_bytes == REFS)
		memcpy(found, re.body, REFS);
	if (re.done)
		rig_reply_free(&re);
	return st;
}

/* The same by address, as EXTENDED COPY does. */
static int put_copy(uint64_t branch, uint32_t extent, unsigned chunk, const vms_addr *addr,
		    unsigned n, uint64_t sequence, uint8_t *found)
{
	uint8_t body[VMS_WRITE_BODY_BYTES(REFS)], payload[8 * REFS];
	struct vms_iov iov = {payload, 8 * n};
	struct vms_piece pc[REFS];
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(branch, extent),
			    .branch = branch,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = extent,
			    .slot = 3,
			    .sequence = sequence,
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = 8 * n,
			    .body = body,
			    .body_bytes = VMS_WRITE_BODY_BYTES(n)};
	int st;

	for (unsigned i = 0; i < n; i++) {
		vms_put_le64(payload + 8 * i, addr[i]);
		pc[i] = (struct vms_piece){(uint16_t)(chunk + i), 1, 0xff, 0, 0};
	}
	vms_write_body_encode(body, VMS_WRITE_COPY, pc, n);
	st = ask(0, &m, &re, 400);
	memset(found, 9, n);
	if (st == VMS_E_NOENT && re.m.body_bytes == n)
		memcpy(found, re.body, n);
	if (re.done)
		rig_reply_free(&re);
	return st;
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

/* ---- long runs ---- */

/* Three volumes whose chunks come from a small pool, so that most of them are somewhere
 * already; now and then some sectors over one of them. */
#define POOL 60u
#define MEXT 5u
#define MCH  80u
static struct {
	uint8_t pool; /* 0: never written */
	uint8_t over; /* sectors overwritten, with */
	uint8_t value;
} M[3][MEXT][MCH];
static unsigned bad;

static void model_chunk(unsigned v, uint32_t e, unsigned c, uint8_t *out)
{
	memset(out, 0, CHUNK);
	if (M[v][e][c].pool)
		fill(out, 400000 + M[v][e][c].pool);
	for (unsigned s = 0; s < 8; s++)
		if (M[v][e][c].over >> s & 1)
			memset(out + 512 * s, M[v][e][c].value, 512);
}

static void model_op(void)
{
	unsigned v = (unsigned)vms_rng_below(&R.rng, 3);
	uint32_t e = (uint32_t)vms_rng_below(&R.rng, MEXT);
	unsigned c = (unsigned)vms_rng_below(&R.rng, MCH),
		 what = (unsigned)vms_rng_below(&R.rng, 100);
	unsigned run = what < 60 ? 1 + (unsigned)vms_rng_below(&R.rng, 40) : 1;
	uint8_t pool = (uint8_t)vms_rng_between(&R.rng, 1, POOL), b[CHUNK];
	int rc;

	for (; run && c < MCH; run--, c++) {
		if (what < 85) {
			/* runs follow the pool: neighbourhoods come again */
			fill(b, 400000 + pool);
			rc = put_kind(7 + v, e, c, VMS_WRITE_DATA, 0xff, b);
			if (!rc) {
				M[v][e][c].pool = pool;
				M[v][e][c].over = 0;
			}
			pool = pool == POOL ? 1 : pool + 1;
		} else {
			uint8_t mask = (uint8_t)(1u << vms_rng_below(&R.rng, 8));

			memset(b, 200 + v, 512);
			rc = put_kind(7 + v, e, c, VMS_WRITE_DATA, mask, b);
			if (!rc && M[v][e][c].over && M[v][e][c].value != 200 + v)
				bad++;
			if (!rc) {
				M[v][e][c].over |= mask;
				M[v][e][c].value = (uint8_t)(200 + v);
			}
		}
		if (rc && rc != VMS_E_BUSY && rc != VMS_E_TOO_OLD)
			bad++;
	}
}

static void model_check(void)
{
	uint8_t want[CHUNK], x[CHUNK];

	for (unsigned v = 0; v < 3; v++)
		for (uint32_t e = 0; e < MEXT; e++)
			for (unsigned c = 0; c < MCH && bad < 5; c++) {
				int rc = get(7 + v, e, c, x, 400);

				model_chunk(v, e, c, want);
				if (rc || memcmp(want, x, CHUNK)) {
					fprintf(stderr, "volume %u extent %u chunk %u: rc %d\n", v,
						e, c, rc);
					bad++;
				}
			}
}

/* Each address in a page of a primary can be read at a member of its partition. */
static int page_check(void *arg, const struct vms_page *pg)
{
	uint8_t x[CHUNK];

	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS && bad < 5; i++) {
		int rc = pg->entry[i] ? addr_read(pg->entry[i], x) : 0;

		if (rc) {
			fprintf(stderr, "page of partition %u names %llx: %s\n", pg->key.partition,
				(unsigned long long)pg->entry[i], vms_err_name(rc));
			bad++;
		}
	}
	return 0;
}

static void pages_check(void)
{
	for (uint32_t k = 0; k < 1u << R.part_bits; k++)
		vms_pages_each(R.node[rig_primary(&R, k)].n->pages, k, NULL, page_check, NULL);
}

/* The index of a node is lost, or says what is not so. */
static void spoil(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	if (vms_rng_below(&R.rng, 2)) {
		vms_hooks_free(d->hooks);
		vms_fplists_free(d->lists);
		d->hooks = vms_hooks_new(1 << 20);
		d->lists = vms_fplists_new(1 << 20);
		memset(d->recent, 0, (d->recent_mask + 1) * sizeof(*d->recent));
		return;
	}
	for (unsigned i = 1; i <= POOL; i++) {
		uint64_t part = vms_rng_below(&R.rng, 1u << R.part_bits);
		uint64_t ctr = vms_ctr_first((uint32_t)part, R.part_bits) + 1 +
			       vms_rng_below(&R.rng, 8);
		struct vms_fp *fp = vms_fp_open(NULL, 0);
		uint8_t b[CHUNK], f[32];
		struct recent *r;

		fill(b, 400000 + i);
		vms_fp_chunk(fp, b, CHUNK, f);
		vms_fp_close(fp);
		r = &d->recent[vms_mix64(dedup_key(d, f)) & d->recent_mask];
		r->key = dedup_key(d, f);
		r->addr = vms_addr_make(
			ctr, (uint32_t)vms_seg_chunk_offset((uint32_t)vms_rng_below(&R.rng, 6),
							    (unsigned)vms_rng_below(&R.rng, 64)));
		if (vms_is_hook(dedup_key(d, f)))
			vms_hooks_add(d->hooks, dedup_key(d, f), ctr,
				      vms_hooks_find(d->hooks, dedup_key(d, f)));
	}
}

static void model_run(uint64_t seed, unsigned fp_bits, bool power)
{
	struct dedup_stats all = {0};

	memset(M, 0, sizeof(M));
	bad = 0;
	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	R.fp_bits = fp_bits;
	up(2, 3, seed);
	for (unsigned round = 0; round < 10 && bad < 5; round++) {
		unsigned nd = (unsigned)vms_rng_below(&R.rng, 3);

		for (unsigned i = 0; i < 60 && bad < 5; i++)
			model_op();
		if (round % 3 == 2)
			rig_run(&R, 2000); /* collection */
		if (round % 2)
			spoil(R.node[vms_rng_below(&R.rng, R.nnodes)].n);
		all.hits_foreign += sum().hits_foreign;
		all.hits_own += sum().hits_own;
		/* in the midst of drains, confirmations, SHARE records */
		for (unsigned i = 0; i < R.nnodes; i++)
			vms_wal_gen_seal(R.node[i].n->wal);
		for (unsigned i = (unsigned)vms_rng_below(&R.rng, 400); i; i--)
			rig_step(&R);
		rig_node_crash(&R, nd, power);
		if (vms_rng_below(&R.rng, 3) == 0)
			rig_node_crash(&R, (nd + 1) % 3, power);
		rig_run(&R, vms_rng_below(&R.rng, 300));
		for (unsigned i = 0; i < R.nnodes; i++)
			if (!R.node[i].n)
				rig_node_start(&R, i);
		CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
		connect_all();
		for (unsigned i = 0; i < R.nnodes; i++)
			bad += R.node[i].fatal;
		model_check();
	}
	settle();
	pages_check();
	model_check();
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_TRUE(all.hits_foreign > 50);
	R.gen_bytes = R.fp_bits = 0;
	R.container_bytes = 0;
	rig_close(&R);
}

static void test_model(void)
{
	for (uint64_t s = 0; s < 6; s++)
		model_run(700 + s, s % 3 == 2 ? 16 : 0, s & 1);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_model),	     VMS_TEST(test_found),	VMS_TEST(test_short_keys),
	VMS_TEST(test_own),	     VMS_TEST(test_silent),	VMS_TEST(test_refs_wait),
	VMS_TEST(test_by_reference), VMS_TEST(test_by_address), VMS_TEST(test_own_partition),
	VMS_TEST(test_foreign_base), VMS_TEST(test_base_away),
};

VMS_TEST_MAIN("dedup", tests)
