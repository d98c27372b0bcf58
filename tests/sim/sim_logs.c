/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nothing gets into containers for a while: the disks that they are on stand still, on all
 * nodes, while logs take what is written. So logs fill up, on all nodes at once, and whatever
 * comes meanwhile (nodes that die, sets that change, copies, snapshots) finds them full. When
 * most are, or after a while, the disks go on; in some seeds power fails on all nodes first,
 * so that the whole cluster starts with full logs, in some before its disks go on. It has to
 * get out of that by itself.
 *
 * Watched in every seed: how much was left of a log at least, with what is kept for those
 * records that alone let it go on. 0 would be a log that never goes on again.
 */
#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"

#define FIRST_US      2000000u
#define SPREAD_US     8000000u
#define HOLD_US_MAX   20000000u
#define DARK_US_MAX   6000000u
#define START_US_MAX  2000000u
#define FULL_PERMILLE 920u

void sim_logs_draw(struct sim *s)
{
	struct sim_plan *p = &s->plan;

	vms_rng_init(&s->logs_rng, s->conf.seed ^ 0x1065f011);
	p->logs = vms_rng_chance(&s->logs_rng, 0.1) && p->rot == 0 && !s->conf.beyond;
	s->logs.at_us = FIRST_US + vms_rng_below(&s->logs_rng, SPREAD_US);
	if (!p->logs)
		return;
	p->gen_bytes /= (uint32_t)(p->log_bytes >> 21);
	p->log_bytes = 2u << 20;
	p->think_us = 10000;
	p->depth = SIM_DEPTH_MAX;
	p->read_percent = 20;
	p->ops += 500;
}

static bool has_log(const struct proc *p)
{
	return p->kind == SIM_NODE && p->up && p->node;
}

/* Most are: who leads little gets little. */
static bool full(const struct sim *s)
{
	unsigned n = 0, full = 0;

	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		if (!has_log(&s->p[i]))
			continue;
		n++;
		full += sim_node_log_used(s->p[i].node) >= FULL_PERMILLE;
	}
	return n && full * 2 > n;
}

static void hold(struct sim *s, bool hold)
{
	sim_note(s, "containers of all nodes %s", hold ? "stand still" : "go on");
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].disk)
			sim_disk_hold(s->p[i].disk, hold);
	s->logs.held = hold;
}

static void power_fails(struct sim *s)
{
	sim_note(s, "power fails on all nodes");
	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		struct proc *p = &s->p[i];

		if (!p->up)
			continue;
		s->r->logs_full += p->node && sim_node_log_used(p->node) >= FULL_PERMILLE;
		sim_proc_crash(s, p, true);
		sim_at(s, 1 + vms_rng_below(&s->logs_rng, START_US_MAX), EV_START, i, p->life, 0,
		       NULL);
	}
	s->nodes_stable_us = 0;
	s->r->logs_dark++;
	s->logs.dark = true;
}

void sim_logs_over(struct sim *s)
{
	if (s->logs.held)
		hold(s, false);
	s->plan.logs = false;
}

static void watch(struct sim *s)
{
	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		unsigned left = has_log(&s->p[i]) ? sim_node_log_left(s->p[i].node) : 1000;

		if (left < s->r->log_left)
			s->r->log_left = left;
	}
}

/* Every FAULT_PERIOD_US. */
void sim_logs(struct sim *s)
{
	watch(s);
	if (!s->plan.logs || s->failed)
		return;
	if (!s->logs.held) {
		if (!s->faults || s->episode != EP_NONE || s->now_us < s->logs.at_us)
			return;
		hold(s, true);
		s->logs.at_us = s->now_us + HOLD_US_MAX;
		return;
	}
	if (!s->logs.dark && !full(s) && s->episode == EP_NONE && s->now_us < s->logs.at_us)
		return;
	if (!s->logs.dark && s->plan.ack == VMS_ACK_DISK && s->episode == EP_NONE &&
	    vms_rng_chance(&s->logs_rng, 0.8)) {
		power_fails(s);
		if (vms_rng_chance(&s->logs_rng, 0.5)) {
			s->logs.at_us = s->now_us + vms_rng_below(&s->logs_rng, DARK_US_MAX);
			return;
		}
	} else if (s->logs.dark && s->now_us < s->logs.at_us && s->episode == EP_NONE) {
		return;
	}
	sim_logs_over(s);
}
