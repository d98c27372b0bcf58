// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/stdfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void vms_std_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		/* the lowest free number is this one; opened for the wrong direction */
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
			return;
}

/* A pipe or socket that nobody reads any more. */
static bool reader_gone(void)
{
	struct pollfd p = {.fd = 1, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

int vms_std_end(const char *prog, int code)
{
	int err = 0; /* 0: it was an earlier write that failed */

	if (fflush(stdout))
		err = errno;
	else if (!ferror(stdout))
		return code;
	if (reader_gone())
		return code;
	fprintf(stderr, "%s: cannot write to standard output%s%s\n", prog, err ? ": " : "",
		err ? strerror(err) : "");
	return code ? code : 1;
}
