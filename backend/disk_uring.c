// SPDX-License-Identifier: GPL-2.0-only
/* Where a request of the POSIX disk goes, io_uring or a thread, and how its end is told. */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend/disk_fault.h"
#include "backend/disk_int_posix.h"
#include "backend/disk_posix.h"

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
void disk_start(struct vms_disk_posix *d, struct req *r)
{
	struct io_uring_sqe *s;
	int hit = vms_disk_faults_hit(&d->faults, (enum vms_disk_call)r->kind);

	r->flip = hit == VMS_FAULT_FLIP;
	if (hit && !r->flip) {
		r->status = hit;
		if (r->kind == K_CTR_SYNC)
			for (unsigned i = 0; i < r->nfds; i++)
				close(r->fds[i]);
		disk_post_done(d, r);
		return;
	}
	/* Syncs one after the other: what an earlier one has in hand is not marked dirty
	 * any more, but a later one must not end before it is durable. */
	if (r->kind == K_COMMIT || r->kind == K_CTR_SYNC || r->kind == K_DIGEST) {
		disk_queue_put(r->kind == K_DIGEST ? &d->hashes : &d->commits, r);
		return;
	}
	/* A buffered write is copied by whoever submits it: large ones would hold up
	 * the node thread for some 50 us per 256 KiB. */
	if (!d->uring || r->flush || (r->kind == K_CTR_WRITE && r->len > CTR_INLINE_BYTES_MAX) ||
	    r->cold || r->kind == K_UNLINK || r->kind == K_PUNCH || !(s = sqe(d, r))) {
		disk_queue_put(&d->work, r);
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

static void req_end(struct vms_disk_posix *d, struct req *r,
		    void (*fn)(void *arg, const struct vms_disk_event *ev), void *arg)
{
	struct vms_disk_event ev = {r->token, r->status};
	if (r->flip && !r->status)
		*(uint8_t *)r->iov[0].iov_base ^= 1;
	if (r->file) {
		/* A sync that began while this write ran did not cover it. */
		if (r->kind == K_CTR_WRITE && !r->file->dirty && !r->file->gone) {
			if (!r->file->fresh)
				d->ndirty++;
			r->file->dirty = true;
		}
		disk_file_put(d, r->file);
	}
	/* Its number may come into use again: who still reads the old file, or opened it while
	 * this was on its way, must not leave it to who writes the new one. */
	if (r->kind == K_UNLINK && !r->status)
		disk_file_gone(d, r->ctr);
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
			disk_queue_put(&d->work, r);
			continue;
		}
		r->status = res < 0 ? disk_errno(-res) : 0;
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
