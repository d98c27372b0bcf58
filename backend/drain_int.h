/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to drain.c, drain_ctr.c and drain_dedup.c. */
#ifndef VMS_DRAIN_INT_H
#define VMS_DRAIN_INT_H

#include "backend/checkpoint.h"
#include "backend/dedup.h"
#include "backend/record.h"
#include "include/types.h"
#include "utils/lib/vec.h"

struct part;
struct vms_node;

#define DRAIN_JOBS_MAX	64u	    /* partitions drained at once */
#define DRAIN_BATCH_MAX 1024u	    /* chunks read, hashed and looked up together */
#define DRAIN_BYTES_MAX (32u << 20) /* content in batches; every job may have one chunk */
#define DRAIN_AHEAD_MAX 4u	    /* DRAIN records of one partition on their way */
#define CTR_CHUNKS_MIN	256u	    /* a container is not sealed with less, */
#define CTR_CHUNKS_RUN	1024u	    /* nor, of neighbours, with less than an extent */

struct item {
	uint64_t branch, snap_gen;
	uint32_t extent;
	uint16_t chunk, count; /* count > 1: a range */
	uint64_t seq;	       /* range: its seq */
	bool range;
};

struct batch_ent {
	struct vms_move m;
	uint8_t patched;  /* sectors that came from the overlay, any layer */
	uint8_t own;	  /* from pieces of its own layer */
	uint8_t own_zero; /* zeros of its own layer */
	bool take;	  /* still as it was read, and nothing older is left */
	uint8_t *patch;	  /* those sectors, when there is a base below; else they are in chunk */
	const uint8_t *chunk; /* its content, until it is hashed: in data, or in the log */
	uint32_t crc;	      /* in the log: its */
	/* deduplication */
	bool hashing;
	bool again, asked_again; /* the answer was too old when the record was made */
	struct dedup_hit hit;	 /* it may refer to this */
	unsigned same;		 /* 1 + an earlier entry of the batch with the same content */
	vms_addr put;		 /* where this batch has put it, for those */
};

struct drain_job {
	VMS_VEC(struct item) items;
	size_t at;
	bool busy, dead; /* a base read, hashing or a look-up is under way */
	bool reading;	 /* the first of these */
	bool nested;	 /* its end must not go on by itself */
	bool ordered;	 /* a record, at least */
	bool faded;	 /* something was left because of a newer write on its way */
	bool run;	 /* nearly all of it are neighbours, and more than a container's */
	/* the batch in work: what is before `next` is settled */
	unsigned n, next, room;
	struct batch_ent *e;
	uint8_t *data;
	struct log_lend lend; /* of the chunks that lie in the log */
};

/* The newest record whose place in the log is below pos. */
uint64_t drain_seq_below(const struct part *p, uint64_t pos, unsigned mut);
void drain_job_free(struct vms_node *n, struct drain_job *d);
/* Content of the batch is there: hash it and look for it, then call done(). False:
 * nothing to be done, the caller goes on itself. */
bool drain_dedup(struct vms_node *n, struct part *p, struct drain_job *d,
		 void (*done)(struct vms_node *n, struct part *p, struct drain_job *d));
/* Ask once more for the entries that are marked `again`; false: there are none. */
bool drain_dedup_again(struct vms_node *n, struct part *p, struct drain_job *d,
		       void (*done)(struct vms_node *n, struct part *p, struct drain_job *d));

/* drain_ctr.c. All of a run is ordered: a container that is larger for its sake does not stay
 * open, where half of it may be dead for long. If the log has no room, the next drain seals
 * it. */
void drain_run_end(struct vms_node *n, struct part *p);
/* Containers that an earlier process or epoch left open are sealed at their end. */
void drain_seal_left(struct vms_node *n, struct part *p);

#endif
