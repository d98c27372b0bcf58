/* SPDX-License-Identifier: GPL-2.0-only */
/* What the simulator has to look into a node for. */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct vms_node;

/* Is this process part of the partition's view of that epoch, with all that was written
 * since in its memory? One that has been started anew is not, until the primary has heard
 * of it and formed a view with it. */
bool sim_node_remembers(struct vms_node *n, uint32_t partition, uint64_t epoch);

/* How often it has found damage on its disk. */
uint64_t sim_node_damage(const struct vms_node *n);

#endif
