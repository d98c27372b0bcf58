/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checks the folder of a stopped storage node: every value of the index against
 * its CRC, every address of every page against its container: segment header, the
 * entry that names it, the chunk's CRC. Reads only.
 */
#ifndef VMS_FSCK_H
#define VMS_FSCK_H

#include "include/err.h"
#include "include/types.h"

struct vms_fsck {
	uint64_t values, pages, addresses, chunks, containers, container_bytes;
	uint64_t errors;
	unsigned part_bits;
	uint8_t cluster_uuid[16];
	uint64_t node_id;
};
/* say: called with one line for each error found (the first 100). 0 when the
 * folder could be read at all, whatever was found. */
int vms_fsck_dir(const char *dir, struct vms_fsck *out, void (*say)(void *arg, const char *line),
		 void *arg, struct vms_errmsg *msg);

/* vmstored --fsck DIR: prints; exit code 0 clean, 1 errors or unreadable. */
int vms_fsck_main(const char *dir);

#endif
