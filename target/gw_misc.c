// SPDX-License-Identifier: GPL-2.0-only
/* VERIFY, GET LBA STATUS, MAP and PRE-FETCH on top of the read path. */
#include "target/gw_int.h"
#include "target/gw_read.h"

/* All chunks are there and their checksums were right; compare if asked to. */
void gw_verify_end(struct vms_gw *gw, struct gw_req *r)
{
	const struct vms_gw_cmd *cmd = r->cmd;
	const struct vms_iov *d = cmd->data;
	size_t off = 0;
	uint64_t at = 0;

	(void)gw;
	if (!d)
		return;
	for (uint32_t i = 0; i < r->nchunks; i++) {
		const uint8_t *have = r->iov[i].base;
		size_t left = r->iov[i].len;

		while (left) {
			size_t n = d->len - off < left ? d->len - off : left;
			const uint8_t *want = (const uint8_t *)d->base + off;

			if (memcmp(have, want, n)) {
				size_t k = 0;

				while (have[k] == want[k])
					k++;
				r->status = VMS_E_MISCOMPARE;
				r->miscompare_bytes = (uint32_t)(at + k);
				r->info_lba = cmd->lba + (at + k) / VMS_LB_BYTES;
				return;
			}
			have += n;
			left -= n;
			at += n;
			off += n;
			if (off == d->len) {
				d++;
				off = 0;
			}
		}
	}
}

int gw_lba_status_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	uint64_t extents = (cmd->lba / VMS_EXTENT_BLOCKS + GW_STATUS_EXTENTS) * VMS_EXTENT_BLOCKS;
	uint64_t end = extents < v->nblocks ? extents : v->nblocks;
	int rc;

	if (cmd->lba >= v->nblocks || !cmd->nranges || !cmd->ranges) {
		bool current = vms_gw_current(gw) || gw_mutant(gw, VMS_GWM_OLD_END);

		cmd->status = cmd->lba < v->nblocks ? VMS_E_INVAL
			      : current		    ? VMS_E_RANGE
						    : VMS_E_BUSY;
		return VMS_GW_DONE;
	}
	cmd->nblocks = (uint32_t)(end - cmd->lba);
	rc = gw_read_run(gw, cmd);
	return rc;
}

void gw_lba_status_piece(struct vms_gw *gw, struct gw_piece *p, struct vms_pc_page *const *pg)
{
	(void)gw;
	for (unsigned i = 0; i < p->n; i++) {
		unsigned c = p->chunk0 + i;

		p->req->pattern[p->req_chunk0 + i] =
			pg[c / VMS_SUBEXT_CHUNKS]->entry[c % VMS_SUBEXT_CHUNKS] != VMS_ADDR_HOLE;
	}
}

int gw_map_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	if (!cmd->addrs || !cmd->nblocks || cmd->lba % VMS_CHUNK_BLOCKS ||
	    cmd->nblocks % VMS_CHUNK_BLOCKS ||
	    cmd->lba / VMS_EXTENT_BLOCKS != (cmd->lba + cmd->nblocks - 1) / VMS_EXTENT_BLOCKS) {
		cmd->status = VMS_E_INVAL;
		return VMS_GW_DONE;
	}
	return gw_read_run(gw, cmd);
}

void gw_map_piece(struct vms_gw *gw, struct gw_piece *p, struct vms_pc_page *const *pg)
{
	(void)gw;
	for (unsigned i = 0; i < p->n; i++) {
		unsigned c = p->chunk0 + i;
		const struct vms_pc_page *g = pg[c / VMS_SUBEXT_CHUNKS];

		/* an own write on its way: the page does not show it yet */
		p->req->cmd->addrs[p->req_chunk0 + i] =
			vms_pc_own(g, c % VMS_SUBEXT_CHUNKS) ||
					vms_pc_unknown(g->entry[c % VMS_SUBEXT_CHUNKS])
				? VMS_ADDR_ASK
				: g->entry[c % VMS_SUBEXT_CHUNKS];
	}
}

/* Runs of chunks in the same state, cut at the command's first block. */
void gw_lba_status_end(struct gw_req *r)
{
	struct vms_gw_cmd *cmd = r->cmd;
	uint64_t lba = cmd->lba, end = cmd->lba + cmd->nblocks;
	unsigned n = 0;

	for (uint32_t i = 0; i < r->nchunks; i++) {
		uint64_t stop = (r->first_chunk + i + 1) * VMS_CHUNK_BLOCKS;
		bool mapped = r->pattern[i];

		if (stop > end)
			stop = end;
		if (n && cmd->ranges[n - 1].mapped == mapped) {
			cmd->ranges[n - 1].nblocks += (uint32_t)(stop - lba);
		} else {
			if (n == cmd->nranges)
				break;
			cmd->ranges[n++] = (struct vms_gw_lba_range){
				.lba = lba, .nblocks = (uint32_t)(stop - lba), .mapped = mapped};
		}
		lba = stop;
	}
	cmd->nranges = n;
}

int gw_prefetch_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	uint64_t n = cmd->nblocks ? cmd->nblocks : cmd->vol->nblocks - cmd->lba;
	uint64_t first = cmd->lba / VMS_CHUNK_BLOCKS;

	if (n)
		gw_prefetch(gw, cmd->vol, first,
			    (cmd->lba + n + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS - first);
	return VMS_GW_DONE;
}
