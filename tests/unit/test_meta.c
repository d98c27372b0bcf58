// SPDX-License-Identifier: GPL-2.0-only
#include "backend/meta.h"
#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"

static void commit(struct mem_disk *m, struct vms_meta_batch *b)
{
	struct vms_disk_event ev;

	m->disk.ops->meta_commit(m, b, 1);
	CU_ASSERT_TRUE(mem_disk_pop(m, &ev));
	vms_meta_batch_reset(b);
}

static void value_comes_back_without_its_checksum(void)
{
	struct vms_meta_batch b = {0};
	struct mem_disk m;
	char out[16];

	mem_disk_init(&m, 0);
	CU_ASSERT_EQUAL(vms_meta_batch_put(&b, "Ta", 2, "hello", 5), 0);
	CU_ASSERT_EQUAL(vms_meta_batch_put(&b, "Tb", 2, "", 0), 0);
	commit(&m, &b);
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Ta", 2, out, sizeof(out)), 5);
	CU_ASSERT_EQUAL(memcmp(out, "hello", 5), 0);
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Tb", 2, out, sizeof(out)), 0);
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Tc", 2, out, sizeof(out)), VMS_E_NOENT);
	/* a short room takes what fits and still tells the length */
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Ta", 2, out, 2), 5);
	vms_meta_batch_del(&b, "Ta", 2);
	commit(&m, &b);
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Ta", 2, out, sizeof(out)), VMS_E_NOENT);
	vms_meta_batch_free(&b);
	mem_disk_free(&m);
}

static void damaged_and_misplaced_values_are_found(void)
{
	struct vms_meta_batch b = {0};
	struct mem_disk m;
	char out[16];

	mem_disk_init(&m, 0);
	vms_meta_batch_put(&b, "Ka", 2, "value", 5);
	vms_meta_batch_put(&b, "Kb", 2, "other", 5);
	commit(&m, &b);
	m.kv.d[0].val[1] ^= 1;
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Ka", 2, out, 16), VMS_E_CORRUPT);
	m.kv.d[0].val[1] ^= 1;
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Ka", 2, out, 16), 5);
	/* the value of another key */
	memcpy(m.kv.d[0].val, m.kv.d[1].val, 9);
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "Ka", 2, out, 16), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_meta_check((const uint8_t *)"K", 1, (const uint8_t *)"abc", 3),
			VMS_E_CORRUPT);
	vms_meta_batch_free(&b);
	mem_disk_free(&m);
}

static void large_values_and_growing_batches(void)
{
	static uint8_t val[VMS_META_VAL_BYTES_MAX], out[VMS_META_VAL_BYTES_MAX];
	struct vms_meta_batch b = {0};
	struct vms_meta_op op;
	struct mem_disk m;
	unsigned n = 0;

	mem_disk_init(&m, 0);
	for (size_t i = 0; i < sizeof(val); i++)
		val[i] = (uint8_t)(i * 31);
	for (char k = 'a'; k < 'a' + 8; k++)
		CU_ASSERT_EQUAL(vms_meta_batch_put(&b, &k, 1, val, sizeof(val)), 0);
	for (size_t at = 0; vms_meta_batch_next(&b, &at, &op); n++)
		CU_ASSERT_EQUAL(op.val_bytes, sizeof(val) + 4);
	CU_ASSERT_EQUAL(n, 8);
	CU_ASSERT_EQUAL(b.nops, 8);
	commit(&m, &b);
	CU_ASSERT_EQUAL(vms_meta_get(&m.disk, "c", 1, out, sizeof(out)), (int)sizeof(val));
	CU_ASSERT_EQUAL(memcmp(val, out, sizeof(val)), 0);
	vms_meta_batch_free(&b);
	mem_disk_free(&m);
}

static const struct vms_test tests[] = {
	VMS_TEST(value_comes_back_without_its_checksum),
	VMS_TEST(damaged_and_misplaced_values_are_found),
	VMS_TEST(large_values_and_growing_batches),
};
VMS_TEST_MAIN("meta", tests)
