// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into a node: LMDB's own writes or syncs of data.mdb fail with EIO while the file
 * $LMDB_FAIL holds "write" or "sync". For LMDB only: what goes through io_uring or is
 * written with RWF_DSYNC does not come by here (see backend/disk_fault.c for that).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t pwrite64(int fd, const void *b, size_t n, off64_t off);
int fsync(int fd);

static bool fails(int fd, const char *what)
{
	const char *control = getenv("LMDB_FAIL");
	char link[40], path[500], word[16] = "";
	ssize_t n;
	FILE *f;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0 || !control)
		return false;
	path[n] = '\0';
	if (!strstr(path, "data.mdb"))
		return false;
	f = fopen(control, "re");
	if (!f)
		return false;
	if (fscanf(f, "%15s", word) != 1)
		word[0] = '\0';
	fclose(f);
	if (strcmp(word, what))
		return false;
	errno = EIO;
	return true;
}

#define NEXT(name)                                                                                 \
	static __typeof__(name) *next;                                                             \
	if (!next)                                                                                 \
	*(void **)&next = dlsym(RTLD_NEXT, #name)

ssize_t pwrite(int fd, const void *b, size_t n, off_t off)
{
	NEXT(pwrite);
	return fails(fd, "write") ? -1 : next(fd, b, n, off);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t off)
{
	NEXT(pwrite64);
	return fails(fd, "write") ? -1 : next(fd, b, n, off);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t off)
{
	NEXT(pwritev);
	return fails(fd, "write") ? -1 : next(fd, v, n, off);
}
ssize_t writev(int fd, const struct iovec *v, int n)
{
	NEXT(writev);
	return fails(fd, "write") ? -1 : next(fd, v, n);
}
int fdatasync(int fd)
{
	NEXT(fdatasync);
	return fails(fd, "sync") ? -1 : next(fd);
}
int fsync(int fd)
{
	NEXT(fsync);
	return fails(fd, "sync") ? -1 : next(fd);
}
