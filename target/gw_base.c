// SPDX-License-Identifier: GPL-2.0-only
/*
 * Index pages that clones share: those of the sealed ancestors behind them.
 *
 * A *base* is what volumes have in common whose branches have the same ancestors: the
 * clones of one snapshot. A page of which a clone has nothing of its own is kept once for
 * its base. That a clone has nothing of its own there is a *claim*, a bit per sub-extent
 * for each clone. Claims come with pages, and for all extents of the base that are in use
 * at once by OWN, so a further clone of an image asks each node once. A claim is good as
 * long as a page is (session, lease, epoch of its partition), the node that answered it
 * knows us as a holder, and it ends with the first write: that of another gateway by
 * INVALIDATE (whatever chunks it names), an own one before it is sent.
 *
 * Pages of bases and claims lie in the page cache, so a clone costs no memory of its own
 * (gen: BASE_GEN under the base's number, CLAIM_GEN under the branch; the claims of 64
 * extents are one page; ASKED_GEN under the base's number, in the same form: which of its
 * pages have been asked for, so that clones that boot together ask once). Owner: tgt's event loop.
 * Keeps invariants 1, 2, 19 (rules A4, A5, C7, C10).
 */
#include "target/gw_base.h"
#include "target/gw_int.h"
#include "target/gw_read.h"
#include "target/gw_write.h"

/* No snapshot has such numbers. */
#define BASE_GEN      (VMS_GEN_LIVE - 1)
#define CLAIM_GEN     (VMS_GEN_LIVE - 2)
#define ASKED_GEN     (VMS_GEN_LIVE - 3)
#define CLAIM_EXTENTS (VMS_SUBEXT_CHUNKS / 2)
#define BASE_EXTENTS  4096u

struct gw_base {
	struct gw_link link; /* gw->bases */
	uint64_t number;     /* its pages' "branch" */
	unsigned refs;	     /* volumes */
	uint32_t nlayers;
	uint64_t layer[3 * VMS_ANCESTORS_MAX]; /* branch, ceiling, limit; nearest first */
	uint32_t nextents;		       /* of which pages have been used, a hint */
	uint32_t extent[BASE_EXTENTS];
};

/* An OWN request on its way. */
struct gw_claim {
	struct gw_link link; /* gw->claims */
	struct gw_link waiters;
	uint64_t branch;
	uint32_t node, session;
	uint32_t n;
	struct {
		uint32_t partition, extent;
		uint64_t epoch;
		uint8_t lost; /* sub-extents that have been written meanwhile */
	} e[VMS_OWN_MAX];
};

/* ---- claims in the page cache: epoch, then session | node | asked for | bits ---- */

#define CLAIM_ASKED 0x100u

static uint64_t *bits_at(struct vms_gw *gw, uint64_t branch, uint64_t gen, uint32_t extent,
			 bool make)
{
	struct vms_pc_page *pg = vms_pc_find(gw->pc, branch, gen, extent / CLAIM_EXTENTS, 0);

	if (!pg && make) {
		pg = vms_pc_insert(gw->pc, branch, gen, extent / CLAIM_EXTENTS, 0);
		memset(pg->entry, 0, sizeof(pg->entry));
	}
	return pg ? &pg->entry[extent % CLAIM_EXTENTS * 2] : NULL;
}

static uint64_t *claim_at(struct vms_gw *gw, uint64_t branch, uint32_t extent)
{
	return bits_at(gw, branch, CLAIM_GEN, extent, false);
}

static uint64_t claim_who(uint32_t node, uint32_t session)
{
	return (uint64_t)session << 32 | node << 16;
}

static bool claim_good(const uint64_t *c, uint64_t epoch, uint32_t node, uint32_t session)
{
	return c && c[0] == epoch && (c[1] & ~0xffffull) == claim_who(node, session);
}

static void bits_set(struct vms_gw *gw, uint64_t branch, uint64_t gen, uint32_t extent,
		     uint64_t epoch, uint32_t node, uint32_t session, uint64_t bits)
{
	uint64_t *c = bits_at(gw, branch, gen, extent, true);

	if (!claim_good(c, epoch, node, session)) {
		c[0] = epoch;
		c[1] = claim_who(node, session);
	}
	c[1] |= bits;
}

void gw_base_lost(struct vms_gw *gw, uint64_t branch, uint32_t extent, uint8_t subexts)
{
	uint64_t *c = claim_at(gw, branch, extent);

	if (c)
		c[1] &= ~(uint64_t)subexts;
	gw_each(l, &gw->claims)
	{
		struct gw_claim *q = gw_entry(l, struct gw_claim, link);

		for (uint32_t i = 0; q->branch == branch && i < q->n; i++)
			if (q->e[i].extent == extent)
				q->e[i].lost |= subexts;
	}
}

/* ---- bases ---- */

void gw_base_leave(struct vms_gw_vol *v)
{
	struct vms_gw *gw = v->gw;
	struct gw_base *b = v->base;

	if (!b)
		return;
	v->base = NULL;
	vms_pc_drop_all(gw->pc, v->rec.branch, CLAIM_GEN);
	if (--b->refs)
		return;
	vms_pc_drop_all(gw->pc, b->number, BASE_GEN);
	vms_pc_drop_all(gw->pc, b->number, ASKED_GEN);
	gw_list_del(&b->link);
	free(b);
}

/* The answer's list of ancestors, behind its pages. */
void gw_base_learn(struct vms_gw_vol *v, const struct vms_msg *m)
{
	struct vms_gw *gw = v->gw;
	uint64_t layer[3 * VMS_ANCESTORS_MAX];
	struct gw_base *b = NULL;
	struct vms_rd rd;
	uint32_t n;

	vms_rd_init(&rd, m->body, m->body_bytes);
	for (n = vms_rd_u32(&rd); n && vms_rd_ok(&rd); n--) {
		vms_rd_skip(&rd, 1);
		if (vms_rd_u8(&rd) & VMS_PAGE_EMPTY)
			vms_rd_skip(&rd, 2 + 8);
		else
			vms_rd_skip(&rd, 2 + 8 + 8 * VMS_SUBEXT_CHUNKS);
	}
	n = vms_rd_left(&rd) ? vms_rd_u32(&rd) : 0;
	if (!n || n > VMS_ANCESTORS_MAX)
		return;
	for (uint32_t i = 0; i < 3 * n; i++)
		layer[i] = vms_rd_u64(&rd);
	if (!vms_rd_ok(&rd))
		return;
	gw_each(l, &gw->bases)
	{
		struct gw_base *x = gw_entry(l, struct gw_base, link);

		if (x->nlayers == n && !memcmp(x->layer, layer, n * 3 * sizeof(layer[0])))
			b = x;
	}
	if (!b) {
		b = calloc(1, sizeof(*b));
		vms_assert(b);
		b->number = ++gw->base_serial;
		b->nlayers = n;
		memcpy(b->layer, layer, n * 3 * sizeof(layer[0]));
		gw_list_add(&gw->bases, &b->link);
	}
	b->refs++;
	v->base = b;
}

static struct vms_pc_page *page_of(struct vms_gw *gw, const struct gw_base *b, uint32_t extent,
				   uint8_t sub, uint64_t epoch, uint32_t node, uint32_t session)
{
	struct vms_pc_page *pg = vms_pc_find(gw->pc, b->number, BASE_GEN, extent, sub);

	if (!pg || pg->node != node || pg->session != session)
		return NULL;
	return pg->epoch == epoch || gw_mutant(gw, VMS_GWM_OLD_EPOCH) ? pg : NULL;
}

struct vms_pc_page *gw_base_page(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent,
				 uint8_t sub, const struct gw_part *part, const struct gw_node *n)
{
	const uint64_t *c = claim_at(gw, v->rec.branch, extent);
	struct vms_pc_page *pg;

	if (!claim_good(c, part->c.epoch, n->id, n->session) || !(c[1] >> sub & 1))
		return NULL;
	pg = page_of(gw, v->base, extent, sub, part->c.epoch, n->id, n->session);
	gw->st.pages_shared += pg != NULL;
	return pg;
}

bool gw_base_install(struct vms_gw *gw, const struct vms_gw_vol *v, const struct gw_pagereq *q,
		     uint8_t sub, uint64_t version, const uint8_t *entries)
{
	struct gw_base *b = v->base;
	struct vms_pc_page *pg;
	uint32_t i = 0;

	/* what is being written is the clone's own before the node knows */
	if (gw_own_overlap(gw, q->branch, q->extent, sub * VMS_SUBEXT_CHUNKS, VMS_SUBEXT_CHUNKS))
		return false;
	pg = vms_pc_insert(gw->pc, b->number, BASE_GEN, q->extent, sub);
	pg->node = q->node;
	pg->session = q->session;
	pg->epoch = q->epoch;
	pg->version = version;
	pg->own[0] = pg->own[1] = 0;
	for (unsigned k = 0; k < VMS_SUBEXT_CHUNKS; k++)
		pg->entry[k] = entries ? vms_get_le64(entries + 8 * k) : VMS_ADDR_HOLE;
	while (i < b->nextents && b->extent[i] != q->extent)
		i++;
	if (i == b->nextents && i < BASE_EXTENTS)
		b->extent[b->nextents++] = q->extent;
	bits_set(gw, q->branch, CLAIM_GEN, q->extent, q->epoch, q->node, q->session, 1u << sub);
	bits_set(gw, b->number, ASKED_GEN, q->extent, q->epoch, q->node, q->session, 1u << sub);
	return true;
}

void gw_base_drop(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent, uint8_t sub)
{
	struct vms_pc_page *pg = vms_pc_find(gw->pc, v->base->number, BASE_GEN, extent, sub);

	if (pg)
		vms_pc_drop(gw->pc, pg);
}

/* The clone gets a page of its own, as it shows now: the answer to the write brings it up
 * to date, and nobody need be asked. */
static void page_copy(struct vms_gw *gw, const struct vms_gw_vol *v, const struct vms_pc_page *from)
{
	struct vms_pc_page copy = *from;
	struct vms_pc_page *pg = vms_pc_insert(gw->pc, v->rec.branch, VMS_GEN_LIVE, copy.extent,
					       copy.sub);

	pg->node = copy.node;
	pg->session = copy.session;
	pg->epoch = copy.epoch;
	pg->version = copy.version;
	pg->own[0] = pg->own[1] = 0;
	memcpy(pg->entry, copy.entry, sizeof(pg->entry));
	gw_own_mask(gw, pg);
}

void gw_base_own(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t partition, uint32_t extent,
		 uint32_t first, uint32_t last)
{
	const struct gw_node *n = gw_primary(gw, partition);

	for (uint32_t s = first; s <= last; s++) {
		const struct vms_pc_page *pg =
			n ? gw_base_page(gw, v, extent, (uint8_t)s, &gw->part[partition], n) : NULL;

		if (pg)
			page_copy(gw, v, pg);
		gw_base_lost(gw, v->rec.branch, extent, (uint8_t)(1u << s));
	}
}

/* ---- asking ---- */

static struct gw_claim *claim_pending(struct vms_gw *gw, uint64_t branch, uint32_t extent,
				      const struct gw_node *n, uint64_t epoch)
{
	gw_each(l, &gw->claims)
	{
		struct gw_claim *q = gw_entry(l, struct gw_claim, link);

		if (q->branch != branch || q->node != n->id || q->session != n->session)
			continue;
		for (uint32_t i = 0; i < q->n; i++)
			if (q->e[i].extent == extent && q->e[i].epoch == epoch)
				return q;
	}
	return NULL;
}

static void claim_add(struct vms_gw *gw, struct gw_claim *q, uint32_t partition, uint32_t extent)
{
	uint8_t *at = gw->body + q->n * VMS_OWN_ASK_BYTES;
	uint64_t epoch = gw->part[partition].c.epoch;

	q->e[q->n].partition = partition;
	q->e[q->n].extent = extent;
	q->e[q->n++].epoch = epoch;
	vms_put_le32(at, partition);
	vms_put_le32(at + 4, extent);
	vms_put_le64(at + 8, epoch);
}

/* Extents of the base that this node leads and nothing is known of yet. */
static void claim_fill(struct vms_gw *gw, struct gw_claim *q, const struct vms_gw_vol *v,
		       const struct gw_node *n, uint32_t but)
{
	const struct gw_base *b = v->base;

	for (uint32_t i = 0; i < b->nextents && q->n < VMS_OWN_MAX; i++) {
		uint32_t p = vms_extent_partition(v->rec.lineage, b->extent[i],
						  gw->cluster.part_bits);
		const uint64_t *c;

		if (b->extent[i] == but || gw_primary(gw, p) != n)
			continue;
		c = claim_at(gw, q->branch, b->extent[i]);
		if (!claim_good(c, gw->part[p].c.epoch, n->id, n->session))
			claim_add(gw, q, p, b->extent[i]);
	}
}

bool gw_base_ask(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n, uint8_t need)
{
	const struct vms_gw_vol *v = p->vol;
	uint64_t epoch = gw->part[p->partition].c.epoch;
	const uint64_t *c = claim_at(gw, v->rec.branch, p->extent);
	struct gw_claim *q;
	struct vms_msg m = {.type = VMS_MSG_OWN,
			    .partition = VMS_PART_NONE,
			    .branch = v->rec.branch,
			    .body = gw->body};

	if (n->no_claims || p->claimed ||
	    (claim_good(c, epoch, n->id, n->session) && c[1] & CLAIM_ASKED))
		return false;
	/* A page that is there, or that another clone has asked for: its answer comes before
	 * ours. Who is the first to ask for it is told of the claim with it. */
	c = bits_at(gw, v->base->number, ASKED_GEN, p->extent, false);
	if (!claim_good(c, epoch, n->id, n->session) || !(c[1] & need)) {
		bits_set(gw, v->base->number, ASKED_GEN, p->extent, epoch, n->id, n->session, need);
		return false;
	}
	p->claimed = true;
	q = claim_pending(gw, v->rec.branch, p->extent, n, epoch);
	if (!q) {
		q = calloc(1, sizeof(*q));
		vms_assert(q);
		q->branch = v->rec.branch;
		q->node = n->id;
		q->session = n->session;
		gw_list_init(&q->waiters);
		claim_add(gw, q, p->partition, p->extent);
		claim_fill(gw, q, v, n, p->extent);
		m.body_bytes = q->n * VMS_OWN_ASK_BYTES;
		if (!gw_rpc_send(gw, n, GR_OWN, q, &m)) {
			free(q);
			return false;
		}
		gw->st.claims_asked++;
		gw_list_add(&gw->claims, &q->link);
	}
	gw_list_add(&q->waiters, &p->link);
	return true;
}

void gw_own_reply(struct vms_gw *gw, struct gw_claim *q, const struct vms_msg *m, int status)
{
	gw_list_del(&q->link);
	if (status == VMS_E_UNSUPPORTED)
		gw->node[q->node]->no_claims = true;
	if (!status && m->body_bytes != q->n * VMS_OWN_REPLY_BYTES)
		status = VMS_E_PROTO;
	for (uint32_t i = 0; !status && i < q->n; i++) {
		const uint8_t *at = m->body + i * VMS_OWN_REPLY_BYTES;
		uint32_t extent = q->e[i].extent;
		uint8_t own = at[2] | q->e[i].lost;

		if (vms_get_le16(at) || gw->part[q->e[i].partition].c.epoch != q->e[i].epoch)
			continue;
		if (gw_own_overlap(gw, q->branch, extent, 0, VMS_EXTENT_CHUNKS))
			for (unsigned s = 0; s < VMS_EXTENT_SUBEXTS; s++)
				if (gw_own_overlap(gw, q->branch, extent, s * VMS_SUBEXT_CHUNKS,
						   VMS_SUBEXT_CHUNKS))
					own |= (uint8_t)(1u << s);
		bits_set(gw, q->branch, CLAIM_GEN, extent, q->e[i].epoch, q->node, q->session,
			 CLAIM_ASKED | (uint8_t)~own);
	}
	/* whatever is still missing is asked for page by page */
	while (!gw_list_empty(&q->waiters)) {
		struct gw_piece *p = gw_entry(q->waiters.next, struct gw_piece, link);

		gw_list_del(&p->link);
		gw_piece_run(gw, p);
	}
	free(q);
}

bool gw_base_asks(struct vms_gw *gw, uint64_t branch, uint32_t extent)
{
	gw_each(l, &gw->claims)
	{
		const struct gw_claim *q = gw_entry(l, struct gw_claim, link);

		for (uint32_t i = 0; q->branch == branch && i < q->n; i++)
			if (q->e[i].extent == extent)
				return true;
	}
	return false;
}

uint32_t gw_claim_waits(struct vms_gw *gw, const struct gw_claim *q, const struct gw_node *n)
{
	gw_each(l, &q->waiters)
	{
		uint32_t p = gw_entry(l, struct gw_piece, link)->partition;

		if (gw_primary(gw, p) != n)
			return p;
	}
	return VMS_PART_NONE;
}

void gw_base_vol_gone(struct vms_gw *gw, struct vms_gw_vol *v)
{
	gw_each(l, &gw->claims)
		gw_orphans_drop(gw, &gw_entry(l, struct gw_claim, link)->waiters, v);
}

void gw_base_fini(struct vms_gw *gw)
{
	while (!gw_list_empty(&gw->claims)) {
		struct gw_claim *q = gw_entry(gw->claims.next, struct gw_claim, link);

		gw_list_del(&q->link);
		free(q);
	}
}
