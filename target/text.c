// SPDX-License-Identifier: GPL-2.0-only
/* Text of initiators, see tgt_text.h. */
#include <errno.h>
#include <string.h>

#include "target/tgt_text.h"

static int is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr(".-+@_#", c));
}

int tgt_text_check(const char *text, size_t bytes)
{
	size_t at = 0, key;

	while (at < bytes && text[at]) {
		for (key = at; at < bytes && is_key_char(text[at]); at++)
			;
		if (at == key || at - key > TGT_TEXT_KEY_MAX || at == bytes || text[at] != '=')
			return -EINVAL;
		at += strnlen(text + at, bytes - at);
		if (at == bytes)
			return -EINVAL;
		at++;
	}
	while (at < bytes && !text[at])
		at++;
	return at == bytes ? 0 : -EINVAL;
}

unsigned tgt_text_count(const char *text, size_t bytes, const char *key)
{
	size_t n = strlen(key), at = 0;
	unsigned nr = 0;

	while (at < bytes && text[at]) {
		nr += bytes - at > n && !memcmp(text + at, key, n) && text[at + n] == '=';
		at += strnlen(text + at, bytes - at) + 1;
	}
	return nr;
}

static int is_printable(const char *text, unsigned char least)
{
	for (; *text; text++)
		if ((unsigned char)*text < least || *text == 0x7f)
			return 0;
	return 1;
}

int tgt_text_is_name(const char *name)
{
	return *name && is_printable(name, ' ' + 1);
}

int tgt_text_is_plain(const char *text)
{
	return is_printable(text, ' ');
}
