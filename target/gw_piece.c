// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pieces of reads. All chunks of a read that lie in one extent are resolved in one step from
 * coherent pages (rules C13); when one of them is under way (ASK, or an own write
 * without answer) the whole piece is read by place at the primary instead.
 *
 * A piece goes: pages known? -> addresses -> chunks cached? -> done. What is missing
 * is asked for once however many wait for it, and an address that turns out to be
 * gone sends the piece back to the start. Keeps invariants 1, 2, 9, 19
 * (rules A4, A5, B5, C7, C8, C10).
 */
#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"

struct gw_piece *gw_piece_new(struct vms_gw *gw, struct vms_gw_vol *v, struct gw_req *r,
			      uint64_t chunk, uint32_t n)
{
	struct gw_piece *p = gw_pool_zget(&gw->p_piece);

	gw_list_init(&p->link);
	p->req = r;
	p->vol = v;
	p->extent = (uint32_t)(chunk / VMS_EXTENT_CHUNKS);
	p->chunk0 = (uint16_t)(chunk % VMS_EXTENT_CHUNKS);
	p->n = (uint16_t)n;
	p->partition = vms_extent_partition(v->rec.lineage, p->extent, gw->cluster.part_bits);
	p->t_ms = gw->now_ms;
	if (r) {
		p->req_next = r->pieces;
		r->pieces = p;
		p->req_chunk0 = (uint32_t)(chunk - r->first_chunk);
		r->npend++;
	}
	gw->npieces++;
	return p;
}

void gw_piece_end(struct vms_gw *gw, struct gw_piece *p, int status)
{
	struct gw_req *r = p->req;

	gw_list_del(&p->link);
	if (r) {
		struct gw_piece **at = &r->pieces;

		while (*at != p)
			at = &(*at)->req_next;
		*at = p->req_next;
		if (status && !r->status) {
			r->status = status;
			r->info_lba = p->info_lba;
		}
	}
	gw_pool_put(&gw->p_piece, p);
	gw->npieces--;
	if (r && --r->npend == 0)
		gw_req_end(gw, r);
}

void gw_piece_park(struct vms_gw *gw, struct gw_piece *p, uint32_t ms)
{
	if ((!p->req && !p->prefetch) || gw->now_ms - p->t_ms > gw_patience_ms(gw) ||
	    (p->prefetch && p->tries)) {
		gw_piece_end(gw, p, VMS_E_BUSY);
		return;
	}
	p->tries += p->prefetch;
	p->due_ms = gw->now_ms + ms;
	gw_list_add(&gw->parked, &p->link);
	gw_wake_at(gw, p->due_ms);
}

void gw_piece_fail(struct vms_gw *gw, struct gw_piece *p, int status, unsigned i, unsigned sector)
{
	uint64_t chunk = (uint64_t)p->extent * VMS_EXTENT_CHUNKS + p->chunk0 + i;

	if (!p->status) {
		p->status = status;
		p->info_lba = chunk * VMS_CHUNK_BLOCKS + sector;
	}
	(void)gw;
}

/* ---- data to the command ---- */

void gw_piece_put(struct vms_gw *gw, struct gw_piece *p, unsigned i, const uint8_t *data,
		  uint32_t slot, bool stays)
{
	struct gw_req *r = p->req;
	uint32_t ci = p->req_chunk0 + i, start, len;
	uint64_t at;

	if (!r)
		return;
	start = ci ? 0 : r->off0;
	at = ci ? (uint64_t)ci * VMS_CHUNK_BYTES - r->off0 : 0;
	len = VMS_CHUNK_BYTES - start;
	if (len > r->total_bytes - at)
		len = (uint32_t)(r->total_bytes - at);
	if (r->cmd->op == VMS_GW_READ && r->cmd->dest) {
		memcpy(r->cmd->dest + at, data + start, len);
		return;
	}
	if (slot != VMS_CC_NONE) {
		vms_cc_pin(gw->cc, slot);
	} else if (!stays) {
		struct gw_tmp *t = malloc(sizeof(*t));

		vms_assert(t);
		memcpy(t->data, data, VMS_CHUNK_BYTES);
		t->next = r->tmp;
		r->tmp = t;
		data = t->data;
	}
	r->iov[ci].base = data + start;
	r->iov[ci].len = len;
}

void gw_read_unput(struct vms_gw *gw, struct gw_req *r, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		uint32_t slot;

		if (!r->iov[i].base)
			continue;
		slot = vms_cc_slot_of(gw->cc, r->iov[i].base);
		if (slot != VMS_CC_NONE)
			vms_cc_unpin(gw->cc, slot);
		r->iov[i].base = NULL;
	}
}

void gw_read_unpin(struct vms_gw *gw, struct gw_req *r)
{
	gw_read_unput(gw, r, 0, r->nchunks);
}

/* Sectors of chunk i that the command wants. */
static uint8_t wanted_mask(const struct gw_piece *p, unsigned i)
{
	const struct gw_req *r = p->req;
	uint64_t first = ((uint64_t)p->extent * VMS_EXTENT_CHUNKS + p->chunk0 + i) *
			 VMS_CHUNK_BLOCKS;
	uint64_t end = r->cmd->lba + r->cmd->nblocks;
	unsigned lo = first < r->cmd->lba ? (unsigned)(r->cmd->lba - first) : 0;
	unsigned hi = end - first < VMS_CHUNK_BLOCKS ? (unsigned)(end - first) : VMS_CHUNK_BLOCKS;

	return (uint8_t)((0xffu << lo) & (0xffu >> (8 - hi)));
}

void gw_piece_put_partial(struct vms_gw *gw, struct gw_piece *p, unsigned i, const uint8_t *data,
			  uint8_t valid)
{
	uint8_t bad;

	if (!p->req)
		return;
	bad = wanted_mask(p, i) & (uint8_t)~valid;
	if (bad)
		gw_piece_fail(gw, p, VMS_E_BAD_SECTORS, i, (unsigned)__builtin_ctz(bad));
	else
		gw_piece_put(gw, p, i, data, VMS_CC_NONE, false);
}

static void pages_drop(struct vms_gw *gw, struct gw_piece *p)
{
	unsigned first = p->chunk0 / VMS_SUBEXT_CHUNKS;
	unsigned last = (p->chunk0 + p->n - 1u) / VMS_SUBEXT_CHUNKS;

	for (unsigned s = first; s <= last; s++) {
		struct vms_pc_page *pg = vms_pc_find(gw->pc, p->vol->rec.branch, p->vol->read_gen,
						     p->extent, (uint8_t)s);
		if (pg)
			vms_pc_drop(gw->pc, pg);
		if (p->vol->base)
			gw_base_drop(gw, p->vol, p->extent, (uint8_t)s);
	}
}

void gw_piece_waited(struct vms_gw *gw, struct gw_piece *p)
{
	if (--p->nwait)
		return;
	if (!p->req || p->status) {
		gw_piece_end(gw, p, p->status);
		return;
	}
	if (!p->redo) {
		gw_piece_end(gw, p, 0);
		return;
	}
	p->redo = false;
	p->tries++;
	gw_read_unput(gw, p->req, p->req_chunk0, p->n);
	pages_drop(gw, p);
	if (p->slow) {
		p->slow = false;
		gw_piece_park(gw, p, GW_RETRY_MS);
	} else {
		gw_piece_run(gw, p);
	}
}

/* ---- resolving ---- */

void gw_piece_run(struct vms_gw *gw, struct gw_piece *p)
{
	struct gw_part *part = &gw->part[p->partition];
	struct gw_node *n = gw_primary(gw, p->partition);
	unsigned first = p->chunk0 / VMS_SUBEXT_CHUNKS;
	unsigned last = (p->chunk0 + p->n - 1u) / VMS_SUBEXT_CHUNKS;
	struct vms_pc_page *pg[VMS_EXTENT_SUBEXTS];
	bool map = p->req && p->req->cmd->op == VMS_GW_MAP, ask = false;
	bool status_only = map || (p->req && p->req->cmd->op == VMS_GW_LBA_STATUS);
	uint8_t need = 0;

	if (!p->req && !p->prefetch) {
		gw_piece_end(gw, p, 0);
		return;
	}
	if (!n || n->state != GN_READY) {
		gw_piece_park(gw, p, 2 * GW_RETRY_MS);
		return;
	}
	p->fill = 0;
	if (p->tries > GW_TRIES_MAX)
		p->by_lba = true;
	if (p->by_lba || !gw_lease_ok(gw, part, n)) {
		if (status_only || p->prefetch) {
			p->by_lba = false;
			p->tries = p->prefetch;
			gw_piece_park(gw, p, 2 * GW_RETRY_MS);
		} else {
			gw_piece_lba(gw, p, n);
		}
		return;
	}
	for (unsigned s = first; s <= last; s++) {
		pg[s] = gw_page_read(gw, p->vol, p->extent, (uint8_t)s, part, n);
		if (!pg[s])
			need |= (uint8_t)(1u << s);
	}
	/* Who wants more than a few chunks asks for a page with unknown entries again, and so
	 * does who wants to know what is mapped; the others ask for what is unknown. */
	if (!p->tries && (status_only || p->n > GW_ASK_CHUNKS_MAX))
		need |= gw_entries_unknown(p, pg);
	if (need) {
		gw_page_request(gw, p, n, need);
		return;
	}
	if (status_only) {
		if (map)
			gw_map_piece(gw, p, pg);
		else
			gw_lba_status_piece(gw, p, pg);
		gw_piece_end(gw, p, 0);
		return;
	}
	for (unsigned i = 0; i < p->n; i++) {
		unsigned c = p->chunk0 + i;
		const struct vms_pc_page *g = pg[c / VMS_SUBEXT_CHUNKS];

		ask |= vms_pc_unknown(g->entry[c % VMS_SUBEXT_CHUNKS]) ||
		       (vms_pc_own(g, c % VMS_SUBEXT_CHUNKS) && !gw_mutant(gw, VMS_GWM_OWN_WRITES));
	}
	if (ask) {
		if (p->prefetch) {
			gw_piece_end(gw, p, 0);
		} else {
			gw_entries_ask(gw, p, pg);
			gw_piece_lba(gw, p, n);
		}
		return;
	}
	gw->st.page_hits += last - first + 1;
	p->nwait = 1;
	for (unsigned i = 0; i < p->n; i++) {
		unsigned c = p->chunk0 + i;
		vms_addr a = pg[c / VMS_SUBEXT_CHUNKS]->entry[c % VMS_SUBEXT_CHUNKS];
		uint32_t slot;

		if (a == VMS_ADDR_HOLE) {
			gw_piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
		} else if (p->prefetch) {
			if (!vms_cc_has(gw->cc, a))
				gw_fetch_join(gw, p, i, a, 0);
		} else {
			slot = vms_cc_find(gw->cc, a);
			if (slot != VMS_CC_NONE)
				gw_piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			else
				gw_fetch_join(gw, p, i, a, 0);
		}
	}
	gw_piece_waited(gw, p);
}

void gw_read_timer(struct vms_gw *gw)
{
	struct gw_link run;

	/* a piece that parks itself again is not met twice */
	gw_list_init(&run);
	gw_each(l, &gw->parked)
	{
		struct gw_piece *p = gw_entry(l, struct gw_piece, link);

		if (gw->kicked || p->due_ms <= gw->now_ms || !p->req) {
			gw_list_del(l);
			gw_list_add(&run, l);
		} else {
			gw_wake_at(gw, p->due_ms);
		}
	}
	while (!gw_list_empty(&run)) {
		struct gw_piece *p = gw_entry(run.next, struct gw_piece, link);

		gw_list_del(&p->link);
		/* reads change nothing, so age does not matter: long enough for most to
		 * outlast a change of the primary */
		if (gw->now_ms - p->t_ms > gw_patience_ms(gw))
			gw_piece_end(gw, p, VMS_E_BUSY);
		else
			gw_piece_run(gw, p);
	}
}

void gw_orphans_drop(struct vms_gw *gw, struct gw_link *h, struct vms_gw_vol *v)
{
	gw_each(l, h)
	{
		struct gw_piece *p = gw_entry(l, struct gw_piece, link);

		if (p->vol == v && !p->req)
			gw_piece_end(gw, p, 0);
	}
}
