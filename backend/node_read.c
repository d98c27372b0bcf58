// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads: index pages, chunks by address, chunks by place.
 *
 * Pages and log addresses come only from the primary, merged with its committed
 * overlay; a chunk with an ordered, uncommitted write is ASK in pages and has its
 * last committed content by LBA. A dead address answers GONE, one this replica
 * does not know UNKNOWN; neither ever reads as zeros.
 * Keeps invariants 2, 3, 19, 27 (rules A4, A5, A7, A11, B5).
 */
#include "backend/node_read.h"

#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/ctr.h"
#include "backend/fetch.h"
#include "backend/holders.h"
#include "backend/lease.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_session.h"
#include "backend/node_write.h"
#include "backend/overlay.h"
#include "backend/own.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/wal.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define NODE_READS_MAX	    4096u
#define NODE_READ_BYTES_MAX (256u << 20)

/* ---- containers of a partition ---- */

struct ctr *part_ctr(struct part *p, uint64_t number)
{
	size_t lo = 0, hi = p->ctrs.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (p->ctrs.d[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->ctrs.n && p->ctrs.d[lo].number == number ? &p->ctrs.d[lo] : NULL;
}

struct ctr *part_ctr_add(struct part *p, uint64_t number)
{
	struct ctr *c = part_ctr(p, number);
	size_t i = p->ctrs.n;

	if (c)
		return c;
	(void)VMS_VEC_ADD(&p->ctrs);
	for (; i && p->ctrs.d[i - 1].number > number; i--)
		p->ctrs.d[i] = p->ctrs.d[i - 1];
	memset(&p->ctrs.d[i], 0, sizeof(p->ctrs.d[i]));
	p->ctrs.d[i].number = number;
	return &p->ctrs.d[i];
}

/* 0: may be read; GONE: swept or punched; UNKNOWN: not (yet) known here. */
int part_addr_check(struct vms_node *n, struct part *p, vms_addr a)
{
	uint64_t number = vms_addr_container(a);
	struct ctr *c = part_ctr(p, number);
	uint32_t off = vms_addr_offset_bytes(a);

	if (off % VMS_CHUNK_BYTES || off < 2 * VMS_CHUNK_BYTES || vms_seg_header_offset(off) == off)
		return VMS_E_UNKNOWN;
	if (c)
		return c->state == 3 || (places_has(&c->dead, a) && n->mut != MUT_RD_GONE)
			       ? VMS_E_GONE
			       : 0;
	return part_readable(n, p) && number < p->next_ctr ? VMS_E_GONE : VMS_E_UNKNOWN;
}

/* ---- content of a chunk ---- */

int part_see(struct vms_node *n, struct part *p, uint64_t branch, uint32_t extent,
	     uint64_t snap_gen, struct seen *out)
{
	int rc = node_stack(n, branch, snap_gen, &out->st);

	out->extent = extent;
	if (!rc)
		vms_ovl_stack(&n->ovl, p->number, &out->st, extent, &out->ovl);
	return rc;
}

int part_page(struct vms_node *n, struct part *p, const struct seen *s, unsigned sub,
	      struct vms_page *out)
{
	uint32_t subext = s->extent * VMS_EXTENT_SUBEXTS + sub;
	int rc = vms_pages_lookup_stack(n->pages, p->number, subext, &s->st, out);

	if (rc == VMS_E_NOENT) {
		memset(out, 0, sizeof(*out));
		return 0;
	}
	if (rc)
		node_log_place(n, VMS_LOG_ERROR, vms_mix64(s->st.l[0].branch) + subext,
			       "partition %u: index page of branch %llu, sub-extent %u: "
			       "%s",
			       p->number, (unsigned long long)s->st.l[0].branch, subext,
			       vms_err_text(rc));
	return rc;
}

const uint8_t *chunk_in_log(const struct vms_node *n, const struct vms_ovl_view *v)
{
	if (v->have != VMS_MASK_FULL || v->zero)
		return NULL;
	for (unsigned s = 1; s < 8; s++)
		if (v->src[s] != v->src[0])
			return NULL;
	return vms_wal_ptr(n->wal, v->src[0]->data_pos);
}

int chunk_resolve(struct vms_node *n, struct part *p, const struct vms_ovl_view *v,
		  const struct vms_page *page, uint16_t chunk, uint8_t *patch, uint8_t *patched,
		  vms_addr *base)
{
	const uint8_t *whole = chunk_in_log(n, v);

	if (whole)
		memcpy(patch, whole, VMS_CHUNK_BYTES);
	for (unsigned s = 0; s < 8 && !whole; s++) {
		uint8_t *to = patch + s * VMS_LB_BYTES;

		if (v->zero >> s & 1) {
			memset(to, 0, VMS_LB_BYTES);
		} else if (v->have >> s & 1) {
			const struct vms_ovl_piece *pc = v->src[s];
			unsigned before = vms_mask_sectors((uint8_t)(pc->mask & ((1u << s) - 1)));

			memcpy(to, vms_wal_ptr(n->wal, pc->data_pos) + before * VMS_LB_BYTES,
			       VMS_LB_BYTES);
		}
	}
	*patched = v->have | v->zero;
	*base = *patched == VMS_MASK_FULL ? VMS_ADDR_HOLE : page->entry[chunk % VMS_SUBEXT_CHUNKS];
	(void)p;
	return 0;
}

void chunk_merge(uint8_t *base, const uint8_t *patch, uint8_t patched)
{
	for (unsigned s = 0; s < 8; s++)
		if (patched >> s & 1)
			memcpy(base + s * VMS_LB_BYTES, patch + s * VMS_LB_BYTES, VMS_LB_BYTES);
}

/* Seq of the newest committed TRIM that cuts the chunk off and is not applied here; 0: none.
 * A former primary has answered it when it had applied it, or this one before it started
 * again: what was there must not show once more. */
static uint64_t cut_off(const struct vms_node *n, const struct part *p, const struct seen *s,
			uint16_t chunk, uint64_t point)
{
	uint64_t at = (uint64_t)s->extent * VMS_EXTENT_CHUNKS + chunk, seq = 0;

	for (size_t i = 0; i < p->trims.n; i++) {
		const struct trim *t = &p->trims.d[i];

		if (!t->pages || t->seq <= seq || t->seq > point || at < t->first ||
		    n->mut == MUT_TRIM_SHOWS)
			continue;
		for (unsigned k = 0; k < s->st.n; k++)
			if (s->st.l[k].branch == t->branch)
				seq = t->seq;
	}
	return seq;
}

void part_view(struct vms_node *n, struct part *p, const struct seen *s, uint16_t chunk,
	       uint64_t point, vms_addr entry, struct vms_ovl_view *v)
{
	uint64_t cut = cut_off(n, p, s, chunk, point);

	vms_ovl_view_stack(&n->ovl, &s->ovl, chunk, point, entry, v);
	if (!cut)
		return;
	for (unsigned k = 0; k < 8; k++)
		if ((v->have >> k & 1) && v->src[k]->seq < cut) {
			v->have &= (uint8_t) ~(1u << k);
			v->src[k] = NULL;
		}
	v->zero = (uint8_t)~v->have;
	/* a log address stands for what lies below, too, and that is there still */
	v->addr = v->have ? VMS_ADDR_ASK : VMS_ADDR_HOLE;
}

/* ---- READ_ADDR, READ_LBA ---- */

struct rop {
	vms_conn_id conn;
	struct vms_msg req;
	unsigned n;
	uint8_t *data;	  /* n chunks */
	uint8_t *patch;	  /* n chunks, allocated with the first */
	uint8_t *patched; /* n */
	vms_addr *addr;	  /* to answer */
	uint64_t bytes;
};

static void rop_done(struct vms_node *n, struct fetch *f)
{
	struct rop *o = f->arg;
	struct vms_msg re;
	uint8_t *body = malloc(16 * (size_t)o->n + 1);
	struct vms_iov *iov = malloc((o->n + 1) * sizeof(*iov));
	struct part *p = node_part(n, o->req.partition);
	uint64_t bytes = 0;
	unsigned k = 0;

	vms_assert(body && iov);
	vms_msg_reply_init(&re, &o->req, 0);
	if (p && p->known)
		re.epoch = p->conf.epoch;
	for (unsigned i = 0; i < o->n; i++) {
		struct fetch_ent *e = &f->e[i];
		uint8_t *b = body + 16 * i;

		if (o->patched[i]) {
			uint8_t full = o->patched[i];

			if (e->skip) { /* wholly from the overlay */
				e->valid = full;
				e->status = 0;
			} else if (e->status && e->status != VMS_E_BAD_SECTORS) {
				e->valid = full;
				e->status = e->status == VMS_E_CORRUPT ? VMS_E_BAD_SECTORS
								       : e->status;
			} else {
				e->valid |= full;
			}
			if (!e->skip)
				chunk_merge(e->buf, o->patch + (size_t)i * VMS_CHUNK_BYTES, full);
			if (e->status == 0 || e->status == VMS_E_BAD_SECTORS) {
				e->status = e->valid == VMS_MASK_FULL ? 0 : VMS_E_BAD_SECTORS;
				e->crc = vms_crc32c(0, e->buf, VMS_CHUNK_BYTES);
			}
		}
		vms_put_le64(b, o->addr[i]);
		vms_put_le32(b + 8, e->crc);
		vms_put_le16(b + 12, (uint16_t)(int16_t)e->status);
		b[14] = e->valid;
		b[15] = 0;
		if ((e->status == 0 || e->status == VMS_E_BAD_SECTORS) &&
		    o->addr[i] != VMS_ADDR_HOLE) {
			if (k && (const uint8_t *)iov[k - 1].base + iov[k - 1].len == e->buf)
				iov[k - 1].len += VMS_CHUNK_BYTES;
			else
				iov[k++] = (struct vms_iov){e->buf, VMS_CHUNK_BYTES};
			bytes += VMS_CHUNK_BYTES;
		}
	}
	re.body = body;
	re.body_bytes = 16 * o->n;
	re.payload = iov;
	re.npayload = k;
	re.payload_bytes = bytes;
	n->st.read_chunks += o->n;
	n->nreads--;
	n->read_bytes -= o->bytes;
	node_send(n, o->conn, &re);
	free(body);
	free(iov);
	free(o->data);
	free(o->patch);
	free(o->patched);
	free(o->addr);
	free(o);
	fetch_free(f);
}

static struct fetch *rop_new(struct vms_node *n, struct conn *c, const struct vms_msg *m,
			     unsigned count)
{
	struct rop *o;
	struct fetch *f;

	if (n->nreads >= NODE_READS_MAX || n->read_bytes > NODE_READ_BYTES_MAX) {
		node_reply(n, c->id, m, VMS_E_BUSY);
		return NULL;
	}
	o = calloc(1, sizeof(*o));
	vms_assert(o);
	o->conn = c->id;
	o->req = vms_msg_head(m);
	o->n = count;
	o->bytes = (uint64_t)count * VMS_CHUNK_BYTES;
	o->data = malloc(o->bytes);
	o->patched = calloc(count, 1);
	o->addr = calloc(count, sizeof(*o->addr));
	vms_assert(o->data && o->patched && o->addr);
	f = fetch_new(n, count);
	f->arg = o;
	f->done = rop_done;
	for (unsigned i = 0; i < count; i++)
		f->e[i].buf = o->data + (size_t)i * VMS_CHUNK_BYTES;
	n->nreads++;
	n->read_bytes += o->bytes;
	n->st.reads++;
	return f;
}

/* Chunk i of the op is what the view shows. */
static void rop_view(struct vms_node *n, struct part *p, struct fetch *f, unsigned i,
		     const struct vms_ovl_view *v, const struct vms_page *page, uint16_t chunk)
{
	struct rop *o = f->arg;
	uint8_t *patch;

	if (!(v->have | v->zero)) {
		f->e[i].addr = page->entry[chunk % VMS_SUBEXT_CHUNKS];
		return;
	}
	if ((v->have | v->zero) == VMS_MASK_FULL) {
		patch = f->e[i].buf;
		f->e[i].skip = true;
	} else {
		if (!o->patch) {
			o->patch = malloc((size_t)o->n * VMS_CHUNK_BYTES);
			vms_assert(o->patch);
		}
		patch = o->patch + (size_t)i * VMS_CHUNK_BYTES;
	}
	chunk_resolve(n, p, v, page, chunk, patch, &o->patched[i], &f->e[i].addr);
}

static uint64_t read_point(const struct vms_node *n, const struct part *p)
{
	return n->mut == MUT_READ_UNCOMMITTED ? p->seq_last : p->committed;
}

int read_check(const struct vms_node *n, struct part *p, uint64_t epoch)
{
	if (!p || !p->known || !p->primary)
		return VMS_E_NOT_PRIMARY;
	if (!part_readable(n, p) || epoch > p->conf.epoch)
		return VMS_E_AGAIN;
	if (epoch < p->conf.epoch)
		return VMS_E_EPOCH;
	return 0;
}

/* A write that has been ordered for long (a replica is missing) may belong to an
 * initiator that has gone over to another path and must not see the old content
 * now and the new one later: then reads of its chunks wait for it. */
static bool stuck(const struct vms_node *n, const struct part *p)
{
	return p->pend_head && n->now_ms - p->pend_head->arrived_ms > n->tm.t_op_ms / 2 &&
	       n->mut != MUT_READ_UNCOMMITTED;
}

void read_lba(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	unsigned count = m->body_bytes / 2, sub = UINT32_MAX;
	struct vms_page page;
	struct seen seen;
	struct fetch *f;
	struct rop *o;
	int rc = read_check(n, p, m->epoch);

	if (!rc)
		rc = part_see(n, p, m->branch, m->extent, m->snap_gen, &seen);
	if (!rc && (!count || count > VMS_EXTENT_CHUNKS || m->body_bytes % 2))
		rc = VMS_E_PROTO;
	for (unsigned i = 0; !rc && i < count; i++)
		if (vms_get_le16(m->body + 2 * i) >= VMS_EXTENT_CHUNKS)
			rc = VMS_E_PROTO;
	if (rc) {
		node_reply(n, c->id, m, rc);
		return;
	}
	for (unsigned i = 0; i < count && stuck(n, p); i++) {
		struct vms_ovl_view v;

		vms_ovl_view_stack(&n->ovl, &seen.ovl, vms_get_le16(m->body + 2 * i), p->committed,
				   VMS_ADDR_ASK, &v);
		if (v.uncommitted) {
			node_reply(n, c->id, m, VMS_E_AGAIN);
			return;
		}
	}
	f = rop_new(n, c, m, count);
	if (!f)
		return;
	o = f->arg;
	for (unsigned i = 0; i < count; i++) {
		uint16_t ch = vms_get_le16(m->body + 2 * i);
		struct vms_ovl_view v;

		if (ch / VMS_SUBEXT_CHUNKS != sub) {
			sub = ch / VMS_SUBEXT_CHUNKS;
			rc = part_page(n, p, &seen, sub, &page);
		}
		part_view(n, p, &seen, ch, read_point(n, p),
			  rc ? VMS_ADDR_ASK : page.entry[ch % VMS_SUBEXT_CHUNKS], &v);
		o->addr[i] = v.uncommitted ? VMS_ADDR_ASK : v.addr;
		if (rc && (v.have | v.zero) != VMS_MASK_FULL) {
			f->e[i].skip = true;
			f->e[i].status = VMS_E_AGAIN; /* the page is being repaired */
			o->addr[i] = VMS_ADDR_ASK;
			continue;
		}
		if (o->addr[i] == VMS_ADDR_LOST)
			o->addr[i] = VMS_ADDR_ASK;
		rop_view(n, p, f, i, &v, &page, ch);
	}
	fetch_start(n, f);
}

/* A log address: the merged chunk as of that position, while it is the newest of its
 * layer. What lies below it cannot change any more. */
static void read_log_addr(struct vms_node *n, struct fetch *f, unsigned i, vms_addr a)
{
	struct vms_ovl_piece *pc = vms_ovl_by_addr(&n->ovl, a);
	struct vms_ovl_chunk *c = pc ? pc->c : vms_ovl_by_stub(&n->ovl, a);
	struct part *p = node_part(n, vms_addr_partition(a, n->conf.part_bits));
	struct vms_ovl_view v;
	struct vms_page page;
	struct seen seen;

	f->e[i].skip = true;
	f->e[i].status = VMS_E_UNKNOWN;
	if (!part_readable(n, p))
		return;
	f->e[i].status = VMS_E_GONE;
	if (!c)
		return;
	if (stuck(n, p) && !part_see(n, p, c->ext->branch, c->ext->extent, VMS_GEN_LIVE, &seen)) {
		vms_ovl_view_stack(&n->ovl, &seen.ovl, c->chunk, p->committed, VMS_ADDR_ASK, &v);
		if (v.uncommitted)
			return; /* GONE: by LBA, where it waits */
	}
	if (p->trims.n && (part_see(n, p, c->ext->branch, c->ext->extent, VMS_GEN_LIVE, &seen) ||
			   cut_off(n, p, &seen, c->chunk, p->committed)))
		return; /* the same */
	vms_ovl_view(&n->ovl, c->ext, c->chunk, p->committed, &v);
	if (!pc && !v.newest_seq) {
		f->e[i].skip = false;
		f->e[i].status = 0;
		f->e[i].addr = c->stub_to;
		return;
	}
	if (!pc || v.addr != a ||
	    part_see(n, p, c->ext->branch, c->ext->extent, c->ext->snap_gen, &seen))
		return;
	vms_ovl_view_stack(&n->ovl, &seen.ovl, c->chunk, p->committed, VMS_ADDR_ASK, &v);
	memset(page.entry, 0, sizeof(page.entry));
	if ((v.have | v.zero) != VMS_MASK_FULL &&
	    part_page(n, p, &seen, c->chunk / VMS_SUBEXT_CHUNKS, &page))
		return; /* GONE: by LBA, where it waits for the page */
	f->e[i].skip = false;
	f->e[i].status = 0;
	rop_view(n, p, f, i, &v, &page, c->chunk);
}

void read_addr(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	unsigned count = m->body_bytes / 8;
	struct part *p = node_part(n, m->partition);
	struct fetch *f;
	struct rop *o;

	if (!count || count > VMS_EXTENT_CHUNKS || m->body_bytes % 8) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	if (!p || !p->known) {
		node_reply(n, c->id, m, VMS_E_UNKNOWN);
		return;
	}
	f = rop_new(n, c, m, count);
	if (!f)
		return;
	f->own_only = true; /* the asker looks at the other members itself */
	o = f->arg;
	for (unsigned i = 0; i < count; i++) {
		vms_addr a = vms_get_le64(m->body + 8 * i);

		o->addr[i] = a;
		f->e[i].addr = a;
		if (a == VMS_ADDR_HOLE || a == VMS_ADDR_ASK ||
		    vms_addr_partition(a, n->conf.part_bits) != p->number) {
			f->e[i].skip = true;
			f->e[i].status = VMS_E_UNKNOWN;
		} else if (vms_addr_is_log(a, n->conf.part_bits)) {
			/* what lies below it has a place of its own, of which the asker
			 * does not know */
			f->e[i].any_node = true;
			read_log_addr(n, f, i, a);
		}
	}
	fetch_start(n, f);
}

/* ---- GET_PAGES ---- */

void read_pages(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct part *p = node_part(n, m->partition);
	uint8_t body[4 + VMS_EXTENT_SUBEXTS * (12 + 8 * VMS_SUBEXT_CHUNKS) + 4 +
		     24 * VMS_ANCESTORS_MAX];
	uint8_t own = 0xff, shared = 0;
	uint64_t point;
	struct seen seen;
	struct vms_msg re;
	uint32_t count = 0;
	unsigned at = 4;
	int rc = read_check(n, p, m->epoch);

	if (!rc && p->cand && n->mut != MUT_ADD_PAGES)
		rc = VMS_E_AGAIN; /* for a moment: session_recall() must be the last word */
	if (!rc)
		rc = part_see(n, p, m->branch, m->extent, m->snap_gen, &seen);
	if (!rc && (m->aux & 0xff) == 0)
		rc = VMS_E_PROTO;
	if (rc) {
		node_reply(n, c->id, m, rc);
		return;
	}
	point = read_point(n, p);
	if (m->snap_gen == VMS_GEN_LIVE && seen.st.n > 1)
		own = own_in_log(n, p, m->branch, m->extent);
	for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++) {
		struct vms_page page;
		bool any = false;

		if (!(m->aux >> s & 1))
			continue;
		rc = part_page(n, p, &seen, s, &page);
		if (rc) {
			/* damaged: every chunk by LBA, where that is waited for */
			for (unsigned k = 0; k < VMS_SUBEXT_CHUNKS; k++)
				page.entry[k] = VMS_ADDR_ASK;
		}
		for (unsigned k = 0; k < VMS_SUBEXT_CHUNKS; k++) {
			struct vms_ovl_view v;

			if (seen.ovl.n || p->trims.n) {
				part_view(n, p, &seen, (uint16_t)(s * VMS_SUBEXT_CHUNKS + k), point,
					  page.entry[k], &v);
				page.entry[k] = v.uncommitted && n->mut != MUT_ASK_SKIPPED
							? VMS_ADDR_ASK
							: v.addr;
			}
			if (page.entry[k] == VMS_ADDR_LOST)
				page.entry[k] = VMS_ADDR_ASK;
			any |= page.entry[k] != VMS_ADDR_HOLE;
		}
		body[at] = (uint8_t)s;
		body[at + 1] = any ? 0 : VMS_PAGE_EMPTY;
		if (!rc && !(own >> s & 1) && page.key.branch != m->branch) {
			body[at + 1] |= VMS_PAGE_SHARED;
			shared |= (uint8_t)(1u << s);
		}
		vms_put_le16(body + at + 2, 0);
		vms_put_le64(body + at + 4, p->committed);
		at += 12;
		for (unsigned k = 0; any && k < VMS_SUBEXT_CHUNKS; k++, at += 8)
			vms_put_le64(body + at, page.entry[k]);
		count++;
	}
	vms_put_le32(body, count);
	if (shared) { /* whose they are */
		vms_put_le32(body + at, seen.st.n - 1);
		at += 4;
		for (unsigned i = 1; i < seen.st.n; i++, at += 24) {
			vms_put_le64(body + at, seen.st.l[i].branch);
			vms_put_le64(body + at + 8, seen.st.l[i].snap_gen);
			vms_put_le64(body + at + 16, seen.st.l[i].limit_chunks);
		}
	}
	/* what is sealed does not change any more: nobody need be told */
	if (m->snap_gen >= node_branch(n, m->branch, false)->gen_min)
		vms_holder_add(&n->holders, p->number, m->branch, m->extent, c->sess->gateway,
			       (uint8_t)m->aux);
	session_holders_trim(n);
	n->st.pages += count;
	vms_msg_reply_init(&re, m, 0);
	re.epoch = p->conf.epoch;
	re.body = body;
	re.body_bytes = at;
	node_send(n, c->id, &re);
}
