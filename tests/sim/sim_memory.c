/* SPDX-License-Identifier: GPL-2.0-only */
/* Apart from the others: a node's connections and the simulator's have one name. */
#include "tests/sim/sim_memory.h"

#include "backend/node_int.h"
#include "backend/node_part.h"

uint64_t sim_node_damage(const struct vms_node *n)
{
	return n->st.corrupt;
}

bool sim_node_remembers(struct vms_node *n, uint32_t partition, uint64_t epoch)
{
	const struct part *p = node_part(n, partition);

	return p && p->known && p->conf.epoch == epoch && p->view_epoch == epoch &&
	       p->intact_view == epoch;
}
