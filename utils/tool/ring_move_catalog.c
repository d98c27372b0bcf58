// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-ring move-catalog: from the embedded catalog to an etcd.
 *
 * Order: the old one is frozen for good (it answers everybody "moved to ..." from then
 * on, also after a restart), its keys are copied, the cluster's own record last. A
 * process with the old configuration can decide nothing any more, one with the new
 * configuration waits until the record is there. I/O goes on all the while. Each step
 * may be repeated.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/cat_server.h"
#include "utils/tool/catalog_fill.h"
#include "utils/tool/ring_cmds.h"

#define CALL_MS 10000u

struct moving {
	const char *to, *prefix, *ca, *cert, *key, *user;
	bool dry_run, undo;
	char old[VMS_CONF_ADDR_TEXT_MAX];
	struct tool_kvs kvs;
	uint64_t revision;
};

/* The embedded catalog's process. */
static int old_call(struct tool *t, const struct moving *m, const char *call, json_t *req,
		    json_t **answer, struct vms_errmsg *e)
{
	return tool_call(t, m->old, call, req, CALL_MS, answer, e);
}

static int find_old(struct tool *t, struct moving *m, char moved[256], struct vms_errmsg *e)
{
	int rc = VMS_E_CONFIG;

	for (unsigned i = 0; i < t->set.cluster.catalog.n; i++) {
		const char *role, *to;
		json_t *j;

		vms_conf_addr_format(&t->set.cluster.catalog.a[i], m->old);
		rc = old_call(t, m, "status", NULL, &j, e);
		if (rc)
			continue;
		role = json_string_value(json_object_get(j, "role"));
		to = json_string_value(json_object_get(j, "moved"));
		snprintf(moved, 256, "%s", to ? to : "");
		if (!role || strcmp(role, "catalog"))
			rc = vms_fail(e, VMS_E_CONFIG, "what answers at %s is no catalog", m->old);
		json_decref(j);
		break;
	}
	return rc;
}

static int dump(struct tool *t, struct moving *m, struct vms_errmsg *e)
{
	bool more = true;
	int rc = 0;

	while (more && !rc) {
		json_t *req = json_object(), *j;

		if (m->kvs.n)
			json_object_set_new(req, "after", json_string(VMS_VEC_LAST(&m->kvs).key));
		rc = old_call(t, m, "dump", req, &j, e);
		if (rc)
			break;
		more = json_is_true(json_object_get(j, "more"));
		m->revision = (uint64_t)json_integer_value(json_object_get(j, "revision"));
		rc = catalog_kvs_add(&m->kvs, json_object_get(j, "kvs"));
		json_decref(j);
		if (rc)
			vms_fail(e, rc, "the catalog at %s answers nonsense", m->old);
	}
	return rc;
}

/* From here on the tool's catalog is the new one. */
static int use_new(struct tool *t, const struct moving *m, struct vms_errmsg *e)
{
	const struct {
		const char *key, *val;
	} set[] = {{"catalog_prefix", m->prefix},
		   {"catalog_ca", m->ca},
		   {"catalog_cert", m->cert},
		   {"catalog_key", m->key},
		   {"catalog_user", m->user}};
	int rc = 0;

	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]) && !rc; i++)
		if (set[i].val)
			rc = vms_conf_set(vms_settings_keys, "cluster", set[i].key, set[i].val,
					  &t->set, e);
	if (!rc)
		rc = tool_catalog_set(t, m->to, e);
	return rc;
}

static int take_back(struct tool *t, struct moving *m, const char *moved, struct vms_errmsg *e)
{
	struct tool_kvs kv;
	json_t *j = NULL;
	int rc;

	if (!moved[0])
		return vms_fail(e, VMS_E_NOENT, "the catalog at %s has not moved", m->old);
	rc = tool_get(t, "cluster", &kv, e);
	if (!rc && kv.n)
		rc = vms_fail(
			e, VMS_E_EXIST,
			"the move is complete: processes may have decided things in etcd already");
	tool_kvs_free(&kv);
	if (!rc)
		rc = old_call(t, m, "thaw", NULL, &j, e);
	json_decref(j);
	return rc;
}

static int move(struct tool *t, struct moving *m, const char *moved, struct vms_errmsg *e)
{
	json_t *j = NULL;
	bool done;
	int rc;

	/* Reads both before anything is changed. */
	rc = dump(t, m, e);
	catalog_drop_passing(&m->kvs);
	if (!rc)
		rc = catalog_fill_check(t, &m->kvs, &done, e);
	if (rc || m->dry_run)
		return rc;
	if (!moved[0]) {
		rc = old_call(t, m, "freeze", json_pack("{ss}", "to", m->to), &j, e);
		json_decref(j);
		tool_kvs_free(&m->kvs);
		m->kvs = (struct tool_kvs)VMS_VEC_INIT;
		if (!rc)
			rc = dump(t, m, e); /* what it holds for good */
		catalog_drop_passing(&m->kvs);
	}
	if (rc || done)
		return rc;
	rc = tool_catalog_base(t, m->revision, e);
	return rc ? rc : catalog_fill(t, &m->kvs, e);
}

static int tell(struct tool *t, const struct moving *m)
{
	if (t->json)
		return tool_print_json(json_pack("{ss ss sI sI sb sb}", "from", m->old, "to", m->to,
						 "keys", (json_int_t)m->kvs.n, "revision",
						 (json_int_t)m->revision, "dry_run",
						 (int)m->dry_run, "undone", (int)m->undo));
	if (m->undo) {
		printf("the catalog at %s serves again\n", m->old);
		return TOOL_OK;
	}
	if (m->dry_run) {
		printf("would move %zu keys (revision %" PRIu64 ") from %s to %s; both answer\n",
		       m->kvs.n, m->revision, m->old, m->to);
		return TOOL_OK;
	}
	printf("moved %zu keys from %s to %s and read them back.\n\n"
	       "The old catalog changes nothing any more; I/O goes on, but until they use the new\n"
	       "one, processes cannot take over for each other. Now:\n"
	       "  1. set in [cluster] of every configuration:  catalog = %s\n"
	       "     (and catalog_ca, catalog_cert, catalog_key, catalog_user as needed)\n"
	       "  2. restart all storage nodes at the same time, then the gateways one by one\n"
	       "  3. stop the old catalog process (vmstored --catalog)\n",
	       m->kvs.n, m->old, m->to, m->to);
	return TOOL_OK;
}

static int run(struct cmd_call *c)
{
	struct tool *t = c->t;
	struct moving m = {.kvs = VMS_VEC_INIT};
	const struct vms_opt opts[] = {
		{0, "to", VMS_OPT_STRING, &m.to, "ADDR",
		 "the new catalog: etcd:HOST:PORT,HOST:PORT,... (as in a configuration)"},
		{0, "prefix", VMS_OPT_STRING, &m.prefix, "TEXT",
		 "what its keys begin with (default: catalog_prefix of the configuration)"},
		{0, "ca", VMS_OPT_STRING, &m.ca, "FILE", "its authority, likewise catalog_ca"},
		{0, "cert", VMS_OPT_STRING, &m.cert, "FILE", "likewise catalog_cert"},
		{0, "key", VMS_OPT_STRING, &m.key, "FILE", "likewise catalog_key"},
		{0, "user", VMS_OPT_STRING, &m.user, "FILE", "likewise catalog_user"},
		{0, "dry-run", VMS_OPT_FLAG, &m.dry_run, NULL, "ask both, change nothing"},
		{0, "undo", VMS_OPT_FLAG, &m.undo, NULL,
		 "a move that did not come to its end: let the old catalog serve again"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	char moved[256] = "";
	int rc;

	if (!cmd_parse(c, opts, &rc))
		return rc;
	if (!m.to)
		return cmd_usage(c, "--to is missing: where to?");
	if (strlen(m.to) > VMS_CAT_MOVED_TO_MAX)
		return cmd_usage(c, "--to is longer than %u characters", VMS_CAT_MOVED_TO_MAX);
	if (strncmp(m.to, "etcd:", 5) != 0)
		return cmd_usage(c, "--to %.100s: expected etcd:HOST:PORT,HOST:PORT,...", m.to);
	if (m.prefix && (!*m.prefix || vms_settings_prefix_check(m.prefix, &e)))
		return cmd_usage(c, "--prefix %s", *m.prefix ? e.text : "is empty");
	if (t->set.cluster.catalog.scheme)
		return tool_fail(t, "the configuration's catalog is an etcd already");
	rc = find_old(t, &m, moved, &e);
	if (!rc && moved[0] && strcmp(moved, m.to))
		rc = vms_fail(&e, VMS_E_EXIST, "the catalog at %s has moved to %.100s already",
			      m.old, moved);
	if (!rc)
		rc = use_new(t, &m, &e);
	if (!rc)
		rc = m.undo ? take_back(t, &m, moved, &e) : move(t, &m, moved, &e);
	rc = rc ? tool_fail(t, "%s", e.text) : tell(t, &m);
	tool_kvs_free(&m.kvs);
	return rc;
}

const struct cmd ring_move_catalog = {
	.name = "move-catalog",
	.args = "--to etcd:HOST:PORT,... [OPTIONS]",
	.brief = "move the catalog from the embedded one to an etcd",
	.about = "Moves the catalog from the embedded one, which the configuration names, to an\n"
		 "etcd. The old one is frozen first and tells everybody where it has gone. "
		 "Repeating\n"
		 "the command completes a move that was interrupted.",
	.run = run};
