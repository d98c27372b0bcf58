/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the gateway core, shared by gateway.c and gw_*.c only.
 *
 * Words: a *command* (struct gw_req) is one SCSI command's I/O; it is cut at
 * extent boundaries into *pieces* (reads) or *ops* (everything that is ordered at
 * a primary). An *rpc* is one request frame to a node that waits for its answer.
 *
 * Who calls whom: gateway.c drives; gw_node.c owns connections, ticks and rpcs
 * and hands answers to those who read (gw_read.h), those who write (gw_write.h) and gw_flush.c;
 * gw_catalog.c keeps nodes, partitions and volumes current. Results go out through gw_req_end() and
 * are delivered at the end of the step or turn, so nothing recurses into the caller.
 */
#ifndef VMS_GW_INT_H
#define VMS_GW_INT_H

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "target/chunk_cache.h"
#include "target/gateway.h"
#include "target/gw_list.h"
#include "target/page_cache.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"

/* ---- limits and periods ---- */

#define GW_BATCH_BYTES	    (512u << 10) /* merged writes of one batch */
#define GW_INFLIGHT_BYTES   (4u << 20)	 /* of writes per node, beyond it they merge on */
#define GW_BATCH_WAIT_MS    4		 /* a merged write waits no longer for a slow batch */
#define GW_ADDR_BATCH	    128		 /* addresses in one READ_ADDR */
#define GW_RETRY_MS	    10		 /* first pause before a refused op is sent again */
#define GW_RETRY_MS_MAX	    80
#define GW_CONNECT_MS	    50
#define GW_CONNECT_MS_MAX   1000
#define GW_REACH_MS	    1000 /* a node not reachable for so long at start is skipped */
#define GW_CAT_RETRY_MS	    200
#define GW_TRIES_MAX	    4	 /* page look-ups of one read, then by LBA at the primary */
#define GW_READS_MAX	    8192 /* read pieces in flight, then TASK SET FULL */
#define GW_ASK_CHUNKS_MAX   4	 /* larger reads ask for the page when they do not know a chunk */
#define GW_IDLE_INVALS_MAX  4	 /* a page that nobody reads goes with the next one */
#define GW_REPAIRS_BURST    64	 /* REPAIR messages at once, and ... */
#define GW_REPAIR_MS	    10	 /* ... the time each takes then */
#define GW_READAHEAD_CHUNKS 128
#define GW_STREAMS	    8
#define GW_PORTS	    32	 /* initiator ports whose loss notices are remembered */
#define GW_SWEEP_MS	    2000 /* after the start */
#define GW_OPEN_MS	    20000
#define GW_NAME_BYTES	    240	  /* VOLUME@SNAP */
#define GW_WT_CHUNKS_MAX    16	  /* larger writes stream past the chunk cache */
#define GW_HOLD_MS	    1000  /* a barrier holds writes no longer; no factor scales it */
#define GW_BARRIER_AGE_MS   10000 /* an older one is abandoned by whoever meets it */
#define GW_BARRIER_LOOK_MS  50	  /* the volume's record is looked at again */
#define GW_THIN_BACK	    50	  /* 1/1000 below the threshold, before it warns again */
#define GW_STATUS_EXTENTS   8	  /* extents one GET LBA STATUS looks at */
#define GW_LEASE_FOREVER    UINT64_MAX
#define GW_HASH		    4096u /* buckets of the tables of what is on its way */

/* ---- nodes and partitions ---- */

enum gw_node_state { GN_DOWN = 0, GN_CONNECTING, GN_HELLO, GN_READY };

struct gw_node {
	uint32_t id;
	char name[64], address[64];
	bool known; /* still in the catalog */
	bool seen;  /* by the reading of all nodes that runs */
	enum gw_node_state state;
	uint32_t session;     /* raised at every change of the connection */
	uint64_t incarnation; /* of the process that answered HELLO last */
	uint64_t try_ms;      /* first attempt of the present outage */
	uint64_t connect_ms;  /* time of the next attempt */
	uint32_t backoff_ms;
	uint64_t hello_ms;  /* HELLO sent */
	uint64_t heard_ms;  /* last tick or HELLO answer */
	uint64_t alive_ms;  /* ... whatever has been tried since then */
	uint64_t nobody_ms; /* last seen that no node that is heard reaches it (gw_reach.c) */
	uint64_t ack_ms;    /* last tick answer (or HELLO) sent */
	/* Pages it handed out in this session are good before this time, whatever their
	 * partition's set is: the least of the session's lease and all leases its newest
	 * tick told of. */
	uint64_t good_until_ms;
	uint64_t lease_until_ms;	       /* of the session alone */
	uint64_t peer_until_ms[VMS_NODES_MAX]; /* 0: the newest tick does not name it */
	uint64_t tick, tick_incarnation, tick_node_ms, tick_own_ms;
	int64_t ahead_ms;    /* node time minus ours, the most seen of late */
	struct gw_link rpcs; /* waiting for an answer, oldest first */
	struct gw_link ops;  /* queued ops, oldest first */
	uint64_t ops_bytes;
	uint32_t inflight_ops;
	uint64_t inflight_bytes;
	uint64_t batch_ms;	/* last batch sent */
	uint32_t used_permille; /* of its space */
	bool refusing;		/* new data, for lack of it */
	bool no_claims;		/* of an earlier release: it does not know OWN */
	uint64_t rpc_sent, reconnects;
};

struct gw_fetch;
struct gw_part {
	struct vms_part_conf c;
	uint64_t rev;
	uint64_t asked_ms; /* catalog asked because a node knew a newer epoch */
	bool refuses;	   /* its last op was refused for now, or lost */
	struct gw_fetch *fetch_head, **fetch_tail;
	bool dirty;
	uint32_t dirty_next;
};

/* Ticks of all nodes held before one turn's poll (rules C4). */
struct gw_tickvec {
	uint32_t refs;
	uint32_t n;
	struct {
		uint64_t tick, incarnation;
	} t[VMS_NODES_MAX];
};

/* ---- rpcs ---- */

enum gw_rpc_type {
	GR_HELLO = 1,
	GR_OPEN,   /* obj: vms_gw_vol or NULL */
	GR_PAGES,  /* obj: gw_pagereq */
	GR_OWN,	   /* obj: gw_claim */
	GR_ADDR,   /* obj: gw_batch */
	GR_LBA,	   /* obj: gw_piece */
	GR_WRITE,  /* obj: gw_op */
	GR_CANCEL, /* obj: gw_op */
	GR_FLUSH,  /* obj: gw_req */
	GR_ASK,	   /* obj: gw_ask, or NULL */
};

struct gw_rpc {
	struct gw_link link; /* node's rpcs */
	uint32_t index, gen;
	enum gw_rpc_type type;
	uint32_t node;
	uint64_t sent_ms;
	void *obj;
};

/* ---- commands ---- */

struct gw_tmp { /* chunk data that has no place in the cache */
	struct gw_tmp *next;
	uint8_t data[VMS_CHUNK_BYTES];
};

struct gw_op;
struct gw_piece;

struct gw_req {
	struct gw_req *next; /* done list */
	struct vms_gw_cmd *cmd;
	struct vms_gw_vol *vol;
	struct gw_link link; /* all that run */
	struct gw_piece *pieces;
	struct gw_op *ops;
	struct gw_tickvec *tv;
	struct gw_tmp *tmp;
	struct vms_iov *iov; /* one per chunk; iov_in or malloc'ed */
	uint8_t *pattern;    /* WRITE SAME: the block repeated to a chunk; LBA STATUS:
				a byte per chunk, is it mapped? */
	uint64_t t_ms, aborted_ms;
	uint64_t bytes; /* that count against outstanding_bytes_max */
	uint64_t total_bytes;
	uint64_t first_chunk; /* of the volume */
	uint64_t info_lba;
	uint64_t table; /* number of the table of reservations it was checked against */
	uint32_t off0;	/* byte offset of the command in its first chunk */
	uint32_t nchunks;
	uint32_t npend;
	int status;
	uint32_t miscompare_bytes;
	bool applied, aborted, in_submit, retained, ended;
	uint32_t pattern_crc; /* of a whole chunk of the pattern */
	/* FLUSH: nodes still to be asked, and asked */
	uint64_t need[VMS_NODES_MAX / 64], asked[VMS_NODES_MAX / 64];
	struct gw_link loss_link; /* gw->flushes, then the volume's loss_wait */
	struct vms_iov iov_in[VMS_GW_IOV_MAX];
};

/* One extent's part of a command that reads. */
struct gw_piece {
	struct gw_link link; /* gw->parked, or a page request's waiters */
	struct gw_piece *req_next;
	struct gw_req *req; /* NULL: aborted, or read-ahead */
	struct vms_gw_vol *vol;
	uint32_t partition;
	uint32_t extent;
	uint16_t chunk0, n;  /* in the extent */
	uint32_t req_chunk0; /* its first chunk in the command */
	uint32_t nwait;	     /* fetches to come */
	uint8_t tries;
	bool redo, by_lba, prefetch;
	bool claimed; /* it has waited for claims once */
	bool slow;    /* redo after a pause */
	int status;
	uint64_t fill; /* READ_LBA: token in the entries that its answer fills; 0: none */
	uint64_t info_lba;
	uint64_t t_ms, due_ms;
};

struct gw_waiter {
	struct gw_waiter *next;
	struct gw_piece *piece;
	uint16_t index; /* chunk in the piece */
};

/* One address on its way. */
struct gw_fetch {
	struct gw_fetch *hash_next, *next;
	vms_addr addr;
	uint32_t partition;
	uint8_t tried;	 /* replicas that answered badly */
	uint8_t replica; /* index in the set it is asked at */
	bool corrupt;
	uint8_t nbad; /* nodes whose copy is damaged, told when the reader is served */
	uint32_t bad[VMS_COPIES_MAX];
	struct gw_waiter *waiters;
	uint64_t t_ms;
};

struct gw_batch {
	uint32_t n;
	struct gw_fetch *f[GW_ADDR_BATCH];
};

/* Pages of one extent on their way. */
struct gw_pagereq {
	struct gw_pagereq *hash_next;
	uint64_t branch, gen;
	uint32_t extent;
	uint32_t partition;
	uint64_t epoch;
	uint32_t node, session;
	uint8_t mask;
	uint64_t inval_seq[VMS_EXTENT_SUBEXTS]; /* highest invalidation seen meanwhile, + 1 */
	struct gw_link waiters;
};

enum gw_op_state { GO_SLOT = 1, GO_QUEUED, GO_SENT, GO_RETRY, GO_HELD };

/* One ordered op: one piece of a command, one slot, one sequence (rules C5). */
struct gw_op {
	struct gw_link link; /* by state: slot_wait, node's ops, none, retry, volume's held */
	struct gw_op *req_next;
	struct gw_req *req;
	struct gw_op *wx_next; /* own writes in flight on the same extent */
	struct gw_rpc *rpc, *cancel_rpc;
	enum gw_op_state state;
	uint8_t kind;
	bool slotted; /* has its slot and sequence */
	bool sent_ever;
	bool unknown; /* a send was lost with its connection: it may have been ordered */
	bool marked;  /* its chunks are masked in the page cache */
	uint32_t queued_node;
	uint32_t partition;
	uint32_t extent;
	uint32_t blk0, nblk; /* logical blocks in the extent */
	uint32_t slot;
	uint64_t sequence;
	uint64_t sent_gen, sent_fence; /* the numbers of its last send */
	uint64_t data_off;	       /* in the command's data */
	uint64_t bytes;		       /* payload */
	uint64_t due_ms, lost_ms;
	uint64_t sent_ms; /* first time */
	uint32_t backoff_ms;
	uint32_t node;			 /* where it is in flight */
	uint64_t tick, tick_incarnation; /* mutant RESTAMP only */
};

struct gw_wext { /* own writes in flight on one extent */
	struct gw_wext *hash_next;
	uint64_t branch;
	uint32_t extent;
	struct gw_op *ops;
};

/* ---- volumes ---- */

enum gw_vol_state {
	GV_WAIT = 1, /* for the gateway to be ready */
	GV_GET,	     /* the volume's record is read */
	GV_CREATE,   /* not there: it is created */
	GV_BRANCH,   /* of a snapshot: its branch's record is read */
	GV_REGISTER, /* the registration is written */
	GV_LIST,     /* who else has it open, and its losses */
	GV_LOSS,
	GV_PR,	  /* its reservations */
	GV_NODES, /* nodes are told */
	GV_OPEN,
};

struct gw_vol_wait {
	struct gw_vol_wait *next;
	void *arg;
};

struct gw_stream {
	uint64_t next_chunk; /* where the next read would go on */
	uint64_t ra_chunk;   /* read ahead up to here */
	uint32_t hits;
};

struct gw_abandon;
struct gw_base;
struct gw_claim;
struct gw_pr;

struct vms_gw_vol {
	struct vms_gw *gw;
	struct gw_link link;
	char name[GW_NAME_BYTES]; /* as it was opened */
	bool snap;		  /* a snapshot: nothing is written, all is final */
	/* What reads carry: VMS_GEN_LIVE, whatever number the volume has by now (a
	 * gateway that lags behind a barrier reads nothing stale), or the snapshot's. */
	uint64_t read_gen;
	struct vms_cat_volume rec; /* of a snapshot: what it has of a volume's record */
	char snap_name[104];
	uint64_t rev; /* of the volume's or the snapshot's record */
	/* The lun_fence that ops carry: the record's, once the table of reservations that
	 * came with it is known (gw_pr.c). */
	uint64_t fence;
	struct gw_pr *pr;     /* while it is open */
	struct gw_base *base; /* a clone's, once a node has told (gw_base.c); or NULL */
	enum gw_vol_state state;
	unsigned opens;
	uint64_t nblocks;
	bool gone; /* it was deleted, or is not what was opened any more: all ends here */
	uint64_t retry_ms;
	uint64_t create_bytes;
	uint8_t create_ack;
	struct gw_vol_wait *waits;
	uint64_t watch_vol, watch_open, watch_loss;
	uint8_t again;	   /* watches to be made anew: 1 volume, 2 openers, 4 loss */
	uint64_t again_ms; /* not before */
	bool busy;	   /* a catalog call of the opening runs */
	uint64_t open_rev; /* of our registration; 0: none */
	bool reg_waits;	   /* to be registered with the next transaction */
	bool reg_alone;	   /* in one of its own */
	bool reg_unsure;   /* one ended without an outcome: it may be registered */
	uint64_t list_rev;
	uint64_t start_ms;
	uint8_t opener[VMS_GATEWAYS_MAX]; /* gateway id -> has it open */
	unsigned nopeners;
	uint64_t open_deadline_ms;
	unsigned open_pending;
	uint64_t ncmds;
	/* ops that must not be sent now (gw_barrier.c) */
	struct gw_link held; /* oldest first */
	bool stopped;	     /* a barrier says stop */
	bool quiet;	     /* one says to end everything: new commands end BUSY */
	uint64_t stopped_ms;
	bool behind; /* a node refused our numbers: newer ones are to come */
	uint64_t behind_ms, behind_ask_ms;
	uint64_t floor_gen; /* highest snap_gen that a refusal named */
	uint64_t ahead_gen; /* highest one used without the catalog's record of it */
	struct {
		uint64_t id;	  /* the barrier in the record; 0: none */
		uint64_t seen_ms; /* first */
		uint8_t want;	  /* enum vms_ack_state to be told, 0: nothing */
		uint8_t told;	  /* told last */
		bool let_go;	  /* ops went before the release: a veto */
	} bar;
	struct {
		bool busy;
		uint64_t id, rev, retry_ms;
		uint8_t state;
	} ack; /* the one on its way to the catalog */
	struct gw_abandon *abandon;
	/* losses of unflushed writes */
	uint64_t loss, loss_stamp, loss_asked_stamp;
	struct gw_link loss_wait; /* commands that wait for the check, one at a time */
	struct gw_req *loss_req;  /* the one a catalog call is made for */
	bool loss_busy;
	uint64_t loss_retry_ms;
	uint64_t loss_ack; /* told, and to be recorded under this key; 0: nothing */
	char loss_ack_key[VMS_CAT_KEY_BYTES_MAX];
	struct {
		uint64_t port, told; /* hash of the port's name, loss it was told of */
	} told[GW_PORTS];
	unsigned told_hand;
	struct gw_stream stream[GW_STREAMS];
	unsigned stream_hand;
	vms_gw_trace_fn trace;
	void *trace_arg;
	struct {
		uint64_t reads, writes, read_bytes, write_bytes, read_sync;
	} st;
};

struct gw_closing { /* registration to be withdrawn, repeated until it worked */
	struct gw_closing *next;
	struct vms_gw *gw;
	char key[VMS_CAT_KEY_BYTES_MAX]; /* of the registration ... */
	uint64_t rev;			 /* ... and its revision; 0: is there one? */
	uint64_t unsure_ms;		 /* then: it is looked for so long */
	uint64_t id;			 /* of the volume */
	/* the veto that goes with it: the volume's key, its revision, the barrier, the ack */
	char *vkey, *veto;
	uint64_t vrev, barrier_id;
	uint64_t min_rev; /* after a conflict: what is read must not be older */
	uint64_t retry_ms;
	bool busy;
	bool alone;  /* it failed together with others */
	bool unsure; /* a transaction of before has no outcome, and may come yet */
};

/* A question to the primaries of all partitions (gw_ask.c). */
struct gw_ask {
	struct gw_link link; /* gw->asks */
	struct vms_gw *gw;   /* NULL: idle */
	struct vms_msg m;
	uint64_t revision; /* part/ has to be as of then at least */
	uint64_t until_ms, look_ms;
	bool reading, known; /* part/; who has to answer */
	uint64_t leads[VMS_NODES_MAX / 64], need[VMS_NODES_MAX / 64];
	uint64_t asked[VMS_NODES_MAX / 64], answered[VMS_NODES_MAX / 64];
	uint64_t again_ms[VMS_NODES_MAX];
	void (*reply)(void *arg, const struct vms_msg *m); /* of each that answered; or NULL */
	void (*done)(void *arg, int status); /* 0 or VMS_E_TIMEOUT; never from gw_ask_start() */
	void *arg;
};

/* ---- statistics ---- */

#define GW_STATS(X)                                                                                \
	X(reads, "read commands")                                                                  \
	X(reads_cached, "read commands answered at once from the caches")                          \
	X(read_bytes, "bytes read")                                                                \
	X(writes, "write, zero, compare-and-write, or-write and reference commands")               \
	X(writes_ref, "of them, writes by reference")                                              \
	X(writes_copy, "of them, copies by address")                                               \
	X(write_bytes, "bytes written")                                                            \
	X(flushes, "flush commands")                                                               \
	X(ops_sent, "ops sent to primaries, repeats included")                                     \
	X(ops_retried, "ops sent again with the same id")                                          \
	X(ops_refused, "ops refused for now by a node")                                            \
	X(ops_fenced, "ops refused because a snapshot or a fence had come before them")            \
	X(ops_held, "ops that waited for a barrier or for newer numbers")                          \
	X(ops_too_old, "ops that became too old before they were ordered")                         \
	X(ops_unknown, "ops whose connection was lost before the answer")                          \
	X(batches, "batches of merged writes")                                                     \
	X(pages_asked, "index pages asked for")                                                    \
	X(pages_installed, "index pages cached")                                                   \
	X(pages_stale, "index pages that came later than their invalidation")                      \
	X(page_hits, "index pages found in the cache")                                             \
	X(pages_shared, "of them, pages that clones share")                                        \
	X(claims_asked, "questions which pages of a clone are its own")                            \
	X(invalidations, "invalidations of nodes")                                                 \
	X(page_updates, "entries re-keyed by nodes")                                               \
	X(entries_filled, "entries that reads by place made known again")                          \
	X(chunks_asked, "chunks asked for by address")                                             \
	X(chunks_lba, "chunks asked for by place at the primary")                                  \
	X(chunks_coalesced, "chunk reads that joined one on its way")                              \
	X(chunks_gone, "addresses no longer in use")                                               \
	X(chunks_unknown, "addresses a replica did not know")                                      \
	X(chunks_corrupt, "chunks that failed their checksum here")                                \
	X(repairs_sent, "repair requests sent to nodes")                                           \
	X(repairs_held, "repair requests not sent because many were of late")                      \
	X(ops_moved, "unanswered ops taken from a former primary to its successor")                \
	X(reads_moved, "unanswered page and chunk requests, likewise")                             \
	X(partitions_moved, "times a partition got another primary")                               \
	X(partial, "writes of which a part was applied and the rest could not be")                 \
	X(outcomes_lost, "ops whose outcome no node could tell any more")                          \
	X(aborts_given_up, "aborted ops whose partition did not come back in time")                \
	X(readahead_chunks, "chunks asked for ahead of sequential reads")                          \
	X(ticks, "ticks of nodes answered")                                                        \
	X(initiator_drops, "times all initiators were dropped")                                    \
	X(reconnects, "connections to nodes lost")                                                 \
	X(busy, "commands answered busy")                                                          \
	X(full, "commands refused because queues were full")                                       \
	X(aborts, "commands aborted")                                                              \
	X(barriers, "barriers taken part in")                                                      \
	X(barrier_vetoes, "barriers that took so long that writes went on")                        \
	X(barriers_abandoned, "barriers without a coordinator that were ended here")               \
	X(pr_changes, "changes of reservations made here")                                         \
	X(pr_finished, "changes of reservations that other gateways left and that ended here")     \
	X(pr_unknown, "changes of reservations whose outcome was not known in time")               \
	X(pr_refused, "ops not sent again because a reservation had come before them")             \
	X(gateways_fenced, "gateways shut out because they did not answer")                        \
	X(turns, "loop turns")

struct gw_stats {
#define X(name, help) uint64_t name;
	GW_STATS(X)
#undef X
};

/* ---- the gateway ---- */

enum gw_phase {
	GP_CLUSTER = 1,
	GP_FIND,
	GP_TWIN, /* does another process of this name live? */
	GP_CLAIM,
	GP_NUMBER, /* all are given away: gw_number.c */
	GP_NODES,
	GP_PARTS,
	GP_CONNECT,
	GP_RUN,
	GP_DEAD
};

/* gw_number.c: looking for a number that a tool does not need any more */
struct gw_number {
	uint64_t held[VMS_GATEWAYS_MAX / 64]; /* something is registered under it */
	uint8_t scan;			      /* prefixes of registrations done */
	uint64_t rev;			      /* of the longest unused one; 0: none found */
};

struct vms_gw {
	struct vms_gw_conf conf;
	struct vms_catalog *cat;
	struct vms_gw_update up;
	struct vms_timing tm;
	struct vms_rng rng;
	uint64_t now_ms, last_ms;
	enum gw_phase phase;
	bool in_turn, in_call, want_send;
	bool ready;
	bool cut; /* gw_reach.c: initiators have to go elsewhere */
	uint64_t reach_ms;
	uint32_t id;
	uint64_t incarnation;
	struct vms_cat_cluster cluster;
	uint64_t cluster_rev, gw_rev;
	uint64_t cat_retry_ms; /* start machine: next try */
	bool cat_busy;
	uint64_t nodes_rev, parts_rev; /* where their watches begin */
	bool found;
	struct vms_cat_gateway found_gw;
	bool told_twin;
	uint64_t found_rev;
	struct gw_number number;
	uint64_t watch_node, watch_part, watch_gw;
	bool reload_nodes, reload_parts, reload_self;
	uint64_t connect_start_ms;
	uint8_t sweep; /* of registrations left behind: prefixes done */
	bool sweep_busy;
	uint64_t sweep_ms; /* when it begins */

	struct gw_node *node[VMS_NODES_MAX];
	uint32_t node_top; /* highest id + 1 */
	struct gw_part *part;
	uint32_t nparts, parts_known;
	uint32_t dirty_head; /* partitions with fetches to send; VMS_PART_NONE: none */
	uint64_t topo_stamp;
	bool moved;			     /* a partition has got another primary */
	uint64_t gained[VMS_NODES_MAX / 64]; /* nodes that lead more than before */
	struct gw_tickvec *tv;
	bool ticks_changed;
	struct vms_gw_space space;
	bool space_warned;
	uint64_t partial_ms; /* a write applied in part was logged last */

	struct vms_chunk_cache *cc;
	struct vms_page_cache *pc;
	uint8_t *zeros; /* VMS_CHUNK_BYTES */

	struct gw_pool p_req, p_piece, p_waiter, p_fetch, p_batch, p_pagereq, p_op, p_wext, p_rpc,
		p_tv;
	struct gw_rpc **rpc; /* by index */
	uint32_t nrpc, rpc_room, rpc_gen;
	struct gw_link rpc_free;

	struct gw_fetch **fetch_hash;
	struct gw_pagereq **page_hash;
	struct gw_wext **wext_hash;
	uint32_t npieces;
	struct gw_link parked; /* read pieces with a due time */
	struct gw_link slot_wait, retry;
	uint32_t nslots, slot_free_n;
	uint32_t *slot_free;
	uint64_t next_sequence;
	uint32_t ops_waiting;
	uint64_t outstanding_bytes;
	uint64_t repair_free_ms; /* when the REPAIR messages sent so far are paid for */
	uint64_t naborted;	 /* ordered commands that were aborted and run */
	struct gw_link reqs;	 /* commands that run */
	struct gw_link flushes;	 /* of them, those that ask nodes to flush */
	struct gw_link held;	 /* finished reads whose data is still pinned */
	struct gw_req *done_head, **done_tail;
	struct vms_gw_pr_cmd *pr_done, **pr_done_tail; /* to be delivered */
	uint64_t pr_serial;
	struct gw_link asks;
	struct gw_link claims; /* gw_base.c: on their way */
	struct gw_link bases;
	uint64_t fill_token; /* gw_entry.c: the last one, odd */
	uint64_t base_serial;
	struct gw_link vols;
	struct gw_closing *closing;
	struct gw_registering *registering; /* gw_register.c: transactions on their way */
	struct gw_withdrawing *withdrawing;
	uint64_t timer_ms; /* next time the scan has to run */
	uint64_t told_deadline_ms;
	bool kicked; /* the timer scan that runs was asked for by a kick */
	bool kick;   /* something waiting may be able to go on */
	struct gw_stats st;
	uint8_t *body;				   /* scratch for the largest body */
	uint8_t addrs[8 * VMS_GW_COPY_CHUNKS_MAX]; /* scratch for the payload of a COPY */
	struct vms_iov *iov;			   /* scratch gather list */
};

/* Room of the scratch gather list: an extent's chunks, or a command's own list. */
#define GW_IOV_ROOM 2048u

static inline bool gw_mutant(const struct vms_gw *gw, enum vms_gw_mutant m)
{
	return gw->conf.mutant == (uint32_t)m;
}

/* gateway.c */
void gw_log(struct vms_gw *gw, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void gw_fatal(struct vms_gw *gw, int err, const char *text);
void gw_drop_initiators(struct vms_gw *gw, const char *why);
void gw_wake_at(struct vms_gw *gw, uint64_t at_ms);
struct gw_req *gw_req_new(struct vms_gw *gw, struct vms_gw_cmd *cmd);
/* The command has ended with req->status; its result is delivered later (or by
 * submit itself). */
void gw_req_end(struct vms_gw *gw, struct gw_req *req);
void gw_req_free(struct vms_gw *gw, struct gw_req *req);

/* gw_node.c */
struct gw_node *gw_node_get(struct vms_gw *gw, uint32_t id, bool create);
void gw_node_connected(struct vms_gw *gw, struct gw_node *n);
void gw_node_down(struct vms_gw *gw, struct gw_node *n, const char *why);
void gw_node_msg(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m);
void gw_node_timer(struct vms_gw *gw);
/* ---- gw_reach.c ---- */
void gw_reach_timer(struct vms_gw *gw);
/* Send a request; the answer (or VMS_E_DISCONNECTED, VMS_E_TIMEOUT) goes to the
 * type's handler. NULL: the node went down, nothing was sent and no handler runs. */
struct gw_rpc *gw_rpc_send(struct vms_gw *gw, struct gw_node *n, enum gw_rpc_type type, void *obj,
			   struct vms_msg *m);
void gw_rpc_forget(struct vms_gw *gw, struct gw_rpc *r);	      /* its answer is ignored */
int gw_send(struct vms_gw *gw, struct gw_node *n, struct vms_msg *m); /* without answer */
void gw_lease_set(struct vms_gw *gw, const struct vms_part_conf *c);
bool gw_lease_ok_(struct vms_gw *gw, const struct gw_part *p, const struct gw_node *n);
/* May pages of this partition, handed out by n, be used now? */
static inline bool gw_lease_ok(struct vms_gw *gw, const struct gw_part *p, const struct gw_node *n)
{
	return __builtin_expect(gw->now_ms < n->good_until_ms, 1) || gw_lease_ok_(gw, p, n);
}
/* How long commands wait for a partition to be led again, in ms. */
static inline uint64_t gw_patience_ms(const struct vms_gw *gw)
{
	return (uint64_t)gw->tm.t_op_ms + gw->tm.lease_ms;
}
/* Partitions have got another primary: what the former one has not answered. */
void gw_nodes_moved(struct vms_gw *gw);
struct gw_tickvec *gw_tv_get(struct vms_gw *gw);
void gw_tv_put(struct vms_gw *gw, struct gw_tickvec *tv);
void gw_ticks_publish(struct vms_gw *gw);
static inline struct gw_node *gw_primary(struct vms_gw *gw, uint32_t partition)
{
	uint32_t id = gw->part[partition].c.primary;

	return gw->part[partition].c.epoch && id < VMS_NODES_MAX ? gw->node[id] : NULL;
}

/* gw_catalog.c */
void gw_start_run(struct vms_gw *gw);
/* The catalog did not answer, or what was read is no more so: again from there, in a while. */
void gw_start_retry(struct vms_gw *gw, enum gw_phase phase);
void gw_number_find(struct vms_gw *gw);
void gw_cat_timer(struct vms_gw *gw);
void gw_cat_ask_part(struct vms_gw *gw, uint32_t partition);
void gw_cat_fini(struct vms_gw *gw);

/* gw_volume.c */
void gw_vols_timer(struct vms_gw *gw);
void gw_vols_fini(struct vms_gw *gw);
/* The registration has been made, or not. */
void gw_vol_registered(struct vms_gw_vol *v, int status, uint64_t revision);

/* gw_register.c */
void gw_register_run(struct vms_gw *gw);
void gw_register_vol_gone(struct vms_gw_vol *v);
void gw_register_fini(struct vms_gw *gw);
void gw_closing_run(struct vms_gw *gw);
/* A registration that is to be withdrawn; call gw_closing_run() then. */
struct gw_closing *gw_closing_new(struct vms_gw *gw, uint64_t id, const char *key, uint64_t rev);
void gw_vol_nodes_answered(struct vms_gw *gw, struct vms_gw_vol *v);
void gw_vols_node_ready(struct vms_gw *gw, struct gw_node *n);
/* Keys of its record, of our registration, and of all registrations. */
void gw_vol_key(const struct vms_gw_vol *v, char *out);
void gw_vol_open_key(const struct vms_gw_vol *v, char *out);
void gw_vol_open_prefix(const struct vms_gw_vol *v, char *out);
/* The table of reservations is there: the opening goes on. */
void gw_vol_pr_loaded(struct vms_gw_vol *v);
void gw_vol_pr_failed(struct vms_gw_vol *v, const char *why);

/* gw_ask.c */
/* Sends m to all primaries as part/ tells at that revision or later. */
void gw_ask_start(struct gw_ask *a, struct vms_gw *gw, const struct vms_msg *m, uint64_t revision,
		  uint32_t wait_ms);
void gw_ask_stop(struct gw_ask *a); /* idle or not */
void gw_ask_reply(struct gw_ask *a, uint32_t node, const struct vms_msg *m, int status);
void gw_asks_timer(struct vms_gw *gw);

/* gw_pr.c */
void gw_pr_load(struct vms_gw_vol *v); /* gw_vol_pr_loaded() or _failed() follows */
void gw_pr_free(struct vms_gw_vol *v);
void gw_pr_timer(struct vms_gw *gw);
/* The volume's record has changed: may its lun_fence be carried now? True: a higher one
 * than before is. */
bool gw_pr_fence(struct vms_gw_vol *v);
/* A node knows a newer lun_fence. */
void gw_pr_behind(struct vms_gw_vol *v);
uint64_t gw_pr_table(const struct vms_gw_vol *v);
bool gw_pr_refuses_(const struct gw_req *r);
/* Has a reservation come into the command's way since it was checked? */
static inline bool gw_pr_refuses(const struct gw_req *r)
{
	return __builtin_expect(r->table != gw_pr_table(r->vol), 0) && gw_pr_refuses_(r);
}

/* gw_barrier.c */
/* Numbers have risen: what was held for them goes. */
void gw_barrier_numbers(struct vms_gw_vol *v);
/* The volume's record was read or has changed. */
void gw_barrier_look(struct vms_gw_vol *v);
/* A node says that the op's numbers have passed; it was surely not applied. */
void gw_barrier_refused(struct vms_gw *gw, struct gw_op *op, uint64_t floor_gen);
void gw_barrier_timer(struct vms_gw *gw);
/* The volume closes: what its registration's withdrawal has to carry. */
void gw_barrier_close(struct vms_gw_vol *v, struct gw_closing *c);
void gw_barrier_free(struct vms_gw_vol *v);
static inline bool gw_vol_holds(const struct vms_gw_vol *v)
{
	return v->stopped || v->behind;
}

/* gw_entry.c */
void gw_invalidate(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m);
void gw_page_update(struct vms_gw *gw, struct gw_node *n, const struct vms_msg *m);
/* Sub-extents with unknown entries among the piece's; pg: their pages, NULL: not there. */
uint8_t gw_entries_unknown(const struct gw_piece *p, struct vms_pc_page *const *pg);
/* The piece is about to be asked for by place: its answer may fill unknown entries. */
void gw_entries_ask(struct vms_gw *gw, struct gw_piece *p, struct vms_pc_page **pg);
/* Chunk i of the piece is at a, as the primary says (VMS_ADDR_ASK: it does not). */
void gw_entry_fill(struct vms_gw *gw, const struct gw_piece *p, unsigned i, vms_addr a);
/* Page requests on their way. */
static inline struct gw_pagereq **gw_page_bucket(struct vms_gw *gw, uint64_t branch,
						 uint32_t extent)
{
	return &gw->page_hash[vms_mix64(branch * 31 + extent) & (GW_HASH - 1)];
}

/* gw_flush.c */
int gw_flush_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);
void gw_flush_reply(struct vms_gw *gw, struct gw_req *req, uint32_t node, const struct vms_msg *m,
		    int status);
void gw_flush_timer(struct vms_gw *gw);
/* Nodes lead partitions that they did not lead when they were asked. */
void gw_flush_moved(struct vms_gw *gw);
/* End the command with 0, or VMS_E_DATA_LOSS when its initiator port has to be
 * told of a loss. */
void gw_loss_check(struct vms_gw *gw, struct gw_req *req);
void gw_loss_abandon(struct vms_gw *gw, struct gw_req *req);

/* gw_misc.c */
void gw_verify_end(struct vms_gw *gw, struct gw_req *req);
void gw_lba_status_end(struct gw_req *req);
int gw_lba_status_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);
void gw_lba_status_piece(struct vms_gw *gw, struct gw_piece *p, struct vms_pc_page *const *pg);
int gw_map_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);
/* pg: pages of the piece's sub-extents */
void gw_map_piece(struct vms_gw *gw, struct gw_piece *p, struct vms_pc_page *const *pg);
int gw_prefetch_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);

#endif
