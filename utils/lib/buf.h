/* SPDX-License-Identifier: GPL-2.0-only */
/* A growable byte buffer that is filled at its tail and consumed at its head,
 * with a hard limit on what it holds (all queues are bounded).
 *
 * Pointers into the buffer are valid until the next reserve, append or consume.
 * Owner thread: whoever owns the struct. */
#ifndef VMS_BUF_H
#define VMS_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vms_buf {
	uint8_t *mem;	  /* owned */
	size_t cap_bytes; /* allocated */
	size_t head;	  /* offset of the first unconsumed byte */
	size_t tail;	  /* offset one past the last byte */
	size_t max_bytes; /* most bytes it may hold unconsumed */
};

/* max_bytes: limit on the unconsumed bytes; nothing is allocated yet. */
void vms_buf_init(struct vms_buf *b, size_t max_bytes);
void vms_buf_free(struct vms_buf *b);

static inline size_t vms_buf_len(const struct vms_buf *b)
{
	return b->tail - b->head;
}

static inline uint8_t *vms_buf_data(struct vms_buf *b)
{
	return b->mem ? b->mem + b->head : NULL;
}

/* Room for len_bytes at the tail, or NULL when the limit would be exceeded or
 * memory is out (the buffer is unchanged then). Follow with vms_buf_commit(). */
uint8_t *vms_buf_reserve(struct vms_buf *b, size_t len_bytes);

/* Makes the first len_bytes of the reserved room part of the buffer. */
void vms_buf_commit(struct vms_buf *b, size_t len_bytes);

/* False when the limit would be exceeded or memory is out; nothing is appended. */
bool vms_buf_append(struct vms_buf *b, const void *data, size_t len_bytes);
__attribute__((format(printf, 2, 3))) bool vms_buf_printf(struct vms_buf *b, const char *fmt, ...);

/* Drops len_bytes from the head; len_bytes must not exceed vms_buf_len(). */
void vms_buf_consume(struct vms_buf *b, size_t len_bytes);

/* Empties the buffer and keeps its memory. */
void vms_buf_clear(struct vms_buf *b);

#endif
