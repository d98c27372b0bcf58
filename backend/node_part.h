/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A partition as a node holds it: its configuration, its set, its sequence of records.
 *
 * Lanes of a partition's sequence, each in seq order:
 *   ordered    (seq_last)   appended to the own log, sent to the other members
 *   committed  all members hold it (durable where it must be) and no gateway holds
 *              an older page: visible, answered
 *   applied    its effect on pages and containers is done (drains copy bytes)
 */
#ifndef VMS_NODE_PART_H
#define VMS_NODE_PART_H

#include "backend/node.h"
#include "backend/overlay.h"
#include "cluster/catalog.h"
#include "include/types.h"
#include "utils/lib/vec.h"

struct apply_job;
struct conn;
struct ctr;
struct digest;
struct drain_job;
struct feed;
struct gc_job;
struct lack;
struct learn;
struct op;
struct out_copy;
struct peer;
struct vms_node;

/* ---- one record of a partition that lies in the log ---- */
struct prec {
	uint64_t log_pos; /* 0: not in the log any more */
	uint64_t epoch;
	uint32_t bytes;
	uint8_t type, flags;
};

enum part_state {
	PS_NONE,   /* not a member */
	PS_BACKUP, /* member, not primary */
	PS_WAIT,   /* primary: members not all connected under their incarnation */
	PS_QUERY,  /* VIEW_STATE asked */
	PS_FETCH,  /* CATCHUP from the member with the longest log */
	PS_LOSS,   /* loss_epoch and loss notices on their way to the catalog */
	PS_VIEW,   /* VIEW record on its way */
	PS_LEASE,  /* pages of the former process may still be in use */
	PS_ACTIVE,
};

/* Members of the set, then learners: those get the stream, but nothing waits for
 * them and nothing counts what they hold. */
#define PART_STREAMS_MAX (VMS_COPIES_MAX + 3u)
struct member {
	uint32_t node;
	uint64_t incarnation;
	struct peer *peer; /* NULL: self */
	bool learner;
	bool differs;	/* a DIGEST said so (digest.c) */
	bool streaming; /* VIEW_STATE answered on the present connection */
	bool asked;
	uint64_t sent, held, durable, ckpt_seq, told, told_all, told_enough;
	uint64_t inflight_bytes; /* its part of the peer's */
	uint64_t progress_ms;	 /* last time held or durable rose, or a record was sent */
	uint64_t moved_ms;	 /* the same, but asking it where it is does not count */
	bool in_out;
	bool lost; /* needs records that are not in the log any more */
	/* its VIEW_STATE answer */
	uint64_t vs_view, vs_last, vs_intact, vs_pos, vs_ctr;
	bool vs_lost;
};

struct stub_ref {
	uint64_t seq;
	uint64_t branch, snap_gen;
	uint32_t extent;
	uint16_t chunk;
	bool log; /* its old name is in the log: it was drained, not moved */
};

/* What the own copy of a partition is; in the index. */
enum copy_state {
	COPY_WHOLE,	 /* all that the partition had at some seq */
	COPY_INCOMPLETE, /* being made, or an attempt that ended early: never a member's */
	COPY_DELETING,	 /* on its way out */
};

struct hook_due { /* to be told when its record is safe */
	uint64_t seq;
	uint64_t key, ctr, old;
};

/* A TRIM in the log: what it cuts off of the branch. */
struct trim {
	uint64_t seq, branch, first;
	bool pages; /* not only the overlay's */
};

struct part {
	uint32_t number;
	bool known;
	bool has_data; /* a write has been in its sequence */
	struct vms_part_conf conf;
	uint64_t conf_rev;
	bool primary;
	enum part_state state;
	uint64_t epoch;			   /* promised: nothing lower is accepted */
	struct member m[PART_STREAMS_MAX]; /* nm members of the set, then nl learners */
	unsigned nm, nl, self;
	bool out; /* data of a partition whose set this node is not in: serves nothing */
	/* set.c: a change has been asked for and its outcome is not known */
	bool proposed, unsure;
	uint8_t proposed_why;
	uint64_t proposed_epoch;
	uint32_t proposed_lead, proposed_n;
	uint32_t cand;	  /* the learner being made a member: needed like one; 0: none */
	uint32_t handing; /* the member that shall lead: nothing is ordered; 0: none */
	uint64_t handing_ms, hand_at_ms;
	unsigned recalls;   /* gateways that have not given its pages back */
	unsigned trim_left; /* the same of pages that a TRIM made void */
	uint64_t serve_ms;  /* not before: leases given to the former primary */
	uint64_t need_rev;  /* floors as of that revision are needed to serve */

	/* sequence */
	uint64_t view_epoch, view_first, intact_view;
	/* memory-mode writes announced since the view began: in the own log, ordered
	 * by this primary, durable on all members */
	bool mem_flag, mem_ordered, mem_ok;
	uint64_t mem_last; /* seq of the last memory-mode record */
	VMS_VEC(struct prec) recs;
	size_t recs_head;
	uint64_t recs_first; /* seq of recs.d[recs_head] */
	uint64_t seq_last, committed, applied, own_durable, all_durable;
	uint64_t enough_durable; /* all_durable, when the set last had min_copies: as known here */
	uint64_t view_seq;	 /* seq of the VIEW record of the view being formed */
	uint64_t last_internal;
	bool was_active; /* this process has served as primary: its reads go on */
	uint64_t fetch_last;
	uint64_t replay_applied, swept_below;
	uint64_t ck_view_epoch, ck_view_first; /* of the last committed view */
	struct vms_view ck_view;	       /* who was in it, for views.c */
	/* backup */
	vms_conn_id repl_conn;
	uint64_t ack_held, ack_durable;
	bool in_ack;
	uint64_t told_commit;

	uint64_t next_pos, ceiling, ceiling_ordered;
	uint64_t next_ctr;

	struct vms_ovl_part ovl;
	VMS_VEC(struct ctr) ctrs;	  /* ascending */
	struct op *pend_head, *pend_tail; /* ordered, by seq */
	struct op *held;		  /* committed with fewer copies than writes need */
	struct op *wait_head, *wait_tail; /* to be ordered */
	struct op *locks;		  /* COMPARE AND WRITE, ORWRITE in work */
	unsigned nwait;
	bool in_dirty, in_retry;

	/* drain, apply, checkpoint */
	struct apply_job *apply;
	struct drain_job *drain;
	uint64_t open_ctr;     /* committed open; 0: none */
	uint64_t open_ordered; /* CTR_OPEN on its way */
	uint64_t opening;      /* its header is being written */
	uint32_t open_seg;     /* next free grid segment, ordered drains included */
	uint32_t open_chunks;  /* chunks ordered into it */
	uint64_t drain_req;    /* a member asks to drain what is at or below this seq */
	struct vms_node *node;
	bool scan_due;
	bool base_wait;	  /* nodes that have a base needed to drain are away */
	bool apply_wait;  /* the same for the next record to be applied */
	uint64_t hold_ms; /* drain and apply lane: not before */
	bool page_wait;	  /* the record being applied needs an index page that is damaged */
	/* the record whose bytes other replicas are asked for, as the own ones are damaged; how
	 * often, and how often one has answered that it has none */
	uint64_t peer_seq;
	unsigned peer_asks, peer_noes;
	bool bytes_wait;	    /* ... in vain: the partition stands (doc/storage-node.md) */
	struct lack *lack;	    /* what that record lacks (lack.c); primary */
	uint64_t stand_bytes;	    /* of the log, while it stands: no record of it is applied */
	unsigned moves_ordered;	    /* DRAIN/REMAP records ordered, not applied */
	VMS_VEC(struct trim) trims; /* ordered, not applied */
	uint64_t drain_applied;	    /* seq of the last DRAIN/REMAP/TRIM applied */
	uint64_t drain_ckpt;	    /* the same in the durable index */
	uint64_t safe_seq;	    /* the same on all members */
	uint64_t frozen_drain;	    /* in the checkpoint being written */
	VMS_VEC(struct stub_ref) stubs;
	size_t stubs_head;
	uint64_t clean_pos;	  /* no needed piece below this log position */
	bool state_dirty, copied; /* copied: recs do not ascend by log_pos */
	bool branch_wait;	  /* the next record names a branch that is not known yet */

	/* collector */
	uint64_t live_chunks;
	struct gc_job *gc;
	VMS_VEC(struct hook_due) hooks_due; /* by seq */
	uint64_t match_seq; /* records from here on may have put chunks that are not safe yet */
	uint64_t gc_at_ms, gc_wait_ms;
	/* of the last MARK record ordered: from then on no reference to another
	 * partition with a lower stamp is ordered */
	uint64_t gc_cycle;
	/* rounds of the cluster, round.c */
	uint64_t rd_cycle, rd_epoch; /* its pages have been walked, in that epoch */
	uint64_t rd_safe;	     /* removals up to here must be durable on all members */
	uint64_t rd_gone;	     /* references to other partitions removed since */
	bool rd_walking, rd_sent, rd_again;
	bool rd_unsure; /* rd_gone knows nothing of the time before this node led */
	uint64_t sweep_cycle, sweep_epoch; /* its stamps are complete since that cycle began */
	/* learn.c, learn_serve.c, digest.c, out.c */
	enum copy_state copy_state;
	uint64_t log_from;    /* the partition's records below this log position are void */
	bool forget_outcomes; /* with the next checkpoint */
	struct learn *learn;  /* this node makes a copy of it */
	uint8_t outrun;	      /* attempts at that which ended as the own log filled up */
	unsigned learn_ios;   /* disk operations of attempts, present and past */
	struct feed *feeds;   /* this node, the primary, feeds others */
	struct digest *digest;
	uint64_t digest_after; /* only above it are the replicas' states comparable */
	bool differs;	       /* the primary's digest is another: to be learnt from the start */
	struct out_copy *out_copy;
	bool gone;	    /* nothing is here any more: its state goes from the index */
	uint64_t prune_seq; /* pruning waits until this record is in all durable indexes */
};

static inline bool part_serving(const struct part *p)
{
	return p && p->primary && p->state == PS_ACTIVE && !p->handing;
}

void part_conf_update(struct vms_node *n, uint32_t number, const struct vms_part_conf *conf,
		      uint64_t rev);
void part_step(struct vms_node *n, struct part *p); /* primary: try to go on */
void part_peer_change(struct vms_node *n, struct peer *pe);
void part_view_state(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void part_catchup(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void part_view_committed(struct vms_node *n, struct part *p);
void part_loss_done(struct vms_node *n, struct part *p);
void part_timer(struct vms_node *n);
void part_serve_check(struct vms_node *n); /* partitions that wait to serve */
bool part_members_ready(const struct part *p);
struct member *part_member(struct part *p, const struct peer *pe);
void member_inflight_drop(struct member *m);

/* Learners of a partition that this node leads; NULL: no room, or not there. */
struct member *part_learner_add(struct vms_node *n, struct part *p, struct peer *pe);
struct member *part_learner(struct part *p, uint32_t node);
void part_learner_del(struct vms_node *n, struct part *p, uint32_t node);
/* Up to where a replica whose last view is `view` and whose last record is `last` has
 * the same records as this one. False: the log does not tell any more. */
bool part_common(const struct part *p, uint64_t view, uint64_t last, uint64_t *common);

#endif
