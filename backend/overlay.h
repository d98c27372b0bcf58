/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Overlay: what the log holds and the containers do not yet. Keyed (branch,
 * extent, snap_gen, chunk); each write leaves a piece (sector mask, place of its
 * bytes in the log), each long ZERO a range of its extent.
 *
 * A piece is dropped when a later committed piece or range of the same snap_gen
 * covers it and no drain names it (pins), or by the drain that names it; so a
 * drain record always finds the bytes it copies. Ranges are drained before any
 * later piece of their extent.
 *
 * A drained chunk leaves a stub: until the checkpoint that holds its new address
 * is durable on all members, pages still name the old one ("handed").
 *
 * Extents of one branch hang together by descending snap_gen. What a read sees is
 * the view over a stack of layers: per sector the newest piece of the newest layer,
 * then the next layer's, down through the ancestors; what no piece gives comes from
 * the page. An older layer never gets a piece after a newer one had its first.
 *
 * Pure memory, no I/O. Owner: the node thread. Keeps invariants 1, 3, 27
 * (rules A1, A2, A4, A7).
 */
#ifndef VMS_OVERLAY_H
#define VMS_OVERLAY_H

#include "backend/htab.h"
#include "backend/stack.h"
#include "include/wire.h"

struct vms_ovl_chunk;
struct vms_ovl_ext;

struct vms_ovl_piece {
	struct vms_hlink by_addr; /* key: log address; in the table when addr != 0 */
	struct vms_ovl_piece *older;
	struct vms_ovl_chunk *c;
	uint64_t seq;
	uint64_t data_pos; /* log position of its bytes (zero: of its record) */
	vms_addr addr;	   /* log address of the chunk as of this piece; 0: whole zero */
	uint32_t crc;	   /* of its bytes */
	uint8_t mask;
	bool zero;
};

struct vms_ovl_chunk {
	struct vms_hlink by_stub;
	struct vms_ovl_ext *ext;
	struct vms_ovl_chunk *prev, *next; /* of the extent */
	struct vms_ovl_piece *newest;
	uint16_t chunk;
	uint16_t pins;	  /* drain records not applied yet that name it */
	uint64_t pin_seq; /* with pins: up to here an ordered record takes its pieces */
	bool stub;
	vms_addr stub_handed, stub_to;
	uint64_t stub_seq; /* the record that moved it */
};

/* Chunks of an extent that lie next to each other are looked up together. */
#define VMS_OVL_GROUP_CHUNKS 32u
struct vms_ovl_group {
	struct vms_ovl_chunk *c[VMS_OVL_GROUP_CHUNKS];
	unsigned n;
};

struct vms_ovl_range {
	uint64_t seq;
	uint64_t rec_pos;
	uint16_t first, count;
	uint16_t pins;
};

struct vms_ovl_part { /* embedded in the partition */
	struct vms_ovl_ext *exts;
	uint64_t npieces, nranges, nstubs;
};

struct vms_ovl_ext {
	struct vms_hlink link; /* key: hash of partition, branch, extent; newest snap_gen only */
	uint64_t branch, snap_gen;
	uint32_t extent, partition;
	struct vms_ovl_part *part;
	struct vms_ovl_ext *prev, *next;   /* of the partition */
	struct vms_ovl_ext *older, *newer; /* of the branch and extent, by snap_gen */
	struct vms_ovl_chunk *chunks;
	uint32_t nchunks;
	struct vms_ovl_group *group[VMS_EXTENT_CHUNKS / VMS_OVL_GROUP_CHUNKS]; /* NULL: none */
	struct vms_ovl_range *range;					       /* ascending seq */
	uint32_t nranges, range_room;
	bool scanned, pulled; /* used by the drain while it looks for work */
};

struct vms_ovl {
	struct vms_htab ext, addr, stub;
	void *free_pieces, *free_chunks, *free_groups; /* pools */
	void *slabs;
	uint64_t npieces, nchunks;
};

void vms_ovl_init(struct vms_ovl *o);
void vms_ovl_close(struct vms_ovl *o); /* parts need no cleaning first */
void vms_ovl_part_drop(struct vms_ovl *o, struct vms_ovl_part *p);

/* Is it the newest of more than max of its branch and extent? */
static inline bool vms_ovl_deep(const struct vms_ovl_ext *e, unsigned max)
{
	for (; e && max; e = e->older)
		max--;
	return e != NULL;
}

/* NULL when there is nothing (create false). */
struct vms_ovl_ext *vms_ovl_ext_get(struct vms_ovl *o, struct vms_ovl_part *p, uint32_t partition,
				    uint64_t branch, uint32_t extent, uint64_t snap_gen,
				    bool create);
/* The newest one with snap_gen <= max_gen; NULL: none. */
struct vms_ovl_ext *vms_ovl_line(const struct vms_ovl *o, uint32_t partition, uint64_t branch,
				 uint32_t extent, uint64_t max_gen);
struct vms_ovl_chunk *vms_ovl_chunk_get(struct vms_ovl *o, struct vms_ovl_ext *e, uint16_t chunk,
					bool create);
/* Frees the chunk and its extent when nothing is left in them. */
void vms_ovl_chunk_tidy(struct vms_ovl *o, struct vms_ovl_chunk *c);
void vms_ovl_ext_tidy(struct vms_ovl *o, struct vms_ovl_ext *e);

/* Add a piece in its place by seq. A piece of that seq is replaced (a record
 * copied forward). addr 0 only for whole zero chunks. */
void vms_ovl_piece_add(struct vms_ovl *o, struct vms_ovl_chunk *c, uint64_t seq, uint8_t mask,
		       bool zero, uint64_t data_pos, vms_addr addr, uint32_t crc);
void vms_ovl_range_add(struct vms_ovl *o, struct vms_ovl_ext *e, uint64_t seq, uint64_t rec_pos,
		       uint16_t first, uint16_t count);
/* The record `seq` is committed: what it covers in this chunk (or, for ranges,
 * in [first, first + count)) is dropped. */
void vms_ovl_commit(struct vms_ovl *o, struct vms_ovl_chunk *c, uint64_t committed);
void vms_ovl_commit_range(struct vms_ovl *o, struct vms_ovl_ext *e, uint16_t first, uint16_t count,
			  uint64_t committed);
/* The same for everything of a partition (after replay). */
void vms_ovl_commit_all(struct vms_ovl *o, struct vms_ovl_part *p, uint64_t committed);
/* Drop pieces with seq <= upto (a drain) and below; the caller tidies. */
void vms_ovl_drained(struct vms_ovl *o, struct vms_ovl_chunk *c, uint64_t upto);
/* Drop a range, and every older piece it covers. */
void vms_ovl_range_drained(struct vms_ovl *o, struct vms_ovl_ext *e, uint16_t first, uint64_t seq);
/* Drop everything with seq >= from (void records). */
void vms_ovl_void(struct vms_ovl *o, struct vms_ovl_part *p, uint64_t from);
/* Drop everything of a branch from first_chunk on, with seq < below. */
void vms_ovl_trim(struct vms_ovl *o, struct vms_ovl_part *p, uint64_t branch, uint64_t first_chunk,
		  uint64_t below);

void vms_ovl_stub_set(struct vms_ovl *o, struct vms_ovl_chunk *c, vms_addr handed, vms_addr to,
		      uint64_t seq);
void vms_ovl_stub_drop(struct vms_ovl *o, struct vms_ovl_chunk *c);

/* Is there something above seq whose commit lets go of what shows as of seq? Where that
 * commit is known it may be gone already. */
bool vms_ovl_fades(const struct vms_ovl_ext *e, const struct vms_ovl_chunk *c, uint64_t seq);

/* Ordered records do not take all of it: a piece above pin_seq that no range of its
 * extent hides. */
bool vms_ovl_undrained(const struct vms_ovl_ext *e, const struct vms_ovl_chunk *c);

/* What a chunk is made of as of `committed`. */
struct vms_ovl_view {
	struct vms_ovl_chunk *c;      /* of the first layer, or NULL */
	struct vms_ovl_piece *src[8]; /* per sector; NULL: zero (bit in zero) or base */
	uint8_t have;		      /* sectors that come from pieces */
	uint8_t zero;		      /* sectors that are zero */
	bool uncommitted;	      /* something newer is ordered */
	uint64_t newest_seq;	      /* newest committed seq in it; 0: none */
	uint64_t min_pos;	      /* lowest log position it needs; UINT64_MAX: none */
	uint64_t min_seq;	      /* lowest seq it needs; UINT64_MAX: none */
	vms_addr addr;		      /* address to hand out */
};
/* One layer alone. addr: valid when newest_seq. */
void vms_ovl_view(const struct vms_ovl *o, const struct vms_ovl_ext *e, uint16_t chunk,
		  uint64_t committed, struct vms_ovl_view *v);

/* The overlay's part of a stack, for one extent. */
struct vms_ovl_stack {
	unsigned n; /* 0: nothing of it is in the overlay */
	struct {
		struct vms_ovl_ext *e; /* newest; older ones hang behind it */
		uint16_t limit;	       /* chunks of the extent below it show */
	} l[1 + VMS_ANCESTORS_MAX];
};
void vms_ovl_stack(const struct vms_ovl *o, uint32_t partition, const struct vms_stack *st,
		   uint32_t extent, struct vms_ovl_stack *out);
/* The address by which gateways know the chunk whose page entry this is: a stub of
 * any layer may still hold the old one. */
vms_addr vms_ovl_handed(const struct vms_ovl *o, const struct vms_ovl_stack *s, uint16_t chunk,
			vms_addr entry);
/* entry: what the page of the whole stack says of the chunk; v->addr is what stands
 * for it when no layer has a piece. */
void vms_ovl_view_stack(const struct vms_ovl *o, const struct vms_ovl_stack *s, uint16_t chunk,
			uint64_t committed, vms_addr entry, struct vms_ovl_view *v);

/* Who has this log address: a piece, or a stub's chunk; NULL: nobody. */
struct vms_ovl_piece *vms_ovl_by_addr(const struct vms_ovl *o, vms_addr a);
struct vms_ovl_chunk *vms_ovl_by_stub(const struct vms_ovl *o, vms_addr a);

#endif
