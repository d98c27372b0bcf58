/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small vms_disk in memory for unit tests. Asynchronous calls are done when
 * mem_disk_pop() takes their event, in order, so a test decides what has ended;
 * fail_next makes the next write, sync or commit end with an error.
 */
#ifndef VMS_TESTS_MEM_DISK_H
#define VMS_TESTS_MEM_DISK_H

#include <stdlib.h>
#include <string.h>

#include "backend/meta.h"
#include "include/disk.h"
#include "include/err.h"
#include "utils/lib/assert.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/fp.h"
#include "utils/lib/vec.h"

struct mem_kv {
	uint8_t key[VMS_META_KEY_BYTES_MAX + 1];
	uint32_t key_bytes, val_bytes;
	uint8_t *val;
};

struct mem_file {
	uint64_t ctr, size_bytes, room_bytes;
	uint8_t *data;
};

struct mem_op {
	enum { MEM_LOG, MEM_CTR, MEM_SYNC, MEM_UNLINK, MEM_COMMIT, MEM_READ } kind;
	uint64_t token, ctr, off;
	const void *buf;
	void *into;
	size_t len;
	const struct vms_iov *iov;
	unsigned niov;
	const struct vms_meta_batch *batch;
	bool sync;
};

struct mem_disk {
	struct vms_disk disk;
	uint8_t *log;
	uint64_t log_bytes;
	VMS_VEC(struct mem_kv) kv; /* sorted */
	VMS_VEC(struct mem_file) file;
	VMS_VEC(struct mem_op) op;
	int fail_next; /* status of the next op that ends, nothing written */
	unsigned log_writes;
	unsigned seeks;
};

static inline int mem_cmp(const void *a, uint32_t an, const void *b, uint32_t bn)
{
	int c = memcmp(a, b, an < bn ? an : bn);

	return c ? c : an < bn ? -1 : an > bn;
}

/* Number of keys < key. */
static inline size_t mem_lower(const struct mem_disk *m, const void *key, uint32_t n)
{
	size_t lo = 0, hi = m->kv.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (mem_cmp(m->kv.d[mid].key, m->kv.d[mid].key_bytes, key, n) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline struct mem_kv *mem_kv_find(struct mem_disk *m, const void *key, uint32_t n)
{
	size_t i = mem_lower(m, key, n);

	if (i < m->kv.n && !mem_cmp(m->kv.d[i].key, m->kv.d[i].key_bytes, key, n))
		return &m->kv.d[i];
	return NULL;
}

static inline void mem_apply(struct mem_disk *m, const struct vms_meta_batch *b)
{
	struct vms_meta_op op;

	for (size_t at = 0; vms_meta_batch_next(b, &at, &op);) {
		struct mem_kv *kv = mem_kv_find(m, op.key, op.key_bytes);

		if (op.op == 2) {
			if (kv) {
				free(kv->val);
				VMS_VEC_REMOVE(&m->kv, (size_t)(kv - m->kv.d));
			}
			continue;
		}
		if (!kv) {
			size_t i = mem_lower(m, op.key, op.key_bytes);

			(void)VMS_VEC_ADD(&m->kv);
			memmove(&m->kv.d[i + 1], &m->kv.d[i], (m->kv.n - 1 - i) * sizeof(*m->kv.d));
			kv = &m->kv.d[i];
			memset(kv, 0, sizeof(*kv));
			memcpy(kv->key, op.key, op.key_bytes);
			kv->key_bytes = op.key_bytes;
		}
		free(kv->val);
		kv->val = malloc(op.val_bytes + 1);
		memcpy(kv->val, op.val, op.val_bytes);
		kv->val_bytes = op.val_bytes;
	}
}

static inline struct mem_file *mem_file_get(struct mem_disk *m, uint64_t ctr, bool make)
{
	VMS_VEC_FOREACH (&m->file, f)
		if (f->ctr == ctr)
			return f;
	if (!make)
		return NULL;
	struct mem_file *n = VMS_VEC_ADD(&m->file);

	n->ctr = ctr;
	return n;
}

static inline uint64_t mem_log_size(void *ctx)
{
	return ((struct mem_disk *)ctx)->log_bytes;
}

static inline int mem_log_read(void *ctx, uint64_t off, void *buf, size_t len)
{
	struct mem_disk *m = ctx;

	vms_assert(off % 4096 == 0 && len % 4096 == 0 && off + len <= m->log_bytes);
	memcpy(buf, m->log + off, len);
	return 0;
}

static inline int mem_log_write_now(void *ctx, uint64_t off, const void *buf, size_t len)
{
	struct mem_disk *m = ctx;

	vms_assert(off % 4096 == 0 && len % 4096 == 0 && off + len <= m->log_bytes);
	memcpy(m->log + off, buf, len);
	return 0;
}

static inline void mem_log_write(void *ctx, uint64_t off, const void *buf, size_t len, bool sync,
				 uint64_t token)
{
	struct mem_disk *m = ctx;

	vms_assert(off % 4096 == 0 && len % 4096 == 0 && len && off + len <= m->log_bytes);
	vms_assert((uintptr_t)buf % 4096 == 0);
	m->log_writes++;
	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_LOG,
					      .token = token,
					      .off = off,
					      .buf = buf,
					      .len = len,
					      .sync = sync}));
}

static inline void mem_sync(void *ctx, uint64_t token)
{
	struct mem_disk *m = ctx;

	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_SYNC, .token = token}));
}

static inline void mem_ctr_write(void *ctx, uint64_t ctr, uint64_t off, const struct vms_iov *iov,
				 unsigned niov, uint64_t token)
{
	struct mem_disk *m = ctx;

	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_CTR,
					      .token = token,
					      .ctr = ctr,
					      .off = off,
					      .iov = iov,
					      .niov = niov}));
}

static inline int mem_ctr_read_now(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len)
{
	struct mem_file *f = mem_file_get(ctx, ctr, false);

	if (!f || off + len > f->size_bytes)
		return VMS_E_NOENT;
	memcpy(buf, f->data + off, len);
	return 0;
}

static inline void mem_ctr_read(void *ctx, uint64_t ctr, uint64_t off, void *buf, size_t len,
				uint64_t token)
{
	struct mem_disk *m = ctx;

	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_READ,
					      .token = token,
					      .ctr = ctr,
					      .off = off,
					      .into = buf,
					      .len = len}));
}

static inline void mem_ctr_unlink(void *ctx, uint64_t ctr, uint64_t token)
{
	struct mem_disk *m = ctx;

	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_UNLINK, .token = token, .ctr = ctr}));
}

static inline void mem_ctr_punch(void *ctx, uint64_t ctr, uint64_t off, uint64_t len,
				 uint64_t token)
{
	mem_sync(ctx, token);
}

static inline int mem_ctr_list(void *ctx, vms_ctr_list_fn fn, void *arg)
{
	struct mem_disk *m = ctx;
	int ret = 0;

	for (size_t i = 0; i < m->file.n && !ret; i++)
		ret = fn(arg, m->file.d[i].ctr, m->file.d[i].size_bytes);
	return ret;
}

static inline int mem_meta_get(void *ctx, const void *key, uint32_t n, void *val, uint32_t room)
{
	struct mem_kv *kv = mem_kv_find(ctx, key, n);

	if (!kv)
		return VMS_E_NOENT;
	memcpy(val, kv->val, kv->val_bytes < room ? kv->val_bytes : room);
	return (int)kv->val_bytes;
}

static inline int mem_meta_last_le(void *ctx, const void *key, uint32_t n, void *found,
				   uint32_t *found_bytes, void *val, uint32_t room)
{
	struct mem_disk *m = ctx;
	size_t i = mem_lower(m, key, n);
	struct mem_kv *kv = mem_kv_find(m, key, n);

	m->seeks++;
	if (!kv) {
		if (!i)
			return VMS_E_NOENT;
		kv = &m->kv.d[i - 1];
	}
	vms_assert(*found_bytes >= kv->key_bytes);
	memcpy(found, kv->key, kv->key_bytes);
	*found_bytes = kv->key_bytes;
	memcpy(val, kv->val, kv->val_bytes < room ? kv->val_bytes : room);
	return (int)kv->val_bytes;
}

static inline int mem_meta_range(void *ctx, const void *from, uint32_t from_bytes, const void *to,
				 uint32_t to_bytes, vms_meta_iter_fn fn, void *arg)
{
	struct mem_disk *m = ctx;
	int ret = 0;

	for (size_t i = mem_lower(m, from, from_bytes); i < m->kv.n && !ret; i++) {
		struct mem_kv *kv = &m->kv.d[i];

		if (mem_cmp(kv->key, kv->key_bytes, to, to_bytes) >= 0)
			break;
		ret = fn(arg, kv->key, kv->key_bytes, kv->val, kv->val_bytes);
	}
	return ret;
}

static inline void mem_meta_commit(void *ctx, const struct vms_meta_batch *b, uint64_t token)
{
	struct mem_disk *m = ctx;

	VMS_VEC_PUSH(&m->op, ((struct mem_op){.kind = MEM_COMMIT, .token = token, .batch = b}));
}

static inline int mem_space(void *ctx, uint64_t *free_bytes, uint64_t *total_bytes,
			    uint32_t *permille)
{
	*free_bytes = *total_bytes = 1ull << 40;
	*permille = 10;
	return 0;
}

static inline void mem_digest(void *ctx, const struct vms_digest *job, uint64_t token)
{
	struct vms_fp *fp = vms_fp_open(job->salt, job->salt_bytes);

	for (uint32_t i = 0; i < job->n; i++) {
		vms_fp_chunk(fp, job->chunk[i], VMS_CHUNK_BYTES, job->out[i]);
		job->crc[i] = vms_crc32c(0, job->chunk[i], VMS_CHUNK_BYTES);
	}
	vms_fp_close(fp);
	mem_sync(ctx, token);
}

/* Carry out the oldest op and give its event: false when there is none. */
static inline bool mem_disk_pop(struct mem_disk *m, struct vms_disk_event *ev)
{
	struct mem_op op;
	uint64_t at;

	if (!m->op.n)
		return false;
	op = m->op.d[0];
	VMS_VEC_REMOVE(&m->op, 0);
	*ev = (struct vms_disk_event){op.token, m->fail_next};
	m->fail_next = 0;
	if (ev->status)
		return true;
	switch (op.kind) {
	case MEM_LOG:
		memcpy(m->log + op.off, op.buf, op.len);
		break;
	case MEM_CTR:
		at = op.off;
		for (unsigned i = 0; i < op.niov; i++) {
			struct mem_file *f = mem_file_get(m, op.ctr, true);

			if (at + op.iov[i].len > f->room_bytes) {
				uint64_t room = (at + op.iov[i].len) * 2;

				f->data = realloc(f->data, room);
				memset(f->data + f->room_bytes, 0, room - f->room_bytes);
				f->room_bytes = room;
			}
			memcpy(f->data + at, op.iov[i].base, op.iov[i].len);
			at += op.iov[i].len;
			if (at > f->size_bytes)
				f->size_bytes = at;
		}
		break;
	case MEM_COMMIT:
		mem_apply(m, op.batch);
		break;
	case MEM_READ:
		ev->status = mem_ctr_read_now(m, op.ctr, op.off, op.into, op.len);
		break;
	case MEM_UNLINK: {
		struct mem_file *f = mem_file_get(m, op.ctr, false);

		if (f) {
			free(f->data);
			VMS_VEC_REMOVE(&m->file, (size_t)(f - m->file.d));
		}
		break;
	}
	case MEM_SYNC:
		break;
	}
	return true;
}

static inline void mem_disk_init(struct mem_disk *m, uint64_t log_bytes)
{
	static const struct vms_disk_ops ops = {
		.struct_bytes = sizeof(struct vms_disk_ops),
		.log_size_bytes = mem_log_size,
		.log_read = mem_log_read,
		.log_write = mem_log_write,
		.log_sync = mem_sync,
		.ctr_write = mem_ctr_write,
		.ctr_read = mem_ctr_read,
		.ctr_read_now = mem_ctr_read_now,
		.ctr_sync = mem_sync,
		.ctr_unlink = mem_ctr_unlink,
		.ctr_punch = mem_ctr_punch,
		.ctr_list = mem_ctr_list,
		.meta_get = mem_meta_get,
		.meta_last_le = mem_meta_last_le,
		.meta_range = mem_meta_range,
		.meta_commit = mem_meta_commit,
		.space = mem_space,
		.log_write_now = mem_log_write_now,
		.digest = mem_digest,
	};

	*m = (struct mem_disk){.log_bytes = log_bytes};
	m->disk = (struct vms_disk){&ops, m};
	m->log = calloc(1, log_bytes ? log_bytes : 1);
	vms_assert(m->log);
}

static inline void mem_disk_free(struct mem_disk *m)
{
	VMS_VEC_FOREACH (&m->kv, kv)
		free(kv->val);
	VMS_VEC_FOREACH (&m->file, f)
		free(f->data);
	VMS_VEC_FREE(&m->kv);
	VMS_VEC_FREE(&m->file);
	VMS_VEC_FREE(&m->op);
	free(m->log);
}

#endif
