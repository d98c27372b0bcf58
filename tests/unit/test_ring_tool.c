// SPDX-License-Identifier: GPL-2.0-only
/* The commands of vmstore-ring that change the ring, against a catalog and a storage
 * node that a child process plays: what they write, and what they refuse. */
#include <fcntl.h>

#include "tests/unit/tool_rig.h"
#include "utils/tool/cmds.h"
#include "utils/tool/ring.h"
#include "utils/tool/ring_cmds.h"

#define ARGS_MAX 12

static char said[16384]; /* by the last command, stderr too */

/* Runs a command as the program would; its exit code. */
static int run_args(const struct cmd *cmd, int argc, char **argv)
{
	char path[64], name[] = "/tmp/test_ring_tool.XXXXXX";
	int code, out, err, f;
	struct cmd_call c;
	ssize_t n;

	snprintf(path, sizeof(path), "vmstore-ring %s", cmd->name);
	c = (struct cmd_call){.t = &t, .cmd = cmd, .path = path, .argc = argc, .argv = argv};
	f = mkstemp(name);
	CU_ASSERT_FATAL(f >= 0);
	unlink(name);
	fflush(stdout);
	fflush(stderr);
	out = dup(1);
	err = dup(2);
	dup2(f, 1);
	dup2(f, 2);
	code = cmd->run(&c);
	fflush(stdout);
	fflush(stderr);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	n = pread(f, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = 0;
	close(f);
	return code;
}

static int run(const struct cmd *cmd, ...)
{
	char *argv[ARGS_MAX + 1] = {(char *)cmd->name};
	int argc = 1;
	va_list ap;

	va_start(ap, cmd);
	while (argc < ARGS_MAX && (argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	return run_args(cmd, argc, argv);
}

/* vmstore volume create and so on. */
static const struct cmd *leaf(const struct cmd *of, const char *name)
{
	for (const struct cmd *const *s = of->sub; *s; s++)
		if (!strcmp((*s)->name, name))
			return *s;
	CU_FAIL_FATAL("no such command");
	return NULL;
}

static struct view look_at(void)
{
	struct view v;

	CU_ASSERT_EQUAL_FATAL(view_load(&t, &v, &e), 0);
	return v;
}

static uint8_t state_of(uint32_t id)
{
	struct view v = look_at();
	struct view_node *x = view_node(&v, id);
	uint8_t s = x ? x->n.state : 0;

	view_free(&v);
	return s;
}

static uint64_t cluster_revision(void)
{
	struct view v = look_at();
	uint64_t r = v.cluster_revision;

	view_free(&v);
	return r;
}

static uint32_t down; /* bits: nodes that do not run */

/* Nodes 1 to n, copies of partition p on nodes p + 1 and those behind it. */
static void nodes(unsigned n, unsigned copies, bool has_data)
{
	struct vms_cat_cluster c = {.part_bits = 2,
				    .copies = copies,
				    .min_copies = 1,
				    .timing_factor = 1,
				    .next_branch = 7,
				    .next_node = n + 1,
				    .next_gateway = 1,
				    .has_data = has_data};
	char key[VMS_CAT_KEY_BYTES_MAX];

	begin(0);
	put("cluster", vms_cat_cluster_encode(&c));
	for (uint32_t i = 1; i <= n; i++) {
		struct vms_cat_node x = {
			.id = i, .weight = 100, .incarnation = 1, .state = VMS_NODE_IN};

		snprintf(x.name, sizeof(x.name), "n%u", i);
		snprintf(x.address, sizeof(x.address), "%s", down >> i & 1 ? rig_nobody : rig_node);
		vms_cat_key_node(key, i);
		put(key, vms_cat_node_encode(&x));
	}
	for (uint32_t p = 0; p < 4; p++) {
		struct vms_part_conf pc = {.epoch = 1, .nmembers = copies};

		for (uint32_t k = 0; k < copies; k++)
			pc.member[k].node = (p + k) % n + 1;
		pc.primary = pc.member[0].node;
		vms_cat_key_part(key, p);
		put(key, vms_cat_part_encode(&pc));
	}
}

static void members(uint32_t p, uint32_t a, uint32_t b)
{
	struct vms_part_conf pc = {
		.epoch = 2, .primary = a, .nmembers = b ? 2 : 1, .member = {{a, 1}, {b, 1}}};
	char key[VMS_CAT_KEY_BYTES_MAX];

	vms_cat_key_part(key, p);
	put(key, vms_cat_part_encode(&pc));
}

/* ---- tests ---- */

/* A node may be called as another one is numbered. */
static void a_name_that_is_a_number_is_not_guessed(void)
{
	struct view view = {.nodes = VMS_VEC_INIT};
	struct vms_errmsg e = {""};

	*VMS_VEC_ADD(&view.nodes) = (struct view_node){.n = {.id = 1, .name = "2"}};
	*VMS_VEC_ADD(&view.nodes) = (struct view_node){.n = {.id = 2, .name = "b"}};
	*VMS_VEC_ADD(&view.nodes) = (struct view_node){.n = {.id = 3, .name = "3"}};
	CU_ASSERT_PTR_NULL(ring_node(&view, "2", &e));
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "which one? Say 1"));
	CU_ASSERT_EQUAL(ring_node(&view, "1", &e)->n.id, 1);
	CU_ASSERT_EQUAL(ring_node(&view, "b", &e)->n.id, 2);
	CU_ASSERT_EQUAL(ring_node(&view, "3", &e)->n.id, 3);
	CU_ASSERT_PTR_NULL(ring_node(&view, "4", &e));
	VMS_VEC_FREE(&view.nodes);
}

static void leaving_is_refused_when_too_few_nodes_remain(void)
{
	nodes(3, 2, true);
	CU_ASSERT_EQUAL(run(&ring_leave, "n3", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(3), VMS_NODE_LEAVING);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "1 node would be left for 2 copies"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "vmstore-ring set --copies 1"));
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_IN);
	CU_ASSERT_EQUAL(run(&ring_leave, "2", "--no-wait", "--fewer-copies", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_LEAVING);
	/* nobody at all is never allowed */
	CU_ASSERT_EQUAL(run(&ring_drain, "n1", "--no-wait", "--fewer-copies", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_leave, "n9", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "no node 'n9'"));
	end();
}

static void the_only_copy_is_not_let_go(void)
{
	down = 1u << 3 | 1u << 4;
	nodes(4, 2, true);
	members(2, 3, 0);
	CU_ASSERT_EQUAL(run(&ring_leave, "n3", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "only copy of 1 partitions"));
	CU_ASSERT_EQUAL(
		run(&ring_leave, "n3", "--no-wait", "--fewer-copies", "--ignore-space", NULL),
		TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_give_up, "n3", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "only copy of 1 partitions (the first is 2)"));
	CU_ASSERT_EQUAL(state_of(3), VMS_NODE_IN);
	/* one that is down and has no last copy may go */
	CU_ASSERT_EQUAL(run(&ring_give_up, "n4", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(4), VMS_NODE_LEAVING);
	/* one that runs moves it away first */
	members(1, 1, 0);
	CU_ASSERT_EQUAL(run(&ring_give_up, "n1", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_leave, "n1", "--no-wait", NULL), TOOL_OK);
	end();
	/* all that have it are down: each of them counts */
	down = 1u << 2 | 1u << 3;
	nodes(4, 2, true);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_give_up, "n3", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "(the first is 1)"));
	down = 0;
	end();
}

static void a_lost_answer_changes_it_once(void)
{
	struct view v;

	nodes(4, 2, true);
	seen->drop_txn_answer = 1;
	CU_ASSERT_EQUAL(run(&ring_drain, "n2", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_DRAINED);
	CU_ASSERT_EQUAL(run(&ring_undrain, "n2", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_IN);
	CU_ASSERT_EQUAL(run(&ring_reweight, "n2", "300", "n3", "50", "--no-wait", NULL), TOOL_OK);
	v = look_at();
	CU_ASSERT(view_node(&v, 2)->n.weight == 300 && view_node(&v, 3)->n.weight == 50);
	view_free(&v);
	CU_ASSERT_EQUAL(run(&ring_reweight, "n2", "0", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_reweight, "n3", "50", "n2", "abc", "--no-wait", NULL),
			TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_zone, "n2", "\377", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_reweight, "n2", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_zone, "n2", "rack 1", "n3", "-", "--no-wait", NULL), TOOL_OK);
	v = look_at();
	CU_ASSERT_STRING_EQUAL(view_node(&v, 2)->n.zone, "rack 1");
	view_free(&v);
	end();
}

static void cancel_takes_it_back(void)
{
	nodes(4, 2, true);
	CU_ASSERT_EQUAL(run(&ring_cancel, "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", "n3", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_cancel, "n3", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT(state_of(2) == VMS_NODE_LEAVING && state_of(3) == VMS_NODE_IN);
	CU_ASSERT_EQUAL(run(&ring_undrain, "n2", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_cancel, "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_IN);
	CU_ASSERT_EQUAL(run(&ring_cancel, "n2", "--no-wait", NULL), TOOL_FAILED);
	end();
}

static void a_dry_run_changes_nothing(void)
{
	uint64_t before;

	nodes(4, 2, true);
	before = cluster_revision();
	CU_ASSERT_EQUAL(run(&ring_leave, "n4", "--dry-run", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "3", "--dry-run", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_join, "--dry-run", rig_nobody, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "nothing answers at"));
	CU_ASSERT_EQUAL(run(&ring_leave, "n4", "n3", "n2", "--dry-run", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_plan, NULL), TOOL_OK);
	CU_ASSERT_EQUAL(cluster_revision(), before);
	end();
}

static void a_dry_run_counts_what_moves(void)
{
	struct ring_moves m;
	struct ring r;
	struct view v;
	uint32_t gets = 0, gives = 0;

	nodes(4, 2, true);
	CU_ASSERT_EQUAL_FATAL(ring_load(&t, &r, &e), 0);
	ring_ask(&t, &r);
	for (uint32_t p = 0; p < 4; p++)
		r.part[p].bytes = 1 << 20;
	v = look_at();
	view_node(&v, 4)->n.state = VMS_NODE_LEAVING;
	CU_ASSERT_EQUAL(ring_moves(&r, &v, &m, &e), 0);
	VMS_VEC_FOREACH (&m.nodes, x) {
		gets += x->gets;
		gives += x->gives;
		CU_ASSERT(x->node != 4 || (x->gives == 2 && !x->gets));
	}
	CU_ASSERT(m.copies == 2 && gets == 2 && gives == 2 && m.bytes == 2 << 20);
	ring_moves_free(&m);
	view_free(&v);
	ring_free(&r);
	end();
}

/* What a node tells of all that it holds is more than a frame takes, from 9000 partitions on:
 * nothing of it came, and no command knew any more how far it was. */
static void partitions_are_asked_for_in_parts(void)
{
	struct ring r;

	for (unsigned few = 1; few <= 2; few++) {
		nodes(1, 1, true);
		seen->few = few;
		CU_ASSERT_EQUAL_FATAL(ring_load(&t, &r, &e), 0);
		ring_ask(&t, &r);
		for (uint32_t p = 0; p < 4; p++) {
			CU_ASSERT_TRUE(r.part[p].asked);
			CU_ASSERT_EQUAL(r.part[p].bytes, (p + 1) * VMS_CHUNK_BYTES);
		}
		/* all at once, as an earlier release does, is enough once */
		CU_ASSERT_EQUAL(seen->asked_parts, few == 1 ? 4 : 1);
		ring_free(&r);
		end();
	}
}

/* Nobody answers a request that was never sent: it is refused here, as what it is. */
static void a_request_that_is_too_large_is_refused(void)
{
	size_t n = VMS_FRAME_PAYLOAD_BYTES_MAX;
	char *text = malloc(n + 1);
	json_t *a = NULL;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'x', n);
	text[n] = 0;
	begin(4);
	CU_ASSERT_EQUAL(
		tool_call(&t, rig_node, "du", json_pack("{ss}", "branches", text), 5000, &a, &e),
		VMS_E_FULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "the request is larger than 4 MiB"));
	CU_ASSERT_EQUAL(tool_call(&t, rig_node, "identity", NULL, 5000, &a, &e), 0);
	json_decref(a);
	free(text);
	end();
}

static void settings_are_checked(void)
{
	struct view v;

	nodes(3, 2, true);
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "4", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "the ring has 3"));
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "6", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_set, "--min-copies", "3", "--no-wait", NULL), TOOL_FAILED);
	/* two copies are there */
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "3", "--min-copies", "3", "--no-wait", NULL),
			TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "4 of 4 partitions have fewer than 3 copies"));
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "3", "--min-copies", "2", "--rebuild-after",
			    "90s", "--move-rate", "10M", "--scrub-days", "off", "--no-wait", NULL),
			TOOL_OK);
	v = look_at();
	CU_ASSERT(v.cluster.copies == 3 && v.cluster.min_copies == 2 &&
		  v.cluster.rebuild_after_s == 90 && v.cluster.move_bytes_s == 10u << 20 &&
		  v.cluster.scrub_days == 0 && v.cluster.has_data);
	view_free(&v);
	CU_ASSERT_EQUAL(run(&ring_set, "--rebuild-after", "10ms", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_throttle, "none", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_throttle, "1K", NULL), TOOL_USAGE);
	v = look_at();
	CU_ASSERT(v.cluster.move_bytes_s == 0 && v.cluster.copies == 3);
	view_free(&v);
	CU_ASSERT_EQUAL(run(&ring_set, NULL), TOOL_OK);
	end();
}

static void without_data_the_tool_places_at_once(void)
{
	uint32_t held = 0;
	struct view v;

	nodes(3, 2, false);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(state_of(2), 0);
	v = look_at();
	for (uint32_t p = 0; p < v.nparts; p++) {
		CU_ASSERT_EQUAL(v.part[p].conf.nmembers, 2);
		CU_ASSERT_EQUAL(v.part[p].conf.nwant, 0);
		for (uint32_t k = 0; k < 2; k++)
			held += v.part[p].conf.member[k].node == 2;
	}
	CU_ASSERT_EQUAL(held, 0);
	view_free(&v);
	end();
}

static void with_data_members_are_left_alone(void)
{
	struct view v;

	nodes(4, 2, true);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", "--no-wait", NULL), TOOL_OK);
	v = look_at();
	for (uint32_t p = 0; p < v.nparts; p++)
		CU_ASSERT_EQUAL(v.part[p].conf.epoch, 1);
	view_free(&v);
	end();
}

static void waiting_ends_when_the_time_is_over(void)
{
	nodes(4, 2, true);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", "--timeout", "1", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "it goes on by itself"));
	end();
}

static bool advises(const char *risk, const char *mend)
{
	const char *at = strstr(said, risk);

	return at && strstr(at, mend);
}

/* What is wanted of a node that does not run waits for it, and is not called moving. */
static void status_tells_moving_from_waiting(void)
{
	struct vms_part_conf pc = {.epoch = 2,
				   .primary = 1,
				   .nmembers = 1,
				   .member = {{.node = 1}},
				   .nwant = 2,
				   .want = {1, 3}};

	down = 1u << 3;
	nodes(4, 2, true);
	down = 0;
	put("part/0000", vms_cat_part_encode(&pc));
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "waiting     1 copies for nodes that do not run"));
	CU_ASSERT_PTR_NULL(strstr(said, "moving "));
	pc.want[1] = 4;
	pc.epoch = 3;
	put("part/0000", vms_cat_part_encode(&pc));
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "moving      1 copies in 1 partitions"));
	CU_ASSERT_PTR_NULL(strstr(said, "waiting "));
	pc.want[0] = 3;
	pc.want[1] = 1;
	pc.epoch = 4;
	put("part/0000", vms_cat_part_encode(&pc));
	(void)run(&ring_status, "--json", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "\"waiting_copies\": 1"));
	t.json = false;
	end();
}

/* The limit for copies, and where it does not count. */
static void status_tells_the_limit(void)
{
	struct vms_part_conf pc = {.epoch = 2,
				   .primary = 1,
				   .nmembers = 1,
				   .member = {{.node = 1}},
				   .nwant = 2,
				   .want = {1, 3}};

	nodes(4, 2, true);
	put("part/0002", vms_cat_part_encode(&pc));
	CU_ASSERT_EQUAL(run(&ring_throttle, "1M", NULL), TOOL_OK);
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "(no node sends more than 1.00 MiB/s)"));
	seen->urgent = true;
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(said, "(no node sends more than 1.00 MiB/s, but for 1 urgent copies)"));
	(void)run(&ring_status, "--json", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "\"urgent_copies\": 1"));
	t.json = false;
	CU_ASSERT_EQUAL(run(&ring_throttle, "none", NULL), TOOL_OK);
	CU_ASSERT_STRING_EQUAL(said, "copying is not limited\n");
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NULL(strstr(said, "no node sends"));
	seen->urgent = false;
	end();
}

/* Why writes are slow while copies are made. */
static void status_tells_what_writes_yield_to(void)
{
	nodes(4, 2, true);
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NULL(strstr(said, "slowed"));
	seen->yields = 90;
	(void)run(&ring_status, NULL);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(said, "\nyielding    writes to n1 are slowed, so that a copy that they "
			     "outrun gets done there (step 2 of 6, for 90s)\n            writes "
			     "to n2 are slowed"));
	(void)run(&ring_status, "--json", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "\"yielding\": [\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "\"seconds\": 90"));
	t.json = false;
	(void)run(&ring_advise, NULL);
	CU_ASSERT_TRUE(
		advises("writes to node n2 have been slowed for 90s", "vmstore-ring status"));
	seen->yields = 0;
	end();
}

static void advise_names_risks(void)
{
	down = 1u << 2 | 1u << 3;
	nodes(3, 2, true);
	down = 0;
	members(1, 2, 0);
	/* partition 1 is on a node that is down, and nowhere else */
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_UNAVAILABLE);
	CU_ASSERT_TRUE(advises("node n2: down", "`systemctl start vmstored`"));
	CU_ASSERT_EQUAL(run(&ring_advise, "--json", NULL), TOOL_UNAVAILABLE);
	CU_ASSERT_TRUE(advises("\"risk\": \"node n2: down", "\"commands\": [\n"));
	CU_ASSERT_TRUE(advises("\"risk\": \"node n2: down", "\"systemctl start vmstored\""));
	t.json = false;
	CU_ASSERT_TRUE(advises("partitions cannot be reached", "doc/operations.md"));
	CU_ASSERT_TRUE(
		advises("the catalog is one process", "vmstore-ring move-catalog --to etcd:"));
	CU_ASSERT_EQUAL(run(&ring_status, NULL), TOOL_UNAVAILABLE);
	end();
}

/* Who had a node leave or be drained learns that somebody has joined it again. */
static void join_says_who_is_taken_back(void)
{
	nodes(4, 2, true);
	CU_ASSERT_EQUAL(run(&ring_leave, "n2", "--no-wait", NULL), TOOL_OK);
	seen->identity = 2;
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "node n2 was leaving: taken back, it gets its share"));
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_IN);
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_PTR_NULL(strstr(said, "taken back"));
	CU_ASSERT_EQUAL(run(&ring_drain, "n3", "--no-wait", NULL), TOOL_OK);
	seen->identity = 3;
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, "--no-wait", "--json", NULL), TOOL_OK);
	CU_ASSERT_TRUE(advises("\"taken_back\": [", "\"name\": \"n3\""));
	CU_ASSERT_TRUE(advises("\"taken_back\": [", "\"was\": \"drained\""));
	t.json = false;
	/* all nodes of this rig have one address: the last one is meant */
	CU_ASSERT_EQUAL(run(&ring_drain, "n4", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, "--dry-run", NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "node n4 was drained: taken back, it would get"));
	CU_ASSERT_EQUAL(state_of(4), VMS_NODE_DRAINED);
	end();
}

static void next_node_is(uint32_t number)
{
	struct view v = look_at();

	v.cluster.next_node = number;
	put("cluster", vms_cat_cluster_encode(&v.cluster));
	view_free(&v);
}

/* Gateways and nodes keep tables of the numbers below VMS_NODES_MAX: one above would be in
 * the ring, and no gateway would ever speak to it. */
static void join_ends_where_the_numbers_do(void)
{
	uint64_t before;

	nodes(4, 2, false);
	next_node_is(VMS_NODES_MAX - 1);
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "node 'n' becomes node 255;"));
	CU_ASSERT_EQUAL(state_of(VMS_NODES_MAX - 1), VMS_NODE_IN);
	/* what had a number already is none too many: its first answer may have been lost */
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, NULL), TOOL_OK);
	end();

	nodes(4, 2, false);
	next_node_is(VMS_NODES_MAX);
	before = cluster_revision();
	CU_ASSERT_EQUAL(run(&ring_join, rig_node, NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "all 255 numbers of nodes are given away"));
	CU_ASSERT_EQUAL(run(&ring_replace, "n2", rig_node, NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "all 255 numbers of nodes are given away"));
	CU_ASSERT_EQUAL(cluster_revision(), before);
	CU_ASSERT_EQUAL(state_of(VMS_NODES_MAX), 0);
	CU_ASSERT_EQUAL(state_of(2), VMS_NODE_IN);
	end();

	/* a plan says so too */
	nodes(4, 2, true);
	next_node_is(VMS_NODES_MAX - 1);
	CU_ASSERT_EQUAL(run(&ring_join, "--dry-run", rig_nobody, NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_join, "--dry-run", rig_nobody, "127.0.0.1:1", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "all 255 numbers of nodes are given away"));
	end();
}

static int edit_first(void *arg, struct view *v, struct vms_errmsg *msg)
{
	const unsigned *n = arg;

	for (unsigned i = 0; i < *n; i++)
		v->nodes.d[i].n.weight = 77;
	return 0;
}

/* A transaction has an end. What did not fit was left out, and called done. */
static void too_many_nodes_at_once_are_refused(void)
{
	char *many[2 + RING_CHANGE_NODES_MAX + 1 + 1] = {(char *)ring_join.name, "--no-wait"};
	unsigned n = RING_CHANGE_NODES_MAX + 1;
	uint64_t before;
	struct view v;

	nodes(n, 2, true);
	before = cluster_revision();
	CU_ASSERT_EQUAL(ring_change(&t, edit_first, &n, &e), VMS_E_FULL);
	CU_ASSERT_STRING_EQUAL(e.text, "more than 119 nodes would change at once; name fewer");
	CU_ASSERT_EQUAL(cluster_revision(), before);
	n--;
	CU_ASSERT_EQUAL(ring_change(&t, edit_first, &n, &e), 0);
	v = look_at();
	for (unsigned i = 0; i < v.nodes.n; i++)
		CU_ASSERT_EQUAL(v.nodes.d[i].n.weight, i < n ? 77 : 100);
	view_free(&v);

	/* nobody is asked, and no folder formatted, for a change that cannot be made */
	for (unsigned i = 0; i <= n; i++)
		many[2 + i] = rig_node;
	CU_ASSERT_EQUAL(run_args(&ring_join, (int)n + 3, many), TOOL_USAGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "120 nodes: at most 119 at a time"));
	end();
}

/* What can be seen to be wrong without the cluster is wrong usage; nothing is changed. */
static void values_that_cannot_be_are_wrong_usage(void)
{
	nodes(3, 2, true);
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "9", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "0", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_set, "--min-copies", "0", "--no-wait", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "4", "--no-wait", NULL), TOOL_FAILED);
	CU_ASSERT_EQUAL(run(&ring_move_catalog, "--to", "10.0.0.9", NULL), TOOL_USAGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "--to 10.0.0.9: expected etcd:HOST:PORT"));
	CU_ASSERT_EQUAL(run(leaf(&cmd_volume, "create"), "v", "--size", "1", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(leaf(&cmd_volume, "create"), "v", "--size", "17P", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(count("volume/"), 0);
	CU_ASSERT_EQUAL(run(leaf(&cmd_volume, "create"), "v", "--size", "1M", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(leaf(&cmd_volume, "resize"), "v", "1000", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "create"), "iqn.2026-01.x:t", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "set"), "iqn.2026-01.x:t", "foo=bar", NULL),
			TOOL_USAGE);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "set"), "iqn.2026-01.x:t", "redirect=maybe", NULL),
			TOOL_USAGE);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "set"), "iqn.2026-01.x:t", "state=x", NULL),
			TOOL_USAGE);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "set"), "iqn.2026-01.x:t", "redirect=on", NULL),
			TOOL_OK);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "set"), "iqn.2026-01.x:none", "redirect=on", NULL),
			TOOL_FAILED);
	CU_ASSERT_EQUAL(
		run(leaf(&cmd_target, "bind"), "iqn.2026-01.x:t", "--address", "bogus", NULL),
		TOOL_USAGE);
	CU_ASSERT_EQUAL(run(leaf(&cmd_target, "bind"), "iqn.2026-01.x:t", "--address", "ALL", NULL),
			TOOL_OK);
	end();
}

/* Gateways and commands of vmstore are told apart by who has a volume open. */
static void openers_are_named(void)
{
	struct volume_view v = {.v = {.name = "vm"}};
	char out[200];

	volume_openers_text(&v, out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "");
	snprintf(VMS_VEC_ADD(&v.openers)->gateway, sizeof(v.openers.d->gateway), "tool-h-0");
	volume_openers_text(&v, out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "in another export or import, tool-h-0");
	CU_ASSERT_EQUAL(volume_refuse_open(&v, "deleted", &e), VMS_E_OPEN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "wait until that has ended"));
	snprintf(VMS_VEC_ADD(&v.openers)->gateway, sizeof(v.openers.d->gateway), "gw1");
	snprintf(VMS_VEC_ADD(&v.openers)->gateway, sizeof(v.openers.d->gateway), "gw2");
	volume_openers_text(&v, out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out,
			       "on gateway gw1, gw2 and in another export or import, tool-h-0");
	CU_ASSERT_EQUAL(volume_refuse_open(&v, "deleted", &e), VMS_E_OPEN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "rm-lun"));
	volume_openers_text(&v, out, 20);
	CU_ASSERT_EQUAL(strlen(out), 19);
	VMS_VEC_FREE(&v.openers);
}

/* A partition that needs bytes which no node that runs has: both status commands and advise
 * name it, with who may have them, the one that ought to first. */
static void a_partition_that_stands_is_named(void)
{
	struct vms_part_conf pc = {.epoch = 2,
				   .primary = 3,
				   .nmembers = 1,
				   .member = {{.node = 3, .incarnation = 1}},
				   .nwant = 2,
				   .want = {3, 2}};
	static const char damaged[] = "partition 2: the bytes of record 4711 are damaged on n3, "
				      "and may be whole on n2, n1 (not running); its writes wait";

	down = 1u << 1 | 1u << 2;
	nodes(3, 2, true);
	for (uint32_t p = 0; p < 4; p++)
		members(p, 3, 0);
	put("part/0002", vms_cat_part_encode(&pc));
	seen->stands = true;
	CU_ASSERT_EQUAL(run(&ring_status, NULL), TOOL_DEGRADED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "4 serving, 4 short of copies, 1 stand\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, damaged));
	CU_ASSERT_EQUAL(run(&cmd_status, NULL), TOOL_DEGRADED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, damaged));
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_DEGRADED);
	CU_ASSERT_TRUE(advises("partition 2 stands: the bytes of record 4711 are damaged on n3",
			       "-> start vmstored on "));
	CU_ASSERT_TRUE(advises("partition 2 stands", "(node n2); its copy mends"));
	for (unsigned i = 0; i < 2; i++) {
		t.json = false;
		CU_ASSERT_EQUAL(run(i ? &ring_status : &cmd_status, "--json", NULL), TOOL_DEGRADED);
		CU_ASSERT_PTR_NOT_NULL(strstr(said, "\"standing\": 1"));
		CU_ASSERT_TRUE(advises("\"record\": 4711", "\"damaged\": [\n"));
		CU_ASSERT_TRUE(advises("\"away\": [", "\"n1\""));
	}
	t.json = false;
	end();
	/* nobody is away: what is left to do is in the manual */
	down = 0;
	nodes(1, 1, true);
	seen->stands = true;
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_DEGRADED);
	CU_ASSERT_TRUE(advises("damaged on n1, and all nodes run", "'A partition stands' in doc"));
	CU_ASSERT_TRUE(advises("partition 2 stands", "`vmstore-ring mark-lost 2` names"));
	CU_ASSERT_EQUAL(run(&ring_status, NULL), TOOL_DEGRADED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "degraded"));
	/* by itself it is enough to be degraded */
	seen->stands = false;
	CU_ASSERT_EQUAL(run(&ring_status, NULL), TOOL_OK);
	CU_ASSERT_PTR_NULL(strstr(said, "stand"));
	end();
}

/* A partition of which no copy can be reached is no case for it: it says what is. */
static void last_copies_are_not_marked_lost(void)
{
	down = 1u << 1 | 1u << 3;
	nodes(3, 2, true);
	members(0, 2, 0);
	members(1, 3, 1);
	members(2, 2, 0);
	members(3, 2, 0);
	CU_ASSERT_EQUAL(run(&ring_mark_lost, NULL), TOOL_DEGRADED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "1 partitions cannot be reached: the first is 1, "));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "runs (n3, n1)"));
	CU_ASSERT_PTR_NULL(strstr(said, "nothing is lacking"));
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(
			i ? run(&ring_mark_lost, "1", "--lose-data", "--without", "n1,n3", NULL)
			  : run(&ring_mark_lost, "1", NULL),
			TOOL_FAILED);
		CU_ASSERT_PTR_NOT_NULL(strstr(said, "partition 1 cannot be reached: no node"));
		CU_ASSERT_PTR_NOT_NULL(strstr(said, "`vmstore-ring give-up NODE`"));
	}
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "0", NULL), TOOL_OK);
	/* ... and that is what it does */
	CU_ASSERT_EQUAL(run(&ring_give_up, "n3", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "node n3 has the only copy of 1 partitions (the "
					    "first is 1)"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "'The last copy is lost'"));
	end();
}

/* What a partition lacks is listed by volume and place; it is given up when that is asked for
 * in so many words, for partitions and absent nodes that are named. */
static void what_stands_is_given_up_by_name(void)
{
	struct vms_cat_volume v = {.name = "db",
				   .id = 7,
				   .branch = 7,
				   .lineage = 7,
				   .size_bytes = 1ull << 30,
				   .state = 1,
				   .snap_gen = 5};
	struct vms_cat_snap old = {.volume = "db",
				   .name = "old",
				   .id = 7,
				   .branch = 7,
				   .snap_gen = 1,
				   .size_bytes = 1ull << 30,
				   .state = VMS_SNAP_COMPLETE},
			    new = old;

	down = 1u << 1 | 1u << 2;
	nodes(3, 2, true);
	for (uint32_t p = 0; p < 4; p++)
		members(p, 3, 0);
	put("volume/db", vms_cat_volume_encode(&v));
	snprintf(new.name, sizeof(new.name), "new");
	new.snap_gen = 3;
	put("snap/db@old", vms_cat_snap_encode(&old));
	put("snap/db@new", vms_cat_snap_encode(&new));
	CU_ASSERT_EQUAL(run(&ring_mark_lost, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "no partition stands"));
	seen->stands = true;
	CU_ASSERT_EQUAL(run(&ring_mark_lost, NULL), TOOL_DEGRADED);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(said, "partition 2: record 4711 lacks 1.50 KiB in 1 chunks of 4 KiB"));
	/* extent 1, chunk 3, blocks 4, 5 and 7; not of the snapshot before that write */
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "lba 8220-8221, 8223 of db, db@new\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "nothing was changed"));
	CU_ASSERT_EQUAL(seen->lost_of, 2);
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--json", NULL), TOOL_DEGRADED);
	CU_ASSERT_TRUE(advises("\"lba\": 8216", "\"lost_blocks\": 3"));
	t.json = false;
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "--lose-data", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "4", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--without", "n1", NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--lose-data", NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "--without n1,n2"));
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--lose-data", "--without", "n2", NULL),
			TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "--without n1\n"));
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--lose-data", "--without", "n1,n3", NULL),
			TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "node n3 runs"));
	CU_ASSERT_EQUAL(seen->given_up, 0);
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--lose-data", "--without", "n1,n2", NULL),
			TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "partition 2 goes on; 1 chunks were given up"));
	CU_ASSERT_TRUE(seen->given_up == 1 && seen->without == 2);
	/* once more, and nothing is left to do */
	CU_ASSERT_EQUAL(run(&ring_mark_lost, "2", "--lose-data", "--without", "n1,n2", NULL),
			TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "partition 2 does not stand"));
	CU_ASSERT_EQUAL(seen->given_up, 1);
	end();
	down = 0;
}

static void gate(uint32_t id, bool up)
{
	struct vms_cat_gateway g = {.id = id, .incarnation = 1, .portal = "10.0.0.1:3260"};
	struct vms_cat_gwload load = {.gateway = id};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(g.name, sizeof(g.name), "gw%u", id);
	vms_cat_key_gateway(key, id);
	put(key, vms_cat_gateway_encode(&g));
	vms_cat_key_gwload(key, id);
	if (up)
		put(key, vms_cat_gwload_encode(&load, ""));
}

static void advise_names_gateways(void)
{
	nodes(3, 2, true);
	gate(1, true);
	gate(2, true);
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_OK);
	CU_ASSERT_PTR_NULL(strstr(said, "gateway"));
	gate(3, false);
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_DEGRADED);
	CU_ASSERT_TRUE(advises("gateway gw3 is down", "vmstore gateway forget gw3"));
	CU_ASSERT_PTR_NULL(strstr(said, "no other path"));
	end();
	nodes(3, 2, true);
	gate(1, true);
	gate(2, false);
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_DEGRADED);
	CU_ASSERT_TRUE(advises("one gateway serves them all", "vmstore gateway ls"));
	end();
}

/* A gateway that is down is less safety, and all that show the state of the cluster say so;
 * one that somebody has drained is not, whether it runs or not. */
static void status_names_gateways(void)
{
	static const struct cmd *const shows[] = {&ring_status, &cmd_status};
	struct vms_cat_gwdrain d = {.gateway = 2, .since_s = 1, .by = "admin1"};
	char key[VMS_CAT_KEY_BYTES_MAX];

	nodes(3, 2, true);
	gate(1, true);
	gate(2, false);
	for (unsigned i = 0; i < 2; i++) {
		t.json = false;
		CU_ASSERT_EQUAL(run(shows[i], NULL), TOOL_DEGRADED);
		CU_ASSERT_PTR_NOT_NULL(strstr(said, "gateways"));
		CU_ASSERT_PTR_NOT_NULL(strstr(said, " 1 of 2 up, 0 sessions"));
		CU_ASSERT_TRUE(advises("gw2 is down", "vmstore gateway forget gw2"));
		CU_ASSERT_TRUE(advises("health", "degraded"));
		CU_ASSERT_EQUAL(run(shows[i], "--json", NULL), TOOL_DEGRADED);
		CU_ASSERT_TRUE(advises("\"health\": \"degraded\"", "\"name\": \"gw2\""));
		CU_ASSERT_TRUE(advises("\"name\": \"gw2\"", "\"state\": \"down\""));
		CU_ASSERT_TRUE(advises("\"name\": \"gw2\"", "\"up\": false"));
	}
	t.json = false;
	vms_cat_key_gwdrain(key, 2);
	put(key, vms_cat_gwdrain_encode(&d));
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(run(shows[i], NULL), TOOL_OK);
		CU_ASSERT_TRUE(advises("gw2 is drained,down", "vmstore gateway undrain gw2"));
		CU_ASSERT_TRUE(advises("health", "ok"));
	}
	end();
}

static void advise_names_risks_of_the_settings(void)
{
	struct view v;

	nodes(3, 2, true);
	CU_ASSERT_EQUAL(run(&ring_zone, "n1", "a", "n2", "a", "n3", "a", "--no-wait", NULL),
			TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_drain, "n3", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_set, "--min-copies", "2", "--scrub-days", "off",
			    "--rebuild-after", "never", "--no-wait", NULL),
			TOOL_OK);
	seen->numbers = 612;
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_OK);
	CU_ASSERT_TRUE(advises("1 zones for 2 copies", "vmstore-ring zone"));
	CU_ASSERT_TRUE(advises("node n3 is drained", "vmstore-ring undrain n3"));
	CU_ASSERT_TRUE(advises("writes need all 2 copies", "vmstore-ring set --min-copies"));
	CU_ASSERT_TRUE(advises("never made anew", "vmstore-ring set --rebuild-after 10min"));
	CU_ASSERT_TRUE(advises("stored data is not verified", "vmstore-ring set --scrub-days 7"));
	CU_ASSERT_TRUE(advises("61 % of its container numbers", "vmstore export-diff"));
	CU_ASSERT_EQUAL(run(&ring_undrain, "n3", "--no-wait", NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_set, "--copies", "1", "--min-copies", "1", "--no-wait", NULL),
			TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_advise, NULL), TOOL_OK);
	CU_ASSERT_TRUE(advises("one copy of everything", "vmstore-ring set --copies 2"));
	v = look_at();
	CU_ASSERT_EQUAL(v.cluster.copies, 1);
	view_free(&v);
	end();
}

static void forget(const char *key)
{
	const struct vms_cat_op op = {key, NULL, 0};

	CU_ASSERT_EQUAL(tool_txn(&t, NULL, 0, &op, 1, &e), 0);
}

/* The catalog of a cluster that was lost: no new cluster is made in the middle of what
 * brings it back. */
static void half_a_catalog_is_no_empty_one(void)
{
	const struct vms_cat_op passes = {"gwload/00000001", "{}", 0};
	struct tool_kvs kvs;

	nodes(3, 2, false);
	CU_ASSERT_EQUAL(run(&ring_init, NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "holds a cluster already"));
	forget("cluster");
	CU_ASSERT_EQUAL(run(&ring_status, NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "restore-catalog or move-catalog was interrupted"));
	CU_ASSERT_EQUAL(run(&ring_init, NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "restore-catalog or move-catalog was interrupted"));
	CU_ASSERT_EQUAL(tool_range(&t, "", &kvs, &e), 0);
	VMS_VEC_FOREACH (&kvs, kv)
		forget(kv->key);
	tool_kvs_free(&kvs);
	CU_ASSERT_EQUAL(tool_txn(&t, NULL, 0, &passes, 1, &e), 0);
	CU_ASSERT_EQUAL(run(&ring_status, NULL), TOOL_FAILED);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "vmstore-ring restore-catalog"));
	CU_ASSERT_EQUAL(run(&ring_init, NULL), TOOL_OK);
	CU_ASSERT_EQUAL(run(&ring_init, NULL), TOOL_FAILED);
	end();
}

int main(void)
{
	static const struct vms_test tests[] = {
		VMS_TEST(a_name_that_is_a_number_is_not_guessed),
		VMS_TEST(leaving_is_refused_when_too_few_nodes_remain),
		VMS_TEST(the_only_copy_is_not_let_go),
		VMS_TEST(a_lost_answer_changes_it_once),
		VMS_TEST(cancel_takes_it_back),
		VMS_TEST(a_dry_run_changes_nothing),
		VMS_TEST(a_dry_run_counts_what_moves),
		VMS_TEST(partitions_are_asked_for_in_parts),
		VMS_TEST(a_request_that_is_too_large_is_refused),
		VMS_TEST(settings_are_checked),
		VMS_TEST(without_data_the_tool_places_at_once),
		VMS_TEST(with_data_members_are_left_alone),
		VMS_TEST(waiting_ends_when_the_time_is_over),
		VMS_TEST(status_tells_moving_from_waiting),
		VMS_TEST(status_tells_the_limit),
		VMS_TEST(status_tells_what_writes_yield_to),
		VMS_TEST(advise_names_risks),
		VMS_TEST(a_partition_that_stands_is_named),
		VMS_TEST(last_copies_are_not_marked_lost),
		VMS_TEST(what_stands_is_given_up_by_name),
		VMS_TEST(join_says_who_is_taken_back),
		VMS_TEST(join_ends_where_the_numbers_do),
		VMS_TEST(too_many_nodes_at_once_are_refused),
		VMS_TEST(values_that_cannot_be_are_wrong_usage),
		VMS_TEST(openers_are_named),
		VMS_TEST(advise_names_gateways),
		VMS_TEST(status_names_gateways),
		VMS_TEST(half_a_catalog_is_no_empty_one),
		VMS_TEST(advise_names_risks_of_the_settings),
	};

	rig_init();
	return vms_test_main_("ring_tool", tests, sizeof(tests) / sizeof(tests[0]));
}
