/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deduplication in the background: finds the duplicates that drains did not see and
 * turns references to them into references to one copy; the collector does the rest.
 * Design: doc/dedup.md "The second phase". Three roles, each of every node:
 *
 *   source   lists (prefix, address) of the chunks of partitions it leads (match_serve.c)
 *   matcher  owns a part of the fingerprint space, finds equal prefixes (match.c)
 *   owner    of a duplicate: has the pair confirmed, rewrites pages (match_remap.c)
 *
 * Losing any message, or all of this, only costs space. Owner: the node thread.
 * Keeps invariants 20, 21, 23, 24 (rules B1, B2, B6, B7).
 */
#ifndef VMS_MATCH_H
#define VMS_MATCH_H

#include "include/types.h"

struct conn;
struct part;
struct vms_move;
struct vms_msg;
struct vms_node;

struct match_stats {
	uint64_t passes;   /* over the part of the fingerprint space that this node matches */
	uint64_t pairs;	   /* duplicates of partitions led here, confirmed */
	uint64_t remapped; /* entries of pages that were ordered to change */
	uint64_t lost;	   /* messages without an answer, pairs that came too late */
};

int match_open(struct vms_node *n);
void match_close(struct vms_node *n);
void match_timer(struct vms_node *n);
void match_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
/* A record of a partition led here has put chunks with fingerprints in their places; */
void match_applied(struct part *p, uint64_t seq);
/* A view begins here: what its former primary has not told, */
void match_view(struct vms_node *n, struct part *p);
/* safe_seq has risen. */
void match_safe(struct vms_node *n, struct part *p);
const struct match_stats *match_stats(const struct vms_node *n);

#endif
