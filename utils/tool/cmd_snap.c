// SPDX-License-Identifier: GPL-2.0-only
/* vmstore snap: create, list, delete, roll back snapshots. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/lib/assert.h"
#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/barrier.h"
#include "utils/tool/cmds.h"
#include "utils/tool/move.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

/* ---- create ---- */

static int create_one(struct cmd_call *c, const char *name, uint32_t try_ms, json_t *list)
{
	char volume[128], snap[104], fenced[200] = "";
	uint64_t t0 = vms_clock_us(), us;
	struct barrier_report rep;
	struct vms_errmsg e = {""};
	struct vms_cat_snap s;
	json_t *o;
	int rc;

	/* checked before the first one was made */
	(void)vms_cat_snap_name_split(name, volume, snap, &e);
	rc = barrier_snapshot(c->t, volume, snap, try_ms, &s, &rep, &e);
	if (rc == VMS_E_EXIST) /* it names itself */
		return tool_fail(c->t, "%s", e.text);
	if (rc)
		return tool_fail(c->t, "snapshot %s: %s", name, e.text);
	us = vms_clock_us() - t0;
	if (rep.abandoned[0])
		tool_note(c->t, "snapshot %s had been begun and was given up", rep.abandoned);
	if (rep.fenced[0])
		snprintf(fenced, sizeof(fenced), "; gateway %.150s was gone and is shut out",
			 rep.fenced);
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
	if (!code && c->n && !snaps.n) { /* no snapshots, or no volume? */
		struct volume_view v;

		code = volume_load(c->t, c->arg[0], &v, &e);
		volume_free(&v);
	}
	VMS_VEC_FOREACH (&snaps, s) {
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
	code = cmd_list_end(c, code, &e, tab, list);
	snaps_free(&snaps);
	return code;
}

/* ---- rm ---- */

static bool is_pattern(const char *text)
{
	return strpbrk(text, "*?[") != NULL;
}

/* Adds VOLUME@SNAP or VOLUME@PATTERN; names that do not exist are told. */
static int add_named(struct cmd_call *c, const char *arg, struct snaps *out)
{
	const char *at = strchr(arg, '@');
	char volume[128];
	struct vms_errmsg e = {""};
	struct snap_info one;
	struct snaps all;
	size_t before = out->n;
	int rc;

	snprintf(volume, sizeof(volume), "%.*s", at ? (int)(at - arg) : 0, arg);
	if (!is_pattern(at + 1)) {
		if (snap_get(c->t, volume, at + 1, &one, &e))
			return tool_fail(c->t, "%s", e.text);
		VMS_VEC_PUSH(out, one);
		return TOOL_OK;
	}
	rc = snaps_load(c->t, volume, &all, &e);
	VMS_VEC_FOREACH (&all, s)
		if (!fnmatch(at + 1, s->s.name, 0))
			VMS_VEC_PUSH(out, *s);
	snaps_free(&all);
	if (rc)
		return tool_fail(c->t, "%s", e.text);
	if (out->n == before)
		return tool_fail(c->t, "no snapshot matches '%s'", arg);
	return TOOL_OK;
}

static int add_all(struct cmd_call *c, const char *volume, struct snaps *out)
{
	struct vms_errmsg e = {""};
	struct snaps all;
	struct volume_view v;
	int rc = volume_load(c->t, volume, &v, &e);

	volume_free(&v);
	if (!rc) {
		rc = snaps_load(c->t, volume, &all, &e);
		VMS_VEC_FOREACH (&all, s)
			VMS_VEC_PUSH(out, *s);
		snaps_free(&all);
	}
	return rc ? tool_fail(c->t, "%s", e.text) : TOOL_OK;
}

/* By volume, then by name; the same snapshot may have been named twice. */
static int by_name(const void *a, const void *b)
{
	const struct vms_cat_snap *x = &((const struct snap_info *)a)->s;
	const struct vms_cat_snap *y = &((const struct snap_info *)b)->s;
	int r = strcmp(x->volume, y->volume);

	return r ? r : strcmp(x->name, y->name);
}

static void sort_unique(struct snaps *l)
{
	size_t n = 0;

	if (l->n)
		qsort(l->d, l->n, sizeof(l->d[0]), by_name);
	for (size_t i = 0; i < l->n; i++)
		if (!n || by_name(&l->d[n - 1], &l->d[i]))
			l->d[n++] = l->d[i];
	l->n = n;
}

static int remove_listed(struct cmd_call *c, struct snaps *l)
{
	struct snap_fate *fate = calloc(l->n + 1, sizeof(*fate));
	json_t *gone = json_array(), *kept = json_array();
	struct vms_errmsg e = {""};
	unsigned n = 0;
	int code = TOOL_OK;

	vms_assert(fate);
	if (snaps_remove(c->t, l->d, l->n, fate, &e))
		code = tool_fail(c->t, "%s; the same command goes on", e.text);
	for (size_t i = 0; i < l->n; i++) {
		char name[240];

		snprintf(name, sizeof(name), "%s@%s", l->d[i].s.volume, l->d[i].s.name);
		n += fate[i].gone;
		if (fate[i].gone) {
			json_array_append_new(gone, json_string(name));
		} else if (fate[i].status) {
			code = tool_fail(c->t, "snapshot %s is kept: %s", name, fate[i].why.text);
			json_array_append_new(kept, json_pack("{ss ss}", "snapshot", name, "why",
							      fate[i].why.text));
		}
	}
	if (c->t->json)
		tool_print_json(json_pack("{sO sO}", "deleted", gone, "kept", kept));
	else
		printf("%u snapshot%s deleted\n", n, n == 1 ? "" : "s");
	json_decref(gone);
	json_decref(kept);
	free(fate);
	return code;
}

static int run_rm(struct cmd_call *c)
{
	bool all = false, dry = false;
	const struct vms_opt opts[] = {
		{0, "all", VMS_OPT_FLAG, &all, NULL, "all snapshots of these volumes"},
		{0, "dry-run", VMS_OPT_FLAG, &dry, NULL, "only list what would be deleted"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct snaps list = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	char volume[128], snap[104];
	int code, rc;

	if (!cmd_parse(c, opts, &code))
		return code;
	for (unsigned i = 0; i < c->n; i++) {
		const char *at = strchr(c->arg[i], '@');

		snprintf(volume, sizeof(volume), "%.*s", at ? (int)(at - c->arg[i]) : 0, c->arg[i]);
		if (all			   ? vms_cat_volume_name_check(c->arg[i], &e)
		    : at && is_pattern(at) ? vms_cat_volume_name_check(volume, &e)
					   : vms_cat_snap_name_split(c->arg[i], volume, snap, &e))
			return cmd_usage(c, "%s", e.text);
	}
	for (unsigned i = 0; i < c->n; i++)
		code |= all ? add_all(c, c->arg[i], &list) : add_named(c, c->arg[i], &list);
	sort_unique(&list);
	if (dry && !c->t->json)
		VMS_VEC_FOREACH (&list, s)
			printf("%s@%s\n", s->s.volume, s->s.name);
	else if (dry) {
		json_t *names = json_array();

		VMS_VEC_FOREACH (&list, s)
			json_array_append_new(names, json_sprintf("%s@%s", s->s.volume, s->s.name));
		tool_print_json(json_pack("{so}", "would_delete", names));
	} else {
		rc = remove_listed(c, &list);
		code = code ? code : rc;
	}
	snaps_free(&list);
	return code;
}

/* ---- rollback ---- */

static int run_rollback(struct cmd_call *c)
{
	bool yes = false, online = false;
	const struct vms_opt opts[] = {
		{'y', "yes", VMS_OPT_FLAG, &yes, NULL, "do not ask"},
		{0, "online", VMS_OPT_FLAG, &online, NULL,
		 "also while gateways have it open; initiators see another content at once"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	char volume[128], snap[104], size[VMS_SIZE_TEXT_MAX], when[32];
	struct vms_errmsg e = {""};
	struct vms_cat_volume v;
	struct snap_info s;
	time_t created;
	struct tm tm;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (vms_cat_snap_name_split(c->arg[0], volume, snap, &e))
		return cmd_usage(c, "%s", e.text);
	if (snap_get(c->t, volume, snap, &s, &e))
		return tool_fail(c->t, "%s", e.text);
	created = (time_t)s.s.created_s;
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&created, &tm));
	if (!cmd_confirm(
		    c, yes, &code,
		    "Volume %s goes back to %s (%s). What was written since is lost, except in\n"
		    "snapshots, which stay. Go on?",
		    volume, c->arg[0], when))
		return code;
	tool_catch_signals(); /* in the middle it would leave gateways waiting for 10 s */
	if (move_volume(c->t,
			&(struct volume_move){.volume = volume,
					      .what = "rolled back",
					      .snap = snap,
					      .online = online},
			&v, &e))
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss ss sI sI}", "name", v.name, "snapshot",
						 c->arg[0], "size_bytes", (json_int_t)v.size_bytes,
						 "branch", (json_int_t)v.branch));
	printf("volume %s is as snapshot %s was, %s\n", v.name, c->arg[0],
	       vms_size_format(v.size_bytes, size));
	return TOOL_OK;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){
		.name = "create",
		.args = "VOLUME@SNAP... [--timeout TIME]",
		.brief = "make a snapshot, also while the volume is in use",
		.about = "Makes snapshots: each a consistent cut over all gateways that have its "
			 "volume\n"
			 "open. Writes wait while it is made, a few ms. Nothing is copied.",
		.min = 1,
		.max = CMD_ARGS_MAX,
		.run = run_create},
	&(const struct cmd){.name = "ls",
			    .args = "[VOLUME] [--json]",
			    .brief = "list snapshots, the oldest first",
			    .max = 1,
			    .run = run_ls},
	&(const struct cmd){
		.name = "rm",
		.args = "VOLUME@SNAP|VOLUME@PATTERN... [--dry-run]\n--all VOLUME... [--dry-run]",
		.brief = "delete snapshots",
		.about = "Deletes snapshots, by name, by pattern (such as 'vm1@daily-*') or all of "
			 "a volume.\n"
			 "It returns at once; storage nodes give the space back in the background "
			 "(vmstore\n"
			 "reclaim). One that is a LUN of a target, that a gateway exports or that "
			 "has "
			 "clones is\n"
			 "kept, and why is told.",
		.min = 1,
		.max = CMD_ARGS_MAX,
		.run = run_rm},
	&(const struct cmd){.name = "rollback",
			    .args = "VOLUME@SNAP [--yes] [--online]",
			    .brief = "take a volume back to a snapshot",
			    .about = "Takes a volume back to what it was. What was written since "
				     "is lost, except in\n"
				     "snapshots, which stay. Refused while a gateway has the "
				     "volume open, unless --online.\n"
				     "Nothing is copied.",
			    .min = 1,
			    .max = 1,
			    .run = run_rollback},
	NULL,
};
const struct cmd cmd_snap = {
	.name = "snap", .brief = "create, list, delete, roll back snapshots", .sub = subs};
