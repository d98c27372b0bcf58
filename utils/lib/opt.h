/* SPDX-License-Identifier: GPL-2.0-only */
/* Command lines of all programs: one table gives parsing, --help and --version, so
 * that they look alike everywhere and the help cannot miss an option.
 *
 * Options may stand before or after other arguments unless stop_at_first is set
 * (tools with subcommands parse in two steps). Owner thread: main, at start-up. */
#ifndef VMS_OPT_H
#define VMS_OPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "include/err.h"

enum vms_opt_type {
	VMS_OPT_FLAG,	  /* bool *: set to true */
	VMS_OPT_STRING,	  /* const char **: borrowed from argv */
	VMS_OPT_U64,	  /* uint64_t * */
	VMS_OPT_SIZE,	  /* uint64_t *, bytes */
	VMS_OPT_DURATION, /* uint64_t *, ms */
	VMS_OPT_SECONDS,  /* uint64_t *, s: a plain number, or a duration; ten years at most */
};

struct vms_opt {
	char short_name;       /* 0: none */
	const char *long_name; /* without dashes */
	enum vms_opt_type type;
	void *value;
	const char *arg;  /* what help calls the argument, such as FILE; NULL for flags */
	const char *help; /* one line */
};
#define VMS_OPT_END                                                                                \
	{                                                                                          \
		.long_name = NULL                                                                  \
	}
#define VMS_OPT_MAX 40

struct vms_opt_prog {
	const char *name;
	const char *usage; /* lines after "usage: NAME ", separated by \n */
	const char *about; /* a paragraph */
	const struct vms_opt *opts;
	const char *tail; /* printed after the options (commands, examples); may be NULL */
	bool stop_at_first;
};

enum { VMS_OPT_GO = 0, VMS_OPT_DONE = 1 };

/* Parses argv. *first: index of the first argument that is no option (argv may be
 * reordered). Returns VMS_OPT_GO; VMS_OPT_DONE after --help or --version was printed on
 * stdout (exit 0 then); VMS_E_INVAL with e filled (print it, exit 2). */
int vms_opt_parse(const struct vms_opt_prog *p, int argc, char **argv, int *first,
		  struct vms_errmsg *e);

void vms_opt_help(const struct vms_opt_prog *p, FILE *f);

#endif
