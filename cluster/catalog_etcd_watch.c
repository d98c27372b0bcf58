// SPDX-License-Identifier: GPL-2.0-only
/*
 * One watch stream for all watches of a process: everything below the prefix from the
 * oldest revision that any of them still needs; each watch picks what is its own.
 *
 * Keeps: a watch is told of each revision at most once and in order; after any doubt
 * whether one was left out it ends with VMS_E_GONE (its owner reads anew).
 */
#include "cluster/catalog_etcd_int.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "cluster/catalog_etcd_wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define AGAIN_MS_MAX 2000u
#define DOUBTS_MAX   3u

static bool has_prefix(const char *key, const char *prefix)
{
	return !strncmp(key, prefix, strlen(prefix));
}

bool watch_any(const struct vms_cat_etcd *e)
{
	const struct watch *w;

	DL_FOREACH (e->watches, w)
		if (!w->dead)
			return true;
	return false;
}

void watches_sweep(struct vms_cat_etcd *e)
{
	struct watch *w, *t;

	if (e->depth)
		return;
	DL_FOREACH_SAFE (e->watches, w, t)
		if (w->dead) {
			DL_DELETE(e->watches, w);
			free(w);
		}
}

/* ---- the stream's life ---- */

static void stream_stop(struct vms_cat_etcd *e)
{
	if (e->st.call)
		e->sink.cancel(e->sink.ctx, e->st.call);
	e->st.call = 0;
	vms_buf_clear(&e->st.buf);
}

/* Again at once, later the more often it fails. */
static void stream_again(struct vms_cat_etcd *e)
{
	struct stream *s = &e->st;
	uint32_t wait = s->fails ? 125u << (s->fails < 5 ? s->fails : 4) : 0;

	stream_stop(e);
	s->due_ms = e->now_ms + (wait < AGAIN_MS_MAX ? wait : AGAIN_MS_MAX);
	s->fails++;
}

static void stream_start(struct vms_cat_etcd *e)
{
	struct stream *s = &e->st;
	uint64_t from = UINT64_MAX;
	const struct watch *w;

	DL_FOREACH (e->watches, w)
		if (!w->dead && w->last < from)
			from = w->last;
	s->base = s->delivered = from;
	s->nring = 0;
	s->created = false;
	s->start_ms = e->now_ms;
	s->endpoint = e->cur;
	s->doubt = 0;
	e->n.watch_starts++;
	s->call = etcd_call(e, e->cur, "/v3/watch",
			    json_pack("{s{so so so}}", "create_request", "key", etcd_key(e, ""),
				      "range_end", etcd_key(e, "\x7f"), "start_revision",
				      vms_etcd_u64_json(from + 1)),
			    e->try_ms, true, false);
}

void watch_stream_pump(struct vms_cat_etcd *e)
{
	struct stream *s = &e->st;

	if (!watch_any(e)) {
		if (s->call)
			stream_stop(e);
		return;
	}
	if (!s->call && e->now_ms >= s->due_ms)
		stream_start(e);
}

void watch_stream_deadline(struct vms_cat_etcd *e)
{
	struct stream *s = &e->st;

	if (!s->call || s->created || e->now_ms - s->start_ms < e->try_ms)
		return;
	etcd_bad(e, s->endpoint, "no answer to a watch");
	stream_again(e);
}

/* ---- events ---- */

static void tell(struct vms_cat_etcd *e, struct watch *w, const struct vms_cat_reply *re)
{
	e->depth++;
	w->event(w->arg, re);
	e->depth--;
}

static void gone(struct vms_cat_etcd *e, struct watch *w)
{
	struct vms_cat_reply re = {.status = VMS_E_GONE, .revision = e->seen + e->base};

	w->dead = true;
	e->n.gone++;
	tell(e, w, &re);
}

/* Every watch that ought to have been told of this revision. Watches added by the
 * callbacks stand behind the last one of now. */
static void gone_from(struct vms_cat_etcd *e, uint64_t revision)
{
	uint64_t end = e->next_watch;
	struct watch *w;

	DL_FOREACH (e->watches, w)
		if (!w->dead && w->id < end && w->from < revision)
			gone(e, w);
}

static bool in_ring(const struct stream *s, uint64_t revision)
{
	uint64_t n = s->nring < SEEN_RING ? s->nring : SEEN_RING;

	for (uint64_t i = 0; i < n; i++)
		if (s->ring[i] == revision)
			return true;
	/* too far back to tell: taken for a repetition */
	return n == SEEN_RING && revision < s->ring[s->nring % SEEN_RING];
}

/* The changes of one revision. */
static void deliver(struct vms_cat_etcd *e, uint64_t revision, const struct vms_cat_kv *kv,
		    unsigned nkv)
{
	struct stream *s = &e->st;
	struct vms_cat_kv *mine;
	uint64_t end = e->next_watch;
	struct watch *w;

	if (revision <= s->delivered) {
		e->n.duplicates++;
		if (revision > s->base && !in_ring(s, revision)) {
			vms_warn("etcd at %s left out a change and told it later: reading anew",
				 e->address[s->endpoint]);
			gone_from(e, revision);
		}
		return;
	}
	s->delivered = revision;
	s->ring[s->nring++ % SEEN_RING] = revision;
	s->fails = 0;
	if (revision > e->seen)
		e->seen = revision;
	mine = calloc(nkv + 1, sizeof(*mine));
	vms_assert(mine);
	DL_FOREACH (e->watches, w) {
		struct vms_cat_reply re = {.revision = revision + e->base, .kv = mine};

		if (w->dead || w->id >= end || w->last >= revision)
			continue;
		for (unsigned i = 0; i < nkv; i++)
			if (kv[i].key[0] != '~' && has_prefix(kv[i].key, w->prefix))
				mine[re.nkv++] = kv[i];
		w->last = revision;
		if (re.nkv)
			tell(e, w, &re);
	}
	free(mine);
}

static void on_events(struct vms_cat_etcd *e, const json_t *events)
{
	size_t n = json_array_size(events), at = 0;
	struct vms_cat_kv *kv = calloc(n + 1, sizeof(*kv));
	uint64_t call = e->st.call;

	vms_assert(kv);
	/* A callback may end the stream: the rest is not its any more. */
	while (at < n && e->st.call == call) {
		uint64_t revision = 0;
		unsigned m = 0;

		for (; at < n; at++) {
			const json_t *ev = json_array_get(events, at),
				     *j = json_object_get(ev, "kv");
			const char *type = json_string_value(json_object_get(ev, "type"));
			uint64_t r = vms_etcd_u64(j, "mod_revision");

			if (m && r != revision)
				break;
			if (!etcd_kv(e, j, &kv[m]))
				continue;
			revision = r;
			if (type && !strcmp(type, "DELETE")) {
				free((char *)kv[m].val);
				kv[m].val = NULL;
				kv[m].val_bytes = 0;
			}
			m++;
		}
		if (m)
			deliver(e, revision, kv, m);
		for (unsigned i = 0; i < m; i++)
			etcd_kv_free(&kv[i]);
	}
	free(kv);
}

static void on_cancelled(struct vms_cat_etcd *e, const json_t *result)
{
	uint64_t compact = vms_etcd_u64(result, "compact_revision"), end = e->next_watch;
	const char *why = json_string_value(json_object_get(result, "cancel_reason"));
	struct watch *w;

	if (compact) {
		DL_FOREACH (e->watches, w)
			if (!w->dead && w->id < end && w->last + 1 < compact)
				gone(e, w);
	} else {
		etcd_bad(e, e->st.endpoint, why ? why : "it ended the watch");
	}
	stream_again(e);
}

/* One line of the stream. False: the stream is over. */
static bool on_line(struct vms_cat_etcd *e, const char *line, size_t bytes)
{
	json_t *root = json_loadb(line, bytes, 0, NULL);
	const json_t *result = json_object_get(root, "result");
	uint64_t revision, call = e->st.call;
	const char *text;
	int status;

	if (!result || !etcd_header(e, result, &revision)) {
		(void)vms_etcd_error(root, 0, &status, &text);
		etcd_bad(e, e->st.endpoint,
			 result ? "it belongs to another etcd cluster than before" : text);
		if (status == VMS_E_RANGE) /* more at once than it can send */
			gone_from(e, UINT64_MAX);
		stream_again(e);
	} else {
		etcd_good(e, e->st.endpoint);
		if (json_is_true(json_object_get(result, "created")))
			e->st.created = true;
		if (json_is_true(json_object_get(result, "canceled")))
			on_cancelled(e, result);
		else
			on_events(e, json_object_get(result, "events"));
	}
	json_decref(root);
	return e->st.call == call;
}

void watch_stream_event(struct vms_cat_etcd *e, const struct vms_etcd_event *ev)
{
	struct stream *s = &e->st;
	const char *nl;

	if (ev->end) {
		s->call = 0;
		etcd_bad(e, s->endpoint, ev->why[0] ? ev->why : "it ended the watch");
		stream_again(e);
		return;
	}
	if (!vms_buf_append(&s->buf, ev->data, ev->bytes)) {
		gone_from(e, UINT64_MAX);
		stream_again(e);
		return;
	}
	while (vms_buf_len(&s->buf) &&
	       (nl = memchr(vms_buf_data(&s->buf), '\n', vms_buf_len(&s->buf)))) {
		size_t n = (size_t)(nl - (const char *)vms_buf_data(&s->buf));
		char *line = malloc(n + 1);

		vms_assert(line);
		memcpy(line, vms_buf_data(&s->buf), n);
		vms_buf_consume(&s->buf, n + 1);
		if (n && !on_line(e, line, n))
			n = SIZE_MAX;
		free(line);
		if (n == SIZE_MAX)
			return;
	}
}

void watch_poll_sent(struct vms_cat_etcd *e)
{
	struct watch *w;

	DL_FOREACH (e->watches, w)
		w->polled = w->last;
}

static void poll_compare(struct vms_cat_etcd *e, uint64_t m)
{
	struct stream *s = &e->st;

	if (!watch_any(e) || s->delivered >= m || !s->call) {
		s->doubt = 0;
		if (s->call && s->delivered >= m)
			s->doubts = 0;
		return;
	}
	if (!s->doubt) {
		s->doubt = m;
		s->doubt_ms = e->now_ms;
	} else if (s->delivered >= s->doubt) {
		s->doubt = 0;
		/* the stream may be half a poll behind, not more */
	} else if (e->now_ms - s->doubt_ms >= e->poll_ms / 2) {
		e->n.silent++;
		if (e->cur == s->endpoint)
			e->cur = (e->cur + 1) % e->nep;
		vms_warn("etcd at %s tells no changes any more: watching at %s",
			 e->address[s->endpoint], e->address[e->cur]);
		if (++s->doubts >= DOUBTS_MAX) {
			s->doubts = 0;
			gone_from(e, UINT64_MAX);
		}
		stream_stop(e);
		s->due_ms = e->now_ms;
	}
}

bool watch_polled(struct vms_cat_etcd *e, uint64_t m, uint64_t revision)
{
	uint64_t end = e->next_watch;
	bool ahead = false;
	struct watch *w;

	/* A revision that has not been: of another catalog. What has come since the poll was
	 * sent may well be newer than its answer. */
	DL_FOREACH (e->watches, w) {
		if (w->dead || w->id >= end)
			continue;
		if (w->polled > revision)
			gone(e, w);
		else if (!w->polled && w->last > revision)
			ahead = true;
	}
	poll_compare(e, m);
	return ahead;
}

/* ---- watches ---- */

uint64_t watch_add(struct vms_cat_etcd *e, const char *prefix, uint64_t from, vms_cat_done_fn event,
		   void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	vms_assert(w);
	w->id = e->next_watch++;
	strcpy(w->prefix, prefix);
	w->from = w->last = from;
	w->event = event;
	w->arg = arg;
	DL_APPEND(e->watches, w);
	/* What the stream has handed on already it does not bring again. */
	if (e->st.call && from < e->st.delivered) {
		stream_stop(e);
		e->st.due_ms = e->now_ms;
	}
	return w->id;
}

void watch_remove(struct vms_cat_etcd *e, uint64_t id)
{
	struct watch *w;

	DL_FOREACH (e->watches, w)
		if (w->id == id)
			w->dead = true;
}

void watch_forget(struct vms_cat_etcd *e, const void *arg)
{
	struct watch *w;

	DL_FOREACH (e->watches, w)
		if (w->arg == arg)
			w->dead = true;
}
