/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checks what a stopped storage node has on disk: superblock, frames and records
 * of the log; each value of the index against its CRC; each address of each page
 * against its container: segment header, the entry that names it, the chunk's CRC.
 * Reads only. Also an oracle for tests, over any vms_disk.
 */
#ifndef VMS_FSCK_H
#define VMS_FSCK_H

#include "include/disk.h"
#include "include/err.h"

struct vms_fsck {
	uint64_t values, pages, addresses, chunks, containers, container_bytes;
	uint64_t foreign; /* addresses in partitions that this node does not have */
	uint64_t log_records, log_bytes;
	uint64_t errors;
	unsigned part_bits;
	uint8_t cluster_uuid[16];
	uint64_t node_id;
};

/* Blocking read of a container: 0, VMS_E_NOENT (no such file or beyond its end)
 * or VMS_E_IO. */
typedef int (*vms_fsck_read_fn)(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len);

/* say: called with one line for each error found (the first 100). Counts go to
 * *out; out->errors is 0 for a sound node. */
void vms_fsck(const struct vms_disk *disk, vms_fsck_read_fn ctr_read, void *ctx,
	      struct vms_fsck *out, void (*say)(void *arg, const char *line), void *arg);
/* The same for a folder. 0 when it could be read at all, whatever was found. */
int vms_fsck_dir(const char *dir, struct vms_fsck *out, void (*say)(void *arg, const char *line),
		 void *arg, struct vms_errmsg *msg);

/* vmstored --fsck DIR: prints; exit code as fsck(8): 0 clean, 4 errors, 8 the
 * folder cannot be checked (in use, not a node's, unreadable). */
int vms_fsck_main(const char *dir);

#endif
