/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * EXTENDED COPY in the simulator: initiators copy between volumes and inside one, through any
 * gateway, and the gateway's part that the adapter has (target/tgt_bs_copy.c): the parameter
 * list is parsed, a copy gets its step at the end of each turn and is aborted when its session
 * ends, volumes it uses stay open until it has ended.
 *
 * Judged (sim_check_copy.c): each block becomes what its source was at some moment of the
 * copy. One that ends well has copied all; one that fails has copied the segments that it
 * says are processed, perhaps some of the next one, nothing of the others; one that says that
 * nothing was written has written nothing; what has ended or was aborted never lands later.
 */
#include <stdlib.h>
#include <string.h>

#include "target/gw_int.h"
#include "target/xcopy_run.h"
#include "tests/sim/sim_int.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define CSCD_BYTES 32u
#define SEG_BYTES  28u
#define LIST_BYTES (16u + 2 * CSCD_BYTES + SIM_COPY_SEGS_MAX * SEG_BYTES)

/* ---- the initiator ---- */

/* A volume that is written to and that the gateway has; mostly the first. */
static unsigned pick_vol(struct sim *s, int gw)
{
	const struct proc *p = &s->p[1 + s->plan.nodes + (unsigned)gw];
	unsigned vol = vms_rng_chance(&s->mix_rng, 0.5)
			       ? 0
			       : (unsigned)vms_rng_below(&s->mix_rng, SIM_VOLS_MAX);

	return sim_vol_ready(s, p, vol) && s->vol[vol].want && !s->vol[vol].snap ? vol : 0;
}

static uint64_t pick_lba(struct sim *s)
{
	uint64_t lba = s->hot[vms_rng_below(&s->mix_rng, s->plan.hot_chunks)] * VMS_CHUNK_BLOCKS;

	return vms_rng_chance(&s->mix_rng, 0.3) ? lba + vms_rng_below(&s->mix_rng, VMS_CHUNK_BLOCKS)
						: lba;
}

#define COPIES_MAX 24u /* of a seed: what is to be asked of each read grows with their cube */

bool sim_copy_draw(struct sim *s, int gw, struct sim_copy *x)
{
	static const unsigned most[] = {VMS_CHUNK_BLOCKS, 6 * VMS_CHUNK_BLOCKS,
					40 * VMS_CHUNK_BLOCKS};
	uint32_t total;

	if (s->r->copies + s->r->copies_failed >= COPIES_MAX)
		return false;
	memset(x, 0, sizeof(*x));
	x->to = pick_vol(s, gw);
	x->from = vms_rng_chance(&s->mix_rng, 0.5) ? x->to : pick_vol(s, gw);
	x->from_id = s->vol[x->from].id;
	x->to_lba = pick_lba(s);
	/* not beyond what snapshots are read of */
	total = (s->plan.admin ? 7 : 40) * VMS_CHUNK_BLOCKS - x->to_lba % VMS_CHUNK_BLOCKS;
	total = sim_vol_clip(&s->vol[x->to], x->to_lba, total);
	for (unsigned n = 1 + (unsigned)vms_rng_below(&s->mix_rng, SIM_COPY_SEGS_MAX); n; n--) {
		uint64_t from = pick_lba(s);
		uint32_t len = 1 + (uint32_t)vms_rng_below(&s->mix_rng,
							   most[vms_rng_below(&s->mix_rng, 3)]);

		if (vms_rng_chance(&s->mix_rng, 0.6))
			len += VMS_CHUNK_BLOCKS - len % VMS_CHUNK_BLOCKS;
		len = sim_vol_clip(&s->vol[x->from], from, len);
		len = len < total - x->nblocks ? len : total - x->nblocks;
		if (!len)
			break;
		x->seg[x->nsegs].from_lba = from;
		x->seg[x->nsegs++].nblocks = len;
		x->nblocks += len;
	}
	return x->nsegs != 0;
}

void sim_copy_invoke(struct sim *s, struct client_op *o)
{
	uint64_t lba = o->lba;

	o->nchecks = o->copy.nsegs;
	for (unsigned i = 0; i < o->copy.nsegs; i++) {
		uint32_t id = sim_check_copy(o->check, lba, o->copy.seg[i].nblocks,
					     s->vol[o->copy.from].check, o->copy.seg[i].from_lba,
					     !s->plan.same, s->now_us);

		lba += o->copy.seg[i].nblocks;
		if (!i)
			o->check_id = id;
		vms_assert(id == o->check_id + i);
	}
}

enum sim_outcome sim_copy_outcome(const struct sim_copy_end *e, unsigned segment)
{
	if (e->sense.status == VMS_SAM_GOOD)
		return SIM_APPLIED;
	if (e->sense.status != VMS_SAM_CHECK_CONDITION)
		return SIM_NEVER;
	return segment < e->segments ? SIM_APPLIED : segment == e->segments ? SIM_MAYBE : SIM_NEVER;
}

/* Space, a reservation, a volume that has become smaller, what cannot be read: a failover
 * alone lets no copy fail. */
void sim_copy_look(struct sim *s, const struct client_op *o, const struct sim_cmd *m)
{
	const struct vms_sense *e = &m->copy_end.sense;

	if (e->status != VMS_SAM_CHECK_CONDITION || m->cancelled || m->preempted)
		return;
	if (e->key == VMS_SK_COPY_ABORTED && e->asc == VMS_ASC_SPACE_ALLOCATION_FAILED &&
	    sim_faults_full(s, o->start_us))
		return;
	if (e->key == VMS_SK_COPY_ABORTED && e->asc == VMS_ASC_THIRD_PARTY_FAILURE &&
	    (s->r->pr_tables || s->plan.resize || sim_faults_unreadable(s)))
		return;
	if (e->key == VMS_SK_COPY_ABORTED && e->asc == VMS_ASC_NONE && s->plan.resize)
		return;
	sim_fail(s, "client %d: copy to lba %llu +%u over gateway %d ended with %u/%04x", m->client,
		 (unsigned long long)o->lba, o->nblocks, o->gw, e->key, e->asc);
}

/* ---- the gateway ---- */

static void put_cscd(uint8_t *d, const uint8_t uuid[16])
{
	d[0] = 0xe4;
	d[4] = 1; /* binary */
	d[5] = 3; /* NAA */
	d[7] = 16;
	vms_vpd_naa6(uuid, d + 8);
	vms_put_be24(d + 29, VMS_LB_BYTES);
}

static unsigned put_list(const struct proc *p, const struct sim_copy *x, uint8_t *list)
{
	struct vms_gw_vol_info info;
	uint8_t *d = list + 16;
	uint64_t to = x->to_lba;

	memset(list, 0, LIST_BYTES);
	list[1] = 3 << 3; /* no list identifier */
	vms_put_be16(list + 2, 2 * CSCD_BYTES);
	vms_put_be32(list + 8, x->nsegs * SEG_BYTES);
	vms_gw_vol_info(p->vol[x->from].h, &info);
	put_cscd(d, info.uuid);
	vms_gw_vol_info(p->vol[x->to].h, &info);
	put_cscd(d + CSCD_BYTES, info.uuid);
	d += 2 * CSCD_BYTES;
	for (unsigned i = 0; i < x->nsegs; i++, d += SEG_BYTES) {
		d[0] = 0x02;
		vms_put_be16(d + 2, SEG_BYTES - 4);
		vms_put_be16(d + 6, 1);
		vms_put_be16(d + 10, (uint16_t)x->seg[i].nblocks);
		vms_put_be64(d + 12, x->seg[i].from_lba);
		vms_put_be64(d + 20, to);
		to += x->seg[i].nblocks;
	}
	return 16 + 2 * CSCD_BYTES + x->nsegs * SEG_BYTES;
}

/* Its answer is known: the status initiators' writes have that is nearest. */
static void over(struct sim *s, struct proc *p, struct sim_cmd *m)
{
	const struct sim_copy_end *e = &m->copy_end;
	uint64_t blocks = 0, least = 0, to = m->copy.to_lba;

	m->cmd.status = e->sense.status == VMS_SAM_GOOD			  ? 0
			: e->sense.status == VMS_SAM_CHECK_CONDITION	  ? VMS_E_TIMEOUT
			: e->sense.status == VMS_SAM_TASK_ABORTED	  ? VMS_E_CANCELLED
			: e->sense.status == VMS_SAM_RESERVATION_CONFLICT ? VMS_E_RESERVED
									  : VMS_E_BUSY;
	for (unsigned i = 0; i < m->copy.nsegs; i++) {
		/* onto itself nothing is written */
		if (m->copy.from != m->copy.to || m->copy.seg[i].from_lba != to)
			blocks += m->copy.seg[i].nblocks;
		to += m->copy.seg[i].nblocks;
		least = i < e->segments ? blocks : least;
	}
	if (e->segments > m->copy.nsegs || e->blocks < least || e->blocks > blocks ||
	    (!m->cmd.status && (e->segments != m->copy.nsegs || e->blocks != blocks)))
		sim_fail(s,
			 "copy of client %d over gateway %u: status 0x%02x with %u of %u segments, "
			 "%llu of %llu blocks",
			 m->client, p->idx, e->sense.status, e->segments, m->copy.nsegs,
			 (unsigned long long)e->blocks, (unsigned long long)blocks);
	s->r->copies += !m->cmd.status;
	s->r->copies_failed += m->cmd.status != 0;
	sim_note(s,
		 "client %d: copy of %llu blocks over gateway %u: %02x, %u/%04x, %u segments; "
		 "volume %u lba %llu, from volume %u lba %llu",
		 m->client, (unsigned long long)blocks, p->idx, e->sense.status, e->sense.key,
		 e->sense.asc, e->segments, m->copy.to, (unsigned long long)m->copy.to_lba,
		 m->copy.from, (unsigned long long)m->copy.seg[0].from_lba);
}

bool sim_copy_start(struct sim *s, struct proc *p, struct sim_cmd *m)
{
	uint8_t cdb[16] = {0x83}, list[LIST_BYTES];
	struct vms_xcopy_lu lus[SIM_VOLS_MAX];
	struct vms_lu lu[SIM_VOLS_MAX];
	unsigned n = 0, self = 0, bytes = put_list(p, &m->copy, list);
	struct vms_xcopy x;

	sim_pr_owner(p, m);
	for (unsigned i = 0; i < SIM_VOLS_MAX; i++) {
		struct vms_gw_vol_info info;

		if (!sim_vol_ready(s, p, i) || !s->vol[i].want)
			continue;
		vms_gw_vol_info(p->vol[i].h, &info);
		vms_lu_init(&lu[n]);
		memcpy(lu[n].ident.uuid, info.uuid, 16);
		lu[n].ident.nblocks = info.size_bytes / VMS_LB_BYTES;
		lu[n].ident.write_protect = s->vol[i].snap;
		lu[n].pr = vms_gw_vol_pr(p->vol[i].h);
		lu[n].ready = true;
		self = i == m->vol ? n : self;
		lus[n] = (struct vms_xcopy_lu){&lu[n], p->vol[i].h};
		n++;
	}
	vms_put_be32(cdb + 10, bytes);
	if (vms_xcopy_parse(cdb, list, bytes, &x, &m->copy_end.sense)) {
		sim_fail(s, "the parameter list of a copy is refused: %u/%04x",
			 m->copy_end.sense.key, m->copy_end.sense.asc);
		return false;
	}
	m->xcopy = vms_xcopy_run_new(p->gw, &x, lus, n, self, &m->who, s->cl[m->client].port, m,
				     &m->copy_end.sense);
	if (m->xcopy)
		return true;
	/* nothing was written, whatever it says */
	over(s, p, m);
	if (m->copy_end.sense.status == VMS_SAM_CHECK_CONDITION)
		m->copy_end.sense.status = VMS_SAM_BUSY;
	return false;
}

void sim_copy_piece(struct proc *p, struct sim_cmd *m, struct vms_gw_cmd *cmd)
{
	/* a write that was aborted in vain may have its effect later */
	m->copy_end.vain |= cmd->status == VMS_E_TIMEOUT && cmd->op != VMS_GW_MAP &&
			    cmd->op != VMS_GW_READ;
	vms_xcopy_run_ended(m->xcopy, cmd);
	sim_wake(p, 1);
}

void sim_copy_turn(struct sim *s, struct proc *p)
{
	for (struct sim_cmd *m = p->live, **at = &p->live; m; m = *at) {
		if (!m->xcopy || vms_xcopy_run_step(m->xcopy, sim_now_ms(p)) != VMS_COPY_ENDED) {
			at = &m->next;
			continue;
		}
		vms_xcopy_run_result(m->xcopy, &m->copy_end.sense, &m->copy_end.segments,
				     &m->copy_end.blocks);
		vms_xcopy_run_free(m->xcopy);
		m->xcopy = NULL;
		over(s, p, m);
		*at = m->next;
		m->next = p->ended;
		p->ended = m;
		sim_wake(p, 1);
	}
}

/* The process dies: nothing of its core will end any more. */
void sim_copy_stop(struct proc *p)
{
	for (struct sim_cmd *m = p->gw ? p->live : NULL; m; m = m->next) {
		if (!m->xcopy)
			continue;
		gw_each(l, &p->gw->reqs)
		{
			struct vms_gw_cmd *cmd = gw_entry(l, struct gw_req, link)->cmd;

			if (cmd->cookie == m)
				vms_xcopy_run_ended(m->xcopy, cmd);
		}
		for (struct gw_req *r = p->gw->done_head; r; r = r->next)
			if (r->cmd->cookie == m)
				vms_xcopy_run_ended(m->xcopy, r->cmd);
		vms_xcopy_run_free(m->xcopy);
		m->xcopy = NULL;
	}
}
