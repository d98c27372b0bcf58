// SPDX-License-Identifier: GPL-2.0-only
/* The mirror of targets and accounts: loads, watches, changes by compare. */
#include <jansson.h>

#include "target/reg_sync.h"
#include "tests/unit/cunit.h"
#include "tests/unit/gw_fake.h"

#define A "iqn.2026-01.org.example:a"
#define B "iqn.2026-01.org.example:b"

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

static const struct vms_test tests[] = {
	VMS_TEST(changes),
	VMS_TEST(follows),
	VMS_TEST(unknown_outcome),
};
VMS_TEST_MAIN("reg_sync", tests)
