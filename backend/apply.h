/* SPDX-License-Identifier: GPL-2.0-only */
/* The apply lane: records take effect on pages and containers. */
#ifndef VMS_APPLY_H
#define VMS_APPLY_H

struct part;
struct vms_msg;
struct vms_node;

void apply_run(struct vms_node *n, struct part *p);
void apply_abort(struct vms_node *n, struct part *p);
void apply_timer(struct vms_node *n);
void apply_peer_reply(struct vms_node *n, const struct vms_msg *m);

#endif
