// SPDX-License-Identifier: GPL-2.0-only
/* Fingerprints: two at a time are the same as one by one, and both as published. */
#include "utils/lib/fp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"
#include "utils/lib/sha_pair.h"

static bool is(const uint8_t fp[VMS_FP_BYTES], const char *hex)
{
	char text[2 * VMS_FP_BYTES + 1];

	for (unsigned i = 0; i < VMS_FP_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", fp[i]);
	return !strcmp(text, hex);
}

/* Source: FIPS 180-4 examples (NIST, SHA256.pdf), and of the empty message */
static void published_vectors(void)
{
	static const struct {
		const char *text, *fp;
	} v[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	};
	struct vms_fp *f = vms_fp_open(NULL, 0);
	uint8_t out[2][VMS_FP_BYTES];

	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *p = (const uint8_t *)v[i].text;

		vms_fp_chunk(f, p, strlen(v[i].text), out[0]);
		CU_ASSERT(is(out[0], v[i].fp));
		memset(out, 0, sizeof(out));
		vms_fp_chunks(f, (const uint8_t *const[2]){p, p}, strlen(v[i].text), 2, out);
		CU_ASSERT(is(out[0], v[i].fp) && is(out[1], v[i].fp));
	}
	vms_fp_close(f);
}

/* Each length up to beyond what needs three blocks, and that of a chunk, with each length
 * of a salt. */
static void many_are_as_one_by_one(void)
{
	static uint8_t data[5][4096 + 64];
	uint8_t salt[VMS_FP_SALT_BYTES_MAX], out[5][VMS_FP_BYTES], one[VMS_FP_BYTES];
	unsigned bad = 0;
	struct vms_rng r;

	vms_rng_init(&r, 3);
	vms_rng_fill(&r, data, sizeof(data));
	vms_rng_fill(&r, salt, sizeof(salt));
	for (size_t k = 0; k <= sizeof(salt); k++) {
		struct vms_fp *f = vms_fp_open(salt, k);

		for (size_t len = 0; len <= 4096; len = len == 200 ? 4096 : len + 1) {
			const uint8_t *chunk[5];
			unsigned n = 1 + (unsigned)((len + k) % 5);

			for (unsigned i = 0; i < n; i++)
				chunk[i] = data[i] + (i * 7 + k) % 64;
			vms_fp_chunks(f, chunk, len, n, out);
			for (unsigned i = 0; i < n; i++) {
				vms_fp_chunk(f, chunk[i], len, one);
				bad += memcmp(one, out[i], VMS_FP_BYTES) != 0;
			}
		}
		vms_fp_close(f);
	}
	CU_ASSERT_EQUAL(bad, 0);
	if (!vms_sha_pair_usable())
		printf("(this processor takes one at a time) ");
}

static const struct vms_test tests[] = {
	VMS_TEST(published_vectors),
	VMS_TEST(many_are_as_one_by_one),
};
VMS_TEST_MAIN("utils/lib/fp", tests)
