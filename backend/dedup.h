/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deduplication in the node's core: finding chunks that are stored already. Design:
 * doc/dedup.md. The index (hooks, lists, recent chunks) is advice; CONFIRM at the
 * primary that owns the chunk compares the whole fingerprint and decides, and marks
 * the container as shared before it says yes. Owner: the node thread.
 * Keeps invariants 21, 23, 24 (rules B1, B2, B6, B7).
 */
#ifndef VMS_DEDUP_H
#define VMS_DEDUP_H

#include "include/types.h"

struct conn;
struct part;
struct peer;
struct vms_move;
struct vms_msg;
struct vms_node;

struct dedup_stats {
	uint64_t hashed, hits_batch, hits_own, hits_foreign, hits_refused;
	uint64_t lookups, lookups_timed_out, unanswered, hooks_asked, hooks_found;
	uint64_t lists_fetched, lists_gone, confirms, confirms_no, shares;
	uint64_t hooks_told, hooks_told_again;
};

/* Where a chunk lies that has the wanted content; addr 0: not known. */
struct dedup_hit {
	vms_addr addr;
	uint64_t stamp; /* collection cycle of the partition it lies in */
	uint32_t crc;
};
/* hit: one per fingerprint, gone after the call; NULL: the node is closing. */
typedef void (*dedup_fn)(struct vms_node *n, void *arg, const struct dedup_hit *hit);

int dedup_open(struct vms_node *n);
void dedup_close(struct vms_node *n);
/* Look for chunks on behalf of a partition that this node leads. fn is called once,
 * maybe before this returns, at the latest after a tenth of a second. */
void dedup_lookup(struct vms_node *n, uint32_t partition, const uint8_t (*fp)[32], unsigned count,
		  dedup_fn fn, void *arg);
void dedup_count_hashed(struct vms_node *n, unsigned chunks);
void dedup_count_hits(struct vms_node *n, unsigned batch, unsigned own, unsigned foreign,
		      unsigned refused);
/* In the step that orders the reference: does the answer still hold? */
bool dedup_may_refer(struct vms_node *n, struct part *p, const struct dedup_hit *h);

/* A record of a partition that this node leads has put chunks in their places. */
void dedup_applied(struct vms_node *n, struct part *p, uint8_t type, uint64_t seq,
		   const struct vms_move *m, unsigned nm);
void dedup_safe(struct vms_node *n, struct part *p);   /* safe_seq has risen */
void dedup_shared(struct vms_node *n, struct part *p); /* a SHARE was applied */
void dedup_part_close(struct part *p);

void dedup_timer(struct vms_node *n);
void dedup_turn_end(struct vms_node *n);
void dedup_peer_up(struct vms_node *n, struct peer *pe);
void dedup_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
uint64_t dedup_gauge(const struct vms_node *n, const char *name);
const struct dedup_stats *dedup_stats(const struct vms_node *n);

#endif
