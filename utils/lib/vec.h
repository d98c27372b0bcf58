/* SPDX-License-Identifier: GPL-2.0-only */
/* Typed growable arrays.
 *
 *	VMS_VEC(uint64_t) v = VMS_VEC_INIT;
 *	VMS_VEC_PUSH(&v, 7);          v.d[0], v.n
 *	VMS_VEC_FREE(&v);
 *
 * The vector owns d. Pointers into d are valid until the next push or reserve.
 * Running out of memory aborts: vectors hold small bookkeeping; bulk data goes
 * through vms_buf, which has a limit and returns an error. */
#ifndef VMS_VEC_H
#define VMS_VEC_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"

#define VMS_VEC(T)                                                                                 \
	struct {                                                                                   \
		T *d;                                                                              \
		size_t n;                                                                          \
		size_t cap;                                                                        \
	}

/* A named vector type, for struct members and parameters. */
#define VMS_VEC_TYPE(name, T)                                                                      \
	struct name {                                                                              \
		T *d;                                                                              \
		size_t n;                                                                          \
		size_t cap;                                                                        \
	}

#define VMS_VEC_INIT                                                                               \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

static inline void *vms_vec_grow_(void *d, size_t *cap, size_t need, size_t elem_bytes)
{
	size_t c = *cap ? *cap : 8;

	while (c < need) {
		vms_assert(c <= (size_t)-1 / 2 / elem_bytes);
		c *= 2;
	}
	d = realloc(d, c * elem_bytes);
	vms_assert(d);
	*cap = c;
	return d;
}

#define VMS_VEC_RESERVE(v, want)                                                                   \
	do {                                                                                       \
		size_t want_ = (want);                                                             \
		if (want_ > (v)->cap)                                                              \
			(v)->d = vms_vec_grow_((v)->d, &(v)->cap, want_, sizeof(*(v)->d));         \
	} while (0)

#define VMS_VEC_PUSH(v, x)                                                                         \
	do {                                                                                       \
		VMS_VEC_RESERVE((v), (v)->n + 1);                                                  \
		(v)->d[(v)->n++] = (x);                                                            \
	} while (0)

/* Appends one zeroed element and yields a pointer to it. */
#define VMS_VEC_ADD(v)                                                                             \
	({                                                                                         \
		VMS_VEC_RESERVE((v), (v)->n + 1);                                                  \
		memset(&(v)->d[(v)->n], 0, sizeof(*(v)->d));                                       \
		&(v)->d[(v)->n++];                                                                 \
	})

#define VMS_VEC_POP(v)                                                                             \
	({                                                                                         \
		vms_assert((v)->n > 0);                                                            \
		(v)->d[--(v)->n];                                                                  \
	})

#define VMS_VEC_LAST(v) ((v)->d[(v)->n - 1])

/* Removes element i, keeping the order of the rest. */
#define VMS_VEC_REMOVE(v, i)                                                                       \
	do {                                                                                       \
		size_t i_ = (i);                                                                   \
		vms_assert(i_ < (v)->n);                                                           \
		memmove(&(v)->d[i_], &(v)->d[i_ + 1], ((v)->n - i_ - 1) * sizeof(*(v)->d));        \
		(v)->n--;                                                                          \
	} while (0)

/* Removes element i by moving the last one into its place. */
#define VMS_VEC_REMOVE_FAST(v, i)                                                                  \
	do {                                                                                       \
		size_t i_ = (i);                                                                   \
		vms_assert(i_ < (v)->n);                                                           \
		(v)->d[i_] = (v)->d[--(v)->n];                                                     \
	} while (0)

#define VMS_VEC_CLEAR(v) ((void)((v)->n = 0))

#define VMS_VEC_FREE(v)                                                                            \
	do {                                                                                       \
		free((v)->d);                                                                      \
		(v)->d = NULL;                                                                     \
		(v)->n = (v)->cap = 0;                                                             \
	} while (0)

#define VMS_VEC_FOREACH(v, it)                                                                     \
	for (__typeof__(*(v)->d) *it = (v)->d; it && it < (v)->d + (v)->n; it++)

#endif
