// SPDX-License-Identifier: GPL-2.0-only
/*
 * WRITE of kinds 5 and 6, by reference. 5: the gateway sends fingerprints and the primary
 * finds the chunks in the cluster; 6: the gateway sends addresses, which it has from an
 * index page of this or another volume. The primary reads the chunks and orders a plain
 * WRITE of their bytes; draining makes references of them. One chunk that is not found,
 * or not right, and nothing is ordered: the answer tells which are there. Waits in the
 * list of locks like COMPARE AND WRITE. Keeps invariants 2, 10, 24.
 */
#include "backend/write_ref.h"

#include <stdlib.h>

#include "backend/branch.h"
#include "backend/dedup.h"
#include "backend/fetch.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_write.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

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

	for (unsigned i = 0; i < f->nent; i++) {
		if (r->o->kind == VMS_WRITE_COPY)
			r->o->pieces[i].crc = f->e[i].crc;
		r->found[i] = f->e[i].status == 0 && f->e[i].valid == VMS_MASK_FULL &&
			      f->e[i].crc == r->o->pieces[i].crc;
	}
	fetch_free(f);
	ready(n, r);
}

/* Reads chunk i at addr(arg, i) into place. */
static void read_chunks(struct vms_node *n, struct wref *r,
			vms_addr (*addr)(const void *arg, unsigned i), const void *arg)
{
	unsigned np = r->o->np;
	struct fetch *f;

	r->data = malloc((size_t)np * VMS_CHUNK_BYTES);
	vms_assert(r->data);
	f = fetch_new(n, np);
	f->arg = r;
	f->done = chunks_read;
	for (unsigned i = 0; i < np; i++) {
		f->e[i].addr = addr(arg, i);
		f->e[i].buf = r->data + (size_t)i * VMS_CHUNK_BYTES;
	}
	fetch_start(n, f);
}

static vms_addr hit_addr(const void *arg, unsigned i)
{
	return ((const struct dedup_hit *)arg)[i].addr;
}

static vms_addr payload_addr(const void *arg, unsigned i)
{
	return vms_get_le64((const uint8_t *)arg + 8 * i);
}

static void looked_up(struct vms_node *n, void *arg, const struct dedup_hit *hit)
{
	struct wref *r = arg;
	unsigned np = r->o->np;
	bool all = true;

	for (unsigned i = 0; hit && i < np; i++) {
		r->found[i] = hit[i].addr != VMS_ADDR_HOLE;
		all &= r->found[i];
	}
	if (!hit || !all) {
		ready(n, r);
		return;
	}
	read_chunks(n, r, hit_addr, hit);
}

static struct wref *wref_new(struct part *p, struct op *o)
{
	struct wref *r = calloc(1, sizeof(*r) + o->np);

	vms_assert(r);
	r->p = p;
	r->o = o;
	o->state = OP_READ;
	o->read_busy = true;
	return r;
}

void write_ref_look(struct vms_node *n, struct part *p, struct op *o)
{
	const struct branch *b = node_branch(n, o->req.branch, false);
	struct wref *r = wref_new(p, o);

	if (b && b->known && b->dedup)
		dedup_lookup(n, p->number, (const uint8_t(*)[32])o->payload, o->np, looked_up, r);
	else
		ready(n, r); /* this volume shares nothing */
}

/* Only what lies in a container: that can be read whoever wrote it, and never becomes
 * anything else. */
void write_copy_look(struct vms_node *n, struct part *p, struct op *o)
{
	struct wref *r = wref_new(p, o);
	bool all = true;

	for (unsigned i = 0; i < o->np; i++) {
		vms_addr a = payload_addr(o->payload, i);

		r->found[i] = a > VMS_ADDR_LOST && !vms_addr_is_log(a, n->conf.part_bits);
		all &= r->found[i];
	}
	if (all)
		read_chunks(n, r, payload_addr, o->payload);
	else
		ready(n, r);
}
