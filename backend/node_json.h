/* SPDX-License-Identifier: GPL-2.0-only */
/* What a node tells of itself, in JSON. */
#ifndef VMS_NODE_JSON_H
#define VMS_NODE_JSON_H

struct conn;
struct vms_msg;
struct vms_node;

void node_json_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);

#endif
