/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gateway core: LBA ranges to chunks, page and chunk cache, sessions with the
 * storage nodes, op ids, retries, coherence. Sans-I/O: used by the tgt adapter
 * (bs_vmstore.c, gw_posix.c) and by the simulator.
 *
 * Owner: tgt's event loop. Keeps invariants 1-4, 8-12, 15, 17-19, 30.
 *
 * Turn: vms_gw_turn_begin() before initiator commands of a loop turn are read
 * (after the node sockets have been handled, or before them: both do),
 * vms_gw_turn_end() after them: it sends what was merged, and the ticks received
 * until then become those the next turn's commands may refer to. Both are called
 * in every turn, also in one without commands.
 */
#ifndef VMS_GATEWAY_H
#define VMS_GATEWAY_H

#include "cluster/catalog.h"
#include "include/wire.h"
#include "target/pr.h"

struct vms_gw;
struct vms_gw_vol;

struct vms_gw_conf {
	char name[64]; /* unique in the cluster; catalog key of the gateway */
	char portal[128];
	char host[64]; /* the machine's name */
	char boot[40]; /* and which of its starts this is; "": not known */
	bool tool;     /* no initiator comes in; may open volumes that are being imported */
	struct vms_timing timing;	/* factor is taken from the catalog at start */
	uint64_t chunk_cache_bytes;	/* 0: 256 MiB */
	uint64_t page_cache_bytes;	/* 0: 64 MiB */
	uint32_t slots;			/* ops in flight; 0: 1024 */
	uint64_t outstanding_bytes_max; /* of writes in flight; 0: 64 MiB */
	uint32_t readahead_chunks;	/* 0: default */
	uint32_t thin_soft_percent;	/* of a node's space: initiators are warned; 0: never */
	uint64_t seed;
	uint32_t mutant; /* test builds: enum vms_gw_mutant */
};

/* Defects that the simulator's checkers must find. */
enum vms_gw_mutant {
	VMS_GWM_NONE = 0,
	VMS_GWM_LEASE,	      /* serves cached pages past their lease */
	VMS_GWM_INVALIDATE,   /* answers invalidations and drops nothing */
	VMS_GWM_RESTAMP,      /* a repeated op carries the newest tick */
	VMS_GWM_FAIL_UNKNOWN, /* a lost connection ends its ops as BUSY */
	VMS_GWM_NO_CRC,	      /* chunks are cached unchecked */
	VMS_GWM_NEW_ID,	      /* a repeated op gets a new id */
	VMS_GWM_OWN_WRITES,   /* own unanswered writes do not hide cached entries */
	VMS_GWM_STALE_PAGE,   /* installs pages older than an invalidation seen */
	VMS_GWM_KEEP_PAGES,   /* pages survive a reconnect */
	VMS_GWM_PARTIAL_BUSY, /* says that nothing was applied after a piece was */
	VMS_GWM_SKIP_LOSS,    /* a flush does not look for losses */
	VMS_GWM_ABORT_EARLY,  /* an abort answers before the op is settled */
	VMS_GWM_NO_HOLD,      /* a barrier's stop is acknowledged and nothing is held */
	VMS_GWM_NO_VETO,      /* a barrier that took too long is not vetoed */
	/* clones */
	VMS_GWM_CLAIM_KEPT = 20, /* one shares a page that another gateway has written */
	/* records */
	VMS_GWM_SLEPT = 21, /* one that stood still refuses by the records of before */
	/* reservations */
	VMS_GWM_CLEAR_ALONE = 29, /* another gateway's CLEAR TASK SET ends nothing */
	VMS_GWM_PR_STALE = 22,	  /* a gateway that may be shut out refuses by the table it had */
	/* chunks invalidated one by one */
	VMS_GWM_ASK_OLD = 23,	 /* who leads what is believed as of any time */
	VMS_GWM_ASK_ALL = 26,	 /* who does not lead any more has to answer all the same */
	VMS_GWM_FILL_OLD = 24,	 /* what was asked for before an invalidation fills an entry */
	VMS_GWM_PAGE_GONE,	 /* a page on its way is called gone */
	VMS_GWM_FENCE_BACK = 28, /* leases of one that comes back while it is shut out go on */
	/* sets that change */
	VMS_GWM_PEER_LEASE = 30,  /* cached pages outlast the leases of their set's members */
	VMS_GWM_OLD_PEERS,	  /* the lease of a peer that no tick names any more goes on */
	VMS_GWM_HELLO_PAGES = 33, /* pages are good before the first tick told of leases */
	VMS_GWM_OLD_EPOCH,	  /* cached pages survive a change of their partition */
	VMS_GWM_STAY,		  /* what the former primary has not answered stays there */
	VMS_GWM_FLUSH_ONCE,	  /* a flush does not ask who leads more than when it was asked */
	VMS_GWM_FLUSH_LOSS,	  /* a loss that a node tells with its answer is not looked up */
	VMS_GWM_ABORT_WAITS,	  /* an aborted op waits for ever for a partition that is gone */
	VMS_GWM_KEEP_NODES,	  /* nodes that left during a gap in the watch stay */
	VMS_GWM_NO_REPAIR,	  /* nobody is told of a bad copy */
	VMS_GWM_REACH,		  /* initiators wait at a gateway that is cut off */
	VMS_GWM_PR_EARLY,      /* a change of reservations does not wait for the other gateways */
	VMS_GWM_PR_UNCHECKED,  /* what a gateway let through goes under any later table */
	VMS_GWM_PR_TWICE,      /* one of unknown outcome is made anew */
	VMS_GWM_PR_LEFT,       /* one that its gateway left behind stays under way */
	VMS_GWM_LOUD,	       /* a volume is called quiet before its commands have ended */
	VMS_GWM_QUIET_ENDS,    /* a quiet volume goes on by itself after a second */
	VMS_GWM_PR_GHOST,      /* RESERVE outlives the gateway of its session */
	VMS_GWM_PR_BUSY,       /* a change of reservations that may be made ends BUSY */
	VMS_GWM_OLD_SIZE,      /* a volume keeps the size it was opened with */
	VMS_GWM_PIECE_ALONE,   /* a piece goes while another of its command has nowhere to go */
	VMS_GWM_VETO_LOST,     /* a veto is dropped when the volume's record has changed */
	VMS_GWM_PARTIAL_ERR,   /* a write of which a part is applied ends in an error */
	VMS_GWM_REG_LEFT = 58, /* a registration of unknown outcome is nobody's */
	VMS_GWM_REG_LATE = 27, /* a registration that came late outlives its withdrawal */
	VMS_GWM_OLD_END = 59,  /* GET LBA STATUS goes by the end of before it stood still */
	VMS_GWM_UNNAMED = 62,  /* a lease that no tick names bounds no page */
	VMS_GWM_NOTED = 74,    /* that a port is told of a loss is recorded before it is told */
	VMS_GWM_NOTE_GOES,     /* ... in the turn whose end sends the answer */
	/* the transport, which reads it from the environment itself */
	VMS_GWM_SEND_ALONE = 63,  /* each answer is sent by itself */
	VMS_GWM_NUMBER_HELD = 64, /* a tool that has a volume open loses its number */
	VMS_GWM_MAX
};

enum vms_gw_op {
	VMS_GW_READ = 1,
	VMS_GW_WRITE,
	VMS_GW_ZERO,	   /* UNMAP, WRITE SAME of zeros; blocks need not be chunk-aligned */
	VMS_GW_WRITE_SAME, /* data: one logical block, repeated */
	VMS_GW_CAW,	   /* data: verify blocks then write blocks; within one extent */
	VMS_GW_ORWRITE,
	VMS_GW_VERIFY,	   /* data != NULL: compare; else read and check */
	VMS_GW_FLUSH,	   /* SYNCHRONIZE CACHE; always the whole volume */
	VMS_GW_PREFETCH,   /* fill the cache; completes at once */
	VMS_GW_LBA_STATUS, /* mapped or hole, from lba on; see result */
	VMS_GW_MAP,	   /* addresses of whole chunks within one extent; see addrs */
	VMS_GW_COPY,	   /* write chunks by their addresses (MAP of any volume): whole chunks
			      within one extent, at most VMS_GW_COPY_CHUNKS_MAX, all of them or
			      none */
	VMS_GW_REF,	   /* write what the cluster has already, by fingerprint: whole chunks
			      within one extent, all of them or none */
};
#define VMS_GW_FP_BYTES	       32u
#define VMS_GW_COPY_CHUNKS_MAX 512u
enum vms_gw_flags { VMS_GW_FUA = 1, VMS_GW_DPO = 2 };

#define VMS_GW_IOV_MAX 260 /* 1 MiB + 2 unaligned ends, or more by continuation */

struct vms_gw_lba_range {
	uint64_t lba;
	uint32_t nblocks;
	bool mapped;
};

/* One SCSI command's I/O. Owned by the caller, must stay valid until done. */
struct vms_gw_cmd {
	/* in */
	enum vms_gw_op op;
	uint32_t flags;
	struct vms_gw_vol *vol;
	uint64_t lba;
	uint32_t nblocks;	    /* 0 only for FLUSH and PREFETCH (to the end) */
	const struct vms_iov *data; /* out data, borrowed until done */
	unsigned ndata;
	uint64_t data_bytes;
	/* Who asks, and the class of its access (VMS_ACC_ANY: reservations do not matter). The
	 * caller has checked it; the core does again before an op is sent under a later table
	 * of reservations. Borrowed until done. */
	const struct vms_pr_who *who;
	uint8_t access;
	const char *initiator_port; /* for loss notices (FLUSH, FUA); borrowed until done */
	void *cookie;		    /* the caller's */
	/* READ destination: when dest != NULL data is copied there (dest_bytes long);
	 * when NULL the result is riov[] into pinned cache memory, which stays valid
	 * until vms_gw_unpin(). */
	uint8_t *dest;
	/* REF: of each chunk its fingerprint (VMS_GW_FP_BYTES) and CRC32C; borrowed until
	 * done */
	const uint8_t *fps;
	const uint32_t *crcs;
	/* out */
	int status;	   /* 0 or VMS_E_*; target/sense.c maps it */
	bool partial;	   /* BUSY: a part of it may be applied; the rest never will be */
	uint64_t info_lba; /* first bad or miscomparing block; valid with CORRUPT, BAD_SECTORS */
	uint32_t miscompare_bytes; /* offset of the first difference (CAW, VERIFY) */
	struct vms_iov *riov;	   /* READ without dest; from an internal pool */
	unsigned nriov;
	struct vms_gw_lba_range *ranges; /* LBA_STATUS: caller's array ... */
	unsigned nranges;		 /* in: its room; out: used */
	vms_addr *addrs; /* MAP: caller's array, one per chunk. VMS_ADDR_HOLE: zeros;
			  * VMS_ADDR_ASK: not known now; equal ones: equal content.
			  * COPY: in; each one vms_gw_addr_fixed() */
	uint8_t *found;	 /* REF, COPY: caller's array, a byte per chunk; with VMS_E_NOENT
			  * (nothing was written): 1 if the cluster has the chunk */
	/* private */
	void *priv;
};

enum { VMS_GW_DONE = 0, VMS_GW_PENDING = 1 };

/* PERSISTENT RESERVE IN or OUT, RESERVE, RELEASE. Owned by the caller, must stay valid
 * (with all that req borrows) until done. */
struct vms_gw_pr_cmd {
	struct vms_gw_vol *vol;
	struct vms_pr_req req;
	void *cookie;
	/* out */
	struct vms_sense sense;
	uint8_t *in; /* PERSISTENT RESERVE IN: malloc'ed, the caller's; or NULL */
	uint32_t in_bytes;
	/* private */
	struct vms_gw_pr_cmd *next;
};

struct vms_gw_update {
	void *ctx;
	/* Queue a frame to a node (by id) or drop it when not connected: replies
	 * then never come and the core's own time-outs act. Copies. */
	int (*send)(void *ctx, uint32_t node, const struct vms_msg *m);
	/* Asked again while one is being made: no effect. CONN_UP or CONN_DOWN follows,
	 * or nothing. */
	void (*connect)(void *ctx, uint32_t node, const char *address);
	/* Nothing of that connection may arrive any more; CONN_DOWN may follow. */
	void (*disconnect)(void *ctx, uint32_t node);
	/* A pending command has ended; called only from vms_gw_step/turn_*(). The
	 * sink must only queue it. */
	void (*complete)(void *ctx, struct vms_gw_cmd *cmd);
	/* Ticks stopped or the clock jumped: close all initiator connections now,
	 * unread bytes included, before another command is read. */
	void (*drop_initiators)(void *ctx, const char *why);
	/* vms_gw_vol_open() has ended. */
	void (*vol_opened)(void *ctx, struct vms_gw_vol *vol, void *arg, int status,
			   const char *text);
	/* Something about an open volume changed (size, other openers, state). */
	void (*vol_changed)(void *ctx, struct vms_gw_vol *vol);
	void (*deadline)(void *ctx, uint64_t at_ms);
	void (*fatal)(void *ctx, int err, const char *text); /* e.g. a newer incarnation runs */
	void (*log)(void *ctx, int level, const char *text);
	/* A command on reservations has ended; called as complete is. */
	void (*pr_complete)(void *ctx, struct vms_gw_pr_cmd *cmd);
	/* The volume has another table of reservations: from now on commands are checked
	 * against it. Only queue what its events ask for. False: commands have to end first;
	 * vms_gw_pr_settled() follows. NULL: there are no initiators. */
	bool (*pr_changed)(void *ctx, struct vms_gw_vol *vol, const struct vms_pr *table);
};

enum vms_gw_event_type { VMS_GEV_CONN_UP = 1, VMS_GEV_CONN_DOWN, VMS_GEV_MSG, VMS_GEV_TIMER };
struct vms_gw_event {
	enum vms_gw_event_type type;
	uint64_t now_ms;
	uint32_t node;
	const struct vms_msg *msg;
};

int vms_gw_new(struct vms_gw **gw, const struct vms_gw_conf *conf, struct vms_catalog *cat,
	       const struct vms_gw_update *up, uint64_t now_ms);
void vms_gw_free(struct vms_gw *gw);
void vms_gw_step(struct vms_gw *gw, const struct vms_gw_event *ev);
void vms_gw_turn_begin(struct vms_gw *gw, uint64_t now_ms);
void vms_gw_turn_end(struct vms_gw *gw, uint64_t now_ms);

/* True once the catalog is read, the incarnation taken and every reachable node
 * has logged it: only then may initiators log in (rules E7). */
bool vms_gw_ready(const struct vms_gw *gw);
/* False while it is cut off from nodes that others reach: then nobody may log in. */
bool vms_gw_reaches(const struct vms_gw *gw);

/* Do changes of volumes' records (size, write protection, reservations) surely wait for this
 * gateway? While false, a command that these records refuse may be one that they allow by
 * now: it ends BUSY, as an error would reach the guest. Walks the partitions: for refusals,
 * not for every command. */
bool vms_gw_current(struct vms_gw *gw);

/* Of this process, once it is ready. */
uint64_t vms_gw_incarnation(const struct vms_gw *gw);

/* Open a volume: registers it in the catalog, then opens it at the nodes.
 * Ends with up->vol_opened(arg). create_bytes != 0: create it thin when it does
 * not exist (write_ack for that case). The handle is usable only after success.
 * "VOLUME@SNAP" opens a snapshot, which must be complete: what changes it ends with
 * VMS_E_PERM, a flush has nothing to do, its UUID is its own. */
struct vms_gw_vol_info {
	char name[240];
	uint8_t uuid[16];
	uint64_t size_bytes;
	uint8_t write_ack;
	unsigned openers; /* gateways that have it open, this one included */
	bool read_only;
	uint64_t rollbacks; /* more than before: its content is another one */
	bool gone;	    /* deleted, exchanged or rolled back under us: every command fails */
};
int vms_gw_vol_open(struct vms_gw *gw, const char *name, uint64_t create_bytes, uint8_t write_ack,
		    void *arg, struct vms_gw_vol **vol, struct vms_errmsg *msg);
/* All commands on it must have ended. Withdraws the registration. */
void vms_gw_vol_close(struct vms_gw *gw, struct vms_gw_vol *vol);
void vms_gw_vol_info(const struct vms_gw_vol *vol, struct vms_gw_vol_info *out);

/* VMS_GW_DONE: ended, result in cmd (cached reads, errors found at the door).
 * VMS_GW_PENDING: up->complete follows. Never recurses into complete. */
int vms_gw_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);
/* Release riov and pins of a finished READ (no effect with dest). */
void vms_gw_unpin(struct vms_gw *gw, struct vms_gw_cmd *cmd);
/* Try to end the command early: pieces not yet sent are dropped, sent ones get
 * CANCEL. It still ends through up->complete, with VMS_E_CANCELLED if nothing
 * was or can be applied, else with its real outcome; never before each piece is
 * known applied or impossible. */
void vms_gw_abort(struct vms_gw *gw, struct vms_gw_cmd *cmd);

/* An address from MAP that COPY takes: of a chunk in a container. */
bool vms_gw_addr_fixed(const struct vms_gw *gw, vms_addr a);

/* ---- reservations (gw_pr.c) ---- */

/* What commands of the volume's LUN are checked against; good until the volume is closed,
 * its contents until the core is entered. */
const struct vms_pr *vms_gw_vol_pr(const struct vms_gw_vol *vol);
/* How a command ends that this table is in the way of: VMS_E_RESERVED while changes are sure
 * to wait for this gateway, else VMS_E_BUSY, since the table may be past. */
int vms_gw_refusal(struct vms_gw *gw);
/* The command's place in the order of changes is found by the cluster. Ends with
 * up->pr_complete: GOOD only when every gateway that has the volume open goes by the new
 * table (or has been fenced off); BUSY: nothing has happened and nothing will. */
void vms_gw_pr_submit(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd);
/* LOGICAL UNIT RESET has been done here: now at all other gateways that have the volume
 * open. Ends as vms_gw_pr_submit() does; of cmd only vol and cookie are looked at. */
void vms_gw_pr_reset(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd);
/* The same for CLEAR TASK SET. */
void vms_gw_pr_clear_tasks(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd);
/* No longer wanted: ends early if nothing has been decided. */
void vms_gw_pr_abort(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd);
/* The caller goes away: nobody is told how it ends, and it is not looked at any more. */
void vms_gw_pr_forget(struct vms_gw *gw, struct vms_gw_pr_cmd *cmd);
/* What pr_changed() asked for has been done, for the table with this number. */
void vms_gw_pr_settled(struct vms_gw *gw, struct vms_gw_vol *vol, uint64_t fence);
/* A session has ended (RESERVE ends with it), or 0: LOGICAL UNIT RESET. */
void vms_gw_pr_session_end(struct vms_gw *gw, struct vms_gw_vol *vol, uint64_t session);
/* A command met a RESERVE: if the gateway it came through is dead, it ends. */
void vms_gw_pr_doubt(struct vms_gw *gw, struct vms_gw_vol *vol);

/* Space on the storage nodes, as their ticks tell it. */
struct vms_gw_space {
	uint32_t used_permille; /* of the fullest node */
	bool refusing;		/* some node takes no new data */
	uint64_t warnings;	/* times thin_soft_percent was reached, again only after it
				 * had fallen 5 % below */
};
void vms_gw_space(const struct vms_gw *gw, struct vms_gw_space *out);

struct json_t;
struct json_t *vms_gw_json(struct vms_gw *gw, const char *what); /* "status", "stats", "volumes" */

/* Trace of a volume's commands ("time_us R|W|F|D offset length" lines): fn is
 * called for each submitted command; NULL switches it off. */
typedef void (*vms_gw_trace_fn)(void *arg, char op, uint64_t offset_bytes, uint64_t len_bytes);
void vms_gw_vol_trace(struct vms_gw_vol *vol, vms_gw_trace_fn fn, void *arg);

#endif
