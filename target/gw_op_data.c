// SPDX-License-Identifier: GPL-2.0-only
/* What an op carries: pieces and bytes out of its command's data. */
#include "target/gw_int.h"
#include "target/gw_write.h"

unsigned gw_data_slice(const struct vms_gw_cmd *cmd, uint64_t off, uint64_t len,
		       struct vms_iov *iov, unsigned room)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cmd->ndata && len; i++) {
		uint64_t have = cmd->data[i].len, take;

		if (off >= have) {
			off -= have;
			continue;
		}
		take = have - off < len ? have - off : len;
		vms_assert(n < room);
		iov[n].base = (const uint8_t *)cmd->data[i].base + off;
		iov[n++].len = take;
		len -= take;
		off = 0;
	}
	vms_assert(len == 0);
	return n;
}

static uint32_t cursor_crc(struct gw_cursor *c, size_t len)
{
	uint32_t crc = 0;

	while (len) {
		size_t have = c->iov->len - c->off, take = have < len ? have : len;

		crc = vms_crc32c(crc, (const uint8_t *)c->iov->base + c->off, take);
		len -= take;
		c->off += take;
		if (c->off == c->iov->len) {
			c->iov++;
			c->off = 0;
		}
	}
	return crc;
}

void gw_cursor_copy(struct gw_cursor *c, uint8_t *dst, size_t len)
{
	while (len) {
		size_t have = c->iov->len - c->off, take = have < len ? have : len;

		if (dst) {
			memcpy(dst, (const uint8_t *)c->iov->base + c->off, take);
			dst += take;
		}
		len -= take;
		c->off += take;
		if (c->off == c->iov->len) {
			c->iov++;
			c->off = 0;
		}
	}
}

uint8_t gw_op_chunk_mask(const struct gw_op *op, uint32_t chunk)
{
	uint32_t first = chunk * VMS_CHUNK_BLOCKS, end = op->blk0 + op->nblk;
	uint32_t lo = op->blk0 > first ? op->blk0 - first : 0;
	uint32_t hi = end - first < VMS_CHUNK_BLOCKS ? end - first : VMS_CHUNK_BLOCKS;

	return (uint8_t)((0xffu << lo) & (0xffu >> (8 - hi)));
}

unsigned gw_op_zero_pieces(const struct gw_op *op, struct vms_piece *p)
{
	uint32_t c = gw_op_chunk0(op), end = gw_op_chunk_end(op);
	unsigned n = 0;

	while (c < end) {
		uint8_t mask = gw_op_chunk_mask(op, c);

		p[n] = (struct vms_piece){.chunk = (uint16_t)c, .count = 1, .mask = mask};
		if (mask == VMS_MASK_FULL) {
			uint32_t stop = gw_op_chunk_mask(op, end - 1) == VMS_MASK_FULL ? end
										       : end - 1;

			p[n].count = (uint16_t)(stop - c);
			c = stop;
		} else {
			c++;
		}
		n++;
	}
	return n;
}

void gw_op_encode(struct vms_gw *gw, const struct gw_op *op, struct vms_msg *m)
{
	struct vms_piece pieces[VMS_EXTENT_CHUNKS];
	const struct gw_req *r = op->req;
	uint32_t c = gw_op_chunk0(op), end = gw_op_chunk_end(op);
	struct gw_cursor cur;
	unsigned n = 0;

	if (op->kind == VMS_WRITE_ZERO) {
		n = gw_op_zero_pieces(op, pieces);
	} else if (op->kind == VMS_WRITE_REF) {
		for (; c < end; c++, n++)
			pieces[n] = (struct vms_piece){.chunk = (uint16_t)c,
						       .count = 1,
						       .mask = VMS_MASK_FULL,
						       .crc = r->cmd->crcs[n]};
		gw->iov[0].base = r->cmd->fps;
		gw->iov[0].len = op->bytes;
		m->payload = gw->iov;
		m->npayload = 1;
		m->payload_bytes = op->bytes;
	} else if (op->kind == VMS_WRITE_COPY) {
		for (; c < end; c++, n++) {
			pieces[n] = (struct vms_piece){
				.chunk = (uint16_t)c, .count = 1, .mask = VMS_MASK_FULL};
			vms_put_le64(gw->addrs + 8 * n, r->cmd->addrs[n]);
		}
		gw->iov[0].base = gw->addrs;
		gw->iov[0].len = op->bytes;
		m->payload = gw->iov;
		m->npayload = 1;
		m->payload_bytes = op->bytes;
	} else {
		if (r->pattern) {
			for (uint32_t i = c; i < end; i++) {
				gw->iov[i - c].base = r->pattern;
				gw->iov[i - c].len = VMS_LB_BYTES *
						     vms_mask_sectors(gw_op_chunk_mask(op, i));
			}
			m->npayload = end - c;
		} else {
			m->npayload = gw_data_slice(r->cmd, op->data_off, op->bytes, gw->iov,
						    GW_IOV_ROOM);
		}
		cur = (struct gw_cursor){gw->iov, 0};
		if (op->kind == VMS_WRITE_CAW)
			gw_cursor_copy(&cur, NULL, op->bytes / 2);
		for (; c < end; c++, n++) {
			uint8_t mask = gw_op_chunk_mask(op, c);
			uint32_t bytes = VMS_LB_BYTES * vms_mask_sectors(mask);

			pieces[n] = (struct vms_piece){
				.chunk = (uint16_t)c, .count = 1, .mask = mask};
			if (r->pattern && mask == VMS_MASK_FULL)
				pieces[n].crc = r->pattern_crc;
			else if (r->pattern)
				pieces[n].crc = vms_crc32c(0, r->pattern, bytes);
			else
				pieces[n].crc = cursor_crc(&cur, bytes);
		}
		m->payload = gw->iov;
		m->payload_bytes = op->bytes;
	}
	vms_write_body_encode(gw->body, op->kind, pieces, n);
	m->body = gw->body;
	m->body_bytes = VMS_WRITE_BODY_BYTES(n);
}
