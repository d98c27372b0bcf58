// SPDX-License-Identifier: GPL-2.0-only
/*
 * tgt's backing store `vmstore`: SCSI commands of a logical unit to the SCSI layer
 * (lu.c) and the gateway core. The one place that knows both.
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

#include "iscsid.h"
#include "list.h"
#include "scsi.h"
#include "tgtd.h"
#include "target.h"
#include "tgtadm.h"

#include "target/alua.h"
#include "target/gateways.h"
#include "target/gw_posix.h"
#include "target/lu.h"
#include "target/tgt_chap.h"
#include "target/tgt_glue.h"
#include "target/tgt_portals.h"
#include "target/tgt_registry.h"
#include "target/xcopy_run.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/size.h"

#undef eprintf
#undef dprintf

#define COPY_BYTES_MAX	  (16u << 10) /* smaller reads are copied, larger ones pinned */
#define REQS_PENDING_MAX  8192u	      /* commands of the process; beyond: TASK SET FULL */
#define REQS_KEPT_MAX	  256u	      /* free ones kept for reuse */
#define OPEN_WAIT_MS	  30000	      /* for the cluster, when a LUN is made */
#define STOP_WAIT_MS	  300	      /* for the last frames to leave */

static const char vmstore_name[] = "vmstore";

/* One logical unit; lies behind tgt's struct scsi_lu. */
struct bs_lu {
	struct vms_lu lu;
	bool read_only;	 /* the volume is, or it is a snapshot; a LUN can be it by itself */
	uint64_t rollbacks; /* of the volume, when it was looked at last */
	struct vms_gw_vol *vol; /* NULL: closed */
	/* PREEMPT AND ABORT through whatever gateway: these nexuses' commands have to end
	 * before we say that we have the table with number `table` */
	uint64_t table;
	struct vms_pr_nexus *preempted;
	unsigned npreempted;
	bool settling;
	/* RESERVE of a session that has ended, or that a reset ended: void here already */
	struct vms_pr_owner ended;
	uint64_t ghost; /* a session with RESERVE that is not here any more; 0: none */
	struct scsi_lu *dev;
	struct bs_lu *next;
	bool changed; /* vol_changed came, not yet looked at */
	bool deleting;
};

/* A nexus that has a session now; it_nexus.bs_priv. */
struct bs_nexus {
	struct vms_pr_nexus id;
	struct it_nexus *itn;
	char port[256]; /* initiator port name, for loss notices */
	struct bs_nexus *next;
};

/* One command inside the core: one op, or several (UNMAP). */
struct bs_req {
	struct scsi_cmd *cmd;
	struct bs_lu *bl;
	struct vms_cdb io;
	struct vms_gw_cmd gc; /* the first or only op */
	struct vms_gw_cmd *more; /* UNMAP: nmore further ones */
	unsigned nmore;
	unsigned pending;  /* ops that have not ended */
	bool done_queued;
	bool aborted;
	bool verifying;	   /* second half of WRITE AND VERIFY */
	int status;	   /* first error of an op that had ended when others go on */
	unsigned nok;	   /* ops that ended well */
	struct vms_iov iov;
	struct vms_iov *iovs;		 /* VERIFY of one block against many */
	struct vms_gw_lba_range *ranges; /* GET LBA STATUS */
	struct vms_pr_who who;
	uint64_t preempted; /* the table that wants it ended */
	struct vms_xcopy_run *xcopy;	/* EXTENDED COPY: it has its own ops */
	struct vms_xcopy_result *kept;	/* what becomes of it; NULL: nobody can ask */
	struct bs_req *next;		 /* done queue, free list */
	struct bs_req *live_next, **live_prev;
};

/* PERSISTENT RESERVE IN or OUT, RESERVE, RELEASE: a question to the cluster. */
struct bs_pr {
	struct vms_gw_pr_cmd pc;
	struct scsi_cmd *cmd;
	/* LOGICAL UNIT RESET: no cmd, but tgt's request, which waits for the other gateways */
	struct mgmt_req *mreq;
	int lid;
	struct bs_pr *reset_next;
	uint32_t room; /* for the answer */
	uint16_t *ports;
	struct vms_pr_nexus *known;
	struct bs_pr *next; /* done */
};

/* A LUN on its way to be made: by a `tgtadm --op new`, or by the cluster's registry. */
struct open_req {
	struct mgmt_task *mtask; /* NULL: the registry's */
	vms_lun_done_fn done;
	void *arg;
	int tid;
	uint64_t lun;
	char name[240];
	uint64_t size_bytes;
	uint8_t write_ack;
	int64_t since_ms;
	bool asked, ended;
	int status;
	char text[256];
	struct vms_gw_vol *vol;
	struct open_req *next;
};

/* A `tgtadm --op delete` that waits for the LU's commands. */
struct delete_req {
	struct mgmt_task *mtask; /* NULL: the registry's */
	vms_lun_done_fn done;
	void *arg;
	int tid;
	uint64_t lun;
	struct delete_req *next;
};

/* A volume whose LU has gone while an EXTENDED COPY of another LU uses it. */
struct closing {
	struct vms_gw_vol *vol;
	struct closing *next;
};

struct counters {
	uint64_t copies, commands, reads, writes, reads_cached, aborts, task_set_full, sense_errors;
};

static struct {
	struct vms_gwp *gwp; /* NULL: no vmstore LUN was ever asked for */
	struct vms_settings settings;
	char conf_path[256];
	struct bs_lu *lus;
	struct bs_nexus *nexuses;
	struct bs_req *done, **done_tail;
	struct bs_req *live; /* all that are inside the core */
	struct bs_req *free_reqs;
	unsigned nfree, npending;
	struct open_req *opens, *opening; /* opening: tgt is just acting on it */
	struct delete_req *deletes;
	bool changed;	/* one of the lus is */
	bool submitted; /* since the last turn end */
	bool stopping, stopped;
	bool ready, settled; /* the gateway; the cluster's targets */
	bool admitting;
	int64_t stop_since_ms;
	struct counters n;
	uint32_t gateway_id;
	struct bs_pr *pr_done, **pr_done_tail;
	unsigned npr; /* of them in work */
	bool preempting; /* a LU waits for commands to end */
	bool reserved;	 /* perhaps a LU is, by RESERVE */
	struct bs_pr *resets; /* that have not come back */
	unsigned ncopies; /* EXTENDED COPYs at work */
	struct vms_xcopy_results results;
	struct closing *closing;
	uint64_t space_warnings; /* that initiators were told */
	struct vms_gateways *gateways; /* NULL: no catalog to ask */
	uint16_t ports[VMS_PORTS_MAX]; /* of all gateways; filled in when asked for */
} g = {.done_tail = &g.done, .pr_done_tail = &g.pr_done, .gateway_id = 1};

static struct bs_lu *bl_of(struct scsi_lu *dev)
{
	return (struct bs_lu *)((char *)dev + sizeof(*dev));
}

/* ---- requests ---- */

static struct bs_req *req_new(struct scsi_cmd *cmd, const struct vms_cdb *io)
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
	r->bl = bl_of(cmd->dev);
	if (io)
		r->io = *io;
	return r;
}

static void req_free(struct bs_req *r)
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

static void live_add(struct bs_req *r)
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

static void queue_done(struct bs_req *r)
{
	vms_assert(!r->done_queued);
	r->done_queued = true;
	r->next = NULL;
	*g.done_tail = r;
	g.done_tail = &r->next;
}

/* ---- answers ---- */

/* Status and sense into cmd; returns the status. */
static int put_status(struct scsi_cmd *cmd, const struct vms_sense *s)
{
	const struct bs_lu *bl = bl_of(cmd->dev);

	if (s->status == SAM_STAT_CHECK_CONDITION) {
		cmd->sense_len = (int)vms_sense_encode(s, bl->lu.mode.d_sense,
						       cmd->sense_buffer);
		g.n.sense_errors++;
	}
	if (s->status != SAM_STAT_GOOD)
		scsi_set_in_resid_by_actual(cmd, 0);
	return s->status;
}

static int plain_status(struct scsi_cmd *cmd, uint8_t status)
{
	struct vms_sense s = {.status = status};

	return put_status(cmd, &s);
}

/* Copies len bytes of an answer; false when memory is out. */
static bool put_data(struct scsi_cmd *cmd, const void *data, uint32_t len)
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
	req_free(r);
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
		return plain_status(r->cmd, SAM_STAT_BUSY);
	vms_put_be32(p, len - 4);
	for (uint32_t i = 0; i < n; i++) {
		vms_put_be64(p + 8 + 16 * i, r->ranges[i].lba);
		vms_put_be32(p + 8 + 16 * i + 8, r->ranges[i].nblocks);
		p[8 + 16 * i + 12] = r->ranges[i].mapped ? 0 : 1;
	}
	ok = put_data(r->cmd, p, len < alloc ? len : (uint32_t)alloc);
	free(p);
	return ok ? SAM_STAT_GOOD : plain_status(r->cmd, SAM_STAT_BUSY);
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
		return put_status(cmd, &s);
	}
	switch (r->io.op) {
	case VMS_GW_READ:
		if (r->gc.dest) {
			scsi_set_in_resid_by_actual(cmd, (uint32_t)r->io.in_bytes);
		} else {
			scsi_set_in_iov(cmd, (const struct iovec *)r->gc.riov,
					(int)r->gc.nriov, unpin, r);
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
	gc->cookie = r; /* NULL: it has ended */
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
	const struct bs_nexus *nx = cmd->it_nexus ? cmd->it_nexus->bs_priv : NULL;
	const uint8_t *out = scsi_get_out_buffer(cmd);
	struct vms_range range[VMS_UNMAP_DESCS_MAX];
	int n;

	gc->op = r->io.op;
	gc->flags = r->io.gw_flags;
	gc->lba = r->io.lba;
	gc->nblocks = r->io.nblocks;
	gc->initiator_port = nx ? nx->port : "";
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

static void abort_req(struct bs_req *r)
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

/* Does r read or write this LU? An EXTENDED COPY does so with LUs that it was not sent
 * to. */
static bool req_touches(const struct bs_req *r, const struct scsi_lu *dev)
{
	return r->cmd->dev == dev ||
	       (r->xcopy && vms_xcopy_run_uses(r->xcopy, bl_of((struct scsi_lu *)dev)->vol));
}

/* ---- reservations ---- */

static bool is_reservation(const struct scsi_cmd *cmd)
{
	uint8_t op = cmd->scb[0];

	return op == 0x5e || op == 0x5f || op == 0x16 || op == 0x17 || op == 0x56 || op == 0x57;
}

static bool own_session(const struct vms_pr_owner *o)
{
	return o->gateway == g.gateway_id &&
	       o->incarnation == vms_gw_incarnation(vms_gwp_core(g.gwp));
}

static bool same_owner(const struct vms_pr_owner *a, const struct vms_pr_owner *b)
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
	bl->dev->reserve_id = !t->reserve.gateway		     ? 0
			      : own_session(&t->reserve) ? t->reserve.session
							 : UINT64_MAX;
}

/* Has tgt cleared it? RESERVE is void here from now on, and soon everywhere. */
static void reserve_look(struct bs_lu *bl, const struct vms_pr *t)
{
	if (!t->reserve.gateway || bl->dev->reserve_id || same_owner(&bl->ended, &t->reserve))
		return;
	bl->ended = t->reserve;
	vms_gw_pr_session_end(vms_gwp_core(g.gwp), bl->vol, 0);
	g.submitted = true;
}

static void work_reserved(void)
{
	g.reserved = false;
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next) {
		if (!bl->lu.pr->reserve.gateway)
			continue;
		g.reserved = true;
		reserve_look(bl, bl->lu.pr);
	}
}

/* All gateways get this call for each table, and answer when it is done. */
static bool on_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t)
{
	struct bs_lu *bl = g.lus;

	while (bl && bl->vol != vol)
		bl = bl->next;
	if (!bl)
		return true;
	for (unsigned i = 0; i < t->nevents; i++) {
		const struct vms_pr_event *e = &t->event[i];

		if (e->all && own_session(&t->by))
			continue; /* tgt has done it */
		if (e->all)
			vms_xcopy_forget(&g.results, 0, bl);
		for (struct bs_nexus *n = g.nexuses; n; n = n->next) {
			if (n->itn->nexus_target != bl->dev->tgt ||
			    !(e->all || vms_pr_same_nexus(&n->id, &e->nexus)))
				continue;
			if (e->asc)
				ua_sense_add_it_nexus(n->itn->itn_id, bl->dev, e->asc);
			if (e->abort) {
				bl->preempted = realloc(bl->preempted, (bl->npreempted + 1) *
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
	if (t->reserve.gateway && own_session(&t->reserve) &&
	    !session_here(bl, t->reserve.session))
		bl->ghost = t->reserve.session;
	bl->table = t->fence;
	g.preempting |= bl->npreempted || bl->ghost;
	return !bl->npreempted;
}

static bool is_preempted(const struct bs_lu *bl, const struct bs_req *r)
{
	const struct bs_nexus *nx = r->cmd->it_nexus->bs_priv;

	for (unsigned i = 0; nx && req_touches(r, bl->dev) && i < bl->npreempted; i++)
		if (vms_pr_same_nexus(&nx->id, &bl->preempted[i]))
			return true;
	return false;
}

/* Commands of preempted nexuses: those that run when the table comes are aborted, and
 * when the last one has ended the table counts as taken. */
static void work_preempted(void)
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
		for (struct bs_req *r = g.live; r; r = r->live_next) {
			if (!bl->settling && is_preempted(bl, r)) {
				r->preempted = bl->table;
				if (r->xcopy || !r->done_queued)
					abort_req(r);
			}
			left |= req_touches(r, bl->dev) && r->preempted == bl->table;
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

/* ---- commands ---- */

static const struct vms_pr_nexus no_nexus;

/* The ports of all gateways; this one is always among them. */
static void lu_ports(struct vms_lu *lu)
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

static int reservation(struct bs_lu *bl, struct scsi_cmd *cmd, const struct vms_lu_req *q)
{
	struct bs_pr *p;

	if (!bl->lu.ready) {
		sense_data_build(cmd, NOT_READY, bl->lu.gone ? VMS_ASC_LU_NOT_CONFIGURED :
							       VMS_ASC_BECOMING_READY);
		return SAM_STAT_CHECK_CONDITION;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return plain_status(cmd, SAM_STAT_BUSY);
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
		lu_ports(&bl->lu);
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

/* ---- LOGICAL UNIT RESET: at the other gateways too ---- */

static void reset_unlink(struct bs_pr *p)
{
	struct bs_pr **at = &g.resets;

	while (*at != p)
		at = &(*at)->reset_next;
	*at = p->reset_next;
}

/* tgt has ended the commands of its sessions and told them. 1: mreq is kept. */
static int lu_reset_hook(struct scsi_lu *dev, struct mgmt_req *mreq)
{
	struct vms_gw_vol_info info;
	struct bs_lu *bl;
	struct bs_pr *p;

	if (dev->bst->bs_name != vmstore_name || !g.gwp || g.stopping)
		return 0;
	bl = bl_of(dev);
	if (!bl->vol)
		return 0;
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
	vms_gw_pr_reset(vms_gwp_core(g.gwp), &p->pc);
	g.submitted = true;
	return 1;
}

/* The volume is closed: nobody will tell how they end. */
static void resets_drop(const struct vms_gw_vol *vol)
{
	struct bs_pr *p, *next;

	for (p = g.resets; p; p = next) {
		next = p->reset_next;
		if (p->pc.vol != vol)
			continue;
		reset_unlink(p);
		tgt_mreq_done(p->lid, p->mreq, 0);
		pr_free(p);
		g.npr--;
	}
}

static void on_pr_complete(void *ctx, struct vms_gw_pr_cmd *pc)
{
	struct bs_pr *p = pc->cookie;

	if (p->mreq)
		reset_unlink(p);
	p->next = NULL;
	*g.pr_done_tail = p;
	g.pr_done_tail = &p->next;
}

static void work_pr(void)
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
		if (!put_data(cmd, p->pc.in, n))
			status = plain_status(cmd, SAM_STAT_BUSY);
		else
			status = put_status(cmd, &p->pc.sense);
		cmd->bs_data = NULL;
		pr_free(p);
		g.npr--;
		target_cmd_io_done(cmd, status);
	}
}

/* What tgt knows better than the LU. */
static void lu_refresh(struct bs_lu *bl)
{
	bool wp = bl->read_only || bl->dev->attrs.readonly;

	bl->lu.ready = bl->vol && bl->dev->attrs.online && !bl->deleting && !bl->lu.gone;
	if (__builtin_expect(wp != bl->lu.ident.write_protect, 0)) {
		/* a LUN's own parameter, set by tgtadm or vmstore target */
		bl->lu.ident.write_protect = wp;
		ua_sense_add_other_it_nexus(0, bl->dev, VMS_ASC_MODE_PARAMETERS_CHANGED);
	}
}

/* ---- EXTENDED COPY ---- */

/* It has ended: its status, and what RECEIVE COPY RESULTS tells of it. */
static int copy_end(struct bs_req *r)
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
	status = put_status(r->cmd, &s);
	if (r->kept) {
		r->kept->running = false;
		r->kept->segments = segments;
		r->kept->blocks = blocks;
		r->kept->status = (uint8_t)status;
		r->kept->sense_len = s.status == SAM_STAT_CHECK_CONDITION ?
					     (uint8_t)vms_sense_encode(&s, false, r->kept->sense) :
					     0;
	}
	return status;
}

static bool vol_copied(const struct vms_gw_vol *vol)
{
	for (struct bs_req *r = g.ncopies ? g.live : NULL; r; r = r->live_next)
		if (r->xcopy && vms_xcopy_run_uses(r->xcopy, vol))
			return true;
	return false;
}

/* Volumes that only waited for the end of a copy. */
static void work_closing(void)
{
	struct closing **at = &g.closing, *c;

	while ((c = *at)) {
		if (vol_copied(c->vol)) {
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
		lu_refresh(bl);
		if (bl->dev == cmd->dev)
			*self = *n;
		lus[(*n)++] = (struct vms_xcopy_lu){&bl->lu, bl->vol};
	}
	return lus;
}

static int extended_copy(struct scsi_cmd *cmd, struct vms_lu_req *q)
{
	const struct bs_nexus *nx = cmd->it_nexus->bs_priv;
	struct vms_xcopy_result *kept = NULL;
	struct vms_xcopy_lu *lus;
	unsigned n, self = 0;
	struct vms_xcopy x;
	struct bs_req *r;

	if (q->out_bytes)
		scsi_set_out_resid_by_actual(cmd, vms_get_be32(cmd->scb + 10));
	if (vms_xcopy_parse(cmd->scb, q->out, q->out_bytes, &x, &q->sense) || !x.nsegs)
		return put_status(cmd, &q->sense);
	if (x.identified)
		kept = vms_xcopy_find(&g.results, cmd->cmd_itn_id, bl_of(cmd->dev), x.list_id);
	if (kept && kept->running) {
		vms_sense_fail(&q->sense, VMS_SK_ILLEGAL_REQUEST, VMS_ASC_OPERATION_IN_PROGRESS);
		return put_status(cmd, &q->sense);
	}
	if (g.ncopies >= VMS_XCOPY_COPIES_MAX) {
		g.n.task_set_full++;
		return plain_status(cmd, SAM_STAT_TASK_SET_FULL);
	}
	lus = copy_lus(cmd, &n, &self);
	r = req_new(cmd, NULL);
	if (!lus || !r) {
		free(lus);
		if (r)
			req_free(r);
		return plain_status(cmd, SAM_STAT_BUSY);
	}
	r->xcopy = vms_xcopy_run_new(vms_gwp_core(g.gwp), &x, lus, n, self, &q->who,
				     nx ? nx->port : "", r, &q->sense);
	free(lus);
	if (!r->xcopy) {
		req_free(r);
		return put_status(cmd, &q->sense);
	}
	if (x.identified)
		r->kept = vms_xcopy_keep(&g.results, cmd->cmd_itn_id, bl_of(cmd->dev), x.list_id);
	g.n.copies++;
	g.ncopies++;
	cmd->bs_data = r;
	live_add(r);
	set_cmd_async(cmd);
	/* it begins at the end of this turn */
	return SAM_STAT_GOOD;
}

/* Every copy gets its step at the end of each turn: few, and it costs little. */
static void work_copies(void)
{
	for (struct bs_req *r = g.ncopies ? g.live : NULL; r; r = r->live_next)
		if (r->xcopy && !r->done_queued)
			queue_done(r);
}

static void copy_results(struct scsi_cmd *cmd, struct vms_lu_req *q)
{
	static uint8_t in[VMS_XCOPY_IN_BYTES_MAX];
	int len = vms_xcopy_receive(&g.results, cmd->cmd_itn_id, bl_of(cmd->dev), cmd->scb, in,
				    &q->sense);

	q->in = in;
	if (len < 0)
		q->in_bytes = 0;
	else if ((uint32_t)len < q->in_bytes)
		q->in_bytes = (uint32_t)len;
}

static int perform(int host_no, struct scsi_cmd *cmd)
{
	struct bs_lu *bl = bl_of(cmd->dev);
	const struct bs_nexus *nx = cmd->it_nexus->bs_priv;
	struct vms_lu_sink sink = {bl, attention_others};
	struct vms_lu_req q = {
		.cdb = cmd->scb,
		.cdb_bytes = (unsigned)cmd->scb_len,
		.who = {nx ? &nx->id : &no_nexus,
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
	if (__builtin_expect(table->reserve.gateway != 0, 0)) {
		reserve_look(bl, table);
		if (same_owner(&bl->ended, &table->reserve))
			q.who.owner = table->reserve;
	}
	lu_refresh(bl);
	if (cmd->scb[0] == 0xa3)
		lu_ports(&bl->lu);
	answer = vms_lu_exec(&bl->lu, &q, &sink);
	q.who.owner = self;
	if (answer == VMS_LU_COPY) {
		if (cmd->scb[0] == 0x83)
			return extended_copy(cmd, &q);
		copy_results(cmd, &q);
		answer = VMS_LU_END;
	}
	cmd->dev->attrs.sense_format = bl->lu.mode.d_sense;
	cmd->dev->attrs.swp = bl->lu.mode.swp;

	if (answer == VMS_LU_END) {
		if (q.io.cdb_out_bytes)
			scsi_set_out_resid_by_actual(cmd, (uint32_t)q.io.cdb_out_bytes);
		if (!put_data(cmd, q.in, q.in_bytes))
			return plain_status(cmd, SAM_STAT_BUSY);
		if (q.sense.status == SAM_STAT_RESERVATION_CONFLICT && table->reserve.gateway) {
			vms_gw_pr_doubt(vms_gwp_core(g.gwp), bl->vol);
			g.submitted = true;
		}
		return put_status(cmd, &q.sense);
	}
	if (answer == VMS_LU_RESERVATION)
		return reservation(bl, cmd, &q);

	if (g.npending >= REQS_PENDING_MAX) {
		g.n.task_set_full++;
		return plain_status(cmd, SAM_STAT_TASK_SET_FULL);
	}
	r = req_new(cmd, &q.io);
	if (!r)
		return plain_status(cmd, SAM_STAT_BUSY);
	r->who = q.who;
	r->gc.access = q.access;
	q.sense.status = SAM_STAT_GOOD;
	rc = start(r, &q.sense);
	if (rc) {
		req_free(r);
		if (q.sense.status != SAM_STAT_GOOD)
			return put_status(cmd, &q.sense);
		return plain_status(cmd, SAM_STAT_BUSY);
	}
	if (!r->pending && (!start_verify(r) || !r->pending)) {
		if (r->io.op == VMS_GW_READ)
			g.n.reads_cached++;
		rc = result(r, &kept);
		if (!kept)
			req_free(r);
		return rc;
	}
	cmd->bs_data = r;
	live_add(r);
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
	if (is_reservation(cmd))
		vms_gw_pr_abort(vms_gwp_core(g.gwp), &((struct bs_pr *)cmd->bs_data)->pc);
	else if (r->xcopy || !r->done_queued) /* a copy is queued in every turn */
		abort_req(r);
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
		queue_done(r);
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
	snprintf(o->text, sizeof(o->text), "%s",
		 text && text[0] ? text : vms_err_text(status));
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
static void targets_settled(void)
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
	j = json_pack("{sI sI sI sI sI sI sI sI sI sI sI}", "scsi.copies",
			 (json_int_t)g.n.copies, "scsi.commands",
			 (json_int_t)g.n.commands, "scsi.reads", (json_int_t)g.n.reads,
			 "scsi.reads_cached", (json_int_t)g.n.reads_cached, "scsi.writes",
			 (json_int_t)g.n.writes, "scsi.aborts", (json_int_t)g.n.aborts,
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

/* The address initiators use, told to the cluster: tgtd's first portal. */
static void portal_text(char *out, size_t room)
{
	struct iscsi_portal *p;

	out[0] = 0;
	list_for_each_entry(p, &iscsi_portals_list, iscsi_portal_siblings) {
		snprintf(out, room, p->af == AF_INET6 ? "[%s]:%d" : "%s:%d", p->addr, p->port);
		break;
	}
}

static int gateway_start(const char *conf, struct vms_errmsg *msg)
{
	static const struct vms_gwp_hooks hooks = {
		.complete = on_complete,
		.pr_complete = on_pr_complete,
		.pr_changed = on_pr_changed,
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
			return vms_fail(msg, VMS_E_CONFIG,
					"this tgtd already works with the configuration %s; one tgtd is one gateway, so conf= must be the same for all its LUNs",
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
	if (tgt_event_add_first(vms_gwp_net_fd(g.gwp), EPOLLIN, fd_ready, NULL) ||
	    tgt_event_add_first(vms_gwp_timer_fd(g.gwp), EPOLLIN, fd_ready, NULL))
		vms_assert(!"the loop watches the gateway");
	return 0;
}

/* ---- tgtadm: new and delete ---- */

/* "size=20G;conf=/etc/...;write_ack=memory", perhaps in quotes. A snapshot has its
 * size, and nothing is written to it. */
static int parse_bsopts(const char *text, struct open_req *o, char *conf, size_t conf_room,
			struct vms_errmsg *msg)
{
	bool snap = strchr(o->name, '@');
	char buf[1024], *p = buf, *opt;
	size_t n;

	o->write_ack = VMS_ACK_DISK;
	if (!text)
		return 0;
	if (strlen(text) >= sizeof(buf))
		return vms_fail(msg, VMS_E_INVAL, "bsopts are longer than %zu bytes",
				sizeof(buf) - 1);
	strcpy(buf, text);
	n = strlen(buf);
	if (n >= 2 && (buf[0] == '"' || buf[0] == '\'') && buf[n - 1] == buf[0]) {
		buf[n - 1] = 0;
		p = buf + 1;
	}
	while ((opt = strsep(&p, ";"))) {
		char *val = strchr(opt, '=');

		if (!opt[0])
			continue;
		if (!val)
			return vms_fail(msg, VMS_E_INVAL,
					"bsopts: '%s' has no value; options are size=BYTES, conf=FILE, write_ack=disk|memory, joined by ';'",
					opt);
		*val++ = 0;
		if (snap && (!strcmp(opt, "size") || !strcmp(opt, "write_ack")))
			return vms_fail(msg, VMS_E_INVAL,
					"bsopts: %s=%s: %s is a snapshot, which has its size and takes no writes; leave the option out",
					opt, val, o->name);
		if (!strcmp(opt, "size")) {
			struct vms_errmsg why;
			int rc = vms_size_parse(val, &o->size_bytes, &why);

			if (rc)
				return vms_fail(msg, rc, "bsopts: size=%s: %s", val, why.text);
			if (!o->size_bytes || o->size_bytes % VMS_CHUNK_BYTES ||
			    o->size_bytes > VMS_VOL_BYTES_MAX)
				return vms_fail(msg, VMS_E_INVAL,
						"bsopts: size=%s must be a multiple of 4K between 4K and %" PRIu64 "T",
						val, (uint64_t)(VMS_VOL_BYTES_MAX >> 40));
		} else if (!strcmp(opt, "conf")) {
			if (strlen(val) >= conf_room)
				return vms_fail(msg, VMS_E_INVAL, "bsopts: conf= is too long");
			strcpy(conf, val);
		} else if (!strcmp(opt, "write_ack")) {
			if (!strcmp(val, "memory"))
				o->write_ack = VMS_ACK_MEMORY;
			else if (strcmp(val, "disk"))
				return vms_fail(msg, VMS_E_INVAL,
						"bsopts: write_ack=%s: must be disk or memory",
						val);
		} else {
			return vms_fail(msg, VMS_E_INVAL,
					"bsopts: unknown option '%s'; known are size, conf and write_ack",
					opt);
		}
	}
	return 0;
}

/* Begins to make a LUN. NULL: *err is tgtadm's code, msg says why. */
static struct open_req *open_new(int tid, uint64_t lun, const char *path,
				 const char *bsopts, int *err, struct vms_errmsg *msg)
{
	char conf[256] = "", volume[128], snap[104];
	struct open_req *o;
	int rc;

	*err = TGTADM_INVALID_REQUEST;
	if (strchr(path, '@') ? vms_cat_snap_name_split(path, volume, snap, msg)
			      : vms_cat_volume_name_check(path, msg)) {
		return NULL;
	}
	for (struct bs_lu *bl = g.lus; bl; bl = bl->next) {
		if (bl->dev->path && !strcmp(bl->dev->path, path)) {
			vms_fail(
			    msg, VMS_E_INVAL,
			    "volume %s is LUN %" PRIu64
			    " of target %d on this tgtd already; export it once per tgtd",
			    path, bl->dev->lun, bl->dev->tgt->tid);
			*err = TGTADM_LUN_EXIST;
			return NULL;
		}
	}
	for (o = g.opens; o; o = o->next) {
		if (!strcmp(o->name, path) || (o->tid == tid && o->lun == lun)) {
			vms_fail(msg, VMS_E_INVAL,
				 "volume %s or LUN %" PRIu64
				 " is being set up by another request",
				 path, lun);
			*err = TGTADM_LUN_EXIST;
			return NULL;
		}
	}
	if (g.stopping) {
		vms_fail(msg, VMS_E_INVAL, "tgtd is stopping");
		*err = TGTADM_UNKNOWN_ERR;
		return NULL;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		vms_fail(msg, VMS_E_NOMEM, "out of memory");
		*err = TGTADM_NOMEM;
		return NULL;
	}
	snprintf(o->name, sizeof(o->name), "%s", path);
	rc = parse_bsopts(bsopts, o, conf, sizeof(conf), msg);
	if (!rc)
		rc = gateway_start(conf, msg);
	if (rc) {
		free(o);
		return NULL;
	}
	o->tid = tid;
	o->lun = lun;
	o->since_ms = tgt_turn_now_ms;
	o->next = g.opens;
	g.opens = o;
	g.submitted = true;
	return o;
}

/* Parameters of a LUN that somebody wants, cut out of params in buf. TGT_MGMT_LOCAL: not
 * ours; TGT_MGMT_PENDING: ours and right; or tgtadm's code. */
static int new_check(const struct tgtadm_req *req, const char *params, char *buf,
		     size_t room, const char **path, const char **bsopts)
{
	const char *blocksize = NULL, *bstype = NULL;
	char *p = buf, *opt;

	*path = *bsopts = NULL;
	snprintf(buf, room, "%s", params);
	while ((opt = strsep(&p, ","))) {
		if (!strncmp(opt, "path=", 5))
			*path = opt + 5;
		else if (!strncmp(opt, "bstype=", 7))
			bstype = opt + 7;
		else if (!strncmp(opt, "bsopts=", 7))
			*bsopts = opt + 7;
		else if (!strncmp(opt, "blocksize=", 10))
			blocksize = opt + 10;
	}
	if (!bstype || strcmp(bstype, vmstore_name))
		return TGT_MGMT_LOCAL;
	if (strlen(params) >= room) {
		tgt_adm_say("the parameters are longer than %zu bytes", room - 1);
		return TGTADM_INVALID_REQUEST;
	}
	if (req->device_type != TYPE_DISK) {
		tgt_adm_say("backing store vmstore serves disks only, not device type %u",
			    req->device_type);
		return TGTADM_INVALID_REQUEST;
	}
	if (!*path || !(*path)[0]) {
		tgt_adm_say(
		    "backing store vmstore needs a volume: --backing-store VOLUME");
		return TGTADM_INVALID_REQUEST;
	}
	if (blocksize && strcmp(blocksize, "512")) {
		tgt_adm_say("blocksize=%s: vmstore has logical blocks of 512 bytes only", blocksize);
		return TGTADM_INVALID_REQUEST;
	}
	return TGT_MGMT_PENDING;
}

static int mgmt_new(struct mgmt_task *mtask, const struct tgtadm_req *req,
		    const char *params)
{
	char buf[4096];
	const char *path, *bsopts;
	struct vms_errmsg msg = {""};
	struct open_req *o;
	int rc = new_check(req, params, buf, sizeof(buf), &path, &bsopts);

	if (rc != TGT_MGMT_PENDING)
		return rc;
	/* tgt refuses these by itself */
	if (!tgt_targetname(req->tid) || tgt_lu_find(req->tid, req->lun))
		return TGT_MGMT_LOCAL;
	o = open_new(req->tid, req->lun, path, bsopts, &rc, &msg);
	if (!o) {
		tgt_adm_say("%s", msg.text);
		return rc;
	}
	o->mtask = mtask;
	return TGT_MGMT_PENDING;
}

static bool is_ours(const struct scsi_lu *dev)
{
	return !strcmp(dev->bst->bs_name, vmstore_name);
}

static bool lu_busy(const struct scsi_lu *dev)
{
	return dev->cmd_queue.active_cmd || !list_empty(&dev->cmd_queue.queue) ||
	       vol_copied(bl_of((struct scsi_lu *)dev)->vol);
}

/* Ends what runs, lets nothing new in; the rest when all is settled. */
static struct delete_req *delete_new(struct scsi_lu *dev)
{
	struct delete_req *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	bl_of(dev)->deleting = true;
	for (struct bs_req *r = g.live; r; r = r->live_next)
		if (req_touches(r, dev) && !r->aborted && (r->xcopy || !r->done_queued))
			abort_req(r);
	d->tid = dev->tgt->tid;
	d->lun = dev->lun;
	d->next = g.deletes;
	g.deletes = d;
	g.submitted = true;
	return d;
}

static int mgmt_delete(struct mgmt_task *mtask, const struct tgtadm_req *req)
{
	struct scsi_lu *dev = tgt_lu_find(req->tid, req->lun);
	struct delete_req *d;

	if (!dev || !is_ours(dev) || !lu_busy(dev))
		return TGT_MGMT_LOCAL;
	d = delete_new(dev);
	if (!d)
		return TGTADM_NOMEM;
	d->mtask = mtask;
	return TGT_MGMT_PENDING;
}

/* ---- the cluster's registry ---- */

static void reg_lun_new(int tid, uint64_t lun, const char *volume, const char *options,
			vms_lun_done_fn done, void *arg)
{
	struct vms_errmsg msg = {""};
	struct open_req *o;
	int rc;

	o = open_new(tid, lun, volume, options, &rc, &msg);
	if (!o) {
		done(arg, rc, msg.text);
		return;
	}
	o->done = done;
	o->arg = arg;
}

static void reg_lun_delete(int tid, uint64_t lun, vms_lun_done_fn done, void *arg)
{
	struct scsi_lu *dev = tgt_lu_find(tid, lun);
	struct delete_req *d = dev ? delete_new(dev) : NULL;

	if (!d) {
		done(arg, dev ? TGTADM_NOMEM : 0, "out of memory");
		return;
	}
	d->done = done;
	d->arg = arg;
}

static const struct vms_reg_bs reg_bs = {
    .lun_new = reg_lun_new,
    .lun_delete = reg_lun_delete,
    .settled = targets_settled,
};

static int registry_hook(struct mgmt_task *mtask, const struct tgtadm_req *req,
			 const char *params)
{
	char buf[4096];
	const char *path, *bsopts;

	if (req->mode == MODE_DEVICE && req->op == OP_NEW) {
		int rc = new_check(req, params, buf, sizeof(buf), &path, &bsopts);

		if (rc != TGT_MGMT_PENDING)
			return rc;
	}
	g.submitted = true;
	return vms_registry_mgmt(mtask, req, params);
}

static int mgmt_hook(struct mgmt_task *mtask, const struct tgtadm_req *req,
		     const char *params)
{
	if (vms_registry_active())
		return registry_hook(mtask, req, params);
	if (req->mode != MODE_DEVICE)
		return TGT_MGMT_LOCAL;
	if (req->op == OP_NEW)
		return mgmt_new(mtask, req, params);
	if (g.lus && req->op == OP_DELETE)
		return mgmt_delete(mtask, req);
	return TGT_MGMT_LOCAL;
}

static int adm_err_of(int err)
{
	switch (err) {
	case VMS_E_NOMEM:
		return TGTADM_NOMEM;
	case VMS_E_BUSY:
	case VMS_E_TIMEOUT:
	case VMS_E_DISCONNECTED:
	case VMS_E_AGAIN:
	case VMS_E_IO:
		return TGTADM_UNKNOWN_ERR;
	default:
		return TGTADM_INVALID_REQUEST;
	}
}

/* The registry's LUN: its volume is open. */
static void open_make(struct open_req *o)
{
	char args[400];

	snprintf(args, sizeof(args), "path=%s,bstype=%s", o->name, vmstore_name);
	o->done(o->arg, tgt_device_create(o->tid, TYPE_DISK, o->lun, args, 1),
		"tgt does not make the LUN");
}

/* Steps of the opens; true when one of them moved. */
static void work_opens(void)
{
	struct open_req **at = &g.opens, *o;
	struct vms_errmsg msg = {""};

	while ((o = *at)) {
		if (!o->asked && vms_gwp_is_ready(g.gwp)) {
			o->asked = true;
			o->status = vms_gwp_vol_open(g.gwp, o->name, o->size_bytes, o->write_ack,
						     o, &msg);
			if (o->status) {
				o->ended = true;
				snprintf(o->text, sizeof(o->text), "%s", msg.text);
			}
			g.submitted = true;
		} else if (!o->asked && tgt_turn_now_ms - o->since_ms > OPEN_WAIT_MS) {
			o->ended = true;
			o->status = VMS_E_TIMEOUT;
			snprintf(o->text, sizeof(o->text), "gateway %s has not started within %d s: %s",
				 vms_gwp_name(g.gwp), OPEN_WAIT_MS / 1000, vms_gwp_why(g.gwp));
		}
		if (!o->ended) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		if (o->status && !o->mtask) {
			o->done(o->arg, adm_err_of(o->status), o->text);
		} else if (o->status) {
			tgt_adm_say("%s", o->text);
			mtask_complete(o->mtask, adm_err_of(o->status));
		} else {
			g.opening = o;
			if (o->mtask)
				mtask_execute_now(o->mtask);
			else
				open_make(o);
			g.opening = NULL;
			/* tgt did not make the LU: the volume is not needed */
			if (o->vol)
				vms_gwp_vol_close(g.gwp, o->vol);
			g.submitted = true;
		}
		free(o);
	}
}

static void work_deletes(void)
{
	struct delete_req **at = &g.deletes, *d;

	while ((d = *at)) {
		struct scsi_lu *dev = tgt_lu_find(d->tid, d->lun);

		if (dev && lu_busy(dev)) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		if (d->mtask)
			mtask_execute_now(d->mtask);
		else
			d->done(d->arg,
				dev ? (int)tgt_device_destroy(d->tid, d->lun, 0) : 0,
				"tgt does not delete the LUN");
		free(d);
	}
}

/* ---- tgt's calls for a logical unit ---- */

static tgtadm_err bs_vmstore_init(struct scsi_lu *dev, char *bsopts)
{
	struct bs_lu *bl = bl_of(dev);

	if (!g.opening) {
		tgt_adm_say("a vmstore LUN can only be made with its volume: --op new with --backing-store VOLUME");
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
	vms_xcopy_forget(&g.results, 0, bl_of(dev));
	free(bl_of(dev)->preempted);
}

/* The volume's present properties into the LU. */
static void lu_take_info(struct bs_lu *bl, const struct vms_gw_vol_info *info)
{
	struct vms_lu_ident *id = &bl->lu.ident;

	memcpy(id->uuid, info->uuid, sizeof(id->uuid));
	id->nblocks = info->size_bytes / VMS_LB_BYTES;
	id->write_cache = info->write_ack == VMS_ACK_MEMORY;
	/* nothing is written to a snapshot, so it needs no space */
	id->thin_soft_percent =
		info->read_only ? 0 : (uint8_t)g.settings.gateway.thin_soft_percent;
	bl->read_only = info->read_only;
	bl->rollbacks = info->rollbacks;
	id->write_protect = bl->read_only || bl->dev->attrs.readonly;
	bl->lu.gone = info->gone;
}

static int bs_vmstore_open(struct scsi_lu *dev, char *path, int *fd, uint64_t *size)
{
	struct bs_lu *bl = bl_of(dev);
	struct lu_phy_attr *a = &dev->attrs;
	struct vms_gw_vol_info info;
	char uuid[37];

	if (!g.opening || !g.opening->vol || strcmp(g.opening->name, path)) {
		tgt_adm_say("the volume of a LUN cannot be exchanged; delete the LUN and make it anew");
		return -1;
	}
	vms_gw_vol_info(g.opening->vol, &info);
	bl->vol = g.opening->vol;
	g.opening->vol = NULL;
	bl->lu.pr = vms_gw_vol_pr(bl->vol);
	reserve_mark(bl, bl->lu.pr);
	lu_take_info(bl, &info);
	snprintf(bl->lu.ident.target_name, sizeof(bl->lu.ident.target_name), "%s",
		 dev->tgt->name);
	bl->lu.ident.portal_group = (uint16_t)g.gateway_id;
	bl->lu.ident.target_port = (uint16_t)g.gateway_id;
	bl->next = g.lus;
	g.lus = bl;

	/* for `tgtadm --op show`; the pages themselves come from vpd.c */
	vms_vpd_uuid_text(info.uuid, uuid);
	snprintf(a->vendor_id, sizeof(a->vendor_id), "VMSTORE");
	snprintf(a->product_id, sizeof(a->product_id), "VMStore disk");
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
	struct bs_lu *bl = bl_of(dev), **at;

	if (!bl->vol)
		return;
	for (at = &g.lus; *at != bl; at = &(*at)->next)
		;
	*at = bl->next;
	vms_lu_no_reservations(&bl->lu);
	resets_drop(bl->vol);
	if (vol_copied(bl->vol)) {
		struct closing *c = calloc(1, sizeof(*c));

		vms_assert(c);
		for (struct bs_req *r = g.live; r; r = r->live_next)
			if (r->xcopy && !r->aborted && req_touches(r, dev))
				abort_req(r);
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
			ua_sense_add_other_it_nexus(0, bl->dev,
						    VMS_ASC_MODE_PARAMETERS_CHANGED);
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
			enum vms_copy_state state =
				vms_xcopy_run_step(r->xcopy, (uint64_t)tgt_turn_now_ms);

			g.submitted |= state == VMS_COPY_SUBMITTED;
			if (state != VMS_COPY_ENDED)
				continue;
			status = copy_end(r);
		} else if (start_verify(r) && r->pending) {
			continue;
		} else {
			status = result(r, &kept);
		}
		live_del(r);
		cmd->bs_data = NULL;
		if (!kept)
			req_free(r);
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
		work_opens();
	g.submitted = false;
	vms_gwp_turn_end(g.gwp);
	work_copies();
	if (g.done)
		work_done();
	if (g.pr_done)
		work_pr();
	if (g.preempting)
		work_preempted();
	if (g.reserved)
		work_reserved();
	if (g.closing)
		work_closing();
	work_changes();
	work_space();
	if (g.deletes)
		work_deletes();
	/* completions may have let queued commands start, whose ops must leave */
	return g.submitted || g.done || g.pr_done;
}

static void nexus_hook(struct it_nexus *itn, int up)
{
	struct bs_nexus *n, **at;

	if (!up) {
		n = itn->bs_priv;
		if (!n)
			return;
		tgt_portals_nexus(itn, false);
		itn->bs_priv = NULL;
		vms_xcopy_forget(&g.results, itn->itn_id, NULL);
		for (at = &g.nexuses; *at != n; at = &(*at)->next)
			;
		*at = n->next;
		free(n);
		return;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return;
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
	tgt_event_del(vms_gwp_net_fd(g.gwp));
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
	if (gateway_start(NULL, &msg) ||
	    (g.settings.gateway.shared_config && vms_gwp_catalog(g.gwp) &&
	     vms_registry_open(vms_gwp_catalog(g.gwp), g.settings.cluster.secrets_key,
			       &reg_bs, &msg))) {
		vms_error("%s", msg.text);
		return -1;
	}
	return 0;
}

static struct backingstore_template vmstore_bst = {
	.bs_name = vmstore_name,
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
	register_backingstore_template(&vmstore_bst);
	tgt_mgmt_hook = mgmt_hook;
	tgt_nexus_hook = nexus_hook;
	tgt_turn_begin_hook = turn_begin;
	tgt_turn_end_hook = turn_end;
	tgt_start_hook = start_hook;
	tgt_stop_hook = stop_hook;
	tgt_lu_reset_hook = lu_reset_hook;
}
