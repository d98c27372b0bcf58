// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench: clock, CPU accounting, data, argument parsing.
 *
 * Server CPU comes from the CPU clocks of the named processes (nanoseconds),
 * or from the whole machine: busy time of /proc/stat minus this process minus
 * an idle baseline of the same run, which also counts kernel work done
 * outside any process.
 */
#include "utils/bench/bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "utils/lib/size.h"

uint64_t vms_bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void vms_bench_err(const char *fmt, ...)
{
	va_list ap;

	fputs("vmstore-bench: error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static double machine_busy_s(void)
{
	/* user nice system idle iowait irq softirq steal */
	unsigned long long v[8] = {0};
	FILE *f = fopen("/proc/stat", "re");
	double ticks;

	if (!f)
		return 0;
	if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
		   &v[4], &v[5], &v[6], &v[7]) < 4)
		memset(v, 0, sizeof(v));
	fclose(f);
	ticks = (double)(v[0] + v[1] + v[2] + v[5] + v[6]);
	return ticks / (double)sysconf(_SC_CLK_TCK);
}

static double tv_s(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

int vms_bench_cpu_now(struct vms_bench_cpu *c, const struct vms_bench_pids *pids)
{
	struct rusage ru;

	c->wall_ns = vms_bench_now();
	c->machine_s = machine_busy_s();
	getrusage(RUSAGE_SELF, &ru);
	c->client_s = tv_s(ru.ru_utime) + tv_s(ru.ru_stime);
	getrusage(RUSAGE_CHILDREN, &ru);
	c->client_s += tv_s(ru.ru_utime) + tv_s(ru.ru_stime);
	c->server_s = 0;
	for (unsigned i = 0; pids && i < pids->n; i++) {
		clockid_t clk;
		struct timespec ts;
		int err = clock_getcpuclockid(pids->pid[i], &clk);

		if (err || clock_gettime(clk, &ts)) {
			vms_bench_err("server process %d: %s", pids->pid[i],
				      strerror(err ? err : errno));
			return -1;
		}
		c->server_s += (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
	}
	return 0;
}

/* splitmix64: one multiply chain per word, full period, any seed. */
uint64_t vms_bench_rand(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static void fill_random(uint64_t *state, void *buf, size_t len_bytes)
{
	unsigned char *p = buf;

	while (len_bytes >= 8) {
		uint64_t v = vms_bench_rand(state);

		memcpy(p, &v, 8);
		p += 8;
		len_bytes -= 8;
	}
	if (len_bytes) {
		uint64_t v = vms_bench_rand(state);

		memcpy(p, &v, len_bytes);
	}
}

#define DUP_POOL_CHUNKS 1024u

void vms_bench_fill(struct vms_bench_gen *g, void *buf, size_t len_bytes)
{
	unsigned char *p = buf;

	if (g->kind == VMS_BENCH_ZERO) {
		memset(buf, 0, len_bytes);
		return;
	}
	if (g->kind == VMS_BENCH_UNIQUE) {
		fill_random(&g->state, buf, len_bytes);
		return;
	}
	while (len_bytes) {
		size_t n = len_bytes < VMS_BENCH_CHUNK_BYTES ? len_bytes : VMS_BENCH_CHUNK_BYTES;
		uint64_t r = vms_bench_rand(&g->state);

		if (r % 100 < g->dup_percent) {
			uint64_t pool = 0x5eedull + (r >> 32) % DUP_POOL_CHUNKS * 0x10001ull;

			fill_random(&pool, p, n);
		} else {
			fill_random(&g->state, p, n);
		}
		p += n;
		len_bytes -= n;
	}
}

int vms_bench_parse_size(const char *text, uint64_t *bytes)
{
	struct vms_errmsg e;

	return vms_size_parse(text, bytes, &e) ? -1 : 0;
}

int vms_bench_parse_data(const char *text, struct vms_bench_gen *g)
{
	if (!strcmp(text, "unique")) {
		g->kind = VMS_BENCH_UNIQUE;
	} else if (!strcmp(text, "zero")) {
		g->kind = VMS_BENCH_ZERO;
	} else if (!strncmp(text, "dup:", 4)) {
		uint64_t v;

		if (vms_bench_parse_size(text + 4, &v) || v > 100)
			return -1;
		g->kind = VMS_BENCH_DUP;
		g->dup_percent = (unsigned)v;
	} else {
		return -1;
	}
	return 0;
}

int vms_bench_json_write(json_t *j, const char *file)
{
	int rc;

	if (!strcmp(file, "-")) {
		rc = json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		putchar('\n');
	} else {
		rc = json_dump_file(j, file, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	}
	if (rc)
		vms_bench_err("cannot write JSON to %s: %s", file, strerror(errno));
	return rc;
}
