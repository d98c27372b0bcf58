// SPDX-License-Identifier: GPL-2.0-only
/* Storage node core: branches, snapshots and clones over simulated disks. */
#include "backend/drain_int.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"

#define LIN   7ull /* lineage of all branches here, and its first branch */
#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

static struct vms_node *node(unsigned i)
{
	return R.node[i].n;
}

static uint32_t part_of(uint32_t extent)
{
	return vms_extent_partition(LIN, extent, R.part_bits);
}

static void connect_all(void)
{
	for (unsigned g = 0; g < RIG_GWS; g++)
		for (unsigned i = 0; i < R.nnodes; i++)
			rig_gw_connect(&R, g, i);
	rig_run(&R, 400);
}

static void up(unsigned bits, uint64_t seed, unsigned ack)
{
	rig_open(&R, 3, 2, bits, seed);
	rig_volume(&R, LIN, ack);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	connect_all();
}

static void fill(uint8_t *b, uint64_t seed)
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
static void corrupt_check(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		corrupt += node(i) && node(i)->st.corrupt;
}

static void crash_now(void)
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

static void crash_step(const struct rig_reply *re)
{
	for (; crash.nodes && crash.after && !re->done; crash.after--)
		rig_step(&R);
	if (crash.nodes)
		crash_now();
}

/* Send m to the primary of its partition until it is settled; re as answered. */
static int ask(unsigned g, struct vms_msg *m, struct rig_reply *re, int tries)
{
	int st = VMS_E_TIMEOUT;

	for (int i = 0; i < tries; i++) {
		unsigned nd = rig_primary(&R, m->partition);

		if (!R.gw[g].up[nd]) {
			rig_gw_connect(&R, g, nd);
			rig_run(&R, 100);
			m->flags |= m->type == VMS_MSG_WRITE ? VMS_F_RETRY : 0;
			continue;
		}
		m->epoch = R.gw[g].epoch[m->partition];
		m->tick = 0;
		rig_send(&R, g, nd, m, re);
		crash_step(re);
		if (!rig_wait(&R, re, 20000)) {
			R.gw[g].nwait = 0;
			return VMS_E_TIMEOUT;
		}
		st = re->status;
		if (!st || st == VMS_E_EPOCH)
			R.gw[g].epoch[m->partition] = re->m.epoch;
		if (st == VMS_E_EPOCH || st == VMS_E_DISCONNECTED || st == VMS_E_AGAIN ||
		    st == VMS_E_NOT_PRIMARY || (st == VMS_E_BUSY && m->type != VMS_MSG_WRITE)) {
			rig_reply_free(re);
			if (st == VMS_E_DISCONNECTED && m->type == VMS_MSG_WRITE)
				m->flags |= VMS_F_RETRY;
			if (st != VMS_E_EPOCH && i + 1 < tries)
				rig_run(&R, 20);
			continue;
		}
		return st;
	}
	return st;
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

static int put(unsigned g, struct wr *w)
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

static int lba(unsigned g, uint64_t branch, uint64_t gen, uint32_t extent, uint16_t chunk,
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

static int pages(unsigned g, uint64_t branch, uint64_t gen, uint32_t extent, unsigned sub,
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
static int put_seed(uint64_t branch, uint64_t gen, uint32_t extent, uint16_t chunk, uint64_t seed)
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

static bool shows(uint64_t branch, uint64_t gen, uint32_t extent, uint16_t chunk, uint64_t seed)
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
static int floor_all(uint64_t branch, uint64_t gen, uint16_t flags)
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

/* ---- what nodes know of branches ---- */

static void a_volume_counts_only_with_its_branch(void)
{
	uint8_t b[CHUNK] = {1};
	struct wr w = {.branch = 20, .gen = 1, .kind = VMS_WRITE_DATA, .data = b, .tries = 1};
	vms_addr e[VMS_SUBEXT_CHUNKS];
	struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .branch = 20};
	struct vms_stack st;
	struct rig_reply re;

	up(2, 1, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put(0, &w), 0 + VMS_E_EPOCH); /* learns the epoch */
	CU_ASSERT_EQUAL(put(0, &w), VMS_E_AGAIN);
	rig_send(&R, 0, 0, &m, &re);
	CU_ASSERT_TRUE(rig_wait(&R, &re, 1000));
	CU_ASSERT_EQUAL(re.status, VMS_E_AGAIN);
	rig_reply_free(&re);
	/* both in the catalog; the volume's event comes first: nobody may take it for one
	 * without ancestors */
	rig_volume_put(&R, (struct vms_cat_volume){.branch = 20, .lineage = LIN, .snap_gen = 1});
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 20,
						   .lineage = LIN,
						   .salted = true,
						   .salt = {9},
						   .nancestors = 1,
						   .ancestor = {{LIN, 1, 100}}});
	while (!node_volume(node(0), 20, true)->known)
		rig_step(&R);
	CU_ASSERT_FALSE(node_branch_known(node(0), 20));
	CU_ASSERT_EQUAL(node_stack(node(0), 20, 1, &st), VMS_E_AGAIN);
	w.tries = 0;
	CU_ASSERT_EQUAL(put(0, &w), 0);
	CU_ASSERT_EQUAL(pages(1, 20, VMS_GEN_LIVE, 0, 0, e), 0);
	CU_ASSERT_EQUAL(floor_all(20, 2, 0), 0);
	for (unsigned i = 0; i < 3; i++) {
		const struct branch *br = node_branch(node(i), 20, false);

		CU_ASSERT_TRUE_FATAL(br && br->known);
		CU_ASSERT_TRUE(br->salted && br->salt[0] == 9 && !br->dedup);
		CU_ASSERT_EQUAL(br->nancestors, 1);
		CU_ASSERT_EQUAL(br->snap_gen, 2);
		/* what shows through is sealed */
		CU_ASSERT_EQUAL(node_branch(node(i), LIN, false)->gen_min, 2);
	}
	rig_close(&R);
}

/* A volume of the first release has no branch record: the catalog says so. */
static void a_volume_without_record_has_no_ancestors(void)
{
	up(2, 2, VMS_ACK_DISK);
	rig_volume_put(&R, (struct vms_cat_volume){
				   .branch = 30, .lineage = LIN, .snap_gen = 4, .dedup = true});
	CU_ASSERT_EQUAL(put_seed(30, 4, 0, 1, 11), 0);
	CU_ASSERT_TRUE(shows(30, 4, 0, 1, 11));
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 3; i++) {
			const struct branch *br = node_branch(node(i), 30, false);

			CU_ASSERT_TRUE(br && br->known && br->dedup && !br->nancestors);
			CU_ASSERT_EQUAL(br->snap_gen, 4);
		}
		rig_run(&R, 100);
		for (unsigned i = 0; i < 3 && !round; i++)
			rig_node_crash(&R, i, true);
		for (unsigned i = 0; i < 3 && !round; i++)
			rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		rig_run(&R, 500);
	}
	CU_ASSERT_TRUE(shows(30, 4, 0, 1, 11));
	rig_close(&R);
}

static void ancestors_must_be_older(void)
{
	up(2, 3, VMS_ACK_DISK);
	fprintf(stderr, "(a refused record follows)\n");
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 20,
						   .lineage = LIN,
						   .nancestors = 1,
						   .ancestor = {{21, 1, 100}}});
	rig_run(&R, 100);
	CU_ASSERT_FALSE(node_branch_known(node(0), 20));
	rig_close(&R);
}

/* Floors come with the volume's record too, and no number goes down once a higher
 * one was ordered. */
static void numbers_never_go_down(void)
{
	struct vms_cat_volume v = {.branch = LIN, .snap_gen = 3, .lun_fence = 1};

	up(2, 4, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 1, 1), 0);
	rig_volume_put(&R, v);
	rig_run(&R, 50);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 1, 2), VMS_E_SNAP_GEN);
	CU_ASSERT_EQUAL(put_seed(LIN, 3, 0, 1, 3), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 9, 0, 1, 4), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 8, 0, 1, 5), VMS_E_SNAP_GEN);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(node_branch(node(i), LIN, false)->snap_gen, 3);
	v.lun_fence = 2;
	rig_volume_put(&R, v);
	rig_run(&R, 50);
	CU_ASSERT_EQUAL(put_seed(LIN, 9, 0, 1, 6), VMS_E_LUN_FENCE);
	/* logged, not only remembered */
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	for (unsigned i = 0; i < 3; i++) {
		const struct branch *b;

		rig_node_start(&R, i);
		b = node_branch(node(i), LIN, false);
		CU_ASSERT_TRUE(b && b->snap_gen >= 3 && b->lun_fence == 2);
	}
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_close(&R);
}

/* A volume that moved to another branch is told of a loss once, under its number. */
static void a_loss_is_told_per_volume(void)
{
	char key[VMS_CAT_KEY_BYTES_MAX];

	up(2, 5, VMS_ACK_MEMORY);
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 9,
						   .lineage = LIN,
						   .owner = LIN,
						   .nancestors = 1,
						   .ancestor = {{LIN, 1, 1 << 20}}});
	rig_volume_put(&R, (struct vms_cat_volume){.name = "v7",
						   .id = LIN,
						   .branch = 9,
						   .lineage = LIN,
						   .snap_gen = 2,
						   .write_ack = VMS_ACK_MEMORY});
	rig_run(&R, 50);
	{
		uint8_t b[CHUNK] = {1};
		struct wr w = {.branch = 9,
			       .gen = 2,
			       .kind = VMS_WRITE_DATA,
			       .data = b,
			       .flags = VMS_F_MEMORY};

		CU_ASSERT_EQUAL(put(0, &w), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	vms_cat_key_loss(key, LIN);
	CU_ASSERT_TRUE(rig_cat_number(&R, key) > 0);
	vms_cat_key_loss(key, 9);
	CU_ASSERT_EQUAL(rig_cat_number(&R, key), 0);
	/* and a flush under either branch hears of it */
	for (uint64_t br = LIN; br <= 9; br += 2) {
		struct vms_msg m = {
			.type = VMS_MSG_FLUSH, .partition = VMS_PART_NONE, .branch = br};
		struct rig_reply re;

		rig_gw_connect(&R, 0, 0);
		rig_run(&R, 300);
		rig_send(&R, 0, 0, &m, &re);
		CU_ASSERT_TRUE(rig_wait(&R, &re, 5000));
		CU_ASSERT_EQUAL(re.status, 0);
		CU_ASSERT_TRUE(re.m.aux > 0);
		rig_reply_free(&re);
	}
	rig_close(&R);
}

/* ---- what the layers show ---- */

static struct part *primary_part(uint32_t part)
{
	return node_part(node(rig_primary(&R, part)), part);
}

/* A new snap_gen of a branch, as a snapshot spends it. */
static void next_gen(uint64_t branch, uint64_t gen)
{
	CU_ASSERT_EQUAL(floor_all(branch, gen, VMS_F_FUA), 0);
}

static void clone_put(uint64_t branch, const struct vms_cat_ancestor *a, unsigned n)
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
static void drain_all(void)
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

/* No checkpoint for the next 5 s (on), or whenever. */
static void checkpoints_wait(bool on)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		node(i)->ckpt_ms = node(i)->now_ms;
		node(i)->copy_end = on ? UINT64_MAX : 0;
	}
}

/* A container address that is handed out is durable at all members. */
/* Of what a page of that branch shows (0: of any): later records may give chunks of
 * other branches the same place. */
static bool addr_safe(vms_addr a, uint64_t branch)
{
	struct part *p = primary_part(vms_addr_partition(a, R.part_bits));

	for (struct vms_ovl_ext *e = p->ovl.exts; e; e = e->next)
		for (struct vms_ovl_chunk *c = e->chunks; c; c = c->next)
			if (c->stub && c->stub_to == a && c->stub_seq > p->safe_seq &&
			    (!branch || e->branch == branch))
				return false;
	return true;
}

static int addr_read(unsigned g, vms_addr a, uint8_t *out)
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

/* A part of a chunk over a snapshot: LBA, page and log address show the merged chunk,
 * the snapshot goes on showing the old one; in the overlay, with the older layer
 * drained, and with both. */
static void a_part_over_a_snapshot(void)
{
	uint8_t old[CHUNK], now[CHUNK], part[2 * VMS_LB_BYTES], x[CHUNK];
	struct wr w = {.branch = LIN,
		       .gen = 2,
		       .kind = VMS_WRITE_DATA,
		       .data = part,
		       .mask = 0x0c,
		       .chunk = 5};
	vms_addr e[VMS_SUBEXT_CHUNKS], a;

	fill(old, 1);
	memset(part, 0x77, sizeof(part));
	memcpy(now, old, CHUNK);
	memcpy(now + 2 * VMS_LB_BYTES, part, sizeof(part));
	for (unsigned k = 0; k < 4; k++) {
		up(1, 30 + k, VMS_ACK_DISK);
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
		if (k == 1 || k == 3)
			drain_all();
		next_gen(LIN, 2);
		CU_ASSERT_EQUAL(put(0, &w), 0);
		CU_ASSERT_TRUE(w.addr > VMS_ADDR_ASK);
		CU_ASSERT_EQUAL(addr_read(1, w.addr, x), 0);
		CU_ASSERT_EQUAL(memcmp(x, now, CHUNK), 0);
		if (k >= 2)
			drain_all();
		CU_ASSERT_EQUAL(lba(1, LIN, VMS_GEN_LIVE, 0, 5, x, &a), 0);
		CU_ASSERT_EQUAL(memcmp(x, now, CHUNK), 0);
		CU_ASSERT_EQUAL(lba(1, LIN, 2, 0, 5, x, &a), 0);
		CU_ASSERT_EQUAL(memcmp(x, now, CHUNK), 0);
		CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 1));
		for (uint64_t gen = 1; gen <= 2; gen++) {
			CU_ASSERT_EQUAL(pages(1, LIN, gen, 0, 0, e), 0);
			CU_ASSERT_EQUAL(addr_read(1, e[5], x), 0);
			CU_ASSERT_EQUAL(memcmp(x, gen == 1 ? old : now, CHUNK), 0);
			CU_ASSERT_TRUE(addr_safe(e[5], 0));
			CU_ASSERT_EQUAL(vms_addr_is_log(e[5], R.part_bits),
					gen == 1 ? k == 0 : k < 2);
		}
		/* a hole over it, also when only the page below shows it */
		CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 5, 0), 0);
		CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 5, 0));
		drain_all();
		CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 5, 0));
		CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 1));
		rig_close(&R);
	}
}

/* As the collector would: the chunk moves within its partition. */
static void remap_one(struct part *p, uint64_t branch, uint64_t gen, uint16_t chunk, uint64_t seed)
{
	struct vms_node *n = node(rig_primary(&R, p->number));
	struct vms_page_key k = {p->number, branch, 0, gen};
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m = {.branch = branch, .snap_gen = gen, .chunk = chunk, .valid = 0xff};
	uint8_t b[CHUNK], meta[8 + VMS_MOVE_BYTES];
	struct vms_page page;
	uint64_t ctr;
	uint32_t seg;

	fill(b, seed);
	m.crc = vms_crc32c(0, b, CHUNK);
	CU_ASSERT_EQUAL(vms_pages_lookup(n->pages, &k, &page), 0);
	CU_ASSERT_EQUAL(page.key.snap_gen, gen);
	m.from_seq = page.entry[chunk];
	for (unsigned i = 0; i < 50 && drain_place(n, p, 1, &ctr, &seg); i++)
		rig_run(&R, 2);
	m.to = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(seg, 0));
	vms_rec_moves_encode(meta, &m, 1);
	r.meta = meta;
	r.meta_bytes = vms_rec_moves_bytes(1);
	CU_ASSERT_EQUAL(part_order(n, p, &r, NULL, 0), 0);
	p->open_seg++;
	p->open_chunks++;
	rig_run(&R, 50);
	CU_ASSERT_EQUAL(vms_pages_lookup(n->pages, &k, &page), 0);
	CU_ASSERT_EQUAL(page.entry[chunk], m.to);
}

/* What a page hands out between the drain of a snapshot's chunk and the checkpoint
 * that makes it durable: the address gateways know, through all layers. */
static void stubs_of_older_layers_hold(void)
{
	vms_addr e[VMS_SUBEXT_CHUNKS], h[VMS_SUBEXT_CHUNKS];
	struct part *p;
	unsigned held = 0;

	up(1, 40, VMS_ACK_DISK);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, (uint16_t)i, 100 + i), 0);
	next_gen(LIN, 2);
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 10}}, 1);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 0, 7), 0);
	CU_ASSERT_EQUAL(put_seed(20, 1, 0, 1, 8), 0);
	CU_ASSERT_EQUAL(pages(0, 20, VMS_GEN_LIVE, 0, 0, h), 0);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(h[i] != VMS_ADDR_HOLE, i < 10);
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 15, 0));
	CU_ASSERT_EQUAL(pages(0, LIN, VMS_GEN_LIVE, 0, 0, h), 0);
	p = primary_part(part_of(0));
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_wal_gen_seal(node(i)->wal);
	checkpoints_wait(true);
	p->scan_due = true;
	for (unsigned i = 0; i < 200 && p->ovl.npieces; i++)
		rig_run(&R, 1);
	CU_ASSERT_EQUAL(p->ovl.npieces, 0);
	CU_ASSERT_TRUE(p->ovl.nstubs >= 22 && p->safe_seq == 0);
	CU_ASSERT_EQUAL(pages(1, LIN, VMS_GEN_LIVE, 0, 0, e), 0);
	for (unsigned i = 0; i < 20; i++)
		held += e[i] == h[i];
	CU_ASSERT_EQUAL(held, 20);
	CU_ASSERT_EQUAL(pages(1, LIN, 1, 0, 0, e), 0);
	for (unsigned i = 1; i < 20; i++)
		CU_ASSERT_EQUAL(e[i], h[i]);
	CU_ASSERT_TRUE(vms_addr_is_log(e[0], R.part_bits) && e[0] != h[0]);
	CU_ASSERT_EQUAL(pages(1, 20, VMS_GEN_LIVE, 0, 0, e), 0);
	for (unsigned i = 2; i < 10; i++)
		CU_ASSERT_EQUAL(e[i], h[i]);
	CU_ASSERT_TRUE(vms_addr_is_log(e[1], R.part_bits));
	for (unsigned i = 10; i < 20; i++)
		CU_ASSERT_EQUAL(e[i], VMS_ADDR_HOLE);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_TRUE(shows(LIN, 1, 0, (uint16_t)i, 100 + i));
	/* the newer page's entry moves again: its old address was never handed out */
	remap_one(p, LIN, 2, 15, 115);
	CU_ASSERT_EQUAL(pages(1, LIN, VMS_GEN_LIVE, 0, 0, e), 0);
	CU_ASSERT_EQUAL(e[15], h[15]);
	CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 15, 115));
	CU_ASSERT_TRUE(p->safe_seq == 0);
	checkpoints_wait(false);
	drain_all();
	CU_ASSERT_EQUAL(p->ovl.nstubs, 0);
	CU_ASSERT_EQUAL(pages(1, LIN, VMS_GEN_LIVE, 0, 0, e), 0);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_FALSE(vms_addr_is_log(e[i], R.part_bits));
	rig_close(&R);
}

/* Two writes to one chunk, the second under a new number, both on their way: the
 * answer to the first must not name an address, pages say ASK meanwhile. */
static void answers_know_of_newer_numbers(void)
{
	static uint8_t b[2][CHUNK];
	struct vms_piece pc = {5, 1, 0xff, 0, 0};
	uint8_t body[2][VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov[2];
	struct rig_reply re[2];

	up(1, 50, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	for (unsigned k = 0; k < 2; k++) {
		struct vms_msg m = {.type = VMS_MSG_WRITE,
				    .partition = part_of(0),
				    .branch = LIN,
				    .snap_gen = 1 + k,
				    .lun_fence = 1,
				    .slot = 2 + k,
				    .sequence = 1,
				    .epoch = R.gw[0].epoch[part_of(0)],
				    .body = body[k],
				    .body_bytes = sizeof(body[k]),
				    .payload = &iov[k],
				    .npayload = 1,
				    .payload_bytes = CHUNK};

		fill(b[k], 60 + k);
		iov[k] = (struct vms_iov){b[k], CHUNK};
		pc.crc = vms_crc32c(0, b[k], CHUNK);
		vms_write_body_encode(body[k], VMS_WRITE_DATA, &pc, 1);
		rig_send(&R, 0, rig_primary(&R, part_of(0)), &m, &re[k]);
	}
	for (unsigned k = 0; k < 2; k++) {
		CU_ASSERT_TRUE(rig_wait(&R, &re[k], 1000));
		CU_ASSERT_EQUAL(re[k].status, 0);
		CU_ASSERT_EQUAL(vms_get_le64(re[k].body) == VMS_ADDR_ASK, k == 0);
		rig_reply_free(&re[k]);
	}
	CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 60));
	CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 5, 61));
	rig_close(&R);
}

/* One seek per layer that may have a page, none where the delta has the newest. */
static void seeks_per_layer(void)
{
	struct vms_cat_ancestor a[VMS_ANCESTORS_MAX];
	vms_addr e[VMS_SUBEXT_CHUNKS];
	struct vms_node *n;
	uint64_t gen = 1, before;

	up(0, 60, VMS_ACK_DISK);
	n = node(0);
	for (; gen <= 12; gen++) {
		CU_ASSERT_EQUAL(put_seed(LIN, gen, 0, 1, gen), 0);
		drain_all();
		next_gen(LIN, gen + 1);
	}
	CU_ASSERT_EQUAL(vms_pages_delta_count(n->pages), 0);
	for (uint64_t g = 1; g <= 13; g += 4) { /* 12 snapshots or none: the same */
		before = vms_pages_lookups(n->pages);
		CU_ASSERT_EQUAL(pages(0, LIN, g == 13 ? VMS_GEN_LIVE : g, 0, 0, e), 0);
		CU_ASSERT_EQUAL(vms_pages_lookups(n->pages) - before, 1);
		CU_ASSERT_TRUE(shows(LIN, g, 0, 1, g < 12 ? g : 12));
	}
	for (unsigned i = 0; i < VMS_ANCESTORS_MAX; i++) { /* clones of clones */
		clone_put(20 + i, a, 0);
		memmove(a + 1, a, i * sizeof(*a));
		a[0] = (struct vms_cat_ancestor){i ? 19 + i : LIN, i ? 1 : 6, UINT32_MAX};
		clone_put(40 + i, a, i + 1);
		before = vms_pages_lookups(n->pages);
		CU_ASSERT_EQUAL(pages(0, 40 + i, VMS_GEN_LIVE, 0, 0, e), 0);
		CU_ASSERT_EQUAL(vms_pages_lookups(n->pages) - before, i + 2);
		CU_ASSERT_TRUE(shows(40 + i, VMS_GEN_LIVE, 0, 1, 6));
	}
	/* in the delta: no seek at all for a live read, however many numbers */
	CU_ASSERT_EQUAL(put_seed(LIN, gen, 0, 1, 77), 0);
	vms_wal_gen_seal(n->wal);
	checkpoints_wait(true);
	n->part[0]->scan_due = true;
	for (unsigned i = 0; i < 200 && !vms_pages_delta_count(n->pages); i++)
		rig_run(&R, 1);
	CU_ASSERT_EQUAL(vms_pages_delta_count(n->pages), 1);
	before = vms_pages_lookups(n->pages);
	CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 1, 77));
	CU_ASSERT_EQUAL(vms_pages_lookups(n->pages), before);
	rig_close(&R);
}

static int floor_once(unsigned nd, uint64_t gen, uint64_t ms)
{
	struct vms_msg m = {.type = VMS_MSG_FLOOR,
			    .partition = VMS_PART_NONE,
			    .branch = LIN,
			    .snap_gen = gen,
			    .lun_fence = 1,
			    .flags = VMS_F_FUA};
	struct rig_reply re;
	int st;

	rig_send(&R, 0, nd, &m, &re);
	st = rig_wait(&R, &re, ms) ? re.status : VMS_E_TIMEOUT;
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	return st;
}

/* The flush of memory mode that a snapshot contains: what was answered before FLOOR is
 * on all disks when it is answered; without it a power cut takes it. */
static void floor_settles_memory_mode(void)
{
	static uint8_t b[CHUNK];
	struct wr w = {
		.branch = LIN, .gen = 1, .kind = VMS_WRITE_DATA, .data = b, .flags = VMS_F_MEMORY};
	unsigned lost = 0;

	fill(b, 5);
	for (unsigned settled = 0; settled < 2; settled++) {
		up(1, 70, VMS_ACK_MEMORY);
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 999, 1), 0);
		rig_run(&R, 1500);
		for (w.chunk = 0; w.chunk < 30; w.chunk++)
			CU_ASSERT_EQUAL(put(0, &w), 0);
		if (settled)
			next_gen(LIN, 2);
		for (unsigned i = 0; i < 3; i++)
			rig_node_crash(&R, i, true);
		for (unsigned i = 0; i < 3; i++)
			rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		for (uint16_t c = 0; c < 30; c++) {
			uint8_t x[CHUNK];
			vms_addr a;

			CU_ASSERT_EQUAL(lba(1, LIN, 1, 0, c, x, &a), 0);
			if (memcmp(x, b, CHUNK)) {
				lost++;
				CU_ASSERT_FALSE(settled);
			}
		}
		rig_close(&R);
	}
	CU_ASSERT_TRUE(lost > 0);
}

/* A write is ordered but a member is missing: FLOOR does not call that settled. */
static void floor_waits_for_what_was_ordered(void)
{
	static uint8_t b[CHUNK];
	struct vms_piece pc = {5, 1, 0xff, 0, 0};
	uint8_t body[VMS_WRITE_BODY_BYTES(1)];
	struct vms_iov iov = {b, CHUNK};
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .branch = LIN,
			    .snap_gen = 1,
			    .lun_fence = 1,
			    .slot = 3,
			    .sequence = 1,
			    .body = body,
			    .body_bytes = sizeof(body),
			    .payload = &iov,
			    .npayload = 1,
			    .payload_bytes = CHUNK};
	unsigned nd;

	up(0, 80, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	nd = rig_primary(&R, 0);
	fill(b, 2);
	pc.crc = vms_crc32c(0, b, CHUNK);
	vms_write_body_encode(body, VMS_WRITE_DATA, &pc, 1);
	m.epoch = R.gw[0].epoch[0];
	rig_send(&R, 0, nd, &m, &re);
	while (primary_part(0)->seq_last == primary_part(0)->committed)
		rig_step(&R);
	rig_node_crash(&R, (nd + 1) % 3, true);
	rig_run(&R, 10);
	CU_ASSERT_EQUAL(floor_once(nd, 2, 1000), VMS_E_TIMEOUT);
	CU_ASSERT_EQUAL(floor_once(nd, 2, 5000), VMS_E_BUSY);
	rig_node_start(&R, (nd + 1) % 3);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(floor_once(nd, 2, 5000), 0);
	CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 2)); /* it is in the snapshot */
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 3), VMS_E_SNAP_GEN);
	R.gw[0].nwait = 0;
	if (re.done)
		rig_reply_free(&re);
	rig_close(&R);
}

/* Snapshots are sealed: who has their pages hears nothing of later writes. */
static void only_readers_of_the_present_are_told(void)
{
	vms_addr e[VMS_SUBEXT_CHUNKS];

	up(1, 90, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	next_gen(LIN, 2);
	CU_ASSERT_EQUAL(pages(1, LIN, 1, 0, 0, e), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 5, 2), 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 0);
	for (unsigned k = 0; k < 2; k++) {
		CU_ASSERT_EQUAL(pages(1, LIN, k ? 2 : VMS_GEN_LIVE, 0, 0, e), 0);
		CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 5, 3 + k), 0);
		CU_ASSERT_EQUAL(R.gw[1].invals, 1 + k);
	}
	rig_close(&R);
}

/* Which sub-extents of two extents have something of the branch's own, asked with one
 * epoch that is wrong if bad. */
static int own(unsigned g, uint64_t branch, bool bad, uint8_t *mask)
{
	uint8_t body[2 * VMS_OWN_ASK_BYTES];
	struct rig_reply re;
	struct vms_msg m = {
		.type = VMS_MSG_OWN,
		.partition = part_of(0), /* of the first; the rig's way to its primary */
		.branch = branch,
		.body = body,
		.body_bytes = sizeof(body)};
	int st;

	for (unsigned i = 0; i < 2; i++) {
		vms_put_le32(body + 16 * i, part_of(0));
		vms_put_le32(body + 16 * i + 4, i);
		vms_put_le64(body + 16 * i + 8, R.gw[g].epoch[part_of(0)] + (bad && i));
	}
	st = ask(g, &m, &re, 400);
	if (st)
		return st;
	CU_ASSERT_EQUAL(re.m.body_bytes, 2 * VMS_OWN_REPLY_BYTES);
	*mask = re.body[2];
	CU_ASSERT_EQUAL((int16_t)vms_get_le16(re.body), 0);
	CU_ASSERT_EQUAL((int16_t)vms_get_le16(re.body + 4), bad ? VMS_E_AGAIN : 0);
	rig_reply_free(&re);
	return 0;
}

/* Does GET_PAGES say that the page is its ancestors', and whose they are? */
static bool page_shared(unsigned g, uint64_t branch, uint32_t extent, unsigned sub)
{
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = part_of(extent),
			    .branch = branch,
			    .snap_gen = VMS_GEN_LIVE,
			    .extent = extent,
			    .aux = 1u << sub};
	bool shared;
	size_t at;

	CU_ASSERT_EQUAL_FATAL(ask(g, &m, &re, 400), 0);
	shared = re.body[5] & VMS_PAGE_SHARED;
	at = 16 + (re.body[5] & VMS_PAGE_EMPTY ? 0 : 8 * VMS_SUBEXT_CHUNKS);
	CU_ASSERT_EQUAL(re.m.body_bytes, at + (shared ? 28 : 0));
	if (shared) {
		CU_ASSERT_EQUAL(vms_get_le32(re.body + at), 1);
		CU_ASSERT_EQUAL(vms_get_le64(re.body + at + 4), LIN);
		CU_ASSERT_EQUAL(vms_get_le64(re.body + at + 12), 1);
		CU_ASSERT_EQUAL(vms_get_le64(re.body + at + 20), UINT32_MAX);
	}
	rig_reply_free(&re);
	return shared;
}

/* What a clone has of its own: whatever is ordered, in the log or in containers, but not
 * what shows through. Who has asked is told of the first write. */
static void a_clone_tells_what_is_its_own(void)
{
	struct vms_cat_ancestor anc = {LIN, 1, UINT32_MAX};
	struct wr zero = {.branch = LIN + 1,
			  .gen = 1,
			  .chunk = 6 * VMS_SUBEXT_CHUNKS - 1,
			  .count = 2,
			  .kind = VMS_WRITE_ZERO};
	uint8_t mask;

	up(1, 91, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 6 * VMS_SUBEXT_CHUNKS - 1, 7), 0);
	CU_ASSERT_FALSE(page_shared(1, LIN, 0, 0)); /* its epoch is known now */
	CU_ASSERT_EQUAL(own(1, LIN, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 0xff); /* of no clone there is nothing to share */
	next_gen(LIN, 2);
	clone_put(LIN + 1, &anc, 1);
	CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 0);
	CU_ASSERT_EQUAL(own(1, LIN + 1, true, &mask), 0);
	CU_ASSERT(page_shared(1, LIN + 1, 0, 0));
	CU_ASSERT(page_shared(1, LIN + 1, 0, 7));
	drain_all();
	CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 0);
	CU_ASSERT_EQUAL(put_seed(LIN + 1, 1, 0, 2 * VMS_SUBEXT_CHUNKS + 5, 2), 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 1);
	for (unsigned drained = 0; drained < 2; drained++) {
		CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
		CU_ASSERT_EQUAL(mask, 1u << 2);
		CU_ASSERT_FALSE(page_shared(1, LIN + 1, 0, 2));
		CU_ASSERT(page_shared(1, LIN + 1, 0, 3));
		drain_all();
	}
	CU_ASSERT_EQUAL(put(0, &zero), 0);
	for (unsigned drained = 0; drained < 2; drained++) {
		CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
		/* no page is made to say that holes are holes */
		CU_ASSERT_EQUAL(mask, 1u << 2 | 1u << 5 | (drained ? 0 : 1u << 6));
		drain_all();
	}
	CU_ASSERT_EQUAL(put_seed(LIN + 1, 1, 1, 9, 3), 0); /* another extent */
	CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 1u << 2 | 1u << 5);
	rig_close(&R);
}

/* Hundreds of snapshots with a write each: reads do not go through hundreds of layers,
 * though the log is far from full. */
static void many_snapshots_do_not_pile_up_layers(void)
{
	struct vms_ovl_stack s;
	struct vms_stack st;
	unsigned most = 0;
	vms_addr e[VMS_SUBEXT_CHUNKS];
	uint64_t before;

	up(0, 89, VMS_ACK_DISK);
	for (uint64_t gen = 1; gen <= 300; gen++) {
		unsigned depth = 0;

		CU_ASSERT_EQUAL(put_seed(LIN, gen, 0, (uint16_t)(gen % 100), gen), 0);
		CU_ASSERT_EQUAL(node_stack(node(0), LIN, VMS_GEN_LIVE, &st), 0);
		vms_ovl_stack(&node(0)->ovl, 0, &st, 0, &s);
		for (struct vms_ovl_ext *x = s.n ? s.l[0].e : NULL; x; x = x->older)
			for (struct vms_ovl_chunk *c = x->chunks; c; c = c->next)
				if (c->newest) { /* not only a stub, until all have a checkpoint */
					depth++;
					break;
				}
		most = depth > most ? depth : most;
		rig_run(&R, 20);
	}
	CU_ASSERT_TRUE(most < 60);
	drain_all();
	for (uint64_t gen = 1; gen <= 300; gen += 23) {
		before = vms_pages_lookups(node(0)->pages);
		CU_ASSERT_EQUAL(pages(0, LIN, gen, 0, 0, e), 0);
		CU_ASSERT_EQUAL(vms_pages_lookups(node(0)->pages) - before, 1);
		CU_ASSERT_TRUE(shows(LIN, gen, 0, (uint16_t)(gen % 100), gen));
	}
	CU_ASSERT_EQUAL(put_seed(LIN, VMS_GEN_LIVE, 0, 1, 1), VMS_E_INVAL);
	CU_ASSERT_EQUAL(floor_all(LIN, VMS_GEN_LIVE, 0), VMS_E_INVAL);
	rig_close(&R);
}

static struct vms_ovl_ext *ext_of(uint64_t branch, uint64_t gen, uint32_t extent)
{
	struct part *p = primary_part(part_of(extent));

	return vms_ovl_ext_get(&node(rig_primary(&R, p->number))->ovl, &p->ovl, p->number, branch,
			       extent, gen, false);
}

/* An ordered drain of an older layer's chunk does not take a write that came after it:
 * nothing of a newer layer is drained before that one is. */
static void a_pinned_chunk_with_a_newer_write_holds_newer_layers(void)
{
	struct vms_ovl_chunk *c;

	up(0, 91, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	next_gen(LIN, 2);
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 6, 2), 0);
	CU_ASSERT_EQUAL(put_seed(20, 1, 0, 7, 3), 0);
	c = vms_ovl_chunk_get(&node(0)->ovl, ext_of(LIN, 1, 0), 5, false);
	c->pins = 1; /* as if a record were ordered that takes what was there before it */
	c->pin_seq = c->newest->seq - 1;
	drain_all();
	CU_ASSERT_PTR_NOT_NULL(ext_of(LIN, 2, 0));
	CU_ASSERT_PTR_NOT_NULL(ext_of(20, 1, 0));
	c->pins = 0;
	drain_all();
	CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
	for (uint64_t b = LIN; b <= 20; b += 13)
		CU_ASSERT_TRUE(shows(b, VMS_GEN_LIVE, 0, 5, 1));
	CU_ASSERT_TRUE(shows(LIN, 1, 0, 6, 0));
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 6, 0));
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 7, 3));
	rig_close(&R);
}

/* Between reading a chunk and naming it in a record a write lets pieces go that still
 * showed, and the zeros of a range lie below: it is not what was read any more. */
static void a_range_below_does_not_stand_for_what_was_read(void)
{
	uint8_t whole[CHUNK], part[2 * VMS_LB_BYTES], want[CHUNK] = {0}, x[CHUNK];
	struct wr w = {.branch = LIN, .gen = 1, .kind = VMS_WRITE_ZERO, .count = 8};
	struct drain_job *d = NULL;
	struct part *p;
	vms_addr a;

	up(0, 97, VMS_ACK_DISK);
	fill(whole, 1);
	fill(want, 2);
	memcpy(part, want, sizeof(part));
	memset(want + sizeof(part), 0, CHUNK - sizeof(part));
	CU_ASSERT_EQUAL(put(0, &w), 0);
	w = (struct wr){.branch = LIN, .gen = 1, .chunk = 5, .kind = VMS_WRITE_DATA, .data = whole};
	CU_ASSERT_EQUAL(put(0, &w), 0);
	w.data = part;
	w.mask = 0x03;
	CU_ASSERT_EQUAL(put(0, &w), 0);
	p = primary_part(0);
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_wal_gen_seal(node(i)->wal);
	for (int i = 0; i < 10000 && !(d && d->n == 2 && !d->reading); i++) {
		rig_step(&R);
		d = p->drain;
	}
	CU_ASSERT_TRUE_FATAL(d && d->n == 2 && d->next == 0);
	p->trims.n++; /* nothing is ordered meanwhile */
	w = (struct wr){.branch = LIN, .gen = 1, .chunk = 5, .kind = VMS_WRITE_ZERO, .mask = 0xfc};
	CU_ASSERT_EQUAL(put(0, &w), 0);
	p->trims.n--;
	drain_all();
	drain_all();
	CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
	corrupt_check();
	CU_ASSERT_EQUAL(corrupt, 0);
	CU_ASSERT_EQUAL(lba(1, LIN, VMS_GEN_LIVE, 0, 5, x, &a), 0);
	CU_ASSERT_EQUAL(memcmp(x, want, CHUNK), 0);
	rig_close(&R);
}

/* What an older layer has was copied forward, to above what is to be freed, and the
 * newer layer's was not: it comes along, else neither could ever go. */
static void older_layers_are_pulled_in(void)
{
	for (unsigned how = 0; how < 3; how++) {
		struct member *m;
		struct vms_node *n;

		up(0, 92 + how, VMS_ACK_DISK);
		n = node(0);
		primary_part(0)->trims.n++; /* no drains now */
		for (uint16_t i = 0; i < 10; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, i, 10 + i), 0);
		vms_wal_gen_seal(n->wal);
		next_gen(LIN, 2);
		clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
		if (how != 1)
			CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 20, 2), 0);
		if (how != 0)
			CU_ASSERT_EQUAL(put_seed(20, 1, 0, 21, 3), 0);
		vms_wal_gen_seal(n->wal);
		rig_run(&R, 400);
		drain_abort(n, primary_part(0)); /* it was listed before the copying */
		primary_part(0)->trims.n--;
		m = &primary_part(0)->m[1 - primary_part(0)->self];
		m->streaming = false; /* as if it were missing for a while */
		copy_forward(n);
		m->streaming = true;
		CU_ASSERT_TRUE(n->st.copied >= 10);
		CU_ASSERT_TRUE(ext_of(LIN, 1, 0)->chunks->newest->data_pos >
			       ext_of(how ? 20 : LIN, how ? 1 : 2, 0)->chunks->newest->data_pos);
		rig_run(&R, 5000);
		CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
		for (unsigned again = 0; again < 2; again++) {
			for (uint16_t i = 0; i < 10; i++) {
				CU_ASSERT_TRUE(shows(LIN, 1, 0, i, 10 + i));
				CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, i, 10 + i));
				CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, i, 10 + i));
			}
			CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 20, how == 1 ? 0 : 2));
			CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 21, how == 0 ? 0 : 3));
			for (unsigned i = 0; i < 2 && !again; i++)
				rig_node_crash(&R, i, true);
			for (unsigned i = 0; i < 2 && !again; i++)
				rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		}
		rig_close(&R);
	}
}

static uint32_t ext_of_part(uint32_t part, unsigned nth)
{
	for (uint32_t e = 0;; e++)
		if (part_of(e) == part && !nth--)
			return e;
}

/* A member is away for long: what the layers have is copied forward over and over, while
 * others drain; then power goes. Nothing drained comes back over newer layers (a replayed
 * older write would hide them), nothing undrained is lost under them. */
static void layers_through_copying_and_crashes(void)
{
	static uint8_t b[CHUNK];

	for (unsigned round = 0; round < 4; round++) {
		uint32_t e0, e2;
		struct vms_node *n;

		R.gen_bytes = 256 << 10;
		up(2, 100 + round, VMS_ACK_DISK);
		n = node(0);
		e0 = ext_of_part(0, 0);
		e2 = ext_of_part(2, 0);
		/* chunk by chunk: drained in layer 1; over it layer 2 drained; layer 2 not
		 * drained; layer 1 only, not drained; a clone's part over it */
		for (uint16_t i = 0; i < 60; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 1, e0, i, 1000 + i), 0);
		drain_all();
		for (uint16_t i = 60; i < 120; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 1, e0, i, 1000 + i), 0);
		next_gen(LIN, 2);
		clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, UINT32_MAX}}, 1);
		for (uint16_t i = 0; i < 120; i += 3)
			CU_ASSERT_EQUAL(put_seed(LIN, 2, e0, i, 2000 + i), 0);
		if (round & 1)
			drain_all();
		for (uint16_t i = 1; i < 120; i += 3) {
			struct wr w = {.branch = 20,
				       .gen = 1,
				       .extent = e0,
				       .chunk = i,
				       .mask = 0x40,
				       .data = b,
				       .kind = VMS_WRITE_DATA};

			CU_ASSERT_EQUAL(put(0, &w), 0);
		}
		CU_ASSERT_EQUAL(put_seed(20, 1, e0, 2, 0), 0);
		if (round &
		    2) /* drained, but its record is still in the log when the copying begins */
			for (unsigned i = 0; i < 3; i++) {
				vms_wal_gen_seal(node(i)->wal);
				primary_part(0)->scan_due = true;
				rig_run(&R, 8);
			}
		for (uint16_t i = 0; i < 20; i++) /* something to copy in any case */
			CU_ASSERT_EQUAL(put_seed(LIN, 2, ext_of_part(0, 1), i, 50 + i), 0);
		rig_node_crash(&R, 1, true);
		rig_run(&R, 100);
		for (unsigned i = 0; i < 3000; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 2, e2, (uint16_t)(i % 500), 3000 + i), 0);
		CU_ASSERT_TRUE(n->st.copied > 0);
		for (unsigned k = 0; k < 3; k++) {
			if (k < 2)
				rig_node_crash(&R, 0, true);
			if (k)
				rig_node_crash(&R, 2, true);
			for (unsigned i = 0; i < 3; i++)
				if (!node(i))
					rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 60000));
			for (uint16_t i = 0; i < 120; i++) {
				uint8_t want[CHUNK], x[CHUNK];
				vms_addr a;

				CU_ASSERT_TRUE(shows(LIN, 1, e0, i, 1000 + i));
				CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, e0, i,
						     i % 3 ? 1000 + i : 2000 + i));
				fill(want, 1000 + i);
				if (i % 3 == 1)
					memset(want + 6 * VMS_LB_BYTES, 0, VMS_LB_BYTES);
				if (i == 2)
					memset(want, 0, CHUNK);
				CU_ASSERT_EQUAL(lba(1, 20, VMS_GEN_LIVE, e0, i, x, &a), 0);
				CU_ASSERT_EQUAL(memcmp(x, want, CHUNK), 0);
			}
			if (k == 1)
				drain_all();
		}
		for (unsigned i = 0; i < 3; i++)
			CU_ASSERT_EQUAL(node(i)->st.corrupt, 0);
		R.gen_bytes = 0;
		rig_close(&R);
	}
}

/* A backup whose watch lags gets the drain of a clone it does not know: the record
 * waits, the others' too, and everything goes on when the branch arrives. */
static void records_wait_for_their_branch(void)
{
	struct part *p;
	bool waited = false;

	up(0, 95, VMS_ACK_DISK);
	p = node_part(node(1), 0);
	for (uint16_t i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, i, 10 + i), 0);
	next_gen(LIN, 2);
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
	for (uint16_t i = 5; i < 15; i++) {
		uint8_t b[VMS_LB_BYTES] = {(uint8_t)i};
		struct wr w = {.branch = 20,
			       .gen = 1,
			       .chunk = i,
			       .mask = 0x10,
			       .data = b,
			       .kind = VMS_WRITE_DATA};

		CU_ASSERT_EQUAL(put(0, &w), 0);
	}
	node_branch(node(1), 20, false)->known = false;
	vms_wal_gen_seal(node(0)->wal);
	primary_part(0)->scan_due = true;
	for (unsigned i = 0; i < 20000 && !waited; i++) {
		rig_step(&R);
		waited = p->branch_wait && p->applied < p->committed;
	}
	CU_ASSERT_TRUE(waited);
	rig_run(&R, 2000);
	CU_ASSERT_TRUE(node_branch_known(node(1), 20));
	CU_ASSERT_EQUAL(p->applied, p->committed);
	CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
	CU_ASSERT_EQUAL(node(0)->st.corrupt + node(1)->st.corrupt, 0);
	for (uint16_t i = 0; i < 10; i++) {
		uint8_t x[CHUNK], want[CHUNK];
		vms_addr a;

		fill(want, 10 + i);
		if (i >= 5) {
			memset(want + 4 * VMS_LB_BYTES, 0, VMS_LB_BYTES);
			want[4 * VMS_LB_BYTES] = (uint8_t)i;
		}
		CU_ASSERT_EQUAL(lba(1, 20, VMS_GEN_LIVE, 0, i, x, &a), 0);
		CU_ASSERT_EQUAL(memcmp(x, want, CHUNK), 0);
	}
	rig_close(&R);
}

static int trim_at(uint64_t branch, uint32_t extent, uint32_t chunk)
{
	int st = 0;

	for (unsigned i = 0; i < R.nnodes && !st; i++) {
		struct vms_msg m = {.type = VMS_MSG_TRIM,
				    .partition = VMS_PART_NONE,
				    .branch = branch,
				    .extent = extent,
				    .aux = chunk};
		struct rig_reply re;

		rig_send(&R, 1, i, &m, &re);
		st = rig_wait(&R, &re, 5000) ? re.status : VMS_E_TIMEOUT;
		rig_reply_free(&re);
	}
	return st;
}

/* TRIM cuts all versions of a branch; it is for volumes that stand alone. */
static void trim_is_for_volumes_that_stand_alone(void)
{
	R.gw[1].tool = true;
	up(1, 96, VMS_ACK_DISK);
	for (uint16_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, i, 10 + i), 0);
	drain_all();
	next_gen(LIN, 2);
	for (uint16_t i = 0; i < 8; i += 2)
		CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, i, 20 + i), 0);
	CU_ASSERT_EQUAL(trim_at(77, 0, 4), VMS_E_AGAIN);
	CU_ASSERT_EQUAL(trim_at(LIN, 0, 4), 0);
	R.gw[1].tool = false;
	rig_gw_restart(&R, 1);
	connect_all();
	for (unsigned drained = 0; drained < 2; drained++) {
		for (uint16_t i = 0; i < 8; i++) {
			CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, i,
					     i >= 4 ? 0 : 10 + i + (i % 2 ? 0 : 10)));
			CU_ASSERT_TRUE(shows(LIN, 1, 0, i, i < 4 ? 10 + i : 0));
		}
		drain_all();
	}
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
	R.gw[1].tool = true;
	rig_gw_restart(&R, 1);
	connect_all();
	CU_ASSERT_EQUAL(trim_at(LIN, 0, 2), VMS_E_UNSUPPORTED);
	CU_ASSERT_EQUAL(trim_at(20, 0, 2), VMS_E_UNSUPPORTED);
	R.gw[1].tool = false;
	rig_gw_restart(&R, 1);
	connect_all();
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 3, 13));
	rig_close(&R);
}

/* ---- many branches, many numbers, against a model ---- */

#define NEXT  3u
#define NCH   150u /* chunks from 60 on: over a sub-extent's edge */
#define CH0   60u
#define NVIEW 40u

struct content {
	uint8_t d[NEXT][NCH][8]; /* value of each sector; 0: zeros */
};
struct view { /* a live branch, or a snapshot */
	uint64_t branch, gen;
	bool live;
	struct vms_cat_branch rec;
	struct content c;
};
static struct view V[NVIEW];
static unsigned nview, bad;
static VMS_VEC(struct {
	vms_addr a;
	uint32_t crc;
}) seen_addr;

static void sector(uint8_t *b, uint8_t v, uint32_t ext, unsigned ch, unsigned s)
{
	memset(b, v, VMS_LB_BYTES);
	if (v) {
		vms_put_le32(b, ext);
		vms_put_le32(b + 4, ch * 8 + s);
	}
}

static void model_chunk(const struct view *v, uint32_t ext, unsigned ch, uint8_t *out)
{
	for (unsigned s = 0; s < 8; s++)
		sector(out + s * VMS_LB_BYTES, v->c.d[ext][ch][s], ext, ch, s);
}

/* An address never names other content. */
static void addr_seen(vms_addr a, uint32_t crc)
{
	if (a <= VMS_ADDR_ASK)
		return;
	for (size_t i = 0; i < seen_addr.n; i++)
		if (seen_addr.d[i].a == a) {
			if (seen_addr.d[i].crc != crc && bad++ < 5)
				fprintf(stderr, "address %llx names other content now\n",
					(unsigned long long)a);
			return;
		}
	VMS_VEC_RESERVE(&seen_addr, seen_addr.n + 1);
	seen_addr.d[seen_addr.n].a = a;
	seen_addr.d[seen_addr.n++].crc = crc;
}

/* All chunks of one extent as the view's readers see them. */
static void check_extent(const struct view *v, uint32_t ext)
{
	uint8_t body[2 * NCH], want[CHUNK];
	uint64_t gen = v->live ? VMS_GEN_LIVE : v->gen;

	for (unsigned i = 0; i < NCH; i++)
		vms_put_le16(body + 2 * i, (uint16_t)(CH0 + i));
	for (int tries = 0; tries < 50; tries++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = part_of(ext),
				    .branch = v->branch,
				    .snap_gen = gen,
				    .extent = ext,
				    .body = body,
				    .body_bytes = sizeof(body)};
		struct rig_reply re;
		const uint8_t *at;
		bool again = false;

		if (ask(1, &m, &re, 800)) {
			bad++;
			return;
		}
		at = re.payload;
		for (unsigned i = 0; i < NCH; i++) {
			const uint8_t *b = re.body + 16 * i;
			int16_t st = (int16_t)vms_get_le16(b + 12);
			vms_addr a = vms_get_le64(b);
			uint8_t zero[CHUNK] = {0};

			model_chunk(v, ext, i, want);
			if (st == VMS_E_GONE || st == VMS_E_UNKNOWN) {
				again = true;
				continue;
			}
			if (st || memcmp(want, a ? at : zero, CHUNK)) {
				if (bad++ < 5)
					fprintf(stderr,
						"branch %llu gen %lld extent %u chunk %u: status "
						"%d "
						"value %u want %u addr %llx\n",
						(unsigned long long)v->branch, (long long)gen, ext,
						i, st, a && !st ? at[100] : 0, want[100],
						(unsigned long long)a);
			} else if (a) {
				addr_seen(a, vms_get_le32(b + 8));
			}
			if (a && !st)
				at += CHUNK;
		}
		rig_reply_free(&re);
		if (!again)
			return;
		rig_run(&R, 10);
	}
	bad++;
}

/* A page's entries, read by address. */
static void check_page(const struct view *v, uint32_t ext)
{
	vms_addr e[VMS_SUBEXT_CHUNKS];
	uint8_t want[CHUNK], x[CHUNK];
	unsigned sub = (unsigned)vms_rng_below(&R.rng, 2);

	if (pages(0, v->branch, v->live ? VMS_GEN_LIVE : v->gen, ext, sub, e)) {
		bad++;
		return;
	}
	for (int k = 0; k < 8; k++) {
		unsigned ch = (unsigned)vms_rng_below(&R.rng, NCH), c = CH0 + ch;
		int st = 0;

		if (c / VMS_SUBEXT_CHUNKS != sub)
			continue;
		c %= VMS_SUBEXT_CHUNKS;
		model_chunk(v, ext, ch, want);
		if (e[c] == VMS_ADDR_ASK)
			continue;
		memset(x, 0, CHUNK);
		if (e[c])
			st = addr_read(0, e[c], x);
		if (st == VMS_E_GONE || st == VMS_E_UNKNOWN)
			continue;
		if (st || memcmp(x, want, CHUNK)) {
			if (bad++ < 5)
				fprintf(stderr,
					"page of branch %llu extent %u chunk %u: status %d\n",
					(unsigned long long)v->branch, ext, ch, st);
		} else {
			addr_seen(e[c], vms_crc32c(0, x, CHUNK));
			if (e[c] && !addr_safe(e[c], v->branch) && bad++ < 5)
				fprintf(stderr, "address %llx is not durable everywhere\n",
					(unsigned long long)e[c]);
		}
	}
}

static void check_everything(void)
{
	for (unsigned i = 0; i < nview && bad < 5; i++)
		for (uint32_t e = 0; e < NEXT; e++)
			check_extent(&V[i], e);
}

static struct view *pick(bool live)
{
	for (;;) {
		struct view *v = &V[vms_rng_below(&R.rng, nview)];

		if (v->live == live)
			return v;
	}
}

static unsigned count(bool live)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nview; i++)
		n += V[i].live == live;
	return n;
}

static void volume_of(const struct view *v, unsigned ack)
{
	rig_volume_put(&R, (struct vms_cat_volume){.branch = v->branch,
						   .lineage = LIN,
						   .snap_gen = v->gen,
						   .lun_fence = 1,
						   .write_ack = (uint8_t)ack});
}

/* In memory mode one at a time: no loss is allowed. */
static void arm_crash(unsigned ack)
{
	if (ack == VMS_ACK_MEMORY)
		CU_ASSERT_TRUE(rig_wait_active(&R, 60000));
	crash.after = (unsigned)vms_rng_below(&R.rng, 30);
	crash.nodes = ack == VMS_ACK_MEMORY
			      ? 1u << vms_rng_below(&R.rng, R.nnodes)
			      : (unsigned)vms_rng_between(&R.rng, 1, (1u << R.nnodes) - 1);
	crash.power = vms_rng_below(&R.rng, 2);
}

static void take_snapshot(struct view *v, unsigned ack)
{
	struct view *s = &V[nview];
	struct vms_cat_snap rec = {.id = v->branch,
				   .branch = v->branch,
				   .snap_gen = v->gen,
				   .size_bytes = 1 << 30,
				   .state = 2};
	char key[VMS_CAT_KEY_BYTES_MAX];

	*s = *v;
	s->live = false;
	v->gen++;
	snprintf(rec.volume, sizeof(rec.volume), "v%llu", (unsigned long long)v->branch);
	snprintf(rec.name, sizeof(rec.name), "s%llu", (unsigned long long)s->gen);
	CU_ASSERT_EQUAL(vms_cat_key_snap(key, rec.volume, rec.name, NULL), 0);
	rig_put(&R, key, vms_cat_snap_encode(&rec));
	volume_of(v, ack);
	if (floor_all(v->branch, v->gen, VMS_F_FUA))
		bad++;
	nview++;
}

static void take_clone(const struct view *s, uint64_t number, unsigned ack)
{
	struct view *c = &V[nview];
	uint64_t limit = UINT32_MAX;

	*c = *s;
	c->live = true;
	c->branch = number;
	c->gen = vms_rng_between(&R.rng, 1, 3);
	if (vms_rng_below(&R.rng, 2)) /* a smaller one */
		limit = vms_rng_below(&R.rng, NEXT) * VMS_EXTENT_CHUNKS + CH0 +
			vms_rng_below(&R.rng, NCH);
	c->rec = (struct vms_cat_branch){.branch = number, .lineage = LIN, .nancestors = 1};
	c->rec.ancestor[0] = (struct vms_cat_ancestor){s->branch, s->gen, limit};
	for (unsigned i = 0; i < s->rec.nancestors && c->rec.nancestors < VMS_ANCESTORS_MAX; i++)
		c->rec.ancestor[c->rec.nancestors++] = s->rec.ancestor[i];
	for (uint64_t e = 0; e < NEXT; e++)
		for (uint64_t ch = 0; ch < NCH; ch++)
			if (e * VMS_EXTENT_CHUNKS + CH0 + ch >= limit)
				memset(c->c.d[e][ch], 0, 8);
	rig_branch_put(&R, c->rec);
	volume_of(c, ack);
	if (floor_all(number, c->gen, VMS_F_FUA))
		bad++;
	nview++;
	for (uint32_t e = 0; e < NEXT; e++)
		check_extent(c, e);
}

static void change(struct view *v, unsigned ack, bool mid_crash)
{
	static uint8_t buf[2 * CHUNK];
	uint32_t ext = (uint32_t)vms_rng_below(&R.rng, NEXT);
	unsigned ch = (unsigned)vms_rng_below(&R.rng, NCH), k = 0;
	uint8_t val = (uint8_t)vms_rng_between(&R.rng, 1, 255);
	unsigned what = (unsigned)vms_rng_below(&R.rng, 100);
	struct wr w = {.branch = v->branch,
		       .gen = v->gen,
		       .extent = ext,
		       .mask = 0xff,
		       .chunk = (uint16_t)(CH0 + ch),
		       .data = buf,
		       .count = 1,
		       .flags = ack == VMS_ACK_MEMORY ? VMS_F_MEMORY : 0};
	int st;

	if (mid_crash)
		arm_crash(ack);
	if (what < 25) {
		w.kind = VMS_WRITE_ZERO;
		w.count = (uint16_t)vms_rng_between(&R.rng, 1, what < 15 ? 4 : NCH);
		if (w.count > NCH - ch)
			w.count = (uint16_t)(NCH - ch);
		if (w.count == 1)
			w.mask = (uint8_t)vms_rng_between(&R.rng, 1, 255);
		val = 0;
	} else {
		w.kind = what < 35 ? VMS_WRITE_CAW : VMS_WRITE_DATA;
		if (what < 65)
			w.mask = (uint8_t)vms_rng_between(&R.rng, 1, 255);
		for (unsigned s = 0; s < 8 && w.kind == VMS_WRITE_CAW; s++)
			if (w.mask >> s & 1)
				sector(buf + VMS_LB_BYTES * k++, v->c.d[ext][ch][s], ext, ch, s);
		for (unsigned s = 0; s < 8; s++)
			if (w.mask >> s & 1)
				sector(buf + VMS_LB_BYTES * k++, val, ext, ch, s);
	}
	st = put(0, &w);
	if (st == VMS_E_BUSY || st == VMS_E_TOO_OLD)
		return;
	if (st && bad++ < 5)
		fprintf(stderr, "write of kind %u: %s\n", w.kind, vms_err_name(st));
	for (unsigned c = ch; !st && c < ch + w.count; c++)
		for (unsigned s = 0; s < 8; s++)
			if (w.mask >> s & 1)
				v->c.d[ext][c][s] = val;
}

static void model_up(uint64_t seed, unsigned ack)
{
	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	bad = corrupt = 0;
	crash.nodes = 0;
	up(1, seed, ack);
	memset(V, 0, sizeof(V));
	nview = 1;
	V[0] = (struct view){.branch = LIN, .gen = 1, .live = true};
}

static void model_down(void)
{
	CU_ASSERT_EQUAL(bad, 0);
	corrupt_check();
	CU_ASSERT_EQUAL(corrupt, 0);
	for (unsigned i = 0; i < R.nnodes; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	VMS_VEC_FREE(&seen_addr);
	R.gen_bytes = 0;
	R.container_bytes = 0;
	rig_close(&R);
}

static void model_run(uint64_t seed, unsigned ack, unsigned rounds, unsigned crashes)
{
	uint64_t number = 20;

	model_up(seed, ack);
	for (unsigned i = 0; i < rounds && bad < 5; i++) {
		unsigned what = (unsigned)vms_rng_below(&R.rng, 1000);

		if (what < 18 && vms_rng_below(&R.rng, 1000) < crashes * 20)
			arm_crash(ack);
		if (what < 12 && nview < NVIEW - 4)
			take_snapshot(pick(true), ack);
		else if (what < 18 && nview < NVIEW && count(false) && count(true) < 8)
			take_clone(pick(false), number++, ack);
		else if (what < 100)
			check_extent(&V[vms_rng_below(&R.rng, nview)],
				     (uint32_t)vms_rng_below(&R.rng, NEXT));
		else if (what < 200)
			check_page(&V[vms_rng_below(&R.rng, nview)],
				   (uint32_t)vms_rng_below(&R.rng, NEXT));
		else
			change(pick(true), ack, vms_rng_below(&R.rng, 1000) < crashes);
		if (i % 400 == 399)
			rig_run(&R, vms_rng_below(&R.rng, 7000));
	}
	CU_ASSERT_TRUE(rig_wait_active(&R, 60000));
	check_everything();
	rig_run(&R, 12000);
	check_everything();
	model_down();
}

static void model_without_crashes(void)
{
	for (uint64_t s = 1; s <= 3; s++)
		model_run(200 + s, VMS_ACK_DISK, 4000, 0);
}

static void model_with_crashes(void)
{
	uint64_t first = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 300;
	unsigned seeds = getenv("SEEDS") ? (unsigned)atoi(getenv("SEEDS")) : 6;

	for (uint64_t s = 0; s < seeds; s++) {
		model_run(first + s, s % 3 == 2 ? VMS_ACK_MEMORY : VMS_ACK_DISK, 3000, 10);
		if (bad) {
			fprintf(stderr, "SEED=%llu\n", (unsigned long long)(first + s));
			break;
		}
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(a_volume_counts_only_with_its_branch),
	VMS_TEST(a_volume_without_record_has_no_ancestors),
	VMS_TEST(ancestors_must_be_older),
	VMS_TEST(numbers_never_go_down),
	VMS_TEST(a_loss_is_told_per_volume),
	VMS_TEST(a_part_over_a_snapshot),
	VMS_TEST(stubs_of_older_layers_hold),
	VMS_TEST(answers_know_of_newer_numbers),
	VMS_TEST(seeks_per_layer),
	VMS_TEST(floor_settles_memory_mode),
	VMS_TEST(floor_waits_for_what_was_ordered),
	VMS_TEST(many_snapshots_do_not_pile_up_layers),
	VMS_TEST(only_readers_of_the_present_are_told),
	VMS_TEST(a_clone_tells_what_is_its_own),
	VMS_TEST(a_pinned_chunk_with_a_newer_write_holds_newer_layers),
	VMS_TEST(a_range_below_does_not_stand_for_what_was_read),
	VMS_TEST(older_layers_are_pulled_in),
	VMS_TEST(layers_through_copying_and_crashes),
	VMS_TEST(records_wait_for_their_branch),
	VMS_TEST(trim_is_for_volumes_that_stand_alone),
	VMS_TEST(model_without_crashes),
	VMS_TEST(model_with_crashes),
};

VMS_TEST_MAIN("node snapshots", tests)
