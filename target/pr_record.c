// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of reservations as the catalog has it: JSON text <-> struct vms_pr; see pr.h
 * and doc/architecture.md "Catalog keys".
 *
 * Fields that the decoder does not know are ignored; one that is wrong makes the whole
 * table wrong: half a table would let the wrong hosts write. Pure.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/catalog.h"
#include "target/pr.h"
#include "utils/lib/assert.h"

void vms_pr_key(char *out, const uint8_t uuid[16])
{
	int n = snprintf(out, VMS_CAT_KEY_BYTES_MAX, "pr/");

	for (unsigned i = 0; i < 16; i++)
		n += snprintf(out + n, VMS_CAT_KEY_BYTES_MAX - (size_t)n, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

void vms_pr_key_ack(char *out, const uint8_t uuid[16], uint32_t gateway)
{
	size_t n;

	vms_pr_key(out, uuid);
	n = strlen(out);
	snprintf(out + n, VMS_CAT_KEY_BYTES_MAX - n, "/%08" PRIx32, gateway);
}

/* ---- encoding ---- */

/* A name comes from an initiator: what JSON does not take as it is, is escaped as %xx. */
static json_t *enc_name(const char *name)
{
	char out[3 * sizeof(((struct vms_pr_nexus *)0)->initiator)];
	size_t n = 0;

	for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
		if (*c > 0x20 && *c < 0x7f && *c != '%' && *c != '"' && *c != '\\')
			out[n++] = (char)*c;
		else
			n += (size_t)snprintf(out + n, 4, "%%%02x", *c);
	}
	out[n] = 0;
	return json_string(out);
}

static json_t *enc_hex(const uint8_t *p, unsigned bytes)
{
	char out[33] = "";

	for (unsigned i = 0; i < bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
	return json_string(out);
}

static json_t *enc_u64(uint64_t v)
{
	char out[17];

	snprintf(out, sizeof(out), "%016" PRIx64, v);
	return json_string(out);
}

static json_t *enc_owner(const struct vms_pr_owner *o)
{
	return json_pack("[I, I, o]", (json_int_t)o->gateway, (json_int_t)o->incarnation,
			 enc_u64(o->session));
}

/* Of a nexus that is registered its place will do; null: all. */
static json_t *enc_event(const struct vms_pr *pr, const struct vms_pr_event *e)
{
	json_t *who = NULL;

	if (e->all)
		who = json_null();
	for (unsigned i = 0; i < pr->n && !who; i++)
		if (vms_pr_same_nexus(&pr->reg[i].nexus, &e->nexus))
			who = json_integer(i);
	if (!who)
		who = json_pack("[o, o, i]", enc_name(e->nexus.initiator),
				enc_hex(e->nexus.isid, 6), (int)e->nexus.target_port);
	return json_pack("[o, i, b]", who, (int)e->asc, (int)e->abort);
}

char *vms_pr_encode(const struct vms_pr *pr)
{
	json_t *reg = json_array(), *j;
	char *text;

	for (unsigned i = 0; i < pr->n; i++)
		json_array_append_new(
			reg, json_pack("[o, o, i, o]", enc_name(pr->reg[i].nexus.initiator),
				       enc_hex(pr->reg[i].nexus.isid, 6),
				       (int)pr->reg[i].nexus.target_port, enc_u64(pr->reg[i].key)));
	j = json_pack("{s:I, s:I, s:i, s:i, s:o}", "fence", (json_int_t)pr->fence, "generation",
		      (json_int_t)pr->generation, "type", (int)pr->type, "holder", pr->holder,
		      "registrations", reg);
	if (pr->by.gateway)
		json_object_set_new(j, "by", enc_owner(&pr->by));
	if (pr->reserve.gateway)
		json_object_set_new(j, "reserve", enc_owner(&pr->reserve));
	if (pr->pending) {
		json_t *tell = json_array();

		for (unsigned i = 0; i < pr->nevents; i++)
			json_array_append_new(tell, enc_event(pr, &pr->event[i]));
		json_object_set_new(j, "tell", tell);
	}
	text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(j);
	vms_assert(text);
	if (strlen(text) < VMS_CAT_VAL_BYTES_MAX)
		return text;
	free(text);
	return NULL;
}

/* What is told of registrations that stay is a few bytes for each: "[127,10755,false],". */
#define TELL_ROOM (VMS_PR_REGISTRATIONS_MAX * 20u + 512u)

static bool brings_new(const struct vms_pr *before, const struct vms_pr *next)
{
	for (unsigned i = 0; i < next->n; i++) {
		unsigned k = 0;

		while (k < before->n &&
		       !vms_pr_same_nexus(&before->reg[k].nexus, &next->reg[i].nexus))
			k++;
		if (k == before->n)
			return true;
	}
	return false;
}

/* Whoever has registered can always preempt, release, clear and unregister. */
char *vms_pr_encode_next(const struct vms_pr *before, const struct vms_pr *next)
{
	char *text = vms_pr_encode(next);

	if (!text || strlen(text) + TELL_ROOM < VMS_CAT_VAL_BYTES_MAX || !brings_new(before, next))
		return text;
	free(text);
	return NULL;
}

/* ---- decoding ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool dec_hex(const json_t *j, uint8_t *out, unsigned bytes)
{
	const char *s = json_string_value(j);

	if (!s || strlen(s) != 2 * (size_t)bytes)
		return false;
	for (unsigned i = 0; i < bytes; i++) {
		int hi = digit(s[2 * i]), lo = digit(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static bool dec_u64(const json_t *j, uint64_t *out)
{
	uint8_t b[8];

	*out = 0;
	if (!dec_hex(j, b, 8))
		return false;
	for (unsigned i = 0; i < 8; i++)
		*out = *out << 8 | b[i];
	return true;
}

static bool dec_int(const json_t *j, int64_t min, int64_t max, int64_t *out)
{
	*out = json_integer_value(j);
	return json_is_integer(j) && *out >= min && *out <= max;
}

static bool dec_name(const json_t *j, char *out, size_t room)
{
	const char *s = json_string_value(j);
	size_t n = 0;

	if (!s)
		return false;
	while (*s) {
		int c = (unsigned char)*s++;

		if (c == '%') {
			int hi = digit(s[0]), lo = hi < 0 ? -1 : digit(s[1]);

			if (lo < 0)
				return false;
			c = hi << 4 | lo;
			s += 2;
		}
		if (!c || n + 1 >= room)
			return false;
		out[n++] = (char)c;
	}
	out[n] = 0;
	return n != 0;
}

static bool dec_nexus(const json_t *j, struct vms_pr_nexus *out)
{
	int64_t port;

	memset(out, 0, sizeof(*out));
	if (!dec_name(json_array_get(j, 0), out->initiator, sizeof(out->initiator)) ||
	    !dec_hex(json_array_get(j, 1), out->isid, 6) ||
	    !dec_int(json_array_get(j, 2), 0, UINT16_MAX, &port))
		return false;
	out->target_port = (uint16_t)port;
	return true;
}

static bool dec_owner(const json_t *j, struct vms_pr_owner *out)
{
	int64_t gateway, incarnation;

	if (!dec_int(json_array_get(j, 0), 1, UINT32_MAX, &gateway) ||
	    !dec_int(json_array_get(j, 1), 0, INT64_MAX, &incarnation) ||
	    !dec_u64(json_array_get(j, 2), &out->session))
		return false;
	out->gateway = (uint32_t)gateway;
	out->incarnation = (uint64_t)incarnation;
	return true;
}

static const char *registrations(struct vms_pr *pr, const json_t *list)
{
	size_t i, n = json_array_size(list);
	const json_t *r;

	if (!json_is_array(list) || n > VMS_PR_REGISTRATIONS_MAX)
		return "registrations";
	pr->reg = n ? calloc(n, sizeof(*pr->reg)) : NULL;
	vms_assert(pr->reg || !n);
	json_array_foreach (list, i, r) {
		if (!dec_nexus(r, &pr->reg[i].nexus) ||
		    !dec_u64(json_array_get(r, 3), &pr->reg[i].key) || !pr->reg[i].key)
			return "registrations";
		for (size_t k = 0; k < i; k++)
			if (vms_pr_same_nexus(&pr->reg[k].nexus, &pr->reg[i].nexus))
				return "registrations";
		pr->n++;
	}
	return NULL;
}

/* There while the change is under way. */
static const char *events(struct vms_pr *pr, const json_t *tell)
{
	size_t i, n = json_array_size(tell);
	const json_t *e;

	if (!json_is_array(tell) || n > VMS_PR_EVENTS_MAX)
		return "tell";
	pr->pending = true;
	pr->event = n ? calloc(n, sizeof(*pr->event)) : NULL;
	vms_assert(pr->event || !n);
	json_array_foreach (tell, i, e) {
		const json_t *who = json_array_get(e, 0);
		struct vms_pr_event *out = &pr->event[i];
		int64_t at, asc;

		if (dec_int(who, 0, (int64_t)pr->n - 1, &at))
			out->nexus = pr->reg[at].nexus;
		else if (json_is_null(who))
			out->all = true;
		else if (!dec_nexus(who, &out->nexus))
			return "tell";
		if (!dec_int(json_array_get(e, 1), 0, UINT16_MAX, &asc))
			return "tell";
		out->asc = (uint16_t)asc;
		out->abort = json_is_true(json_array_get(e, 2));
		pr->nevents++;
	}
	return NULL;
}

static bool holder_ok(const struct vms_pr *pr)
{
	switch (pr->type) {
	case VMS_PR_NONE:
		return pr->holder == -1;
	case VMS_PR_WE:
	case VMS_PR_EA:
	case VMS_PR_WE_RO:
	case VMS_PR_EA_RO:
		return pr->holder >= 0;
	case VMS_PR_WE_AR:
	case VMS_PR_EA_AR:
		return pr->holder == -1 && pr->n;
	default:
		return false;
	}
}

/* The name of the first field that is wrong, or NULL. */
static const char *fields(struct vms_pr *pr, const json_t *j)
{
	const json_t *reserve = json_object_get(j, "reserve"), *by = json_object_get(j, "by"),
		     *tell = json_object_get(j, "tell");
	int64_t fence, generation, type, holder;
	const char *bad;

	if (!dec_int(json_object_get(j, "fence"), 1, INT64_MAX, &fence))
		return "fence";
	if (!dec_int(json_object_get(j, "generation"), 0, UINT32_MAX, &generation))
		return "generation";
	if (!dec_int(json_object_get(j, "type"), 0, 8, &type))
		return "type";
	pr->fence = (uint64_t)fence;
	pr->generation = (uint32_t)generation;
	pr->type = (uint8_t)type;
	bad = registrations(pr, json_object_get(j, "registrations"));
	if (bad)
		return bad;
	if (!dec_int(json_object_get(j, "holder"), -1, (int64_t)pr->n - 1, &holder))
		return "holder";
	pr->holder = (int)holder;
	if (!holder_ok(pr))
		return "holder";
	if (reserve && !dec_owner(reserve, &pr->reserve))
		return "reserve";
	if (by && !dec_owner(by, &pr->by))
		return "by";
	pr->held = pr->type || pr->reserve.gateway;
	return tell ? events(pr, tell) : NULL;
}

int vms_pr_decode(struct vms_pr *pr, const char *key, const char *text, struct vms_errmsg *msg)
{
	json_t *j = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *bad;

	vms_pr_init(pr);
	if (!text)
		return 0;
	if (!json_is_object(j)) {
		json_decref(j);
		return vms_fail(msg, VMS_E_CORRUPT, "catalog key %s: not a JSON object", key);
	}
	bad = fields(pr, j);
	json_decref(j);
	if (!bad)
		return 0;
	vms_pr_free(pr);
	return vms_fail(msg, VMS_E_CORRUPT, "catalog key %s: field \"%s\" is missing or wrong", key,
			bad);
}

/* ---- acknowledgements ---- */

char *vms_pr_ack_encode(const struct vms_pr_ack *a)
{
	json_t *j = json_pack("{s:I, s:I, s:I}", "fence", (json_int_t)a->fence, "gateway",
			      (json_int_t)a->gateway, "incarnation", (json_int_t)a->incarnation);
	char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	json_decref(j);
	vms_assert(text);
	return text;
}

int vms_pr_ack_decode(struct vms_pr_ack *a, const char *key, const char *text,
		      struct vms_errmsg *msg)
{
	json_t *j = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	int64_t fence, gateway, incarnation;
	bool ok = dec_int(json_object_get(j, "fence"), 1, INT64_MAX, &fence) &&
		  dec_int(json_object_get(j, "gateway"), 1, UINT32_MAX, &gateway) &&
		  dec_int(json_object_get(j, "incarnation"), 0, INT64_MAX, &incarnation);

	json_decref(j);
	if (!ok)
		return vms_fail(msg, VMS_E_CORRUPT, "catalog key %s: not an acknowledgement", key);
	*a = (struct vms_pr_ack){(uint32_t)gateway, (uint64_t)incarnation, (uint64_t)fence};
	return 0;
}
