// SPDX-License-Identifier: GPL-2.0-only
/* Text of initiators: what tgt's parser is given. */
#include <string.h>

#include "target/tgt_text.h"
#include "tests/unit/cunit.h"

static void check(void)
{
	static const struct {
		const char *text;
		size_t bytes;
		int ok;
	} c[] = {
		{"", 0, 1},
		{"a=b", 4, 1},
		{"a=b\0c=", 7, 1},
		{"a=b\0\0\0\0", 8, 1},
		{"\0\0", 2, 1},
		{"a=b=c,d", 8, 1},
		{"X-org.example.key=1", 20, 1},
		{"a=b", 3, 0}, /* no end */
		{"a", 2, 0},   /* no '=' */
		{"a", 1, 0},
		{"=b", 3, 0},	       /* no key */
		{"a=b\0\0c=d", 10, 0}, /* zeros in the middle */
		{"a b=c", 6, 0},       /* a blank in a key */
		{"a\n=c", 5, 0},
		{"a=b\0c", 6, 0},
	};
	char key[80];

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++)
		CU_ASSERT_EQUAL(!tgt_text_check(c[i].text, c[i].bytes), c[i].ok);
	memset(key, 'k', sizeof(key));
	key[TGT_TEXT_KEY_MAX] = '=', key[TGT_TEXT_KEY_MAX + 1] = 0;
	CU_ASSERT_EQUAL(tgt_text_check(key, TGT_TEXT_KEY_MAX + 2), 0);
	key[TGT_TEXT_KEY_MAX] = 'k';
	key[TGT_TEXT_KEY_MAX + 1] = '=', key[TGT_TEXT_KEY_MAX + 2] = 0;
	CU_ASSERT_NOT_EQUAL(tgt_text_check(key, TGT_TEXT_KEY_MAX + 3), 0);
}

static void count(void)
{
	static const char text[] = "SendTargets=All\0SendTargets2=x\0SendTargets=";

	CU_ASSERT_EQUAL(tgt_text_count(text, sizeof(text), "SendTargets"), 2);
	CU_ASSERT_EQUAL(tgt_text_count(text, sizeof(text), "Send"), 0);
	CU_ASSERT_EQUAL(tgt_text_count(text, 0, "SendTargets"), 0);
	CU_ASSERT_EQUAL(tgt_text_count("a", 1, "a"), 0);
}

static void names(void)
{
	CU_ASSERT_TRUE(tgt_text_is_name("iqn.2011-06.org.vmstore:x"));
	CU_ASSERT_TRUE(tgt_text_is_name("iqn.\xc3\xa4"));
	CU_ASSERT_FALSE(tgt_text_is_name(""));
	CU_ASSERT_FALSE(tgt_text_is_name("iqn x"));
	CU_ASSERT_FALSE(tgt_text_is_name("iqn\n"));
	CU_ASSERT_FALSE(tgt_text_is_name("iqn\x7f"));
	CU_ASSERT_TRUE(tgt_text_is_plain(""));
	CU_ASSERT_TRUE(tgt_text_is_plain("my host"));
	CU_ASSERT_FALSE(tgt_text_is_plain("my\thost"));
}

static const struct vms_test tests[] = {
	VMS_TEST(check),
	VMS_TEST(count),
	VMS_TEST(names),
};
VMS_TEST_MAIN("text", tests)
