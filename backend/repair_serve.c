// SPDX-License-Identifier: GPL-2.0-only
/*
 * The answering side of repair: segments and index pages for nodes whose copies are
 * damaged. Only what has been verified leaves; what is found damaged here is repaired in
 * its turn. Keeps invariants 9, 25.
 */
#include <stdlib.h>

#include "backend/ctr.h"
#include "backend/node.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/repair.h"
#include "backend/repair_int.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define SERVING_MAX 16u

struct serve {
	struct dio d;
	vms_conn_id conn;
	struct vms_msg req;
	uint64_t ctr, want;
	uint32_t seg, part;
	unsigned at; /* the block that is being read */
	bool got[1 + VMS_SEG_ENTRIES_MAX];
	uint8_t *buf;
};

static void serve_end(struct vms_node *n, struct serve *s, int status)
{
	if (status)
		node_reply(n, s->conn, &s->req, status);
	if (n->repair)
		n->repair->serving--;
	free(s->buf);
	free(s);
}

static vms_addr chunk_addr(const struct serve *s, unsigned k)
{
	return vms_addr_make(s->ctr, (uint32_t)vms_seg_chunk_offset(s->seg, k));
}

static void serve_answer(struct vms_node *n, struct serve *s)
{
	struct part *p = node_part(n, s->part);
	struct ctr *c = p ? part_ctr(p, s->ctr) : NULL;
	struct vms_iov iov[1 + VMS_SEG_ENTRIES_MAX];
	uint8_t body[8];
	struct vms_seg sg;
	struct vms_msg re;
	uint64_t mask = 0;
	unsigned k = 1;

	if (!c || c->state == 3) {
		serve_end(n, s, VMS_E_GONE);
		return;
	}
	if (!s->got[0] || vms_seg_decode(s->buf, s->ctr, (uint32_t)vms_seg_offset(s->seg), &sg)) {
		/* by a chunk of it: what is lost is not looked for again and again */
		repair_addr(n, chunk_addr(s, s->want ? (unsigned)__builtin_ctzll(s->want) : 0));
		serve_end(n, s, VMS_E_CORRUPT);
		return;
	}
	s->want &= repair_live(c, s->seg, sg.n);
	iov[0] = (struct vms_iov){s->buf, VMS_CHUNK_BYTES};
	for (unsigned i = 0; i < sg.n; i++) {
		uint8_t *b = s->buf + (i + 1ul) * VMS_CHUNK_BYTES;

		if (!(s->want >> i & 1))
			continue;
		if (n->mut != MUT_RP_TRUST &&
		    (!s->got[1 + i] || vms_crc32c(0, b, VMS_CHUNK_BYTES) != sg.e[i].crc)) {
			repair_addr(n, chunk_addr(s, i));
			continue;
		}
		mask |= 1ull << i;
		iov[k++] = (struct vms_iov){b, VMS_CHUNK_BYTES};
	}
	vms_put_le64(body, mask);
	vms_msg_reply_init(&re, &s->req, 0);
	re.flags |= VMS_F_PAYLOAD_CRC;
	re.body = body;
	re.body_bytes = sizeof(body);
	re.payload = iov;
	re.npayload = k;
	re.payload_bytes = (uint64_t)k * VMS_CHUNK_BYTES;
	n->repair->st.served++;
	node_send(n, s->conn, &re);
	serve_end(n, s, 0);
}

/* Block by block: a piece that cannot be read must not keep the others. */
static void serve_event(struct vms_node *n, struct dio *d, int status);

static void serve_next(struct vms_node *n, struct serve *s)
{
	if (s->at > VMS_SEG_ENTRIES_MAX) {
		serve_answer(n, s);
		return;
	}
	repair_read(n, s->ctr, vms_seg_offset(s->seg) + (uint64_t)s->at * VMS_CHUNK_BYTES,
		    s->buf + (size_t)s->at * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES, &s->d);
}

static void serve_event(struct vms_node *n, struct dio *d, int status)
{
	struct serve *s = (struct serve *)((char *)d - offsetof(struct serve, d));

	if (status == VMS_E_STOPPING) {
		serve_end(n, s, 0);
		return;
	}
	s->got[s->at] = !status;
	do
		s->at++; /* the header, then what is wanted */
	while (s->at <= VMS_SEG_ENTRIES_MAX && !(s->want >> (s->at - 1) & 1));
	serve_next(n, s);
}

void repair_serve_seg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	vms_addr a;
	uint32_t off;
	struct part *p;
	struct ctr *ct;
	struct serve *s;

	if (m->body_bytes != 16) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	a = vms_get_le64(m->body);
	off = vms_addr_offset_bytes(a);
	p = node_part(n, vms_addr_partition(a, n->conf.part_bits));
	ct = p ? part_ctr(p, vms_addr_container(a)) : NULL;
	if (!ct || ct->state == 3 || off < VMS_CHUNK_BYTES || off % VMS_CHUNK_BYTES ||
	    vms_seg_header_offset(off) != off || (off / VMS_CHUNK_BYTES - 1) / 65 >= ct->segs) {
		node_reply(n, c->id, m, VMS_E_UNKNOWN);
		return;
	}
	if (n->repair->serving >= SERVING_MAX) {
		node_reply(n, c->id, m, VMS_E_BUSY);
		return;
	}
	s = calloc(1, sizeof(*s));
	vms_assert(s);
	s->buf = malloc((size_t)(1 + VMS_SEG_ENTRIES_MAX) * VMS_CHUNK_BYTES);
	vms_assert(s->buf);
	s->d.fn = serve_event;
	s->conn = c->id;
	s->req = vms_msg_head(m);
	s->ctr = ct->number;
	s->part = p->number;
	s->seg = (off / VMS_CHUNK_BYTES - 1) / 65;
	s->want = vms_get_le64(m->body + 8) &
		  repair_live(ct, s->seg, ct->used[s->seg] ? ct->used[s->seg] : 64);
	n->repair->serving++;
	serve_next(n, s);
}

/* ---- index pages ---- */

void repair_serve_page(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_page_key key;
	uint8_t body[8], val[VMS_PAGE_VAL_BYTES];
	struct vms_iov iov = {val, sizeof(val)};
	struct vms_page page;
	struct vms_msg re;
	struct part *p;
	int rc;

	if (vms_page_key_decode(m->body, m->body_bytes, &key) || key.partition != m->partition) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	/* only who is in the set may speak for the partition */
	p = node_part(n, key.partition);
	if (!p || !p->known) {
		node_reply(n, c->id, m, VMS_E_UNKNOWN);
		return;
	}
	rc = vms_pages_lookup(n->pages, &key, &page);
	if (!rc && page.key.snap_gen != key.snap_gen)
		rc = VMS_E_NOENT;
	if (rc && rc != VMS_E_NOENT) {
		node_reply(n, c->id, m, rc);
		return;
	}
	vms_put_le64(body, p->applied);
	vms_msg_reply_init(&re, m, 0);
	re.body = body;
	re.body_bytes = sizeof(body);
	if (!rc) {
		vms_page_val_encode(val, &page);
		re.flags |= VMS_F_PAYLOAD_CRC;
		re.payload = &iov;
		re.npayload = 1;
		re.payload_bytes = iov.len;
	}
	n->repair->st.served++;
	node_send(n, c->id, &re);
}
