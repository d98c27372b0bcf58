/* SPDX-License-Identifier: GPL-2.0-only */
/* A node that is stopped on purpose gives away what it leads. */
#ifndef VMS_RETIRE_H
#define VMS_RETIRE_H

#include <stdbool.h>
#include <stdint.h>

struct part;
struct vms_node;

void retire_begin(struct vms_node *n);
void retire_timer(struct vms_node *n);
bool retire_gives(struct vms_node *n);
uint32_t retire_heir(const struct vms_node *n, const struct part *p); /* 0: nobody */

#endif
