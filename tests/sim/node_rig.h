/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several storage nodes in one process for unit tests: virtual clock, simulated
 * disks, messages through encode and decode, a catalog in memory, and hand-driven
 * gateways that answer ticks and invalidations by themselves.
 */
#ifndef NODE_RIG_H
#define NODE_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/node.h"
#include "backend/wal.h"
#include "cluster/catalog.h"
#include "include/wire.h"
#include "tests/sim/sim_disk.h"
#include "utils/lib/vec.h"

#define RIG_NODES     6
#define RIG_GWS	      2
#define RIG_LOG_BYTES (4u << 20)

struct rig;
struct rig_kv {
	char key[VMS_CAT_KEY_BYTES_MAX];
	char *val;
	uint64_t mod;
};
struct rig_watch {
	uint64_t id, from;
	char prefix[64];
	vms_cat_done_fn fn;
	void *arg;
	struct rig_node *owner;
};
struct rig_cat {
	struct vms_catalog base;
	struct rig *r;
	struct rig_node *owner;
};
/* Another kind of disk than sim_disk; NULL in rig.drv: that one. */
struct rig_disk_drv {
	/* An operation of id ends at now + delay when schedule(node, delay, id) is called. */
	void *(*make)(struct rig *r, unsigned idx, uint64_t seed,
		      void (*schedule)(void *ctx, uint64_t delay_us, uint64_t id), void *ctx,
		      struct vms_disk *out);
	bool (*finish)(void *d, uint64_t id, struct vms_disk_event *ev);
	void (*crash)(void *d, bool power);
	void (*free)(void *d);
	int (*read)(void *d, uint64_t ctr, uint64_t off, void *buf, size_t len); /* blocking */
};
/* What the catalog does to one node. */
enum rig_cat_mode {
	RIG_CAT_OK,
	RIG_CAT_DOWN,  /* nothing happens, every answer is TIMEOUT, watches are silent */
	RIG_CAT_LOSE,  /* transactions happen, their answers are TIMEOUT */
	RIG_CAT_LATE,  /* the answer is TIMEOUT, and they happen cat_late_ms later */
	RIG_CAT_STALE, /* reads as of rig_cat_freeze(), watches are silent */
};
struct rig_node {
	struct rig *r;
	enum rig_cat_mode cat_mode;
	const char *cat_stale;	   /* lists of keys that begin so are as of rig_cat_freeze() */
	const char *cat_stale_get; /* single keys that begin so are, too */
	const char *cat_mute;	   /* watches of this prefix hear nothing until rig_cat_told() */
	uint64_t cat_late_ms;
	uint64_t paused_us; /* nothing reaches it before */
	unsigned idx;
	struct vms_node *n;
	struct sim_disk *sd;
	void *dd; /* with rig.drv, instead of sd */
	struct vms_disk disk;
	struct rig_cat cat;
	uint64_t deadline_ms;
	uint32_t life;
	bool fatal, stopped;
	unsigned late; /* frames sent after it had refused to go on */
	char why[300];
};
struct rig_conn {
	uint64_t id;
	int side[2]; /* node index, or 100 + gateway */
	uint32_t life[2];
	bool open;
	bool lost[2]; /* something to that side was lost: nothing more gets there */
	uint64_t last_us[2];
};
struct rig_reply {
	bool done;
	int status;
	struct vms_msg m;
	uint8_t *body, *payload;
};
struct rig_gw {
	uint32_t id;
	uint64_t incarnation;
	uint64_t conn[RIG_NODES];
	bool up[RIG_NODES];
	uint64_t tick[RIG_NODES], tick_inc[RIG_NODES];
	unsigned npeers[RIG_NODES]; /* that its last tick named */
	uint64_t epoch[64];
	bool tool;	 /* says HELLO as a tool */
	bool mute_inval; /* do not answer INVALIDATE */
	bool mute_tick;
	unsigned invals, updates;
	uint8_t inval_gone; /* answered to INVALIDATE */
	int inval_runs;	    /* of the last one */
	struct vms_inval_run inval_run[VMS_INVAL_RUNS_MAX];
	uint64_t next_seq[256];
	struct {
		uint64_t req;
		struct rig_reply *re;
	} wait[512];
	unsigned nwait;
};
enum rig_ev { RE_MSG, RE_DOWN, RE_UP, RE_DISK, RE_CAT, RE_WATCH, RE_TXN };
struct rig_event {
	uint64_t at, seq;
	enum rig_ev type;
	uint64_t a, b;
	uint32_t life;
	void *p;
	size_t len;
};
struct rig {
	uint64_t now_us, seq;
	struct rig_event *ev;
	size_t nev, room;
	struct rig_node node[RIG_NODES];
	struct rig_gw gw[RIG_GWS];
	VMS_VEC(struct rig_conn) conns;
	VMS_VEC(struct rig_kv) kv;
	VMS_VEC(struct rig_kv) old; /* as rig_cat_freeze() found them */
	uint64_t old_revision;
	bool failover;			/* sets change */
	unsigned min_copies;		/* 0: 1 */
	bool cut[RIG_NODES][RIG_NODES]; /* from, to: nothing arrives */
	VMS_VEC(struct rig_watch) watches;
	uint64_t revision, next_watch, next_req;
	unsigned part_bits, nnodes, copies;
	uint8_t uuid[16];
	struct vms_rng rng;
	uint64_t gen_bytes;
	uint32_t container_bytes, mutant;
	unsigned fp_bits;  /* of index keys; 0: all */
	uint8_t slow_sync; /* a node whose disk takes long to sync; 0: none */
	uint8_t lead[64];  /* nodes that lead other than the first table says; 0: as it says */
	bool match;	   /* duplicates are looked for in the background */
	bool verbose;
	uint64_t space_bytes;
	const struct rig_disk_drv *drv;
};

void rig_open(struct rig *r, unsigned nnodes, unsigned copies, unsigned part_bits, uint64_t seed);
void rig_close(struct rig *r);
void rig_volume(struct rig *r, uint64_t branch, unsigned write_ack);
/* Their records as given (lineage 0: of its own). */
void rig_volume_put(struct rig *r, struct vms_cat_volume v);
void rig_branch_put(struct rig *r, struct vms_cat_branch b);
/* A catalog transaction of its own: val is freed; NULL deletes the key. */
void rig_put(struct rig *r, const char *key, char *val);
void rig_node_start(struct rig *r, unsigned i);
void rig_node_crash(struct rig *r, unsigned i, bool power);
/* Of a node that is down. What is wrong, or NULL; valid until the next call. */
const char *rig_fsck(struct rig *r, unsigned i);
void rig_node_pause(struct rig *r, unsigned i, uint64_t ms);
/* From here on nothing that `from` sends to `to` arrives; or it does again, on new
 * connections. */
void rig_cut(struct rig *r, unsigned from, unsigned to, bool on);
void rig_cat_freeze(struct rig *r);
/* The catalog has no more of the history that node i's watches are to tell: they end. */
void rig_cat_gap(struct rig *r, unsigned i);
/* Node i's watches that heard nothing are told what is there now; cat_mute ends. */
void rig_cat_told(struct rig *r, unsigned i);
/* The partition as the catalog has it. */
struct vms_part_conf rig_conf(struct rig *r, uint32_t part, uint64_t *rev);
void rig_run(struct rig *r, uint64_t ms);
bool rig_step(struct rig *r);	/* one event or deadline */
bool rig_active(struct rig *r); /* all partitions served */
bool rig_wait_active(struct rig *r, uint64_t ms);
void rig_gw_connect(struct rig *r, unsigned g, unsigned node);
void rig_gw_restart(struct rig *r, unsigned g);
unsigned rig_primary(struct rig *r, uint32_t part); /* node index */
/* Sends m from gateway g to node; re is filled when the answer comes. */
void rig_send(struct rig *r, unsigned g, unsigned node, struct vms_msg *m, struct rig_reply *re);
bool rig_wait(struct rig *r, struct rig_reply *re, uint64_t ms);
/* Sends m to the primary of its partition until it is settled; its status, re as answered.
 * sent: called each time it is on its way; may be NULL. */
int rig_ask(struct rig *r, unsigned g, struct vms_msg *m, struct rig_reply *re, int tries,
	    void (*sent)(const struct rig_reply *re));
void rig_reply_free(struct rig_reply *re);
uint64_t rig_cat_number(struct rig *r, const char *key);
/* Records that nothing needs, RIG_FILL_BYTES each, until left() says no more than so many
 * bytes. 0 or the log's error. */
#define RIG_FILL_BYTES (8u << 10)
int rig_log_fill(struct vms_wal *w, uint64_t (*left)(const struct vms_wal *w), uint64_t bytes);

#endif
