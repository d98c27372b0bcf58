/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reservations in the simulator: initiators register, reserve, preempt through any gateway,
 * and the gateway's part that the adapter has (target/tgt_bs_pr.c): commands are checked
 * against the table that the core holds, those of a nexus that was preempted with abort are
 * ended before the core is told that all is settled, RESERVE ends with its session, and who
 * meets another one's asks whether its gateway lives. CLEAR TASK SET, which goes the same way to
 * all gateways, ends what its own gateway has read of all sessions first. sim_pr_judge.c is told of
 * everything.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/gw_int.h"
#include "tests/sim/sim_pr.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

struct sim_pr_cmd {
	struct vms_gw_pr_cmd cmd;
	struct vms_pr_nexus nexus;
	uint8_t cdb[10], list[24];
	unsigned client;
	uint32_t session;
	unsigned id; /* of the judge's */
	bool submitted, unwanted;
	uint64_t begun_us; /* CLEAR TASK SET: what was read by then here is being ended; 0: not */
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

static uint8_t action_draw(struct sim *s, const struct client *c, int g)
{
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100);

	if (vms_rng_chance(&s->mix_rng, 0.06))
		return PR_CLEAR_TASKS;
	if (s->plan.pr_legacy && d < 70) {
		bool mine = sim_pr_reserved(s, (unsigned)c->idx, c->path[g].session);

		return d < (mine ? 15u : 50u) ? PR_LEGACY_RESERVE : PR_LEGACY_RELEASE;
	}
	d = (unsigned)vms_rng_below(&s->rng, 100);
	return d < 30	? PR_REGISTER
	       : d < 40 ? PR_REGISTER_KEY
	       : d < 60 ? PR_RESERVE
	       : d < 75 ? PR_PREEMPT_ABORT
	       : d < 85 ? PR_PREEMPT
	       : d < 95 ? PR_RELEASE
			: PR_CLEAR;
}

static void cdb_make(struct sim *s, struct sim_pr_cmd *m, uint8_t action)
{
	uint64_t key = 100 + m->client, sa_key = 0;

	if (action == PR_LEGACY_RESERVE || action == PR_LEGACY_RELEASE ||
	    action == PR_CLEAR_TASKS) {
		m->cdb[0] = action;
		return;
	}
	m->cdb[0] = 0x5f;
	m->cdb[1] = action;
	m->cdb[2] = action == PR_REGISTER || action == PR_REGISTER_KEY || action == PR_CLEAR
			    ? 0
			    : s->plan.pr_type;
	vms_put_be32(m->cdb + 5, sizeof(m->list));
	if (action == PR_REGISTER_KEY)
		key = vms_rng_chance(&s->rng, 0.5) ? 0 : key;
	if (action == PR_REGISTER || action == PR_REGISTER_KEY)
		sa_key = vms_rng_chance(&s->rng, 0.1) ? 0 : 100 + m->client;
	else if (action == PR_PREEMPT || action == PR_PREEMPT_ABORT)
		sa_key = 100 + vms_rng_below(&s->rng, s->plan.clients);
	vms_put_be64(m->list, action == PR_REGISTER ? 0 : key);
	vms_put_be64(m->list + 8, sa_key);
}

/* A client sends one now and then. */
void sim_pr_client(struct sim *s, struct client *c)
{
	struct sim_pr_cmd *m, **at;
	int g = sim_path_pick(s, c);
	struct proc *p;

	if (g < 0 || c->path[g].closed || sim_link_cut(s, (unsigned)c->idx, (unsigned)g, true))
		return;
	p = gateway(s, (unsigned)g);
	if (!p->up || p->paused || !sim_vol_ready(s, p, 0) || !s->vol[0].want)
		return;
	m = calloc(1, sizeof(*m));
	vms_assert(m);
	m->client = (unsigned)c->idx;
	m->session = c->path[g].session;
	sim_pr_nexus(&m->nexus, m->client, (unsigned)g);
	cdb_make(s, m, action_draw(s, c, g));
	for (at = &p->prq; *at; at = &(*at)->next)
		;
	*at = m;
	s->r->pr_commands++;
	sim_wake(p, 1);
}

static void cmd_over(struct sim_pr_cmd *m)
{
	free(m->cmd.in);
	free(m);
}

/* The gateway dies. */
void sim_pr_stop(struct sim *s, struct proc *p)
{
	while (p->prq) {
		struct sim_pr_cmd *m = p->prq;

		p->prq = m->next;
		if (m->submitted)
			sim_pr_unknown(s, m->id);
		cmd_over(m);
	}
	p->pr_fence = 0;
	p->pr_doubt = false;
	p->pr_ended = 0;
}

void sim_pr_complete(void *ctx, struct vms_gw_pr_cmd *cmd)
{
	struct proc *p = ctx;
	struct sim *s = p->s;
	struct sim_pr_cmd *m = cmd->cookie, **at = &p->prq;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	sim_mix(s, cmd->sense.status ^ (uint64_t)m->cdb[1] << 8);
	sim_note(s, "client %u: reservation command %02x %u through gateway %u, key %llu: %02x",
		 m->client, m->cdb[0], m->cdb[1], p->idx,
		 (unsigned long long)vms_get_be64(m->list + 8), cmd->sense.status);
	s->r->pr_good += cmd->sense.status == VMS_SAM_GOOD;
	p->pr_doubt |= cmd->sense.status == VMS_SAM_RESERVATION_CONFLICT;
	sim_pr_answered(s, m->id, &cmd->sense);
	cmd_over(m);
}

/* What is under way on the first volume, of that nexus or (NULL) of all, is to end. */
static bool end_tasks(struct proc *p, const struct vms_pr_nexus *nexus)
{
	bool any = false;

	for (struct sim_cmd *m = p->live; m; m = m->next)
		if (sim_cmd_uses(m, 0) && m->client != SIM_AUDITOR &&
		    (!nexus || vms_pr_same_nexus(nexus, &m->nexus))) {
			m->preempted = true;
			any = true;
		}
	return any;
}

bool sim_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *t)
{
	struct proc *p = ctx;
	bool any = false;

	if (vol != p->vol[0].h)
		return true;
	for (unsigned i = 0; i < t->nevents; i++) {
		const struct vms_pr_event *e = &t->event[i];
		bool own = t->by.gateway == p->gw->id &&
			   t->by.incarnation == vms_gw_incarnation(p->gw);

		if (e->abort && !(e->all && own)) /* its own are ended already */
			any |= end_tasks(p, e->all ? NULL : &e->nexus);
	}
	if (!any)
		return true;
	p->pr_fence = t->fence;
	sim_wake(p, 1);
	return false;
}

static struct vms_pr_who owner(const struct proc *p, const struct vms_pr_nexus *n, unsigned client,
			       uint32_t session)
{
	return (struct vms_pr_who){
		n, {p->gw->id, vms_gw_incarnation(p->gw), sim_pr_session(client, session)}};
}

void sim_pr_owner(const struct proc *p, struct sim_cmd *m)
{
	sim_pr_nexus(&m->nexus, (unsigned)m->client, p->idx);
	m->who = owner(p, &m->nexus, (unsigned)m->client, m->session);
}

int sim_pr_refuses(struct sim *s, struct proc *p, struct sim_cmd *m)
{
	int status;

	m->cmd.access = m->cmd.op == VMS_GW_READ    ? VMS_ACC_READ
			: m->cmd.op == VMS_GW_FLUSH ? VMS_ACC_ANY
						    : VMS_ACC_WRITE;
	sim_pr_owner(p, m);
	m->cmd.who = &m->who;
	if (m->cmd.access == VMS_ACC_ANY ||
	    !vms_pr_refuses(vms_gw_vol_pr(p->vol[m->vol].h), &m->who, m->cmd.access))
		return 0;
	status = vms_gw_refusal(p->gw);
	s->r->pr_conflicts += status == VMS_E_RESERVED;
	s->r->pr_doubtful += status != VMS_E_RESERVED;
	p->pr_doubt = true;
	return status;
}

bool sim_pr_session_here(const struct sim *s, const struct proc *p, unsigned c, uint32_t session)
{
	const struct path *pa = &s->cl[c].path[p->idx];

	return pa->life == p->life &&
	       ((pa->up && !pa->closed && pa->session == session) || pa->gone == session);
}

/* Who has RESERVE, and is that session there? */
static void reserve_look(struct sim *s, struct proc *p)
{
	const struct vms_pr_owner *o = &vms_gw_vol_pr(p->vol[0].h)->reserve;
	bool own = o->gateway == p->gw->id && o->incarnation == vms_gw_incarnation(p->gw);

	if (!o->gateway)
		p->pr_ended = 0;
	else if (own && o->session != p->pr_ended &&
		 !sim_pr_session_here(s, p, (unsigned)(o->session >> 32) - 1,
				      (uint32_t)o->session)) {
		p->pr_ended = o->session;
		vms_gw_pr_session_end(p->gw, p->vol[0].h, o->session);
	} else if (p->pr_doubt || s->stopping) {
		vms_gw_pr_doubt(p->gw, p->vol[0].h);
	}
	p->pr_doubt = false;
}

static unsigned asked(struct sim *s, const struct proc *p, const struct sim_pr_cmd *m)
{
	bool legacy = m->cdb[0] != 0x5f;
	const struct sim_pr_ask a = {.client = m->client,
				     .gw = p->idx,
				     .action = legacy ? m->cdb[0] : m->cdb[1],
				     .type = m->cdb[2],
				     .key = vms_get_be64(m->list),
				     .sa_key = vms_get_be64(m->list + 8),
				     .gw_id = p->gw->id,
				     .begun_us = m->begun_us,
				     .session = sim_pr_session(m->client, m->session)};

	return sim_pr_asked(s, &a, vms_gw_incarnation(p->gw));
}

/* In each turn, before commands are read. */
void sim_pr_turn(struct sim *s, struct proc *p)
{
	bool left = false;

	for (struct sim_cmd *m = p->live; m; m = m->next) {
		left |= m->preempted;
		if (m->preempted && !m->preempt_told) {
			m->preempt_told = true;
			sim_cmd_abort(p, m);
		}
	}
	if (p->pr_fence && !left && p->vol[0].ready) {
		uint64_t fence = p->pr_fence;

		p->pr_fence = 0;
		vms_gw_pr_settled(p->gw, p->vol[0].h, fence);
	}
	if (p->vol[0].ready)
		reserve_look(s, p);
	for (struct sim_pr_cmd *m = p->prq, *next; m; m = next) {
		bool clear = m->cdb[0] == PR_CLEAR_TASKS;
		const struct path *pa = &s->cl[m->client].path[p->idx];
		bool there = pa->up && !pa->closed && pa->session == m->session &&
			     pa->life == p->life && sim_vol_ready(s, p, 0) && s->vol[0].want;

		next = m->next;
		if (there && clear && !m->begun_us) {
			m->begun_us = s->now_us;
			s->r->resets++;
			left |= end_tasks(p, NULL);
			sim_wake(p, 1);
		}
		if (there && clear && !m->submitted && left) {
			continue; /* this gateway's first */
		} else if (!m->submitted && there) {
			m->submitted = true;
			m->cmd.vol = p->vol[0].h;
			m->cmd.cookie = m;
			m->cmd.req.cdb = m->cdb;
			m->cmd.req.list = m->list;
			m->cmd.req.list_bytes = sizeof(m->list);
			m->cmd.req.who = owner(p, &m->nexus, m->client, m->session);
			m->id = asked(s, p, m);
			if (clear)
				vms_gw_pr_clear_tasks(p->gw, &m->cmd);
			else
				vms_gw_pr_submit(p->gw, &m->cmd);
		} else if (!m->submitted) {
			struct sim_pr_cmd **at = &p->prq;

			while (*at != m)
				at = &(*at)->next;
			*at = next;
			cmd_over(m);
		} else if (!there && !m->unwanted) {
			m->unwanted = true;
			vms_gw_pr_abort(p->gw, &m->cmd);
		}
	}
}
