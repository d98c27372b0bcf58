// SPDX-License-Identifier: GPL-2.0-only
/* Deduplication: long random runs over a small pool of chunks, with crashes and a spoilt
 * index, against an oracle. */
#include "backend/ctr.h"
#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/fplists.h"
#include "backend/hooks.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "tests/unit/dedup_rig.h"
#include "utils/lib/fp.h"
#include "utils/lib/rng.h"

/* Three volumes whose chunks come from a small pool, so that most of them are somewhere
 * already; now and then some sectors over one of them. */
#define POOL 60u
#define MEXT 5u
#define MCH  80u
static struct {
	uint8_t pool; /* 0: never written */
	uint8_t over; /* sectors overwritten, with */
	uint8_t value;
} M[3][MEXT][MCH];
static unsigned bad;

static void model_chunk(unsigned v, uint32_t e, unsigned c, uint8_t *out)
{
	memset(out, 0, CHUNK);
	if (M[v][e][c].pool)
		fill(out, 400000 + M[v][e][c].pool);
	for (unsigned s = 0; s < 8; s++)
		if (M[v][e][c].over >> s & 1)
			memset(out + 512 * s, M[v][e][c].value, 512);
}

static void model_op(void)
{
	unsigned v = (unsigned)vms_rng_below(&R.rng, 3);
	uint32_t e = (uint32_t)vms_rng_below(&R.rng, MEXT);
	unsigned c = (unsigned)vms_rng_below(&R.rng, MCH),
		 what = (unsigned)vms_rng_below(&R.rng, 100);
	unsigned run = what < 60 ? 1 + (unsigned)vms_rng_below(&R.rng, 40) : 1;
	uint8_t pool = (uint8_t)vms_rng_between(&R.rng, 1, POOL), b[CHUNK];
	int rc;

	for (; run && c < MCH; run--, c++) {
		if (what < 85) {
			/* runs follow the pool: neighbourhoods come again */
			fill(b, 400000 + pool);
			rc = put_kind(7 + v, e, c, VMS_WRITE_DATA, 0xff, b);
			if (!rc) {
				M[v][e][c].pool = pool;
				M[v][e][c].over = 0;
			}
			pool = pool == POOL ? 1 : pool + 1;
		} else {
			uint8_t mask = (uint8_t)(1u << vms_rng_below(&R.rng, 8));

			memset(b, 200 + v, 512);
			rc = put_kind(7 + v, e, c, VMS_WRITE_DATA, mask, b);
			if (!rc && M[v][e][c].over && M[v][e][c].value != 200 + v)
				bad++;
			if (!rc) {
				M[v][e][c].over |= mask;
				M[v][e][c].value = (uint8_t)(200 + v);
			}
		}
		if (rc && rc != VMS_E_BUSY && rc != VMS_E_TOO_OLD)
			bad++;
	}
}

static void model_check(void)
{
	uint8_t want[CHUNK], x[CHUNK];

	for (unsigned v = 0; v < 3; v++)
		for (uint32_t e = 0; e < MEXT; e++)
			for (unsigned c = 0; c < MCH && bad < 5; c++) {
				int rc = get(7 + v, e, c, x, 400);

				model_chunk(v, e, c, want);
				if (rc || memcmp(want, x, CHUNK)) {
					fprintf(stderr, "volume %u extent %u chunk %u: rc %d\n", v,
						e, c, rc);
					bad++;
				}
			}
}

/* Each address in a page of a primary can be read at a member of its partition. */
static int page_check(void *arg, const struct vms_page *pg)
{
	uint8_t x[CHUNK];

	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS && bad < 5; i++) {
		int rc = pg->entry[i] ? addr_read(pg->entry[i], x) : 0;

		if (rc) {
			fprintf(stderr, "page of partition %u names %llx: %s\n", pg->key.partition,
				(unsigned long long)pg->entry[i], vms_err_name(rc));
			bad++;
		}
	}
	return 0;
}

static void pages_check(void)
{
	for (uint32_t k = 0; k < 1u << R.part_bits; k++)
		vms_pages_each(R.node[rig_primary(&R, k)].n->pages, k, NULL, page_check, NULL);
}

/* The index of a node is lost, or says what is not so. */
static void spoil(struct vms_node *n)
{
	struct dedup *d = n->dedup;

	if (vms_rng_below(&R.rng, 2)) {
		vms_hooks_free(d->hooks);
		vms_fplists_free(d->lists);
		d->hooks = vms_hooks_new(1 << 20);
		d->lists = vms_fplists_new(1 << 20);
		memset(d->recent, 0, (d->recent_mask + 1) * sizeof(*d->recent));
		return;
	}
	for (unsigned i = 1; i <= POOL; i++) {
		uint64_t part = vms_rng_below(&R.rng, 1u << R.part_bits);
		uint64_t ctr = vms_ctr_first((uint32_t)part, R.part_bits) + 1 +
			       vms_rng_below(&R.rng, 8);
		struct vms_fp *fp = vms_fp_open(NULL, 0);
		uint8_t b[CHUNK], f[32];
		struct recent *r;

		fill(b, 400000 + i);
		vms_fp_chunk(fp, b, CHUNK, f);
		vms_fp_close(fp);
		r = &d->recent[vms_mix64(dedup_key(d, f)) & d->recent_mask];
		r->key = dedup_key(d, f);
		r->addr = vms_addr_make(
			ctr, (uint32_t)vms_seg_chunk_offset((uint32_t)vms_rng_below(&R.rng, 6),
							    (unsigned)vms_rng_below(&R.rng, 64)));
		if (vms_is_hook(dedup_key(d, f)))
			vms_hooks_add(d->hooks, dedup_key(d, f), ctr,
				      vms_hooks_find(d->hooks, dedup_key(d, f)));
	}
}

static void model_run(uint64_t seed, unsigned fp_bits, bool power)
{
	struct dedup_stats all = {0};

	memset(M, 0, sizeof(M));
	bad = 0;
	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	R.fp_bits = fp_bits;
	up(2, 3, seed);
	for (unsigned round = 0; round < 10 && bad < 5; round++) {
		unsigned nd = (unsigned)vms_rng_below(&R.rng, 3);

		for (unsigned i = 0; i < 60 && bad < 5; i++)
			model_op();
		if (round % 3 == 2)
			rig_run(&R, 2000); /* collection */
		if (round % 2)
			spoil(R.node[vms_rng_below(&R.rng, R.nnodes)].n);
		all.hits_foreign += sum().hits_foreign;
		all.hits_own += sum().hits_own;
		/* in the midst of drains, confirmations, SHARE records */
		for (unsigned i = 0; i < R.nnodes; i++)
			vms_wal_gen_seal(R.node[i].n->wal);
		for (unsigned i = (unsigned)vms_rng_below(&R.rng, 400); i; i--)
			rig_step(&R);
		rig_node_crash(&R, nd, power);
		if (vms_rng_below(&R.rng, 3) == 0)
			rig_node_crash(&R, (nd + 1) % 3, power);
		rig_run(&R, vms_rng_below(&R.rng, 300));
		for (unsigned i = 0; i < R.nnodes; i++)
			if (!R.node[i].n)
				rig_node_start(&R, i);
		CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 30000));
		connect_all();
		for (unsigned i = 0; i < R.nnodes; i++)
			bad += R.node[i].fatal;
		model_check();
	}
	settle();
	pages_check();
	model_check();
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_TRUE(all.hits_foreign > 50);
	R.gen_bytes = R.fp_bits = 0;
	R.container_bytes = 0;
	rig_close(&R);
}

static void test_model(void)
{
	for (uint64_t s = 0; s < 6; s++)
		model_run(700 + s, s % 3 == 2 ? 16 : 0, s & 1);
}

static const struct vms_test tests[] = {
	VMS_TEST(test_model),
};

VMS_TEST_MAIN("dedup_model", tests)
