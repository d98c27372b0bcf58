// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gateway core: life cycle, events, turns, and the way of a command's result back
 * to the caller. See gateway.h for the contract and gw_int.h for the parts.
 *
 * Clock: every entry brings the boot clock. A jump of it between two entries
 * means that this process stood still, so commands already received may be old:
 * the initiators' connections go (rules C2). Keeps invariants 3, 15, 30.
 */
#include <stdarg.h>
#include <stdio.h>

#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"
#include "target/gw_write.h"

/* ---- pools ---- */

void gw_pool_init(struct gw_pool *p, size_t size, unsigned per)
{
	*p = (struct gw_pool){.size = (size + 15) & ~(size_t)15, .per = per};
}

void *gw_pool_get_(struct gw_pool *p)
{
	uint8_t *slab = malloc(16 + p->size * p->per);
	void *o;

	vms_assert(slab);
	*(void **)slab = p->slabs;
	p->slabs = slab;
	for (unsigned i = p->per; i-- > 0;) {
		o = slab + 16 + i * p->size;
		*(void **)o = p->free;
		p->free = o;
	}
	o = p->free;
	p->free = *(void **)o;
	p->live++;
	return o;
}

void gw_pool_fini(struct gw_pool *p)
{
	while (p->slabs) {
		void *next = *(void **)p->slabs;

		free(p->slabs);
		p->slabs = next;
	}
	p->free = NULL;
}

/* ---- helpers of all parts ---- */

void gw_log(struct vms_gw *gw, int level, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gw->up.log(gw->up.ctx, level, text);
}

void gw_fatal(struct vms_gw *gw, int err, const char *text)
{
	if (gw->phase == GP_DEAD)
		return;
	gw->phase = GP_DEAD;
	gw->ready = false;
	gw->up.fatal(gw->up.ctx, err, text);
}

void gw_drop_initiators(struct vms_gw *gw, const char *why)
{
	gw->st.initiator_drops++;
	gw->up.drop_initiators(gw->up.ctx, why);
}

void gw_wake_at(struct vms_gw *gw, uint64_t at_ms)
{
	if (at_ms < gw->timer_ms)
		gw->timer_ms = at_ms;
	if (!gw->in_call && gw->timer_ms != gw->told_deadline_ms) {
		gw->told_deadline_ms = gw->timer_ms;
		gw->up.deadline(gw->up.ctx, gw->timer_ms);
	}
}

/* ---- commands ---- */

struct gw_req *gw_req_new(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct gw_req *r = gw_pool_get(&gw->p_req);

	memset(r, 0, offsetof(struct gw_req, iov_in));
	r->cmd = cmd;
	r->vol = cmd->vol;
	r->t_ms = gw->now_ms;
	r->table = gw_pr_table(cmd->vol);
	r->iov = r->iov_in;
	r->total_bytes = (uint64_t)cmd->nblocks * VMS_LB_BYTES;
	r->first_chunk = cmd->lba / VMS_CHUNK_BLOCKS;
	r->off0 = (uint32_t)(cmd->lba % VMS_CHUNK_BLOCKS) * VMS_LB_BYTES;
	r->nchunks = (uint32_t)((r->off0 + r->total_bytes + VMS_CHUNK_BYTES - 1) / VMS_CHUNK_BYTES);
	gw_list_init(&r->loss_link);
	gw_list_add(&gw->reqs, &r->link);
	r->vol->ncmds++;
	cmd->priv = r;
	return r;
}

void gw_req_free(struct vms_gw *gw, struct gw_req *r)
{
	while (r->tmp) {
		struct gw_tmp *t = r->tmp;

		r->tmp = t->next;
		free(t);
	}
	if (r->iov != r->iov_in)
		free(r->iov);
	free(r->pattern);
	gw_pool_put(&gw->p_req, r);
}

void gw_req_end(struct vms_gw *gw, struct gw_req *r)
{
	struct vms_gw_cmd *cmd = r->cmd;

	vms_assert(!r->ended);
	r->ended = true;
	gw_list_del(&r->link);
	if (!--r->vol->ncmds && r->vol->quiet)
		gw->kick = true; /* it is quiet now, which is to be told */
	gw->outstanding_bytes -= r->bytes;
	if (r->aborted && r->tv)
		gw->naborted--;
	if (r->tv)
		gw_tv_put(gw, r->tv);
	r->tv = NULL;
	if (!r->status && cmd->op == VMS_GW_VERIFY)
		gw_verify_end(gw, r);
	if (!r->status && cmd->op == VMS_GW_LBA_STATUS)
		gw_lba_status_end(r);
	cmd->status = r->status;
	cmd->info_lba = r->info_lba;
	cmd->miscompare_bytes = r->miscompare_bytes;
	if (r->status == VMS_E_BUSY)
		gw->st.busy++;
	if (cmd->op == VMS_GW_READ && !cmd->dest) {
		if (r->status) {
			gw_read_unpin(gw, r);
		} else {
			cmd->riov = r->iov;
			cmd->nriov = r->nchunks;
			r->retained = true;
			gw_list_add(&gw->held, &r->link);
		}
	} else if (cmd->op == VMS_GW_VERIFY) {
		gw_read_unpin(gw, r);
	}
	if (r->in_submit)
		return;
	r->next = NULL;
	*gw->done_tail = r;
	gw->done_tail = &r->next;
	if (!gw->in_call)
		gw_wake_at(gw, gw->now_ms);
}

static void deliver(struct vms_gw *gw)
{
	while (gw->done_head) {
		struct gw_req *r = gw->done_head;
		struct vms_gw_cmd *cmd = r->cmd;

		gw->done_head = r->next;
		if (!gw->done_head)
			gw->done_tail = &gw->done_head;
		if (!r->retained) {
			cmd->priv = NULL;
			gw_req_free(gw, r);
		}
		gw->up.complete(gw->up.ctx, cmd);
	}
	while (gw->pr_done) {
		struct vms_gw_pr_cmd *cmd = gw->pr_done;

		gw->pr_done = cmd->next;
		if (!gw->pr_done)
			gw->pr_done_tail = &gw->pr_done;
		gw->up.pr_complete(gw->up.ctx, cmd);
	}
}

void vms_gw_unpin(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct gw_req *r = cmd->priv;

	if (!r || !r->retained)
		return;
	cmd->priv = NULL;
	cmd->riov = NULL;
	cmd->nriov = 0;
	gw_list_del(&r->link);
	gw_read_unpin(gw, r);
	gw_req_free(gw, r);
}

static int done(struct vms_gw_cmd *cmd, int status)
{
	cmd->status = status;
	return VMS_GW_DONE;
}

/* By a record of the cluster, if that is still what it says. */
static int refused(struct vms_gw *gw, int status)
{
	if (vms_gw_current(gw) || gw_mutant(gw, VMS_GWM_SLEPT))
		return status;
	gw->st.busy++;
	return VMS_E_BUSY;
}

int vms_gw_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	char op = 'R';

	cmd->status = 0;
	cmd->partial = false;
	cmd->priv = NULL;
	cmd->riov = NULL;
	cmd->nriov = 0;
	if (__builtin_expect(gw->phase != GP_RUN || v->state != GV_OPEN, 0))
		return done(cmd, VMS_E_STOPPING);
	if (__builtin_expect(v->gone, 0))
		return done(cmd, VMS_E_NOENT);
	if (__builtin_expect(v->quiet, 0)) {
		gw->st.busy++;
		return done(cmd, VMS_E_BUSY);
	}
	if (__builtin_expect(cmd->lba > v->nblocks || cmd->nblocks > v->nblocks - cmd->lba, 0))
		return done(cmd, refused(gw, VMS_E_RANGE));
	/* these move no data: a replay has nothing to do for them */
	if (__builtin_expect(v->trace != NULL, 0) && cmd->op != VMS_GW_LBA_STATUS &&
	    cmd->op != VMS_GW_MAP) {
		op = cmd->op == VMS_GW_FLUSH  ? 'F'
		     : cmd->op == VMS_GW_ZERO ? 'D'
		     : cmd->op == VMS_GW_READ || cmd->op == VMS_GW_VERIFY ||
				     cmd->op == VMS_GW_PREFETCH
			     ? 'R'
			     : 'W';
		v->trace(v->trace_arg, op, cmd->lba * VMS_LB_BYTES,
			 (uint64_t)cmd->nblocks * VMS_LB_BYTES);
	}
	switch (cmd->op) {
	case VMS_GW_READ:
	case VMS_GW_VERIFY:
		if (cmd->nblocks == 0)
			return done(cmd, 0);
		return gw_read_submit(gw, cmd);
	case VMS_GW_WRITE:
	case VMS_GW_ZERO:
	case VMS_GW_WRITE_SAME:
	case VMS_GW_CAW:
	case VMS_GW_ORWRITE:
	case VMS_GW_REF:
	case VMS_GW_COPY:
		if (cmd->nblocks == 0)
			return done(cmd, 0);
		return gw_write_submit(gw, cmd);
	case VMS_GW_FLUSH:
		return gw_flush_submit(gw, cmd);
	case VMS_GW_PREFETCH:
		return gw_prefetch_submit(gw, cmd);
	case VMS_GW_LBA_STATUS:
		return gw_lba_status_submit(gw, cmd);
	case VMS_GW_MAP:
		return gw_map_submit(gw, cmd);
	}
	return done(cmd, VMS_E_INVAL);
}

bool vms_gw_addr_fixed(const struct vms_gw *gw, vms_addr a)
{
	return a > VMS_ADDR_LOST && !vms_addr_is_log(a, gw->cluster.part_bits);
}

void vms_gw_abort(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct gw_req *r = cmd->priv;

	if (!r || r->ended || r->aborted)
		return;
	gw->st.aborts++;
	r->aborted = true;
	r->aborted_ms = gw->now_ms;
	switch (cmd->op) {
	case VMS_GW_READ:
	case VMS_GW_VERIFY:
	case VMS_GW_LBA_STATUS:
	case VMS_GW_MAP:
		gw_read_abort(gw, r);
		break;
	case VMS_GW_FLUSH:
		/* nothing to undo; its answers are ignored */
		gw_loss_abandon(gw, r);
		r->status = VMS_E_CANCELLED;
		gw_req_end(gw, r);
		break;
	default:
		gw->naborted++;
		gw_wake_at(gw, gw->now_ms + gw_patience_ms(gw) + gw->tm.lease_ms);
		gw_write_abort(gw, r);
	}
}

void vms_gw_vol_trace(struct vms_gw_vol *vol, vms_gw_trace_fn fn, void *arg)
{
	vol->trace = fn;
	vol->trace_arg = arg;
}

/* ---- entries ---- */

static void enter(struct vms_gw *gw, uint64_t now_ms)
{
	gw->in_call = true;
	if (now_ms > gw->now_ms)
		gw->now_ms = now_ms;
	if (gw->ready && gw->now_ms - gw->last_ms > gw->tm.tick_gap_ms) {
		char why[96];

		snprintf(why, sizeof(why), "this gateway stood still for %llu ms",
			 (unsigned long long)(gw->now_ms - gw->last_ms));
		gw_drop_initiators(gw, why);
	}
	gw->last_ms = gw->now_ms;
}

static void timers(struct vms_gw *gw)
{
	if (gw->now_ms < gw->timer_ms && !gw->kick)
		return;
	gw->kicked = gw->kick;
	gw->kick = false;
	gw->timer_ms = gw->now_ms + gw->tm.tick_ms / 2 + 1;
	if (gw->phase == GP_DEAD)
		return;
	gw_cat_timer(gw);
	gw_nodes_moved(gw);
	gw_node_timer(gw);
	gw_reach_timer(gw);
	gw_read_timer(gw);
	gw_barrier_timer(gw);
	gw_asks_timer(gw);
	gw_pr_timer(gw);
	gw_write_timer(gw);
	gw_flush_timer(gw);
}

static void leave(struct vms_gw *gw)
{
	uint64_t at;

	deliver(gw);
	gw->in_call = false;
	at = gw->want_send || gw->kick ? gw->now_ms : gw->timer_ms;
	if (at != gw->told_deadline_ms || at <= gw->now_ms) {
		gw->told_deadline_ms = at;
		gw->up.deadline(gw->up.ctx, at);
	}
}

static void send_merged(struct vms_gw *gw)
{
	gw->want_send = false;
	gw_fetches_send(gw);
	gw_writes_send(gw);
}

void vms_gw_step(struct vms_gw *gw, const struct vms_gw_event *ev)
{
	struct gw_node *n = ev->node < VMS_NODES_MAX ? gw->node[ev->node] : NULL;

	enter(gw, ev->now_ms);
	switch (ev->type) {
	case VMS_GEV_CONN_UP:
		if (n)
			gw_node_connected(gw, n);
		break;
	case VMS_GEV_CONN_DOWN:
		if (n && n->state != GN_DOWN)
			gw_node_down(gw, n, "connection lost");
		break;
	case VMS_GEV_MSG:
		if (n && n->state >= GN_HELLO)
			gw_node_msg(gw, n, ev->msg);
		break;
	case VMS_GEV_TIMER:
		timers(gw);
		if (!gw->in_turn)
			send_merged(gw);
		break;
	}
	leave(gw);
}

void vms_gw_turn_begin(struct vms_gw *gw, uint64_t now_ms)
{
	enter(gw, now_ms);
	gw->in_turn = true;
	leave(gw);
}

void vms_gw_turn_end(struct vms_gw *gw, uint64_t now_ms)
{
	enter(gw, now_ms);
	gw->st.turns++;
	timers(gw);
	send_merged(gw);
	gw_ticks_publish(gw);
	gw->in_turn = false;
	leave(gw);
}

bool vms_gw_ready(const struct vms_gw *gw)
{
	return gw->ready;
}

uint64_t vms_gw_incarnation(const struct vms_gw *gw)
{
	return gw->incarnation;
}

/* ---- life cycle ---- */

int vms_gw_new(struct vms_gw **out, const struct vms_gw_conf *conf, struct vms_catalog *cat,
	       const struct vms_gw_update *up, uint64_t now_ms)
{
	struct vms_gw *gw;

	*out = NULL;
	if (!conf->name[0] || !memchr(conf->name, 0, sizeof(conf->name)) || conf->slots > 1u << 20)
		return VMS_E_INVAL;
	gw = calloc(1, sizeof(*gw));
	if (!gw)
		return VMS_E_NOMEM;
	gw->conf = *conf;
	if (!gw->conf.chunk_cache_bytes)
		gw->conf.chunk_cache_bytes = 256ull << 20;
	if (!gw->conf.page_cache_bytes)
		gw->conf.page_cache_bytes = 64ull << 20;
	if (!gw->conf.slots)
		gw->conf.slots = 1024;
	if (!gw->conf.outstanding_bytes_max)
		gw->conf.outstanding_bytes_max = 64ull << 20;
	if (!gw->conf.readahead_chunks)
		gw->conf.readahead_chunks = GW_READAHEAD_CHUNKS;
	gw->cat = cat;
	gw->up = *up;
	gw->tm = conf->timing.tick_ms ? conf->timing : vms_timing_default(1.0);
	gw->now_ms = gw->last_ms = now_ms;
	gw->phase = GP_CLUSTER;
	gw->dirty_head = VMS_PART_NONE;
	gw->next_sequence = 1;
	gw->done_tail = &gw->done_head;
	gw->pr_done_tail = &gw->pr_done;
	vms_rng_init(&gw->rng, conf->seed);
	gw_pool_init(&gw->p_req, sizeof(struct gw_req), 64);
	gw_pool_init(&gw->p_piece, sizeof(struct gw_piece), 64);
	gw_pool_init(&gw->p_waiter, sizeof(struct gw_waiter), 256);
	gw_pool_init(&gw->p_fetch, sizeof(struct gw_fetch), 256);
	gw_pool_init(&gw->p_batch, sizeof(struct gw_batch), 16);
	gw_pool_init(&gw->p_pagereq, sizeof(struct gw_pagereq), 64);
	gw_pool_init(&gw->p_op, sizeof(struct gw_op), 64);
	gw_pool_init(&gw->p_wext, sizeof(struct gw_wext), 64);
	gw_pool_init(&gw->p_rpc, sizeof(struct gw_rpc), 256);
	gw_pool_init(&gw->p_tv, sizeof(struct gw_tickvec), 4);
	gw_list_init(&gw->rpc_free);
	gw_list_init(&gw->parked);
	gw_list_init(&gw->slot_wait);
	gw_list_init(&gw->retry);
	gw_list_init(&gw->reqs);
	gw_list_init(&gw->held);
	gw_list_init(&gw->flushes);
	gw_list_init(&gw->vols);
	gw_list_init(&gw->asks);
	gw_list_init(&gw->claims);
	gw_list_init(&gw->bases);
	gw->cc = vms_cc_new(gw->conf.chunk_cache_bytes);
	gw->fill_token = VMS_ADDR_ASK;
	gw->pc = vms_pc_new(gw->conf.page_cache_bytes);
	gw->zeros = aligned_alloc(VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
	gw->fetch_hash = calloc(GW_HASH, sizeof(*gw->fetch_hash));
	gw->page_hash = calloc(GW_HASH, sizeof(*gw->page_hash));
	gw->wext_hash = calloc(GW_HASH, sizeof(*gw->wext_hash));
	gw->slot_free = malloc(gw->conf.slots * sizeof(*gw->slot_free));
	gw->body = malloc(VMS_WRITE_BODY_BYTES(VMS_WRITE_PIECES_MAX) + 16);
	gw->iov = malloc(GW_IOV_ROOM * sizeof(*gw->iov));
	if (!gw->cc || !gw->pc || !gw->zeros || !gw->fetch_hash || !gw->page_hash ||
	    !gw->wext_hash || !gw->slot_free || !gw->body || !gw->iov) {
		vms_gw_free(gw);
		return VMS_E_NOMEM;
	}
	memset(gw->zeros, 0, VMS_CHUNK_BYTES);
	gw->nslots = gw->conf.slots;
	for (uint32_t i = gw->nslots; i-- > 0;)
		gw->slot_free[gw->slot_free_n++] = i;
	gw->tv = gw_pool_zget(&gw->p_tv);
	gw->tv->refs = 1;
	gw->timer_ms = now_ms;
	*out = gw;
	gw_wake_at(gw, now_ms);
	return 0;
}

void vms_gw_free(struct vms_gw *gw)
{
	if (!gw)
		return;
	gw_cat_fini(gw);
	gw_base_fini(gw);
	/* commands that run belong to the caller; what hangs on them is ours */
	gw_each(l, &gw->reqs)
	{
		struct gw_req *r = gw_entry(l, struct gw_req, link);

		r->cmd->priv = NULL;
		gw_req_free(gw, r);
	}
	while (gw->done_head) {
		struct gw_req *r = gw->done_head;

		gw->done_head = r->next;
		if (r->retained)
			continue; /* is in held too */
		r->cmd->priv = NULL;
		gw_req_free(gw, r);
	}
	gw_each(l, &gw->held)
	{
		struct gw_req *r = gw_entry(l, struct gw_req, link);

		r->cmd->priv = NULL;
		gw_req_free(gw, r);
	}
	for (uint32_t i = 0; i < VMS_NODES_MAX; i++)
		free(gw->node[i]);
	free(gw->part);
	vms_cc_free(gw->cc);
	vms_pc_free(gw->pc);
	free(gw->zeros);
	free(gw->fetch_hash);
	free(gw->page_hash);
	free(gw->wext_hash);
	free(gw->slot_free);
	free(gw->body);
	free(gw->iov);
	free(gw->rpc);
	gw_pool_fini(&gw->p_req);
	gw_pool_fini(&gw->p_piece);
	gw_pool_fini(&gw->p_waiter);
	gw_pool_fini(&gw->p_fetch);
	gw_pool_fini(&gw->p_batch);
	gw_pool_fini(&gw->p_pagereq);
	gw_pool_fini(&gw->p_op);
	gw_pool_fini(&gw->p_wext);
	gw_pool_fini(&gw->p_rpc);
	gw_pool_fini(&gw->p_tv);
	free(gw);
}
