// SPDX-License-Identifier: GPL-2.0-only
/* Catalog: client and server over both engines, joined by a network that the test
 * holds in its hands: frames wait in queues until pump() moves them. */
#include "cluster/cat_client.h"
#include "cluster/cat_server.h"
#include "cluster/cat_wire.h"
#include "tests/unit/cat_suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct frame {
	uint8_t *bytes;
	size_t len;
};
struct queue {
	struct frame f[512];
	unsigned n;
};

static struct {
	struct vms_cat_engine eng;
	struct vms_cat_server *srv;
	struct vms_cat_client *cli;
	struct queue up, down; /* to the server, to the client */
	uint64_t conn;	       /* present connection, 0: none */
	uint64_t last_conn;
	uint64_t now;
	unsigned closed; /* connections the server closed */
} w;

static void put(struct queue *q, const struct vms_msg *m)
{
	struct frame f = {.len = VMS_FRAME_HEADER_BYTES + m->body_bytes + m->payload_bytes};
	uint8_t *p;

	f.bytes = malloc(f.len);
	vms_msg_encode_header(m, f.bytes);
	p = f.bytes + VMS_FRAME_HEADER_BYTES;
	if (m->body_bytes)
		memcpy(p, m->body, m->body_bytes);
	p += m->body_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(p, m->payload[i].base, m->payload[i].len);
		p += m->payload[i].len;
	}
	CU_ASSERT_FATAL(q->n < 512);
	q->f[q->n++] = f;
}

static struct frame take(struct queue *q)
{
	struct frame f = q->f[0];

	memmove(q->f, q->f + 1, --q->n * sizeof(f));
	return f;
}

static void drop(struct queue *q)
{
	while (q->n)
		free(take(q).bytes);
}

static int cli_send(void *ctx, const struct vms_msg *m)
{
	put(&w.up, m);
	return 0;
}

static int srv_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	if (conn == w.conn)
		put(&w.down, m);
	return 0;
}

static void srv_close(void *ctx, uint64_t conn)
{
	w.closed++;
}

static void pump_up(void)
{
	while (w.up.n) {
		struct frame f = take(&w.up);
		struct vms_iov iov;
		struct vms_msg m;

		CU_ASSERT_EQUAL_FATAL(vms_msg_decode(f.bytes, f.len, &m, &iov), 0);
		vms_cat_server_msg(w.srv, w.conn, &m, w.now);
		free(f.bytes);
	}
}

static void pump(void)
{
	while (w.up.n || w.down.n) {
		pump_up();
		while (w.down.n) {
			struct frame f = take(&w.down);
			struct vms_iov iov;
			struct vms_msg m;

			CU_ASSERT_EQUAL_FATAL(vms_msg_decode(f.bytes, f.len, &m, &iov), 0);
			if (m.type == VMS_MSG_HELLO) {
				CU_ASSERT_EQUAL(m.status, 0);
				vms_cat_client_up(w.cli, w.now);
			} else {
				CU_ASSERT(vms_cat_client_msg(w.cli, &m, w.now));
			}
			free(f.bytes);
		}
	}
}

static void hello(const char *name)
{
	struct vms_hello h = {.role = VMS_ROLE_TOOL, .version_min = 1, .version_max = 1};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .req_id = 1, .body = body};

	snprintf(h.name, sizeof(h.name), "%s", name);
	m.body_bytes = vms_hello_encode(body, &h);
	put(&w.up, &m);
}

static void connect_up(void)
{
	w.conn = ++w.last_conn;
	vms_cat_server_accept(w.srv, w.conn);
	hello("test");
	pump();
}

static void disconnect(void)
{
	drop(&w.up);
	drop(&w.down);
	vms_cat_server_down(w.srv, w.conn);
	w.conn = 0;
	vms_cat_client_down(w.cli);
}

static void start_server(void)
{
	struct vms_cat_server_sink s = {NULL, srv_send, srv_close};

	w.srv = vms_cat_server_new(&w.eng, &s);
}

static void begin_on_engine(void)
{
	struct vms_cat_client_sink c = {NULL, cli_send};

	w.now = 1000;
	w.closed = 0;
	start_server();
	w.cli = vms_cat_client_new(&c, 5000);
	suite_cat = vms_cat_client_catalog(w.cli);
	connect_up();
}

static void begin(void)
{
	CU_ASSERT_EQUAL_FATAL(vms_cat_engine_mem_open(&w.eng), 0);
	begin_on_engine();
}

static void end_but_engine(void)
{
	drop(&w.up);
	drop(&w.down);
	vms_cat_client_free(w.cli);
	vms_cat_server_free(w.srv);
}

static void end(void)
{
	end_but_engine();
	vms_cat_engine_mem_close(&w.eng);
}

/* ---- the cases that every catalog has ---- */

static void suite_begin(void)
{
	begin();
}

static void suite_end(void)
{
	end();
}

static void suite_wait(struct heard *h, unsigned calls)
{
	pump();
	vms_cat_client_timer(w.cli, w.now);
}

/* ---- its own ---- */

static void changing_nothing_costs_no_revision(void)
{
	uint64_t revision;

	begin();
	revision = put_key("node/1", "{}").revision;
	CU_ASSERT_EQUAL(put_key("node/1", NULL).revision, ++revision);
	CU_ASSERT_EQUAL(put_key("node/1", NULL).revision, revision);
	end();
}

/* As somebody else than the client does it: on the present connection. */
static void txn_key(const char *key, const char *val)
{
	struct vms_cat_op op = {key, val, 0};
	struct vms_msg m = {.type = VMS_MSG_CAT_TXN, .flags = VMS_F_PAYLOAD_CRC};
	struct vms_iov iov;
	struct vms_buf b;

	vms_buf_init(&b, 65536);
	vms_cat_txn_encode(&b, NULL, 0, &op, 1);
	iov = (struct vms_iov){vms_buf_data(&b), vms_buf_len(&b)};
	m.payload = &iov;
	m.npayload = 1;
	m.payload_bytes = iov.len;
	put(&w.up, &m);
	pump_up();
	vms_buf_free(&b);
}

/* The watch that the next event sent is for; 0: none was sent. */
static uint64_t next_event(void)
{
	uint64_t id = 0;

	while (w.down.n && !id) {
		struct frame f = take(&w.down);
		struct vms_iov iov;
		struct vms_msg m;

		CU_ASSERT_EQUAL_FATAL(vms_msg_decode(f.bytes, f.len, &m, &iov), 0);
		id = m.type == VMS_MSG_CAT_EVENT ? m.sequence : 0;
		free(f.bytes);
	}
	return id;
}

static void watch_resumes_after_reconnect(void)
{
	struct heard h = {0};

	begin();
	suite_cat->ops->watch(suite_cat, "v/", put_key("v/a", "1").revision, hear, &h);
	put_key("v/b", "2");
	CU_ASSERT_STRING_EQUAL(h.log, "v/b=2;");
	disconnect();
	/* someone else changes it meanwhile */
	w.conn = ++w.last_conn;
	vms_cat_server_accept(w.srv, w.conn);
	hello("other");
	pump_up();
	txn_key("v/c", "3");
	drop(&w.down);
	connect_up();
	CU_ASSERT_STRING_EQUAL(h.log, "v/b=2;v/c=3;");
	put_key("v/d", "4");
	CU_ASSERT_STRING_EQUAL(h.log, "v/b=2;v/c=3;v/d=4;");
	end();
}

static int raw_watch(bool on, uint64_t id, const char *prefix)
{
	struct vms_msg m = {.type = on ? VMS_MSG_CAT_WATCH : VMS_MSG_CAT_UNWATCH, .req_id = 2};
	uint8_t body[2 * VMS_CAT_KEY_BYTES_MAX + 32];
	struct frame f;
	struct vms_iov iov;
	int status;

	m.sequence = id;
	if (on) {
		m.body = body;
		m.body_bytes = vms_cat_watch_encode(body, id, 1, prefix);
	}
	vms_cat_server_msg(w.srv, w.conn, &m, w.now);
	CU_ASSERT_FATAL(w.down.n >= 1);
	f = take(&w.down);
	CU_ASSERT_EQUAL_FATAL(vms_msg_decode(f.bytes, f.len, &m, &iov), 0);
	status = m.status;
	free(f.bytes);
	return status;
}

/* A gateway has some for each of a thousand LUNs. */
static void many_watches_of_one_connection(void)
{
	char prefix[64];

	begin();
	put_key("v/00000", "1"); /* of which each is told: none of them is this old */
	disconnect();
	w.conn = ++w.last_conn;
	vms_cat_server_accept(w.srv, w.conn);
	hello("many");
	pump_up();
	drop(&w.down);
	for (unsigned i = 0; i < 32768; i++) {
		snprintf(prefix, sizeof(prefix), "w/%05u", i);
		if (raw_watch(true, 1 + i * 7ull, prefix)) {
			CU_FAIL("a watch is refused");
			break;
		}
	}
	CU_ASSERT_EQUAL(raw_watch(true, 2, "w/"), VMS_E_FULL);
	CU_ASSERT_EQUAL(raw_watch(false, 1 + 9 * 7, NULL), 0);
	CU_ASSERT_EQUAL(raw_watch(true, 1 + 10 * 7, "w/"), VMS_E_EXIST);
	CU_ASSERT_EQUAL(raw_watch(true, 1 + 9 * 7, "w/00011"), 0);
	CU_ASSERT_EQUAL(raw_watch(true, 3, "w/"), VMS_E_FULL);
	/* each hears of its own, once, in the order in which they were asked for */
	drop(&w.down);
	txn_key("w/00011", "1");
	CU_ASSERT_EQUAL(next_event(), 1 + 11 * 7);
	CU_ASSERT_EQUAL(next_event(), 1 + 9 * 7);
	CU_ASSERT_EQUAL(next_event(), 0);
	txn_key("w/00009", "1");
	CU_ASSERT_EQUAL(next_event(), 0);
	end();
}

static void old_revisions_are_gone(void)
{
	struct heard h = {0}, h2 = {0};
	uint64_t from;

	begin();
	from = put_key("v/a", "1").revision;
	/* an idle watch must not fall behind while its client hears of revisions */
	suite_cat->ops->watch(suite_cat, "idle/", from, hear, &h2);
	for (unsigned i = 0; i < 4200; i++)
		put_key("v/a", i & 1 ? "1" : "2");
	disconnect();
	connect_up();
	CU_ASSERT_EQUAL(h2.calls, 0);
	suite_cat->ops->watch(suite_cat, "v/", from, hear, &h);
	pump();
	CU_ASSERT(h.calls == 1 && h.status == VMS_E_GONE);
	put_key("v/a", "3");
	CU_ASSERT_EQUAL(h.calls, 1); /* that watch is over */
	/* a revision of the future: another catalog, or an older copy of this one */
	suite_cat->ops->watch(suite_cat, "v/", 1000000, hear, &h);
	pump();
	CU_ASSERT(h.calls == 2 && h.status == VMS_E_GONE);
	end();
}

static void unknown_outcomes_are_said_and_reads_repeated(void)
{
	struct vms_cat_op op = {"k", "1", 0};
	struct heard t = {0}, g = {0}, s = {0};

	begin();
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &t);
	suite_cat->ops->session_open(suite_cat, 1000, hear, &s);
	suite_cat->ops->get(suite_cat, "k", hear, &g);
	pump_up(); /* done there, but the answers are lost */
	disconnect();
	CU_ASSERT(t.calls == 0 && s.calls == 0);
	vms_cat_client_timer(w.cli, ++w.now);
	CU_ASSERT(t.calls == 1 && t.status == VMS_E_DISCONNECTED);
	CU_ASSERT(s.calls == 1 && s.status == VMS_E_DISCONNECTED);
	CU_ASSERT_EQUAL(g.calls, 0);
	connect_up();
	CU_ASSERT(g.calls == 1 && g.nkv == 1);
	end();
}

static void requests_wait_for_the_connection_or_time_out(void)
{
	struct vms_cat_op op = {"k", "1", 0};
	struct heard t = {0}, g = {0}, f = {0};

	begin();
	disconnect();
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &t);
	vms_cat_client_timer(w.cli, w.now);
	connect_up();
	CU_ASSERT(t.calls == 1 && t.status == 0); /* was never sent: no doubt about it */
	disconnect();
	suite_cat->ops->get(suite_cat, "k", hear, &g);
	vms_cat_client_timer(w.cli, w.now);
	vms_cat_client_timer(w.cli, w.now + 4999);
	CU_ASSERT_EQUAL(g.calls, 0);
	vms_cat_client_timer(w.cli, w.now + 5000);
	CU_ASSERT(g.calls == 1 && g.status == VMS_E_TIMEOUT);
	for (unsigned i = 0; i < 4097; i++)
		suite_cat->ops->get(suite_cat, "k", hear, &f);
	vms_cat_client_timer(w.cli, w.now + 5001);
	CU_ASSERT(f.calls == 1 && f.status == VMS_E_FULL);
	suite_cat->ops->forget(suite_cat, &f);
	vms_cat_client_timer(w.cli, w.now + 20000);
	CU_ASSERT_EQUAL(f.calls, 1);
	end();
}

static void late_answers_reach_nobody(void)
{
	struct heard g = {0};

	begin();
	suite_cat->ops->get(suite_cat, "k", hear, &g);
	suite_cat->ops->forget(suite_cat, &g);
	pump();
	CU_ASSERT_EQUAL(g.calls, 0);
	suite_cat->ops->get(suite_cat, "k", hear, &g);
	vms_cat_client_timer(w.cli, w.now);
	vms_cat_client_timer(w.cli, w.now + 5000);
	CU_ASSERT_EQUAL(g.status, VMS_E_TIMEOUT);
	pump();
	CU_ASSERT_EQUAL(g.calls, 1);
	end();
}

static void sessions_take_their_keys_along(void)
{
	struct heard s = {0}, r = {0}, ev = {0};

	begin();
	suite_cat->ops->session_open(suite_cat, 1000, hear, &s);
	pump();
	CU_ASSERT_FATAL(s.status == 0 && s.session);
	put_key_session("open/1", "1", s.session);
	put_key_session("open/2", "1", s.session);
	put_key_session("open/3", "1", s.session);
	put_key("open/2", "2"); /* hangs on nothing any more */
	put_key("open/3", NULL);
	put_key("open/3", "3");
	suite_cat->ops->watch(suite_cat, "open/", put_key("x", "1").revision, hear, &ev);
	pump();
	vms_cat_server_timer(w.srv, w.now += 900);
	suite_cat->ops->session_renew(suite_cat, s.session, hear, &r);
	pump();
	CU_ASSERT_EQUAL(r.status, 0);
	vms_cat_server_timer(w.srv, w.now += 900);
	CU_ASSERT(is_there("open/1"));
	vms_cat_server_timer(w.srv, w.now += 200);
	pump();
	CU_ASSERT(!is_there("open/1"));
	CU_ASSERT(is_there("open/2") && is_there("open/3"));
	CU_ASSERT_STRING_EQUAL(ev.log, "open/1-;");
	suite_cat->ops->session_renew(suite_cat, s.session, hear, &r);
	pump();
	CU_ASSERT_EQUAL(r.status, VMS_E_NOENT);
	suite_cat->ops->session_open(suite_cat, 1000, hear, &r);
	pump();
	CU_ASSERT(r.session > s.session);
	put_key_session("open/9", "1", r.session);
	suite_cat->ops->session_close(suite_cat, r.session, hear, &s);
	pump();
	CU_ASSERT(!is_there("open/9"));
	end();
}

static void a_long_session_ends_in_steps(void)
{
	struct heard s = {0};
	char key[32];
	unsigned left = 0;

	begin();
	suite_cat->ops->session_open(suite_cat, 1000, hear, &s);
	pump();
	for (unsigned i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "open/%03u", i);
		put_key_session(key, "1", s.session);
	}
	vms_cat_server_timer(w.srv, w.now += 1000);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "open/%03u", i);
		left += is_there(key);
	}
	CU_ASSERT_EQUAL(left, 0);
	end();
}

static void a_second_hello_of_one_client_ends_the_first(void)
{
	uint64_t old;

	begin();
	old = w.conn;
	connect_up();
	CU_ASSERT_EQUAL(w.closed, 1);
	/* what the old connection still delivers does not count */
	suite_cat->ops->get(suite_cat, "k", hear, &(struct heard){0});
	{
		struct frame f = take(&w.up);
		struct vms_iov iov;
		struct vms_msg m;

		CU_ASSERT_EQUAL(vms_msg_decode(f.bytes, f.len, &m, &iov), 0);
		vms_cat_server_msg(w.srv, old, &m, w.now);
		free(f.bytes);
	}
	CU_ASSERT_EQUAL(w.down.n, 0);
	end();
}

static void frames_before_hello_close(void)
{
	struct vms_msg m = {.type = VMS_MSG_CAT_STATUS, .req_id = 5};

	begin();
	disconnect();
	w.conn = ++w.last_conn;
	vms_cat_server_accept(w.srv, w.conn);
	put(&w.up, &m);
	pump_up();
	CU_ASSERT(w.closed == 1 && w.down.n == 0);
	end();
}

static void lmdb_survives_restarts(void)
{
	char dir[] = "/tmp/vms-test-cat-XXXXXX", cmd[64];
	struct vms_cat_engine second = {0};
	struct vms_errmsg e;
	struct heard s = {0}, h = {0};
	uint64_t rev;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_EQUAL_FATAL(vms_cat_engine_lmdb_open(&w.eng, dir, 0, &e), 0);
	CU_ASSERT_EQUAL(vms_cat_engine_lmdb_open(&second, dir, 0, &e), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, dir));
	begin_on_engine();
	suite_cat->ops->session_open(suite_cat, 1000, hear, &s);
	pump();
	put_key("a", "1");
	put_key("b/1", "old");
	put_key("b/1", "2");
	put_key("b/2", NULL);
	put_key_session("b/3", "3", s.session);
	rev = put_key("c", "1").revision;
	end_but_engine();
	vms_cat_engine_lmdb_close(&w.eng);

	CU_ASSERT_EQUAL_FATAL(vms_cat_engine_lmdb_open(&w.eng, dir, 0, &e), 0);
	begin_on_engine();
	CU_ASSERT_EQUAL(get("a").revision, rev);
	suite_cat->ops->range(suite_cat, "", NULL, hear, &h);
	pump();
	CU_ASSERT_STRING_EQUAL(h.log, "a=1;b/1=2;b/3=3;c=1;");
	CU_ASSERT(h.kv[1].mod > h.kv[1].create);
	memset(&h, 0, sizeof(h));
	suite_cat->ops->range(suite_cat, "b/", "b/1", hear, &h);
	pump();
	CU_ASSERT_STRING_EQUAL(h.log, "b/3=3;");
	/* the session lives on for one period, then it takes its key along */
	vms_cat_server_timer(w.srv, w.now);
	vms_cat_server_timer(w.srv, w.now + 999);
	CU_ASSERT(is_there("b/3"));
	vms_cat_server_timer(w.srv, w.now + 1000);
	CU_ASSERT(!is_there("b/3"));
	/* changes from before the restart are not known any more */
	suite_cat->ops->watch(suite_cat, "b/", rev - 1, hear, &h);
	pump();
	CU_ASSERT_EQUAL(h.status, VMS_E_GONE);
	memset(&h, 0, sizeof(h));
	suite_cat->ops->watch(suite_cat, "b/", rev, hear, &h);
	pump();
	CU_ASSERT_STRING_EQUAL(h.log, "b/3-;");
	end_but_engine();
	vms_cat_engine_lmdb_close(&w.eng);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	CU_ASSERT_EQUAL(system(cmd), 0);
}

/* What HELLO of the server says its name and address are. */
static void hello_says(char name[64], char address[64])
{
	w.conn = ++w.last_conn;
	vms_cat_server_accept(w.srv, w.conn);
	hello("other");
	pump_up();
	while (w.down.n) {
		struct frame f = take(&w.down);
		struct vms_hello h;
		struct vms_iov iov;
		struct vms_msg m;

		CU_ASSERT_EQUAL_FATAL(vms_msg_decode(f.bytes, f.len, &m, &iov), 0);
		CU_ASSERT_EQUAL_FATAL(vms_hello_decode(&m, &h), 0);
		strcpy(name, h.name);
		strcpy(address, h.address);
		free(f.bytes);
	}
}

static void a_catalog_that_moved_serves_nobody(void)
{
	const char *to = "etcd:10.100.100.101:12379,10.100.100.102:12379,10.100.100.103:12379,"
			 "10.100.100.104:12379,10.100.100.105:12379";
	char dir[] = "/tmp/vms-test-cat-XXXXXX", cmd[64], name[64], address[64], all[128];
	struct vms_errmsg e;
	struct heard s = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_EQUAL_FATAL(vms_cat_engine_lmdb_open(&w.eng, dir, 0, &e), 0);
	begin_on_engine();
	put_key("a", "1");
	suite_cat->ops->session_open(suite_cat, 1000, hear, &s);
	pump();
	put_key_session("b", "1", s.session);
	CU_ASSERT_EQUAL(vms_cat_server_freeze(w.srv, ""), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_cat_server_freeze(w.srv, to), 0);
	CU_ASSERT_EQUAL(put_key("a", "2").status, VMS_E_PERM);
	CU_ASSERT_EQUAL(get("a").status, VMS_E_PERM);
	vms_cat_server_timer(w.srv, w.now += 5000); /* sessions do not end any more */
	disconnect();
	hello_says(name, address);
	CU_ASSERT_EQUAL_FATAL(strncmp(name, VMS_CAT_MOVED_NAME, strlen(VMS_CAT_MOVED_NAME)), 0);
	snprintf(all, sizeof(all), "%s%s", name + strlen(VMS_CAT_MOVED_NAME), address);
	CU_ASSERT_STRING_EQUAL(all, to);
	end_but_engine();
	vms_cat_engine_lmdb_close(&w.eng);

	/* also after a restart; taken back, it is as before */
	CU_ASSERT_EQUAL_FATAL(vms_cat_engine_lmdb_open(&w.eng, dir, 0, &e), 0);
	begin_on_engine();
	CU_ASSERT_STRING_EQUAL(vms_cat_server_moved(w.srv), to);
	CU_ASSERT_EQUAL(get("a").status, VMS_E_PERM);
	CU_ASSERT_EQUAL(vms_cat_server_freeze(w.srv, NULL), 0);
	CU_ASSERT(is_there("a") && is_there("b"));
	CU_ASSERT_EQUAL(put_key("a", "2").status, 0);
	end_but_engine();
	vms_cat_engine_lmdb_close(&w.eng);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	CU_ASSERT_EQUAL(system(cmd), 0);
}

static void revisions_can_be_raised_before_there_is_a_cluster(void)
{
	struct heard h;

	begin();
	put_key("a", "1");
	CU_ASSERT_EQUAL(vms_cat_server_raise(w.srv, 1000), 0);
	CU_ASSERT_EQUAL(put_key("a", "2").revision, 1001);
	CU_ASSERT_EQUAL(vms_cat_server_raise(w.srv, 500), 0); /* never down */
	h = put_key("cluster", "{}");
	CU_ASSERT_EQUAL(h.revision, 1002);
	CU_ASSERT_EQUAL(vms_cat_server_raise(w.srv, 5000), VMS_E_EXIST);
	end();
}

static const struct vms_test tests[] = {
	CAT_SUITE_TESTS,
	VMS_TEST(changing_nothing_costs_no_revision),
	VMS_TEST(watch_resumes_after_reconnect),
	VMS_TEST(many_watches_of_one_connection),
	VMS_TEST(old_revisions_are_gone),
	VMS_TEST(unknown_outcomes_are_said_and_reads_repeated),
	VMS_TEST(requests_wait_for_the_connection_or_time_out),
	VMS_TEST(late_answers_reach_nobody),
	VMS_TEST(sessions_take_their_keys_along),
	VMS_TEST(a_long_session_ends_in_steps),
	VMS_TEST(a_second_hello_of_one_client_ends_the_first),
	VMS_TEST(frames_before_hello_close),
	VMS_TEST(lmdb_survives_restarts),
	VMS_TEST(a_catalog_that_moved_serves_nobody),
	VMS_TEST(revisions_can_be_raised_before_there_is_a_cluster),
};

VMS_TEST_MAIN("cluster/catalog", tests)
