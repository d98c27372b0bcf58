// SPDX-License-Identifier: GPL-2.0-only
/*
 * Entries of cached pages, one by one: what another gateway's write makes unknown
 * (INVALIDATE), what reads by place make known again (READ_LBA), what nodes re-key
 * (PAGE_UPDATE).
 *
 * An INVALIDATE that names chunks leaves the rest of the page as it is, and the node goes
 * on telling us of writes to it. An unknown entry is an odd number. Who reads it asks the
 * primary for the chunk by place and leaves a token in the entry; the answer fills the
 * entry if the token is still there. The request went out after the page was known, so
 * whatever was ordered before it was answered is in the answer, or is not committed, and
 * then the answer names no address; whatever was ordered later has an INVALIDATE (another
 * gateway's) or an answer (an own one), which come in the node's order and overwrite the
 * token or what has been filled in.
 *
 * The answer to INVALIDATE tells of what nothing is left here, so that the node does not
 * tell us of each write for ever: pages that had to go to make room, or that nobody reads.
 * A page that has been asked for counts as being there.
 * Owner: tgt's event loop. Keeps invariants 1, 2 (rules A4, A5).
 */
#include "target/gw_base.h"
#include "target/gw_int.h"

static uint8_t asked_for(struct vms_gw *gw, const struct vms_msg *m)
{
	uint8_t subs = gw_base_asks(gw, m->branch, m->extent) ? 0xff : 0;

	for (struct gw_pagereq *q = *gw_page_bucket(gw, m->branch, m->extent); q; q = q->hash_next)
		if (q->branch == m->branch && q->extent == m->extent)
			subs |= q->mask;
	return gw_mutant(gw, VMS_GWM_PAGE_GONE) ? 0 : subs;
}

/* Returns the sub-extents of which nothing is left. */
static uint8_t take(struct vms_gw *gw, const struct vms_msg *m, uint8_t subs,
		    const struct vms_inval_run *run, int nrun)
{
	struct vms_pc_page *page[VMS_EXTENT_SUBEXTS] = {NULL};
	uint8_t gone = 0;

	if (!gw_mutant(gw, VMS_GWM_CLAIM_KEPT))
		gw_base_lost(gw, m->branch, m->extent, subs);
	for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++) {
		struct vms_pc_page *pg;

		if (!(subs >> s & 1))
			continue;
		pg = vms_pc_find(gw->pc, m->branch, VMS_GEN_LIVE, m->extent, (uint8_t)s);
		if (pg && (nrun <= 0 || pg->idle++ >= GW_IDLE_INVALS_MAX)) {
			vms_pc_drop(gw->pc, pg);
			pg = NULL;
		}
		page[s] = pg;
		if (!pg)
			gone |= (uint8_t)(1u << s);
	}
	for (int i = 0; i < nrun; i++)
		for (unsigned c = run[i].chunk; c < run[i].chunk + (unsigned)run[i].count; c++)
			if (page[c / VMS_SUBEXT_CHUNKS])
				page[c / VMS_SUBEXT_CHUNKS]->entry[c % VMS_SUBEXT_CHUNKS] =
					VMS_ADDR_ASK;
	for (struct gw_pagereq *q = *gw_page_bucket(gw, m->branch, m->extent); q;
	     q = q->hash_next) {
		if (q->branch != m->branch || q->gen != VMS_GEN_LIVE || q->extent != m->extent)
			continue;
		for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++)
			if ((subs >> s & 1) && q->inval_seq[s] < m->sequence + 1)
				q->inval_seq[s] = m->sequence + 1;
	}
	return gone & (uint8_t)~asked_for(gw, m);
}

void gw_invalidate(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m)
{
	struct vms_inval_run run[VMS_INVAL_RUNS_MAX];
	int nrun = vms_inval_decode(m, run);
	struct vms_msg re;

	gw->st.invalidations++;
	vms_msg_reply_init(&re, m, 0);
	/* what cannot be made out may mean any of them */
	if (!gw_mutant(gw, VMS_GWM_INVALIDATE))
		re.aux = take(gw, m, nrun < 0 ? 0xff : (uint8_t)m->aux, run, nrun);
	gw_send(gw, n, &re);
}

void gw_page_update(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m)
{
	struct vms_rd rd;

	vms_rd_init(&rd, m->body, m->body_bytes);
	while (vms_rd_left(&rd) >= 24) {
		uint16_t chunk = vms_rd_u16(&rd);
		vms_addr from, to;
		struct vms_pc_page *pg;

		vms_rd_skip(&rd, 6);
		from = vms_rd_u64(&rd);
		to = vms_rd_u64(&rd);
		if (chunk >= VMS_EXTENT_CHUNKS || from == VMS_ADDR_HOLE || vms_pc_unknown(from) ||
		    vms_pc_unknown(to))
			continue;
		pg = vms_pc_find(gw->pc, m->branch, VMS_GEN_LIVE, m->extent,
				 (uint8_t)(chunk / VMS_SUBEXT_CHUNKS));
		if (pg && pg->node == n->id && pg->session == n->session && pg->epoch == m->epoch &&
		    pg->entry[chunk % VMS_SUBEXT_CHUNKS] == from) {
			pg->entry[chunk % VMS_SUBEXT_CHUNKS] = to;
			gw->st.page_updates++;
		}
		if (to != VMS_ADDR_HOLE)
			vms_cc_rekey(gw->cc, from, to);
	}
}

/* ---- unknown entries ---- */

uint8_t gw_entries_unknown(const struct gw_piece *p, struct vms_pc_page *const *pg)
{
	uint8_t subs = 0;

	for (unsigned c = p->chunk0; c < p->chunk0 + (unsigned)p->n; c++) {
		const struct vms_pc_page *g = pg[c / VMS_SUBEXT_CHUNKS];

		if (g && vms_pc_unknown(g->entry[c % VMS_SUBEXT_CHUNKS]))
			subs |= (uint8_t)(1u << c / VMS_SUBEXT_CHUNKS);
	}
	return subs;
}

void gw_entries_ask(struct vms_gw *gw, struct gw_piece *p, struct vms_pc_page **pg)
{
	uint64_t token = gw->fill_token += 2;

	for (unsigned c = p->chunk0; c < p->chunk0 + (unsigned)p->n; c++) {
		struct vms_pc_page *g = pg[c / VMS_SUBEXT_CHUNKS];

		if (!g || !vms_pc_unknown(g->entry[c % VMS_SUBEXT_CHUNKS]))
			continue;
		if (g->gen != p->vol->read_gen) {
			/* a base's: the next read finds out whether it is known by now */
			pg[c / VMS_SUBEXT_CHUNKS] = NULL;
			vms_pc_drop(gw->pc, g);
			continue;
		}
		g->entry[c % VMS_SUBEXT_CHUNKS] = token;
		p->fill = token;
	}
}

void gw_entry_fill(struct vms_gw *gw, const struct gw_piece *p, unsigned i, vms_addr a)
{
	unsigned c = p->chunk0 + i;
	struct vms_pc_page *pg = vms_pc_find(gw->pc, p->vol->rec.branch, p->vol->read_gen,
					     p->extent, (uint8_t)(c / VMS_SUBEXT_CHUNKS));
	vms_addr *e = pg ? &pg->entry[c % VMS_SUBEXT_CHUNKS] : NULL;

	if (!e || vms_pc_unknown(a))
		return;
	if (*e == p->fill || (gw_mutant(gw, VMS_GWM_FILL_OLD) && vms_pc_unknown(*e))) {
		*e = a;
		gw->st.entries_filled++;
	}
}
