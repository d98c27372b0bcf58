/* SPDX-License-Identifier: GPL-2.0-only */
/* Large memory that lives as long as its owner: in huge pages where the system gives some
 * when asked (transparent_hugepage = madvise or always), so that walking through it costs
 * fewer misses of the address cache and fewer pages have to be pinned for I/O.
 *
 * Any thread. */
#ifndef VMS_ARENA_H
#define VMS_ARENA_H

#include <stddef.h>

/* Aligned to 4096 at least, contents undefined; NULL: no memory. Ends with free(). */
void *vms_arena_alloc(size_t bytes);

#endif
