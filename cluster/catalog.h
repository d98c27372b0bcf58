/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The catalog: small strongly consistent metadata behind ten calls. Never
 * anything per chunk or per write. Engines: embedded (catalog_lmdb.c behind
 * cat_server.c, reached through cat_client.c over the node protocol) and etcd
 * (catalog_etcd.c). Sans-I/O: requests are queued, answers come by callback from the
 * owner's loop, never from inside the requesting call.
 *
 * Semantics: linearizable gets and ranges; one 64-bit revision for all keys,
 * raised by each transaction that changes something; transactions compare the
 * mod revision (0: key must not exist); outcome of a transaction may be unknown
 * (VMS_E_TIMEOUT, VMS_E_DISCONNECTED): read back before deciding. Watches
 * deliver every change with a revision above the given one at least once and in
 * order; after a gap or reconnect the client resumes from the last revision
 * seen; VMS_E_GONE means: reload by range, watch again.
 *
 * Keys are text, values JSON text (at most 64 KiB). Key table:
 * doc/architecture.md "Catalog keys".
 */
#ifndef VMS_CATALOG_H
#define VMS_CATALOG_H

#include "include/err.h"
#include "include/types.h"

#define VMS_CAT_KEY_BYTES_MAX	  256u
#define VMS_CAT_VAL_BYTES_MAX	  65536u
#define VMS_CAT_PORTALS_BYTES_MAX 1312u /* of one gateway: 16 addresses */
#define VMS_CAT_TXN_OPS_MAX	  120u	/* etcd takes 128; the engine adds its own */

struct vms_cat_kv {
	const char *key; /* NUL-terminated */
	const char *val; /* NUL-terminated JSON; NULL: deleted (watch events) */
	uint32_t val_bytes;
	uint64_t mod_revision;
	uint64_t create_revision;
};

struct vms_cat_reply {
	int status;		     /* 0, VMS_E_CONFLICT (a compare failed), VMS_E_TIMEOUT, ... */
	uint64_t revision;	     /* of the catalog when answered */
	const struct vms_cat_kv *kv; /* get: 0 or 1; range, watch event: any */
	unsigned nkv;
	bool more;	  /* range: continue behind the last key */
	uint64_t session; /* session_open */
};
/* r and what it points to live until the callback returns. */
typedef void (*vms_cat_done_fn)(void *arg, const struct vms_cat_reply *r);

struct vms_cat_cmp {
	const char *key;
	uint64_t mod_revision; /* must equal; 0: must not exist */
};
struct vms_cat_op {
	const char *key;
	const char *val;  /* NULL: delete */
	uint64_t session; /* != 0: the key goes when this session ends */
};

struct vms_catalog;
struct vms_catalog_ops {
	uint32_t struct_bytes;
	void (*get)(struct vms_catalog *c, const char *key, vms_cat_done_fn done, void *arg);
	/* Keys with this prefix, behind `after` (NULL: from the start). */
	void (*range)(struct vms_catalog *c, const char *prefix, const char *after,
		      vms_cat_done_fn done, void *arg);
	void (*txn)(struct vms_catalog *c, const struct vms_cat_cmp *cmp, unsigned ncmp,
		    const struct vms_cat_op *op, unsigned nop, vms_cat_done_fn done, void *arg);
	/* Every later change under prefix with revision > from, until unwatch; one
	 * event per revision. Returns a watch id (> 0). An event with a status
	 * (VMS_E_GONE: revision too old; VMS_E_FULL) ends the watch. */
	uint64_t (*watch)(struct vms_catalog *c, const char *prefix, uint64_t from_revision,
			  vms_cat_done_fn event, void *arg);
	void (*unwatch)(struct vms_catalog *c, uint64_t watch);
	void (*session_open)(struct vms_catalog *c, uint32_t ttl_ms, vms_cat_done_fn done,
			     void *arg);
	void (*session_renew)(struct vms_catalog *c, uint64_t session, vms_cat_done_fn done,
			      void *arg);
	void (*session_close)(struct vms_catalog *c, uint64_t session, vms_cat_done_fn done,
			      void *arg);
	void (*status)(struct vms_catalog *c, vms_cat_done_fn done, void *arg);
	/* Drop all callbacks with this arg: the owner goes away. */
	void (*forget)(struct vms_catalog *c, void *arg);
};
struct vms_catalog {
	const struct vms_catalog_ops *ops;
};

/* ---- Typed records (cluster/cat_records.c): JSON text <-> struct. Decoders
 * return VMS_E_CORRUPT with a message naming key and field. ---- */

/* "cluster" */
struct vms_cat_cluster {
	uint8_t uuid[16];
	uint32_t part_bits;
	uint32_t copies;
	uint32_t min_copies;
	double timing_factor;
	uint64_t next_branch; /* ids never used twice */
	uint32_t next_node, next_gateway;
	bool has_data; /* a volume has existed: members change by moving data */
	/* Fields that records of earlier releases do not have (decoded: defaults). */
	uint32_t rebuild_after_s; /* a node that is away that long counts as lost; 0: never */
	uint64_t move_bytes_s;	  /* feeding of copies, per node; 0: not held back */
	uint32_t scrub_days;	  /* every stored byte is verified once in that time; 0: off */
	/* Incarnations of new gateways go on above this one: after restore-catalog a number
	 * may be given that a gateway had which the copy does not know. */
	uint64_t gateways_from;
};
#define VMS_REBUILD_AFTER_S 600u
#define VMS_MOVE_BYTES_S    (64ull << 20)
#define VMS_SCRUB_DAYS	    7u

/* "node/<id>" */
struct vms_cat_node {
	uint32_t id;
	char name[64], address[64], zone[64];
	uint32_t weight; /* 100 = normal */
	uint64_t incarnation;
	uint8_t state; /* enum vms_node_state */
};
enum vms_node_state {
	VMS_NODE_IN = 1,
	VMS_NODE_LEAVING = 2, /* weighs nothing, feeds the others, then goes */
	VMS_NODE_OUT = 3,     /* taken for lost by the planner until it is back */
	VMS_NODE_DRAINED = 4, /* weighs nothing, feeds the others, stays */
};
/* "part/<number>": struct vms_part_conf */
/* "gateway/<id>" */
struct vms_cat_gateway {
	uint32_t id;
	char name[64];
	uint64_t incarnation;
	char portal[128];
	/* Where it serves the cluster's targets, "HOST:PORT" joined by blanks; "": nowhere (it
	 * is a tool, has targets of its own, or is of an earlier release). */
	char portals[VMS_CAT_PORTALS_BYTES_MAX];
	char host[64]; /* the machine's name; "": of an earlier release */
	char boot[40]; /* start of the machine that the process runs in; "": not known */
};
/* "gwload/<id>": a gateway that runs; the key goes with its catalog session */
struct vms_cat_gwload {
	uint32_t gateway;
	uint32_t sessions; /* of initiators */
	bool draining;	   /* it has seen that it is to be emptied */
};
/* "gwsent/<id>": gateway, and the ports ("who") that it has just sent to other gateways;
 * goes like gwload */
/* "gwdrain/<id>": initiators are to leave that gateway, and none is to come */
struct vms_cat_gwdrain {
	uint32_t gateway;
	uint32_t seconds; /* sessions that have not left by then are closed */
	uint64_t since_s; /* wall clock, for people */
	char by[64];	  /* host it was asked for on, for people */
};
/* "volume/<name>" */
struct vms_cat_volume {
	char name[128];
	uint8_t uuid[16];
	uint64_t id; /* for good: the volume's first branch; open/, loss/, ack/ use it */
	uint64_t branch, lineage;
	uint64_t size_bytes;
	uint64_t snap_gen, lun_fence;
	uint64_t pr_fence;   /* lun_fence of the last change of reservations; 0: none */
	uint8_t write_ack;   /* enum vms_write_ack */
	uint8_t state;	     /* 1 ready, 2 deleting, 3 shrinking, 4 importing */
	uint8_t barrier;     /* enum vms_barrier */
	uint64_t barrier_id; /* the number the barrier spends */
	uint64_t barrier_s;  /* when it was put on, wall clock; 0: not known */
	bool barrier_quiet;  /* at the stop gateways end what they have and begin nothing */
	bool write_protect;  /* nobody writes to it */
	uint64_t rollbacks;  /* how often its content was exchanged for an earlier one */
	bool dedup;
	char domain[64];    /* dedup domain, "" for the cluster's */
	char parent[240];   /* VOLUME@SNAP it was cloned from, or "" */
	uint64_t created_s; /* wall clock, for people */
};
enum vms_barrier { VMS_BARRIER_NONE = 0, VMS_BARRIER_STOP = 1, VMS_BARRIER_RELEASE = 2 };

/* "branch/<branch>": one line of a volume's history. All but the state is fixed
 * when the branch is made. A volume without this record has no ancestors. */
struct vms_cat_ancestor {
	uint64_t branch, snap_gen; /* pages up to this number show through */
	uint64_t limit_chunks;	   /* chunks from here on do not */
};
struct vms_cat_branch {
	uint64_t branch, lineage;
	uint64_t owner; /* volume id */
	bool salted;
	uint8_t salt[32]; /* of its dedup domain */
	uint8_t state;	  /* 1 live, 2 dead: nothing writes to it any more */
	unsigned nancestors;
	struct vms_cat_ancestor ancestor[VMS_ANCESTORS_MAX]; /* nearest first */
};
/* "snap/<volume>@<snap>". Only a complete one can be read, cloned or exported. */
struct vms_cat_snap {
	char volume[128], name[104];
	uint8_t uuid[16];
	uint8_t origin[16]; /* uuid of the snapshot it was restored from (import-diff), or 0 */
	uint64_t id;	    /* of the volume */
	uint64_t branch, snap_gen;
	uint64_t size_bytes;
	uint8_t state; /* enum vms_snap_state */
	uint64_t created_s;
};
enum vms_snap_state { VMS_SNAP_CREATING = 1, VMS_SNAP_COMPLETE = 2, VMS_SNAP_DELETING = 3 };

/* "open/<volume id>/<gateway>", and "snapopen/<volume id>/<snap_gen>/<gateway>" of
 * gateways that export a snapshot (snap_gen != 0). */
struct vms_cat_open {
	uint64_t id;
	uint64_t snap_gen;
	uint32_t gateway;
	uint64_t incarnation;
};
/* "ack/<volume id>/<gateway>": where a gateway is with the volume's barrier. */
enum vms_ack_state { VMS_ACK_STOPPED = 1, VMS_ACK_RELEASED = 2, VMS_ACK_VETO = 3 };
struct vms_cat_ack {
	uint64_t id;
	uint32_t gateway;
	uint64_t incarnation;
	uint64_t barrier_id;
	uint8_t state; /* enum vms_ack_state */
};
/* "loss/<volume id>": number of times unflushed writes may have been lost;
 * "lossack/<volume id>/<initiator port>": the number that port has been told.
 * "domain/<name>": {"salt": 64 hex digits}. */

int vms_cat_branch_decode(const struct vms_cat_kv *kv, struct vms_cat_branch *out,
			  struct vms_errmsg *msg);
int vms_cat_snap_decode(const struct vms_cat_kv *kv, struct vms_cat_snap *out,
			struct vms_errmsg *msg);
int vms_cat_ack_decode(const struct vms_cat_kv *kv, struct vms_cat_ack *out,
		       struct vms_errmsg *msg);
char *vms_cat_branch_encode(const struct vms_cat_branch *in);
char *vms_cat_snap_encode(const struct vms_cat_snap *in);
char *vms_cat_ack_encode(const struct vms_cat_ack *in);
void vms_cat_key_branch(char *out, uint64_t branch);
void vms_cat_key_ack(char *out, uint64_t id, uint32_t gateway);
void vms_cat_key_snapopen(char *out, uint64_t id, uint64_t snap_gen, uint32_t gateway);
/* name: "VOLUME@SNAP"; splits it. Snapshot names: 1..100 of [A-Za-z0-9._-], not
 * starting with '-' or '.'. */
int vms_cat_snap_name_split(const char *name, char volume[128], char snap[104],
			    struct vms_errmsg *msg);
int vms_cat_key_snap(char *out, const char *volume, const char *snap, struct vms_errmsg *msg);

int vms_cat_cluster_decode(const struct vms_cat_kv *kv, struct vms_cat_cluster *out,
			   struct vms_errmsg *msg);
int vms_cat_node_decode(const struct vms_cat_kv *kv, struct vms_cat_node *out,
			struct vms_errmsg *msg);
int vms_cat_part_decode(const struct vms_cat_kv *kv, uint32_t *partition, struct vms_part_conf *out,
			struct vms_errmsg *msg);
int vms_cat_gateway_decode(const struct vms_cat_kv *kv, struct vms_cat_gateway *out,
			   struct vms_errmsg *msg);
/* who: NULL, or gets malloc'ed text: what else the record tells of the sessions */
int vms_cat_gwload_decode(const struct vms_cat_kv *kv, struct vms_cat_gwload *out, char **who,
			  struct vms_errmsg *msg);
int vms_cat_gwdrain_decode(const struct vms_cat_kv *kv, struct vms_cat_gwdrain *out,
			   struct vms_errmsg *msg);
int vms_cat_volume_decode(const struct vms_cat_kv *kv, struct vms_cat_volume *out,
			  struct vms_errmsg *msg);
int vms_cat_open_decode(const struct vms_cat_kv *kv, struct vms_cat_open *out,
			struct vms_errmsg *msg);
/* A command that is its own gateway for a while (import, export, diff). */
#define VMS_CAT_TOOL_PREFIX "tool-"
bool vms_cat_gateway_is_tool(const struct vms_cat_gateway *g);
/* Encoders return malloc'ed JSON text (caller frees). */
char *vms_cat_cluster_encode(const struct vms_cat_cluster *in);
char *vms_cat_node_encode(const struct vms_cat_node *in);
char *vms_cat_part_encode(const struct vms_part_conf *in);
char *vms_cat_gateway_encode(const struct vms_cat_gateway *in);
char *vms_cat_gwload_encode(const struct vms_cat_gwload *in, const char *who);
/* ports: as who; decoded: malloc'ed text */
char *vms_cat_gwsent_encode(uint32_t gateway, const char *ports);
int vms_cat_gwsent_decode(const struct vms_cat_kv *kv, char **ports, struct vms_errmsg *msg);
char *vms_cat_gwdrain_encode(const struct vms_cat_gwdrain *in);
char *vms_cat_volume_encode(const struct vms_cat_volume *in);
char *vms_cat_open_encode(const struct vms_cat_open *in);
/* The nodes that ought to hold the partition, wanted primary first; returns how many. */
unsigned vms_cat_part_want(const struct vms_part_conf *c, uint32_t want[VMS_COPIES_MAX]);
/* Key texts; out has VMS_CAT_KEY_BYTES_MAX. Numbers are zero-padded hex so that
 * ranges come in order. Volume names: 1..100 of [A-Za-z0-9._-], not starting
 * with '-' or '.'; "pool/name" is allowed once. */
void vms_cat_key_node(char *out, uint32_t id);
void vms_cat_key_part(char *out, uint32_t partition);
void vms_cat_key_gateway(char *out, uint32_t id);
void vms_cat_key_gwload(char *out, uint32_t id);
void vms_cat_key_gwsent(char *out, uint32_t id);
void vms_cat_key_gwdrain(char *out, uint32_t id);
int vms_cat_key_volume(char *out, const char *name, struct vms_errmsg *msg);
void vms_cat_key_open(char *out, uint64_t id, uint32_t gateway);
void vms_cat_key_loss(char *out, uint64_t id);
int vms_cat_volume_name_check(const char *name, struct vms_errmsg *msg);

#endif
