// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/image/format.h"
#include "utils/image/nbd.h"
#include "utils/lib/assert.h"

#define MASK ((uint64_t)VMS_CHUNK_BYTES - 1)

struct image_src {
	char *path;
	const char *format;
	char identity[64];
	struct image_nbd *nbd; /* NULL: raw, from fd */
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

static int open_raw(struct image_src *s, const struct stat *st, struct vms_errmsg *msg)
{
	off_t end;

	s->format = "raw";
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return 0; /* a pipe */
	end = lseek(s->fd, 0, SEEK_END);
	if (end < 0)
		return sys_fail(s, "cannot find the size of", msg);
	s->bytes = (uint64_t)end;
	s->holes = true;
	(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

static int open_qemu(struct image_src *s, const struct image_src_conf *conf,
		     const struct image_format *f, struct vms_errmsg *msg)
{
	int rc;

	if (f->other[0] && !conf->follow)
		return vms_fail(msg, VMS_E_PERM,
				"%.90s refers to another file, %.90s: say --follow to "
				"read it too",
				conf->path, f->other);
	s->format = f->name;
	rc = image_nbd_open(&s->nbd, conf->path, f->name, false, conf->follow, msg);
	if (rc)
		return rc;
	s->bytes = image_nbd_bytes(s->nbd);
	return 0;
}

int image_src_open(struct image_src **out, const struct image_src_conf *conf,
		   struct vms_errmsg *msg)
{
	struct image_src *s = calloc(1, sizeof(*s));
	bool pipe = !strcmp(conf->path, "-");
	struct image_format f = {.name = "raw"};
	struct stat st;
	int rc = 0;

	vms_assert(s);
	s->bytes = IMAGE_BYTES_UNKNOWN;
	s->path = strdup(pipe ? "standard input" : conf->path);
	vms_assert(s->path);
	s->fd = pipe ? dup(STDIN_FILENO) : open(conf->path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st))
		rc = vms_fail(msg, errno == ENOENT ? VMS_E_NOENT : VMS_E_IO, "%s: %s", s->path,
			      strerror(errno));
	else if (S_ISDIR(st.st_mode))
		rc = vms_fail(msg, VMS_E_INVAL, "%s is a directory", s->path);
	else if (pipe && conf->format && strcmp(conf->format, "raw"))
		rc = vms_fail(msg, VMS_E_INVAL, "standard input can only be raw, not %s",
			      conf->format);
	else if (S_ISREG(st.st_mode))
		snprintf(s->identity, sizeof(s->identity), "%lld bytes, %lld.%09ld",
			 (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (!rc && !conf->raw && !pipe && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
	    !(conf->format && !strcmp(conf->format, "raw")))
		rc = image_format_probe(conf->path, conf->format, &f, msg);
	if (!rc)
		rc = strcmp(f.name, "raw") ? open_qemu(s, conf, &f, msg) : open_raw(s, &st, msg);
	/* the other files that it names may have changed as well */
	if (f.other[0])
		s->identity[0] = 0;
	if (rc) {
		image_src_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void image_src_close(struct image_src *s)
{
	if (!s)
		return;
	image_nbd_close(s->nbd);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s);
}

uint64_t image_src_bytes(const struct image_src *s)
{
	return s->bytes;
}

const char *image_src_format(const struct image_src *s)
{
	return s->format;
}

const char *image_src_identity(const struct image_src *s)
{
	return s->identity;
}

void image_src_seek(struct image_src *s, uint64_t offset)
{
	vms_assert(s->bytes != IMAGE_BYTES_UNKNOWN && offset % VMS_CHUNK_BYTES == 0);
	s->at = s->data_end = offset;
}

/* Both: what comes first at s->at, *zeros of a hole, then data up to data_end. Whole
 * chunks: one that is in part data is data. */
static int look_qemu(struct image_src *s, uint64_t *zeros, struct vms_errmsg *msg)
{
	uint64_t at = s->at, end;
	bool zero;
	int rc;

	/* a run of zeros may come in several answers */
	while (!(rc = image_nbd_status(s->nbd, at, &zero, &end, msg)) && zero && end < s->bytes)
		at = end;
	if (rc)
		return rc;
	if (zero)
		at = s->bytes;
	else
		s->data_end = (end + MASK) & ~MASK;
	*zeros = zero ? s->bytes - s->at : (at & ~MASK) > s->at ? (at & ~MASK) - s->at : 0;
	return 0;
}

static void look_file(struct image_src *s, uint64_t *zeros)
{
	off_t data = lseek(s->fd, (off_t)s->at, SEEK_DATA), hole;
	uint64_t at = (uint64_t)data & ~MASK;

	if (data < 0 && errno == ENXIO) {
		*zeros = s->bytes - s->at;
		return;
	}
	hole = data < 0 ? -1 : lseek(s->fd, data, SEEK_HOLE);
	if (hole < 0) {
		s->holes = false; /* this file system cannot tell */
		return;
	}
	s->data_end = ((uint64_t)hole + MASK) & ~MASK;
	*zeros = at > s->at ? at - s->at : 0;
}

/* All of len, or fewer at the end of a pipe. */
static int64_t read_full(struct image_src *s, uint8_t *buf, uint64_t len, struct vms_errmsg *msg)
{
	uint64_t got = 0;

	if (s->nbd) {
		int rc = image_nbd_read(s->nbd, s->at, buf, len, msg);

		return rc ? rc : (int64_t)len;
	}
	while (got < len) {
		ssize_t n = s->bytes == IMAGE_BYTES_UNKNOWN
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
	if (got < len && s->bytes != IMAGE_BYTES_UNKNOWN)
		return vms_fail(msg, VMS_E_IO, "%s became shorter while it was read", s->path);
	return (int64_t)got;
}

int image_src_next(struct image_src *s, uint8_t *buf, struct image_piece *p, struct vms_errmsg *msg)
{
	uint64_t len = IMAGE_PIECE_BYTES - s->at % IMAGE_PIECE_BYTES, zeros = 0;
	bool pipe = s->bytes == IMAGE_BYTES_UNKNOWN;
	int64_t got;
	int rc = 0;

	if (s->at >= s->bytes)
		return 0;
	p->offset = s->at;
	if (s->at >= s->data_end) {
		s->data_end = s->bytes;
		if (s->nbd)
			rc = look_qemu(s, &zeros, msg);
		else if (s->holes)
			look_file(s, &zeros);
	}
	if (rc)
		return rc;
	p->zero = zeros > 0;
	p->len = zeros;
	if (!zeros) {
		if (s->data_end - s->at < len)
			len = s->data_end - s->at;
		if (s->bytes - s->at < len)
			len = s->bytes - s->at;
		got = read_full(s, buf, len, msg);
		if (got < 0)
			return (int)got;
		if ((uint64_t)got < len && pipe)
			s->bytes = s->at + (uint64_t)got;
		if (!got)
			return 0;
		p->len = (uint64_t)got;
	}
	s->at += p->len;
	return 1;
}
