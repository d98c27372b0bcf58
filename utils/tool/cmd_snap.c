// SPDX-License-Identifier: GPL-2.0-only
/* vmstore snap: create, list, delete, roll back snapshots. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/barrier.h"
#include "utils/tool/cmds.h"
#include "utils/tool/snap.h"

/* ---- create ---- */

static int create_one(struct cmd_call *c, const char *name, uint32_t try_ms, json_t *list)
{
	char volume[128], snap[104], fenced[200] = "";
	uint64_t t0 = vms_clock_us(), us;
	struct barrier_report rep;
	struct vms_errmsg e = {""};
	struct vms_cat_snap s;
	json_t *o;

	/* checked before the first one was made */
	(void)vms_cat_snap_name_split(name, volume, snap, &e);
	if (barrier_snapshot(c->t, volume, snap, try_ms, &s, &rep, &e))
		return tool_fail(c->t, "snapshot %s: %s", name, e.text);
	us = vms_clock_us() - t0;
	if (rep.abandoned[0])
		tool_note(c->t, "snapshot %s had been begun and was given up", rep.abandoned);
	if (rep.fenced[0])
		snprintf(fenced, sizeof(fenced), "; gateway %.150s was gone and is shut out", rep.fenced);
	if (!c->t->json) {
		printf("snapshot %s created in %.1f ms%s\n", name, (double)us / 1000, fenced);
		return TOOL_OK;
	}
	o = snap_json(&s);
	json_object_set_new(o, "us", json_integer((json_int_t)us));
	json_object_set_new(o, "held_ms", json_integer((json_int_t)rep.held_ms));
	json_object_set_new(o, "attempts", json_integer((json_int_t)rep.attempts));
	json_object_set_new(o, "fenced", json_string(rep.fenced));
	json_object_set_new(o, "abandoned", json_string(rep.abandoned));
	json_array_append_new(list, o);
	return TOOL_OK;
}

static int run_create(struct cmd_call *c)
{
	uint64_t try_ms = BARRIER_TRY_MS;
	const struct vms_opt opts[] = {
		{0, "timeout", VMS_OPT_DURATION, &try_ms, "TIME",
		 "repeat for so long when a gateway or node does not answer (default 10s)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	char volume[128], snap[104];
	json_t *list = NULL;
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	for (unsigned i = 0; i < c->n; i++)
		if (vms_cat_snap_name_split(c->arg[i], volume, snap, &e))
			return cmd_usage(c, "%s", e.text);
	if (try_ms > 600000)
		return cmd_usage(c, "--timeout: at most 10min");
	tool_catch_signals();
	list = json_array();
	for (unsigned i = 0; !code && i < c->n; i++)
		code = create_one(c, c->arg[i], (uint32_t)try_ms, list);
	if (c->t->json)
		tool_print_json(json_incref(list));
	json_decref(list);
	return code;
}

/* ---- ls ---- */

static int run_ls(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	json_t *list = json_array();
	struct vms_errmsg e = {""};
	struct vms_table *tab;
	struct snaps snaps;
	int code;

	if (!cmd_parse(c, opts, &code)) {
		json_decref(list);
		return code;
	}
	code = snaps_load(c->t, c->n ? c->arg[0] : "", &snaps, &e);
	tab = vms_table_open("<snapshot|>size|<created|<state");
	VMS_VEC_FOREACH(&snaps, s) {
		char name[240], size[VMS_SIZE_TEXT_MAX], when[32];
		time_t created = (time_t)s->s.created_s;
		struct tm tm;

		snprintf(name, sizeof(name), "%s@%s", s->s.volume, s->s.name);
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&created, &tm));
		vms_table_cells(tab, 4,
				(const char *[]){name, vms_size_format(s->s.size_bytes, size), when,
						 snap_state_word(s->s.state)});
		json_array_append_new(list, snap_json(&s->s));
	}
	if (code)
		code = tool_fail(c->t, "%s", e.text);
	else if (c->t->json)
		tool_print_json(json_incref(list));
	else
		vms_table_print(tab, stdout);
	vms_table_close(tab);
	json_decref(list);
	snaps_free(&snaps);
	return code;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){
		.name = "create",
		.args = "VOLUME@SNAP... [--timeout TIME]",
		.brief = "make a snapshot, also while the volume is in use",
		.about = "Makes snapshots: each a consistent cut over all gateways that have its volume\n"
			 "open. Writes wait while it is made, a few ms. Nothing is copied.",
		.min = 1,
		.max = CMD_ARGS_MAX,
		.run = run_create},
	&(const struct cmd){.name = "ls",
			    .args = "[VOLUME] [--json]",
			    .brief = "list snapshots, the oldest first",
			    .max = 1,
			    .run = run_ls},
	NULL,
};
const struct cmd cmd_snap = {
	.name = "snap", .brief = "create, list, delete, roll back snapshots", .sub = subs};
