/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All storage nodes of the cluster at once: connections that stay while a command
 * runs, and requests to every node in parallel.
 *
 * Who has to answer: what a tool has written into the catalog, a later primary reads
 * there before it serves, and so does a restarted node. So it is enough that the
 * primary of every partition answers, as part/ tells when it is read after the write;
 * a node that is down and leads nothing is not waited for, and one that led something
 * is as soon as another one has taken over.
 */
#ifndef VMS_TOOL_NODES_H
#define VMS_TOOL_NODES_H

#include "utils/tool/tool.h"

struct node_lead {
	uint32_t id;	 /* of the node */
	unsigned leads;	 /* partitions, by the last reading */
	uint64_t newest; /* revision of the newest change of one of them */
	uint64_t asked;	 /* what it leads since this revision is covered by the request */
	uint64_t asked_ms;
	uint64_t lost_ms; /* without a connection since then; 0: connected */
};

struct nodes {
	struct tool_peer *p;	/* by node id, at first */
	struct node_lead *lead; /* the same order */
	unsigned n;
	struct {
		uint64_t revision;
		uint32_t primary;
	} * part; /* by number */
	unsigned nparts;
	uint64_t revision; /* of the newest change of part/ that was read; 0: none yet */
};

/* Reads the list from the catalog and begins to connect. Close it in any case. */
int nodes_open(struct tool *t, struct nodes *ns, struct vms_errmsg *msg);
void nodes_close(struct tool *t, struct nodes *ns);
/* Reads who leads what; nodes that have joined are added. */
int nodes_leaders(struct tool *t, struct nodes *ns, struct vms_errmsg *msg);
/* Waits for the connections to all nodes, or to those that lead partitions (and while
 * one of these is down, for another one to take over). VMS_E_DISCONNECTED: a node is
 * down, msg names it. */
int nodes_ready(struct tool *t, struct nodes *ns, uint32_t timeout_ms, struct vms_errmsg *msg);
int nodes_leaders_ready(struct tool *t, struct nodes *ns, uint32_t timeout_ms,
			struct vms_errmsg *msg);

struct nodes_want {
	uint32_t timeout_ms;
	bool skip_down; /* a primary without a connection is no error */
	bool all_up;	/* those that are connected and lead nothing are waited for too */
	/* What is asked for happens in the partitions a node leads: none may have moved
	 * before it was done. */
	bool still;
	uint64_t *aux; /* the answers' aux, or'ed into it; may be NULL */
	/* Stops the waiting: VMS_E_CANCELLED. May be NULL. */
	bool (*enough)(void *arg);
	/* Called about once a second with the name of a node that has not answered. */
	void (*slow)(void *arg, const char *node, uint64_t waited_ms);
	void *arg;
};
/* One frame to every node; an answer AGAIN, and a primary without a connection, is
 * asked again until the time is over; the latter for 10 s at most. 0, or the status of the first
 * primary that failed, which msg names. */
int nodes_send(struct tool *t, struct nodes *ns, const struct vms_msg *m,
	       const struct nodes_want *want, struct vms_errmsg *msg);
/* One ADMIN call to every node; req: borrowed, may be NULL. The answers stay in
 * p[i].answer until the next request; NULL: that node did not answer. */
void nodes_ask(struct tool *t, struct nodes *ns, const char *call, json_t *req,
	       uint32_t timeout_ms);

#endif
