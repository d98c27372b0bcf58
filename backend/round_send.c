// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marks of a round: those of containers that lie here count at once, the others are gathered
 * by segment and go to the nodes that lead their partitions, each until it is answered.
 */
#include <stdlib.h>

#include "backend/ctr.h"
#include "backend/htab.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/round.h"
#include "backend/round_int.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define TABLE_MAX 32768u /* segments marked and not sent yet */

#define FRAME_BYTES 16u /* of one segment: u64 address of its header, u64 places */
#define QUEUE_PAUSE 8u	/* frames to one node before the walk waits */
#define OUT_MAX	    4u

void round_mark_own(struct vms_node *n, vms_addr header, uint64_t mask)
{
	struct part *q = node_part(n, vms_addr_partition(header, n->conf.part_bits));
	struct ctr *c = q && q->primary ? part_ctr(q, vms_addr_container(header)) : NULL;

	if (!c || !c->shared)
		return;
	for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++)
		if (mask >> i & 1)
			places_set(&c->rmark, header + (i + 1ull) * VMS_CHUNK_BYTES);
}

void round_mark(struct vms_node *n, vms_addr a)
{
	struct round *rd = n->round;
	uint32_t off = vms_addr_offset_bytes(a), q = vms_addr_partition(a, n->conf.part_bits);
	vms_addr header = vms_addr_make(vms_addr_container(a), vms_seg_header_offset(off));
	unsigned i = vms_seg_index(off);
	struct vms_hlink *l;
	struct seg_mark *s;

	if (a <= VMS_ADDR_LOST || vms_addr_is_log(a, n->conf.part_bits) || i >= VMS_SEG_ENTRIES_MAX)
		return;
	if (round_own_primary(n, q)) {
		round_mark_own(n, header, 1ull << i);
		return;
	}
	l = vms_htab_find(&rd->table, header);
	if (l) {
		vms_hlink_entry(l, struct seg_mark, link)->mask |= 1ull << i;
		return;
	}
	s = malloc(sizeof(*s));
	vms_assert(s);
	s->mask = 1ull << i;
	s->next = rd->marks;
	rd->marks = s;
	rd->nmarks++;
	vms_htab_add(&rd->table, &s->link, header);
	if (rd->nmarks >= TABLE_MAX)
		round_flush(n, rd);
}

void round_table_clear(struct round *rd)
{
	while (rd->marks) {
		struct seg_mark *s = rd->marks;

		rd->marks = s->next;
		free(s);
	}
	rd->nmarks = 0;
	vms_htab_free(&rd->table);
	vms_htab_init(&rd->table, 1024);
}

/* ---- to the other nodes ---- */

void round_dest_clear(struct dest *d)
{
	while (d->head) {
		struct frame *f = d->head;

		d->head = f->next;
		free(f);
	}
	d->tail = NULL;
	d->queued = 0;
}

void round_dest_push(struct dest *d, struct frame *f, bool front)
{
	f->dest = d;
	f->next = front ? d->head : NULL;
	if (front) {
		d->head = f;
		if (!d->tail)
			d->tail = f;
	} else {
		if (d->tail)
			d->tail->next = f;
		else
			d->head = f;
		d->tail = f;
	}
	d->queued++;
}

struct dest *round_dest_of(struct round *rd, uint32_t node)
{
	VMS_VEC_FOREACH (&rd->dests, d)
		if ((*d)->peer->id == node)
			return *d;
	return NULL;
}

struct frame *round_frame_new(const struct round *rd, uint8_t aux, uint32_t bytes)
{
	struct frame *f = calloc(1, sizeof(*f) + bytes);

	vms_assert(f);
	f->cycle = rd->cycle;
	f->aux = aux;
	f->bytes = bytes;
	return f;
}

void round_flush(struct vms_node *n, struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, dp) {
		struct dest *d = *dp;
		struct frame *f = NULL;
		uint32_t room = rd->nmarks < FRAME_SEGS ? rd->nmarks : FRAME_SEGS;

		for (struct seg_mark *s = d->skip ? NULL : rd->marks; s; s = s->next) {
			uint32_t q = vms_addr_partition(s->link.key, n->conf.part_bits);

			if (n->pconf[q].primary != d->peer->id)
				continue;
			if (!f)
				f = round_frame_new(rd, 0, room * FRAME_BYTES);
			if (f->dest == NULL) {
				f->dest = d;
				f->bytes = 0;
			}
			vms_put_le64(f->body + f->bytes, s->link.key);
			vms_put_le64(f->body + f->bytes + 8, s->mask);
			f->bytes += FRAME_BYTES;
			if (f->bytes == room * FRAME_BYTES) {
				round_dest_push(d, f, false);
				f = NULL;
			}
		}
		if (f)
			round_dest_push(d, f, false);
	}
	round_table_clear(rd);
}

static void frame_done(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct frame *f = arg;
	struct dest *d = f->dest;

	d->out--;
	if (n->closing || f->cycle != n->round->cycle || d->skip ||
	    (re && (re->status == 0 || re->status == VMS_E_GONE))) {
		free(f);
		return;
	}
	/* lost, or it does not know of the cycle yet */
	round_dest_push(d, f, true);
	d->retry_ms = n->now_ms + n->tm.tick_ms / 4 + 1;
	node_wake_at(n, d->retry_ms);
}

static bool leads(const struct vms_node *n, uint32_t node)
{
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->pconf[i].primary == node)
			return true;
	return false;
}

void round_dests_go(struct vms_node *n, struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, dp) {
		struct dest *d = *dp;

		if (d->peer->incarnation != d->incarnation && d->peer->conn && !d->skip) {
			/* a new process: its partitions sweep nothing in this cycle */
			d->skip = d->incarnation != 0 && n->mut != MUT_RD_EPOCH_Q;
			d->incarnation = d->peer->incarnation;
			if (d->skip)
				round_dest_clear(d);
		}
		/* One that is gone, and what it led with it. Who leads that now sweeps nothing
		 * in this cycle; nor does this one, should it come back: it lacks our word. */
		if (d->head && !d->skip && !d->peer->conn && n->now_ms >= d->retry_ms) {
			d->skip = !leads(n, d->peer->id) && n->mut != MUT_RD_GONE_NODE;
			d->retry_ms = n->now_ms + n->tm.tick_ms;
			if (d->skip)
				round_dest_clear(d);
			else
				node_wake_at(n, d->retry_ms);
		}
		while (d->head && d->out < OUT_MAX && d->peer->conn && n->now_ms >= d->retry_ms) {
			struct frame *f = d->head;
			struct vms_msg m = {.type = VMS_MSG_MARK,
					    .partition = VMS_PART_NONE,
					    .sequence = f->cycle,
					    .aux = f->aux,
					    .body = f->body,
					    .body_bytes = f->bytes};

			d->head = f->next;
			if (!d->head)
				d->tail = NULL;
			d->queued--;
			d->out++;
			if (!rpc_send(n, d->peer, &m, 4ull * n->tm.lease_ms, frame_done, f)) {
				d->out--;
				round_dest_push(d, f, true);
				d->retry_ms = n->now_ms + n->tm.tick_ms;
				break;
			}
			n->st.mark_frames++;
		}
	}
}

bool round_dests_idle(const struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, d)
		if (!(*d)->skip && ((*d)->queued || (*d)->out))
			return false;
	return true;
}

bool round_dests_full(const struct round *rd)
{
	VMS_VEC_FOREACH (&rd->dests, d)
		if ((*d)->queued > QUEUE_PAUSE)
			return true;
	return false;
}
