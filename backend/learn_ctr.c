// SPDX-License-Identifier: GPL-2.0-only
/*
 * The containers of a copy that is being made (learn.c). What is here already is
 * kept segment by segment when its header is the primary's, byte for byte; the rest
 * is asked of the primary, and what the primary has damaged of the other members of
 * the set. In the end every segment is read back from the disk and checked against
 * its header. A chunk of which nobody has a good copy stays unreadable here, too: its
 * checksum is copied, its bytes are not made up.
 *
 * Owner: the node thread. Keeps invariants 19, 25 (rules A11, B5).
 */
#include <stdlib.h>
#include <string.h>

#include "backend/checkpoint.h"
#include "backend/ctr.h"
#include "backend/fetch.h"
#include "backend/learn.h"
#include "backend/learn_int.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/part_ctr.h"
#include "backend/repair.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define FLIGHT_MAX 4u
#define HEADS_MAX  1024u

void learn_ctrs_free(struct lctrs *v)
{
	VMS_VEC_FOREACH (v, c) {
		free(c->used);
		free(c->st);
		free(c->crc);
		free(c->dead);
		free(c->lost);
	}
	VMS_VEC_FREE(v);
}

int learn_ctrs_add(struct learn *l, const uint8_t *p, size_t bytes)
{
	while (bytes) {
		struct lctr c = {0}, *to;
		uint32_t nd;

		if (bytes < 48)
			return VMS_E_PROTO;
		c.number = vms_get_le64(p);
		c.epoch = vms_get_le64(p + 8);
		c.incarnation = vms_get_le64(p + 16);
		c.live = vms_get_le64(p + 24);
		c.segs = vms_get_le32(p + 32);
		c.chunks = vms_get_le32(p + 36);
		nd = vms_get_le32(p + 40);
		c.state = p[44];
		c.shared = p[45];
		if (c.segs > VMS_CTR_SEGS_MAX || nd > c.segs || bytes < 48 + c.segs + 8ull * nd ||
		    (l->ctrs.n && VMS_VEC_LAST(&l->ctrs).number >= c.number))
			return VMS_E_PROTO;
		p += 48;
		c.used = malloc(c.segs + 1ul);
		c.st = calloc(1, c.segs + 1ul);
		c.crc = calloc(c.segs + 1ul, sizeof(*c.crc));
		c.dead = calloc(c.segs + 1ul, sizeof(*c.dead));
		vms_assert(c.used && c.st && c.crc && c.dead);
		memcpy(c.used, p, c.segs);
		p += c.segs;
		for (uint32_t i = 0; i < nd; i++, p += 8)
			c.dead[i] = vms_get_le64(p);
		bytes -= 48 + c.segs + 8ul * nd;
		to = VMS_VEC_ADD(&l->ctrs);
		*to = c;
	}
	return 0;
}

/* The segment is a hole: its header died with its last chunk. */
static bool all_dead(const struct lctr *c, uint32_t seg)
{
	unsigned n = c->used[seg] ? c->used[seg] : VMS_SEG_ENTRIES_MAX;
	uint64_t all = n >= VMS_SEG_ENTRIES_MAX ? UINT64_MAX : (1ull << n) - 1;

	return (c->dead[seg] & all) == all;
}

static struct lctr *lctr_find(struct lctrs *v, uint64_t number)
{
	size_t a = 0, b = v->n;

	while (a < b) {
		size_t m = (a + b) / 2;

		if (v->d[m].number < number)
			a = m + 1;
		else
			b = m;
	}
	return a < v->n && v->d[a].number == number ? &v->d[a] : NULL;
}

/* Files that this attempt has begun: the next one looks at them. One whose header is not
 * known to be written (the disk was full, say) has no identity: it goes, with the segments
 * that came behind it, or that header would be taken for written for good. */
void learn_ctrs_keep(struct vms_node *n, struct part *p, struct learn *l)
{
	VMS_VEC_FOREACH (&l->ctrs, lc) {
		struct ctr *c = lc->own ? part_ctr_add(p, lc->number) : NULL;
		bool whole = c && (lc->head || n->mut == MUT_LN_HEADLESS);

		if (!c || c->state)
			continue;
		c->state = 1;
		c->epoch = whole ? lc->epoch : 0;
		c->incarnation = whole ? lc->incarnation : 0;
		c->dirty = true;
	}
}

/* ---- disk operations that belong to nothing else ---- */

struct lio {
	struct dio d;
	uint32_t part;
	uint64_t serial;
	bool write;   /* else what it is to remove may stay */
	uint64_t ctr; /* write: whose header */
};

/* What the disk has after a failed write is unknown, and what it does with the next one
 * too: the rule for every write holds for copies that are being made. */
static bool write_failed(struct vms_node *n, int status)
{
	if (!status || status == VMS_E_NOSPC || status == VMS_E_STOPPING || n->closing)
		return false;
	node_fatal(n, status,
		   "writing a container of a new copy failed (%s): stopping, nothing "
		   "more is acknowledged; check the disk, then start again",
		   vms_err_text(status));
	return true;
}

static void lio_done(struct vms_node *n, struct dio *d, int status)
{
	struct lio *io = (struct lio *)d;
	struct learn *l = learn_of(n, io->part, io->serial);
	struct part *p = node_part(n, io->part);
	uint64_t number;
	bool failed;

	if (p && p->learn_ios)
		p->learn_ios--;
	failed = io->write && write_failed(n, status);
	number = io->write ? io->ctr : 0;
	free(io);
	if (n->closing || failed || !l)
		return;
	l->flight--;
	if (number && !status)
		lctr_find(&l->ctrs, number)->head = true;
	if (status && status != VMS_E_NOENT) {
		learn_fail(n, p, vms_err_text(status));
		return;
	}
	learn_go(n, p);
}

static uint64_t lio_new(struct vms_node *n, struct part *p, struct learn *l)
{
	struct lio *io = calloc(1, sizeof(*io));

	vms_assert(io);
	io->d.fn = lio_done;
	io->part = p->number;
	io->serial = l->serial;
	l->flight++;
	p->learn_ios++;
	return dio_token(n, &io->d);
}

/* ---- what the primary has not ---- */

/* Containers that are not listed, or are others of the same number, go at once: files
 * first, then their entries in the index. A number may come into use again with the
 * records, when both are gone. */
bool learn_drop(struct vms_node *n, struct part *p, struct learn *l)
{
	bool any = false;

	if (l->flight)
		return false;
	if (l->at == 1)
		return n->ckpt_ended >= l->ticket;
	if (l->at == 2)
		return true;
	VMS_VEC_FOREACH (&p->ctrs, c) {
		struct lctr *lc = lctr_find(&l->ctrs, c->number);

		/* no state: a file may be there that was in no checkpoint yet */
		if (lc && lc->epoch == c->epoch && lc->incarnation == c->incarnation &&
		    (c->state == 1 || c->state == 2)) {
			uint64_t end = vms_seg_offset(c->segs) + (4u << 20);

			lc->own = lc->head = true;
			/* a footer, or segments, where the primary has none (yet) */
			if (c->segs > lc->segs || (c->state == 2 && lc->state == 1))
				n->disk.ops->ctr_punch(
					n->disk.ctx, c->number, vms_seg_offset(lc->segs),
					end - vms_seg_offset(lc->segs), lio_new(n, p, l));
			continue;
		}
		if (n->mut == MUT_LN_EXTRA && !lc)
			continue;
		n->disk.ops->ctr_unlink(n->disk.ctx, c->number, lio_new(n, p, l));
		if (c->state) {
			c->state = 3;
			any = true;
		}
	}
	if (any)
		l->ticket = ckpt_request(n);
	l->at = any ? 1 : 2;
	return !any && !l->flight;
}

/* ---- what is here already? ---- */

struct heads {
	uint32_t part;
	uint64_t serial;
	size_t at;
	uint32_t from, to;
};

static void heads_answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct heads h = *(struct heads *)arg;
	struct learn *l = learn_of(n, h.part, h.serial);
	struct part *p = node_part(n, h.part);
	struct lctr *c;

	free(arg);
	if (!l || n->closing)
		return;
	l->flight--;
	if (!re) {
		learn_fail(n, p, "the primary does not answer");
		return;
	}
	if (re->status == VMS_E_BUSY || re->status == VMS_E_AGAIN) {
		learn_later(n, l, re, n->tm.tick_ms / 8);
		return;
	}
	if (re->status || re->body_bytes != 4 * (h.to - h.from)) {
		learn_fail(n, p,
			   re->status ? vms_err_text(re->status) : "HEADS was answered wrongly");
		return;
	}
	c = &l->ctrs.d[h.at];
	for (uint32_t s = h.from; s < h.to; s++)
		c->crc[s] = vms_get_le32(re->body + 4ul * (s - h.from));
	l->seg = h.to;
	learn_go(n, p);
}

/* The pass before has the segment: fetched or found here, and read back from the disk. What
 * it called lost stays lost. */
static bool known_good(struct learn *l, struct lctr *c, uint32_t s)
{
	struct lctr *k = lctr_find(&l->known, c->number);

	if (!k || !c->own || k->epoch != c->epoch || k->incarnation != c->incarnation ||
	    s >= k->segs || k->st[s] != SEG_GOOD || k->crc[s] != c->crc[s] ||
	    k->used[s] != c->used[s])
		return false;
	if (k->lost && k->lost[s]) {
		if (!c->lost)
			c->lost = calloc(c->segs, sizeof(*c->lost)); /* counted already */
		vms_assert(c->lost);
		c->lost[s] = k->lost[s];
	}
	l->done_bytes += (uint64_t)c->used[s] * VMS_CHUNK_BYTES;
	return true;
}

static void mark_segs(struct vms_node *n, struct learn *l, struct lctr *c)
{
	struct lctr *k = lctr_find(&l->known, c->number);

	for (uint32_t s = 0; s < c->segs; s++) {
		if (all_dead(c, s) || (n->mut != MUT_LN_FORGETS && known_good(l, c, s)))
			c->st[s] = SEG_GOOD;
		else
			c->st[s] = c->own && c->crc[s] ? SEG_HEAD : SEG_NEED;
	}
	c->foot = c->own && k && k->foot && k->state == 2 && k->epoch == c->epoch &&
		  k->incarnation == c->incarnation;
}

/* Ask for the headers' checksums of containers that are here; then all segments are
 * marked by what is to be done with them. */
bool learn_heads(struct vms_node *n, struct part *p, struct learn *l)
{
	if (l->flight)
		return false;
	while (l->at < l->ctrs.n) {
		struct lctr *c = &l->ctrs.d[l->at];
		struct heads *h;
		uint8_t b[16];

		if (!c->own || l->seg >= c->segs) {
			mark_segs(n, l, c);
			l->at++;
			l->seg = 0;
			continue;
		}
		h = malloc(sizeof(*h));
		vms_assert(h);
		*h = (struct heads){p->number, l->serial, l->at, l->seg,
				    l->seg + HEADS_MAX < c->segs ? l->seg + HEADS_MAX : c->segs};
		vms_put_le64(b, c->number);
		vms_put_le32(b + 8, h->from);
		vms_put_le32(b + 12, h->to);
		l->flight++;
		if (!learn_ask(n, l, NULL, LOP_HEADS, b, sizeof(b), heads_answer, h)) {
			free(h);
			learn_fail(n, p, "no connection to the primary");
		}
		return false;
	}
	return true;
}

/* ---- one segment, or one footer ---- */

#define ROUNDS_MAX 4 /* all sources are asked so often for a segment */

enum job_step { SJ_HEAD, SJ_CHUNKS, SJ_ASK, SJ_WRITE };

struct seg_job {
	struct dio d;
	uint32_t part;
	uint64_t serial;
	size_t at; /* container */
	uint32_t seg;
	enum job_step step;
	bool verify, foot, headed;
	unsigned source; /* 0: the primary, k: the k-th other member */
	bool away;	 /* some source could not be asked */
	unsigned rounds; /* all of them have been asked so often */
	uint64_t left;	 /* places that are still wanted */
	uint64_t write;	 /* places of buf that are to be written */
	unsigned n;
	struct vms_seg sg;
	size_t bytes; /* footer and list */
	uint8_t *buf;
};

static void job_go(struct vms_node *n, struct part *p, struct learn *l, struct seg_job *j);

static void job_end(struct vms_node *n, struct part *p, struct learn *l, struct seg_job *j)
{
	free(j->buf);
	free(j);
	if (l) {
		l->flight--;
		learn_go(n, p);
	}
}

static struct learn *job_learn(struct vms_node *n, struct seg_job *j, struct part **p)
{
	struct learn *l = n->closing ? NULL : learn_of(n, j->part, j->serial);

	*p = node_part(n, j->part);
	return l;
}

static void job_io(struct vms_node *n, struct dio *d, int status);

static void job_read(struct vms_node *n, struct seg_job *j, uint64_t ctr, uint64_t off, void *to,
		     size_t len)
{
	struct part *p = node_part(n, j->part);

	j->d.fn = job_io;
	p->learn_ios++;
	n->disk.ops->ctr_read(n->disk.ctx, ctr, off, to, len, dio_token(n, &j->d));
}

static void good(struct vms_node *n, struct learn *l, struct lctr *c, struct seg_job *j, bool kept)
{
	uint64_t bytes = (uint64_t)j->n * VMS_CHUNK_BYTES;

	c->st[j->seg] = SEG_GOOD;
	segs_put(n, &j->sg);
	if (kept) {
		n->st.kept_bytes += bytes;
		l->done_bytes += bytes;
	}
}

/* The bytes that were read are these. */
static void job_checked(struct vms_node *n, struct part *p, struct learn *l, struct seg_job *j,
			int status)
{
	struct lctr *c = &l->ctrs.d[j->at];
	uint64_t lost = c->lost ? c->lost[j->seg] : 0;
	bool right = !status;
	unsigned bad = 0;

	if (j->step == SJ_HEAD) {
		right = right &&
			!vms_seg_decode(j->buf, c->number, (uint32_t)vms_seg_offset(j->seg),
					&j->sg) &&
			vms_get_le32(j->buf + VMS_CHUNK_BYTES - 4) == c->crc[j->seg];
		if (!c->crc[j->seg] && status) {
			/* nobody has that header */
			c->st[j->seg] = SEG_GOOD;
			job_end(n, p, l, j);
			return;
		}
		if (right) {
			j->n = j->sg.n;
			j->step = SJ_CHUNKS;
			job_read(n, j, c->number, vms_seg_offset(j->seg) + VMS_CHUNK_BYTES,
				 j->buf + VMS_CHUNK_BYTES, (size_t)j->n * VMS_CHUNK_BYTES);
			return;
		}
	} else {
		for (unsigned i = 0; !status && i < j->n; i++)
			bad += !((c->dead[j->seg] | lost) >> i & 1) &&
			       vms_crc32c(0, j->buf + (size_t)(1 + i) * VMS_CHUNK_BYTES,
					  VMS_CHUNK_BYTES) != j->sg.e[i].crc;
		right = right && !bad;
	}
	if (n->mut == MUT_LN_VERIFY || right) {
		good(n, l, c, j, !(c->st[j->seg] & 0x80));
	} else {
		if (bad && !(c->st[j->seg] & 0x80))
			repair_replaced(n, c->number, j->seg, bad);
		c->st[j->seg] = SEG_NEED;
		l->bad = true;
	}
	job_end(n, p, l, j);
}

static void job_io(struct vms_node *n, struct dio *d, int status)
{
	struct seg_job *j = (struct seg_job *)d;
	struct part *p;
	struct learn *l = job_learn(n, j, &p);

	if (p && p->learn_ios)
		p->learn_ios--;
	if (j->step == SJ_WRITE && write_failed(n, status))
		l = NULL;
	if (!l || (status == VMS_E_STOPPING && j->step == SJ_WRITE)) {
		job_end(n, p, NULL, j);
		return;
	}
	if (j->step != SJ_WRITE) {
		job_checked(n, p, l, j, status);
		return;
	}
	if (status == VMS_E_NOSPC) {
		n->nospc = true;
		n->space_ms = n->now_ms + 500;
		learn_fail(n, p, "this node's disk is full");
		job_end(n, p, NULL, j);
		return;
	}
	job_go(n, p, l, j);
}

/* The next run of bytes to the disk; all written: the end. */
static void job_write(struct vms_node *n, struct part *p, struct learn *l, struct seg_job *j)
{
	struct lctr *c = &l->ctrs.d[j->at];
	uint64_t off = vms_seg_offset(j->seg);
	struct vms_iov iov;
	unsigned from = 0, to;

	j->step = SJ_WRITE;
	j->d.fn = job_io;
	if (j->foot) {
		if (!j->bytes) {
			c->foot = true;
			job_end(n, p, l, j);
			return;
		}
		iov = (struct vms_iov){j->buf, j->bytes};
		j->bytes = 0;
		p->learn_ios++;
		n->disk.ops->ctr_write(n->disk.ctx, c->number, off, &iov, 1, dio_token(n, &j->d));
		return;
	}
	if (!j->write) {
		uint64_t bytes = (uint64_t)j->n * VMS_CHUNK_BYTES;

		c->crc[j->seg] = vms_get_le32(j->buf + VMS_CHUNK_BYTES - 4);
		c->used[j->seg] = (uint8_t)j->n;
		c->st[j->seg] = SEG_HEAD | 0x80; /* sent: to be read back */
		l->done_bytes += bytes;
		segs_put(n, &j->sg);
		job_end(n, p, l, j);
		return;
	}
	/* bit 0: the header, bit i + 1: chunk i; the header's bit falls out at 64 chunks */
	if (j->headed) {
		iov.base = j->buf;
		to = 0;
		while (to < j->n && (j->write >> to & 1))
			j->write &= ~(1ull << to++);
		iov.len = (size_t)(1 + to) * VMS_CHUNK_BYTES;
		j->headed = false;
	} else {
		while (!(j->write >> from & 1))
			from++;
		to = from;
		while (to < j->n && (j->write >> to & 1))
			j->write &= ~(1ull << to++);
		iov.base = j->buf + (size_t)(1 + from) * VMS_CHUNK_BYTES;
		iov.len = (size_t)(to - from) * VMS_CHUNK_BYTES;
		off += VMS_CHUNK_BYTES * (1ull + from);
	}
	p->learn_ios++;
	n->disk.ops->ctr_write(n->disk.ctx, c->number, off, &iov, 1, dio_token(n, &j->d));
}

/* The k-th source: the primary, then the other members. NULL: no more; *away: it is
 * not connected. */
static struct peer *source(struct vms_node *n, struct learn *l, unsigned k, bool *away)
{
	const struct vms_part_conf *pc = &n->pconf[l->part];
	struct peer *pe = NULL;

	if (k == 0)
		return node_peer(n, l->primary, false);
	for (unsigned i = 0; i < pc->nmembers; i++) {
		if (pc->member[i].node == l->primary || pc->member[i].node == n->id || --k)
			continue;
		pe = node_peer(n, pc->member[i].node, true);
		*away = !pe->conn;
		return pe;
	}
	return NULL;
}

/* Nobody has more of it. */
static void job_given_up(struct vms_node *n, struct part *p, struct learn *l, struct seg_job *j)
{
	struct lctr *c = &l->ctrs.d[j->at];
	unsigned gone;

	if (j->away) { /* a member that may have it is not there: later */
		l->wait_ms = n->now_ms + n->tm.lease_ms;
		node_wake_at(n, l->wait_ms);
		c->st[j->seg] = SEG_NEED;
		c->foot &= !j->foot;
		job_end(n, p, l, j);
		return;
	}
	if (!j->foot && !j->n && !c->used[j->seg]) {
		c->st[j->seg] = SEG_GOOD; /* nothing was ever there */
		job_end(n, p, l, j);
		return;
	}
	/* A disk may fail to read once; what is called lost here stays lost. */
	if (++j->rounds < ROUNDS_MAX) {
		j->source = 0;
		job_go(n, p, l, j);
		return;
	}
	if (j->foot) {
		/* it can be made again from the headers (fsck does); readers do without */
		c->foot = true;
		job_end(n, p, l, j);
		return;
	}
	if (!c->lost) {
		c->lost = calloc(c->segs, sizeof(*c->lost));
		vms_assert(c->lost);
	}
	c->lost[j->seg] = j->n ? j->left : UINT64_MAX;
	gone = (unsigned)__builtin_popcountll(j->n ? j->left : c->used[j->seg]);
	if (!j->n)
		gone = c->used[j->seg];
	l->lost_chunks += gone;
	n->st.lost_chunks += gone;
	node_log(n, VMS_LOG_ERROR,
		 "partition %u: %u chunks of container %09llx segment %u are damaged on all "
		 "members: "
		 "they stay unreadable in the new copy",
		 p->number, gone, (unsigned long long)c->number, j->seg);
	if (!j->n) {
		c->st[j->seg] = SEG_GOOD; /* no header: nothing of it can be read */
		job_end(n, p, l, j);
		return;
	}
	j->headed = true;
	j->write |= j->left; /* zeros, which do not match; the file needs its length */
	job_write(n, p, l, j);
}

static void seg_answer(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	struct seg_job *j = arg;
	const uint8_t *b = re && re->npayload ? re->payload[0].base : NULL;
	size_t left = re && re->npayload ? re->payload[0].len : 0;
	struct part *p;
	struct learn *l = job_learn(n, j, &p);
	struct vms_seg sg;
	struct lctr *c;
	uint64_t has;

	if (!l) {
		job_end(n, p, NULL, j);
		return;
	}
	c = &l->ctrs.d[j->at];
	if (re && (re->status == VMS_E_BUSY || re->status == VMS_E_AGAIN)) {
		if (j->source == 0) {
			c->st[j->seg] = SEG_NEED;
			c->foot &= !j->foot;
			learn_later(n, l, re, n->tm.tick_ms / 8);
			job_end(n, p, l, j);
			return;
		}
	}
	if (!re && j->source == 0) {
		learn_fail(n, p, "the primary does not answer");
		job_end(n, p, NULL, j);
		return;
	}
	if (re && re->status == VMS_E_GONE && j->source == 0) {
		learn_fail(n, p, "the primary feeds this node no more");
		job_end(n, p, NULL, j);
		return;
	}
	l->moved_bytes += left;
	n->st.learnt_bytes += left;
	if (!re || re->status) {
		j->away |= !re || re->status != VMS_E_CORRUPT;
		j->source++;
		job_go(n, p, l, j);
		return;
	}
	if (j->foot) {
		struct vms_ctr_footer f;

		if (left < VMS_CHUNK_BYTES || vms_ctr_footer_decode(b, &f) || f.ctr != c->number ||
		    left != VMS_CHUNK_BYTES * (1 + vms_ctr_list_blocks(f.list_bytes)) ||
		    vms_crc32c(0, b + VMS_CHUNK_BYTES, f.list_bytes) != f.list_crc) {
			j->source++;
			job_go(n, p, l, j);
			return;
		}
		free(j->buf);
		j->buf = malloc(left);
		vms_assert(j->buf);
		memcpy(j->buf, b, left);
		j->bytes = left;
		job_write(n, p, l, j);
		return;
	}
	if (left < VMS_CHUNK_BYTES || re->body_bytes != 16 ||
	    vms_seg_decode(b, c->number, (uint32_t)vms_seg_offset(j->seg), &sg) ||
	    (j->n &&
	     vms_get_le32(b + VMS_CHUNK_BYTES - 4) != vms_get_le32(j->buf + VMS_CHUNK_BYTES - 4))) {
		j->source++;
		job_go(n, p, l, j);
		return;
	}
	if (!j->n) {
		memcpy(j->buf, b, VMS_CHUNK_BYTES);
		j->sg = sg;
		j->n = sg.n;
		j->left = (sg.n == 64 ? UINT64_MAX : (1ull << sg.n) - 1) & ~c->dead[j->seg];
	}
	has = vms_get_le64(re->body);
	b += VMS_CHUNK_BYTES;
	left -= VMS_CHUNK_BYTES;
	for (unsigned i = 0; i < j->n; i++) {
		if (!(has >> i & 1))
			continue;
		if (left < VMS_CHUNK_BYTES)
			break;
		if ((j->left >> i & 1) && (vms_crc32c(0, b, VMS_CHUNK_BYTES) == j->sg.e[i].crc ||
					   n->mut == MUT_LN_TRUST)) {
			memcpy(j->buf + (size_t)(1 + i) * VMS_CHUNK_BYTES, b, VMS_CHUNK_BYTES);
			j->left &= ~(1ull << i);
			j->write |= 1ull << i;
		}
		b += VMS_CHUNK_BYTES;
		left -= VMS_CHUNK_BYTES;
	}
	if (!j->left) {
		j->headed = true;
		if (!j->write) { /* a header alone: its chunks are dead, but for none */
			struct vms_iov iov = {j->buf, VMS_CHUNK_BYTES};

			j->step = SJ_WRITE;
			j->d.fn = job_io;
			p->learn_ios++;
			n->disk.ops->ctr_write(n->disk.ctx, c->number, vms_seg_offset(j->seg), &iov,
					       1, dio_token(n, &j->d));
			return;
		}
		job_write(n, p, l, j);
		return;
	}
	j->source++;
	job_go(n, p, l, j);
}

static void job_go(struct vms_node *n, struct part *p, struct learn *l, struct seg_job *j)
{
	struct lctr *c = &l->ctrs.d[j->at];

	if (j->step == SJ_WRITE) {
		job_write(n, p, l, j);
		return;
	}
	if (j->step == SJ_HEAD) {
		job_read(n, j, c->number, vms_seg_offset(j->seg), j->buf, VMS_CHUNK_BYTES);
		return;
	}
	for (;; j->source++) {
		bool away = false;
		struct peer *pe = source(n, l, j->source, &away);
		uint8_t b[16];

		if (!pe) {
			job_given_up(n, p, l, j);
			return;
		}
		vms_put_le64(b, c->number);
		vms_put_le32(b + 8, j->seg);
		vms_put_le32(b + 12, 0);
		if (!away && learn_ask(n, l, pe, LOP_SEG, b, sizeof(b), seg_answer, j))
			return;
		if (j->source == 0) {
			learn_fail(n, p, "no connection to the primary");
			job_end(n, p, NULL, j);
			return;
		}
		j->away = true;
	}
}

static struct seg_job *job_new(struct part *p, struct learn *l, enum job_step step)
{
	struct seg_job *j = calloc(1, sizeof(*j));

	vms_assert(j);
	j->part = p->number;
	j->serial = l->serial;
	j->at = l->at;
	j->seg = l->seg;
	j->step = step;
	j->buf = calloc(1 + VMS_SEG_ENTRIES_MAX, VMS_CHUNK_BYTES);
	vms_assert(j->buf);
	l->flight++;
	return j;
}

/* ---- fetching what is not here ---- */

static void header_write(struct vms_node *n, struct part *p, struct learn *l, const struct lctr *c)
{
	struct vms_ctr_header h = {.ctr = c->number,
				   .partition = p->number,
				   .epoch = c->epoch,
				   .incarnation = c->incarnation};
	struct lio *io = calloc(1, sizeof(*io) + VMS_CHUNK_BYTES);
	struct vms_iov iov;

	vms_assert(io);
	memcpy(h.cluster_uuid, n->conf.cluster_uuid, 16);
	vms_ctr_header_encode((uint8_t *)(io + 1), &h);
	iov = (struct vms_iov){io + 1, VMS_CHUNK_BYTES};
	io->d.fn = lio_done;
	io->part = p->number;
	io->serial = l->serial;
	io->write = true;
	io->ctr = c->number;
	l->flight++;
	p->learn_ios++;
	n->disk.ops->ctr_write(n->disk.ctx, c->number, 0, &iov, 1, dio_token(n, &io->d));
}

bool learn_fetch(struct vms_node *n, struct part *p, struct learn *l)
{
	uint64_t serial = l->serial;

	while (l->at < l->ctrs.n && l->flight < FLIGHT_MAX) {
		struct lctr *c = &l->ctrs.d[l->at];
		struct seg_job *j;

		if (n->now_ms < l->wait_ms || learn_paused(n, l))
			return false;
		if (l->seg == 0 && !c->own) {
			c->own = true;
			header_write(n, p, l, c);
		}
		while (l->seg < c->segs && c->st[l->seg] != SEG_NEED)
			l->seg++;
		if (l->seg < c->segs) {
			c->st[l->seg] = SEG_BYTES;
			j = job_new(p, l, SJ_ASK);
			l->seg++;
			job_go(n, p, l, j);
		} else if (l->seg == c->segs && c->state == 2 && !c->foot) {
			j = job_new(p, l, SJ_ASK);
			j->foot = true;
			c->foot = true;
			l->seg++;
			job_go(n, p, l, j);
		} else {
			l->at++;
			l->seg = 0;
		}
		/* it may have ended the whole attempt, or have gone on by itself */
		if (learn_of(n, p->number, serial) != l || l->phase != LP_FETCH)
			return false;
	}
	if (l->at < l->ctrs.n || l->flight)
		return false;
	/* asked to wait, or a member was away: those once more */
	VMS_VEC_FOREACH (&l->ctrs, c) {
		uint32_t s = 0;

		while (s < c->segs && c->st[s] != SEG_NEED)
			s++;
		if (s == c->segs && (c->state != 2 || c->foot))
			continue;
		l->at = (size_t)(c - l->ctrs.d);
		l->seg = s;
		node_wake_at(n, n->now_ms + 1);
		return false;
	}
	return true;
}

/* Into the index, with the next checkpoint. */
void learn_install(struct vms_node *n, struct part *p, struct learn *l)
{
	VMS_VEC_FOREACH (&l->ctrs, lc) {
		struct ctr *c = part_ctr_add(p, lc->number);

		c->epoch = lc->epoch;
		c->incarnation = lc->incarnation;
		c->state = lc->state;
		if (n->mut != MUT_LN_SHARED)
			c->shared = c->sharing = lc->shared;
		if (c->segs > lc->segs)
			c->segs = lc->segs;
		ctr_segs(c, lc->segs);
		memcpy(c->used, lc->used, lc->segs);
		c->chunks = lc->chunks;
		c->live = lc->live;
		places_free(&c->dead);
		for (uint32_t s = 0; s < lc->segs && n->mut != MUT_LN_DEAD; s++)
			if (lc->dead[s])
				places_or(&c->dead, s, lc->dead[s]);
		if (c->dead.count)
			ctr_holes(n, c, 0, c->segs);
		c->dirty = true;
		c->dead_dirty = c->dead.count > 0;
	}
	p->state_dirty = true;
}

/* ---- reading it all back ---- */

bool learn_verify(struct vms_node *n, struct part *p, struct learn *l)
{
	uint64_t serial = l->serial;

	while (l->at < l->ctrs.n && l->flight < FLIGHT_MAX) {
		struct lctr *c = &l->ctrs.d[l->at];
		struct seg_job *j;

		while (l->seg < c->segs && c->st[l->seg] == SEG_GOOD)
			l->seg++;
		if (l->seg >= c->segs) {
			l->at++;
			l->seg = 0;
			continue;
		}
		j = job_new(p, l, SJ_HEAD);
		j->verify = true;
		l->seg++;
		job_go(n, p, l, j);
		if (learn_of(n, p->number, serial) != l || l->phase != LP_VERIFY)
			return false;
	}
	return l->at >= l->ctrs.n && !l->flight;
}
