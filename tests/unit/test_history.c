// SPDX-License-Identifier: GPL-2.0-only
/* The checker of recorded histories, with histories made by hand: right ones, wrong
 * ones, and files that are no histories; and many of simulated registers, right and
 * with one answer falsified. */
#include "tests/history/history.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum verdict { RIGHT, WRONG, BAD_FILE };

static enum verdict verdict_of(const char *text, struct vms_history_result *r, char **told)
{
	struct vms_history *h = vms_history_new();
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	size_t len = 0;
	FILE *err = open_memstream(told, &len);
	enum verdict v = BAD_FILE;

	CU_ASSERT_PTR_NOT_NULL_FATAL(h);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	if (!vms_history_add(h, f, "t", err)) {
		CU_ASSERT_EQUAL(vms_history_check(h, r, err), 0);
		v = r->wrong ? WRONG : RIGHT;
		CU_ASSERT_EQUAL(r->undecided, 0);
	}
	fclose(f);
	fclose(err);
	vms_history_free(h);
	return v;
}

static void expect_(enum verdict want, const char *events, int line)
{
	struct vms_history_result r = {0};
	char *text = NULL, *told = NULL;
	enum verdict got;

	CU_ASSERT_FATAL(asprintf(&text, "vmstore-history 1 unit 4096\n%s", events) > 0);
	got = verdict_of(text, &r, &told);
	if (got != want)
		fprintf(stderr, "line %d: verdict %d, want %d: %s\n", line, got, want, told);
	CU_ASSERT_EQUAL(got, want);
	/* whoever is accused is told of */
	CU_ASSERT_EQUAL(want == RIGHT, !*told);
	free(told);
	free(text);
}
#define EXPECT(want, events) expect_(want, events, __LINE__)

static void one_after_the_other(void)
{
	EXPECT(RIGHT, "i 1 10 read 0 1\no 1 20 ok 0\n");
	EXPECT(RIGHT, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 read 0 1\no 2 40 ok 7\n");
	/* lost */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 read 0 1\no 2 40 ok 0\n");
	/* stale */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 write 0 1 8\no 2 40 ok\n"
		      "i 3 50 read 0 1\no 3 60 ok 7\n");
	/* from nowhere */
	EXPECT(WRONG, "i 1 10 read 0 1\no 1 20 ok 5\n");
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 read 0 1\no 2 40 ok torn\n");
	/* from the future */
	EXPECT(WRONG, "i 2 10 read 0 1\no 2 20 ok 7\ni 1 30 write 0 1 7\no 1 40 ok\n");
	/* written elsewhere */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 read 1 1\no 2 40 ok 7\n");
}

static void at_the_same_time(void)
{
	/* two writes: either order, but only one */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\ni 2 11 write 0 1 8\no 1 20 ok\no 2 21 ok\n"
		      "i 3 30 read 0 1\no 3 40 ok 7\ni 4 50 read 0 1\no 4 60 ok 7\n");
	EXPECT(WRONG, "i 1 10 write 0 1 7\ni 2 11 write 0 1 8\no 1 20 ok\no 2 21 ok\n"
		      "i 3 30 read 0 1\no 3 40 ok 7\ni 4 50 read 0 1\no 4 60 ok 8\n");
	/* a read may be before or behind a write that is under way, but two in turn not back */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\ni 2 11 read 0 1\no 2 12 ok 0\ni 3 13 read 0 1\n"
		      "o 3 14 ok 7\no 1 20 ok\n");
	EXPECT(WRONG, "i 1 10 write 0 1 7\ni 2 11 read 0 1\no 2 12 ok 7\ni 3 13 read 0 1\n"
		      "o 3 14 ok 0\no 1 20 ok\n");
	/* new, then old, both reads at the same time: some order */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\ni 2 11 read 0 1\ni 3 12 read 0 1\no 2 13 ok 7\n"
		      "o 3 14 ok 0\no 1 20 ok\n");
	/* the write of a pair that must be first was read behind the other */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 21 write 0 1 8\ni 3 22 read 0 1\n"
		      "o 3 23 ok 8\ni 4 24 read 0 1\no 4 25 ok 7\no 2 30 ok\n");
	/* what touches in time is at the same time */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 20 read 0 1\no 2 30 ok 0\n");
}

static void unknown_outcomes(void)
{
	const char *never = "i 1 10 write 0 1 7\no 1 20 unknown 100\ni 2 30 read 0 1\no 2 40 ok 0\n"
			    "i 3 200 read 0 1\no 3 210 ok 0\n";
	const char *late = "i 1 10 write 0 1 7\no 1 20 unknown 100\ni 2 30 read 0 1\no 2 40 ok 0\n"
			   "i 3 90 read 0 1\no 3 200 ok 7\ni 4 300 read 0 1\no 4 310 ok 7\n";

	EXPECT(RIGHT, never);
	EXPECT(RIGHT, late);
	/* it took effect between two reads that both came after its bound */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 unknown 100\ni 2 130 read 0 1\no 2 140 ok 0\n"
		      "i 3 150 read 0 1\no 3 160 ok 7\n");
	/* only nothing is known of when */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\no 1 20 unknown\ni 2 130 read 0 1\no 2 140 ok 0\n"
		      "i 3 150 read 0 1\no 3 160 ok 7\n");
	/* no outcome in the file is one of these too */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\ni 2 130 read 0 1\no 2 140 ok 0\n"
		      "i 3 150 read 0 1\no 3 160 ok 7\n");
	/* it took effect, so it cannot do so again */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 unknown\ni 2 30 read 0 1\no 2 40 ok 7\n"
		      "i 3 50 write 0 1 8\no 3 60 ok\ni 4 70 read 0 1\no 4 80 ok 7\n");
	/* behind a write that came later: late, not again */
	EXPECT(RIGHT, "i 1 10 write 0 1 7\no 1 20 unknown 100\ni 3 50 write 0 1 8\no 3 60 ok\n"
		      "i 4 70 read 0 1\no 4 80 ok 7\n");
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 unknown 45\ni 3 50 write 0 1 8\no 3 60 ok\n"
		      "i 4 70 read 0 1\no 4 80 ok 7\n");
}

static void refused(void)
{
	EXPECT(RIGHT, "i 1 10 write 0 1 7\no 1 20 fail\ni 2 30 read 0 1\no 2 40 ok 0\n");
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 fail\ni 2 30 read 0 1\no 2 40 ok 7\n");
	/* even while it was under way */
	EXPECT(WRONG, "i 1 10 write 0 1 7\ni 2 12 read 0 1\no 2 14 ok 7\no 1 20 fail\n");
}

static void zeros(void)
{
	EXPECT(RIGHT, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 zero 0 1\no 2 40 ok\n"
		      "i 3 50 read 0 1\no 3 60 ok 0\n");
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 zero 0 1\no 2 40 ok\n"
		      "i 3 50 read 0 1\no 3 60 ok 7\n");
	/* two that write zeros at the two sides of a write: which of them was it? */
	EXPECT(RIGHT, "i 1 10 zero 0 1\ni 2 11 write 0 1 7\ni 3 12 zero 0 1\n"
		      "i 4 13 read 0 1\no 4 14 ok 0\ni 5 15 read 0 1\no 5 16 ok 7\n"
		      "i 6 17 read 0 1\no 6 18 ok 0\no 1 20 ok\no 2 21 ok\no 3 22 ok\n");
	EXPECT(WRONG, "i 1 10 zero 0 1\ni 2 11 write 0 1 7\n"
		      "i 5 15 read 0 1\no 5 16 ok 7\ni 6 17 read 0 1\no 6 18 ok 0\n"
		      "i 7 19 read 0 1\no 7 20 ok 7\no 1 23 ok\no 2 24 ok\n");
}

static void compare_and_write(void)
{
	EXPECT(RIGHT, "i 1 10 caw 0 1 0 7\no 1 20 ok\ni 2 30 caw 0 1 7 8\no 2 40 ok\n"
		      "i 3 50 read 0 1\no 3 60 ok 8\n");
	/* both won */
	EXPECT(WRONG, "i 1 10 caw 0 1 0 7\ni 2 11 caw 0 1 0 8\no 1 20 ok\no 2 21 ok\n");
	EXPECT(RIGHT, "i 1 10 caw 0 1 0 7\ni 2 11 caw 0 1 0 8\no 1 20 ok\no 2 21 miscompare\n");
	/* it should have matched */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 caw 0 1 7 8\no 2 40 miscompare\n");
	/* one whose outcome is unknown explains another's miscompare, even if never read */
	EXPECT(RIGHT,
	       "i 1 10 caw 0 1 0 7\no 1 12 unknown 100\ni 2 20 caw 0 1 0 8\no 2 30 miscompare\n");
	/* what did not match wrote nothing */
	EXPECT(WRONG, "i 1 10 write 0 1 7\no 1 20 ok\ni 2 30 caw 0 1 6 8\no 2 40 miscompare\n"
		      "i 3 50 read 0 1\no 3 60 ok 8\n");
	/* of something in between nobody may see two */
	EXPECT(WRONG, "i 1 10 write 0 1 5\no 1 11 ok\ni 2 12 caw 0 1 5 6\ni 3 13 write 0 1 7\n"
		      "i 4 14 read 0 1\no 4 15 ok 7\ni 5 16 read 0 1\no 5 17 ok 6\no 2 20 ok\no 3 "
		      "21 ok\n");
}

static void several_units(void)
{
	/* each unit is a register of its own */
	EXPECT(RIGHT, "i 1 10 write 0 2 7\no 1 50 ok\ni 2 20 read 0 2\no 2 30 ok 7 0\n");
	EXPECT(WRONG, "i 1 10 write 0 2 7\no 1 15 ok\ni 2 20 read 0 2\no 2 30 ok 7 0\n");
	EXPECT(RIGHT, "i 1 10 write 0 3 7\no 1 15 ok\ni 2 20 write 1 1 8\no 2 30 ok\n"
		      "i 3 40 read 0 4\no 3 50 ok 7 8 7 0\n");
}

static void damaged_files(void)
{
	struct vms_history_result r;
	char *told = NULL;

	CU_ASSERT_EQUAL(verdict_of("hello\n", &r, &told), BAD_FILE);
	free(told);
	EXPECT(BAD_FILE, "x\n");
	EXPECT(BAD_FILE, "i 1 10 jump 0 1\n");
	EXPECT(BAD_FILE, "i 1 10 read 0 0\n");
	EXPECT(BAD_FILE, "i 1 10 read 0 65\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1 0\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1 7 7\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1 7\ni 2 11 write 0 1 7\n");
	EXPECT(BAD_FILE, "i 1 10 read 0 1\ni 1 11 read 0 1\n");
	EXPECT(BAD_FILE, "o 1 10 ok\n");
	EXPECT(BAD_FILE, "i 1 10 read 0 1\no 1 9 ok 0\n");
	EXPECT(BAD_FILE, "i 1 10 read 0 2\no 1 12 ok 0\n");
	EXPECT(BAD_FILE, "i 1 10 read 0 1\no 1 12 ok 0 0\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1 7\no 1 12 ok\no 1 13 ok\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1 7\no 1 12 miscompare\n");
	EXPECT(BAD_FILE, "i 1 10 write 0 1 7\no 1 12 unknown 11\n");
	/* the recorder was killed: its last line counts for nothing */
	EXPECT(RIGHT, "# a remark\ni 1 10 write 0 1 7\ni 2 11 wri");
}

/* A register, eight clients, operations that take effect at a moment of their own:
 * right by construction. Then one answer is falsified to a value that was overwritten
 * long before: wrong by construction. */
static void simulated(void)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct client {
			uint64_t id, from, at, to, value, seen;
			unsigned kind; /* 0 idle, 1 read, 2 write, 3 unknown write */
			bool done;
		} c[8] = {0};
		uint64_t reg = 0, old = 0, id = 0, first_old = 0;
		struct vms_rng g;
		char *text = NULL, *told = NULL;
		size_t len = 0;
		FILE *f = open_memstream(&text, &len);
		struct vms_history_result r = {0};
		bool falsify = seed % 2 == 0, falsified = false;

		vms_rng_init(&g, seed);
		fprintf(f, "vmstore-history 1 unit 4096\n");
		for (uint64_t t = 1; t < 3000; t++) {
			for (unsigned i = 0; i < 8; i++) {
				struct client *k = &c[i];

				if (k->kind && !k->done && t >= k->at) {
					k->done = true;
					if (k->kind == 1) {
						k->seen = reg;
					} else if (k->kind == 2 || k->value % 2) {
						if (t > 1000 && !first_old)
							first_old = old;
						old = reg;
						reg = k->value;
					}
				}
				if (k->kind && t >= k->to) {
					uint64_t seen = k->seen;

					if (falsify && !falsified && k->kind == 1 && t > 2000 &&
					    first_old) {
						seen = first_old;
						falsified = true;
					}
					if (k->kind == 1)
						fprintf(f,
							"o %" PRIu64 " %" PRIu64 " ok %" PRIu64
							"\n",
							k->id, t, seen);
					else if (k->kind == 2)
						fprintf(f, "o %" PRIu64 " %" PRIu64 " ok\n", k->id,
							t);
					else
						fprintf(f,
							"o %" PRIu64 " %" PRIu64 " unknown %" PRIu64
							"\n",
							k->id, k->from + 1, t);
					k->kind = 0;
				} else if (!k->kind && vms_rng_u64(&g) % 4 == 0) {
					*k = (struct client){.id = ++id, .from = t, .value = id};
					k->kind = 1 + (unsigned)(vms_rng_u64(&g) % 20 / 9);
					k->at = t + 1 + vms_rng_u64(&g) % 12;
					k->to = k->at + vms_rng_u64(&g) % 12;
					fprintf(f,
						k->kind == 1 ? "i %" PRIu64 " %" PRIu64
							       " read 0 1\n"
							     : "i %" PRIu64 " %" PRIu64
							       " write 0 1 %" PRIu64 "\n",
						k->id, t, k->value);
				}
			}
		}
		fclose(f);
		CU_ASSERT_EQUAL(verdict_of(text, &r, &told), falsified ? WRONG : RIGHT);
		CU_ASSERT_EQUAL(falsify, falsified);
		CU_ASSERT(r.ops > 900);
		free(text);
		free(told);
	}
}

/* Every order of a few operations, tried one by one: what the checker must agree with. */
struct small {
	unsigned kind; /* 0 read, 1 write, 2 caw */
	enum vms_history_outcome outcome;
	uint64_t start, end, value, expect;
};

static bool some_order(const struct small *o, unsigned n, unsigned done, uint64_t value)
{
	bool all = true;

	for (unsigned i = 0; i < n; i++) {
		bool first = true;
		uint64_t next = value;

		if (done >> i & 1 || o[i].outcome == VMS_HISTORY_FAIL)
			continue;
		if (o[i].outcome != VMS_HISTORY_UNKNOWN)
			all = false;
		/* whoever ended before it began must be over, or never happen */
		for (unsigned k = 0; k < n; k++)
			if (!(done >> k & 1) && o[k].outcome != VMS_HISTORY_FAIL &&
			    o[k].outcome != VMS_HISTORY_UNKNOWN && o[k].end < o[i].start)
				first = false;
		/* nor may one of unknown outcome come behind what began after its bound */
		for (unsigned k = 0; k < n && o[i].outcome == VMS_HISTORY_UNKNOWN; k++)
			if (done >> k & 1 && o[k].start > o[i].end)
				first = false;
		if (!first)
			continue;
		if (o[i].outcome == VMS_HISTORY_MISCOMPARE) {
			if (o[i].expect == value)
				continue;
		} else if (o[i].kind == 0) {
			if (o[i].outcome == VMS_HISTORY_OK && o[i].expect != value)
				continue;
		} else {
			if (o[i].kind == 2 && o[i].expect != value)
				continue;
			next = o[i].value;
		}
		if (some_order(o, n, done | 1u << i, next))
			return true;
	}
	return all;
}

static void agrees_with_trying_every_order(void)
{
	unsigned right = 0, wrong = 0;

	for (uint64_t seed = 1; seed <= 30000; seed++) {
		struct small o[8];
		unsigned n = 4 + seed % 4;
		struct vms_rng g;
		char text[2000] = "vmstore-history 1 unit 512\n", *told = NULL;
		struct vms_history_result r = {0};
		bool want;

		vms_rng_init(&g, seed);
		for (unsigned i = 0; i < n; i++) {
			size_t at = strlen(text);
			unsigned dice = (unsigned)(vms_rng_u64(&g) % 10);

			o[i] = (struct small){.kind = dice < 4 ? 0 : dice < 8 ? 1 : 2};
			o[i].start = 1 + vms_rng_u64(&g) % 30;
			o[i].end = o[i].start + vms_rng_u64(&g) % 12;
			o[i].value = o[i].kind == 1 && dice == 7 ? 0 : i + 1;
			o[i].expect = vms_rng_u64(&g) % 3 ? vms_rng_u64(&g) % (n + 1) : 0;
			dice = (unsigned)(vms_rng_u64(&g) % 10);
			o[i].outcome = dice < 6	  ? VMS_HISTORY_OK
				       : dice < 8 ? VMS_HISTORY_UNKNOWN
						  : VMS_HISTORY_FAIL;
			if (o[i].kind == 2 && dice > 3 && dice < 8)
				o[i].outcome = VMS_HISTORY_MISCOMPARE;
			if (o[i].kind == 0)
				snprintf(text + at, sizeof(text) - at,
					 "i %u %" PRIu64 " read 0 1\n", i, o[i].start);
			else if (o[i].kind == 2)
				snprintf(text + at, sizeof(text) - at,
					 "i %u %" PRIu64 " caw 0 1 %" PRIu64 " %" PRIu64 "\n", i,
					 o[i].start, o[i].expect, o[i].value);
			else if (o[i].value)
				snprintf(text + at, sizeof(text) - at,
					 "i %u %" PRIu64 " write 0 1 %" PRIu64 "\n", i, o[i].start,
					 o[i].value);
			else
				snprintf(text + at, sizeof(text) - at,
					 "i %u %" PRIu64 " zero 0 1\n", i, o[i].start);
			at = strlen(text);
			if (o[i].outcome == VMS_HISTORY_OK && o[i].kind == 0)
				snprintf(text + at, sizeof(text) - at,
					 "o %u %" PRIu64 " ok %" PRIu64 "\n", i, o[i].end,
					 o[i].expect);
			else if (o[i].outcome == VMS_HISTORY_UNKNOWN)
				snprintf(text + at, sizeof(text) - at,
					 "o %u %" PRIu64 " unknown %" PRIu64 "\n", i, o[i].start,
					 o[i].end);
			else
				snprintf(text + at, sizeof(text) - at, "o %u %" PRIu64 " %s\n", i,
					 o[i].end,
					 o[i].outcome == VMS_HISTORY_OK	    ? "ok"
					 : o[i].outcome == VMS_HISTORY_FAIL ? "fail"
									    : "miscompare");
		}
		want = some_order(o, n, 0, 0);
		right += want;
		wrong += !want;
		if (verdict_of(text, &r, &told) != (want ? RIGHT : WRONG)) {
			CU_FAIL("the checker and trying every order disagree");
			fprintf(stderr, "some order: %d\n%s%s\n", want, text, told);
			free(told);
			return;
		}
		free(told);
	}
	CU_ASSERT(right > 3000 && wrong > 3000);
}

static const struct vms_test tests[] = {
	VMS_TEST(one_after_the_other),
	VMS_TEST(at_the_same_time),
	VMS_TEST(unknown_outcomes),
	VMS_TEST(refused),
	VMS_TEST(zeros),
	VMS_TEST(compare_and_write),
	VMS_TEST(several_units),
	VMS_TEST(damaged_files),
	VMS_TEST(simulated),
	VMS_TEST(agrees_with_trying_every_order),
};
VMS_TEST_MAIN("history", tests)
