// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lists of the catalog that come in pages, the second one from a member that is behind: what
 * is watched from the first page's revision on misses what happened between the two.
 */
#include <stdio.h>
#include <string.h>

#include "target/gateways.h"
#include "target/reg_sync.h"
#include "tests/unit/cunit.h"

enum { FIRST = 100, SECOND = 60 };

struct pages {
	struct vms_catalog cat; /* first */
	struct {
		vms_cat_done_fn done;
		void *arg;
		char key[VMS_CAT_KEY_BYTES_MAX];
		bool second, one;
	} ask[8];
	unsigned nasks, nwatches;
	uint64_t from[8];
	uint64_t one_rev; /* of the key that is read alone; 0: it is not there */
};
static struct pages P;

static void p_range(struct vms_catalog *c, const char *prefix, const char *after,
		    vms_cat_done_fn done, void *arg)
{
	(void)c;
	CU_ASSERT_FATAL(P.nasks < 8);
	P.ask[P.nasks].done = done;
	P.ask[P.nasks].arg = arg;
	P.ask[P.nasks].second = after != NULL;
	P.ask[P.nasks].one = false;
	snprintf(P.ask[P.nasks++].key, sizeof(P.ask[0].key), "%s%s", prefix,
		 after ? "00000002" : "00000001");
}

static void p_get(struct vms_catalog *c, const char *key, vms_cat_done_fn done, void *arg)
{
	p_range(c, key, NULL, done, arg);
	P.ask[P.nasks - 1].one = true;
}

static uint64_t p_watch(struct vms_catalog *c, const char *prefix, uint64_t from,
			vms_cat_done_fn event, void *arg)
{
	(void)c;
	(void)prefix;
	(void)event;
	(void)arg;
	CU_ASSERT_FATAL(P.nwatches < 8);
	P.from[P.nwatches++] = from;
	return P.nwatches;
}

static void p_unwatch(struct vms_catalog *c, uint64_t watch)
{
	(void)c;
	(void)watch;
}

static void p_forget(struct vms_catalog *c, void *arg)
{
	(void)c;
	(void)arg;
}

static const struct vms_catalog_ops ops = {.struct_bytes = sizeof(ops),
					   .get = p_get,
					   .range = p_range,
					   .watch = p_watch,
					   .unwatch = p_unwatch,
					   .forget = p_forget};

static void start(void)
{
	memset(&P, 0, sizeof(P));
	P.cat.ops = &ops;
}

/* Values nobody can read: it is their revisions that count. */
static void answer_one(void)
{
	uint64_t mod = P.ask[0].one ? P.one_rev : 50;
	struct vms_cat_kv kv = {P.ask[0].key, "{}", 2, mod, mod};
	struct vms_cat_reply r = {.revision = P.ask[0].second ? SECOND : FIRST,
				  .kv = &kv,
				  .nkv = mod != 0,
				  .more = !P.ask[0].second && !P.ask[0].one};
	vms_cat_done_fn done = P.ask[0].done;
	void *arg = P.ask[0].arg;
	char key[VMS_CAT_KEY_BYTES_MAX];

	memcpy(key, P.ask[0].key, sizeof(key));
	kv.key = key;
	memmove(&P.ask[0], &P.ask[1], sizeof(P.ask[0]) * --P.nasks);
	done(arg, &r);
}

static void answer_all(void)
{
	while (P.nasks)
		answer_one();
}

static void gateways_are_watched_from_the_oldest_page_on(void)
{
	struct vms_gateways *g;

	start();
	g = vms_gateways_open(&P.cat, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	answer_all();
	CU_ASSERT_EQUAL(P.nwatches, 1);
	CU_ASSERT_EQUAL(P.from[0], SECOND);
	vms_gateways_close(g);
}

static void targets_and_accounts_too(void)
{
	struct vms_reg_sync *s;

	start();
	s = vms_reg_sync_open(&P.cat, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	answer_all();
	CU_ASSERT_TRUE(vms_reg_sync_loaded(s));
	CU_ASSERT(P.nwatches >= 2);
	for (unsigned i = 0; i < P.nwatches; i++)
		CU_ASSERT_EQUAL(P.from[i], SECOND);
	vms_reg_sync_close(s);
}

/* They have to be as of a change that the member which answers does not know yet: it is asked
 * again after a while, not at once and over and over. */
static void one_that_is_behind_is_given_time(void)
{
	struct vms_reg_sync *s;

	start();
	P.one_rev = 2 * FIRST;
	s = vms_reg_sync_open(&P.cat, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	for (unsigned i = 0; i < 20 && P.nasks; i++)
		answer_one();
	CU_ASSERT_EQUAL(P.nasks, 0);
	vms_reg_sync_timer(s, 1100);
	CU_ASSERT_EQUAL(P.nasks, 0);
	vms_reg_sync_timer(s, 5000);
	CU_ASSERT(P.nasks > 0);
	vms_reg_sync_close(s);
}

static const struct vms_test tests[] = {
	VMS_TEST(one_that_is_behind_is_given_time),
	VMS_TEST(gateways_are_watched_from_the_oldest_page_on),
	VMS_TEST(targets_and_accounts_too),
};
VMS_TEST_MAIN("catalog pages", tests)
