/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All storage nodes of the cluster at once: connections that stay while a command
 * runs, and requests to every node in parallel.
 */
#ifndef VMS_TOOL_NODES_H
#define VMS_TOOL_NODES_H

#include "utils/tool/tool.h"

struct nodes {
	struct tool_peer *p; /* by node id */
	unsigned n;
};

/* Reads the list from the catalog and begins to connect. Close it in any case. */
int nodes_open(struct tool *t, struct nodes *ns, struct vms_errmsg *msg);
void nodes_close(struct tool *t, struct nodes *ns);
/* Waits for the connections. VMS_E_DISCONNECTED: a node is down, msg names it. */
int nodes_ready(struct tool *t, struct nodes *ns, uint32_t timeout_ms, struct vms_errmsg *msg);

struct nodes_want {
	uint32_t timeout_ms;
	bool skip_down; /* a node without a connection is no error */
	/* Stops the waiting: VMS_E_CANCELLED. May be NULL. */
	bool (*enough)(void *arg);
	void *arg;
};
/* One frame to every node; an answer AGAIN is asked again until the time is over.
 * 0, or the status of the first node that failed, which msg names. */
int nodes_send(struct tool *t, struct nodes *ns, const struct vms_msg *m,
	       const struct nodes_want *want, struct vms_errmsg *msg);
/* One ADMIN call to every node; req: borrowed, may be NULL. The answers stay in
 * p[i].answer until the next request; NULL: that node did not answer. */
void nodes_ask(struct tool *t, struct nodes *ns, const char *call, json_t *req,
	       uint32_t timeout_ms);

#endif
