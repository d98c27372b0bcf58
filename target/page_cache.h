/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Index pages a gateway holds, by (branch, generation, extent, sub-extent), in
 * bounded memory taken once; second-chance replacement. The generation is
 * VMS_GEN_LIVE for the pages of a live volume, else the snapshot's number. Whether a page may be
 * used (session, lease, partition epoch) is for the caller to say: this is only the store.
 *
 * Owner: tgt's event loop. Serves invariants 1, 2, 19.
 */
#ifndef VMS_PAGE_CACHE_H
#define VMS_PAGE_CACHE_H

#include "include/types.h"

struct vms_pc_page {
	uint64_t branch, gen;
	uint32_t extent;
	uint8_t sub;
	uint8_t used; /* used since the hand passed */
	uint8_t live;
	uint8_t idle; /* invalidations of chunks since a read used it */
	uint32_t hash_next;
	uint32_t node;	  /* that handed it out ... */
	uint32_t session; /* ... under this session of ours with it */
	uint64_t epoch;	  /* of its partition when it was handed out */
	uint64_t version; /* record seq up to which the entries are exact */
	/* bit per chunk: an own write of it is sent and not answered, so the entry
	 * must not be used (rules A4) */
	uint64_t own[2];
	/* Odd: not known. VMS_ADDR_ASK, or the token of the READ_LBA on its way that fills it,
	 * unless something came between. */
	vms_addr entry[VMS_SUBEXT_CHUNKS];
};

struct vms_page_cache;
struct vms_page_cache *vms_pc_new(uint64_t bytes); /* at least 16 pages; NULL: no memory */
void vms_pc_free(struct vms_page_cache *c);

/* Valid until the next insert. NULL: not cached. */
struct vms_pc_page *vms_pc_find(struct vms_page_cache *c, uint64_t branch, uint64_t gen,
				uint32_t extent, uint8_t sub);
/* The page's place, new or the existing one; the caller fills it. Never NULL. */
struct vms_pc_page *vms_pc_insert(struct vms_page_cache *c, uint64_t branch, uint64_t gen,
				  uint32_t extent, uint8_t sub);
void vms_pc_drop(struct vms_page_cache *c, struct vms_pc_page *p);
/* All of that branch and generation. */
void vms_pc_drop_all(struct vms_page_cache *c, uint64_t branch, uint64_t gen);

static inline bool vms_pc_own(const struct vms_pc_page *p, unsigned chunk)
{
	return p->own[chunk >> 6] >> (chunk & 63) & 1;
}
static inline bool vms_pc_unknown(vms_addr entry)
{
	return entry & 1;
}
uint32_t vms_pc_slots(const struct vms_page_cache *c);
uint32_t vms_pc_used(const struct vms_page_cache *c);

#endif
