// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE	   ((size_t)4096)
#define HUGE_PAGE  ((size_t)2 << 20)
#define HUGE_BYTES (8 * HUGE_PAGE) /* from here on a part of one does not count */

void *vms_arena_alloc(size_t bytes)
{
	size_t unit = bytes < HUGE_BYTES ? PAGE : HUGE_PAGE;
	size_t room = (bytes + unit - 1) & ~(unit - 1);
	void *p = aligned_alloc(unit, room);

	/* refused: then it is as fast as before */
	if (p && unit == HUGE_PAGE)
		(void)madvise(p, room, MADV_HUGEPAGE);
	return p;
}
