// SPDX-License-Identifier: GPL-2.0-only
/* Storage node core: several nodes in one process over simulated disks. */
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"

#define BR    7ull
#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

static uint32_t part_of(uint32_t extent)
{
	return vms_extent_partition(BR, extent, R.part_bits);
}

static void up(unsigned nnodes, unsigned copies, unsigned bits, uint64_t seed, unsigned ack)
{
	rig_open(&R, nnodes, copies, bits, seed);
	rig_volume(&R, BR, ack);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 600);
}

static void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

struct w {
	uint8_t kind, mask;
	uint16_t chunk, count;
	uint32_t extent, flags, slot;
	uint64_t sequence, tick, tick_inc;
	const uint8_t *data;
	size_t bytes;
};

static void write_send(unsigned g, const struct w *w, struct rig_reply *re)
{
	struct vms_piece pc = {w->chunk, w->count ? w->count : 1, w->mask ? w->mask : 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {w->data, w->bytes};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(w->extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = w->extent,
			    .flags = (uint16_t)w->flags,
			    .slot = w->slot,
			    .sequence = w->sequence,
			    .tick = w->tick,
			    .tick_incarnation = w->tick_inc};
	size_t off = w->kind == VMS_WRITE_CAW ? w->bytes / 2 : 0;

	if (w->kind != VMS_WRITE_ZERO)
		pc.crc = vms_crc32c(0, w->data + off, w->bytes - off);
	vms_write_body_encode(body, w->kind, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	if (w->bytes) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = w->bytes;
	}
	m.epoch = R.gw[g].epoch[m.partition];
	rig_send(&R, g, rig_primary(&R, m.partition), &m, re);
}

static void part_print(uint32_t number)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		struct part *p = R.node[i].n ? node_part(R.node[i].n, number) : NULL;
		struct vms_node *n = R.node[i].n;

		if (!p)
			continue;
		fprintf(stderr,
			"node %u part %u primary %d state %d seq %llu com %llu app %llu own %llu "
			"all "
			"%llu told %llu wait %u pend %d inval %u locks %d ceil %llu/%llu pos %llu "
			"room "
			"%llu used %llu nospc %d\n",
			i + 1, number, p->primary, p->state, (unsigned long long)p->seq_last,
			(unsigned long long)p->committed, (unsigned long long)p->applied,
			(unsigned long long)p->own_durable, (unsigned long long)p->all_durable,
			(unsigned long long)p->told_commit, p->nwait, p->pend_head != NULL,
			p->pend_head ? p->pend_head->inval_left : 0, p->locks != NULL,
			(unsigned long long)p->ceiling, (unsigned long long)p->ceiling_ordered,
			(unsigned long long)p->next_pos,
			(unsigned long long)vms_wal_room_bytes(n->wal),
			(unsigned long long)vms_wal_used_bytes(n->wal), n->nospc);
		for (unsigned k = 0; k < p->nm; k++)
			fprintf(stderr, "   member %u streaming %d sent %llu held %llu dur %llu\n",
				p->m[k].node, p->m[k].streaming, (unsigned long long)p->m[k].sent,
				(unsigned long long)p->m[k].held,
				(unsigned long long)p->m[k].durable);
	}
}

/* Write and retry until it is settled. */
static int write_sync(unsigned g, struct w *w)
{
	struct rig_reply re;
	int st = VMS_E_TIMEOUT;

	if (!w->sequence)
		w->sequence = ++R.gw[g].next_seq[w->slot];
	for (int i = 0; i < 400; i++) {
		uint32_t p = part_of(w->extent);
		unsigned nd = rig_primary(&R, p);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			w->flags |= VMS_F_RETRY;
			continue;
		}
		write_send(g, w, &re);
		if (!rig_wait(&R, &re, 20000)) {
			part_print(p);
			R.gw[g].nwait = 0;
			return VMS_E_TIMEOUT;
		}
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[p] = re.m.epoch;
		rig_reply_free(&re);
		if (st == VMS_E_DISCONNECTED || st == VMS_E_AGAIN || st == VMS_E_NOT_PRIMARY) {
			w->flags |= VMS_F_RETRY;
			rig_run(&R, 50);
			continue;
		}
		if (st != VMS_E_EPOCH)
			return st;
	}
	return st;
}

static int lba_read(unsigned g, uint32_t extent, uint16_t chunk, uint8_t *out, vms_addr *addr)
{
	struct rig_reply re;
	uint8_t body[2];
	int st = VMS_E_TIMEOUT;

	vms_put_le16(body, chunk);
	for (int i = 0; i < 400; i++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = part_of(extent),
				    .branch = BR,
				    .snap_gen = 1,
				    .extent = extent,
				    .body = body,
				    .body_bytes = 2};
		unsigned nd = rig_primary(&R, m.partition);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			continue;
		}
		m.epoch = R.gw[g].epoch[m.partition];
		rig_send(&R, g, nd, &m, &re);
		if (!rig_wait(&R, &re, 20000))
			return VMS_E_TIMEOUT;
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m.partition] = re.m.epoch;
		if (st == 0) {
			*addr = vms_get_le64(re.body);
			st = (int16_t)vms_get_le16(re.body + 12);
			if (st == VMS_E_GONE || st == VMS_E_UNKNOWN) {
				rig_reply_free(&re);
				rig_run(&R, 10);
				continue;
			}
			if (*addr == VMS_ADDR_HOLE)
				memset(out, 0, CHUNK);
			else if (st == 0 && re.m.payload_bytes == CHUNK)
				memcpy(out, re.payload, CHUNK);
			if (st == 0 && *addr &&
			    vms_crc32c(0, out, CHUNK) != vms_get_le32(re.body + 8))
				st = VMS_E_CORRUPT;
			rig_reply_free(&re);
			return st;
		}
		rig_reply_free(&re);
		rig_run(&R, 20);
	}
	return st;
}

static int get_page(unsigned g, uint32_t extent, unsigned sub, vms_addr *entry)
{
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = part_of(extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .extent = extent,
			    .aux = 1u << sub};
	unsigned nd = rig_primary(&R, m.partition);
	int st;

	for (int i = 0; i < 400; i++) {
		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			continue;
		}
		m.epoch = R.gw[g].epoch[m.partition];
		m.tick = 0;
		rig_send(&R, g, nd, &m, &re);
		if (!rig_wait(&R, &re, 20000))
			return VMS_E_TIMEOUT;
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m.partition] = re.m.epoch;
		if (!st) {
			CU_ASSERT_EQUAL(vms_get_le32(re.body), 1);
			for (unsigned k = 0; k < 128; k++)
				entry[k] = re.body[5] & 1 ? 0 : vms_get_le64(re.body + 16 + 8 * k);
			rig_reply_free(&re);
			return 0;
		}
		rig_reply_free(&re);
		rig_run(&R, 20);
	}
	return VMS_E_TIMEOUT;
}

static int addr_read(unsigned g, unsigned nd, vms_addr a, uint8_t *out)
{
	struct rig_reply re;
	uint8_t body[8];
	struct vms_msg m = {.type = VMS_MSG_READ_ADDR,
			    .partition = vms_addr_partition(a, R.part_bits),
			    .body = body,
			    .body_bytes = 8};
	int st;

	vms_put_le64(body, a);
	rig_send(&R, g, nd, &m, &re);
	if (!rig_wait(&R, &re, 20000))
		return VMS_E_TIMEOUT;
	st = re.status;
	if (!st) {
		st = (int16_t)vms_get_le16(re.body + 12);
		if (!st)
			memcpy(out, re.payload, CHUNK);
	}
	rig_reply_free(&re);
	return st;
}

static void test_write_read(void)
{
	uint8_t a[CHUNK], b[CHUNK], x[CHUNK];
	vms_addr addr, e[128];
	struct w w = {.kind = VMS_WRITE_DATA, .extent = 3, .chunk = 5, .data = a, .bytes = CHUNK};

	up(3, 2, 3, 1, VMS_ACK_DISK);
	fill(a, 1);
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	CU_ASSERT_EQUAL(lba_read(1, 3, 5, x, &addr), 0);
	CU_ASSERT_EQUAL(memcmp(a, x, CHUNK), 0);
	CU_ASSERT_TRUE(vms_addr_is_log(addr, R.part_bits));
	CU_ASSERT_EQUAL(get_page(1, 3, 0, e), 0);
	CU_ASSERT_EQUAL(e[5], addr);
	CU_ASSERT_EQUAL(e[6], 0);
	/* a part of it: the old address is gone, the new one names the merged chunk */
	fill(b, 2);
	w = (struct w){.kind = VMS_WRITE_DATA,
		       .extent = 3,
		       .chunk = 5,
		       .mask = 0x0c,
		       .data = b,
		       .bytes = 1024};
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 1);
	CU_ASSERT_EQUAL(addr_read(1, rig_primary(&R, part_of(3)), addr, x), VMS_E_GONE);
	memcpy(a + 1024, b, 1024);
	CU_ASSERT_EQUAL(lba_read(1, 3, 5, x, &addr), 0);
	CU_ASSERT_EQUAL(memcmp(a, x, CHUNK), 0);
	/* zeros are a hole */
	w = (struct w){.kind = VMS_WRITE_ZERO, .extent = 3, .chunk = 0, .count = 100};
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	CU_ASSERT_EQUAL(lba_read(1, 3, 5, x, &addr), 0);
	CU_ASSERT_EQUAL(addr, VMS_ADDR_HOLE);
	rig_close(&R);
}

static void put(uint32_t ext, unsigned ch, uint64_t seed, unsigned flags, int want);
static void expect(uint32_t ext, unsigned ch, uint64_t seed);

static void test_late(void)
{
	uint8_t a[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = 0,
		      .chunk = 1,
		      .data = a,
		      .bytes = CHUNK,
		      .sequence = 5,
		      .slot = 3};
	uint64_t tick, inc;
	unsigned nd;
	struct rig_reply re;

	up(3, 2, 2, 2, VMS_ACK_DISK);
	fill(a, 1);
	nd = rig_primary(&R, part_of(0));
	tick = R.gw[0].tick[nd];
	inc = R.gw[0].tick_inc[nd];
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	/* the same op again: its old answer; a lower sequence: refused */
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	CU_ASSERT_EQUAL(R.node[nd].n->st.dups, 1);
	w.sequence = 4;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_STALE_SEQ);
	/* too old, by the tick; a tick of another process; no tick */
	rig_run(&R, 3000);
	w.sequence = 6;
	w.tick = tick;
	w.tick_inc = inc;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_TOO_OLD);
	w.tick = R.gw[0].tick[nd];
	w.tick_inc = inc + 1;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_TOO_OLD);
	w.tick = 0;
	/* a cancel before it arrives leaves a tombstone */
	{
		struct vms_msg m = {
			.type = VMS_MSG_CANCEL, .partition = part_of(0), .slot = 3, .sequence = 7};

		rig_send(&R, 0, nd, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
		CU_ASSERT_EQUAL(re.status, 0);
		rig_reply_free(&re);
	}
	w.sequence = 7;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_CANCELLED);
	/* an older incarnation of the gateway is fenced off */
	R.gw[1].id = 1;
	R.gw[1].incarnation = 2;
	for (unsigned i = 0; i < 3; i++) {
		R.gw[1].conn[i] = 0;
		rig_gw_connect(&R, 1, i);
	}
	rig_run(&R, 500);
	CU_ASSERT_TRUE(R.gw[1].up[nd]);
	CU_ASSERT_FALSE(R.gw[0].up[nd]);
	rig_close(&R);
}

/* No op of an older process of a gateway, once the node has heard of a newer one: through
 * the catalog, by HELLO, and after a power failure of all. */
static void test_older_gateway(void)
{
	struct vms_cat_gateway g = {.id = 1, .name = "g", .incarnation = 5};
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint8_t a[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = 0,
		      .chunk = 1,
		      .data = a,
		      .bytes = CHUNK,
		      .sequence = 5,
		      .slot = 3};
	unsigned nd;

	up(3, 2, 2, 3, VMS_ACK_DISK);
	fill(a, 1);
	nd = rig_primary(&R, part_of(0));
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	/* its connection is as good as before */
	vms_cat_key_gateway(key, g.id);
	rig_put(&R, key, vms_cat_gateway_encode(&g));
	rig_run(&R, 200);
	CU_ASSERT_TRUE_FATAL(R.gw[0].up[nd]);
	w.sequence = 6;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_INCARNATION);
	R.gw[1].id = 1;
	R.gw[1].incarnation = 6;
	for (unsigned i = 0; i < 3; i++) {
		R.gw[1].conn[i] = 0;
		rig_gw_connect(&R, 1, i);
	}
	rig_run(&R, 500);
	CU_ASSERT_TRUE(R.gw[1].up[nd]);
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	rig_put(&R, key, NULL);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	R.gw[0].incarnation = 5;
	rig_gw_connect(&R, 0, nd);
	rig_run(&R, 500);
	CU_ASSERT_FALSE(R.gw[0].up[nd]);
	rig_gw_connect(&R, 1, nd);
	rig_run(&R, 500);
	CU_ASSERT_TRUE(R.gw[1].up[nd]);
	rig_close(&R);
}

/* The log is nearly full while an index commit takes long: what it is to free is not
 * written over before it has ended. */
static void test_free_late(void)
{
	for (uint64_t seed = 60; seed < 64; seed++) {
		unsigned n = 0;
		int rc = 0, busy = 0;

		R.gen_bytes = 1 << 20;
		up(1, 1, 0, seed, VMS_ACK_DISK);
		put(0, 0, 1, 0, 0);
		sim_disk_slow_commits(R.node[0].sd, 300000000);
		while (busy < 3 && n < 4000) {
			static uint8_t b[CHUNK];
			struct w w = {.kind = VMS_WRITE_DATA,
				      .extent = n / 1024 + 1,
				      .chunk = (uint16_t)(n % 1024),
				      .data = b,
				      .bytes = CHUNK};

			fill(b, 100 + n);
			rc = write_sync(0, &w);
			n += !rc;
			busy = rc == VMS_E_BUSY ? busy + 1 : 0;
		}
		CU_ASSERT_EQUAL(rc, VMS_E_BUSY);
		CU_ASSERT_TRUE(n > 300);
		rig_node_crash(&R, 0, true);
		sim_disk_slow_commits(R.node[0].sd, 0);
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		for (unsigned g = 0; g < RIG_GWS; g++)
			rig_gw_connect(&R, g, 0);
		rig_run(&R, 600);
		for (unsigned i = 0; i < n; i++)
			expect(i / 1024 + 1, i % 1024, 100 + i);
		R.gen_bytes = 0;
		rig_close(&R);
	}
}

/* A write waits for the other gateway's answer, or for the end of its lease. */
static void test_invalidate(void)
{
	uint8_t a[CHUNK], x[CHUNK];
	vms_addr e[128], addr;
	struct rig_reply re;
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = 1,
		      .chunk = 2,
		      .data = a,
		      .bytes = CHUNK,
		      .sequence = 1};
	uint64_t t0;

	up(3, 2, 2, 3, VMS_ACK_DISK);
	fill(a, 9);
	CU_ASSERT_EQUAL(lba_read(0, 1, 2, x, &addr), 0);
	CU_ASSERT_EQUAL(get_page(1, 1, 0, e), 0);
	R.gw[1].mute_inval = true;
	R.gw[1].mute_tick = true;
	t0 = R.now_us;
	write_send(0, &w, &re);
	rig_run(&R, 500);
	CU_ASSERT_FALSE(re.done);
	/* ordered, not committed: the old content, not to be cached */
	CU_ASSERT_EQUAL(lba_read(0, 1, 2, x, &addr), 0);
	CU_ASSERT_EQUAL(addr, VMS_ADDR_ASK);
	CU_ASSERT_EQUAL(x[0] | x[1] | x[100], 0);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	CU_ASSERT_TRUE(R.now_us - t0 > 1500000);
	rig_reply_free(&re);
	rig_close(&R);
}

static unsigned told_of(unsigned chunk, unsigned pieces, uint16_t chunks)
{
	static uint8_t a[40 * CHUNK];
	struct vms_piece pc[40] = {{0}};
	uint8_t body[VMS_WRITE_BODY_BYTES(40)];
	bool zero = chunks != 1;
	struct vms_iov iov = {a, (size_t)pieces * CHUNK};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(1),
			    .slot = 7,
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = 1,
			    .body = body,
			    .body_bytes = VMS_WRITE_BODY_BYTES(pieces)};
	unsigned nd = rig_primary(&R, m.partition), before = R.gw[1].invals;
	struct rig_reply re;

	for (unsigned i = 0; i < pieces; i++)
		pc[i] = (struct vms_piece){.chunk = (uint16_t)(chunk + 2 * i),
					   .count = chunks,
					   .mask = 0xff,
					   .crc = zero ? 0 : vms_crc32c(0, a, CHUNK)};
	vms_write_body_encode(body, zero ? VMS_WRITE_ZERO : VMS_WRITE_DATA, pc, pieces);
	if (!zero) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = iov.len;
	}
	m.sequence = ++R.gw[0].next_seq[m.slot];
	m.epoch = R.gw[0].epoch[m.partition];
	m.tick = R.gw[0].tick[nd];
	m.tick_incarnation = R.gw[0].tick_inc[nd];
	rig_send(&R, 0, nd, &m, &re);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	return R.gw[1].invals - before;
}

/* Who has a page is told which chunks others write, of each of them, until it says that
 * nothing is left; what takes much of a page takes the page. */
static void test_invalidate_chunks(void)
{
	vms_addr e[128];
	const struct vms_inval_run *run = R.gw[1].inval_run;

	up(3, 2, 2, 5, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(lba_read(0, 1, 2, (uint8_t[CHUNK]){0}, e), 0);
	CU_ASSERT_EQUAL(get_page(1, 1, 0, e), 0);
	CU_ASSERT_EQUAL(told_of(2, 1, 1), 1);
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 1);
	CU_ASSERT(run[0].chunk == 2 && run[0].count == 1);
	CU_ASSERT_EQUAL(told_of(3, 4, 1), 1);
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 4);
	CU_ASSERT(run[3].chunk == 9 && run[3].count == 1);
	CU_ASSERT_EQUAL(told_of(127, 1, 5), 1); /* reaches into a page that it has not */
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 1);
	CU_ASSERT(run[0].chunk == 127 && run[0].count == 5);
	CU_ASSERT_EQUAL(told_of(128, 1, 1), 0);
	/* too many, or too much */
	CU_ASSERT_EQUAL(told_of(0, 16, 1), 1);
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 16);
	CU_ASSERT_EQUAL(told_of(0, 17, 1), 1);
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 0);
	CU_ASSERT_EQUAL(told_of(2, 1, 1), 0);
	CU_ASSERT_EQUAL(get_page(1, 1, 0, e), 0);
	CU_ASSERT_EQUAL(told_of(0, 1, 32), 1);
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 1);
	CU_ASSERT_EQUAL(told_of(0, 1, 33), 1);
	CU_ASSERT_EQUAL(R.gw[1].inval_runs, 0);
	CU_ASSERT_EQUAL(told_of(2, 1, 1), 0);
	/* nothing is left of it there: told once more at most */
	CU_ASSERT_EQUAL(get_page(1, 1, 0, e), 0);
	CU_ASSERT_EQUAL(get_page(1, 1, 1, e), 0);
	R.gw[1].inval_gone = 1;
	CU_ASSERT_EQUAL(told_of(2, 1, 1), 1);
	CU_ASSERT_EQUAL(told_of(2, 1, 1), 0);
	R.gw[1].inval_gone = 0;
	CU_ASSERT_EQUAL(told_of(130, 1, 1), 1);
	rig_close(&R);
}

/* The same of a page that was asked back before, to make room in the table of holders. */
static void test_no_room_for_holders(void)
{
	uint8_t a[CHUNK];
	vms_addr e[128];
	struct rig_reply re;
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = 1,
		      .chunk = 2,
		      .data = a,
		      .bytes = CHUNK,
		      .sequence = 1};
	uint64_t t0;

	up(1, 1, 0, 4, VMS_ACK_DISK);
	fill(a, 9);
	R.node[0].n->holders.max = 1;
	CU_ASSERT_EQUAL(get_page(1, 1, 0, e), 0);
	R.gw[1].mute_inval = true;
	R.gw[1].mute_tick = true;
	t0 = R.now_us;
	CU_ASSERT_EQUAL(get_page(0, 2, 0, e), 0);
	rig_run(&R, 10);
	CU_ASSERT_EQUAL(R.gw[1].invals, 1);
	write_send(0, &w, &re);
	rig_run(&R, 500);
	CU_ASSERT_FALSE(re.done);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	CU_ASSERT_TRUE(R.now_us - t0 > 1500000);
	rig_reply_free(&re);
	CU_ASSERT_EQUAL(R.node[0].n->loose.n, 0);
	rig_close(&R);
}

static void test_caw(void)
{
	uint8_t d[1024], x[CHUNK];
	vms_addr addr;
	struct w w = {.kind = VMS_WRITE_CAW,
		      .extent = 2,
		      .chunk = 9,
		      .mask = 0x02,
		      .data = d,
		      .bytes = 1024};

	up(3, 2, 2, 4, VMS_ACK_DISK);
	memset(d, 0, 512);
	memset(d + 512, 0xaa, 512);
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	w.sequence = 0;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_MISCOMPARE);
	/* asked again: the kept outcome, though the content would match by now */
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_MISCOMPARE);
	w = (struct w){.kind = VMS_WRITE_ORWRITE,
		       .extent = 2,
		       .chunk = 9,
		       .mask = 0x02,
		       .data = d,
		       .bytes = 512};
	memset(d, 0x55, 512);
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	CU_ASSERT_EQUAL(lba_read(1, 2, 9, x, &addr), 0);
	CU_ASSERT_EQUAL(x[512], 0xff);
	CU_ASSERT_EQUAL(x[511], 0);
	CU_ASSERT_EQUAL(x[1024], 0);
	rig_close(&R);
}

/* ---- long runs ---- */

#define NEXT 6u
#define NCH  96u
struct model {
	uint8_t d[NEXT][NCH][8]; /* value of each sector, 0: zeros */
	VMS_VEC(struct {
		vms_addr a;
		uint32_t crc;
	})
	seen;
};
static struct model M;

static void sector(uint8_t *b, uint8_t v, uint32_t ext, unsigned ch, unsigned s)
{
	memset(b, v, 512);
	if (v) {
		vms_put_le32(b, ext);
		vms_put_le32(b + 4, ch * 8 + s);
	}
}

static void model_chunk(uint32_t ext, unsigned ch, uint8_t *out)
{
	for (unsigned s = 0; s < 8; s++)
		sector(out + s * 512, M.d[ext][ch][s], ext, ch, s);
}

static unsigned bad;
static void check_chunk(unsigned g, uint32_t ext, unsigned ch)
{
	uint8_t want[CHUNK], x[CHUNK];
	vms_addr addr = 0;
	int rc = lba_read(g, ext, (uint16_t)ch, x, &addr);

	model_chunk(ext, ch, want);
	if (rc || memcmp(x, want, CHUNK)) {
		if (bad++ < 5)
			fprintf(stderr, "extent %u chunk %u: rc %d, sector0 %u want %u addr %llx\n",
				ext, ch, rc, x[100], want[100], (unsigned long long)addr);
		return;
	}
	if (addr <= 1)
		return;
	/* an address never names other content */
	for (size_t i = 0; i < M.seen.n; i++)
		if (M.seen.d[i].a == addr) {
			if (M.seen.d[i].crc != vms_crc32c(0, x, CHUNK))
				bad++;
			return;
		}
	VMS_VEC_RESERVE(&M.seen, M.seen.n + 1);
	M.seen.d[M.seen.n].a = addr;
	M.seen.d[M.seen.n++].crc = vms_crc32c(0, x, CHUNK);
}

static void random_op(unsigned ops, bool memory)
{
	static uint8_t buf[CHUNK * 2];

	for (unsigned i = 0; i < ops && bad < 5; i++) {
		uint32_t ext = (uint32_t)vms_rng_below(&R.rng, NEXT);
		unsigned ch = (unsigned)vms_rng_below(&R.rng, NCH), g = i & 1;
		uint8_t v = (uint8_t)vms_rng_between(&R.rng, 1, 255), mask = 0xff;
		struct w w = {.extent = ext, .chunk = (uint16_t)ch, .slot = i % 8, .data = buf};
		unsigned what = (unsigned)vms_rng_below(&R.rng, 100), k = 0;
		int rc;

		if (memory)
			w.flags |= VMS_F_MEMORY;
		if (what < 25) {
			check_chunk(g, ext, ch);
			continue;
		}
		if (what < 40) {
			w.kind = VMS_WRITE_ZERO;
			w.count = (uint16_t)vms_rng_between(&R.rng, 1, what < 33 ? 3 : NCH);
			if (w.count > NCH - ch)
				w.count = (uint16_t)(NCH - ch);
			w.mask = w.count == 1 ? (uint8_t)vms_rng_between(&R.rng, 1, 255) : 0xff;
			rc = write_sync(g, &w);
			if (rc == 0)
				for (unsigned c = ch; c < ch + w.count; c++)
					for (unsigned s = 0; s < 8; s++)
						if (w.mask >> s & 1)
							M.d[ext][c][s] = 0;
		} else {
			w.kind = what < 50 ? VMS_WRITE_CAW : VMS_WRITE_DATA;
			if (what < 70)
				mask = (uint8_t)vms_rng_between(&R.rng, 1, 255);
			w.mask = mask;
			if (w.kind == VMS_WRITE_CAW)
				for (unsigned s = 0; s < 8; s++)
					if (mask >> s & 1)
						sector(buf + 512 * k++, M.d[ext][ch][s], ext, ch,
						       s);
			for (unsigned s = 0; s < 8; s++)
				if (mask >> s & 1)
					sector(buf + 512 * k++, v, ext, ch, s);
			w.bytes = 512 * k;
			rc = write_sync(g, &w);
			if (rc == 0)
				for (unsigned s = 0; s < 8; s++)
					if (mask >> s & 1)
						M.d[ext][ch][s] = v;
		}
		if (rc && rc != VMS_E_BUSY && rc != VMS_E_TOO_OLD) {
			fprintf(stderr, "op %u kind %u: %s\n", i, w.kind, vms_err_name(rc));
			bad++;
		}
	}
}

static void check_all(void)
{
	for (uint32_t e = 0; e < NEXT; e++)
		for (unsigned c = 0; c < NCH; c++)
			check_chunk(c & 1, e, c);
}

static void long_up(uint64_t seed, unsigned ack)
{
	memset(&M, 0, sizeof(M));
	bad = 0;
	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	up(3, 2, 2, seed, ack);
}

static void long_down(void)
{
	CU_ASSERT_EQUAL(bad, 0);
	VMS_VEC_FREE(&M.seen);
	rig_close(&R);
}

static void test_drain(void)
{
	uint64_t drains = 0, ckpts = 0, swept = 0;

	long_up(11, VMS_ACK_DISK);
	for (int i = 0; i < 8; i++) {
		random_op(600, false);
		check_all();
	}
	rig_run(&R, 12000);
	check_all();
	for (int i = 0; i < 3; i++) {
		drains += R.node[i].n->st.drained_chunks;
		ckpts += R.node[i].n->st.checkpoints;
		swept += R.node[i].n->st.swept;
	}
	CU_ASSERT_TRUE(drains > 100);
	CU_ASSERT_TRUE(ckpts > 3);
	CU_ASSERT_TRUE(swept > 0);
	CU_ASSERT_TRUE(R.gw[0].updates + R.gw[1].updates == 0 || drains > 0);
	long_down();
}

static void crash_run(uint64_t seed, bool power)
{
	long_up(seed, VMS_ACK_DISK);
	for (int i = 0; i < 12 && bad < 5; i++) {
		unsigned nd = (unsigned)vms_rng_below(&R.rng, 3);

		random_op(150, false);
		rig_run(&R, vms_rng_below(&R.rng, 30));
		rig_node_crash(&R, nd, power);
		if (vms_rng_below(&R.rng, 3) == 0)
			rig_node_crash(&R, (nd + 1) % 3, power);
		for (unsigned k = 0; k < 3; k++) {
			const char *wrong = R.node[k].n ? NULL : rig_fsck(&R, k);

			if (wrong && bad++ < 5)
				fprintf(stderr, "fsck of node %u: %s\n", k + 1, wrong);
		}
		rig_run(&R, vms_rng_below(&R.rng, 500));
		for (unsigned k = 0; k < 3; k++)
			if (!R.node[k].n)
				rig_node_start(&R, k);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		for (unsigned k = 0; k < 3; k++)
			if (R.node[k].fatal)
				bad++;
		check_all();
	}
	long_down();
}

static void test_crash(void)
{
	for (uint64_t s = 0; s < 6; s++)
		crash_run(100 + s, s & 1);
}

static uint32_t ext_of_part(uint32_t part)
{
	for (uint32_t e = 0;; e++)
		if (part_of(e) == part)
			return e;
}

static void put(uint32_t ext, unsigned ch, uint64_t seed, unsigned flags, int want)
{
	static uint8_t b[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = ext,
		      .chunk = (uint16_t)ch,
		      .data = b,
		      .bytes = CHUNK,
		      .flags = flags};

	fill(b, seed);
	CU_ASSERT_EQUAL(write_sync(0, &w), want);
}

static void expect(uint32_t ext, unsigned ch, uint64_t seed)
{
	uint8_t b[CHUNK], x[CHUNK];
	vms_addr a;

	fill(b, seed);
	CU_ASSERT_EQUAL(lba_read(1, ext, (uint16_t)ch, x, &a), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
}

/* One node is away for long: partitions without it go on, whatever of the others
 * lies in the shared logs; afterwards everything is there. */
static void test_copy_forward(void)
{
	uint32_t e0, e2, e3;

	R.gen_bytes = 256 << 10;
	up(3, 2, 2, 21, VMS_ACK_DISK);
	e0 = ext_of_part(0);
	e2 = ext_of_part(2);
	e3 = ext_of_part(3);
	for (unsigned i = 0; i < 60; i++) {
		put(e0, i, 1000 + i, 0, 0);
		put(e3, i, 2000 + i, 0, 0);
	}
	rig_node_crash(&R, 1, true);
	/* ordered by node 1, but not committable */
	rig_run(&R, 100);
	for (unsigned i = 0; i < 4000; i++)
		put(e2, i % 500, 3000 + i, 0, 0);
	CU_ASSERT_TRUE(R.node[0].n->st.copied > 0);
	rig_node_crash(&R, 0, true);
	rig_node_start(&R, 0);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < 60; i++) {
		expect(e0, i, 1000 + i);
		expect(e3, i, 2000 + i);
	}
	for (unsigned i = 3500; i < 4000; i++)
		expect(e2, i % 500, 3000 + i);
	R.gen_bytes = 0;
	rig_close(&R);
}

static void stop_all(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct vms_node_event ev = {.type = VMS_NEV_STOP,
					    .now_ms = 100000 + R.now_us / 1000};

		vms_node_step(R.node[i].n, &ev);
		vms_node_turn_end(R.node[i].n, ev.now_ms);
	}
	rig_run(&R, 2000);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(R.node[i].stopped);
		rig_node_crash(&R, i, true);
	}
}

/* memory mode: a loss is told exactly when one was possible. */
static void test_memory_loss(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	vms_addr addr, lost = 0;
	uint8_t x[CHUNK];
	struct rig_reply re;
	uint64_t n0;

	up(3, 2, 2, 31, VMS_ACK_MEMORY);
	vms_cat_key_loss(key, BR);
	for (unsigned i = 0; i < 20; i++)
		put(ext_of_part(i % 4), i, i, VMS_F_MEMORY, 0);
	stop_all();
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(rig_cat_number(&R, key), 0);
	for (unsigned i = 0; i < 20; i++)
		expect(ext_of_part(i % 4), i, i);
	/* one after the other: the other member keeps it */
	put(ext_of_part(0), 1, 77, VMS_F_MEMORY, 0);
	rig_node_crash(&R, 0, true);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_node_crash(&R, 1, true);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	expect(ext_of_part(0), 1, 77);
	CU_ASSERT_EQUAL(rig_cat_number(&R, key), 0);
	/* all at once */
	put(ext_of_part(0), 2, 78, VMS_F_MEMORY, 0);
	CU_ASSERT_EQUAL(lba_read(0, ext_of_part(0), 2, x, &lost), 0);
	n0 = R.now_us;
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	/* and nothing was served before the leases of old pages had ended */
	CU_ASSERT_TRUE(R.now_us - n0 > 2000000);
	CU_ASSERT_TRUE(rig_cat_number(&R, key) > 0);
	{
		struct vms_msg m = {
			.type = VMS_MSG_FLUSH, .partition = VMS_PART_NONE, .branch = BR};

		rig_gw_connect(&R, 0, 0);
		rig_run(&R, 300);
		rig_send(&R, 0, 0, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
		CU_ASSERT_EQUAL(re.status, 0);
		CU_ASSERT_TRUE(re.m.aux > 0);
		rig_reply_free(&re);
	}
	/* the address that gateways may have cached never names other bytes */
	for (unsigned i = 3; i < 23; i++) {
		put(ext_of_part(0), i, 100 + i, VMS_F_MEMORY, 0);
		CU_ASSERT_EQUAL(lba_read(0, ext_of_part(0), (uint16_t)i, x, &addr), 0);
		CU_ASSERT_NOT_EQUAL(addr, lost);
	}
	rig_close(&R);
}

static uint64_t ctr_bytes(void)
{
	uint64_t b = 0;

	for (unsigned i = 0; i < 3; i++)
		b += sim_disk_container_bytes(R.node[i].sd);
	return b;
}

/* Random overwriting stays below 2.5 times the live data; deleting gives it back. */
static void test_space(void)
{
	uint64_t live = 2ull * 4 * 300 * CHUNK, most = 0;

	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	up(3, 2, 2, 41, VMS_ACK_DISK);
	for (unsigned i = 0; i < 12000; i++) {
		put(ext_of_part(i % 4), (unsigned)vms_rng_below(&R.rng, 300), i, 0, 0);
		if (i > 4000 && i % 500 == 0 && ctr_bytes() > most)
			most = ctr_bytes();
	}
	rig_run(&R, 15000);
	CU_ASSERT_TRUE(ctr_bytes() < live * 5 / 2);
	fprintf(stderr, "containers: most %.2f, at rest %.2f of live\n",
		(double)most / (double)live, (double)ctr_bytes() / (double)live);
	for (unsigned i = 0; i < 4; i++) {
		struct w w = {.kind = VMS_WRITE_ZERO, .extent = ext_of_part(i), .count = 300};

		CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	}
	/* enough new writes to seal the generation that holds the zeros */
	for (unsigned i = 0; i < 200; i++)
		put(ext_of_part(i % 4), 1000, i, 0, 0);
	rig_run(&R, 30000);
	CU_ASSERT_TRUE(ctr_bytes() < live / 10);
	fprintf(stderr, "after zeroing: %llu bytes\n", (unsigned long long)ctr_bytes());
	R.gen_bytes = 0;
	R.container_bytes = 0;
	rig_close(&R);
}

/* A full disk refuses new data early, goes on reading, and recovers. */
static void test_nospc(void)
{
	unsigned i, n = 0, full = 0;
	static uint8_t b[CHUNK];

	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	R.space_bytes = 12 << 20;
	up(3, 2, 2, 51, VMS_ACK_DISK);
	for (i = 0; i < 6000 && full < 20; i++) {
		struct w w = {.kind = VMS_WRITE_DATA,
			      .extent = ext_of_part(i % 4),
			      .chunk = (uint16_t)(i / 4 % 1000),
			      .data = b,
			      .bytes = CHUNK};
		int rc;

		fill(b, i);
		rc = write_sync(0, &w);
		if (rc == VMS_E_NOSPC) {
			full++;
			rig_run(&R, 50);
		} else if (rc == 0 && !full) {
			n = i;
		}
	}
	CU_ASSERT_TRUE(full > 0);
	expect(ext_of_part(n % 4), n / 4 % 1000, n);
	for (i = 0; i < 4; i++) {
		struct w w = {.kind = VMS_WRITE_ZERO, .extent = ext_of_part(i), .count = 1000};

		CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	}
	rig_run(&R, 60000);
	for (i = 0; i < 3; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	put(ext_of_part(0), 5, 99, 0, 0);
	expect(ext_of_part(0), 5, 99);
	R.gen_bytes = 0;
	R.container_bytes = 0;
	R.space_bytes = 0;
	rig_close(&R);
}

/* Deleting a volume's tail, over a restart; then the space is there again. */
static void test_trim(void)
{
	struct rig_reply re;
	vms_addr e[128];

	R.gen_bytes = 256 << 10;
	R.gw[1].tool = true;
	up(3, 2, 2, 61, VMS_ACK_DISK);
	for (unsigned i = 0; i < 400; i++)
		put(i % 4, i / 4, i, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct vms_msg m = {.type = VMS_MSG_TRIM,
				    .partition = VMS_PART_NONE,
				    .branch = BR,
				    .extent = 1,
				    .aux = 50};

		rig_send(&R, 1, i, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
		CU_ASSERT_EQUAL(re.status, 0);
		rig_reply_free(&re);
	}
	for (int round = 0; round < 2; round++) {
		CU_ASSERT_EQUAL(get_page(0, 0, 0, e), 0);
		CU_ASSERT_TRUE(e[99] != 0);
		CU_ASSERT_EQUAL(get_page(0, 1, 0, e), 0);
		CU_ASSERT_TRUE(e[49] != 0);
		CU_ASSERT_EQUAL(e[50], 0);
		CU_ASSERT_EQUAL(get_page(0, 3, 0, e), 0);
		for (unsigned k = 0; k < 128; k++)
			CU_ASSERT_EQUAL(e[k], 0);
		for (unsigned i = 0; i < 3 && !round; i++) {
			rig_node_crash(&R, i, true);
			rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		}
	}
	R.gen_bytes = 0;
	rig_close(&R);
}

/* Full disks hold up what is to be drained, and a TRIM behind it: it is answered when the
 * tail is gone, not before. Else it would show again in a volume that grows at once. */
static void test_trim_waits(void)
{
	struct rig_reply re[3];
	unsigned early = 0;
	vms_addr e[128];

	R.gen_bytes = 256 << 10;
	R.gw[1].tool = true;
	up(3, 2, 2, 62, VMS_ACK_DISK);
	for (unsigned i = 0; i < 64; i++)
		put(i % 4, i / 4, i, 0, 0);
	for (unsigned i = 0; i < 3; i++)
		sim_disk_leave(R.node[i].sd, 0);
	rig_run(&R, 3000);
	for (unsigned i = 0; i < 3; i++) {
		struct vms_msg m = {.type = VMS_MSG_TRIM,
				    .partition = VMS_PART_NONE,
				    .branch = BR,
				    .extent = 1};

		rig_send(&R, 1, i, &m, &re[i]);
	}
	rig_run(&R, 1500);
	for (unsigned i = 0; i < 3; i++)
		early += re[i].done;
	CU_ASSERT_TRUE(early < 3);
	for (unsigned i = 0; i < 3; i++)
		sim_disk_leave(R.node[i].sd, UINT64_MAX);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(rig_wait(&R, &re[i], 10000));
		CU_ASSERT_EQUAL(re[i].status, 0);
		rig_reply_free(&re[i]);
	}
	for (uint32_t x = 1; x < 4; x++) {
		CU_ASSERT_EQUAL(get_page(0, x, 0, e), 0);
		for (unsigned k = 0; k < 128; k++)
			CU_ASSERT_EQUAL(e[k], 0);
	}
	R.gen_bytes = 0;
	rig_close(&R);
}

/* The TRIM has been answered, and then what lies before it cannot be applied once more:
 * a primary that starts again (or another one) shows what the log says, not the tail. */
static void test_trim_behind(void)
{
	uint8_t a[CHUNK], x[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = 2,
		      .chunk = 3,
		      .mask = 0x02,
		      .data = a,
		      .bytes = 512};
	struct vms_msg m = {.type = VMS_MSG_TRIM,
			    .partition = VMS_PART_NONE,
			    .branch = BR,
			    .extent = 1,
			    .aux = 2};
	struct rig_reply re;
	vms_addr e[128], addr, old;
	struct vms_node *n;
	struct part *p;

	R.gen_bytes = 256 << 10;
	R.gw[1].tool = true;
	up(1, 1, 0, 63, VMS_ACK_DISK);
	sim_disk_slow_commits(R.node[0].sd, 300000000);
	for (unsigned i = 0; i < 64; i++)
		put(i % 4, i / 4, i, 0, 0);
	for (int i = 0; i < 400 && !R.node[0].n->st.drained_chunks; i++)
		put(0, 100 + i % 20, i, 0, 0);
	CU_ASSERT_EQUAL(lba_read(0, 2, 15, x, &old), 0);
	CU_ASSERT_TRUE(vms_addr_is_log(old, R.part_bits));
	rig_send(&R, 1, 0, &m, &re);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	rig_node_crash(&R, 0, true);
	sim_disk_slow_commits(R.node[0].sd, 0);
	rig_node_start(&R, 0);
	n = R.node[0].n;
	p = node_part(n, 0);
	CU_ASSERT_TRUE_FATAL(p != NULL);
	p->apply_wait = true; /* as when its disk is full */
	p->hold_ms = UINT64_MAX;
	n->apply_waits++;
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(p->applied < p->committed && p->trims.n == 1);
	for (int round = 0; round < 2; round++) {
		expect(0, 3, 12);
		expect(1, 1, 5);
		CU_ASSERT_EQUAL(get_page(0, 1, 0, e), 0);
		CU_ASSERT_TRUE(e[0] && e[1]);
		for (unsigned k = 2; k < 128; k++)
			CU_ASSERT_EQUAL(e[k], 0);
		CU_ASSERT_EQUAL(lba_read(0, 1, 2, x, &addr), 0);
		CU_ASSERT_EQUAL(addr, VMS_ADDR_HOLE);
		CU_ASSERT_EQUAL(lba_read(0, 3, 4, x, &addr), 0);
		CU_ASSERT_EQUAL(addr, VMS_ADDR_HOLE);
		CU_ASSERT_EQUAL(addr_read(0, 0, old, x), VMS_E_GONE);
		if (round)
			break;
		/* it grows, and part of a chunk is written that had other content */
		fill(a, 99);
		CU_ASSERT_EQUAL(write_sync(0, &w), 0);
		CU_ASSERT_EQUAL(lba_read(0, 2, 3, x, &addr), 0);
		CU_ASSERT_EQUAL(memcmp(x + 512, a, 512), 0);
		for (unsigned k = 0; k < CHUNK; k++)
			CU_ASSERT_TRUE(x[k] == 0 || k / 512 == 1);
		CU_ASSERT_EQUAL(get_page(0, 2, 0, e), 0);
		CU_ASSERT_EQUAL(e[3], VMS_ADDR_ASK);
		CU_ASSERT_EQUAL(p->trims.n, 1);
		p->hold_ms = 0;
		rig_run(&R, 3000);
		CU_ASSERT_EQUAL(p->trims.n, 0);
		CU_ASSERT_EQUAL(lba_read(0, 2, 3, x, &addr), 0);
		CU_ASSERT_EQUAL(memcmp(x + 512, a, 512), 0);
		for (unsigned k = 0; k < CHUNK; k++)
			CU_ASSERT_TRUE(x[k] == 0 || k / 512 == 1);
	}
	R.gen_bytes = 0;
	rig_close(&R);
}

/* A container whose number is in the index, but not its entry, because it was
 * opened after the checkpoint: the next start must not take it for a swept one. */
static bool opened_after_checkpoint(void)
{
	struct vms_node *n = R.node[0].n;
	struct part *p = node_part(n, 0);
	uint8_t v[96], k[3] = {'P'};

	if (!p || vms_meta_get(&R.node[0].disk, k, 3, v, sizeof(v)) < 56)
		return false;
	for (size_t i = 0; i < p->ctrs.n; i++) {
		uint8_t ck[9] = {'C'}, cv[64];

		vms_put_be64(ck + 1, p->ctrs.d[i].number);
		if (p->ctrs.d[i].chunks && vms_get_le64(v + 48) > p->ctrs.d[i].number &&
		    vms_meta_get(&R.node[0].disk, ck, 9, cv, sizeof(cv)) == VMS_E_NOENT)
			return true;
	}
	return false;
}

/* A checkpoint in the moment when a container is ordered to be opened. */
static void checkpoint_now(void)
{
	struct vms_node_event ev = {.type = VMS_NEV_TIMER, .now_ms = 100000 + R.now_us / 1000};
	struct vms_node *n = R.node[0].n;

	if (!node_part(n, 0)->open_ordered)
		return;
	n->hungry = n->floors_dirty = node_part(n, 0)->state_dirty = true; /* it is worth it */
	n->ckpt_ms = 0;
	vms_node_step(n, &ev);
	vms_node_turn_end(n, ev.now_ms);
}

static void test_opened_not_swept(void)
{
	static uint8_t b[CHUNK];
	unsigned i, hits = 0;
	struct rig_reply re;

	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	up(1, 1, 0, 41, VMS_ACK_DISK);
	for (i = 0; i < 6000 && hits < 3; i++) {
		struct w w = {.kind = VMS_WRITE_DATA,
			      .chunk = (uint16_t)(i % 1000),
			      .data = b,
			      .bytes = CHUNK,
			      .sequence = ++R.gw[0].next_seq[0]};

		fill(b, i);
		R.gw[0].epoch[0] = node_part(R.node[0].n, 0)->conf.epoch;
		write_send(0, &w, &re);
		while (!re.done && rig_step(&R))
			checkpoint_now();
		CU_ASSERT_EQUAL_FATAL(re.status, 0);
		rig_reply_free(&re);
		if (!opened_after_checkpoint())
			continue;
		hits++;
		rig_node_crash(&R, 0, false);
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
		rig_gw_connect(&R, 0, 0);
		rig_gw_connect(&R, 1, 0);
		rig_run(&R, 25000); /* checkpoints, and what they remove */
	}
	CU_ASSERT_EQUAL(hits, 3);
	for (unsigned k = i > 1000 ? i - 1000 : 0; k < i; k++)
		expect(0, k % 1000, k);
	R.gen_bytes = 0;
	R.container_bytes = 0;
	rig_close(&R);
}

/* A list of live gateways without those that are just coming back would shut them out. */
static void test_sessions_after_a_start(void)
{
	static const char what[] = "{\"what\":\"sessions\"}";
	struct rig_reply re;
	uint64_t born;
	int status = VMS_E_AGAIN;

	up(1, 1, 1, 41, VMS_ACK_DISK);
	rig_node_crash(&R, 0, false);
	rig_node_start(&R, 0);
	born = R.now_us;
	for (unsigned i = 0; i < 50 && status; i++) {
		struct vms_msg m = {.type = VMS_MSG_ADMIN,
				    .partition = VMS_PART_NONE,
				    .body = (const uint8_t *)what,
				    .body_bytes = sizeof(what) - 1};

		rig_run(&R, 100);
		if (!R.gw[0].up[0])
			rig_gw_connect(&R, 0, 0);
		if (i == 9) /* as late as a gateway may be */
			rig_gw_connect(&R, 1, 0);
		rig_send(&R, 0, 0, &m, &re);
		if (!rig_wait(&R, &re, 1000))
			continue;
		status = re.status;
		CU_ASSERT(!status || status == VMS_E_AGAIN);
		if (!status) {
			char text[1000];

			snprintf(text, sizeof(text), "%.*s", (int)re.m.body_bytes,
				 (const char *)re.m.body);
			CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"gateway\":1,"));
			CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"gateway\":2,"));
			CU_ASSERT_PTR_NULL(strstr(text, "\"live\":false"));
		}
		rig_reply_free(&re);
	}
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(R.now_us - born >= 3000000);
	rig_close(&R);
}

static void put_part(uint32_t ext, unsigned ch, uint64_t seed, uint8_t mask)
{
	static uint8_t b[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = ext,
		      .chunk = (uint16_t)ch,
		      .mask = mask,
		      .data = b,
		      .bytes = vms_mask_sectors(mask) * VMS_LB_BYTES};

	fill(b, seed);
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
}

/* A chunk is to be drained while a newer write of it is on its way. A backup that hears of that
 * one's commit before it has the DRAIN, which is behind more than fits on the way, has
 * dropped what the DRAIN names: it must not be ordered. kind: the newer write. */
static void fading(uint8_t kind, uint8_t mask)
{
	enum { MORE = 300 };
	static uint8_t b[CHUNK];
	struct rig_reply re[MORE + 1];
	uint32_t e;
	unsigned lead;
	uint8_t x[CHUNK];
	vms_addr a;

	R.gen_bytes = 64 << 20;
	up(2, 2, 1, 31, VMS_ACK_MEMORY);
	e = ext_of_part(0);
	lead = rig_primary(&R, 0);
	put(e, 1000, 499, 0, 0); /* so that a container is open */
	vms_node_drain(R.node[lead].n);
	vms_node_turn_end(R.node[lead].n, R.node[lead].n->now_ms);
	rig_run(&R, 2000);
	put(e, 1, 500, 0, 0);
	put_part(e, 1, 501, 0xf0);
	rig_node_pause(&R, 1 - lead, 500);
	fill(b, 502);
	for (unsigned i = 0; i <= MORE; i++) {
		struct w w = {.kind = i ? VMS_WRITE_DATA : kind,
			      .mask = i ? 0xff : mask,
			      .extent = e,
			      .chunk = (uint16_t)(i			   ? 9 + i
						  : kind == VMS_WRITE_ZERO ? 0
									   : 1),
			      .count = !i && kind == VMS_WRITE_ZERO ? 4 : 1,
			      .flags = VMS_F_MEMORY,
			      .slot = 1 + i % 200,
			      .sequence = ++R.gw[0].next_seq[1 + i % 200],
			      .data = b,
			      .bytes = CHUNK};

		if (!i)
			w.bytes = kind == VMS_WRITE_ZERO ? 0
							 : vms_mask_sectors(mask) * VMS_LB_BYTES;
		write_send(0, &w, &re[i]);
	}
	rig_run(&R, 50);
	vms_node_drain(R.node[lead].n);
	vms_node_turn_end(R.node[lead].n, R.node[lead].n->now_ms);
	rig_run(&R, 100);
	CU_ASSERT(node_part(R.node[lead].n, 0)->committed < node_part(R.node[lead].n, 0)->seq_last);
	rig_run(&R, 10000);
	CU_ASSERT_TRUE(rig_wait_active(&R, 20000));
	vms_node_drain(R.node[lead].n);
	rig_run(&R, 5000);
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(R.node[i].n->st.corrupt, 0);
	CU_ASSERT_EQUAL(node_part(R.node[1 - lead].n, 0)->applied,
			node_part(R.node[lead].n, 0)->seq_last);
	CU_ASSERT_EQUAL(lba_read(1, e, 1, x, &a), 0);
	for (unsigned i = 0; i <= MORE; i++)
		if (re[i].done)
			rig_reply_free(&re[i]);
	R.gw[0].nwait = 0;
	R.gen_bytes = 0;
	rig_close(&R);
}

static void test_fading(void)
{
	fading(VMS_WRITE_DATA, 0xff);
	fading(VMS_WRITE_DATA, 0x0f); /* with what lies over it hides the rest */
	fading(VMS_WRITE_ZERO, 0xff);
}

static uint32_t floor_of(const struct rig_gw *g)
{
	struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .aux = g->id};
	struct rig_reply re;
	uint64_t was = R.gw[0].incarnation;
	uint32_t aux;

	R.gw[0].incarnation = g->incarnation + 1; /* the message's is of whom it is about */
	rig_send(&R, 0, 0, &m, &re);
	R.gw[0].incarnation = was;
	CU_ASSERT_TRUE_FATAL(rig_wait(&R, &re, 5000));
	CU_ASSERT_EQUAL(re.status, 0);
	aux = re.m.aux;
	rig_reply_free(&re);
	R.gw[0].nwait = 0;
	return aux;
}

/* Whoever shuts a gateway out learns from the floor whether cached pages of it may be in use:
 * for a lease after its session, too. */
static void test_floor_tells_of_a_session(void)
{
	struct rig_gw nobody = {.id = 9, .incarnation = 1};

	up(1, 1, 0, 30, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(floor_of(&nobody), 0);
	R.gw[1].mute_tick = true;
	CU_ASSERT_EQUAL(floor_of(&R.gw[1]), 1);
	CU_ASSERT_EQUAL(floor_of(&R.gw[1]), 1); /* asked again */
	rig_run(&R, 2500);
	CU_ASSERT_EQUAL(floor_of(&R.gw[1]), 0);
	R.gw[1].mute_tick = false;
	rig_close(&R);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_floor_tells_of_a_session),
	VMS_TEST(test_write_read),
	VMS_TEST(test_late),
	VMS_TEST(test_invalidate),
	VMS_TEST(test_invalidate_chunks),
	VMS_TEST(test_older_gateway),
	VMS_TEST(test_free_late),
	VMS_TEST(test_no_room_for_holders),
	VMS_TEST(test_caw),
	VMS_TEST(test_drain),
	VMS_TEST(test_crash),
	VMS_TEST(test_copy_forward),
	VMS_TEST(test_memory_loss),
	VMS_TEST(test_space),
	VMS_TEST(test_nospc),
	VMS_TEST(test_trim_waits),
	VMS_TEST(test_trim_behind),
	VMS_TEST(test_trim),
	VMS_TEST(test_opened_not_swept),
	VMS_TEST(test_sessions_after_a_start),
	VMS_TEST(test_fading),
};

VMS_TEST_MAIN("node", tests)
