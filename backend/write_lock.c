// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ops that lock their chunks until all earlier writes to them are committed: COMPARE AND WRITE
 * and ORWRITE, which read first and are then ordered as a plain WRITE of the resulting bytes,
 * and writes by reference, whose chunks are looked up (write_ref.c). Keeps rules A9, C11.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/branch.h"
#include "backend/fetch.h"
#include "backend/node_conn.h"
#include "backend/node_int.h"
#include "backend/node_part.h"
#include "backend/node_read.h"
#include "backend/node_write.h"
#include "backend/overlay.h"
#include "backend/write_int.h"
#include "backend/write_ref.h"
#include "include/types.h"
#include "include/wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"

void write_lock_add(struct vms_node *n, struct part *p, struct op *o)
{
	struct op **at = &p->locks;
	struct wreq w = wreq_of(o);

	while (*at)
		at = &(*at)->next;
	o->next = NULL;
	o->state = OP_LOCK;
	*at = o;
	o->lock_bytes = wreq_log_bytes(&w);
	n->lock_bytes += o->lock_bytes;
	part_mark_retry(n, p);
}

struct lock_read {
	struct op *o;
	struct part *p;
	uint8_t *data;	/* np chunks */
	uint8_t *patch; /* the same, with masks */
	uint8_t *patched;
};

static void lock_unlink(struct part *p, struct op *o)
{
	struct op **at = &p->locks;

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
}

void write_lock_end(struct vms_node *n, struct part *p, struct op *o)
{
	lock_unlink(p, o);
	write_wait_drop(n, o);
	part_mark_retry(n, p);
}

/* All bytes are there: compare or merge, then order in this same step. */
static void lock_ready(struct vms_node *n, struct part *p, struct op *o, const uint8_t *data)
{
	struct wreq w = wreq_of(o);
	uint8_t *in = o->payload;
	uint64_t half = o->payload_bytes / 2, off = 0, diff = 0;
	bool same = true;
	int rc = o->dead ? W_ANSWERED : write_check(n, p, &w, true);

	if (!rc && !write_can_order(n, p, &w))
		rc = W_WAIT;
	if (rc == W_WAIT) {
		o->state = OP_LOCK; /* everything again, reading included */
		node_wake_at(n, n->now_ms + 1);
		return;
	}
	if (rc) {
		write_lock_end(n, p, o);
		return;
	}
	for (unsigned i = 0; i < o->np; i++)
		for (unsigned s = 0; s < 8; s++) {
			const uint8_t *old = data + i * VMS_CHUNK_BYTES + s * VMS_LB_BYTES;

			if (!(o->pieces[i].mask >> s & 1))
				continue;
			if (o->kind == VMS_WRITE_CAW) {
				for (unsigned k = 0; same && k < VMS_LB_BYTES; k++)
					if (in[off + k] != old[k]) {
						same = false;
						diff = off + k;
					}
			} else {
				for (unsigned k = 0; k < VMS_LB_BYTES; k++)
					in[off + k] |= old[k];
			}
			off += VMS_LB_BYTES;
		}
	if (o->kind == VMS_WRITE_CAW) {
		w.payload = o->payload + half;
		w.payload_bytes = half;
	} else {
		off = 0;
		for (unsigned i = 0; i < o->np; i++) {
			size_t len = vms_mask_sectors(o->pieces[i].mask) * VMS_LB_BYTES;

			o->pieces[i].crc = vms_crc32c(0, o->payload + off, len);
			off += len;
		}
	}
	rc = same ? write_order(n, p, &w, 0, 0)
		  : write_order(n, p, &w, VMS_E_MISCOMPARE, (uint32_t)diff);
	if (rc == W_WAIT) {
		/* the log is full; ORWRITE's bytes are merged already, which does not
		 * change what merging them again gives */
		o->state = OP_LOCK;
		node_wake_at(n, n->now_ms + 1);
		return;
	}
	write_lock_end(n, p, o);
}

static void lock_read_done(struct vms_node *n, struct fetch *f)
{
	struct lock_read *lr = f->arg;
	struct op *o = lr->o;
	struct part *p = lr->p;
	int bad = 0;

	o->read_busy = false;
	o->fetch = NULL;
	for (unsigned i = 0; i < o->np; i++) {
		struct fetch_ent *e = &f->e[i];
		uint8_t need = o->pieces[i].mask & (uint8_t)~lr->patched[i];

		if (need && (e->status || (need & ~e->valid)))
			bad = e->status && e->status != VMS_E_BAD_SECTORS ? e->status
									  : VMS_E_BAD_SECTORS;
		chunk_merge(e->buf, lr->patch + i * VMS_CHUNK_BYTES, lr->patched[i]);
	}
	if (bad == VMS_E_GONE || bad == VMS_E_UNKNOWN || bad == VMS_E_AGAIN ||
	    bad == VMS_E_STOPPING) {
		o->state = OP_LOCK; /* moved meanwhile: look again */
		if (bad != VMS_E_STOPPING)
			part_mark_retry(n, p);
	} else if (bad) {
		struct wreq w = wreq_of(o);

		write_answer(n, &w, bad);
		write_lock_end(n, p, o);
	} else {
		lock_ready(n, p, o, lr->data);
	}
	free(lr->data);
	free(lr->patch);
	free(lr->patched);
	free(lr);
	fetch_free(f);
}

static void lock_read(struct vms_node *n, struct part *p, struct op *o)
{
	struct lock_read *lr;
	struct vms_page page;
	struct seen seen;
	unsigned sub = UINT32_MAX;
	struct fetch *f;
	int rc = 0;

	if (part_see(n, p, o->req.branch, o->req.extent, VMS_GEN_LIVE, &seen))
		return; /* the branch is known since the op was checked */
	for (unsigned i = 0; i < o->np; i++) {
		struct vms_ovl_view v;

		vms_ovl_view_stack(&n->ovl, &seen.ovl, o->pieces[i].chunk, p->committed,
				   VMS_ADDR_ASK, &v);
		if (v.uncommitted)
			return; /* a commit wakes us */
	}
	lr = calloc(1, sizeof(*lr));
	f = fetch_new(n, o->np);
	vms_assert(lr && f);
	lr->o = o;
	lr->p = p;
	lr->data = calloc(o->np, VMS_CHUNK_BYTES);
	lr->patch = calloc(o->np, VMS_CHUNK_BYTES);
	lr->patched = calloc(o->np, 1);
	vms_assert(lr->data && lr->patch && lr->patched);
	f->done = lock_read_done;
	f->arg = lr;
	for (unsigned i = 0; i < o->np; i++) {
		unsigned ch = o->pieces[i].chunk;
		struct vms_ovl_view v;

		if (ch / VMS_SUBEXT_CHUNKS != sub) {
			sub = ch / VMS_SUBEXT_CHUNKS;
			rc = part_page(n, p, &seen, sub, &page);
		}
		part_view(n, p, &seen, (uint16_t)ch, p->committed, VMS_ADDR_ASK, &v);
		if (rc) {
			memset(page.entry, 0, sizeof(page.entry));
			f->e[i].skip = true;
			f->e[i].status = VMS_E_AGAIN; /* the page is being repaired */
		}
		chunk_resolve(n, p, &v, &page, (uint16_t)ch, lr->patch + i * VMS_CHUNK_BYTES,
			      &lr->patched[i], &f->e[i].addr);
		f->e[i].buf = lr->data + i * VMS_CHUNK_BYTES;
	}
	o->state = OP_READ;
	o->read_busy = true;
	o->fetch = f;
	fetch_start(n, f);
}

void write_lock_step(struct vms_node *n, struct part *p)
{
	struct op *o, *next;

	for (o = p->locks; o; o = next) {
		next = o->next;
		if (o->state != OP_LOCK || o->read_busy)
			continue;
		if (o->dead) {
			write_lock_end(n, p, o);
			continue;
		}
		if (part_serving(p) && o->kind == VMS_WRITE_REF)
			write_ref_look(n, p, o);
		else if (part_serving(p) && o->kind == VMS_WRITE_COPY)
			write_copy_look(n, p, o);
		else if (part_serving(p))
			lock_read(n, p, o);
	}
}

/* The chunks of a write by reference: all there (their bytes in data), or which. */
void write_ref_ready(struct vms_node *n, struct part *p, struct op *o, const uint8_t *data,
		     const uint8_t *found)
{
	struct wreq w = wreq_of(o);
	int rc = o->dead ? W_ANSWERED : write_check(n, p, &w, true);
	bool all = data != NULL;

	for (unsigned i = 0; i < o->np; i++)
		all &= found[i] != 0;
	if (!rc && !all) {
		struct vms_msg re;

		vms_msg_reply_init(&re, &o->req, VMS_E_NOENT);
		re.epoch = p->conf.epoch;
		re.body = found;
		re.body_bytes = o->np;
		node_send(n, o->conn, &re);
		rc = W_ANSWERED;
	}
	if (!rc && !write_can_order(n, p, &w))
		rc = W_WAIT;
	if (!rc) {
		w.payload = data;
		w.payload_bytes = (uint64_t)o->np * VMS_CHUNK_BYTES;
		rc = write_order(n, p, &w, 0, 0);
	}
	if (rc == W_WAIT) {
		o->state = OP_LOCK; /* everything again, looking up included */
		node_wake_at(n, n->now_ms + 1);
		return;
	}
	write_lock_end(n, p, o);
}
