// SPDX-License-Identifier: GPL-2.0-only
/*
 * etcd client: requests, endpoints, the fence; see catalog_etcd.h.
 *
 * Keys below the prefix that no client can name (they begin with '~'):
 *	~fence/NAME  moved to settle NAME's transactions; each compares its revision
 *	~rev	     id of the last transaction; each puts it, so its revision tells
 *		     when anything changed last
 *	~base	     added to etcd's revisions (a catalog that was moved or restored
 *		     goes on above its old revisions)
 *
 * Keeps: a callback never runs from inside the requesting call; each request is
 * answered exactly once unless forgotten; while a fence is wanted nothing else is
 * sent; a transaction that may have left is sent again only after the fence has shown
 * that it was not carried out.
 */
#include "cluster/catalog_etcd_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "cluster/catalog_etcd_wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define REQUESTS_MAX   4096u
#define IN_FLIGHT_MAX  16u
#define PAGE_MAX       512u
#define PAGE_MIN       16u
#define INIT_AGAIN_MS  500u
#define UP_MS	       6000u /* without any answer it counts as down */
#define BACKOFF_MS_MAX 500u

static const uint8_t no_uuid[16];

/* ---- calls ---- */

uint64_t etcd_call(struct vms_cat_etcd *e, unsigned endpoint, const char *path, json_t *body,
		   uint32_t timeout_ms, bool stream, bool once)
{
	char *text = json_dumps(body, JSON_COMPACT);
	struct vms_etcd_call c = {.id = e->next_call++,
				  .endpoint = endpoint,
				  .path = path,
				  .token = e->token && e->token[0] ? e->token : NULL,
				  .body = text,
				  .timeout_ms = timeout_ms,
				  .stream = stream,
				  .once = once};

	vms_assert(text);
	json_decref(body);
	e->n.calls++;
	e->sink.start(e->sink.ctx, &c);
	free(text);
	return c.id;
}

static uint32_t try_ms(const struct vms_cat_etcd *e)
{
	return e->timeout_ms < e->try_ms ? e->timeout_ms : e->try_ms;
}

void etcd_bad(struct vms_cat_etcd *e, unsigned endpoint, const char *why)
{
	e->n.failed++;
	snprintf(e->why, sizeof(e->why), "etcd at %s: %.200s", e->address[endpoint], why);
	if (!e->bad[endpoint])
		vms_warn("%s", e->why);
	e->bad[endpoint] = true;
	if (e->cur == endpoint)
		e->cur = (e->cur + 1) % e->nep;
}

void etcd_good(struct vms_cat_etcd *e, unsigned endpoint)
{
	if (e->bad[endpoint])
		vms_info("etcd at %s answers again", e->address[endpoint]);
	e->bad[endpoint] = false;
	e->last_ok_ms = e->now_ms;
}

bool etcd_header(struct vms_cat_etcd *e, const json_t *root, uint64_t *revision)
{
	const json_t *h = json_object_get(root, "header");
	uint64_t id = vms_etcd_u64(h, "cluster_id");

	*revision = vms_etcd_u64(h, "revision");
	if (!id || (e->cluster_id && id != e->cluster_id))
		return false;
	e->cluster_id = id;
	return true;
}

static void seen(struct vms_cat_etcd *e, uint64_t revision)
{
	if (revision > e->seen)
		e->seen = revision;
}

/* ---- keys and values ---- */

json_t *etcd_key(const struct vms_cat_etcd *e, const char *key)
{
	return vms_etcd_text_json(e->prefix, key);
}

json_t *etcd_range_json(const struct vms_cat_etcd *e, const char *key)
{
	return json_pack("{so}", "key", etcd_key(e, key));
}

bool etcd_kv(const struct vms_cat_etcd *e, const json_t *j, struct vms_cat_kv *kv)
{
	size_t prefix = strlen(e->prefix), n = 0, bytes = 0;
	char *key = vms_etcd_text(j, "key", &n), *val;

	if (!key || n <= prefix || memcmp(key, e->prefix, prefix) || strlen(key) != n) {
		free(key);
		return false;
	}
	memmove(key, key + prefix, n - prefix + 1);
	val = vms_etcd_text(j, "value", &bytes);
	if (!val) {
		val = calloc(1, 1);
		vms_assert(val);
	}
	*kv = (struct vms_cat_kv){.key = key,
				  .val = val,
				  .val_bytes = (uint32_t)bytes,
				  .mod_revision = vms_etcd_u64(j, "mod_revision") + e->base,
				  .create_revision = vms_etcd_u64(j, "create_revision") + e->base};
	return true;
}

void etcd_kv_free(struct vms_cat_kv *kv)
{
	free((char *)kv->key);
	free((char *)kv->val);
}

/* The end of the range of all keys with a prefix; none of them is the engine's own.
 * Keys are printable ASCII. */
static json_t *prefix_end(const struct vms_cat_etcd *e, const char *prefix)
{
	char end[VMS_CAT_KEY_BYTES_MAX + 1];
	size_t n = strlen(prefix);

	if (!n)
		return etcd_key(e, "~");
	memcpy(end, prefix, n + 1);
	end[n - 1]++;
	return etcd_key(e, end);
}

/* First key behind `after`. */
static json_t *behind(const struct vms_cat_etcd *e, const char *after)
{
	size_t p = strlen(e->prefix), n = strlen(after);
	char raw[2 * VMS_CAT_KEY_BYTES_MAX + 2], *b64;
	json_t *j;

	vms_assert(p + n + 1 <= sizeof(raw));
	memcpy(raw, e->prefix, p);
	memcpy(raw + p, after, n + 1);
	b64 = vms_b64_encode(raw, p + n + 1); /* with the NUL */
	j = json_string(b64);
	free(b64);
	return j;
}

static void fence_key(const struct vms_cat_etcd *e, char out[VMS_CAT_KEY_BYTES_MAX])
{
	snprintf(out, VMS_CAT_KEY_BYTES_MAX, "~fence/%.128s", e->name);
}

/* ---- requests ---- */

void etcd_request_free(struct vms_cat_etcd *e, struct request *r)
{
	DL_DELETE(e->requests, r);
	e->nrequests--;
	if (r->call)
		e->in_flight--;
	json_decref(r->cmp);
	json_decref(r->ops);
	free(r);
}

struct request *etcd_request_new(struct vms_cat_etcd *e, enum kind kind, vms_cat_done_fn done,
				 void *arg)
{
	struct request *r = calloc(1, sizeof(*r));

	vms_assert(r);
	r->kind = kind;
	r->done = done;
	r->arg = arg;
	r->deadline_ms = e->now_ms + e->timeout_ms;
	if (e->nrequests >= REQUESTS_MAX)
		r->failed = VMS_E_FULL;
	DL_APPEND(e->requests, r);
	e->nrequests++;
	return r;
}

static json_t *range_body(const struct vms_cat_etcd *e, const struct request *r)
{
	bool from_after = r->after[0] && strcmp(r->after, r->key) >= 0;

	return json_pack("{so so so}", "key",
			 from_after ? behind(e, r->after) : etcd_key(e, r->key), "range_end",
			 prefix_end(e, r->key), "limit", vms_etcd_u64_json(e->page));
}

static json_t *txn_body(struct vms_cat_etcd *e, struct request *r)
{
	json_t *cmp = json_copy(r->cmp), *ops = json_copy(r->ops);
	char fence[VMS_CAT_KEY_BYTES_MAX];

	fence_key(e, fence);
	r->fence = e->fence;
	json_array_append_new(cmp, json_pack("{so ss ss so}", "key", etcd_key(e, fence), "target",
					     "MOD", "result", "EQUAL", "mod_revision",
					     vms_etcd_u64_json(r->fence)));
	if (json_array_size(ops))
		json_array_append_new(ops, json_pack("{s{soso}}", "request_put", "key",
						     etcd_key(e, "~rev"), "value",
						     vms_etcd_text_json("", r->rid)));
	return json_pack("{so so s[{so}]}", "compare", cmp, "success", ops, "failure",
			 "request_range", etcd_range_json(e, fence));
}

static void request_send(struct vms_cat_etcd *e, struct request *r)
{
	const char *path = "/v3/kv/range";
	json_t *body;

	switch (r->kind) {
	case K_GET:
		body = etcd_range_json(e, r->key);
		break;
	case K_RANGE:
		body = range_body(e, r);
		break;
	case K_TXN:
		path = "/v3/kv/txn";
		body = txn_body(e, r);
		break;
	case K_OPEN:
		path = "/v3/lease/grant";
		body = json_pack("{so}", "TTL", vms_etcd_u64_json((r->session + 999) / 1000));
		break;
	case K_RENEW:
		path = "/v3/lease/keepalive";
		body = json_pack("{so}", "ID", vms_etcd_u64_json(r->session));
		break;
	case K_CLOSE:
		path = "/v3/lease/revoke";
		body = json_pack("{so}", "ID", vms_etcd_u64_json(r->session));
		break;
	default:
		body = etcd_range_json(e, "~rev");
	}
	vms_assert(body);
	r->seen = e->seen;
	r->endpoint = e->cur;
	r->tries++;
	r->call = etcd_call(e, e->cur, path, body, try_ms(e), false, r->kind == K_TXN);
	e->in_flight++;
}

static void side_send(struct vms_cat_etcd *e, struct side *s, const char *path, json_t *body)
{
	vms_assert(body);
	s->seen = e->seen;
	s->endpoint = e->cur;
	s->tries++;
	s->call = etcd_call(e, e->cur, path, body, try_ms(e), false, false);
}

static uint64_t again_ms(const struct vms_cat_etcd *e, unsigned tries)
{
	uint32_t wait = 50 * tries;

	if (tries < e->nep)
		return e->now_ms;
	return e->now_ms + (wait < BACKOFF_MS_MAX ? wait : BACKOFF_MS_MAX);
}

/* ---- the engine's own calls ---- */

static json_t *init_body(const struct vms_cat_etcd *e)
{
	char fence[VMS_CAT_KEY_BYTES_MAX];
	json_t *get, *put, *cmp = json_array();

	fence_key(e, fence);
	get = json_pack("[{so}{so}{so}]", "request_range", etcd_range_json(e, fence),
			"request_range", etcd_range_json(e, "~base"), "request_range",
			etcd_range_json(e, "cluster"));
	put = json_deep_copy(get);
	if (e->lasting) {
		json_array_append_new(cmp, json_pack("{so ss ss so}", "key", etcd_key(e, "cluster"),
						     "target", "CREATE", "result", "GREATER",
						     "create_revision", vms_etcd_u64_json(0)));
		json_array_append_new(put, json_pack("{s{so so}}", "request_put", "key",
						     etcd_key(e, fence), "value",
						     vms_etcd_text_json("", "start")));
	}
	return json_pack("{so so so}", "compare", cmp, "success", put, "failure", get);
}

static json_t *fence_body(struct vms_cat_etcd *e)
{
	char fence[VMS_CAT_KEY_BYTES_MAX], text[32];

	fence_key(e, fence);
	snprintf(text, sizeof(text), "%" PRIu64, e->next_rid++);
	return json_pack("{s[{so}{s{so so}}]}", "success", "request_range",
			 etcd_range_json(e, "~rev"), "request_put", "key", etcd_key(e, fence),
			 "value", vms_etcd_text_json("", text));
}

void etcd_pump(struct vms_cat_etcd *e)
{
	struct request *r;

	if (e->refused)
		return;
	if (e->user && !e->token) {
		if (!e->auth.call && e->now_ms >= e->auth.due_ms)
			side_send(e, &e->auth, "/v3/auth/authenticate",
				  json_pack("{ss ss}", "name", e->user, "password", e->password));
		return;
	}
	if (!e->inited) {
		if (!e->init.call && e->now_ms >= e->init.due_ms)
			side_send(e, &e->init, "/v3/kv/txn", init_body(e));
		return;
	}
	if (e->need_fence) {
		if (!e->fencing.call && e->now_ms >= e->fencing.due_ms) {
			e->n.fences++;
			side_send(e, &e->fencing, "/v3/kv/txn", fence_body(e));
		}
	} else {
		DL_FOREACH (e->requests, r) {
			if (e->in_flight >= IN_FLIGHT_MAX)
				break;
			if (!r->call && !r->failed && e->now_ms >= r->not_before_ms)
				request_send(e, r);
		}
	}
	if (!e->poll.call && e->now_ms >= e->poll.due_ms) {
		side_send(e, &e->poll, "/v3/kv/range", etcd_range_json(e, "~rev"));
		watch_poll_sent(e);
	}
	watch_stream_pump(e);
}

/* Answer i of a transaction: its only entry, if there is one. */
static const json_t *txn_kv(const json_t *root, size_t i)
{
	const json_t *re = json_array_get(json_object_get(root, "responses"), i);

	return json_array_get(json_object_get(json_object_get(re, "response_range"), "kvs"), 0);
}

static void note_cluster(struct vms_cat_etcd *e, const struct vms_cat_kv *kv)
{
	struct vms_cat_cluster cl;

	if (strcmp(kv->key, "cluster") || vms_cat_cluster_decode(kv, &cl, NULL))
		return;
	memcpy(e->uuid, cl.uuid, 16);
	if (!memcmp(e->want_uuid, no_uuid, 16) || !memcmp(e->want_uuid, cl.uuid, 16))
		return;
	e->refused = true;
	snprintf(e->why, sizeof(e->why),
		 "the catalog at etcd under %.100s belongs to another cluster", e->prefix);
	vms_error("%s", e->why);
}

static void on_init(struct vms_cat_etcd *e, const json_t *root, uint64_t revision)
{
	const json_t *fence = txn_kv(root, 0), *base = txn_kv(root, 1), *cluster = txn_kv(root, 2);
	size_t bytes;
	struct vms_cat_kv kv;
	char *text;

	e->base = 0;
	text = base ? vms_etcd_text(base, "value", &bytes) : NULL;
	if (text)
		e->base = strtoull(text, NULL, 10);
	free(text);
	if (cluster && etcd_kv(e, cluster, &kv)) {
		note_cluster(e, &kv);
		etcd_kv_free(&kv);
	} else if (e->lasting) {
		e->init.due_ms = e->now_ms + INIT_AGAIN_MS;
		snprintf(e->why, sizeof(e->why),
			 "etcd at %s holds no cluster under %.100s (yet): vmstore-ring init",
			 e->address[e->init.endpoint], e->prefix);
		return;
	}
	e->fence = e->lasting ? revision : fence ? vms_etcd_u64(fence, "mod_revision") : 0;
	e->inited = !e->refused;
}

static void request_done(struct vms_cat_etcd *e, struct request *r, const struct vms_cat_reply *re)
{
	vms_cat_done_fn done = r->done;
	void *arg = r->arg;

	etcd_request_free(e, r);
	if (!done)
		return;
	e->depth++;
	done(arg, re);
	e->depth--;
}

/* Nothing sent before this can be carried out any more: what became of it? */
static void on_fence(struct vms_cat_etcd *e, const json_t *root, uint64_t revision)
{
	const json_t *rev = txn_kv(root, 0);
	uint64_t m = rev ? vms_etcd_u64(rev, "mod_revision") : 0;
	size_t bytes;
	char *last = rev ? vms_etcd_text(rev, "value", &bytes) : NULL;
	struct request *r, *applied = NULL;

	e->fence = revision;
	e->need_fence = false;
	e->fencing.tries = 0;
	DL_FOREACH (e->requests, r) {
		if (!r->unsure || r->failed)
			continue;
		r->unsure = false;
		if (last && !strcmp(last, r->rid)) {
			applied = r;
		} else if (m > r->seen) {
			/* something changed since: it, or somebody else's */
			r->failed = VMS_E_TIMEOUT;
			e->n.unknown++;
		}
	}
	free(last);
	if (applied) {
		struct vms_cat_reply re = {.revision = m + e->base};

		request_done(e, applied, &re);
	}
}

static bool side_ok(struct vms_cat_etcd *e, struct side *s, const struct vms_etcd_event *ev,
		    json_t *root, uint64_t *revision)
{
	enum vms_etcd_error what;
	const char *text;
	int status;

	s->call = 0;
	what = vms_etcd_error(root, ev->http_status, &status, &text);
	if (!ev->http_status)
		text = ev->why;
	if (what == VMS_ETCD_OK && !etcd_header(e, root, revision)) {
		what = VMS_ETCD_TRANSIENT;
		text = "it belongs to another etcd cluster than before";
	}
	if (what == VMS_ETCD_OK && *revision < s->seen) {
		e->n.stale++;
		what = VMS_ETCD_TRANSIENT;
		text = "it answers with an old state";
	}
	if (what == VMS_ETCD_OK) {
		etcd_good(e, s->endpoint);
		seen(e, *revision);
		s->tries = 0;
		return true;
	}
	s->due_ms = again_ms(e, s->tries);
	if (what == VMS_ETCD_AUTH && e->user) {
		free(e->token);
		e->token = NULL;
		return false;
	}
	etcd_bad(e, s->endpoint, text);
	if (s == &e->auth && status == VMS_E_UNSUPPORTED) {
		e->token = strdup(""); /* it wants no users */
		vms_assert(e->token);
	} else if (status == VMS_E_PERM ||
		   (what == VMS_ETCD_AUTH && strstr(text, "user name is empty"))) {
		snprintf(e->why, sizeof(e->why),
			 "etcd at %s: %.150s; correct catalog_user in [cluster]",
			 e->address[s->endpoint], text);
		e->refused = true;
		vms_error("%s", e->why);
	}
	return false;
}

static void side_event(struct vms_cat_etcd *e, struct side *s, const struct vms_etcd_event *ev)
{
	json_t *root = json_loadb(ev->data ? ev->data : "", ev->bytes, 0, NULL);
	uint64_t revision = 0;

	if (!side_ok(e, s, ev, root, &revision)) {
		json_decref(root);
		return;
	}
	if (s == &e->auth) {
		const char *token = json_string_value(json_object_get(root, "token"));

		e->token = strdup(token ? token : "");
		vms_assert(e->token);
	} else if (s == &e->init) {
		on_init(e, root, revision);
	} else if (s == &e->fencing) {
		on_fence(e, root, revision);
	} else {
		const json_t *rev = json_array_get(json_object_get(root, "kvs"), 0);

		bool ahead = watch_polled(e, rev ? vms_etcd_u64(rev, "mod_revision") : 0, revision);

		e->poll.due_ms = e->now_ms;
		if (!ahead)
			e->poll.due_ms += e->st.doubt ? e->poll_ms / 6 : e->poll_ms;
	}
	json_decref(root);
}

/* ---- answers ---- */

static void reply_kvs(struct vms_cat_etcd *e, struct request *r, const json_t *root,
		      struct vms_cat_reply *re)
{
	const json_t *kvs = json_object_get(root, "kvs"), *more = json_object_get(root, "more");
	struct vms_cat_kv *kv = calloc(json_array_size(kvs) + 1, sizeof(*kv));
	unsigned n = 0;

	vms_assert(kv);
	for (size_t i = 0; i < json_array_size(kvs); i++)
		if (etcd_kv(e, json_array_get(kvs, i), &kv[n])) {
			note_cluster(e, &kv[n]);
			n++;
		}
	re->kv = kv;
	re->nkv = r->kind == K_STATUS ? 0 : n;
	re->more = json_is_true(more);
	request_done(e, r, re);
	for (unsigned i = 0; i < n; i++)
		etcd_kv_free(&kv[i]);
	free(kv);
}

/* True: asked again with the fence as it is now. */
static bool fence_moved(struct vms_cat_etcd *e, struct request *r, const json_t *root)
{
	const json_t *kv = txn_kv(root, 0);
	uint64_t m = kv ? vms_etcd_u64(kv, "mod_revision") : 0;

	if (m == r->fence)
		return false;
	if (e->fence == r->fence) /* else it is known already that it moved */
		e->fence = m;
	return true;
}

static void on_answer(struct vms_cat_etcd *e, struct request *r, const json_t *root,
		      uint64_t revision)
{
	struct vms_cat_reply re = {.revision = revision + e->base};
	uint64_t ttl;

	switch (r->kind) {
	case K_TXN:
		if (!json_is_true(json_object_get(root, "succeeded"))) {
			if (fence_moved(e, r, root))
				return;
			re.status = VMS_E_CONFLICT;
		}
		e->full_told = e->full_told && re.status;
		if (!re.status)
			e->full[0] = 0;
		request_done(e, r, &re);
		break;
	case K_OPEN:
		re.session = vms_etcd_u64(root, "ID");
		request_done(e, r, &re);
		break;
	case K_RENEW:
		ttl = vms_etcd_u64(root, "TTL");
		re.session = r->session;
		re.status = ttl ? 0 : VMS_E_NOENT;
		request_done(e, r, &re);
		break;
	case K_CLOSE:
		request_done(e, r, &re);
		break;
	default:
		reply_kvs(e, r, root, &re);
	}
}

static void refused_answer(struct vms_cat_etcd *e, struct request *r, int status, const char *text)
{
	struct vms_cat_reply re = {.status = status, .revision = e->seen + e->base};

	if (status == VMS_E_RANGE && r->kind == K_RANGE && e->page > PAGE_MIN) {
		e->page /= 2; /* the answer was too large: in smaller parts */
		return;
	}
	if (status == VMS_E_NOENT && r->kind == K_CLOSE)
		re.status = 0;
	if (status == VMS_E_NOSPC) {
		snprintf(e->full, sizeof(e->full),
			 "etcd has reached its quota (alarm NOSPACE) and takes no changes: "
			 "compact, defragment and disarm it, see doc/etcd.md");
		if (!e->full_told)
			vms_error("%s", e->full);
		e->full_told = true;
	} else if (status == VMS_E_PERM) {
		snprintf(e->why, sizeof(e->why), "etcd at %s: %.200s", e->address[r->endpoint],
			 text);
	}
	request_done(e, r, &re);
}

/* No usable answer: later, elsewhere. */
static void request_again(struct vms_cat_etcd *e, struct request *r)
{
	r->not_before_ms = again_ms(e, r->tries);
}

static void request_event(struct vms_cat_etcd *e, struct request *r,
			  const struct vms_etcd_event *ev)
{
	json_t *root = json_loadb(ev->data ? ev->data : "", ev->bytes, 0, NULL);
	const json_t *top = root;
	enum vms_etcd_error what;
	uint64_t revision = 0;
	const char *text;
	int status;

	r->call = 0;
	e->in_flight--;
	what = vms_etcd_error(root, ev->http_status, &status, &text);
	if (!ev->http_status)
		text = ev->why;
	if (what == VMS_ETCD_OK && r->kind == K_RENEW)
		top = json_object_get(root, "result");
	if (what == VMS_ETCD_OK && !etcd_header(e, top, &revision)) {
		what = VMS_ETCD_TRANSIENT;
		text = "it belongs to another etcd cluster than before";
	}
	/* What was carried out counts even if the member says an odd revision. */
	if (what == VMS_ETCD_OK && revision < r->seen && r->kind != K_TXN) {
		e->n.stale++;
		what = VMS_ETCD_TRANSIENT;
		text = "it answers with an old state";
	}
	switch (what) {
	case VMS_ETCD_OK:
		etcd_good(e, r->endpoint);
		seen(e, revision);
		on_answer(e, r, top, revision);
		break;
	case VMS_ETCD_REFUSED:
		etcd_good(e, r->endpoint);
		refused_answer(e, r, status, text);
		break;
	case VMS_ETCD_AUTH:
		free(e->token);
		e->token = NULL;
		request_again(e, r);
		r->not_before_ms += 100;
		break;
	default:
		etcd_bad(e, r->endpoint, text);
		if (r->kind == K_TXN && ev->sent)
			r->unsure = e->need_fence = true;
		request_again(e, r);
	}
	json_decref(root);
}

void vms_cat_etcd_event(struct vms_cat_etcd *e, const struct vms_etcd_event *ev, uint64_t now_ms)
{
	struct side *sides[] = {&e->auth, &e->init, &e->fencing, &e->poll};
	struct request *r;

	e->now_ms = now_ms;
	if (e->st.call && ev->id == e->st.call) {
		watch_stream_event(e, ev);
	} else if (ev->end) {
		for (unsigned i = 0; i < 4; i++)
			if (sides[i]->call == ev->id) {
				side_event(e, sides[i], ev);
				goto out;
			}
		DL_FOREACH (e->requests, r)
			if (r->call == ev->id) {
				request_event(e, r, ev);
				break;
			}
	}
out:
	watches_sweep(e);
	etcd_pump(e);
}

/* ---- the clock ---- */

/* Out of time. What may have left is settled before anything else is asked. */
static void request_late(struct vms_cat_etcd *e, struct request *r)
{
	if (r->call) {
		e->sink.cancel(e->sink.ctx, r->call);
		r->call = 0;
		e->in_flight--;
		if (r->kind == K_TXN)
			e->need_fence = true;
	}
	r->failed = VMS_E_TIMEOUT;
}

void vms_cat_etcd_timer(struct vms_cat_etcd *e, uint64_t now_ms)
{
	struct request *r;
	bool again;

	e->now_ms = now_ms;
	watch_stream_deadline(e);
	DL_FOREACH (e->requests, r)
		if (!r->failed && now_ms >= r->deadline_ms)
			request_late(e, r);
	/* A callback may make and forget requests: start over after each. */
	do {
		again = false;
		DL_FOREACH (e->requests, r) {
			struct vms_cat_reply re = {.status = r->failed};

			if (!r->failed)
				continue;
			request_done(e, r, &re);
			again = true;
			break;
		}
	} while (again);
	watches_sweep(e);
	etcd_pump(e);
}

/* ---- lifecycle ---- */

static char *copy(const char *s)
{
	char *c = s ? strdup(s) : NULL;

	vms_assert(c || !s);
	return c;
}

struct vms_cat_etcd *vms_cat_etcd_new(const struct vms_cat_etcd_conf *conf,
				      const struct vms_etcd_sink *sink, uint64_t now_ms)
{
	struct vms_cat_etcd *e = calloc(1, sizeof(*e));
	unsigned h = 0;

	vms_assert(e && conf->naddresses && conf->naddresses <= VMS_ETCD_ENDPOINTS_MAX);
	e->cat.ops = &etcd_ops;
	e->sink = *sink;
	e->nep = conf->naddresses;
	for (unsigned i = 0; i < e->nep; i++)
		e->address[i] = copy(conf->address[i]);
	e->prefix = copy(conf->prefix ? conf->prefix : VMS_CAT_ETCD_PREFIX);
	vms_assert(strlen(e->prefix) < VMS_CAT_KEY_BYTES_MAX);
	e->user = copy(conf->user);
	e->password = copy(conf->password);
	e->name = copy(conf->name);
	e->lasting = conf->lasting;
	memcpy(e->want_uuid, conf->cluster_uuid, 16);
	e->timeout_ms = conf->timeout_ms;
	e->try_ms = conf->try_ms ? conf->try_ms : VMS_CAT_ETCD_TRY_MS;
	e->poll_ms = conf->poll_ms ? conf->poll_ms : VMS_CAT_ETCD_POLL_MS;
	e->seed = conf->seed;
	e->now_ms = now_ms;
	e->next_call = e->next_watch = e->next_rid = 1;
	e->page = PAGE_MAX;
	/* Processes spread over the members. */
	for (const char *c = e->name; *c; c++)
		h = h * 31 + (unsigned char)*c;
	e->cur = h % e->nep;
	vms_buf_init(&e->st.buf, 64u << 20);
	snprintf(e->why, sizeof(e->why), "etcd at %.200s: does not answer", e->address[e->cur]);
	etcd_pump(e);
	return e;
}

void vms_cat_etcd_free(struct vms_cat_etcd *e)
{
	if (!e)
		return;
	vms_assert(!e->depth);
	while (e->requests)
		etcd_request_free(e, e->requests);
	while (e->watches) {
		struct watch *w = e->watches;

		DL_DELETE(e->watches, w);
		free(w);
	}
	vms_buf_free(&e->st.buf);
	for (unsigned i = 0; i < e->nep; i++)
		free(e->address[i]);
	free(e->prefix);
	free(e->user);
	free(e->password);
	free(e->token);
	free(e->name);
	free(e);
}

struct vms_catalog *vms_cat_etcd_catalog(struct vms_cat_etcd *e)
{
	return &e->cat;
}

bool vms_cat_etcd_is_up(const struct vms_cat_etcd *e)
{
	return e->inited && !e->refused && e->last_ok_ms && e->now_ms - e->last_ok_ms < UP_MS;
}

const char *vms_cat_etcd_why(const struct vms_cat_etcd *e, bool *refused)
{
	if (refused)
		*refused = e->refused;
	return vms_cat_etcd_is_up(e) ? e->full : e->why;
}

bool vms_cat_etcd_uuid(const struct vms_cat_etcd *e, uint8_t uuid[16])
{
	memcpy(uuid, e->uuid, 16);
	return memcmp(e->uuid, no_uuid, 16) != 0;
}

const struct vms_cat_etcd_counters *vms_cat_etcd_counters(const struct vms_cat_etcd *e)
{
	return &e->n;
}
