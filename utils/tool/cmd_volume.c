// SPDX-License-Identifier: GPL-2.0-only
/* vmstore volume: create, list, show, delete, resize, set. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/cmds.h"
#include "utils/tool/domain.h"
#include "utils/tool/snap.h"
#include "utils/tool/volume.h"

static bool on_off(const char *text, bool *out)
{
	*out = !strcmp(text, "on");
	return *out || !strcmp(text, "off");
}

static int run_create(struct cmd_call *c)
{
	struct volume_new w = {.state = VOLUME_READY};
	const char *ack = "disk", *dedup_text = "on";
	bool dedup;
	const struct vms_opt opts[] = {
		{0, "size", VMS_OPT_SIZE, &w.size_bytes, "SIZE", "such as 20G; a multiple of 4096"},
		{0, "write-ack", VMS_OPT_STRING, &ack, "MODE",
		 "a write is done when it is on `disk` (default) or in `memory` of all copies"},
		{0, "dedup", VMS_OPT_STRING, &dedup_text, "on|off",
		 "store equal chunks once (default on)"},
		{0, "domain", VMS_OPT_STRING, &w.domain, "NAME",
		 "dedup domain: only volumes of one domain share chunks"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_cat_volume v;
	struct vms_errmsg e = {""};
	char text[VMS_SIZE_TEXT_MAX];
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (!w.size_bytes)
		return cmd_usage(c, "--size is missing, or 0");
	if (!strcmp(ack, "disk"))
		w.write_ack = VMS_ACK_DISK;
	else if (!strcmp(ack, "memory"))
		w.write_ack = VMS_ACK_MEMORY;
	else
		return cmd_usage(c, "--write-ack %s: must be disk or memory", ack);
	if (!on_off(dedup_text, &dedup))
		return cmd_usage(c, "--dedup %s: must be on or off", dedup_text);
	w.no_dedup = !dedup;
	w.name = c->arg[0];
	if (volume_check_size(w.size_bytes, &e))
		return cmd_usage(c, "--size: %s", e.text);
	if (vms_cat_volume_name_check(c->arg[0], &e) ||
	    (w.domain && domain_name_check(w.domain, &e)))
		return cmd_usage(c, "%s", e.text);
	if (volume_make(c->t, &w, &v, &e))
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json) {
		struct volume_view vv = {.v = v};

		return tool_print_json(volume_json(&vv));
	}
	printf("volume %s created, %s\n", v.name, vms_size_format(v.size_bytes, text));
	return TOOL_OK;
}

/* ---- ls ---- */

/* Keys below prefix + "%016x/" of this id; keys are in order. */
static unsigned count_open(const struct tool_kvs *open, uint64_t id)
{
	char prefix[32];
	unsigned n = 0;

	snprintf(prefix, sizeof(prefix), "open/%016" PRIx64 "/", id);
	for (size_t i = 0; i < open->n; i++)
		n += !strncmp(open->d[i].key, prefix, strlen(prefix));
	return n;
}

static unsigned count_snaps(const struct snaps *all, const char *volume)
{
	unsigned n = 0;

	VMS_VEC_FOREACH (all, s)
		n += !strcmp(s->s.volume, volume);
	return n;
}

static void ls_row(struct vms_table *tab, json_t *list, const struct vms_cat_volume *v,
		   unsigned openers, unsigned snapshots)
{
	char size[VMS_SIZE_TEXT_MAX], cnt[16], snaps[16], state[32];

	snprintf(cnt, sizeof(cnt), "%u", openers);
	snprintf(snaps, sizeof(snaps), "%u", snapshots);
	snprintf(state, sizeof(state), "%s%s%s", volume_state_word(v->state),
		 v->write_protect ? ", read-only" : "", v->barrier ? " (barrier)" : "");
	vms_table_cells(tab, 8,
			(const char *[]){v->name, vms_size_format(v->size_bytes, size),
					 volume_ack_word(v->write_ack), v->dedup ? "on" : "off",
					 state, cnt, snaps, v->parent});
	json_array_append_new(
		list,
		json_pack("{ss sI ss ss sI sI ss sb ss ss sb}", "name", v->name, "size_bytes",
			  (json_int_t)v->size_bytes, "write_ack", volume_ack_word(v->write_ack),
			  "state", volume_state_word(v->state), "open", (json_int_t)openers,
			  "snapshots", (json_int_t)snapshots, "parent", v->parent, "dedup",
			  (int)v->dedup, "domain", v->domain, "barrier",
			  volume_barrier_word(v->barrier), "read_only", (int)v->write_protect));
}

static int run_ls(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct tool_kvs kv = VMS_VEC_INIT, open = VMS_VEC_INIT;
	struct snaps snaps = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	struct vms_table *tab;
	json_t *list;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	list = json_array();
	code = tool_range(c->t, "volume/", &kv, &e);
	if (!code)
		code = tool_range(c->t, "open/", &open, &e);
	if (!code)
		code = snaps_load(c->t, "", &snaps, &e);
	tab = vms_table_open("<volume|>size|<write-ack|<dedup|<state|>open|>snapshots|<parent");
	for (size_t i = 0; !code && i < kv.n; i++) {
		struct vms_cat_kv k = tool_cat_kv(&kv.d[i]);
		struct vms_cat_volume v;

		code = vms_cat_volume_decode(&k, &v, &e);
		if (!code)
			ls_row(tab, list, &v, count_open(&open, v.id), count_snaps(&snaps, v.name));
	}
	code = cmd_list_end(c, code, &e, tab, list);
	snaps_free(&snaps);
	tool_kvs_free(&kv);
	tool_kvs_free(&open);
	return code;
}

/* ---- info ---- */

static void print_info(const struct volume_view *v, const struct snaps *snaps)
{
	char size[VMS_SIZE_TEXT_MAX], uuid[37], when[32];
	time_t created = (time_t)v->v.created_s;
	struct tm tm;

	tool_uuid_text(v->v.uuid, uuid);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&created, &tm));
	if (!created) /* made by a gateway's size= option: its core knows no calendar */
		strcpy(when, "not recorded");
	printf("volume     %s\nuuid       %s\nsize       %s (%" PRIu64 " bytes)\nwrite-ack  %s\n"
	       "dedup      %s%s%s\nstate      %s\ncreated    %s\nbranch     %" PRIu64
	       " (lineage %" PRIu64 ", snap_gen %" PRIu64 ", lun_fence %" PRIu64 ")\n",
	       v->v.name, uuid, vms_size_format(v->v.size_bytes, size), v->v.size_bytes,
	       volume_ack_word(v->v.write_ack), v->v.dedup ? "on" : "off",
	       v->v.domain[0] ? ", domain " : "", v->v.domain, volume_state_word(v->v.state), when,
	       v->v.branch, v->v.lineage, v->v.snap_gen, v->v.lun_fence);
	if (v->v.write_protect)
		printf("access     read-only (vmstore volume set %s read-only=off)\n", v->v.name);
	if (v->v.parent[0])
		printf("parent     %s\n", v->v.parent);
	if (snaps->n)
		printf("snapshots  %zu, the newest %s@%s\n", snaps->n, v->v.name,
		       VMS_VEC_LAST(snaps).s.name);
	if (v->v.barrier)
		printf("barrier    %s (a snapshot or a change of it is under way)\n",
		       volume_barrier_word(v->v.barrier));
	if (v->losses)
		printf("losses     unflushed writes may have been lost %" PRIu64 " times\n",
		       v->losses);
	if (!v->openers.n)
		printf("open       nowhere\n");
	for (size_t i = 0; i < v->openers.n; i++)
		printf("open       gateway %u (%s)\n", v->openers.d[i].o.gateway,
		       v->openers.d[i].gateway);
	if (v->v.state == VOLUME_DELETING)
		printf("note       vmstore volume rm %s completes the deletion\n", v->v.name);
	if (v->v.state == VOLUME_SHRINKING)
		printf("note       vmstore volume resize %s %s completes the shrinking\n",
		       v->v.name, size);
}

static int run_info(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct snaps snaps = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	struct volume_view v;
	json_t *j;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	code = volume_load(c->t, c->arg[0], &v, &e);
	if (!code)
		code = snaps_load(c->t, c->arg[0], &snaps, &e);
	if (code) {
		code = tool_fail(c->t, "%s", e.text);
	} else if (c->t->json) {
		j = volume_json(&v);
		json_object_set_new(j, "snapshots", json_integer((json_int_t)snaps.n));
		tool_print_json(j);
	} else {
		print_info(&v, &snaps);
	}
	snaps_free(&snaps);
	volume_free(&v);
	return code;
}

/* ---- rm, resize, set ---- */

static int run_rm(struct cmd_call *c)
{
	bool snapshots = false;
	const struct vms_opt opts[] = {
		{0, "snapshots", VMS_OPT_FLAG, &snapshots, NULL, "delete its snapshots too"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	json_t *list;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	list = json_array();
	for (unsigned i = 0; i < c->n; i++) {
		struct vms_errmsg e = {""};

		if (volume_delete(c->t, c->arg[i], snapshots, &e)) {
			code = tool_fail(c->t, "%s", e.text);
			continue;
		}
		json_array_append_new(list, json_string(c->arg[i]));
		if (!c->t->json)
			printf("volume %s deleted\n", c->arg[i]);
	}
	if (c->t->json)
		tool_print_json(json_pack("{sO}", "deleted", list));
	json_decref(list);
	return code;
}

static int run_resize(struct cmd_call *c)
{
	bool allow_shrink = false;
	uint64_t size = 0, old = 0;
	const struct vms_opt opts[] = {
		{0, "size", VMS_OPT_SIZE, &size, "SIZE", "the new size (or as second argument)"},
		{0, "allow-shrink", VMS_OPT_FLAG, &allow_shrink, NULL,
		 "cut off the end; the data there is lost"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	char was[VMS_SIZE_TEXT_MAX], now[VMS_SIZE_TEXT_MAX];
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (c->n == 2 && vms_size_parse(c->arg[1], &size, &e))
		return cmd_usage(c, "%s", e.text);
	if (!size)
		return cmd_usage(c, "the new size is missing, or 0");
	if (volume_check_size(size, &e))
		return cmd_usage(c, "%s", e.text);
	/* broken off in the middle it would leave gateways waiting for 10 s */
	tool_catch_signals();
	if (volume_resize(c->t, c->arg[0], size, allow_shrink, &old, &e))
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss sI sI}", "name", c->arg[0], "old_bytes",
						 (json_int_t)old, "size_bytes", (json_int_t)size));
	printf("volume %s: %s -> %s\n", c->arg[0], vms_size_format(old, was),
	       vms_size_format(size, now));
	return TOOL_OK;
}

static int run_set(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	const char *eq, *name = "dedup";
	struct vms_errmsg e = {""};
	bool on, protect;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	eq = strchr(c->arg[1], '=');
	protect = !strncmp(c->arg[1], "read-only=", 10);
	if (!eq || (!protect && strncmp(c->arg[1], "dedup=", 6)) || !on_off(eq + 1, &on))
		return cmd_usage(c, "'%s': what can be set is dedup=on|off and read-only=on|off",
				 c->arg[1]);
	tool_catch_signals();
	if (protect) {
		name = "read_only";
		code = volume_set_write_protect(c->t, c->arg[0], on, &e);
	} else {
		code = volume_set_dedup(c->t, c->arg[0], on, &e);
	}
	if (code)
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss sb}", "name", c->arg[0], name, (int)on));
	printf("volume %s: %.*s %s\n", c->arg[0], (int)(eq - c->arg[1]), c->arg[1],
	       on ? "on" : "off");
	return TOOL_OK;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){.name = "create",
			    .args = "NAME --size SIZE [--write-ack disk|memory] [--dedup on|off] "
				    "[--domain NAME]",
			    .brief = "create a thin volume",
			    .min = 1,
			    .max = 1,
			    .run = run_create},
	&(const struct cmd){
		.name = "ls", .args = "[--json]", .brief = "list volumes", .run = run_ls},
	&(const struct cmd){.name = "info",
			    .args = "NAME [--json]",
			    .brief = "show one volume and who has it open",
			    .min = 1,
			    .max = 1,
			    .run = run_info},
	&(const struct cmd){.name = "rm",
			    .args = "NAME... [--snapshots]",
			    .brief = "delete a volume",
			    .about = "Deletes volumes and their data. It returns at once; storage "
				     "nodes give the space\n"
				     "back in the background (vmstore reclaim). Refused while a "
				     "gateway has the volume\n"
				     "open or a target has it as a LUN, and when clones depend on "
				     "it. If it was\n"
				     "interrupted, the same command goes on.",
			    .min = 1,
			    .max = CMD_ARGS_MAX,
			    .run = run_rm},
	&(const struct cmd){.name = "resize",
			    .args = "NAME SIZE [--allow-shrink]",
			    .brief = "change a volume's size",
			    .about = "Changes a volume's size, also while gateways have it open: "
				     "all of them have the new\n"
				     "size when it returns, and every path is told once (CAPACITY "
				     "DATA HAS CHANGED).\n"
				     "Snapshots keep what they show.",
			    .min = 1,
			    .max = 2,
			    .run = run_resize},
	&(const struct cmd){.name = "set",
			    .args = "NAME dedup=on|off\nNAME read-only=on|off",
			    .brief = "change a setting, also while it is open",
			    .about = "dedup: whether chunks that are written from now on are "
				     "stored once. What is stored\n"
				     "stays as it is. read-only: nobody writes to it; holds on all "
				     "gateways when it\n"
				     "returns, and every path is told once.",
			    .min = 2,
			    .max = 2,
			    .run = run_set},
	NULL,
};
const struct cmd cmd_volume = {
	.name = "volume", .brief = "create, list, show, delete, resize volumes", .sub = subs};
