/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Storage node core: partitions, replication, sessions, drain, collection.
 * Sans-I/O: events go in through vms_node_step(), everything else goes out
 * through the update sink, whose functions only queue and never call back.
 *
 * Owner: the node thread. Keeps invariants 1-10, 15, 19, 27-31.
 */
#ifndef VMS_NODE_H
#define VMS_NODE_H

#include "cluster/catalog.h"
#include "include/disk.h"
#include "include/wire.h"

/* A connection, named by its owner (net_posix or the simulator). Never reused. */
typedef uint64_t vms_conn_id;

enum vms_node_event_type {
	VMS_NEV_CONN_UP,   /* conn: outgoing connection to peer node `node` is up */
	VMS_NEV_ACCEPT,	   /* conn: incoming connection; it will send HELLO */
	VMS_NEV_CONN_DOWN, /* conn is gone; nothing more will arrive on it */
	VMS_NEV_MSG,	   /* conn, msg */
	VMS_NEV_DISK,	   /* disk */
	VMS_NEV_TIMER,	   /* now_ms reached the deadline (or just time passing) */
	VMS_NEV_STOP,	   /* clean shutdown wanted: drain nothing, flush, mark clean */
};

struct vms_node_event {
	enum vms_node_event_type type;
	uint64_t now_ms; /* boot clock; set for every event */
	vms_conn_id conn;
	uint32_t node;
	const struct vms_msg *msg;
	struct vms_disk_event disk;
};

struct vms_node_update {
	void *ctx;
	/* Queue a frame on a connection. The sink copies body and payload before
	 * it returns. VMS_E_FULL: the connection's queue bound is reached and the
	 * connection will be closed (CONN_DOWN follows). */
	int (*send)(void *ctx, vms_conn_id conn, const struct vms_msg *m);
	/* Close a connection; CONN_DOWN follows. */
	void (*close)(void *ctx, vms_conn_id conn);
	/* Connect to a peer node (host:port); CONN_UP or nothing follows; asking again
	 * while one is being made or is up does nothing. */
	void (*connect)(void *ctx, uint32_t node, const char *address);
	/* Step again at this time at the latest. */
	void (*deadline)(void *ctx, uint64_t at_ms);
	/* The core refuses to go on (failed fsync, foreign disk, fenced): the
	 * process must exit with this message. */
	void (*fatal)(void *ctx, int err, const char *text);
	/* STOP is done: everything durable, clean mark written. */
	void (*stopped)(void *ctx);
	/* One log line. level as in utils/lib/log.h. */
	void (*log)(void *ctx, int level, const char *text);
};

struct vms_node_conf {
	uint32_t node_id; /* 0: not joined yet, taken from the catalog by name */
	char name[64];
	char address[64]; /* host:port peers and gateways reach */
	uint8_t cluster_uuid[16];
	unsigned part_bits;
	struct vms_timing timing;
	uint64_t gen_bytes_max, gen_age_ms; /* 0: default */
	uint32_t container_bytes_max;	    /* 0: 64 MiB */
	uint32_t gc_target_percent;	    /* collect above this share of live data; 0: 200 */
	uint64_t seed;			    /* seeds the core's generator */
	uint64_t dedup_hooks_bytes;	    /* memory of the sparse index; 0: 64 MiB */
	uint64_t dedup_lists_bytes;	    /* of cached fingerprint lists; 0: 64 MiB */
	bool dedup_background;		    /* look for duplicates that drains missed */
	unsigned fp_bits;		    /* tests: bits of index keys that count; 0: all */
	uint64_t wall_s; /* seconds since 1970 at the opening, for reports; 0: unknown */
	bool fixed_sets; /* tests: nobody is dropped, nothing taken over */
	uint32_t mutant; /* test builds: switches one defect on; 0: none */
};

struct vms_node;

/* Open the node on a disk that vms_node_format() has prepared: reads index and
 * log (blocking, start-up only) and rebuilds its state. Then it asks the
 * catalog for its incarnation and configuration; serves once each partition's
 * view change is done. cat, disk, up: borrowed for the node's life. */
int vms_node_format(const struct vms_disk *disk, const struct vms_node_conf *conf,
		    struct vms_errmsg *msg);
int vms_node_open(struct vms_node **n, const struct vms_node_conf *conf,
		  const struct vms_disk *disk, struct vms_catalog *cat,
		  const struct vms_node_update *up, uint64_t now_ms, struct vms_errmsg *msg);
void vms_node_step(struct vms_node *n, const struct vms_node_event *ev);
/* Call after a batch of steps (one loop turn): submits the log, sends what was
 * merged per peer, and sets the deadline. */
void vms_node_turn_end(struct vms_node *n, uint64_t now_ms);
void vms_node_close(struct vms_node *n);

/* Drains all that is in the log now, without waiting for size or age. */
void vms_node_drain(struct vms_node *n);

/* Status for `vmstore-ring status`, ADMIN and tests: JSON object, caller frees
 * (json_decref). what: "status", "partitions", "space", "stats", "sessions",
 * "reclaim", "scrub". */
struct json_t;
struct json_t *vms_node_json(struct vms_node *n, const char *what);
/* "partitions" from number `from` of req on, at most `max` of them: all that a node holds may
 * be more than a frame takes. */
struct json_t *vms_node_partitions(struct vms_node *n, const struct json_t *req);
/* ADMIN "du": begins a count of space, or tells how far it is (doc/wire-format.md
 * "Administration"). 0 and *answer, or a VMS_E_* and msg. */
int vms_node_du(struct vms_node *n, struct json_t *req, struct json_t **answer,
		struct vms_errmsg *msg);

/* ADMIN "lost": what standing partitions lack; with partition, record and without [node, ...]:
 * gives it up when no other node has it. 0 and *answer, or a VMS_E_* and msg. */
int vms_node_lost(struct vms_node *n, struct json_t *req, struct json_t **answer,
		  struct vms_errmsg *msg);

/* ADMIN "scrub": {"do": "status" | "start" | "pause" | "resume"}; answers its state. */
int vms_node_scrub(struct vms_node *n, struct json_t *req, struct json_t **answer,
		   struct vms_errmsg *msg);

#endif
