/* SPDX-License-Identifier: GPL-2.0-only */
/* The containers of a partition as a node knows them: what is written, referred to, dead. */
#ifndef VMS_PART_CTR_H
#define VMS_PART_CTR_H

#include "include/types.h"

struct part;
struct vms_node;

/* A set of chunk places of a container. */
struct places {
	uint64_t *bit; /* one word per segment */
	uint32_t n;
	uint64_t count;
};

struct ctr {
	uint64_t number;
	uint64_t epoch, incarnation; /* that opened it */
	uint32_t segs;		     /* grid segments used by applied records */
	uint8_t *used;	     /* chunks in each of them, from the first place on; 0: not known */
	uint32_t chunks;     /* written */
	uint64_t live;	     /* estimate between marks */
	struct places mark;  /* found by the running mark of the partition */
	uint64_t mark_gone;  /* references removed since it began */
	struct places rmark; /* found by the running round of the cluster */
	struct places dead;  /* died by PUNCH: they answer GONE */
	uint64_t settled;    /* chunks that are dead, but not worth a punch */
	uint32_t punching;   /* PUNCH records ordered, not applied */
	bool emptying;	     /* in this cycle nobody is given its chunks */
	bool rmarked;	     /* was sealed and shared when the round's walk here began */
	bool rmark_gone;     /* own references were removed since then, marked perhaps */
	bool dead_dirty;
	uint64_t moved_seq; /* last record that moved a chunk out */
	uint64_t stamp;	    /* collection cycle in which it was last given to another partition */
	uint32_t refs_ordered; /* references to it in ordered records that are not applied */
	uint8_t state;	       /* 1 open, 2 sealed, 3 dead */
	bool shared;	       /* other partitions may refer to it (SHARE record) */
	bool sharing;	       /* a SHARE names it, applied or not */
	bool dirty;	       /* changed since the last checkpoint */
	bool marked;	       /* was sealed when the running mark began */
	bool sweeping;	       /* a SWEEP names it */
	bool sealing;	       /* a CTR_SEAL names it */
	bool victim;	       /* being emptied */
};

/* Bytes of a container that are not needed any more. */
struct hole {
	uint64_t ctr, off, len;
};

struct ctr *part_ctr(struct part *p, uint64_t number);
struct ctr *part_ctr_add(struct part *p, uint64_t number);
int part_addr_check(struct vms_node *n, struct part *p, vms_addr a);

bool places_set(struct places *s, vms_addr a); /* true: it was not set */
bool places_has(const struct places *s, vms_addr a);
void places_free(struct places *s);
void places_or(struct places *s, uint32_t seg, uint64_t places);
/* Dead stretches of the container's file that touch these segments. */
void ctr_holes(struct vms_node *n, const struct ctr *c, uint32_t seg, uint32_t end);
void ctr_segs(struct ctr *c, uint32_t segs); /* it has that many now, at least */
void ctr_free(struct ctr *c);

#endif
