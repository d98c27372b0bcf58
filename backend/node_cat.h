/* SPDX-License-Identifier: GPL-2.0-only */
/* What a node reads in the catalog. */
#ifndef VMS_NODE_CAT_H
#define VMS_NODE_CAT_H

#include "cluster/catalog.h"

struct part;
struct vms_node;

enum start_phase {
	SP_CLEAN,
	SP_CLUSTER,
	SP_NODES,
	SP_SELF,
	SP_GATEWAYS,
	SP_VOLUMES,
	SP_BRANCHES,
	SP_PARTS,
	SP_RUN
};
#define NODE_PREFIXES 7u /* of the catalog, loaded and watched */

void cat_start(struct vms_node *n);
void cat_timer(struct vms_node *n);
void cat_load_parts(struct vms_node *n); /* reads part/ again, when nothing else is read */
const char *cat_prefix(unsigned w);
void cat_apply(struct vms_node *n, unsigned w, const struct vms_cat_kv *kv);
/* A record of part/, however it became known; older than what is known: nothing. */
void cat_part(struct vms_node *n, const struct vms_cat_kv *kv);
void cat_loss_start(struct vms_node *n, struct part *p);

#endif
