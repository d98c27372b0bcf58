/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keys and values of a node's metadata store (LMDB in production; the engines
 * stand behind vms_disk_ops.meta_*). Authority: doc/disk-format.md "Index".
 * Keys sort by memcmp: integers in them are big-endian. Every value ends with a
 * CRC32C over key and value (rules A10), added and checked here.
 */
#ifndef VMS_META_H
#define VMS_META_H

#include "include/disk.h"

#define VMS_META_KEY_BYTES_MAX 32u
#define VMS_META_VAL_BYTES_MAX 65000u
/* What is written; 1 has no patches of pages, and is read all the same. */
#define VMS_INDEX_VERSION 2u
static inline bool vms_index_known(uint32_t version)
{
	return version && version <= VMS_INDEX_VERSION;
}

/* Batch building. put/del return 0 or VMS_E_NOMEM. put appends the CRC. */
int vms_meta_batch_put(struct vms_meta_batch *b, const void *key, uint32_t key_bytes,
		       const void *val, uint32_t val_bytes);
int vms_meta_batch_del(struct vms_meta_batch *b, const void *key, uint32_t key_bytes);
void vms_meta_batch_reset(struct vms_meta_batch *b); /* keeps its memory */
void vms_meta_batch_free(struct vms_meta_batch *b);

/* Walk a batch's ops (used by the engines). Returns 1 while there is one. */
struct vms_meta_op {
	uint8_t op; /* 1 put, 2 del */
	const uint8_t *key, *val;
	uint32_t key_bytes, val_bytes;
};
int vms_meta_batch_next(const struct vms_meta_batch *b, size_t *at, struct vms_meta_op *op);

/* Read with CRC check: length without the CRC, VMS_E_NOENT or VMS_E_CORRUPT. */
int vms_meta_get(const struct vms_disk *d, const void *key, uint32_t key_bytes, void *val,
		 uint32_t room_bytes);
/* Check and strip the CRC of a value met while iterating: length or VMS_E_CORRUPT. */
int vms_meta_check(const uint8_t *key, uint32_t key_bytes, const uint8_t *val, uint32_t val_bytes);

#endif
