// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/hist.h"

#include <string.h>

#define SUB (1u << VMS_HIST_SUB_BITS)

/* Values below 2*SUB map to themselves; above, the bucket is (exponent, the SUB_BITS
 * bits below the leading one). */
static unsigned index_of(uint64_t v)
{
	unsigned shift;

	if (v < 2 * SUB)
		return (unsigned)v;
	shift = 63u - (unsigned)__builtin_clzll(v) - VMS_HIST_SUB_BITS;
	return (shift << VMS_HIST_SUB_BITS) + (unsigned)(v >> shift);
}

/* Largest value of bucket i. */
static uint64_t upper_of(unsigned i)
{
	unsigned shift;
	uint64_t top;

	if (i < 2 * SUB)
		return i;
	shift = (i >> VMS_HIST_SUB_BITS) - 1;
	top = (i & (SUB - 1)) + SUB;
	return (top << shift) + ((UINT64_C(1) << shift) - 1);
}

void vms_hist_init(struct vms_hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void vms_hist_add(struct vms_hist *h, uint64_t value)
{
	h->n++;
	h->sum += value;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->bucket[index_of(value)]++;
}

void vms_hist_merge(struct vms_hist *dst, const struct vms_hist *src)
{
	dst->n += src->n;
	dst->sum += src->sum;
	if (src->min < dst->min)
		dst->min = src->min;
	if (src->max > dst->max)
		dst->max = src->max;
	for (unsigned i = 0; i < VMS_HIST_BUCKETS; i++)
		dst->bucket[i] += src->bucket[i];
}

uint64_t vms_hist_percentile(const struct vms_hist *h, double percent)
{
	uint64_t want, seen = 0;
	double exact;

	if (!h->n)
		return 0;
	if (percent <= 0)
		return h->min;
	if (percent >= 100)
		return h->max;
	exact = (double)h->n * percent / 100.0;
	want = (uint64_t)exact;
	if (!want || (double)want < exact)
		want++;
	for (unsigned i = 0; i < VMS_HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= want) {
			uint64_t v = upper_of(i);

			return v > h->max ? h->max : v < h->min ? h->min : v;
		}
	}
	return h->max;
}

double vms_hist_mean(const struct vms_hist *h)
{
	return h->n ? (double)h->sum / (double)h->n : 0;
}
