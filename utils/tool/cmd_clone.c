// SPDX-License-Identifier: GPL-2.0-only
/* vmstore clone: volumes made of snapshots, and the list of them. */
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/branch.h"
#include "utils/tool/cmds.h"
#include "utils/tool/move.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

/* ---- ls ---- */

/* Which volumes: all clones, those of any snapshot of a volume, or of one snapshot. */
struct want {
	bool all;
	uint64_t id, branch, snap_gen; /* branch 0: any snapshot of volume id */
};

static int want_of(struct cmd_call *c, struct want *w, struct vms_errmsg *e)
{
	char volume[128], snap[104];
	struct volume_view v;
	struct snap_info s;
	int rc;

	*w = (struct want){.all = c->n < 2};
	if (w->all)
		return 0;
	if (!strchr(c->arg[1], '@')) {
		rc = volume_load(c->t, c->arg[1], &v, e);
		volume_free(&v);
		w->id = v.v.id;
		return rc;
	}
	rc = vms_cat_snap_name_split(c->arg[1], volume, snap, e);
	if (!rc)
		rc = snap_get(c->t, volume, snap, &s, e);
	if (!rc)
		*w = (struct want){.id = s.s.id, .branch = s.s.branch, .snap_gen = s.s.snap_gen};
	return rc;
}

static int list(struct cmd_call *c)
{
	struct tool_kvs kv = VMS_VEC_INIT;
	struct branches all = VMS_VEC_INIT;
	struct vms_table *tab = vms_table_open("<clone|<parent|>size");
	json_t *out = json_array();
	struct vms_errmsg e = {""};
	struct want w;
	int rc = want_of(c, &w, &e);

	if (!rc)
		rc = tool_range(c->t, "volume/", &kv, &e);
	if (!rc)
		rc = branches_load(c->t, &all, &e);
	for (size_t i = 0; !rc && i < kv.n; i++) {
		struct vms_cat_kv k = tool_cat_kv(&kv.d[i]);
		char size[VMS_SIZE_TEXT_MAX];
		struct vms_cat_volume v;

		rc = vms_cat_volume_decode(&k, &v, &e);
		if (rc || (w.all ? !v.parent[0]
				 : !branches_clone_of(&all, v.id, w.id, w.branch, w.snap_gen)))
			continue;
		vms_table_cells(
			tab, 3,
			(const char *[]){v.name, v.parent, vms_size_format(v.size_bytes, size)});
		json_array_append_new(out,
				      json_pack("{ss ss sI}", "name", v.name, "parent", v.parent,
						"size_bytes", (json_int_t)v.size_bytes));
	}
	rc = cmd_list_end(c, rc, &e, tab, out);
	branches_free(&all);
	tool_kvs_free(&kv);
	return rc;
}

/* ---- make one ---- */

static int run_clone(struct cmd_call *c)
{
	uint64_t size = 0, t0 = vms_clock_us(), us;
	const struct vms_opt opts[] = {
		{0, "size", VMS_OPT_SIZE, &size, "SIZE", "larger than the snapshot"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	char volume[128], snap[104], text[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	struct volume_view v = {.losses = 0};
	json_t *j;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (!strcmp(c->arg[0], "ls"))
		return list(c);
	if (vms_cat_snap_name_split(c->arg[0], volume, snap, &e))
		return cmd_usage(c, "%s", e.text);
	if (c->n < 2)
		return cmd_usage(c, "the name of the new volume is missing");
	if (vms_cat_volume_name_check(c->arg[1], &e))
		return cmd_usage(c, "%s", e.text);
	if (size % VMS_CHUNK_BYTES || size > VMS_VOL_BYTES_MAX)
		return cmd_usage(c, "--size: must be a multiple of 4096, at most 16P");
	if (move_clone(c->t, volume, snap, c->arg[1], size, &v.v, &e))
		return tool_fail(c->t, "%s", e.text);
	us = vms_clock_us() - t0;
	if (!c->t->json) {
		printf("volume %s created from %s in %.1f ms, %s\n", v.v.name, v.v.parent,
		       (double)us / 1000, vms_size_format(v.v.size_bytes, text));
		return TOOL_OK;
	}
	j = volume_json(&v);
	json_object_set_new(j, "us", json_integer((json_int_t)us));
	return tool_print_json(j);
}

const struct cmd cmd_clone = {
	.name = "clone",
	.args = "VOLUME@SNAP NEW [--size SIZE]\nls [VOLUME|VOLUME@SNAP]",
	.brief = "make a volume of a snapshot, list clones",
	.about = "Makes a volume that begins as the snapshot is. Nothing is copied, whatever the "
		 "size.\n"
		 "clone ls lists clones, of all volumes, of one, or of one snapshot.",
	.min = 1,
	.max = 2,
	.run = run_clone};
