/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a storage node's core needs from its disk: the seam between the sans-I/O
 * core and the machine. Two engines: backend/disk_posix.c (files, io_uring,
 * LMDB) and tests/sim/sim_disk.c (memory, with unsynced loss, torn writes and
 * faults).
 *
 * Asynchronous calls only enqueue; they never call back from inside. Their end
 * is given to the core as a vms_disk_event. Buffers are borrowed until then.
 * Owner: the node thread.
 *
 * Durability: a log_write with sync is durable when its event arrives; without
 * sync it is durable when a later log_sync or sync log_write has ended. A
 * ctr_write is durable when a later ctr_sync has ended. A meta_commit is
 * atomic and durable when its event arrives. The core orders them: container
 * bytes are synced before the meta_commit that refers to them. After any event
 * with an error of log_write, log_sync, ctr_write, ctr_sync or meta_commit the
 * core acknowledges nothing more (invariant 28).
 */
#ifndef VMS_DISK_H
#define VMS_DISK_H

#include "include/types.h"

struct vms_disk_event {
	uint64_t token; /* as given to the call */
	int status;	/* 0 or VMS_E_IO, VMS_E_NOSPC, VMS_E_FULL (LMDB map full), VMS_E_CORRUPT */
};

/* One atomic change of the metadata store. Encoded ops back to back:
 * u8 op (1 put, 2 del), u8 0, u16 key_bytes, u32 value_bytes, key, value. */
struct vms_meta_batch {
	uint8_t *data;
	size_t used_bytes, room_bytes;
	uint32_t nops;
};

/* Called with each key of a range in ascending order; non-zero stops. key and
 * value are valid during the call only. */
typedef int (*vms_meta_iter_fn)(void *arg, const uint8_t *key, uint32_t key_bytes,
				const uint8_t *val, uint32_t val_bytes);
typedef int (*vms_ctr_list_fn)(void *arg, uint64_t ctr, uint64_t size_bytes);

/* Chunks to be hashed; borrowed until the event, buffers included. */
struct vms_digest {
	const uint8_t *salt;
	uint32_t salt_bytes; /* at most 64; 0: none */
	uint32_t n;
	const uint8_t *const *chunk; /* n chunks of 4096 bytes */
	uint8_t (*out)[32];	     /* SHA-256(salt || chunk) of each */
	uint32_t *crc;		     /* CRC32C of each */
};

struct vms_disk_ops {
	uint32_t struct_bytes; /* sizeof(struct vms_disk_ops), append-only */

	/* Log: a preallocated file, offsets multiple of 4096, data 4096-aligned. */
	uint64_t (*log_size_bytes)(void *ctx);
	/* Start-up only. What it returns is durable: an engine that may still have
	 * unsynced bytes of an earlier process syncs them when it opens the log. */
	int (*log_read)(void *ctx, uint64_t off, void *buf, size_t len);
	void (*log_write)(void *ctx, uint64_t off, const void *buf, size_t len, bool sync,
			  uint64_t token);
	void (*log_sync)(void *ctx, uint64_t token);

	/* Containers: files named by their number. Offsets multiple of 4096. A
	 * write beyond the end extends the file (a gap reads as zeros). */
	void (*ctr_write)(void *ctx, uint64_t ctr, uint64_t off, const struct vms_iov *iov,
			  unsigned niov, uint64_t token);
	void (*ctr_read)(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len,
			 uint64_t token);
	/* 0 and buf filled when it can be had without waiting for the disk, else
	 * VMS_E_AGAIN (use ctr_read) or an error (VMS_E_NOENT: no such file or
	 * beyond its end). Sees all ended ctr_writes. */
	int (*ctr_read_now)(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len);
	void (*ctr_sync)(void *ctx, uint64_t token);		     /* everything written so far */
	void (*ctr_unlink)(void *ctx, uint64_t ctr, uint64_t token); /* NOENT counts as 0 */
	void (*ctr_punch)(void *ctx, uint64_t ctr, uint64_t off, uint64_t len, uint64_t token);
	int (*ctr_list)(void *ctx, vms_ctr_list_fn fn, void *arg); /* start-up only */

	/* Metadata store, sorted by memcmp. Reads see every ended commit; whether
	 * they see a running one is undefined. get: value length or VMS_E_NOENT;
	 * copies at most room bytes. last_le: greatest key <= key, copied out. */
	int (*meta_get)(void *ctx, const void *key, uint32_t key_bytes, void *val,
			uint32_t room_bytes);
	int (*meta_last_le)(void *ctx, const void *key, uint32_t key_bytes, void *found_key,
			    uint32_t *found_key_bytes /* in: room */, void *val,
			    uint32_t room_bytes);
	/* Keys in [from, to); returns fn's non-zero value, 0 or an error. */
	int (*meta_range)(void *ctx, const void *from, uint32_t from_bytes, const void *to,
			  uint32_t to_bytes, vms_meta_iter_fn fn, void *arg);
	/* batch->data is borrowed until the event. */
	void (*meta_commit)(void *ctx, const struct vms_meta_batch *batch, uint64_t token);

	/* Free and total bytes for containers; used fraction of the map in 1/1000. */
	int (*space)(void *ctx, uint64_t *free_bytes, uint64_t *total_bytes,
		     uint32_t *meta_used_permille);

	/* Format only: written and durable when it returns. buf 4096-aligned. */
	int (*log_write_now)(void *ctx, uint64_t off, const void *buf, size_t len);

	/* Hash away from the node thread: helpers of low priority, several jobs at
	 * once. An error in the event means that nothing was hashed. */
	void (*digest)(void *ctx, const struct vms_digest *job, uint64_t token);

	/* As ctr_read, but what the disk has, not what some cache has. NULL: ctr_read
	 * does that. */
	void (*ctr_read_disk)(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len,
			      uint64_t token);
};

struct vms_disk {
	const struct vms_disk_ops *ops;
	void *ctx;
};

#endif
