/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The text of login and text requests, before tgt's parser (usr/iscsi/iscsid.c) sees it:
 * RFC 7143, 6.1 and 4.2.7. Pure functions, any thread.
 */
#ifndef VMS_TGT_TEXT_H
#define VMS_TGT_TEXT_H

#include <stddef.h>

#define TGT_TEXT_KEY_MAX 63

/* text[0..bytes) is nothing but key=value, each with a zero at its end; zeros may follow.
 * Returns 0, or -EINVAL. */
int tgt_text_check(const char *text, size_t bytes);

/* How often the key is in a text that has passed tgt_text_check(). */
unsigned tgt_text_count(const char *text, size_t bytes, const char *key);

/* Not empty, no blanks and no control characters: it goes into logs and lists. */
int tgt_text_is_name(const char *name);
/* The same, blanks allowed; may be empty. */
int tgt_text_is_plain(const char *text);

#endif
