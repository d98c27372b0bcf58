// SPDX-License-Identifier: GPL-2.0-only
/*
 * Codec of container blocks. Authority: doc/disk-format.md "Containers".
 * Pure; any thread. A segment header names its own place and the address of
 * each chunk, so a block that a disk returns from elsewhere is noticed (A11).
 */
#include "backend/ctr.h"

#include "include/err.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define CTR_MAGIC	0x3130525443534d56ull /* "VMSCTR01" */
#define SEG_MAGIC	0x3130474553534d56ull /* "VMSSEG01" */
#define FOOT_MAGIC	0x31544f4f46534d56ull /* "VMSFOOT1" */
#define CTR_VERSION	1
#define CRC_AT		(VMS_CHUNK_BYTES - 4)
#define SEG_ENTRY_BYTES 48u
#define SEG_ENTRIES_AT	64u

_Static_assert(SEG_ENTRIES_AT + VMS_SEG_ENTRIES_MAX * SEG_ENTRY_BYTES <= CRC_AT,
	       "segment entries fit their block");

static void block_seal(uint8_t *out)
{
	vms_put_le32(out + CRC_AT, vms_crc32c(0, out, CRC_AT));
}

static bool block_ok(const uint8_t *in, uint64_t magic)
{
	return vms_get_le64(in) == magic && vms_get_le32(in + 8) == CTR_VERSION &&
	       vms_get_le32(in + CRC_AT) == vms_crc32c(0, in, CRC_AT);
}

void vms_ctr_header_encode(uint8_t out[VMS_CHUNK_BYTES], const struct vms_ctr_header *h)
{
	memset(out, 0, VMS_CHUNK_BYTES);
	vms_put_le64(out, CTR_MAGIC);
	vms_put_le32(out + 8, CTR_VERSION);
	vms_put_le64(out + 24, h->ctr);
	vms_put_le32(out + 32, h->partition);
	vms_put_le64(out + 40, h->epoch);
	vms_put_le64(out + 48, h->incarnation);
	memcpy(out + 56, h->cluster_uuid, 16);
	block_seal(out);
}

/* VMS_E_CORRUPT: damaged; VMS_E_VERSION: made by a later release (unknown
 * incompatible feature). */
int vms_ctr_header_decode(const uint8_t in[VMS_CHUNK_BYTES], struct vms_ctr_header *h)
{
	if (!block_ok(in, CTR_MAGIC))
		return VMS_E_CORRUPT;
	if (vms_get_le32(in + 12))
		return VMS_E_VERSION;
	h->ctr = vms_get_le64(in + 24);
	h->partition = vms_get_le32(in + 32);
	h->epoch = vms_get_le64(in + 40);
	h->incarnation = vms_get_le64(in + 48);
	memcpy(h->cluster_uuid, in + 56, 16);
	return 0;
}

void vms_seg_encode(uint8_t out[VMS_CHUNK_BYTES], const struct vms_seg *s)
{
	uint8_t *e = out + SEG_ENTRIES_AT;

	vms_assert(s->n >= 1 && s->n <= VMS_SEG_ENTRIES_MAX);
	memset(out, 0, VMS_CHUNK_BYTES);
	vms_put_le64(out, SEG_MAGIC);
	vms_put_le32(out + 8, CTR_VERSION);
	vms_put_le32(out + 12, s->n);
	vms_put_le64(out + 16, s->ctr);
	vms_put_le32(out + 24, s->offset_bytes);
	vms_put_le64(out + 32, s->seq);
	for (uint32_t i = 0; i < s->n; i++, e += SEG_ENTRY_BYTES) {
		vms_put_le64(e, s->e[i].addr);
		vms_put_le32(e + 8, s->e[i].crc);
		e[12] = s->e[i].valid;
		e[13] = (uint8_t)((s->e[i].has_fp ? 1 : 0) | s->e[i].state << 1);
		if (s->e[i].has_fp)
			memcpy(e + 16, s->e[i].fp, 32);
	}
	block_seal(out);
}

int vms_seg_decode(const uint8_t in[VMS_CHUNK_BYTES], uint64_t ctr, uint32_t offset_bytes,
		   struct vms_seg *s)
{
	const uint8_t *e = in + SEG_ENTRIES_AT;

	if (!block_ok(in, SEG_MAGIC))
		return VMS_E_CORRUPT;
	s->n = vms_get_le32(in + 12);
	s->ctr = vms_get_le64(in + 16);
	s->offset_bytes = vms_get_le32(in + 24);
	s->seq = vms_get_le64(in + 32);
	if (s->n < 1 || s->n > VMS_SEG_ENTRIES_MAX || s->ctr != ctr ||
	    s->offset_bytes != offset_bytes)
		return VMS_E_CORRUPT;
	for (uint32_t i = 0; i < s->n; i++, e += SEG_ENTRY_BYTES) {
		/* an entry describes the place right where it stands, nothing else */
		if (vms_get_le64(e) != vms_addr_make(ctr, offset_bytes + VMS_CHUNK_BYTES * (i + 1)))
			return VMS_E_CORRUPT;
		s->e[i].addr = vms_get_le64(e);
		s->e[i].crc = vms_get_le32(e + 8);
		s->e[i].valid = e[12];
		s->e[i].has_fp = e[13] & 1;
		s->e[i].state = e[13] >> 1;
		memcpy(s->e[i].fp, e + 16, 32);
	}
	return 0;
}

void vms_ctr_footer_encode(uint8_t out[VMS_CHUNK_BYTES], const struct vms_ctr_footer *f)
{
	memset(out, 0, VMS_CHUNK_BYTES);
	vms_put_le64(out, FOOT_MAGIC);
	vms_put_le32(out + 8, CTR_VERSION);
	vms_put_le32(out + 12, f->nchunks);
	vms_put_le64(out + 16, f->ctr);
	vms_put_le64(out + 24, f->length_bytes);
	vms_put_le32(out + 32, f->segs);
	vms_put_le32(out + 36, f->list_bytes);
	vms_put_le32(out + 40, f->list_crc);
	block_seal(out);
}

int vms_ctr_footer_decode(const uint8_t in[VMS_CHUNK_BYTES], struct vms_ctr_footer *f)
{
	if (!block_ok(in, FOOT_MAGIC))
		return VMS_E_CORRUPT;
	f->nchunks = vms_get_le32(in + 12);
	f->ctr = vms_get_le64(in + 16);
	f->length_bytes = vms_get_le64(in + 24);
	f->segs = vms_get_le32(in + 32);
	f->list_bytes = vms_get_le32(in + 36);
	f->list_crc = vms_get_le32(in + 40);
	return 0;
}
