/* SPDX-License-Identifier: GPL-2.0-only */
/* The collector of a partition: marks, and what is dead. */
#ifndef VMS_COLLECT_H
#define VMS_COLLECT_H

#include "include/types.h"

struct part;
struct vms_node;

void gc_timer(struct vms_node *n);
void gc_abort(struct vms_node *n, struct part *p);
/* An entry of a page changed from a to b (either may be a hole); ref: b is a chunk
 * that was there before. */
void gc_moved(struct vms_node *n, struct part *p, vms_addr from, vms_addr to, bool ref,
	      uint64_t seq);

#endif
