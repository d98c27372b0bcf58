// SPDX-License-Identifier: GPL-2.0-only
/* Storage node core: branches, snapshots and clones over simulated disks. */
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"

#define LIN   7ull /* lineage of all branches here, and its first branch */
#define CHUNK VMS_CHUNK_BYTES

static struct rig R;

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
	struct vms_msg m = {.type = VMS_MSG_WRITE, .partition = part_of(w->extent),
			    .branch = w->branch, .snap_gen = w->gen, .lun_fence = 1,
			    .extent = w->extent, .flags = w->flags, .slot = 1};
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
		struct vms_msg m = {.type = VMS_MSG_READ_LBA, .partition = part_of(extent),
				    .branch = branch, .snap_gen = gen, .extent = extent,
				    .body = body, .body_bytes = 2};

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
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES, .partition = part_of(extent),
			    .branch = branch, .snap_gen = gen, .extent = extent,
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
	struct wr w = {.branch = branch, .gen = gen, .extent = extent, .chunk = chunk, .data = b,
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
		struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE,
				    .branch = branch, .snap_gen = gen, .lun_fence = 1,
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
			if (!rig_wait(&R, &re, 20000))
				return VMS_E_TIMEOUT;
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

static struct vms_node *node(unsigned i)
{
	return R.node[i].n;
}

static void a_volume_counts_only_with_its_branch(void)
{
	uint8_t b[CHUNK] = {1};
	struct wr w = {.branch = 20, .gen = 1, .kind = VMS_WRITE_DATA, .data = b, .tries = 1};
	vms_addr e[VMS_SUBEXT_CHUNKS];
	struct vms_msg m = {.type = VMS_MSG_FLOOR, .partition = VMS_PART_NONE, .branch = 20};
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
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 20, .lineage = LIN, .salted = true,
						   .salt = {9}, .nancestors = 1,
						   .ancestor = {{LIN, 1, 100}}});
	while (!node_volume(node(0), 20, true)->known)
		rig_step(&R);
	CU_ASSERT_FALSE(node_branch_known(node(0), 20));
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
	rig_volume_put(&R, (struct vms_cat_volume){.branch = 30, .lineage = LIN, .snap_gen = 4,
						   .dedup = true});
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
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 20, .lineage = LIN, .nancestors = 1,
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
	rig_branch_put(&R, (struct vms_cat_branch){.branch = 9, .lineage = LIN, .owner = LIN,
						   .nancestors = 1,
						   .ancestor = {{LIN, 1, 1 << 20}}});
	rig_volume_put(&R, (struct vms_cat_volume){.name = "v7", .id = LIN, .branch = 9,
						   .lineage = LIN, .snap_gen = 2,
						   .write_ack = VMS_ACK_MEMORY});
	rig_run(&R, 50);
	{
		uint8_t b[CHUNK] = {1};
		struct wr w = {.branch = 9, .gen = 2, .kind = VMS_WRITE_DATA, .data = b,
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
		struct vms_msg m = {.type = VMS_MSG_FLUSH, .partition = VMS_PART_NONE, .branch = br};
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

static const struct vms_test tests[] = {
	VMS_TEST(a_volume_counts_only_with_its_branch),
	VMS_TEST(a_volume_without_record_has_no_ancestors),
	VMS_TEST(ancestors_must_be_older),
	VMS_TEST(numbers_never_go_down),
	VMS_TEST(a_loss_is_told_per_volume),
};

VMS_TEST_MAIN("node snapshots", tests)
