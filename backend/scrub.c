// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scrub. A round goes over the partitions in turn: of each the containers (file
 * header, segments, footer), then the stored index pages; at the end the other values of
 * the index. repair.c verifies a piece and mends it, so the scrub only names them, one at
 * a time. The pace spreads a round over four fifths of `scrub_days`; requests of clients
 * go first. The cursor is kept in the index, so a restart does not begin again.
 *
 * When a round that was asked for has gone through a partition, its primary has the
 * replicas compare what they hold (digest.c). Container pieces are read from the disk itself. The
 * index is read as LMDB has it, which may be from memory. Keeps invariant 25.
 */
#include "backend/scrub.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backend/digest.h"
#include "backend/meta.h"
#include "backend/node.h"
#include "backend/node_int.h"
#include "backend/node_mutant.h"
#include "backend/node_part.h"
#include "backend/page_patch.h"
#include "backend/pages.h"
#include "backend/part_ctr.h"
#include "backend/prune.h"
#include "backend/repair.h"
#include "include/err.h"
#include "include/types.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/log.h"
#include "utils/lib/vec.h"

#define PAGES_STEP  64u
#define VALUES_STEP 256u
#define FAST_MS	    4u	/* between two pieces of a round that was asked for */
#define YIELD_MS    10u /* while clients' requests wait */
#define WAIT_MS_MAX 3600000u
#define SAVE_MS	    600000u /* how much work a crash may repeat */
#define STATE_BYTES 72u

enum phase { SC_CTRS, SC_PAGES, SC_VALUES };

struct scrub {
	bool paused, fast, busy, running;
	uint64_t round; /* number of the running one, or of the next */
	uint32_t part;
	enum phase phase;
	uint64_t ctr;	  /* container in work, or behind which to go on */
	uint64_t ctr_end; /* of this partition; what is made meanwhile waits for the next round */
	uint32_t piece;
	bool in_ctr;
	bool resumed; /* from holds a key */
	uint8_t from[VMS_META_KEY_BYTES_MAX + 1];
	uint32_t from_bytes;
	uint64_t next_ms, total_ms, total, saved_ms, began_ms;
	/* this round */
	uint64_t began_s, done, found;
	/* the last complete one */
	uint64_t ended_s, last_bytes, last_found;
	uint64_t bytes; /* since the start of the process */
	uint64_t rounds;
};

static uint64_t wall_s(const struct vms_node *n)
{
	return n->conf.wall_s ? n->conf.wall_s + (n->now_ms - n->start_ms) / 1000 : 0;
}

/* Bytes that a round has to read. */
static uint64_t total(struct vms_node *n, struct scrub *s)
{
	if (s->total && n->now_ms - s->total_ms < 60000)
		return s->total;
	s->total_ms = n->now_ms;
	s->total = VMS_CHUNK_BYTES;
	for (uint32_t i = 0; i < n->nparts; i++) {
		struct part *p = n->part[i];

		if (!p)
			continue;
		VMS_VEC_FOREACH (&p->ctrs, c)
			s->total += (c->chunks - c->dead.count + c->segs + 2ull) * VMS_CHUNK_BYTES;
	}
	return s->total;
}

static uint64_t pace_bytes_s(struct vms_node *n, struct scrub *s)
{
	uint64_t secs = (uint64_t)n->cluster.scrub_days * 86400 * 4 / 5;

	return secs ? total(n, s) / secs + 1 : 0;
}

static void next_step(struct vms_node *n, struct scrub *s, uint64_t bytes)
{
	bool waiting = gc_pace_ms(n) > 1;
	uint64_t ms = s->fast ? FAST_MS : bytes * 1000 / (pace_bytes_s(n, s) + 1) + 1;

	if (waiting && ms < YIELD_MS)
		ms = YIELD_MS;
	s->next_ms = n->now_ms + (ms < WAIT_MS_MAX ? ms : WAIT_MS_MAX);
	s->done += bytes;
	s->bytes += bytes;
	if (n->now_ms - s->saved_ms >= SAVE_MS) {
		s->saved_ms = n->now_ms;
		n->rewrite = true;
	}
	node_wake_at(n, s->next_ms);
}

static void piece_done(struct vms_node *n, void *arg, uint64_t bytes, unsigned bad)
{
	struct scrub *s = n->scrub;

	(void)arg;
	if (!s || n->closing)
		return;
	s->busy = false;
	s->found += bad;
	next_step(n, s, bytes);
}

static void round_begin(struct vms_node *n, struct scrub *s)
{
	s->running = true;
	s->round++;
	s->part = 0;
	s->phase = SC_CTRS;
	s->ctr = s->ctr_end = 0;
	s->in_ctr = s->resumed = false;
	s->done = s->found = 0;
	s->began_s = wall_s(n);
	s->began_ms = n->now_ms;
}

/* When the next round is due; the clock may have been set, the boot clock starts anew. */
static uint64_t due_ms(struct vms_node *n, const struct scrub *s)
{
	uint64_t secs = (uint64_t)n->cluster.scrub_days * 86400 * 4 / 5, now_s = wall_s(n);

	if (s->began_ms)
		return s->began_ms + secs * 1000;
	if (!s->began_s || now_s <= s->began_s || now_s - s->began_s >= secs)
		return n->now_ms;
	return n->now_ms + (secs - (now_s - s->began_s)) * 1000;
}

static void round_end(struct vms_node *n, struct scrub *s)
{
	s->running = s->fast = false;
	s->rounds++;
	s->ended_s = wall_s(n);
	s->last_bytes = s->done;
	s->last_found = s->found;
	s->saved_ms = n->now_ms;
	n->rewrite = true;
	node_log(n, s->found ? VMS_LOG_WARN : VMS_LOG_INFO,
		 "scrub round %llu: %llu MiB verified, %llu damaged blocks and values found",
		 (unsigned long long)s->round, (unsigned long long)(s->done >> 20),
		 (unsigned long long)s->found);
	next_step(n, s, 0);
}

/* The next container of the partition: the one in work, else the first behind s->ctr. */
static struct ctr *ctr_next(struct part *p, struct scrub *s)
{
	if (!s->ctr_end)
		s->ctr_end = p->next_ctr;
	VMS_VEC_FOREACH (&p->ctrs, c) {
		if (c->number >= s->ctr_end)
			break;
		if (c->number < s->ctr || (c->number == s->ctr && !s->in_ctr))
			continue;
		if (c->state != 1 && c->state != 2)
			continue;
		if (c->number != s->ctr) {
			s->ctr = c->number;
			s->piece = REPAIR_FILE_HEADER;
			s->in_ctr = true;
		}
		return c;
	}
	return NULL;
}

static void ctr_step(struct vms_node *n, struct scrub *s, struct part *p)
{
	struct ctr *c = ctr_next(p, s);
	uint32_t piece;

	if (!c) {
		s->ctr_end = 0;
		s->phase = SC_PAGES;
		s->in_ctr = s->resumed = false;
		s->next_ms = n->now_ms;
		return;
	}
	piece = s->piece;
	if (piece == REPAIR_FILE_HEADER)
		s->piece = 0;
	else if (piece < c->segs)
		s->piece++;
	else if (piece < REPAIR_FOOTER && c->state == 2 && n->mut != MUT_SC_TAIL)
		piece = s->piece = REPAIR_FOOTER;
	else
		piece = UINT32_MAX - 2;
	if (piece == REPAIR_FOOTER || piece == UINT32_MAX - 2)
		s->in_ctr = false; /* on to the next */
	if (piece == UINT32_MAX - 2)
		return;
	s->busy = true;
	if (!repair_check(n, c->number, piece, piece_done, s)) {
		s->busy = false; /* too much to be repaired: later */
		s->in_ctr = true;
		s->piece = piece;
		next_step(n, s, VMS_CHUNK_BYTES);
	}
}

struct walk {
	struct vms_node *n;
	struct scrub *s;
	unsigned left;
	uint64_t bytes;
};

static int value(void *arg, const uint8_t *key, uint32_t kb, const uint8_t *val, uint32_t vb)
{
	struct walk *w = arg;
	struct vms_page_key pk;

	if (!w->left--) {
		memcpy(w->s->from, key, kb < VMS_META_KEY_BYTES_MAX ? kb : VMS_META_KEY_BYTES_MAX);
		w->s->from_bytes = kb;
		w->s->resumed = true;
		return 1;
	}
	w->bytes += vb;
	if (vms_meta_check(key, kb, val, vb) >= 0)
		return 0;
	/* one that a delta is about to replace, or that is known, counts no more */
	if ((!vms_page_key_decode(key, kb, &pk) || !vms_patch_key_decode(key, kb, &pk)) &&
	    !vms_pages_stored_bad(w->n->pages, &pk))
		return 0;
	w->s->found++;
	repair_value(w->n, key, kb);
	return 0;
}

/* Stored values with from <= key < to; true: that was all. */
static bool walk(struct vms_node *n, struct scrub *s, const uint8_t *from, uint32_t fb,
		 const uint8_t *to, uint32_t tb, unsigned step)
{
	struct walk w = {n, s, step, 0};
	int rc;

	if (s->resumed) {
		from = s->from;
		fb = s->from_bytes;
	}
	s->resumed = false;
	rc = n->mut == MUT_SC_INDEX
		     ? 0
		     : n->disk.ops->meta_range(n->disk.ctx, from, fb, to, tb, value, &w);
	if (rc < 0)
		node_log(n, VMS_LOG_ERROR, "scrub: the index cannot be read: %s", vms_err_text(rc));
	next_step(n, s, w.bytes);
	return rc <= 0;
}

static void pages_step(struct vms_node *n, struct scrub *s, uint32_t part)
{
	uint8_t from[3] = {'I'}, to[4] = {'I'};
	uint64_t seq;

	vms_put_be16(from + 1, (uint16_t)part);
	vms_put_be16(to + 1, (uint16_t)part);
	to[3] = 0xff; /* behind all pages of the partition: branches begin far below */
	if (!walk(n, s, from, sizeof(from), to, sizeof(to), PAGES_STEP))
		return;
	/* each copy by itself is right: are they the same? digest.c asks that by itself, but
	 * not at once */
	if (s->fast && part_serving(n->part[part]) && part_members_ready(n->part[part]) &&
	    n->part[part]->nm > 1)
		(void)digest_order(n, n->part[part], &seq);
	s->part++;
	s->phase = SC_CTRS;
	s->ctr = 0;
	s->in_ctr = false;
}

static void values_step(struct vms_node *n, struct scrub *s)
{
	static const uint8_t first[1] = {0}, pages[1] = {'I'}, behind[1] = {'J'}, last[1] = {0xff};

	if (!s->in_ctr) { /* those below the pages first */
		if (walk(n, s, first, 1, pages, 1, VALUES_STEP))
			s->in_ctr = true;
		return;
	}
	if (walk(n, s, behind, 1, last, 1, VALUES_STEP))
		round_end(n, s);
}

void scrub_timer(struct vms_node *n)
{
	struct scrub *s = n->scrub;

	if (!s || s->busy || s->paused || n->stopping || (!n->cluster.scrub_days && !s->fast))
		return;
	if (n->now_ms < s->next_ms) {
		node_wake_at(n, s->next_ms);
		return;
	}
	if (!s->running) {
		uint64_t due = s->fast ? n->now_ms : due_ms(n, s);

		if (n->now_ms < due) {
			s->next_ms = due < n->now_ms + WAIT_MS_MAX ? due : n->now_ms + WAIT_MS_MAX;
			return;
		}
		round_begin(n, s);
	}
	while (s->part < n->nparts && !n->part[s->part])
		s->part++;
	if (s->part >= n->nparts && s->phase != SC_VALUES) {
		s->phase = SC_VALUES;
		s->in_ctr = s->resumed = false;
	}
	if (s->phase == SC_VALUES)
		values_step(n, s);
	else if (s->phase == SC_PAGES)
		pages_step(n, s, s->part);
	else
		ctr_step(n, s, n->part[s->part]);
	if (!s->busy)
		node_wake_at(n, s->next_ms > n->now_ms ? s->next_ms : n->now_ms + 1);
}

void scrub_start(struct vms_node *n)
{
	struct scrub *s = n->scrub;

	if (!s->busy)
		s->running = false; /* from the beginning */
	s->fast = true;
	s->paused = false;
	s->next_ms = n->now_ms;
	node_wake_at(n, n->now_ms + 1);
}

void scrub_pause(struct vms_node *n, bool on)
{
	struct scrub *s = n->scrub;

	s->paused = on;
	s->next_ms = n->now_ms;
	n->rewrite = true; /* stays so after a restart */
	node_wake_at(n, n->now_ms + 1);
}

uint64_t scrub_rounds(struct vms_node *n)
{
	return n->scrub->rounds;
}

uint64_t scrub_bytes(struct vms_node *n)
{
	return n->scrub->bytes;
}

/* ---- in the index ---- */

int scrub_put(struct vms_node *n, struct vms_meta_batch *b)
{
	const struct scrub *s = n->scrub;
	uint8_t v[STATE_BYTES] = {1};

	v[1] = s->paused;
	v[2] = s->running;
	v[3] = s->phase;
	vms_put_le32(v + 4, s->part);
	vms_put_le64(v + 8, s->in_ctr && s->ctr ? s->ctr - 1 : s->ctr);
	vms_put_le64(v + 16, s->round);
	vms_put_le64(v + 24, s->began_s);
	vms_put_le64(v + 32, s->done);
	vms_put_le64(v + 40, s->found);
	vms_put_le64(v + 48, s->ended_s);
	vms_put_le64(v + 56, s->last_bytes);
	vms_put_le64(v + 64, s->last_found);
	return vms_meta_batch_put(b, "S", 1, v, sizeof(v));
}

/* A value that is missing or damaged only means to begin again. */
void scrub_open(struct vms_node *n)
{
	struct scrub *s = calloc(1, sizeof(*s));
	uint8_t v[STATE_BYTES];

	vms_assert(s);
	n->scrub = s;
	s->saved_ms = s->next_ms = n->now_ms;
	if (vms_meta_get(&n->disk, "S", 1, v, sizeof(v)) != (int)sizeof(v) || v[0] != 1)
		return;
	s->paused = v[1];
	s->running = v[2];
	s->phase = v[3] == SC_VALUES ? SC_VALUES : v[3] == SC_PAGES ? SC_PAGES : SC_CTRS;
	s->part = vms_get_le32(v + 4);
	s->ctr = vms_get_le64(v + 8);
	s->round = vms_get_le64(v + 16);
	s->began_s = vms_get_le64(v + 24);
	s->done = vms_get_le64(v + 32);
	s->found = vms_get_le64(v + 40);
	s->ended_s = vms_get_le64(v + 48);
	s->last_bytes = vms_get_le64(v + 56);
	s->last_found = vms_get_le64(v + 64);
}

void scrub_close(struct vms_node *n)
{
	free(n->scrub);
	n->scrub = NULL;
}

json_t *scrub_json(struct vms_node *n)
{
	struct scrub *s = n->scrub;
	uint64_t all, left;
	uint64_t pace = s->fast ? 0 : pace_bytes_s(n, s);
	json_t *o, *r = repair_json(n);

	s->total = 0; /* as it is now; what is made during a round may be more than was there */
	all = total(n, s);
	if (s->running && all < s->done)
		all = s->done;
	left = all - (s->running ? s->done : 0);
	o = json_pack("{s:s, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state",
		      s->paused				   ? "paused"
		      : !n->cluster.scrub_days && !s->fast ? "off"
		      : s->running			   ? "running"
							   : "complete",
		      "round", (json_int_t)s->round, "fast", s->fast, "total_bytes",
		      (json_int_t)all, "done_bytes", (json_int_t)(s->running ? s->done : 0),
		      "pace_bytes_s", (json_int_t)pace, "began", (json_int_t)s->began_s, "found",
		      (json_int_t)s->found, "last_complete", (json_int_t)s->ended_s, "last_bytes",
		      (json_int_t)s->last_bytes, "last_found", (json_int_t)s->last_found);

	if (pace)
		json_object_set_new(o, "left_s", json_integer((json_int_t)(left / pace)));
	json_object_set_new(o, "days", json_integer((json_int_t)n->cluster.scrub_days));
	json_object_update(o, r);
	json_decref(r);
	return o;
}

int vms_node_scrub(struct vms_node *n, json_t *req, json_t **answer, struct vms_errmsg *msg)
{
	const char *what = json_string_value(json_object_get(req, "do"));

	if (what && !strcmp(what, "start"))
		scrub_start(n);
	else if (what && (!strcmp(what, "pause") || !strcmp(what, "resume")))
		scrub_pause(n, !strcmp(what, "pause"));
	else if (what && strcmp(what, "status"))
		return vms_fail(msg, VMS_E_INVAL,
				"scrub: '%.20s' is none of status, start, pause, "
				"resume",
				what);
	*answer = scrub_json(n);
	return 0;
}
