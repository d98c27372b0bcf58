// SPDX-License-Identifier: GPL-2.0-only
/* Targets as the cluster has them, see registry.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/catalog.h"
#include "target/registry.h"
#include "utils/lib/assert.h"

static const char *const list_key[] = {"addresses", "names", "users"};
static const char *const list_word[] = {"initiator address", "initiator name", "account"};

/* ---- form ---- */

int vms_reg_name_check(const char *name, struct vms_errmsg *msg)
{
	size_t n = strlen(name);

	if (strncmp(name, "iqn.", 4) && strncmp(name, "eui.", 4) && strncmp(name, "naa.", 4))
		return vms_fail(
			msg, VMS_E_INVAL,
			"'%.64s' is no iSCSI name: it begins with iqn., eui. or naa. (as in "
			"iqn.2026-01.org.example:disks)",
			name);
	if (n < 5 || n > VMS_REG_NAME_MAX)
		return vms_fail(msg, VMS_E_INVAL, "an iSCSI name has 5 to %u characters, not %zu",
				VMS_REG_NAME_MAX, n);
	if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_") != n)
		return vms_fail(msg, VMS_E_INVAL,
				"iSCSI name '%s' has a character that is none of letters, digits, "
				"'.', ':', '-' and '_'",
				name);
	return 0;
}

int vms_reg_new_name_check(const char *name, struct vms_errmsg *msg)
{
	int rc = vms_reg_name_check(name, msg);

	if (!rc && !strncmp(name, "iqn.", 4) && strpbrk(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		rc = vms_fail(msg, VMS_E_INVAL,
			      "iSCSI name '%s' has upper case, which counts as lower case (RFC "
			      "3722): write it in lower case",
			      name);
	return rc;
}

/* What tgtadm can carry: its parameters are cut at commas. */
static int value_check(const char *what, const char *s, struct vms_errmsg *msg)
{
	if (!s[0] || strlen(s) > 255)
		return vms_fail(msg, VMS_E_INVAL, "%s: 1 to 255 characters", what);
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == ',' || *p == '"' || *p == 0x7f)
			return vms_fail(msg, VMS_E_INVAL,
					"%s '%s' has a comma, a quote or a control character", what,
					s);
	return 0;
}

static int text_check(const char *what, const char *s, struct vms_errmsg *msg)
{
	if (strchr(s, ' '))
		return vms_fail(msg, VMS_E_INVAL, "%s '%s' has a blank", what, s);
	return value_check(what, s, msg);
}

static int bad(struct vms_errmsg *msg, const char *where, const char *field)
{
	return vms_fail(msg, VMS_E_CORRUPT,
			"%s: field \"%s\" is missing, of another type or out of range", where,
			field);
}

static int params_check(const json_t *o, const char *where, struct vms_errmsg *msg)
{
	const char *k;
	json_t *v;

	if (!o)
		return 0;
	if (!json_is_object(o) || json_object_size(o) > VMS_REG_LIST_MAX)
		return bad(msg, where, "params");
	json_object_foreach ((json_t *)o, k, v)
		if (!json_is_string(v) || text_check("parameter", k, msg) || strchr(k, '='))
			return bad(msg, where, "params");
	return 0;
}

int vms_reg_check(const json_t *rec, const char *where, struct vms_errmsg *msg)
{
	const json_t *v;
	json_int_t last = 0;
	struct vms_errmsg e;
	json_t *x;
	size_t i;

	if (!json_is_object(rec))
		return vms_fail(msg, VMS_E_CORRUPT, "%s: not a JSON object", where);
	v = json_object_get(rec, "name");
	if (!json_is_string(v) || vms_reg_name_check(json_string_value(v), &e))
		return bad(msg, where, "name");
	v = json_object_get(rec, "tid");
	if (!json_is_integer(v) || json_integer_value(v) < 1 ||
	    json_integer_value(v) > VMS_REG_TID_MAX)
		return bad(msg, where, "tid");
	for (unsigned l = 0; l < 3; l++) {
		v = json_object_get(rec, list_key[l]);
		if (!json_is_array(v) || json_array_size(v) > VMS_REG_LIST_MAX)
			return bad(msg, where, list_key[l]);
		json_array_foreach (v, i, x)
			if (!json_is_string(x) || text_check("", json_string_value(x), &e))
				return bad(msg, where, list_key[l]);
	}
	v = json_object_get(rec, "user_out");
	if (v && (!json_is_string(v) || text_check("", json_string_value(v), &e)))
		return bad(msg, where, "user_out");
	v = json_object_get(rec, "offline");
	if (v && !json_is_boolean(v))
		return bad(msg, where, "offline");
	v = json_object_get(rec, "redirect");
	if (v && !json_is_boolean(v))
		return bad(msg, where, "redirect");
	if (params_check(json_object_get(rec, "params"), where, msg))
		return VMS_E_CORRUPT;
	v = json_object_get(rec, "luns");
	if (!json_is_array(v) || json_array_size(v) > VMS_REG_LUN_MAX)
		return bad(msg, where, "luns");
	json_array_foreach (v, i, x) {
		const json_t *n = json_object_get(x, "lun"), *s = json_object_get(x, "volume");

		if (!json_is_integer(n) || json_integer_value(n) <= last ||
		    json_integer_value(n) > VMS_REG_LUN_MAX || !json_is_string(s) ||
		    text_check("", json_string_value(s), &e))
			return bad(msg, where, "luns");
		if (params_check(json_object_get(x, "params"), where, msg))
			return VMS_E_CORRUPT;
		last = json_integer_value(n);
	}
	return 0;
}

json_t *vms_reg_decode(const char *text, const char *where, struct vms_errmsg *msg)
{
	json_error_t je;
	json_t *r = json_loads(text, JSON_REJECT_DUPLICATES, &je);

	if (!r) {
		vms_fail(msg, VMS_E_CORRUPT, "%s: %s", where, je.text);
		return NULL;
	}
	if (vms_reg_check(r, where, msg)) {
		json_decref(r);
		return NULL;
	}
	return r;
}

char *vms_reg_encode(const json_t *rec)
{
	return json_dumps(rec, JSON_COMPACT | JSON_SORT_KEYS);
}

int vms_reg_room_check(const json_t *rec, struct vms_errmsg *msg)
{
	if (json_dumpb(rec, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS) <= VMS_CAT_VAL_BYTES_MAX)
		return 0;
	return vms_fail(
		msg, VMS_E_FULL,
		"%.100s would have more in it than the catalog keeps of a target (%u KiB; it "
		"has %zu LUNs): make another target for the rest",
		vms_reg_name(rec), VMS_CAT_VAL_BYTES_MAX >> 10,
		json_array_size(json_object_get(rec, "luns")));
}

json_t *vms_reg_new(const char *name, uint32_t tid)
{
	return json_pack("{s:s,s:I,s:[],s:[],s:[],s:[]}", "name", name, "tid", (json_int_t)tid,
			 "addresses", "names", "users", "luns");
}

/* ---- looking at it ---- */

const char *vms_reg_name(const json_t *rec)
{
	return json_string_value(json_object_get(rec, "name"));
}

uint32_t vms_reg_tid(const json_t *rec)
{
	return (uint32_t)json_integer_value(json_object_get(rec, "tid"));
}

bool vms_reg_redirect(const json_t *rec)
{
	return json_is_true(json_object_get(rec, "redirect"));
}

/* Place of an entry in a list of texts; its size when it is not there. */
static size_t list_find(const json_t *a, const char *what)
{
	size_t i;
	json_t *x;

	json_array_foreach (a, i, x)
		if (!strcmp(json_string_value(x), what))
			return i;
	return json_array_size(a);
}

bool vms_reg_has(const json_t *rec, enum vms_reg_list list, const char *what)
{
	const json_t *a = json_object_get(rec, list_key[list]);

	return list_find(a, what) < json_array_size(a);
}

/* Place of the first LUN at or above this number. */
static size_t lun_place(const json_t *luns, uint64_t lun)
{
	size_t lo = 0, hi = json_array_size(luns);

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		json_t *x = json_array_get(luns, mid);

		if ((uint64_t)json_integer_value(json_object_get(x, "lun")) < lun)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static json_t *lun_get(const json_t *rec, uint64_t lun)
{
	const json_t *luns = json_object_get(rec, "luns");
	json_t *x = json_array_get(luns, lun_place(luns, lun));

	return x && (uint64_t)json_integer_value(json_object_get(x, "lun")) == lun ? x : NULL;
}

const char *vms_reg_volume(const json_t *rec, uint64_t lun)
{
	json_t *x = lun_get(rec, lun);

	return x ? json_string_value(json_object_get(x, "volume")) : NULL;
}

uint64_t vms_reg_lun_of(const json_t *rec, const char *volume)
{
	size_t i;
	json_t *x;

	json_array_foreach (json_object_get(rec, "luns"), i, x)
		if (!strcmp(json_string_value(json_object_get(x, "volume")), volume))
			return (uint64_t)json_integer_value(json_object_get(x, "lun"));
	return UINT64_MAX;
}

unsigned vms_reg_luns(const json_t *rec)
{
	return (unsigned)json_array_size(json_object_get(rec, "luns"));
}

uint64_t vms_reg_free_lun(const json_t *rec)
{
	size_t i;
	json_t *x;
	uint64_t want = 1;

	json_array_foreach (json_object_get(rec, "luns"), i, x) {
		if ((uint64_t)json_integer_value(json_object_get(x, "lun")) != want)
			break;
		want++;
	}
	return want;
}

bool vms_reg_refers_more(const json_t *was, const json_t *rec)
{
	const char *out = json_string_value(json_object_get(rec, "user_out"));
	const char *had = json_string_value(json_object_get(was, "user_out"));
	json_t *x;
	size_t i;

	json_array_foreach (json_object_get(rec, "luns"), i, x)
		if (!was || vms_reg_lun_of(was, json_string_value(json_object_get(x, "volume"))) ==
				    UINT64_MAX)
			return true;
	json_array_foreach (json_object_get(rec, "users"), i, x)
		if (!was || !vms_reg_has(was, VMS_REG_USERS, json_string_value(x)))
			return true;
	return out && (!had || strcmp(had, out));
}

/* ---- changing it ---- */

static int no_memory(int rc, struct vms_errmsg *msg)
{
	return rc ? vms_fail(msg, VMS_E_NOMEM, "out of memory") : 0;
}

int vms_reg_bind(json_t *rec, enum vms_reg_list list, const char *what, struct vms_errmsg *msg)
{
	json_t *a = json_object_get(rec, list_key[list]);

	if (text_check(list_word[list], what, msg))
		return VMS_E_INVAL;
	if (list_find(a, what) < json_array_size(a))
		return vms_fail(msg, VMS_E_EXIST, "%s %s is bound to %s already", list_word[list],
				what, vms_reg_name(rec));
	if (json_array_size(a) >= VMS_REG_LIST_MAX)
		return vms_fail(msg, VMS_E_FULL,
				"%s has %u bindings of that kind, no more are possible",
				vms_reg_name(rec), VMS_REG_LIST_MAX);
	return no_memory(json_array_append_new(a, json_string(what)), msg);
}

int vms_reg_unbind(json_t *rec, enum vms_reg_list list, const char *what, struct vms_errmsg *msg)
{
	json_t *a = json_object_get(rec, list_key[list]);
	size_t i = list_find(a, what);

	if (i == json_array_size(a))
		return vms_fail(msg, VMS_E_NOENT, "%s %s is not bound to %s", list_word[list], what,
				vms_reg_name(rec));
	return no_memory(json_array_remove(a, i), msg);
}

int vms_reg_set_user_out(json_t *rec, const char *user, struct vms_errmsg *msg)
{
	if (!user) {
		if (json_object_del(rec, "user_out"))
			return vms_fail(msg, VMS_E_NOENT, "%s has no outgoing account",
					vms_reg_name(rec));
		return 0;
	}
	if (text_check("account", user, msg))
		return VMS_E_INVAL;
	if (json_object_get(rec, "user_out"))
		return vms_fail(msg, VMS_E_EXIST, "%s has the outgoing account %s: unbind it first",
				vms_reg_name(rec),
				json_string_value(json_object_get(rec, "user_out")));
	return no_memory(json_object_set_new(rec, "user_out", json_string(user)), msg);
}

static void set_flag(json_t *rec, const char *name, bool on)
{
	if (on)
		vms_assert(!json_object_set_new(rec, name, json_true()));
	else
		json_object_del(rec, name);
}

void vms_reg_set_offline(json_t *rec, bool offline)
{
	set_flag(rec, "offline", offline);
}

void vms_reg_set_redirect(json_t *rec, bool redirect)
{
	set_flag(rec, "redirect", redirect);
}

static int param_set(json_t *of, const char *name, const char *value, struct vms_errmsg *msg)
{
	json_t *o = json_object_get(of, "params");

	if (!value) {
		if (json_object_del(o, name))
			return vms_fail(msg, VMS_E_NOENT, "parameter %s is not set", name);
		if (!json_object_size(o))
			json_object_del(of, "params");
		return 0;
	}
	if (text_check("parameter", name, msg) || value_check(name, value, msg))
		return VMS_E_INVAL;
	if (strchr(name, '='))
		return vms_fail(msg, VMS_E_INVAL, "parameter '%s' has a '=' in its name", name);
	if (!o) {
		o = json_object();
		if (json_object_set_new(of, "params", o))
			return no_memory(1, msg);
	}
	if (json_object_size(o) >= VMS_REG_LIST_MAX && !json_object_get(o, name))
		return vms_fail(msg, VMS_E_FULL, "more than %u parameters", VMS_REG_LIST_MAX);
	return no_memory(json_object_set_new(o, name, json_string(value)), msg);
}

int vms_reg_set_param(json_t *rec, const char *name, const char *value, struct vms_errmsg *msg)
{
	return param_set(rec, name, value, msg);
}

int vms_reg_add_lun(json_t *rec, uint64_t lun, const char *volume, struct vms_errmsg *msg)
{
	json_t *luns = json_object_get(rec, "luns");
	const char *have = vms_reg_volume(rec, lun);
	uint64_t there;

	if (lun < 1 || lun > VMS_REG_LUN_MAX)
		return vms_fail(msg, VMS_E_INVAL,
				"LUN %" PRIu64 ": LUNs go from 1 to %u (0 is the "
				"controller)",
				lun, VMS_REG_LUN_MAX);
	if (text_check("volume", volume, msg))
		return VMS_E_INVAL;
	if (have)
		return vms_fail(msg, VMS_E_EXIST, "LUN %" PRIu64 " of %s is volume %s already", lun,
				vms_reg_name(rec), have);
	there = vms_reg_lun_of(rec, volume);
	if (there != UINT64_MAX)
		return vms_fail(msg, VMS_E_EXIST, "volume %s is LUN %" PRIu64 " of %s already",
				volume, there, vms_reg_name(rec));
	return no_memory(json_array_insert_new(
				 luns, lun_place(luns, lun),
				 json_pack("{s:I,s:s}", "lun", (json_int_t)lun, "volume", volume)),
			 msg);
}

int vms_reg_remove_lun(json_t *rec, uint64_t lun, struct vms_errmsg *msg)
{
	json_t *luns = json_object_get(rec, "luns");

	if (!lun_get(rec, lun))
		return vms_fail(msg, VMS_E_NOENT, "%s has no LUN %" PRIu64, vms_reg_name(rec), lun);
	return no_memory(json_array_remove(luns, lun_place(luns, lun)), msg);
}

int vms_reg_set_lun_param(json_t *rec, uint64_t lun, const char *name, const char *value,
			  struct vms_errmsg *msg)
{
	json_t *x = lun_get(rec, lun);

	if (!x)
		return vms_fail(msg, VMS_E_NOENT, "%s has no LUN %" PRIu64, vms_reg_name(rec), lun);
	return param_set(x, name, value, msg);
}

/* ---- steps ---- */

struct walk {
	const json_t *from, *to;
	uint32_t tid;
	int (*fn)(void *arg, const struct vms_reg_step *s);
	void *arg;
	int rc;
};

static void step(struct walk *w, struct vms_reg_step s)
{
	s.tid = w->tid;
	if (!w->rc)
		w->rc = w->fn(w->arg, &s);
}

/* Entries of a's list that b's lacks. */
static void lists(struct walk *w, const json_t *a, const json_t *b, enum vms_reg_list l,
		  enum vms_reg_what what)
{
	size_t i;
	json_t *x;

	json_array_foreach (json_object_get(a, list_key[l]), i, x)
		if (!b || !vms_reg_has(b, l, json_string_value(x)))
			step(w, (struct vms_reg_step){
					.what = what, .list = l, .a = json_string_value(x)});
}

static void params(struct walk *w, const json_t *a, const json_t *b, enum vms_reg_what what,
		   uint64_t lun)
{
	json_t *from = json_object_get(a, "params"), *v;
	const char *k;

	json_object_foreach (json_object_get(b, "params"), k, v)
		if (!json_equal(json_object_get(from, k), v))
			step(w,
			     (struct vms_reg_step){
				     .what = what, .lun = lun, .a = k, .b = json_string_value(v)});
}

/* Those of a that b lacks. */
static void params_off(struct walk *w, const json_t *a, const json_t *b, enum vms_reg_what what,
		       uint64_t lun)
{
	json_t *to = json_object_get(b, "params"), *v;
	const char *k;

	json_object_foreach (json_object_get(a, "params"), k, v)
		if (!json_object_get(to, k))
			step(w, (struct vms_reg_step){.what = what, .lun = lun, .a = k});
}

static bool same_lun(const json_t *rec, const json_t *x)
{
	const char *v = rec ? vms_reg_volume(
				      rec, (uint64_t)json_integer_value(json_object_get(x, "lun")))
			    : NULL;

	return v && !strcmp(v, json_string_value(json_object_get(x, "volume")));
}

static void leave(struct walk *w)
{
	const json_t *out = json_object_get(w->from, "user_out");
	size_t i;
	json_t *x;

	lists(w, w->from, w->to, VMS_REG_NAMES, VMS_RS_UNBIND);
	lists(w, w->from, w->to, VMS_REG_ADDRESSES, VMS_RS_UNBIND);
	json_array_foreach (json_object_get(w->from, "luns"), i, x)
		if (!same_lun(w->to, x))
			step(w, (struct vms_reg_step){.what = VMS_RS_LUN_DELETE,
						      .lun = (uint64_t)json_integer_value(
							      json_object_get(x, "lun"))});
	lists(w, w->from, w->to, VMS_REG_USERS, VMS_RS_UNBIND);
	if (out && !json_equal(out, json_object_get(w->to, "user_out")))
		step(w, (struct vms_reg_step){.what = VMS_RS_USER_OUT_OFF,
					      .a = json_string_value(out)});
	if (!w->to)
		step(w, (struct vms_reg_step){.what = VMS_RS_TARGET_DELETE});
}

static void come(struct walk *w)
{
	const json_t *out = json_object_get(w->to, "user_out");
	bool off = json_is_true(json_object_get(w->to, "offline"));
	size_t i;
	json_t *x;

	if (!w->from)
		step(w, (struct vms_reg_step){.what = VMS_RS_TARGET_NEW, .a = vms_reg_name(w->to)});
	params_off(w, w->from, w->to, VMS_RS_PARAM_OFF, 0);
	params(w, w->from, w->to, VMS_RS_PARAM, 0);
	json_array_foreach (json_object_get(w->to, "luns"), i, x) {
		uint64_t lun = (uint64_t)json_integer_value(json_object_get(x, "lun"));
		bool same = same_lun(w->from, x);

		if (!same)
			step(w, (struct vms_reg_step){
					.what = VMS_RS_LUN_NEW,
					.lun = lun,
					.a = json_string_value(json_object_get(x, "volume"))});
		if (same)
			params_off(w, lun_get(w->from, lun), x, VMS_RS_LUN_PARAM_OFF, lun);
		params(w, same ? lun_get(w->from, lun) : NULL, x, VMS_RS_LUN_PARAM, lun);
	}
	if (off != json_is_true(json_object_get(w->from, "offline")))
		step(w,
		     (struct vms_reg_step){.what = VMS_RS_STATE, .a = off ? "offline" : "ready"});
	lists(w, w->to, w->from, VMS_REG_USERS, VMS_RS_BIND);
	if (out && !json_equal(out, json_object_get(w->from, "user_out")))
		step(w,
		     (struct vms_reg_step){.what = VMS_RS_USER_OUT, .a = json_string_value(out)});
	/* with a list of names, an address alone admits nobody: names first */
	lists(w, w->to, w->from, VMS_REG_NAMES, VMS_RS_BIND);
	lists(w, w->to, w->from, VMS_REG_ADDRESSES, VMS_RS_BIND);
}

int vms_reg_steps(const json_t *from, const json_t *to,
		  int (*fn)(void *arg, const struct vms_reg_step *s), void *arg)
{
	struct walk w = {.from = from, .to = to, .fn = fn, .arg = arg};

	if (from && to &&
	    (vms_reg_tid(from) != vms_reg_tid(to) ||
	     strcmp(vms_reg_name(from), vms_reg_name(to)))) {
		int rc = vms_reg_steps(from, NULL, fn, arg);

		return rc ? rc : vms_reg_steps(NULL, to, fn, arg);
	}
	if (!from && !to)
		return 0;
	w.tid = vms_reg_tid(to ? to : from);
	if (from)
		leave(&w);
	if (to)
		come(&w);
	return w.rc;
}
