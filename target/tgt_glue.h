/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The seam between tgt, as we modify it, and our code: what a backing-store
 * module (bs_vmstore.c) may use beyond tgt's own headers, and what it must keep.
 *
 * One process, one event loop, one thread: every function here is called on the
 * loop's thread only. tgt's own declarations come from "tgtd.h" (which see:
 * struct scsi_lu, struct scsi_cmd, struct backingstore_template, tgt_event_add,
 * sense_data_build, ua_sense_add_*); this file adds to them. Include "tgtd.h"
 * (and "target.h" for struct it_nexus) first.
 *
 * ---- A command's life ----------------------------------------------------
 * 1. tgt looks the LU up and calls lu->dev_type_template.ops[opcode].cmd_perform
 *    (host_no, cmd). bs_init() may overwrite these entries: the table is the
 *    LU's own copy. Do not touch lu->cmd_perform and lu->cmd_done.
 * 2. The handler either
 *    a) returns a SAM status: the command is complete. This is how a read from
 *       cache, and every error found at the door, completes. Never call
 *       target_cmd_io_done() for it; or
 *    b) calls set_cmd_async(cmd), returns SAM_STAT_GOOD and calls
 *       target_cmd_io_done(cmd, status) later, exactly once: from a
 *       tgt_event_add() handler, a tgt_init_sched_event() handler or the
 *       turn-end hook. NEVER from within a handler, bs_cmd_submit,
 *       bs_cmd_abort or a core's step(). After that call cmd is gone.
 * 3. cmd->bs_data belongs to the module; tgt sets it to NULL before (1).
 *
 * ---- Data from the initiator (WRITE ...) -----------------------------------
 * scsi_get_out_buffer(cmd) holds scsi_get_out_length(cmd) bytes, page-aligned
 * from 4 KiB on, complete when the handler is called, valid until
 * target_cmd_io_done().
 * It is NULL when the initiator announced no data (out_length 0): check the
 * length against the CDB first. Report with scsi_set_out_resid_by_actual().
 *
 * ---- Data to the initiator (READ, INQUIRY ...) ------------------------------
 * Stock handlers find a buffer of scsi_get_in_length(cmd) bytes, allocated
 * before they run. A handler whose entry has ops[op].lazy_in = 1 gets none, and
 * provides the data in one of two ways, before it returns or before
 * target_cmd_io_done():
 *    scsi_alloc_in_buf(): a buffer the transport frees, to copy into;
 *    scsi_set_in_iov():   pieces of pinned memory, sent from where they are.
 * For up to about 16 KiB a copy costs as much as pinning; use what is simpler.
 * Always call scsi_set_in_resid_by_actual(cmd, bytes): bytes is what the CDB
 * asks for; the transport sends the smaller of it and the expected length and
 * reports the residual. A command that ends with another status than GOOD sends
 * no data unless transfer_len says so: scsi_set_in_resid_by_actual(cmd, 0).
 *
 * ---- Abort -------------------------------------------------------------------
 * backingstore_template.bs_cmd_abort(cmd), optional: the initiator (task
 * management) or the transport (lost or reinstated connection) no longer wants
 * the answer of an async command. It is a request to hurry, not an end: the
 * module still owes target_cmd_io_done(), as soon as it knows that the command
 * was applied (with its true status) or can never be applied any more (with
 * SAM_STAT_TASK_ABORTED). The TMF's answer, the end of a reset, and the login
 * that reinstates the session all wait for it. It may be called more than once
 * for one command, and must not call target_cmd_io_done() itself.
 */
#ifndef VMS_TGT_GLUE_H
#define VMS_TGT_GLUE_H

#include <stdint.h>
#include <sys/uio.h>

struct scsi_cmd;
struct scsi_lu;
struct it_nexus;
struct mgmt_task;
struct tgtadm_req;
struct iscsi_connection;
struct list_head;

/* ---- data (usr/target.c, target/iscsi_stream_tx.c) ---------------------- */

/* Allocate the buffer of data to the initiator. len_bytes: 1.. 16 MiB; not
 * zeroed; page-aligned from 4 KiB on. Sets cmd's in buffer; the transport frees
 * it. Calling it again replaces the buffer. NULL: no memory, answer BUSY. */
void *scsi_alloc_in_buf(struct scsi_cmd *cmd, uint32_t len_bytes);

/* Send data to the initiator straight from the module's memory.
 * iov[0..iovcnt): the array and the memory are borrowed until unpin(arg), which
 * is called exactly once: when the last byte was handed to the kernel or the
 * connection is gone; never inside this call or the handler that made it. It
 * may run up to a slow initiator's patience later (bounded by T_nop once it
 * stops answering). unpin must not call back into tgt. unpin may be NULL. */
void scsi_set_in_iov(struct scsi_cmd *cmd, const struct iovec *iov, int iovcnt,
		     void (*unpin)(void *arg), void *arg);

/* Buffers as above without a command. tgt_buf_free(NULL) does nothing. */
void *tgt_buf_alloc(uint32_t len_bytes);
void tgt_buf_free(void *buf);

/* ---- the loop (usr/tgtd.c) ------------------------------------------------
 * One turn: epoll_wait; turn_begin; events of tgt_event_add_first(); all other
 * events; scheduled events; turn_end; the transport sends all answers.
 * tgt_event_del() of any descriptor is safe inside any handler. Never
 * edge-triggered. Timers: a timerfd (CLOCK_BOOTTIME) in tgt_event_add(). */

/* Right after epoll_wait, before anything is read: look at the clock and decide
 * here whether the initiators' connections have to go (tgt_close_initiators). */
extern void (*tgt_turn_begin_hook)(void);

/* At the end of a turn: send what was batched, call target_cmd_io_done() for
 * what has completed. Returns nonzero if it wants another turn at once. */
extern int (*tgt_turn_end_hook)(void);

/* CLOCK_BOOTTIME in ms, read once per turn after epoll_wait. */
extern int64_t tgt_turn_now_ms;

/* As tgt_event_add(), but handled before all others in a turn: node sockets come
 * before initiator sockets. Returns 0 or a negative errno. */
int tgt_event_add_first(int fd, int events, void (*handler)(int fd, int events, void *data),
			void *data);

/* ---- log (usr/log.c) ------------------------------------------------------ */

/* In the foreground: a line of tgt's own, with its newline, instead of stderr. */
extern void (*tgt_log_hook)(const char *fmt, va_list ap);
/* In the background: lines go to syslog through log_error() and so on. */
extern int tgt_log_daemon(void);

/* ---- initiators (target/iscsi_stream*.c, usr/iscsi/) -------------------- */

/* Close every initiator connection without reading another byte from it; its
 * commands get bs_cmd_abort(). For turn_begin, event handlers and timers; not
 * inside a command's handler. why: for the log. */
void tgt_close_initiators(const char *why);

/* While off, connections are closed as soon as they are accepted. On at start. */
void tgt_accept_logins(int on);

/* iSCSI target portal group tag of this process, 1..65535 (default 1). */
void tgt_set_portal_group(int tag);

/* Times of the transport in ms: a ping every nop_interval_ms (0: none) on
 * sessions in full feature phase; closed after t_nop_ms without a sign of life;
 * a login has to be complete within login_ms. Defaults 500, 1500, 10000. */
void tgt_set_timing(int nop_interval_ms, int t_nop_ms, int login_ms);

/* Connections of initiators at a time, at most 8192 (the default), and of one address
 * among them (default 4096). What comes beyond is closed at once. */
void tgt_set_limits(int connections, int per_address);

/* Ask the initiators of all sessions to log out (RFC 7143, 11.9, event 1); those that
 * are still there after so many seconds are told (event 2) and closed. To be called again
 * and again, at least once in 250 ms, with the same round: it goes on; a session is asked
 * once per round. round: from 1 on, another one for each occasion. seconds 0: nobody is
 * asked, all are told and closed. Adds to n what has been done. */
struct tgt_logouts {
	uint64_t asked, dropped;
};
void tgt_logout_sessions(unsigned round, unsigned seconds, struct tgt_logouts *n);

/* Portals of a target for discovery: "HOST:PORT,GROUP" of the nr-th into addr; 0: there
 * are no more. here: the one the initiator has come to. NULL: only that one is told. */
extern int (*tgt_portal_hook)(int tid, const char *here, int nr, char *addr, int len);

/* A login to a target (conn->tid) of an initiator that is admitted; before CHAP. 0: it
 * goes on; 1: to "HOST:PORT" in addr, for this time; 2: likewise, but the answer waits in
 * tgt_held_logins (conn->park_siblings; conn->held_as is the hook's) for
 * tgt_login_release(), or is gone with its connection; -1: service unavailable. */
extern int (*tgt_login_hook)(struct iscsi_connection *conn, char *addr, int len);
extern struct list_head tgt_held_logins;
void tgt_login_release(struct iscsi_connection *conn);

/* A nexus (session) came (up=1: after its creation, before its first command)
 * or goes (up=0: its commands are all done). struct it_nexus carries
 * itn->initiator (name), itn->isid[6], itn->itn_id (as cmd->cmd_itn_id), and
 * itn->bs_priv for the module. */
extern void (*tgt_nexus_hook)(struct it_nexus *itn, int up);

/* LOGICAL UNIT RESET, TARGET WARM RESET or CLEAR TASK SET (mreq->function) reached lu: its
 * commands have been aborted and its nexuses told, here. Returns 1 when there is more to wait for:
 * mreq is then kept until tgt_mreq_done(lu->tgt->lid, mreq, err) (err: 0 or a negative errno, which
 * the initiator hears as FUNCTION REJECTED); not from inside the hook. */
struct mgmt_req;
extern int (*tgt_lu_reset_hook)(struct scsi_lu *lu, struct mgmt_req *mreq);
void tgt_mreq_done(int lid, struct mgmt_req *mreq, int err);
/* Another nexus, perhaps of another process, ends this one's commands for lu: those that
 * the module has not seen yet (behind ordered ones, waiting for their data or for memory)
 * end TASK ABORTED. Not inside a core's step(). */
void tgt_abort_waiting(struct it_nexus *itn, struct scsi_lu *lu);

/* ---- management requests (usr/mgmt.c) ------------------------------------- */

#define TGT_MGMT_LOCAL	 0    /* go on as stock tgt does */
#define TGT_MGMT_PENDING (-1) /* parked until mtask_complete()/mtask_execute_now() */

/* Asked for every request of mode logicalunit, op new or delete, before tgt
 * acts. req: tid, lun, op, mode (see tgtadm.h). params: the text after
 * the header ("path=...,bstype=...,bsopts=..."), NUL-terminated, or "";
 * borrowed for the call, do not change it.
 * Returns TGT_MGMT_LOCAL, TGT_MGMT_PENDING, or an enum tgtadm_errno > 0 to answer
 * with now. tgt calls lu->bst->bs_init/bs_open (op new) or bs_close/bs_exit only
 * in LOCAL handling or mtask_execute_now(). */
extern int (*tgt_mgmt_hook)(struct mgmt_task *mtask, const struct tgtadm_req *req,
			    const char *params);

/* Exactly one of these per PENDING, later (not inside the hook), from the loop.
 * The tgtadm that asked may be gone meanwhile: the request then still runs, its
 * answer is dropped. mtask is gone after the call. adm_err 0: success.
 * mtask_execute_now() lets tgt act on it without asking the hook again. */
void mtask_complete(struct mgmt_task *mtask, int adm_err);
void mtask_execute_now(struct mgmt_task *mtask);

/* Say why, in words, to the tgtadm whose request is being handled: inside
 * tgt_mgmt_hook, bs_init, bs_open, or just before mtask_complete(). Printed by
 * tgtadm after its own message; also logged when nobody asked. One line, no
 * newline at the end; the last call wins. */
void tgt_adm_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The LU of (tid, lun), or NULL. Borrowed until the next turn. */
struct scsi_lu *tgt_lu_find(int tid, uint64_t lun);

/* Set lu's size after it came online (resize): the next READ CAPACITY and mode
 * block descriptor tell it. Raising the unit attention is the caller's part. */
void tgt_lu_set_size(struct scsi_lu *lu, uint64_t size_bytes);

/* ---- start and stop (usr/tgtd.c) -------------------------------------------- */

/* Called once, after the process is a daemon and the loop exists, before the
 * first turn: the place to open sockets and timers. NULL or returns 0; a
 * negative value ends tgtd with exit status 1. */
extern int (*tgt_start_hook)(void);

/* SIGTERM, SIGINT or `tgtadm --mode system --op delete`: connections are closed,
 * commands aborted, LUs deleted; then asked once per turn until it returns 0
 * (nothing left to do) or 5 s (scaled by VMS_TIME_FACTOR) are over. NULL: 0. */
extern int (*tgt_stop_hook)(void);

#endif
