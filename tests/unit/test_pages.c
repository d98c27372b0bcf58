// SPDX-License-Identifier: GPL-2.0-only
#include "backend/page_patch.h"
#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/rng.h"

static struct mem_disk mem;
static struct vms_pages *ps;

static void setup(void)
{
	mem_disk_init(&mem, 0);
	ps = vms_pages_new(&mem.disk);
}

static void teardown(void)
{
	vms_pages_free(ps);
	mem_disk_free(&mem);
}

static void checkpoint(void)
{
	struct vms_meta_batch b = {0};
	struct vms_disk_event ev;

	CU_ASSERT_EQUAL(vms_pages_freeze(ps, &b), 0);
	mem.disk.ops->meta_commit(&mem, &b, 1);
	mem_disk_pop(&mem, &ev);
	vms_pages_thaw(ps);
	vms_meta_batch_free(&b);
}

static int put1(const struct vms_page_key *k, uint64_t seq, uint16_t i, vms_addr to)
{
	return vms_pages_apply(ps, k, NULL, seq, &i, &to, 1, NULL, NULL, NULL);
}

static vms_addr get1(const struct vms_page_key *k, uint16_t i, int *err)
{
	struct vms_page p;

	*err = vms_pages_lookup(ps, k, &p);
	return *err ? 0 : p.entry[i];
}

static void key_order_is_byte_order(void)
{
	struct vms_page_key a = {1, 2, 3, 255}, b = {1, 2, 3, 256}, d;
	uint8_t ka[VMS_PAGE_KEY_BYTES], kb[VMS_PAGE_KEY_BYTES];

	vms_page_key_encode(ka, &a);
	vms_page_key_encode(kb, &b);
	CU_ASSERT_TRUE(memcmp(ka, kb, sizeof(ka)) < 0);
	CU_ASSERT_EQUAL(vms_page_key_decode(kb, sizeof(kb), &d), 0);
	CU_ASSERT_EQUAL(d.snap_gen, 256);
	CU_ASSERT_EQUAL(d.subext, 3);
	CU_ASSERT_EQUAL(vms_page_key_decode(kb, sizeof(kb) - 1, &d), VMS_E_CORRUPT);
}

static void one_seek_per_lookup_none_in_the_delta(void)
{
	struct vms_page_key k = {1, 2, 3, 1};
	uint64_t before;
	int err;

	setup();
	put1(&k, 5, 9, 4096);
	before = vms_pages_lookups(ps);
	CU_ASSERT_EQUAL(get1(&k, 9, &err), 4096);
	CU_ASSERT_EQUAL(vms_pages_lookups(ps), before);
	checkpoint();
	CU_ASSERT_EQUAL(vms_pages_delta_count(ps), 0);
	mem.seeks = 0;
	CU_ASSERT_EQUAL(get1(&k, 9, &err), 4096);
	CU_ASSERT_EQUAL(mem.seeks, 1);
	k.subext = 4;
	get1(&k, 9, &err);
	CU_ASSERT_EQUAL(err, VMS_E_NOENT);
	CU_ASSERT_EQUAL(mem.seeks, 2);
	teardown();
}

static void newer_snap_gen_starts_as_a_copy(void)
{
	struct vms_page_key old = {1, 2, 3, 4}, new = {1, 2, 3, 9}, mid = {1, 2, 3, 8};
	struct vms_page_key before = {1, 2, 3, 3};
	int err;

	setup();
	for (int stored = 0; stored < 2; stored++) {
		put1(&old, 5, 1, 4096);
		put1(&old, 6, 2, 8192);
		if (stored)
			checkpoint();
		put1(&new, 7, 1, 12288);
		CU_ASSERT_EQUAL(get1(&new, 1, &err), 12288);
		CU_ASSERT_EQUAL(get1(&new, 2, &err), 8192);
		CU_ASSERT_EQUAL(get1(&mid, 1, &err), 4096);
		get1(&before, 1, &err);
		CU_ASSERT_EQUAL(err, VMS_E_NOENT);
		teardown();
		setup();
	}
	teardown();
}

static void replay_skips_what_is_there(void)
{
	struct vms_page_key k = {1, 2, 3, 4};
	int err;

	setup();
	CU_ASSERT_EQUAL(put1(&k, 10, 1, 4096), 0);
	CU_ASSERT_EQUAL(put1(&k, 10, 1, 8192), 1);
	CU_ASSERT_EQUAL(put1(&k, 9, 1, 8192), 1);
	checkpoint();
	CU_ASSERT_EQUAL(put1(&k, 10, 1, 8192), 1);
	CU_ASSERT_EQUAL(get1(&k, 1, &err), 4096);
	CU_ASSERT_EQUAL(put1(&k, 11, 1, 8192), 0);
	CU_ASSERT_EQUAL(get1(&k, 1, &err), 8192);
	teardown();
}

static void remap_changes_only_what_is_equal(void)
{
	struct vms_page_key k = {1, 2, 3, 4}, none = {1, 2, 9, 4}, newer = {1, 2, 3, 7};
	uint16_t index[2] = {1, 2};
	vms_addr to[2] = {4096 * 10, 4096 * 11}, from[2] = {4096, 4096}, old[2];
	bool changed[2];
	int err;

	setup();
	put1(&k, 5, 1, 4096);
	put1(&k, 6, 2, 8192);
	CU_ASSERT_EQUAL(vms_pages_apply(ps, &k, NULL, 7, index, to, 2, from, changed, old), 0);
	CU_ASSERT_TRUE(changed[0]);
	CU_ASSERT_FALSE(changed[1]);
	CU_ASSERT_EQUAL(old[0], 4096);
	CU_ASSERT_EQUAL(old[1], 8192);
	CU_ASSERT_EQUAL(get1(&k, 1, &err), 4096 * 10);
	CU_ASSERT_EQUAL(get1(&k, 2, &err), 8192);
	/* no page comes into being by a compare */
	CU_ASSERT_EQUAL(vms_pages_apply(ps, &none, NULL, 7, index, to, 2, from, changed, NULL), 0);
	CU_ASSERT_FALSE(changed[0]);
	from[1] = 8192;
	CU_ASSERT_EQUAL(vms_pages_apply(ps, &newer, NULL, 8, index, to, 2, from, changed, NULL), 0);
	CU_ASSERT_FALSE(changed[1]);
	CU_ASSERT_EQUAL(vms_pages_delta_count(ps), 1);
	teardown();
}

/* Branch 30 came from branch 20 at number 4, that from branch 2 at number 7. */
static const struct vms_stack clone = {
	3, {{30, 5, UINT64_MAX}, {20, 4, 3 * 128 + 100}, {2, 7, 3 * 128 + 50}}};

static vms_addr get_stack(uint32_t subext, uint16_t i, int *err)
{
	struct vms_page p;

	*err = vms_pages_lookup_stack(ps, 1, subext, &clone, &p);
	return *err ? 0 : p.entry[i];
}

static void a_stack_shows_its_first_page_within_limits(void)
{
	struct vms_page_key root = {1, 2, 3, 7}, above = {1, 2, 3, 8}, mid = {1, 20, 3, 4};
	struct vms_page_key far = {1, 2, 4, 7}, own = {1, 30, 3, 5};
	uint16_t index[1] = {3};
	vms_addr to[1] = {4096 * 40}, old[1];
	int err;

	for (int stored = 0; stored < 2; stored++) {
		setup();
		put1(&root, 5, 49, 4096 * 2);
		put1(&root, 6, 50, 4096 * 3);
		put1(&above, 7, 49, 4096 * 4);
		put1(&far, 8, 0, 4096 * 5);
		if (stored)
			checkpoint();
		mem.seeks = 0;
		CU_ASSERT_EQUAL(get_stack(3, 49, &err), 4096 * 2);
		CU_ASSERT_TRUE(!stored || mem.seeks == 3);
		CU_ASSERT_EQUAL(get_stack(3, 50, &err), 0); /* behind the limit */
		CU_ASSERT_EQUAL(err, 0);
		mem.seeks = 0;
		get_stack(4, 0, &err); /* wholly behind it: not even asked */
		CU_ASSERT_EQUAL(err, VMS_E_NOENT);
		CU_ASSERT_EQUAL(mem.seeks, 1);
		/* a page of the layer between is final, its holes too */
		put1(&mid, 9, 99, 4096 * 6);
		put1(&mid, 10, 100, 4096 * 7);
		if (stored)
			checkpoint();
		CU_ASSERT_EQUAL(get_stack(3, 99, &err), 4096 * 6);
		CU_ASSERT_EQUAL(get_stack(3, 100, &err), 0);
		CU_ASSERT_EQUAL(get_stack(3, 49, &err), 0);
		/* the first own page is a copy of what shows */
		CU_ASSERT_EQUAL(
			vms_pages_apply(ps, &own, &clone, 11, index, to, 1, NULL, NULL, old), 0);
		CU_ASSERT_EQUAL(old[0], 0);
		CU_ASSERT_EQUAL(get1(&own, 99, &err), 4096 * 6);
		CU_ASSERT_EQUAL(get1(&own, 100, &err), 0);
		CU_ASSERT_EQUAL(get1(&own, 3, &err), 4096 * 40);
		/* no layer's page counts as the own one, whatever its number */
		own.snap_gen = 4;
		CU_ASSERT_EQUAL(
			vms_pages_apply(ps, &own,
					&(struct vms_stack){
						2, {{30, 4, UINT64_MAX}, {20, 4, 3 * 128 + 100}}},
					2, index, to, 1, NULL, NULL, old),
			0);
		CU_ASSERT_EQUAL(get1(&mid, 3, &err), 0);
		own.snap_gen = 5;
		teardown();
	}
}

static unsigned ndropped;
static void drop(void *arg, vms_addr a)
{
	ndropped++;
}

static void trim_cuts_pages_and_drops_whole_ones(void)
{
	struct vms_page_key a = {1, 2, 3, 4}, b = {1, 2, 4, 4}, b2 = {1, 2, 4, 6};
	struct vms_page_key other = {1, 3, 4, 4}, left = {1, 2, 2, 4};
	int err;

	for (int stored = 0; stored < 3; stored++) {
		setup();
		ndropped = 0;
		put1(&left, 5, 0, 4096);
		put1(&a, 5, 10, 4096 * 2);
		put1(&a, 6, 11, 4096 * 3);
		put1(&b, 5, 0, 4096 * 4);
		if (stored == 2)
			checkpoint();
		put1(&b2, 7, 1, 4096 * 5);
		put1(&other, 5, 0, 4096 * 6);
		if (stored)
			checkpoint();
		CU_ASSERT_EQUAL(vms_pages_trim(ps, 1, 2, 3 * 128 + 11, 20, drop, NULL), 0);
		CU_ASSERT_EQUAL(ndropped, 4); /* a[11], b[0], b2[0] (copied), b2[1] */
		for (int again = 0; again < 2; again++) {
			CU_ASSERT_EQUAL(get1(&a, 10, &err), 4096 * 2);
			CU_ASSERT_EQUAL(get1(&a, 11, &err), 0);
			CU_ASSERT_EQUAL(err, 0);
			get1(&b, 0, &err);
			CU_ASSERT_EQUAL(err, VMS_E_NOENT);
			get1(&b2, 0, &err);
			CU_ASSERT_EQUAL(err, VMS_E_NOENT);
			CU_ASSERT_EQUAL(get1(&left, 0, &err), 4096);
			CU_ASSERT_EQUAL(get1(&other, 0, &err), 4096 * 6);
			checkpoint();
		}
		CU_ASSERT_EQUAL(mem.kv.n, 3);
		/* a trimmed place can be written again */
		put1(&b, 21, 7, 4096 * 9);
		CU_ASSERT_EQUAL(get1(&b2, 7, &err), 4096 * 9);
		CU_ASSERT_EQUAL(get1(&b2, 0, &err), 0);
		teardown();
	}
}

/* Exactly the named version goes, with what it names; one made later stays. */
static void drop_takes_one_version(void)
{
	struct vms_page_key a = {1, 2, 3, 4}, b = {1, 2, 3, 6}, c = {1, 2, 3, 5};
	int err;

	for (int stored = 0; stored < 3; stored++) {
		setup();
		ndropped = 0;
		put1(&a, 5, 10, 4096 * 2);
		if (stored)
			checkpoint();
		put1(&b, 6, 11, 4096 * 3);
		if (stored == 2)
			checkpoint();
		CU_ASSERT_EQUAL(vms_pages_drop(ps, &c, 7, drop, NULL), 1);
		CU_ASSERT_EQUAL(vms_pages_drop(ps, &a, 7, drop, NULL), 0);
		CU_ASSERT_EQUAL(vms_pages_drop(ps, &a, 8, drop, NULL), 1);
		CU_ASSERT_EQUAL(ndropped, 1);
		for (int again = 0; again < 2; again++) {
			get1(&a, 10, &err);
			CU_ASSERT_EQUAL(err, VMS_E_NOENT);
			CU_ASSERT_EQUAL(get1(&b, 10, &err), 4096 * 2);
			CU_ASSERT_EQUAL(get1(&b, 11, &err), 4096 * 3);
			checkpoint();
		}
		put1(&a, 9, 12, 4096 * 4);
		CU_ASSERT_EQUAL(vms_pages_drop(ps, &a, 9, drop, NULL), 1);
		CU_ASSERT_EQUAL(vms_pages_drop(ps, &a, 8, drop, NULL), 1);
		CU_ASSERT_EQUAL(get1(&a, 12, &err), 4096 * 4);
		CU_ASSERT_EQUAL(get1(&a, 10, &err), 0);
		CU_ASSERT_EQUAL(vms_pages_drop(ps, &b, 10, drop, NULL), 0);
		CU_ASSERT_EQUAL(ndropped, 3);
		CU_ASSERT_EQUAL(get1(&b, 12, &err), 4096 * 4);
		teardown();
	}
}

static void damaged_page_is_corrupt_not_a_hole(void)
{
	struct vms_page_key k = {1, 2, 3, 4};
	int err;

	setup();
	put1(&k, 5, 1, 4096);
	checkpoint();
	mem.kv.d[0].val[100] ^= 1;
	get1(&k, 1, &err);
	CU_ASSERT_EQUAL(err, VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(put1(&k, 6, 1, 8192), VMS_E_CORRUPT);
	teardown();
}

static const struct mem_kv *kv_of(uint8_t letter)
{
	VMS_VEC_FOREACH (&mem.kv, kv)
		if (kv->key[0] == letter)
			return kv;
	return NULL;
}

static uint32_t patch_bytes(unsigned entries)
{
	return 16 + 9 * entries + 4;
}

static void few_changed_entries_make_a_patch(void)
{
	struct vms_page_key k = {1, 2, 3, 4};
	uint8_t whole[VMS_PAGE_VAL_BYTES + 4];
	int err;

	setup();
	put1(&k, 1, 0, 4096);
	checkpoint();
	CU_ASSERT_EQUAL_FATAL(mem.kv.n, 1);
	memcpy(whole, kv_of('I')->val, sizeof(whole));
	for (uint16_t i = 1; i <= VMS_PATCH_ENTRIES_MAX; i++) {
		CU_ASSERT_EQUAL(put1(&k, 1u + i, (uint16_t)(8 * i - 1), 4096u * (i + 1)), 0);
		checkpoint();
		CU_ASSERT_EQUAL_FATAL(mem.kv.n, 2);
		CU_ASSERT_EQUAL(memcmp(kv_of('I')->val, whole, sizeof(whole)), 0);
		CU_ASSERT_EQUAL(kv_of('J')->val_bytes, patch_bytes(i));
		/* the seq that replay skips by is the patch's */
		CU_ASSERT_EQUAL(put1(&k, 1u + i, 5, 4096), 1);
		for (uint16_t c = 0; c < VMS_SUBEXT_CHUNKS; c++)
			CU_ASSERT_EQUAL(get1(&k, c, &err), c == 0 ? 4096u
							   : c % 8 == 7 && c < 8 * i
								   ? 4096u * (c / 8 + 2)
								   : 0);
	}
	/* the same entry again takes no more room; one more is one too many */
	put1(&k, 50, 7, 4096 * 90);
	checkpoint();
	CU_ASSERT_EQUAL_FATAL(mem.kv.n, 2);
	CU_ASSERT_EQUAL(kv_of('J')->val_bytes, patch_bytes(VMS_PATCH_ENTRIES_MAX));
	put1(&k, 51, 1, 4096 * 91);
	checkpoint();
	CU_ASSERT_EQUAL(mem.kv.n, 1);
	CU_ASSERT_EQUAL(get1(&k, 7, &err), 4096 * 90);
	CU_ASSERT_EQUAL(get1(&k, 1, &err), 4096 * 91);
	CU_ASSERT_EQUAL(get1(&k, 15, &err), 4096 * 3);
	CU_ASSERT_EQUAL(put1(&k, 51, 1, 4096), 1);
	teardown();
}

/* Whatever makes another page of it, no patch of the old one is left behind. */
static void a_patch_goes_with_its_page(void)
{
	struct vms_page_key k = {1, 2, 3, 4}, newer = {1, 2, 3, 9};
	struct vms_page p;
	int err;

	for (unsigned how = 0; how < 6; how++) {
		setup();
		put1(&k, 5, 1, 4096);
		put1(&k, 5, 2, 4096);
		checkpoint();
		put1(&k, 6, 100, 8192);
		checkpoint();
		CU_ASSERT_EQUAL(mem.kv.n, 2);
		CU_ASSERT_EQUAL(vms_pages_lookup(ps, &k, &p), 0);
		switch (how) {
		case 0:
			CU_ASSERT_EQUAL(vms_pages_drop(ps, &k, 7, NULL, NULL), 0);
			break;
		case 1:
			vms_pages_del(ps, &k);
			break;
		case 2:
			CU_ASSERT_EQUAL(vms_pages_trim(ps, 1, 2, 3 * 128, 7, NULL, NULL), 0);
			break;
		case 3:
			CU_ASSERT_EQUAL(vms_pages_trim(ps, 1, 2, 3 * 128 + 50, 7, NULL, NULL), 0);
			break;
		case 4:
			p.entry[100] = 0;
			vms_pages_put(ps, &p);
			break;
		default: /* a newer one is a copy of it, and whole */
			put1(&newer, 7, 3, 12288);
			break;
		}
		checkpoint();
		CU_ASSERT_EQUAL(mem.kv.n, how < 3 ? 0 : how < 5 ? 1 : 3);
		get1(&k, 100, &err);
		CU_ASSERT_EQUAL(err, how < 3 ? VMS_E_NOENT : 0);
		if (how == 3 || how == 4)
			CU_ASSERT_EQUAL(get1(&k, 100, &err), 0);
		if (how == 5)
			CU_ASSERT_EQUAL(get1(&newer, 100, &err), 8192);
		/* made again after it had gone: nothing of before shows */
		put1(&k, 8, 3, 16384);
		checkpoint();
		CU_ASSERT_EQUAL(get1(&k, 3, &err), 16384);
		CU_ASSERT_EQUAL(get1(&k, 100, &err), how == 5 ? 8192 : 0);
		CU_ASSERT_EQUAL(get1(&k, 1, &err), how < 3 ? 0 : 4096);
		teardown();
	}
}

/* A page is changed on while it is being committed, whole or as a patch. */
static void a_patch_names_what_a_running_commit_has(void)
{
	struct vms_page_key k = {1, 2, 3, 4};
	struct vms_meta_batch b = {0};
	struct vms_disk_event ev;
	int err;

	for (unsigned patched = 0; patched < 2; patched++) {
		setup();
		put1(&k, 5, 1, 4096);
		if (patched) {
			checkpoint();
			put1(&k, 6, 2, 8192);
		}
		CU_ASSERT_EQUAL(vms_pages_freeze(ps, &b), 0);
		put1(&k, 7, 3, 12288);
		mem.disk.ops->meta_commit(&mem, &b, 1);
		while (mem_disk_pop(&mem, &ev))
			;
		vms_pages_thaw(ps);
		vms_meta_batch_reset(&b);
		checkpoint();
		CU_ASSERT_EQUAL_FATAL(mem.kv.n, 2);
		CU_ASSERT_EQUAL(kv_of('J')->val_bytes, patch_bytes(1 + patched));
		CU_ASSERT_EQUAL(get1(&k, 1, &err), 4096);
		CU_ASSERT_EQUAL(get1(&k, 2, &err), patched ? 8192 : 0);
		CU_ASSERT_EQUAL(get1(&k, 3, &err), 12288);
		teardown();
	}
	vms_meta_batch_free(&b);
}

/* What a layer's limit has cut off is a change, too. */
static void a_page_cut_by_its_limit_is_written_whole(void)
{
	static const struct vms_stack cut = {1, {{2, 4, 3 * 128 + 50}}};
	struct vms_page_key k = {1, 2, 3, 4};
	uint16_t i = 1;
	vms_addr to = 8192;
	int err;

	setup();
	put1(&k, 5, 0, 4096);
	put1(&k, 6, 60, 4096 * 3);
	checkpoint();
	CU_ASSERT_EQUAL(vms_pages_apply(ps, &k, &cut, 7, &i, &to, 1, NULL, NULL, NULL), 0);
	for (unsigned again = 0; again < 2; again++) {
		CU_ASSERT_EQUAL(get1(&k, 60, &err), 0);
		CU_ASSERT_EQUAL(get1(&k, 1, &err), 8192);
		CU_ASSERT_EQUAL(get1(&k, 0, &err), 4096);
		checkpoint();
	}
	teardown();
}

static unsigned nbad;
static void bad(void *arg, const struct vms_page_key *key)
{
	nbad += key->subext == 3 && key->snap_gen == 4;
}

static void damage_of_a_patch_is_damage_of_its_page(void)
{
	struct vms_page_key k = {1, 2, 3, 4}, other = {1, 2, 3, 6};
	struct vms_page p;
	int err;

	for (unsigned delta = 0; delta < 2; delta++) {
		setup();
		vms_pages_on_bad(ps, bad, NULL);
		nbad = 0;
		put1(&k, 5, 1, 4096);
		checkpoint();
		put1(&k, 6, 2, 8192);
		checkpoint();
		CU_ASSERT_EQUAL(vms_pages_lookup(ps, &k, &p), 0);
		CU_ASSERT_FALSE(vms_pages_stored_bad(ps, &k));
		if (delta)
			put1(&k, 7, 3, 12288);
		((struct mem_kv *)kv_of('J'))->val[20] ^= 1;
		if (!delta) {
			get1(&k, 1, &err);
			CU_ASSERT_EQUAL(err, VMS_E_CORRUPT);
			get1(&other, 1, &err);
			CU_ASSERT_EQUAL(err, VMS_E_CORRUPT);
			CU_ASSERT_EQUAL(put1(&k, 7, 1, 8192), VMS_E_CORRUPT);
			CU_ASSERT_EQUAL(nbad, 3);
			CU_ASSERT_TRUE(vms_pages_stored_bad(ps, &k));
			vms_pages_install(ps, &p);
		} else {
			/* it is in memory: not asked of others, but written whole */
			CU_ASSERT_FALSE(vms_pages_stored_bad(ps, &k));
		}
		checkpoint();
		CU_ASSERT_EQUAL(mem.kv.n, 1);
		CU_ASSERT_EQUAL(get1(&k, 1, &err), 4096);
		CU_ASSERT_EQUAL(get1(&k, 2, &err), 8192);
		CU_ASSERT_EQUAL(get1(&k, 3, &err), delta ? 12288 : 0);
		teardown();
	}
}

static void what_is_no_patch_is_refused(void)
{
	struct vms_page p = {.key = {1, 2, 3, 4}, .drain_seq = 9, .stored = true}, q;
	uint8_t val[VMS_PATCH_VAL_BYTES_MAX + 9], key[VMS_PAGE_KEY_BYTES];
	struct vms_page_key k;
	uint32_t n;

	vms_patch_key_encode(key, &p.key);
	CU_ASSERT_EQUAL(vms_patch_key_decode(key, sizeof(key), &k), 0);
	CU_ASSERT_TRUE(k.subext == 3 && k.snap_gen == 4);
	CU_ASSERT_EQUAL(vms_page_key_decode(key, sizeof(key), &k), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_patch_key_decode(key, sizeof(key) - 1, &k), VMS_E_CORRUPT);
	key[0] = 'I';
	CU_ASSERT_EQUAL(vms_patch_key_decode(key, sizeof(key), &k), VMS_E_CORRUPT);
	p.patched[0] = 1ull << 63;
	p.patched[1] = 1ull << 63 | 1;
	p.entry[63] = 1 << 12;
	p.entry[64] = 2 << 12;
	p.entry[127] = 3 << 12;
	n = vms_patch_val_encode(val, &p);
	q = (struct vms_page){.drain_seq = 9};
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n, &q), 0);
	CU_ASSERT_EQUAL(memcmp(q.entry, p.entry, sizeof(q.entry)), 0);
	CU_ASSERT_EQUAL(memcmp(q.patched, p.patched, sizeof(q.patched)), 0);
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n - 1, &q), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n + 9, &q), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, 15, &q), VMS_E_CORRUPT);
	q.drain_seq = 10; /* older than its page */
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n, &q), VMS_E_CORRUPT);
	q.drain_seq = 9;
	val[0]++;
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n, &q), VMS_E_CORRUPT);
	val[0]--;
	val[16 + 18] = 128;
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n, &q), VMS_E_CORRUPT);
	val[16 + 18] = 64; /* not ascending */
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n, &q), VMS_E_CORRUPT);
	val[16 + 18] = 65;
	CU_ASSERT_EQUAL(vms_patch_val_decode(val, n, &q), 0);
	p.patched[0] = 0xffff;
	CU_ASSERT_FALSE(vms_patch_will_do(&p));
	p.patched[1] = 0;
	CU_ASSERT_TRUE(vms_patch_will_do(&p));
	p.stored = false;
	CU_ASSERT_FALSE(vms_patch_will_do(&p));
}

/* Random changes, checkpoints, freezes and trims against a plain array. */
#define SUBEXTS 6
#define GENS	5
static struct model_page {
	bool there;
	vms_addr e[VMS_SUBEXT_CHUNKS];
} model[2][SUBEXTS][GENS];

static const struct model_page *model_le(unsigned b, unsigned s, unsigned g)
{
	for (int i = (int)g; i >= 0; i--)
		if (model[b][s][i].there)
			return &model[b][s][i];
	return NULL;
}

struct walk {
	struct vms_page_key last;
	unsigned n, wrong;
};

static int walk_fn(void *arg, const struct vms_page *p)
{
	struct walk *w = arg;
	const struct model_page *m = &model[p->key.branch - 1][p->key.subext][p->key.snap_gen];

	if (w->n && p->key.branch == w->last.branch && p->key.subext == w->last.subext &&
	    p->key.snap_gen <= w->last.snap_gen)
		w->wrong++;
	if (!m->there || memcmp(m->e, p->entry, sizeof(m->e)))
		w->wrong++;
	w->last = p->key;
	w->n++;
	return 0;
}

static void random_ops_match_a_model(void)
{
	unsigned wrong = 0, frozen = 0;
	struct vms_meta_batch b = {0};
	struct vms_disk_event ev;
	struct vms_rng rng;

	vms_rng_init(&rng, 7);
	setup();
	memset(model, 0, sizeof(model));
	for (uint64_t seq = 1; seq < 20000; seq++) {
		struct vms_page_key k = {9, 1 + vms_rng_below(&rng, 2),
					 (uint32_t)vms_rng_below(&rng, SUBEXTS),
					 vms_rng_below(&rng, GENS)};
		struct model_page *m = &model[k.branch - 1][k.subext][k.snap_gen];
		uint16_t i = (uint16_t)vms_rng_below(&rng, VMS_SUBEXT_CHUNKS);
		unsigned what = (unsigned)vms_rng_below(&rng, 1000);
		struct vms_page p;
		int err;

		if (what < 10) {
			uint64_t cut = vms_rng_below(&rng, SUBEXTS * VMS_SUBEXT_CHUNKS);

			wrong += vms_pages_trim(ps, 9, k.branch, cut, seq, NULL, NULL) != 0;
			for (unsigned s = 0; s < SUBEXTS; s++)
				for (unsigned g = 0; g < GENS; g++) {
					struct model_page *t = &model[k.branch - 1][s][g];

					for (unsigned e = 0; e < VMS_SUBEXT_CHUNKS; e++)
						if (s * VMS_SUBEXT_CHUNKS + e >= cut)
							t->e[e] = 0;
					if (s * VMS_SUBEXT_CHUNKS >= cut)
						t->there = false;
				}
		} else if (what < 30) {
			if (frozen) {
				while (mem_disk_pop(&mem, &ev))
					;
				vms_pages_thaw(ps);
				vms_meta_batch_reset(&b);
			} else {
				wrong += vms_pages_freeze(ps, &b) != 0;
				mem.disk.ops->meta_commit(&mem, &b, 1);
			}
			frozen = !frozen;
		} else if (what < 45) {
			wrong += vms_pages_drop(ps, &k, seq, NULL, NULL) != !m->there;
			memset(m, 0, sizeof(*m));
		} else if (what < 500) {
			const struct model_page *le = model_le((unsigned)k.branch - 1, k.subext,
							       (unsigned)k.snap_gen);

			err = vms_pages_lookup(ps, &k, &p);
			if (err)
				wrong += err != VMS_E_NOENT || le != NULL;
			else
				wrong += !le || memcmp(le->e, p.entry, sizeof(le->e));
		} else {
			if (!m->there) {
				const struct model_page *le = model_le(
					(unsigned)k.branch - 1, k.subext, (unsigned)k.snap_gen);

				if (le)
					memcpy(m->e, le->e, sizeof(m->e));
				else
					memset(m->e, 0, sizeof(m->e));
				m->there = true;
			}
			m->e[i] = seq * 4096;
			wrong += put1(&k, seq, i, seq * 4096) != 0;
		}
		if (what == 999) {
			struct walk w = {0};
			unsigned n = 0;

			wrong += vms_pages_each(ps, 9, NULL, walk_fn, &w) != 0;
			for (unsigned x = 0; x < 2 * SUBEXTS * GENS; x++)
				n += (&model[0][0][0])[x].there;
			wrong += w.wrong + (w.n != n);
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	while (mem_disk_pop(&mem, &ev))
		;
	vms_meta_batch_free(&b);
	teardown();
}

static int stop_at_second(void *arg, const struct vms_page *p)
{
	unsigned *n = arg;

	return ++*n == 2 ? (int)p->key.subext : 0;
}

static void each_stops_and_resumes(void)
{
	struct vms_page_key k = {1, 2, 0, 0}, resume = {1, 2, 3, 0};
	unsigned n = 0;

	setup();
	for (k.subext = 1; k.subext < 6; k.subext++) {
		put1(&k, 5, 1, 4096);
		if (k.subext == 2)
			checkpoint();
	}
	CU_ASSERT_EQUAL(vms_pages_each(ps, 1, NULL, stop_at_second, &n), 2);
	n = 0;
	CU_ASSERT_EQUAL(vms_pages_each(ps, 1, &resume, stop_at_second, &n), 4);
	n = 0;
	CU_ASSERT_EQUAL(vms_pages_each(ps, 2, NULL, stop_at_second, &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	teardown();
}

static const struct vms_test tests[] = {
	VMS_TEST(key_order_is_byte_order),
	VMS_TEST(one_seek_per_lookup_none_in_the_delta),
	VMS_TEST(newer_snap_gen_starts_as_a_copy),
	VMS_TEST(replay_skips_what_is_there),
	VMS_TEST(remap_changes_only_what_is_equal),
	VMS_TEST(a_stack_shows_its_first_page_within_limits),
	VMS_TEST(trim_cuts_pages_and_drops_whole_ones),
	VMS_TEST(drop_takes_one_version),
	VMS_TEST(damaged_page_is_corrupt_not_a_hole),
	VMS_TEST(few_changed_entries_make_a_patch),
	VMS_TEST(a_patch_goes_with_its_page),
	VMS_TEST(a_patch_names_what_a_running_commit_has),
	VMS_TEST(a_page_cut_by_its_limit_is_written_whole),
	VMS_TEST(damage_of_a_patch_is_damage_of_its_page),
	VMS_TEST(what_is_no_patch_is_refused),
	VMS_TEST(random_ops_match_a_model),
	VMS_TEST(each_stops_and_resumes),
};
VMS_TEST_MAIN("pages", tests)
