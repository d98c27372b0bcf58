// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/du.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utils/lib/assert.h"
#include "utils/tool/branch.h"
#include "utils/tool/nodes.h"
#include "utils/tool/snap.h"
#include "utils/tool/view.h"

#define NODE_MS_MAX 5000u
#define BUSY_MS_MAX 60000u /* another tool counts */
#define POLL_MS	    50u
#define SAY_MS	    2000u
#define TRIES_MAX   8u

void du_free(struct du_result *r)
{
	VMS_VEC_FREE(&r->points);
}

/* ---- what is to be counted ---- */

static void add_snaps(struct du_result *r, const struct snaps *all, uint32_t volume)
{
	const char *name = r->points.d[volume].name;
	char own[128];

	snprintf(own, sizeof(own), "%.120s", name);
	VMS_VEC_FOREACH (all, s) {
		struct du_point *p;

		if (strcmp(s->s.volume, own) || s->s.state != VMS_SNAP_COMPLETE)
			continue;
		p = VMS_VEC_ADD(&r->points);
		snprintf(p->name, sizeof(p->name), "%.110s@%.110s", own, s->s.name);
		p->volume = volume;
		p->snap = true;
		p->size_bytes = s->s.size_bytes;
		p->branch = s->s.branch;
		p->gen = s->s.snap_gen;
	}
}

static void add_branch(json_t *list, const struct vms_cat_branch *b)
{
	json_t *anc = json_array();

	for (unsigned i = 0; i < b->nancestors; i++)
		json_array_append_new(anc, json_pack("[III]", (json_int_t)b->ancestor[i].branch,
						     (json_int_t)b->ancestor[i].snap_gen,
						     (json_int_t)b->ancestor[i].limit_chunks));
	json_array_append_new(
		list, json_pack("[IIo]", (json_int_t)b->branch, (json_int_t)b->lineage, anc));
}

/* Points and branches, as the catalog has them now. */
static int load(struct tool *t, struct du_result *r, json_t **req, struct vms_errmsg *msg)
{
	json_t *branches = json_array(), *points = json_array();
	struct snaps snaps = VMS_VEC_INIT;
	struct branches all = VMS_VEC_INIT;
	struct tool_kvs kv;
	int rc = tool_range(t, "volume/", &kv, msg);

	if (!rc)
		rc = snaps_load(t, "", &snaps, msg);
	if (!rc)
		rc = branches_load(t, &all, msg);
	VMS_VEC_FOREACH (&all, b)
		add_branch(branches, &b->b);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv c = tool_cat_kv(&kv.d[i]);
		struct vms_cat_volume v;
		struct du_point *p;
		bool has = false;

		rc = vms_cat_volume_decode(&c, &v, msg);
		if (rc)
			break;
		p = VMS_VEC_ADD(&r->points);
		snprintf(p->name, sizeof(p->name), "%s", v.name);
		p->volume = (uint32_t)r->points.n - 1;
		p->size_bytes = v.size_bytes;
		p->branch = v.branch;
		VMS_VEC_FOREACH (&all, b)
			has |= b->b.branch == v.branch;
		if (!has) /* a volume of an older cluster */
			add_branch(branches, &(struct vms_cat_branch){.branch = v.branch,
								      .lineage = v.lineage});
		add_snaps(r, &snaps, p->volume);
	}
	VMS_VEC_FOREACH (&r->points, p)
		json_array_append_new(points, json_pack("[III]", (json_int_t)p->branch,
							(json_int_t)p->gen, (json_int_t)p->volume));
	*req = json_pack("{so so sI}", "branches", branches, "points", points, "volumes",
			 (json_int_t)r->points.n);
	tool_kvs_free(&kv);
	snaps_free(&snaps);
	branches_free(&all);
	return rc;
}

/* ---- the nodes ---- */

static uint64_t num(const json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v)
							       : 0;
}

static uint64_t field(const json_t *o, const char *name)
{
	return num(json_object_get(o, name));
}

/* What a node that leads nothing would have counted is nothing. */
static void add_down(struct du_result *r, const struct nodes *ns, unsigned i)
{
	const struct tool_peer *p = &ns->p[i];
	size_t n = strlen(r->down);

	if (!ns->lead[i].leads)
		return;
	snprintf(r->down + n, sizeof(r->down) - n, "%s%.40s", n ? ", " : "", p->name);
}

static void add_up(struct du_result *r, const json_t *a)
{
	json_t *pts = json_object_get(a, "points"), *vols = json_object_get(a, "volumes"), *u;
	uint64_t chunks = field(a, "container_chunks"), used = field(a, "distinct_chunks");
	size_t i;

	for (i = 0; i < r->points.n; i++) {
		struct du_point *p = &r->points.d[i];
		json_t *x = json_array_get(pts, i);

		p->mapped_bytes += num(json_array_get(x, 0)) * VMS_CHUNK_BYTES;
		p->unique_bytes += num(json_array_get(x, 1)) * VMS_CHUNK_BYTES;
		p->returns_bytes += num(p->snap ? json_array_get(x, 1) : json_array_get(vols, i)) *
				    VMS_CHUNK_BYTES;
	}
	json_array_foreach (json_object_get(a, "undrained"), i, u) {
		uint64_t bytes = num(json_array_get(u, 1)) * VMS_CHUNK_BYTES;

		r->undrained_bytes += bytes;
		VMS_VEC_FOREACH (&r->points, p)
			if (!p->snap && p->branch == num(json_array_get(u, 0)))
				p->undrained_bytes += bytes;
	}
	/* the collector's figure knows of references from other partitions */
	if (field(a, "live_chunks") > used)
		used = field(a, "live_chunks");
	if (used > chunks)
		chunks = used;
	r->stored_bytes += used * VMS_CHUNK_BYTES;
	r->garbage_bytes += (chunks - used) * VMS_CHUNK_BYTES;
	r->missing += (uint32_t)field(a, "missing");
	r->sampled |= json_is_true(json_object_get(a, "sampled"));
}

/* Begins the count at each node; one that counts for somebody else is asked again. */
static int begin(struct tool *t, struct nodes *ns, json_t *req, json_t **job, struct du_result *r,
		 struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	bool busy;

	do {
		busy = false;
		for (unsigned i = 0; i < ns->n; i++)
			if (!job[i])
				tool_peer_ask(t, &ns->p[i], "du", json_deep_copy(req));
		tool_peers_wait(t, ns->p, ns->n, NODE_MS_MAX, NULL, NULL);
		for (unsigned i = 0; i < ns->n; i++) {
			struct tool_peer *p = &ns->p[i];

			if (job[i])
				continue;
			if (!p->status)
				job[i] = json_incref(p->answer);
			else if (p->status == VMS_E_BUSY)
				busy = true;
			else if (p->up)
				return vms_fail(msg, p->status, "storage node %s: %.150s", p->name,
						p->why);
		}
		if (busy)
			for (unsigned i = 0; i < 20; i++)
				tool_wait(t, 50);
	} while (busy && vms_clock_ms() - t0 < BUSY_MS_MAX && !tool_interrupted());
	if (busy)
		return vms_fail(msg, VMS_E_BUSY, "somebody else is counting (vmstore du)");
	for (unsigned i = 0; i < ns->n; i++)
		if (!job[i])
			add_down(r, ns, i);
	return 0;
}

static void say(struct tool *t, uint64_t since_ms, unsigned percent, bool end)
{
	if (t->json || !isatty(STDERR_FILENO) || vms_clock_ms() - since_ms < SAY_MS)
		return;
	if (end)
		fprintf(stderr, "\r                    \r");
	else
		fprintf(stderr, "\rcounting: %3u %% ", percent);
	fflush(stderr);
}

/* Asks how far they are until all are done. */
static int wait_counted(struct tool *t, struct nodes *ns, json_t **job, struct du_result *r,
			struct vms_errmsg *msg)
{
	uint64_t t0 = vms_clock_ms();
	unsigned left = 1;

	while (left && !tool_interrupted()) {
		uint64_t walked = 0, all = 0;

		left = 0;
		tool_wait(t, POLL_MS);
		for (unsigned i = 0; i < ns->n; i++)
			if (job[i])
				tool_peer_ask(t, &ns->p[i], "du", json_deep_copy(job[i]));
		tool_peers_wait(t, ns->p, ns->n, NODE_MS_MAX, NULL, NULL);
		for (unsigned i = 0; i < ns->n; i++) {
			struct tool_peer *p = &ns->p[i];

			if (!job[i])
				continue;
			walked += field(p->answer, "walked");
			all += field(p->answer, "partitions");
			if (!p->status && !json_is_true(json_object_get(p->answer, "done"))) {
				left++;
				continue;
			}
			if (p->status && p->up)
				return vms_fail(msg, p->status, "storage node %s: %.150s", p->name,
						p->why);
			if (p->status)
				add_down(r, ns, i);
			else
				add_up(r, p->answer);
			json_decref(job[i]);
			job[i] = NULL;
		}
		say(t, t0, all ? (unsigned)(100 * walked / all) : 0, !left);
	}
	return left ? vms_fail(msg, VMS_E_CANCELLED, "interrupted") : 0;
}

/* Partitions that got another primary meanwhile may have been counted twice or not at
 * all. */
static int moved(struct tool *t, struct nodes *ns, struct du_result *r, struct vms_errmsg *msg)
{
	uint32_t *was = malloc((ns->nparts + 1) * sizeof(*was));
	unsigned n = ns->nparts;
	int rc;

	vms_assert(was);
	for (unsigned i = 0; i < n; i++)
		was[i] = ns->part[i].primary;
	rc = nodes_leaders(t, ns, msg);
	for (unsigned i = 0; i < n; i++)
		r->missing += was[i] != ns->part[i].primary;
	free(was);
	return rc;
}

static int count_once(struct tool *t, struct du_result *out, struct vms_errmsg *msg)
{
	struct vms_cat_cluster cluster;
	struct nodes ns = {0};
	json_t *req = NULL, **job = NULL;
	uint64_t revision;
	int rc;

	memset(out, 0, sizeof(*out));
	tool_catch_signals();
	rc = view_cluster(t, &cluster, &revision, msg);
	if (!rc)
		rc = load(t, out, &req, msg);
	if (!rc)
		rc = nodes_open(t, &ns, msg);
	if (!rc)
		rc = nodes_leaders(t, &ns, msg);
	job = calloc(ns.n + 1, sizeof(*job));
	vms_assert(job);
	out->copies = cluster.copies;
	if (!rc)
		rc = begin(t, &ns, req, job, out, msg);
	if (!rc)
		rc = wait_counted(t, &ns, job, out, msg);
	if (!rc)
		rc = moved(t, &ns, out, msg);
	for (unsigned i = 0; i < ns.n; i++)
		json_decref(job[i]);
	free(job);
	json_decref(req);
	nodes_close(t, &ns);
	VMS_VEC_FOREACH (&out->points, p)
		if (!p->snap) {
			out->size_bytes += p->size_bytes;
			out->mapped_bytes += p->mapped_bytes;
		}
	return rc;
}

/* Leads move for a second or two after a node has come back or gone: then once more. */
int du_count(struct tool *t, struct du_result *out, struct vms_errmsg *msg)
{
	int rc = count_once(t, out, msg);

	for (unsigned i = 0;
	     !rc && i < TRIES_MAX && out->missing && !out->down[0] && !tool_interrupted(); i++) {
		du_free(out);
		for (unsigned k = 0; k < 20; k++)
			tool_wait(t, POLL_MS);
		rc = count_once(t, out, msg);
	}
	return rc;
}
