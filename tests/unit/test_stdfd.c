// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/stdfd.h"
#include "tests/unit/cunit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit code of fn in a child, whose standard output is `out` (-1: closed). */
static int in_child(int (*fn)(void), int out)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2); /* what is told is not what is tested */
		if (out >= 0)
			dup2(out, 1);
		else
			close(1);
		_exit(fn());
	}
	CU_ASSERT_FATAL(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int all_closed(void)
{
	int fd;

	close(0);
	close(1);
	close(2);
	vms_std_fds();
	fd = open("/dev/zero", O_RDWR);
	if (fd < 3)
		return 1;
	for (int i = 1; i <= 2; i++)
		if (write(i, "x", 1) != -1 || errno != EBADF)
			return 2;
	return read(0, &(char){0}, 1) == -1 && errno == EBADF ? 0 : 3;
}

static void closed_numbers_are_not_given_to_files(void)
{
	CU_ASSERT_EQUAL(in_child(all_closed, 1), 0);
}

static int one_open(void)
{
	close(0);
	vms_std_fds();
	return write(1, "x", 1) == 1 ? 0 : 1;
}

static void what_is_open_stays(void)
{
	char c = 0;
	int p[2];

	CU_ASSERT_FATAL(!pipe(p));
	CU_ASSERT_EQUAL(in_child(one_open, p[1]), 0);
	CU_ASSERT(read(p[0], &c, 1) == 1 && c == 'x');
	close(p[0]);
	close(p[1]);
}

static int code;
static int print(void)
{
	signal(SIGPIPE, SIG_IGN);
	vms_std_fds();
	printf("a result\n");
	return vms_std_end("test", code);
}
static int say_nothing(void)
{
	vms_std_fds();
	return vms_std_end("test", code);
}

static void a_result_that_is_not_written_is_no_success(void)
{
	int full = open("/dev/full", O_WRONLY), p[2];

	CU_ASSERT_FATAL(full >= 0 && !pipe(p));
	code = 0;
	CU_ASSERT_EQUAL(in_child(print, full), 1);
	CU_ASSERT_EQUAL(in_child(print, -1), 1);
	CU_ASSERT_EQUAL(in_child(say_nothing, -1), 0);
	CU_ASSERT_EQUAL(in_child(print, p[1]), 0);
	/* the reader has gone: `| head` */
	close(p[0]);
	CU_ASSERT_EQUAL(in_child(print, p[1]), 0);
	code = 4; /* says more */
	CU_ASSERT_EQUAL(in_child(print, full), 4);
	close(full);
	close(p[1]);
}

static const struct vms_test tests[] = {
	VMS_TEST(closed_numbers_are_not_given_to_files),
	VMS_TEST(what_is_open_stays),
	VMS_TEST(a_result_that_is_not_written_is_no_success),
};
VMS_TEST_MAIN("stdfd", tests)
