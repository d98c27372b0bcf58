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
#define PATIENCE_US  8000000u
#define TURN_US_MAX  120000000u
#define PING_US	     5000000u

unsigned sim_client_pending(const struct client *c)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++)
		n += c->op[i].used;
	return n;
}

struct sim_vol *sim_vol_of(struct sim *s, unsigned vol, uint64_t id)
{
	return id && s->vol[vol].id == id ? &s->vol[vol] : NULL;
}

/* What a block's content depends on besides its value: without its place the chunks
 * of one write are duplicates of each other. */
static uint64_t place(const struct sim *s, uint64_t lba)
{
	return s->plan.same ? 0 : lba;
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
			if (o->check)
				sim_check_read_end(o->check, o->check_id, false, s->now_us);
		} else if (is_write(o->op)) {
			if (c->nmaybe == c->maybe_room) {
				c->maybe_room = c->maybe_room ? 2 * c->maybe_room : 16;
				c->maybe = realloc(c->maybe, c->maybe_room * sizeof(*c->maybe));
			}
			c->maybe[c->nmaybe++] = (struct sim_maybe){o->check, o->check_id};
		}
	}
}

/* The window in which ops of a lost session may still take effect is over: the
 * failover delay, and until no node has been missing for a while. */
static bool window_over(struct sim *s, struct client *c)
{
	if (s->plan.failover)
		return s->now_us >= c->ready_us;
	return s->now_us >= c->ready_us && s->nodes_stable_us &&
	       s->now_us - s->nodes_stable_us >= STABLE_US;
}

static void submit(struct sim *s, struct client *c, unsigned slot, unsigned vol, enum vms_gw_op op,
		   uint64_t lba, uint32_t nblocks, uint64_t value, uint64_t old_value, bool fua)
{
	struct sim_check *check = s->vol[vol].snap ? NULL : s->vol[vol].check;
	struct client_op *o = &c->op[slot];
	struct sim_cmd *m = calloc(1, sizeof(*m));
	uint32_t bytes = nblocks * VMS_LB_BYTES;

	*o = (struct client_op){true, op, lba, nblocks, value, old_value, check, 0, vol,
				s->vol[vol].id, s->now_us, VMS_E_TIMEOUT};
	m->vol = vol;
	m->vol_id = s->vol[vol].id;
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
				sim_block_fill(m->buf + i * VMS_LB_BYTES, place(s, lba + i), value);
		m->iov = (struct vms_iov){m->buf, bytes};
		break;
	case VMS_GW_CAW:
		m->buf = calloc(1, 2 * bytes);
		for (uint32_t i = 0; i < nblocks; i++) {
			sim_block_fill(m->buf + i * VMS_LB_BYTES, place(s, lba + i), old_value);
			sim_block_fill(m->buf + bytes + i * VMS_LB_BYTES, place(s, lba + i), value);
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
	if (op == VMS_GW_READ && check)
		o->check_id = sim_check_invoke(check, false, lba, nblocks, 0, s->now_us);
	else if (is_write(op))
		o->check_id = sim_check_invoke(check, true, lba, nblocks, value, s->now_us);
	s->r->issued++;
	sim_at(s, s->plan.net_us_min + vms_rng_below(&s->rng, s->plan.net_us_max), EV_CMD,
	       1 + s->plan.nodes + (uint64_t)c->gw, c->session, 0, m);
}

void sim_read(struct sim *s, struct client *c, unsigned slot, unsigned vol, uint64_t lba,
	      uint32_t nblocks)
{
	submit(s, c, slot, vol, VMS_GW_READ, lba, nblocks, 0, 0, false);
}

/* Mostly the first volume, now and then a clone or a snapshot that the gateway has. */
static unsigned pick_vol(struct sim *s, const struct client *c)
{
	const struct proc *g = &s->p[1 + s->plan.nodes + (unsigned)c->gw];
	unsigned vol = 0;
	if (s->plan.admin && vms_rng_chance(&s->rng, 0.3))
		vol = (unsigned)vms_rng_below(&s->rng, SIM_VOLS_MAX);
	return sim_vol_ready(s, g, vol) ? vol : 0;
}

static void issue(struct sim *s, struct client *c, unsigned slot)
{
	unsigned vol = pick_vol(s, c);
	const struct sim_plan *pl = &s->plan;
	unsigned hot = (unsigned)vms_rng_below(&s->rng, pl->hot_chunks);
	uint64_t lba = s->hot[hot] * VMS_CHUNK_BLOCKS;
	uint32_t n = VMS_CHUNK_BLOCKS;
	uint64_t vol_blocks = pl->vol_bytes / VMS_LB_BYTES;
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100);
	bool fua = vms_rng_chance(&s->rng, 0.1);

	if (vms_rng_below(&s->rng, 100) < pl->part_chunk_percent) {
		lba += vms_rng_below(&s->rng, VMS_CHUNK_BLOCKS);
		n = 1 + (uint32_t)vms_rng_below(&s->rng, 12);
	} else if (vms_rng_chance(&s->rng, 0.15)) {
		n *= 1 + (uint32_t)vms_rng_below(&s->rng, pl->admin ? 7 : 24);
	}
	if (lba + n > vol_blocks)
		n = (uint32_t)(vol_blocks - lba);
	if (vol && (s->vol[vol].snap || (d >= pl->read_percent + pl->zero_percent &&
					 d < pl->read_percent + pl->zero_percent + pl->caw_percent)))
		d = 0; /* snapshots are read; COMPARE AND WRITE knows values of the first only */
	if (d < pl->read_percent) {
		submit(s, c, slot, vol, VMS_GW_READ, lba, n, 0, 0, false);
	} else if ((d -= pl->read_percent) < pl->zero_percent) {
		submit(s, c, slot, vol, VMS_GW_ZERO, lba, n, 0, 0, fua);
	} else if ((d -= pl->zero_percent) < pl->caw_percent) {
		lba = s->hot[hot] * VMS_CHUNK_BLOCKS;
		submit(s, c, slot, vol, VMS_GW_CAW, lba, 1, ++s->next_value,
		       c->last[hot % 64], fua);
	} else if ((d -= pl->caw_percent) < pl->or_percent) {
		/* Within one extent; ORs zeros in: it must change nothing. */
		lba = s->hot[hot] * VMS_CHUNK_BLOCKS;
		submit(s, c, slot, vol, VMS_GW_ORWRITE, lba, VMS_CHUNK_BLOCKS, 0, 0, fua);
	} else if ((d -= pl->or_percent) < pl->flush_percent) {
		submit(s, c, slot, vol, VMS_GW_FLUSH, 0, 0, 0, 0, false);
	} else {
		submit(s, c, slot, vol, VMS_GW_WRITE, lba, n, ++s->next_value, 0, fua);
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
	if (s->conf.beyond)
		c->nmaybe = 0; /* where nobody is left they end never */
	if (c->gw < 0 && c->nmaybe && window_over(s, c)) {
		for (unsigned i = 0; i < c->nmaybe; i++)
			sim_check_write_end(c->maybe[i].check, c->maybe[i].id, SIM_MAYBE, s->now_us);
		c->nmaybe = 0;
	}
	if (c->gw < 0 && !c->nmaybe && s->now_us >= c->ready_us && !s->stopping) {
		unsigned first = (unsigned)vms_rng_below(&s->rng, s->plan.gateways);
		for (unsigned i = 0; i < s->plan.gateways; i++) {
			unsigned k = (first + i) % s->plan.gateways;
			struct proc *g = &s->p[1 + s->plan.nodes + k];
			if (g->up && !g->paused && g->vol[0].ready) {
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
			if (s->conf.beyond && s->now_us - c->op[i].start_us > PATIENCE_US) {
				sim_client_lost(s, c, "patience is at an end");
			} else if (s->now_us - c->op[i].start_us > COMMAND_US) {
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
	/* what is waited for when all operations are done needs some load, not much */
	uint64_t think = s->r->acked >= s->plan.ops ? 200000 : 500;
	sim_at(s, think + vms_rng_below(&s->rng, s->plan.think_us), EV_CLIENT, (uint64_t)c->idx, 0, 0, NULL);
}

/* A snapshot's content never changes: the first read of a block says what it is. */
static void snap_read(struct sim *s, struct client *c, const struct client_op *o,
		      const uint8_t *buf)
{
	struct sim_vol *v = sim_vol_of(s, o->vol, o->vol_id);

	for (uint32_t i = 0; v && i < o->nblocks; i++) {
		uint64_t is = sim_block_parse(buf + i * VMS_LB_BYTES, place(s, o->lba + i));
		uint64_t *was = &v->image[o->lba + i];

		if (is == UINT64_MAX)
			sim_fail(s, "snapshot %s: lba %llu is torn or foreign", v->name,
				 (unsigned long long)o->lba + i);
		else if (*was != SIM_UNSEEN && *was != is)
			sim_fail(s, "snapshot %s: lba %llu shows value %llu to client %d, it was %llu",
				 v->name, (unsigned long long)o->lba + i, (unsigned long long)is,
				 c->idx, (unsigned long long)*was);
		*was = is;
	}
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
	o->status = st;
	if (st == 0)
		s->r->acked++;
	else if (never)
		s->r->busy++;
	if (st == VMS_E_DATA_LOSS || st == VMS_E_INVAL || st == VMS_E_RANGE ||
	    ((st == VMS_E_CORRUPT || st == VMS_E_BAD_SECTORS) && !sim_faults_unreadable(s))) {
		sim_fail(s, "client %d: op %d at lba %llu +%u ended with %s", c->idx, o->op,
			 (unsigned long long)o->lba, o->nblocks, vms_err_name(st));
		return;
	}
	switch (o->op) {
	case VMS_GW_READ:
		if (!o->check) {
			if (!st)
				snap_read(s, c, o, m->buf);
			break;
		}
		for (uint32_t i = 0; i < o->nblocks && st == 0; i++) {
			uint64_t v = sim_block_parse(m->buf + i * VMS_LB_BYTES, place(s, o->lba + i));
			sim_check_read_value(o->check, o->check_id, i, v);
			if (o->vol)
				continue;
			for (unsigned k = 0; k < s->plan.hot_chunks && k < 64; k++)
				if (s->hot[k] * VMS_CHUNK_BLOCKS == o->lba + i)
					c->last[k] = v;
		}
		sim_check_read_end(o->check, o->check_id, st == 0, s->now_us);
		break;
	case VMS_GW_CAW:
		oc = st == 0 ? SIM_APPLIED
		     : never || st == VMS_E_MISCOMPARE ? SIM_NEVER : SIM_MAYBE;
		sim_check_write_end(o->check, o->check_id, oc, s->now_us);
		if (st == VMS_E_MISCOMPARE)
			s->r->acked++;
		if (st == 0)
			sim_check_caw(o->check, o->lba, o->old_value, o->value);
		break;
	case VMS_GW_WRITE:
	case VMS_GW_ZERO:
		oc = st == 0 ? SIM_APPLIED : never ? SIM_NEVER : SIM_MAYBE;
		/* An error that is neither may still settle later. */
		sim_check_write_end(o->check, o->check_id, oc, s->now_us);
		break;
	default:
		break;
	}
}

/* Every used block is read once more through each gateway; snapshots too. */
void sim_clients_final(struct sim *s)
{
	struct client *c = &s->cl[0];
	for (unsigned g = 0; g < s->plan.gateways; g++) {
		struct proc *p = &s->p[1 + s->plan.nodes + g];
		c->gw = (int)g;
		c->gw_life = p->life;
		c->session++;
		for (unsigned vol = 0; vol < SIM_VOLS_MAX; vol++) {
			if (!sim_vol_ready(s, p, vol))
				continue;
			for (unsigned i = 0; i < s->plan.hot_chunks; i++) {
				uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS;
				uint32_t n = 8 * VMS_CHUNK_BLOCKS;
				if (lba + n > s->plan.vol_bytes / VMS_LB_BYTES)
					n = (uint32_t)(s->plan.vol_bytes / VMS_LB_BYTES - lba);
				sim_read(s, c, 0, vol, lba, n);
				s->final = true;
				sim_run_until_idle(s, c);
				if (c->gw < 0) { /* beyond: nobody answers */
					c->gw = (int)g;
					c->gw_life = p->life;
				}
				if (s->failed)
					return;
			}
		}
	}
}

static void read_all(struct sim *s, unsigned g, unsigned away)
{
	struct client *c = &s->cl[0];
	struct proc *p = &s->p[1 + s->plan.nodes + g];

	for (unsigned vol = 0; vol < SIM_VOLS_MAX; vol++) {
		for (unsigned i = 0; i < s->plan.hot_chunks && sim_vol_ready(s, p, vol); i++) {
			uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS, n = 4 * VMS_CHUNK_BLOCKS;
			unsigned tries = 0;

			if (lba + n > s->plan.vol_bytes / VMS_LB_BYTES)
				n = s->plan.vol_bytes / VMS_LB_BYTES - lba;
			do {
				if (tries)
					sim_run_for(s, 500000);
				c->gw = (int)g;
				c->gw_life = p->life;
				c->session++;
				sim_read(s, c, 0, vol, lba, (uint32_t)n);
				sim_run_until_idle(s, c);
				if (s->failed)
					return;
			} while (c->op[0].status && ++tries < 40);
			if (c->op[0].status)
				sim_fail(s, "lba %llu cannot be read while node %u is away",
					 (unsigned long long)lba, away);
		}
	}
}

void sim_clients_turns(struct sim *s)
{
	for (unsigned i = 1; i <= s->plan.nodes && !s->failed; i++) {
		struct proc *p = &s->p[i];
		uint64_t end = s->now_us + TURN_US_MAX;
		char why[200] = "";

		if (!p->joined || p->gone || !p->up)
			continue;
		while (!s->failed && !sim_ring_whole(s, why, sizeof(why))) {
			sim_run_for(s, 500000);
			if (s->now_us > end)
				sim_fail(s, "two minutes after node %u was away for a while: %s", i - 1, why);
		}
		sim_note(s, "node %u is away in its turn", i);
		sim_proc_crash(s, p, false);
		read_all(s, i % s->plan.gateways, i);
		sim_proc_start(s, p);
		sim_run_for(s, 2000000);
	}
}
