/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The oracle of test_model.c: what every sector of its volumes and snapshots must hold,
 * what addresses have been seen to name, and the operations under way.
 */
#ifndef VMS_TESTS_MODEL_RIG_H
#define VMS_TESTS_MODEL_RIG_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cluster/catalog.h"
#include "include/types.h"
#include "tests/sim/node_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

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

#endif
