/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bad catalog: stands between a process and its catalog client and does to the ten
 * calls what etcd 3.4 is known to do (and any replicated store may do):
 *
 *	stale		gets and ranges, also for a whole while, answered as of some seconds
 *			ago, with the revision of then
 *	unknown		a transaction ends TIMEOUT though it was applied, or was not, or will
 *			be applied seconds later
 *	watches		events twice, events told again from an earlier one on, events that
 *			come seconds after reads have shown what they tell, events lost (GONE
 *			follows within five seconds, as the poll for the revision finds out),
 *			GONE at any time (compaction)
 *
 * Unavailability is the fault planner's: the catalog crashes or is cut off. Nodes and
 * gateways hold no sessions, so leases are not among it.
 *
 * What was true when is kept by a layer over the engine (sim_catalog_engine), which
 * outlives all crashes. All of it is drawn from a generator of its own: a seed's other
 * faults do not depend on it.
 */
#ifndef SIM_CATALOG_H
#define SIM_CATALOG_H

#include "cluster/cat_server.h"
#include "cluster/catalog.h"
#include "utils/lib/rng.h"

struct sim;
struct proc;
struct sim_catalog;
struct sim_history;

/* Probabilities; per call or per event, lag and lose per event too. */
struct sim_catalog_plan {
	double stale, stale_while, unknown, twice, again, lag, lose, gone;
};
/* mask: which of them, in this order, bit 0 first. */
void sim_catalog_draw(struct sim_catalog_plan *p, struct vms_rng *r, unsigned mask);

/* Takes the engine over; the result is used in its place. */
struct sim_history *sim_history_new(struct sim *s, struct vms_cat_engine *e);
void sim_history_free(struct sim_history *h, struct vms_cat_engine *e); /* gives it back */
/* The value of key now, NULL: there is none. mod: its revision. Lives until the end. */
uint64_t sim_history_rev(const struct sim_history *h);
const char *sim_history_now(const struct sim_history *h, const char *key, uint64_t *mod);
/* A transaction whose outcome is unknown has still to come. */
bool sim_history_late(const struct sim_history *h);

/* Since that revision nothing has changed but what nodes and gateways write of themselves and
 * of the partitions. */
uint64_t sim_history_own_since(const struct sim_history *h);
uint64_t sim_history_as_of(const struct sim_history *h, uint64_t us);
/* Has a partition's record changed since? */
bool sim_history_sets_since(const struct sim_history *h, uint64_t rev);
/* Another catalog takes its place, which holds what was true at that revision. part: the tool
 * has not come to the end: there is no cluster, and not every gateway. */
struct vms_restore;
void sim_history_restore(struct sim_history *h, uint64_t rev, const struct vms_restore *to,
			 bool part);

struct sim_catalog *sim_catalog_new(struct proc *p, struct vms_catalog *under);
void sim_catalog_free(struct sim_catalog *c);
struct vms_catalog *sim_catalog_calls(struct sim_catalog *c);
/* Once per turn: answers that are due. */
void sim_catalog_turn(struct sim_catalog *c);

#endif
