/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading the fingerprint list of a container; see ctr_list.c. */
#ifndef VMS_CTR_LIST_H
#define VMS_CTR_LIST_H

#include "include/types.h"

struct vms_node;

/* status 0, or STOPPING (closing: nothing was read). body: as in fplists.h; any: it
 * holds at least one fingerprint. */
typedef void (*ctr_list_fn)(struct vms_node *n, void *arg, int status, const uint8_t *body,
			    size_t bytes, uint32_t segs, bool any);
/* fn may be called before this returns. sealed: look for a footer first. */
void ctr_list_read(struct vms_node *n, uint64_t ctr, uint32_t segs, bool sealed, ctr_list_fn fn,
		   void *arg);

#endif
