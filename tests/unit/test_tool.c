// SPDX-License-Identifier: GPL-2.0-only
/* What vmstore does with volumes, against a catalog and a storage node that a
 * child process plays: each step is counted, each can be made to fail. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/cat_server.h"
#include "tests/unit/cunit.h"
#include "utils/tool/volume.h"

#define CATALOG "127.0.3.1:13431"
#define NODE	"127.0.3.1:13432"

/* Shared with the child. */
struct seen {
	unsigned floors, trims, trims_before_floor;
	uint64_t branch, lun_fence;
	uint32_t extent, aux;
	int fail_floor, fail_trim; /* answer the next one with this */
	bool drop_txn_answer;	   /* close instead of answering the next txn */
};
static struct seen *seen;

/* ---- the child ---- */

static struct vms_net *cnet, *nnet;
static struct vms_cat_server *srv;
static struct vms_admin admin;

static int cs_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	if (m->type == VMS_MSG_CAT_TXN && seen->drop_txn_answer) {
		seen->drop_txn_answer = false;
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
static void cat_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	vms_cat_server_msg(srv, c, m, vms_clock_ms());
}
static int n_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(nnet, conn, m);
}
static int n_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		  struct vms_errmsg *msg)
{
	*answer = json_pack("{ss s{sI} s{sI sI}}", "state", "running", "core", "partitions_active",
			    (json_int_t)4, "space", "container_chunks", (json_int_t)2, "free_bytes",
			    (json_int_t)808);
	return 0;
}
static void node_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct vms_msg re;
	int *fail = m->type == VMS_MSG_TRIM ? &seen->fail_trim : &seen->fail_floor;

	if (vms_admin_msg(&admin, c, m, true))
		return;
	vms_msg_reply_init(&re, m, *fail);
	if (m->type == VMS_MSG_TRIM) {
		seen->trims++;
		seen->extent = m->extent;
		seen->aux = m->aux;
		seen->trims_before_floor += !seen->floors;
	} else if (m->type == VMS_MSG_FLOOR) {
		seen->floors++;
		seen->lun_fence = m->lun_fence;
	} else {
		re.status = VMS_E_UNSUPPORTED;
	}
	seen->branch = m->branch;
	*fail = 0;
	vms_net_send(nnet, c, &re);
}

static void child(void)
{
	struct vms_net_handler ch = {NULL, on_accepted, on_connected, on_closed, cat_frame};
	struct vms_net_handler nh = {&nh, on_accepted, on_connected, on_closed, node_frame};
	struct vms_cat_server_sink sink = {NULL, cs_send, cs_close};
	struct vms_cat_engine eng;
	struct vms_errmsg e;

	admin = (struct vms_admin){.role = VMS_ROLE_NODE, .name = "n1", .call = n_call,
				   .send = n_send};
	cnet = vms_net_new(&ch, 0);
	nnet = vms_net_new(&nh, 0);
	if (vms_cat_engine_mem_open(&eng) || vms_net_listen(cnet, CATALOG, &e) ||
	    vms_net_listen(nnet, NODE, &e)) {
		fprintf(stderr, "test_tool: %s\n", e.text);
		_exit(1);
	}
	srv = vms_cat_server_new(&eng, &sink);
	while (getppid() != 1) {
		vms_net_poll(cnet, 2);
		vms_net_flush(cnet);
		vms_net_poll(nnet, 2);
		vms_net_flush(nnet);
	}
	_exit(0);
}

/* ---- the parent ---- */

static struct tool t;
static struct vms_errmsg e;
static pid_t pid;

static void put(const char *key, char *val)
{
	struct vms_cat_op op = {key, val, 0};

	CU_ASSERT_EQUAL(tool_txn(&t, NULL, 0, &op, 1, &e), 0);
	free(val);
}

static void begin(unsigned members)
{
	struct vms_cat_cluster c = {.part_bits = 2, .copies = 1, .min_copies = 1,
				    .timing_factor = 1, .next_branch = 7, .next_node = 2,
				    .next_gateway = 1};
	struct vms_cat_node n = {.id = 1, .name = "n1", .address = NODE, .weight = 100};
	struct vms_part_conf pc = {.epoch = 1, .primary = 1, .nmembers = 1, .member = {{1, 0}}};
	char key[VMS_CAT_KEY_BYTES_MAX];

	memset(seen, 0, sizeof(*seen));
	pid = fork();
	if (!pid)
		child();
	CU_ASSERT_EQUAL_FATAL(tool_open(&t, "test", "/dev/null", CATALOG, &e), 0);
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
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct vms_cat_volume create(const char *name, uint64_t size)
{
	struct vms_cat_volume v;

	CU_ASSERT_EQUAL(volume_create(&t, name, size, VMS_ACK_MEMORY, &v, &e), 0);
	return v;
}

static struct vms_cat_volume look(const char *name)
{
	struct volume_view v;

	CU_ASSERT_EQUAL(volume_load(&t, name, &v, &e), 0);
	volume_free(&v);
	return v.v;
}

static void open_by(uint64_t branch, bool open)
{
	struct vms_cat_open o = {.id = branch, .gateway = 3, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_open(key, branch, 3);
	put(key, open ? vms_cat_open_encode(&o) : NULL);
}

static void create_gives_identity_and_counts_branches(void)
{
	struct vms_cat_volume a, b;
	struct view v;

	begin(4);
	a = create("a", 1u << 20);
	b = create("pool/b", 4096);
	CU_ASSERT(a.branch == 7 && b.branch == 8 && a.lineage == 7);
	CU_ASSERT(memcmp(a.uuid, b.uuid, 16));
	CU_ASSERT(look("a").write_ack == VMS_ACK_MEMORY);
	CU_ASSERT_EQUAL(volume_create(&t, "a", 4096, 0, &b, &e), VMS_E_EXIST);
	CU_ASSERT_EQUAL(volume_create(&t, "c", 1000, 0, &b, &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(volume_create(&t, "-c", 4096, 0, &b, &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(view_load(&t, &v, &e), 0);
	CU_ASSERT(v.cluster.has_data && v.cluster.next_branch == 9 && v.volumes.n == 2);
	view_free(&v);
	end();
}

static void create_needs_a_whole_ring(void)
{
	struct vms_cat_volume v;

	begin(3);
	CU_ASSERT_EQUAL(volume_create(&t, "a", 4096, 0, &v, &e), VMS_E_AGAIN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "vmstore-ring join"));
	end();
}

static void a_lost_answer_creates_no_second_volume(void)
{
	struct vms_cat_volume v;

	begin(4);
	seen->drop_txn_answer = true;
	v = create("a", 4096);
	CU_ASSERT(v.branch == 7 && !memcmp(look("a").uuid, v.uuid, 16));
	end();
}

static void delete_fences_trims_and_forgets(void)
{
	struct volume_view v;
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", &e), 0);
	CU_ASSERT(seen->floors == 1 && seen->trims == 1 && !seen->trims_before_floor);
	CU_ASSERT(seen->branch == a.branch && seen->lun_fence == a.lun_fence + 1);
	CU_ASSERT(seen->extent == 0 && seen->aux == 0);
	CU_ASSERT_EQUAL(volume_load(&t, "a", &v, &e), VMS_E_NOENT);
	volume_free(&v);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", &e), VMS_E_NOENT);
	/* the number is not used again */
	CU_ASSERT_EQUAL(create("a", 4096).branch, a.branch + 1);
	end();
}

static void delete_is_refused_while_open(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	open_by(a.branch, true);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", &e), VMS_E_OPEN);
	CU_ASSERT(look("a").state == VOLUME_READY && !seen->trims);
	open_by(a.branch, false);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", &e), 0);
	end();
}

static void delete_goes_on_where_it_stopped(void)
{
	struct vms_cat_volume v;

	begin(4);
	create("a", 1u << 20);
	seen->fail_trim = VMS_E_BUSY;
	CU_ASSERT_EQUAL(volume_delete(&t, "a", &e), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "again"));
	CU_ASSERT_EQUAL(look("a").state, VOLUME_DELETING);
	CU_ASSERT_EQUAL(volume_create(&t, "a", 4096, 0, &v, &e), VMS_E_EXIST);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", &e), 0);
	CU_ASSERT(seen->floors == 2 && seen->trims == 2);
	end();
}

static void grow_touches_no_node(void)
{
	uint64_t old;

	begin(4);
	create("a", 1u << 20);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 2u << 20, false, &old, &e), 0);
	CU_ASSERT(old == 1u << 20 && look("a").size_bytes == 2u << 20 && !seen->trims);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 4095, false, &old, &e), VMS_E_INVAL);
	open_by(look("a").branch, true);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 3u << 20, false, &old, &e), VMS_E_OPEN);
	end();
}

static void shrink_cuts_at_the_new_end(void)
{
	uint64_t old, size = (9u << 20) + 3 * 4096; /* in extent 2, chunk 259 */
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 64u << 20);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", size, false, &old, &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "--allow-shrink"));
	CU_ASSERT_EQUAL(look("a").size_bytes, 64u << 20);
	seen->fail_trim = VMS_E_IO;
	CU_ASSERT_EQUAL(volume_resize(&t, "a", size, true, &old, &e), VMS_E_IO);
	CU_ASSERT_EQUAL(look("a").state, VOLUME_SHRINKING);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", size, true, &old, &e), 0);
	CU_ASSERT(seen->extent == 2 && seen->aux == 259);
	CU_ASSERT_EQUAL(seen->lun_fence, a.lun_fence + 1);
	CU_ASSERT(look("a").state == VOLUME_READY && look("a").size_bytes == size);
	/* growing again after an unfinished shrink first finishes it */
	seen->fail_trim = VMS_E_IO;
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 4096, true, &old, &e), VMS_E_IO);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 64u << 20, false, &old, &e), 0);
	CU_ASSERT(seen->extent == 0 && seen->aux == 1 && look("a").size_bytes == 64u << 20);
	end();
}

static void health_follows_the_nodes(void)
{
	struct view_health h;
	struct view v;

	begin(4);
	CU_ASSERT_EQUAL(view_load(&t, &v, &e), 0);
	view_health(&v, &h);
	CU_ASSERT_STRING_EQUAL(view_health_word(&v, &h), "down"); /* nobody asked yet */
	view_ask_nodes(&t, &v);
	view_health(&v, &h);
	CU_ASSERT_STRING_EQUAL(view_health_word(&v, &h), "ok");
	CU_ASSERT(h.complete == 4 && h.used_bytes == 8192 && h.total_bytes == 9000);
	v.nodes.d[0].up = false;
	view_health(&v, &h);
	CU_ASSERT(h.down == 4 && h.complete == 0);
	view_free(&v);
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(create_gives_identity_and_counts_branches),
	VMS_TEST(create_needs_a_whole_ring),
	VMS_TEST(a_lost_answer_creates_no_second_volume),
	VMS_TEST(delete_fences_trims_and_forgets),
	VMS_TEST(delete_is_refused_while_open),
	VMS_TEST(delete_goes_on_where_it_stopped),
	VMS_TEST(grow_touches_no_node),
	VMS_TEST(shrink_cuts_at_the_new_end),
	VMS_TEST(health_follows_the_nodes),
};

int main(void)
{
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED)
		return 2;
	return vms_test_main_("utils/tool", tests, sizeof(tests) / sizeof(tests[0]));
}
