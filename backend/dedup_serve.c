// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a node answers to others that deduplicate: hooks it owns, lists of containers
 * of partitions it leads, and CONFIRM. A chunk may be referred to from another
 * partition when
 * - all 32 bytes of its fingerprint are in its segment header, and it was read and
 *   right lately (a chunk not looked at for long is read back now);
 * - the record that wrote it is in the durable index of all members (B1);
 * - its container is not dying, and a committed SHARE record says that others may refer
 *   to it: from then on only rounds of the whole cluster collect it.
 * The stamp in the answer is the collection cycle; checks, stamp and answer are one step.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/ctr_list.h"
#include "backend/dedup.h"
#include "backend/dedup_int.h"
#include "backend/dedup_msg.h"
#include "backend/fetch.h"
#include "backend/hooks.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/part_ctr.h"
#include "backend/record.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"

#define CONFIRMS_MAX 256u /* jobs */
#define SERVES_MAX   64u  /* LIST_FETCH under way */
#define NEIGHBOURS   8u	  /* containers on each side */

/* ---- CONFIRM ---- */

enum cphase { CF_HEADERS, CF_VERIFY, CF_SHARE };

struct cent {
	vms_addr addr;
	uint8_t fp[32];
	bool own;   /* asked by its own partition */
	bool asked; /* its header has been or is being read */
	uint64_t seq;
	uint32_t crc;
	int32_t status;
};

struct confirm {
	struct confirm *next; /* those that wait for a SHARE */
	bool listed;
	uint32_t wait_part; /* whose SHARE it waits for */
	uint32_t round;	    /* looked at in this one */
	enum cphase phase;
	unsigned pending;
	bool issuing;
	uint64_t until_ms;
	vms_conn_id conn;
	struct vms_msg req;
	confirm_fn fn;
	void *arg;
	uint8_t *data; /* chunks read back */
	unsigned n;
	struct cent e[];
};

static void confirm_step(struct vms_node *n, struct confirm *c);

static void confirm_put(struct vms_node *n, struct confirm *c)
{
	c->pending--;
	if (!c->pending && !c->issuing)
		confirm_step(n, c);
}

/* Is the place there and will it stay? */
static struct ctr *place(struct vms_node *n, const struct cent *e)
{
	struct part *p = node_part(n, vms_addr_partition(e->addr, n->conf.part_bits));
	struct ctr *c;

	if (!part_serving(p) || !part_members_ready(p) || part_addr_check(n, p, e->addr))
		return NULL;
	c = part_ctr(p, vms_addr_container(e->addr));
	return c && (c->state == 1 || c->state == 2) && !c->sweeping && !c->punching &&
			       !c->emptying && !c->victim &&
			       (vms_addr_offset_bytes(e->addr) / VMS_CHUNK_BYTES - 1) / 65 < c->segs
		       ? c
		       : NULL;
}

static void header_take(struct vms_node *n, struct confirm *c, vms_addr header, const uint8_t *buf,
			int status)
{
	uint64_t ctr = vms_addr_container(header);
	uint32_t off = vms_addr_offset_bytes(header);
	struct vms_seg sg;

	if (!status)
		status = vms_seg_decode(buf, ctr, off, &sg);
	if (!status)
		segs_put(n, &sg);
	for (unsigned i = 0; i < c->n; i++) {
		struct cent *e = &c->e[i];
		uint32_t at = vms_addr_offset_bytes(e->addr);
		unsigned k = vms_seg_index(at);

		if (e->status || vms_addr_container(e->addr) != ctr ||
		    vms_seg_header_offset(at) != off)
			continue;
		e->asked = true;
		if (status || k >= sg.n || !sg.e[k].has_fp || sg.e[k].valid != VMS_MASK_FULL ||
		    memcmp(sg.e[k].fp, e->fp, 32)) {
			e->status = status ? VMS_E_CORRUPT : VMS_E_NOENT;
			continue;
		}
		e->seq = sg.seq;
		e->crc = sg.e[k].crc;
	}
}

struct hread {
	struct dio d;
	struct confirm *c;
	vms_addr header;
	uint8_t buf[VMS_CHUNK_BYTES];
};

static void header_read(struct vms_node *n, struct dio *d, int status)
{
	struct hread *h = (struct hread *)((char *)d - offsetof(struct hread, d));
	struct confirm *c = h->c;

	header_take(n, c, h->header, h->buf, status);
	free(h);
	confirm_put(n, c);
}

static void headers_read(struct vms_node *n, struct confirm *c)
{
	uint8_t buf[VMS_CHUNK_BYTES];

	for (unsigned i = 0; i < c->n; i++) {
		struct cent *e = &c->e[i];
		uint32_t off = vms_seg_header_offset(vms_addr_offset_bytes(e->addr));
		uint64_t ctr = vms_addr_container(e->addr);
		struct hread *h;
		int rc;

		if (e->status || e->asked)
			continue;
		if (!place(n, e)) {
			e->status = VMS_E_GONE; /* by now; another one may be found */
			continue;
		}
		rc = n->disk.ops->ctr_read_now(n->disk.ctx, ctr, off, buf, VMS_CHUNK_BYTES);
		if (rc != VMS_E_AGAIN) {
			header_take(n, c, vms_addr_make(ctr, off), buf, rc);
			continue;
		}
		h = malloc(sizeof(*h));
		vms_assert(h);
		h->d.fn = header_read;
		h->c = c;
		h->header = vms_addr_make(ctr, off);
		for (unsigned k = i; k < c->n; k++)
			if (vms_addr_container(c->e[k].addr) == ctr &&
			    vms_seg_header_offset(vms_addr_offset_bytes(c->e[k].addr)) == off)
				c->e[k].asked = true;
		c->pending++;
		n->disk.ops->ctr_read(n->disk.ctx, ctr, off, h->buf, VMS_CHUNK_BYTES,
				      dio_token(n, &h->d));
	}
}

static void verified(struct vms_node *n, struct fetch *f)
{
	struct confirm *c = f->arg;
	unsigned k = 0;

	for (unsigned i = 0; i < c->n && k < f->nent; i++) {
		if (c->e[i].addr != f->e[k].addr || c->e[i].status)
			continue;
		if (f->e[k].status || f->e[k].crc != c->e[i].crc)
			c->e[i].status = VMS_E_CORRUPT;
		k++;
	}
	free(c->data);
	c->data = NULL;
	fetch_free(f);
	confirm_put(n, c);
}

/* Rule B6: a rotten chunk must not be given to others. */
static void verify(struct vms_node *n, struct confirm *c)
{
	struct fetch *f = fetch_new(n, c->n);
	unsigned k = 0;

	for (unsigned i = 0; i < c->n; i++)
		if (!c->e[i].status && !segs_verified(n, c->e[i].addr))
			f->e[k++].addr = c->e[i].addr;
	f->nent = k;
	f->arg = c;
	f->own_only = true;
	f->done = verified;
	if (!k) {
		fetch_free(f);
		return;
	}
	c->data = malloc((size_t)k * VMS_CHUNK_BYTES);
	vms_assert(c->data);
	for (unsigned i = 0; i < k; i++)
		f->e[i].buf = c->data + (size_t)i * VMS_CHUNK_BYTES;
	c->pending++;
	fetch_start(n, f);
}

/* Order SHARE records for what is not shared yet; false: some must be waited for. */
static bool share(struct vms_node *n, struct confirm *c)
{
	bool all = true;

	for (unsigned i = 0; i < c->n; i++) {
		uint32_t number = vms_addr_partition(c->e[i].addr, n->conf.part_bits);
		struct vms_rec r = {.type = VMS_REC_SHARE, .flags = VMS_RF_INTERNAL};
		struct part *p = node_part(n, number);
		uint8_t meta[8 * 64];
		struct ctr *ct;

		if (c->e[i].status || c->e[i].own)
			continue;
		ct = place(n, &c->e[i]);
		if (!ct) {
			c->e[i].status = VMS_E_GONE;
			continue;
		}
		if (c->e[i].seq > p->safe_seq) {
			c->e[i].status = VMS_E_AGAIN;
			continue;
		}
		if (ct->shared)
			continue;
		if (all)
			c->wait_part = number;
		all = false;
		if (ct->sharing)
			continue;
		/* all of this partition at once */
		for (unsigned k = i; k < c->n && r.meta_bytes < sizeof(meta); k++) {
			struct ctr *o;
			bool there = false;

			if (c->e[k].status || c->e[k].own ||
			    vms_addr_partition(c->e[k].addr, n->conf.part_bits) != number)
				continue;
			o = place(n, &c->e[k]);
			if (!o || o->sharing || c->e[k].seq > p->safe_seq)
				continue;
			for (uint32_t x = 0; x < r.meta_bytes; x += 8)
				there |= vms_get_le64(meta + x) == o->number;
			if (there)
				continue;
			vms_put_le64(meta + r.meta_bytes, o->number);
			r.meta_bytes += 8;
		}
		r.meta = meta;
		if (part_order(n, p, &r, NULL, 0))
			c->e[i].status = VMS_E_AGAIN;
		else
			n->dedup->st.shares++;
	}
	return all;
}

static void confirm_answer(struct vms_node *n, struct confirm *c)
{
	struct vms_dm_answer *a = calloc(c->n, sizeof(*a));

	vms_assert(a);
	for (unsigned i = 0; i < c->n; i++) {
		struct cent *e = &c->e[i];
		struct part *p = node_part(n, vms_addr_partition(e->addr, n->conf.part_bits));
		struct ctr *ct = e->status ? NULL : place(n, e);

		a[i].status = e->status;
		if (e->status)
			continue;
		if (!ct || (!e->own && (!ct->shared || e->seq > p->safe_seq))) {
			a[i].status = VMS_E_GONE;
			continue;
		}
		if (ct->stamp < p->gc_cycle)
			ct->stamp = p->gc_cycle;
		a[i].stamp = p->gc_cycle;
		a[i].crc = e->crc;
	}
	n->dedup->nconfirms--;
	if (c->fn) {
		c->fn(n, c->arg, n->closing ? NULL : a);
	} else if (!n->closing) {
		uint8_t *body = malloc(VMS_DM_ANSWER_BYTES * c->n);
		struct vms_msg re;

		vms_assert(body);
		for (unsigned i = 0; i < c->n; i++)
			vms_dm_answer_encode(body + VMS_DM_ANSWER_BYTES * i, &a[i]);
		vms_msg_reply_init(&re, &c->req, 0);
		re.body = body;
		re.body_bytes = VMS_DM_ANSWER_BYTES * c->n;
		node_send(n, c->conn, &re);
		free(body);
	}
	free(a);
	free(c);
}

static void confirm_step(struct vms_node *n, struct confirm *c)
{
	while (!c->pending && !n->closing) {
		c->issuing = true;
		switch (c->phase) {
		case CF_HEADERS:
			c->phase = CF_VERIFY;
			headers_read(n, c);
			break;
		case CF_VERIFY:
			c->phase = CF_SHARE;
			verify(n, c);
			break;
		case CF_SHARE:
			c->issuing = false;
			if (!share(n, c) && n->now_ms < c->until_ms) {
				if (!c->listed) {
					c->listed = true;
					c->next = n->dedup->confirms;
					n->dedup->confirms = c;
				}
				return;
			}
			if (c->listed) {
				struct confirm **at = &n->dedup->confirms;

				while (*at != c)
					at = &(*at)->next;
				*at = c->next;
			}
			confirm_answer(n, c);
			return;
		}
		c->issuing = false;
	}
	if (!c->pending && n->closing && !c->listed)
		confirm_answer(n, c);
}

static void confirm_new(struct vms_node *n, const struct vms_dm_confirm *e, unsigned count,
			uint32_t own, confirm_fn fn, void *arg, vms_conn_id conn,
			const struct vms_msg *req)
{
	struct confirm *c = calloc(1, sizeof(*c) + count * sizeof(c->e[0]));

	vms_assert(c);
	n->dedup->nconfirms++;
	c->n = count;
	c->fn = fn;
	c->arg = arg;
	c->conn = conn;
	c->until_ms = n->now_ms + DEDUP_LIMIT_MS;
	if (req)
		c->req = vms_msg_head(req);
	for (unsigned i = 0; i < count; i++) {
		c->e[i].addr = e[i].addr;
		memcpy(c->e[i].fp, e[i].fp, 32);
		c->e[i].own = vms_addr_partition(e[i].addr, n->conf.part_bits) == own;
	}
	confirm_step(n, c);
}

void confirm_start(struct vms_node *n, const struct vms_dm_confirm *e, unsigned count, uint32_t own,
		   confirm_fn fn, void *arg)
{
	confirm_new(n, e, count, own, fn, arg, 0, NULL);
}

void serve_confirm(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_dm_confirm *e = malloc(VMS_DM_CONFIRM_MAX * sizeof(*e));
	int k;

	vms_assert(e);
	k = vms_dm_confirm_decode(m, n->conf.part_bits, e, VMS_DM_CONFIRM_MAX);
	if (k < 0)
		node_reply(n, c->id, m, k);
	else if (n->dedup->nconfirms >= CONFIRMS_MAX)
		node_reply(n, c->id, m, VMS_E_BUSY);
	else
		confirm_new(n, e, (unsigned)k, VMS_PART_NONE, NULL, NULL, c->id, m);
	free(e);
}

void dedup_shared(struct vms_node *n, struct part *p)
{
	uint32_t round = ++n->dedup->round;
	struct confirm *c;

	/* an answer may change the list */
	do {
		for (c = n->dedup->confirms; c; c = c->next)
			if (c->wait_part == p->number && c->round != round)
				break;
		if (c) {
			c->round = round;
			confirm_step(n, c);
		}
	} while (c);
}

/* ---- lists ---- */

struct lserve {
	lists_fn fn;
	void *arg;
	vms_conn_id conn;
	struct vms_msg req;
	uint64_t ctr[2 * NEIGHBOURS + 1];
	unsigned n, at;
	uint8_t *out;
	size_t bytes;
};

static void lserve_end(struct vms_node *n, struct lserve *l, int status)
{
	n->dedup->nserves--;
	if (l->fn) {
		l->fn(n, l->arg, status, l->out, l->bytes);
	} else if (!n->closing) {
		struct vms_iov iov = {l->out, l->bytes};
		struct vms_msg re;

		vms_msg_reply_init(&re, &l->req, status);
		if (!status) {
			re.flags |= VMS_F_PAYLOAD_CRC;
			re.payload = &iov;
			re.npayload = 1;
			re.payload_bytes = l->bytes;
		}
		node_send(n, l->conn, &re);
	}
	free(l->out);
	free(l);
}

static void lserve_next(struct vms_node *n, struct lserve *l);

static void lserve_list(struct vms_node *n, void *arg, int status, const uint8_t *body,
			size_t bytes, uint32_t segs, bool any)
{
	struct lserve *l = arg;

	if (status) {
		lserve_end(n, l, status);
		return;
	}
	if (l->bytes + VMS_DM_LIST_HEAD + bytes <= VMS_FRAME_PAYLOAD_BYTES_MAX) {
		l->out = realloc(l->out, l->bytes + VMS_DM_LIST_HEAD + bytes);
		vms_assert(l->out);
		vms_put_le64(l->out + l->bytes, l->ctr[l->at]);
		vms_put_le32(l->out + l->bytes + 8, segs);
		vms_put_le32(l->out + l->bytes + 12, (uint32_t)bytes);
		memcpy(l->out + l->bytes + VMS_DM_LIST_HEAD, body, bytes);
		l->bytes += VMS_DM_LIST_HEAD + bytes;
	}
	l->at++;
	lserve_next(n, l);
}

static void lserve_next(struct vms_node *n, struct lserve *l)
{
	while (l->at < l->n) {
		struct part *p = node_part(
			n, vms_addr_partition(vms_addr_make(l->ctr[l->at], 0), n->conf.part_bits));
		struct ctr *c = part_ctr(p, l->ctr[l->at]);

		if (c && c->segs) {
			ctr_list_read(n, c->number, c->segs, c->state == 2, lserve_list, l);
			return;
		}
		l->at++;
	}
	lserve_end(n, l, 0);
}

static bool listable(const struct ctr *c)
{
	return (c->state == 1 || c->state == 2) && !c->sweeping && c->segs;
}

/* The container first, then its neighbours by distance, until enough chunks are on
 * their way: what was written together is found together. */
static int lists_pick(struct vms_node *n, struct lserve *l, uint64_t ctr, uint32_t want)
{
	struct part *p = node_part(n, vms_addr_partition(vms_addr_make(ctr, 0), n->conf.part_bits));
	struct ctr *c;
	uint64_t have;
	size_t at;

	if (!part_serving(p))
		return VMS_E_NOT_PRIMARY;
	c = part_ctr(p, ctr);
	if (!c || !listable(c))
		return ctr < p->next_ctr ? VMS_E_GONE : VMS_E_UNKNOWN;
	l->ctr[l->n++] = ctr;
	have = c->chunks;
	at = (size_t)(c - p->ctrs.d);
	for (size_t k = 1; k <= NEIGHBOURS && have < want; k++) {
		if (at >= k && listable(&p->ctrs.d[at - k])) {
			l->ctr[l->n++] = p->ctrs.d[at - k].number;
			have += p->ctrs.d[at - k].chunks;
		}
		if (at + k < p->ctrs.n && have < want && listable(&p->ctrs.d[at + k])) {
			l->ctr[l->n++] = p->ctrs.d[at + k].number;
			have += p->ctrs.d[at + k].chunks;
		}
	}
	return 0;
}

void lists_start(struct vms_node *n, uint64_t ctr, uint32_t want, lists_fn fn, void *arg)
{
	struct lserve *l = calloc(1, sizeof(*l));
	int rc;

	vms_assert(l);
	l->fn = fn;
	l->arg = arg;
	n->dedup->nserves++;
	rc = lists_pick(n, l, ctr, want);
	if (rc)
		lserve_end(n, l, rc);
	else
		lserve_next(n, l);
}

void serve_list(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	uint64_t ctr = m->body_bytes == 8 ? vms_get_le64(m->body) : 0;
	struct lserve *l;
	int rc;

	if (!ctr || ctr >= 1ull << VMS_CTR_BITS ||
	    vms_addr_partition(vms_addr_make(ctr, 0), n->conf.part_bits) >= n->nparts) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	if (n->dedup->nserves >= SERVES_MAX) {
		node_reply(n, c->id, m, VMS_E_BUSY);
		return;
	}
	l = calloc(1, sizeof(*l));
	vms_assert(l);
	l->conn = c->id;
	l->req = vms_msg_head(m);
	n->dedup->nserves++;
	rc = lists_pick(n, l, ctr, m->aux < 65536 ? m->aux : 65536);
	if (rc)
		lserve_end(n, l, rc);
	else
		lserve_next(n, l);
}

/* ---- hooks ---- */

void serve_hook_lookup(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	uint64_t *key = malloc(8 * VMS_DM_HOOKS_MAX);
	struct vms_msg re;
	int k;

	vms_assert(key);
	k = vms_dm_keys_decode(m, key, VMS_DM_HOOKS_MAX);
	if (k < 0) {
		node_reply(n, c->id, m, k);
		free(key);
		return;
	}
	for (int i = 0; i < k; i++)
		vms_put_le64(&key[i], vms_hooks_find(n->dedup->hooks, key[i]));
	vms_msg_reply_init(&re, m, 0);
	re.body = (const uint8_t *)key;
	re.body_bytes = 8 * (uint32_t)k;
	node_send(n, c->id, &re);
	free(key);
}

void serve_hook_add(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_dm_hook *h = malloc(VMS_DM_HOOKS_MAX * sizeof(*h));
	int k;

	vms_assert(h);
	k = vms_dm_hooks_decode(m, h, VMS_DM_HOOKS_MAX);
	for (int i = 0; i < k; i++)
		if (m->aux)
			vms_hooks_del(n->dedup->hooks, h[i].key, h[i].ctr);
		else
			vms_hooks_add(n->dedup->hooks, h[i].key, h[i].ctr, h[i].old);
	node_reply(n, c->id, m, k < 0 ? k : 0);
	free(h);
}

void serve_timer(struct vms_node *n)
{
	struct confirm *c;

	do {
		for (c = n->dedup->confirms; c; c = c->next)
			if (n->now_ms >= c->until_ms)
				break;
		if (c)
			confirm_step(n, c);
	} while (c);
}

void serve_close(struct vms_node *n)
{
	struct confirm *c;

	while ((c = n->dedup->confirms)) {
		n->dedup->confirms = c->next;
		c->listed = false;
		confirm_answer(n, c);
	}
}
