// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads. All chunks of a read that lie in one extent are resolved in one step from
 * coherent pages (rules C13); when one of them is under way (ASK, or an own write
 * without answer) the whole piece is read by place at the primary instead.
 *
 * A piece goes: pages known? -> addresses -> chunks cached? -> done. What is missing
 * is asked for once however many wait for it, and an address that turns out to be
 * gone sends the piece back to the start. Keeps invariants 1, 2, 9, 19
 * (rules A4, A5, B5, C7, C8, C10).
 */
#include "target/gw_int.h"

/* ---- pieces ---- */

static struct gw_piece *piece_new(struct vms_gw *gw, struct vms_gw_vol *v, struct gw_req *r,
				  uint64_t chunk, uint32_t n)
{
	struct gw_piece *p = gw_pool_zget(&gw->p_piece);

	gw_list_init(&p->link);
	p->req = r;
	p->vol = v;
	p->extent = (uint32_t)(chunk / VMS_EXTENT_CHUNKS);
	p->chunk0 = (uint16_t)(chunk % VMS_EXTENT_CHUNKS);
	p->n = (uint16_t)n;
	p->partition = vms_extent_partition(v->rec.lineage, p->extent, gw->cluster.part_bits);
	p->t_ms = gw->now_ms;
	if (r) {
		p->req_next = r->pieces;
		r->pieces = p;
		p->req_chunk0 = (uint32_t)(chunk - r->first_chunk);
		r->npend++;
	}
	gw->npieces++;
	return p;
}

static void piece_end(struct vms_gw *gw, struct gw_piece *p, int status)
{
	struct gw_req *r = p->req;

	gw_list_del(&p->link);
	if (r) {
		struct gw_piece **at = &r->pieces;

		while (*at != p)
			at = &(*at)->req_next;
		*at = p->req_next;
		if (status && !r->status) {
			r->status = status;
			r->info_lba = p->info_lba;
		}
	}
	gw_pool_put(&gw->p_piece, p);
	gw->npieces--;
	if (r && --r->npend == 0)
		gw_req_end(gw, r);
}

static void piece_park(struct vms_gw *gw, struct gw_piece *p, uint32_t ms)
{
	if ((!p->req && !p->prefetch) || gw->now_ms - p->t_ms > gw_patience_ms(gw) ||
	    (p->prefetch && p->tries)) {
		piece_end(gw, p, VMS_E_BUSY);
		return;
	}
	p->tries += p->prefetch;
	p->due_ms = gw->now_ms + ms;
	gw_list_add(&gw->parked, &p->link);
	gw_wake_at(gw, p->due_ms);
}

static void piece_fail(struct vms_gw *gw, struct gw_piece *p, int status, unsigned i,
		       unsigned sector)
{
	uint64_t chunk = (uint64_t)p->extent * VMS_EXTENT_CHUNKS + p->chunk0 + i;

	if (!p->status) {
		p->status = status;
		p->info_lba = chunk * VMS_CHUNK_BLOCKS + sector;
	}
	(void)gw;
}

/* ---- data to the command ---- */

/* Place chunk i of the piece. data: 4096 bytes, borrowed; they stay where they are
 * when slot is a cache slot (it is pinned) or stays is set, else they are copied. */
static void piece_put(struct vms_gw *gw, struct gw_piece *p, unsigned i, const uint8_t *data,
		      uint32_t slot, bool stays)
{
	struct gw_req *r = p->req;
	uint32_t ci = p->req_chunk0 + i, start, len;
	uint64_t at;

	if (!r)
		return;
	start = ci ? 0 : r->off0;
	at = ci ? (uint64_t)ci * VMS_CHUNK_BYTES - r->off0 : 0;
	len = VMS_CHUNK_BYTES - start;
	if (len > r->total_bytes - at)
		len = (uint32_t)(r->total_bytes - at);
	if (r->cmd->op == VMS_GW_READ && r->cmd->dest) {
		memcpy(r->cmd->dest + at, data + start, len);
		return;
	}
	if (slot != VMS_CC_NONE) {
		vms_cc_pin(gw->cc, slot);
	} else if (!stays) {
		struct gw_tmp *t = malloc(sizeof(*t));

		vms_assert(t);
		memcpy(t->data, data, VMS_CHUNK_BYTES);
		t->next = r->tmp;
		r->tmp = t;
		data = t->data;
	}
	r->iov[ci].base = data + start;
	r->iov[ci].len = len;
}

static void unput(struct vms_gw *gw, struct gw_req *r, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		uint32_t slot;

		if (!r->iov[i].base)
			continue;
		slot = vms_cc_slot_of(gw->cc, r->iov[i].base);
		if (slot != VMS_CC_NONE)
			vms_cc_unpin(gw->cc, slot);
		r->iov[i].base = NULL;
	}
}

void gw_read_unpin(struct vms_gw *gw, struct gw_req *r)
{
	unput(gw, r, 0, r->nchunks);
}

/* Sectors of chunk i that the command wants. */
static uint8_t wanted_mask(const struct gw_piece *p, unsigned i)
{
	const struct gw_req *r = p->req;
	uint64_t first = ((uint64_t)p->extent * VMS_EXTENT_CHUNKS + p->chunk0 + i) *
			 VMS_CHUNK_BLOCKS;
	uint64_t end = r->cmd->lba + r->cmd->nblocks;
	unsigned lo = first < r->cmd->lba ? (unsigned)(r->cmd->lba - first) : 0;
	unsigned hi = end - first < VMS_CHUNK_BLOCKS ? (unsigned)(end - first) : VMS_CHUNK_BLOCKS;

	return (uint8_t)((0xffu << lo) & (0xffu >> (8 - hi)));
}

/* A chunk of which only the sectors in valid can be read. */
static void piece_put_partial(struct vms_gw *gw, struct gw_piece *p, unsigned i,
			      const uint8_t *data, uint8_t valid)
{
	uint8_t bad;

	if (!p->req)
		return;
	bad = wanted_mask(p, i) & (uint8_t)~valid;
	if (bad)
		piece_fail(gw, p, VMS_E_BAD_SECTORS, i, (unsigned)__builtin_ctz(bad));
	else
		piece_put(gw, p, i, data, VMS_CC_NONE, false);
}

/* Cache a verified chunk; its slot, or VMS_CC_NONE when there is no room. */
static uint32_t cache_fill(struct vms_gw *gw, vms_addr a, const uint8_t *data)
{
	uint32_t slot;

	if (vms_cc_has(gw->cc, a))
		return vms_cc_find(gw->cc, a);
	slot = vms_cc_insert(gw->cc, a);
	if (slot != VMS_CC_NONE)
		memcpy(vms_cc_data(gw->cc, slot), data, VMS_CHUNK_BYTES);
	return slot;
}

static bool chunk_good(struct vms_gw *gw, const uint8_t *data, uint32_t crc)
{
	if (gw_mutant(gw, VMS_GWM_NO_CRC) || vms_crc32c(0, data, VMS_CHUNK_BYTES) == crc)
		return true;
	gw->st.chunks_corrupt++;
	return false;
}

/* Tell a node that its copy of a chunk is bad: once the reader has got another one, or
 * is known to get none. A disk that is damaged all over is not to be drowned: what is
 * held back here, the node's own scrub finds. */
static void repair_send(struct vms_gw *gw, uint32_t node, uint32_t partition, vms_addr a)
{
	struct gw_node *n = gw_node_get(gw, node, false);
	uint8_t body[8];
	struct vms_msg m = {.type = VMS_MSG_REPAIR,
			    .partition = partition,
			    .epoch = gw->part[partition].c.epoch,
			    .body = body,
			    .body_bytes = sizeof(body)};

	if (!n || n->state != GN_READY || gw_mutant(gw, VMS_GWM_NO_REPAIR))
		return;
	if (gw->repair_free_ms < gw->now_ms)
		gw->repair_free_ms = gw->now_ms;
	if (gw->repair_free_ms - gw->now_ms >= GW_REPAIRS_BURST * GW_REPAIR_MS) {
		gw->st.repairs_held++;
		return;
	}
	gw->repair_free_ms += GW_REPAIR_MS;
	vms_put_le64(body, a);
	gw->st.repairs_sent++;
	gw_send(gw, n, &m);
}

/* ---- fetches: chunks by address ---- */

static inline struct gw_fetch **fetch_bucket(struct vms_gw *gw, vms_addr a)
{
	return &gw->fetch_hash[vms_mix64(a) & (GW_HASH - 1)];
}

static void fetch_queue(struct vms_gw *gw, struct gw_fetch *f)
{
	struct gw_part *part = &gw->part[f->partition];

	f->next = NULL;
	if (!part->fetch_head)
		part->fetch_tail = &part->fetch_head;
	*part->fetch_tail = f;
	part->fetch_tail = &f->next;
	if (!part->dirty) {
		part->dirty = true;
		part->dirty_next = gw->dirty_head;
		gw->dirty_head = f->partition;
	}
	gw->want_send = true;
}

static void fetch_bad(struct gw_fetch *f, uint32_t node)
{
	for (unsigned i = 0; i < f->nbad; i++)
		if (f->bad[i] == node)
			return;
	if (f->nbad < VMS_COPIES_MAX)
		f->bad[f->nbad++] = node;
}

/* Ask for an address unless it is on its way; the piece waits for it. bad: the first
 * replica's copy is known to be damaged, there; 0: nothing is known. */
static void fetch_join(struct vms_gw *gw, struct gw_piece *p, unsigned i, vms_addr a, uint32_t bad)
{
	struct gw_fetch **b = fetch_bucket(gw, a), *f = *b;

	while (f && f->addr != a)
		f = f->hash_next;
	if (f) {
		gw->st.chunks_coalesced++;
	} else {
		f = gw_pool_zget(&gw->p_fetch);
		f->addr = a;
		f->partition = vms_addr_partition(a, gw->cluster.part_bits);
		f->t_ms = gw->now_ms;
		f->hash_next = *b;
		*b = f;
		if (bad) {
			const struct vms_part_conf *c = &gw->part[f->partition].c;

			f->corrupt = true;
			f->tried = 1;
			for (uint32_t k = 0; k < c->nmembers; k++)
				if (c->member[k].node == bad)
					f->replica = (uint8_t)((k + 1) % c->nmembers);
			fetch_bad(f, bad);
		}
		fetch_queue(gw, f);
		gw->st.chunks_asked++;
		if (p->prefetch)
			gw->st.readahead_chunks++;
	}
	if (!p->prefetch) {
		struct gw_waiter *w = gw_pool_get(&gw->p_waiter);

		w->piece = p;
		w->index = (uint16_t)i;
		w->next = f->waiters;
		f->waiters = w;
		p->nwait++;
	}
}

static void pages_drop(struct vms_gw *gw, struct gw_piece *p)
{
	unsigned first = p->chunk0 / VMS_SUBEXT_CHUNKS;
	unsigned last = (p->chunk0 + p->n - 1u) / VMS_SUBEXT_CHUNKS;

	for (unsigned s = first; s <= last; s++) {
		struct vms_pc_page *pg = vms_pc_find(gw->pc, p->vol->rec.branch, p->vol->read_gen,
						     p->extent, (uint8_t)s);
		if (pg)
			vms_pc_drop(gw->pc, pg);
		if (p->vol->base)
			gw_base_drop(gw, p->vol, p->extent, (uint8_t)s);
	}
}

/* One of the things the piece waited for is there. */
static void piece_waited(struct vms_gw *gw, struct gw_piece *p)
{
	if (--p->nwait)
		return;
	if (!p->req || p->status) {
		piece_end(gw, p, p->status);
		return;
	}
	if (!p->redo) {
		piece_end(gw, p, 0);
		return;
	}
	p->redo = false;
	p->tries++;
	unput(gw, p->req, p->req_chunk0, p->n);
	pages_drop(gw, p);
	if (p->slow) {
		p->slow = false;
		piece_park(gw, p, GW_RETRY_MS);
	} else {
		gw_piece_run(gw, p);
	}
}

enum fetch_end { FE_DATA, FE_PARTIAL, FE_ZERO, FE_REDO, FE_REDO_SLOW, FE_REDO_LBA, FE_CORRUPT };

/* The fetch has ended; data for FE_DATA (verified) and FE_PARTIAL. */
static void fetch_done(struct vms_gw *gw, struct gw_fetch *f, enum fetch_end how,
		       const uint8_t *data, uint8_t valid)
{
	struct gw_fetch **at = fetch_bucket(gw, f->addr);
	struct gw_waiter *w = f->waiters;
	uint32_t slot = VMS_CC_NONE;

	while (*at != f)
		at = &(*at)->hash_next;
	*at = f->hash_next;
	if (how == FE_DATA)
		slot = cache_fill(gw, f->addr, data);
	for (unsigned i = 0; i < f->nbad && (how == FE_DATA || how == FE_CORRUPT); i++)
		repair_send(gw, f->bad[i], f->partition, f->addr);
	gw_pool_put(&gw->p_fetch, f);
	if (slot != VMS_CC_NONE) {
		data = vms_cc_data(gw->cc, slot);
		vms_cc_pin(gw->cc, slot); /* while we hand it out */
	}
	while (w) {
		struct gw_waiter *next = w->next;
		struct gw_piece *p = w->piece;
		unsigned i = w->index;

		gw_pool_put(&gw->p_waiter, w);
		switch (how) {
		case FE_DATA:
			piece_put(gw, p, i, data, slot, false);
			break;
		case FE_ZERO:
			piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
			break;
		case FE_PARTIAL:
			piece_put_partial(gw, p, i, data, valid);
			break;
		case FE_REDO_LBA:
			p->by_lba = true;
			p->redo = true;
			break;
		case FE_REDO_SLOW:
			p->slow = true;
			p->redo = true;
			break;
		case FE_REDO:
			p->redo = true;
			break;
		case FE_CORRUPT:
			piece_fail(gw, p, VMS_E_CORRUPT, i, 0);
			break;
		}
		piece_waited(gw, p);
		w = next;
	}
	if (slot != VMS_CC_NONE)
		vms_cc_unpin(gw->cc, slot);
}

/* This replica could not give it: ask the next one, or end with `last`. It is lost only
 * when every member's copy is bad: one that did not answer may have a good one. */
static void fetch_next_replica(struct vms_gw *gw, struct gw_fetch *f, enum fetch_end last)
{
	uint32_t members = gw->part[f->partition].c.nmembers;

	if (++f->tried < members && members) {
		f->replica = (uint8_t)((f->replica + 1) % members);
		fetch_queue(gw, f);
	} else if (f->corrupt) {
		fetch_done(gw, f, f->nbad < members ? FE_REDO_SLOW : FE_CORRUPT, NULL, 0);
	} else {
		fetch_done(gw, f, last, NULL, 0);
	}
}

/* The node to ask, or NULL: none that could have it is connected. */
static struct gw_node *fetch_target(struct vms_gw *gw, struct gw_fetch *f)
{
	const struct vms_part_conf *c = &gw->part[f->partition].c;

	for (uint32_t k = 0; k < c->nmembers; k++) {
		uint32_t i = (f->replica + k) % c->nmembers;
		struct gw_node *n = gw_node_get(gw, c->member[i].node, false);

		if (n && n->state == GN_READY) {
			f->replica = (uint8_t)i;
			return n;
		}
		if (vms_addr_is_log(f->addr, gw->cluster.part_bits) && !f->tried)
			return NULL; /* the primary's alone until it has answered */
	}
	return NULL;
}

static void batch_send(struct vms_gw *gw, uint32_t partition, struct gw_node *n, struct gw_batch *b)
{
	struct vms_msg m = {.type = VMS_MSG_READ_ADDR,
			    .partition = partition,
			    .epoch = gw->part[partition].c.epoch,
			    .body = gw->body,
			    .body_bytes = b->n * 8};

	for (uint32_t i = 0; i < b->n; i++)
		vms_put_le64(gw->body + 8 * i, b->f[i]->addr);
	if (n->state != GN_READY || !gw_rpc_send(gw, n, GR_ADDR, b, &m)) {
		for (uint32_t i = 0; i < b->n; i++)
			fetch_queue(gw, b->f[i]);
		gw_pool_put(&gw->p_batch, b);
	}
}

void gw_fetches_send(struct vms_gw *gw)
{
	uint32_t at = gw->dirty_head;

	gw->dirty_head = VMS_PART_NONE;
	while (at != VMS_PART_NONE) {
		struct gw_part *part = &gw->part[at];
		struct gw_fetch *f = part->fetch_head;
		struct gw_batch *b = NULL;
		struct gw_node *to = NULL;
		uint32_t number = at;

		at = part->dirty_next;
		part->dirty = false;
		part->fetch_head = NULL;
		while (f) {
			struct gw_fetch *next = f->next;
			struct gw_node *n = fetch_target(gw, f);

			if (!n) {
				/* the pieces look again, and know how old they are */
				fetch_done(gw, f, FE_REDO_SLOW, NULL, 0);
				f = next;
				continue;
			}
			if (b && (n != to || b->n == GW_ADDR_BATCH)) {
				batch_send(gw, number, to, b);
				b = NULL;
			}
			if (!b) {
				b = gw_pool_get(&gw->p_batch);
				b->n = 0;
				to = n;
			}
			b->f[b->n++] = f;
			f = next;
		}
		if (b)
			batch_send(gw, number, to, b);
	}
}

void gw_addr_reply(struct vms_gw *gw, struct gw_batch *b, uint32_t node, const struct vms_msg *m,
		   int status)
{
	struct vms_rd rd;
	const uint8_t *data = NULL;
	size_t left = 0;

	if (!status && m->body_bytes != b->n * 16)
		status = VMS_E_PROTO;
	if (status) {
		for (uint32_t i = 0; i < b->n; i++) {
			if (status == VMS_E_TIMEOUT || status == VMS_E_DISCONNECTED ||
			    status == VMS_E_UNKNOWN)
				fetch_next_replica(gw, b->f[i], FE_REDO_SLOW);
			else
				fetch_done(gw, b->f[i], FE_REDO_SLOW, NULL, 0);
		}
		gw_pool_put(&gw->p_batch, b);
		return;
	}
	vms_rd_init(&rd, m->body, m->body_bytes);
	if (m->npayload) {
		data = m->payload[0].base;
		left = m->payload[0].len;
	}
	for (uint32_t i = 0; i < b->n; i++) {
		struct gw_fetch *f = b->f[i];
		vms_addr a = vms_rd_u64(&rd);
		uint32_t crc = vms_rd_u32(&rd);
		int st = (int16_t)vms_rd_u16(&rd);
		uint8_t valid = vms_rd_u8(&rd);
		const uint8_t *d = NULL;

		vms_rd_skip(&rd, 1);
		if ((st == 0 || st == VMS_E_BAD_SECTORS) && a != VMS_ADDR_HOLE) {
			if (left < VMS_CHUNK_BYTES) {
				st = VMS_E_CORRUPT;
			} else {
				d = data;
				data += VMS_CHUNK_BYTES;
				left -= VMS_CHUNK_BYTES;
				if (a != f->addr || !chunk_good(gw, d, crc))
					st = VMS_E_CORRUPT;
			}
		}
		switch (st) {
		case 0:
			fetch_done(gw, f, d ? FE_DATA : FE_ZERO, d, 0);
			break;
		case VMS_E_BAD_SECTORS:
			if (d)
				fetch_done(gw, f, FE_PARTIAL, d, valid);
			else
				fetch_done(gw, f, FE_REDO_LBA, NULL, 0);
			break;
		case VMS_E_GONE:
			gw->st.chunks_gone++;
			fetch_done(gw, f, FE_REDO, NULL, 0);
			break;
		case VMS_E_UNKNOWN:
			gw->st.chunks_unknown++;
			fetch_next_replica(gw, f, FE_REDO_LBA);
			break;
		case VMS_E_CORRUPT:
		case VMS_E_IO:
			f->corrupt = true;
			fetch_bad(f, node);
			fetch_next_replica(gw, f, FE_CORRUPT);
			break;
		default:
			fetch_done(gw, f, FE_REDO_SLOW, NULL, 0);
		}
	}
	gw_pool_put(&gw->p_batch, b);
}

/* ---- pages ---- */

struct vms_pc_page *gw_page_good(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent,
				 uint8_t sub, const struct gw_part *part, const struct gw_node *n)
{
	struct vms_pc_page *pg = vms_pc_find(gw->pc, v->rec.branch, v->read_gen, extent, sub);

	if (!pg || pg->node != n->id || pg->session != n->session)
		return NULL;
	if (pg->epoch != part->c.epoch && !gw_mutant(gw, VMS_GWM_OLD_EPOCH))
		return NULL;
	return pg;
}

static void page_request(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n, uint8_t need)
{
	const struct vms_cat_volume *rec = &p->vol->rec;
	struct gw_part *part = &gw->part[p->partition];
	struct gw_pagereq **b = gw_page_bucket(gw, rec->branch, p->extent), *q;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = p->partition,
			    .epoch = part->c.epoch,
			    .branch = rec->branch,
			    .snap_gen = p->vol->read_gen,
			    .lun_fence = p->vol->fence,
			    .extent = p->extent,
			    .aux = need};

	for (q = *b; q; q = q->hash_next) {
		bool stale = false;

		if (q->branch != rec->branch || q->gen != p->vol->read_gen ||
		    q->extent != p->extent || (q->mask & need) != need ||
		    q->epoch != part->c.epoch || q->node != n->id)
			continue;
		for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++)
			stale |= (need >> s & 1) && q->inval_seq[s];
		if (!stale) {
			gw_list_add(&q->waiters, &p->link);
			return;
		}
	}
	if (p->vol->base && gw_base_ask(gw, p, n, need))
		return;
	q = gw_pool_zget(&gw->p_pagereq);
	q->branch = rec->branch;
	q->gen = p->vol->read_gen;
	q->extent = p->extent;
	q->partition = p->partition;
	q->epoch = part->c.epoch;
	q->node = n->id;
	q->session = n->session;
	q->mask = need;
	gw_list_init(&q->waiters);
	gw->st.pages_asked += (unsigned)__builtin_popcount(need);
	if (!gw_rpc_send(gw, n, GR_PAGES, q, &m)) {
		gw_pool_put(&gw->p_pagereq, q);
		piece_park(gw, p, GW_RETRY_MS);
		return;
	}
	q->hash_next = *b;
	*b = q;
	gw_list_add(&q->waiters, &p->link);
}

/* Install the pages of an answer. Returns the sub-extents that came too late. */
static uint8_t pages_install(struct vms_gw *gw, struct gw_pagereq *q, const struct vms_msg *m)
{
	struct vms_gw_vol *v = NULL;
	struct vms_rd rd;
	uint8_t late = 0;
	uint32_t n;

	gw_each(l, &q->waiters)
	{
		v = gw_entry(l, struct gw_piece, link)->vol;
		if (v && v->rec.branch == q->branch && q->gen == VMS_GEN_LIVE)
			break;
		v = NULL;
	}

	vms_rd_init(&rd, m->body, m->body_bytes);
	n = vms_rd_u32(&rd);
	for (uint32_t k = 0; k < n && vms_rd_ok(&rd); k++) {
		uint8_t sub = vms_rd_u8(&rd), flags = vms_rd_u8(&rd);
		uint64_t version;
		const uint8_t *e = NULL;
		struct vms_pc_page *pg;

		vms_rd_skip(&rd, 2);
		version = vms_rd_u64(&rd);
		if (!(flags & VMS_PAGE_EMPTY))
			e = vms_rd_take(&rd, 8 * VMS_SUBEXT_CHUNKS);
		if (!vms_rd_ok(&rd) || sub >= VMS_EXTENT_SUBEXTS)
			break;
		if (version + 1 < q->inval_seq[sub] && !gw_mutant(gw, VMS_GWM_STALE_PAGE)) {
			gw->st.pages_stale++;
			late |= (uint8_t)(1u << sub);
			continue;
		}
		if (v && !v->base && (flags & VMS_PAGE_SHARED))
			gw_base_learn(v, m);
		if (v && v->base && (flags & VMS_PAGE_SHARED) &&
		    gw_base_install(gw, v, q, sub, version, e)) {
			gw->st.pages_installed++;
			continue;
		}
		gw_base_lost(gw, q->branch, q->extent, (uint8_t)(1u << sub));
		pg = vms_pc_find(gw->pc, q->branch, q->gen, q->extent, sub);
		if (pg && pg->node == q->node && pg->session == q->session &&
		    pg->epoch == q->epoch && pg->version > version)
			continue; /* answers to own writes have brought it further */
		pg = vms_pc_insert(gw->pc, q->branch, q->gen, q->extent, sub);
		pg->node = q->node;
		pg->session = q->session;
		pg->epoch = q->epoch;
		pg->version = version;
		pg->own[0] = pg->own[1] = 0;
		if (e)
			for (unsigned i = 0; i < VMS_SUBEXT_CHUNKS; i++)
				pg->entry[i] = vms_get_le64(e + 8 * i);
		else
			memset(pg->entry, 0, sizeof(pg->entry));
		gw_own_mask(gw, pg);
		gw->st.pages_installed++;
	}
	return late;
}

void gw_pages_reply(struct vms_gw *gw, struct gw_pagereq *q, const struct vms_msg *m, int status)
{
	struct gw_pagereq **at = gw_page_bucket(gw, q->branch, q->extent);
	uint8_t late = 0;

	while (*at != q)
		at = &(*at)->hash_next;
	*at = q->hash_next;
	if (!status && gw->part[q->partition].c.epoch == q->epoch)
		late = pages_install(gw, q, m);
	if (status == VMS_E_EPOCH || status == VMS_E_NOT_PRIMARY)
		gw_cat_ask_part(gw, q->partition);
	while (!gw_list_empty(&q->waiters)) {
		struct gw_piece *p = gw_entry(q->waiters.next, struct gw_piece, link);

		gw_list_del(&p->link);
		if (!status) {
			if (late)
				p->by_lba =
					true; /* the chunk is being written: the primary knows */
			p->tries++;
			gw_piece_run(gw, p);
		} else if (vms_err_retryable(status)) {
			piece_park(gw, p, GW_RETRY_MS);
		} else {
			p->info_lba = ((uint64_t)p->extent * VMS_EXTENT_CHUNKS + p->chunk0) *
				      VMS_CHUNK_BLOCKS;
			piece_end(gw, p, status);
		}
	}
	gw_pool_put(&gw->p_pagereq, q);
}

/* ---- by place, at the primary ---- */

static void piece_lba(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n)
{
	const struct vms_cat_volume *rec = &p->vol->rec;
	struct vms_msg m = {.type = VMS_MSG_READ_LBA,
			    .partition = p->partition,
			    .epoch = gw->part[p->partition].c.epoch,
			    .branch = rec->branch,
			    .snap_gen = p->vol->read_gen,
			    .lun_fence = p->vol->fence,
			    .extent = p->extent,
			    .body = gw->body,
			    .body_bytes = p->n * 2u};

	for (unsigned i = 0; i < p->n; i++)
		vms_put_le16(gw->body + 2 * i, (uint16_t)(p->chunk0 + i));
	gw->st.chunks_lba += p->n;
	if (!gw_rpc_send(gw, n, GR_LBA, p, &m))
		piece_park(gw, p, GW_RETRY_MS);
}

void gw_lba_reply(struct vms_gw *gw, struct gw_piece *p, uint32_t node, const struct vms_msg *m,
		  int status)
{
	struct vms_rd rd;
	const uint8_t *data = NULL;
	size_t left = 0;
	bool again = false;

	if (!p->req) {
		piece_end(gw, p, 0);
		return;
	}
	if (!status && m->body_bytes != p->n * 16u)
		status = VMS_E_PROTO;
	if (status) {
		if (status == VMS_E_EPOCH || status == VMS_E_NOT_PRIMARY)
			gw_cat_ask_part(gw, p->partition);
		if (vms_err_retryable(status)) {
			piece_park(gw, p, GW_RETRY_MS);
		} else {
			piece_fail(gw, p, status, 0, 0);
			piece_end(gw, p, status);
		}
		return;
	}
	vms_rd_init(&rd, m->body, m->body_bytes);
	if (m->npayload) {
		data = m->payload[0].base;
		left = m->payload[0].len;
	}
	p->nwait = 1;
	for (unsigned i = 0; i < p->n; i++) {
		vms_addr a = vms_rd_u64(&rd);
		uint32_t crc = vms_rd_u32(&rd);
		int st = (int16_t)vms_rd_u16(&rd);
		uint8_t valid = vms_rd_u8(&rd);
		const uint8_t *d = NULL;

		vms_rd_skip(&rd, 1);
		if ((st == 0 || st == VMS_E_BAD_SECTORS) && a != VMS_ADDR_HOLE) {
			if (left < VMS_CHUNK_BYTES) {
				st = VMS_E_CORRUPT;
			} else {
				d = data;
				data += VMS_CHUNK_BYTES;
				left -= VMS_CHUNK_BYTES;
				if (!chunk_good(gw, d, crc))
					st = VMS_E_CORRUPT;
			}
		}
		if (st == 0) {
			uint32_t slot = VMS_CC_NONE;

			if (d && a != VMS_ADDR_ASK)
				slot = cache_fill(gw, a, d);
			if (p->fill)
				gw_entry_fill(gw, p, i, a);
			if (!d)
				piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
			else if (slot != VMS_CC_NONE)
				piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			else
				piece_put(gw, p, i, d, VMS_CC_NONE, false);
		} else if (st == VMS_E_BAD_SECTORS && d) {
			piece_put_partial(gw, p, i, d, valid);
		} else if ((st == VMS_E_CORRUPT || st == VMS_E_IO) && a > VMS_ADDR_ASK) {
			/* the primary's copy: another member has one too */
			if (vms_cc_has(gw->cc, a)) {
				uint32_t slot = vms_cc_find(gw->cc, a);

				piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			} else {
				fetch_join(gw, p, i, a, node);
			}
		} else if (vms_err_retryable(st) ||
			   (st == VMS_E_CORRUPT && p->tries < GW_TRIES_MAX * 2)) {
			again = true;
		} else {
			piece_fail(gw, p, st, i, 0);
		}
	}
	if (again)
		p->redo = p->slow = true;
	piece_waited(gw, p);
}

/* ---- resolving ---- */

void gw_piece_run(struct vms_gw *gw, struct gw_piece *p)
{
	struct gw_part *part = &gw->part[p->partition];
	struct gw_node *n = gw_primary(gw, p->partition);
	unsigned first = p->chunk0 / VMS_SUBEXT_CHUNKS;
	unsigned last = (p->chunk0 + p->n - 1u) / VMS_SUBEXT_CHUNKS;
	struct vms_pc_page *pg[VMS_EXTENT_SUBEXTS];
	bool map = p->req && p->req->cmd->op == VMS_GW_MAP, ask = false;
	bool status_only = map || (p->req && p->req->cmd->op == VMS_GW_LBA_STATUS);
	uint8_t need = 0;

	if (!p->req && !p->prefetch) {
		piece_end(gw, p, 0);
		return;
	}
	if (!n || n->state != GN_READY) {
		piece_park(gw, p, 2 * GW_RETRY_MS);
		return;
	}
	p->fill = 0;
	if (p->tries > GW_TRIES_MAX)
		p->by_lba = true;
	if (p->by_lba || !gw_lease_ok(gw, part, n)) {
		if (status_only || p->prefetch) {
			p->by_lba = false;
			p->tries = p->prefetch;
			piece_park(gw, p, 2 * GW_RETRY_MS);
		} else {
			piece_lba(gw, p, n);
		}
		return;
	}
	for (unsigned s = first; s <= last; s++) {
		pg[s] = gw_page_read(gw, p->vol, p->extent, (uint8_t)s, part, n);
		if (!pg[s])
			need |= (uint8_t)(1u << s);
	}
	/* Who wants more than a few chunks asks for a page with unknown entries again, and so
	 * does who wants to know what is mapped; the others ask for what is unknown. */
	if (!p->tries && (status_only || p->n > GW_ASK_CHUNKS_MAX))
		need |= gw_entries_unknown(p, pg);
	if (need) {
		page_request(gw, p, n, need);
		return;
	}
	if (status_only) {
		if (map)
			gw_map_piece(gw, p, pg);
		else
			gw_lba_status_piece(gw, p, pg);
		piece_end(gw, p, 0);
		return;
	}
	for (unsigned i = 0; i < p->n; i++) {
		unsigned c = p->chunk0 + i;
		const struct vms_pc_page *g = pg[c / VMS_SUBEXT_CHUNKS];

		ask |= vms_pc_unknown(g->entry[c % VMS_SUBEXT_CHUNKS]) ||
		       (vms_pc_own(g, c % VMS_SUBEXT_CHUNKS) && !gw_mutant(gw, VMS_GWM_OWN_WRITES));
	}
	if (ask) {
		if (p->prefetch) {
			piece_end(gw, p, 0);
		} else {
			gw_entries_ask(gw, p, pg);
			piece_lba(gw, p, n);
		}
		return;
	}
	gw->st.page_hits += last - first + 1;
	p->nwait = 1;
	for (unsigned i = 0; i < p->n; i++) {
		unsigned c = p->chunk0 + i;
		vms_addr a = pg[c / VMS_SUBEXT_CHUNKS]->entry[c % VMS_SUBEXT_CHUNKS];
		uint32_t slot;

		if (a == VMS_ADDR_HOLE) {
			piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
		} else if (p->prefetch) {
			if (!vms_cc_has(gw->cc, a))
				fetch_join(gw, p, i, a, 0);
		} else {
			slot = vms_cc_find(gw->cc, a);
			if (slot != VMS_CC_NONE)
				piece_put(gw, p, i, vms_cc_data(gw->cc, slot), slot, true);
			else
				fetch_join(gw, p, i, a, 0);
		}
	}
	piece_waited(gw, p);
}

/* ---- commands ---- */

/* Everything cached, within one extent: answered on the spot. */
static bool read_cached(struct vms_gw *gw, struct vms_gw_cmd *cmd, uint64_t chunk, uint32_t n)
{
	struct vms_gw_vol *v = cmd->vol;
	uint32_t extent = (uint32_t)(chunk / VMS_EXTENT_CHUNKS);
	uint32_t c = (uint32_t)(chunk % VMS_EXTENT_CHUNKS);
	uint32_t partition = vms_extent_partition(v->rec.lineage, extent, gw->cluster.part_bits);
	struct gw_part *part = &gw->part[partition];
	struct gw_node *node = gw_primary(gw, partition);
	uint32_t start = (uint32_t)(cmd->lba % VMS_CHUNK_BLOCKS) * VMS_LB_BYTES;
	uint64_t left = (uint64_t)cmd->nblocks * VMS_LB_BYTES;
	uint8_t *dest = cmd->dest;
	struct gw_req *r = NULL;
	struct vms_pc_page *pg = NULL;
	uint32_t i, sub = UINT32_MAX;

	if (!node || node->state != GN_READY || !gw_lease_ok(gw, part, node))
		return false;
	if (!dest)
		r = gw_pool_get(&gw->p_req);
	for (i = 0; i < n; i++, c++) {
		uint32_t len = VMS_CHUNK_BYTES - start, slot;
		const uint8_t *data;
		vms_addr a;

		if (len > left)
			len = (uint32_t)left;
		if (c / VMS_SUBEXT_CHUNKS != sub) {
			sub = c / VMS_SUBEXT_CHUNKS;
			pg = gw_page_read(gw, v, extent, (uint8_t)sub, part, node);
			if (!pg)
				goto miss;
			gw->st.page_hits++;
		}
		a = pg->entry[c % VMS_SUBEXT_CHUNKS];
		if (vms_pc_unknown(a) ||
		    (vms_pc_own(pg, c % VMS_SUBEXT_CHUNKS) && !gw_mutant(gw, VMS_GWM_OWN_WRITES)))
			goto miss;
		if (a == VMS_ADDR_HOLE) {
			data = gw->zeros;
		} else {
			slot = vms_cc_find(gw->cc, a);
			if (slot == VMS_CC_NONE)
				goto miss;
			data = vms_cc_data(gw->cc, slot);
			if (r)
				vms_cc_pin(gw->cc, slot);
		}
		if (r) {
			r->iov_in[i].base = data + start;
			r->iov_in[i].len = len;
		} else {
			memcpy(dest, data + start, len);
			dest += len;
		}
		left -= len;
		start = 0;
	}
	if (r) {
		r->cmd = cmd;
		r->iov = r->iov_in;
		r->nchunks = n;
		r->tmp = NULL;
		r->pattern = NULL;
		r->ended = r->retained = true;
		gw_list_add(&gw->held, &r->link);
		cmd->priv = r;
		cmd->riov = r->iov_in;
		cmd->nriov = n;
	}
	return true;
miss:
	if (r) {
		r->iov = r->iov_in;
		unput(gw, r, 0, i);
		gw_pool_put(&gw->p_req, r);
	}
	return false;
}

int gw_read_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	uint64_t chunk = cmd->lba / VMS_CHUNK_BLOCKS;
	uint64_t end = (cmd->lba + cmd->nblocks + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;
	uint32_t n = (uint32_t)(end - chunk);

	if (cmd->op == VMS_GW_READ) {
		gw->st.reads++;
		gw->st.read_bytes += (uint64_t)cmd->nblocks * VMS_LB_BYTES;
		v->st.reads++;
		v->st.read_bytes += (uint64_t)cmd->nblocks * VMS_LB_BYTES;
		gw_readahead(gw, v, chunk, n);
		if (n <= VMS_GW_IOV_MAX &&
		    chunk / VMS_EXTENT_CHUNKS == (end - 1) / VMS_EXTENT_CHUNKS &&
		    read_cached(gw, cmd, chunk, n)) {
			gw->st.reads_cached++;
			v->st.read_sync++;
			return VMS_GW_DONE;
		}
	} else if (cmd->data && cmd->data_bytes < (uint64_t)cmd->nblocks * VMS_LB_BYTES) {
		cmd->status = VMS_E_INVAL;
		return VMS_GW_DONE;
	}
	return gw_read_run(gw, cmd);
}

/* The command's chunks by pieces; READ, VERIFY and LBA_STATUS. */
int gw_read_run(struct vms_gw *gw, struct vms_gw_cmd *cmd)
{
	struct vms_gw_vol *v = cmd->vol;
	uint64_t chunk = cmd->lba / VMS_CHUNK_BLOCKS;
	uint64_t end = (cmd->lba + cmd->nblocks + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;
	struct gw_req *r;
	uint32_t n;

	if (gw->npieces >= GW_READS_MAX) {
		gw->st.full++;
		cmd->status = VMS_E_FULL;
		return VMS_GW_DONE;
	}
	r = gw_req_new(gw, cmd);
	n = r->nchunks;
	if (cmd->op == VMS_GW_LBA_STATUS) {
		r->pattern = calloc(1, n);
		vms_assert(r->pattern);
	} else if (cmd->op == VMS_GW_MAP) {
		/* brings no data */
	} else if (n > VMS_GW_IOV_MAX) {
		r->iov = calloc(n, sizeof(*r->iov));
		if (!r->iov) {
			r->iov = r->iov_in;
			r->nchunks = 0;
			r->status = VMS_E_NOMEM;
		}
	} else {
		memset(r->iov, 0, n * sizeof(*r->iov));
	}
	r->in_submit = true;
	r->npend = 1;
	while (chunk < end && !r->status) {
		uint64_t stop = (chunk / VMS_EXTENT_CHUNKS + 1) * VMS_EXTENT_CHUNKS;

		if (stop > end)
			stop = end;
		gw_piece_run(gw, piece_new(gw, v, r, chunk, (uint32_t)(stop - chunk)));
		chunk = stop;
	}
	if (--r->npend == 0)
		gw_req_end(gw, r);
	r->in_submit = false;
	if (!r->ended)
		return VMS_GW_PENDING;
	if (!r->retained) {
		cmd->priv = NULL;
		gw_req_free(gw, r);
	}
	return VMS_GW_DONE;
}

/* Reads change nothing: the command ends at once, what is on its way is dropped
 * when it comes. */
void gw_read_abort(struct vms_gw *gw, struct gw_req *r)
{
	while (r->pieces) {
		struct gw_piece *p = r->pieces;

		r->pieces = p->req_next;
		p->req = NULL;
	}
	r->npend = 0;
	r->status = VMS_E_CANCELLED;
	gw->kick = true; /* parked pieces go */
	gw_req_end(gw, r);
}

void gw_read_timer(struct vms_gw *gw)
{
	struct gw_link run;

	/* a piece that parks itself again is not met twice */
	gw_list_init(&run);
	gw_each(l, &gw->parked)
	{
		struct gw_piece *p = gw_entry(l, struct gw_piece, link);

		if (gw->kicked || p->due_ms <= gw->now_ms || !p->req) {
			gw_list_del(l);
			gw_list_add(&run, l);
		} else {
			gw_wake_at(gw, p->due_ms);
		}
	}
	while (!gw_list_empty(&run)) {
		struct gw_piece *p = gw_entry(run.next, struct gw_piece, link);

		gw_list_del(&p->link);
		/* reads change nothing, so age does not matter: long enough for most to
		 * outlast a change of the primary */
		if (gw->now_ms - p->t_ms > gw_patience_ms(gw))
			piece_end(gw, p, VMS_E_BUSY);
		else
			gw_piece_run(gw, p);
	}
}

void gw_orphans_drop(struct vms_gw *gw, struct gw_link *h, struct vms_gw_vol *v)
{
	gw_each(l, h)
	{
		struct gw_piece *p = gw_entry(l, struct gw_piece, link);

		if (p->vol == v && !p->req)
			piece_end(gw, p, 0);
	}
}

void gw_read_vol_gone(struct vms_gw *gw, struct vms_gw_vol *v)
{
	gw_orphans_drop(gw, &gw->parked, v);
	gw_base_vol_gone(gw, v);
	for (uint32_t b = 0; b < GW_HASH; b++) {
		for (struct gw_pagereq *q = gw->page_hash[b]; q; q = q->hash_next)
			gw_orphans_drop(gw, &q->waiters, v);
		/* aborted reads may still wait for chunks */
		for (struct gw_fetch *f = gw->fetch_hash[b]; f; f = f->hash_next)
			for (struct gw_waiter *w = f->waiters; w; w = w->next)
				if (w->piece->vol == v)
					w->piece->vol = NULL;
	}
	for (uint32_t i = 1; i < gw->node_top; i++) {
		if (!gw->node[i])
			continue;
		gw_each(l, &gw->node[i]->rpcs)
		{
			struct gw_rpc *r = gw_entry(l, struct gw_rpc, link);

			if (r->type == GR_LBA && ((struct gw_piece *)r->obj)->vol == v) {
				struct gw_piece *p = r->obj;

				gw_rpc_forget(gw, r);
				piece_end(gw, p, 0);
			}
		}
	}
}

/* ---- read-ahead ---- */

void gw_prefetch(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t chunk, uint64_t n)
{
	uint64_t end = chunk + n, max = (v->nblocks + VMS_CHUNK_BLOCKS - 1) / VMS_CHUNK_BLOCKS;

	if (n > vms_cc_slots(gw->cc) / 4)
		end = chunk + vms_cc_slots(gw->cc) / 4;
	if (end > max)
		end = max;
	while (chunk < end && gw->npieces < GW_READS_MAX / 2) {
		uint64_t stop = (chunk / VMS_EXTENT_CHUNKS + 1) * VMS_EXTENT_CHUNKS;
		struct gw_piece *p;

		if (stop > end)
			stop = end;
		p = piece_new(gw, v, NULL, chunk, (uint32_t)(stop - chunk));
		p->prefetch = true;
		gw_piece_run(gw, p);
		chunk = stop;
	}
}

/* Two reads that follow each other make a stream; from then on a window ahead of
 * it is kept on its way, renewed when half of it is used up. */
void gw_readahead(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t chunk, uint32_t n)
{
	uint64_t window = gw->conf.readahead_chunks, end = chunk + n;
	struct gw_stream *s;

	for (unsigned i = 0; i < GW_STREAMS; i++) {
		s = &v->stream[i];
		/* an unaligned reader comes back to the chunk it ended in */
		if (s->next_chunk != chunk && s->next_chunk != chunk + 1)
			continue;
		s->next_chunk = end;
		if (++s->hits < 2)
			return;
		if (s->ra_chunk < end)
			s->ra_chunk = end;
		if (s->ra_chunk < end + window / 2 + 1) {
			uint64_t from = s->ra_chunk;

			s->ra_chunk = end + window;
			gw_prefetch(gw, v, from, s->ra_chunk - from);
		}
		return;
	}
	s = &v->stream[v->stream_hand++ % GW_STREAMS];
	*s = (struct gw_stream){.next_chunk = end};
}
