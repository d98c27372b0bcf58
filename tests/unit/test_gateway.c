// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gateway core against scripted nodes: registration, volumes, each kind of command, space,
 * flushes and losses. Each defect the core can be built with (enum vms_gw_mutant) is shown to
 * be seen by the case that guards against it, here and in the other test_gw_*.c.
 */
#include <stdio.h>

#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"
#include "tests/unit/gw_fake_cmd.h"

static uint8_t w1_data[8192];
static struct vms_iov w1_iov;

static void it_registers_and_waits_for_the_nodes(void)
{
	struct vms_gw_vol_info info;

	f_start(0, DISK);
	CU_ASSERT(vms_gw_ready(f.gw));
	CU_ASSERT_EQUAL(f.opened, 1);
	CU_ASSERT_EQUAL(f.open_status, 0);
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT_EQUAL(info.size_bytes, F_CHUNKS * 4096ull);
	CU_ASSERT_EQUAL(info.openers, 1);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find("gateway/00000001"));
	CU_ASSERT(strstr(f_kv_find("cluster")->val, "\"has_data\"") != NULL);
	/* the same name again: a higher incarnation, and the old one stops */
	vms_gw_free(f.gw);
	f.ncall = f.nq = 0;
	memset(f.connected, 0, sizeof(f.connected));
	f_gw_start(0);
	CU_ASSERT(strstr(f_kv_find("gateway/00000001")->val, "\"incarnation\":2") != NULL);
	CU_ASSERT(vms_gw_ready(f.gw));
	f_stop();
}

static void a_node_out_of_reach_is_skipped_after_a_second(void)
{
	f_start(0, DISK);
	vms_gw_free(f.gw);
	f.ncall = f.nq = 0;
	memset(f.connected, 0, sizeof(f.connected));
	f.reachable[2] = false;
	f_gw_start(0);
	CU_ASSERT_FALSE(vms_gw_ready(f.gw));
	f_run(1500);
	CU_ASSERT(vms_gw_ready(f.gw));
	f_stop();
}

/* A gateway of that name, there, is in the catalog, and one starts here. Was its number taken
 * from it? */
static bool takes_over(const char *portal, const char *host, const char *boot, bool lives)
{
	struct vms_cat_gateway g = {.id = 1, .name = "gw", .incarnation = 9};

	snprintf(g.portal, sizeof(g.portal), "0.0.0.0:3260");
	snprintf(g.portals, sizeof(g.portals), "10.0.0.1:3260");
	snprintf(g.host, sizeof(g.host), "localhost");
	snprintf(g.boot, sizeof(g.boot), "%s", boot[0] == '-' ? "" : "boot-1");
	f_start(0, DISK);
	vms_gw_free(f.gw);
	f.ncall = f.nq = 0;
	memset(f.connected, 0, sizeof(f.connected));
	f_put_free("gateway/00000001", vms_cat_gateway_encode(&g));
	f_put("gwload/00000001", lives ? "{}" : NULL);
	f_place.portal = portal;
	f_place.host = host;
	f_place.boot = boot;
	f_gw_start(0);
	f_run(2000);
	f_place.portal = f_place.host = f_place.boot = "";
	if (!vms_gw_ready(f.gw)) {
		CU_ASSERT(strstr(f_kv_find("gateway/00000001")->val, "\"incarnation\":9") != NULL);
		/* it says where the other one is, and what to do */
		CU_ASSERT_PTR_NOT_NULL(strstr(f.warned, "'gw' runs already"));
		CU_ASSERT_PTR_NOT_NULL(strstr(f.warned, "10.0.0.1:3260 on localhost"));
		CU_ASSERT_PTR_NOT_NULL(strstr(f.warned, "name in [gateway]"));
		/* until that one has ended */
		f_put("gwload/00000001", NULL);
		f_run(2000);
		CU_ASSERT(vms_gw_ready(f.gw));
		CU_ASSERT(strstr(f_kv_find("gateway/00000001")->val, "\"incarnation\":10") != NULL);
		f_stop();
		return false;
	}
	CU_ASSERT(strstr(f_kv_find("gateway/00000001")->val, "\"incarnation\":10") != NULL);
	f_stop();
	return true;
}

static void only_its_own_successor_takes_its_number_at_once(void)
{
	static const char all[] = "0.0.0.0:3260";

	/* started again: its session in the catalog may not have ended yet */
	CU_ASSERT(takes_over(all, "localhost", "boot-1", true));
	/* another machine: by its address, its name, or neither, as with copies of machines */
	CU_ASSERT(!takes_over("10.0.0.2:3260", "localhost", "boot-1", true));
	CU_ASSERT(!takes_over(all, "other", "boot-1", true));
	CU_ASSERT(!takes_over(all, "localhost", "boot-2", true));
	/* this machine, started again: nobody is there any more */
	CU_ASSERT(takes_over(all, "localhost", "boot-2", false));
	/* what is not known on both sides counts for nothing */
	CU_ASSERT(takes_over(all, "localhost", "", true));
	CU_ASSERT(takes_over(all, "localhost", "-", true));
}

static void a_newer_process_of_the_same_name_ends_this_one(void)
{
	struct vms_cat_gateway g = {.id = 1, .name = "gw", .incarnation = 9};

	f_start(0, DISK);
	f_put_free("gateway/00000001", vms_cat_gateway_encode(&g));
	f_pump();
	CU_ASSERT_EQUAL(f.fatals, 1);
	f_stop();
}

static void writes_merge_behind_one_in_flight(void)
{
	struct vms_gw_cmd c[5];

	f_start(0, DISK);
	f.hold_writes = true;
	for (int i = 0; i < 5; i++) {
		c[i] = f_cmd(VMS_GW_WRITE, (uint64_t)i * 8, 8);
		f_data(&c[i], &w1_iov, w1_data, 4096);
	}
	vms_gw_submit(f.gw, &c[0]);
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 1);
	for (int i = 1; i < 5; i++)
		vms_gw_submit(f.gw, &c[i]);
	f_pump();
	CU_ASSERT_EQUAL(f.n_write, 1);
	f_release();
	CU_ASSERT_EQUAL(f.n_write, 5);
	f.hold_writes = false;
	f_release();
	for (int i = 0; i < 5; i++)
		CU_ASSERT(f_ended(&c[i]) && c[i].status == 0);
	f_stop();
}

static void zero_and_write_same(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(0, 64, 7), 0);
	c = f_cmd(VMS_GW_ZERO, 3, 30);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(f_read_value(0, 3, NULL), 7);
	CU_ASSERT_EQUAL(f_read_value(3, 30, NULL), 0);
	CU_ASSERT_EQUAL(f_read_value(33, 31, NULL), 7);
	CU_ASSERT_EQUAL(f.map[1], VMS_ADDR_HOLE);
	c = f_cmd(VMS_GW_WRITE_SAME, 5, 50);
	memset(w1_data, 9, 512);
	f_data(&c, &w1_iov, w1_data, 512);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(f_read_value(5, 50, NULL), 9);
	CU_ASSERT_EQUAL(f_read_value(55, 9, NULL), 7);
	memset(w1_data, 0, 512);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(f_read_value(5, 50, NULL), 0);
	CU_ASSERT_EQUAL(f.map[2], VMS_ADDR_HOLE); /* zeros store nothing */
	f_stop();
}

static uint8_t ref_fps[3 * VMS_GW_FP_BYTES], ref_found[3];
static uint32_t ref_crcs[3];

static struct vms_gw_cmd ref_cmd(uint64_t lba, const char *values)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_REF, lba, (uint32_t)strlen(values) * 8);

	for (unsigned i = 0; values[i]; i++) {
		memset(ref_fps + i * VMS_GW_FP_BYTES, values[i], VMS_GW_FP_BYTES);
		ref_crcs[i] = vms_crc32c(0, memset(w1_data, values[i], 4096), 4096);
	}
	memset(ref_found, 9, sizeof(ref_found));
	c.fps = ref_fps;
	c.crcs = ref_crcs;
	c.found = ref_found;
	return c;
}

static void a_write_by_reference_is_all_or_nothing(void)
{
	struct vms_gw_cmd c;
	bool done;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 'a'), 0);
	CU_ASSERT_EQUAL(f_write_blocks(16, 8, 'b'), 0);
	f.fp['a'] = f.map[1];
	f.fp['b'] = f.map[2];
	c = ref_cmd(160, "axb");
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_NOENT);
	CU_ASSERT(ref_found[0] == 1 && ref_found[1] == 0 && ref_found[2] == 1);
	CU_ASSERT_EQUAL(f_read_value(160, 24, NULL), 0);
	c = ref_cmd(160, "ab");
	f.n_write = 0;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(f.n_write, 1);
	CU_ASSERT_EQUAL(f.last_write.payload_bytes, 2 * VMS_GW_FP_BYTES);
	CU_ASSERT(ref_found[0] == 1 && ref_found[1] == 1);
	CU_ASSERT_EQUAL(f_read_value(160, 8, &done), 'a');
	CU_ASSERT(done); /* that chunk is cached under the same address */
	CU_ASSERT_EQUAL(f_read_value(168, 8, NULL), 'b');
	CU_ASSERT_EQUAL(f_read_value(176, 8, NULL), 0);
	/* like any other op: refused for now, sent again with its id */
	c = ref_cmd(200, "b");
	f.write_status = VMS_E_AGAIN;
	CU_ASSERT_EQUAL(f_do(&c), 1);
	f.write_status = 0;
	f_run(250);
	CU_ASSERT(f_ended(&c) && c.status == 0);
	CU_ASSERT_EQUAL(f.last_write.sequence, f.prev_write.sequence);
	CU_ASSERT(f.last_write.flags & VMS_F_RETRY);
	CU_ASSERT_EQUAL(f_read_value(200, 8, NULL), 'b');
	/* what it does not take */
	c = ref_cmd(201, "b");
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	c = ref_cmd(200, "b");
	c.nblocks = 7;
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	c = ref_cmd(8184, "bb"); /* two extents */
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	c = ref_cmd(200, "b");
	c.found = NULL;
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	f_stop();
}

static void bad_requests_are_refused_at_the_door(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	c = f_cmd(VMS_GW_READ, F_CHUNKS * 8 - 1, 2);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_RANGE);
	c = f_cmd(VMS_GW_WRITE, UINT64_MAX, 2);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_RANGE);
	c = f_cmd(VMS_GW_CAW, 8191, 2); /* crosses an extent */
	f_data(&c, &w1_iov, w1_data, 2048);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	c = f_cmd(VMS_GW_WRITE, 0, 2); /* too little data */
	f_data(&c, &w1_iov, w1_data, 512);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	CU_ASSERT_EQUAL(f.n_write, 0);
	f_stop();
}

static void too_much_outstanding_is_refused(void)
{
	static uint8_t big[2 << 20];
	struct vms_gw_cmd c[3];

	f_start(0, DISK);
	f.hold_writes = true;
	for (int i = 0; i < 3; i++) {
		c[i] = f_cmd(VMS_GW_WRITE, (uint64_t)i * 8192, sizeof(big) / 512);
		f_data(&c[i], &w1_iov, big, sizeof(big));
	}
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c[0]), VMS_GW_PENDING);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c[1]), VMS_GW_PENDING);
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, &c[2]), VMS_GW_DONE);
	CU_ASSERT_EQUAL(c[2].status, VMS_E_FULL);
	f_pump();
	f.hold_writes = false;
	f_release();
	f_stop();
}

static void verify_compares(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(8, 16, 4), 0);
	memset(w1_data, 4, sizeof(w1_data));
	c = f_cmd(VMS_GW_VERIFY, 10, 12);
	f_data(&c, &w1_iov, w1_data, 12 * 512);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	w1_data[5000] = 1;
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_MISCOMPARE);
	CU_ASSERT_EQUAL(c.miscompare_bytes, 5000);
	CU_ASSERT_EQUAL(c.info_lba, 10 + 5000 / 512);
	c = f_cmd(VMS_GW_VERIFY, 0, 100);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	f_stop();
}

static void lba_status_tells_holes(void)
{
	struct vms_gw_lba_range r[4];
	struct vms_gw_cmd c;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(16, 16, 4), 0);
	c = f_cmd(VMS_GW_LBA_STATUS, 4, 0);
	c.ranges = r;
	c.nranges = 4;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(c.nranges, 3);
	CU_ASSERT(r[0].lba == 4 && r[0].nblocks == 12 && !r[0].mapped);
	CU_ASSERT(r[1].lba == 16 && r[1].nblocks == 16 && r[1].mapped);
	CU_ASSERT(r[2].lba == 32 && r[2].nblocks == F_CHUNKS * 8 - 32 && !r[2].mapped);
	f_stop();
}

static void map_tells_addresses(void)
{
	vms_addr a[F_CHUNKS];
	struct vms_gw_cmd c;
	bool done = false;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(16, 16, 4), 0);
	c = f_cmd(VMS_GW_MAP, 8, 5 * 8);
	c.addrs = a;
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT(a[0] == VMS_ADDR_HOLE && a[3] == VMS_ADDR_HOLE && a[4] == VMS_ADDR_HOLE);
	CU_ASSERT(a[1] > VMS_ADDR_ASK && a[2] > VMS_ADDR_ASK && a[1] != a[2]);
	/* whole chunks of one extent only */
	c = f_cmd(VMS_GW_MAP, 4, 8);
	c.addrs = a;
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	c = f_cmd(VMS_GW_MAP, 0, 12);
	c.addrs = a;
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	c = f_cmd(VMS_GW_MAP, 0, 8);
	CU_ASSERT_EQUAL(f_do(&c), VMS_E_INVAL);
	CU_ASSERT_EQUAL(f_read_value(16, 16, &done), 4);
	f_stop();
}

/* ---- space ---- */

static struct vms_gw_space space_at(uint32_t one, uint32_t two, bool refusing)
{
	struct vms_gw_space s;

	f.used_permille[1] = one;
	f.used_permille[2] = two;
	f.refusing[2] = refusing;
	f_run(300);
	vms_gw_space(f.gw, &s);
	return s;
}

static void the_fullest_node_warns_once_each_time(void)
{
	struct vms_gw_space s;

	f_start(0, DISK);
	s = space_at(990, 990, true); /* an older node tells nothing */
	CU_ASSERT(s.used_permille == 0 && !s.refusing && s.warnings == 0);
	f.tell_space = true;
	s = space_at(100, 799, false);
	CU_ASSERT(s.used_permille == 799 && !s.refusing && s.warnings == 0);
	s = space_at(100, 800, false);
	CU_ASSERT_EQUAL(s.warnings, 1);
	s = space_at(900, 760, false);
	CU_ASSERT(s.used_permille == 900 && s.warnings == 1);
	s = space_at(100, 751, false); /* not far enough below */
	s = space_at(100, 850, false);
	CU_ASSERT_EQUAL(s.warnings, 1);
	s = space_at(100, 750, false);
	s = space_at(100, 801, true);
	CU_ASSERT(s.warnings == 2 && s.refusing);
	s = space_at(100, 801, false);
	CU_ASSERT(s.warnings == 2 && !s.refusing);
	f_stop();
}

static void no_space_is_an_error_of_its_own(void)
{
	struct vms_gw_cmd c;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 3), 0);
	f.write_status = VMS_E_NOSPC;
	CU_ASSERT_EQUAL(f_write_blocks(8, 8, 4), VMS_E_NOSPC);
	CU_ASSERT_EQUAL(f_read_value(8, 8, NULL), 3);
	f.write_status = 0; /* what gives space back is taken */
	c = f_cmd(VMS_GW_ZERO, 8, 8);
	CU_ASSERT_EQUAL(f_do(&c), 0);
	CU_ASSERT_EQUAL(f_read_value(8, 8, NULL), 0);
	f_stop();
}

/* ---- flush and losses ---- */

static int flush(const char *port)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_FLUSH, 0, 0);

	c.initiator_port = port;
	return f_do(&c);
}

static void flush_asks_every_primary_in_memory_mode_only(void)
{
	f_start(0, DISK);
	CU_ASSERT_EQUAL(flush("a"), 0);
	CU_ASSERT_EQUAL(f.n_flush, 0);
	f_stop();
	f_start(0, MEMORY);
	CU_ASSERT_EQUAL(flush("a"), 0);
	CU_ASSERT_EQUAL(f.n_flush, 1);
	f_stop();
}

static int flush_after_loss(uint32_t mutant)
{
	int rc;

	f_start(mutant, MEMORY);
	CU_ASSERT_EQUAL(flush("a"), 0);
	f_put("loss/0000000000000001", "1");
	f_part(2);
	f_pump();
	rc = flush("a");
	if (rc) {
		CU_ASSERT_EQUAL(flush("a"), 0);		      /* once */
		CU_ASSERT_EQUAL(flush("b"), VMS_E_DATA_LOSS); /* each port */
		CU_ASSERT_EQUAL(flush("b"), 0);
		f_put("loss/0000000000000001", "2");
		f_pump();
		CU_ASSERT_EQUAL(flush("a"), VMS_E_DATA_LOSS);
		/* told through another gateway */
		f_put("lossack/0000000000000001/b", "2");
		CU_ASSERT_EQUAL(flush("b"), 0);
	}
	f_stop();
	return rc;
}

static void a_loss_fails_each_port_once(void)
{
	CU_ASSERT_EQUAL(flush_after_loss(0), VMS_E_DATA_LOSS);
	CU_ASSERT_EQUAL(flush_after_loss(VMS_GWM_SKIP_LOSS), 0);
}

static const char loss_key[] = "lossack/0000000000000001/a";

/* A flush of port a behind a loss, when only the call is left that is about its record. */
static void begin_up_to_the_record(uint32_t mutant, struct vms_gw_cmd *c)
{
	f_start(mutant, DISK);
	f_put("loss/0000000000000001", "1");
	f_part(2);
	f_pump();
	c->vol = f.vol;
	c->initiator_port = "a";
	f.nended = 0;
	CU_ASSERT_EQUAL(vms_gw_submit(f.gw, c), VMS_GW_PENDING);
	while (f.ncall && strcmp(f.call[0].key, loss_key) != 0)
		f_call_run();
	CU_ASSERT_EQUAL(f.ncall, 1);
}

/* The catalog takes the record of what a port was told (applied) or does not, and its answer
 * is lost in either case. */
static int flush_while_the_record_is_lost(uint32_t mutant, bool applied)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_FLUSH, 0, 0);

	begin_up_to_the_record(mutant, &c);
	f.cat_mute = applied;
	f.cat_down = !applied;
	f_call_run();
	f.cat_mute = false;
	f_cat_up();
	f_run(2000);
	CU_ASSERT(f_ended(&c));
	CU_ASSERT_PTR_NOT_NULL_FATAL(f_kv_find(loss_key));
	CU_ASSERT_STRING_EQUAL(f_kv_find(loss_key)->val, "1");
	CU_ASSERT_EQUAL(flush("a"), 0);
	f_stop();
	return c.status;
}

static void a_lost_answer_makes_no_loss_silent(void)
{
	CU_ASSERT_EQUAL(flush_while_the_record_is_lost(0, true), VMS_E_DATA_LOSS);
	CU_ASSERT_EQUAL(flush_while_the_record_is_lost(0, false), VMS_E_DATA_LOSS);
	CU_ASSERT_EQUAL(flush_while_the_record_is_lost(VMS_GWM_NOTED, true), 0);
}

/* The turn in which a port is told ends, and its answer leaves. Is the record on its way? */
static bool recorded_with_the_answer(uint32_t mutant)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_FLUSH, 0, 0);
	bool yes;

	begin_up_to_the_record(mutant, &c);
	vms_gw_turn_begin(f.gw, f.now);
	f_call_run();
	vms_gw_turn_end(f.gw, f.now);
	CU_ASSERT(f_ended(&c) && c.status == VMS_E_DATA_LOSS);
	yes = f_kv_find(loss_key) != NULL;
	f_run(300);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find(loss_key));
	f_stop();
	return yes;
}

static void the_record_is_behind_the_answer(void)
{
	CU_ASSERT_FALSE(recorded_with_the_answer(0));
	CU_ASSERT_TRUE(recorded_with_the_answer(VMS_GWM_NOTE_GOES));
}

/* ---- volumes ---- */

static void closing_withdraws_the_registration(void)
{
	f_start(0, DISK);
	CU_ASSERT_PTR_NOT_NULL(f_kv_find("open/0000000000000001/00000001")->val);
	vms_gw_vol_close(f.gw, f.vol);
	f_run(300);
	CU_ASSERT_PTR_NULL(f_kv_find("open/0000000000000001/00000001")->val);
	f_stop();
}

static void opening_what_is_not_there_or_goes_away_fails(void)
{
	struct vms_cat_volume rec = {
		.name = "old", .branch = 5, .lineage = 5, .size_bytes = 4096, .state = 2};
	struct vms_errmsg msg;
	struct vms_gw_vol *v;

	f_start(0, DISK);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "none", 0, 0, NULL, &v, &msg), 0);
	f_run(300);
	CU_ASSERT_EQUAL(f.opened, 2);
	CU_ASSERT_EQUAL(f.open_status, -VMS_E_NOENT);
	f_put_free("volume/old", vms_cat_volume_encode(&rec));
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "old", 0, 0, NULL, &v, &msg), 0);
	f_run(300);
	CU_ASSERT_EQUAL(f.opened, 3);
	CU_ASSERT_EQUAL(f.open_status, -VMS_E_BUSY);
	CU_ASSERT_EQUAL(vms_gw_vol_open(f.gw, "-x", 0, 0, NULL, &v, &msg), VMS_E_INVAL);
	f_stop();
}

static void other_openers_are_counted(void)
{
	struct vms_cat_open o = {.id = F_BRANCH, .gateway = 9, .incarnation = 1};
	struct vms_gw_vol_info info;

	f_start(0, DISK);
	f_put_free("open/0000000000000001/00000009", vms_cat_open_encode(&o));
	f_pump();
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT_EQUAL(info.openers, 2);
	CU_ASSERT_EQUAL(f.changes, 1);
	f_put("open/0000000000000001/00000009", NULL);
	f_pump();
	vms_gw_vol_info(f.vol, &info);
	CU_ASSERT_EQUAL(info.openers, 1);
	f_stop();
}

/* A process that was killed leaves its registrations behind. */
static void registrations_of_an_earlier_process_are_swept(void)
{
	struct vms_cat_open o = {.id = 7, .gateway = 1, .incarnation = 1};

	f_start(0, DISK);
	f_put_free("open/0000000000000007/00000001", vms_cat_open_encode(&o));
	o.snap_gen = 3;
	f_put_free("snapopen/0000000000000007/0000000000000003/00000001", vms_cat_open_encode(&o));
	o.gateway = 2;
	f_put_free("snapopen/0000000000000007/0000000000000003/00000002", vms_cat_open_encode(&o));
	vms_gw_free(f.gw);
	f.ncall = f.nq = 0;
	memset(f.connected, 0, sizeof(f.connected));
	f_gw_start(0);
	/* not before volumes that are opened again had the time for it */
	CU_ASSERT_PTR_NOT_NULL(f_kv_find("open/0000000000000007/00000001")->val);
	f_run(2500);
	CU_ASSERT_PTR_NULL(f_kv_find("open/0000000000000007/00000001")->val);
	CU_ASSERT_PTR_NULL(f_kv_find("snapopen/0000000000000007/0000000000000003/00000001")->val);
	CU_ASSERT_PTR_NOT_NULL(
		f_kv_find("snapopen/0000000000000007/0000000000000003/00000002")->val);
	f_stop();
}

#define MANY 5u

static void many_record(unsigned i)
{
	struct vms_cat_volume r = {.id = 20 + i,
				   .branch = 20 + i,
				   .lineage = 20 + i,
				   .size_bytes = 1 << 20,
				   .snap_gen = 1,
				   .lun_fence = 1,
				   .state = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(r.name, sizeof(r.name), "m%u", i);
	vms_cat_key_volume(key, r.name, NULL);
	f_put_free(key, vms_cat_volume_encode(&r));
}

static const struct f_kv *many_open(unsigned i)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_open(key, 20 + i, 1);
	return f_kv_find(key);
}

/* Volumes that are opened or closed at one time share transactions of the catalog. */
static void many_volumes_register_together(void)
{
	struct vms_gw_vol *v[MANY];
	unsigned revs = 0;
	char name[8];

	f_start(0, DISK);
	for (unsigned i = 0; i < MANY; i++)
		many_record(i);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		vms_assert(!vms_gw_vol_open(f.gw, name, 0, 0, NULL, &v[i], NULL));
	}
	f_run(500);
	CU_ASSERT_EQUAL(f.opened, 1 + MANY);
	for (unsigned i = 0; i < MANY; i++) {
		CU_ASSERT_PTR_NOT_NULL_FATAL(many_open(i));
		revs += !i || many_open(i)->rev != many_open(i - 1)->rev;
	}
	CU_ASSERT(revs <= 2);
	for (unsigned i = 0; i < MANY; i++)
		vms_gw_vol_close(f.gw, v[i]);
	f_run(200);
	revs = 0;
	for (unsigned i = 0; i < MANY; i++) {
		CU_ASSERT_PTR_NULL(many_open(i)->val);
		revs += !i || many_open(i)->rev != many_open(i - 1)->rev;
	}
	CU_ASSERT(revs <= 2); /* the first, and all that came while it was on its way */
	f_stop();
}

/* One whose record changes at that moment does not keep the others out. */
static void a_volume_that_changes_fails_alone(void)
{
	struct vms_gw_vol *v[MANY];
	char name[8];

	f_start(0, DISK);
	for (unsigned i = 0; i < MANY; i++)
		many_record(i);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		vms_assert(!vms_gw_vol_open(f.gw, name, 0, 0, NULL, &v[i], NULL));
	}
	/* until their records have been read */
	f_event(VMS_GEV_TIMER, 0, NULL);
	for (unsigned i = 0; i < 2 * MANY && f.ncall; i++)
		f_call_run();
	f.quiet = true;
	many_record(2);
	f.quiet = false;
	f_run(150);
	CU_ASSERT(f.opened >= MANY); /* v and the others */
	f_run(2000);
	CU_ASSERT_EQUAL(f.opened, 1 + MANY);
	CU_ASSERT_EQUAL(f.open_status, 0);
	CU_ASSERT_NOT_EQUAL(many_open(2)->rev, many_open(3)->rev);
	f_stop();
}

/* A catalog that takes no more watches is asked now and then, not in each turn. */
static void refused_watches_are_tried_now_and_then(void)
{
	struct vms_gw_vol *v;
	unsigned before;

	f_start(0, DISK);
	many_record(1);
	f.watch_full = true;
	vms_assert(!vms_gw_vol_open(f.gw, "m1", 0, 0, NULL, &v, NULL));
	f_run(1000);
	CU_ASSERT_EQUAL(f.opened, 2);
	before = f.ngets;
	for (unsigned i = 0; i < 200; i++) {
		f.now += 10;
		f_event(VMS_GEV_TIMER, 0, NULL);
		for (uint32_t n = 1; n <= F_NODES && i % 25 == 0; n++)
			f_tick(n);
		f_pump();
	}
	CU_ASSERT(f.ngets > before && f.ngets - before < 30);
	f.watch_full = false;
	f_run(2000);
	before = f.ngets;
	f_run(3000);
	CU_ASSERT(f.ngets - before < 5);
	f_stop();
}

static const struct vms_test tests[] = {
	VMS_TEST(refused_watches_are_tried_now_and_then),
	VMS_TEST(many_volumes_register_together),
	VMS_TEST(a_volume_that_changes_fails_alone),
	VMS_TEST(it_registers_and_waits_for_the_nodes),
	VMS_TEST(a_node_out_of_reach_is_skipped_after_a_second),
	VMS_TEST(only_its_own_successor_takes_its_number_at_once),
	VMS_TEST(a_newer_process_of_the_same_name_ends_this_one),
	VMS_TEST(writes_merge_behind_one_in_flight),
	VMS_TEST(zero_and_write_same),
	VMS_TEST(a_write_by_reference_is_all_or_nothing),
	VMS_TEST(bad_requests_are_refused_at_the_door),
	VMS_TEST(too_much_outstanding_is_refused),
	VMS_TEST(verify_compares),
	VMS_TEST(lba_status_tells_holes),
	VMS_TEST(map_tells_addresses),
	VMS_TEST(the_fullest_node_warns_once_each_time),
	VMS_TEST(no_space_is_an_error_of_its_own),
	VMS_TEST(flush_asks_every_primary_in_memory_mode_only),
	VMS_TEST(a_loss_fails_each_port_once),
	VMS_TEST(a_lost_answer_makes_no_loss_silent),
	VMS_TEST(the_record_is_behind_the_answer),
	VMS_TEST(closing_withdraws_the_registration),
	VMS_TEST(opening_what_is_not_there_or_goes_away_fails),
	VMS_TEST(other_openers_are_counted),
	VMS_TEST(registrations_of_an_earlier_process_are_swept),
};
VMS_TEST_MAIN("gateway", tests)
