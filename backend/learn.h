/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A partition's copy is made, or brought up to date, on a node that is not in its
 * set: the learner pulls it from the primary (learn.c), which feeds it
 * (learn_serve.c). Bodies of the messages: doc/wire-format.md "LEARN". How every
 * kind of durable state gets there: doc/storage-node.md "Copies are made again".
 */
#ifndef VMS_LEARN_H
#define VMS_LEARN_H

#include "include/types.h"

struct vms_node;
struct part;
struct conn;
struct peer;
struct vms_msg;

/* LEARN: aux. */
enum learn_op {
	LOP_START = 1, /* primary -> learner: pull from me */
	LOP_STOP = 2,
	/* learner -> primary */
	LOP_BEGIN = 3,
	LOP_LOG = 4,
	LOP_STREAM = 5,
	LOP_PAGES = 6,
	LOP_OUTCOMES = 7,
	LOP_CTRS = 8,
	LOP_HEADS = 9,
	LOP_SEG = 10,
	LOP_CHECK = 11,
	LOP_READY = 12,
	LOP_PROGRESS = 13,
	LOP_FAILED = 14,
	LOP_UNFIT = 15, /* member -> primary: a record cannot be applied to my copy */
};

/* A feed, at the primary. */
struct feed {
	struct feed *next;
	uint32_t node;
	uint64_t id; /* told in each of its messages */
	int st;	     /* enum learn_state */
	uint64_t heard_ms, again_ms;
	unsigned fails;
	uint64_t hold_log; /* records from here on stay in the log; UINT64_MAX: none */
	bool hold_ctrs;	   /* nothing of the partition's containers dies */
	bool base;	   /* the whole copy, not the log alone */
	bool heavy;	   /* it has, or is given, one of the places for such */
	bool streams;	   /* it gets new records as a member does */
	/* as the learner tells */
	uint8_t phase;
	uint64_t done_bytes, total_bytes, moved_bytes, lost_chunks;
	char why[200];
};

/* Log position that outcomes have which are in no record here: below all records. */
#define LEARN_OUTCOME_POS 1u

/* learn_serve.c */
struct feed *feed_get(const struct part *p, uint32_t node);
void learn_serve_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
bool feed_holds_ctrs(const struct vms_node *n, const struct part *p);
uint64_t feed_keep_seq(const struct part *p); /* the log from there on must stay */
void feed_timer(struct vms_node *n);
void feed_peer_lost(struct vms_node *n, struct peer *pe);
void feeds_close(struct vms_node *n, struct part *p);

/* learn.c */
const char *learn_phase_name(unsigned phase); /* in words */
void learn_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void learn_timer(struct vms_node *n);
void learn_peer_lost(struct vms_node *n, struct peer *pe);
/* The catalog told something new of the partition: a member ends learning. */
void learn_conf(struct vms_node *n, struct part *p);
void learn_close(struct vms_node *n, struct part *p);
/* Its primary goes on in another epoch. */
void learn_epoch(struct part *p, uint64_t epoch);
/* The apply lane waits: the base copy is not complete. */
bool learn_holds(const struct vms_node *n, const struct part *p);
/* A record that puts bytes at this address: they are there already, or their container
 * is gone for good. */
bool learn_has(const struct vms_node *n, struct part *p, uint64_t seq, vms_addr a);
/* A container that this record opens has died since. */
bool learn_ghost(struct part *p, uint64_t seq, uint64_t ctr);
/* A record did not fit in the log, or did not follow. */
void learn_log_full(struct vms_node *n, struct part *p);
/* Forget the partition's sequence in memory: overlay, records, jobs. */
void part_forget(struct vms_node *n, struct part *p);

/* digest.c */
/* Order a DIGEST record, or name the one that is on its way. 0 and its seq, or AGAIN. */
int digest_order(struct vms_node *n, struct part *p, uint64_t *seq);
/* True: the record is being worked on, the lane goes on by apply_run() later. */
bool digest_apply(struct vms_node *n, struct part *p, uint64_t seq);
void digest_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void digest_timer(struct vms_node *n);
/* learn.c is told how the comparison ended: 0, CORRUPT, GONE (nobody knows). */
void learn_digest(struct vms_node *n, struct part *p, uint64_t seq, int status);
/* Is one being summed up, or told to the primary? */
bool digest_under_way(const struct part *p);
void digest_close(struct vms_node *n, struct part *p);
/* What this replica holds at a seq: pages, containers, outcomes, positions. */
struct digest_sum {
	uint64_t pages, ctrs, outcomes, pos;
	uint64_t npages, nctrs;
};

/* out.c */
void out_timer(struct vms_node *n);
void out_query_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void out_close(struct part *p);
/* The copy is being deleted, or is about to be: it cannot be learnt now. */
bool out_deleting(const struct part *p);

#endif
