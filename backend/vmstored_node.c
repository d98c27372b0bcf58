// SPDX-License-Identifier: GPL-2.0-only
/*
 * The storage node as a process: binds the core (node.h) to sockets, disk and
 * catalog. Owner: one thread.
 *
 * Life: not joined (no `identity` in the folder: only ADMIN is served) -> joined
 * by ADMIN "format" (folder formatted, identity written last) -> waits for the
 * catalog's cluster and node records -> core open -> stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "backend/disk_fault.h"
#include "backend/disk_posix.h"
#include "backend/node.h"
#include "backend/views.h"
#include "backend/vmstored_copy.h"
#include "backend/vmstored_int.h"
#include "cluster/cat_conn.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define STOP_MS_MAX	30000u
#define WAIT_SAY_MS	10000u
#define POLL_MS_MAX	100
#define MALLOC_KEPT_MAX (32 << 20)

enum conn_kind { K_LOCAL, K_ACCEPTED, K_PEER, K_BEFORE }; /* BEFORE: the core was open */

struct nconn {
	vms_net_conn id;
	enum conn_kind kind;
	uint32_t node; /* K_PEER */
	bool up;
	UT_hash_handle hh;
};

struct identity {
	uint8_t uuid[16];
	uint32_t part_bits, node_id;
	char name[64];
};

struct run {
	struct vmstored_proc p;
	struct vms_admin admin;
	struct nconn *conns;
	struct vms_cat_conn *cc;
	struct vms_catcopy *copy; /* of the catalog, in the folder */
	struct vms_view *views;	  /* by partition, once they were asked for */
	int views_bad;		  /* ... not all of them: what failed */
	struct vms_disk_posix *posix;
	struct vms_disk disk;
	struct vms_node *node;
	bool joined;
	struct identity id;
	char listen[VMS_CONF_ADDR_TEXT_MAX], address[VMS_CONF_ADDR_TEXT_MAX];
	uint64_t deadline_ms;
	/* start-up: what is asked of the catalog */
	bool asking, have_cluster;
	struct vms_cat_cluster cluster;
	uint64_t say_at_ms;
	/* VMS_NODE_LIMIT: bytes a second that this node moves at most, all its
	 * connections and both ways together. For measuring how a cluster grows on one
	 * machine (scripts/bench-growth). */
	uint64_t limit_bytes_s, limit_used_bytes, limit_due_us;
	/* end */
	bool stop_sent, stopped;
	int fatal;
	char fatal_text[400];
};

/* ---- identity ---- */

static void identity_path(const struct run *r, char *out, size_t room, const char *suffix)
{
	snprintf(out, room, "%s/identity%s", r->p.set->node.dir, suffix);
}

/* 0, VMS_E_NOENT (not joined), or what is wrong. */
static int identity_load(struct run *r, struct vms_errmsg *msg)
{
	const char *uuid = "", *name = "";
	int part_bits = -1;
	json_int_t node_id = 0;
	json_error_t je;
	char path[4200];
	json_t *j;

	identity_path(r, path, sizeof(path), "");
	if (access(path, F_OK))
		return errno == ENOENT ? VMS_E_NOENT
				       : vms_fail(msg, VMS_E_IO, "%s: %s", path, strerror(errno));
	j = json_load_file(path, 0, &je);
	if (!j ||
	    json_unpack(j, "{ss si sI ss}", "cluster", &uuid, "part_bits", &part_bits, "node",
			&node_id, "name", &name) ||
	    vmstored_uuid_parse(uuid, r->id.uuid) || part_bits < 0 ||
	    part_bits > VMS_PART_BITS_MAX || node_id < 0 || node_id > UINT32_MAX ||
	    strlen(name) >= sizeof(r->id.name)) {
		json_decref(j);
		return vms_fail(
			msg, VMS_E_CORRUPT,
			"%s is damaged; it says which cluster and node the folder belongs to",
			path);
	}
	r->id.part_bits = (uint32_t)part_bits;
	r->id.node_id = (uint32_t)node_id;
	strcpy(r->id.name, name);
	json_decref(j);
	return 0;
}

static int identity_store(struct run *r, struct vms_errmsg *msg)
{
	char path[4200], tmp[4200], uuid[37], *text;
	int fd, dir, rc = 0;
	json_t *j;

	vmstored_uuid_text(r->id.uuid, uuid);
	j = json_pack("{ss si sI ss}", "cluster", uuid, "part_bits", (int)r->id.part_bits, "node",
		      (json_int_t)r->id.node_id, "name", r->id.name);
	text = json_dumps(j, JSON_INDENT(1));
	json_decref(j);
	vms_assert(text);
	identity_path(r, path, sizeof(path), "");
	identity_path(r, tmp, sizeof(tmp), ".new");
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	dir = open(r->p.set->node.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || dir < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
	    fsync(fd) || rename(tmp, path) || fsync(dir))
		rc = vms_fail(msg, VMS_E_IO, "cannot write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	free(text);
	return rc;
}

/* ---- the core's sink ---- */

static struct nconn *conn_find(const struct run *r, vms_net_conn id)
{
	struct nconn *c;

	HASH_FIND(hh, r->conns, &id, sizeof(id), c);
	return c;
}

static struct nconn *conn_add(struct run *r, vms_net_conn id, enum conn_kind kind)
{
	struct nconn *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->id = id;
	c->kind = kind;
	HASH_ADD(hh, r->conns, id, sizeof(c->id), c);
	return c;
}

static int up_send(void *ctx, vms_conn_id conn, const struct vms_msg *m)
{
	struct run *r = ctx;

	r->limit_used_bytes += m->body_bytes + m->payload_bytes;
	return vms_net_send(r->p.net, conn, m);
}

/* Stands still for as long as what was moved takes at the limit, half a second at most: ticks
 * have to go on. */
static void limit_wait(struct run *r)
{
	enum { SLICE_US = 500000 };
	uint64_t now = vms_clock_us();

	if (r->limit_due_us < now)
		r->limit_due_us = now;
	r->limit_due_us += r->limit_used_bytes * 1000000 / r->limit_bytes_s;
	r->limit_used_bytes = 0;
	if (r->limit_due_us > now)
		usleep((useconds_t)(r->limit_due_us - now < SLICE_US ? r->limit_due_us - now
								     : SLICE_US));
}

static void up_close(void *ctx, vms_conn_id conn)
{
	vms_net_close(((struct run *)ctx)->p.net, conn);
}

static void up_connect(void *ctx, uint32_t node, const char *address)
{
	struct run *r = ctx;
	struct nconn *c, *t;

	HASH_ITER (hh, r->conns, c, t)
		if (c->kind == K_PEER && c->node == node)
			return;
	c = conn_add(r, vms_net_connect(r->p.net, address), K_PEER);
	c->node = node;
}

static void up_deadline(void *ctx, uint64_t at_ms)
{
	((struct run *)ctx)->deadline_ms = at_ms;
}

static void up_fatal(void *ctx, int err, const char *text)
{
	struct run *r = ctx;

	if (r->fatal)
		return;
	r->fatal = err ? err : VMS_E_IO;
	snprintf(r->fatal_text, sizeof(r->fatal_text), "%s", text);
}

static void up_stopped(void *ctx)
{
	((struct run *)ctx)->stopped = true;
}

static void up_log(void *ctx, int level, const char *text)
{
	vms_log((enum vms_log_level)level, "%s", text);
}

static void step(struct run *r, struct vms_node_event *ev)
{
	ev->now_ms = vms_clock_ms();
	vms_node_step(r->node, ev);
}

/* ---- sockets ---- */

static void on_accepted(void *ctx, vms_net_conn c, const char *peer)
{
	struct run *r = ctx;
	bool local = !strcmp(peer, "local");
	struct nconn *nc = conn_add(r, c, local ? K_LOCAL : r->node ? K_ACCEPTED : K_BEFORE);

	nc->up = true;
	if (nc->kind == K_ACCEPTED)
		step(r, &(struct vms_node_event){.type = VMS_NEV_ACCEPT, .conn = c});
}

static void on_connected(void *ctx, vms_net_conn c)
{
	struct run *r = ctx;
	struct nconn *nc;

	if (vms_cat_conn_connected(r->cc, c))
		return;
	nc = conn_find(r, c);
	if (!nc || !r->node)
		return;
	nc->up = true;
	step(r, &(struct vms_node_event){.type = VMS_NEV_CONN_UP, .conn = c, .node = nc->node});
}

static void on_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	struct run *r = ctx;
	struct nconn *nc;
	bool tell;

	if (r->cc && vms_cat_conn_closed(r->cc, c, err, why, vms_clock_ms()))
		return;
	nc = conn_find(r, c);
	if (!nc)
		return;
	tell = r->node && nc->up && (nc->kind == K_ACCEPTED || nc->kind == K_PEER);
	if (err == VMS_E_PROTO || err == VMS_E_CORRUPT || err == VMS_E_FULL)
		vms_warn("connection dropped: %s", why);
	HASH_DEL(r->conns, nc);
	free(nc);
	if (tell)
		step(r, &(struct vms_node_event){.type = VMS_NEV_CONN_DOWN, .conn = c});
}

static void on_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct run *r = ctx;
	struct vms_hello h;
	struct nconn *nc;

	if (vms_cat_conn_frame(r->cc, c, m, vms_clock_ms()))
		return;
	r->limit_used_bytes += m->body_bytes + m->payload_bytes;
	nc = conn_find(r, c);
	if (!nc)
		return;
	/* Gateways and nodes that come before the core is open must come again: an
	 * answer of any kind would speak for a core that knows nothing yet. */
	if (nc->kind == K_BEFORE && m->type == VMS_MSG_HELLO &&
	    (vms_hello_decode(m, &h) || h.role != VMS_ROLE_TOOL)) {
		vms_net_close(r->p.net, c);
		return;
	}
	if (vms_admin_msg(&r->admin, c, m, nc->kind == K_LOCAL || nc->kind == K_BEFORE))
		return;
	if (r->node && (nc->kind == K_ACCEPTED || nc->kind == K_PEER))
		step(r, &(struct vms_node_event){.type = VMS_NEV_MSG, .conn = c, .msg = m});
	else
		vms_net_close(r->p.net, c);
}

/* ---- disk ---- */

static void disk_event(void *arg, const struct vms_disk_event *ev)
{
	struct run *r = arg;

	if (r->node)
		step(r, &(struct vms_node_event){.type = VMS_NEV_DISK, .disk = *ev});
}

static void on_disk(void *arg)
{
	struct run *r = arg;

	vms_disk_posix_reap(r->posix, disk_event, r);
}

static struct vms_disk_posix_conf disk_conf(const struct vms_settings *set)
{
	return (struct vms_disk_posix_conf){.dir = set->node.dir,
					    .log_bytes = set->node.log_bytes,
					    .index_bytes = set->node.index_bytes,
					    .engine = set->node.io_engine};
}

static int disk_open(struct run *r, struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf dc = disk_conf(r->p.set);
	int rc = vms_disk_posix_open(&r->posix, &dc, msg);

	if (rc)
		return rc;
	r->disk = vms_disk_posix_disk(r->posix);
	vms_info("data folder %s: %s", dc.dir, vms_disk_posix_describe(r->posix));
	return vms_net_watch_fd(r->p.net, vms_disk_posix_fd(r->posix), on_disk, r);
}

/* The control file of the fault switch is to be read again. */
static void faults_reload(void *arg)
{
	struct run *r = arg;
	struct vms_errmsg msg = {""};
	struct vms_disk_faults *f = r->posix ? vms_disk_posix_faults(r->posix) : NULL;

	if (!f)
		return; /* read when the folder is opened */
	if (vms_disk_faults_reload(f, &msg))
		vms_error("%s", msg.text);
	else
		vms_warn("faults of the disk: %u in the list", f->n);
}

/* ---- starting the core ---- */

static struct vms_node_conf node_conf(const struct run *r)
{
	const struct vms_settings *s = r->p.set;
	struct vms_node_conf c = {
		.node_id = r->id.node_id,
		.part_bits = r->id.part_bits,
		.timing = vms_timing_default(r->cluster.timing_factor > 0 ? r->cluster.timing_factor
									  : 1.0),
		.gen_bytes_max = s->node.generation_bytes,
		.gen_age_ms = s->node.generation_age_ms,
		.container_bytes_max = (uint32_t)s->node.container_bytes,
		.gc_target_percent = (uint32_t)s->node.gc_target_percent,
		.dedup_hooks_bytes = s->node.dedup_hooks_bytes,
		.dedup_lists_bytes = s->node.dedup_lists_bytes,
		.dedup_background = s->node.dedup_background,
		.wall_s = (uint64_t)time(NULL),
	};

	snprintf(c.name, sizeof(c.name), "%s", r->p.name);
	snprintf(c.address, sizeof(c.address), "%.63s", r->address);
	memcpy(c.cluster_uuid, r->id.uuid, 16);
	if (getrandom(&c.seed, sizeof(c.seed), 0) != (ssize_t)sizeof(c.seed))
		c.seed = vms_clock_us();
#ifdef VMS_TEST_MUTANTS /* a program of its own, for tests that must fail with it */
	if (getenv("VMS_NODE_MUTANT"))
		c.mutant = (uint32_t)atoi(getenv("VMS_NODE_MUTANT"));
#endif
	return c;
}

static void core_open(struct run *r)
{
	const struct vms_node_update up = {
		.ctx = r,
		.send = up_send,
		.close = up_close,
		.connect = up_connect,
		.deadline = up_deadline,
		.fatal = up_fatal,
		.stopped = up_stopped,
		.log = up_log,
	};
	struct vms_node_conf c = node_conf(r);
	struct vms_errmsg msg = {""};
	uint64_t t0 = vms_clock_ms();
	int rc = vms_node_open(&r->node, &c, &r->disk, vms_cat_conn_catalog(r->cc), &up, t0, &msg);

	free(r->views);
	r->views = NULL;
	if (rc) {
		r->node = NULL;
		up_fatal(r, rc, msg.text[0] ? msg.text : vms_err_text(rc));
		return;
	}
	vms_info("node %s (id %u) at %s: index and log read in %" PRIu64 " ms", r->p.name,
		 r->id.node_id, r->listen, vms_clock_ms() - t0);
}

static void on_self(void *arg, const struct vms_cat_reply *re)
{
	struct run *r = arg;
	struct vms_errmsg msg;
	struct vms_cat_node n;

	r->asking = false;
	if (re->status)
		return; /* asked again from the loop */
	if (!re->nkv) {
		snprintf(r->fatal_text, sizeof(r->fatal_text),
			 "the catalog knows no node %u: the folder %.60s belongs to a node that is "
			 "not, or no longer, in the ring. Empty it, then start the node again and "
			 "join it: vmstore-ring join %s",
			 r->id.node_id, r->p.set->node.dir, r->address);
		r->fatal = VMS_E_NOENT;
		return;
	}
	if (vms_cat_node_decode(&re->kv[0], &n, &msg)) {
		up_fatal(r, VMS_E_CORRUPT, msg.text);
		return;
	}
	if (strcmp(n.name, r->p.name)) {
		snprintf(r->fatal_text, sizeof(r->fatal_text),
			 "node %u is called '%s' in the catalog, but [node] name says '%s'", n.id,
			 n.name, r->p.name);
		r->fatal = VMS_E_CONFIG;
		return;
	}
	vms_catcopy_follow(r->copy, vms_cat_conn_catalog(r->cc));
	core_open(r);
}

static void on_cluster(void *arg, const struct vms_cat_reply *re)
{
	struct vms_errmsg msg;
	struct run *r = arg;

	r->asking = false;
	if (re->status || !re->nkv)
		return;
	if (vms_cat_cluster_decode(&re->kv[0], &r->cluster, &msg)) {
		up_fatal(r, VMS_E_CORRUPT, msg.text);
		return;
	}
	if (memcmp(r->cluster.uuid, r->id.uuid, 16) || r->cluster.part_bits != r->id.part_bits) {
		snprintf(r->fatal_text, sizeof(r->fatal_text),
			 "the folder %.150s belongs to another cluster than the catalog; correct "
			 "dir in [node] or catalog in [cluster]",
			 r->p.set->node.dir);
		r->fatal = VMS_E_CONFIG;
		return;
	}
	r->have_cluster = true;
}

/* Towards an open core, as far as the catalog answers. */
static void start_up(struct run *r, uint64_t now_ms)
{
	struct vms_catalog *cat = vms_cat_conn_catalog(r->cc);
	char key[VMS_CAT_KEY_BYTES_MAX];
	const char *why;
	bool refused;

	if (!r->joined || r->node || r->fatal)
		return;
	why = vms_cat_conn_why(r->cc, &refused);
	if (refused) {
		snprintf(r->fatal_text, sizeof(r->fatal_text),
			 "%s; this node's folder is %.100s. Correct catalog in [cluster] or dir in "
			 "[node]",
			 why, r->p.set->node.dir);
		r->fatal = VMS_E_CONFIG;
		return;
	}
	if (now_ms >= r->say_at_ms) {
		if (r->say_at_ms)
			vms_info("waiting for the catalog: %s", why[0] ? why : "no answer yet");
		r->say_at_ms = now_ms + WAIT_SAY_MS;
	}
	if (r->asking)
		return;
	r->asking = true;
	if (!r->have_cluster) {
		cat->ops->get(cat, "cluster", on_cluster, r);
	} else {
		vms_cat_key_node(key, r->id.node_id);
		cat->ops->get(cat, key, on_self, r);
	}
}

/* ---- ADMIN ---- */

static void add_uuid(json_t *o, const struct run *r)
{
	char uuid[37];

	if (!r->joined)
		return;
	vmstored_uuid_text(r->id.uuid, uuid);
	json_object_set_new(o, "cluster", json_string(uuid));
	json_object_set_new(o, "node", json_integer(r->id.node_id));
}

static json_t *identity_json(const struct run *r)
{
	const struct vms_settings *s = r->p.set;
	json_t *o = json_pack("{ss ss ss sI sI sb}", "name", r->p.name, "address", r->address,
			      "zone", s->node.zone ? s->node.zone : "", "weight",
			      (json_int_t)s->node.weight, "log_bytes",
			      (json_int_t)s->node.log_bytes, "joined", (int)r->joined);

	add_uuid(o, r);
	return o;
}

/* Also where the catalog is, for tools that only know this process. */
static json_t *identity_answer(const struct run *r)
{
	json_t *o = identity_json(r);

	vms_cat_conn_tell(r->p.set, o);
	return o;
}

static int do_format(struct run *r, json_t *req, json_t **answer, struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf dc = disk_conf(r->p.set);
	const char *uuid = "";
	json_int_t node_id = 0;
	struct vms_node_conf c;
	int part_bits = -1, rc;

	if (r->joined)
		return vms_fail(msg, VMS_E_EXIST, "node %s has joined a cluster already",
				r->p.name);
	if (json_unpack(req, "{ss si sI}", "cluster", &uuid, "part_bits", &part_bits, "node",
			&node_id) ||
	    vmstored_uuid_parse(uuid, r->id.uuid) || part_bits < 0 ||
	    part_bits > VMS_PART_BITS_MAX || node_id <= 0 || node_id > UINT32_MAX)
		return vms_fail(msg, VMS_E_INVAL, "format: cluster, part_bits or node is wrong");
	r->id.part_bits = (uint32_t)part_bits;
	r->id.node_id = (uint32_t)node_id;
	strcpy(r->id.name, r->p.name);
	if (!r->posix) {
		vms_info("formatting %s: a log of %" PRIu64 " MiB", dc.dir, dc.log_bytes >> 20);
		rc = vms_disk_posix_format(&dc, msg);
		if (!rc)
			rc = disk_open(r, msg);
		if (rc)
			return rc;
	}
	c = node_conf(r);
	rc = vms_node_format(&r->disk, &c, msg);
	if (!rc)
		rc = identity_store(r, msg);
	if (rc)
		return rc;
	r->joined = true;
	vms_info("joined cluster %s as node %u", uuid, r->id.node_id);
	*answer = identity_json(r);
	return 0;
}

static json_t *view_json(uint32_t part, const struct vms_view *v)
{
	json_t *j = json_pack("[II]", (json_int_t)part, (json_int_t)v->epoch);

	for (uint32_t i = 0; i < v->n; i++) {
		json_array_append_new(j, json_integer(v->member[i].node));
		json_array_append_new(j, json_integer((json_int_t)v->member[i].incarnation));
	}
	return j;
}

/* The views of the partitions whose records are in this part of the copy. */
static json_t *views_json(const struct run *r, const json_t *kvs)
{
	json_t *views = json_array();

	for (size_t i = 0; i < json_array_size(kvs); i++) {
		const char *key = json_string_value(json_array_get(json_array_get(kvs, i), 0));
		uint64_t part = key && !strncmp(key, "part/", 5) ? strtoull(key + 5, NULL, 16)
								 : UINT64_MAX;

		if (part < 1u << r->id.part_bits && r->views[part].n)
			json_array_append_new(views, view_json((uint32_t)part, &r->views[part]));
	}
	return views;
}

static int do_catalog_copy(struct run *r, json_t *req, json_t **answer, struct vms_errmsg *msg)
{
	const char *after = json_string_value(json_object_get(req, "after"));
	int rc = vms_catcopy_json(r->copy, after, answer, msg);

	if (rc || !r->posix || r->node) /* one that runs is no source */
		return rc;
	if (!r->views) {
		r->views = calloc(1u << r->id.part_bits, sizeof(*r->views));
		vms_assert(r->views);
		r->views_bad = vms_views_read(&r->disk, r->views, 1u << r->id.part_bits);
		if (r->views_bad)
			vms_warn("index or log cannot be read (%s): this node does not know all "
				 "of its sets",
				 vms_err_text(r->views_bad));
	}
	if (!after)
		json_object_set_new(*answer, "highest", vms_catcopy_highest(&r->disk));
	json_object_set_new(*answer, "views", views_json(r, json_object_get(*answer, "kvs")));
	if (r->views_bad)
		json_object_set_new(*answer, "views_error",
				    json_string(vms_err_text(r->views_bad)));
	return 0;
}

static json_t *do_stats(void *ctx)
{
	struct run *r = ctx;
	json_t *o = vms_stats_json(r->p.stats);

	if (r->node) {
		json_t *core = vms_node_json(r->node, "stats");

		if (core)
			json_object_update(o, core);
		json_decref(core);
	}
	if (r->cc)
		vms_cat_conn_stats(r->cc, o);
	if (r->posix && vms_disk_posix_faults(r->posix)->taken) {
		const struct vms_disk_faults *f = vms_disk_posix_faults(r->posix);

		json_object_set_new(o, "disk.fault_lists", json_integer((json_int_t)f->taken));
		json_object_set_new(o, "disk.faults", json_integer((json_int_t)f->hits));
	}
	return o;
}

static int do_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		   struct vms_errmsg *msg)
{
	struct run *r = ctx;

	if (!strcmp(call, "identity")) {
		*answer = identity_answer(r);
		return 0;
	}
	if (!strcmp(call, "catalog-copy"))
		return do_catalog_copy(r, req, answer, msg);
	if (!strcmp(call, "format"))
		return do_format(r, req, answer, msg);
	if (!strcmp(call, "status")) {
		json_t *core = r->node ? vms_node_json(r->node, "status") : NULL;
		json_t *id = identity_json(r), *space;

		*answer = vmstored_status(&r->p, "node");
		json_object_update(*answer, id);
		json_decref(id);
		json_object_set_new(*answer, "state",
				    json_string(r->node	    ? "running"
						: r->joined ? "waiting for the catalog"
							    : "not joined"));
		json_object_set_new(*answer, "dir", json_string(r->p.set->node.dir));
		json_object_set_new(*answer, "catalog", json_boolean(vms_cat_conn_is_up(r->cc)));
		if (core)
			json_object_set_new(*answer, "core", core);
		space = r->node ? vms_node_json(r->node, "space") : NULL;
		if (space)
			json_object_set_new(*answer, "space", space);
		return 0;
	}
	if (!strcmp(call, "partitions") || !strcmp(call, "space") || !strcmp(call, "sessions") ||
	    !strcmp(call, "reclaim")) {
		if (!r->node)
			return vms_fail(msg, VMS_E_AGAIN, "node %s is not running yet", r->p.name);
		*answer = !strcmp(call, "partitions") ? vms_node_partitions(r->node, req)
						      : vms_node_json(r->node, call);
		/* before the core has all that it needs from the catalog there is nothing to tell
		 */
		return *answer ? 0 : VMS_E_AGAIN;
	}
	if (!strcmp(call, "drain")) {
		if (!r->node)
			return vms_fail(msg, VMS_E_AGAIN, "node %s is not running yet", r->p.name);
		vms_node_drain(r->node);
		*answer = vms_node_json(r->node, "space");
		return *answer ? 0 : VMS_E_UNSUPPORTED;
	}
	if (!strcmp(call, "scrub"))
		return r->node ? vms_node_scrub(r->node, req, answer, msg)
			       : vms_fail(msg, VMS_E_AGAIN, "node %s is not running yet",
					  r->p.name);
	if (!strcmp(call, "lost"))
		return r->node ? vms_node_lost(r->node, req, answer, msg)
			       : vms_fail(msg, VMS_E_AGAIN, "node %s is not running yet",
					  r->p.name);
	if (!strcmp(call, "du"))
		return r->node ? vms_node_du(r->node, req, answer, msg)
			       : vms_fail(msg, VMS_E_AGAIN, "node %s is not running yet",
					  r->p.name);
	return vms_fail(msg, VMS_E_UNSUPPORTED, "a storage node has no call '%.40s'", call);
}

/* ---- the process ---- */

static int open_all(struct run *r, struct vms_errmsg *msg)
{
	const struct vms_settings *s = r->p.set;
	char addr[VMS_CAT_CONN_ADDRESSES_MAX][VMS_CONF_ADDR_TEXT_MAX];
	struct vms_cat_conn_conf cc = {.role = VMS_ROLE_NODE};
	int rc;

	if (strlen(r->address) > 63)
		return vms_fail(msg, VMS_E_CONFIG, "[node] address %s is longer than 63 characters",
				r->address);
	rc = vmstored_make_dir(s->node.dir, msg);
	if (rc)
		return rc;
	rc = identity_load(r, msg);
	if (rc && rc != VMS_E_NOENT)
		return rc;
	r->joined = !rc;
	if (r->joined && strcmp(r->id.name, r->p.name))
		return vms_fail(msg, VMS_E_CONFIG,
				"the folder %s belongs to node '%s', but [node] name says '%s'",
				s->node.dir, r->id.name, r->p.name);
	rc = vms_net_listen(r->p.net, r->listen, msg);
	if (!rc)
		rc = vmstored_proc_open(&r->p, msg);
	if (!rc) {
		rc = disk_open(r, msg);
		if (rc == VMS_E_NOENT && !r->joined)
			rc = 0;
	}
	if (rc)
		return rc;
	memcpy(r->admin.cluster_uuid, r->id.uuid, 16);
	memcpy(cc.cluster_uuid, r->id.uuid, 16);
	snprintf(cc.name, sizeof(cc.name), "%s", r->p.name);
	/* the catalog ends the older connection of a name: who is not that node yet (a copied
	 * configuration) must not end the node's own */
	if (!r->joined)
		snprintf(cc.name, sizeof(cc.name), "%.30s@%.32s", r->p.name, r->address);
	snprintf(cc.listen, sizeof(cc.listen), "%.63s", r->address);
	vms_cat_conn_conf_init(&cc, s, addr);
	if (!cc.naddresses)
		return vms_fail(msg, VMS_E_CONFIG, "[cluster] catalog names no address");
	r->cc = vms_cat_conn_new(r->p.net, &cc, vms_clock_ms());
	r->copy = vms_catcopy_new(s->node.dir);
	return 0;
}

static void close_all(struct run *r)
{
	struct nconn *c, *t;

	/* the disk first: what is in flight borrows the core's buffers */
	if (r->posix)
		vms_disk_posix_close(r->posix);
	if (r->node)
		vms_node_close(r->node);
	vms_catcopy_free(r->copy);
	free(r->views);
	if (r->cc)
		vms_cat_conn_free(r->cc);
	r->cc = NULL;
	vmstored_proc_close(&r->p);
	HASH_ITER (hh, r->conns, c, t) {
		HASH_DEL(r->conns, c);
		free(c);
	}
}

static void loop(struct run *r)
{
	uint64_t now = vms_clock_ms(), stop_by_ms = 0;

	while (!r->fatal && !r->stopped) {
		int timeout = POLL_MS_MAX;

		if (r->node && r->deadline_ms < now + POLL_MS_MAX)
			timeout = r->deadline_ms > now ? (int)(r->deadline_ms - now) : 0;
		vms_net_poll(r->p.net, timeout);
		now = vms_clock_ms();
		vms_cat_conn_timer(r->cc, now);
		vms_catcopy_timer(r->copy, now);
		start_up(r, now);
		if (r->node) {
			if (now >= r->deadline_ms) {
				r->deadline_ms = UINT64_MAX;
				step(r, &(struct vms_node_event){.type = VMS_NEV_TIMER});
			}
			if (r->p.stop_wanted && !r->stop_sent) {
				r->stop_sent = true;
				stop_by_ms = now + STOP_MS_MAX;
				step(r, &(struct vms_node_event){.type = VMS_NEV_STOP});
			}
			vms_node_turn_end(r->node, now);
			/* first what the peers' disks and the waiting gateways are for */
			vms_net_flush(r->p.net);
			vms_disk_posix_flush(r->posix);
			if (stop_by_ms && now >= stop_by_ms) {
				vms_warn(
					"the clean stop took longer than %u s; stopping without it",
					STOP_MS_MAX / 1000);
				r->stopped = true;
			}
		} else if (r->p.stop_wanted) {
			r->stopped = true;
		}
		vms_net_flush(r->p.net);
		if (r->limit_bytes_s)
			limit_wait(r);
	}
}

int vmstored_run_node(const struct vms_settings *set, vmstored_ready_fn ready, void *arg)
{
	struct run r = {.p = {.set = set, .signal_fd = -1}};
	struct vms_net_handler h = {&r, on_accepted, on_connected, on_closed, on_frame};
	struct rlimit rl;
	struct vms_errmsg msg = {""};
	int rc;

	/* Buffers of a quarter of a MiB come and go with every record that is drained: their
	 * pages stay with the process instead of being cleared by the kernel each time. */
	(void)mallopt(M_MMAP_THRESHOLD, MALLOC_KEPT_MAX / 4);
	(void)mallopt(M_TRIM_THRESHOLD, MALLOC_KEPT_MAX);
	/* containers are kept open */
	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
	vms_settings_name(set->node.name, r.p.name);
	vms_conf_addr_format(&set->node.listen, r.listen);
	vms_conf_addr_format(&set->node.address, r.address);
	r.admin = (struct vms_admin){.ctx = &r,
				     .role = VMS_ROLE_NODE,
				     .name = r.p.name,
				     .stats = do_stats,
				     .call = do_call,
				     .send = up_send};
	r.deadline_ms = UINT64_MAX;
	if (getenv("VMS_NODE_LIMIT"))
		r.limit_bytes_s = strtoull(getenv("VMS_NODE_LIMIT"), NULL, 10);
	if (getenv("VMS_DISK_FAULT") && *getenv("VMS_DISK_FAULT") == '@') {
		r.p.hup = faults_reload;
		r.p.hup_arg = &r;
	}
	r.p.net = vms_net_new(&h, 0);
	rc = open_all(&r, &msg);
	if (!rc)
		rc = ready(arg, &msg);
	if (rc) {
		vms_error("%s", msg.text[0] ? msg.text : vms_err_text(rc));
		close_all(&r);
		return VMSTORED_FAILED;
	}
	if (!r.joined)
		vms_info("node %s at %s waits to be joined: vmstore-ring join %s", r.p.name,
			 r.listen, r.address);
	loop(&r);
	/* the last answers */
	vms_net_flush(r.p.net);
	if (r.fatal)
		vms_error("%s", r.fatal_text);
	else
		vms_info("node %s stopped", r.p.name);
	rc = r.fatal;
	close_all(&r);
	return rc ? VMSTORED_FAILED : VMSTORED_OK;
}

int vmstored_format(const struct vms_settings *set)
{
	struct vms_disk_posix_conf dc = disk_conf(set);
	struct vms_errmsg msg = {""};
	int rc = vmstored_make_dir(dc.dir, &msg);

	if (!rc)
		rc = vms_disk_posix_format(&dc, &msg);
	if (rc) {
		vms_error("%s", msg.text[0] ? msg.text : vms_err_text(rc));
		return VMSTORED_FAILED;
	}
	printf("%s: formatted, log of %" PRIu64
	       " MiB. Start the node and join it with vmstore-ring join.\n",
	       dc.dir, dc.log_bytes >> 20);
	return VMSTORED_OK;
}
