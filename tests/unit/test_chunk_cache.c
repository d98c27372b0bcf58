// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "target/chunk_cache.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

static vms_addr addr(uint64_t i)
{
	return (i + 1) * VMS_CHUNK_BYTES;
}

static uint32_t fill(struct vms_chunk_cache *c, uint64_t i)
{
	uint32_t s = vms_cc_insert(c, addr(i));

	if (s != VMS_CC_NONE)
		memcpy(vms_cc_data(c, s), &i, sizeof(i));
	return s;
}

static bool holds(struct vms_chunk_cache *c, uint64_t i)
{
	uint32_t s = vms_cc_find(c, addr(i));

	return s != VMS_CC_NONE && !memcmp(vms_cc_data(c, s), &i, sizeof(i));
}

static void what_was_put_in_is_found(void)
{
	struct vms_chunk_cache *c = vms_cc_new(64 * VMS_CHUNK_BYTES);

	for (uint64_t i = 0; i < 64; i++)
		CU_ASSERT_NOT_EQUAL(fill(c, i), VMS_CC_NONE);
	for (uint64_t i = 0; i < 64; i++)
		CU_ASSERT(holds(c, i));
	CU_ASSERT_EQUAL(vms_cc_find(c, addr(64)), VMS_CC_NONE);
	CU_ASSERT_EQUAL(vms_cc_used(c), 64);
	vms_cc_free(c);
}

static void a_scan_does_not_push_out_what_is_used(void)
{
	struct vms_chunk_cache *c = vms_cc_new(1000 * VMS_CHUNK_BYTES);
	unsigned left = 0;

	for (uint64_t i = 0; i < 500; i++)
		fill(c, i);
	for (int k = 0; k < 3; k++)
		for (uint64_t i = 0; i < 500; i++)
			CU_ASSERT(holds(c, i));
	for (uint64_t i = 10000; i < 14000; i++)
		fill(c, i);
	for (uint64_t i = 0; i < 500; i++)
		left += holds(c, i);
	CU_ASSERT(left > 450);
	CU_ASSERT(vms_cc_used(c) <= 1000);
	vms_cc_free(c);
}

static void a_pinned_slot_stays(void)
{
	struct vms_chunk_cache *c = vms_cc_new(64 * VMS_CHUNK_BYTES);
	uint32_t s = fill(c, 0);

	vms_cc_pin(c, s);
	for (uint64_t i = 1; i < 1000; i++)
		fill(c, i);
	CU_ASSERT_EQUAL(vms_cc_find(c, addr(0)), s);
	CU_ASSERT(holds(c, 0));
	CU_ASSERT_EQUAL(vms_cc_pinned(c), 1);
	vms_cc_drop(c, addr(0));
	CU_ASSERT(holds(c, 0));
	vms_cc_unpin(c, s);
	vms_cc_drop(c, addr(0));
	CU_ASSERT_EQUAL(vms_cc_find(c, addr(0)), VMS_CC_NONE);
	vms_cc_free(c);
}

static void with_all_pinned_there_is_no_room(void)
{
	struct vms_chunk_cache *c = vms_cc_new(64 * VMS_CHUNK_BYTES);

	for (uint64_t i = 0; i < 64; i++)
		vms_cc_pin(c, fill(c, i));
	CU_ASSERT_EQUAL(vms_cc_insert(c, addr(64)), VMS_CC_NONE);
	for (uint64_t i = 0; i < 64; i++)
		CU_ASSERT(holds(c, i));
	vms_cc_unpin(c, 7);
	CU_ASSERT_NOT_EQUAL(fill(c, 64), VMS_CC_NONE);
	vms_cc_free(c);
}

static void a_rekeyed_chunk_has_its_new_name_only(void)
{
	struct vms_chunk_cache *c = vms_cc_new(64 * VMS_CHUNK_BYTES);
	uint64_t one = 1;
	uint32_t s = fill(c, 1);

	vms_cc_rekey(c, addr(1), addr(500));
	CU_ASSERT_EQUAL(vms_cc_find(c, addr(1)), VMS_CC_NONE);
	CU_ASSERT_EQUAL(vms_cc_find(c, addr(500)), s);
	CU_ASSERT(!memcmp(vms_cc_data(c, s), &one, sizeof(one)));
	fill(c, 2);
	vms_cc_rekey(c, addr(500), addr(2)); /* taken: nothing happens */
	CU_ASSERT_EQUAL(vms_cc_find(c, addr(500)), s);
	CU_ASSERT(holds(c, 2));
	vms_cc_free(c);
}

static void memory_is_told_from_other_memory(void)
{
	struct vms_chunk_cache *c = vms_cc_new(64 * VMS_CHUNK_BYTES);
	uint32_t s = fill(c, 3);
	char other;

	CU_ASSERT_EQUAL(vms_cc_slot_of(c, vms_cc_data(c, s) + 4095), s);
	CU_ASSERT_EQUAL(vms_cc_slot_of(c, &other), VMS_CC_NONE);
	vms_cc_free(c);
}

/* Against a model: whatever is found is right, and it never holds too much. */
static void random_use_never_returns_wrong_content(void)
{
	struct vms_chunk_cache *c = vms_cc_new(100 * VMS_CHUNK_BYTES);
	uint32_t pin[20], npin = 0;
	struct vms_rng r;
	unsigned wrong = 0, hits = 0;

	vms_rng_init(&r, 5);
	for (unsigned k = 0; k < 200000; k++) {
		uint64_t i = vms_rng_chance(&r, 0.7) ? vms_rng_below(&r, 60)
						     : vms_rng_below(&r, 5000);
		uint32_t s = vms_cc_find(c, addr(i));

		if (s == VMS_CC_NONE) {
			s = fill(c, i);
		} else {
			hits++;
			wrong += memcmp(vms_cc_data(c, s), &i, sizeof(i)) != 0;
		}
		if (s != VMS_CC_NONE && npin < 20 && vms_rng_chance(&r, 0.1)) {
			vms_cc_pin(c, s);
			pin[npin++] = s;
		} else if (npin && vms_rng_chance(&r, 0.1)) {
			vms_cc_unpin(c, pin[--npin]);
		} else if (vms_rng_chance(&r, 0.01)) {
			vms_cc_drop(c, addr(i));
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(hits > 100000);
	CU_ASSERT(vms_cc_used(c) <= 100);
	vms_cc_free(c);
}

/* Is the memory at p one that the kernel was asked to keep in huge pages (proc(5), VmFlags)?
 * 1, 0, or -1: it does not say. */
static int in_huge_pages(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to;
	bool here = false;
	char line[512];
	int is = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (unsigned long)p && (unsigned long)p < to;
		else if (here && !strncmp(line, "VmFlags:", 8))
			is = strstr(line, " hg") != NULL;
	}
	if (f)
		fclose(f);
	return is;
}

/* A random chunk of many would miss the processor's address cache each time. */
static void chunks_lie_in_huge_pages(void)
{
	struct vms_chunk_cache *c = vms_cc_new(64u << 20);

	fill(c, 1);
	CU_ASSERT(holds(c, 1));
	if (!access("/sys/kernel/mm/transparent_hugepage", F_OK)) /* a kernel that has them */
		CU_ASSERT_NOT_EQUAL(in_huge_pages(vms_cc_data(c, vms_cc_find(c, addr(1)))), 0);
	vms_cc_free(c);
}

static const struct vms_test tests[] = {
	VMS_TEST(what_was_put_in_is_found),
	VMS_TEST(a_scan_does_not_push_out_what_is_used),
	VMS_TEST(a_pinned_slot_stays),
	VMS_TEST(with_all_pinned_there_is_no_room),
	VMS_TEST(a_rekeyed_chunk_has_its_new_name_only),
	VMS_TEST(memory_is_told_from_other_memory),
	VMS_TEST(random_use_never_returns_wrong_content),
	VMS_TEST(chunks_lie_in_huge_pages),
};
VMS_TEST_MAIN("chunk_cache", tests)
