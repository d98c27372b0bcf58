/* SPDX-License-Identifier: GPL-2.0-only */
/* Defects of a node that tests switch on (vms_node_conf.mutant). */
#ifndef VMS_NODE_MUTANT_H
#define VMS_NODE_MUTANT_H

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
	MUT_MV_BELOW = 153,	/* copies keep to the limit while writes wait for them */
	MUT_FULL_LEAD = 152,	/* a full set that is led by whom nobody wants stays */
	MUT_FEW_ACKS = 151,	/* what was ordered before is acknowledged below min_copies */
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
	MUT_LN_BRANCH = 142,  /* what pages of a branch without a record stood on counts as known */
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
	MUT_USED_UP = 187,	/* a partition takes writes when its numbers are used up */
	MUT_FULL_LATE = 113,	/* room is only what was there when the disk was asked */

	MUT_LN_HEADLESS = 131,	/* a file header that was not written counts as written */
	MUT_VOID_COUNTED = 134, /* void records of the replay take away what they never gave */
	MUT_PLAN_STALE = 124,	/* nodes and wants as of before the cluster's record count */
	MUT_PLAN_ZONES = 150,	/* wants follow from nodes whose zones nobody looks at */
	MUT_PEER_FOREVER = 125, /* bytes that nobody has are asked for for ever */
	MUT_LEFT_BEFORE = 130,	/* a list of nodes from before it joined tells a node to go */
	MUT_PRUNE_NODES = 126,	/* what a node has emptied counts for all it ever leads */
	MUT_RD_OWN_GONE = 137,	/* what a partition itself lets go in a round is held for live */
	MUT_RD_UNASKED = 140,	/* what a former primary has counted is forgotten */
	MUT_RD_TWICE = 141, /* a walk done again in a round tells of what went since the first */
	MUT_RD_VIEW = 170,  /* marks go to who led when the watch last told */
	MUT_RD_LATE = 171,  /* an epoch that began after the cycle sweeps in it */
	MUT_RD_GONE_NODE = 127,	 /* a round waits for a node that is gone and leads nothing */
	MUT_RETIRE_DEAF = 128,	 /* a node that is stopped gives away though no catalog answers */
	MUT_LOST_PAGES = 138,	 /* gateways keep pages of what others have taken over */
	MUT_HELLO_ASKED = 145,	 /* what was asked back on the connection before is waited for */
	MUT_STAND_FILLS = 143,	 /* a partition that stands takes writes until the log is full */
	MUT_STAND_APPLY = 144,	 /* a record whose bytes nobody has is applied with what there is */
	MUT_LACK_AWAY = 166,	 /* bytes are given up though a node that is away may have them */
	MUT_LACK_BLIND = 167,	 /* ... though nobody looked whether another node has them */
	MUT_LACK_ZEROS = 168,	 /* what was given up reads as zeros */
	MUT_LACK_ALL = 169,	 /* sectors that are left are given up, too */
	MUT_GEN_LARGE = 146,	 /* generations may be larger than what can be copied forward */
	MUT_COPY_FULL = 149,	 /* copies take the last of the log, and free nothing */
	MUT_FLOOR_LAST = 194,	 /* floors take the last of the log */
	MUT_FLOOR_LOST = 210,	 /* one that the catalog has is dropped when the log is full */
	MUT_VIEW_UNNAMED = 184,	 /* the index does not say who was in the last view */
	MUT_COPY_NEVER = 183,	 /* what is little is not copied either when room is short */
	MUT_MV_ANY = 155,	 /* copies are fed without a limit */
	MUT_MV_HOLDS = 156,	 /* the limit counts though a log waits for the base of a copy */
	MUT_MV_RUDE = 157,	 /* copies are fed at the same rate while clients wait */
	MUT_MV_STAYS = 158,	 /* a copy that does not get on keeps the log from clients */
	MUT_MV_PUSHY = 176,	 /* writes do not yield to a copy that they outrun */
	MUT_MV_HELD = 177,	 /* ... or yield to it however long they wait */
	MUT_MV_SAYS_ON = 203,	 /* ... and are said to when that is long over */
	MUT_FLUSH_FEW = 178,	 /* flushes are answered with fewer copies than min_copies */
	MUT_ENOUGH_UNTOLD = 189, /* who leads next does not know what min_copies had durable */
	MUT_ENOUGH_ALL = 190,	 /* ... and takes what all had, however few they were, for that */
	MUT_LN_ONE_PASS = 162,	 /* records wait for the whole base, from the begin on */
	MUT_LN_OUTRUN = 164,  /* the limit counts though clients write faster than a copy comes */
	MUT_LN_RESERVE = 182, /* a copy that is being made takes the last of the log */
	MUT_LOCK_FREE = 172,  /* writes by reference take nothing of the log but their names */
	MUT_LOCK_TWICE = 188, /* what locks is admitted, and counted, when it comes, too */
	MUT_LN_FORGETS = 163, /* the second pass of a copy reads all of the first again */
	MUT_RUN_ANY = 147,    /* what has many neighbours among other chunks counts as a run */
	MUT_RUN_OPEN = 148,   /* a container that is large for a run's sake stays open */
	MUT_PLAN_ALL = 110,   /* no defect: every node takes itself for the coordinator */
	MUT_PLAN_NONE = 112,  /* no defect: a node plans nothing and says nothing */
};

#endif
