/* SPDX-License-Identifier: GPL-2.0-only */
/* What readers see: pages and chunks of a partition. */
#ifndef VMS_NODE_READ_H
#define VMS_NODE_READ_H

#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/stack.h"
#include "include/types.h"

struct conn;
struct part;
struct vms_node;

void read_pages(struct vms_node *n, struct conn *c, const struct vms_msg *m);
/* May pages be read here under that epoch? Else the status to answer. */
int read_check(const struct vms_node *n, struct part *p, uint64_t epoch);

void session_holders_trim(struct vms_node *n);
void read_addr(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void read_lba(struct vms_node *n, struct conn *c, const struct vms_msg *m);
/* What a reader of one extent sees: pages, and the overlay over them. */
struct seen {
	uint32_t extent;
	struct vms_stack st;
	struct vms_ovl_stack ovl;
};
/* What reads see of a chunk as of `point`: vms_ovl_view_stack(), and what a TRIM that is not
 * applied yet cuts off as zeros. Not for the apply lane, which goes record by record. */
void part_view(struct vms_node *n, struct part *p, const struct seen *s, uint16_t chunk,
	       uint64_t point, vms_addr entry, struct vms_ovl_view *v);
int part_see(struct vms_node *n, struct part *p, uint64_t branch, uint32_t extent,
	     uint64_t snap_gen, struct seen *out);
/* The page under it; no page: holes, and branch 0 in its key. */
int part_page(struct vms_node *n, struct part *p, const struct seen *s, unsigned sub,
	      struct vms_page *out);
/* Most chunks: one write of all of it (src[0]), whose bytes lie in the log; else NULL. Who
 * keeps the pointer beyond this step lends it. */
const uint8_t *chunk_in_log(const struct vms_node *n, const struct vms_ovl_view *v);
/* Content of a chunk as of `committed`: patch[] gets the sectors of the overlay
 * (mask in *patched), *base the address below (HOLE when nothing of it shows). */
int chunk_resolve(struct vms_node *n, struct part *p, const struct vms_ovl_view *v,
		  const struct vms_page *page, uint16_t chunk, uint8_t *patch, uint8_t *patched,
		  vms_addr *base);
void chunk_merge(uint8_t *base, const uint8_t *patch, uint8_t patched);

#endif
