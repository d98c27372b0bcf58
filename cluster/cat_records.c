// SPDX-License-Identifier: GPL-2.0-only
/*
 * The catalog's records: JSON text <-> struct, and the texts of the keys. Fields
 * that a decoder does not know are ignored (a newer release may have added
 * them); one that is missing, of the wrong type or out of range is an error that
 * names key and field. Pure, any thread.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/catalog.h"
#include "utils/lib/assert.h"

/* ---- decoding ---- */

struct dec {
	const char *key;
	json_t *root;
	struct vms_errmsg *msg;
	int err; /* of the first field that was wrong */
};

static int dec_open(struct dec *d, const struct vms_cat_kv *kv, struct vms_errmsg *msg)
{
	json_error_t je;

	*d = (struct dec){.key = kv->key, .msg = msg};
	if (!kv->val)
		return d->err = vms_fail(msg, VMS_E_NOENT, "catalog key %s is deleted", kv->key);
	d->root = json_loads(kv->val, JSON_REJECT_DUPLICATES, &je);
	if (!d->root || !json_is_object(d->root))
		return d->err = vms_fail(msg, VMS_E_CORRUPT,
					 "catalog key %s: not a JSON object (%s)", kv->key,
					 d->root ? "another type" : je.text);
	return 0;
}

static int dec_close(struct dec *d)
{
	json_decref(d->root);
	return d->err;
}

static void dec_bad(struct dec *d, const char *field, const char *want)
{
	if (!d->err)
		d->err = vms_fail(d->msg, VMS_E_CORRUPT, "catalog key %s: field \"%s\" %s", d->key,
				  field, want);
}

static uint64_t dec_u64(struct dec *d, const char *field, uint64_t max)
{
	json_t *v = json_object_get(d->root, field);

	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max) {
		dec_bad(d, field, "is not a number in its range");
		return 0;
	}
	return (uint64_t)json_integer_value(v);
}

static void dec_text(struct dec *d, const char *field, char *out, size_t room_bytes)
{
	const char *s = json_string_value(json_object_get(d->root, field));

	out[0] = 0;
	if (!s || strlen(s) >= room_bytes)
		dec_bad(d, field, "is not a text of the allowed length");
	else
		strcpy(out, s);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void dec_uuid(struct dec *d, const char *field, uint8_t out[16])
{
	const char *s = json_string_value(json_object_get(d->root, field));

	memset(out, 0, 16);
	if (!s || strlen(s) != 36) {
		dec_bad(d, field, "is not a UUID");
		return;
	}
	for (unsigned i = 0; i < 16; i++) {
		int hi, lo;

		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*s++ != '-') {
				dec_bad(d, field, "is not a UUID");
				return;
			}
		hi = hex_digit(*s++);
		lo = hex_digit(*s++);
		if (hi < 0 || lo < 0) {
			dec_bad(d, field, "is not a UUID in lower-case hex");
			return;
		}
		out[i] = (uint8_t)(hi << 4 | lo);
	}
}

static bool has(const struct dec *d, const char *field)
{
	return json_object_get(d->root, field) != NULL;
}

static void hex_bytes(struct dec *d, const char *field, const char *s, uint8_t *out, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		int hi = hex_digit(s[2 * i]), lo = hi < 0 ? -1 : hex_digit(s[2 * i + 1]);

		if (lo < 0) {
			dec_bad(d, field, "is not hex of the right length");
			return;
		}
		out[i] = (uint8_t)(hi << 4 | lo);
	}
}

static bool dec_bool(struct dec *d, const char *field)
{
	json_t *v = json_object_get(d->root, field);

	if (!json_is_boolean(v))
		dec_bad(d, field, "is not true or false");
	return json_is_true(v);
}

/* Number in a key behind prefix, in hex with exactly `digits` digits. */
static uint64_t key_hex(struct dec *d, const char *prefix, unsigned digits, uint64_t max)
{
	size_t n = strlen(prefix);
	uint64_t v = 0;

	if (strncmp(d->key, prefix, n) || strlen(d->key) != n + digits)
		goto bad;
	for (unsigned i = 0; i < digits; i++) {
		int h = hex_digit(d->key[n + i]);

		if (h < 0)
			goto bad;
		v = v << 4 | (unsigned)h;
	}
	if (v <= max)
		return v;
bad:
	if (!d->err)
		d->err = vms_fail(d->msg, VMS_E_CORRUPT,
				  "catalog key %s: not of the form %s<%u hex digits>", d->key,
				  prefix, digits);
	return 0;
}

static void need_equal(struct dec *d, const char *field, uint64_t in_key, uint64_t in_value)
{
	if (in_key != in_value)
		dec_bad(d, field, "differs from the key");
}

int vms_cat_cluster_decode(const struct vms_cat_kv *kv, struct vms_cat_cluster *out,
			   struct vms_errmsg *msg)
{
	struct dec d;
	json_t *f;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	dec_uuid(&d, "uuid", out->uuid);
	out->part_bits = (uint32_t)dec_u64(&d, "part_bits", VMS_PART_BITS_MAX);
	out->copies = (uint32_t)dec_u64(&d, "copies", VMS_COPIES_MAX);
	out->min_copies = (uint32_t)dec_u64(&d, "min_copies", VMS_COPIES_MAX);
	if (!out->copies || !out->min_copies || out->min_copies > out->copies)
		dec_bad(&d, "copies", "and \"min_copies\" do not fit together");
	f = json_object_get(d.root, "timing_factor");
	out->timing_factor = json_number_value(f);
	if (!json_is_number(f) || !(out->timing_factor >= 0.1 && out->timing_factor <= 1000))
		dec_bad(&d, "timing_factor", "is not a number from 0.1 to 1000");
	out->next_branch = dec_u64(&d, "next_branch", INT64_MAX);
	out->next_node = (uint32_t)dec_u64(&d, "next_node", UINT32_MAX);
	out->next_gateway = (uint32_t)dec_u64(&d, "next_gateway", UINT32_MAX);
	out->has_data = dec_bool(&d, "has_data");
	/* fields that records of earlier releases do not have */
	out->rebuild_after_s = has(&d, "rebuild_after_s")
				       ? (uint32_t)dec_u64(&d, "rebuild_after_s", UINT32_MAX)
				       : VMS_REBUILD_AFTER_S;
	out->move_bytes_s = has(&d, "move_bytes_s") ? dec_u64(&d, "move_bytes_s", INT64_MAX)
						    : VMS_MOVE_BYTES_S;
	out->scrub_days = has(&d, "scrub_days") ? (uint32_t)dec_u64(&d, "scrub_days", 36500)
						: VMS_SCRUB_DAYS;
	out->gateways_from = has(&d, "gateways_from") ? dec_u64(&d, "gateways_from", INT64_MAX) : 0;
	return dec_close(&d);
}

int vms_cat_node_decode(const struct vms_cat_kv *kv, struct vms_cat_node *out,
			struct vms_errmsg *msg)
{
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->id = (uint32_t)dec_u64(&d, "id", UINT32_MAX);
	need_equal(&d, "id", key_hex(&d, "node/", 8, UINT32_MAX), out->id);
	dec_text(&d, "name", out->name, sizeof(out->name));
	dec_text(&d, "address", out->address, sizeof(out->address));
	dec_text(&d, "zone", out->zone, sizeof(out->zone));
	out->weight = (uint32_t)dec_u64(&d, "weight", 1000000);
	out->incarnation = dec_u64(&d, "incarnation", INT64_MAX);
	out->state = VMS_NODE_IN; /* not in records of earlier releases */
	if (has(&d, "state"))
		out->state = (uint8_t)dec_u64(&d, "state", VMS_NODE_DRAINED);
	if (!out->state)
		dec_bad(&d, "state", "is not 1 to 4");
	return dec_close(&d);
}

static void dec_want(struct dec *d, struct vms_part_conf *out)
{
	json_t *want = json_object_get(d->root, "want"), *w;
	size_t i;

	if (!json_is_array(want) || json_array_size(want) > VMS_COPIES_MAX) {
		dec_bad(d, "want", "is not a list of at most 5 nodes");
		return;
	}
	json_array_foreach (want, i, w) {
		if (!json_is_integer(w) || json_integer_value(w) < 0 ||
		    json_integer_value(w) > UINT32_MAX) {
			dec_bad(d, "want", "is not a list of nodes");
			return;
		}
		out->want[i] = (uint32_t)json_integer_value(w);
		for (size_t k = 0; k < i; k++)
			if (out->want[k] == out->want[i])
				dec_bad(d, "want", "names a node twice");
	}
	out->nwant = (uint32_t)json_array_size(want);
}

int vms_cat_part_decode(const struct vms_cat_kv *kv, uint32_t *partition, struct vms_part_conf *out,
			struct vms_errmsg *msg)
{
	json_t *members, *m;
	struct dec d;
	size_t i;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	*partition = (uint32_t)key_hex(&d, "part/", 4, 0xffff);
	out->epoch = dec_u64(&d, "epoch", INT64_MAX);
	out->primary = (uint32_t)dec_u64(&d, "primary", UINT32_MAX);
	out->loss_epoch = dec_u64(&d, "loss_epoch", INT64_MAX);
	members = json_object_get(d.root, "members");
	out->nmembers = (uint32_t)json_array_size(members);
	if (!json_is_array(members) || !out->nmembers || out->nmembers > VMS_COPIES_MAX) {
		out->nmembers = 0;
		dec_bad(&d, "members", "is not a list of 1 to 5 members");
	} else {
		json_array_foreach (members, i, m) {
			json_t *node = json_array_get(m, 0), *inc = json_array_get(m, 1);

			if (!json_is_integer(node) || !json_is_integer(inc) ||
			    json_integer_value(node) < 0 || json_integer_value(node) > UINT32_MAX ||
			    json_integer_value(inc) < 0) {
				dec_bad(&d, "members", "is not a list of [node, incarnation]");
				break;
			}
			out->member[i].node = (uint32_t)json_integer_value(node);
			out->member[i].incarnation = (uint64_t)json_integer_value(inc);
		}
	}
	/* fields that records of earlier releases do not have */
	if (has(&d, "want"))
		dec_want(&d, out);
	if (has(&d, "handover"))
		out->handover = dec_u64(&d, "handover", INT64_MAX);
	return dec_close(&d);
}

unsigned vms_cat_part_want(const struct vms_part_conf *c, uint32_t want[VMS_COPIES_MAX])
{
	if (c->nwant) {
		memcpy(want, c->want, c->nwant * sizeof(want[0]));
		return c->nwant;
	}
	for (uint32_t i = 0; i < c->nmembers; i++)
		want[i] = c->member[i].node;
	return c->nmembers;
}

bool vms_cat_gateway_is_tool(const struct vms_cat_gateway *g)
{
	return !strncmp(g->name, VMS_CAT_TOOL_PREFIX, strlen(VMS_CAT_TOOL_PREFIX)) && !g->portal[0];
}

int vms_cat_gateway_decode(const struct vms_cat_kv *kv, struct vms_cat_gateway *out,
			   struct vms_errmsg *msg)
{
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->id = (uint32_t)dec_u64(&d, "id", UINT32_MAX);
	need_equal(&d, "id", key_hex(&d, "gateway/", 8, UINT32_MAX), out->id);
	dec_text(&d, "name", out->name, sizeof(out->name));
	dec_text(&d, "portal", out->portal, sizeof(out->portal));
	out->incarnation = dec_u64(&d, "incarnation", INT64_MAX);
	if (has(&d, "portals"))
		dec_text(&d, "portals", out->portals, sizeof(out->portals));
	if (has(&d, "host"))
		dec_text(&d, "host", out->host, sizeof(out->host));
	if (has(&d, "boot"))
		dec_text(&d, "boot", out->boot, sizeof(out->boot));
	return dec_close(&d);
}

int vms_cat_gwload_decode(const struct vms_cat_kv *kv, struct vms_cat_gwload *out, char **who,
			  struct vms_errmsg *msg)
{
	const char *text;
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (who)
		*who = NULL;
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->gateway = (uint32_t)dec_u64(&d, "gateway", UINT32_MAX);
	need_equal(&d, "gateway", key_hex(&d, "gwload/", 8, UINT32_MAX), out->gateway);
	out->sessions = (uint32_t)dec_u64(&d, "sessions", UINT32_MAX);
	out->draining = dec_bool(&d, "draining");
	text = json_string_value(json_object_get(d.root, "who"));
	if (!text)
		dec_bad(&d, "who", "is not a text");
	else if (who && !d.err)
		*who = strdup(text);
	return dec_close(&d);
}

int vms_cat_gwsent_decode(const struct vms_cat_kv *kv, char **ports, struct vms_errmsg *msg)
{
	struct dec d;
	const char *text;

	*ports = NULL;
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	need_equal(&d, "gateway", key_hex(&d, "gwsent/", 8, UINT32_MAX),
		   dec_u64(&d, "gateway", UINT32_MAX));
	text = json_string_value(json_object_get(d.root, "ports"));
	if (!text)
		dec_bad(&d, "ports", "is not a text");
	else if (!d.err)
		*ports = strdup(text);
	return dec_close(&d);
}

int vms_cat_gwdrain_decode(const struct vms_cat_kv *kv, struct vms_cat_gwdrain *out,
			   struct vms_errmsg *msg)
{
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->gateway = (uint32_t)dec_u64(&d, "gateway", UINT32_MAX);
	need_equal(&d, "gateway", key_hex(&d, "gwdrain/", 8, UINT32_MAX), out->gateway);
	out->seconds = (uint32_t)dec_u64(&d, "seconds", UINT16_MAX);
	out->since_s = dec_u64(&d, "since_s", INT64_MAX);
	dec_text(&d, "by", out->by, sizeof(out->by));
	return dec_close(&d);
}

int vms_cat_volume_decode(const struct vms_cat_kv *kv, struct vms_cat_volume *out,
			  struct vms_errmsg *msg)
{
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	dec_text(&d, "name", out->name, sizeof(out->name));
	if (strncmp(kv->key, "volume/", 7) || strcmp(kv->key + 7, out->name))
		dec_bad(&d, "name", "differs from the key");
	dec_uuid(&d, "uuid", out->uuid);
	out->branch = dec_u64(&d, "branch", INT64_MAX);
	out->lineage = dec_u64(&d, "lineage", INT64_MAX);
	out->size_bytes = dec_u64(&d, "size_bytes", VMS_VOL_BYTES_MAX);
	if (!out->size_bytes || out->size_bytes % VMS_CHUNK_BYTES)
		dec_bad(&d, "size_bytes", "is not a positive multiple of 4096");
	out->snap_gen = dec_u64(&d, "snap_gen", INT64_MAX);
	out->lun_fence = dec_u64(&d, "lun_fence", INT64_MAX);
	out->write_ack = (uint8_t)dec_u64(&d, "write_ack", VMS_ACK_MEMORY);
	out->state = (uint8_t)dec_u64(&d, "state", 4);
	if (!out->state)
		dec_bad(&d, "state", "is not 1 to 4");
	out->created_s = dec_u64(&d, "created_s", INT64_MAX);
	/* fields that records of the first release do not have */
	out->id = has(&d, "id") ? dec_u64(&d, "id", INT64_MAX) : out->branch;
	out->dedup = has(&d, "dedup") ? dec_bool(&d, "dedup") : true;
	if (has(&d, "pr_fence"))
		out->pr_fence = dec_u64(&d, "pr_fence", INT64_MAX);
	if (has(&d, "barrier"))
		out->barrier = (uint8_t)dec_u64(&d, "barrier", VMS_BARRIER_RELEASE);
	if (has(&d, "barrier_id"))
		out->barrier_id = dec_u64(&d, "barrier_id", INT64_MAX);
	if (has(&d, "barrier_s"))
		out->barrier_s = dec_u64(&d, "barrier_s", INT64_MAX);
	if (has(&d, "barrier_quiet"))
		out->barrier_quiet = dec_bool(&d, "barrier_quiet");
	if (has(&d, "rollbacks"))
		out->rollbacks = dec_u64(&d, "rollbacks", INT64_MAX);
	if (has(&d, "write_protect"))
		out->write_protect = dec_bool(&d, "write_protect");
	if (has(&d, "domain"))
		dec_text(&d, "domain", out->domain, sizeof(out->domain));
	if (has(&d, "parent"))
		dec_text(&d, "parent", out->parent, sizeof(out->parent));
	return dec_close(&d);
}

int vms_cat_branch_decode(const struct vms_cat_kv *kv, struct vms_cat_branch *out,
			  struct vms_errmsg *msg)
{
	json_t *list, *a;
	const char *salt;
	struct dec d;
	size_t i;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->branch = dec_u64(&d, "branch", INT64_MAX);
	need_equal(&d, "branch", key_hex(&d, "branch/", 16, INT64_MAX), out->branch);
	out->lineage = dec_u64(&d, "lineage", INT64_MAX);
	out->owner = dec_u64(&d, "owner", INT64_MAX);
	out->state = (uint8_t)dec_u64(&d, "state", 2);
	if (!out->state)
		dec_bad(&d, "state", "is not 1 or 2");
	salt = json_string_value(json_object_get(d.root, "salt"));
	if (!salt || (salt[0] && strlen(salt) != 2 * sizeof(out->salt)))
		dec_bad(&d, "salt", "is not empty or 64 hex digits");
	else if ((out->salted = salt[0] != 0))
		hex_bytes(&d, "salt", salt, out->salt, sizeof(out->salt));
	list = json_object_get(d.root, "ancestors");
	if (!json_is_array(list) || json_array_size(list) > VMS_ANCESTORS_MAX) {
		dec_bad(&d, "ancestors", "is not a list of at most 8");
		return dec_close(&d);
	}
	json_array_foreach (list, i, a) {
		uint64_t v[3];

		for (unsigned k = 0; k < 3; k++) {
			json_t *n = json_array_get(a, k);

			v[k] = (uint64_t)json_integer_value(n);
			if (!json_is_integer(n) || json_integer_value(n) < 0)
				dec_bad(&d, "ancestors",
					"is not a list of [branch, snap_gen, chunks]");
		}
		out->ancestor[out->nancestors++] = (struct vms_cat_ancestor){v[0], v[1], v[2]};
	}
	return dec_close(&d);
}

int vms_cat_snap_decode(const struct vms_cat_kv *kv, struct vms_cat_snap *out,
			struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	dec_text(&d, "volume", out->volume, sizeof(out->volume));
	dec_text(&d, "name", out->name, sizeof(out->name));
	if (!d.err && (vms_cat_key_snap(key, out->volume, out->name, NULL) || strcmp(key, kv->key)))
		dec_bad(&d, "name", "or \"volume\" differs from the key");
	dec_uuid(&d, "uuid", out->uuid);
	if (has(&d, "origin"))
		dec_uuid(&d, "origin", out->origin);
	out->id = dec_u64(&d, "id", INT64_MAX);
	out->branch = dec_u64(&d, "branch", INT64_MAX);
	out->snap_gen = dec_u64(&d, "snap_gen", INT64_MAX);
	out->size_bytes = dec_u64(&d, "size_bytes", VMS_VOL_BYTES_MAX);
	out->state = (uint8_t)dec_u64(&d, "state", VMS_SNAP_DELETING);
	if (!out->state)
		dec_bad(&d, "state", "is not 1, 2 or 3");
	out->created_s = dec_u64(&d, "created_s", INT64_MAX);
	return dec_close(&d);
}

int vms_cat_ack_decode(const struct vms_cat_kv *kv, struct vms_cat_ack *out, struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->id = dec_u64(&d, "id", INT64_MAX);
	out->gateway = (uint32_t)dec_u64(&d, "gateway", UINT32_MAX);
	out->incarnation = dec_u64(&d, "incarnation", INT64_MAX);
	out->barrier_id = dec_u64(&d, "barrier_id", INT64_MAX);
	out->state = (uint8_t)dec_u64(&d, "state", VMS_ACK_VETO);
	if (!out->state)
		dec_bad(&d, "state", "is not 1, 2 or 3");
	vms_cat_key_ack(key, out->id, out->gateway);
	if (strcmp(key, kv->key))
		dec_bad(&d, "id", "or \"gateway\" differs from the key");
	return dec_close(&d);
}

int vms_cat_open_decode(const struct vms_cat_kv *kv, struct vms_cat_open *out,
			struct vms_errmsg *msg)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct dec d;

	memset(out, 0, sizeof(*out));
	if (dec_open(&d, kv, msg))
		return dec_close(&d);
	out->id = dec_u64(&d, has(&d, "id") ? "id" : "branch", INT64_MAX);
	out->gateway = (uint32_t)dec_u64(&d, "gateway", UINT32_MAX);
	out->incarnation = dec_u64(&d, "incarnation", INT64_MAX);
	if (has(&d, "snap_gen"))
		out->snap_gen = dec_u64(&d, "snap_gen", INT64_MAX);
	if (out->snap_gen)
		vms_cat_key_snapopen(key, out->id, out->snap_gen, out->gateway);
	else
		vms_cat_key_open(key, out->id, out->gateway);
	if (strcmp(key, kv->key))
		dec_bad(&d, "id", "or \"gateway\" differs from the key");
	return dec_close(&d);
}

/* ---- encoding ---- */

static json_t *enc_u64(uint64_t v)
{
	vms_assert(v <= INT64_MAX);
	return json_integer((json_int_t)v);
}

static json_t *enc_uuid(const uint8_t u[16])
{
	char s[37];

	snprintf(s, sizeof(s),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		 u[15]);
	return json_string(s);
}

static char *enc_close(json_t *o)
{
	char *text;

	vms_assert(o);
	text = json_dumps(o, JSON_COMPACT);
	vms_assert(text);
	json_decref(o);
	return text;
}

char *vms_cat_cluster_encode(const struct vms_cat_cluster *in)
{
	return enc_close(json_pack(
		"{so si si si sf so so so sb so so so so}", "uuid", enc_uuid(in->uuid), "part_bits",
		(int)in->part_bits, "copies", (int)in->copies, "min_copies", (int)in->min_copies,
		"timing_factor", in->timing_factor, "next_branch", enc_u64(in->next_branch),
		"next_node", enc_u64(in->next_node), "next_gateway", enc_u64(in->next_gateway),
		"has_data", (int)in->has_data, "rebuild_after_s", enc_u64(in->rebuild_after_s),
		"move_bytes_s", enc_u64(in->move_bytes_s), "scrub_days", enc_u64(in->scrub_days),
		"gateways_from", enc_u64(in->gateways_from)));
}

char *vms_cat_node_encode(const struct vms_cat_node *in)
{
	return enc_close(json_pack("{so ss ss ss so so si}", "id", enc_u64(in->id), "name",
				   in->name, "address", in->address, "zone", in->zone, "weight",
				   enc_u64(in->weight), "incarnation", enc_u64(in->incarnation),
				   "state", in->state ? (int)in->state : VMS_NODE_IN));
}

char *vms_cat_part_encode(const struct vms_part_conf *in)
{
	json_t *members = json_array(), *want, *j;

	vms_assert(in->nmembers && in->nmembers <= VMS_COPIES_MAX);
	for (uint32_t i = 0; i < in->nmembers; i++)
		json_array_append_new(members, json_pack("[oo]", enc_u64(in->member[i].node),
							 enc_u64(in->member[i].incarnation)));
	j = json_pack("{so so so so}", "epoch", enc_u64(in->epoch), "primary", enc_u64(in->primary),
		      "members", members, "loss_epoch", enc_u64(in->loss_epoch));
	if (in->nwant) {
		want = json_array();
		vms_assert(in->nwant <= VMS_COPIES_MAX);
		for (uint32_t i = 0; i < in->nwant; i++)
			json_array_append_new(want, enc_u64(in->want[i]));
		json_object_set_new(j, "want", want);
	}
	if (in->handover)
		json_object_set_new(j, "handover", enc_u64(in->handover));
	return enc_close(j);
}

char *vms_cat_gateway_encode(const struct vms_cat_gateway *in)
{
	return enc_close(json_pack("{so ss so ss ss* ss* ss*}", "id", enc_u64(in->id), "name",
				   in->name, "incarnation", enc_u64(in->incarnation), "portal",
				   in->portal, "portals", in->portals[0] ? in->portals : NULL,
				   "host", in->host[0] ? in->host : NULL, "boot",
				   in->boot[0] ? in->boot : NULL));
}

char *vms_cat_gwload_encode(const struct vms_cat_gwload *in, const char *who)
{
	return enc_close(json_pack("{so so sb ss}", "gateway", enc_u64(in->gateway), "sessions",
				   enc_u64(in->sessions), "draining", (int)in->draining, "who",
				   who));
}

char *vms_cat_gwsent_encode(uint32_t gateway, const char *ports)
{
	return enc_close(json_pack("{so ss}", "gateway", enc_u64(gateway), "ports", ports));
}

char *vms_cat_gwdrain_encode(const struct vms_cat_gwdrain *in)
{
	return enc_close(json_pack("{so so so ss}", "gateway", enc_u64(in->gateway), "seconds",
				   enc_u64(in->seconds), "since_s", enc_u64(in->since_s), "by",
				   in->by));
}

char *vms_cat_volume_encode(const struct vms_cat_volume *in)
{
	json_t *j = json_pack(
		"{ss so so so so so so so si si so sb si so so sb sb so ss ss}", "name", in->name,
		"uuid", enc_uuid(in->uuid), "id", enc_u64(in->id ? in->id : in->branch), "branch",
		enc_u64(in->branch), "lineage", enc_u64(in->lineage), "size_bytes",
		enc_u64(in->size_bytes), "snap_gen", enc_u64(in->snap_gen), "lun_fence",
		enc_u64(in->lun_fence), "write_ack", (int)in->write_ack, "state", (int)in->state,
		"created_s", enc_u64(in->created_s), "dedup", (int)in->dedup, "barrier",
		(int)in->barrier, "barrier_id", enc_u64(in->barrier_id), "barrier_s",
		enc_u64(in->barrier_s), "barrier_quiet", (int)in->barrier_quiet, "write_protect",
		(int)in->write_protect, "rollbacks", enc_u64(in->rollbacks), "domain", in->domain,
		"parent", in->parent);

	if (in->pr_fence)
		json_object_set_new(j, "pr_fence", enc_u64(in->pr_fence));
	return enc_close(j);
}

char *vms_cat_branch_encode(const struct vms_cat_branch *in)
{
	char salt[2 * sizeof(in->salt) + 1] = "";
	json_t *list = json_array();

	vms_assert(in->nancestors <= VMS_ANCESTORS_MAX);
	for (size_t i = 0; in->salted && i < sizeof(in->salt); i++)
		snprintf(salt + 2 * i, 3, "%02x", in->salt[i]);
	for (unsigned i = 0; i < in->nancestors; i++)
		json_array_append_new(list, json_pack("[ooo]", enc_u64(in->ancestor[i].branch),
						      enc_u64(in->ancestor[i].snap_gen),
						      enc_u64(in->ancestor[i].limit_chunks)));
	return enc_close(json_pack("{so so so ss si so}", "branch", enc_u64(in->branch), "lineage",
				   enc_u64(in->lineage), "owner", enc_u64(in->owner), "salt", salt,
				   "state", (int)in->state, "ancestors", list));
}

char *vms_cat_snap_encode(const struct vms_cat_snap *in)
{
	static const uint8_t none[16];
	json_t *j = json_pack("{ss ss so so so so so si so}", "volume", in->volume, "name",
			      in->name, "uuid", enc_uuid(in->uuid), "id", enc_u64(in->id), "branch",
			      enc_u64(in->branch), "snap_gen", enc_u64(in->snap_gen), "size_bytes",
			      enc_u64(in->size_bytes), "state", (int)in->state, "created_s",
			      enc_u64(in->created_s));

	if (memcmp(in->origin, none, 16))
		json_object_set_new(j, "origin", enc_uuid(in->origin));
	return enc_close(j);
}

char *vms_cat_ack_encode(const struct vms_cat_ack *in)
{
	return enc_close(json_pack("{so so so so si}", "id", enc_u64(in->id), "gateway",
				   enc_u64(in->gateway), "incarnation", enc_u64(in->incarnation),
				   "barrier_id", enc_u64(in->barrier_id), "state", (int)in->state));
}

char *vms_cat_open_encode(const struct vms_cat_open *in)
{
	return enc_close(json_pack("{so so so so}", "id", enc_u64(in->id), "snap_gen",
				   enc_u64(in->snap_gen), "gateway", enc_u64(in->gateway),
				   "incarnation", enc_u64(in->incarnation)));
}

/* ---- keys ---- */

void vms_cat_key_node(char *out, uint32_t id)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "node/%08" PRIx32, id);
}

void vms_cat_key_part(char *out, uint32_t partition)
{
	vms_assert(partition <= 0xffff);
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "part/%04" PRIx32, partition);
}

void vms_cat_key_gateway(char *out, uint32_t id)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "gateway/%08" PRIx32, id);
}

void vms_cat_key_gwload(char *out, uint32_t id)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "gwload/%08" PRIx32, id);
}

void vms_cat_key_gwsent(char *out, uint32_t id)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "gwsent/%08" PRIx32, id);
}

void vms_cat_key_gwdrain(char *out, uint32_t id)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "gwdrain/%08" PRIx32, id);
}

void vms_cat_key_open(char *out, uint64_t id, uint32_t gateway)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "open/%016" PRIx64 "/%08" PRIx32, id, gateway);
}

void vms_cat_key_snapopen(char *out, uint64_t id, uint64_t snap_gen, uint32_t gateway)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "snapopen/%016" PRIx64 "/%016" PRIx64 "/%08" PRIx32,
		 id, snap_gen, gateway);
}

void vms_cat_key_ack(char *out, uint64_t id, uint32_t gateway)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "ack/%016" PRIx64 "/%08" PRIx32, id, gateway);
}

void vms_cat_key_branch(char *out, uint64_t branch)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "branch/%016" PRIx64, branch);
}

void vms_cat_key_loss(char *out, uint64_t id)
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "loss/%016" PRIx64, id);
}

int vms_cat_volume_name_check(const char *name, struct vms_errmsg *msg)
{
	const char *part = name;
	size_t n = strlen(name);

	if (!n || n > 100)
		return vms_fail(msg, VMS_E_INVAL,
				"volume name \"%.110s\": a name has 1 to 100 characters", name);
	for (const char *p = name;; p++) {
		if (!*p || *p == '/') {
			if (p == part)
				return vms_fail(
					msg, VMS_E_INVAL,
					"volume name \"%s\": nothing before or behind the '/'",
					name);
			if (*p == '/' && part != name)
				return vms_fail(msg, VMS_E_INVAL,
						"volume name \"%s\": at most one '/' (POOL/NAME)",
						name);
			if (!*p)
				return 0;
			part = p + 1;
			continue;
		}
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '.' || *p == '_' || *p == '-'))
			return vms_fail(msg, VMS_E_INVAL,
					"volume name \"%s\": character %zu is not one of letters, "
					"digits, '.', '_', '-'",
					name, (size_t)(p - name) + 1);
		if (p == part && (*p == '-' || *p == '.'))
			return vms_fail(msg, VMS_E_INVAL,
					"volume name \"%s\": must not begin with '%c'", name, *p);
	}
}

int vms_cat_key_volume(char *out, const char *name, struct vms_errmsg *msg)
{
	int rc = vms_cat_volume_name_check(name, msg);

	if (!rc)
		snprintf(out, VMS_CAT_KEY_BYTES_MAX, "volume/%s", name);
	return rc;
}

static int snap_name_check(const char *name, struct vms_errmsg *msg)
{
	size_t n = strlen(name);

	if (!n || n > 100)
		return vms_fail(msg, VMS_E_INVAL,
				"snapshot name \"%.110s\": a name has 1 to 100 characters", name);
	if (name[0] == '-' || name[0] == '.')
		return vms_fail(msg, VMS_E_INVAL, "snapshot name \"%s\": must not begin with '%c'",
				name, name[0]);
	for (const char *p = name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '.' || *p == '_' || *p == '-'))
			return vms_fail(msg, VMS_E_INVAL,
					"snapshot name \"%s\": character %zu is not one of "
					"letters, digits, '.', '_', '-'",
					name, (size_t)(p - name) + 1);
	return 0;
}

int vms_cat_snap_name_split(const char *name, char volume[128], char snap[104],
			    struct vms_errmsg *msg)
{
	const char *at = strchr(name, '@');
	size_t n = at ? (size_t)(at - name) : 0;
	int rc;

	if (!at)
		return vms_fail(msg, VMS_E_INVAL, "\"%.200s\" names no snapshot: write VOLUME@SNAP",
				name);
	if (n > 100)
		return vms_fail(msg, VMS_E_INVAL,
				"volume name \"%.110s\": a name has 1 to 100 characters", name);
	memcpy(volume, name, n);
	volume[n] = 0;
	rc = vms_cat_volume_name_check(volume, msg);
	if (!rc)
		rc = snap_name_check(at + 1, msg);
	if (!rc)
		snprintf(snap, 104, "%s", at + 1);
	return rc;
}

int vms_cat_key_snap(char *out, const char *volume, const char *snap, struct vms_errmsg *msg)
{
	int rc = vms_cat_volume_name_check(volume, msg);

	if (!rc)
		rc = snap_name_check(snap, msg);
	if (!rc)
		snprintf(out, VMS_CAT_KEY_BYTES_MAX, "snap/%s@%s", volume, snap);
	return rc;
}
