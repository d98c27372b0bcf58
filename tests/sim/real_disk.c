/* SPDX-License-Identifier: GPL-2.0-only */
/* See real_disk.h. */
#include "tests/sim/real_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "backend/disk_posix.h"
#include "utils/lib/assert.h"

#define BLK VMS_CHUNK_BYTES

enum kind {
	LOG_WRITE,
	LOG_SYNC,
	CTR_WRITE,
	CTR_READ,
	CTR_SYNC,
	CTR_UNLINK,
	CTR_PUNCH,
	COMMIT,
	DIGEST
};
struct op {
	struct op *next, *prev;
	uint64_t id, token;
	enum kind kind;
	bool sync;
	bool begun; /* given to the engine */
	bool ended; /* by the engine */
	bool told;  /* log write without sync: kept until it is durable */
	int status;
	uint64_t ctr, off, len;
	uint8_t *copy; /* of writes; reads: aligned buffer */
	void *buf;     /* reads: the caller's */
	struct vms_iov iov;
	struct vms_meta_batch batch;
	const struct vms_digest *digest;
	struct blk_key {
		uint64_t ctr, no;
	} * blks; /* CTR_SYNC: what it covers */
	uint64_t *gens;
	size_t nblks;
};
/* A container block that no ended sync covers. */
struct blk {
	struct blk_key key;
	uint8_t *before; /* durable content; NULL: none (beyond the durable end) */
	uint64_t gen;	 /* of its last write */
	unsigned busy;	 /* writes under way */
	UT_hash_handle hh;
};
struct file {
	uint64_t ctr, size, durable_size;
	bool durable; /* its name is on disk */
	bool seen;
	UT_hash_handle hh;
};
struct real_disk {
	struct real_disk_conf conf;
	char *dir;
	struct vms_rng rng;
	struct vms_disk_posix *posix;
	struct vms_disk in;
	uint8_t *log; /* durable content */
	struct op *ops, *ops_tail;
	struct blk *blks;
	struct file *files;
	uint64_t next_id, gen;
	/* the file read last; -1: none */
	int read_fd;
	uint64_t read_ctr;
};

static struct op *op_new(struct real_disk *d, enum kind kind, uint64_t token)
{
	struct op *o = calloc(1, sizeof(*o));

	vms_assert(o);
	o->id = ++d->next_id;
	o->kind = kind;
	o->token = token;
	o->prev = d->ops_tail;
	if (d->ops_tail)
		d->ops_tail->next = o;
	else
		d->ops = o;
	d->ops_tail = o;
	return o;
}

static void op_free(struct real_disk *d, struct op *o)
{
	if (o->prev)
		o->prev->next = o->next;
	else
		d->ops = o->next;
	if (o->next)
		o->next->prev = o->prev;
	else
		d->ops_tail = o->prev;
	free(o->copy);
	free(o->blks);
	free(o->gens);
	free(o->batch.data);
	free(o);
}

static void *aligned(size_t len)
{
	void *p = NULL;

	vms_assert(posix_memalign(&p, BLK, len) == 0);
	return p;
}

static struct file *file_of(struct real_disk *d, uint64_t ctr, bool make)
{
	struct file *f;

	HASH_FIND(hh, d->files, &ctr, sizeof(ctr), f);
	if (!f && make) {
		f = calloc(1, sizeof(*f));
		vms_assert(f);
		f->ctr = ctr;
		HASH_ADD(hh, d->files, ctr, sizeof(ctr), f);
	}
	return f;
}

static void file_path(struct real_disk *d, uint64_t ctr, char *out, size_t room)
{
	snprintf(out, room, "%s/c/%02x/%09llx", d->dir, (unsigned)(ctr & 0xff),
		 (unsigned long long)ctr);
}

static int file_open(struct real_disk *d, uint64_t ctr, int flags)
{
	char path[4200];

	file_path(d, ctr, path, sizeof(path));
	return open(path, flags | O_CLOEXEC);
}

static void read_forget(struct real_disk *d)
{
	if (d->read_fd >= 0)
		close(d->read_fd);
	d->read_fd = -1;
}

int real_disk_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct real_disk *d = ctx;
	ssize_t n;

	if (d->read_fd < 0 || d->read_ctr != ctr) {
		read_forget(d);
		d->read_fd = file_open(d, ctr, O_RDONLY);
		d->read_ctr = ctr;
	}
	if (d->read_fd < 0)
		return errno == ENOENT ? VMS_E_NOENT : VMS_E_IO;
	n = pread(d->read_fd, buf, len, (off_t)off);
	return n < 0 ? VMS_E_IO : (size_t)n == len ? 0 : VMS_E_NOENT;
}

static struct blk *blk_of(struct real_disk *d, uint64_t ctr, uint64_t no)
{
	struct blk_key k;
	struct blk *b;

	memset(&k, 0, sizeof(k));
	k.ctr = ctr;
	k.no = no;
	HASH_FIND(hh, d->blks, &k, sizeof(k), b);
	return b;
}

static void blk_free(struct real_disk *d, struct blk *b)
{
	HASH_DEL(d->blks, b);
	free(b->before);
	free(b);
}

/* The blocks a write is about to change, with what is durable of them. */
static void blks_write(struct real_disk *d, struct op *o)
{
	struct file *f = file_of(d, o->ctr, true);

	for (uint64_t at = o->off; at < o->off + o->len; at += BLK) {
		struct blk *b = blk_of(d, o->ctr, at / BLK);

		if (!b) {
			b = calloc(1, sizeof(*b));
			vms_assert(b);
			b->key.ctr = o->ctr;
			b->key.no = at / BLK;
			if (at < f->durable_size) {
				b->before = malloc(BLK);
				vms_assert(b->before);
				if (real_disk_read(d, o->ctr, at, b->before, BLK))
					memset(b->before, 0, BLK);
			}
			HASH_ADD(hh, d->blks, key, sizeof(b->key), b);
		}
		b->gen = ++d->gen;
		b->busy++;
	}
	if (o->off + o->len > f->size)
		f->size = o->off + o->len;
}

static void begin(struct real_disk *d, struct op *o)
{
	const struct vms_disk_ops *in = d->in.ops;
	void *c = d->in.ctx;

	o->begun = true;
	switch (o->kind) {
	case LOG_WRITE:
		in->log_write(c, o->off, o->copy, o->len, o->sync, o->id);
		break;
	case LOG_SYNC:
		in->log_sync(c, o->id);
		break;
	case CTR_WRITE:
		blks_write(d, o);
		o->iov = (struct vms_iov){o->copy, o->len};
		in->ctr_write(c, o->ctr, o->off, &o->iov, 1, o->id);
		break;
	case CTR_READ:
		in->ctr_read(c, o->ctr, o->off, o->copy, o->len, o->id);
		break;
	case CTR_SYNC:
		in->ctr_sync(c, o->id);
		break;
	case CTR_UNLINK:
		in->ctr_unlink(c, o->ctr, o->id);
		break;
	case CTR_PUNCH:
		in->ctr_punch(c, o->ctr, o->off, o->len, o->id);
		break;
	case COMMIT:
		in->meta_commit(c, &o->batch, o->id);
		break;
	case DIGEST:
		in->digest(c, o->digest, o->id);
		break;
	}
}

static void on_end(void *arg, const struct vms_disk_event *ev)
{
	struct real_disk *d = arg;
	struct op *o = d->ops;

	while (o && o->id != ev->token)
		o = o->next;
	vms_assert(o);
	o->ended = true;
	o->status = ev->status;
}

static void wait_for(struct real_disk *d, struct op *o)
{
	struct pollfd p = {.fd = vms_disk_posix_fd(d->posix), .events = POLLIN};

	if (!o->begun)
		begin(d, o);
	vms_disk_posix_flush(d->posix);
	while (!o->ended) {
		if (!vms_disk_posix_reap(d->posix, on_end, d))
			poll(&p, 1, 1000);
		vms_disk_posix_flush(d->posix);
	}
}

static void start(struct real_disk *d, struct op *o)
{
	uint64_t lo = o->sync ? d->conf.sync_us_min : d->conf.latency_us_min;
	uint64_t hi = o->sync ? d->conf.sync_us_max : d->conf.latency_us_max;

	/* log writes begin in order; a digest's buffers die with the core, so nothing
	 * may be under way then */
	if (o->kind <= LOG_SYNC || (o->kind != DIGEST && vms_rng_below(&d->rng, 2)))
		begin(d, o);
	d->conf.schedule(d->conf.ctx, lo + vms_rng_below(&d->rng, hi - lo + 1), o->id);
}

/* ---- the seam ---- */

static uint64_t log_size_bytes(void *ctx)
{
	struct real_disk *d = ctx;

	return d->in.ops->log_size_bytes(d->in.ctx);
}

static int log_read(void *ctx, uint64_t off, void *buf, size_t len)
{
	struct real_disk *d = ctx;

	return d->in.ops->log_read(d->in.ctx, off, buf, len);
}

static int log_write_now(void *ctx, uint64_t off, const void *buf, size_t len)
{
	struct real_disk *d = ctx;

	memcpy(d->log + off, buf, len);
	return d->in.ops->log_write_now(d->in.ctx, off, buf, len);
}

static void log_write(void *ctx, uint64_t off, const void *buf, size_t len, bool sync,
		      uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, LOG_WRITE, token);

	o->off = off;
	o->len = len;
	o->sync = sync;
	o->copy = aligned(len);
	memcpy(o->copy, buf, len);
	start(d, o);
}

static void log_sync(void *ctx, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, LOG_SYNC, token);

	o->sync = true;
	start(d, o);
}

static void ctr_write(void *ctx, uint64_t ctr, uint64_t off, const struct vms_iov *iov,
		      unsigned niov, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, CTR_WRITE, token);
	size_t at = 0;

	for (unsigned i = 0; i < niov; i++)
		o->len += iov[i].len;
	vms_assert(off % BLK == 0 && o->len % BLK == 0 && o->len);
	o->ctr = ctr;
	o->off = off;
	o->copy = malloc(o->len);
	vms_assert(o->copy);
	for (unsigned i = 0; i < niov; i++) {
		memcpy(o->copy + at, iov[i].base, iov[i].len);
		at += iov[i].len;
	}
	start(d, o);
}

static void ctr_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, CTR_READ, token);

	o->ctr = ctr;
	o->off = off;
	o->len = len;
	o->buf = buf;
	o->copy = malloc(len);
	vms_assert(o->copy);
	start(d, o);
}

/* What the page cache holds is not the seed's to say. */
static int ctr_read_now(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct real_disk *d = ctx;
	int rc;

	if (vms_rng_below(&d->rng, 100) >= d->conf.read_now_percent)
		return VMS_E_AGAIN;
	rc = d->in.ops->ctr_read_now(d->in.ctx, ctr, off, buf, len);
	return rc == VMS_E_AGAIN ? real_disk_read(d, ctr, off, buf, len) : rc;
}

static void ctr_sync(void *ctx, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, CTR_SYNC, token);
	struct blk *b, *bt;
	size_t n = HASH_COUNT(d->blks);

	o->sync = true;
	o->blks = malloc((n + 1) * sizeof(*o->blks));
	o->gens = malloc((n + 1) * sizeof(*o->gens));
	vms_assert(o->blks && o->gens);
	HASH_ITER (hh, d->blks, b, bt) {
		if (b->busy)
			continue;
		o->blks[o->nblks] = b->key;
		o->gens[o->nblks++] = b->gen;
	}
	start(d, o);
}

static void ctr_unlink(void *ctx, uint64_t ctr, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, CTR_UNLINK, token);

	o->ctr = ctr;
	start(d, o);
}

static void ctr_punch(void *ctx, uint64_t ctr, uint64_t off, uint64_t len, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, CTR_PUNCH, token);

	o->ctr = ctr;
	o->off = off;
	o->len = len;
	start(d, o);
}

static int ctr_list(void *ctx, vms_ctr_list_fn fn, void *arg)
{
	struct real_disk *d = ctx;

	return d->in.ops->ctr_list(d->in.ctx, fn, arg);
}

static int meta_get(void *ctx, const void *key, uint32_t kb, void *val, uint32_t room)
{
	struct real_disk *d = ctx;

	return d->in.ops->meta_get(d->in.ctx, key, kb, val, room);
}

static int meta_last_le(void *ctx, const void *key, uint32_t kb, void *fk, uint32_t *fkb, void *val,
			uint32_t room)
{
	struct real_disk *d = ctx;

	return d->in.ops->meta_last_le(d->in.ctx, key, kb, fk, fkb, val, room);
}

static int meta_range(void *ctx, const void *from, uint32_t fb, const void *to, uint32_t tb,
		      vms_meta_iter_fn fn, void *arg)
{
	struct real_disk *d = ctx;

	return d->in.ops->meta_range(d->in.ctx, from, fb, to, tb, fn, arg);
}

static void meta_commit(void *ctx, const struct vms_meta_batch *batch, uint64_t token)
{
	struct real_disk *d = ctx;
	struct op *o = op_new(d, COMMIT, token);

	o->sync = true;
	o->batch = *batch;
	o->batch.data = malloc(batch->used_bytes + 1);
	vms_assert(o->batch.data);
	memcpy(o->batch.data, batch->data, batch->used_bytes);
	o->batch.room_bytes = batch->used_bytes;
	start(d, o);
}

static void digest(void *ctx, const struct vms_digest *job, uint64_t token)
{
	struct op *o = op_new(ctx, DIGEST, token);

	o->digest = job;
	start(ctx, o);
}

static int space(void *ctx, uint64_t *free_bytes, uint64_t *total_bytes, uint32_t *permille)
{
	struct real_disk *d = ctx;
	struct file *f, *ft;
	uint64_t used = 0;

	HASH_ITER (hh, d->files, f, ft)
		used += f->size;
	*total_bytes = d->conf.space_bytes;
	*free_bytes = used < d->conf.space_bytes ? d->conf.space_bytes - used : 0;
	*permille = 100;
	return 0;
}

static const struct vms_disk_ops ops = {
	.struct_bytes = sizeof(ops),
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
};

struct vms_disk real_disk_ops(struct real_disk *d)
{
	return (struct vms_disk){&ops, d};
}

/* ---- ends ---- */

/* Log writes whose end was told before op `upto` began are durable now. */
static void log_settle(struct real_disk *d, uint64_t upto)
{
	struct op *o, *n;

	for (o = d->ops; o && o->id < upto; o = n) {
		n = o->next;
		if (o->kind != LOG_WRITE || !o->told)
			continue;
		memcpy(d->log + o->off, o->copy, o->len);
		op_free(d, o);
	}
}

static void blks_drop(struct real_disk *d, uint64_t ctr, uint64_t from, uint64_t to)
{
	struct blk *b, *bt;

	HASH_ITER (hh, d->blks, b, bt)
		if (b->key.ctr == ctr && b->key.no >= from && b->key.no < to)
			blk_free(d, b);
}

static void forget_file(struct real_disk *d, struct file *f)
{
	if (f->ctr == d->read_ctr)
		read_forget(d);
	blks_drop(d, f->ctr, 0, UINT64_MAX);
	HASH_DEL(d->files, f);
	free(f);
}

bool real_disk_finish(struct real_disk *d, uint64_t id, struct vms_disk_event *ev)
{
	struct op *o = d->ops;
	struct file *f;
	struct blk *b;

	while (o && o->id != id)
		o = o->next;
	if (!o)
		return false; /* died in a crash */
	wait_for(d, o);
	*ev = (struct vms_disk_event){o->token, o->status};
	vms_assert(o->status == 0 || o->kind == CTR_READ);
	switch (o->kind) {
	case LOG_WRITE:
		if (!o->sync) {
			o->told = true;
			return true;
		}
		log_settle(d, o->id);
		memcpy(d->log + o->off, o->copy, o->len);
		break;
	case LOG_SYNC:
		log_settle(d, o->id);
		break;
	case CTR_WRITE:
		for (uint64_t at = o->off; at < o->off + o->len; at += BLK)
			if ((b = blk_of(d, o->ctr, at / BLK)))
				b->busy--;
		break;
	case CTR_READ:
		if (!o->status)
			memcpy(o->buf, o->copy, o->len);
		break;
	case CTR_SYNC:
		for (size_t i = 0; i < o->nblks; i++) {
			uint64_t end = (o->blks[i].no + 1) * BLK;

			b = blk_of(d, o->blks[i].ctr, o->blks[i].no);
			f = file_of(d, o->blks[i].ctr, false);
			if (!b || !f || b->gen != o->gens[i])
				continue;
			f->durable = true;
			if (end > f->durable_size)
				f->durable_size = end;
			blk_free(d, b);
		}
		break;
	case CTR_UNLINK:
		f = file_of(d, o->ctr, false);
		if (f)
			forget_file(d, f);
		break;
	case CTR_PUNCH:
		blks_drop(d, o->ctr, o->off / BLK, (o->off + o->len) / BLK);
		break;
	case COMMIT:
	case DIGEST:
		break;
	}
	op_free(d, o);
	return true;
}

/* ---- crash ---- */

/* dst keeps what it has, takes src, or mixes them by sector. */
static void tear(struct real_disk *d, uint8_t *dst, const uint8_t *src)
{
	switch (vms_rng_below(&d->rng, 3)) {
	case 0:
		break;
	case 1:
		memcpy(dst, src, BLK);
		break;
	default:
		for (unsigned i = 0; i < BLK; i += 512)
			if (vms_rng_below(&d->rng, 2))
				memcpy(dst + i, src + i, 512);
	}
}

static void log_crash(struct real_disk *d, bool power)
{
	char path[4200];
	int fd;

	snprintf(path, sizeof(path), "%s/log", d->dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	vms_assert(fd >= 0);
	for (struct op *o = d->ops; o; o = o->next) {
		if (o->kind != LOG_WRITE)
			continue;
		for (uint64_t i = 0; i < o->len; i += BLK) {
			uint8_t *at = d->log + o->off + i;

			/* ended, and only the process died: the machine still has it */
			if (o->told && !power)
				memcpy(at, o->copy + i, BLK);
			else
				tear(d, at, o->copy + i);
			vms_assert(pwrite(fd, at, BLK, (off_t)(o->off + i)) == BLK);
		}
	}
	close(fd);
}

static void files_power(struct real_disk *d)
{
	struct file *f, *ft;
	struct blk *b, *bt;
	char path[4200];

	HASH_ITER (hh, d->blks, b, bt) {
		uint8_t now[BLK] = {0}, left[BLK] = {0};
		int fd = file_open(d, b->key.ctr, O_RDWR);
		off_t at = (off_t)(b->key.no * BLK);

		if (fd >= 0 && pread(fd, now, BLK, at) > 0) {
			if (b->before)
				memcpy(left, b->before, BLK);
			tear(d, left, now);
			vms_assert(pwrite(fd, left, BLK, at) == BLK);
		}
		if (fd >= 0)
			close(fd);
	}
	HASH_ITER (hh, d->files, f, ft) {
		file_path(d, f->ctr, path, sizeof(path));
		if (!f->durable && vms_rng_below(&d->rng, 2))
			unlink(path);
		else if (f->size > f->durable_size && vms_rng_below(&d->rng, 2) &&
			 truncate(path, (off_t)f->durable_size))
			vms_assert(errno == ENOENT);
	}
	/* what the next start finds is what the next power cut leaves */
	HASH_ITER (hh, d->blks, b, bt)
		blk_free(d, b);
	HASH_ITER (hh, d->files, f, ft) {
		f->durable = true;
		f->durable_size = UINT64_MAX;
	}
}

static void forget_files(struct real_disk *d)
{
	struct file *f, *ft;

	HASH_ITER (hh, d->files, f, ft)
		forget_file(d, f);
}

static int on_file(void *arg, uint64_t ctr, uint64_t size)
{
	struct file *f = file_of(arg, ctr, true);

	f->size = size;
	f->seen = true;
	return 0;
}

/* What files there are, and that nothing of them is being written. */
static int open_engine(struct real_disk *d, struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf c = {d->dir, d->conf.log_bytes, d->conf.index_bytes,
					d->conf.engine};
	int rc = vms_disk_posix_open(&d->posix, &c, msg);
	struct file *f, *ft;
	struct blk *b, *bt;

	if (rc)
		return rc;
	d->in = vms_disk_posix_disk(d->posix);
	rc = d->in.ops->ctr_list(d->in.ctx, on_file, d);
	HASH_ITER (hh, d->files, f, ft) {
		if (!f->seen) {
			forget_file(d, f);
			continue;
		}
		f->seen = false;
		if (f->durable_size > f->size)
			f->durable_size = f->size;
	}
	HASH_ITER (hh, d->blks, b, bt)
		b->busy = 0;
	return rc;
}

void real_disk_crash(struct real_disk *d, bool power)
{
	struct vms_errmsg msg = {""};

	read_forget(d);
	vms_disk_posix_close(d->posix); /* waits for what was begun */
	log_crash(d, power);
	if (power)
		files_power(d);
	while (d->ops)
		op_free(d, d->ops);
	if (open_engine(d, &msg)) {
		fprintf(stderr, "real_disk: %s\n", msg.text);
		abort();
	}
}

uint64_t real_disk_container_bytes(struct real_disk *d)
{
	struct file *f, *ft;
	struct stat st;
	char path[4200];
	uint64_t sum = 0;

	HASH_ITER (hh, d->files, f, ft) {
		file_path(d, f->ctr, path, sizeof(path));
		if (!stat(path, &st))
			sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

/* ---- make, free ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}
static void remove_dir(const char *dir)
{
	if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
		fprintf(stderr, "real_disk: cannot remove %s\n", dir);
}

struct real_disk *real_disk_new(const struct real_disk_conf *conf, uint64_t seed,
				struct vms_errmsg *msg)
{
	struct vms_disk_posix_conf c = {conf->dir, conf->log_bytes, conf->index_bytes,
					conf->engine};
	struct real_disk *d = calloc(1, sizeof(*d));
	int rc;

	vms_assert(d);
	d->conf = *conf;
	d->read_fd = -1;
	d->dir = strdup(conf->dir);
	d->conf.dir = d->dir;
	vms_rng_init(&d->rng, seed);
	rc = vms_disk_posix_format(&c, msg);
	if ((rc && rc != VMS_E_EXIST) || open_engine(d, msg)) {
		free(d->dir);
		free(d);
		return NULL;
	}
	d->log = calloc(1, conf->log_bytes);
	vms_assert(d->log);
	return d;
}

void real_disk_free(struct real_disk *d)
{
	if (!d)
		return;
	read_forget(d);
	vms_disk_posix_close(d->posix);
	while (d->ops)
		op_free(d, d->ops);
	forget_files(d);
	remove_dir(d->dir);
	free(d->dir);
	free(d->log);
	free(d);
}
