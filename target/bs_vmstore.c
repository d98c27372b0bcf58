// SPDX-License-Identifier: GPL-2.0-only
/*
 * tgt's backing store `vmstore`: SCSI commands of a logical unit to the SCSI layer
 * (lu.c) and the gateway core. It and its parts (tgt_bs.h) are the one place that knows
 * both.
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
#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "target/tgt_bs.h"
#include "target/tgt_chap.h"
#include "target/tgt_portals.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/stdfd.h"

#define COPY_BYTES_MAX	 (16u << 10) /* smaller reads are copied, larger ones pinned */
#define REQS_PENDING_MAX 8192u	     /* commands of the process; beyond: TASK SET FULL */
#define REQS_KEPT_MAX	 256u	     /* free ones kept for reuse */
#define STOP_WAIT_MS	 300	     /* for the last frames to leave */

const char bs_vmstore_name[] = "vmstore";

struct bs_state vms_bs = {.done_tail = &g.done, .pr_done_tail = &g.pr_done, .gateway_id = 1};

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

static void live_del(struct bs_req *r)
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

/* All ops of r have ended: what the command ends with. *kept: r lives on until its
 * data is sent. */
static int result(struct bs_req *r, bool *kept)
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

static void note(struct bs_req *r, const struct vms_gw_cmd *gc)
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
	note(r, gc);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* Fills in and submits the ops of a command. Returns 0 or a VMS_E_* that ended it
 * before anything was submitted. */
static int start(struct bs_req *r, struct vms_sense *s)
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
		if (all_zero(out, VMS_LB_BYTES)) {
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

/* The written range is read back (and compared). Returns false when there is
 * nothing (more) to do. */
static bool start_verify(struct bs_req *r)
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

/* ---- PERSISTENT RESERVE: what it does to others ---- */

static void attention_others(void *ctx, uint64_t session, uint16_t asc)
{
	struct bs_lu *bl = ctx;

	ua_sense_add_other_it_nexus(session, bl->dev, asc);
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

static int perform(int host_no, struct scsi_cmd *cmd)
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
	rc = start(r, &q.sense);
	if (rc) {
		bs_req_free(r);
		if (q.sense.status != SAM_STAT_GOOD)
			return bs_put_status(cmd, &q.sense);
		return bs_plain_status(cmd, SAM_STAT_BUSY);
	}
	if (!r->pending && (!start_verify(r) || !r->pending)) {
		if (r->io.op == VMS_GW_READ)
			g.n.reads_cached++;
		rc = result(r, &kept);
		if (!kept)
			bs_req_free(r);
		return rc;
	}
	cmd->bs_data = r;
	bs_live_add(r);
	set_cmd_async(cmd);
	return SAM_STAT_GOOD;
}

/* tgt calls this for commands of its own handlers only; all of ours go to
 * perform(). */
static int bs_cmd_submit(struct scsi_cmd *cmd)
{
	sense_data_build(cmd, ILLEGAL_REQUEST, ASC_INVALID_OP_CODE);
	return SAM_STAT_CHECK_CONDITION;
}

static void bs_cmd_abort(struct scsi_cmd *cmd)
{
	struct bs_req *r = cmd->bs_data;

	if (!r)
		return;
	if (bs_is_reservation(cmd))
		vms_gw_pr_abort(vms_gwp_core(g.gwp), &((struct bs_pr *)cmd->bs_data)->pc);
	else if (r->xcopy || !r->done_queued) /* a copy is queued in every turn */
		bs_req_abort(r);
}

/* ---- what the gateway tells ---- */

static void on_complete(void *ctx, struct vms_gw_cmd *gc)
{
	struct bs_req *r = gc->cookie;

	if (r->xcopy) {
		vms_xcopy_run_ended(r->xcopy, gc);
		return;
	}
	vms_assert(r->pending);
	gc->cookie = NULL;
	note(r, gc);
	if (--r->pending == 0)
		bs_queue_done(r);
}

static void on_drop_initiators(void *ctx, const char *why)
{
	vms_warn("closing all connections of initiators: %s", why);
	tgt_close_initiators(why);
}

static void on_vol_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status,
			  const char *text)
{
	struct open_req *o = arg;

	o->ended = true;
	o->status = status;
	o->vol = status ? NULL : vol;
	snprintf(o->text, sizeof(o->text), "%s", text && text[0] ? text : vms_err_text(status));
}

static void on_vol_changed(void *ctx, struct vms_gw_vol *vol)
{
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next)
		if (bl->vol == vol)
			bl->changed = g.changed = true;
}

static void on_ready(void *ctx, const struct vms_timing *t, uint32_t id)
{
	if (id)
		g.gateway_id = id;
	tgt_set_timing((int)(t->t_nop_ms / 3), (int)t->t_nop_ms, (int)(t->t_nop_ms * 20 / 3));
	tgt_set_portal_group((int)g.gateway_id);
	tgt_set_limits((int)g.settings.gateway.connections,
		       (int)g.settings.gateway.connections_per_address);
	tgt_chap_allow(g.settings.gateway.weak_chap ? ~0u : 1u << 7 | 1u << 8);
	g.ready = true;
}

/* The cluster's targets are all here. */
void bs_targets_settled(void)
{
	g.settled = true;
}

/* Nobody comes in before it is known who may, whether anybody may, and whether this
 * gateway is a path to anything. */
static void work_logins(void)
{
	bool admit = g.ready && (!vms_registry_active() || g.settled) && tgt_portals_loaded() &&
		     vms_gwp_reaches(g.gwp);

	if (admit == g.admitting)
		return;
	g.admitting = admit;
	tgt_accept_logins(admit);
}

static void on_fatal(void *ctx, int err, const char *text)
{
	vms_error("this gateway must stop: %s (%s)", text, vms_err_text(err));
	exit(1);
}

static json_t *on_stats(void *ctx)
{
	unsigned nlus = 0, nnexus = 0;
	json_t *j, *reg = vms_registry_json(), *portals = tgt_portals_json();

	for (struct bs_lu *bl = g.lus; bl; bl = bl->next)
		nlus++;
	for (struct bs_nexus *n = g.nexuses; n; n = n->next)
		nnexus++;
	j = json_pack("{sI sI sI sI sI sI sI sI sI sI sI}", "scsi.copies", (json_int_t)g.n.copies,
		      "scsi.commands", (json_int_t)g.n.commands, "scsi.reads",
		      (json_int_t)g.n.reads, "scsi.reads_cached", (json_int_t)g.n.reads_cached,
		      "scsi.writes", (json_int_t)g.n.writes, "scsi.aborts", (json_int_t)g.n.aborts,
		      "scsi.task_set_full", (json_int_t)g.n.task_set_full, "scsi.sense_errors",
		      (json_int_t)g.n.sense_errors, "scsi.pending", (json_int_t)g.npending,
		      "scsi.luns", (json_int_t)nlus, "scsi.sessions", (json_int_t)nnexus);
	json_object_update(j, reg);
	json_decref(reg);
	json_object_update(j, portals);
	json_decref(portals);
	return j;
}

/* ---- start of the gateway ---- */

static void fd_ready(int fd, int events, void *data)
{
	vms_gwp_ready_fd(g.gwp, fd);
}

static void net_ready(int fd, int events, void *data)
{
	vms_gwp_net_ready(g.gwp, (uintptr_t)data, (uint32_t)events);
}

/* What goes is not handled any more in this turn either: tgt_event_del() sees to that. */
static int net_watch(void *ctx, int fd, uint64_t key, uint32_t events, bool again)
{
	if (!events)
		tgt_event_del(fd);
	else if (again)
		return tgt_event_modify(fd, (int)events);
	else
		return tgt_event_add_first(fd, (int)events, net_ready, (void *)(uintptr_t)key);
	return 0;
}

/* The address initiators use, told to the cluster: tgtd's first portal. */
static void portal_text(char *out, size_t room)
{
	struct iscsi_portal *p;

	out[0] = 0;
	list_for_each_entry(p, &iscsi_portals_list, iscsi_portal_siblings)
	{
		snprintf(out, room, p->af == AF_INET6 ? "[%s]:%d" : "%s:%d", p->addr, p->port);
		break;
	}
}

int bs_gateway_start(const char *conf, struct vms_errmsg *msg)
{
	static const struct vms_gwp_hooks hooks = {
		.complete = on_complete,
		.pr_complete = bs_pr_complete,
		.pr_changed = bs_pr_changed,
		.drop_initiators = on_drop_initiators,
		.vol_opened = on_vol_opened,
		.vol_changed = on_vol_changed,
		.ready = on_ready,
		.fatal = on_fatal,
		.stats = on_stats,
	};
	const char *path = conf && conf[0] ? conf : getenv("VMSTORE_CONF");
	char portal[128];
	int rc;

	if (!path || !path[0])
		path = VMS_SETTINGS_PATH;
	if (g.gwp) {
		if (conf && conf[0] && strcmp(path, g.conf_path))
			return vms_fail(
				msg, VMS_E_CONFIG,
				"this tgtd already works with the configuration %s; one tgtd is "
				"one gateway, so conf= must be the same for all its LUNs",
				g.conf_path);
		return 0;
	}
	rc = vms_settings_load(&g.settings, path, msg);
	if (!rc) {
		vms_log_set_level((enum vms_log_level)g.settings.cluster.log_level);
		portal_text(portal, sizeof(portal));
		rc = vms_gwp_open(&g.gwp, &g.settings, portal, &hooks, msg);
	}
	if (!rc && vms_gwp_catalog(g.gwp) &&
	    !tgt_portals_open(vms_gwp_catalog(g.gwp), &g.settings)) {
		vms_gwp_close(g.gwp);
		rc = vms_fail(msg, VMS_E_NOMEM, "out of memory");
	}
	if (rc) {
		g.gwp = NULL;
		vms_settings_close(&g.settings);
		return rc;
	}
	snprintf(g.conf_path, sizeof(g.conf_path), "%s", path);
	if (vms_gwp_catalog(g.gwp))
		g.gateways = vms_gateways_open(vms_gwp_catalog(g.gwp), (uint64_t)tgt_turn_now_ms);
	/* rules E7: nobody comes in before every reachable node knows this process */
	tgt_accept_logins(0);
	g.admitting = false;
	for (struct bs_nexus *n = g.nexuses; n; n = n->next)
		tgt_portals_nexus(n->itn, true);
	vms_gwp_net_join(g.gwp, &(struct vms_net_loop){NULL, net_watch});
	if (tgt_event_add_first(vms_gwp_timer_fd(g.gwp), EPOLLIN, fd_ready, NULL))
		vms_assert(!"the loop watches the gateway");
	return 0;
}

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
			.cmd_perform = perform,
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
		} else if (start_verify(r) && r->pending) {
			continue;
		} else {
			status = result(r, &kept);
		}
		live_del(r);
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
	work_logins();
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
