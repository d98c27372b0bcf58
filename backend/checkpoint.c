// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checkpoint of the node: container bytes are synced, then one atomic index
 * commit holds the pages changed by drains, the partitions' states, containers,
 * outcomes, floors and the new tail of the log; only then log generations are
 * freed, dead containers unlinked, and the other members told. One at a time;
 * meanwhile drains go on into the next delta. Also the clean stop.
 * Keeps invariants 1, 4, 27, 28 (rules A1, A6, A8, B5).
 */
#include "backend/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/copyfwd.h"
#include "backend/drain.h"
#include "backend/htab.h"
#include "backend/learn.h"
#include "backend/learn_serve.h"
#include "backend/meta.h"
#include "backend/node_cat.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/outcome.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/scrub.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

/* A gateway may ask again for an op long after its age has ended (it never gives
 * up while its initiator waits): far above the 2 T_op of the rules. */
#define OUTCOME_KEEP_MS(n) ((uint64_t)VMS_OUTCOME_KEEP_T_OP * (n)->tm.t_op_ms)

struct ckpt {
	struct dio d;
	bool running, retry;
	uint64_t free_gen; /* generations up to this one go; 0: none */
	struct vms_wal_tail tail;
	uint64_t started_ms;
};

int ckpt_put_ident(struct vms_node *n, struct vms_meta_batch *b, bool clean)
{
	uint8_t v[32];
	int rc;

	vms_put_le32(v, VMS_INDEX_VERSION);
	vms_put_le32(v + 4, n->conf.part_bits);
	memcpy(v + 8, n->conf.cluster_uuid, 16);
	vms_put_le64(v + 24, n->id);
	rc = vms_meta_batch_put(b, "V", 1, v, 32);
	if (rc)
		return rc;
	vms_put_le64(v,
		     n->incarnation > n->last_incarnation ? n->incarnation : n->last_incarnation);
	v[8] = clean;
	return vms_meta_batch_put(b, "N", 1, v, 9);
}

static int put_part(struct vms_node *n, struct part *p, struct vms_meta_batch *b)
{
	uint64_t applied = p->applied < p->all_durable ? p->applied : p->all_durable;
	uint8_t k[3] = {'P'}, v[120] = {1};

	/* a memory-mode record that is committed may be gone after a crash: the
	 * index must not claim more than the log will hold */
	if (p->own_durable < applied)
		applied = p->own_durable;
	if (applied < p->drain_applied)
		applied = p->drain_applied;
	vms_put_be16(k + 1, (uint16_t)p->number);
	if (p->gone)
		return vms_meta_batch_del(b, k, 3);
	v[1] = p->mem_flag;
	vms_put_le64(v + 8, p->ck_view_epoch);
	vms_put_le64(v + 16, p->ck_view_first);
	vms_put_le64(v + 24, p->drain_applied);
	vms_put_le64(v + 32, p->next_pos);
	vms_put_le64(v + 40, p->ceiling_ordered);
	vms_put_le64(v + 48, p->next_ctr);
	vms_put_le64(v + 56, 0);
	vms_put_le64(v + 64, applied);
	vms_put_le64(v + 72, p->live_chunks);
	vms_put_le64(v + 80, p->gc_cycle);
	v[2] = n->mut == MUT_LN_MARK ? COPY_WHOLE : p->copy_state;
	vms_put_le64(v + 88, n->mut == MUT_LN_VOID ? 0 : p->log_from);
	vms_put_le32(v + 96, n->mut == MUT_VIEW_UNNAMED ? 0 : p->ck_view.n);
	for (uint32_t i = 0; i < p->ck_view.n; i++)
		vms_put_le32(v + 100 + 4 * i, p->ck_view.member[i].node);
	p->frozen_drain = p->drain_applied;
	return vms_meta_batch_put(b, k, 3, v, sizeof(v));
}

/* Which places of a container are dead, 128 segments to a value. */
static int put_dead(const struct ctr *c, struct vms_meta_batch *b, bool gone)
{
	int rc = 0;

	for (uint32_t from = 0; from < c->dead.n && !rc; from += 128) {
		uint32_t k = c->dead.n - from < 128 ? c->dead.n - from : 128;
		uint8_t key[11] = {'D'}, v[8 * 128];

		vms_put_be64(key + 1, c->number);
		vms_put_be16(key + 9, (uint16_t)(from / 128));
		for (uint32_t i = 0; i < k; i++)
			vms_put_le64(v + 8 * i, c->dead.bit[from + i]);
		rc = gone ? vms_meta_batch_del(b, key, sizeof(key))
			  : vms_meta_batch_put(b, key, sizeof(key), v, 8 * k);
	}
	return rc;
}

static int put_ctrs(struct vms_node *n, struct part *p, struct vms_meta_batch *b)
{
	size_t k = 0;
	int rc = 0;

	for (size_t i = 0; i < p->ctrs.n; i++) {
		struct ctr *c = &p->ctrs.d[i];
		uint8_t key[9] = {'C'}, *v;

		vms_put_be64(key + 1, c->number);
		if (c->state == 3) {
			rc = vms_meta_batch_del(b, key, sizeof(key));
			VMS_VEC_PUSH(&n->unlink_next, c->number);
			if (!rc)
				rc = put_dead(c, b, true);
			ctr_free(c);
			if (rc)
				return rc;
			continue;
		}
		if (c->dirty) {
			v = malloc(40 + c->segs);
			vms_assert(v);
			vms_put_le32(v, c->state);
			v[1] = c->shared;
			vms_put_le32(v + 4, c->segs);
			vms_put_le64(v + 8, c->chunks);
			vms_put_le64(v + 16, c->epoch);
			vms_put_le64(v + 24, c->incarnation);
			vms_put_le64(v + 32, c->live);
			if (c->segs)
				memcpy(v + 40, c->used, c->segs);
			rc = vms_meta_batch_put(b, key, sizeof(key), v, 40 + c->segs);
			free(v);
			if (rc)
				return rc;
			c->dirty = false;
		}
		if (c->dead_dirty) {
			rc = put_dead(c, b, false);
			if (rc)
				return rc;
			c->dead_dirty = false;
		}
		p->ctrs.d[k++] = *c;
	}
	p->ctrs.n = k;
	return 0;
}

static int put_floors(struct vms_node *n, struct vms_meta_batch *b)
{
	int rc = 0;

	for (uint32_t i = 0; i <= n->gwfloors.mask && !rc; i++)
		for (struct vms_hlink *l = n->gwfloors.bucket[i]; l && !rc; l = l->next) {
			struct gwfloor *g = vms_hlink_entry(l, struct gwfloor, link);
			uint8_t k[5] = {'G'}, v[8];

			vms_put_be32(k + 1, (uint32_t)l->key);
			vms_put_le64(v, g->incarnation);
			rc = vms_meta_batch_put(b, k, 5, v, 8);
		}
	for (uint32_t i = 0; i <= n->branches.mask && !rc; i++)
		for (struct vms_hlink *l = n->branches.bucket[i]; l && !rc; l = l->next) {
			struct branch *br = vms_hlink_entry(l, struct branch, link);
			uint8_t k[9] = {'F'}, v[16];

			vms_put_be64(k + 1, l->key);
			if (br->floor_forget && !br->floor_dirty)
				rc = vms_meta_batch_del(b, k, 9);
			br->floor_forget = false;
			if (!br->floor_dirty)
				continue;
			vms_put_le64(v, br->snap_gen);
			vms_put_le64(v + 8, br->lun_fence);
			rc = vms_meta_batch_put(b, k, 9, v, 16);
		}
	return rc;
}

/* May the log below pos go, as far as this partition is concerned? */
static bool part_free_below(struct part *p, uint64_t pos)
{
	uint64_t keep = p->feeds ? feed_keep_seq(p) : UINT64_MAX;
	bool stay = false;

	/* asked for each generation, and the answer mostly: first what costs nothing */
	if (p->ovl.npieces + p->ovl.nranges && p->clean_pos < pos)
		return false;
	for (size_t i = p->recs_head; i < p->recs.n; i++) {
		uint64_t s = p->recs_first + (i - p->recs_head);

		if (p->recs.d[i].log_pos >= pos && !p->copied)
			break;
		/* a drain must not go before the copies of what it drained: replay would
		 * bring those back (copy_forward() takes it along) */
		stay |= p->recs.d[i].log_pos >= pos;
		if (stay && p->recs.d[i].log_pos && p->recs.d[i].log_pos < pos &&
		    (p->recs.d[i].type == VMS_REC_DRAIN || p->recs.d[i].type == VMS_REC_TRIM))
			return false;
		if (p->recs.d[i].log_pos == 0 || p->recs.d[i].log_pos >= pos)
			continue;
		if (s >= keep || s > p->applied || s > p->all_durable || s > p->own_durable)
			return false;
	}
	return true;
}

void log_lend(struct vms_node *n, struct log_lend *l, uint64_t pos)
{
	if (l->on) {
		l->pos = pos < l->pos ? pos : l->pos;
		return;
	}
	*l = (struct log_lend){.next = n->lends, .pos = pos, .on = true};
	if (n->lends)
		n->lends->prev = l;
	n->lends = l;
}

void log_return(struct vms_node *n, struct log_lend *l)
{
	if (!l->on)
		return;
	if (l->prev)
		l->prev->next = l->next;
	else
		n->lends = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->on = false;
}

static bool lent_below(const struct vms_node *n, uint64_t pos)
{
	for (const struct log_lend *l = n->lends; l && n->mut != MUT_LOG_LENT; l = l->next)
		if (l->pos < pos)
			return true;
	return false;
}

static uint64_t free_gen(struct vms_node *n)
{
	uint64_t oldest = vms_wal_gen_oldest(n->wal), open = vms_wal_gen_open(n->wal);
	uint64_t best = 0;

	if (vms_wal_durable_pos(n->wal) < n->copy_end)
		return 0;
	for (uint64_t g = oldest; g < open; g++) {
		uint64_t pos = vms_wal_gen_start_pos(n->wal, g + 1);
		bool ok = true;

		if (vms_wal_durable_pos(n->wal) < pos || lent_below(n, pos))
			break;
		for (uint32_t i = 0; i < n->nparts && ok; i++)
			ok = !n->part[i] || part_free_below(n->part[i], pos);
		/* A drain keeps its generation as long as copies of what it drained lie
		 * behind it: all of them may go at once, though none of the first alone. */
		if (ok)
			best = g;
	}
	return best;
}

static void ckpt_commit(struct vms_node *n, struct dio *d, int status);

static void ckpt_done(struct vms_node *n, struct dio *d, int status)
{
	struct ckpt *k = n->ckpt;

	(void)d;
	if (status == VMS_E_STOPPING)
		return;
	if (status == VMS_E_FULL || status == VMS_E_NOSPC) {
		/* nothing happened: the same commit again, when there is room */
		n->nospc = true;
		k->started_ms = n->now_ms + 1000;
		k->retry = true;
		return;
	}
	if (status) {
		node_fatal(n, status,
			   "the index commit failed (%s): stopping, nothing more is "
			   "acknowledged; check the disk, then start again",
			   vms_err_text(status));
		return;
	}
	k->running = false;
	vms_pages_thaw(n->pages);
	n->st.checkpoints++;
	n->ckpt_ms = n->now_ms;
	n->hungry = false;
	n->ckpt_ended++;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p || p->frozen_drain <= p->drain_ckpt)
			continue;
		p->drain_ckpt = p->frozen_drain;
		if (p->primary)
			drain_safe(n, p);
	}
	for (unsigned i = 0; i < n->npeers; i++)
		n->peer[i]->ckpt_dirty = true;
	if (k->free_gen && n->mut != MUT_FREE_EARLY)
		vms_wal_gen_free(n->wal, k->free_gen);
	for (size_t i = 0; i < n->unlink_next.n; i++)
		VMS_VEC_PUSH(&n->unlink, n->unlink_next.d[i]);
	VMS_VEC_CLEAR(&n->unlink_next);
	VMS_VEC_FOREACH (&n->punch_next, h)
		VMS_VEC_PUSH(&n->punch, *h);
	VMS_VEC_CLEAR(&n->punch_next);
	if (n->nwait)
		admission_timer(n);
}

static void ckpt_commit(struct vms_node *n, struct dio *d, int status)
{
	struct ckpt *k = n->ckpt;

	if (status == VMS_E_STOPPING)
		return;
	if (status) {
		node_fatal(n, status,
			   "syncing the containers failed (%s): stopping, nothing more is "
			   "acknowledged; check the disk, then start again",
			   vms_err_text(status));
		return;
	}
	k->d.fn = ckpt_done;
	(void)d;
	n->disk.ops->meta_commit(n->disk.ctx, &n->batch, dio_token(n, &k->d));
}

static void ckpt_start(struct vms_node *n, uint64_t gen)
{
	struct ckpt *k = n->ckpt;
	struct vms_meta_batch *b = &n->batch;
	uint64_t keep = OUTCOME_KEEP_MS(n), pos = 0;
	uint8_t v[24];
	int rc;

	vms_meta_batch_reset(b);
	k->running = true;
	n->ckpt_begun++;
	n->ckpt_want = false;
	k->retry = false;
	k->free_gen = gen;
	k->started_ms = n->now_ms;
	n->rewrite = false;
	rc = ckpt_put_ident(n, b, false);
	if (!rc)
		rc = scrub_put(n, b);
	for (uint32_t i = 0; i < n->nparts && !rc; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		if (p->state_dirty || gen) {
			rc = put_part(n, p, b);
			p->state_dirty = false;
		}
		if (!rc)
			rc = put_ctrs(n, p, b);
		if (!rc && p->forget_outcomes)
			rc = vms_outcomes_drop_part(&n->outcomes, p->number, b);
		p->forget_outcomes = false;
	}
	if (!rc)
		rc = vms_outcomes_expire(&n->outcomes, n->now_ms > keep ? n->now_ms - keep : 0, b);
	if (gen) {
		k->tail = vms_wal_tail_after(n->wal, gen);
		pos = vms_wal_gen_start_pos(n->wal, gen + 1);
		vms_put_le64(v, k->tail.log_pos);
		vms_put_le64(v + 8, k->tail.frame_seq);
		vms_put_le64(v + 16, k->tail.generation);
		if (!rc)
			rc = vms_meta_batch_put(b, "T", 1, v, 24);
		if (!rc)
			rc = vms_outcomes_store(&n->outcomes, pos, b);
		for (uint32_t i = 0; i < n->nparts; i++)
			if (n->part[i])
				part_recs_pop(n->part[i], pos);
	}
	if (!rc && n->outcomes_learnt && !gen)
		rc = vms_outcomes_store(&n->outcomes, LEARN_OUTCOME_POS + 1, b);
	n->outcomes_learnt = false;
	if (!rc && n->floors_dirty)
		rc = put_floors(n, b);
	n->floors_dirty = false;
	VMS_VEC_FOREACH (&n->punch_new, h)
		VMS_VEC_PUSH(&n->punch_next, *h);
	VMS_VEC_CLEAR(&n->punch_new);
	if (!rc)
		rc = vms_pages_freeze(n->pages, b);
	if (rc) {
		node_fatal(n, rc, "out of memory in a checkpoint");
		return;
	}
	if (gen && n->mut == MUT_FREE_EARLY)
		vms_wal_gen_free(n->wal, gen);
	if (n->mut == MUT_NO_CTR_SYNC) {
		ckpt_commit(n, &k->d, 0);
		return;
	}
	k->d.fn = ckpt_commit;
	n->disk.ops->ctr_sync(n->disk.ctx, dio_token(n, &k->d));
}

uint64_t ckpt_request(struct vms_node *n)
{
	n->ckpt_want = true;
	node_wake_at(n, n->now_ms);
	return n->ckpt_begun + 1;
}

/* Is there anything a checkpoint would make durable or safe? */
static bool ckpt_worth(struct vms_node *n)
{
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		if (p->drain_applied > p->drain_ckpt)
			return true;
		VMS_VEC_FOREACH (&p->ctrs, c)
			if (c->state == 3 || c->dead_dirty)
				return true;
	}
	return n->floors_dirty || n->rewrite;
}

struct unlink_io {
	struct dio d;
};

static void unlinked(struct vms_node *n, struct dio *d, int status)
{
	n->unlinks--;
	if (status && status != VMS_E_STOPPING && status != VMS_E_NOENT)
		node_log(n, VMS_LOG_WARN, "space of dead chunks could not be given back: %s",
			 vms_err_text(status));
	free(d);
}

void ckpt_timer(struct vms_node *n)
{
	struct ckpt *k = n->ckpt;
	uint64_t gen;

	if (!k) {
		k = n->ckpt = calloc(1, sizeof(*k));
		vms_assert(k);
		n->ckpt_ms = n->now_ms;
	}
	while (n->unlink.n && n->unlinks < 8) {
		struct unlink_io *io = calloc(1, sizeof(*io));

		vms_assert(io);
		io->d.fn = unlinked;
		n->unlinks++;
		n->disk.ops->ctr_unlink(n->disk.ctx, VMS_VEC_POP(&n->unlink), dio_token(n, &io->d));
	}
	while (n->punch.n && n->unlinks < 8) {
		struct hole h = VMS_VEC_POP(&n->punch);
		struct part *p = node_part(
			n, vms_addr_partition(vms_addr_make(h.ctr, 0), n->conf.part_bits));
		struct ctr *c = p ? part_ctr(p, h.ctr) : NULL;
		struct unlink_io *io;

		if (!c || c->state == 3)
			continue; /* the whole file goes */
		io = calloc(1, sizeof(*io));
		vms_assert(io);
		io->d.fn = unlinked;
		n->unlinks++;
		n->st.punched += h.len / VMS_CHUNK_BYTES;
		n->disk.ops->ctr_punch(n->disk.ctx, h.ctr, h.off, h.len, dio_token(n, &io->d));
	}
	/* tell the members what is durable here */
	for (unsigned x = 0; x < n->npeers; x++) {
		struct peer *pe = n->peer[x];
		struct vms_msg m = {.type = VMS_MSG_CHECKPOINT, .partition = VMS_PART_NONE};
		uint8_t *body;
		unsigned c = 0;

		if (!pe->conn || !pe->ckpt_dirty)
			continue;
		pe->ckpt_dirty = false;
		body = malloc(16 * (size_t)n->nparts);
		vms_assert(body);
		for (uint32_t i = 0; i < n->nparts && c < 8192; i++) {
			struct part *p = n->part[i];

			if (!p || (!p->known && !p->learn) || p->primary ||
			    p->conf.primary != pe->id)
				continue;
			vms_put_le32(body + 16 * c, i);
			vms_put_le32(body + 16 * c + 4, 0);
			vms_put_le64(body + 16 * c + 8, p->drain_ckpt);
			c++;
		}
		m.body = body;
		m.body_bytes = 16 * c;
		m.aux = node_fill(n); /* writers waiting for room here go on */
		node_send(n, pe->conn, &m);
		free(body);
	}
	if (k->running) {
		if (k->retry && n->now_ms >= k->started_ms) {
			k->retry = false;
			n->disk.ops->meta_commit(n->disk.ctx, &n->batch, dio_token(n, &k->d));
		}
		return;
	}
	vms_outcomes_expire(&n->outcomes,
			    n->now_ms > OUTCOME_KEEP_MS(n) ? n->now_ms - OUTCOME_KEEP_MS(n) : 0,
			    NULL);
	if (n->phase < SP_RUN || n->stopping)
		return;
	gen = vms_wal_gen_oldest(n->wal) < vms_wal_gen_open(n->wal) ? free_gen(n) : 0;
	if (gen) {
		n->freed_ms = n->now_ms;
	} else if (vms_wal_gen_oldest(n->wal) < vms_wal_gen_open(n->wal) && log_permille(n) > 400 &&
		   n->now_ms - n->freed_ms > n->tm.tick_ms &&
		   n->now_ms - n->copy_ms > n->tm.tick_ms / 4) {
		n->copy_ms = n->now_ms;
		copy_forward(n);
	}
	if (gen || n->ckpt_want ||
	    (n->now_ms - n->ckpt_ms >= (n->hungry ? 1000 : 5000) && ckpt_worth(n)))
		ckpt_start(n, gen);
}

void ckpt_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_rd r;

	peer_fill(c->peer, m->aux);
	vms_rd_init(&r, m->body, m->body_bytes);
	while (vms_rd_left(&r) >= 16) {
		struct part *p = node_part(n, vms_rd_u32(&r));
		struct member *mb;
		uint64_t seq;

		vms_rd_skip(&r, 4);
		seq = vms_rd_u64(&r);
		mb = p && p->known && p->primary ? part_member(p, c->peer) : NULL;
		if (!mb || seq <= mb->ckpt_seq)
			continue;
		mb->ckpt_seq = seq;
		drain_safe(n, p);
	}
}

void ckpt_peer_up(struct vms_node *n, struct peer *pe)
{
	(void)n;
	pe->ckpt_dirty = true;
}

/* ---- clean stop: everything durable, then the mark ---- */

static void stop_marked(struct vms_node *n, struct dio *d, int status)
{
	(void)d;
	if (status == VMS_E_STOPPING)
		return;
	if (status == VMS_E_NOSPC || status == VMS_E_FULL) {
		/* it starts as after a crash, then: nothing is lost */
		node_log(n, VMS_LOG_WARN,
			 "no room for the clean mark: the next start takes longer");
		status = 0;
	}
	if (status) {
		node_fatal(n, status, "cannot write the clean mark: %s", vms_err_text(status));
		return;
	}
	n->stopped = true;
	n->up.stopped(n->up.ctx);
}

void stop_step(struct vms_node *n)
{
	struct ckpt *k = n->ckpt;

	if (n->stop_said || n->stopped)
		return;
	if (!n->stop_closed) {
		n->stop_closed = true;
		for (struct conn *c = n->conn_list; c; c = c->next)
			if (!c->closing) {
				c->closing = true;
				n->up.close(n->up.ctx, c->id);
			}
	}
	if (vms_wal_durable_pos(n->wal) < vms_wal_appended_pos(n->wal)) {
		n->want_sync = true;
		return;
	}
	if (n->phase == SP_CLEAN || (k && k->running) || n->applies) {
		node_wake_at(n, n->now_ms + 2);
		return;
	}
	if (!k) {
		k = n->ckpt = calloc(1, sizeof(*k));
		vms_assert(k);
	}
	n->stop_said = true;
	vms_meta_batch_reset(&n->batch);
	if (ckpt_put_ident(n, &n->batch, true)) {
		node_fatal(n, VMS_E_NOMEM, "out of memory while stopping");
		return;
	}
	k->d.fn = stop_marked;
	n->disk.ops->meta_commit(n->disk.ctx, &n->batch, dio_token(n, &k->d));
}
