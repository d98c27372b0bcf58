// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages: which may be used, and asking primaries for those that are missing. An answer that
 * is older than an invalidation already seen is not installed (rules A5, C8).
 */
#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"
#include "target/gw_write.h"

struct vms_pc_page *gw_page_good(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent,
				 uint8_t sub, const struct gw_part *part, const struct gw_node *n)
{
	struct vms_pc_page *pg = vms_pc_find(gw->pc, v->rec.branch, v->read_gen, extent, sub);

	if (!pg || pg->node != n->id || pg->session != n->session)
		return NULL;
	if (pg->epoch != part->c.epoch && !gw_mutant(gw, VMS_GWM_OLD_EPOCH))
		return NULL;
	return pg;
}

void gw_page_request(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n, uint8_t need)
{
	const struct vms_cat_volume *rec = &p->vol->rec;
	struct gw_part *part = &gw->part[p->partition];
	struct gw_pagereq **b = gw_page_bucket(gw, rec->branch, p->extent), *q;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = p->partition,
			    .epoch = part->c.epoch,
			    .branch = rec->branch,
			    .snap_gen = p->vol->read_gen,
			    .lun_fence = p->vol->fence,
			    .extent = p->extent,
			    .aux = need};

	for (q = *b; q; q = q->hash_next) {
		bool stale = false;

		if (q->branch != rec->branch || q->gen != p->vol->read_gen ||
		    q->extent != p->extent || (q->mask & need) != need ||
		    q->epoch != part->c.epoch || q->node != n->id)
			continue;
		for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++)
			stale |= (need >> s & 1) && q->inval_seq[s];
		if (!stale) {
			gw_list_add(&q->waiters, &p->link);
			return;
		}
	}
	if (p->vol->base && gw_base_ask(gw, p, n, need))
		return;
	q = gw_pool_zget(&gw->p_pagereq);
	q->branch = rec->branch;
	q->gen = p->vol->read_gen;
	q->extent = p->extent;
	q->partition = p->partition;
	q->epoch = part->c.epoch;
	q->node = n->id;
	q->session = n->session;
	q->mask = need;
	gw_list_init(&q->waiters);
	gw->st.pages_asked += (unsigned)__builtin_popcount(need);
	if (!gw_rpc_send(gw, n, GR_PAGES, q, &m)) {
		gw_pool_put(&gw->p_pagereq, q);
		gw_piece_park(gw, p, GW_RETRY_MS);
		return;
	}
	q->hash_next = *b;
	*b = q;
	gw_list_add(&q->waiters, &p->link);
}

/* Install the pages of an answer. Returns the sub-extents that came too late. */
static uint8_t pages_install(struct vms_gw *gw, struct gw_pagereq *q, const struct vms_msg *m)
{
	struct vms_gw_vol *v = NULL;
	struct vms_rd rd;
	uint8_t late = 0;
	uint32_t n;

	gw_each(l, &q->waiters)
	{
		v = gw_entry(l, struct gw_piece, link)->vol;
		if (v && v->rec.branch == q->branch && q->gen == VMS_GEN_LIVE)
			break;
		v = NULL;
	}

	vms_rd_init(&rd, m->body, m->body_bytes);
	n = vms_rd_u32(&rd);
	for (uint32_t k = 0; k < n && vms_rd_ok(&rd); k++) {
		uint8_t sub = vms_rd_u8(&rd), flags = vms_rd_u8(&rd);
		uint64_t version;
		const uint8_t *e = NULL;
		struct vms_pc_page *pg;

		vms_rd_skip(&rd, 2);
		version = vms_rd_u64(&rd);
		if (!(flags & VMS_PAGE_EMPTY))
			e = vms_rd_take(&rd, 8 * VMS_SUBEXT_CHUNKS);
		if (!vms_rd_ok(&rd) || sub >= VMS_EXTENT_SUBEXTS)
			break;
		if (version + 1 < q->inval_seq[sub] && !gw_mutant(gw, VMS_GWM_STALE_PAGE)) {
			gw->st.pages_stale++;
			late |= (uint8_t)(1u << sub);
			continue;
		}
		if (v && !v->base && (flags & VMS_PAGE_SHARED))
			gw_base_learn(v, m);
		if (v && v->base && (flags & VMS_PAGE_SHARED) &&
		    gw_base_install(gw, v, q, sub, version, e)) {
			gw->st.pages_installed++;
			continue;
		}
		gw_base_lost(gw, q->branch, q->extent, (uint8_t)(1u << sub));
		pg = vms_pc_find(gw->pc, q->branch, q->gen, q->extent, sub);
		if (pg && pg->node == q->node && pg->session == q->session &&
		    pg->epoch == q->epoch && pg->version > version)
			continue; /* answers to own writes have brought it further */
		pg = vms_pc_insert(gw->pc, q->branch, q->gen, q->extent, sub);
		pg->node = q->node;
		pg->session = q->session;
		pg->epoch = q->epoch;
		pg->version = version;
		pg->own[0] = pg->own[1] = 0;
		if (e)
			for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
				pg->entry[i] = vms_get_le64(e + 8 * i);
		else
			memset(pg->entry, 0, sizeof(pg->entry));
		gw_own_mask(gw, pg);
		gw->st.pages_installed++;
	}
	return late;
}

void gw_pages_reply(struct vms_gw *gw, struct gw_pagereq *q, const struct vms_msg *m, int status)
{
	struct gw_pagereq **at = gw_page_bucket(gw, q->branch, q->extent);
	uint8_t late = 0;

	while (*at != q)
		at = &(*at)->hash_next;
	*at = q->hash_next;
	if (!status && gw->part[q->partition].c.epoch == q->epoch)
		late = pages_install(gw, q, m);
	if (status == VMS_E_EPOCH || status == VMS_E_NOT_PRIMARY)
		gw_cat_ask_part(gw, q->partition);
	while (!gw_list_empty(&q->waiters)) {
		struct gw_piece *p = gw_entry(q->waiters.next, struct gw_piece, link);

		gw_list_del(&p->link);
		if (!status) {
			if (late)
				p->by_lba =
					true; /* the chunk is being written: the primary knows */
			p->tries++;
			gw_piece_run(gw, p);
		} else if (vms_err_retryable(status)) {
			gw_piece_park(gw, p, GW_RETRY_MS);
		} else {
			p->info_lba = ((uint64_t)p->extent * VMS_EXTENT_CHUNKS + p->chunk0) *
				      VMS_CHUNK_BLOCKS;
			gw_piece_end(gw, p, status);
		}
	}
	gw_pool_put(&gw->p_pagereq, q);
}
