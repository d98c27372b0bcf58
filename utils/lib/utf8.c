// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

unsigned vms_utf8_char(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned n = *s < 0x80 ? 1 : *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : 2;

	if (*s > 0xf4 || (n == 2 && *s < 0xc2))
		return 0;
	for (unsigned i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* longer than needed, surrogates, beyond the last one */
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
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
