// SPDX-License-Identifier: GPL-2.0-only
/* vmstored --catalog: the embedded catalog service as a process. */
#include <stdio.h>
#include <string.h>

#include "backend/vmstored_int.h"
#include "cluster/cat_server.h"
#include "utils/lib/log.h"

struct run {
	struct vmstored_proc p;
	struct vms_cat_engine eng;
	struct vms_cat_server *srv;
	struct vms_admin admin;
	uint64_t requests;
};

static void on_accepted(void *ctx, vms_net_conn c, const char *peer)
{
	struct run *r = ctx;

	vms_cat_server_accept(r->srv, c);
}

static void on_connected(void *ctx, vms_net_conn c)
{
}

static void on_closed(void *ctx, vms_net_conn c, int err, const char *why)
{
	struct run *r = ctx;

	if (err && err != VMS_E_DISCONNECTED)
		vms_warn("connection dropped: %s", why);
	vms_cat_server_down(r->srv, c);
}

static void on_frame(void *ctx, vms_net_conn c, const struct vms_msg *m)
{
	struct run *r = ctx;

	r->requests++;
	/* STATS and ADMIN come from the local socket too; HELLO is the server's. */
	if (!vms_admin_msg(&r->admin, c, m, false))
		vms_cat_server_msg(r->srv, c, m, vms_clock_ms());
}

static int do_send(void *ctx, uint64_t conn, const struct vms_msg *m)
{
	return vms_net_send(((struct run *)ctx)->p.net, conn, m);
}

static void do_close(void *ctx, uint64_t conn)
{
	vms_net_close(((struct run *)ctx)->p.net, conn);
}

static json_t *do_stats(void *ctx)
{
	return vms_stats_json(((struct run *)ctx)->p.stats);
}

#define DUMP_BYTES_MAX (1u << 20)

/* One part of all that is in it, behind the key `after`. */
static int do_dump(struct run *r, json_t *req, json_t **answer)
{
	const char *after = json_string_value(json_object_get(req, "after"));
	char last[VMS_CAT_KEY_BYTES_MAX + 8];
	json_t *kvs = json_array();
	struct vms_cat_kv kv;
	bool more = false;
	size_t bytes = 0;
	int rc;

	while (!(rc = r->eng.ops->next(r->eng.ctx, "", after, &kv)) && kv.key[0] != '~') {
		if (bytes > DUMP_BYTES_MAX) {
			more = true;
			break;
		}
		bytes += strlen(kv.key) + kv.val_bytes + 64;
		json_array_append_new(kvs, json_pack("[ss]", kv.key, kv.val));
		snprintf(last, sizeof(last), "%s", kv.key);
		after = last;
	}
	if (rc && rc != VMS_E_NOENT) {
		json_decref(kvs);
		return rc;
	}
	*answer = json_pack("{sI sb so}", "revision", (json_int_t)r->eng.ops->revision(r->eng.ctx),
			    "more", (int)more, "kvs", kvs);
	return 0;
}

/* freeze {to}, thaw, raise {revision}: for moving and restoring catalogs. */
static int do_move(struct run *r, const char *call, json_t *req, json_t **answer,
		   struct vms_errmsg *msg)
{
	const char *to = json_string_value(json_object_get(req, "to"));
	int rc;

	if (!strcmp(call, "raise")) {
		rc = vms_cat_server_raise(
			r->srv, (uint64_t)json_integer_value(json_object_get(req, "revision")));
		if (rc == VMS_E_EXIST)
			return vms_fail(msg, rc, "this catalog holds a cluster");
	} else if (!strcmp(call, "freeze")) {
		if (!to || strlen(to) > VMS_CAT_MOVED_TO_MAX)
			return vms_fail(msg, VMS_E_INVAL,
					"the new address must have 1 to %u characters",
					VMS_CAT_MOVED_TO_MAX);
		rc = vms_cat_server_freeze(r->srv, to);
		if (!rc)
			vms_warn("this catalog has moved to %s: it serves nobody any more", to);
	} else {
		rc = vms_cat_server_moved(r->srv)[0] ? vms_cat_server_freeze(r->srv, NULL) : 0;
		if (!rc)
			vms_warn("the move was taken back: this catalog serves again");
	}
	if (rc)
		return vms_fail(msg, rc, "%s", vms_err_text(rc));
	*answer = json_pack("{sI ss}", "revision", (json_int_t)r->eng.ops->revision(r->eng.ctx),
			    "moved", vms_cat_server_moved(r->srv));
	return 0;
}

static int do_call(void *ctx, uint64_t conn, const char *call, json_t *req, json_t **answer,
		   struct vms_errmsg *msg)
{
	struct run *r = ctx;
	char addr[VMS_CONF_ADDR_TEXT_MAX];

	if (!strcmp(call, "status")) {
		*answer = vmstored_status(&r->p, "catalog");
		json_object_set_new(
			*answer, "listen",
			json_string(vms_conf_addr_format(&r->p.set->catalog.listen, addr)));
		json_object_set_new(*answer, "dir", json_string(r->p.set->catalog.dir));
		json_object_set_new(*answer, "revision",
				    json_integer((json_int_t)r->eng.ops->revision(r->eng.ctx)));
		json_object_set_new(*answer, "moved", json_string(vms_cat_server_moved(r->srv)));
		return 0;
	}
	if (!strcmp(call, "dump"))
		return do_dump(r, req, answer);
	if (!strcmp(call, "freeze") || !strcmp(call, "thaw") || !strcmp(call, "raise"))
		return do_move(r, call, req, answer, msg);
	return vms_fail(msg, VMS_E_UNSUPPORTED, "the catalog has no call '%.40s'", call);
}

int vmstored_run_catalog(const struct vms_settings *set, vmstored_ready_fn ready, void *arg)
{
	struct run r = {.p = {.set = set, .name = "catalog", .signal_fd = -1}};
	struct vms_net_handler h = {&r, on_accepted, on_connected, on_closed, on_frame};
	struct vms_cat_server_sink sink = {&r, do_send, do_close};
	char addr[VMS_CONF_ADDR_TEXT_MAX];
	struct vms_errmsg msg = {""};
	int rc;

	r.admin = (struct vms_admin){.ctx = &r,
				     .role = VMS_ROLE_CATALOG,
				     .name = "catalog",
				     .stats = do_stats,
				     .call = do_call,
				     .send = do_send};
	rc = vmstored_make_dir(set->catalog.dir, &msg);
	if (!rc)
		rc = vms_cat_engine_lmdb_open(&r.eng, set->catalog.dir, set->catalog.index_bytes,
					      &msg);
	if (rc) {
		vms_error("%s", msg.text);
		return VMSTORED_FAILED;
	}
	r.srv = vms_cat_server_new(&r.eng, &sink);
	r.p.net = vms_net_new(&h, 0);
	vms_conf_addr_format(&set->catalog.listen, addr);
	rc = vms_net_listen(r.p.net, addr, &msg);
	if (!rc)
		rc = vmstored_proc_open(&r.p, &msg);
	if (!rc) {
		vms_stats_add(r.p.stats, "catalog.requests", VMS_STAT_COUNTER, &r.requests,
			      "requests received");
		rc = ready(arg, &msg);
	}
	if (!rc)
		vms_info("catalog in %s serves at %s", set->catalog.dir, addr);
	if (!rc && vms_cat_server_moved(r.srv)[0])
		vms_warn("it has moved to %s and serves nobody; stop it when no process uses it "
			 "any more",
			 vms_cat_server_moved(r.srv));
	while (!rc && !r.p.stop_wanted) {
		vms_net_poll(r.p.net, 100);
		vms_cat_server_timer(r.srv, vms_clock_ms());
		vms_net_flush(r.p.net);
		rc = vms_cat_server_poisoned(r.srv);
		if (rc)
			vms_fail(&msg, rc,
				 "the catalog in %s could not be written (%s); check the disk, "
				 "then start it again",
				 set->catalog.dir, vms_err_text(rc));
	}
	if (rc)
		vms_error("%s", msg.text);
	else
		vms_info("catalog stopped");
	vmstored_proc_close(&r.p);
	vms_cat_server_free(r.srv);
	vms_cat_engine_lmdb_close(&r.eng);
	return rc ? VMSTORED_FAILED : VMSTORED_OK;
}
