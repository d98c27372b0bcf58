// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/utf8.h"
#include "tests/unit/cunit.h"

#include <stdbool.h>
#include <string.h>

static void characters_have_their_length(void)
{
	CU_ASSERT_EQUAL(vms_utf8_char("a"), 1);
	CU_ASSERT_EQUAL(vms_utf8_char("\xc3\xbc"), 2);
	CU_ASSERT_EQUAL(vms_utf8_char("\xe2\x82\xac"), 3);
	CU_ASSERT_EQUAL(vms_utf8_char("\xf0\x9f\x98\x80"), 4);
	CU_ASSERT_EQUAL(vms_utf8_char("\xf4\x8f\xbf\xbf"), 4);
}

/* The same as jansson takes, or the catalog's encoder would find nothing to encode. */
static void it_agrees_with_the_json_library(void)
{
	unsigned long r = 12345, wrong = 0;
	char s[8];

	for (unsigned i = 0; i < 300000; i++) {
		bool ok = true;
		json_t *j;

		memset(s, 0, sizeof(s));
		for (unsigned k = 0; k < 1 + i % 5; k++) {
			r = r * 6364136223846793005ul + 1442695040888963407ul;
			/* mostly first and following bytes of long characters */
			s[k] = (char)(r >> 60 < 12 ? 0x80 | r >> 40 : r >> 40);
		}
		for (const char *p = s; *p && ok;) {
			unsigned n = vms_utf8_char(p);

			ok = n > 0;
			p += n;
		}
		j = json_string(s);
		wrong += ok != (j != NULL);
		json_decref(j);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void what_is_no_text_is_shown_as_bytes(void)
{
	json_t *j = vms_json_text("/tmp/\xff\xc3\xbc\xc3");

	CU_ASSERT_STRING_EQUAL(json_string_value(j), "/tmp/\\xff\xc3\xbc\\xc3");
	json_decref(j);
	j = vms_json_text("");
	CU_ASSERT_STRING_EQUAL(json_string_value(j), "");
	json_decref(j);
}

static const struct vms_test tests[] = {
	VMS_TEST(characters_have_their_length),
	VMS_TEST(it_agrees_with_the_json_library),
	VMS_TEST(what_is_no_text_is_shown_as_bytes),
};
VMS_TEST_MAIN("utf8", tests)
