// SPDX-License-Identifier: GPL-2.0-only
/* CHAP's digests and binary values. The answers come from sha256sum and the like over
 * the bytes 1, "123456789012", "abc". */
#include <string.h>

#include "target/tgt_chap.h"
#include "tests/unit/cunit.h"

static void hex(const uint8_t *b, int n, char *out)
{
	for (int i = 0; i < n; i++)
		sprintf(out + 2 * i, "%02x", b[i]);
}

static void digests(void)
{
	static const struct {
		const char *number, *want;
	} v[] = {
		{"5", "f1dce10bd9abd4a38a9d21dcca22ab6f"},
		{"6", "c9e7268c2b395b381ba0da358b995b1062affeee"},
		{"7", "8b4b4e4ebd64e9ee6c68b21ae02b58dfc330a6e271c631ff215117e88df1362c"},
		{"8", "d8af54ffe9d2144996cd1db0f7463ea8cf7bb39c2d51893ccae89dadeeff15b3"},
	};
	uint8_t d[TGT_CHAP_DIGEST_MAX];
	char text[2 * TGT_CHAP_DIGEST_MAX + 1];

	for (unsigned i = 0; i < 4; i++) {
		int alg = tgt_chap_alg(v[i].number);
		int n = tgt_chap_digest(alg, 1, "123456789012", (const uint8_t *)"abc", 3, d);

		CU_ASSERT_EQUAL_FATAL(n, (int)strlen(v[i].want) / 2);
		hex(d, n, text);
		CU_ASSERT_STRING_EQUAL(text, v[i].want);
	}
	CU_ASSERT_EQUAL(tgt_chap_digest(9, 1, "x", (const uint8_t *)"abc", 3, d), -1);
}

static void algorithms(void)
{
	CU_ASSERT_EQUAL(tgt_chap_alg(""), 0);
	CU_ASSERT_EQUAL(tgt_chap_alg("4"), 0);
	CU_ASSERT_EQUAL(tgt_chap_alg("9"), 0);
	CU_ASSERT_EQUAL(tgt_chap_alg("77"), 0);
	CU_ASSERT_EQUAL(tgt_chap_alg("07"), 0);
	tgt_chap_allow(1u << 7 | 1u << 8);
	CU_ASSERT_EQUAL(tgt_chap_alg("5"), 0);
	CU_ASSERT_EQUAL(tgt_chap_alg("6"), 0);
	CU_ASSERT_EQUAL(tgt_chap_alg("7"), 7);
	CU_ASSERT_EQUAL(tgt_chap_alg("8"), 8);
	tgt_chap_allow(~0u);
}

static void values(void)
{
	static const struct {
		const char *text;
		int n;
		const char *bytes;
	} v[] = {
		{"0x616263", 3, "abc"},
		{"0X6162", 2, "ab"},
		{"0x161", 2, "\x01\x61"},
		{"0xaB", 1, "\xab"},
		{"0bYWJj", 3, "abc"},
		{"0bYWI=", 2, "ab"},
		{"0BYQ==", 1, "a"},
		{"0x", -1, ""},
		{"0b", -1, ""},
		{"", -1, ""},
		{"0", -1, ""},
		{"616263", -1, ""},
		{"0x6g", -1, ""},
		{"0x 1", -1, ""},
		{"0bYWJ", -1, ""},
		{"0bYW=j", -1, ""},
		{"0bY===", -1, ""},
		{"0b====", -1, ""},
		{"0bYW J", -1, ""},
		{"0x6162636465666768696a6b6c6d6e6f7071", -1, ""},
		{"0bYWJjZGVmZ2hpamtsbW5vcHFy", -1, ""}, /* 18 bytes, no padding */
		{"0bYWJjZGVmZ2hpamtsbW5vcA==", 16, "abcdefghijklmnop"},
	};
	uint8_t out[17];

	for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		out[16] = 0x5a;
		CU_ASSERT_EQUAL(tgt_chap_decode(v[i].text, out, 16), v[i].n);
		if (v[i].n > 0)
			CU_ASSERT(!memcmp(out, v[i].bytes, (size_t)v[i].n));
		CU_ASSERT_EQUAL(out[16], 0x5a);
	}
	CU_ASSERT(tgt_chap_equal((const uint8_t *)"abc", (const uint8_t *)"abd", 2));
	CU_ASSERT(!tgt_chap_equal((const uint8_t *)"abc", (const uint8_t *)"abd", 3));
}

static const struct vms_test tests[] = {
	VMS_TEST(digests),
	VMS_TEST(algorithms),
	VMS_TEST(values),
};
VMS_TEST_MAIN("chap", tests)
