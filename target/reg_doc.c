// SPDX-License-Identifier: GPL-2.0-only
/* Targets as an admin writes them down, see reg_doc.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/reg_doc.h"
#include "utils/lib/assert.h"

static const char *const list_key[] = {"addresses", "names", "users"};
static const char *const list_what[] = {"address", "name", "user"};

/* ---- parameters ---- */

enum form { YES_NO, NUMBER, DIGEST, BIT, TEXT };
struct known {
	const char *name;
	enum form form;
	uint64_t min, max; /* TEXT: characters */
};
/* What tgt takes per target. Not its Redirect...: that is `redirect` here, and one of
 * them names a program that the gateway would run. */
static const struct known target_params[] = {
	{"MaxRecvDataSegmentLength", NUMBER, 512, 16777215},
	{"MaxXmitDataSegmentLength", NUMBER, 512, 16777215},
	{"HeaderDigest", DIGEST, 0, 0},
	{"DataDigest", DIGEST, 0, 0},
	{"InitialR2T", YES_NO, 0, 0},
	{"MaxOutstandingR2T", NUMBER, 1, 65535},
	{"ImmediateData", YES_NO, 0, 0},
	{"FirstBurstLength", NUMBER, 512, 16777215},
	{"MaxBurstLength", NUMBER, 512, 16777215},
	{"DefaultTime2Wait", NUMBER, 0, 3600},
	{"DefaultTime2Retain", NUMBER, 0, 3600},
	{"MaxQueueCmd", NUMBER, 1, 512},
	{"nop_interval", NUMBER, 0, 3600},
	{"nop_count", NUMBER, 0, 3600},
};
static const struct known lun_params[] = {{"online", BIT, 0, 0},
					  {"readonly", BIT, 0, 0},
					  {"vendor_id", TEXT, 1, 8},
					  {"product_id", TEXT, 1, 16},
					  {"product_rev", TEXT, 1, 4}};
/* The rest of a VMStore LUN comes from its volume, or is the same for all. */
#define IDENTITY "it is what initiators know the volume by, and comes from the volume's UUID"
#define ALL_LUNS "it is the same for all LUNs of VMStore"
#define VOLUME	 "delete the LUN and make it anew"
static const struct {
	const char *name, *why;
} lun_fixed[] = {
	{"scsi_id", IDENTITY},
	{"scsi_sn", IDENTITY},
	{"sense_format", "initiators choose it themselves (MODE SELECT, D_SENSE)"},
	{"mode_page", "its cache is the volume's write_ack, the rest is the same for all"},
	{"removable", ALL_LUNS},
	{"lbppbe", ALL_LUNS},
	{"la_lba", ALL_LUNS},
	{"optimal_xfer_gran", ALL_LUNS},
	{"optimal_xfer_len", ALL_LUNS},
	{"thin_provisioning", ALL_LUNS},
	{"rotation_rate", ALL_LUNS},
	{"path", VOLUME},
	{"bsopts", VOLUME},
	{"bsoflags", "a volume is not opened as a file is"},
};

static bool number(const char *s, uint64_t *out)
{
	size_t n = strspn(s, "0123456789");

	*out = strtoull(s, NULL, 10);
	return n && n < 12 && !s[n];
}

/* As INQUIRY data may have it: printable ASCII, blanks inside. */
static bool printable(const char *s, uint64_t min, uint64_t max)
{
	size_t n = strlen(s);

	if (n < min || n > max || s[0] == ' ' || s[n - 1] == ' ')
		return false;
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e || *s == ',' || *s == '"')
			return false;
	return true;
}

static int param_check(const struct known *k, unsigned n, const char *of, const char *name,
		       const char *value, struct vms_errmsg *msg)
{
	char all[512] = "";
	uint64_t v;

	for (unsigned i = 0; i < n; i++) {
		size_t at = strlen(all);

		snprintf(all + at, sizeof(all) - at, "%s%s", i ? ", " : "", k[i].name);
		if (strcmp(k[i].name, name))
			continue;
		if (k[i].form == NUMBER && (!number(value, &v) || v < k[i].min || v > k[i].max))
			return vms_fail(msg, VMS_E_INVAL,
					"%s: '%s' must be a number from %" PRIu64 " to %" PRIu64,
					name, value, k[i].min, k[i].max);
		if (k[i].form == YES_NO && strcmp(value, "Yes") && strcmp(value, "No"))
			return vms_fail(msg, VMS_E_INVAL, "%s: '%s' must be Yes or No", name,
					value);
		if (k[i].form == DIGEST && strcmp(value, "None") && strcmp(value, "CRC32C"))
			return vms_fail(msg, VMS_E_INVAL, "%s: '%s' must be None or CRC32C", name,
					value);
		if (k[i].form == BIT && strcmp(value, "0") && strcmp(value, "1"))
			return vms_fail(msg, VMS_E_INVAL, "%s: '%s' must be 0 or 1", name, value);
		if (k[i].form == TEXT && !printable(value, k[i].min, k[i].max))
			return vms_fail(msg, VMS_E_INVAL,
					"%s: '%.64s' must be %" PRIu64 " to %" PRIu64
					" printable ASCII characters, without commas and quotes",
					name, value, k[i].min, k[i].max);
		return 0;
	}
	return vms_fail(msg, VMS_E_INVAL, "%s has no parameter '%.64s'; there are %s", of, name,
			all);
}

int vms_reg_param_check(const char *name, const char *value, struct vms_errmsg *msg)
{
	return param_check(target_params, sizeof(target_params) / sizeof(target_params[0]),
			   "a target", name, value, msg);
}

int vms_reg_lun_param_check(const char *name, const char *value, struct vms_errmsg *msg)
{
	for (unsigned i = 0; i < sizeof(lun_fixed) / sizeof(lun_fixed[0]); i++)
		if (!strcmp(lun_fixed[i].name, name))
			return vms_fail(msg, VMS_E_INVAL,
					"%s of a LUN of VMStore cannot be set: %s", name,
					lun_fixed[i].why);
	return param_check(lun_params, sizeof(lun_params) / sizeof(lun_params[0]),
			   "a LUN of VMStore", name, value, msg);
}

/* ---- form of the document ---- */

struct field {
	const char *name;
	json_type type; /* JSON_TRUE: either boolean */
	bool needed;
};
static const struct field doc_fields[] = {{"version", JSON_INTEGER, true},
					  {"targets", JSON_ARRAY, false},
					  {"accounts", JSON_ARRAY, false},
					  {NULL, 0, false}};
static const struct field target_fields[] = {{"name", JSON_STRING, true},
					     {"tid", JSON_INTEGER, false},
					     {"offline", JSON_TRUE, false},
					     {"redirect", JSON_TRUE, false},
					     {"addresses", JSON_ARRAY, false},
					     {"names", JSON_ARRAY, false},
					     {"users", JSON_ARRAY, false},
					     {"user_out", JSON_STRING, false},
					     {"params", JSON_OBJECT, false},
					     {"luns", JSON_ARRAY, false},
					     {NULL, 0, false}};
static const struct field lun_fields[] = {{"lun", JSON_INTEGER, false},
					  {"volume", JSON_STRING, true},
					  {"params", JSON_OBJECT, false},
					  {NULL, 0, false}};
static const struct field account_fields[] = {{"user", JSON_STRING, true},
					      {"sealed", JSON_STRING, false},
					      {"secret_file", JSON_STRING, false},
					      {NULL, 0, false}};

static const char *type_word(json_type t)
{
	switch (t) {
	case JSON_STRING:
		return "text";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_ARRAY:
		return "a list";
	case JSON_OBJECT:
		return "an object";
	default:
		return "true or false";
	}
}

static int form(const json_t *o, const struct field *f, const char *where, struct vms_errmsg *msg)
{
	const char *k;
	json_t *v;

	if (!json_is_object(o))
		return vms_fail(msg, VMS_E_INVAL, "%s: not a JSON object", where);
	json_object_foreach ((json_t *)o, k, v) {
		const struct field *i = f;

		while (i->name && strcmp(i->name, k))
			i++;
		if (!i->name)
			return vms_fail(msg, VMS_E_INVAL, "%s: nothing is called \"%.64s\"", where,
					k);
		if (i->type == JSON_TRUE ? !json_is_boolean(v) : json_typeof(v) != i->type)
			return vms_fail(msg, VMS_E_INVAL, "%s: \"%s\" must be %s", where, k,
					type_word(i->type));
	}
	for (const struct field *i = f; i->name; i++)
		if (i->needed && !json_object_get(o, i->name))
			return vms_fail(msg, VMS_E_INVAL, "%s: \"%s\" is missing", where, i->name);
	return 0;
}

static int texts(const json_t *o, bool object, const char *where, const char *key,
		 struct vms_errmsg *msg)
{
	const json_t *x = json_object_get(o, key);
	const char *k;
	json_t *v;
	size_t i, j;

	if (object) {
		json_object_foreach ((json_t *)x, k, v)
			if (!json_is_string(v))
				return vms_fail(msg, VMS_E_INVAL,
						"%s: \"%s\": %.64s must be text, in quotes", where,
						key, k);
		return 0;
	}
	json_array_foreach (x, i, v) {
		if (!json_is_string(v))
			return vms_fail(msg, VMS_E_INVAL, "%s: \"%s\" holds texts only", where,
					key);
		for (j = 0; j < i; j++)
			if (json_equal(json_array_get(x, j), v))
				return vms_fail(msg, VMS_E_INVAL, "%s: \"%s\" has %.128s twice",
						where, key, json_string_value(v));
	}
	return 0;
}

static int target_form(const json_t *t, size_t nr, struct vms_errmsg *msg)
{
	char where[VMS_REG_NAME_MAX + 64];
	json_t *x;
	size_t i;

	snprintf(where, sizeof(where), "target %zu", nr + 1);
	if (form(t, target_fields, where, msg))
		return VMS_E_INVAL;
	if (vms_reg_name_check(json_string_value(json_object_get(t, "name")), msg))
		return VMS_E_INVAL;
	snprintf(where, sizeof(where), "%s", json_string_value(json_object_get(t, "name")));
	for (unsigned l = 0; l < 3; l++)
		if (texts(t, false, where, list_key[l], msg))
			return VMS_E_INVAL;
	if (texts(t, true, where, "params", msg))
		return VMS_E_INVAL;
	json_array_foreach (json_object_get(t, "luns"), i, x) {
		char at[sizeof(where) + 64];

		snprintf(at, sizeof(at), "%s, entry %zu of \"luns\"", where, i + 1);
		if (form(x, lun_fields, at, msg) || texts(x, true, at, "params", msg))
			return VMS_E_INVAL;
	}
	return 0;
}

static int twice(const json_t *list, const char *key, const char *what, struct vms_errmsg *msg)
{
	json_t *seen = json_object(), *x;
	size_t i;
	int rc = 0;

	vms_assert(seen);
	json_array_foreach (list, i, x) {
		const char *name = json_string_value(json_object_get(x, key));

		if (json_object_get(seen, name)) {
			rc = vms_fail(msg, VMS_E_INVAL, "%s %s is there twice", what, name);
			break;
		}
		vms_assert(!json_object_set_new(seen, name, json_true()));
	}
	json_decref(seen);
	return rc;
}

int vms_reg_doc_check(const json_t *doc, struct vms_errmsg *msg)
{
	json_t *x;
	size_t i;

	if (form(doc, doc_fields, "the document", msg))
		return VMS_E_INVAL;
	if (json_integer_value(json_object_get(doc, "version")) != VMS_REG_DOC_VERSION)
		return vms_fail(msg, VMS_E_INVAL, "\"version\" must be %d", VMS_REG_DOC_VERSION);
	json_array_foreach (json_object_get(doc, "targets"), i, x)
		if (target_form(x, i, msg))
			return VMS_E_INVAL;
	json_array_foreach (json_object_get(doc, "accounts"), i, x) {
		char where[32];

		snprintf(where, sizeof(where), "account %zu", i + 1);
		if (form(x, account_fields, where, msg))
			return VMS_E_INVAL;
		if (!json_object_get(x, "sealed") == !json_object_get(x, "secret_file"))
			return vms_fail(msg, VMS_E_INVAL,
					"%s: one of \"sealed\" and \"secret_file\" is needed",
					where);
	}
	return twice(json_object_get(doc, "targets"), "name", "target", msg) ||
			       twice(json_object_get(doc, "accounts"), "user", "account", msg)
		       ? VMS_E_INVAL
		       : 0;
}

/* ---- document to record ---- */

/* A reason with the target's name before it. */
static int at(struct vms_errmsg *msg, const json_t *rec, int rc)
{
	struct vms_errmsg e = *msg;

	if (rc && !strstr(e.text, vms_reg_name(rec)))
		vms_fail(msg, rc, "%s: %s", vms_reg_name(rec), e.text);
	return rc;
}

static bool listed(const json_t *a, const char *what)
{
	size_t i;
	json_t *x;

	json_array_foreach (a, i, x)
		if (!strcmp(json_string_value(x), what))
			return true;
	return false;
}

static int lists_to(json_t *rec, const json_t *want, const json_t *have, struct vms_errmsg *msg)
{
	size_t i;
	json_t *x;
	int rc = 0;

	for (unsigned l = 0; l < 3; l++) {
		const json_t *w = json_object_get(want, list_key[l]);

		json_array_foreach (json_object_get(have, list_key[l]), i, x)
			if (!rc && listed(w, json_string_value(x)))
				rc = vms_reg_bind(rec, (enum vms_reg_list)l, json_string_value(x),
						  msg);
		json_array_foreach (w, i, x) {
			const char *what = json_string_value(x);

			if (rc || vms_reg_has(rec, (enum vms_reg_list)l, what))
				continue;
			if (l == VMS_REG_ADDRESSES)
				rc = vms_reg_address_check(what, msg);
			if (!rc)
				rc = vms_reg_bind(rec, (enum vms_reg_list)l, what, msg);
		}
	}
	return rc;
}

/* have: parameters so far. What somebody else has set and stays is not judged. */
static int params_to(json_t *rec, uint64_t lun, const json_t *want, const json_t *have,
		     struct vms_errmsg *msg)
{
	const char *k;
	json_t *v;

	json_object_foreach ((json_t *)want, k, v) {
		const char *value = json_string_value(v);
		int rc = json_equal(json_object_get(have, k), v) ? 0
			 : lun ? vms_reg_lun_param_check(k, value, msg)
			       : vms_reg_param_check(k, value, msg);

		if (!rc)
			rc = lun ? vms_reg_set_lun_param(rec, lun, k, value, msg)
				 : vms_reg_set_param(rec, k, value, msg);
		if (rc)
			return rc;
	}
	return 0;
}

static const json_t *lun_params_of(const json_t *rec, uint64_t lun)
{
	size_t i;
	json_t *x;

	json_array_foreach (json_object_get(rec, "luns"), i, x)
		if ((uint64_t)json_integer_value(json_object_get(x, "lun")) == lun)
			return json_object_get(x, "params");
	return NULL;
}

/* In three rounds: LUNs with a number, volumes that have one already, the rest. */
static int luns_to(json_t *rec, const json_t *want, const json_t *have, struct vms_errmsg *msg)
{
	size_t i;
	json_t *x;
	int rc;

	for (unsigned round = 0; round < 3; round++)
		json_array_foreach (json_object_get(want, "luns"), i, x) {
			const json_t *nr = json_object_get(x, "lun");
			const char *volume = json_string_value(json_object_get(x, "volume"));
			uint64_t old = have ? vms_reg_lun_of(have, volume) : UINT64_MAX;
			bool keeps = old != UINT64_MAX && !vms_reg_volume(rec, old);
			uint64_t lun = nr ? (uint64_t)json_integer_value(nr) : old;

			if (round == 0 ? !nr : nr || vms_reg_lun_of(rec, volume) != UINT64_MAX)
				continue;
			if (round == 1 && !keeps)
				continue;
			if (round == 2)
				lun = vms_reg_free_lun(rec);
			rc = vms_reg_add_lun(rec, lun, volume, msg);
			if (!rc)
				rc = params_to(rec, lun, json_object_get(x, "params"),
					       old == lun ? lun_params_of(have, lun) : NULL, msg);
			if (rc)
				return rc;
		}
	/* a volume that is listed twice without a number was skipped */
	if (vms_reg_luns(rec) != json_array_size(json_object_get(want, "luns")))
		return vms_fail(msg, VMS_E_INVAL, "%s: \"luns\" names a volume twice",
				vms_reg_name(rec));
	return 0;
}

json_t *vms_reg_doc_target(const json_t *want, const json_t *have, uint32_t tid,
			   struct vms_errmsg *msg)
{
	const char *name = json_string_value(json_object_get(want, "name"));
	const json_t *nr = json_object_get(want, "tid"), *out = json_object_get(want, "user_out");
	json_t *rec;
	int rc = 0;

	if (!have && vms_reg_new_name_check(name, msg))
		return NULL;
	if (nr && (json_integer_value(nr) < 1 || json_integer_value(nr) > VMS_REG_TID_MAX)) {
		vms_fail(msg, VMS_E_INVAL, "%s: \"tid\" goes from 1 to %u", name, VMS_REG_TID_MAX);
		return NULL;
	}
	if (nr && have && json_integer_value(nr) != vms_reg_tid(have)) {
		vms_fail(msg, VMS_E_EXIST,
			 "%s is target number %u and cannot become %" JSON_INTEGER_FORMAT
			 ": delete it first",
			 name, vms_reg_tid(have), json_integer_value(nr));
		return NULL;
	}
	rec = vms_reg_new(name, nr     ? (uint32_t)json_integer_value(nr)
				: have ? vms_reg_tid(have)
				       : tid);
	vms_assert(rec);
	vms_reg_set_offline(rec, json_is_true(json_object_get(want, "offline")));
	vms_reg_set_redirect(rec, json_is_true(json_object_get(want, "redirect")));
	rc = lists_to(rec, want, have, msg);
	if (!rc && out)
		rc = vms_reg_set_user_out(rec, json_string_value(out), msg);
	if (!rc)
		rc = params_to(rec, 0, json_object_get(want, "params"),
			       json_object_get(have, "params"), msg);
	if (!rc)
		rc = luns_to(rec, want, have, msg);
	if (!at(msg, rec, rc))
		return rec;
	json_decref(rec);
	return NULL;
}

/* ---- differences ---- */

static void add(json_t *out, const char *target, const char *change, const char *what, uint64_t lun,
		const char *value)
{
	json_t *o = json_pack("{s:s,s:s,s:s}", "target", target, "change", change, "what", what);

	vms_assert(o);
	if (lun)
		vms_assert(!json_object_set_new(o, "lun", json_integer((json_int_t)lun)));
	if (value)
		vms_assert(!json_object_set_new(o, "value", json_string(value)));
	vms_assert(!json_array_append_new(out, o));
}

struct diff {
	const json_t *from, *to;
	json_t *out;
	const char *target;
};

static int on_step(void *arg, const struct vms_reg_step *s)
{
	struct diff *d = arg;
	char text[600];

	switch (s->what) {
	case VMS_RS_TARGET_DELETE:
		add(d->out, d->target, "remove", "target", 0, NULL);
		break;
	case VMS_RS_TARGET_NEW:
		snprintf(text, sizeof(text), "%u", s->tid);
		add(d->out, d->target, "add", "target", 0, text);
		break;
	case VMS_RS_LUN_DELETE:
		add(d->out, d->target, "remove", "lun", s->lun, vms_reg_volume(d->from, s->lun));
		break;
	case VMS_RS_LUN_NEW:
		add(d->out, d->target, "add", "lun", s->lun, s->a);
		break;
	case VMS_RS_BIND:
	case VMS_RS_UNBIND:
		add(d->out, d->target, s->what == VMS_RS_BIND ? "add" : "remove",
		    list_what[s->list], 0, s->a);
		break;
	case VMS_RS_USER_OUT:
	case VMS_RS_USER_OUT_OFF:
		add(d->out, d->target, s->what == VMS_RS_USER_OUT ? "add" : "remove", "user_out", 0,
		    s->a);
		break;
	case VMS_RS_STATE:
		add(d->out, d->target, "set", "state", 0, s->a);
		break;
	case VMS_RS_PARAM:
	case VMS_RS_LUN_PARAM:
		snprintf(text, sizeof(text), "%s=%s", s->a, s->b);
		add(d->out, d->target, "set", s->what == VMS_RS_PARAM ? "param" : "lun_param",
		    s->lun, text);
		break;
	case VMS_RS_PARAM_OFF:
	case VMS_RS_LUN_PARAM_OFF:
		add(d->out, d->target, "remove",
		    s->what == VMS_RS_PARAM_OFF ? "param" : "lun_param", s->lun, s->a);
		break;
	}
	return 0;
}

json_t *vms_reg_diff(const json_t *from, const json_t *to)
{
	struct diff d = {from, to, json_array(), from || to ? vms_reg_name(to ? to : from) : ""};

	vms_assert(d.out);
	(void)vms_reg_steps(from, to, on_step, &d);
	if (to && vms_reg_redirect(to) != (from && vms_reg_redirect(from)))
		add(d.out, d.target, "set", "redirect", 0, vms_reg_redirect(to) ? "on" : "off");
	return d.out;
}

void vms_reg_diff_text(const json_t *c, char *out, size_t room)
{
	const char *change = json_string_value(json_object_get(c, "change")),
		   *what = json_string_value(json_object_get(c, "what")),
		   *value = json_string_value(json_object_get(c, "value")),
		   *target = json_string_value(json_object_get(c, "target"));
	json_int_t lun = json_integer_value(json_object_get(c, "lun"));
	char sign = !strcmp(change, "add") ? '+' : !strcmp(change, "remove") ? '-' : '*';

	value = value ? value : "";
	if (!strcmp(what, "target") && sign == '+')
		snprintf(out, room, "+ target %s, number %s", target, value);
	else if (!strcmp(what, "target"))
		snprintf(out, room, "%c target %s", sign, target);
	else if (!strcmp(what, "lun"))
		snprintf(out, room, "%c %s: LUN %" JSON_INTEGER_FORMAT ", volume %s", sign, target,
			 lun, value);
	else if (!strcmp(what, "lun_param"))
		snprintf(out, room, "%c %s: LUN %" JSON_INTEGER_FORMAT ": %s", sign, target, lun,
			 value);
	else if (!strcmp(what, "param"))
		snprintf(out, room, "%c %s: %s", sign, target, value);
	else
		snprintf(out, room, "%c %s: %s %s", sign, target,
			 !strcmp(what, "user_out") ? "outgoing user" : what, value);
}

const json_t *vms_reg_elsewhere(const json_t *const *recs, unsigned n, const char *name,
				const char *volume)
{
	for (unsigned i = 0; i < n; i++)
		if (recs[i] && strcmp(vms_reg_name(recs[i]), name) &&
		    vms_reg_lun_of(recs[i], volume) != UINT64_MAX)
			return recs[i];
	return NULL;
}
