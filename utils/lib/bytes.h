/* SPDX-License-Identifier: GPL-2.0-only */
/* Fixed-endian loads and stores, and bounds-checked cursors.
 *
 * Every disk and wire format is encoded and decoded through this header, never
 * by casting structs. Little-endian is the order of all our formats; big-endian
 * is for LMDB keys (so that memcmp order is numeric order) and for SCSI/iSCSI.
 *
 * Owner thread: any; nothing here has state of its own. */
#ifndef VMS_BYTES_H
#define VMS_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- little-endian, unaligned ---- */

static inline uint8_t vms_get_u8(const void *p)
{
	return *(const uint8_t *)p;
}

static inline void vms_put_u8(void *p, uint8_t v)
{
	*(uint8_t *)p = v;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define VMS_LE16_(v) (v)
#define VMS_LE32_(v) (v)
#define VMS_LE64_(v) (v)
#define VMS_BE16_(v) __builtin_bswap16(v)
#define VMS_BE32_(v) __builtin_bswap32(v)
#define VMS_BE64_(v) __builtin_bswap64(v)
#else
#define VMS_LE16_(v) __builtin_bswap16(v)
#define VMS_LE32_(v) __builtin_bswap32(v)
#define VMS_LE64_(v) __builtin_bswap64(v)
#define VMS_BE16_(v) (v)
#define VMS_BE32_(v) (v)
#define VMS_BE64_(v) (v)
#endif

/* vms_get_leN / vms_put_leN and vms_get_beN / vms_put_beN for N = 16, 32, 64.
 * p: borrowed, N/8 bytes, any alignment. */
#define VMS_BYTES_DEF_(order, ORDER, bits)                                                         \
	static inline uint##bits##_t vms_get_##order##bits(const void *p)                          \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return VMS_##ORDER##bits##_(v);                                                    \
	}                                                                                          \
	static inline void vms_put_##order##bits(void *p, uint##bits##_t v)                        \
	{                                                                                          \
		v = VMS_##ORDER##bits##_(v);                                                       \
		memcpy(p, &v, sizeof(v));                                                          \
	}

VMS_BYTES_DEF_(le, LE, 16)
VMS_BYTES_DEF_(le, LE, 32)
VMS_BYTES_DEF_(le, LE, 64)
VMS_BYTES_DEF_(be, BE, 16)
VMS_BYTES_DEF_(be, BE, 32)
VMS_BYTES_DEF_(be, BE, 64)

/* Three-byte fields occur in SCSI and iSCSI only, big-endian. */
static inline uint32_t vms_get_be24(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
}

static inline void vms_put_be24(void *p, uint32_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)(v >> 16);
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)v;
}

/* p: borrowed, len_bytes > 0. */
static inline bool vms_is_zero(const void *p, size_t len_bytes)
{
	const uint8_t *b = p;

	return !b[0] && !memcmp(b, b + 1, len_bytes - 1);
}

/* ---- reader ----
 * A read past the end returns 0 (or NULL), sets bad and moves the cursor to the
 * end, so a decoder reads all its fields and checks once with vms_rd_ok() or
 * vms_rd_done(). bad never clears by itself. */
struct vms_rd {
	const uint8_t *p;   /* next byte; borrowed buffer */
	const uint8_t *end; /* one past the last byte */
	bool bad;	    /* something was read past the end */
};

static inline void vms_rd_init(struct vms_rd *r, const void *data, size_t len_bytes)
{
	r->p = data;
	/* NULL + 0 is undefined in C */
	r->end = len_bytes ? r->p + len_bytes : r->p;
	r->bad = false;
}

static inline size_t vms_rd_left(const struct vms_rd *r)
{
	return r->p == r->end ? 0 : (size_t)(r->end - r->p);
}

/* The next len_bytes bytes in place, or NULL with bad set. A zero-length take
 * is never bad, but may return NULL on an empty buffer. */
static inline const uint8_t *vms_rd_take(struct vms_rd *r, size_t len_bytes)
{
	const uint8_t *p = r->p;

	if (r->bad || vms_rd_left(r) < len_bytes) {
		r->bad = true;
		r->p = r->end;
		return NULL;
	}
	if (len_bytes)
		r->p += len_bytes;
	return p;
}

static inline void vms_rd_skip(struct vms_rd *r, size_t len_bytes)
{
	(void)vms_rd_take(r, len_bytes);
}

/* Copies len_bytes to dst; dst is zeroed when the input is too short. */
static inline void vms_rd_bytes(struct vms_rd *r, void *dst, size_t len_bytes)
{
	const uint8_t *p = vms_rd_take(r, len_bytes);

	if (!len_bytes)
		return;
	if (p)
		memcpy(dst, p, len_bytes);
	else
		memset(dst, 0, len_bytes);
}

#define VMS_RD_DEF_(name, type, get)                                                               \
	static inline type vms_rd_##name(struct vms_rd *r)                                         \
	{                                                                                          \
		const uint8_t *p = vms_rd_take(r, sizeof(type));                                   \
		return p ? get(p) : 0;                                                             \
	}
VMS_RD_DEF_(u8, uint8_t, vms_get_u8)
VMS_RD_DEF_(u16, uint16_t, vms_get_le16)
VMS_RD_DEF_(u32, uint32_t, vms_get_le32)
VMS_RD_DEF_(u64, uint64_t, vms_get_le64)
VMS_RD_DEF_(be16, uint16_t, vms_get_be16)
VMS_RD_DEF_(be32, uint32_t, vms_get_be32)
VMS_RD_DEF_(be64, uint64_t, vms_get_be64)

/* Nothing was read past the end so far. */
static inline bool vms_rd_ok(const struct vms_rd *r)
{
	return !r->bad;
}

/* Everything was read and nothing past the end. */
static inline bool vms_rd_done(const struct vms_rd *r)
{
	return !r->bad && r->p == r->end;
}

/* ---- writer ----
 * A write that does not fit writes nothing and sets bad; later writes are then
 * ignored too, so an encoder checks once at its end. */
struct vms_wr {
	uint8_t *base; /* start of the borrowed buffer */
	uint8_t *p;    /* next byte */
	uint8_t *end;  /* one past the capacity */
	bool bad;      /* something did not fit */
};

static inline void vms_wr_init(struct vms_wr *w, void *data, size_t cap_bytes)
{
	w->base = data;
	w->p = data;
	w->end = cap_bytes ? w->p + cap_bytes : w->p;
	w->bad = false;
}

static inline size_t vms_wr_len(const struct vms_wr *w)
{
	return w->p == w->base ? 0 : (size_t)(w->p - w->base);
}

static inline size_t vms_wr_left(const struct vms_wr *w)
{
	return w->p == w->end ? 0 : (size_t)(w->end - w->p);
}

/* Room for len_bytes bytes to be filled in by the caller, or NULL. */
static inline uint8_t *vms_wr_room(struct vms_wr *w, size_t len_bytes)
{
	uint8_t *p = w->p;

	if (w->bad || vms_wr_left(w) < len_bytes) {
		w->bad = true;
		return NULL;
	}
	if (len_bytes)
		w->p += len_bytes;
	return p;
}

static inline void vms_wr_bytes(struct vms_wr *w, const void *src, size_t len_bytes)
{
	uint8_t *p = vms_wr_room(w, len_bytes);

	if (p && len_bytes)
		memcpy(p, src, len_bytes);
}

static inline void vms_wr_zero(struct vms_wr *w, size_t len_bytes)
{
	uint8_t *p = vms_wr_room(w, len_bytes);

	if (p && len_bytes)
		memset(p, 0, len_bytes);
}

#define VMS_WR_DEF_(name, type, put)                                                               \
	static inline void vms_wr_##name(struct vms_wr *w, type v)                                 \
	{                                                                                          \
		uint8_t *p = vms_wr_room(w, sizeof(type));                                         \
		if (p)                                                                             \
			put(p, v);                                                                 \
	}
VMS_WR_DEF_(u8, uint8_t, vms_put_u8)
VMS_WR_DEF_(u16, uint16_t, vms_put_le16)
VMS_WR_DEF_(u32, uint32_t, vms_put_le32)
VMS_WR_DEF_(u64, uint64_t, vms_put_le64)
VMS_WR_DEF_(be16, uint16_t, vms_put_be16)
VMS_WR_DEF_(be32, uint32_t, vms_put_be32)
VMS_WR_DEF_(be64, uint64_t, vms_put_be64)

static inline bool vms_wr_ok(const struct vms_wr *w)
{
	return !w->bad;
}

#endif
