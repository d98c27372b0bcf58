/* SPDX-License-Identifier: GPL-2.0-only */
/* The coordinator: where copies shall be. */
#ifndef VMS_PLAN_H
#define VMS_PLAN_H

struct json_t;
struct vms_node;

void plan_timer(struct vms_node *n);
void plan_close(struct vms_node *n);
void plan_hint(struct vms_node *n); /* the membership has changed */
struct json_t *plan_json(const struct vms_node *n);

#endif
