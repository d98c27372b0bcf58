// SPDX-License-Identifier: GPL-2.0-only
/* Storage node core: chunks shared between places, partitions and nodes. */
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"

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
	struct vms_msg m = {.type = VMS_MSG_WRITE, .partition = part_of(branch, extent),
			    .branch = branch, .snap_gen = 1, .lun_fence = 1, .extent = extent,
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
		struct vms_msg m = {.type = VMS_MSG_READ_LBA, .partition = part_of(branch, extent),
				    .branch = branch, .snap_gen = 1, .extent = extent,
				    .body = body, .body_bytes = 2};

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
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES, .partition = part_of(branch, extent),
			    .branch = branch, .snap_gen = 1, .extent = extent,
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
				    .body = body, .body_bytes = 8};
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
	struct vms_move m = {.branch = branch, .snap_gen = 1, .extent = extent,
			     .chunk = (uint16_t)chunk, .valid = VMS_MASK_FULL,
			     .flags = VMS_MOVE_REF, .from_seq = addr_of(branch, extent, chunk),
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

static const struct vms_test tests[] = {
	VMS_TEST(test_own_partition),
	VMS_TEST(test_foreign_base),
	VMS_TEST(test_base_away),
};

VMS_TEST_MAIN("dedup", tests)
