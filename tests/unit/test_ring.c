// SPDX-License-Identifier: GPL-2.0-only
/* The promises of cluster/ring.h, measured. Figures that are reported rather than
 * promised are printed at the end. */
#include "cluster/ring.h"
#include "utils/lib/rng.h"
#include "tests/unit/cunit.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
	double load, add, removal, lead, weight;
	double seconds;
} worst;

static char zone_names[VMS_NODES_MAX][8];

static void members(struct vms_ring_member *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		m[i] = (struct vms_ring_member){.id = i + 1, .weight = 100};
}

static const char *zone_name(unsigned z)
{
	snprintf(zone_names[z], sizeof(zone_names[z]), "z%u", z);
	return zone_names[z];
}

static struct vms_ring_table plan(const struct vms_ring_table *prev,
				  const struct vms_ring_member *m, unsigned n, unsigned bits,
				  unsigned copies)
{
	struct vms_ring_params params = {bits, copies};
	struct vms_ring_table t;
	struct timespec a, b;
	double s;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	CU_ASSERT_EQUAL_FATAL(vms_ring_plan(prev, m, n, &params, &t), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
	if (bits <= 10 && s > worst.seconds)
		worst.seconds = s;
	return t;
}

/* Zones of one row as even as zone sizes allow; written without the planner's bounds:
 * moving one replica from a fuller zone to an emptier one with a spare node must not
 * be possible with a gain. */
static bool zones_even(const struct vms_ring_row *r, const struct vms_ring_member *m, unsigned n)
{
	unsigned in[VMS_NODES_MAX] = {0}, size[VMS_NODES_MAX] = {0}, zone[VMS_NODES_MAX];

	for (unsigned i = 0; i < n; i++) {
		zone[i] = i;
		for (unsigned k = 0; k < i; k++)
			if (m[i].zone && m[k].zone && !strcmp(m[i].zone, m[k].zone)) {
				zone[i] = k;
				break;
			}
		if (!m[i].weight)
			continue;
		size[zone[i]]++;
		for (unsigned k = 0; k < r->n; k++)
			in[zone[i]] += r->node[k] == m[i].id;
	}
	for (unsigned a = 0; a < n; a++)
		for (unsigned b = 0; b < n; b++)
			if (in[a] > in[b] + 1 && in[b] < size[b])
				return false;
	return true;
}

/* Distinct members with a weight, full rows, even zones; counts what breaks that. */
static unsigned broken_rows(const struct vms_ring_table *t, const struct vms_ring_member *m,
			    unsigned n)
{
	unsigned bad = 0, active = 0;

	for (unsigned i = 0; i < n; i++)
		active += m[i].weight > 0;
	for (unsigned p = 0; p < vms_ring_parts(t); p++) {
		const struct vms_ring_row *r = &t->row[p];

		bad += r->n != (active < t->copies ? active : t->copies);
		for (unsigned k = 0; k < r->n; k++) {
			bool member = false;

			for (unsigned i = 0; i < n; i++)
				member |= m[i].id == r->node[k] && m[i].weight;
			bad += !member;
			for (unsigned j = 0; j < k; j++)
				bad += r->node[j] == r->node[k];
		}
		for (unsigned k = r->n; k < VMS_COPIES_MAX; k++)
			bad += r->node[k] != VMS_RING_NONE;
		bad += !zones_even(r, m, n);
	}
	return bad;
}

/* Equal nodes: counts breaches of max(1.10 x mean, mean rounded up) and of 1.25 x mean
 * leads (or mean rounded up). */
static unsigned unequal(const struct vms_ring_table *t, const struct vms_ring_member *m, unsigned n)
{
	static struct vms_ring_load l[VMS_NODES_MAX];
	double parts = vms_ring_parts(t);
	double mean = parts * t->row[0].n / n, lead = parts / n;
	unsigned bad = 0;

	CU_ASSERT_EQUAL(vms_ring_loads(t, m, n, l), 0);
	for (unsigned i = 0; i < n; i++) {
		bad += l[i].replicas > fmax(1.10 * mean, ceil(mean));
		bad += l[i].primaries > fmax(1.25 * lead, ceil(lead) + (t->copies == 1 ? 0 : 1));
		bad += fabs(l[i].share - mean) > 0.01;
		if (mean >= 10)
			worst.load = fmax(worst.load, l[i].replicas / mean);
		if (lead >= 8)
			worst.lead = fmax(worst.lead, l[i].primaries / lead);
	}
	return bad;
}

static unsigned arrivals(const struct vms_ring_table *a, const struct vms_ring_table *b)
{
	static struct vms_ring_move mv[65536 * 6];
	unsigned n = vms_ring_diff(a, b, mv, sizeof(mv) / sizeof(mv[0])), k = 0;

	for (unsigned i = 0; i < n; i++)
		k += mv[i].to != VMS_RING_NONE && mv[i].from != mv[i].to;
	return k;
}

static struct vms_ring_member m[VMS_NODES_MAX];

static void equal_nodes_3_to_100_are_balanced_from_scratch(void)
{
	unsigned bad = 0;

	members(m, 100);
	for (unsigned n = 3; n <= 100; n++) {
		struct vms_ring_table t = plan(NULL, m, n, 10, 2);

		bad += broken_rows(&t, m, n) + unequal(&t, m, n);
		vms_ring_table_close(&t);
	}
	CU_ASSERT_EQUAL(bad, 0);
}

/* Grows node by node to 100 and shrinks again in another order: each step must keep the
 * balance and move little. */
static void chain(unsigned bits, unsigned copies, unsigned last)
{
	struct vms_ring_table t, u;
	struct vms_rng r;
	unsigned bad_rows = 0, bad_load = 0, bad_add = 0, bad_remove = 0, n = copies;
	double total = (double)(1u << bits) * copies;

	vms_rng_init(&r, bits * 10 + copies);
	members(m, last);
	t = plan(NULL, m, n, bits, copies);
	while (n < last) {
		double fair = total / (n + 1);
		unsigned k;

		u = plan(&t, m, n + 1, bits, copies);
		n++;
		k = arrivals(&t, &u);
		bad_rows += broken_rows(&u, m, n);
		bad_load += unequal(&u, m, n);
		/* below one replica per node nothing smaller than ceil(fair) exists */
		bad_add += k > fmax(1.25 * fair, ceil(fair));
		if (fair >= 10)
			worst.add = fmax(worst.add, k / fair);
		vms_ring_table_close(&t);
		t = u;
	}
	while (n > copies) {
		double fair = total / n;
		unsigned k;

		m[vms_rng_below(&r, n)] = m[n - 1];
		u = plan(&t, m, --n, bits, copies);
		k = arrivals(&t, &u);
		bad_rows += broken_rows(&u, m, n);
		bad_load += unequal(&u, m, n);
		bad_remove += k > fmax(1.25 * fair, ceil(fair));
		if (fair >= 10)
			worst.removal = fmax(worst.removal, k / fair);
		vms_ring_table_close(&t);
		t = u;
	}
	vms_ring_table_close(&t);
	CU_ASSERT_EQUAL(bad_rows, 0);
	CU_ASSERT_EQUAL(bad_load, 0);
	CU_ASSERT_EQUAL(bad_add, 0);
	CU_ASSERT_EQUAL(bad_remove, 0);
}

static void adding_and_removing_moves_the_fair_share_1_copy(void)
{
	chain(10, 1, 100);
}
static void adding_and_removing_moves_the_fair_share_2_copies(void)
{
	chain(10, 2, 100);
}
static void adding_and_removing_moves_the_fair_share_3_copies(void)
{
	chain(10, 3, 100);
}
static void adding_and_removing_moves_the_fair_share_5_copies(void)
{
	chain(10, 5, 60);
}

static void partition_counts_16_to_65536(void)
{
	static const unsigned sizes[] = {1, 2, 3, 7, 30};

	chain(4, 2, 40);
	chain(6, 3, 40);
	chain(0, 2, 5);
	for (unsigned bits = 4; bits <= 16; bits += bits >= 12 ? 4 : 2) {
		for (unsigned i = 0; i < 5; i++) {
			struct vms_ring_table t;

			members(m, sizes[i]);
			t = plan(NULL, m, sizes[i], bits, 2);
			CU_ASSERT_EQUAL(broken_rows(&t, m, sizes[i]), 0);
			CU_ASSERT_EQUAL(unequal(&t, m, sizes[i]), 0);
			vms_ring_table_close(&t);
		}
	}
}

static void fewer_nodes_than_copies_hold_everything(void)
{
	struct vms_ring_table t, u;

	members(m, 3);
	t = plan(NULL, m, 1, 10, 3);
	CU_ASSERT_EQUAL(broken_rows(&t, m, 1), 0);
	CU_ASSERT_EQUAL(t.row[5].n, 1);
	u = plan(&t, m, 2, 10, 3);
	CU_ASSERT_EQUAL(broken_rows(&u, m, 2), 0);
	CU_ASSERT_EQUAL(arrivals(&t, &u), 1024);
	vms_ring_table_close(&t);
	t = plan(&u, m, 3, 10, 3);
	CU_ASSERT_EQUAL(broken_rows(&t, m, 3), 0);
	CU_ASSERT_EQUAL(arrivals(&u, &t), 1024);
	CU_ASSERT_EQUAL(unequal(&t, m, 3), 0);
	vms_ring_table_close(&t);
	vms_ring_table_close(&u);
}

static void more_or_fewer_copies_keep_the_replicas_there_are(void)
{
	struct vms_ring_table t, u, v;

	members(m, 10);
	t = plan(NULL, m, 10, 10, 2);
	u = plan(&t, m, 10, 10, 3);
	CU_ASSERT_EQUAL(broken_rows(&u, m, 10), 0);
	CU_ASSERT_EQUAL(unequal(&u, m, 10), 0);
	CU_ASSERT(arrivals(&t, &u) <= 1024 + 102);
	v = plan(&u, m, 10, 10, 2);
	CU_ASSERT_EQUAL(broken_rows(&v, m, 10), 0);
	CU_ASSERT(arrivals(&u, &v) <= 102);
	vms_ring_table_close(&t);
	vms_ring_table_close(&u);
	vms_ring_table_close(&v);
}

static bool same(const struct vms_ring_table *a, const struct vms_ring_table *b)
{
	return !memcmp(a->row, b->row, vms_ring_parts(a) * sizeof(*a->row));
}

static void the_same_input_gives_the_same_table_in_any_order(void)
{
	struct vms_ring_member mixed[20];
	struct vms_ring_table t, u;
	struct vms_rng r;

	vms_rng_init(&r, 9);
	members(m, 20);
	for (unsigned i = 0; i < 20; i++) {
		m[i].weight = 50 + 10 * i;
		m[i].zone = zone_name(i % 4);
	}
	memcpy(mixed, m, sizeof(mixed));
	for (unsigned i = 19; i; i--) {
		unsigned k = (unsigned)vms_rng_below(&r, i + 1);
		struct vms_ring_member x = mixed[i];

		mixed[i] = mixed[k];
		mixed[k] = x;
	}
	t = plan(NULL, m, 20, 10, 3);
	u = plan(NULL, mixed, 20, 10, 3);
	CU_ASSERT(same(&t, &u));
	vms_ring_table_close(&u);
	/* planning again changes nothing at all, leads included */
	u = plan(&t, mixed, 20, 10, 3);
	CU_ASSERT(same(&t, &u));
	CU_ASSERT_EQUAL(vms_ring_diff(&t, &u, NULL, 0), 0);
	vms_ring_table_close(&u);
	/* another membership does */
	u = plan(NULL, m, 19, 10, 3);
	CU_ASSERT_FALSE(same(&t, &u));
	vms_ring_table_close(&t);
	vms_ring_table_close(&u);
}

/* Best achievable shares, computed another way: real numbers, capping the fullest. */
static void capped_shares(const struct vms_ring_member *x, unsigned n, double parts,
			  unsigned copies, double *out)
{
	bool capped[VMS_NODES_MAX] = {false};
	double rest = parts * copies;
	bool again = true;

	while (again) {
		double w = 0;

		again = false;
		for (unsigned i = 0; i < n; i++)
			w += capped[i] ? 0 : x[i].weight;
		for (unsigned i = 0; i < n; i++) {
			if (capped[i])
				continue;
			out[i] = rest * x[i].weight / w;
			if (out[i] > parts) {
				again = true;
				out[i] = parts;
				capped[i] = true;
				rest -= parts;
				break;
			}
		}
	}
}

static void weights_are_followed_as_far_as_possible(void)
{
	static struct vms_ring_load l[VMS_NODES_MAX];
	unsigned bad = 0, off = 0, wrong_share = 0;
	struct vms_rng r;

	vms_rng_init(&r, 11);
	for (unsigned round = 0; round < 60; round++) {
		unsigned copies = 1 + round % 5;
		unsigned n = copies + (unsigned)vms_rng_below(&r, 40);
		double want[VMS_NODES_MAX];
		struct vms_ring_table t;

		members(m, n);
		for (unsigned i = 0; i < n; i++)
			m[i].weight = round % 2 ? 1 + (unsigned)vms_rng_below(&r, 1000)
						: 100u << vms_rng_below(&r, 6);
		if (round % 7 == 0)
			m[0].weight = VMS_RING_WEIGHT_MAX;
		capped_shares(m, n, 1024, copies, want);
		t = plan(NULL, m, n, 10, copies);
		bad += broken_rows(&t, m, n);
		CU_ASSERT_EQUAL(vms_ring_loads(&t, m, n, l), 0);
		for (unsigned i = 0; i < n; i++) {
			double d = fabs(l[i].replicas - want[i]);

			wrong_share += fabs(l[i].share - want[i]) > 0.01;
			off += d > fmax(1.0, 0.10 * want[i]);
			worst.weight = fmax(worst.weight, d);
		}
		vms_ring_table_close(&t);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(wrong_share, 0);
	CU_ASSERT_EQUAL(off, 0);
}

static void reweighting_moves_only_the_difference(void)
{
	static struct vms_ring_load l[VMS_NODES_MAX];
	struct vms_ring_table t, u;

	members(m, 10);
	t = plan(NULL, m, 10, 10, 2);
	m[3].weight = 200; /* 204.8 -> 2048 * 2/11 = 372.4 */
	u = plan(&t, m, 10, 10, 2);
	CU_ASSERT(arrivals(&t, &u) >= 160 && arrivals(&t, &u) <= 1.25 * 168);
	vms_ring_table_close(&t);
	m[3].weight = 0; /* drained */
	t = plan(&u, m, 10, 10, 2);
	CU_ASSERT_EQUAL(vms_ring_loads(&t, m, 10, l), 0);
	CU_ASSERT_EQUAL(l[3].replicas, 0);
	CU_ASSERT_EQUAL(l[3].share, 0);
	CU_ASSERT_EQUAL(broken_rows(&t, m, 10), 0);
	CU_ASSERT(arrivals(&u, &t) <= 1.25 * 373);
	vms_ring_table_close(&t);
	vms_ring_table_close(&u);
}

static void replicas_spread_over_zones_of_any_size(void)
{
	struct vms_rng r;
	unsigned bad = 0, above = 0;

	vms_rng_init(&r, 12);
	for (unsigned round = 0; round < 60; round++) {
		static struct vms_ring_load l[VMS_NODES_MAX];
		unsigned copies = 1 + round % 5, nz = 1 + (unsigned)vms_rng_below(&r, 7);
		unsigned n = 1 + (unsigned)vms_rng_below(&r, 30);
		struct vms_ring_table t, u;

		members(m, n + 1);
		for (unsigned i = 0; i <= n; i++) {
			unsigned z = (unsigned)vms_rng_below(&r, nz + 1);

			m[i].zone = z < nz ? zone_name(z) : NULL;
			if (round % 3 == 0)
				m[i].weight = 20 + (unsigned)vms_rng_below(&r, 300);
		}
		t = plan(NULL, m, n, 8, copies);
		bad += broken_rows(&t, m, n);
		CU_ASSERT_EQUAL(vms_ring_loads(&t, m, n, l), 0);
		for (unsigned i = 0; i < n; i++)
			above += fabs(l[i].replicas - l[i].share) > 1.01;
		/* one more node, in a known or a new zone */
		u = plan(&t, m, n + 1, 8, copies);
		bad += broken_rows(&u, m, n + 1);
		CU_ASSERT_EQUAL(vms_ring_loads(&u, m, n + 1, l), 0);
		for (unsigned i = 0; i <= n; i++)
			above += fabs(l[i].replicas - l[i].share) > 1.01;
		vms_ring_table_close(&t);
		vms_ring_table_close(&u);
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(above, 0);
}

static void a_node_added_to_zoned_ring_moves_its_share(void)
{
	struct vms_ring_table t, u;

	members(m, 13);
	for (unsigned i = 0; i < 13; i++)
		m[i].zone = zone_name(i % 4);
	t = plan(NULL, m, 12, 10, 2);
	u = plan(&t, m, 13, 10, 2);
	CU_ASSERT(arrivals(&t, &u) <= 1.25 * 2048 / 13);
	CU_ASSERT_EQUAL(broken_rows(&u, m, 13), 0);
	vms_ring_table_close(&t);
	vms_ring_table_close(&u);
}

static void partners_of_a_node_are_many(void)
{
	/* after a loss, rebuilding is as fast as many nodes can read */
	struct vms_ring_table t;
	unsigned worst_partners = 1000;

	members(m, 20);
	t = plan(NULL, m, 20, 10, 2);
	for (unsigned i = 1; i <= 20; i++) {
		bool with[VMS_NODES_MAX] = {false};
		unsigned k = 0;

		for (unsigned p = 0; p < 1024; p++)
			for (unsigned j = 0; j < 2; j++)
				if (t.row[p].node[j] == i)
					with[t.row[p].node[1 - j]] = true;
		for (unsigned j = 0; j <= 20; j++)
			k += with[j];
		if (k < worst_partners)
			worst_partners = k;
	}
	CU_ASSERT(worst_partners >= 15);
	vms_ring_table_close(&t);
}

static void wrong_input_is_refused_in_words(void)
{
	struct vms_ring_params params = {10, 2};
	struct vms_ring_table t, u;
	struct vms_errmsg e;

	members(m, 4);
	t = plan(NULL, m, 4, 8, 2);
	CU_ASSERT_EQUAL(vms_ring_plan(&t, m, 4, &params, &u), VMS_E_INVAL);
	CU_ASSERT_EQUAL(vms_ring_check(&t, m, 4, &params, &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "fixed when the cluster is created"));
	m[2].id = m[0].id;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "node id 1 occurs twice"));
	CU_ASSERT_EQUAL(vms_ring_plan(NULL, m, 4, &params, &u), VMS_E_INVAL);
	members(m, 4);
	params.copies = 6;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), VMS_E_INVAL);
	params.copies = 0;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), VMS_E_INVAL);
	params.copies = 2;
	params.part_bits = 17;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), VMS_E_INVAL);
	params.part_bits = 10;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 0, &params, &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "no node has a weight"));
	m[1].weight = VMS_RING_WEIGHT_MAX + 1;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), VMS_E_INVAL);
	m[1].weight = 100;
	m[1].id = VMS_RING_NONE;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), VMS_E_INVAL);
	m[1].id = 2;
	CU_ASSERT_EQUAL(vms_ring_check(NULL, m, 4, &params, &e), 0);
	vms_ring_table_close(&t);
}

/* A table from the catalog may hold anything: unknown, repeated or missing nodes. */
static void any_previous_table_is_survived(void)
{
	struct vms_ring_params params = {6, 3};
	struct vms_ring_table t, u;
	struct vms_rng r;
	unsigned bad = 0;

	vms_rng_init(&r, 13);
	for (unsigned round = 0; round < 200; round++) {
		unsigned n = 3 + (unsigned)vms_rng_below(&r, 6);

		CU_ASSERT_EQUAL_FATAL(vms_ring_table_init(&t, &params), 0);
		for (unsigned p = 0; p < 64; p++) {
			t.row[p].n = (unsigned)vms_rng_below(&r, VMS_COPIES_MAX + 1);
			for (unsigned k = 0; k < t.row[p].n; k++)
				t.row[p].node[k] = (unsigned)vms_rng_below(&r, 12);
		}
		members(m, n);
		for (unsigned i = 0; i < n; i++)
			m[i].zone = round % 2 ? zone_name(i % 2) : NULL;
		u = plan(&t, m, n, 6, 3);
		bad += broken_rows(&u, m, n);
		if (round % 2 == 0)
			bad += unequal(&u, m, n);
		vms_ring_table_close(&t);
		vms_ring_table_close(&u);
	}
	CU_ASSERT_EQUAL(bad, 0);
}

static void diff_pairs_leavers_with_comers(void)
{
	struct vms_ring_params params = {1, 3};
	struct vms_ring_table a, b;
	struct vms_ring_move mv[8];

	CU_ASSERT_EQUAL_FATAL(vms_ring_table_init(&a, &params), 0);
	CU_ASSERT_EQUAL_FATAL(vms_ring_table_init(&b, &params), 0);
	a.row[0] = (struct vms_ring_row){2, {1, 2}};
	b.row[0] = (struct vms_ring_row){3, {2, 3, 4}};
	a.row[1] = (struct vms_ring_row){2, {5, 6}};
	b.row[1] = (struct vms_ring_row){1, {6}};
	CU_ASSERT_EQUAL(vms_ring_diff(&a, &b, mv, 8), 5);
	CU_ASSERT(mv[0].partition == 0 && mv[0].from == 1 && mv[0].to == 3);
	CU_ASSERT(mv[1].partition == 0 && mv[1].from == VMS_RING_NONE && mv[1].to == 4);
	CU_ASSERT(mv[2].partition == 0 && mv[2].from == 2 && mv[2].to == 2);
	CU_ASSERT(mv[3].partition == 1 && mv[3].from == 5 && mv[3].to == VMS_RING_NONE);
	CU_ASSERT(mv[4].partition == 1 && mv[4].from == 6 && mv[4].to == 6);
	CU_ASSERT_EQUAL(vms_ring_diff(NULL, &b, mv, 1), 4);
	CU_ASSERT(mv[0].from == VMS_RING_NONE && mv[0].to == 2);
	vms_ring_table_close(&a);
	vms_ring_table_close(&b);
}

static void planning_is_fast(void)
{
	struct vms_ring_table t;

	members(m, 100);
	t = plan(NULL, m, 100, 10, 3);
	vms_ring_table_close(&t);
	CU_ASSERT(worst.seconds < 1.0);
	printf("\n  worst seen: load %.3f x mean, leads %.3f x mean, add %.3f x fair, "
	       "remove %.3f x fair,\n  weighted %.2f replicas off, %.3f s CPU for one plan ",
	       worst.load, worst.lead, worst.add, worst.removal, worst.weight, worst.seconds);
}

static const struct vms_test tests[] = {
	VMS_TEST(equal_nodes_3_to_100_are_balanced_from_scratch),
	VMS_TEST(adding_and_removing_moves_the_fair_share_1_copy),
	VMS_TEST(adding_and_removing_moves_the_fair_share_2_copies),
	VMS_TEST(adding_and_removing_moves_the_fair_share_3_copies),
	VMS_TEST(adding_and_removing_moves_the_fair_share_5_copies),
	VMS_TEST(partition_counts_16_to_65536),
	VMS_TEST(fewer_nodes_than_copies_hold_everything),
	VMS_TEST(more_or_fewer_copies_keep_the_replicas_there_are),
	VMS_TEST(the_same_input_gives_the_same_table_in_any_order),
	VMS_TEST(weights_are_followed_as_far_as_possible),
	VMS_TEST(reweighting_moves_only_the_difference),
	VMS_TEST(replicas_spread_over_zones_of_any_size),
	VMS_TEST(a_node_added_to_zoned_ring_moves_its_share),
	VMS_TEST(partners_of_a_node_are_many),
	VMS_TEST(wrong_input_is_refused_in_words),
	VMS_TEST(any_previous_table_is_survived),
	VMS_TEST(diff_pairs_leavers_with_comers),
	VMS_TEST(planning_is_fast),
};
VMS_TEST_MAIN("ring", tests)
