/* SPDX-License-Identifier: GPL-2.0-only */
/* Rounds of the cluster: what no partition refers to is found, and freed. */
#ifndef VMS_ROUND_H
#define VMS_ROUND_H

#include "include/types.h"

struct conn;
struct part;
struct vms_msg;
struct vms_node;

void round_timer(struct vms_node *n);
void round_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void round_report_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void round_mark(struct vms_node *n, vms_addr a);	     /* something refers to it */
void round_part_changed(struct vms_node *n, struct part *p); /* a new epoch */
void round_close(struct vms_node *n);
uint64_t round_cycle(const struct vms_node *n);
uint64_t round_want(struct vms_node *n); /* bytes that a round might free */
const char *round_phase(struct vms_node *n);

#endif
