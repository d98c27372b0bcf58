/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two volumes over the volume rig that share chunks between partitions, and rounds of
 * collection that are begun by hand: what the tests of collection (test_gc*.c) share.
 */
#ifndef VMS_TESTS_GC_RIG_H
#define VMS_TESTS_GC_RIG_H

#include "backend/drain.h"
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/types.h"
#include "tests/unit/vol_rig.h"
#include "utils/lib/bytes.h"

static inline uint64_t stat_sum(size_t off)
{
	uint64_t s = 0;

	for (unsigned i = 0; i < R.nnodes; i++)
		s += *(uint64_t *)((char *)&R.node[i].n->st + off);
	return s;
}
#define STAT(f) stat_sum(offsetof(struct node_stats, f))

static inline void gc_target(unsigned percent)
{
	for (unsigned i = 0; i < R.nnodes; i++)
		R.node[i].n->conf.gc_target_percent = percent;
}

/* ---- references between partitions ---- */

static inline struct part *part_at(uint32_t number)
{
	struct vms_node *n = R.node[rig_primary(&R, number)].n;

	return n ? node_part(n, number) : NULL;
}

static inline vms_addr entry(const struct v_vol *v, uint32_t ext, unsigned ch,
			     struct vms_page_key *key)
{
	struct vms_page_key k = {v_part(v, ext), v->branch, ext * 8 + ch / 128, v->gen};
	struct vms_page pg;

	if (vms_pages_lookup(R.node[rig_primary(&R, k.partition)].n->pages, &k, &pg))
		return VMS_ADDR_HOLE;
	if (key)
		*key = pg.key;
	return pg.entry[ch % 128];
}

static inline struct ctr *ctr_of(vms_addr a)
{
	struct part *q = part_at(vms_addr_partition(a, R.part_bits));

	return q ? part_ctr(q, vms_addr_container(a)) : NULL;
}

/* What CONFIRM does at the owner; false: no. */
static inline bool confirm(vms_addr a, uint64_t *stamp)
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
static inline bool refer(const struct v_vol *v, uint32_t ext, unsigned ch, vms_addr to,
			 uint64_t stamp)
{
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m = {.extent = ext,
			     .chunk = (uint16_t)ch,
			     .valid = 0xff,
			     .flags = VMS_MOVE_REF,
			     .to = to};
	uint8_t meta[VMS_MOVES_META_MAX];
	struct vms_page_key key = {0};
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

static inline uint32_t ext_in(const struct v_vol *v, uint32_t part)
{
	for (uint32_t e = 0; e < V_EXTS; e++)
		if (v_part(v, e) == part)
			return e;
	return UINT32_MAX;
}

/* A volume with an extent in that partition. */
static inline struct v_vol *create_in(unsigned i, uint32_t part, uint32_t *ext)
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

static inline void pair_up(uint64_t seed, unsigned copies)
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

static inline void pair_refer(unsigned from, unsigned to)
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
static inline void seal(uint32_t part)
{
	struct part *p = part_at(part);
	struct vms_node *n = R.node[rig_primary(&R, part)].n;

	drain_seal_open(n, p);
	vms_node_turn_end(n, n->now_ms);
	rig_run(&R, 100);
}

static inline void all_gone(const char *what)
{
	if (!V_WAIT(90000, v_keys("branch/") == 0 && v_ctr_bytes() == 0)) {
		v_fail("%s: left %u branches, %u pages, %llu bytes", what, v_keys("branch/"),
		       v_pages(0), (unsigned long long)v_ctr_bytes());
		v_print_ctrs();
	}
}

static inline uint64_t cycle_now(void)
{
	struct rig_kv *kv = v_key("gc");
	unsigned long long k = 0;

	if (kv)
		(void)sscanf(kv->val, "{\"cycle\": %llu}", &k);
	return k;
}

/* Begins a round at once. */
static inline uint64_t cycle_raise(void)
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

#endif
