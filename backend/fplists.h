/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cached fingerprint lists of containers, searched together: which cached container
 * holds a chunk whose fingerprint begins with these 8 bytes, and where? Bounded
 * bytes; the list that was of no use for the longest time goes first.
 *
 * The body of a list (LIST_FETCH, and in footers): u8 number of chunks of each
 * segment, zeros to a multiple of 8, then one u64 per chunk in the order of places:
 * the first 8 bytes of its fingerprint, 0 when that is not known.
 *
 * Pure; one owner thread. Advice only (invariant 23).
 */
#ifndef VMS_FPLISTS_H
#define VMS_FPLISTS_H

#include "backend/hooks.h"

/* Bytes of the body of a list. */
static inline size_t vms_fplist_bytes(uint32_t segs, uint32_t chunks)
{
	return ((size_t)segs + 7) / 8 * 8 + (size_t)chunks * 8;
}
/* Is this a body of so many segments? Sets *chunks. */
bool vms_fplist_check(const uint8_t *body, size_t bytes, uint32_t segs, uint32_t *chunks);

struct vms_fplists;
struct vms_fplists *vms_fplists_new(uint64_t bytes_max);
void vms_fplists_free(struct vms_fplists *l);
/* key_mask: bits of a prefix that count (all of them but in tests). Replaces what is
 * there. False: malformed, or larger than the whole bound. */
bool vms_fplists_add(struct vms_fplists *l, uint64_t ctr, const uint8_t *body, size_t bytes,
		     uint32_t segs, uint64_t key_mask, uint64_t now_ms);
void vms_fplists_del(struct vms_fplists *l, uint64_t ctr);
/* That chunk is no more: it is not found again until its list is added anew. */
void vms_fplists_forget(struct vms_fplists *l, vms_fp_prefix p, vms_addr a);
/* When it was added; 0: it is not there. */
uint64_t vms_fplists_added(const struct vms_fplists *l, uint64_t ctr);
/* Up to `room` addresses of chunks with this prefix; returns their number. Marks
 * their lists as used. */
unsigned vms_fplists_find(struct vms_fplists *l, vms_fp_prefix p, vms_addr *out, unsigned room);
uint64_t vms_fplists_count(const struct vms_fplists *l); /* lists */
uint64_t vms_fplists_bytes(const struct vms_fplists *l);

#endif
