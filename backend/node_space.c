// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room: on the disks of the members for what is written and moved, in the log for partitions
 * that stand; and the timer of those who wait for it.
 */
#include "backend/ctr.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/wal.h"
#include "include/types.h"
#include "utils/lib/log.h"

#define NODE_STAND_SHARE  8u  /* partitions that stand may have an eighth of the log */
#define NODE_NUMBERS_KEPT 64u /* of a partition's numbers, that part is not for writes */

bool part_no_room(const struct vms_node *n, const struct part *p)
{
	bool full = n->nospc;

	for (unsigned i = 0; i < p->nm && n->mut != MUT_FULL_MEMBER; i++)
		full |= i != p->self && p->m[i].peer && p->m[i].peer->full;
	return full;
}

bool part_used_up(const struct vms_node *n, const struct part *p, bool data)
{
	uint64_t count = vms_ctr_count(n->conf.part_bits);
	uint64_t used = p->next_ctr - vms_ctr_first(p->number, n->conf.part_bits);

	if (n->mut == MUT_USED_UP)
		return false;
	/* whoever leads after this one goes on above the ceiling */
	if (p->next_pos + 2 * NODE_CEILING_STEP >= vms_logpos_max(n->conf.part_bits))
		return true;
	return data && used >= count - count / NODE_NUMBERS_KEPT;
}

bool part_cramped(const struct vms_node *n, const struct part *p)
{
	bool cramped = n->cramped;

	for (unsigned i = 0; i < p->nm; i++)
		cramped |= i != p->self && p->m[i].peer && p->m[i].peer->cramped;
	return cramped && n->mut != MUT_FULL_MOVE;
}

void part_stand_more(struct vms_node *n, struct part *p, uint64_t seq)
{
	const struct prec *r = part_rec(p, seq);

	if (!r)
		return;
	p->stand_bytes += r->bytes;
	n->stand_bytes += r->bytes;
}

void part_stands(struct vms_node *n, struct part *p, bool stands)
{
	if (stands == p->bytes_wait)
		return;
	p->bytes_wait = stands;
	n->stand_bytes -= p->stand_bytes;
	p->stand_bytes = 0;
	for (uint64_t s = p->applied + 1; stands && s <= p->seq_last; s++)
		part_stand_more(n, p, s);
}

/* Nothing of what it orders would leave the log, which is the other partitions', too. */
bool part_stands_full(const struct vms_node *n, const struct part *p)
{
	return p->bytes_wait && n->mut != MUT_STAND_FILLS &&
	       n->stand_bytes >= vms_wal_size_bytes(n->wal) / NODE_STAND_SHARE;
}

/* Two segments of moved chunks: as many as are on their way in a partition. */
#define MOVE_BYTES (2u * (1 + VMS_SEG_ENTRIES_MAX) * VMS_CHUNK_BYTES)

/* How much room a node keeps: what its log holds must still fit into containers, with
 * some to collect in. The disk is asked now and then; what has gone into the log since
 * is on its way there. */
static void space_look(struct vms_node *n)
{
	uint64_t taken = vms_wal_appended_pos(n->wal) - n->space_pos;
	bool before = n->nospc, nearfull;

	if (n->now_ms >= n->space_ms) {
		uint64_t collect = n->conf.container_bytes_max;

		n->space_ms = n->now_ms + 500;
		if (n->disk.ops->space(n->disk.ctx, &n->space_free, &n->space_total,
				       &n->meta_permille))
			return;
		if (collect > n->space_total / 16)
			collect = n->space_total / 16;
		n->space_need = vms_wal_used_bytes(n->wal) + collect + n->space_total / 32;
		n->space_pos = vms_wal_appended_pos(n->wal);
		n->cramped = n->space_free < vms_wal_used_bytes(n->wal) + MOVE_BYTES;
		nearfull = n->space_total - n->space_free > n->space_total / 20 * 17 ||
			   n->meta_permille > 700;
		if (nearfull && !n->nearfull && !n->nospc)
			node_log(n, VMS_LOG_WARN,
				 "the disk or the index is nearly full: add a "
				 "node, or delete something (vmstore-ring advise)");
		n->nearfull = nearfull;
		n->nospc = n->space_free < n->space_need + (before ? n->space_total / 64 : 0) ||
			   n->meta_permille > (before ? 780 : 800);
	} else if (!before && n->space_total && n->mut != MUT_FULL_LATE) {
		n->nospc = n->space_free < n->space_need + taken;
	}
	if (n->nospc != before)
		node_log(n, VMS_LOG_WARN,
			 n->nospc ? "space is low: new writes are refused, reads go on"
				  : "space is there again: writes are taken");
}

/* Paced writers, unsynced memory-mode records, free space. */
void admission_timer(struct vms_node *n)
{
	if (n->nwait) {
		for (uint32_t i = 0; i < n->nparts; i++)
			if (n->part[i] && (n->part[i]->wait_head || n->part[i]->locks))
				part_mark_retry(n, n->part[i]);
		node_wake_at(n, n->now_ms + 1);
	}
	if (n->dur.n && n->now_ms - n->mem_sync_ms >= 1000) {
		n->mem_sync_ms = n->now_ms;
		n->want_sync = true;
	}
	space_look(n);
}
