// SPDX-License-Identifier: GPL-2.0-only
/* Fingerprints: as published, and with a salt those of the salt and the chunk as one text. */
#include "utils/lib/fp.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/lib/assert.h"
#include "utils/lib/rng.h"

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
	uint8_t out[VMS_FP_BYTES];

	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *p = (const uint8_t *)v[i].text;

		vms_fp_chunk(f, p, strlen(v[i].text), out);
		CU_ASSERT(is(out, v[i].fp));
	}
	vms_fp_close(f);
}

/* Each length of a salt, and a context that is used again and again. */
static void salt_comes_first(void)
{
	static uint8_t text[VMS_FP_SALT_BYTES_MAX + 4096];
	uint8_t out[VMS_FP_BYTES], want[VMS_FP_BYTES];
	unsigned bad = 0;
	struct vms_rng r;

	vms_rng_init(&r, 3);
	vms_rng_fill(&r, text, sizeof(text));
	for (size_t k = 0; k <= VMS_FP_SALT_BYTES_MAX; k++) {
		struct vms_fp *f = vms_fp_open(text, k);

		for (size_t len = 0; len <= 4096; len = len == 200 ? 4096 : len + 1) {
			vms_assert(EVP_Digest(text, k + len, want, NULL, EVP_sha256(), NULL) == 1);
			vms_fp_chunk(f, text + k, len, out);
			bad += memcmp(want, out, VMS_FP_BYTES) != 0;
		}
		vms_fp_close(f);
	}
	CU_ASSERT_EQUAL(bad, 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(published_vectors),
	VMS_TEST(salt_comes_first),
};
VMS_TEST_MAIN("utils/lib/fp", tests)
