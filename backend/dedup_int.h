/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to backend/dedup*.c. */
#ifndef VMS_DEDUP_INT_H
#define VMS_DEDUP_INT_H

#include "backend/dedup.h"
#include "backend/dedup_msg.h"
#include "backend/fplists.h"
#include "backend/hooks.h"
#include "backend/htab.h"
#include "include/types.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

#define DEDUP_LIMIT_MS	  1000u /* of a look-up: then what is not found is unique */
#define DEDUP_STEP_MS	  400u	/* of one question in it: the others go on */
#define DEDUP_FRESH_MS	  100u	/* so long a list of an open container is not asked again */
#define DEDUP_LIST_CHUNKS 4096u /* a hook that is found brings lists of so many chunks */
#define DEDUP_SELF	  VMS_NODES_MAX

struct look;
struct ask { /* one fingerprint of a look-up */
	struct look *look;
	uint32_t idx;
};

/* What waits to be sent to one node, merged per turn; DEDUP_SELF: this node. */
struct dq {
	VMS_VEC(struct ask) hooks, confirms;
	VMS_VEC(struct vms_dm_hook) adds;
	uint64_t adds_ms; /* when the first of them came */
	/* it has started anew, or missed something: it is told all hooks again */
	bool tell_all, telling;
	uint64_t incarnation;
};

struct recent { /* a chunk that was applied lately */
	vms_fp_prefix key;
	vms_addr addr;
};

struct dedup {
	struct dedup_stats st;
	struct vms_hooks *hooks;
	struct vms_fplists *lists;
	struct recent *recent;
	uint32_t recent_mask;
	uint64_t key_mask; /* bits of keys that count: all but in tests */
	struct dq q[VMS_NODES_MAX + 1];
	struct look *looks, *looks_tail; /* by time limit */
	unsigned nlooks;
	struct vms_htab fetches;  /* lists on their way, by container */
	struct confirm *confirms; /* that wait for a SHARE */
	unsigned nconfirms, nserves;
	uint32_t round;
	/* telling hooks again, container by container */
	uint32_t tell_part;
	uint64_t tell_after; /* container number in it */
	bool tell_busy;
	uint64_t tell_ms;
};

static inline vms_fp_prefix dedup_key(const struct dedup *d, const uint8_t fp[32])
{
	return vms_get_le64(fp) & d->key_mask;
}
unsigned dedup_owner(struct vms_node *n, vms_fp_prefix key); /* index of its queue */
void dedup_hook_del(struct vms_node *n, vms_fp_prefix key, uint64_t ctr);

/* ---- dedup_serve.c ---- */
/* Answers per entry; NULL: closing. The entries of `own` are asked by their own
 * partition: applied is enough. fn may be called at once. */
typedef void (*confirm_fn)(struct vms_node *n, void *arg, const struct vms_dm_answer *a);
void confirm_start(struct vms_node *n, const struct vms_dm_confirm *e, unsigned count, uint32_t own,
		   confirm_fn fn, void *arg);
/* Lists of a container and its neighbours, at its primary; payload as in LIST_FETCH. */
typedef void (*lists_fn)(struct vms_node *n, void *arg, int status, const uint8_t *payload,
			 size_t bytes);
void lists_start(struct vms_node *n, uint64_t ctr, uint32_t want, lists_fn fn, void *arg);
void serve_hook_lookup(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void serve_hook_add(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void serve_list(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void serve_confirm(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void serve_timer(struct vms_node *n);
void serve_close(struct vms_node *n);

/* ---- dedup_hooks.c ---- */
void hooks_turn_end(struct vms_node *n);
void hooks_timer(struct vms_node *n);

#endif
