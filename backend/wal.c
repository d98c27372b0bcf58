// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write-ahead log: frames in a ring, mirrored in memory. See wal.h and
 * doc/disk-format.md "Log".
 *
 * One write is in flight at a time; what is appended meanwhile gathers in the
 * next frame, so the group grows with the load. A frame is padded to 4096, thus
 * no byte is ever written twice and the buffer of a write in flight is never
 * touched again.
 *
 * What replay trusts:
 * - A frame names its predecessor's seq, and a restarted node continues above
 *   every seq that can be found in the ring. So neither bytes of an earlier lap
 *   nor those of a suffix that replay dropped can ever look like a successor.
 * - A frame carries the durable position at the time it was written. Damage at
 *   or beyond every such position was never acknowledged and is dropped as torn;
 *   damage below one is VMS_E_CORRUPT: never treat damaged as never written.
 *
 * Owner: the node thread. Keeps invariants 1, 27, 28.
 */
#include "backend/wal.h"

#include <stdlib.h>

#include "utils/lib/arena.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/vec.h"

#define SB_MAGIC	   0x3130474f4c534d56ull /* "VMSLOG01" */
#define SB_VERSION	   1
#define SB_BYTES	   4096u
#define RING_AT		   (2 * SB_BYTES)
#define FRAME_MAGIC	   0x46534d56u /* "VMSF" */
#define FRAME_HEADER_BYTES 80u
#define BLOCK		   4096u
#define FRAME_BYTES_MAX	   (8u << 20)
#define RING_BYTES_MIN	   (64u << 10)
#define READ_STEP	   (4u << 20)
#define GEN_AGE_MS	   600000u
#define COUNTER_MAX	   (1ull << 62)

struct frame {
	uint64_t pos;
	uint64_t seq, prev_seq, gen;
	uint32_t nrecords;
	uint32_t record_bytes;
	uint32_t crc; /* of the records so far */
};

struct gen {
	uint64_t gen;
	uint64_t start_pos;
	uint64_t prev_seq; /* of the last frame before it */
};

struct vms_wal {
	const struct vms_disk *disk; /* borrowed */
	uint8_t *ring;		     /* owned, 4096-aligned */
	uint64_t ring_bytes;
	uint64_t log_id;
	uint64_t gen_bytes_max, gen_age_ms, reserve_bytes;
	uint64_t split_bytes;		  /* of a generation; what is sealed may be several */
	uint64_t sealed_pos, unsealed_ms; /* of what is not sealed yet: begin, age from */
	uint32_t frame_bytes_max;

	bool open; /* `cur` holds records */
	struct frame cur;
	VMS_VEC(struct frame) closed; /* not written yet, oldest first */
	uint64_t next_pos;	      /* where the next frame may begin (4096-aligned) */
	uint64_t next_seq;
	uint64_t last_seq; /* of the last frame begun */

	VMS_VEC(struct gen) gens; /* oldest first; never empty */

	bool inflight;
	bool inflight_sync;
	uint64_t inflight_end;
	uint64_t token;
	bool wanted; /* submit was called while a write was in flight */

	uint64_t appended_pos; /* end of the last record */
	uint64_t written_pos;  /* end of the last ended frame write */
	uint64_t durable_pos;
	uint64_t sync_pos; /* all below is wanted durable */
	bool poisoned;
};

static uint64_t round_block(uint64_t n)
{
	return (n + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
}

static uint8_t *ring_at(const struct vms_wal *w, uint64_t pos)
{
	return w->ring + pos % w->ring_bytes;
}

static uint64_t tail_pos(const struct vms_wal *w)
{
	return w->gens.d[0].start_pos;
}

static uint64_t frame_end(const struct frame *f)
{
	return f->pos + round_block(FRAME_HEADER_BYTES + (uint64_t)f->record_bytes);
}

/* ---- superblock ---- */

struct superblock {
	uint8_t uuid[16];
	uint64_t node_id, ring_bytes, log_id;
};

static int sb_decode(const uint8_t *p, struct superblock *sb)
{
	if (vms_get_le64(p) != SB_MAGIC ||
	    vms_get_le32(p + SB_BYTES - 4) != vms_crc32c(0, p, SB_BYTES - 4))
		return VMS_E_CORRUPT;
	if (vms_get_le32(p + 8) != SB_VERSION || vms_get_le32(p + 16))
		return VMS_E_VERSION;
	memcpy(sb->uuid, p + 32, 16);
	sb->node_id = vms_get_le64(p + 48);
	sb->ring_bytes = vms_get_le64(p + 56);
	sb->log_id = vms_get_le64(p + 64);
	return 0;
}

int vms_wal_format(const struct vms_disk *disk, const struct vms_wal_conf *conf)
{
	uint64_t size = disk->ops->log_size_bytes(disk->ctx), id = conf->node_id;
	uint8_t *buf;
	int err;

	if (size < RING_AT + RING_BYTES_MIN)
		return VMS_E_INVAL;
	buf = aligned_alloc(BLOCK, RING_AT + BLOCK);
	if (!buf)
		return VMS_E_NOMEM;
	/* The id has to differ from that of any earlier log in this file, whose
	 * frames may still lie in the ring: mix in what is there. */
	err = disk->ops->log_read(disk->ctx, 0, buf, RING_AT + BLOCK);
	if (!err) {
		for (unsigned i = 0; i < RING_AT + BLOCK; i += 8)
			id = vms_mix64(id + vms_get_le64(buf + i) + 0x9e3779b97f4a7c15ull);
		for (unsigned i = 0; i < 16; i += 8)
			id = vms_mix64(id + vms_get_le64(conf->cluster_uuid + i) + 1);
		memset(buf, 0, RING_AT + BLOCK);
		vms_put_le64(buf, SB_MAGIC);
		vms_put_le32(buf + 8, SB_VERSION);
		memcpy(buf + 32, conf->cluster_uuid, 16);
		vms_put_le64(buf + 48, conf->node_id);
		vms_put_le64(buf + 56, (size - RING_AT) & ~(uint64_t)(BLOCK - 1));
		vms_put_le64(buf + 64, id | 1);
		vms_put_le32(buf + SB_BYTES - 4, vms_crc32c(0, buf, SB_BYTES - 4));
		memcpy(buf + SB_BYTES, buf, SB_BYTES);
		err = disk->ops->log_write_now(disk->ctx, 0, buf, RING_AT + BLOCK);
	}
	free(buf);
	return err;
}

static int sb_read(const struct vms_disk *disk, const struct vms_wal_conf *conf,
		   struct superblock *sb, struct vms_errmsg *msg)
{
	static const uint8_t none[16];
	uint64_t size = disk->ops->log_size_bytes(disk->ctx);
	uint8_t *buf;
	int err;

	if (size < RING_AT + RING_BYTES_MIN)
		return vms_fail(
			msg, VMS_E_CORRUPT,
			"log: file of %llu bytes is too short, it was never formatted or was cut",
			(unsigned long long)size);
	buf = aligned_alloc(BLOCK, RING_AT);
	if (!buf)
		return vms_fail(msg, VMS_E_NOMEM, "log: out of memory");
	err = disk->ops->log_read(disk->ctx, 0, buf, RING_AT);
	if (err) {
		free(buf);
		return vms_fail(msg, err, "log: superblock cannot be read: %s", vms_err_text(err));
	}
	err = sb_decode(buf, sb);
	if (err == VMS_E_CORRUPT)
		err = sb_decode(buf + SB_BYTES, sb);
	free(buf);
	if (err == VMS_E_VERSION)
		return vms_fail(msg, err,
				"log: written by a later release (unknown version or feature); use "
				"that release");
	if (err)
		return vms_fail(msg, err,
				"log: both superblock copies are damaged; restore this node from "
				"its peers");
	if (memcmp(sb->uuid, conf->cluster_uuid, 16) && memcmp(sb->uuid, none, 16) &&
	    memcmp(conf->cluster_uuid, none, 16))
		return vms_fail(msg, VMS_E_CORRUPT,
				"log: belongs to another cluster; check the data folder in the "
				"configuration");
	if (sb->node_id && conf->node_id && sb->node_id != conf->node_id)
		return vms_fail(msg, VMS_E_CORRUPT,
				"log: belongs to node %llu, this is node %llu; check the data "
				"folder in the configuration",
				(unsigned long long)sb->node_id, (unsigned long long)conf->node_id);
	if (sb->ring_bytes % BLOCK || sb->ring_bytes < RING_BYTES_MIN ||
	    sb->ring_bytes > size - RING_AT || !sb->log_id)
		return vms_fail(msg, VMS_E_CORRUPT,
				"log: formatted with a ring of %llu bytes, the file has %llu "
				"bytes: it was cut",
				(unsigned long long)sb->ring_bytes, (unsigned long long)size);
	return 0;
}

/* ---- frames ---- */

static void frame_encode(const struct vms_wal *w, const struct frame *f)
{
	uint8_t *p = ring_at(w, f->pos);
	uint32_t bytes = (uint32_t)(frame_end(f) - f->pos);

	vms_put_le32(p, FRAME_MAGIC);
	vms_put_le32(p + 4, bytes);
	vms_put_le64(p + 8, f->seq);
	vms_put_le64(p + 16, f->gen);
	vms_put_le64(p + 24, f->pos);
	vms_put_le64(p + 32, w->log_id);
	vms_put_le32(p + 40, f->nrecords);
	vms_put_le32(p + 44, f->record_bytes);
	vms_put_le64(p + 48, f->prev_seq);
	vms_put_le64(p + 56, w->durable_pos);
	vms_put_le32(p + 64, f->crc);
	vms_put_le32(p + 68, vms_crc32c(0, p, 68));
	vms_put_le64(p + 72, 0);
	memset(p + FRAME_HEADER_BYTES + f->record_bytes, 0,
	       bytes - FRAME_HEADER_BYTES - f->record_bytes);
}

/* Is there a frame header of this log in the ring at offset off? Its records
 * are not looked at. */
static bool header_decode(const struct vms_wal *w, uint64_t off, struct frame *f,
			  uint64_t *durable_pos)
{
	const uint8_t *p = w->ring + off;
	uint32_t bytes;

	if (vms_get_le32(p) != FRAME_MAGIC || vms_get_le64(p + 32) != w->log_id ||
	    vms_get_le32(p + 68) != vms_crc32c(0, p, 68))
		return false;
	bytes = vms_get_le32(p + 4);
	*f = (struct frame){.pos = vms_get_le64(p + 24),
			    .seq = vms_get_le64(p + 8),
			    .prev_seq = vms_get_le64(p + 48),
			    .gen = vms_get_le64(p + 16),
			    .nrecords = vms_get_le32(p + 40),
			    .record_bytes = vms_get_le32(p + 44),
			    .crc = vms_get_le32(p + 64)};
	*durable_pos = vms_get_le64(p + 56);
	/* counters that no log reaches are not ours: sums with them may overflow */
	return f->seq < COUNTER_MAX && f->pos < COUNTER_MAX && f->gen < COUNTER_MAX &&
	       f->pos % w->ring_bytes == off && bytes <= w->ring_bytes - off &&
	       f->record_bytes <= w->ring_bytes && frame_end(f) - f->pos == bytes;
}

/* The frame that follows prev_seq at pos, whole. */
static bool frame_at(const struct vms_wal *w, uint64_t pos, uint64_t prev_seq, struct frame *f)
{
	uint64_t durable;

	return header_decode(w, pos % w->ring_bytes, f, &durable) && f->pos == pos &&
	       f->prev_seq == prev_seq && f->seq > prev_seq &&
	       vms_crc32c(0, ring_at(w, pos) + FRAME_HEADER_BYTES, f->record_bytes) == f->crc;
}

static int replay_frame(struct vms_wal *w, const struct frame *f, vms_wal_replay_fn replay,
			void *arg, struct vms_errmsg *msg)
{
	uint64_t pos = f->pos + FRAME_HEADER_BYTES, end = pos + f->record_bytes;

	for (uint32_t i = 0; i < f->nrecords; i++) {
		struct vms_rec r;
		int64_t n = vms_rec_decode(ring_at(w, pos), end - pos, &r, false);
		int err;

		if (n < 0)
			return vms_fail(msg, VMS_E_CORRUPT,
					"log: record %u of the frame at position %llu is malformed",
					i, (unsigned long long)f->pos);
		err = replay ? replay(arg, &r, (struct vms_rec_ref){pos, (uint32_t)n}, f->gen) : 0;
		if (err)
			return err;
		pos += (uint64_t)n;
	}
	if (pos != end)
		return vms_fail(msg, VMS_E_CORRUPT,
				"log: frame at position %llu holds more than its records",
				(unsigned long long)f->pos);
	return 0;
}

static void gen_push(struct vms_wal *w, uint64_t gen, uint64_t start_pos)
{
	struct gen g = {gen, start_pos, w->last_seq};

	VMS_VEC_PUSH(&w->gens, g);
}

static int replay_all(struct vms_wal *w, const struct vms_wal_tail *tail, vms_wal_replay_fn replay,
		      void *arg, struct vms_errmsg *msg)
{
	uint64_t pos = tail->log_pos, max_seq = tail->frame_seq, durable;
	struct frame f;
	int err;

	w->last_seq = tail->frame_seq;
	gen_push(w, tail->generation ? tail->generation : 1, pos);
	for (;;) {
		uint64_t wrap = pos + (w->ring_bytes - pos % w->ring_bytes);

		if (!frame_at(w, pos, w->last_seq, &f) &&
		    (pos % w->ring_bytes == 0 || !frame_at(w, wrap, w->last_seq, &f)))
			break;
		/* more than a ring behind the tail would have overwritten it */
		if (frame_end(&f) - tail->log_pos > w->ring_bytes)
			break;
		if (f.gen > VMS_VEC_LAST(&w->gens).gen)
			gen_push(w, f.gen, f.pos);
		err = replay_frame(w, &f, replay, arg, msg);
		if (err)
			return err;
		w->last_seq = f.seq;
		pos = frame_end(&f);
	}
	/* What else of this log is in the ring? */
	for (uint64_t off = 0; off < w->ring_bytes; off += BLOCK) {
		if (!header_decode(w, off, &f, &durable))
			continue;
		if (f.seq > max_seq)
			max_seq = f.seq;
		if (f.seq > w->last_seq && durable > pos)
			return vms_fail(
				msg, VMS_E_CORRUPT,
				"log: damaged at position %llu, inside of what was acknowledged "
				"(up to %llu); this node must be restored from its peers",
				(unsigned long long)pos, (unsigned long long)durable);
	}
	w->next_pos = pos;
	w->next_seq = (max_seq > w->last_seq ? max_seq : w->last_seq) + 1;
	w->appended_pos = w->written_pos = w->durable_pos = w->sync_pos = pos;
	if (VMS_VEC_LAST(&w->gens).start_pos != pos)
		gen_push(w, VMS_VEC_LAST(&w->gens).gen + 1, pos);
	w->sealed_pos = VMS_VEC_LAST(&w->gens).start_pos;
	return 0;
}

int vms_wal_open(struct vms_wal **out, const struct vms_disk *disk, const struct vms_wal_conf *conf,
		 const struct vms_wal_tail *tail, vms_wal_replay_fn replay, void *arg,
		 struct vms_errmsg *msg)
{
	struct superblock sb;
	struct vms_wal *w;
	int err = sb_read(disk, conf, &sb, msg);

	if (err)
		return err;
	w = calloc(1, sizeof(*w));
	if (!w)
		return vms_fail(msg, VMS_E_NOMEM, "log: out of memory");
	w->disk = disk;
	w->ring_bytes = sb.ring_bytes;
	w->log_id = sb.log_id;
	w->gen_bytes_max = conf->gen_bytes_max ? conf->gen_bytes_max : w->ring_bytes / 4;
	w->split_bytes = w->gen_bytes_max;
	w->gen_age_ms = conf->gen_age_ms ? conf->gen_age_ms : GEN_AGE_MS;
	w->reserve_bytes = conf->reserve_bytes ? conf->reserve_bytes : w->ring_bytes / 8;
	w->frame_bytes_max = w->ring_bytes / 2 < FRAME_BYTES_MAX
				     ? (uint32_t)(w->ring_bytes / 2) & ~(BLOCK - 1)
				     : FRAME_BYTES_MAX;
	w->ring = vms_arena_alloc(w->ring_bytes);
	if (!w->ring) {
		err = vms_fail(msg, VMS_E_NOMEM,
			       "log: no memory for its mirror of %llu MiB; use a smaller log",
			       (unsigned long long)w->ring_bytes >> 20);
		goto out;
	}
	for (uint64_t off = 0; off < w->ring_bytes; off += READ_STEP) {
		uint64_t n = w->ring_bytes - off < READ_STEP ? w->ring_bytes - off : READ_STEP;

		err = disk->ops->log_read(disk->ctx, RING_AT + off, w->ring + off, n);
		if (err) {
			vms_fail(msg, err, "log: cannot be read at offset %llu: %s",
				 (unsigned long long)(RING_AT + off), vms_err_text(err));
			goto out;
		}
	}
	*out = w; /* who replays a record may look at those before it */
	err = replay_all(w, tail, replay, arg, msg);
	if (err)
		goto out;
	return 0;
out:
	*out = NULL;
	vms_wal_close(w);
	return err;
}

void vms_wal_close(struct vms_wal *w)
{
	if (!w)
		return;
	VMS_VEC_FREE(&w->closed);
	VMS_VEC_FREE(&w->gens);
	free(w->ring);
	free(w);
}

/* ---- append ---- */

static void frame_close(struct vms_wal *w)
{
	if (!w->open)
		return;
	VMS_VEC_PUSH(&w->closed, w->cur);
	w->next_pos = frame_end(&w->cur);
	w->open = false;
}

/* The open generation ends here. */
static void gen_next(struct vms_wal *w)
{
	const struct gen *g = &VMS_VEC_LAST(&w->gens);

	if (!w->open && w->next_pos == g->start_pos)
		return; /* empty */
	frame_close(w);
	gen_push(w, g->gen + 1, w->next_pos);
}

/* Where a record of `bytes` goes: room at the end of the open frame or of a new
 * one. The caller fills it and calls append_done(). */
static int append_room(struct vms_wal *w, uint32_t bytes, bool internal, uint8_t **p)
{
	uint64_t limit, left, start;
	bool same;

	if (w->poisoned)
		return VMS_E_POISONED;
	if (round_block(FRAME_HEADER_BYTES + (uint64_t)bytes) > w->frame_bytes_max)
		return VMS_E_INVAL;
	limit = tail_pos(w) + w->ring_bytes - (internal ? 0 : w->reserve_bytes);
	if (w->open) {
		uint64_t len = FRAME_HEADER_BYTES + (uint64_t)w->cur.record_bytes + bytes;

		left = w->ring_bytes - w->cur.pos % w->ring_bytes;
		same = len <= w->frame_bytes_max && len <= left &&
		       w->cur.pos + len - w->sealed_pos <= w->gen_bytes_max &&
		       w->cur.pos + len - VMS_VEC_LAST(&w->gens).start_pos <= w->split_bytes;
		if (same) {
			if (w->cur.pos + round_block(len) > limit)
				return VMS_E_FULL;
			*p = ring_at(w, w->cur.pos) + len - bytes;
			return 0;
		}
	}
	start = w->open ? frame_end(&w->cur) : w->next_pos;
	left = w->ring_bytes - start % w->ring_bytes;
	if (round_block(FRAME_HEADER_BYTES + (uint64_t)bytes) > left)
		start += left;
	if (start + round_block(FRAME_HEADER_BYTES + (uint64_t)bytes) > limit)
		return VMS_E_FULL;
	/* a frame with such a number would not be taken for ours by the next opening */
	if (w->next_seq >= COUNTER_MAX || start >= COUNTER_MAX ||
	    VMS_VEC_LAST(&w->gens).gen >= COUNTER_MAX - 1)
		return VMS_E_FULL;
	frame_close(w);
	if (start + bytes - w->sealed_pos > w->gen_bytes_max)
		vms_wal_gen_seal(w);
	else if (start + bytes - VMS_VEC_LAST(&w->gens).start_pos > w->split_bytes)
		gen_next(w);
	w->cur = (struct frame){.pos = start,
				.seq = w->next_seq++,
				.prev_seq = w->last_seq,
				.gen = VMS_VEC_LAST(&w->gens).gen};
	w->last_seq = w->cur.seq;
	w->open = true;
	*p = ring_at(w, start) + FRAME_HEADER_BYTES;
	return 0;
}

static void append_done(struct vms_wal *w, uint32_t crc, uint32_t bytes, struct vms_rec_ref *ref)
{
	uint64_t pos = w->cur.pos + FRAME_HEADER_BYTES + w->cur.record_bytes;

	w->cur.crc = crc;
	w->cur.record_bytes += bytes;
	w->cur.nrecords++;
	w->appended_pos = pos + bytes;
	if (ref)
		*ref = (struct vms_rec_ref){pos, bytes};
}

int vms_wal_append(struct vms_wal *w, const struct vms_rec *r, const struct vms_iov *payload,
		   unsigned n, bool internal, struct vms_rec_ref *ref)
{
	uint32_t bytes;
	uint8_t *p;
	int err;

	if ((uint64_t)r->meta_bytes + r->payload_bytes > VMS_REC_BYTES_MAX)
		return VMS_E_INVAL;
	bytes = vms_rec_bytes(r->meta_bytes, r->payload_bytes);
	err = append_room(w, bytes, internal, &p);
	if (err)
		return err;
	append_done(w, vms_rec_encode(r, payload, n, p, w->cur.crc), bytes, ref);
	return 0;
}

int vms_wal_append_raw(struct vms_wal *w, const uint8_t *rec, uint32_t bytes, bool internal,
		       struct vms_rec_ref *ref)
{
	uint8_t *p;
	int err;

	if (bytes < VMS_REC_HEADER_BYTES || bytes % 8 || bytes > VMS_REC_BYTES_MAX)
		return VMS_E_INVAL;
	err = append_room(w, bytes, internal, &p);
	if (err)
		return err;
	append_done(w, vms_crc32c_copy(w->cur.crc, p, rec, bytes), bytes, ref);
	return 0;
}

const uint8_t *vms_wal_ptr(const struct vms_wal *w, uint64_t log_pos)
{
	return ring_at(w, log_pos);
}

/* ---- group commit ---- */

static void write_next(struct vms_wal *w)
{
	struct frame f;
	uint64_t end;

	vms_assert(!w->inflight);
	w->wanted = false;
	if (!w->closed.n)
		frame_close(w);
	w->token = VMS_WAL_TOKEN | ((w->token + 1) & ~VMS_WAL_TOKEN);
	if (!w->closed.n) {
		if (w->sync_pos <= w->durable_pos)
			return;
		w->inflight = w->inflight_sync = true;
		w->inflight_end = w->written_pos;
		w->disk->ops->log_sync(w->disk->ctx, w->token);
		return;
	}
	f = w->closed.d[0];
	VMS_VEC_REMOVE(&w->closed, 0);
	end = frame_end(&f);
	frame_encode(w, &f);
	w->inflight = true;
	w->inflight_sync = w->sync_pos > w->durable_pos;
	w->inflight_end = end;
	w->wanted = w->closed.n > 0;
	w->disk->ops->log_write(w->disk->ctx, RING_AT + f.pos % w->ring_bytes, ring_at(w, f.pos),
				end - f.pos, w->inflight_sync, w->token);
}

void vms_wal_submit(struct vms_wal *w, bool sync, uint64_t now_ms)
{
	if (w->poisoned)
		return;
	if (!w->unsealed_ms && (w->open || w->next_pos != w->sealed_pos))
		w->unsealed_ms = now_ms ? now_ms : 1;
	if (w->unsealed_ms && now_ms > w->unsealed_ms && now_ms - w->unsealed_ms >= w->gen_age_ms)
		vms_wal_gen_seal(w);
	if (sync)
		w->sync_pos = w->appended_pos;
	if (w->inflight)
		w->wanted = true;
	else
		write_next(w);
}

bool vms_wal_event(struct vms_wal *w, const struct vms_disk_event *ev, uint64_t now_ms)
{
	if (!(ev->token & VMS_WAL_TOKEN))
		return false;
	if (!w->inflight || ev->token != w->token)
		return true; /* of an earlier life of this log */
	w->inflight = false;
	if (ev->status) {
		/* the kernel may have dropped what it failed to write: whatever a
		 * retry says proves nothing */
		w->poisoned = true;
		return true;
	}
	w->written_pos = w->inflight_end;
	if (w->inflight_sync)
		w->durable_pos = w->inflight_end;
	if (w->wanted || w->sync_pos > w->durable_pos)
		write_next(w);
	return true;
}

uint64_t vms_wal_unwritten_bytes(const struct vms_wal *w)
{
	return (w->open ? frame_end(&w->cur) : w->next_pos) -
	       (w->inflight ? w->inflight_end : w->written_pos);
}

uint64_t vms_wal_appended_pos(const struct vms_wal *w)
{
	return w->appended_pos;
}

uint64_t vms_wal_durable_pos(const struct vms_wal *w)
{
	return w->durable_pos;
}

bool vms_wal_poisoned(const struct vms_wal *w)
{
	return w->poisoned;
}

/* ---- generations ---- */

uint64_t vms_wal_gen_open(const struct vms_wal *w)
{
	return VMS_VEC_LAST(&w->gens).gen;
}

uint64_t vms_wal_gen_oldest(const struct vms_wal *w)
{
	return w->gens.d[0].gen;
}

void vms_wal_gen_seal(struct vms_wal *w)
{
	gen_next(w);
	w->sealed_pos = VMS_VEC_LAST(&w->gens).start_pos;
	w->unsealed_ms = 0;
}

uint64_t vms_wal_sealed_pos(const struct vms_wal *w)
{
	return w->sealed_pos;
}

static const struct gen *gen_find(const struct vms_wal *w, uint64_t generation)
{
	for (size_t i = 0; i < w->gens.n; i++)
		if (w->gens.d[i].gen >= generation)
			return &w->gens.d[i];
	return NULL;
}

uint64_t vms_wal_gen_start_pos(const struct vms_wal *w, uint64_t generation)
{
	const struct gen *g = gen_find(w, generation);

	return g ? g->start_pos : w->open ? frame_end(&w->cur) : w->next_pos;
}

uint64_t vms_wal_pos_gen(const struct vms_wal *w, uint64_t log_pos)
{
	for (size_t i = w->gens.n; i-- > 0;)
		if (w->gens.d[i].start_pos <= log_pos)
			return w->gens.d[i].gen;
	return w->gens.d[0].gen;
}

struct vms_wal_tail vms_wal_tail_after(const struct vms_wal *w, uint64_t generation)
{
	const struct gen *g = gen_find(w, generation + 1);

	vms_assert(g); /* the open generation is needed */
	return (struct vms_wal_tail){g->start_pos, g->prev_seq, g->gen};
}

void vms_wal_gen_free(struct vms_wal *w, uint64_t generation)
{
	vms_assert(generation < vms_wal_gen_open(w));
	while (w->gens.n > 1 && w->gens.d[0].gen <= generation) {
		/* what is not even written cannot have been drained */
		vms_assert(w->written_pos >= w->gens.d[1].start_pos);
		VMS_VEC_REMOVE(&w->gens, 0);
	}
}

uint64_t vms_wal_used_bytes(const struct vms_wal *w)
{
	return (w->open ? frame_end(&w->cur) : w->next_pos) - tail_pos(w);
}

uint64_t vms_wal_room_bytes(const struct vms_wal *w)
{
	uint64_t used = vms_wal_used_bytes(w) + w->reserve_bytes;

	return used < w->ring_bytes ? w->ring_bytes - used : 0;
}

uint64_t vms_wal_free_bytes(const struct vms_wal *w)
{
	return w->ring_bytes - vms_wal_used_bytes(w);
}

void vms_wal_gen_limit(struct vms_wal *w, uint64_t bytes)
{
	if (bytes < w->split_bytes)
		w->split_bytes = bytes;
}

uint64_t vms_wal_size_bytes(const struct vms_wal *w)
{
	return w->ring_bytes;
}

uint32_t vms_wal_record_bytes_max(const struct vms_wal *w)
{
	return w->frame_bytes_max - FRAME_HEADER_BYTES;
}
