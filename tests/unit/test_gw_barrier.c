// SPDX-License-Identifier: GPL-2.0-only
/* The gateway core in a volume's barrier, the test being the coordinator: what is
 * held, what goes, what is acknowledged; and ops refused because their numbers have
 * passed. */
#include <stdio.h>

#include "target/gw_int.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

#define OPEN_1 "open/0000000000000001/00000001"
#define ACK_1  "ack/0000000000000001/00000001"

static uint8_t data[16384];
static struct vms_iov iov;

static struct vms_cat_volume record(const char *name)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_volume rec;
	struct f_kv *k;

	vms_cat_key_volume(key, name, NULL);
	k = f_kv_find(key);
	vms_assert(k && k->val);
	vms_assert(!vms_cat_volume_decode(&(struct vms_cat_kv){.key = key, .val = k->val}, &rec,
					  NULL));
	return rec;
}

static void put_record(const struct vms_cat_volume *rec)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_volume(key, rec->name, NULL);
	f_put_free(key, vms_cat_volume_encode(rec));
	f_pump();
}

static void barrier(uint8_t state, uint64_t gen)
{
	struct vms_cat_volume rec = record("v");

	rec.barrier = state;
	if (gen)
		rec.snap_gen = rec.barrier_id = gen;
	put_record(&rec);
}

/* State of gateway 1's ack, 0: none. */
static unsigned acked(uint64_t id)
{
	struct f_kv *k = f_kv_find(ACK_1);
	struct vms_cat_ack a;

	if (!k || !k->val)
		return 0;
	vms_assert(
		!vms_cat_ack_decode(&(struct vms_cat_kv){.key = ACK_1, .val = k->val}, &a, NULL));
	CU_ASSERT_EQUAL(a.barrier_id, id);
	CU_ASSERT_EQUAL(a.incarnation, 1);
	return a.state;
}

static void over(void)
{
	f_put(ACK_1, NULL);
	barrier(VMS_BARRIER_NONE, 0);
}

static void submit(struct vms_gw_cmd *c, uint64_t lba, uint32_t n)
{
	*c = f_cmd(VMS_GW_WRITE, lba, n);
	f_data(c, &iov, data, n * 512u);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, c), VMS_GW_PENDING);
}

static unsigned sent_while_stopped(uint32_t mutant)
{
	struct vms_gw_cmd c;
	unsigned n;

	f_start(mutant, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(500);
	n = f.n_write;
	barrier(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_RELEASED);
	CU_ASSERT(f_ended(&c));
	CU_ASSERT_EQUAL(c.status, 0);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	over();
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 1), 0);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	f_stop();
	return n;
}
static void a_stopped_volume_sends_no_write_until_the_release(void)
{
	CU_ASSERT_EQUAL(sent_while_stopped(0), 0);
	CU_ASSERT_EQUAL(sent_while_stopped(VMS_GWM_NO_HOLD), 1);
}

static void what_is_on_its_way_ends_and_what_waits_behind_it_is_held(void)
{
	struct vms_gw_cmd c[5];

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(0, 8, 7), 0);
	f.n_write = 0;
	f.hold_writes = true;
	f.nended = 0;
	submit(&c[0], 0, 8);
	f_pump();
	for (int i = 1; i < 5; i++)
		submit(&c[i], (uint64_t)i * 8, 8);
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 1);
	barrier(VMS_BARRIER_STOP, 2);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	f.hold_writes = false;
	f_release();
	CU_ASSERT(f_ended(&c[0]) && c[0].status == 0);
	CU_ASSERT_EQUAL(f.nended, 1);
	CU_ASSERT_EQUAL(f.n_write, 1);
	/* reads go on */
	CU_ASSERT_EQUAL(f_read_value(0, 8, NULL), 0);
	f.nended = 0;
	barrier(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(f.n_write, 5);
	for (int i = 1; i < 5; i++)
		CU_ASSERT(f_ended(&c[i]) && c[i].status == 0);
	f_stop();
}

static void every_piece_of_a_command_obeys(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	f.nended = 0;
	submit(&c, 8184, 16); /* two extents */
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 0);
	barrier(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(f.n_write, 2);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	CU_ASSERT_EQUAL(f.prev_write.snap_gen, 2);
	CU_ASSERT_EQUAL(f.last_write.tick, f.prev_write.tick);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	f_stop();
}

static unsigned ack_after_letting_go(uint32_t mutant)
{
	struct vms_gw_cmd c;
	unsigned state;

	f_start(mutant, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(900);
	CU_ASSERT_EQUAL(f.n_write, 0);
	f_run(250);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	/* the coordinator has not seen it in time */
	barrier(VMS_BARRIER_RELEASE, 0);
	state = acked(2);
	/* the next one is dealt with from the start */
	over();
	barrier(VMS_BARRIER_STOP, 3);
	CU_ASSERT_EQUAL(acked(3), VMS_ACK_STOPPED);
	f_stop();
	return state;
}
static void after_a_second_it_lets_go_and_vetoes(void)
{
	CU_ASSERT_EQUAL(ack_after_letting_go(0), VMS_ACK_VETO);
	CU_ASSERT_EQUAL(ack_after_letting_go(VMS_GWM_NO_VETO), VMS_ACK_STOPPED);
}

static void without_the_catalog_it_lets_go_and_never_says_released(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	f.cat_down = true;
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(1250);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	f_cat_up();
	f_pump();
	barrier(VMS_BARRIER_RELEASE, 0);
	f_run(250);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_VETO);
	f_stop();
}

static void a_release_that_was_never_stopped_for_is_vetoed(void)
{
	f_start(0, DISK);
	barrier(VMS_BARRIER_RELEASE, 2);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_VETO);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 1), 0);
	f_stop();
}

static void one_that_was_fenced_off_acknowledges_nothing(void)
{
	f_start(0, DISK);
	f_put(OPEN_1, NULL);
	f_pump();
	barrier(VMS_BARRIER_STOP, 2);
	f_run(500);
	CU_ASSERT_EQUAL(acked(2), 0);
	f_stop();
}

static void an_ack_does_not_outlive_its_barrier(void)
{
	f_start(0, DISK);
	f.cat_down = true;
	barrier(VMS_BARRIER_STOP, 2);
	barrier(VMS_BARRIER_NONE, 0); /* abandoned meanwhile */
	f_cat_up();
	f_run(500);
	CU_ASSERT_EQUAL(acked(2), 0);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 1), 0);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2); /* spent all the same */
	f_stop();
}

static void another_volume_is_not_held(void)
{
	struct vms_gw_cmd c[100], w;
	struct vms_gw_vol *v;

	f_start(0, DISK);
	v = f.vol;
	vms_assert(!vms_gw_vol_open(f.gw, "w", F_CHUNKS * 4096ull, DISK, NULL, &f.vol, NULL));
	f_run(500);
	CU_ASSERT_EQUAL(f.opened, 2);
	barrier(VMS_BARRIER_STOP, 2);
	for (unsigned i = 0; i < 100; i++) { /* there are 64 slots */
		c[i] = f_cmd(VMS_GW_WRITE, i * 8, 8);
		c[i].vol = v;
		f_data(&c[i], &iov, data, 4096);
		CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c[i]), VMS_GW_PENDING);
	}
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 0);
	w = f_cmd(VMS_GW_WRITE, 0, 8);
	f_data(&w, &iov, data, 4096);
	CU_ASSERT_EQUAL(f_do(&w), 0);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 1);
	f.nended = 0;
	for (unsigned i = 50; i < 100; i++)
		vms_gw_abort(f.gw, &c[i]);
	f_pump();
	CU_ASSERT_EQUAL(f.nended, 50);
	f.nended = 0;
	barrier(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(f.nended, 50);
	f_stop();
}

static void an_abort_does_not_wait_for_the_release(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	f.nended = 0;
	submit(&c, 24, 8);
	vms_gw_abort(f.gw, &c);
	f_pump();
	CU_ASSERT(f_ended(&c) && c.status == VMS_E_CANCELLED);
	CU_ASSERT_EQUAL(f.n_write + f.n_cancel, 0);
	f_stop();
}

/* Sent, its connection lost, and made again while the volume is stopped. */
static struct vms_gw_cmd lost;
static void lose_and_stop(void)
{
	f_start(0, DISK);
	f.hold_writes = true;
	f.nended = 0;
	submit(&lost, 24, 8);
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 1);
	barrier(VMS_BARRIER_STOP, 2);
	f_lose(1);
	f_forget_held();
	f.hold_writes = false;
	f_run(600);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_FALSE(f_ended(&lost));
}

static void an_op_of_unknown_outcome_is_held_too(void)
{
	lose_and_stop();
	barrier(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(f.n_write, 2);
	CU_ASSERT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	CU_ASSERT_EQUAL(f.last_write.slot, f.prev_write.slot);
	CU_ASSERT_EQUAL(f.last_write.tick, f.prev_write.tick);
	CU_ASSERT_EQUAL(f.prev_write.snap_gen, 1);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	CU_ASSERT(f.last_write.flags & VMS_F_RETRY);
	CU_ASSERT(f_ended(&lost) && lost.status == 0);
	f_stop();
}

static void its_abort_is_settled_all_the_same(void)
{
	lose_and_stop();
	vms_gw_abort(f.gw, &lost);
	f_pump();
	CU_ASSERT_EQUAL(f.n_cancel, 1);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT(f_ended(&lost) && lost.status == VMS_E_CANCELLED);
	f_stop();
}

/* ---- refused numbers ---- */

static void a_refused_op_is_sent_again_once_with_id_and_tick(void)
{
	struct vms_gw_cmd c, other;
	struct vms_cat_volume rec;

	f_start(0, DISK);
	f.floor_gen = 2;
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(40);
	CU_ASSERT_EQUAL(f.n_write, 1);
	submit(&other, 64, 8); /* it would be refused too */
	f_run(500);	       /* the record has no newer number yet */
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_EQUAL(f.nended, 0);
	rec = record("v");
	rec.snap_gen = 2;
	put_record(&rec);
	CU_ASSERT_EQUAL(f.n_write, 3);
	CU_ASSERT_EQUAL(f.prev_write.snap_gen, 2);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT(f_ended(&other) && other.status == 0);
	f_stop();

	f_start(0, DISK);
	f.floor_fence = 2;
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(300);
	CU_ASSERT_EQUAL(f.n_write, 1);
	rec = record("v");
	rec.lun_fence = 2;
	put_record(&rec);
	CU_ASSERT_EQUAL(f.n_write, 2);
	CU_ASSERT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	CU_ASSERT_EQUAL(f.last_write.slot, f.prev_write.slot);
	CU_ASSERT_EQUAL(f.last_write.tick, f.prev_write.tick);
	CU_ASSERT_EQUAL(f.last_write.lun_fence, 2);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	f_stop();
}

static void a_refused_op_obeys_the_barrier_it_met(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	f.floor_gen = 2;
	f.hold_writes = true;
	f.nended = 0;
	submit(&c, 24, 8);
	f_pump();
	barrier(VMS_BARRIER_STOP, 2);
	f.hold_writes = false;
	f_release();
	f_run(300);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_FALSE(f_ended(&c));
	barrier(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(f.n_write, 2);
	CU_ASSERT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	CU_ASSERT_EQUAL(f.last_write.tick, f.prev_write.tick);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	f_stop();
}

static void a_late_watch_is_not_waited_for(void)
{
	struct vms_gw_cmd c;
	struct vms_cat_volume rec;

	f_start(0, DISK);
	for (unsigned i = 0; i < f.nwatch; i++)
		if (!strncmp(f.watch[i].prefix, "volume/", 7))
			f.watch[i].fn = NULL;
	rec = record("v");
	rec.snap_gen = 2;
	put_record(&rec);
	f.floor_gen = 2;
	f.nended = 0;
	submit(&c, 24, 8);
	f_pump();
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 1);
	f.now += 60;
	f_pump();
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	f_stop();
}

static void numbers_that_never_come_end_busy(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	f.floor_fence = 9;
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(1900);
	CU_ASSERT_FALSE(f_ended(&c));
	f_run(500);
	CU_ASSERT(f_ended(&c));
	CU_ASSERT_EQUAL(c.status, VMS_E_BUSY);
	CU_ASSERT_EQUAL(f.n_write, 1);
	f.floor_fence = 0; /* not for ever, whatever it was */
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 1), 0);
	f_stop();
}

static void a_catalog_out_of_reach_does_not_stop_writes_for_a_snapshot(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	f.cat_down = true;
	barrier(VMS_BARRIER_STOP, 2); /* the nodes know, we do not */
	f.floor_gen = 2;
	f.tell_floor = true;
	f.nended = 0;
	submit(&c, 24, 8);
	f_pump();
	f_run(900);
	CU_ASSERT_FALSE(f_ended(&c));
	f_run(300);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT_EQUAL(f.last_write.snap_gen, 2);
	f_cat_up();
	f_run(250);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_VETO);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 1), 0);
	f_stop();
}

/* ---- opening, closing, abandoning ---- */

static struct vms_gw_vol *open_second(void)
{
	struct vms_cat_volume rec = {.name = "w",
				     .id = 9,
				     .branch = 9,
				     .lineage = 9,
				     .size_bytes = F_CHUNKS * 4096ull,
				     .snap_gen = 5,
				     .lun_fence = 1,
				     .state = 1,
				     .barrier = VMS_BARRIER_STOP,
				     .barrier_id = 5};
	struct vms_gw_vol *v;

	put_record(&rec);
	vms_assert(!vms_gw_vol_open(f.gw, "w", 0, 0, NULL, &v, NULL));
	f_run(300);
	return v;
}

static void opening_waits_for_the_end_of_a_barrier(void)
{
	struct vms_cat_volume rec;

	f_start(0, DISK);
	open_second();
	f_run(2000);
	CU_ASSERT_EQUAL(f.opened, 1);
	CU_ASSERT_PTR_NULL(f_kv_find("open/0000000000000009/00000001"));
	rec = record("w");
	rec.barrier = VMS_BARRIER_NONE;
	put_record(&rec);
	f_run(250);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, 0);
	CU_ASSERT_PTR_NULL(f_kv_find("ack/0000000000000009/00000001"));
	f_stop();
}

static void put_snap(const char *name, uint64_t id, uint64_t gen, uint8_t state)
{
	struct vms_cat_snap s = {
		.id = id, .branch = id, .snap_gen = gen, .size_bytes = 4096, .state = state};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_assert(!vms_cat_snap_name_split(name, s.volume, s.name, NULL));
	vms_assert(!vms_cat_key_snap(key, s.volume, s.name, NULL));
	f_put_free(key, vms_cat_snap_encode(&s));
}

static void a_barrier_nobody_ends_is_abandoned(void)
{
	struct vms_cat_ack a = {
		.id = 9, .gateway = 4, .incarnation = 1, .barrier_id = 5, .state = 1};
	struct vms_cat_volume rec;

	f_start(0, DISK);
	put_snap("w@old", 9, 3, VMS_SNAP_COMPLETE);
	put_snap("w@new", 9, 4, VMS_SNAP_CREATING);
	put_snap("v@mine", 1, 1, VMS_SNAP_CREATING);
	f_put_free("ack/0000000000000009/00000004", vms_cat_ack_encode(&a));
	open_second();
	f_run(9000);
	CU_ASSERT_EQUAL(f.opened, 1);
	f_run(2000);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, 0);
	rec = record("w");
	CU_ASSERT_EQUAL(rec.barrier, VMS_BARRIER_NONE);
	CU_ASSERT_EQUAL(rec.snap_gen, 5);
	CU_ASSERT_PTR_NULL(f_kv_find("snap/w@new")->val);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find("snap/w@old")->val);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find("snap/v@mine")->val);
	CU_ASSERT_PTR_NULL(f_kv_find("ack/0000000000000009/00000004")->val);
	/* by gateways that have it open too */
	barrier(VMS_BARRIER_STOP, 2);
	f_run(9900);
	CU_ASSERT_EQUAL(record("v").barrier, VMS_BARRIER_STOP);
	f_run(700);
	CU_ASSERT_EQUAL(record("v").barrier, VMS_BARRIER_NONE);
	CU_ASSERT_PTR_NULL(f_kv_find("snap/v@mine")->val);
	CU_ASSERT_PTR_NULL(f_kv_find(ACK_1)->val);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 1), 0);
	f_stop();
}

static void a_veto_goes_with_the_registration(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	f.cat_down = true;
	f.nended = 0;
	submit(&c, 24, 8);
	f_run(1250); /* let go, and nobody could be told */
	CU_ASSERT(f_ended(&c));
	vms_gw_vol_close(f.gw, f.vol);
	f_run(250);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find(OPEN_1)->val);
	f_cat_up();
	f_run(500);
	CU_ASSERT_PTR_NULL(f_kv_find(OPEN_1)->val);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_VETO);
	f_stop();
}

/* The volume's record changes for other reasons too: the release, a reservation. */
static void a_veto_is_owed_while_the_barrier_is_on(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct vms_cat_volume rec;
		struct vms_gw_cmd c;

		f_start(0, DISK);
		barrier(VMS_BARRIER_STOP, 2);
		f.cat_down = true;
		f.nended = 0;
		submit(&c, 24, 8);
		f_run(1250);
		CU_ASSERT(f_ended(&c));
		vms_gw_vol_close(f.gw, f.vol);
		f_run(50);
		/* behind its back; its watch is silent */
		rec = record("v");
		rec.lun_fence++;
		rec.barrier = i == 0   ? VMS_BARRIER_STOP
			      : i == 1 ? VMS_BARRIER_RELEASE
				       : VMS_BARRIER_NONE;
		f.quiet = true;
		put_record(&rec);
		f.quiet = false;
		f_cat_up();
		f_run(1000);
		CU_ASSERT_PTR_NULL(f_kv_find(OPEN_1)->val);
		CU_ASSERT_EQUAL(acked(2), i < 2 ? VMS_ACK_VETO : VMS_ACK_STOPPED);
		f_stop();
	}
	/* it was shut out meanwhile: nothing is said, and it comes to an end */
	f_start(0, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	f.cat_down = true;
	f_run(1250);
	vms_gw_vol_close(f.gw, f.vol);
	f_put(OPEN_1, NULL);
	f_cat_up();
	f_run(1000);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	CU_ASSERT_PTR_NULL(f.gw->closing);
	f_stop();
}

/* Opened and closed twice while the catalog was away: what is left of the first time goes with
 * the second, not in one transaction with it, which etcd would refuse for ever (simulator seed
 * 285). */
static void one_key_is_withdrawn_twice(void)
{
	f_start(0, DISK);
	f.cat_down = true;
	gw_closing_new(f.gw, 1, OPEN_1, 1);
	vms_gw_vol_close(f.gw, f.vol);
	f_run(100);
	f_cat_up();
	f_run(3000);
	CU_ASSERT_PTR_NULL(f.gw->closing);
	CU_ASSERT_PTR_NULL(f_kv_find(OPEN_1)->val);
	f_stop();
}

static void what_is_no_more_what_was_opened_fails_every_command(void)
{
	struct vms_gw_vol_info info;
	struct vms_cat_volume rec;
	struct vms_gw_cmd c;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), 0);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 3);
	barrier(VMS_BARRIER_STOP, 2);
	f.nended = 0;
	submit(&c, 24, 8);
	rec = record("v");
	rec.branch = 77;
	put_record(&rec);
	CU_ASSERT(f_ended(&c) && c.status == VMS_E_NOENT);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), VMS_E_NOENT - 1000);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), VMS_E_NOENT);
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT(info.gone);
	CU_ASSERT_EQUAL(f.n_write, 1);
	f_stop();

	/* it may move while it is closed */
	f_start(0, DISK);
	vms_gw_vol_close(f.gw, f.vol);
	f_run(500);
	rec = record("v");
	rec.branch = 77;
	put_record(&rec);
	vms_assert(!vms_gw_vol_open(f.gw, "v", 0, 0, NULL, &f.vol, NULL));
	f_run(500);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), 0);
	CU_ASSERT_EQUAL(f.last_write.branch, 77);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find(OPEN_1)->val);
	f_stop();
}

/* ---- quiet barriers ---- */

static void quiet(uint8_t state, uint64_t gen)
{
	struct vms_cat_volume rec = record("v");

	rec.barrier = state;
	rec.barrier_quiet = true;
	if (gen)
		rec.snap_gen = rec.barrier_id = gen;
	put_record(&rec);
}

static int tried(uint8_t op, uint64_t lba)
{
	struct vms_gw_cmd c = f_cmd(op, lba, 8);

	f_data(&c, &iov, data, 8 * 512u);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c), VMS_GW_DONE);
	return c.status;
}

/* Said to be quiet while a write is on its way? Gone on after a second? */
static unsigned loud(uint32_t mutant)
{
	struct vms_gw_cmd c, d;
	unsigned n = 0;

	f_start(mutant, DISK);
	f.hold_writes = true;
	submit(&c, 24, 8);
	f_pump();
	quiet(VMS_BARRIER_STOP, 2);
	n += acked(2) != 0;
	f.hold_writes = false;
	f_release();
	f_run(3000);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	d = f_cmd(VMS_GW_WRITE, 24, 8);
	f_data(&d, &iov, data, 8 * 512u);
	n += 2 * (vms_gw_submit(f.gw, &d) != VMS_GW_DONE);
	f_run(300);
	f_stop();
	return n;
}
static void quiet_is_only_said_when_nothing_goes_on(void)
{
	CU_ASSERT_EQUAL(loud(0), 0);
	CU_ASSERT_EQUAL(loud(VMS_GWM_LOUD), 1);
	CU_ASSERT_EQUAL(loud(VMS_GWM_QUIET_ENDS), 2);
}

/* What there is ends, nothing begins; "stopped" comes when nothing is left. */
static void a_quiet_volume_ends_everything(void)
{
	struct vms_gw_vol_info info;
	struct vms_cat_volume rec;
	struct vms_gw_cmd c[2];

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), 0);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 3);
	f.hold_writes = true;
	f.nended = 0;
	submit(&c[0], 24, 8);
	submit(&c[1], 32, 8);
	f_pump();
	quiet(VMS_BARRIER_STOP, 2);
	CU_ASSERT_EQUAL(acked(2), 0);
	CU_ASSERT_EQUAL(tried(VMS_GW_WRITE, 24), VMS_E_BUSY);
	CU_ASSERT_EQUAL(tried(VMS_GW_READ, 24), VMS_E_BUSY);
	f.hold_writes = false;
	f_release();
	f_run(300);
	CU_ASSERT(f_ended(&c[0]) && !c[0].status && f_ended(&c[1]) && !c[1].status);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	/* nobody lets go of it: it is not known what the volume will be */
	f_run(5000);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	CU_ASSERT_EQUAL(tried(VMS_GW_READ, 24), VMS_E_BUSY);
	/* another branch, smaller, with what an earlier snapshot had */
	rec = record("v");
	rec.barrier = VMS_BARRIER_RELEASE;
	rec.branch = 77;
	rec.snap_gen = 3;
	rec.size_bytes /= 2;
	rec.rollbacks++;
	put_record(&rec);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_RELEASED);
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT(!info.gone && info.rollbacks == 1 && info.size_bytes == rec.size_bytes);
	over();
	CU_ASSERT_EQUAL(tried(VMS_GW_READ, rec.size_bytes / 512), VMS_E_RANGE);
	f.n_pages = 0;
	(void)f_read_value(24, 8, NULL);
	CU_ASSERT_EQUAL(f.n_pages, 1); /* no page of the other branch was kept */
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 5), 0);
	CU_ASSERT(f.last_write.branch == 77 && f.last_write.snap_gen == 3);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 5);
	f_stop();
}

/* Without the catalog it stays quiet, and goes on when that tells that it is over. */
static void a_quiet_volume_waits_for_the_catalog(void)
{
	struct vms_cat_volume rec;

	f_start(0, DISK);
	quiet(VMS_BARRIER_STOP, 2);
	CU_ASSERT_EQUAL(acked(2), VMS_ACK_STOPPED);
	f.cat_down = true;
	f_run(15000);
	CU_ASSERT_EQUAL(tried(VMS_GW_WRITE, 24), VMS_E_BUSY);
	f.cat_down = false;
	f_run(12000); /* abandoned: as it was before */
	rec = record("v");
	CU_ASSERT_EQUAL(rec.barrier, VMS_BARRIER_NONE);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), 0);
	f_stop();
}

/* A quiet one comes when another has stopped it: what was held goes first. */
static void a_quiet_one_after_another(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	barrier(VMS_BARRIER_STOP, 2);
	f.nended = 0;
	submit(&c, 24, 8);
	f_pump();
	CU_ASSERT(!f_ended(&c));
	f_put(ACK_1, NULL);
	quiet(VMS_BARRIER_STOP, 3);
	f_run(300);
	CU_ASSERT(f_ended(&c) && !c.status);
	CU_ASSERT_EQUAL(acked(3), VMS_ACK_STOPPED);
	quiet(VMS_BARRIER_RELEASE, 0);
	CU_ASSERT_EQUAL(acked(3), VMS_ACK_RELEASED);
	over();
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), 0);
	f_stop();
}

static void write_protection_is_told(void)
{
	struct vms_gw_vol_info info;
	struct vms_cat_volume rec;

	f_start(0, DISK);
	rec = record("v");
	rec.write_protect = true;
	put_record(&rec);
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT(info.read_only && !info.gone);
	CU_ASSERT_EQUAL(f_write_blocks(24, 8, 3), VMS_E_PERM);
	CU_ASSERT_EQUAL(f_read_value(24, 8, NULL), 0);
	/* being shrunk is no reason */
	rec.write_protect = false;
	rec.state = 3;
	put_record(&rec);
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT(!info.read_only);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(a_stopped_volume_sends_no_write_until_the_release),
	VMS_TEST(what_is_on_its_way_ends_and_what_waits_behind_it_is_held),
	VMS_TEST(every_piece_of_a_command_obeys),
	VMS_TEST(after_a_second_it_lets_go_and_vetoes),
	VMS_TEST(without_the_catalog_it_lets_go_and_never_says_released),
	VMS_TEST(a_release_that_was_never_stopped_for_is_vetoed),
	VMS_TEST(one_that_was_fenced_off_acknowledges_nothing),
	VMS_TEST(an_ack_does_not_outlive_its_barrier),
	VMS_TEST(another_volume_is_not_held),
	VMS_TEST(an_abort_does_not_wait_for_the_release),
	VMS_TEST(an_op_of_unknown_outcome_is_held_too),
	VMS_TEST(its_abort_is_settled_all_the_same),
	VMS_TEST(a_refused_op_is_sent_again_once_with_id_and_tick),
	VMS_TEST(a_refused_op_obeys_the_barrier_it_met),
	VMS_TEST(a_late_watch_is_not_waited_for),
	VMS_TEST(numbers_that_never_come_end_busy),
	VMS_TEST(a_catalog_out_of_reach_does_not_stop_writes_for_a_snapshot),
	VMS_TEST(opening_waits_for_the_end_of_a_barrier),
	VMS_TEST(a_barrier_nobody_ends_is_abandoned),
	VMS_TEST(a_veto_goes_with_the_registration),
	VMS_TEST(a_veto_is_owed_while_the_barrier_is_on),
	VMS_TEST(one_key_is_withdrawn_twice),
	VMS_TEST(what_is_no_more_what_was_opened_fails_every_command),
	VMS_TEST(quiet_is_only_said_when_nothing_goes_on),
	VMS_TEST(a_quiet_volume_ends_everything),
	VMS_TEST(a_quiet_volume_waits_for_the_catalog),
	VMS_TEST(a_quiet_one_after_another),
	VMS_TEST(write_protection_is_told),
};
VMS_TEST_MAIN("gw_barrier", tests)
