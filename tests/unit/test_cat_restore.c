// SPDX-License-Identifier: GPL-2.0-only
/* What a lost catalog is made of: the copy's records with their numbers far up, and the sets
 * that nodes know of later views. */
#include "backend/node_mutant.h"
#include "backend/views.h"
#include "cluster/cat_restore.h"
#include "tests/unit/learn_rig.h"

static struct vms_view newer[4];

static char *restored(const struct vms_restore *r, const char *key, char *val)
{
	struct vms_cat_kv kv = {.key = key, .val = val, .val_bytes = (uint32_t)strlen(val)};
	struct vms_errmsg msg = {""};
	char *to = vms_restore_val(r, &kv, &msg);

	if (!to)
		fprintf(stderr, "%s: %s\n", key, msg.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	free(val);
	return to;
}

static struct vms_part_conf part_of_copy(const struct vms_restore *r, uint32_t number)
{
	struct vms_part_conf p = {.epoch = 7,
				  .primary = 1,
				  .nmembers = 2,
				  .member = {{1, 11}, {2, 12}},
				  .nwant = 2,
				  .want = {3, 2},
				  .handover = 7},
			     is;
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_kv kv = {.key = key};
	uint32_t got;

	vms_cat_key_part(key, number);
	kv.val = restored(r, key, vms_cat_part_encode(&p));
	kv.val_bytes = (uint32_t)strlen(kv.val);
	CU_ASSERT_EQUAL_FATAL(vms_cat_part_decode(&kv, &got, &is, NULL), 0);
	free((char *)kv.val);
	CU_ASSERT_EQUAL(is.handover, 0);
	CU_ASSERT_EQUAL(is.nwant, 2);
	return is;
}

static void test_sets(void)
{
	struct vms_restore r = {.epoch = 9, .view = newer, .nviews = 4};
	struct vms_view later = {8, 2, {{3, 13}, {2, 12}}}, leads = {8, 2, {{2, 12}, {1, 11}}};
	struct vms_view older = {7, 1, {{3, 13}}}, unknown = {20, 0, {{0}}};
	struct vms_part_conf p;

	memset(newer, 0, sizeof(newer));
	/* the copy's; a view of the same epoch says nothing new */
	vms_restore_view_add(&r, 0, &older);
	p = part_of_copy(&r, 0);
	CU_ASSERT_EQUAL(p.epoch, 9 + VMS_RESTORE_MARGIN);
	CU_ASSERT_TRUE(p.primary == 1 && p.nmembers == 2 && p.member[1].node == 2);
	/* the set has gone on without its primary: that may have no copy any more */
	vms_restore_view_add(&r, 1, &older);
	vms_restore_view_add(&r, 1, &later);
	vms_restore_view_add(&r, 1, &older);
	vms_restore_view_add(&r, 1, &unknown);
	p = part_of_copy(&r, 1);
	CU_ASSERT_EQUAL(p.epoch, 9 + VMS_RESTORE_MARGIN);
	CU_ASSERT_TRUE(p.primary == 3 && p.nmembers == 2);
	CU_ASSERT_TRUE(p.member[0].node == 3 && p.member[1].node == 2);
	/* who led goes on, and stands first */
	vms_restore_view_add(&r, 2, &leads);
	p = part_of_copy(&r, 2);
	CU_ASSERT_TRUE(p.primary == 1 && p.member[0].node == 1 && p.member[1].node == 2);
	vms_restore_view_add(&r, 4, &later); /* there is no such partition */
}

static uint64_t incarnation(void *ctx, uint32_t node)
{
	(void)ctx;
	return node == 3 ? 40 : 0;
}

/* Nothing that may have been handed out since is handed out again. */
static void test_numbers(void)
{
	struct vms_restore r = {.gateway_incarnation = 50,
				.branch = 60,
				.snap_gen = 70,
				.lun_fence = 80,
				.gc_cycle = 90,
				.node = 9,
				.incarnation = incarnation};
	struct vms_cat_node n = {.id = 3, .name = "n", .weight = 100, .incarnation = 4, .state = 1};
	struct vms_cat_gateway g = {.id = 1, .name = "g", .incarnation = 5};
	struct vms_cat_volume v = {.name = "v",
				   .id = 6,
				   .branch = 6,
				   .lineage = 6,
				   .size_bytes = 4096,
				   .snap_gen = 7,
				   .lun_fence = 8,
				   .state = 1,
				   .barrier_id = 7};
	struct vms_cat_cluster c = {.part_bits = 2,
				    .copies = 2,
				    .min_copies = 1,
				    .timing_factor = 1.0,
				    .next_branch = 10,
				    .next_node = 4,
				    .next_gateway = 2};
	struct vms_cat_kv kv;
	char *val;

#define IS(name, enc, dec, out)                                                                    \
	do {                                                                                       \
		val = restored(&r, name, enc);                                                     \
		kv = (struct vms_cat_kv){                                                          \
			.key = name, .val = val, .val_bytes = (uint32_t)strlen(val)};              \
		CU_ASSERT_EQUAL_FATAL(dec(&kv, out, NULL), 0);                                     \
		free(val);                                                                         \
	} while (0)
	IS("node/00000003", vms_cat_node_encode(&n), vms_cat_node_decode, &n);
	CU_ASSERT_EQUAL(n.incarnation, 40 + VMS_RESTORE_MARGIN);
	IS("gateway/00000001", vms_cat_gateway_encode(&g), vms_cat_gateway_decode, &g);
	CU_ASSERT_EQUAL(g.incarnation, 50 + VMS_RESTORE_MARGIN);
	IS("volume/v", vms_cat_volume_encode(&v), vms_cat_volume_decode, &v);
	CU_ASSERT_EQUAL(v.snap_gen, 70 + VMS_RESTORE_MARGIN);
	CU_ASSERT_EQUAL(v.lun_fence, 80 + VMS_RESTORE_MARGIN);
	CU_ASSERT_EQUAL(v.barrier_id, v.snap_gen);
	IS("cluster", vms_cat_cluster_encode(&c), vms_cat_cluster_decode, &c);
	CU_ASSERT_EQUAL(c.next_branch, 61 + VMS_RESTORE_MARGIN);
	CU_ASSERT_TRUE(c.next_node > 10 && c.next_node < VMS_NODES_MAX);
	CU_ASSERT_TRUE(c.next_gateway == 2 && c.gateways_from == 50 + VMS_RESTORE_MARGIN);
#undef IS
	val = restored(&r, "gc", strdup("{\"cycle\": 5}"));
	CU_ASSERT_STRING_EQUAL(val, "{\"cycle\": 1000090}");
	free(val);
	val = restored(&r, "export/x", strdup("{\"a\": 1}"));
	CU_ASSERT_STRING_EQUAL(val, "{\"a\": 1}");
	free(val);
}

static struct vms_view view_on(unsigned node, uint32_t part)
{
	static struct vms_view v[64];

	CU_ASSERT_EQUAL_FATAL(vms_views_read(&R.node[node].disk, v, 1u << R.part_bits), 0);
	return v[part];
}

static void is_set(const char *what, const struct vms_view *v, uint64_t epoch, uint32_t a,
		   uint32_t b)
{
	bool ok = v->epoch == epoch && v->n == 2;

	for (uint32_t i = 0; i < v->n; i++)
		ok &= v->member[i].node == a || v->member[i].node == b;
	if (!ok)
		v_fail("%s: epoch %llu of %u nodes, not %llu", what, (unsigned long long)v->epoch,
		       v->n, (unsigned long long)epoch);
}

/* Who was in it before tells of the old set, who is in it of the new one, from the log and
 * when that has gone on. */
static void test_views(void)
{
	struct vms_part_conf is;
	struct vms_view v;
	uint64_t before;

	up(1, 91);
	v_create(0);
	for (unsigned c = 0; c < 20; c++)
		v_write(&V[0], 1, c, next_id++);
	is = rig_conf(&R, 0, NULL);
	before = is.epoch;
	CU_ASSERT_TRUE(learn_wait(2, 0, 60000));
	SET(0, 0, 2);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	is = rig_conf(&R, 0, NULL);
	CU_ASSERT_TRUE(is.epoch > before);
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	v = view_on(0, 0);
	is_set("in the log", &v, is.epoch, 1, 3);
	v = view_on(2, 0);
	is_set("in the log of the new member", &v, is.epoch, 1, 3);
	v = view_on(1, 0);
	CU_ASSERT_TRUE(v.epoch < is.epoch);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	is = rig_conf(&R, 0, NULL);
	for (unsigned t = 0; t < 6; t++) {
		for (unsigned c = 0; c < 100; c++)
			v_write(&V[0], t % V_EXTS, c, next_id++);
		for (unsigned i = 0; i < 3; i++)
			vms_wal_gen_seal(node(i)->wal);
		v_drain();
		rig_run(&R, 3000);
	}
	CU_ASSERT_EQUAL(rig_conf(&R, 0, NULL).epoch, is.epoch);
	CU_ASSERT_TRUE(part_on(0, 0)->recs_first > part_on(0, 0)->view_first);
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	v = view_on(0, 0);
	is_set("in the index", &v, is.epoch, 1, 3);
	v = view_on(2, 0);
	is_set("in the index of the other", &v, is.epoch, 1, 3);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("after all");
	v_down();
}

static const struct vms_test tests[] = {
	VMS_TEST(test_sets),
	VMS_TEST(test_numbers),
	VMS_TEST(test_views),
};
VMS_TEST_MAIN("catalog: restored", tests)
