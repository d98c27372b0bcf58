/* SPDX-License-Identifier: GPL-2.0-only */
/* vmstore-sim: run seeds of the deterministic cluster simulator. */
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

static const char usage[] =
	"usage: vmstore-sim [options]\n"
	"Runs the whole cluster (nodes, gateways, catalog, initiators) in one process over a\n"
	"virtual clock, network and disk, with faults drawn from the seed, and checks every\n"
	"block for linearizability and loss.\n\n"
	"  --seeds FROM..TO     seeds to run (default 1..100); one number runs one seed\n"
	"  --ops N              acknowledged operations per seed (default drawn, >= 1000)\n"
	"  --jobs N             processes (default: number of processors)\n"
	"  --no-faults          no crashes, pauses, cuts\n"
	"  --node-mutant N, --gateway-mutant N\n"
	"                       switch a deliberate defect on (see doc/testing.md)\n"
	"  --catalog MASK       which of the catalog's defects may be drawn: 1, 2 stale reads, 4 "
	"unknown\n"
	"                       outcomes, 8 events twice, 16 again, 32 late, 64 lost, 128 "
	"compaction\n"
	"  --shape NODES,GATEWAYS,COPIES\n"
	"                       instead of what the seed draws\n"
	"  --beyond             lose more nodes than the copies can bear: partitions may stop, "
	"but\n"
	"                       nothing wrong may be answered\n"
	"  --keep-going         do not stop at the first failing seed\n"
	"  --twice              run each seed twice and compare the trace hashes\n"
	"  -v, --verbose        print what happens (one seed)\n"
	"  -h, --help\n"
	"Exit status: 0 all seeds passed, 1 a seed failed, 2 usage.\n";

struct totals {
	uint64_t seeds, failed, acked, unknown, busy, partial, virtual_ms;
	uint64_t snaps, snap_tries, clones, rollbacks, deleted, resizes, told, beyond, tables,
		filled, nospc;
	uint64_t repeated, resets, reinstated, miscompared, pr_commands, pr_good, pr_conflicts,
		pr_doubtful, rotten, given_up, unsure, spoiled, stood, forsaken, restored, medium,
		copies, copies_failed, atomics;
	uint64_t restored_in_parts, logs_full, logs_dark,
		log_used; /* the last: of one at most, 1/1000 */
	uint64_t crashes, disk_errors, lost, joined, left, stopped, differed, outrun, copies_set,
		acked_again;
};

/* One process: its part of the seeds. Shared with the parent, which counts a process that dies
 * as the failure of the seed it was at. */
struct job {
	struct totals t;
	uint64_t seed;
};

static void repeat_with(const struct sim_conf *c, uint64_t seed)
{
	printf("  repeat with: build/bin/vmstore-sim --seeds %" PRIu64 " -v", seed);
	if (c->ops)
		printf(" --ops %u", c->ops);
	if (c->cat_mask != ~0u)
		printf(" --catalog %u", c->cat_mask);
	if (c->beyond)
		printf(" --beyond");
	if (c->nodes)
		printf(" --shape %u,%u,%u", c->nodes, c->gateways, c->copies);
	if (c->node_mutant)
		printf(" --node-mutant %u", c->node_mutant);
	if (c->gw_mutant)
		printf(" --gateway-mutant %u", c->gw_mutant);
	printf("\n");
	fflush(stdout);
}

static void run_range(uint64_t from, uint64_t to, unsigned step, const struct sim_conf *base,
		      bool keep, bool twice, struct job *job)
{
	struct totals *t = &job->t;

	for (uint64_t seed = from; seed <= to; seed += step) {
		struct sim_conf c = *base;
		struct sim_result r, r2;
		c.seed = job->seed = seed;
		sim_run(&c, &r);
		if (twice && r.ok) {
			sim_run(&c, &r2);
			if (r2.trace_hash != r.trace_hash) {
				r.ok = false;
				snprintf(r.why, sizeof(r.why),
					 "two runs differ: %016llx and %016llx",
					 (unsigned long long)r.trace_hash,
					 (unsigned long long)r2.trace_hash);
			}
		}
		t->seeds++;
		t->acked += r.acked;
		t->unknown += r.unknown;
		t->busy += r.busy;
		t->partial += r.partial;
		t->virtual_ms += r.virtual_ms;
		t->crashes += r.crashes;
		t->disk_errors += r.disk_errors;
		t->lost += r.lost;
		t->joined += r.joined;
		t->left += r.left;
		t->copies_set += r.copies_set;
		t->acked_again += r.acked_again;
		t->stopped += r.stopped;
		t->differed += r.differed;
		t->outrun += r.outrun;
		t->repeated += r.repeated;
		t->resets += r.resets;
		t->reinstated += r.reinstated;
		t->miscompared += r.miscompared;
		t->pr_commands += r.pr_commands;
		t->rotten += r.rotten;
		t->given_up += r.given_up;
		t->unsure += r.unsure;
		t->spoiled += r.spoiled;
		t->stood += r.stood;
		t->forsaken += r.forsaken;
		t->restored += r.restored;
		t->medium += r.medium;
		t->restored_in_parts += r.restored_in_parts;
		t->logs_full += r.logs_full;
		t->logs_dark += r.logs_dark;
		if (1000 - r.log_left > t->log_used)
			t->log_used = 1000 - r.log_left;
		t->pr_good += r.pr_good;
		t->pr_conflicts += r.pr_conflicts;
		t->pr_doubtful += r.pr_doubtful;
		t->copies += r.copies;
		t->copies_failed += r.copies_failed;
		t->atomics += r.atomics;
		t->snaps += r.snaps;
		t->snap_tries += r.snap_tries;
		t->clones += r.clones;
		t->rollbacks += r.rollbacks;
		t->deleted += r.deleted;
		t->resizes += r.resizes;
		t->told += r.capacity_told;
		t->beyond += r.beyond_end;
		t->tables += r.pr_tables;
		t->filled += r.filled;
		t->nospc += r.no_space;
		if (c.verbose)
			printf("seed %llu: %s, %llu acknowledged, %llu unknown, %llu busy, %u "
			       "crashes, "
			       "%u pauses, %u cuts, %.1f s virtual, %llu container bytes, trace "
			       "%016llx\n",
			       (unsigned long long)seed, r.ok ? "ok" : "FAILED",
			       (unsigned long long)r.acked, (unsigned long long)r.unknown,
			       (unsigned long long)r.busy, r.crashes, r.pauses, r.cuts,
			       (double)r.virtual_ms / 1000, (unsigned long long)r.drains,
			       (unsigned long long)r.trace_hash);
		if (!r.ok) {
			t->failed++;
			printf("seed %" PRIu64 " FAILED: %s\n", seed, r.why);
			repeat_with(&c, seed);
			if (!keep)
				return;
		}
	}
}

static pid_t job_start(struct job *job, uint64_t to, unsigned step, const struct sim_conf *conf,
		       bool keep, bool twice)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("vmstore-sim: fork");
		exit(1);
	}
	if (pid == 0) {
		run_range(job->seed, to, step, conf, keep, twice, job);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

static double cpu_s(void)
{
	double sum = 0;

	for (int i = 0; i < 2; i++) {
		struct rusage u;
		getrusage(i ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
		sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	}
	return sum;
}

int main(int argc, char **argv)
{
	enum {
		O_SEEDS = 256,
		O_OPS,
		O_JOBS,
		O_NOFAULTS,
		O_NM,
		O_GM,
		O_KEEP,
		O_TWICE,
		O_CAT,
		O_BEYOND,
		O_SHAPE
	};
	static const struct option opts[] = {
		{"seeds", 1, NULL, O_SEEDS},	 {"ops", 1, NULL, O_OPS},
		{"jobs", 1, NULL, O_JOBS},	 {"no-faults", 0, NULL, O_NOFAULTS},
		{"node-mutant", 1, NULL, O_NM},	 {"gateway-mutant", 1, NULL, O_GM},
		{"keep-going", 0, NULL, O_KEEP}, {"twice", 0, NULL, O_TWICE},
		{"shape", 1, NULL, O_SHAPE},	 {"beyond", 0, NULL, O_BEYOND},
		{"catalog", 1, NULL, O_CAT},	 {"verbose", 0, NULL, 'v'},
		{"help", 0, NULL, 'h'},		 {NULL, 0, NULL, 0}};
	struct sim_conf conf = {.cat_mask = ~0u};
	unsigned long long from = 1, to = 100;
	long jobs = sysconf(_SC_NPROCESSORS_ONLN);
	bool keep = false, twice = false;
	int o;
	while ((o = getopt_long(argc, argv, "vh", opts, NULL)) != -1) {
		switch (o) {
		case O_SEEDS: {
			int n = sscanf(optarg, "%llu..%llu", &from, &to);
			if (n == 1)
				to = from;
			if (n < 1 || to < from) {
				fprintf(stderr, "vmstore-sim: --seeds wants FROM..TO, not '%s'\n",
					optarg);
				return 2;
			}
			break;
		}
		case O_OPS:
			conf.ops = (unsigned)atoi(optarg);
			break;
		case O_JOBS:
			jobs = atoi(optarg);
			break;
		case O_NOFAULTS:
			conf.no_faults = true;
			break;
		case O_NM:
			conf.node_mutant = (unsigned)atoi(optarg);
			break;
		case O_GM:
			conf.gw_mutant = (unsigned)atoi(optarg);
			break;
		case O_CAT:
			conf.cat_mask = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case O_SHAPE:
			if (sscanf(optarg, "%u,%u,%u", &conf.nodes, &conf.gateways, &conf.copies) !=
				    3 ||
			    !conf.nodes || conf.nodes > SIM_NODES_MAX || !conf.gateways ||
			    conf.gateways > SIM_GWS_MAX || !conf.copies ||
			    conf.copies > VMS_COPIES_MAX || conf.copies > conf.nodes) {
				fprintf(stderr,
					"vmstore-sim: --shape wants 1..7,1..3,1..5 (nodes at "
					"most), not '%s'\n",
					optarg);
				return 2;
			}
			break;
		case O_BEYOND:
			conf.beyond = true;
			break;
		case O_KEEP:
			keep = true;
			break;
		case O_TWICE:
			twice = true;
			break;
		case 'v':
			conf.verbose = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (from == to)
		jobs = 1;
	if (jobs < 1)
		jobs = 1;
	if (jobs > 64)
		jobs = 64;
	/* A seed's world comes and goes as a whole: memory is kept for the next one. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	struct timespec t0, t1;
	struct totals sum = {0};
	clock_gettime(CLOCK_MONOTONIC, &t0);
	struct job *job = mmap(NULL, sizeof(struct job) * (size_t)jobs, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[64];
	if (job == MAP_FAILED) {
		perror("vmstore-sim: mmap");
		return 1;
	}
	fflush(stdout);
	for (long j = 0; j < jobs; j++) {
		job[j].seed = from + (uint64_t)j;
		if (jobs > 1)
			pids[j] = job_start(&job[j], to, (unsigned)jobs, &conf, keep, twice);
		else
			run_range(from, to, 1, &conf, keep, twice, &job[j]);
	}
	for (long j = 0; j < jobs; j++) {
		int st = 0;
		while (jobs > 1 && waitpid(pids[j], &st, 0) == pids[j] && st) {
			job[j].t.failed++;
			printf("seed %" PRIu64 " FAILED: the process died, %s %d\n", job[j].seed,
			       WIFSIGNALED(st) ? "signal" : "exit code",
			       WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st));
			repeat_with(&conf, job[j].seed);
			job[j].seed += (uint64_t)jobs;
			if (!keep || job[j].seed > to)
				break;
			pids[j] = job_start(&job[j], to, (unsigned)jobs, &conf, keep, twice);
		}
		const struct totals t = job[j].t;
		sum.seeds += t.seeds;
		sum.failed += t.failed;
		sum.acked += t.acked;
		sum.unknown += t.unknown;
		sum.busy += t.busy;
		sum.partial += t.partial;
		sum.virtual_ms += t.virtual_ms;
		sum.crashes += t.crashes;
		sum.disk_errors += t.disk_errors;
		sum.lost += t.lost;
		sum.joined += t.joined;
		sum.left += t.left;
		sum.copies_set += t.copies_set;
		sum.acked_again += t.acked_again;
		sum.stopped += t.stopped;
		sum.differed += t.differed;
		sum.outrun += t.outrun;
		sum.repeated += t.repeated;
		sum.resets += t.resets;
		sum.reinstated += t.reinstated;
		sum.miscompared += t.miscompared;
		sum.pr_commands += t.pr_commands;
		sum.rotten += t.rotten;
		sum.given_up += t.given_up;
		sum.unsure += t.unsure;
		sum.spoiled += t.spoiled;
		sum.stood += t.stood;
		sum.forsaken += t.forsaken;
		sum.restored += t.restored;
		sum.medium += t.medium;
		sum.restored_in_parts += t.restored_in_parts;
		sum.logs_full += t.logs_full;
		sum.logs_dark += t.logs_dark;
		if (t.log_used > sum.log_used)
			sum.log_used = t.log_used;
		sum.pr_good += t.pr_good;
		sum.pr_conflicts += t.pr_conflicts;
		sum.pr_doubtful += t.pr_doubtful;
		sum.copies += t.copies;
		sum.copies_failed += t.copies_failed;
		sum.atomics += t.atomics;
		sum.snaps += t.snaps;
		sum.snap_tries += t.snap_tries;
		sum.clones += t.clones;
		sum.rollbacks += t.rollbacks;
		sum.deleted += t.deleted;
		sum.resizes += t.resizes;
		sum.told += t.told;
		sum.beyond += t.beyond;
		sum.tables += t.tables;
		sum.filled += t.filled;
		sum.nospc += t.nospc;
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("%llu writes repeated, %llu aborts and resets, %llu writes settled by a new login, "
	       "%llu miscompares, %llu of %llu commands on reservations GOOD (%llu changes), %llu "
	       "conflicts, %llu more in doubt\n",
	       (unsigned long long)sum.repeated, (unsigned long long)sum.resets,
	       (unsigned long long)sum.reinstated, (unsigned long long)sum.miscompared,
	       (unsigned long long)sum.pr_good, (unsigned long long)sum.pr_commands,
	       (unsigned long long)sum.tables, (unsigned long long)sum.pr_conflicts,
	       (unsigned long long)sum.pr_doubtful);
	printf("%llu snapshots of %llu tried, %llu clones, %llu rollbacks, %llu deleted; %llu "
	       "changes of the size, told %llu times, %llu commands beyond the end; "
	       "%llu copies, %llu that failed, %llu atomic writes\n",
	       (unsigned long long)sum.snaps, (unsigned long long)sum.snap_tries,
	       (unsigned long long)sum.clones, (unsigned long long)sum.rollbacks,
	       (unsigned long long)sum.deleted, (unsigned long long)sum.resizes,
	       (unsigned long long)sum.told, (unsigned long long)sum.beyond,
	       (unsigned long long)sum.copies, (unsigned long long)sum.copies_failed,
	       (unsigned long long)sum.atomics);
	printf("%llu crashes, %llu failing disks, %llu full ones (%llu commands refused), %llu "
	       "blocks that rotted, %llu chunks in all copies (%llu partitions stood, %llu chunks "
	       "of "
	       "them were given up, %llu commands ended with MEDIUM ERROR), %llu nodes lost, %llu "
	       "joined, %llu left, %llu changes of the number of copies, %llu partitions "
	       "stopped, %llu copies that differed were made again, %llu that writes yielded to, "
	       "%llu answers of former "
	       "primaries; %llu openings of volumes given "
	       "up, %llu of them perhaps registered; %llu catalogs were lost and restored, %llu in "
	       "parts; power "
	       "failed %llu times with containers standing still (%llu nodes started with full "
	       "logs), no log was fuller than %.1f %%\n",
	       (unsigned long long)sum.crashes, (unsigned long long)sum.disk_errors,
	       (unsigned long long)sum.filled, (unsigned long long)sum.nospc,
	       (unsigned long long)sum.rotten, (unsigned long long)sum.spoiled,
	       (unsigned long long)sum.stood, (unsigned long long)sum.forsaken,
	       (unsigned long long)sum.medium, (unsigned long long)sum.lost,
	       (unsigned long long)sum.joined, (unsigned long long)sum.left,
	       (unsigned long long)sum.copies_set, (unsigned long long)sum.stopped,
	       (unsigned long long)sum.differed, (unsigned long long)sum.outrun,
	       (unsigned long long)sum.acked_again, (unsigned long long)sum.given_up,
	       (unsigned long long)sum.unsure, (unsigned long long)sum.restored,
	       (unsigned long long)sum.restored_in_parts, (unsigned long long)sum.logs_dark,
	       (unsigned long long)sum.logs_full, (double)sum.log_used / 10);
	printf("%llu seeds, %llu failed, %llu operations acknowledged, %llu unknown, %llu busy "
	       "(%llu of them applied in part), %.0f s virtual in %.1f s; %.0f operations per CPU "
	       "second\n",
	       (unsigned long long)sum.seeds, (unsigned long long)sum.failed,
	       (unsigned long long)sum.acked, (unsigned long long)sum.unknown,
	       (unsigned long long)sum.busy, (unsigned long long)sum.partial,
	       (double)sum.virtual_ms / 1000,
	       (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9,
	       (double)sum.acked / (cpu_s() + 1e-9));
	return sum.failed ? 1 : 0;
}
