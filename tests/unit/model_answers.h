/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers to the operations of test_model.c: each is compared with the oracle, or makes
 * the operation go out again. Time passes here.
 */
#ifndef VMS_TESTS_MODEL_ANSWERS_H
#define VMS_TESTS_MODEL_ANSWERS_H

#include <string.h>

#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/unit/model_rig.h"
#include "tests/unit/model_send.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static void check_chunk(const struct mop *o, unsigned i, const uint8_t *data)
{
	const uint32_t *sec = o->img->sec[o->place[i]];
	uint8_t want[CHUNK];

	chunk_fill(want, sec);
	if (!memcmp(want, data, CHUNK))
		return;
	for (unsigned s = 0; s < SECTORS; s++)
		if (memcmp(want + s * 512, data + s * 512, 512)) {
			uint32_t is = 0;

			for (uint32_t c = 0; c < next_content && !is; c++) {
				uint8_t b[512];

				sector_fill(b, c);
				if (!memcmp(b, data + s * 512, 512))
					is = c + 1;
			}
			fail("branch %llu number %lld extent %u chunk %u sector %u holds content "
			     "%d, "
			     "not %u",
			     (unsigned long long)(o->snap ? o->snap->rec.branch : o->v->rec.branch),
			     o->snap ? (long long)o->snap->gen : -1, o->extent,
			     chunk_of(o->place[i]), s, (int)is - 1, sec[s]);
			return;
		}
}

static void wrote(struct mop *o)
{
	for (unsigned i = 0; i < o->n; i++)
		for (unsigned s = 0; s < SECTORS; s++)
			if (o->mask[i] >> s & 1)
				o->v->img.sec[o->place[i]][s] = o->sec[i][s];
}

/* READ_LBA and READ_ADDR answers; false: ask again. */
static bool read_answer(struct mop *o)
{
	const uint8_t *p = o->re.payload;
	static const uint8_t zeros[CHUNK];

	if (o->re.m.body_bytes != 16 * o->n) {
		fail("a read answer has %u bytes", o->re.m.body_bytes);
		return true;
	}
	for (unsigned i = 0; i < o->n; i++) {
		const uint8_t *b = o->re.body + 16 * i, *data = zeros;
		vms_addr a = vms_get_le64(b);
		int status = (int16_t)vms_get_le16(b + 12);

		if (status == VMS_E_GONE || status == VMS_E_UNKNOWN) {
			st.gone++;
			if (o->kind == M_OLD_ADDR)
				return true;
			o->kind = M_READ;
			return false;
		}
		if (status == VMS_E_AGAIN)
			return false; /* it lies elsewhere, and nobody there answers now */
		if (status) {
			fail("extent %u chunk %u: %s", o->extent, o->v ? chunk_of(o->place[i]) : 0,
			     vms_err_name(status));
			return true;
		}
		if (a != VMS_ADDR_HOLE) {
			data = p;
			p += CHUNK;
			if (vms_crc32c(0, data, CHUNK) != vms_get_le32(b + 8))
				fail("address %016llx: wrong checksum", (unsigned long long)a);
		}
		addr_seen(a, data);
		if (o->kind == M_OLD_ADDR)
			st.old_addrs++;
		else
			check_chunk(o, i, data);
	}
	return true;
}

/* Entries of the op's chunks; holes are checked, the others read. */
static bool pages_answer(struct mop *o)
{
	uint32_t n = vms_get_le32(o->re.body);
	const uint8_t *p = o->re.body + 4;
	unsigned sub = chunk_of(o->place[0]) / VMS_SUBEXT_CHUNKS, k = 0;
	vms_addr e[VMS_SUBEXT_CHUNKS] = {0};

	if (n != 1 || p[0] != sub) {
		fail("GET_PAGES answers %u pages", n);
		return true;
	}
	for (unsigned i = 0; !(p[1] & 1) && i < VMS_SUBEXT_CHUNKS; i++)
		e[i] = vms_get_le64(p + 12 + 8 * i);
	for (unsigned i = 0; i < o->n; i++) {
		vms_addr a = e[chunk_of(o->place[i]) % VMS_SUBEXT_CHUNKS];

		if (a == VMS_ADDR_ASK)
			fail("chunk %u is ASK though nothing writes to it", chunk_of(o->place[i]));
		if (a == VMS_ADDR_HOLE && !is_zero(o->img->sec[o->place[i]]))
			fail("branch %llu extent %u chunk %u is a hole, not content %u",
			     (unsigned long long)o->v->rec.branch, o->extent, chunk_of(o->place[i]),
			     o->img->sec[o->place[i]][0]);
		/* read only those of the first one's partition in one message */
		if (a == VMS_ADDR_HOLE || a == VMS_ADDR_ASK ||
		    (k && vms_addr_partition(a, R.part_bits) !=
				  vms_addr_partition(o->addr[0], R.part_bits))) {
			if (!o->snap)
				o->v->busy[o->place[i]]--;
			continue;
		}
		o->place[k] = o->place[i];
		o->addr[k++] = a;
	}
	o->n = k;
	if (!k)
		return true;
	o->kind = M_ADDR;
	o->node = rig_primary(&R, vms_addr_partition(o->addr[0], R.part_bits));
	return false;
}

static bool op_answer(struct mop *o)
{
	int rc = o->re.status;

	switch (rc) {
	case VMS_E_DISCONNECTED:
	case VMS_E_AGAIN:
	case VMS_E_NOT_PRIMARY:
	case VMS_E_EPOCH:
	case VMS_E_STOPPING:
		if (o->kind == M_OLD_ADDR)
			return true;
		if (rc == VMS_E_EPOCH)
			R.gw[0].epoch[o->re.m.partition] = o->re.m.epoch;
		else
			o->retry_us = R.now_us + 20000;
		if (rc != VMS_E_EPOCH)
			o->flags |= VMS_F_RETRY;
		return false;
	case VMS_E_UNKNOWN:
		if (o->kind == M_OLD_ADDR)
			return true;
		break;
	case VMS_E_SNAP_GEN: /* surely not applied; again under the number that counts now */
		if (!is_write(o) || o->gen >= o->v->gen)
			break;
		st.renumbered++;
		o->gen = 0;
		return false;
	case VMS_E_BUSY:
		if (!is_write(o)) {
			o->retry_us = R.now_us + 20000;
			return false;
		}
		break;
	default:
		break;
	}
	if (!rc && o->re.m.epoch && o->re.m.partition != VMS_PART_NONE)
		R.gw[0].epoch[o->re.m.partition] = o->re.m.epoch;
	if (is_write(o)) {
		bool never = rc == VMS_E_BUSY || rc == VMS_E_TOO_OLD || rc == VMS_E_NOSPC;

		if (o->kind == M_CAW && rc == VMS_E_MISCOMPARE)
			never = o->must_miss;
		if (rc && !never)
			fail("op %d ended with %s", o->kind, vms_err_name(rc));
		if (!rc && o->must_miss)
			fail("a COMPARE AND WRITE matched what was not there");
		st.never += never;
		if (!rc)
			wrote(o);
		return true;
	}
	if (rc) {
		fail("read op %d ended with %s", o->kind, vms_err_name(rc));
		return true;
	}
	if (o->kind == M_FLUSH)
		return true;
	return o->kind == M_PAGES ? pages_answer(o) : read_answer(o);
}

/* Handle answers, send what waits. */
static void ops_look(void)
{
	for (unsigned i = 0; i < DEPTH && !failed[0]; i++) {
		struct mop *o = &slot[i];

		if (!o->used)
			continue;
		if (o->sent && o->re.done) {
			o->sent = false;
			if (op_answer(o)) {
				release(o);
				continue;
			}
			rig_reply_free(&o->re);
		}
		if (!o->sent && R.now_us >= o->retry_us)
			send_op(o);
		if (R.now_us - o->since_us > 120000000)
			fail("op %d of extent %u is pending for 120 s, last status %s", o->kind,
			     o->extent, vms_err_name(o->re.status));
	}
}

static void step(void)
{
	if (!rig_step(&R))
		fail("nothing happens any more");
	ops_look();
	for (unsigned i = 0; i < R.nnodes; i++)
		if (R.node[i].fatal)
			fail("node %u refuses to go on: %s", i + 1, R.node[i].why);
}

static void ops_settle(void)
{
	for (;;) {
		bool any = false;

		ops_look();
		for (unsigned i = 0; i < DEPTH; i++)
			any |= slot[i].used;
		if (!any || failed[0])
			return;
		step();
	}
}

/* A share of the chunks of a volume, or of its snapshot. */
static void read_view(struct vol *v, const struct snap *snap, unsigned share)
{
	for (unsigned at = 0; at < NPLACE && !failed[0]; at += 64) {
		struct mop *o = NULL;

		if (!percent(share))
			continue;
		while (!o && !failed[0]) {
			for (unsigned i = 0; i < DEPTH; i++)
				if (!slot[i].used)
					o = &slot[i];
			if (!o)
				step();
		}
		if (!o)
			return;
		memset(o, 0, sizeof(*o));
		o->v = v;
		o->snap = snap;
		o->img = snap ? snap->img : &v->img;
		o->kind = M_READ;
		o->extent = at / PLACES;
		o->n = 64;
		for (unsigned i = 0; i < 64; i++) {
			o->place[i] = (uint16_t)(at + i);
			if (!snap)
				v->busy[at + i]++;
		}
		o->node = rig_primary(&R, part_of(v, o->extent));
		o->used = true;
		o->since_us = R.now_us;
	}
}

static void read_back(unsigned share)
{
	ops_settle(); /* a write under way may show already */
	for (unsigned k = 0; k < VOLS; k++) {
		if (!vol[k].used)
			continue;
		read_view(&vol[k], NULL, share);
		for (unsigned i = 0; i < vol[k].nsnaps; i++)
			read_view(&vol[k], &vol[k].snap[i], (share + 2) / 3);
	}
	ops_settle();
}

#endif
