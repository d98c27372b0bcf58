// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/opt.h"

#include <getopt.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/size.h"

#ifndef VMS_VERSION
#define VMS_VERSION "unknown"
#endif

/* getopt_long() values of table entries start here, above all characters. */
#define FIRST_LONG 256

static void print_opt(FILE *f, char s, const char *l, const char *arg, const char *help)
{
	char left[64];
	int n;

	n = s ? snprintf(left, sizeof(left), "-%c, --%s", s, l)
	      : snprintf(left, sizeof(left), "    --%s", l);
	if (arg)
		n += snprintf(left + n, sizeof(left) - (size_t)n, " %s", arg);
	if (n > 26)
		fprintf(f, "  %s\n%30s%s\n", left, "", help);
	else
		fprintf(f, "  %-26s  %s\n", left, help);
}

void vms_opt_help(const struct vms_opt_prog *p, FILE *f)
{
	const char *u = p->usage;
	bool first = true;

	while (u && *u) {
		int n = (int)strcspn(u, "\n");

		fprintf(f, "%s %s %.*s\n", first ? "usage:" : "      ", p->name, n, u);
		first = false;
		u += n + (u[n] == '\n');
	}
	if (p->about)
		fprintf(f, "\n%s\n", p->about);
	fputs("\nOptions:\n", f);
	for (const struct vms_opt *o = p->opts; o && o->long_name; o++)
		print_opt(f, o->short_name, o->long_name, o->arg, o->help);
	print_opt(f, 'h', "help", NULL, "print this text");
	print_opt(f, 'V', "version", NULL, "print the version");
	if (p->tail)
		fprintf(f, "\n%s\n", p->tail);
}

#define SECONDS_MAX UINT64_C(315360000) /* so that nothing overflows in ms */

static int set_seconds(const char *arg, uint64_t *s, struct vms_errmsg *why)
{
	uint64_t ms;
	int r;

	if (vms_u64_parse(arg, s, why)) {
		r = vms_duration_parse(arg, &ms, why);
		if (r)
			return vms_fail(why, r,
					"'%.60s' is no time: expected seconds, or a number with "
					"ms, s, min or h",
					arg);
		*s = ms / 1000 + (ms % 1000 != 0);
	}
	if (*s > SECONDS_MAX)
		return vms_fail(why, VMS_E_INVAL, "'%.60s' is more than ten years", arg);
	return 0;
}

static int set(const struct vms_opt *o, const char *arg, struct vms_errmsg *e)
{
	struct vms_errmsg why;
	int r = 0;

	switch (o->type) {
	case VMS_OPT_FLAG:
		*(bool *)o->value = true;
		break;
	case VMS_OPT_STRING:
		*(const char **)o->value = arg;
		break;
	case VMS_OPT_U64:
		r = vms_u64_parse(arg, o->value, &why);
		break;
	case VMS_OPT_SIZE:
		r = vms_size_parse(arg, o->value, &why);
		break;
	case VMS_OPT_DURATION:
		r = vms_duration_parse(arg, o->value, &why);
		break;
	case VMS_OPT_SECONDS:
		r = set_seconds(arg, o->value, &why);
		break;
	}
	if (r)
		return vms_fail(e, VMS_E_INVAL, "--%s: %.200s", o->long_name, why.text);
	return 0;
}

int vms_opt_parse(const struct vms_opt_prog *p, int argc, char **argv, int *first,
		  struct vms_errmsg *e)
{
	struct option lo[VMS_OPT_MAX + 3];
	char so[2 * VMS_OPT_MAX + 8];
	size_t ns = 0;
	int n = 0, c;

	memset(lo, 0, sizeof(lo));
	if (p->stop_at_first)
		so[ns++] = '+';
	so[ns++] = ':'; /* tell a missing argument from an unknown option */
	for (const struct vms_opt *o = p->opts; o && o->long_name; o++, n++) {
		bool takes = o->type != VMS_OPT_FLAG;

		vms_assert(n < VMS_OPT_MAX && !takes == !o->arg);
		lo[n].name = o->long_name;
		lo[n].has_arg = takes ? required_argument : no_argument;
		lo[n].val = FIRST_LONG + n;
		if (o->short_name) {
			so[ns++] = o->short_name;
			if (takes)
				so[ns++] = ':';
		}
	}
	lo[n] = (struct option){"help", no_argument, NULL, 'h'};
	lo[n + 1] = (struct option){"version", no_argument, NULL, 'V'};
	so[ns++] = 'h';
	so[ns++] = 'V';
	so[ns] = 0;

	optind = 0; /* start anew: tools with subcommands parse twice */
	opterr = 0;
	while ((c = getopt_long(argc, argv, so, lo, NULL)) != -1) {
		const struct vms_opt *o = NULL;

		for (int i = 0; i < n; i++)
			if (c == FIRST_LONG + i || (c < FIRST_LONG && c == p->opts[i].short_name))
				o = &p->opts[i];
		if (o) {
			int r = set(o, optarg, e);

			if (r)
				return r;
		} else if (c == 'h') {
			vms_opt_help(p, stdout);
			return VMS_OPT_DONE;
		} else if (c == 'V') {
			printf("%s (VMStore) %s\n", p->name, VMS_VERSION);
			return VMS_OPT_DONE;
		} else {
			char shorty[3] = {'-', (char)optopt, 0};
			bool is_short = optopt > 0 && optopt < FIRST_LONG;

			return vms_fail(
				e, VMS_E_INVAL, "%s '%.100s'; '%s --help' lists the options",
				c == ':' ? "an argument is missing after" : "unknown option",
				is_short ? shorty : argv[optind - 1], p->name);
		}
	}
	*first = optind;
	return VMS_OPT_GO;
}
