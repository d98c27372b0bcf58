/* SPDX-License-Identifier: GPL-2.0-only */
/* Does an extent have something of the branch's own? */
#ifndef VMS_OWN_H
#define VMS_OWN_H

#include <stdint.h>

struct conn;
struct part;
struct vms_msg;
struct vms_node;

/* Sub-extents of which something in the log is the branch's own. */
uint8_t own_in_log(const struct vms_node *n, const struct part *p, uint64_t branch,
		   uint32_t extent);
void own_serve(struct vms_node *n, struct conn *c, const struct vms_msg *m);

#endif
