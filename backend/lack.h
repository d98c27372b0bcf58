/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a record lacks whose bytes no node that runs has, and giving it up; see lack.c and
 * doc/storage-node.md "Bytes that nobody has".
 */
#ifndef VMS_LACK_H
#define VMS_LACK_H

#include <stdbool.h>

#include "backend/record.h"
#include "include/types.h"

struct fetch;
struct json_t;
struct lack_twins;
struct part;
struct vms_errmsg;
struct vms_node;

/* A chunk of the record, as the apply lane could put it together. */
struct lack_chunk {
	struct vms_move m;
	vms_addr base;	  /* what lies below it; HOLE: nothing */
	uint8_t over;	  /* sectors that lie in the log */
	uint8_t keep;	  /* those, and what of the base is whole */
	const uint8_t *b; /* its bytes: sectors of keep count */
};

/* ---- the apply lane ---- */

/* References that wait in the log for places of the record: the same content, which can
 * perhaps be put together from what lies under those. NULL: there are none. */
struct lack_twins *lack_twins(struct vms_node *n, struct part *p, uint64_t seq,
			      const struct vms_move *m, unsigned nm);
unsigned lack_twins_count(const struct lack_twins *t);
/* They are read as the last entries of the fetch, from `first` on. */
void lack_twins_fetch(struct vms_node *n, struct part *p, struct lack_twins *t, struct fetch *f,
		      unsigned first);
/* Sectors that the chunk at b lacks are taken from them. True: one of them cannot be read
 * now, but maybe later. */
bool lack_twins_merge(const struct lack_twins *t, const struct fetch *f, const struct vms_move *m,
		      uint8_t *b, uint8_t *over, uint8_t *keep);
void lack_twins_free(struct lack_twins *t);

/* The primary cannot put these chunks of the record together. away: it may be able to
 * later, as nodes are away. */
void lack_note(struct vms_node *n, struct part *p, uint64_t seq, const struct lack_chunk *c,
	       unsigned nc, bool away);
/* The record is applied, or this node leads no more. */
void lack_end(struct vms_node *n, struct part *p);
/* A search has found the bytes of that place of the record. NULL: no. */
const uint8_t *lack_found(const struct part *p, uint64_t seq, vms_addr to);
/* Was it given up by a committed record? Then m says what is left of the chunk. */
bool lack_given(struct vms_node *n, struct part *p, uint64_t seq, struct vms_move *m);

/* ---- administration ---- */

/* {"partitions": [...], "away": [...]}: what those lack that this node leads, of the partitions
 * first to end - 1. */
struct json_t *lack_json(struct vms_node *n, uint32_t first, uint32_t end);
/* Look for what the record of the partition lacks on every node that runs; what none has
 * is given up then. 0: it has begun, or is under way, or was done. */
int lack_give_up(struct vms_node *n, struct json_t *req, struct vms_errmsg *msg);
void lack_timer(struct vms_node *n);

#endif
