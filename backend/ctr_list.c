// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fingerprint list of a container: from its footer when it has one, else from its
 * segment headers. Wanted when it is sealed (the footer is made of it) and by other
 * nodes (LIST_FETCH). Format: fplists.h. A header that is damaged or
 * cannot be read: no list, for one that leaves a segment out would stay so for good.
 */
#include "backend/ctr_list.h"

#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/fplists.h"
#include "backend/node_int.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"

struct ctr_list {
	struct dio d;
	uint64_t ctr;
	uint32_t segs, at;
	bool footer, body; /* the footer, the list behind it is being read */
	uint32_t crc;
	size_t body_bytes;
	uint8_t *buf; /* what is being read */
	uint8_t *out; /* counts, then prefixes */
	uint32_t chunks;
	bool any;   /* some fingerprint is known */
	bool holes; /* a header is missing */
	ctr_list_fn fn;
	void *arg;
};

static size_t pad(uint32_t segs)
{
	return ((size_t)segs + 7) / 8 * 8;
}

static void list_end(struct vms_node *n, struct ctr_list *l, int status)
{
	size_t bytes = vms_fplist_bytes(l->segs, l->chunks);

	l->fn(n, l->arg, status, l->out, bytes, l->segs, l->any && !l->holes);
	free(l->buf);
	free(l->out);
	free(l);
}

static void take_header(struct ctr_list *l)
{
	struct vms_seg sg;

	if (vms_seg_decode(l->buf, l->ctr, (uint32_t)vms_seg_offset(l->at), &sg)) {
		l->holes = true;
		return;
	}
	l->out[l->at] = (uint8_t)sg.n;
	for (uint32_t i = 0; i < sg.n; i++) {
		uint8_t *p = l->out + pad(l->segs) + 8ul * l->chunks++;

		if (sg.e[i].has_fp && sg.e[i].valid == VMS_MASK_FULL) {
			memcpy(p, sg.e[i].fp, 8);
			l->any = true;
		} else {
			memset(p, 0, 8);
		}
	}
}

static void headers_begin(struct ctr_list *l)
{
	size_t room = pad(l->segs) + 8ul * VMS_SEG_ENTRIES_MAX * l->segs;

	l->footer = l->body = false;
	l->at = l->chunks = 0;
	l->any = l->holes = false;
	free(l->buf);
	free(l->out);
	l->buf = malloc(VMS_CHUNK_BYTES);
	l->out = malloc(room + 1);
	vms_assert(l->buf && l->out);
	memset(l->out, 0, pad(l->segs));
}

/* A read has ended. */
static void took(struct ctr_list *l, int status)
{
	struct vms_ctr_footer f;

	if (l->footer) {
		l->footer = false;
		if (status || vms_ctr_footer_decode(l->buf, &f) || f.ctr != l->ctr ||
		    f.segs != l->segs || !f.list_bytes ||
		    f.list_bytes > vms_fplist_bytes(l->segs, l->segs * VMS_SEG_ENTRIES_MAX)) {
			headers_begin(l);
			return;
		}
		l->body = true;
		l->body_bytes = f.list_bytes;
		l->crc = f.list_crc;
		free(l->buf);
		l->buf = malloc(vms_ctr_list_blocks(f.list_bytes) * VMS_CHUNK_BYTES);
		vms_assert(l->buf);
		return;
	}
	if (l->body) {
		if (status || vms_crc32c(0, l->buf, l->body_bytes) != l->crc ||
		    !vms_fplist_check(l->buf, l->body_bytes, l->segs, &l->chunks)) {
			headers_begin(l);
			return;
		}
		free(l->out);
		l->out = l->buf;
		l->buf = NULL;
		l->any = true;
		l->at = l->segs;
		return;
	}
	if (status)
		l->holes = true;
	else
		take_header(l);
	l->at++;
}

static void list_event(struct vms_node *n, struct dio *d, int status);

static void list_go(struct vms_node *n, struct ctr_list *l)
{
	while (l->footer || l->at < l->segs) {
		uint64_t off = vms_seg_offset(l->footer || l->body ? l->segs : l->at);
		size_t len = VMS_CHUNK_BYTES;
		int rc;

		if (l->body) {
			off += VMS_CHUNK_BYTES;
			len = vms_ctr_list_blocks(l->body_bytes) * VMS_CHUNK_BYTES;
		}
		rc = n->disk.ops->ctr_read_now(n->disk.ctx, l->ctr, off, l->buf, len);
		if (rc == VMS_E_AGAIN) {
			n->disk.ops->ctr_read(n->disk.ctx, l->ctr, off, l->buf, len,
					      dio_token(n, &l->d));
			return;
		}
		took(l, rc);
	}
	list_end(n, l, 0);
}

static void list_event(struct vms_node *n, struct dio *d, int status)
{
	struct ctr_list *l = (struct ctr_list *)((char *)d - offsetof(struct ctr_list, d));

	if (status == VMS_E_STOPPING) {
		l->chunks = l->segs = 0;
		list_end(n, l, status);
		return;
	}
	took(l, status);
	list_go(n, l);
}

void ctr_list_read(struct vms_node *n, uint64_t ctr, uint32_t segs, bool sealed, ctr_list_fn fn,
		   void *arg)
{
	struct ctr_list *l = calloc(1, sizeof(*l));

	vms_assert(l);
	l->d.fn = list_event;
	l->ctr = ctr;
	l->segs = segs;
	l->fn = fn;
	l->arg = arg;
	headers_begin(l);
	l->footer = sealed;
	list_go(n, l);
}
