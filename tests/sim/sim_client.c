/* SPDX-License-Identifier: GPL-2.0-only */
/* Virtual initiators: see sim.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"

/* T_nop + T_op + tick + margin: no sooner does an initiator repeat elsewhere. */
#define FAILOVER_US  5000000u
#define STABLE_US    5000000u
#define COMMAND_US   60000000u
#define PING_US	     5000000u

unsigned sim_client_pending(const struct client *c)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++)
		n += c->op[i].used;
	return n;
}

static bool is_write(enum vms_gw_op op)
{
	return op == VMS_GW_WRITE || op == VMS_GW_ZERO || op == VMS_GW_CAW;
}

void sim_client_lost(struct sim *s, struct client *c, const char *why)
{
	if (c->gw < 0)
		return;
	sim_note(s, "client %d: session to gateway %d lost (%s)", c->idx, c->gw, why);
	c->gw = -1;
	c->session++;
	c->silent_us = 0;
	c->ready_us = s->now_us + FAILOVER_US;
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++) {
		struct client_op *o = &c->op[i];
		if (!o->used)
			continue;
		o->used = false;
		s->r->unknown++;
		if (o->op == VMS_GW_READ) {
			sim_check_read_end(s->check, o->check_id, false, s->now_us);
		} else if (is_write(o->op)) {
			if (c->nmaybe == c->maybe_room) {
				c->maybe_room = c->maybe_room ? 2 * c->maybe_room : 16;
				c->maybe = realloc(c->maybe, c->maybe_room * sizeof(*c->maybe));
			}
			c->maybe[c->nmaybe++] = o->check_id;
		}
	}
}

/* The window in which ops of a lost session may still take effect is over: the
 * failover delay, and, as sets are fixed, until no node has been missing. */
static bool window_over(struct sim *s, struct client *c)
{
	return s->now_us >= c->ready_us && s->nodes_stable_us &&
	       s->now_us - s->nodes_stable_us >= STABLE_US;
}

static void submit(struct sim *s, struct client *c, unsigned slot, enum vms_gw_op op,
		   uint64_t lba, uint32_t nblocks, uint64_t value, uint64_t old_value, bool fua)
{
	struct client_op *o = &c->op[slot];
	struct sim_cmd *m = calloc(1, sizeof(*m));
	uint32_t bytes = nblocks * VMS_LB_BYTES;

	*o = (struct client_op){true, op, lba, nblocks, value, old_value, 0, s->now_us};
	m->cmd.op = op;
	m->cmd.flags = fua ? VMS_GW_FUA : 0;
	m->cmd.lba = lba;
	m->cmd.nblocks = nblocks;
	m->cmd.initiator_port = c->port;
	m->cmd.cookie = m;
	m->client = c->idx;
	m->session = c->session;
	m->slot = slot;
	switch (op) {
	case VMS_GW_READ:
		if (vms_rng_chance(&s->rng, 0.5)) {
			m->buf = malloc(bytes);
			memset(m->buf, 0xa5, bytes);
			m->cmd.dest = m->buf;
			m->cmd.data_bytes = bytes;
		}
		break;
	case VMS_GW_WRITE:
	case VMS_GW_ORWRITE:
		m->buf = calloc(1, bytes);
		if (op == VMS_GW_WRITE)
			for (uint32_t i = 0; i < nblocks; i++)
				sim_block_fill(m->buf + i * VMS_LB_BYTES, lba + i, value);
		m->iov = (struct vms_iov){m->buf, bytes};
		break;
	case VMS_GW_CAW:
		m->buf = calloc(1, 2 * bytes);
		for (uint32_t i = 0; i < nblocks; i++) {
			sim_block_fill(m->buf + i * VMS_LB_BYTES, lba + i, old_value);
			sim_block_fill(m->buf + bytes + i * VMS_LB_BYTES, lba + i, value);
		}
		m->iov = (struct vms_iov){m->buf, 2 * bytes};
		break;
	default:
		break;
	}
	if (m->iov.len) {
		m->cmd.data = &m->iov;
		m->cmd.ndata = 1;
		m->cmd.data_bytes = m->iov.len;
	}
	if (op == VMS_GW_READ)
		o->check_id = sim_check_invoke(s->check, false, lba, nblocks, 0, s->now_us);
	else if (is_write(op))
		o->check_id = sim_check_invoke(s->check, true, lba, nblocks, value, s->now_us);
	s->r->issued++;
	sim_at(s, s->plan.net_us_min + vms_rng_below(&s->rng, s->plan.net_us_max), EV_CMD,
	       1 + s->plan.nodes + (uint64_t)c->gw, c->session, 0, m);
}

static void issue(struct sim *s, struct client *c, unsigned slot)
{
	const struct sim_plan *pl = &s->plan;
	unsigned place = (unsigned)vms_rng_below(&s->rng, pl->hot_chunks);
	uint64_t lba = s->hot[place] * VMS_CHUNK_BLOCKS;
	uint32_t n = VMS_CHUNK_BLOCKS;
	uint64_t vol_blocks = pl->vol_bytes / VMS_LB_BYTES;
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100);
	bool fua = vms_rng_chance(&s->rng, 0.1);

	if (vms_rng_below(&s->rng, 100) < pl->part_chunk_percent) {
		lba += vms_rng_below(&s->rng, VMS_CHUNK_BLOCKS);
		n = 1 + (uint32_t)vms_rng_below(&s->rng, 12);
	} else if (vms_rng_chance(&s->rng, 0.15)) {
		n *= 1 + (uint32_t)vms_rng_below(&s->rng, 24);
	}
	if (lba + n > vol_blocks)
		n = (uint32_t)(vol_blocks - lba);
	if (d < pl->read_percent) {
		submit(s, c, slot, VMS_GW_READ, lba, n, 0, 0, false);
	} else if ((d -= pl->read_percent) < pl->zero_percent) {
		submit(s, c, slot, VMS_GW_ZERO, lba, n, 0, 0, fua);
	} else if ((d -= pl->zero_percent) < pl->caw_percent) {
		lba = s->hot[place] * VMS_CHUNK_BLOCKS;
		submit(s, c, slot, VMS_GW_CAW, lba, 1, ++s->next_value,
		       c->last[place % 64], fua);
	} else if ((d -= pl->caw_percent) < pl->or_percent) {
		/* Within one extent; ORs zeros in: it must change nothing. */
		lba = s->hot[place] * VMS_CHUNK_BLOCKS;
		submit(s, c, slot, VMS_GW_ORWRITE, lba, VMS_CHUNK_BLOCKS, 0, 0, fua);
	} else if ((d -= pl->or_percent) < pl->flush_percent) {
		submit(s, c, slot, VMS_GW_FLUSH, 0, 0, 0, 0, false);
	} else {
		submit(s, c, slot, VMS_GW_WRITE, lba, n, ++s->next_value, 0, fua);
	}
}

void sim_client_step(struct sim *s, struct client *c)
{
	if (c->gw >= 0) {
		struct proc *g = &s->p[1 + s->plan.nodes + (unsigned)c->gw];
		if (!g->up || g->life != c->gw_life) {
			sim_client_lost(s, c, "gateway is gone");
		} else if (g->paused) {
			if (!c->silent_us)
				c->silent_us = s->now_us;
			if (s->now_us - c->silent_us > PING_US)
				sim_client_lost(s, c, "pings not answered");
		} else {
			c->silent_us = 0;
		}
	}
	if (c->gw < 0 && c->nmaybe && window_over(s, c)) {
		for (unsigned i = 0; i < c->nmaybe; i++)
			sim_check_write_end(s->check, c->maybe[i], SIM_MAYBE, s->now_us);
		c->nmaybe = 0;
	}
	if (c->gw < 0 && !c->nmaybe && s->now_us >= c->ready_us && !s->stopping) {
		unsigned first = (unsigned)vms_rng_below(&s->rng, s->plan.gateways);
		for (unsigned i = 0; i < s->plan.gateways; i++) {
			unsigned k = (first + i) % s->plan.gateways;
			struct proc *g = &s->p[1 + s->plan.nodes + k];
			if (g->up && !g->paused && g->vol_ready) {
				c->gw = (int)k;
				c->gw_life = g->life;
				c->session++;
				sim_note(s, "client %d: logged in to gateway %u", c->idx, k);
				break;
			}
		}
	}
	for (unsigned i = 0; i < s->plan.depth && c->gw >= 0; i++) {
		if (c->op[i].used) {
			if (s->now_us - c->op[i].start_us > COMMAND_US) {
				sim_fail(s, "client %d: op %d at lba %llu pending for 60 s", c->idx,
					 c->op[i].op, (unsigned long long)c->op[i].lba);
				return;
			}
			continue;
		}
		if (!s->stopping)
			issue(s, c, i);
	}
	/* Now and then one path is left for another by the initiator itself. */
	if (c->gw >= 0 && s->faults && vms_rng_chance(&s->rng, 0.0005)) {
		struct proc *g = &s->p[1 + s->plan.nodes + (unsigned)c->gw];
		for (struct sim_cmd *m = g->live; m; m = m->next)
			if (m->client == c->idx && !m->aborting) {
				m->aborting = true;
				vms_gw_abort(g->gw, &m->cmd);
			}
		sim_wake(g, 1);
		sim_client_lost(s, c, "logout");
	}
	sim_at(s, 500 + vms_rng_below(&s->rng, s->plan.think_us), EV_CLIENT, (uint64_t)c->idx, 0, 0, NULL);
}

void sim_client_answer(struct sim *s, struct client *c, struct sim_cmd *m)
{
	struct client_op *o = &c->op[m->slot];
	int st = m->cmd.status;
	enum sim_outcome oc;

	if (m->session != c->session || !o->used)
		return;
	o->used = false;
	sim_mix(s, (uint64_t)st ^ o->lba << 8);
	bool never = st == VMS_E_BUSY || st == VMS_E_CANCELLED || st == VMS_E_FULL ||
		     st == VMS_E_RANGE || st == VMS_E_INVAL || st == VMS_E_NOSPC;
	if (st == 0)
		s->r->acked++;
	else if (never)
		s->r->busy++;
	if (st == VMS_E_DATA_LOSS || st == VMS_E_INVAL || st == VMS_E_RANGE ||
	    st == VMS_E_CORRUPT || st == VMS_E_BAD_SECTORS) {
		sim_fail(s, "client %d: op %d at lba %llu +%u ended with %s", c->idx, o->op,
			 (unsigned long long)o->lba, o->nblocks, vms_err_name(st));
		return;
	}
	switch (o->op) {
	case VMS_GW_READ:
		for (uint32_t i = 0; i < o->nblocks && st == 0; i++) {
			uint64_t v = sim_block_parse(m->buf + i * VMS_LB_BYTES, o->lba + i);
			sim_check_read_value(s->check, o->check_id, i, v);
			for (unsigned k = 0; k < s->plan.hot_chunks && k < 64; k++)
				if (s->hot[k] * VMS_CHUNK_BLOCKS == o->lba + i)
					c->last[k] = v;
		}
		sim_check_read_end(s->check, o->check_id, st == 0, s->now_us);
		break;
	case VMS_GW_CAW:
		oc = st == 0 ? SIM_APPLIED
		     : never || st == VMS_E_MISCOMPARE ? SIM_NEVER : SIM_MAYBE;
		sim_check_write_end(s->check, o->check_id, oc, s->now_us);
		if (st == VMS_E_MISCOMPARE)
			s->r->acked++;
		if (st == 0)
			sim_check_caw(s->check, o->lba, o->old_value, o->value);
		break;
	case VMS_GW_WRITE:
	case VMS_GW_ZERO:
		oc = st == 0 ? SIM_APPLIED : never ? SIM_NEVER : SIM_MAYBE;
		/* An error that is neither may still settle later. */
		sim_check_write_end(s->check, o->check_id, oc, s->now_us);
		break;
	default:
		break;
	}
}

/* Every used block is read once more through each gateway. */
void sim_clients_final(struct sim *s)
{
	unsigned slot = 0;
	for (unsigned g = 0; g < s->plan.gateways; g++) {
		struct client *c = &s->cl[0];
		c->gw = (int)g;
		c->gw_life = s->p[1 + s->plan.nodes + g].life;
		c->session++;
		for (unsigned i = 0; i < s->plan.hot_chunks; i++) {
			uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS;
			uint32_t n = 8 * VMS_CHUNK_BLOCKS;
			if (lba + n > s->plan.vol_bytes / VMS_LB_BYTES)
				n = (uint32_t)(s->plan.vol_bytes / VMS_LB_BYTES - lba);
			submit(s, c, slot, VMS_GW_READ, lba, n, 0, 0, false);
			s->final = true;
			sim_run_until_idle(s, c);
			if (s->failed)
				return;
		}
	}
}
