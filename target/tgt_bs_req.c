// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backing store's requests: what a SCSI command becomes in the gateway core, and the
 * status, sense and data that come of it.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/tgt_bs.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define COPY_BYTES_MAX (16u << 10) /* smaller reads are copied, larger ones pinned */
#define REQS_KEPT_MAX  256u	   /* free ones kept for reuse */

/* ---- requests ---- */

struct bs_req *bs_req_new(struct scsi_cmd *cmd, const struct vms_cdb *io)
{
	struct bs_req *r = g.free_reqs;

	if (r) {
		g.free_reqs = r->next;
		g.nfree--;
		memset(r, 0, sizeof(*r));
	} else {
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
	}
	r->cmd = cmd;
	r->bl = bs_lu_of(cmd->dev);
	if (io)
		r->io = *io;
	return r;
}

void bs_req_free(struct bs_req *r)
{
	free(r->more);
	free(r->iovs);
	free(r->ranges);
	r->more = NULL;
	r->iovs = NULL;
	r->ranges = NULL;
	if (g.nfree >= REQS_KEPT_MAX) {
		free(r);
		return;
	}
	r->next = g.free_reqs;
	g.free_reqs = r;
	g.nfree++;
}

void bs_live_add(struct bs_req *r)
{
	r->live_next = g.live;
	r->live_prev = &g.live;
	if (g.live)
		g.live->live_prev = &r->live_next;
	g.live = r;
	g.npending++;
}

void bs_live_del(struct bs_req *r)
{
	*r->live_prev = r->live_next;
	if (r->live_next)
		r->live_next->live_prev = r->live_prev;
	g.npending--;
}

void bs_queue_done(struct bs_req *r)
{
	vms_assert(!r->done_queued);
	r->done_queued = true;
	r->next = NULL;
	*g.done_tail = r;
	g.done_tail = &r->next;
}

/* ---- answers ---- */

/* Status and sense into cmd; returns the status. */
int bs_put_status(struct scsi_cmd *cmd, const struct vms_sense *s)
{
	const struct bs_lu *bl = bs_lu_of(cmd->dev);

	if (s->status == SAM_STAT_CHECK_CONDITION) {
		cmd->sense_len = (int)vms_sense_encode(s, bl->lu.mode.d_sense, cmd->sense_buffer);
		g.n.sense_errors++;
	}
	if (s->status != SAM_STAT_GOOD)
		scsi_set_in_resid_by_actual(cmd, 0);
	return s->status;
}

int bs_plain_status(struct scsi_cmd *cmd, uint8_t status)
{
	struct vms_sense s = {.status = status};

	return bs_put_status(cmd, &s);
}

/* Copies len bytes of an answer; false when memory is out. */
bool bs_put_data(struct scsi_cmd *cmd, const void *data, uint32_t len)
{
	uint32_t room = scsi_get_in_length(cmd), n = len < room ? len : room;
	void *buf;

	if (n) {
		buf = scsi_alloc_in_buf(cmd, n);
		if (!buf)
			return false;
		memcpy(buf, data, n);
	}
	scsi_set_in_resid_by_actual(cmd, len);
	return true;
}

static void unpin(void *arg)
{
	struct bs_req *r = arg;

	if (g.gwp)
		vms_gw_unpin(vms_gwp_core(g.gwp), &r->gc);
	bs_req_free(r);
}

_Static_assert(sizeof(struct iovec) == sizeof(struct vms_iov) &&
		       offsetof(struct iovec, iov_base) == offsetof(struct vms_iov, base) &&
		       offsetof(struct iovec, iov_len) == offsetof(struct vms_iov, len),
	       "a gather list of the core is one of the transport");

static int put_lba_status(struct bs_req *r)
{
	uint32_t n = r->gc.nranges, len = 8 + 16 * n;
	uint8_t *p = calloc(1, len);
	uint64_t alloc = r->io.in_bytes;
	bool ok;

	if (!p)
		return bs_plain_status(r->cmd, SAM_STAT_BUSY);
	vms_put_be32(p, len - 4);
	for (uint32_t i = 0; i < n; i++) {
		vms_put_be64(p + 8 + 16 * i, r->ranges[i].lba);
		vms_put_be32(p + 8 + 16 * i + 8, r->ranges[i].nblocks);
		p[8 + 16 * i + 12] = r->ranges[i].mapped ? 0 : 1;
	}
	ok = bs_put_data(r->cmd, p, len < alloc ? len : (uint32_t)alloc);
	free(p);
	return ok ? SAM_STAT_GOOD : bs_plain_status(r->cmd, SAM_STAT_BUSY);
}

int bs_req_result(struct bs_req *r, bool *kept)
{
	struct scsi_cmd *cmd = r->cmd;
	struct vms_sense_cmd sc = {.write = r->io.write || r->io.op == VMS_GW_FLUSH};
	struct vms_sense s;
	int err = r->status;

	*kept = false;
	scsi_set_out_resid_by_actual(cmd, (uint32_t)r->io.cdb_out_bytes);
	if (err) {
		if (r->verifying || r->nok)
			sc.partly_applied = r->io.write;
		if (r->verifying)
			sc.write = false;
		sc.have_info = err == VMS_E_CORRUPT || err == VMS_E_BAD_SECTORS;
		sc.info_lba = r->gc.info_lba;
		sc.miscompare_bytes = r->gc.miscompare_bytes;
		vms_sense_from_err(&s, err, &sc);
		if (s.status == VMS_SAM_TASK_SET_FULL)
			g.n.task_set_full++;
		return bs_put_status(cmd, &s);
	}
	switch (r->io.op) {
	case VMS_GW_READ:
		if (r->gc.dest) {
			scsi_set_in_resid_by_actual(cmd, (uint32_t)r->io.in_bytes);
		} else {
			scsi_set_in_iov(cmd, (const struct iovec *)r->gc.riov, (int)r->gc.nriov,
					unpin, r);
			scsi_set_in_resid_by_actual(cmd, (uint32_t)r->io.in_bytes);
			*kept = true;
		}
		return SAM_STAT_GOOD;
	case VMS_GW_LBA_STATUS:
		return put_lba_status(r);
	default:
		scsi_set_in_resid_by_actual(cmd, 0);
		return SAM_STAT_GOOD;
	}
}

/* ---- into the core ---- */

void bs_req_note(struct bs_req *r, const struct vms_gw_cmd *gc)
{
	if (!gc->status)
		r->nok++;
	else if (!r->status)
		r->status = gc->status;
}

/* Submits one op; counts it as pending or notes its result. */
static void submit(struct bs_req *r, struct vms_gw_cmd *gc)
{
	gc->vol = r->bl->vol;
	gc->cookie = r;	    /* NULL: it has ended */
	g.submitted = true; /* also from a completion: WRITE AND VERIFY's second half */
	if (vms_gw_submit(vms_gwp_core(g.gwp), gc) == VMS_GW_PENDING) {
		r->pending++;
		return;
	}
	gc->cookie = NULL;
	bs_req_note(r, gc);
}

int bs_req_start(struct bs_req *r, struct vms_sense *s)
{
	struct scsi_cmd *cmd = r->cmd;
	struct vms_gw_cmd *gc = &r->gc;
	const struct bs_nexus *nx = bs_nexus_of(cmd);
	const uint8_t *out = scsi_get_out_buffer(cmd);
	struct vms_range range[VMS_UNMAP_DESCS_MAX];
	int n;

	gc->op = r->io.op;
	gc->flags = r->io.gw_flags;
	gc->lba = r->io.lba;
	gc->nblocks = r->io.nblocks;
	gc->initiator_port = nx->port;
	gc->who = &r->who;
	if (r->io.out_bytes && !r->io.unmap_list) {
		r->iov.base = out;
		r->iov.len = r->io.out_bytes;
		gc->data = &r->iov;
		gc->ndata = 1;
		gc->data_bytes = r->io.out_bytes;
	}

	switch (r->io.op) {
	case VMS_GW_READ:
		g.n.reads++;
		if (r->io.in_bytes <= COPY_BYTES_MAX) {
			gc->dest = scsi_alloc_in_buf(cmd, (uint32_t)r->io.in_bytes);
			if (!gc->dest)
				return VMS_E_NOMEM;
		}
		break;
	case VMS_GW_WRITE_SAME:
		if (vms_is_zero(out, VMS_LB_BYTES)) {
			gc->op = VMS_GW_ZERO;
			gc->data = NULL;
			gc->ndata = 0;
			gc->data_bytes = 0;
		}
		break;
	case VMS_GW_VERIFY:
		if (!r->io.repeat_block)
			break;
		r->iovs = calloc(r->io.nblocks, sizeof(*r->iovs));
		if (!r->iovs)
			return VMS_E_NOMEM;
		for (uint32_t i = 0; i < r->io.nblocks; i++)
			r->iovs[i] = r->iov;
		gc->data = r->iovs;
		gc->ndata = r->io.nblocks;
		gc->data_bytes = (uint64_t)r->io.nblocks * VMS_LB_BYTES;
		break;
	case VMS_GW_LBA_STATUS:
		gc->nranges = r->io.in_bytes < 8 + 16 ? 1 : (uint32_t)((r->io.in_bytes - 8) / 16);
		if (gc->nranges > VMS_LBA_STATUS_RANGES_MAX)
			gc->nranges = VMS_LBA_STATUS_RANGES_MAX;
		r->ranges = calloc(gc->nranges, sizeof(*r->ranges));
		if (!r->ranges)
			return VMS_E_NOMEM;
		gc->ranges = r->ranges;
		break;
	case VMS_GW_ZERO:
		if (!r->io.unmap_list)
			break;
		n = vms_cdb_unmap_list(out, (uint32_t)r->io.out_bytes, r->bl->lu.ident.nblocks,
				       range, s);
		if (n < 0)
			return VMS_E_INVAL; /* s says why */
		if (!n) {
			r->nok = 1;
			return 0;
		}
		/* All at once, in this turn: the op ages of a command are one. */
		gc->lba = range[0].lba;
		gc->nblocks = range[0].nblocks;
		if (n > 1) {
			r->more = calloc((size_t)n - 1, sizeof(*r->more));
			if (!r->more)
				return VMS_E_NOMEM;
			r->nmore = (unsigned)n - 1;
		}
		submit(r, gc);
		for (int i = 1; i < n; i++) {
			r->more[i - 1] = *gc;
			r->more[i - 1].status = 0;
			r->more[i - 1].priv = NULL;
			r->more[i - 1].lba = range[i].lba;
			r->more[i - 1].nblocks = range[i].nblocks;
			submit(r, &r->more[i - 1]);
		}
		return 0;
	default:
		break;
	}
	if (r->io.write)
		g.n.writes++;
	submit(r, gc);
	return 0;
}

bool bs_req_start_verify(struct bs_req *r)
{
	struct vms_gw_cmd *gc = &r->gc;

	if (!r->io.verify_after || r->verifying || r->status || r->aborted)
		return false;
	r->verifying = true;
	gc->op = VMS_GW_VERIFY;
	gc->flags = 0;
	gc->status = 0;
	gc->priv = NULL;
	if (!r->io.verify_compare) {
		gc->data = NULL;
		gc->ndata = 0;
		gc->data_bytes = 0;
	}
	submit(r, gc);
	return true;
}

void bs_req_abort(struct bs_req *r)
{
	struct vms_gw *gw = vms_gwp_core(g.gwp);

	r->aborted = true;
	g.n.aborts++;
	if (r->xcopy)
		vms_xcopy_run_abort(r->xcopy);
	if (!r->pending)
		return;
	if (r->gc.cookie)
		vms_gw_abort(gw, &r->gc);
	for (unsigned i = 0; i < r->nmore; i++)
		if (r->more[i].cookie)
			vms_gw_abort(gw, &r->more[i]);
}
