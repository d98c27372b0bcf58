// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs hostile initiators against a tgtd whose LUN may be overwritten.
 *
 *   hostile [-p TGTD_PID] [-c CHAP_TARGET USER SECRET] [-b SECONDS] HOST PORT TARGET LUN
 * [SCRIPT]... hostile --list
 *
 * A line for each script: what the target must answer is in the script; afterwards a
 * well-behaved session, which was there all the time, must have gone on, and a new one
 * must get in. For the heavy ones the line tells its 99th percentile before and during
 * (a ratio: a busy machine says nothing else). Exit status 1 if a script failed.
 * -b: only the heavy ones, each once a second for SECONDS, and what that does to the
 * well-behaved session's 99th percentile (bursts.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/hostile/hostile.h"

#define BASE_OPS 150 /* of the well-behaved session alone, before the scripts */

const char *chap_target, *chap_user, *chap_secret;
int tgtd_pid;

static const struct {
	const char *name;
	const struct hostile *scripts;
} themes[] = {
	{"data", data_scripts},	  {"pdu", pdu_scripts},	  {"order", order_scripts},
	{"login", login_scripts}, {"text", text_scripts}, {"chap", chap_scripts},
	{"scsi", scsi_scripts},	  {"tmf", tmf_scripts},	  {"session", session_scripts},
	{"flood", flood_scripts},
};

static bool wanted(const char *theme, const char *name, char **args, int n)
{
	char full[96];

	snprintf(full, sizeof(full), "%s.%s", theme, name);
	for (int i = 0; i < n; i++)
		if (!strcmp(args[i], theme) || !strcmp(args[i], full))
			return true;
	return n == 0;
}

static int run_one(const char *theme, const struct hostile *h, uint32_t base_p99)
{
	unsigned from = witness_ops(), to;
	int64_t t0 = now_ms();
	char more[96] = "";
	int rc;

	why[0] = 0;
	witness_resets(h->flags & HOSTILE_RESETS);
	rc = h->fn();
	to = witness_ops();
	if (!rc)
		rc = witness_goes_on(5, ANSWER_MS);
	if (!rc && still_serving())
		rc = fail("a new session does not get in: %.200s", why);
	witness_resets(false);
	if (h->flags & HOSTILE_HEAVY && to > from)
		snprintf(more, sizeof(more), " (p99 of the other session x%.1f, worst %u ms)",
			 (double)witness_p99(from, to) / (base_p99 ? base_p99 : 1),
			 witness_worst(from, to) / 1000);
	printf("%s %s.%s%s%s%s [%d ms]\n", rc ? "FAILED" : "ok", theme, h->name, rc ? ": " : "",
	       rc ? why : "", more, (int)(now_ms() - t0));
	fflush(stdout);
	return rc != 0;
}

int main(int argc, char **argv)
{
	unsigned ran = 0, failed = 0, burst_s = 0;
	uint32_t base;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t t = 0; t < NR(themes); t++)
			for (const struct hostile *h = themes[t].scripts; h->name; h++)
				printf("%s.%s\n", themes[t].name, h->name);
		return 0;
	}
	for (argv++, argc--; argc > 1 && argv[0][0] == '-';) {
		if (argv[0][1] == 'p') {
			tgtd_pid = atoi(argv[1]);
			argv += 2, argc -= 2;
		} else if (argv[0][1] == 'c' && argc > 3) {
			chap_target = argv[1], chap_user = argv[2], chap_secret = argv[3];
			argv += 4, argc -= 4;
		} else if (argv[0][1] == 'b' && atoi(argv[1]) > 0) {
			burst_s = (unsigned)atoi(argv[1]);
			argv += 2, argc -= 2;
		} else {
			break;
		}
	}
	if (argc < 4) {
		fprintf(stderr,
			"usage: hostile [-p PID] [-c CHAP_TARGET USER SECRET] "
			"[-b SECONDS] HOST PORT TARGET LUN [SCRIPT]...\n       hostile --list\n");
		return 2;
	}
	host = argv[0], port = argv[1], target = argv[2], lun_nr = (unsigned)atoi(argv[3]);
	if (witness_start() || witness_goes_on(BASE_OPS, 20000)) {
		printf("FAILED before any script: %s\n", why);
		return 1;
	}
	base = witness_p99(witness_ops() - BASE_OPS, witness_ops());
	if (burst_s && bursts_begin()) {
		printf("FAILED before any burst: %s\n", why);
		return 1;
	}
	for (size_t t = 0; t < NR(themes); t++)
		for (const struct hostile *h = themes[t].scripts; h->name; h++)
			if (wanted(themes[t].name, h->name, argv + 4, argc - 4) &&
			    (!burst_s || h->flags & HOSTILE_HEAVY)) {
				ran++;
				failed += burst_s ? bursts_run(themes[t].name, h, burst_s) != 0
						  : (unsigned)run_one(themes[t].name, h, base);
			}
	if (burst_s && ran && bursts_end())
		failed++;
	witness_stop();
	printf("%u scripts, %u failed; the other session did %u writes and reads\n", ran, failed,
	       witness_ops());
	return failed || !ran ? 1 : 0;
}
