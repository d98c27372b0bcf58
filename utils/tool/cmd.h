/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The commands of the tools as tables: a program is a tree of `struct cmd`, whose
 * leaves run. The tree gives dispatch, --help on each level and the counts of
 * arguments, so that they look alike everywhere. One file per subject
 * (utils/tool/cmd_*.c) owns its commands and shows one of them.
 */
#ifndef VMS_TOOL_CMD_H
#define VMS_TOOL_CMD_H

#include "utils/lib/fmt.h"
#include "utils/lib/opt.h"
#include "utils/tool/tool.h"

struct cmd_call;
struct cmd {
	const char *name;
	const char *args;  /* behind the name in its usage, such as "NAME --size SIZE" */
	const char *brief; /* one line for the list of the level above */
	const char *about; /* a paragraph for its own --help; NULL: brief */
	unsigned min, max; /* leaves: arguments that are no options */
	bool alone;	   /* needs no cluster, so no configuration that is right */
	/* A leaf runs and returns an exit code, any other has sub (ends with NULL). */
	int (*run)(struct cmd_call *c);
	const struct cmd *const *sub;
};
#define CMD_ARGS_MAX UINT32_MAX

/* One run of a leaf. */
struct cmd_call {
	struct tool *t;
	const struct cmd *cmd;
	const char *path; /* "vmstore volume create" */
	int argc;
	char **argv;
	bool check; /* only whether it can be parsed; cmd_parse() ends it */
	/* by cmd_parse(): what is no option */
	unsigned n;
	char **arg;
};

/* Parses the leaf's options and counts its arguments. False: return *code. */
bool cmd_parse(struct cmd_call *c, const struct vms_opt *opts, int *code);
/* A wrong use that only the leaf can see; returns TOOL_USAGE. */
__attribute__((format(printf, 2, 3))) int cmd_usage(struct cmd_call *c, const char *fmt, ...);

/* Asks on the terminal, unless yes is set already (--yes). False: *code is the exit
 * code. */
__attribute__((format(printf, 4, 5))) bool cmd_confirm(struct cmd_call *c, bool yes, int *code,
						       const char *fmt, ...);

/* The end of a command that lists: err (0: none) is told with e, or the list is printed as
 * the table or as JSON. Takes both; returns the exit code. */
int cmd_list_end(struct cmd_call *c, int err, const struct vms_errmsg *e, struct vms_table *tab,
		 json_t *list);

#define CMD_OPT_JSON(c)                                                                            \
	{                                                                                          \
		0, "json", VMS_OPT_FLAG, &(c)->t->json, NULL, "print JSON"                         \
	}

/* Would the program take this command line, which begins with its name? Words are separated
 * by single blanks. Nothing is done; what is wrong is said on stderr, TOOL_USAGE returned. */
int cmd_check(const struct cmd *root, const char *line);

/* A whole program: global options, configuration, the command. tail: printed at the
 * end of --help. Returns the exit code. */
int cmd_main(const struct cmd *root, const char *tail, int argc, char **argv);

#endif
