// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmstore target apply and dump: all targets and accounts as one document
 * (target/reg_doc.h). apply first works out everything that would change, and refuses
 * the whole document when any of it cannot be; then it writes, what gives volumes up
 * before what takes them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target/reg_doc.h"
#include "utils/lib/assert.h"
#include "utils/tool/cmds.h"
#include "utils/tool/target_store.h"

/* ---- dump ---- */

static int run_dump(struct cmd_call *c)
{
	const struct vms_opt opts[] = {CMD_OPT_JSON(c), VMS_OPT_END};
	json_t *doc, *list, *acc_list;
	struct targets all = VMS_VEC_INIT;
	struct accounts acc = VMS_VEC_INIT;
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	list = json_array();
	acc_list = json_array();
	code = targets_load(c->t, &all, &e);
	if (!code && !c->n)
		code = accounts_load(c->t, &acc, &e);
	for (unsigned i = 0; !code && i < c->n; i++)
		if (!targets_find(&all, c->arg[i]))
			code = vms_fail(&e, VMS_E_NOENT, "there is no target %s", c->arg[i]);
	if (code)
		code = tool_fail(c->t, "%s", e.text);
	VMS_VEC_FOREACH (&all, t) {
		bool wanted = !c->n;

		for (unsigned i = 0; i < c->n; i++)
			wanted |= !strcmp(c->arg[i], vms_reg_name(t->rec));
		if (wanted)
			json_array_append(list, t->rec);
	}
	VMS_VEC_FOREACH (&acc, a)
		json_array_append_new(acc_list,
				      json_pack("{ss ss}", "user", a->user, "sealed", a->sealed));
	doc = json_pack("{si so so}", "version", VMS_REG_DOC_VERSION, "targets", list, "accounts",
			acc_list);
	if (!code && all.d == NULL && !c->n && !acc.n)
		tool_note(c->t, "there are no targets and no accounts");
	if (!code)
		tool_print_json(doc);
	else
		json_decref(doc);
	targets_free(&all);
	VMS_VEC_FREE(&acc);
	return code;
}

/* ---- apply ---- */

struct plan {
	struct tool *t;
	const char *path; /* of the document, for files that it names */
	bool prune;
	json_t *doc;
	struct targets all;
	struct accounts acc;
	/* by target: what it is to become; rec NULL: deleted. revision 0: new */
	struct targets next;
	VMS_VEC(json_t *) names;		/* of next, for those that go */
	VMS_VEC(struct account_entry) accounts; /* to write; sealed "": to delete */
	json_t *changes;
	uint64_t refs; /* what it has looked at still counts (target_store.h) */
};

static int read_doc(struct plan *p, struct vms_errmsg *e)
{
	bool in = !strcmp(p->path, "-");
	FILE *f = in ? stdin : fopen(p->path, "re");
	json_error_t je;

	if (!f)
		return vms_fail(e, VMS_E_IO, "%s: %s", p->path, strerror(errno));
	p->doc = json_loadf(f, JSON_REJECT_DUPLICATES, &je);
	if (!in)
		fclose(f);
	if (!p->doc)
		return vms_fail(e, VMS_E_INVAL, "%s: line %d: %s", p->path, je.line, je.text);
	return vms_reg_doc_check(p->doc, e);
}

static void account_note(struct plan *p, const char *user, const char *change)
{
	json_array_append_new(p->changes, json_pack("{ss ss ss}", "account", user, "change", change,
						    "what", "account"));
}

/* The sealed text an entry asks for; *same: what is there holds that secret already. */
static int account_wanted(struct plan *p, const json_t *x, const struct account_entry *have,
			  struct account_entry *out, bool *same, struct vms_errmsg *e)
{
	const char *sealed = json_string_value(json_object_get(x, "sealed")),
		   *file = json_string_value(json_object_get(x, "secret_file"));
	char secret[VMS_SECRET_BYTES_MAX + 1] = "", now[VMS_SECRET_BYTES_MAX + 1] = "", path[4096];
	uint8_t key[VMS_SECRET_KEY_BYTES];
	const char *slash = strrchr(p->path, '/');
	int rc;

	if (sealed && have && !strcmp(have->sealed, sealed)) {
		*same = true;
		return 0;
	}
	rc = account_key(p->t, key, e);
	if (!rc && sealed) {
		rc = vms_secret_open(key, out->user, sealed, secret, e);
		snprintf(out->sealed, sizeof(out->sealed), "%s", sealed);
	} else if (!rc) {
		/* beside the document, unless it says otherwise */
		snprintf(path, sizeof(path), "%.*s%s",
			 file[0] == '/' || !slash ? 0 : (int)(slash - p->path + 1), p->path, file);
		rc = account_secret_read(path, out->user, secret, e);
		if (!rc)
			rc = account_seal(p->t, out->user, secret, out->sealed, e);
	}
	if (!rc)
		rc = account_secret_check(secret, e);
	if (!rc && have && !vms_secret_open(key, out->user, have->sealed, now, NULL))
		*same = !strcmp(now, secret);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(now, sizeof(now));
	explicit_bzero(key, sizeof(key));
	return rc;
}

static int plan_accounts(struct plan *p, struct vms_errmsg *e)
{
	json_t *list = json_object_get(p->doc, "accounts"), *x;
	size_t i;

	json_array_foreach (list, i, x) {
		const char *user = json_string_value(json_object_get(x, "user"));
		struct account_entry *have = accounts_find(&p->acc, user), a = {"", "", 0};
		bool same = false;
		int rc = account_user_check(user, e);

		if (!rc) {
			snprintf(a.user, sizeof(a.user), "%s", user);
			rc = account_wanted(p, x, have, &a, &same, e);
		}
		if (rc)
			return rc;
		if (same)
			continue;
		a.mod_revision = have ? have->mod_revision : 0;
		VMS_VEC_PUSH(&p->accounts, a);
		account_note(p, user, have ? "set" : "add");
	}
	if (!p->prune)
		return 0;
	VMS_VEC_FOREACH (&p->acc, a) {
		bool listed = false;

		json_array_foreach (list, i, x)
			listed |= !strcmp(json_string_value(json_object_get(x, "user")), a->user);
		if (listed)
			continue;
		VMS_VEC_PUSH(&p->accounts, *a);
		p->accounts.d[p->accounts.n - 1].sealed[0] = 0;
		account_note(p, a->user, "remove");
	}
	return 0;
}

static bool account_comes(const struct plan *p, const char *user)
{
	VMS_VEC_FOREACH (&p->accounts, a)
		if (!strcmp(a->user, user))
			return a->sealed[0];
	VMS_VEC_FOREACH (&p->acc, a)
		if (!strcmp(a->user, user))
			return true;
	return false;
}

static void add_next(struct plan *p, json_t *rec, const char *name, uint64_t revision)
{
	VMS_VEC_PUSH(&p->next, ((struct target_entry){rec, revision}));
	VMS_VEC_PUSH(&p->names, json_string(name));
}

/* What is to be of every target, without the order in which it is written. */
static int plan_targets(struct plan *p, struct vms_errmsg *e)
{
	json_t *x;
	size_t i;

	json_array_foreach (json_object_get(p->doc, "targets"), i, x) {
		const char *name = json_string_value(json_object_get(x, "name"));
		struct target_entry *have = targets_find(&p->all, name);
		/* numbers that this document has given out so far count as taken */
		struct targets taken = VMS_VEC_INIT;
		json_t *rec;

		VMS_VEC_FOREACH (&p->all, t)
			VMS_VEC_PUSH(&taken, *t);
		VMS_VEC_FOREACH (&p->next, t)
			VMS_VEC_PUSH(&taken, *t);
		rec = vms_reg_doc_target(x, have ? have->rec : NULL, targets_free_tid(&taken), e);
		VMS_VEC_FREE(&taken);
		if (!rec)
			return VMS_E_INVAL;
		add_next(p, rec, name, have ? have->mod_revision : 0);
	}
	VMS_VEC_FOREACH (&p->all, t) {
		bool listed = false;

		VMS_VEC_FOREACH (&p->next, n)
			listed |= n->rec && !strcmp(vms_reg_name(n->rec), vms_reg_name(t->rec));
		if (listed)
			continue;
		if (p->prune)
			add_next(p, NULL, vms_reg_name(t->rec), t->mod_revision);
		else
			add_next(p, json_incref(t->rec), vms_reg_name(t->rec), t->mod_revision);
	}
	return 0;
}

static const json_t *before(struct plan *p, const char *name)
{
	struct target_entry *have = targets_find(&p->all, name);

	return have ? have->rec : NULL;
}

/* Everything together: numbers, volumes and accounts as they will be. */
static int judge(struct plan *p, struct vms_errmsg *e)
{
	struct targets live = VMS_VEC_INIT;
	int rc = 0;

	VMS_VEC_FOREACH (&p->next, n)
		if (n->rec)
			VMS_VEC_PUSH(&live, *n);
	VMS_VEC_FOREACH (&live, n) {
		const char *name = vms_reg_name(n->rec);
		const json_t *was = before(p, name);
		const char *out = json_string_value(json_object_get(n->rec, "user_out"));
		json_t *x;
		size_t i;

		if (was && json_equal(was, n->rec) && !p->prune)
			continue;
		if (!rc)
			rc = vms_reg_room_check(n->rec, e);
		VMS_VEC_FOREACH (&live, o)
			if (!rc && o != n && vms_reg_tid(o->rec) == vms_reg_tid(n->rec))
				rc = vms_fail(e, VMS_E_EXIST, "%s: target number %u is %s", name,
					      vms_reg_tid(n->rec), vms_reg_name(o->rec));
		json_array_foreach (json_object_get(n->rec, "luns"), i, x) {
			const char *volume = json_string_value(json_object_get(x, "volume"));

			if (!rc)
				rc = targets_elsewhere(&live, name, volume, e);
			if (!rc && !(was && vms_reg_lun_of(was, volume) != UINT64_MAX))
				rc = target_volume_check(p->t, volume, e);
		}
		json_array_foreach (json_object_get(n->rec, "users"), i, x)
			if (!rc && !account_comes(p, json_string_value(x)))
				rc = vms_fail(e, VMS_E_NOENT, "%s: there is no account %s", name,
					      json_string_value(x));
		if (!rc && out && !account_comes(p, out))
			rc = vms_fail(e, VMS_E_NOENT, "%s: there is no account %s", name, out);
	}
	VMS_VEC_FREE(&live);
	return rc;
}

/* Does it only, or also, give LUNs up? Those are written first. */
static bool gives(const json_t *was, const json_t *rec)
{
	json_t *x;
	size_t i;

	json_array_foreach (json_object_get(was, "luns"), i, x)
		if (!rec || vms_reg_lun_of(rec, json_string_value(json_object_get(x, "volume"))) ==
				    UINT64_MAX)
			return true;
	return false;
}

static int plan_make(struct plan *p, struct vms_errmsg *e)
{
	int rc = target_refs(p->t, &p->refs, e);

	if (!rc)
		rc = targets_load(p->t, &p->all, e);
	if (!rc)
		rc = accounts_load(p->t, &p->acc, e);
	if (!rc)
		rc = plan_accounts(p, e);
	if (!rc)
		rc = plan_targets(p, e);
	if (!rc)
		rc = judge(p, e);
	for (size_t i = 0; !rc && i < p->next.n; i++) {
		json_t *d = vms_reg_diff(before(p, json_string_value(p->names.d[i])),
					 p->next.d[i].rec);

		json_array_extend(p->changes, d);
		json_decref(d);
	}
	return rc;
}

static int write_targets(struct plan *p, bool giving, struct vms_errmsg *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < p->next.n; i++) {
		const char *name = json_string_value(p->names.d[i]);
		const json_t *was = before(p, name), *rec = p->next.d[i].rec;

		if ((was && rec && json_equal(was, rec)) || gives(was, rec) != giving)
			continue;
		rc = target_store(p->t, name, vms_reg_tid(rec ? rec : was), rec,
				  p->next.d[i].mod_revision,
				  vms_reg_refers_more(was, rec) ? &p->refs : NULL, e);
		if (rc == VMS_E_CONFLICT)
			vms_fail(e, rc,
				 "%s, or what it refers to, was changed by somebody else at the "
				 "same moment: apply it again",
				 name);
	}
	return rc;
}

static int write_accounts(struct plan *p, bool removing, struct vms_errmsg *e)
{
	int rc = 0;

	VMS_VEC_FOREACH (&p->accounts, a)
		if (!rc && !a->sealed[0] == removing)
			rc = account_store(p->t, a->user, a->sealed[0] ? a->sealed : NULL,
					   a->mod_revision, removing ? &p->refs : NULL, e);
	return rc;
}

static void print_changes(const json_t *changes, bool dry)
{
	char text[800];
	json_t *x;
	size_t i;

	json_array_foreach (changes, i, x) {
		const char *user = json_string_value(json_object_get(x, "account")),
			   *change = json_string_value(json_object_get(x, "change"));

		if (user)
			printf("%c account %s\n",
			       !strcmp(change, "add")	   ? '+'
			       : !strcmp(change, "remove") ? '-'
							   : '*',
			       user);
		else
			vms_reg_diff_text(x, text, sizeof(text));
		if (!user)
			printf("%s\n", text);
	}
	if (!i)
		printf("nothing to change\n");
	else if (dry)
		printf("%zu change%s, nothing done (--dry-run)\n", i, i > 1 ? "s" : "");
}

static void plan_free(struct plan *p)
{
	VMS_VEC_FOREACH (&p->names, n)
		json_decref(*n);
	VMS_VEC_FREE(&p->names);
	targets_free(&p->next);
	targets_free(&p->all);
	VMS_VEC_FREE(&p->acc);
	VMS_VEC_FREE(&p->accounts);
	json_decref(p->doc);
	json_decref(p->changes);
}

static int run_apply(struct cmd_call *c)
{
	struct plan p = {.t = c->t};
	bool dry = false;
	const struct vms_opt opts[] = {
		{0, "dry-run", VMS_OPT_FLAG, &dry, NULL, "show what would change"},
		{0, "prune", VMS_OPT_FLAG, &p.prune, NULL,
		 "delete targets and accounts that are not in the document"},
		CMD_OPT_JSON(c),
		VMS_OPT_END,
	};
	struct vms_errmsg e = {""};
	int code;

	if (!cmd_parse(c, opts, &code))
		return code;
	p.path = c->arg[0];
	p.changes = json_array();
	vms_assert(p.changes);
	code = read_doc(&p, &e);
	if (!code)
		code = plan_make(&p, &e);
	/* accounts before what needs them, and after what has let them go */
	if (!code && !dry)
		code = write_accounts(&p, false, &e) || write_targets(&p, true, &e) ||
		       write_targets(&p, false, &e) || write_accounts(&p, true, &e);
	if (code)
		code = tool_fail(c->t, "%s", e.text);
	else if (c->t->json)
		tool_print_json(json_pack("{sb sO}", "dry_run", (int)dry, "changes", p.changes));
	else
		print_changes(p.changes, dry);
	plan_free(&p);
	return code;
}

const struct cmd cmd_target_apply = {
	.name = "apply",
	.args = "FILE|- [--dry-run] [--prune]",
	.brief = "make targets and accounts what a document says",
	.about = "The document is JSON as `vmstore target dump` prints it; each target in it "
		 "becomes what\n"
		 "is written there, nothing else of it stays. Targets and accounts that are not in "
		 "it are\n"
		 "left alone (or deleted, with --prune). All is checked before anything is "
		 "written; a second "
		 "apply\n"
		 "has nothing to do. A \"secret_file\" is looked for beside the document.",
	.min = 1,
	.max = 1,
	.run = run_apply};
const struct cmd cmd_target_dump = {.name = "dump",
				    .args = "[NAME...]",
				    .brief = "print targets and accounts as a document for apply",
				    .about = "Secrets stay sealed: apply takes them back in any "
					     "cluster with the same secrets_key.",
				    .max = CMD_ARGS_MAX,
				    .run = run_dump};
