// SPDX-License-Identifier: GPL-2.0-only
/*
 * Own writes in flight. From its first send to its end an op's chunks are masked in the page
 * cache: the primary may have made it visible to others already (rules A4).
 */
#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_write.h"

static inline struct gw_wext **wext_bucket(struct vms_gw *gw, uint64_t branch, uint32_t extent)
{
	return &gw->wext_hash[vms_mix64(branch * 0x9e3779b97f4a7c15ull + extent) & (GW_HASH - 1)];
}

static struct gw_wext *wext_find(struct vms_gw *gw, uint64_t branch, uint32_t extent)
{
	struct gw_wext *w = *wext_bucket(gw, branch, extent);

	while (w && (w->branch != branch || w->extent != extent))
		w = w->hash_next;
	return w;
}

bool gw_own_overlap(struct vms_gw *gw, uint64_t branch, uint32_t extent, uint32_t chunk0,
		    uint32_t n)
{
	struct gw_wext *w = wext_find(gw, branch, extent);

	for (struct gw_op *o = w ? w->ops : NULL; o; o = o->wx_next)
		if (gw_op_chunk0(o) < chunk0 + n && gw_op_chunk_end(o) > chunk0)
			return true;
	return false;
}

static void page_mask(struct vms_pc_page *p, uint32_t from, uint32_t to)
{
	uint32_t base = (uint32_t)p->sub * VMS_SUBEXT_CHUNKS;

	if (from < base)
		from = base;
	if (to > base + VMS_SUBEXT_CHUNKS)
		to = base + VMS_SUBEXT_CHUNKS;
	for (uint32_t c = from; c < to; c++)
		p->own[(c - base) >> 6] |= 1ull << ((c - base) & 63);
}

void gw_own_mask(struct vms_gw *gw, struct vms_pc_page *p)
{
	struct gw_wext *w = p->gen == VMS_GEN_LIVE ? wext_find(gw, p->branch, p->extent) : NULL;

	for (struct gw_op *o = w ? w->ops : NULL; o; o = o->wx_next)
		page_mask(p, gw_op_chunk0(o), gw_op_chunk_end(o));
}

void gw_own_add(struct vms_gw *gw, struct gw_op *op)
{
	uint64_t branch = op->req->vol->rec.branch;
	struct gw_wext *w = wext_find(gw, branch, op->extent);
	uint32_t last = (gw_op_chunk_end(op) - 1) / VMS_SUBEXT_CHUNKS;

	if (!w) {
		struct gw_wext **b = wext_bucket(gw, branch, op->extent);

		w = gw_pool_zget(&gw->p_wext);
		w->branch = branch;
		w->extent = op->extent;
		w->hash_next = *b;
		*b = w;
	}
	if (op->req->vol->base)
		gw_base_own(gw, op->req->vol, op->partition, op->extent,
			    gw_op_chunk0(op) / VMS_SUBEXT_CHUNKS, last);
	op->wx_next = w->ops;
	w->ops = op;
	op->marked = true;
	for (uint32_t s = gw_op_chunk0(op) / VMS_SUBEXT_CHUNKS; s <= last; s++) {
		struct vms_pc_page *p = vms_pc_find(gw->pc, branch, VMS_GEN_LIVE, op->extent,
						    (uint8_t)s);

		if (p)
			page_mask(p, gw_op_chunk0(op), gw_op_chunk_end(op));
	}
}

void gw_own_del(struct vms_gw *gw, struct gw_op *op)
{
	uint64_t branch = op->req->vol->rec.branch;
	struct gw_wext *w = wext_find(gw, branch, op->extent);
	struct gw_op **at = &w->ops;
	uint32_t last = (gw_op_chunk_end(op) - 1) / VMS_SUBEXT_CHUNKS;

	while (*at != op)
		at = &(*at)->wx_next;
	*at = op->wx_next;
	op->marked = false;
	for (uint32_t s = gw_op_chunk0(op) / VMS_SUBEXT_CHUNKS; s <= last; s++) {
		struct vms_pc_page *p = vms_pc_find(gw->pc, branch, VMS_GEN_LIVE, op->extent,
						    (uint8_t)s);

		if (!p)
			continue;
		p->own[0] = p->own[1] = 0;
		for (struct gw_op *o = w->ops; o; o = o->wx_next)
			page_mask(p, gw_op_chunk0(o), gw_op_chunk_end(o));
	}
	if (!w->ops) {
		struct gw_wext **b = wext_bucket(gw, branch, op->extent);

		while (*b != w)
			b = &(*b)->hash_next;
		*b = w->hash_next;
		gw_pool_put(&gw->p_wext, w);
	}
}
