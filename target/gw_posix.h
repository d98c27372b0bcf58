/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gateway core bound to real I/O: connections to the storage nodes and to the
 * catalog, timers, the local socket for statistics and traces. No tgt header: the
 * adapter (bs_vmstore.c) gives it a place in tgt's loop. One per process.
 *
 * Owner: tgt's loop; nothing here blocks. Callbacks come from vms_gwp_ready_fd(),
 * vms_gwp_net_ready(), vms_gwp_turn_begin() and vms_gwp_turn_end() only.
 *
 * Keeps: what closes the initiators' connections is told right after the core
 * returned, before any initiator's socket is read (rules C2, C4).
 */
#ifndef VMS_GW_POSIX_H
#define VMS_GW_POSIX_H

#include "cluster/net.h"
#include "target/gateway.h"
#include "utils/lib/settings.h"

struct vms_gwp;

struct vms_gwp_hooks {
	void *ctx;
	/* A pending command has ended; only queue it. */
	void (*complete)(void *ctx, struct vms_gw_cmd *cmd);
	void (*drop_initiators)(void *ctx, const char *why);
	/* End of vms_gwp_vol_open(); only queue it. text: borrowed for the call. */
	void (*vol_opened)(void *ctx, struct vms_gw_vol *vol, void *arg, int status,
			   const char *text);
	/* Only note it. */
	void (*vol_changed)(void *ctx, struct vms_gw_vol *vol);
	/* As in struct vms_gw_update; both may be NULL: there are no initiators. */
	void (*pr_complete)(void *ctx, struct vms_gw_pr_cmd *cmd);
	bool (*pr_changed)(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *table);
	/* The gateway has started: initiators may log in. */
	void (*ready)(void *ctx, const struct vms_timing *timing, uint32_t gateway_id);
	/* This process must not go on (a newer incarnation runs, ...). */
	void (*fatal)(void *ctx, int err, const char *text);
	/* The adapter's own numbers, added to STATS; new reference or NULL. */
	struct json_t *(*stats)(void *ctx);
};

/* settings: loaded by the caller, stays its own and must outlive this.
 * portal: "address:port" initiators reach this process at; NULL: none do, it is a tool.
 * 0 or VMS_E_* with msg (e.g. the local socket is in use: another gateway with this
 * name runs here). The catalog is not waited for. */
int vms_gwp_open(struct vms_gwp **out, const struct vms_settings *settings, const char *portal,
		 const struct vms_gwp_hooks *hooks, struct vms_errmsg *msg);
void vms_gwp_close(struct vms_gwp *p);

/* Two descriptors to be watched for input before any initiator's; when one is
 * ready, call vms_gwp_ready_fd(). */
int vms_gwp_net_fd(const struct vms_gwp *p);
int vms_gwp_timer_fd(const struct vms_gwp *p);
void vms_gwp_ready_fd(struct vms_gwp *p, int fd);
/* Instead of the first of them: the loop watches each connection itself (cluster/net.h),
 * and calls vms_gwp_net_ready(). It saves a system call for each turn that has something from
 * the nodes. */
void vms_gwp_net_join(struct vms_gwp *p, const struct vms_net_loop *loop);
void vms_gwp_net_ready(struct vms_gwp *p, uint64_t key, uint32_t events);

/* After the poll of a loop turn and before anything is read; and at its end. */
void vms_gwp_turn_begin(struct vms_gwp *p);
void vms_gwp_turn_end(struct vms_gwp *p);

struct vms_gw *vms_gwp_core(struct vms_gwp *p);
struct vms_catalog *vms_gwp_catalog(struct vms_gwp *p);
bool vms_gwp_is_ready(const struct vms_gwp *p);
bool vms_gwp_reaches(const struct vms_gwp *p); /* vms_gw_reaches() */
/* Why it is not ready yet, for people. */
const char *vms_gwp_why(const struct vms_gwp *p);
const char *vms_gwp_name(const struct vms_gwp *p);

/* As vms_gw_vol_open() and vms_gw_vol_close(); known to `vmstore trace` between. */
int vms_gwp_vol_open(struct vms_gwp *p, const char *name, uint64_t create_bytes, uint8_t write_ack,
		     void *arg, struct vms_errmsg *msg);
void vms_gwp_vol_close(struct vms_gwp *p, struct vms_gw_vol *vol);

#endif
