/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The stream of export-diff and import-diff: what changed between two snapshots.
 * Authority: doc/diff-format.md. Encoding and decoding only; bytes come and go through
 * the caller's functions.
 *
 * A reader hands out only records whose checksum is right, and tells the end only when
 * counts and SHA-256 of the whole stream are right and nothing follows.
 */
#ifndef VMS_IMAGE_DIFF_H
#define VMS_IMAGE_DIFF_H

#include "include/err.h"
#include "include/types.h"

#define DIFF_HEADER_BYTES 512u
#define DIFF_RECORD_BYTES 32u
#define DIFF_END_BYTES	  56u
#define DIFF_DATA_MAX	  VMS_SUBEXT_BYTES
#define DIFF_VERSION	  1u

/* Bits that a reader does not know: of needed, it refuses the stream; of skip, it may
 * apply it, but has to skip records of types it does not know; of info, nothing. */
struct diff_header {
	uint64_t needed, skip, info;
	uint8_t volume_uuid[16];
	uint8_t from_uuid[16]; /* zeros: from nothing, all content is in the stream */
	uint8_t to_uuid[16];
	uint64_t from_bytes, to_bytes;	      /* sizes of the volume, multiples of 4096 */
	uint64_t created_s;		      /* of the "to" snapshot, for people */
	char volume[128], from[104], to[104]; /* names */
};

enum diff_type { DIFF_DATA = 1, DIFF_ZERO = 2, DIFF_END = 255 };
struct diff_record {
	uint8_t type;
	uint64_t offset, len;	/* DATA, ZERO: bytes of the volume, multiples of 4096 */
	uint32_t payload_bytes; /* DATA: len; ZERO: 0; END: DIFF_END_BYTES */
	uint32_t crc;		/* CRC32C of the payload */
};

bool diff_is_full(const struct diff_header *h);
void diff_header_encode(uint8_t out[DIFF_HEADER_BYTES], const struct diff_header *h);
/* VMS_E_CORRUPT, VMS_E_VERSION (a feature or version that is not known). */
int diff_header_decode(const uint8_t in[DIFF_HEADER_BYTES], struct diff_header *h,
		       struct vms_errmsg *msg);
void diff_record_encode(uint8_t out[DIFF_RECORD_BYTES], const struct diff_record *r);
int diff_record_decode(const uint8_t in[DIFF_RECORD_BYTES], struct diff_record *r);

struct diff_writer;
/* write: all of it or an error, with msg. */
typedef int (*diff_write_fn)(void *arg, const void *data, uint64_t len, struct vms_errmsg *msg);
int diff_writer_open(struct diff_writer **out, const struct diff_header *h, diff_write_fn write,
		     void *arg, struct vms_errmsg *msg);
void diff_writer_close(struct diff_writer *w);
/* Ascending, not overlapping. data: at most DIFF_DATA_MAX, within one 512 KiB block. */
int diff_writer_data(struct diff_writer *w, uint64_t offset, const uint8_t *data, uint64_t len,
		     struct vms_errmsg *msg);
/* Runs that touch are joined. */
int diff_writer_zero(struct diff_writer *w, uint64_t offset, uint64_t len, struct vms_errmsg *msg);
int diff_writer_end(struct diff_writer *w, struct vms_errmsg *msg);

struct diff_counts {
	uint64_t records, data_bytes, zero_bytes;
};
const struct diff_counts *diff_writer_counts(const struct diff_writer *w);

struct diff_reader;
/* read: fewer bytes at the end of the stream only; or an error, with msg. */
typedef int64_t (*diff_read_fn)(void *arg, void *buf, uint64_t len, struct vms_errmsg *msg);
int diff_reader_open(struct diff_reader **out, struct diff_header *h, diff_read_fn read, void *arg,
		     struct vms_errmsg *msg);
void diff_reader_close(struct diff_reader *r);
/* buf: DIFF_DATA_MAX, filled for DATA. 1: a record; 0: the end, all of it was right;
 * VMS_E_CORRUPT and others. */
int diff_reader_next(struct diff_reader *r, struct diff_record *rec, uint8_t *buf,
		     struct vms_errmsg *msg);
const struct diff_counts *diff_reader_counts(const struct diff_reader *r);

#endif
