/* SPDX-License-Identifier: GPL-2.0-only */
/* Operations of test_model.c: drawing them and sending them. */
#ifndef VMS_TESTS_MODEL_SEND_H
#define VMS_TESTS_MODEL_SEND_H

#include <string.h>

#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/model_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

/* ---- ops: sending ---- */

static void release(struct mop *o)
{
	if (o->kind != M_FLUSH && o->kind != M_OLD_ADDR && !o->snap)
		for (unsigned i = 0; i < o->n; i++) {
			uint8_t *b = &o->v->busy[o->place[i]];

			*b = *b == 255 ? 0 : (uint8_t)(*b - 1);
		}
	rig_reply_free(&o->re);
	o->used = o->sent = false;
	ops_done++;
}

static bool is_write(const struct mop *o)
{
	return o->kind <= M_OR;
}

/* The masked sectors of piece i, or what they are to be compared with. */
static size_t put_sectors(uint8_t *out, uint8_t mask, const uint32_t *sec)
{
	size_t at = 0;

	for (unsigned s = 0; s < SECTORS; s++)
		if (mask >> s & 1) {
			sector_fill(out + at, sec[s]);
			at += VMS_LB_BYTES;
		}
	return at;
}

static void send_write(struct mop *o)
{
	static uint8_t data[2 * WRITE_CHUNKS * CHUNK];
	uint8_t body[VMS_WRITE_BODY_BYTES(WRITE_CHUNKS)];
	struct vms_piece pc[WRITE_CHUNKS];
	struct vms_iov iov = {data, 0};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .partition = part_of(o->v, o->extent),
			    .branch = o->v->rec.branch,
			    .snap_gen = o->gen,
			    .lun_fence = o->v->fence,
			    .extent = o->extent,
			    .flags = (uint16_t)o->flags,
			    .slot = (uint32_t)(o - slot),
			    .sequence = o->sequence};
	unsigned np = o->n;
	size_t at = 0;

	if (o->v->ack == VMS_ACK_MEMORY)
		m.flags |= VMS_F_MEMORY;
	if (o->kind == M_CAW) {
		uint32_t want[SECTORS];

		memcpy(want, o->v->img.sec[o->place[0]], sizeof(want));
		for (unsigned s = 0; s < SECTORS && o->must_miss; s++)
			want[s] += 3;
		at = put_sectors(data, o->mask[0], want);
	}
	for (unsigned i = 0; i < np; i++) {
		size_t len = o->kind == M_ZERO ? 0 : put_sectors(data + at, o->mask[i], o->sec[i]);

		pc[i] = (struct vms_piece){.chunk = chunk_of(o->place[i]),
					   .count = 1,
					   .mask = o->mask[i],
					   .crc = len ? vms_crc32c(0, data + at, len) : 0};
		at += len;
	}
	/* one piece for a range of whole chunks */
	if (o->kind == M_ZERO && np > 1) {
		pc[0].count = (uint16_t)np;
		np = 1;
	}
	vms_write_body_encode(body,
			      o->kind == M_ZERO	 ? VMS_WRITE_ZERO
			      : o->kind == M_CAW ? VMS_WRITE_CAW
			      : o->kind == M_OR	 ? VMS_WRITE_ORWRITE
						 : VMS_WRITE_DATA,
			      pc, np);
	m.body = body;
	m.body_bytes = VMS_WRITE_BODY_BYTES(np);
	iov.len = at;
	if (at) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = at;
	}
	m.epoch = R.gw[0].epoch[m.partition];
	m.tick = o->tick;
	m.tick_incarnation = o->tick_inc;
	if (!o->tick) {
		o->tick = m.tick = R.gw[0].tick[o->node];
		o->tick_inc = m.tick_incarnation = R.gw[0].tick_inc[o->node];
	}
	rig_send(&R, 0, o->node, &m, &o->re);
}

static void send_read(struct mop *o)
{
	uint8_t body[8 * WRITE_CHUNKS * 8];
	struct vms_msg m = {.branch = o->snap ? o->snap->rec.branch
				      : o->v  ? o->v->rec.branch
					      : 0,
			    .snap_gen = o->snap ? o->snap->gen : VMS_GEN_LIVE,
			    .extent = o->extent};

	m.body = body;
	if (o->kind == M_READ) {
		m.type = VMS_MSG_READ_LBA;
		m.body_bytes = 2 * o->n;
		for (unsigned i = 0; i < o->n; i++)
			vms_put_le16(body + 2 * i, chunk_of(o->place[i]));
	} else if (o->kind == M_PAGES) {
		m.type = VMS_MSG_GET_PAGES;
		for (unsigned i = 0; i < o->n; i++)
			m.aux |= 1u << chunk_of(o->place[i]) / VMS_SUBEXT_CHUNKS;
	} else if (o->kind == M_FLUSH) {
		m.type = VMS_MSG_FLUSH;
	} else {
		m.type = VMS_MSG_READ_ADDR;
		m.body_bytes = 8 * o->n;
		for (unsigned i = 0; i < o->n; i++)
			vms_put_le64(body + 8 * i, o->addr[i]);
	}
	m.partition = o->kind == M_FLUSH  ? VMS_PART_NONE
		      : o->kind >= M_ADDR ? vms_addr_partition(o->addr[0], R.part_bits)
					  : part_of(o->v, o->extent);
	if (m.partition != VMS_PART_NONE)
		m.epoch = R.gw[0].epoch[m.partition];
	rig_send(&R, 0, o->node, &m, &o->re);
}

static void send_op(struct mop *o)
{
	if (!R.gw[0].up[o->node]) {
		rig_gw_connect(&R, 0, o->node);
		o->retry_us = R.now_us + 20000;
		return;
	}
	if (!R.gw[0].tick[o->node]) {
		o->retry_us = R.now_us + 5000;
		return;
	}
	if (is_write(o) && !o->gen) { /* not sent before, or refused for its number */
		if (o->v->stopped)
			return;
		o->gen = o->v->gen;
	}
	o->sent = true;
	if (is_write(o))
		send_write(o);
	else
		send_read(o);
}

/* ---- ops: making ---- */

static struct vol *vol_draw(void)
{
	struct vol *v;

	do
		v = &vol[below(VOLS)];
	while (!v->used);
	return v;
}

/* A run of free places in one extent; false: none found. */
static bool draw_places(struct mop *o, unsigned n, bool write)
{
	unsigned first = (unsigned)below(PLACES), e = (unsigned)below(EXTENTS);

	o->v = vol_draw();
	o->img = &o->v->img;
	o->extent = e;
	if (first % VMS_SUBEXT_CHUNKS + n > VMS_SUBEXT_CHUNKS)
		n = VMS_SUBEXT_CHUNKS - first % VMS_SUBEXT_CHUNKS;
	o->n = n;
	if (!write && o->v->nsnaps && percent(35)) {
		o->snap = &o->v->snap[below(o->v->nsnaps)];
		o->img = o->snap->img;
		for (unsigned i = 0; i < n; i++)
			o->place[i] = (uint16_t)(e * PLACES + first + i);
		return true;
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t b;

		o->place[i] = (uint16_t)(e * PLACES + first + i);
		b = o->v->busy[o->place[i]];
		if (write ? b : b >= 200)
			return false;
	}
	for (unsigned i = 0; i < n; i++)
		o->v->busy[o->place[i]] = write ? 255 : (uint8_t)(o->v->busy[o->place[i]] + 1);
	return true;
}

static void draw_write(struct mop *o)
{
	for (unsigned i = 0; i < o->n; i++) {
		o->mask[i] = VMS_MASK_FULL;
		memset(o->sec[i], 0, sizeof(o->sec[i]));
		if (o->kind == M_ZERO)
			continue;
		content_draw(o->sec[i]);
		if (o->kind == M_WRITE && percent(3))
			memset(o->sec[i], 0, sizeof(o->sec[i])); /* zeros that come as data */
	}
	if (o->kind == M_CAW || o->kind == M_OR || (o->n == 1 && percent(50)))
		o->mask[0] = (uint8_t)(1 + below(255));
	/* sectors that were zeros get something, others stay as they are */
	if (o->kind == M_OR)
		for (unsigned s = 0; s < SECTORS; s++)
			if (o->v->img.sec[o->place[0]][s])
				o->sec[0][s] = o->v->img.sec[o->place[0]][s];
	o->must_miss = o->kind == M_CAW && percent(30);
}

static bool op_make(struct mop *o)
{
	unsigned d = (unsigned)below(100);
	bool made;

	memset(o, 0, sizeof(*o));
	if (d < 40) {
		o->kind = M_WRITE;
		made = draw_places(o, percent(70) ? 1 : 1 + (unsigned)below(WRITE_CHUNKS), true);
	} else if (d < 40 + range_percent) {
		o->kind = M_ZERO;
		made = draw_places(o, percent(50) ? 1 : 1 + (unsigned)below(WRITE_CHUNKS), true);
	} else if (d < 50) {
		o->kind = percent(70) ? M_CAW : M_OR;
		made = draw_places(o, 1, true);
	} else if (d < 80) {
		o->kind = M_READ;
		made = draw_places(o, 1 + (unsigned)below(percent(70) ? 4 : 64), false);
	} else if (d < 92) {
		o->kind = M_PAGES;
		made = draw_places(o, 1 + (unsigned)below(16), false);
	} else if (d < 99) {
		struct known *k = &known[below(KNOWN_ADDRS)];

		for (unsigned i = 0; i < 64 && !k->a; i++)
			k = &known[below(KNOWN_ADDRS)];
		o->kind = M_OLD_ADDR;
		o->n = 1;
		o->addr[0] = k->a;
		o->crc = k->crc;
		made = k->a != 0;
	} else {
		o->kind = M_FLUSH;
		o->v = vol_draw();
		made = true;
	}
	if (!made)
		return false;
	if (is_write(o)) {
		draw_write(o);
		o->sequence = ++R.gw[0].next_seq[o - slot];
		st.writes++;
	} else {
		st.reads++;
	}
	o->used = true;
	o->since_us = R.now_us;
	if (o->kind == M_FLUSH)
		o->node = (unsigned)below(R.nnodes);
	else
		o->node = rig_primary(&R, o->kind == M_OLD_ADDR
						  ? vms_addr_partition(o->addr[0], R.part_bits)
						  : part_of(o->v, o->extent));
	/* container addresses are served by each member */
	if (o->kind == M_OLD_ADDR && percent(30))
		o->node = (o->node + 1) % R.nnodes;
	return true;
}

#endif
