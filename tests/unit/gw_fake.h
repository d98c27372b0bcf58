/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A world for the gateway core: a catalog in a table whose callbacks wait for
 * pump(), and storage nodes that speak the wire structs, keep chunks in memory and
 * can be told to misbehave. One partition, led by node 1, replicas 1 and 2; node 3 is
 * there for who wants it.
 */
#ifndef VMS_TESTS_GW_FAKE_H
#define VMS_TESTS_GW_FAKE_H

#include <stdlib.h>
#include <string.h>

#include "target/gateway.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"

#define F_NODES	  3
#define F_FIRST	  2u	/* nodes at the start */
#define F_CHUNKS  4096u /* of the volume: 16 MiB */
#define F_POS_MAX 8192u
#define F_BRANCH  1
#define F_CLONES  2 /* branches behind it, when told to be clones */

#define DISK   VMS_ACK_DISK
#define MEMORY VMS_ACK_MEMORY

/* ---- catalog ---- */

struct f_kv {
	char key[VMS_CAT_KEY_BYTES_MAX];
	char *val; /* NULL: deleted */
	uint64_t rev;
};
struct f_call {
	vms_cat_done_fn fn;
	void *arg;
	int status;
	char key[VMS_CAT_KEY_BYTES_MAX];
	bool range, event;
	uint64_t rev;
};
struct f_watch {
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	vms_cat_done_fn fn;
	void *arg;
};

/* ---- nodes ---- */

struct f_msg {
	struct vms_msg m;
	struct vms_iov iov;
	uint32_t node;
	uint8_t bytes[]; /* body, payload */
};

struct fake {
	struct vms_catalog cat;
	struct f_kv kv[64];
	unsigned nkv;
	uint64_t rev;
	struct f_call call[256];
	unsigned ncall;
	struct f_watch watch[32];
	unsigned nwatch;
	bool quiet;	 /* watches tell nothing */
	bool watch_full; /* and are refused */
	unsigned ngets;
	bool cat_down;	     /* calls end with VMS_E_TIMEOUT, events wait in late[] */
	bool cat_mute;	     /* transactions are done, and end with VMS_E_TIMEOUT */
	uint64_t branch_rev; /* branches are read as of then; 0: as of now */
	struct f_call late[64];
	unsigned nlate;

	struct vms_gw *gw;
	struct vms_gw_vol *vol;
	struct vms_gw_update up;
	uint64_t now;
	struct f_msg *q[1024]; /* from the gateway, not handled yet */
	unsigned nq;
	bool connected[F_NODES + 1], reachable[F_NODES + 1], want[F_NODES + 1];
	bool mute[F_NODES + 1];	       /* stands still: gives neither ticks nor answers */
	char address[F_NODES + 1][64]; /* connected to last */
	uint32_t primary;
	uint64_t epoch; /* of the partition, as the nodes know it */
	uint64_t incarnation[F_NODES + 1], tick[F_NODES + 1];
	unsigned drops, opened, open_status, fatals, changes;
	char warned[400]; /* last thing it had to say */
	struct vms_gw_cmd *ended[64];
	unsigned nended;

	/* the store: node 1's truth */
	vms_addr map[F_CHUNKS];
	vms_addr snap[F_CHUNKS]; /* what reads under snap_gen get */
	uint64_t snap_gen;	 /* 0: there is no snapshot */
	uint8_t *data[F_POS_MAX];
	uint64_t pos, seq;
	bool drained;  /* what is written lies in a container at once */
	vms_addr gone; /* a copy of it is refused */
	unsigned n_copy;
	vms_addr fp[256]; /* chunk that a fingerprint of this byte, repeated, names */

	/* Branches F_BRANCH + 1… are clones of what `map` shows: their own chunks, and which
	 * sub-extents have such. */
	bool clones;
	vms_addr clone[F_CLONES][F_CHUNKS];
	uint8_t clone_own[F_CLONES][F_CHUNKS / VMS_EXTENT_CHUNKS];
	vms_addr *to; /* where f_store() writes; NULL: map */
	bool no_own, hold_own;
	unsigned n_own, own_asked; /* OWN requests, extents in them */

	/* behaviour */
	bool hold_writes, hold_pages, hold_lba, hold_cancel; /* frames stay in held[] */
	struct f_msg *held[64];
	unsigned nheld;
	int write_status;	 /* != 0: the next writes are refused so */
	unsigned write_ok_first; /* ... after so many were taken */
	int second_status;	 /* those of the second partition */
	bool write_ask;		 /* something newer is ordered wherever they wrote */
	/* writes with lower numbers are refused; tell_floor: and told the higher one */
	uint64_t floor_gen, floor_fence;
	bool tell_floor;
	int cancel_status;
	int flush_status;
	uint32_t flush_loss; /* told with the answers */
	bool hold_flush;
	bool corrupt_node1; /* READ_ADDR answers of node 1 are damaged */
	bool corrupt_lba;   /* READ_LBA answers */
	bool gone_once;
	bool lba_ask; /* READ_LBA answers name no address: the chunk is being written */
	/* what was seen */
	unsigned n_write, n_pages, n_addr, n_lba, n_flush, n_cancel, n_repair, n_inval_ok;
	uint32_t inval_gone; /* what the last answer to INVALIDATE said is left of nothing */
	struct vms_msg last_write, prev_write;
	uint32_t write_node, flush_node, repair_node; /* who got the last one */
	unsigned writes_at[F_NODES + 1];
	uint64_t read_gen; /* of the last GET_PAGES or READ_LBA */
	/* leases that nodes tell with their ticks */
	unsigned npeers;
	uint32_t peer[F_NODES], peer_ms[F_NODES];
	/* reservations: the last command that ended, the last table told; the latter's
	 * commands have to end first */
	struct vms_gw_pr_cmd *pr_ended;
	uint64_t pr_told;
	bool pr_wait;
	uint32_t live; /* gateway that the nodes have a session of, besides ours */
	unsigned n_floor, n_floor_gw;
	struct vms_msg last_floor;
	bool floor_again; /* FLOOR is answered AGAIN */
	/* told with ticks, when tell_space */
	bool tell_space, refusing[F_NODES + 1];
	uint32_t used_permille[F_NODES + 1];
};

static struct fake f;
/* Where the gateway runs; before f_gw_start(). */
static struct {
	const char *portal, *host, *boot;
} f_place = {"", "", ""};
static uint32_t f_second; /* before f_start(): leads a second partition; 0: there is none */

static inline uint32_t f_leader(uint32_t partition)
{
	return partition ? f_second : f.primary;
}

static inline struct f_kv *f_kv_find(const char *key)
{
	for (unsigned i = 0; i < f.nkv; i++)
		if (!strcmp(f.kv[i].key, key))
			return &f.kv[i];
	return NULL;
}
static inline void f_call_add(struct f_call c)
{
	if (f.cat_down && c.event) {
		vms_assert(f.nlate < 64);
		f.late[f.nlate++] = c;
		return;
	}
	if (f.cat_down || (f.cat_mute && c.key[0] == '\1'))
		c.status = VMS_E_TIMEOUT;
	vms_assert(f.ncall < 256);
	f.call[f.ncall++] = c;
}
static inline void f_put(const char *key, const char *val)
{
	struct f_kv *k = f_kv_find(key);

	if (!k) {
		vms_assert(f.nkv < 64);
		k = &f.kv[f.nkv++];
		snprintf(k->key, sizeof(k->key), "%s", key);
	}
	free(k->val);
	k->val = val ? strdup(val) : NULL;
	k->rev = ++f.rev;
	for (unsigned i = 0; i < f.nwatch; i++)
		if (f.watch[i].fn && !f.quiet &&
		    !strncmp(key, f.watch[i].prefix, strlen(f.watch[i].prefix))) {
			struct f_call c = {
				.fn = f.watch[i].fn, .arg = f.watch[i].arg, .event = true};

			snprintf(c.key, sizeof(c.key), "%s", key);
			f_call_add(c);
		}
}
static inline void f_put_free(const char *key, char *val)
{
	f_put(key, val);
	free(val);
}
static void f_get(struct vms_catalog *cat, const char *key, vms_cat_done_fn fn, void *arg)
{
	struct f_call c = {.fn = fn, .arg = arg};

	f.ngets++;
	snprintf(c.key, sizeof(c.key), "%s", key);
	f_call_add(c);
}
static void f_range(struct vms_catalog *cat, const char *prefix, const char *after,
		    vms_cat_done_fn fn, void *arg)
{
	struct f_call c = {.fn = fn, .arg = arg, .range = true};

	snprintf(c.key, sizeof(c.key), "%s", prefix);
	f_call_add(c);
}
static void f_txn(struct vms_catalog *cat, const struct vms_cat_cmp *cmp, unsigned ncmp,
		  const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn fn, void *arg)
{
	struct f_call c = {.fn = fn, .arg = arg};

	for (unsigned i = 0; i < ncmp; i++) {
		struct f_kv *k = f_kv_find(cmp[i].key);

		if ((k && k->val ? k->rev : 0) != cmp[i].mod_revision)
			c.status = VMS_E_CONFLICT;
	}
	for (unsigned i = 0; i < nop; i++) /* as etcd does */
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(op[i].key, op[j].key))
				c.status = VMS_E_INVAL;
	for (unsigned i = 0; i < nop && !c.status && !f.cat_down; i++) {
		f_put(op[i].key, op[i].val);
		if (i + 1 < nop)
			f.rev--;
	}
	c.rev = f.rev;
	c.key[0] = '\1';
	f_call_add(c);
}
static uint64_t f_watch(struct vms_catalog *cat, const char *prefix, uint64_t from,
			vms_cat_done_fn fn, void *arg)
{
	struct f_watch w = {.fn = fn, .arg = arg};

	if (f.watch_full) {
		struct f_call c = {.fn = fn, .arg = arg, .status = VMS_E_FULL, .event = true};

		c.key[0] = '\1';
		f_call_add(c);
		return 1000;
	}
	snprintf(w.prefix, sizeof(w.prefix), "%s", prefix);
	vms_assert(f.nwatch < 32);
	f.watch[f.nwatch++] = w;
	return f.nwatch;
}
static void f_unwatch(struct vms_catalog *cat, uint64_t id)
{
	if (id < 1000)
		f.watch[id - 1].fn = NULL;
}
static void f_forget(struct vms_catalog *cat, void *arg)
{
	for (unsigned i = 0; i < f.ncall; i++)
		if (f.call[i].arg == arg)
			f.call[i].fn = NULL;
	for (unsigned i = 0; i < f.nlate; i++)
		if (f.late[i].arg == arg)
			f.late[i].fn = NULL;
	for (unsigned i = 0; i < f.nwatch; i++)
		if (f.watch[i].arg == arg)
			f.watch[i].fn = NULL;
}
static const struct vms_catalog_ops f_ops = {.struct_bytes = sizeof(f_ops),
					     .get = f_get,
					     .range = f_range,
					     .txn = f_txn,
					     .watch = f_watch,
					     .unwatch = f_unwatch,
					     .forget = f_forget};

static inline void f_call_run(void)
{
	struct f_call c = f.call[0];
	struct vms_cat_kv kv[64];
	struct vms_cat_reply r = {.status = c.status, .revision = c.rev ? c.rev : f.rev, .kv = kv};

	if (f.branch_rev && !strncmp(c.key, "branch/", strlen("branch/")))
		r.revision = f.branch_rev;
	memmove(f.call, f.call + 1, --f.ncall * sizeof(c));
	if (!c.fn)
		return;
	for (unsigned i = 0; i < f.nkv && c.key[0] != '\1' && !c.status; i++) {
		struct f_kv *k = &f.kv[i];

		if (c.range ? strncmp(k->key, c.key, strlen(c.key)) : strcmp(k->key, c.key))
			continue;
		if (!c.event && (!k->val || k->rev > r.revision))
			continue;
		kv[r.nkv++] = (struct vms_cat_kv){.key = k->key,
						  .val = k->val,
						  .val_bytes = k->val ? strlen(k->val) : 0,
						  .mod_revision = k->rev};
	}
	c.fn(c.arg, &r);
}

static inline void f_cat_up(void)
{
	f.cat_down = false;
	for (unsigned i = 0; i < f.nlate; i++)
		f_call_add(f.late[i]);
	f.nlate = 0;
}

/* ---- node side ---- */

static inline struct f_msg *f_copy(uint32_t node, const struct vms_msg *m)
{
	struct f_msg *c = malloc(sizeof(*c) + m->body_bytes + m->payload_bytes + 1);
	uint8_t *p;

	vms_assert(c);
	c->m = *m;
	c->node = node;
	p = c->bytes;
	if (m->body_bytes)
		memcpy(p, m->body, m->body_bytes);
	c->m.body = p;
	p += m->body_bytes;
	c->iov.base = p;
	c->iov.len = m->payload_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(p, m->payload[i].base, m->payload[i].len);
		p += m->payload[i].len;
	}
	c->m.payload = &c->iov;
	c->m.npayload = m->payload_bytes ? 1 : 0;
	return c;
}

static inline void f_event(enum vms_gw_event_type type, uint32_t node, const struct vms_msg *m)
{
	struct vms_gw_event ev = {.type = type, .now_ms = f.now, .node = node, .msg = m};

	vms_gw_step(f.gw, &ev);
}
static inline void f_reply(struct f_msg *q, int status, const void *body, uint32_t body_bytes,
			   const struct vms_iov *iov, unsigned niov, uint64_t sequence)
{
	struct vms_msg re;
	struct f_msg *c;

	vms_msg_reply_init(&re, &q->m, status);
	re.sender = q->node;
	re.incarnation = f.incarnation[q->node];
	re.epoch = f.epoch;
	if (q->m.type == VMS_MSG_FLUSH)
		re.aux = f.flush_loss;
	if (status == VMS_E_SNAP_GEN)
		re.snap_gen = q->m.snap_gen;
	re.sequence = sequence;
	re.body = body;
	re.body_bytes = body_bytes;
	re.payload = iov;
	re.npayload = niov;
	for (unsigned i = 0; i < niov; i++)
		re.payload_bytes += iov[i].len;
	c = f_copy(q->node, &re);
	if (f.connected[q->node])
		f_event(VMS_GEV_MSG, q->node, &c->m);
	free(c);
}

static inline const uint8_t *f_chunk(vms_addr a)
{
	static const uint8_t zero[VMS_CHUNK_BYTES];

	if (a <= VMS_ADDR_ASK)
		return zero;
	return f.data[vms_addr_is_log(a, 0) ? vms_addr_logpos(a, 0)
					    : vms_addr_offset_bytes(a) / VMS_CHUNK_BYTES];
}

/* A new version of a chunk; returns its address. */
static inline vms_addr f_store(uint32_t chunk, uint8_t mask, const uint8_t *src)
{
	uint8_t *d = malloc(VMS_CHUNK_BYTES);
	vms_addr *map = f.to ? f.to : f.map;

	vms_assert(f.pos < F_POS_MAX && chunk < F_CHUNKS);
	memcpy(d, f_chunk(map[chunk]), VMS_CHUNK_BYTES);
	for (unsigned s = 0; s < 8; s++) {
		if (!(mask >> s & 1))
			continue;
		if (src) {
			memcpy(d + s * 512, src, 512);
			src += 512;
		} else {
			memset(d + s * 512, 0, 512);
		}
	}
	f.data[f.pos] = d;
	map[chunk] = !src && mask == 0xff ? VMS_ADDR_HOLE
		     : f.drained	  ? vms_addr_make(5, (uint32_t)f.pos * VMS_CHUNK_BYTES)
					  : vms_logpos_addr(0, f.pos, 0);
	f.pos++;
	return map[chunk];
}

static inline bool f_is_clone(const struct f_msg *q)
{
	return f.clones && q->m.branch > F_BRANCH && q->m.branch <= F_BRANCH + F_CLONES;
}

/* Kind 5: all chunks are there, or nothing happens. */
static inline void f_write_ref(struct f_msg *q)
{
	uint32_t n = vms_get_le16(q->m.body + 2), chunk;
	const uint8_t *fp = q->iov.base;
	static uint8_t body[8 * VMS_EXTENT_CHUNKS];
	bool all = true;

	vms_assert(q->m.body_bytes == VMS_WRITE_BODY_BYTES(n) && q->iov.len == 32 * n);
	for (uint32_t i = 0; i < n; i++) {
		body[i] = f.fp[fp[32 * i]] != 0;
		all &= body[i];
	}
	if (!all) {
		f_reply(q, VMS_E_NOENT, body, n, NULL, 0, 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *pc = q->m.body + 8 + VMS_PIECE_BYTES * i;

		chunk = q->m.extent * VMS_EXTENT_CHUNKS + vms_get_le16(pc);
		vms_assert(pc[4] == VMS_MASK_FULL && vms_get_le16(pc + 2) == 1);
		f.map[chunk] = f.fp[fp[32 * i]];
		vms_assert(vms_get_le32(pc + 8) == vms_crc32c(0, f_chunk(f.map[chunk]), 4096));
		vms_put_le64(body + 8 * i, f.map[chunk]);
	}
	f_reply(q, 0, body, 8 * n, NULL, 0, ++f.seq);
}

/* Kind 6: the same by address. */
static inline void f_write_copy(struct f_msg *q)
{
	uint32_t n = vms_get_le16(q->m.body + 2);
	static uint8_t body[8 * VMS_EXTENT_CHUNKS];
	bool all = true;

	vms_assert(q->m.body_bytes == VMS_WRITE_BODY_BYTES(n) && q->iov.len == 8 * n);
	f.n_copy++;
	for (uint32_t i = 0; i < n; i++) {
		vms_addr a = vms_get_le64((const uint8_t *)q->iov.base + 8 * i);

		vms_assert(a > VMS_ADDR_LOST && !vms_addr_is_log(a, 0));
		body[i] = a != f.gone;
		all &= body[i];
	}
	if (!all) {
		f_reply(q, VMS_E_NOENT, body, n, NULL, 0, 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *pc = q->m.body + 8 + VMS_PIECE_BYTES * i;
		vms_addr a = vms_get_le64((const uint8_t *)q->iov.base + 8 * i);

		vms_put_le64(body + 8 * i,
			     f_store(q->m.extent * VMS_EXTENT_CHUNKS + vms_get_le16(pc),
				     VMS_MASK_FULL, f_chunk(a)));
	}
	f_reply(q, 0, body, 8 * n, NULL, 0, ++f.seq);
}

static inline void f_write(struct f_msg *q)
{
	static struct vms_piece pc[VMS_WRITE_PIECES_MAX];
	static uint8_t addrs[8 * VMS_WRITE_PIECES_MAX];
	uint8_t kind;
	const uint8_t *p = q->iov.base;
	int n;

	if (q->m.snap_gen < f.floor_gen || q->m.lun_fence < f.floor_fence) {
		bool gen = q->m.snap_gen < f.floor_gen;

		q->m.snap_gen = f.tell_floor ? f.floor_gen : 0;
		f_reply(q, gen ? VMS_E_SNAP_GEN : VMS_E_LUN_FENCE, NULL, 0, NULL, 0, 0);
		return;
	}
	if (q->m.partition && f.second_status) {
		f_reply(q, f.second_status, NULL, 0, NULL, 0, 0);
		return;
	}
	if (f.write_status && !f.write_ok_first) {
		f_reply(q, f.write_status, NULL, 0, NULL, 0, 0);
		return;
	}
	if (f.write_ok_first)
		f.write_ok_first--;
	if (q->m.body[0] == VMS_WRITE_REF) {
		f_write_ref(q);
		return;
	}
	if (q->m.body[0] == VMS_WRITE_COPY) {
		f_write_copy(q);
		return;
	}
	n = vms_write_body_decode(&q->m, &kind, pc);
	vms_assert(n > 0);
	if (kind == VMS_WRITE_CAW)
		p += q->iov.len / 2;
	if (f_is_clone(q)) {
		f.to = f.clone[q->m.branch - F_BRANCH - 1];
		for (int i = 0; i < n; i++)
			for (unsigned k = 0; k < pc[i].count; k++)
				f.clone_own[q->m.branch - F_BRANCH - 1][q->m.extent] |=
					(uint8_t)(1u << (pc[i].chunk + k) / VMS_SUBEXT_CHUNKS);
	}
	for (int i = 0; i < n; i++) {
		vms_addr a = 0;

		for (unsigned k = 0; k < pc[i].count; k++)
			a = f_store(q->m.extent * VMS_EXTENT_CHUNKS + pc[i].chunk + k, pc[i].mask,
				    kind == VMS_WRITE_ZERO ? NULL : p);
		if (kind != VMS_WRITE_ZERO) {
			uint32_t len = vms_mask_sectors(pc[i].mask) * 512;

			vms_assert(vms_crc32c(0, p, len) == pc[i].crc);
			p += len;
		}
		vms_put_le64(addrs + 8 * i, f.write_ask		     ? VMS_ADDR_ASK
					    : kind == VMS_WRITE_ZERO ? 0
								     : a);
	}
	f.to = NULL;
	f_reply(q, 0, addrs, 8 * (uint32_t)n, NULL, 0, ++f.seq);
}

static inline const vms_addr *f_map(const struct f_msg *q)
{
	if (f_is_clone(q))
		return f.clone[q->m.branch - F_BRANCH - 1];
	return f.snap_gen && q->m.snap_gen == f.snap_gen ? f.snap : f.map;
}

static inline void f_pages(struct f_msg *q, uint64_t version)
{
	static uint8_t body[4 + 8 * (12 + 1024) + 28];
	uint32_t at = 4, n = 0;
	bool shared = false;

	for (unsigned s = 0; s < 8; s++) {
		if (!(q->m.aux >> s & 1))
			continue;
		body[at] = (uint8_t)s;
		body[at + 1] = 0;
		if (f_is_clone(q) &&
		    !(f.clone_own[q->m.branch - F_BRANCH - 1][q->m.extent] >> s & 1)) {
			body[at + 1] = VMS_PAGE_SHARED;
			shared = true;
		}
		vms_put_le16(body + at + 2, 0);
		vms_put_le64(body + at + 4, version);
		for (unsigned k = 0; k < 128; k++)
			vms_put_le64(body + at + 12 + 8 * k,
				     f_map(q)[q->m.extent * 1024 + s * 128 + k]);
		at += 12 + 1024;
		n++;
	}
	vms_put_le32(body, n);
	if (shared) { /* of F_BRANCH as of 1 */
		vms_put_le32(body + at, 1);
		vms_put_le64(body + at + 4, F_BRANCH);
		vms_put_le64(body + at + 12, 1);
		vms_put_le64(body + at + 20, UINT64_MAX);
		at += 28;
	}
	f_reply(q, 0, body, at, NULL, 0, 0);
}

static inline void f_own(struct f_msg *q)
{
	uint32_t n = q->m.body_bytes / VMS_OWN_ASK_BYTES;
	static uint8_t body[VMS_OWN_MAX * VMS_OWN_REPLY_BYTES];

	vms_assert(f_is_clone(q) && n && n <= VMS_OWN_MAX);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *a = q->m.body + i * VMS_OWN_ASK_BYTES;
		bool other = vms_get_le64(a + 8) != f.epoch;

		vms_put_le16(body + 4 * i, (uint16_t)(int16_t)(other ? VMS_E_EPOCH : 0));
		body[4 * i + 2] = f.clone_own[q->m.branch - F_BRANCH - 1][vms_get_le32(a + 4)];
		body[4 * i + 3] = 0;
	}
	f_reply(q, 0, body, 4 * n, NULL, 0, 0);
}

static inline void f_read(struct f_msg *q, bool lba)
{
	uint32_t n = q->m.body_bytes / (lba ? 2 : 8), k = 0;
	uint8_t *body = malloc(16 * n), *copy = malloc((size_t)n * 4096);
	struct vms_iov iov = {copy, 0};

	for (uint32_t i = 0; i < n; i++) {
		vms_addr a = lba ? f_map(q)[q->m.extent * 1024 + vms_get_le16(q->m.body + 2 * i)]
				 : vms_get_le64(q->m.body + 8 * i);
		int st = 0;

		if (!lba && f.gone_once) {
			f.gone_once = false;
			st = VMS_E_GONE;
		}
		vms_put_le64(body + 16 * i, lba && f.lba_ask ? VMS_ADDR_ASK : a);
		vms_put_le32(body + 16 * i + 8, vms_crc32c(0, f_chunk(a), 4096));
		vms_put_le16(body + 16 * i + 12, (uint16_t)(int16_t)st);
		body[16 * i + 14] = 0xff;
		body[16 * i + 15] = 0;
		if (st || a == VMS_ADDR_HOLE)
			continue;
		memcpy(copy + 4096 * k, f_chunk(a), 4096);
		if ((!lba && f.corrupt_node1 && q->node == 1) || (lba && f.corrupt_lba))
			copy[4096 * k + 99] ^= 0x40;
		k++;
	}
	iov.len = k * 4096ull;
	f_reply(q, 0, body, 16 * n, &iov, k ? 1 : 0, 0);
	free(body);
	free(copy);
}

static inline void f_handle(struct f_msg *q)
{
	struct vms_msg *m = &q->m;

	if (m->flags & VMS_F_REPLY) {
		f.n_inval_ok += m->type == VMS_MSG_INVALIDATE;
		if (m->type == VMS_MSG_INVALIDATE)
			f.inval_gone = m->aux;
		return;
	}
	if ((m->type == VMS_MSG_WRITE || m->type == VMS_MSG_GET_PAGES ||
	     m->type == VMS_MSG_READ_LBA) &&
	    q->node != f_leader(m->partition)) {
		f_reply(q, VMS_E_NOT_PRIMARY, NULL, 0, NULL, 0, 0);
		return;
	}
	switch (m->type) {
	case VMS_MSG_HELLO:
	case VMS_MSG_OPEN:
		f_reply(q, 0, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_FLUSH:
		f.n_flush++;
		f.flush_node = q->node;
		f_reply(q, f.flush_status, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_GET_PAGES:
		f.read_gen = m->snap_gen;
		f.n_pages++;
		f_pages(q, f.seq);
		break;
	case VMS_MSG_OWN:
		f.n_own++;
		f.own_asked = q->m.body_bytes / VMS_OWN_ASK_BYTES;
		if (f.no_own)
			f_reply(q, VMS_E_UNSUPPORTED, NULL, 0, NULL, 0, 0);
		else
			f_own(q);
		break;
	case VMS_MSG_READ_ADDR:
		f.n_addr++;
		f_read(q, false);
		break;
	case VMS_MSG_READ_LBA:
		f.read_gen = m->snap_gen;
		f.n_lba++;
		f_read(q, true);
		break;
	case VMS_MSG_WRITE:
		f.n_write++;
		f.writes_at[q->node]++;
		f.prev_write = f.last_write;
		f.last_write = *m;
		f.write_node = q->node;
		f_write(q);
		break;
	case VMS_MSG_CANCEL:
		f.n_cancel++;
		f_reply(q, f.cancel_status, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_FLOOR:
		f.n_floor += m->branch != 0;
		f.n_floor_gw += m->branch == 0;
		f.last_floor = *m;
		f_reply(q, f.floor_again ? VMS_E_AGAIN : 0, NULL, 0, NULL, 0, 0);
		break;
	case VMS_MSG_ADMIN: {
		char text[64];

		snprintf(text, sizeof(text), "[{\"gateway\":%u,\"live\":true}]", f.live);
		f_reply(q, 0, text, (uint32_t)strlen(text), NULL, 0, 0);
		break;
	}
	case VMS_MSG_REPAIR:
		f.n_repair++;
		f.repair_node = q->node;
		break;
	default:
		vms_assert(0);
	}
}

static int f_send(void *ctx, uint32_t node, const struct vms_msg *m)
{
	if (!f.connected[node])
		return VMS_E_DISCONNECTED;
	vms_assert(f.nq < 1024);
	f.q[f.nq++] = f_copy(node, m);
	return 0;
}
static void f_connect(void *ctx, uint32_t node, const char *address)
{
	f.want[node] = true;
	snprintf(f.address[node], sizeof(f.address[node]), "%s", address);
}
static void f_disconnect(void *ctx, uint32_t node)
{
	f.connected[node] = false;
	f.want[node] = false;
}
static void f_complete(void *ctx, struct vms_gw_cmd *cmd)
{
	vms_assert(f.nended < 64);
	f.ended[f.nended++] = cmd;
}
static void f_dropped(void *ctx, const char *why)
{
	f.drops++;
}
static void f_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status, const char *text)
{
	f.opened++;
	f.open_status = (unsigned)-status;
}
static void f_changed(void *ctx, struct vms_gw_vol *vol)
{
	f.changes++;
}
static void f_pr_complete(void *ctx, struct vms_gw_pr_cmd *cmd)
{
	f.pr_ended = cmd;
}
static bool f_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *table)
{
	f.pr_told = table->fence;
	return !f.pr_wait;
}
static void f_deadline(void *ctx, uint64_t at)
{
}
static void f_fatal(void *ctx, int err, const char *text)
{
	f.fatals++;
}
static void f_log(void *ctx, int level, const char *text)
{
	if (level <= VMS_LOG_WARN)
		snprintf(f.warned, sizeof(f.warned), "%s", text);
}

static inline bool f_is_held(const struct f_msg *q)
{
	if (q->m.flags & VMS_F_REPLY)
		return false;
	if (f.mute[q->node])
		return true;
	return (f.hold_writes && q->m.type == VMS_MSG_WRITE) ||
	       (f.hold_flush && q->m.type == VMS_MSG_FLUSH) ||
	       (f.hold_pages && q->m.type == VMS_MSG_GET_PAGES) ||
	       (f.hold_lba && q->m.type == VMS_MSG_READ_LBA) ||
	       (f.hold_own && q->m.type == VMS_MSG_OWN) ||
	       (f.hold_cancel && q->m.type == VMS_MSG_CANCEL);
}

/* One loop turn: nodes, catalog and time make progress until nothing moves. */
static inline void f_pump(void)
{
	for (unsigned round = 0; round < 100; round++) {
		bool moved = false;

		for (uint32_t n = 1; n <= F_NODES; n++)
			if (f.want[n] && f.reachable[n] && !f.connected[n]) {
				f.want[n] = false;
				f.connected[n] = true;
				f_event(VMS_GEV_CONN_UP, n, NULL);
				moved = true;
			}
		while (f.ncall) {
			f_call_run();
			moved = true;
		}
		while (f.nq) {
			struct f_msg *q = f.q[0];

			memmove(f.q, f.q + 1, --f.nq * sizeof(q));
			moved = true;
			if (!f.connected[q->node]) {
				free(q);
			} else if (f_is_held(q)) {
				if (q->m.type == VMS_MSG_WRITE) {
					f.n_write++;
					f.prev_write = f.last_write;
					f.last_write = q->m;
					f.write_node = q->node;
				}
				if (q->m.type == VMS_MSG_FLUSH) {
					f.n_flush++;
					f.flush_node = q->node;
				}
				f.n_cancel += q->m.type == VMS_MSG_CANCEL;
				f.n_pages += q->m.type == VMS_MSG_GET_PAGES;
				vms_assert(f.nheld < 64);
				f.held[f.nheld++] = q;
			} else {
				f_handle(q);
				free(q);
			}
		}
		f_event(VMS_GEV_TIMER, 0, NULL);
		vms_gw_turn_begin(f.gw, f.now);
		vms_gw_turn_end(f.gw, f.now);
		if (!moved && !f.nq && !f.ncall)
			return;
	}
}

static inline void f_release(void)
{
	unsigned n = f.nheld;

	f.nheld = 0;
	for (unsigned i = 0; i < n; i++) {
		struct f_msg *q = f.held[i];

		if (f.connected[q->node]) {
			if (q->m.type == VMS_MSG_WRITE) {
				f_write(q);
			} else if (q->m.type == VMS_MSG_GET_PAGES) {
				f_pages(q, f.seq);
			} else {
				f_handle(q);
			}
		}
		free(q);
	}
	f_pump();
}

static inline void f_forget_held(void)
{
	for (unsigned i = 0; i < f.nheld; i++)
		free(f.held[i]);
	f.nheld = 0;
}

static inline void f_tick(uint32_t node)
{
	uint8_t body[15 + 8 * F_NODES] = {0}, *p = body + 10;
	struct vms_msg m = {.type = VMS_MSG_TICK,
			    .partition = VMS_PART_NONE,
			    .sender = node,
			    .req_id = 99,
			    .tick = ++f.tick[node],
			    .tick_incarnation = f.incarnation[node],
			    .incarnation = f.incarnation[node],
			    .body = body};

	vms_put_le64(body, f.now);
	vms_put_le16(body + 8, (uint16_t)f.npeers);
	for (unsigned i = 0; i < f.npeers; i++, p += 8) {
		vms_put_le32(p, f.peer[i]);
		vms_put_le32(p + 4, f.peer_ms[i]);
	}
	if (f.tell_space) {
		vms_put_le32(p, f.used_permille[node]);
		p[4] = f.refusing[node];
		p += 5;
	}
	m.body_bytes = (uint32_t)(p - body);
	if (f.connected[node] && !f.mute[node])
		f_event(VMS_GEV_MSG, node, &m);
}

/* Time passes, with a tick of every node each 250 ms. */
static inline void f_run(uint64_t ms)
{
	for (uint64_t end = f.now + ms; f.now < end;) {
		f.now += end - f.now < 250 ? end - f.now : 250;
		for (uint32_t n = 1; n <= F_NODES; n++)
			f_tick(n);
		f_pump();
	}
}

static inline void f_lose(uint32_t node)
{
	f.connected[node] = false;
	f_event(VMS_GEV_CONN_DOWN, node, NULL);
	f_pump();
}

/* The partition's next epoch: led by the first of the members (ids, ended by 0). */
static inline void f_set(uint64_t epoch, const uint32_t *member)
{
	struct vms_part_conf pc = {.epoch = epoch, .primary = member[0]};
	char key[VMS_CAT_KEY_BYTES_MAX];

	for (; member[pc.nmembers]; pc.nmembers++)
		pc.member[pc.nmembers] = (struct vms_member){member[pc.nmembers],
							     f.incarnation[member[pc.nmembers]]};
	f.primary = member[0];
	f.epoch = epoch;
	vms_cat_key_part(key, 0);
	f_put_free(key, vms_cat_part_encode(&pc));
}
static inline void f_part(uint64_t epoch)
{
	f_set(epoch, (uint32_t[]){1, 2, 0});
}
static inline void f_node(uint32_t id, const char *address)
{
	struct vms_cat_node node = {.id = id, .weight = 100, .incarnation = 1};
	char key[VMS_CAT_KEY_BYTES_MAX];

	snprintf(node.name, sizeof(node.name), "n%u", id);
	snprintf(node.address, sizeof(node.address), "%s", address);
	vms_cat_key_node(key, id);
	f_put_free(key, vms_cat_node_encode(&node));
}
/* Changes from now on are told by no watch; afterwards the watches end. */
static inline void f_watches(bool on)
{
	for (unsigned i = 0; i < f.nwatch; i++) {
		if (on && f.watch[i].fn)
			f_call_add((struct f_call){.fn = f.watch[i].fn,
						   .arg = f.watch[i].arg,
						   .status = VMS_E_GONE,
						   .event = true});
		if (on)
			f.watch[i].fn = NULL;
	}
	f.quiet = !on;
}

static inline void f_gw_start(uint32_t mutant)
{
	struct vms_gw_conf conf = {.timing = vms_timing_default(1),
				   .chunk_cache_bytes = 8u << 20,
				   .page_cache_bytes = 1u << 20,
				   .slots = 64,
				   .outstanding_bytes_max = 4u << 20,
				   .readahead_chunks = 16,
				   .thin_soft_percent = 80,
				   .seed = 1,
				   .mutant = mutant};

	snprintf(conf.name, sizeof(conf.name), "gw");
	snprintf(conf.portal, sizeof(conf.portal), "%s", f_place.portal);
	snprintf(conf.host, sizeof(conf.host), "%s", f_place.host);
	snprintf(conf.boot, sizeof(conf.boot), "%s", f_place.boot);
	f.up = (struct vms_gw_update){&f,	   f_send,    f_connect, f_disconnect,
				      f_complete,  f_dropped, f_opened,	 f_changed,
				      f_deadline,  f_fatal,   f_log,	 f_pr_complete,
				      f_pr_changed};
	vms_assert(vms_gw_new(&f.gw, &conf, &f.cat, &f.up, f.now) == 0);
	f_pump();
	f_run(500);
}

/* A cluster with one gateway that has volume "v" open. */
static inline void f_start(uint32_t mutant, uint8_t write_ack)
{
	struct vms_cat_cluster cl = {.part_bits = f_second ? 1 : 0,
				     .copies = 2,
				     .min_copies = 1,
				     .timing_factor = 1,
				     .next_branch = F_BRANCH,
				     .next_node = 3,
				     .next_gateway = 1};
	const char *env = getenv("VMS_GW_MUTANT"); /* would the test at hand find it? */

	if (env && !mutant)
		mutant = (uint32_t)atoi(env);
	memset(&f, 0, sizeof(f));
	f.cat.ops = &f_ops;
	f.npeers = 1; /* ticks name the other member of the set, F_FIRST */
	f.peer[0] = F_FIRST;
	f.peer_ms[0] = UINT32_MAX;
	f.now = 1000000;
	f.pos = 1;
	f.seq = 100;
	cl.uuid[0] = 7;
	f_put_free("cluster", vms_cat_cluster_encode(&cl));
	for (uint32_t n = 1; n <= F_NODES; n++) {
		char address[64];

		snprintf(address, sizeof(address), "host%u:1", n);
		if (n <= F_FIRST)
			f_node(n, address);
		f.reachable[n] = true;
		f.incarnation[n] = 1;
	}
	f_part(1);
	if (f_second) {
		struct vms_part_conf pc = {
			.epoch = 1, .primary = f_second, .nmembers = 1, .member = {{f_second, 1}}};
		char key[VMS_CAT_KEY_BYTES_MAX];

		vms_cat_key_part(key, 1);
		f_put_free(key, vms_cat_part_encode(&pc));
	}
	f_gw_start(mutant);
	vms_assert(vms_gw_vol_open(f.gw, "v", F_CHUNKS * 4096ull, write_ack, NULL, &f.vol, NULL) ==
		   0);
	f_pump();
	f_run(500);
}

static inline void f_stop(void)
{
	vms_gw_free(f.gw);
	f_forget_held();
	while (f.nq)
		free(f.q[--f.nq]);
	for (unsigned i = 0; i < f.nkv; i++)
		free(f.kv[i].val);
	for (unsigned i = 0; i < F_POS_MAX; i++)
		free(f.data[i]);
}

/* ---- commands ---- */

static struct vms_iov f_iov;

static inline struct vms_gw_cmd f_cmd(enum vms_gw_op op, uint64_t lba, uint32_t nblocks)
{
	return (struct vms_gw_cmd){.op = op,
				   .vol = f.vol,
				   .lba = lba,
				   .nblocks = nblocks,
				   .initiator_port = "iqn.a,i,0x1"};
}
static inline void f_data(struct vms_gw_cmd *c, struct vms_iov *iov, const void *p, size_t len)
{
	iov->base = p;
	iov->len = len;
	c->data = iov;
	c->ndata = 1;
	c->data_bytes = len;
}
static inline bool f_ended(const struct vms_gw_cmd *c)
{
	for (unsigned i = 0; i < f.nended; i++)
		if (f.ended[i] == c)
			return true;
	return false;
}
/* Runs it to its end and returns its status; 1: it is still pending. */
static inline int f_do(struct vms_gw_cmd *c)
{
	f.nended = 0;
	if (vms_gw_submit(f.gw, c) == VMS_GW_DONE)
		return c->status;
	f_pump();
	return f_ended(c) ? c->status : 1;
}
static inline int f_write_blocks(uint64_t lba, uint32_t n, uint8_t value)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_WRITE, lba, n);
	uint8_t *p = malloc(n * 512u);
	int rc;

	memset(p, value, n * 512u);
	f_data(&c, &f_iov, p, n * 512u);
	rc = f_do(&c);
	free(p);
	return rc;
}
/* The value all bytes have, or -1 when they differ, or the (negative) status - 1000. */
static inline int f_read_value(uint64_t lba, uint32_t n, bool *done)
{
	struct vms_gw_cmd c = f_cmd(VMS_GW_READ, lba, n);
	int rc, v = -2;

	f.nended = 0;
	rc = vms_gw_submit(f.gw, &c);
	if (done)
		*done = rc == VMS_GW_DONE;
	if (rc == VMS_GW_PENDING)
		f_pump();
	if (rc == VMS_GW_PENDING && !f_ended(&c)) {
		vms_gw_abort(f.gw, &c);
		f_pump();
		return -3000;
	}
	if (c.status)
		return c.status - 1000;
	for (unsigned i = 0; i < c.nriov; i++)
		for (size_t k = 0; k < c.riov[i].len; k++) {
			int b = ((const uint8_t *)c.riov[i].base)[k];

			v = v == -2 || v == b ? b : -1;
		}
	vms_gw_unpin(f.gw, &c);
	return v;
}
/* Snapshot NAME of volume "v" as it is now. */
static inline void f_snapshot(const char *name, uint8_t state)
{
	struct vms_cat_volume rec;
	struct vms_cat_snap s = {.state = state};
	char key[VMS_CAT_KEY_BYTES_MAX];
	struct f_kv *k = f_kv_find("volume/v");

	vms_assert(!vms_cat_volume_decode(&(struct vms_cat_kv){.key = k->key, .val = k->val}, &rec,
					  NULL));
	snprintf(s.volume, sizeof(s.volume), "v");
	snprintf(s.name, sizeof(s.name), "%s", name);
	s.id = rec.id;
	s.branch = rec.branch;
	s.snap_gen = f.snap_gen = rec.snap_gen++;
	s.size_bytes = rec.size_bytes;
	memset(s.uuid, 0x5a, sizeof(s.uuid));
	memcpy(f.snap, f.map, sizeof(f.snap));
	vms_assert(!vms_cat_key_snap(key, "v", name, NULL));
	f_put_free("volume/v", vms_cat_volume_encode(&rec));
	f_put_free(key, vms_cat_snap_encode(&s));
	f_pump();
}
/* Node 1 invalidates pages of the first extent: those in subs, or only what body names. */
static inline void f_invalidate(uint32_t extent, uint32_t subs, const void *body, uint32_t bytes)
{
	struct vms_msg m = {.type = VMS_MSG_INVALIDATE,
			    .req_id = 77,
			    .sender = f.primary,
			    .incarnation = f.incarnation[f.primary],
			    .epoch = f.epoch,
			    .branch = F_BRANCH,
			    .extent = extent,
			    .aux = subs,
			    .sequence = ++f.seq,
			    .body = body,
			    .body_bytes = bytes};

	if (f.connected[f.primary])
		f_event(VMS_GEV_MSG, f.primary, &m);
}
/* Another gateway writes: node 1 invalidates our pages first. */
static inline void f_other_writes(uint32_t chunk, uint8_t value)
{
	uint8_t p[4096];

	memset(p, value, sizeof(p));
	f_invalidate(chunk / 1024, 1u << (chunk % 1024 / 128), NULL, 0);
	f_store(chunk, 0xff, p);
	f_pump();
}
/* The same, naming the chunk. zero: it makes a hole of it. */
static inline void f_other_writes_one(uint32_t chunk, uint8_t value, bool zero)
{
	struct vms_inval_run run = {(uint16_t)(chunk % 1024), 1};
	uint8_t p[4096], body[VMS_INVAL_RUN_BYTES];

	memset(p, value, sizeof(p));
	vms_inval_encode(body, &run, 1);
	f_invalidate(chunk / 1024, 1u << (chunk % 1024 / 128), body, sizeof(body));
	f_store(chunk, 0xff, zero ? NULL : p);
	f_pump();
}

#endif
