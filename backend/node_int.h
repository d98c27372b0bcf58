/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to backend/node*.c, branch.c, drain.c, checkpoint.c, replay.c, collect.c,
 * apply.c: the state of a storage node. One thread owns all of it.
 *
 * Lanes of a partition's sequence, each in seq order:
 *   ordered    (seq_last)   appended to the own log, sent to the other members
 *   committed  all members hold it (durable where it must be) and no gateway holds
 *              an older page: visible, answered
 *   applied    its effect on pages and containers is done (drains copy bytes)
 */
#ifndef VMS_NODE_INT_H
#define VMS_NODE_INT_H

#include <stdlib.h>
#include <string.h>

#include "backend/ctr.h"
#include "backend/dedup.h"
#include "backend/holders.h"
#include "backend/learn.h"
#include "backend/match.h"
#include "backend/node.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/pages.h"
#include "backend/record.h"
#include "backend/wal.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

/* One defect each, for the tests that prove they would be found. */
enum node_mutant {
	MUT_NONE,
	MUT_SKIP_AGE = 1,	  /* old ops are ordered */
	MUT_SKIP_DUP = 2,	  /* retries apply again */
	MUT_ACK_EARLY = 3,	  /* committed before the backups have it */
	MUT_READ_UNCOMMITTED = 4, /* reads show ordered writes */
	MUT_NO_INVAL_WAIT = 5,	  /* committed while a gateway holds an older page */
	MUT_NO_INC_FLOOR = 6,	  /* older gateway incarnations are served */
	MUT_NO_CTR_SYNC = 7,	  /* index commit before the container bytes are durable */
	MUT_REDRAIN = 8,	  /* replay applies page changes that are there already */
	MUT_NO_LEASE_WAIT = 9,	  /* a restarted primary serves at once */
	MUT_EARLY_ADDR = 10,	  /* container addresses leave before they are durable */
	MUT_FREE_EARLY = 11,	  /* log freed before the index commit ended */
	MUT_NO_CEILING = 12,	  /* log positions start again after a restart */
	MUT_SKIP_CANCEL = 14,	  /* tombstones are ignored */
	MUT_VIEW_OWN_LOG = 15,	  /* a new view ignores longer logs of other members */
	MUT_MERGE_FULL = 16,	  /* a sub-chunk write hides the whole chunk */
	MUT_ASK_SKIPPED = 17,	  /* pages show the old address of a chunk being written */
	MUT_LN_ASK_ONCE = 19,	  /* a learner waits for ever for an answer that was lost */
	MUT_ABSENT = 18,	  /* that a branch has no record is believed as of any time */

	/* sets, leases, failover */
	MUT_NO_LEASE = 20,	/* a primary serves without leases */
	MUT_LEASE_REV = 21,	/* a lease counts whatever its granter has taken over */
	MUT_TAKE_EARLY = 22,	/* takes over while its own lease to the primary runs */
	MUT_ADD_EARLY = 23,	/* a member about to be added is not needed yet */
	MUT_YOUNG = 24,		/* a process that has just started does not wait for others */
	MUT_NO_FRESH = 25,	/* a new primary serves with the floors it happens to know */
	MUT_DROP_EARLY = 26,	/* a member about to be dropped is not needed any more */
	MUT_ADD_PAGES = 27,	/* gateways keep pages that know nothing of a new member */
	MUT_HAND_PAGES = 28,	/* the lead is handed over with pages still out */
	MUT_MIN_COPIES = 29,	/* writes are ordered below min_copies */
	MUT_NO_GRANT_WAIT = 30, /* a new primary does not wait for leases it gave meanwhile */
	MUT_LEASE_ONCE = 35,	/* a lease that counts later is not looked at again */
	MUT_VOID_OUTCOME = 31,	/* outcomes of void records stay */
	MUT_FLUSH_LEASE = 32,	/* "all is durable" is said without leases */
	MUT_FLOOR_BEHIND = 33,	/* a floor is answered without knowing what one leads */
	MUT_GRANT_NEW = 36,	/* a lease of a process that is gone is forgotten with it */
	MUT_GRANT_ANY = 37,	/* leases of a process that came later hold up a take over */
	MUT_RAISE_LEAD = 38,	/* no defect: a restarted primary keeps the lead at any cost */
	MUT_STOP_HARD = 39,	/* no defect: a node that is stopped just goes */
	MUT_STOP_DROPS = 116,	/* nodes that are all stopped drop each other */
	MUT_LN_LIMBO = 34,	/* a copy that may be a member by now is thrown away */

	/* copies of partitions that are made again, or given up (learn*.c, digest.c, out.c) */
	MUT_LN_MARK = 40,     /* an unfinished copy is not marked as one */
	MUT_LN_VOID = 41,     /* records of an earlier copy count again after a restart */
	MUT_LN_OUTCOMES = 42, /* outcomes of ops are not copied */
	MUT_LN_DEAD = 43,     /* which places have died is not copied */
	MUT_LN_SHARED = 44,   /* which containers are shared is not copied */
	MUT_LN_HOLD = 45,     /* records are applied before the base copy is there */
	MUT_LN_PAGES = 46,    /* pages that the primary has not stay */
	MUT_LN_EXTRA = 47,    /* containers that the primary has not stay */
	MUT_LN_VERIFY = 48,   /* what is there is not read back */
	MUT_LN_TRUST = 49,    /* the primary's own damage is copied */
	MUT_LN_AGAIN = 50,    /* segments that were copied are written again from the log */
	MUT_LN_SWEEP = 51,    /* the primary frees containers while they are copied */
	MUT_LN_COMMON = 52,   /* a returning copy keeps records that became void */
	MUT_LN_GAP = 53,      /* a returning copy goes on where the log has a gap */
	MUT_LN_DIGEST = 54,   /* copies are ready without having been compared */
	MUT_LN_CEILING = 55,  /* log positions and container numbers are not copied */
	MUT_LN_VALID = 56,    /* the log's end of a copy counts though it is not durable */
	MUT_OUT_EARLY = 57,   /* an out copy goes before a later epoch has confirmed it */
	MUT_OUT_HALF = 58,    /* the end of a deletion comes upon the next copy */
	MUT_OUT_LOG = 59,     /* records of a deleted copy come back with the log */
	MUT_OUT_EQUAL = 139,  /* a copy that was made in the present epoch and not added stays */

	/* pruning and collection */
	MUT_PRUNE_BASE = 60,  /* drops pages that undrained writes need as their base */
	MUT_PRUNE_NEW = 61,   /* drops what snapshots made since the volumes were read show */
	MUT_PRUNE_DEAD = 62,  /* takes a branch for dead whenever that happened */
	MUT_PRUNE_CLONE = 63, /* forgets the ancestors of clones */
	MUT_GC_ORDERED = 64,  /* sweeps what an ordered record refers to */
	MUT_GC_COPIES = 65,   /* one copy for each reference, not for each chunk */
	MUT_PRUNE_STALE = 66, /* reads the catalog in whatever order its answers are true */
	MUT_RD_STAMP = 70,    /* rounds free what was confirmed to someone since they began */
	MUT_RD_PARTIAL = 71,  /* partitions that nobody leads now are not waited for */
	MUT_RD_EPOCH_P = 72,  /* marks of an earlier epoch count */
	MUT_RD_EPOCH_Q = 73,  /* a partition sweeps though its stamps are lost */
	MUT_RD_REMOVED = 74,  /* what is removed while marking is not marked */
	MUT_RD_UNSAFE = 75,   /* removals that a replay would undo count */
	MUT_RD_OPEN = 76,     /* containers count that were open when marking began */
	MUT_RD_GONE = 77,     /* dead places are read */

	/* snapshots */
	MUT_SNAP_FLOOR = 80,  /* takes writes under a number that has passed */
	MUT_FLOOR_EARLY = 81, /* a floor is answered before what was ordered is settled */
	MUT_YOUNG_FIRST = 82, /* drains newer layers while older ones are left */
	MUT_EMPTY_PAGE = 83,  /* the first page of a layer is no copy of those below */
	MUT_LIMIT = 84,	      /* what an ancestor holds beyond its limit shows */
	MUT_CEILING = 85,     /* what an ancestor got after the snapshot shows */
	MUT_BACK_FENCE = 86,  /* a branch that a volume has left still takes writes */
	/* deduplication in the background */
	MUT_MATCH_TRUST = 90, /* equal prefixes are taken for equal chunks */
	MUT_MATCH_ALONE = 91, /* other nodes are not told of shared duplicates */
	MUT_MATCH_STAMP = 92, /* confirmations hold for ever */

	/* repair and scrub */
	MUT_RP_TRUST = 100,	/* chunks go from node to node unverified */
	MUT_RP_NO_CRC = 101,	/* own chunks are not compared with their header */
	MUT_RP_IGNORE = 102,	/* damage that reads find is not repaired */
	MUT_RP_ZEROS = 103,	/* a lost index page reads as zeros */
	MUT_RP_OLD_PAGE = 104,	/* an index page is taken from a member that is behind */
	MUT_RP_NO_SYNC = 105,	/* repaired counts before it is durable */
	MUT_SC_TAIL = 106,	/* the scrub leaves a container's footer out */
	MUT_SC_INDEX = 107,	/* the scrub leaves the index out */
	MUT_DRAIN_BLIND = 108,	/* drains take a damaged page for an empty one */
	MUT_RP_LOST_READ = 109, /* a chunk that nobody has whole reads as zeros */
	MUT_LOG_LENT = 133,	/* log is freed that a write in flight reads */
	MUT_LN_HALF = 135,	/* a copy given up when it is almost ready counts as whole */
	MUT_OLD_AT_START = 136, /* the wait for the catalog counts as a wait for the others */
	MUT_EMPTY_DEAD = 132,	/* chunks that died since they were read are copied */
	MUT_FULL_MEMBER = 111,	/* new data is taken though a member has no room for it */
	MUT_DRAIN_ONCE = 114,	/* a member is heard once for the same records */
	MUT_DRAIN_SHORT = 115,	/* a record copied forward hides those behind it */
	MUT_DRAIN_FADING = 117, /* names what a backup may have dropped by then */
	MUT_FULL_MOVE = 119,	/* chunks are moved though a member has no room for them */
	MUT_FULL_START = 120,	/* a node does not start while its disk is full */
	MUT_TRIM_EARLY = 121,	/* a TRIM is answered before it is applied */
	MUT_TRIM_SHOWS = 122,	/* what another primary cut off shows until it is applied here */
	MUT_LOOSE_PAGES = 123,	/* a write does not wait for pages that were asked back before */
	MUT_HOLDER_ONCE = 118,	/* who keeps its page is told of one write only */
	MUT_FULL_LATE = 113,	/* room is only what was there when the disk was asked */

	MUT_LN_HEADLESS = 131,	/* a file header that was not written counts as written */
	MUT_VOID_COUNTED = 134, /* void records of the replay take away what they never gave */
	MUT_PLAN_STALE = 124,	/* nodes and wants as of before the cluster's record count */
	MUT_PEER_FOREVER = 125, /* bytes that nobody has are asked for for ever */
	MUT_LEFT_BEFORE = 130,	/* a list of nodes from before it joined tells a node to go */
	MUT_PRUNE_NODES = 126,	/* what a node has emptied counts for all it ever leads */
	MUT_RD_OWN_GONE = 137,	/* what a partition itself lets go in a round is held for live */
	MUT_RD_UNASKED = 140,	/* what a former primary has counted is forgotten */
	MUT_RD_TWICE = 141, /* a walk done again in a round tells of what went since the first */
	MUT_RD_GONE_NODE = 127, /* a round waits for a node that is gone and leads nothing */
	MUT_RETIRE_DEAF = 128,	/* a node that is stopped gives away though no catalog answers */
	MUT_LOST_PAGES = 138,	/* gateways keep pages of what others have taken over */
	MUT_STAND_FILLS = 143,	/* a partition that stands takes writes until the log is full */
	MUT_RUN_ANY = 147,	/* what has many neighbours among other chunks counts as a run */
	MUT_RUN_OPEN = 148,	/* a container that is large for a run's sake stays open */
	MUT_PLAN_ALL = 110,	/* no defect: every node takes itself for the coordinator */
	MUT_PLAN_NONE = 112,	/* no defect: a node plans nothing and says nothing */
};

/* A write that takes more from a page than that takes all of it: it would be asked for
 * again rather than chunk by chunk. */
#define INVAL_RUNS_MAX	      16u
#define INVAL_CHUNKS_MAX      32u
#define NODE_WAIT_BYTES_MAX   (64u << 20) /* held by ops that wait to be ordered, see wait_cost() */
#define NODE_WAIT_OPS_MAX     8192u
#define NODE_TICKS_KEPT	      64u
#define NODE_PEER_WINDOW      (16u << 20)  /* record bytes in flight to one peer */
#define NODE_LOG_GATHER_BYTES (256u << 10) /* of memory-mode records in one write */
#define NODE_LOG_GATHER_MS    16u
#define NODE_WRITE_BYTES_MAX  (2u << 20)
#define NODE_CEILING_STEP     (1ull << 20)
#define NODE_SLOT_MAX	      65536u
#define NODE_READS_MAX	      4096u
#define NODE_READ_BYTES_MAX   (256u << 20)
#define NODE_SEGS_MAX	      16384u /* segment headers cached */
#define NODE_FLUSHES_MAX      256u
#define NODE_RAISE_BATCH      60u
#define NODE_STAND_SHARE      8u  /* partitions that stand may have an eighth of the log */
#define NODE_LAYERS_MAX	      16u /* undrained snap_gens of one extent before it is drained */

struct vms_node;
struct part;
struct op;
struct prune;
struct repair;
struct scrub;
struct round;
struct planner;
struct empty;

/* ---- disk I/O in flight ---- */
struct dio {
	void (*fn)(struct vms_node *n, struct dio *d, int status);
	uint32_t slot;
};

/* ---- one record of a partition that lies in the log ---- */
struct prec {
	uint64_t log_pos; /* 0: not in the log any more */
	uint64_t epoch;
	uint32_t bytes;
	uint8_t type, flags;
};

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
	uint64_t sent, held, durable, ckpt_seq, told, told_all;
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
	uint64_t view_seq; /* seq of the VIEW record of the view being formed */
	uint64_t last_internal;
	bool was_active; /* this process has served as primary: its reads go on */
	uint64_t fetch_last;
	uint64_t replay_applied, swept_below;
	uint64_t ck_view_epoch, ck_view_first; /* of the last committed view */
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
	unsigned learn_ios;   /* disk operations of attempts, present and past */
	struct feed *feeds;   /* this node, the primary, feeds others */
	struct digest *digest;
	uint64_t digest_after; /* only above it are the replicas' states comparable */
	bool differs;	       /* the primary's digest is another: to be learnt from the start */
	struct out_copy *out_copy;
	bool gone;	    /* nothing is here any more: its state goes from the index */
	uint64_t prune_seq; /* pruning waits until this record is in all durable indexes */
};

/* ---- connections ---- */
struct conn {
	struct vms_hlink link;
	vms_conn_id id;
	bool hello, closing, outgoing;
	uint8_t role;
	uint32_t peer_id;
	uint64_t incarnation;
	struct session *sess;
	struct peer *peer;
	/* HELLO waits until this log position is durable */
	uint64_t hello_pos;
	struct vms_msg hello_req;
	bool hello_wait;
	struct conn *prev, *next;
};

#define PEER_GRANTS 8

struct peer {
	uint32_t id;
	bool known;  /* in the catalog */
	bool listed; /* ... in the list that is being read */
	char address[64];
	uint64_t cat_incarnation, incarnation;
	vms_conn_id conn; /* 0: not connected (HELLO done) */
	uint64_t next_connect_ms;
	uint64_t tick, tick_sent_ms;
	bool tick_wait;
	/* lease.c: until when it will not take over from this process, and which of its
	 * processes said so, having taken over at that revision; the other way round */
	uint64_t lease_until_ms, lease_inc, lease_rev;
	/* granted to its present process; to those before it, newest first */
	uint64_t grant_until_ms, grant_inc;
	struct {
		uint64_t incarnation, until_ms;
	} granted[PEER_GRANTS];
	uint64_t up_ms;		/* its present process is connected */
	bool leaving;		/* ... and is being stopped */
	bool cramped;		/* ... and has no room for moved chunks either */
	uint64_t heard_ms;	/* last answered TICK */
	uint64_t down_ms;	/* the connection was lost */
	VMS_VEC(uint32_t) out;	/* partitions with something to send */
	VMS_VEC(uint32_t) ack;	/* partitions to acknowledge */
	uint64_t unacked_bytes; /* received and not acknowledged as held */
	uint64_t inflight_bytes;
	bool want_fua, held_wanted;
	bool ckpt_dirty;
	uint32_t log_permille; /* how full its log is */
	bool full;	       /* it refuses new data for lack of space */
};

struct inval {
	struct vms_hlink link;	   /* key: req_id */
	struct inval *prev, *next; /* of the session */
	struct session *sess;
	struct op *op;	     /* NULL: only to make room */
	struct part *recall; /* counted in its recalls, or trim_left */
	bool trim;
	bool named; /* chunks, not pages: the gateway is a holder still */
	/* the gateway is no holder of it any more, but has it until it answers */
	bool loose;
	struct vms_hlink by_page; /* loose: in n->loose */
	uint64_t branch;
	uint32_t extent, part;
	uint8_t subexts;
	uint64_t sent_ms;
};

struct tomb {
	uint64_t sequence, until_ms;
};

struct session {
	struct session *next;
	uint32_t gateway;
	uint64_t incarnation;
	vms_conn_id conn;
	bool live;     /* pages may be in use */
	uint64_t tick; /* last issued */
	uint64_t tick_ms[NODE_TICKS_KEPT];
	uint64_t tick_base; /* first number of this incarnation's ticks */
	bool tick_wait;
	uint64_t lease_from_ms;
	struct inval *invals;
	VMS_VEC(struct tomb) tomb; /* by slot */
};

struct gwfloor {
	struct vms_hlink link; /* key: gateway */
	uint64_t incarnation;
	uint64_t log_pos; /* durable when the log is beyond; 0: durable */
};

/* A volume of the catalog, by the number it keeps for good. */
struct volume {
	struct vms_hlink link; /* key: id */
	bool known;	       /* has a record */
	uint8_t write_ack;
	bool dedup;
	uint64_t branch; /* the one it is in now */
	uint64_t lineage;
	uint64_t loss; /* notices of lost memory-mode writes */
	struct branch *branches;
	char name[128];
};

/* One line of a volume's history. What is below `known` never changes once it is
 * known, so every replica of a record sees the same. */
struct branch {
	struct vms_hlink link;	      /* key: branch */
	uint64_t snap_gen, lun_fence; /* floors, logged */
	uint64_t gen_min, fence_min;  /* enforced: the floors, what the catalog tells, and
					 no number below one that was ordered already */
	bool floor_dirty, floor_forget;
	bool asked; /* the catalog is being asked for its record */
	bool known; /* requests are served, records applied */
	bool dead;  /* the volume has left it */
	bool dedup; /* of the volume that owns it */
	bool salted;
	uint8_t salt[32]; /* of its dedup domain, when salted */
	uint64_t lineage, owner;
	struct volume *volume; /* its owner, or NULL: not in the catalog (yet) */
	struct branch *next_own;
	unsigned nancestors;
	struct vms_cat_ancestor ancestor[VMS_ANCESTORS_MAX]; /* nearest first; limits hold for
								 all behind them too */
};

/* ---- ops ---- */
enum op_state { OP_WAIT, OP_LOCK, OP_READ, OP_ORDERED };
struct op {
	struct op *next; /* pend, wait, lock list; free list */
	struct part *part;
	enum op_state state;
	vms_conn_id conn;
	struct vms_msg req; /* header only */
	uint8_t kind;
	unsigned np;
	struct vms_piece *pieces; /* own copy while it waits */
	uint8_t *payload;
	uint64_t payload_bytes;
	uint64_t wait_bytes; /* its part of the node's */
	uint64_t seq, first_pos;
	unsigned inval_left;
	uint64_t arrived_ms;
	bool read_busy, dead;
	struct fetch *fetch;
};

/* ---- chunk reads from containers ---- */
/* Bytes of the log that are read beyond a step (helper threads, writes in flight): no
 * generation that holds something from pos on is freed. Zeroed: nothing is lent. */
struct log_lend {
	struct log_lend *prev, *next;
	uint64_t pos;
	bool on;
};

struct fetch_ent {
	vms_addr addr; /* in; HOLE: zeros */
	uint8_t *buf;  /* in: 4096 bytes */
	uint32_t crc;  /* out */
	uint8_t valid; /* out: sector mask */
	int status;    /* out */
	bool skip;     /* in: nothing to read */
	bool asked;    /* another node is or was asked for it */
	bool any_node; /* in: also with own_only, others are asked when the own copy is bad */
	bool nowhere;  /* its segment's header is right and does not know it */
	bool has_fp;   /* out, with want_fp */
	uint8_t fp[32];
};
struct fetch {
	struct vms_node *n;
	void (*done)(struct vms_node *n, struct fetch *f);
	void *arg;
	unsigned nent;
	unsigned pending;
	bool issuing;
	bool own_only; /* a damaged chunk is not looked for at other members */
	bool patient;  /* AGAIN, not CORRUPT, while some member might still have it whole */
	bool want_fp;  /* fingerprints too: segment headers are read */
	struct fetch_ent *e;
};

struct seg_cache {
	struct vms_hlink link; /* key: address of the header */
	struct seg_cache *older, *newer;
	uint32_t n;
	uint32_t crc[VMS_SEG_ENTRIES_MAX];
	uint8_t valid[VMS_SEG_ENTRIES_MAX];
	uint64_t present;
	/* chunks that were written, or read and found right, since verified_ms */
	uint64_t verified, verified_ms;
};

struct flush {
	struct flush *next;
	vms_conn_id conn;
	struct vms_msg req;
	uint64_t arrived_ms;
	bool settle; /* FLOOR: also for all that was ordered before */
	bool moved;  /* another node leads a partition that it waits for */
	VMS_VEC(struct {
		uint32_t part;
		uint64_t seq;
	})
	want;
	uint64_t log_pos; /* other waits (FLOOR): own log durable up to here */
	uint32_t aux;	  /* FLOOR: of the answer */
	bool armed;
};

struct dur {
	uint64_t end_pos;
	uint32_t part;
	uint64_t seq;
};

enum start_phase {
	SP_CLEAN,
	SP_CLUSTER,
	SP_NODES,
	SP_SELF,
	SP_GATEWAYS,
	SP_VOLUMES,
	SP_BRANCHES,
	SP_PARTS,
	SP_RUN
};
#define NODE_PREFIXES 7u /* of the catalog, loaded and watched */

struct node_stats {
	uint64_t writes, write_bytes, reads, read_chunks, pages, invalidations, flushes;
	uint64_t busy, too_old, dups, stale;
	uint64_t recs_sent, frames_sent, recs_recv, acks;
	uint64_t drains, drained_chunks, holes, checkpoints, ckpt_ms, copied;
	uint64_t swept, remapped, marks, pages_marked, mark_frames, rounds, punched, emptied,
		pages_scanned, pages_dropped, scans, page_updates, views, losses, corrupt, nospc;
	uint64_t fetched_remote;
	uint64_t takeovers, drops, promotions, handovers;
	/* copies: bytes of pages and segments sent to learners, got as one, read back in place */
	uint64_t moved_bytes, learnt_bytes, kept_bytes, feeds, learnt, copies_deleted, digests;
	uint64_t digest_bad, lost_chunks;
};

/* How fast copies are fed. */
struct move_rate {
	int64_t tokens;
	uint64_t at_ms, look_ms;
	unsigned slow; /* rate >> slow: clients wait */
};

/* Bytes of a container that are not needed any more. */
struct hole {
	uint64_t ctr, off, len;
};

struct vms_node {
	struct vms_node_conf conf;
	struct vms_timing tm;
	struct vms_disk disk;
	struct vms_catalog *cat;
	struct vms_node_update up;
	uint64_t now_ms, start_ms;
	struct vms_rng rng;
	unsigned mut;

	struct vms_wal *wal;
	uint64_t stand_bytes; /* of all partitions that stand */
	struct vms_pages *pages;
	struct vms_ovl ovl;
	struct vms_outcomes outcomes;
	struct vms_holders holders;

	uint64_t id, incarnation;
	enum start_phase phase;
	uint64_t retry_ms;
	bool cat_busy;
	bool clean_start; /* the last process ended cleanly */
	uint64_t last_incarnation;
	uint64_t run_ms; /* it has been in phase SP_RUN since */
	uint64_t serve_from_ms, part_ms;
	bool poisoned, stopping, stopped, closing, fatal_said;
	unsigned cat_prefix_loading;
	char cat_after[VMS_CAT_KEY_BYTES_MAX];
	uint64_t load_rev;
	uint64_t watch[NODE_PREFIXES];
	uint64_t reload_ms[NODE_PREFIXES];
	bool loss_loaded;
	bool self_listed;  /* in the list of nodes that is being read */
	uint64_t self_rev; /* newest known of the own record */
	struct vms_cat_cluster cluster;
	/* set.c: the transaction on its way */
	uint32_t raise_part[NODE_RAISE_BATCH];
	uint64_t raise_rev[NODE_RAISE_BATCH];
	unsigned nraise, raise_batch;
	uint32_t raise_next, set_next;
	bool raise_read; /* part/ is to be read */
	uint64_t set_ms, set_did_ms;
	bool heard_busy;
	uint64_t heard_ms; /* the catalog answered */
	uint64_t set_step_ms;
	unsigned handings;
	bool retiring; /* stopped on purpose: gives away what it leads */
	uint64_t retire_ms;
	/* lease.c */
	uint64_t part_rev; /* part/ has been seen up to this revision */
	uint64_t took_rev; /* of the last change that gave this node a lead */
	uint64_t lease_timer_ms;
	bool behind; /* part/ has changed, says a peer, and the watch has not told */
	uint64_t behind_ms;
	uint64_t gap_ms; /* this process had stood still until then */
	/* fresh.c */
	bool fresh_busy;
	unsigned fresh_at;
	uint64_t fresh_low, fresh_rev, fresh_ms;
	char fresh_after[VMS_CAT_KEY_BYTES_MAX];
	bool raise_busy, loss_busy;
	void *loss_job;
	struct out_frame *out_frame;
	uint64_t raise_retry_ms;

	struct part **part;	     /* 1 << part_bits, NULL: not a member and never was */
	struct vms_part_conf *pconf; /* of all partitions, as the catalog tells; epoch 0: not yet */
	uint32_t nparts;
	VMS_VEC(uint32_t) dirty; /* partitions whose commit may advance */
	VMS_VEC(uint32_t) retry; /* partitions whose waiting ops shall be tried again */
	struct vms_htab conns;
	struct conn *conn_list;
	struct peer *peer[VMS_NODES_MAX];
	unsigned npeers;
	struct session *sessions;
	unsigned nsessions;
	struct vms_htab loose; /* struct inval by page */
	struct vms_htab invals;
	struct vms_htab rpcs;
	struct dedup *dedup;
	struct match *match;
	struct rpc *rpc_list;
	uint64_t next_req;
	struct vms_htab gwfloors, branches, volumes;
	VMS_VEC(uint64_t) branch_ask; /* branches whose records the catalog is asked for */
	uint64_t branch_ask_ms;	      /* not before */
	uint64_t branch_asking;	      /* 0: none */
	uint64_t branch_fresh_rev;    /* that it has no record counts as of here; 0: not made yet */
	bool floors_retry;	      /* some floor met a full log */

	struct op *free_ops;
	uint64_t wait_bytes;
	unsigned nwait, npend, nreads, nflushes;
	uint64_t read_bytes;
	struct flush *flushes;
	struct { /* records not durable in the own log */
		struct dur *d;
		size_t head, n, room; /* ring */
	} dur;
	bool want_sync;
	uint64_t mem_sync_ms;
	bool floors_dirty;

	VMS_VEC(struct dio *) dios;
	VMS_VEC(uint32_t) dio_free;
	unsigned dio_busy;
	struct vms_htab segs;
	struct seg_cache *seg_oldest, *seg_newest;
	unsigned nsegs;

	/* admission */
	uint64_t pace_ms, pace_bytes;
	uint64_t log_due_ms; /* what gathers for the log is written then; 0: nothing */
	bool nospc, nearfull, cramped;
	uint64_t space_ms, space_free, space_total;
	uint64_t space_need, space_pos; /* when that was asked: room to keep, end of the log */
	uint32_t meta_permille;

	/* drain and checkpoint */
	uint64_t drain_limit; /* log position up to which is being drained */
	uint64_t drain_ms;
	VMS_VEC(uint32_t) drains; /* partitions with a job */
	bool drain_look;	  /* some partition has scan_due */
	uint64_t drain_bytes;	  /* content in their batches */
	struct ckpt *ckpt;
	struct vms_meta_batch batch;
	uint64_t ckpt_ms, gen_seal_ms;
	uint64_t ckpt_begun, ckpt_ended; /* number of checkpoints */
	bool ckpt_want;			 /* one that must not wait for more to do */
	bool outcomes_learnt;		 /* some are in no log here */
	bool deep; /* some extent has more than NODE_LAYERS_MAX layers in the overlay */
	uint64_t copy_ms, freed_ms;
	uint64_t copy_end;	  /* copies must be durable up to here before anything is freed */
	VMS_VEC(uint64_t) unlink; /* dead containers, durable: files to remove */
	VMS_VEC(uint64_t) unlink_next; /* dead, in the checkpoint being written */
	unsigned unlinks;
	bool stop_said, stop_closed;
	unsigned applies;	/* apply jobs running */
	struct log_lend *lends; /* what is lent now */
	unsigned apply_waits;	/* partitions whose apply lane waits for other nodes */

	/* copies */
	struct move_rate move;
	unsigned nfeeds, nbases, nlearns; /* running; whole copies among the first */
	unsigned feeds;			  /* all that there are */
	unsigned digests;		  /* being summed up, or told */
	uint64_t digest_ms;		  /* the next partition is compared */
	uint32_t digest_next;
	uint64_t feed_ids;
	uint64_t out_ms; /* next look */

	/* collector */
	uint32_t gc_next;
	bool hungry; /* collected space waits for a checkpoint */
	unsigned gc_jobs;
	struct prune *prune;
	struct du *du;
	uint64_t du_jobs;
	struct round *round;
	struct repair *repair;
	struct scrub *scrub;
	bool rewrite; /* repaired index values wait for a checkpoint */
	struct planner *planner;
	struct empty *empty;
	VMS_VEC(struct hole)
	punch, punch_next, punch_new; /* to be punched; when the running,
					 the next checkpoint is durable */

	uint64_t deadline_ms;
	struct node_stats st;
	struct vms_piece piece_buf[VMS_WRITE_PIECES_MAX];
	struct vms_piece piece_buf2[VMS_WRITE_PIECES_MAX];
	uint8_t meta_buf[8 + VMS_PIECE_BYTES * VMS_WRITE_PIECES_MAX];
	uint8_t addr_buf[8 * VMS_WRITE_PIECES_MAX];
};

/* ---- node.c ---- */
void node_log(struct vms_node *n, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void node_fatal(struct vms_node *n, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
uint64_t dio_token(struct vms_node *n, struct dio *d);
struct part *node_part(struct vms_node *n, uint32_t number); /* NULL: none */
struct part *node_part_make(struct vms_node *n, uint32_t number);
void part_mark_dirty(struct vms_node *n, struct part *p);
void part_mark_retry(struct vms_node *n, struct part *p);
struct gwfloor *node_gwfloor(struct vms_node *n, uint32_t gateway, bool create);
void node_wake_at(struct vms_node *n, uint64_t at_ms);
/* Connection to the primary of a partition that another node leads; 0: none. */
vms_conn_id node_primary_conn(struct vms_node *n, uint32_t partition);
static inline bool part_serving(const struct part *p)
{
	return p && p->primary && p->state == PS_ACTIVE && !p->handing;
}
/* Reads need only the primary, as long as this process has been serving and the other
 * members have promised not to take over. */
bool part_leased(const struct vms_node *n, const struct part *p);
static inline bool part_readable(const struct vms_node *n, const struct part *p)
{
	return p && p->primary && (p->state == PS_ACTIVE || p->was_active) && !p->handing &&
	       part_leased(n, p);
}

/* ---- branch.c ---- */
/* create false: NULL when nothing was ever heard of it. Look at `known`. */
struct branch *node_branch(struct vms_node *n, uint64_t branch, bool create);
static inline bool node_branch_known(struct vms_node *n, uint64_t branch)
{
	const struct branch *b = node_branch(n, branch, false);

	return b && b->known;
}
struct volume *node_volume(struct vms_node *n, uint64_t id, bool create);
/* Writes below these numbers are refused from now on. */
void branch_raise(struct branch *b, uint64_t snap_gen, uint64_t fence);
/* The owner of a branch; NULL: not known. */
struct volume *branch_volume(struct vms_node *n, uint64_t branch);
void branch_on_volume(struct vms_node *n, const struct vms_cat_volume *v);
void branch_on_volume_gone(struct vms_node *n, const char *name);
void branch_on_record(struct vms_node *n, const struct vms_cat_branch *r);
/* A record or a volume names a branch that is not known: its record is fetched. */
void branch_ask(struct vms_node *n, struct branch *b);
void branch_timer(struct vms_node *n);
/* What shows through at that number (VMS_GEN_LIVE: the newest). VMS_E_AGAIN: the
 * branch is not known. */
int node_stack(struct vms_node *n, uint64_t branch, uint64_t snap_gen, struct vms_stack *st);
/* It shows nothing of others, nor others of it. */
bool branch_alone(struct vms_node *n, uint64_t branch);
void branch_close(struct vms_node *n);

/* ---- node_cat.c ---- */
void cat_start(struct vms_node *n);
void cat_timer(struct vms_node *n);
void cat_load_parts(struct vms_node *n); /* reads part/ again, when nothing else is read */
const char *cat_prefix(unsigned w);
void cat_apply(struct vms_node *n, unsigned w, const struct vms_cat_kv *kv);
void cat_loss_start(struct vms_node *n, struct part *p);

/* ---- set.c ---- */
void set_step(struct vms_node *n);
void set_soon(struct vms_node *n);
bool set_hears(struct vms_node *n);

/* ---- retire.c ---- */
void retire_begin(struct vms_node *n);
void retire_timer(struct vms_node *n);
bool retire_gives(struct vms_node *n);
uint32_t retire_heir(const struct vms_node *n, const struct part *p); /* 0: nobody */

/* ---- set.c ---- */
void set_timer(struct vms_node *n);
void set_adopted(struct vms_node *n, struct part *p); /* a newer configuration was read */
void set_calm(struct vms_node *n, struct part *p);

/* ---- lease.c ---- */
void lease_grant(struct vms_node *n, struct peer *pe);
uint64_t lease_granted_ms(const struct vms_node *n, const struct peer *pe, uint64_t incarnation);
/* part/ is known up to rev. */
void lease_part_rev(struct vms_node *n, uint64_t rev);
void lease_won(struct vms_node *n, struct peer *pe, uint64_t sent_ms, uint64_t rev);
uint64_t lease_left_ms(const struct vms_node *n, const struct peer *pe);
/* Who asks has read a change of part/ that has not come here yet: it is looked for. */
static inline bool part_behind(struct vms_node *n, uint64_t revision)
{
	if (revision <= n->part_rev || n->mut == MUT_FLOOR_BEHIND)
		return false;
	n->behind = true;
	return true;
}
void lease_timer(struct vms_node *n);

/* ---- fresh.c ---- */
bool fresh_need(struct vms_node *n, uint64_t rev);

/* ---- node_conn.c ---- */
struct conn *conn_get(struct vms_node *n, vms_conn_id id);
void conn_event(struct vms_node *n, const struct vms_node_event *ev);
void conn_timer(struct vms_node *n);
void conn_durable(struct vms_node *n); /* the log's durable end has moved */
int node_send(struct vms_node *n, vms_conn_id conn, struct vms_msg *m);
void node_reply(struct vms_node *n, vms_conn_id conn, const struct vms_msg *req, int status);
struct peer *node_peer(struct vms_node *n, uint32_t id, bool create);
void peer_lost(struct vms_node *n, struct peer *pe);
void node_dispatch(struct vms_node *n, struct conn *c, const struct vms_msg *m);

/* ---- rpc.c ---- */
/* re NULL: no answer came (connection lost, time over, n->closing). What re points to
 * is gone after the call. */
typedef void (*rpc_fn)(struct vms_node *n, void *arg, const struct vms_msg *re);
/* False: not connected, fn is not called. Sets m->req_id. */
bool rpc_send(struct vms_node *n, struct peer *pe, struct vms_msg *m, uint64_t timeout_ms,
	      rpc_fn fn, void *arg);
bool rpc_reply(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void rpc_peer_lost(struct vms_node *n, struct peer *pe);
void rpc_timer(struct vms_node *n);
void rpc_close(struct vms_node *n);

/* ---- node_session.c ---- */
struct session *session_get(struct vms_node *n, uint32_t gateway);
void session_hello(struct vms_node *n, struct conn *c);
void session_conn_down(struct vms_node *n, struct session *s);
void session_void(struct vms_node *n, struct session *s);
void session_tick(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void session_timer(struct vms_node *n);
int session_age_check(struct vms_node *n, const struct vms_msg *m);
uint64_t session_op_deadline(struct vms_node *n, const struct vms_msg *m);
void session_void_branch(struct vms_node *n, struct part *p, uint64_t branch);
/* What a write takes from other gateways: pages, or chunks of them. */
struct inval_what {
	uint8_t subexts;
	unsigned nrun; /* 0: the pages */
	struct vms_inval_run run[INVAL_RUNS_MAX];
};
void session_inval_pieces(const struct vms_piece *pieces, unsigned np, struct inval_what *what);
unsigned session_invalidate(struct vms_node *n, struct part *p, uint64_t branch, uint32_t extent,
			    const struct inval_what *what, uint64_t seq, uint32_t except,
			    struct op *op);
void session_inval_done(struct vms_node *n, struct inval *iv);
/* All pages of the partition come back: p->recalls falls to 0. */
void session_recall(struct vms_node *n, struct part *p);
void session_recall_void(struct vms_node *n, struct part *p);
/* The same for one that others lead now; nobody waits. */
void session_lost(struct vms_node *n, struct part *p);
void session_inval_reply(struct vms_node *n, struct conn *c, const struct vms_msg *m);
bool session_tomb(struct vms_node *n, const struct vms_opid *op);
void session_cancel(struct vms_node *n, struct conn *c, const struct vms_msg *m);
int floor_gateway(struct vms_node *n, uint32_t gateway, uint64_t incarnation, uint64_t *pos);
int floor_branch(struct vms_node *n, uint64_t branch, uint64_t snap_gen, uint64_t fence,
		 uint64_t *pos);
void floor_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);

/* ---- node_part.c ---- */
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

/* ---- learn_serve.c: feeding a copy, at the primary ---- */
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

/* ---- node_repl.c ---- */
struct prec *part_rec(struct part *p, uint64_t seq); /* NULL: not there */
/* Is there a member that has no place for new data in its containers? */
bool part_no_room(const struct vms_node *n, const struct part *p);
/* … or none for a segment of chunks that are moved, on top of what its log holds: it would
 * wait for room with it, and with all that comes after it. */
bool part_cramped(const struct vms_node *n, const struct part *p);
/* Order a record at the primary: appended, ingested, on its way. */
int part_order(struct vms_node *n, struct part *p, struct vms_rec *r, const struct vms_iov *iov,
	       unsigned niov);
void part_rec_put(struct vms_node *n, struct part *p, const struct vms_rec *r,
		  struct vms_rec_ref ref, bool live);
void part_truncate(struct vms_node *n, struct part *p, uint64_t from);
/* A reference to a container of its own partition is ordered (on), or settled. */
void part_ref_count(struct vms_node *n, struct part *p, const struct vms_move *m, bool on);
void part_recs_pop(struct part *p, uint64_t below_pos);
int part_append_raw(struct vms_node *n, struct part *p, const struct vms_rec *r, const uint8_t *raw,
		    uint32_t bytes);
void repl_records(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void repl_ack(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void repl_advance(struct vms_node *n, struct part *p);
void repl_durable(struct vms_node *n);
void repl_flush_out(struct vms_node *n); /* end of a turn */
void repl_want(struct vms_node *n, struct part *p);
uint32_t log_permille(const struct vms_node *n);
/* For bytes that nobody has it stands, or does no more. */
void part_stands(struct vms_node *n, struct part *p, bool stands);
/* It stands, and partitions that do have as much of the log as they may. */
bool part_stands_full(const struct vms_node *n, const struct part *p);
/* What a node tells the others of its room: the log in 1/1000, NODE_FULL while it
 * refuses new data for lack of space. */
#define NODE_FULL    0x10000u
#define NODE_LEAVING 0x20000u /* it is being stopped: give it no lead */
#define NODE_CRAMPED 0x40000u /* not even chunks can be moved to empty containers */
static inline uint32_t node_fill(const struct vms_node *n)
{
	return log_permille(n) | (n->nospc ? NODE_FULL : 0) | (n->retiring ? NODE_LEAVING : 0) |
	       (n->cramped ? NODE_CRAMPED : 0);
}
static inline void peer_fill(struct peer *pe, uint32_t aux)
{
	pe->log_permille = aux & 0xffff;
	pe->full = aux & NODE_FULL;
	pe->leaving = aux & NODE_LEAVING;
	pe->cramped = aux & NODE_CRAMPED;
}
void repl_ack_want(struct vms_node *n, struct part *p);
void part_order_ceiling(struct vms_node *n, struct part *p);
void part_fua(struct vms_node *n, struct part *p);

/* ---- node_write.c ---- */
struct op *op_new(struct vms_node *n);
void op_free(struct vms_node *n, struct op *o);
void write_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void write_retry(struct vms_node *n, struct part *p);
void write_timer(struct vms_node *n, struct part *p);
void write_committed(struct vms_node *n, struct part *p, struct op *o, const struct vms_rec *r,
		     const struct vms_piece *pieces, unsigned np);
void write_conn_void(struct vms_node *n, vms_conn_id conn);
void write_ref_ready(struct vms_node *n, struct part *p, struct op *o, const uint8_t *data,
		     const uint8_t *found);
/* This node does not lead the partition any more: its ops go elsewhere. */
void write_demote(struct vms_node *n, struct part *p);
bool write_cancel(struct vms_node *n, struct part *p, const struct vms_opid *op);
void flush_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void flush_check(struct vms_node *n);
void flush_wait_floor(struct vms_node *n, struct conn *c, const struct vms_msg *m, uint64_t pos,
		      uint32_t aux);
void flush_conn_void(struct vms_node *n, vms_conn_id conn);
void trim_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void admission_timer(struct vms_node *n);

/* ---- write_ref.c ---- */
void write_ref_look(struct vms_node *n, struct part *p, struct op *o);
void write_copy_look(struct vms_node *n, struct part *p, struct op *o);

/* ---- node_read.c ---- */
void read_pages(struct vms_node *n, struct conn *c, const struct vms_msg *m);
/* May pages be read here under that epoch? Else the status to answer. */
int read_check(const struct vms_node *n, struct part *p, uint64_t epoch);
/* own.c: sub-extents of which something in the log is the branch's own. */
uint8_t own_in_log(const struct vms_node *n, const struct part *p, uint64_t branch,
		   uint32_t extent);
void own_serve(struct vms_node *n, struct conn *c, const struct vms_msg *m);
/* Whoever holds the oldest pages is told, until there are few enough. */
void session_holders_trim(struct vms_node *n);
void read_addr(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void read_lba(struct vms_node *n, struct conn *c, const struct vms_msg *m);
/* What a reader of one extent sees: pages, and the overlay over them. */
struct seen {
	uint32_t extent;
	struct vms_stack st;
	struct vms_ovl_stack ovl;
};
/* What reads see of a chunk as of `point`: vms_ovl_view_stack(), and what a TRIM that is not
 * applied yet cuts off as zeros. Not for the apply lane, which goes record by record. */
void part_view(struct vms_node *n, struct part *p, const struct seen *s, uint16_t chunk,
	       uint64_t point, vms_addr entry, struct vms_ovl_view *v);
int part_see(struct vms_node *n, struct part *p, uint64_t branch, uint32_t extent,
	     uint64_t snap_gen, struct seen *out);
/* The page under it; no page: holes, and branch 0 in its key. */
int part_page(struct vms_node *n, struct part *p, const struct seen *s, unsigned sub,
	      struct vms_page *out);
/* Most chunks: one write of all of it (src[0]), whose bytes lie in the log; else NULL. Who
 * keeps the pointer beyond this step lends it. */
const uint8_t *chunk_in_log(const struct vms_node *n, const struct vms_ovl_view *v);
/* Content of a chunk as of `committed`: patch[] gets the sectors of the overlay
 * (mask in *patched), *base the address below (HOLE when nothing of it shows). */
int chunk_resolve(struct vms_node *n, struct part *p, const struct vms_ovl_view *v,
		  const struct vms_page *page, uint16_t chunk, uint8_t *patch, uint8_t *patched,
		  vms_addr *base);
void chunk_merge(uint8_t *base, const uint8_t *patch, uint8_t patched);
struct ctr *part_ctr(struct part *p, uint64_t number);
struct ctr *part_ctr_add(struct part *p, uint64_t number);
int part_addr_check(struct vms_node *n, struct part *p, vms_addr a);

/* ---- fetch.c ---- */
void fetch_start(struct vms_node *n, struct fetch *f);
struct fetch *fetch_new(struct vms_node *n, unsigned nent);
void fetch_free(struct fetch *f);
void segs_close(struct vms_node *n);
void segs_put(struct vms_node *n, const struct vms_seg *s);
/* These bytes have just been written, or read and found right. */
void segs_verify(struct vms_node *n, vms_addr a);
bool segs_verified(struct vms_node *n, vms_addr a); /* lately */

/* ---- apply.c ---- */
void apply_run(struct vms_node *n, struct part *p);
void apply_abort(struct vms_node *n, struct part *p);
void apply_timer(struct vms_node *n);
void apply_peer_reply(struct vms_node *n, const struct vms_msg *m);

/* ---- drain.c ---- */
void drain_timer(struct vms_node *n);
void drain_applied(struct vms_node *n, struct part *p);
void drain_scan_due(struct vms_node *n, struct part *p);
void drain_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void drain_abort(struct vms_node *n, struct part *p);
void drain_safe(struct vms_node *n, struct part *p);
void drain_stubs_drop(struct vms_node *n, struct part *p);
int drain_place(struct vms_node *n, struct part *p, unsigned want, uint64_t *ctr, uint32_t *seg);
void drain_seal_open(struct vms_node *n, struct part *p);

/* ---- checkpoint.c ---- */
void ckpt_timer(struct vms_node *n);
void ckpt_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void ckpt_peer_up(struct vms_node *n, struct peer *pe);
/* The next checkpoint begins soon; what is changed before it does is durable when
 * ckpt_ended has reached the number returned. */
uint64_t ckpt_request(struct vms_node *n);
/* Again: the lower of both positions counts. */
void log_lend(struct vms_node *n, struct log_lend *l, uint64_t pos);
void log_return(struct vms_node *n, struct log_lend *l); /* nothing lent: nothing happens */
int ckpt_put_ident(struct vms_node *n, struct vms_meta_batch *b, bool clean);
void stop_step(struct vms_node *n);

/* ---- node_json.c ---- */
void node_json_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);

/* ---- copyfwd.c ---- */
void copy_forward(struct vms_node *n);

/* ---- replay.c ---- */
int replay_open(struct vms_node *n, struct vms_errmsg *msg);

/* ---- collect.c ---- */
void gc_timer(struct vms_node *n);
void gc_abort(struct vms_node *n, struct part *p);
/* An entry of a page changed from a to b (either may be a hole); ref: b is a chunk
 * that was there before. */
void gc_moved(struct vms_node *n, struct part *p, vms_addr from, vms_addr to, bool ref,
	      uint64_t seq);
bool places_set(struct places *s, vms_addr a); /* true: it was not set */
bool places_has(const struct places *s, vms_addr a);
void places_free(struct places *s);
void places_or(struct places *s, uint32_t seg, uint64_t places);
/* Dead stretches of the container's file that touch these segments. */
void ctr_holes(struct vms_node *n, const struct ctr *c, uint32_t seg, uint32_t end);
void ctr_segs(struct ctr *c, uint32_t segs); /* it has that many now, at least */
void ctr_free(struct ctr *c);

/* ---- empty.c ---- */
void empty_add(struct vms_node *n, struct part *p, struct ctr *c);
void empty_timer(struct vms_node *n);
void empty_close(struct vms_node *n);

/* ---- round.c ---- */
void round_timer(struct vms_node *n);
void round_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void round_report_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void round_mark(struct vms_node *n, vms_addr a);	     /* something refers to it */
void round_part_changed(struct vms_node *n, struct part *p); /* a new epoch */
void round_close(struct vms_node *n);
uint64_t round_cycle(const struct vms_node *n);
uint64_t round_want(struct vms_node *n); /* bytes that a round might free */
const char *round_phase(struct vms_node *n);

/* ---- plan.c ---- */
void plan_timer(struct vms_node *n);
void plan_close(struct vms_node *n);
void plan_hint(struct vms_node *n); /* the membership has changed */
struct json_t;
struct json_t *plan_json(const struct vms_node *n);

/* ---- du.c ---- */
void du_timer(struct vms_node *n);
void du_close(struct vms_node *n);

/* ---- prune.c ---- */
void prune_timer(struct vms_node *n);
void prune_hint(struct vms_node *n);
void prune_led(struct vms_node *n); /* something was deleted */
void prune_copied(void *arg, const struct vms_page_key *made, const struct vms_page_key *from);
void prune_close(struct vms_node *n);
struct json_t;
struct json_t *prune_json(struct vms_node *n); /* "reclaim": what is still to be given back */
int prune_reading(const struct vms_node *n);   /* which prefix of the catalog; -1: none */
/* How long background work waits between two steps. */
uint64_t gc_pace_ms(const struct vms_node *n);

#endif
