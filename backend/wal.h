/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Write-ahead log of one node: one sequential stream shared by all partitions,
 * one group commit, recycled in place. Sans-I/O over vms_disk.
 *
 * The whole log is mirrored in a ring buffer of the same size: records are
 * built there, written from there, and overlay entries point into it, so a
 * write is copied once. Memory of the log = its size on disk.
 *
 * Position: a byte counter that only grows (log_pos); file offset = superblock
 * area + log_pos % ring size. A *frame* is what one disk write carries: header
 * (generation, frame seq, its predecessor's, position, CRC) and records, padded
 * to 4096; neither a frame nor a record wraps around the end of the ring. Recycled
 * bytes are told from new ones by the frame seq, which never repeats.
 *
 * Generations cut the stream (size_max, a quarter of the log, age, or asked).
 * Oldest first they are freed, once the owner says that everything in them is
 * drained and checkpointed. The tail (first generation still needed) is stored
 * by the owner in the same meta_commit as the checkpoint (vms_wal_tail()).
 *
 * Internal records may use the reserve that client records cannot take.
 * Keeps invariants 1, 27, 28.
 */
#ifndef VMS_WAL_H
#define VMS_WAL_H

#include "backend/record.h"
#include "include/disk.h"

struct vms_wal;

struct vms_wal_conf {
	uint64_t gen_bytes_max; /* 0: a quarter of the log */
	uint64_t gen_age_ms;	/* 0: 600 000 */
	uint64_t reserve_bytes; /* for internal records; 0: 1/8 of the log */
	uint64_t node_id;	/* in the superblock: a foreign log is refused */
	uint8_t cluster_uuid[16];
};

/* Where a record lies. */
struct vms_rec_ref {
	uint64_t log_pos;
	uint32_t bytes;
};

/* Format an empty log (superblock; zeroes nothing else). Start-up only. */
int vms_wal_format(const struct vms_disk *disk, const struct vms_wal_conf *conf);

/* Open: allocate the ring, read the log from `tail` (0,0 on a fresh log; else
 * as stored by the last checkpoint) and hand each intact record, in log order,
 * to replay() (its first error ends the open); stops at the first frame that is
 * not the next one. What was torn or lost without having been durable is
 * dropped. VMS_E_CORRUPT when both superblocks are damaged or foreign, or when a
 * frame is damaged that a later one knows to have been durable. All that was
 * replayed is durable; appends go to a new generation. */
struct vms_wal_tail {
	uint64_t log_pos;
	uint64_t frame_seq; /* of the last frame before log_pos */
	uint64_t generation;
};
typedef int (*vms_wal_replay_fn)(void *arg, const struct vms_rec *r, struct vms_rec_ref ref,
				 uint64_t generation);
int vms_wal_open(struct vms_wal **w, const struct vms_disk *disk, const struct vms_wal_conf *conf,
		 const struct vms_wal_tail *tail, vms_wal_replay_fn replay, void *arg,
		 struct vms_errmsg *msg);
void vms_wal_close(struct vms_wal *w);

/* Append one record to the open frame (in memory only). internal: may use the
 * reserve. Returns 0, VMS_E_FULL (no room: free generations first),
 * VMS_E_INVAL (larger than vms_wal_record_bytes_max()) or VMS_E_POISONED. The record's bytes stay
 * valid at vms_wal_ptr() until its generation is freed. */
int vms_wal_append(struct vms_wal *w, const struct vms_rec *r, const struct vms_iov *payload,
		   unsigned n, bool internal, struct vms_rec_ref *ref);
/* The same for a record already encoded (REPLICATE, CATCHUP). */
int vms_wal_append_raw(struct vms_wal *w, const uint8_t *rec, uint32_t bytes, bool internal,
		       struct vms_rec_ref *ref);
const uint8_t *vms_wal_ptr(const struct vms_wal *w, uint64_t log_pos);

/* Write what has been appended, if no log write is in flight (else it goes out
 * when that one ends: group commit). sync: wanted by some record since the last
 * call. now_ms drives generation age. Token: see vms_wal_event. */
void vms_wal_submit(struct vms_wal *w, bool sync, uint64_t now_ms);
/* True if the event's token was the log's. */
bool vms_wal_event(struct vms_wal *w, const struct vms_disk_event *ev, uint64_t now_ms);
/* Bytes of the log that no write has begun for. */
uint64_t vms_wal_unwritten_bytes(const struct vms_wal *w);
uint64_t vms_wal_appended_pos(const struct vms_wal *w); /* end of the last record */
uint64_t vms_wal_durable_pos(const struct vms_wal *w);	/* all below is durable */
bool vms_wal_poisoned(const struct vms_wal *w);
/* Tokens used by the log have this bit set; the owner keeps it clear. */
#define VMS_WAL_TOKEN (1ull << 63)

/* Generations. The open one has the highest number. */
uint64_t vms_wal_gen_open(const struct vms_wal *w);
uint64_t vms_wal_gen_oldest(const struct vms_wal *w);
void vms_wal_gen_seal(struct vms_wal *w); /* next append starts a new one */
/* First log_pos of a generation that is still in the log, or of the next one. */
uint64_t vms_wal_gen_start_pos(const struct vms_wal *w, uint64_t generation);
uint64_t vms_wal_pos_gen(const struct vms_wal *w, uint64_t log_pos);
/* The tail that will hold once all generations up to `generation` are freed. */
struct vms_wal_tail vms_wal_tail_after(const struct vms_wal *w, uint64_t generation);
/* Free all generations up to this one; call after the checkpoint that stored
 * vms_wal_tail_after() is durable. */
void vms_wal_gen_free(struct vms_wal *w, uint64_t generation);

uint64_t vms_wal_used_bytes(const struct vms_wal *w);
uint64_t vms_wal_room_bytes(const struct vms_wal *w); /* for client records */
uint64_t vms_wal_free_bytes(const struct vms_wal *w); /* with the reserve */
/* Generations that begin from now on are no longer than that, if more was allowed. When
 * one is sealed does not change by it: what is sealed at once may be several. */
void vms_wal_gen_limit(struct vms_wal *w, uint64_t bytes);
/* Up to here all is sealed, by size, age or vms_wal_gen_seal(). */
uint64_t vms_wal_sealed_pos(const struct vms_wal *w);
uint64_t vms_wal_size_bytes(const struct vms_wal *w);
uint32_t vms_wal_record_bytes_max(const struct vms_wal *w); /* larger ones: VMS_E_INVAL */

#endif
