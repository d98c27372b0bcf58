// SPDX-License-Identifier: GPL-2.0-only
/*
 * A node that is stopped on purpose. Before it closes its connections it gives away what
 * it leads, by the same hand-over as the planner asks for (set.c), so that nobody has to wait
 * until its leases have run out. The others are told first, with every message that says how
 * full its log is: they give it no lead back, and do not wait for it once its
 * connection is gone. One that is being stopped itself does not hurry: when all are
 * stopped the sets stay as they are.
 *
 * Bounded: what has not been given away after two leases, or after one while the catalog does
 * not answer, is taken over as after a crash.
 * Nothing is safe or unsafe because of it.
 */
#include "backend/retire.h"

#include "backend/lease.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/set.h"

/* To whom: the first other member that keeps up, stays, and has granted a lease. */
uint32_t retire_heir(const struct vms_node *n, const struct part *p)
{
	for (unsigned i = 0; i < p->nm; i++) {
		const struct member *m = &p->m[i];

		if (i != p->self && m->streaming && m->peer && m->peer->conn && !m->peer->leaving &&
		    m->peer->incarnation == m->incarnation && lease_left_ms(n, m->peer))
			return m->node;
	}
	return 0;
}

static bool anything_left(const struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		const struct part *p = n->part[i];

		if (p && p->known && p->primary && p->state == PS_ACTIVE && retire_heir(n, p))
			return true;
	}
	return false;
}

void retire_begin(struct vms_node *n)
{
	if (n->retiring || n->stopping)
		return;
	if (n->phase != SP_RUN || n->conf.fixed_sets || n->mut == MUT_STOP_HARD) {
		n->stopping = true;
		return;
	}
	n->retiring = true;
	n->retire_ms = n->now_ms;
	(void)set_hears(n);
	/* tell everyone now, in the next turn */
	for (unsigned i = 0; i < n->npeers; i++)
		if (!n->peer[i]->tick_wait)
			n->peer[i]->tick_sent_ms = n->now_ms - n->tm.tick_ms;
	node_wake_at(n, n->now_ms);
}

/* The lead is given away when the others have had the time to hear of it, and only while the
 * catalog answers: what is begun without it takes nobody else's lead, and this one's. */
bool retire_gives(struct vms_node *n)
{
	return n->retiring && n->now_ms - n->retire_ms >= n->tm.tick_ms &&
	       (set_hears(n) || n->mut == MUT_RETIRE_DEAF);
}

void retire_timer(struct vms_node *n)
{
	if (!n->retiring || n->stopping)
		return;
	if (n->now_ms - n->retire_ms > 2ull * n->tm.lease_ms ||
	    (n->now_ms - n->retire_ms >= n->tm.tick_ms && !anything_left(n)) ||
	    (n->now_ms - n->retire_ms >= n->tm.lease_ms && !set_hears(n) &&
	     n->mut != MUT_RETIRE_DEAF)) {
		n->stopping = true;
		return;
	}
	node_wake_at(n, n->now_ms + n->tm.tick_ms / 16);
}
