/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checks what a stopped storage node has on disk: superblock, frames and records
 * of the log; each value of the index against its CRC; each page against the state
 * of its partition and each of its addresses against the container it names; each
 * container's header, segments and footer against each other and the index. Also
 * an oracle for tests, over any vms_disk.
 *
 * A repair rebuilds what is derived: entries of containers, file headers, footers.
 * It writes only after everything has been checked, and never touches primary
 * state (pages, partitions, outcomes, floors, log, chunks): what of that is lost
 * comes from another replica. Addresses in partitions that this node does not
 * hold, or in places that its copy of another partition has not come to yet, are
 * counted as elsewhere.
 */
#ifndef VMS_FSCK_H
#define VMS_FSCK_H

#include "include/disk.h"
#include "include/err.h"
#include "utils/lib/vec.h"

/* What was found. LOST: primary state or data that is gone here. REPAIR: derived,
 * can be rebuilt. HARMLESS: wrong, but nothing refers to it and nothing rebuilds it. */
enum vms_fsck_class { VMS_FSCK_LOST = 1, VMS_FSCK_REPAIR, VMS_FSCK_HARMLESS };

struct vms_fsck_problem {
	enum vms_fsck_class class;
	bool repaired;
	uint64_t ctr; /* 0: not about a container */
	char text[240];
};

struct vms_fsck {
	uint64_t values, pages, addresses, elsewhere;
	uint64_t chunks, containers, container_bytes; /* chunks: read and right */
	uint64_t files, leftover; /* leftover: files that the next start removes or fills */
	uint64_t log_records, log_bytes;
	uint64_t errors, lost, repaired; /* errors: all problems, repaired ones included */
	uint64_t lost_chunks;		 /* that pages refer to */
	unsigned part_bits, partitions;
	uint8_t cluster_uuid[16];
	uint64_t node_id;
	VMS_VEC(struct vms_fsck_problem) problem; /* the first VMS_FSCK_TEXTS_MAX */
};
#define VMS_FSCK_TEXTS_MAX 1000u

/* Blocking. read: 0, VMS_E_NOENT (no such file or beyond its end) or VMS_E_IO. write
 * and commit only for a repair; what they did is durable when they return. */
struct vms_fsck_io {
	void *ctx;
	int (*read)(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len);
	int (*write)(void *ctx, uint64_t ctr, uint64_t off, const void *buf, size_t len);
	int (*commit)(void *ctx, const struct vms_meta_batch *batch);
};

#define VMS_FSCK_SALTS_MAX 16u
struct vms_fsck_conf {
	bool repair;
	bool deep; /* read every chunk, not only those that pages refer to */
	/* deep: fingerprints are computed with each of these until one fits; without
	 * any they are not checked */
	unsigned nsalts;
	uint8_t salt[VMS_FSCK_SALTS_MAX][32];
	uint32_t salt_bytes[VMS_FSCK_SALTS_MAX]; /* 0: no salt, or 32 */
	/* By partition: this node is not in its set, so its copy and those of other
	 * partitions here may be of different times. NULL: the caller does not know. */
	const bool *out;
	/* Now and then, with what = NULL at the end; may be NULL. */
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
	void *arg;
};

/* 0, or why nothing could be checked or a repair stopped half-way (VMS_E_IO ...).
 * vms_fsck_free() in both cases. */
int vms_fsck(const struct vms_disk *disk, const struct vms_fsck_io *io,
	     const struct vms_fsck_conf *conf, struct vms_fsck *out);
void vms_fsck_free(struct vms_fsck *f);

/* The same for a node's folder. */
int vms_fsck_dir(const char *dir, const struct vms_fsck_conf *conf, struct vms_fsck *out,
		 struct vms_errmsg *msg);

/* Exit codes, as fsck(8): 1 and 4 together: some were repaired, others not. */
enum {
	VMS_FSCK_CLEAN = 0,
	VMS_FSCK_FIXED = 1,
	VMS_FSCK_LEFT = 4,
	VMS_FSCK_FAILED = 8, /* in use, no node's folder, unreadable */
	VMS_FSCK_USAGE = 16,
};
/* The body of `vmstore fsck` and `vmstored --fsck`: checks, prints, returns the code. */
int vms_fsck_main(const char *prog, const char *dir, const struct vms_fsck_conf *conf, bool json);

#endif
