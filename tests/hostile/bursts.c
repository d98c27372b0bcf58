// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a burst costs the well-behaved session: a heavy script once a second, and that
 * session's 99th percentile over the whole time and over its operations that met a burst,
 * both against the time before without any.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define EACH_MS	   1000
#define BASE_MS	   5000
#define BURSTS_MAX 600u
#define WANTED	   2.0

static uint32_t base_us; /* p99 without bursts */
static struct {
	double x;
	char name[96];
} most[2]; /* over all, within */

static int rest_until(int64_t end)
{
	while (now_ms() < end) {
		if (witness_goes_on(1, ANSWER_MS))
			return -1;
		usleep(1000);
	}
	return 0;
}

static double note(int what, uint32_t p99_us, const char *name)
{
	double x = (double)p99_us / (base_us ? base_us : 1);

	if (x > most[what].x) {
		most[what].x = x;
		snprintf(most[what].name, sizeof(most[what].name), "%s", name);
	}
	return x;
}

int bursts_begin(void)
{
	unsigned from = witness_ops();

	if (rest_until(now_ms() + BASE_MS))
		return -1;
	base_us = witness_p99(from, witness_ops());
	printf("without bursts: p99 %u us of %u operations\n", base_us, witness_ops() - from);
	fflush(stdout);
	return 0;
}

int bursts_run(const char *theme, const struct hostile *h, unsigned seconds)
{
	int64_t t0 = now_ms(), end = t0 + 1000ll * seconds, ms = 0;
	struct ops_range r[BURSTS_MAX];
	unsigned n = 0, all = witness_ops(), within = 0;
	double over_all, during;
	char name[96];

	snprintf(name, sizeof(name), "%s.%s", theme, h->name);
	while (now_ms() < end && n < BURSTS_MAX) {
		int64_t from_ms = now_ms();

		why[0] = 0;
		r[n].from = witness_ops();
		witness_resets(h->flags & HOSTILE_RESETS);
		if (h->fn() || witness_goes_on(2, ANSWER_MS)) {
			printf("FAILED %s: %s\n", name, why);
			return -1;
		}
		/* the one that was under way when the burst ended is among them */
		r[n].to = witness_ops();
		within += r[n].to - r[n].from;
		n++;
		ms += now_ms() - from_ms;
		if (rest_until(from_ms + EACH_MS < end ? from_ms + EACH_MS : end))
			return -1;
		witness_resets(false);
	}
	over_all = note(0, witness_p99(all, witness_ops()), name);
	during = note(1, witness_p99_of(r, n), name);
	printf("burst %s: %u of %d ms in %d ms; p99 of the other session x%.2f over all %u "
	       "operations, x%.2f of the %u that met one, worst %u ms\n",
	       name, n, (int)(ms / (n ? n : 1)), (int)(now_ms() - t0), over_all,
	       witness_ops() - all, during, within, witness_worst(all, witness_ops()) / 1000);
	fflush(stdout);
	return 0;
}

int bursts_end(void)
{
	unsigned from = witness_ops();

	if (rest_until(now_ms() + BASE_MS))
		return -1;
	printf("without bursts, at the end: p99 %u us\n", witness_p99(from, witness_ops()));
	printf("most: x%.2f over all (%s), x%.2f of those that met a burst (%s); at most x%.2f "
	       "over "
	       "all is wanted: %s\n",
	       most[0].x, most[0].name, most[1].x, most[1].name, WANTED,
	       most[0].x <= WANTED ? "met" : "not met");
	return 0;
}
