// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one flush of a disk costs: 4 KiB blocks of a file, written before, are overwritten one
 * after the other in a random order with O_DIRECT and O_DSYNC, so each call ends when the block
 * is durable and no block has to be found for it. `compare --flush` puts it into the rounds of
 * the LUNs: what a durable write costs is said in flushes of the same minute.
 */
#include "utils/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_BYTES (64u << 20)
#define FLUSH_STEP  (1u << 20)

/* The file as far as it is not there yet: blocks with data in them. */
static int fill(int fd, void *buf, uint64_t seed)
{
	struct vms_bench_gen gen = {.kind = VMS_BENCH_UNIQUE, .state = seed + 1};
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	for (off_t at = 0; st.st_size < (off_t)FLUSH_BYTES && at < (off_t)FLUSH_BYTES;
	     at += FLUSH_STEP) {
		vms_bench_fill(&gen, buf, FLUSH_STEP);
		if (pwrite(fd, buf, FLUSH_STEP, at) != (ssize_t)FLUSH_STEP)
			return -1;
	}
	return fsync(fd);
}

int vms_bench_flush_run(const char *path, double seconds, uint64_t seed, struct vms_bench_result *r)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT | O_DSYNC, 0600), rc = -1;
	struct vms_bench_gen gen = {.kind = VMS_BENCH_UNIQUE, .state = seed + 1};
	uint64_t from, now, until;
	void *buf = NULL;

	memset(r, 0, sizeof(*r));
	if (fd < 0 || posix_memalign(&buf, 4096, FLUSH_STEP) || fill(fd, buf, seed))
		goto out;
	from = now = vms_bench_now();
	for (until = from + (uint64_t)(seconds * 1e9); now < until;) {
		uint64_t block = vms_bench_rand(&seed) % (FLUSH_BYTES / VMS_BENCH_CHUNK_BYTES), end;

		vms_bench_fill(&gen, buf, VMS_BENCH_CHUNK_BYTES);
		now = vms_bench_now();
		if (pwrite(fd, buf, VMS_BENCH_CHUNK_BYTES,
			   (off_t)(block * VMS_BENCH_CHUNK_BYTES)) != VMS_BENCH_CHUNK_BYTES)
			goto out;
		end = vms_bench_now();
		vms_hist_add(&r->lat, end - now);
		now = end;
		r->ops++;
	}
	r->seconds = (double)(now - from) / 1e9;
	r->bytes = r->ops * VMS_BENCH_CHUNK_BYTES;
	r->iops = (double)r->ops / r->seconds;
	r->mb_s = (double)r->bytes / 1e6 / r->seconds;
	rc = 0;
out:
	if (rc)
		vms_bench_err("--flush: %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(buf);
	return rc;
}
