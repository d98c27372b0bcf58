/* SPDX-License-Identifier: GPL-2.0-only */
/* See sim_disk.h. */
#include "tests/sim/sim_disk.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "backend/meta.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"

#define BLK		 VMS_CHUNK_BYTES
#define SIM_COMMIT_BYTES 65536u

struct blk_key {
	uint64_t ctr;
	uint64_t no;
};
struct blk {
	struct blk_key key;
	uint8_t *cur;	  /* what a read sees */
	uint8_t *durable; /* NULL: nothing durable; == cur: in sync */
	bool queued;	  /* in some sync's set or dirty list */
	UT_hash_handle hh;
};
struct file {
	uint64_t ctr;
	uint64_t size; /* current */
	uint64_t durable_size;
	bool durable; /* exists after a crash */
	UT_hash_handle hh;
};
struct node { /* treap of the metadata store */
	struct node *l, *r;
	uint64_t pri;
	uint32_t klen, vlen;
	uint8_t *key, *val;
};
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
	bool sync, done; /* done: ended, kept as unsynced log write */
	bool held;	 /* not begun yet */
	uint64_t ctr, off, len, upto;
	uint8_t *copy; /* log and container writes */
	struct vms_iov *src;
	unsigned nsrc;
	const struct vms_digest *digest;
	void *buf; /* reads */
	struct blk **blks;
	size_t nblks;
	uint64_t *sizes_ctr;
	uint64_t *sizes;
	size_t nsizes;
	uint8_t *batch;
	size_t batch_bytes;
	uint32_t batch_ops;
};

struct sim_disk {
	struct sim_disk_conf conf;
	struct vms_rng rng;
	uint8_t *log;	      /* what a read sees */
	uint8_t *log_durable; /* what survives for sure */
	struct op *ops;	      /* in flight and unsynced log writes, in order (head) */
	struct op *ops_tail;
	uint64_t next_id;
	struct blk *blks;
	struct file *files;
	struct node *root;
	uint64_t bytes;
	int fail, failed;
	enum sim_disk_call fail_call; /* 0: none */
	int fail_status;
	bool fail_all;
	uint64_t commit_us; /* that commits take longer */
	uint64_t others;    /* bytes that something else has on it */
	unsigned refused;   /* calls that ended ENOSPC */
	bool hold;	    /* containers stand still */
};

/* ---- treap ---- */
static int kcmp(const uint8_t *a, uint32_t an, const uint8_t *b, uint32_t bn)
{
	int c = memcmp(a, b, an < bn ? an : bn);
	return c ? c : (an > bn) - (an < bn);
}
static void tsplit(struct node *t, const uint8_t *k, uint32_t n, struct node **l, struct node **r)
{ /* l: keys < k */
	if (!t) {
		*l = *r = NULL;
	} else if (kcmp(t->key, t->klen, k, n) < 0) {
		tsplit(t->r, k, n, &t->r, r);
		*l = t;
	} else {
		tsplit(t->l, k, n, l, &t->l);
		*r = t;
	}
}
static struct node *tmerge(struct node *l, struct node *r)
{
	if (!l || !r)
		return l ? l : r;
	if (l->pri > r->pri) {
		l->r = tmerge(l->r, r);
		return l;
	}
	r->l = tmerge(l, r->l);
	return r;
}
static struct node *tfind(struct node *t, const uint8_t *k, uint32_t n)
{
	while (t) {
		int c = kcmp(k, n, t->key, t->klen);
		if (!c)
			return t;
		t = c < 0 ? t->l : t->r;
	}
	return NULL;
}
static void tnode_free(struct node *t)
{
	free(t->key);
	free(t->val);
	free(t);
}
static void tput(struct sim_disk *d, const uint8_t *k, uint32_t kn, const uint8_t *v, uint32_t vn)
{
	struct node *t = tfind(d->root, k, kn), *l, *r;
	if (!t) {
		t = calloc(1, sizeof(*t));
		t->key = malloc(kn);
		memcpy(t->key, k, kn);
		t->klen = kn;
		t->pri = vms_rng_u64(&d->rng);
		tsplit(d->root, k, kn, &l, &r);
		d->root = tmerge(tmerge(l, t), r);
	}
	free(t->val);
	t->val = malloc(vn ? vn : 1);
	memcpy(t->val, v, vn);
	t->vlen = vn;
}
static void tdel(struct node **t, const uint8_t *k, uint32_t kn)
{
	while (*t) {
		int c = kcmp(k, kn, (*t)->key, (*t)->klen);
		if (!c) {
			struct node *dead = *t;
			*t = tmerge(dead->l, dead->r);
			tnode_free(dead);
			return;
		}
		t = c < 0 ? &(*t)->l : &(*t)->r;
	}
}
static void tfree(struct node *t)
{
	if (t) {
		tfree(t->l);
		tfree(t->r);
		tnode_free(t);
	}
}

/* ---- operations ---- */
static struct op *op_new(struct sim_disk *d, enum kind kind, uint64_t token)
{
	struct op *o = calloc(1, sizeof(*o));
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
static void op_free(struct sim_disk *d, struct op *o)
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
	free(o->src);
	free(o->blks);
	free(o->sizes);
	free(o->sizes_ctr);
	free(o->batch);
	free(o);
}
static void op_start(struct sim_disk *d, struct op *o, bool sync)
{
	uint64_t lo = sync ? d->conf.sync_us_min : d->conf.latency_us_min;
	uint64_t hi = sync ? d->conf.sync_us_max : d->conf.latency_us_max;
	uint64_t us = lo + vms_rng_below(&d->rng, hi - lo + 1);

	o->held = d->hold && (o->kind == CTR_WRITE || o->kind == CTR_SYNC);
	if (o->held)
		return;
	d->conf.schedule(d->conf.ctx, o->kind == COMMIT ? us + d->commit_us : us, o->id);
}

static uint64_t log_size_bytes(void *ctx)
{
	return ((struct sim_disk *)ctx)->conf.log_bytes;
}
static int log_read(void *ctx, uint64_t off, void *buf, size_t len)
{
	struct sim_disk *d = ctx;
	if (off + len > d->conf.log_bytes)
		return VMS_E_INVAL;
	memcpy(buf, d->log + off, len);
	return 0;
}
static int log_write_now(void *ctx, uint64_t off, const void *buf, size_t len)
{
	struct sim_disk *d = ctx;
	if (off + len > d->conf.log_bytes)
		return VMS_E_INVAL;
	memcpy(d->log + off, buf, len);
	memcpy(d->log_durable + off, buf, len);
	return 0;
}
/* What is to be written, as it is now. */
static void take(struct op *o, const struct vms_iov *iov, unsigned niov)
{
	size_t at = 0;
	for (unsigned i = 0; i < niov; i++)
		o->len += iov[i].len;
	o->copy = malloc(o->len);
	o->src = malloc(niov * sizeof(*iov));
	vms_assert(o->copy && o->src);
	memcpy(o->src, iov, niov * sizeof(*iov));
	o->nsrc = niov;
	for (unsigned i = 0; i < niov; i++) {
		memcpy(o->copy + at, iov[i].base, iov[i].len);
		at += iov[i].len;
	}
}
static void log_write(void *ctx, uint64_t off, const void *buf, size_t len, bool sync,
		      uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, LOG_WRITE, token);
	vms_assert(off % BLK == 0 && len % BLK == 0 && len && off + len <= d->conf.log_bytes);
	take(o, &(struct vms_iov){buf, len}, 1);
	o->off = off;
	o->sync = sync;
	op_start(d, o, sync);
}
static void log_sync(void *ctx, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, LOG_SYNC, token);
	o->upto = o->id;
	op_start(d, o, true);
}
/* All ended log writes up to (not beyond) id `upto` become durable. */
static void log_settle(struct sim_disk *d, uint64_t upto)
{
	struct op *o = d->ops, *n;
	for (; o; o = n) {
		n = o->next;
		if (o->id >= upto)
			break;
		if (o->kind == LOG_WRITE && o->done) {
			memcpy(d->log_durable + o->off, o->copy, o->len);
			op_free(d, o);
		}
	}
}

static struct file *file_get(struct sim_disk *d, uint64_t ctr, bool make)
{
	struct file *f;
	HASH_FIND(hh, d->files, &ctr, sizeof(ctr), f);
	if (!f && make) {
		f = calloc(1, sizeof(*f));
		f->ctr = ctr;
		HASH_ADD(hh, d->files, ctr, sizeof(ctr), f);
	}
	return f;
}
static struct blk *blk_get(struct sim_disk *d, uint64_t ctr, uint64_t no, bool make)
{
	struct blk_key k = {ctr, no};
	struct blk *b;
	HASH_FIND(hh, d->blks, &k, sizeof(k), b);
	if (!b && make) {
		b = calloc(1, sizeof(*b));
		b->key = k;
		HASH_ADD(hh, d->blks, key, sizeof(k), b);
		d->bytes += BLK;
	}
	return b;
}
static void blk_drop(struct sim_disk *d, struct blk *b)
{
	HASH_DEL(d->blks, b);
	if (b->durable != b->cur)
		free(b->durable);
	free(b->cur);
	free(b);
	d->bytes -= BLK;
}
/* A disk reads it at any time until the write ends: it must not have changed. */
static void check_lent(const struct op *o)
{
	size_t at = 0;
	for (unsigned i = 0; i < o->nsrc; i++) {
		vms_assert(!memcmp(o->copy + at, o->src[i].base, o->src[i].len));
		at += o->src[i].len;
	}
	for (uint32_t i = 0; o->digest && i < o->digest->n; i++)
		vms_assert(vms_crc32c(0, o->digest->chunk[i], BLK) == o->digest->crc[i]);
}
static void ctr_write(void *ctx, uint64_t ctr, uint64_t off, const struct vms_iov *iov,
		      unsigned niov, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, CTR_WRITE, token);
	take(o, iov, niov);
	vms_assert(off % BLK == 0 && o->len % BLK == 0 && o->len);
	o->ctr = ctr;
	o->off = off;
	op_start(d, o, false);
}
static int ctr_read_copy(struct sim_disk *d, uint64_t ctr, uint64_t off, uint8_t *buf, size_t len)
{
	struct file *f = file_get(d, ctr, false);
	vms_assert(off % BLK == 0 && len % BLK == 0);
	if (!f || off + len > f->size)
		return VMS_E_NOENT;
	for (size_t i = 0; i < len; i += BLK) {
		struct blk *b = blk_get(d, ctr, (off + i) / BLK, false);
		if (b)
			memcpy(buf + i, b->cur, BLK);
		else
			memset(buf + i, 0, BLK);
	}
	return 0;
}
int sim_disk_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	return ctr_read_copy(ctx, ctr, off, buf, len);
}
static void ctr_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, CTR_READ, token);
	o->ctr = ctr;
	o->off = off;
	o->len = len;
	o->buf = buf;
	op_start(d, o, false);
}
static int ctr_read_now(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct sim_disk *d = ctx;
	if (vms_rng_below(&d->rng, 100) >= d->conf.read_now_percent)
		return VMS_E_AGAIN;
	return ctr_read_copy(d, ctr, off, buf, len);
}
static void ctr_sync(void *ctx, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, CTR_SYNC, token);
	size_t nb = 0, nf = 0;
	struct blk *b, *bt;
	struct file *f, *ft;
	o->blks = malloc(sizeof(*o->blks) * (HASH_COUNT(d->blks) + 1));
	HASH_ITER (hh, d->blks, b, bt)
		if (b->durable != b->cur)
			o->blks[nb++] = b;
	o->nblks = nb;
	o->sizes = malloc(sizeof(*o->sizes) * (HASH_COUNT(d->files) + 1));
	o->sizes_ctr = malloc(sizeof(*o->sizes) * (HASH_COUNT(d->files) + 1));
	HASH_ITER (hh, d->files, f, ft) {
		if (f->durable && f->durable_size == f->size)
			continue;
		o->sizes_ctr[nf] = f->ctr;
		o->sizes[nf++] = f->size;
	}
	o->nsizes = nf;
	op_start(d, o, true);
}
static void ctr_unlink(void *ctx, uint64_t ctr, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, CTR_UNLINK, token);
	o->ctr = ctr;
	op_start(d, o, false);
}
static void ctr_punch(void *ctx, uint64_t ctr, uint64_t off, uint64_t len, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, CTR_PUNCH, token);
	o->ctr = ctr;
	o->off = off;
	o->len = len;
	op_start(d, o, false);
}
static int ctr_list(void *ctx, vms_ctr_list_fn fn, void *arg)
{
	struct sim_disk *d = ctx;
	struct file *f, *ft;
	HASH_ITER (hh, d->files, f, ft) {
		int rc = fn(arg, f->ctr, f->size);
		if (rc)
			return rc;
	}
	return 0;
}
static void drop_blocks(struct sim_disk *d, uint64_t ctr, uint64_t from, uint64_t to)
{
	/* A sync in flight must not keep pointers to dropped blocks. */
	for (struct op *o = d->ops; o; o = o->next)
		for (size_t i = 0; i < o->nblks; i++)
			if (o->blks[i] && o->blks[i]->key.ctr == ctr &&
			    o->blks[i]->key.no >= from && o->blks[i]->key.no < to)
				o->blks[i] = NULL;
	if (to - from > 65536) {
		struct blk *b, *bt;
		HASH_ITER (hh, d->blks, b, bt)
			if (b->key.ctr == ctr && b->key.no >= from && b->key.no < to)
				blk_drop(d, b);
		return;
	}
	for (uint64_t n = from; n < to; n++) {
		struct blk *b = blk_get(d, ctr, n, false);
		if (b)
			blk_drop(d, b);
	}
}
static void do_unlink(struct sim_disk *d, uint64_t ctr)
{
	struct file *f = file_get(d, ctr, false);
	if (!f)
		return;
	drop_blocks(d, ctr, 0, f->size / BLK + 1);
	HASH_DEL(d->files, f);
	free(f);
}

static int meta_get(void *ctx, const void *key, uint32_t kn, void *val, uint32_t room)
{
	struct sim_disk *d = ctx;
	struct node *t = tfind(d->root, key, kn);
	if (!t)
		return VMS_E_NOENT;
	memcpy(val, t->val, t->vlen < room ? t->vlen : room);
	return (int)t->vlen;
}
static int meta_last_le(void *ctx, const void *key, uint32_t kn, void *fk, uint32_t *fkn, void *val,
			uint32_t room)
{
	struct sim_disk *d = ctx;
	struct node *t = d->root, *best = NULL;
	while (t) {
		if (kcmp(t->key, t->klen, key, kn) <= 0) {
			best = t;
			t = t->r;
		} else {
			t = t->l;
		}
	}
	if (!best)
		return VMS_E_NOENT;
	memcpy(fk, best->key, best->klen < *fkn ? best->klen : *fkn);
	*fkn = best->klen;
	memcpy(val, best->val, best->vlen < room ? best->vlen : room);
	return (int)best->vlen;
}
static int walk(struct node *t, const uint8_t *from, uint32_t fn_, const uint8_t *to, uint32_t tn,
		vms_meta_iter_fn fn, void *arg)
{
	int rc = 0;
	if (!t)
		return 0;
	bool ge = kcmp(t->key, t->klen, from, fn_) >= 0;
	bool lt = kcmp(t->key, t->klen, to, tn) < 0;
	if (ge)
		rc = walk(t->l, from, fn_, to, tn, fn, arg);
	if (!rc && ge && lt)
		rc = fn(arg, t->key, t->klen, t->val, t->vlen);
	if (!rc && lt)
		rc = walk(t->r, from, fn_, to, tn, fn, arg);
	return rc;
}
static int meta_range(void *ctx, const void *from, uint32_t fnn, const void *to, uint32_t tn,
		      vms_meta_iter_fn fn, void *arg)
{
	return walk(((struct sim_disk *)ctx)->root, from, fnn, to, tn, fn, arg);
}
static void meta_commit(void *ctx, const struct vms_meta_batch *batch, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct op *o = op_new(d, COMMIT, token);
	o->batch = malloc(batch->used_bytes + 1);
	memcpy(o->batch, batch->data, batch->used_bytes);
	o->batch_bytes = batch->used_bytes;
	o->batch_ops = batch->nops;
	op_start(d, o, true);
}
/* Hashed at once: only the answer takes its time. */
static void digest(void *ctx, const struct vms_digest *job, uint64_t token)
{
	struct sim_disk *d = ctx;
	struct vms_fp *fp = vms_fp_open(job->salt, job->salt_bytes);
	for (uint32_t i = 0; i < job->n; i++) {
		vms_fp_chunk(fp, job->chunk[i], BLK, job->out[i]);
		job->crc[i] = vms_crc32c(0, job->chunk[i], BLK);
	}
	vms_fp_close(fp);
	struct op *o = op_new(d, DIGEST, token);
	o->digest = job;
	op_start(d, o, false);
}
static void do_commit(struct sim_disk *d, struct op *o)
{
	struct vms_meta_batch b = {o->batch, o->batch_bytes, o->batch_bytes, o->batch_ops};
	struct vms_meta_op m;
	size_t at = 0;
	while (vms_meta_batch_next(&b, &at, &m)) {
		if (m.op == 1)
			tput(d, m.key, m.key_bytes, m.val, m.val_bytes);
		else
			tdel(&d->root, m.key, m.key_bytes);
	}
}
static uint64_t room(const struct sim_disk *d)
{
	uint64_t used = d->bytes + d->others;

	return used < d->conf.space_bytes ? d->conf.space_bytes - used : 0;
}
static int space(void *ctx, uint64_t *free_bytes, uint64_t *total_bytes, uint32_t *permille)
{
	struct sim_disk *d = ctx;
	*total_bytes = d->conf.space_bytes;
	*free_bytes = room(d);
	*permille = 100;
	return 0;
}
/* A write that does not fit: what does may have been written, up to some block. */
static bool ctr_fits(struct sim_disk *d, struct op *o)
{
	uint64_t need = 0, left = room(d);

	for (uint64_t i = 0; i < o->len; i += BLK)
		need += blk_get(d, o->ctr, (o->off + i) / BLK, false) ? 0 : BLK;
	if (need <= left)
		return true;
	o->len = 0;
	for (uint64_t n = vms_rng_below(&d->rng, left / BLK + 1); n; n--)
		o->len += BLK;
	d->refused++;
	return false;
}
static void do_ctr_write(struct sim_disk *d, struct op *o)
{
	struct file *f = file_get(d, o->ctr, true);
	for (uint64_t i = 0; i < o->len; i += BLK) {
		struct blk *b = blk_get(d, o->ctr, (o->off + i) / BLK, true);
		if (b->cur == b->durable)
			b->cur = malloc(BLK);
		memcpy(b->cur, o->copy + i, BLK);
	}
	if (o->off + o->len > f->size)
		f->size = o->off + o->len;
}

static enum sim_disk_call call_of(enum kind k)
{
	static const enum sim_disk_call calls[] = {
		[LOG_WRITE] = SIM_LOG_WRITE, [LOG_SYNC] = SIM_LOG_SYNC,
		[CTR_WRITE] = SIM_CTR_WRITE, [CTR_SYNC] = SIM_CTR_SYNC,
		[COMMIT] = SIM_COMMIT,	     [CTR_UNLINK] = SIM_UNLINK,
		[CTR_PUNCH] = SIM_PUNCH,     [DIGEST] = 0};
	return calls[k];
}
bool sim_disk_finish(struct sim_disk *d, uint64_t id, struct vms_disk_event *ev)
{
	struct op *o = d->ops;
	while (o && o->id != id)
		o = o->next;
	if (!o)
		return false;
	ev->token = o->token;
	ev->status = 0;
	if (d->fail_call && call_of(o->kind) == d->fail_call) {
		d->fail_call = 0;
		ev->status = d->fail_status;
		op_free(d, o);
		return true;
	}
	/* a file that cannot be removed or punched only costs space: the node goes on */
	if (d->fail && o->kind != DIGEST && o->kind != CTR_UNLINK && o->kind != CTR_PUNCH &&
	    (d->fail == SIM_DISK_READS) == (o->kind == CTR_READ)) {
		d->failed = d->fail;
		if (!d->fail_all)
			d->fail = 0;
		ev->status = VMS_E_IO;
		op_free(d, o);
		return true;
	}
	switch (o->kind) {
	case LOG_WRITE:
		check_lent(o);
		memcpy(d->log + o->off, o->copy, o->len);
		o->done = true;
		if (o->sync) {
			/* Only this write and those ended before it are durable. */
			memcpy(d->log_durable + o->off, o->copy, o->len);
			log_settle(d, o->id);
			op_free(d, o);
		}
		return true;
	case LOG_SYNC:
		log_settle(d, o->upto);
		break;
	case CTR_WRITE:
		check_lent(o);
		if (!ctr_fits(d, o))
			ev->status = VMS_E_NOSPC;
		do_ctr_write(d, o);
		break;
	case CTR_READ:
		ev->status = ctr_read_copy(d, o->ctr, o->off, o->buf, o->len);
		break;
	case CTR_SYNC:
		for (size_t i = 0; i < o->nblks; i++) {
			struct blk *b = o->blks[i];
			if (!b || b->durable == b->cur)
				continue;
			free(b->durable);
			b->durable = b->cur;
		}
		for (size_t i = 0; i < o->nsizes; i++) {
			struct file *f = file_get(d, o->sizes_ctr[i], false);
			if (f) {
				f->durable = true;
				if (o->sizes[i] > f->durable_size)
					f->durable_size = o->sizes[i];
			}
		}
		break;
	case CTR_UNLINK:
		do_unlink(d, o->ctr);
		break;
	case CTR_PUNCH:
		drop_blocks(d, o->ctr, o->off / BLK, (o->off + o->len) / BLK);
		break;
	case COMMIT:
		/* the index lies on the same disk, and mostly uses its own free pages again */
		if (d->others && room(d) < SIM_COMMIT_BYTES && vms_rng_below(&d->rng, 4) == 0) {
			ev->status = VMS_E_NOSPC;
			d->refused++;
			break;
		}
		do_commit(d, o);
		break;
	case DIGEST:
		check_lent(o);
		break;
	}
	op_free(d, o);
	return true;
}

/* dst keeps, takes src, or mixes them by sector. */
static void tear(struct sim_disk *d, uint8_t *dst, const uint8_t *src)
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

void sim_disk_crash(struct sim_disk *d, bool lose_unsynced)
{
	struct op *o, *on;
	struct blk *b, *bt;
	struct file *f, *ft;

	d->failed = d->fail = 0;
	for (o = d->ops; o; o = on) {
		on = o->next;
		switch (o->kind) {
		case LOG_WRITE:
			if (o->done && !lose_unsynced)
				continue; /* still in the machine's cache */
			for (uint64_t i = 0; i < o->len; i += BLK) {
				uint8_t *at = d->log_durable + o->off + i;
				tear(d, at, o->copy + i);
				if (!o->done)
					memcpy(d->log + o->off + i, at, BLK);
			}
			break;
		case CTR_WRITE:
			ctr_fits(d, o);
			if (vms_rng_below(&d->rng, 2))
				do_ctr_write(d, o);
			break;
		case CTR_UNLINK:
			if (vms_rng_below(&d->rng, 2))
				do_unlink(d, o->ctr);
			break;
		case COMMIT:
			if (vms_rng_below(&d->rng, 2))
				do_commit(d, o);
			break;
		default:
			break;
		}
		op_free(d, o);
	}
	if (!lose_unsynced)
		return;
	memcpy(d->log, d->log_durable, d->conf.log_bytes);
	HASH_ITER (hh, d->files, f, ft) {
		if (!f->durable && vms_rng_below(&d->rng, 2)) {
			do_unlink(d, f->ctr);
		} else if (f->size > f->durable_size && vms_rng_below(&d->rng, 2)) {
			drop_blocks(d, f->ctr, f->durable_size / BLK, f->size / BLK + 1);
			f->size = f->durable_size;
		}
	}
	HASH_ITER (hh, d->blks, b, bt) {
		if (b->durable == b->cur)
			continue;
		uint8_t base[BLK] = {0};
		if (b->durable)
			memcpy(base, b->durable, BLK);
		tear(d, base, b->cur);
		memcpy(b->cur, base, BLK);
		free(b->durable);
		b->durable = b->cur;
	}
	/* What a reader finds after the power cut is what the next one leaves. */
	HASH_ITER (hh, d->files, f, ft) {
		f->durable = true;
		f->durable_size = f->size;
	}
}

void sim_disk_fail(struct sim_disk *d, int what, bool all)
{
	d->fail = what;
	d->fail_all = all;
}
void sim_disk_fail_at(struct sim_disk *d, enum sim_disk_call call, int status)
{
	d->fail_call = call;
	d->fail_status = status;
}
int sim_disk_failed(const struct sim_disk *d)
{
	return d->failed;
}
bool sim_disk_dying(const struct sim_disk *d)
{
	return d->fail == SIM_DISK_WRITES || d->failed == SIM_DISK_WRITES;
}
uint64_t sim_disk_container_bytes(const struct sim_disk *d)
{
	return d->bytes;
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

struct vms_disk sim_disk_ops(struct sim_disk *d)
{
	return (struct vms_disk){&ops, d};
}

struct sim_disk *sim_disk_new(const struct sim_disk_conf *conf, uint64_t seed)
{
	struct sim_disk *d = calloc(1, sizeof(*d));
	d->conf = *conf;
	vms_rng_init(&d->rng, seed);
	d->log = calloc(1, conf->log_bytes);
	d->log_durable = calloc(1, conf->log_bytes);
	return d;
}
void sim_disk_free(struct sim_disk *d)
{
	struct blk *b, *bt;
	struct file *f, *ft;
	while (d->ops)
		op_free(d, d->ops);
	HASH_ITER (hh, d->blks, b, bt)
		blk_drop(d, b);
	HASH_ITER (hh, d->files, f, ft) {
		HASH_DEL(d->files, f);
		free(f);
	}
	tfree(d->root);
	free(d->log);
	free(d->log_durable);
	free(d);
}

void sim_disk_space(struct sim_disk *d, uint64_t bytes)
{
	d->conf.space_bytes = bytes;
}

void sim_disk_leave(struct sim_disk *d, uint64_t bytes)
{
	d->others = 0;
	if (bytes != UINT64_MAX && room(d) > bytes)
		d->others = room(d) - bytes;
}
unsigned sim_disk_refused(const struct sim_disk *d)
{
	return d->refused;
}

void sim_disk_hold(struct sim_disk *d, bool hold)
{
	d->hold = hold;
	for (struct op *o = hold ? NULL : d->ops; o; o = o->next)
		if (o->held)
			op_start(d, o, o->kind == CTR_SYNC);
}

void sim_disk_slow_commits(struct sim_disk *d, uint64_t us)
{
	d->commit_us = us;
}

/* ---- rot ---- */
void sim_disk_blocks(const struct sim_disk *d, void (*fn)(void *arg, uint64_t ctr, uint64_t block),
		     void *arg)
{
	struct blk *b, *bt;
	HASH_ITER (hh, d->blks, b, bt)
		fn(arg, b->key.ctr, b->key.no);
}
bool sim_disk_rot(struct sim_disk *d, uint64_t ctr, uint64_t block, uint32_t byte)
{
	struct blk *b = blk_get(d, ctr, block, false);
	if (!b)
		return false;
	b->cur[byte % BLK] ^= 1;
	if (b->durable && b->durable != b->cur)
		b->durable[byte % BLK] ^= 1;
	return true;
}
bool sim_disk_misdirect(struct sim_disk *d, uint64_t ctr, uint64_t block, uint64_t from_ctr,
			uint64_t from_block)
{
	struct blk *b = blk_get(d, ctr, block, false), *f = blk_get(d, from_ctr, from_block, false);
	if (!b || !f)
		return false;
	memcpy(b->cur, f->cur, BLK);
	if (b->durable && b->durable != b->cur)
		memcpy(b->durable, f->cur, BLK);
	return true;
}
bool sim_disk_meta_rot(struct sim_disk *d, const void *key, uint32_t key_bytes, uint32_t byte)
{
	struct node *t = tfind(d->root, key, key_bytes);
	if (!t || !t->vlen)
		return false;
	t->val[byte % t->vlen] ^= 1;
	return true;
}
