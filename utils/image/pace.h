/* SPDX-License-Identifier: GPL-2.0-only */
/* At most so many bytes a second: sleeps when the work is ahead of that. One thread. */
#ifndef VMS_IMAGE_PACE_H
#define VMS_IMAGE_PACE_H

#include <stdint.h>
#include <unistd.h>

#include "cluster/net.h"

struct image_pace {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t start_ms;    /* set by the first call */
	uint64_t start_bytes;
};

/* bytes: moved so far, in all. */
static inline void image_pace(struct image_pace *p, uint64_t bytes)
{
	uint64_t now = vms_clock_ms(), due;

	if (!p->bytes_per_s)
		return;
	if (!p->start_ms) {
		p->start_ms = now;
		p->start_bytes = bytes;
	}
	due = p->start_ms +
	      (uint64_t)((double)(bytes - p->start_bytes) * 1000.0 / (double)p->bytes_per_s);
	/* in steps that let a signal be noticed */
	if (due > now)
		usleep((useconds_t)(due - now < 500 ? due - now : 500) * 1000);
}

#endif
