/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is in the sets of partitions: changes that this node asks the catalog for. */
#ifndef VMS_SET_H
#define VMS_SET_H

#include <stdbool.h>

struct part;
struct vms_node;

#define NODE_RAISE_BATCH 60u

void set_step(struct vms_node *n);
void set_soon(struct vms_node *n);
bool set_hears(struct vms_node *n);
void set_timer(struct vms_node *n);
void set_adopted(struct vms_node *n, struct part *p); /* a newer configuration was read */
void set_calm(struct vms_node *n, struct part *p);

#endif
