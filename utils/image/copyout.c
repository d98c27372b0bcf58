// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/copyout.h"

#include <stdlib.h>

#include "utils/lib/assert.h"

struct slot {
	struct image_io io;
	uint8_t *buf;
};

/* Slots form a ring: [head, head + n) are under way or done, in the volume's order. */
struct job {
	struct image_copyout *c;
	struct slot slot[IMAGE_OUT_DEPTH];
	unsigned head, n;
	int rc;
	struct vms_errmsg *msg;
	/* what is known about holes: [at, known) by io, from range r on */
	struct image_io status;
	unsigned r;
};

/* The next piece of data at or behind *at: 1, or 0 behind the last one. */
static int next_data(struct job *j, uint64_t *at, uint64_t *len)
{
	struct image_copyout *c = j->c;

	while (*at < c->to) {
		const struct vms_gw_lba_range *r = &j->status.range[j->r];
		uint64_t end, block = (*at / VMS_SUBEXT_BYTES + 1) * VMS_SUBEXT_BYTES;

		if (j->r >= j->status.nranges) {
			j->status = (struct image_io){
				.op = IMAGE_STATUS, .vol = c->vol, .offset = *at};
			j->r = 0;
			if (image_call(c->dev, &j->status))
				return image_io_fail(c->dev, &j->status, j->msg);
			vms_assert(j->status.nranges);
			continue;
		}
		end = (r->lba + r->nblocks) * VMS_LB_BYTES;
		if (end > c->to)
			end = c->to;
		if (end <= *at) {
			j->r++;
			continue;
		}
		if (r->mapped) {
			*len = (end < block ? end : block) - *at;
			return 1;
		}
		*at = end;
	}
	return 0;
}

/* Hands out the oldest. */
static void take(struct job *j)
{
	struct image_copyout *c = j->c;
	struct slot *s = &j->slot[j->head];

	while (!s->io.reaped)
		image_reap(c->dev);
	if (s->io.status && !j->rc)
		j->rc = image_io_fail(c->dev, &s->io, j->msg);
	if (!j->rc)
		j->rc = c->data(c->arg, s->io.offset, s->buf, s->io.len, j->msg);
	if (!j->rc && c->progress && c->progress(c->arg, s->io.offset + s->io.len))
		j->rc = vms_fail(j->msg, VMS_E_CANCELLED, "interrupted");
	j->head = (j->head + 1) % IMAGE_OUT_DEPTH;
	j->n--;
}

int image_copy_out(struct image_copyout *c, struct vms_errmsg *msg)
{
	struct job *j = calloc(1, sizeof(*j));
	uint64_t at = c->from, len = 0;
	int rc;

	vms_assert(j);
	j->c = c;
	j->msg = msg;
	for (unsigned i = 0; i < IMAGE_OUT_DEPTH; i++) {
		j->slot[i].buf = malloc(VMS_SUBEXT_BYTES);
		vms_assert(j->slot[i].buf);
	}
	while (!j->rc && (rc = next_data(j, &at, &len))) {
		struct slot *s;

		if (rc < 0) {
			j->rc = rc;
			break;
		}
		if (j->n == IMAGE_OUT_DEPTH)
			take(j);
		s = &j->slot[(j->head + j->n) % IMAGE_OUT_DEPTH];
		s->io = (struct image_io){
			.op = IMAGE_READ, .vol = c->vol, .offset = at, .len = len, .buf = s->buf};
		image_submit(c->dev, &s->io);
		j->n++;
		at += len;
	}
	while (j->n)
		take(j);
	if (!j->rc && c->progress && c->progress(c->arg, c->to))
		j->rc = vms_fail(msg, VMS_E_CANCELLED, "interrupted");
	rc = j->rc;
	for (unsigned i = 0; i < IMAGE_OUT_DEPTH; i++)
		free(j->slot[i].buf);
	free(j);
	return rc;
}
