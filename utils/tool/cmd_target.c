// SPDX-License-Identifier: GPL-2.0-only
/* vmstore target: targets, their LUNs and who may log in, in the whole cluster. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target/reg_doc.h"
#include "utils/lib/assert.h"
#include "utils/lib/fmt.h"
#include "utils/lib/size.h"
#include "utils/tool/cmds.h"
#include "utils/tool/target_store.h"

static size_t count(const json_t *rec, const char *list)
{
	return json_array_size(json_object_get(rec, list));
}

static const char *state_word(const json_t *rec)
{
	return json_is_true(json_object_get(rec, "offline")) ? "offline" : "ready";
}

/* A record as it is printed: with what it has by default; apply takes it as it is. */
static json_t *printed(const json_t *rec)
{
	json_t *j = json_copy((json_t *)rec);

	vms_assert(j);
	json_object_set_new(j, "offline",
			    json_boolean(json_is_true(json_object_get(rec, "offline"))));
	json_object_set_new(j, "redirect", json_boolean(vms_reg_redirect(rec)));
	return j;
}

/* ---- ls, show ---- */

static int run_ls(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct vms_errmsg e = {""};
	struct vms_table *tab;
	struct targets all;
	json_t *list;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	tab = vms_table_open("<target|>number|>LUNs|>addresses|>names|>users|<state|<redirect");
	list = json_array();
	code = targets_load(c->t, &all, &e);
	VMS_VEC_FOREACH (&all, t) {
		char n[5][24];

		snprintf(n[0], sizeof(n[0]), "%u", vms_reg_tid(t->rec));
		snprintf(n[1], sizeof(n[1]), "%u", vms_reg_luns(t->rec));
		snprintf(n[2], sizeof(n[2]), "%zu", count(t->rec, "addresses"));
		snprintf(n[3], sizeof(n[3]), "%zu", count(t->rec, "names"));
		snprintf(n[4], sizeof(n[4]), "%zu", count(t->rec, "users"));
		vms_table_cells(tab, 8,
				(const char *[]){vms_reg_name(t->rec), n[0], n[1], n[2], n[3], n[4],
						 state_word(t->rec),
						 vms_reg_redirect(t->rec) ? "on" : "off"});
		json_array_append_new(list, printed(t->rec));
	}
	code = cmd_list_end(c, code, &e, tab, list);
	targets_free(&all);
	return code;
}

static void show_list(const json_t *rec, const char *list, const char *word)
{
	size_t i;
	json_t *x;

	json_array_foreach (json_object_get(rec, list), i, x)
		printf("%-10s %s\n", i ? "" : word, json_string_value(x));
}

static void show(const json_t *rec)
{
	const char *out = json_string_value(json_object_get(rec, "user_out")), *k;
	json_t *x, *v;
	size_t i;

	printf("%-10s %s\n%-10s %u\n%-10s %s\n%-10s %s\n", "target", vms_reg_name(rec), "number",
	       vms_reg_tid(rec), "state", state_word(rec), "redirect",
	       vms_reg_redirect(rec) ? "on" : "off");
	show_list(rec, "addresses", "addresses");
	show_list(rec, "names", "names");
	if (!count(rec, "addresses") && !count(rec, "names"))
		printf("%-10s nobody may log in: vmstore target bind %s --address ALL\n", "",
		       vms_reg_name(rec));
	show_list(rec, "users", "users");
	if (out)
		printf("%-10s %s\n", "answers as", out);
	json_object_foreach (json_object_get(rec, "params"), k, v)
		printf("%-10s %s=%s\n", "parameter", k, json_string_value(v));
	json_array_foreach (json_object_get(rec, "luns"), i, x) {
		printf("LUN %-6" JSON_INTEGER_FORMAT " %s",
		       json_integer_value(json_object_get(x, "lun")),
		       json_string_value(json_object_get(x, "volume")));
		json_object_foreach (json_object_get(x, "params"), k, v)
			printf(" %s=%s", k, json_string_value(v));
		printf("\n");
	}
}

static int run_show(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	struct target_entry *t;
	struct vms_errmsg e = {""};
	struct targets all;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	code = targets_load(c->t, &all, &e);
	t = code ? NULL : targets_find(&all, c->arg[0]);
	if (!code && !t)
		vms_fail(&e, VMS_E_NOENT, "there is no target %s", c->arg[0]);
	if (!t)
		code = tool_fail(c->t, "%s", e.text);
	else if (c->t->json)
		tool_print_json(printed(t->rec));
	else
		show(t->rec);
	targets_free(&all);
	return code;
}

/* ---- create, rm ---- */

static int create(struct tool *t, const char *name, uint64_t want, bool redirect, bool offline,
		  json_t **out, struct vms_errmsg *e)
{
	unsigned tries = 0;
	int rc;

	do {
		struct target_entry *have;
		struct targets all;
		uint32_t tid;

		rc = targets_load(t, &all, e);
		have = rc ? NULL : targets_find(&all, name);
		tid = want ? (uint32_t)want : targets_free_tid(&all);
		if (have)
			rc = vms_fail(e, VMS_E_EXIST, "%s is target number %u already", name,
				      vms_reg_tid(have->rec));
		VMS_VEC_FOREACH (&all, o)
			if (!rc && vms_reg_tid(o->rec) == tid)
				rc = vms_fail(e, VMS_E_INVAL, "target number %u is %s", tid,
					      vms_reg_name(o->rec));
		if (!rc && !tid)
			rc = vms_fail(e, VMS_E_FULL, "all %u target numbers are taken",
				      VMS_REG_TID_MAX);
		targets_free(&all);
		if (rc)
			return rc;
		*out = vms_reg_new(name, tid);
		vms_assert(*out);
		vms_reg_set_redirect(*out, redirect);
		vms_reg_set_offline(*out, offline);
		rc = target_store(t, name, tid, *out, 0, NULL, e);
		if (!rc)
			return 0;
		json_decref(*out);
		*out = NULL;
		/* a number found free may have been taken by somebody at the same moment */
		if (rc == VMS_E_EXIST && !want)
			rc = VMS_E_CONFLICT;
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

static int run_create(struct cmd_call *c)
{
	const char *redirect = "off", *state = "ready";
	uint64_t tid = 0;
	const struct vms_opt opts[] = {
		{0, "number", VMS_OPT_U64, &tid, "N",
		 "tgt's number of it (tid); default: the lowest free"},
		{0, "redirect", VMS_OPT_STRING, &redirect, "on|off",
		 "send logins to a gateway with less to do (default off)"},
		{0, "state", VMS_OPT_STRING, &state, "ready|offline",
		 "offline: logins are refused, commands get BUSY"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	json_t *rec = NULL;
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (vms_reg_new_name_check(c->arg[0], &e))
		return cmd_usage(c, "%s", e.text);
	if (tid > VMS_REG_TID_MAX)
		return cmd_usage(c, "--number: 1 to %u", VMS_REG_TID_MAX);
	if (strcmp(redirect, "on") && strcmp(redirect, "off"))
		return cmd_usage(c, "--redirect %s: must be on or off", redirect);
	if (strcmp(state, "ready") && strcmp(state, "offline"))
		return cmd_usage(c, "--state %s: must be ready or offline", state);
	if (create(c->t, c->arg[0], tid, redirect[1] == 'n', state[0] == 'o', &rec, &e))
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(rec);
	printf("target %s created, number %u; nobody may log in yet (vmstore target bind)\n",
	       vms_reg_name(rec), vms_reg_tid(rec));
	json_decref(rec);
	return TOOL_OK;
}

static int remove_target(struct tool *t, const char *name, bool force, struct vms_errmsg *e)
{
	unsigned tries = 0;
	int rc;

	do {
		struct target_entry *have;
		struct targets all;

		rc = targets_load(t, &all, e);
		have = rc ? NULL : targets_find(&all, name);
		if (!rc && !have)
			rc = vms_fail(e, VMS_E_NOENT, "there is no target %s", name);
		if (!rc && vms_reg_luns(have->rec) && !force)
			rc = vms_fail(e, VMS_E_BUSY,
				      "%s has %u LUN%s: take them away first (vmstore target "
				      "rm-lun), or --force",
				      name, vms_reg_luns(have->rec),
				      vms_reg_luns(have->rec) > 1 ? "s" : "");
		if (!rc)
			rc = target_store(t, name, vms_reg_tid(have->rec), NULL, have->mod_revision,
					  NULL, e);
		targets_free(&all);
	} while (tool_txn_again(rc) && tool_retry(t, &tries));
	return rc;
}

static int run_rm(struct cmd_call *c)
{
	bool force = false;
	const struct vms_opt opts[] = {
		{0, "force", VMS_OPT_FLAG, &force, NULL,
		 "also one that has LUNs; the volumes stay"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (remove_target(c->t, c->arg[0], force, &e))
		return tool_fail(c->t, "%s", e.text);
	if (c->t->json)
		return tool_print_json(json_pack("{ss}", "deleted", c->arg[0]));
	printf("target %s deleted; gateways close its sessions\n", c->arg[0]);
	return TOOL_OK;
}

/* ---- changes of one target ---- */

struct change {
	struct tool *t;
	unsigned n;
	char **arg;
	/* LUNs */
	uint64_t lun;
	const char *volume;
	const char *word; /* as the user named it */
	/* bindings */
	bool unbind;
	const char *what[4]; /* address, name, user, outgoing user */
};

/* Runs fn on the target named first, prints what has changed. */
static int changed(struct cmd_call *c, target_change_fn fn, struct change *ch)
{
	json_t *before = NULL, *after = NULL, *diff, *x;
	struct vms_errmsg e = {""};
	struct target_entry *was;
	struct targets all;
	char text[800];
	size_t i;
	int rc;

	/* only for what is printed: the change itself reads again */
	rc = targets_load(c->t, &all, &e);
	was = rc ? NULL : targets_find(&all, c->arg[0]);
	before = was ? json_incref(was->rec) : NULL;
	targets_free(&all);
	if (!rc)
		rc = target_change(c->t, c->arg[0], fn, ch, &after, &e);
	if (rc) {
		json_decref(before);
		json_decref(after);
		return tool_fail(c->t, "%s", e.text);
	}
	diff = vms_reg_diff(before, after);
	if (c->t->json) {
		tool_print_json(json_pack("{sO sO}", "target", after, "changes", diff));
	} else {
		json_array_foreach (diff, i, x) {
			vms_reg_diff_text(x, text, sizeof(text));
			printf("%s\n", text);
		}
		if (!json_array_size(diff))
			printf("nothing to change\n");
	}
	json_decref(before);
	json_decref(after);
	json_decref(diff);
	return TOOL_OK;
}

/* Is there such a parameter, and may it have that value? */
static int set_check(uint64_t lun, const char *name, const char *value, struct vms_errmsg *e)
{
	if (lun != UINT64_MAX)
		return value[0] ? vms_reg_lun_param_check(name, value, e) : 0;
	if (!strcmp(name, "redirect"))
		return !strcmp(value, "on") || !strcmp(value, "off")
			       ? 0
			       : vms_fail(e, VMS_E_INVAL, "redirect: '%s' must be on or off",
					  value);
	if (!strcmp(name, "state"))
		return !strcmp(value, "ready") || !strcmp(value, "offline")
			       ? 0
			       : vms_fail(e, VMS_E_INVAL, "state: '%s' must be ready or offline",
					  value);
	/* without a value: its default */
	return value[0] ? vms_reg_param_check(name, value, e) : 0;
}

static int set_one(json_t *rec, uint64_t lun, const char *name, const char *value,
		   struct vms_errmsg *e)
{
	if (lun != UINT64_MAX)
		return vms_reg_set_lun_param(rec, lun, name, value[0] ? value : NULL, e);
	if (!strcmp(name, "redirect"))
		vms_reg_set_redirect(rec, value[1] == 'n');
	else if (!strcmp(name, "state"))
		vms_reg_set_offline(rec, value[0] == 'o');
	else
		return vms_reg_set_param(rec, name, value[0] ? value : NULL, e);
	return 0;
}

/* NAME=VALUE; returns VALUE. */
static const char *name_of(const char *arg, char name[64])
{
	size_t n = strcspn(arg, "=");

	snprintf(name, 64, "%.*s", (int)n, arg);
	return arg + n + 1;
}

static int do_set(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *e)
{
	struct change *ch = arg;
	char name[64];
	int rc = 0;

	for (unsigned i = 0; !rc && i < ch->n; i++) {
		const char *value = name_of(ch->arg[i], name);

		rc = set_one(rec, ch->lun, name, value, e);
	}
	return rc;
}

static int run_set(struct cmd_call *c)
{
	struct change ch = {.t = c->t, .lun = UINT64_MAX};
	const struct vms_opt opts[] = {
		{0, "lun", VMS_OPT_U64, &ch.lun, "N",
		 "parameters of this LUN (online, readonly, vendor_id, product_id, product_rev)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	char name[64];
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (!ch.lun)
		return cmd_usage(c, "--lun 0 is the controller, which has no parameters");
	ch.n = c->n - 1;
	ch.arg = c->arg + 1;
	for (unsigned i = 0; i < ch.n; i++) {
		const char *value;

		if (!strchr(ch.arg[i], '=') || ch.arg[i][0] == '=')
			return cmd_usage(c, "'%s' is no NAME=VALUE", ch.arg[i]);
		value = name_of(ch.arg[i], name);
		if (set_check(ch.lun, name, value, &e))
			return cmd_usage(c, "%s", e.text);
	}
	return changed(c, do_set, &ch);
}

static int do_add_lun(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *e)
{
	struct change *ch = arg;
	uint64_t lun = ch->lun != UINT64_MAX ? ch->lun : vms_reg_free_lun(rec);
	int rc = target_volume_check(ch->t, ch->volume, e);

	if (!rc)
		rc = targets_elsewhere(all, vms_reg_name(rec), ch->volume, e);
	return rc ? rc : vms_reg_add_lun(rec, lun, ch->volume, e);
}

static int run_add_lun(struct cmd_call *c)
{
	struct change ch = {.t = c->t, .lun = UINT64_MAX};
	const struct vms_opt opts[] = {
		{0, "lun", VMS_OPT_U64, &ch.lun, "N",
		 "its number, 1 to 16383; default: the lowest free"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (ch.lun != UINT64_MAX && (!ch.lun || ch.lun > VMS_REG_LUN_MAX))
		return cmd_usage(c, "--lun %" PRIu64 ": LUNs go from 1 to %u (0 is the controller)",
				 ch.lun, VMS_REG_LUN_MAX);
	ch.volume = c->arg[1];
	return changed(c, do_add_lun, &ch);
}

static int do_rm_lun(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *e)
{
	struct change *ch = arg;
	uint64_t lun = ch->lun, named;

	if (!ch->volume && vms_reg_volume(rec, lun) &&
	    (named = vms_reg_lun_of(rec, ch->word)) != UINT64_MAX && named != lun)
		return vms_fail(
			e, VMS_E_INVAL,
			"LUN %llu is volume %s, and volume %s is LUN %llu: which one? Use the "
			"name of the one or the number of the other",
			(unsigned long long)lun, vms_reg_volume(rec, lun), ch->word,
			(unsigned long long)named);
	if (ch->volume) {
		lun = vms_reg_lun_of(rec, ch->volume);
		if (lun == UINT64_MAX)
			return vms_fail(e, VMS_E_NOENT, "volume %s is no LUN of %s", ch->volume,
					vms_reg_name(rec));
	}
	return vms_reg_remove_lun(rec, lun, e);
}

static int run_rm_lun(struct cmd_call *c)
{
	struct change ch = {.t = c->t};
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	ch.word = c->arg[1];
	if (vms_u64_parse(c->arg[1], &ch.lun, NULL))
		ch.volume = c->arg[1];
	return changed(c, do_rm_lun, &ch);
}

/* The accounts that it is to demand exist. */
static int accounts_check(struct change *ch, struct vms_errmsg *e)
{
	struct accounts acc;
	int rc;

	if (ch->unbind || (!ch->what[2] && !ch->what[3]))
		return 0;
	rc = accounts_load(ch->t, &acc, e);
	for (unsigned i = 2; !rc && i < 4; i++)
		if (ch->what[i] && !accounts_find(&acc, ch->what[i]))
			rc = vms_fail(e, VMS_E_NOENT,
				      "there is no account %s: vmstore target account create %s",
				      ch->what[i], ch->what[i]);
	VMS_VEC_FREE(&acc);
	return rc;
}

static int do_bind(void *arg, struct targets *all, json_t *rec, struct vms_errmsg *e)
{
	struct change *ch = arg;
	int rc = accounts_check(ch, e);

	for (unsigned l = 0; !rc && l < 3; l++)
		if (ch->what[l])
			rc = ch->unbind ? vms_reg_unbind(rec, (enum vms_reg_list)l, ch->what[l], e)
					: vms_reg_bind(rec, (enum vms_reg_list)l, ch->what[l], e);
	if (rc || !ch->what[3])
		return rc;
	if (ch->unbind) {
		const char *has = json_string_value(json_object_get(rec, "user_out"));

		if (!has || strcmp(has, ch->what[3]))
			return vms_fail(e, VMS_E_NOENT, "%s is not the outgoing user of %s",
					ch->what[3], vms_reg_name(rec));
	}
	return vms_reg_set_user_out(rec, ch->unbind ? NULL : ch->what[3], e);
}

static int bind_or_not(struct cmd_call *c, bool unbind)
{
	struct change ch = {.t = c->t, .unbind = unbind};
	const struct vms_opt opts[] = {
		{0, "address", VMS_OPT_STRING, &ch.what[0], "ADDR",
		 "initiators at this address or network (192.0.2.0/24); ALL: everyone"},
		{0, "initiator", VMS_OPT_STRING, &ch.what[1], "IQN", "the initiator of this name"},
		{0, "user", VMS_OPT_STRING, &ch.what[2], "USER",
		 "account initiators log in with (CHAP)"},
		{0, "user-out", VMS_OPT_STRING, &ch.what[3], "USER",
		 "account the target answers with (mutual CHAP)"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	if (!ch.what[0] && !ch.what[1] && !ch.what[2] && !ch.what[3])
		return cmd_usage(c,
				 "one of --address, --initiator, --user and --user-out is needed");
	if (!unbind && ch.what[0] && vms_reg_address_check(ch.what[0], &e))
		return cmd_usage(c, "--address: %s", e.text);
	return changed(c, do_bind, &ch);
}

static int run_bind(struct cmd_call *c)
{
	return bind_or_not(c, false);
}

static int run_unbind(struct cmd_call *c)
{
	return bind_or_not(c, true);
}

static const struct cmd *const subs[] = {
	&(const struct cmd){
		.name = "ls", .args = "[--json]", .brief = "list targets", .run = run_ls},
	&(const struct cmd){.name = "show",
			    .args = "NAME [--json]",
			    .brief = "one target: LUNs, who may log in, parameters",
			    .min = 1,
			    .max = 1,
			    .run = run_show},
	&(const struct cmd){.name = "create",
			    .args = "NAME [--number N] [--redirect on|off] [--state ready|offline]",
			    .brief = "make a target; nobody may log in yet",
			    .min = 1,
			    .max = 1,
			    .run = run_create},
	&(const struct cmd){.name = "rm",
			    .args = "NAME [--force]",
			    .brief = "delete a target, the volumes stay",
			    .min = 1,
			    .max = 1,
			    .run = run_rm},
	&(const struct cmd){
		.name = "set",
		.args = "NAME [--lun N] PARAMETER=VALUE...",
		.brief = "redirect, state, iSCSI parameters",
		.about = "redirect=on|off   logins are sent to a gateway with less to do\n"
			 "state=ready|offline   offline: logins are refused, commands get BUSY\n"
			 "Any other PARAMETER is one of iSCSI's and counts for logins from now on. "
			 "With --lun\n"
			 "it is one of that LUN: online, readonly, 0 or 1; vendor_id, product_id, "
			 "product_rev.\n"
			 "PARAMETER= without a value: its default.",
		.min = 2,
		.max = CMD_ARGS_MAX,
		.run = run_set},
	&(const struct cmd){.name = "add-lun",
			    .args = "NAME VOLUME|VOLUME@SNAP [--lun N]",
			    .brief = "a volume, or a snapshot (read-only), becomes a LUN",
			    .min = 2,
			    .max = 2,
			    .run = run_add_lun},
	&(const struct cmd){.name = "rm-lun",
			    .args = "NAME LUN|VOLUME",
			    .brief = "take a LUN away, the volume stays",
			    .min = 2,
			    .max = 2,
			    .run = run_rm_lun},
	&(const struct cmd){
		.name = "bind",
		.args = "NAME [--address ADDR] [--initiator IQN] [--user USER] [--user-out USER]",
		.brief = "admit initiators, demand accounts",
		.about = "An initiator may log in when its address is bound, or its name; when "
			 "both kinds are\n"
			 "bound it has to be among both. With users it also has to know the secret "
			 "of one.",
		.min = 1,
		.max = 1,
		.run = run_bind},
	&(const struct cmd){
		.name = "unbind",
		.args = "NAME [--address ADDR] [--initiator IQN] [--user USER] [--user-out USER]",
		.brief = "the reverse; sessions that exist go on",
		.min = 1,
		.max = 1,
		.run = run_unbind},
	&cmd_target_account,
	&cmd_target_apply,
	&cmd_target_dump,
	NULL,
};
const struct cmd cmd_target = {.name = "target",
			       .brief = "targets, LUNs and accounts, on all gateways at once",
			       .sub = subs};
