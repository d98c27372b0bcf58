// SPDX-License-Identifier: GPL-2.0-only
#include "backend/meta_lmdb.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/bytes.h"
#include "utils/lib/rng.h"

static char dir[64];
static struct vms_meta_lmdb *db;
static struct vms_errmsg msg;

static void setup(uint64_t map_bytes)
{
	strcpy(dir, "/tmp/vms-lmdb-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	CU_ASSERT_EQUAL_FATAL(vms_meta_lmdb_open(&db, dir, map_bytes, &msg), 0);
}

static void teardown(void)
{
	char path[96];

	vms_meta_lmdb_close(db);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", dir);
	unlink(path);
	rmdir(dir);
}

static void values_survive_a_reopen(void)
{
	struct vms_meta_batch b = {0};
	char out[16];

	setup(16 << 20);
	vms_meta_batch_put(&b, "Va", 2, "one", 3);
	vms_meta_batch_put(&b, "Vb", 2, "two", 3);
	CU_ASSERT_EQUAL(vms_meta_lmdb_commit(db, &b), 0);
	vms_meta_lmdb_close(db);
	CU_ASSERT_EQUAL_FATAL(vms_meta_lmdb_open(&db, dir, 16 << 20, &msg), 0);
	CU_ASSERT_EQUAL(vms_meta_lmdb_get(db, "Va", 2, out, sizeof(out)), 7);
	CU_ASSERT_EQUAL(memcmp(out, "one", 3), 0);
	/* a short room gets what fits */
	memset(out, 'x', sizeof(out));
	CU_ASSERT_EQUAL(vms_meta_lmdb_get(db, "Vb", 2, out, 2), 7);
	CU_ASSERT_EQUAL(memcmp(out, "twx", 3), 0);
	CU_ASSERT_EQUAL(vms_meta_lmdb_get(db, "Vc", 2, out, 2), VMS_E_NOENT);
	vms_meta_batch_reset(&b);
	vms_meta_batch_del(&b, "Va", 2);
	vms_meta_batch_del(&b, "not there", 9);
	CU_ASSERT_EQUAL(vms_meta_lmdb_commit(db, &b), 0);
	CU_ASSERT_EQUAL(vms_meta_lmdb_get(db, "Va", 2, out, 2), VMS_E_NOENT);
	vms_meta_batch_free(&b);
	teardown();
}

static int nth;
static int stop_at(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		   uint32_t val_bytes)
{
	char out[16];

	/* the store may be read from inside */
	CU_ASSERT_TRUE(vms_meta_lmdb_get(db, key, key_bytes, out, sizeof(out)) > 0);
	return --nth == 0 ? 99 : 0;
}

static void edges_of_ranges(void)
{
	struct vms_meta_batch b = {0};
	uint8_t key[8], val[8];
	uint32_t n = sizeof(key);

	setup(16 << 20);
	CU_ASSERT_EQUAL(vms_meta_lmdb_last_le(db, "x", 1, key, &n, val, 8), VMS_E_NOENT);
	vms_meta_batch_put(&b, "b", 1, "", 0);
	vms_meta_batch_put(&b, "bb", 2, "", 0);
	vms_meta_batch_put(&b, "d", 1, "", 0);
	CU_ASSERT_EQUAL(vms_meta_lmdb_commit(db, &b), 0);
	CU_ASSERT_EQUAL(vms_meta_lmdb_last_le(db, "a", 1, key, &n, val, 8), VMS_E_NOENT);
	n = sizeof(key);
	CU_ASSERT_EQUAL(vms_meta_lmdb_last_le(db, "c", 1, key, &n, val, 8), 4);
	CU_ASSERT_EQUAL(n, 2);
	n = sizeof(key);
	CU_ASSERT_EQUAL(vms_meta_lmdb_last_le(db, "b", 1, key, &n, val, 8), 4);
	CU_ASSERT_EQUAL(n, 1);
	n = sizeof(key);
	CU_ASSERT_EQUAL(vms_meta_lmdb_last_le(db, "z", 1, key, &n, val, 8), 4);
	CU_ASSERT_EQUAL(key[0], 'd');
	nth = 99;
	CU_ASSERT_EQUAL(vms_meta_lmdb_range(db, "b", 1, "d", 1, stop_at, NULL), 0);
	CU_ASSERT_EQUAL(nth, 97);
	nth = 2;
	CU_ASSERT_EQUAL(vms_meta_lmdb_range(db, "a", 1, "z", 1, stop_at, NULL), 99);
	vms_meta_batch_free(&b);
	teardown();
}

struct cmp {
	struct mem_disk *m;
	size_t at;
	unsigned wrong;
};
static int cmp_fn(void *arg, const uint8_t *key, uint32_t key_bytes, const uint8_t *val,
		  uint32_t val_bytes)
{
	struct cmp *c = arg;
	const struct mem_kv *kv = &c->m->kv.d[c->at++];

	if (mem_cmp(kv->key, kv->key_bytes, key, key_bytes) || kv->val_bytes != val_bytes ||
	    memcmp(kv->val, val, val_bytes))
		c->wrong++;
	return 0;
}

static void random_batches_match_a_model(void)
{
	struct vms_meta_batch b = {0};
	static uint8_t val[2000], got[2000], model_val[2000];
	struct vms_rng rng;
	struct mem_disk m;
	unsigned wrong = 0;

	setup(64 << 20);
	mem_disk_init(&m, 0);
	vms_rng_init(&rng, 11);
	for (unsigned i = 0; i < 300; i++) {
		uint8_t key[3], fk[40], mk[40];
		uint32_t fn = sizeof(fk), mn = sizeof(mk);

		vms_meta_batch_reset(&b);
		for (unsigned n = (unsigned)vms_rng_below(&rng, 30); n; n--) {
			uint32_t kb = 1 + (uint32_t)vms_rng_below(&rng, 3);

			for (unsigned k = 0; k < 3; k++)
				key[k] = (uint8_t)vms_rng_below(&rng, 12);
			vms_rng_fill(&rng, val, sizeof(val));
			if (vms_rng_below(&rng, 3))
				vms_meta_batch_put(&b, key, kb, val,
						   (uint32_t)vms_rng_below(&rng, 1900));
			else
				vms_meta_batch_del(&b, key, kb);
		}
		wrong += vms_meta_lmdb_commit(db, &b) != 0;
		mem_apply(&m, &b);
		for (unsigned n = 0; n < 20; n++) {
			int a, c;

			for (unsigned k = 0; k < 3; k++)
				key[k] = (uint8_t)vms_rng_below(&rng, 12);
			fn = sizeof(fk);
			mn = sizeof(mk);
			a = vms_meta_lmdb_last_le(db, key, 3, fk, &fn, got, sizeof(got));
			c = mem_meta_last_le(&m, key, 3, mk, &mn, model_val, sizeof(model_val));
			wrong += a != c;
			if (a >= 0 && a == c)
				wrong += mem_cmp(fk, fn, mk, mn) ||
					 memcmp(got, model_val, (size_t)a);
		}
	}
	struct cmp c = {.m = &m};

	wrong += vms_meta_lmdb_range(db, "\0", 1, "\xff", 1, cmp_fn, &c) != 0;
	CU_ASSERT_EQUAL(wrong + c.wrong, 0);
	CU_ASSERT_EQUAL(c.at, m.kv.n);
	vms_meta_batch_free(&b);
	mem_disk_free(&m);
	teardown();
}

/* Full: the failed batch leaves nothing behind, reading goes on, and deleting
 * brings the reported use down again. */
static void full_map_is_an_error_that_deleting_heals(void)
{
	struct vms_meta_batch b = {0};
	static uint8_t val[1000];
	uint8_t key[4], got[8];
	uint32_t n = 0, high;
	int rc;

	setup(2 << 20);
	for (;;) {
		vms_meta_batch_reset(&b);
		for (unsigned i = 0; i < 50; i++, n++) {
			vms_put_be32(key, n);
			vms_meta_batch_put(&b, key, 4, val, sizeof(val));
		}
		rc = vms_meta_lmdb_commit(db, &b);
		if (rc || n > 100000)
			break;
	}
	CU_ASSERT_EQUAL(rc, VMS_E_FULL);
	CU_ASSERT_TRUE(n > 500);
	vms_put_be32(key, n - 1);
	CU_ASSERT_EQUAL(vms_meta_lmdb_get(db, key, 4, got, 8), VMS_E_NOENT);
	vms_put_be32(key, n - 51);
	CU_ASSERT_EQUAL(vms_meta_lmdb_get(db, key, 4, got, 8), 1004);
	high = vms_meta_lmdb_used_permille(db);
	CU_ASSERT_TRUE(high > 800);
	for (uint32_t i = 0; i < n - 50; i++) {
		if (i % 20 == 0) {
			rc = vms_meta_lmdb_commit(db, &b);
			if (i)
				CU_ASSERT_EQUAL(rc, 0);
			vms_meta_batch_reset(&b);
		}
		vms_put_be32(key, i);
		vms_meta_batch_del(&b, key, 4);
	}
	CU_ASSERT_EQUAL(vms_meta_lmdb_commit(db, &b), 0);
	CU_ASSERT_TRUE(vms_meta_lmdb_used_permille(db) < high / 2);
	vms_meta_batch_free(&b);
	teardown();
}

static void errors_name_the_folder(void)
{
	CU_ASSERT_NOT_EQUAL(vms_meta_lmdb_open(&db, "/nonexistent/meta", 1 << 20, &msg), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "/nonexistent/meta"));
}

static const struct vms_test tests[] = {
	VMS_TEST(values_survive_a_reopen),	VMS_TEST(edges_of_ranges),
	VMS_TEST(random_batches_match_a_model), VMS_TEST(full_map_is_an_error_that_deleting_heals),
	VMS_TEST(errors_name_the_folder),
};
VMS_TEST_MAIN("meta_lmdb", tests)
