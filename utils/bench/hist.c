// SPDX-License-Identifier: GPL-2.0-only
/*
 * Latency histogram with a constant relative error: values below 64 ns are
 * exact, above that each power of two is cut into 64 equal steps.
 */
#include "utils/bench/bench.h"

static unsigned slot_of(uint64_t ns)
{
	unsigned msb, shift, slot;

	if (ns < VMS_BENCH_HIST_SUB)
		return (unsigned)ns;
	msb = 63u - (unsigned)__builtin_clzll(ns);
	shift = msb - 6;
	slot = (shift + 1) * VMS_BENCH_HIST_SUB + (unsigned)((ns >> shift) - VMS_BENCH_HIST_SUB);
	return slot < VMS_BENCH_HIST_SLOTS ? slot : VMS_BENCH_HIST_SLOTS - 1;
}

static uint64_t slot_upper(unsigned slot)
{
	unsigned shift;
	uint64_t base;

	if (slot < VMS_BENCH_HIST_SUB)
		return slot;
	shift = slot / VMS_BENCH_HIST_SUB - 1;
	base = VMS_BENCH_HIST_SUB + slot % VMS_BENCH_HIST_SUB;
	return ((base + 1) << shift) - 1;
}

void vms_bench_hist_add(struct vms_bench_hist *h, uint64_t ns)
{
	h->slot[slot_of(ns)]++;
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

void vms_bench_hist_merge(struct vms_bench_hist *to, const struct vms_bench_hist *from)
{
	for (unsigned i = 0; i < VMS_BENCH_HIST_SLOTS; i++)
		to->slot[i] += from->slot[i];
	to->count += from->count;
	to->sum_ns += from->sum_ns;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
}

uint64_t vms_bench_hist_quantile(const struct vms_bench_hist *h, double q)
{
	uint64_t want, seen = 0;

	if (!h->count)
		return 0;
	want = (uint64_t)(q * (double)h->count);
	if (want < 1 || (double)want < q * (double)h->count)
		want++;
	for (unsigned i = 0; i < VMS_BENCH_HIST_SLOTS; i++) {
		seen += h->slot[i];
		if (seen >= want) {
			uint64_t v = slot_upper(i);

			return v < h->max_ns ? v : h->max_ns;
		}
	}
	return h->max_ns;
}

json_t *vms_bench_hist_json(const struct vms_bench_hist *h)
{
	double mean = h->count ? (double)h->sum_ns / (double)h->count / 1e3 : 0;

	return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f}", "count", (json_int_t)h->count, "mean_us",
			 mean, "p50_us", (double)vms_bench_hist_quantile(h, 0.50) / 1e3, "p90_us",
			 (double)vms_bench_hist_quantile(h, 0.90) / 1e3, "p99_us",
			 (double)vms_bench_hist_quantile(h, 0.99) / 1e3, "p999_us",
			 (double)vms_bench_hist_quantile(h, 0.999) / 1e3, "max_us",
			 (double)h->max_ns / 1e3);
}
