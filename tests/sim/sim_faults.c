/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What goes wrong, and when. The plan's rates decide; what is here keeps a seed within
 * what the cluster is to survive: in memory mode one member of each set keeps its memory,
 * so nodes crash one at a time there.
 */
#include "tests/sim/sim_int.h"
#include "tests/sim/sim_memory.h"
#include "utils/lib/assert.h"

#define PER (FAULT_PERIOD_US / 1e6)

static bool happens(struct sim *s, double per_s)
{
	return per_s > 0 && vms_rng_chance(&s->rng, per_s * PER);
}
/* Some last longer than the failover delay: what was sent arrives when nobody waits
 * for it any more. */
static uint64_t a_while(struct sim *s, uint64_t short_us)
{
	return vms_rng_below(&s->rng, vms_rng_chance(&s->rng, 0.5) ? short_us : 12000000);
}
static unsigned any_proc(struct sim *s)
{
	return (unsigned)vms_rng_below(&s->rng, s->nprocs);
}

/* Since when are all nodes there, and reach each other? One whose disk fails to write is as
 * good as dead: it dies when it tries. */
static void stability(struct sim *s)
{
	const struct sim_plan *pl = &s->plan;
	unsigned down = 0;

	for (unsigned i = 1; i <= pl->nodes; i++)
		down += s->p[i].joined && !s->p[i].gone &&
			(!s->p[i].up || s->p[i].paused || sim_disk_dying(s->p[i].disk));
	/* a cut between two nodes keeps a replica away just as well */
	for (unsigned i = 1; i <= pl->nodes; i++)
		for (unsigned k = 1; k <= pl->nodes; k++)
			down += s->blocked_until[i][k] > s->now_us;
	if (down)
		s->nodes_stable_us = 0;
	else if (!s->nodes_stable_us)
		s->nodes_stable_us = s->now_us ? s->now_us : 1;
}

struct pick {
	struct sim *s;
	uint64_t n, ctr[2], block[2];
};

static void pick(void *arg, uint64_t ctr, uint64_t block)
{
	struct pick *k = arg;

	k->n++;
	for (unsigned i = 0; i < 2; i++)
		if (vms_rng_below(&k->s->rng, k->n) == 0) {
			k->ctr[i] = ctr;
			k->block[i] = block;
		}
}

/* A block of a container changes by itself: a bit of it, or it becomes another one. */
static void rot(struct sim *s, struct proc *p)
{
	struct pick k = {.s = s};
	bool bit = vms_rng_chance(&s->rng, 0.7);

	sim_disk_blocks(p->disk, pick, &k);
	if (!k.n)
		return;
	if (bit)
		sim_disk_rot(p->disk, k.ctr[0], k.block[0], (uint32_t)vms_rng_below(&s->rng, 4096));
	else
		sim_disk_misdirect(p->disk, k.ctr[0], k.block[0], k.ctr[1], k.block[1]);
	s->r->rotten++;
	sim_note(s, "block %llu of container %llx of node %u %s", (unsigned long long)k.block[0],
		 (unsigned long long)k.ctr[0], p->idx, bit ? "rots" : "is written over");
}

/* Has each member of each set all that was written in its memory? The catalog may tell of
 * a restarted one long before the primary, which may be cut off from the catalog, knows. */
static bool memories_whole(const struct sim *s)
{
	struct sim_parts ps;

	sim_parts(s, &ps);
	for (unsigned i = 0; i < ps.n; i++)
		for (uint32_t k = 0; k < ps.c[i].nmembers; k++) {
			const struct proc *p = &s->p[ps.c[i].member[k].node];

			if (!p->up || !p->node || !sim_node_remembers(p->node, i, ps.c[i].epoch))
				return false;
		}
	return true;
}

/* ---- full disks ---- */

/* Until all have heard that there is room again: who stands still, or is cut off, for long
 * says and believes what was true before. */
#define FULL_KNOWN_US 20000000u

static void leave(struct sim *s, struct proc *p, uint64_t bytes)
{
	sim_disk_leave(p->disk, bytes);
	p->full_until_us = bytes == UINT64_MAX ? 0 : s->now_us + a_while(s, 8000000) + 1;
	s->full_us = s->now_us;
	sim_note(s, "node %u: %s", p->idx,
		 bytes == UINT64_MAX ? "there is room on its disk again" : "its disk is full");
}

bool sim_faults_full(const struct sim *s, uint64_t since_us)
{
	return s->full_us && s->full_us + FULL_KNOWN_US > since_us;
}

void sim_faults_room(struct sim *s)
{
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].disk && s->p[i].full_until_us)
			leave(s, &s->p[i], UINT64_MAX);
}

static void fill(struct sim *s)
{
	for (unsigned i = 1; i <= s->plan.nodes; i++) {
		struct proc *p = &s->p[i];

		if (!p->disk || p->gone)
			continue;
		if (p->full_until_us)
			s->full_us = s->now_us;
		/* while a node is to be missed nowhere, copies need room */
		if (p->full_until_us && (p->full_until_us < s->now_us || s->episode == EP_CALM))
			leave(s, p, UINT64_MAX);
		else if (!p->full_until_us && p->up && s->episode == EP_NONE &&
			 happens(s, s->plan.fill)) {
			leave(s, p,
			      vms_rng_chance(&s->rng, 0.3) ? 0 : vms_rng_below(&s->rng, 2u << 20));
			s->r->filled++;
		}
	}
}

/* May a node die now? */
static bool node_may_die(struct sim *s)
{
	char why[200];

	if (s->episode != EP_NONE)
		return false;
	/* the memory of a set that has shrunk is that of one node; so it is while a change of
	 * the set is still to come */
	return s->plan.ack == VMS_ACK_DISK ||
	       (s->copies > 1 && s->nodes_stable_us && s->now_us - s->nodes_stable_us > 8000000 &&
		!sim_history_late(s->history) &&
		(!s->plan.learn || sim_ring_whole(s, why, sizeof(why))) && memories_whole(s));
}

static void crashes(struct sim *s)
{
	const struct sim_plan *pl = &s->plan;
	bool may = node_may_die(s);

	for (unsigned i = 0; i < s->nprocs; i++) {
		struct proc *p = &s->p[i];
		double crash = p->kind == SIM_NODE	? pl->crash_node
			       : p->kind == SIM_GATEWAY ? pl->crash_gw
			       : p->kind == SIM_ADMIN	? 0
							: pl->crash_cat;
		double pause = p->kind == SIM_NODE	? pl->pause_node
			       : p->kind == SIM_GATEWAY ? pl->pause_gw
							: 0;

		if (!p->up || (p->kind == SIM_NODE && s->episode != EP_NONE))
			continue;
		if (happens(s, crash) && (p->kind != SIM_NODE || may)) {
			sim_at(s, vms_rng_below(&s->rng, FAULT_PERIOD_US), EV_CRASH, i, p->life,
			       CRASH_PLAIN, NULL);
			if (p->kind == SIM_NODE && pl->ack == VMS_ACK_MEMORY)
				may = false;
		} else if (p->kind == SIM_NODE && may && happens(s, pl->outage)) {
			sim_at(s, 1, EV_CRASH, i, p->life, CRASH_LONG, NULL);
			if (pl->ack == VMS_ACK_MEMORY)
				may = false;
		} else if (p->kind == SIM_NODE && may && happens(s, pl->disk_error)) {
			int what = vms_rng_chance(&s->rng, 0.3) ? SIM_DISK_READS : SIM_DISK_WRITES;

			sim_note(s, "process %u: the disk fails to %s", i,
				 what == SIM_DISK_READS ? "read" : "write");
			sim_disk_fail(p->disk, what,
				      what == SIM_DISK_WRITES && vms_rng_chance(&s->rng, 0.5));
			s->r->disk_errors++;
			if (pl->ack == VMS_ACK_MEMORY)
				may = false;
		} else if (!p->paused && happens(s, pause) &&
			   (p->kind != SIM_NODE || may || pl->ack == VMS_ACK_DISK)) {
			uint64_t d = a_while(s, 1500000);

			p->paused = true;
			s->r->pauses++;
			sim_note(s, "process %u pauses for %.3f s", i, (double)d / 1e6);
			sim_at(s, d, EV_RESUME, i, p->life, 0, NULL);
			/* one that stands still for long is left out, like one that has died */
			if (p->kind == SIM_NODE && pl->ack == VMS_ACK_MEMORY)
				may = false;
		}
	}
}

/* A member that is away cannot help: what is written over a base that nobody can read
 * then has bad sectors for good. */
void sim_faults_unread(struct sim *s, struct proc *p)
{
	struct sim_parts ps;

	p->unreadable_us = s->now_us + UNREADABLE_US;
	sim_parts(s, &ps);
	for (unsigned i = 0; i < ps.n && !s->medium_ok; i++) {
		bool mine = false, other = false;

		for (uint32_t k = 0; k < ps.c[i].nmembers; k++) {
			const struct proc *m = &s->p[ps.c[i].member[k].node];

			mine |= m == p;
			other |= m != p && m->up && !m->paused;
		}
		s->medium_ok = mine && (!other || !s->nodes_stable_us);
	}
}

bool sim_faults_unreadable(const struct sim *s)
{
	if (s->medium_ok || s->conf.beyond)
		return true;
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].unreadable_us > s->now_us)
			return true;
	return false;
}

/* Not while nodes are to be left alone. */
static bool may_cut(struct sim *s, unsigned a, unsigned b)
{
	if (s->p[a].kind != SIM_NODE || s->p[b].kind != SIM_NODE)
		return s->episode == EP_NONE ||
		       (s->p[a].kind != SIM_NODE && s->p[b].kind != SIM_NODE);
	return s->plan.ack == VMS_ACK_DISK ? s->episode == EP_NONE : node_may_die(s);
}

static void network(struct sim *s)
{
	const struct sim_plan *pl = &s->plan;

	if (happens(s, pl->brk))
		sim_break_some(s);
	if (happens(s, pl->cut)) {
		unsigned a = any_proc(s), b = any_proc(s);
		uint64_t until = s->now_us + a_while(s, 2000000);
		bool both = vms_rng_chance(&s->rng, 0.5);

		if (a != b && may_cut(s, a, b)) {
			s->blocked_until[a][b] = until;
			if (both)
				s->blocked_until[b][a] = until;
			s->r->cuts++;
			sim_note(s, "link %u->%u cut%s", a, b, both ? " both ways" : "");
		}
	}
	if (happens(s, pl->isolate)) {
		unsigned a = any_proc(s), way = (unsigned)vms_rng_below(&s->rng, 3);
		uint64_t until = s->now_us + a_while(s, 2000000);

		for (unsigned b = 0; b < s->nprocs; b++) {
			if (b == a || vms_rng_chance(&s->rng, 0.3) || !may_cut(s, a, b))
				continue;
			if (way != 1)
				s->blocked_until[a][b] = until;
			if (way != 2)
				s->blocked_until[b][a] = until;
		}
		s->r->cuts++;
		sim_note(s, "process %u is cut off from some (%s)", a,
			 way == 0   ? "both ways"
			 : way == 1 ? "to it"
				    : "from it");
	}
	if (happens(s, pl->path_cut))
		sim_link_faults(s);
	if (happens(s, pl->slow_link)) {
		unsigned a = any_proc(s), b = any_proc(s);

		if (!may_cut(s, a, b))
			return;
		s->slow_until[a][b] = s->now_us + a_while(s, 3000000);
		sim_note(s, "link %u->%u is slow", a, b);
	}
}

/* No disk rots and none has failed: then whoever finds damage is mistaken. */
static void no_damage(struct sim *s)
{
	if (s->plan.rot > 0 || s->r->disk_errors || s->r->spoiled || s->failed)
		return;
	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].up && s->p[i].node && sim_node_damage(s->p[i].node))
			sim_fail(s, "node %u finds damage on a disk that has none", i);
}

void sim_faults(struct sim *s)
{
	stability(s);
	no_damage(s);
	sim_ring(s);
	sim_restore(s);
	sim_logs(s);
	if (!s->faults || s->failed)
		return;
	crashes(s);
	network(s);
	if (s->plan.fill > 0)
		fill(s);
	if (s->p[SIM_ROT_NODE].up && happens(s, s->plan.rot))
		rot(s, &s->p[SIM_ROT_NODE]);
}
