/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The layer stack of (branch, snap_gen): what shows through, newest first: the
 * branch's own pages up to that number, then those of its ancestors up to their
 * ceilings. Any thread, plain values.
 */
#ifndef VMS_STACK_H
#define VMS_STACK_H

#include "include/types.h"

struct vms_layer {
	uint64_t branch;
	uint64_t snap_gen;     /* versions up to this one */
	uint64_t limit_chunks; /* chunks of the branch from here on do not show, nor do
				  those of the layers behind; never grows downwards */
};

struct vms_stack {
	unsigned n; /* at least 1 */
	struct vms_layer l[1 + VMS_ANCESTORS_MAX];
};

#endif
