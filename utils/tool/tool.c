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

int tool_print_json(json_t *j)
{
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
	struct vms_msg m = {.type = VMS_MSG_HELLO,
			    .req_id = 1,
			    .partition = VMS_PART_NONE,
			    .body = body};

	snprintf(h.name, sizeof(h.name), "%.40s.%d", t->prog, (int)getpid());
	m.body_bytes = vms_hello_encode(body, &h);
	(void)vms_net_send(t->net, c, &m);
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

	if (t->cc && vms_cat_conn_closed(t->cc, c, err, why, vms_clock_ms()))
		return;
	if (c == t->conn) {
		snprintf(t->why, sizeof(t->why), "%s", why);
		t->status = t->up ? VMS_E_DISCONNECTED : VMS_E_TIMEOUT;
		t->ended = true;
		t->conn = 0;
	} else if (t->gone) {
		t->gone(t->frame_arg, c, why);
	}
}

static void on_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct tool *t = ctx;

	if (t->cc && vms_cat_conn_frame(t->cc, c, m, vms_clock_ms()))
		return;
	if (c != t->conn) {
		if (t->frame && m->type != VMS_MSG_HELLO)
			t->frame(t->frame_arg, c, m);
		return;
	}
	if (m->type == VMS_MSG_HELLO) {
		t->up = true;
		if (m->status) {
			t->status = m->status;
			snprintf(t->why, sizeof(t->why), "%s", vms_err_text(m->status));
			t->ended = true;
		}
		return;
	}
	if (!(m->flags & VMS_F_REPLY) || m->req_id != t->want_req)
		return;
	t->status = m->status;
	snprintf(t->why, sizeof(t->why), "%s", vms_err_text(m->status));
	json_decref(t->answer);
	t->answer = vms_admin_json(m);
	t->ended = true;
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
	if (!conf && !access(VMS_SETTINGS_PATH, R_OK))
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
	json_decref(t->answer);
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
	struct tool_kvs *out;
};

static void on_reply(void *arg, const struct vms_cat_reply *r)
{
	struct waiting *w = arg;

	w->done = true;
	w->status = r->status;
	w->more = r->more;
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
	struct vms_cat_conn_conf c = {.role = VMS_ROLE_TOOL,
				      .timeout_ms = (uint32_t)t->set.cluster.catalog_timeout_ms};

	if (t->cc)
		return vms_cat_conn_catalog(t->cc);
	for (unsigned i = 0; i < t->set.cluster.catalog.n; i++)
		c.address[c.naddresses++] =
			vms_conf_addr_format(&t->set.cluster.catalog.a[i], addr[i]);
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
	if (w->status == VMS_E_TIMEOUT || w->status == VMS_E_DISCONNECTED) {
		why = vms_cat_conn_why(t->cc, NULL);
		return vms_fail(msg, w->status, "%s: no answer from the catalog%s%s", what,
				why[0] ? ": " : "", why);
	}
	if (w->status && w->status != VMS_E_CONFLICT)
		return vms_fail(msg, w->status, "%s: the catalog says: %s", what,
				vms_err_text(w->status));
	if (w->status)
		return vms_fail(msg, w->status, "%s: somebody else changed it at the same time", what);
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

/* ---- other processes ---- */

static void begin(struct tool *t, const char *address)
{
	t->conn = vms_net_connect(t->net, address);
	t->up = t->ended = false;
	t->status = 0;
	t->why[0] = 0;
	json_decref(t->answer);
	t->answer = NULL;
	t->want_req++;
	if (t->want_req == 1)
		t->want_req = 2; /* 1 is HELLO's */
}

static int finish(struct tool *t, const char *address, const char *what, uint32_t timeout_ms,
		  void (*progress)(void *arg, uint64_t waited_ms), void *arg,
		  struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms(), said = t0;
	const char *text;

	while (!t->ended && vms_clock_ms() - t0 < timeout_ms) {
		pump(t, 50);
		if (progress && vms_clock_ms() - said >= 1000) {
			said = vms_clock_ms();
			progress(arg, said - t0);
		}
	}
	if (!t->ended) {
		t->status = VMS_E_TIMEOUT;
		snprintf(t->why, sizeof(t->why), "no answer within %u s",
			 (timeout_ms ? timeout_ms : HELLO_MS_MAX) / 1000);
	}
	if (t->conn) {
		vms_net_close(t->net, t->conn);
		t->conn = 0;
		pump(t, 0);
	}
	if (!t->status)
		return 0;
	text = json_string_value(json_object_get(t->answer, "error"));
	return vms_fail(msg, t->status, "%s at %s: %s", what, address, text ? text : t->why);
}

int tool_call(struct tool *t, const char *address, const char *call, json_t *req,
	      uint32_t timeout_ms, json_t **answer, struct vms_errmsg *msg)
{
	struct vms_admin via = {.ctx = t, .send = send_frame};
	int rc;

	if (!req)
		req = json_object();
	if (call)
		json_object_set_new(req, "call", json_string(call));
	begin(t, address);
	(void)vms_admin_send_json(&via, t->conn, NULL, call ? VMS_MSG_ADMIN : VMS_MSG_STATS,
				  t->want_req, 0, req);
	json_decref(req);
	rc = finish(t, address, call ? call : "statistics", timeout_ms, NULL, NULL, msg);
	if (rc)
		return rc;
	if (!t->answer)
		return vms_fail(msg, VMS_E_PROTO, "%s: the answer is no JSON text", address);
	*answer = t->answer;
	t->answer = NULL;
	return 0;
}

int tool_request(struct tool *t, const char *address, struct vms_msg *m, uint32_t timeout_ms,
		 void (*progress)(void *arg, uint64_t waited_ms), void *arg,
		 struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();

	begin(t, address);
	/* The core on the other side refuses frames before HELLO is answered. */
	while (!t->up && !t->ended && vms_clock_ms() - t0 < HELLO_MS_MAX)
		pump(t, 50);
	m->req_id = t->want_req;
	if (t->up && !t->ended)
		(void)vms_net_send(t->net, t->conn, m);
	else
		timeout_ms = 0;
	return finish(t, address, vms_msg_type_name(m->type), timeout_ms, progress, arg, msg);
}

vms_net_conn tool_connect(struct tool *t, const char *address, struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	vms_net_conn c;

	begin(t, address);
	while (!t->up && !t->ended && vms_clock_ms() - t0 < HELLO_MS_MAX)
		pump(t, 50);
	c = t->conn;
	t->conn = 0;
	if (!t->up || t->ended) {
		vms_fail(msg, VMS_E_DISCONNECTED, "%s: %s", address,
			 t->why[0] ? t->why : "no answer");
		if (c)
			vms_net_close(t->net, c);
		return 0;
	}
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
		return vms_fail(msg, VMS_E_NOENT,
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
