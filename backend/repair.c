// SPDX-License-Identifier: GPL-2.0-only
/*
 * Repair of containers. A piece is read from the disk itself and verified; what is wrong
 * in a segment comes from another node (chunks are checked against the header, a header
 * names its own place), is written where it was, synced, and read back. File header, footer and
 * list are made again from what the node knows. A chunk that no member has whole is
 * *lost*: it reads as damaged, never as zeros, and is listed.
 *
 * Damage is found by reads (fetch.c), by others (REPAIR) and by the scrub (scrub.c).
 * Two nodes that have each one half of a segment heal each other: nobody gives out what
 * it has not verified, and each takes what it lacks. Keeps invariant 25.
 */
#include "backend/repair.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/ctr_list.h"
#include "backend/fetch.h"
#include "backend/fplists.h"
#include "backend/htab.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/repair_int.h"
#include "backend/rpc.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PIECES_MAX  4096u
#define WORKING_MAX 4u
#define BLOCKS	    (1u + VMS_SEG_ENTRIES_MAX)

enum phase { R_WAIT, R_READ, R_BLOCKS, R_LIST, R_MAKE, R_ASK, R_WRITE, R_SYNC, R_REREAD };

struct rpiece {
	struct rpiece *next;
	struct dio d;
	uint64_t ctr;
	uint32_t piece, part;
	enum phase phase;
	bool busy, dead, lost; /* lost: some of it is, everywhere */
	repair_fn fn;	       /* called once, at the end of the first try */
	void *arg;
	uint64_t bytes;
	unsigned found;	 /* blocks, when it was read first */
	unsigned mended; /* of them, so far */
	unsigned tries;
	uint64_t retry_ms;
	/* segment: block 0 is the header */
	uint8_t *buf;
	unsigned nblocks, at;
	bool by_block;
	bool unread[BLOCKS]; /* could not be read */
	struct vms_seg sg;
	bool header_ok, header_put;
	uint64_t need, good, put; /* chunk places */
	unsigned next_peer;
	bool missing, of_member; /* some member has not answered; the one asked is a member */
	uint32_t asked, from;	 /* node that is asked; one that helped */
	/* footer: what is to be written */
	size_t room, write_bytes;
	uint64_t off;
};

static struct repair *state(struct vms_node *n)
{
	return n->repair;
}

static void piece_free(struct rpiece *j)
{
	free(j->buf);
	free(j);
}

static void piece_step(struct vms_node *n, struct rpiece *j);

/* ---- the list ---- */

static struct rpiece *find(struct repair *r, uint64_t ctr, uint32_t piece)
{
	for (struct rpiece *j = r->pieces; j; j = j->next)
		if (j->ctr == ctr && j->piece == piece)
			return j;
	return NULL;
}

static struct rpiece *piece_add(struct vms_node *n, uint64_t ctr, uint32_t piece)
{
	struct repair *r = state(n);
	struct rpiece *j;

	if (r->npieces >= PIECES_MAX)
		return NULL;
	j = calloc(1, sizeof(*j));
	vms_assert(j);
	j->ctr = ctr;
	j->piece = piece;
	j->part = vms_addr_partition(vms_addr_make(ctr, 0), n->conf.part_bits);
	*r->pieces_tail = j;
	r->pieces_tail = &j->next;
	r->npieces++;
	node_wake_at(n, n->now_ms + 1);
	return j;
}

static void piece_drop(struct repair *r, struct rpiece *j)
{
	struct rpiece **at = &r->pieces;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	if (!*at)
		r->pieces_tail = at;
	r->npieces--;
	piece_free(j);
}

/* What was found here and is whole now, by whatever: a copy that is made anew replaces its
 * containers, too. */
static void mended(struct vms_node *n, struct rpiece *j, unsigned blocks)
{
	unsigned open = j->found - j->mended;

	if (blocks > open) { /* without its header nobody could tell which of them were bad */
		j->found += blocks - open;
		state(n)->st.found += blocks - open;
	}
	j->mended += blocks;
	state(n)->st.repaired += blocks;
}

static void tell(struct vms_node *n, struct rpiece *j)
{
	repair_fn fn = j->fn;

	j->fn = NULL;
	if (fn)
		fn(n, j->arg, j->bytes, j->found);
}

/* It is over, for now (retry_ms) or for good. */
static void piece_end(struct vms_node *n, struct rpiece *j, uint64_t retry_ms)
{
	struct repair *r = state(n);

	vms_assert(r->working);
	r->working--;
	j->phase = R_WAIT;
	j->retry_ms = retry_ms;
	free(j->buf);
	j->buf = NULL;
	tell(n, j);
	if (retry_ms) {
		node_wake_at(n, retry_ms);
		return;
	}
	if (!j->lost)
		mended(n, j, j->found - j->mended);
	piece_drop(r, j);
}

uint64_t repair_pause_ms(unsigned tries)
{
	uint64_t ms = (uint64_t)REPAIR_MS_MIN << (tries < 10 ? tries : 10);

	return ms < REPAIR_MS_MAX ? ms : REPAIR_MS_MAX;
}

/* ---- what is lost ---- */

static void lost_add(struct vms_node *n, vms_addr a)
{
	struct repair *r = state(n);
	struct lost *l;

	if (vms_htab_find(&r->lost, a))
		return;
	l = calloc(1, sizeof(*l));
	vms_assert(l);
	l->since_ms = n->now_ms;
	vms_htab_add(&r->lost, &l->link, a);
	node_log(n, VMS_LOG_ERROR,
		 "partition %u: the chunk at container %09llx offset %u is damaged on every node "
		 "that has it: it cannot be read any more",
		 vms_addr_partition(a, n->conf.part_bits),
		 (unsigned long long)vms_addr_container(a), vms_addr_offset_bytes(a));
}

static void lost_del(struct vms_node *n, vms_addr a)
{
	struct vms_hlink *l = vms_htab_find(&state(n)->lost, a);

	if (!l)
		return;
	vms_htab_del(&state(n)->lost, l);
	free(vms_hlink_entry(l, struct lost, link));
}

bool repair_lost(struct vms_node *n, vms_addr a)
{
	return vms_htab_find(&state(n)->lost, a) != NULL;
}

/* Those that are not there any more need no good copy. */
static void lost_tidy(struct vms_node *n)
{
	struct vms_htab *t = &state(n)->lost;

	for (uint32_t i = 0; i <= t->mask; i++)
		for (struct vms_hlink *l = t->bucket[i], *next; l; l = next) {
			struct part *p = node_part(n,
						   vms_addr_partition(l->key, n->conf.part_bits));

			next = l->next;
			if (p && !part_addr_check(n, p, l->key))
				continue;
			vms_htab_del(t, l);
			free(vms_hlink_entry(l, struct lost, link));
		}
}

uint64_t repair_lost_count(struct vms_node *n)
{
	lost_tidy(n);
	return state(n)->lost.n + state(n)->lost_pages.n;
}

/* ---- one piece ---- */

static struct ctr *piece_ctr(struct vms_node *n, const struct rpiece *j)
{
	struct part *p = node_part(n, j->part);
	struct ctr *c = p ? part_ctr(p, j->ctr) : NULL;

	return c && (c->state == 1 || c->state == 2) ? c : NULL;
}

uint64_t repair_live(const struct ctr *c, uint32_t seg, unsigned k)
{
	uint64_t all = k >= 64 ? UINT64_MAX : (1ull << k) - 1;

	return all & ~(seg < c->dead.n ? c->dead.bit[seg] : 0);
}

static vms_addr chunk_addr(const struct rpiece *j, unsigned k)
{
	return vms_addr_make(j->ctr, (uint32_t)vms_seg_chunk_offset(j->piece, k));
}

void repair_read(struct vms_node *n, uint64_t ctr, uint64_t off, void *buf, size_t len,
		 struct dio *d)
{
	if (n->disk.ops->struct_bytes >= sizeof(struct vms_disk_ops) && n->disk.ops->ctr_read_disk)
		n->disk.ops->ctr_read_disk(n->disk.ctx, ctr, off, buf, len, dio_token(n, d));
	else
		n->disk.ops->ctr_read(n->disk.ctx, ctr, off, buf, len, dio_token(n, d));
}

static void piece_read(struct vms_node *n, struct rpiece *j, uint64_t off, void *buf, size_t len)
{
	j->busy = true;
	j->bytes += len;
	state(n)->st.bytes += len;
	repair_read(n, j->ctr, off, buf, len, &j->d);
}

static void piece_event(struct vms_node *n, struct dio *d, int status);

static void unread_none(struct rpiece *j)
{
	j->by_block = false;
	memset(j->unread, 0, sizeof(j->unread));
}

static void piece_start(struct vms_node *n, struct rpiece *j)
{
	struct ctr *c = piece_ctr(n, j);
	unsigned used;

	state(n)->working++;
	j->d.fn = piece_event;
	j->next_peer = 0;
	j->missing = j->header_ok = j->header_put = false;
	j->put = j->good = 0;
	unread_none(j);
	if (!c || (j->piece == REPAIR_FOOTER && c->state != 2) ||
	    (j->piece < REPAIR_FOOTER && j->piece >= c->segs)) {
		piece_end(n, j, 0);
		return;
	}
	j->phase = R_READ;
	if (j->piece >= REPAIR_FOOTER) {
		j->room = VMS_CHUNK_BYTES;
		j->off = j->piece == REPAIR_FOOTER ? vms_seg_offset(c->segs) : 0;
		j->buf = malloc(j->room);
		vms_assert(j->buf);
		piece_read(n, j, j->off, j->buf, j->room);
		return;
	}
	used = c->used[j->piece];
	if (used && !repair_live(c, j->piece, used)) {
		piece_end(n, j, 0); /* all of it has died: it may be a hole */
		return;
	}
	j->nblocks = 1 + (used ? used : VMS_SEG_ENTRIES_MAX);
	j->buf = malloc((size_t)BLOCKS * VMS_CHUNK_BYTES);
	vms_assert(j->buf);
	piece_read(n, j, vms_seg_offset(j->piece), j->buf, (size_t)j->nblocks * VMS_CHUNK_BYTES);
}

/* ---- segments ---- */

static uint8_t *block(struct rpiece *j, unsigned chunk)
{
	return j->buf + (size_t)(1 + chunk) * VMS_CHUNK_BYTES;
}

/* Which of the chunks in the buffer are what the header says. */
static void verify(struct vms_node *n, struct rpiece *j, const struct ctr *c)
{
	j->need = repair_live(c, j->piece, j->sg.n);
	for (unsigned k = 0; k < j->sg.n; k++)
		if (!j->unread[1 + k] &&
		    (vms_crc32c(0, block(j, k), VMS_CHUNK_BYTES) == j->sg.e[k].crc ||
		     n->mut == MUT_RP_NO_CRC))
			j->good |= 1ull << k;
}

static bool header_take(struct vms_node *n, struct rpiece *j, const struct ctr *c,
			const uint8_t *hdr)
{
	struct vms_seg sg;
	unsigned used = c->used[j->piece];

	if (vms_seg_decode(hdr, j->ctr, (uint32_t)vms_seg_offset(j->piece), &sg) ||
	    (used && sg.n != used))
		return false;
	j->sg = sg;
	j->header_ok = true;
	verify(n, j, c);
	return true;
}

static bool whole(const struct rpiece *j)
{
	return j->header_ok && !(j->need & ~j->good);
}

static void ask(struct vms_node *n, struct rpiece *j);

/* All that can be had is here: write it, or see what the failure means. */
static void asked(struct vms_node *n, struct rpiece *j)
{
	struct ctr *c = piece_ctr(n, j);

	if (!c) {
		piece_end(n, j, 0);
		return;
	}
	/* places that died meanwhile may be holes by now */
	j->put &= repair_live(c, j->piece, VMS_SEG_ENTRIES_MAX);
	j->need &= j->put | j->good | repair_live(c, j->piece, VMS_SEG_ENTRIES_MAX);
	if (j->header_put || j->put) {
		j->phase = R_WRITE;
		j->at = 0;
		piece_step(n, j);
		return;
	}
	if (whole(j)) {
		piece_end(n, j, 0);
		return;
	}
	j->tries++;
	if (j->missing || j->tries < REPAIR_TRIES) {
		piece_end(n, j, n->now_ms + repair_pause_ms(j->tries));
		return;
	}
	/* without any header: nobody knows of this segment unless the index does */
	if (!j->header_ok)
		j->need = repair_live(c, j->piece, c->used[j->piece]);
	for (unsigned k = 0; k < VMS_SEG_ENTRIES_MAX; k++)
		if ((j->need & ~(j->header_ok ? j->good : 0)) >> k & 1)
			lost_add(n, chunk_addr(j, k));
	j->lost = true;
	piece_end(n, j, 0);
}

static void take_answer(struct vms_node *n, struct rpiece *j, const struct vms_msg *m)
{
	const uint8_t *pay = m->npayload ? m->payload[0].base : NULL;
	struct ctr *c = piece_ctr(n, j);
	uint64_t mask;

	if (!c || m->body_bytes != 8 || !pay)
		return;
	mask = vms_get_le64(m->body);
	if (m->payload[0].len != (1ull + (unsigned)__builtin_popcountll(mask)) * VMS_CHUNK_BYTES)
		return;
	/* a header only from a member: a copy that left the set may have another container
	 * of that number, from a view that never came to be */
	if (!j->header_ok && j->of_member && header_take(n, j, c, pay)) {
		memcpy(j->buf, pay, VMS_CHUNK_BYTES);
		j->header_put = true;
		j->from = j->asked;
	}
	pay += VMS_CHUNK_BYTES;
	for (unsigned k = 0; j->header_ok && k < VMS_SEG_ENTRIES_MAX; k++) {
		if (!(mask >> k & 1))
			continue;
		if ((j->need & ~j->good) >> k & 1 &&
		    (vms_crc32c(0, pay, VMS_CHUNK_BYTES) == j->sg.e[k].crc ||
		     n->mut == MUT_RP_TRUST)) {
			memcpy(block(j, k), pay, VMS_CHUNK_BYTES);
			j->good |= 1ull << k;
			j->put |= 1ull << k;
			j->from = j->asked;
		}
		pay += VMS_CHUNK_BYTES;
	}
}

static void answered(struct vms_node *n, void *arg, const struct vms_msg *m)
{
	struct rpiece *j = arg;

	j->busy = false;
	if (j->dead) {
		piece_free(j);
		return;
	}
	/* UNKNOWN: a member that has not got there yet, or, in the end, will not */
	if (!m || vms_err_retryable(m->status) ||
	    (m->status == VMS_E_UNKNOWN && j->tries < 4 * REPAIR_TRIES))
		j->missing |= j->of_member;
	else if (!m->status)
		take_answer(n, j, m);
	ask(n, j);
}

struct peer *repair_next_peer(struct vms_node *n, uint32_t partition, bool all, unsigned *at,
			      bool *in_set, bool *missing)
{
	const struct vms_part_conf *pc = &n->pconf[partition];

	while (*at < pc->nmembers) {
		uint32_t node = pc->member[(*at)++].node;
		struct peer *pe = node == n->id ? NULL : node_peer(n, node, false);

		if (node == n->id)
			continue;
		*in_set = true;
		if (pe && pe->conn)
			return pe;
		*missing = true;
	}
	while (all && *at < pc->nmembers + n->npeers) {
		struct peer *pe = n->peer[(*at)++ - pc->nmembers];
		bool member = false;

		for (unsigned i = 0; i < pc->nmembers; i++)
			member |= pc->member[i].node == pe->id;
		*in_set = false;
		if (!member && pe->conn)
			return pe;
	}
	return NULL;
}

static void ask(struct vms_node *n, struct rpiece *j)
{
	struct vms_msg q = {.type = VMS_MSG_REPAIR, .partition = j->part, .aux = REPAIR_SEG};
	uint8_t body[16];
	struct peer *pe;
	bool in_set = false;

	j->phase = R_ASK;
	/* any node's copy will do, also one that has left the set: it is what our header
	 * says, or it is not taken */
	while (!whole(j) &&
	       (pe = repair_next_peer(n, j->part, true, &j->next_peer, &in_set, &j->missing))) {
		vms_put_le64(body, vms_addr_make(j->ctr, (uint32_t)vms_seg_offset(j->piece)));
		vms_put_le64(body + 8, j->header_ok ? j->need & ~j->good : UINT64_MAX);
		q.body = body;
		q.body_bytes = sizeof(body);
		j->of_member = in_set;
		j->asked = pe->id;
		j->busy = true;
		if (rpc_send(n, pe, &q, n->tm.lease_ms, answered, j))
			return;
		j->busy = false;
		j->missing |= in_set;
	}
	asked(n, j);
}

/* Is what was written there? */
static bool written_ok(struct vms_node *n, struct rpiece *j)
{
	unsigned k = j->header_put + (unsigned)__builtin_popcountll(j->put);

	if (!j->header_ok || (j->put & j->need & ~j->good)) {
		node_log(n, VMS_LOG_ERROR,
			 "container %09llx segment %u: what was repaired reads "
			 "back damaged: the disk needs replacing",
			 (unsigned long long)j->ctr, j->piece);
		j->tries++;
		piece_end(n, j, n->now_ms + repair_pause_ms(j->tries + 4));
		return false;
	}
	mended(n, j, k);
	node_log(n, VMS_LOG_WARN,
		 "container %09llx segment %u: %u damaged blocks repaired with the "
		 "copy of node %u",
		 (unsigned long long)j->ctr, j->piece, k, j->from);
	j->put = 0;
	j->header_put = false;
	return true;
}

static void examine(struct vms_node *n, struct rpiece *j)
{
	struct ctr *c = piece_ctr(n, j);
	unsigned bad;

	if (!c) {
		piece_end(n, j, 0);
		return;
	}
	j->good = 0;
	if (j->unread[0] || !header_take(n, j, c, j->buf)) {
		j->header_ok = false;
		if (!c->used[j->piece] && !j->tries && c->dead.n > j->piece &&
		    c->dead.bit[j->piece]) {
			piece_end(n, j, 0); /* an old entry without counts, all of it dead */
			return;
		}
	}
	bad = (j->header_ok ? 0 : 1) + (unsigned)__builtin_popcountll(j->need & ~j->good);
	if (j->phase == R_REREAD && !written_ok(n, j))
		return;
	if (!bad) {
		segs_put(n, &j->sg);
		for (unsigned k = 0; k < j->sg.n; k++) {
			if (j->need >> k & 1)
				segs_verify(n, chunk_addr(j, k));
			lost_del(n, chunk_addr(j, k));
		}
		piece_end(n, j, 0);
		return;
	}
	if (j->phase == R_REREAD) { /* not all could be had */
		asked(n, j);
		return;
	}
	if (!j->tries) {
		j->found = bad;
		state(n)->st.found += bad;
		node_log(n, VMS_LOG_WARN, "container %09llx segment %u: %u damaged blocks%s",
			 (unsigned long long)j->ctr, j->piece, bad,
			 j->header_ok ? "" : ", its header among them");
	}
	ask(n, j);
}

/* ---- file header, footer ---- */

static void made(struct vms_node *n, struct rpiece *j)
{
	if (j->phase == R_REREAD) { /* written, and still wrong */
		j->tries++;
		piece_end(n, j, n->now_ms + repair_pause_ms(j->tries + 4));
		return;
	}
	j->found = 1;
	state(n)->st.found++;
	j->phase = R_WRITE;
	j->at = 0;
	piece_step(n, j);
}

static void file_header(struct vms_node *n, struct rpiece *j, const struct ctr *c, int status)
{
	struct vms_ctr_header h = {.ctr = j->ctr,
				   .partition = j->part,
				   .epoch = c->epoch,
				   .incarnation = c->incarnation},
			      is;

	memcpy(h.cluster_uuid, n->conf.cluster_uuid, 16);
	if (!status && !vms_ctr_header_decode(j->buf, &is) && is.ctr == h.ctr &&
	    is.partition == h.partition && !memcmp(is.cluster_uuid, h.cluster_uuid, 16)) {
		piece_end(n, j, 0);
		return;
	}
	vms_ctr_header_encode(j->buf, &h);
	j->write_bytes = VMS_CHUNK_BYTES;
	made(n, j);
}

static void list_made(struct vms_node *n, void *arg, int status, const uint8_t *body, size_t bytes,
		      uint32_t segs, bool any)
{
	struct rpiece *j = arg;
	struct ctr *c;
	struct vms_ctr_footer f = {.ctr = j->ctr, .length_bytes = j->off};

	j->busy = false;
	if (j->dead) {
		piece_free(j);
		return;
	}
	c = piece_ctr(n, j);
	if (status || !c) {
		piece_end(n, j, 0);
		return;
	}
	f.nchunks = c->chunks;
	j->write_bytes = VMS_CHUNK_BYTES;
	if (any) {
		f.segs = segs;
		f.list_bytes = (uint32_t)bytes;
		f.list_crc = vms_crc32c(0, body, bytes);
		j->write_bytes += vms_ctr_list_blocks(bytes) * VMS_CHUNK_BYTES;
	}
	free(j->buf);
	j->buf = calloc(1, j->write_bytes);
	vms_assert(j->buf);
	if (any)
		memcpy(j->buf + VMS_CHUNK_BYTES, body, bytes);
	vms_ctr_footer_encode(j->buf, &f);
	made(n, j);
}

static void footer_make(struct vms_node *n, struct rpiece *j, const struct ctr *c)
{
	if (j->phase == R_REREAD) {
		made(n, j);
		return;
	}
	j->phase = R_MAKE;
	j->busy = true;
	ctr_list_read(n, j->ctr, c->segs, false, list_made, j);
}

static bool zeros(const uint8_t *b, size_t bytes)
{
	while (bytes && !*b)
		b++, bytes--;
	return !bytes;
}

static void footer(struct vms_node *n, struct rpiece *j, const struct ctr *c, int status)
{
	struct vms_ctr_footer f;
	uint32_t chunks;
	size_t more;

	if (j->room > VMS_CHUNK_BYTES) { /* footer and list are here */
		bool ok = !status && !vms_ctr_footer_decode(j->buf, &f) &&
			  vms_crc32c(0, j->buf + VMS_CHUNK_BYTES, f.list_bytes) == f.list_crc &&
			  vms_fplist_check(j->buf + VMS_CHUNK_BYTES, f.list_bytes, c->segs,
					   &chunks) &&
			  zeros(j->buf + VMS_CHUNK_BYTES + f.list_bytes,
				j->room - VMS_CHUNK_BYTES - f.list_bytes);

		if (!ok) {
			footer_make(n, j, c);
			return;
		}
	} else if (status || vms_ctr_footer_decode(j->buf, &f) || f.ctr != j->ctr ||
		   (f.list_bytes &&
		    (f.segs != c->segs ||
		     f.list_bytes > vms_fplist_bytes(c->segs, c->segs * VMS_SEG_ENTRIES_MAX)))) {
		footer_make(n, j, c);
		return;
	} else if (f.list_bytes) {
		more = (1 + vms_ctr_list_blocks(f.list_bytes)) * VMS_CHUNK_BYTES;
		free(j->buf);
		j->room = more;
		j->buf = malloc(more);
		vms_assert(j->buf);
		piece_read(n, j, j->off, j->buf, more);
		return;
	}
	piece_end(n, j, 0);
}

/* ---- steps ---- */

/* The next run of blocks to be written; false: none is left. */
static bool write_next(struct vms_node *n, struct rpiece *j)
{
	uint64_t off = j->off;
	const uint8_t *from = j->buf;
	size_t len = j->write_bytes;
	struct vms_iov iov;

	if (j->piece >= REPAIR_FOOTER) {
		if (j->at++)
			return false;
	} else {
		unsigned b = j->at, e;

		while (b < BLOCKS && !(b ? j->put >> (b - 1) & 1 : j->header_put))
			b++;
		if (b == BLOCKS)
			return false;
		for (e = b + 1; e < BLOCKS && j->put >> (e - 1) & 1; e++)
			;
		off = vms_seg_offset(j->piece) + (uint64_t)b * VMS_CHUNK_BYTES;
		from = j->buf + (size_t)b * VMS_CHUNK_BYTES;
		len = (size_t)(e - b) * VMS_CHUNK_BYTES;
		j->at = e;
	}
	iov = (struct vms_iov){(void *)from, len};
	j->busy = true;
	n->disk.ops->ctr_write(n->disk.ctx, j->ctr, off, &iov, 1, dio_token(n, &j->d));
	return true;
}

static void reread(struct vms_node *n, struct rpiece *j)
{
	j->phase = R_REREAD;
	unread_none(j);
	if (j->piece >= REPAIR_FOOTER) {
		j->room = VMS_CHUNK_BYTES; /* the buffer is at least that large */
		piece_read(n, j, j->off, j->buf, j->room);
		return;
	}
	j->nblocks = 1 + j->sg.n;
	piece_read(n, j, vms_seg_offset(j->piece), j->buf, (size_t)j->nblocks * VMS_CHUNK_BYTES);
}

static void piece_step(struct vms_node *n, struct rpiece *j)
{
	if (j->phase != R_WRITE)
		return;
	if (!piece_ctr(n, j)) {
		piece_end(n, j, 0);
		return;
	}
	if (write_next(n, j))
		return;
	if (n->mut == MUT_RP_NO_SYNC) {
		reread(n, j);
		return;
	}
	/* durable before anything counts on it: the copy it came from may rot next */
	j->phase = R_SYNC;
	j->busy = true;
	n->disk.ops->ctr_sync(n->disk.ctx, dio_token(n, &j->d));
}

static void blocks_next(struct vms_node *n, struct rpiece *j)
{
	if (j->at == j->nblocks) {
		examine(n, j);
		return;
	}
	piece_read(n, j, vms_seg_offset(j->piece) + (uint64_t)j->at * VMS_CHUNK_BYTES,
		   j->buf + (size_t)j->at * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);
}

static void piece_event(struct vms_node *n, struct dio *d, int status)
{
	struct rpiece *j = (struct rpiece *)((char *)d - offsetof(struct rpiece, d));
	struct ctr *c;

	j->busy = false;
	if (j->dead) {
		piece_free(j);
		return;
	}
	if (status == VMS_E_STOPPING)
		return; /* closing: repair_close() frees it */
	if (j->phase == R_WRITE || j->phase == R_SYNC) {
		if (status == VMS_E_NOSPC && j->phase == R_WRITE) {
			piece_end(n, j, n->now_ms + REPAIR_MS_MAX);
			return;
		}
		if (status) {
			node_fatal(n, status,
				   "writing container %09llx failed (%s): stopping, "
				   "nothing more is acknowledged; check the disk, then start again",
				   (unsigned long long)j->ctr, vms_err_text(status));
			return;
		}
		if (j->phase == R_SYNC)
			reread(n, j);
		else
			piece_step(n, j);
		return;
	}
	c = piece_ctr(n, j);
	if (!c) {
		piece_end(n, j, 0);
	} else if (j->piece == REPAIR_FILE_HEADER) {
		file_header(n, j, c, status);
	} else if (j->piece == REPAIR_FOOTER) {
		footer(n, j, c, status);
	} else if (j->by_block) {
		j->unread[j->at++] = status != 0;
		blocks_next(n, j);
	} else if (status) { /* some block cannot be read: which one? */
		j->at = 0;
		j->by_block = true;
		blocks_next(n, j);
	} else {
		examine(n, j);
	}
}

/* ---- from outside ---- */

void repair_addr(struct vms_node *n, vms_addr a)
{
	uint32_t off = vms_addr_offset_bytes(a);

	if (n->mut == MUT_RP_IGNORE || off < VMS_CHUNK_BYTES || off % VMS_CHUNK_BYTES)
		return;
	if (find(state(n), vms_addr_container(a), (off / VMS_CHUNK_BYTES - 1) / 65))
		return;
	if (repair_lost(n, a))
		return; /* the next scrub asks again */
	(void)piece_add(n, vms_addr_container(a), (off / VMS_CHUNK_BYTES - 1) / 65);
}

void repair_replaced(struct vms_node *n, uint64_t ctr, uint32_t seg, unsigned blocks)
{
	struct repair *r = state(n);

	if (find(r, ctr, seg))
		return; /* it counts them */
	r->st.found += blocks;
	r->st.repaired += blocks;
	node_log(n, VMS_LOG_WARN,
		 "container %09llx segment %u: %u damaged blocks are replaced with "
		 "those of another node",
		 (unsigned long long)ctr, seg, blocks);
}

bool repair_check(struct vms_node *n, uint64_t ctr, uint32_t piece, repair_fn fn, void *arg)
{
	struct rpiece *j = find(state(n), ctr, piece);

	if (j && (j->fn || j->phase == R_WAIT)) {
		fn(n, arg, 0, 0); /* it is known already and being dealt with */
		return true;
	}
	if (!j)
		j = piece_add(n, ctr, piece);
	if (!j)
		return false;
	j->fn = fn;
	j->arg = arg;
	return true;
}

void repair_timer(struct vms_node *n)
{
	struct repair *r = state(n);

	repair_pages_timer(n);
	for (struct rpiece *j = r->pieces, *next; j && r->working < WORKING_MAX; j = next) {
		next = j->next;
		if (j->phase != R_WAIT || j->busy)
			continue;
		if (n->now_ms < j->retry_ms) {
			node_wake_at(n, j->retry_ms);
			continue;
		}
		piece_start(n, j);
	}
}

void repair_open(struct vms_node *n)
{
	struct repair *r = calloc(1, sizeof(*r));

	vms_assert(r);
	r->pieces_tail = &r->pieces;
	vms_htab_init(&r->lost, 64);
	n->repair = r;
	vms_pages_on_bad(n->pages, repair_page, n);
}

void repair_close(struct vms_node *n)
{
	struct repair *r = n->repair;
	struct rpiece *j;

	if (!r)
		return;
	while ((j = r->pieces)) {
		r->pieces = j->next;
		if (j->busy)
			j->dead = true; /* freed when its I/O or request ends */
		else
			piece_free(j);
	}
	repair_pages_close(n);
	for (uint32_t i = 0; i <= r->lost.mask; i++)
		while (r->lost.bucket[i]) {
			struct vms_hlink *l = r->lost.bucket[i];

			vms_htab_del(&r->lost, l);
			free(vms_hlink_entry(l, struct lost, link));
		}
	vms_htab_free(&r->lost);
	VMS_VEC_FREE(&r->lost_pages);
	free(r);
	n->repair = NULL;
}

void repair_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m)
{
	struct repair *r = state(n);

	if (m->aux == REPAIR_SEG) {
		repair_serve_seg(n, c, m);
		return;
	}
	if (m->aux == REPAIR_PAGE) {
		repair_serve_page(n, c, m);
		return;
	}
	if (m->aux != REPAIR_TOLD || m->body_bytes != 8) {
		node_reply(n, c->id, m, VMS_E_PROTO);
		return;
	}
	/* a chunk that is still in the log has no place that could be repaired */
	r->st.told++;
	if (!vms_addr_is_log(vms_get_le64(m->body), n->conf.part_bits))
		repair_addr(n, vms_get_le64(m->body));
	if (m->req_id)
		node_reply(n, c->id, m, 0);
}

const struct repair_stats *repair_stats(struct vms_node *n)
{
	return &state(n)->st;
}

uint64_t repair_running(struct vms_node *n)
{
	return state(n)->npieces + state(n)->npages;
}

json_t *repair_json(struct vms_node *n)
{
	struct repair *r = state(n);
	json_t *chunks = json_array(), *pages = json_array();

	lost_tidy(n);
	for (uint32_t i = 0; i <= r->lost.mask; i++)
		for (struct vms_hlink *l = r->lost.bucket[i]; l; l = l->next)
			if (json_array_size(chunks) < REPAIR_LIST)
				json_array_append_new(
					chunks,
					json_pack(
						"{s:i, s:I, s:i}", "partition",
						(int)vms_addr_partition(l->key, n->conf.part_bits),
						"container", (json_int_t)vms_addr_container(l->key),
						"offset", (int)vms_addr_offset_bytes(l->key)));
	VMS_VEC_FOREACH (&r->lost_pages, l)
		if (json_array_size(pages) < REPAIR_LIST)
			json_array_append_new(pages,
					      json_pack("{s:i, s:I, s:I, s:I}", "partition",
							(int)l->key.partition, "branch",
							(json_int_t)l->key.branch, "sub_extent",
							(json_int_t)l->key.subext, "snap_gen",
							(json_int_t)l->key.snap_gen));
	return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "damaged", (json_int_t)r->st.found,
			 "repaired", (json_int_t)r->st.repaired, "repairing",
			 (json_int_t)repair_running(n), "lost",
			 (json_int_t)(r->lost.n + r->lost_pages.n), "lost_chunks", chunks,
			 "lost_pages", pages);
}
