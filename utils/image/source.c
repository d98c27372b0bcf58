// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/lib/assert.h"

struct image_src {
	char *path;
	int fd;
	uint64_t bytes; /* IMAGE_BYTES_UNKNOWN: a pipe */
	uint64_t at;
	uint64_t data_end; /* what follows is data up to here, as last asked */
	bool holes;	   /* SEEK_DATA works */
};

static int sys_fail(struct image_src *s, const char *what, struct vms_errmsg *msg)
{
	return vms_fail(msg, VMS_E_IO, "%s %s: %s", what, s->path, strerror(errno));
}

int image_src_open(struct image_src **out, const struct image_src_conf *conf,
		   struct vms_errmsg *msg)
{
	struct image_src *s = calloc(1, sizeof(*s));
	struct stat st;
	off_t end;
	int rc;

	vms_assert(s);
	s->fd = -1;
	s->bytes = IMAGE_BYTES_UNKNOWN;
	s->path = strdup(strcmp(conf->path, "-") ? conf->path : "standard input");
	vms_assert(s->path);
	s->fd = strcmp(conf->path, "-") ? open(conf->path, O_RDONLY | O_CLOEXEC)
					: dup(STDIN_FILENO);
	if (s->fd < 0 || fstat(s->fd, &st)) {
		rc = vms_fail(msg, errno == ENOENT ? VMS_E_NOENT : VMS_E_IO, "%s: %s",
			      s->path, strerror(errno));
		goto fail;
	}
	if (S_ISDIR(st.st_mode)) {
		rc = vms_fail(msg, VMS_E_INVAL, "%s is a directory", s->path);
		goto fail;
	}
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
		end = lseek(s->fd, 0, SEEK_END);
		if (end < 0) {
			rc = sys_fail(s, "cannot find the size of", msg);
			goto fail;
		}
		s->bytes = (uint64_t)end;
		s->holes = true;
		(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	}
	*out = s;
	return 0;
fail:
	image_src_close(s);
	return rc;
}

void image_src_close(struct image_src *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s);
}

uint64_t image_src_bytes(const struct image_src *s)
{
	return s->bytes;
}

/* Reads up to len bytes; fewer only at the end. */
static int64_t read_full(struct image_src *s, uint8_t *buf, uint64_t len,
			 struct vms_errmsg *msg)
{
	uint64_t got = 0;

	while (got < len) {
		ssize_t n =
		    s->bytes == IMAGE_BYTES_UNKNOWN
			? read(s->fd, buf + got, len - got)
			: pread(s->fd, buf + got, len - got, (off_t)(s->at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sys_fail(s, "reading", msg);
		if (!n)
			break;
		got += (uint64_t)n;
	}
	return (int64_t)got;
}

/* Moves data_end, and tells how much of a hole comes first. */
static uint64_t hole_bytes(struct image_src *s)
{
	const uint64_t mask = VMS_CHUNK_BYTES - 1;
	off_t data, hole;

	if (!s->holes || s->at < s->data_end)
		return 0;
	data = lseek(s->fd, (off_t)s->at, SEEK_DATA);
	if (data < 0) {
		if (errno == ENXIO)
			return s->bytes - s->at;
		s->holes = false; /* this file system cannot tell */
		return 0;
	}
	hole = lseek(s->fd, data, SEEK_HOLE);
	s->data_end = hole < 0 ? s->bytes : ((uint64_t)hole + mask) & ~mask;
	return ((uint64_t)data & ~mask) > s->at ? ((uint64_t)data & ~mask) - s->at : 0;
}

int image_src_next(struct image_src *s, uint8_t *buf, struct image_piece *p,
		   struct vms_errmsg *msg)
{
	uint64_t len = IMAGE_PIECE_BYTES - s->at % IMAGE_PIECE_BYTES, zeros;
	int64_t got;

	if (s->at >= s->bytes)
		return 0;
	p->offset = s->at;
	p->zero = false;
	if (s->bytes != IMAGE_BYTES_UNKNOWN) {
		zeros = hole_bytes(s);
		if (zeros) {
			p->zero = true;
			p->len = zeros;
			s->at += zeros;
			return 1;
		}
		if (s->holes && s->data_end - s->at < len)
			len = s->data_end - s->at;
		if (s->bytes - s->at < len)
			len = s->bytes - s->at;
	}
	got = read_full(s, buf, len, msg);
	if (got < 0)
		return (int)got;
	if ((uint64_t)got < len && s->bytes != IMAGE_BYTES_UNKNOWN)
		return vms_fail(msg, VMS_E_IO, "%s became shorter while it was read",
				s->path);
	if (!got)
		return 0;
	if ((uint64_t)got < len)
		s->bytes = s->at + (uint64_t)got;
	p->len = (uint64_t)got;
	s->at += (uint64_t)got;
	return 1;
}
