// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chunks by address. Each is asked for once, at a replica of its partition, and at the next
 * one when that cannot give it; whoever waits gets it, verified. A copy that is damaged is
 * told to the node that has it (rules B5).
 */
#include "target/gw_int.h"
#include "target/gw_read.h"

uint32_t gw_chunk_cached(struct vms_gw *gw, vms_addr a, const uint8_t *data)
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

void gw_fetch_join(struct vms_gw *gw, struct gw_piece *p, unsigned i, vms_addr a, uint32_t bad)
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
		slot = gw_chunk_cached(gw, f->addr, data);
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
			gw_piece_put(gw, p, i, data, slot, false);
			break;
		case FE_ZERO:
			gw_piece_put(gw, p, i, gw->zeros, VMS_CC_NONE, true);
			break;
		case FE_PARTIAL:
			gw_piece_put_partial(gw, p, i, data, valid);
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
			gw_piece_fail(gw, p, VMS_E_CORRUPT, i, 0);
			break;
		}
		gw_piece_waited(gw, p);
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

void gw_answer_init(struct gw_answer *r, const struct vms_msg *m)
{
	vms_rd_init(&r->rd, m->body, m->body_bytes);
	r->data = m->npayload ? m->payload[0].base : NULL;
	r->left = m->npayload ? m->payload[0].len : 0;
}

struct gw_chunk gw_answer_next(struct vms_gw *gw, struct gw_answer *r, vms_addr want)
{
	struct gw_chunk e = {.a = vms_rd_u64(&r->rd)};
	uint32_t crc = vms_rd_u32(&r->rd);

	e.status = (int16_t)vms_rd_u16(&r->rd);
	e.valid = vms_rd_u8(&r->rd);
	vms_rd_skip(&r->rd, 1);
	if ((e.status && e.status != VMS_E_BAD_SECTORS) || e.a == VMS_ADDR_HOLE)
		return e;
	if (r->left < VMS_CHUNK_BYTES) {
		e.status = VMS_E_CORRUPT;
		return e;
	}
	e.data = r->data;
	r->data += VMS_CHUNK_BYTES;
	r->left -= VMS_CHUNK_BYTES;
	if ((want && e.a != want) || !chunk_good(gw, e.data, crc))
		e.status = VMS_E_CORRUPT;
	return e;
}

void gw_addr_reply(struct vms_gw *gw, struct gw_batch *b, uint32_t node, const struct vms_msg *m,
		   int status)
{
	struct gw_answer r;

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
	gw_answer_init(&r, m);
	for (uint32_t i = 0; i < b->n; i++) {
		struct gw_fetch *f = b->f[i];
		struct gw_chunk e = gw_answer_next(gw, &r, f->addr);

		switch (e.status) {
		case 0:
			fetch_done(gw, f, e.data ? FE_DATA : FE_ZERO, e.data, 0);
			break;
		case VMS_E_BAD_SECTORS:
			if (e.data)
				fetch_done(gw, f, FE_PARTIAL, e.data, e.valid);
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
