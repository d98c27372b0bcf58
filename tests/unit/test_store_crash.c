// SPDX-License-Identifier: GPL-2.0-only
/*
 * Crash states of log, index pages and containers together.
 *
 * A small store of one partition writes chunks, drains generations into
 * containers and checkpoints, over a disk that knows which bytes are durable,
 * which have ended but are not synced, and which are in flight. At every
 * completion the machine "loses power" in several ways: none, all, or any part
 * of what is not durable has reached the disk, each write whole or torn at a
 * logical block. The store is opened on what is left, and has to hold exactly
 * the state after some seq S: nothing acknowledged is missing (S >= acknowledged),
 * nothing is torn, nothing comes from anywhere else. Some of the survivors go on
 * working and crash again.
 */
#include "backend/ctr.h"
#include "backend/pages.h"
#include "backend/wal.h"
#include "tests/unit/cunit.h"
#include "tests/unit/mem_disk.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/rng.h"

#define RING	(512u << 10)
#define NCHUNKS 200u
#define SEQ_MAX 6000u
#define BRANCH	7u

/* ---- the disk ---- */

struct dirty {
	bool log, sync; /* log or container; LOG: with sync */
	uint64_t ctr, off, len;
	uint8_t *data;
};

struct tdisk {
	struct mem_disk live;		/* what reads see: all that has ended */
	struct mem_disk durable;	/* what a power loss leaves for sure */
	VMS_VEC(struct dirty) unsynced; /* ended, in order */
	struct vms_disk_ops ops;
	struct vms_disk disk;
};

static void image_free(struct mem_disk *m)
{
	mem_disk_free(m);
}

static void image_clone(struct mem_disk *to, const struct mem_disk *from)
{
	mem_disk_init(to, from->log_bytes);
	memcpy(to->log, from->log, from->log_bytes);
	for (size_t i = 0; i < from->kv.n; i++) {
		struct mem_kv kv = from->kv.d[i];

		kv.val = malloc(kv.val_bytes + 1);
		memcpy(kv.val, from->kv.d[i].val, kv.val_bytes);
		VMS_VEC_PUSH(&to->kv, kv);
	}
	for (size_t i = 0; i < from->file.n; i++) {
		struct mem_file f = from->file.d[i];

		f.data = malloc(f.size_bytes + 1);
		f.room_bytes = f.size_bytes;
		memcpy(f.data, from->file.d[i].data, f.size_bytes);
		VMS_VEC_PUSH(&to->file, f);
	}
}

static void image_write(struct mem_disk *m, const struct dirty *w, uint64_t from, uint64_t len)
{
	struct mem_file *f;

	if (w->log) {
		memcpy(m->log + w->off + from, w->data + from, len);
		return;
	}
	f = mem_file_get(m, w->ctr, true);
	if (w->off + from + len > f->size_bytes) {
		f->data = realloc(f->data, w->off + from + len);
		memset(f->data + f->size_bytes, 0, w->off + from + len - f->size_bytes);
		f->size_bytes = f->room_bytes = w->off + from + len;
	}
	memcpy(f->data + w->off + from, w->data + from, len);
}

static struct dirty dirty_of(const struct mem_op *op)
{
	struct dirty w = {.log = op->kind == MEM_LOG,
			  .sync = op->sync,
			  .ctr = op->ctr,
			  .off = op->off,
			  .len = op->len};
	uint64_t at = 0;

	if (!w.log)
		for (unsigned i = 0; i < op->niov; i++)
			w.len += op->iov[i].len;
	w.data = malloc(w.len);
	if (w.log)
		memcpy(w.data, op->buf, w.len);
	else
		for (unsigned i = 0; i < op->niov; at += op->iov[i].len, i++)
			memcpy(w.data + at, op->iov[i].base, op->iov[i].len);
	return w;
}

static void make_durable(struct tdisk *t, bool log)
{
	size_t keep = 0;

	for (size_t i = 0; i < t->unsynced.n; i++) {
		struct dirty w = t->unsynced.d[i];

		if (w.log == log) {
			image_write(&t->durable, &w, 0, w.len);
			free(w.data);
		} else {
			t->unsynced.d[keep++] = w;
		}
	}
	t->unsynced.n = keep;
}

static bool tdisk_pop(struct tdisk *t, struct vms_disk_event *ev)
{
	struct mem_op op;

	if (!t->live.op.n)
		return false;
	op = t->live.op.d[0];
	if (op.kind == MEM_LOG || op.kind == MEM_CTR)
		VMS_VEC_PUSH(&t->unsynced, dirty_of(&op));
	if (op.kind == MEM_SYNC)
		make_durable(t, op.ctr == 1); /* see t_log_sync */
	if (op.kind == MEM_LOG && op.sync)
		make_durable(t, true);
	if (op.kind == MEM_COMMIT)
		mem_apply(&t->durable, op.batch);
	return mem_disk_pop(&t->live, ev);
}

static void t_log_sync(void *ctx, uint64_t token)
{
	struct mem_disk *m = ctx;

	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_SYNC, .token = token, .ctr = 1}));
}

static void tdisk_init(struct tdisk *t)
{
	memset(t, 0, sizeof(*t));
	mem_disk_init(&t->live, RING + 8192);
	mem_disk_init(&t->durable, RING + 8192);
	t->ops = *t->live.disk.ops;
	t->ops.log_sync = t_log_sync;
	t->disk = (struct vms_disk){&t->ops, &t->live};
}

static void tdisk_free(struct tdisk *t)
{
	VMS_VEC_FOREACH (&t->unsynced, w)
		free(w->data);
	VMS_VEC_FREE(&t->unsynced);
	image_free(&t->live);
	image_free(&t->durable);
}

/* What the disk holds after a power loss: how 0 nothing but what is durable, 1
 * also everything else, 2 each write or not, 3 each write, a part of it, or not. */
static void tdisk_crash(const struct tdisk *t, unsigned how, struct vms_rng *rng, struct tdisk *out)
{
	struct vms_meta_batch none = {0};
	VMS_VEC(struct dirty) all = VMS_VEC_INIT;
	const struct vms_meta_batch *commit = &none;
	size_t owned;

	memset(out, 0, sizeof(*out));
	image_clone(&out->durable, &t->durable);
	for (size_t i = 0; i < t->unsynced.n; i++)
		VMS_VEC_PUSH(&all, t->unsynced.d[i]);
	owned = all.n;
	for (size_t i = 0; i < t->live.op.n; i++) {
		const struct mem_op *op = &t->live.op.d[i];

		if (op->kind == MEM_LOG || op->kind == MEM_CTR)
			VMS_VEC_PUSH(&all, dirty_of(op));
		else if (op->kind == MEM_COMMIT)
			commit = op->batch;
	}
	for (size_t i = 0; i < all.n; i++) {
		const struct dirty *w = &all.d[i];
		uint64_t a = 0, b = w->len;

		if (how == 0 || (how >= 2 && vms_rng_below(rng, 2)))
			continue;
		if (how == 3 && vms_rng_below(rng, 2)) {
			a = vms_rng_below(rng, w->len / 512 + 1) * 512;
			b = vms_rng_below(rng, w->len / 512 + 1) * 512;
			if (a > b) { /* the middle is missing */
				image_write(&out->durable, w, 0, b);
				b = w->len;
			}
		}
		image_write(&out->durable, w, a, b - a);
	}
	/* a commit in flight is atomic, and stands only if what it needs was synced
	 * before: the store waits for that */
	if (how == 1 || (how >= 2 && vms_rng_below(rng, 2)))
		mem_apply(&out->durable, commit);
	for (size_t i = owned; i < all.n; i++)
		free(all.d[i].data);
	VMS_VEC_FREE(&all);
	image_clone(&out->live, &out->durable);
	out->ops = *out->live.disk.ops;
	out->ops.log_sync = t_log_sync;
	out->disk = (struct vms_disk){&out->ops, &out->live};
}

/* ---- the store ---- */

struct truth { /* what each seq wrote in this history */
	uint16_t chunk[SEQ_MAX];
	uint8_t life[SEQ_MAX]; /* 0: not a write */
};

struct store {
	struct tdisk *t;
	struct vms_wal *w;
	struct vms_pages *ps;
	struct truth *truth;
	uint8_t life;
	uint64_t seq;	/* last one appended */
	uint64_t acked; /* all up to here are durable */
	uint64_t end_pos[SEQ_MAX];
	uint64_t data_pos[SEQ_MAX]; /* of the record that holds seq's data; 0: not in the log */
	uint64_t overlay[NCHUNKS];  /* newest seq not drained; 0: none */
	uint64_t ctr_next;
	uint32_t seg_next;
	VMS_VEC(uint64_t) rewrite; /* replay: segments to be written again */
	unsigned wrong;
	const char *what;
};

#define WRONG(s, text)                                                                             \
	do {                                                                                       \
		(s)->wrong++;                                                                      \
		(s)->what = text;                                                                  \
	} while (0)

static void fill(uint8_t *p, uint64_t seq, uint8_t life)
{
	for (unsigned i = 0; i < VMS_CHUNK_BYTES; i += 16) {
		vms_put_le64(p + i, seq);
		vms_put_le64(p + i + 8, (uint64_t)life << 32 | i);
	}
}

static struct vms_page_key page_key(unsigned chunk)
{
	return (struct vms_page_key){1, BRANCH, chunk / VMS_SUBEXT_CHUNKS, 1};
}

/* Segment k of container c from the log: the moves of one DRAIN record. */
static void segment_write(struct store *s, const struct vms_move *m, unsigned n, uint64_t seq)
{
	static uint8_t block[65 * VMS_CHUNK_BYTES];
	static struct vms_seg seg;
	struct vms_iov iov = {block, (n + 1) * VMS_CHUNK_BYTES};
	uint32_t first = vms_addr_offset_bytes(m[0].to);

	memset(&seg, 0, sizeof(seg));
	seg.ctr = vms_addr_container(m[0].to);
	seg.offset_bytes = vms_seg_header_offset(first);
	seg.n = n;
	seg.seq = seq;
	for (unsigned i = 0; i < n; i++) {
		uint64_t pos = s->data_pos[m[i].from_seq];
		struct vms_rec r;

		if (!pos || vms_rec_decode(vms_wal_ptr(s->w, pos), 8192, &r, true) < 0 ||
		    r.seq != m[i].from_seq) {
			WRONG(s, "a drain names data that is not in the log");
			return;
		}
		memcpy(block + (i + 1) * VMS_CHUNK_BYTES, r.payload, VMS_CHUNK_BYTES);
		seg.e[i] = (struct vms_seg_entry){.addr = m[i].to, .crc = m[i].crc, .valid = 0xff};
	}
	vms_seg_encode(block, &seg);
	s->t->ops.ctr_write(&s->t->live, seg.ctr, seg.offset_bytes, &iov, 1, 1);
	/* the disk takes its copy when the op ends; nothing runs in between here */
	struct mem_op *op = &VMS_VEC_LAST(&s->t->live.op);
	static struct vms_iov keep[16];
	static uint8_t *copies[16];
	static unsigned at;

	at = (at + 1) % 16;
	free(copies[at]);
	copies[at] = malloc(iov.len);
	memcpy(copies[at], block, iov.len);
	keep[at] = (struct vms_iov){copies[at], iov.len};
	op->iov = &keep[at];
}

/* Pages and overlay for one drain record: 1 when the pages had it already. */
static int drain_apply(struct store *s, const struct vms_move *m, unsigned n, uint64_t seq)
{
	int skipped = 0;

	for (unsigned from = 0; from < n;) {
		struct vms_page_key k = page_key(m[from].chunk);
		uint16_t index[64];
		vms_addr to[64];
		unsigned i = 0;
		int rc;

		for (; from + i < n && page_key(m[from + i].chunk).subext == k.subext; i++) {
			index[i] = m[from + i].chunk % VMS_SUBEXT_CHUNKS;
			to[i] = m[from + i].to;
		}
		rc = vms_pages_apply(s->ps, &k, NULL, seq, index, to, i, NULL, NULL, NULL);
		if (rc < 0)
			WRONG(s, "pages_apply failed");
		skipped |= rc == 1;
		from += i;
	}
	for (unsigned i = 0; i < n; i++)
		if (s->overlay[m[i].chunk] == m[i].from_seq)
			s->overlay[m[i].chunk] = 0;
	return skipped;
}

static int on_replay(void *arg, const struct vms_rec *r, struct vms_rec_ref ref, uint64_t gen)
{
	struct vms_move m[64];
	struct vms_piece p;
	struct store *s = arg;

	if (s->seq && r->seq != s->seq + 1)
		WRONG(s, "replay is not contiguous");
	s->seq = r->seq;
	if (r->seq >= SEQ_MAX)
		return VMS_E_FULL;
	s->end_pos[r->seq] = ref.log_pos + ref.bytes;
	if (r->type == VMS_REC_WRITE) {
		if (vms_rec_pieces_decode(r, &p, 1) != 1) {
			WRONG(s, "pieces of a replayed record");
			return 0;
		}
		s->overlay[p.chunk] = r->seq;
		s->data_pos[r->seq] = ref.log_pos;
		return 0;
	}
	int n = vms_rec_moves_decode(r, m, 64);
	if (n < 1) {
		WRONG(s, "moves of a replayed record");
		return 0;
	}
	if (vms_addr_container(m[0].to) >= s->ctr_next)
		s->ctr_next = vms_addr_container(m[0].to) + 1;
	if (!drain_apply(s, m, (unsigned)n, r->seq))
		VMS_VEC_PUSH(&s->rewrite, ref.log_pos);
	return 0;
}

static int store_open(struct store *s, struct tdisk *t, struct truth *truth, uint8_t life)
{
	struct vms_wal_conf conf = {.node_id = 1, .gen_bytes_max = RING / 4};
	struct vms_wal_tail tail = {0};
	struct vms_disk_event ev;
	struct vms_errmsg msg = {"-"};
	uint8_t val[24];
	int rc;

	memset(s, 0, sizeof(*s));
	s->t = t;
	s->truth = truth;
	s->life = life;
	s->ctr_next = 1;
	s->ps = vms_pages_new(&t->disk);
	if (vms_meta_get(&t->disk, "T", 1, val, sizeof(val)) == 24)
		tail = (struct vms_wal_tail){vms_get_le64(val), vms_get_le64(val + 8),
					     vms_get_le64(val + 16)};
	if (vms_meta_get(&t->disk, "P", 1, val, sizeof(val)) == 16) {
		s->ctr_next = vms_get_le64(val);
		s->seq = 0; /* the first record in the log tells */
	}
	rc = vms_wal_open(&s->w, &t->disk, &conf, &tail, on_replay, s, &msg);
	if (rc) {
		printf("[open: %s] ", msg.text);
		return rc;
	}
	if (!s->seq && vms_meta_get(&t->disk, "P", 1, val, sizeof(val)) == 16)
		s->seq = vms_get_le64(val + 8);
	s->acked = s->seq;
	VMS_VEC_FOREACH (&s->rewrite, pos) {
		struct vms_move m[64];
		struct vms_rec r;

		vms_rec_decode(vms_wal_ptr(s->w, *pos), 16384, &r, false);
		int n = vms_rec_moves_decode(&r, m, 64);
		segment_write(s, m, (unsigned)n, r.seq);
		while (tdisk_pop(t, &ev))
			;
	}
	return 0;
}

static void store_close(struct store *s)
{
	vms_wal_close(s->w);
	vms_pages_free(s->ps);
	VMS_VEC_FREE(&s->rewrite);
}

static const uint8_t *chunk_read(struct store *s, unsigned chunk, uint8_t *buf)
{
	static struct vms_seg seg;
	struct vms_page_key k = page_key(chunk);
	struct vms_page page;
	struct vms_rec r;
	vms_addr a;
	int rc;

	if (s->overlay[chunk]) {
		vms_rec_decode(vms_wal_ptr(s->w, s->data_pos[s->overlay[chunk]]), 8192, &r, true);
		return r.payload;
	}
	rc = vms_pages_lookup(s->ps, &k, &page);
	if (rc == VMS_E_NOENT || (!rc && page.entry[chunk % VMS_SUBEXT_CHUNKS] == 0))
		return NULL;
	if (rc) {
		WRONG(s, "page lookup failed");
		return NULL;
	}
	a = page.entry[chunk % VMS_SUBEXT_CHUNKS];
	uint32_t off = vms_addr_offset_bytes(a);
	if (mem_ctr_read_now(&s->t->live, vms_addr_container(a), vms_seg_header_offset(off), buf,
			     VMS_CHUNK_BYTES) ||
	    vms_seg_decode(buf, vms_addr_container(a), vms_seg_header_offset(off), &seg) ||
	    seg.e[vms_seg_index(off)].addr != a ||
	    mem_ctr_read_now(&s->t->live, vms_addr_container(a), off, buf, VMS_CHUNK_BYTES) ||
	    vms_crc32c(0, buf, VMS_CHUNK_BYTES) != seg.e[vms_seg_index(off)].crc) {
		WRONG(s, "a page names a chunk that is not there");
		return NULL;
	}
	return buf;
}

/* Every chunk is what the history up to s->seq makes it. */
static void store_check(struct store *s)
{
	static uint8_t buf[VMS_CHUNK_BYTES], want[VMS_CHUNK_BYTES];
	uint64_t newest[NCHUNKS] = {0};

	for (uint64_t q = 1; q <= s->seq; q++)
		if (s->truth->life[q])
			newest[s->truth->chunk[q]] = q;
	for (unsigned c = 0; c < NCHUNKS; c++) {
		const uint8_t *p = chunk_read(s, c, buf);

		if (!p != !newest[c]) {
			WRONG(s, p ? "a chunk came from nowhere" : "a chunk is missing");
			continue;
		}
		if (!p)
			continue;
		fill(want, newest[c], s->truth->life[newest[c]]);
		if (memcmp(p, want, sizeof(want)))
			WRONG(s, "a chunk has other content");
	}
}

/* ---- the work ---- */

static struct vms_rng rng;
static unsigned states, failures, depth2;

static void work(struct store *s, unsigned rounds, unsigned depth);

static void crash_here(struct store *s, unsigned depth)
{
	unsigned hows = depth ? 1 : 5;

	for (unsigned i = 0; i < hows; i++) {
		unsigned how = depth ? (unsigned)vms_rng_below(&rng, 4) : i < 4 ? i : 3;
		struct truth *truth = malloc(sizeof(*truth));
		struct store *again = malloc(sizeof(*again));
		struct tdisk t;

		memcpy(truth, s->truth, sizeof(*truth));
		tdisk_crash(s->t, how, &rng, &t);
		states++;
		if (store_open(again, &t, truth, (uint8_t)(s->life + 1))) {
			failures++;
		} else {
			if (again->seq < s->acked)
				WRONG(again, "an acknowledged record is missing");
			if (again->seq > s->seq)
				WRONG(again, "a record that was never made");
			store_check(again);
			if (!again->wrong && depth == 0 && vms_rng_below(&rng, 40) == 0) {
				depth2++;
				for (uint64_t q = again->seq + 1; q < SEQ_MAX; q++)
					truth->life[q] = 0;
				work(again, 25, 1);
				store_check(again);
			}
			if (again->wrong && failures++ < 5)
				printf("[seq %llu acked %llu how %u depth %u: %s] ",
				       (unsigned long long)s->seq, (unsigned long long)s->acked,
				       how, depth, again->what);
		}
		if (again->w || again->ps)
			store_close(again);
		tdisk_free(&t);
		free(truth);
		free(again);
	}
}

/* End one op; the store learns what has become durable. */
static bool step(struct store *s, unsigned depth)
{
	struct vms_disk_event ev;

	if (s->t->live.op.n && (!depth || vms_rng_below(&rng, 8) == 0))
		crash_here(s, depth);
	if (!tdisk_pop(s->t, &ev))
		return false;
	vms_wal_event(s->w, &ev, 1000);
	while (s->acked < s->seq && s->end_pos[s->acked + 1] <= vms_wal_durable_pos(s->w))
		s->acked++;
	return true;
}

static int store_append(struct store *s, struct vms_rec *r, const struct vms_iov *iov, unsigned n,
			bool internal, struct vms_rec_ref *ref)
{
	int rc;

	if (s->seq + 2 >= SEQ_MAX)
		return VMS_E_FULL;
	r->partition = 1;
	r->branch = BRANCH;
	r->seq = s->seq + 1;
	rc = vms_wal_append(s->w, r, iov, n, internal, ref);
	if (rc)
		return rc;
	s->seq++;
	s->end_pos[s->seq] = ref->log_pos + ref->bytes;
	s->truth->life[s->seq] = 0;
	s->data_pos[s->seq] = 0;
	return 0;
}

static void write_some(struct store *s)
{
	static uint8_t data[VMS_CHUNK_BYTES];

	for (unsigned n = 1 + (unsigned)vms_rng_below(&rng, 3); n; n--) {
		struct vms_piece p = {
			.chunk = (uint16_t)vms_rng_below(&rng, NCHUNKS), .count = 1, .mask = 0xff};
		struct vms_iov iov = {data, sizeof(data)};
		uint8_t meta[20];
		struct vms_rec r = {.type = VMS_REC_WRITE,
				    .meta = meta,
				    .meta_bytes = 20,
				    .payload_bytes = sizeof(data)};
		struct vms_rec_ref ref;

		fill(data, s->seq + 1, s->life);
		p.crc = vms_crc32c(0, data, sizeof(data));
		vms_rec_pieces_encode(meta, &p, 1);
		if (store_append(s, &r, &iov, 1, false, &ref))
			return; /* full: the next drain makes room */
		s->truth->life[s->seq] = s->life;
		s->truth->chunk[s->seq] = p.chunk;
		s->data_pos[s->seq] = ref.log_pos;
		s->overlay[p.chunk] = s->seq;
	}
}

static void settle(struct store *s, unsigned depth)
{
	while (step(s, depth))
		if (vms_rng_below(&rng, 4) == 0) {
			write_some(s);
			vms_wal_submit(s->w, vms_rng_below(&rng, 3) > 0, 1000);
		}
}

static void checkpoint(struct store *s, unsigned depth)
{
	struct vms_meta_batch b = {0};
	struct vms_wal_tail tail;
	uint64_t gen;
	uint8_t val[24];

	vms_wal_gen_seal(s->w);
	gen = vms_wal_gen_open(s->w) - 1;
	if (gen < vms_wal_gen_oldest(s->w))
		return;
	vms_wal_submit(s->w, true, 1000);
	settle(s, depth);
	for (unsigned c = 0; c < NCHUNKS;) {
		struct vms_move m[64];
		uint8_t meta[8 + 64 * VMS_MOVE_BYTES];
		struct vms_rec r = {.type = VMS_REC_DRAIN, .meta = meta};
		struct vms_rec_ref ref;
		unsigned n = 0;

		for (; c < NCHUNKS && n < 40; c++) {
			uint64_t q = s->overlay[c];

			if (!q || vms_wal_pos_gen(s->w, s->data_pos[q]) > gen)
				continue;
			m[n] = (struct vms_move){
				.branch = BRANCH,
				.snap_gen = 1,
				.chunk = (uint16_t)c,
				.valid = 0xff,
				.from_seq = q,
				.to = vms_addr_make(s->ctr_next, (uint32_t)vms_seg_chunk_offset(
									 s->seg_next, n))};
			struct vms_rec w;
			vms_rec_decode(vms_wal_ptr(s->w, s->data_pos[q]), 8192, &w, true);
			m[n++].crc = vms_crc32c(0, w.payload, VMS_CHUNK_BYTES);
		}
		if (!n)
			break;
		s->seg_next++;
		vms_rec_moves_encode(meta, m, n);
		r.meta_bytes = vms_rec_moves_bytes(n);
		if (store_append(s, &r, NULL, 0, true, &ref)) {
			WRONG(s, "no room for a drain record");
			return;
		}
		segment_write(s, m, n, s->seq);
		drain_apply(s, m, n, s->seq);
		vms_wal_submit(s->w, true, 1000);
		settle(s, depth);
	}
	s->ctr_next++;
	s->seg_next = 0;
	/* containers before the commit that refers to them */
	s->t->ops.ctr_sync(&s->t->live, 2);
	settle(s, depth);
	/* pages of the drains must not be committed before those are durable */
	vms_wal_submit(s->w, true, 1000);
	settle(s, depth);
	if (vms_pages_freeze(s->ps, &b))
		WRONG(s, "freeze failed");
	tail = vms_wal_tail_after(s->w, gen);
	vms_put_le64(val, tail.log_pos);
	vms_put_le64(val + 8, tail.frame_seq);
	vms_put_le64(val + 16, tail.generation);
	vms_meta_batch_put(&b, "T", 1, val, 24);
	vms_put_le64(val, s->ctr_next);
	vms_put_le64(val + 8, s->seq);
	vms_meta_batch_put(&b, "P", 1, val, 16);
	s->t->ops.meta_commit(&s->t->live, &b, 3);
	settle(s, depth);
	vms_pages_thaw(s->ps);
	vms_wal_gen_free(s->w, gen);
	vms_meta_batch_free(&b);
}

static void work(struct store *s, unsigned rounds, unsigned depth)
{
	for (unsigned i = 0; i < rounds; i++) {
		write_some(s);
		vms_wal_submit(s->w, vms_rng_below(&rng, 3) > 0, 1000);
		if (vms_rng_below(&rng, 2))
			step(s, depth);
		if (vms_rng_below(&rng, 25) == 0)
			checkpoint(s, depth);
		if (vms_wal_room_bytes(s->w) < RING / 4)
			checkpoint(s, depth);
	}
	vms_wal_submit(s->w, true, 1000);
	settle(s, depth);
}

static void crash_at_every_completion(void)
{
	struct vms_wal_conf conf = {.node_id = 1};

	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct truth *truth = calloc(1, sizeof(*truth));
		struct store *s = malloc(sizeof(*s));
		struct tdisk t;

		vms_rng_init(&rng, seed);
		tdisk_init(&t);
		CU_ASSERT_EQUAL_FATAL(vms_wal_format(&t.disk, &conf), 0);
		memcpy(t.durable.log, t.live.log, t.live.log_bytes);
		CU_ASSERT_EQUAL_FATAL(store_open(s, &t, truth, 1), 0);
		work(s, 120, 0);
		store_check(s);
		CU_ASSERT_EQUAL(s->wrong, 0);
		if (s->wrong)
			printf("[%s] ", s->what);
		CU_ASSERT_TRUE(vms_wal_gen_oldest(s->w) > 2);
		store_close(s);
		tdisk_free(&t);
		free(truth);
		free(s);
	}
	printf("[%u states, %u went on] ", states, depth2);
	CU_ASSERT_EQUAL(failures, 0);
	CU_ASSERT_TRUE(states > 3000);
	CU_ASSERT_TRUE(depth2 > 20);
}

static const struct vms_test tests[] = {
	VMS_TEST(crash_at_every_completion),
};
VMS_TEST_MAIN("store_crash", tests)
