// SPDX-License-Identifier: GPL-2.0-only
/*
 * The real engine against an oracle in memory: one or three node cores over files
 * and LMDB (tests/sim/real_disk.h), random operations with many in flight, and
 * moments at which nodes are dropped without any clean-up and opened again. After
 * each such moment the folder must pass fsck, and what was acknowledged be there.
 *
 * An episode is one cluster: its shape and every choice come from its seed, and it
 * repeats exactly. Environment:
 *	VMS_MODEL_OPS	operations in all (default 200000; one reopening per 1000)
 *	VMS_MODEL_SEED	seed of the first episode (default 1)
 *	VMS_MODEL_DIR	where the folders go (default /dev/shm, else /tmp)
 *	VMS_MODEL_MUTANT	a defect of the node (enum node_mutant), to see it found
 *	VMS_MODEL_VERBOSE=1
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/sim/node_rig.h"
#include "tests/sim/real_disk.h"
#include "tests/unit/cunit.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "utils/lib/settings.h"

#define CHUNK	      VMS_CHUNK_BYTES
#define EPISODE_OPS   25000u
#define OPS_PER_KILL  1000u
#define OPS_PER_ADMIN 200u /* snapshots and the like */
#define VOLS	      6u
#define SNAPS	      24u  /* of a volume */
#define EXTENTS	      5u   /* of a volume */
#define PLACES	      256u /* chunks used in each: its first and last sub-extent */
#define NPLACE	      (EXTENTS * PLACES)
#define SECTORS	      8u
#define DEPTH	      16u
#define WRITE_CHUNKS  24u
#define ALPHABET      64u /* contents that are written again and again */
#define LOG_BYTES     (4u << 20)
#define KNOWN_ADDRS   (1u << 16)

/* What each sector of a volume holds: the number of its content, 0 for zeros. */
struct image {
	uint32_t sec[NPLACE][SECTORS];
};

struct snap {
	uint64_t gen;
	struct vms_cat_branch rec; /* of the branch it is on */
	struct image *img;
};

struct vol {
	bool used, stopped; /* stopped: a barrier holds its writes */
	uint64_t id, gen, fence;
	enum vms_write_ack ack;
	struct vms_cat_branch rec; /* of the branch it writes to */
	struct image img;
	unsigned nsnaps;
	struct snap snap[SNAPS];
	uint8_t busy[NPLACE]; /* 255: a write, else readers */
};

enum kind { M_WRITE, M_ZERO, M_CAW, M_OR, M_READ, M_PAGES, M_ADDR, M_OLD_ADDR, M_FLUSH };

struct mop {
	bool used, sent;
	enum kind kind;
	struct vol *v;
	const struct snap *snap; /* reads of a snapshot */
	const struct image *img; /* reads: what they must find */
	uint64_t gen;		 /* writes: the number they carry */
	uint32_t extent;
	unsigned n;
	uint16_t place[WRITE_CHUNKS * 8]; /* of the volume */
	uint8_t mask[WRITE_CHUNKS];
	uint32_t sec[WRITE_CHUNKS][SECTORS]; /* contents to be written */
	bool must_miss;			     /* COMPARE AND WRITE with something else */
	uint64_t sequence, tick, tick_inc, retry_us, since_us;
	uint64_t flags;
	unsigned node;
	vms_addr addr[WRITE_CHUNKS * 8];
	uint32_t crc; /* M_OLD_ADDR */
	struct rig_reply re;
};

struct known { /* what an address has been seen to name, for good */
	vms_addr a;
	uint32_t crc;
};

static struct rig R;
static struct vms_rng rng;
static struct vol vol[VOLS];
static struct mop slot[DEPTH];
static struct known known[KNOWN_ADDRS];
static uint32_t next_content;
static uint64_t next_branch;
static bool one_at_a_time; /* memory mode: one member must keep its memory */
static unsigned depth, dup_percent, range_percent;
static uint64_t seed_now, ops_done;
static char failed[600];
static struct {
	uint64_t writes, reads, old_addrs, gone, kills, powers, fscks, never;
	uint64_t snaps, clones, rollbacks, deleted, renumbered;
} st;

__attribute__((format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	va_list ap;

	if (failed[0])
		return;
	va_start(ap, fmt);
	vsnprintf(failed, sizeof(failed), fmt, ap);
	va_end(ap);
}

static uint64_t below(uint64_t n)
{
	return vms_rng_below(&rng, n);
}

static bool percent(unsigned p)
{
	return below(100) < p;
}

/* ---- contents ---- */

static void sector_fill(uint8_t *b, uint32_t content)
{
	if (!content) {
		memset(b, 0, VMS_LB_BYTES);
		return;
	}
	for (unsigned i = 0; i < VMS_LB_BYTES; i += 8)
		vms_put_le64(b + i, vms_mix64((uint64_t)content << 8 | i / 8));
}

static void chunk_fill(uint8_t *b, const uint32_t *sec)
{
	for (unsigned s = 0; s < SECTORS; s++)
		sector_fill(b + s * VMS_LB_BYTES, sec[s]);
}

/* A whole chunk of content: one of few, or one that nothing else has. */
static void content_draw(uint32_t *sec)
{
	uint32_t base;

	if (percent(dup_percent)) {
		base = 1 + (uint32_t)below(ALPHABET) * SECTORS;
	} else {
		base = next_content;
		next_content += SECTORS;
	}
	for (unsigned s = 0; s < SECTORS; s++)
		sec[s] = base + s;
}

static bool is_zero(const uint32_t *sec)
{
	for (unsigned s = 0; s < SECTORS; s++)
		if (sec[s])
			return false;
	return true;
}

/* ---- places ---- */

static uint16_t chunk_of(unsigned place)
{
	unsigned i = place % PLACES;

	return (uint16_t)(i < VMS_SUBEXT_CHUNKS ? i : VMS_EXTENT_CHUNKS - PLACES + i);
}

static uint32_t part_of(const struct vol *v, uint32_t extent)
{
	return vms_extent_partition(v->rec.lineage, extent, R.part_bits);
}

/* ---- what addresses name ---- */

static void addr_seen(vms_addr a, const uint8_t *data)
{
	struct known *k = &known[vms_mix64(a) % KNOWN_ADDRS];
	uint32_t crc;

	if (a == VMS_ADDR_HOLE || a == VMS_ADDR_ASK)
		return;
	crc = vms_crc32c(0, data, CHUNK);
	if (k->a == a && k->crc != crc)
		fail("address %016llx names other content than before", (unsigned long long)a);
	*k = (struct known){a, crc};
}

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

/* ---- ops: answers ---- */

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

/* ---- kill and reopen ---- */

static void check_folder(unsigned i)
{
	const char *wrong = rig_fsck(&R, i);

	if (wrong)
		fail("fsck of node %u: %s", i + 1, wrong);
	st.fscks++;
}

static void kill_node(unsigned i, bool power)
{
	if (!R.node[i].n)
		return;
	rig_node_crash(&R, i, power);
	st.kills++;
	st.powers += power;
	check_folder(i);
}

static void kill_some(void)
{
	bool power = percent(60);
	unsigned first = (unsigned)below(R.nnodes);
	unsigned n = one_at_a_time || percent(60) ? 1 : 1 + (unsigned)below(R.nnodes);

	for (unsigned i = 0; i < n; i++)
		kill_node((first + i) % R.nnodes, power);
	for (uint64_t end = R.now_us + below(300000); R.now_us < end && !failed[0];) {
		if (!rig_step(&R))
			break; /* all are down */
		ops_look();
	}
	/* some die again while they start */
	for (unsigned again = 0; again < 3 && percent(25); again++) {
		unsigned i = (first + (unsigned)below(n)) % R.nnodes;

		if (!R.node[i].n)
			rig_node_start(&R, i);
		for (uint64_t end = R.now_us + below(2500000); R.now_us < end && !failed[0];)
			step();
		kill_node(i, power);
	}
	for (unsigned i = 0; i < R.nnodes; i++)
		if (!R.node[i].n && !R.node[i].fatal)
			rig_node_start(&R, i);
	for (uint64_t end = R.now_us + 60000000; !rig_active(&R) && !failed[0];) {
		step();
		if (R.now_us > end)
			fail("60 s after a restart not every partition is served");
	}
	if (one_at_a_time)
		ops_settle();
}

/* ---- snapshots, clones: what the tools do ---- */

static void volume_put(const struct vol *v)
{
	struct vms_cat_volume c = {.id = v->id,
				   .branch = v->rec.branch,
				   .lineage = v->rec.lineage,
				   .snap_gen = v->gen,
				   .lun_fence = v->fence,
				   .dedup = true,
				   .write_ack = (uint8_t)v->ack};

	snprintf(c.name, sizeof(c.name), "v%llu", (unsigned long long)v->id);
	if (v->stopped) {
		c.barrier = VMS_BARRIER_STOP;
		c.barrier_id = v->gen;
	}
	rig_volume_put(&R, c);
}

static void snap_key(const struct vol *v, const struct snap *s, char *key)
{
	char volume[64], name[64];

	snprintf(volume, sizeof(volume), "v%llu", (unsigned long long)v->id);
	snprintf(name, sizeof(name), "s%llu", (unsigned long long)s->gen);
	vms_cat_key_snap(key, volume, name, NULL);
}

static void snap_put(const struct vol *v, const struct snap *s, uint8_t state)
{
	struct vms_cat_snap rec = {.id = v->id,
				   .branch = s->rec.branch,
				   .snap_gen = s->gen,
				   .size_bytes = 1 << 30,
				   .state = state};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(rec.volume, sizeof(rec.volume), "v%llu", (unsigned long long)v->id);
	snprintf(rec.name, sizeof(rec.name), "s%llu", (unsigned long long)s->gen);
	snap_key(v, s, key);
	rig_put(&R, key, vms_cat_snap_encode(&rec));
}

/* The floor at every node, which settles what was ordered before. */
static void floor_all(const struct vol *v)
{
	struct rig_reply re[RIG_NODES] = {{0}};
	bool done[RIG_NODES] = {false}, sent[RIG_NODES] = {false};
	uint64_t since = R.now_us;

	for (unsigned left = R.nnodes; left && !failed[0];) {
		for (unsigned i = 0; i < R.nnodes; i++) {
			struct vms_msg m = {.type = VMS_MSG_FLOOR,
					    .flags = VMS_F_FUA,
					    .partition = VMS_PART_NONE,
					    .branch = v->rec.branch,
					    .snap_gen = v->gen,
					    .lun_fence = v->fence};

			if (done[i])
				continue;
			if (sent[i] && re[i].done) {
				sent[i] = false;
				done[i] = re[i].status == 0;
				left -= done[i];
				if (re[i].status && re[i].status != VMS_E_AGAIN &&
				    re[i].status != VMS_E_DISCONNECTED &&
				    re[i].status != VMS_E_BUSY)
					fail("FLOOR ends with %s", vms_err_name(re[i].status));
				rig_reply_free(&re[i]);
				continue;
			}
			if (!sent[i] && R.gw[1].up[i]) {
				rig_send(&R, 1, i, &m, &re[i]);
				sent[i] = true;
			} else if (!sent[i]) {
				rig_gw_connect(&R, 1, i);
			}
		}
		step();
		if (R.now_us - since > 60000000)
			fail("FLOOR of branch %llu is not answered",
			     (unsigned long long)v->rec.branch);
	}
	/* what is still under way belongs to nobody any more */
	R.gw[1].nwait = 0;
	for (unsigned i = 0; i < R.nnodes; i++)
		rig_reply_free(&re[i]);
}

static bool any_older(const struct vol *v)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (slot[i].used && slot[i].v == v && is_write(&slot[i]) && slot[i].gen &&
		    slot[i].gen < v->gen)
			return true;
	return false;
}

/* Writes of the volume are on their way meanwhile: each belongs to the snapshot, or
 * is refused and goes out again under the new number. */
static void snap_create(struct vol *v)
{
	struct snap *s;

	if (v->nsnaps == SNAPS)
		return;
	s = &v->snap[v->nsnaps];
	*s = (struct snap){.gen = v->gen++, .rec = v->rec};
	v->stopped = true;
	snap_put(v, s, 1);
	volume_put(v);
	if (percent(20) && !one_at_a_time)
		kill_some();
	floor_all(v);
	while (any_older(v) && !failed[0])
		step();
	s->img = malloc(sizeof(*s->img));
	vms_assert(s->img);
	*s->img = v->img;
	v->nsnaps++;
	v->stopped = false;
	snap_put(v, s, 2);
	volume_put(v);
	st.snaps++;
}

static struct vms_cat_branch branch_over(const struct snap *s, uint64_t limit)
{
	struct vms_cat_branch b = {
		.branch = next_branch++, .lineage = s->rec.lineage, .nancestors = 1};

	b.ancestor[0] = (struct vms_cat_ancestor){s->rec.branch, s->gen, limit};
	for (unsigned i = 0; i < s->rec.nancestors; i++)
		b.ancestor[b.nancestors++] = s->rec.ancestor[i];
	return b;
}

static void image_of(struct image *img, const struct snap *s, uint64_t limit)
{
	*img = *s->img;
	for (unsigned i = 0; i < NPLACE; i++)
		if ((uint64_t)(i / PLACES) * VMS_EXTENT_CHUNKS + chunk_of(i) >= limit)
			memset(img->sec[i], 0, sizeof(img->sec[i]));
}

static void clone_create(const struct vol *from)
{
	const struct snap *s = from->nsnaps ? &from->snap[below(from->nsnaps)] : NULL;
	uint64_t limit = UINT32_MAX;
	struct vol *v = NULL;

	for (unsigned i = 0; i < VOLS; i++)
		if (!vol[i].used)
			v = &vol[i];
	if (!v || !s || s->rec.nancestors == VMS_ANCESTORS_MAX)
		return;
	if (percent(15)) /* a smaller one */
		limit = below(EXTENTS) * VMS_EXTENT_CHUNKS + chunk_of((unsigned)below(PLACES));
	memset(v, 0, sizeof(*v));
	v->rec = branch_over(s, limit);
	v->id = v->rec.owner = v->rec.branch;
	v->gen = v->fence = 1;
	v->ack = from->ack;
	image_of(&v->img, s, limit);
	rig_branch_put(&R, v->rec);
	volume_put(v);
	floor_all(v);
	v->used = true;
	st.clones++;
}

/* The volume goes on from one of its snapshots, on a branch of its own; those taken
 * since stay. */
static bool snaps_on(const struct vol *v, uint64_t branch)
{
	for (unsigned i = 0; i < v->nsnaps; i++)
		if (v->snap[i].rec.branch == branch)
			return true;
	return false;
}

static void branch_dies(struct vms_cat_branch b)
{
	b.state = 2;
	rig_branch_put(&R, b);
}

static void rollback(struct vol *v)
{
	const struct snap *s = v->nsnaps ? &v->snap[below(v->nsnaps)] : NULL;
	struct vms_cat_branch old = v->rec;

	if (!s || s->rec.nancestors == VMS_ANCESTORS_MAX)
		return;
	v->rec = branch_over(s, UINT32_MAX);
	v->rec.owner = v->id;
	v->gen++;
	v->fence++;
	image_of(&v->img, s, UINT32_MAX);
	rig_branch_put(&R, v->rec);
	volume_put(v);
	if (!snaps_on(v, old.branch))
		branch_dies(old);
	floor_all(v);
	st.rollbacks++;
}

static void snap_delete(struct vol *v)
{
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct vms_cat_branch b;
	struct snap *s;

	if (!v->nsnaps)
		return;
	s = &v->snap[below(v->nsnaps)];
	b = s->rec;
	snap_key(v, s, key);
	rig_put(&R, key, NULL);
	free(s->img);
	*s = v->snap[--v->nsnaps];
	/* the last one on a branch that the volume has left */
	if (b.branch != v->rec.branch && !snaps_on(v, b.branch))
		branch_dies(b);
	st.deleted++;
}

static void volume_delete(struct vol *v)
{
	char name[64], key[VMS_CAT_KEY_BYTES_MAX];

	while (v->nsnaps)
		snap_delete(v);
	snprintf(name, sizeof(name), "v%llu", (unsigned long long)v->id);
	vms_cat_key_volume(key, name, NULL);
	branch_dies(v->rec);
	rig_put(&R, key, NULL);
	v->used = false;
	st.deleted++;
}

/* Everything goes; then no container may hold a byte. */
static void delete_all(void)
{
	uint64_t end = R.now_us + 300000000, left = 1;

	for (unsigned i = 0; i < VOLS; i++)
		if (vol[i].used)
			volume_delete(&vol[i]);
	while (left && !failed[0]) {
		for (unsigned i = 0; i < 200 && !failed[0]; i++)
			step();
		left = 0;
		for (unsigned i = 0; i < R.nnodes; i++)
			left += real_disk_container_bytes(R.node[i].dd);
		if (left && R.now_us > end)
			fail("300 s after everything was deleted containers hold %llu bytes",
			     (unsigned long long)left);
	}
}

static unsigned vols_used(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VOLS; i++)
		n += vol[i].used;
	return n;
}

static void admin(void)
{
	struct vol *v = vol_draw();
	unsigned d = (unsigned)below(100);

	if (d < 55) {
		snap_create(v);
		return;
	}
	ops_settle(); /* nobody has it open */
	if (d < 70)
		clone_create(v);
	else if (d < 80)
		rollback(v);
	else if (d < 95)
		snap_delete(v);
	else if (vols_used() > 2)
		volume_delete(v);
}

/* ---- episodes ---- */

static char base_dir[200];

static void *drv_make(struct rig *r, unsigned idx, uint64_t seed,
		      void (*schedule)(void *ctx, uint64_t delay_us, uint64_t id), void *ctx,
		      struct vms_disk *out)
{
	char dir[300];
	struct real_disk_conf c = {.dir = dir,
				   .log_bytes = LOG_BYTES,
				   .index_bytes = 64u << 20,
				   .space_bytes = 4ull << 30,
				   .latency_us_min = 20,
				   .latency_us_max = 200,
				   .sync_us_min = 100,
				   .sync_us_max = 500,
				   .read_now_percent = 60,
				   .engine = seed % 2 ? VMS_IO_THREADS : VMS_IO_AUTO,
				   .schedule = schedule,
				   .ctx = ctx};
	struct vms_errmsg msg = {""};
	struct real_disk *d;

	(void)r;
	snprintf(dir, sizeof(dir), "%s/n%u", base_dir, idx + 1);
	d = real_disk_new(&c, seed, &msg);
	if (!d) {
		fprintf(stderr, "test_model: %s\n", msg.text);
		exit(2);
	}
	*out = real_disk_ops(d);
	return d;
}
static bool drv_finish(void *d, uint64_t id, struct vms_disk_event *ev)
{
	return real_disk_finish(d, id, ev);
}
static void drv_crash(void *d, bool power)
{
	real_disk_crash(d, power);
}
static void drv_free(void *d)
{
	real_disk_free(d);
}
static const struct rig_disk_drv drv = {drv_make, drv_finish, drv_crash, drv_free, real_disk_read};

static uint64_t env_number(const char *name, uint64_t other)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : other;
}

static void episode_open(uint64_t seed)
{
	unsigned nodes, copies, bits;

	memset(&R, 0, sizeof(R));
	memset(slot, 0, sizeof(slot));
	memset(vol, 0, sizeof(vol));
	memset(known, 0, sizeof(known));
	next_content = 1 + ALPHABET * SECTORS;
	failed[0] = 0;
	seed_now = seed;
	vms_rng_init(&rng, seed);
	nodes = percent(50) ? 1 : 3;
	copies = nodes == 1 ? 1 : percent(70) ? 2 : 3;
	bits = (unsigned)below(4);
	one_at_a_time = nodes > 1 && percent(40);
	depth = 1 + (unsigned)below(DEPTH);
	dup_percent = percent(30) ? 0 : 30 + (unsigned)below(60);
	range_percent = (unsigned)below(9);
	R.drv = &drv;
	R.gen_bytes = LOG_BYTES / (percent(50) ? 4 : 16);
	R.container_bytes = percent(50) ? 1u << 20 : 4u << 20;
	R.verbose = getenv("VMS_MODEL_VERBOSE") != NULL;
	R.mutant = (uint32_t)env_number("VMS_MODEL_MUTANT", 0);
	rig_open(&R, nodes, copies, bits, seed);
	next_branch = 7;
	for (unsigned i = 0; i < VOLS / 2; i++) {
		struct vol *v = &vol[i];

		v->used = true;
		v->id = next_branch++;
		v->rec = (struct vms_cat_branch){.branch = v->id, .lineage = v->id, .owner = v->id};
		v->gen = v->fence = 1;
		v->ack = one_at_a_time && percent(50) ? VMS_ACK_MEMORY : VMS_ACK_DISK;
		rig_branch_put(&R, v->rec);
		volume_put(v);
	}
	R.gw[1].tool = true;
	if (!rig_wait_active(&R, 60000))
		fail("the cluster does not start");
	for (unsigned i = 0; i < nodes; i++)
		rig_gw_connect(&R, 0, i);
}

static void episode(uint64_t seed, uint64_t ops)
{
	uint64_t kill_at, admin_at;

	episode_open(seed);
	ops_done = 0;
	kill_at = below(OPS_PER_KILL);
	admin_at = below(OPS_PER_ADMIN);
	while (ops_done < ops && !failed[0]) {
		for (unsigned i = 0; i < depth; i++)
			if (!slot[i].used)
				op_make(&slot[i]);
		ops_look();
		step();
		if (ops_done >= kill_at) {
			kill_at += OPS_PER_KILL;
			kill_some();
			read_back(5);
		}
		if (ops_done >= admin_at) {
			admin_at = ops_done + 1 + below(2 * OPS_PER_ADMIN);
			admin();
		}
	}
	if (!failed[0])
		ops_settle();
	if (!failed[0])
		read_back(100);
	if (!failed[0])
		delete_all();
	for (unsigned i = 0; i < R.nnodes && !failed[0]; i++)
		kill_node(i, true);
	/* what waits for an answer lies in the slots */
	R.gw[0].nwait = 0;
	for (unsigned i = 0; i < DEPTH; i++)
		rig_reply_free(&slot[i].re);
	for (unsigned i = 0; i < VOLS; i++)
		for (unsigned k = 0; k < vol[i].nsnaps; k++)
			free(vol[i].snap[k].img);
	rig_close(&R);
}

static void random_operations_and_reopenings(void)
{
	uint64_t ops = env_number("VMS_MODEL_OPS", 200000), seed = env_number("VMS_MODEL_SEED", 1);
	uint64_t left, total = 0;
	const char *dir = getenv("VMS_MODEL_DIR");
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	snprintf(base_dir, sizeof(base_dir), "%s/vms-model-XXXXXX",
		 dir			    ? dir
		 : access("/dev/shm", W_OK) ? "/tmp"
					    : "/dev/shm");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(base_dir));
	for (left = ops; left && !failed[0]; seed++) {
		uint64_t n = left < EPISODE_OPS ? left : EPISODE_OPS;

		episode(seed, n);
		total += ops_done;
		left -= n;
		if (failed[0])
			printf("\nepisode %llu, about operation %llu: %s\n"
			       "  repeat with: VMS_MODEL_SEED=%llu VMS_MODEL_OPS=%llu "
			       "build/tests/test_model\n",
			       (unsigned long long)seed, (unsigned long long)ops_done, failed,
			       (unsigned long long)seed, (unsigned long long)n);
	}
	CU_ASSERT_EQUAL(failed[0], 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("[%llu ops, %llu writes, %llu never, %llu reads, %llu old addresses, %llu gone; "
	       "%llu kills, "
	       "%llu with power; %llu fscks; %llu snapshots, %llu clones, %llu rollbacks, %llu "
	       "deleted, "
	       "%llu renumbered; %.1f s] ",
	       (unsigned long long)total, (unsigned long long)st.writes,
	       (unsigned long long)st.never, (unsigned long long)st.reads,
	       (unsigned long long)st.old_addrs, (unsigned long long)st.gone,
	       (unsigned long long)st.kills, (unsigned long long)st.powers,
	       (unsigned long long)st.fscks, (unsigned long long)st.snaps,
	       (unsigned long long)st.clones, (unsigned long long)st.rollbacks,
	       (unsigned long long)st.deleted, (unsigned long long)st.renumbered,
	       (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
	rmdir(base_dir);
}

static const struct vms_test tests[] = {
	VMS_TEST(random_operations_and_reopenings),
};
VMS_TEST_MAIN("model", tests)
