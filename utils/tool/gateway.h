/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gateways from outside: who they are, whether their sessions live, and shutting
 * one out that is gone.
 */
#ifndef VMS_TOOL_GATEWAY_H
#define VMS_TOOL_GATEWAY_H

#include "utils/tool/nodes.h"

struct gateway_info {
	struct vms_cat_gateway g;
	uint64_t mod_revision;
};
VMS_VEC_TYPE(gateways, struct gateway_info);

int gateways_load(struct tool *t, struct gateways *out, struct vms_errmsg *msg);
void gateways_free(struct gateways *g);
/* Its name, or "number N" when the catalog has no record of it. */
const char *gateways_name(const struct gateways *g, uint32_t id, char out[64]);

/* Asks the nodes. *live: those with a live session of that gateway. A node that is down
 * and leads nothing has none; one that leads partitions and does not answer for try_ms:
 * VMS_E_DISCONNECTED (VMS_E_AGAIN: it has just started), msg names it. */
int gateway_sessions(struct tool *t, struct nodes *ns, uint32_t gateway, uint32_t try_ms,
		     unsigned *live, struct vms_errmsg *msg);

/* Shuts out the process of a gateway that ran as `incarnation`: no node takes an op of
 * it any more, and what it had open counts as closed. Repeatable.
 * skip_down: primaries that are down are left out; they learn it from the catalog when
 * they start. */
int gateway_fence(struct tool *t, struct nodes *ns, uint32_t gateway, uint64_t incarnation,
		  bool skip_down, struct vms_errmsg *msg);

/* Takes a gateway that is gone for good off the list. VMS_E_BUSY: it lives (force: it is
 * shut out all the same). *kept: a node was down and does not know yet, so the record
 * stays; repeat when it is up. */
int gateway_forget(struct tool *t, const struct gateway_info *g, bool force, bool *kept,
		   struct vms_errmsg *msg);

#endif
