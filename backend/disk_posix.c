/* SPDX-License-Identifier: GPL-2.0-only */
/* See disk_posix.h: the calls of the seam. Keeps invariants 1 (order of sync and commit is the
 * core's, durability of each call is ours) and 28 (errors are told, never retried). */
#include "backend/disk_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <uthash.h>

#include "backend/disk_fault.h"
#include "backend/disk_int_posix.h"
#include "backend/meta_lmdb.h"
#include "utils/lib/assert.h"
#include "utils/lib/fp.h"

#define SYNC_FEW      8u	   /* files: up to here fdatasync each, beyond one syncfs */
#define CTR_OUT_BYTES (256u << 10) /* written to a container: on its way to the disk */

int disk_errno(int e)
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
		rc = disk_rw_rest(&r, false);
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
	return disk_rw_rest(&r, true);
}

static void log_write(void *ctx, uint64_t off, const void *buf, size_t len, bool sync,
		      uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = disk_req_get(d, K_LOG_WRITE, token);
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
	disk_start(d, r);
}
static void log_sync(void *ctx, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = disk_req_get(d, K_LOG_SYNC, token);
	r->fd = d->logfd;
	d->log_unsynced = false;
	disk_start(d, r);
}
static void ctr_write(void *ctx, uint64_t ctr, uint64_t off, const struct vms_iov *iov,
		      unsigned niov, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = disk_req_get(d, K_CTR_WRITE, token);
	int rc = disk_file_get(d, ctr, true, &r->file);
	if (rc) {
		r->status = rc;
		disk_post_done(d, r);
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
	disk_start(d, r);
}
static void read_start(struct vms_disk_posix *d, uint64_t ctr, uint64_t off, void *buf, size_t len,
		       bool cold, uint64_t token)
{
	struct req *r = disk_req_get(d, K_CTR_READ, token);
	int rc = disk_file_get(d, ctr, false, &r->file);
	if (rc) {
		r->status = rc;
		disk_post_done(d, r);
		return;
	}
	r->fd = r->file->fd;
	r->off = off;
	r->len = len;
	r->cold = cold;
	r->one[0] = (struct iovec){buf, len};
	r->iov = r->one;
	r->niov = 1;
	disk_start(d, r);
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
	rc = disk_file_get(d, ctr, false, &f);
	if (rc)
		return rc;
	do
		k = preadv2(f->fd, &v, 1, (off_t)off, RWF_NOWAIT);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		rc = errno == EOPNOTSUPP ? VMS_E_AGAIN : disk_errno(errno);
	disk_file_put(d, f);
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
	struct req *r = disk_req_get(d, K_CTR_SYNC, token);
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
				disk_ctr_dir(f->ctr, name, sizeof(name));
				r->iov[r->niov++].iov_base = strdup(name);
			}
			f->dirty = f->fresh = false;
			f->kept = 0;
		}
	d->ndirty = 0;
	d->lost_dirty = false;
	disk_start(d, r);
}
static void ctr_unlink(void *ctx, uint64_t ctr, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = disk_req_get(d, K_UNLINK, token);
	r->ctr = ctr;
	disk_start(d, r);
}
static void ctr_punch(void *ctx, uint64_t ctr, uint64_t off, uint64_t len, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = disk_req_get(d, K_PUNCH, token);
	int rc = disk_file_get(d, ctr, false, &r->file);
	if (rc) {
		r->status = rc == VMS_E_NOENT ? 0 : rc;
		disk_post_done(d, r);
		return;
	}
	r->fd = r->file->fd;
	r->off = off;
	r->len = len;
	disk_start(d, r);
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
			return disk_errno(errno);
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
	struct req *r = disk_req_get(d, K_COMMIT, token);
	r->batch = batch;
	disk_start(d, r);
}
static int space(void *ctx, uint64_t *free_bytes, uint64_t *total_bytes, uint32_t *permille)
{
	struct vms_disk_posix *d = ctx;
	struct statvfs v;
	if (fstatvfs(d->dirfd, &v))
		return disk_errno(errno);
	*free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	/* as df(1) counts: blocks kept back for root are neither free nor used */
	*total_bytes = (uint64_t)(v.f_blocks - v.f_bfree + v.f_bavail) * v.f_frsize;
	*permille = vms_meta_lmdb_used_permille(d->meta);
	return 0;
}

static void digest(void *ctx, const struct vms_digest *job, uint64_t token)
{
	struct vms_disk_posix *d = ctx;
	struct req *r = disk_req_get(d, K_DIGEST, token);
	vms_assert(job->salt_bytes <= VMS_FP_SALT_BYTES_MAX);
	r->digest = job;
	disk_start(d, r);
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
