// SPDX-License-Identifier: GPL-2.0-only
/*
 * Start-up: index, then log. Records only go in (overlay, outcomes, numbers);
 * nothing counts as committed beyond what the last checkpoint applied, until the
 * next view is formed. Then the same apply lane as ever repeats the drains that
 * the checkpoint did not hold. Drains it did hold only take their chunks from
 * the overlay again. Keeps invariants 1, 4, 27 (rules A1, A8).
 */
#include "backend/replay.h"

#include <string.h>

#include "backend/branch.h"
#include "backend/copyfwd.h"
#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/meta.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_session.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/views.h"
#include "backend/wal.h"
#include "include/disk.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

struct load {
	struct vms_node *n;
	int rc;
	struct vms_errmsg *msg;
};

static int load_part(void *arg, const uint8_t *k, uint32_t kb, const uint8_t *v, uint32_t vb)
{
	struct load *l = arg;
	int bytes = vms_meta_check(k, kb, v, vb);
	struct part *p;

	if (kb != 3 || (bytes != 80 && bytes != 88 && bytes != 96 && bytes != 120) || v[0] != 1 ||
	    vms_get_be16(k + 1) >= l->n->nparts) {
		l->rc = vms_fail(l->msg, VMS_E_CORRUPT, "index: partition state is damaged");
		return 1;
	}
	p = node_part_make(l->n, vms_get_be16(k + 1));
	p->mem_flag = v[1];
	p->view_epoch = p->ck_view_epoch = vms_get_le64(v + 8);
	p->view_first = p->ck_view_first = vms_get_le64(v + 16);
	p->drain_applied = p->drain_ckpt = vms_get_le64(v + 24);
	p->next_pos = vms_get_le64(v + 32);
	p->ceiling_ordered = p->ceiling = vms_get_le64(v + 40);
	if (vms_get_le64(v + 48) > p->next_ctr)
		p->next_ctr = vms_get_le64(v + 48);
	p->replay_applied = vms_get_le64(v + 64);
	p->live_chunks = vms_get_le64(v + 72);
	if (bytes >= 88)
		p->gc_cycle = vms_get_le64(v + 80);
	if (bytes >= 96) {
		if (v[2] > COPY_DELETING) {
			l->rc = vms_fail(l->msg, VMS_E_CORRUPT,
					 "index: partition state is damaged");
			return 1;
		}
		p->copy_state = v[2];
		p->log_from = vms_get_le64(v + 88);
	}
	views_decode(v, (uint32_t)bytes, &p->ck_view);
	return 0;
}

static int load_ctr(void *arg, const uint8_t *k, uint32_t kb, const uint8_t *v, uint32_t vb)
{
	struct load *l = arg;
	int bytes = vms_meta_check(k, kb, v, vb);
	struct part *p;
	struct ctr *c;

	if (kb != 9 || bytes < 40 || (bytes > 40 && (uint32_t)bytes != 40 + vms_get_le32(v + 4))) {
		l->rc = vms_fail(l->msg, VMS_E_CORRUPT, "index: container entry is damaged");
		return 1;
	}
	p = node_part_make(l->n, vms_addr_partition(vms_addr_make(vms_get_be64(k + 1), 0),
						    l->n->conf.part_bits));
	c = part_ctr_add(p, vms_get_be64(k + 1));
	c->state = v[0];
	c->shared = c->sharing = v[1] & 1;
	ctr_segs(c, vms_get_le32(v + 4));
	if (bytes > 40)
		memcpy(c->used, v + 40, c->segs);
	c->chunks = (uint32_t)vms_get_le64(v + 8);
	c->epoch = vms_get_le64(v + 16);
	c->incarnation = vms_get_le64(v + 24);
	c->live = vms_get_le64(v + 32);
	if (c->number >= p->next_ctr)
		p->next_ctr = c->number + 1;
	return 0;
}

static int load_dead(void *arg, const uint8_t *k, uint32_t kb, const uint8_t *v, uint32_t vb)
{
	struct load *l = arg;
	int bytes = vms_meta_check(k, kb, v, vb);
	struct part *p = NULL;
	struct ctr *c;

	if (kb == 11 && bytes > 0 && bytes % 8 == 0 && bytes <= 8 * 128)
		p = node_part(l->n, vms_addr_partition(vms_addr_make(vms_get_be64(k + 1), 0),
						       l->n->conf.part_bits));
	c = p ? part_ctr(p, vms_get_be64(k + 1)) : NULL;
	if (!c) {
		l->rc = vms_fail(l->msg, VMS_E_CORRUPT,
				 "index: dead chunks of a container are damaged");
		return 1;
	}
	for (int i = 0; i < bytes / 8; i++)
		places_or(&c->dead, 128u * vms_get_be16(k + 9) + (uint32_t)i,
			  vms_get_le64(v + 8 * i));
	return 0;
}

static int load_floor(void *arg, const uint8_t *k, uint32_t kb, const uint8_t *v, uint32_t vb)
{
	struct load *l = arg;
	int bytes = vms_meta_check(k, kb, v, vb);

	if (kb == 9 && bytes == 16) {
		struct branch *b = node_branch(l->n, vms_get_be64(k + 1), true);

		b->snap_gen = vms_get_le64(v);
		b->lun_fence = vms_get_le64(v + 8);
		b->floor_dirty = true;
		branch_raise(b, b->snap_gen, b->lun_fence);
	} else if (kb == 5 && bytes == 8) {
		node_gwfloor(l->n, vms_get_be32(k + 1), true)->incarnation = vms_get_le64(v);
	} else {
		l->rc = vms_fail(l->msg, VMS_E_CORRUPT, "index: floor is damaged");
		return 1;
	}
	return 0;
}

static int load_range(struct vms_node *n, const char *from, const char *to, vms_meta_iter_fn fn,
		      struct vms_errmsg *msg)
{
	struct load l = {n, 0, msg};
	int rc = n->disk.ops->meta_range(n->disk.ctx, from, 1, to, 1, fn, &l);

	if (l.rc)
		return l.rc;
	return rc < 0 ? vms_fail(msg, rc, "cannot read the index: %s", vms_err_text(rc)) : 0;
}

/* A drain that the index holds already: its chunks leave the overlay. */
static void drained_before(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	int k = vms_rec_moves_decode(r, m, VMS_SEG_ENTRIES_MAX);

	for (int i = 0; i < k; i++) {
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, m[i].branch,
							m[i].extent, m[i].snap_gen, false);
		struct vms_ovl_chunk *c;

		if (!e)
			continue;
		if (m[i].flags & VMS_MOVE_RANGE) {
			struct vms_ovl_chunk *next;

			/* what the range covered has dropped out long ago */
			for (c = e->chunks; c; c = next) {
				next = c->next;
				if (c->chunk < m[i].chunk || c->chunk >= m[i].chunk + m[i].crc)
					continue;
				vms_ovl_drained(&n->ovl, c, m[i].from_seq);
				vms_ovl_chunk_tidy(&n->ovl, c);
			}
			vms_ovl_range_drained(&n->ovl, e, m[i].chunk, m[i].from_seq);
		} else if ((c = vms_ovl_chunk_get(&n->ovl, e, m[i].chunk, false))) {
			vms_ovl_drained(&n->ovl, c, m[i].from_seq);
			vms_ovl_chunk_tidy(&n->ovl, c);
		}
		vms_ovl_ext_tidy(&n->ovl, e);
	}
}

static int replay_rec(void *arg, const struct vms_rec *r, struct vms_rec_ref ref,
		      uint64_t generation);

static int replay_copy(struct vms_node *n, const struct vms_rec *r, struct vms_rec_ref ref,
		       uint64_t generation)
{
	uint64_t at = ref.log_pos + VMS_REC_HEADER_BYTES + r->meta_bytes;
	const uint8_t *p = r->payload;
	size_t left = r->payload_bytes;

	while (left) {
		struct vms_rec in;
		int64_t bytes = vms_rec_decode(p, left, &in, true);
		struct vms_rec_ref iref;
		int rc;

		if (bytes < 0 || in.type == VMS_REC_COPY)
			return VMS_E_CORRUPT;
		iref = (struct vms_rec_ref){at, (uint32_t)bytes};
		rc = replay_rec(n, &in, iref, generation);
		if (rc)
			return rc;
		p += bytes;
		at += (uint64_t)bytes;
		left -= (size_t)bytes;
	}
	return 0;
}

static int replay_rec(void *arg, const struct vms_rec *r, struct vms_rec_ref ref,
		      uint64_t generation)
{
	struct vms_node *n = arg;
	struct part *p;

	if (r->type == VMS_REC_COPY)
		return replay_copy(n, r, ref, generation);
	if (r->type == VMS_REC_NODE_FLOOR) {
		if (r->branch) {
			struct branch *b = node_branch(n, r->branch, true);

			if (r->snap_gen > b->snap_gen)
				b->snap_gen = r->snap_gen;
			if (r->meta_bytes >= 8 && vms_get_le64(r->meta) > b->lun_fence)
				b->lun_fence = vms_get_le64(r->meta);
			b->floor_dirty = true;
			branch_raise(b, b->snap_gen, b->lun_fence);
		} else {
			struct gwfloor *g = node_gwfloor(n, r->op.gateway, true);

			if (r->op.incarnation > g->incarnation)
				g->incarnation = r->op.incarnation;
		}
		n->floors_dirty = true;
		return 0;
	}
	if (r->partition >= n->nparts)
		return VMS_E_CORRUPT;
	p = node_part_make(n, r->partition);
	/* of a copy that was given up: another attempt's records, or none, count */
	if (ref.log_pos < p->log_from || (p->copy_state && n->mut != MUT_LN_MARK))
		return 0;
	part_rec_put(n, p, r, ref, false);
	/* the index has its number, but not yet its entry: it was never swept */
	if (r->type == VMS_REC_CTR_OPEN && r->meta_bytes >= 8 && r->seq > p->replay_applied &&
	    vms_get_le64(r->meta) < p->swept_below)
		p->swept_below = vms_get_le64(r->meta);
	if (r->seq <= p->replay_applied && r->type == VMS_REC_DRAIN)
		drained_before(n, p, r);
	if (r->seq <= p->replay_applied && r->type == VMS_REC_TRIM)
		vms_ovl_trim(&n->ovl, &p->ovl, r->branch, vms_rec_trim_first(r), r->seq);
	return 0;
}

/* A record copied forward lies behind the drain that may have taken it: look at
 * the drains once more when everything has been read. */
static void drains_again(struct vms_node *n, struct part *p)
{
	for (uint64_t s = p->recs_first; p->copied && s <= p->seq_last; s++) {
		struct vms_move m[VMS_SEG_ENTRIES_MAX];
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;
		int k;

		if (!pr || (pr->type != VMS_REC_DRAIN && pr->type != VMS_REC_TRIM) ||
		    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0)
			continue;
		if (s <= p->replay_applied && r.type == VMS_REC_DRAIN) {
			drained_before(n, p, &r);
		} else if (s <= p->replay_applied) {
			vms_ovl_trim(&n->ovl, &p->ovl, r.branch, vms_rec_trim_first(&r), r.seq);
		} else if (r.type == VMS_REC_DRAIN) {
			k = vms_rec_moves_decode(&r, m, VMS_SEG_ENTRIES_MAX);
			for (int i = 0; i < k; i++) {
				struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number,
									m[i].branch, m[i].extent,
									m[i].snap_gen, false);

				for (uint32_t x = 0;
				     e && (m[i].flags & VMS_MOVE_RANGE) && x < e->nranges; x++)
					if (e->range[x].seq == m[i].from_seq &&
					    e->range[x].first == m[i].chunk)
						e->range[x].pins = 1;
			}
		}
	}
}

static int list_ctr(void *arg, uint64_t number, uint64_t size)
{
	struct vms_node *n = arg;
	struct part *p = node_part(n,
				   vms_addr_partition(vms_addr_make(number, 0), n->conf.part_bits));

	(void)size;
	/* swept, the index says so, but the crash came before its file was removed */
	if (p && (number < p->swept_below || p->copy_state != COPY_WHOLE) && !part_ctr(p, number))
		VMS_VEC_PUSH(&n->unlink, number);
	else if (p)
		part_ctr_add(p, number); /* the log opens it again, or a new copy removes it */
	return 0;
}

int replay_open(struct vms_node *n, struct vms_errmsg *msg)
{
	struct vms_wal_conf wc = {.gen_bytes_max = n->conf.gen_bytes_max,
				  .gen_age_ms = n->conf.gen_age_ms};
	struct vms_wal_tail tail = {0, 0, 0};
	uint8_t v[64];
	int rc;

	memcpy(wc.cluster_uuid, n->conf.cluster_uuid, 16);
	rc = vms_meta_get(&n->disk, "V", 1, v, sizeof(v));
	if (rc >= 0) {
		uint64_t id;

		if (rc != 32 || !vms_index_known(vms_get_le32(v)))
			return vms_fail(msg, VMS_E_VERSION,
					"the data directory has a format this "
					"release does not know");
		id = vms_get_le64(v + 24);
		if (vms_get_le32(v + 4) != n->conf.part_bits ||
		    memcmp(v + 8, n->conf.cluster_uuid, 16))
			return vms_fail(msg, VMS_E_CONFIG,
					"the data directory belongs to another cluster");
		if (id && n->id && id != n->id)
			return vms_fail(
				msg, VMS_E_CONFIG,
				"the data directory belongs to node %llu, this is node %llu",
				(unsigned long long)id, (unsigned long long)n->id);
		if (id)
			n->id = id;
	} else if (rc != VMS_E_NOENT) {
		return vms_fail(msg, rc, "cannot read the index: %s", vms_err_text(rc));
	}
	rc = vms_meta_get(&n->disk, "N", 1, v, sizeof(v));
	if (rc >= 9) {
		n->last_incarnation = vms_get_le64(v);
		n->clean_start = v[8];
	} else if (rc != VMS_E_NOENT) {
		return vms_fail(msg, VMS_E_CORRUPT, "index: the node's entry is damaged");
	}
	rc = vms_meta_get(&n->disk, "T", 1, v, sizeof(v));
	if (rc >= 24) {
		tail.log_pos = vms_get_le64(v);
		tail.frame_seq = vms_get_le64(v + 8);
		tail.generation = vms_get_le64(v + 16);
	} else if (rc != VMS_E_NOENT) {
		return vms_fail(msg, VMS_E_CORRUPT, "index: the log's tail is damaged");
	}
	rc = load_range(n, "P", "Q", load_part, msg);
	if (!rc)
		rc = load_range(n, "C", "D", load_ctr, msg);
	if (!rc)
		rc = load_range(n, "D", "E", load_dead, msg);
	if (!rc)
		rc = load_range(n, "F", "H", load_floor, msg);
	if (!rc) {
		rc = vms_outcomes_load(&n->outcomes, &n->disk, n->now_ms);
		if (rc)
			vms_fail(msg, rc, "index: an outcome is damaged");
	}
	if (rc)
		return rc;
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i])
			n->part[i]->swept_below = n->part[i]->next_ctr;
	/* what was dead may not have been punched yet */
	for (uint32_t i = 0; i < n->nparts; i++)
		if (n->part[i])
			VMS_VEC_FOREACH (&n->part[i]->ctrs, c)
				if (c->dead.count)
					ctr_holes(n, c, 0, c->segs);
	rc = vms_wal_open(&n->wal, &n->disk, &wc, &tail, replay_rec, n, msg);
	if (rc)
		return rc;
	if (n->mut != MUT_GEN_LARGE)
		vms_wal_gen_limit(n->wal, vms_wal_size_bytes(n->wal) / NODE_GEN_SHARE);
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		if (p->seq_last < p->replay_applied) {
			p->seq_last = p->replay_applied;
			p->recs_head = p->recs.n = 0;
		}
		if (p->recs_head == p->recs.n)
			p->recs_first = p->seq_last + 1;
		p->committed = p->applied = p->replay_applied;
		drains_again(n, p);
		/* what was overwritten before the checkpoint drops out again: a range
		 * over it may be drained before it would be looked at */
		vms_ovl_commit_all(&n->ovl, &p->ovl, p->committed);
		p->own_durable = p->digest_after = p->seq_last;
		p->all_durable = p->replay_applied;
		p->ceiling = p->ceiling_ordered;
		if (n->clean_start)
			p->intact_view = p->view_epoch;
		drain_scan_due(n, p);
	}
	rc = n->disk.ops->ctr_list(n->disk.ctx, list_ctr, n);
	return rc < 0 ? vms_fail(msg, rc, "cannot list the containers: %s", vms_err_text(rc)) : 0;
}
