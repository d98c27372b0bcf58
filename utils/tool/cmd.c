// SPDX-License-Identifier: GPL-2.0-only
#include "utils/tool/cmd.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utils/lib/assert.h"
#include "utils/lib/stdfd.h"

#define CHECK_ARGS_MAX 32 /* words of a command line to be checked */

static void vwrong(const char *prog, const char *path, const char *fmt, va_list ap)
{
	fprintf(stderr, "%s: ", prog);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n%s --help shows the usage\n", path);
}

__attribute__((format(printf, 3, 4))) static int wrong(const char *prog, const char *path,
						       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vwrong(prog, path, fmt, ap);
	va_end(ap);
	return TOOL_USAGE;
}

/* ---- texts of --help ---- */

/* "create, ls, info or rm" */
static char *names_of(const struct cmd *const *sub)
{
	size_t bytes = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, &bytes);

	vms_assert(f);
	for (; *sub; sub++)
		fprintf(f, "%s%s", (*sub)->name, !sub[1] ? "" : sub[2] ? ", " : " or ");
	fclose(f);
	return text;
}

static char *usage_of(const struct cmd *c, const char *before)
{
	size_t bytes = 0;
	char *text = NULL;
	FILE *f;

	if (c->run)
		return strdup(c->args);
	f = open_memstream(&text, &bytes);
	vms_assert(f);
	for (const struct cmd *const *s = c->sub; *s; s++) {
		const char *line = (*s)->run ? (*s)->args : "";

		do { /* each line of its arguments is a way to call it */
			int n = (int)strcspn(line, "\n");

			fprintf(f, "%s%s%s %.*s", ftell(f) ? "\n" : "", before, (*s)->name, n,
				line);
			line += n + (line[n] == '\n');
		} while (*line);
		for (const struct cmd *const *u = (*s)->sub; u && *u; u++)
			fprintf(f, "%s%s", u == (*s)->sub ? "" : "|", (*u)->name);
		fprintf(f, "%s", (*s)->run ? "" : " ...");
	}
	fclose(f);
	return text;
}

static char *tail_of(const struct cmd *c, const char *tail)
{
	size_t bytes = 0;
	char *text = NULL;
	int wide = 0;
	FILE *f;

	if (c->run)
		return NULL;
	for (const struct cmd *const *s = c->sub; *s; s++)
		if ((int)strlen((*s)->name) > wide)
			wide = (int)strlen((*s)->name);
	f = open_memstream(&text, &bytes);
	vms_assert(f);
	fprintf(f, "Commands, each with its own --help:");
	for (const struct cmd *const *s = c->sub; *s; s++)
		fprintf(f, "\n  %-*s  %s", wide, (*s)->name, (*s)->brief);
	if (tail)
		fprintf(f, "\n\n%s", tail);
	fclose(f);
	return text;
}

/* ---- parsing ---- */

/* vms_opt_parse() with the texts made from the table. True: go on behind *first. */
static bool parse(const char *prog, const struct cmd *cmd, const char *path, const char *before,
		  const char *tail, const struct vms_opt *opts, int argc, char **argv, int *first,
		  int *code)
{
	char *usage = usage_of(cmd, before), *end = tail_of(cmd, tail);
	char sentence[128];
	const struct vms_opt_prog p = {.name = path,
				       .usage = usage,
				       .about = cmd->about ? cmd->about : sentence,
				       .opts = opts,
				       .tail = end,
				       .stop_at_first = !cmd->run};
	struct vms_errmsg e = {""};
	int rc;

	snprintf(sentence, sizeof(sentence), "%c%s.", toupper((unsigned char)cmd->brief[0]),
		 cmd->brief + 1);
	rc = vms_opt_parse(&p, argc, argv, first, &e);
	free(usage);
	free(end);
	*code = rc == VMS_OPT_DONE ? TOOL_OK : TOOL_USAGE;
	if (rc && rc != VMS_OPT_DONE)
		wrong(prog, path, "%s", e.text);
	return !rc;
}

bool cmd_parse(struct cmd_call *c, const struct vms_opt *opts, int *code)
{
	int first;

	if (!parse(c->t->prog, c->cmd, c->path, "", NULL, opts, c->argc, c->argv, &first, code))
		return false;
	c->arg = c->argv + first;
	c->n = (unsigned)(c->argc - first);
	*code = TOOL_USAGE;
	if (c->n < c->cmd->min) {
		cmd_usage(c, "too few arguments");
		return false;
	}
	if (c->n > c->cmd->max) {
		cmd_usage(c, "unexpected argument '%s'", c->arg[c->cmd->max]);
		return false;
	}
	*code = TOOL_OK;
	return !c->check;
}

int cmd_usage(struct cmd_call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vwrong(c->t->prog, c->path, fmt, ap);
	va_end(ap);
	return TOOL_USAGE;
}

bool cmd_confirm(struct cmd_call *c, bool yes, int *code, const char *fmt, ...)
{
	char answer[16] = "";
	va_list ap;

	if (yes)
		return true;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		*code = cmd_usage(c, "nobody is there to be asked: say --yes if you are sure");
		return false;
	}
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " [y/N] ");
	*code = TOOL_FAILED;
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- dispatch ---- */

/* Walks down from *at by the words of argv to a leaf; path grows with it. True: argv
 * from *used on are the leaf's. */
static bool find(const struct cmd **at, char *path, size_t path_bytes, int argc, char **argv,
		 int *used, int *code)
{
	const char *prog = (*at)->name;

	*used = 0;
	while (!(*at)->run) {
		const struct vms_opt none[] = {VMS_OPT_END};
		const struct cmd *const *s = (*at)->sub;
		int first = 0;
		char *names;

		/* the program's own options were parsed already */
		if (*used && !parse(prog, *at, path, "", NULL, none, argc - *used + 1,
				    argv + *used - 1, &first, code))
			return false;
		*used += first ? first - 1 : 0;
		names = names_of(s);
		if (*used == argc) {
			*code = wrong(prog, path, "a command is missing: %s", names);
			free(names);
			return false;
		}
		while (*s && strcmp((*s)->name, argv[*used]))
			s++;
		if (!*s)
			*code = wrong(prog, path, "no command '%s'; expected %s", argv[*used],
				      names);
		free(names);
		if (!*s)
			return false;
		*at = *s;
		snprintf(path + strlen(path), path_bytes - strlen(path), " %s", argv[*used]);
		++*used;
	}
	return true;
}

int cmd_list_end(struct cmd_call *c, int err, const struct vms_errmsg *e, struct vms_table *tab,
		 json_t *list)
{
	int code = 0;

	if (err)
		code = tool_fail(c->t, "%s", e->text);
	else if (c->t->json)
		tool_print_json(json_incref(list));
	else
		vms_table_print(tab, stdout);
	vms_table_close(tab);
	json_decref(list);
	return code;
}

static int run(const struct cmd *root, const char *tail, int argc, char **argv, bool check)
{
	const char *conf = NULL, *catalog = NULL, *via = NULL;
	bool json = false;
	const struct vms_opt opts[] = {
		{'c', "conf", VMS_OPT_STRING, &conf, "FILE",
		 "configuration (default $VMSTORE_CONF, " VMS_SETTINGS_PATH ")"},
		{0, "catalog", VMS_OPT_STRING, &catalog, "ADDR",
		 "the catalog's HOST:PORT, over the file's"},
		{0, "via", VMS_OPT_STRING, &via, "ADDR",
		 "ask the node or gateway at HOST:PORT, or the process at unix:PATH, for the "
		 "catalog's address"},
		{0, "json", VMS_OPT_FLAG, &json, NULL, "print JSON"},
		VMS_OPT_END,
	};
	const struct cmd *leaf = root;
	struct tool t = {.prog = root->name};
	struct vms_errmsg e = {""};
	char path[128];
	int first, used, code;

	if (!parse(root->name, root, root->name, "[-c FILE] ", tail, opts, argc, argv, &first,
		   &code))
		return code;
	if (catalog && via)
		return wrong(root->name, root->name,
			     "--catalog and --via both say where the catalog is: give one");
	snprintf(path, sizeof(path), "%s", root->name);
	if (!find(&leaf, path, sizeof(path), argc - first, argv + first, &used, &code))
		return code;
	if (check) {
		struct cmd_call c = {.t = &t,
				     .cmd = leaf,
				     .path = path,
				     .argc = argc - first - used + 1,
				     .argv = argv + first + used - 1,
				     .check = true};

		return leaf->run(&c);
	}
	if ((tool_open(&t, root->name, conf, catalog, &e) && (conf || !leaf->alone)) ||
	    (via && tool_via(&t, via, &e))) {
		code = tool_fail(&t, "%s", e.text);
	} else {
		struct cmd_call c = {.t = &t,
				     .cmd = leaf,
				     .path = path,
				     .argc = argc - first - used + 1,
				     .argv = argv + first + used - 1};

		t.json = json;
		code = leaf->run(&c);
	}
	tool_close(&t);
	return code;
}

int cmd_main(const struct cmd *root, const char *tail, int argc, char **argv)
{
	/* also a --help that nobody can read */
	vms_std_fds();
	return vms_std_end(root->name, run(root, tail, argc, argv, false));
}

int cmd_check(const struct cmd *root, const char *line)
{
	char *argv[CHECK_ARGS_MAX + 1] = {NULL}, *words = strdup(line), *at = words, *word;
	int argc = 0, code = TOOL_USAGE;

	vms_assert(words);
	while (argc < CHECK_ARGS_MAX && (word = strsep(&at, " ")))
		argv[argc++] = word;
	if (argc && !at && !strcmp(argv[0], root->name))
		code = run(root, NULL, argc, argv, true);
	free(words);
	return code;
}
