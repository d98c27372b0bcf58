// SPDX-License-Identifier: GPL-2.0-only
/*
 * WRITE of kind 5, by reference: the gateway sends fingerprints, the primary finds the
 * chunks in the cluster, reads them and orders a plain WRITE of their bytes; draining
 * makes references of them. One chunk that is not found, or not right, and nothing is
 * ordered: the answer tells which are there. Waits in the list of locks like COMPARE
 * AND WRITE. Keeps invariants 2, 10, 24.
 */
#include "backend/node_int.h"

struct wref {
	struct part *p;
	struct op *o;
	uint8_t *data;
	uint8_t found[];
};

static void ready(struct vms_node *n, struct wref *r)
{
	struct part *p = r->p;
	struct op *o = r->o;

	if (!n->closing) {
		o->read_busy = false;
		write_ref_ready(n, p, o, r->data, r->found);
	}
	free(r->data);
	free(r);
}

static void chunks_read(struct vms_node *n, struct fetch *f)
{
	struct wref *r = f->arg;

	for (unsigned i = 0; i < f->nent; i++)
		r->found[i] = f->e[i].status == 0 && f->e[i].crc == r->o->pieces[i].crc;
	fetch_free(f);
	ready(n, r);
}

static void looked_up(struct vms_node *n, void *arg, const struct dedup_hit *hit)
{
	struct wref *r = arg;
	unsigned np = r->o->np;
	struct fetch *f;
	bool all = true;

	for (unsigned i = 0; hit && i < np; i++) {
		r->found[i] = hit[i].addr != VMS_ADDR_HOLE;
		all &= r->found[i];
	}
	if (!hit || !all) {
		ready(n, r);
		return;
	}
	r->data = malloc((size_t)np * VMS_CHUNK_BYTES);
	vms_assert(r->data);
	f = fetch_new(n, np);
	f->arg = r;
	f->done = chunks_read;
	for (unsigned i = 0; i < np; i++) {
		f->e[i].addr = hit[i].addr;
		f->e[i].buf = r->data + (size_t)i * VMS_CHUNK_BYTES;
	}
	fetch_start(n, f);
}

void write_ref_look(struct vms_node *n, struct part *p, struct op *o)
{
	const struct branch *b = node_branch(n, o->req.branch, false);
	struct wref *r = calloc(1, sizeof(*r) + o->np);

	vms_assert(r);
	r->p = p;
	r->o = o;
	o->state = OP_READ;
	o->read_busy = true;
	if (b && b->known && b->dedup)
		dedup_lookup(n, p->number, (const uint8_t(*)[32])o->payload, o->np, looked_up, r);
	else
		ready(n, r); /* this volume shares nothing */
}
