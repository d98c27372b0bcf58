// SPDX-License-Identifier: GPL-2.0-only
/* The catalog on etcd, with its HTTP thread over real sockets, against an etcd of the
 * test's own that has every defect on demand (fake_etcd.h). With VMS_ETCD=HOST:PORT,…
 * the cases that every catalog has run against that etcd instead (tests/it/etcd.sh);
 * VMS_ETCD_CA, _CERT, _KEY: its TLS; _USER, _PASSWORD: as whom. */
#include "cluster/catalog_etcd.h"
#include "cluster/catalog_etcd_int.h"
#include "cluster/net.h"
#include "tests/unit/cat_suite.h"
#include "tests/unit/fake_etcd.h"
#include "utils/lib/log.h"

#include <sys/stat.h>

#define PREFIX "/vmstore-test/"

static struct {
	struct fake_etcd f;
	const char *real; /* addresses of a real one */
	struct vms_etcd_thread *http;
	struct vms_cat_etcd *e;
	char prefix[64];
	unsigned runs;
	uint64_t skipped_ms; /* clock_ms() is ahead by that */
} w;

/* The clock of the client and of this test: what a busy machine takes from this process at
 * one stroke is hardly counted, or requests would end for no other reason. */
static uint64_t clock_ms(void)
{
	static uint64_t seen, now;
	uint64_t real = vms_clock_ms();

	if (!seen)
		now = real;
	else
		now += real - seen < 50 ? real - seen : 50;
	seen = real;
	return now + w.skipped_ms;
}

static void on_event(void *arg, const struct vms_etcd_event *ev)
{
	vms_cat_etcd_event(w.e, ev, clock_ms());
}

static void turn(void)
{
	if (w.real) {
		struct pollfd p = {vms_etcd_thread_fd(w.http), POLLIN, 0};

		poll(&p, 1, 10);
	} else {
		fake_etcd_turn(&w.f, vms_etcd_thread_fd(w.http), 10);
	}
	vms_etcd_thread_events(w.http, on_event, NULL);
	vms_cat_etcd_timer(w.e, clock_ms());
}

static void turns(uint32_t ms)
{
	for (uint64_t t0 = clock_ms(); clock_ms() - t0 < ms;)
		turn();
}

static void suite_wait(struct heard *h, unsigned calls)
{
	for (uint64_t t0 = clock_ms(); h->calls < calls && clock_ms() - t0 < 20000;)
		turn();
}

struct as {
	const char *name, *user, *password;
	bool lasting;
	uint32_t timeout_ms, try_ms, poll_ms;
};

static void client_open(const struct as *as)
{
	struct vms_etcd_tls tls = {getenv("VMS_ETCD_CA"), getenv("VMS_ETCD_CERT"),
				   getenv("VMS_ETCD_KEY")};
	struct vms_cat_etcd_conf c = {.prefix = w.prefix,
				      .name = as->name ? as->name : "tool.test",
				      .user = as->user,
				      .password = as->password,
				      .lasting = as->lasting,
				      .try_ms = as->try_ms ? as->try_ms : 600,
				      .poll_ms = as->poll_ms ? as->poll_ms : 400,
				      .timeout_ms = as->timeout_ms ? as->timeout_ms : 5000,
				      .seed = vms_clock_us()};
	static char text[FAKE_MEMBERS][64], list[512];
	struct vms_etcd_sink sink;
	struct vms_errmsg msg = {""};

	if (w.real) {
		/* the times of daemons: it takes its own to read megabytes, and so does a machine
		 * that is busy; nothing is asked here that has to fail */
		c.try_ms = VMS_CAT_ETCD_TRY_MS;
		c.poll_ms = VMS_CAT_ETCD_POLL_MS;
		c.timeout_ms = 15000;
		c.user = getenv("VMS_ETCD_USER");
		c.password = getenv("VMS_ETCD_PASSWORD");
		snprintf(list, sizeof(list), "%s", w.real);
		for (char *a = strtok(list, ","); a; a = strtok(NULL, ","))
			c.address[c.naddresses++] = a;
	} else {
		for (unsigned i = 0; i < FAKE_MEMBERS; i++) {
			snprintf(text[i], sizeof(text[i]), "127.0.0.1:%u", w.f.port[i]);
			c.address[c.naddresses++] = text[i];
		}
	}
	CU_ASSERT_EQUAL_FATAL(vms_etcd_thread_new(&w.http, c.address, c.naddresses, &tls, &msg), 0);
	sink = vms_etcd_thread_sink(w.http);
	w.e = vms_cat_etcd_new(&c, &sink, clock_ms());
	suite_cat = vms_cat_etcd_catalog(w.e);
}

static void client_close(void)
{
	vms_etcd_thread_free(w.http);
	vms_cat_etcd_free(w.e);
}

static void begin_as(const struct as *as)
{
	snprintf(w.prefix, sizeof(w.prefix), PREFIX "%llx-%u/", (unsigned long long)vms_clock_us(),
		 ++w.runs);
	if (!w.real)
		fake_etcd_open(&w.f);
	client_open(as);
}

static void suite_begin(void)
{
	begin_as(&(struct as){0});
}

static void suite_end(void)
{
	client_close();
	if (!w.real)
		fake_etcd_close(&w.f);
}

/* Somebody else's change. */
static uint64_t other(const char *key, const char *val)
{
	char full[128], rev[128];
	struct vms_cat_op op[2] = {{full, val, 0}, {rev, "other", 0}};

	snprintf(full, sizeof(full), "%s%s", w.prefix, key);
	snprintf(rev, sizeof(rev), "%s~rev", w.prefix);
	fake_apply(&w.f, op, 2);
	return fake_rev(&w.f);
}

static void all_members(enum fake_how how)
{
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		w.f.how[i] = how;
}

static const struct vms_cat_etcd_counters *counters(void)
{
	return vms_cat_etcd_counters(w.e);
}

/* The member that is asked now: the one whose count goes up. */
static unsigned asked_now(void)
{
	unsigned before[FAKE_MEMBERS];

	memcpy(before, w.f.requests, sizeof(before));
	get("x");
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		if (w.f.requests[i] > before[i])
			return i;
	return 0;
}

/* ---- members ---- */

static void a_dead_member_costs_nothing_much(void)
{
	uint64_t t0;
	unsigned m;

	suite_begin();
	put_key("a", "1");
	m = asked_now();
	w.f.how[m] = FAKE_CLOSED;
	fake_cut(&w.f, m);
	t0 = clock_ms();
	CU_ASSERT_EQUAL(put_key("a", "2").status, 0);
	CU_ASSERT(is_there("a"));
	CU_ASSERT(clock_ms() - t0 < 1000);
	CU_ASSERT(asked_now() != m);
	CU_ASSERT(vms_cat_etcd_is_up(w.e));
	suite_end();
}

static void a_stuck_member_costs_one_try(void)
{
	struct heard h;
	uint64_t t0;

	suite_begin();
	put_key("a", "1");
	w.f.how[asked_now()] = FAKE_SILENT;
	t0 = clock_ms();
	h = put_key("a", "2");
	/* sent and not answered: the fence tells that it was not carried out */
	CU_ASSERT_EQUAL(h.status, 0);
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "2");
	CU_ASSERT(clock_ms() - t0 < 600 + 1000);
	CU_ASSERT_EQUAL(counters()->fences, 1);
	suite_end();
}

static void without_any_member_requests_end(void)
{
	struct heard h = {0};
	bool refused;

	begin_as(&(struct as){.timeout_ms = 700});
	put_key("a", "1");
	all_members(FAKE_CLOSED);
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		fake_cut(&w.f, i);
	CU_ASSERT_EQUAL(get("a").status, VMS_E_TIMEOUT);
	suite_cat->ops->watch(suite_cat, "", 1, hear, &h);
	turns(300);
	CU_ASSERT_EQUAL(h.calls, 0);
	all_members(FAKE_WELL);
	suite_wait(&h, 1);
	CU_ASSERT_STRING_EQUAL(h.log, "a=1;");
	CU_ASSERT(vms_cat_etcd_is_up(w.e));
	CU_ASSERT_STRING_EQUAL(vms_cat_etcd_why(w.e, &refused), "");
	CU_ASSERT(!refused);
	suite_end();
}

static void answers_may_come_in_pieces_or_be_rubbish(void)
{
	suite_begin();
	put_key("a", "1");
	all_members(FAKE_PIECES);
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "1");
	all_members(FAKE_WELL);
	w.f.how[asked_now()] = FAKE_GARBAGE;
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "1");
	suite_end();
}

static void another_etcd_cluster_is_not_believed(void)
{
	begin_as(&(struct as){.timeout_ms = 600});
	put_key("a", "1");
	w.f.cluster_id++;
	CU_ASSERT_EQUAL(get("a").status, VMS_E_TIMEOUT);
	w.f.cluster_id--;
	CU_ASSERT_EQUAL(get("a").status, 0);
	suite_end();
}

/* ---- stale answers ---- */

static void an_old_answer_is_asked_again_elsewhere(void)
{
	unsigned m;

	suite_begin();
	put_key("a", "1");
	put_key("b", "1");
	m = asked_now();
	w.f.behind = 1;
	w.f.how[m] = FAKE_STALE;
	CU_ASSERT(is_there("b"));
	CU_ASSERT(counters()->stale == 1 && asked_now() != m);
	/* what a watch has shown counts too */
	w.f.how[m] = FAKE_WELL;
	suite_end();
}

static void a_watch_event_makes_older_answers_stale(void)
{
	struct heard ev = {0};

	suite_begin();
	suite_cat->ops->watch(suite_cat, "", put_key("a", "1").revision, hear, &ev);
	turns(100);
	other("a", "2");
	suite_wait(&ev, 1);
	w.f.behind = 1;
	w.f.how[asked_now()] = FAKE_STALE;
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "2");
	CU_ASSERT(counters()->stale >= 1);
	suite_end();
}

/* ---- unknown outcomes ---- */

static void lost_before_it_was_done_is_sent_again(void)
{
	struct vms_cat_cmp cmp = {"a", 0};
	struct vms_cat_op op = {"a", "1", 0};
	unsigned m;

	suite_begin();
	put_key("x", "1");
	m = asked_now();
	w.f.how[m] = FAKE_LOST;
	CU_ASSERT_EQUAL(txn(&cmp, 1, &op, 1).status, 0);
	CU_ASSERT(counters()->fences == 1 && counters()->unknown == 0);
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "1");
	suite_end();
}

static void done_but_not_answered_is_known_as_done(void)
{
	struct vms_cat_cmp cmp = {"a", 0};
	struct vms_cat_op op = {"a", "1", 0};
	struct heard h;

	suite_begin();
	put_key("x", "1");
	w.f.how[asked_now()] = FAKE_APPLIED;
	h = txn(&cmp, 1, &op, 1);
	CU_ASSERT_EQUAL(h.status, 0);
	CU_ASSERT_EQUAL(get("a").kv[0].mod, h.revision);
	CU_ASSERT_EQUAL(counters()->fences, 1);
	suite_end();
}

static void done_later_is_never_done(void)
{
	struct vms_cat_cmp cmp = {"a", 0};
	struct vms_cat_op op = {"a", "1", 0};
	struct heard h;

	suite_begin();
	put_key("x", "1");
	w.f.how[asked_now()] = FAKE_LATE;
	CU_ASSERT_EQUAL(txn(&cmp, 1, &op, 1).status, 0); /* its second sending */
	put_key("a", NULL);
	fake_etcd_late(&w.f); /* a is absent again: only the fence holds it back */
	CU_ASSERT(!is_there("a"));
	/* and what was sent before the fence moved elsewhere goes on */
	h = put_key("a", "2");
	CU_ASSERT_EQUAL(h.status, 0);
	suite_end();
}

static void what_cannot_be_told_is_unknown_but_final(void)
{
	struct vms_cat_op op = {"a", "1", 0};
	struct heard h = {0};
	unsigned m;

	/* its try must not be over before the other one has written */
	begin_as(&(struct as){.try_ms = 2000, .timeout_ms = 8000});
	put_key("x", "1");
	m = asked_now();
	w.f.how[m] = FAKE_SILENT;
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &h);
	turns(300);
	other("y", "1"); /* ours, or not? */
	suite_wait(&h, 1);
	CU_ASSERT_EQUAL(h.status, VMS_E_TIMEOUT);
	CU_ASSERT(counters()->unknown == 1 && !is_there("a"));
	suite_end();
}

static void nothing_is_read_before_an_unknown_outcome_is_final(void)
{
	struct vms_cat_op op = {"a", "1", 0};
	struct heard t = {0}, g = {0};

	begin_as(&(struct as){.timeout_ms = 800});
	put_key("x", "1");
	all_members(FAKE_LATE);
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &t);
	suite_wait(&t, 1);
	CU_ASSERT_EQUAL(t.status, VMS_E_TIMEOUT);
	suite_cat->ops->get(suite_cat, "a", hear, &g);
	turns(300);
	CU_ASSERT_EQUAL(g.calls, 0); /* reads would work, the fence does not */
	all_members(FAKE_WELL);
	suite_wait(&g, 1);
	CU_ASSERT(g.status == 0 && g.nkv == 0);
	fake_etcd_late(&w.f);
	CU_ASSERT(!is_there("a"));
	CU_ASSERT_EQUAL(put_key("a", "2").status, 0);
	suite_end();
}

static void a_request_that_ran_out_of_time_is_final_before_the_next_read(void)
{
	struct vms_cat_op op = {"a", "1", 0};
	struct heard t = {0};
	uint64_t t0;

	begin_as(&(struct as){.try_ms = 2500, .timeout_ms = 60000});
	/* one try is spent before it is sent; it is under way when its time is over */
	all_members(FAKE_SILENT);
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &t);
	turns(100);
	all_members(FAKE_WELL);
	for (t0 = clock_ms(); !vms_cat_etcd_is_up(w.e) && clock_ms() - t0 < 20000;)
		turn();
	all_members(FAKE_HELD);
	for (t0 = clock_ms(); !w.f.late.n && clock_ms() - t0 < 20000;)
		turn();
	CU_ASSERT_EQUAL(t.calls, 0);
	w.skipped_ms += 60000;
	suite_wait(&t, 1);
	CU_ASSERT_EQUAL(t.status, VMS_E_TIMEOUT);
	CU_ASSERT_EQUAL(w.f.late.n, 1);
	all_members(FAKE_WELL);
	CU_ASSERT(!is_there("a"));
	CU_ASSERT_EQUAL(counters()->fences, 1);
	fake_etcd_late(&w.f);
	CU_ASSERT(!is_there("a"));
	suite_end();
}

static void a_fence_that_was_deleted_is_taken_as_it_is(void)
{
	char key[128];

	suite_begin();
	put_key("x", "1");
	w.f.how[asked_now()] = FAKE_LOST;
	CU_ASSERT_EQUAL(put_key("x", "2").status, 0); /* moves the fence */
	snprintf(key, sizeof(key), "%s~fence/tool.test", w.prefix);
	fake_put(&w.f, key, NULL); /* somebody tidied up */
	CU_ASSERT_EQUAL(put_key("x", "3").status, 0);
	suite_end();
}

static void a_restart_settles_what_was_sent_before_it(void)
{
	struct as node = {.name = "node.n1", .lasting = true};
	struct vms_cat_op op = {"a", "1", 0};
	struct heard t = {0};
	char cluster[128];

	snprintf(w.prefix, sizeof(w.prefix), PREFIX "restart/");
	fake_etcd_open(&w.f);
	snprintf(cluster, sizeof(cluster), "%scluster", w.prefix);
	client_open(&node);
	turns(300);
	CU_ASSERT(!vms_cat_etcd_is_up(w.e)); /* there is no cluster */
	CU_ASSERT_PTR_NOT_NULL(strstr(vms_cat_etcd_why(w.e, NULL), "no cluster"));
	fake_put(&w.f, cluster, "{}");
	CU_ASSERT_EQUAL(put_key("x", "1").status, 0);
	all_members(FAKE_LATE);
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &t);
	turns(100);
	client_close();
	all_members(FAKE_WELL);
	client_open(&node);
	CU_ASSERT(!is_there("a"));
	CU_ASSERT(w.f.late.n >= 1);
	fake_etcd_late(&w.f);
	CU_ASSERT(!is_there("a"));
	client_close();
	fake_etcd_close(&w.f);
}

static void errors_in_words_are_told_apart(void)
{
	bool refused;

	/* a poll that is denied is final: the client is set up wrong */
	begin_as(&(struct as){.timeout_ms = 4000, .poll_ms = 600000});
	put_key("a", "1");
	/* nor is the first one to meet these errors: it is answered, the next one is far away */
	while (w.e->poll.call || w.e->poll.due_ms <= w.e->now_ms)
		turn();
	all_members(FAKE_ERROR);
	strcpy(w.f.error, "etcdserver: mvcc: database space exceeded");
	CU_ASSERT_EQUAL(put_key("a", "2").status, VMS_E_NOSPC);
	CU_ASSERT_PTR_NOT_NULL(strstr(vms_cat_etcd_why(w.e, &refused), "NOSPACE"));
	strcpy(w.f.error, "etcdserver: request is too large");
	CU_ASSERT_EQUAL(put_key("a", "2").status, VMS_E_FULL);
	strcpy(w.f.error, "etcdserver: permission denied");
	CU_ASSERT_EQUAL(put_key("a", "2").status, VMS_E_PERM);
	/* anything else may have been carried out */
	strcpy(w.f.error, "etcdserver: leader changed");
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		w.f.how_often[i] = 1;
	/* (if each member says so in turn, it stays unknown; a slow machine adds timeouts) */
	for (unsigned i = 0; i < 10 && put_key("a", "3").status; i++)
		;
	CU_ASSERT_EQUAL(put_key("a", "3").status, 0);
	CU_ASSERT_STRING_EQUAL(vms_cat_etcd_why(w.e, NULL), "");
	suite_end();
}

static void revisions_go_on_above_those_of_another_catalog(void)
{
	struct heard b = {0}, ev = {0}, h;
	struct vms_cat_cmp cmp = {"a", 0};
	struct vms_cat_op op = {"a", "2", 0};

	suite_begin();
	vms_cat_etcd_base_set(w.e, 1000000, hear, &b);
	suite_wait(&b, 1);
	CU_ASSERT_EQUAL(b.status, 0);
	client_close();
	client_open(&(struct as){0});
	h = put_key("a", "1");
	CU_ASSERT(h.revision > 1000000);
	CU_ASSERT_EQUAL(get("a").kv[0].mod, h.revision);
	CU_ASSERT_EQUAL(txn(&cmp, 1, &op, 1).status, VMS_E_CONFLICT);
	cmp.mod_revision = 5; /* of the catalog before */
	CU_ASSERT_EQUAL(txn(&cmp, 1, &op, 1).status, VMS_E_CONFLICT);
	suite_cat->ops->watch(suite_cat, "", h.revision, hear, &ev);
	cmp.mod_revision = h.revision;
	h = txn(&cmp, 1, &op, 1);
	CU_ASSERT_EQUAL(h.status, 0);
	suite_wait(&ev, 1);
	CU_ASSERT(ev.revision == h.revision && ev.kv[0].mod == h.revision);
	put_key("cluster", "{}");
	vms_cat_etcd_base_set(w.e, 2000000, hear, &b);
	suite_wait(&b, 2);
	CU_ASSERT_EQUAL(b.status, VMS_E_CONFLICT);
	suite_end();
}

/* ---- watches ---- */

static void watch_abc(struct heard *h)
{
	suite_cat->ops->watch(suite_cat, "v/", put_key("v/0", "0").revision, hear, h);
	turns(100);
}

static void repeated_events_are_dropped(void)
{
	struct heard h = {0};

	suite_begin();
	w.f.twice = true;
	watch_abc(&h);
	other("v/a", "1");
	other("v/b", "2");
	suite_wait(&h, 2);
	turns(50);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;v/b=2;");
	CU_ASSERT(counters()->duplicates >= 2 && counters()->gone == 0);
	/* the stream begins again far back */
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		w.f.conn[i].from = 2;
	other("v/c", "3");
	suite_wait(&h, 3);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;v/b=2;v/c=3;");
	CU_ASSERT_EQUAL(counters()->gone, 0);
	suite_end();
}

static void half_a_line_is_no_event(void)
{
	struct heard h = {0};

	suite_begin();
	w.f.half = true;
	watch_abc(&h);
	other("v/a", "1");
	suite_wait(&h, 1);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;");
	CU_ASSERT_EQUAL(counters()->watch_starts, 1);
	suite_end();
}

static void a_cut_stream_goes_on_behind_the_last_event(void)
{
	struct heard h = {0};

	suite_begin();
	watch_abc(&h);
	other("v/a", "1");
	suite_wait(&h, 1);
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		fake_cut(&w.f, i);
	other("v/b", "2");
	suite_wait(&h, 2);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;v/b=2;");
	suite_end();
}

static void a_silent_stream_is_found_out(void)
{
	struct heard h = {0};
	uint64_t t0;

	suite_begin();
	watch_abc(&h);
	w.f.mute = true; /* this stream says nothing more */
	other("v/a", "1");
	t0 = clock_ms();
	while (!counters()->silent && clock_ms() - t0 < 6000)
		turn();
	w.f.mute = false;
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		if (w.f.conn[i].stream && w.f.conn[i].from < UINT64_MAX && !h.calls)
			w.f.conn[i].from = UINT64_MAX;
	suite_wait(&h, 1);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;");
	CU_ASSERT(clock_ms() - t0 < 5000);
	suite_end();
}

static void a_left_out_event_is_fetched(void)
{
	struct heard h = {0};

	suite_begin();
	watch_abc(&h);
	w.f.skip = other("v/a", "1");
	turns(100);
	CU_ASSERT_EQUAL(h.calls, 0);
	while (!counters()->silent)
		turn();
	w.f.skip = 0;
	suite_wait(&h, 1);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;");
	suite_end();
}

static void an_event_told_behind_a_later_one_ends_the_watch(void)
{
	struct heard h = {0};
	uint64_t a;

	suite_begin();
	watch_abc(&h);
	a = w.f.skip = other("v/a", "1");
	other("v/b", "2");
	suite_wait(&h, 1);
	CU_ASSERT_STRING_EQUAL(h.log, "v/b=2;");
	w.f.skip = 0;
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		if (w.f.conn[i].stream)
			w.f.conn[i].from = a;
	suite_wait(&h, 2);
	CU_ASSERT(h.calls == 2 && h.status == VMS_E_GONE);
	suite_end();
}

static void events_that_never_come_end_the_watch(void)
{
	struct heard h = {0};
	uint64_t t0 = clock_ms();

	suite_begin();
	watch_abc(&h);
	w.f.mute = true; /* every stream, for ever */
	other("v/a", "1");
	while (!h.calls && clock_ms() - t0 < 10000)
		turn();
	CU_ASSERT(h.calls == 1 && h.status == VMS_E_GONE);
	suite_end();
}

/* The answer to a poll that is under way says nothing of a watch that came behind it. */
static void a_poll_does_not_end_a_younger_watch(void)
{
	struct heard a = {0}, b = {0};
	uint64_t first, second;

	suite_begin();
	put_key("v/old", "0");
	turns(100);
	first = other("v/a", "1");
	suite_cat->ops->watch(suite_cat, "v/", first, hear, &a); /* does it exist? is asked */
	for (unsigned i = 0; i < 10; i++)
		fake_etcd_turn(&w.f, vms_etcd_thread_fd(w.http), 10); /* answered, not read yet */
	second = other("v/b", "2");
	suite_cat->ops->watch(suite_cat, "v/", second, hear, &b);
	turns(300);
	CU_ASSERT_STRING_EQUAL(a.log, "v/b=2;");
	CU_ASSERT_EQUAL(b.calls, 0);
	other("v/c", "3");
	suite_wait(&b, 1);
	CU_ASSERT_STRING_EQUAL(b.log, "v/c=3;");
	/* one that is ahead of etcd ends all the same, and soon */
	suite_cat->ops->watch(suite_cat, "v/", second + 1000, hear, &b);
	suite_wait(&b, 2);
	CU_ASSERT_EQUAL(b.status, VMS_E_GONE);
	suite_end();
}

static void compacted_revisions_are_gone(void)
{
	struct heard old = {0}, fresh = {0};
	uint64_t from, now;

	suite_begin();
	from = put_key("v/a", "1").revision;
	for (unsigned i = 0; i < 5; i++)
		now = put_key("v/a", "2").revision;
	w.f.compacted = now;
	suite_cat->ops->watch(suite_cat, "v/", from, hear, &old);
	suite_cat->ops->watch(suite_cat, "v/", now, hear, &fresh);
	suite_wait(&old, 1);
	CU_ASSERT(old.calls == 1 && old.status == VMS_E_GONE);
	other("v/a", "3");
	suite_wait(&fresh, 1);
	CU_ASSERT_STRING_EQUAL(fresh.log, "v/a=3;");
	suite_end();
}

/* ---- who may ask ---- */

static void users_log_in_and_again(void)
{
	bool refused;

	begin_as(&(struct as){.user = "vmstore", .password = "secret"});
	w.f.want_token = true;
	CU_ASSERT_EQUAL(put_key("a", "1").status, 0);
	suite_end();

	begin_as(&(struct as){.user = "vmstore", .password = "wrong", .timeout_ms = 500});
	w.f.want_token = true;
	CU_ASSERT_EQUAL(get("a").status, VMS_E_TIMEOUT);
	CU_ASSERT_PTR_NOT_NULL(strstr(vms_cat_etcd_why(w.e, &refused), "authentication failed"));
	CU_ASSERT(refused);
	suite_end();
}

static void keys_that_all_can_read_are_refused(void)
{
	char path[] = "/tmp/vms-test-key-XXXXXX", *user, *password;
	struct vms_etcd_tls tls = {.ca = "system", .key = path};
	const char *address[] = {"127.0.0.1:1"};
	struct vms_etcd_thread *t;
	struct vms_errmsg msg = {""};
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && write(fd, "me:secret\n", 10) == 10);
	fchmod(fd, 0644);
	CU_ASSERT_EQUAL(vms_etcd_thread_new(&t, address, 1, &tls, &msg), VMS_E_CONFIG);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "read by every user"));
	CU_ASSERT_EQUAL(vms_etcd_user_file(path, &user, &password, &msg), VMS_E_CONFIG);
	fchmod(fd, 0640);
	CU_ASSERT_EQUAL_FATAL(vms_etcd_user_file(path, &user, &password, &msg), 0);
	CU_ASSERT(!strcmp(user, "me") && !strcmp(password, "secret"));
	free(user);
	free(password);
	tls = (struct vms_etcd_tls){.cert = path};
	CU_ASSERT_EQUAL(vms_etcd_thread_new(&t, address, 1, &tls, &msg), VMS_E_CONFIG);
	close(fd);
	unlink(path);
}

static void base64_goes_both_ways(void)
{
	for (size_t n = 0; n < 40; n++) {
		uint8_t raw[40];
		size_t bytes;
		char *a, *b;

		for (size_t i = 0; i < n; i++)
			raw[i] = (uint8_t)(i * 37 + n * 11);
		a = vms_b64_encode(raw, n);
		b = vms_b64_decode(a, &bytes);
		CU_ASSERT(b && bytes == n && !memcmp(b, raw, n));
		free(a);
		free(b);
	}
	CU_ASSERT_PTR_NULL(vms_b64_decode("a", &(size_t){0}));
	CU_ASSERT_PTR_NULL(vms_b64_decode("ab!d", &(size_t){0}));
}

/* ---- a real one ---- */

static void sessions_run_out(void)
{
	struct heard s = {0}, ev = {0};

	suite_begin();
	suite_cat->ops->session_open(suite_cat, 1000, hear, &s);
	suite_wait(&s, 1);
	put_key_session("open/1", "1", s.session);
	suite_cat->ops->watch(suite_cat, "open/", put_key("x", "1").revision, hear, &ev);
	suite_wait(&ev, 1);
	CU_ASSERT_STRING_EQUAL(ev.log, "open/1-;");
	suite_end();
}

/* More than gRPC hands over at once (4 MiB): in smaller parts, and a watch that cannot
 * get it is told to read. */
static void more_than_one_message_holds(void)
{
	struct heard h = {0}, ev = {0};
	char key[32], after[32] = "", *val = malloc(60001);
	uint64_t from;
	unsigned seen = 0;

	suite_begin();
	memset(val, 'x', 60000);
	val[60000] = 0;
	from = put_key("a", "1").revision;
	for (unsigned i = 0; i < 150; i++) {
		snprintf(key, sizeof(key), "r/%03u", i);
		CU_ASSERT_EQUAL_FATAL(put_key(key, val).status, 0);
	}
	free(val);
	do {
		memset(&h, 0, sizeof(h));
		suite_cat->ops->range(suite_cat, "r/", after[0] ? after : NULL, hear, &h);
		suite_wait(&h, 1);
		CU_ASSERT_EQUAL_FATAL(h.status, 0);
		CU_ASSERT_FATAL(h.nkv > 0);
		seen += h.nkv;
		snprintf(after, sizeof(after), "r/%03u", seen - 1);
	} while (h.more);
	CU_ASSERT_EQUAL(seen, 150);
	suite_cat->ops->watch(suite_cat, "r/", from, hear, &ev);
	suite_wait(&ev, 150);
	CU_ASSERT(ev.calls == 150 || ev.status == VMS_E_GONE);
	suite_end();
}

static void really_compacted_revisions_are_gone(void)
{
	struct heard old = {0}, fresh = {0};
	struct vms_etcd_call c = {
		.id = UINT64_MAX, .path = "/v3/kv/compaction", .timeout_ms = 2000};
	struct vms_etcd_sink sink;
	uint64_t from, now = 0;
	char body[64];

	suite_begin();
	from = put_key("v/a", "1").revision;
	for (unsigned i = 0; i < 5; i++)
		now = put_key("v/a", "2").revision;
	snprintf(body, sizeof(body), "{\"revision\":\"%llu\"}", (unsigned long long)now);
	c.body = body;
	sink = vms_etcd_thread_sink(w.http);
	sink.start(sink.ctx, &c);
	turns(300);
	suite_cat->ops->watch(suite_cat, "v/", from, hear, &old);
	suite_cat->ops->watch(suite_cat, "v/", now, hear, &fresh);
	suite_wait(&old, 1);
	CU_ASSERT(old.calls == 1 && old.status == VMS_E_GONE);
	put_key("v/a", "3");
	suite_wait(&fresh, 1);
	CU_ASSERT_STRING_EQUAL(fresh.log, "v/a=3;");
	suite_end();
}

static const struct vms_test tests[] = {
	CAT_SUITE_TESTS,
	VMS_TEST(a_dead_member_costs_nothing_much),
	VMS_TEST(a_stuck_member_costs_one_try),
	VMS_TEST(without_any_member_requests_end),
	VMS_TEST(answers_may_come_in_pieces_or_be_rubbish),
	VMS_TEST(another_etcd_cluster_is_not_believed),
	VMS_TEST(an_old_answer_is_asked_again_elsewhere),
	VMS_TEST(a_watch_event_makes_older_answers_stale),
	VMS_TEST(lost_before_it_was_done_is_sent_again),
	VMS_TEST(done_but_not_answered_is_known_as_done),
	VMS_TEST(done_later_is_never_done),
	VMS_TEST(what_cannot_be_told_is_unknown_but_final),
	VMS_TEST(nothing_is_read_before_an_unknown_outcome_is_final),
	VMS_TEST(a_request_that_ran_out_of_time_is_final_before_the_next_read),
	VMS_TEST(a_fence_that_was_deleted_is_taken_as_it_is),
	VMS_TEST(a_restart_settles_what_was_sent_before_it),
	VMS_TEST(errors_in_words_are_told_apart),
	VMS_TEST(revisions_go_on_above_those_of_another_catalog),
	VMS_TEST(repeated_events_are_dropped),
	VMS_TEST(half_a_line_is_no_event),
	VMS_TEST(a_cut_stream_goes_on_behind_the_last_event),
	VMS_TEST(a_silent_stream_is_found_out),
	VMS_TEST(a_left_out_event_is_fetched),
	VMS_TEST(an_event_told_behind_a_later_one_ends_the_watch),
	VMS_TEST(events_that_never_come_end_the_watch),
	VMS_TEST(a_poll_does_not_end_a_younger_watch),
	VMS_TEST(compacted_revisions_are_gone),
	VMS_TEST(users_log_in_and_again),
	VMS_TEST(keys_that_all_can_read_are_refused),
	VMS_TEST(base64_goes_both_ways),
};

static const struct vms_test real_tests[] = {
	CAT_SUITE_TESTS,
	VMS_TEST(sessions_run_out),
	VMS_TEST(more_than_one_message_holds),
	VMS_TEST(really_compacted_revisions_are_gone),
};

static void drop_logs(void *ctx, enum vms_log_level level, const char *text)
{
	if (getenv("VMS_TEST_LOG"))
		fprintf(stderr, "%llu %s\n", (unsigned long long)clock_ms(), text);
}

int main(void)
{
	vms_log_set_sink(drop_logs, NULL);
	w.real = getenv("VMS_ETCD");
	if (w.real)
		return vms_test_main_("cluster/catalog_etcd (real)", real_tests,
				      sizeof(real_tests) / sizeof(real_tests[0]));
	return vms_test_main_("cluster/catalog_etcd", tests, sizeof(tests) / sizeof(tests[0]));
}
