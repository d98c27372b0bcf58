/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes that name chunks which are there already. */
#ifndef VMS_WRITE_REF_H
#define VMS_WRITE_REF_H

struct op;
struct part;
struct vms_node;

void write_ref_look(struct vms_node *n, struct part *p, struct op *o);
void write_copy_look(struct vms_node *n, struct part *p, struct op *o);

#endif
