// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the container blocks. First byte: 1 sets the block's checksum
 * right; the next 12 are the place the reader expects (container, offset).
 */
#include "backend/ctr.h"
#include "include/err.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vms_seg seg, seg2;
	struct vms_ctr_header h, h2;
	struct vms_ctr_footer f, f2;
	uint8_t *p, again[VMS_CHUNK_BYTES];
	uint64_t ctr;
	uint32_t off;

	if (size < 13)
		return 0;
	p = calloc(1, VMS_CHUNK_BYTES);
	memcpy(p, data + 13, size - 13 < VMS_CHUNK_BYTES ? size - 13 : VMS_CHUNK_BYTES);
	if (data[0] & 1)
		vms_put_le32(p + 4092, vms_crc32c(0, p, 4092));
	ctr = vms_get_le64(data + 1);
	off = vms_get_le32(data + 9);
	if (!vms_seg_decode(p, ctr, off, &seg)) {
		vms_assert(seg.n >= 1 && seg.n <= VMS_SEG_ENTRIES_MAX);
		for (uint32_t i = 0; i < seg.n; i++)
			vms_assert(seg.e[i].addr ==
				   vms_addr_make(ctr, off + VMS_CHUNK_BYTES * (i + 1)));
		vms_seg_encode(again, &seg);
		vms_assert(!vms_seg_decode(again, ctr, off, &seg2));
		for (uint32_t i = 0; i < seg.n; i++)
			vms_assert(seg.e[i].crc == seg2.e[i].crc &&
				   seg.e[i].valid == seg2.e[i].valid &&
				   seg.e[i].state == seg2.e[i].state &&
				   seg.e[i].has_fp == seg2.e[i].has_fp);
	}
	if (!vms_ctr_header_decode(p, &h)) {
		vms_ctr_header_encode(again, &h);
		vms_assert(!vms_ctr_header_decode(again, &h2) && h.ctr == h2.ctr &&
			   h.partition == h2.partition && h.epoch == h2.epoch &&
			   h.incarnation == h2.incarnation &&
			   !memcmp(h.cluster_uuid, h2.cluster_uuid, 16));
	}
	if (!vms_ctr_footer_decode(p, &f)) {
		vms_ctr_footer_encode(again, &f);
		vms_assert(!vms_ctr_footer_decode(again, &f2) && f.ctr == f2.ctr &&
			   f.length_bytes == f2.length_bytes && f.nchunks == f2.nchunks);
	}
	free(p);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static struct vms_seg s;
	struct vms_ctr_header h = {9, 1, 2, 3, "0123456789abcde"};
	struct vms_ctr_footer f = {9, 1 << 20, 200};
	unsigned n = i == 0 ? 1 : 64;

	memset(out, 0, 13);
	out[0] = 1;
	vms_put_le64(out + 1, 9);
	vms_put_le32(out + 9, (uint32_t)vms_seg_offset(1));
	switch (i) {
	case 0:
	case 1:
		s = (struct vms_seg){.ctr = 9, .offset_bytes = (uint32_t)vms_seg_offset(1),
				     .n = n, .seq = 8};
		for (unsigned k = 0; k < n; k++)
			s.e[k] = (struct vms_seg_entry){
				.addr = vms_addr_make(9, (uint32_t)vms_seg_chunk_offset(1, k)),
				.crc = k, .valid = 0xff, .has_fp = k & 1};
		vms_seg_encode(out + 13, &s);
		break;
	case 2:
		vms_ctr_header_encode(out + 13, &h);
		break;
	case 3:
		vms_ctr_footer_encode(out + 13, &f);
		break;
	default:
		return 0;
	}
	return 13 + VMS_CHUNK_BYTES;
}
