/* SPDX-License-Identifier: GPL-2.0-only */
/* The count of space by volume and snapshot. */
#ifndef VMS_DU_H
#define VMS_DU_H

struct vms_node;

void du_timer(struct vms_node *n);
void du_close(struct vms_node *n);

#endif
