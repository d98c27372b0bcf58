// SPDX-License-Identifier: GPL-2.0-only
#include "utils/lib/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define VMS_BUF_FIRST_BYTES 256

void vms_buf_init(struct vms_buf *b, size_t max_bytes)
{
	memset(b, 0, sizeof(*b));
	b->max_bytes = max_bytes;
}

void vms_buf_free(struct vms_buf *b)
{
	free(b->mem);
	b->mem = NULL;
	b->cap_bytes = b->head = b->tail = 0;
}

uint8_t *vms_buf_reserve(struct vms_buf *b, size_t len_bytes)
{
	size_t have = vms_buf_len(b);
	size_t cap;
	uint8_t *mem;

	if (have > b->max_bytes || len_bytes > b->max_bytes - have)
		return NULL;
	if (b->mem && len_bytes <= b->cap_bytes - b->tail)
		return b->mem + b->tail;
	/* Sliding costs a copy of what is left; do it only when that is at most
	 * half of the memory, so that the copying stays linear overall. */
	if (b->mem && have <= b->cap_bytes / 2 && len_bytes <= b->cap_bytes - have) {
		memmove(b->mem, b->mem + b->head, have);
		b->head = 0;
		b->tail = have;
		return b->mem + b->tail;
	}
	cap = b->cap_bytes ? b->cap_bytes : VMS_BUF_FIRST_BYTES;
	while (cap < have + len_bytes)
		cap = cap > SIZE_MAX / 2 ? have + len_bytes : cap * 2;
	mem = malloc(cap);
	if (!mem)
		return NULL;
	if (have)
		memcpy(mem, b->mem + b->head, have);
	free(b->mem);
	b->mem = mem;
	b->cap_bytes = cap;
	b->head = 0;
	b->tail = have;
	return b->mem + b->tail;
}

void vms_buf_commit(struct vms_buf *b, size_t len_bytes)
{
	vms_assert(len_bytes <= b->cap_bytes - b->tail);
	b->tail += len_bytes;
}

bool vms_buf_append(struct vms_buf *b, const void *data, size_t len_bytes)
{
	uint8_t *p;

	if (!len_bytes)
		return true;
	p = vms_buf_reserve(b, len_bytes);
	if (!p)
		return false;
	memcpy(p, data, len_bytes);
	b->tail += len_bytes;
	return true;
}

bool vms_buf_printf(struct vms_buf *b, const char *fmt, ...)
{
	va_list ap;
	uint8_t *p;
	size_t bump;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return false;
	/* one byte more than kept, for the terminator vsnprintf insists on */
	if ((size_t)n > b->max_bytes - vms_buf_len(b))
		return false;
	bump = b->max_bytes < SIZE_MAX;
	b->max_bytes += bump;
	p = vms_buf_reserve(b, (size_t)n + 1);
	b->max_bytes -= bump;
	if (!p)
		return false;
	va_start(ap, fmt);
	vsnprintf((char *)p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->tail += (size_t)n;
	return true;
}

void vms_buf_consume(struct vms_buf *b, size_t len_bytes)
{
	vms_assert(len_bytes <= vms_buf_len(b));
	b->head += len_bytes;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

void vms_buf_clear(struct vms_buf *b)
{
	b->head = b->tail = 0;
}
