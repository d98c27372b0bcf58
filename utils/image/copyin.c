// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/copyin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/net.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"

/* What is still to be done with a chunk of a block. */
enum todo {
	DONE = 0,
	ZERO,
	ASK,   /* does the cluster have it? */
	REFER, /* it has */
	CHECK, /* is it what the volume has there? */
	SEND,
};

struct slot {
	struct image_io io;
	bool busy;
	uint64_t offset; /* of the block in the volume */
	unsigned nchunks;
	unsigned first, n; /* chunks of the request under way */
	uint8_t todo[VMS_SUBEXT_CHUNKS];
	uint8_t found[VMS_SUBEXT_CHUNKS];
	uint32_t crc[VMS_SUBEXT_CHUNKS];
	uint8_t fp[VMS_SUBEXT_CHUNKS][VMS_FP_BYTES];
	uint8_t *buf;
	uint8_t *old; /* CHECK: what the volume has; NULL for a blank one */
};

struct job {
	struct image_copyin *c;
	struct slot slot[IMAGE_DEPTH];
	struct vms_fp *fp;
	unsigned nbusy;
	uint64_t checked, same; /* chunks; halved now and then */
	uint64_t nblocks;
	int rc;
	struct vms_errmsg *msg;
};

/* The next run of chunks with the same thing to do; false: the block is done. */
static bool slot_go_on(struct job *j, struct slot *s)
{
	struct image_copyin *c = j->c;
	uint8_t what;

	for (s->first = 0; s->first < s->nchunks && s->todo[s->first] == DONE; s->first++)
		;
	if (s->first == s->nchunks || j->rc)
		return false;
	what = s->todo[s->first];
	for (s->n = 1; s->first + s->n < s->nchunks && s->todo[s->first + s->n] == what; s->n++)
		;
	s->io.op = what == ZERO	   ? IMAGE_ZERO
		   : what == SEND  ? IMAGE_WRITE
		   : what == CHECK ? IMAGE_READ
				   : IMAGE_REF;
	s->io.vol = c->vol;
	s->io.offset = s->offset + (uint64_t)s->first * VMS_CHUNK_BYTES;
	s->io.len = (uint64_t)s->n * VMS_CHUNK_BYTES;
	s->io.buf = (what == CHECK ? s->old : s->buf) + (size_t)s->first * VMS_CHUNK_BYTES;
	s->io.fps = s->fp[s->first];
	s->io.crcs = s->crc + s->first;
	s->io.found = s->found + s->first;
	image_submit(c->dev, &s->io);
	return true;
}

/* Nodes of the first release take no fingerprints. */
static bool cannot_refer(int status)
{
	return status == VMS_E_NOENT || status == VMS_E_UNSUPPORTED || status == VMS_E_PROTO;
}

/* Reading what the volume has costs less than sending, if it is often the same; where it
 * hardly ever is, a block here and there tells when that changes. */
static bool worth_a_check(const struct job *j)
{
	return !j->c->blank &&
	       (j->checked < 512 || j->same * 8 >= j->checked || j->nblocks % 16 == 0);
}

static void slot_checked(struct job *j, struct slot *s)
{
	for (unsigned i = s->first; i < s->first + s->n; i++) {
		/* what cannot be read is written */
		bool same = !s->io.status &&
			    !memcmp(s->buf + (size_t)i * VMS_CHUNK_BYTES,
				    s->old + (size_t)i * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);

		s->todo[i] = same ? DONE : SEND;
		j->c->n.same += same ? VMS_CHUNK_BYTES : 0;
		j->same += same;
	}
	j->checked += s->n;
	if (j->checked > 4096) {
		j->checked /= 2;
		j->same /= 2;
	}
}

/* The cluster lacks some of what was asked for, or cannot tell: nothing was written. */
static void slot_not_found(struct job *j, struct slot *s)
{
	bool asked = s->todo[s->first] == ASK;
	uint8_t other = worth_a_check(j) ? CHECK : SEND;

	if (s->io.status != VMS_E_NOENT)
		j->c->ask = false;
	for (unsigned i = s->first; i < s->first + s->n; i++)
		s->todo[i] = asked && s->io.status == VMS_E_NOENT && s->found[i] ? REFER : other;
}

static void slot_done(struct job *j, struct slot *s)
{
	uint64_t bytes = (uint64_t)s->n * VMS_CHUNK_BYTES;

	if (s->io.op == IMAGE_REF && cannot_refer(s->io.status)) {
		slot_not_found(j, s);
	} else if (s->io.op == IMAGE_READ) {
		slot_checked(j, s);
	} else {
		if (s->io.status && !j->rc)
			j->rc = image_io_fail(j->c->dev, &s->io, j->msg);
		if (!s->io.status && s->io.op == IMAGE_WRITE)
			j->c->n.sent += bytes;
		if (!s->io.status && s->io.op == IMAGE_REF)
			j->c->n.referenced += bytes;
		memset(s->todo + s->first, DONE, s->n);
	}
	if (!slot_go_on(j, s)) {
		s->busy = false;
		j->nbusy--;
	}
}

/* Goes on with every block whose request is done; waits for one if there is none. */
static void reap(struct job *j)
{
	bool any = false;

	while (!any) {
		for (unsigned i = 0; i < IMAGE_DEPTH; i++) {
			struct slot *s = &j->slot[i];

			if (!s->busy || !s->io.reaped)
				continue;
			any = true;
			slot_done(j, s);
		}
		if (!any)
			image_reap(j->c->dev);
	}
}

static struct slot *free_slot(struct job *j)
{
	for (;;) {
		for (unsigned i = 0; i < IMAGE_DEPTH; i++)
			if (!j->slot[i].busy)
				return &j->slot[i];
		reap(j);
	}
}

static void slot_start(struct job *j, struct slot *s)
{
	s->busy = true;
	j->nbusy++;
	if (!slot_go_on(j, s)) {
		s->busy = false;
		j->nbusy--;
	}
}

/* len bytes of data at offset lie in s->buf; the last chunk may be short. */
static void take_data(struct job *j, struct slot *s, uint64_t offset, uint64_t len)
{
	struct image_copyin *c = j->c;
	uint8_t data = c->ask ? ASK : worth_a_check(j) ? CHECK : SEND;

	j->nblocks++;
	s->offset = offset;
	s->nchunks = (unsigned)((len + VMS_CHUNK_BYTES - 1) / VMS_CHUNK_BYTES);
	memset(s->buf + len, 0, (size_t)s->nchunks * VMS_CHUNK_BYTES - len);
	for (unsigned i = 0; i < s->nchunks; i++) {
		bool zero = vms_is_zero(s->buf + (size_t)i * VMS_CHUNK_BYTES, VMS_CHUNK_BYTES);

		s->todo[i] = !zero ? data : c->blank ? DONE : ZERO;
		if (s->todo[i] == ASK) {
			const uint8_t *chunk = s->buf + (size_t)i * VMS_CHUNK_BYTES;

			vms_fp_chunk(j->fp, chunk, VMS_CHUNK_BYTES, s->fp[i]);
			s->crc[i] = vms_crc32c(0, chunk, VMS_CHUNK_BYTES);
		}
		c->n.zero += zero ? VMS_CHUNK_BYTES : 0;
	}
	slot_start(j, s);
}

static void take_zeros(struct job *j, uint64_t offset, uint64_t len)
{
	j->c->n.zero += len;
	if (!j->c->blank && !j->rc)
		j->rc = image_zero_out(
			j->c->dev, j->c->vol, offset,
			offset + ((len + VMS_CHUNK_BYTES - 1) & ~(VMS_CHUNK_BYTES - 1ull)), j->msg);
}

static int checkpoint(struct job *j, uint64_t done)
{
	struct image_copyin *c = j->c;
	struct image_io io = {.op = IMAGE_FLUSH, .vol = c->vol};

	while (j->nbusy)
		reap(j);
	if (!j->rc && image_call(c->dev, &io))
		j->rc = image_io_fail(c->dev, &io, j->msg);
	if (!j->rc && c->checkpoint)
		j->rc = c->checkpoint(c->arg, done, j->msg);
	return j->rc;
}

int image_copy_in(struct image_copyin *c, struct vms_errmsg *msg)
{
	struct job *j = calloc(1, sizeof(*j));
	uint64_t last_ms = vms_clock_ms(), done = 0;
	struct image_piece p;
	bool stop = false;
	int more, rc;

	vms_assert(j);
	j->c = c;
	j->msg = msg;
	j->fp = vms_fp_open(c->salt, c->salt_bytes);
	for (unsigned i = 0; i < IMAGE_DEPTH; i++) {
		j->slot[i].buf = malloc(IMAGE_PIECE_BYTES);
		j->slot[i].old = c->blank ? NULL : malloc(IMAGE_PIECE_BYTES);
		vms_assert(j->slot[i].buf && (c->blank || j->slot[i].old));
	}
	while (!j->rc && !stop) {
		struct slot *s = free_slot(j);

		if (j->rc)
			break;
		more = c->next(c->src, s->buf, &p, msg);
		if (more < 0)
			j->rc = more;
		if (more <= 0)
			break;
		if (p.offset + p.len > image_vol_bytes(c->vol)) {
			j->rc = vms_fail(msg, VMS_E_RANGE,
					 "the image is longer than the volume, %" PRIu64 " bytes",
					 image_vol_bytes(c->vol));
			break;
		}
		if (p.zero)
			take_zeros(j, p.offset, p.len);
		else
			take_data(j, s, p.offset, p.len);
		c->n.read += p.len;
		done = p.offset + p.len;
		if (c->progress)
			stop = c->progress(c->arg, done);
		if (c->checkpoint_ms && vms_clock_ms() - last_ms >= c->checkpoint_ms &&
		    done % VMS_CHUNK_BYTES == 0) {
			checkpoint(j, done);
			last_ms = vms_clock_ms();
		}
	}
	while (j->nbusy)
		reap(j);
	if (!j->rc) {
		checkpoint(j, done & ~(VMS_CHUNK_BYTES - 1ull));
		if (!j->rc && stop)
			j->rc = vms_fail(msg, VMS_E_CANCELLED, "interrupted");
	}
	rc = j->rc;
	for (unsigned i = 0; i < IMAGE_DEPTH; i++) {
		free(j->slot[i].buf);
		free(j->slot[i].old);
	}
	vms_fp_close(j->fp);
	free(j);
	return rc;
}

static int zero_range(struct image_dev *dev, struct image_vol *vol, uint64_t from, uint64_t to,
		      struct vms_errmsg *msg)
{
	while (from < to) {
		struct image_io io = {.op = IMAGE_ZERO, .vol = vol, .offset = from};
		uint64_t end = (from / VMS_EXTENT_BYTES + 1) * VMS_EXTENT_BYTES;

		io.len = (end < to ? end : to) - from;
		if (image_call(dev, &io))
			return image_io_fail(dev, &io, msg);
		from += io.len;
	}
	return 0;
}

int image_zero_out(struct image_dev *dev, struct image_vol *vol, uint64_t from, uint64_t to,
		   struct vms_errmsg *msg)
{
	int rc = 0;

	/* Asking costs less than zeroing what is a hole already. */
	while (!rc && from < to) {
		struct image_io io = {.op = IMAGE_STATUS, .vol = vol, .offset = from};
		uint64_t at = from;

		if (image_call(dev, &io))
			return image_io_fail(dev, &io, msg);
		for (unsigned i = 0; !rc && i < io.nranges && from < to; i++) {
			uint64_t end = (io.range[i].lba + io.range[i].nblocks) * VMS_LB_BYTES;

			end = end < to ? end : to;
			if (io.range[i].mapped)
				rc = zero_range(dev, vol, from, end, msg);
			from = end;
		}
		vms_assert(rc || from > at);
	}
	return rc;
}
