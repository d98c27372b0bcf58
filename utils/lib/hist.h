/* SPDX-License-Identifier: GPL-2.0-only */
/* Histogram of non-negative integers (latencies in µs or ns, sizes): powers of
 * two, each cut into 32 equal parts, so a percentile is at most 3.2 % too high
 * (values below 64 are exact). Fixed memory, no allocation, mergeable. */
#ifndef VMS_HIST_H
#define VMS_HIST_H

#include <stdint.h>

#define VMS_HIST_SUB_BITS 5
#define VMS_HIST_BUCKETS  ((64 - VMS_HIST_SUB_BITS + 1) << VMS_HIST_SUB_BITS)

struct vms_hist {
	uint64_t n;
	uint64_t sum; /* wraps only after centuries of microseconds */
	uint64_t min;
	uint64_t max;
	uint64_t bucket[VMS_HIST_BUCKETS];
};

void vms_hist_init(struct vms_hist *h);
void vms_hist_add(struct vms_hist *h, uint64_t value);
/* Adds everything recorded in src to dst. */
void vms_hist_merge(struct vms_hist *dst, const struct vms_hist *src);

/* The smallest bucket bound that at least percent % (0..100) of the values do not
 * exceed, clamped to min..max; 0 when nothing was recorded. */
uint64_t vms_hist_percentile(const struct vms_hist *h, double percent);
double vms_hist_mean(const struct vms_hist *h);

#endif
