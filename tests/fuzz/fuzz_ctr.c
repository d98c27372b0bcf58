// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the container blocks. First byte: 1 sets the block's checksum
 * right; the next 12 are the place the reader expects (container, offset). 2: what
 * follows those is the body of a fingerprint list of `offset` segments.
 */
#include "backend/ctr.h"
#include "backend/fplists.h"
#include "include/err.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static void one_list(uint64_t ctr, uint32_t segs, const uint8_t *data, size_t size)
{
	struct vms_fplists *l = vms_fplists_new(1 << 20);
	uint8_t *body = malloc(size + 1); /* exact, so that the sanitizer sees overruns */
	uint32_t chunks;
	vms_addr a[4];

	memcpy(body, data, size);
	if (vms_fplists_add(l, ctr, body, size, segs, UINT64_MAX, 5)) {
		vms_assert(vms_fplist_check(body, size, segs, &chunks));
		if (chunks && vms_get_le64(body + (segs + 7) / 8 * 8))
			vms_assert(vms_fplists_find(l, vms_get_le64(body + (segs + 7) / 8 * 8), a,
						    4) >= 1);
	}
	vms_fplists_free(l);
	free(body);
}

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
	ctr = vms_get_le64(data + 1);
	off = vms_get_le32(data + 9);
	if (data[0] & 2) {
		one_list(ctr & 0x1ffffffff, off, data + 13, size - 13);
		return 0;
	}
	p = calloc(1, VMS_CHUNK_BYTES);
	memcpy(p, data + 13, size - 13 < VMS_CHUNK_BYTES ? size - 13 : VMS_CHUNK_BYTES);
	if (data[0] & 1)
		vms_put_le32(p + 4092, vms_crc32c(0, p, 4092));
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
			   f.length_bytes == f2.length_bytes && f.nchunks == f2.nchunks &&
			   f.segs == f2.segs && f.list_bytes == f2.list_bytes &&
			   f.list_crc == f2.list_crc);
	}
	free(p);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static struct vms_seg s;
	struct vms_ctr_header h = {9, 1, 2, 3, "0123456789abcde"};
	struct vms_ctr_footer f = {.ctr = 9, .length_bytes = 1 << 20, .nchunks = 200};
	unsigned n = i == 0 ? 1 : 64;

	memset(out, 0, 13);
	out[0] = 1;
	vms_put_le64(out + 1, 9);
	vms_put_le32(out + 9, (uint32_t)vms_seg_offset(1));
	switch (i) {
	case 0:
	case 1:
		s = (struct vms_seg){
			.ctr = 9, .offset_bytes = (uint32_t)vms_seg_offset(1), .n = n, .seq = 8};
		for (unsigned k = 0; k < n; k++)
			s.e[k] = (struct vms_seg_entry){
				.addr = vms_addr_make(9, (uint32_t)vms_seg_chunk_offset(1, k)),
				.crc = k,
				.valid = 0xff,
				.has_fp = k & 1};
		vms_seg_encode(out + 13, &s);
		break;
	case 2:
		vms_ctr_header_encode(out + 13, &h);
		break;
	case 3:
		vms_ctr_footer_encode(out + 13, &f);
		break;
	case 4: /* a list of two segments */
		out[0] = 2;
		vms_put_le32(out + 9, 2);
		memset(out + 13, 0, 8);
		out[13] = 3;
		out[14] = 1;
		for (unsigned k = 0; k < 4; k++)
			vms_put_le64(out + 21 + 8 * k, 100 + k);
		return 13 + vms_fplist_bytes(2, 4);
	case 5: /* a footer with a list */
		f.segs = 4;
		f.list_bytes = (uint32_t)vms_fplist_bytes(4, 200);
		f.list_crc = 77;
		vms_ctr_footer_encode(out + 13, &f);
		break;
	default:
		return 0;
	}
	return 13 + VMS_CHUNK_BYTES;
}
