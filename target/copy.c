// SPDX-License-Identifier: GPL-2.0-only
/* Copies between volumes; see copy.h. */
#include "target/copy.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define DEPTH	     4u
#define PIECE_BLOCKS 2048u /* 1 MiB */
#define PIECE_CHUNKS (PIECE_BLOCKS / VMS_CHUNK_BLOCKS)
#define WAIT_MS	     50u    /* the gateway is full, a node busy, no memory: again after that */
#define PATIENCE_MS  30000u /* and for so long: a failover, with all that may come to it */

enum step { FREE, MAP, WORK, READ, WRITE, ZERO, REF };
enum kind { DATA, HOLE, FIXED };

struct piece {
	struct vms_gw_cmd gc;
	enum step step;
	bool pending, ended;
	uint64_t wait_ms; /* not before that */
	uint64_t from_lba, to_lba;
	uint32_t nblocks;
	uint32_t at, len; /* the run in work, in blocks */
	bool by_chunk;	  /* else read and written as a whole */
	uint8_t *buf;	  /* PIECE_BLOCKS; NULL: not needed yet */
	struct vms_iov iov;
	vms_addr addrs[PIECE_CHUNKS];
	uint8_t kind[PIECE_CHUNKS], found[PIECE_CHUNKS];
};

struct vms_copy {
	struct vms_gw *gw;
	void *cookie;
	const char *initiator_port;
	struct vms_pr_who who;
	struct vms_copy_range r;
	uint32_t at; /* blocks of the range that have a piece */
	bool overlap, backward;
	bool aborted, failed_reading, touched, submitted;
	int status;
	uint64_t blocks, busy_since_ms;
	unsigned active; /* pieces that are not FREE */
	struct piece piece[DEPTH];
};

struct vms_copy *vms_copy_new(struct vms_gw *gw, void *cookie, const char *initiator_port,
			      const struct vms_pr_who *who)
{
	struct vms_copy *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->gw = gw;
	c->cookie = cookie;
	c->initiator_port = initiator_port;
	c->who = *who;
	return c;
}

void vms_copy_free(struct vms_copy *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < DEPTH; i++) {
		vms_assert(!c->piece[i].pending);
		free(c->piece[i].buf);
	}
	free(c);
}

void vms_copy_begin(struct vms_copy *c, const struct vms_copy_range *r)
{
	uint64_t d = r->to_lba > r->from_lba ? r->to_lba - r->from_lba : r->from_lba - r->to_lba;

	vms_assert(!c->active && !c->status);
	c->r = *r;
	c->at = 0;
	c->overlap = r->from == r->to && d < r->nblocks;
	c->backward = c->overlap && r->to_lba > r->from_lba;
	if (c->overlap && !d)
		c->at = r->nblocks; /* onto itself */
}

/* ---- pieces ---- */

static uint32_t least(uint32_t a, uint64_t b)
{
	return b < a ? (uint32_t)b : a;
}

/* The next piece of the range, and how it is copied. */
static void piece_cut(struct vms_copy *c, struct piece *p)
{
	uint32_t left = c->r.nblocks - c->at, n = least(PIECE_BLOCKS, left);
	uint64_t off = c->at, head;

	if (c->overlap) {
		/* by one read and one write, so that no block is read after it was written */
		if (c->backward)
			off = left - n;
		p->by_chunk = false;
	} else {
		uint64_t from = c->r.from_lba + off, to = c->r.to_lba + off;

		n = least(n, VMS_EXTENT_BLOCKS - from % VMS_EXTENT_BLOCKS);
		n = least(n, VMS_EXTENT_BLOCKS - to % VMS_EXTENT_BLOCKS);
		head = from % VMS_CHUNK_BLOCKS;
		p->by_chunk = head == to % VMS_CHUNK_BLOCKS && !head && n >= VMS_CHUNK_BLOCKS;
		if (p->by_chunk)
			n -= n % VMS_CHUNK_BLOCKS;
		else if (head && head == to % VMS_CHUNK_BLOCKS)
			n = least(n, VMS_CHUNK_BLOCKS - head);
	}
	p->from_lba = c->r.from_lba + off;
	p->to_lba = c->r.to_lba + off;
	p->nblocks = n;
	p->at = 0;
	p->len = n;
	p->step = p->by_chunk ? MAP : READ;
	p->wait_ms = 0;
	p->ended = false;
	c->at += n;
	c->active++;
}

static void piece_free(struct vms_copy *c, struct piece *p)
{
	p->step = FREE;
	c->active--;
}

/* The run of chunks of one kind that begins at p->at. */
static enum step run_next(struct piece *p)
{
	unsigned n = p->nblocks / VMS_CHUNK_BLOCKS, i = p->at / VMS_CHUNK_BLOCKS, k = i;
	static const enum step step[] = {[DATA] = READ, [HOLE] = ZERO, [FIXED] = REF};

	while (k < n && p->kind[k] == p->kind[i])
		k++;
	p->len = (k - i) * VMS_CHUNK_BLOCKS;
	return step[p->kind[i]];
}

static void submit(struct vms_copy *c, struct piece *p)
{
	struct vms_gw_cmd *gc = &p->gc;
	unsigned chunk = p->at / VMS_CHUNK_BLOCKS;
	bool reads = p->step == MAP || p->step == READ;

	memset(gc, 0, sizeof(*gc));
	gc->cookie = c->cookie;
	gc->initiator_port = c->initiator_port;
	gc->nblocks = p->len;
	gc->vol = reads ? c->r.from : c->r.to;
	gc->who = &c->who;
	gc->access = reads ? VMS_ACC_READ : VMS_ACC_WRITE;
	gc->lba = (reads ? p->from_lba : p->to_lba) + p->at;
	switch (p->step) {
	case MAP:
		gc->op = VMS_GW_MAP;
		gc->addrs = p->addrs;
		break;
	case READ:
		if (!p->buf)
			p->buf = aligned_alloc(VMS_CHUNK_BYTES, PIECE_BLOCKS * VMS_LB_BYTES);
		if (!p->buf) {
			gc->status = VMS_E_NOMEM;
			p->ended = true;
			return;
		}
		gc->op = VMS_GW_READ;
		gc->flags = VMS_GW_DPO;
		gc->dest = p->buf;
		break;
	case WRITE:
		gc->op = VMS_GW_WRITE;
		p->iov.base = p->buf;
		p->iov.len = (size_t)p->len * VMS_LB_BYTES;
		gc->data = &p->iov;
		gc->ndata = 1;
		gc->data_bytes = p->iov.len;
		break;
	case ZERO:
		gc->op = VMS_GW_ZERO;
		break;
	default:
		gc->op = VMS_GW_COPY;
		gc->addrs = p->addrs + chunk;
		gc->found = p->found + chunk;
		memset(gc->found, 0, p->len / VMS_CHUNK_BLOCKS);
	}
	/* a reservation may have come since the command was let in */
	if (vms_pr_refuses(vms_gw_vol_pr(gc->vol), &c->who, gc->access)) {
		gc->status = vms_gw_refusal(c->gw);
		p->ended = true;
		return;
	}
	c->touched |= !reads;
	c->submitted = true;
	if (vms_gw_submit(c->gw, gc) == VMS_GW_PENDING) {
		p->pending = true;
		return;
	}
	p->ended = true;
}

static void mapped(struct vms_copy *c, struct piece *p)
{
	for (unsigned i = 0; i < p->nblocks / VMS_CHUNK_BLOCKS; i++)
		p->kind[i] = p->addrs[i] == VMS_ADDR_HOLE	     ? HOLE
			     : vms_gw_addr_fixed(c->gw, p->addrs[i]) ? FIXED
								     : DATA;
}

static void run_written(struct vms_copy *c, struct piece *p)
{
	c->blocks += p->len;
	p->at += p->len;
	if (p->at == p->nblocks)
		piece_free(c, p);
	else
		p->step = WORK;
}

static void fail(struct vms_copy *c, struct piece *p, int status)
{
	if (!c->status) {
		c->status = status;
		c->failed_reading = p->step == MAP || p->step == READ;
	}
	piece_free(c, p);
}

/* Its command has ended: what comes next. */
static void piece_step(struct vms_copy *c, struct piece *p, uint64_t now_ms)
{
	int status = p->gc.status;

	p->ended = false;
	/* TIMEOUT: applied or not, it will not be any more; that data may be written again */
	if (status == VMS_E_BUSY || status == VMS_E_FULL || status == VMS_E_AGAIN ||
	    status == VMS_E_NOMEM || status == VMS_E_TIMEOUT) {
		if (!c->busy_since_ms)
			c->busy_since_ms = now_ms;
		if (c->aborted || now_ms - c->busy_since_ms > PATIENCE_MS) {
			fail(c, p, status);
			return;
		}
		p->wait_ms = now_ms + WAIT_MS;
		return;
	}
	if (status && p->step == REF && status != VMS_E_CANCELLED) {
		/* nothing was written: those that are gone, or all if nobody knows which, the
		 * long way (an older node does not know the op) */
		unsigned i = p->at / VMS_CHUNK_BLOCKS, n = i + p->len / VMS_CHUNK_BLOCKS;
		unsigned there = 0;

		for (unsigned k = i; k < n; k++)
			there += status == VMS_E_NOENT && p->found[k];
		for (unsigned k = i; k < n; k++)
			if (!there || there == n - i || !p->found[k])
				p->kind[k] = DATA;
		p->step = WORK;
		return;
	}
	if (status) {
		fail(c, p, status);
		return;
	}
	c->busy_since_ms = 0;
	switch (p->step) {
	case MAP:
		mapped(c, p);
		p->step = WORK;
		break;
	case READ:
		p->step = WRITE;
		break;
	default:
		run_written(c, p);
	}
}

/* One step of a piece; true: it wants another one at once. */
static bool piece_run(struct vms_copy *c, struct piece *p, uint64_t now_ms)
{
	if (p->step == FREE) {
		if (c->aborted || c->status || c->at == c->r.nblocks || (c->overlap && c->active))
			return false;
		piece_cut(c, p);
		return true;
	}
	if (p->pending)
		return false;
	if (p->ended) {
		piece_step(c, p, now_ms);
		return true;
	}
	if (c->aborted || c->status) {
		if (!c->status)
			c->status = VMS_E_CANCELLED;
		piece_free(c, p);
		return false;
	}
	if (p->wait_ms > now_ms)
		return false;
	if (p->step == WORK)
		p->step = run_next(p);
	submit(c, p);
	return p->ended;
}

enum vms_copy_state vms_copy_run(struct vms_copy *c, uint64_t now_ms)
{
	c->submitted = false;
	for (unsigned i = 0; i < DEPTH; i++)
		while (piece_run(c, &c->piece[i], now_ms))
			;
	if (c->active)
		return c->submitted ? VMS_COPY_SUBMITTED : VMS_COPY_WAITING;
	if (c->aborted && !c->status && c->at < c->r.nblocks)
		c->status = VMS_E_CANCELLED;
	return VMS_COPY_ENDED;
}

void vms_copy_ended(struct vms_copy *c, struct vms_gw_cmd *gc)
{
	struct piece *p = (struct piece *)gc; /* its first member */

	vms_assert(p->pending && p >= c->piece && p < c->piece + DEPTH);
	p->pending = false;
	p->ended = true;
}

void vms_copy_abort(struct vms_copy *c)
{
	c->aborted = true;
	for (unsigned i = 0; i < DEPTH; i++)
		if (c->piece[i].pending)
			vms_gw_abort(c->gw, &c->piece[i].gc);
}

int vms_copy_status(const struct vms_copy *c)
{
	return c->status;
}

bool vms_copy_failed_reading(const struct vms_copy *c)
{
	return c->failed_reading;
}

uint64_t vms_copy_blocks(const struct vms_copy *c)
{
	return c->blocks;
}

bool vms_copy_touched(const struct vms_copy *c)
{
	return c->touched;
}
