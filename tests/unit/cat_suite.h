/* SPDX-License-Identifier: GPL-2.0-only */
/* What every catalog must do alike, embedded or on etcd: cases over struct vms_catalog
 * alone. The including test gives suite_begin() (a fresh catalog, suite_cat set),
 * suite_end() and suite_wait() (until h has heard `calls` times, at most some
 * seconds). */
#ifndef VMS_TESTS_CAT_SUITE_H
#define VMS_TESTS_CAT_SUITE_H

#include <stdlib.h>
#include <string.h>

#include "cluster/catalog.h"
#include "tests/unit/cunit.h"

struct heard {
	unsigned calls;
	int status;
	uint64_t revision, session;
	bool more;
	unsigned nkv;
	struct {
		char key[64], val[64];
		uint64_t mod, create;
		bool deleted;
	} kv[8];
	char log[512]; /* events: "key=val;" or "key-;" */
};

static struct vms_catalog *suite_cat;
static void suite_begin(void);
static void suite_end(void);
static void suite_wait(struct heard *h, unsigned calls);

static void hear(void *arg, const struct vms_cat_reply *r)
{
	struct heard *h = arg;

	h->calls++;
	h->status = r->status;
	h->revision = r->revision;
	h->session = r->session;
	h->more = r->more;
	h->nkv = r->nkv;
	for (unsigned i = 0; i < r->nkv; i++) {
		size_t at = strlen(h->log);

		if (i < 8) {
			snprintf(h->kv[i].key, 64, "%s", r->kv[i].key);
			snprintf(h->kv[i].val, 64, "%s", r->kv[i].val ? r->kv[i].val : "");
			h->kv[i].mod = r->kv[i].mod_revision;
			h->kv[i].create = r->kv[i].create_revision;
			h->kv[i].deleted = !r->kv[i].val;
		}
		if (r->kv[i].val)
			snprintf(h->log + at, sizeof(h->log) - at, "%s=%.20s;", r->kv[i].key,
				 r->kv[i].val);
		else
			snprintf(h->log + at, sizeof(h->log) - at, "%s-;", r->kv[i].key);
	}
}

static struct heard put_key_session(const char *key, const char *val, uint64_t session)
{
	struct vms_cat_op op = {key, val, session};
	struct heard h = {0};

	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &h);
	CU_ASSERT_EQUAL(h.calls, 0); /* never from inside the call */
	suite_wait(&h, 1);
	CU_ASSERT_EQUAL(h.calls, 1);
	return h;
}

static struct heard put_key(const char *key, const char *val)
{
	return put_key_session(key, val, 0);
}

static struct heard get(const char *key)
{
	struct heard h = {0};

	suite_cat->ops->get(suite_cat, key, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT_EQUAL(h.calls, 1);
	return h;
}

static bool is_there(const char *key)
{
	struct heard h = get(key);

	return h.status == 0 && h.nkv == 1;
}

static struct heard txn(const struct vms_cat_cmp *cmp, unsigned ncmp, const struct vms_cat_op *op,
			unsigned nop)
{
	struct heard h = {0};

	suite_cat->ops->txn(suite_cat, cmp, ncmp, op, nop, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT_EQUAL(h.calls, 1);
	return h;
}

/* ---- cases ---- */

static void values_and_revisions(void)
{
	struct heard a, b, g;

	suite_begin();
	CU_ASSERT(!is_there("node/1"));
	a = put_key("node/1", "{}");
	b = put_key("node/1", "{\"x\":1}");
	/* a real etcd has other clients */
	CU_ASSERT(a.status == 0 && b.status == 0 && b.revision > a.revision);
	g = get("node/1");
	CU_ASSERT_EQUAL(g.nkv, 1);
	CU_ASSERT_STRING_EQUAL(g.kv[0].val, "{\"x\":1}");
	CU_ASSERT(g.kv[0].create == a.revision && g.kv[0].mod == b.revision);
	CU_ASSERT_EQUAL(put_key("node/1", NULL).status, 0);
	CU_ASSERT(!is_there("node/1"));
	/* created anew, not changed */
	a = put_key("node/1", "{}");
	CU_ASSERT_EQUAL(get("node/1").kv[0].create, a.revision);
	suite_end();
}

static void compares_decide_whole_transactions(void)
{
	struct vms_cat_cmp cmp[2] = {{"a", 0}, {"b", 0}};
	struct vms_cat_op op[2] = {{"a", "1", 0}, {"b", "2", 0}};
	struct heard h;

	suite_begin();
	h = txn(cmp, 2, op, 2);
	CU_ASSERT_EQUAL(h.status, 0);
	CU_ASSERT_EQUAL(txn(cmp, 2, op, 2).status, VMS_E_CONFLICT);
	cmp[0].mod_revision = h.revision;
	op[0].val = "3";
	CU_ASSERT_EQUAL(txn(cmp, 2, op, 2).status, VMS_E_CONFLICT); /* b has a revision */
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "1");
	cmp[1].mod_revision = h.revision;
	CU_ASSERT_EQUAL(txn(cmp, 2, op, 2).status, 0);
	CU_ASSERT_STRING_EQUAL(get("a").kv[0].val, "3");
	suite_end();
}

static void the_largest_transaction_goes_through(void)
{
	struct vms_cat_cmp cmp[VMS_CAT_TXN_OPS_MAX];
	struct vms_cat_op op[VMS_CAT_TXN_OPS_MAX];
	char key[VMS_CAT_TXN_OPS_MAX][16], last[16];

	suite_begin();
	for (unsigned i = 0; i < VMS_CAT_TXN_OPS_MAX; i++) {
		snprintf(key[i], sizeof(key[i]), "t/%03u", i);
		cmp[i] = (struct vms_cat_cmp){key[i], 0};
		op[i] = (struct vms_cat_op){key[i], "1", 0};
	}
	CU_ASSERT_EQUAL(txn(cmp, VMS_CAT_TXN_OPS_MAX, op, VMS_CAT_TXN_OPS_MAX).status, 0);
	CU_ASSERT_EQUAL(txn(cmp, VMS_CAT_TXN_OPS_MAX, op, VMS_CAT_TXN_OPS_MAX).status,
			VMS_E_CONFLICT);
	snprintf(last, sizeof(last), "t/%03u", VMS_CAT_TXN_OPS_MAX - 1);
	CU_ASSERT(is_there(last));
	suite_end();
}

static void bad_requests_are_refused(void)
{
	struct vms_cat_op twice[2] = {{"a", "1", 0}, {"a", "2", 0}};
	struct heard h = {0};
	char big[VMS_CAT_VAL_BYTES_MAX + 2];
	char lng[VMS_CAT_KEY_BYTES_MAX + 1];

	suite_begin();
	CU_ASSERT_EQUAL(get("~s/1").status, VMS_E_INVAL);
	memset(lng, 'k', sizeof(lng) - 1);
	lng[sizeof(lng) - 1] = 0;
	suite_cat->ops->get(suite_cat, lng, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT(h.calls == 1 && h.status == VMS_E_INVAL);
	memset(big, 'v', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	CU_ASSERT_EQUAL(put_key("a", big).status, VMS_E_INVAL);
	CU_ASSERT_EQUAL(txn(NULL, 0, twice, 2).status, VMS_E_INVAL);
	CU_ASSERT_EQUAL(put_key_session("a", "1", 4711).status, VMS_E_NOENT);
	CU_ASSERT(!is_there("a"));
	big[VMS_CAT_VAL_BYTES_MAX] = 0;
	CU_ASSERT_EQUAL(put_key("a", big).status, 0);
	CU_ASSERT(is_there("a"));
	suite_end();
}

static void ranges_come_in_order_and_in_parts(void)
{
	struct heard h = {0};
	char key[32], *val = malloc(VMS_CAT_VAL_BYTES_MAX + 1);
	unsigned seen = 0, parts = 0;
	char after[64] = "";

	suite_begin();
	memset(val, 'x', 60000);
	val[60000] = 0;
	for (unsigned i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "r/%02x", (i * 7) % 40);
		put_key(key, val);
	}
	free(val);
	put_key("q", "1");
	put_key("s", "1");
	do {
		memset(&h, 0, sizeof(h));
		suite_cat->ops->range(suite_cat, "r/", after[0] ? after : NULL, hear, &h);
		suite_wait(&h, 1);
		CU_ASSERT_EQUAL_FATAL(h.status, 0);
		snprintf(key, sizeof(key), "r/%02x", seen);
		CU_ASSERT_STRING_EQUAL(h.kv[0].key, key);
		seen += h.nkv;
		parts++;
		snprintf(after, sizeof(after), "r/%02x", seen - 1);
	} while (h.more && parts < 100);
	CU_ASSERT_EQUAL(seen, 40);
	memset(&h, 0, sizeof(h));
	suite_cat->ops->range(suite_cat, "r/0", NULL, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT(h.nkv == 16 && !h.more);
	memset(&h, 0, sizeof(h));
	suite_cat->ops->range(suite_cat, "", "r/25", hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT(h.nkv == 3 && !strcmp(h.kv[2].key, "s")); /* and none of the engine's own */
	memset(&h, 0, sizeof(h));
	suite_cat->ops->range(suite_cat, "nothing/", NULL, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT(h.calls == 1 && h.nkv == 0);
	suite_end();
}

static void watch_sees_each_revision_once_in_order(void)
{
	struct vms_cat_op two[2] = {{"v/a", "2", 0}, {"v/b", "2", 0}};
	struct heard h = {0};
	uint64_t from, id;

	suite_begin();
	from = put_key("v/old", "0").revision;
	put_key("v/a", "1");
	id = suite_cat->ops->watch(suite_cat, "v/", from, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;"); /* the past it asked for */
	put_key("u/x", "9");
	CU_ASSERT_EQUAL(txn(NULL, 0, two, 2).status, 0);
	suite_wait(&h, 2);
	CU_ASSERT(h.calls == 2 && h.nkv == 2);
	put_key("v/a", NULL);
	suite_wait(&h, 3);
	CU_ASSERT_STRING_EQUAL(h.log, "v/a=1;v/a=2;v/b=2;v/a-;");
	suite_cat->ops->unwatch(suite_cat, id);
	put_key("v/a", "3");
	get("v/a");
	CU_ASSERT_EQUAL(h.calls, 3);
	suite_end();
}

static void a_watch_may_begin_before_another_one(void)
{
	struct heard late = {0}, early = {0};
	uint64_t from;

	suite_begin();
	from = put_key("v/a", "1").revision;
	suite_cat->ops->watch(suite_cat, "v/", put_key("v/b", "2").revision, hear, &late);
	put_key("v/c", "3");
	suite_wait(&late, 1);
	suite_cat->ops->watch(suite_cat, "v/", from, hear, &early);
	suite_wait(&early, 2);
	CU_ASSERT_STRING_EQUAL(early.log, "v/b=2;v/c=3;");
	put_key("v/d", "4");
	suite_wait(&early, 3);
	suite_wait(&late, 2);
	CU_ASSERT_STRING_EQUAL(early.log, "v/b=2;v/c=3;v/d=4;");
	CU_ASSERT_STRING_EQUAL(late.log, "v/c=3;v/d=4;");
	suite_end();
}

static void revisions_of_the_future_are_gone(void)
{
	struct heard h = {0};

	suite_begin();
	/* another catalog, or an older copy of this one */
	suite_cat->ops->watch(suite_cat, "v/", put_key("v/a", "1").revision + 1000000, hear, &h);
	suite_wait(&h, 1);
	CU_ASSERT(h.calls == 1 && h.status == VMS_E_GONE);
	put_key("v/a", "3");
	CU_ASSERT_EQUAL(h.calls, 1); /* that watch is over */
	suite_end();
}

static void a_closed_session_takes_its_keys_along(void)
{
	struct heard s = {0}, r = {0}, ev = {0};

	suite_begin();
	suite_cat->ops->session_open(suite_cat, 60000, hear, &s);
	suite_wait(&s, 1);
	CU_ASSERT_FATAL(s.status == 0 && s.session);
	put_key_session("open/1", "1", s.session);
	put_key_session("open/2", "1", s.session);
	put_key("open/2", "2"); /* hangs on nothing any more */
	suite_cat->ops->watch(suite_cat, "open/", put_key("x", "1").revision, hear, &ev);
	suite_cat->ops->session_renew(suite_cat, s.session, hear, &r);
	suite_wait(&r, 1);
	CU_ASSERT_EQUAL(r.status, 0);
	suite_cat->ops->session_close(suite_cat, s.session, hear, &r);
	suite_wait(&r, 2);
	CU_ASSERT_EQUAL(r.status, 0);
	suite_wait(&ev, 1);
	CU_ASSERT_STRING_EQUAL(ev.log, "open/1-;");
	CU_ASSERT(!is_there("open/1") && is_there("open/2"));
	suite_cat->ops->session_renew(suite_cat, s.session, hear, &r);
	suite_wait(&r, 3);
	CU_ASSERT_EQUAL(r.status, VMS_E_NOENT);
	suite_end();
}

static void forgotten_requests_reach_nobody(void)
{
	struct vms_cat_op op = {"k", "1", 0};
	struct heard g = {0};

	suite_begin();
	suite_cat->ops->get(suite_cat, "k", hear, &g);
	suite_cat->ops->txn(suite_cat, NULL, 0, &op, 1, hear, &g);
	suite_cat->ops->watch(suite_cat, "", 1, hear, &g);
	suite_cat->ops->forget(suite_cat, &g);
	put_key("l", "1");
	get("l");
	CU_ASSERT_EQUAL(g.calls, 0);
	suite_end();
}

#define CAT_SUITE_TESTS                                                                            \
	VMS_TEST(values_and_revisions), VMS_TEST(compares_decide_whole_transactions),              \
		VMS_TEST(the_largest_transaction_goes_through),                                    \
		VMS_TEST(bad_requests_are_refused), VMS_TEST(ranges_come_in_order_and_in_parts),   \
		VMS_TEST(watch_sees_each_revision_once_in_order),                                  \
		VMS_TEST(a_watch_may_begin_before_another_one),                                    \
		VMS_TEST(revisions_of_the_future_are_gone),                                        \
		VMS_TEST(a_closed_session_takes_its_keys_along),                                   \
		VMS_TEST(forgotten_requests_reach_nobody)

#endif
