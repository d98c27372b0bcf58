/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Patches of stored index pages: the entries of a page that have changed since the whole
 * of it was written, in a small value of its own. Random writes change one entry of a page
 * of 1 KiB here and there; patches of neighbours share a block of the store. A page with
 * more changed entries than a patch may have is written whole, and its patch goes in the
 * same commit. Authority: doc/disk-format.md "Index". Pure but for vms_patch_read();
 * owner: who owns the page.
 */
#ifndef VMS_PAGE_PATCH_H
#define VMS_PAGE_PATCH_H

#include "backend/pages.h"

#define VMS_PATCH_ENTRIES_MAX	16u
#define VMS_PATCH_VAL_BYTES_MAX (16u + 9u * VMS_PATCH_ENTRIES_MAX)

/* The page's own key with another letter. */
void vms_patch_key_encode(uint8_t *out, const struct vms_page_key *k);
int vms_patch_key_decode(const uint8_t *p, uint32_t bytes, struct vms_page_key *k);

/* The page can be stored as it is in the store with a patch over it. */
bool vms_patch_will_do(const struct vms_page *p);
/* What p->patched names; returns the length. */
uint32_t vms_patch_val_encode(uint8_t *out, const struct vms_page *p);
/* Lays a patch over the page; VMS_E_CORRUPT: it is none of this page, which is undefined. */
int vms_patch_val_decode(const uint8_t *v, uint32_t bytes, struct vms_page *p);

/* p is the page as its own value in the store says: lays its patch over it, if it has one,
 * and marks it as stored. VMS_E_CORRUPT: the patch is damaged. */
int vms_patch_read(const struct vms_disk *d, struct vms_page *p);

#endif
