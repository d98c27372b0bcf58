// SPDX-License-Identifier: GPL-2.0-only
/* How outcomes of ops are forgotten: what has a key in the index waits for a batch, and
 * nobody goes over those that wait again and again. */
#include "backend/outcome.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

#define SLOTS 200u

static struct vms_outcome *put(struct vms_outcomes *t, uint32_t slot, uint64_t log_pos,
			       uint64_t now_ms)
{
	struct vms_opid op = {.gateway = 1, .incarnation = 7, .slot = slot, .sequence = now_ms};

	return vms_outcome_put(t, slot % 8, &op, 0, 0, 1, log_pos, now_ms);
}

static void those_that_wait_are_looked_at_once(void)
{
	struct vms_meta_batch b = {0};
	struct vms_outcomes t;
	uint64_t looked;

	vms_outcomes_init(&t);
	for (uint32_t s = 0; s < 1000; s++)
		put(&t, s, 5, s + 1);
	CU_ASSERT_EQUAL(vms_outcomes_store(&t, 10, &b), 0);
	CU_ASSERT_EQUAL(vms_outcomes_expire(&t, 2000, NULL), 0);
	CU_ASSERT_EQUAL(t.n, 1000);
	CU_ASSERT_EQUAL(t.looked, 1000);
	for (unsigned i = 0; i < 100; i++)
		vms_outcomes_expire(&t, 2000, NULL);
	CU_ASSERT_EQUAL(t.looked, 1000);
	/* one that has no key yet goes, and it alone is looked at */
	put(&t, 1000, 20, 2000);
	vms_outcomes_expire(&t, 2001, NULL);
	CU_ASSERT_EQUAL(t.n, 1000);
	CU_ASSERT_EQUAL(t.looked, 1001);
	/* the one up to which all has been seen is used again: it is the youngest now */
	put(&t, 999, 30, 2100);
	looked = t.looked;
	vms_outcomes_expire(&t, 2100, NULL);
	CU_ASSERT_EQUAL(t.looked, looked);
	CU_ASSERT_EQUAL(t.n, 1000);
	vms_outcomes_expire(&t, 2100, &b);
	CU_ASSERT_EQUAL(t.n, 1);
	vms_outcomes_expire(&t, 2101, &b);
	CU_ASSERT_EQUAL(t.n, 0);
	CU_ASSERT_PTR_NULL(t.passed);
	vms_meta_batch_free(&b);
	vms_outcomes_close(&t);
}

/* One that is not committed yet keeps its place, and is forgotten in its time when it is. */
static void one_under_way_is_not_passed(void)
{
	struct vms_meta_batch b = {0};
	struct vms_outcomes t;
	struct vms_outcome *o;
	int op;

	vms_outcomes_init(&t);
	put(&t, 1, 5, 1);
	o = put(&t, 2, 50, 2);
	o->pending = &op;
	put(&t, 3, 5, 3);
	vms_outcomes_store(&t, 10, &b);
	vms_outcomes_expire(&t, 100, NULL);
	CU_ASSERT_EQUAL(t.n, 3);
	CU_ASSERT_PTR_EQUAL(t.passed, t.oldest);
	vms_outcome_settle(&t, o, 100);
	vms_outcomes_expire(&t, 100, NULL);
	CU_ASSERT_EQUAL(t.n, 3);
	vms_outcomes_expire(&t, 101, NULL);
	CU_ASSERT_EQUAL(t.n, 2);
	vms_meta_batch_free(&b);
	vms_outcomes_close(&t);
}

/* One that is committed and not told yet stays too, and a copy that is made gets it. */
static void one_that_is_held_is_listed(void)
{
	const struct vms_outcome *list[4];
	struct vms_outcomes t;
	struct vms_outcome *o;
	int op;

	vms_outcomes_init(&t);
	o = put(&t, 2, 50, 2);
	o->pending = &op;
	CU_ASSERT_EQUAL(vms_outcomes_list(&t, o->partition, NULL, list, 4), 0);
	o->held = true;
	CU_ASSERT_EQUAL(vms_outcomes_list(&t, o->partition, NULL, list, 4), 1);
	vms_outcomes_expire(&t, 100, NULL);
	CU_ASSERT_EQUAL(t.n, 1);
	vms_outcome_settle(&t, o, 50);
	CU_ASSERT_FALSE(o->held);
	vms_outcomes_close(&t);
}

/* Against a table that is looked through each time: whatever comes, is stored, settled and
 * dropped, the same ones are there. */
static void the_same_as_looking_through_all(void)
{
	struct {
		bool there, stored, pending;
		uint64_t time_ms, log_pos;
	} m[SLOTS] = {0};
	struct vms_outcomes t;
	struct vms_rng rng;
	int op;

	vms_rng_init(&rng, 3);
	vms_outcomes_init(&t);
	for (uint64_t now = 1; now < 20000; now++) {
		uint32_t s = (uint32_t)vms_rng_below(&rng, SLOTS);
		struct vms_opid id = {.gateway = 1, .incarnation = 7, .slot = s};
		struct vms_outcome *o = vms_outcome_find(&t, s % 8, &id);
		uint64_t what = vms_rng_below(&rng, 100), before = now > 300 ? now - 300 : 0;
		struct vms_meta_batch b = {0};

		CU_ASSERT_EQUAL(o != NULL, m[s].there);
		if (what < 60 && !(o && o->pending)) {
			o = put(&t, s, now, now);
			o->pending = what < 20 ? &op : NULL;
			m[s].there = true;
			m[s].pending = what < 20;
			m[s].time_ms = m[s].log_pos = now;
		} else if (o && o->pending) {
			vms_outcome_settle(&t, o, now);
			m[s].pending = false;
			m[s].time_ms = now;
		} else if (o && what < 70) {
			vms_outcome_drop(&t, o);
			m[s].there = m[s].stored = false;
		} else if (what < 80) {
			uint64_t below = now > 100 ? now - 100 : 0;

			vms_outcomes_store(&t, below, &b);
			for (uint32_t i = 0; i < SLOTS; i++)
				if (m[i].there && m[i].log_pos && m[i].log_pos < below) {
					m[i].stored = true;
					m[i].log_pos = 0;
				}
		}
		vms_outcomes_expire(&t, before, what == 99 ? &b : NULL);
		for (uint32_t i = 0; i < SLOTS; i++)
			if (m[i].there && !m[i].pending && m[i].time_ms < before &&
			    (what == 99 || !m[i].stored))
				m[i].there = m[i].stored = false;
		vms_meta_batch_free(&b);
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct vms_opid id = {.gateway = 1, .incarnation = 7, .slot = i};

		CU_ASSERT_EQUAL(vms_outcome_find(&t, i % 8, &id) != NULL, m[i].there);
	}
	vms_outcomes_close(&t);
}

static const struct vms_test tests[] = {
	VMS_TEST(those_that_wait_are_looked_at_once),
	VMS_TEST(one_under_way_is_not_passed),
	VMS_TEST(one_that_is_held_is_listed),
	VMS_TEST(the_same_as_looking_through_all),
};

VMS_TEST_MAIN("outcome", tests)
