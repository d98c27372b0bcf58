// SPDX-License-Identifier: GPL-2.0-only
/* Each case runs over io_uring (where the kernel has it) and over threads. */
#include "backend/disk_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/disk_fault.h"
#include "backend/meta.h"
#include "backend/wal.h"
#include "tests/unit/cunit.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"
#include "utils/lib/rng.h"
#include "utils/lib/settings.h"

#define LOG_BYTES (4u << 20)

static char dir[64];
static struct vms_disk_posix_conf conf;
static struct vms_disk_posix *d;
static struct vms_disk disk;
static struct vms_errmsg msg;
static int engine = VMS_IO_AUTO;
static uint8_t *buf, *buf2; /* 1 MiB, aligned */

/* The C library's, for who counts: containers that are sent to the disk before their sync. */
static atomic_uint sent;
static atomic_int waits_fail; /* with this, once: the kernel tells no descriptor twice */
static atomic_bool slow;      /* who is told comes back later */
static atomic_bool was_told, sync_over;
int sync_file_range(int fd, off64_t from, off64_t bytes, unsigned int flags)
{
	sent += flags == SYNC_FILE_RANGE_WRITE;
	if (flags & SYNC_FILE_RANGE_WAIT_AFTER && waits_fail) {
		int err = atomic_exchange(&waits_fail, 0);

		was_told = true;
		/* till the sync has ended, or waits for us */
		for (unsigned i = 0; slow && !sync_over && i < 300; i++)
			usleep(1000);
		errno = err;
		return -1;
	}
	return (int)syscall(SYS_sync_file_range, fd, from, bytes, flags);
}

static int rm_fn(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int reopen(void)
{
	int rc;

	vms_disk_posix_close(d);
	d = NULL;
	rc = vms_disk_posix_open(&d, &conf, &msg);
	if (!rc)
		disk = vms_disk_posix_disk(d);
	return rc;
}

static void setup_at(const char *base)
{
	snprintf(dir, sizeof(dir), "%s/vms-disk-XXXXXX", base);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	conf = (struct vms_disk_posix_conf){
		.dir = dir, .log_bytes = LOG_BYTES, .index_bytes = 16 << 20, .engine = engine};
	d = NULL;
	CU_ASSERT_EQUAL_FATAL(vms_disk_posix_format(&conf, &msg), 0);
	CU_ASSERT_EQUAL_FATAL(reopen(), 0);
}

static void setup(void)
{
	setup_at("/tmp");
}

static void teardown(void)
{
	vms_disk_posix_close(d);
	d = NULL;
	unsetenv("VMS_DISK_FAULT");
	nftw(dir, rm_fn, 16, FTW_DEPTH | FTW_PHYS);
}

static struct vms_disk_event last;
static unsigned nevents;
static int sync_status; /* of ctr_sync() */
static void on_event(void *arg, const struct vms_disk_event *ev)
{
	if (ev->token == 7) {
		sync_status = ev->status;
		sync_over = true;
	}
	last = *ev;
	nevents++;
}

/* Wait for n events; the status of the last one. */
static int wait_events(unsigned n)
{
	nevents = 0;
	vms_disk_posix_flush(d);
	while (nevents < n) {
		struct pollfd p = {vms_disk_posix_fd(d), POLLIN, 0};

		if (poll(&p, 1, 60000) != 1)
			return 1; /* nothing came: no status is 1 */
		vms_disk_posix_reap(d, on_event, NULL);
		vms_disk_posix_flush(d);
	}
	return last.status;
}

static int ctr_write(uint64_t ctr, uint64_t off, const void *p, size_t len)
{
	struct vms_iov iov = {p, len};

	disk.ops->ctr_write(disk.ctx, ctr, off, &iov, 1, 5);
	return wait_events(1);
}

static int ctr_read(uint64_t ctr, uint64_t off, void *p, size_t len)
{
	disk.ops->ctr_read(disk.ctx, ctr, off, p, len, 6);
	return wait_events(1);
}

static int ctr_sync(void)
{
	disk.ops->ctr_sync(disk.ctx, 7);
	return wait_events(1);
}

static void formatted_once_opened_once(void)
{
	struct vms_disk_posix *other = NULL;

	setup();
	CU_ASSERT_EQUAL(disk.ops->log_size_bytes(disk.ctx), LOG_BYTES);
	CU_ASSERT_EQUAL(vms_disk_posix_format(&conf, &msg), VMS_E_EXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, dir));
	CU_ASSERT_EQUAL(vms_disk_posix_open(&other, &conf, &msg), VMS_E_BUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(msg.text, "in use"));
	CU_ASSERT_EQUAL(reopen(), 0);
	teardown();
	CU_ASSERT_EQUAL(vms_disk_posix_open(&other, &conf, &msg), VMS_E_NOENT);
	conf.log_bytes = 12345;
	CU_ASSERT_EQUAL(vms_disk_posix_format(&conf, &msg), VMS_E_INVAL);
}

static void half_formatted_folder_is_not_opened(void)
{
	char a[96], b[96];

	setup();
	vms_disk_posix_close(d);
	d = NULL;
	snprintf(a, sizeof(a), "%s/log", dir);
	snprintf(b, sizeof(b), "%s/log.new", dir);
	CU_ASSERT_EQUAL(rename(a, b), 0);
	CU_ASSERT_EQUAL(reopen(), VMS_E_NOENT);
	CU_ASSERT_EQUAL(vms_disk_posix_format(&conf, &msg), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	teardown();
}

static void log_writes_come_back(void)
{
	setup();
	memset(buf, 7, 65536);
	disk.ops->log_write(disk.ctx, 8192, buf, 65536, true, 1);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	CU_ASSERT_EQUAL(last.token, 1);
	/* unsynced, then synced: the flush path; then a plain sync */
	memset(buf2, 8, 4096);
	disk.ops->log_write(disk.ctx, 81920, buf2, 4096, false, 2);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	disk.ops->log_write(disk.ctx, 86016, buf2, 4096, true, 3);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	disk.ops->log_write(disk.ctx, 90112, buf2, 4096, false, 4);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	disk.ops->log_sync(disk.ctx, 5);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	memset(buf2, 0, 131072);
	CU_ASSERT_EQUAL(disk.ops->log_read(disk.ctx, 0, buf2, 131072), 0);
	CU_ASSERT_EQUAL(buf2[8191], 0);
	CU_ASSERT_EQUAL(buf2[8192], 7);
	CU_ASSERT_EQUAL(buf2[8192 + 65535], 7);
	CU_ASSERT_EQUAL(buf2[81919], 0);
	CU_ASSERT_EQUAL(buf2[81920], 8);
	CU_ASSERT_EQUAL(buf2[94207], 8);
	CU_ASSERT_EQUAL(buf2[94208], 0);
	/* unaligned memory is served too, at start-up */
	CU_ASSERT_EQUAL(disk.ops->log_read(disk.ctx, 8192, buf + 8, 4096), 0);
	CU_ASSERT_EQUAL(buf[8], 7);
	teardown();
}

static uint64_t listed, listed_bytes, listed_sum;
static int list_fn(void *arg, uint64_t ctr, uint64_t size_bytes)
{
	listed++;
	listed_sum += ctr;
	listed_bytes += size_bytes;
	return 0;
}

static void container_life(void)
{
	uint64_t big = 0x1fffffffeull;
	struct vms_iov iov[6];

	setup();
	for (unsigned i = 0; i < 6; i++) {
		memset(buf + i * 4096, (int)i + 1, 4096);
		iov[i] = (struct vms_iov){buf + i * 4096, 4096};
	}
	CU_ASSERT_EQUAL(disk.ops->ctr_read_now(disk.ctx, big, 0, buf2, 4096), VMS_E_NOENT);
	CU_ASSERT_EQUAL(ctr_read(big, 0, buf2, 4096), VMS_E_NOENT);
	disk.ops->ctr_write(disk.ctx, big, 8192, iov, 6, 9);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	CU_ASSERT_EQUAL(ctr_write(3, 0, buf, 4096), 0);
	/* just written: in the page cache, so there without waiting */
	CU_ASSERT_EQUAL(disk.ops->ctr_read_now(disk.ctx, big, 8192 + 5 * 4096, buf2, 4096), 0);
	CU_ASSERT_EQUAL(buf2[0], 6);
	/* the gap reads as zeros, beyond the end is no such thing */
	CU_ASSERT_EQUAL(ctr_read(big, 0, buf2, 4096), 0);
	CU_ASSERT_EQUAL(buf2[0], 0);
	CU_ASSERT_EQUAL(ctr_read(big, 8192 + 6 * 4096, buf2, 4096), VMS_E_NOENT);
	CU_ASSERT_EQUAL(disk.ops->ctr_read_now(disk.ctx, big, 1 << 20, buf2, 4096), VMS_E_NOENT);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ctr_read(big, 8192, buf2, 6 * 4096), 0);
	CU_ASSERT_EQUAL(memcmp(buf, buf2, 6 * 4096), 0);
	listed = listed_bytes = listed_sum = 0;
	CU_ASSERT_EQUAL(disk.ops->ctr_list(disk.ctx, list_fn, NULL), 0);
	CU_ASSERT_EQUAL(listed, 2);
	CU_ASSERT_EQUAL(listed_sum, big + 3);
	CU_ASSERT_EQUAL(listed_bytes, 9 * 4096);
	disk.ops->ctr_punch(disk.ctx, big, 8192, 4096, 1);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	CU_ASSERT_EQUAL(ctr_read(big, 8192, buf2, 8192), 0);
	CU_ASSERT_EQUAL(buf2[0], 0);
	CU_ASSERT_EQUAL(buf2[4096], 2);
	for (int twice = 0; twice < 2; twice++) {
		disk.ops->ctr_unlink(disk.ctx, big, 1);
		CU_ASSERT_EQUAL(wait_events(1), 0);
	}
	CU_ASSERT_EQUAL(ctr_read(big, 8192, buf2, 4096), VMS_E_NOENT);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	teardown();
}

/* A read of the old file is under way when it is removed: what is written under its number
 * later is in a file that is still there after a restart. */
static void a_number_that_comes_again_is_another_file(void)
{
	setup();
	memset(buf, 1, 4096);
	CU_ASSERT_EQUAL(ctr_write(7, 0, buf, 4096), 0);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	disk.ops->ctr_read(disk.ctx, 7, 0, buf2, 4096, 1);
	disk.ops->ctr_unlink(disk.ctx, 7, 2);
	CU_ASSERT_EQUAL(wait_events(2), 0);
	CU_ASSERT_EQUAL(ctr_read(7, 0, buf2, 4096), VMS_E_NOENT);
	memset(buf, 2, 4096);
	CU_ASSERT_EQUAL(ctr_write(7, 0, buf, 4096), 0);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	memset(buf2, 0, 4096);
	CU_ASSERT_EQUAL(ctr_read(7, 0, buf2, 4096), 0);
	CU_ASSERT_EQUAL(memcmp(buf, buf2, 4096), 0);
	teardown();
}

/* A read past the cache waits for what is not written yet; that this failed is what the next
 * sync has to say, and the kernel does not tell it again. */
static void a_read_hides_no_write_that_failed(void)
{
	static const int error[] = {EIO, ENOSPC, EDQUOT};

	for (unsigned i = 0; i < 3; i++) {
		int told = i ? VMS_E_NOSPC : VMS_E_IO;

		setup();
		CU_ASSERT_EQUAL(ctr_write(1, 0, buf, 8192), 0);
		waits_fail = error[i];
		disk.ops->ctr_read_disk(disk.ctx, 1, 0, buf2, 4096, 6);
		CU_ASSERT_EQUAL(wait_events(1), VMS_E_IO);
		CU_ASSERT_EQUAL(waits_fail, 0);
		CU_ASSERT_EQUAL(ctr_sync(), told);
		CU_ASSERT_EQUAL(ctr_write(2, 0, buf, 4096), 0);
		CU_ASSERT_EQUAL(ctr_sync(), told);
		teardown();
	}
}

/* A sync that works while the read is told has to say it as well. */
static void a_sync_waits_for_who_is_told(void)
{
	setup();
	CU_ASSERT_EQUAL(ctr_write(1, 0, buf, 8192), 0);
	was_told = sync_over = false;
	slow = true;
	waits_fail = EIO;
	disk.ops->ctr_read_disk(disk.ctx, 1, 0, buf2, 4096, 6);
	vms_disk_posix_flush(d);
	for (unsigned i = 0; !was_told && i < 60000; i++)
		usleep(1000);
	disk.ops->ctr_sync(disk.ctx, 7);
	(void)wait_events(2);
	CU_ASSERT(sync_over && sync_status == VMS_E_IO);
	slow = false;
	teardown();
}

/* The sync of a checkpoint finds little to do: containers go to the disk as they grow, in
 * pieces that are worth it. */
static void containers_go_out_early(void)
{
	unsigned had;

	setup();
	had = sent;
	CU_ASSERT_EQUAL(ctr_write(1, 0, buf, 4096), 0);
	CU_ASSERT_EQUAL(ctr_write(1, 4096, buf, 240 << 10), 0);
	CU_ASSERT_EQUAL(sent, had);
	CU_ASSERT_EQUAL(ctr_write(2, 4096, buf, 100 << 10), 0);
	CU_ASSERT_EQUAL(sent, had);
	CU_ASSERT_EQUAL(ctr_write(1, 244 << 10, buf, 64 << 10), 0);
	CU_ASSERT_EQUAL(sent, had + 1);
	/* what is gone does not count again, nor what a sync has taken */
	CU_ASSERT_EQUAL(ctr_write(1, 308 << 10, buf, 100 << 10), 0);
	CU_ASSERT_EQUAL(ctr_write(2, 104 << 10, buf, 100 << 10), 0);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	CU_ASSERT_EQUAL(ctr_write(1, 408 << 10, buf, 200 << 10), 0);
	CU_ASSERT_EQUAL(ctr_write(2, 204 << 10, buf, 200 << 10), 0);
	CU_ASSERT_EQUAL(sent, had + 1);
	CU_ASSERT_EQUAL(ctr_write(2, 404 << 10, buf, 260 << 10), 0);
	CU_ASSERT_EQUAL(sent, had + 2);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	teardown();
}

/* More containers than descriptors are kept: each is still there, and a sync
 * covers also those whose descriptor was closed. */
static void more_containers_than_descriptors(void)
{
	unsigned wrong = 0;

	setup();
	for (uint64_t c = 1; c <= 2200; c++) {
		memset(buf, (int)c, 4096);
		memcpy(buf, &c, 8);
		wrong += ctr_write(c, 0, buf, 4096) != 0;
	}
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	for (uint64_t c = 1; c <= 2200; c += 7) {
		wrong += ctr_read(c, 0, buf2, 4096) != 0;
		wrong += memcmp(buf2, &c, 8) != 0;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	teardown();
}

static void commits_and_reads(void)
{
	struct vms_meta_batch b = {0};
	uint64_t total, freeb;
	uint32_t permille;
	char out[16];

	setup();
	vms_meta_batch_put(&b, "Ka", 2, "value", 5);
	disk.ops->meta_commit(disk.ctx, &b, 3);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	CU_ASSERT_EQUAL(vms_meta_get(&disk, "Ka", 2, out, 16), 5);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(vms_meta_get(&disk, "Ka", 2, out, 16), 5);
	CU_ASSERT_EQUAL(disk.ops->space(disk.ctx, &freeb, &total, &permille), 0);
	CU_ASSERT_TRUE(total > 0 && freeb <= total);
	CU_ASSERT_TRUE(permille < 100);
	vms_meta_batch_free(&b);
	teardown();
}

/* Everything at once, for the thread sanitizer and for lost completions. */
static void all_calls_at_once(void)
{
	struct vms_meta_batch b = {0};
	unsigned wrong = 0, n = 0;
	struct vms_rng rng;
	struct vms_iov iov = {buf, 65536};

	setup();
	vms_rng_init(&rng, 5);
	vms_rng_fill(&rng, buf, 65536);
	vms_meta_batch_put(&b, "Kz", 2, "value", 5);
	for (unsigned round = 0; round < 40; round++) {
		n = 0;
		disk.ops->log_write(disk.ctx, 8192 + 65536 * (round % 8), buf, 65536, round & 1,
				    n++);
		for (uint64_t c = 1; c < 20; c++, n++)
			disk.ops->ctr_write(disk.ctx, c, 65536 * round, &iov, 1, n);
		if (round)
			for (uint64_t c = 1; c < 20; c++, n++)
				disk.ops->ctr_read(disk.ctx, c, 65536 * (round - 1),
						   buf2 + 32768 * c, 32768, n);
		disk.ops->ctr_sync(disk.ctx, n++);
		disk.ops->meta_commit(disk.ctx, &b, n++);
		disk.ops->ctr_unlink(disk.ctx, 1000 + round, n++);
		for (unsigned i = 0; i < 50; i++) {
			char out[16];
			int rc = vms_meta_get(&disk, "Kz", 2, out, 16);

			wrong += rc != 5 && rc != VMS_E_NOENT;
		}
		wrong += wait_events(n) != 0 || nevents != n;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(ctr_read(7, 65536 * 39, buf2, 65536), 0);
	CU_ASSERT_EQUAL(memcmp(buf, buf2, 65536), 0);
	vms_meta_batch_free(&b);
	teardown();
}

static void close_waits_for_what_is_in_flight(void)
{
	struct vms_iov iov = {buf, 65536};

	setup();
	memset(buf, 9, 65536);
	for (uint64_t c = 1; c < 30; c++)
		disk.ops->ctr_write(disk.ctx, c, 0, &iov, 1, c);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(ctr_read(29, 0, buf2, 65536), 0);
	CU_ASSERT_EQUAL(buf2[65535], 9);
	teardown();
}

static void faults_hit_the_named_call(void)
{
	struct vms_meta_batch b = {0};

	setup();
	setenv("VMS_DISK_FAULT", "log_write:2:eio,ctr_sync:1:enospc,commit:1+:eio", 1);
	CU_ASSERT_EQUAL(reopen(), 0);
	for (int i = 1; i <= 3; i++) {
		disk.ops->log_write(disk.ctx, 8192, buf, 4096, true, 1);
		CU_ASSERT_EQUAL(wait_events(1), i == 2 ? VMS_E_IO : 0);
	}
	CU_ASSERT_EQUAL(ctr_write(1, 0, buf, 4096), 0);
	CU_ASSERT_EQUAL(ctr_sync(), VMS_E_NOSPC);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	vms_meta_batch_put(&b, "Ka", 2, "value", 5);
	for (int i = 0; i < 2; i++) {
		disk.ops->meta_commit(disk.ctx, &b, 3);
		CU_ASSERT_EQUAL(wait_events(1), VMS_E_IO);
	}
	vms_meta_batch_free(&b);
	setenv("VMS_DISK_FAULT", "log_wrote:2:eio", 1);
	CU_ASSERT_EQUAL(reopen(), VMS_E_CONFIG);
	setenv("VMS_DISK_FAULT", "log_write:x:eio", 1);
	CU_ASSERT_EQUAL(reopen(), VMS_E_CONFIG);
	setenv("VMS_DISK_FAULT", "log_write:1:flip", 1); /* for reads only */
	CU_ASSERT_EQUAL(reopen(), VMS_E_CONFIG);
	teardown();
}

static void list_put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void faults_from_a_file(void)
{
	struct vms_meta_batch b = {0};
	struct vms_disk_faults *f;
	char path[256], env[260];
	uint8_t val[5];

	setup();
	snprintf(path, sizeof(path), "%s/faults", dir);
	snprintf(env, sizeof(env), "@%s", path);
	setenv("VMS_DISK_FAULT", env, 1);
	CU_ASSERT_EQUAL(reopen(), 0); /* no file, no faults */
	f = vms_disk_posix_faults(d);
	memset(buf, 6, 8192);
	CU_ASSERT_EQUAL(ctr_write(1, 0, buf, 8192), 0);
	vms_meta_batch_put(&b, "Ka", 2, "value", 5);
	disk.ops->meta_commit(disk.ctx, &b, 3);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	vms_meta_batch_free(&b);
	list_put(path, "ctr_read:1:flip, index_read:1:flip,index_read:2+:eio\nctr_read:2:eio\n");
	CU_ASSERT_EQUAL(vms_disk_faults_reload(f, &msg), 0);
	CU_ASSERT_EQUAL(ctr_read(1, 4096, buf2, 4096), 0);
	CU_ASSERT_EQUAL(buf2[0], 7);
	CU_ASSERT_EQUAL(memcmp(buf2 + 1, buf + 1, 4095), 0);
	CU_ASSERT_EQUAL(disk.ops->ctr_read_now(disk.ctx, 1, 0, buf2, 4096), VMS_E_IO);
	CU_ASSERT_EQUAL(ctr_read(1, 0, buf2, 8192), 0);
	CU_ASSERT_EQUAL(memcmp(buf2, buf, 8192), 0);
	CU_ASSERT_EQUAL(vms_meta_get(&disk, "Ka", 2, val, 5), VMS_E_CORRUPT);
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(disk.ops->meta_get(disk.ctx, "Ka", 2, val, 5), VMS_E_IO);
	CU_ASSERT_EQUAL(f->hits, 5);
	/* a bad list changes nothing, an empty one ends it */
	list_put(path, "ctr_read:1");
	CU_ASSERT_EQUAL(vms_disk_faults_reload(f, &msg), VMS_E_CONFIG);
	CU_ASSERT_EQUAL(f->n, 4);
	list_put(path, "");
	CU_ASSERT_EQUAL(vms_disk_faults_reload(f, &msg), 0);
	CU_ASSERT_EQUAL(vms_meta_get(&disk, "Ka", 2, val, 5), 5);
	CU_ASSERT_EQUAL(memcmp(val, "value", 5), 0);
	teardown();
}

static void crash_fault_ends_the_process(void)
{
	int status = 0;

	setup();
	vms_disk_posix_close(d);
	d = NULL;
	setenv("VMS_DISK_FAULT", "ctr_write:1:crash", 1);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		if (reopen())
			_exit(1);
		ctr_write(1, 0, buf, 4096);
		_exit(2);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 77);
	unsetenv("VMS_DISK_FAULT");
	CU_ASSERT_EQUAL(reopen(), 0);
	teardown();
}

/* A folder without O_DIRECT (tmpfs of older kernels) still works, and says so. */
static void memory_file_system(void)
{
	if (access("/dev/shm", W_OK)) {
		printf("[no /dev/shm: skipped] ");
		CU_ASSERT_TRUE(true);
		return;
	}
	setup_at("/dev/shm");
	CU_ASSERT_PTR_NOT_NULL(strstr(vms_disk_posix_describe(d), "log"));
	memset(buf, 3, 4096);
	disk.ops->log_write(disk.ctx, 8192, buf, 4096, true, 1);
	CU_ASSERT_EQUAL(wait_events(1), 0);
	CU_ASSERT_EQUAL(ctr_write(1, 0, buf, 4096), 0);
	CU_ASSERT_EQUAL(ctr_sync(), 0);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL(disk.ops->log_read(disk.ctx, 8192, buf2, 4096), 0);
	CU_ASSERT_EQUAL(buf2[0], 3);
	teardown();
}

static unsigned nreplayed;
static int replay_fn(void *arg, const struct vms_rec *r, struct vms_rec_ref ref, uint64_t gen)
{
	nreplayed++;
	return 0;
}

static void log_over_the_real_disk(void)
{
	struct vms_wal_conf wc = {.node_id = 1};
	struct vms_wal_tail tail = {0};
	struct vms_rec r = {.type = VMS_REC_SWEEP, .payload_bytes = 4096};
	struct vms_iov iov = {buf, 4096};
	struct vms_wal *w;
	uint64_t n;

	setup();
	CU_ASSERT_EQUAL_FATAL(vms_wal_format(&disk, &wc), 0);
	CU_ASSERT_EQUAL_FATAL(vms_wal_open(&w, &disk, &wc, &tail, replay_fn, NULL, &msg), 0);
	for (n = 1; n <= 100; n++) {
		r.seq = n;
		CU_ASSERT_EQUAL(vms_wal_append(w, &r, &iov, 1, false, NULL), 0);
		vms_wal_submit(w, n % 3 == 0, 1000);
		CU_ASSERT_EQUAL(wait_events(1), 0);
		CU_ASSERT_TRUE(vms_wal_event(w, &last, 1000));
	}
	vms_wal_close(w);
	CU_ASSERT_EQUAL(reopen(), 0);
	CU_ASSERT_EQUAL_FATAL(vms_wal_open(&w, &disk, &wc, &tail, replay_fn, NULL, &msg), 0);
	CU_ASSERT_EQUAL(nreplayed, 100);
	nreplayed = 0;
	vms_wal_close(w);
	teardown();
}

/* SHA-256 of known content, with and without salt, several jobs at once. */
static void digests(void)
{
	static const uint8_t zero_sha[4] = {0xad, 0x7f, 0xac, 0xb2}; /* of 4096 zeros */
	static uint8_t out[8][64][32], plain[32], salted[32];
	static uint32_t crc[8][64];
	static const uint8_t salt[32] = "salt of a domain";
	const uint8_t *chunk[64];
	struct vms_digest j[8];
	struct vms_fp *fp;

	setup();
	for (unsigned i = 0; i < 64; i++)
		chunk[i] = buf + i * 4096;
	memset(buf, 0, 4096);
	memset(buf + 4096, 7, 63 * 4096);
	fp = vms_fp_open(NULL, 0);
	vms_fp_chunk(fp, buf + 4096, 4096, plain);
	vms_fp_close(fp);
	fp = vms_fp_open(salt, 32);
	vms_fp_chunk(fp, buf + 4096, 4096, salted);
	vms_fp_close(fp);
	for (unsigned i = 0; i < 8; i++) {
		j[i] = (struct vms_digest){
			i & 1 ? salt : NULL, i & 1 ? 32 : 0, i ? 64 : 63, chunk, out[i], crc[i]};
		disk.ops->digest(disk.ctx, &j[i], 40 + i);
	}
	CU_ASSERT_EQUAL(wait_events(8), 0);
	CU_ASSERT_EQUAL(memcmp(out[0][0], zero_sha, 4), 0);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 1; k < j[i].n; k++) {
			CU_ASSERT_EQUAL(memcmp(out[i][k], i & 1 ? salted : plain, 32), 0);
			CU_ASSERT_EQUAL(crc[i][k], vms_crc32c(0, buf + 4096, 4096));
		}
	CU_ASSERT_NOT_EQUAL(memcmp(plain, salted, 32), 0);
	teardown();
	/* a job that fails says so */
	setenv("VMS_DISK_FAULT", "digest:1:eio", 1);
	setup();
	disk.ops->digest(disk.ctx, &j[0], 40);
	CU_ASSERT_EQUAL(wait_events(1), VMS_E_IO);
	memset(buf, 1, 1 << 20);
	teardown();
}

#define CASES(X)                                                                                   \
	X(formatted_once_opened_once)                                                              \
	X(half_formatted_folder_is_not_opened)                                                     \
	X(log_writes_come_back)                                                                    \
	X(container_life)                                                                          \
	X(more_containers_than_descriptors)                                                        \
	X(commits_and_reads)                                                                       \
	X(a_number_that_comes_again_is_another_file)                                               \
	X(a_read_hides_no_write_that_failed)                                                       \
	X(a_sync_waits_for_who_is_told)                                                            \
	X(containers_go_out_early)                                                                 \
	X(all_calls_at_once)                                                                       \
	X(close_waits_for_what_is_in_flight)                                                       \
	X(faults_hit_the_named_call)                                                               \
	X(faults_from_a_file)                                                                      \
	X(crash_fault_ends_the_process)                                                            \
	X(digests)                                                                                 \
	X(memory_file_system)                                                                      \
	X(log_over_the_real_disk)

#define X(fn)                                                                                      \
	static void fn##_threads(void)                                                             \
	{                                                                                          \
		engine = VMS_IO_THREADS;                                                           \
		fn();                                                                              \
		engine = VMS_IO_AUTO;                                                              \
	}
CASES(X)
#undef X

static const struct vms_test tests[] = {
#define X(fn) VMS_TEST(fn), VMS_TEST(fn##_threads),
	CASES(X)
#undef X
};

int main(void)
{
	int rc;

	buf = aligned_alloc(4096, 1 << 20);
	buf2 = aligned_alloc(4096, 1 << 20);
	memset(buf, 1, 1 << 20);
	memset(buf2, 2, 1 << 20);
	rc = vms_test_main_("disk_posix", tests, sizeof(tests) / sizeof(tests[0]));
	free(buf);
	free(buf2);
	return rc;
}
