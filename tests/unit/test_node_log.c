// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of the log: drains, crashes, loss of memory, copying forward, space that runs
 * out, TRIM.
 */
#include "backend/copyfwd.h"
#include "backend/meta.h"
#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/node_int.h"
#include "backend/node_session.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/op_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

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

/* Generations are short; and copies leave what the log needs to go on. */
static void test_copy_room(void)
{
	struct vms_node *n;
	struct vms_wal *w;
	uint64_t copied, room;

	R.gen_bytes = 0; /* a quarter of the log, it says */
	up(3, 2, 2, 22, VMS_ACK_DISK);
	n = R.node[0].n;
	w = n->wal;
	for (unsigned i = 0; i < 200; i++)
		put(ext_of_part(i % 4), i, i, 0, 0);
	for (uint64_t g = vms_wal_gen_oldest(w); g < vms_wal_gen_open(w); g++)
		CU_ASSERT_TRUE(vms_wal_gen_start_pos(w, g + 1) - vms_wal_gen_start_pos(w, g) <=
			       vms_wal_size_bytes(w) / 8);
	CU_ASSERT_TRUE(vms_wal_gen_open(w) > vms_wal_gen_oldest(w));
	vms_node_drain(n);
	rig_run(&R, 20000);
	for (unsigned i = 0; i < 120; i++)
		put(ext_of_part(i % 4), i, 1000 + i, 0, 0);
	rig_node_crash(&R, 1, true);
	CU_ASSERT_EQUAL_FATAL(rig_log_fill(w, vms_wal_free_bytes,
					   vms_wal_size_bytes(w) / NODE_GEN_SHARE + RIG_FILL_BYTES),
			      0);
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i])
			n->part[i]->base_wait = true; /* nothing drains */
	copied = n->st.copied;
	room = vms_wal_free_bytes(w);
	copy_forward(n);
	CU_ASSERT_EQUAL(n->st.copied, copied);
	CU_ASSERT_EQUAL(vms_wal_free_bytes(w), room);
	rig_close(&R);
}

/* What is little, and holds a whole generation, is copied also with less room than that. */
static void test_copy_little(void)
{
	struct vms_node *n;
	struct vms_wal *w;
	uint64_t copied, keep;

	R.gen_bytes = 0;
	up(3, 2, 2, 23, VMS_ACK_DISK);
	n = R.node[0].n;
	w = n->wal;
	keep = vms_wal_size_bytes(w) / NODE_GEN_SHARE;
	put(ext_of_part(0), 1, 1, 0, 0);
	put(ext_of_part(0), 2, 2, 0, 0);
	rig_run(&R, 10);
	rig_node_crash(&R, 1, true);
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i])
			n->part[i]->base_wait = true; /* nothing drains */
	CU_ASSERT_EQUAL_FATAL(rig_log_fill(w, vms_wal_free_bytes, keep / 2), 0);
	copied = n->st.copied;
	copy_forward(n);
	CU_ASSERT_TRUE(n->st.copied > copied);
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(vms_wal_free_bytes(w) > keep);
	rig_close(&R);
}

/* Starts of gateways and snapshots leave half the reserve, however many come while nothing
 * leaves the log. */
static void test_floor_room(void)
{
	struct vms_node *n;
	struct vms_wal *w;
	uint64_t keep, inc = 2, pos;
	unsigned floors = 0, cuts = 0;

	up(3, 2, 2, 24, VMS_ACK_DISK);
	n = R.node[0].n;
	w = n->wal;
	keep = vms_wal_size_bytes(w) / NODE_GEN_SHARE;
	CU_ASSERT_EQUAL_FATAL(rig_log_fill(w, vms_wal_free_bytes, keep + (64u << 10)), 0);
	while (vms_wal_free_bytes(w) && floor_gateway(n, 9, inc, &pos) == 0) {
		inc++;
		floors++;
	}
	CU_ASSERT_TRUE(floors > 0);
	CU_ASSERT_TRUE(vms_wal_free_bytes(w) >= keep - VMS_CHUNK_BYTES);
	CU_ASSERT_EQUAL(floor_gateway(n, 9, inc, &pos), VMS_E_AGAIN);
	while (vms_wal_free_bytes(w) && floor_branch(n, BR, 100 + cuts, 0, &pos) == 0)
		cuts++;
	CU_ASSERT_EQUAL(cuts, 0);
	/* what lets the log go on finds room, and then they do */
	rig_run(&R, 2000);
	CU_ASSERT_EQUAL(floor_gateway(n, 9, inc, &pos), 0);
	CU_ASSERT_EQUAL(floor_branch(n, BR, 100, 0, &pos), 0);
	rig_close(&R);
}

/* The catalog says that an older process of a gateway is shut out: that holds though the log has
 * no room for it, and is logged as soon as it has. */
static void test_floor_of_catalog(void)
{
	struct vms_cat_gateway g = {.id = 1, .name = "g", .incarnation = 5};
	char key[VMS_CAT_KEY_BYTES_MAX], *val = vms_cat_gateway_encode(&g);
	struct vms_cat_kv kv = {.key = key, .val = val, .val_bytes = strlen(val)};
	uint8_t a[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA, .extent = 0, .chunk = 1, .data = a, .bytes = CHUNK};
	struct vms_node *n;
	uint64_t pos, inc;
	unsigned which = 0;

	up(3, 2, 2, 24, VMS_ACK_DISK);
	fill(a, 1);
	n = R.node[rig_primary(&R, part_of(0))].n;
	inc = R.gw[0].incarnation;
	CU_ASSERT_EQUAL(write_sync(0, &w), 0);
	CU_ASSERT_EQUAL(floor_gateway(n, 1, inc, &pos), 0);
	CU_ASSERT_EQUAL_FATAL(rig_log_fill(n->wal, vms_wal_free_bytes, 64u << 10), 0);
	vms_cat_key_gateway(key, g.id);
	while (strcmp(cat_prefix(which), "gateway/") != 0)
		which++;
	cat_apply(n, which, &kv);
	w.sequence = 0;
	CU_ASSERT_EQUAL(write_sync(0, &w), VMS_E_INCARNATION);
	/* all that without its record */
	CU_ASSERT_EQUAL(node_gwfloor(n, 1, false)->incarnation, inc);
	CU_ASSERT_EQUAL(floor_gateway(n, 1, inc, &pos), VMS_E_AGAIN);
	rig_run(&R, 2000);
	CU_ASSERT_EQUAL(node_gwfloor(n, 1, false)->incarnation, g.incarnation);
	CU_ASSERT_EQUAL(floor_gateway(n, 1, inc, &pos), VMS_E_INCARNATION);
	free(val);
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

static const struct vms_test tests[] = {
	VMS_TEST(test_drain),	    VMS_TEST(test_crash),	VMS_TEST(test_copy_forward),
	VMS_TEST(test_copy_room),   VMS_TEST(test_copy_little), VMS_TEST(test_memory_loss),
	VMS_TEST(test_space),	    VMS_TEST(test_nospc),	VMS_TEST(test_trim_waits),
	VMS_TEST(test_trim_behind), VMS_TEST(test_trim),	VMS_TEST(test_opened_not_swept),
	VMS_TEST(test_fading),	    VMS_TEST(test_floor_room),	VMS_TEST(test_floor_of_catalog),
};
VMS_TEST_MAIN("node: log", tests)
