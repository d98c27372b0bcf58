/* SPDX-License-Identifier: GPL-2.0-only */
/* At most so many bytes a second: sleeps when the work is ahead of that. One thread. */
#ifndef VMS_IMAGE_PACE_H
#define VMS_IMAGE_PACE_H

#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "cluster/net.h"

struct image_pace {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t start_ms;    /* set by the first call */
	uint64_t start_bytes;
};

/* bytes: moved so far, in all. stop: is it to be given up? Asked several times a second. */
static inline void image_pace(struct image_pace *p, uint64_t bytes, bool (*stop)(void))
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
	for (; due > now && !stop(); now = vms_clock_ms())
		usleep((useconds_t)(due - now < 200 ? due - now : 200) * 1000);
}

#endif
