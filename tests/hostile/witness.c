// SPDX-License-Identifier: GPL-2.0-only
/*
 * The well-behaved session: a process of its own that writes and reads back a few blocks
 * and keeps its latencies in memory shared with the runner.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define OPS_MAX	     (1u << 17)
#define WITNESS_LBA  4096
#define WITNESS_SPAN 64
#define PAUSE_US     1500
#define TASK_ABORTED 0x40

static struct shared {
	volatile unsigned ops;
	volatile int failed, resets, stop;
	char why[256];
	uint32_t lat_us[OPS_MAX];
} * w;
static pid_t pid;

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* One command until it is GOOD: unit attentions are lawful, and so are aborts where the
 * script has them. Whatever the others do, each command has one answer. */
static int do_rw(struct ini *s, int op, uint32_t lba, uint8_t *buf)
{
	int64_t end = now_ms() + ANSWER_MS;

	while (now_ms() < end) {
		uint32_t itt = rw10(s, op, lba, 1, buf, op == 0x2a ? BLOCK : 0);
		int st = status_of(s, itt, op == 0x28 ? buf : NULL, ANSWER_MS);

		if (st <= 0)
			return st;
		if (st == TASK_ABORTED && !w->resets)
			return fail("a command was aborted, by nobody");
	}
	return fail("not one good answer in %d ms", ANSWER_MS);
}

static int run(void)
{
	uint8_t buf[BLOCK], back[BLOCK];
	struct ini s;

	if (login_ready(&s, 0x7001, true))
		return -1;
	for (unsigned i = 0; !w->stop; i++) {
		uint32_t lba = WITNESS_LBA + i % WITNESS_SPAN;
		int64_t t = now_us();

		memset(buf, (int)(i * 7 + 1), sizeof(buf));
		if (do_rw(&s, 0x2a, lba, buf) || do_rw(&s, 0x28, lba, back))
			return -1;
		if (memcmp(buf, back, BLOCK))
			return fail("block %u is not what was written", lba);
		w->lat_us[i % OPS_MAX] = (uint32_t)(now_us() - t);
		w->ops = i + 1;
		usleep(PAUSE_US);
	}
	ini_close(&s);
	return 0;
}

int witness_start(void)
{
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		return fail("mmap");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return fail("fork");
	if (!pid) {
		int rc = run();

		if (rc) {
			memcpy(w->why, why, sizeof(w->why));
			w->failed = 1;
		}
		_exit(rc ? 1 : 0);
	}
	return 0;
}

void witness_stop(void)
{
	w->stop = 1;
	waitpid(pid, NULL, 0);
}

void witness_resets(bool on)
{
	w->resets = on;
}

unsigned witness_ops(void)
{
	return w->ops;
}

int witness_goes_on(unsigned n, int ms)
{
	int64_t end = now_ms() + ms;
	unsigned from = w->ops;

	while (w->ops < from + n && !w->failed && now_ms() < end)
		usleep(1000);
	if (w->failed)
		return fail("the well-behaved session: %.200s", w->why);
	return w->ops >= from + n ? 0 : fail("the well-behaved session stands still");
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t percentile(const struct ops_range *r, unsigned nr, unsigned per_mille)
{
	unsigned n = 0, k = 0;
	uint32_t *v, x;

	for (unsigned i = 0; i < nr; i++)
		n += r[i].to - r[i].from;
	if (!n || r[nr - 1].to - r[0].from > OPS_MAX)
		return 0;
	v = malloc(n * sizeof(*v));
	for (unsigned i = 0; i < nr; i++)
		for (unsigned j = r[i].from; j < r[i].to; j++)
			v[k++] = w->lat_us[j % OPS_MAX];
	qsort(v, n, sizeof(*v), by_value);
	x = v[per_mille * (n - 1) / 1000];
	free(v);
	return x;
}

uint32_t witness_p99_of(const struct ops_range *r, unsigned n)
{
	return percentile(r, n, 990);
}

uint32_t witness_p99(unsigned from, unsigned to)
{
	return percentile(&(struct ops_range){from, to}, 1, 990);
}

uint32_t witness_worst(unsigned from, unsigned to)
{
	return percentile(&(struct ops_range){from, to}, 1, 1000);
}
