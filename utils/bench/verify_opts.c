// SPDX-License-Identifier: GPL-2.0-only
/* vmstore-bench verify: its help and options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/bench/bench.h"
#include "utils/bench/verify.h"

static const char help[] =
	"Usage: vmstore-bench verify [OPTIONS] URL...\n"
	"\n"
	"Write stamped blocks through several sessions, over one or more URLs of the same\n"
	"LUN, and check every read: nothing acknowledged lost, nothing torn, nothing stale.\n"
	"\n"
	"  --seconds S       how long (10)\n"
	"  --ops N           or until N commands were answered\n"
	"  --sessions N      sessions, spread over the URLs (4)\n"
	"  --depth N         outstanding commands per session (8)\n"
	"  --offset SIZE     first byte used (0)\n"
	"  --span SIZE       bytes used from there (64M)\n"
	"  --write PERCENT   share of writes (50)\n"
	"  --zero PERCENT    share of the writes that are UNMAP or WRITE SAME of zeros (0)\n"
	"  --caw PERCENT     share of the writes that are READ, then COMPARE AND WRITE of\n"
	"                    one chunk or logical block (0)\n"
	"  --hot PERCENT     share of commands in the span's first MiB (25)\n"
	"  --max-bs SIZE     largest command, 512 to 512k (512k)\n"
	"  --flush-every N   SYNCHRONIZE CACHE after about N commands; 0 never (64)\n"
	"  --seed N          of the load (from the clock)\n"
	"  --fresh           unwritten blocks of the LUN must read as zeros\n"
	"  --no-overlap      never two commands on the same block at a time\n"
	"  --atomic WHAT     chunk: no read sees half a write in a chunk; block (chunk)\n"
	"  --failover-ms N   an unknown write takes effect within this time of losing its\n"
	"                    connection, or never; it is repeated only after it (5000)\n"
	"  --scale F         factor on the times above and below (1)\n"
	"  --ping-ms N       ping a session that was silent for so long (1500)\n"
	"  --ping-timeout-ms N  drop it when that was not answered for so long (3 x --ping-ms)\n"
	"  --login-ms N      give up a login that takes longer (10000)\n"
	"  --command-ms N    drop a session whose command takes longer (60000)\n"
	"  --give-up S       fail when nothing completes for so long (90)\n"
	"  --home-after S    a session that had to leave its URL tries it again after S\n"
	"                    seconds; 0: it stays where it is (0)\n"
	"  --progress MS     print how many commands, and writes, were answered this often (0,\n"
	"                    never)\n"
	"  --state FILE      journal of what was sent; continue it when it exists\n"
	"  --check-only      only check everything in the state file, through each URL\n"
	"  --no-final-check  skip the pass over everything at the end\n"
	"  --errors-ok       errors other than wrong data do not fail the run\n"
	"  --quiet           only the result\n"
	"  --json FILE       result as JSON (- for stdout)\n"
	"\n"
	"The longest time without an answer, of all and of each URL while it had sessions, and\n"
	"the longest that one command took, repeated when it was answered BUSY, are printed at\n"
	"the end of the load; SIGUSR1 starts that measurement over.\n"
	"\n"
	"Exit code: 0 right, 1 wrong data, 2 usage, 3 errors or no progress, 4 state file.\n";

int verify_parse(struct ver *v, int argc, char **argv)
{
	enum {
		A_SECONDS = 1,
		A_OPS,
		A_SESSIONS,
		A_DEPTH,
		A_OFFSET,
		A_SPAN,
		A_WRITE,
		A_HOT,
		A_ZERO,
		A_CAW,
		A_MAXBS,
		A_FLUSH,
		A_SEED,
		A_FRESH,
		A_NOOVER,
		A_ATOMIC,
		A_FAILOVER,
		A_SCALE,
		A_PING,
		A_PINGTIME,
		A_LOGIN,
		A_COMMAND,
		A_GIVEUP,
		A_HOME,
		A_PROGRESS,
		A_STATE,
		A_CHECK,
		A_NOFINAL,
		A_ERRORS,
		A_QUIET,
		A_JSON,
		A_HELP
	};
	static const struct option opts[] = {
		{"seconds", 1, NULL, A_SECONDS},
		{"ops", 1, NULL, A_OPS},
		{"sessions", 1, NULL, A_SESSIONS},
		{"depth", 1, NULL, A_DEPTH},
		{"offset", 1, NULL, A_OFFSET},
		{"span", 1, NULL, A_SPAN},
		{"write", 1, NULL, A_WRITE},
		{"hot", 1, NULL, A_HOT},
		{"zero", 1, NULL, A_ZERO},
		{"caw", 1, NULL, A_CAW},
		{"max-bs", 1, NULL, A_MAXBS},
		{"flush-every", 1, NULL, A_FLUSH},
		{"seed", 1, NULL, A_SEED},
		{"fresh", 0, NULL, A_FRESH},
		{"no-overlap", 0, NULL, A_NOOVER},
		{"atomic", 1, NULL, A_ATOMIC},
		{"failover-ms", 1, NULL, A_FAILOVER},
		{"scale", 1, NULL, A_SCALE},
		{"ping-ms", 1, NULL, A_PING},
		{"ping-timeout-ms", 1, NULL, A_PINGTIME},
		{"login-ms", 1, NULL, A_LOGIN},
		{"command-ms", 1, NULL, A_COMMAND},
		{"give-up", 1, NULL, A_GIVEUP},
		{"home-after", 1, NULL, A_HOME},
		{"progress", 1, NULL, A_PROGRESS},
		{"state", 1, NULL, A_STATE},
		{"check-only", 0, NULL, A_CHECK},
		{"no-final-check", 0, NULL, A_NOFINAL},
		{"errors-ok", 0, NULL, A_ERRORS},
		{"quiet", 0, NULL, A_QUIET},
		{"json", 1, NULL, A_JSON},
		{"help", 0, NULL, A_HELP},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		uint64_t n = 0;
		double d = -1;
		bool size_ok = optarg && !vms_bench_parse_size(optarg, &n);
		char *end = NULL;
		bool bad = false;

		if (optarg) {
			d = strtod(optarg, &end);
			if (end == optarg || *end)
				d = -1;
		}
		switch (c) {
		case A_SECONDS:
			v->seconds = d;
			bad = d < 0;
			break;
		case A_OPS:
			v->ops_max = n;
			bad = !size_ok;
			break;
		case A_SESSIONS:
			v->n_sess = (unsigned)n;
			bad = !size_ok || n < 1 || n > 512;
			break;
		case A_DEPTH:
			v->depth = (unsigned)n;
			bad = !size_ok || n < 1 || n > 512;
			break;
		case A_OFFSET:
			v->offset_bytes = n;
			bad = !size_ok || n % 4096;
			break;
		case A_SPAN:
			v->span_bytes = n;
			bad = !size_ok || n < 4096 || n % 4096;
			break;
		case A_WRITE:
			v->write_percent = (unsigned)n;
			bad = !size_ok || n > 100;
			break;
		case A_HOT:
			v->hot_percent = (unsigned)n;
			bad = !size_ok || n > 100;
			break;
		case A_ZERO:
			v->zero_percent = (unsigned)n;
			bad = !size_ok || n > 50;
			break;
		case A_CAW:
			v->caw_percent = (unsigned)n;
			bad = !size_ok || n > 50;
			break;
		case A_MAXBS:
			v->max_blocks = (uint32_t)(n / BLOCK);
			bad = !size_ok || n < BLOCK || n % BLOCK || n > OP_BLOCKS_MAX * BLOCK;
			break;
		case A_FLUSH:
			v->flush_every = (unsigned)n;
			bad = !size_ok || n > 1u << 30;
			break;
		case A_SEED:
			v->seed = n;
			bad = !size_ok;
			break;
		case A_FRESH:
			v->fresh = true;
			break;
		case A_NOOVER:
			v->no_overlap = true;
			break;
		case A_ATOMIC:
			bad = strcmp(optarg, "chunk") && strcmp(optarg, "block");
			v->chunk_atomic = !strcmp(optarg, "chunk");
			break;
		case A_FAILOVER:
			v->failover_ms = d;
			bad = d < 0;
			break;
		case A_SCALE:
			v->scale = d;
			bad = d <= 0;
			break;
		case A_PING:
			v->ping_ms = d;
			bad = d < 1;
			break;
		case A_PINGTIME:
			v->ping_timeout_ms = d;
			bad = d < 1;
			break;
		case A_LOGIN:
			v->login_ms = d;
			bad = d < 1;
			break;
		case A_COMMAND:
			v->command_ms = d;
			bad = d < 1;
			break;
		case A_GIVEUP:
			v->give_up_s = d;
			bad = d <= 0;
			break;
		case A_HOME:
			v->home_s = d;
			bad = d < 0;
			break;
		case A_PROGRESS:
			v->progress_ms = d;
			bad = d < 0;
			break;
		case A_STATE:
			v->state_file = optarg;
			break;
		case A_CHECK:
			v->check_only = true;
			break;
		case A_NOFINAL:
			v->final_check = false;
			break;
		case A_ERRORS:
			v->errors_ok = true;
			break;
		case A_QUIET:
			v->quiet = true;
			break;
		case A_JSON:
			v->json_file = optarg;
			break;
		case A_HELP:
			fputs(help, stdout);
			return 1;
		default:
			return -1;
		}
		if (bad) {
			vms_bench_err("verify: bad value '%s' for %s (see --help)", optarg,
				      argv[optind - 2]);
			return -1;
		}
	}
	if (optind == argc) {
		vms_bench_err("verify: no URL given: want iscsi://host:port/target/lun");
		return -1;
	}
	if (v->check_only && !v->state_file) {
		vms_bench_err("verify: --check-only needs --state FILE");
		return -1;
	}
	v->url = argv + optind;
	v->n_url = (unsigned)(argc - optind);
	return 0;
}
