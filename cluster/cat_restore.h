/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a lost catalog is to hold when it is made anew from a copy that a node kept (rule E3).
 * Everything that must never be used twice goes on far above what any copy and any node
 * knows. And a copy may be older than the last change of a set: what nodes know of later
 * views counts then. Pure; for the tool and the simulator.
 */
#ifndef VMS_CAT_RESTORE_H
#define VMS_CAT_RESTORE_H

#include "cluster/catalog.h"

#define VMS_RESTORE_MARGIN UINT64_C(1000000)

struct vms_restore {
	/* highest that any node or copy knows */
	uint64_t epoch, gateway_incarnation, branch, snap_gen, lun_fence, gc_cycle;
	uint32_t node; /* number of one; 0: none is known */
	/* of that node; NULL: nothing is known of any */
	uint64_t (*incarnation)(void *ctx, uint32_t node);
	void *ctx;
	/* by partition, nviews of them: the newest view that any node knows of */
	struct vms_view *view;
	uint32_t nviews;
};

/* One node's word; the newest of each partition counts. */
void vms_restore_view_add(struct vms_restore *r, uint32_t part, const struct vms_view *v);
/* The value that the key is to have instead of kv's (malloc'ed); NULL: out of memory, or what
 * is wrong with it. */
char *vms_restore_val(const struct vms_restore *r, const struct vms_cat_kv *kv,
		      struct vms_errmsg *msg);

#endif
