/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A storage node's disk in memory: implements struct vms_disk_ops with virtual
 * latency, and loses or tears at a crash what was not synced.
 *
 * Model: a log_write in flight, or ended without sync and not followed by one,
 * is at a crash kept, dropped or torn at 512-byte sectors, each 4 KiB block for
 * itself. Container blocks not covered by an ended ctr_sync likewise. A commit
 * in flight has happened or not, as a whole. Ended unlinks stay done; one in
 * flight may or may not have happened.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "include/disk.h"
#include "include/err.h"
#include "utils/lib/rng.h"

struct sim_disk;

struct sim_disk_conf {
	uint64_t log_bytes;
	uint32_t latency_us_min, latency_us_max; /* of writes and reads */
	uint32_t sync_us_min, sync_us_max;
	uint32_t read_now_percent; /* ctr_read_now succeeds */
	uint64_t space_bytes;	   /* capacity for containers */
	/* Called (from the enqueueing call) when an operation will end at now +
	 * delay_us; the owner then calls sim_disk_finish(id). */
	void (*schedule)(void *ctx, uint64_t delay_us, uint64_t id);
	void *ctx;
};

struct sim_disk *sim_disk_new(const struct sim_disk_conf *conf, uint64_t seed);
void sim_disk_free(struct sim_disk *d);
struct vms_disk sim_disk_ops(struct sim_disk *d);
/* End operation id: fills ev (give it to the core). False: it died in a crash. */
bool sim_disk_finish(struct sim_disk *d, uint64_t id, struct vms_disk_event *ev);
/* The process died (lose_unsynced false: only the process, the machine and its
 * page cache live on) or power was cut (true). Pending operations die. */
void sim_disk_crash(struct sim_disk *d, bool lose_unsynced);
/* From now on reads (SIM_DISK_READS) or writes, syncs and commits (SIM_DISK_WRITES) fail
 * with EIO, one or all; 0: none. What a failed write was to change is not there. */
enum { SIM_DISK_READS = 1, SIM_DISK_WRITES = 2 };
void sim_disk_fail(struct sim_disk *d, int what, bool all);
/* The next call of that kind ends with status, nothing of it done. */
enum sim_disk_call {
	SIM_LOG_WRITE = 1,
	SIM_LOG_SYNC,
	SIM_CTR_WRITE,
	SIM_CTR_SYNC,
	SIM_COMMIT,
	SIM_UNLINK,
	SIM_PUNCH
};
void sim_disk_fail_at(struct sim_disk *d, enum sim_disk_call call, int status);
bool sim_disk_dying(const struct sim_disk *d); /* the next write fails, or one has */
int sim_disk_failed(const struct sim_disk *d); /* what has failed since the start; 0: nothing */
/* Blocking; as fsck wants it. */
int sim_disk_read(void *d, uint64_t ctr, uint64_t off, void *buf, size_t len);
uint64_t sim_disk_container_bytes(const struct sim_disk *d); /* allocated, holes not */

/* The capacity for containers is that from now on. */
void sim_disk_space(struct sim_disk *d, uint64_t bytes);
/* Something else takes all of the disk but so many bytes; UINT64_MAX: and gives them back.
 * A container write that does not fit ends ENOSPC, with some of it written; a commit may
 * where hardly anything is left. How many have. */
void sim_disk_leave(struct sim_disk *d, uint64_t bytes);
unsigned sim_disk_refused(const struct sim_disk *d);
/* Container writes and syncs that start from now on do not end until they are let go again;
 * all else goes on (hold), or what is held goes on, too. */
void sim_disk_hold(struct sim_disk *d, bool hold);
/* Commits that start from now on take so much longer. */
void sim_disk_slow_commits(struct sim_disk *d, uint64_t us);

/* ---- rot: bytes that change by themselves ---- */

/* Written container blocks, in no order of meaning. */
void sim_disk_blocks(const struct sim_disk *d, void (*fn)(void *arg, uint64_t ctr, uint64_t block),
		     void *arg);
/* Inverts a bit of that byte of a block; false: nothing was written there. */
bool sim_disk_rot(struct sim_disk *d, uint64_t ctr, uint64_t block, uint32_t byte);
/* The block's bytes are those of another one (a misdirected write). */
bool sim_disk_misdirect(struct sim_disk *d, uint64_t ctr, uint64_t block, uint64_t from_ctr,
			uint64_t from_block);
/* Inverts a bit of a stored value of the index. */
bool sim_disk_meta_rot(struct sim_disk *d, const void *key, uint32_t key_bytes, uint32_t byte);

#endif
