// SPDX-License-Identifier: GPL-2.0-only
/* fsck of a node's folder, and what `vmstore fsck` and `vmstored --fsck` print. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/disk_posix.h"
#include "backend/fsck.h"
#include "utils/lib/log.h"
#include "utils/lib/settings.h"
#include "utils/lib/utf8.h"

struct folder {
	const char *dir;
	struct vms_disk_posix *posix;
	struct vms_disk disk;
	/* the container read last; fd -1: none */
	uint64_t ctr;
	int fd;
	int ended; /* commit: 1 while it runs, else its status */
};

static int ctr_open(struct folder *f, uint64_t ctr, int flags)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/c/%02x/%09" PRIx64, f->dir, (unsigned)(ctr & 0xff), ctr);
	return open(path, flags | O_CLOEXEC);
}

static int file_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct folder *f = ctx;
	ssize_t n;

	if (f->fd < 0 || f->ctr != ctr) {
		if (f->fd >= 0)
			close(f->fd);
		f->ctr = ctr;
		f->fd = ctr_open(f, ctr, O_RDONLY);
		if (f->fd < 0)
			return errno == ENOENT ? VMS_E_NOENT : VMS_E_IO;
	}
	n = pread(f->fd, buf, len, (off_t)off);
	if (n < 0)
		return VMS_E_IO;
	return (size_t)n == len ? 0 : VMS_E_NOENT;
}

static int file_write(void *ctx, uint64_t ctr, uint64_t off, const void *buf, size_t len)
{
	int fd = ctr_open(ctx, ctr, O_WRONLY), rc = 0;

	if (fd < 0)
		return VMS_E_IO;
	if (pwrite(fd, buf, len, (off_t)off) != (ssize_t)len || fsync(fd))
		rc = errno == ENOSPC ? VMS_E_NOSPC : VMS_E_IO;
	close(fd);
	return rc;
}

static void on_end(void *arg, const struct vms_disk_event *ev)
{
	((struct folder *)arg)->ended = ev->status;
}

static int index_commit(void *ctx, const struct vms_meta_batch *batch)
{
	struct folder *f = ctx;
	struct pollfd p = {.fd = vms_disk_posix_fd(f->posix), .events = POLLIN};

	f->ended = 1;
	f->disk.ops->meta_commit(f->disk.ctx, batch, 1);
	vms_disk_posix_flush(f->posix);
	while (f->ended == 1)
		if (!vms_disk_posix_reap(f->posix, on_end, f))
			poll(&p, 1, 1000);
	return f->ended;
}

int vms_fsck_dir(const char *dir, const struct vms_fsck_conf *conf, struct vms_fsck *out,
		 struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf dc = {.dir = dir, .engine = VMS_IO_THREADS};
	struct folder f = {.dir = dir, .fd = -1};
	struct vms_fsck_io io = {&f, file_read, file_write, index_commit};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = vms_disk_posix_open(&f.posix, &dc, msg);
	if (rc)
		return rc;
	f.disk = vms_disk_posix_disk(f.posix);
	rc = vms_fsck(&f.disk, &io, conf, out);
	if (rc)
		vms_fail(msg, rc, "%s: the repair stopped half-way (%s); it may be repeated", dir,
			 vms_err_text(rc));
	if (f.fd >= 0)
		close(f.fd);
	vms_disk_posix_close(f.posix);
	return rc;
}

/* ---- what is printed ---- */

static int exit_code(const struct vms_fsck *f)
{
	int code = VMS_FSCK_CLEAN;

	if (f->repaired)
		code |= VMS_FSCK_FIXED;
	if (f->errors > f->repaired)
		code |= VMS_FSCK_LEFT;
	return code;
}

static const char *class_word(const struct vms_fsck_problem *p)
{
	return p->repaired		     ? "repaired"
	       : p->class == VMS_FSCK_LOST   ? "lost"
	       : p->class == VMS_FSCK_REPAIR ? "repairable"
					     : "harmless";
}

static void print_json(const char *dir, const struct vms_fsck *f, int code)
{
	json_t *list = json_array(), *j;

	VMS_VEC_FOREACH (&f->problem, p)
		json_array_append_new(list, json_pack("{ss so}", "state", class_word(p), "text",
						      vms_json_text(p->text)));
	j = json_pack("{so sI si so sI sI sI sI sI}", "dir", vms_json_text(dir), "node",
		      (json_int_t)f->node_id, "exit_code", code, "problems", list, "errors",
		      (json_int_t)f->errors, "lost", (json_int_t)f->lost, "lost_chunks",
		      (json_int_t)f->lost_chunks, "repaired", (json_int_t)f->repaired, "partitions",
		      (json_int_t)f->partitions);
	json_object_set_new(j, "log",
			    json_pack("{sI sI}", "records", (json_int_t)f->log_records, "bytes",
				      (json_int_t)f->log_bytes));
	json_object_set_new(j, "index",
			    json_pack("{sI sI sI sI}", "values", (json_int_t)f->values, "pages",
				      (json_int_t)f->pages, "addresses", (json_int_t)f->addresses,
				      "elsewhere", (json_int_t)f->elsewhere));
	json_object_set_new(j, "containers",
			    json_pack("{sI sI sI sI sI}", "files", (json_int_t)f->files, "leftover",
				      (json_int_t)f->leftover, "referred",
				      (json_int_t)f->containers, "chunks_read",
				      (json_int_t)f->chunks, "bytes",
				      (json_int_t)f->container_bytes));
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

static void print_words(const char *dir, const struct vms_fsck *f)
{
	VMS_VEC_FOREACH (&f->problem, p)
		printf("%s%s\n", p->text, p->repaired ? " (repaired)" : "");
	if (f->errors > f->problem.n)
		printf("... and %" PRIu64 " more\n", f->errors - f->problem.n);
	printf("%s: node %" PRIu64 ", %u partitions\n", dir, f->node_id, f->partitions);
	printf("  log         %" PRIu64 " records\n", f->log_records);
	printf("  index       %" PRIu64 " values, %" PRIu64 " pages with %" PRIu64 " addresses",
	       f->values, f->pages, f->addresses);
	if (f->elsewhere)
		printf(", %" PRIu64 " of them elsewhere", f->elsewhere);
	printf("\n  containers  %" PRIu64 " files, %" PRIu64 " chunks read in %" PRIu64
	       " that pages name",
	       f->files, f->chunks, f->containers);
	if (f->leftover)
		printf("; %" PRIu64 " to be filled or removed by the next start", f->leftover);
	printf("\n");
	if (!f->errors) {
		printf("no errors\n");
		return;
	}
	printf("%" PRIu64 " error%s", f->errors, f->errors == 1 ? "" : "s");
	if (f->repaired)
		printf(", %" PRIu64 " repaired", f->repaired);
	if (f->lost)
		printf(", %" PRIu64 " beyond repair: other replicas have what is lost here",
		       f->lost);
	else if (f->errors > f->repaired)
		printf(", nothing is lost");
	printf("\n");
}

int vms_fsck_main(const char *prog, const char *dir, const struct vms_fsck_conf *conf, bool json)
{
	struct vms_errmsg msg = {""};
	struct vms_fsck f;
	int rc = vms_fsck_dir(dir, conf, &f, &msg), code = VMS_FSCK_FAILED;

	if (rc) {
		fprintf(stderr, "%s: %s\n", prog, msg.text[0] ? msg.text : vms_err_text(rc));
	} else {
		code = exit_code(&f);
		if (json)
			print_json(dir, &f, code);
		else
			print_words(dir, &f);
	}
	vms_fsck_free(&f);
	return code;
}
