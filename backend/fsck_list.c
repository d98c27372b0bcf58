// SPDX-License-Identifier: GPL-2.0-only
/* Fingerprint lists for fsck: what the segment headers say, and whether the list
 * behind a footer says the same. */
#include <stdlib.h>
#include <string.h>

#include "backend/fplists.h"
#include "backend/fsck_int.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

uint8_t *fsck_list_make(struct fsck *c, struct fctr *f, uint32_t segs, size_t *bytes, bool *any)
{
	size_t pad = ((size_t)segs + 7) / 8 * 8;
	uint8_t *list = calloc(1, pad + 8ul * VMS_SEG_ENTRIES_MAX * segs + 1);
	uint8_t *p = list + pad;

	vms_assert(list);
	*any = false;
	for (uint32_t k = 0; k < segs; k++) {
		if (c->io->read(c->io->ctx, f->number, vms_seg_offset(k), c->block,
				VMS_CHUNK_BYTES) ||
		    vms_seg_decode(c->block, f->number, (uint32_t)vms_seg_offset(k), &c->seg))
			continue;
		list[k] = (uint8_t)c->seg.n;
		for (uint32_t i = 0; i < c->seg.n; i++, p += 8)
			if (c->seg.e[i].has_fp && c->seg.e[i].valid == VMS_MASK_FULL) {
				memcpy(p, c->seg.e[i].fp, 8);
				*any = true;
			}
	}
	*bytes = (size_t)(p - list);
	return list;
}

/* NULL, or what is wrong with it. */
const char *fsck_list_check(struct fsck *c, struct fctr *f, const struct vms_ctr_footer *foot,
			    uint32_t segs)
{
	const char *what = NULL;
	uint32_t chunks;
	uint8_t *list, *want;
	size_t room, bytes;
	bool any;
	int rc;

	if (!foot->list_bytes)
		return NULL; /* no fingerprints, or sealed by an earlier release */
	if (foot->segs != segs || segs > VMS_CTR_SEGS_MAX ||
	    foot->list_bytes > vms_fplist_bytes(segs, segs * VMS_SEG_ENTRIES_MAX))
		return "its footer does not fit it";
	room = vms_ctr_list_blocks(foot->list_bytes) * VMS_CHUNK_BYTES;
	list = malloc(room);
	vms_assert(list);
	rc = c->io->read(c->io->ctx, f->number, vms_seg_offset(segs) + VMS_CHUNK_BYTES, list, room);
	if (rc) {
		what = "its fingerprint list cannot be read";
	} else if (vms_crc32c(0, list, foot->list_bytes) != foot->list_crc ||
		   !vms_fplist_check(list, foot->list_bytes, segs, &chunks)) {
		what = "its fingerprint list is damaged";
	} else if (!f->segs_damaged && !f->segs_dead) {
		want = fsck_list_make(c, f, segs, &bytes, &any);
		if (bytes != foot->list_bytes || memcmp(want, list, bytes))
			what = "its fingerprint list differs from its segment headers";
		free(want);
	}
	free(list);
	return what;
}

int fsck_footer_write(struct fsck *c, struct fctr *f, struct vms_ctr_footer *foot, uint32_t segs)
{
	size_t bytes, blocks;
	uint8_t *out;
	bool any;
	uint8_t *list = fsck_list_make(c, f, segs, &bytes, &any);
	int rc;

	if (any) {
		foot->segs = segs;
		foot->list_bytes = (uint32_t)bytes;
		foot->list_crc = vms_crc32c(0, list, bytes);
	}
	blocks = 1 + (any ? vms_ctr_list_blocks(bytes) : 0);
	out = calloc(blocks, VMS_CHUNK_BYTES);
	vms_assert(out);
	vms_ctr_footer_encode(out, foot);
	if (any)
		memcpy(out + VMS_CHUNK_BYTES, list, bytes);
	rc = c->io->write(c->io->ctx, f->number, foot->length_bytes, out, blocks * VMS_CHUNK_BYTES);
	free(list);
	free(out);
	return rc;
}
