// SPDX-License-Identifier: GPL-2.0-only
/*
 * Storage node core: life cycle and event dispatch. The parts are in node_*.c,
 * apply.c, drain.c, checkpoint.c, replay.c, collect.c; the state in node_int.h.
 *
 * Keeps invariant 28: after a failed log, container or index write nothing is
 * acknowledged any more (poisoned) and the process is told to exit.
 */
#include "backend/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/apply.h"
#include "backend/branch.h"
#include "backend/checkpoint.h"
#include "backend/collect.h"
#include "backend/dedup.h"
#include "backend/digest.h"
#include "backend/drain.h"
#include "backend/du.h"
#include "backend/empty.h"
#include "backend/fetch.h"
#include "backend/holders.h"
#include "backend/htab.h"
#include "backend/lack.h"
#include "backend/learn.h"
#include "backend/learn_serve.h"
#include "backend/lease.h"
#include "backend/match.h"
#include "backend/meta.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_flush.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/out.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/plan.h"
#include "backend/prune.h"
#include "backend/repair.h"
#include "backend/replay.h"
#include "backend/retire.h"
#include "backend/round.h"
#include "backend/rpc.h"
#include "backend/scrub.h"
#include "backend/set.h"
#include "backend/wal.h"
#include "backend/yield.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

#define NODE_LOG_GATHER_BYTES (256u << 10) /* of memory-mode records in one write */
#define NODE_LOG_GATHER_MS    16u

void node_log(struct vms_node *n, int level, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	if (!n->up.log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n->up.log(n->up.ctx, level, text);
}

void node_log_place(struct vms_node *n, int level, uint64_t key, const char *fmt, ...)
{
	char text[300];
	uint32_t dropped;
	va_list ap;

	if (!vms_log_places_pass(&n->said, key, n->now_ms, &dropped))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (dropped)
		node_log(n, level, "%s (%u like it not shown)", text, dropped);
	else
		node_log(n, level, "%s", text);
}

void node_fatal(struct vms_node *n, int err, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	n->poisoned = true;
	if (n->fatal_said)
		return;
	n->fatal_said = true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n->up.fatal(n->up.ctx, err, text);
}

uint64_t dio_token(struct vms_node *n, struct dio *d)
{
	if (n->dio_free.n) {
		d->slot = VMS_VEC_POP(&n->dio_free);
		n->dios.d[d->slot] = d;
	} else {
		d->slot = (uint32_t)n->dios.n;
		VMS_VEC_PUSH(&n->dios, d);
	}
	n->dio_busy++;
	return (uint64_t)d->slot + 1;
}

static void dio_event(struct vms_node *n, const struct vms_disk_event *ev)
{
	struct dio *d;

	if (ev->token == 0 || ev->token > n->dios.n || !n->dios.d[ev->token - 1])
		return;
	d = n->dios.d[ev->token - 1];
	n->dios.d[d->slot] = NULL;
	VMS_VEC_PUSH(&n->dio_free, d->slot);
	n->dio_busy--;
	d->fn(n, d, ev->status);
}

struct part *node_part(struct vms_node *n, uint32_t number)
{
	return number < n->nparts ? n->part[number] : NULL;
}

struct part *node_part_make(struct vms_node *n, uint32_t number)
{
	struct part *p;

	vms_assert(number < n->nparts);
	if (n->part[number])
		return n->part[number];
	p = calloc(1, sizeof(*p));
	vms_assert(p);
	p->number = number;
	p->recs_first = 1;
	p->next_ctr = vms_ctr_first(number, n->conf.part_bits) + 1;
	n->part[number] = p;
	return p;
}

void part_mark_dirty(struct vms_node *n, struct part *p)
{
	if (p->in_dirty)
		return;
	p->in_dirty = true;
	VMS_VEC_PUSH(&n->dirty, p->number);
}

void part_mark_retry(struct vms_node *n, struct part *p)
{
	if (p->in_retry || (!p->wait_head && !p->locks))
		return;
	p->in_retry = true;
	VMS_VEC_PUSH(&n->retry, p->number);
}

struct gwfloor *node_gwfloor(struct vms_node *n, uint32_t gateway, bool create)
{
	struct vms_hlink *l = vms_htab_find(&n->gwfloors, gateway);
	struct gwfloor *g;

	if (l)
		return vms_hlink_entry(l, struct gwfloor, link);
	if (!create)
		return NULL;
	g = calloc(1, sizeof(*g));
	vms_assert(g);
	vms_htab_add(&n->gwfloors, &g->link, gateway);
	return g;
}

vms_conn_id node_primary_conn(struct vms_node *n, uint32_t partition)
{
	struct peer *pe = partition < n->nparts && n->pconf[partition].epoch
				  ? node_peer(n, n->pconf[partition].primary, false)
				  : NULL;

	return pe ? pe->conn : 0;
}

void node_wake_at(struct vms_node *n, uint64_t at_ms)
{
	if (at_ms < n->deadline_ms)
		n->deadline_ms = at_ms;
}

int vms_node_format(const struct vms_disk *disk, const struct vms_node_conf *conf,
		    struct vms_errmsg *msg)
{
	struct vms_wal_conf wc = {.node_id = 0};
	int rc;

	if (conf->part_bits > VMS_PART_BITS_MAX)
		return vms_fail(msg, VMS_E_INVAL, "part_bits %u is above %u", conf->part_bits,
				VMS_PART_BITS_MAX);
	memcpy(wc.cluster_uuid, conf->cluster_uuid, 16);
	rc = vms_wal_format(disk, &wc);
	if (rc)
		return vms_fail(msg, rc, "cannot format the log: %s", vms_err_text(rc));
	return 0;
}

int vms_node_open(struct vms_node **out, const struct vms_node_conf *conf,
		  const struct vms_disk *disk, struct vms_catalog *cat,
		  const struct vms_node_update *up, uint64_t now_ms, struct vms_errmsg *msg)
{
	struct vms_node *n;
	int rc;

	if (conf->part_bits > VMS_PART_BITS_MAX)
		return vms_fail(msg, VMS_E_INVAL, "part_bits %u is above %u", conf->part_bits,
				VMS_PART_BITS_MAX);
	n = calloc(1, sizeof(*n));
	if (!n)
		return VMS_E_NOMEM;
	n->conf = *conf;
	if (!n->conf.container_bytes_max)
		n->conf.container_bytes_max = 64u << 20;
	if (!n->conf.gc_target_percent)
		n->conf.gc_target_percent = 200;
	n->tm = conf->timing.tick_ms ? conf->timing : vms_timing_default(1.0);
	n->id = conf->node_id;
	n->disk = *disk;
	n->cat = cat;
	n->up = *up;
	n->mut = conf->mutant;
	n->now_ms = n->start_ms = n->lease_timer_ms = now_ms;
	vms_rng_init(&n->rng, conf->seed);
	vms_ovl_init(&n->ovl);
	vms_outcomes_init(&n->outcomes);
	vms_holders_init(&n->holders, 1u << 18);
	vms_htab_init(&n->conns, 64);
	vms_htab_init(&n->invals, 1024);
	vms_htab_init(&n->loose, 64);
	vms_htab_init(&n->rpcs, 64);
	vms_htab_init(&n->gwfloors, 64);
	vms_htab_init(&n->branches, 64);
	vms_htab_init(&n->volumes, 64);
	vms_htab_init(&n->segs, 1024);
	n->nparts = 1u << conf->part_bits;
	n->part = calloc(n->nparts, sizeof(*n->part));
	n->pconf = calloc(n->nparts, sizeof(*n->pconf));
	n->next_req = 1;
	n->pages = vms_pages_new(&n->disk);
	if (n->pages) {
		vms_pages_on_copy(n->pages, prune_copied, n);
		repair_open(n);
	}
	if (!n->part || !n->pconf || !n->pages || dedup_open(n) || match_open(n)) {
		vms_node_close(n);
		return VMS_E_NOMEM;
	}
	rc = replay_open(n, msg);
	if (rc) {
		vms_node_close(n);
		return rc;
	}
	scrub_open(n);
	n->serve_from_ms = n->start_ms + n->tm.lease_ms + n->tm.lease_ms / 50 + 2;
	if (n->mut == MUT_NO_LEASE_WAIT)
		n->serve_from_ms = 0;
	n->deadline_ms = now_ms;
	cat_start(n);
	*out = n;
	return 0;
}

static void part_close(struct vms_node *n, struct part *p)
{
	struct op *o, *next;

	apply_abort(n, p);
	drain_abort(n, p);
	gc_abort(n, p);
	for (o = p->pend_head; o; o = next) {
		next = o->next;
		op_free(n, o);
	}
	for (o = p->held; o; o = next) {
		next = o->next;
		op_free(n, o);
	}
	for (o = p->wait_head; o; o = next) {
		next = o->next;
		op_free(n, o);
	}
	for (o = p->locks; o; o = next) {
		next = o->next;
		op_free(n, o);
	}
	VMS_VEC_FOREACH (&p->ctrs, c)
		ctr_free(c);
	VMS_VEC_FREE(&p->recs);
	VMS_VEC_FREE(&p->trims);
	VMS_VEC_FREE(&p->ctrs);
	VMS_VEC_FREE(&p->stubs);
	dedup_part_close(p);
	learn_close(n, p);
	feeds_close(n, p);
	digest_close(n, p);
	lack_end(n, p);
	out_close(p);
	free(p);
}

void vms_node_close(struct vms_node *n)
{
	struct conn *c, *cn;

	if (!n)
		return;
	if (n->cat && n->cat->ops->forget)
		n->cat->ops->forget(n->cat, n);
	n->closing = true;
	/* disk operations in flight are the owner's to drop: their dios are freed here */
	for (size_t i = 0; i < n->dios.n; i++)
		if (n->dios.d[i])
			n->dios.d[i]->fn(n, n->dios.d[i], VMS_E_STOPPING);
	rpc_close(n);
	repair_close(n);
	scrub_close(n);
	dedup_close(n);
	match_close(n);
	for (uint32_t i = 0; n->part && i < n->nparts; i++)
		if (n->part[i])
			part_close(n, n->part[i]);
	free(n->part);
	free(n->pconf);
	while (n->flushes) {
		struct flush *f = n->flushes;

		n->flushes = f->next;
		VMS_VEC_FREE(&f->want);
		free(f);
	}
	while (n->sessions) {
		struct session *s = n->sessions;

		n->sessions = s->next;
		while (s->invals) {
			struct inval *iv = s->invals;

			s->invals = iv->next;
			free(iv);
		}
		VMS_VEC_FREE(&s->tomb);
		free(s);
	}
	for (c = n->conn_list; c; c = cn) {
		cn = c->next;
		free(c);
	}
	for (unsigned i = 0; i < VMS_NODES_MAX; i++)
		if (n->peer[i]) {
			VMS_VEC_FREE(&n->peer[i]->out);
			VMS_VEC_FREE(&n->peer[i]->ack);
			free(n->peer[i]);
		}
	for (uint32_t i = 0; n->gwfloors.bucket && i <= n->gwfloors.mask; i++)
		while (n->gwfloors.bucket[i]) {
			struct vms_hlink *l = n->gwfloors.bucket[i];

			n->gwfloors.bucket[i] = l->next;
			free(vms_hlink_entry(l, struct gwfloor, link));
		}
	branch_close(n);
	segs_close(n);
	while (n->free_ops) {
		struct op *o = n->free_ops;

		n->free_ops = o->next;
		free(o);
	}
	prune_close(n);
	du_close(n);
	round_close(n);
	plan_close(n);
	empty_close(n);
	VMS_VEC_FREE(&n->punch);
	VMS_VEC_FREE(&n->punch_next);
	VMS_VEC_FREE(&n->punch_new);
	free(n->ckpt);
	free(n->loss_job);
	free(n->out_frame);
	vms_meta_batch_free(&n->batch);
	VMS_VEC_FREE(&n->drains);
	VMS_VEC_FREE(&n->dirty);
	VMS_VEC_FREE(&n->retry);
	VMS_VEC_FREE(&n->dios);
	VMS_VEC_FREE(&n->dio_free);
	VMS_VEC_FREE(&n->unlink);
	VMS_VEC_FREE(&n->unlink_next);
	free(n->dur.d);
	vms_outcomes_close(&n->outcomes);
	vms_holders_close(&n->holders);
	vms_ovl_close(&n->ovl);
	vms_htab_free(&n->conns);
	vms_htab_free(&n->invals);
	vms_htab_free(&n->loose);
	vms_htab_free(&n->gwfloors);
	if (n->pages)
		vms_pages_free(n->pages);
	if (n->wal)
		vms_wal_close(n->wal);
	free(n);
}

static void node_timer(struct vms_node *n)
{
	lease_timer(n);
	cat_timer(n);
	branch_timer(n);
	conn_timer(n);
	session_timer(n);
	rpc_timer(n);
	dedup_timer(n);
	match_timer(n);
	part_timer(n);
	retire_timer(n);
	set_timer(n);
	admission_timer(n);
	apply_timer(n);
	flush_check(n);
	if (n->phase == SP_RUN) {
		drain_timer(n);
		gc_timer(n);
		prune_timer(n);
		du_timer(n);
		round_timer(n);
		feed_timer(n);
		learn_timer(n);
		yield_timer(n);
		digest_timer(n);
		lack_timer(n);
		out_timer(n);
		plan_timer(n);
		repair_timer(n);
		scrub_timer(n);
		empty_timer(n);
	}
	ckpt_timer(n);
}

void vms_node_step(struct vms_node *n, const struct vms_node_event *ev)
{
	if (ev->now_ms > n->now_ms)
		n->now_ms = ev->now_ms;
	if (n->poisoned)
		return;
	switch (ev->type) {
	case VMS_NEV_CONN_UP:
	case VMS_NEV_ACCEPT:
	case VMS_NEV_CONN_DOWN:
	case VMS_NEV_MSG:
		conn_event(n, ev);
		break;
	case VMS_NEV_DISK:
		if (!vms_wal_event(n->wal, &ev->disk, n->now_ms)) {
			dio_event(n, &ev->disk);
			break;
		}
		if (vms_wal_poisoned(n->wal)) {
			node_fatal(n, VMS_E_POISONED,
				   "writing or flushing the log failed (%s): stopping, nothing "
				   "more is acknowledged; check the disk, then start again",
				   vms_err_text(ev->disk.status));
			break;
		}
		repl_durable(n);
		break;
	case VMS_NEV_TIMER:
		node_timer(n);
		break;
	case VMS_NEV_STOP:
		retire_begin(n);
		break;
	}
}

/* Records that only have to be in memory wait for each other: one write of the log for
 * all of some milliseconds. Whatever has to be durable takes them along at once. */
static bool log_gathers(struct vms_node *n)
{
	uint64_t bytes = vms_wal_unwritten_bytes(n->wal);

	if (!bytes || n->want_sync || n->stopping || bytes >= NODE_LOG_GATHER_BYTES ||
	    (n->log_due_ms && n->now_ms >= n->log_due_ms)) {
		n->log_due_ms = 0;
		return false;
	}
	if (!n->log_due_ms)
		n->log_due_ms = n->now_ms + NODE_LOG_GATHER_MS;
	return true;
}

void vms_node_turn_end(struct vms_node *n, uint64_t now_ms)
{
	if (now_ms > n->now_ms)
		n->now_ms = now_ms;
	if (n->poisoned)
		return;
	/* commits wake waiting ops, which order new records, and so on; each pass
	 * works on a list of its own, so that the loop ends with the work */
	for (int pass = 0; pass < 4 && (n->dirty.n || n->retry.n); pass++) {
		for (size_t i = 0; i < n->dirty.n; i++) {
			struct part *p = node_part(n, n->dirty.d[i]);

			p->in_dirty = false;
			repl_advance(n, p);
			if (n->poisoned)
				return;
		}
		VMS_VEC_CLEAR(&n->dirty);
		for (size_t i = 0, end = n->retry.n; i < end; i++) {
			struct part *p = node_part(n, n->retry.d[i]);

			p->in_retry = false;
			write_retry(n, p);
		}
		/* what was marked while going over the list stays for the next pass */
		{
			size_t k = 0;

			for (size_t i = 0; i < n->retry.n; i++)
				if (node_part(n, n->retry.d[i])->in_retry)
					n->retry.d[k++] = n->retry.d[i];
			n->retry.n = k;
		}
	}
	dedup_turn_end(n);
	flush_check(n);
	if (n->stopping)
		stop_step(n);
	if (!log_gathers(n))
		vms_wal_submit(n->wal, n->want_sync, n->now_ms);
	n->want_sync = false;
	repl_flush_out(n);
	if (n->dirty.n || n->retry.n)
		n->deadline_ms = n->now_ms;
	if (n->deadline_ms <= n->now_ms) {
		n->deadline_ms = UINT64_MAX;
		node_wake_at(n, n->now_ms + n->tm.tick_ms / 8 + 1);
		if (n->dirty.n || n->retry.n || n->wait_bytes)
			node_wake_at(n, n->now_ms + 1);
	}
	if (n->log_due_ms)
		node_wake_at(n, n->log_due_ms);
	n->up.deadline(n->up.ctx, n->deadline_ms);
}
