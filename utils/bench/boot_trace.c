// SPDX-License-Identifier: GPL-2.0-only
/* The trace of a boot: doc/boot-trace.md; see boot.h. */
#include "utils/bench/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQ_BYTES_MAX (4u << 20)

extern char **environ;

/* A stream of the file's text; *child: the process that unpacks it, or 0. */
static FILE *trace_open(const char *file, pid_t *child)
{
	const char *const argv[] = {"gzip", "-dc", "--", file, NULL};
	posix_spawn_file_actions_t fa;
	unsigned char magic[2] = {0};
	FILE *f = fopen(file, "re");
	int fds[2], err;

	*child = 0;
	if (!f) {
		vms_bench_err("trace %s: %s", file, strerror(errno));
		return NULL;
	}
	if (fread(magic, 1, 2, f) != 2 || magic[0] != 0x1f || magic[1] != 0x8b) {
		rewind(f);
		return f;
	}
	fclose(f);
	if (pipe2(fds, O_CLOEXEC)) {
		vms_bench_err("trace %s: %s", file, strerror(errno));
		return NULL;
	}
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
	err = posix_spawnp(child, "gzip", &fa, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(fds[1]);
	f = err ? NULL : fdopen(fds[0], "r");
	if (!f) {
		close(fds[0]);
		*child = 0;
		vms_bench_err("trace %s: cannot run gzip: %s", file, strerror(err ? err : errno));
	}
	return f;
}

static bool line_parse(const char *text, struct vms_boot_req *r)
{
	uint64_t len = 0;
	int n;

	memset(r, 0, sizeof(*r));
	n = sscanf(text, "%" SCNu64 " %c %" SCNu64 " %" SCNu64, &r->time_us, &r->kind,
		   &r->offset_bytes, &len);
	if (n < 2 || !strchr("RWFD", r->kind))
		return false;
	if (r->kind == 'F') {
		r->offset_bytes = 0;
		return true;
	}
	r->len_bytes = (uint32_t)len;
	return n == 4 && len && len <= UINT32_MAX && r->offset_bytes % 512 == 0 && len % 512 == 0 &&
	       r->offset_bytes <= INT64_MAX && (r->kind == 'D' || len <= REQ_BYTES_MAX);
}

uint8_t *vms_boot_trace_image(const struct vms_boot_trace *t, uint64_t *nchunks)
{
	uint64_t n = (t->end_bytes + VMS_BENCH_CHUNK_BYTES - 1) / VMS_BENCH_CHUNK_BYTES;
	uint8_t *is = calloc(n + 1, 1);

	for (size_t i = 0; is && i < t->n; i++) {
		const struct vms_boot_req *r = &t->req[i];
		uint64_t from = r->offset_bytes, to = from + r->len_bytes;

		if (r->kind == 'F')
			continue;
		if (r->kind != 'R') {
			/* a part of a chunk that is written needs the rest of it */
			for (uint64_t c =
				     (from + VMS_BENCH_CHUNK_BYTES - 1) / VMS_BENCH_CHUNK_BYTES;
			     c < to / VMS_BENCH_CHUNK_BYTES; c++)
				is[c] |= VMS_BOOT_WRITTEN;
			continue;
		}
		for (uint64_t c = from / VMS_BENCH_CHUNK_BYTES;
		     c <= (to - 1) / VMS_BENCH_CHUNK_BYTES; c++)
			if (!is[c])
				is[c] = VMS_BOOT_IMAGE;
	}
	*nchunks = n;
	return is;
}

int vms_boot_trace_load(struct vms_boot_trace *t, const char *file, bool read_only)
{
	unsigned long line = 0;
	uint64_t nchunks = 0;
	uint8_t *image;
	size_t room = 0;
	int status = 0;
	char text[256];
	pid_t child;
	FILE *f;

	memset(t, 0, sizeof(*t));
	f = trace_open(file, &child);
	if (!f)
		return -1;
	while (fgets(text, sizeof(text), f)) {
		struct vms_boot_req r;

		line++;
		if (text[0] == '#' || text[0] == '\n')
			continue;
		if (!line_parse(text, &r)) {
			vms_bench_err(
				"trace %s: line %lu: want 'time_us R|W|F|D offset length' with "
				"multiples of 512, length up to 4 MiB: %s",
				file, line, text);
			goto fail;
		}
		if (read_only && r.kind != 'R')
			continue;
		if (t->n == room) {
			struct vms_boot_req *x;

			room = room ? room * 2 : 1024;
			x = realloc(t->req, room * sizeof(*x));
			if (!x) {
				vms_bench_err("out of memory");
				goto fail;
			}
			t->req = x;
		}
		if (r.offset_bytes + r.len_bytes > t->end_bytes)
			t->end_bytes = r.offset_bytes + r.len_bytes;
		t->read_bytes += r.kind == 'R' ? r.len_bytes : 0;
		t->req[t->n++] = r;
	}
	fclose(f);
	if (child && (waitpid(child, &status, 0) != child || status)) {
		vms_bench_err("trace %s: gzip could not unpack it", file);
		vms_boot_trace_free(t);
		return -1;
	}
	if (!t->n) {
		vms_bench_err("trace %s: no requests", file);
		return -1;
	}
	image = vms_boot_trace_image(t, &nchunks);
	if (!image) {
		vms_bench_err("out of memory");
		vms_boot_trace_free(t);
		return -1;
	}
	for (uint64_t c = 0; c < nchunks; c++)
		t->unique_read_bytes += image[c] & VMS_BOOT_IMAGE ? VMS_BENCH_CHUNK_BYTES : 0;
	free(image);
	return 0;
fail:
	fclose(f);
	if (child)
		(void)waitpid(child, &status, 0);
	vms_boot_trace_free(t);
	return -1;
}

void vms_boot_trace_free(struct vms_boot_trace *t)
{
	free(t->req);
	memset(t, 0, sizeof(*t));
}
