/* SPDX-License-Identifier: GPL-2.0-only */
/* See disk_posix.h. Keeps invariants 1 (order of sync and commit is the core's,
 * durability of each call is ours) and 28 (errors are told, never retried). */
#include "backend/disk_posix.h"

#include <dirent.h>
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
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uthash.h>

#include "backend/disk_fault.h"
#include "backend/meta_lmdb.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"
#include "utils/lib/settings.h"

#define WORKERS		     3u
#define HASHERS_MAX	     4u
#define HASHER_NICE	     5
#define RING_ENTRIES	     512u
#define FDS_MAX		     2048u
#define SYNC_FEW	     8u /* files: up to here fdatasync each, beyond one syncfs */
#define CTR_INLINE_BYTES_MAX (32u << 10)
#define CTR_OUT_BYTES	     (256u << 10) /* written to a container: on its way to the disk */

/* Those of the fault switch are its calls. */
enum kind {
	K_LOG_WRITE = VMS_DC_LOG_WRITE,
	K_LOG_SYNC = VMS_DC_LOG_SYNC,
	K_CTR_WRITE = VMS_DC_CTR_WRITE,
	K_CTR_READ = VMS_DC_CTR_READ,
	K_CTR_SYNC = VMS_DC_CTR_SYNC,
	K_COMMIT = VMS_DC_COMMIT,
	K_UNLINK = VMS_DC_UNLINK,
	K_PUNCH = VMS_DC_PUNCH,
	K_DIGEST = VMS_DC_DIGEST,
};

struct file { /* an open container */
	uint64_t ctr;
	int fd;
	unsigned refs;
	uint64_t kept;		  /* bytes written that nobody has sent to the disk yet */
	bool dirty, fresh;	  /* written / made since the last sync */
	struct file *prev, *next; /* LRU, head is newest */
	UT_hash_handle hh;
};

struct req {
	struct req *next;
	enum kind kind;
	uint64_t token;
	int status;
	int fd;
	struct file *file;
	uint64_t ctr, off, len, done;
	bool sync;
	bool flush; /* LOG_WRITE: the file's earlier writes have to be durable too */
	bool cold;  /* CTR_READ: from the disk, not from the page cache */
	bool out;   /* CTR_WRITE: what the container has goes to the disk from here on */
	bool flip;  /* CTR_READ: the fault switch changes what is read */
	struct iovec *iov;
	unsigned niov;
	struct iovec one[4];
	const struct vms_meta_batch *batch;
	const struct vms_digest *digest;
	int *fds; /* CTR_SYNC: dup'ed descriptors */
	unsigned nfds;
	bool syncfs;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct req *head, **tail;
	bool stop;
};

struct vms_disk_posix {
	char *dir;
	int dirfd, lockfd, logfd, efd;
	bool direct, uring;
	bool log_unsynced; /* a log_write without sync since the last log_sync */
	uint64_t log_bytes;
	char text[64];
	struct vms_meta_lmdb *meta;
	struct io_uring ring;
	unsigned to_submit;
	struct file *files, *lru_head, *lru_tail;
	unsigned nfiles;
	unsigned ndirty;
	bool lost_dirty; /* a dirty descriptor was closed: only syncfs will do */
	uint64_t inflight;
	struct req *pool;
	struct queue work, commits, hashes;
	pthread_t thread[WORKERS + 1 + HASHERS_MAX];
	unsigned nthreads;
	pthread_mutex_t done_lock;
	struct req *done, **done_tail;
	struct vms_disk_faults faults;
};

static int map_errno(int e)
{
	switch (e) {
	case 0:
		return 0;
	case ENOSPC:
	case EDQUOT:
		return VMS_E_NOSPC;
	case ENOENT:
		return VMS_E_NOENT;
	case ENOMEM:
		return VMS_E_NOMEM;
	case EAGAIN:
		return VMS_E_AGAIN;
	default:
		return VMS_E_IO;
	}
}

/* ---- requests and workers ---- */
static struct req *req_get(struct vms_disk_posix *d, enum kind k, uint64_t token)
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
static void post_done(struct vms_disk_posix *d, struct req *r)
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
static void queue_put(struct queue *q, struct req *r)
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

/* The rest of a request by blocking calls; iov is advanced. */
static int rw_rest(struct req *r, bool write_)
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
			return map_errno(errno);
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

static void ctr_path(uint64_t ctr, char *out, size_t room)
{
	snprintf(out, room, "c/%02x/%09llx", (unsigned)(ctr & 0xff), (unsigned long long)ctr);
}
static void ctr_dir(uint64_t ctr, char *out, size_t room)
{
	snprintf(out, room, "c/%02x", (unsigned)(ctr & 0xff));
}
static int fsync_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	if (fd < 0)
		return map_errno(errno);
	if (fsync(fd))
		rc = map_errno(errno);
	close(fd);
	return rc;
}

/* Past the page cache: dirty pages are written out, clean ones dropped. What was not in
 * the cache before does not stay there. A file system that keeps its files in memory
 * has no other copy. */
static int read_cold(struct req *r)
{
	struct iovec probe = {r->iov[0].iov_base, r->iov[0].iov_len};
	bool hot = preadv2(r->fd, &probe, 1, (off_t)r->off, RWF_NOWAIT) == (ssize_t)r->len;
	int rc;
	if (sync_file_range(r->fd, (off_t)r->off, (off_t)r->len,
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) &&
	    errno == EIO)
		return VMS_E_IO;
	(void)posix_fadvise(r->fd, (off_t)r->off, (off_t)r->len, POSIX_FADV_DONTNEED);
	rc = rw_rest(r, false);
	if (!hot)
		(void)posix_fadvise(r->fd, (off_t)r->off, (off_t)r->len, POSIX_FADV_DONTNEED);
	return rc;
}

static void run(struct vms_disk_posix *d, struct req *r)
{
	char path[32];
	switch (r->kind) {
	case K_LOG_WRITE:
		r->status = rw_rest(r, true);
		if (!r->status && r->flush && fdatasync(r->fd))
			r->status = map_errno(errno);
		break;
	case K_CTR_WRITE:
		r->status = rw_rest(r, true);
		/* Begun, not waited for; errors are told by the sync. Left to it, some 100 MiB
		 * at once would have log writes wait behind them in the drive's queue. */
		if (!r->status && r->out)
			(void)sync_file_range(r->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		break;
	case K_CTR_READ:
		r->status = r->cold ? read_cold(r) : rw_rest(r, false);
		break;
	case K_LOG_SYNC:
		r->status = fdatasync(r->fd) ? map_errno(errno) : 0;
		break;
	case K_CTR_SYNC:
		if (r->syncfs && syncfs(d->dirfd))
			r->status = map_errno(errno);
		for (unsigned i = 0; i < r->nfds; i++) {
			/* Even after syncfs: reports a write error of this very file. */
			if (!r->status && fdatasync(r->fds[i]))
				r->status = map_errno(errno);
			close(r->fds[i]);
		}
		if (!r->syncfs)
			for (unsigned i = 0; i < r->niov && !r->status; i++)
				r->status = fsync_dir(d->dirfd, r->iov[i].iov_base);
		break;
	case K_COMMIT:
		r->status = vms_meta_lmdb_commit(d->meta, r->batch);
		break;
	case K_UNLINK:
		ctr_path(r->ctr, path, sizeof(path));
		if (unlinkat(d->dirfd, path, 0) && errno != ENOENT)
			r->status = map_errno(errno);
		break;
	case K_PUNCH:
		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->off,
			      (off_t)r->len) &&
		    errno != EOPNOTSUPP)
			r->status = map_errno(errno);
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
		post_done(a.d, r);
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
		post_done(a.d, r);
	}
	vms_fp_close(fp);
	return NULL;
}

/* ---- open containers ---- */
static void lru_out(struct vms_disk_posix *d, struct file *f)
{
	if (f->prev)
		f->prev->next = f->next;
	else
		d->lru_head = f->next;
	if (f->next)
		f->next->prev = f->prev;
	else
		d->lru_tail = f->prev;
	f->prev = f->next = NULL;
}
static void lru_in(struct vms_disk_posix *d, struct file *f)
{
	f->next = d->lru_head;
	if (d->lru_head)
		d->lru_head->prev = f;
	else
		d->lru_tail = f;
	d->lru_head = f;
}
static void file_close(struct vms_disk_posix *d, struct file *f)
{
	vms_assert(f->refs == 0);
	if (f->dirty || f->fresh) {
		d->lost_dirty = true;
		d->ndirty--;
	}
	lru_out(d, f);
	HASH_DEL(d->files, f);
	close(f->fd);
	free(f);
	d->nfiles--;
}
/* Takes a reference. */
static int file_get(struct vms_disk_posix *d, uint64_t ctr, bool make, struct file **out)
{
	struct file *f;
	char path[32];
	HASH_FIND(hh, d->files, &ctr, sizeof(ctr), f);
	if (!f) {
		bool fresh = false;
		ctr_path(ctr, path, sizeof(path));
		int fd = openat(d->dirfd, path, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT && make) {
			fd = openat(d->dirfd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			fresh = true;
		}
		if (fd < 0)
			return map_errno(errno);
		for (struct file *o = d->lru_tail; o && d->nfiles >= FDS_MAX;) {
			struct file *p = o->prev;
			if (!o->refs)
				file_close(d, o);
			o = p;
		}
		f = calloc(1, sizeof(*f));
		vms_assert(f);
		f->ctr = ctr;
		f->fd = fd;
		f->fresh = fresh;
		if (fresh)
			d->ndirty++;
		HASH_ADD(hh, d->files, ctr, sizeof(ctr), f);
		d->nfiles++;
	} else {
		lru_out(d, f);
	}
	lru_in(d, f);
	f->refs++;
	*out = f;
	return 0;
}

/* ---- the seam ---- */
static uint64_t log_size_bytes(void *ctx)
{
	return ((struct vms_disk_posix *)ctx)->log_bytes;
}
static int log_read(void *ctx, uint64_t off, void *buf, size_t len)
{
	struct vms_disk_posix *d = ctx;
	struct req r = {.kind = K_CTR_READ, .fd = d->logfd, .off = off, .niov = 1};
	void *aligned = buf;
	int rc;
	if ((uintptr_t)buf % 4096 && posix_memalign(&aligned, 4096, len))
		return VMS_E_NOMEM;
	r.one[0] = (struct iovec){aligned, len};
	r.iov = r.one;
	rc = vms_disk_faults_hit(&d->faults, VMS_DC_LOG_READ);
	bool flip = rc == VMS_FAULT_FLIP;
	if (!rc || flip)
		rc = rw_rest(&r, false);
	if (flip)
		*(uint8_t *)aligned ^= 1;
	if (aligned != buf) {
		if (!rc)
			memcpy(buf, aligned, len);
		free(aligned);
	}
	return rc;
}

static int log_write_now(void *ctx, uint64_t off, const void *buf, size_t len)
{
	struct vms_disk_posix *d = ctx;
	struct req r = {.kind = K_LOG_WRITE, .fd = d->logfd, .off = off, .sync = true, .niov = 1};
	r.one[0] = (struct iovec){(void *)buf, len};
	r.iov = r.one;
	return rw_rest(&r, true);
}

static struct io_uring_sqe *sqe(struct vms_disk_posix *d, struct req *r)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&d->ring);
	if (!s) {
		vms_disk_posix_flush(d);
		s = io_uring_get_sqe(&d->ring);
	}
	if (s) {
		d->to_submit++;
		(void)r;
	}
	return s;
}
static void start(struct vms_disk_posix *d, struct req *r)
{
	struct io_uring_sqe *s;
	int hit = vms_disk_faults_hit(&d->faults, (enum vms_disk_call)r->kind);

	r->flip = hit == VMS_FAULT_FLIP;
	if (hit && !r->flip) {
		r->status = hit;
		if (r->kind == K_CTR_SYNC)
			for (unsigned i = 0; i < r->nfds; i++)
				close(r->fds[i]);
		post_done(d, r);
		return;
	}
	/* Syncs one after the other: what an earlier one has in hand is not marked dirty
	 * any more, but a later one must not end before it is durable. */
	if (r->kind == K_COMMIT || r->kind == K_CTR_SYNC || r->kind == K_DIGEST) {
		queue_put(r->kind == K_DIGEST ? &d->hashes : &d->commits, r);
		return;
	}
	/* A buffered write is copied by whoever submits it: large ones would hold up
	 * the node thread for some 50 us per 256 KiB. */
	if (!d->uring || r->flush || (r->kind == K_CTR_WRITE && r->len > CTR_INLINE_BYTES_MAX) ||
	    r->cold || r->kind == K_UNLINK || r->kind == K_PUNCH || !(s = sqe(d, r))) {
		queue_put(&d->work, r);
		return;
	}
	switch (r->kind) {
	case K_LOG_WRITE:
		io_uring_prep_writev2(s, r->fd, r->iov, r->niov, r->off, r->sync ? RWF_DSYNC : 0);
		break;
	case K_CTR_WRITE:
		io_uring_prep_writev(s, r->fd, r->iov, r->niov, r->off);
		break;
	case K_CTR_READ:
		io_uring_prep_readv(s, r->fd, r->iov, r->niov, r->off);
		break;
	default:
		io_uring_prep_fsync(s, r->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(s, r);
}

static void log_write(void *ctx, uint64_t off, const void *buf, size_t len, bool sync,
		      uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_LOG_WRITE, token);
	vms_assert(off % 4096 == 0 && len % 4096 == 0 && (uintptr_t)buf % 4096 == 0 &&
		   off + len <= d->log_bytes);
	r->fd = d->logfd;
	r->off = off;
	r->len = len;
	r->sync = sync;
	/* RWF_DSYNC covers its own range only, as a forced-unit-access write does in
	 * the drive: earlier unsynced writes need a real flush behind this one. */
	r->flush = sync && d->log_unsynced;
	d->log_unsynced = !sync;
	r->one[0] = (struct iovec){(void *)buf, len};
	r->iov = r->one;
	r->niov = 1;
	start(d, r);
}
static void log_sync(void *ctx, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_LOG_SYNC, token);
	r->fd = d->logfd;
	d->log_unsynced = false;
	start(d, r);
}
static void ctr_write(void *ctx, uint64_t ctr, uint64_t off, const struct vms_iov *iov,
		      unsigned niov, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_CTR_WRITE, token);
	int rc = file_get(d, ctr, true, &r->file);
	if (rc) {
		r->status = rc;
		post_done(d, r);
		return;
	}
	r->fd = r->file->fd;
	r->off = off;
	r->iov = niov <= 4 ? r->one : malloc(niov * sizeof(*r->iov));
	vms_assert(r->iov);
	for (unsigned i = 0; i < niov; i++) {
		r->iov[i] = (struct iovec){(void *)iov[i].base, iov[i].len};
		r->len += iov[i].len;
	}
	r->niov = niov;
	if (!r->file->dirty && !r->file->fresh)
		d->ndirty++;
	r->file->dirty = true;
	r->file->kept += r->len;
	/* not for each small segment: what lies side by side goes in one piece */
	r->out = r->file->kept >= CTR_OUT_BYTES && r->len > CTR_INLINE_BYTES_MAX;
	if (r->out)
		r->file->kept = 0;
	start(d, r);
}
static void read_start(struct vms_disk_posix *d, uint64_t ctr, uint64_t off, void *buf, size_t len,
		       bool cold, uint64_t token)
{
	struct req *r = req_get(d, K_CTR_READ, token);
	int rc = file_get(d, ctr, false, &r->file);
	if (rc) {
		r->status = rc;
		post_done(d, r);
		return;
	}
	r->fd = r->file->fd;
	r->off = off;
	r->len = len;
	r->cold = cold;
	r->one[0] = (struct iovec){buf, len};
	r->iov = r->one;
	r->niov = 1;
	start(d, r);
}
static void ctr_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len, uint64_t token)
{
	read_start(ctx, ctr, off, buf, len, false, token);
}
static void ctr_read_disk(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len,
			  uint64_t token)
{
	read_start(ctx, ctr, off, buf, len, true, token);
}
static int ctr_read_now(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct vms_disk_posix *d = ctx;
	struct file *f;
	struct iovec v = {buf, len};
	ssize_t k;
	int hit = vms_disk_faults_hit(&d->faults, VMS_DC_CTR_READ), rc;
	if (hit && hit != VMS_FAULT_FLIP)
		return hit;
	rc = file_get(d, ctr, false, &f);
	if (rc)
		return rc;
	do
		k = preadv2(f->fd, &v, 1, (off_t)off, RWF_NOWAIT);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		rc = errno == EOPNOTSUPP ? VMS_E_AGAIN : map_errno(errno);
	f->refs--;
	if (rc)
		return rc;
	if (k == 0)
		return VMS_E_NOENT;
	if ((size_t)k != len)
		return VMS_E_AGAIN;
	if (hit)
		*(uint8_t *)buf ^= 1;
	return 0;
}
static void ctr_sync(void *ctx, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_CTR_SYNC, token);
	unsigned n = d->ndirty;
	struct file *f, *ft;
	r->syncfs = d->lost_dirty || n > SYNC_FEW;
	r->fds = calloc(n + 1, sizeof(*r->fds));
	r->iov = calloc(n + 1, sizeof(*r->iov));
	vms_assert(r->fds && r->iov);
	if (n)
		HASH_ITER (hh, d->files, f, ft) {
			if (!f->dirty && !f->fresh)
				continue;
			int fd = dup(f->fd);
			if (fd < 0) {
				r->syncfs = true;
			} else {
				r->fds[r->nfds++] = fd;
			}
			if (f->fresh) {
				char name[16];
				ctr_dir(f->ctr, name, sizeof(name));
				r->iov[r->niov++].iov_base = strdup(name);
			}
			f->dirty = f->fresh = false;
			f->kept = 0;
		}
	d->ndirty = 0;
	d->lost_dirty = false;
	start(d, r);
}
static void ctr_unlink(void *ctx, uint64_t ctr, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_UNLINK, token);
	struct file *f;
	HASH_FIND(hh, d->files, &ctr, sizeof(ctr), f);
	if (f && !f->refs)
		file_close(d, f);
	r->ctr = ctr;
	start(d, r);
}
static void ctr_punch(void *ctx, uint64_t ctr, uint64_t off, uint64_t len, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_PUNCH, token);
	int rc = file_get(d, ctr, false, &r->file);
	if (rc) {
		r->status = rc == VMS_E_NOENT ? 0 : rc;
		post_done(d, r);
		return;
	}
	r->fd = r->file->fd;
	r->off = off;
	r->len = len;
	start(d, r);
}
static int ctr_list(void *ctx, vms_ctr_list_fn fn, void *arg)
{
	struct vms_disk_posix *d = ctx;
	int rc = 0;
	for (unsigned i = 0; i < 256 && !rc; i++) {
		char name[16];
		struct dirent *e;
		snprintf(name, sizeof(name), "c/%02x", i);
		int fd = openat(d->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *dp = fd < 0 ? NULL : fdopendir(fd);
		if (!dp)
			return map_errno(errno);
		while (!rc && (e = readdir(dp))) {
			unsigned long long ctr;
			struct stat st;
			char junk;
			if (sscanf(e->d_name, "%9llx%c", &ctr, &junk) != 1 ||
			    fstatat(dirfd(dp), e->d_name, &st, 0))
				continue;
			rc = fn(arg, ctr, (uint64_t)st.st_size);
		}
		closedir(dp);
	}
	return rc;
}
/* The fault switch over a value that was read; rc: its length or an error. */
static int meta_faults(struct vms_disk_posix *d, void *val, int rc)
{
	int hit = vms_disk_faults_hit(&d->faults, VMS_DC_INDEX_READ);
	if (!hit || rc < 0)
		return rc;
	if (hit != VMS_FAULT_FLIP)
		return hit;
	if (rc)
		*(uint8_t *)val ^= 1;
	return rc;
}
static int meta_get(void *ctx, const void *key, uint32_t kb, void *val, uint32_t room)
{
	struct vms_disk_posix *d = ctx;
	return meta_faults(d, val, vms_meta_lmdb_get(d->meta, key, kb, val, room));
}
static int meta_last_le(void *ctx, const void *key, uint32_t kb, void *fk, uint32_t *fkb, void *val,
			uint32_t room)
{
	struct vms_disk_posix *d = ctx;
	return meta_faults(d, val, vms_meta_lmdb_last_le(d->meta, key, kb, fk, fkb, val, room));
}
struct range_arg {
	struct vms_disk_posix *d;
	vms_meta_iter_fn fn;
	void *arg;
};
static int range_faults(void *arg, const uint8_t *key, uint32_t kb, const uint8_t *val, uint32_t vb)
{
	struct range_arg *a = arg;
	int hit = vms_disk_faults_hit(&a->d->faults, VMS_DC_INDEX_READ), rc;
	uint8_t *copy;
	if (!hit || (hit == VMS_FAULT_FLIP && !vb))
		return a->fn(a->arg, key, kb, val, vb);
	if (hit != VMS_FAULT_FLIP)
		return hit;
	copy = malloc(vb);
	vms_assert(copy);
	memcpy(copy, val, vb);
	copy[0] ^= 1;
	rc = a->fn(a->arg, key, kb, copy, vb);
	free(copy);
	return rc;
}
static int meta_range(void *ctx, const void *from, uint32_t fb, const void *to, uint32_t tb,
		      vms_meta_iter_fn fn, void *arg)
{
	struct vms_disk_posix *d = ctx;
	struct range_arg a = {d, fn, arg};
	return vms_meta_lmdb_range(d->meta, from, fb, to, tb, range_faults, &a);
}
static void meta_commit(void *ctx, const struct vms_meta_batch *batch, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_COMMIT, token);
	r->batch = batch;
	start(d, r);
}
static int space(void *ctx, uint64_t *free_bytes, uint64_t *total_bytes, uint32_t *permille)
{
	struct vms_disk_posix *d = ctx;
	struct statvfs v;
	if (fstatvfs(d->dirfd, &v))
		return map_errno(errno);
	*free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	/* as df(1) counts: blocks kept back for root are neither free nor used */
	*total_bytes = (uint64_t)(v.f_blocks - v.f_bfree + v.f_bavail) * v.f_frsize;
	*permille = vms_meta_lmdb_used_permille(d->meta);
	return 0;
}

static void digest(void *ctx, const struct vms_digest *job, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = req_get(d, K_DIGEST, token);
	vms_assert(job->salt_bytes <= VMS_FP_SALT_BYTES_MAX);
	r->digest = job;
	start(d, r);
}

static const struct vms_disk_ops disk_ops = {
	.struct_bytes = sizeof(disk_ops),
	.log_size_bytes = log_size_bytes,
	.log_read = log_read,
	.log_write = log_write,
	.log_sync = log_sync,
	.ctr_write = ctr_write,
	.ctr_read = ctr_read,
	.ctr_read_now = ctr_read_now,
	.ctr_sync = ctr_sync,
	.ctr_unlink = ctr_unlink,
	.ctr_punch = ctr_punch,
	.ctr_list = ctr_list,
	.meta_get = meta_get,
	.meta_last_le = meta_last_le,
	.meta_range = meta_range,
	.meta_commit = meta_commit,
	.space = space,
	.log_write_now = log_write_now,
	.digest = digest,
	.ctr_read_disk = ctr_read_disk,
};

static void req_end(struct vms_disk_posix *d, struct req *r,
		    void (*fn)(void *arg, const struct vms_disk_event *ev), void *arg)
{
	struct vms_disk_event ev = {r->token, r->status};
	if (r->flip && !r->status)
		*(uint8_t *)r->iov[0].iov_base ^= 1;
	if (r->file) {
		/* A sync that began while this write ran did not cover it. */
		if (r->kind == K_CTR_WRITE && !r->file->dirty) {
			if (!r->file->fresh)
				d->ndirty++;
			r->file->dirty = true;
		}
		r->file->refs--;
	}
	if (r->kind == K_CTR_SYNC) {
		for (unsigned i = 0; i < r->niov; i++)
			free(r->iov[i].iov_base);
		free(r->fds);
	}
	if (r->iov != r->one)
		free(r->iov);
	r->next = d->pool;
	d->pool = r;
	d->inflight--;
	if (fn)
		fn(arg, &ev);
}

int vms_disk_posix_reap(struct vms_disk_posix *d,
			void (*fn)(void *arg, const struct vms_disk_event *ev), void *arg)
{
	uint64_t junk;
	struct req *r;
	int n = 0;
	ssize_t k = read(d->efd, &junk, sizeof(junk));
	(void)k;
	for (;;) {
		struct io_uring_cqe *c = NULL;
		if (!d->uring || io_uring_peek_cqe(&d->ring, &c) || !c)
			break;
		r = io_uring_cqe_get_data(c);
		int res = c->res;
		io_uring_cqe_seen(&d->ring, c);
		if (res == -EAGAIN || res == -EINTR ||
		    (res >= 0 && r->kind != K_LOG_SYNC && (uint64_t)res < r->len)) {
			/* Short or interrupted: a worker does the rest. */
			r->done = res > 0 ? (uint64_t)res : 0;
			queue_put(&d->work, r);
			continue;
		}
		r->status = res < 0 ? map_errno(-res) : 0;
		req_end(d, r, fn, arg);
		n++;
	}
	for (;;) {
		pthread_mutex_lock(&d->done_lock);
		r = d->done;
		if (r) {
			d->done = r->next;
			if (!d->done)
				d->done_tail = &d->done;
		}
		pthread_mutex_unlock(&d->done_lock);
		if (!r)
			break;
		req_end(d, r, fn, arg);
		n++;
	}
	return n;
}

void vms_disk_posix_flush(struct vms_disk_posix *d)
{
	if (d->uring && d->to_submit) {
		/* what the kernel refuses now (EAGAIN, EBUSY) stays queued */
		int n = io_uring_submit(&d->ring);
		if (n > 0)
			d->to_submit -= (unsigned)n < d->to_submit ? (unsigned)n : d->to_submit;
	}
}
int vms_disk_posix_fd(const struct vms_disk_posix *d)
{
	return d->efd;
}
struct vms_disk_faults *vms_disk_posix_faults(struct vms_disk_posix *d)
{
	return &d->faults;
}
const char *vms_disk_posix_describe(const struct vms_disk_posix *d)
{
	return d->text;
}
struct vms_disk vms_disk_posix_disk(struct vms_disk_posix *d)
{
	return (struct vms_disk){&disk_ops, d};
}

/* ---- format, open, close ---- */
static int make_dir(int dirfd, const char *name, const char *dir, struct vms_errmsg *msg)
{
	if (mkdirat(dirfd, name, 0700) && errno != EEXIST)
		return vms_fail(msg, map_errno(errno), "cannot make folder %s/%s: %s", dir, name,
				strerror(errno));
	return 0;
}
static int log_create(int dirfd, const struct vms_disk_posix_conf *c, struct vms_errmsg *msg)
{
	enum { STEP = 1 << 20 };
	int fd = openat(dirfd, "log.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;
	void *zero = NULL;
	if (fd < 0)
		return vms_fail(msg, map_errno(errno), "cannot make %s/log.new: %s", c->dir,
				strerror(errno));
	if (posix_memalign(&zero, 4096, STEP)) {
		close(fd);
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	}
	memset(zero, 0, STEP);
	errno = posix_fallocate(fd, 0, (off_t)c->log_bytes);
	if (errno)
		rc = vms_fail(
			msg, map_errno(errno),
			"%s: no room for a log of %llu MiB: %s (smaller log_size, or free space)",
			c->dir, (unsigned long long)c->log_bytes >> 20, strerror(errno));
	/* Written once, so that later writes never change file system metadata. */
	for (uint64_t at = 0; !rc && at < c->log_bytes; at += STEP)
		if (pwrite(fd, zero, STEP, (off_t)at) != STEP)
			rc = vms_fail(msg, map_errno(errno), "%s/log.new: %s", c->dir,
				      strerror(errno));
	if (!rc && fsync(fd))
		rc = vms_fail(msg, map_errno(errno), "%s/log.new: fsync: %s", c->dir,
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
		return vms_fail(msg, map_errno(errno), "cannot make folder %s: %s", c->dir,
				strerror(errno));
	dirfd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return vms_fail(msg, map_errno(errno), "%s: %s", c->dir, strerror(errno));
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
	if (!rc &&
	    (renameat(dirfd, "log.new", dirfd, "log") || fsync_dir(dirfd, "c") || fsync(dirfd)))
		rc = vms_fail(msg, VMS_E_IO, "%s: %s", c->dir, strerror(errno));
	close(dirfd);
	return rc;
}

static int start_threads(struct vms_disk_posix *d)
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
static void queue_init(struct queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->some, NULL);
	q->tail = &q->head;
}

int vms_disk_posix_open(struct vms_disk_posix **out, const struct vms_disk_posix_conf *c,
			struct vms_errmsg *msg)
{
	struct vms_disk_posix *d = calloc(1, sizeof(*d));
	char path[4096];
	struct stat st;
	struct rlimit rl;
	int rc = 0;

	if (!d)
		return vms_fail(msg, VMS_E_NOMEM, "out of memory");
	d->dirfd = d->lockfd = d->logfd = d->efd = -1;
	d->done_tail = &d->done;
	pthread_mutex_init(&d->done_lock, NULL);
	queue_init(&d->work);
	queue_init(&d->commits);
	queue_init(&d->hashes);
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
		rc = vms_fail(msg, map_errno(errno), "data folder %s: %s", c->dir, strerror(errno));
		goto out;
	}
	if (faccessat(d->dirfd, "log", F_OK, 0)) {
		rc = vms_fail(msg, VMS_E_NOENT, "%s holds no storage node yet", c->dir);
		goto out;
	}
	d->lockfd = openat(d->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lockfd < 0) {
		rc = vms_fail(msg, map_errno(errno), "%s/lock: %s", c->dir, strerror(errno));
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
		rc = vms_fail(msg, map_errno(errno), "%s/log: %s", c->dir, strerror(errno));
		goto out;
	}
	/* An earlier process may have left bytes in the page cache or in the drive's
	 * cache; log_read hands out nothing that is not durable. */
	if (fdatasync(d->logfd)) {
		rc = vms_fail(msg, map_errno(errno), "%s/log: fdatasync: %s", c->dir,
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
	rc = start_threads(d);
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
		file_close(d, d->lru_head);
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
