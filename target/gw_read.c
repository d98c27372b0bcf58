// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read commands: what is cached is answered on the spot, the rest goes piece by piece
 * (gw_piece.c), and a window ahead of those who read in sequence is kept on its way.
 */
#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"

/* Everything cached, within one extent: answered on the spot. */
static bool read_cached(struct vms_gw *gw, struct vms_gw_cmd *cmd, uint64_t chunk, uint32_t n)
{
	struct vms_gw_vol *v = cmd->vol;
	uint32_t extent = (uint32_t)(chunk / VMS_EXTENT_CHUNKS);
	uint32_t c = (uint32_t)(chunk % VMS_EXTENT_CHUNKS);
	uint32_t partition = vms_extent_partition(v->rec.lineage, extent, gw->cluster.part_bits);
	struct gw_part *part = &gw->part[partition];
	struct gw_node *node = gw_primary(gw, partition);
	uint32_t start = (uint32_t)(cmd->lba % VMS_CHUNK_BLOCKS) * VMS_LB_BYTES;
	uint64_t left = (uint64_t)cmd->nblocks * VMS_LB_BYTES;
	uint8_t *dest = cmd->dest;
	struct gw_req *r = NULL;
	struct vms_pc_page *pg = NULL;
	uint32_t i, sub = UINT32_MAX;

	if (!node || node->state != GN_READY || !gw_lease_ok(gw, part, node))
		return false;
	if (!dest)
		r = gw_pool_get(&gw->p_req);
	for (i = 0; i < n; i++, c++) {
		uint32_t len = VMS_CHUNK_BYTES - start, slot;
		const uint8_t *data;
		vms_addr a;

		if (len > left)
			len = (uint32_t)left;
		if (c / VMS_SUBEXT_CHUNKS != sub) {
			sub = c / VMS_SUBEXT_CHUNKS;
			pg = gw_page_read(gw, v, extent, (uint8_t)sub, part, node);
			if (!pg)
				goto miss;
			gw->st.page_hits++;
		}
		a = pg->entry[c % VMS_SUBEXT_CHUNKS];
		if (vms_pc_unknown(a) ||
		    (vms_pc_own(pg, c % VMS_SUBEXT_CHUNKS) && !gw_mutant(gw, VMS_GWM_OWN_WRITES)))
			goto miss;
		if (a == VMS_ADDR_HOLE) {
			data = gw->zeros;
		} else {
			slot = vms_cc_find(gw->cc, a);
			if (slot == VMS_CC_NONE)
				goto miss;
			data = vms_cc_data(gw->cc, slot);
			if (r)
				vms_cc_pin(gw->cc, slot);
		}
		if (r) {
			r->iov_in[i].base = data + start;
			r->iov_in[i].len = len;
		} else {
			memcpy(dest, data + start, len);
			dest += len;
		}
		left -= len;
		start = 0;
	}
	if (r) {
		r->cmd = cmd;
		r->iov = r->iov_in;
		r->nchunks = n;
		r->tmp = NULL;
		r->pattern = NULL;
		r->ended = r->retained = true;
		gw_list_add(&gw->held, &r->link);
		cmd->priv = r;
		cmd->riov = r->iov_in;
		cmd->nriov = n;
	}
	return true;
miss:
	if (r) {
		r->iov = r->iov_in;
		gw_read_unput(gw, r, 0, i);
		gw_pool_put(&gw->p_req, r);
	}
	return false;
}

int gw_read_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	uint64_t chunk = cmd->lba / VMS_CHUNK_BLOCKS;
	uint64_t end = (cmd->lba + cmd->nblocks + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;
	uint32_t n = (uint32_t)(end - chunk);

	if (cmd->op == VMS_GW_READ) {
		gw->st.reads++;
		gw->st.read_bytes += (uint64_t)cmd->nblocks * VMS_LB_BYTES;
		v->st.reads++;
		v->st.read_bytes += (uint64_t)cmd->nblocks * VMS_LB_BYTES;
		gw_readahead(gw, v, chunk, n);
		if (n <= VMS_GW_IOV_MAX &&
		    chunk / VMS_EXTENT_CHUNKS == (end - 1) / VMS_EXTENT_CHUNKS &&
		    read_cached(gw, cmd, chunk, n)) {
			gw->st.reads_cached++;
			v->st.read_sync++;
			return VMS_GW_DONE;
		}
	} else if (cmd->data && cmd->data_bytes < (uint64_t)cmd->nblocks * VMS_LB_BYTES) {
		cmd->status = VMS_E_INVAL;
		return VMS_GW_DONE;
	}
	return gw_read_run(gw, cmd);
}

/* The command's chunks by pieces; READ, VERIFY and LBA_STATUS. */
int gw_read_run(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	uint64_t chunk = cmd->lba / VMS_CHUNK_BLOCKS;
	uint64_t end = (cmd->lba + cmd->nblocks + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;
	struct gw_req *r;
	uint32_t n;

	if (gw->npieces >= GW_READS_MAX) {
		gw->st.full++;
		cmd->status = VMS_E_FULL;
		return VMS_GW_DONE;
	}
	r = gw_req_new(gw, cmd);
	n = r->nchunks;
	if (cmd->op == VMS_GW_LBA_STATUS) {
		r->pattern = calloc(1, n);
		vms_assert(r->pattern);
	} else if (cmd->op == VMS_GW_MAP) {
		/* brings no data */
	} else if (n > VMS_GW_IOV_MAX) {
		r->iov = calloc(n, sizeof(*r->iov));
		if (!r->iov) {
			r->iov = r->iov_in;
			r->nchunks = 0;
			r->status = VMS_E_NOMEM;
		}
	} else {
		memset(r->iov, 0, n * sizeof(*r->iov));
	}
	r->in_submit = true;
	r->npend = 1;
	while (chunk < end && !r->status) {
		uint64_t stop = (chunk / VMS_EXTENT_CHUNKS + 1) * VMS_EXTENT_CHUNKS;

		if (stop > end)
			stop = end;
		gw_piece_run(gw, gw_piece_new(gw, v, r, chunk, (uint32_t)(stop - chunk)));
		chunk = stop;
	}
	if (--r->npend == 0)
		gw_req_end(gw, r);
	r->in_submit = false;
	if (!r->ended)
		return VMS_GW_PENDING;
	if (!r->retained) {
		cmd->priv = NULL;
		gw_req_free(gw, r);
	}
	return VMS_GW_DONE;
}

/* Reads change nothing: the command ends at once, what is on its way is dropped
 * when it comes. */
void gw_read_abort(struct vms_gw *gw, struct gw_req *r)
{
	while (r->pieces) {
		struct gw_piece *p = r->pieces;

		r->pieces = p->req_next;
		p->req = NULL;
	}
	r->npend = 0;
	r->status = VMS_E_CANCELLED;
	gw->kick = true; /* parked pieces go */
	gw_req_end(gw, r);
}

void gw_read_vol_gone(struct vms_gw *gw, struct vms_gw_vol *v)
{
	gw_orphans_drop(gw, &gw->parked, v);
	gw_base_vol_gone(gw, v);
	for (uint32_t b = 0; b < GW_HASH; b++) {
		for (struct gw_pagereq *q = gw->page_hash[b]; q; q = q->hash_next)
			gw_orphans_drop(gw, &q->waiters, v);
		/* aborted reads may still wait for chunks */
		for (struct gw_fetch *f = gw->fetch_hash[b]; f; f = f->hash_next)
			for (struct gw_waiter *w = f->waiters; w; w = w->next)
				if (w->piece->vol == v)
					w->piece->vol = NULL;
	}
	for (uint32_t i = 1; i < gw->node_top; i++) {
		if (!gw->node[i])
			continue;
		gw_each(l, &gw->node[i]->rpcs)
		{
			struct gw_rpc *r = gw_entry(l, struct gw_rpc, link);

			if (r->type == GR_LBA && ((struct gw_piece *)r->obj)->vol == v) {
				struct gw_piece *p = r->obj;

				gw_rpc_forget(gw, r);
				gw_piece_end(gw, p, 0);
			}
		}
	}
}

/* ---- read-ahead ---- */

void gw_prefetch(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t chunk, uint64_t n)
{
	uint64_t end = chunk + n, max = (v->nblocks + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;

	if (n > vms_cc_slots(gw->cc) / 4)
		end = chunk + vms_cc_slots(gw->cc) / 4;
	if (end > max)
		end = max;
	while (chunk < end && gw->npieces < GW_READS_MAX / 2) {
		uint64_t stop = (chunk / VMS_EXTENT_CHUNKS + 1) * VMS_EXTENT_CHUNKS;
		struct gw_piece *p;

		if (stop > end)
			stop = end;
		p = gw_piece_new(gw, v, NULL, chunk, (uint32_t)(stop - chunk));
		p->prefetch = true;
		gw_piece_run(gw, p);
		chunk = stop;
	}
}

/* Two reads that follow each other make a stream; from then on a window ahead of
 * it is kept on its way, renewed when half of it is used up. */
void gw_readahead(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t chunk, uint32_t n)
{
	uint64_t window = gw->conf.readahead_chunks, end = chunk + n;
	struct gw_stream *s;

	for (unsigned i = 0; i < GW_STREAMS; i++) {
		s = &v->stream[i];
		/* an unaligned reader comes back to the chunk it ended in */
		if (s->next_chunk != chunk && s->next_chunk != chunk + 1)
			continue;
		s->next_chunk = end;
		if (++s->hits < 2)
			return;
		if (s->ra_chunk < end)
			s->ra_chunk = end;
		if (s->ra_chunk < end + window / 2 + 1) {
			uint64_t from = s->ra_chunk;

			s->ra_chunk = end + window;
			gw_prefetch(gw, v, from, s->ra_chunk - from);
		}
		return;
	}
	s = &v->stream[v->stream_hand++ % GW_STREAMS];
	*s = (struct gw_stream){.next_chunk = end};
}
