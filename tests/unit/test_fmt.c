// SPDX-License-Identifier: GPL-2.0-only
/* Tables, statistics and command lines: what people see. */
#include "utils/lib/fmt.h"
#include "utils/lib/opt.h"
#include "utils/lib/stats.h"
#include "tests/unit/cunit.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t len;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &len);
}

static void columns_line_up_without_trailing_blanks(void)
{
	struct vms_table *t = vms_table_open("volume|>size|state");
	FILE *f = begin();

	vms_table_row(t, "%s|%s|%s", "a", "10G", "open");
	vms_table_row(t, "%s|%s|", "longname", "5");
	vms_table_row(t, "xyz");
	vms_table_print(t, f);
	fclose(f);
	CU_ASSERT_STRING_EQUAL(text, "volume    size  state\n"
				     "a          10G  open\n"
				     "longname     5\n"
				     "xyz\n");
	vms_table_close(t);
}

static void foreign_text_cannot_break_the_table(void)
{
	struct vms_table *t = vms_table_open("n|>v|x");
	const char *c[] = {"a|b", "\033[2J", NULL};
	const char *u[] = {"\xc3\xa4\xc3\xb6", "", "z"};
	FILE *f = begin();

	vms_table_cells(t, 3, c);
	vms_table_cells(t, 3, u);
	vms_table_print(t, f);
	fclose(f);
	CU_ASSERT_STRING_EQUAL(text, "n       v  x\na|b  ?[2J\n\xc3\xa4\xc3\xb6         z\n");
	vms_table_close(t);
}

struct counts {
	uint64_t reads;
	uint64_t depth;
};

static void statistics_show_current_values(void)
{
	static const struct vms_stat_def defs[] = {
		{"reads", VMS_STAT_COUNTER, offsetof(struct counts, reads), "reads served"},
		{"depth", VMS_STAT_GAUGE, offsetof(struct counts, depth), "queued now"},
		VMS_STAT_END,
	};
	static struct vms_hist h;
	struct counts c = {1, 2};
	uint64_t big = UINT64_MAX;
	struct vms_stats *s = vms_stats_open();
	FILE *f = begin();
	json_t *j;
	int found;

	vms_hist_init(&h);
	vms_hist_add(&h, 7);
	vms_stats_add_table(s, "node.", defs, &c);
	vms_stats_add(s, "a", VMS_STAT_COUNTER, &big, "first");
	vms_stats_add_hist(s, "lat", &h, "latency in us");
	c.reads = 41;
	CU_ASSERT_EQUAL(vms_stats_get(s, "node.reads", &found), 41);
	CU_ASSERT(found);
	CU_ASSERT_EQUAL(vms_stats_get(s, "none", &found), 0);
	CU_ASSERT_FALSE(found);
	j = vms_stats_json(s);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(j, "node.reads")), 41);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(j, "a")), INT64_MAX);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(j, "lat"), "p99")), 7);
	json_decref(j);
	vms_stats_print(s, f);
	fclose(f);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "node.reads"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "41  reads served"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "18446744073709551615"));
	CU_ASSERT(strstr(text, "node.depth") < strstr(text, "node.reads"));
	f = begin();
	vms_stats_print_names(s, f);
	fclose(f);
	CU_ASSERT_STRING_EQUAL(text, "a\tcounter\tfirst\nlat\thistogram\tlatency in us\n"
				     "node.depth\tgauge\tqueued now\n"
				     "node.reads\tcounter\treads served\n");
	vms_stats_close(s);
}

static bool verbose;
static const char *file;
static uint64_t count, bytes, ms, seconds;
static const struct vms_opt opts[] = {
	{'v', "verbose", VMS_OPT_FLAG, &verbose, NULL, "say more"},
	{'c', "conf", VMS_OPT_STRING, &file, "FILE", "configuration file"},
	{0, "count", VMS_OPT_U64, &count, "N", "how many"},
	{'s', "size", VMS_OPT_SIZE, &bytes, "SIZE", "how big"},
	{0, "wait", VMS_OPT_DURATION, &ms, "TIME", "how long"},
	{0, "timeout", VMS_OPT_SECONDS, &seconds, "TIME", "how long"},
	VMS_OPT_END,
};
static struct vms_opt_prog prog = {"prog", "[OPTIONS] FILE\n--help", "Does things.", opts, NULL,
				   false};

static int run(int *first, struct vms_errmsg *e, int n, ...)
{
	char *argv[16];
	va_list ap;

	verbose = false;
	file = NULL;
	count = bytes = ms = 0;
	va_start(ap, n);
	argv[0] = "prog";
	for (int i = 1; i <= n; i++)
		argv[i] = va_arg(ap, char *);
	argv[n + 1] = NULL;
	va_end(ap);
	return vms_opt_parse(&prog, n + 1, argv, first, e);
}

static void command_lines_fill_the_table(void)
{
	struct vms_errmsg e;
	int first;

	prog.stop_at_first = false;
	CU_ASSERT_EQUAL(
		run(&first, &e, 7, "x", "-v", "--conf=f", "--count", "3", "-s1G", "--wait=2s"),
		VMS_OPT_GO);
	CU_ASSERT(verbose && count == 3 && bytes == 1 << 30 && ms == 2000 && first == 7);
	CU_ASSERT_STRING_EQUAL(file, "f");
	prog.stop_at_first = true;
	CU_ASSERT_EQUAL(run(&first, &e, 2, "ls", "-v"), VMS_OPT_GO);
	CU_ASSERT(!verbose && first == 1);
}

static void times_are_seconds_or_have_a_unit(void)
{
	static const struct {
		const char *text;
		uint64_t s;
	} good[] = {{"0", 0}, {"90", 90}, {"10min", 600}, {"1500ms", 2}, {"2h", 7200}};
	static const char *const bad[] = {
		"", "-1", "1.5", "10m", "ten", "9999999999", "18446744073709552", "99999999999h"};
	struct vms_errmsg e;
	int first;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CU_ASSERT_EQUAL(run(&first, &e, 2, "--timeout", good[i].text), VMS_OPT_GO);
		CU_ASSERT_EQUAL(seconds, good[i].s);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(run(&first, &e, 2, "--timeout", bad[i]), VMS_E_INVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "--timeout: '"));
	}
}

static void wrong_options_are_named(void)
{
	struct vms_errmsg e;
	int first;

	prog.stop_at_first = false;
	CU_ASSERT_EQUAL(run(&first, &e, 1, "--nope"), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "unknown option '--nope'"));
	CU_ASSERT_EQUAL(run(&first, &e, 1, "-x"), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "unknown option '-x'"));
	CU_ASSERT_EQUAL(run(&first, &e, 1, "-c"), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "missing after '-c'"));
	CU_ASSERT_EQUAL(run(&first, &e, 1, "--conf"), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "missing after"));
	CU_ASSERT_EQUAL(run(&first, &e, 1, "--size=big"), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "--size: 'big'"));
}

static void help_lists_every_option(void)
{
	FILE *f = begin();

	vms_opt_help(&prog, f);
	fclose(f);
	CU_ASSERT(!strncmp(text, "usage: prog [OPTIONS] FILE\n       prog --help\n", 45));
	for (const struct vms_opt *o = opts; o->long_name; o++)
		CU_ASSERT_PTR_NOT_NULL(strstr(text, o->help));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "  -c, --conf FILE             configuration file\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "--version"));
	free(text);
	text = NULL;
}

static const struct vms_test tests[] = {
	VMS_TEST(columns_line_up_without_trailing_blanks),
	VMS_TEST(foreign_text_cannot_break_the_table),
	VMS_TEST(statistics_show_current_values),
	VMS_TEST(command_lines_fill_the_table),
	VMS_TEST(times_are_seconds_or_have_a_unit),
	VMS_TEST(wrong_options_are_named),
	VMS_TEST(help_lists_every_option),
};
VMS_TEST_MAIN("fmt, stats, opt", tests)
