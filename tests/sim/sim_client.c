/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtual initiators, see sim.h: what they ask for, and what the answers mean to the
 * checker. Their sessions are sim_path.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/cdb.h"
#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define COMMAND_US  60000000u
#define PATIENCE_US 8000000u
#define TURN_US_MAX 120000000u
/* of what a node remembers for sure of an op whose answer was lost */
#define CAW_KNOWN_US (VMS_OUTCOME_KEEP_T_OP / 2 * 2000000u)

unsigned sim_client_pending(const struct client *c)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++)
		n += c->op[i].used || c->op[i].repeat;
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
	return op == VMS_GW_WRITE || op == VMS_GW_ZERO || op == VMS_GW_CAW || op == SIM_COPY;
}

void sim_client_lost(struct sim *s, struct client *c, const char *why)
{
	for (unsigned g = 0; g < s->plan.gateways; g++)
		sim_path_lost(s, c, g, why);
	for (unsigned i = 0; i < SIM_DEPTH_MAX && s->conf.beyond; i++)
		c->op[i].used = c->op[i].repeat = false;
}

bool sim_client_cut(struct sim *s, struct client *c)
{
	const struct path *pa = c->gw < 0 ? NULL : &c->path[c->gw];

	if (!pa || (pa->up && pa->life == s->p[1 + s->plan.nodes + (unsigned)c->gw].life))
		return false;
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++) {
		if (c->op[i].used)
			c->op[i].status = VMS_E_STOPPING;
		c->op[i].used = c->op[i].repeat = false;
	}
	return true;
}

static bool surely_not(int st)
{
	return st == VMS_E_BUSY || st == VMS_E_CANCELLED || st == VMS_E_FULL || st == VMS_E_RANGE ||
	       st == VMS_E_INVAL || st == VMS_E_NOSPC || st == VMS_E_RESERVED;
}

/* What became of a write that ended for lack of space: all is settled; where it went to several
 * places some of it may have been applied. */
static enum sim_outcome no_room(const struct client_op *o)
{
	return o->atomic || o->lba / VMS_CHUNK_BLOCKS ==
				       (o->lba + o->nblocks - 1) / VMS_CHUNK_BLOCKS
		       ? SIM_NEVER
		       : SIM_MAYBE;
}

/* Effects of what was preempted end with that. */
static uint64_t end_of(const struct sim *s, uint64_t until_us)
{
	return until_us && until_us < s->now_us ? until_us : s->now_us;
}

void sim_client_ends(struct sim *s, struct client *c, unsigned g, uint64_t before_us)
{
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++) {
		struct client_op *o = &c->op[i];

		if (!o->used || o->gw != (int)g || !is_write(o->op) || o->vol || o->until_us ||
		    !o->read_us || o->read_us >= before_us)
			continue;
		o->until_us = s->now_us;
		for (unsigned k = 1; k <= o->nchecks && o->stuck; k++)
			o->maybe.d[o->maybe.n - k].until_us = s->now_us;
	}
}

static void read_over(struct sim *s, struct client_op *o)
{
	o->used = false;
	if (o->op == VMS_GW_READ && o->check)
		sim_check_read_end(o->check, o->check_id, false, s->now_us);
}

/* Until it has been made again it may have its effect. */
static void maybe(struct client_op *o)
{
	for (unsigned i = 0; i < o->nchecks; i++)
		VMS_VEC_PUSH(&o->maybe,
			     ((struct sim_maybe){o->check, o->check_id + i, o->until_us}));
}

void sim_client_unknown(struct sim *s, struct client *c, unsigned slot)
{
	struct client_op *o = &c->op[slot];

	s->r->unknown++;
	/* where nobody is left a write ends never */
	if (!is_write(o->op) || s->conf.beyond) {
		read_over(s, o);
		return;
	}
	maybe(o);
	o->stuck = true;
	o->window_us = s->now_us + FAILOVER_US;
}

void sim_client_aborted(struct sim *s, const struct sim_cmd *m)
{
	struct client_op *o = &s->cl[m->client].op[m->slot];

	if (!o->used || o->number != m->number)
		return;
	o->abort_known = true;
	o->abort_status = m->cmd.status;
	o->abort_partial = m->cmd.partial;
	o->abort_end = m->copy_end;
}

void sim_client_settled(struct sim *s, struct client *c, unsigned slot)
{
	struct client_op *o = &c->op[slot];
	int st = o->abort_status;
	enum sim_outcome oc = SIM_MAYBE;

	if (!is_write(o->op) || s->conf.beyond) {
		read_over(s, o);
		return;
	}
	/* A command that was aborted in vain is over, too, but perhaps not at once: its
	 * partition was gone for longer than a failure takes. */
	if (o->abort_known && (o->op == SIM_COPY ? o->abort_end.vain : st == VMS_E_TIMEOUT)) {
		if (!o->stuck)
			maybe(o);
	} else {
		if (o->stuck)
			o->maybe.n -= o->nchecks;
		if (o->abort_known)
			oc = st == 0					? SIM_APPLIED
			     : st == VMS_E_NOSPC			? no_room(o)
			     : o->abort_partial				? SIM_MAYBE
			     : surely_not(st) || st == VMS_E_MISCOMPARE ? SIM_NEVER
									: SIM_MAYBE;
		for (unsigned i = 0; i < o->nchecks; i++)
			sim_check_write_end(o->check, o->check_id + i,
					    o->op == SIM_COPY && o->abort_known
						    ? sim_copy_outcome(&o->abort_end, i)
						    : oc,
					    end_of(s, o->until_us));
		if (o->op == VMS_GW_CAW && oc == SIM_APPLIED)
			sim_check_caw(o->check, o->lba, o->old_value, o->value);
	}
	o->used = o->stuck = false;
	o->repeat = true;
	o->again_us = s->now_us;
}

static void submit_as(struct sim *s, struct client *c, unsigned slot, int gw, unsigned vol,
		      enum vms_gw_op op, uint64_t lba, uint32_t nblocks, uint64_t value,
		      uint64_t old_value, bool fua, const struct sim_copy *copy)
{
	struct sim_check *check = s->vol[vol].snap ? NULL : s->vol[vol].check;
	struct client_op *o = &c->op[slot];
	struct sim_cmd *m = calloc(1, sizeof(*m));
	uint32_t bytes = nblocks * VMS_LB_BYTES;

	*o = (struct client_op){.used = true,
				.op = op,
				.lba = lba,
				.nblocks = nblocks,
				.value = value,
				.old_value = old_value,
				.check = check,
				.vol = vol,
				.vol_id = s->vol[vol].id,
				.start_us = s->now_us,
				.status = VMS_E_TIMEOUT,
				.gw = gw,
				.session = c->path[gw].session,
				.number = ++s->next_cmd,
				.nchecks = 1,
				.repeat = o->repeat,
				.maybe.d = o->maybe.d,
				.maybe.n = o->maybe.n,
				.maybe.cap = o->maybe.cap};
	if (copy) {
		o->copy = m->copy = *copy;
		m->copy_end.sense.status = VMS_SAM_BUSY; /* until it has been begun */
	}
	m->vol = vol;
	m->vol_id = s->vol[vol].id;
	m->cmd.op = op;
	m->cmd.flags = fua ? VMS_GW_FUA : 0;
	m->cmd.lba = lba;
	m->cmd.nblocks = nblocks;
	m->cmd.initiator_port = c->port;
	m->cmd.cookie = m;
	m->client = c->idx;
	m->gw = gw;
	m->session = o->session;
	m->number = o->number;
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
			sim_block_make(m->buf + i * VMS_LB_BYTES, place(s, lba + i), old_value);
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
	else if (copy)
		sim_copy_invoke(s, o);
	else if (is_write(op))
		o->check_id = sim_check_invoke(check, true, lba, nblocks, value, s->now_us);
	s->r->issued++;
	sim_at(s, sim_link_delay(s, (unsigned)c->idx, (unsigned)gw, true), EV_CMD,
	       1 + s->plan.nodes + (uint64_t)gw, m->session, 0, m);
}

static void submit(struct sim *s, struct client *c, unsigned slot, int gw, unsigned vol,
		   enum vms_gw_op op, uint64_t lba, uint32_t nblocks, uint64_t value,
		   uint64_t old_value, bool fua)
{
	submit_as(s, c, slot, gw, vol, op, lba, nblocks, value, old_value, fua, NULL);
}

void sim_read(struct sim *s, struct client *c, unsigned slot, unsigned vol, uint64_t lba,
	      uint32_t nblocks)
{
	submit(s, c, slot, c->gw, vol, VMS_GW_READ, lba, nblocks, 0, 0, false);
}

void sim_write(struct sim *s, struct client *c, uint64_t lba, uint32_t nblocks)
{
	submit(s, c, 0, c->gw, 0, VMS_GW_WRITE, lba, nblocks, ++s->next_value, 0, false);
}

/* Mostly the first volume, now and then a clone or a snapshot that the gateway has. */
static unsigned pick_vol(struct sim *s, int gw)
{
	const struct proc *g = &s->p[1 + s->plan.nodes + (unsigned)gw];
	unsigned vol = 0;
	if (s->plan.admin && vms_rng_chance(&s->rng, 0.3))
		vol = (unsigned)vms_rng_below(&s->rng, SIM_VOLS_MAX);
	return sim_vol_ready(s, g, vol) ? vol : 0;
}

/* WRITE ATOMIC(16): what the gateway makes of its CDB. The limits are those that VPD page B0
 * tells, but for the alignment: some end where an extent does. */
static bool write_atomic(struct sim *s, struct client *c, unsigned slot, int gw, unsigned vol,
			 uint64_t lba)
{
	uint64_t left = VMS_EXTENT_BLOCKS - lba % VMS_EXTENT_BLOCKS;
	unsigned chunks = 2 + (unsigned)vms_rng_below(&s->mix_rng, s->plan.admin ? 6 : 31);
	uint8_t raw[16] = {0x9c, vms_rng_chance(&s->mix_rng, 0.1) ? 0x08 : 0};
	struct vms_sense sense;
	struct vms_cdb cdb;

	if (chunks > left / VMS_CHUNK_BLOCKS)
		chunks = (unsigned)(left / VMS_CHUNK_BLOCKS);
	vms_put_be64(raw + 2, lba);
	vms_put_be16(raw + 12, (uint16_t)(chunks * VMS_CHUNK_BLOCKS));
	if (lba + (uint64_t)chunks * VMS_CHUNK_BLOCKS > s->plan.vol_bytes / VMS_LB_BYTES)
		return false;
	if (vms_cdb_parse(raw, sizeof(raw), s->plan.vol_bytes / VMS_LB_BYTES, &cdb, &sense) ||
	    !cdb.atomic) {
		sim_fail(s, "WRITE ATOMIC to lba %llu +%u is refused: %u/%04x",
			 (unsigned long long)lba, chunks * VMS_CHUNK_BLOCKS, sense.key, sense.asc);
		return false;
	}
	submit(s, c, slot, gw, vol, cdb.op, cdb.lba, cdb.nblocks, ++s->next_value, 0,
	       cdb.gw_flags & VMS_GW_FUA);
	c->op[slot].atomic = true;
	sim_check_atomic(c->op[slot].check, c->op[slot].check_id);
	s->r->atomics++;
	return true;
}

static void issue(struct sim *s, struct client *c, unsigned slot, int gw)
{
	unsigned vol = pick_vol(s, gw);
	const struct sim_plan *pl = &s->plan;
	unsigned hot = (unsigned)vms_rng_below(&s->rng, pl->hot_chunks);
	uint64_t lba = s->hot[hot] * VMS_CHUNK_BLOCKS;
	uint32_t n = VMS_CHUNK_BLOCKS;
	uint64_t vol_blocks = pl->vol_bytes / VMS_LB_BYTES;
	unsigned d = (unsigned)vms_rng_below(&s->rng, 100);
	bool fua = vms_rng_chance(&s->rng, 0.1);
	struct sim_copy copy;

	if (vms_rng_below(&s->rng, 100) < pl->part_chunk_percent) {
		lba += vms_rng_below(&s->rng, VMS_CHUNK_BLOCKS);
		n = 1 + (uint32_t)vms_rng_below(&s->rng, 12);
	} else if (vms_rng_chance(&s->rng, 0.15)) {
		n *= 1 + (uint32_t)vms_rng_below(&s->rng, pl->admin ? 7 : 24);
	}
	if (lba + n > vol_blocks)
		n = (uint32_t)(vol_blocks - lba);
	if (pl->copy > 0 && vms_rng_chance(&s->mix_rng, pl->copy) && sim_copy_draw(s, gw, &copy)) {
		submit_as(s, c, slot, gw, copy.to, SIM_COPY, copy.to_lba, copy.nblocks, 0, 0, false,
			  &copy);
		return;
	}
	if (pl->atomic > 0 && !s->vol[vol].snap && vms_rng_chance(&s->mix_rng, pl->atomic) &&
	    write_atomic(s, c, slot, gw, vol, s->hot[hot] * VMS_CHUNK_BLOCKS))
		return;
	if (vol &&
	    (s->vol[vol].snap || (d >= pl->read_percent + pl->zero_percent &&
				  d < pl->read_percent + pl->zero_percent + pl->caw_percent)))
		d = 0; /* snapshots are read; COMPARE AND WRITE knows values of the first only */
	if (d < pl->read_percent) {
		submit(s, c, slot, gw, vol, VMS_GW_READ, lba, n, 0, 0, false);
	} else if ((d -= pl->read_percent) < pl->zero_percent) {
		submit(s, c, slot, gw, vol, VMS_GW_ZERO, lba, n, 0, 0, fua);
	} else if ((d -= pl->zero_percent) < pl->caw_percent) {
		lba = s->hot[hot] * VMS_CHUNK_BLOCKS;
		submit(s, c, slot, gw, vol, VMS_GW_CAW, lba, 1, ++s->next_value, c->last[hot % 64],
		       fua);
	} else if ((d -= pl->caw_percent) < pl->or_percent) {
		/* Within one extent; ORs zeros in: it must change nothing. */
		lba = s->hot[hot] * VMS_CHUNK_BLOCKS;
		submit(s, c, slot, gw, vol, VMS_GW_ORWRITE, lba, VMS_CHUNK_BLOCKS, 0, 0, fua);
	} else if ((d -= pl->or_percent) < pl->flush_percent) {
		submit(s, c, slot, gw, vol, VMS_GW_FLUSH, 0, 0, 0, 0, false);
	} else {
		submit(s, c, slot, gw, vol, VMS_GW_WRITE, lba, n, ++s->next_value, 0, fua);
	}
}

/* What has to be written again: the same blocks, another value, over any path. */
static void repeat(struct sim *s, struct client *c, unsigned slot)
{
	struct client_op *o = &c->op[slot];
	int gw = sim_path_pick(s, c);

	if (!sim_vol_of(s, o->vol, o->vol_id) || !s->vol[o->vol].want) {
		o->repeat = false; /* the volume is gone, or is another one */
		o->maybe.n = 0;
		return;
	}
	if (gw < 0 || s->now_us < o->again_us ||
	    !sim_vol_ready(s, &s->p[1 + s->plan.nodes + (unsigned)gw], o->vol))
		return;
	s->r->repeated++;
	if (o->op == VMS_GW_ZERO)
		submit(s, c, slot, gw, o->vol, VMS_GW_ZERO, o->lba, o->nblocks, 0, 0, false);
	else
		submit(s, c, slot, gw, o->vol, VMS_GW_WRITE, o->lba, o->nblocks, ++s->next_value, 0,
		       false);
}

void sim_client_step(struct sim *s, struct client *c)
{
	sim_paths_client(s, c);
	if (s->plan.pr > 0 && s->faults && vms_rng_chance(&s->rng, s->plan.pr))
		sim_pr_client(s, c);
	for (unsigned i = 0; i < SIM_DEPTH_MAX; i++) {
		struct client_op *o = &c->op[i];
		int gw;

		if (o->used && o->stuck) {
			if (s->now_us < o->window_us)
				continue;
			o->used = o->stuck = false;
			o->repeat = true;
		}
		if (o->used) {
			if (s->conf.beyond && s->now_us - o->start_us > PATIENCE_US) {
				sim_path_lost(s, c, (unsigned)o->gw, "patience is at an end");
			} else if (s->now_us - o->start_us > COMMAND_US) {
				sim_fail(s, "client %d: op %d at lba %llu pending for 60 s", c->idx,
					 o->op, (unsigned long long)o->lba);
				return;
			}
			/* A command that takes too long is repeated elsewhere, whatever becomes of
			 * it here: the session lives. (A copy may go on, so it is aborted first.)
			 */
			if (o->used && s->faults && !o->tmf && o->op != SIM_COPY &&
			    s->now_us - o->start_us > FAILOVER_US && vms_rng_chance(&s->rng, 0.2))
				sim_client_unknown(s, c, i);
			if (o->used && o->stuck)
				o->window_us = s->now_us;
			continue;
		}
		if (o->repeat)
			repeat(s, c, i);
		else if (i < s->plan.depth && !s->stopping && (gw = sim_path_pick(s, c)) >= 0)
			issue(s, c, i, gw);
	}
	/* what is waited for when all operations are done needs some load, not much */
	uint64_t think = s->r->acked >= s->plan.ops ? 200000 : 500;
	sim_at(s, think + vms_rng_below(&s->rng, s->plan.think_us), EV_CLIENT, (uint64_t)c->idx, 0,
	       0, NULL);
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
			sim_fail(s,
				 "snapshot %s: lba %llu shows value %llu to client %d, it was %llu",
				 v->name, (unsigned long long)o->lba + i, (unsigned long long)is,
				 c->idx, (unsigned long long)*was);
		*was = is;
	}
}

/* A write was answered. An error that is neither may still settle later: it is repeated, as
 * is one that is a repetition itself and was refused. */
static void write_over(struct sim *s, struct client_op *o, enum sim_outcome oc)
{
	/* a reservation shuts it out, or the end of the volume does now: it is given up,
	 * whatever became of it before */
	if ((o->status == VMS_E_RESERVED || o->status == VMS_E_RANGE) && o->repeat) {
		o->repeat = false;
		o->maybe.n = 0;
	}
	if (o->status == VMS_E_NOSPC) {
		sim_check_write_end(o->check, o->check_id, no_room(o), end_of(s, o->until_us));
	} else if (o->status == VMS_E_BUSY && oc == SIM_MAYBE) { /* all is settled */
		sim_check_write_end(o->check, o->check_id, oc, end_of(s, o->until_us));
	} else if (oc == SIM_MAYBE && !s->conf.beyond) {
		maybe(o);
		o->repeat = true;
	} else if (oc != SIM_MAYBE) {
		sim_check_write_end(o->check, o->check_id, oc, end_of(s, o->until_us));
	}
	o->again_us = s->now_us + 20000;
	if (oc != SIM_APPLIED)
		return;
	for (size_t i = 0; i < o->maybe.n; i++)
		sim_check_write_end(o->maybe.d[i].check, o->maybe.d[i].id, SIM_MAYBE,
				    end_of(s, o->maybe.d[i].until_us));
	o->maybe.n = 0;
	o->repeat = false;
}

static void copy_over(struct sim *s, struct client_op *o, const struct sim_copy_end *e)
{
	bool all = e->sense.status == VMS_SAM_GOOD;

	if (e->vain && !all) {
		write_over(s, o, SIM_MAYBE);
		return;
	}
	for (unsigned i = 0; i < o->nchecks; i++)
		sim_check_write_end(o->check, o->check_id + i, sim_copy_outcome(e, i),
				    end_of(s, o->until_us));
}

void sim_client_answer(struct sim *s, struct client *c, struct sim_cmd *m)
{
	struct client_op *o = &c->op[m->slot];
	int st = m->cmd.status;
	enum sim_outcome oc;

	if (m->number != o->number || !o->used || o->stuck || o->tmf || !c->path[m->gw].up ||
	    c->path[m->gw].session != m->session)
		return;
	o->used = false;
	sim_mix(s, (uint64_t)st ^ o->lba << 8);
	bool never = surely_not(st) && !m->cmd.partial;
	o->status = st;
	if (st == 0)
		s->r->acked++;
	else if (surely_not(st))
		s->r->busy++;
	s->r->partial += m->cmd.partial;
	if (o->atomic && m->cmd.partial)
		sim_fail(s, "client %d: WRITE ATOMIC to lba %llu +%u was applied in part", c->idx,
			 (unsigned long long)o->lba, o->nblocks);
	/* What a failover catches ends GOOD or BUSY. The exceptions: one that was aborted, and
	 * a COMPARE AND WRITE whose partition nobody led for longer than outcomes are kept. */
	if (o->op == SIM_COPY)
		sim_copy_look(s, o, m);
	else if (st == VMS_E_TIMEOUT && !m->cancelled && !m->preempted &&
		 (o->op != VMS_GW_CAW || s->now_us - o->start_us < CAW_KNOWN_US)) {
		sim_fail(
			s,
			"client %d: op %d at lba %llu +%u ended in an error, neither GOOD nor BUSY",
			c->idx, o->op, (unsigned long long)o->lba, o->nblocks);
		return;
	}
	if (m->cmd.partial && (st != VMS_E_BUSY || !is_write(o->op) || o->op == VMS_GW_CAW)) {
		sim_fail(s, "client %d: op %d at lba %llu ended with %s, applied in part", c->idx,
			 o->op, (unsigned long long)o->lba, vms_err_name(st));
		return;
	}
	s->r->medium += st == VMS_E_CORRUPT || st == VMS_E_BAD_SECTORS;
	if (st == VMS_E_DATA_LOSS || st == VMS_E_INVAL ||
	    ((st == VMS_E_CORRUPT || st == VMS_E_BAD_SECTORS) && !sim_faults_unreadable(s) &&
	     !(o->op == VMS_GW_READ && sim_spoil_has(s, o->lba, o->nblocks)))) {
		sim_fail(s, "client %d: op %d at lba %llu +%u ended with %s", c->idx, o->op,
			 (unsigned long long)o->lba, o->nblocks, vms_err_name(st));
		return;
	}
	if (st == VMS_E_NOSPC) {
		s->r->no_space++;
		if (o->op == VMS_GW_READ || o->op == VMS_GW_FLUSH || o->op == VMS_GW_ZERO ||
		    !sim_faults_full(s, o->start_us))
			sim_fail(s, "client %d: op %d at lba %llu ended with VMS_E_NOSPC%s", c->idx,
				 o->op, (unsigned long long)o->lba,
				 sim_faults_full(s, o->start_us) ? "" : ", and no disk is full");
	}
	if (o->op != SIM_COPY)
		sim_size_look(s, c, o, st);
	if (s->failed)
		return;
	switch ((int)o->op) {
	case VMS_GW_READ:
		if (!o->check) {
			if (!st)
				snap_read(s, c, o, m->buf);
			break;
		}
		for (uint32_t i = 0; i < o->nblocks && st == 0; i++) {
			uint64_t v = sim_block_parse(m->buf + i * VMS_LB_BYTES,
						     place(s, o->lba + i));
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
		oc = st == 0			       ? SIM_APPLIED
		     : never || st == VMS_E_MISCOMPARE ? SIM_NEVER
						       : SIM_MAYBE;
		write_over(s, o, oc);
		if (st == VMS_E_MISCOMPARE) {
			s->r->acked++;
			s->r->miscompared++;
			sim_check_miscompare(o->check, o->lba, o->old_value, o->start_us,
					     s->now_us);
		}
		if (st == 0)
			sim_check_caw(o->check, o->lba, o->old_value, o->value);
		break;
	case SIM_COPY:
		copy_over(s, o, &m->copy_end);
		break;
	case VMS_GW_WRITE:
	case VMS_GW_ZERO:
		oc = st == 0 ? SIM_APPLIED : never ? SIM_NEVER : SIM_MAYBE;
		write_over(s, o, oc);
		break;
	default:
		break;
	}
}

/* A gateway that was paused may be shut out and start anew: the initiator logs in again. */
static void final_read(struct sim *s, struct client *c, unsigned g, unsigned vol, uint64_t lba,
		       uint32_t n)
{
	struct proc *p = &s->p[1 + s->plan.nodes + g];
	uint64_t end = s->now_us + 60000000;

	for (;;) {
		sim_read(s, c, 0, vol, lba, n);
		sim_run_until_idle(s, c);
		if (s->failed || c->op[0].status != VMS_E_STOPPING || s->conf.beyond)
			break;
		while (!sim_vol_ready(s, p, vol) && !s->failed) {
			sim_run_for(s, 100000);
			if (s->now_us > end)
				sim_fail(s, "gateway %u is not back in a minute", g);
		}
		sim_path_use(s, c, (int)g);
	}
	if (!c->path[g].up) /* beyond: nobody answers */
		sim_path_use(s, c, (int)g);
}

/* Every used block is read once more through each gateway; snapshots too. */
void sim_clients_final(struct sim *s)
{
	struct client *c = &s->cl[0];
	for (unsigned g = 0; g < s->plan.gateways; g++) {
		struct proc *p = &s->p[1 + s->plan.nodes + g];
		sim_path_use(s, c, (int)g);
		for (unsigned vol = 0; vol < SIM_VOLS_MAX; vol++) {
			if (!sim_vol_ready(s, p, vol))
				continue;
			for (unsigned i = 0; i < s->plan.hot_chunks; i++) {
				uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS;
				uint32_t n = sim_vol_clip(&s->vol[vol], lba, 8 * VMS_CHUNK_BLOCKS);

				s->final = true;
				if (!n)
					continue;
				final_read(s, c, g, vol, lba, n);
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
			uint64_t lba = s->hot[i] * VMS_CHUNK_BLOCKS;
			uint32_t n = sim_vol_clip(&s->vol[vol], lba, 4 * VMS_CHUNK_BLOCKS);
			unsigned tries = 0;

			if (!n)
				continue;
			do {
				if (tries)
					sim_run_for(s, 500000);
				sim_path_use(s, c, (int)g);
				sim_read(s, c, 0, vol, lba, n);
				sim_run_until_idle(s, c);
				if (s->failed)
					return;
			} while (c->op[0].status && ++tries < 40);
			if (c->op[0].status)
				sim_fail(s, "lba %llu cannot be read while %s %u is away",
					 (unsigned long long)lba,
					 s->p[1].full_until_us ? "disks are full, or node" : "node",
					 away);
		}
	}
}

void sim_clients_full(struct sim *s)
{
	char why[200];

	for (unsigned i = 1; i <= s->plan.nodes; i++)
		if (s->p[i].disk && s->p[i].up) {
			sim_disk_leave(s->p[i].disk, vms_rng_below(&s->rng, 2) ? 0 : 300000);
			s->p[i].full_until_us = UINT64_MAX;
		}
	sim_note(s, "all disks are full");
	s->full_us = s->now_us;
	sim_run_for(s, 2000000);
	/* those in memory mode have to have been told that all is durable */
	for (unsigned i = 1; i <= s->plan.nodes && !s->failed; i++) {
		struct proc *p = &s->p[i];
		uint64_t end = s->now_us + TURN_US_MAX;

		if (!p->up || p->gone || s->plan.ack != VMS_ACK_DISK)
			continue;
		sim_proc_crash(s, p, true);
		sim_run_for(s, 200000);
		sim_proc_start(s, p);
		sim_run_for(s, 3000000);
		read_all(s, i % s->plan.gateways, i);
		if (s->now_us > end)
			sim_fail(s, "full disks: two minutes to read everything");
	}
	read_all(s, 0, 0);
	sim_faults_room(s);
	for (uint64_t end = s->now_us + TURN_US_MAX;
	     !s->failed && s->plan.learn && !sim_ring_whole(s, why, sizeof(why));) {
		sim_run_for(s, 500000);
		if (s->now_us > end)
			sim_fail(s, "two minutes after all disks were full: %s", why);
	}
}

void sim_clients_turns(struct sim *s)
{
	for (unsigned i = 1; i <= s->plan.nodes && !s->failed; i++) {
		struct proc *p = &s->p[i];
		uint64_t end = s->now_us + TURN_US_MAX;
		char why[200] = "";

		/* where there is one copy it cannot be away */
		if (!p->joined || p->gone || !p->up || s->copies == 1)
			continue;
		while (!s->failed && !sim_ring_whole(s, why, sizeof(why))) {
			sim_run_for(s, 500000);
			if (s->now_us > end)
				sim_fail(s, "two minutes after node %u was away for a while: %s",
					 i - 1, why);
		}
		sim_note(s, "node %u is away in its turn", i);
		sim_proc_crash(s, p, false);
		read_all(s, i % s->plan.gateways, i);
		sim_proc_start(s, p);
		sim_run_for(s, 2000000);
	}
}
