/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One look at everything: ring, nodes, catalog, gateways. What `vmstore status`, `vmstore-ring
 * status` and `advise` show comes from here, so health and exit code are the same of all
 * three: 0 all is well; 3 degraded (everything works, with less safety: a node down or
 * full, a partition short of copies, damage, a member of etcd away or with an alarm, a
 * gateway down that nobody has drained); 4 some data cannot be reached.
 */
#ifndef VMS_TOOL_LOOK_H
#define VMS_TOOL_LOOK_H

#include "utils/tool/etcd_ask.h"
#include "utils/tool/gwdrain.h"
#include "utils/tool/ring.h"

/* Who takes initiators. */
struct gates {
	struct gateways gws;
	struct gate_state *st; /* of each */
	unsigned all, up, sessions;
	unsigned down;	       /* not those that an admin has drained, who may want to stop them */
	struct vms_errmsg why; /* it is not known */
};

struct look {
	struct ring r; /* asked and counted */
	struct view_health h;
	struct gates g;
	struct etcd_look e; /* also when the catalog did not answer */
};

/* Reads the catalog, asks the nodes. Free in any case. */
int look_load(struct tool *t, struct look *l, struct vms_errmsg *msg);
void look_free(struct look *l);
/* look_load() failed: tells it, and which members of etcd do not answer. TOOL_FAILED */
int look_fail(struct tool *t, const struct look *l, const struct vms_errmsg *msg);
/* After l->r was loaded anew. */
void look_again(struct look *l);

/* "ok", "degraded", "down", "empty" (no partition placed). */
const char *look_word(const struct look *l);
/* TOOL_OK, _DEGRADED, _UNAVAILABLE */
int look_exit_code(const struct look *l);
/* One JSON object of everything. */
json_t *look_json(struct look *l);
/* How many gateways are up, and those that are down or drained by name, in lines of their
 * own; `head` wide are the labels. */
void look_print_gateways(const struct look *l, int head);

#endif
