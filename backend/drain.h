/* SPDX-License-Identifier: GPL-2.0-only */
/* Drains: written chunks go from the log to containers. */
#ifndef VMS_DRAIN_H
#define VMS_DRAIN_H

#include <stdint.h>

struct conn;
struct part;
struct vms_msg;
struct vms_node;

void drain_timer(struct vms_node *n);
void drain_applied(struct vms_node *n, struct part *p);
void drain_scan_due(struct vms_node *n, struct part *p);
void drain_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void drain_abort(struct vms_node *n, struct part *p);
void drain_safe(struct vms_node *n, struct part *p);
void drain_stubs_drop(struct vms_node *n, struct part *p);
int drain_place(struct vms_node *n, struct part *p, unsigned want, uint64_t *ctr, uint32_t *seg);
void drain_seal_open(struct vms_node *n, struct part *p);

#endif
