/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of pruning: the table of branches and points, where it stands, and what its parts
 * share. Owner: the node thread. */
#ifndef VMS_PRUNE_INT_H
#define VMS_PRUNE_INT_H

#include "backend/branch.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/record.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "utils/lib/vec.h"

enum phase {
	PR_IDLE,
	PR_READ,   /* the catalog, prefix by prefix */
	PR_SCAN,   /* partition by partition */
	PR_SETTLE, /* until what was dropped is durable on all members */
	PR_REAP,   /* a transaction of the catalog is out */
};
enum prefix { PX_VOLUME, PX_SNAP, PX_BRANCH, PX_REAPED, PX_NODE, PX_N };

struct point {
	uint64_t branch, gen;
	uint64_t via;	/* the descendant that sees it; 0: a snapshot */
	uint64_t limit; /* chunks from here on are not seen */
};

struct pbranch {
	uint64_t branch, owner;
	uint64_t rev;	    /* of its record; 0: it has none */
	uint64_t from;	    /* all numbers from here on are points; UINT64_MAX: none */
	bool dead, left_by; /* its volume is gone; is on a younger one */
	bool seen;	    /* a point lies on it */
	bool dirty;
	bool left;	/* the scan left something of it behind, or missed a partition */
	bool left_part; /* ... in this partition */
	bool here, all; /* the partitions that this node leads, all are named in reaped/ */
	unsigned nancestors;
	struct vms_cat_ancestor ancestor[VMS_ANCESTORS_MAX];
};

struct pvolume {
	uint64_t id, branch, snap_gen;
};

/* A bit for each partition: its primary has found nothing of the branch any more. */
struct reaped {
	uint64_t branch;
	uint32_t node; /* who said so */
	uint8_t *bits; /* NULL: an older version, which did not tell the partitions */
};

VMS_VEC_TYPE(points, struct point);
VMS_VEC_TYPE(pbranches, struct pbranch);

/* A page over which a newer one was made. */
struct late {
	struct vms_page_key key;
};

/* A page that no snapshot shows, and the number of the one that follows it. */
struct cand {
	struct vms_page_key key;
	uint64_t next;
};

/* An entry of the overlay by extent. */
struct under {
	uint32_t extent;
	const struct vms_ovl_ext *e;
};

struct prune {
	enum phase phase;
	bool hint, busy;
	uint64_t due_ms, step_ms;
	uint64_t watch[2]; /* snap/, branch/ */
	/* reading */
	enum prefix px;
	char after[VMS_CAT_KEY_BYTES_MAX];
	uint64_t rev0, watch_rev[2], read_rev;
	bool bad;
	VMS_VEC(struct pvolume) vols;
	VMS_VEC(struct reaped) reaped;
	VMS_VEC(uint32_t) nodes;
	struct pbranches br, old;  /* ascending */
	struct points pts, oldpts; /* ascending by branch, gen */
	/* scanning */
	uint32_t part;
	uint64_t epoch, wait_seq;
	bool entered, more;
	struct vms_page_key resume;
	struct part *p;
	struct vms_node *n;
	unsigned pages;
	bool have_prev;
	struct vms_page_key prev;
	bool full;		      /* whole branches are scanned; else only what is in late */
	VMS_VEC(struct reaped) clean; /* found by this scan */
	uint64_t *clean_epoch;	      /* ... by partition, in that epoch of it */
	VMS_VEC(struct late) late, again;
	unsigned nc, nd;
	struct cand c[VMS_DROPS_MAX];
	struct vms_drop d[VMS_DROPS_MAX];
	VMS_VEC(struct under) under;
	uint64_t scan_ms;
};

/* Nothing reads it and nothing ever will. */
static inline bool prune_gone(const struct pbranch *b)
{
	return b->dead && !b->seen;
}

static inline bool prune_bit(const uint8_t *bits, uint32_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static inline size_t prune_bits_bytes(const struct vms_node *n)
{
	return (n->nparts + 7) / 8;
}

/* ---- prune_read.c: the catalog ---- */

void prune_read_start(struct vms_node *n, struct prune *pr);
/* Snapshots and branches are watched, as of their reading. */
void prune_watch(struct vms_node *n, struct prune *pr);
/* What it is at has come to nothing: from the start, in ms. */
void prune_again_in(struct vms_node *n, struct prune *pr, uint64_t ms);

/* ---- prune_table.c: branches, points ---- */

struct pbranch *prune_find(const struct pbranches *v, uint64_t branch);
size_t prune_first_point(const struct points *v, uint64_t branch, uint64_t gen);
/* Does a snapshot show [gen, next) of the branch, or is there any point at all? */
bool prune_pointed(const struct points *v, uint64_t branch, uint64_t gen, uint64_t next, bool any);
void prune_reaped_clear(struct reaped *d, size_t *n);
/* All has been read: branches, their points, and which of them to look at. */
void prune_table_make(struct vms_node *n, struct prune *pr);

/* ---- prune_scan.c ---- */

/* Some pages of the partition at hand; part goes on when it is done. */
void prune_scan_step(struct vms_node *n, struct prune *pr);
void prune_scan_end(struct vms_node *n, struct prune *pr);

/* ---- prune_reap.c: dead branches that are empty ---- */

/* Say what is empty here, or remove the records of what is empty everywhere. */
void prune_reap(struct vms_node *n, struct prune *pr);
/* Is what was dropped durable on all members? */
bool prune_settled(struct vms_node *n);

#endif
