/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's disk as a struct vms_disk: files in one folder (doc/disk-format.md)
 * and LMDB. Log and containers go through io_uring, or through worker threads
 * where it is not to be had; calls that have no cheap asynchronous form (syncfs,
 * unlink, punch, LMDB commits) always run on workers.
 *
 * Owner: the node thread calls everything here; completions are collected by
 * vms_disk_posix_reap() when vms_disk_posix_fd() is readable.
 *
 * Test switch: environment VMS_DISK_FAULT, see disk_fault.h.
 */
#ifndef VMS_DISK_POSIX_H
#define VMS_DISK_POSIX_H

#include "include/disk.h"
#include "include/err.h"

struct vms_disk_posix_conf {
	const char *dir;
	uint64_t log_bytes;   /* format: size of the log file, multiple of 1 MiB */
	uint64_t index_bytes; /* LMDB map size */
	int engine;	      /* enum vms_io_engine of utils/lib/settings.h */
};
struct vms_disk_posix;
struct vms_disk_faults;

/* Make folder, log (written once with zeros) and empty index. VMS_E_EXIST when
 * the folder already holds a node. */
int vms_disk_posix_format(const struct vms_disk_posix_conf *c, struct vms_errmsg *msg);
/* VMS_E_NOENT: not formatted. VMS_E_BUSY: another process has it. */
int vms_disk_posix_open(struct vms_disk_posix **d, const struct vms_disk_posix_conf *c,
			struct vms_errmsg *msg);
/* Waits for what is in flight. */
void vms_disk_posix_close(struct vms_disk_posix *d);
struct vms_disk vms_disk_posix_disk(struct vms_disk_posix *d);
int vms_disk_posix_fd(const struct vms_disk_posix *d);
/* Hand each ended operation to fn; returns their number. */
int vms_disk_posix_reap(struct vms_disk_posix *d,
			void (*fn)(void *arg, const struct vms_disk_event *ev), void *arg);
/* Submit what was queued since the last call (io_uring); end of a turn. */
void vms_disk_posix_flush(struct vms_disk_posix *d);
/* The fault switch, for the process around and for statistics. */
struct vms_disk_faults *vms_disk_posix_faults(struct vms_disk_posix *d);
/* "io_uring, O_DIRECT" or what it fell back to; for the start-up message. */
const char *vms_disk_posix_describe(const struct vms_disk_posix *d);

#endif
