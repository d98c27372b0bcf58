/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the gateway core: pages of which a volume has nothing of its own, kept once for
 * all volumes that see them (gw_base.c).
 */
#ifndef VMS_GW_BASE_H
#define VMS_GW_BASE_H

#include "target/gw_int.h"
#include "target/gw_read.h"

/* A page of which the volume has nothing of its own, if it may be used now, else NULL. To
 * be called for a volume that has a base; the page is not to be changed. */
struct vms_pc_page *gw_base_page(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent,
				 uint8_t sub, const struct gw_part *part, const struct gw_node *n);
/* What a read may go by: a page of either kind. */
static inline struct vms_pc_page *gw_page_read(struct vms_gw *gw, const struct vms_gw_vol *v,
					       uint32_t extent, uint8_t sub,
					       const struct gw_part *part, const struct gw_node *n)
{
	struct vms_pc_page *pg = v->base ? gw_base_page(gw, v, extent, sub, part, n) : NULL;

	if (!pg)
		pg = gw_page_good(gw, v, extent, sub, part, n);
	if (pg)
		pg->idle = 0;
	return pg;
}
/* The volume's base, from an answer that has a shared page. */
void gw_base_learn(struct vms_gw_vol *v, const struct vms_msg *m);
void gw_base_leave(struct vms_gw_vol *v); /* whether it has one or not */
/* A shared page has come. False: it is the volume's own by now. */
bool gw_base_install(struct vms_gw *gw, const struct vms_gw_vol *v, const struct gw_pagereq *q,
		     uint8_t sub, uint64_t version, const uint8_t *entries);
void gw_base_drop(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent, uint8_t sub);
/* The branch has something of its own there from now on. */
void gw_base_lost(struct vms_gw *gw, uint64_t branch, uint32_t extent, uint8_t subexts);
/* The same, by a write that is about to be sent. */
void gw_base_own(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t partition, uint32_t extent,
		 uint32_t first, uint32_t last);
/* Pages are missing. True: the piece waits until it is known which the volume shares. */
bool gw_base_ask(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n, uint8_t need);
/* Is it being asked which pages of that extent are the branch's own? */
bool gw_base_asks(struct vms_gw *gw, uint64_t branch, uint32_t extent);
void gw_own_reply(struct vms_gw *gw, struct gw_claim *q, const struct vms_msg *m, int status);
/* A partition that somebody waits for and that the node does not lead any more, else
 * VMS_PART_NONE. */
uint32_t gw_claim_waits(struct vms_gw *gw, const struct gw_claim *q, const struct gw_node *n);
void gw_base_vol_gone(struct vms_gw *gw, struct vms_gw_vol *v);
void gw_base_fini(struct vms_gw *gw);

#endif
