// SPDX-License-Identifier: GPL-2.0-only
#include "utils/image/diff.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define MAGIC	     "VMSDIFF1"
#define HEADER_CRC   508u
#define RECORD_CRC   28u
#define KNOWN_NEEDED 0ull
#define TYPE_SKIP    128u /* types from here on (but END) may be skipped */

static const uint8_t zeros[16];

bool diff_is_full(const struct diff_header *h)
{
	return !memcmp(h->from_uuid, zeros, 16);
}

/* ---- header ---- */

static void put_name(struct vms_wr *w, const char *name, size_t room)
{
	size_t n = strnlen(name, room - 1);

	vms_wr_bytes(w, name, n);
	vms_wr_zero(w, room - n);
}

void diff_header_encode(uint8_t out[DIFF_HEADER_BYTES], const struct diff_header *h)
{
	struct vms_wr w;

	vms_wr_init(&w, out, DIFF_HEADER_BYTES);
	vms_wr_bytes(&w, MAGIC, 8);
	vms_wr_u16(&w, DIFF_VERSION);
	vms_wr_u16(&w, DIFF_HEADER_BYTES);
	vms_wr_u32(&w, VMS_CHUNK_BYTES);
	vms_wr_u64(&w, h->needed);
	vms_wr_u64(&w, h->skip);
	vms_wr_u64(&w, h->info);
	vms_wr_bytes(&w, h->volume_uuid, 16);
	vms_wr_bytes(&w, h->from_uuid, 16);
	vms_wr_bytes(&w, h->to_uuid, 16);
	vms_wr_u64(&w, h->from_bytes);
	vms_wr_u64(&w, h->to_bytes);
	vms_wr_u64(&w, h->created_s);
	put_name(&w, h->volume, sizeof(h->volume));
	put_name(&w, h->from, sizeof(h->from));
	put_name(&w, h->to, sizeof(h->to));
	vms_wr_zero(&w, vms_wr_left(&w));
	vms_assert(vms_wr_ok(&w));
	vms_put_le32(out + HEADER_CRC, vms_crc32c(0, out, HEADER_CRC));
}

/* Printable, ended, and nothing behind the end. */
static bool get_name(struct vms_rd *r, char *name, size_t room)
{
	const uint8_t *p = vms_rd_take(r, room);
	size_t n = p ? strnlen((const char *)p, room) : room;

	if (n == room)
		return false;
	for (size_t i = 0; i < room; i++)
		if (i < n ? p[i] <= ' ' || p[i] > '~' : p[i] != 0)
			return false;
	memcpy(name, p, room);
	return true;
}

static bool size_ok(uint64_t bytes)
{
	return bytes % VMS_CHUNK_BYTES == 0 && bytes <= VMS_VOL_BYTES_MAX;
}

int diff_header_decode(const uint8_t in[DIFF_HEADER_BYTES], struct diff_header *h,
		       struct vms_errmsg *msg)
{
	uint16_t version, header_bytes;
	uint32_t chunk_bytes;
	struct vms_rd r;
	bool ok;

	memset(h, 0, sizeof(*h));
	vms_rd_init(&r, in, HEADER_CRC);
	if (memcmp(vms_rd_take(&r, 8), MAGIC, 8))
		return vms_fail(msg, VMS_E_CORRUPT, "this is no stream of vmstore export-diff");
	if (vms_get_le32(in + HEADER_CRC) != vms_crc32c(0, in, HEADER_CRC))
		return vms_fail(msg, VMS_E_CORRUPT, "the stream's header is damaged");
	version = vms_rd_u16(&r);
	header_bytes = vms_rd_u16(&r);
	chunk_bytes = vms_rd_u32(&r);
	h->needed = vms_rd_u64(&r);
	h->skip = vms_rd_u64(&r);
	h->info = vms_rd_u64(&r);
	if (version != DIFF_VERSION || header_bytes != DIFF_HEADER_BYTES ||
	    chunk_bytes != VMS_CHUNK_BYTES || h->needed & ~KNOWN_NEEDED)
		return vms_fail(msg, VMS_E_VERSION,
				"the stream has version %u and features %#" PRIx64
				", which this program does not know",
				version, h->needed);
	vms_rd_bytes(&r, h->volume_uuid, 16);
	vms_rd_bytes(&r, h->from_uuid, 16);
	vms_rd_bytes(&r, h->to_uuid, 16);
	h->from_bytes = vms_rd_u64(&r);
	h->to_bytes = vms_rd_u64(&r);
	h->created_s = vms_rd_u64(&r);
	ok = get_name(&r, h->volume, sizeof(h->volume));
	ok &= get_name(&r, h->from, sizeof(h->from));
	ok &= get_name(&r, h->to, sizeof(h->to));
	ok &= size_ok(h->from_bytes) && size_ok(h->to_bytes) && h->to_bytes && h->volume[0] &&
	      h->to[0] && memcmp(h->to_uuid, zeros, 16) && diff_is_full(h) == !h->from[0] &&
	      diff_is_full(h) == !h->from_bytes;
	return ok ? 0 : vms_fail(msg, VMS_E_CORRUPT, "the stream's header holds impossible values");
}

/* ---- records ---- */

void diff_record_encode(uint8_t out[DIFF_RECORD_BYTES], const struct diff_record *r)
{
	memset(out, 0, DIFF_RECORD_BYTES);
	out[0] = r->type;
	vms_put_le32(out + 4, r->payload_bytes);
	vms_put_le64(out + 8, r->offset);
	vms_put_le64(out + 16, r->len);
	vms_put_le32(out + 24, r->crc);
	vms_put_le32(out + RECORD_CRC, vms_crc32c(0, out, RECORD_CRC));
}

int diff_record_decode(const uint8_t in[DIFF_RECORD_BYTES], struct diff_record *r)
{
	bool ok;

	r->type = in[0];
	r->payload_bytes = vms_get_le32(in + 4);
	r->offset = vms_get_le64(in + 8);
	r->len = vms_get_le64(in + 16);
	r->crc = vms_get_le32(in + 24);
	if (vms_get_le32(in + RECORD_CRC) != vms_crc32c(0, in, RECORD_CRC))
		return VMS_E_CORRUPT;
	ok = !in[1] && !in[2] && !in[3];
	switch (r->type) {
	case DIFF_DATA:
		ok &= r->payload_bytes == r->len && r->len <= DIFF_DATA_MAX && r->len &&
		      r->offset / VMS_SUBEXT_BYTES == (r->offset + r->len - 1) / VMS_SUBEXT_BYTES;
		break;
	case DIFF_ZERO:
		ok &= !r->payload_bytes && !r->crc && r->len;
		break;
	case DIFF_END:
		ok &= r->payload_bytes == DIFF_END_BYTES && !r->offset && !r->len;
		break;
	default:
		return ok && r->type >= TYPE_SKIP && r->payload_bytes <= DIFF_DATA_MAX
			       ? 0
			       : VMS_E_CORRUPT;
	}
	if (r->type != DIFF_END)
		ok &= size_ok(r->offset) && size_ok(r->len);
	return ok ? 0 : VMS_E_CORRUPT;
}

/* What both sides keep about the stream so far. */
struct sums {
	EVP_MD_CTX *sha;
	struct diff_counts n;
	uint64_t next;	/* the next record begins here or later */
	uint64_t bytes; /* of the volume */
};

static void sums_open(struct sums *s, uint64_t bytes)
{
	memset(s, 0, sizeof(*s));
	s->bytes = bytes;
	s->sha = EVP_MD_CTX_new();
	vms_assert(s->sha && EVP_DigestInit_ex(s->sha, EVP_sha256(), NULL) == 1);
}

static void sums_add(struct sums *s, const void *data, uint64_t len)
{
	vms_assert(EVP_DigestUpdate(s->sha, data, len) == 1);
}

/* Is it in order, and within the volume? */
static bool sums_record(struct sums *s, const struct diff_record *r)
{
	s->n.records++;
	if (r->type != DIFF_DATA && r->type != DIFF_ZERO)
		return true;
	if (r->offset < s->next || r->offset > s->bytes || r->len > s->bytes - r->offset)
		return false;
	s->next = r->offset + r->len;
	if (r->type == DIFF_DATA)
		s->n.data_bytes += r->len;
	else
		s->n.zero_bytes += r->len;
	return true;
}

/* Payload of the END record. */
static void sums_end(struct sums *s, uint8_t out[DIFF_END_BYTES])
{
	unsigned n = 0;

	vms_put_le64(out, s->n.records);
	vms_put_le64(out + 8, s->n.data_bytes);
	vms_put_le64(out + 16, s->n.zero_bytes);
	vms_assert(EVP_DigestFinal_ex(s->sha, out + 24, &n) == 1 && n == 32);
}

/* ---- writer ---- */

struct diff_writer {
	diff_write_fn write;
	void *arg;
	struct sums s;
	uint64_t zero_at, zero_len; /* a run that may go on */
};

static int emit(struct diff_writer *w, const void *data, uint64_t len, struct vms_errmsg *msg)
{
	sums_add(&w->s, data, len);
	return w->write(w->arg, data, len, msg);
}

int diff_writer_open(struct diff_writer **out, const struct diff_header *h, diff_write_fn write,
		     void *arg, struct vms_errmsg *msg)
{
	struct diff_writer *w = calloc(1, sizeof(*w));
	uint8_t head[DIFF_HEADER_BYTES];
	int rc;

	vms_assert(w);
	w->write = write;
	w->arg = arg;
	sums_open(&w->s, h->to_bytes);
	diff_header_encode(head, h);
	rc = emit(w, head, sizeof(head), msg);
	if (rc)
		diff_writer_close(w);
	else
		*out = w;
	return rc;
}

void diff_writer_close(struct diff_writer *w)
{
	if (!w)
		return;
	EVP_MD_CTX_free(w->s.sha);
	free(w);
}

static int put_record(struct diff_writer *w, struct diff_record *r, const uint8_t *data,
		      struct vms_errmsg *msg)
{
	uint8_t head[DIFF_RECORD_BYTES];
	int rc;

	r->crc = r->payload_bytes ? vms_crc32c(0, data, r->payload_bytes) : 0;
	diff_record_encode(head, r);
	vms_assert(!diff_record_decode(head, r) && sums_record(&w->s, r));
	rc = emit(w, head, sizeof(head), msg);
	return rc || !r->payload_bytes ? rc : emit(w, data, r->payload_bytes, msg);
}

static int put_zeros(struct diff_writer *w, struct vms_errmsg *msg)
{
	struct diff_record r = {.type = DIFF_ZERO, .offset = w->zero_at, .len = w->zero_len};

	if (!w->zero_len)
		return 0;
	w->zero_len = 0;
	return put_record(w, &r, NULL, msg);
}

int diff_writer_data(struct diff_writer *w, uint64_t offset, const uint8_t *data, uint64_t len,
		     struct vms_errmsg *msg)
{
	struct diff_record r = {
		.type = DIFF_DATA, .offset = offset, .len = len, .payload_bytes = (uint32_t)len};
	int rc = put_zeros(w, msg);

	return rc ? rc : put_record(w, &r, data, msg);
}

int diff_writer_zero(struct diff_writer *w, uint64_t offset, uint64_t len, struct vms_errmsg *msg)
{
	int rc = 0;

	if (w->zero_len && w->zero_at + w->zero_len == offset) {
		w->zero_len += len;
		return 0;
	}
	rc = put_zeros(w, msg);
	w->zero_at = offset;
	w->zero_len = len;
	return rc;
}

int diff_writer_end(struct diff_writer *w, struct vms_errmsg *msg)
{
	struct diff_record r = {.type = DIFF_END, .payload_bytes = DIFF_END_BYTES};
	uint8_t all[DIFF_RECORD_BYTES + DIFF_END_BYTES];
	int rc = put_zeros(w, msg);

	if (rc)
		return rc;
	/* the sum is of what comes before this record */
	sums_end(&w->s, all + DIFF_RECORD_BYTES);
	r.crc = vms_crc32c(0, all + DIFF_RECORD_BYTES, DIFF_END_BYTES);
	diff_record_encode(all, &r);
	return w->write(w->arg, all, sizeof(all), msg);
}

const struct diff_counts *diff_writer_counts(const struct diff_writer *w)
{
	return &w->s.n;
}

/* ---- reader ---- */

struct diff_reader {
	diff_read_fn read;
	void *arg;
	struct sums s;
	bool skip;   /* unknown types may be there */
	uint64_t at; /* in the stream, for messages */
};

static int fetch(struct diff_reader *r, void *buf, uint64_t len, struct vms_errmsg *msg)
{
	int64_t n = r->read(r->arg, buf, len, msg);

	if (n < 0)
		return (int)n;
	r->at += (uint64_t)n;
	if ((uint64_t)n < len)
		return vms_fail(msg, VMS_E_CORRUPT, "the stream breaks off after %" PRIu64 " bytes",
				r->at);
	return 0;
}

static int damaged(struct diff_reader *r, const char *what, struct vms_errmsg *msg)
{
	return vms_fail(msg, VMS_E_CORRUPT, "the stream is damaged before byte %" PRIu64 ": %s",
			r->at, what);
}

int diff_reader_open(struct diff_reader **out, struct diff_header *h, diff_read_fn read, void *arg,
		     struct vms_errmsg *msg)
{
	struct diff_reader *r = calloc(1, sizeof(*r));
	uint8_t head[DIFF_HEADER_BYTES];
	int rc;

	vms_assert(r);
	r->read = read;
	r->arg = arg;
	rc = fetch(r, head, sizeof(head), msg);
	if (!rc)
		rc = diff_header_decode(head, h, msg);
	if (rc) {
		free(r);
		return rc;
	}
	r->skip = h->skip != 0;
	sums_open(&r->s, h->to_bytes);
	sums_add(&r->s, head, sizeof(head));
	*out = r;
	return 0;
}

void diff_reader_close(struct diff_reader *r)
{
	if (!r)
		return;
	EVP_MD_CTX_free(r->s.sha);
	free(r);
}

static int read_end(struct diff_reader *r, const struct diff_record *rec, struct vms_errmsg *msg)
{
	uint8_t have[DIFF_END_BYTES], want[DIFF_END_BYTES], more;
	int64_t n;
	int rc = fetch(r, have, sizeof(have), msg);

	if (rc)
		return rc;
	if (vms_crc32c(0, have, sizeof(have)) != rec->crc)
		return damaged(r, "checksum of its end", msg);
	sums_end(&r->s, want);
	if (memcmp(have, want, sizeof(have)))
		return damaged(r, "records are missing or other ones (SHA-256)", msg);
	n = r->read(r->arg, &more, 1, msg);
	if (n < 0)
		return (int)n;
	return n ? damaged(r, "something follows its end", msg) : 0;
}

int diff_reader_next(struct diff_reader *r, struct diff_record *rec, uint8_t *buf,
		     struct vms_errmsg *msg)
{
	uint8_t head[DIFF_RECORD_BYTES];
	int rc;

	for (;;) {
		rc = fetch(r, head, sizeof(head), msg);
		if (rc)
			return rc;
		if (diff_record_decode(head, rec))
			return damaged(r, "head of a record", msg);
		if (rec->type == DIFF_END)
			return read_end(r, rec, msg);
		sums_add(&r->s, head, sizeof(head));
		if (!sums_record(&r->s, rec))
			return damaged(r, "records are out of order or beyond the volume", msg);
		if (rec->payload_bytes) {
			rc = fetch(r, buf, rec->payload_bytes, msg);
			if (rc)
				return rc;
			sums_add(&r->s, buf, rec->payload_bytes);
			if (vms_crc32c(0, buf, rec->payload_bytes) != rec->crc)
				return damaged(r, "checksum of a record", msg);
		}
		if (rec->type == DIFF_DATA || rec->type == DIFF_ZERO)
			return 1;
		if (!r->skip)
			return damaged(r, "a record of unknown type", msg);
	}
}

const struct diff_counts *diff_reader_counts(const struct diff_reader *r)
{
	return &r->s.n;
}
