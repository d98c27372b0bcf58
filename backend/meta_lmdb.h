/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metadata store on LMDB: what struct vms_disk_ops.meta_* need. Default sync
 * mode, no writable map, no DUPSORT; read transactions last one call; any
 * failed commit is final for the process (invariant 28).
 * Reads: node thread. Commit: one worker thread at a time.
 */
#ifndef VMS_META_LMDB_H
#define VMS_META_LMDB_H

#include "backend/meta.h"
#include "include/err.h"

struct vms_meta_lmdb;
/* dir must exist; map_bytes: size limit of the index. */
int vms_meta_lmdb_open(struct vms_meta_lmdb **m, const char *dir, uint64_t map_bytes,
		       struct vms_errmsg *msg);
void vms_meta_lmdb_close(struct vms_meta_lmdb *m);
int vms_meta_lmdb_get(struct vms_meta_lmdb *m, const void *key, uint32_t key_bytes, void *val,
		      uint32_t room_bytes);
int vms_meta_lmdb_last_le(struct vms_meta_lmdb *m, const void *key, uint32_t key_bytes, void *found,
			  uint32_t *found_bytes, void *val, uint32_t room_bytes);
int vms_meta_lmdb_range(struct vms_meta_lmdb *m, const void *from, uint32_t from_bytes,
			const void *to, uint32_t to_bytes, vms_meta_iter_fn fn, void *arg);
/* Blocking; 0, VMS_E_FULL (map), VMS_E_NOSPC, VMS_E_IO. */
int vms_meta_lmdb_commit(struct vms_meta_lmdb *m, const struct vms_meta_batch *batch);
uint32_t vms_meta_lmdb_used_permille(struct vms_meta_lmdb *m);

#endif
