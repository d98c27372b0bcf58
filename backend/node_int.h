/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to the node's files: the state of a storage node as a whole, and what node.c offers
 * the others. Each thing in it has a header of its own, named as the file that owns it:
 * node_part.h, node_conn.h, node_session.h, branch.h, node_write.h, round.h, ... One thread
 * owns all of it.
 */
#ifndef VMS_NODE_INT_H
#define VMS_NODE_INT_H

#include "backend/holders.h"
#include "backend/htab.h"
#include "backend/learn_serve.h"
#include "backend/meta.h"
#include "backend/node.h"
#include "backend/node_cat.h"
#include "backend/outcome.h"
#include "backend/overlay.h"
#include "backend/record.h"
#include "backend/set.h"
#include "backend/yield.h"
#include "cluster/catalog.h"
#include "include/disk.h"
#include "include/wire.h"
#include "utils/lib/log.h"
#include "utils/lib/rng.h"
#include "utils/lib/vec.h"

struct ckpt;
struct conn;
struct dedup;
struct du;
struct dur;
struct empty;
struct flush;
struct gwfloor;
struct hole;
struct log_lend;
struct match;
struct op;
struct out_frame;
struct part;
struct peer;
struct planner;
struct prune;
struct repair;
struct round;
struct rpc;
struct scrub;
struct seg_cache;
struct session;
struct vms_pages;
struct vms_wal;

/* ---- disk I/O in flight ---- */
struct dio {
	void (*fn)(struct vms_node *n, struct dio *d, int status);
	uint32_t slot;
};

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
	uint64_t moved_bytes, moved_urgent_bytes, learnt_bytes, kept_bytes, feeds, learnt,
		copies_deleted, digests;
	uint64_t digest_bad, lost_chunks;
	uint64_t given_up; /* chunks */
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
	uint64_t lock_bytes; /* of the log, that locks have been admitted for */
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
	unsigned nlacks;	/* partitions with a lack */

	/* copies */
	struct move_rate move;
	struct yield yield;
	struct yield_said yield_said;
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
	struct vms_log_places said; /* damage */
	bool rewrite;		    /* repaired index values wait for a checkpoint */
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

void node_log(struct vms_node *n, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Damage, of which each further look at that place tells again: said once, and then once in a
 * minute. key: the place, mixed with what is said of it. */
void node_log_place(struct vms_node *n, int level, uint64_t key, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
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

#endif
