// SPDX-License-Identifier: GPL-2.0-only
/* What vmstore does with volumes, against a catalog and a storage node that a
 * child process plays. */
#define CATALOG "127.0.3.1:13431"
#define NODE	"127.0.3.1:13432"
#include "tests/unit/tool_rig.h"

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

	begin(4);
	CU_ASSERT_EQUAL(volume_make(&t, &want, &v, &e), 0);
	CU_ASSERT_EQUAL(volume_load(&t, "imp", &view, &e), 0);
	CU_ASSERT(view.v.state == VOLUME_IMPORTING && !view.v.dedup);
	CU_ASSERT_STRING_EQUAL(volume_state_word(view.v.state), "importing");
	volume_free(&view);
	CU_ASSERT(!tool_get(&t, "import/imp", &kv, &e) && kv.n == 1);
	tool_kvs_free(&kv);
	CU_ASSERT_EQUAL(volume_make(&t, &want, &v, &e), VMS_E_EXIST);
	end();
}

static const struct vms_test tests[] = {
	VMS_TEST(create_gives_identity_and_counts_branches),
	VMS_TEST(create_needs_a_whole_ring),
	VMS_TEST(a_lost_answer_creates_no_second_volume),
	VMS_TEST(a_volume_may_begin_as_importing),
	VMS_TEST(delete_fences_trims_and_forgets),
	VMS_TEST(delete_is_refused_while_open),
	VMS_TEST(delete_goes_on_where_it_stopped),
	VMS_TEST(grow_touches_no_node),
	VMS_TEST(shrink_cuts_at_the_new_end),
	VMS_TEST(health_follows_the_nodes),
};

int main(void)
{
	rig_init();
	return vms_test_main_("utils/tool", tests, sizeof(tests) / sizeof(tests[0]));
}
