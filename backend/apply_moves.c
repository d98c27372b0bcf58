// SPDX-License-Identifier: GPL-2.0-only
/*
 * The apply lane's drains and remaps. Each writes its chunks from the own overlay, log and
 * containers to the places the record names (one write per segment), checks the checksums in
 * the record, and changes the pages when that write has ended. Replay repeats the same bytes
 * at the same addresses. What lacks bytes asks another replica for them.
 *
 * A chunk that lies whole in the log is written from there; until that write has ended the
 * log is lent (log_lend()).
 */
#include "backend/apply.h"

#include <stdlib.h>
#include <string.h>

#include "backend/apply_int.h"
#include "backend/branch.h"
#include "backend/checkpoint.h"
#include "backend/collect.h"
#include "backend/ctr.h"
#include "backend/dedup.h"
#include "backend/fetch.h"
#include "backend/lack.h"
#include "backend/learn.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PEER_ASKS 4u /* for the bytes of a record, one lease apart */

/* What the record changes depends on the ancestors of its branches: all known? */
bool apply_branches_known(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	int k = vms_rec_moves_decode(r, m, VMS_SEG_ENTRIES_MAX);

	for (int i = 0; i < k; i++) {
		struct branch *b;

		if (m[i].flags & VMS_MOVE_COPY)
			continue;
		b = node_branch(n, m[i].branch, true);
		if (b->known)
			continue;
		branch_ask(n, b);
		p->branch_wait = true;
		return false;
	}
	return true;
}

static bool same_page(const struct vms_move *a, const struct vms_move *b)
{
	return a->branch == b->branch && a->extent == b->extent && a->snap_gen == b->snap_gen;
}

static bool older(const struct vms_move *a, const struct vms_move *b)
{
	return a->branch != b->branch ? a->branch < b->branch : a->snap_gen < b->snap_gen;
}

/* false: the page is damaged, nothing of it was changed. */
static bool page_changes(struct vms_node *n, struct part *p, struct apply_job *j,
			 const struct vms_move *g, unsigned sub)
{
	struct vms_page_key key = {p->number, g->branch, g->extent * VMS_EXTENT_SUBEXTS + sub,
				   g->snap_gen};
	uint16_t index[VMS_SUBEXT_CHUNKS];
	int16_t move_of[VMS_SUBEXT_CHUNKS];
	vms_addr to[VMS_SUBEXT_CHUNKS], eq[VMS_SUBEXT_CHUNKS], old[VMS_SUBEXT_CHUNKS];
	bool ch[VMS_SUBEXT_CHUNKS], hit[VMS_SUBEXT_CHUNKS] = {false};
	vms_addr val[VMS_SUBEXT_CHUNKS], cmp[VMS_SUBEXT_CHUNKS];
	uint16_t lo = (uint16_t)(sub * VMS_SUBEXT_CHUNKS);
	bool data = false;
	struct vms_stack st;
	struct vms_page page;
	unsigned k = 0;
	int rc;

	for (unsigned pass = 0; pass < 2; pass++) /* ranges first, chunks over them */
		for (unsigned i = 0; i < j->nm; i++) {
			const struct vms_move *m = &j->m[i];
			bool range = m->flags & VMS_MOVE_RANGE;
			unsigned count = range ? m->crc : 1;

			if (range != (pass == 0) || !same_page(m, g))
				continue;
			for (unsigned c = m->chunk; c < m->chunk + count; c++) {
				if (c < lo || c >= lo + VMS_SUBEXT_CHUNKS)
					continue;
				hit[c - lo] = true;
				val[c - lo] = m->to;
				cmp[c - lo] = m->from_seq;
				move_of[c - lo] = range ? -1 : (int16_t)i;
				data |= m->to != VMS_ADDR_HOLE;
			}
		}
	for (unsigned c = 0; c < VMS_SUBEXT_CHUNKS; c++)
		if (hit[c]) {
			index[k] = (uint16_t)c;
			to[k] = val[c];
			eq[k] = cmp[c];
			old[k] = VMS_ADDR_HOLE;
			ch[k] = false;
			k++;
		}
	if (!k)
		return true;
	rc = node_stack(n, g->branch, g->snap_gen, &st);
	vms_assert(rc == 0); /* apply_run() has seen to it */
	if (!data &&
	    vms_pages_lookup_stack(n->pages, p->number, key.subext, &st, &page) == VMS_E_NOENT)
		return true; /* holes over nothing */
	rc = vms_pages_apply(n->pages, &key, n->mut == MUT_EMPTY_PAGE ? NULL : &st,
			     n->mut == MUT_REDRAIN ? UINT64_MAX - 1 : j->seq, index, to, k,
			     j->type == VMS_REC_REMAP ? eq : NULL, ch, old);
	if (rc < 0)
		return false;
	for (unsigned i = 0; i < k && rc == 0; i++) {
		if (!ch[i])
			continue;
		gc_moved(n, p, old[i] == VMS_ADDR_LOST ? VMS_ADDR_HOLE : old[i], to[i],
			 move_of[index[i]] >= 0 && (j->m[move_of[index[i]]].flags & VMS_MOVE_REF),
			 j->seq);
		if (move_of[index[i]] >= 0)
			j->changed[move_of[index[i]]] = true;
	}
	return true;
}

static void stub_make(struct vms_node *n, struct part *p, struct vms_ovl_ext *e, uint16_t chunk,
		      vms_addr handed, vms_addr to, uint64_t seq)
{
	struct vms_ovl_chunk *c = vms_ovl_chunk_get(&n->ovl, e, chunk, true);

	if (c->stub) {
		/* moved again before the first move was safe: still known by its old name */
		handed = c->stub_handed;
	}
	vms_ovl_stub_set(&n->ovl, c, handed, to, seq);
	VMS_VEC_PUSH(&p->stubs, ((struct stub_ref){seq, e->branch, e->snap_gen, e->extent, chunk,
						   vms_addr_is_log(handed, n->conf.part_bits)}));
}

/* The bytes are in their places: change pages, take the chunks from the overlay. */
void apply_moves_finish(struct vms_node *n, struct part *p, struct apply_job *j)
{
	bool all = true;
	uint8_t first[VMS_SEG_ENTRIES_MAX]; /* one move of each page */
	unsigned nfirst = 0;
	struct ctr *ct = j->nchunks ? part_ctr_add(p, j->ctr) : NULL;

	if (ct) {
		uint32_t seg = (j->seg_off / VMS_CHUNK_BYTES - 1) / 65;

		if (!ct->state)
			ct->state = 1;
		ctr_segs(ct, seg + 1);
		if (!ct->used[seg]) /* once, also when a page has to be waited for */
			ct->chunks += j->nchunks;
		ct->used[seg] = (uint8_t)j->nchunks;
		ct->dirty = true;
	}
	/* Older layers first: a newer one's first page is a copy of what they show. An
	 * ancestor's number is below that of its descendants (branch.c). */
	for (unsigned i = 0; i < j->nm; i++) {
		unsigned at = 0, k = nfirst;

		if (j->m[i].flags & VMS_MOVE_COPY)
			continue;
		while (at < nfirst && !same_page(&j->m[i], &j->m[first[at]]))
			at++;
		if (at < nfirst)
			continue;
		for (; k && older(&j->m[i], &j->m[first[k - 1]]); k--)
			first[k] = first[k - 1];
		first[k] = (uint8_t)i;
		nfirst++;
	}
	for (unsigned i = 0; i < nfirst; i++)
		for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++)
			all &= page_changes(n, p, j, &j->m[first[i]], s);
	p->page_wait = !all;
	if (!all) { /* the others are changed and will be skipped; repair_page() mends it */
		j->state = JOB_PAGES;
		j->retry_ms = n->now_ms + 10;
		node_wake_at(n, j->retry_ms);
		return;
	}
	for (unsigned i = 0; i < j->nm; i++) {
		struct vms_move *m = &j->m[i];
		struct vms_ovl_ext *e;

		part_ref_count(n, p, m, false);
		if (m->flags & VMS_MOVE_COPY)
			continue;
		e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, m->branch, m->extent, m->snap_gen,
				    p->primary);
		struct vms_ovl_chunk *c;
		struct vms_ovl_view v;

		if (!e)
			continue;
		if (m->flags & VMS_MOVE_RANGE) {
			vms_ovl_range_drained(&n->ovl, e, m->chunk, m->from_seq);
			vms_ovl_ext_tidy(&n->ovl, e);
			continue;
		}
		c = vms_ovl_chunk_get(&n->ovl, e, m->chunk, false);
		if (j->type == VMS_REC_DRAIN && c) {
			if (c->pins)
				c->pins--;
			if (!c->pins)
				c->pin_seq = 0;
			vms_ovl_drained(&n->ovl, c, m->from_seq);
			vms_ovl_commit(&n->ovl, c, p->committed);
		}
		vms_ovl_view(&n->ovl, e, m->chunk, p->committed, &v);
		if (p->primary && !v.newest_seq && n->mut != MUT_EARLY_ADDR) {
			if (j->type == VMS_REC_DRAIN && j->handed[i] && j->handed[i] != m->to)
				stub_make(n, p, e, m->chunk, j->handed[i], m->to, j->seq);
			else if (j->type == VMS_REC_REMAP && j->changed[i])
				stub_make(n, p, e, m->chunk, j->handed[i], m->to, j->seq);
		}
		c = vms_ovl_chunk_get(&n->ovl, e, m->chunk, false);
		if (c)
			vms_ovl_chunk_tidy(&n->ovl, c);
		vms_ovl_ext_tidy(&n->ovl, e);
	}
	vms_assert(p->moves_ordered > 0);
	p->moves_ordered--;
	p->drain_applied = j->seq;
	if (p->primary)
		dedup_applied(n, p, j->type, j->seq, j->m, j->nm);
	if (j->type == VMS_REC_DRAIN) {
		n->st.drains++;
		n->st.drained_chunks += j->nchunks;
		for (unsigned i = 0; i < j->nm; i++)
			n->st.holes += j->m[i].to == VMS_ADDR_HOLE;
	} else {
		n->st.remapped += j->nchunks;
	}
	apply_job_end(n, p, j);
}

static void moves_write(struct vms_node *n, struct part *p, struct apply_job *j)
{
	struct vms_seg sg = {.ctr = j->ctr, .offset_bytes = j->seg_off, .seq = j->seq};

	if (!j->nchunks) {
		apply_moves_finish(n, p, j);
		return;
	}
	for (unsigned i = 0; i < j->nm; i++)
		if (vms_move_placed(&j->m[i])) {
			sg.e[sg.n].addr = j->m[i].to;
			sg.e[sg.n].crc = j->m[i].crc;
			sg.e[sg.n].valid = j->m[i].valid;
			sg.e[sg.n].has_fp = j->m[i].has_fp;
			memcpy(sg.e[sg.n].fp, j->m[i].fp, sizeof(sg.e[sg.n].fp));
			sg.n++;
		}
	vms_seg_encode(j->buf, &sg);
	segs_put(n, &sg);
	for (uint32_t i = 0; i < sg.n; i++)
		segs_verify(n, sg.e[i].addr);
	apply_job_write(n, j);
}

/* Nobody gives the bytes. The lane stands, and looks at the record from the start now and
 * then, as damage is mended in other places; its log is copied forward meanwhile. A member
 * tells the primary, which drops it when it has the bytes (set.c): its copy is made again.
 * The primary itself cannot go on: what it wrote over a damaged chunk is in its log only. */
static void peer_vain(struct vms_node *n, struct part *p, struct apply_job *j)
{
	struct vms_msg m = {.type = VMS_MSG_LEARN, .partition = p->number, .aux = LOP_UNFIT};

	part_stands(n, p, true);
	if (p->known && p->peer_asks == PEER_ASKS)
		node_log(n, VMS_LOG_ERROR,
			 "partition %u: no replica has the bytes of record %llu: %s", p->number,
			 (unsigned long long)j->seq,
			 p->primary ? "nothing of what was written since is taken out of the log "
				      "until one has"
				    : "this copy has to be made again");
	if (p->known && !p->primary && p->repl_conn && p->peer_noes >= PEER_ASKS) {
		p->differs = true;
		m.epoch = p->conf.epoch;
		m.sequence = j->seq;
		node_send(n, p->repl_conn, &m);
	}
	apply_job_again(n, p, j, n->tm.lease_ms);
}

/* Bytes differ from the record's checksum: the own base was unreadable or rotten.
 * The primary has the merged chunk under the address gateways know. */
void apply_peer_ask(struct vms_node *n, struct part *p, struct apply_job *j)
{
	struct vms_msg q = {.type = VMS_MSG_READ_ADDR, .partition = p->number};
	uint8_t body[8 * VMS_SEG_ENTRIES_MAX];
	struct peer *pe = NULL;
	unsigned k = 0;

	/* Nobody keeps anything for a copy that is in no set; one that is being made is given
	 * up by learn.c, and begins with all of it. */
	if (n->mut != MUT_PEER_FOREVER && !p->learn &&
	    (!p->known || (j->asked && p->peer_asks >= PEER_ASKS))) {
		if (n->mut == MUT_STAND_APPLY) {
			for (unsigned i = 0; i < j->nm; i++)
				if (vms_move_placed(&j->m[i]))
					j->m[i].crc = vms_crc32c(0, j->at[j->place[i]],
								 VMS_CHUNK_BYTES);
			moves_write(n, p, j);
			return;
		}
		peer_vain(n, p, j);
		return;
	}
	j->asked = true;
	j->state = JOB_PEER;
	j->retry_ms = n->now_ms + n->tm.lease_ms;
	node_wake_at(n, j->retry_ms);
	for (unsigned x = 0; x < p->nm && !pe; x++) {
		unsigned i = (x + p->peer_asks) % p->nm; /* not always the same one */

		if (i != p->self && p->m[i].peer && p->m[i].peer->conn &&
		    (p->primary || p->m[i].node == p->conf.primary))
			pe = p->m[i].peer;
	}
	p->peer_asks++;
	if (!pe && p->learn)
		pe = node_peer(n, p->conf.primary, false);
	if (!pe || !pe->conn) {
		if (p->bytes_wait)
			peer_vain(n, p, j);
		return;
	}
	for (unsigned i = 0; i < j->nm; i++)
		if (vms_move_placed(&j->m[i])) {
			/* the new address serves when the primary has written it already */
			vms_put_le64(body + 8 * k++, j->m[i].to);
		}
	j->peer_req = n->next_req++;
	q.req_id = j->peer_req;
	q.epoch = p->conf.epoch;
	q.body = body;
	q.body_bytes = 8 * k;
	node_send(n, pe->conn, &q);
}

/* Its place in buf. */
static uint8_t *job_chunk(struct apply_job *j, unsigned place)
{
	return j->buf + (size_t)(1 + place) * VMS_CHUNK_BYTES;
}

static bool chunk_ok(struct apply_job *j, unsigned i)
{
	uint8_t *b = job_chunk(j, j->place[i]);

	if (j->m[i].valid != VMS_MASK_FULL && j->at[j->place[i]] != b) {
		memcpy(b, j->at[j->place[i]], VMS_CHUNK_BYTES);
		j->at[j->place[i]] = b;
	}
	for (unsigned s = 0; s < 8; s++)
		if (!(j->m[i].valid >> s & 1))
			memset(b + s * VMS_LB_BYTES, 0, VMS_LB_BYTES);
	return vms_crc32c(0, j->at[j->place[i]], VMS_CHUNK_BYTES) == j->m[i].crc;
}

/* What does not match, but was found elsewhere or is given up. */
static bool mended(struct vms_node *n, struct part *p, struct apply_job *j, unsigned i)
{
	const uint8_t *found = lack_found(p, j->seq, j->m[i].to);

	if (found) {
		memcpy(job_chunk(j, j->place[i]), found, VMS_CHUNK_BYTES);
		j->at[j->place[i]] = job_chunk(j, j->place[i]);
		if (chunk_ok(j, i))
			return true;
	}
	return lack_given(n, p, j->seq, &j->m[i]) && chunk_ok(j, i);
}

static void moves_check(struct vms_node *n, struct part *p, struct apply_job *j)
{
	struct lack_chunk lack[VMS_SEG_ENTRIES_MAX];
	bool first = p->peer_seq != j->seq;
	struct lack_twins *twins = NULL;
	unsigned k = 0;

	for (unsigned i = 0; i < j->nm; i++)
		if (vms_move_placed(&j->m[i]) && !j->there && !chunk_ok(j, i) &&
		    !mended(n, p, j, i))
			lack[k++] = (struct lack_chunk){j->m[i], j->base[i], j->over[i], j->keep[i],
							j->at[j->place[i]]};
	if (!k) {
		moves_write(n, p, j);
		return;
	}
	if (first) {
		p->peer_seq = j->seq;
		p->peer_asks = p->peer_noes = 0;
		n->st.corrupt += !j->baseless; /* that is no damage */
		node_log(n, j->baseless ? VMS_LOG_INFO : VMS_LOG_WARN,
			 j->baseless ? "partition %u: record %llu is of a branch that "
				       "was deleted: asking another replica"
				     : "partition %u: own copy of a chunk does not "
				       "match record %llu: asking another replica",
			 p->number, (unsigned long long)j->seq);
		twins = lack_twins(n, p, j->seq, j->m, j->nm);
	}
	if (twins) {
		lack_twins_free(twins);
		apply_job_again(n, p, j, 1); /* with what lies under these */
		return;
	}
	lack_note(n, p, j->seq, lack, k, j->twins_away);
	apply_peer_ask(n, p, j);
}

/* The timer asks again. A partition that stands does not wait for that, as its log cannot be
 * copied forward while there is a job. */
static void peer_no(struct vms_node *n, struct part *p, struct apply_job *j)
{
	if (p->bytes_wait)
		peer_vain(n, p, j);
}

void apply_peer_reply(struct vms_node *n, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	struct apply_job *j = p ? p->apply : NULL;
	const uint8_t *pay = m->npayload ? m->payload[0].base : NULL;
	size_t left = m->npayload ? m->payload[0].len : 0;
	bool later = false;
	unsigned k = 0;

	if (!j || j->state != JOB_PEER || j->peer_req != m->req_id)
		return;
	if (m->status) {
		p->peer_noes += !vms_err_retryable(m->status);
		peer_no(n, p, j);
		return;
	}
	for (unsigned i = 0; i < j->nm; i++) {
		const uint8_t *b;
		int16_t st;

		if (!vms_move_placed(&j->m[i]))
			continue;
		if (16 * (k + 1) > m->body_bytes)
			return;
		b = m->body + 16 * k++;
		st = (int16_t)vms_get_le16(b + 12);
		later |= st == VMS_E_AGAIN;
		if (st && st != VMS_E_BAD_SECTORS)
			continue;
		if (left < VMS_CHUNK_BYTES)
			return;
		memcpy(job_chunk(j, j->place[i]), pay, VMS_CHUNK_BYTES);
		j->at[j->place[i]] = job_chunk(j, j->place[i]);
		pay += VMS_CHUNK_BYTES;
		left -= VMS_CHUNK_BYTES;
	}
	for (unsigned i = 0; i < j->nm; i++)
		if (vms_move_placed(&j->m[i]) && !chunk_ok(j, i)) {
			p->peer_noes += !later;
			peer_no(n, p, j);
			return;
		}
	moves_write(n, p, j);
	apply_run(n, p);
}

/* Sectors of a chunk that are whole. */
static void keep_set(struct apply_job *j, unsigned i, const struct fetch_ent *e)
{
	uint8_t base = e->skip ? 0 : e->status == VMS_E_BAD_SECTORS ? e->valid : VMS_MASK_FULL;

	if (e->status && e->status != VMS_E_BAD_SECTORS)
		base = 0;
	/* nothing is damaged, but it is not what the record says: what lies below is wrong */
	if ((base | j->over[i]) == VMS_MASK_FULL)
		base = 0;
	j->keep[i] = base | j->over[i];
}

static void bases_done(struct vms_node *n, struct fetch *f)
{
	struct apply_job *j = f->arg;
	struct part *p = j->p;
	bool again = false, away = false;

	j->io = false;
	if (j->dead) {
		apply_job_free(j);
		fetch_free(f);
		return;
	}
	for (unsigned i = 0; i < j->nm; i++) {
		if (!vms_move_placed(&j->m[i]) || j->there)
			continue;
		again |= f->e[i].status == VMS_E_STOPPING;
		away |= f->e[i].status == VMS_E_AGAIN;
		away |= j->out && (f->e[i].status == VMS_E_GONE || f->e[i].status == VMS_E_UNKNOWN);
		if (f->e[i].status && f->e[i].status != VMS_E_BAD_SECTORS)
			memset(f->e[i].buf, 0, VMS_CHUNK_BYTES);
		if (j->patched[i])
			chunk_merge(f->e[i].buf, j->patch + (size_t)j->place[i] * VMS_CHUNK_BYTES,
				    j->patched[i]);
		keep_set(j, i, &f->e[i]);
		if (j->twins && vms_crc32c(0, f->e[i].buf, VMS_CHUNK_BYTES) != j->m[i].crc)
			j->twins_away |= lack_twins_merge(j->twins, f, &j->m[i], f->e[i].buf,
							  &j->over[i], &j->keep[i]);
	}
	fetch_free(f);
	if (!again && away) {
		/* nodes that have a base are away, or the copy is out (in the set again it
		 * reads its own containers) */
		apply_job_again(n, p, j, n->tm.tick_ms / 4);
		return;
	}
	if (!again)
		moves_check(n, p, j);
	/* when all was at hand this runs inside apply_run(), which goes on itself */
}

void apply_moves_start(struct vms_node *n, struct part *p, const struct vms_rec *r)
{
	struct apply_job *j;
	struct fetch *f;
	uint64_t filled = 0;
	int k;

	j = apply_job_new(n, p, r, 1 + VMS_SEG_ENTRIES_MAX);
	k = vms_rec_moves_decode(r, j->m, VMS_SEG_ENTRIES_MAX);
	if (k < 0) {
		node_fatal(n, VMS_E_CORRUPT, "partition %u: record %llu cannot be decoded",
			   p->number, (unsigned long long)r->seq);
		return;
	}
	j->nm = (unsigned)k;
	/* Nobody keeps chunks for a copy that is in no set, and those of its own containers
	 * are asked of the members, too: what has gone there is no damage here. */
	j->out = !p->known && !p->learn;
	if (p->peer_seq == r->seq) /* it lacked something before */
		j->twins = lack_twins(n, p, r->seq, j->m, j->nm);
	f = fetch_new(n, j->nm + lack_twins_count(j->twins));
	lack_twins_fetch(n, p, j->twins, f, j->nm);
	f->arg = j;
	f->done = bases_done;
	f->patient = true;
	for (unsigned i = 0; i < j->nm; i++) {
		struct vms_move *m = &j->m[i];
		struct vms_ovl_view v;
		struct vms_page page;
		struct seen seen;
		int rc;

		f->e[i].skip = true;
		if (m->flags & VMS_MOVE_RANGE)
			continue;
		rc = m->flags & VMS_MOVE_COPY
			     ? 0
			     : part_see(n, p, m->branch, m->extent, m->snap_gen, &seen);
		vms_assert(rc == 0); /* apply_run() has seen to it */
		if (r->type == VMS_REC_DRAIN) {
			vms_ovl_view(&n->ovl,
				     vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, m->branch,
						     m->extent, m->snap_gen, false),
				     m->chunk, m->from_seq, &v);
			j->handed[i] = v.newest_seq ? v.addr : 0;
			vms_ovl_view_stack(&n->ovl, &seen.ovl, m->chunk, m->from_seq, VMS_ADDR_ASK,
					   &v);
		} else if (!(m->flags & VMS_MOVE_COPY)) {
			j->handed[i] = vms_ovl_handed(&n->ovl, &seen.ovl, m->chunk, m->from_seq);
		}
		if (!vms_move_placed(m))
			continue;
		j->there = learn_has(n, p, r->seq, m->to);
		if (j->there)
			continue;
		j->ctr = vms_addr_container(m->to);
		j->seg_off = vms_seg_header_offset(vms_addr_offset_bytes(m->to));
		j->place[i] = vms_seg_index(vms_addr_offset_bytes(m->to));
		if (j->place[i] >= VMS_SEG_ENTRIES_MAX) {
			node_fatal(n, VMS_E_CORRUPT,
				   "partition %u: record %llu names a bad address", p->number,
				   (unsigned long long)r->seq);
			fetch_free(f);
			return;
		}
		f->e[i].buf = job_chunk(j, j->place[i]);
		j->at[j->place[i]] = f->e[i].buf;
		filled |= 1ull << j->place[i];
		j->nchunks++;
		if (r->type == VMS_REC_REMAP) {
			f->e[i].addr = j->base[i] = m->from_seq;
			f->e[i].skip = false;
			continue;
		}
		if (chunk_in_log(n, &v)) {
			j->at[j->place[i]] = chunk_in_log(n, &v);
			log_lend(n, &j->lend, v.src[0]->data_pos);
			j->over[i] = VMS_MASK_FULL;
			continue;
		}
		if ((v.have | v.zero) == VMS_MASK_FULL) {
			/* all of it lies in the log: to its place at once */
			chunk_resolve(n, p, &v, NULL, m->chunk, f->e[i].buf, &j->patched[i],
				      &f->e[i].addr);
			j->patched[i] = 0;
			j->over[i] = VMS_MASK_FULL;
			continue;
		}
		if (part_page(n, p, &seen, m->chunk / VMS_SUBEXT_CHUNKS, &page))
			memset(page.entry, 0, sizeof(page.entry));
		j->baseless |= node_branch(n, m->branch, true)->lost;
		f->e[i].skip = false;
		if (!j->patch) {
			j->patch = malloc((size_t)VMS_SEG_ENTRIES_MAX * VMS_CHUNK_BYTES);
			vms_assert(j->patch);
		}
		chunk_resolve(n, p, &v, &page, m->chunk,
			      j->patch + (size_t)j->place[i] * VMS_CHUNK_BYTES, &j->patched[i],
			      &f->e[i].addr);
		j->base[i] = f->e[i].addr;
		j->over[i] = j->patched[i];
	}
	/* a place that no move names is written all the same */
	for (unsigned i = 0; i < j->nchunks; i++)
		if (!(filled >> i & 1)) {
			memset(job_chunk(j, i), 0, VMS_CHUNK_BYTES);
			j->at[i] = job_chunk(j, i);
		}
	j->write_off = j->seg_off;
	j->write_bytes = (size_t)(1 + j->nchunks) * VMS_CHUNK_BYTES;
	j->state = JOB_BASE;
	j->io = true;
	fetch_start(n, f);
}
