// SPDX-License-Identifier: GPL-2.0-only
/*
 * A snapshot's barrier, its steps and their order: gateways that veto, close, die, say nothing,
 * nodes that fail, answers that get lost, tools that are killed.
 */
#include "tests/unit/snap_rig.h"

static void of_a_closed_volume(void)
{
	struct vms_cat_volume a;
	struct vms_cat_snap s;

	begin(4);
	a = create("pool/a", 1ull << 40);
	CU_ASSERT_EQUAL(snapshot("pool/a@one", 1000), 0);
	s = get("pool/a", 0);
	CU_ASSERT(s.state == VMS_SNAP_COMPLETE && s.snap_gen == a.snap_gen && s.branch == a.branch);
	CU_ASSERT(s.size_bytes == 1ull << 40 && s.id == a.id && s.created_s);
	CU_ASSERT_EQUAL(look("pool/a").snap_gen, a.snap_gen + 1);
	CU_ASSERT(seen->floors == 1 && seen->settled && seen->snap_gen == a.snap_gen + 1);
	CU_ASSERT(seen->branch == a.branch && seen->lun_fence == a.lun_fence);
	CU_ASSERT_EQUAL(snapshot("pool/a@one", 1000), VMS_E_EXIST);
	CU_ASSERT_EQUAL(snapshot("pool/b@one", 1000), VMS_E_NOENT);
	CU_ASSERT_EQUAL(snapshot("pool/a@two", 1000), 0);
	CU_ASSERT_EQUAL(get("pool/a", 1).snap_gen, a.snap_gen + 1);
	is_clean("pool/a", 2);
	end();
}

static void gateways_stop_before_the_floor_and_go_on_after(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	gateway_start(2, &a, RIG_GW_GOOD);
	CU_ASSERT_EQUAL(snapshot("a@s", 5000), 0);
	CU_ASSERT_EQUAL(rep.attempts, 1);
	for (int i = 1; i <= 2; i++) {
		CU_ASSERT(seen->gw[i].stopped == 1 && seen->gw[i].released == 1);
		CU_ASSERT_EQUAL(seen->gw[i].stopped_at_floor, 1);
		CU_ASSERT_EQUAL(seen->gw[i].floors_at_release, 1);
	}
	is_clean("a", 1);
	end();
}

static void a_veto_is_repeated(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	gateway_start(2, &a, RIG_GW_VETO_ONCE);
	CU_ASSERT_EQUAL(snapshot("a@s", 5000), 0);
	CU_ASSERT(rep.attempts == 2 && seen->gw[2].vetoes == 1);
	/* the number of the failed attempt is spent */
	CU_ASSERT_EQUAL(get("a", 0).snap_gen, a.snap_gen + 1);
	CU_ASSERT_EQUAL(look("a").snap_gen, a.snap_gen + 2);
	is_clean("a", 1);
	end();
}

static void a_gateway_that_closes_is_not_waited_for(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	gateway_start(2, &a, RIG_GW_CLOSES);
	CU_ASSERT_EQUAL(snapshot("a@s", 5000), 0);
	CU_ASSERT_EQUAL(rep.attempts, 1);
	is_clean("a", 1);
	end();
}

static void one_that_dies_after_stopping_breaks_the_attempt(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	gateway_start(2, &a, RIG_GW_DIES);
	CU_ASSERT_EQUAL(snapshot("a@s", 5000), 0);
	CU_ASSERT_EQUAL(rep.attempts, 2);
	is_clean("a", 1);
	end();
}

static void a_silent_gateway_without_sessions_is_shut_out(void)
{
	struct vms_cat_gateway g;
	struct vms_cat_kv c;
	struct tool_kvs kv;
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	gateway_start(2, &a, RIG_GW_SILENT);
	seen->gw[2].live = false;
	CU_ASSERT_EQUAL(snapshot("a@s", 5000), 0);
	CU_ASSERT(rep.attempts == 1 && !strcmp(rep.fenced, "g2"));
	CU_ASSERT(seen->floor_gateways == 1 && seen->floor_incarnation == 2);
	CU_ASSERT_EQUAL(count("open/"), 1);
	CU_ASSERT_EQUAL(tool_get(&t, "gateway/00000002", &kv, &e), 0);
	CU_ASSERT_FATAL(kv.n == 1);
	c = tool_cat_kv(&kv.d[0]);
	CU_ASSERT(!vms_cat_gateway_decode(&c, &g, &e) && g.incarnation == 2);
	tool_kvs_free(&kv);
	is_clean("a", 1);
	end();
}

static void a_silent_gateway_that_lives_fails_it(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	gateway_start(2, &a, RIG_GW_SILENT);
	CU_ASSERT_EQUAL(snapshot("a@s", 200), VMS_E_AGAIN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "gateway g2"));
	CU_ASSERT(seen->floor_gateways == 0 && seen->floors == 0);
	is_clean("a", 0);
	/* it answers again */
	seen->gw[2].mode = RIG_GW_GOOD;
	CU_ASSERT_EQUAL(snapshot("a@s", 5000), 0);
	is_clean("a", 1);
	end();
}

static void a_node_that_fails_is_named(void)
{
	struct vms_cat_node n = {.id = 2, .name = "n2", .weight = 100};
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	seen->fail_floor = VMS_E_IO;
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), VMS_E_IO);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "n1"));
	is_clean("a", 0);
	seen->fail_floor = VMS_E_AGAIN; /* once: it is asked again */
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	CU_ASSERT_EQUAL(rep.attempts, 1);
	/* one that is down and leads nothing is not waited for */
	snprintf(n.address, sizeof(n.address), "%s", rig_nobody);
	put("node/00000002", vms_cat_node_encode(&n));
	CU_ASSERT_EQUAL(snapshot("a@t", 100), 0);
	CU_ASSERT(rep.attempts == 1 && rep.held_ms < 500);
	/* one that leads something stops nobody's writes */
	lead(&t, 3, 2, 2);
	seen->gw[1].stopped = 0;
	CU_ASSERT_EQUAL(snapshot("a@u", 100), VMS_E_DISCONNECTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "n2"));
	CU_ASSERT_EQUAL(seen->gw[1].stopped, 0);
	is_clean("a", 2);
	/* until another one has taken over */
	(void)lead_later(3, 700, 0);
	CU_ASSERT_EQUAL(snapshot("a@u", 5000), 0);
	CU_ASSERT_EQUAL(seen->gw[1].stopped, 1);
	is_clean("a", 3);
	end();
}

/* A number, whatever it is of, is everywhere when the primaries of all partitions have
 * it, as they are when it is in the catalog. */
static void who_leads_answers(void)
{
	struct vms_cat_node n = {.id = 2, .name = "n2", .weight = 100};
	struct nodes_want want = {.timeout_ms = 5000, .all_up = true};
	struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .branch = 7};
	struct nodes ns;
	uint64_t old;

	begin(4);
	create("a", 1u << 30);
	snprintf(n.address, sizeof(n.address), "%s", rig_nobody);
	put("node/00000002", vms_cat_node_encode(&n));
	CU_ASSERT_EQUAL(nodes_open(&t, &ns, &e), 0);
	CU_ASSERT_EQUAL(nodes_send(&t, &ns, &m, &want, &e), 0);
	CU_ASSERT_EQUAL(seen->floors, 1);
	/* node 1 has answered, then it takes over what node 2 had: it is asked again */
	lead(&t, 3, 2, 2);
	seen->floors = 0;
	(void)lead_later(3, 300, 0);
	CU_ASSERT_EQUAL(nodes_send(&t, &ns, &m, &want, &e), 0);
	CU_ASSERT(seen->floors >= 2);
	CU_ASSERT_EQUAL(seen->known, t.revision);
	/* one that is allowed to miss it */
	lead(&t, 3, 2, 10);
	want.skip_down = true;
	CU_ASSERT_EQUAL(nodes_send(&t, &ns, &m, &want, &e), 0);
	/* or stays away */
	want.skip_down = false;
	want.timeout_ms = 300;
	CU_ASSERT_NOT_EQUAL(nodes_send(&t, &ns, &m, &want, &e), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "n2"));
	nodes_close(&t, &ns);
	/* what is done in partitions is done again where one has moved meanwhile */
	lead(&t, 3, 1, 11);
	seen->trims = 0;
	seen->hold_trim = true;
	(void)lead_later(2, 0, 1);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 1u << 20, true, &old, &e), 0);
	CU_ASSERT(seen->trims >= 3);
	CU_ASSERT(seen->known >= 9 && look("a").size_bytes == 1u << 20);
	end();
}

static void lost_answers_change_nothing(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	for (int i = 1; i <= 4; i++) {
		char name[16];

		snprintf(name, sizeof(name), "a@s%d", i);
		seen->drop_txn_answer = i;
		CU_ASSERT_EQUAL(snapshot(name, 5000), 0);
		seen->drop_txn_answer = 0;
		is_clean("a", (size_t)i);
	}
	gateway_start(1, &a, RIG_GW_GOOD);
	for (int i = 1; i <= 4; i++) { /* of the gateway's too */
		char name[16];

		snprintf(name, sizeof(name), "a@g%d", i);
		seen->drop_txn_answer = i;
		CU_ASSERT_EQUAL(snapshot(name, 10000), 0);
		seen->drop_txn_answer = 0;
		is_clean("a", 4 + (size_t)i);
	}
	end();
}

static void what_a_dead_tool_left_is_given_up(void)
{
	char abandoned[240];

	begin(4);
	create("a", 1u << 30);
	leave_behind("dead", 60);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	CU_ASSERT_STRING_EQUAL(rep.abandoned, "a@dead");
	is_clean("a", 1);
	leave_behind("dead2", 9); /* young: it may live still */
	CU_ASSERT_EQUAL(barrier_settle(&t, "a", abandoned, &e), 0);
	CU_ASSERT_STRING_EQUAL(abandoned, "a@dead2");
	is_clean("a", 1);
	CU_ASSERT_EQUAL(barrier_settle(&t, "nobody", abandoned, &e), 0);
	CU_ASSERT_STRING_EQUAL(abandoned, "");
	end();
}

/* Nobody completes it, so nobody is told to wait for it. */
static void what_a_dead_tool_left_is_no_snapshot(void)
{
	struct vms_cat_volume made;
	struct snap_info s;

	begin(4);
	create("a", 1u << 30);
	leave_behind("exported", 60);
	CU_ASSERT_EQUAL(snap_get_made(&t, "a", "exported", &s, &e), VMS_E_NOENT);
	is_clean("a", 0);
	leave_behind("cloned", 60);
	CU_ASSERT_EQUAL(move_clone(&t, "a", "cloned", "c", 0, &made, &e), VMS_E_NOENT);
	is_clean("a", 0);
	leave_behind("a_lun", 60);
	CU_ASSERT_EQUAL(target_volume_check(&t, "a@a_lun", &e), VMS_E_NOENT);
	is_clean("a", 0);
	CU_ASSERT_EQUAL(snapshot("a@s", 1000), 0);
	CU_ASSERT_EQUAL(snap_get_made(&t, "a", "s", &s, &e), 0);
	CU_ASSERT_EQUAL(s.s.state, VMS_SNAP_COMPLETE);
	end();
}

/* Ages what a killed tool left, so that nobody waits 10 s for it. */
static void make_old(const char *volume)
{
	struct snaps l;

	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	VMS_VEC_FOREACH (&l, s) {
		char key[VMS_CAT_KEY_BYTES_MAX];

		if (s->s.state != VMS_SNAP_CREATING)
			continue;
		s->s.created_s -= 60;
		vms_cat_key_snap(key, s->s.volume, s->s.name, &e);
		put(key, vms_cat_snap_encode(&s->s));
	}
	snaps_free(&l);
}

static void killed_at_any_point_it_can_be_repeated(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 30);
	gateway_start(1, &a, RIG_GW_GOOD);
	for (int i = 0; i < 16; i++) {
		char name[16];
		pid_t tool;

		snprintf(name, sizeof(name), "k%d", i);
		tool = fork();
		if (!tool) {
			struct barrier_report r;
			struct vms_errmsg m;
			struct vms_cat_snap s;
			struct tool own;

			if (!tool_open(&own, "killed", "/dev/null", rig_catalog, &m))
				(void)barrier_snapshot(&own, "a", name, 5000, &s, &r, &m);
			_exit(0);
		}
		usleep((useconds_t)(1500 * i));
		kill(tool, SIGKILL);
		waitpid(tool, NULL, 0);
		make_old("a");
		CU_ASSERT_EQUAL(barrier_settle(&t, "a", NULL, &e), 0);
		/* either it is there, whole, or a new attempt makes it */
		if (get("a", (size_t)i).state != VMS_SNAP_COMPLETE) {
			snprintf(name, sizeof(name), "a@k%d", i);
			CU_ASSERT_EQUAL(snapshot(name, 5000), 0);
		}
		is_clean("a", (size_t)i + 1);
	}
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(of_a_closed_volume),
	VMS_TEST(gateways_stop_before_the_floor_and_go_on_after),
	VMS_TEST(a_veto_is_repeated),
	VMS_TEST(a_gateway_that_closes_is_not_waited_for),
	VMS_TEST(one_that_dies_after_stopping_breaks_the_attempt),
	VMS_TEST(a_silent_gateway_without_sessions_is_shut_out),
	VMS_TEST(a_silent_gateway_that_lives_fails_it),
	VMS_TEST(a_node_that_fails_is_named),
	VMS_TEST(who_leads_answers),
	VMS_TEST(lost_answers_change_nothing),
	VMS_TEST(what_a_dead_tool_left_is_given_up),
	VMS_TEST(what_a_dead_tool_left_is_no_snapshot),
	VMS_TEST(killed_at_any_point_it_can_be_repeated),
};

int main(void)
{
	rig_init();
	return vms_test_main_("utils/tool/snap", tests, sizeof(tests) / sizeof(tests[0]));
}
