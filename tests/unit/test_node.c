// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node's core: reads and writes, late ones, sessions of gateways and what these are told.
 */
#include "cluster/catalog.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/op_rig.h"
#include "utils/lib/crc32c.h"

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
 * written over before it has ended. Whether a power cut leaves the commit done is drawn, so
 * enough seeds that in some it surely is not. */
static void test_free_late(void)
{
	for (uint64_t seed = 60; seed < 76; seed++) {
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
	VMS_TEST(test_sessions_after_a_start),
};
VMS_TEST_MAIN("node", tests)
