// SPDX-License-Identifier: GPL-2.0-only
/*
 * EXTENDED COPY and RECEIVE COPY RESULTS between tgt and xcopy_run.c. A copy gets its
 * step at the end of each turn; volumes it uses stay open until it has ended, whatever
 * becomes of their LUNs. See tgt_bs.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/tgt_bs.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"

/* Does r read or write this LU? An EXTENDED COPY does so with LUs that it was not sent
 * to. */
bool bs_req_touches(const struct bs_req *r, const struct scsi_lu *dev)
{
	return r->cmd->dev == dev || (r->xcopy && vms_xcopy_run_uses(r->xcopy, bs_lu_of(dev)->vol));
}

/* It has ended: its status, and what RECEIVE COPY RESULTS tells of it. */
int bs_copy_end(struct bs_req *r)
{
	struct vms_sense s;
	uint16_t segments;
	uint64_t blocks;
	int status;

	vms_xcopy_run_result(r->xcopy, &s, &segments, &blocks);
	vms_xcopy_run_free(r->xcopy);
	r->xcopy = NULL;
	g.ncopies--;
	scsi_set_in_resid_by_actual(r->cmd, 0);
	status = bs_put_status(r->cmd, &s);
	if (r->kept) {
		r->kept->running = false;
		r->kept->segments = segments;
		r->kept->blocks = blocks;
		r->kept->status = (uint8_t)status;
		r->kept->sense_len = s.status == SAM_STAT_CHECK_CONDITION
					     ? (uint8_t)vms_sense_encode(&s, false, r->kept->sense)
					     : 0;
	}
	return status;
}

bool bs_vol_copied(const struct vms_gw_vol *vol)
{
	for (struct bs_req *r = g.ncopies ? g.live : NULL; r; r = r->live_next)
		if (r->xcopy && vms_xcopy_run_uses(r->xcopy, vol))
			return true;
	return false;
}

/* Volumes that only waited for the end of a copy. */
void bs_copy_work_closing(void)
{
	struct closing **at = &g.closing, *c;

	while ((c = *at)) {
		if (bs_vol_copied(c->vol)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		vms_gwp_vol_close(g.gwp, c->vol);
		free(c);
		g.submitted = true;
	}
}

/* All LUs of the command's target: nothing else can be named. *self: the command's. */
static struct vms_xcopy_lu *copy_lus(const struct scsi_cmd *cmd, unsigned *n, unsigned *self)
{
	struct vms_xcopy_lu *lus;
	unsigned room = 0;

	for (struct bs_lu *bl = g.lus; bl; bl = bl->next)
		room++;
	lus = calloc(room ? room : 1, sizeof(*lus));
	*n = 0;
	for (struct bs_lu *bl = g.lus; lus && bl; bl = bl->next) {
		if (bl->dev->tgt != cmd->dev->tgt)
			continue;
		bs_lu_refresh(bl);
		if (bl->dev == cmd->dev)
			*self = *n;
		lus[(*n)++] = (struct vms_xcopy_lu){&bl->lu, bl->vol};
	}
	return lus;
}

int bs_extended_copy(struct scsi_cmd *cmd, struct vms_lu_req *q)
{
	const struct bs_nexus *nx = bs_nexus_of(cmd);
	struct vms_xcopy_result *kept = NULL;
	struct vms_xcopy_lu *lus;
	unsigned n, self = 0;
	struct vms_xcopy x;
	struct bs_req *r;

	if (q->out_bytes)
		scsi_set_out_resid_by_actual(cmd, vms_get_be32(cmd->scb + 10));
	if (vms_xcopy_parse(cmd->scb, q->out, q->out_bytes, &x, &q->sense) || !x.nsegs)
		return bs_put_status(cmd, &q->sense);
	if (x.identified)
		kept = vms_xcopy_find(&g.results, cmd->cmd_itn_id, bs_lu_of(cmd->dev), x.list_id);
	if (kept && kept->running) {
		vms_sense_fail(&q->sense, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_OPERATION_IN_PROGRESS);
		return bs_put_status(cmd, &q->sense);
	}
	if (g.ncopies >= VMS_XCOPY_COPIES_MAX) {
		g.n.task_set_full++;
		return bs_plain_status(cmd, SAM_STAT_TASK_SET_FULL);
	}
	lus = copy_lus(cmd, &n, &self);
	r = bs_req_new(cmd, NULL);
	if (!lus || !r) {
		free(lus);
		if (r)
			bs_req_free(r);
		return bs_plain_status(cmd, SAM_STAT_BUSY);
	}
	r->xcopy = vms_xcopy_run_new(vms_gwp_core(g.gwp), &x, lus, n, self, &q->who, nx->port, r,
				     &q->sense);
	free(lus);
	if (!r->xcopy) {
		bs_req_free(r);
		return bs_put_status(cmd, &q->sense);
	}
	if (x.identified)
		r->kept = vms_xcopy_keep(&g.results, cmd->cmd_itn_id, bs_lu_of(cmd->dev),
					 x.list_id);
	g.n.copies++;
	g.ncopies++;
	cmd->bs_data = r;
	bs_live_add(r);
	set_cmd_async(cmd);
	/* it begins at the end of this turn */
	return SAM_STAT_GOOD;
}

/* Every copy gets its step at the end of each turn: few, and it costs little. */
void bs_copy_work(void)
{
	for (struct bs_req *r = g.ncopies ? g.live : NULL; r; r = r->live_next)
		if (r->xcopy && !r->done_queued)
			bs_queue_done(r);
}

void bs_copy_results(struct scsi_cmd *cmd, struct vms_lu_req *q)
{
	static uint8_t in[VMS_XCOPY_IN_BYTES_MAX];
	int len = vms_xcopy_receive(&g.results, cmd->cmd_itn_id, bs_lu_of(cmd->dev), cmd->scb, in,
				    &q->sense);

	q->in = in;
	if (len < 0)
		q->in_bytes = 0;
	else if ((uint32_t)len < q->in_bytes)
		q->in_bytes = (uint32_t)len;
}
