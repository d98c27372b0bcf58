// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/log.h"
#include "tests/unit/cunit.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct seen {
	unsigned n;
	enum vms_log_level level;
	char text[1200];
};

static void record(void *ctx, enum vms_log_level level, const char *text)
{
	struct seen *s = ctx;

	s->n++;
	s->level = level;
	snprintf(s->text, sizeof(s->text), "%s", text);
}

static void only_enabled_levels_reach_the_sink(void)
{
	struct seen s = {0};

	vms_log_set_sink(record, &s);
	vms_log_set_level(VMS_LOG_WARN);
	vms_info("not shown");
	vms_debug("not shown");
	CU_ASSERT_EQUAL(s.n, 0);
	vms_warn("disk %d", 3);
	CU_ASSERT_EQUAL(s.n, 1);
	CU_ASSERT_EQUAL(s.level, VMS_LOG_WARN);
	CU_ASSERT_STRING_EQUAL(s.text, "disk 3");
	vms_log_set_level(VMS_LOG_DEBUG);
	vms_debug("now");
	CU_ASSERT_EQUAL(s.n, 2);
	vms_log_set_sink(NULL, NULL);
	vms_log_set_level(VMS_LOG_INFO);
}

static void overlong_text_is_cut_not_overrun(void)
{
	struct seen s = {0};
	char big[3000];

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	vms_log_set_sink(record, &s);
	vms_error("%s", big);
	CU_ASSERT_EQUAL(strlen(s.text), 1023);
	vms_log_set_sink(NULL, NULL);
}

static void level_names_parse_back(void)
{
	struct vms_errmsg e;
	enum vms_log_level l;

	for (int i = VMS_LOG_ERROR; i <= VMS_LOG_DEBUG; i++) {
		CU_ASSERT_EQUAL(vms_log_level_parse(vms_log_level_name(i), &l, &e), 0);
		CU_ASSERT_EQUAL((int)l, i);
	}
	CU_ASSERT_EQUAL(vms_log_level_parse("loud", &l, &e), VMS_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "'loud'"));
}

static void limit_passes_a_burst_and_counts_the_rest(void)
{
	struct vms_log_limit l = VMS_LOG_LIMIT_INIT(2, 1000);
	uint32_t dropped;

	CU_ASSERT(vms_log_limit_pass(&l, 5000, &dropped));
	CU_ASSERT(vms_log_limit_pass(&l, 5001, &dropped));
	CU_ASSERT_FALSE(vms_log_limit_pass(&l, 5002, &dropped));
	CU_ASSERT_FALSE(vms_log_limit_pass(&l, 5999, &dropped));
	CU_ASSERT(vms_log_limit_pass(&l, 6000, &dropped));
	CU_ASSERT_EQUAL(dropped, 2);
	CU_ASSERT(vms_log_limit_pass(&l, 6001, &dropped));
	CU_ASSERT_EQUAL(dropped, 0);
}

/* However many places there are, and whatever is seen of them: no more than so many lines. */
static void each_place_is_told_once_a_minute(void)
{
	static struct vms_log_places t;
	unsigned n = 0;
	uint32_t d;

	CU_ASSERT(vms_log_places_pass(&t, 0, 5, &d) && d == 0);
	CU_ASSERT(vms_log_places_pass(&t, 7, 5, &d) && d == 0);
	CU_ASSERT_FALSE(vms_log_places_pass(&t, 0, 69, &d));
	CU_ASSERT_FALSE(vms_log_places_pass(&t, 7, 60004, &d));
	CU_ASSERT_FALSE(vms_log_places_pass(&t, 0, 60004, &d));
	CU_ASSERT(vms_log_places_pass(&t, 7, 60005, &d) && d == 3);
	CU_ASSERT(vms_log_places_pass(&t, 0, 60005, &d) && d == 0);
	CU_ASSERT_FALSE(vms_log_places_pass(&t, 7, 60006, &d));
	for (unsigned i = 0; i < 1000; i++)
		n += vms_log_places_pass(&t, 100 + i % 200, 70000 + i, &d);
	CU_ASSERT_EQUAL(n, VMS_LOG_PLACES - 2);
	CU_ASSERT(vms_log_places_pass(&t, 7, 120005, &d));
	CU_ASSERT_EQUAL(d, 1000 - (VMS_LOG_PLACES - 2));
}

static void ratelimited_macro_reports_what_it_dropped(void)
{
	struct seen s = {0};

	vms_log_set_sink(record, &s);
	for (int i = 0; i < 51; i++)
		vms_log_ratelimited(i < 50 ? 20000u : 30000u, VMS_LOG_ERROR, "bad %d", i);
	CU_ASSERT_EQUAL(s.n, 11);
	CU_ASSERT_STRING_EQUAL(s.text, "bad 50 (40 like it not shown)");
	vms_log_set_sink(NULL, NULL);
}

/* What two lines on stderr look like. */
static void lines(char *out, size_t room)
{
	char path[] = "/tmp/test_log.XXXXXX";
	int fd = mkstemp(path), old = dup(2);
	ssize_t n;

	unlink(path);
	dup2(fd, 2);
	vms_log_timed();
	vms_warn("disk %d", 3);
	vms_log_line("another's text");
	dup2(old, 2);
	close(old);
	n = pread(fd, out, room - 1, 0);
	out[n > 0 ? n : 0] = 0;
	close(fd);
}

static void lines_of_daemons_have_the_time(void)
{
	static const char form[] = "dddd-dd-dd dd:dd:dd.ddd ";
	char out[200], *second;
	unsigned i;

	vms_log_open("daemon", VMS_LOG_INFO);
	unsetenv("JOURNAL_STREAM");
	lines(out, sizeof(out));
	second = strchr(out, '\n');
	CU_ASSERT_PTR_NOT_NULL_FATAL(second);
	*second++ = 0;
	for (i = 0; form[i]; i++)
		CU_ASSERT(form[i] == 'd' ? isdigit((unsigned char)out[i]) : out[i] == form[i]);
	CU_ASSERT_STRING_EQUAL(out + i, "daemon: warning: disk 3");
	CU_ASSERT_STRING_EQUAL(second + i, "daemon: another's text\n");
	/* the journal adds it */
	setenv("JOURNAL_STREAM", "1:2", 1);
	lines(out, sizeof(out));
	CU_ASSERT_STRING_EQUAL(out, "daemon: warning: disk 3\ndaemon: another's text\n");
	vms_log_open(NULL, VMS_LOG_INFO);
}

static const struct vms_test tests[] = {
	VMS_TEST(only_enabled_levels_reach_the_sink),
	VMS_TEST(overlong_text_is_cut_not_overrun),
	VMS_TEST(level_names_parse_back),
	VMS_TEST(limit_passes_a_burst_and_counts_the_rest),
	VMS_TEST(each_place_is_told_once_a_minute),
	VMS_TEST(ratelimited_macro_reports_what_it_dropped),
	VMS_TEST(lines_of_daemons_have_the_time),
};
VMS_TEST_MAIN("log", tests)
