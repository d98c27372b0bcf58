// SPDX-License-Identifier: GPL-2.0-only
/* Targets as documents: form, what becomes of them, differences. And as the tool writes
 * them: lost answers, somebody else at the same moment, numbers taken. */
#include "target/reg_doc.h"
#include "tests/unit/tool_rig.h"
#include "utils/tool/target_store.h"

#define A "iqn.2026-01.org.example:a"
#define B "iqn.2026-01.org.example:b"

static json_t *json(const char *text)
{
	char buf[2048];
	json_t *j;

	snprintf(buf, sizeof(buf), "%s", text);
	for (char *p = buf; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	j = json_loads(buf, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(j);
	return j;
}

static int check(const char *text)
{
	json_t *j = json(text);
	int rc = vms_reg_doc_check(j, &e);

	json_decref(j);
	return rc;
}

static void form(void)
{
	CU_ASSERT_EQUAL(check("{'version': 1}"), 0);
	CU_ASSERT_EQUAL(check("{'version': 1, 'targets': [{'name': '" A "'}]}"), 0);
	CU_ASSERT_EQUAL(check("[]"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{}"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 2}"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'target': []}"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'targets': [{}]}"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'targets': [{'name': 'disks'}]}"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'targets': [{'name': '" A "'}, {'name': '" A "'}]}"),
			VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "twice"));
	CU_ASSERT_EQUAL(check("{'version': 1, 'targets': [{'name': '" A "', 'redirect': 'on'}]}"),
			VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "true or false"));
	CU_ASSERT_EQUAL(
		check("{'version': 1, 'targets': [{'name': '" A "', 'names': ['x', 'x']}]}"),
		VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'targets': [{'name': '" A
			      "', 'params': {'MaxBurstLength': 4}}]}"),
			VMS_E_INVAL);
	CU_ASSERT_EQUAL(
		check("{'version': 1, 'targets': [{'name': '" A "', 'luns': [{'lun': 1}]}]}"),
		VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, A));
	CU_ASSERT_EQUAL(check("{'version': 1, 'accounts': [{'user': 'u'}]}"), VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'accounts': [{'user': 'u', 'secret': 'x'}]}"),
			VMS_E_INVAL);
	CU_ASSERT_EQUAL(check("{'version': 1, 'accounts': [{'user': 'u', 'secret_file': 'x'}]}"),
			0);
}

static void parameters(void)
{
	CU_ASSERT_EQUAL(vms_reg_param_check("MaxBurstLength", "65536", &e), 0);
	CU_ASSERT_EQUAL(vms_reg_param_check("MaxBurstLength", "511", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_param_check("MaxBurstLength", "99999999999999999999", &e),
			VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_param_check("MaxBurstLength", "", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_param_check("InitialR2T", "Yes", &e), 0);
	CU_ASSERT_EQUAL(vms_reg_param_check("InitialR2T", "1", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_param_check("HeaderDigest", "CRC32C", &e), 0);
	CU_ASSERT_EQUAL(vms_reg_param_check("HeaderDigest", "crc", &e), VMS_E_INVAL);
	/* it would run a program */
	CU_ASSERT_EQUAL(vms_reg_param_check("RedirectCallback", "/bin/x", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("readonly", "1", &e), 0);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("readonly", "yes", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("vendor_id", "ACME", &e), 0);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("vendor_id", "ACME Corp", &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "1 to 8 "));
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("product_id", "A disk of 16 ch.", &e), 0);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("product_id", "", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("product_id", " x", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("product_id", "x\xc3\xa4", &e), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("product_rev", "00012", &e), VMS_E_INVAL);
	/* what would have no effect, or not the same on all gateways, with its reason */
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("scsi_sn", "x", &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "UUID"));
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("removable", "1", &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "the same for all LUNs"));
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("path", "other", &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "make it anew"));
	CU_ASSERT_EQUAL(vms_reg_lun_param_check("nonesuch", "1", &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "has no parameter 'nonesuch'"));
}

static json_t *becomes(const char *text, const json_t *have)
{
	json_t *want = json(text), *r = vms_reg_doc_target(want, have, 5, &e);

	json_decref(want);
	if (r)
		CU_ASSERT_EQUAL(vms_reg_check(r, "made", &e), 0);
	return r;
}

static void what_becomes(void)
{
	json_t *r = becomes(
		       "{'name': '" A "', 'addresses': ['ALL'], 'users': ['u', 'v'],"
		       "'luns': [{'volume': 'x'}, {'volume': 'y', 'lun': 1}, {'volume': 'z'}]}",
		       NULL),
	       *again, *next;

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(vms_reg_tid(r), 5);
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "y"), 1);
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "x"), 2);
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "z"), 3);
	/* idempotent, also with the lists in another order */
	again = becomes("{'name': '" A "', 'addresses': ['ALL'], 'users': ['v', 'u'],"
			"'luns': [{'volume': 'z'}, {'volume': 'x'}, {'volume': 'y', 'lun': 1}]}",
			r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(again);
	CU_ASSERT(json_equal(r, again));
	/* what stays keeps its number, also when a lower one is free */
	next = becomes("{'name': '" A "', 'luns': [{'volume': 'z'}, {'volume': 'new'}]}", r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(next);
	CU_ASSERT_EQUAL(vms_reg_lun_of(next, "z"), 3);
	CU_ASSERT_EQUAL(vms_reg_lun_of(next, "new"), 1);
	CU_ASSERT(!vms_reg_has(next, VMS_REG_ADDRESSES, "ALL"));
	json_decref(next);
	/* a number that is asked for goes before one that is kept */
	next = becomes("{'name': '" A "', 'luns': [{'volume': 'z'}, {'volume': 'w', 'lun': 3}]}",
		       r);
	CU_ASSERT_PTR_NOT_NULL_FATAL(next);
	CU_ASSERT_EQUAL(vms_reg_lun_of(next, "w"), 3);
	CU_ASSERT_EQUAL(vms_reg_lun_of(next, "z"), 1);
	json_decref(next);
	json_decref(again);

	CU_ASSERT_PTR_NULL(becomes("{'name': '" A "', 'tid': 6}", r));
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "number 5"));
	CU_ASSERT_PTR_NULL(becomes("{'name': '" A "', 'tid': 70000}", NULL));
	CU_ASSERT_PTR_NULL(
		becomes("{'name': '" A "', 'luns': [{'volume': 'x'}, {'volume': 'x'}]}", NULL));
	CU_ASSERT_PTR_NULL(becomes(
		"{'name': '" A "', 'luns': [{'volume': 'x', 'lun': 2}, {'volume': 'y', 'lun': 2}]}",
		NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "LUN 2 of " A " is volume x"));
	CU_ASSERT_PTR_NULL(becomes("{'name': '" A "', 'luns': [{'volume': 'x', 'lun': 0}]}", NULL));
	CU_ASSERT_PTR_NULL(becomes("{'name': '" A "', 'params': {'x': '1'}}", NULL));
	/* what tgtadm has set is not judged as long as it stays */
	CU_ASSERT_EQUAL(vms_reg_set_param(r, "x", "1", &e), 0);
	next = becomes("{'name': '" A "', 'params': {'x': '1'}}", r);
	CU_ASSERT_PTR_NOT_NULL(next);
	json_decref(next);
	CU_ASSERT_PTR_NULL(becomes("{'name': '" A "', 'params': {'x': '2'}}", r));
	json_decref(r);
}

static bool says(const json_t *diff, const char *line)
{
	char text[800];
	json_t *x;
	size_t i;

	json_array_foreach (diff, i, x) {
		vms_reg_diff_text(x, text, sizeof(text));
		if (!strcmp(text, line))
			return true;
	}
	printf("'%s' is not said\n", line);
	return false;
}

static void differences(void)
{
	json_t *r = becomes(
		       "{'name': '" A "', 'addresses': ['ALL'], 'params': {'nop_count': '3'},"
		       "'luns': [{'volume': 'x', 'params': {'readonly': '1'}}, {'volume': 'y'}]}",
		       NULL),
	       *n = becomes("{'name': '" A "', 'redirect': true, 'offline': true, 'user_out': 'o',"
			    "'luns': [{'volume': 'x'}, {'volume': 'z', 'lun': 2}]}",
			    r),
	       *d;

	CU_ASSERT_FATAL(r && n);
	d = vms_reg_diff(r, r);
	CU_ASSERT_EQUAL(json_array_size(d), 0);
	json_decref(d);
	d = vms_reg_diff(NULL, r);
	CU_ASSERT_EQUAL(json_array_size(d), 6);
	CU_ASSERT(says(d, "+ target " A ", number 5"));
	CU_ASSERT(says(d, "+ " A ": address ALL"));
	CU_ASSERT(says(d, "* " A ": LUN 1: readonly=1"));
	json_decref(d);
	d = vms_reg_diff(r, n);
	CU_ASSERT_EQUAL(json_array_size(d), 8);
	CU_ASSERT(says(d, "- " A ": LUN 2, volume y"));
	CU_ASSERT(says(d, "+ " A ": LUN 2, volume z"));
	CU_ASSERT(says(d, "- " A ": LUN 1: readonly"));
	CU_ASSERT(says(d, "- " A ": nop_count"));
	CU_ASSERT(says(d, "* " A ": redirect on"));
	CU_ASSERT(says(d, "* " A ": state offline"));
	CU_ASSERT(says(d, "+ " A ": outgoing user o"));
	json_decref(d);
	d = vms_reg_diff(n, NULL);
	CU_ASSERT(says(d, "- target " A));
	json_decref(d);
	json_decref(r);
	json_decref(n);
}

/* ---- the catalog ---- */

static int add_address(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	return vms_reg_bind(rec, VMS_REG_ADDRESSES, arg, msg);
}

static json_t *now(const char *name)
{
	struct target_entry *t_;
	struct targets all;
	json_t *r;

	CU_ASSERT_EQUAL(targets_load(&t, &all, &e), 0);
	t_ = targets_find(&all, name);
	r = t_ ? json_incref(t_->rec) : NULL;
	targets_free(&all);
	return r;
}

static void stored(void)
{
	json_t *a = vms_reg_new(A, 1), *b = vms_reg_new(B, 1), *r;

	begin(4);
	seen->drop_txn_answer = 1;
	CU_ASSERT_EQUAL(target_store(&t, A, 1, a, 0, NULL, &e), 0);
	CU_ASSERT_EQUAL(target_store(&t, B, 1, b, 0, NULL, &e), VMS_E_EXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "number 1 is taken"));
	/* made already as it is to be: by the first try, whose answer was lost */
	CU_ASSERT_EQUAL(target_store(&t, A, 1, a, 0, NULL, &e), 0);
	vms_reg_set_redirect(a, true);
	CU_ASSERT_EQUAL(target_store(&t, A, 1, a, 0, NULL, &e), VMS_E_CONFLICT);
	/* a change whose answer is lost counts once */
	seen->drop_txn_answer = 1;
	CU_ASSERT_EQUAL(target_change(&t, A, add_address, (void *)"ALL", &r, &e), 0);
	CU_ASSERT(vms_reg_has(r, VMS_REG_ADDRESSES, "ALL"));
	json_decref(r);
	CU_ASSERT_EQUAL(target_change(&t, A, add_address, (void *)"ALL", NULL, &e), VMS_E_EXIST);
	CU_ASSERT_EQUAL(target_change(&t, B, add_address, (void *)"ALL", NULL, &e), VMS_E_NOENT);
	json_decref(a);
	json_decref(b);
	end();
}

/* A record that the catalog does not take: told in words, before it is tried. */
static void too_large(void)
{
	json_t *a = vms_reg_new(A, 1);
	char volume[101];

	begin(4);
	for (unsigned i = 1; i <= VMS_REG_LIST_MAX; i++) {
		snprintf(volume, sizeof(volume), "%0100u", i);
		CU_ASSERT_EQUAL(vms_reg_add_lun(a, i, volume, &e), 0);
		if (i == 500)
			CU_ASSERT_EQUAL(target_store(&t, A, 1, a, 0, NULL, &e), 0);
	}
	CU_ASSERT_EQUAL(target_store(&t, B, 2, a, 0, NULL, &e), VMS_E_FULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "64 KiB; it has 1024 LUNs"));
	json_decref(a);
	end();
}

/* Somebody else writes between reading and writing. */
static int raced(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	unsigned *times = arg;

	if (!(*times)++) {
		struct target_entry *have = targets_find(all, A);
		json_t *other = json_deep_copy(have->rec);

		CU_ASSERT_EQUAL(vms_reg_add_lun(other, 1, "theirs", &e), 0);
		CU_ASSERT_EQUAL(target_store(&t, A, 1, other, have->mod_revision, NULL, &e), 0);
		json_decref(other);
	}
	return vms_reg_add_lun(rec, vms_reg_free_lun(rec), "ours", msg);
}

static void at_the_same_moment(void)
{
	json_t *a = vms_reg_new(A, 1), *r;
	unsigned times = 0;

	begin(4);
	CU_ASSERT_EQUAL(target_store(&t, A, 1, a, 0, NULL, &e), 0);
	CU_ASSERT_EQUAL(target_change(&t, A, raced, &times, NULL, &e), 0);
	CU_ASSERT_EQUAL(times, 2);
	r = now(A);
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "theirs"), 1);
	CU_ASSERT_EQUAL(vms_reg_lun_of(r, "ours"), 2);
	json_decref(r);
	json_decref(a);
	end();
}

static int no_luns(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	return vms_reg_remove_lun(rec, 1, msg);
}

/* The other admin's whole command between our look and our write. */
struct other {
	unsigned times;
	const char *volume, *user, *target;
};

static int their_lun(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	struct other *o = arg;

	return o->volume ? vms_reg_add_lun(rec, 1, o->volume, msg)
			 : vms_reg_bind(rec, VMS_REG_USERS, o->user, msg);
}

static int our_lun(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	struct other *o = arg;
	int rc = target_volume_check(&t, "x", msg);

	if (!rc)
		rc = targets_elsewhere(all, vms_reg_name(rec), "x", msg);
	if (!rc && !o->times++)
		CU_ASSERT_EQUAL(o->target ? target_change(&t, o->target, their_lun, o, NULL, &e)
					  : volume_delete(&t, "x", false, &e),
				0);
	return rc ? rc : vms_reg_add_lun(rec, 1, "x", msg);
}

static int our_user(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	struct other *o = arg;
	struct accounts acc;
	bool there;
	int rc = accounts_load(&t, &acc, msg);

	there = !rc && accounts_find(&acc, "u");
	VMS_VEC_FREE(&acc);
	if (!there)
		return VMS_E_NOENT;
	if (!o->times++)
		CU_ASSERT_EQUAL(account_delete(&t, "u", &e), 0);
	return vms_reg_bind(rec, VMS_REG_USERS, "u", msg);
}

/* One volume is one LUN, and what is referred to is there, whoever was faster. */
static void others_at_the_same_moment(void)
{
	json_t *a = vms_reg_new(A, 1), *b = vms_reg_new(B, 2), *r;
	struct other o = {.target = B, .volume = "x"};

	begin(4);
	create("x", 1u << 20);
	CU_ASSERT_EQUAL(target_store(&t, A, 1, a, 0, NULL, &e), 0);
	CU_ASSERT_EQUAL(target_store(&t, B, 2, b, 0, NULL, &e), 0);
	/* the same volume for another target */
	CU_ASSERT_EQUAL(target_change(&t, A, our_lun, &o, NULL, &e), VMS_E_EXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "x is LUN 1 of " B));
	/* the same for what does not concern us: both */
	o = (struct other){.target = B, .user = "somebody"};
	CU_ASSERT_EQUAL(target_change(&t, B, no_luns, NULL, NULL, &e), 0);
	CU_ASSERT_EQUAL(target_change(&t, A, our_lun, &o, NULL, &e), 0);
	CU_ASSERT_EQUAL(o.times, 2);
	r = now(B);
	CU_ASSERT(vms_reg_has(r, VMS_REG_USERS, "somebody"));
	json_decref(r);
	/* the volume is deleted */
	CU_ASSERT_EQUAL(target_change(&t, A, no_luns, NULL, NULL, &e), 0);
	o = (struct other){.times = 0};
	CU_ASSERT_EQUAL(target_change(&t, A, our_lun, &o, NULL, &e), VMS_E_NOENT);
	r = now(A);
	CU_ASSERT_EQUAL(vms_reg_luns(r), 0);
	json_decref(r);
	/* the account is */
	put("account/u", strdup("{\"user\":\"u\",\"sealed\":\"00\"}"));
	o = (struct other){.times = 0};
	CU_ASSERT_EQUAL(target_change(&t, A, our_user, &o, NULL, &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(o.times, 1);
	json_decref(a);
	json_decref(b);
	end();
}

static int no_lun(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *msg)
{
	return vms_reg_remove_lun(rec, 3, msg);
}

static void volumes(void)
{
	json_t *a = vms_reg_new(A, 1);

	begin(4);
	create("x", 1u << 20);
	CU_ASSERT_EQUAL(target_volume_check(&t, "x", &e), 0);
	CU_ASSERT_EQUAL(target_volume_check(&t, "y", &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(target_volume_check(&t, "x@s", &e), VMS_E_NOENT);
	CU_ASSERT_EQUAL(target_volume_check(&t, "a b", &e), VMS_E_INVAL);
	/* a LUN is not deleted under its target, also while no gateway runs */
	CU_ASSERT_EQUAL(vms_reg_add_lun(a, 3, "x", &e) || target_store(&t, A, 1, a, 0, NULL, &e),
			0);
	CU_ASSERT_EQUAL(volume_delete(&t, "x", false, &e), VMS_E_OPEN);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "x is LUN 3 of " A));
	CU_ASSERT_EQUAL(look("x").state, VOLUME_READY);
	CU_ASSERT_EQUAL(target_change(&t, A, no_lun, NULL, NULL, &e), 0);
	CU_ASSERT_EQUAL(volume_delete(&t, "x", false, &e), 0);
	json_decref(a);
	end();
}

int main(void)
{
	static const struct vms_test tests[] = {VMS_TEST(form),
						VMS_TEST(parameters),
						VMS_TEST(what_becomes),
						VMS_TEST(differences),
						VMS_TEST(stored),
						VMS_TEST(too_large),
						VMS_TEST(at_the_same_moment),
						VMS_TEST(others_at_the_same_moment),
						VMS_TEST(volumes)};

	rig_init();
	return vms_test_main_("documents of targets", tests, sizeof(tests) / sizeof(tests[0]));
}
