/* SPDX-License-Identifier: GPL-2.0-only */
/* Checkpoints of the index; what of the log must stay, and the end of the process. */
#ifndef VMS_CHECKPOINT_H
#define VMS_CHECKPOINT_H

#include "backend/meta.h"

struct conn;
struct peer;
struct vms_msg;
struct vms_node;

/* Bytes of the log that are read beyond a step (helper threads, writes in flight): no
 * generation that holds something from pos on is freed. Zeroed: nothing is lent. */
struct log_lend {
	struct log_lend *prev, *next;
	uint64_t pos;
	bool on;
};

void ckpt_timer(struct vms_node *n);
void ckpt_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void ckpt_peer_up(struct vms_node *n, struct peer *pe);
/* The next checkpoint begins soon; what is changed before it does is durable when
 * ckpt_ended has reached the number returned. */
uint64_t ckpt_request(struct vms_node *n);
/* Again: the lower of both positions counts. */
void log_lend(struct vms_node *n, struct log_lend *l, uint64_t pos);
void log_return(struct vms_node *n, struct log_lend *l); /* nothing lent: nothing happens */
int ckpt_put_ident(struct vms_node *n, struct vms_meta_batch *b, bool clean);
void stop_step(struct vms_node *n);

#endif
