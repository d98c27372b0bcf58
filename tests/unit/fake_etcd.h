/* SPDX-License-Identifier: GPL-2.0-only */
/* An etcd of three members in the test's own thread, reached over real sockets: as
 * much of the JSON gateway as VMStore uses, over the engine in memory, and every defect
 * on demand. fake_etcd_turn() moves it. */
#ifndef VMS_TESTS_FAKE_ETCD_H
#define VMS_TESTS_FAKE_ETCD_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/cat_server.h"
#include "cluster/catalog_etcd_wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define FAKE_MEMBERS 3
#define FAKE_CONNS   64

enum fake_how {
	FAKE_WELL,
	FAKE_CLOSED,  /* connections are closed at once */
	FAKE_SILENT,  /* requests are read and never answered */
	FAKE_STALE,   /* reads show the state before the last `behind` revisions */
	FAKE_LOST,    /* transactions: not carried out, connection closed */
	FAKE_APPLIED, /* transactions: carried out, connection closed */
	FAKE_LATE,    /* transactions: kept, connection closed; fake_etcd_late() does them */
	FAKE_HELD,    /* the same without closing: nothing is said */
	FAKE_ERROR,   /* transactions and reads: the error text */
	FAKE_PIECES,  /* answers come in pieces of 7 bytes */
	FAKE_GARBAGE, /* answers are no JSON */
};

struct fake_conn {
	int fd; /* < 0: free */
	unsigned member;
	char *in;
	size_t n;
	bool stream;
	uint64_t from; /* stream: next revision to tell */
};

struct fake_event {
	uint64_t revision;
	char *key, *val;
};

struct fake_etcd {
	struct vms_cat_engine eng;
	int listen[FAKE_MEMBERS];
	unsigned port[FAKE_MEMBERS];
	enum fake_how how[FAKE_MEMBERS];
	unsigned how_often[FAKE_MEMBERS]; /* != 0: then well again */
	unsigned behind;
	char error[128];
	unsigned requests[FAKE_MEMBERS];
	struct fake_conn conn[FAKE_CONNS];
	VMS_VEC(struct fake_event) log;
	uint64_t compacted;
	/* watch defects, all streams */
	bool twice, mute, half;
	uint64_t skip; /* this revision is not told */
	VMS_VEC(json_t *) late;
	VMS_VEC(uint64_t) leases;
	VMS_VEC(struct fake_event) hung; /* key on lease (as revision) */
	uint64_t next_lease;
	bool want_token;
	uint64_t cluster_id;
};

static inline uint64_t fake_rev(struct fake_etcd *f)
{
	return f->eng.ops->revision(f->eng.ctx);
}

static inline json_t *fake_header(struct fake_etcd *f, uint64_t revision)
{
	return json_pack("{so so so}", "cluster_id", vms_etcd_u64_json(f->cluster_id), "member_id",
			 vms_etcd_u64_json(7), "revision", vms_etcd_u64_json(revision));
}

static inline char *fake_text(const json_t *o, const char *field)
{
	size_t n;

	return vms_etcd_text(o, field, &n);
}

static inline json_t *fake_kv(const struct vms_cat_kv *kv)
{
	return json_pack("{so so so so}", "key", vms_etcd_text_json("", kv->key), "value",
			 vms_etcd_text_json("", kv->val), "mod_revision",
			 vms_etcd_u64_json(kv->mod_revision), "create_revision",
			 vms_etcd_u64_json(kv->create_revision));
}

static inline json_t *fake_range(struct fake_etcd *f, const json_t *req, uint64_t revision)
{
	size_t n = 0;
	char *key = vms_etcd_text(req, "key", &n), *end = fake_text(req, "range_end");
	uint64_t limit = vms_etcd_u64(req, "limit"), got = 0;
	json_t *kvs = json_array(), *re = json_object();
	char last[512];
	struct vms_cat_kv kv;
	bool behind = n != strlen(key);

	if (!end) {
		if (!f->eng.ops->get(f->eng.ctx, key, &kv) && kv.mod_revision <= revision)
			json_array_append_new(kvs, fake_kv(&kv));
	} else {
		const char *after = NULL;

		while (!f->eng.ops->next(f->eng.ctx, "", after, &kv)) {
			snprintf(last, sizeof(last), "%s", kv.key);
			after = last;
			if (strcmp(kv.key, key) < (behind ? 1 : 0) || kv.mod_revision > revision)
				continue;
			if (strcmp(kv.key, end) >= 0)
				break;
			if (limit && got == limit) {
				json_object_set_new(re, "more", json_true());
				break;
			}
			json_array_append_new(kvs, fake_kv(&kv));
			got++;
		}
	}
	free(key);
	free(end);
	json_object_set_new(re, "header", fake_header(f, revision));
	if (json_array_size(kvs))
		json_object_set(re, "kvs", kvs);
	json_decref(kvs);
	return re;
}

static inline bool fake_compare(struct fake_etcd *f, const json_t *c)
{
	char *key = fake_text(c, "key");
	struct vms_cat_kv kv = {0};
	bool there = !f->eng.ops->get(f->eng.ctx, key, &kv);

	free(key);
	if (!strcmp(json_string_value(json_object_get(c, "target")), "CREATE"))
		return there;
	return (there ? kv.mod_revision : 0) == vms_etcd_u64(c, "mod_revision");
}

/* Puts and deletes as one revision, if there are any. */
static inline void fake_apply(struct fake_etcd *f, const struct vms_cat_op *op, unsigned nop)
{
	uint64_t revision = fake_rev(f) + 1;

	if (!nop)
		return;
	vms_assert(!f->eng.ops->apply(f->eng.ctx, revision, op, nop));
	for (unsigned i = 0; i < nop; i++) {
		struct fake_event ev = {revision, strdup(op[i].key),
					op[i].val ? strdup(op[i].val) : NULL};

		VMS_VEC_PUSH(&f->log, ev);
	}
}

static inline void fake_hang(struct fake_etcd *f, const char *key, uint64_t lease)
{
	for (size_t i = 0; i < f->hung.n; i++)
		if (!strcmp(f->hung.d[i].key, key)) {
			f->hung.d[i].revision = lease;
			return;
		}
	VMS_VEC_PUSH(&f->hung, ((struct fake_event){lease, strdup(key), NULL}));
}

static inline bool fake_lease(struct fake_etcd *f, uint64_t id, bool drop)
{
	for (size_t i = 0; i < f->leases.n; i++)
		if (f->leases.d[i] == id) {
			if (drop)
				VMS_VEC_REMOVE(&f->leases, i);
			return true;
		}
	return false;
}

static inline json_t *fake_error(const char *text)
{
	return json_pack("{ss ss si}", "error", text, "message", text, "code", 2);
}

static inline json_t *fake_txn(struct fake_etcd *f, const json_t *req)
{
	const json_t *cmp = json_object_get(req, "compare"), *list, *o;
	struct vms_cat_op op[160];
	json_t *responses = json_array(), *re;
	struct vms_cat_kv kv;
	bool ok = true;
	unsigned nop = 0;
	size_t i;

	for (i = 0; i < json_array_size(cmp); i++)
		ok = ok && fake_compare(f, json_array_get(cmp, i));
	list = json_object_get(req, ok ? "success" : "failure");
	if (json_array_size(cmp) > 128 || json_array_size(list) > 128) {
		json_decref(responses);
		return fake_error("etcdserver: too many operations in txn request");
	}
	for (i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);

		if ((o = json_object_get(one, "request_put"))) {
			uint64_t lease = vms_etcd_u64(o, "lease");

			if (lease && !fake_lease(f, lease, false)) {
				while (nop--) {
					free((char *)op[nop].key);
					free((char *)op[nop].val);
				}
				json_decref(responses);
				return fake_error("etcdserver: requested lease not found");
			}
			op[nop++] = (struct vms_cat_op){fake_text(o, "key"), fake_text(o, "value"),
							0};
			fake_hang(f, op[nop - 1].key, lease);
			json_array_append_new(responses, json_pack("{s{}}", "response_put"));
		} else if ((o = json_object_get(one, "request_delete_range"))) {
			char *key = fake_text(o, "key");

			if (!f->eng.ops->get(f->eng.ctx, key, &kv))
				op[nop++] = (struct vms_cat_op){strdup(key), NULL, 0};
			free(key);
			json_array_append_new(responses,
					      json_pack("{s{}}", "response_delete_range"));
		} else {
			json_array_append_new(
				responses,
				json_pack("{so}", "response_range",
					  fake_range(f, json_object_get(one, "request_range"),
						     fake_rev(f))));
		}
	}
	fake_apply(f, op, nop);
	while (nop--) {
		free((char *)op[nop].key);
		free((char *)op[nop].val);
	}
	re = json_pack("{so so}", "header", fake_header(f, fake_rev(f)), "responses", responses);
	if (ok)
		json_object_set_new(re, "succeeded", json_true());
	return re;
}

/* Somebody else changes a key. */
static inline uint64_t fake_put(struct fake_etcd *f, const char *key, const char *val)
{
	struct vms_cat_op op = {key, val, 0};

	fake_apply(f, &op, 1);
	return fake_rev(f);
}

static inline void fake_etcd_late(struct fake_etcd *f)
{
	for (size_t i = 0; i < f->late.n; i++) {
		json_decref(fake_txn(f, f->late.d[i]));
		json_decref(f->late.d[i]);
	}
	f->late.n = 0;
}

static inline json_t *fake_lease_call(struct fake_etcd *f, const char *path, const json_t *req)
{
	uint64_t id = vms_etcd_u64(req, "ID");

	if (!strcmp(path, "/v3/lease/grant")) {
		VMS_VEC_PUSH(&f->leases, ++f->next_lease);
		return json_pack("{so so so}", "header", fake_header(f, fake_rev(f)), "ID",
				 vms_etcd_u64_json(f->next_lease), "TTL", vms_etcd_u64_json(60));
	}
	if (!strcmp(path, "/v3/lease/keepalive")) {
		json_t *r = json_pack("{so so}", "header", fake_header(f, fake_rev(f)), "ID",
				      vms_etcd_u64_json(id));

		if (fake_lease(f, id, false))
			json_object_set_new(r, "TTL", vms_etcd_u64_json(60));
		return json_pack("{so}", "result", r);
	}
	if (!fake_lease(f, id, true))
		return fake_error("etcdserver: requested lease not found");
	for (size_t i = 0; i < f->hung.n; i++)
		if (f->hung.d[i].revision == id)
			fake_put(f, f->hung.d[i].key, NULL);
	return json_pack("{so}", "header", fake_header(f, fake_rev(f)));
}

static inline void fake_close(struct fake_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->in);
	*c = (struct fake_conn){.fd = -1};
}

static inline void fake_write(struct fake_conn *c, const char *data, size_t n)
{
	while (n) {
		ssize_t k = send(c->fd, data, n, MSG_NOSIGNAL);

		if (k <= 0) {
			struct pollfd p = {c->fd, POLLOUT, 0};

			if (k < 0 && errno == EAGAIN && poll(&p, 1, 1000) > 0)
				continue;
			return;
		}
		data += k;
		n -= (size_t)k;
	}
}

static inline void fake_answer(struct fake_etcd *f, struct fake_conn *c, json_t *j, bool pieces)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : strdup("<html>no such page"), *all;
	int n = asprintf(
		&all,
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		json_object_get(j, "error") ? "500 Oops" : "200 OK", strlen(text), text);

	for (int at = 0; at < n; at += pieces ? 7 : n)
		fake_write(c, all + at, pieces && n - at > 7 ? 7 : (size_t)(n - at));
	free(text);
	free(all);
	json_decref(j);
}

/* A line of a watch stream as an HTTP chunk, or two. */
static inline void fake_line(struct fake_etcd *f, struct fake_conn *c, json_t *result)
{
	json_t *top = json_pack("{so}", "result", result);
	char *text = json_dumps(top, JSON_COMPACT), head[32];
	size_t n = strlen(text), first = f->half ? n / 2 : n;

	text = realloc(text, n + 2);
	strcpy(text + n++, "\n");
	first = f->half ? first : n;
	snprintf(head, sizeof(head), "%zx\r\n", first);
	fake_write(c, head, strlen(head));
	fake_write(c, text, first);
	fake_write(c, "\r\n", 2);
	if (first < n) {
		snprintf(head, sizeof(head), "%zx\r\n", n - first);
		fake_write(c, head, strlen(head));
		fake_write(c, text + first, n - first);
		fake_write(c, "\r\n", 2);
	}
	free(text);
	json_decref(top);
}

/* All changes of one revision, by their place in the log. */
static inline void fake_tell(struct fake_etcd *f, struct fake_conn *c, uint64_t revision)
{
	json_t *events = json_array();

	for (size_t i = 0; i < f->log.n; i++) {
		const struct fake_event *e = &f->log.d[i];
		json_t *kv;

		if (e->revision != revision)
			continue;
		kv = json_pack("{so so}", "key", vms_etcd_text_json("", e->key), "mod_revision",
			       vms_etcd_u64_json(revision));
		if (e->val)
			json_object_set_new(kv, "value", vms_etcd_text_json("", e->val));
		json_array_append_new(events,
				      e->val ? json_pack("{so}", "kv", kv)
					     : json_pack("{ss so}", "type", "DELETE", "kv", kv));
	}
	fake_line(f, c,
		  json_pack("{so so}", "header", fake_header(f, fake_rev(f)), "events", events));
}

static inline void fake_watch(struct fake_etcd *f, struct fake_conn *c, const json_t *req)
{
	const char *head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n";

	fake_write(c, head, strlen(head));
	c->stream = true;
	c->from = vms_etcd_u64(json_object_get(req, "create_request"), "start_revision");
	fake_line(f, c, json_pack("{so sb}", "header", fake_header(f, fake_rev(f)), "created", 1));
	if (c->from < f->compacted) {
		fake_line(f, c,
			  json_pack("{so sb so}", "header", fake_header(f, fake_rev(f)), "canceled",
				    1, "compact_revision", vms_etcd_u64_json(f->compacted)));
		c->from = UINT64_MAX;
	}
}

static inline bool fake_is_txn(const char *path)
{
	return !strcmp(path, "/v3/kv/txn");
}

static inline void fake_request(struct fake_etcd *f, struct fake_conn *c, const char *path,
				const char *head, const char *body)
{
	json_t *req = json_loads(body, 0, NULL), *re = NULL;
	enum fake_how how = f->how[c->member];

	f->requests[c->member]++;
	if (f->how_often[c->member] && !--f->how_often[c->member])
		f->how[c->member] = FAKE_WELL;
	if (how == FAKE_SILENT)
		goto out;
	if (!strcmp(path, "/v3/auth/authenticate")) {
		bool ok = !strcmp(json_string_value(json_object_get(req, "password")), "secret");

		fake_answer(f, c,
			    ok ? json_pack("{so ss}", "header", fake_header(f, 0), "token", "t.1")
			       : fake_error("etcdserver: authentication failed, invalid user ID or "
					    "password"),
			    false);
		goto out;
	}
	if (f->want_token && !strstr(head, "uthorization: t.1")) {
		fake_answer(f, c, fake_error("etcdserver: invalid auth token"), false);
		goto out;
	}
	if (how == FAKE_HELD && fake_is_txn(path)) {
		VMS_VEC_PUSH(&f->late, json_incref(req));
		goto out;
	}
	if (how == FAKE_CLOSED || (fake_is_txn(path) && (how == FAKE_LOST || how == FAKE_LATE))) {
		if (how == FAKE_LATE)
			VMS_VEC_PUSH(&f->late, json_incref(req));
		fake_close(c);
		goto out;
	}
	if (how == FAKE_GARBAGE || how == FAKE_ERROR) {
		fake_answer(f, c, how == FAKE_ERROR ? fake_error(f->error) : NULL, false);
		goto out;
	}
	if (!strcmp(path, "/v3/watch")) {
		fake_watch(f, c, req);
		goto out;
	}
	if (fake_is_txn(path))
		re = fake_txn(f, req);
	else if (!strcmp(path, "/v3/kv/range"))
		re = fake_range(f, req, fake_rev(f) - (how == FAKE_STALE ? f->behind : 0));
	else
		re = fake_lease_call(f, path, req);
	if (how == FAKE_APPLIED && fake_is_txn(path)) {
		json_decref(re);
		fake_close(c);
	} else {
		fake_answer(f, c, re, how == FAKE_PIECES);
	}
out:
	json_decref(req);
}

static inline void fake_read(struct fake_etcd *f, struct fake_conn *c)
{
	char path[64], *end, *len, *body;
	size_t need;
	ssize_t k;

	c->in = realloc(c->in, c->n + (256 << 10) + 1);
	k = recv(c->fd, c->in + c->n, 256 << 10, 0);
	if (k <= 0) {
		if (k == 0 || errno != EAGAIN)
			fake_close(c);
		return;
	}
	c->n += (size_t)k;
	c->in[c->n] = 0;
	end = strstr(c->in, "\r\n\r\n");
	if (!end)
		return;
	len = strcasestr(c->in, "Content-Length:");
	need = (size_t)(end + 4 - c->in) + (len ? strtoul(len + 15, NULL, 10) : 0);
	if (c->n < need || sscanf(c->in, "POST %63s", path) != 1)
		return;
	*end = 0;
	body = strndup(end + 4, need - (size_t)(end + 4 - c->in));
	c->n = 0; /* no client here pipelines */
	fake_request(f, c, path, c->in, body);
	free(body);
}

static inline void fake_feed(struct fake_etcd *f)
{
	for (unsigned i = 0; i < FAKE_CONNS; i++) {
		struct fake_conn *c = &f->conn[i];

		if (c->fd < 0 || !c->stream || f->mute)
			continue;
		for (; c->from <= fake_rev(f); c->from++) {
			if (c->from == f->skip)
				continue;
			fake_tell(f, c, c->from);
			if (f->twice)
				fake_tell(f, c, c->from);
		}
	}
}

static inline void fake_etcd_turn(struct fake_etcd *f, int extra_fd, int timeout_ms)
{
	struct pollfd p[FAKE_MEMBERS + FAKE_CONNS + 1];

	fake_feed(f);
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		p[i] = (struct pollfd){f->listen[i], POLLIN, 0};
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		p[FAKE_MEMBERS + i] = (struct pollfd){f->conn[i].fd, POLLIN, 0};
	p[FAKE_MEMBERS + FAKE_CONNS] = (struct pollfd){extra_fd, POLLIN, 0};
	if (poll(p, FAKE_MEMBERS + FAKE_CONNS + 1, timeout_ms) <= 0)
		return;
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		if (p[FAKE_MEMBERS + i].revents && f->conn[i].fd >= 0)
			fake_read(f, &f->conn[i]);
	for (unsigned i = 0; i < FAKE_MEMBERS; i++) {
		int fd = p[i].revents ? accept4(f->listen[i], NULL, NULL, SOCK_NONBLOCK) : -1;
		unsigned k = 0;

		if (fd < 0)
			continue;
		if (f->how[i] == FAKE_CLOSED) {
			close(fd);
			continue;
		}
		while (f->conn[k].fd >= 0)
			vms_assert(++k < FAKE_CONNS);
		f->conn[k].fd = fd;
		f->conn[k].member = i;
	}
	fake_feed(f);
}

/* Every connection to this member is cut. */
static inline void fake_cut(struct fake_etcd *f, unsigned member)
{
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		if (f->conn[i].fd >= 0 && f->conn[i].member == member)
			fake_close(&f->conn[i]);
}

static inline void fake_etcd_open(struct fake_etcd *f)
{
	memset(f, 0, sizeof(*f));
	vms_assert(!vms_cat_engine_mem_open(&f->eng));
	f->cluster_id = 4711;
	f->next_lease = 1000;
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		f->conn[i].fd = -1;
	for (unsigned i = 0; i < FAKE_MEMBERS; i++) {
		struct sockaddr_in a = {.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t n = sizeof(a);

		f->listen[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		vms_assert(!bind(f->listen[i], (struct sockaddr *)&a, sizeof(a)) &&
			   !listen(f->listen[i], 64) &&
			   !getsockname(f->listen[i], (struct sockaddr *)&a, &n));
		f->port[i] = ntohs(a.sin_port);
	}
	fake_put(f, "~~first", "1"); /* etcd begins at revision 1 */
}

static inline void fake_etcd_close(struct fake_etcd *f)
{
	for (unsigned i = 0; i < FAKE_CONNS; i++)
		fake_close(&f->conn[i]);
	for (unsigned i = 0; i < FAKE_MEMBERS; i++)
		close(f->listen[i]);
	for (size_t i = 0; i < f->log.n; i++) {
		free(f->log.d[i].key);
		free(f->log.d[i].val);
	}
	for (size_t i = 0; i < f->hung.n; i++)
		free(f->hung.d[i].key);
	for (size_t i = 0; i < f->late.n; i++)
		json_decref(f->late.d[i]);
	VMS_VEC_FREE(&f->log);
	VMS_VEC_FREE(&f->hung);
	VMS_VEC_FREE(&f->late);
	VMS_VEC_FREE(&f->leases);
	vms_cat_engine_mem_close(&f->eng);
}

#endif
