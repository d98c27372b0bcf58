/* SPDX-License-Identifier: GPL-2.0-only */
/* Text from outside (paths, names of zones): JSON and the catalog hold UTF-8 only. */
#ifndef VMS_UTF8_H
#define VMS_UTF8_H

#include <jansson.h>

/* Bytes of the character at s, which ends with a NUL somewhere; 0: it is none. */
unsigned vms_utf8_char(const char *s);

/* s as a JSON string, bytes that are no character as \xNN. New reference. */
json_t *vms_json_text(const char *s);

#endif
