// SPDX-License-Identifier: GPL-2.0-only
/* Sweeping: containers without any mark go as a whole, long runs of unmarked chunks by PUNCH
 * (round.c). */
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/empty.h"
#include "backend/learn_serve.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/round_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define PUNCH_BLOCKS 16u /* 64 KiB */

/* All partitions of the cluster, in the epochs they are in as far as is known here. */
static bool part_complete(struct vms_node *n, const struct round *rd, uint32_t i)
{
	if (n->mut == MUT_RD_PARTIAL && !round_own_primary(n, i) && !node_primary_conn(n, i))
		return true;
	return rd->src[i].cycle == rd->cycle &&
	       (rd->src[i].epoch == n->pconf[i].epoch || n->mut == MUT_RD_EPOCH_P);
}

static bool marks_complete(struct vms_node *n, struct round *rd)
{
	if (!part_complete(n, rd, rd->missing)) /* most likely it still is */
		return false;
	for (uint32_t i = 0; i < n->nparts; i++)
		if (!part_complete(n, rd, i)) {
			rd->missing = i;
			return false;
		}
	return true;
}

static bool may_sweep(const struct vms_node *n, const struct round *rd, const struct part *p)
{
	if (n->mut == MUT_RD_EPOCH_Q)
		return round_may_walk(p);
	return p->sweep_cycle == rd->cycle && p->sweep_epoch == p->conf.epoch && round_may_walk(p);
}

static bool eligible(const struct vms_node *n, const struct round *rd, const struct ctr *c)
{
	return c->rmarked && c->shared && c->state == 2 && !c->sweeping && !c->punching &&
	       !c->refs_ordered && (c->stamp < rd->cycle || n->mut == MUT_RD_STAMP);
}

static uint64_t used_places(const struct ctr *c, uint32_t seg)
{
	unsigned n = c->used[seg] ? c->used[seg] : VMS_SEG_ENTRIES_MAX;

	return n >= VMS_SEG_ENTRIES_MAX ? UINT64_MAX : (1ull << n) - 1;
}

/* Unmarked runs worth a punch: 64 KiB of chunks that take space. Returns the chunks
 * that die newly. A segment's header goes with its last chunk. */
static unsigned runs(const struct ctr *c, uint64_t *die)
{
	unsigned run = 0, fresh = 0;
	uint32_t from = 0, end = c->segs * 65;

	memset(die, 0, c->segs * sizeof(*die));
	for (uint32_t b = 0; b <= end; b++) {
		uint32_t seg = b / 65;
		uint64_t live = b < end && seg < c->rmark.n ? c->rmark.bit[seg] : 0;
		bool keep = b == end || (b % 65 == 0 ? live != 0 : live >> (b % 65 - 1) & 1);

		if (!keep) {
			run += b % 65 && (used_places(c, seg) >> (b % 65 - 1) & 1);
			continue;
		}
		if (run >= PUNCH_BLOCKS)
			for (uint32_t x = from; x < b; x++)
				if (x % 65)
					die[x / 65] |= 1ull << (x % 65 - 1);
		run = 0;
		from = b + 1;
	}
	for (uint32_t s = 0; s < c->segs; s++) {
		die[s] &= used_places(c, s);
		if (s < c->dead.n)
			die[s] &= ~c->dead.bit[s];
		fresh += (unsigned)__builtin_popcountll(die[s]);
	}
	return fresh;
}

static int punch_order(struct vms_node *n, struct part *p, struct ctr *c, const uint64_t *die)
{
	struct vms_rec r = {.type = VMS_REC_PUNCH, .flags = VMS_RF_INTERNAL};
	struct vms_punch *d = malloc((c->segs + 1) * sizeof(*d));
	uint8_t *meta = malloc(16 + (size_t)c->segs * VMS_PUNCH_BYTES);
	unsigned k = 0;
	int rc;

	vms_assert(d && meta);
	for (uint32_t i = 0; i < c->segs; i++)
		if (die[i])
			d[k++] = (struct vms_punch){i, die[i]};
	vms_rec_punch_put(&r, meta, c->number, d, k);
	rc = part_order(n, p, &r, NULL, 0);
	free(d);
	free(meta);
	return rc;
}

/* Some containers of the partition; true: all done. */
static bool sweep_step(struct vms_node *n, struct round *rd, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_SWEEP, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8 * 64];
	unsigned punched = 0, k = 0;
	size_t i = 0;

	if (feed_holds_ctrs(n, p))
		return false; /* a learner is still copying them */
	if (!rd->ctr_at)
		p->rd_again = false;
	while (i < p->ctrs.n && p->ctrs.d[i].number < rd->ctr_at)
		i++;
	for (; i < p->ctrs.n && k < 64 && punched < 4; i++) {
		struct ctr *c = &p->ctrs.d[i];
		uint64_t *die;
		unsigned fresh;

		if (!eligible(n, rd, c)) {
			/* what was given out meanwhile is looked at in the next cycle */
			p->rd_again |= c->shared && c->state == 2 && c->rmarked && !c->sweeping &&
				       c->rmark.count + c->dead.count + c->settled < c->chunks;
			continue;
		}
		/* marks count what was removed after they were made: the next round tells; what
		 * other partitions removed is in their rd_gone */
		p->rd_again |= c->rmark_gone && n->mut != MUT_RD_OWN_GONE;
		if (c->rmark.count == 0) {
			vms_put_le64(meta + 8 * k++, c->number);
			continue;
		}
		die = malloc(c->segs * sizeof(*die) + 8);
		vms_assert(die);
		fresh = runs(c, die);
		if (fresh >= PUNCH_BLOCKS) {
			if (punch_order(n, p, c, die)) {
				free(die);
				break;
			}
			punched++;
		}
		free(die);
		c->live = c->rmark.count;
		c->settled = 0;
		fresh = fresh >= PUNCH_BLOCKS ? fresh : 0;
		if (c->chunks > c->live + c->dead.count + fresh)
			c->settled = c->chunks - c->live - c->dead.count - fresh;
		c->dirty = true;
		if (c->live * 4 < c->chunks && c->settled >= 3 * c->live)
			empty_add(n, p, c);
	}
	if (k) {
		r.meta = meta;
		r.meta_bytes = 8 * k;
		if (part_order(n, p, &r, NULL, 0))
			return false; /* no log space: the same containers again */
	}
	rd->ctr_at = i < p->ctrs.n ? p->ctrs.d[i].number : UINT64_MAX;
	return i >= p->ctrs.n;
}

void round_sweep_end(struct part *p)
{
	VMS_VEC_FOREACH (&p->ctrs, c) {
		places_free(&c->rmark);
		c->rmarked = false;
	}
}

/* Nothing here will be swept in this cycle: a restarted process is not sent the marks.
 * Then its part is over when its own marks have been sent. */
static bool only_source(struct vms_node *n, const struct round *rd)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || !p->known || !p->primary)
			continue;
		if (!round_walked(rd, p) || !p->rd_sent || n->mut == MUT_RD_EPOCH_Q ||
		    (p->sweep_cycle == rd->cycle && p->sweep_epoch == p->conf.epoch))
			return false;
	}
	return round_dests_idle(rd);
}

void round_sweep(struct vms_node *n, struct round *rd)
{
	if (rd->done >= rd->cycle || (!marks_complete(n, rd) && !only_source(n, rd)))
		return;
	while (rd->at < n->nparts) {
		struct part *p = n->part[rd->at];

		if (p && p->known && p->primary) {
			if (!may_sweep(n, rd, p)) {
				p->rd_again = true;
			} else if (!sweep_step(n, rd, p)) {
				node_wake_at(n, n->now_ms + gc_pace_ms(n));
				return;
			}
			round_sweep_end(p);
		}
		rd->at++;
		rd->ctr_at = 0;
	}
	rd->done = rd->cycle;
	rd->report_ms = n->now_ms;
	n->st.rounds++;
}
