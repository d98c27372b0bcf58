/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sparse index of deduplication: from hooks to containers. A hook is a fingerprint
 * whose low 5 bits are zero (1 in 32); the table tells in which container a chunk
 * with that fingerprint lies. Memory only, and advice only: whatever it says is
 * confirmed against the container, and losing it loses no data.
 *
 * 8 bytes an entry: a tag of 31 bits and the container number. 256 sub-tables of
 * open addressing grow one by one in steps of a quarter, so that the load stays
 * between 0.68 and 0.85 and no insertion moves more than 1/256 of all: at most 0.37
 * bytes per unique chunk. At the configured bound an older entry gives way.
 *
 * Pure; one owner thread. Keeps invariant 23 by being advice.
 */
#ifndef VMS_HOOKS_H
#define VMS_HOOKS_H

#include "include/types.h"

/* The first 8 bytes of a fingerprint, as lists and hooks know it. */
typedef uint64_t vms_fp_prefix;

#define VMS_HOOK_MASK 31u
static inline bool vms_is_hook(vms_fp_prefix p)
{
	return (p & VMS_HOOK_MASK) == 0;
}

struct vms_hooks;
struct vms_hooks *vms_hooks_new(uint64_t bytes_max);
void vms_hooks_free(struct vms_hooks *h);
/* The first container keeps its hooks (its neighbourhood is the fuller one); old: the
 * chunk has moved, replace that container. */
void vms_hooks_add(struct vms_hooks *h, vms_fp_prefix hook, uint64_t ctr, uint64_t old);
uint64_t vms_hooks_find(const struct vms_hooks *h, vms_fp_prefix hook); /* 0: none */
/* Only if it still names this container. */
void vms_hooks_del(struct vms_hooks *h, vms_fp_prefix hook, uint64_t ctr);
uint64_t vms_hooks_count(const struct vms_hooks *h);
uint64_t vms_hooks_bytes(const struct vms_hooks *h);
uint64_t vms_hooks_evicted(const struct vms_hooks *h);

#endif
