// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench: loads, comparisons and verification from the initiator's side.
 * The subcommands live in utils/bench/.
 */
#include "utils/bench/bench.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "utils/lib/stdfd.h"

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *what;
} cmd[] = {
	{"run", vms_bench_cmd_run, "one load: IOPS, MB/s, latency, CPU per command"},
	{"compare", vms_bench_cmd_compare, "the same load on several LUNs, interleaved"},
	{"verify", vms_bench_cmd_verify, "stamped writes checked against a model"},
	{"boot", vms_bench_cmd_boot, "replay a recorded boot for many clones"},
};

static void usage(FILE *f)
{
	fputs("Usage: vmstore-bench COMMAND [OPTIONS] URL...\n\n", f);
	for (unsigned i = 0; i < sizeof(cmd) / sizeof(cmd[0]); i++)
		fprintf(f, "  %-8s %s\n", cmd[i].name, cmd[i].what);
	fputs("\nvmstore-bench COMMAND --help tells more. URLs are iscsi://host:port/target/lun.\n",
	      f);
}

int main(int argc, char **argv)
{
	vms_std_fds();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2) {
		usage(stderr);
		return VMS_BENCH_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return VMS_BENCH_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("vmstore-bench " VMS_VERSION);
		return VMS_BENCH_OK;
	}
	for (unsigned i = 0; i < sizeof(cmd) / sizeof(cmd[0]); i++)
		if (!strcmp(argv[1], cmd[i].name))
			return cmd[i].fn(argc - 1, argv + 1);
	vms_bench_err("no command '%s'", argv[1]);
	usage(stderr);
	return VMS_BENCH_USAGE;
}
