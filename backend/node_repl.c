// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sequence of a partition: order, replicate, acknowledge, commit.
 *
 * Records to a peer and acknowledgements are merged per turn: one frame with
 * many records of many partitions. A backup takes only the next seq, only from
 * the connection on which it answered VIEW_STATE. Commit goes in seq order:
 * durable (or held, for memory-mode records) on all members, and no gateway left
 * with an older page. Keeps invariants 2, 3, 5, 6, 28.
 */
#include "backend/node_repl.h"

#include <stdlib.h>
#include <string.h>

#include "backend/apply.h"
#include "backend/branch.h"
#include "backend/ctr.h"
#include "backend/htab.h"
#include "backend/learn.h"
#include "backend/lease.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_write.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define NODE_PEER_WINDOW (16u << 20) /* record bytes in flight to one peer */
#define NODE_LAYERS_MAX	 16u	     /* undrained snap_gens of one extent before it is drained */

/* ---- records in the log ---- */

struct prec *part_rec(struct part *p, uint64_t seq)
{
	struct prec *r;

	if (seq < p->recs_first || seq > p->seq_last ||
	    seq - p->recs_first >= p->recs.n - p->recs_head)
		return NULL;
	r = &p->recs.d[p->recs_head + (seq - p->recs_first)];
	return r->log_pos ? r : NULL;
}

static void recs_push(struct part *p, uint64_t seq, struct prec rec)
{
	size_t have = p->recs.n - p->recs_head;

	if (!have)
		p->recs_first = seq;
	if (seq < p->recs_first) {
		/* copied forward from a generation that is gone: extend the front */
		size_t add = p->recs_first - seq;

		VMS_VEC_RESERVE(&p->recs, p->recs.n + add);
		memmove(&p->recs.d[p->recs_head + add], &p->recs.d[p->recs_head],
			have * sizeof(rec));
		memset(&p->recs.d[p->recs_head], 0, add * sizeof(rec));
		p->recs.n += add;
		p->recs_first = seq;
		p->recs.d[p->recs_head] = rec;
		return;
	}
	while (p->recs_first + (p->recs.n - p->recs_head) < seq)
		(void)VMS_VEC_ADD(&p->recs);
	if (seq - p->recs_first < p->recs.n - p->recs_head)
		p->recs.d[p->recs_head + (seq - p->recs_first)] = rec;
	else
		VMS_VEC_PUSH(&p->recs, rec);
}

/* Forget records whose log is being freed. */
void part_recs_pop(struct part *p, uint64_t below_pos)
{
	for (size_t i = p->recs_head; p->copied && i < p->recs.n; i++)
		if (p->recs.d[i].log_pos < below_pos)
			p->recs.d[i].log_pos = 0;
	while (p->recs_head < p->recs.n && p->recs.d[p->recs_head].log_pos < below_pos) {
		p->recs_head++;
		p->recs_first++;
	}
	if (p->recs_head > 1024 && p->recs_head > p->recs.n / 2) {
		memmove(p->recs.d, &p->recs.d[p->recs_head],
			(p->recs.n - p->recs_head) * sizeof(*p->recs.d));
		p->recs.n -= p->recs_head;
		p->recs_head = 0;
	}
	if (p->recs_head == p->recs.n) {
		p->recs_head = p->recs.n = 0;
		p->recs_first = p->seq_last + 1;
		p->copied = false;
	}
}

static void pin_move(struct vms_node *n, struct part *p, const struct vms_move *m, bool on)
{
	struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, m->branch, m->extent,
						m->snap_gen, on);
	struct vms_ovl_chunk *c;

	if (m->flags & VMS_MOVE_RANGE) {
		/* one record alone may name it: a second one would make holes of
		 * what was drained in between */
		for (uint32_t x = 0; e && x < e->nranges; x++)
			if (e->range[x].seq == m->from_seq && e->range[x].first == m->chunk)
				e->range[x].pins = on;
		if (e)
			vms_ovl_ext_tidy(&n->ovl, e);
		return;
	}
	c = e ? vms_ovl_chunk_get(&n->ovl, e, m->chunk, on) : NULL;
	if (!c)
		return;
	if (on) {
		if (!c->pins++ || m->from_seq > c->pin_seq)
			c->pin_seq = m->from_seq;
	} else if (c->pins) {
		c->pins--;
		c->pin_seq = 0; /* not known exactly: it all counts as undrained */
		vms_ovl_chunk_tidy(&n->ovl, c);
	}
	vms_ovl_ext_tidy(&n->ovl, e);
}

void part_ref_count(struct vms_node *n, struct part *p, const struct vms_move *m, bool on)
{
	uint64_t number = vms_addr_container(m->to);
	struct ctr *c;

	if (!(m->flags & VMS_MOVE_REF) || vms_addr_partition(m->to, n->conf.part_bits) != p->number)
		return;
	/* its CTR_OPEN may not be applied yet (replay) */
	c = on ? part_ctr_add(p, number) : part_ctr(p, number);
	if (on)
		c->refs_ordered++;
	else if (c && c->refs_ordered)
		c->refs_ordered--;
}

/* A DRAIN or REMAP is ordered (on), or void: what it names stays until then. */
static void moves_hold(struct vms_node *n, struct part *p, const struct vms_rec *r, bool on)
{
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	int k = vms_rec_moves_decode(r, m, VMS_SEG_ENTRIES_MAX);

	for (int i = 0; i < k; i++) {
		if (r->type == VMS_REC_DRAIN)
			pin_move(n, p, &m[i], on);
		part_ref_count(n, p, &m[i], on);
	}
	if (on)
		p->moves_ordered++;
	else
		p->moves_ordered--;
}

/* A PUNCH is ordered (on), or void: nobody may refer to the container until it is
 * known which places have died. */
static void punch_named(struct part *p, const struct vms_rec *r, bool on)
{
	struct ctr *c = r->meta_bytes >= 8 ? part_ctr(p, vms_get_le64(r->meta)) : NULL;

	if (c && on)
		c->punching++;
	else if (c && c->punching)
		c->punching--;
}

/* A SWEEP or SHARE is ordered (on), or void. */
static void ctrs_named(struct part *p, const struct vms_rec *r, bool on)
{
	for (uint32_t i = 0; i + 8 <= r->meta_bytes; i += 8) {
		struct ctr *c = part_ctr(p, vms_get_le64(r->meta + i));

		if (c && r->type == VMS_REC_SWEEP)
			c->sweeping = on;
		else if (c)
			c->sharing = on || c->shared;
	}
}

/* What a record means as soon as it is in the log, committed or not. */
static void effects(struct vms_node *n, struct part *p, const struct vms_rec *r,
		    struct vms_rec_ref ref, bool live, bool copied)
{
	struct vms_piece *pc = n->piece_buf2;
	struct vms_ovl_ext *e;
	uint64_t at;
	int np;

	switch (r->type) {
	case VMS_REC_WRITE:
	case VMS_REC_ZERO:
		np = vms_rec_pieces_decode(r, pc, VMS_WRITE_PIECES_MAX);
		if (np <= 0)
			break;
		p->has_data = true;
		branch_raise(node_branch(n, r->branch, true), r->snap_gen, 0);
		e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r->branch, r->extent, r->snap_gen,
				    true);
		n->deep |= vms_ovl_deep(e, NODE_LAYERS_MAX);
		at = ref.log_pos + VMS_REC_HEADER_BYTES + r->meta_bytes;
		for (int i = 0; i < np; i++) {
			bool zero = r->type == VMS_REC_ZERO;
			uint8_t mask = pc[i].mask;

			if (n->mut == MUT_MERGE_FULL && mask != VMS_MASK_FULL && !zero &&
			    (mask & 0x81) == 0x81)
				mask = VMS_MASK_FULL;
			if (zero && pc[i].count > 1) {
				vms_ovl_range_add(&n->ovl, e, r->seq, ref.log_pos, pc[i].chunk,
						  pc[i].count);
				continue;
			}
			vms_ovl_piece_add(&n->ovl, vms_ovl_chunk_get(&n->ovl, e, pc[i].chunk, true),
					  r->seq, mask, zero, zero ? ref.log_pos : at,
					  zero && mask == VMS_MASK_FULL
						  ? VMS_ADDR_HOLE
						  : vms_logpos_addr(p->number,
								    r->first_pos + (unsigned)i,
								    n->conf.part_bits),
					  pc[i].crc);
			if (!zero)
				at += vms_mask_sectors(pc[i].mask) * VMS_LB_BYTES;
		}
		vms_ovl_ext_tidy(&n->ovl, e);
		if (r->first_pos + (unsigned)np > p->next_pos)
			p->next_pos = r->first_pos + (unsigned)np;
		if ((r->flags & VMS_RF_MEMORY) && r->seq > p->mem_last)
			p->mem_last = r->seq;
		break;
	case VMS_REC_DRAIN:
	case VMS_REC_REMAP:
		if (copied || r->seq <= p->replay_applied)
			break;
		moves_hold(n, p, r, true);
		break;
	case VMS_REC_PUNCH:
		if (!copied && r->seq > p->replay_applied)
			punch_named(p, r, true);
		break;
	case VMS_REC_SWEEP:
	case VMS_REC_SHARE:
		if (!copied && r->seq > p->replay_applied)
			ctrs_named(p, r, true);
		break;
	case VMS_REC_TRIM:
		if (!copied && r->seq > p->replay_applied)
			VMS_VEC_PUSH(&p->trims,
				     ((struct trim){r->seq, r->branch, vms_rec_trim_first(r),
						    !(r->aux & VMS_TRIM_OVERLAY)}));
		break;
	case VMS_REC_MARK:
		if (r->meta_bytes >= 8 && vms_get_le64(r->meta) > p->gc_cycle)
			p->gc_cycle = vms_get_le64(r->meta);
		break;
	case VMS_REC_CTR_OPEN:
		if (r->meta_bytes >= 8 && vms_get_le64(r->meta) >= p->next_ctr)
			p->next_ctr = vms_get_le64(r->meta) + 1;
		break;
	case VMS_REC_CEILING:
		if (r->meta_bytes >= 8 && vms_get_le64(r->meta) > p->ceiling_ordered)
			p->ceiling_ordered = vms_get_le64(r->meta);
		if ((r->aux & 1) && !copied && r->seq > p->view_first)
			p->mem_flag = true;
		break;
	case VMS_REC_VIEW:
		if (copied || r->meta_bytes < 20 || r->seq < p->view_first)
			break;
		p->view_epoch = vms_get_le64(r->meta);
		p->view_first = r->seq;
		p->mem_flag = p->mem_ordered = p->mem_ok = false;
		if (live)
			p->intact_view = p->view_epoch;
		break;
	default:
		break;
	}
	if (r->op.gateway && r->op.incarnation && (!live || !p->primary))
		vms_outcome_put(&n->outcomes, p->number, &r->op, r->outcome, r->outcome_aux, r->seq,
				ref.log_pos, n->now_ms);
}

/* A record has been appended to the own log (live) or read from it (replay). */
void part_rec_put(struct vms_node *n, struct part *p, const struct vms_rec *r,
		  struct vms_rec_ref ref, bool live)
{
	struct prec rec = {ref.log_pos, r->epoch, ref.bytes, r->type, r->flags};
	struct prec *have = part_rec(p, r->seq);
	bool copied = false;

	if (r->seq <= p->seq_last) {
		/* the same record at a new place; or, when its first place is gone,
		 * seen for the first time */
		if (have && have->epoch == r->epoch)
			copied = true;
		else if (have)
			part_truncate(n, p, r->seq);
		if (!live)
			p->copied = true;
	}
	recs_push(p, r->seq, rec);
	if (r->seq > p->seq_last)
		p->seq_last = r->seq;
	if (r->flags & VMS_RF_INTERNAL && !copied && r->seq > p->last_internal)
		p->last_internal = r->seq;
	effects(n, p, r, ref, live, copied);
	if (live) {
		struct dur *d;

		if (n->dur.n == n->dur.room) {
			size_t room = n->dur.room ? n->dur.room * 2 : 4096;

			d = malloc(room * sizeof(*d));
			vms_assert(d);
			for (size_t i = 0; i < n->dur.n; i++)
				d[i] = n->dur.d[(n->dur.head + i) % n->dur.room];
			free(n->dur.d);
			n->dur.d = d;
			n->dur.head = 0;
			n->dur.room = room;
		}
		d = &n->dur.d[(n->dur.head + n->dur.n++) % n->dur.room];
		*d = (struct dur){ref.log_pos + ref.bytes, p->number, r->seq};
		if (!(r->flags & VMS_RF_MEMORY))
			n->want_sync = true;
	}
}

/* What a void record said of its op is not so: nobody may be answered by it. The slot's
 * entry stays, as that of the op before (which is settled, or the slot would not have
 * been used again): copies that never saw the void record have that one. */
static void outcome_void(struct vms_node *n, struct part *p, const struct prec *pr)
{
	struct vms_outcome *o;
	struct vms_rec r;

	if ((pr->flags & VMS_RF_INTERNAL) || n->mut == MUT_VOID_OUTCOME ||
	    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) <= 0 ||
	    !r.op.gateway || !r.op.incarnation)
		return;
	o = vms_outcome_find(&n->outcomes, p->number, &r.op);
	if (o && o->op.sequence == r.op.sequence && o->seq == r.seq && !o->pending &&
	    o->op.sequence)
		o->op.sequence--;
}

/* Records from `from` on are void: a view without them was formed. */
void part_truncate(struct vms_node *n, struct part *p, uint64_t from)
{
	size_t k;

	if (p->enough_durable >= from)
		p->enough_durable = from - 1;
	for (uint64_t s = p->seq_last; s >= from && s > 0; s--) {
		struct prec *pr = part_rec(p, s);
		struct vms_rec r;

		if (!pr)
			continue;
		outcome_void(n, p, pr);
		/* Replay: nothing is committed yet, and what the index holds was not counted when
		 * it was read: its place has been taken by another record since. */
		if (s <= p->committed || (s <= p->replay_applied && n->mut != MUT_VOID_COUNTED))
			continue;
		if ((pr->type == VMS_REC_DRAIN || pr->type == VMS_REC_REMAP ||
		     pr->type == VMS_REC_SWEEP || pr->type == VMS_REC_SHARE ||
		     pr->type == VMS_REC_PUNCH) &&
		    vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) > 0) {
			if (r.type == VMS_REC_PUNCH)
				punch_named(p, &r, false);
			else if (r.type == VMS_REC_SWEEP || r.type == VMS_REC_SHARE)
				ctrs_named(p, &r, false);
			else
				moves_hold(n, p, &r, false);
		}
	}
	k = 0;
	for (size_t i = 0; i < p->trims.n; i++)
		if (p->trims.d[i].seq < from)
			p->trims.d[k++] = p->trims.d[i];
	p->trims.n = k;
	vms_assert(from > p->applied);
	if (p->committed >= from)
		p->committed = from - 1;
	vms_ovl_void(&n->ovl, &p->ovl, from);
	if (from <= p->recs_first) {
		p->recs_head = p->recs.n = 0;
		p->recs_first = from;
	} else if (from - p->recs_first < p->recs.n - p->recs_head) {
		p->recs.n = p->recs_head + (from - p->recs_first);
	}
	p->seq_last = from - 1;
	if (p->own_durable > p->seq_last)
		p->own_durable = p->seq_last;
}

int part_order(struct vms_node *n, struct part *p, struct vms_rec *r, const struct vms_iov *iov,
	       unsigned niov)
{
	struct vms_rec_ref ref;
	int rc;

	r->partition = p->number;
	r->epoch = p->conf.epoch;
	r->seq = p->seq_last + 1;
	rc = vms_wal_append(n->wal, r, iov, niov, r->flags & VMS_RF_INTERNAL, &ref);
	if (rc)
		return rc;
	part_rec_put(n, p, r, ref, true);
	repl_want(n, p);
	part_mark_dirty(n, p);
	return 0;
}

int part_append_raw(struct vms_node *n, struct part *p, const struct vms_rec *r, const uint8_t *raw,
		    uint32_t bytes)
{
	struct vms_rec_ref ref;
	/* What a primary has ordered must find room: a client record may use the
	 * reserve here, else it would keep back the drains that follow it and that
	 * alone can free the log. Primaries stop ordering long before (admit(), the
	 * window per peer), so only what is in flight gets there. A copy that is being
	 * made gets all of the partition's records at once, holds nobody up when it is
	 * given up, and leaves the reserve to those that need it. */
	bool reserve = !p->learn || n->mut == MUT_LN_RESERVE;
	int rc = vms_wal_append_raw(n->wal, raw, bytes, reserve, &ref);

	if (rc)
		return rc;
	part_rec_put(n, p, r, ref, true);
	/* A restarted primary gets what it lost from a member, outcomes included. */
	if (p->primary && r->op.gateway && r->op.incarnation)
		vms_outcome_put(&n->outcomes, p->number, &r->op, r->outcome, r->outcome_aux, r->seq,
				ref.log_pos, n->now_ms);
	return 0;
}

/* ---- primary to members ---- */

void repl_want(struct vms_node *n, struct part *p)
{
	(void)n;
	if (!p->primary)
		return;
	for (unsigned i = 0; i < p->nm + p->nl; i++) {
		struct member *m = &p->m[i];

		if ((i == p->self && !m->learner) || !m->streaming || m->in_out)
			continue;
		m->in_out = true;
		VMS_VEC_PUSH(&m->peer->out, p->number);
	}
}

void part_fua(struct vms_node *n, struct part *p)
{
	n->want_sync = true;
	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && p->m[i].peer)
			p->m[i].peer->want_fua = true;
}

struct out_frame {
	struct vms_msg m;
	struct vms_iov iov[512];
	uint8_t body[32 * 512];
	unsigned nrec, nbody;
	size_t bytes;
};

static void out_send(struct vms_node *n, struct peer *pe, struct out_frame *f)
{
	if (!f->nrec && !f->nbody && !pe->want_fua)
		return;
	f->m = (struct vms_msg){.type = VMS_MSG_REPLICATE, .partition = VMS_PART_NONE};
	f->m.flags = pe->want_fua ? VMS_F_FUA : 0;
	f->m.aux = f->nrec;
	f->m.body = f->body;
	f->m.body_bytes = f->nbody * 32;
	f->m.payload = f->iov;
	f->m.npayload = f->nrec;
	f->m.payload_bytes = f->bytes;
	pe->want_fua = false;
	n->st.frames_sent++;
	n->st.recs_sent += f->nrec;
	node_send(n, pe->conn, &f->m);
	f->nrec = f->nbody = 0;
	f->bytes = 0;
}

/* How full the log is for client records, in 1/1000. */
uint32_t log_permille(const struct vms_node *n)
{
	uint64_t size = vms_wal_size_bytes(n->wal), client = size - size / 8;
	uint64_t room = vms_wal_room_bytes(n->wal);

	return room >= client ? 0 : (uint32_t)(1000 - room * 1000 / client);
}

/* Record bytes in flight to one peer: what all primaries may have on their way to
 * a log together stays within half its reserve. */
static uint64_t peer_window(const struct vms_node *n)
{
	uint64_t w = vms_wal_size_bytes(n->wal) / 16 / (n->npeers ? n->npeers : 1);

	return w < NODE_PEER_WINDOW ? w : NODE_PEER_WINDOW;
}

bool repl_to_tell(const struct part *p, const struct member *m)
{
	return m->told < p->committed || m->told_all < p->all_durable ||
	       m->told_enough < p->enough_durable;
}

/* How the commit message tells enough_durable: 1 + by how much all_durable is above it; 0:
 * nothing is known, as with a sender that does not tell. */
static uint32_t enough_tell(const struct vms_node *n, const struct part *p)
{
	uint64_t above = p->all_durable - p->enough_durable;

	return p->enough_durable && above < UINT32_MAX && n->mut != MUT_ENOUGH_UNTOLD
		       ? (uint32_t)above + 1
		       : 0;
}

static void peer_out(struct vms_node *n, struct peer *pe, struct out_frame *f)
{
	uint64_t window = peer_window(n);
	size_t keep = 0;

	f->nrec = f->nbody = 0;
	f->bytes = 0;
	for (size_t i = 0; i < pe->out.n; i++) {
		struct part *p = node_part(n, pe->out.d[i]);
		struct member *m = part_member(p, pe);
		bool told = false;

		if (!m || !m->streaming || !p->primary) {
			if (m)
				m->in_out = false;
			continue;
		}
		while (m->sent < p->seq_last && pe->inflight_bytes < window) {
			struct prec *pr = part_rec(p, m->sent + 1);

			if (!pr) {
				node_log(n, VMS_LOG_ERROR,
					 "partition %u: node %u needs record %llu, which is not in "
					 "the log any more",
					 p->number, pe->id, (unsigned long long)m->sent + 1);
				m->streaming = false;
				m->lost = true;
				break;
			}
			if (f->nrec == 512 || f->nbody >= 511 ||
			    (f->nrec && f->bytes + pr->bytes > (1u << 20)))
				out_send(n, pe, f);
			f->iov[f->nrec++] = (struct vms_iov){vms_wal_ptr(n->wal, pr->log_pos),
							     pr->bytes};
			f->bytes += pr->bytes;
			pe->inflight_bytes += pr->bytes;
			m->inflight_bytes += pr->bytes;
			if (m->durable >= m->sent)
				m->progress_ms = m->moved_ms = n->now_ms;
			m->sent++;
			told = true;
		}
		if (told || repl_to_tell(p, m)) {
			/* the commit point rides along; alone it goes for internal records,
			 * whose effects wait for it, and when the partition is quiet */
			uint8_t *b;

			if (f->nbody == 512)
				out_send(n, pe, f);
			b = f->body + 32 * f->nbody++;
			vms_put_le32(b, p->number);
			vms_put_le32(b + 4, enough_tell(n, p));
			vms_put_le64(b + 8, p->conf.epoch);
			vms_put_le64(b + 16, p->committed);
			vms_put_le64(b + 24, p->all_durable);
			m->told = p->committed;
			m->told_all = p->all_durable;
			m->told_enough = p->enough_durable;
		}
		if (m->streaming && m->sent < p->seq_last) {
			pe->out.d[keep++] = p->number; /* window full: an ack goes on */
			continue;
		}
		m->in_out = false;
	}
	pe->out.n = keep;
	out_send(n, pe, f);
}

static void peer_acks(struct vms_node *n, struct peer *pe)
{
	uint8_t body[32 * 256];
	unsigned k = 0;
	size_t keep = 0;

	for (size_t i = 0; i < pe->ack.n; i++) {
		struct part *p = node_part(n, pe->ack.d[i]);
		bool held;

		if (p->repl_conn != pe->conn || p->primary) {
			p->in_ack = false;
			continue;
		}
		held = p->seq_last > p->ack_held &&
		       (pe->held_wanted || pe->unacked_bytes > peer_window(n) / 8);
		if (!held && p->own_durable <= p->ack_durable) {
			if (p->seq_last > p->ack_held)
				pe->ack.d[keep++] = p->number;
			else
				p->in_ack = false;
			continue;
		}
		if (k == 256) {
			struct vms_msg m = {.type = VMS_MSG_REPLICATE,
					    .flags = VMS_F_REPLY,
					    .partition = VMS_PART_NONE,
					    .aux = node_fill(n),
					    .body = body,
					    .body_bytes = k * 32};
			node_send(n, pe->conn, &m);
			k = 0;
		}
		vms_put_le32(body + 32 * k, p->number);
		vms_put_le32(body + 32 * k + 4, 0);
		vms_put_le64(body + 32 * k + 8, p->epoch);
		vms_put_le64(body + 32 * k + 16, p->seq_last);
		vms_put_le64(body + 32 * k + 24, p->own_durable);
		k++;
		p->ack_held = p->seq_last;
		p->ack_durable = p->own_durable;
		if (p->own_durable < p->seq_last)
			pe->ack.d[keep++] = p->number;
		else
			p->in_ack = false;
	}
	pe->ack.n = keep;
	if (k) {
		struct vms_msg m = {.type = VMS_MSG_REPLICATE,
				    .flags = VMS_F_REPLY,
				    .partition = VMS_PART_NONE,
				    .aux = node_fill(n),
				    .body = body,
				    .body_bytes = k * 32};
		node_send(n, pe->conn, &m);
		n->st.acks++;
		pe->unacked_bytes = 0;
		pe->held_wanted = false;
	}
}

void repl_flush_out(struct vms_node *n)
{
	struct out_frame *fr = n->out_frame;

	if (!fr) {
		fr = n->out_frame = malloc(sizeof(*fr));
		vms_assert(fr);
	}
	for (unsigned i = 0; i < n->npeers; i++) {
		struct peer *pe = n->peer[i];

		if (!pe->conn)
			continue;
		if (pe->out.n || pe->want_fua)
			peer_out(n, pe, fr);
		if (pe->ack.n)
			peer_acks(n, pe);
	}
}

/* ---- members ---- */

void repl_ack_want(struct vms_node *n, struct part *p)
{
	struct peer *pe;

	if (p->primary || !p->repl_conn || p->in_ack)
		return;
	pe = node_peer(n, p->conf.primary, false);
	if (!pe || pe->conn != p->repl_conn)
		return;
	p->in_ack = true;
	VMS_VEC_PUSH(&pe->ack, p->number);
}

static uint64_t enough_told(const struct vms_node *n, uint32_t above, uint64_t all)
{
	if (n->mut == MUT_ENOUGH_ALL)
		return all;
	return above && above - 1 <= all ? all - (above - 1) : 0;
}

static void commit_told(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_rd r;

	vms_rd_init(&r, m->body, m->body_bytes);
	while (vms_rd_left(&r) >= 32) {
		struct part *p = node_part(n, vms_rd_u32(&r));
		uint64_t epoch, committed, all, enough;
		uint32_t above = vms_rd_u32(&r);

		epoch = vms_rd_u64(&r);
		committed = vms_rd_u64(&r);
		all = vms_rd_u64(&r);
		if (p && p->learn && p->repl_conn == c->id)
			learn_epoch(p, epoch);
		if (!p || p->repl_conn != c->id || epoch != p->epoch || p->primary)
			continue;
		if (committed > p->told_commit)
			p->told_commit = committed;
		if (all > p->all_durable)
			p->all_durable = all < p->seq_last ? all : p->seq_last;
		enough = enough_told(n, above, all);
		if (enough > p->enough_durable)
			p->enough_durable = enough < p->seq_last ? enough : p->seq_last;
		part_mark_dirty(n, p);
	}
}

void repl_records(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	const uint8_t *at = m->npayload ? m->payload[0].base : NULL;
	size_t left = m->npayload ? m->payload[0].len : 0;
	struct peer *pe = c->peer;

	if (m->flags & VMS_F_FUA)
		n->want_sync = true;
	while (left) {
		struct vms_rec r;
		int64_t bytes = vms_rec_decode(at, left, &r, true);
		struct part *p;

		if (bytes < 0) {
			node_log(n, VMS_LOG_ERROR,
				 "node %u sent a damaged record: closing the "
				 "connection",
				 pe->id);
			c->closing = true;
			n->up.close(n->up.ctx, c->id);
			return;
		}
		p = node_part(n, r.partition);
		if (p && p->learn && p->repl_conn == c->id)
			learn_epoch(p, r.epoch);
		if (p && p->repl_conn == c->id && !p->primary && r.epoch <= p->epoch) {
			struct prec *have = r.seq <= p->seq_last ? part_rec(p, r.seq) : NULL;
			bool next = r.seq == p->seq_last + 1;

			if (have && have->epoch != r.epoch && r.seq > p->committed) {
				part_truncate(n, p, r.seq);
				next = true;
			}
			if (next) {
				int rc = part_append_raw(n, p, &r, at, (uint32_t)bytes);

				if (rc) {
					/* full: nothing of it is taken until the primary, seeing no
					 * progress, asks where it is and sends from there */
					n->st.stale++;
					learn_log_full(n, p);
				} else {
					n->st.recs_recv++;
					pe->unacked_bytes += (uint64_t)bytes;
					if (r.flags & VMS_RF_MEMORY)
						pe->held_wanted = true;
					repl_ack_want(n, p);
				}
			}
		}
		at += bytes;
		left -= (size_t)bytes;
	}
	commit_told(n, c, m);
}

void repl_ack(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct peer *pe = c->peer;
	struct vms_rd r;

	peer_fill(pe, m->aux);
	vms_rd_init(&r, m->body, m->body_bytes);
	while (vms_rd_left(&r) >= 32) {
		struct part *p = node_part(n, vms_rd_u32(&r));
		uint64_t epoch, held, durable;
		struct member *mb;

		vms_rd_skip(&r, 4);
		epoch = vms_rd_u64(&r);
		held = vms_rd_u64(&r);
		durable = vms_rd_u64(&r);
		mb = p && p->known && p->primary ? part_member(p, pe) : NULL;
		/* A learner has only what this process sent it on this connection, in whatever
		 * epoch; it says so once. */
		if (!mb || !mb->streaming || (epoch != p->conf.epoch && !mb->learner))
			continue;
		if (held > mb->sent)
			held = mb->sent;
		if (durable > held)
			durable = held;
		for (uint64_t s = mb->held + 1; s <= held; s++) {
			struct prec *pr = part_rec(p, s);
			uint64_t b = pr ? pr->bytes : 0;

			b = b < mb->inflight_bytes ? b : mb->inflight_bytes;
			mb->inflight_bytes -= b;
			pe->inflight_bytes -= b < pe->inflight_bytes ? b : pe->inflight_bytes;
		}
		if (held >= mb->sent)
			member_inflight_drop(mb); /* nothing is on its way */
		if (held > mb->held || durable > mb->durable)
			mb->progress_ms = mb->moved_ms = n->now_ms;
		if (held > mb->held)
			mb->held = held;
		if (durable > mb->durable)
			mb->durable = durable;
		part_mark_dirty(n, p);
	}
}

/* The end of the durable log has moved. */
void repl_durable(struct vms_node *n)
{
	uint64_t pos = vms_wal_durable_pos(n->wal);

	while (n->dur.n && n->dur.d[n->dur.head].end_pos <= pos) {
		struct dur *d = &n->dur.d[n->dur.head];
		struct part *p = node_part(n, d->part);

		n->dur.head = (n->dur.head + 1) % n->dur.room;
		n->dur.n--;
		if (d->seq > p->own_durable && d->seq <= p->seq_last) {
			p->own_durable = d->seq;
			if (p->primary)
				part_mark_dirty(n, p);
			else
				repl_ack_want(n, p);
			if (p->learn)
				part_mark_dirty(n, p);
		}
	}
	conn_durable(n);
}

/* ---- commit ---- */

/* Must this replica have a record before it is committed? */
static bool part_needs(const struct vms_node *n, const struct part *p, unsigned i)
{
	const struct member *m = &p->m[i];

	if (m->learner)
		return m->node == p->cand && n->mut != MUT_ADD_EARLY;
	return i != p->self && !(n->mut == MUT_DROP_EARLY && p->proposed && !m->streaming);
}

static void commit_one(struct vms_node *n, struct part *p, uint64_t s, struct prec *pr)
{
	struct op *o = p->pend_head && p->pend_head->seq == s ? p->pend_head : NULL;
	struct vms_piece *pc = n->piece_buf2;
	struct vms_rec r;
	int np = 0;

	if (pr && vms_rec_decode(vms_wal_ptr(n->wal, pr->log_pos), pr->bytes, &r, false) < 0) {
		node_fatal(n, VMS_E_CORRUPT, "partition %u: record %llu is damaged in memory",
			   p->number, (unsigned long long)s);
		return;
	}
	if (!pr)
		return; /* before the log's start: known to be applied */
	if (r.type == VMS_REC_WRITE || r.type == VMS_REC_ZERO) {
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r.branch,
							r.extent, r.snap_gen, false);

		np = vms_rec_pieces_decode(&r, pc, VMS_WRITE_PIECES_MAX);
		for (int i = 0; e && i < np; i++) {
			struct vms_ovl_chunk *c;

			if (r.type == VMS_REC_ZERO && pc[i].count > 1) {
				vms_ovl_commit_range(&n->ovl, e, pc[i].chunk, pc[i].count, s);
				continue;
			}
			c = vms_ovl_chunk_get(&n->ovl, e, pc[i].chunk, false);
			if (c)
				vms_ovl_commit(&n->ovl, c, s);
		}
	} else if (r.type == VMS_REC_CEILING) {
		if (r.meta_bytes >= 8 && vms_get_le64(r.meta) > p->ceiling)
			p->ceiling = vms_get_le64(r.meta);
		if ((r.aux & 1) && s > p->view_first)
			p->mem_ok = true;
		p->state_dirty = true;
		part_mark_retry(n, p);
	} else if (r.type == VMS_REC_VIEW) {
		p->ck_view_epoch = r.meta_bytes >= 8 ? vms_get_le64(r.meta) : 0;
		vms_rec_view_decode(&r, &p->ck_view);
		p->ck_view_first = s;
		p->state_dirty = true;
	}
	if (o) {
		p->pend_head = o->next;
		if (!p->pend_head)
			p->pend_tail = NULL;
		n->npend--;
		write_committed(n, p, o, &r, pc, np > 0 ? (unsigned)np : 0);
	}
	if (p->primary && p->state == PS_VIEW && s == p->view_seq)
		part_view_committed(n, p);
}

void repl_advance(struct vms_node *n, struct part *p)
{
	uint64_t held, durable, before = p->committed;

	if (p->primary) {
		if (p->state < PS_VIEW || !part_leased(n, p))
			return;
		held = p->seq_last;
		durable = p->own_durable;
		if (p->cand && p->proposed && !part_learner(p, p->cand))
			return; /* needed, and gone: until its being a member is settled */
		for (unsigned i = 0; i < p->nm + p->nl && n->mut != MUT_ACK_EARLY; i++) {
			if (!part_needs(n, p, i))
				continue;
			if (p->m[i].held < held)
				held = p->m[i].held;
			if (p->m[i].durable < durable)
				durable = p->m[i].durable;
		}
		if (durable > p->all_durable)
			p->all_durable = durable;
		if (p->nm >= n->cluster.min_copies)
			p->enough_durable = p->all_durable;
	} else {
		held = durable = p->told_commit < p->seq_last ? p->told_commit : p->seq_last;
		/* nobody waits for a learner's log: what is not durable in it is not there */
		if (p->learn && durable > p->own_durable && n->mut != MUT_LN_VALID)
			held = durable = p->own_durable;
	}
	while (p->committed < p->seq_last && !n->poisoned) {
		uint64_t s = p->committed + 1;
		struct prec *pr = part_rec(p, s);
		struct op *o = p->pend_head;
		bool memory = pr && (pr->flags & VMS_RF_MEMORY);

		if (s > (memory ? held : durable))
			break;
		if (o && o->seq == s &&
		    (o->inval_left || ((o->req.flags & VMS_F_FUA) && s > durable)))
			break;
		p->committed = s;
		commit_one(n, p, s, pr);
	}
	if (p->committed == before)
		return;
	part_mark_retry(n, p);
	if (p->primary && p->last_internal > before && p->last_internal <= p->committed)
		repl_want(n, p);
	apply_run(n, p);
}

/* Reserve log positions ahead; bit 0 of aux announces memory-mode writes. */
void part_order_ceiling(struct vms_node *n, struct part *p)
{
	struct vms_rec r = {.type = VMS_REC_CEILING, .flags = VMS_RF_INTERNAL};
	uint8_t meta[8];
	uint64_t top = p->next_pos + NODE_CEILING_STEP;
	bool mem = false;

	for (uint32_t i = 0; i <= n->volumes.mask && !mem; i++)
		for (struct vms_hlink *l = n->volumes.bucket[i]; l; l = l->next) {
			struct volume *v = vms_hlink_entry(l, struct volume, link);

			mem |= v->known && v->write_ack == VMS_ACK_MEMORY;
		}
	mem |= p->mem_flag;
	if (top < p->ceiling_ordered)
		top = p->ceiling_ordered;
	if (top > vms_logpos_max(n->conf.part_bits))
		top = vms_logpos_max(n->conf.part_bits);
	vms_put_le64(meta, top);
	r.meta = meta;
	r.meta_bytes = 8;
	r.aux = mem || p->mem_ordered;
	if (part_order(n, p, &r, NULL, 0) == 0 && r.aux)
		p->mem_ordered = true;
}
