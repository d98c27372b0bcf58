// SPDX-License-Identifier: GPL-2.0-only
/* vmstore du: who uses how much space. */
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/cmds.h"
#include "utils/tool/du.h"

static uint64_t shared(const struct du_point *p)
{
	return p->mapped_bytes > p->unique_bytes ? p->mapped_bytes - p->unique_bytes : 0;
}

static double ratio(const struct du_result *r)
{
	return r->stored_bytes ? (double)r->mapped_bytes / (double)r->stored_bytes : 1.0;
}

/* arg: NULL all; "VOLUME" it and its snapshots; "VOLUME@SNAP" that one. */
static bool wanted(const struct du_result *r, const struct du_point *p, const char *arg)
{
	return !arg || !strcmp(p->name, arg) ||
	       (!strchr(arg, '@') && !strcmp(r->points.d[p->volume].name, arg));
}

static void print_points(const struct du_result *r, const char *arg)
{
	struct vms_table *tab = vms_table_open("<name|>size|>mapped|>unique|>shared|>returns");

	VMS_VEC_FOREACH (&r->points, p) {
		char size[VMS_SIZE_TEXT_MAX], mapped[VMS_SIZE_TEXT_MAX], uniq[VMS_SIZE_TEXT_MAX];
		char sh[VMS_SIZE_TEXT_MAX], back[VMS_SIZE_TEXT_MAX], name[244];

		if (!wanted(r, p, arg))
			continue;
		snprintf(name, sizeof(name), "%s%s", p->snap ? "  " : "", p->name);
		vms_table_cells(tab, 6,
				(const char *[]){name, vms_size_format(p->size_bytes, size),
						 vms_size_human(p->mapped_bytes, mapped),
						 vms_size_human(p->unique_bytes, uniq),
						 vms_size_human(shared(p), sh),
						 vms_size_human(p->returns_bytes, back)});
	}
	vms_table_print(tab, stdout);
	vms_table_close(tab);
}

static void print_cluster(const struct du_result *r)
{
	char a[VMS_SIZE_TEXT_MAX], b[VMS_SIZE_TEXT_MAX], c[VMS_SIZE_TEXT_MAX];
	uint64_t holes = r->size_bytes > r->mapped_bytes ? r->size_bytes - r->mapped_bytes : 0;

	printf("\nvolumes    %s, of which %s are holes\n", vms_size_human(r->size_bytes, a),
	       vms_size_human(holes, b));
	printf("mapped     %s by volumes\nstored     %s for them and their snapshots, %.2f : 1\n",
	       vms_size_human(r->mapped_bytes, a), vms_size_human(r->stored_bytes, b), ratio(r));
	printf("garbage    %s to be given back (vmstore reclaim)\n",
	       vms_size_human(r->garbage_bytes, a));
	if (r->undrained_bytes)
		printf("in logs    %s, not counted above\n", vms_size_human(r->undrained_bytes, c));
	printf("copies     %u: what is stored takes so many times the space\n", r->copies);
}

static json_t *point_json(const struct du_point *p)
{
	json_t *o = json_pack("{ss sb sI sI sI sI sI}", "name", p->name, "snapshot", (int)p->snap,
			      "size_bytes", (json_int_t)p->size_bytes, "mapped_bytes",
			      (json_int_t)p->mapped_bytes, "unique_bytes",
			      (json_int_t)p->unique_bytes, "shared_bytes", (json_int_t)shared(p),
			      "returns_bytes", (json_int_t)p->returns_bytes);

	if (!p->snap)
		json_object_set_new(o, "undrained_bytes",
				    json_integer((json_int_t)p->undrained_bytes));
	return o;
}

static json_t *result_json(const struct du_result *r, const char *arg)
{
	json_t *pts = json_array();

	VMS_VEC_FOREACH (&r->points, p)
		if (wanted(r, p, arg))
			json_array_append_new(pts, point_json(p));
	return json_pack("{so s{sI sI sI sI sI sf sI} sb sI ss}", "points", pts, "cluster",
			 "size_bytes", (json_int_t)r->size_bytes, "mapped_bytes",
			 (json_int_t)r->mapped_bytes, "stored_bytes", (json_int_t)r->stored_bytes,
			 "garbage_bytes", (json_int_t)r->garbage_bytes, "undrained_bytes",
			 (json_int_t)r->undrained_bytes, "ratio", ratio(r), "copies",
			 (json_int_t)r->copies, "estimate", (int)r->sampled, "missing_partitions",
			 (json_int_t)r->missing, "nodes_down", r->down);
}

static int run_du(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	const char *arg;
	struct vms_errmsg e = {""};
	struct du_result r;
	bool found = false;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	arg = c->n ? c->arg[0] : NULL;
	if (du_count(c->t, &r, &e)) {
		du_free(&r);
		return tool_fail(c->t, "%s", e.text);
	}
	VMS_VEC_FOREACH (&r.points, p)
		found |= wanted(&r, p, arg);
	if (arg && !found) {
		code = tool_fail(c->t, "there is no %s '%s'",
				 strchr(arg, '@') ? "snapshot" : "volume", arg);
	} else if (c->t->json) {
		tool_print_json(result_json(&r, arg));
	} else {
		print_points(&r, arg);
		if (!arg)
			print_cluster(&r);
		if (r.sampled)
			printf("unique, returns and stored are estimates: every so-manieth chunk "
			       "was counted\n");
	}
	if (!code && (r.down[0] || r.missing)) {
		tool_note(c->t, "not all was counted: %u partitions%s%s", r.missing,
			  r.down[0] ? ", down: " : "", r.down);
		code = TOOL_DEGRADED;
	}
	du_free(&r);
	return code;
}

const struct cmd cmd_du = {
	.name = "du",
	.args = "[VOLUME|VOLUME@SNAP] [--json]",
	.brief = "space of volumes, snapshots and the cluster",
	.about = "Shows what each volume and snapshot takes, of one copy: mapped (no hole), unique "
		 "(stored\n"
		 "for it alone), shared, and what deleting it would give back (a volume: with its\n"
		 "snapshots). Storage nodes count it in the background. Exit code 3: a node is "
		 "down.",
	.max = 1,
	.run = run_du};
