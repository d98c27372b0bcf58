/* SPDX-License-Identifier: GPL-2.0-only */
/* What the simulator has to look into a node for. */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct vms_node;
struct vms_gw;
struct vms_gw_vol;

/* Is this process part of the partition's view of that epoch, with all that was written
 * since in its memory? One that has been started anew is not, until the primary has heard
 * of it and formed a view with it. */
bool sim_node_remembers(struct vms_node *n, uint32_t partition, uint64_t epoch);

/* What it takes for the number of copies that writes need. */
unsigned sim_node_min_copies(const struct vms_node *n);
/* The last record of that partition that it has, durable or in memory. */
uint64_t sim_node_top(struct vms_node *n, uint32_t partition, bool memory);

/* How often it has found damage on its disk. */
uint64_t sim_node_damage(const struct vms_node *n);

/* What its log holds is to go into containers. */
void sim_node_seal(struct vms_node *n);
/* Partitions of which it has writes that are not in containers. */
unsigned sim_node_undrained(const struct vms_node *n);
/* Does it lead that extent's partition, and is a part of the chunk to be written over what
 * lies in a container? Then that place. */
bool sim_node_merges(struct vms_node *n, uint32_t extent, unsigned chunk, uint32_t *partition,
		     uint64_t *ctr, uint64_t *block);
/* Of a partition that it leads: records that move chunks to containers are ordered, and all
 * that is ordered is durable everywhere. */
bool sim_node_moves(const struct vms_node *n, uint32_t partition);
/* It stands for bytes that nobody has. */
bool sim_node_stands(const struct vms_node *n, uint32_t partition);

/* An administrator has it give up what the record lacks at which it stands, without nodes that
 * are away. False: not now. */
bool sim_node_give_up(struct vms_node *n, uint32_t partition);
/* How many chunks have been given up there. */
uint64_t sim_node_given_up(const struct vms_node *n);

/* How full its log is for clients, and how much of it is left with the reserve, in 1/1000. */
unsigned sim_node_log_used(const struct vms_node *n);
unsigned sim_node_log_left(const struct vms_node *n);

/* sim_gw_look.c: may it be registered, by a transaction whose outcome was lost? Under this key
 * (may be NULL) then. */
bool sim_gw_unsure(const struct vms_gw_vol *v, char *key);
/* sim_gw_look.c: is that what it is in the catalog? */
bool sim_gw_is(const struct vms_gw *gw, uint32_t id, uint64_t incarnation);

#endif
