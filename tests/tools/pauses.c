// SPDX-License-Identifier: GPL-2.0-only
/*
 * pauses record: when did this machine give nobody a turn? pauses sum: how long in all,
 * between two moments.
 *
 * Owns a judgement about time limits: what a processor took from everybody is no fault of
 * the programs on it. A thread on each processor that this process may use wants a turn
 * each TICK_MS, of the same priority as everything else, and does nothing in it. Turns that
 * come more than LATE_MS late are pauses, from when it was due to when it came; they are
 * kept in memory (a slow disk is no pause) and written at SIGTERM or SIGINT, a line each:
 * FROM UNTIL CPU, times in ms of the monotonic clock.
 *
 * Pauses of several processors that overlap count once. A program that is slow by itself,
 * waits, or uses its processor up makes none: who has slept gets a turn soon.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS	   10
#define LATE_MS	   50
#define CPUS_MAX   256
#define PAUSES_MAX 100000
#define NS_PER_MS  INT64_C(1000000)

struct pause {
	int64_t from, until; /* ms */
	int cpu;
};

static struct pause list[PAUSES_MAX];
static unsigned n_list;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 * NS_PER_MS + ts.tv_nsec;
}

static void *watch(void *arg)
{
	int cpu = (int)(intptr_t)arg;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	/* without a place of its own it still watches some processor */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	for (;;) {
		int64_t due = now_ns() + TICK_MS * NS_PER_MS, came;
		struct timespec ts = {.tv_sec = due / (1000 * NS_PER_MS),
				      .tv_nsec = due % (1000 * NS_PER_MS)};

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
			;
		came = now_ns();
		if (came - due <= LATE_MS * NS_PER_MS)
			continue;
		pthread_mutex_lock(&lock);
		if (n_list < PAUSES_MAX)
			list[n_list++] = (struct pause){due / NS_PER_MS, came / NS_PER_MS, cpu};
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static int record(const char *file)
{
	cpu_set_t all;
	sigset_t set;
	FILE *f;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (sched_getaffinity(0, sizeof(all), &all)) {
		perror("pauses: sched_getaffinity");
		return 3;
	}
	for (int cpu = 0; cpu < CPU_SETSIZE && cpu < CPUS_MAX; cpu++) {
		pthread_t t;

		if (!CPU_ISSET(cpu, &all))
			continue;
		if (pthread_create(&t, NULL, watch, (void *)(intptr_t)cpu)) {
			fprintf(stderr, "pauses: no thread for processor %d\n", cpu);
			return 3;
		}
	}
	sigwait(&set, &sig);
	f = fopen(file, "w");
	if (!f) {
		fprintf(stderr, "pauses: %s: %s\n", file, strerror(errno));
		return 3;
	}
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < n_list; i++)
		fprintf(f, "%" PRId64 " %" PRId64 " %d\n", list[i].from, list[i].until,
			list[i].cpu);
	return fclose(f) ? 3 : 0;
}

static int by_from(const void *a, const void *b)
{
	const struct pause *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

static bool number(const char *s, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(s, &end, 10);
	return !errno && end != s && !*end;
}

/* Prints: ms of all pauses, ms of the longest one. One that reaches out counts as far as it
 * lies between, for the sum, and whole as the longest. */
static int sum(const char *file, const char *from_text, const char *until_text)
{
	int64_t from, until, total = 0, longest = 0, end;
	char line[128];
	FILE *f;

	if (!number(from_text, &from) || !number(until_text, &until)) {
		fprintf(stderr, "pauses: FROM and UNTIL are ms: '%s', '%s'\n", from_text,
			until_text);
		return 2;
	}
	f = fopen(file, "r");
	if (!f) {
		fprintf(stderr, "pauses: %s: %s\n", file, strerror(errno));
		return 3;
	}
	while (n_list < PAUSES_MAX && fgets(line, sizeof(line), f)) {
		struct pause *p = &list[n_list];

		if (sscanf(line, "%" SCNd64 " %" SCNd64 " %d", &p->from, &p->until, &p->cpu) != 3 ||
		    p->until < p->from) {
			fprintf(stderr, "pauses: %s: line %u is none: %s", file, n_list + 1, line);
			fclose(f);
			return 3;
		}
		n_list++;
	}
	fclose(f);
	qsort(list, n_list, sizeof(list[0]), by_from);
	end = from; /* counted as far as here */
	for (unsigned i = 0; i < n_list; i++) {
		const struct pause *p = &list[i];
		int64_t a = p->from > end ? p->from : end;
		int64_t b = p->until < until ? p->until : until;

		if (p->until <= from || p->from >= until)
			continue;
		if (p->until - p->from > longest)
			longest = p->until - p->from;
		if (b > a) {
			total += b - a;
			end = b;
		}
	}
	printf("%" PRId64 " %" PRId64 "\n", total, longest);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "record"))
		return record(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "sum"))
		return sum(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: pauses record FILE           until SIGTERM or SIGINT\n"
			"       pauses sum FILE FROM UNTIL   ms in all, ms of the longest\n");
	return 2;
}
