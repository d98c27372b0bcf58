// SPDX-License-Identifier: GPL-2.0-only
/*
 * Codec of the wire protocol. Authority: doc/wire-format.md.
 *
 * Pure: borrows what it is given, allocates nothing, any thread. A decoder
 * never looks at a byte before the length that covers it has been checked, and
 * a frame is either whole and right or refused: one flipped bit anywhere in
 * header or body fails the header CRC, one in a payload its own CRC.
 */
#include <string.h>

#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

enum {
	OFF_MAGIC = 0,
	OFF_VERSION = 4,
	OFF_TYPE = 5,
	OFF_FLAGS = 6,
	OFF_BODY_BYTES = 8,
	OFF_PAYLOAD_BYTES = 12,
	OFF_REQ_ID = 16,
	OFF_STATUS = 24,
	OFF_PARTITION = 28,
	OFF_EPOCH = 32,
	OFF_SENDER = 40,
	OFF_SLOT = 44,
	OFF_INCARNATION = 48,
	OFF_SEQUENCE = 56,
	OFF_TICK = 64,
	OFF_TICK_INCARNATION = 72,
	OFF_BRANCH = 80,
	OFF_SNAP_GEN = 88,
	OFF_LUN_FENCE = 96,
	OFF_EXTENT = 104,
	OFF_AUX = 108,
	OFF_RESERVED1 = 112,
	OFF_PAYLOAD_CRC = 116,
	OFF_HEAD_CRC = 120,
	OFF_RESERVED2 = 124,
};
_Static_assert(OFF_RESERVED2 + 4 == VMS_FRAME_HEADER_BYTES, "header table and size differ");

#define FLAGS_KNOWN                                                                                \
	(VMS_F_REPLY | VMS_F_FUA | VMS_F_MEMORY | VMS_F_PAYLOAD_CRC | VMS_F_RETRY | VMS_F_CLOSE |  \
	 VMS_F_FINAL)

/* CRC of the header as if its CRC field were 0, then of the body. */
static uint32_t head_crc(const uint8_t *hdr, const uint8_t *body, size_t body_bytes)
{
	static const uint8_t zero[4];
	uint32_t crc = vms_crc32c(0, hdr, OFF_HEAD_CRC);

	crc = vms_crc32c(crc, zero, 4);
	crc = vms_crc32c(crc, hdr + OFF_RESERVED2, 4);
	return body_bytes ? vms_crc32c(crc, body, body_bytes) : crc;
}

void vms_msg_encode_header(const struct vms_msg *m, uint8_t *hdr)
{
	uint32_t payload_crc = 0;

	vms_assert(m->type && m->type <= VMS_MSG_TYPE_MAX);
	vms_assert(m->status <= 0 && !(m->flags & ~FLAGS_KNOWN));
	vms_assert(m->body_bytes <= VMS_FRAME_BODY_BYTES_MAX && (m->body || !m->body_bytes));
	vms_assert(m->payload_bytes <= VMS_FRAME_PAYLOAD_BYTES_MAX);
	if (m->flags & VMS_F_PAYLOAD_CRC)
		for (unsigned i = 0; i < m->npayload; i++)
			payload_crc = vms_crc32c(payload_crc, m->payload[i].base,
						 m->payload[i].len);

	vms_put_le32(hdr + OFF_MAGIC, VMS_WIRE_MAGIC);
	vms_put_u8(hdr + OFF_VERSION, VMS_WIRE_VERSION);
	vms_put_u8(hdr + OFF_TYPE, m->type);
	vms_put_le16(hdr + OFF_FLAGS, m->flags);
	vms_put_le32(hdr + OFF_BODY_BYTES, m->body_bytes);
	vms_put_le32(hdr + OFF_PAYLOAD_BYTES, (uint32_t)m->payload_bytes);
	vms_put_le64(hdr + OFF_REQ_ID, m->req_id);
	vms_put_le32(hdr + OFF_STATUS, (uint32_t)m->status);
	vms_put_le32(hdr + OFF_PARTITION, m->partition);
	vms_put_le64(hdr + OFF_EPOCH, m->epoch);
	vms_put_le32(hdr + OFF_SENDER, m->sender);
	vms_put_le32(hdr + OFF_SLOT, m->slot);
	vms_put_le64(hdr + OFF_INCARNATION, m->incarnation);
	vms_put_le64(hdr + OFF_SEQUENCE, m->sequence);
	vms_put_le64(hdr + OFF_TICK, m->tick);
	vms_put_le64(hdr + OFF_TICK_INCARNATION, m->tick_incarnation);
	vms_put_le64(hdr + OFF_BRANCH, m->branch);
	vms_put_le64(hdr + OFF_SNAP_GEN, m->snap_gen);
	vms_put_le64(hdr + OFF_LUN_FENCE, m->lun_fence);
	vms_put_le32(hdr + OFF_EXTENT, m->extent);
	vms_put_le32(hdr + OFF_AUX, m->aux);
	vms_put_le32(hdr + OFF_RESERVED1, 0);
	vms_put_le32(hdr + OFF_PAYLOAD_CRC, payload_crc);
	vms_put_le32(hdr + OFF_RESERVED2, 0);
	vms_put_le32(hdr + OFF_HEAD_CRC, head_crc(hdr, m->body, m->body_bytes));
}

int64_t vms_msg_frame_bytes(const uint8_t *p, size_t len)
{
	uint32_t body, payload;

	if (len < VMS_FRAME_HEADER_BYTES)
		return 0;
	if (vms_get_le32(p + OFF_MAGIC) != VMS_WIRE_MAGIC ||
	    vms_get_u8(p + OFF_VERSION) != VMS_WIRE_VERSION)
		return VMS_E_PROTO;
	body = vms_get_le32(p + OFF_BODY_BYTES);
	payload = vms_get_le32(p + OFF_PAYLOAD_BYTES);
	if (body > VMS_FRAME_BODY_BYTES_MAX || payload > VMS_FRAME_PAYLOAD_BYTES_MAX)
		return VMS_E_PROTO;
	return (int64_t)VMS_FRAME_HEADER_BYTES + body + payload;
}

int vms_msg_decode(const uint8_t *p, size_t len, struct vms_msg *m, struct vms_iov *iov)
{
	int64_t frame_bytes = vms_msg_frame_bytes(p, len);
	uint32_t payload_bytes, payload_crc;
	const uint8_t *payload;

	if (frame_bytes < 0)
		return (int)frame_bytes;
	if (frame_bytes == 0 || (uint64_t)frame_bytes != len)
		return VMS_E_PROTO;
	memset(m, 0, sizeof(*m));
	m->body_bytes = vms_get_le32(p + OFF_BODY_BYTES);
	m->body = m->body_bytes ? p + VMS_FRAME_HEADER_BYTES : NULL;
	if (vms_get_le32(p + OFF_HEAD_CRC) !=
	    head_crc(p, p + VMS_FRAME_HEADER_BYTES, m->body_bytes))
		return VMS_E_CORRUPT;

	m->type = vms_get_u8(p + OFF_TYPE);
	m->flags = vms_get_le16(p + OFF_FLAGS);
	m->status = (int32_t)vms_get_le32(p + OFF_STATUS);
	if (!m->type || m->type > VMS_MSG_TYPE_MAX || (m->flags & ~FLAGS_KNOWN) || m->status > 0 ||
	    vms_get_le32(p + OFF_RESERVED1) || vms_get_le32(p + OFF_RESERVED2))
		return VMS_E_PROTO;
	m->req_id = vms_get_le64(p + OFF_REQ_ID);
	m->partition = vms_get_le32(p + OFF_PARTITION);
	m->epoch = vms_get_le64(p + OFF_EPOCH);
	m->sender = vms_get_le32(p + OFF_SENDER);
	m->slot = vms_get_le32(p + OFF_SLOT);
	m->incarnation = vms_get_le64(p + OFF_INCARNATION);
	m->sequence = vms_get_le64(p + OFF_SEQUENCE);
	m->tick = vms_get_le64(p + OFF_TICK);
	m->tick_incarnation = vms_get_le64(p + OFF_TICK_INCARNATION);
	m->branch = vms_get_le64(p + OFF_BRANCH);
	m->snap_gen = vms_get_le64(p + OFF_SNAP_GEN);
	m->lun_fence = vms_get_le64(p + OFF_LUN_FENCE);
	m->extent = vms_get_le32(p + OFF_EXTENT);
	m->aux = vms_get_le32(p + OFF_AUX);

	payload_bytes = vms_get_le32(p + OFF_PAYLOAD_BYTES);
	payload_crc = vms_get_le32(p + OFF_PAYLOAD_CRC);
	payload = p + VMS_FRAME_HEADER_BYTES + m->body_bytes;
	if (m->flags & VMS_F_PAYLOAD_CRC) {
		if (vms_crc32c(0, payload, payload_bytes) != payload_crc)
			return VMS_E_CORRUPT;
	} else if (payload_crc) {
		return VMS_E_PROTO;
	}
	m->payload_crc = payload_crc;
	if (payload_bytes) {
		iov->base = payload;
		iov->len = payload_bytes;
		m->payload = iov;
		m->npayload = 1;
		m->payload_bytes = payload_bytes;
	}
	return 0;
}

struct vms_msg vms_msg_head(const struct vms_msg *m)
{
	struct vms_msg h = *m;

	h.body = NULL;
	h.body_bytes = 0;
	h.payload = NULL;
	h.npayload = 0;
	h.payload_bytes = 0;
	return h;
}

void vms_msg_reply_init(struct vms_msg *re, const struct vms_msg *req, int status)
{
	memset(re, 0, sizeof(*re));
	re->type = req->type;
	re->flags = VMS_F_REPLY;
	re->status = status;
	re->req_id = req->req_id;
	re->partition = req->partition;
	re->epoch = req->epoch;
	re->branch = req->branch;
	re->extent = req->extent;
	re->sender = req->sender;
	re->incarnation = req->incarnation;
	re->slot = req->slot;
	re->sequence = req->sequence;
}

/* ---- WRITE body ---- */

void vms_write_body_encode(uint8_t *out, uint8_t kind, const struct vms_piece *pieces, unsigned n)
{
	vms_assert(n && n <= VMS_WRITE_PIECES_MAX);
	vms_put_u8(out, kind);
	vms_put_u8(out + 1, 0);
	vms_put_le16(out + 2, (uint16_t)n);
	vms_put_le32(out + 4, 0);
	out += 8;
	for (unsigned i = 0; i < n; i++, out += VMS_PIECE_BYTES) {
		vms_put_le16(out, pieces[i].chunk);
		vms_put_le16(out + 2, pieces[i].count);
		vms_put_u8(out + 4, pieces[i].mask);
		vms_put_u8(out + 5, pieces[i].flags);
		vms_put_le16(out + 6, 0);
		vms_put_le32(out + 8, pieces[i].crc);
	}
}

int vms_write_body_decode(const struct vms_msg *m, uint8_t *kind, struct vms_piece *pieces)
{
	uint64_t want_bytes = 0;
	unsigned n, next = 0;
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	*kind = vms_rd_u8(&r);
	if (vms_rd_u8(&r))
		return VMS_E_PROTO;
	n = vms_rd_u16(&r);
	if (vms_rd_u32(&r) || !vms_rd_ok(&r))
		return VMS_E_PROTO;
	if (*kind < VMS_WRITE_DATA || *kind > VMS_WRITE_COPY || !n || n > VMS_WRITE_PIECES_MAX ||
	    m->body_bytes != VMS_WRITE_BODY_BYTES(n))
		return VMS_E_PROTO;
	for (unsigned i = 0; i < n; i++) {
		struct vms_piece *pc = &pieces[i];

		pc->chunk = vms_rd_u16(&r);
		pc->count = vms_rd_u16(&r);
		pc->mask = vms_rd_u8(&r);
		pc->flags = vms_rd_u8(&r);
		if (vms_rd_u16(&r))
			return VMS_E_PROTO;
		pc->crc = vms_rd_u32(&r);
		if (pc->flags || !pc->mask || !pc->count || pc->chunk < next ||
		    pc->chunk + pc->count > VMS_EXTENT_CHUNKS)
			return VMS_E_PROTO;
		if (pc->count > 1 && (*kind != VMS_WRITE_ZERO || pc->mask != VMS_MASK_FULL))
			return VMS_E_PROTO;
		if ((*kind == VMS_WRITE_ZERO || *kind == VMS_WRITE_COPY) && pc->crc)
			return VMS_E_PROTO;
		if (*kind >= VMS_WRITE_REF && pc->mask != VMS_MASK_FULL)
			return VMS_E_PROTO;
		next = pc->chunk + pc->count;
		want_bytes += (uint64_t)vms_mask_sectors(pc->mask) * VMS_LB_BYTES;
	}
	if (*kind == VMS_WRITE_ZERO)
		want_bytes = 0;
	else if (*kind == VMS_WRITE_CAW)
		want_bytes *= 2;
	else if (*kind == VMS_WRITE_REF)
		want_bytes = 32ull * n;
	else if (*kind == VMS_WRITE_COPY)
		want_bytes = 8ull * n;
	return m->payload_bytes == want_bytes ? (int)n : VMS_E_PROTO;
}

/* ---- INVALIDATE body ---- */

void vms_inval_encode(uint8_t *out, const struct vms_inval_run *run, unsigned n)
{
	for (unsigned i = 0; i < n; i++, out += VMS_INVAL_RUN_BYTES) {
		vms_put_le16(out, run[i].chunk);
		vms_put_le16(out + 2, run[i].count);
	}
}

int vms_inval_decode(const struct vms_msg *m, struct vms_inval_run *run)
{
	unsigned n = m->body_bytes / VMS_INVAL_RUN_BYTES, next = 0;

	if (m->body_bytes % VMS_INVAL_RUN_BYTES || n > VMS_INVAL_RUNS_MAX)
		return VMS_E_PROTO;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *at = m->body + i * VMS_INVAL_RUN_BYTES;
		unsigned first = vms_get_le16(at), count = vms_get_le16(at + 2);

		if (!count || first < next || first + count > VMS_EXTENT_CHUNKS)
			return VMS_E_PROTO;
		next = first + count;
		for (unsigned s = first / VMS_SUBEXT_CHUNKS; s * VMS_SUBEXT_CHUNKS < next; s++)
			if (!(m->aux >> s & 1))
				return VMS_E_PROTO;
		run[i] = (struct vms_inval_run){(uint16_t)first, (uint16_t)count};
	}
	return (int)n;
}

/* ---- HELLO body ---- */

static void put_text(struct vms_wr *w, const char *s, size_t room_bytes)
{
	size_t n = strnlen(s, room_bytes);

	vms_assert(n < room_bytes);
	vms_wr_u8(w, (uint8_t)n);
	vms_wr_bytes(w, s, n);
}

static int get_text(struct vms_rd *r, char *out, size_t room_bytes)
{
	size_t n = vms_rd_u8(r);
	const uint8_t *p;

	if (n >= room_bytes)
		return VMS_E_PROTO;
	p = vms_rd_take(r, n);
	if (!vms_rd_ok(r) || (n && memchr(p, 0, n)))
		return VMS_E_PROTO;
	if (n)
		memcpy(out, p, n);
	out[n] = 0;
	return 0;
}

unsigned vms_hello_encode(uint8_t *out, const struct vms_hello *h)
{
	struct vms_wr w;

	vms_wr_init(&w, out, VMS_HELLO_BODY_BYTES_MAX);
	vms_wr_u8(&w, h->role);
	vms_wr_u8(&w, h->version_min);
	vms_wr_u8(&w, h->version_max);
	vms_wr_u8(&w, 0);
	vms_wr_u32(&w, 0);
	vms_wr_u64(&w, h->features);
	vms_wr_bytes(&w, h->cluster_uuid, sizeof(h->cluster_uuid));
	put_text(&w, h->name, sizeof(h->name));
	put_text(&w, h->address, sizeof(h->address));
	vms_assert(vms_wr_ok(&w));
	return (unsigned)vms_wr_len(&w);
}

int vms_hello_decode(const struct vms_msg *m, struct vms_hello *h)
{
	struct vms_rd r;

	memset(h, 0, sizeof(*h));
	if (m->type != VMS_MSG_HELLO)
		return VMS_E_PROTO;
	vms_rd_init(&r, m->body, m->body_bytes);
	h->role = vms_rd_u8(&r);
	h->version_min = vms_rd_u8(&r);
	h->version_max = vms_rd_u8(&r);
	vms_rd_skip(&r, 5);
	h->features = vms_rd_u64(&r);
	vms_rd_bytes(&r, h->cluster_uuid, sizeof(h->cluster_uuid));
	if (get_text(&r, h->name, sizeof(h->name)) || get_text(&r, h->address, sizeof(h->address)))
		return VMS_E_PROTO;
	/* What follows is for later versions. */
	if (!vms_rd_ok(&r) || h->role < VMS_ROLE_NODE || h->role > VMS_ROLE_CATALOG ||
	    !h->version_min || h->version_min > h->version_max)
		return VMS_E_PROTO;
	return 0;
}

const char *vms_msg_type_name(uint8_t type)
{
	static const char *const name[VMS_MSG_TYPE_MAX + 1] = {
		[VMS_MSG_HELLO] = "HELLO",
		[VMS_MSG_TICK] = "TICK",
		[VMS_MSG_OPEN] = "OPEN",
		[VMS_MSG_GET_PAGES] = "GET_PAGES",
		[VMS_MSG_READ_ADDR] = "READ_ADDR",
		[VMS_MSG_READ_LBA] = "READ_LBA",
		[VMS_MSG_WRITE] = "WRITE",
		[VMS_MSG_FLUSH] = "FLUSH",
		[VMS_MSG_INVALIDATE] = "INVALIDATE",
		[VMS_MSG_PAGE_UPDATE] = "PAGE_UPDATE",
		[VMS_MSG_REPLICATE] = "REPLICATE",
		[VMS_MSG_DRAIN] = "DRAIN",
		[VMS_MSG_CHECKPOINT] = "CHECKPOINT",
		[VMS_MSG_CATCHUP] = "CATCHUP",
		[VMS_MSG_DIGEST] = "DIGEST",
		[VMS_MSG_HOOK_LOOKUP] = "HOOK_LOOKUP",
		[VMS_MSG_LIST_FETCH] = "LIST_FETCH",
		[VMS_MSG_MARK] = "MARK",
		[VMS_MSG_SWEEP] = "SWEEP",
		[VMS_MSG_REMAP] = "REMAP",
		[VMS_MSG_CONFIRM] = "CONFIRM",
		[VMS_MSG_FLOOR] = "FLOOR",
		[VMS_MSG_BARRIER] = "BARRIER",
		[VMS_MSG_LEASE] = "LEASE",
		[VMS_MSG_CANCEL] = "CANCEL",
		[VMS_MSG_WRITE_REF] = "WRITE_REF",
		[VMS_MSG_REPAIR] = "REPAIR",
		[VMS_MSG_TRIM] = "TRIM",
		[VMS_MSG_VIEW_STATE] = "VIEW_STATE",
		[VMS_MSG_HOOK_ADD] = "HOOK_ADD",
		[VMS_MSG_CAT_GET] = "CAT_GET",
		[VMS_MSG_CAT_RANGE] = "CAT_RANGE",
		[VMS_MSG_CAT_TXN] = "CAT_TXN",
		[VMS_MSG_CAT_WATCH] = "CAT_WATCH",
		[VMS_MSG_CAT_UNWATCH] = "CAT_UNWATCH",
		[VMS_MSG_CAT_EVENT] = "CAT_EVENT",
		[VMS_MSG_CAT_SESSION_OPEN] = "CAT_SESSION_OPEN",
		[VMS_MSG_CAT_SESSION_RENEW] = "CAT_SESSION_RENEW",
		[VMS_MSG_CAT_SESSION_CLOSE] = "CAT_SESSION_CLOSE",
		[VMS_MSG_CAT_STATUS] = "CAT_STATUS",
		[VMS_MSG_STATS] = "STATS",
		[VMS_MSG_ADMIN] = "ADMIN",
		[VMS_MSG_MATCH_POLL] = "MATCH_POLL",
		[VMS_MSG_MATCH_PULL] = "MATCH_PULL",
		[VMS_MSG_MATCH_PAIRS] = "MATCH_PAIRS",
		[VMS_MSG_MATCH_REMAP] = "MATCH_REMAP",
		[VMS_MSG_LEARN] = "LEARN",
		[VMS_MSG_OUT_QUERY] = "OUT_QUERY",
		[VMS_MSG_OWN] = "OWN",
	};

	return type <= VMS_MSG_TYPE_MAX && name[type] ? name[type] : "unknown";
}
