// SPDX-License-Identifier: GPL-2.0-only
/* vmstore domain: dedup domains. */
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/tool/cmds.h"
#include "utils/tool/domain.h"

static int one(struct cmd_call *c,
	       int (*act)(struct tool *t, const char *name, struct vms_errmsg *e), const char *done)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (domain_name_check(c->arg[0], &e))
		return cmd_usage(c, "%s", e.text);
	if (act(c->t, c->arg[0], &e))
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss}", done, c->arg[0]));
	printf("dedup domain %s %s\n", c->arg[0], done);
	return TOOL_OK;
}

static int run_create(struct cmd_call *c)
{
	return one(c, domain_create, "created");
}

static int run_rm(struct cmd_call *c)
{
	return one(c, domain_remove, "deleted");
}

static int run_ls(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct tool_kvs kv, vols = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	struct vms_table *tab;
	json_t *list;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	tab = vms_table_open("<domain|>volumes");
	list = json_array();
	code = tool_range(c->t, "domain/", &kv, &e);
	if (!code)
		code = tool_range(c->t, "volume/", &vols, &e);
	for (size_t i = 0; !code && i < kv.n; i++) {
		const char *name = kv.d[i].key + strlen("domain/");
		char cnt[16];
		int n = 0;

		for (size_t k = 0; k < vols.n; k++) {
			struct vms_cat_kv vk = tool_cat_kv(&vols.d[k]);
			struct vms_cat_volume v;

			n += !vms_cat_volume_decode(&vk, &v, NULL) && !strcmp(v.domain, name);
		}
		snprintf(cnt, sizeof(cnt), "%d", n);
		vms_table_cells(tab, 2, (const char *[]){name, cnt});
		json_array_append_new(list, json_pack("{ss si}", "domain", name, "volumes", n));
	}
	code = cmd_list_end(c, code, &e, tab, list);
	tool_kvs_free(&kv);
	tool_kvs_free(&vols);
	return code;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){.name = "create",
			    .args = "NAME",
			    .brief = "make a domain, with a salt of its own",
			    .min = 1,
			    .max = 1,
			    .run = run_create},
	&(const struct cmd){
		.name = "ls", .args = "[--json]", .brief = "list domains", .run = run_ls},
	&(const struct cmd){.name = "rm",
			    .args = "NAME",
			    .brief = "delete a domain that no volume is in",
			    .min = 1,
			    .max = 1,
			    .run = run_rm},
	NULL,
};
const struct cmd cmd_domain = {
	.name = "domain", .brief = "dedup domains: who may share chunks with whom", .sub = subs};
