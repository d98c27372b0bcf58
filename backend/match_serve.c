// SPDX-License-Identifier: GPL-2.0-only
/*
 * Source of the background match: prefixes and addresses of the chunks of the
 * partitions that this node leads, container by container, a batch per request. The
 * asker keeps the place; nothing is remembered here between two requests.
 */
#include <stdlib.h>

#include "backend/ctr.h"
#include "backend/ctr_list.h"
#include "backend/dedup_int.h"
#include "backend/hooks.h"
#include "backend/match_int.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define PULLS_MAX  4u
#define LOOKED_MAX 16u /* containers per request */

struct pull {
	match_pull_fn fn;
	vms_conn_id conn;
	struct vms_msg req;
	struct match_want w;
	unsigned looked;
	uint32_t n;
	uint8_t out[MATCH_ENT_BYTES * MATCH_BATCH];
};

bool match_addr_ok(const struct vms_node *n, vms_addr a)
{
	uint32_t off = vms_addr_offset_bytes(a);

	return off % VMS_CHUNK_BYTES == 0 && off >= 2 * VMS_CHUNK_BYTES &&
	       vms_seg_index(off) < VMS_SEG_ENTRIES_MAX && !vms_addr_is_log(a, n->conf.part_bits);
}

void match_want_encode(uint8_t *out, const struct match_want *w)
{
	vms_put_le32(out, w->nodes);
	vms_put_le32(out + 4, w->node);
	vms_put_le32(out + 8, w->slices);
	vms_put_le32(out + 12, w->slice);
	vms_put_le32(out + 16, w->at.part);
	vms_put_le32(out + 20, w->at.chunk);
	vms_put_le64(out + 24, w->at.ctr);
}

static bool want_decode(const struct vms_msg *m, struct match_want *w)
{
	if (m->body_bytes != MATCH_WANT_BYTES)
		return false;
	*w = (struct match_want){vms_get_le32(m->body),
				 vms_get_le32(m->body + 4),
				 vms_get_le32(m->body + 8),
				 vms_get_le32(m->body + 12),
				 {vms_get_le32(m->body + 16), vms_get_le32(m->body + 20),
				  vms_get_le64(m->body + 24)}};
	return w->node < w->nodes && w->slice < w->slices;
}

static bool listed(const struct ctr *c)
{
	return (c->state == 1 || c->state == 2) && !c->sweeping && !c->victim && !c->emptying &&
	       c->segs;
}

uint64_t match_chunks(struct vms_node *n)
{
	uint64_t k = 0;

	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!part_serving(p))
			continue;
		VMS_VEC_FOREACH (&p->ctrs, c)
			if (listed(c))
				k += c->chunks;
	}
	return k;
}

static void pull_end(struct vms_node *n, struct pull *l, int status)
{
	n->match->npulls--;
	if (l->fn) {
		l->fn(n, status, &l->w.at, l->out, (size_t)l->n * MATCH_ENT_BYTES);
	} else if (!n->closing) {
		struct vms_iov iov = {l->out, (size_t)l->n * MATCH_ENT_BYTES};
		uint8_t body[MATCH_CURSOR_BYTES];
		struct vms_msg re;

		vms_put_le32(body, l->w.at.part);
		vms_put_le32(body + 4, l->w.at.chunk);
		vms_put_le64(body + 8, l->w.at.ctr);
		vms_msg_reply_init(&re, &l->req, status);
		if (!status) {
			re.body = body;
			re.body_bytes = sizeof(body);
		}
		if (!status && l->n) {
			re.flags |= VMS_F_PAYLOAD_CRC;
			re.payload = &iov;
			re.npayload = 1;
			re.payload_bytes = iov.len;
		}
		node_send(n, l->conn, &re);
	}
	free(l);
}

static void pull_next(struct vms_node *n, struct pull *l);

static bool wanted(const struct match_want *w, vms_fp_prefix key)
{
	uint64_t h = vms_mix64(key);

	return h % w->nodes == w->node && h / w->nodes % w->slices == w->slice;
}

static void pull_list(struct vms_node *n, void *arg, int status, const uint8_t *body, size_t bytes,
		      uint32_t segs, bool any)
{
	const uint8_t *key = body + ((size_t)segs + 7) / 8 * 8;
	struct pull *l = arg;
	struct part *p;
	struct ctr *c;
	uint32_t at = 0;

	if (status) {
		pull_end(n, l, status);
		return;
	}
	p = n->part[l->w.at.part];
	c = part_ctr(p, l->w.at.ctr);
	for (uint32_t s = 0; any && c && s < segs; s++)
		for (unsigned i = 0; i < body[s]; i++, at++) {
			vms_addr a = vms_addr_make(l->w.at.ctr,
						   (uint32_t)vms_seg_chunk_offset(s, i));
			vms_fp_prefix k = vms_get_le64(key + 8ull * at);

			if (at < l->w.at.chunk || !k)
				continue;
			k &= n->dedup->key_mask;
			if (!wanted(&l->w, k) || places_has(&c->dead, a))
				continue;
			if (l->n == MATCH_BATCH) {
				l->w.at.chunk = at;
				pull_end(n, l, 0);
				return;
			}
			vms_put_le64(l->out + MATCH_ENT_BYTES * l->n, k);
			vms_put_le64(l->out + MATCH_ENT_BYTES * l->n++ + 8, a);
		}
	l->w.at.ctr++;
	l->w.at.chunk = 0;
	pull_next(n, l);
}

static void pull_next(struct vms_node *n, struct pull *l)
{
	struct match_cursor *at = &l->w.at;

	if (l->looked == LOOKED_MAX || l->n == MATCH_BATCH) {
		pull_end(n, l, 0);
		return;
	}
	for (; at->part < n->nparts; at->part++, at->ctr = 0, at->chunk = 0) {
		struct part *p = n->part[at->part];

		if (!part_serving(p))
			continue;
		VMS_VEC_FOREACH (&p->ctrs, c) {
			if (c->number < at->ctr || !listed(c))
				continue;
			if (c->number != at->ctr)
				at->chunk = 0;
			at->ctr = c->number;
			l->looked++;
			ctr_list_read(n, c->number, c->segs, c->state == 2, pull_list, l);
			return;
		}
	}
	at->part = VMS_PART_NONE;
	pull_end(n, l, 0);
}

static struct pull *pull_new(struct vms_node *n, const struct match_want *w)
{
	struct pull *l = calloc(1, sizeof(*l));

	vms_assert(l);
	l->w = *w;
	n->match->npulls++;
	return l;
}

void match_pull(struct vms_node *n, const struct match_want *w, match_pull_fn fn)
{
	struct pull *l = pull_new(n, w);

	l->fn = fn;
	pull_next(n, l);
}

void match_serve_pull(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct match_want w;
	struct pull *l;

	if (!want_decode(m, &w)) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	if (!match_idle(n) || n->match->npulls >= PULLS_MAX) {
		node_reply(n, c->id, m, VMS_E_BUSY);
		return;
	}
	l = pull_new(n, &w);
	l->conn = c->id;
	l->req = vms_msg_head(m);
	pull_next(n, l);
}

void match_serve_poll(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	uint8_t body[16];
	struct vms_msg re;

	if (!n->conf.dedup_background) {
		node_reply(n, c->id, m, VMS_E_UNSUPPORTED);
		return;
	}
	vms_put_le64(body, match_chunks(n));
	vms_put_le64(body + 8, n->match->news);
	vms_msg_reply_init(&re, m, 0);
	re.body = body;
	re.body_bytes = sizeof(body);
	node_send(n, c->id, &re);
}
