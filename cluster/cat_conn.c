// SPDX-License-Identifier: GPL-2.0-only
#include "cluster/cat_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/cat_server.h"
#include "cluster/catalog_etcd.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define RETRY_MS_MIN 250u
#define RETRY_MS_MAX 4000u

struct vms_cat_conn {
	struct vms_net *net;
	struct vms_cat_client *client;
	struct vms_cat_etcd *etcd; /* instead of client */
	struct vms_etcd_thread *http;
	struct vms_cat_conn_conf conf;
	char *address[VMS_CAT_CONN_ADDRESSES_MAX];
	unsigned next; /* address to try */
	vms_net_conn conn;
	bool up, refused, told; /* told: the present outage was logged */
	uint64_t retry_at_ms;
	uint32_t retry_ms;
	uint8_t uuid[16];
	char why[320];
};

static const uint8_t no_uuid[16];

static int sink_send(void *ctx, const struct vms_msg *m)
{
	struct vms_cat_conn *c = ctx;

	return vms_net_send(c->net, c->conn, m);
}

static void try_connect(struct vms_cat_conn *c)
{
	c->conn = vms_net_connect(c->net, c->address[c->next % c->conf.naddresses]);
}

void vms_cat_conn_conf_init(struct vms_cat_conn_conf *c, const struct vms_settings *s,
			    char text[VMS_CAT_CONN_ADDRESSES_MAX][VMS_CONF_ADDR_TEXT_MAX])
{
	for (unsigned i = 0; i < s->cluster.catalog.n; i++)
		c->address[i] = vms_conf_addr_format(&s->cluster.catalog.a[i], text[i]);
	c->naddresses = s->cluster.catalog.n;
	c->timeout_ms = (uint32_t)s->cluster.catalog_timeout_ms;
	c->etcd = s->cluster.catalog.scheme != 0;
	c->prefix = s->cluster.catalog_prefix;
	c->ca = s->cluster.catalog_ca;
	c->cert = s->cluster.catalog_cert;
	c->key = s->cluster.catalog_key;
	c->user = s->cluster.catalog_user;
}

void vms_cat_conn_tell(const struct vms_settings *s, json_t *o)
{
	char text[VMS_SETTINGS_CATALOG_MAX];

	json_object_set_new(o, "catalog", json_string(vms_settings_catalog(s, text)));
	if (!s->cluster.catalog.scheme)
		return;
	json_object_set_new(o, "catalog_prefix", json_string(s->cluster.catalog_prefix));
	json_object_set_new(o, "catalog_tls", json_boolean(s->cluster.catalog_ca != NULL));
	json_object_set_new(o, "catalog_user", json_boolean(s->cluster.catalog_user != NULL));
}

/* ---- etcd ---- */

static void etcd_event(void *arg, const struct vms_etcd_event *ev)
{
	vms_cat_etcd_event(((struct vms_cat_conn *)arg)->etcd, ev, vms_clock_ms());
}

static void etcd_ready(void *arg)
{
	struct vms_cat_conn *c = arg;

	vms_etcd_thread_events(c->http, etcd_event, c);
}

/* Without a file that it needs there is no client but a catalog that refuses. */
static void no_start(void *ctx, const struct vms_etcd_call *call)
{
}

static void no_cancel(void *ctx, uint64_t id)
{
}

static void etcd_open(struct vms_cat_conn *c, const struct vms_cat_conn_conf *conf, uint64_t now_ms)
{
	struct vms_etcd_tls tls = {conf->ca, conf->cert, conf->key};
	struct vms_etcd_sink sink = {NULL, no_start, no_cancel};
	char name[80], *user = NULL, *password = NULL;
	struct vms_errmsg msg = {""};
	struct vms_cat_etcd_conf ec = {.naddresses = conf->naddresses,
				       .prefix = conf->prefix,
				       .timeout_ms = conf->timeout_ms ? conf->timeout_ms : 5000,
				       .name = name,
				       .lasting = conf->role != VMS_ROLE_TOOL,
				       .seed = vms_clock_us()};
	int rc = 0;

	memcpy(ec.address, conf->address, sizeof(ec.address));
	memcpy(ec.cluster_uuid, conf->cluster_uuid, 16);
	snprintf(name, sizeof(name), "%s.%s",
		 conf->role == VMS_ROLE_NODE	  ? "node"
		 : conf->role == VMS_ROLE_GATEWAY ? "gw"
						  : "tool",
		 conf->name);
	if (conf->user)
		rc = vms_etcd_user_file(conf->user, &user, &password, &msg);
	if (!rc)
		rc = vms_etcd_thread_new(&c->http, conf->address, conf->naddresses, &tls, &msg);
	if (rc) {
		c->refused = true;
		snprintf(c->why, sizeof(c->why), "%s", msg.text);
		vms_error("%s", msg.text);
	} else {
		sink = vms_etcd_thread_sink(c->http);
		vms_assert(!vms_net_watch_fd(c->net, vms_etcd_thread_fd(c->http), etcd_ready, c));
	}
	ec.user = user;
	ec.password = password;
	c->etcd = vms_cat_etcd_new(&ec, &sink, now_ms);
	free(user);
	free(password);
}

static void etcd_close(struct vms_cat_conn *c)
{
	if (c->http)
		vms_net_watch_fd(c->net, vms_etcd_thread_fd(c->http), NULL, NULL);
	vms_etcd_thread_free(c->http);
	vms_cat_etcd_free(c->etcd);
}

struct vms_cat_etcd *vms_cat_conn_etcd(struct vms_cat_conn *c)
{
	return c->etcd;
}

void vms_cat_conn_stats(const struct vms_cat_conn *c, json_t *o)
{
	const struct vms_cat_etcd_counters *n = c->etcd ? vms_cat_etcd_counters(c->etcd) : NULL;

	if (!n)
		return;
	json_object_set_new(o, "etcd.calls", json_integer((json_int_t)n->calls));
	json_object_set_new(o, "etcd.failed", json_integer((json_int_t)n->failed));
	json_object_set_new(o, "etcd.stale", json_integer((json_int_t)n->stale));
	json_object_set_new(o, "etcd.fences", json_integer((json_int_t)n->fences));
	json_object_set_new(o, "etcd.unknown", json_integer((json_int_t)n->unknown));
	json_object_set_new(o, "etcd.watch_starts", json_integer((json_int_t)n->watch_starts));
	json_object_set_new(o, "etcd.duplicates", json_integer((json_int_t)n->duplicates));
	json_object_set_new(o, "etcd.silent", json_integer((json_int_t)n->silent));
	json_object_set_new(o, "etcd.gone", json_integer((json_int_t)n->gone));
}

/* ---- both ---- */

struct vms_cat_conn *vms_cat_conn_new(struct vms_net *net, const struct vms_cat_conn_conf *conf,
				      uint64_t now_ms)
{
	struct vms_cat_conn *c = calloc(1, sizeof(*c));
	struct vms_cat_client_sink sink = {c, sink_send};

	vms_assert(c && conf->naddresses && conf->naddresses <= VMS_CAT_CONN_ADDRESSES_MAX);
	c->net = net;
	c->conf = *conf;
	for (unsigned i = 0; i < conf->naddresses; i++) {
		c->address[i] = strdup(conf->address[i]);
		vms_assert(c->address[i]);
	}
	if (conf->etcd) {
		etcd_open(c, conf, now_ms);
		return c;
	}
	c->client = vms_cat_client_new(&sink, conf->timeout_ms ? conf->timeout_ms : 5000);
	vms_assert(c->client);
	c->retry_ms = RETRY_MS_MIN;
	snprintf(c->why, sizeof(c->why), "catalog at %s: does not answer", c->address[0]);
	try_connect(c);
	return c;
}

void vms_cat_conn_free(struct vms_cat_conn *c)
{
	if (!c)
		return;
	if (c->etcd)
		etcd_close(c);
	else
		vms_net_close(c->net, c->conn);
	vms_cat_client_free(c->client);
	for (unsigned i = 0; i < c->conf.naddresses; i++)
		free(c->address[i]);
	free(c);
}

struct vms_catalog *vms_cat_conn_catalog(struct vms_cat_conn *c)
{
	return c->etcd ? vms_cat_etcd_catalog(c->etcd) : vms_cat_client_catalog(c->client);
}

bool vms_cat_conn_connected(struct vms_cat_conn *c, vms_net_conn conn)
{
	struct vms_hello h = {.role = c->conf.role,
			      .version_min = VMS_WIRE_VERSION,
			      .version_max = VMS_WIRE_VERSION};
	uint8_t body[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {
		.type = VMS_MSG_HELLO, .req_id = 1, .partition = VMS_PART_NONE, .body = body};

	if (!conn || conn != c->conn)
		return false;
	memcpy(h.cluster_uuid, c->conf.cluster_uuid, 16);
	snprintf(h.name, sizeof(h.name), "%s", c->conf.name);
	snprintf(h.address, sizeof(h.address), "%s", c->conf.listen);
	m.body_bytes = vms_hello_encode(body, &h);
	(void)vms_net_send(c->net, c->conn, &m);
	return true;
}

bool vms_cat_conn_closed(struct vms_cat_conn *c, vms_net_conn conn, int err, const char *why,
			 uint64_t now_ms)
{
	if (!conn || conn != c->conn)
		return false;
	if (!c->refused)
		snprintf(c->why, sizeof(c->why), "catalog at %s: %s",
			 c->address[c->next % c->conf.naddresses], why);
	if (!c->told)
		vms_warn("%s; trying again", c->why);
	c->told = true;
	c->conn = 0;
	if (c->up)
		c->retry_ms = RETRY_MS_MIN;
	c->up = false;
	vms_cat_client_down(c->client);
	c->next++;
	c->retry_at_ms = now_ms + c->retry_ms;
	if (c->retry_ms < RETRY_MS_MAX)
		c->retry_ms *= 2;
	return true;
}

static void on_hello(struct vms_cat_conn *c, const struct vms_msg *m, uint64_t now_ms)
{
	const char *address = c->address[c->next % c->conf.naddresses];
	struct vms_hello h;

	c->refused = false;
	if (m->status || vms_hello_decode(m, &h) || h.role != VMS_ROLE_CATALOG) {
		c->refused = true;
		if (m->status == VMS_E_PERM)
			snprintf(c->why, sizeof(c->why),
				 "the catalog at %s belongs to another cluster", address);
		else if (m->status == VMS_E_VERSION)
			snprintf(c->why, sizeof(c->why),
				 "the catalog at %s speaks no protocol version of ours", address);
		else
			snprintf(c->why, sizeof(c->why), "what answers at %s is no catalog",
				 address);
		vms_net_close(c->net, c->conn);
		return;
	}
	if (memcmp(c->conf.cluster_uuid, no_uuid, 16) && memcmp(h.cluster_uuid, no_uuid, 16) &&
	    memcmp(c->conf.cluster_uuid, h.cluster_uuid, 16)) {
		c->refused = true;
		snprintf(c->why, sizeof(c->why), "the catalog at %s belongs to another cluster",
			 address);
		vms_net_close(c->net, c->conn);
		return;
	}
	if (!strncmp(h.name, VMS_CAT_MOVED_NAME, strlen(VMS_CAT_MOVED_NAME))) {
		c->refused = true;
		snprintf(c->why, sizeof(c->why),
			 "the catalog at %s has moved: set catalog = %s%s in [cluster]", address,
			 h.name + strlen(VMS_CAT_MOVED_NAME), h.address);
		vms_net_close(c->net, c->conn);
		return;
	}
	memcpy(c->uuid, h.cluster_uuid, 16);
	if (c->told)
		vms_info("catalog at %s is back", address);
	c->told = false;
	c->why[0] = 0;
	c->up = true;
	c->retry_ms = RETRY_MS_MIN;
	vms_cat_client_up(c->client, now_ms);
}

bool vms_cat_conn_frame(struct vms_cat_conn *c, vms_net_conn conn, const struct vms_msg *m,
			uint64_t now_ms)
{
	if (!conn || conn != c->conn)
		return false;
	if (m->type == VMS_MSG_HELLO && !c->up)
		on_hello(c, m, now_ms);
	else if (c->up)
		(void)vms_cat_client_msg(c->client, m, now_ms);
	return true;
}

void vms_cat_conn_timer(struct vms_cat_conn *c, uint64_t now_ms)
{
	if (c->etcd) {
		vms_cat_etcd_timer(c->etcd, now_ms);
		return;
	}
	if (!c->conn && now_ms >= c->retry_at_ms)
		try_connect(c);
	vms_cat_client_timer(c->client, now_ms);
}

bool vms_cat_conn_is_up(const struct vms_cat_conn *c)
{
	return c->etcd ? vms_cat_etcd_is_up(c->etcd) : c->up;
}

const char *vms_cat_conn_why(const struct vms_cat_conn *c, bool *refused)
{
	if (c->etcd && !c->refused)
		return vms_cat_etcd_why(c->etcd, refused);
	if (refused)
		*refused = c->refused;
	return c->why;
}

bool vms_cat_conn_uuid(const struct vms_cat_conn *c, uint8_t uuid[16])
{
	if (c->etcd)
		return vms_cat_etcd_uuid(c->etcd, uuid);
	memcpy(uuid, c->uuid, 16);
	return memcmp(c->uuid, no_uuid, 16) != 0;
}
