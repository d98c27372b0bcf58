/* SPDX-License-Identifier: GPL-2.0-only */
/* Questions to other nodes. */
#ifndef VMS_RPC_H
#define VMS_RPC_H

#include "include/wire.h"

struct conn;
struct peer;
struct vms_node;

/* re NULL: no answer came (connection lost, time over, n->closing). What re points to
 * is gone after the call. */
typedef void (*rpc_fn)(struct vms_node *n, void *arg, const struct vms_msg *re);
/* False: not connected, fn is not called. Sets m->req_id. */
bool rpc_send(struct vms_node *n, struct peer *pe, struct vms_msg *m, uint64_t timeout_ms,
	      rpc_fn fn, void *arg);
bool rpc_reply(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void rpc_peer_lost(struct vms_node *n, struct peer *pe);
void rpc_timer(struct vms_node *n);
void rpc_close(struct vms_node *n);

#endif
