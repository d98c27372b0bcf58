// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utils/image/format.h"
#include "utils/image/nbd.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

#define ZEROS_BYTES VMS_SUBEXT_BYTES

struct image_sink {
	char *path, *part, *state; /* part, state: of files only */
	char *identity;
	int fd;
	struct image_nbd *nbd; /* other formats than raw */
	bool in_order;	       /* a pipe or device: zeros are written too */
	bool seekable, finished, kept;
	uint64_t bytes, at, written;
	uint8_t *zeros;
};

static int sys_fail(struct image_sink *s, const char *what, const char *path,
		    struct vms_errmsg *msg)
{
	return vms_fail(msg, errno == ENOSPC ? VMS_E_NOSPC : VMS_E_IO, "%s %.150s: %s", what, path,
			strerror(errno));
}

static char *with(const char *path, const char *suffix)
{
	char *text = NULL;

	vms_assert(asprintf(&text, "%s%s", path, suffix) > 0);
	return text;
}

/* ---- FILE.part.state ---- */

/* How much of FILE.part is known to be there. */
static uint64_t state_load(const struct image_sink *s)
{
	json_t *j = json_load_file(s->state, 0, NULL);
	const char *id = json_string_value(json_object_get(j, "identity"));
	json_int_t done = json_integer_value(json_object_get(j, "done"));
	uint64_t from = 0;

	if (id && !strcmp(id, s->identity) && done > 0 && (uint64_t)done <= s->bytes)
		from = (uint64_t)done;
	json_decref(j);
	return from;
}

static int state_store(struct image_sink *s, uint64_t done, struct vms_errmsg *msg)
{
	json_t *j = json_pack("{ss sI}", "identity", s->identity, "done", (json_int_t)done);
	char *tmp = with(s->state, ".new");
	int rc = 0;

	vms_assert(j);
	if (json_dump_file(j, tmp, JSON_COMPACT) || rename(tmp, s->state))
		rc = sys_fail(s, "cannot write", s->state, msg);
	json_decref(j);
	free(tmp);
	return rc;
}

/* ---- opening ---- */

static int open_stdout(struct image_sink *s, struct vms_errmsg *msg)
{
	if (isatty(STDOUT_FILENO))
		return vms_fail(msg, VMS_E_INVAL, "standard output is a terminal");
	s->fd = dup(STDOUT_FILENO);
	vms_assert(s->fd >= 0);
	s->in_order = true;
	return 0;
}

static int open_device(struct image_sink *s, struct vms_errmsg *msg)
{
	off_t end;

	s->fd = open(s->path, O_WRONLY | O_CLOEXEC | O_EXCL);
	if (s->fd < 0)
		return sys_fail(s, "cannot open", s->path, msg);
	end = lseek(s->fd, 0, SEEK_END);
	if (end >= 0 && (uint64_t)end < s->bytes)
		return vms_fail(msg, VMS_E_NOSPC, "%s has %lld bytes, the volume %llu", s->path,
				(long long)end, (unsigned long long)s->bytes);
	s->in_order = s->seekable = true;
	return 0;
}

static int open_part(struct image_sink *s, const struct image_sink_conf *conf, uint64_t *from,
		     struct vms_errmsg *msg)
{
	int rc;

	s->part = with(s->path, ".part");
	s->state = with(s->path, ".part.state");
	s->fd = open(s->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (s->fd < 0)
		return sys_fail(s, "cannot create", s->part, msg);
	if (flock(s->fd, LOCK_EX | LOCK_NB)) {
		close(s->fd);
		s->fd = -1; /* not ours to remove */
		return vms_fail(msg, VMS_E_BUSY, "%s is being written by another process", s->part);
	}
	s->seekable = true;
	if (conf->resume && conf->identity)
		*from = state_load(s);
	if (!*from && ftruncate(s->fd, 0))
		return sys_fail(s, "cannot empty", s->part, msg);
	if (!*from)
		unlink(s->state);
	if (!strcmp(conf->format, "raw"))
		return 0;
	rc = image_format_create(s->part, conf->format, conf->options, s->bytes, msg);
	if (!rc)
		rc = image_nbd_open(&s->nbd, s->part, conf->format, true, false, msg);
	if (!rc && image_nbd_bytes(s->nbd) < s->bytes)
		rc = vms_fail(msg, VMS_E_UNSUPPORTED,
			      "%s holds no image of %llu bytes in this form", conf->format,
			      (unsigned long long)s->bytes);
	return rc;
}

int image_sink_open(struct image_sink **out, const struct image_sink_conf *conf, uint64_t *from,
		    struct vms_errmsg *msg)
{
	struct image_sink *s = calloc(1, sizeof(*s));
	bool raw = !strcmp(conf->format, "raw"), pipe = !strcmp(conf->path, "-");
	struct stat st;
	bool there;
	int rc;

	vms_assert(s);
	*from = 0;
	s->fd = -1;
	s->bytes = conf->bytes;
	s->path = strdup(pipe ? "standard output" : conf->path);
	s->identity = conf->identity && raw ? strdup(conf->identity) : NULL;
	there = !pipe && !stat(conf->path, &st);
	if (!raw && (pipe || (there && !S_ISREG(st.st_mode))))
		rc = vms_fail(msg, VMS_E_INVAL, "%s takes raw only", s->path);
	else if (pipe)
		rc = open_stdout(s, msg);
	else if (there && S_ISBLK(st.st_mode))
		rc = conf->overwrite ? open_device(s, msg)
				     : vms_fail(msg, VMS_E_EXIST,
						"%s is a disk; --overwrite replaces what is on it",
						s->path);
	else if (there && !S_ISREG(st.st_mode))
		rc = vms_fail(msg, VMS_E_INVAL, "%s is no file", s->path);
	else if (there && !conf->overwrite)
		rc = vms_fail(msg, VMS_E_EXIST, "%s exists already; --overwrite replaces it",
			      s->path);
	else
		rc = open_part(s, conf, from, msg);
	if (rc) {
		image_sink_close(s, NULL);
		return rc;
	}
	s->at = *from;
	if (s->in_order) {
		s->zeros = calloc(1, ZEROS_BYTES);
		vms_assert(s->zeros);
	}
	*out = s;
	return 0;
}

/* ---- writing ---- */

static int put(struct image_sink *s, uint64_t offset, const uint8_t *data, uint64_t len,
	       struct vms_errmsg *msg)
{
	if (s->nbd) {
		s->written += len;
		return image_nbd_write(s->nbd, offset, data, len, msg);
	}
	while (len) {
		ssize_t n = s->seekable ? pwrite(s->fd, data, len, (off_t)offset)
					: write(s->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return sys_fail(s, "writing", s->part ? s->part : s->path, msg);
		data += n;
		len -= (uint64_t)n;
		offset += (uint64_t)n;
		s->written += (uint64_t)n;
	}
	return 0;
}

static int zeros_up_to(struct image_sink *s, uint64_t end, struct vms_errmsg *msg)
{
	int rc = 0;

	while (!rc && s->in_order && s->at < end) {
		uint64_t n = end - s->at < ZEROS_BYTES ? end - s->at : ZEROS_BYTES;

		rc = put(s, s->at, s->zeros, n, msg);
		s->at += n;
	}
	return rc;
}

int image_sink_data(struct image_sink *s, uint64_t offset, const uint8_t *data, uint64_t len,
		    struct vms_errmsg *msg)
{
	int rc = zeros_up_to(s, offset, msg);

	if (!rc && s->in_order)
		rc = put(s, offset, data, len, msg);
	/* runs of chunks that are not zero */
	for (uint64_t at = 0, end; !rc && !s->in_order && at < len; at = end) {
		uint64_t n = len - at < VMS_CHUNK_BYTES ? len - at : VMS_CHUNK_BYTES;

		end = at + n;
		if (vms_is_zero(data + at, n))
			continue;
		while (end < len) {
			n = len - end < VMS_CHUNK_BYTES ? len - end : VMS_CHUNK_BYTES;
			if (vms_is_zero(data + end, n))
				break;
			end += n;
		}
		rc = put(s, offset + at, data + at, end - at, msg);
	}
	s->at = offset + len;
	return rc;
}

int image_sink_append(struct image_sink *s, const uint8_t *data, uint64_t len,
		      struct vms_errmsg *msg)
{
	int rc = image_sink_data(s, s->at, data, len, msg);

	s->bytes = s->at;
	return rc;
}

int image_sink_checkpoint(struct image_sink *s, uint64_t done, struct vms_errmsg *msg)
{
	if (!s->identity || !s->part)
		return 0;
	if (fdatasync(s->fd))
		return sys_fail(s, "syncing", s->part, msg);
	return state_store(s, done, msg);
}

/* The folder's entry is on disk as well. */
static int sync_folder(struct image_sink *s, struct vms_errmsg *msg)
{
	char *copy = strdup(s->path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	free(copy);
	if (fd < 0 || fsync(fd))
		rc = sys_fail(s, "syncing the folder of", s->path, msg);
	if (fd >= 0)
		close(fd);
	return rc;
}

int image_sink_finish(struct image_sink *s, struct vms_errmsg *msg)
{
	int rc = zeros_up_to(s, s->bytes, msg);

	if (!rc && s->nbd) {
		rc = image_nbd_flush(s->nbd, msg);
		image_nbd_close(s->nbd);
		s->nbd = NULL;
	} else if (!rc && s->part && ftruncate(s->fd, (off_t)s->bytes)) {
		rc = sys_fail(s, "giving its size to", s->part, msg);
	}
	if (!rc && s->seekable && fsync(s->fd))
		rc = sys_fail(s, "syncing", s->part ? s->part : s->path, msg);
	if (!rc && s->part) {
		if (rename(s->part, s->path))
			rc = sys_fail(s, "cannot name", s->path, msg);
		else
			rc = sync_folder(s, msg);
		if (!rc)
			unlink(s->state);
	}
	s->finished = !rc;
	return rc;
}

void image_sink_close(struct image_sink *s, bool *kept)
{
	bool keep = s->identity && s->state && !access(s->state, F_OK);

	image_nbd_close(s->nbd);
	if (s->part && s->fd >= 0 && !s->finished && !keep) {
		unlink(s->part);
		unlink(s->state);
	}
	if (kept)
		*kept = keep && !s->finished;
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s->part);
	free(s->state);
	free(s->identity);
	free(s->zeros);
	free(s);
}

uint64_t image_sink_written(const struct image_sink *s)
{
	return s->written;
}
