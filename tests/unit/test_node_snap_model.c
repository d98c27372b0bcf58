// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many branches and many numbers, against a model, through drains, collection and crashes.
 * SEED=1000 SEEDS=300 runs more.
 */
#include "cluster/catalog.h"
#include "include/err.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/unit/layer_rig.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

/* ---- many branches, many numbers, against a model ---- */

#define NEXT  3u
#define NCH   150u /* chunks from 60 on: over a sub-extent's edge */
#define CH0   60u
#define NVIEW 40u

struct content {
	uint8_t d[NEXT][NCH][8]; /* value of each sector; 0: zeros */
};

struct view { /* a live branch, or a snapshot */
	uint64_t branch, gen;
	bool live;
	struct vms_cat_branch rec;
	struct content c;
};

static struct view V[NVIEW];
static unsigned nview, bad;

static VMS_VEC(struct {
	vms_addr a;
	uint32_t crc;
}) seen_addr;

static void sector(uint8_t *b, uint8_t v, uint32_t ext, unsigned ch, unsigned s)
{
	memset(b, v, VMS_LB_BYTES);
	if (v) {
		vms_put_le32(b, ext);
		vms_put_le32(b + 4, ch * 8 + s);
	}
}

static void model_chunk(const struct view *v, uint32_t ext, unsigned ch, uint8_t *out)
{
	for (unsigned s = 0; s < 8; s++)
		sector(out + s * VMS_LB_BYTES, v->c.d[ext][ch][s], ext, ch, s);
}

/* An address never names other content. */
static void addr_seen(vms_addr a, uint32_t crc)
{
	if (a <= VMS_ADDR_ASK)
		return;
	for (size_t i = 0; i < seen_addr.n; i++)
		if (seen_addr.d[i].a == a) {
			if (seen_addr.d[i].crc != crc && bad++ < 5)
				fprintf(stderr, "address %llx names other content now\n",
					(unsigned long long)a);
			return;
		}
	VMS_VEC_RESERVE(&seen_addr, seen_addr.n + 1);
	seen_addr.d[seen_addr.n].a = a;
	seen_addr.d[seen_addr.n++].crc = crc;
}

/* All chunks of one extent as the view's readers see them. */
static void check_extent(const struct view *v, uint32_t ext)
{
	uint8_t body[2 * NCH], want[CHUNK];
	uint64_t gen = v->live ? VMS_GEN_LIVE : v->gen;

	for (unsigned i = 0; i < NCH; i++)
		vms_put_le16(body + 2 * i, (uint16_t)(CH0 + i));
	for (int tries = 0; tries < 50; tries++) {
		struct vms_msg m = {.type = VMS_MSG_READ_LBA,
				    .partition = part_of(ext),
				    .branch = v->branch,
				    .snap_gen = gen,
				    .extent = ext,
				    .body = body,
				    .body_bytes = sizeof(body)};
		struct rig_reply re;
		const uint8_t *at;
		bool again = false;

		if (ask(1, &m, &re, 800)) {
			bad++;
			return;
		}
		at = re.payload;
		for (unsigned i = 0; i < NCH; i++) {
			const uint8_t *b = re.body + 16 * i;
			int16_t st = (int16_t)vms_get_le16(b + 12);
			vms_addr a = vms_get_le64(b);
			uint8_t zero[CHUNK] = {0};

			model_chunk(v, ext, i, want);
			if (st == VMS_E_GONE || st == VMS_E_UNKNOWN) {
				again = true;
				continue;
			}
			if (st || memcmp(want, a ? at : zero, CHUNK)) {
				if (bad++ < 5)
					fprintf(stderr,
						"branch %llu gen %lld extent %u chunk %u: status "
						"%d "
						"value %u want %u addr %llx\n",
						(unsigned long long)v->branch, (long long)gen, ext,
						i, st, a && !st ? at[100] : 0, want[100],
						(unsigned long long)a);
			} else if (a) {
				addr_seen(a, vms_get_le32(b + 8));
			}
			if (a && !st)
				at += CHUNK;
		}
		rig_reply_free(&re);
		if (!again)
			return;
		rig_run(&R, 10);
	}
	bad++;
}

/* A page's entries, read by address. */
static void check_page(const struct view *v, uint32_t ext)
{
	vms_addr e[VMS_SUBEXT_CHUNKS];
	uint8_t want[CHUNK], x[CHUNK];
	unsigned sub = (unsigned)vms_rng_below(&R.rng, 2);

	if (pages(0, v->branch, v->live ? VMS_GEN_LIVE : v->gen, ext, sub, e)) {
		bad++;
		return;
	}
	for (int k = 0; k < 8; k++) {
		unsigned ch = (unsigned)vms_rng_below(&R.rng, NCH), c = CH0 + ch;
		int st = 0;

		if (c / VMS_SUBEXT_CHUNKS != sub)
			continue;
		c %= VMS_SUBEXT_CHUNKS;
		model_chunk(v, ext, ch, want);
		if (e[c] == VMS_ADDR_ASK)
			continue;
		memset(x, 0, CHUNK);
		if (e[c])
			st = addr_read(0, e[c], x);
		if (st == VMS_E_GONE || st == VMS_E_UNKNOWN)
			continue;
		if (st || memcmp(x, want, CHUNK)) {
			if (bad++ < 5)
				fprintf(stderr,
					"page of branch %llu extent %u chunk %u: status %d\n",
					(unsigned long long)v->branch, ext, ch, st);
		} else {
			addr_seen(e[c], vms_crc32c(0, x, CHUNK));
			if (e[c] && !addr_safe(e[c], v->branch) && bad++ < 5)
				fprintf(stderr, "address %llx is not durable everywhere\n",
					(unsigned long long)e[c]);
		}
	}
}

static void check_everything(void)
{
	for (unsigned i = 0; i < nview && bad < 5; i++)
		for (uint32_t e = 0; e < NEXT; e++)
			check_extent(&V[i], e);
}

static struct view *pick(bool live)
{
	for (;;) {
		struct view *v = &V[vms_rng_below(&R.rng, nview)];

		if (v->live == live)
			return v;
	}
}

static unsigned count(bool live)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nview; i++)
		n += V[i].live == live;
	return n;
}

static void volume_of(const struct view *v, unsigned ack)
{
	rig_volume_put(&R, (struct vms_cat_volume){.branch = v->branch,
						   .lineage = LIN,
						   .snap_gen = v->gen,
						   .lun_fence = 1,
						   .write_ack = (uint8_t)ack});
}

/* In memory mode one at a time: no loss is allowed. */
static void arm_crash(unsigned ack)
{
	if (ack == VMS_ACK_MEMORY)
		CU_ASSERT_TRUE(rig_wait_active(&R, 60000));
	crash.after = (unsigned)vms_rng_below(&R.rng, 30);
	crash.nodes = ack == VMS_ACK_MEMORY
			      ? 1u << vms_rng_below(&R.rng, R.nnodes)
			      : (unsigned)vms_rng_between(&R.rng, 1, (1u << R.nnodes) - 1);
	crash.power = vms_rng_below(&R.rng, 2);
}

static void take_snapshot(struct view *v, unsigned ack)
{
	struct view *s = &V[nview];
	struct vms_cat_snap rec = {.id = v->branch,
				   .branch = v->branch,
				   .snap_gen = v->gen,
				   .size_bytes = 1 << 30,
				   .state = 2};
	char key[VMS_CAT_KEY_BYTES_MAX];

	*s = *v;
	s->live = false;
	v->gen++;
	snprintf(rec.volume, sizeof(rec.volume), "v%llu", (unsigned long long)v->branch);
	snprintf(rec.name, sizeof(rec.name), "s%llu", (unsigned long long)s->gen);
	CU_ASSERT_EQUAL(vms_cat_key_snap(key, rec.volume, rec.name, NULL), 0);
	rig_put(&R, key, vms_cat_snap_encode(&rec));
	volume_of(v, ack);
	if (floor_all(v->branch, v->gen, VMS_F_FUA))
		bad++;
	nview++;
}

static void take_clone(const struct view *s, uint64_t number, unsigned ack)
{
	struct view *c = &V[nview];
	uint64_t limit = UINT32_MAX;

	*c = *s;
	c->live = true;
	c->branch = number;
	c->gen = vms_rng_between(&R.rng, 1, 3);
	if (vms_rng_below(&R.rng, 2)) /* a smaller one */
		limit = vms_rng_below(&R.rng, NEXT) * VMS_EXTENT_CHUNKS + CH0 +
			vms_rng_below(&R.rng, NCH);
	c->rec = (struct vms_cat_branch){.branch = number, .lineage = LIN, .nancestors = 1};
	c->rec.ancestor[0] = (struct vms_cat_ancestor){s->branch, s->gen, limit};
	for (unsigned i = 0; i < s->rec.nancestors && c->rec.nancestors < VMS_ANCESTORS_MAX; i++)
		c->rec.ancestor[c->rec.nancestors++] = s->rec.ancestor[i];
	for (uint64_t e = 0; e < NEXT; e++)
		for (uint64_t ch = 0; ch < NCH; ch++)
			if (e * VMS_EXTENT_CHUNKS + CH0 + ch >= limit)
				memset(c->c.d[e][ch], 0, 8);
	rig_branch_put(&R, c->rec);
	volume_of(c, ack);
	if (floor_all(number, c->gen, VMS_F_FUA))
		bad++;
	nview++;
	for (uint32_t e = 0; e < NEXT; e++)
		check_extent(c, e);
}

static void change(struct view *v, unsigned ack, bool mid_crash)
{
	static uint8_t buf[2 * CHUNK];
	uint32_t ext = (uint32_t)vms_rng_below(&R.rng, NEXT);
	unsigned ch = (unsigned)vms_rng_below(&R.rng, NCH), k = 0;
	uint8_t val = (uint8_t)vms_rng_between(&R.rng, 1, 255);
	unsigned what = (unsigned)vms_rng_below(&R.rng, 100);
	struct wr w = {.branch = v->branch,
		       .gen = v->gen,
		       .extent = ext,
		       .mask = 0xff,
		       .chunk = (uint16_t)(CH0 + ch),
		       .data = buf,
		       .count = 1,
		       .flags = ack == VMS_ACK_MEMORY ? VMS_F_MEMORY : 0};
	int st;

	if (mid_crash)
		arm_crash(ack);
	if (what < 25) {
		w.kind = VMS_WRITE_ZERO;
		w.count = (uint16_t)vms_rng_between(&R.rng, 1, what < 15 ? 4 : NCH);
		if (w.count > NCH - ch)
			w.count = (uint16_t)(NCH - ch);
		if (w.count == 1)
			w.mask = (uint8_t)vms_rng_between(&R.rng, 1, 255);
		val = 0;
	} else {
		w.kind = what < 35 ? VMS_WRITE_CAW : VMS_WRITE_DATA;
		if (what < 65)
			w.mask = (uint8_t)vms_rng_between(&R.rng, 1, 255);
		for (unsigned s = 0; s < 8 && w.kind == VMS_WRITE_CAW; s++)
			if (w.mask >> s & 1)
				sector(buf + VMS_LB_BYTES * k++, v->c.d[ext][ch][s], ext, ch, s);
		for (unsigned s = 0; s < 8; s++)
			if (w.mask >> s & 1)
				sector(buf + VMS_LB_BYTES * k++, val, ext, ch, s);
	}
	st = put(0, &w);
	if (st == VMS_E_BUSY || st == VMS_E_TOO_OLD)
		return;
	if (st && bad++ < 5)
		fprintf(stderr, "write of kind %u: %s\n", w.kind, vms_err_name(st));
	for (unsigned c = ch; !st && c < ch + w.count; c++)
		for (unsigned s = 0; s < 8; s++)
			if (w.mask >> s & 1)
				v->c.d[ext][c][s] = val;
}

static void model_up(uint64_t seed, unsigned ack)
{
	R.gen_bytes = 256 << 10;
	R.container_bytes = 1 << 20;
	bad = corrupt = 0;
	crash.nodes = 0;
	up(1, seed, ack);
	memset(V, 0, sizeof(V));
	nview = 1;
	V[0] = (struct view){.branch = LIN, .gen = 1, .live = true};
}

static void model_down(void)
{
	CU_ASSERT_EQUAL(bad, 0);
	corrupt_check();
	CU_ASSERT_EQUAL(corrupt, 0);
	for (unsigned i = 0; i < R.nnodes; i++)
		CU_ASSERT_FALSE(R.node[i].fatal);
	VMS_VEC_FREE(&seen_addr);
	R.gen_bytes = 0;
	R.container_bytes = 0;
	rig_close(&R);
}

static void model_run(uint64_t seed, unsigned ack, unsigned rounds, unsigned crashes)
{
	uint64_t number = 20;

	model_up(seed, ack);
	for (unsigned i = 0; i < rounds && bad < 5; i++) {
		unsigned what = (unsigned)vms_rng_below(&R.rng, 1000);

		if (what < 18 && vms_rng_below(&R.rng, 1000) < crashes * 20)
			arm_crash(ack);
		if (what < 12 && nview < NVIEW - 4)
			take_snapshot(pick(true), ack);
		else if (what < 18 && nview < NVIEW && count(false) && count(true) < 8)
			take_clone(pick(false), number++, ack);
		else if (what < 100)
			check_extent(&V[vms_rng_below(&R.rng, nview)],
				     (uint32_t)vms_rng_below(&R.rng, NEXT));
		else if (what < 200)
			check_page(&V[vms_rng_below(&R.rng, nview)],
				   (uint32_t)vms_rng_below(&R.rng, NEXT));
		else
			change(pick(true), ack, vms_rng_below(&R.rng, 1000) < crashes);
		if (i % 400 == 399)
			rig_run(&R, vms_rng_below(&R.rng, 7000));
	}
	CU_ASSERT_TRUE(rig_wait_active(&R, 60000));
	check_everything();
	rig_run(&R, 12000);
	check_everything();
	model_down();
}

static void model_without_crashes(void)
{
	for (uint64_t s = 1; s <= 3; s++)
		model_run(200 + s, VMS_ACK_DISK, 4000, 0);
}

static void model_with_crashes(void)
{
	uint64_t first = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 300;
	unsigned seeds = getenv("SEEDS") ? (unsigned)atoi(getenv("SEEDS")) : 6;

	for (uint64_t s = 0; s < seeds; s++) {
		model_run(first + s, s % 3 == 2 ? VMS_ACK_MEMORY : VMS_ACK_DISK, 3000, 10);
		if (bad) {
			fprintf(stderr, "SEED=%llu\n", (unsigned long long)(first + s));
			break;
		}
	}
}

static const struct vms_test tests[] = {
	VMS_TEST(model_without_crashes),
	VMS_TEST(model_with_crashes),
};
VMS_TEST_MAIN("node snapshots: model", tests)
