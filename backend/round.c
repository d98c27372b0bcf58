// SPDX-License-Identifier: GPL-2.0-only
/*
 * Collection of containers that several partitions refer to: mark and sweep over the
 * whole cluster, in numbered rounds ("cycles").
 *
 * The number lies in the catalog; the lowest live node raises it by compare when the
 * nodes report enough garbage. Every node then does two things for the partitions it
 * leads:
 *
 * - mark: each partition orders MARK k (durable before anything is marked). From then
 *   on it orders no reference to another partition that was confirmed with a stamp
 *   below k. It walks its pages, and adds what is ordered and not applied, addresses
 *   that gateways may still be given (stubs), and every address removed while it walks.
 *   What it finds goes to the primaries of those addresses, as a set of places per
 *   segment. When all of that has arrived, and what was removed before the walk is
 *   durable on all members (else a replay could need it), the partition counts as
 *   complete in its epoch.
 * - sweep: when all partitions of the cluster are complete, in the epochs they are in
 *   now, a partition frees what is unmarked in its shared containers that were sealed
 *   and shared before its own walk and have not been confirmed to anyone since it
 *   ordered MARK k (the container's stamp is below k).
 *
 * Why this is enough: a reference ordered before MARK k of its partition is in the
 * marks; one ordered later was confirmed with stamp k or more, so the container has
 * that stamp and is left alone. Stamps lie in memory: a partition whose epoch changes
 * sweeps only in a cycle begun afterwards. One silent partition means no sweep at all.
 * Nobody marks before it knows all epochs that are older than the cycle, and only those
 * sweep: else marks could go to a former primary (round_view.c).
 *
 * A container without any mark dies as a whole (SWEEP). Unmarked runs of at least
 * 64 KiB die by PUNCH, which is applied by all members; the disk's space goes back
 * when the checkpoint that holds it is durable.
 *
 * Here are the cycle and who begins one; round_mark.c marks, round_send.c tells the other
 * nodes, round_sweep.c frees.
 *
 * Owner: the node thread. Keeps invariants 20, 21, 23 (rules B2, B3, B5).
 */
#include "backend/round.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/htab.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/round_int.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define FORGET_ROUND_MS(n) (480ull * (n)->tm.tick_ms) /* 2 min: begin anew */

/* ---- the cycle ---- */

static void cycle_set(struct vms_node *n, struct round *rd, uint64_t cycle, bool begun)
{
	bool unswept = rd->done < rd->cycle;

	if (cycle <= rd->cycle && rd->known)
		return;
	rd->cycle = cycle;
	rd->since_ms = n->now_ms;
	rd->over = false;
	round_walk_stop(rd);
	round_table_clear(rd);
	VMS_VEC_FOREACH (&rd->dests, d) {
		round_dest_clear(*d);
		(*d)->skip = false;
		(*d)->incarnation = (*d)->peer->incarnation;
	}
	for (unsigned i = 0; i < n->npeers; i++) {
		struct dest *d;

		if (round_dest_of(rd, n->peer[i]->id))
			continue;
		d = calloc(1, sizeof(*d));
		vms_assert(d);
		d->n = n;
		d->peer = n->peer[i];
		d->incarnation = d->peer->conn ? d->peer->incarnation : 0;
		VMS_VEC_PUSH(&rd->dests, d);
	}
	rd->at = 0;
	rd->ctr_at = 0;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		round_sweep_end(p);
		VMS_VEC_FOREACH (&p->ctrs, c)
			c->emptying = false; /* what was not moved may be referred to again */
		p->rd_sent = false;
		/* Stamps since now are complete as long as the epoch stays. All who mark know of
		 * an epoch that is older than the cycle; of a later one some may not. */
		p->sweep_cycle = begun && round_may_walk(p) &&
						 (p->conf_rev <= rd->rev || n->mut == MUT_RD_LATE)
					 ? cycle
					 : 0;
		p->sweep_epoch = p->conf.epoch;
		p->rd_again |= unswept || !p->sweep_cycle;
	}
	node_wake_at(n, n->now_ms);
}

void round_part_changed(struct vms_node *n, struct part *p)
{
	if (n->round && n->round->p == p)
		round_walk_stop(n->round);
	p->rd_walking = false;
	round_sweep_end(p);
	if (p->sweep_cycle)
		p->rd_again = true;
	if (n->mut != MUT_RD_EPOCH_Q)
		p->sweep_cycle = 0;
}

static uint64_t cycle_of(const struct vms_cat_kv *kv)
{
	json_t *o = kv->val ? json_loads(kv->val, 0, NULL) : NULL;
	uint64_t k = o ? (uint64_t)json_integer_value(json_object_get(o, "cycle")) : 0;

	json_decref(o);
	return k;
}

static void gc_event(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	if (r->status) {
		n->cat->ops->unwatch(n->cat, rd->watch);
		rd->watch = 0;
		return;
	}
	for (unsigned i = 0; i < r->nkv; i++)
		if (!strcmp(r->kv[i].key, "gc")) {
			rd->rev = r->kv[i].mod_revision;
			cycle_set(n, rd, cycle_of(&r->kv[i]), true);
		}
}

static void gc_read(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	rd->busy = false;
	rd->retry_ms = n->now_ms + n->tm.tick_ms;
	if (r->status)
		return;
	rd->rev = r->nkv ? r->kv[0].mod_revision : 0;
	/* whether it began before or after an epoch changed is not known */
	cycle_set(n, rd, r->nkv ? cycle_of(&r->kv[0]) : 0, false);
	rd->known = true;
	if (!rd->watch)
		rd->watch = n->cat->ops->watch(n->cat, "gc", r->revision, gc_event, n);
}

static void gc_raised(void *arg, const struct vms_cat_reply *r)
{
	struct vms_node *n = arg;

	(void)r; /* the watch tells, whatever came of it */
	n->round->busy = false;
	n->round->next_ms = n->now_ms + 4ull * n->tm.tick_ms;
}

/* ---- who begins a cycle, and when ---- */

/* Bytes that a round might free; *unsure: perhaps more, of which a former primary, or an
 * earlier process of this node, knew. */
static uint64_t want(struct vms_node *n, uint64_t *shared, bool *unsure)
{
	uint64_t chunks = 0;

	*shared = 0;
	*unsure = false;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || !p->known || !p->primary)
			continue;
		chunks += p->rd_gone;
		*unsure |= p->rd_unsure && n->mut != MUT_RD_UNASKED;
		VMS_VEC_FOREACH (&p->ctrs, c) {
			uint64_t known = c->live + c->dead.count + c->settled;

			if (!c->shared || c->state != 2 || c->sweeping)
				continue;
			(*shared)++;
			if (known < c->chunks)
				chunks += c->chunks - known;
			else if (p->rd_again)
				chunks++;
		}
	}
	return chunks * VMS_CHUNK_BYTES;
}

static struct report *report_of(struct round *rd, uint32_t node)
{
	struct report *r;

	VMS_VEC_FOREACH (&rd->reports, x)
		if (x->node == node)
			return x;
	r = VMS_VEC_ADD(&rd->reports);
	*r = (struct report){.node = node};
	return r;
}

void round_report_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct report *r;

	if (!n->round || m->body_bytes < 24)
		return;
	r = report_of(n->round, c->peer->id);
	r->done = vms_get_le64(m->body);
	r->want = vms_get_le64(m->body + 8);
	r->shared = vms_get_le64(m->body + 16);
}

static struct peer *coordinator(struct vms_node *n)
{
	struct peer *best = NULL;

	for (unsigned i = 0; i < n->npeers; i++)
		if (n->peer[i]->conn && n->peer[i]->id < n->id &&
		    (!best || n->peer[i]->id < best->id))
			best = n->peer[i];
	return best;
}

/* Only when everyone can take part: one missing partition, and nothing is freed. */
static bool all_there(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++)
		if (!n->pconf[i].epoch ||
		    (n->pconf[i].primary != n->id && !node_primary_conn(n, i)))
			return false;
	return true;
}

static void coordinate(struct vms_node *n, struct round *rd, uint64_t mine, uint64_t shared)
{
	uint64_t total = mine, took;
	bool done = rd->done >= rd->cycle || !rd->cycle;
	struct vms_cat_cmp cmp = {"gc", rd->rev};
	char val[64];
	struct vms_cat_op op = {"gc", val, 0};

	for (unsigned i = 0; i < n->npeers; i++) {
		struct report *r;

		if (!n->peer[i]->conn)
			continue;
		r = report_of(rd, n->peer[i]->id);
		total += r->want;
		shared += r->shared;
		done &= r->done >= rd->cycle;
	}
	took = n->now_ms - rd->since_ms;
	if (done && !rd->over) {
		rd->over = true;
		rd->next_ms = n->now_ms + 8ull * n->tm.tick_ms + 2 * took;
	}
	/* little garbage waits longer */
	if (!done ? took < FORGET_ROUND_MS(n)
		  : n->now_ms < rd->next_ms + (total < 65536 ? 40ull * n->tm.tick_ms : 0))
		return;
	if (!total || !shared || rd->busy || !all_there(n))
		return;
	rd->busy = true;
	snprintf(val, sizeof(val), "{\"cycle\": %llu}", (unsigned long long)rd->cycle + 1);
	n->cat->ops->txn(n->cat, &cmp, 1, &op, 1, gc_raised, n);
}

void round_timer(struct vms_node *n)
{
	struct round *rd = n->round;

	if (!rd) {
		rd = n->round = calloc(1, sizeof(*rd));
		vms_assert(rd);
		rd->src = calloc(n->nparts, sizeof(*rd->src));
		vms_assert(rd->src);
		vms_htab_init(&rd->table, 1024);
	}
	if (n->stopping)
		return;
	if (!rd->watch) {
		if (!rd->busy && n->now_ms >= rd->retry_ms) {
			rd->busy = true;
			n->cat->ops->get(n->cat, "gc", gc_read, n);
		}
		if (!rd->known)
			return;
	}
	if (rd->cycle) {
		round_mark_step(n, rd);
		round_sweep(n, rd);
	}
	if (n->now_ms >= rd->report_ms) {
		struct peer *pe = coordinator(n);
		bool unsure;
		uint64_t shared, w = want(n, &shared, &unsure) + unsure;
		uint8_t body[24];
		struct vms_msg m = {.type = VMS_MSG_SWEEP,
				    .partition = VMS_PART_NONE,
				    .body = body,
				    .body_bytes = sizeof(body)};

		rd->report_ms = n->now_ms + 2ull * n->tm.tick_ms;
		vms_put_le64(body, rd->done);
		vms_put_le64(body + 8, w);
		vms_put_le64(body + 16, shared);
		if (pe)
			node_send(n, pe->conn, &m);
		else
			coordinate(n, rd, w, shared);
	}
	node_wake_at(n, rd->report_ms);
}

uint64_t round_cycle(const struct vms_node *n)
{
	return n->round ? n->round->cycle : 0;
}

uint64_t round_want(struct vms_node *n)
{
	uint64_t shared;
	bool unsure;

	return want(n, &shared, &unsure);
}

const char *round_phase(struct vms_node *n)
{
	const struct round *rd = n->round;

	if (!rd || rd->done >= rd->cycle)
		return "idle";
	if (rd->p)
		return "marking";
	for (uint32_t i = 0; i < n->nparts; i++)
		if (rd->src[i].cycle != rd->cycle)
			return "waiting";
	return "sweeping";
}

void round_close(struct vms_node *n)
{
	struct round *rd = n->round;

	if (!rd)
		return;
	n->round = NULL;
	round_table_clear(rd);
	vms_htab_free(&rd->table);
	VMS_VEC_FOREACH (&rd->dests, d) {
		round_dest_clear(*d);
		free(*d);
	}
	VMS_VEC_FREE(&rd->dests);
	VMS_VEC_FREE(&rd->reports);
	free(rd->src);
	free(rd);
}
