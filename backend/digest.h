/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies of a partition are compared by digests of all they hold. */
#ifndef VMS_DIGEST_H
#define VMS_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct part;
struct vms_msg;
struct vms_node;

/* Order a DIGEST record, or name the one that is on its way. 0 and its seq, or AGAIN. */
int digest_order(struct vms_node *n, struct part *p, uint64_t *seq);
/* True: the record is being worked on, the lane goes on by apply_run() later. */
bool digest_apply(struct vms_node *n, struct part *p, uint64_t seq);
void digest_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void digest_timer(struct vms_node *n);
/* Is one being summed up, or told to the primary? */
bool digest_under_way(const struct part *p);
void digest_close(struct vms_node *n, struct part *p);
/* What this replica holds at a seq: pages, containers, outcomes, positions. */
struct digest_sum {
	uint64_t pages, ctrs, outcomes, pos;
	uint64_t npages, nctrs;
};

#endif
