// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-bench: a latency histogram as JSON, microseconds.
 */
#include "utils/bench/bench.h"

static double us(const struct vms_hist *h, double percent)
{
	return (double)vms_hist_percentile(h, percent) / 1e3;
}

json_t *vms_bench_hist_json(const struct vms_hist *h)
{
	return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f}", "count", (json_int_t)h->n, "mean_us",
			 vms_hist_mean(h) / 1e3, "p50_us", us(h, 50), "p90_us", us(h, 90), "p99_us",
			 us(h, 99), "p999_us", us(h, 99.9), "max_us", (double)h->max / 1e3);
}
