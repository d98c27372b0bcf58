/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the vmstored program share: the process around the cores
 * (signals, folders, pid file) and its two roles. One thread.
 */
#ifndef VMS_VMSTORED_INT_H
#define VMS_VMSTORED_INT_H

#include "cluster/admin.h"
#include "cluster/net.h"
#include "utils/lib/settings.h"
#include "utils/lib/stats.h"

/* Exit codes. */
enum { VMSTORED_OK = 0, VMSTORED_FAILED = 1, VMSTORED_USAGE = 2 };

struct vmstored_proc {
	const struct vms_settings *set;
	struct vms_net *net;
	struct vms_stats *stats;
	char name[64];	  /* of the process: node name or "catalog" */
	char socket[128]; /* "unix:RUNDIR/NAME.sock" */
	int signal_fd;
	bool stop_wanted;	/* SIGTERM or SIGINT */
	void (*hup)(void *arg); /* SIGHUP; NULL: the signal keeps its usual meaning */
	void *hup_arg;
};

/* mkdir -p. 0 or an error naming the folder that failed. */
int vmstored_make_dir(const char *path, struct vms_errmsg *msg);
/* Signals and the local socket; p->net must exist. */
int vmstored_proc_open(struct vmstored_proc *p, struct vms_errmsg *msg);
void vmstored_proc_close(struct vmstored_proc *p);
/* Common part of ADMIN "status": role, name, version, pid. New reference. */
json_t *vmstored_status(const struct vmstored_proc *p, const char *role);
void vmstored_uuid_text(const uint8_t uuid[16], char out[37]);
int vmstored_uuid_parse(const char *text, uint8_t uuid[16]);

/* The roles: run until stopped; the exit code. ready is called when the process
 * listens (the pid file is written and a daemon's parent leaves then). */
typedef int (*vmstored_ready_fn)(void *arg, struct vms_errmsg *msg);
int vmstored_run_node(const struct vms_settings *set, vmstored_ready_fn ready, void *arg);
int vmstored_run_catalog(const struct vms_settings *set, vmstored_ready_fn ready, void *arg);
/* Prepare the node's folder (log and index), without joining. */
int vmstored_format(const struct vms_settings *set);

#endif
