// SPDX-License-Identifier: GPL-2.0-only
/* STATS/ADMIN and the catalog connection, each over real sockets of one process. */
#include "cluster/admin.h"
#include "cluster/cat_conn.h"
#include "cluster/cat_server.h"
#include "tests/unit/cunit.h"

#include <string.h>
#include <unistd.h>

static char address[80];

/* ---- a process that serves ADMIN ---- */

static struct vms_net *snet;
static json_t *got;
static int got_status;

static json_t *p_stats(void *ctx)
{
	return json_pack("{si}", "a.b", 7);
}

static int p_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		  struct vms_errmsg *msg)
{
	if (!strcmp(call, "echo")) {
		*answer = json_incref(json_object_get(req, "x"));
		return 0;
	}
	if (!strcmp(call, "large")) {
		char *t = malloc(5u << 20);

		memset(t, 'x', (5u << 20) - 1);
		t[(5u << 20) - 1] = 0;
		*answer = json_string(t);
		free(t);
		return 0;
	}
	return vms_fail(msg, VMS_E_UNSUPPORTED, "no call %s", call);
}

static int s_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(snet, conn, m);
}

static struct vms_admin admin = {
	.role = VMS_ROLE_NODE, .name = "n1", .stats = p_stats, .call = p_call, .send = s_send};

static void s_accepted(void *ctx, vms_net_conn c, const char *peer)
{
}
static void s_connected(void *ctx, vms_net_conn c)
{
}
static void s_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
}
static void s_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	CU_ASSERT(vms_admin_msg(&admin, c, m, true));
}

static void c_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct vms_hello h;

	json_decref(got);
	got_status = m->status;
	if (m->type == VMS_MSG_HELLO) {
		CU_ASSERT_EQUAL(vms_hello_decode(m, &h), 0);
		got = json_string(h.name);
	} else {
		got = vms_admin_json(m);
	}
}

static void ask(struct vms_net *cnet, const struct vms_admin *via, vms_net_conn c, uint8_t type,
		json_t *req)
{
	json_decref(got);
	got = NULL;
	vms_admin_send_json(via, c, NULL, type, 5, 0, req);
	json_decref(req);
	for (unsigned i = 0; i < 1000 && !got; i++) {
		vms_net_flush(cnet);
		vms_net_poll(snet, 1);
		vms_net_flush(snet);
		vms_net_poll(cnet, 1);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(got);
}

static int c_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(ctx, conn, m);
}

static void calls_are_answered(void)
{
	struct vms_net_handler sh = {NULL, s_accepted, s_connected, s_closed, s_frame};
	struct vms_net_handler ch = {NULL, s_accepted, s_connected, s_closed, c_frame};
	struct vms_admin via = {.send = c_send};
	struct vms_net *cnet;
	struct vms_errmsg e;
	vms_net_conn c;

	snprintf(address, sizeof(address), "unix:/tmp/vms-test-admin-%d.sock", (int)getpid());
	snet = vms_net_new(&sh, 0);
	cnet = vms_net_new(&ch, 0);
	via.ctx = cnet;
	CU_ASSERT_EQUAL_FATAL(vms_net_listen(snet, address, &e), 0);
	c = vms_net_connect(cnet, address);
	ask(cnet, &via, c, VMS_MSG_STATS, json_null());
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(got, "a.b")), 7);
	ask(cnet, &via, c, VMS_MSG_ADMIN, json_pack("{ssss}", "call", "echo", "x", "hey"));
	CU_ASSERT(got_status == 0 && !strcmp(json_string_value(got), "hey"));
	ask(cnet, &via, c, VMS_MSG_ADMIN, json_pack("{ss}", "call", "nonsense"));
	CU_ASSERT_EQUAL(got_status, VMS_E_UNSUPPORTED);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(got, "error")),
			       "no call nonsense");
	ask(cnet, &via, c, VMS_MSG_ADMIN, json_string("call"));
	CU_ASSERT_EQUAL(got_status, VMS_E_INVAL);
	ask(cnet, &via, c, VMS_MSG_ADMIN, json_pack("{ss}", "call", "large"));
	CU_ASSERT_EQUAL(got_status, VMS_E_FULL);
	json_decref(got);
	got = NULL;
	vms_net_free(cnet);
	vms_net_free(snet);
}

/* ---- catalog connection ---- */

static struct vms_cat_server *srv;
static struct vms_cat_conn *cc;

static int cs_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(snet, conn, m);
}
static void cs_close(void *ctx, uint64_t conn)
{
	vms_net_close(snet, conn);
}
static void cs_accepted(void *ctx, vms_net_conn c, const char *peer)
{
	vms_cat_server_accept(srv, c);
}
static void cs_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	vms_cat_server_down(srv, c);
}
static void cs_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	vms_cat_server_msg(srv, c, m, vms_clock_ms());
}
static void cc_connected(void *ctx, vms_net_conn c)
{
	CU_ASSERT(vms_cat_conn_connected(cc, c));
}
static void cc_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	CU_ASSERT(vms_cat_conn_closed(cc, c, err, why, vms_clock_ms()));
}
static void cc_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	CU_ASSERT(vms_cat_conn_frame(cc, c, m, vms_clock_ms()));
}

static unsigned answers;
static void on_get(void *arg, const struct vms_cat_reply *r)
{
	answers++;
	CU_ASSERT_EQUAL(r->status, 0);
}

static void spin(struct vms_net *cnet, unsigned want)
{
	for (unsigned i = 0; i < 3000 && answers < want; i++) {
		vms_net_flush(cnet);
		if (snet) {
			vms_net_poll(snet, 1);
			vms_net_flush(snet);
		}
		vms_net_poll(cnet, 1);
		vms_cat_conn_timer(cc, vms_clock_ms());
	}
	CU_ASSERT_EQUAL(answers, want);
}

static void start_catalog(const struct vms_cat_engine *eng)
{
	struct vms_net_handler h = {NULL, cs_accepted, s_connected, cs_closed, cs_frame};
	struct vms_cat_server_sink sink = {NULL, cs_send, cs_close};
	struct vms_errmsg e;

	srv = vms_cat_server_new(eng, &sink);
	snet = vms_net_new(&h, 0);
	CU_ASSERT_EQUAL_FATAL(vms_net_listen(snet, address, &e), 0);
}

static void stop_catalog(void)
{
	vms_net_free(snet);
	snet = NULL;
	vms_cat_server_free(srv);
}

static void catalog_connection_comes_back(void)
{
	struct vms_net_handler h = {NULL, s_accepted, cc_connected, cc_closed, cc_frame};
	struct vms_cat_conn_conf conf = {
		.naddresses = 2, .role = VMS_ROLE_NODE, .name = "n1", .timeout_ms = 20000};
	struct vms_cat_engine eng;
	struct vms_net *cnet;
	struct vms_catalog *cat;
	uint8_t uuid[16];

	snprintf(address, sizeof(address), "unix:/tmp/vms-test-catc-%d.sock", (int)getpid());
	conf.address[0] = "unix:/nonexistent";
	conf.address[1] = address;
	CU_ASSERT_EQUAL(vms_cat_engine_mem_open(&eng), 0);
	start_catalog(&eng);
	cnet = vms_net_new(&h, 0);
	cc = vms_cat_conn_new(cnet, &conf, vms_clock_ms());
	cat = vms_cat_conn_catalog(cc);
	cat->ops->get(cat, "k", on_get, NULL);
	spin(cnet, 1); /* the first address fails, the second answers */
	CU_ASSERT(vms_cat_conn_is_up(cc) && !vms_cat_conn_uuid(cc, uuid));
	stop_catalog();
	for (unsigned i = 0; i < 100 && vms_cat_conn_is_up(cc); i++)
		vms_net_poll(cnet, 1);
	CU_ASSERT(!vms_cat_conn_is_up(cc));
	cat->ops->get(cat, "k", on_get, NULL);
	start_catalog(&eng);
	spin(cnet, 2);
	vms_cat_conn_free(cc);
	vms_net_free(cnet);
	stop_catalog();
	vms_cat_engine_mem_close(&eng);
}

static const struct vms_test tests[] = {
	VMS_TEST(calls_are_answered),
	VMS_TEST(catalog_connection_comes_back),
};

VMS_TEST_MAIN("cluster/admin", tests)
