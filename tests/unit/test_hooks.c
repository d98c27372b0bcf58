// SPDX-License-Identifier: GPL-2.0-only
/* The sparse index and the cache of fingerprint lists. */
#include "backend/hooks.h"

#include <stdlib.h>

#include "backend/ctr.h"
#include "backend/dedup_msg.h"
#include "backend/fplists.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/rng.h"

static vms_fp_prefix hook(uint64_t i)
{
	return vms_mix64(i + 1) & ~(uint64_t)VMS_HOOK_MASK;
}

static void hooks_come_back(void)
{
	struct vms_hooks *h = vms_hooks_new(64 << 20);
	unsigned wrong = 0, ghosts = 0;

	for (uint64_t i = 0; i < 100000; i++)
		vms_hooks_add(h, hook(i), 1 + i * 7, 0);
	CU_ASSERT_EQUAL(vms_hooks_evicted(h), 0);
	for (uint64_t i = 0; i < 100000; i++)
		wrong += vms_hooks_find(h, hook(i)) != 1 + i * 7;
	/* a tag in 2^31 may be shared: a ghost costs a useless look, no more */
	CU_ASSERT_TRUE(wrong < 5);
	for (uint64_t i = 200000; i < 300000; i++)
		ghosts += vms_hooks_find(h, hook(i)) != 0;
	CU_ASSERT_TRUE(ghosts < 20);
	/* the first container stays, unless the chunk has moved out of it */
	vms_hooks_add(h, hook(5), 99, 0);
	CU_ASSERT_EQUAL(vms_hooks_find(h, hook(5)), 36);
	vms_hooks_add(h, hook(5), 99, 7);
	CU_ASSERT_EQUAL(vms_hooks_find(h, hook(5)), 36);
	vms_hooks_add(h, hook(5), 99, 36);
	CU_ASSERT_EQUAL(vms_hooks_find(h, hook(5)), 99);
	CU_ASSERT_TRUE(vms_hooks_count(h) <= 100000 && vms_hooks_count(h) > 99990);
	vms_hooks_free(h);
}

/* Against a plain array, through insertions and removals. */
static void model(void)
{
	enum { N = 3000 };
	static uint64_t have[N];
	struct vms_hooks *h = vms_hooks_new(1 << 20);
	struct vms_rng rng;
	unsigned wrong = 0;
	uint64_t n = 0;

	memset(have, 0, sizeof(have));
	vms_rng_init(&rng, 3);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned k = (unsigned)vms_rng_below(&rng, N);

		if (vms_rng_below(&rng, 2)) {
			uint64_t ctr = 1 + vms_rng_below(&rng, 1u << 30);
			uint64_t old = vms_rng_below(&rng, 2) ? have[k] : 0;

			n += !have[k];
			vms_hooks_add(h, hook(k), ctr, old);
			if (!have[k] || old)
				have[k] = ctr;
		} else if (vms_rng_below(&rng, 4) == 0) {
			vms_hooks_del(h, hook(k), have[k] + 1); /* another container: stays */
		} else {
			n -= have[k] != 0;
			vms_hooks_del(h, hook(k), have[k]);
			have[k] = 0;
		}
		k = (unsigned)vms_rng_below(&rng, N);
		wrong += vms_hooks_find(h, hook(k)) != have[k];
		wrong += vms_hooks_count(h) != n;
	}
	for (unsigned k = 0; k < N; k++)
		wrong += vms_hooks_find(h, hook(k)) != have[k];
	CU_ASSERT_EQUAL(wrong, 0);
	vms_hooks_free(h);
}

/* 1/100 of 40 bytes per unique chunk, at every size from 1 GiB of unique data on. */
static void memory_bound(void)
{
	struct vms_hooks *h = vms_hooks_new(1u << 30);
	double worst = 0;

	for (uint64_t i = 0; i < 4000000; i++) {
		vms_hooks_add(h, hook(i), 1 + i / 512, 0);
		if (i >= 8192 && i % 64 == 0) {
			double b = (double)vms_hooks_bytes(h) /
				   ((double)vms_hooks_count(h) * (VMS_HOOK_MASK + 1));

			if (b > worst)
				worst = b;
		}
	}
	printf("[at most %.3f bytes per unique chunk] ", worst);
	CU_ASSERT_TRUE(worst <= 0.4);
	vms_hooks_free(h);
}

/* At its bound the table stays useful: newcomers get in, about as many stay as fit. */
static void bound_is_kept(void)
{
	enum { MAX = 256 << 10 };
	struct vms_hooks *h = vms_hooks_new(MAX);
	unsigned fresh = 0, all = 0, room = MAX / 8;

	for (uint64_t i = 0; i < 400000; i++) {
		vms_hooks_add(h, hook(i), 1 + i, 0);
		CU_ASSERT_TRUE(vms_hooks_bytes(h) <= MAX);
		if (i % 1000 == 0)
			CU_ASSERT_EQUAL(vms_hooks_find(h, hook(i)), 1 + i);
	}
	CU_ASSERT_TRUE(vms_hooks_evicted(h) > 300000);
	for (uint64_t i = 0; i < 400000; i++) {
		bool there = vms_hooks_find(h, hook(i)) == 1 + i;

		all += there;
		fresh += there && i >= 390000;
	}
	CU_ASSERT_TRUE(all > room * 6 / 10);
	CU_ASSERT_TRUE(fresh > 7000);
	vms_hooks_free(h);
	/* a bound of nothing holds nothing and breaks nothing */
	h = vms_hooks_new(0);
	for (uint64_t i = 0; i < 1000; i++)
		vms_hooks_add(h, hook(i), 1 + i, 0);
	CU_ASSERT_EQUAL(vms_hooks_count(h), 0);
	CU_ASSERT_EQUAL(vms_hooks_find(h, hook(1)), 0);
	vms_hooks_free(h);
}

/* Two segments of 64 and 3 chunks, prefixes base, base + 1, ... */
static size_t body_make(uint8_t *out, uint64_t base)
{
	memset(out, 0, 8);
	out[0] = 64;
	out[1] = 3;
	for (unsigned i = 0; i < 67; i++)
		vms_put_le64(out + 8 + 8 * i, base + i);
	return vms_fplist_bytes(2, 67);
}

static void lists_are_searched_together(void)
{
	struct vms_fplists *l = vms_fplists_new(1 << 20);
	uint8_t body[1024];
	vms_addr a[4];
	size_t n = body_make(body, 1000);

	CU_ASSERT_TRUE(vms_fplists_add(l, 7, body, n, 2, UINT64_MAX, 5));
	body_make(body, 1066);
	CU_ASSERT_TRUE(vms_fplists_add(l, 8, body, n, 2, UINT64_MAX, 5));
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1000, a, 4), 1);
	CU_ASSERT_EQUAL(a[0], vms_addr_make(7, 2 * VMS_CHUNK_BYTES));
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1065, a, 4), 1);
	CU_ASSERT_EQUAL(a[0], vms_addr_make(7, (uint32_t)vms_seg_chunk_offset(1, 1)));
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1066, a, 4), 2);
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1066, a, 1), 1);
	CU_ASSERT_EQUAL(vms_fplists_find(l, 999, a, 4), 0);
	vms_fplists_del(l, 7);
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1000, a, 4), 0);
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1066, a, 4), 1);
	/* a new list of the same container replaces the old one */
	body_make(body, 5000);
	CU_ASSERT_TRUE(vms_fplists_add(l, 8, body, n, 2, UINT64_MAX, 5));
	CU_ASSERT_EQUAL(vms_fplists_count(l), 1);
	CU_ASSERT_EQUAL(vms_fplists_find(l, 1066, a, 4), 0);
	CU_ASSERT_EQUAL(vms_fplists_find(l, 5066, a, 4), 1);
	/* truncated keys find whatever shares them */
	CU_ASSERT_TRUE(vms_fplists_add(l, 8, body, n, 2, 0xf, 5));
	CU_ASSERT_EQUAL(vms_fplists_find(l, 3, a, 4), 4);
	vms_fplists_free(l);
}

static void lists_that_no_one_makes_are_refused(void)
{
	struct vms_fplists *l = vms_fplists_new(1 << 20);
	uint8_t body[1024];
	size_t n = body_make(body, 1);

	CU_ASSERT_FALSE(vms_fplists_add(l, 7, body, n - 8, 2, UINT64_MAX, 5));
	CU_ASSERT_FALSE(vms_fplists_add(l, 7, body, n + 8, 2, UINT64_MAX, 5));
	CU_ASSERT_FALSE(vms_fplists_add(l, 7, body, n, 1, UINT64_MAX, 5));
	CU_ASSERT_FALSE(vms_fplists_add(l, 7, body, n, VMS_CTR_SEGS_MAX + 1, UINT64_MAX, 5));
	CU_ASSERT_FALSE(vms_fplists_add(l, 7, body, 4, 2, UINT64_MAX, 5));
	body[0] = 65;
	body[1] = 2;
	CU_ASSERT_FALSE(vms_fplists_add(l, 7, body, n, 2, UINT64_MAX, 5));
	CU_ASSERT_EQUAL(vms_fplists_count(l), 0);
	CU_ASSERT_EQUAL(vms_fplists_bytes(l), 0);
	vms_fplists_free(l);
}

static void least_used_lists_go_first(void)
{
	struct vms_fplists *l = vms_fplists_new(32 << 10);
	uint8_t body[1024];
	size_t n = body_make(body, 1);
	vms_addr a;

	for (uint64_t c = 1; c <= 200; c++) {
		body_make(body, c * 1000);
		CU_ASSERT_TRUE(vms_fplists_add(l, c, body, n, 2, UINT64_MAX, 5));
		CU_ASSERT_TRUE(vms_fplists_bytes(l) <= 32 << 10);
		/* the first one is of use all the time */
		CU_ASSERT_EQUAL(vms_fplists_find(l, 1000, &a, 1), 1);
	}
	CU_ASSERT_TRUE(vms_fplists_added(l, 1));
	CU_ASSERT_TRUE(vms_fplists_added(l, 200));
	CU_ASSERT_FALSE(vms_fplists_added(l, 2));
	CU_ASSERT_TRUE(vms_fplists_count(l) > 5);
	vms_fplists_free(l);
}

/* ---- messages ---- */

static struct vms_msg msg(const uint8_t *body, uint32_t bytes)
{
	return (struct vms_msg){.body = body, .body_bytes = bytes};
}

static void messages_come_back(void)
{
	struct vms_dm_hook h[2], hk[2] = {{64, 5, 0}, {1ull << 63, 7, 6}};
	struct vms_dm_confirm c[2];
	struct vms_dm_answer a[2], an = {9, 0xabcd, VMS_E_NOENT};
	uint8_t b[200], fp[32] = {1, 2, 3};
	struct vms_msg m = msg(b, 48);

	vms_dm_hook_encode(b, &hk[0]);
	vms_dm_hook_encode(b + 24, &hk[1]);
	CU_ASSERT_EQUAL(vms_dm_hooks_decode(&m, h, 2), 2);
	CU_ASSERT_EQUAL(memcmp(h, hk, sizeof(h)), 0);
	CU_ASSERT_EQUAL(vms_dm_hooks_decode(&m, h, 1), VMS_E_PROTO);
	vms_put_le64(b + 24, 65); /* no hook */
	CU_ASSERT_EQUAL(vms_dm_hooks_decode(&m, h, 2), VMS_E_PROTO);
	vms_put_le64(b + 24, 64);
	vms_put_le64(b + 32, 1ull << 33); /* no container */
	CU_ASSERT_EQUAL(vms_dm_hooks_decode(&m, h, 2), VMS_E_PROTO);

	vms_dm_confirm_encode(b, vms_addr_make(7, 8192), fp);
	m = msg(b, 40);
	CU_ASSERT_EQUAL(vms_dm_confirm_decode(&m, 2, c, 2), 1);
	CU_ASSERT_EQUAL(c[0].addr, vms_addr_make(7, 8192));
	CU_ASSERT_EQUAL(memcmp(c[0].fp, fp, 32), 0);
	vms_dm_confirm_encode(b, vms_addr_make(7, 4096), fp); /* a header */
	CU_ASSERT_EQUAL(vms_dm_confirm_decode(&m, 2, c, 2), VMS_E_PROTO);
	vms_dm_confirm_encode(b, vms_logpos_addr(1, 5, 2), fp);
	CU_ASSERT_EQUAL(vms_dm_confirm_decode(&m, 2, c, 2), VMS_E_PROTO);
	vms_dm_answer_encode(b, &an);
	m = msg(b, 16);
	CU_ASSERT_EQUAL(vms_dm_answer_decode(&m, a, 2), 1);
	CU_ASSERT_TRUE(a[0].stamp == 9 && a[0].crc == 0xabcd && a[0].status == VMS_E_NOENT);
}

/* Arbitrary bytes in buffers of exact size: refused, or in range; never read beyond. */
static void hostile_messages(void)
{
	struct vms_rng rng;
	unsigned wrong = 0;

	vms_rng_init(&rng, 5);
	for (unsigned i = 0; i < 50000; i++) {
		uint32_t len = (uint32_t)vms_rng_below(&rng, 300);
		uint8_t *b = malloc(len + 1);
		struct vms_msg m = msg(b, len);
		static uint64_t key[64];
		static struct vms_dm_hook h[64];
		static struct vms_dm_confirm c[64];
		static struct vms_dm_answer a[64];
		struct vms_dm_list l;
		size_t at = 0;
		int k;

		vms_rng_fill(&rng, b, len);
		/* half of them small numbers, which get further */
		for (uint32_t x = 0; i & 1 && x < len; x++)
			b[x] = x % 8 > 1 ? 0 : b[x] & (x % 8 ? 3 : 0x60);
		k = vms_dm_keys_decode(&m, key, 64);
		for (int x = 0; x < k; x++)
			wrong += !vms_is_hook(key[x]);
		k = vms_dm_ctrs_decode(&m, key, 64);
		for (int x = 0; x < k; x++)
			wrong += key[x] >> 33 != 0;
		k = vms_dm_hooks_decode(&m, h, 64);
		for (int x = 0; x < k; x++)
			wrong += !vms_is_hook(h[x].key) || !h[x].ctr || h[x].ctr >> 33;
		k = vms_dm_confirm_decode(&m, 4, c, 64);
		for (int x = 0; x < k; x++)
			wrong += vms_addr_offset_bytes(c[x].addr) % VMS_CHUNK_BYTES != 0;
		(void)vms_dm_answer_decode(&m, a, 64);
		while ((k = vms_dm_list_next(b, len, &at, &l)) > 0)
			wrong += l.body < b || l.body + l.bytes > b + len;
		wrong += at > len;
		free(b);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(messages_come_back),
	VMS_TEST(hostile_messages),
	VMS_TEST(hooks_come_back),
	VMS_TEST(model),
	VMS_TEST(memory_bound),
	VMS_TEST(bound_is_kept),
	VMS_TEST(lists_are_searched_together),
	VMS_TEST(lists_that_no_one_makes_are_refused),
	VMS_TEST(least_used_lists_go_first),
};
VMS_TEST_MAIN("hooks", tests)
