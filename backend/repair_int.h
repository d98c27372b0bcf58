/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to backend/repair*.c. */
#ifndef VMS_REPAIR_INT_H
#define VMS_REPAIR_INT_H

#include "backend/htab.h"
#include "backend/pages.h"
#include "backend/repair.h"
#include "include/types.h"
#include "utils/lib/vec.h"

struct ctr;
struct dio;

#define REPAIR_TRIES  4u   /* with an answer of every member, before something counts as lost */
#define REPAIR_MS_MIN 250u /* between two tries */
#define REPAIR_MS_MAX 60000u
#define REPAIR_LIST   100u /* lost things that are told one by one */

struct rpage;
struct rpiece;

struct lost {
	struct vms_hlink link; /* key: address */
	uint64_t since_ms;
};
struct lost_page {
	struct vms_page_key key;
	uint64_t since_ms;
};

struct repair {
	struct repair_stats st;
	struct rpiece *pieces, **pieces_tail; /* FIFO */
	unsigned npieces, working;
	struct rpage *pages;
	unsigned npages, serving;
	struct vms_htab lost;
	VMS_VEC(struct lost_page) lost_pages;
};

/* Members of the partition's set first, then (when every node will do) the other peers.
 * Moves *at on; NULL: that was all. in_set: it is one of the former. */
struct peer *repair_next_peer(struct vms_node *n, uint32_t partition, bool all, unsigned *at,
			      bool *in_set, bool *missing);
uint64_t repair_pause_ms(unsigned tries);
void repair_serve_seg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void repair_serve_page(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void repair_pages_timer(struct vms_node *n);
void repair_pages_close(struct vms_node *n);
/* Reads what lies on the disk, not what a cache has. */
void repair_read(struct vms_node *n, uint64_t ctr, uint64_t off, void *buf, size_t len,
		 struct dio *d);
/* Chunk places of a segment that must be there; n: entries of its header. */
uint64_t repair_live(const struct ctr *c, uint32_t seg, unsigned n);

#endif
