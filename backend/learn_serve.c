// SPDX-License-Identifier: GPL-2.0-only
/* Feeding a copy, at the primary: nothing is fed by this version. */
#include "backend/node_int.h"

bool learn_start(struct vms_node *n, struct part *p, struct peer *pe)
{
	(void)n;
	(void)p;
	(void)pe;
	return false;
}

enum learn_state learn_state(const struct part *p, uint32_t node, uint64_t *done, uint64_t *total)
{
	(void)p;
	(void)node;
	*done = *total = 0;
	return LEARN_NONE;
}

void learn_stop(struct vms_node *n, struct part *p, uint32_t node, bool promoted)
{
	(void)promoted;
	part_learner_del(n, p, node);
}
