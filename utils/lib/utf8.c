// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

unsigned vms_utf8_char(const char *text)
{
	for (unsigned n = 1; n <= 4 && text[n - 1]; n++) {
		json_t *j = json_stringn(text, n); /* takes UTF-8 alone */

		if (j) {
			json_decref(j);
			return n;
		}
	}
	return 0;
}

json_t *vms_json_text(const char *s)
{
	char *out = malloc(4 * strlen(s) + 1), *at = out;
	json_t *j;

	vms_assert(out);
	while (*s) {
		unsigned n = vms_utf8_char(s);

		if (n) {
			memcpy(at, s, n);
			at += n;
			s += n;
		} else {
			at += sprintf(at, "\\x%02x", (unsigned char)*s++);
		}
	}
	j = json_stringn(out, (size_t)(at - out));
	free(out);
	vms_assert(j);
	return j;
}
