// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rot on the disks of a cluster: it is found by reads and by the scrub, mended from
 * another replica, never spread, and what no replica has any more never reads as zeros.
 */
#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/meta.h"
#include "backend/node_mutant.h"
#include "backend/pages.h"
#include "backend/repair.h"
#include "backend/scrub.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define WHOLE 90u /* chunks written: two segments at least */

static struct v_vol *v;

/* Two or three nodes, one partition; contents all different, all in containers. */
static void up(unsigned nnodes, unsigned copies, uint64_t seed)
{
	v_up(nnodes, copies, 0, seed);
	v = v_create(0);
	rig_run(&R, 50);
	for (unsigned e = 0; e < 2; e++)
		for (unsigned c = 0; c < WHOLE; c++)
			v_write(v, e, c, v_next_id++);
	v_drain();
	/* on disk everywhere, index too */
	rig_run(&R, 7000);
	CU_ASSERT_EQUAL_FATAL(v_bad, 0);
}

static struct sim_disk *disk(unsigned node)
{
	return R.node[node].sd;
}

static struct repair_stats st(unsigned node)
{
	return *repair_stats(R.node[node].n);
}

/* A round of the scrub on each node, begun now. */
static bool scrub_all(void)
{
	uint64_t before[RIG_NODES];

	for (unsigned i = 0; i < R.nnodes; i++) {
		before[i] = scrub_rounds(R.node[i].n);
		scrub_start(R.node[i].n);
	}
	for (unsigned i = 0; i < R.nnodes; i++)
		if (!V_WAIT(60000, scrub_rounds(R.node[i].n) > before[i] &&
					   !repair_running(R.node[i].n))) {
			fprintf(stderr, "node %u: rounds %llu, %llu repairs running\n", i + 1,
				(unsigned long long)scrub_rounds(R.node[i].n),
				(unsigned long long)repair_running(R.node[i].n));
			return false;
		}
	return true;
}

struct block {
	uint64_t ctr, no;
};
struct blocks {
	VMS_VEC(struct block) v;
};

static void block_add(void *arg, uint64_t ctr, uint64_t no)
{
	struct blocks *b = arg;

	VMS_VEC_PUSH(&b->v, ((struct block){ctr, no}));
}

static void image(unsigned node, const struct blocks *b, uint8_t *out)
{
	for (size_t i = 0; i < b->v.n; i++)
		if (sim_disk_read(disk(node), b->v.d[i].ctr, b->v.d[i].no * V_CHUNK,
				  out + i * V_CHUNK, V_CHUNK))
			memset(out + i * V_CHUNK, 0, V_CHUNK);
}

/* Each block of one node's containers in turn, and nothing else, rots. */
static void test_each_block(void)
{
	struct blocks b = {VMS_VEC_INIT};
	uint8_t *before, *after;
	unsigned wrong = 0;

	up(2, 2, 1);
	/* sealed, so that there is a footer too */
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].n->part[0]->primary)
			drain_seal_open(R.node[i].n, R.node[i].n->part[0]);
	rig_run(&R, 7000);
	sim_disk_blocks(disk(1), block_add, &b);
	CU_ASSERT_TRUE_FATAL(b.v.n > 2 * WHOLE + 4);
	before = malloc(b.v.n * V_CHUNK);
	after = malloc(b.v.n * V_CHUNK);
	vms_assert(before && after);
	image(1, &b, before);
	for (size_t i = 0; i < b.v.n && wrong < 5; i++) {
		CU_ASSERT_TRUE(sim_disk_rot(disk(1), b.v.d[i].ctr, b.v.d[i].no,
					    (uint32_t)(i * 37 % V_CHUNK)));
		if (!scrub_all() || st(1).found != i + 1 || st(1).repaired != i + 1) {
			fprintf(stderr, "container %llx block %llu: %llu found, %llu repaired\n",
				(unsigned long long)b.v.d[i].ctr, (unsigned long long)b.v.d[i].no,
				(unsigned long long)st(1).found,
				(unsigned long long)st(1).repaired);
			wrong++;
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(st(0).found, 0);
	image(1, &b, after);
	CU_ASSERT_EQUAL(memcmp(before, after, b.v.n * V_CHUNK), 0);
	CU_ASSERT_EQUAL(repair_lost_count(R.node[1].n), 0);
	v_check_all("each block");
	/* it is on the disk, not only in memory */
	rig_run(&R, 7000);
	for (unsigned i = 0; i < 2; i++)
		rig_node_crash(&R, i, true);
	CU_ASSERT_PTR_NULL(rig_fsck(&R, 1));
	free(before);
	free(after);
	VMS_VEC_FREE(&b.v);
	for (unsigned i = 0; i < 2; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("restarted");
	v_down();
}

struct key {
	uint8_t k[VMS_META_KEY_BYTES_MAX];
	uint32_t n;
};
struct keys {
	VMS_VEC(struct key) v;
	unsigned bad;
};

static int key_add(void *arg, const uint8_t *key, uint32_t kb, const uint8_t *val, uint32_t vb)
{
	struct keys *k = arg;

	k->bad += vms_meta_check(key, kb, val, vb) < 0;
	(void)VMS_VEC_ADD(&k->v);
	memcpy(k->v.d[k->v.n - 1].k, key, kb);
	k->v.d[k->v.n - 1].n = kb;
	return 0;
}

static unsigned keys_of(unsigned node, struct keys *k)
{
	static const uint8_t lo[1] = {0}, hi[1] = {255};
	struct vms_disk d = sim_disk_ops(disk(node));

	k->v.n = k->bad = 0;
	d.ops->meta_range(d.ctx, lo, 1, hi, 1, key_add, k);
	return k->bad;
}

/* Each value of one node's index in turn. */
static void test_each_value(void)
{
	struct keys k = {VMS_VEC_INIT, 0}, now = {VMS_VEC_INIT, 0};
	unsigned pages = 0, patches = 0, wrong = 0;

	up(2, 2, 2);
	for (unsigned e = 0; e < 2; e++)
		v_write(v, e, 3, v_next_id++);
	v_drain();
	rig_run(&R, 7000);
	for (unsigned me = 0; me < 2; me++) {
		CU_ASSERT_EQUAL(keys_of(me, &k), 0);
		/* patches before their pages: what repairs a page takes its patch away */
		for (size_t i = k.v.n; i-- > 0 && wrong < 5;) {
			bool tail = k.v.d[i].k[0] == 'T'; /* goes with the next one only */

			if (tail ||
			    !sim_disk_meta_rot(disk(me), k.v.d[i].k, k.v.d[i].n, (uint32_t)i * 7))
				continue;
			pages += k.v.d[i].k[0] == 'I';
			patches += k.v.d[i].k[0] == 'J';
			CU_ASSERT_TRUE(scrub_all());
			rig_run(&R, 7000);
			if (k.v.d[i].k[0] == 'O') /* goes when log is freed */
				V_WAIT(60000, ({
					       v_write(v, 1, 0, v_next_id++);
					       v_drain();
					       keys_of(me, &now) == 0;
				       }));
			if (keys_of(me, &now)) {
				fprintf(stderr, "node %u: the value of key '%c' stays damaged\n",
					me + 1, k.v.d[i].k[0]);
				wrong++;
			}
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(pages >= 4);
	CU_ASSERT_TRUE(patches >= 4);
	CU_ASSERT_EQUAL(repair_lost_count(R.node[0].n), 0);
	CU_ASSERT_EQUAL(repair_lost_count(R.node[1].n), 0);
	v_check_all("each value");
	for (unsigned i = 0; i < 2; i++) {
		rig_node_crash(&R, i, true);
		CU_ASSERT_PTR_NULL(rig_fsck(&R, i));
		rig_node_start(&R, i);
	}
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("restarted");
	VMS_VEC_FREE(&k.v);
	VMS_VEC_FREE(&now.v);
	v_down();
}

/* Where the chunk lies, at the primary. */
static vms_addr where(uint32_t ext, unsigned ch)
{
	unsigned nd = rig_primary(&R, v_part(v, ext));
	struct vms_page_key key = {v_part(v, ext), v->branch,
				   ext * VMS_EXTENT_SUBEXTS + ch / VMS_SUBEXT_CHUNKS, VMS_GEN_LIVE};
	struct vms_page p;

	CU_ASSERT_EQUAL_FATAL(vms_pages_lookup(R.node[nd].n->pages, &key, &p), 0);
	return p.entry[ch % VMS_SUBEXT_CHUNKS];
}

static uint64_t block_of(vms_addr a)
{
	return vms_addr_offset_bytes(a) / V_CHUNK;
}

static bool rot(unsigned node, vms_addr a)
{
	return sim_disk_rot(disk(node), vms_addr_container(a), block_of(a), 100);
}

/* Nodes forget what they know of headers and chunks. */
static void restart_all(void)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		rig_node_crash(&R, i, false);
		rig_node_start(&R, i);
	}
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 600);
}

/* A read is enough, and the reader notices nothing. */
static void test_read_repairs(void)
{
	unsigned p;
	vms_addr a;

	up(2, 2, 3);
	p = rig_primary(&R, 0);
	a = where(0, 5);
	restart_all();
	p = rig_primary(&R, 0);
	CU_ASSERT_TRUE(rot(p, a));
	CU_ASSERT_TRUE(rot(p, where(0, 70)));
	v_check_all("damaged");
	CU_ASSERT_TRUE(V_WAIT(5000, st(p).repaired == 2 && !repair_running(R.node[p].n)));
	v_check_all("repaired");
	CU_ASSERT_EQUAL(st(p).found, 2);
	v_down();
}

/* Someone else tells: a gateway, or what reads for another node. */
static void test_told(void)
{
	unsigned p, b;
	uint8_t body[8];
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_REPAIR, .body = body, .body_bytes = 8};

	up(2, 2, 4);
	p = rig_primary(&R, 0);
	b = !p;
	CU_ASSERT_TRUE(rot(b, where(0, 9)));
	vms_put_le64(body, where(0, 9));
	rig_send(&R, 0, b, &m, &re);
	CU_ASSERT_TRUE_FATAL(rig_wait(&R, &re, 2000));
	CU_ASSERT_EQUAL(re.status, 0);
	rig_reply_free(&re);
	CU_ASSERT_TRUE(V_WAIT(5000, st(b).repaired == 1 && !repair_running(R.node[b].n)));
	/* nonsense does no harm */
	for (unsigned i = 0; i < 6; i++) {
		static const uint64_t bad[6] = {0, 1, 4096, 4095, UINT64_MAX, 1ull << 40};

		vms_put_le64(body, bad[i]);
		rig_send(&R, 0, b, &m, &re);
		CU_ASSERT_TRUE_FATAL(rig_wait(&R, &re, 2000));
		rig_reply_free(&re);
	}
	m.body_bytes = 7;
	rig_send(&R, 0, b, &m, &re);
	CU_ASSERT_TRUE_FATAL(rig_wait(&R, &re, 2000));
	CU_ASSERT_EQUAL(re.status, VMS_E_PROTO);
	rig_reply_free(&re);
	CU_ASSERT_TRUE(V_WAIT(20000, !repair_running(R.node[b].n)));
	CU_ASSERT_EQUAL(repair_lost_count(R.node[b].n), 0);
	v_check_all("told");
	v_down();
}

/* Part of a chunk is written: the rest of it comes from another node, also by the address of
 * the write. */
static void test_log_addr(void)
{
	uint8_t sec[512], body[8], b[V_CHUNK], lba[2];
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .branch = 0,
			    .snap_gen = VMS_GEN_LIVE,
			    .body = lba,
			    .body_bytes = 2};
	struct rig_reply re;
	vms_addr a;

	up(2, 2, 14);
	a = where(0, 5);
	restart_all();
	memset(sec, 3, sizeof(sec));
	CU_ASSERT_EQUAL(v_write_raw(v, 0, 5, 1, 2, sec, sizeof(sec)), 0);
	CU_ASSERT_TRUE(rot(rig_primary(&R, 0), a));
	vms_put_le16(lba, 5);
	m.branch = v->branch;
	CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
	memcpy(body, re.body, 8);
	CU_ASSERT_TRUE(vms_addr_is_log(vms_get_le64(body), 0));
	rig_reply_free(&re);
	CU_ASSERT_TRUE(V_WAIT(5000, !repair_running(R.node[rig_primary(&R, 0)].n)));
	CU_ASSERT_TRUE(rot(rig_primary(&R, 0), a));
	m = (struct vms_msg){.type = VMS_MSG_READ_ADDR, .body = body, .body_bytes = 8};
	CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
	CU_ASSERT_EQUAL((int16_t)vms_get_le16(re.body + 12), 0);
	v_fill(b, v->img.id[0][5]);
	memcpy(b + 512, sec, 512);
	CU_ASSERT_TRUE(re.m.payload_bytes == V_CHUNK && !memcmp(re.payload, b, V_CHUNK));
	rig_reply_free(&re);
	v_write(v, 0, 5, v_next_id++);
	v_down();
}

/* A block with the bytes of another one, each right by itself. */
static void test_misdirected(void)
{
	unsigned p;
	vms_addr a, b;

	up(2, 2, 5);
	a = where(0, 3);
	b = where(1, 40);
	restart_all();
	p = rig_primary(&R, 0);
	CU_ASSERT_TRUE(sim_disk_misdirect(disk(p), vms_addr_container(a), block_of(a),
					  vms_addr_container(b), block_of(b)));
	/* a header of another segment */
	a = vms_seg_header_offset(vms_addr_offset_bytes(a)) / V_CHUNK;
	b = where(0, 80);
	CU_ASSERT_TRUE(sim_disk_misdirect(disk(p), vms_addr_container(b),
					  vms_seg_header_offset(vms_addr_offset_bytes(b)) / V_CHUNK,
					  vms_addr_container(where(0, 3)), a));
	v_check_all("misdirected");
	CU_ASSERT_TRUE(V_WAIT(5000, st(p).repaired >= 2 && !repair_running(R.node[p].n)));
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_EQUAL(st(p).found, st(p).repaired);
	v_check_all("after");
	v_down();
}

/* Every second chunk on one node, every other one on the other, a header on each. */
static void test_each_heals_the_other(void)
{
	vms_addr h0, h1;

	up(2, 2, 6);
	for (unsigned e = 0; e < 2; e++)
		for (unsigned c = 0; c < WHOLE; c++)
			CU_ASSERT_TRUE(rot(c % 2, where(e, c)));
	h0 = where(0, 0);
	h1 = where(1, WHOLE - 1);
	CU_ASSERT_TRUE(sim_disk_rot(disk(0), vms_addr_container(h0),
				    vms_seg_header_offset(vms_addr_offset_bytes(h0)) / V_CHUNK, 9));
	CU_ASSERT_TRUE(sim_disk_rot(disk(1), vms_addr_container(h1),
				    vms_seg_header_offset(vms_addr_offset_bytes(h1)) / V_CHUNK, 9));
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_EQUAL(st(0).repaired + st(1).repaired, 2 * WHOLE + 2);
	CU_ASSERT_EQUAL(repair_lost_count(R.node[0].n), 0);
	CU_ASSERT_EQUAL(repair_lost_count(R.node[1].n), 0);
	v_check_all("healed");
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_EQUAL(st(0).repaired + st(1).repaired, 2 * WHOLE + 2);
	v_down();
}

/* Reads one chunk; its status. */
static int read_one(uint32_t ext, unsigned ch, uint8_t *valid, bool *zeros)
{
	uint8_t body[2];
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .partition = v_part(v, ext),
			    .branch = v->branch,
			    .snap_gen = VMS_GEN_LIVE,
			    .extent = ext,
			    .body = body,
			    .body_bytes = 2};
	struct rig_reply re;
	int st;

	vms_put_le16(body, (uint16_t)ch);
	CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
	st = (int16_t)vms_get_le16(re.body + 12);
	*valid = re.body[14];
	*zeros = !st && vms_get_le64(re.body) == VMS_ADDR_HOLE;
	rig_reply_free(&re);
	return st;
}

/* Both copies of one chunk: it reads as damaged, alone, and is listed until it is
 * written again. */
static void test_lost_chunk(void)
{
	uint8_t valid;
	bool zeros;
	vms_addr a;
	int s = 0;

	up(2, 2, 7);
	a = where(1, 33);
	restart_all();
	CU_ASSERT_TRUE(rot(0, a));
	CU_ASSERT_TRUE(rot(1, a));
	CU_ASSERT_TRUE(V_WAIT(20000, (s = read_one(1, 33, &valid, &zeros)) != VMS_E_AGAIN));
	CU_ASSERT_EQUAL(s, VMS_E_CORRUPT);
	CU_ASSERT_FALSE(zeros);
	CU_ASSERT_TRUE(scrub_all());
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(repair_lost_count(R.node[i].n), 1);
		CU_ASSERT_TRUE(repair_lost(R.node[i].n, a));
	}
	CU_ASSERT_EQUAL(read_one(1, 33, &valid, &zeros), VMS_E_CORRUPT);
	/* one sector of it is written: the others stay damaged, also in the container */
	{
		uint8_t sec[512];

		memset(sec, 9, sizeof(sec));
		CU_ASSERT_EQUAL(v_write_raw(v, 1, 33, 1, 4, sec, sizeof(sec)), 0);
	}
	v_drain();
	rig_run(&R, 7000);
	CU_ASSERT_TRUE(V_WAIT(20000, (s = read_one(1, 33, &valid, &zeros)) != VMS_E_AGAIN));
	CU_ASSERT_EQUAL(s, VMS_E_BAD_SECTORS);
	CU_ASSERT_EQUAL(valid, 4);
	v_write(v, 1, 33, v_next_id++);
	v_drain();
	v_check_all("written again");
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	v_down();
}

static bool page_rot(unsigned node, uint32_t ext, unsigned sub)
{
	struct vms_page_key key = {v_part(v, ext), v->branch, ext * VMS_EXTENT_SUBEXTS + sub,
				   v->gen};
	uint8_t k[VMS_PAGE_KEY_BYTES];

	vms_page_key_encode(k, &key);
	return sim_disk_meta_rot(disk(node), k, sizeof(k), 200);
}

/* A page is damaged at the primary: reads, part writes, drains, trims go on when a
 * good copy has come; nothing of it is taken for empty. */
static void test_page(void)
{
	unsigned p;
	uint8_t sec[512], b[V_CHUNK];

	up(2, 2, 8);
	p = rig_primary(&R, 0);
	CU_ASSERT_TRUE(page_rot(p, 0, 0));
	v_check_all("page damaged");
	CU_ASSERT_TRUE(V_WAIT(5000, !repair_running(R.node[p].n)));
	rig_run(&R, 7000);
	CU_ASSERT_TRUE(page_rot(p, 0, 0));
	CU_ASSERT_TRUE(page_rot(!p, 1, 0));
	/* part of a chunk on the damaged page of the primary, then of the backup */
	memset(sec, 9, sizeof(sec));
	for (unsigned e = 0; e < 2; e++) {
		uint8_t body[2];
		struct rig_reply re;
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = 0,
				    .branch = v->branch,
				    .snap_gen = VMS_GEN_LIVE,
				    .extent = e,
				    .body = body,
				    .body_bytes = 2};

		CU_ASSERT_EQUAL(v_write_raw(v, e, 7, 1, 1, sec, sizeof(sec)), 0);
		v_drain();
		rig_run(&R, 7000);
		v_fill(b, v->img.id[e][7]);
		memcpy(b, sec, sizeof(sec));
		vms_put_le16(body, 7);
		CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
		CU_ASSERT_EQUAL((int16_t)vms_get_le16(re.body + 12), 0);
		CU_ASSERT_TRUE(re.m.payload_bytes == V_CHUNK && !memcmp(re.payload, b, V_CHUNK));
		rig_reply_free(&re);
		v_write(v, e, 7, v_next_id++);
	}
	CU_ASSERT_TRUE(scrub_all());
	v_check_all("pages repaired");
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(repair_lost_count(R.node[i].n), 0);
	v_down();
}

/* On both nodes: what it named reads as damaged until it is written again; the
 * partition goes on, and everything else is there. */
static void test_lost_page(void)
{
	uint8_t valid;
	bool zeros;
	int s = 0;

	up(2, 2, 9);
	CU_ASSERT_TRUE(page_rot(0, 1, 0));
	CU_ASSERT_TRUE(page_rot(1, 1, 0));
	CU_ASSERT_TRUE(V_WAIT(30000, (s = read_one(1, 3, &valid, &zeros)) != VMS_E_AGAIN));
	CU_ASSERT_EQUAL(s, VMS_E_CORRUPT);
	CU_ASSERT_FALSE(zeros);
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_TRUE(repair_lost_count(R.node[0].n) + repair_lost_count(R.node[1].n) >= 1);
	for (unsigned c = 0; c < WHOLE; c++)
		v_write(v, 1, c, v_next_id++);
	v_drain();
	rig_run(&R, 7000);
	/* holes of it cannot be told from what was lost, either */
	CU_ASSERT_EQUAL(read_one(1, WHOLE + 3, &valid, &zeros), VMS_E_CORRUPT);
	v_zero(v, 1, WHOLE, V_CHS - WHOLE);
	v_drain();
	v_check_all("written again");
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	restart_all();
	v_check_all("restarted");
	v_down();
}

/* What is repaired stays so when the power goes at once. */
static void test_durable(void)
{
	vms_addr a[20];
	unsigned b;

	up(2, 2, 10);
	b = !rig_primary(&R, 0);
	for (unsigned i = 0; i < 20; i++) {
		a[i] = where(0, 4 * i);
		CU_ASSERT_TRUE(rot(b, a[i]));
		repair_addr(R.node[b].n, a[i]);
	}
	for (unsigned i = 0; i < 100000 && st(b).repaired < 20 && rig_step(&R); i++)
		;
	CU_ASSERT_EQUAL(st(b).repaired, 20);
	rig_node_crash(&R, b, true);
	rig_node_start(&R, b);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_EQUAL(st(b).found, 0);
	v_check_all("durable");
	v_down();
}

/* A member that has not applied what changed the page cannot give it. */
static void test_page_behind(void)
{
	struct vms_node *b;
	unsigned p;
	uint8_t valid;
	bool zeros;

	up(2, 2, 11);
	p = rig_primary(&R, 0);
	b = R.node[!p].n;
	b->part[0]->apply_wait = true;
	b->part[0]->hold_ms = UINT64_MAX;
	b->apply_waits++;
	for (unsigned c = 0; c < 20; c++)
		v_write(v, 0, c, v_next_id++);
	v_drain();
	rig_run(&R, 7000);
	CU_ASSERT_TRUE(b->part[0]->applied < R.node[p].n->part[0]->applied);
	CU_ASSERT_TRUE(page_rot(p, 0, 0));
	CU_ASSERT_EQUAL(read_one(0, 3, &valid, &zeros), VMS_E_AGAIN);
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(read_one(0, 3, &valid, &zeros), VMS_E_AGAIN);
	b->part[0]->hold_ms = 0;
	v_check_all("caught up");
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_EQUAL(repair_lost_count(R.node[p].n), 0);
	v_down();
}

/* The only other member has not written the chunk yet: that is no loss. */
static void test_chunk_behind(void)
{
	struct vms_node *b;
	uint8_t valid, sec[512];
	bool zeros;
	unsigned p;

	up(2, 2, 12);
	p = rig_primary(&R, 0);
	b = R.node[!p].n;
	b->part[0]->apply_wait = true;
	b->part[0]->hold_ms = UINT64_MAX;
	b->apply_waits++;
	for (unsigned c = 0; c < 20; c++)
		v_write(v, 0, c, v_next_id++);
	v_drain();
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(rot(p, where(0, 4)));
	/* what is written over a part of it waits as well */
	memset(sec, 1, sizeof(sec));
	CU_ASSERT_EQUAL(read_one(0, 4, &valid, &zeros), VMS_E_AGAIN);
	CU_ASSERT_EQUAL(v_write_raw(v, 0, 4, 1, 2, sec, sizeof(sec)), 0);
	for (unsigned i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL(read_one(0, 4, &valid, &zeros), VMS_E_AGAIN);
		rig_run(&R, 500);
	}
	b->part[0]->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(30000, read_one(0, 4, &valid, &zeros) == 0));
	v_write(v, 0, 4, v_next_id++);
	v_check_all("caught up");
	CU_ASSERT_TRUE(scrub_all());
	CU_ASSERT_EQUAL(repair_lost_count(R.node[p].n), 0);
	v_down();
}

/* Without being asked it takes its time, and does not begin again at once. */
static void test_pace(void)
{
	up(2, 2, 13);
	R.node[0].n->cluster.scrub_days = 1;
	rig_run(&R, 20000);
	CU_ASSERT_TRUE(scrub_rounds(R.node[0].n) <= 1);
	scrub_start(R.node[0].n);
	CU_ASSERT_TRUE(V_WAIT(60000, scrub_rounds(R.node[0].n) >= 1));
	{
		uint64_t before = scrub_rounds(R.node[0].n), bytes = scrub_bytes(R.node[0].n);

		rig_run(&R, 3600000);
		CU_ASSERT_EQUAL(scrub_rounds(R.node[0].n), before);
		CU_ASSERT_EQUAL(scrub_bytes(R.node[0].n), bytes);
		/* a round takes four fifths of a day */
		rig_run(&R, 2 * 86400000ull / 10);
		CU_ASSERT_EQUAL(scrub_rounds(R.node[0].n), before);
	}
	scrub_pause(R.node[0].n, true);
	rig_node_crash(&R, 0, false);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("paced");
	v_down();
}

/* Rot all the time, on changing nodes, under writes, snapshots, collection and crashes:
 * as long as one copy of each block is right, nobody notices. */
static void random_rot(uint64_t seed)
{
	v_up(3, 2, 1, seed);
	v = v_create(0);
	v_create(1);
	for (unsigned op = 0; op < 160 && v_bad < 5; op++) {
		struct v_vol *w = &V[v_pick(2)];
		unsigned what = v_pick(100), s = v_pick(4);

		if (what < 60) {
			for (unsigned i = 0; i < 12; i++)
				v_write(w, v_pick(3), v_pick(V_CHS),
					v_pick(3) ? v_next_id++ : 1 + v_pick(20));
		} else if (what < 65) {
			v_zero(w, v_pick(3), v_pick(V_CHS / 2), 1 + v_pick(V_CHS / 2));
		} else if (what < 70) {
			if (w->snap[s].used)
				v_snap_rm(w, s);
			else
				v_snap(w, s);
		} else if (what < 76) {
			v_drain();
			rig_run(&R, 7000);
		} else if (what < 80) {
			unsigned nd = v_pick(3);

			rig_node_crash(&R, nd, op & 1);
			rig_run(&R, v_pick(300));
			rig_node_start(&R, nd);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		} else if (what < 96) {
			struct blocks b = {VMS_VEC_INIT};
			struct keys k = {VMS_VEC_INIT, 0};
			unsigned nd = v_pick(3);

			/* the other copies must be whole, on disk, before the next one rots */
			CU_ASSERT_TRUE(scrub_all());
			rig_run(&R, 7000);
			sim_disk_blocks(disk(nd), block_add, &b);
			for (unsigned i = 0; b.v.n && i < 8; i++) {
				unsigned x = v_pick((unsigned)b.v.n);

				sim_disk_rot(disk(nd), b.v.d[x].ctr, b.v.d[x].no, v_pick(V_CHUNK));
			}
			keys_of(nd, &k);
			for (unsigned i = 0; k.v.n && i < 2; i++) {
				unsigned x = v_pick((unsigned)k.v.n);

				if (k.v.d[x].k[0] == 'I' || k.v.d[x].k[0] == 'J')
					sim_disk_meta_rot(disk(nd), k.v.d[x].k, k.v.d[x].n,
							  v_pick(900));
			}
			VMS_VEC_FREE(&b.v);
			VMS_VEC_FREE(&k.v);
			if (op & 1)
				v_check_all("rotten");
		} else {
			rig_run(&R, v_pick(1500));
		}
	}
	CU_ASSERT_TRUE(scrub_all());
	v_check_all("at the end");
	rig_run(&R, 2000);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(repair_lost_count(R.node[i].n), 0);
		CU_ASSERT_TRUE(R.node[i].n->st.digests > 0);
		CU_ASSERT_EQUAL(R.node[i].n->st.digest_bad, 0);
	}
	v_down();
}

static void test_random(void)
{
	uint64_t from = getenv("VMS_ROT_SEED") ? strtoull(getenv("VMS_ROT_SEED"), NULL, 10) : 1;
	unsigned n = getenv("VMS_ROT_SEEDS") ? (unsigned)atoi(getenv("VMS_ROT_SEEDS")) : 4;

	for (uint64_t seed = from; seed < from + n; seed++) {
		random_rot(seed);
		if (v_bad) {
			fprintf(stderr,
				"repeat with: VMS_ROT_SEED=%llu VMS_ROT_SEEDS=1 "
				"build/tests/test_scrub\n",
				(unsigned long long)seed);
			break;
		}
	}
}

static void test_mutants(void)
{
	static const struct {
		unsigned mutant;
		void (*test)(void);
	} m[] = {
		{MUT_RP_TRUST, test_lost_chunk},     {MUT_RP_NO_CRC, test_each_block},
		{MUT_RP_IGNORE, test_read_repairs},  {MUT_RP_ZEROS, test_lost_page},
		{MUT_RP_OLD_PAGE, test_page_behind}, {MUT_RP_NO_SYNC, test_durable},
		{MUT_SC_TAIL, test_each_block},	     {MUT_SC_INDEX, test_each_value},
		{MUT_DRAIN_BLIND, test_page},	     {MUT_RP_LOST_READ, test_lost_chunk},
	};

	if (R.mutant)
		return;
	for (unsigned i = 0; i < sizeof(m) / sizeof(m[0]); i++)
		if (!v_catches(m[i].mutant, m[i].test)) {
			fprintf(stderr, "mutant %u is not found\n", m[i].mutant);
			CU_FAIL("mutant");
		}
}

static const struct vms_test tests[] = {
	VMS_TEST(test_read_repairs),
	VMS_TEST(test_told),
	VMS_TEST(test_log_addr),
	VMS_TEST(test_misdirected),
	VMS_TEST(test_each_heals_the_other),
	VMS_TEST(test_lost_chunk),
	VMS_TEST(test_page),
	VMS_TEST(test_lost_page),
	VMS_TEST(test_each_block),
	VMS_TEST(test_each_value),
	VMS_TEST(test_durable),
	VMS_TEST(test_page_behind),
	VMS_TEST(test_chunk_behind),
	VMS_TEST(test_pace),
	VMS_TEST(test_random),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("scrub", tests)
