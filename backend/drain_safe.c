// SPDX-License-Identifier: GPL-2.0-only
/*
 * New addresses become safe: the checkpoint that holds them is durable on all members. Then
 * gateways that have the page are told old and new. Keeps invariant 3 (rules A4, B1).
 */
#include "backend/drain.h"

#include "backend/dedup.h"
#include "backend/holders.h"
#include "backend/match.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_session.h"
#include "backend/overlay.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

/* Another node leads, and knows no old names: gateways read by LBA what has one. */
void drain_stubs_drop(struct vms_node *n, struct part *p)
{
	for (size_t i = p->stubs_head; i < p->stubs.n; i++) {
		const struct stub_ref *r = &p->stubs.d[i];
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r->branch,
							r->extent, r->snap_gen, false);
		struct vms_ovl_chunk *c = e ? vms_ovl_chunk_get(&n->ovl, e, r->chunk, false) : NULL;

		if (!c || !c->stub)
			continue;
		vms_ovl_stub_drop(&n->ovl, c);
		vms_ovl_chunk_tidy(&n->ovl, c);
		vms_ovl_ext_tidy(&n->ovl, e);
	}
	VMS_VEC_FREE(&p->stubs);
	p->stubs_head = 0;
}

struct upd {
	uint64_t branch;
	uint32_t extent;
	unsigned n;
	uint8_t subs;
	uint8_t body[24 * 256];
};

static void upd_send(struct vms_node *n, struct part *p, struct upd *u)
{
	struct vms_holder *h = u->n ? vms_holder_find(&n->holders, u->branch, u->extent) : NULL;

	for (uint32_t i = 0; h && i < h->n; i++) {
		struct session *s = session_get(n, h->gw[i].gateway);
		struct vms_msg m = {.type = VMS_MSG_PAGE_UPDATE, .partition = p->number};

		if (!s || !s->conn || !(h->gw[i].subexts & u->subs))
			continue;
		m.epoch = p->conf.epoch;
		m.branch = u->branch;
		m.extent = u->extent;
		m.body = u->body;
		m.body_bytes = 24 * u->n;
		n->st.page_updates++;
		node_send(n, s->conn, &m);
	}
	u->n = 0;
	u->subs = 0;
}

void drain_safe(struct vms_node *n, struct part *p)
{
	uint64_t safe = p->drain_ckpt;
	struct upd u = {.n = 0};

	for (unsigned i = 0; i < p->nm; i++)
		if (i != p->self && p->m[i].ckpt_seq < safe)
			safe = p->m[i].ckpt_seq;
	if (!p->primary || safe <= p->safe_seq)
		return;
	p->safe_seq = safe;
	dedup_safe(n, p);
	match_safe(n, p);
	while (p->stubs_head < p->stubs.n && p->stubs.d[p->stubs_head].seq <= safe) {
		struct stub_ref r = p->stubs.d[p->stubs_head++];
		struct vms_ovl_ext *e = vms_ovl_ext_get(&n->ovl, &p->ovl, p->number, r.branch,
							r.extent, r.snap_gen, false);
		struct vms_ovl_chunk *c = e ? vms_ovl_chunk_get(&n->ovl, e, r.chunk, false) : NULL;

		if (!c || !c->stub || c->stub_seq != r.seq)
			continue;
		if (u.n && (u.branch != r.branch || u.extent != r.extent || u.n == 256))
			upd_send(n, p, &u);
		u.branch = r.branch;
		u.extent = r.extent;
		u.subs |= (uint8_t)(1u << r.chunk / VMS_SUBEXT_CHUNKS);
		vms_put_le16(u.body + 24 * u.n, r.chunk);
		vms_put_le16(u.body + 24 * u.n + 2, 0);
		vms_put_le32(u.body + 24 * u.n + 4, 0);
		vms_put_le64(u.body + 24 * u.n + 8, c->stub_handed);
		vms_put_le64(u.body + 24 * u.n + 16, c->stub_to);
		u.n++;
		vms_ovl_stub_drop(&n->ovl, c);
		vms_ovl_chunk_tidy(&n->ovl, c);
		vms_ovl_ext_tidy(&n->ovl, e);
	}
	upd_send(n, p, &u);
	if (p->stubs_head == p->stubs.n)
		p->stubs_head = p->stubs.n = 0;
}
