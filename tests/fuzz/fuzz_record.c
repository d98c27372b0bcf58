// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the record codec. First byte: 1 sets the record's checksum
 * right, 2 those of its pieces, before it is decoded; else none gets past them.
 */
#include "backend/record.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static void fix_crcs(uint8_t *p, size_t len, unsigned how)
{
	uint64_t meta, payload;

	if (len < VMS_REC_HEADER_BYTES)
		return;
	meta = vms_get_le32(p + 8);
	payload = vms_get_le32(p + 12);
	if (VMS_REC_HEADER_BYTES + meta + payload > len)
		return;
	if (how & 2 && meta >= 8) {
		uint64_t at = VMS_REC_HEADER_BYTES + meta;

		for (uint64_t m = VMS_REC_HEADER_BYTES + 8;
		     m + VMS_PIECE_BYTES <= VMS_REC_HEADER_BYTES + meta; m += VMS_PIECE_BYTES) {
			uint32_t n = vms_mask_sectors(p[m + 4]) * VMS_LB_BYTES;

			if (at + n > VMS_REC_HEADER_BYTES + meta + payload)
				break;
			vms_put_le32(p + m + 8, vms_crc32c(0, p + at, n));
			at += n;
		}
	}
	if (how & 1)
		vms_put_le32(p + 116,
			     vms_crc32c(vms_crc32c(0, p, 116), p + VMS_REC_HEADER_BYTES, meta));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vms_piece pieces[VMS_WRITE_PIECES_MAX];
	static struct vms_move moves[256];
	static uint8_t remeta[8 + 256 * (VMS_MOVE_BYTES + VMS_MOVE_FP_BYTES)];
	struct vms_rec r;
	uint8_t *p;
	int64_t n;
	int k;

	if (size < 1)
		return 0;
	p = malloc(size); /* exact, so that the sanitizer sees every overrun */
	memcpy(p, data + 1, size - 1);
	fix_crcs(p, size - 1, data[0]);
	n = vms_rec_decode(p, size - 1, &r, true);
	if (n >= 0) {
		struct vms_iov iov = {r.payload, r.payload_bytes};
		uint8_t *again = malloc((size_t)n);

		vms_assert((uint64_t)n <= size - 1 && n % 8 == 0);
		/* what was accepted encodes to the same bytes */
		(void)vms_rec_encode(&r, &iov, 1, again, 0);
		vms_assert(!memcmp(again, p, (size_t)n));
		free(again);
		k = vms_rec_pieces_decode(&r, pieces, VMS_WRITE_PIECES_MAX);
		for (int i = 0; i < k; i++)
			vms_assert(pieces[i].chunk + pieces[i].count <= (int)VMS_EXTENT_CHUNKS);
		k = vms_rec_moves_decode(&r, moves, 256);
		for (int i = 0; i < k; i++)
			vms_assert(moves[i].chunk < VMS_EXTENT_CHUNKS);
		if (k >= 0) {
			struct vms_rec re = {.type = r.type};
			uint32_t plain = vms_rec_moves_bytes((unsigned)k);

			/* the same again; fingerprints go only when all are unknown */
			vms_rec_moves_put(&re, remeta, moves, (unsigned)k);
			vms_assert(re.meta_bytes == r.meta_bytes || re.meta_bytes == plain);
			vms_assert(!memcmp(remeta, r.meta, re.meta_bytes));
		}
	}
	free(p);
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static uint8_t payload[4096 + 512], meta[VMS_MOVES_META_MAX];
	struct vms_rec r = {.partition = 5,
			    .epoch = 2,
			    .seq = 9,
			    .branch = 3,
			    .snap_gen = 1,
			    .extent = 4,
			    .meta = meta,
			    .op = {1, 2, 3, 4}};
	struct vms_piece p[2] = {{.chunk = 7, .count = 1, .mask = 0xff},
				 {.chunk = 8, .count = 1, .mask = 0x10}};
	struct vms_move m[3] = {
		{.branch = 3, .chunk = 1, .valid = 0xff},
		{.branch = 3, .chunk = 2, .valid = 0xff, .to = vms_addr_make(77, 8192)},
		{.branch = 3, .chunk = 3, .valid = 0x0f, .to = vms_addr_make(77, 12288)}};
	struct vms_iov iov = {payload, 0};

	for (size_t k = 0; k < sizeof(payload); k++)
		payload[k] = (uint8_t)(k * 3);
	out[0] = 3;
	switch (i) {
	case 0: /* one whole chunk and one logical block */
		r.type = VMS_REC_WRITE;
		p[0].crc = vms_crc32c(0, payload, 4096);
		p[1].crc = vms_crc32c(0, payload + 4096, 512);
		vms_rec_pieces_encode(meta, p, 2);
		r.meta_bytes = vms_rec_pieces_bytes(2);
		r.payload_bytes = iov.len = sizeof(payload);
		break;
	case 1: /* one logical block: small, so that mutations hit the header */
		r.type = VMS_REC_WRITE;
		r.flags = VMS_RF_MEMORY;
		p[1].crc = vms_crc32c(0, payload, 512);
		vms_rec_pieces_encode(meta, p + 1, 1);
		r.meta_bytes = vms_rec_pieces_bytes(1);
		r.payload_bytes = iov.len = 512;
		break;
	case 2:
		r.type = VMS_REC_ZERO;
		p[1].mask = 0xff;
		p[1].count = 1000;
		vms_rec_pieces_encode(meta, p, 2);
		r.meta_bytes = vms_rec_pieces_bytes(2);
		break;
	case 3:
		r.type = VMS_REC_DRAIN;
		r.flags = VMS_RF_INTERNAL;
		vms_rec_moves_encode(meta, m, 3);
		r.meta_bytes = vms_rec_moves_bytes(3);
		break;
	case 4:
		r.type = VMS_REC_OUTCOME;
		r.outcome = VMS_E_MISCOMPARE;
		break;
	case 5:
		r.type = VMS_REC_SWEEP;
		r.meta_bytes = 24;
		break;
	case 6: /* with fingerprints and a reference */
		r.type = VMS_REC_REMAP;
		r.flags = VMS_RF_INTERNAL;
		m[0].flags = VMS_MOVE_REF;
		m[0].to = vms_addr_make(5, 8192);
		m[1].has_fp = true;
		memset(m[1].fp, 0x5a, 32);
		vms_rec_moves_put(&r, meta, m, 3);
		break;
	case 7:
		r.type = VMS_REC_SHARE;
		r.flags = VMS_RF_INTERNAL;
		r.meta_bytes = 16;
		break;
	default:
		return 0;
	}
	(void)vms_rec_encode(&r, &iov, 1, out + 1, 0);
	return 1 + vms_rec_bytes(r.meta_bytes, r.payload_bytes);
}
