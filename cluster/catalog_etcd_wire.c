// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/catalog_etcd_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode(char *to, const uint8_t *p, size_t bytes)
{
	while (bytes) {
		uint32_t v = (uint32_t)p[0] << 16 | (bytes > 1 ? (uint32_t)p[1] << 8 : 0) |
			     (bytes > 2 ? p[2] : 0);

		*to++ = digits[v >> 18];
		*to++ = digits[v >> 12 & 63];
		*to++ = bytes > 1 ? digits[v >> 6 & 63] : '=';
		*to++ = bytes > 2 ? digits[v & 63] : '=';
		p += bytes > 2 ? 3 : bytes;
		bytes -= bytes > 2 ? 3 : bytes;
	}
	*to = 0;
}

char *vms_b64_encode(const void *data, size_t bytes)
{
	char *out = malloc((bytes + 2) / 3 * 4 + 1);

	vms_assert(out);
	encode(out, data, bytes);
	return out;
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

char *vms_b64_decode(const char *text, size_t *bytes)
{
	size_t n = strlen(text), at = 0;
	char *out;

	while (n && text[n - 1] == '=')
		n--;
	if (n % 4 == 1)
		return NULL;
	out = malloc(n / 4 * 3 + 4);
	vms_assert(out);
	for (size_t i = 0; i < n; i += 4) {
		unsigned k = n - i < 4 ? (unsigned)(n - i) : 4;
		uint32_t v = 0;

		for (unsigned j = 0; j < 4; j++) {
			int d = j < k ? digit(text[i + j]) : 0;

			if (d < 0) {
				free(out);
				return NULL;
			}
			v = v << 6 | (uint32_t)d;
		}
		for (unsigned j = 0; j + 1 < k; j++)
			out[at++] = (char)(v >> (16 - 8 * j));
	}
	out[at] = 0;
	*bytes = at;
	return out;
}

uint64_t vms_etcd_u64(const json_t *o, const char *field)
{
	const json_t *v = json_object_get(o, field);
	const char *s = json_string_value(v);

	if (s)
		return strtoull(s, NULL, 10);
	return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v)
							       : 0;
}

json_t *vms_etcd_u64_json(uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	return json_string(text);
}

json_t *vms_etcd_text_json(const char *head, const char *tail)
{
	size_t h = strlen(head), t = strlen(tail);
	char *raw = malloc(h + t + 1), *b64;
	json_t *j;

	vms_assert(raw);
	memcpy(raw, head, h);
	memcpy(raw + h, tail, t);
	b64 = vms_b64_encode(raw, h + t);
	j = json_string(b64);
	vms_assert(j);
	free(raw);
	free(b64);
	return j;
}

char *vms_etcd_text(const json_t *o, const char *field, size_t *bytes)
{
	const char *s = json_string_value(json_object_get(o, field));

	return s ? vms_b64_decode(s, bytes) : NULL;
}

/* The texts are the only thing that all versions have in common: the numbers of
 * "code" are gRPC's and too coarse. */
enum vms_etcd_error vms_etcd_error(const json_t *root, int http_status, int *status,
				   const char **text)
{
	static const struct {
		const char *part;
		enum vms_etcd_error what;
		int status;
	} known[] = {
		{"database space exceeded", VMS_ETCD_REFUSED, VMS_E_NOSPC},
		{"duplicate key", VMS_ETCD_REFUSED, VMS_E_INVAL},
		{"too many operations", VMS_ETCD_REFUSED, VMS_E_INVAL},
		{"request is too large", VMS_ETCD_REFUSED, VMS_E_FULL},
		{"trying to send message larger", VMS_ETCD_REFUSED, VMS_E_FULL},
		{"lease not found", VMS_ETCD_REFUSED, VMS_E_NOENT},
		{"lease already exists", VMS_ETCD_REFUSED, VMS_E_EXIST},
		{"too large lease TTL", VMS_ETCD_REFUSED, VMS_E_INVAL},
		{"permission denied", VMS_ETCD_REFUSED, VMS_E_PERM},
		{"authentication failed", VMS_ETCD_REFUSED, VMS_E_PERM},
		{"authentication is not enabled", VMS_ETCD_REFUSED, VMS_E_UNSUPPORTED},
		{"invalid auth token", VMS_ETCD_AUTH, 0},
		{"revision in header is old", VMS_ETCD_AUTH, 0},
		{"user name is empty", VMS_ETCD_AUTH, 0},
		{"received message larger", VMS_ETCD_REFUSED, VMS_E_RANGE},
	};
	const json_t *e = json_object_get(root, "error");
	const char *t = json_string_value(e);

	if (!t && json_is_object(e)) /* of a stream */
		t = json_string_value(json_object_get(e, "message"));
	if (!t)
		t = json_string_value(json_object_get(root, "message"));
	*status = VMS_E_TIMEOUT;
	*text = t ? t : "the answer is no JSON text";
	if (!t && json_is_object(root) && http_status == 200)
		return VMS_ETCD_OK;
	for (size_t i = 0; t && i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(t, known[i].part)) {
			*status = known[i].status;
			return known[i].what;
		}
	return VMS_ETCD_TRANSIENT;
}
