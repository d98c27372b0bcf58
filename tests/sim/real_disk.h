/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The machine's real disk (disk_posix: files, io_uring or threads, LMDB) for tests
 * that run on a virtual clock: every operation is done by the real engine, but its
 * end is told when the virtual clock says so, so a seed repeats exactly.
 *
 * A crash drops the engine with no clean-up. Operations that had not begun have
 * not happened, those under way have or have not. With power lost, what no ended
 * sync covers is kept, dropped or torn at 512-byte sectors, each 4 KiB block for
 * itself: its former content is written back into the files before the engine is
 * opened again. Commits are LMDB's own: done or not done.
 */
#ifndef REAL_DISK_H
#define REAL_DISK_H

#include "include/disk.h"
#include "include/err.h"
#include "utils/lib/rng.h"

struct real_disk;

struct real_disk_conf {
	const char *dir; /* made, and removed by real_disk_free() */
	uint64_t log_bytes, index_bytes;
	uint64_t space_bytes; /* what space() tells */
	uint32_t latency_us_min, latency_us_max;
	uint32_t sync_us_min, sync_us_max;
	uint32_t read_now_percent;
	int engine; /* enum vms_io_engine */
	void (*schedule)(void *ctx, uint64_t delay_us, uint64_t id);
	void *ctx;
};

/* Formats the folder unless a node is there. NULL: msg says why. */
struct real_disk *real_disk_new(const struct real_disk_conf *conf, uint64_t seed,
				struct vms_errmsg *msg);
void real_disk_free(struct real_disk *d);
struct vms_disk real_disk_ops(struct real_disk *d);
bool real_disk_finish(struct real_disk *d, uint64_t id, struct vms_disk_event *ev);
void real_disk_crash(struct real_disk *d, bool power);
/* Blocking; as fsck wants it. */
int real_disk_read(void *d, uint64_t ctr, uint64_t off, void *buf, size_t len);
/* Bytes and blocks of the container files. */
uint64_t real_disk_container_bytes(struct real_disk *d);

#endif
