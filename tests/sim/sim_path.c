/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The paths of initiators: sessions with gateways, the links they run over, and what
 * becomes of commands when a session is lost, begins anew or gets a task-management
 * request.
 *
 * The gateway's part is the transport's (target/iscsi_stream.c, tgt's patches 9 to 11): a
 * link that is silent for T_nop closes the session, unread commands go with it and running
 * ones are aborted; a login that takes the place of a session, and the answer to a reset,
 * wait until every old command is settled.
 *
 * What an initiator knows of a write whose answer it did not get (rules "Nothing late"):
 * after a task-management answer, or a new login to the same process, all is over. After
 * any other loss it repeats the write when FAILOVER_US are over, over whatever path; from
 * the acknowledgement of that on the old one must never appear.
 */
#include <string.h>

#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"

#define T_NOP_US    1500000u
#define PING_US_MIN 1500000u /* an initiator gives a silent path up, at times soon */
#define PING_US_MAX 6000000u

static struct proc *gateway(struct sim *s, unsigned g)
{
	return &s->p[1 + s->plan.nodes + g];
}

/* ---- links ---- */

bool sim_link_cut(const struct sim *s, unsigned c, unsigned g, bool up)
{
	const struct ilink *l = &s->ilink[c][g];

	return l->until_us > s->now_us && (up ? l->up : l->down);
}

/* When what is sent now arrives at the earliest. */
uint64_t sim_link_delay(struct sim *s, unsigned c, unsigned g, bool up)
{
	uint64_t d = s->plan.net_us_min + vms_rng_below(&s->rng, s->plan.net_us_max);

	return sim_link_cut(s, c, g, up) ? s->ilink[c][g].until_us - s->now_us + d : d;
}

void sim_link_faults(struct sim *s)
{
	unsigned c = (unsigned)vms_rng_below(&s->rng, s->plan.clients);
	unsigned g = (unsigned)vms_rng_below(&s->rng, s->plan.gateways);
	unsigned way = (unsigned)vms_rng_below(&s->rng, 3);
	struct ilink *l = &s->ilink[c][g];

	if (l->since_us)
		return;
	/* below T_nop as often as beyond */
	*l = (struct ilink){s->now_us,
			    s->now_us + vms_rng_below(&s->rng, vms_rng_chance(&s->rng, 0.5)
								       ? 2 * T_NOP_US
								       : 9000000u),
			    way != 1, way != 2};
	s->r->cuts++;
	sim_note(s, "initiator %u and gateway %u: %s is held", c, g,
		 way == 0   ? "all"
		 : way == 1 ? "the way back"
			    : "the way there");
}

/* ---- the gateway's end ---- */

static void abort_session(struct sim *s, struct proc *p, unsigned c, uint32_t session)
{
	struct sim_cmd **at = &p->cmdq;

	while (*at) { /* unread */
		struct sim_cmd *m = *at;

		if (m->client != (int)c || m->session != session) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		m->cmd.status = VMS_E_CANCELLED;
		m->aborting = true;
		sim_client_aborted(s, m);
		sim_cmd_free(m);
	}
	p->cmdq_tail = at;
	for (struct sim_cmd *m = p->live; m; m = m->next)
		if (m->client == (int)c && m->session == session && !m->aborting) {
			m->aborting = true;
			sim_cmd_abort(p, m);
		}
}

static bool session_busy(const struct proc *p, unsigned c, uint32_t session)
{
	for (const struct sim_cmd *m = p->live; m; m = m->next)
		if (m->client == (int)c && m->session == session)
			return true;
	for (const struct sim_cmd *m = p->ended; m; m = m->next)
		if (m->client == (int)c && m->session == session)
			return true;
	return false;
}

/* Before anything is read: sessions that have been silent for too long, and those that
 * their initiators have given up, end. */
void sim_paths_gateway(struct sim *s, struct proc *p)
{
	for (unsigned c = 0; c < s->plan.clients; c++) {
		struct ilink *l = &s->ilink[c][p->idx];
		struct path *pa = &s->cl[c].path[p->idx];
		uint64_t end = l->until_us < s->now_us ? l->until_us : s->now_us;

		if (pa->gone) { /* the end of the connection takes its time, too */
			if (!sim_link_cut(s, c, p->idx, true) && vms_rng_chance(&s->rng, 0.3)) {
				abort_session(s, p, c, pa->gone);
				pa->gone = 0;
			}
		}
		if (!l->since_us)
			continue;
		if (end - l->since_us > T_NOP_US && pa->up && !pa->closed &&
		    pa->since_us <= l->since_us) {
			sim_note(s, "gateway %u: no sign of life of initiator %u", p->idx, c);
			pa->closed = true;
			abort_session(s, p, c, pa->session);
		}
		if (end - l->since_us > T_NOP_US && pa->gone) {
			abort_session(s, p, c, pa->gone);
			pa->gone = 0;
		}
		if (l->until_us <= s->now_us)
			l->since_us = 0;
	}
}

/* Is m of a session that is there? */
bool sim_path_takes(const struct sim *s, const struct proc *p, const struct sim_cmd *m)
{
	const struct path *pa = &s->cl[m->client].path[p->idx];

	return pa->life == p->life && ((pa->up && !pa->closed && pa->session == m->session) ||
				       (pa->gone && pa->gone == m->session));
}

/* ---- the initiator's end ---- */

void sim_path_lost(struct sim *s, struct client *c, unsigned g, const char *why)
{
	struct path *pa = &c->path[g];

	if (!pa->up)
		return;
	sim_note(s, "client %d: session to gateway %u lost (%s)", c->idx, g, why);
	pa->up = false;
	pa->gone = pa->closed ? 0 : pa->session;
	pa->silent_us = 0;
	pa->tmf = false;
	pa->ready_us = s->now_us + vms_rng_below(&s->rng, 1000000);
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++)
		if (c->op[i].used && !c->op[i].stuck && c->op[i].gw == (int)g)
			sim_client_unknown(s, c, i);
}

/* Logged in: to a process that has the old session still, which ends first. */
static bool login(struct sim *s, struct client *c, unsigned g)
{
	struct path *pa = &c->path[g];
	struct proc *p = gateway(s, g);
	bool same = pa->life == p->life;

	if (same && pa->session) {
		abort_session(s, p, (unsigned)c->idx, pa->session);
		pa->gone = 0;
		if (session_busy(p, (unsigned)c->idx, pa->session)) {
			sim_wake(p, 1);
			return false;
		}
		for (unsigned i = 0; i < SIM_DEPTH_MAX; i++)
			if (c->op[i].used && c->op[i].stuck && c->op[i].gw == (int)g &&
			    c->op[i].session == pa->session) {
				sim_client_settled(s, c, i);
				s->r->reinstated++;
			}
	}
	*pa = (struct path){
		.up = true, .life = p->life, .session = ++c->session, .since_us = s->now_us};
	sim_note(s, "client %d: logged in to gateway %u", c->idx, g);
	return true;
}

static bool reachable(const struct sim *s, const struct client *c, unsigned g)
{
	const struct proc *p = &s->p[1 + s->plan.nodes + g];

	return p->up && !p->paused && p->vol[0].ready &&
	       !sim_link_cut(s, (unsigned)c->idx, g, true) &&
	       !sim_link_cut(s, (unsigned)c->idx, g, false);
}

static void silence(struct sim *s, struct client *c, unsigned g)
{
	struct path *pa = &c->path[g];
	struct proc *p = gateway(s, g);

	if (!p->up || p->life != pa->life) {
		sim_path_lost(s, c, g, "gateway is gone");
	} else if (pa->closed && !sim_link_cut(s, (unsigned)c->idx, g, false)) {
		sim_path_lost(s, c, g, "closed by the gateway");
	} else if (p->paused || sim_link_cut(s, (unsigned)c->idx, g, true) ||
		   sim_link_cut(s, (unsigned)c->idx, g, false)) {
		if (!pa->silent_us) {
			pa->silent_us = s->now_us;
			pa->patience_us = PING_US_MIN + (uint32_t)vms_rng_below(
								&s->rng, PING_US_MAX - PING_US_MIN);
		}
		if (s->now_us - pa->silent_us > pa->patience_us)
			sim_path_lost(s, c, g, "pings not answered");
	} else {
		pa->silent_us = 0;
	}
}

/* LOGICAL UNIT RESET, or ABORT TASK of one: what has been read of the session's commands
 * ends; answered when all of that is settled. */
static void tmf_send(struct sim *s, struct client *c, unsigned g, bool one)
{
	struct proc *p = gateway(s, g);
	struct path *pa = &c->path[g];

	for (struct sim_cmd *m = p->live; m; m = m->next) {
		struct client_op *o = &c->op[m->slot];

		if (m->client != c->idx || m->session != pa->session || m->aborting)
			continue;
		if (!o->used || o->stuck || o->number != m->number)
			continue; /* repeated elsewhere meanwhile */
		m->aborting = true;
		o->tmf = true;
		pa->tmf = true;
		sim_cmd_abort(p, m);
		if (one)
			break;
	}
	if (pa->tmf) {
		s->r->resets++;
		sim_wake(p, 1);
	}
}

static void tmf_look(struct sim *s, struct client *c, unsigned g)
{
	struct path *pa = &c->path[g];
	struct proc *p = gateway(s, g);

	for (const struct sim_cmd *m = p->live; m; m = m->next)
		if (m->client == c->idx && m->session == pa->session && m->aborting)
			return;
	for (const struct sim_cmd *m = p->ended; m; m = m->next)
		if (m->client == c->idx && m->session == pa->session && m->aborting)
			return;
	pa->tmf = false;
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++)
		if (c->op[i].used && c->op[i].tmf && c->op[i].gw == (int)g)
			sim_client_settled(s, c, i);
}

void sim_paths_client(struct sim *s, struct client *c)
{
	unsigned first = (unsigned)vms_rng_below(&s->rng, s->plan.gateways);

	for (unsigned g = 0; g < s->plan.gateways; g++) {
		struct path *pa = &c->path[g];

		if (!pa->up)
			continue;
		silence(s, c, g);
		if (pa->up && pa->tmf && !gateway(s, g)->paused &&
		    !sim_link_cut(s, (unsigned)c->idx, g, false))
			tmf_look(s, c, g);
		if (!pa->up || !s->faults || pa->closed || gateway(s, g)->paused)
			continue;
		/* Now and then a path is left by the initiator itself, or it loses patience. */
		if (vms_rng_chance(&s->rng, 0.0005))
			sim_path_lost(s, c, g, "left");
		else if (!pa->tmf && vms_rng_chance(&s->rng, s->plan.reset) &&
			 !sim_link_cut(s, (unsigned)c->idx, g, true))
			tmf_send(s, c, g, vms_rng_chance(&s->rng, 0.5));
	}
	/* One that uses one path at a time looks for another; the others want all. While all
	 * comes to an end sessions are still needed for what is to be repeated. */
	for (unsigned i = 0; i < s->plan.gateways; i++) {
		unsigned g = (first + i) % s->plan.gateways;
		bool any = false;

		for (unsigned k = 0; k < s->plan.gateways; k++)
			any |= c->path[k].up;
		if (c->path[g].up || s->now_us < c->path[g].ready_us || !reachable(s, c, g) ||
		    (any && !c->multipath) || (s->stopping && !sim_client_pending(c)))
			continue;
		login(s, c, g);
	}
}

/* The path for a new command: with several any of them; -1: none. */
int sim_path_pick(struct sim *s, const struct client *c)
{
	unsigned first = (unsigned)vms_rng_below(&s->rng, s->plan.gateways);

	for (unsigned i = 0; i < s->plan.gateways; i++) {
		unsigned g = (first + i) % s->plan.gateways;

		if (c->path[g].up && !c->path[g].tmf)
			return (int)g;
	}
	return -1;
}

/* A session for reads that the simulator itself wants; g < 0: none. */
void sim_path_use(struct sim *s, struct client *c, int g)
{
	c->gw = g;
	if (g < 0)
		return;
	for (unsigned k = 0; k < s->plan.gateways; k++)
		c->path[k].up = false;
	c->path[g] = (struct path){.up = true,
				   .life = gateway(s, (unsigned)g)->life,
				   .session = ++c->session,
				   .since_us = s->now_us};
}
