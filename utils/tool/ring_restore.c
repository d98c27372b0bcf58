// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore-ring restore-catalog: a lost catalog from the copies that storage nodes keep.
 *
 * The newest copy counts, and of each partition's set what nodes have in index and log of a
 * later view: a copy is up to five seconds old, and nobody of the set that it names need have
 * the data any more. What is made of it: cluster/cat_restore.h. Safe only when each
 * partition's last in-sync set is there: a member that is missing might have gone on with
 * writes that nobody here knows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster/cat_restore.h"
#include "utils/lib/assert.h"
#include "utils/tool/catalog_fill.h"
#include "utils/tool/ring_cmds.h"

#define CALL_MS	  10000u
#define COPY_MS	  600000u /* a node reads its log for it */
#define NODES_MAX 128u
#define PARTS_MAX 65536u

struct source {
	char address[128], name[64];
	uint32_t node;
	char cluster[40];
	uint64_t revision, saved_s;
	struct tool_kvs kvs;
	uint64_t incarnation;
	char blind[100]; /* why it does not know all sets it was in; "": it does */
};

struct restoring {
	bool force, dry_run;
	unsigned n;
	struct source src[NODES_MAX];
	struct source *newest;
	struct vms_restore to;
	uint64_t revision; /* highest of all copies */
	struct tool_kvs out;
	uint32_t parts, missing; /* partitions; ... whose last set is not all here */
	char absent[200];	 /* names of the nodes */
};

static void raise_to(uint64_t *to, uint64_t v)
{
	if (v > *to)
		*to = v;
}

static uint64_t number(const json_t *o, const char *field)
{
	json_int_t v = json_integer_value(json_object_get(o, field));

	return v > 0 ? (uint64_t)v : 0;
}

static void take_highest(struct restoring *r, struct source *s, const json_t *h)
{
	raise_to(&r->to.epoch, number(h, "epoch"));
	raise_to(&r->to.gateway_incarnation, number(h, "gateway_incarnation"));
	raise_to(&r->to.branch, number(h, "branch"));
	raise_to(&r->to.snap_gen, number(h, "snap_gen"));
	raise_to(&r->to.lun_fence, number(h, "lun_fence"));
	raise_to(&r->to.gc_cycle, number(h, "gc_cycle"));
	raise_to(&s->incarnation, number(h, "incarnation"));
}

/* [partition, epoch, node, incarnation, node, ...] */
static void take_view(struct restoring *r, const json_t *j)
{
	struct vms_view v = {0};
	size_t n = json_array_size(j);

	if (n < 4 || n % 2 || n > 2 + 2 * VMS_COPIES_MAX)
		return;
	v.epoch = (uint64_t)json_integer_value(json_array_get(j, 1));
	for (size_t i = 2; i < n; i += 2)
		v.member[v.n++] = (struct vms_member){
			(uint32_t)json_integer_value(json_array_get(j, i)),
			(uint64_t)json_integer_value(json_array_get(j, i + 1))};
	vms_restore_view_add(&r->to, (uint32_t)json_integer_value(json_array_get(j, 0)), &v);
}

static void take_views(struct restoring *r, struct source *s, const json_t *answer)
{
	const json_t *views = json_object_get(answer, "views");
	const char *error = json_string_value(json_object_get(answer, "views_error"));

	if (!views)
		error = "it is of an earlier release";
	if (error)
		snprintf(s->blind, sizeof(s->blind), "%s", error);
	for (size_t i = 0; i < json_array_size(views); i++)
		take_view(r, json_array_get(views, i));
}

/* ---- what the nodes have ---- */

static int ask(struct tool *t, struct restoring *r, struct source *s, struct vms_errmsg *e)
{
	const char *text;
	bool more = true;
	json_t *j;
	int rc = tool_call(t, s->address, "status", NULL, CALL_MS, &j, e);

	if (rc)
		return rc;
	text = json_string_value(json_object_get(j, "name"));
	snprintf(s->name, sizeof(s->name), "%s", text ? text : "");
	s->node = (uint32_t)number(j, "node");
	if (s->node > r->to.node)
		r->to.node = s->node;
	text = json_string_value(json_object_get(j, "state"));
	if (!text || !s->node)
		rc = vms_fail(e, VMS_E_INVAL, "%s: what answers is no node of a cluster",
			      s->address);
	else if (!strcmp(text, "running"))
		rc = vms_fail(e, VMS_E_BUSY,
			      "node %s runs with the state of the lost catalog: restart it first "
			      "(it then waits for the catalog)",
			      s->name);
	json_decref(j);
	if (!rc)
		tool_note(t, "node %s reads its index and log", s->name);
	while (!rc && more) {
		json_t *req = json_object();

		if (s->kvs.n)
			json_object_set_new(req, "after", json_string(VMS_VEC_LAST(&s->kvs).key));
		rc = tool_call(t, s->address, "catalog-copy", req, COPY_MS, &j, e);
		if (rc)
			break;
		text = json_string_value(json_object_get(j, "cluster"));
		snprintf(s->cluster, sizeof(s->cluster), "%s", text ? text : "");
		s->revision = number(j, "revision");
		s->saved_s = number(j, "saved_s");
		if (!s->kvs.n)
			take_highest(r, s, json_object_get(j, "highest"));
		take_views(r, s, j);
		more = json_is_true(json_object_get(j, "more"));
		if (catalog_kvs_add(&s->kvs, json_object_get(j, "kvs")) || (more && !s->kvs.n))
			rc = vms_fail(e, VMS_E_PROTO, "node %s answers nonsense", s->name);
		json_decref(j);
	}
	return rc;
}

static int choose(struct restoring *r, struct vms_errmsg *e)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct source *s = &r->src[i];

		if (strcmp(s->cluster, r->src[0].cluster))
			return vms_fail(e, VMS_E_INVAL, "%s and %s belong to different clusters",
					r->src[0].address, s->address);
		if (!r->newest || s->revision > r->newest->revision)
			r->newest = s;
		raise_to(&r->revision, s->revision);
	}
	if (!catalog_find(&r->newest->kvs, "cluster"))
		return vms_fail(e, VMS_E_CORRUPT, "the newest copy, of node %s, holds no cluster",
				r->newest->name);
	return 0;
}

/* ---- the records as they are to be ---- */

static void put(struct restoring *r, const char *key, char *val)
{
	struct tool_kv kv = {.key = strdup(key), .val = val};

	vms_assert(kv.key && kv.val);
	VMS_VEC_PUSH(&r->out, kv);
}

static struct source *source_of(struct restoring *r, uint32_t node)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->src[i].node == node)
			return &r->src[i];
	return NULL;
}

static void absent(struct restoring *r, uint32_t node)
{
	char key[VMS_CAT_KEY_BYTES_MAX], text[200];
	const struct tool_kv *kv;
	struct vms_cat_node n;
	size_t at = strlen(r->absent);

	vms_cat_key_node(key, node);
	kv = catalog_find(&r->newest->kvs, key);
	snprintf(text, sizeof(text), "node %" PRIu32, node);
	if (kv) {
		struct vms_cat_kv c = tool_cat_kv(kv);

		if (!vms_cat_node_decode(&c, &n, NULL))
			snprintf(text, sizeof(text), "%s (%s)", n.name, n.address);
	}
	if (!strstr(r->absent, text))
		snprintf(r->absent + at, sizeof(r->absent) - at, "%s%.100s", at ? ", " : "", text);
}

/* Is all of its set there? */
static int look_at_set(struct restoring *r, const char *key, const char *val, struct vms_errmsg *e)
{
	struct vms_cat_kv kv = {.key = key, .val = val, .val_bytes = (uint32_t)strlen(val)};
	struct vms_part_conf p;
	bool all = true;
	uint32_t part;
	int rc = vms_cat_part_decode(&kv, &part, &p, e);

	if (rc)
		return rc;
	r->parts++;
	for (uint32_t i = 0; i < p.nmembers; i++)
		if (!source_of(r, p.member[i].node)) {
			absent(r, p.member[i].node);
			all = false;
		}
	r->missing += !all;
	return 0;
}

static uint64_t incarnation_of(void *ctx, uint32_t node)
{
	struct source *s = source_of(ctx, node);

	return s ? s->incarnation : 0;
}

static int build(struct restoring *r, struct vms_errmsg *e)
{
	int rc = 0;
	/* the first cycle may have begun after the copy was made */
	bool gc = !r->to.gc_cycle || catalog_find(&r->newest->kvs, "gc");

	for (size_t i = 0; i < r->newest->kvs.n && !rc; i++) {
		struct vms_cat_kv kv = tool_cat_kv(&r->newest->kvs.d[i]);
		char *val;

		if (catalog_key_passes(kv.key))
			continue;
		if (!gc && strcmp(kv.key, "gc") > 0) {
			struct vms_cat_kv none = {.key = "gc", .val = "{\"cycle\": 1}"};

			none.val_bytes = (uint32_t)strlen(none.val);
			val = vms_restore_val(&r->to, &none, e);
			if (!val)
				return VMS_E_NOMEM;
			put(r, none.key, val);
			gc = true;
		}
		val = vms_restore_val(&r->to, &kv, e);
		if (!val)
			return VMS_E_CORRUPT;
		put(r, kv.key, val);
		if (!strncmp(kv.key, "part/", strlen("part/")))
			rc = look_at_set(r, kv.key, val, e);
	}
	return rc;
}

/* ---- writing ---- */

static int raise_revision(struct tool *t, const struct restoring *r, struct vms_errmsg *e)
{
	char address[VMS_CONF_ADDR_TEXT_MAX];
	json_t *j = NULL;
	int rc = VMS_E_CONFIG;

	if (t->set.cluster.catalog.scheme)
		return tool_catalog_base(t, r->revision + VMS_RESTORE_MARGIN, e);
	for (unsigned i = 0; i < t->set.cluster.catalog.n && rc; i++) {
		vms_conf_addr_format(&t->set.cluster.catalog.a[i], address);
		rc = tool_call(t, address, "raise",
			       json_pack("{sI}", "revision",
					 (json_int_t)(r->revision + VMS_RESTORE_MARGIN)),
			       CALL_MS, &j, e);
		json_decref(j);
	}
	return rc;
}

static int restore(struct tool *t, struct restoring *r, struct vms_errmsg *e)
{
	bool done;
	int rc = choose(r, e);

	if (!rc)
		rc = build(r, e);
	if (!rc && r->missing && !r->force && !r->dry_run)
		rc = vms_fail(e, VMS_E_PERM,
			      "the last in-sync set of %" PRIu32
			      " partitions is not complete without %.150s: start and name them too",
			      r->missing, r->absent);
	for (unsigned i = 0; i < r->n && !rc && !r->force && !r->dry_run; i++)
		if (r->src[i].blind[0])
			rc = vms_fail(
				e, VMS_E_PERM,
				"node %s does not know all sets that it was in (%s): one that "
				"the copy does not name may have gone on without the others. "
				"--lose-missing takes the copy's word",
				r->src[i].name, r->src[i].blind);
	if (!rc)
		rc = catalog_fill_check(t, &r->out, &done, e);
	if (!rc && done)
		rc = vms_fail(e, VMS_E_EXIST, "the catalog holds this cluster already");
	if (rc || r->dry_run)
		return rc;
	rc = raise_revision(t, r, e);
	return rc ? rc : catalog_fill(t, &r->out, e);
}

static int tell(struct tool *t, const struct restoring *r)
{
	time_t saved = (time_t)r->newest->saved_s;
	json_t *unsure = t->json ? json_array() : NULL; /* of the sets they were in */
	char when[40];
	struct tm tm;

	localtime_r(&saved, &tm);
	strftime(when, sizeof(when), "%F %T", &tm);
	for (unsigned i = 0; i < r->n && t->json; i++)
		if (r->src[i].blind[0])
			json_array_append_new(unsure, json_string(r->src[i].name));
	if (t->json)
		return tool_print_json(json_pack(
			"{ss sI sI sI sI ss sb so}", "from", r->newest->name, "saved_s",
			(json_int_t)r->newest->saved_s, "keys", (json_int_t)r->out.n, "partitions",
			(json_int_t)r->parts, "incomplete", (json_int_t)r->missing, "absent",
			r->absent, "dry_run", (int)r->dry_run, "unsure", unsure));
	printf("%s %zu keys from the copy of node %s, as of %s.\n",
	       r->dry_run ? "would restore" : "restored", r->out.n, r->newest->name, when);
	if (r->missing)
		printf("%" PRIu32 " of %" PRIu32
		       " partitions lack a member of their last set (%s): what "
		       "only it has acknowledged is lost%s.\n",
		       r->missing, r->parts, r->absent,
		       r->dry_run ? "; refused without --lose-missing" : "");
	for (unsigned i = 0; i < r->n; i++)
		if (r->src[i].blind[0])
			printf("Node %s does not know all sets that it was in (%s)%s.\n",
			       r->src[i].name, r->src[i].blind,
			       r->dry_run ? "; refused without --lose-missing" : "");
	if (!r->dry_run)
		printf("Volumes, snapshots and settings that were changed after that moment are as "
		       "before\n"
		       "it. Restart the gateways; then look at vmstore-ring status.\n");
	return TOOL_OK;
}

static int run(struct cmd_call *c)
{
	struct tool *t = c->t;
	struct restoring *r = calloc(1, sizeof(*r));
	const struct vms_opt opts[] = {
		{0, "lose-missing", VMS_OPT_FLAG, &r->force, NULL,
		 "even if members of a partition's last set are missing: may lose writes"},
		{0, "dry-run", VMS_OPT_FLAG, &r->dry_run, NULL, "show what would be restored"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	int rc;

	vms_assert(r);
	r->to = (struct vms_restore){.incarnation = incarnation_of, .ctx = r, .nviews = PARTS_MAX};
	r->to.view = calloc(PARTS_MAX, sizeof(*r->to.view));
	vms_assert(r->to.view);
	if (!cmd_parse(c, opts, &rc)) {
		free(r->to.view);
		free(r);
		return rc;
	}
	rc = 0;
	for (unsigned i = 0; i < c->n && !rc; i++) {
		struct source *s = &r->src[r->n++];

		snprintf(s->address, sizeof(s->address), "%s", c->arg[i]);
		rc = ask(t, r, s, &e);
	}
	if (!rc)
		rc = restore(t, r, &e);
	rc = rc ? tool_fail(t, "%s", e.text) : tell(t, r);
	for (unsigned i = 0; i < r->n; i++)
		tool_kvs_free(&r->src[i].kvs);
	tool_kvs_free(&r->out);
	free(r->to.view);
	free(r);
	return rc;
}

const struct cmd ring_restore_catalog = {
	.name = "restore-catalog",
	.args = "[OPTIONS] ADDRESS...",
	.brief = "make a lost catalog anew from the copies that nodes keep",
	.about = "Fills the empty catalog that the configuration names from the newest of the "
		 "copies\n"
		 "that the storage nodes at ADDRESS (HOST:PORT) keep in their folders. Name all "
		 "nodes;\n"
		 "they must have been restarted and wait for the catalog. Refused while a member "
		 "of\n"
		 "any partition's last in-sync set is missing.",
	.min = 1,
	.max = NODES_MAX,
	.run = run};
