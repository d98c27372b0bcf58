// SPDX-License-Identifier: GPL-2.0-only
/*
 * Catalog client. Keeps: a callback never runs from inside the requesting call;
 * each request is answered exactly once unless forgotten; a watch delivers each
 * revision whole, in order, and after a reconnect goes on behind the last one
 * delivered.
 */
#include "cluster/cat_client.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "cluster/cat_wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/buf.h"

#define REQUESTS_MAX 4096u

struct request {
	struct request *prev, *next;
	uint8_t type;
	uint64_t req_id;
	uint64_t sequence; /* session */
	uint32_t aux;	   /* ttl */
	uint8_t *body;	   /* owned */
	uint32_t body_bytes;
	struct vms_buf payload;
	bool sent;
	bool aged;	   /* start_ms is set */
	uint64_t start_ms; /* first time the clock was seen after the call */
	int failed;	   /* != 0: answer with this at the next occasion */
	vms_cat_done_fn done;
	void *arg;
	struct watch *watch; /* WATCH: the watch it opens */
};

struct watch {
	struct watch *prev, *next;
	uint64_t id;
	char prefix[VMS_CAT_KEY_BYTES_MAX];
	uint64_t last_revision;
	vms_cat_done_fn event;
	void *arg;
	bool open; /* acknowledged on the present connection */
	bool dead;
};

struct vms_cat_client {
	struct vms_catalog cat; /* first: vms_catalog * is vms_cat_client * */
	struct vms_cat_client_sink sink;
	uint32_t timeout_ms;
	bool up;
	uint64_t next_req_id, next_watch;
	struct request *requests; /* in the order they were made */
	unsigned nrequests;
	struct watch *watches;
	unsigned depth; /* callbacks running: watches are only marked dead then */
};

static struct vms_cat_client *self(struct vms_catalog *c)
{
	return (struct vms_cat_client *)c;
}

static void request_free(struct vms_cat_client *c, struct request *r)
{
	DL_DELETE(c->requests, r);
	c->nrequests--;
	free(r->body);
	vms_buf_free(&r->payload);
	free(r);
}

static void watches_sweep(struct vms_cat_client *c)
{
	struct watch *w, *t;

	if (c->depth)
		return;
	DL_FOREACH_SAFE (c->watches, w, t) {
		if (w->dead) {
			DL_DELETE(c->watches, w);
			free(w);
		}
	}
}

/* ---- sending ---- */

static void request_send(struct vms_cat_client *c, struct request *r)
{
	struct vms_iov iov = {vms_buf_data(&r->payload), vms_buf_len(&r->payload)};
	struct vms_msg m = {.type = r->type,
			    .partition = VMS_PART_NONE,
			    .req_id = r->req_id,
			    .sequence = r->sequence,
			    .aux = r->aux,
			    .body = r->body,
			    .body_bytes = r->body_bytes};

	if (!c->up || r->sent || r->failed)
		return;
	if (iov.len) {
		m.payload = &iov;
		m.npayload = 1;
		m.payload_bytes = iov.len;
		m.flags = VMS_F_PAYLOAD_CRC;
	}
	/* A full queue closes the connection: it goes out after the next one is up. */
	r->sent = !c->sink.send(c->sink.ctx, &m);
}

static struct request *request_new(struct vms_cat_client *c, uint8_t type, vms_cat_done_fn done,
				   void *arg)
{
	struct request *r = calloc(1, sizeof(*r));

	vms_assert(r);
	r->type = type;
	r->req_id = c->next_req_id++;
	r->done = done;
	r->arg = arg;
	vms_buf_init(&r->payload, VMS_CAT_TXN_BYTES_MAX);
	if (c->nrequests >= REQUESTS_MAX)
		r->failed = VMS_E_FULL;
	DL_APPEND(c->requests, r);
	c->nrequests++;
	return r;
}

static uint8_t *request_body(struct request *r)
{
	r->body = malloc(2 * VMS_CAT_KEY_BYTES_MAX + 32);
	vms_assert(r->body);
	return r->body;
}

static void watch_send(struct vms_cat_client *c, struct watch *w)
{
	struct request *r;

	if (!c->up || w->dead)
		return;
	r = request_new(c, VMS_MSG_CAT_WATCH, NULL, w->arg);
	r->watch = w;
	r->body_bytes = vms_cat_watch_encode(request_body(r), w->id, w->last_revision, w->prefix);
	request_send(c, r);
}

/* ---- the ten calls ---- */

static void cat_get(struct vms_catalog *cat, const char *key, vms_cat_done_fn done, void *arg)
{
	struct vms_cat_client *c = self(cat);
	struct request *r = request_new(c, VMS_MSG_CAT_GET, done, arg);

	if (!vms_cat_key_ok(key, false))
		r->failed = VMS_E_INVAL;
	else
		r->body_bytes = vms_cat_get_encode(request_body(r), key);
	request_send(c, r);
}

static void cat_range(struct vms_catalog *cat, const char *prefix, const char *after,
		      vms_cat_done_fn done, void *arg)
{
	struct vms_cat_client *c = self(cat);
	struct request *r = request_new(c, VMS_MSG_CAT_RANGE, done, arg);

	if (!vms_cat_key_ok(prefix, true) || (after && !vms_cat_key_ok(after, true)))
		r->failed = VMS_E_INVAL;
	else
		r->body_bytes = vms_cat_range_encode(request_body(r), prefix, after);
	request_send(c, r);
}

static void cat_txn(struct vms_catalog *cat, const struct vms_cat_cmp *cmp, unsigned ncmp,
		    const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn done, void *arg)
{
	struct vms_cat_client *c = self(cat);
	struct request *r = request_new(c, VMS_MSG_CAT_TXN, done, arg);
	int rc = vms_cat_txn_encode(&r->payload, cmp, ncmp, op, nop);

	if (rc)
		r->failed = rc;
	request_send(c, r);
}

static uint64_t cat_watch(struct vms_catalog *cat, const char *prefix, uint64_t from_revision,
			  vms_cat_done_fn event, void *arg)
{
	struct vms_cat_client *c = self(cat);
	struct watch *w = calloc(1, sizeof(*w));

	vms_assert(w && vms_cat_key_ok(prefix, true));
	w->id = c->next_watch++;
	strcpy(w->prefix, prefix);
	w->last_revision = from_revision;
	w->event = event;
	w->arg = arg;
	DL_APPEND(c->watches, w);
	watch_send(c, w);
	return w->id;
}

/* No event after this; a WATCH in flight is answered to nobody. */
static void watch_kill(struct vms_cat_client *c, struct watch *w)
{
	struct request *r, *t;

	w->dead = true;
	DL_FOREACH_SAFE (c->requests, r, t)
		if (r->watch == w)
			request_free(c, r);
}

static void watch_end(struct vms_cat_client *c, struct watch *w)
{
	struct request *r;

	watch_kill(c, w);
	if (!c->up)
		return;
	r = request_new(c, VMS_MSG_CAT_UNWATCH, NULL, NULL);
	r->sequence = w->id;
	request_send(c, r);
}

static void cat_unwatch(struct vms_catalog *cat, uint64_t watch)
{
	struct vms_cat_client *c = self(cat);
	struct watch *w;

	DL_FOREACH (c->watches, w)
		if (w->id == watch && !w->dead) {
			watch_end(c, w);
			break;
		}
	watches_sweep(c);
}

static void cat_session_open(struct vms_catalog *cat, uint32_t ttl_ms, vms_cat_done_fn done,
			     void *arg)
{
	struct request *r = request_new(self(cat), VMS_MSG_CAT_SESSION_OPEN, done, arg);

	r->aux = ttl_ms;
	request_send(self(cat), r);
}

static void cat_session_renew(struct vms_catalog *cat, uint64_t session, vms_cat_done_fn done,
			      void *arg)
{
	struct request *r = request_new(self(cat), VMS_MSG_CAT_SESSION_RENEW, done, arg);

	r->sequence = session;
	request_send(self(cat), r);
}

static void cat_session_close(struct vms_catalog *cat, uint64_t session, vms_cat_done_fn done,
			      void *arg)
{
	struct request *r = request_new(self(cat), VMS_MSG_CAT_SESSION_CLOSE, done, arg);

	r->sequence = session;
	request_send(self(cat), r);
}

static void cat_status(struct vms_catalog *cat, vms_cat_done_fn done, void *arg)
{
	request_send(self(cat), request_new(self(cat), VMS_MSG_CAT_STATUS, done, arg));
}

static void cat_forget(struct vms_catalog *cat, void *arg)
{
	struct vms_cat_client *c = self(cat);
	struct request *r, *rt;
	struct watch *w, *wt;

	DL_FOREACH_SAFE (c->watches, w, wt)
		if (w->arg == arg && !w->dead)
			watch_end(c, w);
	/* An UNWATCH has no callback and goes on. */
	DL_FOREACH_SAFE (c->requests, r, rt)
		if (r->done && r->arg == arg)
			request_free(c, r);
	watches_sweep(c);
}

static const struct vms_catalog_ops client_ops = {
	.struct_bytes = sizeof(client_ops),
	.get = cat_get,
	.range = cat_range,
	.txn = cat_txn,
	.watch = cat_watch,
	.unwatch = cat_unwatch,
	.session_open = cat_session_open,
	.session_renew = cat_session_renew,
	.session_close = cat_session_close,
	.status = cat_status,
	.forget = cat_forget,
};

/* ---- lifecycle ---- */

struct vms_cat_client *vms_cat_client_new(const struct vms_cat_client_sink *sink,
					  uint32_t timeout_ms)
{
	struct vms_cat_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->cat.ops = &client_ops;
	c->sink = *sink;
	c->timeout_ms = timeout_ms;
	c->next_req_id = c->next_watch = 1;
	return c;
}

void vms_cat_client_free(struct vms_cat_client *c)
{
	struct request *r, *rt;
	struct watch *w, *wt;

	if (!c)
		return;
	vms_assert(!c->depth);
	DL_FOREACH_SAFE (c->requests, r, rt)
		request_free(c, r);
	DL_FOREACH_SAFE (c->watches, w, wt) {
		DL_DELETE(c->watches, w);
		free(w);
	}
	free(c);
}

struct vms_catalog *vms_cat_client_catalog(struct vms_cat_client *c)
{
	return &c->cat;
}

void vms_cat_client_up(struct vms_cat_client *c, uint64_t now_ms)
{
	struct request *r;
	struct watch *w;

	c->up = true;
	DL_FOREACH (c->requests, r)
		request_send(c, r);
	DL_FOREACH (c->watches, w)
		watch_send(c, w);
}

/* Asking twice would do it twice, or hide what the first one did. */
static bool repeatable(uint8_t type)
{
	return type != VMS_MSG_CAT_TXN && type != VMS_MSG_CAT_SESSION_OPEN;
}

void vms_cat_client_down(struct vms_cat_client *c)
{
	struct request *r, *t;
	struct watch *w;

	c->up = false;
	DL_FOREACH (c->watches, w)
		w->open = false;
	DL_FOREACH_SAFE (c->requests, r, t) {
		if (r->type == VMS_MSG_CAT_WATCH || r->type == VMS_MSG_CAT_UNWATCH)
			request_free(c, r); /* watches are opened anew by _up */
		else if (r->sent && !repeatable(r->type) && !r->failed)
			r->failed = VMS_E_DISCONNECTED;
		else
			r->sent = false;
	}
}

/* ---- answers ---- */

/* Takes r out and tells its owner. */
static void request_done(struct vms_cat_client *c, struct request *r,
			 const struct vms_cat_reply *re)
{
	vms_cat_done_fn done = r->done;
	void *arg = r->arg;

	request_free(c, r);
	if (!done)
		return;
	c->depth++;
	done(arg, re);
	c->depth--;
}

static void watch_fail(struct vms_cat_client *c, struct watch *w, int status)
{
	struct vms_cat_reply re = {.status = status};

	watch_kill(c, w);
	c->depth++;
	w->event(w->arg, &re);
	c->depth--;
}

static void on_event(struct vms_cat_client *c, const struct vms_msg *m, struct vms_cat_kv *kv)
{
	struct vms_cat_reply re;
	struct watch *w;

	DL_FOREACH (c->watches, w)
		if (w->id == m->sequence)
			break;
	if (!w || w->dead || vms_cat_reply_decode(m, &re, kv))
		return;
	if (re.revision <= w->last_revision)
		return;
	w->last_revision = re.revision;
	c->depth++;
	w->event(w->arg, &re);
	c->depth--;
}

static void on_reply(struct vms_cat_client *c, const struct vms_msg *m, struct vms_cat_kv *kv)
{
	struct vms_cat_reply re;
	struct request *r;
	struct watch *w;

	DL_FOREACH (c->requests, r)
		if (r->req_id == m->req_id)
			break;
	if (!r || r->type != m->type || !r->sent || r->failed)
		return; /* forgotten or timed out */
	if (vms_cat_reply_decode(m, &re, kv))
		re = (struct vms_cat_reply){.status = VMS_E_PROTO};
	/* The service sends a change to the watches before any answer that knows of
	 * it: an open watch has seen all it will see up to this revision. */
	if (!re.status)
		DL_FOREACH (c->watches, w)
			if (w->open && !w->dead && re.revision > w->last_revision)
				w->last_revision = re.revision;
	if (r->watch) {
		w = r->watch;
		request_free(c, r);
		w->open = !re.status;
		if (re.status)
			watch_fail(c, w, re.status);
		return;
	}
	request_done(c, r, &re);
}

bool vms_cat_client_msg(struct vms_cat_client *c, const struct vms_msg *m, uint64_t now_ms)
{
	struct vms_cat_kv *kv;

	if (m->type < VMS_MSG_CAT_GET || m->type > VMS_MSG_CAT_STATUS ||
	    (m->type != VMS_MSG_CAT_EVENT && !(m->flags & VMS_F_REPLY)))
		return false;
	if (m->aux > VMS_CAT_REPLY_KV_MAX)
		return true;
	kv = calloc(m->aux + 1, sizeof(*kv));
	vms_assert(kv);
	if (m->type == VMS_MSG_CAT_EVENT)
		on_event(c, m, kv);
	else
		on_reply(c, m, kv);
	free(kv);
	watches_sweep(c);
	return true;
}

void vms_cat_client_timer(struct vms_cat_client *c, uint64_t now_ms)
{
	struct request *r, *t;
	bool again;

	DL_FOREACH_SAFE (c->requests, r, t) {
		if (!r->aged) {
			r->aged = true;
			r->start_ms = now_ms;
		} else if (!r->failed && now_ms - r->start_ms >= c->timeout_ms) {
			/* A watch is not a request with an end: the owner of a slow
			 * catalog's watch just sees no events yet. */
			if (r->watch || r->type == VMS_MSG_CAT_UNWATCH)
				continue;
			r->failed = VMS_E_TIMEOUT;
		}
	}
	/* A callback may make and forget requests: start over after each. */
	do {
		again = false;
		DL_FOREACH (c->requests, r) {
			struct vms_cat_reply re = {.status = r->failed};

			if (!r->failed)
				continue;
			if (r->watch)
				watch_fail(c, r->watch, r->failed);
			else
				request_done(c, r, &re);
			again = true;
			break;
		}
	} while (again);
	watches_sweep(c);
}
