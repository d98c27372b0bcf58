/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ring as the commands of vmstore-ring change and watch it.
 *
 * A change is a new membership (node/ records) or new settings of the cluster
 * ("cluster"), always both in one transaction. Storage nodes do the rest by
 * themselves: their coordinator turns the membership into what is wanted of each
 * partition, their primaries move the data. So a command may be stopped at any time,
 * and the same command again does no harm. Only while no volume has ever existed do
 * the tools place partitions themselves, as nothing has to move then.
 */
#ifndef VMS_TOOL_RING_H
#define VMS_TOOL_RING_H

#include "cluster/placement.h"
#include "utils/tool/cmd.h"
#include "utils/tool/view.h"

/* What a partition's members say about it, by ring_ask(). */
struct ring_part {
	uint64_t bytes;	  /* of one copy: the most that a member told */
	uint32_t urgent;  /* copies that are fed beyond the limit */
	uint64_t copied;  /* bytes that nodes which are being fed have got */
	bool asked;	  /* the primary answered */
	bool serving;	  /* ... and serves it */
	bool writes_wait; /* ... but for writes */
	uint64_t stands;  /* ... it stands, as no node that runs has the bytes of this record */
	char state[128];  /* ... in its words */
};

struct ring {
	struct view v;
	struct ring_part *part; /* NULL before ring_ask() */
	uint64_t left_bytes;	/* to be copied, by ring_count() */
	uint32_t left_copies;	/* places that are wanted and not filled */
	uint32_t left_drops;	/* members that are not wanted */
	uint32_t left_leads;	/* partitions that another member is to lead */
	uint32_t moving;	/* partitions with any of these */
	/* of these, for nodes that do not run: nothing moves there until they do */
	uint32_t wait_copies, wait_parts;
	uint64_t wait_bytes;
	uint32_t urgent; /* copies that the limit does not hold back at present */
};

/* Reads the catalog. Free in any case. */
int ring_load(struct tool *t, struct ring *r, struct vms_errmsg *e);
/* Asks the nodes how they are (status) and what they hold (partitions). */
void ring_ask(struct tool *t, struct ring *r);
void ring_free(struct ring *r);
/* What is still to be moved. Without ring_ask() in copies only. */
void ring_count(struct ring *r);
/* Is all that is wanted what a plan of the present membership would want? False: the
 * coordinator has not come to it yet. */
bool ring_planned(const struct ring *r);

/* A node by its name, or by its number. NULL: e says so. */
struct view_node *ring_node(struct view *v, const char *spec, struct vms_errmsg *e);
/* Their records, for cluster/placement.h: n of them; free it. */
struct vms_cat_node *ring_records(const struct view *v);
/* Configurations of all partitions; free it. */
struct vms_part_conf *ring_confs(const struct view *v);

/* Changes nodes and settings of the view in place, and may append nodes (mod_revision
 * 0). 0: write it; anything else: an error, or VMS_E_CANCELLED for "nothing to do". */
typedef int (*ring_edit_fn)(void *arg, struct view *v, struct vms_errmsg *e);
#define RING_CHANGE_NODES_MAX (VMS_CAT_TXN_OPS_MAX - 1) /* with the cluster's own record */
/* Reads, edits and writes, again when somebody else was faster. Places the partitions
 * itself as long as there is no data. VMS_E_FULL: edit changed more nodes than that, and
 * nothing was written. */
int ring_change(struct tool *t, ring_edit_fn edit, void *arg, struct vms_errmsg *e);

/* Options that all changes have. */
struct ring_opts {
	bool dry_run, no_wait, fewer_copies, ignore_space;
	uint64_t timeout_s;
};
#define RING_OPT_DRY(o)                                                                            \
	{                                                                                          \
		0, "dry-run", VMS_OPT_FLAG, &(o).dry_run, NULL,                                    \
			"show what would move, change nothing"                                     \
	}
#define RING_OPT_WAIT(o)                                                                           \
	{0, "no-wait", VMS_OPT_FLAG, &(o).no_wait, NULL, "do not wait until all is moved"},        \
	{                                                                                          \
		0, "timeout", VMS_OPT_SECONDS, &(o).timeout_s, "TIME",                             \
			"wait at most so long: 10min, or seconds (default: as long as it takes)"   \
	}
#define RING_OPT_FORCE(o)                                                                          \
	{0,                                                                                        \
	 "fewer-copies",                                                                           \
	 VMS_OPT_FLAG,                                                                             \
	 &(o).fewer_copies,                                                                        \
	 NULL,                                                                                     \
	 "even if too few nodes remain for all copies"},                                           \
	{                                                                                          \
		0, "ignore-space", VMS_OPT_FLAG, &(o).ignore_space, NULL,                          \
			"even if the other nodes look too small for the data"                      \
	}

/* ---- ring_move.c: what would move, and waiting for it ---- */

struct ring_node_moves {
	uint32_t node;
	uint32_t gets, gives; /* copies */
	uint64_t get_bytes, give_bytes;
	uint64_t feed_bytes; /* sent by it as primary */
	int32_t leads;	     /* partitions led more, or fewer */
};
struct ring_moves {
	VMS_VEC(struct ring_node_moves) nodes; /* in the order of the view */
	uint32_t copies, leads;
	uint64_t bytes;
	uint64_t seconds; /* at the cluster's rate; 0: not known, or nothing moves */
};
/* From where the copies are now to where a plan for view v (edited or not) wants them.
 * r: asked. Free it. VMS_E_INVAL: there is no plan. */
int ring_moves(const struct ring *r, const struct view *v, struct ring_moves *m,
	       struct vms_errmsg *e);
void ring_moves_free(struct ring_moves *m);
void ring_moves_print(const struct view *v, const struct ring_moves *m);
json_t *ring_moves_json(const struct view *v, const struct ring_moves *m);

/* What the edit would move, on stdout. It refuses what the edit refuses. Exit code. */
int ring_dry_run(struct tool *t, const struct ring *r, ring_edit_fn edit, void *arg);
/* Until all is where it is wanted; gone: and the node with that number has left (0:
 * nobody leaves). Shows progress. Ctrl-C: the change goes on. Exit code. */
int ring_wait(struct tool *t, const char *what, uint32_t gone, uint64_t timeout_s);

/* ---- ring_stand.c: partitions that stand, as no node that runs has bytes they need ---- */

/* One line for each, at most `most`, behind `head`. r: asked. */
void ring_stand_print(struct ring *r, const char *head, unsigned most);
/* Who may have the bytes of partition p, in words: members (their copies are damaged), and
 * nodes that do not run. */
void ring_stand_who(struct ring *r, uint32_t p, char *out, size_t room);
/* The command that may bring them back. */
void ring_stand_mend(struct ring *r, uint32_t p, char *out, size_t room);
/* [{"partition", "primary", "record", "writes_wait", "damaged": [node…], "away": [node…]}] */
json_t *ring_stand_json(struct ring *r);

/* ---- ring_check.c: refusals ---- */

/* Partitions of which this node has an up-to-date copy, and no other node that runs. */
uint32_t ring_last_copies(const struct ring *r, uint32_t node, uint32_t *first);
/* What does not fit on the nodes that would get it, if v took the place of r's membership.
 * Some of each node's space is left free. */
struct ring_lack {
	uint64_t bytes; /* on all nodes together; 0: all fits */
	uint64_t moves; /* bytes that would be copied in all */
	char node[64];	/* which lacks most: */
	uint64_t need, room;
};
int ring_lacks(const struct ring *r, const struct view *v, struct ring_lack *out,
	       struct vms_errmsg *e);
/* May the membership of v, edited, take the place of that of r? The answer in words is
 * an error message. */
int ring_may(const struct ring *r, const struct view *v, const struct ring_opts *o,
	     struct vms_errmsg *e);

#endif
