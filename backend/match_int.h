/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to backend/match*.c. Bodies of messages: doc/wire-format.md. */
#ifndef VMS_MATCH_INT_H
#define VMS_MATCH_INT_H

#include "backend/fplists.h"
#include "backend/htab.h"
#include "backend/match.h"
#include "backend/pages.h"
#include "include/types.h"
#include "utils/lib/vec.h"

#define MATCH_ENT_BYTES	  16u /* of MATCH_PULL answers and MATCH_PAIRS */
#define MATCH_REMAP_BYTES 24u
#define MATCH_BATCH	  4096u /* entries of one message: 64 KiB */
#define MATCH_BUCKETS	  256u
#define MATCH_RES_MAX	  256u /* pairs that are confirmed together */

/* Which chunks, and from where on. Slices: mix(key) mod nodes says which node matches
 * it, (mix(key) / nodes) mod slices when it does. */
struct match_cursor {
	uint32_t part;	/* VMS_PART_NONE: nothing more */
	uint32_t chunk; /* of the container's list */
	uint64_t ctr;	/* this container or later ones */
};
struct match_want {
	uint32_t nodes, node, slices, slice;
	struct match_cursor at;
};
#define MATCH_WANT_BYTES   32u
#define MATCH_CURSOR_BYTES 16u

struct match_ent {
	vms_fp_prefix key;
	vms_addr addr;
};

struct match_pair {
	uint32_t dest;	  /* node that leads the duplicate's partition */
	vms_addr dup, to; /* to < dup: never both directions */
};

/* A duplicate and where its content lies as well. */
struct match_ent_to {
	struct vms_hlink link; /* key: address of the duplicate */
	vms_addr to;
	uint64_t stamp; /* of the confirmation */
	/* any partition may refer to the duplicate; else only its own, and only pages of
	 * that one may be changed (the other copy need not be shared) */
	bool wide;
};

struct match_table {
	struct vms_htab ent;
	bool all;	 /* pages of every partition */
	uint64_t *parts; /* else of these */
};

enum match_phase { M_IDLE, M_POLL, M_PULL, M_SORT, M_PAIRS };

struct match_node { /* of the pass; the last one is this node */
	uint32_t id;
	uint64_t incarnation, news, chunks;
	bool answered;
};

struct match_seen { /* by a pass that went well */
	uint32_t id;
	uint64_t incarnation, news;
};

struct match {
	struct match_stats st;
	uint64_t news; /* changes when chunks of partitions led here have become safe */

	/* matcher */
	enum match_phase phase;
	uint64_t next_ms, start_ms;
	bool asking, incomplete;
	unsigned tries;
	VMS_VEC(struct match_node) nodes;
	VMS_VEC(struct match_seen) seen;
	unsigned polls;	  /* not answered yet */
	unsigned node_at; /* being asked for its chunks */
	struct match_want want;
	VMS_VEC(struct match_ent) bucket[MATCH_BUCKETS];
	uint64_t nents;
	unsigned bucket_at;
	VMS_VEC(struct match_pair) pairs;
	size_t pair_at, pair_n; /* being sent */

	/* source */
	unsigned npulls;

	/* owner of duplicates */
	VMS_VEC(struct match_pair) queue;
	struct match_res *res;
	struct match_table cur, next;
	uint64_t added_ms, walk_ms;
	bool walking, again; /* something was lost: match it once more */
	uint32_t walk_part;
	bool walk_begun;
	uint64_t walk_epoch, walk_seq;
	struct vms_page_key resume;
};

/* Nothing else to do, and on. */
bool match_idle(const struct vms_node *n);

/* ---- match_serve.c ---- */
/* What this node has, at the cursor; payload: entries. fn may be called at once. */
typedef void (*match_pull_fn)(struct vms_node *n, int status, const struct match_cursor *at,
			      const uint8_t *payload, size_t bytes);
void match_pull(struct vms_node *n, const struct match_want *w, match_pull_fn fn);
void match_want_encode(uint8_t *out, const struct match_want *w);
void match_serve_poll(struct vms_node *n, struct conn *c, const struct vms_msg *m);
void match_serve_pull(struct vms_node *n, struct conn *c, const struct vms_msg *m);
uint64_t match_chunks(struct vms_node *n);
bool match_addr_ok(const struct vms_node *n, vms_addr a);

/* ---- match_remap.c ---- */
/* Bodies of MATCH_PAIRS and MATCH_REMAP; status of the answer. */
int match_take_pairs(struct vms_node *n, const uint8_t *body, uint32_t bytes);
/* moved: copies out of containers that are emptied, at higher addresses. */
int match_take_remap(struct vms_node *n, const uint8_t *body, uint32_t bytes, bool moved);
void match_remap_open(struct vms_node *n);
void match_remap_close(struct vms_node *n);
void match_remap_timer(struct vms_node *n);

#endif
