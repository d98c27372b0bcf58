// SPDX-License-Identifier: GPL-2.0-only
/* The gateway core bound to real I/O; see gw_posix.h. */
#include "target/gw_posix.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cluster/admin.h"
#include "cluster/cat_conn.h"
#include "cluster/net.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define CAT_TIMER_MS	100u
#define TRACE_BYTES_MAX (32u << 10)
#define TRACERS_MAX	16u
#define REMOTE_MAX	32u /* connections of `listen` at a time; beyond: the oldest goes */

struct node {
	uint32_t id;
	vms_net_conn conn; /* 0: none, and none being made */
	bool up;
	struct node *next;
};

struct vol {
	struct vms_gw_vol *vol;
	void *arg;
	char name[240];
	struct vms_gwp *p;
	struct vol *next;
};

/* One `vmstore trace`: lines are collected and sent in frames. */
struct tracer {
	vms_net_conn conn; /* 0: free */
	struct vol *vol;
	size_t used;
	char text[TRACE_BYTES_MAX];
};

struct vms_gwp {
	struct vms_gwp_hooks hooks;
	const struct vms_settings *settings;
	char name[64];
	struct vms_net *net;
	struct vms_cat_conn *cat;
	struct vms_gw *gw;
	struct node *nodes;
	struct vol *vols;
	struct tracer *tracer[TRACERS_MAX];
	struct vms_admin admin;	  /* for the local socket */
	struct vms_admin outside; /* for `listen`: which catalog, nothing else */
	vms_net_conn *local;	  /* connections of the local socket */
	unsigned nlocal, local_room;
	vms_net_conn remote[REMOTE_MAX]; /* connections of `listen`, the oldest first */
	unsigned nremote;
	int timer_fd;
	uint64_t core_deadline_ms, cat_deadline_ms, armed_ms; /* 0: none */
	struct vms_timing timing;
	bool timing_asked, timing_known, ready_told;
	uint32_t gateway_id;
	bool drop;
	char drop_why[160];
	char socket_path[256];
};

/* ---- timers ---- */

static void arm(struct vms_gwp *p)
{
	uint64_t at = p->cat_deadline_ms;
	struct itimerspec t = {0};

	if (p->core_deadline_ms && p->core_deadline_ms < at)
		at = p->core_deadline_ms;
	/* an earlier expiry than needed does no harm and saves a system call */
	if (p->armed_ms && p->armed_ms <= at)
		return;
	t.it_value.tv_sec = (time_t)(at / 1000);
	t.it_value.tv_nsec = (long)(at % 1000) * 1000000;
	if (!t.it_value.tv_sec && !t.it_value.tv_nsec)
		t.it_value.tv_nsec = 1;
	if (!timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &t, NULL))
		p->armed_ms = at;
}

/* ---- sinks of the core ---- */

static struct node *node_find(struct vms_gwp *p, uint32_t id)
{
	for (struct node *n = p->nodes; n; n = n->next)
		if (n->id == id)
			return n;
	return NULL;
}

static struct node *node_by_conn(struct vms_gwp *p, vms_net_conn c)
{
	for (struct node *n = p->nodes; n; n = n->next)
		if (n->conn == c)
			return n;
	return NULL;
}

static int up_send(void *ctx, uint32_t id, const struct vms_msg *m)
{
	struct vms_gwp *p = ctx;
	struct node *n = node_find(p, id);

	if (!n || !n->conn)
		return VMS_E_DISCONNECTED;
	return vms_net_send(p->net, n->conn, m);
}

static void up_connect(void *ctx, uint32_t id, const char *address)
{
	struct vms_gwp *p = ctx;
	struct node *n = node_find(p, id);

	if (!n) {
		n = calloc(1, sizeof(*n));
		vms_assert(n);
		n->id = id;
		n->next = p->nodes;
		p->nodes = n;
	}
	if (n->conn && !n->up)
		return; /* being made */
	if (n->conn)
		vms_net_close(p->net, n->conn);
	n->up = false;
	n->conn = vms_net_connect(p->net, address);
}

static void up_disconnect(void *ctx, uint32_t id)
{
	struct vms_gwp *p = ctx;
	struct node *n = node_find(p, id);

	if (!n || !n->conn)
		return;
	/* the core asked for it: no CONN_DOWN follows */
	vms_net_close(p->net, n->conn);
	n->conn = 0;
	n->up = false;
}

static void up_complete(void *ctx, struct vms_gw_cmd *cmd)
{
	struct vms_gwp *p = ctx;

	p->hooks.complete(p->hooks.ctx, cmd);
}

static void up_drop(void *ctx, const char *why)
{
	struct vms_gwp *p = ctx;

	/* Closing connections aborts commands, which calls into the core: later. */
	p->drop = true;
	snprintf(p->drop_why, sizeof(p->drop_why), "%s", why);
}

static void up_vol_opened(void *ctx, struct vms_gw_vol *vol, void *arg, int status,
			  const char *text)
{
	struct vms_gwp *p = ctx;
	struct vol *v = arg, **at;

	if (!status) {
		v->vol = vol;
	} else {
		for (at = &p->vols; *at != v; at = &(*at)->next)
			;
		*at = v->next;
	}
	p->hooks.vol_opened(p->hooks.ctx, vol, v->arg, status, text);
	if (status)
		free(v);
}

static void up_pr_complete(void *ctx, struct vms_gw_pr_cmd *cmd)
{
	struct vms_gwp *p = ctx;

	p->hooks.pr_complete(p->hooks.ctx, cmd);
}

static bool up_pr_changed(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *table)
{
	struct vms_gwp *p = ctx;

	return p->hooks.pr_changed(p->hooks.ctx, vol, table);
}

static void up_vol_changed(void *ctx, struct vms_gw_vol *vol)
{
	struct vms_gwp *p = ctx;

	p->hooks.vol_changed(p->hooks.ctx, vol);
}

static void up_deadline(void *ctx, uint64_t at_ms)
{
	struct vms_gwp *p = ctx;

	p->core_deadline_ms = at_ms;
}

static void up_fatal(void *ctx, int err, const char *text)
{
	struct vms_gwp *p = ctx;

	p->hooks.fatal(p->hooks.ctx, err, text);
}

static void up_log(void *ctx, int level, const char *text)
{
	vms_log(level, "%s", text);
}

/* ---- start ---- */

/* The core has its own idea of the times; the transport needs them as well. */
static void on_cluster(void *arg, const struct vms_cat_reply *r)
{
	struct vms_gwp *p = arg;
	struct vms_cat_cluster c;

	p->timing_asked = false;
	if (r->status || !r->nkv || vms_cat_cluster_decode(&r->kv[0], &c, NULL))
		return;
	p->timing = vms_timing_default(c.timing_factor);
	p->timing_known = true;
}

static void check_ready(struct vms_gwp *p)
{
	json_t *j;

	if (p->ready_told)
		return;
	if (!p->timing_known && !p->timing_asked && vms_cat_conn_is_up(p->cat)) {
		struct vms_catalog *c = vms_cat_conn_catalog(p->cat);

		p->timing_asked = true;
		c->ops->get(c, "cluster", on_cluster, p);
	}
	if (!p->timing_known || !vms_gw_ready(p->gw))
		return;
	j = vms_gw_json(p->gw, "status");
	p->gateway_id = (uint32_t)json_integer_value(json_object_get(j, "id"));
	json_decref(j);
	p->ready_told = true;
	p->hooks.ready(p->hooks.ctx, &p->timing, p->gateway_id);
}

/* What the core wanted but could not be done inside it. */
static void after_core(struct vms_gwp *p)
{
	if (p->drop) {
		p->drop = false;
		p->hooks.drop_initiators(p->hooks.ctx, p->drop_why);
	}
}

/* ---- statistics, administration, traces ---- */

static json_t *admin_stats(void *ctx)
{
	struct vms_gwp *p = ctx;
	const struct vms_net_counters *n = vms_net_counters(p->net);
	json_t *j = vms_gw_json(p->gw, "stats"), *more;

	if (!j)
		j = json_object();
	json_object_set_new(j, "net.frames_in", json_integer((json_int_t)n->frames_in));
	json_object_set_new(j, "net.frames_out", json_integer((json_int_t)n->frames_out));
	json_object_set_new(j, "net.bytes_in", json_integer((json_int_t)n->bytes_in));
	json_object_set_new(j, "net.bytes_out", json_integer((json_int_t)n->bytes_out));
	json_object_set_new(j, "net.reads", json_integer((json_int_t)n->reads));
	json_object_set_new(j, "net.writes", json_integer((json_int_t)n->writes));
	json_object_set_new(j, "net.connections", json_integer((json_int_t)n->connections));
	vms_cat_conn_stats(p->cat, j);
	more = p->hooks.stats ? p->hooks.stats(p->hooks.ctx) : NULL;
	if (more) {
		json_object_update(j, more);
		json_decref(more);
	}
	return j;
}

static void trace_send(struct vms_gwp *p, struct tracer *t)
{
	struct vms_msg m = {
		.type = VMS_MSG_ADMIN, .partition = VMS_PART_NONE, .flags = VMS_F_PAYLOAD_CRC};
	struct vms_iov iov = {t->text, t->used};

	if (!t->used)
		return;
	m.payload = &iov;
	m.npayload = 1;
	m.payload_bytes = t->used;
	(void)vms_net_send(p->net, t->conn, &m);
	t->used = 0;
}

static void trace_line(void *arg, char op, uint64_t offset, uint64_t len)
{
	struct vol *v = arg;
	struct vms_gwp *p = v->p;
	char line[96];
	int n = snprintf(line, sizeof(line), "%llu %c %llu %llu\n",
			 (unsigned long long)vms_clock_us(), op, (unsigned long long)offset,
			 (unsigned long long)len);

	for (unsigned i = 0; i < TRACERS_MAX; i++) {
		struct tracer *t = p->tracer[i];

		if (!t || t->vol != v)
			continue;
		if (t->used + (size_t)n > sizeof(t->text))
			trace_send(p, t);
		memcpy(t->text + t->used, line, (size_t)n);
		t->used += (size_t)n;
	}
}

/* Tracing costs nothing while nobody listens. */
static void trace_switch(struct vms_gwp *p, struct vol *v)
{
	bool on = false;

	for (unsigned i = 0; i < TRACERS_MAX; i++)
		on |= p->tracer[i] && p->tracer[i]->vol == v;
	vms_gw_vol_trace(v->vol, on ? trace_line : NULL, v);
}

static void trace_end(struct vms_gwp *p, unsigned i)
{
	struct tracer *t = p->tracer[i];

	p->tracer[i] = NULL;
	trace_switch(p, t->vol);
	free(t);
}

static int trace_start(struct vms_gwp *p, vms_net_conn conn, const char *name,
		       struct vms_errmsg *msg)
{
	struct vol *v;
	unsigned i;

	for (v = p->vols; v; v = v->next)
		if (v->vol && name && !strcmp(v->name, name))
			break;
	if (!v)
		return vms_fail(msg, VMS_E_NOENT, "volume '%s' is not open on gateway %s",
				name ? name : "", p->name);
	for (i = 0; i < TRACERS_MAX && p->tracer[i]; i++)
		if (p->tracer[i]->conn == conn)
			return vms_fail(msg, VMS_E_EXIST, "this connection has a trace already");
	if (i == TRACERS_MAX)
		return vms_fail(msg, VMS_E_FULL, "%u traces are running already", TRACERS_MAX);
	p->tracer[i] = calloc(1, sizeof(struct tracer));
	vms_assert(p->tracer[i]);
	p->tracer[i]->conn = conn;
	p->tracer[i]->vol = v;
	trace_switch(p, v);
	return 0;
}

static int identity(struct vms_gwp *p, json_t **answer)
{
	*answer = json_pack("{ss ss}", "role", "gateway", "name", p->name);
	if (!*answer)
		return VMS_E_NOMEM;
	vms_cat_conn_tell(p->settings, *answer);
	return 0;
}

static int outside_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
			struct vms_errmsg *msg)
{
	if (!strcmp(call, "identity"))
		return identity(ctx, answer);
	return vms_fail(msg, VMS_E_UNSUPPORTED, "a gateway answers '%s' on its local socket only",
			call);
}

static int admin_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		      struct vms_errmsg *msg)
{
	struct vms_gwp *p = ctx;

	if (!strcmp(call, "status")) {
		json_t *j = vms_gw_json(p->gw, "status");

		if (!j)
			j = json_object();
		json_object_set_new(j, "role", json_string("gateway"));
		json_object_set_new(j, "name", json_string(p->name));
		json_object_set_new(j, "version", json_string(VMS_VERSION));
		json_object_set_new(j, "pid", json_integer(getpid()));
		json_object_set_new(j, "ready", json_boolean(vms_gw_ready(p->gw)));
		json_object_set_new(j, "catalog", json_boolean(vms_cat_conn_is_up(p->cat)));
		*answer = j;
		return 0;
	}
	if (!strcmp(call, "identity"))
		return identity(p, answer);
	if (!strcmp(call, "volumes")) {
		*answer = vms_gw_json(p->gw, "volumes");
		return *answer ? 0 : VMS_E_NOMEM;
	}
	if (!strcmp(call, "trace"))
		return trace_start(p, conn, json_string_value(json_object_get(req, "volume")), msg);
	return vms_fail(msg, VMS_E_UNSUPPORTED, "a gateway has no call '%s'", call);
}

static int admin_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	struct vms_gwp *p = ctx;

	return vms_net_send(p->net, conn, m);
}

/* ---- connections ---- */

/* False: it is none of them. */
static bool remote_forget(struct vms_gwp *p, vms_net_conn c)
{
	for (unsigned i = 0; i < p->nremote; i++)
		if (p->remote[i] == c) {
			memmove(&p->remote[i], &p->remote[i + 1],
				(p->nremote - i - 1) * sizeof(p->remote[0]));
			p->nremote--;
			return true;
		}
	return false;
}

static bool is_remote(const struct vms_gwp *p, vms_net_conn c)
{
	for (unsigned i = 0; i < p->nremote; i++)
		if (p->remote[i] == c)
			return true;
	return false;
}

static void on_accepted(void *ctx, vms_net_conn c, const char *peer)
{
	struct vms_gwp *p = ctx;

	if (strcmp(peer, "local") != 0) {
		if (p->nremote == REMOTE_MAX)
			vms_net_close(p->net, p->remote[0]);
		if (p->nremote == REMOTE_MAX)
			remote_forget(p, p->remote[0]);
		p->remote[p->nremote++] = c;
		return;
	}
	if (p->nlocal == p->local_room) {
		p->local_room = p->local_room ? 2 * p->local_room : 8;
		p->local = realloc(p->local, p->local_room * sizeof(*p->local));
		vms_assert(p->local);
	}
	p->local[p->nlocal++] = c;
}

static bool is_local(const struct vms_gwp *p, vms_net_conn c, unsigned *at)
{
	for (unsigned i = 0; i < p->nlocal; i++)
		if (p->local[i] == c) {
			*at = i;
			return true;
		}
	return false;
}

static void on_connected(void *ctx, vms_net_conn c)
{
	struct vms_gwp *p = ctx;
	struct node *n;
	struct vms_gw_event ev = {.type = VMS_GEV_CONN_UP, .now_ms = vms_clock_ms()};

	if (vms_cat_conn_connected(p->cat, c))
		return;
	n = node_by_conn(p, c);
	if (!n)
		return;
	n->up = true;
	ev.node = n->id;
	vms_gw_step(p->gw, &ev);
}

static void on_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	struct vms_gwp *p = ctx;
	struct vms_gw_event ev = {.type = VMS_GEV_CONN_DOWN, .now_ms = vms_clock_ms()};
	struct node *n;
	unsigned at;

	if (vms_cat_conn_closed(p->cat, c, err, why, ev.now_ms))
		return;
	if (remote_forget(p, c))
		return;
	if (is_local(p, c, &at)) {
		p->local[at] = p->local[--p->nlocal];
		for (unsigned i = 0; i < TRACERS_MAX; i++)
			if (p->tracer[i] && p->tracer[i]->conn == c)
				trace_end(p, i);
		return;
	}
	n = node_by_conn(p, c);
	if (!n)
		return;
	n->conn = 0;
	n->up = false;
	ev.node = n->id;
	vms_gw_step(p->gw, &ev);
}

static void on_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct vms_gwp *p = ctx;
	struct vms_gw_event ev = {.type = VMS_GEV_MSG, .now_ms = vms_clock_ms(), .msg = m};
	struct node *n = node_by_conn(p, c);
	unsigned at;

	if (n) {
		ev.node = n->id;
		vms_gw_step(p->gw, &ev);
		return;
	}
	if (vms_cat_conn_frame(p->cat, c, m, ev.now_ms))
		return;
	if (is_remote(p, c)) {
		(void)vms_cat_conn_uuid(p->cat, p->outside.cluster_uuid);
		if (m->type == VMS_MSG_STATS || !vms_admin_msg(&p->outside, c, m, true))
			vms_net_close(p->net, c);
		return;
	}
	if (!is_local(p, c, &at))
		return;
	(void)vms_cat_conn_uuid(p->cat, p->admin.cluster_uuid);
	if (!vms_admin_msg(&p->admin, c, m, true))
		vms_net_close(p->net, c);
}

/* ---- life ---- */

int vms_gwp_open(struct vms_gwp **out, const struct vms_settings *s, const char *portal,
		 const struct vms_gwp_hooks *hooks, struct vms_errmsg *msg)
{
	struct vms_gwp *p = calloc(1, sizeof(*p));
	struct vms_net_handler h = {p, on_accepted, on_connected, on_closed, on_frame};
	struct vms_cat_conn_conf cc = {.role = VMS_ROLE_GATEWAY};
	struct vms_gw_update up = {p,
				   up_send,
				   up_connect,
				   up_disconnect,
				   up_complete,
				   up_drop,
				   up_vol_opened,
				   up_vol_changed,
				   up_deadline,
				   up_fatal,
				   up_log,
				   hooks->pr_complete ? up_pr_complete : NULL,
				   hooks->pr_changed ? up_pr_changed : NULL};
	char addr[VMS_CAT_CONN_ADDRESSES_MAX][VMS_CONF_ADDR_TEXT_MAX], local[300];
	struct vms_gw_conf gc = {.timing = vms_timing_default(1.0)};
	uint64_t now = vms_clock_ms();
	int rc;

	vms_assert(p);
	p->hooks = *hooks;
	p->settings = s;
	p->timer_fd = -1;
	vms_settings_name(s->gateway.name, p->name);
	if (!s->cluster.catalog.n) {
		free(p);
		return vms_fail(
			msg, VMS_E_CONFIG,
			"the configuration names no catalog: set catalog = HOST:PORT in [cluster]");
	}
	p->net = vms_net_new(&h, 0);
	vms_assert(p->net);
	p->admin = (struct vms_admin){.ctx = p,
				      .role = VMS_ROLE_GATEWAY,
				      .name = p->name,
				      .stats = admin_stats,
				      .call = admin_call,
				      .send = admin_send};
	p->outside = p->admin;
	p->outside.call = outside_call;

	if (mkdir(s->cluster.run_dir, 0755) && errno != EEXIST) {
		rc = vms_fail(msg, VMS_E_CONFIG, "cannot create run_dir %s: %s", s->cluster.run_dir,
			      strerror(errno));
		goto out;
	}
	snprintf(p->socket_path, sizeof(p->socket_path), "%s/%s.sock", s->cluster.run_dir, p->name);
	snprintf(local, sizeof(local), "unix:%s", p->socket_path);
	rc = vms_net_listen(p->net, local, msg);
	if (rc) {
		p->socket_path[0] = 0;
		goto out;
	}
	if (portal && s->gateway.listen.host[0]) { /* tools read the same configuration */
		char where[VMS_CONF_ADDR_TEXT_MAX];

		rc = vms_net_listen(p->net, vms_conf_addr_format(&s->gateway.listen, where), msg);
		if (rc)
			goto out;
	}
	p->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	vms_assert(p->timer_fd >= 0);

	vms_cat_conn_conf_init(&cc, s, addr);
	snprintf(cc.name, sizeof(cc.name), "%s", p->name);
	p->cat = vms_cat_conn_new(p->net, &cc, now);
	p->cat_deadline_ms = now + CAT_TIMER_MS;

	snprintf(gc.name, sizeof(gc.name), "%s", p->name);
	snprintf(gc.portal, sizeof(gc.portal), "%s", portal ? portal : "");
	vms_settings_name(NULL, gc.host);
	vms_settings_boot(gc.boot);
	gc.tool = !portal;
	gc.chunk_cache_bytes = s->gateway.chunk_cache_bytes;
	gc.page_cache_bytes = s->gateway.page_cache_bytes;
	gc.slots = (uint32_t)s->gateway.slots;
	gc.outstanding_bytes_max = s->gateway.outstanding_bytes;
	gc.thin_soft_percent = (uint32_t)s->gateway.thin_soft_percent;
	gc.readahead_chunks = (uint32_t)(s->gateway.readahead_bytes / VMS_CHUNK_BYTES);
	if (getrandom(&gc.seed, sizeof(gc.seed), 0) != (ssize_t)sizeof(gc.seed))
		gc.seed = now;
#ifdef VMS_TEST_MUTANTS /* a program of its own, for tests that must fail with it */
	if (getenv("VMS_GW_MUTANT"))
		gc.mutant = (uint32_t)atoi(getenv("VMS_GW_MUTANT"));
#endif
	rc = vms_gw_new(&p->gw, &gc, vms_cat_conn_catalog(p->cat), &up, now);
	if (rc) {
		vms_fail(msg, rc, "the gateway core does not start: %s", vms_err_text(rc));
		goto out;
	}
	arm(p);
	vms_net_flush(p->net);
	*out = p;
	return 0;
out:
	vms_gwp_close(p);
	return rc;
}

void vms_gwp_close(struct vms_gwp *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < TRACERS_MAX; i++)
		free(p->tracer[i]);
	if (p->gw)
		vms_gw_free(p->gw);
	if (p->net)
		vms_net_flush(p->net);
	if (p->cat)
		vms_cat_conn_free(p->cat);
	if (p->net)
		vms_net_free(p->net);
	if (p->socket_path[0])
		unlink(p->socket_path);
	if (p->timer_fd >= 0)
		close(p->timer_fd);
	while (p->nodes) {
		struct node *n = p->nodes;

		p->nodes = n->next;
		free(n);
	}
	while (p->vols) {
		struct vol *v = p->vols;

		p->vols = v->next;
		free(v);
	}
	free(p->local);
	free(p);
}

int vms_gwp_net_fd(const struct vms_gwp *p)
{
	return vms_net_fd(p->net);
}

int vms_gwp_timer_fd(const struct vms_gwp *p)
{
	return p->timer_fd;
}

void vms_gwp_net_join(struct vms_gwp *p, const struct vms_net_loop *loop)
{
	vms_net_join(p->net, loop);
}

void vms_gwp_net_ready(struct vms_gwp *p, uint64_t key, uint32_t events)
{
	vms_net_ready(p->net, key, events);
	check_ready(p);
	/* ticks just received may have shown that commands are too old */
	after_core(p);
}

void vms_gwp_ready_fd(struct vms_gwp *p, int fd)
{
	uint64_t now = vms_clock_ms(), expired;

	if (fd == p->timer_fd) {
		if (read(fd, &expired, sizeof(expired)) < 0 && errno != EAGAIN)
			vms_error("reading the gateway's timer: %s", strerror(errno));
		p->armed_ms = 0;
		if (now >= p->cat_deadline_ms) {
			vms_cat_conn_timer(p->cat, now);
			p->cat_deadline_ms = now + CAT_TIMER_MS;
			check_ready(p);
		}
		if (p->core_deadline_ms && now >= p->core_deadline_ms) {
			struct vms_gw_event ev = {.type = VMS_GEV_TIMER, .now_ms = now};

			p->core_deadline_ms = 0;
			vms_gw_step(p->gw, &ev);
		}
		arm(p);
	} else {
		vms_net_poll(p->net, 0);
		check_ready(p);
		/* ticks just received may have shown that commands are too old */
	}
	after_core(p);
}

void vms_gwp_turn_begin(struct vms_gwp *p)
{
	vms_gw_turn_begin(p->gw, vms_clock_ms());
	after_core(p);
}

void vms_gwp_turn_end(struct vms_gwp *p)
{
	vms_gw_turn_end(p->gw, vms_clock_ms());
	for (unsigned i = 0; i < TRACERS_MAX; i++)
		if (p->tracer[i])
			trace_send(p, p->tracer[i]);
	vms_net_flush(p->net);
	after_core(p);
	arm(p);
}

struct vms_gw *vms_gwp_core(struct vms_gwp *p)
{
	return p->gw;
}

struct vms_catalog *vms_gwp_catalog(struct vms_gwp *p)
{
	return vms_cat_conn_catalog(p->cat);
}

bool vms_gwp_is_ready(const struct vms_gwp *p)
{
	return p->ready_told;
}

bool vms_gwp_reaches(const struct vms_gwp *p)
{
	return vms_gw_reaches(p->gw);
}

const char *vms_gwp_why(const struct vms_gwp *p)
{
	const char *why = vms_cat_conn_why(p->cat, NULL);

	if (!vms_cat_conn_is_up(p->cat))
		return why[0] ? why : "the catalog does not answer";
	return "waiting for the storage nodes to accept this gateway";
}

const char *vms_gwp_name(const struct vms_gwp *p)
{
	return p->name;
}

int vms_gwp_vol_open(struct vms_gwp *p, const char *name, uint64_t create_bytes, uint8_t write_ack,
		     void *arg, struct vms_errmsg *msg)
{
	struct vol *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	v->arg = arg;
	v->p = p;
	snprintf(v->name, sizeof(v->name), "%s", name);
	v->next = p->vols;
	p->vols = v;
	rc = vms_gw_vol_open(p->gw, name, create_bytes, write_ack, v, &v->vol, msg);
	if (rc) {
		p->vols = v->next;
		free(v);
		return rc;
	}
	/* usable only after vol_opened */
	v->vol = NULL;
	return 0;
}

void vms_gwp_vol_close(struct vms_gwp *p, struct vms_gw_vol *vol)
{
	struct vol **at, *v;

	for (at = &p->vols; (v = *at) && v->vol != vol; at = &v->next)
		;
	vms_assert(v);
	*at = v->next;
	for (unsigned i = 0; i < TRACERS_MAX; i++)
		if (p->tracer[i] && p->tracer[i]->vol == v) {
			struct tracer *t = p->tracer[i];

			trace_send(p, t);
			vms_net_close(p->net, t->conn);
			p->tracer[i] = NULL;
			free(t);
		}
	vms_gw_vol_trace(vol, NULL, NULL);
	vms_gw_vol_close(p->gw, vol);
	free(v);
}
