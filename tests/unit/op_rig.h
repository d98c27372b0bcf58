/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads and writes of gateways at nodes in memory: what test_node.c and test_node_log.c share.
 */
#ifndef VMS_TESTS_OP_RIG_H
#define VMS_TESTS_OP_RIG_H

#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_write.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

#define BR    7ull
#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

static inline uint32_t part_of(uint32_t extent)
{
	return vms_extent_partition(BR, extent, R.part_bits);
}

static inline void up(unsigned nnodes, unsigned copies, unsigned bits, uint64_t seed, unsigned ack)
{
	rig_open(&R, nnodes, copies, bits, seed);
	rig_volume(&R, BR, ack);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 600);
}

static inline void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

struct w {
	uint8_t kind, mask;
	uint16_t chunk, count;
	uint32_t extent, flags, slot;
	uint64_t sequence, tick, tick_inc;
	const uint8_t *data;
	size_t bytes;
};

static inline void write_send(unsigned g, const struct w *w, struct rig_reply *re)
{
	struct vms_piece pc = {w->chunk, w->count ? w->count : 1, w->mask ? w->mask : 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {w->data, w->bytes};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(w->extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = w->extent,
			    .flags = (uint16_t)w->flags,
			    .slot = w->slot,
			    .sequence = w->sequence,
			    .tick = w->tick,
			    .tick_incarnation = w->tick_inc};
	size_t off = w->kind == VMS_WRITE_CAW ? w->bytes / 2 : 0;

	if (w->kind != VMS_WRITE_ZERO)
		pc.crc = vms_crc32c(0, w->data + off, w->bytes - off);
	vms_write_body_encode(body, w->kind, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	if (w->bytes) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = w->bytes;
	}
	m.epoch = R.gw[g].epoch[m.partition];
	rig_send(&R, g, rig_primary(&R, m.partition), &m, re);
}

static inline void part_print(uint32_t number)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		struct part *p = R.node[i].n ? node_part(R.node[i].n, number) : NULL;
		struct vms_node *n = R.node[i].n;

		if (!p)
			continue;
		fprintf(stderr,
			"node %u part %u primary %d state %d seq %llu com %llu app %llu own %llu "
			"all "
			"%llu told %llu wait %u pend %d inval %u locks %d ceil %llu/%llu pos %llu "
			"room "
			"%llu used %llu nospc %d\n",
			i + 1, number, p->primary, p->state, (unsigned long long)p->seq_last,
			(unsigned long long)p->committed, (unsigned long long)p->applied,
			(unsigned long long)p->own_durable, (unsigned long long)p->all_durable,
			(unsigned long long)p->told_commit, p->nwait, p->pend_head != NULL,
			p->pend_head ? p->pend_head->inval_left : 0, p->locks != NULL,
			(unsigned long long)p->ceiling, (unsigned long long)p->ceiling_ordered,
			(unsigned long long)p->next_pos,
			(unsigned long long)vms_wal_room_bytes(n->wal),
			(unsigned long long)vms_wal_used_bytes(n->wal), n->nospc);
		for (unsigned k = 0; k < p->nm; k++)
			fprintf(stderr, "   member %u streaming %d sent %llu held %llu dur %llu\n",
				p->m[k].node, p->m[k].streaming, (unsigned long long)p->m[k].sent,
				(unsigned long long)p->m[k].held,
				(unsigned long long)p->m[k].durable);
	}
}

/* Write and retry until it is settled. */
static inline int write_sync(unsigned g, struct w *w)
{
	struct rig_reply re;
	int st = VMS_E_TIMEOUT;

	if (!w->sequence)
		w->sequence = ++R.gw[g].next_seq[w->slot];
	for (int i = 0; i < 400; i++) {
		uint32_t p = part_of(w->extent);
		unsigned nd = rig_primary(&R, p);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			w->flags |= VMS_F_RETRY;
			continue;
		}
		write_send(g, w, &re);
		if (!rig_wait(&R, &re, 20000)) {
			part_print(p);
			R.gw[g].nwait = 0;
			return VMS_E_TIMEOUT;
		}
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[p] = re.m.epoch;
		rig_reply_free(&re);
		if (st == VMS_E_DISCONNECTED || st == VMS_E_AGAIN || st == VMS_E_NOT_PRIMARY) {
			w->flags |= VMS_F_RETRY;
			rig_run(&R, 50);
			continue;
		}
		if (st != VMS_E_EPOCH)
			return st;
	}
	return st;
}

static inline int lba_read(unsigned g, uint32_t extent, uint16_t chunk, uint8_t *out,
			   vms_addr *addr)
{
	struct rig_reply re;
	uint8_t body[2];
	int st = VMS_E_TIMEOUT;

	vms_put_le16(body, chunk);
	for (int i = 0; i < 400; i++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = part_of(extent),
				    .branch = BR,
				    .snap_gen = 1,
				    .extent = extent,
				    .body = body,
				    .body_bytes = 2};
		unsigned nd = rig_primary(&R, m.partition);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			continue;
		}
		m.epoch = R.gw[g].epoch[m.partition];
		rig_send(&R, g, nd, &m, &re);
		if (!rig_wait(&R, &re, 20000))
			return VMS_E_TIMEOUT;
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m.partition] = re.m.epoch;
		if (st == 0) {
			*addr = vms_get_le64(re.body);
			st = (int16_t)vms_get_le16(re.body + 12);
			if (st == VMS_E_GONE || st == VMS_E_UNKNOWN) {
				rig_reply_free(&re);
				rig_run(&R, 10);
				continue;
			}
			if (*addr == VMS_ADDR_HOLE)
				memset(out, 0, CHUNK);
			else if (st == 0 && re.m.payload_bytes == CHUNK)
				memcpy(out, re.payload, CHUNK);
			if (st == 0 && *addr &&
			    vms_crc32c(0, out, CHUNK) != vms_get_le32(re.body + 8))
				st = VMS_E_CORRUPT;
			rig_reply_free(&re);
			return st;
		}
		rig_reply_free(&re);
		rig_run(&R, 20);
	}
	return st;
}

static inline int get_page(unsigned g, uint32_t extent, unsigned sub, vms_addr *entry)
{
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = part_of(extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .extent = extent,
			    .aux = 1u << sub};
	unsigned nd = rig_primary(&R, m.partition);
	int st;

	for (int i = 0; i < 400; i++) {
		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			continue;
		}
		m.epoch = R.gw[g].epoch[m.partition];
		m.tick = 0;
		rig_send(&R, g, nd, &m, &re);
		if (!rig_wait(&R, &re, 20000))
			return VMS_E_TIMEOUT;
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m.partition] = re.m.epoch;
		if (!st) {
			CU_ASSERT_EQUAL(vms_get_le32(re.body), 1);
			for (unsigned k = 0; k < 128; k++)
				entry[k] = re.body[5] & 1 ? 0 : vms_get_le64(re.body + 16 + 8 * k);
			rig_reply_free(&re);
			return 0;
		}
		rig_reply_free(&re);
		rig_run(&R, 20);
	}
	return VMS_E_TIMEOUT;
}

static inline int addr_read(unsigned g, unsigned nd, vms_addr a, uint8_t *out)
{
	struct rig_reply re;
	uint8_t body[8];
	struct vms_msg m = {.type = VMS_MSG_READ_ADDR,
			    .partition = vms_addr_partition(a, R.part_bits),
			    .body = body,
			    .body_bytes = 8};
	int st;

	vms_put_le64(body, a);
	rig_send(&R, g, nd, &m, &re);
	if (!rig_wait(&R, &re, 20000))
		return VMS_E_TIMEOUT;
	st = re.status;
	if (!st) {
		st = (int16_t)vms_get_le16(re.body + 12);
		if (!st)
			memcpy(out, re.payload, CHUNK);
	}
	rig_reply_free(&re);
	return st;
}

static inline void put(uint32_t ext, unsigned ch, uint64_t seed, unsigned flags, int want);

static inline void expect(uint32_t ext, unsigned ch, uint64_t seed);

static inline void put(uint32_t ext, unsigned ch, uint64_t seed, unsigned flags, int want)
{
	static uint8_t b[CHUNK];
	struct w w = {.kind = VMS_WRITE_DATA,
		      .extent = ext,
		      .chunk = (uint16_t)ch,
		      .data = b,
		      .bytes = CHUNK,
		      .flags = flags};

	fill(b, seed);
	CU_ASSERT_EQUAL(write_sync(0, &w), want);
}

static inline void expect(uint32_t ext, unsigned ch, uint64_t seed)
{
	uint8_t b[CHUNK], x[CHUNK];
	vms_addr a;

	fill(b, seed);
	CU_ASSERT_EQUAL(lba_read(1, ext, (uint16_t)ch, x, &a), 0);
	CU_ASSERT_EQUAL(memcmp(b, x, CHUNK), 0);
}

#endif
