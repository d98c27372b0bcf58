/* SPDX-License-Identifier: GPL-2.0-only */
/* Virtual network: see sim.h. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"

struct conn *sim_conn(struct sim *s, uint64_t id)
{
	struct conn *c = s->conns;
	while (c && c->id != id)
		c = c->next;
	return c;
}

static void reap(struct sim *s)
{
	struct conn **at = &s->conns;
	while (*at) {
		struct conn *c = *at;
		if (!c->open[0] && !c->open[1] && c->last_us[0] <= s->now_us &&
		    c->last_us[1] <= s->now_us) {
			*at = c->next;
			free(c);
		} else {
			at = &c->next;
		}
	}
}

static uint64_t delay(struct sim *s, int from, int to)
{
	const struct sim_plan *pl = &s->plan;
	uint64_t d = pl->net_us_min + vms_rng_below(&s->rng, pl->net_us_max - pl->net_us_min + 1);
	if (s->faults && vms_rng_chance(&s->rng, pl->net_slow))
		d *= 20;
	if (s->slow_until[from][to] > s->now_us)
		d = d * 20 + vms_rng_below(&s->rng, 100000);
	return d;
}

/* When a byte sent now from proc a reaches proc b, behind what is on its way. */
static uint64_t arrival(struct sim *s, struct conn *c, int to)
{
	int from = !to;
	uint64_t t = s->now_us;
	uint64_t blocked = s->blocked_until[c->proc[from]][c->proc[to]];
	if (blocked > t)
		t = blocked;
	t += delay(s, c->proc[from], c->proc[to]);
	if (t < c->last_us[to])
		t = c->last_us[to];
	c->last_us[to] = t;
	return t - s->now_us;
}

uint64_t sim_connect(struct sim *s, struct proc *from, struct proc *to)
{
	int a = (int)(from - s->p), b = (int)(to - s->p);
	if (!to->up || to->gone || s->blocked_until[a][b] > s->now_us ||
	    s->blocked_until[b][a] > s->now_us)
		return 0;
	reap(s);
	struct conn *c = calloc(1, sizeof(*c));
	c->id = ++s->next_conn;
	c->proc[0] = a;
	c->proc[1] = b;
	c->life[0] = from->life;
	c->life[1] = to->life;
	c->open[0] = c->open[1] = true;
	c->next = s->conns;
	s->conns = c;
	sim_at(s, arrival(s, c, 1), EV_CONNECTED, c->id, 1, 0, NULL);
	sim_at(s, arrival(s, c, 0) + delay(s, b, a), EV_CONNECTED, c->id, 0, 0, NULL);
	c->last_us[0] += s->plan.net_us_max * 20;
	return c->id;
}

int sim_send(struct sim *s, struct proc *from, uint64_t id, const struct vms_msg *m)
{
	struct conn *c = sim_conn(s, id);
	int me = (int)(from - s->p), side;
	if (!c)
		return VMS_E_DISCONNECTED;
	side = c->proc[0] == me ? 0 : 1;
	vms_assert(c->proc[side] == me);
	if (!c->open[side] || c->life[side] != from->life)
		return VMS_E_DISCONNECTED;
	/* invariant 28: nothing is acknowledged any more */
	if (from->fatal && m->flags & VMS_F_REPLY && !m->status &&
	    (m->type == VMS_MSG_WRITE || m->type == VMS_MSG_FLUSH || m->type == VMS_MSG_FLOOR ||
	     m->type == VMS_MSG_REPLICATE)) {
		sim_fail(s, "process %d acknowledges after it said that it cannot go on", me);
		return VMS_E_DISCONNECTED;
	}
	sim_watch_send(s, from, m);
	struct frame *f = malloc(sizeof(*f) + VMS_FRAME_HEADER_BYTES + m->body_bytes +
				 m->payload_bytes);
	size_t at = VMS_FRAME_HEADER_BYTES;
	vms_msg_encode_header(m, f->data);
	if (m->body_bytes)
		memcpy(f->data + at, m->body, m->body_bytes);
	at += m->body_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(f->data + at, m->payload[i].base, m->payload[i].len);
		at += m->payload[i].len;
	}
	vms_assert(at == VMS_FRAME_HEADER_BYTES + m->body_bytes + m->payload_bytes);
	f->len = at;
	sim_at(s, arrival(s, c, !side), EV_DELIVER, id, (uint64_t)!side, 0, f);
	return 0;
}

void sim_close(struct sim *s, struct proc *from, uint64_t id)
{
	struct conn *c = sim_conn(s, id);
	int me = (int)(from - s->p), side;
	if (!c)
		return;
	side = c->proc[0] == me ? 0 : 1;
	if (!c->open[side])
		return;
	c->open[side] = false;
	sim_at(s, 1, EV_CLOSED, id, (uint64_t)side, 1, NULL); /* its own CONN_DOWN */
	if (c->open[!side])
		sim_at(s, arrival(s, c, !side), EV_CLOSED, id, (uint64_t)!side, 0, NULL);
}

void sim_conns_die(struct sim *s, struct proc *p)
{
	int me = (int)(p - s->p);
	for (struct conn *c = s->conns; c; c = c->next)
		for (int side = 0; side < 2; side++) {
			if (c->proc[side] != me || !c->open[side])
				continue;
			c->open[side] = false;
			if (c->open[!side])
				sim_at(s, arrival(s, c, !side), EV_CLOSED, c->id, (uint64_t)!side,
				       0, NULL);
		}
}

/* One random established connection breaks; each end learns of it on its own. */
void sim_break_some(struct sim *s)
{
	unsigned n = 0, k;
	for (struct conn *c = s->conns; c; c = c->next)
		n += c->open[0] && c->open[1];
	if (!n)
		return;
	k = (unsigned)vms_rng_below(&s->rng, n);
	for (struct conn *c = s->conns; c; c = c->next) {
		if (!(c->open[0] && c->open[1]) || k--)
			continue;
		for (int side = 0; side < 2; side++) {
			uint64_t d = vms_rng_chance(&s->rng, 0.5)
					     ? 1 + delay(s, c->proc[!side], c->proc[side])
					     : arrival(s, c, side) + vms_rng_below(&s->rng, 500000);
			sim_at(s, d, EV_CLOSED, c->id, (uint64_t)side, 0, NULL);
		}
		return;
	}
}

void sim_net_event(struct sim *s, struct ev *e)
{
	struct conn *c = sim_conn(s, e->a);
	int side = (int)e->b;
	struct proc *p;
	if (!c) {
		free(e->p);
		return;
	}
	p = &s->p[c->proc[side]];
	bool live = p->up && p->life == c->life[side];
	switch (e->type) {
	case EV_CONNECTED:
		if (!live || !c->open[side])
			return;
		sim_proc_input(p, (struct input){.type = side ? IN_ACCEPT : IN_UP,
						 .conn = c->id,
						 .peer = c->proc[!side]});
		break;
	case EV_DELIVER:
		if (live && c->open[side]) {
			sim_proc_input(
				p, (struct input){.type = IN_MSG, .conn = c->id, .frame = e->p});
			e->p = NULL;
		}
		break;
	case EV_CLOSED:
		if (!live || (!c->open[side] && !e->c))
			break;
		c->open[side] = false;
		sim_proc_input(p, (struct input){.type = IN_DOWN, .conn = c->id});
		break;
	default:
		break;
	}
	free(e->p);
}
