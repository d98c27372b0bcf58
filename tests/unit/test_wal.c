// SPDX-License-Identifier: GPL-2.0-only
#include "backend/wal.h"
#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

#define RING (256u << 10)

static struct mem_disk mem;
static struct vms_wal *w;
static struct vms_wal_conf conf;
static struct vms_wal_tail tail;
static struct vms_errmsg msg;

/* What replay handed over: seqs in order. */
static uint64_t got[4096];
static unsigned ngot, nbad;
static uint64_t got_gen[4096];

static uint8_t pattern(uint64_t seq, unsigned i)
{
	return (uint8_t)(seq * 13 + i);
}

static int on_replay(void *arg, const struct vms_rec *r, struct vms_rec_ref ref, uint64_t gen)
{
	if (ngot == 4096)
		return VMS_E_FULL;
	for (uint32_t i = 0; i < r->payload_bytes; i++)
		nbad += r->payload[i] != pattern(r->seq, i);
	nbad += ref.bytes != vms_rec_bytes(r->meta_bytes, r->payload_bytes);
	got_gen[ngot] = gen;
	got[ngot++] = r->seq;
	return 0;
}

static int reopen(void)
{
	vms_wal_close(w);
	w = NULL;
	ngot = nbad = 0;
	/* what was in flight in the old life never arrives */
	VMS_VEC_CLEAR(&mem.op);
	return vms_wal_open(&w, &mem.disk, &conf, &tail, on_replay, NULL, &msg);
}

static void setup(void)
{
	mem_disk_init(&mem, RING + 8192);
	memset(mem.log, 0xa5, mem.log_bytes);
	conf = (struct vms_wal_conf){.node_id = 3, .cluster_uuid = "0123456789abcde"};
	tail = (struct vms_wal_tail){0};
	w = NULL;
	CU_ASSERT_EQUAL(vms_wal_format(&mem.disk, &conf), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 0);
}

static void teardown(void)
{
	vms_wal_close(w);
	mem_disk_free(&mem);
}

static int add(uint64_t seq, uint32_t bytes, bool internal, struct vms_rec_ref *ref)
{
	static uint8_t data[128 << 10];
	struct vms_rec r = {
		.type = VMS_REC_SWEEP, .partition = 1, .seq = seq, .payload_bytes = bytes};
	struct vms_iov iov = {data, bytes};

	for (uint32_t i = 0; i < bytes; i++)
		data[i] = pattern(seq, i);
	return vms_wal_append(w, &r, &iov, 1, internal, ref);
}

/* End everything in flight; returns the number of events. */
static unsigned settle(void)
{
	struct vms_disk_event ev;
	unsigned n = 0;

	while (mem_disk_pop(&mem, &ev)) {
		CU_ASSERT_TRUE(vms_wal_event(w, &ev, 1000));
		n++;
	}
	return n;
}

static void append_submit_replay(void)
{
	struct vms_rec_ref ref;

	setup();
	for (uint64_t s = 1; s <= 10; s++)
		CU_ASSERT_EQUAL(add(s, 100 * (uint32_t)s, false, &ref), 0);
	CU_ASSERT_EQUAL(vms_wal_appended_pos(w), ref.log_pos + ref.bytes);
	CU_ASSERT_EQUAL(vms_wal_ptr(w, ref.log_pos)[120], pattern(10, 0));
	CU_ASSERT_EQUAL(vms_wal_durable_pos(w), 0);
	vms_wal_submit(w, true, 1000);
	CU_ASSERT_EQUAL(vms_wal_durable_pos(w), 0);
	CU_ASSERT_EQUAL(settle(), 1);
	CU_ASSERT_TRUE(vms_wal_durable_pos(w) >= ref.log_pos + ref.bytes);
	/* appended, never submitted: gone after a restart */
	add(11, 50, false, NULL);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 10);
	CU_ASSERT_EQUAL(nbad, 0);
	CU_ASSERT_EQUAL(got[9], 10);
	teardown();
}

static void appends_during_a_write_go_out_together(void)
{
	struct vms_disk_event ev;

	setup();
	add(1, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	for (uint64_t s = 2; s <= 20; s++) {
		add(s, 100, false, NULL);
		vms_wal_submit(w, true, 1000);
	}
	CU_ASSERT_EQUAL(mem.log_writes, 1);
	CU_ASSERT_TRUE(mem_disk_pop(&mem, &ev));
	CU_ASSERT_TRUE(vms_wal_event(w, &ev, 1000));
	CU_ASSERT_EQUAL(mem.log_writes, 2);
	settle();
	CU_ASSERT_EQUAL(mem.log_writes, 2);
	CU_ASSERT_TRUE(vms_wal_durable_pos(w) >= vms_wal_appended_pos(w));
	CU_ASSERT_FALSE(vms_wal_event(w, &(struct vms_disk_event){77, 0}, 1000));
	teardown();
}

static void sync_after_unsynced_writes(void)
{
	setup();
	add(1, 100, false, NULL);
	vms_wal_submit(w, false, 1000);
	CU_ASSERT_FALSE(mem.op.d[0].sync);
	settle();
	CU_ASSERT_EQUAL(vms_wal_durable_pos(w), 0);
	/* nothing new: a plain sync */
	vms_wal_submit(w, true, 1000);
	CU_ASSERT_EQUAL(mem.op.d[0].kind, MEM_SYNC);
	settle();
	CU_ASSERT_TRUE(vms_wal_durable_pos(w) >= vms_wal_appended_pos(w));
	/* wanted while an unsynced write is in flight, with more appended behind */
	add(2, 100, false, NULL);
	vms_wal_submit(w, false, 1000);
	vms_wal_submit(w, true, 1000);
	add(3, 100, false, NULL);
	settle();
	CU_ASSERT_TRUE(vms_wal_durable_pos(w) >= vms_wal_appended_pos(w));
	/* nothing wanted, nothing done */
	mem.log_writes = 0;
	vms_wal_submit(w, true, 1000);
	CU_ASSERT_EQUAL(mem.op.n, 0);
	teardown();
}

static void many_laps_keep_exactly_the_live_records(void)
{
	uint64_t seq = 0, first[8192] = {0};
	struct vms_rng rng;
	unsigned wrong = 0;

	setup();
	conf.gen_bytes_max = RING / 8;
	CU_ASSERT_EQUAL(reopen(), 0);
	vms_rng_init(&rng, 3);
	for (unsigned i = 0; i < 6000; i++) {
		uint32_t bytes = (uint32_t)vms_rng_below(&rng, 9000);
		struct vms_rec_ref ref;

		while (add(seq + 1, bytes, false, &ref) == VMS_E_FULL) {
			uint64_t g = vms_wal_gen_oldest(w);

			vms_wal_submit(w, true, 1000);
			settle();
			tail = vms_wal_tail_after(w, g);
			vms_wal_gen_free(w, g);
		}
		seq++;
		if (!first[vms_wal_pos_gen(w, ref.log_pos)])
			first[vms_wal_pos_gen(w, ref.log_pos)] = seq;
		if (vms_rng_below(&rng, 4) == 0) {
			vms_wal_submit(w, true, 1000);
			settle();
		}
		if (vms_rng_below(&rng, 50) == 0) {
			vms_wal_submit(w, true, 1000);
			settle();
			wrong += reopen() != 0;
			wrong += nbad + (ngot && got[ngot - 1] != seq);
			wrong += ngot && got[0] != first[tail.generation ? tail.generation : 1];
			for (unsigned k = 1; k < ngot; k++)
				wrong += got[k] != got[k - 1] + 1 || got_gen[k] < got_gen[k - 1];
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(vms_wal_appended_pos(w) > 20 * RING);
	teardown();
}

/* A write in flight is cut after each 512 bytes: what was durable before stays,
 * the torn frame is gone as a whole, and the log goes on behind it. */
static void torn_tail_at_each_logical_block(void)
{
	uint8_t before[RING + 8192], after[RING + 8192];
	unsigned wrong = 0;

	setup();
	for (uint64_t s = 1; s <= 3; s++) {
		add(s, 3000, false, NULL);
		vms_wal_submit(w, true, 1000);
		settle();
	}
	memcpy(before, mem.log, sizeof(before));
	for (uint64_t s = 4; s <= 8; s++)
		add(s, 3000, false, NULL);
	vms_wal_submit(w, true, 1000);
	uint64_t off = mem.op.d[0].off, len = mem.op.d[0].len;
	uint64_t used = vms_wal_appended_pos(w) % RING + 8192 - off;
	settle();
	memcpy(after, mem.log, sizeof(after));
	CU_ASSERT_EQUAL(len, 16384);
	for (unsigned back = 0; back < 2; back++)
		for (uint64_t cut = 0; cut <= len; cut += 512) {
			uint64_t seq = 100;

			/* the front or the back of the write reached the disk */
			memcpy(mem.log, back ? after : before, sizeof(before));
			memcpy(mem.log + off, (back ? before : after) + off, cut);
			wrong += reopen() != 0;
			/* padding at the end of the frame does not matter */
			wrong += ngot != (memcmp(mem.log + off, after + off, used) ? 3 : 8);
			wrong += nbad;
			unsigned had = ngot;

			/* written again over the torn bytes, twice, with reopening */
			for (int k = 0; k < 2; k++, seq++) {
				add(seq, 200, false, NULL);
				vms_wal_submit(w, true, 1000);
				settle();
				wrong += reopen() != 0;
				wrong += ngot != had + 1 + (unsigned)k || got[ngot - 1] != seq;
			}
		}
	CU_ASSERT_EQUAL(wrong, 0);
	teardown();
}

/* Unsynced frames may reach the disk in any order. If the first of three is
 * lost, the others are void for ever: also when a new first one of the same
 * size is written in its place, and again after a second loss of that one. */
static void frames_behind_a_lost_one_never_come_back(void)
{
	uint8_t start[RING + 8192];

	setup();
	add(1, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	settle();
	memcpy(start, mem.log, sizeof(start));
	for (unsigned loss = 0; loss < 3; loss++) {
		for (uint64_t s = 2; s <= 4; s++) {
			add(s + 10 * loss, 100, false, NULL);
			vms_wal_submit(w, false, 1000);
			settle();
		}
		memcpy(mem.log + 8192 + 4096, start + 8192 + 4096, 4096);
		CU_ASSERT_EQUAL(reopen(), 0);
		CU_ASSERT_EQUAL(ngot, 1);
	}
	add(50, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	settle();
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 2);
	CU_ASSERT_EQUAL(got[1], 50);
	teardown();
}

static void damage_in_what_was_acknowledged_is_corrupt(void)
{
	unsigned missed = 0;

	setup();
	for (uint64_t s = 1; s <= 5; s++) {
		add(s, 3000, false, NULL);
		vms_wal_submit(w, true, 1000);
		settle();
	}
	/* five frames of 4096; the last one was never superseded */
	for (uint64_t at = 8192; at < 8192 + 4 * 4096; at += 64) {
		if (at % 4096 >= 3200)
			continue; /* padding */
		mem.log[at] ^= 1;
		missed += reopen() != VMS_E_CORRUPT;
		mem.log[at] ^= 1;
	}
	CU_ASSERT_EQUAL(missed, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "position"));
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 5);
	/* the very last frame may be torn for all one can know */
	mem.log[8192 + 4 * 4096 + 100] ^= 1;
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 4);
	teardown();
}

static void full_leaves_the_reserve_to_internal_records(void)
{
	uint64_t seq = 1;
	int err;

	setup();
	CU_ASSERT_EQUAL(vms_wal_room_bytes(w), RING - RING / 8);
	while (!(err = add(seq, 4000, false, NULL)))
		seq++;
	CU_ASSERT_EQUAL(err, VMS_E_FULL);
	CU_ASSERT_TRUE(vms_wal_room_bytes(w) < 8192);
	CU_ASSERT_TRUE(vms_wal_used_bytes(w) <= RING - RING / 8);
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(add(seq++, 4000, true, NULL), 0);
	while (!(err = add(seq, 4000, true, NULL)))
		seq++;
	CU_ASSERT_EQUAL(err, VMS_E_FULL);
	CU_ASSERT_TRUE(vms_wal_used_bytes(w) <= RING);
	CU_ASSERT_EQUAL(vms_wal_room_bytes(w), 0);
	vms_wal_submit(w, true, 1000);
	settle();
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, seq - 1);
	/* freeing makes room */
	tail = vms_wal_tail_after(w, vms_wal_gen_open(w) - 1);
	vms_wal_gen_free(w, vms_wal_gen_open(w) - 1);
	CU_ASSERT_EQUAL(add(seq, 4000, false, NULL), 0);
	teardown();
}

static void too_large_a_record_is_invalid_not_full(void)
{
	setup();
	CU_ASSERT_TRUE(vms_wal_record_bytes_max(w) < RING);
	struct vms_rec r = {.type = VMS_REC_SWEEP, .payload_bytes = RING};
	uint8_t *big = calloc(1, RING);
	struct vms_iov iov = {big, RING};

	CU_ASSERT_EQUAL(vms_wal_append(w, &r, &iov, 1, true, NULL), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_wal_append_raw(w, big, 64, true, NULL), VMS_E_INVAL);
	free(big);
	teardown();
}

static void generations_by_request_size_and_age(void)
{
	struct vms_rec_ref a, b;
	uint64_t g;

	setup();
	conf.gen_bytes_max = 32 << 10;
	conf.gen_age_ms = 500;
	reopen();
	g = vms_wal_gen_open(w);
	vms_wal_gen_seal(w); /* empty: nothing to cut */
	CU_ASSERT_EQUAL(vms_wal_gen_open(w), g);
	add(1, 100, false, &a);
	vms_wal_gen_seal(w);
	CU_ASSERT_EQUAL(vms_wal_gen_open(w), g + 1);
	add(2, 100, false, &b);
	CU_ASSERT_EQUAL(vms_wal_pos_gen(w, a.log_pos), g);
	CU_ASSERT_EQUAL(vms_wal_pos_gen(w, b.log_pos), g + 1);
	CU_ASSERT_TRUE(vms_wal_gen_start_pos(w, g + 1) > a.log_pos);
	CU_ASSERT_TRUE(vms_wal_gen_start_pos(w, g + 1) < b.log_pos);
	vms_wal_submit(w, true, 1000);
	settle();
	vms_wal_submit(w, true, 1100); /* settle() ended at 1000: not old enough */
	CU_ASSERT_EQUAL(vms_wal_gen_open(w), g + 1);
	vms_wal_submit(w, true, 1600);
	CU_ASSERT_EQUAL(vms_wal_gen_open(w), g + 2);
	for (uint64_t s = 3; s < 20; s++)
		add(s, 4000, false, NULL);
	CU_ASSERT_EQUAL(vms_wal_gen_open(w), g + 4);
	vms_wal_submit(w, true, 1700);
	settle();
	tail = vms_wal_tail_after(w, g + 1);
	CU_ASSERT_EQUAL(tail.generation, g + 2);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 17);
	CU_ASSERT_EQUAL(got[0], 3);
	CU_ASSERT_EQUAL(got_gen[0], g + 2);
	CU_ASSERT_EQUAL(got_gen[16], g + 4);
	CU_ASSERT_EQUAL(vms_wal_gen_oldest(w), g + 2);
	CU_ASSERT_EQUAL(vms_wal_gen_open(w), g + 5);
	teardown();
}

static void failed_write_poisons_for_good(void)
{
	setup();
	add(1, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	add(2, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	mem.fail_next = VMS_E_IO;
	CU_ASSERT_EQUAL(settle(), 1);
	CU_ASSERT_TRUE(vms_wal_poisoned(w));
	CU_ASSERT_EQUAL(vms_wal_durable_pos(w), 0);
	CU_ASSERT_EQUAL(add(3, 100, false, NULL), VMS_E_POISONED);
	vms_wal_submit(w, true, 1000);
	CU_ASSERT_EQUAL(mem.op.n, 0);
	teardown();
	setup();
	add(1, 100, false, NULL);
	vms_wal_submit(w, false, 1000);
	settle();
	vms_wal_submit(w, true, 1000);
	mem.fail_next = VMS_E_IO; /* the sync */
	settle();
	CU_ASSERT_TRUE(vms_wal_poisoned(w));
	teardown();
}

static void damaged_superblock_falls_back_to_the_copy(void)
{
	setup();
	add(1, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	settle();
	mem.log[70] ^= 1;
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 1);
	mem.log[4096 + 70] ^= 1;
	CU_ASSERT_EQUAL(reopen(), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "superblock"));
	mem.log[70] ^= 1;
	CU_ASSERT_EQUAL(reopen(), 0);
	teardown();
}

static void foreign_log_is_refused(void)
{
	setup();
	conf.node_id = 4;
	CU_ASSERT_EQUAL(reopen(), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "belongs to node 3"));
	conf.node_id = 3;
	conf.cluster_uuid[5] ^= 1;
	CU_ASSERT_EQUAL(reopen(), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "another cluster"));
	conf.cluster_uuid[5] ^= 1;
	conf.node_id = 0; /* not known yet */
	CU_ASSERT_EQUAL(reopen(), 0);
	/* a file that was cut */
	mem.log_bytes -= 4096;
	CU_ASSERT_EQUAL(reopen(), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "cut"));
	teardown();
}

static void formatted_again_old_frames_are_not_taken(void)
{
	setup();
	for (uint64_t s = 1; s <= 5; s++) {
		add(s, 100, false, NULL);
		vms_wal_submit(w, true, 1000);
		settle();
	}
	CU_ASSERT_EQUAL(vms_wal_format(&mem.disk, &conf), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 0);
	/* the same first frame again: the old second one must not follow it */
	add(1, 100, false, NULL);
	vms_wal_submit(w, true, 1000);
	settle();
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 1);
	teardown();
}

static void raw_records_keep_their_bytes(void)
{
	struct vms_rec_ref a, b;

	setup();
	add(7, 500, false, &a);
	CU_ASSERT_EQUAL(vms_wal_append_raw(w, vms_wal_ptr(w, a.log_pos), a.bytes, false, &b), 0);
	CU_ASSERT_EQUAL(memcmp(vms_wal_ptr(w, a.log_pos), vms_wal_ptr(w, b.log_pos), a.bytes), 0);
	vms_wal_submit(w, true, 1000);
	settle();
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ngot, 2);
	teardown();
}

static const struct vms_test tests[] = {
	VMS_TEST(append_submit_replay),
	VMS_TEST(appends_during_a_write_go_out_together),
	VMS_TEST(sync_after_unsynced_writes),
	VMS_TEST(many_laps_keep_exactly_the_live_records),
	VMS_TEST(torn_tail_at_each_logical_block),
	VMS_TEST(frames_behind_a_lost_one_never_come_back),
	VMS_TEST(damage_in_what_was_acknowledged_is_corrupt),
	VMS_TEST(full_leaves_the_reserve_to_internal_records),
	VMS_TEST(too_large_a_record_is_invalid_not_full),
	VMS_TEST(generations_by_request_size_and_age),
	VMS_TEST(failed_write_poisons_for_good),
	VMS_TEST(damaged_superblock_falls_back_to_the_copy),
	VMS_TEST(foreign_log_is_refused),
	VMS_TEST(formatted_again_old_frames_are_not_taken),
	VMS_TEST(raw_records_keep_their_bytes),
};
VMS_TEST_MAIN("wal", tests)
