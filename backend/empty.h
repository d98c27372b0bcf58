/* SPDX-License-Identifier: GPL-2.0-only */
/* Containers with little left in them are emptied. */
#ifndef VMS_EMPTY_H
#define VMS_EMPTY_H

struct ctr;
struct part;
struct vms_node;

void empty_add(struct vms_node *n, struct part *p, struct ctr *c);
void empty_timer(struct vms_node *n);
void empty_close(struct vms_node *n);

#endif
