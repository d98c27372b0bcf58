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

/* Log position that outcomes have which are in no record here: below all records. */
#define LEARN_OUTCOME_POS 1u

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
/* Is this replica's state at that DIGEST record the primary's? A copy that is being made says
 * so of the one that it asked for only. */
bool learn_compares(const struct vms_node *n, const struct part *p, uint64_t seq);
/* A container that this record opens has died since. */
bool learn_ghost(struct part *p, uint64_t seq, uint64_t ctr);
/* A record did not fit in the log, or did not follow. */
void learn_log_full(struct vms_node *n, struct part *p);
/* learn.c is told how the comparison ended: 0, CORRUPT, GONE (nobody knows). */
void learn_digest(struct vms_node *n, struct part *p, uint64_t seq, int status);
/* Forget the partition's sequence in memory: overlay, records, jobs. */
void part_forget(struct vms_node *n, struct part *p);

#endif
