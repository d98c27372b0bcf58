/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers for data in and out of tgt's commands, in power-of-two classes.
 *
 * A buffer is found again by its address alone: classes up to 64 KiB are cut
 * from 1 MiB chunks, larger ones own a chunk; every chunk starts on a 1 MiB
 * boundary with a header page. Free buffers are kept per class: a command at
 * depth costs two list operations, not a page fault per 4 KiB. What is in use is
 * bounded (BUF_INUSE_MAX), what is kept for large classes too (BUF_KEEP_MAX).
 *
 * Owner: the loop's thread, except that tgt's own file stores fill buffers from
 * their worker threads; they never allocate or free here.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "list.h"
#include "util.h"
#include "tgtd.h"
#include "target.h"

#include "target/tgt_glue.h"

#if defined(__SANITIZE_ADDRESS__)

/* The sanitizer's own allocator finds more; it needs each buffer's exact size. */
void *tgt_buf_alloc(uint32_t len_bytes)
{
	void *p = NULL;

	if (len_bytes > TGT_DATA_BYTES_MAX)
		return NULL;
	if (posix_memalign(&p, len_bytes >= 4096 ? 4096 : 16, len_bytes ? len_bytes : 1))
		return NULL;
	return p;
}

void tgt_buf_free(void *buf)
{
	free(buf);
}

#else

#define CHUNK_BYTES	(1UL << 20)
#define HEAD_BYTES	4096UL
#define CLASS_MIN_SHIFT 9  /* 512 B */
#define CLASS_CUT_SHIFT 16 /* 64 KiB: the largest cut from a chunk */
#define CLASS_MAX_SHIFT 24 /* 16 MiB */
#define CLASS_NR	(CLASS_MAX_SHIFT - CLASS_MIN_SHIFT + 1)
#define CHUNK_MAGIC	0x76627566U
#define BUF_INUSE_MAX	(1ULL << 30)
#define BUF_KEEP_MAX	(64ULL << 20)

struct chunk {
	uint32_t magic;
	uint32_t shift;
};

struct free_buf {
	struct free_buf *next;
};

static struct {
	struct free_buf *free[CLASS_NR];
	uint64_t inuse_bytes;
	uint64_t kept_bytes; /* large classes only */
} pool;

static unsigned int class_shift(uint32_t len_bytes)
{
	if (len_bytes <= (1U << CLASS_MIN_SHIFT))
		return CLASS_MIN_SHIFT;
	return 32 - __builtin_clz(len_bytes - 1);
}

static struct chunk *chunk_of(void *buf)
{
	return (struct chunk *)((uintptr_t)buf & ~(CHUNK_BYTES - 1));
}

/* Map bytes at a CHUNK_BYTES boundary. */
static void *map_aligned(size_t bytes)
{
	size_t span = bytes + CHUNK_BYTES;
	uint8_t *p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *a;

	if (p == MAP_FAILED)
		return NULL;
	a = (uint8_t *)(((uintptr_t)p + CHUNK_BYTES - 1) & ~(CHUNK_BYTES - 1));
	if (a > p)
		munmap(p, a - p);
	if (a + bytes < p + span)
		munmap(a + bytes, p + span - (a + bytes));
	return a;
}

static int refill(unsigned int shift)
{
	size_t size = 1UL << shift, off;
	struct chunk *c;

	if (shift > CLASS_CUT_SHIFT) {
		c = map_aligned(HEAD_BYTES + size);
		if (!c)
			return -ENOMEM;
	} else {
		c = map_aligned(CHUNK_BYTES);
		if (!c)
			return -ENOMEM;
	}
	c->magic = CHUNK_MAGIC;
	c->shift = shift;
	off = HEAD_BYTES;
	do {
		struct free_buf *b = (void *)((uint8_t *)c + off);

		b->next = pool.free[shift - CLASS_MIN_SHIFT];
		pool.free[shift - CLASS_MIN_SHIFT] = b;
		off += size;
	} while (shift <= CLASS_CUT_SHIFT && off + size <= CHUNK_BYTES);
	if (shift > CLASS_CUT_SHIFT)
		pool.kept_bytes += size;
	return 0;
}

void *tgt_buf_alloc(uint32_t len_bytes)
{
	unsigned int shift = class_shift(len_bytes);
	struct free_buf **head, *b;

	if (shift > CLASS_MAX_SHIFT || pool.inuse_bytes + (1UL << shift) > BUF_INUSE_MAX)
		return NULL;
	head = &pool.free[shift - CLASS_MIN_SHIFT];
	if (!*head && refill(shift))
		return NULL;
	b = *head;
	*head = b->next;
	pool.inuse_bytes += 1UL << shift;
	if (shift > CLASS_CUT_SHIFT)
		pool.kept_bytes -= 1UL << shift;
	return b;
}

void tgt_buf_free(void *buf)
{
	struct free_buf *b = buf;
	struct chunk *c;

	if (!buf)
		return;
	c = chunk_of(buf);
	if (c->magic != CHUNK_MAGIC) {
		eprintf("freeing %p, which is no buffer of ours\n", buf);
		abort();
	}
	pool.inuse_bytes -= 1UL << c->shift;
	if (c->shift > CLASS_CUT_SHIFT) {
		if (pool.kept_bytes + (1UL << c->shift) > BUF_KEEP_MAX) {
			munmap(c, HEAD_BYTES + (1UL << c->shift));
			return;
		}
		pool.kept_bytes += 1UL << c->shift;
	}
	b->next = pool.free[c->shift - CLASS_MIN_SHIFT];
	pool.free[c->shift - CLASS_MIN_SHIFT] = b;
}

#endif

void *scsi_alloc_in_buf(struct scsi_cmd *cmd, uint32_t len_bytes)
{
	void *buf = tgt_buf_alloc(len_bytes);

	if (!buf)
		return NULL;
	tgt_buf_free(scsi_get_in_buffer(cmd));
	scsi_set_in_buffer(cmd, buf);
	return buf;
}

void scsi_set_in_iov(struct scsi_cmd *cmd, const struct iovec *iov, int iovcnt,
		     void (*unpin)(void *arg), void *arg)
{
	tgt_buf_free(scsi_get_in_buffer(cmd));
	scsi_set_in_buffer(cmd, NULL);
	cmd->in_iov = iov;
	cmd->in_iovcnt = iovcnt;
	cmd->in_unpin = unpin;
	cmd->in_unpin_arg = arg;
}
