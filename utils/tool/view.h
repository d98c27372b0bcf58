/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cluster as the catalog and its nodes show it: what `vmstore-ring status`,
 * `vmstore status` and everything that walks over nodes works on.
 */
#ifndef VMS_TOOL_VIEW_H
#define VMS_TOOL_VIEW_H

#include "cluster/catalog.h"
#include "utils/tool/tool.h"

struct view_node {
	struct vms_cat_node n;
	uint64_t mod_revision;
	/* by view_ask_nodes() */
	bool asked, up; /* up: answers and its core runs */
	char why[160];	/* it is not */
	json_t *status; /* ADMIN status, NULL when it does not answer */
	uint32_t replicas, primaries;
};

struct view_part {
	struct vms_part_conf conf; /* epoch 0: not placed */
	uint64_t mod_revision;
};

struct view {
	struct vms_cat_cluster cluster;
	uint64_t cluster_revision;
	VMS_VEC(struct view_node) nodes; /* by id */
	struct view_part *part;		 /* 2^part_bits */
	uint32_t nparts;
	VMS_VEC(struct vms_cat_gateway) gateways;
	VMS_VEC(struct vms_cat_volume) volumes;
};

/* The cluster's record alone. VMS_E_NOENT: there is no cluster yet. */
int view_cluster(struct tool *t, struct vms_cat_cluster *out, uint64_t *mod_revision,
		 struct vms_errmsg *msg);
/* Reads the catalog. VMS_E_NOENT: there is no cluster yet. Free in any case. */
int view_load(struct tool *t, struct view *v, struct vms_errmsg *msg);
void view_free(struct view *v);
/* Asks each node for its status. */
void view_ask_nodes(struct tool *t, struct view *v);
struct view_node *view_node(struct view *v, uint32_t id);

struct view_health {
	uint32_t placed;	 /* partitions with a configuration */
	uint32_t complete;	 /* ... with all copies, on nodes that are up */
	uint32_t missing_copies; /* fewer members than copies */
	uint32_t degraded;	 /* a member is down, until the others go on without it */
	uint32_t down;		 /* all members are down: nothing of it can be reached */
	uint32_t below_min;	 /* fewer members than writes need: these wait */
	uint32_t serving;	 /* as their primaries say: the view change is done */
	uint32_t nodes_up, nodes_full;
	uint32_t stand; /* as their primaries say: records whose bytes no node that runs has */
	uint64_t lost;	/* chunks and index pages of which no good copy is left */
	uint64_t loss_epochs; /* sum: possible losses of unflushed writes so far */
	uint64_t used_bytes, total_bytes;
};
void view_health(struct view *v, struct view_health *h);
/* "ok", "degraded", "down", "empty" (no partition placed). */
const char *view_health_word(const struct view *v, const struct view_health *h);
/* TOOL_OK, _DEGRADED, _UNAVAILABLE */
int view_exit_code(const struct view *v, const struct view_health *h);
/* Of enum vms_node_state: "in", "leaving", … */
const char *view_state_word(uint8_t state);
/* One JSON object of everything. */
json_t *view_json(struct view *v);
/* Names of the nodes without which partitions cannot be reached, with commas. */
void view_missing(struct view *v, char *out, size_t room);
/* Bytes of a node's containers, and these plus what is free; false if the node did
 * not tell. */
bool view_node_space(const struct view_node *n, uint64_t *used, uint64_t *total);
/* Writes to its log yield to a copy that they outrun: how far, of how many steps, and for how
 * long (vmstored's backend/yield.c). False: they do not, or it did not tell. */
struct view_yield {
	uint64_t step, steps, seconds;
};
bool view_node_yields(const struct view_node *n, struct view_yield *y);
/* "full" (it takes no new data), "nearly full", or "" (also when it did not tell). */
const char *view_node_full(const struct view_node *n);
/* Chunks and index pages that this node knows to be lost on every node. */
uint64_t view_node_lost(const struct view_node *n);

#endif
