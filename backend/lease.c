// SPDX-License-Identifier: GPL-2.0-only
/*
 * Peer leases. A TICK between nodes asks for a lease, its answer grants it: the
 * granter will not take over anything that the asker leads until lease + 1 % after it
 * received the TICK; the asker counts lease - 1 % from sending it. One lease per pair
 * and pair of processes.
 *
 * A primary orders, commits and reads only while it holds a lease from each other
 * member of the set (and from the one it is about to add). A granter that has taken a
 * partition over says up to which revision of the catalog the asker must have seen
 * part/ for the lease to count: so a lease for what the asker still leads does not
 * seem to be one for what it has lost. A process that has been started anew is another
 * asker: its leases keep nobody from taking over what the former one led.
 *
 * Keeps invariants 2, 6 (rules C9, E1).
 */
#include "backend/lease.h"

#include <string.h>

#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"

/* The share of drift both ends allow for: 1 % and the granularity of the clock. */
static uint64_t drift_ms(const struct vms_node *n)
{
	return n->tm.lease_ms / 100 + 2;
}

/* pe's TICK has come: its answer promises. */
void lease_grant(struct vms_node *n, struct peer *pe)
{
	if (pe->grant_inc != pe->incarnation) {
		memmove(&pe->granted[1], &pe->granted[0],
			(PEER_GRANTS - 1) * sizeof(pe->granted[0]));
		pe->granted[0].incarnation = pe->grant_inc;
		pe->granted[0].until_ms = pe->grant_until_ms;
		pe->grant_inc = pe->incarnation;
	}
	pe->grant_until_ms = n->now_ms + n->tm.lease_ms + drift_ms(n);
}

/* Until when that process of pe may count on a lease of this node's. What has been granted
 * to a later one says nothing of it; the oldest that is remembered bounds all before. */
uint64_t lease_granted_ms(const struct vms_node *n, const struct peer *pe, uint64_t incarnation)
{
	uint64_t until = pe->grant_until_ms;

	if (incarnation >= pe->grant_inc || n->mut == MUT_GRANT_ANY)
		return until;
	for (unsigned i = 0; i < PEER_GRANTS && pe->granted[i].incarnation >= incarnation; i++)
		if (pe->granted[i].incarnation)
			until = pe->granted[i].until_ms;
	return n->mut == MUT_GRANT_NEW ? 0 : until;
}

static bool lease_counts(const struct vms_node *n, const struct peer *pe)
{
	return pe->lease_rev <= n->part_rev || n->mut == MUT_LEASE_REV;
}

/* What waited for it goes on. */
static void lease_counts_now(struct vms_node *n, const struct peer *pe)
{
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i] && n->part[i]->primary && part_member(n->part[i], pe)) {
			part_mark_dirty(n, n->part[i]);
			part_mark_retry(n, n->part[i]);
		}
}

void lease_part_rev(struct vms_node *n, uint64_t rev)
{
	uint64_t was = n->part_rev;

	if (rev <= was)
		return;
	n->part_rev = rev;
	for (unsigned i = 0; i < n->npeers && n->mut != MUT_LEASE_ONCE; i++)
		if (n->peer[i]->lease_rev > was && n->peer[i]->lease_rev <= rev)
			lease_counts_now(n, n->peer[i]);
}

/* pe has answered the TICK sent at sent_ms; rev: of its last take over. */
void lease_won(struct vms_node *n, struct peer *pe, uint64_t sent_ms, uint64_t rev)
{
	bool had = lease_left_ms(n, pe) != 0;

	pe->heard_ms = n->now_ms;
	pe->lease_inc = pe->incarnation;
	pe->lease_rev = rev;
	n->behind |= rev > n->part_rev; /* part/ is read again (set.c) */
	pe->lease_until_ms = sent_ms + n->tm.lease_ms - drift_ms(n);
	if (had || !lease_left_ms(n, pe))
		return;
	lease_counts_now(n, pe);
}

/* How long the lease that pe has granted still runs. */
uint64_t lease_left_ms(const struct vms_node *n, const struct peer *pe)
{
	if (!lease_counts(n, pe) || pe->lease_until_ms <= n->now_ms ||
	    (pe->conn && pe->lease_inc != pe->incarnation))
		return 0;
	return pe->lease_until_ms - n->now_ms;
}

bool part_leased(const struct vms_node *n, const struct part *p)
{
	if (n->mut == MUT_NO_LEASE)
		return true;
	for (unsigned i = 0; i < p->nm + p->nl; i++) {
		const struct member *m = &p->m[i];

		if ((i == p->self && !m->learner) ||
		    (m->learner && (m->node != p->cand || n->mut == MUT_ADD_EARLY)) ||
		    (n->mut == MUT_DROP_EARLY && p->proposed && !m->streaming))
			continue;
		if (!m->peer || m->peer->lease_inc != m->incarnation ||
		    m->peer->lease_until_ms <= n->now_ms || !lease_counts(n, m->peer))
			return false;
	}
	return true;
}

/* This process has stood still (or its machine): the silence it sees may be its own,
 * so everyone gets as much time again. */
void lease_timer(struct vms_node *n)
{
	uint64_t gap = n->now_ms - n->lease_timer_ms;

	n->lease_timer_ms = n->now_ms;
	if (gap <= n->tm.tick_gap_ms / 2)
		return;
	n->gap_ms = n->now_ms;
	for (unsigned i = 0; i < n->npeers; i++) {
		struct peer *pe = n->peer[i];

		pe->heard_ms = pe->heard_ms + gap < n->now_ms ? pe->heard_ms + gap : n->now_ms;
		pe->down_ms = pe->down_ms + gap < n->now_ms ? pe->down_ms + gap : n->now_ms;
	}
}
