// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads by place, at the primary: of chunks whose address nobody may know now (ASK, own
 * writes without answer, no lease), and the last resort of pieces that found none (rules A4).
 */
#include "target/gw_int.h"
#include "target/gw_read.h"

void gw_piece_lba(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n)
{
	const struct vms_cat_volume *rec = &p->vol->rec;
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .partition = p->partition,
			    .epoch = gw->part[p->partition].c.epoch,
			    .branch = rec->branch,
			    .snap_gen = p->vol->read_gen,
			    .lun_fence = p->vol->fence,
			    .extent = p->extent,
			    .body = gw->body,
			    .body_bytes = p->n * 2u};

	for (unsigned i = 0; i < p->n; i++)
		vms_put_le16(gw->body + 2 * i, (uint16_t)(p->chunk0 + i));
	gw->st.chunks_lba += p->n;
	if (!gw_rpc_send(gw, n, GR_LBA, p, &m))
		gw_piece_park(gw, p, GW_RETRY_MS);
}

void gw_lba_reply(struct vms_gw *gw, struct gw_piece *p, uint32_t node, const struct vms_msg *m,
		  int status)
{
	struct gw_answer r;
	bool again = false;

	if (!p->req) {
		gw_piece_end(gw, p, 0);
		return;
	}
	if (!status && m->body_bytes != p->n * 16u)
		status = VMS_E_PROTO;
	if (status) {
		if (status == VMS_E_EPOCH || status == VMS_E_NOT_PRIMARY)
			gw_cat_ask_part(gw, p->partition);
		if (vms_err_retryable(status)) {
			gw_piece_park(gw, p, GW_RETRY_MS);
		} else {
			gw_piece_fail(gw, p, status, 0, 0);
			gw_piece_end(gw, p, status);
		}
		return;
	}
	gw_answer_init(&r, m);
	p->nwait = 1;
	for (unsigned i = 0; i < p->n; i++) {
		struct gw_chunk e = gw_answer_next(gw, &r, 0);

		if (e.status == 0) {
			uint32_t slot = VMS_CC_NONE;

			if (e.data && e.a != VMS_ADDR_ASK)
				slot = gw_chunk_cached(gw, e.a, e.data);
			if (p->fill)
				gw_entry_fill(gw, p, i, e.a);
			if (!e.data)
				gw_piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
			else if (slot != VMS_CC_NONE)
				gw_piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			else
				gw_piece_put(gw, p, i, e.data, VMS_CC_NONE, false);
		} else if (e.status == VMS_E_BAD_SECTORS && e.data) {
			gw_piece_put_partial(gw, p, i, e.data, e.valid);
		} else if ((e.status == VMS_E_CORRUPT || e.status == VMS_E_IO) &&
			   e.a > VMS_ADDR_ASK) {
			/* the primary's copy: another member has one too */
			if (vms_cc_has(gw->cc, e.a)) {
				uint32_t slot = vms_cc_find(gw->cc, e.a);

				gw_piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			} else {
				gw_fetch_join(gw, p, i, e.a, node);
			}
		} else if (vms_err_retryable(e.status) ||
			   (e.status == VMS_E_CORRUPT && p->tries < GW_TRIES_MAX * 2)) {
			again = true;
		} else {
			gw_piece_fail(gw, p, e.status, i, 0);
		}
	}
	if (again)
		p->redo = p->slow = true;
	gw_piece_waited(gw, p);
}
