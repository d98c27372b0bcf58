/* SPDX-License-Identifier: GPL-2.0-only */
/* The storage nodes of the gateway's fake world: chunks in memory, and an answer to every
 * message of a gateway, or what they are told to do instead. */
#ifndef VMS_TESTS_GW_FAKE_NODE_H
#define VMS_TESTS_GW_FAKE_NODE_H

#include <stdlib.h>
#include <string.h>

#include "target/gateway.h"
#include "tests/unit/gw_fake_state.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static inline struct f_msg *f_copy(uint32_t node, const struct vms_msg *m)
{
	struct f_msg *c = malloc(sizeof(*c) + m->body_bytes + m->payload_bytes + 1);
	uint8_t *p;

	vms_assert(c);
	c->m = *m;
	c->node = node;
	p = c->bytes;
	if (m->body_bytes)
		memcpy(p, m->body, m->body_bytes);
	c->m.body = p;
	p += m->body_bytes;
	c->iov.base = p;
	c->iov.len = m->payload_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(p, m->payload[i].base, m->payload[i].len);
		p += m->payload[i].len;
	}
	c->m.payload = &c->iov;
	c->m.npayload = m->payload_bytes ? 1 : 0;
	return c;
}

static inline void f_event(enum vms_gw_event_type type, uint32_t node, const struct vms_msg *m)
{
	struct vms_gw_event ev = {.type = type, .now_ms = f.now, .node = node, .msg = m};

	vms_gw_step(f.gw, &ev);
}
static inline void f_reply(struct f_msg *q, int status, const void *body, uint32_t body_bytes,
			   const struct vms_iov *iov, unsigned niov, uint64_t sequence)
{
	struct vms_msg re;
	struct f_msg *c;

	vms_msg_reply_init(&re, &q->m, status);
	re.sender = q->node;
	re.incarnation = f.incarnation[q->node];
	re.epoch = f.epoch;
	if (q->m.type == VMS_MSG_FLUSH)
		re.aux = f.flush_loss;
	if (status == VMS_E_SNAP_GEN)
		re.snap_gen = q->m.snap_gen;
	re.sequence = sequence;
	re.body = body;
	re.body_bytes = body_bytes;
	re.payload = iov;
	re.npayload = niov;
	for (unsigned i = 0; i < niov; i++)
		re.payload_bytes += iov[i].len;
	c = f_copy(q->node, &re);
	if (f.connected[q->node])
		f_event(VMS_GEV_MSG, q->node, &c->m);
	free(c);
}

static inline const uint8_t *f_chunk(vms_addr a)
{
	static const uint8_t zero[VMS_CHUNK_BYTES];

	if (a <= VMS_ADDR_ASK)
		return zero;
	return f.data[vms_addr_is_log(a, 0) ? vms_addr_logpos(a, 0)
					    : vms_addr_offset_bytes(a) / VMS_CHUNK_BYTES];
}

/* A new version of a chunk; returns its address. */
static inline vms_addr f_store(uint32_t chunk, uint8_t mask, const uint8_t *src)
{
	uint8_t *d = malloc(VMS_CHUNK_BYTES);
	vms_addr *map = f.to ? f.to : f.map;

	vms_assert(f.pos < F_POS_MAX && chunk < F_CHUNKS);
	memcpy(d, f_chunk(map[chunk]), VMS_CHUNK_BYTES);
	for (unsigned s = 0; s < 8; s++) {
		if (!(mask >> s & 1))
			continue;
		if (src) {
			memcpy(d + s * 512, src, 512);
			src += 512;
		} else {
			memset(d + s * 512, 0, 512);
		}
	}
	f.data[f.pos] = d;
	map[chunk] = !src && mask == 0xff ? VMS_ADDR_HOLE
		     : f.drained	  ? vms_addr_make(5, (uint32_t)f.pos * VMS_CHUNK_BYTES)
					  : vms_logpos_addr(0, f.pos, 0);
	f.pos++;
	return map[chunk];
}

static inline bool f_is_clone(const struct f_msg *q)
{
	return f.clones && q->m.branch > F_BRANCH && q->m.branch <= F_BRANCH + F_CLONES;
}

/* Kind 5: all chunks are there, or nothing happens. */
static inline void f_write_ref(struct f_msg *q)
{
	uint32_t n = vms_get_le16(q->m.body + 2), chunk;
	const uint8_t *fp = q->iov.base;
	static uint8_t body[8 * VMS_EXTENT_CHUNKS];
	bool all = true;

	vms_assert(q->m.body_bytes == VMS_WRITE_BODY_BYTES(n) && q->iov.len == 32 * n);
	for (uint32_t i = 0; i < n; i++) {
		body[i] = f.fp[fp[32 * i]] != 0;
		all &= body[i];
	}
	if (!all) {
		f_reply(q, VMS_E_NOENT, body, n, NULL, 0, 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *pc = q->m.body + 8 + VMS_PIECE_BYTES * i;

		chunk = q->m.extent * VMS_EXTENT_CHUNKS + vms_get_le16(pc);
		vms_assert(pc[4] == VMS_MASK_FULL && vms_get_le16(pc + 2) == 1);
		f.map[chunk] = f.fp[fp[32 * i]];
		vms_assert(vms_get_le32(pc + 8) == vms_crc32c(0, f_chunk(f.map[chunk]), 4096));
		vms_put_le64(body + 8 * i, f.map[chunk]);
	}
	f_reply(q, 0, body, 8 * n, NULL, 0, ++f.seq);
}

/* Kind 6: the same by address. */
static inline void f_write_copy(struct f_msg *q)
{
	uint32_t n = vms_get_le16(q->m.body + 2);
	static uint8_t body[8 * VMS_EXTENT_CHUNKS];
	bool all = true;

	vms_assert(q->m.body_bytes == VMS_WRITE_BODY_BYTES(n) && q->iov.len == 8 * n);
	f.n_copy++;
	for (uint32_t i = 0; i < n; i++) {
		vms_addr a = vms_get_le64((const uint8_t *)q->iov.base + 8 * i);

		vms_assert(a > VMS_ADDR_LOST && !vms_addr_is_log(a, 0));
		body[i] = a != f.gone;
		all &= body[i];
	}
	if (!all) {
		f_reply(q, VMS_E_NOENT, body, n, NULL, 0, 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *pc = q->m.body + 8 + VMS_PIECE_BYTES * i;
		vms_addr a = vms_get_le64((const uint8_t *)q->iov.base + 8 * i);

		vms_put_le64(body + 8 * i,
			     f_store(q->m.extent * VMS_EXTENT_CHUNKS + vms_get_le16(pc),
				     VMS_MASK_FULL, f_chunk(a)));
	}
	f_reply(q, 0, body, 8 * n, NULL, 0, ++f.seq);
}

static inline void f_write(struct f_msg *q)
{
	static struct vms_piece pc[VMS_WRITE_PIECES_MAX];
	static uint8_t addrs[8 * VMS_WRITE_PIECES_MAX];
	uint8_t kind;
	const uint8_t *p = q->iov.base;
	int n;

	if (q->m.snap_gen < f.floor_gen || q->m.lun_fence < f.floor_fence) {
		bool gen = q->m.snap_gen < f.floor_gen;

		q->m.snap_gen = f.tell_floor ? f.floor_gen : 0;
		f_reply(q, gen ? VMS_E_SNAP_GEN : VMS_E_LUN_FENCE, NULL, 0, NULL, 0, 0);
		return;
	}
	if (q->m.partition && f.second_status) {
		f_reply(q, f.second_status, NULL, 0, NULL, 0, 0);
		return;
	}
	if (f.write_status && !f.write_ok_first) {
		f_reply(q, f.write_status, NULL, 0, NULL, 0, 0);
		return;
	}
	if (f.write_ok_first)
		f.write_ok_first--;
	if (q->m.body[0] == VMS_WRITE_REF) {
		f_write_ref(q);
		return;
	}
	if (q->m.body[0] == VMS_WRITE_COPY) {
		f_write_copy(q);
		return;
	}
	n = vms_write_body_decode(&q->m, &kind, pc);
	vms_assert(n > 0);
	if (kind == VMS_WRITE_CAW)
		p += q->iov.len / 2;
	if (f_is_clone(q)) {
		f.to = f.clone[q->m.branch - F_BRANCH - 1];
		for (int i = 0; i < n; i++)
			for (unsigned k = 0; k < pc[i].count; k++)
				f.clone_own[q->m.branch - F_BRANCH - 1][q->m.extent] |=
					(uint8_t)(1u << (pc[i].chunk + k) / VMS_SUBEXT_CHUNKS);
	}
	for (int i = 0; i < n; i++) {
		vms_addr a = 0;

		for (unsigned k = 0; k < pc[i].count; k++)
			a = f_store(q->m.extent * VMS_EXTENT_CHUNKS + pc[i].chunk + k, pc[i].mask,
				    kind == VMS_WRITE_ZERO ? NULL : p);
		if (kind != VMS_WRITE_ZERO) {
			uint32_t len = vms_mask_sectors(pc[i].mask) * 512;

			vms_assert(vms_crc32c(0, p, len) == pc[i].crc);
			p += len;
		}
		vms_put_le64(addrs + 8 * i, f.write_ask		     ? VMS_ADDR_ASK
					    : kind == VMS_WRITE_ZERO ? 0
								     : a);
	}
	f.to = NULL;
	f_reply(q, 0, addrs, 8 * (uint32_t)n, NULL, 0, ++f.seq);
}

static inline const vms_addr *f_map(const struct f_msg *q)
{
	if (f_is_clone(q))
		return f.clone[q->m.branch - F_BRANCH - 1];
	return f.snap_gen && q->m.snap_gen == f.snap_gen ? f.snap : f.map;
}

static inline void f_pages(struct f_msg *q, uint64_t version)
{
	static uint8_t body[4 + 8 * (12 + 1024) + 28];
	uint32_t at = 4, n = 0;
	bool shared = false;

	for (unsigned s = 0; s < 8; s++) {
		if (!(q->m.aux >> s & 1))
			continue;
		body[at] = (uint8_t)s;
		body[at + 1] = 0;
		if (f_is_clone(q) &&
		    !(f.clone_own[q->m.branch - F_BRANCH - 1][q->m.extent] >> s & 1)) {
			body[at + 1] = VMS_PAGE_SHARED;
			shared = true;
		}
		vms_put_le16(body + at + 2, 0);
		vms_put_le64(body + at + 4, version);
		for (unsigned k = 0; k < 128; k++)
			vms_put_le64(body + at + 12 + 8 * k,
				     f_map(q)[q->m.extent * 1024 + s * 128 + k]);
		at += 12 + 1024;
		n++;
	}
	vms_put_le32(body, n);
	if (shared) { /* of F_BRANCH as of 1 */
		vms_put_le32(body + at, 1);
		vms_put_le64(body + at + 4, F_BRANCH);
		vms_put_le64(body + at + 12, 1);
		vms_put_le64(body + at + 20, UINT64_MAX);
		at += 28;
	}
	f_reply(q, 0, body, at, NULL, 0, 0);
}

static inline void f_own(struct f_msg *q)
{
	uint32_t n = q->m.body_bytes / VMS_OWN_ASK_BYTES;
	static uint8_t body[VMS_OWN_MAX * VMS_OWN_REPLY_BYTES];

	vms_assert(f_is_clone(q) && n && n <= VMS_OWN_MAX);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *a = q->m.body + i * VMS_OWN_ASK_BYTES;
		bool other = vms_get_le64(a + 8) != f.epoch;

		vms_put_le16(body + 4 * i, (uint16_t)(int16_t)(other ? VMS_E_EPOCH : 0));
		body[4 * i + 2] = f.clone_own[q->m.branch - F_BRANCH - 1][vms_get_le32(a + 4)];
		body[4 * i + 3] = 0;
	}
	f_reply(q, 0, body, 4 * n, NULL, 0, 0);
}

static inline void f_read(struct f_msg *q, bool lba)
{
	uint32_t n = q->m.body_bytes / (lba ? 2 : 8), k = 0;
	uint8_t *body = malloc(16 * n), *copy = malloc((size_t)n * 4096);
	struct vms_iov iov = {copy, 0};

	for (uint32_t i = 0; i < n; i++) {
		vms_addr a = lba ? f_map(q)[q->m.extent * 1024 + vms_get_le16(q->m.body + 2 * i)]
				 : vms_get_le64(q->m.body + 8 * i);
		int st = 0;

		if (!lba && f.gone_once) {
			f.gone_once = false;
			st = VMS_E_GONE;
		}
		vms_put_le64(body + 16 * i, lba && f.lba_ask ? VMS_ADDR_ASK : a);
		vms_put_le32(body + 16 * i + 8, vms_crc32c(0, f_chunk(a), 4096));
		vms_put_le16(body + 16 * i + 12, (uint16_t)(int16_t)st);
		body[16 * i + 14] = 0xff;
		body[16 * i + 15] = 0;
		if (st || a == VMS_ADDR_HOLE)
			continue;
		memcpy(copy + 4096 * k, f_chunk(a), 4096);
		if ((!lba && f.corrupt_node1 && q->node == 1) || (lba && f.corrupt_lba))
			copy[4096 * k + 99] ^= 0x40;
		k++;
	}
	iov.len = k * 4096ull;
	f_reply(q, 0, body, 16 * n, &iov, k ? 1 : 0, 0);
	free(body);
	free(copy);
}

static inline void f_handle(struct f_msg *q)
{
	struct vms_msg *m = &q->m;

	if (m->flags & VMS_F_REPLY) {
		f.n_inval_ok += m->type == VMS_MSG_INVALIDATE;
		if (m->type == VMS_MSG_INVALIDATE)
			f.inval_gone = m->aux;
		return;
	}
	if ((m->type == VMS_MSG_WRITE || m->type == VMS_MSG_GET_PAGES ||
	     m->type == VMS_MSG_READ_LBA) &&
	    q->node != f_leader(m->partition)) {
		f_reply(q, VMS_E_NOT_PRIMARY, NULL, 0, NULL, 0, 0);
		return;
	}
	switch (m->type) {
	case VMS_MSG_HELLO:
	case VMS_MSG_OPEN:
		f_reply(q, 0, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_FLUSH:
		f.n_flush++;
		f.flush_node = q->node;
		f_reply(q, f.flush_status, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_GET_PAGES:
		f.read_gen = m->snap_gen;
		f.n_pages++;
		f_pages(q, f.seq);
		break;
	case VMS_MSG_OWN:
		f.n_own++;
		f.own_asked = q->m.body_bytes / VMS_OWN_ASK_BYTES;
		if (f.no_own)
			f_reply(q, VMS_E_UNSUPPORTED, NULL, 0, NULL, 0, 0);
		else
			f_own(q);
		break;
	case VMS_MSG_READ_ADDR:
		f.n_addr++;
		f_read(q, false);
		break;
	case VMS_MSG_READ_LBA:
		f.read_gen = m->snap_gen;
		f.n_lba++;
		f_read(q, true);
		break;
	case VMS_MSG_WRITE:
		f.n_write++;
		f.writes_at[q->node]++;
		f.prev_write = f.last_write;
		f.last_write = *m;
		f.write_node = q->node;
		f_write(q);
		break;
	case VMS_MSG_CANCEL:
		f.n_cancel++;
		f_reply(q, f.cancel_status, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_FLOOR:
		f.n_floor += m->branch != 0;
		f.n_floor_gw += m->branch == 0;
		f.last_floor = *m;
		f_reply(q, f.floor_again ? VMS_E_AGAIN : 0, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_ADMIN: {
		char text[64];

		snprintf(text, sizeof(text), "[{\"gateway\":%u,\"live\":true}]", f.live);
		f_reply(q, 0, text, (uint32_t)strlen(text), NULL, 0, 0);
		break;
	}
	case VMS_MSG_REPAIR:
		f.n_repair++;
		f.repair_node = q->node;
		break;
	default:
		vms_assert(0);
	}
}

#endif
