/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the gateway core: reads. Shared by the files that a read goes through and those
 * that look at pages.
 */
#ifndef VMS_GW_READ_H
#define VMS_GW_READ_H

#include "target/gw_int.h"

/* ---- gw_read.c: commands ---- */

int gw_read_submit(struct vms_gw *gw, struct vms_gw_cmd *cmd);
int gw_read_run(struct vms_gw *gw, struct vms_gw_cmd *cmd);
void gw_readahead(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t first_chunk, uint32_t n);
void gw_prefetch(struct vms_gw *gw, struct vms_gw_vol *v, uint64_t first_chunk, uint64_t n);
void gw_read_abort(struct vms_gw *gw, struct gw_req *req);
/* The volume's read-ahead ends: no piece refers to it any more. */
void gw_read_vol_gone(struct vms_gw *gw, struct vms_gw_vol *v);

/* ---- gw_piece.c: pieces, and the data they bring ---- */

struct gw_piece *gw_piece_new(struct vms_gw *gw, struct vms_gw_vol *v, struct gw_req *r,
			      uint64_t chunk, uint32_t n);
void gw_piece_end(struct vms_gw *gw, struct gw_piece *p, int status);
/* It goes on in a while, unless nobody waits for it or it is too old. */
void gw_piece_park(struct vms_gw *gw, struct gw_piece *p, uint32_t ms);
/* Chunk i cannot be read; the piece ends so when all it waits for has come. */
void gw_piece_fail(struct vms_gw *gw, struct gw_piece *p, int status, unsigned i, unsigned sector);
/* Place chunk i of the piece. data: 4096 bytes, borrowed; they stay where they are
 * when slot is a cache slot (it is pinned) or stays is set, else they are copied. */
void gw_piece_put(struct vms_gw *gw, struct gw_piece *p, unsigned i, const uint8_t *data,
		  uint32_t slot, bool stays);
/* A chunk of which only the sectors in valid can be read. */
void gw_piece_put_partial(struct vms_gw *gw, struct gw_piece *p, unsigned i, const uint8_t *data,
			  uint8_t valid);
/* One of the things the piece waited for is there. */
void gw_piece_waited(struct vms_gw *gw, struct gw_piece *p);
void gw_piece_run(struct vms_gw *gw, struct gw_piece *p);
/* Chunks of the command are not pinned any more: some, or all. */
void gw_read_unput(struct vms_gw *gw, struct gw_req *r, uint32_t first, uint32_t n);
void gw_read_unpin(struct vms_gw *gw, struct gw_req *req);
void gw_read_timer(struct vms_gw *gw);
/* Pieces of the volume in that list that nobody waits for end. */
void gw_orphans_drop(struct vms_gw *gw, struct gw_link *h, struct vms_gw_vol *v);

/* ---- gw_fetch.c: chunks by address ---- */

/* Ask for an address unless it is on its way; the piece waits for it. bad: the first
 * replica's copy is known to be damaged, there; 0: nothing is known. */
void gw_fetch_join(struct vms_gw *gw, struct gw_piece *p, unsigned i, vms_addr a, uint32_t bad);
void gw_fetches_send(struct vms_gw *gw);
void gw_addr_reply(struct vms_gw *gw, struct gw_batch *b, uint32_t node, const struct vms_msg *m,
		   int status);
/* Cache a verified chunk; its slot, or VMS_CC_NONE when there is no room. */
uint32_t gw_chunk_cached(struct vms_gw *gw, vms_addr a, const uint8_t *data);
/* Answers to READ_ADDR and READ_LBA, entry by entry. */
struct gw_answer {
	struct vms_rd rd;
	const uint8_t *data; /* what is left of the payload */
	size_t left;
};
struct gw_chunk {
	vms_addr a;
	int status;
	uint8_t valid;	     /* sectors, with VMS_E_BAD_SECTORS */
	const uint8_t *data; /* NULL: none; else checked, unless status says otherwise */
};
void gw_answer_init(struct gw_answer *r, const struct vms_msg *m);
/* want: the address that was asked for, other content is damage; 0: any. */
struct gw_chunk gw_answer_next(struct vms_gw *gw, struct gw_answer *r, vms_addr want);

/* ---- gw_pages.c: pages ---- */

/* The volume's own page if it may be used now, else NULL. */
struct vms_pc_page *gw_page_good(struct vms_gw *gw, const struct vms_gw_vol *v, uint32_t extent,
				 uint8_t sub, const struct gw_part *part, const struct gw_node *n);
/* The piece waits for the pages of the sub-extents in need. */
void gw_page_request(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n, uint8_t need);
void gw_pages_reply(struct vms_gw *gw, struct gw_pagereq *q, const struct vms_msg *m, int status);

/* ---- gw_lba.c: by place, at the primary ---- */

void gw_piece_lba(struct vms_gw *gw, struct gw_piece *p, struct gw_node *n);
void gw_lba_reply(struct vms_gw *gw, struct gw_piece *p, uint32_t node, const struct vms_msg *m,
		  int status);

#endif
