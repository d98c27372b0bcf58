/* SPDX-License-Identifier: GPL-2.0-only */
/* Records that hold up old log generations are copied forward. */
#ifndef VMS_COPYFWD_H
#define VMS_COPYFWD_H

/* A generation has at most this part of the log, half the reserve: what it holds can be copied
 * forward however full the log is, and the other half is left for what lets the log go. */
#define NODE_GEN_SHARE 16u

struct vms_node;

void copy_forward(struct vms_node *n);

#endif
