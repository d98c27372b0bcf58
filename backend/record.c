// SPDX-License-Identifier: GPL-2.0-only
/*
 * Codec of log records. Authority: doc/disk-format.md "Records".
 * Pure; any thread. A decoder accepts exactly what an encoder can make: what
 * replay or a peer hands to the core has been checked here once, completely.
 */
#include "backend/record.h"

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define REC_MAGIC   0x52534d56u /* "VMSR" */
#define REC_VERSION 1
#define REC_FLAGS   (VMS_RF_MEMORY | VMS_RF_INTERNAL)

uint32_t vms_rec_encode(const struct vms_rec *r, const struct vms_iov *payload, unsigned n,
			uint8_t *out, uint32_t crc)
{
	uint32_t total = vms_rec_bytes(r->meta_bytes, r->payload_bytes), at;

	vms_assert(total <= VMS_REC_BYTES_MAX);
	vms_put_le32(out, REC_MAGIC);
	out[4] = r->type;
	out[5] = r->flags;
	vms_put_le16(out + 6, REC_VERSION);
	vms_put_le32(out + 8, r->meta_bytes);
	vms_put_le32(out + 12, r->payload_bytes);
	vms_put_le32(out + 16, r->partition);
	vms_put_le32(out + 20, r->extent);
	vms_put_le64(out + 24, r->epoch);
	vms_put_le64(out + 32, r->seq);
	vms_put_le64(out + 40, r->branch);
	vms_put_le64(out + 48, r->snap_gen);
	vms_put_le64(out + 56, r->first_pos);
	vms_put_le32(out + 64, r->op.gateway);
	vms_put_le32(out + 68, r->op.slot);
	vms_put_le64(out + 72, r->op.incarnation);
	vms_put_le64(out + 80, r->op.sequence);
	vms_put_le32(out + 88, (uint32_t)r->outcome);
	vms_put_le32(out + 92, r->outcome_aux);
	vms_put_le32(out + 96, r->aux);
	memset(out + 100, 0, 16);
	vms_put_le32(out + 116, vms_crc32c(vms_crc32c(0, out, 116), r->meta, r->meta_bytes));
	at = VMS_REC_HEADER_BYTES;
	if (r->meta_bytes)
		memcpy(out + at, r->meta, r->meta_bytes);
	at += r->meta_bytes;
	crc = vms_crc32c(crc, out, at);
	for (unsigned i = 0; i < n; i++) {
		vms_assert(payload[i].len <= total - at);
		crc = vms_crc32c_copy(crc, out + at, payload[i].base, payload[i].len);
		at += (uint32_t)payload[i].len;
	}
	vms_assert(at == VMS_REC_HEADER_BYTES + r->meta_bytes + r->payload_bytes);
	memset(out + at, 0, total - at);
	return vms_crc32c(crc, out + at, total - at);
}

/* Sectors of the payload against the pieces' checksums. */
static int payload_check(const struct vms_rec *r)
{
	const uint8_t *p = r->payload;
	struct vms_rd rd;
	uint32_t n;

	vms_rd_init(&rd, r->meta, r->meta_bytes);
	n = vms_rd_u32(&rd);
	vms_rd_skip(&rd, 4);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *e = vms_rd_take(&rd, VMS_PIECE_BYTES);
		uint32_t bytes;

		if (!e)
			return VMS_E_CORRUPT;
		bytes = vms_mask_sectors(e[4]) * VMS_LB_BYTES;
		if (bytes > (size_t)(r->payload + r->payload_bytes - p) ||
		    vms_crc32c(0, p, bytes) != vms_get_le32(e + 8))
			return VMS_E_CORRUPT;
		p += bytes;
	}
	return vms_rd_done(&rd) && p == r->payload + r->payload_bytes ? 0 : VMS_E_CORRUPT;
}

int64_t vms_rec_decode(const uint8_t *p, size_t len, struct vms_rec *r, bool check_payload)
{
	uint32_t meta_bytes, payload_bytes, total;

	if (len < VMS_REC_HEADER_BYTES || vms_get_le32(p) != REC_MAGIC ||
	    vms_get_le16(p + 6) != REC_VERSION)
		return VMS_E_CORRUPT;
	meta_bytes = vms_get_le32(p + 8);
	payload_bytes = vms_get_le32(p + 12);
	if (meta_bytes > VMS_REC_BYTES_MAX || payload_bytes > VMS_REC_BYTES_MAX)
		return VMS_E_CORRUPT;
	total = vms_rec_bytes(meta_bytes, payload_bytes);
	if (total > len || total > VMS_REC_BYTES_MAX)
		return VMS_E_CORRUPT;
	if (vms_get_le32(p + 116) !=
	    vms_crc32c(vms_crc32c(0, p, 116), p + VMS_REC_HEADER_BYTES, meta_bytes))
		return VMS_E_CORRUPT;
	r->type = p[4];
	r->flags = p[5];
	if (r->type < VMS_REC_WRITE || r->type > VMS_REC_DIGEST || (r->flags & ~REC_FLAGS))
		return VMS_E_CORRUPT;
	r->partition = vms_get_le32(p + 16);
	r->extent = vms_get_le32(p + 20);
	r->epoch = vms_get_le64(p + 24);
	r->seq = vms_get_le64(p + 32);
	r->branch = vms_get_le64(p + 40);
	r->snap_gen = vms_get_le64(p + 48);
	r->first_pos = vms_get_le64(p + 56);
	r->op.gateway = vms_get_le32(p + 64);
	r->op.slot = vms_get_le32(p + 68);
	r->op.incarnation = vms_get_le64(p + 72);
	r->op.sequence = vms_get_le64(p + 80);
	r->outcome = (int32_t)vms_get_le32(p + 88);
	r->outcome_aux = vms_get_le32(p + 92);
	r->aux = vms_get_le32(p + 96);
	r->meta_bytes = meta_bytes;
	r->payload_bytes = payload_bytes;
	r->meta = p + VMS_REC_HEADER_BYTES;
	r->payload = r->meta + meta_bytes;
	for (unsigned i = 100; i < 116; i++)
		if (p[i])
			return VMS_E_CORRUPT;
	for (const uint8_t *z = r->payload + payload_bytes; z < p + total; z++)
		if (*z)
			return VMS_E_CORRUPT;
	if (check_payload && r->type == VMS_REC_WRITE && payload_check(r))
		return VMS_E_CORRUPT;
	return total;
}

unsigned vms_rec_pieces_bytes(unsigned n)
{
	return 8 + n * VMS_PIECE_BYTES;
}

void vms_rec_pieces_encode(uint8_t *out, const struct vms_piece *p, unsigned n)
{
	vms_put_le32(out, n);
	vms_put_le32(out + 4, 0);
	out += 8;
	for (unsigned i = 0; i < n; i++, out += VMS_PIECE_BYTES) {
		vms_put_le16(out, p[i].chunk);
		vms_put_le16(out + 2, p[i].count);
		out[4] = p[i].mask;
		out[5] = p[i].flags;
		vms_put_le16(out + 6, 0);
		vms_put_le32(out + 8, p[i].crc);
	}
}

/* Returns the number of pieces, or VMS_E_CORRUPT: malformed, not ascending, more
 * than room, or (WRITE) not what the payload's length says. */
int vms_rec_pieces_decode(const struct vms_rec *r, struct vms_piece *p, unsigned room)
{
	uint32_t n, next = 0;
	uint64_t sectors = 0;
	struct vms_rd rd;

	vms_rd_init(&rd, r->meta, r->meta_bytes);
	n = vms_rd_u32(&rd);
	if (vms_rd_u32(&rd) != 0 || n == 0 || n > room || n > VMS_WRITE_PIECES_MAX ||
	    r->meta_bytes != vms_rec_pieces_bytes(n))
		return VMS_E_CORRUPT;
	for (uint32_t i = 0; i < n; i++) {
		p[i].chunk = vms_rd_u16(&rd);
		p[i].count = vms_rd_u16(&rd);
		p[i].mask = vms_rd_u8(&rd);
		p[i].flags = vms_rd_u8(&rd);
		if (vms_rd_u16(&rd) != 0 || p[i].flags)
			return VMS_E_CORRUPT;
		p[i].crc = vms_rd_u32(&rd);
		if (p[i].chunk < next || p[i].count == 0 || p[i].mask == 0 ||
		    p[i].chunk + p[i].count > (int)VMS_EXTENT_CHUNKS)
			return VMS_E_CORRUPT;
		if (p[i].count > 1 && (r->type == VMS_REC_WRITE || p[i].mask != VMS_MASK_FULL))
			return VMS_E_CORRUPT;
		next = p[i].chunk + p[i].count;
		sectors += vms_mask_sectors(p[i].mask);
	}
	if (r->payload_bytes != (r->type == VMS_REC_WRITE ? sectors * VMS_LB_BYTES : 0))
		return VMS_E_CORRUPT;
	return (int)n;
}

unsigned vms_rec_moves_bytes(unsigned n)
{
	return 8 + n * VMS_MOVE_BYTES;
}

void vms_rec_moves_encode(uint8_t *out, const struct vms_move *m, unsigned n)
{
	vms_put_le32(out, n);
	vms_put_le32(out + 4, 0);
	out += 8;
	for (unsigned i = 0; i < n; i++, out += VMS_MOVE_BYTES) {
		vms_put_le64(out, m[i].branch);
		vms_put_le64(out + 8, m[i].snap_gen);
		vms_put_le32(out + 16, m[i].extent);
		vms_put_le16(out + 20, m[i].chunk);
		out[22] = m[i].valid;
		out[23] = m[i].flags;
		vms_put_le32(out + 24, m[i].crc);
		vms_put_le32(out + 28, 0);
		vms_put_le64(out + 32, m[i].from_seq);
		vms_put_le64(out + 40, m[i].to);
	}
}

void vms_rec_moves_put(struct vms_rec *r, uint8_t *meta, const struct vms_move *m, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++)
		any |= m[i].has_fp;
	vms_rec_moves_encode(meta, m, n);
	r->meta = meta;
	r->meta_bytes = vms_rec_moves_bytes(n);
	r->aux = any ? VMS_MOVES_FP : 0;
	if (!any)
		return;
	meta += r->meta_bytes;
	r->meta_bytes += n * VMS_MOVE_FP_BYTES;
	for (unsigned i = 0; i < n; i++, meta += VMS_MOVE_FP_BYTES)
		if (m[i].has_fp)
			memcpy(meta, m[i].fp, VMS_MOVE_FP_BYTES);
		else
			memset(meta, 0, VMS_MOVE_FP_BYTES);
}

static bool fp_known(const uint8_t *fp)
{
	for (unsigned i = 0; i < VMS_MOVE_FP_BYTES; i++)
		if (fp[i])
			return true;
	return false;
}

/* Returns the number of entries, or VMS_E_CORRUPT: malformed, more than room,
 * places not ascending or in two containers (holes and references may stand
 * anywhere). */
int vms_rec_moves_decode(const struct vms_rec *r, struct vms_move *m, unsigned room)
{
	bool fps = r->aux & VMS_MOVES_FP;
	vms_addr last = VMS_ADDR_HOLE;
	const uint8_t *fp;
	struct vms_rd rd;
	uint32_t n;

	vms_rd_init(&rd, r->meta, r->meta_bytes);
	n = vms_rd_u32(&rd);
	if (vms_rd_u32(&rd) != 0 || !vms_rd_ok(&rd) || n > room ||
	    n > VMS_REC_BYTES_MAX / VMS_MOVE_BYTES || (r->aux & ~VMS_MOVES_FP) ||
	    r->meta_bytes != vms_rec_moves_bytes(n) + (fps ? n * VMS_MOVE_FP_BYTES : 0))
		return VMS_E_CORRUPT;
	fp = r->meta + vms_rec_moves_bytes(n);
	for (uint32_t i = 0; i < n; i++) {
		m[i].branch = vms_rd_u64(&rd);
		m[i].snap_gen = vms_rd_u64(&rd);
		m[i].extent = vms_rd_u32(&rd);
		m[i].chunk = vms_rd_u16(&rd);
		m[i].valid = vms_rd_u8(&rd);
		m[i].flags = vms_rd_u8(&rd);
		m[i].crc = vms_rd_u32(&rd);
		if (vms_rd_u32(&rd) != 0 || m[i].chunk >= VMS_EXTENT_CHUNKS ||
		    (m[i].flags > VMS_MOVE_REF &&
		     (m[i].flags != VMS_MOVE_COPY || r->type != VMS_REC_REMAP)))
			return VMS_E_CORRUPT;
		m[i].from_seq = vms_rd_u64(&rd);
		m[i].to = vms_rd_u64(&rd);
		m[i].has_fp = fps && fp_known(fp + i * VMS_MOVE_FP_BYTES);
		if (m[i].has_fp)
			memcpy(m[i].fp, fp + i * VMS_MOVE_FP_BYTES, VMS_MOVE_FP_BYTES);
		else
			memset(m[i].fp, 0, VMS_MOVE_FP_BYTES);
		/* flag 1: a range of crc chunks that becomes holes */
		if ((m[i].flags & VMS_MOVE_RANGE) && (m[i].to != VMS_ADDR_HOLE || m[i].crc == 0 ||
						      m[i].crc > VMS_EXTENT_CHUNKS - m[i].chunk))
			return VMS_E_CORRUPT;
		if (m[i].to == VMS_ADDR_HOLE) {
			if (m[i].has_fp || (m[i].flags & (VMS_MOVE_REF | VMS_MOVE_COPY)))
				return VMS_E_CORRUPT;
			continue;
		}
		if (m[i].to % VMS_CHUNK_BYTES || vms_addr_offset_bytes(m[i].to) == 0)
			return VMS_E_CORRUPT;
		if (m[i].flags & VMS_MOVE_REF)
			continue;
		if (m[i].to <= last ||
		    (last && vms_addr_container(last) != vms_addr_container(m[i].to)))
			return VMS_E_CORRUPT;
		last = m[i].to;
	}
	return (int)n;
}

void vms_rec_drops_put(struct vms_rec *r, uint8_t *meta, const struct vms_drop *d, unsigned n)
{
	uint8_t *out = meta + 8;

	vms_assert(n <= VMS_DROPS_MAX);
	vms_put_le32(meta, n);
	vms_put_le32(meta + 4, 0);
	for (unsigned i = 0; i < n; i++, out += VMS_DROP_BYTES) {
		vms_put_le64(out, d[i].branch);
		vms_put_le64(out + 8, d[i].snap_gen);
		vms_put_le32(out + 16, d[i].subext);
		vms_put_le32(out + 20, 0);
	}
	r->meta = meta;
	r->meta_bytes = 8 + n * VMS_DROP_BYTES;
}

int vms_rec_drops_decode(const struct vms_rec *r, struct vms_drop *d)
{
	struct vms_rd rd;
	uint32_t n;

	vms_rd_init(&rd, r->meta, r->meta_bytes);
	n = vms_rd_u32(&rd);
	if (vms_rd_u32(&rd) != 0 || !vms_rd_ok(&rd) || n > VMS_DROPS_MAX ||
	    r->meta_bytes != 8 + n * VMS_DROP_BYTES)
		return VMS_E_CORRUPT;
	for (uint32_t i = 0; i < n; i++) {
		d[i].branch = vms_rd_u64(&rd);
		d[i].snap_gen = vms_rd_u64(&rd);
		d[i].subext = vms_rd_u32(&rd);
		if (vms_rd_u32(&rd) != 0)
			return VMS_E_CORRUPT;
	}
	return (int)n;
}

void vms_rec_punch_put(struct vms_rec *r, uint8_t *meta, uint64_t container,
		       const struct vms_punch *d, unsigned n)
{
	uint8_t *out = meta + 16;

	vms_put_le64(meta, container);
	vms_put_le32(meta + 8, n);
	vms_put_le32(meta + 12, 0);
	for (unsigned i = 0; i < n; i++, out += VMS_PUNCH_BYTES) {
		vms_put_le32(out, d[i].seg);
		vms_put_le32(out + 4, 0);
		vms_put_le64(out + 8, d[i].places);
	}
	r->meta = meta;
	r->meta_bytes = 16 + n * VMS_PUNCH_BYTES;
}

int vms_rec_punch_decode(const struct vms_rec *r, uint64_t *container, struct vms_punch *d,
			 unsigned room)
{
	struct vms_rd rd;
	uint32_t n;

	vms_rd_init(&rd, r->meta, r->meta_bytes);
	*container = vms_rd_u64(&rd);
	n = vms_rd_u32(&rd);
	if (vms_rd_u32(&rd) != 0 || !vms_rd_ok(&rd) || n > VMS_PUNCHES_MAX || n > room ||
	    r->meta_bytes != 16 + n * VMS_PUNCH_BYTES)
		return VMS_E_CORRUPT;
	for (uint32_t i = 0; i < n; i++) {
		d[i].seg = vms_rd_u32(&rd);
		if (vms_rd_u32(&rd) != 0 || d[i].seg >= VMS_PUNCHES_MAX ||
		    (i && d[i].seg <= d[i - 1].seg))
			return VMS_E_CORRUPT;
		d[i].places = vms_rd_u64(&rd);
		if (!d[i].places)
			return VMS_E_CORRUPT;
	}
	return (int)n;
}

bool vms_rec_view_decode(const struct vms_rec *r, struct vms_view *v)
{
	uint32_t n = r->meta_bytes >= 20 ? vms_get_le32(r->meta + 16) : 0;

	v->n = 0;
	if (!n || n > VMS_COPIES_MAX || r->meta_bytes < 20 + 12 * n)
		return false;
	v->epoch = vms_get_le64(r->meta);
	for (; v->n < n; v->n++)
		v->member[v->n] = (struct vms_member){vms_get_le32(r->meta + 20 + 12 * v->n),
						      vms_get_le64(r->meta + 24 + 12 * v->n)};
	return true;
}
