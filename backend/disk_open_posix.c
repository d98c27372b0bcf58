// SPDX-License-Identifier: GPL-2.0-only
/* A node's data folder: made, opened, closed (disk_posix.h). */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/disk_fault.h"
#include "backend/disk_int_posix.h"
#include "backend/disk_posix.h"
#include "backend/meta_lmdb.h"
#include "utils/lib/settings.h"

#define RING_ENTRIES 512u

static int make_dir(int dirfd, const char *name, const char *dir, struct vms_errmsg *msg)
{
	if (mkdirat(dirfd, name, 0700) && errno != EEXIST)
		return vms_fail(msg, disk_errno(errno), "cannot make folder %s/%s: %s", dir, name,
				strerror(errno));
	return 0;
}
static int log_create(int dirfd, const struct vms_disk_posix_conf *c, struct vms_errmsg *msg)
{
	enum { STEP = 1 << 20 };
	int fd = openat(dirfd, "log.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;
	void *zero = NULL;
	if (fd < 0)
		return vms_fail(msg, disk_errno(errno), "cannot make %s/log.new: %s", c->dir,
				strerror(errno));
	if (posix_memalign(&zero, 4096, STEP)) {
		close(fd);
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	}
	memset(zero, 0, STEP);
	errno = posix_fallocate(fd, 0, (off_t)c->log_bytes);
	if (errno)
		rc = vms_fail(
			msg, disk_errno(errno),
			"%s: no room for a log of %llu MiB: %s (smaller log_size, or free space)",
			c->dir, (unsigned long long)c->log_bytes >> 20, strerror(errno));
	/* Written once, so that later writes never change file system metadata. */
	for (uint64_t at = 0; !rc && at < c->log_bytes; at += STEP)
		if (pwrite(fd, zero, STEP, (off_t)at) != STEP)
			rc = vms_fail(msg, disk_errno(errno), "%s/log.new: %s", c->dir,
				      strerror(errno));
	if (!rc && fsync(fd))
		rc = vms_fail(msg, disk_errno(errno), "%s/log.new: fsync: %s", c->dir,
			      strerror(errno));
	free(zero);
	close(fd);
	return rc;
}

int vms_disk_posix_format(const struct vms_disk_posix_conf *c, struct vms_errmsg *msg)
{
	char name[16];
	int dirfd, rc = 0;
	if (c->log_bytes < (4u << 20) || c->log_bytes % (1u << 20))
		return vms_fail(msg, VMS_E_INVAL,
				"log_size must be a multiple of 1 MiB, at least 4 MiB");
	if (mkdir(c->dir, 0700) && errno != EEXIST)
		return vms_fail(msg, disk_errno(errno), "cannot make folder %s: %s", c->dir,
				strerror(errno));
	dirfd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return vms_fail(msg, disk_errno(errno), "%s: %s", c->dir, strerror(errno));
	if (!faccessat(dirfd, "log", F_OK, 0)) {
		close(dirfd);
		return vms_fail(msg, VMS_E_EXIST, "%s already holds a storage node", c->dir);
	}
	rc = make_dir(dirfd, "meta", c->dir, msg);
	if (!rc)
		rc = make_dir(dirfd, "c", c->dir, msg);
	for (unsigned i = 0; i < 256 && !rc; i++) {
		snprintf(name, sizeof(name), "c/%02x", i);
		rc = make_dir(dirfd, name, c->dir, msg);
	}
	if (!rc)
		rc = log_create(dirfd, c, msg);
	/* The name "log" comes last: a crash half-way leaves nothing that opens. */
	if (!rc && (renameat(dirfd, "log.new", dirfd, "log") || disk_fsync_dir(dirfd, "c") ||
		    fsync(dirfd)))
		rc = vms_fail(msg, VMS_E_IO, "%s: %s", c->dir, strerror(errno));
	close(dirfd);
	return rc;
}

int vms_disk_posix_open(struct vms_disk_posix **out, const struct vms_disk_posix_conf *c,
			struct vms_errmsg *msg)
{
	struct vms_disk_posix *d = calloc(1, sizeof(*d));
	pthread_rwlockattr_t sync_first;
	char path[4096];
	struct stat st;
	struct rlimit rl;
	int rc = 0;

	if (!d)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	d->dirfd = d->lockfd = d->logfd = d->efd = -1;
	d->done_tail = &d->done;
	pthread_mutex_init(&d->done_lock, NULL);
	/* Reads that follow one another never let a sync in otherwise. */
	pthread_rwlockattr_init(&sync_first);
	pthread_rwlockattr_setkind_np(&sync_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&d->wb_lock, &sync_first);
	pthread_rwlockattr_destroy(&sync_first);
	disk_queue_init(&d->work);
	disk_queue_init(&d->commits);
	disk_queue_init(&d->hashes);
	d->dir = strdup(c->dir);
	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	rc = vms_disk_faults_env(&d->faults, msg);
	if (rc)
		goto out;
	d->dirfd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dirfd < 0) {
		rc = vms_fail(msg, disk_errno(errno), "data folder %s: %s", c->dir,
			      strerror(errno));
		goto out;
	}
	if (faccessat(d->dirfd, "log", F_OK, 0)) {
		rc = vms_fail(msg, VMS_E_NOENT, "%s holds no storage node yet", c->dir);
		goto out;
	}
	d->lockfd = openat(d->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lockfd < 0) {
		rc = vms_fail(msg, disk_errno(errno), "%s/lock: %s", c->dir, strerror(errno));
		goto out;
	}
	if (flock(d->lockfd, LOCK_EX | LOCK_NB)) {
		rc = vms_fail(msg, VMS_E_BUSY, "%s is in use by another vmstored", c->dir);
		goto out;
	}
	d->logfd = openat(d->dirfd, "log", O_RDWR | O_DIRECT | O_CLOEXEC);
	d->direct = d->logfd >= 0;
	if (!d->direct)
		d->logfd = openat(d->dirfd, "log", O_RDWR | O_CLOEXEC);
	if (d->logfd < 0 || fstat(d->logfd, &st)) {
		rc = vms_fail(msg, disk_errno(errno), "%s/log: %s", c->dir, strerror(errno));
		goto out;
	}
	/* An earlier process may have left bytes in the page cache or in the drive's
	 * cache; log_read hands out nothing that is not durable. */
	if (fdatasync(d->logfd)) {
		rc = vms_fail(msg, disk_errno(errno), "%s/log: fdatasync: %s", c->dir,
			      strerror(errno));
		goto out;
	}
	d->log_bytes = (uint64_t)st.st_size;
	d->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (d->efd < 0) {
		rc = vms_fail(msg, VMS_E_IO, "eventfd: %s", strerror(errno));
		goto out;
	}
	snprintf(path, sizeof(path), "%s/meta", c->dir);
	rc = vms_meta_lmdb_open(&d->meta, path, c->index_bytes, msg);
	if (rc)
		goto out;
	if (c->engine != VMS_IO_THREADS) {
		rc = io_uring_queue_init(RING_ENTRIES, &d->ring, 0);
		if (!rc && io_uring_register_eventfd(&d->ring, d->efd)) {
			io_uring_queue_exit(&d->ring);
			rc = -EOPNOTSUPP;
		}
		d->uring = !rc;
		if (rc && c->engine == VMS_IO_URING) {
			rc = vms_fail(msg, VMS_E_CONFIG,
				      "io_engine = uring: the kernel refuses it: %s",
				      strerror(-rc));
			goto out;
		}
	}
	rc = disk_threads_start(d);
	if (rc) {
		vms_fail(msg, rc, "cannot start threads");
		goto out;
	}
	snprintf(d->text, sizeof(d->text), "%s, %s", d->uring ? "io_uring" : "worker threads",
		 d->direct ? "O_DIRECT log" : "buffered log (O_DIRECT refused)");
	*out = d;
	return 0;
out:
	vms_disk_posix_close(d);
	return rc;
}

void vms_disk_posix_close(struct vms_disk_posix *d)
{
	if (!d)
		return;
	vms_disk_posix_flush(d);
	while (d->inflight && d->nthreads) {
		struct timespec ts = {0, 1000000};
		if (!vms_disk_posix_reap(d, NULL, NULL))
			nanosleep(&ts, NULL);
	}
	struct queue *q[3] = {&d->work, &d->commits, &d->hashes};
	for (int i = 0; i < 3; i++) {
		pthread_mutex_lock(&q[i]->lock);
		q[i]->stop = true;
		pthread_cond_broadcast(&q[i]->some);
		pthread_mutex_unlock(&q[i]->lock);
	}
	for (unsigned i = 0; i < d->nthreads; i++)
		pthread_join(d->thread[i], NULL);
	if (d->uring)
		io_uring_queue_exit(&d->ring);
	while (d->lru_head)
		disk_file_close(d, d->lru_head);
	while (d->pool) {
		struct req *r = d->pool;
		d->pool = r->next;
		free(r);
	}
	vms_meta_lmdb_close(d->meta);
	int fds[] = {d->efd, d->logfd, d->lockfd, d->dirfd};
	for (unsigned i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(d->dir);
	free(d);
}
