/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Persistent reservations in the simulator: initiators register, reserve, preempt through
 * any gateway, and the gateway's part that the adapter has (target/tgt_bs_pr.c): commands
 * are checked against the table that the core holds, those of a nexus that was preempted
 * with abort are ended before the core is told that all is settled.
 *
 * Checked from outside (invariants 12, 13): from the moment a gateway ends a command with GOOD
 * whose table shuts a nexus out, until somebody sends another command on reservations, no
 * write that this nexus begins ends with GOOD, through any gateway; and what a nexus that
 * was preempted with abort had begun before has no effect after that moment.
 */
#include <stdlib.h>
#include <string.h>

#include <stdio.h>

#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

enum { REGISTER = 6, RESERVE = 1, RELEASE = 2, CLEAR = 3, PREEMPT = 4, PREEMPT_ABORT = 5 };

#define DOUBT_US 20000000u /* what became of a command whose gateway has died */

struct sim_pr_cmd {
	struct vms_gw_pr_cmd cmd;
	struct vms_pr_nexus nexus;
	uint8_t cdb[10], list[24];
	unsigned client;
	uint32_t session;
	bool submitted, unwanted;
	struct sim_pr_cmd *next;
};

static struct proc *gateway(struct sim *s, unsigned g)
{
	return &s->p[1 + s->plan.nodes + g];
}

void sim_pr_nexus(struct vms_pr_nexus *n, unsigned client, unsigned g)
{
	memset(n, 0, sizeof(*n));
	snprintf(n->initiator, sizeof(n->initiator), "iqn.2011-06.org.vmstore:sim%u", client);
	n->isid[5] = (uint8_t)(client + 1);
	n->target_port = (uint16_t)(g + 1);
}

static void shut_out_none(struct sim *s)
{
	memset(s->shut_us, 0, sizeof(s->shut_us));
}

/* A client sends one now and then. */
void sim_pr_client(struct sim *s, struct client *c)
{
	uint64_t key = 100 + (uint64_t)c->idx, other;
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100);
	struct sim_pr_cmd *m, **at;
	int g = sim_path_pick(s, c);
	uint8_t action;
	struct proc *p;

	if (g < 0 || c->path[g].closed || sim_link_cut(s, (unsigned)c->idx, (unsigned)g, true))
		return;
	p = gateway(s, (unsigned)g);
	if (!p->up || p->paused || !sim_vol_ready(s, p, 0) || !s->vol[0].want)
		return;
	other = 100 + vms_rng_below(&s->rng, s->plan.clients);
	action = d < 40	  ? REGISTER
		 : d < 60 ? RESERVE
		 : d < 75 ? PREEMPT_ABORT
		 : d < 85 ? PREEMPT
		 : d < 95 ? RELEASE
			  : CLEAR;
	m = calloc(1, sizeof(*m));
	vms_assert(m);
	m->client = (unsigned)c->idx;
	m->session = c->path[g].session;
	sim_pr_nexus(&m->nexus, m->client, (unsigned)g);
	m->cdb[0] = 0x5f;
	m->cdb[1] = action;
	m->cdb[2] = action == REGISTER || action == CLEAR ? 0 : s->plan.pr_type;
	vms_put_be32(m->cdb + 5, sizeof(m->list));
	if (action != REGISTER)
		vms_put_be64(m->list, key);
	if (action == REGISTER)
		vms_put_be64(m->list + 8, vms_rng_chance(&s->rng, 0.1) ? 0 : key);
	else if (action == PREEMPT || action == PREEMPT_ABORT)
		vms_put_be64(m->list + 8, other);
	for (at = &p->prq; *at; at = &(*at)->next)
		;
	*at = m;
	s->npr++;
	s->r->pr_commands++;
	shut_out_none(s);
	sim_wake(p, 1);
}

static void cmd_over(struct sim *s, struct sim_pr_cmd *m)
{
	free(m->cmd.in);
	free(m);
	s->npr--;
}

/* The gateway dies, or the volume is closed. */
void sim_pr_stop(struct sim *s, struct proc *p)
{
	while (p->prq) {
		struct sim_pr_cmd *m = p->prq;

		p->prq = m->next;
		if (m->submitted)
			s->pr_doubt_us = s->now_us + DOUBT_US;
		cmd_over(s, m);
	}
	p->pr_fence = 0;
}

void sim_pr_complete(void *ctx, struct vms_gw_pr_cmd *cmd)
{
	struct proc *p = ctx;
	struct sim *s = p->s;
	struct sim_pr_cmd *m = cmd->cookie, **at = &p->prq;
	const struct vms_pr *t = vms_gw_vol_pr(cmd->vol);
	uint8_t action = m->cdb[1];

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	sim_mix(s, cmd->sense.status ^ (uint64_t)action << 8);
	if (cmd->sense.status == VMS_SAM_GOOD) {
		s->r->pr_good++;
		sim_note(s, "client %u: reservation command %u through gateway %u, key %llu: GOOD",
			 m->client, action, p->idx, (unsigned long long)vms_get_be64(m->list + 8));
	}
	/* only where no other command may have changed the table meanwhile */
	if (cmd->sense.status == VMS_SAM_GOOD && !m->unwanted && s->npr == 1 &&
	    s->now_us >= s->pr_doubt_us && !t->pending && t->held) {
		for (unsigned c = 0; c < s->plan.clients; c++)
			for (unsigned g = 0; g < s->plan.gateways; g++) {
				struct vms_pr_nexus n;
				struct vms_pr_who who = {&n, {g + 1, 1, 1}};

				sim_pr_nexus(&n, c, g);
				if (!vms_pr_refuses(t, &who, VMS_ACC_WRITE))
					continue;
				s->shut_us[c][g] = s->now_us;
				for (unsigned i = 0; i < t->nevents && action == PREEMPT_ABORT; i++)
					if (t->event[i].abort &&
					    vms_pr_same_nexus(&t->event[i].nexus, &n))
						sim_client_ends(s, &s->cl[c], g);
			}
	}
	cmd_over(s, m);
}

bool sim_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t)
{
	struct proc *p = ctx;
	bool any = false;

	if (vol != p->vol[0].h)
		return true;
	for (unsigned i = 0; i < t->nevents; i++)
		for (struct sim_cmd *m = p->live; m && t->event[i].abort; m = m->next)
			if (m->vol == 0 && vms_pr_same_nexus(&t->event[i].nexus, &m->nexus)) {
				m->preempted = true;
				any = true;
			}
	if (!any)
		return true;
	p->pr_fence = t->fence;
	sim_wake(p, 1);
	return false;
}

/* Is the command to be refused? */
bool sim_pr_refuses(struct sim *s, struct proc *p, struct sim_cmd *m)
{
	m->cmd.access = m->cmd.op == VMS_GW_READ    ? VMS_ACC_READ
			: m->cmd.op == VMS_GW_FLUSH ? VMS_ACC_ANY
						    : VMS_ACC_WRITE;
	sim_pr_nexus(&m->nexus, (unsigned)m->client, p->idx);
	m->who = (struct vms_pr_who){&m->nexus,
				     {p->idx + 1, vms_gw_incarnation(p->gw), m->session}};
	m->cmd.who = &m->who;
	if (m->cmd.access == VMS_ACC_ANY ||
	    !vms_pr_refuses(vms_gw_vol_pr(p->vol[m->vol].h), &m->who, m->cmd.access))
		return false;
	s->r->pr_conflicts++;
	return true;
}

/* In each turn, before commands are read. */
void sim_pr_turn(struct sim *s, struct proc *p)
{
	bool left = false;

	for (struct sim_cmd *m = p->live; m; m = m->next) {
		left |= m->preempted;
		if (m->preempted && !m->preempt_told) {
			m->preempt_told = true;
			vms_gw_abort(p->gw, &m->cmd);
		}
	}
	if (p->pr_fence && !left && p->vol[0].ready) {
		uint64_t fence = p->pr_fence;

		p->pr_fence = 0;
		vms_gw_pr_settled(p->gw, p->vol[0].h, fence);
	}
	for (struct sim_pr_cmd *m = p->prq, *next; m; m = next) {
		const struct path *pa = &s->cl[m->client].path[p->idx];
		bool there = pa->up && !pa->closed && pa->session == m->session &&
			     pa->life == p->life && sim_vol_ready(s, p, 0) && s->vol[0].want;

		next = m->next;
		if (!m->submitted && there) {
			m->submitted = true;
			m->cmd.vol = p->vol[0].h;
			m->cmd.cookie = m;
			m->cmd.req.cdb = m->cdb;
			m->cmd.req.list = m->list;
			m->cmd.req.list_bytes = sizeof(m->list);
			m->cmd.req.who = (struct vms_pr_who){
				&m->nexus, {p->idx + 1, vms_gw_incarnation(p->gw), m->session}};
			vms_gw_pr_submit(p->gw, &m->cmd);
		} else if (!m->submitted) {
			struct sim_pr_cmd **at = &p->prq;

			while (*at != m)
				at = &(*at)->next;
			*at = next;
			cmd_over(s, m);
		} else if (!there && !m->unwanted) {
			m->unwanted = true;
			vms_gw_pr_abort(p->gw, &m->cmd);
		}
	}
}
