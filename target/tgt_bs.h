/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the backing store `vmstore`: what its parts share. bs_vmstore.c owns logical
 * units and the loop, tgt_bs_gw.c the gateway, tgt_bs_cmd.c commands, tgt_bs_req.c their
 * requests to the core, tgt_bs_pr.c reservations and resets, tgt_bs_copy.c EXTENDED COPY,
 * tgt_bs_lun.c how LUNs come and go. Nobody else includes this.
 *
 * One per process, on tgt's loop.
 */
#ifndef VMS_TGT_BS_H
#define VMS_TGT_BS_H

#include <stdbool.h>
#include <stdint.h>

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
#include "target/tgt_glue.h"
#include "target/tgt_registry.h"
#include "target/xcopy_run.h"
#include "utils/lib/settings.h"

/* tgt's, in the way of ours */
#undef eprintf
#undef dprintf

extern const char bs_vmstore_name[];

/* One logical unit; lies behind tgt's struct scsi_lu. */
struct bs_lu {
	struct vms_lu lu;
	bool read_only;		/* the volume is, or it is a snapshot; a LUN can be it by itself */
	uint64_t rollbacks;	/* of the volume, when it was looked at last */
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
	struct vms_gw_cmd gc;	 /* the first or only op */
	struct vms_gw_cmd *more; /* UNMAP: nmore further ones */
	unsigned nmore;
	unsigned pending; /* ops that have not ended */
	bool done_queued;
	bool aborted;
	bool verifying; /* second half of WRITE AND VERIFY */
	int status;	/* first error of an op that had ended when others go on */
	unsigned nok;	/* ops that ended well */
	struct vms_iov iov;
	struct vms_iov *iovs;		 /* VERIFY of one block against many */
	struct vms_gw_lba_range *ranges; /* GET LBA STATUS */
	struct vms_pr_who who;
	uint64_t preempted;	       /* the table that wants it ended */
	struct vms_xcopy_run *xcopy;   /* EXTENDED COPY: it has its own ops */
	struct vms_xcopy_result *kept; /* what becomes of it; NULL: nobody can ask */
	struct bs_req *next;	       /* done queue, free list */
	struct bs_req *live_next, **live_prev;
};

/* PERSISTENT RESERVE IN or OUT, RESERVE, RELEASE: a question to the cluster. */
struct bs_pr {
	struct vms_gw_pr_cmd pc;
	struct scsi_cmd *cmd;
	/* LOGICAL UNIT RESET, CLEAR TASK SET: no cmd, but tgt's request, which waits for the other
	 * gateways */
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

struct bs_state {
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
	unsigned npr;	      /* of them in work */
	bool preempting;      /* a LU waits for commands to end */
	bool reserved;	      /* perhaps a LU is, by RESERVE */
	struct bs_pr *resets; /* that have not come back */
	unsigned ncopies;     /* EXTENDED COPYs at work */
	struct vms_xcopy_results results;
	struct closing *closing;
	uint64_t space_warnings;       /* that initiators were told */
	struct vms_gateways *gateways; /* NULL: no catalog to ask */
	uint16_t ports[VMS_PORTS_MAX]; /* of all gateways; filled in when asked for */
};
/* The one there is. */
extern struct bs_state vms_bs;
#define g vms_bs

static inline struct bs_lu *bs_lu_of(const struct scsi_lu *dev)
{
	return (struct bs_lu *)((char *)dev + sizeof(*dev));
}

/* ---- bs_vmstore.c ---- */

/* NULL: out of memory; the command ends BUSY. */
const struct bs_nexus *bs_nexus_of(struct scsi_cmd *cmd);

/* ---- tgt_bs_req.c: requests to the core, answers ---- */

/* io: NULL for a command that has no op of its own. NULL: out of memory. */
struct bs_req *bs_req_new(struct scsi_cmd *cmd, const struct vms_cdb *io);
void bs_req_free(struct bs_req *r);
/* It is inside the core from now on, or no more; and its end is worked off at the end of
 * the turn. */
void bs_live_add(struct bs_req *r);
void bs_live_del(struct bs_req *r);
void bs_queue_done(struct bs_req *r);
/* Status and sense into cmd; the status. */
int bs_put_status(struct scsi_cmd *cmd, const struct vms_sense *s);
int bs_plain_status(struct scsi_cmd *cmd, uint8_t status);
/* Copies len bytes of an answer; false when memory is out. */
bool bs_put_data(struct scsi_cmd *cmd, const void *data, uint32_t len);
/* Fills in and submits the ops of a command. Returns 0 or a VMS_E_* that ended it
 * before anything was submitted. */
int bs_req_start(struct bs_req *r, struct vms_sense *s);
/* The written range is read back (and compared). Returns false when there is
 * nothing (more) to do. */
bool bs_req_start_verify(struct bs_req *r);
/* One of its ops has ended. */
void bs_req_note(struct bs_req *r, const struct vms_gw_cmd *gc);
/* All ops of r have ended: what the command ends with. *kept: r lives on until its
 * data is sent. */
int bs_req_result(struct bs_req *r, bool *kept);
/* A request to hurry: it still ends by itself. */
void bs_req_abort(struct bs_req *r);

/* ---- tgt_bs_cmd.c: commands ---- */

int bs_cmd_perform(int host_no, struct scsi_cmd *cmd);
/* tgt calls this for commands of its own handlers only; all of ours go to
 * bs_cmd_perform(). */
int bs_cmd_submit(struct scsi_cmd *cmd);
void bs_cmd_abort(struct scsi_cmd *cmd);
/* The ports of all gateways; and what tgt knows better than the LU. */
void bs_lu_ports(struct vms_lu *lu);
void bs_lu_refresh(struct bs_lu *bl);

/* ---- tgt_bs_gw.c: the gateway ---- */

/* conf: NULL or the file's name. Once it runs, it must be the same. */
int bs_gateway_start(const char *conf, struct vms_errmsg *msg);
void bs_targets_settled(void);
/* Nobody comes in before it is known who may, whether anybody may, and whether this
 * gateway is a path to anything. */
void bs_work_logins(void);

/* ---- tgt_bs_pr.c: reservations, LOGICAL UNIT RESET ---- */

/* Its bs_data is a struct bs_pr then. */
bool bs_is_reservation(const struct scsi_cmd *cmd);
bool bs_same_owner(const struct vms_pr_owner *a, const struct vms_pr_owner *b);
/* The LU has its volume: RESERVE as the table has it. */
void bs_pr_opened(struct bs_lu *bl);
/* tgt's own mark of RESERVE is looked at: tgt clears it. */
void bs_pr_reserve_look(struct bs_lu *bl, const struct vms_pr *t);
/* work: at the end of each turn. */
void bs_pr_work_reserved(void);
bool bs_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t);
void bs_pr_work_preempted(void);
int bs_reservation(struct bs_lu *bl, struct scsi_cmd *cmd, const struct vms_lu_req *q);
int bs_lu_reset(struct scsi_lu *dev, struct mgmt_req *mreq);
/* The volume is about to be closed. */
void bs_resets_drop(const struct vms_gw_vol *vol);
void bs_pr_complete(void *ctx, struct vms_gw_pr_cmd *pc);
void bs_pr_work(void);

/* ---- tgt_bs_copy.c: EXTENDED COPY ---- */

/* A copy reads or writes LUs that it was not sent to. */
bool bs_req_touches(const struct bs_req *r, const struct scsi_lu *dev);
/* The status it ends with. */
int bs_copy_end(struct bs_req *r);
bool bs_vol_copied(const struct vms_gw_vol *vol);
void bs_copy_work_closing(void);
int bs_extended_copy(struct scsi_cmd *cmd, struct vms_lu_req *q);
void bs_copy_work(void);
void bs_copy_results(struct scsi_cmd *cmd, struct vms_lu_req *q);

/* ---- tgt_bs_lun.c: LUNs come and go ---- */

extern const struct vms_reg_bs bs_reg;
bool bs_is_ours(const struct scsi_lu *dev);
int bs_mgmt(struct mgmt_task *mtask, const struct tgtadm_req *req, const char *params);
void bs_work_opens(void);
void bs_work_deletes(void);

#endif
