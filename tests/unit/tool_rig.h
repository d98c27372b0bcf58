/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A cluster for tests of the tools: a child process plays the catalog and a storage
 * node (each step counted, each can be made to fail), others play gateways that take
 * part in barriers. For one test program each: everything is static.
 */
#ifndef VMS_TESTS_TOOL_RIG_H
#define VMS_TESTS_TOOL_RIG_H

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/cat_server.h"
#include "tests/unit/cunit.h"
#include "utils/tool/volume.h"

#define RIG_GATEWAYS 8

enum rig_gw_mode {
	RIG_GW_GOOD,
	RIG_GW_SILENT,
	RIG_GW_VETO_ONCE, /* lets go the first time */
	RIG_GW_CLOSES,	  /* closes the volume instead of stopping */
	RIG_GW_DIES,	  /* after it has stopped */
};

/* Shared with the children. */
struct seen {
	unsigned floors, trims, trims_before_floor;
	uint64_t branch, lun_fence;
	uint32_t extent, aux;
	int fail_floor, fail_trim;  /* answer the next one with this */
	int drop_txn_answer;	    /* close instead of answering the so-manieth txn */
	int hide_branches;	    /* so many gets of branches are answered "no such key" */
	unsigned yields;	    /* seconds for which writes to it have been slowed */
	unsigned numbers;	    /* container numbers used, in 1/1000 */
	bool settled;		    /* the last floor of a branch wanted all durable */
	bool hold_trim;		    /* it is answered AGAIN */
	bool full;		    /* the node refuses new data */
	uint32_t identity;	    /* the node says that it is this one; 0: new */
	char hold[32];		    /* the first read of such a key waits till this is empty */
	unsigned let_pass;	    /* so many of them do not wait */
	char hold_then[32];	    /* this from when a transaction's answer is dropped */
	bool held;		    /* it does */
	int lost_of;		    /* the last question was for that partition */
	unsigned few;		    /* 1: it tells of one partition at a time; 2: of all, always */
	unsigned asked_parts;	    /* so often */
	bool stands;		    /* partition 2 needs bytes that nobody has */
	unsigned given_up, without; /* they were given up, without so many nodes */
	bool urgent;		    /* copies of partition 2 are fed beyond the limit */
	uint64_t known;		    /* what the last FLOOR or TRIM said of part/ */
	uint64_t snap_gen;	    /* of it */
	unsigned floor_gateways;    /* floors of gateways */
	bool hold_floor;	    /* these are answered AGAIN */
	bool floor_lives;	    /* the gateway was heard of until then */
	uint64_t floor_incarnation;
	struct {
		enum rig_gw_mode mode;
		bool live; /* the node has a live session of it */
		unsigned stopped, released, vetoes;
		unsigned stopped_at_floor, floors_at_release;
	} gw[RIG_GATEWAYS];
};
static struct seen *seen;

/* Addresses of this run alone: another check may be running on the machine. */
static char rig_catalog[32], rig_node[32], rig_nobody[32];

static inline void rig_init(void)
{
	unsigned p = (unsigned)getpid();

	snprintf(rig_catalog, sizeof(rig_catalog), "127.%u.%u.%u:13431", 16 + (p >> 14 & 127),
		 1 + (p >> 7 & 127), 1 + (p & 127));
	snprintf(rig_node, sizeof(rig_node), "%.*s13432", (int)strlen(rig_catalog) - 5,
		 rig_catalog);
	snprintf(rig_nobody, sizeof(rig_nobody), "%.*s13433", (int)strlen(rig_catalog) - 5,
		 rig_catalog);
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED)
		exit(2);
}

/* ---- the child ---- */

static struct vms_net *cnet, *nnet;
static struct vms_cat_server *srv;
static struct vms_admin admin;

static int cs_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	if (m->type == VMS_MSG_CAT_TXN && seen->drop_txn_answer && !--seen->drop_txn_answer) {
		memcpy(seen->hold, seen->hold_then, sizeof(seen->hold));
		vms_net_close(cnet, conn);
		return 0;
	}
	return vms_net_send(cnet, conn, m);
}
static void cs_close(void *ctx, uint64_t conn)
{
	vms_net_close(cnet, conn);
}
static void on_accepted(void *ctx, vms_net_conn c, const char *peer)
{
	if (!ctx)
		vms_cat_server_accept(srv, c);
}
static void on_connected(void *ctx, vms_net_conn c)
{
}
static void on_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	if (!ctx)
		vms_cat_server_down(srv, c);
}
/* The request that waits: all it has is a key or prefix. */
static struct {
	struct vms_msg m;
	vms_net_conn conn;
	uint8_t body[512];
} waits;

static bool cat_hold(vms_net_conn c, const struct vms_msg *m)
{
	if (!seen->hold[0] || seen->held ||
	    (m->type != VMS_MSG_CAT_GET && m->type != VMS_MSG_CAT_RANGE) ||
	    m->body_bytes > sizeof(waits.body) ||
	    !memmem(m->body, m->body_bytes, seen->hold, strlen(seen->hold)))
		return false;
	if (seen->let_pass) {
		seen->let_pass--;
		return false;
	}
	waits.m = *m;
	waits.conn = c;
	memcpy(waits.body, m->body, m->body_bytes);
	waits.m.body = waits.body;
	seen->held = true;
	return true;
}

static void cat_release(void)
{
	if (!seen->held || seen->hold[0])
		return;
	seen->held = false;
	vms_cat_server_msg(srv, waits.conn, &waits.m, vms_clock_ms());
}

static void cat_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct vms_msg other = *m;
	uint8_t body[512];
	uint8_t *at;

	if (cat_hold(c, m))
		return;
	/* as a stale read would: another key is looked up */
	if (m->type == VMS_MSG_CAT_GET && seen->hide_branches && m->body_bytes <= sizeof(body)) {
		memcpy(body, m->body, m->body_bytes);
		other.body = body;
		at = memmem(body, m->body_bytes, "branch/", 7);
		if (at) {
			*at = 'B';
			seen->hide_branches--;
		}
	}
	vms_cat_server_msg(srv, c, &other, vms_clock_ms());
}
static int n_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(nnet, conn, m);
}
static int n_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		  struct vms_errmsg *msg)
{
	if (!strcmp(call, "sessions")) {
		*answer = json_array();
		for (int i = 0; i < RIG_GATEWAYS; i++)
			json_array_append_new(*answer, json_pack("{si si sb sb}", "gateway", i,
								 "incarnation", 1, "live",
								 (int)seen->gw[i].live, "connected",
								 (int)seen->gw[i].live));
		return 0;
	}
	if (!strcmp(call, "identity")) {
		*answer = json_pack(
			"{ss ss sb sI ss sI}", "name", "n", "address", rig_node, "joined",
			(int)(seen->identity != 0), "node", (json_int_t)seen->identity, "cluster",
			"00000000-0000-0000-0000-000000000000", "weight", (json_int_t)100);
		return 0;
	}
	if (!strcmp(call, "partitions") && seen->few) {
		uint32_t from = (uint32_t)json_integer_value(json_object_get(req, "from"));
		json_int_t max = json_integer_value(json_object_get(req, "max"));

		seen->asked_parts++;
		*answer = json_array();
		for (uint32_t p = seen->few > 1 ? 0 : from; max && p < 4; p++)
			if (json_array_size(*answer) < 1 || seen->few > 1)
				json_array_append_new(
					*answer, json_pack("{si ss ss sI}", "number", (int)p,
							   "state", "active", "text", "healthy",
							   "live_chunks", (json_int_t)p + 1));
		return 0;
	}
	if (!strcmp(call, "partitions")) {
		*answer = json_pack(
			"[{si ss ss sb sI s[{sI sb}]}]", "number", 2, "state", "active", "text",
			seen->stands ? "stands: no node …; writes wait" : "healthy", "bytes_wait",
			(int)seen->stands, "bytes_seq", (json_int_t)4711, "learners", "done_bytes",
			(json_int_t)0, "urgent", (int)seen->urgent);
		return 0;
	}
	if (!strcmp(call, "lost")) {
		json_t *of = json_object_get(req, "of");

		seen->lost_of = of ? (int)json_integer_value(of) : -1;
		if (json_object_get(req, "partition")) {
			if (!seen->stands)
				return vms_fail(msg, VMS_E_NOENT, "it does not stand");
			seen->given_up += json_integer_value(json_object_get(req, "record")) ==
					  4711;
			seen->without = (unsigned)json_array_size(json_object_get(req, "without"));
			seen->stands = false;
		}
		*answer = json_pack("{so s[] sI}", "partitions", json_array(), "away", "given_up",
				    (json_int_t)seen->given_up);
		if (seen->stands)
			json_array_append_new(json_object_get(*answer, "partitions"),
					      json_pack("{sI sI ss ss s[{sI sI sI sI sI}]}",
							"partition", (json_int_t)2, "record",
							(json_int_t)4711, "state", "stands", "why",
							"", "chunks", "branch", (json_int_t)7,
							"snap_gen", (json_int_t)2, "extent",
							(json_int_t)1, "chunk", (json_int_t)3,
							"lost_sectors", (json_int_t)0xb0));
		return 0;
	}
	*answer = json_pack("{ss s{sI sI s{sI sI sI} sI} s{sI sI ss}}", "state", "running", "core",
			    "partitions_active", (json_int_t)4, "partitions_bytes_wait",
			    (json_int_t)seen->stands, "yield", "step",
			    (json_int_t)(seen->yields ? 2 : 0), "steps", (json_int_t)6, "seconds",
			    (json_int_t)seen->yields, "container_numbers_permille",
			    (json_int_t)seen->numbers, "space", "container_chunks", (json_int_t)2,
			    "free_bytes", (json_int_t)808, "state", seen->full ? "full" : "ok");
	return 0;
}
static void node_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct vms_msg re;
	int *fail = m->type == VMS_MSG_TRIM ? &seen->fail_trim : &seen->fail_floor;

	if (vms_admin_msg(&admin, c, m, true))
		return;
	vms_msg_reply_init(&re, m, *fail);
	seen->known = m->sequence;
	if (m->type == VMS_MSG_TRIM) {
		seen->trims++;
		if (seen->hold_trim)
			re.status = VMS_E_AGAIN;
		seen->extent = m->extent;
		seen->aux = m->aux;
		seen->trims_before_floor += !seen->floors;
	} else if (m->type == VMS_MSG_FLOOR && !m->branch) {
		seen->floor_gateways++;
		if (seen->hold_floor)
			re.status = VMS_E_AGAIN;
		re.aux = seen->floor_lives;
		seen->floor_incarnation = m->incarnation;
	} else if (m->type == VMS_MSG_FLOOR) {
		seen->floors++;
		seen->lun_fence = m->lun_fence;
		seen->snap_gen = m->snap_gen;
		seen->settled = m->flags & VMS_F_FUA;
		for (int i = 0; i < RIG_GATEWAYS; i++)
			seen->gw[i].stopped_at_floor = seen->gw[i].stopped;
	} else {
		re.status = VMS_E_UNSUPPORTED;
	}
	seen->branch = m->branch;
	*fail = 0;
	vms_net_send(nnet, c, &re);
}

static void poll_node(void *arg)
{
	vms_net_poll(nnet, 0);
}

static void catalog_and_node(void)
{
	struct vms_net_handler ch = {NULL, on_accepted, on_connected, on_closed, cat_frame};
	struct vms_net_handler nh = {&nh, on_accepted, on_connected, on_closed, node_frame};
	struct vms_cat_server_sink sink = {NULL, cs_send, cs_close};
	struct vms_cat_engine eng;
	struct vms_errmsg e;

	admin = (struct vms_admin){
		.role = VMS_ROLE_NODE, .name = "n1", .call = n_call, .send = n_send};
	cnet = vms_net_new(&ch, 0);
	nnet = vms_net_new(&nh, 0);
	if (vms_cat_engine_mem_open(&eng) || vms_net_listen(cnet, rig_catalog, &e) ||
	    vms_net_listen(nnet, rig_node, &e)) {
		fprintf(stderr, "tool_rig: %s\n", e.text);
		_exit(1);
	}
	srv = vms_cat_server_new(&eng, &sink);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	vms_net_watch_fd(cnet, vms_net_fd(nnet), poll_node, NULL);
	for (;;) {
		vms_net_poll(cnet, 50);
		cat_release();
		vms_net_flush(cnet);
		vms_net_flush(nnet);
	}
}

/* ---- the parent ---- */

static struct tool t;
static struct vms_errmsg e;
static pid_t pid, gw_pid[RIG_GATEWAYS];

/* Partition `p` is led by node `id` from now on. */
static inline void lead(struct tool *by, uint32_t p, uint32_t id, uint64_t epoch)
{
	struct vms_part_conf pc = {
		.epoch = epoch, .primary = id, .nmembers = 1, .member = {{id, 0}}};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {key, vms_cat_part_encode(&pc), 0};

	vms_cat_key_part(key, p);
	(void)tool_txn(by, NULL, 0, &op, 1, NULL);
	free((char *)op.val);
}

/* After ms, or when `trims` TRIMs have been seen, node 1 leads it, by another process. */
static inline pid_t lead_later(uint32_t p, uint32_t ms, unsigned trims)
{
	pid_t child = fork();
	struct tool own;

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (tool_open(&own, "planner", "/dev/null", rig_catalog, NULL))
		_exit(1);
	for (uint64_t t0 = vms_clock_ms(); trims ? seen->trims < trims : vms_clock_ms() - t0 < ms;)
		tool_wait(&own, 1);
	lead(&own, p, 1, 9);
	seen->hold_trim = false;
	_exit(0);
}

static void put(const char *key, char *val)
{
	struct vms_cat_op op = {key, val, 0};

	CU_ASSERT_EQUAL(tool_txn(&t, NULL, 0, &op, 1, &e), 0);
	free(val);
}

static void begin(unsigned members)
{
	struct vms_cat_cluster c = {.part_bits = 2,
				    .copies = 1,
				    .min_copies = 1,
				    .timing_factor = 1,
				    .next_branch = 7,
				    .next_node = 2,
				    .next_gateway = 1};
	struct vms_cat_node n = {.id = 1, .name = "n1", .weight = 100};
	struct vms_part_conf pc = {.epoch = 1, .primary = 1, .nmembers = 1, .member = {{1, 0}}};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(n.address, sizeof(n.address), "%s", rig_node);
	memset(seen, 0, sizeof(*seen));
	pid = fork();
	if (!pid)
		catalog_and_node();
	CU_ASSERT_EQUAL_FATAL(tool_open(&t, "test", "/dev/null", rig_catalog, &e), 0);
	put("cluster", vms_cat_cluster_encode(&c));
	put("node/00000001", vms_cat_node_encode(&n));
	for (uint32_t p = 0; p < members; p++) {
		vms_cat_key_part(key, p);
		put(key, vms_cat_part_encode(&pc));
	}
}

static void end(void)
{
	tool_close(&t);
	for (int i = 0; i < RIG_GATEWAYS; i++)
		if (gw_pid[i]) {
			kill(gw_pid[i], SIGKILL);
			waitpid(gw_pid[i], NULL, 0);
			gw_pid[i] = 0;
		}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static inline struct vms_cat_volume create(const char *name, uint64_t size)
{
	struct vms_cat_volume v;

	CU_ASSERT_EQUAL(volume_create(&t, name, size, VMS_ACK_MEMORY, &v, &e), 0);
	return v;
}

static inline struct vms_cat_volume look(const char *name)
{
	struct volume_view v;

	CU_ASSERT_EQUAL(volume_load(&t, name, &v, &e), 0);
	volume_free(&v);
	return v.v;
}

static inline size_t count(const char *prefix)
{
	struct tool_kvs kv;
	size_t n;

	CU_ASSERT_EQUAL(tool_range(&t, prefix, &kv, &e), 0);
	n = kv.n;
	tool_kvs_free(&kv);
	return n;
}

static inline void open_by(uint64_t branch, bool open)
{
	struct vms_cat_open o = {.id = branch, .gateway = 3, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_open(key, branch, 3);
	put(key, open ? vms_cat_open_encode(&o) : NULL);
}

/* ---- gateways ---- */

static void gw_ack(struct tool *gt, const struct vms_cat_volume *v, unsigned id, uint8_t state)
{
	struct vms_cat_ack a = {.id = v->id,
				.gateway = id,
				.incarnation = 1,
				.barrier_id = v->barrier_id,
				.state = state};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op = {key, vms_cat_ack_encode(&a), 0};

	vms_cat_key_ack(key, v->id, id);
	(void)tool_txn(gt, NULL, 0, &op, 1, NULL);
	free((char *)op.val);
}

static void gateway(unsigned id, const char *volume)
{
	char okey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op gone = {okey, NULL, 0};
	uint64_t stopped = 0, vetoed = 0;
	struct tool gt;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (tool_open(&gt, "gateway", "/dev/null", rig_catalog, NULL))
		_exit(1);
	for (;; tool_wait(&gt, 1)) {
		enum rig_gw_mode mode = seen->gw[id].mode;
		struct volume_view v;

		if (volume_load(&gt, volume, &v, NULL) || mode == RIG_GW_SILENT) {
			volume_free(&v);
			continue;
		}
		volume_free(&v);
		if (v.v.barrier == VMS_BARRIER_STOP && stopped != v.v.barrier_id &&
		    vetoed != v.v.barrier_id) {
			if (mode == RIG_GW_CLOSES) {
				vms_cat_key_open(okey, v.v.id, id);
				(void)tool_txn(&gt, NULL, 0, &gone, 1, NULL);
				pause();
			}
			if (mode == RIG_GW_VETO_ONCE && !vetoed) {
				vetoed = v.v.barrier_id;
				seen->gw[id].vetoes++;
				gw_ack(&gt, &v.v, id, VMS_ACK_VETO);
				continue;
			}
			stopped = v.v.barrier_id;
			seen->gw[id].stopped++;
			gw_ack(&gt, &v.v, id, VMS_ACK_STOPPED);
			if (mode == RIG_GW_DIES) {
				vms_cat_key_open(okey, v.v.id, id);
				(void)tool_txn(&gt, NULL, 0, &gone, 1, NULL);
				pause();
			}
		}
		if (v.v.barrier == VMS_BARRIER_RELEASE && stopped == v.v.barrier_id) {
			stopped = 0;
			seen->gw[id].released++;
			seen->gw[id].floors_at_release = seen->floors;
			gw_ack(&gt, &v.v, id, VMS_ACK_RELEASED);
		}
	}
}

/* Gateway `id` has the volume open. */
static inline void gateway_start(unsigned id, const struct vms_cat_volume *v, enum rig_gw_mode mode)
{
	struct vms_cat_open o = {.id = v->id, .gateway = id, .incarnation = 1};
	struct vms_cat_gateway g = {.id = id, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(g.name, sizeof(g.name), "g%u", id);
	vms_cat_key_gateway(key, id);
	put(key, vms_cat_gateway_encode(&g));
	vms_cat_key_open(key, v->id, id);
	put(key, vms_cat_open_encode(&o));
	seen->gw[id].mode = mode;
	seen->gw[id].live = true;
	gw_pid[id] = fork();
	if (!gw_pid[id])
		gateway(id, v->name);
}

#endif
