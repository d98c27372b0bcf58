/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Containers: self-describing files of chunks. Authority: doc/disk-format.md
 * "Containers". Pure codec: no I/O here.
 *
 * A container starts with a file header block (4096 bytes: magic, version,
 * feature masks, container number, epoch and incarnation that opened it, CRC),
 * so offset 0 never names a chunk. Then segments: one 4096-byte segment header
 * with up to 64 entries, followed by the chunks it names. At seal a footer block
 * at the next grid place.
 * Header entries name the address they describe; a reader checks it (rules A11).
 */
#ifndef VMS_CTR_H
#define VMS_CTR_H

#include "include/types.h"

#define VMS_SEG_ENTRIES_MAX 64u
#define VMS_CTR_SEGS_MAX    8064u /* grid segments of one container, 2 GiB */

struct vms_ctr_header {
	uint64_t ctr;
	uint32_t partition;
	uint64_t epoch;	      /* that opened it */
	uint64_t incarnation; /* of the primary that opened it */
	uint8_t cluster_uuid[16];
};
void vms_ctr_header_encode(uint8_t out[VMS_CHUNK_BYTES], const struct vms_ctr_header *h);
int vms_ctr_header_decode(const uint8_t in[VMS_CHUNK_BYTES], struct vms_ctr_header *h);

struct vms_seg_entry {
	vms_addr addr;	/* of the chunk */
	uint32_t crc;	/* CRC32C of its 4096 bytes */
	uint8_t valid;	/* sector mask */
	uint8_t state;	/* 0 live at writing; reserved */
	bool has_fp;	/* fingerprint known */
	uint8_t fp[32]; /* SHA-256 */
};
struct vms_seg {
	uint64_t ctr;
	uint32_t offset_bytes; /* of the segment header in the file */
	uint32_t n;
	uint64_t seq; /* partition seq of the DRAIN/REMAP record that made it */
	struct vms_seg_entry e[VMS_SEG_ENTRIES_MAX];
};
void vms_seg_encode(uint8_t out[VMS_CHUNK_BYTES], const struct vms_seg *s);
/* VMS_E_CORRUPT: not a segment header, damaged, or of another place. */
int vms_seg_decode(const uint8_t in[VMS_CHUNK_BYTES], uint64_t ctr, uint32_t offset_bytes,
		   struct vms_seg *s);

struct vms_ctr_footer {
	uint64_t ctr;
	uint64_t length_bytes; /* of what precedes the footer */
	uint32_t nchunks;
	uint32_t segs;	     /* grid segments; with the list only */
	uint32_t list_bytes; /* fingerprint list behind it (fplists.h); 0: none */
	uint32_t list_crc;   /* CRC32C of it */
};
/* Blocks that a list takes behind the footer. */
static inline size_t vms_ctr_list_blocks(size_t list_bytes)
{
	return (list_bytes + VMS_CHUNK_BYTES - 1) / VMS_CHUNK_BYTES;
}
void vms_ctr_footer_encode(uint8_t out[VMS_CHUNK_BYTES], const struct vms_ctr_footer *f);
int vms_ctr_footer_decode(const uint8_t in[VMS_CHUNK_BYTES], struct vms_ctr_footer *f);

/* Segments lie on a fixed grid of 65 blocks (one header, 64 chunk places)
 * behind the file header, so the header of a chunk follows from its offset. A
 * segment header is written once, in the same write as its chunks, and never
 * again: each DRAIN or REMAP record starts a new segment; places it leaves
 * unused stay holes of the sparse file and cost address space only. */
static inline uint32_t vms_seg_header_offset(uint32_t chunk_offset_bytes)
{
	uint32_t b = chunk_offset_bytes / VMS_CHUNK_BYTES - 1;
	return VMS_CHUNK_BYTES * (1 + b / 65 * 65);
}
static inline unsigned vms_seg_index(uint32_t chunk_offset_bytes)
{
	return (chunk_offset_bytes / VMS_CHUNK_BYTES - 1) % 65 - 1;
}
/* Offset of the header of grid segment `k` (0, 1, ...) and of its chunk i. */
static inline uint64_t vms_seg_offset(uint32_t k)
{
	return (uint64_t)VMS_CHUNK_BYTES * (1 + 65ull * k);
}
static inline uint64_t vms_seg_chunk_offset(uint32_t k, unsigned i)
{
	return vms_seg_offset(k) + VMS_CHUNK_BYTES * (i + 1ull);
}

#endif
