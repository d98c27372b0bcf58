// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the layers of snapshots show: parts of chunks over older ones, stubs, drains, pulls from
 * below, copying and crashes.
 */
#include "backend/branch.h"
#include "backend/copyfwd.h"
#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/node_repl.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/layer_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

/* No checkpoint for the next 5 s (on), or whenever. */
static void checkpoints_wait(bool on)
{
	for (unsigned i = 0; i < R.nnodes; i++) {
		node(i)->ckpt_ms = node(i)->now_ms;
		node(i)->copy_end = on ? UINT64_MAX : 0;
	}
}

/* A part of a chunk over a snapshot: LBA, page and log address show the merged chunk,
 * the snapshot goes on showing the old one; in the overlay, with the older layer
 * drained, and with both. */
static void a_part_over_a_snapshot(void)
{
	uint8_t old[CHUNK], now[CHUNK], part[2 * VMS_LB_BYTES], x[CHUNK];
	struct wr w = {.branch = LIN,
		       .gen = 2,
		       .kind = VMS_WRITE_DATA,
		       .data = part,
		       .mask = 0x0c,
		       .chunk = 5};
	vms_addr e[VMS_SUBEXT_CHUNKS], a;

	fill(old, 1);
	memset(part, 0x77, sizeof(part));
	memcpy(now, old, CHUNK);
	memcpy(now + 2 * VMS_LB_BYTES, part, sizeof(part));
	for (unsigned k = 0; k < 4; k++) {
		up(1, 30 + k, VMS_ACK_DISK);
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
		if (k == 1 || k == 3)
			drain_all();
		next_gen(LIN, 2);
		CU_ASSERT_EQUAL(put(0, &w), 0);
		CU_ASSERT_TRUE(w.addr > VMS_ADDR_ASK);
		CU_ASSERT_EQUAL(addr_read(1, w.addr, x), 0);
		CU_ASSERT_EQUAL(memcmp(x, now, CHUNK), 0);
		if (k >= 2)
			drain_all();
		CU_ASSERT_EQUAL(lba(1, LIN, VMS_GEN_LIVE, 0, 5, x, &a), 0);
		CU_ASSERT_EQUAL(memcmp(x, now, CHUNK), 0);
		CU_ASSERT_EQUAL(lba(1, LIN, 2, 0, 5, x, &a), 0);
		CU_ASSERT_EQUAL(memcmp(x, now, CHUNK), 0);
		CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 1));
		for (uint64_t gen = 1; gen <= 2; gen++) {
			CU_ASSERT_EQUAL(pages(1, LIN, gen, 0, 0, e), 0);
			CU_ASSERT_EQUAL(addr_read(1, e[5], x), 0);
			CU_ASSERT_EQUAL(memcmp(x, gen == 1 ? old : now, CHUNK), 0);
			CU_ASSERT_TRUE(addr_safe(e[5], 0));
			CU_ASSERT_EQUAL(vms_addr_is_log(e[5], R.part_bits),
					gen == 1 ? k == 0 : k < 2);
		}
		/* a hole over it, also when only the page below shows it */
		CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 5, 0), 0);
		CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 5, 0));
		drain_all();
		CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 5, 0));
		CU_ASSERT_TRUE(shows(LIN, 1, 0, 5, 1));
		rig_close(&R);
	}
}

/* As the collector would: the chunk moves within its partition. */
static void remap_one(struct part *p, uint64_t branch, uint64_t gen, uint16_t chunk, uint64_t seed)
{
	struct vms_node *n = node(rig_primary(&R, p->number));
	struct vms_page_key k = {p->number, branch, 0, gen};
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m = {.branch = branch, .snap_gen = gen, .chunk = chunk, .valid = 0xff};
	uint8_t b[CHUNK], meta[8 + VMS_MOVE_BYTES];
	struct vms_page page;
	uint64_t ctr;
	uint32_t seg;

	fill(b, seed);
	m.crc = vms_crc32c(0, b, CHUNK);
	CU_ASSERT_EQUAL(vms_pages_lookup(n->pages, &k, &page), 0);
	CU_ASSERT_EQUAL(page.key.snap_gen, gen);
	m.from_seq = page.entry[chunk];
	for (unsigned i = 0; i < 50 && drain_place(n, p, 1, &ctr, &seg); i++)
		rig_run(&R, 2);
	m.to = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(seg, 0));
	vms_rec_moves_encode(meta, &m, 1);
	r.meta = meta;
	r.meta_bytes = vms_rec_moves_bytes(1);
	CU_ASSERT_EQUAL(part_order(n, p, &r, NULL, 0), 0);
	p->open_seg++;
	p->open_chunks++;
	rig_run(&R, 50);
	CU_ASSERT_EQUAL(vms_pages_lookup(n->pages, &k, &page), 0);
	CU_ASSERT_EQUAL(page.entry[chunk], m.to);
}

/* What a page hands out between the drain of a snapshot's chunk and the checkpoint
 * that makes it durable: the address gateways know, through all layers. */
static void stubs_of_older_layers_hold(void)
{
	vms_addr e[VMS_SUBEXT_CHUNKS], h[VMS_SUBEXT_CHUNKS];
	struct part *p;
	unsigned held = 0;

	up(1, 40, VMS_ACK_DISK);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, (uint16_t)i, 100 + i), 0);
	next_gen(LIN, 2);
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 10}}, 1);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 0, 7), 0);
	CU_ASSERT_EQUAL(put_seed(20, 1, 0, 1, 8), 0);
	CU_ASSERT_EQUAL(pages(0, 20, VMS_GEN_LIVE, 0, 0, h), 0);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(h[i] != VMS_ADDR_HOLE, i < 10);
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 15, 0));
	CU_ASSERT_EQUAL(pages(0, LIN, VMS_GEN_LIVE, 0, 0, h), 0);
	p = primary_part(part_of(0));
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_wal_gen_seal(node(i)->wal);
	checkpoints_wait(true);
	p->scan_due = true;
	for (unsigned i = 0; i < 200 && p->ovl.npieces; i++)
		rig_run(&R, 1);
	CU_ASSERT_EQUAL(p->ovl.npieces, 0);
	CU_ASSERT_TRUE(p->ovl.nstubs >= 22 && p->safe_seq == 0);
	CU_ASSERT_EQUAL(pages(1, LIN, VMS_GEN_LIVE, 0, 0, e), 0);
	for (unsigned i = 0; i < 20; i++)
		held += e[i] == h[i];
	CU_ASSERT_EQUAL(held, 20);
	CU_ASSERT_EQUAL(pages(1, LIN, 1, 0, 0, e), 0);
	for (unsigned i = 1; i < 20; i++)
		CU_ASSERT_EQUAL(e[i], h[i]);
	CU_ASSERT_TRUE(vms_addr_is_log(e[0], R.part_bits) && e[0] != h[0]);
	CU_ASSERT_EQUAL(pages(1, 20, VMS_GEN_LIVE, 0, 0, e), 0);
	for (unsigned i = 2; i < 10; i++)
		CU_ASSERT_EQUAL(e[i], h[i]);
	CU_ASSERT_TRUE(vms_addr_is_log(e[1], R.part_bits));
	for (unsigned i = 10; i < 20; i++)
		CU_ASSERT_EQUAL(e[i], VMS_ADDR_HOLE);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_TRUE(shows(LIN, 1, 0, (uint16_t)i, 100 + i));
	/* the newer page's entry moves again: its old address was never handed out */
	remap_one(p, LIN, 2, 15, 115);
	CU_ASSERT_EQUAL(pages(1, LIN, VMS_GEN_LIVE, 0, 0, e), 0);
	CU_ASSERT_EQUAL(e[15], h[15]);
	CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 15, 115));
	CU_ASSERT_TRUE(p->safe_seq == 0);
	checkpoints_wait(false);
	drain_all();
	CU_ASSERT_EQUAL(p->ovl.nstubs, 0);
	CU_ASSERT_EQUAL(pages(1, LIN, VMS_GEN_LIVE, 0, 0, e), 0);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_FALSE(vms_addr_is_log(e[i], R.part_bits));
	rig_close(&R);
}

/* One seek per layer that may have a page, none where the delta has the newest. */
static void seeks_per_layer(void)
{
	struct vms_cat_ancestor a[VMS_ANCESTORS_MAX];
	vms_addr e[VMS_SUBEXT_CHUNKS];
	struct vms_node *n;
	uint64_t gen = 1, before;

	up(0, 60, VMS_ACK_DISK);
	n = node(0);
	for (; gen <= 12; gen++) {
		CU_ASSERT_EQUAL(put_seed(LIN, gen, 0, 1, gen), 0);
		drain_all();
		next_gen(LIN, gen + 1);
	}
	CU_ASSERT_EQUAL(vms_pages_delta_count(n->pages), 0);
	for (uint64_t g = 1; g <= 13; g += 4) { /* 12 snapshots or none: the same */
		before = vms_pages_lookups(n->pages);
		CU_ASSERT_EQUAL(pages(0, LIN, g == 13 ? VMS_GEN_LIVE : g, 0, 0, e), 0);
		CU_ASSERT_EQUAL(vms_pages_lookups(n->pages) - before, 1);
		CU_ASSERT_TRUE(shows(LIN, g, 0, 1, g < 12 ? g : 12));
	}
	for (unsigned i = 0; i < VMS_ANCESTORS_MAX; i++) { /* clones of clones */
		clone_put(20 + i, a, 0);
		memmove(a + 1, a, i * sizeof(*a));
		a[0] = (struct vms_cat_ancestor){i ? 19 + i : LIN, i ? 1 : 6, UINT32_MAX};
		clone_put(40 + i, a, i + 1);
		before = vms_pages_lookups(n->pages);
		CU_ASSERT_EQUAL(pages(0, 40 + i, VMS_GEN_LIVE, 0, 0, e), 0);
		CU_ASSERT_EQUAL(vms_pages_lookups(n->pages) - before, i + 2);
		CU_ASSERT_TRUE(shows(40 + i, VMS_GEN_LIVE, 0, 1, 6));
	}
	/* in the delta: no seek at all for a live read, however many numbers */
	CU_ASSERT_EQUAL(put_seed(LIN, gen, 0, 1, 77), 0);
	vms_wal_gen_seal(n->wal);
	checkpoints_wait(true);
	n->part[0]->scan_due = true;
	for (unsigned i = 0; i < 200 && !vms_pages_delta_count(n->pages); i++)
		rig_run(&R, 1);
	CU_ASSERT_EQUAL(vms_pages_delta_count(n->pages), 1);
	before = vms_pages_lookups(n->pages);
	CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 1, 77));
	CU_ASSERT_EQUAL(vms_pages_lookups(n->pages), before);
	rig_close(&R);
}

/* Which sub-extents of two extents have something of the branch's own, asked with one
 * epoch that is wrong if bad. */
static int own(unsigned g, uint64_t branch, bool bad, uint8_t *mask)
{
	uint8_t body[2 * VMS_OWN_ASK_BYTES];
	struct rig_reply re;
	struct vms_msg m = {
		.type = VMS_MSG_OWN,
		.partition = part_of(0), /* of the first; the rig's way to its primary */
		.branch = branch,
		.body = body,
		.body_bytes = sizeof(body)};
	int st;

	for (unsigned i = 0; i < 2; i++) {
		vms_put_le32(body + 16 * i, part_of(0));
		vms_put_le32(body + 16 * i + 4, i);
		vms_put_le64(body + 16 * i + 8, R.gw[g].epoch[part_of(0)] + (bad && i));
	}
	st = ask(g, &m, &re, 400);
	if (st)
		return st;
	CU_ASSERT_EQUAL(re.m.body_bytes, 2 * VMS_OWN_REPLY_BYTES);
	*mask = re.body[2];
	CU_ASSERT_EQUAL((int16_t)vms_get_le16(re.body), 0);
	CU_ASSERT_EQUAL((int16_t)vms_get_le16(re.body + 4), bad ? VMS_E_AGAIN : 0);
	rig_reply_free(&re);
	return 0;
}

/* Does GET_PAGES say that the page is its ancestors', and whose they are? */
static bool page_shared(unsigned g, uint64_t branch, uint32_t extent, unsigned sub)
{
	struct rig_reply re;
	struct vms_msg m = {.type = VMS_MSG_GET_PAGES,
			    .partition = part_of(extent),
			    .branch = branch,
			    .snap_gen = VMS_GEN_LIVE,
			    .extent = extent,
			    .aux = 1u << sub};
	bool shared;
	size_t at;

	CU_ASSERT_EQUAL_FATAL(ask(g, &m, &re, 400), 0);
	shared = re.body[5] & VMS_PAGE_SHARED;
	at = 16 + (re.body[5] & VMS_PAGE_EMPTY ? 0 : 8 * VMS_SUBEXT_CHUNKS);
	CU_ASSERT_EQUAL(re.m.body_bytes, at + (shared ? 28 : 0));
	if (shared) {
		CU_ASSERT_EQUAL(vms_get_le32(re.body + at), 1);
		CU_ASSERT_EQUAL(vms_get_le64(re.body + at + 4), LIN);
		CU_ASSERT_EQUAL(vms_get_le64(re.body + at + 12), 1);
		CU_ASSERT_EQUAL(vms_get_le64(re.body + at + 20), UINT32_MAX);
	}
	rig_reply_free(&re);
	return shared;
}

/* What a clone has of its own: whatever is ordered, in the log or in containers, but not
 * what shows through. Who has asked is told of the first write. */
static void a_clone_tells_what_is_its_own(void)
{
	struct vms_cat_ancestor anc = {LIN, 1, UINT32_MAX};
	struct wr zero = {.branch = LIN + 1,
			  .gen = 1,
			  .chunk = 6 * VMS_SUBEXT_CHUNKS - 1,
			  .count = 2,
			  .kind = VMS_WRITE_ZERO};
	uint8_t mask;

	up(1, 91, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 6 * VMS_SUBEXT_CHUNKS - 1, 7), 0);
	CU_ASSERT_FALSE(page_shared(1, LIN, 0, 0)); /* its epoch is known now */
	CU_ASSERT_EQUAL(own(1, LIN, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 0xff); /* of no clone there is nothing to share */
	next_gen(LIN, 2);
	clone_put(LIN + 1, &anc, 1);
	CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 0);
	CU_ASSERT_EQUAL(own(1, LIN + 1, true, &mask), 0);
	CU_ASSERT(page_shared(1, LIN + 1, 0, 0));
	CU_ASSERT(page_shared(1, LIN + 1, 0, 7));
	drain_all();
	CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 0);
	CU_ASSERT_EQUAL(put_seed(LIN + 1, 1, 0, 2 * VMS_SUBEXT_CHUNKS + 5, 2), 0);
	CU_ASSERT_EQUAL(R.gw[1].invals, 1);
	for (unsigned drained = 0; drained < 2; drained++) {
		CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
		CU_ASSERT_EQUAL(mask, 1u << 2);
		CU_ASSERT_FALSE(page_shared(1, LIN + 1, 0, 2));
		CU_ASSERT(page_shared(1, LIN + 1, 0, 3));
		drain_all();
	}
	CU_ASSERT_EQUAL(put(0, &zero), 0);
	for (unsigned drained = 0; drained < 2; drained++) {
		CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
		/* no page is made to say that holes are holes */
		CU_ASSERT_EQUAL(mask, 1u << 2 | 1u << 5 | (drained ? 0 : 1u << 6));
		drain_all();
	}
	CU_ASSERT_EQUAL(put_seed(LIN + 1, 1, 1, 9, 3), 0); /* another extent */
	CU_ASSERT_EQUAL(own(1, LIN + 1, false, &mask), 0);
	CU_ASSERT_EQUAL(mask, 1u << 2 | 1u << 5);
	rig_close(&R);
}

/* Hundreds of snapshots with a write each: reads do not go through hundreds of layers,
 * though the log is far from full. */
static void many_snapshots_do_not_pile_up_layers(void)
{
	struct vms_ovl_stack s;
	struct vms_stack st;
	unsigned most = 0;
	vms_addr e[VMS_SUBEXT_CHUNKS];
	uint64_t before;

	up(0, 89, VMS_ACK_DISK);
	for (uint64_t gen = 1; gen <= 300; gen++) {
		unsigned depth = 0;

		CU_ASSERT_EQUAL(put_seed(LIN, gen, 0, (uint16_t)(gen % 100), gen), 0);
		CU_ASSERT_EQUAL(node_stack(node(0), LIN, VMS_GEN_LIVE, &st), 0);
		vms_ovl_stack(&node(0)->ovl, 0, &st, 0, &s);
		for (struct vms_ovl_ext *x = s.n ? s.l[0].e : NULL; x; x = x->older)
			for (struct vms_ovl_chunk *c = x->chunks; c; c = c->next)
				if (c->newest) { /* not only a stub, until all have a checkpoint */
					depth++;
					break;
				}
		most = depth > most ? depth : most;
		rig_run(&R, 20);
	}
	CU_ASSERT_TRUE(most < 60);
	drain_all();
	for (uint64_t gen = 1; gen <= 300; gen += 23) {
		before = vms_pages_lookups(node(0)->pages);
		CU_ASSERT_EQUAL(pages(0, LIN, gen, 0, 0, e), 0);
		CU_ASSERT_EQUAL(vms_pages_lookups(node(0)->pages) - before, 1);
		CU_ASSERT_TRUE(shows(LIN, gen, 0, (uint16_t)(gen % 100), gen));
	}
	CU_ASSERT_EQUAL(put_seed(LIN, VMS_GEN_LIVE, 0, 1, 1), VMS_E_INVAL);
	CU_ASSERT_EQUAL(floor_all(LIN, VMS_GEN_LIVE, 0), VMS_E_INVAL);
	rig_close(&R);
}

static struct vms_ovl_ext *ext_of(uint64_t branch, uint64_t gen, uint32_t extent)
{
	struct part *p = primary_part(part_of(extent));

	return vms_ovl_ext_get(&node(rig_primary(&R, p->number))->ovl, &p->ovl, p->number, branch,
			       extent, gen, false);
}

/* An ordered drain of an older layer's chunk does not take a write that came after it:
 * nothing of a newer layer is drained before that one is. */
static void a_pinned_chunk_with_a_newer_write_holds_newer_layers(void)
{
	struct vms_ovl_chunk *c;

	up(0, 91, VMS_ACK_DISK);
	CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, 5, 1), 0);
	next_gen(LIN, 2);
	clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
	CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 6, 2), 0);
	CU_ASSERT_EQUAL(put_seed(20, 1, 0, 7, 3), 0);
	c = vms_ovl_chunk_get(&node(0)->ovl, ext_of(LIN, 1, 0), 5, false);
	c->pins = 1; /* as if a record were ordered that takes what was there before it */
	c->pin_seq = c->newest->seq - 1;
	drain_all();
	CU_ASSERT_PTR_NOT_NULL(ext_of(LIN, 2, 0));
	CU_ASSERT_PTR_NOT_NULL(ext_of(20, 1, 0));
	c->pins = 0;
	drain_all();
	CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
	for (uint64_t b = LIN; b <= 20; b += 13)
		CU_ASSERT_TRUE(shows(b, VMS_GEN_LIVE, 0, 5, 1));
	CU_ASSERT_TRUE(shows(LIN, 1, 0, 6, 0));
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 6, 0));
	CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 7, 3));
	rig_close(&R);
}

/* Between reading a chunk and naming it in a record a write lets pieces go that still
 * showed, and the zeros of a range lie below: it is not what was read any more. */
static void a_range_below_does_not_stand_for_what_was_read(void)
{
	uint8_t whole[CHUNK], part[2 * VMS_LB_BYTES], want[CHUNK] = {0}, x[CHUNK];
	struct wr w = {.branch = LIN, .gen = 1, .kind = VMS_WRITE_ZERO, .count = 8};
	struct drain_job *d = NULL;
	struct part *p;
	vms_addr a;

	up(0, 97, VMS_ACK_DISK);
	fill(whole, 1);
	fill(want, 2);
	memcpy(part, want, sizeof(part));
	memset(want + sizeof(part), 0, CHUNK - sizeof(part));
	CU_ASSERT_EQUAL(put(0, &w), 0);
	w = (struct wr){.branch = LIN, .gen = 1, .chunk = 5, .kind = VMS_WRITE_DATA, .data = whole};
	CU_ASSERT_EQUAL(put(0, &w), 0);
	w.data = part;
	w.mask = 0x03;
	CU_ASSERT_EQUAL(put(0, &w), 0);
	p = primary_part(0);
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_wal_gen_seal(node(i)->wal);
	for (int i = 0; i < 10000 && !(d && d->n == 2 && !d->reading); i++) {
		rig_step(&R);
		d = p->drain;
	}
	CU_ASSERT_TRUE_FATAL(d && d->n == 2 && d->next == 0);
	p->trims.n++; /* nothing is ordered meanwhile */
	w = (struct wr){.branch = LIN, .gen = 1, .chunk = 5, .kind = VMS_WRITE_ZERO, .mask = 0xfc};
	CU_ASSERT_EQUAL(put(0, &w), 0);
	p->trims.n--;
	drain_all();
	drain_all();
	CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
	corrupt_check();
	CU_ASSERT_EQUAL(corrupt, 0);
	CU_ASSERT_EQUAL(lba(1, LIN, VMS_GEN_LIVE, 0, 5, x, &a), 0);
	CU_ASSERT_EQUAL(memcmp(x, want, CHUNK), 0);
	rig_close(&R);
}

/* What an older layer has was copied forward, to above what is to be freed, and the
 * newer layer's was not: it comes along, else neither could ever go. */
static void older_layers_are_pulled_in(void)
{
	for (unsigned how = 0; how < 3; how++) {
		struct member *m;
		struct vms_node *n;

		up(0, 92 + how, VMS_ACK_DISK);
		n = node(0);
		primary_part(0)->trims.n++; /* no drains now */
		for (uint16_t i = 0; i < 10; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 1, 0, i, 10 + i), 0);
		vms_wal_gen_seal(n->wal);
		next_gen(LIN, 2);
		clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, 1000}}, 1);
		if (how != 1)
			CU_ASSERT_EQUAL(put_seed(LIN, 2, 0, 20, 2), 0);
		if (how != 0)
			CU_ASSERT_EQUAL(put_seed(20, 1, 0, 21, 3), 0);
		vms_wal_gen_seal(n->wal);
		rig_run(&R, 400);
		drain_abort(n, primary_part(0)); /* it was listed before the copying */
		primary_part(0)->trims.n--;
		m = &primary_part(0)->m[1 - primary_part(0)->self];
		m->streaming = false; /* as if it were missing for a while */
		copy_forward(n);
		m->streaming = true;
		CU_ASSERT_TRUE(n->st.copied >= 10);
		CU_ASSERT_TRUE(ext_of(LIN, 1, 0)->chunks->newest->data_pos >
			       ext_of(how ? 20 : LIN, how ? 1 : 2, 0)->chunks->newest->data_pos);
		rig_run(&R, 5000);
		CU_ASSERT_EQUAL(primary_part(0)->ovl.npieces, 0);
		for (unsigned again = 0; again < 2; again++) {
			for (uint16_t i = 0; i < 10; i++) {
				CU_ASSERT_TRUE(shows(LIN, 1, 0, i, 10 + i));
				CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, i, 10 + i));
				CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, i, 10 + i));
			}
			CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, 0, 20, how == 1 ? 0 : 2));
			CU_ASSERT_TRUE(shows(20, VMS_GEN_LIVE, 0, 21, how == 0 ? 0 : 3));
			for (unsigned i = 0; i < 2 && !again; i++)
				rig_node_crash(&R, i, true);
			for (unsigned i = 0; i < 2 && !again; i++)
				rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 30000));
		}
		rig_close(&R);
	}
}

static uint32_t ext_of_part(uint32_t part, unsigned nth)
{
	for (uint32_t e = 0;; e++)
		if (part_of(e) == part && !nth--)
			return e;
}

/* A member is away for long: what the layers have is copied forward over and over, while
 * others drain; then power goes. Nothing drained comes back over newer layers (a replayed
 * older write would hide them), nothing undrained is lost under them. */
static void layers_through_copying_and_crashes(void)
{
	static uint8_t b[CHUNK];

	for (unsigned round = 0; round < 4; round++) {
		uint32_t e0, e2;
		struct vms_node *n;

		R.gen_bytes = 256 << 10;
		up(2, 100 + round, VMS_ACK_DISK);
		n = node(0);
		e0 = ext_of_part(0, 0);
		e2 = ext_of_part(2, 0);
		/* chunk by chunk: drained in layer 1; over it layer 2 drained; layer 2 not
		 * drained; layer 1 only, not drained; a clone's part over it */
		for (uint16_t i = 0; i < 60; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 1, e0, i, 1000 + i), 0);
		drain_all();
		for (uint16_t i = 60; i < 120; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 1, e0, i, 1000 + i), 0);
		next_gen(LIN, 2);
		clone_put(20, (struct vms_cat_ancestor[]){{LIN, 1, UINT32_MAX}}, 1);
		for (uint16_t i = 0; i < 120; i += 3)
			CU_ASSERT_EQUAL(put_seed(LIN, 2, e0, i, 2000 + i), 0);
		if (round & 1)
			drain_all();
		for (uint16_t i = 1; i < 120; i += 3) {
			struct wr w = {.branch = 20,
				       .gen = 1,
				       .extent = e0,
				       .chunk = i,
				       .mask = 0x40,
				       .data = b,
				       .kind = VMS_WRITE_DATA};

			CU_ASSERT_EQUAL(put(0, &w), 0);
		}
		CU_ASSERT_EQUAL(put_seed(20, 1, e0, 2, 0), 0);
		if (round &
		    2) /* drained, but its record is still in the log when the copying begins */
			for (unsigned i = 0; i < 3; i++) {
				vms_wal_gen_seal(node(i)->wal);
				primary_part(0)->scan_due = true;
				rig_run(&R, 8);
			}
		for (uint16_t i = 0; i < 20; i++) /* something to copy in any case */
			CU_ASSERT_EQUAL(put_seed(LIN, 2, ext_of_part(0, 1), i, 50 + i), 0);
		rig_node_crash(&R, 1, true);
		rig_run(&R, 100);
		for (unsigned i = 0; i < 3000; i++)
			CU_ASSERT_EQUAL(put_seed(LIN, 2, e2, (uint16_t)(i % 500), 3000 + i), 0);
		CU_ASSERT_TRUE(n->st.copied > 0);
		for (unsigned k = 0; k < 3; k++) {
			if (k < 2)
				rig_node_crash(&R, 0, true);
			if (k)
				rig_node_crash(&R, 2, true);
			for (unsigned i = 0; i < 3; i++)
				if (!node(i))
					rig_node_start(&R, i);
			CU_ASSERT_TRUE(rig_wait_active(&R, 60000));
			for (uint16_t i = 0; i < 120; i++) {
				uint8_t want[CHUNK], x[CHUNK];
				vms_addr a;

				CU_ASSERT_TRUE(shows(LIN, 1, e0, i, 1000 + i));
				CU_ASSERT_TRUE(shows(LIN, VMS_GEN_LIVE, e0, i,
						     i % 3 ? 1000 + i : 2000 + i));
				fill(want, 1000 + i);
				if (i % 3 == 1)
					memset(want + 6 * VMS_LB_BYTES, 0, VMS_LB_BYTES);
				if (i == 2)
					memset(want, 0, CHUNK);
				CU_ASSERT_EQUAL(lba(1, 20, VMS_GEN_LIVE, e0, i, x, &a), 0);
				CU_ASSERT_EQUAL(memcmp(x, want, CHUNK), 0);
			}
			if (k == 1)
				drain_all();
		}
		for (unsigned i = 0; i < 3; i++)
			CU_ASSERT_EQUAL(node(i)->st.corrupt, 0);
		R.gen_bytes = 0;
		rig_close(&R);
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(a_part_over_a_snapshot),
	VMS_TEST(stubs_of_older_layers_hold),
	VMS_TEST(seeks_per_layer),
	VMS_TEST(many_snapshots_do_not_pile_up_layers),
	VMS_TEST(a_clone_tells_what_is_its_own),
	VMS_TEST(a_pinned_chunk_with_a_newer_write_holds_newer_layers),
	VMS_TEST(a_range_below_does_not_stand_for_what_was_read),
	VMS_TEST(older_layers_are_pulled_in),
	VMS_TEST(layers_through_copying_and_crashes),
};
VMS_TEST_MAIN("node layers", tests)
