// SPDX-License-Identifier: GPL-2.0-only
/* The rules of vmstore-ring advise: each risk alone in a cluster that is well otherwise is
 * named, with its command and nothing else; and each command can be typed as it stands. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/tool/advice.h"
#include "utils/tool/cmds.h"
#include "utils/tool/ring_cmds.h"

#define NODES_MAX 8u
#define GIB	  (UINT64_C(1) << 30)
#define DAY	  UINT64_C(86400)

static struct look l;
static struct advice_facts f;
static struct advices said;
static struct advice_scrub scrubs[NODES_MAX];
static unsigned asked; /* commands that were looked at */

/* ---- a cluster ---- */

static struct view_node *node(uint32_t id)
{
	return view_node(&l.r.v, id);
}

static json_t *part_of(uint32_t id, const char *name)
{
	return json_object_get(node(id)->status, name);
}

static void set(json_t *o, const char *field, uint64_t v)
{
	json_object_set_new(o, field, json_integer((json_int_t)v));
}

/* `full` GiB of 1000 are used, by containers and on the file system. */
static void fill(uint32_t id, uint64_t full)
{
	json_t *s = part_of(id, "space");

	set(s, "container_chunks", full * GIB / VMS_CHUNK_BYTES);
	set(s, "free_bytes", (1000 - full) * GIB);
	set(s, "total_bytes", 1000 * GIB);
}

static void gate(const char *name, bool up)
{
	size_t i = l.g.gws.n;
	struct gateway_info *g = VMS_VEC_ADD(&l.g.gws);

	*g = (struct gateway_info){.g = {.id = (uint32_t)i + 1, .portal = "10.0.1.1:3260"}};
	snprintf(g->g.name, sizeof(g->g.name), "%s", name);
	l.g.st = realloc(l.g.st, (i + 1) * sizeof(*l.g.st));
	l.g.st[i] = (struct gate_state){.up = up, .knows = true};
	l.g.all++;
	l.g.up += up;
	l.g.down += !up;
}

static void member(const char *address)
{
	unsigned i = l.e.m.n++;

	snprintf(l.e.address[i], sizeof(l.e.address[i]), "%s", address);
	l.e.m.m[i] = (struct vms_etcd_member){
		.told = true, .up = true, .leader = true, .id = 0xa0 + i, .revision = 4711 + i};
}

/* n nodes with copies of 4 partitions of 50 GiB, two gateways, the catalog on etcd: all is
 * well. */
static void well(uint32_t n, uint32_t copies)
{
	memset(&l, 0, sizeof(l));
	l.r.v.cluster = (struct vms_cat_cluster){.part_bits = 2,
						 .copies = copies,
						 .min_copies = copies > 2 ? 2 : 1,
						 .timing_factor = 1,
						 .rebuild_after_s = 600,
						 .scrub_days = 7,
						 .has_data = true};
	for (uint32_t i = 1; i <= n; i++) {
		struct view_node *x = VMS_VEC_ADD(&l.r.v.nodes);

		*x = (struct view_node){
			.n = {.id = i, .weight = 100, .incarnation = 1, .state = VMS_NODE_IN},
			.asked = true,
			.up = true};
		snprintf(x->n.name, sizeof(x->n.name), "n%u", i);
		snprintf(x->n.address, sizeof(x->n.address), "10.0.0.%u:7601", i);
		x->status = json_pack("{ss ss sb s{sI} s{ss}}", "state", "running", "version", "1",
				      "catalog", 1, "core", "partitions_active", (json_int_t)0,
				      "space", "state", "ok");
		fill(i, 50 * copies * 4 / n);
		scrubs[i - 1] = (struct advice_scrub){
			x->n.name,
			json_pack("{ss sI sI}", "state", "running", "began", (json_int_t)(99 * DAY),
				  "last_complete", (json_int_t)(98 * DAY))};
	}
	l.r.v.nparts = 4;
	l.r.v.part = calloc(4, sizeof(*l.r.v.part));
	l.r.part = calloc(4, sizeof(*l.r.part));
	for (uint32_t p = 0; p < 4; p++) {
		struct vms_part_conf *c = &l.r.v.part[p].conf;

		c->epoch = 1;
		c->nmembers = copies;
		for (uint32_t k = 0; k < copies; k++) {
			c->member[k].node = (p + k) % n + 1;
			node(c->member[k].node)->replicas++;
		}
		c->primary = c->member[0].node;
		l.r.part[p] = (struct ring_part){.bytes = 50 * GIB, .asked = true, .serving = true};
		set(part_of(c->primary, "core"), "partitions_active",
		    (uint64_t)json_integer_value(
			    json_object_get(part_of(c->primary, "core"), "partitions_active")) +
			    1);
	}
	gate("gw1", true);
	gate("gw2", true);
	member("10.0.2.1:2379");
	member("10.0.2.2:2379");
	member("10.0.2.3:2379");
	f = (struct advice_facts){.l = &l, .scrub = scrubs, .nscrub = n, .now_s = 100 * DAY};
}

static void gone(void)
{
	for (unsigned i = 0; i < f.nscrub; i++)
		json_decref((json_t *)scrubs[i].said);
	VMS_VEC_FREE(&said);
	look_free(&l);
}

static void down(uint32_t id)
{
	node(id)->up = false;
	snprintf(node(id)->why, sizeof(node(id)->why), "down: Connection refused");
	json_decref(node(id)->status);
	node(id)->status = NULL;
}

/* ---- what is said ---- */

/* Our own programs' parsers take it; of others the name is known. */
static bool can_be_typed(const char *command)
{
	static const char *const others[] = {"systemctl ", "journalctl ", "etcdctl "};
	const struct cmd *root = !strncmp(command, "vmstore-ring ", 13) ? &ring_root
				 : !strncmp(command, "vmstore ", 8)	? &cmd_root
									: NULL;

	asked++;
	if (root)
		return cmd_check(root, command) == TOOL_OK;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!strncmp(command, others[i], strlen(others[i])))
			return true;
	return false;
}

/* No command hides outside the quotes. */
static bool all_are_quoted(const char *mend)
{
	bool in = false;

	for (const char *c = mend; *c; c++) {
		in ^= *c == '`';
		if (!in && (!strncmp(c, "vmstore-ring ", 13) || !strncmp(c, "vmstore ", 8)))
			return false;
	}
	return !in;
}

static void ask(void)
{
	VMS_VEC_FREE(&said);
	look_again(&l);
	advice(&f, &said);
	VMS_VEC_FOREACH (&said, a) {
		json_t *list = advice_commands(a), *c;
		size_t k;

		CU_ASSERT_TRUE(a->risk[0] && a->mend[0]);
		CU_ASSERT_TRUE(all_are_quoted(a->mend));
		json_array_foreach (list, k, c)
			if (!can_be_typed(json_string_value(c))) {
				fprintf(stderr, "cannot be typed: %s\n", json_string_value(c));
				CU_FAIL("a command that cannot be typed");
			}
		json_decref(list);
	}
}

static bool has_command(const struct advice *a, const char *command)
{
	json_t *list = advice_commands(a), *c;
	bool found = !command;
	size_t k;

	json_array_foreach (list, k, c)
		found |= command && !strcmp(json_string_value(c), command);
	json_decref(list);
	return found;
}

/* command: exactly; NULL: any, or none */
static bool says(enum advice_level level, const char *risk, const char *command)
{
	VMS_VEC_FOREACH (&said, a)
		if (strstr(a->risk, risk) && a->level == level && has_command(a, command))
			return true;
	return false;
}

static void told(void)
{
	VMS_VEC_FOREACH (&said, a)
		fprintf(stderr, "  %s %s\n    -> %s\n", advice_level_word(a->level), a->risk,
			a->mend);
}

/* This one, and no other. */
static void only(enum advice_level level, const char *risk, const char *command)
{
	ask();
	if (said.n != 1 || !says(level, risk, command)) {
		fprintf(stderr, "expected: %s -> %s\n", risk, command ? command : "…");
		told();
		CU_FAIL("not what was expected");
	}
	CU_PASS("said");
}

static void nothing(void)
{
	ask();
	if (said.n)
		told();
	CU_ASSERT_EQUAL(said.n, 0);
}

/* ---- tests ---- */

static void nothing_is_said_when_all_is_well(void)
{
	well(4, 2);
	nothing();
	gone();
	well(5, 3);
	nothing();
	gone();
}

/* None is given twice, so they run out in clusters that are old. */
static void numbers_of_nodes(void)
{
	well(4, 2);
	l.r.v.cluster.next_node = VMS_NODES_MAX - 64;
	nothing();
	l.r.v.cluster.next_node = VMS_NODES_MAX - 63;
	only(ADVICE_NOTE, "63 of 255 numbers for nodes are left", "vmstore-ring join HOST:PORT");
	l.r.v.cluster.next_node = VMS_NODES_MAX - 4;
	only(ADVICE_SOON, "4 of 255 numbers for nodes are left", "vmstore-ring join HOST:PORT");
	l.r.v.cluster.next_node = VMS_NODES_MAX + 9;
	only(ADVICE_SOON, "0 of 255 numbers for nodes are left", "vmstore-ring join HOST:PORT");
	gone();
}

static void nodes_that_do_not_run(void)
{
	well(4, 2);
	down(2);
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW,
			    "node n2: down: Connection refused; the others go on without it, and "
			    "make its copies anew when it has been away for 10min",
			    "systemctl start vmstored"));
	CU_ASSERT_TRUE(says(ADVICE_NOW, "2 partitions have fewer copies", NULL));
	CU_ASSERT_EQUAL(said.n, 2);
	l.r.v.cluster.rebuild_after_s = 0;
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW, "go on without it, and never make its copies anew", NULL));
	gone();

	well(2, 2);
	down(2);
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW, "no other node is there for its 4 copies", NULL));
	gone();

	well(4, 2);
	down(1);
	down(2);
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW,
			    "1 partitions cannot be reached: no node that has them up "
			    "to date runs (n1, n2)",
			    "systemctl start vmstored"));
	gone();

	well(4, 2);
	down(2);
	snprintf(node(2)->why, sizeof(node(2)->why), "not joined");
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW, "node n2 runs on an empty folder",
			    "vmstore-ring join 10.0.0.2:7601"));
	gone();
}

static void states_of_nodes(void)
{
	well(5, 2);
	node(5)->n.state = VMS_NODE_OUT;
	only(ADVICE_NOW, "node n5 is taken for lost", "vmstore-ring replace n5 HOST:PORT");
	CU_ASSERT_TRUE(says(ADVICE_NOW, "n5", "vmstore-ring leave n5"));
	node(5)->n.state = VMS_NODE_DRAINED;
	only(ADVICE_SOON, "node n5 is drained", "vmstore-ring undrain n5");
	CU_ASSERT_TRUE(says(ADVICE_SOON, "n5", "vmstore-ring leave n5"));
	node(5)->n.state = VMS_NODE_LEAVING;
	nothing();
	node(5)->n.state = VMS_NODE_IN;
	node(5)->n.incarnation = 0;
	only(ADVICE_SOON, "node n5 has joined and has never run", "vmstore-ring leave n5");
	node(5)->n.incarnation = 1;
	json_object_set_new(node(5)->status, "catalog", json_false());
	only(ADVICE_NOW, "node n5 does not reach the catalog", "journalctl -u vmstored -n 50");
	json_object_set_new(node(5)->status, "catalog", json_true());
	json_object_set_new(node(5)->status, "version", json_string("2"));
	only(ADVICE_SOON, "different versions: n4 1, n5 2", NULL);
	gone();
}

static void space_of_nodes(void)
{
	json_t *s;

	well(4, 2);
	s = part_of(2, "space");
	set(s, "free_bytes", 150 * GIB);
	only(ADVICE_SOON, "node n2 is nearly full (85 % of its file system)",
	     "vmstore-ring reweight n2 80");
	CU_ASSERT_TRUE(says(ADVICE_SOON, "n2", "vmstore-ring join HOST:PORT"));
	set(s, "free_bytes", 151 * GIB);
	nothing();
	set(s, "free_bytes", 50 * GIB);
	ask(); /* and it has no room for what others may lose */
	CU_ASSERT_TRUE(
		says(ADVICE_NOW, "node n2 is full (95 % of its file system)", "vmstore reclaim"));
	CU_ASSERT_TRUE(says(ADVICE_SOON, "if node n1, the largest, is lost",
			    "vmstore-ring join HOST:PORT"));
	CU_ASSERT_EQUAL(said.n, 2);
	set(s, "free_bytes", 500 * GIB);
	json_object_set_new(s, "state", json_string("full"));
	only(ADVICE_NOW, "node n2 is full", "vmstore-ring join HOST:PORT");
	json_object_set_new(s, "state", json_string("ok"));
	set(s, "index_used_permille", 699);
	nothing();
	set(s, "index_used_permille", 700);
	only(ADVICE_SOON, "the index of node n2 is 70 % full", "systemctl restart vmstored");
	set(s, "index_used_permille", 800);
	only(ADVICE_NOW, "the index of node n2 is 80 % full", "systemctl restart vmstored");
	gone();
}

static void writes_that_yield_for_long(void)
{
	json_t *y = json_pack("{sI sI sI}", "step", (json_int_t)0, "steps", (json_int_t)6,
			      "seconds", (json_int_t)0);

	well(4, 2);
	json_object_set_new(part_of(3, "core"), "yield", y);
	nothing();
	set(y, "step", 2);
	set(y, "seconds", 59);
	nothing();
	set(y, "seconds", 75);
	only(ADVICE_SOON,
	     "writes to node n3 have been slowed for 75s, as they outrun a copy that is made "
	     "there (step 2 of 6)",
	     "vmstore-ring status");
	CU_ASSERT_FALSE(says(ADVICE_SOON, "n3", "vmstore-ring throttle none"));
	l.r.v.cluster.move_bytes_s = 1 << 20;
	only(ADVICE_SOON, "writes to node n3", "vmstore-ring throttle none");
	gone();
}

static void disks_of_nodes(void)
{
	json_t *core, *scrub;

	well(4, 2);
	core = part_of(3, "core");
	set(core, "lost", 7);
	only(ADVICE_NOW, "7 places are damaged on every node that has them, says n3",
	     "vmstore-ring scrub status");
	set(core, "lost", 0);
	set(core, "container_numbers_permille", 499);
	nothing();
	set(core, "container_numbers_permille", 612);
	only(ADVICE_SOON, "61 % of its container numbers",
	     "vmstore export-diff --full VOLUME@SNAP FILE");
	set(core, "container_numbers_permille", 900);
	only(ADVICE_NOW, "90 % of its container numbers", "vmstore import-diff FILE VOLUME");
	set(core, "container_numbers_permille", 0);

	scrub = (json_t *)scrubs[2].said;
	set(scrub, "damaged", 99);
	nothing();
	set(scrub, "damaged", 100);
	only(ADVICE_SOON, "the disk of node n3 has lost 100 places that were mended",
	     "vmstore-ring replace n3 HOST:PORT");
	set(scrub, "damaged", 0);
	json_object_set_new(scrub, "state", json_string("paused"));
	only(ADVICE_SOON, "node n3 does not verify its disk", "vmstore-ring scrub resume");
	json_object_set_new(scrub, "state", json_string("running"));
	set(scrub, "last_complete", 0);
	set(scrub, "began", 100 * DAY - 7 * DAY * 3 / 2);
	nothing();
	set(scrub, "began", 88 * DAY);
	only(ADVICE_SOON, "node n3 has not verified its whole disk for 12 days",
	     "vmstore-ring scrub start");
	CU_ASSERT_TRUE(says(ADVICE_SOON, "n3", "vmstore-ring set --scrub-days 14"));
	l.r.v.cluster.scrub_days = 0;
	only(ADVICE_SOON, "stored data is not verified", "vmstore-ring set --scrub-days 7");
	gone();
}

static void copies_and_how_many_writes_need(void)
{
	well(4, 1);
	only(ADVICE_NOW, "there is one copy of everything", "vmstore-ring set --copies 2");
	CU_ASSERT_FALSE(says(ADVICE_NOW, "", "vmstore-ring join HOST:PORT"));
	gone();
	well(1, 1);
	only(ADVICE_NOW, "there is one copy of everything", "vmstore-ring join HOST:PORT");
	CU_ASSERT_TRUE(says(ADVICE_NOW, "one copy", "vmstore-ring set --copies 2"));
	gone();

	well(4, 2);
	l.r.v.cluster.min_copies = 2;
	only(ADVICE_SOON,
	     "writes need all 2 copies (min-copies): one lost node stops writes to its partitions "
	     "until its copies are made anew, which begins after 10min",
	     "vmstore-ring set --min-copies 1");
	gone();
	well(5, 3);
	l.r.v.cluster.min_copies = 3;
	only(ADVICE_SOON, "writes need all 3 copies", "vmstore-ring set --min-copies 2");
	l.r.v.cluster.min_copies = 1;
	only(ADVICE_SOON, "one copy of 3 left: the next failure loses them",
	     "vmstore-ring set --min-copies 2");
	l.r.v.cluster.min_copies = 2;
	l.r.v.cluster.rebuild_after_s = 0;
	only(ADVICE_SOON, "copies of a node that stays away are never made anew",
	     "vmstore-ring set --rebuild-after 10min");
	l.r.v.cluster.min_copies = 3;
	ask();
	CU_ASSERT_TRUE(says(ADVICE_SOON, "stops writes to its partitions until it is back", NULL));
	gone();

	well(4, 2);
	l.r.v.cluster.timing_factor = 2;
	only(ADVICE_NOTE, "failures are noticed later", NULL);
	l.r.v.cluster.timing_factor = 1;
	l.r.v.part[1].conf.loss_epoch = 3;
	only(ADVICE_NOTE, "may have been lost 3 times", NULL);
	gone();

	well(4, 2);
	l.r.v.cluster.min_copies = 2;
	l.r.v.part[1].conf.nmembers = 1;
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW, "writes wait in 1 partitions that have fewer than 2",
			    "vmstore-ring set --min-copies 1"));
	gone();
}

static void enough_nodes_for_the_copies(void)
{
	well(3, 3);
	only(ADVICE_SOON,
	     "as many nodes as copies (3): the copies of a lost node cannot be made anew",
	     "vmstore-ring join HOST:PORT");
	gone();
	/* one that holds nothing does not count */
	well(4, 3);
	nothing();
	node(4)->n.state = VMS_NODE_DRAINED;
	ask();
	CU_ASSERT_TRUE(says(ADVICE_SOON, "as many nodes as copies", "vmstore-ring join HOST:PORT"));
	node(3)->n.state = VMS_NODE_DRAINED;
	ask();
	CU_ASSERT_TRUE(says(ADVICE_NOW, "2 nodes hold data, 3 copies are wanted",
			    "vmstore-ring set --copies 2"));
	CU_ASSERT_TRUE(says(ADVICE_NOW, "2 nodes hold data", "vmstore-ring join HOST:PORT"));
	CU_ASSERT_FALSE(says(ADVICE_SOON, "as many nodes as copies", NULL));
	gone();
}

static void zone(uint32_t id, const char *name)
{
	snprintf(node(id)->n.zone, sizeof(node(id)->n.zone), "%s", name);
}

static void zones_for_the_copies(void)
{
	well(4, 2);
	for (uint32_t i = 1; i <= 4; i++)
		zone(i, "a");
	only(ADVICE_SOON, "1 zones for 2 copies: copies of one partition share a zone",
	     "vmstore-ring zone NODE ZONE");
	CU_ASSERT_TRUE(says(ADVICE_SOON, "zones", "vmstore-ring join HOST:PORT --zone ZONE"));
	zone(3, "b");
	nothing();
	zone(4, "");
	only(ADVICE_NOTE, "1 of 4 nodes have no zone", "vmstore-ring zone NODE ZONE");
	gone();
	well(5, 3);
	for (uint32_t i = 1; i <= 5; i++)
		zone(i, i & 1 ? "a" : "b");
	only(ADVICE_SOON, "2 zones for 3 copies", "vmstore-ring zone NODE ZONE");
	gone();
}

/* With figures: what would have to go where, and what room there is. */
static void room_for_the_largest(void)
{
	well(3, 2);
	nothing();
	/* 200 of 1000 are free, a tenth is kept */
	for (uint32_t i = 1; i <= 3; i++)
		fill(i, 800);
	fill(2, 801);
	for (uint32_t p = 0; p < 4; p++)
		l.r.part[p].bytes = 300 * GIB;
	only(ADVICE_SOON, "if node n2, the largest, is lost its copies (",
	     "vmstore-ring join HOST:PORT");
	CU_ASSERT_TRUE(says(ADVICE_SOON, "and has room for 100 GiB", NULL));
	/* as many nodes as copies: that is another risk */
	node(3)->n.state = VMS_NODE_DRAINED;
	ask();
	CU_ASSERT_FALSE(says(ADVICE_SOON, "the largest", NULL));
	node(3)->n.state = VMS_NODE_IN;
	for (uint32_t p = 0; p < 4; p++)
		l.r.part[p].bytes = 20 * GIB;
	nothing();
	gone();
}

static void partitions_that_do_not_serve(void)
{
	well(4, 2);
	l.r.part[2].serving = false;
	snprintf(l.r.part[2].state, sizeof(l.r.part[2].state), "waits for n3");
	only(ADVICE_NOW, "1 partitions are not served (partition 2: waits for n3)",
	     "vmstore-ring status");
	l.r.part[2].serving = true;
	l.r.part[2].stands = 4711;
	only(ADVICE_NOW, "partition 2 stands: the bytes of record 4711 are damaged on",
	     "vmstore-ring mark-lost 2");
	for (uint32_t p = 0; p < 4; p++)
		l.r.part[p].stands = 1;
	ask();
	CU_ASSERT_EQUAL(said.n, 4);
	gone();
	well(4, 2);
	down(4);
	l.r.part[0].stands = 4711;
	ask();
	CU_ASSERT_TRUE(
		says(ADVICE_NOW, "may be whole on n4 (not running)", "systemctl start vmstored"));
	gone();
}

static void the_catalog(void)
{
	well(4, 2);
	f.catalog = "10.0.0.77";
	l.e.m.n = 0;
	only(ADVICE_SOON, "the catalog is one process (10.0.0.77)",
	     "vmstore-ring move-catalog --to etcd:HOST:PORT,HOST:PORT,HOST:PORT");
	f.catalog = "10.0.0.3";
	ask();
	CU_ASSERT_EQUAL(said.n, 2);
	CU_ASSERT_TRUE(says(ADVICE_NOTE, "the catalog shares a machine with node n3", NULL));
	gone();
}

static void members_of_etcd(void)
{
	struct advices alone = VMS_VEC_INIT;

	well(4, 2);
	l.e.m.m[1].up = l.e.m.m[1].leader = false;
	snprintf(l.e.m.m[1].why, sizeof(l.e.m.m[1].why), "Connection refused");
	only(ADVICE_NOW,
	     "etcd member 10.0.2.2:2379 does not answer (Connection refused); none more may be "
	     "lost, or nothing can be changed",
	     "systemctl start etcd");
	CU_ASSERT_EQUAL(look_exit_code(&l), TOOL_DEGRADED);
	member("10.0.2.4:2379");
	member("10.0.2.5:2379");
	only(ADVICE_NOW, "does not answer (Connection refused); 1 more may be lost",
	     "journalctl -u etcd -n 50");
	l.e.m.n = 3;
	l.e.m.m[2].leader = false;
	ask();
	CU_ASSERT_EQUAL(said.n, 2);
	CU_ASSERT_TRUE(says(ADVICE_NOW,
			    "etcd member 10.0.2.3:2379 runs, but has no leader: it does not reach "
			    "a majority; without a majority nothing can be changed",
			    "journalctl -u etcd -n 50"));
	/* also when that is all that is known */
	advice_etcd(&l.e, &alone);
	CU_ASSERT_EQUAL(alone.n, 2);
	VMS_VEC_FREE(&alone);
	gone();

	well(4, 2);
	l.e.m.n = 2;
	only(ADVICE_SOON, "catalog names 2 members of etcd: none may be lost",
	     "etcdctl member add NAME --peer-urls=URL");
	CU_ASSERT_EQUAL(look_exit_code(&l), TOOL_OK);
	gone();
	well(4, 2);
	l.e.m.n = 0;
	vms_fail(&l.e.why, VMS_E_CONFIG, "no such file");
	only(ADVICE_NOTE, "which members of etcd run is not known: no such file",
	     "etcdctl endpoint health");
	CU_ASSERT_EQUAL(look_exit_code(&l), TOOL_DEGRADED);
	gone();
}

static void alarms_of_etcd(void)
{
	well(4, 2);
	l.e.m.nalarms = 1;
	l.e.m.alarm[0].id = 0xa1;
	l.e.m.alarm[0].kind = VMS_ETCD_NOSPACE;
	only(ADVICE_NOW, "etcd member 10.0.2.2:2379 has reached its quota (alarm NOSPACE)",
	     "etcdctl compact 4713");
	for (unsigned i = 0; i < 3; i++) {
		char text[128];

		snprintf(text, sizeof(text), "etcdctl defrag --endpoints=%s", l.e.address[i]);
		CU_ASSERT_TRUE(says(ADVICE_NOW, "NOSPACE", text));
	}
	CU_ASSERT_TRUE(says(ADVICE_NOW, "NOSPACE", "etcdctl alarm disarm"));
	CU_ASSERT_EQUAL(look_exit_code(&l), TOOL_DEGRADED);
	/* the same of another member is the same work */
	l.e.m.nalarms = 2;
	l.e.m.alarm[1].id = 0xa2;
	l.e.m.alarm[1].kind = VMS_ETCD_NOSPACE;
	only(ADVICE_NOW, "alarm NOSPACE", "etcdctl alarm disarm");
	l.e.m.alarm[1].kind = VMS_ETCD_CORRUPT;
	ask();
	CU_ASSERT_EQUAL(said.n, 2);
	CU_ASSERT_TRUE(says(ADVICE_NOW,
			    "the data of etcd member 10.0.2.3:2379 differs from the others' (alarm "
			    "CORRUPT)",
			    "etcdctl member remove a2"));
	l.e.m.nalarms = 1;
	l.e.m.alarm[0].kind = VMS_ETCD_ALARM;
	l.e.m.alarm[0].id = 0xbeef; /* one that catalog does not name */
	only(ADVICE_NOW, "etcd member beef has raised an alarm", "etcdctl alarm list");
	gone();
}

static void gateways(void)
{
	well(4, 2);
	gate("gw3", false);
	only(ADVICE_SOON, "gateway gw3 is down", "vmstore gateway forget gw3");
	CU_ASSERT_TRUE(says(ADVICE_SOON, "gw3", "systemctl start vmstore-gateway"));
	l.g.st[2].draining = true;
	nothing();
	l.g.st[1].draining = true;
	only(ADVICE_SOON, "one gateway serves them all", "vmstore gateway undrain gw2");
	l.g.st[1].draining = l.g.st[2].draining = false;
	l.g.st[1].up = l.g.st[0].up = false;
	ask();
	CU_ASSERT_EQUAL(said.n, 4);
	CU_ASSERT_TRUE(says(ADVICE_SOON, "no gateway takes initiators", "vmstore gateway ls"));
	vms_fail(&l.g.why, VMS_E_TIMEOUT, "no answer");
	only(ADVICE_NOTE, "which gateways run is not known: no answer", "vmstore gateway ls");
	gone();
	/* none at all: the cluster is not in use yet */
	well(4, 2);
	l.g.all = 0;
	l.g.gws.n = 0;
	nothing();
	gone();
}

static void what_is_urgent_comes_first(void)
{
	well(4, 2);
	l.r.v.cluster.timing_factor = 2;
	f.catalog = "10.0.0.77";
	gate("gw3", false);
	set(part_of(4, "core"), "lost", 1);
	ask();
	CU_ASSERT_EQUAL_FATAL(said.n, 4);
	CU_ASSERT_STRING_EQUAL(advice_level_word(said.d[0].level), "now");
	CU_ASSERT_STRING_EQUAL(advice_level_word(said.d[1].level), "soon");
	CU_ASSERT_STRING_EQUAL(advice_level_word(said.d[2].level), "soon");
	CU_ASSERT_STRING_EQUAL(advice_level_word(said.d[3].level), "note");
	gone();
}

/* The check itself: what is no command, has no such option, or too few arguments. */
static void commands_that_do_not_exist_are_noticed(void)
{
	CU_ASSERT_FALSE(can_be_typed("vmstore-ring mend n1"));
	CU_ASSERT_FALSE(can_be_typed("vmstore-ring set --copy 2"));
	CU_ASSERT_FALSE(can_be_typed("vmstore-ring set --copies many"));
	CU_ASSERT_FALSE(can_be_typed("vmstore-ring replace n1"));
	CU_ASSERT_FALSE(can_be_typed("vmstore gateway"));
	CU_ASSERT_FALSE(can_be_typed("vmstore gateway forget"));
	CU_ASSERT_FALSE(can_be_typed("frobnicate n1"));
	CU_ASSERT_FALSE(all_are_quoted("try vmstore-ring status"));
	CU_ASSERT_FALSE(all_are_quoted("try `vmstore-ring status"));
	CU_ASSERT_TRUE(can_be_typed("vmstore-ring set --copies 2"));
	CU_ASSERT_TRUE(can_be_typed("vmstore gateway forget gw1 --force"));
	CU_ASSERT_TRUE(asked > 50);
}

int main(void)
{
	static const struct vms_test tests[] = {
		VMS_TEST(nothing_is_said_when_all_is_well),
		VMS_TEST(nodes_that_do_not_run),
		VMS_TEST(numbers_of_nodes),
		VMS_TEST(states_of_nodes),
		VMS_TEST(space_of_nodes),
		VMS_TEST(writes_that_yield_for_long),
		VMS_TEST(disks_of_nodes),
		VMS_TEST(copies_and_how_many_writes_need),
		VMS_TEST(enough_nodes_for_the_copies),
		VMS_TEST(zones_for_the_copies),
		VMS_TEST(room_for_the_largest),
		VMS_TEST(partitions_that_do_not_serve),
		VMS_TEST(the_catalog),
		VMS_TEST(members_of_etcd),
		VMS_TEST(alarms_of_etcd),
		VMS_TEST(gateways),
		VMS_TEST(what_is_urgent_comes_first),
		VMS_TEST(commands_that_do_not_exist_are_noticed),
	};

	return vms_test_main_("advice", tests, sizeof(tests) / sizeof(tests[0]));
}
