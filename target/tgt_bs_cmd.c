// SPDX-License-Identifier: GPL-2.0-only
/* SCSI commands of a logical unit: to the SCSI layer (lu.c), and from there to whom they
 * concern. */
#include <stdio.h>

#include "target/tgt_bs.h"

#define REQS_PENDING_MAX 8192u /* commands of the process; beyond: TASK SET FULL */

/* ---- PERSISTENT RESERVE: what it does to others ---- */

static void attention_others(void *ctx, uint64_t session, uint16_t asc)
{
	struct bs_lu *bl = ctx;

	ua_sense_add_other_it_nexus(session, bl->dev, asc);
}

/* ---- commands ---- */

/* The ports of all gateways; this one is always among them. */
void bs_lu_ports(struct vms_lu *lu)
{
	unsigned n = g.gateways ? vms_gateways_count(g.gateways) : 0, used = 0;
	bool own = false;

	for (unsigned i = 0; i < n && used < VMS_PORTS_MAX - 1; i++) {
		uint32_t id = vms_gateways_at(g.gateways, i)->id;

		own |= id == g.gateway_id;
		g.ports[used++] = (uint16_t)id;
	}
	if (!own)
		g.ports[used++] = (uint16_t)g.gateway_id;
	lu->ports = g.ports;
	lu->nports = used;
}

/* What tgt knows better than the LU. */
void bs_lu_refresh(struct bs_lu *bl)
{
	bool wp = bl->read_only || bl->dev->attrs.readonly;

	bl->lu.ready = bl->vol && bl->dev->attrs.online && !bl->deleting && !bl->lu.gone;
	if (__builtin_expect(wp != bl->lu.ident.write_protect, 0)) {
		/* a LUN's own parameter, set by tgtadm or vmstore target */
		bl->lu.ident.write_protect = wp;
		ua_sense_add_other_it_nexus(0, bl->dev, VMS_ASC_MODE_PARAMETERS_CHANGED);
	}
}

static bool records_current(void *ctx)
{
	(void)ctx;
	return vms_gw_current(vms_gwp_core(g.gwp));
}

int bs_cmd_perform(int host_no, struct scsi_cmd *cmd)
{
	struct bs_lu *bl = bs_lu_of(cmd->dev);
	const struct bs_nexus *nx = bs_nexus_of(cmd);
	struct vms_lu_sink sink = {bl, attention_others, records_current};
	struct vms_lu_req q = {
		.cdb = cmd->scb,
		.cdb_bytes = (unsigned)cmd->scb_len,
		.who = {nx ? &nx->id : NULL,
			{g.gateway_id, vms_gw_incarnation(vms_gwp_core(g.gwp)), cmd->cmd_itn_id}},
		.out = scsi_get_out_buffer(cmd),
		.out_bytes = scsi_get_out_buffer(cmd) ? scsi_get_out_length(cmd) : 0,
		.no_lu = cmd->dev->lun != cmd->dev_id,
	};
	enum vms_lu_answer answer;
	struct bs_req *r;
	const struct vms_pr *table = bl->lu.pr;
	struct vms_pr_owner self = q.who.owner;
	bool kept;
	int rc;

	g.n.commands++;
	/* nobody knows who that is: reservations and loss notices would go wrong */
	if (__builtin_expect(!nx, 0))
		return bs_plain_status(cmd, SAM_STAT_BUSY);
	if (__builtin_expect(table->reserve.gateway != 0, 0)) {
		bs_pr_reserve_look(bl, table);
		if (bs_same_owner(&bl->ended, &table->reserve))
			q.who.owner = table->reserve;
	}
	bs_lu_refresh(bl);
	if (cmd->scb[0] == 0xa3)
		bs_lu_ports(&bl->lu);
	answer = vms_lu_exec(&bl->lu, &q, &sink);
	q.who.owner = self;
	if (answer == VMS_LU_COPY) {
		if (cmd->scb[0] == 0x83)
			return bs_extended_copy(cmd, &q);
		bs_copy_results(cmd, &q);
		answer = VMS_LU_END;
	}
	cmd->dev->attrs.sense_format = bl->lu.mode.d_sense;
	cmd->dev->attrs.swp = bl->lu.mode.swp;

	if (answer == VMS_LU_END) {
		if (q.io.cdb_out_bytes)
			scsi_set_out_resid_by_actual(cmd, (uint32_t)q.io.cdb_out_bytes);
		if (!bs_put_data(cmd, q.in, q.in_bytes))
			return bs_plain_status(cmd, SAM_STAT_BUSY);
		if (q.sense.status == SAM_STAT_RESERVATION_CONFLICT && table->reserve.gateway) {
			vms_gw_pr_doubt(vms_gwp_core(g.gwp), bl->vol);
			g.submitted = true;
		}
		return bs_put_status(cmd, &q.sense);
	}
	if (answer == VMS_LU_RESERVATION)
		return bs_reservation(bl, cmd, &q);

	if (g.npending >= REQS_PENDING_MAX) {
		g.n.task_set_full++;
		return bs_plain_status(cmd, SAM_STAT_TASK_SET_FULL);
	}
	r = bs_req_new(cmd, &q.io);
	if (!r)
		return bs_plain_status(cmd, SAM_STAT_BUSY);
	r->who = q.who;
	r->gc.access = q.access;
	q.sense.status = SAM_STAT_GOOD;
	rc = bs_req_start(r, &q.sense);
	if (rc) {
		bs_req_free(r);
		if (q.sense.status != SAM_STAT_GOOD)
			return bs_put_status(cmd, &q.sense);
		return bs_plain_status(cmd, SAM_STAT_BUSY);
	}
	if (!r->pending && (!bs_req_start_verify(r) || !r->pending)) {
		if (r->io.op == VMS_GW_READ)
			g.n.reads_cached++;
		rc = bs_req_result(r, &kept);
		if (!kept)
			bs_req_free(r);
		return rc;
	}
	cmd->bs_data = r;
	bs_live_add(r);
	set_cmd_async(cmd);
	return SAM_STAT_GOOD;
}

int bs_cmd_submit(struct scsi_cmd *cmd)
{
	sense_data_build(cmd, ILLEGAL_REQUEST, ASC_INVALID_OP_CODE);
	return SAM_STAT_CHECK_CONDITION;
}

void bs_cmd_abort(struct scsi_cmd *cmd)
{
	struct bs_req *r = cmd->bs_data;

	if (!r)
		return;
	if (bs_is_reservation(cmd))
		vms_gw_pr_abort(vms_gwp_core(g.gwp), &((struct bs_pr *)cmd->bs_data)->pc);
	else if (r->xcopy || !r->done_queued) /* a copy is queued in every turn */
		bs_req_abort(r);
}
