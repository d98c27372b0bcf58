/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of the POSIX disk: requests, queues, open containers, and what its files share. */
#ifndef VMS_DISK_INT_POSIX_H
#define VMS_DISK_INT_POSIX_H

#include <liburing.h>
#include <pthread.h>
#include <sys/uio.h>
#include <uthash.h>

#include "backend/disk_fault.h"
#include "include/disk.h"

#define WORKERS		     3u
#define HASHERS_MAX	     4u
#define CTR_INLINE_BYTES_MAX (32u << 10)

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
	bool gone;		  /* its name is: in no list, ends with its last reference */
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
	bool lost_dirty;    /* a dirty descriptor was closed: only syncfs will do */
	_Atomic int wb_err; /* a write that failed was told to a read: no sync succeeds any more */
	pthread_rwlock_t wb_lock; /* reads that may be told; who writes waits till they noted it */
	uint64_t inflight;
	struct req *pool;
	struct queue work, commits, hashes;
	pthread_t thread[WORKERS + 1 + HASHERS_MAX];
	unsigned nthreads;
	pthread_mutex_t done_lock;
	struct req *done, **done_tail;
	struct vms_disk_faults faults;
};

/* A VMS_E_* for an errno. */
int disk_errno(int e);

/* ---- disk_thread.c: requests by blocking calls ---- */

struct req *disk_req_get(struct vms_disk_posix *d, enum kind k, uint64_t token);
/* It has ended: told to whoever reaps. */
void disk_post_done(struct vms_disk_posix *d, struct req *r);
void disk_queue_init(struct queue *q);
void disk_queue_put(struct queue *q, struct req *r);
/* The rest of a request by blocking calls; iov is advanced. */
int disk_rw_rest(struct req *r, bool write_);
int disk_threads_start(struct vms_disk_posix *d);

/* ---- disk_uring.c: where requests go, and their ends ---- */

void disk_start(struct vms_disk_posix *d, struct req *r);

/* ---- disk_file.c: open containers ---- */

void disk_ctr_path(uint64_t ctr, char *out, size_t room);
void disk_ctr_dir(uint64_t ctr, char *out, size_t room);
int disk_fsync_dir(int dirfd, const char *name);
/* Takes a reference. */
int disk_file_get(struct vms_disk_posix *d, uint64_t ctr, bool make, struct file **out);
void disk_file_put(struct vms_disk_posix *d, struct file *f);
void disk_file_close(struct vms_disk_posix *d, struct file *f);
/* The name is removed: nobody gets the file by it any more. Who has it goes on. */
void disk_file_gone(struct vms_disk_posix *d, uint64_t ctr);

#endif
