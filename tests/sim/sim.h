/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole cluster in one deterministic process: storage nodes, gateways,
 * catalog and initiators over a virtual clock, network and disk. Same seed and
 * build, same trace hash.
 *
 * Network model: connections are ordered byte streams with random delay; a
 * break may lose or still deliver what is in flight, and each end learns of it
 * at its own time; links can be cut one way or both ways for a while (what is
 * sent waits, then arrives late). Processes crash at any event (with or without
 * power loss), pause and come back. Clocks have random bases and drift by up to
 * 1 %. An initiator that lost a command repeats it only after the published
 * failover delay.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/node.h"
#include "cluster/cat_client.h"
#include "cluster/cat_server.h"
#include "target/gateway.h"
#include "tests/sim/sim_catalog.h"
#include "tests/sim/sim_disk.h"
#include "utils/lib/rng.h"

#define SIM_NODES_MAX	7
#define SIM_GWS_MAX	3
#define SIM_PROCS_MAX	(SIM_NODES_MAX + SIM_GWS_MAX + 2)
#define SIM_CLIENTS_MAX 4

enum sim_kind { SIM_CATALOG, SIM_NODE, SIM_GATEWAY, SIM_ADMIN };

/* What the seed drew (swarm). Probabilities are per second of virtual time. */
struct sim_plan {
	unsigned nodes, gateways, clients, copies, min_copies, depth;
	unsigned part_bits;
	enum vms_write_ack ack;
	uint64_t log_bytes;
	uint32_t gen_bytes;
	unsigned ops; /* acknowledged ops wanted */
	uint32_t net_us_min, net_us_max;
	double net_slow; /* share of messages with 20x delay */
	double crash_node, crash_gw, crash_cat, pause_node, pause_gw, cut, brk, abort;
	bool failover;		      /* sets shrink, others take over */
	bool learn;		      /* sets change: copies are made again elsewhere */
	uint64_t move_bytes_s;	      /* limit for copies */
	uint8_t outrun;		      /* steps by which writes yield to each copy; 0: none */
	double ring;		      /* changes of the membership */
	unsigned first_nodes, losses; /* the rest may join; nodes that are lost for good */
	unsigned zones;		      /* that nodes are in, some in none; 0: no zones */
	double outage;		      /* nodes that stay away for long */
	double slow_link;	      /* links that are slow for a while */
	double isolate;		      /* a process that only some of the others reach */
	double disk_error;	      /* node disks: the process stops */
	double fill;		      /* disks that something else fills, for a while */
	double rot;	 /* blocks of containers of one node that change by themselves */
	double path_cut; /* links between initiators and gateways */
	double reset;	 /* task management, at each look of an initiator */
	double pr;	 /* commands on reservations, at each look of an initiator */
	uint8_t pr_type;
	bool pr_legacy; /* mostly RESERVE(6) and RELEASE(6) */
	bool multipath; /* some initiators use all gateways at once */
	double power;	/* share of node crashes that lose unsynced data */
	unsigned read_percent, zero_percent, caw_percent, or_percent, flush_percent,
		part_chunk_percent;
	double copy;   /* share of initiators' commands that are EXTENDED COPY */
	double atomic; /* and WRITE ATOMIC(16) */
	uint32_t disk_us_max;
	uint32_t hot_chunks;
	uint32_t think_us; /* longest pause of an initiator between looks */
	uint64_t vol_bytes;
	enum { SIM_RESIZE_NONE, SIM_RESIZE_TOO, SIM_RESIZE_ONLY } resize; /* of the volume */
	bool admin;	  /* snapshots, clones, rollback, deletion are in the mix */
	bool same;	  /* content does not depend on the place: duplicates */
	unsigned fp_bits; /* of the dedup index's keys; 0: all */
	bool dedup_background;
	bool empty;		     /* at the end everything is deleted, and no byte may be left */
	uint32_t admin_us;	     /* longest pause between two jobs */
	double late_news;	     /* nodes and gateways that learn late of a snapshot's intent */
	bool turns;		     /* at the end each node is away in turn */
	bool restore;		     /* the catalog is lost, and restored */
	bool logs;		     /* containers stand still until logs are full */
	bool give_up;		     /* volumes are closed before they have been opened */
	bool spoil;		     /* at the end all copies of a chunk rot */
	double admin_dies;	     /* the coordinator dies, at each step */
	struct sim_catalog_plan cat; /* what the catalog does wrong */
};

struct sim_conf {
	uint64_t seed;
	unsigned ops; /* 0: plan's */
	bool verbose;
	unsigned node_mutant, gw_mutant;
	bool no_faults;
	unsigned nodes, gateways, copies; /* 0: the plan's */
	bool beyond;	   /* more is lost than can be borne: nothing wrong may be answered */
	unsigned cat_mask; /* of the catalog's defects, sim_catalog.h */
};

struct sim_result {
	bool ok;
	char why[512];
	uint64_t trace_hash;
	uint64_t acked, issued, unknown, busy;
	uint64_t partial; /* of busy: writes of which a part was applied */
	uint64_t virtual_ms;
	unsigned crashes, cuts, pauses, disk_errors, lost, joined, left, stopped, differed, outrun;
	uint64_t drains;      /* bytes in containers at the end */
	uint64_t acked_again; /* by a former primary */
	uint64_t repeated, resets, reinstated, miscompared;
	uint64_t copies, copies_failed, atomics;
	unsigned rotten, filled;
	unsigned given_up, unsure, copies_set; /* of openings; registered perhaps, sim_register.c */
	unsigned spoiled, stood, medium;       /* sim_spoil.c */
	unsigned restored;		       /* catalogs, of nodes' copies */
	unsigned restored_in_parts;	       /* ... by a tool that was interrupted */
	unsigned logs_full, logs_dark, log_left; /* sim_logs.c; left of a log at least, 1/1000 */
	unsigned forsaken;			 /* ... chunks that were given up */
	uint64_t no_space;			 /* commands refused for lack of space */
	uint64_t pr_commands, pr_good, pr_conflicts, pr_doubtful, pr_tables, shut_out;
	uint64_t resizes, capacity_told, beyond_end;
	unsigned snaps, snap_tries, clones, rollbacks, deleted, deaths;
};

void sim_run(const struct sim_conf *conf, struct sim_result *r);

/* ---- checker (sim_check.c): one register per logical block ---- */
struct sim_check;
struct sim_check *sim_check_new(uint64_t nblocks);
void sim_check_free(struct sim_check *c);
/* A write (value > 0; 0 = zeros) or read of n blocks from lba. Returns its id. */
uint32_t sim_check_invoke(struct sim_check *c, bool write, uint64_t lba, uint32_t n, uint64_t value,
			  uint64_t now_us);
/* Write: it was applied / surely not / may take effect until now_us. */
enum sim_outcome { SIM_APPLIED, SIM_NEVER, SIM_MAYBE };
void sim_check_write_end(struct sim_check *c, uint32_t id, enum sim_outcome o, uint64_t now_us);
/* A copy: each block becomes what its source was at some moment of it. A write otherwise.
 * placed: what blocks hold tells where they were written. */
uint32_t sim_check_copy(struct sim_check *c, uint64_t lba, uint32_t n, const struct sim_check *src,
			uint64_t src_lba, bool placed, uint64_t now_us);
/* That write (nothing else) is to be seen as a whole. */
void sim_check_atomic(struct sim_check *c, uint32_t id);
/* Read: the value of block i. */
void sim_check_read_value(struct sim_check *c, uint32_t id, uint32_t i, uint64_t value);
void sim_check_read_end(struct sim_check *c, uint32_t id, bool ok, uint64_t now_us);
/* COMPARE AND WRITE that succeeded: it read `old` in block lba, atomically. */
void sim_check_caw(struct sim_check *c, uint64_t lba, uint64_t old_value, uint64_t new_value);
/* One that failed: at some moment of it the block did not hold `old`. */
void sim_check_miscompare(struct sim_check *c, uint64_t lba, uint64_t old_value, uint64_t inv_us,
			  uint64_t resp_us);
/* Blocks are not zeros at first: block lba holds value (0: zeros) since ever. */
void sim_check_initial(struct sim_check *c, uint64_t lba, uint64_t value);
/* A snapshot shows image[lba] (SIM_UNSEEN: not read) of this history: is it a causal
 * cut? With everything acknowledged before begin_us, nothing invoked after end_us, and
 * with a write whatever had been acknowledged before it was invoked. */
#define SIM_UNSEEN (UINT64_MAX - 1)
bool sim_check_cut(struct sim_check *c, const uint64_t *image, uint64_t begin_us, uint64_t end_us,
		   char *why, size_t room);
/* Whole history legal? else why[]. memory: losses reported are excused. */
bool sim_check_verify(struct sim_check *c, char *why, size_t room);

/* Block contents for a value: fills 512 bytes; parse: value or UINT64_MAX (torn,
 * foreign). or_mask: OR WRITE pattern bits. */
void sim_block_fill(uint8_t *b, uint64_t lba, uint64_t value);
/* A block filled for another place: with 1 + that place in the upper half of the value. */
uint64_t sim_block_parse(const uint8_t *b, uint64_t lba);
void sim_block_make(uint8_t *b, uint64_t lba, uint64_t value); /* of a value from parse */

#endif
