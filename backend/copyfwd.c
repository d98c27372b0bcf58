// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copying forward: a partition that cannot drain (a member is missing) must not
 * hold the log of the others. What it still needs from the oldest generation is
 * appended again, verbatim, in COPY records; then that generation can go. Only
 * bounded amounts exist, because the partition takes no new writes meanwhile (one that
 * stands for bytes that nobody has: an eighth of the log).
 * Keeps invariants 1, 31 (rule A8).
 */
#include "backend/copyfwd.h"

#include <stdlib.h>

#include "backend/drain.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/overlay.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"

#define COPY_BYTES	 (256u << 10)
#define COPY_ROUND_BYTES 8192u /* headers of what is copied, and the block it begins */
#define LITTLE_SHARE	 4u

struct copy_out {
	struct vms_iov iov[256];
	struct prec *rec[256];
	uint64_t seq[256];
	unsigned n;
	uint32_t bytes;
	bool count; /* only how much it is */
	uint64_t counted_bytes;
};

static bool needed(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	struct vms_piece *pc = n->piece_buf2;
	struct vms_ovl_ext *e;
	int np;

	if (r->seq > p->applied || r->seq > p->all_durable || r->seq > p->own_durable)
		return true;
	if (r->type != VMS_REC_WRITE && r->type != VMS_REC_ZERO)
		return false;
	e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r->branch, r->extent, r->snap_gen, false);
	np = e ? vms_rec_pieces_decode(r, pc, VMS_WRITE_PIECES_MAX) : 0;
	for (int i = 0; i < np; i++) {
		struct vms_ovl_chunk *c = vms_ovl_chunk_get(&n->ovl, e, pc[i].chunk, false);

		for (struct vms_ovl_piece *x = c ? c->newest : NULL; x; x = x->older)
			if (x->seq == r->seq)
				return true;
	}
	for (uint32_t i = 0; e && i < e->nranges; i++)
		if (e->range[i].seq == r->seq)
			return true;
	return false;
}

/* The overlay's pieces of the record now lie in its copy. */
static void moved(struct vms_node *n, struct part *p, const uint8_t *raw, uint32_t bytes,
		  uint64_t pos)
{
	struct vms_piece *pc = n->piece_buf2;
	struct vms_ovl_ext *e;
	struct vms_rec r;
	uint64_t at;
	int np;

	if (vms_rec_decode(raw, bytes, &r, false) < 0 ||
	    (r.type != VMS_REC_WRITE && r.type != VMS_REC_ZERO))
		return;
	e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r.branch, r.extent, r.snap_gen, false);
	np = e ? vms_rec_pieces_decode(&r, pc, VMS_WRITE_PIECES_MAX) : 0;
	at = pos + VMS_REC_HEADER_BYTES + r.meta_bytes;
	for (int i = 0; i < np; i++) {
		struct vms_ovl_chunk *c = vms_ovl_chunk_get(&n->ovl, e, pc[i].chunk, false);

		for (struct vms_ovl_piece *x = c ? c->newest : NULL; x; x = x->older)
			if (x->seq == r.seq)
				x->data_pos = r.type == VMS_REC_ZERO ? pos : at;
		if (r.type == VMS_REC_WRITE)
			at += vms_mask_sectors(pc[i].mask) * VMS_LB_BYTES;
	}
	for (uint32_t i = 0; e && i < e->nranges; i++)
		if (e->range[i].seq == r.seq)
			e->range[i].rec_pos = pos;
}

static bool flush_out(struct vms_node *n, struct part *p, struct copy_out *o)
{
	struct vms_rec r = {.type = VMS_REC_COPY,
			    .flags = VMS_RF_INTERNAL,
			    .partition = p->number,
			    .payload_bytes = o->bytes};
	struct vms_rec_ref ref;
	uint64_t at;

	if (!o->n)
		return true;
	if (vms_wal_append(n->wal, &r, o->iov, o->n, true, &ref))
		return false;
	at = ref.log_pos + VMS_REC_HEADER_BYTES;
	for (unsigned i = 0; i < o->n; i++) {
		moved(n, p, o->iov[i].base, (uint32_t)o->iov[i].len, at);
		o->rec[i]->log_pos = at;
		at += o->iov[i].len;
	}
	n->copy_end = ref.log_pos + ref.bytes;
	n->want_sync = true;
	n->st.copied += o->n;
	p->copied = true;
	o->n = 0;
	o->bytes = 0;
	return true;
}

static bool copy_part(struct vms_node *n, struct part *p, uint64_t below, bool drains_only,
		      struct copy_out *o)
{
	bool stay = false;

	o->n = 0;
	o->bytes = 0;
	for (size_t i = p->recs_head; i < p->recs.n; i++) {
		struct prec *pr = &p->recs.d[i];
		const uint8_t *raw;
		struct vms_rec r;

		stay |= pr->log_pos >= below;
		if (pr->log_pos == 0 || pr->log_pos >= below)
			continue;
		raw = vms_wal_ptr(n->wal, pr->log_pos);
		if (vms_rec_decode(raw, pr->bytes, &r, false) < 0)
			return false;
		/* older records were copied behind this drain: it follows them, so that
		 * replay still finds it after what it drained */
		if (!(stay && (r.type == VMS_REC_DRAIN || r.type == VMS_REC_TRIM)) &&
		    (drains_only || !needed(n, p, &r)))
			continue;
		stay = true;
		o->counted_bytes += pr->bytes;
		if (o->count)
			continue;
		if (o->n == 256 || (o->n && o->bytes + pr->bytes > COPY_BYTES))
			if (!flush_out(n, p, o))
				return false;
		o->iov[o->n] = (struct vms_iov){raw, pr->bytes};
		o->rec[o->n++] = pr;
		o->bytes += pr->bytes;
	}
	return flush_out(n, p, o);
}

/* Does the partition need copying? *drains: what it has goes by itself but for drains. */
static bool to_copy(struct part *p, bool *drains)
{
	*drains = p && p->known && p->primary ? part_serving(p) && part_members_ready(p)
					      : p && p->repl_conn;
	/* nodes that have a chunk to merge with are away, or nobody has it */
	*drains &= !(p && (p->base_wait || p->bytes_wait));
	/* what drains by itself only needs time */
	return p && !(*drains && !p->copied) && !p->apply;
}

/* Half the reserve is not for copies: without room for ceilings, drains and what begins an
 * epoch nothing would ever leave the log again. Part of a generation frees nothing. What is
 * little against that generation, and against what is left, is copied all the same: more
 * than was taken is free when the generation goes, and nothing else may free it. */
static bool fits(struct vms_node *n, uint64_t below, struct copy_out *o)
{
	uint64_t keep = vms_wal_size_bytes(n->wal) / NODE_GEN_SHARE;
	uint64_t room = vms_wal_free_bytes(n->wal);
	uint64_t gain = below - vms_wal_gen_start_pos(n->wal, vms_wal_gen_oldest(n->wal));
	bool drains, ok = true, little;

	o->count = true;
	o->counted_bytes = 0;
	for (uint32_t i = 0; i < n->nparts && ok; i++)
		ok = !to_copy(n->part[i], &drains) || copy_part(n, n->part[i], below, drains, o);
	o->count = false;
	gain = gain < room ? gain : room;
	little = n->mut != MUT_COPY_NEVER &&
		 o->counted_bytes + COPY_ROUND_BYTES <= gain / LITTLE_SHARE;
	return ok && (o->counted_bytes + keep <= room || little || n->mut == MUT_COPY_FULL);
}

/* The oldest generation cannot go by draining: take along what it still needs. */
void copy_forward(struct vms_node *n)
{
	uint64_t below = vms_wal_gen_start_pos(n->wal, vms_wal_gen_oldest(n->wal) + 1);
	struct copy_out *o = malloc(sizeof(*o));
	bool ok, drains;

	vms_assert(o);
	ok = fits(n, below, o);
	for (uint32_t i = 0; i < n->nparts && ok; i++) {
		struct part *p = n->part[i];

		if (!to_copy(p, &drains))
			continue;
		ok = copy_part(n, p, below, drains, o);
		drain_scan_due(n, p);
		/* nothing of it lies below any more, unless the copy stopped short */
		if (ok && !drains && p->clean_pos < below)
			p->clean_pos = below;
	}
	free(o);
}
