/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Log records: the unit of order, replication and replay of a partition.
 * Authority: doc/disk-format.md "Records". The same bytes travel in REPLICATE
 * and CATCHUP and lie in every replica's log.
 */
#ifndef VMS_RECORD_H
#define VMS_RECORD_H

#include "include/types.h"
#include "include/wire.h"

#define VMS_REC_HEADER_BYTES 120u
#define VMS_REC_BYTES_MAX    (6u << 20)

enum vms_rec_type {
	VMS_REC_WRITE = 1,	 /* meta: pieces (wire encoding); payload: their sectors */
	VMS_REC_ZERO = 2,	 /* meta: pieces; no payload */
	VMS_REC_OUTCOME = 3,	 /* an op that changed nothing (miscompare): keeps its outcome */
	VMS_REC_DRAIN = 4,	 /* meta: what was drained to where */
	VMS_REC_SWEEP = 5,	 /* meta: container numbers that die */
	VMS_REC_REMAP = 6,	 /* meta: moved chunks, old address to new address */
	VMS_REC_CTR_OPEN = 7,	 /* meta: u64 container number */
	VMS_REC_CTR_SEAL = 8,	 /* meta: u64 container number, u64 length */
	VMS_REC_VIEW = 9,	 /* view change: voids what lies beyond first seq */
	VMS_REC_CEILING = 10,	 /* meta: u64 log positions may be handed out below this */
	VMS_REC_TRIM = 11,	 /* branch, extent, aux = first chunk dropped */
	VMS_REC_NODE_FLOOR = 12, /* partition NONE: floors of this node (branch or gateway) */
	VMS_REC_MARK = 13,	 /* reserved: collection round */
	VMS_REC_FLOOR = 14,	 /* reserved: floor in the partition's sequence */
	VMS_REC_COPY = 15,	 /* log internal: records copied forward, see wal.h */
	VMS_REC_REFS = 16,	 /* like WRITE, but the chunks are named by address */
	VMS_REC_DROP = 17,	 /* meta: index pages that no snapshot or volume can see */
	VMS_REC_SHARE = 18,  /* meta: containers that other partitions may refer to from now on */
	VMS_REC_PUNCH = 19,  /* meta: chunk places of a container that die */
	VMS_REC_DIGEST = 20, /* replicas compare what they hold at this seq (digest.c) */
};

/* vms_move.flags */
enum vms_move_flags {
	VMS_MOVE_RANGE =
		1, /* stands for `crc` chunks from `chunk` on, which a ZERO range made holes */
	VMS_MOVE_REF = 2,  /* `to` is an address that exists already, maybe of another
			      partition: nothing is copied, it takes no place */
	VMS_MOVE_COPY = 4, /* REMAP: the chunk is copied, no page changes; all before
			      valid is 0 */
};

enum vms_rec_flags {
	VMS_RF_MEMORY = 1,   /* write_ack=memory: acknowledged before it was durable */
	VMS_RF_INTERNAL = 2, /* may use reserved log space; durable before it counts */
};

/* TRIM: aux holds the first chunk and this: pages stay, only what is not drained
 * goes. */
#define VMS_TRIM_OVERLAY 0x80000000u

struct vms_rec {
	uint8_t type;
	uint8_t flags;
	uint32_t partition;
	uint64_t epoch; /* epoch it was first ordered in */
	uint64_t seq;	/* contiguous per partition, from 1 */
	uint64_t branch;
	uint64_t snap_gen;
	uint32_t extent;
	uint32_t aux;
	uint64_t first_pos;   /* log position (chunks) of the first DATA piece */
	struct vms_opid op;   /* gateway 0: none */
	int32_t outcome;      /* status answered for op */
	uint32_t outcome_aux; /* miscompare offset */
	uint32_t meta_bytes;
	uint32_t payload_bytes;
	const uint8_t *meta; /* decode: borrowed from the record's bytes */
	const uint8_t *payload;
};

static inline uint32_t vms_rec_bytes(uint32_t meta_bytes, uint32_t payload_bytes)
{
	return (VMS_REC_HEADER_BYTES + meta_bytes + payload_bytes + 7u) & ~7u;
}

/* Encode header + meta + payload (gathered from iov, payload_bytes in all) into
 * out, which has vms_rec_bytes() room; pads with zeros to 8. The header CRC
 * covers header and meta; the payload is covered by the pieces' CRCs in meta.
 * Returns crc gone on with over all of out. */
uint32_t vms_rec_encode(const struct vms_rec *r, const struct vms_iov *payload, unsigned n,
			uint8_t *out, uint32_t crc);
/* Decode the record at p (at most len bytes). Returns its total bytes (with
 * padding) or VMS_E_CORRUPT. check_payload: verify the pieces' CRCs of WRITE. */
int64_t vms_rec_decode(const uint8_t *p, size_t len, struct vms_rec *r, bool check_payload);

/* Meta of WRITE and ZERO: u32 n, u32 0, then n pieces in wire encoding. */
unsigned vms_rec_pieces_bytes(unsigned n);
void vms_rec_pieces_encode(uint8_t *out, const struct vms_piece *p, unsigned n);
int vms_rec_pieces_decode(const struct vms_rec *r, struct vms_piece *p, unsigned room);

/* Meta of DRAIN and REMAP: u32 n, u32 0, then n entries of 48 bytes; with
 * VMS_MOVES_FP in aux then n fingerprints of 32 bytes (zeros: not known). The
 * chunks of a record lie in one container; their entries ascend by `to`. Holes
 * and references (VMS_MOVE_REF) take no place and may stand anywhere. */
struct vms_move {
	uint64_t branch;
	uint64_t snap_gen;
	uint32_t extent;
	uint16_t chunk;	   /* in the extent */
	uint8_t valid;	   /* sector mask; 0xff unless a base was unreadable */
	uint8_t flags;	   /* enum vms_move_flags */
	uint32_t crc;	   /* CRC32C of the 4096 bytes at `to`; 0 for a hole */
	uint64_t from_seq; /* DRAIN: newest seq merged in. REMAP: old address */
	vms_addr to;	   /* new address, or VMS_ADDR_HOLE */
	bool has_fp;	   /* fingerprint known; never for holes */
	uint8_t fp[32];	   /* SHA-256, salted as the branch says */
};
#define VMS_MOVE_BYTES	   48u
#define VMS_MOVE_FP_BYTES  32u
#define VMS_MOVES_FP	   1u /* record's aux: fingerprints follow the entries */
#define VMS_MOVES_META_MAX (8 + (VMS_MOVE_BYTES + VMS_MOVE_FP_BYTES) * 64u)

/* Does it name a chunk whose bytes the record puts there? */
static inline bool vms_move_placed(const struct vms_move *m)
{
	return m->to != VMS_ADDR_HOLE && !(m->flags & VMS_MOVE_REF);
}
/* Encode into meta (VMS_MOVES_META_MAX for 64 moves) and set meta, meta_bytes and
 * aux of r; with fingerprints when any move has one. */
void vms_rec_moves_put(struct vms_rec *r, uint8_t *meta, const struct vms_move *m, unsigned n);
unsigned vms_rec_moves_bytes(unsigned n); /* without fingerprints */
void vms_rec_moves_encode(uint8_t *out, const struct vms_move *m, unsigned n);
int vms_rec_moves_decode(const struct vms_rec *r, struct vms_move *m, unsigned room);

/* First chunk of the branch that a TRIM takes away. */
static inline uint64_t vms_rec_trim_first(const struct vms_rec *r)
{
	return (uint64_t)r->extent * VMS_EXTENT_CHUNKS + (r->aux & ~VMS_TRIM_OVERLAY);
}

/* Meta of DROP: u32 n, u32 0, then n index pages, each named exactly. */
struct vms_drop {
	uint64_t branch;
	uint64_t snap_gen;
	uint32_t subext;
};
#define VMS_DROP_BYTES	   24u
#define VMS_DROPS_MAX	   128u
#define VMS_DROPS_META_MAX (8u + VMS_DROPS_MAX * VMS_DROP_BYTES)
/* meta has room for VMS_DROPS_META_MAX; sets meta and meta_bytes of r. */
void vms_rec_drops_put(struct vms_rec *r, uint8_t *meta, const struct vms_drop *d, unsigned n);
/* Their number, or VMS_E_CORRUPT: malformed or more than VMS_DROPS_MAX. */
int vms_rec_drops_decode(const struct vms_rec *r, struct vms_drop *d);

/* Meta of VIEW: u64 epoch, u64 first seq, u32 n, then n members: u32 node, u64 incarnation.
 * False: malformed, v->n is 0. */
bool vms_rec_view_decode(const struct vms_rec *r, struct vms_view *v);

/* Meta of PUNCH: u64 container, u32 n, u32 0, then n segments of it with the chunk
 * places in them that die, ascending. */
struct vms_punch {
	uint32_t seg;
	uint64_t places;
};
#define VMS_PUNCH_BYTES 16u
#define VMS_PUNCHES_MAX 8192u
/* meta has room for 16 + n * VMS_PUNCH_BYTES; sets meta and meta_bytes of r. */
void vms_rec_punch_put(struct vms_rec *r, uint8_t *meta, uint64_t container,
		       const struct vms_punch *d, unsigned n);
/* Number of segments, or VMS_E_CORRUPT. */
int vms_rec_punch_decode(const struct vms_rec *r, uint64_t *container, struct vms_punch *d,
			 unsigned room);

#endif
