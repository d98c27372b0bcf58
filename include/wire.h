/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire protocol between gateways, storage nodes, catalog and tools.
 * Authority: doc/wire-format.md. Codec: cluster/msg.c.
 *
 * A frame is a 128-byte header, a body (type-specific, little-endian) and a
 * payload (bulk data). All fencing fields sit in the header, so that every op
 * carries them (rules "Nothing late").
 */
#ifndef VMS_WIRE_H
#define VMS_WIRE_H

#include "include/err.h"
#include "include/types.h"

#define VMS_WIRE_MAGIC		    0x31534d56u /* "VMS1" */
#define VMS_WIRE_VERSION	    1
#define VMS_FRAME_HEADER_BYTES	    128u
#define VMS_FRAME_BODY_BYTES_MAX    (256u << 10)
#define VMS_FRAME_PAYLOAD_BYTES_MAX (4u << 20)

/* Numbers are reserved for good; what a process does not serve it answers
 * with VMS_E_UNSUPPORTED. */
enum vms_msg_type {
	VMS_MSG_HELLO = 1,
	VMS_MSG_TICK = 2,
	VMS_MSG_OPEN = 3, /* OPEN/CLOSE of a volume at a node, bitmap of its extents */
	VMS_MSG_GET_PAGES = 4,
	VMS_MSG_READ_ADDR = 5,
	VMS_MSG_READ_LBA = 6,
	VMS_MSG_WRITE = 7,
	VMS_MSG_FLUSH = 8,
	VMS_MSG_INVALIDATE = 9,
	VMS_MSG_PAGE_UPDATE = 10,
	VMS_MSG_REPLICATE = 11,
	VMS_MSG_DRAIN = 12,
	VMS_MSG_CHECKPOINT = 13,
	VMS_MSG_CATCHUP = 14,
	VMS_MSG_DIGEST = 15,
	VMS_MSG_HOOK_LOOKUP = 16,
	VMS_MSG_LIST_FETCH = 17,
	VMS_MSG_MARK = 18,
	VMS_MSG_SWEEP = 19,
	VMS_MSG_REMAP = 20,
	VMS_MSG_CONFIRM = 21,
	VMS_MSG_FLOOR = 22,
	VMS_MSG_BARRIER = 23,
	VMS_MSG_LEASE = 24,
	VMS_MSG_CANCEL = 25,
	VMS_MSG_WRITE_REF = 26,
	VMS_MSG_REPAIR = 27,
	VMS_MSG_TRIM = 28,	 /* drop a branch's tail: delete, shrink */
	VMS_MSG_VIEW_STATE = 29, /* view change: what does a member hold? */
	VMS_MSG_HOOK_ADD = 30,	 /* dedup: hooks of a sealed container */
	VMS_MSG_CAT_GET = 32,
	VMS_MSG_CAT_RANGE = 33,
	VMS_MSG_CAT_TXN = 34,
	VMS_MSG_CAT_WATCH = 35,
	VMS_MSG_CAT_UNWATCH = 36,
	VMS_MSG_CAT_EVENT = 37,
	VMS_MSG_CAT_SESSION_OPEN = 38,
	VMS_MSG_CAT_SESSION_RENEW = 39,
	VMS_MSG_CAT_SESSION_CLOSE = 40,
	VMS_MSG_CAT_STATUS = 41,
	VMS_MSG_STATS = 48,
	VMS_MSG_ADMIN = 49,
	VMS_MSG_MATCH_POLL = 50,  /* dedup in the background: anything new? */
	VMS_MSG_MATCH_PULL = 51,  /* chunks of a slice of the fingerprint space */
	VMS_MSG_MATCH_PAIRS = 52, /* duplicates and other copies */
	VMS_MSG_MATCH_REMAP = 53, /* the same, confirmed, for the pages of others */
	VMS_MSG_LEARN = 54,	  /* a copy of a partition is made on another node */
	VMS_MSG_OUT_QUERY = 55,	  /* may a copy that is not in the set go? */
	VMS_MSG_OWN = 56,	  /* which pages of a clone are its own? */
	VMS_MSG_TYPE_MAX = 63,
};

enum vms_msg_flags {
	VMS_F_REPLY = 1 << 0,	    /* answer to the frame with the same req_id */
	VMS_F_FUA = 1 << 1,	    /* WRITE: durable on all in-sync replicas before the reply */
	VMS_F_MEMORY = 1 << 2,	    /* WRITE: write_ack=memory */
	VMS_F_PAYLOAD_CRC = 1 << 3, /* header.payload_crc covers the payload; without it
				       the body's per-piece CRCs do */
	VMS_F_RETRY = 1 << 4,	    /* the op may have been ordered before */
	VMS_F_CLOSE = 1 << 5,	    /* OPEN: this is a CLOSE */
	VMS_F_FINAL = 1 << 6,	    /* GET_PAGES reply: pages are final */
};

/* Flags of a page in GET_PAGES' answer. */
enum vms_page_flags {
	VMS_PAGE_EMPTY = 1 << 0,  /* it has no entries */
	VMS_PAGE_SHARED = 1 << 1, /* nothing in it is the branch's own: it is its ancestors' */
};
/* OWN: extents in one request; bytes each in request and answer. */
#define VMS_OWN_MAX	    512u
#define VMS_OWN_ASK_BYTES   16u
#define VMS_OWN_REPLY_BYTES 4u

/* INVALIDATE: chunks that are named one by one. More than that, and pages go as a whole. */
#define VMS_INVAL_RUN_BYTES 4u
#define VMS_INVAL_RUNS_MAX  64u
struct vms_inval_run {
	uint16_t chunk; /* first chunk in the extent */
	uint16_t count;
};

enum vms_role { VMS_ROLE_NODE = 1, VMS_ROLE_GATEWAY = 2, VMS_ROLE_TOOL = 3, VMS_ROLE_CATALOG = 4 };

/* One frame, decoded. Strings of bytes are borrowed: for received frames they
 * point into the receive buffer and live until the handler returns; for frames
 * to be sent they live until the send call returns (the sink copies or queues
 * its own copy). `payload` is a gather list for sending; a received frame has
 * npayload <= 1. */
struct vms_msg {
	uint8_t type; /* enum vms_msg_type */
	uint16_t flags;
	int32_t status;		   /* replies: 0 or VMS_E_* */
	uint64_t req_id;	   /* chosen by the requester, echoed; 0: no reply wanted */
	uint32_t partition;	   /* VMS_PART_NONE: not about one partition */
	uint64_t epoch;		   /* epoch of that partition the sender knows */
	uint32_t sender;	   /* node id or gateway id */
	uint64_t incarnation;	   /* of the sending process */
	uint32_t slot;		   /* op id, with sender and incarnation */
	uint64_t sequence;	   /* op id; in replies of WRITE the partition's record seq */
	uint64_t tick;		   /* tick held from that node before the command was read */
	uint64_t tick_incarnation; /* node incarnation that issued that tick */
	uint64_t branch;
	uint64_t snap_gen;
	uint64_t lun_fence;
	uint32_t extent; /* extent number in the branch */
	uint32_t aux;	 /* meaning per type, doc/wire-format.md */
	uint32_t body_bytes;
	uint32_t payload_crc; /* valid with VMS_F_PAYLOAD_CRC */
	const uint8_t *body;
	uint64_t payload_bytes; /* sum of payload[] */
	const struct vms_iov *payload;
	unsigned npayload;
};

/* WRITE body: u8 kind, u8 0, u16 npieces, u32 0, then the pieces. */
enum vms_write_kind {
	VMS_WRITE_DATA = 1,    /* payload: the masked sectors of each piece, in order */
	VMS_WRITE_ZERO = 2,    /* no payload; pieces may cover count > 1 chunks */
	VMS_WRITE_CAW = 3,     /* payload: sectors to verify, then sectors to write */
	VMS_WRITE_ORWRITE = 4, /* payload: sectors to OR in */
	VMS_WRITE_REF = 5,     /* whole chunks by fingerprint; payload: 32 bytes each */
	VMS_WRITE_COPY = 6,    /* whole chunks by address (in a container of any partition);
				  payload: 8 bytes each */
};
struct vms_piece {
	uint16_t chunk; /* first chunk in the extent, 0..1023 */
	uint16_t count; /* chunks; 1 for everything but ZERO */
	uint8_t mask;	/* sectors of the chunk; VMS_MASK_FULL when count > 1 */
	uint8_t flags;	/* 0 */
	uint32_t crc;	/* CRC32C of this piece's payload bytes (CAW: of its write half);
			   0 for ZERO and COPY */
};
#define VMS_PIECE_BYTES		12u
#define VMS_WRITE_BODY_BYTES(n) (8u + (n)*VMS_PIECE_BYTES)
#define VMS_WRITE_PIECES_MAX	1024u

static inline unsigned vms_mask_sectors(uint8_t mask)
{
	return (unsigned)__builtin_popcount(mask);
}

/* Encode the header of m (body_bytes, payload_bytes filled in, CRCs computed)
 * into hdr[VMS_FRAME_HEADER_BYTES]; the caller sends hdr, body, payload.
 * With VMS_F_PAYLOAD_CRC in flags the payload CRC is computed here. */
void vms_msg_encode_header(const struct vms_msg *m, uint8_t *hdr);

/* How long is the frame that starts here? Returns the total bytes, 0 when
 * fewer than VMS_FRAME_HEADER_BYTES are given, VMS_E_PROTO on bad magic,
 * version or lengths. */
int64_t vms_msg_frame_bytes(const uint8_t *p, size_t len);

/* Decode one whole frame of exactly len bytes. iov: storage for the payload
 * entry, m borrows p and iov. VMS_E_PROTO (malformed), VMS_E_CORRUPT (CRC). */
int vms_msg_decode(const uint8_t *p, size_t len, struct vms_msg *m, struct vms_iov *iov);

/* The header alone, to answer by later: body and payload are borrowed. */
struct vms_msg vms_msg_head(const struct vms_msg *m);
/* Start a reply to req: type, req_id, partition, epoch, branch, extent are
 * echoed, VMS_F_REPLY set; the op id is echoed too. */
void vms_msg_reply_init(struct vms_msg *re, const struct vms_msg *req, int status);

/* WRITE body. encode: out has VMS_WRITE_BODY_BYTES(n). decode: validates
 * order (ascending, not overlapping), ranges, masks and the payload length;
 * pieces[] has room for VMS_WRITE_PIECES_MAX. Returns the number of pieces or
 * VMS_E_PROTO. */
void vms_write_body_encode(uint8_t *out, uint8_t kind, const struct vms_piece *pieces, unsigned n);
int vms_write_body_decode(const struct vms_msg *m, uint8_t *kind, struct vms_piece *pieces);

/* INVALIDATE body: runs of chunks, ascending and apart, all in sub-extents that aux names.
 * out has n * VMS_INVAL_RUN_BYTES. decode: run[] has room for VMS_INVAL_RUNS_MAX; the number
 * of runs, 0: whole pages, or VMS_E_PROTO. */
void vms_inval_encode(uint8_t *out, const struct vms_inval_run *run, unsigned n);
int vms_inval_decode(const struct vms_msg *m, struct vms_inval_run *run);

/* HELLO body. */
struct vms_hello {
	uint8_t role; /* enum vms_role */
	uint8_t version_min, version_max;
	uint64_t features;
	uint8_t cluster_uuid[16];
	char name[64];	  /* NUL-terminated */
	char address[64]; /* host:port the sender listens on, or empty */
};
#define VMS_HELLO_BODY_BYTES_MAX 192u
unsigned vms_hello_encode(uint8_t *out, const struct vms_hello *h);
int vms_hello_decode(const struct vms_msg *m, struct vms_hello *h);

const char *vms_msg_type_name(uint8_t type);

#endif
