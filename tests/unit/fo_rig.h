/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several nodes in one process over simulated disks and a catalog that loses, delays and
 * repeats itself, with failover switched on: what test_failover.c, test_fo_lease.c,
 * test_fo_members.c, test_fo_outcomes.c and test_fo_stop.c share.
 */
#ifndef VMS_TESTS_FO_RIG_H
#define VMS_TESTS_FO_RIG_H

#include <jansson.h>

#include "backend/node_int.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/sim/sim_memory.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

#define BR    7ull
#define CHUNK VMS_CHUNK_BYTES
#define BITS  2u

static struct rig R;

static inline uint32_t part_of(uint32_t extent)
{
	return vms_extent_partition(BR, extent, R.part_bits);
}

/* An extent of that partition. */
static inline uint32_t extent_in(uint32_t part)
{
	for (uint32_t e = 0;; e++)
		if (part_of(e) == part)
			return e;
}

static inline void connect_all(void)
{
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
}

static inline void up(unsigned nnodes, unsigned copies, uint64_t seed, unsigned ack)
{
	R.failover = true;
	R.min_copies = R.min_copies ? R.min_copies : 1;
	rig_open(&R, nnodes, copies, BITS, seed);
	rig_volume(&R, BR, ack);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	connect_all();
	rig_run(&R, 6000); /* nobody is young any more */
	connect_all();
	rig_run(&R, 600);
}

static inline void down(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	rig_close(&R);
}

static inline void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

struct w {
	uint32_t extent, slot, flags;
	uint64_t seed, sequence;
	uint8_t data[CHUNK];
};

static inline void write_to(unsigned g, unsigned node, struct w *w, struct rig_reply *re)
{
	struct vms_piece pc = {1, 1, 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {w->data, CHUNK};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(w->extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .extent = w->extent,
			    .slot = w->slot,
			    .flags = (uint16_t)w->flags};

	fill(w->data, w->seed);
	if (!w->sequence)
		w->sequence = ++R.gw[g].next_seq[w->slot];
	m.sequence = w->sequence;
	pc.crc = vms_crc32c(0, w->data, CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	m.payload = &iov;
	m.npayload = 1;
	m.payload_bytes = CHUNK;
	m.epoch = R.gw[g].epoch[m.partition];
	rig_send(&R, g, node, &m, re);
}

/* As a gateway does it: at the primary of the catalog, again until it is settled. */
static inline int write_within(unsigned g, struct w *w, uint64_t ms)
{
	uint64_t end = R.now_us + ms * 1000;
	struct rig_reply re;
	int st = VMS_E_TIMEOUT;

	while (R.now_us < end) {
		uint32_t p = part_of(w->extent);
		unsigned nd = rig_primary(&R, p);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 20);
			continue;
		}
		write_to(g, nd, w, &re);
		if (!rig_wait(&R, &re, 600)) {
			R.gw[g].nwait = 0;
			w->flags |= VMS_F_RETRY;
			st = VMS_E_TIMEOUT;
			continue;
		}
		st = re.status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[p] = re.m.epoch;
		rig_reply_free(&re);
		if (st == VMS_E_DISCONNECTED)
			w->flags |= VMS_F_RETRY;
		if (!st || st == VMS_E_STALE_SEQ || st == VMS_E_INVAL)
			return st;
		rig_run(&R, 20);
	}
	return st;
}

static inline int put(unsigned g, uint32_t extent, uint64_t seed, uint64_t ms)
{
	struct w w = {.extent = extent, .seed = seed};

	return write_within(g, &w, ms);
}

static inline int read_from(unsigned g, unsigned nd, uint32_t extent, uint8_t *out, uint64_t ms)
{
	struct rig_reply re;
	uint8_t body[2] = {1, 0};
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .partition = part_of(extent),
			    .branch = BR,
			    .snap_gen = 1,
			    .extent = extent,
			    .body = body,
			    .body_bytes = 2};
	int st;

	m.epoch = R.gw[g].epoch[m.partition];
	rig_send(&R, g, nd, &m, &re);
	if (!rig_wait(&R, &re, ms)) {
		R.gw[g].nwait = 0;
		return VMS_E_TIMEOUT;
	}
	st = re.status;
	if (!st || st == VMS_E_EPOCH)
		R.gw[g].epoch[m.partition] = re.m.epoch;
	if (!st) {
		vms_addr a = vms_get_le64(re.body);

		st = (int16_t)vms_get_le16(re.body + 12);
		if (!a)
			memset(out, 0, CHUNK);
		else if (!st)
			memcpy(out, re.payload, CHUNK);
	}
	rig_reply_free(&re);
	return st;
}

/* What the present primary answers. */
static inline bool shows(uint32_t extent, uint64_t seed)
{
	uint8_t x[CHUNK], want[CHUNK];

	fill(want, seed);
	for (int i = 0; i < 400; i++) {
		unsigned nd = rig_primary(&R, part_of(extent));
		int st = VMS_E_AGAIN;

		if (R.gw[0].up[nd])
			st = read_from(0, nd, extent, x, 500);
		else
			rig_gw_connect(&R, 0, nd);
		if (!st)
			return !memcmp(x, want, CHUNK);
		rig_run(&R, 20);
	}
	return false;
}

static inline struct part *part_at(unsigned node, uint32_t part)
{
	return R.node[node].n ? node_part(R.node[node].n, part) : NULL;
}

static inline bool in_set(uint32_t part, unsigned node)
{
	struct vms_part_conf c = rig_conf(&R, part, NULL);

	for (unsigned i = 0; i < c.nmembers; i++)
		if (c.member[i].node == node + 1)
			return true;
	return false;
}

/* Partition 0 is led by node 0; members follow in their order. */
static uint32_t E0;

/* A member whose watch is behind, or that has no catalog at all, follows its primary. */
/* One frame without body to a node; its status, or 1: no answer within ms. */
static inline int ask(unsigned g, unsigned nd, uint8_t type, uint16_t flags, uint64_t sequence,
		      uint64_t ms)
{
	struct vms_msg m = {.type = type,
			    .flags = flags,
			    .partition = VMS_PART_NONE,
			    .branch = BR,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .sequence = sequence};
	struct rig_reply re;

	rig_send(&R, g, nd, &m, &re);
	if (rig_wait(&R, &re, ms))
		return re.status;
	R.gw[g].nwait = 0;
	return 1;
}

#endif
