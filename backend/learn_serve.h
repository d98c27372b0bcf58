/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies of partitions are fed by their primaries: the answering side of learn.c. */
#ifndef VMS_LEARN_SERVE_H
#define VMS_LEARN_SERVE_H

#include "include/types.h"

struct conn;
struct part;
struct peer;
struct vms_msg;
struct vms_node;

/* One that is being fed. */
struct feed {
	struct feed *next;
	uint32_t node;
	uint64_t id; /* told in each of its messages */
	int st;	     /* enum learn_state */
	uint64_t heard_ms, again_ms;
	unsigned fails;
	uint8_t outrun;	    /* attempts that ended as the own log filled up */
	uint64_t hold_log;  /* records from here on stay in the log; UINT64_MAX: none */
	bool hold_ctrs;	    /* nothing of the partition's containers dies */
	bool base;	    /* the whole copy, not the log alone */
	bool heavy;	    /* it has, or is given, one of the places for such */
	bool streams;	    /* it gets new records as a member does */
	uint64_t pre_bytes; /* in containers when the pass before began; 0: it is not on */
	bool urgent;	    /* fed without regard to the limit */
	/* as the learner tells */
	uint8_t phase;
	uint64_t done_bytes, total_bytes, moved_bytes, lost_chunks;
	char why[200];
};

/* How fast copies are fed. */
struct move_rate {
	int64_t tokens;
	uint64_t at_ms, look_ms;
	unsigned slow; /* rate >> slow: clients wait */
};

enum learn_state {
	LEARN_NONE,
	LEARN_COPY,
	LEARN_VERIFY,
	LEARN_READY,  /* has everything, compared equal: may become a member */
	LEARN_FAILED, /* ended; learn_stop() forgets it */
	LEARN_WAITS,  /* needs everything, and others are at it: takes no place meanwhile */
};

/* Nothing of it runs: it is started (again) some time. */
static inline bool feed_rests(const struct feed *f)
{
	return f->st == LEARN_FAILED || f->st == LEARN_WAITS;
}

/* Begin to feed that node. False: not now. */
bool learn_start(struct vms_node *n, struct part *p, struct peer *pe);
enum learn_state learn_state(const struct part *p, uint32_t node, uint64_t *done,
			     uint64_t *total); /* bytes */
/* The learner is not fed any more, or has become a member (promoted). */
void learn_stop(struct vms_node *n, struct part *p, uint32_t node, bool promoted);

struct feed *feed_get(const struct part *p, uint32_t node);
void learn_serve_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
bool feed_holds_ctrs(const struct vms_node *n, const struct part *p);
uint64_t feed_keep_seq(const struct part *p); /* the log from there on must stay */
void feed_timer(struct vms_node *n);
void feed_peer_lost(struct vms_node *n, struct peer *pe);
void feeds_close(struct vms_node *n, struct part *p);

#endif
