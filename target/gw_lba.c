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
	struct vms_rd rd;
	const uint8_t *data = NULL;
	size_t left = 0;
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
	vms_rd_init(&rd, m->body, m->body_bytes);
	if (m->npayload) {
		data = m->payload[0].base;
		left = m->payload[0].len;
	}
	p->nwait = 1;
	for (unsigned i = 0; i < p->n; i++) {
		vms_addr a = vms_rd_u64(&rd);
		uint32_t crc = vms_rd_u32(&rd);
		int st = (int16_t)vms_rd_u16(&rd);
		uint8_t valid = vms_rd_u8(&rd);
		const uint8_t *d = NULL;

		vms_rd_skip(&rd, 1);
		if ((st == 0 || st == VMS_E_BAD_SECTORS) && a != VMS_ADDR_HOLE) {
			if (left < VMS_CHUNK_BYTES) {
				st = VMS_E_CORRUPT;
			} else {
				d = data;
				data += VMS_CHUNK_BYTES;
				left -= VMS_CHUNK_BYTES;
				if (!gw_chunk_good(gw, d, crc))
					st = VMS_E_CORRUPT;
			}
		}
		if (st == 0) {
			uint32_t slot = VMS_CC_NONE;

			if (d && a != VMS_ADDR_ASK)
				slot = gw_chunk_cached(gw, a, d);
			if (p->fill)
				gw_entry_fill(gw, p, i, a);
			if (!d)
				gw_piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
			else if (slot != VMS_CC_NONE)
				gw_piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			else
				gw_piece_put(gw, p, i, d, VMS_CC_NONE, false);
		} else if (st == VMS_E_BAD_SECTORS && d) {
			gw_piece_put_partial(gw, p, i, d, valid);
		} else if ((st == VMS_E_CORRUPT || st == VMS_E_IO) && a > VMS_ADDR_ASK) {
			/* the primary's copy: another member has one too */
			if (vms_cc_has(gw->cc, a)) {
				uint32_t slot = vms_cc_find(gw->cc, a);

				gw_piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			} else {
				gw_fetch_join(gw, p, i, a, node);
			}
		} else if (vms_err_retryable(st) ||
			   (st == VMS_E_CORRUPT && p->tries < GW_TRIES_MAX * 2)) {
			again = true;
		} else {
			gw_piece_fail(gw, p, st, i, 0);
		}
	}
	if (again)
		p->redo = p->slow = true;
	gw_piece_waited(gw, p);
}
