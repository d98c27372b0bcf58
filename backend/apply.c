// SPDX-License-Identifier: GPL-2.0-only
/*
 * The apply lane: committed records take effect on pages and containers, in seq
 * order, on every replica alike: drains and remaps in apply_moves.c, what needs no write in
 * apply_now.c, opening and sealing of containers here.
 * Keeps invariants 1, 27 (rules A1, A7, B1, B5).
 */
#include "backend/apply.h"

#include <stdlib.h>
#include <string.h>

#include "backend/apply_int.h"
#include "backend/checkpoint.h"
#include "backend/ctr.h"
#include "backend/ctr_list.h"
#include "backend/dedup.h"
#include "backend/digest.h"
#include "backend/drain.h"
#include "backend/lack.h"
#include "backend/learn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

void apply_job_free(struct apply_job *j)
{
	log_return(j->n, &j->lend);
	lack_twins_free(j->twins);
	free(j->buf);
	free(j->patch);
	free(j);
}

void apply_job_end(struct vms_node *n, struct part *p, struct apply_job *j)
{
	p->applied = j->seq;
	p->apply = NULL;
	part_stands(n, p, false);
	lack_end(n, p);
	p->state_dirty = true;
	n->applies--;
	apply_job_free(j);
}

static void apply_hold(struct vms_node *n, struct part *p, uint64_t ms)
{
	p->hold_ms = n->now_ms + ms;
	p->apply_wait = true;
	n->apply_waits++;
	node_wake_at(n, p->hold_ms);
}

/* The record from the start, later: what it needs may be there then. */
void apply_job_again(struct vms_node *n, struct part *p, struct apply_job *j, uint64_t ms)
{
	p->apply = NULL;
	n->applies--;
	apply_job_free(j);
	apply_hold(n, p, ms);
}

void apply_abort(struct vms_node *n, struct part *p)
{
	struct apply_job *j = p->apply;

	p->page_wait = false;
	part_stands(n, p, false);
	lack_end(n, p);
	p->peer_seq = 0;
	if (p->apply_wait) {
		p->apply_wait = false;
		n->apply_waits--;
	}
	if (!j)
		return;
	p->apply = NULL;
	n->applies--;
	j->p = NULL;
	if (j->io)
		j->dead = true; /* freed when its I/O ends */
	else
		apply_job_free(j);
}

static void job_written(struct vms_node *n, struct dio *d, int status)
{
	struct apply_job *j = (struct apply_job *)((char *)d - offsetof(struct apply_job, d));
	struct part *p = j->p;

	j->io = false;
	if (j->dead) {
		apply_job_free(j);
		return;
	}
	if (status == VMS_E_NOSPC) {
		/* nothing refers to these bytes yet: the same write is tried again */
		n->nospc = true;
		n->space_ms = n->now_ms + 500;
		j->state = JOB_RETRY;
		j->retry_ms = n->now_ms + 500;
		return;
	}
	if (status == VMS_E_STOPPING)
		return; /* closing: apply_abort() frees it */
	if (status) {
		node_fatal(n, status,
			   "writing container %09llx failed (%s): stopping, nothing more "
			   "is acknowledged; check the disk, then start again",
			   (unsigned long long)j->ctr, vms_err_text(status));
		return;
	}
	if (j->type == VMS_REC_DRAIN || j->type == VMS_REC_REMAP) {
		apply_moves_finish(n, p, j);
	} else {
		struct ctr *c = part_ctr(p, j->ctr);

		/* not before: a checkpoint would take the index's word for a header or
		 * footer that its sync did not cover, and replay would not repeat it */
		c->state = j->type == VMS_REC_CTR_OPEN ? 1 : 2;
		c->dirty = true;
		apply_job_end(n, p, j);
	}
	apply_run(n, p);
}

void apply_job_write(struct vms_node *n, struct apply_job *j)
{
	unsigned k = 1;

	/* header and footer blocks alone, or a header and the segment's chunks behind it */
	j->iov[0] = (struct vms_iov){j->buf, j->seg_off ? VMS_CHUNK_BYTES : j->write_bytes};
	for (unsigned i = 0; j->seg_off && i < j->nchunks; i++) {
		const struct vms_iov *last = &j->iov[k - 1];

		if ((const uint8_t *)last->base + last->len == j->at[i])
			j->iov[k - 1].len += VMS_CHUNK_BYTES;
		else
			j->iov[k++] = (struct vms_iov){j->at[i], VMS_CHUNK_BYTES};
	}
	j->state = JOB_WRITE;
	j->io = true;
	j->d.fn = job_written;
	n->disk.ops->ctr_write(n->disk.ctx, j->ctr, j->write_off, j->iov, k, dio_token(n, &j->d));
}

struct apply_job *apply_job_new(struct vms_node *n, struct part *p, const struct vms_rec *r,
				unsigned blocks)
{
	struct apply_job *j = calloc(1, sizeof(*j));

	vms_assert(j && !p->apply);
	j->n = n;
	j->p = p;
	j->type = r->type;
	j->seq = r->seq;
	j->buf = malloc((size_t)blocks * VMS_CHUNK_BYTES);
	vms_assert(j->buf);
	memset(j->buf, 0, VMS_CHUNK_BYTES); /* chunks are filled by who names them */
	j->write_bytes = (size_t)blocks * VMS_CHUNK_BYTES;
	p->apply = j;
	n->applies++;
	return j;
}

/* ---- containers ---- */

static void ctr_open_start(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	uint64_t number = vms_get_le64(r->meta);
	struct vms_ctr_header h = {.ctr = number,
				   .partition = p->number,
				   .epoch = r->epoch,
				   .incarnation = vms_get_le64(r->meta + 8)};
	struct ctr *c;
	struct apply_job *j;

	if (learn_ghost(p, r->seq, number)) {
		p->applied = r->seq;
		return;
	}
	c = part_ctr_add(p, number);
	if (c->state) { /* replayed: the index has it */
		p->applied = r->seq;
		return;
	}
	c->epoch = r->epoch;
	c->incarnation = h.incarnation;
	p->opening = number;
	if (p->open_ordered == number) {
		p->open_ordered = 0;
		p->open_ctr = number;
		p->open_seg = 0;
		p->open_chunks = 0;
	}
	memcpy(h.cluster_uuid, n->conf.cluster_uuid, 16);
	j = apply_job_new(n, p, r, 1);
	j->ctr = number;
	j->write_off = 0;
	vms_ctr_header_encode(j->buf, &h);
	apply_job_write(n, j);
}

/* The container's fingerprints are there: the footer with them. */
static void seal_list(struct vms_node *n, void *arg, int status, const uint8_t *body, size_t bytes,
		      uint32_t segs, bool any)
{
	struct apply_job *j = arg;
	struct vms_ctr_footer f = {
		.ctr = j->ctr, .length_bytes = j->write_off, .nchunks = j->nchunks};

	j->io = false;
	if (j->dead) {
		apply_job_free(j);
		return;
	}
	if (status)
		return; /* closing: apply_abort() frees it */
	if (any) {
		f.segs = segs;
		f.list_bytes = (uint32_t)bytes;
		f.list_crc = vms_crc32c(0, body, bytes);
		free(j->buf);
		j->write_bytes = (1 + vms_ctr_list_blocks(bytes)) * VMS_CHUNK_BYTES;
		j->buf = calloc(1, j->write_bytes);
		vms_assert(j->buf);
		memcpy(j->buf + VMS_CHUNK_BYTES, body, bytes);
	}
	vms_ctr_footer_encode(j->buf, &f);
	apply_job_write(n, j);
}

static void ctr_seal_start(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	uint64_t number = vms_get_le64(r->meta), length = vms_get_le64(r->meta + 8);
	struct ctr *c = part_ctr(p, number);
	struct apply_job *j;

	if (!c || c->state != 1) {
		p->applied = r->seq;
		return;
	}
	j = apply_job_new(n, p, r, 1);
	j->ctr = number;
	j->write_off = length;
	j->nchunks = c->chunks;
	j->state = JOB_BASE;
	j->io = true;
	ctr_list_read(n, number, c->segs, false, seal_list, j);
}

void apply_run(struct vms_node *n, struct part *p)
{
	if (learn_holds(n, p))
		return;
	while (!p->apply && !p->apply_wait && p->applied < p->committed && !n->poisoned) {
		uint64_t s = p->applied + 1;
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;

		if (!pr || pr->type == VMS_REC_WRITE || pr->type == VMS_REC_ZERO ||
		    pr->type == VMS_REC_OUTCOME || pr->type == VMS_REC_VIEW ||
		    pr->type == VMS_REC_CEILING) {
			p->applied = s;
			continue;
		}
		if (vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0 ||
		    ((r.type == VMS_REC_CTR_OPEN || r.type == VMS_REC_CTR_SEAL) &&
		     r.meta_bytes < 16)) {
			node_fatal(n, VMS_E_CORRUPT, "partition %u: record %llu is damaged",
				   p->number, (unsigned long long)s);
			return;
		}
		p->state_dirty = true;
		switch (r.type) {
		case VMS_REC_DRAIN:
		case VMS_REC_REMAP:
			if (!apply_branches_known(n, p, &r))
				return;
			apply_moves_start(n, p, &r);
			break;
		case VMS_REC_CTR_OPEN:
			ctr_open_start(n, p, &r);
			break;
		case VMS_REC_CTR_SEAL:
			ctr_seal_start(n, p, &r);
			break;
		case VMS_REC_TRIM:
		case VMS_REC_DROP:
			p->page_wait = !(r.type == VMS_REC_TRIM ? apply_trim(n, p, &r)
								: apply_drop(n, p, &r));
			if (p->page_wait) {
				apply_hold(n, p, 10);
				return;
			}
			p->applied = s;
			break;
		case VMS_REC_SWEEP:
			apply_sweep(n, p, &r);
			p->applied = s;
			break;
		case VMS_REC_PUNCH:
			apply_punch(n, p, &r);
			p->applied = s;
			break;
		case VMS_REC_DIGEST:
			if (digest_apply(n, p, s))
				return;
			p->applied = s;
			break;
		case VMS_REC_SHARE:
			apply_share(p, &r);
			p->applied = s;
			if (p->primary)
				dedup_shared(n, p);
			break;
		default:
			p->applied = s;
			break;
		}
	}
	drain_applied(n, p);
}

/* Segment writes that met a full disk, chunks asked from another replica. */
void apply_timer(struct vms_node *n)
{
	if (!n->applies && !n->apply_waits)
		return;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];
		struct apply_job *j = p ? p->apply : NULL;

		if (p && p->apply_wait && n->now_ms >= p->hold_ms) {
			p->apply_wait = false;
			n->apply_waits--;
			apply_run(n, p);
			continue;
		}
		if (!j || n->now_ms < j->retry_ms)
			continue;
		if (j->state == JOB_RETRY) {
			apply_job_write(n, j);
		} else if (j->state == JOB_PAGES) {
			apply_moves_finish(n, p, j);
			if (!p->apply)
				apply_run(n, p);
		} else if (j->state == JOB_PEER)
			apply_peer_ask(n, p, j);
	}
}
