/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chunks by global address, in bounded memory that is taken once. An address
 * names the same content for ever (invariant of include/types.h), so nothing here
 * ever needs to be invalidated for coherence; entries only go to make room.
 *
 * Replacement: S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi, SOSP 2023): a small queue
 * that filters one-time reads, a main queue, and a ghost table of addresses that
 * left the small one. Scan-resistant, O(1), one byte of state per hit.
 *
 * Owner: tgt's event loop.
 */
#ifndef VMS_CHUNK_CACHE_H
#define VMS_CHUNK_CACHE_H

#include "include/types.h"

struct vms_chunk_cache;
#define VMS_CC_NONE UINT32_MAX

struct vms_chunk_cache_stats {
	uint64_t hits, misses, inserts, evictions, ghost_hits, full;
};

/* bytes: memory for chunk data, at least 64 chunks are taken. NULL: no memory. */
struct vms_chunk_cache *vms_cc_new(uint64_t bytes);
void vms_cc_free(struct vms_chunk_cache *c);

/* Slot of an address or VMS_CC_NONE. Valid until the next insert unless pinned. */
uint32_t vms_cc_find(struct vms_chunk_cache *c, vms_addr a);
/* As find, but it does not count as a use (read-ahead asking what is there). */
bool vms_cc_has(const struct vms_chunk_cache *c, vms_addr a);
/* A slot for address a (not cached yet): the caller fills its 4096 bytes at once.
 * VMS_CC_NONE: everything that could go is pinned. */
uint32_t vms_cc_insert(struct vms_chunk_cache *c, vms_addr a);
uint8_t *vms_cc_data(const struct vms_chunk_cache *c, uint32_t slot);
void vms_cc_drop(struct vms_chunk_cache *c, vms_addr a);
/* The content named by `from` is from now on named by `to`. Nothing happens when
 * from is not cached or to is. */
void vms_cc_rekey(struct vms_chunk_cache *c, vms_addr from, vms_addr to);

/* A pinned slot keeps its content and place. Pins count. */
void vms_cc_pin(struct vms_chunk_cache *c, uint32_t slot);
void vms_cc_unpin(struct vms_chunk_cache *c, uint32_t slot);
/* Slot that holds this byte, or VMS_CC_NONE when p is not cache memory. */
uint32_t vms_cc_slot_of(const struct vms_chunk_cache *c, const void *p);

const struct vms_chunk_cache_stats *vms_cc_stats(const struct vms_chunk_cache *c);
uint32_t vms_cc_slots(const struct vms_chunk_cache *c);
uint32_t vms_cc_used(const struct vms_chunk_cache *c);
uint32_t vms_cc_pinned(const struct vms_chunk_cache *c);

#endif
