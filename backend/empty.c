// SPDX-License-Identifier: GPL-2.0-only
/*
 * Emptying shared containers of which less than a quarter lives, and less than a quarter
 * of what takes space, because the dead are in pieces too small to be punched. After a
 * round has told which chunks live, the primary copies them to its open container (REMAP
 * with flag COPY: no page changes), shares that one, and when the copies are safe tells
 * all nodes old and new addresses, as the second phase of dedup does with duplicates. What
 * nobody refers to any more goes with the next rounds.
 *
 * The new container carries the cycle of its partition as stamp from the step that tells
 * of it, so no round frees a copy before someone could refer to it; whoever orders such
 * a reference checks that stamp. A crash in between leaves copies that nobody refers to,
 * which are garbage like any other. Keeps invariants 20, 21 (rules B2, B3).
 */
#include "backend/empty.h"

#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/drain.h"
#include "backend/fetch.h"
#include "backend/match_int.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/node_repl.h"
#include "backend/node_write.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/record.h"
#include "backend/rpc.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define JOBS_MAX 64u

enum phase { E_READ, E_ORDER, E_APPLY, E_SHARE, E_SAFE };

struct empty_job {
	uint32_t part;
	uint64_t number, epoch;
	struct places live;
	uint32_t at; /* segment */
	/* the batch: chunks of one segment */
	enum phase phase;
	bool busy, dead;
	unsigned n;
	uint64_t seq;
	struct {
		vms_addr from, to;
		uint32_t crc;
		uint8_t valid;
		bool ok, has_fp;
		uint8_t fp[32];
	} e[VMS_SEG_ENTRIES_MAX];
	uint8_t *buf;
};

VMS_VEC_TYPE(jobs, struct empty_job *);

struct empty {
	struct jobs jobs;
};

static void job_free(struct empty_job *j)
{
	places_free(&j->live);
	free(j->buf);
	free(j);
}

/* A round has ended: rmark tells what lives in c. */
void empty_add(struct vms_node *n, struct part *p, struct ctr *c)
{
	struct empty_job *j;

	if (!n->conf.dedup_background || n->nospc)
		return;
	if (!n->empty) {
		n->empty = calloc(1, sizeof(*n->empty));
		vms_assert(n->empty);
	}
	if (n->empty->jobs.n >= JOBS_MAX)
		return;
	VMS_VEC_FOREACH (&n->empty->jobs, o)
		if ((*o)->number == c->number)
			return;
	j = calloc(1, sizeof(*j));
	vms_assert(j);
	j->part = p->number;
	j->number = c->number;
	j->epoch = p->conf.epoch;
	j->live.bit = malloc(c->rmark.n * sizeof(*j->live.bit));
	vms_assert(j->live.bit);
	memcpy(j->live.bit, c->rmark.bit, c->rmark.n * sizeof(*j->live.bit));
	j->live.n = c->rmark.n;
	j->live.count = c->rmark.count;
	c->emptying = true; /* nobody is given its chunks any more */
	VMS_VEC_PUSH(&n->empty->jobs, j);
	node_wake_at(n, n->now_ms + 1);
}

static void batch_read(struct vms_node *n, struct fetch *f)
{
	struct empty_job *j = f->arg;

	(void)n;
	j->busy = false;
	for (unsigned i = 0; i < f->nent && !j->dead; i++) {
		j->e[i].ok = f->e[i].status == 0;
		j->e[i].crc = f->e[i].crc;
		j->e[i].valid = f->e[i].valid;
		j->e[i].has_fp = f->e[i].has_fp;
		memcpy(j->e[i].fp, f->e[i].fp, sizeof(j->e[i].fp));
	}
	fetch_free(f);
	if (j->dead)
		job_free(j);
	else
		j->phase = E_ORDER;
}

static void batch_start(struct vms_node *n, struct empty_job *j)
{
	uint64_t bits = j->live.bit[j->at];
	vms_addr header = vms_addr_make(j->number, (uint32_t)vms_seg_offset(j->at));
	struct fetch *f = fetch_new(n, (unsigned)__builtin_popcountll(bits));

	if (!j->buf)
		j->buf = malloc((size_t)VMS_SEG_ENTRIES_MAX * VMS_CHUNK_BYTES);
	vms_assert(j->buf);
	j->n = 0;
	for (unsigned i = 0; i < VMS_SEG_ENTRIES_MAX; i++) {
		if (!(bits >> i & 1))
			continue;
		j->e[j->n].from = header + (i + 1ull) * VMS_CHUNK_BYTES;
		f->e[j->n].addr = j->e[j->n].from;
		f->e[j->n].buf = j->buf + (size_t)j->n * VMS_CHUNK_BYTES;
		j->n++;
	}
	f->arg = j;
	f->done = batch_read;
	f->want_fp = true;
	j->busy = true;
	fetch_start(n, f);
}

static void batch_order(struct vms_node *n, struct part *p, struct ctr *c, struct empty_job *j)
{
	struct vms_rec r = {.type = VMS_REC_REMAP, .flags = VMS_RF_INTERNAL};
	struct vms_move m[VMS_SEG_ENTRIES_MAX];
	uint8_t meta[VMS_MOVES_META_MAX];
	unsigned k = 0, data = 0;
	uint64_t ctr;
	uint32_t seg;

	for (unsigned i = 0; i < j->n; i++) {
		/* it died since it was read: when this is applied its bytes may be gone */
		if (places_has(&c->dead, j->e[i].from) && n->mut != MUT_EMPTY_DEAD)
			j->e[i].ok = false;
		data += j->e[i].ok;
	}
	if (!data) {
		j->n = 0;
		j->phase = E_SAFE; /* nothing could be read: on to the next segment */
		return;
	}
	if (part_cramped(n, p)) {
		j->at = j->live.n;
		j->n = 0;
		j->phase = E_READ;
		return;
	}
	if (p->moves_ordered >= 2 || drain_place(n, p, data, &ctr, &seg))
		return;
	for (unsigned i = 0; i < j->n; i++) {
		if (!j->e[i].ok)
			continue;
		j->e[k] = j->e[i];
		j->e[k].to = vms_addr_make(ctr, (uint32_t)vms_seg_chunk_offset(seg, k));
		m[k] = (struct vms_move){.valid = j->e[k].valid,
					 .flags = VMS_MOVE_COPY,
					 .crc = j->e[k].crc,
					 .from_seq = j->e[k].from,
					 .to = j->e[k].to,
					 .has_fp = j->e[k].has_fp};
		memcpy(m[k].fp, j->e[k].fp, sizeof(m[k].fp));
		k++;
	}
	vms_rec_moves_put(&r, meta, m, k);
	if (part_order(n, p, &r, NULL, 0))
		return;
	p->open_seg++;
	p->open_chunks += k;
	j->n = k;
	j->seq = r.seq;
	j->phase = E_APPLY;
}

/* The container of the copies; NULL: it does not live any more. */
static struct ctr *copies_ctr(struct part *p, const struct empty_job *j)
{
	struct ctr *c = part_ctr(p, vms_addr_container(j->e[0].to));

	return c && c->state != 3 && !c->sweeping && !c->punching ? c : NULL;
}

static void ended(struct vms_node *n, void *arg, const struct vms_msg *re)
{
	(void)n;
	(void)arg;
	(void)re; /* what did not get there is looked at in the next round */
}

static void tell(struct vms_node *n, struct part *p, struct empty_job *j, struct ctr *c)
{
	uint8_t body[MATCH_REMAP_BYTES * VMS_SEG_ENTRIES_MAX];
	struct vms_msg q = {.type = VMS_MSG_MATCH_REMAP, .partition = VMS_PART_NONE, .aux = 1};

	if (c->stamp < p->gc_cycle)
		c->stamp = p->gc_cycle;
	for (unsigned i = 0; i < j->n; i++) {
		vms_put_le64(body + q.body_bytes, j->e[i].from);
		vms_put_le64(body + q.body_bytes + 8, j->e[i].to);
		vms_put_le64(body + q.body_bytes + 16, p->gc_cycle);
		q.body_bytes += MATCH_REMAP_BYTES;
	}
	q.body = body;
	(void)match_take_remap(n, body, q.body_bytes, true);
	for (unsigned i = 0; i < n->npeers; i++)
		if (n->peer[i]->known)
			(void)rpc_send(n, n->peer[i], &q, 4ull * n->tm.lease_ms, ended, NULL);
	n->st.emptied += j->n;
	p->rd_again = true; /* the next round tells what came of it */
}

/* false: the job is over. */
static bool job_step(struct vms_node *n, struct empty_job *j)
{
	struct part *p = node_part(n, j->part);
	struct vms_rec r = {.type = VMS_REC_SHARE, .flags = VMS_RF_INTERNAL};
	struct ctr *c = p ? part_ctr(p, j->number) : NULL;
	uint8_t meta[8];

	if (j->busy)
		return true;
	if (!c || c->state == 3 || c->sweeping || p->conf.epoch != j->epoch || !part_serving(p) ||
	    !part_members_ready(p))
		return false;
	switch (j->phase) {
	case E_READ:
		while (j->at < j->live.n && !j->live.bit[j->at])
			j->at++;
		if (j->at == j->live.n)
			return false;
		batch_start(n, j);
		return true;
	case E_ORDER:
		/* what is dying is known when that record is applied */
		if (!c->punching || n->mut == MUT_EMPTY_DEAD)
			batch_order(n, p, c, j);
		return true;
	case E_APPLY:
		if (p->applied >= j->seq)
			j->phase = E_SHARE;
		return true;
	case E_SHARE:
		c = copies_ctr(p, j);
		if (!c)
			return false;
		if (!c->shared && !c->sharing) {
			vms_put_le64(meta, c->number);
			r.meta = meta;
			r.meta_bytes = sizeof(meta);
			(void)part_order(n, p, &r, NULL, 0);
		}
		if (c->shared)
			j->phase = E_SAFE;
		return true;
	default:
		if (j->n && p->safe_seq < j->seq) {
			n->hungry = true;
			return true;
		}
		c = j->n ? copies_ctr(p, j) : NULL;
		if (c)
			tell(n, p, j, c);
		j->at++;
		j->phase = E_READ;
		return true;
	}
}

void empty_timer(struct vms_node *n)
{
	struct empty_job *j;

	if (!n->empty || !n->empty->jobs.n || n->stopping)
		return;
	j = n->empty->jobs.d[0];
	if (!job_step(n, j)) {
		VMS_VEC_REMOVE(&n->empty->jobs, 0);
		job_free(j);
	}
	if (n->empty->jobs.n)
		node_wake_at(n, n->now_ms + gc_pace_ms(n) + 1);
}

void empty_close(struct vms_node *n)
{
	if (!n->empty)
		return;
	VMS_VEC_FOREACH (&n->empty->jobs, j) {
		if ((*j)->busy)
			(*j)->dead = true;
		else
			job_free(*j);
	}
	VMS_VEC_FREE(&n->empty->jobs);
	free(n->empty);
	n->empty = NULL;
}
