// SPDX-License-Identifier: GPL-2.0-only
/* vmstore target account: CHAP accounts of the cluster. */
#include <stdio.h>
#include <string.h>

#include "utils/lib/fmt.h"
#include "utils/tool/cmds.h"
#include "utils/tool/target_store.h"

static unsigned uses(const struct targets *all, const char *user)
{
	unsigned n = 0;

	VMS_VEC_FOREACH (all, t) {
		const char *out = json_string_value(json_object_get(t->rec, "user_out"));

		n += vms_reg_has(t->rec, VMS_REG_USERS, user) || (out && !strcmp(out, user));
	}
	return n;
}

static int run_ls(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct targets all = VMS_VEC_INIT;
	struct accounts acc;
	struct vms_errmsg e = {""};
	struct vms_table *tab;
	json_t *list;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	tab = vms_table_open("<user|>targets");
	list = json_array();
	code = accounts_load(c->t, &acc, &e);
	if (!code)
		code = targets_load(c->t, &all, &e);
	VMS_VEC_FOREACH (&acc, a) {
		unsigned n = uses(&all, a->user);
		char cnt[16];

		snprintf(cnt, sizeof(cnt), "%u", n);
		vms_table_cells(tab, 2, (const char *[]){a->user, cnt});
		json_array_append_new(
			list, json_pack("{ss sI}", "user", a->user, "targets", (json_int_t)n));
	}
	code = cmd_list_end(c, code, &e, tab, list);
	VMS_VEC_FREE(&acc);
	targets_free(&all);
	return code;
}

/* create and set differ in whether it has to exist. */
static int put(struct cmd_call *c, bool exists)
{
	const char *path = "-", *user;
	const struct vms_opt opts[] = {
		{0, "secret-file", VMS_OPT_STRING, &path, "FILE",
		 "its first line is the secret; default, and '-': standard input"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	char secret[VMS_SECRET_BYTES_MAX + 1] = "", sealed[VMS_SECRET_TEXT_MAX];
	struct account_entry *have;
	struct vms_errmsg e = {""};
	struct accounts acc;
	uint64_t revision = 0;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	user = c->arg[0];
	if (account_user_check(user, &e))
		return cmd_usage(c, "%s", e.text);
	code = accounts_load(c->t, &acc, &e);
	have = code ? NULL : accounts_find(&acc, user);
	revision = have ? have->mod_revision : 0;
	if (!code && !have && exists)
		code = vms_fail(&e, VMS_E_NOENT, "there is no account %s", user);
	if (!code && have && !exists)
		code = vms_fail(
			&e, VMS_E_EXIST,
			"account %s exists; vmstore target account set gives it another secret",
			user);
	VMS_VEC_FREE(&acc);
	if (!code)
		code = account_secret_read(path, user, secret, &e);
	if (!code)
		code = account_seal(c->t, user, secret, sealed, &e);
	explicit_bzero(secret, sizeof(secret));
	if (!code)
		code = account_store(c->t, user, sealed, revision, NULL, &e);
	if (code)
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss}", exists ? "changed" : "created", user));
	printf("account %s %s\n", user,
	       exists ? "has a new secret, which counts for logins from now on" : "created");
	return TOOL_OK;
}

static int run_create(struct cmd_call *c)
{
	return put(c, false);
}

static int run_set(struct cmd_call *c)
{
	return put(c, true);
}

static int run_rm(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	code = account_delete(c->t, c->arg[0], &e);
	if (code)
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss}", "deleted", c->arg[0]));
	printf("account %s deleted\n", c->arg[0]);
	return TOOL_OK;
}

static const struct cmd *const subs[] = {
	&(const struct cmd){
		.name = "ls", .args = "[--json]", .brief = "list accounts", .run = run_ls},
	&(const struct cmd){
		.name = "create",
		.args = "USER [--secret-file FILE]",
		.brief = "make an account, its secret from a file or standard input",
		.about =
			"The secret, 12 to 255 bytes, is sealed with the key of secrets_key in "
			"[cluster]; a\n"
			"terminal is asked for it without echo. It never stands on a command line.",
		.min = 1,
		.max = 1,
		.run = run_create},
	&(const struct cmd){.name = "set",
			    .args = "USER [--secret-file FILE]",
			    .brief = "give it another secret",
			    .min = 1,
			    .max = 1,
			    .run = run_set},
	&(const struct cmd){.name = "rm",
			    .args = "USER",
			    .brief = "delete an account that no target uses",
			    .min = 1,
			    .max = 1,
			    .run = run_rm},
	NULL,
};
const struct cmd cmd_target_account = {
	.name = "account", .brief = "CHAP accounts of the cluster", .sub = subs};
