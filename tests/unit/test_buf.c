// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/buf.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"
#include "tests/unit/cunit.h"

static void appends_and_consumes_in_order(void)
{
	struct vms_buf b;

	vms_buf_init(&b, 100);
	CU_ASSERT_EQUAL(vms_buf_len(&b), 0);
	CU_ASSERT_PTR_NULL(vms_buf_data(&b));
	CU_ASSERT(vms_buf_append(&b, "hello ", 6));
	CU_ASSERT(vms_buf_append(&b, "world", 5));
	CU_ASSERT_EQUAL(vms_buf_len(&b), 11);
	vms_buf_consume(&b, 6);
	CU_ASSERT(!memcmp(vms_buf_data(&b), "world", 5));
	vms_buf_consume(&b, 5);
	CU_ASSERT_EQUAL(vms_buf_len(&b), 0);
	vms_buf_free(&b);
}

static void refuses_more_than_its_limit_and_stays_unchanged(void)
{
	struct vms_buf b;
	char big[200] = {0};

	vms_buf_init(&b, 100);
	CU_ASSERT_FALSE(vms_buf_append(&b, big, 101));
	CU_ASSERT(vms_buf_append(&b, big, 100));
	CU_ASSERT_FALSE(vms_buf_append(&b, big, 1));
	CU_ASSERT_PTR_NULL(vms_buf_reserve(&b, SIZE_MAX));
	CU_ASSERT_EQUAL(vms_buf_len(&b), 100);
	vms_buf_consume(&b, 1);
	CU_ASSERT(vms_buf_append(&b, "x", 1));
	CU_ASSERT_EQUAL(vms_buf_data(&b)[99], 'x');
	vms_buf_free(&b);
}

static void printf_respects_the_limit(void)
{
	struct vms_buf b;

	vms_buf_init(&b, 8);
	CU_ASSERT(vms_buf_printf(&b, "%d-%s", 12, "abc"));
	CU_ASSERT_EQUAL(vms_buf_len(&b), 6);
	CU_ASSERT_FALSE(vms_buf_printf(&b, "xyz"));
	CU_ASSERT(vms_buf_printf(&b, "yz"));
	CU_ASSERT(!memcmp(vms_buf_data(&b), "12-abcyz", 8));
	vms_buf_free(&b);
}

static void random_stream_comes_out_as_it_went_in(void)
{
	struct vms_buf b;
	struct vms_rng r;
	uint64_t in = 0, out = 0;
	unsigned bad = 0;

	vms_rng_init(&r, 3);
	vms_buf_init(&b, 5000);
	for (int i = 0; i < 20000; i++) {
		size_t n = vms_rng_below(&r, 700);
		uint8_t *p = vms_buf_reserve(&b, n);

		if (p) {
			for (size_t k = 0; k < n; k++)
				p[k] = (uint8_t)vms_splitmix64(in++);
			vms_buf_commit(&b, n);
		}
		n = vms_rng_below(&r, vms_buf_len(&b) + 1);
		for (size_t k = 0; k < n; k++)
			bad += vms_buf_data(&b)[k] != (uint8_t)vms_splitmix64(out++);
		vms_buf_consume(&b, n);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT(out > 1000000);
	CU_ASSERT(b.cap_bytes <= 16384);
	vms_buf_free(&b);
}

static void vectors_grow_and_remove(void)
{
	VMS_VEC(int) v = VMS_VEC_INIT;
	int sum = 0;

	for (int i = 0; i < 100; i++)
		VMS_VEC_PUSH(&v, i);
	CU_ASSERT_EQUAL(v.n, 100);
	VMS_VEC_REMOVE(&v, 0);
	CU_ASSERT_EQUAL(v.d[0], 1);
	CU_ASSERT_EQUAL(v.n, 99);
	VMS_VEC_REMOVE_FAST(&v, 0);
	CU_ASSERT_EQUAL(v.d[0], 99);
	CU_ASSERT_EQUAL(VMS_VEC_POP(&v), 98);
	*VMS_VEC_ADD(&v) = 7;
	CU_ASSERT_EQUAL(VMS_VEC_LAST(&v), 7);
	VMS_VEC_FOREACH (&v, it)
		sum += *it;
	CU_ASSERT_EQUAL(sum, 4950 - 1 - 98 + 7);
	VMS_VEC_FREE(&v);
	CU_ASSERT_EQUAL(v.n, 0);
	VMS_VEC_FOREACH (&v, it)
		sum += *it;
	CU_ASSERT_EQUAL(sum, 4950 - 1 - 98 + 7);
}

static void rng_is_deterministic_and_in_range(void)
{
	struct vms_rng a, b;
	unsigned hits = 0, bad = 0, seen = 0;

	vms_rng_init(&a, 42);
	vms_rng_init(&b, 42);
	for (int i = 0; i < 1000; i++)
		bad += vms_rng_u64(&a) != vms_rng_u64(&b);
	CU_ASSERT_EQUAL(bad, 0);
	vms_rng_init(&b, 43);
	CU_ASSERT_NOT_EQUAL(vms_rng_u64(&a), vms_rng_u64(&b));
	for (int i = 0; i < 10000; i++) {
		uint64_t x = vms_rng_below(&a, 7), y = vms_rng_between(&a, 5, 6);

		bad += x >= 7 || y < 5 || y > 6;
		seen |= 1u << x;
		hits += vms_rng_chance(&a, 0.25);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(seen, 0x7f);
	CU_ASSERT(hits > 2300 && hits < 2700);
	CU_ASSERT_FALSE(vms_rng_chance(&a, 0));
	CU_ASSERT(vms_rng_chance(&a, 1));
}

static const struct vms_test tests[] = {
	VMS_TEST(appends_and_consumes_in_order),
	VMS_TEST(refuses_more_than_its_limit_and_stays_unchanged),
	VMS_TEST(printf_respects_the_limit),
	VMS_TEST(random_stream_comes_out_as_it_went_in),
	VMS_TEST(vectors_grow_and_remove),
	VMS_TEST(rng_is_deterministic_and_in_range),
};
VMS_TEST_MAIN("buf, vec, rng", tests)
