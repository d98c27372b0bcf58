/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The longest time between two answered commands. Times are nanoseconds of a
 * clock that never goes back; the time while nobody was there to ask (before
 * begin, after end) does not count.
 */
#ifndef VMS_BENCH_GAP_H
#define VMS_BENCH_GAP_H

#include <stdint.h>

struct vms_gap {
	uint64_t last_ns; /* 0: not open */
	uint64_t longest_ns;
	uint64_t longest_end; /* when the longest one ended */
};

static inline void vms_gap_begin(struct vms_gap *g, uint64_t now)
{
	g->last_ns = now;
}

static inline void vms_gap_mark(struct vms_gap *g, uint64_t now)
{
	if (g->last_ns && now > g->last_ns && now - g->last_ns > g->longest_ns) {
		g->longest_ns = now - g->last_ns;
		g->longest_end = now;
	}
	if (g->last_ns)
		g->last_ns = now;
}

/* What was before now does not count. */
static inline void vms_gap_forget(struct vms_gap *g, uint64_t now)
{
	g->longest_ns = 0;
	if (g->last_ns)
		g->last_ns = now;
}

static inline void vms_gap_end(struct vms_gap *g, uint64_t now)
{
	vms_gap_mark(g, now);
	g->last_ns = 0;
}

#endif
