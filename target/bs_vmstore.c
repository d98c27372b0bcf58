// SPDX-License-Identifier: GPL-2.0-only
/*
 * tgt's backing store `vmstore`: its logical units and its place in tgt's loop. It and its
 * parts (tgt_bs.h) are the one place that knows both the SCSI layer (lu.c) and the gateway
 * core.
 *
 * Everything happens on tgt's loop. What the core calls back is only queued and
 * worked off at the end of the turn: nothing is completed inside a core's step, and
 * no command is touched after target_cmd_io_done().
 *
 * Keeps (rules "Nothing late"): an aborted command is answered only once it is known
 * applied or impossible; all parts of a command go to the core in the turn that read
 * it; initiators are let in only when the gateway is ready, and dropped when it says
 * so.
 *
 * A tgtd without a vmstore LUN never gets beyond the first line of any hook.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/tgt_bs.h"
#include "target/tgt_portals.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"
#include "utils/lib/stdfd.h"

#define STOP_WAIT_MS 300 /* for the last frames to leave */

const char bs_vmstore_name[] = "vmstore";

struct bs_state vms_bs = {.done_tail = &g.done, .pr_done_tail = &g.pr_done, .gateway_id = 1};

/* ---- tgt's calls for a logical unit ---- */

static tgtadm_err bs_vmstore_init(struct scsi_lu *dev, char *bsopts)
{
	struct bs_lu *bl = bs_lu_of(dev);

	if (!g.opening) {
		tgt_adm_say("a vmstore LUN can only be made with its volume: --op new with "
			    "--backing-store VOLUME");
		return TGTADM_INVALID_REQUEST;
	}
	vms_lu_init(&bl->lu);
	bl->dev = dev;
	/* the opcode table is this LU's own copy */
	for (int i = 0; i < NR_SCSI_OPCODES; i++) {
		if (i == REPORT_LUNS)
			continue;
		dev->dev_type_template.ops[i] = (struct device_type_operations){
			.cmd_perform = bs_cmd_perform,
			.lazy_in = 1,
		};
	}
	return TGTADM_SUCCESS;
}

static void bs_vmstore_exit(struct scsi_lu *dev)
{
	vms_xcopy_forget(&g.results, 0, bs_lu_of(dev));
	free(bs_lu_of(dev)->preempted);
}

/* The volume's present properties into the LU. */
static void lu_take_info(struct bs_lu *bl, const struct vms_gw_vol_info *info)
{
	struct vms_lu_ident *id = &bl->lu.ident;

	memcpy(id->uuid, info->uuid, sizeof(id->uuid));
	id->nblocks = info->size_bytes / VMS_LB_BYTES;
	id->write_cache = info->write_ack == VMS_ACK_MEMORY;
	/* nothing is written to a snapshot, so it needs no space */
	id->thin_soft_percent = info->read_only ? 0 : (uint8_t)g.settings.gateway.thin_soft_percent;
	bl->read_only = info->read_only;
	bl->rollbacks = info->rollbacks;
	id->write_protect = bl->read_only || bl->dev->attrs.readonly;
	bl->lu.gone = info->gone;
}

static int bs_vmstore_open(struct scsi_lu *dev, char *path, int *fd, uint64_t *size)
{
	struct bs_lu *bl = bs_lu_of(dev);
	struct lu_phy_attr *a = &dev->attrs;
	struct vms_gw_vol_info info;
	char uuid[37];

	if (!g.opening || !g.opening->vol || strcmp(g.opening->name, path)) {
		tgt_adm_say(
			"the volume of a LUN cannot be exchanged; delete the LUN and make it anew");
		return -1;
	}
	vms_gw_vol_info(g.opening->vol, &info);
	bl->vol = g.opening->vol;
	g.opening->vol = NULL;
	bl->lu.pr = vms_gw_vol_pr(bl->vol);
	bs_pr_opened(bl);
	lu_take_info(bl, &info);
	snprintf(bl->lu.ident.target_name, sizeof(bl->lu.ident.target_name), "%s", dev->tgt->name);
	bl->lu.ident.portal_group = (uint16_t)g.gateway_id;
	bl->lu.ident.target_port = (uint16_t)g.gateway_id;
	bl->next = g.lus;
	g.lus = bl;

	/* parameters of the LUN */
	bl->lu.ident.vendor = a->vendor_id;
	bl->lu.ident.product = a->product_id;
	bl->lu.ident.revision = a->product_rev;
	/* for `tgtadm --op show`; the pages themselves come from vpd.c */
	vms_vpd_uuid_text(info.uuid, uuid);
	snprintf(a->vendor_id, sizeof(a->vendor_id), VMS_VPD_VENDOR);
	snprintf(a->product_id, sizeof(a->product_id), VMS_VPD_PRODUCT);
	snprintf(a->product_rev, sizeof(a->product_rev), VMS_VPD_REVISION);
	a->readonly = bl->read_only && strchr(path, '@');
	snprintf(a->scsi_id, sizeof(a->scsi_id), "%s", uuid);
	snprintf(a->scsi_sn, sizeof(a->scsi_sn), "%s", uuid);
	a->thinprovisioning = 1;
	a->lbppbe = 3;
	a->no_auto_lbppbe = 1;
	a->rotation_rate = 1;
	dev->blk_shift = 9;
	tgt_lu_set_size(dev, info.size_bytes);
	*fd = 0;
	*size = info.size_bytes;
	return 0;
}

static void bs_vmstore_close(struct scsi_lu *dev)
{
	struct bs_lu *bl = bs_lu_of(dev), **at;

	if (!bl->vol)
		return;
	for (at = &g.lus; *at != bl; at = &(*at)->next)
		;
	*at = bl->next;
	vms_lu_no_reservations(&bl->lu);
	bs_resets_drop(bl->vol);
	if (bs_vol_copied(bl->vol)) {
		struct closing *c = calloc(1, sizeof(*c));

		vms_assert(c);
		for (struct bs_req *r = g.live; r; r = r->live_next)
			if (r->xcopy && !r->aborted && bs_req_touches(r, dev))
				bs_req_abort(r);
		c->vol = bl->vol;
		c->next = g.closing;
		g.closing = c;
	} else {
		vms_gwp_vol_close(g.gwp, bl->vol);
	}
	bl->vol = NULL;
	g.submitted = true;
}

/* ---- the loop ---- */

static void work_changes(void)
{
	if (!g.changed)
		return;
	g.changed = false;
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next) {
		struct vms_gw_vol_info info;

		if (!bl->changed)
			continue;
		bl->changed = false;
		vms_gw_vol_info(bl->vol, &info);
		if (info.size_bytes != bl->dev->size) {
			tgt_lu_set_size(bl->dev, info.size_bytes);
			ua_sense_add_other_it_nexus(0, bl->dev, VMS_ASC_CAPACITY_CHANGED);
		}
		if (info.read_only != bl->read_only && !info.gone && !bl->dev->attrs.readonly)
			ua_sense_add_other_it_nexus(0, bl->dev, VMS_ASC_MODE_PARAMETERS_CHANGED);
		if (info.rollbacks != bl->rollbacks && !info.gone)
			ua_sense_add_other_it_nexus(0, bl->dev, VMS_ASC_MEDIUM_MAY_HAVE_CHANGED);
		lu_take_info(bl, &info);
	}
}

/* Space gets short: one unit attention for each nexus that can write. */
static void work_space(void)
{
	struct vms_gw_space s;

	vms_gw_space(vms_gwp_core(g.gwp), &s);
	if (s.warnings == g.space_warnings)
		return;
	g.space_warnings = s.warnings;
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next)
		if (bl->lu.ident.thin_soft_percent)
			ua_sense_add_other_it_nexus(0, bl->dev, VMS_ASC_THIN_SOFT_THRESHOLD);
}

static void work_done(void)
{
	struct bs_req *r;

	while ((r = g.done)) {
		struct scsi_cmd *cmd = r->cmd;
		bool kept = false;
		int status;

		g.done = r->next;
		if (!g.done)
			g.done_tail = &g.done;
		r->done_queued = false;
		if (r->xcopy) {
			enum vms_copy_state state = vms_xcopy_run_step(r->xcopy,
								       (uint64_t)tgt_turn_now_ms);

			g.submitted |= state == VMS_COPY_SUBMITTED;
			if (state != VMS_COPY_ENDED)
				continue;
			status = bs_copy_end(r);
		} else if (bs_req_start_verify(r) && r->pending) {
			continue;
		} else {
			status = bs_req_result(r, &kept);
		}
		bs_live_del(r);
		cmd->bs_data = NULL;
		if (!kept)
			bs_req_free(r);
		target_cmd_io_done(cmd, status);
	}
}

static void turn_begin(void)
{
	if (!g.gwp)
		return;
	vms_gwp_turn_begin(g.gwp);
	/* what the catalog told counts for the commands of this turn: a tool may know
	 * already that we know it */
	work_changes();
}

static int turn_end(void)
{
	if (!g.gwp)
		return 0;
	vms_registry_work(tgt_turn_now_ms);
	if (g.gateways)
		vms_gateways_timer(g.gateways, (uint64_t)tgt_turn_now_ms);
	tgt_portals_work(g.ready ? g.gateway_id : 0);
	bs_work_logins();
	if (g.opens)
		bs_work_opens();
	g.submitted = false;
	vms_gwp_turn_end(g.gwp);
	bs_copy_work();
	if (g.done)
		work_done();
	if (g.pr_done)
		bs_pr_work();
	if (g.preempting)
		bs_pr_work_preempted();
	if (g.reserved)
		bs_pr_work_reserved();
	if (g.closing)
		bs_copy_work_closing();
	work_changes();
	work_space();
	if (g.deletes)
		bs_work_deletes();
	/* completions may have let queued commands start, whose ops must leave */
	return g.submitted || g.done || g.pr_done;
}

static struct bs_nexus *nexus_new(struct it_nexus *itn)
{
	struct bs_nexus *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	snprintf(n->id.initiator, sizeof(n->id.initiator), "%s", itn->initiator);
	memcpy(n->id.isid, itn->isid, sizeof(n->id.isid));
	n->id.target_port = (uint16_t)g.gateway_id;
	snprintf(n->port, sizeof(n->port), "%s,i,0x%02x%02x%02x%02x%02x%02x", itn->initiator,
		 itn->isid[0], itn->isid[1], itn->isid[2], itn->isid[3], itn->isid[4],
		 itn->isid[5]);
	n->itn = itn;
	n->next = g.nexuses;
	g.nexuses = n;
	itn->bs_priv = n;
	tgt_portals_nexus(itn, true);
	return n;
}

/* One that came when memory was out is tried again with each of its commands. */
const struct bs_nexus *bs_nexus_of(struct scsi_cmd *cmd)
{
	struct bs_nexus *n = cmd->it_nexus->bs_priv;

	return __builtin_expect(n != NULL, 1) ? n : nexus_new(cmd->it_nexus);
}

static void nexus_hook(struct it_nexus *itn, int up)
{
	struct bs_nexus *n = itn->bs_priv, **at;

	if (up) {
		nexus_new(itn);
		return;
	}
	if (!n)
		return;
	tgt_portals_nexus(itn, false);
	itn->bs_priv = NULL;
	vms_xcopy_forget(&g.results, itn->itn_id, NULL);
	for (at = &g.nexuses; *at != n; at = &(*at)->next)
		;
	*at = n->next;
	free(n);
}

static int stop_hook(void)
{
	if (!g.gwp || g.stopped)
		return 0;
	if (!g.stopping) {
		g.stopping = true;
		g.stop_since_ms = tgt_turn_now_ms;
	}
	if (g.live || g.npr)
		return 1;
	/* the volumes' registrations are withdrawn by messages: let them leave */
	if (tgt_turn_now_ms - g.stop_since_ms < STOP_WAIT_MS)
		return 1;
	while (g.opens) {
		struct open_req *o = g.opens;

		g.opens = o->next;
		if (o->mtask) {
			tgt_adm_say("tgtd is stopping");
			mtask_complete(o->mtask, TGTADM_UNKNOWN_ERR);
		} else {
			o->done(o->arg, TGTADM_UNKNOWN_ERR, "tgtd is stopping");
		}
		free(o);
	}
	vms_registry_close();
	vms_gateways_close(g.gateways);
	g.gateways = NULL;
	tgt_portals_close();
	tgt_event_del(vms_gwp_timer_fd(g.gwp));
	vms_gwp_close(g.gwp);
	g.gwp = NULL;
	g.stopped = true;
	vms_settings_close(&g.settings);
	while (g.free_reqs) {
		struct bs_req *r = g.free_reqs;

		g.free_reqs = r->next;
		free(r);
	}
	g.nfree = 0;
	return 0;
}

/* With a configuration named, the gateway starts with the process: the cluster's targets
 * come without anybody asking. */
static int start_hook(void)
{
	struct vms_errmsg msg = {""};
	const char *path = getenv("VMSTORE_CONF");

	if (!path || !path[0])
		return 0;
	if (bs_gateway_start(NULL, &msg) ||
	    (g.settings.gateway.shared_config && vms_gwp_catalog(g.gwp) &&
	     vms_registry_open(vms_gwp_catalog(g.gwp), g.settings.cluster.secrets_key, &bs_reg,
			       &msg))) {
		vms_error("%s", msg.text);
		return -1;
	}
	return 0;
}

static int bs_shared(int tid)
{
	bool redirect;

	return vms_registry_target(tid, &redirect);
}

static struct backingstore_template vmstore_bst = {
	.bs_name = bs_vmstore_name,
	.bs_datasize = sizeof(struct bs_lu),
	.bs_open = bs_vmstore_open,
	.bs_close = bs_vmstore_close,
	.bs_init = bs_vmstore_init,
	.bs_exit = bs_vmstore_exit,
	.bs_cmd_submit = bs_cmd_submit,
	.bs_cmd_abort = bs_cmd_abort,
};

__attribute__((constructor)) static void bs_vmstore_constructor(void)
{
	vms_std_fds(); /* before tgtd opens anything */
	register_backingstore_template(&vmstore_bst);
	tgt_mgmt_hook = bs_mgmt;
	tgt_shared_hook = bs_shared;
	tgt_nexus_hook = nexus_hook;
	tgt_turn_begin_hook = turn_begin;
	tgt_turn_end_hook = turn_end;
	tgt_start_hook = start_hook;
	tgt_stop_hook = stop_hook;
	tgt_lu_reset_hook = bs_lu_reset;
}
