// SPDX-License-Identifier: GPL-2.0-only
/* Threads of the POSIX disk: requests by blocking calls, commits and syncs in their order, and
 * hashing. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend/disk_int_posix.h"
#include "backend/meta_lmdb.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"

#define HASHER_NICE 5

struct req *disk_req_get(struct vms_disk_posix *d, enum kind k, uint64_t token)
{
	struct req *r = d->pool;
	if (r)
		d->pool = r->next;
	else
		r = malloc(sizeof(*r));
	vms_assert(r);
	memset(r, 0, sizeof(*r));
	r->kind = k;
	r->token = token;
	r->fd = -1;
	d->inflight++;
	return r;
}
void disk_post_done(struct vms_disk_posix *d, struct req *r)
{
	uint64_t one = 1;
	pthread_mutex_lock(&d->done_lock);
	r->next = NULL;
	*d->done_tail = r;
	d->done_tail = &r->next;
	pthread_mutex_unlock(&d->done_lock);
	ssize_t n = write(d->efd, &one, sizeof(one));
	(void)n; /* the counter can only be full, which wakes as well */
}
void disk_queue_put(struct queue *q, struct req *r)
{
	pthread_mutex_lock(&q->lock);
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
	pthread_cond_signal(&q->some);
	pthread_mutex_unlock(&q->lock);
}
static struct req *queue_get(struct queue *q)
{
	struct req *r;
	pthread_mutex_lock(&q->lock);
	while (!q->head && !q->stop)
		pthread_cond_wait(&q->some, &q->lock);
	r = q->head;
	if (r) {
		q->head = r->next;
		if (!q->head)
			q->tail = &q->head;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

int disk_rw_rest(struct req *r, bool write_)
{
	struct iovec *v = r->iov;
	unsigned n = r->niov;
	uint64_t skip = r->done;
	while (n && skip >= v->iov_len) {
		skip -= v->iov_len;
		v++;
		n--;
	}
	if (n) {
		v->iov_base = (char *)v->iov_base + skip;
		v->iov_len -= skip;
	}
	while (n) {
		int flags = r->kind == K_LOG_WRITE && r->sync && !r->flush ? RWF_DSYNC : 0;
		ssize_t k = write_ ? pwritev2(r->fd, v, (int)n, (off_t)(r->off + r->done), flags)
				   : preadv(r->fd, v, (int)n, (off_t)(r->off + r->done));
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return disk_errno(errno);
		if (k == 0)
			return write_ ? VMS_E_IO : VMS_E_NOENT; /* beyond the end */
		r->done += (uint64_t)k;
		while (n && (size_t)k >= v->iov_len) {
			k -= (ssize_t)v->iov_len;
			v++;
			n--;
		}
		if (n) {
			v->iov_base = (char *)v->iov_base + k;
			v->iov_len -= (size_t)k;
		}
	}
	return 0;
}

/* Past the page cache: dirty pages are written out, clean ones dropped. What was not in
 * the cache before does not stay there. A file system that keeps its files in memory
 * has no other copy. */
static int read_cold(struct vms_disk_posix *d, struct req *r)
{
	struct iovec probe = {r->iov[0].iov_base, r->iov[0].iov_len};
	bool hot = preadv2(r->fd, &probe, 1, (off_t)r->off, RWF_NOWAIT) == (ssize_t)r->len;
	bool failed;
	int rc;
	/* Between the kernel's telling and our note a sync can only wait. */
	pthread_rwlock_rdlock(&d->wb_lock);
	failed = sync_file_range(r->fd, (off_t)r->off, (off_t)r->len,
				 SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					 SYNC_FILE_RANGE_WAIT_AFTER) &&
		 (errno == EIO || errno == ENOSPC || errno == EDQUOT);
	if (failed) /* Of any write to this file. The kernel tells it once per description:
		     * the sync that has to know would succeed. */
		d->wb_err = disk_errno(errno);
	pthread_rwlock_unlock(&d->wb_lock);
	if (failed)
		return VMS_E_IO;
	(void)posix_fadvise(r->fd, (off_t)r->off, (off_t)r->len, POSIX_FADV_DONTNEED);
	rc = disk_rw_rest(r, false);
	if (!hot)
		(void)posix_fadvise(r->fd, (off_t)r->off, (off_t)r->len, POSIX_FADV_DONTNEED);
	return rc;
}

static void run(struct vms_disk_posix *d, struct req *r)
{
	char path[32];
	switch (r->kind) {
	case K_LOG_WRITE:
		r->status = disk_rw_rest(r, true);
		if (!r->status && r->flush && fdatasync(r->fd))
			r->status = disk_errno(errno);
		break;
	case K_CTR_WRITE:
		r->status = disk_rw_rest(r, true);
		/* Begun, not waited for; errors are told by the sync. Left to it, some 100 MiB
		 * at once would have log writes wait behind them in the drive's queue. */
		if (!r->status && r->out)
			(void)sync_file_range(r->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		break;
	case K_CTR_READ:
		r->status = r->cold ? read_cold(d, r) : disk_rw_rest(r, false);
		break;
	case K_LOG_SYNC:
		r->status = fdatasync(r->fd) ? disk_errno(errno) : 0;
		break;
	case K_CTR_SYNC:
		r->status = d->wb_err;
		if (!r->status && r->syncfs && syncfs(d->dirfd))
			r->status = disk_errno(errno);
		for (unsigned i = 0; i < r->nfds; i++) {
			/* Even after syncfs: reports a write error of this very file. */
			if (!r->status && fdatasync(r->fds[i]))
				r->status = disk_errno(errno);
			close(r->fds[i]);
		}
		if (!r->syncfs)
			for (unsigned i = 0; i < r->niov && !r->status; i++)
				r->status = disk_fsync_dir(d->dirfd, r->iov[i].iov_base);
		/* Told while this one worked: by now noted. */
		pthread_rwlock_wrlock(&d->wb_lock);
		if (!r->status)
			r->status = d->wb_err;
		pthread_rwlock_unlock(&d->wb_lock);
		break;
	case K_COMMIT:
		r->status = vms_meta_lmdb_commit(d->meta, r->batch);
		break;
	case K_UNLINK:
		disk_ctr_path(r->ctr, path, sizeof(path));
		if (unlinkat(d->dirfd, path, 0) && errno != ENOENT)
			r->status = disk_errno(errno);
		break;
	case K_PUNCH:
		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->off,
			      (off_t)r->len) &&
		    errno != EOPNOTSUPP)
			r->status = disk_errno(errno);
		break;
	case K_DIGEST: /* hasher() does those */
		break;
	}
}
struct worker_arg {
	struct vms_disk_posix *d;
	struct queue *q;
};
static void *worker(void *arg)
{
	struct worker_arg a = *(struct worker_arg *)arg;
	struct req *r;
	free(arg);
	while ((r = queue_get(a.q))) {
		run(a.d, r);
		disk_post_done(a.d, r);
	}
	return NULL;
}

/* Hashing yields to everything else on the machine. The context is kept while the
 * salt stays the same. */
static void *hasher(void *arg)
{
	struct worker_arg a = *(struct worker_arg *)arg;
	uint8_t salt[VMS_FP_SALT_BYTES_MAX];
	uint32_t salt_bytes = 0;
	struct vms_fp *fp = NULL;
	struct req *r;

	free(arg);
	/* of this thread only; it may fail: then hashing competes like the rest */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + HASHER_NICE);
	while ((r = queue_get(a.q))) {
		const struct vms_digest *j = r->digest;

		if (!fp || salt_bytes != j->salt_bytes ||
		    (salt_bytes && memcmp(salt, j->salt, salt_bytes))) {
			vms_fp_close(fp);
			fp = vms_fp_open(j->salt, j->salt_bytes);
			salt_bytes = j->salt_bytes;
			if (salt_bytes)
				memcpy(salt, j->salt, salt_bytes);
		}
		for (uint32_t i = 0; i < j->n; i++) {
			vms_fp_chunk(fp, j->chunk[i], VMS_CHUNK_BYTES, j->out[i]);
			/* while it is hot */
			j->crc[i] = vms_crc32c(0, j->chunk[i], VMS_CHUNK_BYTES);
		}
		disk_post_done(a.d, r);
	}
	vms_fp_close(fp);
	return NULL;
}

int disk_threads_start(struct vms_disk_posix *d)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned hashers = cpus < 1 ? 1 : cpus > HASHERS_MAX ? HASHERS_MAX : (unsigned)cpus;

	for (unsigned i = 0; i < WORKERS + 1 + hashers; i++) {
		struct worker_arg *a = malloc(sizeof(*a));
		vms_assert(a);
		*a = (struct worker_arg){d, i < WORKERS	   ? &d->work
					    : i == WORKERS ? &d->commits
							   : &d->hashes};
		if (pthread_create(&d->thread[i], NULL, i > WORKERS ? hasher : worker, a)) {
			free(a);
			return VMS_E_NOMEM;
		}
		d->nthreads++;
	}
	return 0;
}
void disk_queue_init(struct queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->some, NULL);
	q->tail = &q->head;
}
