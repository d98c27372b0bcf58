// SPDX-License-Identifier: GPL-2.0-only
/* Deduplication in the background: what drains missed becomes one copy. */
#include "backend/match.h"
#include "backend/match_int.h"
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

/* ---- state ---- */

static void match_on(bool on)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].n)
			R.node[i].n->conf.dedup_background = on;
	R.match = on;
}

static struct match_stats sum(void)
{
	struct match_stats t = {0};

	for (unsigned i = 0; i < R.nnodes; i++) {
		const struct match_stats *s = R.node[i].n ? match_stats(R.node[i].n) : NULL;

		for (size_t k = 0; s && k < sizeof(t) / 8; k++)
			((uint64_t *)&t)[k] += ((const uint64_t *)s)[k];
	}
	return t;
}

static vms_addr entry(const struct v_vol *v, uint64_t branch, uint64_t gen, uint32_t ext,
		      unsigned ch)
{
	uint32_t number = v_part(v, ext);
	struct vms_node *n = R.node[rig_primary(&R, number)].n;
	struct part *p = node_part(n, number);
	struct vms_page page;
	struct seen s;

	if (part_see(n, p, branch, ext, gen, &s) ||
	    part_page(n, p, &s, ch / VMS_SUBEXT_CHUNKS, &page))
		return VMS_ADDR_HOLE;
	return page.entry[ch % VMS_SUBEXT_CHUNKS];
}

static vms_addr live(const struct v_vol *v, uint32_t ext, unsigned ch)
{
	return entry(v, v->branch, VMS_GEN_LIVE, ext, ch);
}

struct copy {
	uint32_t id;
	vms_addr a;
};

static int copy_cmp(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->a < y->a ? -1 : x->a > y->a;
}

/* Copies beyond one per content, over all volumes and snapshots. */
static unsigned surplus(void)
{
	VMS_VEC(struct copy) c = VMS_VEC_INIT;
	unsigned k = 0;

	for (unsigned i = 0; i < V_VOLS; i++)
		for (unsigned s = 0; V[i].used && s <= V_SNAPS; s++) {
			const struct v_snap *sn = s < V_SNAPS ? &V[i].snap[s] : NULL;
			const struct v_image *img = sn ? &sn->img : &V[i].img;

			if (sn && !sn->used)
				continue;
			for (uint32_t e = 0; e < V_EXTS; e++)
				for (unsigned x = 0; x < V_CHS; x++) {
					struct copy o = {img->id[e][x], 0};

					if (!o.id)
						continue;
					o.a = sn ? entry(&V[i], sn->branch, sn->gen, e, x)
						 : live(&V[i], e, x);
					if (o.a)
						VMS_VEC_PUSH(&c, o);
				}
		}
	if (c.n)
		qsort(c.d, c.n, sizeof(*c.d), copy_cmp);
	for (size_t i = 1; i < c.n; i++)
		k += c.d[i].id == c.d[i - 1].id && c.d[i].a != c.d[i - 1].a;
	VMS_VEC_FREE(&c);
	return k;
}

static void up(unsigned copies, unsigned bits, uint64_t seed, bool on, unsigned fp_bits)
{
	R.match = on;
	R.fp_bits = fp_bits;
	v_up(3, copies, bits, seed);
}

static void down(void)
{
	v_down();
	R.match = false;
	R.fp_bits = 0;
}

/* The same chunks in every volume, all in one generation, in all partitions. */
static void put_same(unsigned vols, unsigned chunks, uint32_t id)
{
	for (unsigned i = 0; i < chunks; i++)
		for (unsigned v = 0; v < vols; v++)
			v_write(&V[v], (i / 40 + v) % V_EXTS, i % 40 + 3 * v, id + i);
}

/* ---- tests ---- */

/* Duplicates of one generation, in other partitions, nodes, volumes: one copy, the
 * others are given back to the disk. */
static void test_generation(void)
{
	uint64_t before, chunks = 120;
	unsigned k;

	up(2, 3, 41, false, 0);
	for (unsigned i = 0; i < 3; i++)
		v_create(i);
	v_learn();
	put_same(3, (unsigned)chunks, 1000);
	v_drain();
	rig_run(&R, 12000);
	k = surplus();
	before = v_ctr_bytes();
	CU_ASSERT_TRUE(k >= chunks);
	/* switched off: it stays so */
	rig_run(&R, 60000);
	CU_ASSERT_EQUAL(surplus(), k);
	CU_ASSERT_EQUAL(sum().passes, 0);
	match_on(true);
	CU_ASSERT_TRUE(V_WAIT(60000, surplus() == 0));
	CU_ASSERT_TRUE(sum().pairs >= k);
	CU_ASSERT_TRUE(sum().remapped >= k);
	v_check_all("remapped");
	CU_ASSERT_TRUE(V_WAIT(60000, v_ctr_bytes() + k * V_CHUNK <= before));
	printf("[%u copies too many, %llu KiB, then %llu KiB] ", k,
	       (unsigned long long)before >> 10, (unsigned long long)v_ctr_bytes() >> 10);
	v_check_all("collected");
	for (unsigned i = 0; i < 3; i++)
		rig_node_crash(&R, i, true);
	for (unsigned i = 0; i < 3; i++)
		rig_node_start(&R, i);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_check_all("restarted");
	CU_ASSERT_EQUAL(surplus(), 0);
	down();
}

/* Nothing new: no more passes. */
static void test_quiet(void)
{
	uint64_t passes;

	up(2, 2, 42, true, 0);
	v_create(0);
	v_create(1);
	v_learn();
	put_same(2, 80, 2000);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(60000, surplus() == 0));
	rig_run(&R, 60000);
	passes = sum().passes;
	rig_run(&R, 120000);
	CU_ASSERT_EQUAL(sum().passes, passes);
	put_same(2, 80, 3000);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(60000, surplus() == 0));
	CU_ASSERT_TRUE(sum().passes > passes);
	v_check_all("quiet");
	down();
}

/* What a snapshot shows is remapped too, and stays what it was. */
static void test_snapshot(void)
{
	struct v_vol *a, *b;

	up(2, 3, 43, false, 0);
	a = v_create(0);
	b = v_create(1);
	v_learn();
	put_same(2, 80, 4000);
	v_drain();
	v_snap(b, 0);
	v_clone(2, b, 0);
	for (unsigned i = 0; i < 80; i++)
		v_write(b, (i / 40 + 1) % V_EXTS, i % 40 + 3, 9000 + i);
	v_drain();
	v_snap(b, 1);
	CU_ASSERT_TRUE(surplus() >= 40);
	match_on(true);
	CU_ASSERT_TRUE(V_WAIT(90000, surplus() == 0));
	CU_ASSERT_EQUAL(entry(b, b->snap[0].branch, b->snap[0].gen, 1, 3), live(a, 0, 0));
	v_check_all("snapshot");
	down();
}

static struct part *led(uint32_t part)
{
	return node_part(R.node[rig_primary(&R, part)].n, part);
}

static bool order(uint32_t part, struct vms_rec *r)
{
	struct vms_node *n = R.node[rig_primary(&R, part)].n;
	int rc = part_order(n, led(part), r, NULL, 0);

	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 200);
	return rc == 0;
}

/* A duplicate that pages of other partitions name: all of them change. */
static void test_wide(void)
{
	struct v_vol *v[3];
	uint32_t ext[3], hi = 0;
	uint64_t id = 50000;
	vms_addr dup;
	unsigned k;

	up(1, 2, 44, false, 0);
	for (unsigned i = 0; i < 3; i++) {
		/* partitions 0, 1, 2: one on each node */
		struct v_vol at = {.lineage = v_next_branch};

		for (ext[i] = 0; v_part(&at, ext[i]) != i;)
			if (++ext[i] == V_EXTS) {
				ext[i] = 0;
				at.lineage = ++v_next_branch;
			}
		v[i] = v_create(i);
	}
	v_learn();
	for (unsigned c = 0; c < 20; c++) {
		v_write(v[0], ext[0], c, (uint32_t)id + c);
		v_write(v[1], ext[1], c, (uint32_t)id + c);
		v_write(v[2], ext[2], c, (uint32_t)id + 100 + c);
	}
	v_drain();
	rig_run(&R, 6000);
	CU_ASSERT_TRUE(surplus() >= 20);
	/* volume 2 refers to the copies in partition 1 */
	hi = 1;
	for (unsigned c = 0; c < 20; c++) {
		struct vms_rec r = {.type = VMS_REC_SHARE, .flags = VMS_RF_INTERNAL};
		struct vms_move m = {.branch = v[2]->branch,
				     .snap_gen = 1,
				     .extent = ext[2],
				     .chunk = (uint16_t)c,
				     .valid = VMS_MASK_FULL,
				     .flags = VMS_MOVE_REF};
		uint8_t meta[VMS_MOVES_META_MAX];

		dup = live(v[hi], ext[hi], c);
		CU_ASSERT_EQUAL(vms_addr_partition(dup, R.part_bits), 1);
		if (!c) {
			vms_put_le64(meta, vms_addr_container(dup));
			r.meta = meta;
			r.meta_bytes = 8;
			CU_ASSERT_TRUE(order(1, &r));
		}
		r = (struct vms_rec){.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
		m.from_seq = live(v[2], ext[2], c);
		m.to = dup;
		vms_rec_moves_put(&r, meta, &m, 1);
		CU_ASSERT_TRUE(order(2, &r));
		CU_ASSERT_EQUAL(live(v[2], ext[2], c), dup);
		v[2]->img.id[ext[2]][c] = (uint32_t)id + c;
	}
	v_check_all("referred to");
	match_on(true);
	CU_ASSERT_TRUE(V_WAIT(60000, surplus() == 0));
	k = 0;
	for (unsigned c = 0; c < 20; c++) {
		CU_ASSERT_EQUAL(live(v[2], ext[2], c), live(v[0], ext[0], c));
		k += vms_addr_partition(live(v[1], ext[1], c), R.part_bits) == 0;
	}
	CU_ASSERT_EQUAL(k, 20);
	v_check_all("wide");
	rig_run(&R, 30000);
	v_check_all("wide, collected");
	down();
}

#define STEP_UNTIL(cond)                                                                           \
	({                                                                                         \
		uint64_t end_ = R.now_us + 60000000;                                               \
		while (!(cond) && R.now_us < end_ && rig_step(&R))                                 \
			;                                                                          \
		(cond);                                                                            \
	})

static bool walking(void)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].n && R.node[i].n->match->walking)
			return true;
	return false;
}

/* Overwrites, drained while pages are changed: the newer content wins, always. */
static void test_race(void)
{
	up(2, 2, 45, true, 0);
	v_create(0);
	v_create(1);
	v_learn();
	for (unsigned round = 0; round < 8; round++) {
		put_same(2, 100, 20000 + 1000 * round);
		v_drain();
		/* new content, its drains race with the walk */
		for (unsigned i = 0; i < 100; i += 2)
			v_write(&V[round & 1], (i / 40 + (round & 1)) % V_EXTS,
				i % 40 + 3 * (round & 1), 60000 + 1000 * round + i);
		if (!STEP_UNTIL(walking()))
			continue;
		for (unsigned i = 0; i < R.nnodes; i++)
			vms_wal_gen_seal(R.node[i].n->wal);
		rig_run(&R, 300);
		v_check_all("race");
	}
	CU_ASSERT_TRUE(sum().remapped > 100);
	CU_ASSERT_TRUE(V_WAIT(120000, surplus() == 0));
	v_check_all("raced");
	down();
}

/* Few contents, many places; crashes at any step. */
static void model(uint64_t seed, unsigned fp_bits, bool power)
{
	uint64_t remapped = 0;

	up(2, 3, seed, true, fp_bits);
	for (unsigned i = 0; i < 3; i++)
		v_create(i);
	v_learn();
	for (unsigned round = 0; round < 8 && !v_bad; round++) {
		unsigned nd = (unsigned)vms_rng_below(&R.rng, 3);

		for (unsigned i = 0; i < 60 && !v_bad; i++) {
			struct v_vol *v = &V[vms_rng_below(&R.rng, 3)];
			uint32_t e = (uint32_t)vms_rng_below(&R.rng, V_EXTS);
			unsigned c = (unsigned)vms_rng_below(&R.rng, V_CHS - 10);

			for (unsigned k = (unsigned)vms_rng_between(&R.rng, 1, 10); k; k--, c++)
				v_write(v, e, c, (uint32_t)vms_rng_between(&R.rng, 1, 40));
		}
		if (round == 3)
			v_snap(&V[0], 0);
		if (round == 5)
			v_clone(3, &V[0], 0);
		for (unsigned i = 0; i < R.nnodes; i++)
			vms_wal_gen_seal(R.node[i].n->wal);
		rig_run(&R, vms_rng_below(&R.rng, 14000));
		for (unsigned i = (unsigned)vms_rng_below(&R.rng, 400); i; i--)
			rig_step(&R);
		remapped += sum().remapped;
		rig_node_crash(&R, nd, power);
		if (vms_rng_below(&R.rng, 3) == 0)
			rig_node_crash(&R, (nd + 1) % 3, power);
		rig_run(&R, vms_rng_below(&R.rng, 300));
		for (unsigned i = 0; i < R.nnodes; i++)
			if (!R.node[i].n)
				rig_node_start(&R, i);
		CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
		v_check_all("crashed");
	}
	v_drain();
	if (!fp_bits && !V_WAIT(180000, surplus() == 0))
		v_fail("seed %llu: %u copies too many", (unsigned long long)seed, surplus());
	rig_run(&R, 30000);
	CU_ASSERT_TRUE(remapped > 0);
	v_check_all("settled");
	down();
}

static void test_model(void)
{
	for (uint64_t s = 0; s < 4; s++)
		model(900 + s, 0, s & 1);
}

/* Prefixes of 4 bits: most pairs are wrong, the full fingerprint decides. */
static void test_short_keys(void)
{
	model(950, 4, true);
	model(951, 16, false);
}

/* What others send is not trusted. */
static void test_hostile(void)
{
	uint8_t body[64] = {0};
	struct vms_node *n;

	up(1, 2, 46, true, 0);
	n = R.node[0].n;
	CU_ASSERT_EQUAL(match_take_pairs(n, body, 0), VMS_E_PROTO);
	CU_ASSERT_EQUAL(match_take_pairs(n, body, 17), VMS_E_PROTO);
	CU_ASSERT_EQUAL(match_take_pairs(n, body, 16), VMS_E_PROTO);
	CU_ASSERT_EQUAL(match_take_remap(n, body, 24, false), VMS_E_PROTO);
	CU_ASSERT_EQUAL(match_take_remap(n, body, 25, false), VMS_E_PROTO);
	/* never from a lower to a higher address */
	vms_put_le64(body, vms_addr_make(1, 8192));
	vms_put_le64(body + 8, vms_addr_make(2, 8192));
	CU_ASSERT_EQUAL(match_take_pairs(n, body, 16), VMS_E_PROTO);
	CU_ASSERT_EQUAL(match_take_remap(n, body, 24, false), VMS_E_PROTO);
	vms_put_le64(body + 8, vms_addr_make(1, 8192));
	CU_ASSERT_EQUAL(match_take_pairs(n, body, 16), VMS_E_PROTO);
	/* places that do not exist: taken, and nothing comes of it */
	vms_put_le64(body, vms_addr_make(7, 8192));
	CU_ASSERT_EQUAL(match_take_pairs(n, body, 16), 0);
	CU_ASSERT_EQUAL(match_take_remap(n, body, 24, false), 0);
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(sum().pairs, 0);
	CU_ASSERT_EQUAL(sum().remapped, 0);
	down();
}

/* A confirmation from before the partition's own mark is worth nothing. */
static void test_stamp(void)
{
	uint8_t body[MATCH_REMAP_BYTES];
	vms_addr a, b;
	uint32_t part;
	uint64_t k;

	up(2, 2, 47, false, 0);
	v_create(0);
	v_create(1);
	v_learn();
	put_same(2, 30, 7000);
	v_drain();
	rig_run(&R, 6000);
	a = live(&V[0], 0, 0);
	b = live(&V[1], 1, 3);
	part = v_part(&V[0], 0);
	if (a < b) {
		vms_addr x = a;

		a = b;
		b = x;
		part = v_part(&V[1], 1);
	}
	CU_ASSERT_NOT_EQUAL_FATAL(a, b);
	rig_put(&R, "gc", strdup("{\"cycle\": 3}"));
	CU_ASSERT_TRUE(V_WAIT(20000, led(part)->gc_cycle >= 3));
	k = led(part)->gc_cycle;
	match_on(true);
	for (unsigned i = 0; i < R.nnodes; i++) /* none of its own */
		R.node[i].n->match->next_ms = UINT64_MAX;
	vms_put_le64(body, a);
	vms_put_le64(body + 8, b);
	vms_put_le64(body + 16, k - 1);
	CU_ASSERT_EQUAL(
		match_take_remap(R.node[rig_primary(&R, part)].n, body, sizeof(body), false), 0);
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(sum().remapped, 0);
	vms_put_le64(body + 16, led(part)->gc_cycle);
	CU_ASSERT_EQUAL(
		match_take_remap(R.node[rig_primary(&R, part)].n, body, sizeof(body), false), 0);
	rig_run(&R, 5000);
	CU_ASSERT_EQUAL(sum().remapped, 1);
	CU_ASSERT_EQUAL(live(&V[0], 0, 0), b);
	CU_ASSERT_EQUAL(live(&V[1], 1, 3), b);
	v_check_all("stamp");
	down();
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_MATCH_TRUST, test_short_keys));
	CU_ASSERT_TRUE(v_catches(MUT_MATCH_ALONE, test_wide));
	CU_ASSERT_TRUE(v_catches(MUT_MATCH_STAMP, test_stamp));
}

static const struct vms_test tests[] = {
	VMS_TEST(test_generation), VMS_TEST(test_quiet),   VMS_TEST(test_snapshot),
	VMS_TEST(test_wide),	   VMS_TEST(test_race),	   VMS_TEST(test_model),
	VMS_TEST(test_short_keys), VMS_TEST(test_hostile), VMS_TEST(test_stamp),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("match", tests)
