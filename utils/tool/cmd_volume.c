// SPDX-License-Identifier: GPL-2.0-only
/* vmstore volume: create, list, show, delete, resize. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/cmds.h"
#include "utils/tool/volume.h"

static int run_create(struct cmd_call *c)
{
	struct tool *t = c->t;
	uint64_t size = 0;
	const char *ack = "disk";
	const struct vms_opt opts[] = {
		{0, "size", VMS_OPT_SIZE, &size, "SIZE", "such as 20G; a multiple of 4096"},
		{0, "write-ack", VMS_OPT_STRING, &ack, "MODE",
		 "a write is done when it is on `disk` (default) or in `memory` of all copies"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_cat_volume v;
	struct vms_errmsg e = {""};
	char text[VMS_SIZE_TEXT_MAX];
	int code, mode;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (!size)
		return cmd_usage(c, "--size is missing");
	if (!strcmp(ack, "disk"))
		mode = VMS_ACK_DISK;
	else if (!strcmp(ack, "memory"))
		mode = VMS_ACK_MEMORY;
	else
		return cmd_usage(c, "--write-ack %s: must be disk or memory", ack);
	if (vms_cat_volume_name_check(c->arg[0], &e))
		return cmd_usage(c, "%s", e.text);
	if (volume_create(t, c->arg[0], size, (uint8_t)mode, &v, &e))
		return tool_fail(t, "%s", e.text);
	if (t->json) {
		struct volume_view vv = {.v = v};

		return tool_print_json(volume_json(&vv));
	}
	printf("volume %s created, %s\n", v.name, vms_size_format(v.size_bytes, text));
	return TOOL_OK;
}

static int run_ls(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct tool_kvs kv, open = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	json_t *list = json_array();
	struct vms_table *tab;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	code = tool_range(t, "volume/", &kv, &e);
	if (!code)
		code = tool_range(t, "open/", &open, &e);
	tab = vms_table_open("<volume|>size|<write-ack|<state|>open");
	for (size_t i = 0; !code && i < kv.n; i++) {
		struct vms_cat_kv k = tool_cat_kv(&kv.d[i]);
		struct vms_cat_volume v;
		unsigned openers = 0;
		char size[VMS_SIZE_TEXT_MAX], cnt[16], prefix[32];

		code = vms_cat_volume_decode(&k, &v, &e);
		if (code)
			break;
		snprintf(prefix, sizeof(prefix), "open/%016" PRIx64 "/", v.id);
		for (size_t o = 0; o < open.n; o++)
			openers += !strncmp(open.d[o].key, prefix, strlen(prefix));
		snprintf(cnt, sizeof(cnt), "%u", openers);
		vms_table_cells(tab, 5,
				(const char *[]){v.name, vms_size_format(v.size_bytes, size),
						 volume_ack_word(v.write_ack),
						 volume_state_word(v.state), cnt});
		json_array_append_new(list,
				      json_pack("{ss sI ss ss sI}", "name", v.name, "size_bytes",
						(json_int_t)v.size_bytes, "write_ack",
						volume_ack_word(v.write_ack), "state",
						volume_state_word(v.state), "open",
						(json_int_t)openers));
	}
	if (code)
		code = tool_fail(t, "%s", e.text);
	else if (t->json)
		tool_print_json(json_incref(list));
	else
		vms_table_print(tab, stdout);
	vms_table_close(tab);
	json_decref(list);
	tool_kvs_free(&kv);
	tool_kvs_free(&open);
	return code;
}

static int run_info(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	char size[VMS_SIZE_TEXT_MAX], uuid[37], when[32];
	struct vms_errmsg e = {""};
	struct volume_view v;
	time_t created;
	struct tm tm;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (volume_load(t, c->arg[0], &v, &e)) {
		volume_free(&v);
		return tool_fail(t, "%s", e.text);
	}
	if (t->json) {
		code = tool_print_json(volume_json(&v));
		volume_free(&v);
		return code;
	}
	tool_uuid_text(v.v.uuid, uuid);
	created = (time_t)v.v.created_s;
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&created, &tm));
	if (!created) /* made by a gateway's size= option: its core knows no calendar */
		strcpy(when, "not recorded");
	printf("volume     %s\nuuid       %s\nsize       %s (%" PRIu64 " bytes)\nwrite-ack  %s\n"
	       "state      %s\ncreated    %s\nbranch     %" PRIu64 " (lineage %" PRIu64
	       ", snap_gen %" PRIu64 ", lun_fence %" PRIu64 ")\n",
	       v.v.name, uuid, vms_size_format(v.v.size_bytes, size), v.v.size_bytes,
	       volume_ack_word(v.v.write_ack), volume_state_word(v.v.state), when, v.v.branch,
	       v.v.lineage, v.v.snap_gen, v.v.lun_fence);
	if (v.losses)
		printf("losses     unflushed writes may have been lost %" PRIu64 " times\n", v.losses);
	if (!v.openers.n)
		printf("open       nowhere\n");
	for (size_t i = 0; i < v.openers.n; i++)
		printf("open       gateway %u (%s)\n", v.openers.d[i].o.gateway,
		       v.openers.d[i].gateway);
	if (v.v.state == VOLUME_DELETING)
		printf("note       vmstore volume rm %s completes the deletion\n", v.v.name);
	if (v.v.state == VOLUME_SHRINKING)
		printf("note       vmstore volume resize %s %s completes the shrinking\n", v.v.name,
		       size);
	volume_free(&v);
	return TOOL_OK;
}

static int run_rm(struct cmd_call *c)
{
	struct tool *t = c->t;
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (volume_delete(t, c->arg[0], &e))
		return tool_fail(t, "%s", e.text);
	if (t->json)
		return tool_print_json(json_pack("{ss}", "deleted", c->arg[0]));
	printf("volume %s deleted\n", c->arg[0]);
	return TOOL_OK;
}

static int run_resize(struct cmd_call *c)
{
	struct tool *t = c->t;
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
		return cmd_usage(c, "the new size is missing");
	if (volume_resize(t, c->arg[0], size, allow_shrink, &old, &e))
		return tool_fail(t, "%s", e.text);
	if (t->json)
		return tool_print_json(json_pack("{ss sI sI}", "name", c->arg[0], "old_bytes",
						 (json_int_t)old, "size_bytes", (json_int_t)size));
	printf("volume %s: %s -> %s\n", c->arg[0], vms_size_format(old, was),
	       vms_size_format(size, now));
	return TOOL_OK;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){.name = "create",
			    .args = "NAME --size SIZE [--write-ack disk|memory]",
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
	&(const struct cmd){
		.name = "rm",
		.args = "NAME",
		.brief = "delete a volume",
		.about = "Deletes a volume and its data. Refused while a gateway has it open. When it\n"
			 "was interrupted, the same command goes on.",
		.min = 1,
		.max = 1,
		.run = run_rm},
	&(const struct cmd){
		.name = "resize",
		.args = "NAME SIZE [--allow-shrink]",
		.brief = "change a volume's size",
		.about = "Changes a volume's size. Refused while a gateway has it open.",
		.min = 1,
		.max = 2,
		.run = run_resize},
	NULL,
};
const struct cmd cmd_volume = {
	.name = "volume", .brief = "create, list, show, delete, resize volumes", .sub = subs};
