/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Op outcomes: the last op per (partition, gateway, incarnation, slot), so that
 * a retry never applies twice, also after a restart (rules C5). Filled from log
 * records on every replica, checkpointed before their log is freed, forgotten a
 * while (well above 2 T_op) after they were committed. Owner: the node thread. Keeps invariant 4.
 */
#ifndef VMS_OUTCOME_H
#define VMS_OUTCOME_H

#include "backend/htab.h"
#include "backend/meta.h"
#include "include/err.h"

struct vms_outcome {
	struct vms_hlink link;
	struct vms_outcome *older, *newer; /* by time learnt */
	uint32_t partition;
	struct vms_opid op;
	int32_t status;
	uint32_t aux;
	uint64_t seq;	  /* of its record */
	uint64_t log_pos; /* of its record, to know when its log is freed */
	uint64_t time_ms; /* learnt */
	void *pending;	  /* the op while it is not committed, or held (owner's) */
	bool held;	  /* committed, and not to be told yet */
	bool stored;	  /* in the index */
};

struct vms_outcomes {
	struct vms_htab tab;
	struct vms_outcome *oldest, *newest;
	/* It and what is older: too old, stored, left alone until there is a batch to delete
	 * their keys with. */
	struct vms_outcome *passed;
	uint64_t n;
	uint64_t looked; /* entries that vms_outcomes_expire() has looked at */
};

void vms_outcomes_init(struct vms_outcomes *t);
void vms_outcomes_close(struct vms_outcomes *t);
struct vms_outcome *vms_outcome_find(const struct vms_outcomes *t, uint32_t partition,
				     const struct vms_opid *op);
/* The entry of the op's slot is made or taken over. */
struct vms_outcome *vms_outcome_put(struct vms_outcomes *t, uint32_t partition,
				    const struct vms_opid *op, int32_t status, uint32_t aux,
				    uint64_t seq, uint64_t log_pos, uint64_t now_ms);
/* The op is committed: its time counts from now. */
void vms_outcome_settle(struct vms_outcomes *t, struct vms_outcome *o, uint64_t now_ms);
void vms_outcome_drop(struct vms_outcomes *t, struct vms_outcome *o);
/* Forget what was learnt before this time; keys that lie in the index are
 * deleted through b; without b entries that have one stay. Entries with pending stay. */
int vms_outcomes_expire(struct vms_outcomes *t, uint64_t before_ms, struct vms_meta_batch *b);
/* Store entries whose records lie below log_pos and are not stored yet. */
int vms_outcomes_store(struct vms_outcomes *t, uint64_t log_pos, struct vms_meta_batch *b);
/* Those of a partition are forgotten; keys that lie in the index are deleted through b. */
int vms_outcomes_drop_part(struct vms_outcomes *t, uint32_t partition, struct vms_meta_batch *b);
/* The next ones of a partition whose ops are committed, in the order of (gateway,
 * incarnation, slot), behind `after` (NULL: from the first); returns their number. */
unsigned vms_outcomes_list(const struct vms_outcomes *t, uint32_t partition,
			   const struct vms_opid *after, const struct vms_outcome **out,
			   unsigned room);
/* The stored entry under this key is damaged: it is stored again. */
void vms_outcomes_again(struct vms_outcomes *t, const uint8_t *key, uint32_t key_bytes);
/* Read the index back at start. */
int vms_outcomes_load(struct vms_outcomes *t, const struct vms_disk *d, uint64_t now_ms);

#endif
