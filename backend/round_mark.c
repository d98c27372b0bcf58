// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marking: each partition that this node leads orders its mark, walks its pages, and tells the
 * others when all it refers to has been told (round.c).
 */
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/round.h"
#include "backend/round_int.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PAGES_PER_STEP 128u

/* What pages do not show, or not any more. */
static void roots(struct vms_node *n, struct part *p)
{
	for (uint64_t s = p->applied + 1; s <= p->seq_last; s++) {
		struct vms_move m[VMS_SEG_ENTRIES_MAX];
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;
		int k;

		if (!pr || (pr->type != VMS_REC_DRAIN && pr->type != VMS_REC_REMAP) ||
		    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0)
			continue;
		k = vms_rec_moves_decode(&r, m, VMS_SEG_ENTRIES_MAX);
		for (int i = 0; i < k; i++)
			if (m[i].flags & VMS_MOVE_REF)
				round_mark(n, m[i].to);
	}
	for (size_t i = p->stubs_head; i < p->stubs.n; i++) {
		struct stub_ref *r = &p->stubs.d[i];
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r->branch,
							r->extent, r->snap_gen, false);
		struct vms_ovl_chunk *c = e ? vms_ovl_chunk_get(&n->ovl, e, r->chunk, false) : NULL;

		if (!c || !c->stub)
			continue;
		round_mark(n, c->stub_handed);
		round_mark(n, c->stub_to);
		/* when its time is over the old address is garbage */
		p->rd_gone += !vms_addr_is_log(c->stub_handed, n->conf.part_bits);
	}
}

static int walk_page(void *arg, const struct vms_page *pg)
{
	struct vms_node *n = arg;
	struct round *rd = n->round;

	if (rd->pages++ == PAGES_PER_STEP) {
		rd->resume = pg->key;
		rd->more = true;
		return 1;
	}
	for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
		if (pg->entry[i] != VMS_ADDR_HOLE)
			round_mark(n, pg->entry[i]);
	return 0;
}

void round_walk_stop(struct round *rd)
{
	if (rd->p)
		rd->p->rd_walking = false;
	rd->p = NULL;
	rd->walk = W_NONE;
}

bool round_walked(const struct round *rd, const struct part *p)
{
	return p->rd_cycle == rd->cycle && p->rd_epoch == p->conf.epoch;
}

bool round_may_walk(const struct part *p)
{
	return part_serving(p) && part_members_ready(p);
}

static void walk_begin(struct vms_node *n, struct round *rd, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_MARK, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8];

	rd->mark_seq = 0;
	if (p->gc_cycle < rd->cycle) {
		vms_put_le64(meta, rd->cycle);
		r.meta = meta;
		r.meta_bytes = sizeof(meta);
		if (part_order(n, p, &r, NULL, 0)) {
			rd->step_ms = n->now_ms + n->tm.tick_ms;
			return;
		}
		rd->mark_seq = r.seq;
		n->st.marks++;
	}
	rd->p = p;
	rd->walk = W_MARK;
	p->rd_epoch = p->conf.epoch;
}

static void walk_step(struct vms_node *n, struct round *rd)
{
	struct part *p = rd->p;
	int rc;

	if (!round_may_walk(p) || p->rd_epoch != p->conf.epoch) {
		round_walk_stop(rd); /* once more, from the start, in the new epoch */
		return;
	}
	if (rd->walk == W_MARK) {
		if (p->committed < rd->mark_seq)
			return;
		rd->walk = W_WALK;
		memset(&rd->resume, 0, sizeof(rd->resume));
		rd->resume.partition = p->number;
		p->rd_walking = n->mut != MUT_RD_REMOVED;
		p->rd_safe = p->drain_applied;
		/* What this round may still hold for live: what went since its first walk here.
		 * This is the first when it has ordered MARK, also after a change of the lead. */
		if (rd->mark_seq || n->mut == MUT_RD_TWICE) {
			p->rd_gone = 0;
			p->rd_unsure = false;
		}
		VMS_VEC_FOREACH (&p->ctrs, c) {
			c->rmarked = c->shared && (c->state == 2 || n->mut == MUT_RD_OPEN);
			c->rmark_gone = false;
		}
		roots(n, p);
	}
	if (round_dests_full(rd))
		return;
	rd->pages = 0;
	rd->more = false;
	rc = vms_pages_each(n->pages, p->number, &rd->resume, walk_page, n);
	n->st.pages_marked += rd->pages;
	if (rc < 0) {
		if (!rd->damaged)
			node_log(n, VMS_LOG_ERROR,
				 "partition %u: an index page is damaged, nothing "
				 "is collected in the cluster until it is repaired",
				 p->number);
		rd->damaged = true;
		rd->step_ms = n->now_ms + 40ull * n->tm.tick_ms;
		round_walk_stop(rd);
		return;
	}
	if (rd->more)
		return;
	p->rd_cycle = rd->cycle;
	p->rd_sent = false;
	round_walk_stop(rd);
}

/* Partitions whose marks have all arrived. */
static void complete(struct vms_node *n, struct round *rd)
{
	uint32_t count = 0;
	uint8_t *body;

	if (rd->nmarks)
		round_flush(n, rd);
	if (!round_dests_idle(rd)) {
		round_dests_go(n, rd);
		return;
	}
	body = malloc(16ull * n->nparts);
	vms_assert(body);
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || !p->primary || p->rd_sent || !round_walked(rd, p))
			continue;
		if (p->safe_seq < p->rd_safe && n->mut != MUT_RD_UNSAFE) {
			n->hungry = true;
			continue;
		}
		p->rd_sent = true;
		rd->src[i].cycle = rd->cycle;
		rd->src[i].epoch = p->conf.epoch;
		vms_put_le32(body + 16 * count, i);
		vms_put_le32(body + 16 * count + 4, 0);
		vms_put_le64(body + 16 * count + 8, p->conf.epoch);
		count++;
	}
	for (uint32_t at = 0; at < count; at += FRAME_SEGS) {
		uint32_t k = count - at < FRAME_SEGS ? count - at : FRAME_SEGS;

		VMS_VEC_FOREACH (&rd->dests, d) {
			struct frame *f;

			if ((*d)->skip)
				continue;
			f = round_frame_new(rd, 1, 16 * k);
			memcpy(f->body, body + 16 * at, 16ull * k);
			round_dest_push(*d, f, false);
		}
	}
	free(body);
	round_dests_go(n, rd);
}

void round_mark_step(struct vms_node *n, struct round *rd)
{
	bool all = true;

	round_dests_go(n, rd);
	if (n->now_ms < rd->step_ms) {
		node_wake_at(n, rd->step_ms);
		return;
	}
	if (!round_viewed(n, rd))
		return;
	rd->step_ms = n->now_ms + gc_pace_ms(n);
	if (!rd->p)
		for (uint32_t i = 0; i < n->nparts && !rd->p; i++) {
			struct part *p = n->part[i];

			if (!p || !p->known || !p->primary || round_walked(rd, p))
				continue;
			if (round_may_walk(p) && !n->stopping)
				walk_begin(n, rd, p);
			all = false;
		}
	if (rd->p) {
		walk_step(n, rd);
		node_wake_at(n, rd->step_ms);
		return;
	}
	for (uint32_t i = 0; i < n->nparts && all; i++)
		all = !n->part[i] || !n->part[i]->primary || n->part[i]->rd_sent;
	if (!all || rd->nmarks || !round_dests_idle(rd)) {
		complete(n, rd);
		node_wake_at(n, n->now_ms + n->tm.tick_ms / 16 + 1);
	}
}

void round_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct round *rd = n->round;
	int rc = 0;

	if (!rd || !rd->known || m->sequence > rd->cycle)
		rc = VMS_E_AGAIN; /* the own watch tells soon */
	else if (m->sequence < rd->cycle)
		rc = VMS_E_GONE;
	else if (m->body_bytes % 16)
		rc = VMS_E_PROTO;
	for (uint32_t at = 0; !rc && at < m->body_bytes; at += 16) {
		uint64_t head = vms_get_le64(m->body + at);
		uint32_t i = (uint32_t)head;

		if (m->aux == 0) {
			round_mark_own(n, head, vms_get_le64(m->body + at + 8));
		} else if (i < n->nparts && n->pconf[i].primary == c->peer->id) {
			rd->src[i].cycle = rd->cycle;
			rd->src[i].epoch = vms_get_le64(m->body + at + 8);
		}
	}
	node_reply(n, c->id, m, rc);
}
