/* SPDX-License-Identifier: GPL-2.0-only */
/* Records that hold up old log generations are copied forward. */
#ifndef VMS_COPYFWD_H
#define VMS_COPYFWD_H

struct vms_node;

void copy_forward(struct vms_node *n);

#endif
