// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/tool.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cluster/catalog_etcd.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define HELLO_MS_MAX 5000u

/* ---- output ---- */

int tool_fail(struct tool *t, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s: ", t->prog);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return TOOL_FAILED;
}

void tool_note(struct tool *t, const char *fmt, ...)
{
	va_list ap;

	if (t->json)
		return;
	fflush(stdout);
	fprintf(stderr, "%s: ", t->prog);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

void tool_catch_signals(void)
{
	/* What is under way is waited for, and may be stuck: a second one ends the process,
	 * which leaves no more behind than any crash of it. */
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

bool tool_interrupted(void)
{
	return interrupted;
}

int tool_print_json(json_t *j)
{
	vms_assert(j);
	json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
	json_decref(j);
	return TOOL_OK;
}

/* ---- connections ---- */

static void on_accepted(void *ctx, vms_net_conn c, const char *peer)
{
}

static void say_hello(struct tool *t, vms_net_conn c)
{
	struct vms_hello h = {.role = VMS_ROLE_TOOL,
			      .version_min = VMS_WIRE_VERSION,
			      .version_max = VMS_WIRE_VERSION};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {
		.type = VMS_MSG_HELLO, .req_id = 1, .partition = VMS_PART_NONE, .body = body};

	snprintf(h.name, sizeof(h.name), "%.40s.%d", t->prog, (int)getpid());
	m.body_bytes = vms_hello_encode(body, &h);
	(void)vms_net_send(t->net, c, &m);
}

static struct tool_peer *peer_of(const struct tool *t, vms_net_conn c)
{
	struct tool_peer *p = t->peers;

	while (p && p->conn != c)
		p = p->next;
	return p;
}

static void peer_unlink(struct tool *t, struct tool_peer *p)
{
	struct tool_peer **at = &t->peers;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	p->next = NULL;
	p->conn = 0;
	p->up = p->queued = false;
}

/* The request under way is over. */
static void peer_done(struct tool_peer *p, int status, const char *why)
{
	if (!p->waiting)
		return;
	p->waiting = p->queued = false;
	p->status = status;
	snprintf(p->why, sizeof(p->why), "%s", why);
}

static void on_connected(void *ctx, vms_net_conn c)
{
	struct tool *t = ctx;

	if (!t->cc || !vms_cat_conn_connected(t->cc, c))
		say_hello(t, c);
}

static void on_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	struct tool *t = ctx;
	struct tool_peer *p;

	if (t->cc && vms_cat_conn_closed(t->cc, c, err, why, vms_clock_ms()))
		return;
	p = peer_of(t, c);
	if (p) {
		peer_done(p, p->up ? VMS_E_DISCONNECTED : VMS_E_TIMEOUT, why);
		snprintf(p->why, sizeof(p->why), "%s", why);
		peer_unlink(t, p);
	} else if (t->gone) {
		t->gone(t->frame_arg, c, why);
	}
}

static void on_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct tool *t = ctx;
	const char *text;
	struct tool_peer *p;

	if (t->cc && vms_cat_conn_frame(t->cc, c, m, vms_clock_ms()))
		return;
	p = peer_of(t, c);
	if (!p) {
		if (t->frame && m->type != VMS_MSG_HELLO)
			t->frame(t->frame_arg, c, m);
		return;
	}
	if (m->type == VMS_MSG_HELLO) {
		p->up = !m->status;
		if (m->status)
			peer_done(p, m->status, vms_err_text(m->status));
		else if (p->queued)
			(void)vms_net_send(t->net, c, &p->m);
		p->queued = false;
		return;
	}
	if (!(m->flags & VMS_F_REPLY) || !p->waiting || m->req_id != p->m.req_id)
		return;
	json_decref(p->answer);
	p->aux = m->aux;
	p->answer = vms_admin_json(m);
	text = json_string_value(json_object_get(p->answer, "error"));
	peer_done(p, m->status, text ? text : vms_err_text(m->status));
}

static int send_frame(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(((struct tool *)ctx)->net, conn, m);
}

static void pump(struct tool *t, int timeout_ms)
{
	vms_net_flush(t->net);
	vms_net_poll(t->net, timeout_ms);
	if (t->cc)
		vms_cat_conn_timer(t->cc, vms_clock_ms());
	vms_net_flush(t->net);
}

static void drop_logs(void *ctx, enum vms_log_level level, const char *text)
{
}

int tool_open(struct tool *t, const char *prog, const char *conf, const char *catalog,
	      struct vms_errmsg *msg)
{
	struct vms_net_handler h = {t, on_accepted, on_connected, on_closed, on_frame};
	int rc;

	memset(t, 0, sizeof(*t));
	t->prog = prog;
	/* Tools tell their errors themselves. */
	vms_log_open(prog, VMS_LOG_ERROR);
	vms_log_set_sink(drop_logs, NULL);
	signal(SIGPIPE, SIG_IGN);
	t->net = vms_net_new(&h, 0);
	if (!conf)
		conf = getenv("VMSTORE_CONF");
	if (conf && !*conf)
		conf = NULL;
	/* one that is there and cannot be read must not be passed over: the defaults may
	 * lead to another cluster */
	if (!conf && (!access(VMS_SETTINGS_PATH, F_OK) || errno == EACCES))
		conf = VMS_SETTINGS_PATH;
	rc = vms_settings_load(&t->set, conf, msg);
	if (!rc && catalog)
		rc = vms_conf_set(vms_settings_keys, "cluster", "catalog", catalog, &t->set, msg);
	return rc;
}

void tool_close(struct tool *t)
{
	if (t->cc)
		vms_cat_conn_free(t->cc);
	t->cc = NULL;
	vms_net_free(t->net);
	vms_settings_close(&t->set);
}

/* ---- catalog ---- */

void tool_kvs_free(struct tool_kvs *v)
{
	for (size_t i = 0; i < v->n; i++) {
		free(v->d[i].key);
		free(v->d[i].val);
	}
	VMS_VEC_FREE(v);
}

struct vms_cat_kv tool_cat_kv(const struct tool_kv *kv)
{
	return (struct vms_cat_kv){.key = kv->key,
				   .val = kv->val,
				   .val_bytes = (uint32_t)strlen(kv->val),
				   .mod_revision = kv->mod_revision};
}

struct waiting {
	bool done;
	int status;
	bool more;
	uint64_t revision;
	struct tool_kvs *out;
};

static void on_reply(void *arg, const struct vms_cat_reply *r)
{
	struct waiting *w = arg;

	w->done = true;
	w->status = r->status;
	w->more = r->more;
	w->revision = r->revision;
	for (unsigned i = 0; w->out && i < r->nkv; i++) {
		struct tool_kv kv = {.key = strdup(r->kv[i].key),
				     .val = strdup(r->kv[i].val),
				     .mod_revision = r->kv[i].mod_revision};

		vms_assert(kv.key && kv.val);
		VMS_VEC_PUSH(w->out, kv);
	}
}

static struct vms_catalog *catalog(struct tool *t)
{
	char addr[VMS_CAT_CONN_ADDRESSES_MAX][VMS_CONF_ADDR_TEXT_MAX];
	struct vms_cat_conn_conf c = {.role = VMS_ROLE_TOOL};

	if (t->cc)
		return vms_cat_conn_catalog(t->cc);
	vms_cat_conn_conf_init(&c, &t->set, addr);
	snprintf(c.name, sizeof(c.name), "%.40s.%d", t->prog, (int)getpid());
	t->cc = vms_cat_conn_new(t->net, &c, vms_clock_ms());
	return vms_cat_conn_catalog(t->cc);
}

/* Waits for w; a catalog that is not there is told of as such. */
static int wait_for(struct tool *t, struct waiting *w, const char *what, struct vms_errmsg *msg)
{
	bool refused;
	const char *why;

	while (!w->done) {
		why = vms_cat_conn_why(t->cc, &refused);
		if (refused) {
			catalog(t)->ops->forget(catalog(t), w);
			return vms_fail(msg, VMS_E_CONFIG, "%s", why);
		}
		pump(t, 50);
	}
	t->revision = w->revision;
	if (w->status == VMS_E_TIMEOUT || w->status == VMS_E_DISCONNECTED) {
		why = vms_cat_conn_why(t->cc, NULL);
		return vms_fail(msg, w->status, "%s: no answer from the catalog%s%s", what,
				why[0] ? ": " : "", why);
	}
	if (w->status && w->status != VMS_E_CONFLICT) {
		why = vms_cat_conn_why(t->cc, NULL);
		return vms_fail(msg, w->status, "%s: the catalog says: %s", what,
				why[0] ? why : vms_err_text(w->status));
	}
	if (w->status)
		return vms_fail(msg, w->status, "%s: somebody else changed it at the same time",
				what);
	return 0;
}

int tool_get(struct tool *t, const char *key, struct tool_kvs *out, struct vms_errmsg *msg)
{
	struct waiting w = {.out = out};
	struct vms_catalog *c = catalog(t);

	*out = (struct tool_kvs)VMS_VEC_INIT;
	c->ops->get(c, key, on_reply, &w);
	return wait_for(t, &w, key, msg);
}

int tool_range(struct tool *t, const char *prefix, struct tool_kvs *out, struct vms_errmsg *msg)
{
	struct vms_catalog *c = catalog(t);
	int rc;

	*out = (struct tool_kvs)VMS_VEC_INIT;
	for (;;) {
		struct waiting w = {.out = out};

		c->ops->range(c, prefix, out->n ? VMS_VEC_LAST(out).key : NULL, on_reply, &w);
		rc = wait_for(t, &w, prefix, msg);
		if (rc || !w.more)
			return rc;
	}
}

int tool_txn(struct tool *t, const struct vms_cat_cmp *cmp, unsigned ncmp,
	     const struct vms_cat_op *op, unsigned nop, struct vms_errmsg *msg)
{
	struct waiting w = {0};
	struct vms_catalog *c = catalog(t);

	c->ops->txn(c, cmp, ncmp, op, nop, on_reply, &w);
	return wait_for(t, &w, nop ? op[0].key : "transaction", msg);
}

int tool_catalog_set(struct tool *t, const char *text, struct vms_errmsg *msg)
{
	if (t->cc)
		vms_cat_conn_free(t->cc);
	t->cc = NULL;
	return text ? vms_conf_set(vms_settings_keys, "cluster", "catalog", text, &t->set, msg) : 0;
}

int tool_catalog_base(struct tool *t, uint64_t base, struct vms_errmsg *msg)
{
	struct waiting w = {0};
	struct vms_cat_etcd *e;
	int rc;

	(void)catalog(t);
	e = vms_cat_conn_etcd(t->cc);
	if (!e)
		return VMS_E_UNSUPPORTED;
	vms_cat_etcd_base_set(e, base, on_reply, &w);
	rc = wait_for(t, &w, "base revision", msg);
	return rc ? rc : tool_catalog_set(t, NULL, msg);
}

bool tool_retry(struct tool *t, unsigned *tries)
{
	uint64_t until;
	uint32_t r;

	if (++*tries > 60)
		return false;
	vms_assert(getrandom(&r, sizeof(r), 0) == sizeof(r));
	until = vms_clock_us() + r % (*tries < 20 ? 4000 * *tries : 80000);
	while (vms_clock_us() < until)
		pump(t, 1);
	return true;
}

uint64_t tool_watch(struct tool *t, const char *prefix, uint64_t from_revision,
		    vms_cat_done_fn event, void *arg)
{
	struct vms_catalog *c = catalog(t);

	return c->ops->watch(c, prefix, from_revision, event, arg);
}

void tool_unwatch(struct tool *t, uint64_t watch)
{
	struct vms_catalog *c = catalog(t);

	if (watch)
		c->ops->unwatch(c, watch);
}

void tool_wait(struct tool *t, uint32_t ms)
{
	pump(t, ms > 50 ? 50 : (int)ms);
}

/* ---- other processes ---- */

void tool_peer_open(struct tool *t, struct tool_peer *p)
{
	if (p->conn)
		return;
	p->conn = vms_net_connect(t->net, p->address);
	p->up = p->queued = false;
	p->why[0] = 0;
	p->next = t->peers;
	t->peers = p;
}

void tool_peer_close(struct tool *t, struct tool_peer *p)
{
	vms_net_conn c = p->conn;

	if (c) {
		peer_unlink(t, p);
		vms_net_close(t->net, c);
	}
	p->waiting = false;
	json_decref(p->answer);
	p->answer = NULL;
}

static void peer_begin(struct tool *t, struct tool_peer *p)
{
	tool_peer_open(t, p);
	p->waiting = true;
	p->queued = false;
	p->status = VMS_E_TIMEOUT;
	p->aux = 0;
	snprintf(p->why, sizeof(p->why), "no answer");
	json_decref(p->answer);
	p->answer = NULL;
}

void tool_peer_send(struct tool *t, struct tool_peer *p, const struct vms_msg *m)
{
	uint64_t last = p->m.req_id;

	peer_begin(t, p);
	p->m = *m;
	p->m.req_id = last < 2 ? 2 : last + 1; /* 1 is HELLO's */
	/* The core on the other side refuses frames before HELLO is answered. */
	p->queued = !p->up;
	if (p->up)
		(void)vms_net_send(t->net, p->conn, &p->m);
}

void tool_peer_ask(struct tool *t, struct tool_peer *p, const char *call, json_t *req)
{
	struct vms_admin via = {.ctx = t, .send = send_frame};

	peer_begin(t, p);
	if (!req)
		req = json_object();
	if (call)
		json_object_set_new(req, "call", json_string(call));
	p->m.req_id = p->m.req_id < 2 ? 2 : p->m.req_id + 1;
	if (vms_admin_send_json(&via, p->conn, NULL, call ? VMS_MSG_ADMIN : VMS_MSG_STATS,
				p->m.req_id, 0, req) == VMS_E_FULL)
		peer_done(p, VMS_E_FULL, "the request is larger than 4 MiB");
	json_decref(req);
}

static unsigned peers_waiting(const struct tool_peer *p, unsigned n)
{
	unsigned left = 0;

	for (unsigned i = 0; i < n; i++)
		left += p[i].waiting;
	return left;
}

bool tool_peers_wait(struct tool *t, struct tool_peer *p, unsigned n, uint32_t timeout_ms,
		     bool (*enough)(void *arg), void *arg)
{
	uint64_t t0 = vms_clock_ms();
	unsigned left;

	while ((left = peers_waiting(p, n)) && vms_clock_ms() - t0 < timeout_ms) {
		if (enough && enough(arg))
			break;
		pump(t, 50);
	}
	for (unsigned i = 0; left && i < n; i++) {
		char why[64];

		snprintf(why, sizeof(why), "no answer within %.1f s", timeout_ms / 1000.0);
		peer_done(&p[i], VMS_E_TIMEOUT, why);
	}
	return !left;
}

static int peer_result(struct tool *t, struct tool_peer *p, const char *what,
		       struct vms_errmsg *msg)
{
	int rc = p->status;

	if (rc)
		vms_fail(msg, rc, "%s at %s: %s", what, p->address, p->why);
	tool_peer_close(t, p);
	pump(t, 0);
	return rc;
}

int tool_call(struct tool *t, const char *address, const char *call, json_t *req,
	      uint32_t timeout_ms, json_t **answer, struct vms_errmsg *msg)
{
	struct tool_peer p = {.conn = 0};
	int rc;

	snprintf(p.address, sizeof(p.address), "%s", address);
	tool_peer_ask(t, &p, call, req);
	tool_peers_wait(t, &p, 1, timeout_ms, NULL, NULL);
	*answer = json_incref(p.answer);
	rc = peer_result(t, &p, call ? call : "statistics", msg);
	if (!rc && !*answer)
		return vms_fail(msg, VMS_E_PROTO, "%s: the answer is no JSON text", address);
	if (rc) {
		json_decref(*answer);
		*answer = NULL;
	}
	return rc;
}

vms_net_conn tool_connect(struct tool *t, const char *address, struct vms_errmsg *msg)
{
	struct tool_peer p = {.conn = 0};
	uint64_t t0 = vms_clock_ms();
	vms_net_conn c;

	snprintf(p.address, sizeof(p.address), "%s", address);
	tool_peer_open(t, &p);
	while (p.conn && !p.up && vms_clock_ms() - t0 < HELLO_MS_MAX)
		pump(t, 50);
	c = p.conn;
	if (!p.up) {
		vms_fail(msg, VMS_E_DISCONNECTED, "%s: %s", address,
			 p.why[0] ? p.why : "no answer");
		tool_peer_close(t, &p);
		return 0;
	}
	peer_unlink(t, &p);
	return c;
}

/* ---- local sockets ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int tool_sockets(struct tool *t, struct tool_names *names, struct vms_errmsg *msg)
{
	const char *dir = t->set.cluster.run_dir;
	struct dirent *de;
	char path[4400];
	DIR *d = opendir(dir);

	*names = (struct tool_names)VMS_VEC_INIT;
	if (!d)
		return vms_fail(
			msg, VMS_E_NOENT,
			"run_dir %s: %s; no process of this configuration has run on this machine",
			dir, strerror(errno));
	while ((de = readdir(d))) {
		size_t n = strlen(de->d_name);

		if (n <= 5 || strcmp(de->d_name + n - 5, ".sock"))
			continue;
		snprintf(path, sizeof(path), "unix:%s/%s", dir, de->d_name);
		VMS_VEC_PUSH(names, strdup(path));
	}
	closedir(d);
	if (names->n)
		qsort(names->d, names->n, sizeof(names->d[0]), by_text);
	return 0;
}

void tool_names_free(struct tool_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->d[i]);
	VMS_VEC_FREE(names);
}

void tool_socket_name(const char *address, char out[128])
{
	const char *base = strrchr(address, '/');
	size_t n;

	base = base ? base + 1 : address;
	n = strlen(base);
	if (n > 5 && !strcmp(base + n - 5, ".sock"))
		n -= 5;
	snprintf(out, 128, "%.*s", (int)n, base);
}

void tool_uuid_new(uint8_t uuid[16])
{
	vms_assert(getrandom(uuid, 16, 0) == 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

void tool_uuid_text(const uint8_t u[16], char out[37])
{
	for (unsigned i = 0, at = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		at += (unsigned)sprintf(out + at, "%02x", u[i]);
	}
}
