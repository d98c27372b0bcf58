// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/catalog.h"
#include "tests/unit/cunit.h"

#include <stdlib.h>
#include <string.h>

static struct vms_cat_kv kv_of(const char *key, const char *val)
{
	return (struct vms_cat_kv){
		.key = key, .val = val, .val_bytes = val ? (uint32_t)strlen(val) : 0};
}

static void cluster_round_trips(void)
{
	struct vms_cat_cluster c = {.part_bits = 10,
				    .copies = 2,
				    .min_copies = 1,
				    .timing_factor = 2.5,
				    .next_branch = 1ull << 40,
				    .next_node = 4,
				    .next_gateway = 3,
				    .has_data = true,
				    .rebuild_after_s = 61,
				    .move_bytes_s = 5ull << 32,
				    .scrub_days = 3,
				    .gateways_from = 7ull << 40},
			       g;
	struct vms_cat_kv kv;
	char *t;

	for (unsigned i = 0; i < 16; i++)
		c.uuid[i] = (uint8_t)(i * 16 + i);
	t = vms_cat_cluster_encode(&c);
	CU_ASSERT_PTR_NOT_NULL(strstr(t, "00112233-4455-6677-8899-aabbccddeeff"));
	kv = kv_of("cluster", t);
	CU_ASSERT_EQUAL(vms_cat_cluster_decode(&kv, &g, NULL), 0);
	CU_ASSERT(!memcmp(c.uuid, g.uuid, 16) && g.part_bits == 10 && g.copies == 2 &&
		  g.min_copies == 1 && g.timing_factor == 2.5 && g.next_branch == c.next_branch &&
		  g.next_node == 4 && g.next_gateway == 3 && g.has_data &&
		  g.rebuild_after_s == 61 && g.move_bytes_s == 5ull << 32 && g.scrub_days == 3 &&
		  g.gateways_from == 7ull << 40);
	free(t);
}

static void node_round_trips(void)
{
	struct vms_cat_node n = {.id = 300,
				 .name = "n\"1",
				 .address = "[::1]:7000",
				 .zone = "",
				 .weight = 150,
				 .incarnation = 7,
				 .state = VMS_NODE_LEAVING},
			    g;
	char key[VMS_CAT_KEY_BYTES_MAX], *t = vms_cat_node_encode(&n);
	struct vms_cat_kv kv;

	vms_cat_key_node(key, n.id);
	CU_ASSERT_STRING_EQUAL(key, "node/0000012c");
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_node_decode(&kv, &g, NULL), 0);
	CU_ASSERT(g.id == 300 && !strcmp(g.name, n.name) && !strcmp(g.address, n.address) &&
		  !g.zone[0] && g.weight == 150 && g.incarnation == 7 &&
		  g.state == VMS_NODE_LEAVING);
	free(t);
	n.state = 0; /* not said: in */
	t = vms_cat_node_encode(&n);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_node_decode(&kv, &g, NULL), 0);
	CU_ASSERT_EQUAL(g.state, VMS_NODE_IN);
	free(t);
}

static void part_round_trips(void)
{
	struct vms_part_conf p = {.epoch = 9,
				  .primary = 2,
				  .nmembers = 3,
				  .loss_epoch = 1,
				  .member = {{2, 11}, {5, 12}, {1, 0}}},
			     g;
	char key[VMS_CAT_KEY_BYTES_MAX], *t = vms_cat_part_encode(&p);
	uint32_t num, want[VMS_COPIES_MAX];
	struct vms_cat_kv kv;

	vms_cat_key_part(key, 1023);
	CU_ASSERT_STRING_EQUAL(key, "part/03ff");
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &g, NULL), 0);
	CU_ASSERT(num == 1023 && g.epoch == 9 && g.primary == 2 && g.nmembers == 3 &&
		  g.loss_epoch == 1 && g.member[1].node == 5 && g.member[1].incarnation == 12 &&
		  g.member[2].incarnation == 0);
	/* not said: the members are what is wanted */
	CU_ASSERT(!strstr(t, "want") && !strstr(t, "handover") && !g.nwant && !g.handover);
	CU_ASSERT(vms_cat_part_want(&g, want) == 3 && want[0] == 2 && want[1] == 5 && want[2] == 1);
	free(t);

	p.nwant = 2;
	p.want[0] = 7;
	p.want[1] = 2;
	p.handover = 9;
	t = vms_cat_part_encode(&p);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &g, NULL), 0);
	CU_ASSERT(g.nwant == 2 && g.want[0] == 7 && g.want[1] == 2 && g.handover == 9 &&
		  g.nmembers == 3);
	CU_ASSERT(vms_cat_part_want(&g, want) == 2 && want[0] == 7 && want[1] == 2);
	free(t);
}

static void load_and_drain_of_a_gateway(void)
{
	struct vms_cat_gwload l = {.gateway = 2, .sessions = 7, .draining = true}, gl;
	struct vms_cat_gwdrain d = {.gateway = 2,
				    .seconds = 5,
				    .since_s = 1800000000,
				    .by = "host"},
			       gd;
	char key[VMS_CAT_KEY_BYTES_MAX], *t, *who;
	struct vms_cat_kv kv;

	vms_cat_key_gwload(key, 2);
	CU_ASSERT_STRING_EQUAL(key, "gwload/00000002");
	t = vms_cat_gwload_encode(&l, "0123");
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_gwload_decode(&kv, &gl, &who, NULL), 0);
	CU_ASSERT(gl.gateway == 2 && gl.sessions == 7 && gl.draining);
	CU_ASSERT_PTR_NOT_NULL_FATAL(who);
	CU_ASSERT_STRING_EQUAL(who, "0123");
	free(who);
	kv = kv_of("gwload/00000003", t);
	CU_ASSERT_EQUAL(vms_cat_gwload_decode(&kv, &gl, &who, NULL), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NULL(who);
	free(t);

	vms_cat_key_gwdrain(key, 2);
	CU_ASSERT_STRING_EQUAL(key, "gwdrain/00000002");
	t = vms_cat_gwdrain_encode(&d);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_gwdrain_decode(&kv, &gd, NULL), 0);
	CU_ASSERT(gd.gateway == 2 && gd.seconds == 5 && gd.since_s == d.since_s &&
		  !strcmp(gd.by, "host"));
	free(t);
	kv = kv_of(key, "{\"gateway\":2,\"seconds\":99999,\"since_s\":1,\"by\":\"\"}");
	CU_ASSERT_EQUAL(vms_cat_gwdrain_decode(&kv, &gd, NULL), VMS_E_CORRUPT);
}

static void gateway_volume_and_open_round_trip(void)
{
	struct vms_cat_gateway gw = {.id = 2,
				     .name = "gw2",
				     .incarnation = 5,
				     .portal = "127.0.0.3:3260",
				     .portals = "127.0.0.3:3260 [::1]:3260",
				     .host = "h",
				     .boot = "0b1f"},
			       ggw;
	struct vms_cat_volume v = {.name = "pool/demo",
				   .branch = 3,
				   .lineage = 3,
				   .size_bytes = 10ull << 30,
				   .snap_gen = 1,
				   .lun_fence = 4,
				   .write_ack = VMS_ACK_MEMORY,
				   .state = 2,
				   .created_s = 1700000000},
			      gv;
	struct vms_cat_open o = {.id = 3, .gateway = 2, .incarnation = 5}, go;
	char key[VMS_CAT_KEY_BYTES_MAX], *t;
	struct vms_cat_kv kv;

	vms_cat_key_gateway(key, 2);
	t = vms_cat_gateway_encode(&gw);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_gateway_decode(&kv, &ggw, NULL), 0);
	CU_ASSERT(ggw.id == 2 && ggw.incarnation == 5 && !strcmp(ggw.portal, gw.portal));
	CU_ASSERT_STRING_EQUAL(ggw.portals, gw.portals);
	CU_ASSERT(!strcmp(ggw.host, "h") && !strcmp(ggw.boot, "0b1f"));
	free(t);
	/* one of an earlier release */
	kv = kv_of(key, "{\"id\":2,\"name\":\"gw2\",\"incarnation\":5,\"portal\":\"a:1\"}");
	CU_ASSERT_EQUAL(vms_cat_gateway_decode(&kv, &ggw, NULL), 0);
	CU_ASSERT(!ggw.portals[0] && !ggw.host[0] && !ggw.boot[0]);

	memset(v.uuid, 0xab, 16);
	CU_ASSERT_EQUAL(vms_cat_key_volume(key, v.name, NULL), 0);
	t = vms_cat_volume_encode(&v);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_volume_decode(&kv, &gv, NULL), 0);
	CU_ASSERT(!strcmp(v.name, gv.name) && !memcmp(v.uuid, gv.uuid, 16) && gv.branch == 3 &&
		  gv.lineage == 3 && gv.size_bytes == v.size_bytes && gv.snap_gen == 1 &&
		  gv.lun_fence == 4 && gv.write_ack == VMS_ACK_MEMORY && gv.state == 2 &&
		  gv.created_s == v.created_s);
	free(t);

	vms_cat_key_open(key, 3, 2);
	CU_ASSERT_STRING_EQUAL(key, "open/0000000000000003/00000002");
	t = vms_cat_open_encode(&o);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_open_decode(&kv, &go, NULL), 0);
	CU_ASSERT(go.id == 3 && go.gateway == 2 && go.incarnation == 5);
	free(t);
}

static void branch_snap_and_ack_round_trip(void)
{
	struct vms_cat_branch b = {.branch = 9,
				   .lineage = 3,
				   .owner = 7,
				   .salted = true,
				   .state = 1,
				   .nancestors = 2,
				   .ancestor = {{5, 4, 1024}, {3, 2, 77}}},
			      gb;
	struct vms_cat_snap s = {.volume = "pool/demo",
				 .name = "monday",
				 .id = 3,
				 .branch = 3,
				 .snap_gen = 4,
				 .size_bytes = 1 << 20,
				 .state = 2,
				 .created_s = 9},
			    gs;
	struct vms_cat_ack a = {.id = 3,
				.gateway = 2,
				.incarnation = 5,
				.barrier_id = 6,
				.state = VMS_ACK_VETO},
			   ga;
	char key[VMS_CAT_KEY_BYTES_MAX], *t, vol[128], snap[104];
	struct vms_cat_kv kv;

	memset(b.salt, 0x5a, sizeof(b.salt));
	vms_cat_key_branch(key, 9);
	CU_ASSERT_STRING_EQUAL(key, "branch/0000000000000009");
	t = vms_cat_branch_encode(&b);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_branch_decode(&kv, &gb, NULL), 0);
	CU_ASSERT(gb.branch == 9 && gb.lineage == 3 && gb.owner == 7 && gb.salted &&
		  gb.state == 1 && gb.nancestors == 2 &&
		  !memcmp(gb.ancestor, b.ancestor, sizeof(gb.ancestor)) &&
		  !memcmp(gb.salt, b.salt, sizeof(b.salt)));
	free(t);

	memset(s.uuid, 0xcd, 16);
	CU_ASSERT_EQUAL(vms_cat_key_snap(key, s.volume, s.name, NULL), 0);
	CU_ASSERT_STRING_EQUAL(key, "snap/pool/demo@monday");
	t = vms_cat_snap_encode(&s);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_snap_decode(&kv, &gs, NULL), 0);
	CU_ASSERT(!strcmp(gs.volume, s.volume) && !strcmp(gs.name, s.name) && gs.snap_gen == 4 &&
		  gs.branch == 3 && gs.id == 3 && gs.state == 2 && gs.size_bytes == s.size_bytes &&
		  gs.created_s == 9 && !gs.origin[0] && !strstr(t, "origin"));
	free(t);
	memset(s.origin, 0xef, 16); /* restored from another one */
	t = vms_cat_snap_encode(&s);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_snap_decode(&kv, &gs, NULL), 0);
	CU_ASSERT(!memcmp(gs.origin, s.origin, 16) && !memcmp(gs.uuid, s.uuid, 16));
	kv.key = "snap/pool/demo@tuesday";
	CU_ASSERT_EQUAL(vms_cat_snap_decode(&kv, &gs, NULL), VMS_E_CORRUPT);
	free(t);

	vms_cat_key_ack(key, 3, 2);
	t = vms_cat_ack_encode(&a);
	kv = kv_of(key, t);
	CU_ASSERT_EQUAL(vms_cat_ack_decode(&kv, &ga, NULL), 0);
	CU_ASSERT(ga.id == 3 && ga.gateway == 2 && ga.incarnation == 5 && ga.barrier_id == 6 &&
		  ga.state == VMS_ACK_VETO);
	free(t);

	CU_ASSERT_EQUAL(vms_cat_snap_name_split("pool/demo@monday", vol, snap, NULL), 0);
	CU_ASSERT(!strcmp(vol, "pool/demo") && !strcmp(snap, "monday"));
	CU_ASSERT_EQUAL(vms_cat_snap_name_split("demo", vol, snap, NULL), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_cat_snap_name_split("demo@", vol, snap, NULL), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_cat_snap_name_split("demo@a@b", vol, snap, NULL), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_cat_snap_name_split("@a", vol, snap, NULL), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_cat_snap_name_split("demo@-a", vol, snap, NULL), VMS_E_INVAL);
}

/* Volumes of the first release know neither id nor dedup. */
static void older_volume_records_are_read(void)
{
	struct vms_cat_kv kv = {
		.key = "volume/old",
		.val = "{\"name\":\"old\",\"uuid\":\"00000000-0000-4000-8000-000000000001\","
		       "\"branch\":5,\"lineage\":5,\"size_bytes\":4096,\"snap_gen\":1,"
		       "\"lun_fence\":1,\"write_ack\":0,\"state\":1,\"created_s\":0}"};
	struct vms_cat_volume v;

	CU_ASSERT_EQUAL(vms_cat_volume_decode(&kv, &v, NULL), 0);
	CU_ASSERT(v.id == 5 && v.dedup && v.barrier == VMS_BARRIER_NONE && !v.parent[0]);
}

/* Records of releases before failover: defaults for what they do not say. */
static void older_cluster_records_are_read(void)
{
	struct vms_cat_kv kv = {
		.key = "cluster",
		.val = "{\"uuid\":\"00000000-0000-4000-8000-000000000001\",\"part_bits\":4,"
		       "\"copies\":2,\"min_copies\":1,\"timing_factor\":1.0,\"next_branch\":1,"
		       "\"next_node\":1,\"next_gateway\":1,\"has_data\":false}"};
	struct vms_cat_cluster c;
	struct vms_cat_node n;

	CU_ASSERT_EQUAL(vms_cat_cluster_decode(&kv, &c, NULL), 0);
	CU_ASSERT(c.rebuild_after_s == VMS_REBUILD_AFTER_S && c.move_bytes_s == VMS_MOVE_BYTES_S &&
		  c.scrub_days == VMS_SCRUB_DAYS && c.gateways_from == 0);
	kv.key = "node/00000001";
	kv.val = "{\"id\":1,\"name\":\"n\",\"address\":\"a\",\"zone\":\"\",\"weight\":100,"
		 "\"incarnation\":1}";
	CU_ASSERT_EQUAL(vms_cat_node_decode(&kv, &n, NULL), 0);
	CU_ASSERT_EQUAL(n.state, VMS_NODE_IN);
}

static void damage_is_named(void)
{
	static const struct {
		const char *key, *val, *says;
	} bad[] = {
		{"node/00000001", "{", "node/00000001"},
		{"node/00000001", "[]", "JSON object"},
		{"node/00000001", "{\"id\":2}", "\"id\""},
		{"node/1", "{\"id\":1}", "node/<8 hex digits>"},
		{"node/0000000G", "{\"id\":1}", "node/<8 hex digits>"},
		{"node/00000001", "{\"id\":1}", "\"name\""},
		{"node/00000001", "{\"id\":-1}", "\"id\""},
		{"node/00000001", "{\"id\":1,\"id\":1}", "duplicate"},
		{"node/00000001",
		 "{\"id\":1,\"name\":\"n\",\"address\":\"a\",\"zone\":\"\",\"weight\":\"100\"}",
		 "\"weight\""},
	};
	struct vms_cat_node n;
	struct vms_part_conf p;
	struct vms_cat_volume v;
	struct vms_errmsg e;
	struct vms_cat_kv kv;
	uint32_t num;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		kv = kv_of(bad[i].key, bad[i].val);
		CU_ASSERT_EQUAL(vms_cat_node_decode(&kv, &n, &e), VMS_E_CORRUPT);
		if (!strstr(e.text, bad[i].says))
			printf("\n\"%s\" lacks \"%s\"", e.text, bad[i].says);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, bad[i].says));
	}
	kv = kv_of("part/0000", "{\"epoch\":1,\"primary\":1,\"members\":[],\"loss_epoch\":0}");
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &p, &e), VMS_E_CORRUPT);
	kv = kv_of("part/0000", "{\"epoch\":1,\"primary\":1,\"members\":[[1,0],[2,0],[3,0],[4,0],"
				"[5,0],[6,0]],\"loss_epoch\":0}");
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &p, &e), VMS_E_CORRUPT);
	kv = kv_of("part/0000", "{\"epoch\":1,\"primary\":1,\"members\":[[1]],\"loss_epoch\":0}");
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &p, &e), VMS_E_CORRUPT);
	kv = kv_of("part/0000", "{\"epoch\":1,\"primary\":1,\"members\":[[1,0]],\"loss_epoch\":0,"
				"\"want\":[1,1]}");
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &p, &e), VMS_E_CORRUPT);
	kv = kv_of("part/0000", "{\"epoch\":1,\"primary\":1,\"members\":[[1,0]],\"loss_epoch\":0,"
				"\"want\":[1,2,3,4,5,6]}");
	CU_ASSERT_EQUAL(vms_cat_part_decode(&kv, &num, &p, &e), VMS_E_CORRUPT);
	kv = kv_of("volume/x", "{\"name\":\"y\"}");
	CU_ASSERT_EQUAL(vms_cat_volume_decode(&kv, &v, &e), VMS_E_CORRUPT);
	kv = kv_of("volume/x", NULL);
	CU_ASSERT_EQUAL(vms_cat_volume_decode(&kv, &v, &e), VMS_E_NOENT);
}

static void volume_names_are_checked(void)
{
	static const char *const ok[] = {"a", "demo", "pool/demo", "A.b_c-9", "0"};
	static const char *const bad[] = {
		"",
		"-a",
		".a",
		"a b",
		"a/",
		"/a",
		"a/b/c",
		"a//b",
		"a/-b",
		"a/.b",
		"\xc3\xa4",
		"a,b",
		"a@b",
		"0123456789012345678901234567890123456789012345678901234567"
		"8901234567890123456789012345678901234567890"};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_errmsg e;

	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		CU_ASSERT_EQUAL(vms_cat_volume_name_check(ok[i], &e), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e.text[0] = 0;
		CU_ASSERT_EQUAL(vms_cat_volume_name_check(bad[i], &e), VMS_E_INVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "volume name"));
		CU_ASSERT_EQUAL(vms_cat_key_volume(key, bad[i], &e), VMS_E_INVAL);
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(cluster_round_trips),
	VMS_TEST(node_round_trips),
	VMS_TEST(part_round_trips),
	VMS_TEST(load_and_drain_of_a_gateway),
	VMS_TEST(gateway_volume_and_open_round_trip),
	VMS_TEST(branch_snap_and_ack_round_trip),
	VMS_TEST(older_volume_records_are_read),
	VMS_TEST(older_cluster_records_are_read),
	VMS_TEST(damage_is_named),
	VMS_TEST(volume_names_are_checked),
};

VMS_TEST_MAIN("cluster/cat_records", tests)
