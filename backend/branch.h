/* SPDX-License-Identifier: GPL-2.0-only */
/* Branches and volumes as a node knows them: floors, ancestors, owners. */
#ifndef VMS_BRANCH_H
#define VMS_BRANCH_H

#include "backend/htab.h"
#include "cluster/catalog.h"

struct vms_node;
struct vms_stack;

/* A volume of the catalog, by the number it keeps for good. */
struct volume {
	struct vms_hlink link; /* key: id */
	bool known;	       /* has a record */
	uint8_t write_ack;
	bool dedup;
	uint64_t branch; /* the one it is in now */
	uint64_t lineage;
	uint64_t loss; /* notices of lost memory-mode writes */
	struct branch *branches;
	char name[128];
};

/* One line of a volume's history. What is below `known` never changes once it is
 * known, so every replica of a record sees the same. */
struct branch {
	struct vms_hlink link;	      /* key: branch */
	uint64_t snap_gen, lun_fence; /* floors, logged */
	uint64_t gen_min, fence_min;  /* enforced: the floors, what the catalog tells, and
					 no number below one that was ordered already */
	bool floor_dirty, floor_forget;
	bool asked; /* the catalog is being asked for its record */
	bool known; /* requests are served, records applied */
	bool dead;  /* the volume has left it */
	bool lost;  /* the catalog has no record of it (any more), and no volume in it: what
		       showed through it, if anything, is not known */
	bool dedup; /* of the volume that owns it */
	bool salted;
	uint8_t salt[32]; /* of its dedup domain, when salted */
	uint64_t lineage, owner;
	struct volume *volume; /* its owner, or NULL: not in the catalog (yet) */
	struct branch *next_own;
	unsigned nancestors;
	struct vms_cat_ancestor ancestor[VMS_ANCESTORS_MAX]; /* nearest first; limits hold for
								 all behind them too */
};

/* create false: NULL when nothing was ever heard of it. Look at `known`. */
struct branch *node_branch(struct vms_node *n, uint64_t branch, bool create);
static inline bool node_branch_known(struct vms_node *n, uint64_t branch)
{
	const struct branch *b = node_branch(n, branch, false);

	return b && b->known;
}
struct volume *node_volume(struct vms_node *n, uint64_t id, bool create);
/* Writes below these numbers are refused from now on. */
void branch_raise(struct branch *b, uint64_t snap_gen, uint64_t fence);
/* The owner of a branch; NULL: not known. */
struct volume *branch_volume(struct vms_node *n, uint64_t branch);
void branch_on_volume(struct vms_node *n, const struct vms_cat_volume *v);
void branch_on_volume_gone(struct vms_node *n, const char *name);
void branch_on_record(struct vms_node *n, const struct vms_cat_branch *r);
/* A record or a volume names a branch that is not known: its record is fetched. */
void branch_ask(struct vms_node *n, struct branch *b);
void branch_timer(struct vms_node *n);
/* What shows through at that number (VMS_GEN_LIVE: the newest). VMS_E_AGAIN: the
 * branch is not known. */
int node_stack(struct vms_node *n, uint64_t branch, uint64_t snap_gen, struct vms_stack *st);
/* It shows nothing of others, nor others of it. */
bool branch_alone(struct vms_node *n, uint64_t branch);
void branch_close(struct vms_node *n);

#endif
