/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Index pages: one per (branch, sub-extent, snap_gen), 128 addresses each. The
 * stored pages (metadata store) plus the in-memory delta of drains that are not
 * checkpointed yet. Stored pages never hold log addresses. Sans-I/O.
 *
 * Two deltas: `active` takes new changes, `frozen` is being committed. A lookup
 * goes active, frozen, store. Keeps invariants 1, 27 (replay skips page changes
 * already there: each page carries the seq of the last drain record applied).
 */
#ifndef VMS_PAGES_H
#define VMS_PAGES_H

#include "backend/meta.h"
#include "backend/stack.h"

struct vms_page_key {
	uint32_t partition;
	uint64_t branch;
	uint32_t subext; /* sub-extent number in the branch = extent * 8 + i */
	uint64_t snap_gen;
};

struct vms_page {
	struct vms_page_key key;
	uint64_t drain_seq; /* partition seq of the last DRAIN/REMAP/TRIM/DROP record applied */
	vms_addr entry[VMS_SUBEXT_CHUNKS];
	/* pages.c: the store has a value of this very key that differs in these entries at most */
	bool stored;
	uint64_t patched[VMS_SUBEXT_CHUNKS / 64];
};

#define VMS_PAGE_KEY_BYTES 23u /* 'I', u16 partition, u64 branch, u32 subext, u64 snap_gen */
void vms_page_key_encode(uint8_t *out, const struct vms_page_key *k);
int vms_page_key_decode(const uint8_t *p, uint32_t bytes, struct vms_page_key *k);
/* Value: u8 version, u8 0, u16 0, u32 0, u64 drain_seq, 128 x u64 (+ CRC). */
#define VMS_PAGE_VAL_BYTES (16u + 8u * VMS_SUBEXT_CHUNKS)
void vms_page_val_encode(uint8_t *out, const struct vms_page *p);
int vms_page_val_decode(const uint8_t *v, uint32_t bytes, struct vms_page *p);

struct vms_pages;
struct vms_pages *vms_pages_new(const struct vms_disk *disk);
void vms_pages_free(struct vms_pages *ps);

/* Called whenever a page is made as a copy of an older one. */
void vms_pages_on_copy(struct vms_pages *ps,
		       void (*fn)(void *arg, const struct vms_page_key *made,
				  const struct vms_page_key *from),
		       void *arg);

/* Called with the key of each stored page that turns out to be damaged. It must not
 * change any page. */
void vms_pages_on_bad(struct vms_pages *ps, void (*fn)(void *arg, const struct vms_page_key *key),
		      void *arg);
/* Is exactly this page in the store, it or its patch damaged, and not about to be replaced?
 * To be asked of those alone that are damaged, or have been: one that is about to be
 * changed is written whole then. */
bool vms_pages_stored_bad(struct vms_pages *ps, const struct vms_page_key *key);
/* A good copy of a page whose stored value is damaged. Nothing happens when it has been
 * changed meanwhile. */
void vms_pages_install(struct vms_pages *ps, const struct vms_page *page);
/* The same, but the page ought not to be there (any more). */
void vms_pages_forget(struct vms_pages *ps, const struct vms_page_key *key, uint64_t drain_seq);

/* The page with the greatest snap_gen <= key->snap_gen of that branch and
 * sub-extent, copied to *out (out->key tells which). VMS_E_NOENT: no page, all
 * holes. VMS_E_CORRUPT: stored value damaged. */
int vms_pages_lookup(struct vms_pages *ps, const struct vms_page_key *key, struct vms_page *out);

/* The same over a stack of layers: the page of the first that has one, without the
 * entries beyond its limit. A hole in a page is final: it was made as a copy of what
 * lay below. At most one seek per layer. */
int vms_pages_lookup_stack(struct vms_pages *ps, uint32_t partition, uint32_t subext,
			   const struct vms_stack *st, struct vms_page *out);

/* Which of an extent's sub-extents have pages of this very branch, of whatever version;
 * damaged ones count. One seek when there are none. */
uint8_t vms_pages_own(struct vms_pages *ps, uint32_t partition, uint64_t branch, uint32_t extent);

/* Change one entry on behalf of the record `drain_seq` of the partition. The
 * page (exactly this snap_gen) is made as a copy of the one the stack shows when
 * it does not exist; below: the layers, the first one the key's own (NULL: only
 * its branch). Skipped (returns 1) when the page already has drain_seq or
 * later. All changes of one record to one page carry the same drain_seq: give
 * them in one call. if_equal != NULL: entry i changes only where it equals
 * if_equal[i] (REMAP). changed[i], if not NULL, tells which did; old[i] what was there
 * and no page names any more on account of this change (what it was copied from stays). */
int vms_pages_apply(struct vms_pages *ps, const struct vms_page_key *key,
		    const struct vms_stack *below, uint64_t drain_seq, const uint16_t *index,
		    const vms_addr *to, unsigned n, const vms_addr *if_equal, bool *changed,
		    vms_addr *old);
/* TRIM: remove entries >= first_chunk (of the branch) of all pages of the
 * partition and branch. Works on store and deltas; pages that become empty are
 * deleted. dropped(arg, addr) is told each address that went. */
int vms_pages_trim(struct vms_pages *ps, uint32_t partition, uint64_t branch, uint64_t first_chunk,
		   uint64_t drain_seq, void (*dropped)(void *arg, vms_addr a), void *arg);

/* DROP: the page of exactly this key goes, with all it names. Skipped (returns 1)
 * when there is none, or when it has been changed by drain_seq or later. */
int vms_pages_drop(struct vms_pages *ps, const struct vms_page_key *key, uint64_t drain_seq,
		   void (*dropped)(void *arg, vms_addr a), void *arg);

/* A copy of another replica's page, as it is there; and a page that it has not. */
void vms_pages_put(struct vms_pages *ps, const struct vms_page *p);
void vms_pages_del(struct vms_pages *ps, const struct vms_page_key *key);

/* Checkpoint: freeze moves active to frozen (must be empty) and adds its puts
 * and deletes to the batch; thaw drops frozen after the commit has ended. */
int vms_pages_freeze(struct vms_pages *ps, struct vms_meta_batch *b);
void vms_pages_thaw(struct vms_pages *ps);
size_t vms_pages_delta_count(const struct vms_pages *ps); /* active + frozen pages */

/* All pages of a partition, deltas merged, in key order; non-zero stops. Used
 * by mark, fsck and volume statistics. resume: start at this key (may be NULL). */
int vms_pages_each(struct vms_pages *ps, uint32_t partition, const struct vms_page_key *resume,
		   int (*fn)(void *arg, const struct vms_page *p), void *arg);
uint64_t vms_pages_lookups(const struct vms_pages *ps); /* store seeks done, for statistics */

#endif
