// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reservations of the LUNs as tgt sees them: commands on them go to the cluster and wait
 * for its answer; what others have changed ends commands and raises unit attentions here.
 * LOGICAL UNIT RESET and CLEAR TASK SET take the same way to the other gateways. See
 * tgt_bs.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/tgt_bs.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"

/* ---- reservations ---- */

bool bs_is_reservation(const struct scsi_cmd *cmd)
{
	uint8_t op = cmd->scb[0];

	return op == 0x5e || op == 0x5f || op == 0x16 || op == 0x17 || op == 0x56 || op == 0x57;
}

static bool own_session(const struct vms_pr_owner *o)
{
	return o->gateway == g.gateway_id &&
	       o->incarnation == vms_gw_incarnation(vms_gwp_core(g.gwp));
}

bool bs_same_owner(const struct vms_pr_owner *a, const struct vms_pr_owner *b)
{
	return a->gateway == b->gateway && a->incarnation == b->incarnation &&
	       a->session == b->session;
}

static bool session_here(const struct bs_lu *bl, uint64_t session)
{
	for (struct bs_nexus *n = g.nexuses; n; n = n->next)
		if (n->itn->itn_id == session && n->itn->nexus_target == bl->dev->tgt)
			return true;
	return false;
}

/* tgt's mark of RESERVE: what a reset of the LU, or the end of the session that has it,
 * clears. */
static void reserve_mark(struct bs_lu *bl, const struct vms_pr *t)
{
	g.reserved |= t->reserve.gateway != 0;
	bl->dev->reserve_id = !t->reserve.gateway	 ? 0
			      : own_session(&t->reserve) ? t->reserve.session
							 : UINT64_MAX;
}

/* Has tgt cleared it? RESERVE is void here from now on, and soon everywhere. */
void bs_pr_reserve_look(struct bs_lu *bl, const struct vms_pr *t)
{
	if (!t->reserve.gateway || bl->dev->reserve_id || bs_same_owner(&bl->ended, &t->reserve))
		return;
	bl->ended = t->reserve;
	vms_gw_pr_session_end(vms_gwp_core(g.gwp), bl->vol, 0);
	g.submitted = true;
}

void bs_pr_work_reserved(void)
{
	g.reserved = false;
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next) {
		if (!bl->lu.pr->reserve.gateway)
			continue;
		g.reserved = true;
		bs_pr_reserve_look(bl, bl->lu.pr);
	}
}

/* RESERVE of a session of this process that has gone: nobody else will end it. */
static void look_for_ghost(struct bs_lu *bl, const struct vms_pr *t)
{
	if (!t->reserve.gateway || !own_session(&t->reserve) ||
	    session_here(bl, t->reserve.session))
		return;
	bl->ghost = t->reserve.session;
	g.preempting = true;
}

void bs_pr_opened(struct bs_lu *bl)
{
	reserve_mark(bl, bl->lu.pr);
	/* it may have ended while there was no LU */
	look_for_ghost(bl, bl->lu.pr);
}

/* All gateways get this call for each table, and answer when it is done. */
bool bs_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t)
{
	struct bs_lu *bl = g.lus;

	while (bl && bl->vol != vol)
		bl = bl->next;
	if (!bl)
		return true;
	for (unsigned i = 0; i < t->nevents; i++) {
		const struct vms_pr_event *e = &t->event[i];

		if (e->all && own_session(&t->by))
			continue;     /* tgt has done it */
		if (e->all && e->asc) /* a reset */
			vms_xcopy_forget(&g.results, 0, bl);
		for (struct bs_nexus *n = g.nexuses; n; n = n->next) {
			if (n->itn->nexus_target != bl->dev->tgt ||
			    !(e->all || vms_pr_same_nexus(&n->id, &e->nexus)))
				continue;
			if (e->asc)
				ua_sense_add_it_nexus(n->itn->itn_id, bl->dev, e->asc);
			if (e->abort) {
				bl->preempted = realloc(bl->preempted,
							(bl->npreempted + 1) *
								sizeof(*bl->preempted));
				vms_assert(bl->preempted);
				bl->preempted[bl->npreempted++] = n->id;
				if (!e->all)
					break;
			}
		}
	}
	reserve_mark(bl, t);
	/* it was granted after its command had been given up, and its session has gone */
	look_for_ghost(bl, t);
	bl->table = t->fence;
	g.preempting |= bl->npreempted != 0;
	return !bl->npreempted;
}

static bool is_preempted(const struct bs_lu *bl, const struct bs_req *r)
{
	const struct bs_nexus *nx = r->cmd->it_nexus->bs_priv;

	for (unsigned i = 0; nx && bs_req_touches(r, bl->dev) && i < bl->npreempted; i++)
		if (vms_pr_same_nexus(&nx->id, &bl->preempted[i]))
			return true;
	return false;
}

/* What the core has not seen yet of them, and what waits for the cluster's answer. The
 * latter is not waited for: nothing of it is decided any more after this table. */
static void abort_unseen(struct bs_lu *bl)
{
	for (struct bs_nexus *n = g.nexuses; n; n = n->next) {
		struct scsi_cmd *cmd;
		unsigned i = 0;

		while (i < bl->npreempted && !vms_pr_same_nexus(&n->id, &bl->preempted[i]))
			i++;
		if (i == bl->npreempted || n->itn->nexus_target != bl->dev->tgt)
			continue;
		list_for_each_entry(cmd, &n->itn->cmd_list,
				    c_hlist) if (cmd->dev == bl->dev && cmd->bs_data &&
						 !cmd_queued(cmd) && bs_is_reservation(cmd))
			vms_gw_pr_abort(vms_gwp_core(g.gwp), &((struct bs_pr *)cmd->bs_data)->pc);
		tgt_abort_waiting(n->itn, bl->dev);
	}
}

/* Commands of preempted nexuses: those that run when the table comes are aborted, and
 * when the last one has ended the table counts as taken. */
void bs_pr_work_preempted(void)
{
	g.preempting = false;
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next) {
		bool left = false;

		if (bl->ghost) {
			vms_gw_pr_session_end(vms_gwp_core(g.gwp), bl->vol, bl->ghost);
			bl->ghost = 0;
			g.submitted = true;
		}
		if (!bl->npreempted)
			continue;
		if (!bl->settling)
			abort_unseen(bl);
		for (struct bs_req *r = g.live; r; r = r->live_next) {
			if (!bl->settling && is_preempted(bl, r)) {
				r->preempted = bl->table;
				if (r->xcopy || !r->done_queued)
					bs_req_abort(r);
			}
			left |= bs_req_touches(r, bl->dev) && r->preempted == bl->table;
		}
		bl->settling = left;
		g.preempting |= left;
		if (left)
			continue;
		free(bl->preempted);
		bl->preempted = NULL;
		bl->npreempted = 0;
		vms_gw_pr_settled(vms_gwp_core(g.gwp), bl->vol, bl->table);
		g.submitted = true;
	}
}

static void pr_free(struct bs_pr *p)
{
	free(p->pc.in);
	free(p->ports);
	free(p->known);
	free(p);
}

/* Initiator ports that have a session here: a TransportID may be a name alone. */
static unsigned known_ports(struct vms_pr_nexus **out)
{
	unsigned n = 0, i = 0;

	for (struct bs_nexus *x = g.nexuses; x; x = x->next)
		n++;
	*out = malloc((n + 1) * sizeof(**out));
	for (struct bs_nexus *x = g.nexuses; x && *out; x = x->next)
		(*out)[i++] = x->id;
	return i;
}

int bs_reservation(struct bs_lu *bl, struct scsi_cmd *cmd, const struct vms_lu_req *q)
{
	struct bs_pr *p;

	if (!bl->lu.ready) {
		sense_data_build(cmd, NOT_READY,
				 bl->lu.gone ? VMS_ASC_LU_NOT_CONFIGURED : VMS_ASC_BECOMING_READY);
		return SAM_STAT_CHECK_CONDITION;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return bs_plain_status(cmd, SAM_STAT_BUSY);
	p->cmd = cmd;
	p->room = q->in_bytes;
	p->pc.vol = bl->vol;
	p->pc.cookie = p;
	p->pc.req = (struct vms_pr_req){
		.cdb = q->cdb,
		.list = q->out,
		.list_bytes = q->out_bytes < UINT32_MAX ? (uint32_t)q->out_bytes : UINT32_MAX,
		.who = q->who,
	};
	if (vms_pr_needs_ports(q->cdb, q->out, p->pc.req.list_bytes)) {
		bs_lu_ports(&bl->lu);
		p->ports = malloc(bl->lu.nports * sizeof(*p->ports));
		if (p->ports)
			memcpy(p->ports, bl->lu.ports, bl->lu.nports * sizeof(*p->ports));
		p->pc.req.port = p->ports;
		p->pc.req.nports = p->ports ? bl->lu.nports : 0;
	}
	if (q->cdb[0] == 0x5f && p->pc.req.list_bytes > 24) {
		p->pc.req.nknown = known_ports(&p->known);
		p->pc.req.known = p->known;
	}
	g.npr++;
	cmd->bs_data = p;
	set_cmd_async(cmd);
	vms_gw_pr_submit(vms_gwp_core(g.gwp), &p->pc);
	g.submitted = true;
	return SAM_STAT_GOOD;
}

/* ---- LOGICAL UNIT RESET, CLEAR TASK SET: at the other gateways too ---- */

static void reset_unlink(struct bs_pr *p)
{
	struct bs_pr **at = &g.resets;

	while (*at != p)
		at = &(*at)->reset_next;
	*at = p->reset_next;
}

/* tgt has ended the commands of its sessions and told them. 1: mreq is kept. */
int bs_lu_reset(struct scsi_lu *dev, struct mgmt_req *mreq)
{
	struct vms_gw_vol_info info;
	struct bs_lu *bl;
	struct bs_pr *p;

	if (!bs_is_ours(dev) || !g.gwp || g.stopping)
		return 0;
	bl = bs_lu_of(dev);
	if (!bl->vol)
		return 0;
	if (mreq->function != CLEAR_TASK_SET)
		vms_xcopy_forget(&g.results, 0, bl);
	vms_gw_vol_info(bl->vol, &info);
	p = info.openers > 1 ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return 0;
	p->mreq = mreq;
	p->lid = dev->tgt->lid;
	p->pc.vol = bl->vol;
	p->pc.cookie = p;
	p->reset_next = g.resets;
	g.resets = p;
	g.npr++;
	if (mreq->function == CLEAR_TASK_SET)
		vms_gw_pr_clear_tasks(vms_gwp_core(g.gwp), &p->pc);
	else
		vms_gw_pr_reset(vms_gwp_core(g.gwp), &p->pc);
	g.submitted = true;
	return 1;
}

/* The volume is closed: nobody will tell how they end. */
void bs_resets_drop(const struct vms_gw_vol *vol)
{
	struct bs_pr *p, *next;

	for (p = g.resets; p; p = next) {
		next = p->reset_next;
		if (p->pc.vol != vol)
			continue;
		/* a copy may keep the volume itself open */
		vms_gw_pr_forget(vms_gwp_core(g.gwp), &p->pc);
		reset_unlink(p);
		tgt_mreq_done(p->lid, p->mreq, 0);
		pr_free(p);
		g.npr--;
	}
}

void bs_pr_complete(void *ctx, struct vms_gw_pr_cmd *pc)
{
	struct bs_pr *p = pc->cookie;

	if (p->mreq)
		reset_unlink(p);
	p->next = NULL;
	*g.pr_done_tail = p;
	g.pr_done_tail = &p->next;
}

void bs_pr_work(void)
{
	struct bs_pr *p;

	while ((p = g.pr_done)) {
		struct scsi_cmd *cmd = p->cmd;
		uint32_t n = p->pc.in_bytes < p->room ? p->pc.in_bytes : p->room;
		int status;

		g.pr_done = p->next;
		if (!g.pr_done)
			g.pr_done_tail = &g.pr_done;
		if (p->mreq) {
			tgt_mreq_done(p->lid, p->mreq,
				      p->pc.sense.status == SAM_STAT_GOOD ? 0 : -EBUSY);
			pr_free(p);
			g.npr--;
			continue;
		}
		if (p->pc.sense.status == SAM_STAT_RESERVATION_CONFLICT)
			vms_gw_pr_doubt(vms_gwp_core(g.gwp), p->pc.vol);
		if (!bs_put_data(cmd, p->pc.in, n))
			status = bs_plain_status(cmd, SAM_STAT_BUSY);
		else
			status = bs_put_status(cmd, &p->pc.sense);
		cmd->bs_data = NULL;
		pr_free(p);
		g.npr--;
		target_cmd_io_done(cmd, status);
	}
}
