/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * JSON of etcd's gateway (/v3/...): requests made, answers taken apart. Keys and
 * values travel in base64, 64-bit numbers as texts, zeros and empty fields not at
 * all. Pure, any thread.
 */
#ifndef VMS_CATALOG_ETCD_WIRE_H
#define VMS_CATALOG_ETCD_WIRE_H

#include <jansson.h>

#include "include/err.h"
#include "include/types.h"

/* Standard base64 with padding. Both malloc; decode appends a NUL that does not
 * count and answers NULL for what is none. */
char *vms_b64_encode(const void *data, size_t bytes);
char *vms_b64_decode(const char *text, size_t *bytes);

/* A 64-bit number that may be a text, a number, or absent (0). */
uint64_t vms_etcd_u64(const json_t *o, const char *field);
json_t *vms_etcd_u64_json(uint64_t v);
/* head + tail in base64 as a JSON text. */
json_t *vms_etcd_text_json(const char *head, const char *tail);
/* Field of o in base64, decoded; NULL: absent or damaged. Caller frees. */
char *vms_etcd_text(const json_t *o, const char *field, size_t *bytes);

/* What an answer that is an error says; all texts live as long as root. */
enum vms_etcd_error {
	VMS_ETCD_OK,	    /* no error */
	VMS_ETCD_TRANSIENT, /* nobody knows what became of it; ask again */
	VMS_ETCD_REFUSED,   /* certainly not done; *status says why */
	VMS_ETCD_AUTH,	    /* not done: log in, then ask again */
};
enum vms_etcd_error vms_etcd_error(const json_t *root, int http_status, int *status,
				   const char **text);

#endif
