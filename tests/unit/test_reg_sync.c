// SPDX-License-Identifier: GPL-2.0-only
/* The mirror of targets and accounts: loads, watches, changes by compare. */
#include <jansson.h>

#include "target/reg_sync.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"

#define A "iqn.2026-01.org.example:a"
#define B "iqn.2026-01.org.example:b"
#define C "iqn.2026-01.org.example:c"

static struct vms_reg_sync *s;
static int got;
static unsigned ends;
static uint64_t clock_ms;

static void done(void *arg, int status, const char *why)
{
	got = status;
	ends++;
}

static void run(void)
{
	while (f.ncall)
		f_call_run();
}

static void begin(void)
{
	memset(&f, 0, sizeof(f));
	f.cat.ops = &f_ops;
	clock_ms = 1000;
	s = vms_reg_sync_open(&f.cat, clock_ms);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT(!vms_reg_sync_loaded(s));
	run();
	CU_ASSERT(vms_reg_sync_loaded(s));
}

static void end(void)
{
	vms_reg_sync_close(s);
	run();
	for (unsigned i = 0; i < f.nkv; i++)
		free(f.kv[i].val);
}

static json_t *rec(const char *name, uint32_t tid)
{
	return vms_reg_new(name, tid);
}

static char *text_of(const char *name, uint32_t tid)
{
	json_t *r = vms_reg_new(name, tid);
	char *t = vms_reg_encode(r);

	json_decref(r);
	return t;
}

static int put(const char *name, uint32_t tid, json_t *r, uint64_t rev)
{
	got = 99;
	ends = 0;
	vms_reg_put_target(s, name, tid, r, rev, done, NULL);
	CU_ASSERT_EQUAL(ends, 0); /* never from inside the call */
	run();
	CU_ASSERT_EQUAL(ends, 1);
	json_decref(r);
	return got;
}

static void changes(void)
{
	struct vms_errmsg e;
	struct vms_reg_entry *t;
	json_t *r;

	begin();
	(void)vms_reg_sync_changed(s);
	CU_ASSERT_EQUAL(put(A, 1, rec(A, 1), 0), 0);
	CU_ASSERT(vms_reg_sync_changed(s));
	CU_ASSERT(!vms_reg_sync_changed(s));
	t = vms_reg_target(s, A);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t->value);
	CU_ASSERT_PTR_EQUAL(vms_reg_target_by_tid(s, 1), t);
	/* the number is taken, the name is taken */
	CU_ASSERT_EQUAL(put(B, 1, rec(B, 1), 0), VMS_E_EXIST);
	CU_ASSERT_EQUAL(put(A, 2, rec(A, 2), 0), VMS_E_CONFLICT);
	CU_ASSERT_EQUAL(put(B, 2, rec(B, 2), 0), 0);
	/* somebody else was faster: told, and the mirror follows */
	r = json_deep_copy(t->value);
	CU_ASSERT(!vms_reg_bind(r, VMS_REG_ADDRESSES, "ALL", &e));
	f.quiet = true; /* its event is late */
	f_put_free("target/" A, vms_reg_encode(r));
	f.quiet = false;
	CU_ASSERT_EQUAL(put(A, 1, json_deep_copy(t->value), t->rev), VMS_E_CONFLICT);
	CU_ASSERT(vms_reg_has(t->value, VMS_REG_ADDRESSES, "ALL"));
	json_decref(r);
	/* deleted, and made again with another number */
	CU_ASSERT_EQUAL(put(A, 1, NULL, t->rev), 0);
	CU_ASSERT_PTR_NULL(t->value);
	CU_ASSERT_PTR_NULL(vms_reg_target_by_tid(s, 1));
	CU_ASSERT_EQUAL(put(A, 3, rec(A, 3), t->rev), 0);
	CU_ASSERT_EQUAL(put(B, 2, NULL, vms_reg_target(s, B)->rev), 0);
	CU_ASSERT_EQUAL(put(B, 1, rec(B, 1), 0), 0);
	end();
}

static void follows(void)
{
	struct vms_reg_entry *t;
	char *text;

	begin();
	text = text_of(A, 1);
	f_put("target/" A, text);
	run();
	t = vms_reg_target(s, A);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT(t->changed);
	t->changed = false;
	/* what nobody can read leaves everything as it was */
	f_put("target/" A, "{\"name\":1}");
	f_put("target/" B, "nonsense");
	f_put("account/x", "{}");
	run();
	CU_ASSERT(!t->changed);
	CU_ASSERT_PTR_NOT_NULL(t->value);
	CU_ASSERT_PTR_NULL(vms_reg_target(s, B));
	CU_ASSERT_PTR_NULL(vms_reg_account(s, "x"));
	f_put("account/x", "{\"user\":\"x\",\"sealed\":\"abc\"}");
	f_put("target/" A, NULL);
	run();
	CU_ASSERT_PTR_NULL(t->value);
	CU_ASSERT(t->changed);
	CU_ASSERT_PTR_NOT_NULL_FATAL(vms_reg_account(s, "x"));
	/* the watch breaks; one is deleted and one made before the new load */
	f_put("target/" A, text);
	run();
	f.quiet = true;
	f_put("target/" A, NULL);
	f_put_free("target/" B, text_of(B, 2));
	f.quiet = false;
	for (unsigned i = 0; i < f.nwatch; i++)
		if (f.watch[i].fn) {
			struct vms_cat_reply r = {.status = VMS_E_GONE};

			f.watch[i].fn(f.watch[i].arg, &r);
		}
	clock_ms += 100;
	vms_reg_sync_timer(s, clock_ms);
	CU_ASSERT_EQUAL(f.ncall, 0); /* not at once again */
	clock_ms += 1000;
	f.cat_down = true;
	vms_reg_sync_timer(s, clock_ms);
	run();
	CU_ASSERT_PTR_NOT_NULL(t->value); /* an answer that did not come says nothing */
	f_cat_up();
	clock_ms += 1000;
	vms_reg_sync_timer(s, clock_ms);
	run();
	CU_ASSERT_PTR_NULL(t->value);
	CU_ASSERT_PTR_NOT_NULL_FATAL(vms_reg_target(s, B));
	CU_ASSERT_PTR_NOT_NULL(vms_reg_target(s, B)->value);
	free(text);
	end();
}

static void unknown_outcome(void)
{
	json_t *r;

	begin();
	f.cat_down = true;
	CU_ASSERT_EQUAL(put(A, 1, rec(A, 1), 0), VMS_E_TIMEOUT);
	f_cat_up();
	CU_ASSERT_PTR_NULL(vms_reg_target(s, A));
	/* closed with one on its way: nobody is called */
	got = 0;
	r = rec(A, 1);
	vms_reg_put_target(s, A, 1, r, 0, done, NULL);
	json_decref(r);
	ends = 0;
	end();
	CU_ASSERT_EQUAL(ends, 0);
}

/* ---- two at the same moment ---- */

static struct vms_reg_sync *other;
static int other_got;

static void other_done(void *arg, int status, const char *why)
{
	other_got = status;
}

/* A second gateway on the same catalog; targets A and B, account x. */
static void begin_two(void)
{
	begin();
	other = vms_reg_sync_open(&f.cat, clock_ms);
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	run();
	CU_ASSERT_EQUAL(put(A, 1, rec(A, 1), 0), 0);
	CU_ASSERT_EQUAL(put(B, 2, rec(B, 2), 0), 0);
	f_put("account/x", "{\"user\":\"x\",\"sealed\":\"abc\"}");
	run();
	f.quiet = true; /* events are late from here on */
}

static void end_two(void)
{
	vms_reg_sync_close(other);
	end();
}

static json_t *with_lun(struct vms_reg_sync *m, const char *name, uint64_t lun, const char *volume)
{
	json_t *r = json_deep_copy(vms_reg_target(m, name)->value);
	struct vms_errmsg e;

	CU_ASSERT_EQUAL(vms_reg_add_lun(r, lun, volume, &e), 0);
	return r;
}

static void ask(struct vms_reg_sync *m, const char *name, json_t *r)
{
	vms_reg_put_target(m, name, vms_reg_tid(r), r, vms_reg_target(m, name)->rev,
			   m == s ? done : other_done, NULL);
	json_decref(r);
}

static bool has_volume(struct vms_reg_sync *m, const char *name, const char *volume)
{
	return vms_reg_lun_of(vms_reg_target(m, name)->value, volume) != UINT64_MAX;
}

static const char *refs_text(void)
{
	const struct f_kv *k = f_kv_find(VMS_REG_REFS_KEY);

	return k ? k->val : NULL;
}

/* Both gateways have looked, and found that the volume is nobody's LUN. */
static void volume_twice(void)
{
	char *text;
	json_t *r;

	/* one is through before the other one writes */
	begin_two();
	r = with_lun(other, B, 1, "v");
	ask(s, A, with_lun(s, A, 1, "v"));
	run();
	CU_ASSERT_EQUAL(got, 0);
	CU_ASSERT(!has_volume(other, A, "v")); /* it has not heard of it */
	ask(other, B, r);
	run();
	CU_ASSERT_EQUAL(other_got, VMS_E_CONFLICT);
	CU_ASSERT(has_volume(other, A, "v")); /* now it has, and can refuse */
	CU_ASSERT(!has_volume(other, B, "v"));
	/* something else: it comes through, once it has been looked at again */
	ask(other, B, with_lun(other, B, 1, "w"));
	run();
	CU_ASSERT_EQUAL(other_got, 0);
	CU_ASSERT_PTR_NOT_NULL(refs_text());
	/* and the first one does not know of that */
	ask(s, A, with_lun(s, A, 2, "w"));
	run();
	CU_ASSERT_EQUAL(got, VMS_E_CONFLICT);
	CU_ASSERT(has_volume(s, B, "w"));
	ask(s, A, with_lun(s, A, 2, "y"));
	run();
	CU_ASSERT_EQUAL(got, 0);
	/* one after the other needs no second look */
	f.ngets = 0;
	ask(s, A, with_lun(s, A, 3, "z"));
	run();
	CU_ASSERT_EQUAL(got, 0);
	CU_ASSERT_EQUAL(f.ngets, 0);
	end_two();

	/* both are on their way at once */
	begin_two();
	got = other_got = 99;
	ask(s, A, with_lun(s, A, 1, "v"));
	ask(other, B, with_lun(other, B, 1, "v"));
	run();
	CU_ASSERT_EQUAL(got, 0);
	CU_ASSERT_EQUAL(other_got, VMS_E_CONFLICT);
	CU_ASSERT(has_volume(other, A, "v"));
	end_two();

	/* the other one is a tool, and makes a target with it */
	begin_two();
	r = rec(C, 3);
	CU_ASSERT_EQUAL(vms_reg_add_lun(r, 1, "v", NULL), 0);
	text = vms_reg_encode(r);
	json_decref(r);
	r = with_lun(s, A, 1, "v");
	f_put("target/" C, text);
	f_put(VMS_REG_REFS_KEY, "1");
	free(text);
	ask(s, A, r);
	run();
	CU_ASSERT_EQUAL(got, VMS_E_CONFLICT);
	CU_ASSERT(has_volume(s, C, "v"));
	end_two();
}

/* An account goes while a target begins to demand it: as a target that demands none admits
 * everybody, one of them has to see the other. */
static void account_twice(void)
{
	struct vms_errmsg e;
	json_t *r;

	begin_two();
	r = json_deep_copy(vms_reg_target(other, A)->value);
	CU_ASSERT_EQUAL(vms_reg_bind(r, VMS_REG_USERS, "x", &e), 0);
	ask(other, A, r);
	run();
	CU_ASSERT_EQUAL(other_got, 0);
	CU_ASSERT(!vms_reg_has(vms_reg_target(s, A)->value, VMS_REG_USERS, "x"));
	vms_reg_put_account(s, "x", NULL, vms_reg_account(s, "x")->rev, done, NULL);
	run();
	CU_ASSERT_EQUAL(got, VMS_E_CONFLICT);
	CU_ASSERT(vms_reg_has(vms_reg_target(s, A)->value, VMS_REG_USERS, "x"));
	CU_ASSERT_PTR_NOT_NULL(vms_reg_account(s, "x")->value);
	end_two();

	begin_two();
	vms_reg_put_account(s, "x", NULL, vms_reg_account(s, "x")->rev, done, NULL);
	run();
	CU_ASSERT_EQUAL(got, 0);
	r = json_deep_copy(vms_reg_target(other, A)->value);
	CU_ASSERT_EQUAL(vms_reg_bind(r, VMS_REG_USERS, "x", &e), 0);
	ask(other, A, r);
	run();
	CU_ASSERT_EQUAL(other_got, VMS_E_CONFLICT);
	CU_ASSERT_PTR_NULL(vms_reg_account(other, "x")->value);
	end_two();
}

/* The catalog goes away when it has to be looked at again: told as its error, and nothing
 * is written on an old look later. */
static void look_fails(void)
{
	begin_two();
	ask(other, B, with_lun(other, B, 1, "v"));
	run();
	got = 99;
	ask(s, A, with_lun(s, A, 1, "w"));
	f_call_run(); /* it conflicts */
	f.cat_down = true;
	f.call[0].status = VMS_E_TIMEOUT;
	run();
	CU_ASSERT_EQUAL(got, VMS_E_TIMEOUT);
	f_cat_up();
	/* as it has not looked again yet, it does that instead of writing */
	ask(s, A, with_lun(s, A, 1, "v"));
	run();
	CU_ASSERT_EQUAL(got, VMS_E_CONFLICT);
	CU_ASSERT(has_volume(s, B, "v"));
	CU_ASSERT(!has_volume(s, A, "v"));
	ask(s, A, with_lun(s, A, 1, "w"));
	run();
	CU_ASSERT_EQUAL(got, 0);
	/* half of it comes */
	ask(other, B, with_lun(other, B, 2, "x"));
	run();
	ask(other, B, with_lun(other, B, 2, "x"));
	run();
	CU_ASSERT_EQUAL(other_got, 0);
	ask(s, A, with_lun(s, A, 2, "x"));
	f_call_run(); /* it conflicts */
	f_call_run(); /* the key; both tables are asked for */
	f.call[1].status = VMS_E_DISCONNECTED;
	run();
	CU_ASSERT_EQUAL(got, VMS_E_DISCONNECTED);
	clock_ms += 1000;
	vms_reg_sync_timer(s, clock_ms);
	run();
	CU_ASSERT(has_volume(s, B, "x"));
	f.ngets = 0;
	ask(s, A, with_lun(s, A, 2, "y"));
	run();
	CU_ASSERT_EQUAL(got, 0);
	CU_ASSERT_EQUAL(f.ngets, 0);
	/* closed while one waits for it: nobody is called */
	ask(other, B, with_lun(other, B, 3, "z"));
	f_call_run();
	other_got = 99;
	end_two();
	CU_ASSERT_EQUAL(other_got, 99);
}

static const struct vms_test tests[] = {
	VMS_TEST(changes),	VMS_TEST(follows),	 VMS_TEST(unknown_outcome),
	VMS_TEST(volume_twice), VMS_TEST(account_twice), VMS_TEST(look_fails),
};
VMS_TEST_MAIN("reg_sync", tests)
