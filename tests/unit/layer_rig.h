/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Branches and numbers of snapshots over the node rig: what test_node_snap.c, test_node_layers.c
 * and test_node_snap_model.c share.
 */
#ifndef VMS_TESTS_LAYER_RIG_H
#define VMS_TESTS_LAYER_RIG_H

#include "backend/drain_int.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

#define LIN   7ull /* lineage of all branches here, and its first branch */
#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

static inline struct vms_node *node(unsigned i)
{
	return R.node[i].n;
}

static inline uint32_t part_of(uint32_t extent)
{
	return vms_extent_partition(LIN, extent, R.part_bits);
}

static inline void connect_all(void)
{
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 400);
}

static inline void up(unsigned bits, uint64_t seed, unsigned ack)
{
	rig_open(&R, 3, 2, bits, seed);
	rig_volume(&R, LIN, ack);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	connect_all();
}

static inline void fill(uint8_t *b, uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	vms_rng_fill(&g, b, CHUNK);
}

/* ---- requests ---- */

/* Crash in the middle of the next request: after so many events. */
static struct {
	unsigned after, nodes; /* bit mask; 0: no crash */
	bool power;
} crash;

/* All replicas make the same bytes of a record: no disk is damaged here. */
static unsigned corrupt;

static inline void corrupt_check(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		corrupt += node(i) && node(i)->st.corrupt;
}

static inline void crash_now(void)
{
	unsigned mask = crash.nodes;

	crash.nodes = 0;
	corrupt_check();
	for (unsigned k = 0; k < R.nnodes; k++)
		if (mask >> k & 1)
			rig_node_crash(&R, k, crash.power);
	rig_run(&R, vms_rng_below(&R.rng, 300));
	for (unsigned k = 0; k < R.nnodes; k++)
		if (!R.node[k].n)
			rig_node_start(&R, k);
}

static inline void crash_step(const struct rig_reply *re)
{
	for (; crash.nodes && crash.after && !re->done; crash.after--)
		rig_step(&R);
	if (crash.nodes)
		crash_now();
}

static inline int ask(unsigned g, struct vms_msg *m, struct rig_reply *re, int tries)
{
	return rig_ask(&R, g, m, re, tries, crash_step);
}

struct wr {
	uint64_t branch, gen;
	uint32_t extent;
	uint16_t chunk, count;
	uint8_t kind, mask;
	uint16_t flags;
	const uint8_t *data; /* the masked sectors */
	int tries;
	vms_addr addr; /* answered */
};

static inline int put(unsigned g, struct wr *w)
{
	struct vms_piece pc = {w->chunk, w->count ? w->count : 1, w->mask ? w->mask : 0xff, 0, 0};
	size_t half = vms_mask_sectors(pc.mask) * VMS_LB_BYTES;
	size_t bytes = w->kind == VMS_WRITE_ZERO ? 0 : w->kind == VMS_WRITE_CAW ? 2 * half : half;
	struct vms_iov iov = {w->data, bytes};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(w->extent),
			    .branch = w->branch,
			    .snap_gen = w->gen,
			    .lun_fence = 1,
			    .extent = w->extent,
			    .flags = w->flags,
			    .slot = 1};
	int st;

	if (bytes)
		pc.crc = vms_crc32c(0, w->data + (bytes - half), half);
	vms_write_body_encode(body, w->kind, &pc, 1);
	m.body = body;
	m.body_bytes = sizeof(body);
	m.payload = bytes ? &iov : NULL;
	m.npayload = bytes ? 1 : 0;
	m.payload_bytes = bytes;
	m.sequence = ++R.gw[g].next_seq[1];
	st = ask(g, &m, &re, w->tries ? w->tries : 400);
	w->addr = st || re.m.body_bytes < 8 ? VMS_ADDR_ASK : vms_get_le64(re.body);
	if (re.done)
		rig_reply_free(&re);
	return st;
}

static inline int lba(unsigned g, uint64_t branch, uint64_t gen, uint32_t extent, uint16_t chunk,
		      uint8_t *out, vms_addr *addr)
{
	uint8_t body[2];
	struct rig_reply re;
	int st = VMS_E_TIMEOUT;

	vms_put_le16(body, chunk);
	for (int i = 0; i < 100; i++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = part_of(extent),
				    .branch = branch,
				    .snap_gen = gen,
				    .extent = extent,
				    .body = body,
				    .body_bytes = 2};

		st = ask(g, &m, &re, 400);
		if (st)
			return st;
		*addr = vms_get_le64(re.body);
		st = (int16_t)vms_get_le16(re.body + 12);
		if (*addr == VMS_ADDR_HOLE)
			memset(out, 0, CHUNK);
		else if (!st && re.m.payload_bytes == CHUNK)
			memcpy(out, re.payload, CHUNK);
		if (!st && *addr && vms_crc32c(0, out, CHUNK) != vms_get_le32(re.body + 8))
			st = VMS_E_CORRUPT;
		rig_reply_free(&re);
		if (st != VMS_E_GONE && st != VMS_E_UNKNOWN)
			return st;
		rig_run(&R, 10);
	}
	return st;
}

static inline int pages(unsigned g, uint64_t branch, uint64_t gen, uint32_t extent, unsigned sub,
			vms_addr *entry)
{
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = part_of(extent),
			    .branch = branch,
			    .snap_gen = gen,
			    .extent = extent,
			    .aux = 1u << sub};
	int st = ask(g, &m, &re, 400);

	if (st)
		return st;
	CU_ASSERT_EQUAL(vms_get_le32(re.body), 1);
	for (unsigned k = 0; k < VMS_SUBEXT_CHUNKS; k++)
		entry[k] = re.body[5] & 1 ? 0 : vms_get_le64(re.body + 16 + 8 * k);
	rig_reply_free(&re);
	return 0;
}

/* Whole chunk of pseudo-random bytes by seed; seed 0: zeros. */
static inline int put_seed(uint64_t branch, uint64_t gen, uint32_t extent, uint16_t chunk,
			   uint64_t seed)
{
	static uint8_t b[CHUNK];
	struct wr w = {.branch = branch,
		       .gen = gen,
		       .extent = extent,
		       .chunk = chunk,
		       .data = b,
		       .kind = seed ? VMS_WRITE_DATA : VMS_WRITE_ZERO};

	fill(b, seed);
	return put(0, &w);
}

static inline bool shows(uint64_t branch, uint64_t gen, uint32_t extent, uint16_t chunk,
			 uint64_t seed)
{
	uint8_t want[CHUNK] = {0}, x[CHUNK];
	vms_addr a;
	int st = lba(1, branch, gen, extent, chunk, x, &a);

	if (seed)
		fill(want, seed);
	if (st || memcmp(want, x, CHUNK))
		fprintf(stderr, "branch %llu gen %llu chunk %u: %d\n", (unsigned long long)branch,
			(unsigned long long)gen, chunk, st);
	return !st && !memcmp(want, x, CHUNK);
}

/* FLOOR at every node; 0 when all have answered it. */
static inline int floor_all(uint64_t branch, uint64_t gen, uint16_t flags)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		struct vms_msg m = {.type = VMS_MSG_FLOOR,
				    .partition = VMS_PART_NONE,
				    .branch = branch,
				    .snap_gen = gen,
				    .lun_fence = 1,
				    .flags = flags};
		struct rig_reply re;
		int st = VMS_E_TIMEOUT;

		for (int k = 0; k < 400; k++) {
			if (!R.gw[0].up[i]) {
				rig_gw_connect(&R, 0, i);
				rig_run(&R, 100);
				continue;
			}
			rig_send(&R, 0, i, &m, &re);
			crash_step(&re);
			if (!rig_wait(&R, &re, 20000)) {
				R.gw[0].nwait = 0;
				return VMS_E_TIMEOUT;
			}
			st = re.status;
			rig_reply_free(&re);
			if (st != VMS_E_AGAIN && st != VMS_E_BUSY && st != VMS_E_DISCONNECTED)
				break;
			rig_run(&R, 20);
		}
		if (st)
			return st;
	}
	return 0;
}

/* ---- what the layers show ---- */

static inline struct part *primary_part(uint32_t part)
{
	return node_part(node(rig_primary(&R, part)), part);
}

/* A new snap_gen of a branch, as a snapshot spends it. */
static inline void next_gen(uint64_t branch, uint64_t gen)
{
	CU_ASSERT_EQUAL(floor_all(branch, gen, VMS_F_FUA), 0);
}

static inline void clone_put(uint64_t branch, const struct vms_cat_ancestor *a, unsigned n)
{
	struct vms_cat_branch b = {.branch = branch, .lineage = LIN, .nancestors = n};

	memcpy(b.ancestor, a, n * sizeof(*a));
	rig_branch_put(&R, b);
	rig_volume_put(&R,
		       (struct vms_cat_volume){
			       .branch = branch, .lineage = LIN, .snap_gen = 1, .lun_fence = 1});
	CU_ASSERT_EQUAL(floor_all(branch, 1, VMS_F_FUA), 0);
}

/* Everything that is in the overlay goes into containers, and is checkpointed. */
static inline void drain_all(void)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		if (!node(i))
			continue;
		vms_wal_gen_seal(node(i)->wal);
		for (uint32_t k = 0; k < node(i)->nparts; k++)
			if (node(i)->part[k])
				node(i)->part[k]->scan_due = true;
	}
	rig_run(&R, 12000);
}

/* A container address that is handed out is durable at all members. */
/* Of what a page of that branch shows (0: of any): later records may give chunks of
 * other branches the same place. */
static inline bool addr_safe(vms_addr a, uint64_t branch)
{
	struct part *p = primary_part(vms_addr_partition(a, R.part_bits));

	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next)
		for (struct vms_ovl_chunk *c = e->chunks; c; c = c->next)
			if (c->stub && c->stub_to == a && c->stub_seq > p->safe_seq &&
			    (!branch || e->branch == branch))
				return false;
	return true;
}

static inline int addr_read(unsigned g, vms_addr a, uint8_t *out)
{
	struct rig_reply re;
	uint8_t body[8];
	struct vms_msg m = {.type = VMS_MSG_READ_ADDR,
			    .partition = vms_addr_partition(a, R.part_bits),
			    .body = body,
			    .body_bytes = 8};
	int st;

	vms_put_le64(body, a);
	st = ask(g, &m, &re, 400);
	if (st)
		return st;
	st = (int16_t)vms_get_le16(re.body + 12);
	if (!st)
		memcpy(out, re.payload, CHUNK);
	rig_reply_free(&re);
	return st;
}

#endif
