// SPDX-License-Identifier: GPL-2.0-only
/* Collection: nothing that is reachable is freed, all that is not is freed. */
#include <jansson.h>

#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

static uint32_t next_id = 1;

static uint64_t stat_sum(size_t off)
{
	uint64_t s = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		s += *(uint64_t *)((char *)&R.node[i].n->st + off);
	return s;
}
#define STAT(f) stat_sum(offsetof(struct node_stats, f))

static void gc_target(unsigned percent)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->conf.gc_target_percent = percent;
}

struct addrs {
	VMS_VEC(vms_addr) v;
};

static int addr_cmp(const void *a, const void *b)
{
	vms_addr x = *(const vms_addr *)a, y = *(const vms_addr *)b;

	return x < y ? -1 : x > y;
}

static int addrs_page(void *arg, const struct vms_page *p)
{
	struct addrs *s = arg;

	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		if (p->entry[i] != VMS_ADDR_HOLE)
			VMS_VEC_PUSH(&s->v, p->entry[i]);
	return 0;
}

/* Different addresses in all pages, and all entries. */
static size_t addresses(size_t *all)
{
	struct addrs s = {VMS_VEC_INIT};
	size_t k = 0;

	for (uint32_t p = 0; p < 1u << R.part_bits; p++)
		vms_pages_each(R.node[rig_primary(&R, p)].n->pages, p, NULL, addrs_page, &s);
	if (s.v.n)
		qsort(s.v.d, s.v.n, sizeof(*s.v.d), addr_cmp);
	for (size_t i = 0; i < s.v.n; i++)
		k += i == 0 || s.v.d[i] != s.v.d[i - 1];
	*all = s.v.n;
	VMS_VEC_FREE(&s.v);
	return k;
}

/* Chunks of a node that go by an old name, and what it says is not drained. */
static unsigned renamed(struct vms_node *n, json_int_t *undrained)
{
	json_t *o = vms_node_json(n, "space");
	size_t k = 0;

	*undrained = json_integer_value(json_object_get(o, "undrained"));
	json_decref(o);
	for (uint32_t i = 0; i < n->nparts; i++)
		k += n->part[i] ? n->part[i]->stubs.n - n->part[i]->stubs_head : 0;
	return (unsigned)k;
}

/* Emptying a container makes one copy of a chunk, whatever the number of pages that
 * refer to it. It drains nothing: those who wait for empty logs do not wait for it. */
static void test_one_copy(void)
{
	struct v_vol *v;
	json_int_t undrained;
	uint64_t moved;
	size_t before, after, all;

	v_up(3, 2, 0, 11);
	gc_target(100000);
	v = v_create(0);
	for (uint32_t e = 0; e < 4; e++)
		for (unsigned c = 0; c < 128; c++)
			v_write(v, e, c, next_id++);
	v_drain();
	for (uint32_t e = 0; e < 4; e++)
		for (unsigned c = 0; c < 128; c++)
			if (c % 8)
				v_write(v, e, c, next_id++);
	v_drain();
	for (unsigned s = 0; s < 3; s++) {
		v_snap(v, s);
		for (uint32_t e = 0; e < 4; e++)
			v_write(v, e, 1, next_id++);
		v_drain();
	}
	before = addresses(&all);
	CU_ASSERT_TRUE(all > 3 * before);
	moved = STAT(remapped);
	CU_ASSERT_TRUE(V_WAIT(20000, !renamed(R.node[0].n, &undrained)));
	CU_ASSERT_EQUAL(undrained, 0);
	gc_target(110);
	CU_ASSERT_TRUE(V_WAIT(40000, renamed(R.node[0].n, &undrained)));
	CU_ASSERT_EQUAL(undrained, 0);
	CU_ASSERT_TRUE(V_WAIT(40000, STAT(swept) > 0));
	rig_run(&R, 10000);
	after = addresses(&all);
	CU_ASSERT_TRUE(all > 3 * after);
	CU_ASSERT_EQUAL(before, after);
	CU_ASSERT_TRUE(STAT(remapped) > moved);
	v_check_all("emptied");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	v_check_all("after restarts");
	v_rm(v);
	for (unsigned s = 0; s < 3; s++)
		v_snap_rm(v, s);
	CU_ASSERT_TRUE(V_WAIT(60000, v_ctr_bytes() == 0));
	CU_ASSERT_EQUAL(v_keys("branch/"), 0);
	v_down();
}

/* ---- references between partitions ---- */

static struct part *part_at(uint32_t number)
{
	struct vms_node *n = R.node[rig_primary(&R, number)].n;

	return n ? node_part(n, number) : NULL;
}

static vms_addr entry(const struct v_vol *v, uint32_t ext, unsigned ch, struct vms_page_key *key)
{
	struct vms_page_key k = {v_part(v, ext), v->branch, ext * 8 + ch / 128, v->gen};
	struct vms_page pg;

	if (vms_pages_lookup(R.node[rig_primary(&R, k.partition)].n->pages, &k, &pg))
		return VMS_ADDR_HOLE;
	if (key)
		*key = pg.key;
	return pg.entry[ch % 128];
}

static struct ctr *ctr_of(vms_addr a)
{
	struct part *q = part_at(vms_addr_partition(a, R.part_bits));

	return q ? part_ctr(q, vms_addr_container(a)) : NULL;
}

/* What CONFIRM does at the owner; false: no. */
static bool confirm(vms_addr a, uint64_t *stamp)
{
	struct part *q = part_at(vms_addr_partition(a, R.part_bits));
	struct vms_node *n = q ? R.node[rig_primary(&R, q->number)].n : NULL;
	struct vms_rec r = {.type = VMS_REC_SHARE, .flags = VMS_RF_INTERNAL};
	struct ctr *c = ctr_of(a);
	uint8_t meta[8];

	if (!c || !part_serving(q) || c->sweeping || c->punching || part_addr_check(n, q, a))
		return false;
	if (!c->shared) {
		vms_put_le64(meta, c->number);
		r.meta = meta;
		r.meta_bytes = 8;
		if (part_order(n, q, &r, NULL, 0))
			return false;
		vms_node_turn_end(n, n->now_ms);
		if (!V_WAIT(10000, (c = ctr_of(a)) && c->shared))
			return false;
	}
	if (c->stamp < q->gc_cycle)
		c->stamp = q->gc_cycle;
	*stamp = q->gc_cycle;
	return true;
}

/* The chunk becomes a reference to `to`; false: the stamp is too old. */
static bool refer(const struct v_vol *v, uint32_t ext, unsigned ch, vms_addr to, uint64_t stamp)
{
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m = {.extent = ext,
			     .chunk = (uint16_t)ch,
			     .valid = 0xff,
			     .flags = VMS_MOVE_REF,
			     .to = to};
	uint8_t meta[VMS_MOVES_META_MAX];
	struct vms_page_key key;
	struct vms_node *n;
	struct part *p;

	m.from_seq = entry(v, ext, ch, &key);
	p = part_at(key.partition);
	if (!p || !part_serving(p) || stamp < p->gc_cycle)
		return false;
	n = R.node[rig_primary(&R, p->number)].n;
	m.branch = key.branch;
	m.snap_gen = key.snap_gen;
	vms_rec_moves_put(&r, meta, &m, 1);
	if (part_order(n, p, &r, NULL, 0))
		return false;
	vms_node_turn_end(n, n->now_ms);
	return true;
}

static uint32_t ext_in(const struct v_vol *v, uint32_t part)
{
	for (uint32_t e = 0; e < V_EXTS; e++)
		if (v_part(v, e) == part)
			return e;
	return UINT32_MAX;
}

/* A volume with an extent in that partition. */
static struct v_vol *create_in(unsigned i, uint32_t part, uint32_t *ext)
{
	struct v_vol at = {.lineage = v_next_branch};

	while (ext_in(&at, part) >= V_EXTS)
		at.lineage = ++v_next_branch;
	*ext = ext_in(&at, part);
	return v_create(i);
}

/* Volume 0 has chunks in partition 0, volume 1 the same in partition 1 as references to
 * them. */
#define PAIR 40u
static struct v_vol *va, *vb;
static uint32_t ea, eb;

static void pair_up(uint64_t seed, unsigned copies)
{
	v_up(3, copies, 2, seed);
	gc_target(100000);
	va = create_in(0, 0, &ea);
	vb = create_in(1, 1, &eb);
	for (unsigned c = 0; c < PAIR; c++) {
		v_write(va, ea, c, 100000 + c);
		v_write(vb, eb, c, 100000 + c);
	}
	v_drain();
	rig_run(&R, 6000);
}

static void pair_refer(unsigned from, unsigned to)
{
	for (unsigned c = from; c < to; c++) {
		vms_addr a = entry(va, ea, c, NULL);
		uint64_t stamp = 0;

		CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
		CU_ASSERT_TRUE(refer(vb, eb, c, a, stamp));
	}
	rig_run(&R, 200);
	for (unsigned c = from; c < to; c++)
		CU_ASSERT_EQUAL(entry(va, ea, c, NULL), entry(vb, eb, c, NULL));
}

/* Seals what is open in a partition. */
static void seal(uint32_t part)
{
	struct part *p = part_at(part);
	struct vms_node *n = R.node[rig_primary(&R, part)].n;

	drain_seal_open(n, p);
	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 100);
}

static void all_gone(const char *what)
{
	if (!V_WAIT(90000, v_keys("branch/") == 0 && v_ctr_bytes() == 0)) {
		v_fail("%s: left %u branches, %u pages, %llu bytes", what, v_keys("branch/"),
		       v_pages(0), (unsigned long long)v_ctr_bytes());
		v_print_ctrs();
	}
}

/* What another partition refers to stays, whatever becomes of its first owner; then
 * all of it goes. */
static void test_shared(void)
{
	vms_addr a;

	pair_up(21, 2);
	pair_refer(0, PAIR);
	seal(0);
	v_check_all("referred to");
	a = entry(va, ea, 0, NULL);
	v_rm(va);
	CU_ASSERT_TRUE(V_WAIT(30000, v_pages(va->branch) == 0));
	rig_run(&R, 30000);
	CU_ASSERT_TRUE(STAT(rounds) > 0);
	CU_ASSERT_TRUE(ctr_of(a) && ctr_of(a)->state == 2);
	v_check_all("owner deleted");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	rig_run(&R, 30000);
	v_check_all("restarted");
	v_rm(vb);
	all_gone("shared");
	v_down();
}

static uint64_t cycle_now(void)
{
	struct rig_kv *kv = v_key("gc");
	unsigned long long k = 0;

	if (kv)
		(void)sscanf(kv->val, "{\"cycle\": %llu}", &k);
	return k;
}

/* Begins a round at once. */
static uint64_t cycle_raise(void)
{
	char val[64];

	snprintf(val, sizeof(val), "{\"cycle\": %llu}", (unsigned long long)cycle_now() + 1);
	rig_put(&R, "gc", strdup(val));
	return cycle_now();
}

/* Event by event. */
#define STEP_UNTIL(cond)                                                                           \
	({                                                                                         \
		uint64_t end_ = R.now_us + 30000000;                                               \
		while (!(cond) && R.now_us < end_ && rig_step(&R))                                 \
			;                                                                          \
		(cond);                                                                            \
	})

static int addr_status(vms_addr a)
{
	uint32_t q = vms_addr_partition(a, R.part_bits);
	struct vms_msg m = {.type = VMS_MSG_READ_ADDR, .partition = q};
	struct rig_reply re;
	uint8_t body[8];
	int st;

	vms_put_le64(body, a);
	m.body = body;
	m.body_bytes = 8;
	st = v_call(0, m, &re);
	if (!st) {
		st = (int16_t)vms_get_le16(re.body + 12);
		rig_reply_free(&re);
	}
	return st;
}

/* Dead stretches of a container that lives on are given back to the disk. */
static void test_punch(void)
{
	vms_addr a[PAIR];
	uint64_t before;
	struct ctr *c;

	pair_up(22, 2);
	pair_refer(0, PAIR);
	seal(0);
	for (unsigned i = 0; i < PAIR; i++)
		a[i] = entry(va, ea, i, NULL);
	before = v_ctr_bytes();
	v_rm(va);
	v_zero(vb, eb, 4, 30);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(60000, (c = ctr_of(a[0])) && c->dead.count >= 16));
	CU_ASSERT_TRUE(V_WAIT(10000, STAT(punched) >= 2 * 16));
	CU_ASSERT_TRUE(v_ctr_bytes() + 32 * V_CHUNK <= before);
	for (int round = 0; round < 2; round++) {
		unsigned gone = 0;

		c = ctr_of(a[0]);
		for (unsigned i = 0; i < PAIR; i++) {
			bool dead = places_has(&c->dead, a[i]);

			CU_ASSERT_EQUAL(addr_status(a[i]), dead ? VMS_E_GONE : 0);
			CU_ASSERT_FALSE(dead && (i < 4 || i >= 34));
			gone += dead;
		}
		CU_ASSERT_EQUAL(gone, c->dead.count);
		v_check_all("punched");
		for (unsigned i = 0; i < 3 && !round; i++) {
			rig_node_crash(&R, i, true);
			rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		}
	}
	v_rm(vb);
	all_gone("punch");
	v_down();
}

/* Confirmed after the marks began, referred to after they ended: it stays. */
static void test_late_hit(void)
{
	uint64_t stamp = 0, k;
	vms_addr a;

	pair_up(23, 2);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	seal(0);
	CU_ASSERT_TRUE(V_WAIT(20000, ctr_of(a)->state == 2));
	v_rm(va);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(v_pages(va->branch) == 0));
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->gc_cycle == k && part_at(1)->gc_cycle == k));
	/* a stamp from before is refused by now */
	CU_ASSERT_FALSE(refer(vb, eb, 0, a, stamp));
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	CU_ASSERT_EQUAL(stamp, k);
	rig_run(&R, 2500); /* the round ends meanwhile */
	CU_ASSERT_TRUE(STAT(rounds) >= 3);
	CU_ASSERT_EQUAL(cycle_now(), k);
	CU_ASSERT_TRUE(refer(vb, eb, 0, a, stamp));
	rig_run(&R, 20000);
	CU_ASSERT_EQUAL(entry(vb, eb, 0, NULL), a);
	v_check_all("late hit");
	v_rm(vb);
	all_gone("late hit");
	v_down();
}

/* A sweep is ordered: from that step on nobody is given the container. */
static void test_sweep_confirm(void)
{
	uint64_t stamp = 0;
	vms_addr a;

	pair_up(24, 2);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	seal(0);
	v_rm(va);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	CU_ASSERT_FALSE(confirm(a, &stamp));
	v_rm(vb);
	all_gone("sweep");
	CU_ASSERT_FALSE(confirm(a, &stamp));
	v_down();
}

/* One node is away, with references that nobody else knows of: nothing is freed. */
static void test_silent(void)
{
	vms_addr a;

	pair_up(25, 1);
	pair_refer(0, PAIR);
	seal(0);
	rig_run(&R, 6000);
	a = entry(va, ea, 0, NULL);
	rig_node_crash(&R, 1, true);
	v_rm(va);
	CU_ASSERT_TRUE(V_WAIT(30000, entry(va, ea, 0, NULL) == VMS_ADDR_HOLE));
	cycle_raise();
	rig_run(&R, 20000);
	CU_ASSERT_TRUE(ctr_of(a) && ctr_of(a)->state == 2 && !ctr_of(a)->sweeping);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 30000);
	v_check_all("silent");
	v_rm(vb);
	all_gone("silent");
	v_down();
}

/* The owner restarts in the middle of a round and has forgotten whom it said yes to. */
static void test_stamps_lost(void)
{
	uint64_t stamp = 0, k;
	vms_addr a;

	pair_up(26, 1);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	seal(0);
	v_rm(va);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(v_pages(va->branch) == 0));
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->gc_cycle == k && part_at(1)->gc_cycle == k));
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	CU_ASSERT_EQUAL(stamp, k);
	rig_node_crash(&R, 0, true);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	CU_ASSERT_TRUE(refer(vb, eb, 0, a, stamp));
	rig_run(&R, 3000);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 30000);
	CU_ASSERT_EQUAL(entry(vb, eb, 0, NULL), a);
	v_check_all("stamps lost");
	v_rm(vb);
	all_gone("stamps lost");
	v_down();
}

/* Pages of partition 1 that come before those of volume 1 in a walk. */
static void fill_pages(struct v_vol *v, unsigned count)
{
	uint8_t b[V_CHUNK];

	v_fill(b, 5);
	for (uint32_t e = 100; count; e++) {
		if (v_part(v, e) != 1)
			continue;
		CU_ASSERT_EQUAL(v_write_raw(v, e, 0, 1, 0xff, b, V_CHUNK), 0);
		count--;
	}
}

/* References that go while the pages are walked: what they named stays in this round,
 * for a replay may bring them back. */
static void test_removed(void)
{
	uint64_t k, rounds, stamp = 0;
	vms_addr a, own;

	pair_up(27, 2);
	fill_pages(va, 400);
	v_drain();
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_write(vb, eb, 100, 4711);
	v_drain();
	rig_run(&R, 6000);
	own = entry(vb, eb, 100, NULL);
	CU_ASSERT_TRUE_FATAL(V_WAIT(60000, STAT(rounds) > 0));
	rig_run(&R, 12000);
	rounds = STAT(rounds);
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_walking));
	for (unsigned c = 0; c < PAIR; c++) {
		stamp = part_at(1)->gc_cycle;
		CU_ASSERT_TRUE(refer(vb, eb, c, own, stamp));
		vb->img.id[eb][c] = 4711;
	}
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	CU_ASSERT_EQUAL(entry(vb, eb, PAIR - 1, NULL), own);
	CU_ASSERT_TRUE(V_WAIT(20000, STAT(rounds) >= rounds + 3));
	CU_ASSERT_TRUE(ctr_of(a) && ctr_of(a)->state == 2 && !ctr_of(a)->sweeping);
	v_check_all("removed");
	v_rm(va);
	v_rm(vb);
	all_gone("removed");
	v_down();
}

/* The same at home: between a partition's own walk and the end of the round it removes the
 * last references to its shared container. The marks name them; it must not be held for live
 * for ever (simulator seed 21987). */
static void test_removed_own(void)
{
	uint64_t k;

	pair_up(31, 2);
	pair_refer(0, PAIR);
	seal(0);
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	rig_run(&R, 20000); /* rounds have nothing more to do */
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	part_at(1)->rd_safe = UINT64_MAX; /* holds the round */
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->rd_cycle == k));
	v_rm(va);
	v_rm(vb);
	CU_ASSERT_TRUE(V_WAIT(30000, v_pages(0) == 0));
	CU_ASSERT_EQUAL(cycle_now(), k);
	part_at(1)->rd_safe = 0;
	all_gone("removed at home");
	v_down();
}

/* Containers of partition 0 that are shared, and nobody refers to them. */
static bool shared_left(void)
{
	VMS_VEC_FOREACH (&part_at(0)->ctrs, c)
		if (c->shared && c->state != 3)
			return true;
	return false;
}

/* References to another partition have gone, and the only one that has counted them is
 * restarted before a round comes: one is asked for all the same. Where everything rests it is
 * the only one. */
static void test_forgotten(void)
{
	uint64_t k;

	pair_up(35, 1);
	pair_refer(0, PAIR);
	seal(0);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 40000); /* rounds have nothing more to do */
	k = cycle_now();
	rig_run(&R, 60000);
	CU_ASSERT_EQUAL(cycle_now(), k);
	CU_ASSERT_TRUE(shared_left());
	for (unsigned i = 0; i < 3; i++) { /* nothing has gone */
		k = cycle_now();
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		rig_run(&R, 60000);
		CU_ASSERT(cycle_now() <= k + 1);
		k = cycle_now();
		rig_run(&R, 120000);
		CU_ASSERT_EQUAL(cycle_now(), k);
	}
	v_check_all("restarted");
	k = cycle_now();
	rig_cut(&R, 0, 2, true); /* no round begins */
	rig_cut(&R, 2, 0, true);
	CU_ASSERT_TRUE(V_WAIT(20000, !node_primary_conn(R.node[0].n, 2)));
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	CU_ASSERT_TRUE(V_WAIT(10000, part_at(1)->rd_gone >= PAIR));
	rig_run(&R, 6000);
	rig_node_crash(&R, 1, true);
	rig_node_start(&R, 1);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_EQUAL(part_at(1)->rd_gone, 0); /* its index has had it */
	CU_ASSERT_EQUAL(cycle_now(), k);
	CU_ASSERT_TRUE(shared_left());
	rig_cut(&R, 0, 2, false);
	rig_cut(&R, 2, 0, false);
	if (!V_WAIT(60000, !shared_left()))
		v_fail("garbage that a former process knew of stays");
	v_check_all("forgotten");
	v_rm(va);
	v_rm(vb);
	all_gone("forgotten");
	v_down();
}

/* References go between a partition's walk and one more in the same round, which a new epoch
 * made necessary: the marks of the first name them, so the round frees nothing. The next one
 * does. */
static void test_walked_twice(void)
{
	uint64_t k, e;

	pair_up(36, 2);
	pair_refer(0, PAIR);
	seal(0);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 40000);
	k = cycle_raise();
	e = part_at(1)->conf.epoch;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(2)->rd_cycle == k));
	part_at(2)->rd_safe = UINT64_MAX; /* holds the round */
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_sent && part_at(1)->rd_cycle == k));
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	CU_ASSERT_TRUE_FATAL(V_WAIT(10000, part_at(1)->rd_gone >= PAIR));
	rig_run(&R, 6000);
	CU_ASSERT_EQUAL(cycle_now(), k);
	rig_node_crash(&R, 2, true); /* a member of partitions 1 and 2 */
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k && part_at(1)->rd_epoch > e));
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	if (!V_WAIT(60000, !shared_left()))
		v_fail("garbage that was marked before it went stays");
	v_check_all("walked twice");
	v_rm(va);
	v_rm(vb);
	all_gone("walked twice");
	v_down();
}

/* What was removed just before, and could come back by a replay, is waited for. */
static void test_unsafe(void)
{
	uint64_t k;
	vms_addr a;

	pair_up(28, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 20000); /* rounds have nothing more to do, the index is durable */
	for (unsigned c = 0; c < PAIR; c++)
		v_write(vb, eb, c, 5000 + c);
	vms_wal_gen_seal(R.node[1].n->wal);
	CU_ASSERT_TRUE_FATAL(
		STEP_UNTIL(vms_addr_partition(entry(vb, eb, PAIR - 1, NULL), R.part_bits) == 1));
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k));
	CU_ASSERT_EQUAL(part_at(1)->rd_safe, part_at(1)->drain_applied);
	part_at(1)->rd_safe = UINT64_MAX; /* as if a member's checkpoint took long */
	rig_run(&R, 4000);
	CU_ASSERT_TRUE(ctr_of(a) && !ctr_of(a)->sweeping && ctr_of(a)->state == 2);
	part_at(1)->rd_safe = 0;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	v_check_all("unsafe");
	v_rm(va);
	v_rm(vb);
	all_gone("unsafe");
	v_down();
}

/* A shared container that takes chunks while the round is on. */
static void test_open(void)
{
	uint64_t stamp = 0, k;
	vms_addr a, b;

	pair_up(29, 1);
	a = entry(va, ea, 0, NULL);
	CU_ASSERT_TRUE_FATAL(confirm(a, &stamp));
	CU_ASSERT_EQUAL(ctr_of(a)->state, 1);
	part_at(0)->gc_at_ms = UINT64_MAX; /* it is not sealed for being empty */
	v_zero(va, ea, 0, PAIR);
	v_drain();
	rig_run(&R, 6000);
	CU_ASSERT_EQUAL_FATAL(ctr_of(a)->state, 1);
	rig_node_crash(&R, 2, true); /* holds the round */
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->rd_cycle == k));
	v_write(va, ea, 7, 4712);
	v_drain();
	b = entry(va, ea, 7, NULL);
	CU_ASSERT_EQUAL_FATAL(vms_addr_container(a), vms_addr_container(b));
	seal(0);
	rig_run(&R, 1000);
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	rig_run(&R, 20000);
	v_check_all("open");
	v_rm(va);
	v_rm(vb);
	all_gone("open");
	v_down();
}

/* An epoch change after the marks: they are made again before anything is freed. */
static void test_epoch(void)
{
	uint64_t k, e;
	vms_addr a;

	pair_up(30, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	rig_run(&R, 300);
	k = cycle_raise();
	e = part_at(1)->conf.epoch;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(2)->rd_cycle == k));
	part_at(2)->rd_safe = UINT64_MAX; /* holds the round */
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_sent && part_at(1)->rd_cycle == k));
	rig_node_crash(&R, 2, true); /* a member of partitions 1 and 2 */
	rig_node_start(&R, 2);
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(1)->rd_cycle == k && part_at(1)->rd_epoch > e &&
					!part_at(1)->rd_sent));
	part_at(1)->rd_safe = UINT64_MAX;
	rig_run(&R, 6000);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(ctr_of(a) && !ctr_of(a)->sweeping && ctr_of(a)->state == 2);
	part_at(1)->rd_safe = 0;
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	v_check_all("epoch");
	v_rm(va);
	v_rm(vb);
	all_gone("epoch");
	v_down();
}

/* The set of a partition from now on: one node. */
static void set_alone(uint32_t number, unsigned node)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_part_conf pc;
	struct vms_cat_kv kv;
	struct rig_kv *k;
	uint32_t got;

	vms_cat_key_part(key, number);
	k = v_key(key);
	kv = (struct vms_cat_kv){k->key, k->val, (uint32_t)strlen(k->val), k->mod, 1};
	CU_ASSERT_EQUAL_FATAL(vms_cat_part_decode(&kv, &got, &pc, NULL), 0);
	pc.epoch++;
	pc.nmembers = 1;
	pc.member[0] = (struct vms_member){node + 1, R.node[node].n->incarnation};
	pc.primary = node + 1;
	R.lead[number] = (uint8_t)pc.primary;
	rig_put(&R, key, vms_cat_part_encode(&pc));
}

/* A node goes for good in the middle of a round: the round does not wait for it (simulator
 * seeds 894 and 1264). */
static void test_gone_node(void)
{
	vms_addr a;
	uint64_t k;

	pair_up(34, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	v_zero(vb, eb, 0, PAIR);
	v_drain();
	rig_run(&R, 300);
	CU_ASSERT_TRUE_FATAL(ctr_of(a) != NULL);
	k = cycle_raise();
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(part_at(0)->gc_cycle == k));
	rig_node_crash(&R, 2, false);
	set_alone(1, 1);
	set_alone(2, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	CU_ASSERT_TRUE(STEP_UNTIL(!ctr_of(a) || ctr_of(a)->sweeping));
	v_check_all("a node is gone");
	v_rm(va);
	v_rm(vb);
	CU_ASSERT_TRUE(V_WAIT(60000, v_keys("branch/") == 0 && !part_at(0)->ctrs.n &&
					     !part_at(1)->ctrs.n));
	v_down();
}

/* The lowest node raises the cycles; without it the next one does. */
static void test_coordinator(void)
{
	uint64_t k;

	pair_up(31, 1);
	/* partition 0 lies on node 1, which stays away: nothing can begin */
	pair_refer(0, PAIR);
	seal(0);
	rig_run(&R, 3000);
	k = cycle_now();
	rig_node_crash(&R, 0, true);
	rig_run(&R, 20000);
	CU_ASSERT_EQUAL(cycle_now(), k);
	rig_node_start(&R, 0);
	CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	v_rm(va);
	v_rm(vb);
	for (int i = 0; i < 12; i++) { /* the coordinator again and again, at any step */
		rig_run(&R, 100 + vms_rng_below(&R.rng, 1500));
		rig_node_crash(&R, 0, i & 1);
		rig_run(&R, vms_rng_below(&R.rng, 300));
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	all_gone("coordinator");
	v_down();
}

/* Little pieces all over a shared container: what lives is copied, everyone is told, the
 * container goes. With a crash of the owner in between it is done once more. */
static void empty_run(uint64_t seed, unsigned crash_ms)
{
	uint64_t number;
	vms_addr a;

	R.match = true;
	pair_up(seed, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	number = vms_addr_container(a);
	v_zero(va, ea, 0, PAIR);
	for (unsigned c = 0; c < PAIR; c++)
		if (c % 8)
			v_write(vb, eb, c, 0);
	v_drain();
	if (crash_ms) {
		CU_ASSERT_TRUE_FATAL(STEP_UNTIL(ctr_of(a) && ctr_of(a)->emptying));
		rig_run(&R, crash_ms);
		rig_node_crash(&R, 0, true);
		rig_node_start(&R, 0);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		v_check_all("crashed while emptying");
	}
	CU_ASSERT_TRUE(V_WAIT(120000, !ctr_of(a)));
	if (ctr_of(a))
		v_print_ctrs();
	for (unsigned c = 0; c < PAIR; c += 8) {
		vms_addr b = entry(vb, eb, c, NULL);

		CU_ASSERT_EQUAL(vms_addr_partition(b, R.part_bits), 0);
		CU_ASSERT_NOT_EQUAL(vms_addr_container(b), number);
	}
	v_check_all("emptied");
	for (unsigned i = 0; i < 3; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	rig_run(&R, 15000);
	v_check_all("restarted");
	v_rm(va);
	v_rm(vb);
	all_gone("emptied");
	v_down();
}

/* A chunk dies between its being read and the record that copies it: it is left out, since its
 * bytes may be gone when that is applied. */
static void test_empty_dead(void)
{
	struct part *p;
	vms_addr a, b;
	uint64_t off;

	R.match = true;
	pair_up(60, 2);
	pair_refer(0, PAIR);
	seal(0);
	a = entry(va, ea, 0, NULL);
	v_zero(va, ea, 0, PAIR);
	for (unsigned c = 0; c < PAIR; c++)
		if (c % 8)
			v_write(vb, eb, c, 0);
	v_drain();
	b = entry(vb, eb, 8, NULL);
	off = vms_addr_offset_bytes(b);
	CU_ASSERT_EQUAL_FATAL(vms_addr_container(a), vms_addr_container(b));
	CU_ASSERT_TRUE_FATAL(STEP_UNTIL(ctr_of(a) && ctr_of(a)->emptying));
	p = part_at(0);
	p->moves_ordered += 2; /* holds it */
	rig_run(&R, 500);
	v_zero(vb, eb, 8, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct part *q = node_part(R.node[i].n, 0);
		struct ctr *c = q ? part_ctr(q, vms_addr_container(b)) : NULL;

		if (c)
			places_or(&c->dead,
				  (uint32_t)((vms_seg_header_offset(off) - VMS_CHUNK_BYTES) /
					     (65ull * VMS_CHUNK_BYTES)),
				  1ull << vms_seg_index(off));
	}
	p->moves_ordered -= 2;
	rig_run(&R, 3000);
	for (unsigned i = 0; i < 3; i++)
		if (R.node[i].n->st.corrupt)
			v_fail("node %u copies a chunk that is dead", i);
	v_check_all("emptied");
	v_down();
}

static void test_empty(void)
{
	for (unsigned i = 0; getenv("VMS_GC_EMPTY") && i < 40; i++)
		empty_run(200 + i, 1 + i * 97 % 2500);
	empty_run(51, 0);
	for (unsigned i = 0; i < 6; i++)
		empty_run(52 + i, 1 + i * i * 37);
}

/* A full disk: nothing new is taken, but deleting works, and then there is room. */
static void test_full(void)
{
	static uint8_t b[V_CHUNK];
	unsigned full = 0, i;
	struct v_vol *v;

	R.space_bytes = 12 << 20;
	v_up(3, 2, 2, 41);
	v = v_create(0);
	for (i = 0; i < 8000 && full < 30; i++) {
		int rc;

		v_fill(b, 900000 + i);
		rc = v_write_raw(v, i % 40, i / 40, 1, 0xff, b, V_CHUNK);
		if (rc == VMS_E_NOSPC) {
			full++;
			rig_run(&R, 50);
		} else if (rc && rc != VMS_E_BUSY) {
			v_fail("write %u: %s", i, vms_err_name(rc));
		}
	}
	CU_ASSERT_TRUE(full > 0);
	v_rm(v);
	CU_ASSERT_TRUE(V_WAIT(90000, v_keys("branch/") == 0));
	CU_ASSERT_TRUE(V_WAIT(60000, v_ctr_bytes() == 0));
	v = v_create(1);
	rig_run(&R, 1500); /* until all nodes have looked, and told the others */
	CU_ASSERT_EQUAL(v_write(v, 0, 0, 123), 0);
	v_check_all("room again");
	R.space_bytes = 0;
	v_down();
}

/* The disk of a member fills up, not the primary's: nothing new is taken that would have
 * no place there; reading, deleting, restarting and collecting go on. */
static void test_full_member(void)
{
	static uint8_t b[V_CHUNK];
	struct v_vol *v, *w;
	unsigned p, m;
	int rc = 0;

	v_up(2, 2, 0, 43);
	v = v_create(0);
	w = v_create(1);
	v_learn();
	for (unsigned i = 0; i < 200; i++) {
		v_write(v, i % 2, i / 2, next_id++);
		v_write(w, i % 2, i / 2, next_id++);
	}
	v_drain();
	rig_run(&R, 3000);
	p = rig_primary(&R, 0);
	m = !p;
	sim_disk_space(R.node[m].sd, 12 << 20);
	sim_disk_leave(R.node[m].sd, 900 << 10);
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(R.node[m].n->nospc);
	CU_ASSERT_FALSE(R.node[p].n->nospc);
	v_fill(b, 1);
	rc = v_write_raw(v, 0, 0, 1, 0xff, b, V_CHUNK);
	CU_ASSERT_EQUAL(rc, VMS_E_NOSPC);
	v_check_all("full");
	for (unsigned i = 0; i < 2; i++) {
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	v_check_all("restarted while full");
	p = rig_primary(&R, 0);
	CU_ASSERT_TRUE(V_WAIT(5000, R.node[m].n->nospc));
	rig_run(&R, 1500);
	if (p != m)
		CU_ASSERT_EQUAL(v_write_raw(v, 0, 0, 1, 0xff, b, V_CHUNK), VMS_E_NOSPC);
	v_zero(v, 0, 0, 10);
	v_rm(w);
	CU_ASSERT_TRUE(V_WAIT(90000, !R.node[m].n->nospc));
	rig_run(&R, 1500);
	CU_ASSERT_EQUAL(v_write(v, 0, 0, next_id++), 0);
	v_check_all("room again");
	v_down();
}

/* Something else has filled the disk of a member: containers are not emptied there, since
 * what the member cannot write would hold up everything that comes after it. */
static void test_full_cramped(void)
{
	struct v_vol *v, *w;
	unsigned m;

	v_up(2, 2, 0, 44);
	v = v_create(0);
	w = v_create(1);
	v_learn();
	for (unsigned i = 0; i < 200; i++) {
		v_write(v, i % 2, i / 2, next_id++);
		v_write(w, i % 2, i / 2, next_id++);
	}
	v_drain();
	rig_run(&R, 3000);
	m = !rig_primary(&R, 0);
	sim_disk_leave(R.node[m].sd, 128 << 10);
	for (unsigned i = 0; i < 2; i++) { /* what they wrote is sealed */
		rig_node_crash(&R, i, true);
		rig_node_start(&R, i);
		CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
	}
	rig_run(&R, 3000);
	CU_ASSERT_TRUE(R.node[m].n->cramped);
	v_zero(v, 0, 0, 10);
	v_rm(w);
	rig_run(&R, 10000);
	CU_ASSERT_EQUAL(sim_disk_refused(R.node[m].sd), 0);
	v_check_all("cramped");
	sim_disk_leave(R.node[m].sd, UINT64_MAX);
	CU_ASSERT_TRUE(V_WAIT(5000, !R.node[m].n->nospc));
	rig_run(&R, 1500);
	CU_ASSERT_EQUAL(v_write(v, 0, 0, next_id++), 0);
	CU_ASSERT_TRUE(V_WAIT(90000, v_keys("branch/") == 1));
	v_check_all("room again");
	v_down();
}

/* Much is written between two looks at the disk: what lies in the log has been counted. */
static void test_full_fast(void)
{
	static uint8_t b[V_CHUNK];
	struct vms_node *n;
	struct v_vol *v;
	uint64_t room;
	unsigned i;
	int rc = 0;

	v_up(1, 1, 0, 47);
	v = v_create(0);
	v_learn();
	for (i = 0; i < 100; i++)
		v_write(v, i % 2, i / 2, next_id++);
	v_drain();
	n = R.node[0].n;
	/* room for another 512 KiB */
	room = sim_disk_container_bytes(R.node[0].sd) + vms_wal_used_bytes(n->wal) + (512 << 10);
	sim_disk_space(R.node[0].sd, room * 32 / 29);
	rig_run(&R, 1000);
	while (n->space_ms - n->now_ms < 450)
		rig_run(&R, 10);
	CU_ASSERT_FALSE(n->nospc);
	for (i = 0; i < 400 && !rc && n->now_ms < n->space_ms; i++) {
		v_fill(b, next_id++);
		rc = v_write_raw(v, 1, i % 100, 1, 0xff, b, V_CHUNK);
	}
	CU_ASSERT_EQUAL(rc, VMS_E_NOSPC);
	CU_ASSERT_TRUE(i > 60 && i < 140);
	v_down();
}

/* A record that is ordered and not applied yet may refer to a container in which nothing
 * is referred to otherwise: it stays. */
static void test_ordered_ref(void)
{
	struct vms_move m = {.flags = VMS_MOVE_REF};
	uint64_t number = 0;
	struct vms_node *n;
	struct v_vol *v;
	struct part *p;

	v_up(1, 1, 0, 13);
	gc_target(100000);
	v = v_create(0);
	for (unsigned round = 0; round < 2; round++) {
		for (uint32_t e = 0; e < 4; e++)
			for (unsigned c = 0; c < 128; c++)
				v_write(v, e, c, next_id++);
		if (round == 0)
			v_drain();
	}
	n = R.node[0].n;
	p = node_part(n, 0);
	VMS_VEC_FOREACH (&p->ctrs, c)
		if (c->state == 2 && c->chunks && !number)
			number = c->number;
	CU_ASSERT_TRUE_FATAL(number != 0);
	m.to = vms_addr_make(number, VMS_CHUNK_BYTES);
	part_ref_count(n, p, &m, true);
	v_drain();
	gc_target(110);
	CU_ASSERT_TRUE(V_WAIT(40000, STAT(swept) > 0));
	rig_run(&R, 40000);
	CU_ASSERT_TRUE_FATAL(part_ctr(p, number) != NULL);
	CU_ASSERT_TRUE(part_ctr(p, number)->live == 0 && part_ctr(p, number)->state == 2);
	part_ref_count(n, p, &m, false);
	CU_ASSERT_TRUE(V_WAIT(90000, !part_ctr(p, number) || part_ctr(p, number)->state == 3));
	v_check_all("collected");
	v_down();
}

/* Duplicates everywhere, through the real index. */
static void test_random(void)
{
	const char *s = getenv("VMS_GC_SEEDS");
	uint64_t from = 3000, to = from + 12;

	if (s) {
		from = strtoull(s, NULL, 10);
		to = strchr(s, '.') ? strtoull(strrchr(s, '.') + 1, NULL, 10) + 1 : from + 1;
	}
	for (uint64_t seed = from; seed < to; seed++) {
		R.match = seed % 3 == 0;
		v_random(seed, 50 + seed % 4 * 15);
		if (v_bad) {
			fprintf(stderr, "repeat with: VMS_GC_SEEDS=%llu build/tests/test_gc\n",
				(unsigned long long)seed);
			return;
		}
	}
}

/* Each rule, switched off, makes one of these tests fail. */
static void test_mutants(void)
{
	CU_ASSERT_TRUE(v_catches(MUT_GC_COPIES, test_one_copy));
	CU_ASSERT_TRUE(v_catches(MUT_RD_STAMP, test_late_hit));
	CU_ASSERT_TRUE(v_catches(MUT_RD_PARTIAL, test_silent));
	CU_ASSERT_TRUE(v_catches(MUT_RD_EPOCH_P, test_epoch));
	CU_ASSERT_TRUE(v_catches(MUT_RD_EPOCH_Q, test_stamps_lost));
	CU_ASSERT_TRUE(v_catches(MUT_RD_REMOVED, test_removed));
	CU_ASSERT_TRUE(v_catches(MUT_RD_UNSAFE, test_unsafe));
	CU_ASSERT_TRUE(v_catches(MUT_RD_OPEN, test_open));
	CU_ASSERT_TRUE(v_catches(MUT_RD_GONE, test_punch));
	CU_ASSERT_TRUE(v_catches(MUT_EMPTY_DEAD, test_empty_dead));
	CU_ASSERT_TRUE(v_catches(MUT_FULL_MEMBER, test_full_member));
	CU_ASSERT_TRUE(v_catches(MUT_FULL_LATE, test_full_fast));
	CU_ASSERT_TRUE(v_catches(MUT_FULL_MOVE, test_full_cramped));
	CU_ASSERT_TRUE(v_catches(MUT_RD_OWN_GONE, test_removed_own));
	CU_ASSERT_TRUE(v_catches(MUT_RD_GONE_NODE, test_gone_node));
	CU_ASSERT_TRUE(v_catches(MUT_RD_UNASKED, test_forgotten));
	CU_ASSERT_TRUE(v_catches(MUT_RD_TWICE, test_walked_twice));
	CU_ASSERT_FALSE(v_catches(MUT_NONE, test_one_copy));
}

static const struct vms_test tests[] = {

	VMS_TEST(test_one_copy),     VMS_TEST(test_shared),	   VMS_TEST(test_punch),
	VMS_TEST(test_late_hit),     VMS_TEST(test_sweep_confirm), VMS_TEST(test_silent),
	VMS_TEST(test_stamps_lost),  VMS_TEST(test_removed),	   VMS_TEST(test_unsafe),
	VMS_TEST(test_ordered_ref),  VMS_TEST(test_open),	   VMS_TEST(test_epoch),
	VMS_TEST(test_coordinator),  VMS_TEST(test_empty),	   VMS_TEST(test_empty_dead),
	VMS_TEST(test_full),	     VMS_TEST(test_full_member),   VMS_TEST(test_full_fast),
	VMS_TEST(test_full_cramped), VMS_TEST(test_gone_node),	   VMS_TEST(test_random),
	VMS_TEST(test_removed_own),  VMS_TEST(test_forgotten),	   VMS_TEST(test_walked_twice),
	VMS_TEST(test_mutants),
};

VMS_TEST_MAIN("gc", tests)
