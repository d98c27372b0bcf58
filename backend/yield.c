// SPDX-License-Identifier: GPL-2.0-only
/*
 * A copy needs some room in two logs: in the learner's for all that comes to that node until
 * the base is there, in the primary's for what the learner has not got yet. Clients that fill
 * these faster end the attempt, and would end the next one like it. So each attempt that ends
 * so lets the next one have it easier: while it lasts, a quarter of the rate before goes to
 * that log. The node tells its steps with the fill level of its log; whoever orders writes for
 * it, also of other partitions, goes by that.
 *
 * No write waits longer for this than a quarter of T_op: so few clients that each wait for
 * their answer write next to nothing at the last step, and no command ends late or BUSY.
 *
 * Owner: the node thread.
 */
#include "backend/yield.h"

#include "backend/learn_int.h"
#include "backend/learn_serve.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/wal.h"
#include "utils/lib/log.h"

void yield_more(struct vms_node *n, const struct part *p, uint8_t *tries)
{
	if (*tries < YIELD_STEPS)
		++*tries;
	node_log(n, VMS_LOG_WARN,
		 "partition %u: clients write faster than a copy can be made: while the next "
		 "attempt lasts, writes to this node yield (step %u of %u)",
		 p->number, *tries, YIELD_STEPS);
}

#define OVER_MS 60000u /* the longest pause between two attempts, several times */

static void said(struct vms_node *n)
{
	struct yield_said *s = &n->yield_said;

	if (n->yield.steps) {
		s->steps = n->yield.steps;
		s->last_ms = n->now_ms;
		if (!s->since_ms)
			s->since_ms = n->now_ms;
	} else if (s->since_ms && n->now_ms - s->last_ms > OVER_MS && n->mut != MUT_MV_SAYS_ON) {
		s->since_ms = 0;
	}
}

void yield_timer(struct vms_node *n)
{
	uint8_t steps = 0;

	for (uint32_t i = 0; i < n->nparts && (n->nlearns || n->nfeeds); i++) {
		const struct part *p = n->part[i];

		if (!p)
			continue;
		/* one that waits for room on its disk gets on no faster */
		if (p->learn && p->learn->phase < LP_READY && !p->learn->paused_ms &&
		    p->outrun > steps)
			steps = p->outrun;
		for (const struct feed *f = p->feeds; f; f = f->next)
			if (f->st == LEARN_COPY && f->outrun > steps)
				steps = f->outrun;
	}
	n->yield.steps = steps;
	said(n);
}

void yield_say(const struct vms_node *n, unsigned *steps, uint64_t *seconds)
{
	const struct yield_said *s = &n->yield_said;

	*steps = s->since_ms ? s->steps : 0;
	*seconds = s->since_ms ? (n->now_ms - s->since_ms) / 1000 : 0;
}

/* What may go to that log now. The logs are taken to be of one size. */
static bool may_go(struct vms_node *n, struct yield *y)
{
	uint64_t ms;
	int64_t rate; /* per second */

	if (!y->steps || n->mut == MUT_MV_PUSHY)
		return true;
	ms = n->now_ms - y->at_ms;
	rate = (int64_t)(vms_wal_size_bytes(n->wal) >> 2 * y->steps);
	y->at_ms = n->now_ms;
	y->bytes += rate * (int64_t)(ms > 1000 ? 1000 : ms) / 1000;
	if (y->bytes > rate / 10)
		y->bytes = rate / 10;
	if (y->bytes < -rate)
		y->bytes = -rate;
	return y->bytes > 0;
}

#define LOGS_MAX (2u * PART_STREAMS_MAX)

/* The logs that a write to this partition goes to, and those that are fed with it. */
static unsigned logs(struct vms_node *n, struct part *p, struct yield **y)
{
	unsigned k = 0;

	y[k++] = &n->yield;
	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && p->m[i].peer)
			y[k++] = &p->m[i].peer->yield;
	for (const struct feed *f = p->feeds; f && k < LOGS_MAX; f = f->next) {
		struct peer *pe = node_peer(n, f->node, false);

		if (pe && f->st == LEARN_COPY)
			y[k++] = &pe->yield;
	}
	return k;
}

bool yield_admit(struct vms_node *n, struct part *p, uint64_t arrived_ms)
{
	struct yield *y[LOGS_MAX];
	unsigned k = logs(n, p, y);
	bool ok = true;

	for (unsigned i = 0; i < k; i++)
		ok &= may_go(n, y[i]);
	return ok || (n->now_ms - arrived_ms >= n->tm.t_op_ms / 4 && n->mut != MUT_MV_HELD);
}

void yield_count(struct vms_node *n, struct part *p, uint64_t bytes)
{
	struct yield *y[LOGS_MAX];
	unsigned k = logs(n, p, y);

	for (unsigned i = 0; i < k; i++)
		if (y[i]->steps)
			y[i]->bytes -= (int64_t)bytes;
}
