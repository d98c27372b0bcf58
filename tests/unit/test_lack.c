// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes that no replica has are looked for once more and given up (lack.c, lack_search.c):
 * what is lost of them is an error on every replica until it is written, whatever comes back;
 * what is left of them stays; nothing is given up that some node has.
 */
#include <jansson.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/lack_int.h"
#include "backend/node.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/learn_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"

static struct vms_errmsg why;

/* Asks the node; what it lacks, or NULL: why says why not. */
static json_t *lost(unsigned nd, json_t *req)
{
	json_t *a = NULL;

	why.text[0] = 0;
	if (vms_node_lost(node(nd), req, &a, &why))
		a = NULL;
	json_decref(req);
	vms_node_turn_end(node(nd), node(nd)->now_ms);
	return a;
}

/* without: node numbers from 0, one is enough here; negative: none. */
static bool give_up(unsigned nd, int without)
{
	json_t *w = json_array(), *a;

	if (without >= 0)
		json_array_append_new(w, json_integer(without + 1));
	a = lost(nd, json_pack("{si sI so}", "partition", 0, "record",
			       (json_int_t)part_on(nd, 0)->peer_seq, "without", w));
	json_decref(a);
	return a != NULL;
}

/* What the list says of partition 0; *lost: sectors of its first chunk. */
static json_int_t listed(unsigned nd, const char *state, size_t *chunks)
{
	json_t *a = lost(nd, json_object()), *p, *c;
	json_int_t mask;

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	p = json_array_get(json_object_get(a, "partitions"), 0);
	*chunks = json_array_size(json_object_get(p, "chunks"));
	c = json_array_get(json_object_get(p, "chunks"), 0);
	if (p)
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(p, "state")), state);
	mask = json_integer_value(json_object_get(c, "lost_sectors"));
	json_decref(a);
	return mask;
}

/* Sectors of a chunk that can be read at the primary, all of them as they were written. */
static uint8_t readable(uint32_t ext, uint16_t ch, const uint8_t *want)
{
	uint8_t body[2], mask = 0;
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .partition = v_part(&V[0], ext),
			    .branch = V[0].branch,
			    .snap_gen = VMS_GEN_LIVE,
			    .extent = ext,
			    .body = body,
			    .body_bytes = sizeof(body)};
	struct rig_reply re;
	int st;

	vms_put_le16(body, ch);
	for (unsigned turn = 0;; turn++) {
		CU_ASSERT_EQUAL_FATAL(v_call(0, m, &re), 0);
		st = (int16_t)vms_get_le16(re.body + 12);
		if (st != VMS_E_AGAIN && st != VMS_E_GONE)
			break;
		CU_ASSERT_TRUE_FATAL(turn < 300);
		rig_reply_free(&re);
		rig_run(&R, 50);
	}
	if (!st || st == VMS_E_BAD_SECTORS)
		mask = st ? re.body[14] : VMS_MASK_FULL;
	for (unsigned s = 0; s < 8; s++)
		if (mask >> s & 1)
			CU_ASSERT_EQUAL(memcmp(re.payload + s * VMS_LB_BYTES,
					       want + s * VMS_LB_BYTES, VMS_LB_BYTES),
					0);
	rig_reply_free(&re);
	return mask;
}

/* Chunk 3 after the write of half of it. */
static void want3(uint32_t ext, uint8_t *b)
{
	uint8_t half[V_CHUNK];

	v_fill(b, V[0].img.id[ext][3]);
	v_fill(half, next_id - 1);
	memcpy(b, half, V_CHUNK / 2);
}

/* Partition 0 stands on node 0, its only member; all that lay below is rotten, and what
 * node 1 has made of it, too. Its copy is not in the set. */
static struct part *all_lost(uint64_t seed, uint32_t *ext, vms_addr *from, uint8_t *want)
{
	struct part *p = lane_stands(seed, 0, ext);

	want3(*ext, want);
	*from = third(0, *ext);
	CU_ASSERT_TRUE(V_WAIT(10000, part_on(1, 0)->applied == p->committed));
	CU_ASSERT_NOT_EQUAL(third(1, *ext), *from);
	CU_ASSERT_TRUE(rot(1, third(1, *ext)));
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(rot(0, *from) && rot(1, *from));
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	return p;
}

static void goes_on(struct part *p)
{
	CU_ASSERT_TRUE(V_WAIT(20000, !p->bytes_wait && p->applied == p->committed));
	CU_ASSERT_PTR_NULL(p->lack);
}

/* Partitions that the node tells of when it is asked for that one. */
static size_t listed_of(unsigned nd, int partition)
{
	json_t *a = lost(nd, json_pack("{si}", "of", partition));
	size_t n = json_array_size(json_object_get(a, "partitions"));

	json_decref(a);
	return n;
}

/* Given up: what was written over it stays, the rest is an error, at every replica and after
 * every restart, also when what lay below is whole again. Writing it heals it. */
static void what_is_lost_is_an_error_for_good(void)
{
	uint8_t want[V_CHUNK], b[V_CHUNK];
	vms_addr from, to;
	size_t chunks;
	uint32_t ext;
	struct part *p = all_lost(90, &ext, &from, want);

	to = third(1, ext);
	CU_ASSERT_EQUAL(listed(0, "stands", &chunks), 0xf0);
	CU_ASSERT_EQUAL(chunks, 1);
	CU_ASSERT_EQUAL(listed_of(0, 0), 1);
	CU_ASSERT_EQUAL(listed_of(0, 1) + listed_of(0, -1) + listed_of(0, 1 << R.part_bits), 0);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	CU_ASSERT_TRUE(give_up(0, -1));
	(void)listed(0, "searching", &chunks);
	CU_ASSERT_TRUE(give_up(0, -1)); /* again: nothing else comes of it */
	goes_on(p);
	CU_ASSERT_FALSE(give_up(0, -1)); /* it does not stand any more */
	CU_ASSERT_EQUAL(node(0)->st.given_up, 1);
	(void)listed(0, "", &chunks);
	CU_ASSERT_EQUAL(chunks, 0);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	v_drain();
	/* everything that was lost comes back */
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from) && rot(1, to));
	rig_node_crash(&R, 0, false);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	SET(0, 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_drain();
	same_pages("learnt", 1, 0, 0);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	v_fill(b, next_id);
	CU_ASSERT_EQUAL(v_write_raw(&V[0], ext, 3, 1, 0xf0, b + V_CHUNK / 2, V_CHUNK / 2), 0);
	memcpy(want + V_CHUNK / 2, b + V_CHUNK / 2, V_CHUNK / 2);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0xff);
	v_drain();
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0xff);
	v_zero(&V[0], ext, 3, 1);
	v_drain();
	v_check_all("written again");
	v_down();
}

/* A member of the set that has the record applied, and its bytes damaged as well, holds the
 * same afterwards as the primary. */
static void members_hold_the_same(void)
{
	uint8_t want[V_CHUNK];
	uint32_t ext;
	struct part *p = lane_stands(91, 0, &ext), *q = part_on(1, 0);
	vms_addr from = third(0, ext);

	want3(ext, want);
	CU_ASSERT_TRUE(V_WAIT(10000, q->applied == p->committed));
	CU_ASSERT_TRUE(rot(1, third(1, ext)) && rot(0, from) && rot(1, from));
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	for (unsigned i = 0; i < 3; i++)
		node(i)->conf.fixed_sets = false;
	CU_ASSERT_TRUE(give_up(0, -1));
	goes_on(p);
	CU_ASSERT_TRUE(V_WAIT(120000, p->nm == 2 && p->state == PS_ACTIVE));
	CU_ASSERT_TRUE(
		V_WAIT(60000, q->known && q->applied == p->seq_last && p->applied == p->seq_last));
	same_pages("given up", 0, 1, 0);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	rig_node_crash(&R, 0, false);
	CU_ASSERT_TRUE(V_WAIT(60000, part_on(1, 0)->primary && part_on(1, 0)->state == PS_ACTIVE));
	rig_run(&R, 1000);
	R.lead[0] = 2;
	for (unsigned g = 0; g < RIG_GWS; g++)
		R.gw[g].epoch[0] = part_on(1, 0)->conf.epoch;
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	v_down();
}

/* A copy that is in no set has what the record made, or what lay below it: that is found,
 * and nothing is given up. */
static void found(bool base)
{
	uint8_t want[V_CHUNK];
	uint32_t ext;
	struct part *p = lane_stands(92 + base, 0, &ext);
	vms_addr from = third(0, ext);

	want3(ext, want);
	CU_ASSERT_TRUE(V_WAIT(10000, part_on(1, 0)->applied == p->committed));
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from));
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	if (base) /* no repair has seen it yet */
		CU_ASSERT_TRUE(rot(1, from) && rot(1, third(1, ext)));
	CU_ASSERT_TRUE(give_up(0, -1));
	goes_on(p);
	CU_ASSERT_EQUAL(node(0)->st.given_up, 0);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0xff);
	v_down();
}

static void what_a_former_member_made_is_found(void)
{
	found(false);
}

static void a_base_of_a_former_member_is_found(void)
{
	found(true);
}

/* Without those that are away, by name only. One that comes or goes meanwhile ends it. */
static void who_is_away_is_named(void)
{
	uint8_t want[V_CHUNK];
	vms_addr from;
	uint32_t ext;
	size_t chunks;
	struct part *p = all_lost(94, &ext, &from, want);

	rig_node_crash(&R, 2, false);
	rig_run(&R, 3000);
	CU_ASSERT_FALSE(give_up(0, -1));
	CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "node 3"));
	CU_ASSERT_FALSE(give_up(0, 1));
	rig_run(&R, 10000);
	CU_ASSERT_TRUE(p->bytes_wait && p->applied < p->committed);
	CU_ASSERT_TRUE(give_up(0, 2));
	CU_ASSERT_TRUE(p->apply_wait);
	rig_node_start(&R, 2);
	/* nobody has them, but the lane has not looked again */
	for (unsigned i = 0; i < 100000 && !node_peer(node(0), 3, false)->conn; i++) {
		p->hold_ms = UINT64_MAX;
		rig_step(&R);
	}
	CU_ASSERT_TRUE_FATAL(p->lack && p->lack->search);
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(20000, !p->lack->search));
	CU_ASSERT_PTR_NOT_NULL(strstr(p->lack->why, "node 3 has come"));
	(void)listed(0, "stands", &chunks);
	CU_ASSERT_TRUE(give_up(0, -1));
	goes_on(p);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	v_down();
}

static unsigned said;

static void count_said(void *ctx, int level, const char *text)
{
	(void)ctx;
	(void)level;
	said += strstr(text, "does not match its checksum") != NULL;
}

/* The lane looks again and again: that the chunk is damaged is told once a minute. */
static void damage_is_not_told_again_and_again(void)
{
	uint8_t want[V_CHUNK];
	vms_addr from;
	uint32_t ext;
	struct part *p = all_lost(93, &ext, &from, want);
	uint64_t looks = node(0)->st.corrupt;
	unsigned first;

	node(0)->up.log = count_said;
	rig_run(&R, 2 * VMS_LOG_PLACES_MS);
	first = said;
	CU_ASSERT(node(0)->st.corrupt - looks > 20);
	CU_ASSERT(first >= 1 && first <= 2);
	rig_run(&R, VMS_LOG_PLACES_MS);
	CU_ASSERT(said - first == 1);
	CU_ASSERT_TRUE(p->bytes_wait);
	v_down();
}

/* A search counts in the epoch that it was made in: who was asked may have changed. */
static void another_epoch_begins_anew(void)
{
	uint8_t want[V_CHUNK];
	vms_addr from;
	uint32_t ext;
	struct part *p = all_lost(100, &ext, &from, want);

	CU_ASSERT_TRUE(give_up(0, -1));
	for (unsigned i = 0; i < 2000; i++) {
		p->hold_ms = UINT64_MAX;
		rig_step(&R);
	}
	CU_ASSERT_TRUE(p->lack && p->lack->search);
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	p->hold_ms = 0;
	rig_run(&R, 10000);
	CU_ASSERT_TRUE(p->bytes_wait && p->lack && !p->lack->search);
	CU_ASSERT_EQUAL(node(0)->st.given_up, 0);
	CU_ASSERT_TRUE(give_up(0, -1));
	goes_on(p);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
	v_down();
}

/* Power is lost at any moment of it: afterwards it stands as before, or has been given up. */
static void crash_anywhere(void)
{
	bool done = false;

	for (unsigned step = 0; !done && step < 4000 && !v_bad; step += 1 + step / 8) {
		uint8_t want[V_CHUNK];
		vms_addr from;
		uint32_t ext;
		struct part *p = all_lost(95, &ext, &from, want);

		CU_ASSERT_TRUE(give_up(0, -1));
		for (unsigned i = 0; i < step; i++)
			rig_step(&R);
		done = !p->bytes_wait && p->applied == p->committed;
		rig_node_crash(&R, 0, step & 1);
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		p = part_on(0, 0);
		CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait || p->applied == p->committed));
		CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
		if (p->bytes_wait)
			CU_ASSERT_TRUE(give_up(0, -1));
		goes_on(p);
		v_drain();
		CU_ASSERT_EQUAL(readable(ext, 3, want), 0x0f);
		v_down();
	}
	CU_ASSERT_TRUE(done);
}

/* The record is one of the collector, which moves a chunk: nothing of it is left. */
static void a_moved_chunk_is_given_up(void)
{
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	uint8_t want[V_CHUNK], meta[VMS_MOVES_META_MAX];
	struct vms_move m;
	vms_addr from;
	size_t chunks;
	struct part *p;
	uint32_t ext;

	up(2, 99);
	for (unsigned i = 0; i < 3; i++)
		R.node[i].n->conf.gc_target_percent = 100000;
	v_create(0);
	ext = ext_in(0);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], ext, c, next_id++);
	v_drain();
	v_write(&V[0], ext, 7, next_id++);
	v_drain();
	rig_run(&R, 7000);
	v_fill(want, V[0].img.id[ext][3]);
	p = part_on(0, 0);
	CU_ASSERT_NOT_EQUAL_FATAL(p->open_ctr, 0);
	from = third(0, ext);
	m = (struct vms_move){
		.branch = V[0].branch,
		.snap_gen = V[0].gen,
		.extent = ext,
		.chunk = 3,
		.valid = VMS_MASK_FULL,
		.crc = vms_crc32c(0, want, V_CHUNK),
		.from_seq = from,
		.to = vms_addr_make(p->open_ctr, (uint32_t)vms_seg_chunk_offset(p->open_seg, 0))};
	p->open_seg++;
	p->open_chunks++;
	p->apply_wait = true;
	p->hold_ms = UINT64_MAX;
	node(0)->apply_waits++;
	vms_rec_moves_put(&r, meta, &m, 1);
	CU_ASSERT_TRUE(order(node(0), p, &r));
	CU_ASSERT_TRUE(V_WAIT(10000, part_on(1, 0)->applied == p->committed));
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from) && rot(1, m.to));
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	p->hold_ms = 0;
	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	CU_ASSERT_EQUAL(listed(0, "stands", &chunks), 0xff);
	CU_ASSERT_TRUE(give_up(0, -1));
	goes_on(p);
	CU_ASSERT_EQUAL(node(0)->st.given_up, 1);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0);
	CU_ASSERT_TRUE(rot(0, from)); /* it is whole again, and not referred to any more */
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0);
	CU_ASSERT_TRUE(learn_wait(1, 0, 60000));
	SET(0, 1, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0);
	v_write(&V[0], ext, 3, next_id++);
	v_drain();
	v_check_all("written again");
	v_down();
}

/* ---- twins ---- */

/* Chunks 3 and 5 come to hold the same, one by a write over half of what it was (lost), the
 * other by `mask`: they go out together, and one place is written for both. */
static struct part *twins(uint64_t seed, uint8_t mask, bool rot5, uint32_t *ext, uint8_t *want)
{
	uint8_t b[V_CHUNK];
	vms_addr from, five;
	struct vms_page page;
	struct vms_page_key key = {0, 0, 0, VMS_GEN_LIVE};
	struct part *p;

	up(2, seed);
	v_create(0);
	*ext = ext_in(0);
	v_fill(want, 1000);
	v_fill(b, 1001);
	for (unsigned c = 0; c < V_CHS; c++)
		v_write(&V[0], *ext, c, next_id++);
	/* the half that stays is that of the content both come to; the rest differs */
	memcpy(b, want, V_CHUNK / 2);
	CU_ASSERT_EQUAL(v_write_raw(&V[0], *ext, 3, 1, 0xff, b, V_CHUNK), 0);
	v_fill(b, 1002);
	for (unsigned s = 0; s < 8; s++)
		if (!(mask >> s & 1))
			memcpy(b + s * VMS_LB_BYTES, want + s * VMS_LB_BYTES, VMS_LB_BYTES);
	CU_ASSERT_EQUAL(v_write_raw(&V[0], *ext, 5, 1, 0xff, b, V_CHUNK), 0);
	v_drain();
	rig_run(&R, 7000);
	p = part_on(0, 0);
	from = third(0, *ext);
	key.branch = V[0].branch;
	key.subext = *ext * VMS_EXTENT_SUBEXTS;
	CU_ASSERT_EQUAL(vms_pages_lookup(node(0)->pages, &key, &page), 0);
	five = page.entry[5];
	CU_ASSERT_EQUAL(v_write_raw(&V[0], *ext, 3, 1, 0xf0, want + V_CHUNK / 2, V_CHUNK / 2), 0);
	{
		uint8_t part[V_CHUNK];
		size_t at = 0;

		for (unsigned s = 0; s < 8; s++)
			if (mask >> s & 1) {
				memcpy(part + at, want + s * VMS_LB_BYTES, VMS_LB_BYTES);
				at += VMS_LB_BYTES;
			}
		CU_ASSERT_EQUAL(v_write_raw(&V[0], *ext, 5, 1, mask, part, at), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		vms_wal_gen_seal(node(i)->wal);
	for (unsigned i = 0; i < 100000 && !p->moves_ordered && rig_step(&R); i++)
		;
	CU_ASSERT_TRUE(p->moves_ordered && !p->apply);
	p->apply_wait = true;
	p->hold_ms = UINT64_MAX;
	node(0)->apply_waits++;
	CU_ASSERT_TRUE(V_WAIT(10000, p->committed == p->seq_last));
	CU_ASSERT_TRUE(V_WAIT(10000, part_on(1, 0)->applied == p->committed));
	CU_ASSERT_TRUE(rot(0, from) && rot(1, from) && rot(1, third(1, *ext)));
	SET(0, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	if (rot5)
		CU_ASSERT_TRUE(rot(0, five) && rot(1, five));
	p->hold_ms = 0;
	return p;
}

/* The other one has all of the bytes, in the log alone or with what lies below it: the
 * partition does not stand, and nothing is lost. */
static void a_twin_has_the_bytes(void)
{
	static const uint8_t masks[] = {0xff, 0x3c};
	uint8_t want[V_CHUNK];
	uint32_t ext;

	for (unsigned i = 0; i < 2; i++) {
		struct part *p = twins(96 + i, masks[i], false, &ext, want);

		CU_ASSERT_TRUE(V_WAIT(20000, p->applied == p->committed));
		CU_ASSERT_FALSE(p->bytes_wait);
		CU_ASSERT_EQUAL(readable(ext, 3, want), 0xff);
		CU_ASSERT_EQUAL(readable(ext, 5, want), 0xff);
		v_down();
	}
}

/* Nor has the other one all of them: both keep what one of them has. */
static void twins_keep_what_one_of_them_has(void)
{
	uint8_t want[V_CHUNK];
	uint32_t ext;
	size_t chunks;
	struct part *p = twins(98, 0x3c, true, &ext, want);

	CU_ASSERT_TRUE(V_WAIT(60000, p->bytes_wait));
	CU_ASSERT_EQUAL(listed(0, "stands", &chunks), 0x03);
	CU_ASSERT_EQUAL(chunks, 2);
	CU_ASSERT_TRUE(give_up(0, -1));
	goes_on(p);
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0xfc);
	CU_ASSERT_EQUAL(readable(ext, 5, want), 0xfc);
	v_drain();
	CU_ASSERT_EQUAL(readable(ext, 3, want), 0xfc);
	CU_ASSERT_EQUAL(readable(ext, 5, want), 0xfc);
	v_down();
}

static void test_mutants(void)
{
	static const struct learn_mutant m[] = {
		{MUT_LACK_AWAY, who_is_away_is_named},
		{MUT_LACK_BLIND, what_a_former_member_made_is_found},
		{MUT_LACK_ZEROS, what_is_lost_is_an_error_for_good},
		{MUT_LACK_ALL, what_is_lost_is_an_error_for_good},
	};

	each_is_caught(m, sizeof(m) / sizeof(*m));
}

static const struct vms_test tests[] = {
	VMS_TEST(what_is_lost_is_an_error_for_good),
	VMS_TEST(members_hold_the_same),
	VMS_TEST(what_a_former_member_made_is_found),
	VMS_TEST(a_base_of_a_former_member_is_found),
	VMS_TEST(who_is_away_is_named),
	VMS_TEST(damage_is_not_told_again_and_again),
	VMS_TEST(another_epoch_begins_anew),
	VMS_TEST(crash_anywhere),
	VMS_TEST(a_moved_chunk_is_given_up),
	VMS_TEST(a_twin_has_the_bytes),
	VMS_TEST(twins_keep_what_one_of_them_has),
	VMS_TEST(test_mutants),
};
VMS_TEST_MAIN("lack", tests)
