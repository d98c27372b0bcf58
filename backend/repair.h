/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Repair of damaged copies from other nodes; see repair.c, repair_page.c and, for the
 * answering side, repair_serve.c.
 *
 * The unit is a *piece* of a container: a segment (header and chunks), its file header or
 * its footer with the list behind it. Index pages are repaired one by one.
 */
#ifndef VMS_REPAIR_H
#define VMS_REPAIR_H

#include "backend/pages.h"
#include "include/types.h"

struct vms_node;
struct conn;
struct vms_msg;
struct json_t;
struct part;

#define REPAIR_FILE_HEADER UINT32_MAX /* pieces that are no segments */
#define REPAIR_FOOTER	   (UINT32_MAX - 1)

/* REPAIR: aux. */
enum { REPAIR_TOLD = 0, REPAIR_SEG = 1, REPAIR_PAGE = 2 };

struct repair_stats {
	uint64_t found;	   /* damaged blocks and index values */
	uint64_t repaired; /* of them; also those whose container was replaced or deleted */
	uint64_t bytes;	   /* read to verify */
	uint64_t told;	   /* damage that others told of */
	uint64_t served;   /* pieces and pages given to others */
};

/* Called once: what was checked is right, is being repaired, or is gone. bytes: read.
 * bad: damaged blocks found. */
typedef void (*repair_fn)(struct vms_node *n, void *arg, uint64_t bytes, unsigned bad);

void repair_open(struct vms_node *n);
void repair_close(struct vms_node *n);
void repair_timer(struct vms_node *n);
/* The own copy of that chunk, or what stands for it, was found damaged. */
void repair_addr(struct vms_node *n, vms_addr a);
/* A copy that is made anew has found blocks of the old one damaged; they are replaced. */
void repair_replaced(struct vms_node *n, uint64_t ctr, uint32_t seg, unsigned blocks);
/* Verify one piece from the disk itself; repair it if need be. False: too much under
 * way, fn is not called. */
bool repair_check(struct vms_node *n, uint64_t ctr, uint32_t piece, repair_fn fn, void *arg);
/* It has been looked for in vain on every member. */
bool repair_lost(struct vms_node *n, vms_addr a);
void repair_msg(struct vms_node *n, struct conn *c, const struct vms_msg *m);
const struct repair_stats *repair_stats(struct vms_node *n);
uint64_t repair_lost_count(struct vms_node *n);
uint64_t repair_running(struct vms_node *n); /* pieces and pages in work or waiting */
/* {"damaged", "repaired", "repairing", "lost", "lost_chunks": [...], "lost_pages": [...]} */
struct json_t *repair_json(struct vms_node *n);

/* ---- repair_page.c ---- */
void repair_page(void *node, const struct vms_page_key *key);	/* vms_pages_on_bad() */
bool repair_page_waits(struct vms_node *n, uint32_t partition); /* some page of it is bad */
/* Index values that are in memory too are written again. */
void repair_value(struct vms_node *n, const uint8_t *key, uint32_t key_bytes);

#endif
