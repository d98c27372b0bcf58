// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies with disks that fail or hold damage: the learner's own, the primary's, that of all.
 */
#include <jansson.h>

#include "backend/ctr.h"
#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/learn_rig.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

/* A disk that fails to write while a copy is made ends the node, as with any other write
 * (simulator seed 580). */
static void test_disk_fails(void)
{
	up(0, 78);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	turnovers(&V[0], 7); /* the log alone does not do */
	learn_on(2, 0);
	for (unsigned turn = 0; !at_phase(2, LP_LIST) && turn < 60000; turn++)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_LIST));
	sim_disk_fail_at(R.node[2].sd, SIM_CTR_WRITE, VMS_E_IO);
	rig_run(&R, 1000);
	CU_ASSERT_TRUE(R.node[2].fatal);
	rig_node_crash(&R, 2, true);
	rig_node_start(&R, 2);
	finish(2);
}

/* A full disk refuses a container's file header and takes a segment behind it: the next
 * attempt must not take that file for one that has its header (simulator seed 12555). */
static void test_header_refused(void)
{
	unsigned turn = 0;
	struct learn *l;
	const char *bad;

	up(0, 79);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	turnovers(&V[0], 7); /* the log alone does not do */
	learn_on(2, 0);
	while (!at_phase(2, LP_HEADS) && turn++ < 60000)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_HEADS));
	sim_disk_fail_at(R.node[2].sd, SIM_CTR_WRITE, VMS_E_NOSPC);
	l = part_on(2, 0)->learn;
	while (part_on(2, 0)->learn == l && turn++ < 60000)
		rig_step(&R);
	CU_ASSERT_TRUE(!part_on(2, 0)->learn && !R.node[2].fatal);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	rig_node_crash(&R, 2, true);
	bad = rig_fsck(&R, 2);
	if (bad)
		v_fail("fsck of a copy whose first attempt met a full disk: %s", bad);
	rig_node_start(&R, 2);
	finish(2);
}

/* A disk that fails to read once loses nothing: the source is asked again (simulator
 * seed 1903). */
static void test_read_fails_once(void)
{
	up(0, 79);
	v_create(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], 0, c, next_id++);
	v_drain();
	turnovers(&V[0], 7);
	rig_node_crash(&R, 1, true); /* the primary is the only source */
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	learn_on(2, 0);
	for (unsigned turn = 0; !at_phase(2, LP_LIST) && turn < 60000; turn++)
		rig_step(&R);
	CU_ASSERT_TRUE(at_phase(2, LP_LIST));
	sim_disk_fail(R.node[0].sd, SIM_DISK_READS, false);
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(sim_disk_failed(R.node[0].sd), SIM_DISK_READS);
	CU_ASSERT_EQUAL(R.node[2].n->st.lost_chunks, 0);
	v_check_all("read again");
	rig_node_start(&R, 1);
	v_down();
}

/* Nor does it cost the copy a footer (simulator seed 1255): one read fails, at each step of
 * the fetching in turn. */
static void test_footer_once(void)
{
	bool more = true;

	for (unsigned k = 0; more && !v_bad; k += 2) {
		unsigned step = 0;
		const char *bad;

		up(0, 80);
		v_create(0);
		for (unsigned c = 0; c < V_CHS; c++)
			v_write(&V[0], 0, c, next_id++);
		v_drain();
		turnovers(&V[0], 7);
		rig_node_crash(&R, 1, true); /* the primary is the only source */
		SET(0, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		learn_on(2, 0);
		for (unsigned turn = 0; !at_phase(2, LP_FETCH) && turn < 60000; turn++)
			rig_step(&R);
		while (step < k && !at_phase(2, LP_FETCH + 1)) {
			rig_step(&R);
			step++;
		}
		more = !at_phase(2, LP_FETCH + 1);
		CU_ASSERT_TRUE(more || k > 20);
		sim_disk_fail(R.node[0].sd, SIM_DISK_READS, false);
		CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
		sim_disk_fail(R.node[0].sd, 0, false);
		SET(0, 0, 2);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		rig_node_crash(&R, 2, true);
		bad = rig_fsck(&R, 2);
		if (bad)
			v_fail("a read fails after step %u: fsck: %s", k, bad);
		rig_node_start(&R, 2);
		rig_node_start(&R, 1);
		v_check_all("read once more");
		v_down();
	}
}

static void put_bytes(unsigned node, uint64_t ctr, uint64_t off, const uint8_t *b)
{
	struct vms_iov iov = {b, V_CHUNK};

	vms_assert(!R.node[node].n);
	R.node[node].disk.ops->ctr_write(R.node[node].disk.ctx, ctr, off, &iov, 1, 1);
	rig_run(&R, 5);
	R.node[node].disk.ops->ctr_sync(R.node[node].disk.ctx, 2);
	rig_run(&R, 5);
}

/* A file that was in no checkpoint when the node crashed, of a container that its
 * primary has swept since. */
static void test_strays(void)
{
	uint8_t b[V_CHUNK] = {1};

	up(0, 32);
	v_create(0);
	turnovers(&V[0], 2);
	rig_node_crash(&R, 1, false);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	put_bytes(1, part_on(0, 0)->next_ctr + 5, 0, b);
	turnovers(&V[0], 8);
	rig_node_start(&R, 1);
	CU_ASSERT_FALSE(no_strays());
	rig_run(&R, 1500);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_TRUE(V_WAIT(10000, no_strays()));
	CU_ASSERT_TRUE(feed_get(part_on(0, 0), 2)->base);
	finish(1);
}

/* ---- damage ---- */

/* Chunk i of segment 0 of the first sealed container gets other bytes there. */
static uint64_t damage(unsigned node, unsigned i)
{
	struct part *p = part_on(0, 0);
	uint8_t b[V_CHUNK];
	uint64_t ctr = 0;

	VMS_VEC_FOREACH (&p->ctrs, c)
		if (!ctr && c->segs && c->used[0] > 8)
			ctr = c->number;
	CU_ASSERT_NOT_EQUAL_FATAL(ctr, 0);
	memset(b, 0x5a, sizeof(b));
	rig_node_crash(&R, node, false);
	put_bytes(node, ctr, vms_seg_chunk_offset(0, i), b);
	rig_node_start(&R, node);
	rig_run(&R, 1500);
	return ctr;
}

/* Its own old container is damaged: that segment is fetched. */
static void test_damage_own(void)
{
	some_data(41);
	rig_node_crash(&R, 1, false);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	turnovers(&V[0], 7);
	damage(1, 3);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	CU_ASSERT_TRUE(feed_get(part_on(0, 0), 2)->base);
	CU_ASSERT_TRUE(node(1)->st.kept_bytes > 0);
	SET(0, 0, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_drain();
	same("damaged before", 0, 1, 0);
	all_right("damage of its own");
	v_down();
}

/* The primary's copy is damaged: the other member's bytes are taken. Both are, in
 * different places: each place from where it is whole. */
static void damage_others(bool both)
{
	some_data(42 + both);
	damage(0, 3);
	if (both)
		damage(1, 5);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(2)->st.lost_chunks, 0);
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("of a damaged primary");
	rig_node_crash(&R, 2, false);
	CU_ASSERT_PTR_NULL(rig_fsck(&R, 2));
	v_down();
}

static void test_damage_primary(void)
{
	damage_others(false);
}

static void test_damage_both(void)
{
	damage_others(true);
}

/* Nobody has it: it stays unreadable, and is not made up. */
static void test_damage_all(void)
{
	uint8_t body[2 * V_CHS];
	struct rig_reply re;
	unsigned bad = 0, wrong = 0;

	some_data(44);
	damage(0, 3);
	damage(1, 3);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	CU_ASSERT_EQUAL(node(2)->st.lost_chunks, 1);
	SET(0, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	for (unsigned i = 0; i < V_CHS; i++)
		vms_put_le16(body + 2 * i, (uint16_t)i);
	for (uint32_t e = 0; e < 3; e++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = 0,
				    .branch = V[0].branch,
				    .snap_gen = VMS_GEN_LIVE,
				    .extent = e,
				    .body = body,
				    .body_bytes = sizeof(body)};
		size_t at = 0;

		CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
		for (unsigned i = 0; i < V_CHS; i++) {
			int st = (int16_t)vms_get_le16(re.body + 16 * i + 12);
			uint8_t want[V_CHUNK];

			bad += st != 0;
			v_fill(want, V[0].img.id[e][i]);
			if (!st) {
				wrong += memcmp(want, re.payload + at, V_CHUNK) != 0;
				at += V_CHUNK;
			}
		}
		rig_reply_free(&re);
	}
	CU_ASSERT_EQUAL(bad, 1);
	CU_ASSERT_EQUAL(wrong, 0);
	v_down();
}

/* ---- a record whose bytes nobody has ---- */

static bool page_rot(unsigned node, uint32_t ext)
{
	struct vms_page_key key = {0, V[0].branch, ext * VMS_EXTENT_SUBEXTS, V[0].gen};
	uint8_t k[VMS_PAGE_KEY_BYTES];

	vms_page_key_encode(k, &key);
	return sim_disk_meta_rot(R.node[node].sd, k, sizeof(k), 200);
}

/* A copy that is out of its set: what its own record needs is damaged in it. The others'
 * log goes on, and the copy is made again when it is wanted. */
static void test_bytes_out(void)
{
	uint32_t ext;
	struct part *q = lane_stands(82, 1, &ext);

	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(V_WAIT(10000, !q->known));
	CU_ASSERT_TRUE(page_rot(1, ext));
	q->hold_ms = 0;
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(q->applied < q->committed);
	log_goes_round(1);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	v_write(&V[0], ext, 3, next_id++);
	SET(0, 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_drain();
	same("made again", 1, 0, 0);
	v_check_all("led by the copy made again");
	v_down();
}

/* A member of the set; neither what the record merges with is whole in any copy, nor what
 * has come of it: the primary lets it go, and it gets a copy of what there is. */
static void test_bytes_member(void)
{
	uint32_t ext;
	struct part *q = lane_stands(83, 1, &ext), *p = part_on(0, 0);
	vms_addr to = third(0, ext), from = third(1, ext);

	CU_ASSERT_NOT_EQUAL(from, to);
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from) && rot(0, to));
	for (unsigned i = 0; i < 3; i++)
		node(i)->conf.fixed_sets = false;
	q->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, node(0)->st.drops == 1));
	CU_ASSERT_EQUAL(p->nm, 1);
	CU_ASSERT_TRUE(V_WAIT(120000, p->nm == 2 && p->state == PS_ACTIVE));
	CU_ASSERT_TRUE(q->known && !q->differs);
	v_write(&V[0], ext, 3, next_id++);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(20000, q->applied == p->seq_last && p->applied == p->seq_last));
	same_pages("made again", 0, 1, 0);
	v_check_all("written again");
	v_down();
}

/* It stands, and takes writes until they are as much as it may have in the log; the other
 * partitions of the node have the rest of it. */
static void stands(uint32_t ext)
{
	struct part *p = part_on(0, 0);
	uint8_t b[V_CHUNK];
	int stand, rc = 0;
	json_t *o = told(0, &stand);

	CU_ASSERT_TRUE(stand == 1 && json_is_true(json_object_get(o, "bytes_wait")));
	CU_ASSERT_TRUE(says(o, "no node that runs has the bytes of record"));
	CU_ASSERT_FALSE(says(o, "writes wait"));
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(o, "bytes_seq")),
			(json_int_t)p->applied + 1);
	json_decref(o);
	for (unsigned i = 0; i < RIG_LOG_BYTES / V_CHUNK && !rc; i++) {
		v_fill(b, next_id);
		rc = v_write_raw(&V[0], ext, 1 + i % 2, 1, 0xff, b, V_CHUNK);
		if (!rc)
			V[0].img.id[ext][1 + i % 2] = next_id++;
	}
	CU_ASSERT_EQUAL(rc, VMS_E_BUSY);
	CU_ASSERT_TRUE(vms_wal_used_bytes(node(0)->wal) < RIG_LOG_BYTES / 2);
	o = told(0, &stand);
	CU_ASSERT_TRUE(says(o, "writes wait"));
	json_decref(o);
	log_goes_round(0);
	CU_ASSERT_TRUE(p->bytes_wait && p->applied < p->committed);
}

/* The primary, alone in its set. Its partition stands and says so; the others go on, and
 * so does it when the bytes are there again. */
static void test_bytes_primary(void)
{
	uint32_t ext;
	struct part *p;
	vms_addr from;
	int stand;

	p = lane_stands(84, 0, &ext);
	from = third(0, ext);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from)); /* the copy that is out would do, too */
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	stands(ext);
	CU_ASSERT_TRUE(rot(0, from)); /* the bit turns back */
	CU_ASSERT_TRUE(V_WAIT(20000, !p->bytes_wait && p->applied == p->committed));
	json_decref(told(0, &stand));
	CU_ASSERT_EQUAL(stand, 0);
	v_write(&V[0], ext, 3, next_id++);
	v_drain();
	v_check_all("the bytes are back");
	v_down();
}

static void test_mutants(void)
{
	static const struct learn_mutant m[] = {
		{MUT_LN_VERIFY, test_damage_own},      {MUT_LN_TRUST, test_damage_primary},
		{MUT_LN_AGAIN, test_bytes_member},     {MUT_PEER_FOREVER, test_bytes_out},
		{MUT_PEER_FOREVER, test_bytes_member}, {MUT_PEER_FOREVER, test_bytes_primary},
		{MUT_STAND_FILLS, test_bytes_primary}, {MUT_LN_HEADLESS, test_header_refused},
	};

	each_is_caught(m, sizeof(m) / sizeof(*m));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_disk_fails),   VMS_TEST(test_read_fails_once), VMS_TEST(test_footer_once),
	VMS_TEST(test_strays),	     VMS_TEST(test_damage_own),	     VMS_TEST(test_damage_primary),
	VMS_TEST(test_damage_both),  VMS_TEST(test_damage_all),	     VMS_TEST(test_bytes_out),
	VMS_TEST(test_bytes_member), VMS_TEST(test_bytes_primary),   VMS_TEST(test_header_refused),
	VMS_TEST(test_mutants),
};
VMS_TEST_MAIN("learn: disks", tests)
