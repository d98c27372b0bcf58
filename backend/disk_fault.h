/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fault switch of the disk engine, for tests (doc/testing.md "Faults of the disk"):
 * the N-th call of a kind fails, or its bytes come back changed. Off, and without cost
 * worth naming, unless the environment of the process has VMS_DISK_FAULT.
 *
 * Owner: the node thread.
 */
#ifndef VMS_DISK_FAULT_H
#define VMS_DISK_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "include/err.h"

enum vms_disk_call {
	VMS_DC_LOG_WRITE,
	VMS_DC_LOG_SYNC,
	VMS_DC_CTR_WRITE,
	VMS_DC_CTR_READ,
	VMS_DC_CTR_SYNC,
	VMS_DC_COMMIT,
	VMS_DC_UNLINK,
	VMS_DC_PUNCH,
	VMS_DC_DIGEST,
	VMS_DC_LOG_READ,
	VMS_DC_INDEX_READ,
	VMS_DC_MAX
};

enum { VMS_FAULT_CRASH = 1, VMS_FAULT_FLIP = 2 }; /* what: else a VMS_E_* */

#define VMS_DISK_FAULTS_MAX 8u

struct vms_disk_faults {
	struct {
		enum vms_disk_call call;
		uint64_t n;
		bool on; /* from the n-th on */
		int what;
	} f[VMS_DISK_FAULTS_MAX];
	unsigned n;
	char path[256];		    /* control file; "": none */
	uint64_t calls[VMS_DC_MAX]; /* since the list was taken */
	uint64_t hits, taken;
};

/* Replaces the list; counting starts again. On an error the old list stays. */
int vms_disk_faults_set(struct vms_disk_faults *f, const char *text, struct vms_errmsg *msg);
/* From the environment: VMS_DISK_FAULT=LIST, or =@PATH of a file that holds it. */
int vms_disk_faults_env(struct vms_disk_faults *f, struct vms_errmsg *msg);
/* The control file once more (no such file: no faults). VMS_E_UNSUPPORTED: there is none. */
int vms_disk_faults_reload(struct vms_disk_faults *f, struct vms_errmsg *msg);
/* One call of that kind begins: 0, the error it ends with, or VMS_FAULT_FLIP. */
int vms_disk_faults_hit(struct vms_disk_faults *f, enum vms_disk_call c);

#endif
