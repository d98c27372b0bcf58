// SPDX-License-Identifier: GPL-2.0-only
/*
 * Deduplication of a batch that is being drained: whole chunks of branches with dedup
 * on are hashed with their domain's salt (helper threads), equal ones within the batch
 * found, the rest looked up. What is not found, or not in time, is written.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/checkpoint.h"
#include "backend/dedup.h"
#include "backend/drain_int.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/record.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

struct dd;

struct digest_part { /* the chunks of one salt */
	struct dio d;
	struct dd *dd;
	struct vms_digest job;
	unsigned first;
};

struct dd {
	struct part *p;
	struct drain_job *d;
	void (*done)(struct vms_node *n, struct part *p, struct drain_job *d);
	unsigned pending;
	unsigned n;
	uint32_t *idx; /* entry of the batch */
	const uint8_t **chunk;
	uint8_t (*fp)[32];
	uint32_t *crc;
	uint32_t *asked; /* entries that are looked up, in order */
	unsigned nasked;
};

static void dd_end(struct vms_node *n, struct dd *x)
{
	struct part *p = x->p;
	struct drain_job *d = x->d;
	void (*done)(struct vms_node *, struct part *, struct drain_job *) = x->done;

	free(x->idx);
	free(x->chunk);
	free(x->fp);
	free(x->crc);
	free(x->asked);
	free(x);
	done(n, p, d);
}

static void looked_up(struct vms_node *n, void *arg, const struct dedup_hit *hit)
{
	struct dd *x = arg;

	for (unsigned i = 0; hit && i < x->nasked; i++)
		x->d->e[x->asked[i]].hit = hit[i];
	dd_end(n, x);
}

/* Equal chunks of the batch: the later ones refer to the first. */
static void find_same(struct dd *x)
{
	struct drain_job *d = x->d;
	uint32_t mask = 1, *slot;

	while (mask < 2 * x->n)
		mask *= 2;
	slot = calloc(mask, sizeof(*slot)); /* 1 + entry */
	vms_assert(slot);
	mask--;
	for (unsigned i = 0; i < x->n; i++) {
		struct batch_ent *e = &d->e[x->idx[i]];
		uint32_t at;

		if (!e->m.has_fp)
			continue;
		at = (uint32_t)vms_get_le64(e->m.fp) & mask;
		while (slot[at] && memcmp(d->e[slot[at] - 1].m.fp, e->m.fp, 32))
			at = (at + 1) & mask;
		if (!slot[at])
			slot[at] = x->idx[i] + 1;
		else if (!memcmp(d->e[slot[at] - 1].chunk, e->chunk, VMS_CHUNK_BYTES))
			e->same = slot[at];
	}
	free(slot);
}

static void by_entry(struct dd *x)
{
	/* references go to earlier entries: salts were hashed group by group */
	for (unsigned i = 1; i < x->n; i++) {
		uint32_t v = x->idx[i];
		unsigned k = i;

		for (; k && x->idx[k - 1] > v; k--)
			x->idx[k] = x->idx[k - 1];
		x->idx[k] = v;
	}
}

static void hashed(struct vms_node *n, struct dd *x)
{
	struct drain_job *d = x->d;
	unsigned k = 0;

	if (n->closing || d->dead) {
		dd_end(n, x);
		return;
	}
	by_entry(x);
	find_same(x);
	log_return(n, &d->lend);
	for (unsigned i = 0; i < x->n; i++) {
		struct batch_ent *e = &d->e[x->idx[i]];

		if (!e->m.has_fp || e->same)
			continue;
		memcpy(x->fp[k], e->m.fp, 32);
		x->asked[k++] = x->idx[i];
	}
	x->nasked = k;
	if (k)
		dedup_lookup(n, x->p->number, (const uint8_t(*)[32])x->fp, k, looked_up, x);
	else
		dd_end(n, x);
}

static void digest_event(struct vms_node *n, struct dio *dio, int status)
{
	struct digest_part *g = (struct digest_part *)((char *)dio -
						       offsetof(struct digest_part, d));
	struct dd *x = g->dd;

	for (unsigned i = 0; !status && i < g->job.n; i++) {
		struct vms_move *m = &x->d->e[x->idx[g->first + i]].m;

		/* not what was written: whoever writes it to its place will find out too */
		m->has_fp = g->job.crc[i] == m->crc;
		if (!m->has_fp)
			continue;
		memcpy(m->fp, g->job.out[i], 32);
	}
	if (!status)
		dedup_count_hashed(n, g->job.n);
	free(g);
	if (!--x->pending)
		hashed(n, x);
}

static const struct branch *deduplicated(struct vms_node *n, const struct batch_ent *e)
{
	const struct branch *b;

	if ((e->m.flags & VMS_MOVE_RANGE) || e->m.to == VMS_ADDR_HOLE ||
	    e->m.valid != VMS_MASK_FULL)
		return NULL;
	b = node_branch(n, e->m.branch, false);
	return b && b->known && b->dedup ? b : NULL;
}

static bool same_salt(const struct branch *a, const struct branch *b)
{
	return a == b || (a->salted == b->salted &&
			  (!a->salted || !memcmp(a->salt, b->salt, sizeof(a->salt))));
}

bool drain_dedup(struct vms_node *n, struct part *p, struct drain_job *d,
		 void (*done)(struct vms_node *n, struct part *p, struct drain_job *d))
{
	unsigned total = 0, at = 0;
	struct dd *x;

	if (!n->disk.ops->digest)
		return false;
	for (unsigned i = 0; i < d->n; i++)
		total += deduplicated(n, &d->e[i]) != NULL;
	if (!total)
		return false;
	x = calloc(1, sizeof(*x));
	vms_assert(x);
	x->p = p;
	x->d = d;
	x->done = done;
	x->n = total;
	x->idx = malloc(total * sizeof(*x->idx));
	x->asked = malloc(total * sizeof(*x->asked));
	x->chunk = malloc(total * sizeof(*x->chunk));
	x->fp = malloc(total * sizeof(*x->fp));
	x->crc = malloc(total * sizeof(*x->crc));
	vms_assert(x->idx && x->asked && x->chunk && x->fp && x->crc);
	x->pending = 1;
	while (at < total) {
		struct digest_part *g = calloc(1, sizeof(*g));
		const struct branch *salt = NULL;

		vms_assert(g);
		g->d.fn = digest_event;
		g->dd = x;
		g->first = at;
		for (unsigned i = 0; i < d->n; i++) {
			const struct branch *b = deduplicated(n, &d->e[i]);

			if (!b || d->e[i].hashing || (salt && !same_salt(salt, b)))
				continue;
			salt = b;
			d->e[i].hashing = true;
			x->idx[at] = i;
			x->chunk[at++] = d->e[i].chunk;
		}
		g->job.salt = salt->salted ? salt->salt : NULL;
		g->job.salt_bytes = salt->salted ? sizeof(salt->salt) : 0;
		g->job.n = at - g->first;
		g->job.chunk = x->chunk + g->first;
		g->job.out = x->fp + g->first;
		g->job.crc = x->crc + g->first;
		x->pending++;
		n->disk.ops->digest(n->disk.ctx, &g->job, dio_token(n, &g->d));
	}
	x->pending--;
	return true;
}

bool drain_dedup_again(struct vms_node *n, struct part *p, struct drain_job *d,
		       void (*done)(struct vms_node *n, struct part *p, struct drain_job *d))
{
	struct dd *x;
	unsigned k = 0;

	for (unsigned i = d->next; i < d->n; i++)
		k += d->e[i].again;
	if (!k)
		return false;
	x = calloc(1, sizeof(*x));
	vms_assert(x);
	x->p = p;
	x->d = d;
	x->done = done;
	x->asked = malloc(k * sizeof(*x->asked));
	x->fp = malloc(k * sizeof(*x->fp));
	vms_assert(x->asked && x->fp);
	for (unsigned i = d->next; i < d->n; i++) {
		struct batch_ent *b = &d->e[i];

		if (!b->again)
			continue;
		b->again = false;
		b->asked_again = true;
		b->hit.addr = VMS_ADDR_HOLE;
		memcpy(x->fp[x->nasked], b->m.fp, 32);
		x->asked[x->nasked++] = i;
	}
	dedup_lookup(n, p->number, (const uint8_t(*)[32])x->fp, k, looked_up, x);
	return true;
}
