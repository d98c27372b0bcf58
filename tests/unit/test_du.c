// SPDX-License-Identifier: GPL-2.0-only
/* Space per volume and snapshot as a node counts it, against an oracle that looks every
 * chunk of every point up. */
#include <jansson.h>

#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/pages.h"
#include "include/types.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/cunit.h"
#include "utils/lib/rng.h"

#define BITS	 3
#define EXTENTS	 6u
#define BRANCHES 9u
#define POINTS	 64u
#define ADDRS	 2000u
#define CHUNKS	 (EXTENTS * VMS_EXTENT_CHUNKS)

static struct rig R;

struct mbranch {
	uint64_t branch, lineage;
	unsigned nanc, gens;
	struct vms_cat_ancestor anc[VMS_ANCESTORS_MAX];
};
struct mpoint {
	unsigned branch; /* index */
	uint64_t gen;
	unsigned volume;
	uint64_t mapped, unique;
};
static struct mbranch B[BRANCHES];
static unsigned nb, np;
static struct mpoint P[POINTS];
static uint64_t vol_unique[BRANCHES];

static struct vms_node *primary(uint32_t part)
{
	return R.node[rig_primary(&R, part)].n;
}

/* ---- the model: pages put straight into the primaries' indexes ---- */

static struct vms_stack stack_of(const struct mbranch *b, uint64_t gen)
{
	struct vms_stack st = {.n = 1 + b->nanc, .l = {{b->branch, gen, UINT64_MAX}}};

	for (unsigned i = 0; i < b->nanc; i++)
		st.l[i + 1] = (struct vms_layer){b->anc[i].branch, b->anc[i].snap_gen,
						 b->anc[i].limit_chunks};
	return st;
}

/* Some chunks of one sub-extent, from a small pool of addresses, so that many agree. */
static void page_put(const struct mbranch *b, uint64_t gen, uint32_t subext, struct vms_rng *g)
{
	uint32_t part = vms_extent_partition(b->lineage, subext / VMS_EXTENT_SUBEXTS, BITS);
	struct vms_page_key k = {part, b->branch, subext, gen};
	struct vms_stack st = stack_of(b, gen);
	static uint64_t seq;
	uint16_t index[VMS_SUBEXT_CHUNKS];
	vms_addr to[VMS_SUBEXT_CHUNKS];
	unsigned n = 0;

	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++) {
		/* a foreign one now and then */
		uint32_t home = vms_rng_below(g, 10) ? part : (part + 1) % (1u << BITS);
		uint32_t a = (uint32_t)vms_rng_below(g, ADDRS);

		if (vms_rng_below(g, 4))
			continue;
		index[n] = (uint16_t)i;
		to[n++] = vms_rng_below(g, 8)
				  ? vms_addr_make(vms_ctr_first(home, BITS) + 1 + a / 60,
						  VMS_CHUNK_BYTES * (1 + a % 60))
				  : VMS_ADDR_HOLE;
	}
	if (n)
		CU_ASSERT_EQUAL(vms_pages_apply(primary(part)->pages, &k, &st, ++seq, index, to, n,
						NULL, NULL, NULL),
				0);
}

static void make(uint64_t seed)
{
	struct vms_rng g;

	vms_rng_init(&g, seed);
	nb = BRANCHES;
	np = 0;
	for (unsigned i = 0; i < nb; i++) {
		struct mbranch *b = &B[i];
		const struct mbranch *o = &B[i ? vms_rng_below(&g, i) : 0];

		*b = (struct mbranch){.branch = 10 + i,
				      .lineage = 10 + i,
				      .gens = 1 + (unsigned)vms_rng_below(&g, 5)};
		if (i > 1 && o->nanc < VMS_ANCESTORS_MAX) { /* grown from one of its numbers */
			uint64_t limit = (1 + vms_rng_below(&g, EXTENTS * 8)) * VMS_SUBEXT_CHUNKS;

			b->lineage = o->lineage;
			b->anc[b->nanc++] = (struct vms_cat_ancestor){
				o->branch, 1 + vms_rng_below(&g, o->gens), limit};
			for (unsigned k = 0; k < o->nanc; k++) {
				b->anc[b->nanc] = o->anc[k];
				if (b->anc[b->nanc].limit_chunks > limit)
					b->anc[b->nanc].limit_chunks = limit;
				b->nanc++;
			}
		}
		for (unsigned gen = 1; gen <= b->gens; gen++)
			for (unsigned k = 0; k < 6; k++)
				page_put(b, gen, (uint32_t)vms_rng_below(&g, EXTENTS * 8), &g);
		/* snapshots of some numbers; most volumes live; two branches of one volume */
		for (unsigned gen = 1; gen <= b->gens; gen++)
			if (np < POINTS && vms_rng_below(&g, 2))
				P[np++] = (struct mpoint){
					.branch = i, .gen = gen, .volume = i == 3 ? 2 : i};
		if (np < POINTS && vms_rng_below(&g, 5))
			P[np++] = (struct mpoint){
				.branch = i, .gen = VMS_GEN_LIVE, .volume = i == 3 ? 2 : i};
	}
}

static vms_addr seen_at(const struct mpoint *p, unsigned chunk, struct vms_page *page,
			uint32_t *have)
{
	const struct mbranch *b = &B[p->branch];
	uint32_t subext = chunk / VMS_SUBEXT_CHUNKS;
	uint32_t part = vms_extent_partition(b->lineage, subext / VMS_EXTENT_SUBEXTS, BITS);
	struct vms_stack st = stack_of(b, p->gen);

	if (*have != subext &&
	    vms_pages_lookup_stack(primary(part)->pages, part, subext, &st, page))
		memset(page->entry, 0, sizeof(page->entry));
	*have = subext;
	return page->entry[chunk % VMS_SUBEXT_CHUNKS];
}

/* mapped and unique of everything, by looking. */
static void oracle(void)
{
	static vms_addr at[POINTS][CHUNKS];
	static struct seen {
		int point, volume; /* -1: none yet, -2: several */
	} seen[1 << BITS][ADDRS + 64];

	memset(seen, 0xff, sizeof(seen));
	memset(vol_unique, 0, sizeof(vol_unique));
	for (unsigned i = 0; i < np; i++) {
		struct vms_page page;
		uint32_t have = UINT32_MAX;

		P[i].mapped = P[i].unique = 0;
		for (unsigned c = 0; c < CHUNKS; c++) {
			vms_addr a = at[i][c] = seen_at(&P[i], c, &page, &have);
			uint32_t home = vms_addr_partition(a, BITS);
			uint32_t part = vms_extent_partition(B[P[i].branch].lineage,
							     c / VMS_EXTENT_CHUNKS, BITS);
			struct seen *s;

			P[i].mapped += a != 0;
			if (!a || home != part)
				continue;
			s = &seen[home]
				 [(vms_addr_container(a) - vms_ctr_first(home, BITS) - 1) * 60 +
				  vms_addr_offset_bytes(a) / VMS_CHUNK_BYTES - 1];
			s->point = s->point == -1 || s->point == (int)i ? (int)i : -2;
			s->volume = s->volume == -1 || s->volume == (int)P[i].volume
					    ? (int)P[i].volume
					    : -2;
		}
	}
	for (unsigned p = 0; p < 1u << BITS; p++)
		for (unsigned a = 0; a < ADDRS + 64; a++) {
			if (seen[p][a].point >= 0)
				P[seen[p][a].point].unique++;
			if (seen[p][a].volume >= 0)
				vol_unique[seen[p][a].volume]++;
		}
}

/* ---- asking ---- */

static json_t *request(void)
{
	json_t *br = json_array(), *pts = json_array();

	for (unsigned i = 0; i < nb; i++) {
		json_t *anc = json_array();

		for (unsigned k = 0; k < B[i].nanc; k++)
			json_array_append_new(anc,
					      json_pack("[III]", (json_int_t)B[i].anc[k].branch,
							(json_int_t)B[i].anc[k].snap_gen,
							(json_int_t)B[i].anc[k].limit_chunks));
		json_array_append_new(br, json_pack("[IIo]", (json_int_t)B[i].branch,
						    (json_int_t)B[i].lineage, anc));
	}
	for (unsigned i = 0; i < np; i++)
		json_array_append_new(
			pts,
			json_pack("[III]", (json_int_t)B[P[i].branch].branch,
				  P[i].gen == VMS_GEN_LIVE ? (json_int_t)0 : (json_int_t)P[i].gen,
				  (json_int_t)P[i].volume));
	return json_pack("{so so sI}", "branches", br, "points", pts, "volumes", (json_int_t)nb);
}

static uint64_t number(json_t *a, size_t i, size_t k)
{
	json_t *v = json_array_get(a, i);

	return (uint64_t)json_integer_value(json_is_array(v) ? json_array_get(v, k) : v);
}

/* The node's whole answer. */
static json_t *count_at(struct vms_node *n)
{
	json_t *req = request(), *answer = NULL;
	struct vms_errmsg e = {""};

	CU_ASSERT_EQUAL_FATAL(vms_node_du(n, req, &answer, &e), 0);
	json_decref(req);
	req = answer;
	for (int i = 0; i < 1000; i++) {
		bool done;

		rig_run(&R, 5);
		CU_ASSERT_EQUAL_FATAL(vms_node_du(n, req, &answer, &e), 0);
		done = json_is_true(json_object_get(answer, "done"));
		if (done) {
			json_decref(req);
			return answer;
		}
		json_decref(answer);
	}
	CU_FAIL_FATAL("the count never ends");
	return NULL;
}

static void counts_agree_with_looking(void)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		uint64_t mapped[POINTS] = {0}, unique[POINTS] = {0}, vols[BRANCHES] = {0};
		uint64_t led = 0;

		rig_open(&R, 3, 2, BITS, seed);
		rig_volume(&R, 7, VMS_ACK_DISK);
		CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
		make(seed);
		oracle();
		for (unsigned i = 0; i < R.nnodes; i++) {
			json_t *a = count_at(R.node[i].n), *pts = json_object_get(a, "points");

			led += (uint64_t)json_integer_value(json_object_get(a, "partitions"));
			CU_ASSERT_EQUAL(json_integer_value(json_object_get(a, "missing")), 0);
			for (unsigned k = 0; k < np; k++) {
				mapped[k] += number(pts, k, 0);
				unique[k] += number(pts, k, 1);
			}
			for (unsigned k = 0; k < nb; k++)
				vols[k] += number(json_object_get(a, "volumes"), k, 0);
			json_decref(a);
		}
		CU_ASSERT_EQUAL(led, 1u << BITS);
		for (unsigned k = 0; k < np; k++) {
			CU_ASSERT_EQUAL(mapped[k], P[k].mapped);
			CU_ASSERT_EQUAL(unique[k], P[k].unique);
		}
		for (unsigned k = 0; k < nb; k++)
			CU_ASSERT_EQUAL(vols[k], vol_unique[k]);
		rig_close(&R);
	}
}

static void one_count_at_a_time(void)
{
	struct vms_errmsg e = {""};
	json_t *req, *job = NULL, *answer = NULL;
	struct vms_node *n;

	rig_open(&R, 3, 2, BITS, 1);
	rig_volume(&R, 7, VMS_ACK_DISK);
	CU_ASSERT_TRUE_FATAL(rig_wait_active(&R, 20000));
	make(1);
	n = R.node[0].n;
	req = request();
	CU_ASSERT_EQUAL(vms_node_du(n, req, &job, &e), 0);
	CU_ASSERT_EQUAL(vms_node_du(n, req, &answer, &e), VMS_E_BUSY);
	json_object_set_new(req, "job", json_integer(12345));
	CU_ASSERT_EQUAL(vms_node_du(n, req, &answer, &e), VMS_E_NOENT);
	json_object_del(req, "job");
	rig_run(&R, 40000); /* nobody asks: it is given up */
	CU_ASSERT_PTR_NULL(n->du);
	CU_ASSERT_EQUAL(vms_node_du(n, job, &answer, &e), VMS_E_NOENT);
	json_decref(job);
	json_object_set_new(req, "points", json_pack("[[iii]]", 10, 1, 99));
	CU_ASSERT_EQUAL(vms_node_du(n, req, &answer, &e), VMS_E_INVAL);
	json_object_set_new(req, "branches", json_string("x"));
	CU_ASSERT_EQUAL(vms_node_du(n, req, &answer, &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NULL(n->du);
	json_decref(req);
	rig_close(&R);
}

static const struct vms_test tests[] = {
	VMS_TEST(counts_agree_with_looking),
	VMS_TEST(one_count_at_a_time),
};

VMS_TEST_MAIN("node du", tests)
