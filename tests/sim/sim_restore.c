/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The catalog is lost with all it held, and made anew from the nodes' copies, as
 * `vmstore-ring restore-catalog` does with the same rule (cluster/cat_restore.h).
 *
 * The newest copy is up to five seconds old: nodes hear of a change at the same time, and write
 * their copies no more often. First nodes and gateways may go on for some seconds without; then all
 * of them end, nodes with or without power, the catalog holds what the newest copy says, and
 * everything starts again. In some the tool is interrupted, and repeated seconds later: nodes and
 * gateways run beside a catalog that holds only part of it. The checkers stay on: what was
 * acknowledged has to be there.
 *
 * What was done to volumes, snapshots and reservations since the copy was made is as before
 * it then, and people are told so; the histories here are not made for that. So the copy is
 * one since which only that has changed which nodes and gateways do by themselves. A member of
 * a set that is gone for good would make the tool refuse it.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/views.h"
#include "cluster/cat_restore.h"
#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"

#define COPY_US	     5000000u
#define FIRST_US     3000000u
#define AGAIN_US     4000000u
#define SPREAD_US    15000000u
#define WAIT_US	     8000000u
#define ALONE_US_MAX 8000000u
#define START_US_MAX 2000000u
#define PART_US_MAX  5000000u

void sim_restore_draw(struct sim *s)
{
	vms_rng_init(&s->restore_rng, s->conf.seed ^ 0x4e57032e);
	s->plan.restore = vms_rng_chance(&s->restore_rng, 0.3) && s->plan.ack == VMS_ACK_DISK &&
			  s->plan.learn && s->plan.rot == 0 && !s->conf.beyond;
	s->restore.at_us = FIRST_US + vms_rng_below(&s->restore_rng, SPREAD_US);
}

static bool is_source(const struct proc *p)
{
	return p->joined && !p->gone && p->disk;
}

/* ---- everything ends, and starts with what was kept ---- */

static void views(struct sim *s, struct vms_restore *to)
{
	struct vms_view v[SIM_PARTS_MAX];

	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		if (!is_source(&s->p[i]))
			continue;
		if (vms_views_read(&s->p[i].disk_ops, v, to->nviews))
			sim_fail(s, "node %u: index or log cannot be read", i);
		for (uint32_t k = 0; k < to->nviews; k++)
			vms_restore_view_add(to, k, &v[k]);
	}
}

static bool all_there(const struct sim *s)
{
	struct sim_parts ps;

	sim_parts(s, &ps);
	for (unsigned i = 0; i < ps.n; i++)
		for (uint32_t k = 0; k < ps.c[i].nmembers; k++)
			if (!is_source(&s->p[ps.c[i].member[k].node]))
				return false;
	return true;
}

static void end_all(struct sim *s)
{
	for (unsigned i = 1; i < s->nprocs; i++) {
		struct proc *p = &s->p[i];

		if (!p->up || p->kind == SIM_ADMIN)
			continue;
		sim_proc_crash(s, p,
			       p->kind == SIM_NODE &&
				       vms_rng_chance(&s->restore_rng, s->plan.power));
		sim_at(s, 1 + vms_rng_below(&s->restore_rng, START_US_MAX), EV_START, i, p->life, 0,
		       NULL);
	}
	s->nodes_stable_us = 0;
}

/* Nobody may take what is there for a cluster: the tool goes on, and finds what it wrote. */
static void untouched(struct sim *s)
{
	if (sim_history_rev(s->history) != s->restore.part_rev)
		sim_fail(s, "a catalog that is restored in part was written to");
	if (s->p[0].up)
		sim_proc_crash(s, &s->p[0], false);
}

/* The tools are not used meanwhile. */
static void tools_cut(struct sim *s, uint64_t until_us)
{
	s->blocked_until[0][s->nprocs - 1] = s->blocked_until[s->nprocs - 1][0] = until_us;
}

/* True: all of it is there. */
static bool restore(struct sim *s)
{
	struct vms_view newer[SIM_PARTS_MAX] = {0};
	struct vms_restore to = {.view = newer, .nviews = 1u << s->plan.part_bits};
	uint64_t rev = s->restore.rev;
	bool again = s->restore.part_rev, part;

	if (again)
		untouched(s);
	else
		end_all(s);
	if (s->conf.node_mutant != SIM_RESTORE_BLIND)
		views(s, &to);
	part = !again && vms_rng_chance(&s->restore_rng, 0.4);
	sim_note(s, "%s is restored as of revision %llu, %llu was its last",
		 part ? "part of the catalog" : "the catalog", (unsigned long long)rev,
		 (unsigned long long)sim_history_rev(s->history));
	sim_history_restore(s->history, rev, &to, part);
	if (!all_there(s))
		sim_fail(s, "restoring the catalog would be refused");
	s->r->restored += !part;
	s->r->restored_in_parts += part;
	s->restore.part_rev = part ? sim_history_rev(s->history) : 0;
	s->restore.at_us = s->now_us + 1 + vms_rng_below(&s->restore_rng, PART_US_MAX);
	tools_cut(s, part ? s->restore.at_us + FAULT_PERIOD_US : 0);
	sim_proc_start(s, &s->p[0]);
	return !part;
}

/* Every FAULT_PERIOD_US. */
void sim_restore(struct sim *s)
{
	uint64_t own, old, now = sim_history_rev(s->history);

	if (!s->plan.restore)
		return;
	if (s->episode == EP_LOST && s->now_us >= s->restore.at_us) {
		if (!restore(s))
			return;
		s->plan.restore = vms_rng_chance(&s->restore_rng, 0.4); /* once more */
		s->restore.at_us = s->now_us + AGAIN_US + vms_rng_below(&s->restore_rng, SPREAD_US);
		s->episode = EP_NONE;
		s->episode_us = s->now_us + 5000000;
		return;
	}
	if (s->episode != EP_NONE || !s->faults || s->now_us < s->restore.at_us || !s->p[0].up)
		return;
	own = sim_history_own_since(s->history);
	old = sim_history_as_of(s->history, s->now_us - vms_rng_below(&s->restore_rng, COPY_US));
	s->restore.rev = own > old ? own : old;
	/* best when sets have just changed */
	if (!all_there(s) || (!sim_history_sets_since(s->history, s->restore.rev) &&
			      s->now_us < s->restore.at_us + WAIT_US))
		return;
	sim_note(s, "the catalog is lost; the newest copy is of revision %llu, it had %llu",
		 (unsigned long long)s->restore.rev, (unsigned long long)now);
	sim_proc_crash(s, &s->p[0], false);
	s->episode = EP_LOST;
	s->restore.at_us = s->now_us + (vms_rng_chance(&s->restore_rng, 0.5)
						? 1
						: vms_rng_below(&s->restore_rng, ALONE_US_MAX));
}
