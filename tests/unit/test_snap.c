// SPDX-License-Identifier: GPL-2.0-only
/* Snapshots as the tool makes them: the steps of a barrier and their order, gateways
 * that veto, close, die, say nothing, nodes that fail, tools that are killed. */
#include <inttypes.h>
#include <time.h>

#define CATALOG "127.0.3.2:13431"
#define NODE	"127.0.3.2:13432"
#include "tests/unit/tool_rig.h"
#include "utils/tool/barrier.h"
#include "utils/tool/snap.h"

#define BAD_NODE "127.0.3.2:13439" /* nobody listens */

static struct barrier_report rep;

static int snapshot(const char *name, uint32_t try_ms)
{
	char volume[128], snap[104];
	struct vms_cat_snap s;

	CU_ASSERT_EQUAL_FATAL(vms_cat_snap_name_split(name, volume, snap, &e), 0);
	return barrier_snapshot(&t, volume, snap, try_ms, &s, &rep, &e);
}

static size_t count(const char *prefix)
{
	struct tool_kvs kv;
	size_t n;

	CU_ASSERT_EQUAL(tool_range(&t, prefix, &kv, &e), 0);
	n = kv.n;
	tool_kvs_free(&kv);
	return n;
}

static struct vms_cat_snap get(const char *volume, size_t i)
{
	struct vms_cat_snap s = {.state = 0};
	struct snaps l;

	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	if (i < l.n)
		s = l.d[i].s;
	snaps_free(&l);
	return s;
}

/* Nothing is left of an attempt but a spent number. */
static void is_clean(const char *volume, size_t nsnaps)
{
	struct snaps l;

	CU_ASSERT_EQUAL(look(volume).barrier, VMS_BARRIER_NONE);
	CU_ASSERT_EQUAL(count("ack/"), 0);
	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	CU_ASSERT_EQUAL(l.n, nsnaps);
	VMS_VEC_FOREACH(&l, s)
		CU_ASSERT_EQUAL(s->s.state, VMS_SNAP_COMPLETE);
	snaps_free(&l);
}

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
	struct vms_cat_node n = {.id = 2, .name = "n2", .address = BAD_NODE, .weight = 100};
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
	/* one that is down stops nobody's writes */
	put("node/00000002", vms_cat_node_encode(&n));
	seen->gw[1].stopped = 0;
	CU_ASSERT_EQUAL(snapshot("a@t", 100), VMS_E_DISCONNECTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "n2"));
	CU_ASSERT_EQUAL(seen->gw[1].stopped, 0);
	is_clean("a", 1);
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
	for (int i = 1; i <= 6; i++) { /* of the gateway's too */
		char name[16];

		snprintf(name, sizeof(name), "a@g%d", i);
		seen->drop_txn_answer = i;
		CU_ASSERT_EQUAL(snapshot(name, 10000), 0);
		seen->drop_txn_answer = 0;
		is_clean("a", 4 + (size_t)i);
	}
	end();
}

/* As a tool that was killed `ago` seconds ago leaves it. */
static void leave_behind(const char *name, uint64_t ago)
{
	struct vms_cat_volume v = look("a");
	struct vms_cat_snap s = {.id = v.id, .branch = v.branch, .snap_gen = v.snap_gen,
				 .size_bytes = v.size_bytes, .state = VMS_SNAP_CREATING,
				 .created_s = (uint64_t)time(NULL) - ago};
	struct vms_cat_ack ack = {.id = v.id, .gateway = 5, .incarnation = 1,
				  .barrier_id = v.snap_gen + 1, .state = VMS_ACK_STOPPED};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(s.volume, sizeof(s.volume), "a");
	snprintf(s.name, sizeof(s.name), "%s", name);
	vms_cat_key_snap(key, "a", name, &e);
	put(key, vms_cat_snap_encode(&s));
	vms_cat_key_ack(key, v.id, 5);
	put(key, vms_cat_ack_encode(&ack));
	v.barrier_id = ++v.snap_gen;
	v.barrier = VMS_BARRIER_STOP;
	put("volume/a", vms_cat_volume_encode(&v));
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

/* Ages what a killed tool left, so that nobody waits 10 s for it. */
static void make_old(const char *volume)
{
	struct snaps l;

	CU_ASSERT_EQUAL(snaps_load(&t, volume, &l, &e), 0);
	VMS_VEC_FOREACH(&l, s) {
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
	for (int i = 0; i < 25; i++) {
		char name[16];
		pid_t tool;

		snprintf(name, sizeof(name), "k%d", i);
		tool = fork();
		if (!tool) {
			struct barrier_report r;
			struct vms_errmsg m;
			struct vms_cat_snap s;
			struct tool own;

			if (!tool_open(&own, "killed", "/dev/null", CATALOG, &m))
				(void)barrier_snapshot(&own, "a", name, 5000, &s, &r, &m);
			_exit(0);
		}
		usleep((useconds_t)(1000 * i));
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
	VMS_TEST(lost_answers_change_nothing),
	VMS_TEST(what_a_dead_tool_left_is_given_up),
	VMS_TEST(killed_at_any_point_it_can_be_repeated),
};

int main(void)
{
	rig_init();
	return vms_test_main_("utils/tool/barrier", tests, sizeof(tests) / sizeof(tests[0]));
}
