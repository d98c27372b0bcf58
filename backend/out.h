/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies of partitions that this node shall not have any more: asked about, deleted. */
#ifndef VMS_OUT_H
#define VMS_OUT_H

#include <stdbool.h>

struct conn;
struct part;
struct vms_msg;
struct vms_node;

void out_timer(struct vms_node *n);
void out_query_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void out_close(struct part *p);
/* The copy is being deleted, or is about to be: it cannot be learnt now. */
bool out_deleting(const struct part *p);

#endif
