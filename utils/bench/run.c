// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench run: one load, its figures as a table and as JSON.
 */
#include "utils/bench/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"Usage: vmstore-bench run [OPTIONS] URL...\n"
	"\n"
	"Put a load on one or more iSCSI LUNs (iscsi://host:port/target/lun) and report\n"
	"IOPS, MB/s, latency percentiles and server CPU per command.\n"
	"\n";

json_t *vms_bench_result_json(const struct vms_bench_load *l, const struct vms_bench_result *r)
{
	json_t *load = json_pack("{s:i,s:i,s:i,s:s,s:i,s:b,s:I,s:I,s:b,s:I,s:s}", "sessions",
				 (int)l->sessions, "depth", (int)l->depth, "block_bytes",
				 (int)l->block_bytes, "pattern", l->random ? "rand" : "seq",
				 "write_percent", (int)l->write_percent, "fua", (int)l->fua,
				 "offset_bytes", (json_int_t)l->offset_bytes, "span_bytes",
				 (json_int_t)l->span_bytes, "split", (int)l->split, "seed",
				 (json_int_t)l->seed, "data",
				 l->data.kind == VMS_BENCH_ZERO	 ? "zero"
				 : l->data.kind == VMS_BENCH_DUP ? "dup"
								 : "unique");
	json_t *cpu = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "server_s", r->server_s,
				"client_s", r->client_s, "machine_s", r->machine_s,
				"idle_busy_per_s", r->idle_busy_per_s, "others_s", r->others_s,
				"cmds_per_server_cpu_s", r->cmds_per_server_cpu_s,
				"cmds_per_machine_cpu_s", r->cmds_per_machine_cpu_s);

	return json_pack("{s:o,s:f,s:f,s:I,s:I,s:I,s:I,s:f,s:f,s:o,s:o}", "load", load, "seconds",
			 r->seconds, "settle_seconds", r->settle_s, "ops", (json_int_t)r->ops,
			 "bytes", (json_int_t)r->bytes, "errors", (json_int_t)r->errors, "busy",
			 (json_int_t)r->busy, "iops", r->iops, "mb_s", r->mb_s, "latency",
			 vms_bench_hist_json(&r->lat), "cpu", cpu);
}

void vms_bench_result_print(const struct vms_bench_result *r)
{
	printf("  commands   %llu in %.2f s (%llu answered BUSY and repeated)\n",
	       (unsigned long long)r->ops, r->seconds, (unsigned long long)r->busy);
	if (r->settle_s > 0)
		printf("  settling   %.2f s of these\n", r->settle_s);
	printf("  IOPS       %.0f\n", r->iops);
	printf("  MB/s       %.1f\n", r->mb_s);
	printf("  latency us p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\n",
	       (double)vms_hist_percentile(&r->lat, 50) / 1e3,
	       (double)vms_hist_percentile(&r->lat, 90) / 1e3,
	       (double)vms_hist_percentile(&r->lat, 99) / 1e3,
	       (double)vms_hist_percentile(&r->lat, 99.9) / 1e3, (double)r->lat.max / 1e3);
	printf("  CPU s      machine %.2f  client %.2f  idle baseline %.2f  rest %.2f\n",
	       r->machine_s, r->client_s, r->idle_busy_per_s * r->seconds, r->others_s);
	printf("  commands per CPU-second  %.0f (machine minus client minus idle)\n",
	       r->cmds_per_machine_cpu_s);
	if (r->server_s > 0)
		printf("  commands per CPU-second  %.0f (server processes, %.2f s)\n",
		       r->cmds_per_server_cpu_s, r->server_s);
}

int vms_bench_cmd_run(int argc, char **argv)
{
	struct option opts[VMS_BENCH_LOAD_OPTIONS + 2];
	struct vms_bench_load l;
	struct vms_bench_result *r;
	const char *json_file = NULL;
	int c, rc;

	vms_bench_load_defaults(&l);
	opts[0] = (struct option){"json", 1, NULL, 'j'};
	opts[1] = (struct option){"help", 0, NULL, 'h'};
	memcpy(opts + 2, vms_bench_load_options, sizeof(vms_bench_load_options));
	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		if (c == 'h') {
			printf("%s%s  --json FILE       figures as JSON (- for stdout)\n", help,
			       vms_bench_load_help);
			return VMS_BENCH_OK;
		}
		if (c == 'j') {
			json_file = optarg;
			continue;
		}
		rc = vms_bench_load_option(&l, c, optarg);
		if (rc < 0)
			vms_bench_err("run: bad value '%s' for %s", optarg, argv[optind - 2]);
		if (rc <= 0)
			return VMS_BENCH_USAGE;
	}
	if (optind == argc) {
		vms_bench_err("run: no URL given: want iscsi://host:port/target/lun");
		return VMS_BENCH_USAGE;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return VMS_BENCH_FAILED;
	rc = VMS_BENCH_FAILED;
	if (!vms_bench_load_run(&l, argv + optind, (unsigned)(argc - optind), r)) {
		rc = VMS_BENCH_OK;
		if (!json_file || strcmp(json_file, "-"))
			vms_bench_result_print(r);
		if (json_file) {
			json_t *j = vms_bench_result_json(&l, r);

			if (vms_bench_json_write(j, json_file))
				rc = VMS_BENCH_FAILED;
			json_decref(j);
		}
	}
	free(r);
	return rc;
}
