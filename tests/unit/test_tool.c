// SPDX-License-Identifier: GPL-2.0-only
/* What vmstore does with volumes, against a catalog and a storage node that a
 * child process plays. */
#include "tests/unit/tool_rig.h"
#include "utils/tool/catalog_fill.h"
#include "utils/tool/domain.h"
#include "utils/tool/gwdrain.h"
#include "utils/tool/importing.h"

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

/* A copy of the catalog holds nothing that goes with a process. */
static void a_copy_leaves_out_what_passes(void)
{
	struct tool_kvs kvs = VMS_VEC_INIT;
	json_t *list = json_pack("[[s,s],[s,s],[s,s],[s,s]]", "cluster", "{}", "gwdrain/00000001",
				 "{}", "gwload/00000001", "{}", "gwsent/00000001", "{}");

	CU_ASSERT_EQUAL(catalog_kvs_add(&kvs, list), 0);
	json_decref(list);
	CU_ASSERT_EQUAL(kvs.n, 4);
	catalog_drop_passing(&kvs);
	CU_ASSERT_EQUAL(kvs.n, 2);
	CU_ASSERT_PTR_NOT_NULL(catalog_find(&kvs, "cluster"));
	CU_ASSERT_PTR_NOT_NULL(catalog_find(&kvs, "gwdrain/00000001"));
	tool_kvs_free(&kvs);
}

/* ---- gateways ---- */

static void gate_put(uint32_t id, bool up, unsigned sessions)
{
	struct vms_cat_gateway g = {.id = id, .incarnation = 1};
	struct vms_cat_gwload l = {.gateway = id, .sessions = sessions};
	char gkey[VMS_CAT_KEY_BYTES_MAX], lkey[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_op op[2] = {{gkey, NULL, 0}, {lkey, NULL, 0}};

	snprintf(g.name, sizeof(g.name), "gate%u", id);
	snprintf(g.portal, sizeof(g.portal), "10.0.0.%u:3260", id);
	snprintf(g.portals, sizeof(g.portals), "10.0.0.%u:3260", id);
	vms_cat_key_gateway(gkey, id);
	vms_cat_key_gwload(lkey, id);
	op[0].val = vms_cat_gateway_encode(&g);
	op[1].val = up ? vms_cat_gwload_encode(&l, "") : NULL;
	CU_ASSERT_EQUAL(tool_txn(&t, NULL, 0, op, 2, &e), 0);
	free((char *)op[0].val);
	free((char *)op[1].val);
}

static void the_last_gateway_is_not_drained(void)
{
	struct vms_cat_gateway g;
	struct gate_state s;
	bool was;

	begin(4);
	gate_put(11, true, 3);
	gate_put(12, true, 0);
	gate_put(13, false, 0);
	CU_ASSERT_EQUAL(gate_drain(&t, "nosuch", 5, false, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(gate_drain(&t, "gate11", 5, false, &e), 0);
	CU_ASSERT_EQUAL(gate_look(&t, "gate11", &s, &g, &e), 0);
	CU_ASSERT(s.draining && s.up && !s.knows && s.sessions == 3 && s.drain.seconds == 5);
	CU_ASSERT_STRING_EQUAL(gate_state_text(&g, &s), "draining");
	/* one that is down does not count, one that is drained neither */
	CU_ASSERT_EQUAL(gate_drain(&t, "gate12", 5, false, &e), VMS_E_BUSY);
	CU_ASSERT_EQUAL(gate_look(&t, "gate12", &s, &g, &e), 0);
	CU_ASSERT_STRING_EQUAL(gate_state_text(&g, &s), "up");
	CU_ASSERT_EQUAL(gate_drain(&t, "gate12", 5, true, &e), 0);
	/* again: another time, no error */
	CU_ASSERT_EQUAL(gate_drain(&t, "gate11", 9, true, &e), 0);
	CU_ASSERT_EQUAL(gate_look(&t, "gate11", &s, &g, &e), 0);
	CU_ASSERT_EQUAL(s.drain.seconds, 9);
	CU_ASSERT_EQUAL(gate_drain(&t, "gate13", 5, true, &e), 0);
	CU_ASSERT_EQUAL(gate_look(&t, "gate13", &s, &g, &e), 0);
	CU_ASSERT_STRING_EQUAL(gate_state_text(&g, &s), "drained,down");
	s.up = s.knows = true;
	CU_ASSERT_STRING_EQUAL(gate_state_text(&g, &s), "drained");
	CU_ASSERT_EQUAL(gate_undrain(&t, "gate11", &was, &e), 0);
	CU_ASSERT(was);
	CU_ASSERT_EQUAL(gate_undrain(&t, "gate11", &was, &e), 0);
	CU_ASSERT(!was);
	CU_ASSERT_EQUAL(gate_undrain(&t, "nosuch", &was, &e), VMS_E_NOENT);
	/* an answer that is lost does no harm */
	seen->drop_txn_answer = 1;
	CU_ASSERT_EQUAL(gate_drain(&t, "gate12", 7, false, &e), 0);
	CU_ASSERT_EQUAL(gate_look(&t, "gate12", &s, &g, &e), 0);
	CU_ASSERT(s.draining);
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

static void create_does_not_need_every_copy(void)
{
	struct vms_cat_cluster c = {.part_bits = 2,
				    .copies = 2,
				    .min_copies = 1,
				    .timing_factor = 1,
				    .next_branch = 7,
				    .next_node = 3,
				    .next_gateway = 1};
	struct vms_cat_node n = {.id = 2, .name = "n2", .weight = 100, .state = VMS_NODE_OUT};
	struct vms_cat_volume v;

	begin(4);
	put("cluster", vms_cat_cluster_encode(&c));
	/* one node for two copies: somebody forgot to join the other */
	CU_ASSERT_EQUAL(volume_create(&t, "a", 4096, 0, &v, &e), VMS_E_AGAIN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "2 copies need 2"));
	/* two nodes, of which one is away: it comes back, or another takes its place */
	put("node/00000002", vms_cat_node_encode(&n));
	CU_ASSERT_EQUAL(volume_create(&t, "a", 4096, 0, &v, &e), 0);
	end();
}

static void a_lost_answer_creates_no_second_volume(void)
{
	struct vms_cat_volume v;

	begin(4);
	seen->drop_txn_answer = 1;
	v = create("a", 4096);
	CU_ASSERT(v.branch == 7 && !memcmp(look("a").uuid, v.uuid, 16));
	end();
}

static struct vms_cat_branch branch(uint64_t id)
{
	struct vms_cat_branch b = {.state = 0};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_kv c;
	struct tool_kvs kv;

	vms_cat_key_branch(key, id);
	CU_ASSERT_EQUAL(tool_get(&t, key, &kv, &e), 0);
	if (kv.n) {
		c = tool_cat_kv(&kv.d[0]);
		CU_ASSERT_EQUAL(vms_cat_branch_decode(&c, &b, &e), 0);
	}
	tool_kvs_free(&kv);
	return b;
}

static void delete_changes_the_catalog_only(void)
{
	char uuid[37], key[VMS_CAT_KEY_BYTES_MAX];
	struct volume_view v;
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	tool_uuid_text(a.uuid, uuid);
	snprintf(key, sizeof(key), "pr/%s", uuid);
	put(key, strdup("{}"));
	snprintf(key, sizeof(key), "pr/%s/00000001", uuid);
	put(key, strdup("{}"));
	put("pr/ffffffff-0000-0000-0000-000000000000", strdup("{}"));
	put("loss/0000000000000007", strdup("3"));
	put("lossack/0000000000000007/port", strdup("3"));
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	CU_ASSERT(seen->floors == 0 && seen->trims == 0);
	CU_ASSERT_EQUAL(volume_load(&t, "a", &v, &e), VMS_E_NOENT);
	volume_free(&v);
	/* nodes learn from it that its pages may go */
	CU_ASSERT_EQUAL(branch(a.branch).state, 2);
	CU_ASSERT_EQUAL(count("loss"), 0);
	CU_ASSERT_EQUAL(count("pr/"), 1); /* another volume's */
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), VMS_E_NOENT);
	/* the number is not used again */
	CU_ASSERT_EQUAL(create("a", 4096).branch, a.branch + 1);
	end();
}

static void delete_of_an_old_volume_leaves_a_dead_branch(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	put("branch/0000000000000007", NULL);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	CU_ASSERT(branch(a.branch).state == 2 && branch(a.branch).lineage == a.lineage);
	end();
}

static void delete_is_refused_while_open(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	open_by(a.branch, true);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), VMS_E_OPEN);
	CU_ASSERT(look("a").state == VOLUME_READY && branch(a.branch).state == 1);
	open_by(a.branch, false);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	end();
}

static void delete_goes_on_where_it_stopped(void)
{
	struct vms_cat_volume v;

	begin(4);
	v = create("a", 1u << 20);
	v.state = VOLUME_DELETING; /* as a tool leaves it that dies */
	put("volume/a", vms_cat_volume_encode(&v));
	CU_ASSERT_EQUAL(volume_create(&t, "a", 4096, 0, &v, &e), VMS_E_EXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "vmstore volume rm"));
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	CU_ASSERT_EQUAL(count("volume/"), 0);
	for (int i = 1; i <= 5; i++) { /* any answer may be lost */
		create("b", 1u << 20);
		seen->drop_txn_answer = i;
		CU_ASSERT_EQUAL(volume_delete(&t, "b", false, &e), 0);
		seen->drop_txn_answer = 0;
		CU_ASSERT_EQUAL(count("volume/"), 0);
	}
	end();
}

static void domains_give_their_salt(void)
{
	struct vms_cat_branch b;
	struct vms_cat_volume v;
	struct volume_new w = {
		.name = "a", .size_bytes = 4096, .state = VOLUME_READY, .domain = "red"};
	uint64_t revision;
	uint8_t salt[32];

	begin(4);
	CU_ASSERT_EQUAL(volume_make(&t, &w, &v, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(domain_create(&t, "red", &e), 0);
	CU_ASSERT_EQUAL(domain_create(&t, "red", &e), VMS_E_EXIST);
	CU_ASSERT_EQUAL(domain_create(&t, "blue", &e), 0);
	CU_ASSERT_EQUAL(domain_create(&t, "../x", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(domain_salt(&t, "red", salt, &revision, &e), 0);
	CU_ASSERT_EQUAL(volume_make(&t, &w, &v, &e), 0);
	b = branch(v.branch);
	CU_ASSERT(b.salted && !memcmp(b.salt, salt, 32) && !strcmp(look("a").domain, "red"));
	CU_ASSERT_EQUAL(domain_salt(&t, "blue", salt, &revision, &e), 0);
	CU_ASSERT(memcmp(b.salt, salt, 32));
	CU_ASSERT_EQUAL(domain_remove(&t, "red", &e), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "(a)"));
	CU_ASSERT_EQUAL(domain_remove(&t, "blue", &e), 0);
	CU_ASSERT_EQUAL(volume_delete(&t, "a", false, &e), 0);
	CU_ASSERT_EQUAL(domain_remove(&t, "red", &e), 0);
	end();
}

static void dedup_is_set_while_open(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	open_by(a.branch, true);
	CU_ASSERT(look("a").dedup);
	CU_ASSERT_EQUAL(volume_set_dedup(&t, "a", false, &e), 0);
	CU_ASSERT(!look("a").dedup && look("a").lun_fence == a.lun_fence);
	CU_ASSERT_EQUAL(volume_set_dedup(&t, "b", false, &e), VMS_E_NOENT);
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
	CU_ASSERT_EQUAL(look("a").snap_gen, 1);
	/* one that has it open and is dead is shut out */
	open_by(look("a").branch, true);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 3u << 20, false, &old, &e), 0);
	CU_ASSERT(look("a").size_bytes == 3u << 20 && look("a").barrier == VMS_BARRIER_NONE);
	CU_ASSERT(seen->floor_gateways == 1 && !count("open/") && !count("ack/"));
	end();
}

/* ---- while gateways have it open ---- */

static void growing_is_known_to_all(void)
{
	struct vms_cat_volume a;
	uint64_t old;

	begin(4);
	a = create("a", 1u << 20);
	gateway_start(3, &a, RIG_GW_GOOD);
	gateway_start(4, &a, RIG_GW_GOOD);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 2u << 20, false, &old, &e), 0);
	CU_ASSERT(old == 1u << 20 && look("a").size_bytes == 2u << 20);
	CU_ASSERT(seen->gw[3].stopped == 1 && seen->gw[4].stopped == 1);
	CU_ASSERT(look("a").barrier == VMS_BARRIER_NONE && !look("a").barrier_quiet);
	CU_ASSERT(!count("ack/") && !seen->floors && !seen->trims);
	/* nothing to do, nobody is asked */
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 2u << 20, false, &old, &e), 0);
	CU_ASSERT_EQUAL(seen->gw[3].stopped, 1);
	end();
}

/* That its writes were let go meanwhile, or that it closes, harms nothing. */
static void growing_minds_no_veto(void)
{
	struct vms_cat_volume a;
	uint64_t old;

	begin(4);
	a = create("a", 1u << 20);
	gateway_start(3, &a, RIG_GW_VETO_ONCE);
	gateway_start(4, &a, RIG_GW_CLOSES);
	gateway_start(5, &a, RIG_GW_DIES);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 2u << 20, false, &old, &e), 0);
	CU_ASSERT(look("a").size_bytes == 2u << 20 && seen->gw[3].vetoes == 1);
	end();
}

static void shrinking_ends_commands_first(void)
{
	struct vms_cat_volume a;
	uint64_t old;

	begin(4);
	a = create("a", 64u << 20);
	gateway_start(3, &a, RIG_GW_GOOD);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 8u << 20, true, &old, &e), 0);
	CU_ASSERT(look("a").size_bytes == 8u << 20 && look("a").state == VOLUME_READY);
	CU_ASSERT_EQUAL(look("a").lun_fence, a.lun_fence + 1);
	CU_ASSERT(seen->gw[3].stopped == 1 && seen->gw[3].released == 1);
	/* the tail goes when everybody has the new size */
	CU_ASSERT(seen->gw[3].floors_at_release == 0 && seen->trims && !seen->trims_before_floor);
	/* killed half-way: the next one completes it */
	seen->fail_trim = VMS_E_IO;
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 4u << 20, true, &old, &e), VMS_E_IO);
	CU_ASSERT(look("a").state == VOLUME_SHRINKING && look("a").barrier == VMS_BARRIER_NONE);
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 16u << 20, false, &old, &e), 0);
	CU_ASSERT(look("a").size_bytes == 16u << 20 && look("a").state == VOLUME_READY);
	end();
}

static void a_reservation_is_respected(void)
{
	struct vms_cat_volume a;
	char key[64], uuid[37];
	uint64_t old;

	begin(4);
	a = create("a", 64u << 20);
	tool_uuid_text(a.uuid, uuid);
	snprintf(key, sizeof(key), "pr/%s", uuid);
	put(key, strdup("{\"type\":1}"));
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 8u << 20, true, &old, &e), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "reservation"));
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 128u << 20, false, &old, &e), 0);
	put(key, strdup("{\"type\":0,\"reserve\":[1,1,\"1\"]}"));
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 8u << 20, true, &old, &e), VMS_E_BUSY);
	put(key, strdup("{\"type\":0}"));
	CU_ASSERT_EQUAL(volume_resize(&t, "a", 8u << 20, true, &old, &e), 0);
	end();
}

static void write_protection_is_known_to_all(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "a", true, &e), 0);
	CU_ASSERT(look("a").write_protect);
	gateway_start(3, &a, RIG_GW_GOOD);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "a", false, &e), 0);
	CU_ASSERT(!look("a").write_protect && look("a").barrier == VMS_BARRIER_NONE);
	CU_ASSERT(seen->gw[3].stopped == 1 && seen->gw[3].released == 1);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "a", false, &e), 0);
	CU_ASSERT_EQUAL(seen->gw[3].stopped, 1);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "b", true, &e), VMS_E_NOENT);
	end();
}

/* It dies between the stop and the release: it is shut out, the others go on. */
static void one_that_dies_in_the_middle_is_not_waited_for(void)
{
	struct vms_cat_volume a;

	begin(4);
	a = create("a", 1u << 20);
	gateway_start(3, &a, RIG_GW_GOOD);
	gateway_start(4, &a, RIG_GW_DIES);
	CU_ASSERT_EQUAL(volume_set_write_protect(&t, "a", true, &e), 0);
	CU_ASSERT(look("a").write_protect && seen->gw[3].released == 1);
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

static const char *health_now(struct view_health *h)
{
	const char *word;
	struct view v;

	CU_ASSERT_EQUAL(view_load(&t, &v, &e), 0);
	view_ask_nodes(&t, &v);
	view_health(&v, h);
	word = view_health_word(&v, h);
	view_free(&v);
	return word;
}

static void ok_is_only_said_when_all_is_well(void)
{
	struct vms_cat_node n = {.id = 2, .name = "n2", .weight = 100};
	struct vms_part_conf pc = {
		.epoch = 2, .primary = 1, .nmembers = 2, .member = {{1, 0}, {2, 0}}};
	struct view_health h;

	begin(4);
	CU_ASSERT_STRING_EQUAL(health_now(&h), "ok");
	seen->full = true;
	CU_ASSERT_STRING_EQUAL(health_now(&h), "degraded");
	CU_ASSERT(h.nodes_full == 1 && h.nodes_up == 1 && h.complete == 4);
	seen->full = false;
	/* a node that holds nothing is dead all the same */
	snprintf(n.address, sizeof(n.address), "%s", rig_nobody);
	put("node/00000002", vms_cat_node_encode(&n));
	CU_ASSERT_STRING_EQUAL(health_now(&h), "degraded");
	CU_ASSERT(h.nodes_up == 1 && h.complete == 4);
	put("part/0001", vms_cat_part_encode(&pc));
	CU_ASSERT_STRING_EQUAL(health_now(&h), "degraded");
	CU_ASSERT(h.degraded == 1 && h.complete == 3 && !h.down);
	pc.primary = pc.member[0].node = 2;
	pc.nmembers = 1;
	put("part/0001", vms_cat_part_encode(&pc));
	CU_ASSERT_STRING_EQUAL(health_now(&h), "down");
	CU_ASSERT_EQUAL(h.down, 1);
	end();
}

/* A volume that is being imported and the note about it come into being together. */
static void a_volume_may_begin_as_importing(void)
{
	const struct volume_new want = {.name = "imp",
					.size_bytes = 1 << 20,
					.state = VOLUME_IMPORTING,
					.no_dedup = true,
					.key = "import/imp",
					.val = "{}"};
	struct vms_cat_volume v;
	struct volume_view view;
	struct tool_kvs kv;
	uint64_t old;

	begin(4);
	CU_ASSERT_EQUAL(volume_make(&t, &want, &v, &e), 0);
	CU_ASSERT_EQUAL(volume_load(&t, "imp", &view, &e), 0);
	CU_ASSERT(view.v.state == VOLUME_IMPORTING && !view.v.dedup);
	CU_ASSERT_STRING_EQUAL(volume_state_word(view.v.state), "importing");
	volume_free(&view);
	CU_ASSERT(!tool_get(&t, "import/imp", &kv, &e) && kv.n == 1);
	tool_kvs_free(&kv);
	CU_ASSERT_EQUAL(volume_make(&t, &want, &v, &e), VMS_E_EXIST);
	/* nothing makes it look whole */
	CU_ASSERT_EQUAL(volume_resize(&t, "imp", 4096, true, &old, &e), VMS_E_BUSY);
	open_by(view.v.id, true);
	CU_ASSERT_EQUAL(volume_delete(&t, "imp", false, &e), VMS_E_OPEN);
	CU_ASSERT_EQUAL(look("imp").state, VOLUME_IMPORTING);
	open_by(view.v.id, false);
	CU_ASSERT_EQUAL(volume_delete(&t, "imp", false, &e), 0);
	CU_ASSERT_EQUAL(count("import/"), 0);
	end();
}

/* Between two sizes a volume is ready and its note stays; it goes when that is over, and never
 * while somebody else's import needs it. */
static void a_note_stays_while_a_size_changes(void)
{
	const struct importing diff = {.kind = "diff", .base = "a", .resize = 2 << 20};
	const struct importing image = {.kind = "image", .source = "/x"};
	struct volume_new want = {.name = "imp", .size_bytes = 1 << 20, .state = VOLUME_IMPORTING};
	struct importing in;
	struct vms_cat_volume v;
	char *val;

	begin(4);
	want.key = "import/imp";
	want.val = val = importing_encode(&diff);
	CU_ASSERT_EQUAL(volume_make(&t, &want, &v, &e), 0);
	free(val);
	CU_ASSERT_EQUAL(importing_end(&t, "imp", &diff, &e), 0);
	CU_ASSERT_EQUAL(look("imp").state, VOLUME_READY);
	CU_ASSERT_EQUAL_FATAL(importing_load(&t, "imp", &in, &e), 0);
	CU_ASSERT(in.resize == 2 << 20 && !strcmp(in.kind, "diff") && !strcmp(in.base, "a"));
	CU_ASSERT_EQUAL(importing_begin(&t, "imp", &image, &e), 0);
	importing_forget(&t, "imp");
	CU_ASSERT_EQUAL_FATAL(importing_load(&t, "imp", &in, &e), 0);
	CU_ASSERT(!in.resize && !strcmp(in.kind, "image"));
	CU_ASSERT_EQUAL(importing_end(&t, "imp", &diff, &e), 0);
	importing_forget(&t, "imp");
	CU_ASSERT_EQUAL(importing_load(&t, "imp", &in, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(look("imp").state, VOLUME_READY);
	importing_forget(&t, "none");
	CU_ASSERT_EQUAL(count("volume/none"), 0);
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(create_gives_identity_and_counts_branches),
	VMS_TEST(a_copy_leaves_out_what_passes),
	VMS_TEST(the_last_gateway_is_not_drained),
	VMS_TEST(create_needs_a_whole_ring),
	VMS_TEST(create_does_not_need_every_copy),
	VMS_TEST(a_lost_answer_creates_no_second_volume),
	VMS_TEST(a_volume_may_begin_as_importing),
	VMS_TEST(a_note_stays_while_a_size_changes),
	VMS_TEST(delete_changes_the_catalog_only),
	VMS_TEST(delete_of_an_old_volume_leaves_a_dead_branch),
	VMS_TEST(delete_is_refused_while_open),
	VMS_TEST(delete_goes_on_where_it_stopped),
	VMS_TEST(domains_give_their_salt),
	VMS_TEST(dedup_is_set_while_open),
	VMS_TEST(grow_touches_no_node),
	VMS_TEST(growing_is_known_to_all),
	VMS_TEST(growing_minds_no_veto),
	VMS_TEST(shrinking_ends_commands_first),
	VMS_TEST(a_reservation_is_respected),
	VMS_TEST(write_protection_is_known_to_all),
	VMS_TEST(one_that_dies_in_the_middle_is_not_waited_for),
	VMS_TEST(shrink_cuts_at_the_new_end),
	VMS_TEST(health_follows_the_nodes),
	VMS_TEST(ok_is_only_said_when_all_is_well),
};

int main(void)
{
	rig_init();
	return vms_test_main_("utils/tool", tests, sizeof(tests) / sizeof(tests[0]));
}
