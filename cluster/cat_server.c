// SPDX-License-Identifier: GPL-2.0-only
/*
 * Embedded catalog service over an engine. Keeps: a transaction is durable before
 * its answer or any event of it leaves; each watch sees every change above its
 * revision in order, or GONE; a connection that repeats the identity of an older
 * one ends the older one first, so that a client that reconnects and reads back
 * can trust what it reads (rules E2).
 *
 * Sessions survive a restart of the service (they begin a full period anew). In
 * the engine they are ordinary keys under '~', which no client can name:
 *	~s/<id>   ttl in ms		~a/<key>  id of the session the key hangs on
 *	~moved	  where the catalog has gone (vms_cat_server_freeze)
 * Recent changes for watches are kept in memory, bounded; a watch from before
 * them is told GONE.
 */
#include "cluster/cat_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "cluster/cat_wire.h"
#include "utils/lib/assert.h"
#include "utils/lib/vec.h"

#define CHANGES_MAX	  4096u
#define CHANGES_BYTES_MAX (16u << 20)
#define WATCHES_MAX	  32768u /* per connection; a gateway has some for each LUN */
#define SESSIONS_MAX	  4096u
#define TTL_MS_MIN	  100u
#define TTL_MS_MAX	  (24u * 3600 * 1000)
#define EXPIRE_BATCH	  64u /* keys of an ended session deleted per revision */

struct watch {
	uint64_t id;
	size_t prefix_bytes;
	UT_hash_handle hh;
	char prefix[];
};

struct conn {
	uint64_t id;
	bool greeted;
	uint8_t role;
	uint32_t sender;
	char name[64];
	struct watch *watches; /* by id, in the order in which they were asked for */
	UT_hash_handle hh;
};

struct session {
	uint64_t id;
	uint32_t ttl_ms;
	uint64_t expires_ms; /* 0: not known yet (just loaded) */
	UT_hash_handle hh;
};

struct attach {
	char key[VMS_CAT_KEY_BYTES_MAX];
	uint64_t session;
	UT_hash_handle hh;
};

struct change {
	uint64_t revision, create;
	char *key, *val; /* val NULL: deleted */
	uint32_t val_bytes;
};

struct vms_cat_server {
	struct vms_cat_engine eng;
	struct vms_cat_server_sink sink;
	struct conn *conns;
	struct session *sessions;
	struct attach *attached;
	struct change *ring; /* CHANGES_MAX entries; the oldest at first % CHANGES_MAX */
	uint64_t first, next;
	size_t ring_bytes;
	uint64_t floor; /* changes above this revision are in the ring */
	uint64_t now_ms;
	int poisoned;
	char moved[VMS_CAT_MOVED_TO_MAX + 1]; /* "": it serves */
	struct vms_buf out;		      /* payload being built */
};

/* ---- engine helpers ---- */

static uint64_t revision(struct vms_cat_server *s)
{
	return s->eng.ops->revision(s->eng.ctx);
}

static void load_sessions(struct vms_cat_server *s)
{
	char after[VMS_CAT_KEY_BYTES_MAX + 8];
	struct vms_cat_kv kv;

	for (const char *a = NULL; !s->eng.ops->next(s->eng.ctx, "~s/", a, &kv);) {
		struct session *se = calloc(1, sizeof(*se));

		vms_assert(se);
		se->id = strtoull(kv.key + 3, NULL, 16);
		se->ttl_ms = (uint32_t)strtoul(kv.val, NULL, 10);
		HASH_ADD(hh, s->sessions, id, sizeof(se->id), se);
		snprintf(after, sizeof(after), "%s", kv.key);
		a = after;
	}
	for (const char *a = NULL; !s->eng.ops->next(s->eng.ctx, "~a/", a, &kv);) {
		struct attach *at = calloc(1, sizeof(*at));

		vms_assert(at);
		snprintf(at->key, sizeof(at->key), "%s", kv.key + 3);
		at->session = strtoull(kv.val, NULL, 16);
		HASH_ADD_STR(s->attached, key, at);
		snprintf(after, sizeof(after), "%s", kv.key);
		a = after;
	}
}

static void load_moved(struct vms_cat_server *s)
{
	struct vms_cat_kv kv;

	s->moved[0] = 0;
	if (!s->eng.ops->get(s->eng.ctx, "~moved", &kv))
		snprintf(s->moved, sizeof(s->moved), "%s", kv.val);
}

struct vms_cat_server *vms_cat_server_new(const struct vms_cat_engine *e,
					  const struct vms_cat_server_sink *sink)
{
	struct vms_cat_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->eng = *e;
	s->sink = *sink;
	s->ring = calloc(CHANGES_MAX, sizeof(*s->ring));
	vms_assert(s->ring);
	vms_buf_init(&s->out, VMS_FRAME_PAYLOAD_BYTES_MAX);
	s->floor = revision(s);
	load_sessions(s);
	load_moved(s);
	return s;
}

static void watch_free(struct conn *c, struct watch *w)
{
	HASH_DEL(c->watches, w);
	free(w);
}

static void conn_free(struct vms_cat_server *s, struct conn *c)
{
	struct watch *w, *wt;

	HASH_DEL(s->conns, c);
	HASH_ITER (hh, c->watches, w, wt)
		watch_free(c, w);
	free(c);
}

static void change_drop_first(struct vms_cat_server *s)
{
	struct change *c = &s->ring[s->first % CHANGES_MAX];

	s->floor = c->revision;
	s->ring_bytes -= c->val_bytes;
	free(c->key);
	free(c->val);
	*c = (struct change){0};
	s->first++;
}

void vms_cat_server_free(struct vms_cat_server *s)
{
	struct conn *c, *ct;
	struct session *se, *st;
	struct attach *at, *att;

	if (!s)
		return;
	HASH_ITER (hh, s->conns, c, ct)
		conn_free(s, c);
	HASH_ITER (hh, s->sessions, se, st) {
		HASH_DEL(s->sessions, se);
		free(se);
	}
	HASH_ITER (hh, s->attached, at, att) {
		HASH_DEL(s->attached, at);
		free(at);
	}
	while (s->first < s->next)
		change_drop_first(s);
	free(s->ring);
	vms_buf_free(&s->out);
	free(s);
}

int vms_cat_server_poisoned(const struct vms_cat_server *s)
{
	return s->poisoned;
}

/* ---- connections ---- */

static struct conn *conn_find(struct vms_cat_server *s, uint64_t id)
{
	struct conn *c;

	HASH_FIND(hh, s->conns, &id, sizeof(id), c);
	return c;
}

void vms_cat_server_accept(struct vms_cat_server *s, uint64_t conn)
{
	struct conn *c = calloc(1, sizeof(*c));

	vms_assert(c && !conn_find(s, conn));
	c->id = conn;
	HASH_ADD(hh, s->conns, id, sizeof(c->id), c);
}

void vms_cat_server_down(struct vms_cat_server *s, uint64_t conn)
{
	struct conn *c = conn_find(s, conn);

	if (c)
		conn_free(s, c);
}

/* The connection's frames count no more from here on; the owner closes it. */
static void conn_end(struct vms_cat_server *s, struct conn *c)
{
	uint64_t id = c->id;

	vms_cat_server_down(s, id);
	s->sink.close(s->sink.ctx, id);
}

/* ---- answers ---- */

/* Sends s->out (nkv entries) as the payload of an answer or event. */
static void send_out(struct vms_cat_server *s, uint64_t conn, struct vms_msg *m, uint64_t rev,
		     uint64_t session, bool more, unsigned nkv)
{
	uint8_t body[VMS_CAT_REPLY_BODY_BYTES];
	struct vms_iov iov = {vms_buf_data(&s->out), vms_buf_len(&s->out)};

	vms_cat_reply_encode(body, rev, session, more);
	m->body = body;
	m->body_bytes = sizeof(body);
	m->aux = nkv;
	if (iov.len) {
		m->payload = &iov;
		m->npayload = 1;
		m->payload_bytes = iov.len;
		m->flags |= VMS_F_PAYLOAD_CRC;
	}
	/* A full queue means that the owner closes the connection and says so. */
	(void)s->sink.send(s->sink.ctx, conn, m);
}

static void answer(struct vms_cat_server *s, uint64_t conn, const struct vms_msg *req, int status,
		   uint64_t session)
{
	struct vms_msg re;

	vms_msg_reply_init(&re, req, status);
	vms_buf_clear(&s->out);
	send_out(s, conn, &re, revision(s), session, false, 0);
}

static void send_changes(struct vms_cat_server *s, uint64_t conn, const struct watch *w,
			 uint64_t rev, unsigned n)
{
	struct vms_msg ev = {
		.type = VMS_MSG_CAT_EVENT, .partition = VMS_PART_NONE, .sequence = w->id};

	send_out(s, conn, &ev, rev, 0, false, n);
}

/* Sends w every change above `from` that is in the ring, one frame per revision:
 * a client that has seen a frame has seen its revision whole. */
static void feed(struct vms_cat_server *s, uint64_t conn, const struct watch *w, uint64_t from)
{
	uint64_t rev = 0, i = s->next;
	unsigned n = 0;

	while (i > s->first && s->ring[(i - 1) % CHANGES_MAX].revision > from)
		i--;
	vms_buf_clear(&s->out);
	for (; i < s->next; i++) {
		const struct change *c = &s->ring[i % CHANGES_MAX];
		struct vms_cat_kv kv = {.key = c->key,
					.val = c->val,
					.val_bytes = c->val_bytes,
					.mod_revision = c->revision,
					.create_revision = c->create};

		if (strncmp(c->key, w->prefix, w->prefix_bytes))
			continue;
		if (n && c->revision != rev) {
			send_changes(s, conn, w, rev, n);
			vms_buf_clear(&s->out);
			n = 0;
		}
		rev = c->revision;
		vms_assert(!vms_cat_kv_encode(&s->out, &kv));
		n++;
	}
	if (n)
		send_changes(s, conn, w, rev, n);
}

/* ---- changes ---- */

static void note_change(struct vms_cat_server *s, uint64_t rev, const struct vms_cat_op *op,
			uint64_t create)
{
	struct change *c;
	uint32_t bytes = op->val ? (uint32_t)strlen(op->val) : 0;

	/* Never split the revision being noted: its own changes are at most
	 * VMS_CAT_TXN_OPS_MAX and VMS_CAT_TXN_BYTES_MAX, well below the bounds. */
	while (s->first < s->next &&
	       (s->next - s->first >= CHANGES_MAX || s->ring_bytes + bytes > CHANGES_BYTES_MAX))
		change_drop_first(s);
	c = &s->ring[s->next++ % CHANGES_MAX];
	c->revision = rev;
	c->create = create;
	c->key = strdup(op->key);
	c->val = op->val ? strdup(op->val) : NULL;
	vms_assert(c->key && (c->val || !op->val));
	c->val_bytes = bytes;
	s->ring_bytes += bytes;
}

static void attach_set(struct vms_cat_server *s, const char *key, uint64_t session)
{
	struct attach *at;

	HASH_FIND_STR(s->attached, key, at);
	if (at && !session) {
		HASH_DEL(s->attached, at);
		free(at);
	} else if (session) {
		if (!at) {
			at = calloc(1, sizeof(*at));
			vms_assert(at);
			snprintf(at->key, sizeof(at->key), "%s", key);
			HASH_ADD_STR(s->attached, key, at);
		}
		at->session = session;
	}
}

/* Apply client ops (and their session marks) plus extra internal ops as one
 * revision, note and publish the changes. Deletes of absent keys are dropped;
 * nothing left to do costs no revision. */
static int apply(struct vms_cat_server *s, const struct vms_cat_op *op, unsigned nop,
		 const struct vms_cat_op *extra, unsigned nextra)
{
	struct vms_cat_op *all = calloc(2 * nop + nextra + 1, sizeof(*all));
	char(*akey)[VMS_CAT_KEY_BYTES_MAX + 8] = calloc(nop + 1, sizeof(*akey));
	char(*aval)[20] = calloc(nop + 1, sizeof(*aval));
	uint64_t *create = calloc(nop + 1, sizeof(*create));
	uint64_t rev = revision(s) + 1;
	unsigned n = 0, nclient;
	struct conn *c, *ct;
	int rc = 0;

	vms_assert(all && akey && aval && create);
	for (unsigned i = 0; i < nop; i++) {
		struct vms_cat_kv old;

		rc = s->eng.ops->get(s->eng.ctx, op[i].key, &old);
		if (rc && rc != VMS_E_NOENT)
			goto out;
		if (rc && !op[i].val)
			continue;
		create[n] = rc ? rev : old.create_revision;
		all[n++] = op[i];
	}
	rc = 0;
	nclient = n;
	for (unsigned i = 0; i < nclient; i++) {
		uint64_t session = all[i].val ? all[i].session : 0;
		struct attach *at;

		HASH_FIND_STR(s->attached, all[i].key, at);
		if (session == (at ? at->session : 0))
			continue;
		snprintf(akey[i], sizeof(akey[i]), "~a/%s", all[i].key);
		snprintf(aval[i], sizeof(aval[i]), "%016" PRIx64, session);
		all[n++] = (struct vms_cat_op){.key = akey[i], .val = session ? aval[i] : NULL};
	}
	for (unsigned i = 0; i < nextra; i++)
		all[n++] = extra[i];
	if (!n)
		goto out;
	rc = s->eng.ops->apply(s->eng.ctx, rev, all, n);
	if (rc) {
		/* A commit that failed half-way may or may not be there after a
		 * restart: nothing more is answered from what memory believes. */
		if (rc != VMS_E_FULL)
			s->poisoned = rc;
		goto out;
	}
	for (unsigned i = 0; i < nclient; i++) {
		attach_set(s, all[i].key, all[i].val ? all[i].session : 0);
		note_change(s, rev, &all[i], create[i]);
	}
	if (nclient)
		HASH_ITER (hh, s->conns, c, ct)
			for (struct watch *w = c->watches; w; w = w->hh.next)
				feed(s, c->id, w, rev - 1);
out:
	free(all);
	free(akey);
	free(aval);
	free(create);
	return rc;
}

/* ---- sessions ---- */

static struct session *session_find(struct vms_cat_server *s, uint64_t id)
{
	struct session *se;

	HASH_FIND(hh, s->sessions, &id, sizeof(id), se);
	return se;
}

static int session_end(struct vms_cat_server *s, struct session *se)
{
	char key[32];
	struct vms_cat_op gone = {.key = key}, op[EXPIRE_BATCH];
	struct attach *at, *t;
	int rc;

	for (;;) {
		unsigned n = 0;

		HASH_ITER (hh, s->attached, at, t) {
			if (at->session != se->id)
				continue;
			if (n == EXPIRE_BATCH)
				break;
			/* a copy: apply() frees the entry */
			op[n++] = (struct vms_cat_op){.key = strdup(at->key)};
			vms_assert(op[n - 1].key);
		}
		if (!n)
			break;
		rc = apply(s, op, n, NULL, 0);
		for (unsigned i = 0; i < n; i++)
			free((char *)op[i].key);
		if (rc)
			return rc;
	}
	snprintf(key, sizeof(key), "~s/%016" PRIx64, se->id);
	rc = apply(s, NULL, 0, &gone, 1);
	if (rc)
		return rc;
	HASH_DEL(s->sessions, se);
	free(se);
	return 0;
}

void vms_cat_server_timer(struct vms_cat_server *s, uint64_t now_ms)
{
	struct session *se, *t;

	s->now_ms = now_ms;
	if (s->poisoned || s->moved[0])
		return;
	HASH_ITER (hh, s->sessions, se, t) {
		if (!se->expires_ms)
			se->expires_ms = now_ms + se->ttl_ms;
		else if (now_ms >= se->expires_ms && session_end(s, se))
			return;
	}
}

static void do_session_open(struct vms_cat_server *s, uint64_t conn, const struct vms_msg *m)
{
	uint32_t ttl_ms = m->aux;
	struct session *se;
	char key[32], val[16];
	struct vms_cat_op op = {.key = key, .val = val};
	int rc;

	if (ttl_ms < TTL_MS_MIN || ttl_ms > TTL_MS_MAX) {
		answer(s, conn, m, VMS_E_INVAL, 0);
		return;
	}
	if (HASH_COUNT(s->sessions) >= SESSIONS_MAX) {
		answer(s, conn, m, VMS_E_FULL, 0);
		return;
	}
	se = calloc(1, sizeof(*se));
	vms_assert(se);
	/* The revision that opens it: never used twice. */
	se->id = revision(s) + 1;
	se->ttl_ms = ttl_ms;
	se->expires_ms = s->now_ms + ttl_ms;
	snprintf(key, sizeof(key), "~s/%016" PRIx64, se->id);
	snprintf(val, sizeof(val), "%" PRIu32, ttl_ms);
	rc = apply(s, NULL, 0, &op, 1);
	if (rc) {
		free(se);
		answer(s, conn, m, rc, 0);
		return;
	}
	HASH_ADD(hh, s->sessions, id, sizeof(se->id), se);
	answer(s, conn, m, 0, se->id);
}

/* ---- requests ---- */

static void do_hello(struct vms_cat_server *s, struct conn *c, const struct vms_msg *m)
{
	struct vms_hello h, mine = {.role = VMS_ROLE_CATALOG,
				    .version_min = VMS_WIRE_VERSION,
				    .version_max = VMS_WIRE_VERSION,
				    .name = "catalog"};
	static const uint8_t unknown[16];
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_cat_cluster cl;
	struct vms_cat_kv kv;
	struct conn *o, *t;
	struct vms_msg re;
	int status = 0;

	if (vms_hello_decode(m, &h)) {
		conn_end(s, c);
		return;
	}
	if (!s->eng.ops->get(s->eng.ctx, "cluster", &kv) && !vms_cat_cluster_decode(&kv, &cl, NULL))
		memcpy(mine.cluster_uuid, cl.uuid, 16);
	if (h.version_min > VMS_WIRE_VERSION || h.version_max < VMS_WIRE_VERSION)
		status = VMS_E_VERSION;
	else if (memcmp(h.cluster_uuid, unknown, 16) && memcmp(mine.cluster_uuid, unknown, 16) &&
		 memcmp(h.cluster_uuid, mine.cluster_uuid, 16))
		status = VMS_E_PERM;
	c->role = h.role;
	c->sender = m->sender;
	snprintf(c->name, sizeof(c->name), "%s", h.name);
	if (!status && h.name[0])
		HASH_ITER (hh, s->conns, o, t)
			if (o != c && o->greeted && o->role == c->role && o->sender == c->sender &&
			    !strcmp(o->name, c->name))
				conn_end(s, o);
	if (s->moved[0]) {
		size_t room = sizeof(mine.name) - sizeof(VMS_CAT_MOVED_NAME);

		snprintf(mine.name, sizeof(mine.name), VMS_CAT_MOVED_NAME "%.*s", (int)room,
			 s->moved);
		if (strlen(s->moved) > room)
			snprintf(mine.address, sizeof(mine.address), "%s", s->moved + room);
	}
	vms_msg_reply_init(&re, m, status);
	re.body = body;
	re.body_bytes = vms_hello_encode(body, &mine);
	(void)s->sink.send(s->sink.ctx, c->id, &re);
	c->greeted = !status;
}

/* ---- moving away ---- */

const char *vms_cat_server_moved(const struct vms_cat_server *s)
{
	return s->moved;
}

int vms_cat_server_freeze(struct vms_cat_server *s, const char *to)
{
	struct vms_cat_op op = {.key = "~moved", .val = to};
	struct conn *c, *t;
	int rc;

	if (to && (!to[0] || strlen(to) > VMS_CAT_MOVED_TO_MAX))
		return VMS_E_INVAL;
	rc = apply(s, NULL, 0, &op, 1);
	if (rc)
		return rc;
	load_moved(s);
	/* Everybody comes again and is told. */
	if (to)
		HASH_ITER (hh, s->conns, c, t)
			if (c->greeted && c->role != VMS_ROLE_TOOL)
				conn_end(s, c);
	return 0;
}

int vms_cat_server_raise(struct vms_cat_server *s, uint64_t to)
{
	struct vms_cat_kv kv;
	int rc;

	if (!s->eng.ops->get(s->eng.ctx, "cluster", &kv))
		return VMS_E_EXIST;
	if (s->poisoned)
		return VMS_E_POISONED;
	if (to <= revision(s))
		return 0;
	rc = s->eng.ops->apply(s->eng.ctx, to, NULL, 0);
	if (rc)
		s->poisoned = rc;
	return rc;
}

static void do_get(struct vms_cat_server *s, uint64_t conn, const struct vms_msg *m)
{
	struct vms_cat_kv kv;
	struct vms_msg re;
	const char *key;
	int rc = vms_cat_get_decode(m, &key);

	if (!rc)
		rc = s->eng.ops->get(s->eng.ctx, key, &kv);
	if (rc && rc != VMS_E_NOENT) {
		answer(s, conn, m, rc, 0);
		return;
	}
	vms_msg_reply_init(&re, m, 0);
	vms_buf_clear(&s->out);
	if (!rc)
		vms_assert(!vms_cat_kv_encode(&s->out, &kv));
	send_out(s, conn, &re, revision(s), 0, false, !rc);
}

static void do_range(struct vms_cat_server *s, uint64_t conn, const struct vms_msg *m)
{
	char last[VMS_CAT_KEY_BYTES_MAX + 8];
	const char *prefix, *after;
	struct vms_cat_kv kv;
	struct vms_msg re;
	bool more = false;
	unsigned n = 0;
	int rc = vms_cat_range_decode(m, &prefix, &after);

	if (rc) {
		answer(s, conn, m, rc, 0);
		return;
	}
	vms_buf_clear(&s->out);
	while (!(rc = s->eng.ops->next(s->eng.ctx, prefix, after, &kv)) && kv.key[0] != '~') {
		if (n == VMS_CAT_RANGE_KEYS_MAX || vms_buf_len(&s->out) > VMS_CAT_RANGE_BYTES_MAX) {
			more = true;
			break;
		}
		vms_assert(!vms_cat_kv_encode(&s->out, &kv));
		n++;
		snprintf(last, sizeof(last), "%s", kv.key);
		after = last;
	}
	if (rc && rc != VMS_E_NOENT) {
		answer(s, conn, m, rc, 0);
		return;
	}
	vms_msg_reply_init(&re, m, 0);
	send_out(s, conn, &re, revision(s), 0, more, n);
}

static int check_and_apply(struct vms_cat_server *s, const struct vms_msg *m)
{
	struct vms_cat_cmp cmp[VMS_CAT_TXN_OPS_MAX];
	struct vms_cat_op op[VMS_CAT_TXN_OPS_MAX];
	unsigned ncmp, nop;
	int rc = vms_cat_txn_decode(m, cmp, &ncmp, op, &nop);

	if (rc)
		return rc;
	for (unsigned i = 0; i < ncmp; i++) {
		struct vms_cat_kv kv = {0};

		rc = s->eng.ops->get(s->eng.ctx, cmp[i].key, &kv);
		if (rc && rc != VMS_E_NOENT)
			return rc;
		if ((rc ? 0 : kv.mod_revision) != cmp[i].mod_revision)
			return VMS_E_CONFLICT;
	}
	for (unsigned i = 0; i < nop; i++)
		if (op[i].session && !session_find(s, op[i].session))
			return VMS_E_NOENT;
	return apply(s, op, nop, NULL, 0);
}

static struct watch *watch_find(struct conn *c, uint64_t id)
{
	struct watch *w;

	HASH_FIND(hh, c->watches, &id, sizeof(id), w);
	return w;
}

static void do_watch(struct vms_cat_server *s, struct conn *c, const struct vms_msg *m)
{
	const char *prefix;
	uint64_t id, from;
	struct watch *w;
	int rc = vms_cat_watch_decode(m, &id, &from, &prefix);

	if (!rc && HASH_COUNT(c->watches) >= WATCHES_MAX)
		rc = VMS_E_FULL;
	if (!rc && watch_find(c, id))
		rc = VMS_E_EXIST;
	if (!rc && (from < s->floor || from > revision(s)))
		rc = VMS_E_GONE;
	answer(s, c->id, m, rc, 0);
	if (rc)
		return;
	w = calloc(1, sizeof(*w) + strlen(prefix) + 1);
	vms_assert(w);
	w->id = id;
	w->prefix_bytes = strlen(prefix);
	memcpy(w->prefix, prefix, w->prefix_bytes);
	HASH_ADD(hh, c->watches, id, sizeof(w->id), w);
	feed(s, c->id, w, from);
}

static void do_unwatch(struct vms_cat_server *s, struct conn *c, const struct vms_msg *m)
{
	struct watch *w = watch_find(c, m->sequence);

	if (w)
		watch_free(c, w);
	answer(s, c->id, m, 0, 0);
}

void vms_cat_server_msg(struct vms_cat_server *s, uint64_t conn, const struct vms_msg *m,
			uint64_t now_ms)
{
	struct conn *c = conn_find(s, conn);
	struct session *se;

	s->now_ms = now_ms;
	if (!c)
		return; /* ended from here; its last frames do not count */
	if (m->flags & VMS_F_REPLY) {
		conn_end(s, c);
		return;
	}
	if (m->type == VMS_MSG_HELLO) {
		do_hello(s, c, m);
		return;
	}
	if (!c->greeted) {
		conn_end(s, c);
		return;
	}
	if (s->poisoned && m->type != VMS_MSG_CAT_STATUS) {
		answer(s, conn, m, VMS_E_POISONED, 0);
		return;
	}
	if (s->moved[0]) {
		answer(s, conn, m, VMS_E_PERM, 0);
		return;
	}
	switch (m->type) {
	case VMS_MSG_CAT_GET:
		do_get(s, conn, m);
		break;
	case VMS_MSG_CAT_RANGE:
		do_range(s, conn, m);
		break;
	case VMS_MSG_CAT_TXN:
		answer(s, conn, m, check_and_apply(s, m), 0);
		break;
	case VMS_MSG_CAT_WATCH:
		do_watch(s, c, m);
		break;
	case VMS_MSG_CAT_UNWATCH:
		do_unwatch(s, c, m);
		break;
	case VMS_MSG_CAT_SESSION_OPEN:
		do_session_open(s, conn, m);
		break;
	case VMS_MSG_CAT_SESSION_RENEW:
		se = session_find(s, m->sequence);
		if (se)
			se->expires_ms = now_ms + se->ttl_ms;
		answer(s, conn, m, se ? 0 : VMS_E_NOENT, se ? se->id : 0);
		break;
	case VMS_MSG_CAT_SESSION_CLOSE:
		se = session_find(s, m->sequence);
		answer(s, conn, m, se ? session_end(s, se) : 0, 0);
		break;
	case VMS_MSG_CAT_STATUS:
		answer(s, conn, m, s->poisoned ? VMS_E_POISONED : 0, 0);
		break;
	default:
		answer(s, conn, m, VMS_E_UNSUPPORTED, 0);
	}
}
