// SPDX-License-Identifier: GPL-2.0-only
/* The stream of export-diff: what is written is read, and nothing else is. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cunit.h"
#include "utils/image/diff.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define C VMS_CHUNK_BYTES

static uint8_t stream[64 << 10];
static uint64_t stream_len, read_at;

static int put(void *arg, const void *data, uint64_t len, struct vms_errmsg *msg)
{
	if (stream_len + len > sizeof(stream))
		return vms_fail(msg, VMS_E_NOSPC, "full");
	memcpy(stream + stream_len, data, len);
	stream_len += len;
	return 0;
}

static int64_t get(void *arg, void *buf, uint64_t len, struct vms_errmsg *msg)
{
	uint64_t n = stream_len - read_at < len ? stream_len - read_at : len;

	memcpy(buf, stream + read_at, n);
	read_at += n;
	return (int64_t)n;
}

static struct diff_header header(void)
{
	struct diff_header h = {.from_bytes = 1 << 20,
				.to_bytes = 2 << 20,
				.created_s = 1700000000,
				.volume = "pool/vm1",
				.from = "monday",
				.to = "tuesday"};

	memset(h.volume_uuid, 1, 16);
	memset(h.from_uuid, 2, 16);
	memset(h.to_uuid, 3, 16);
	return h;
}

static void fill(uint8_t *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		b[i] = (uint8_t)(i * 7 + i / 256 + 1);
}

/* Data at 4 KiB, 12 KiB of zeros in two pieces that touch, data at the end. */
static void make_stream(void)
{
	struct diff_header h = header();
	struct vms_errmsg e = {""};
	uint8_t data[2 * C];
	struct diff_writer *w;

	stream_len = 0;
	fill(data, sizeof(data));
	CU_ASSERT_EQUAL_FATAL(diff_writer_open(&w, &h, put, NULL, &e), 0);
	CU_ASSERT_EQUAL(diff_writer_data(w, C, data, C, &e), 0);
	CU_ASSERT_EQUAL(diff_writer_zero(w, 4 * C, C, &e), 0);
	CU_ASSERT_EQUAL(diff_writer_zero(w, 5 * C, 2 * C, &e), 0);
	CU_ASSERT_EQUAL(diff_writer_data(w, (2 << 20) - 2 * C, data, 2 * C, &e), 0);
	CU_ASSERT_EQUAL(diff_writer_end(w, &e), 0);
	CU_ASSERT(diff_writer_counts(w)->records == 3 &&
		  diff_writer_counts(w)->data_bytes == 3 * C &&
		  diff_writer_counts(w)->zero_bytes == 3 * C);
	diff_writer_close(w);
}

/* Reads all; the result of the last call. *n: records that were handed out. */
static int read_all(unsigned *n, struct vms_errmsg *e)
{
	static uint8_t buf[DIFF_DATA_MAX];
	struct diff_header h;
	struct diff_record rec;
	struct diff_reader *r;
	int rc;

	*n = 0;
	read_at = 0;
	rc = diff_reader_open(&r, &h, get, NULL, e);
	if (rc)
		return rc;
	while ((rc = diff_reader_next(r, &rec, buf, e)) == 1)
		++*n;
	diff_reader_close(r);
	return rc;
}

static void what_is_written_is_read(void)
{
	static uint8_t buf[DIFF_DATA_MAX];
	uint8_t data[2 * C];
	struct diff_header h, want = header();
	struct vms_errmsg e = {""};
	struct diff_record rec;
	struct diff_reader *r;

	make_stream();
	fill(data, sizeof(data));
	read_at = 0;
	CU_ASSERT_EQUAL_FATAL(diff_reader_open(&r, &h, get, NULL, &e), 0);
	CU_ASSERT(!memcmp(&h, &want, sizeof(h)) && !diff_is_full(&h));
	CU_ASSERT_EQUAL(diff_reader_next(r, &rec, buf, &e), 1);
	CU_ASSERT(rec.type == DIFF_DATA && rec.offset == C && rec.len == C &&
		  !memcmp(buf, data, C));
	CU_ASSERT_EQUAL(diff_reader_next(r, &rec, buf, &e), 1);
	CU_ASSERT(rec.type == DIFF_ZERO && rec.offset == 4 * C && rec.len == 3 * C);
	CU_ASSERT_EQUAL(diff_reader_next(r, &rec, buf, &e), 1);
	CU_ASSERT(rec.type == DIFF_DATA && rec.len == 2 * C && !memcmp(buf, data, 2 * C));
	CU_ASSERT_EQUAL(diff_reader_next(r, &rec, buf, &e), 0);
	CU_ASSERT(diff_reader_counts(r)->records == 3);
	diff_reader_close(r);
}

/* The first bytes of doc/diff-format.md's example. */
static void the_layout_is_the_documented_one(void)
{
	static const uint8_t head[24] = {'V', 'M', 'S', 'D', 'I', 'F', 'F',
					 '1', 1,   0,	0,   2,	  0,   0x10};
	static const uint8_t zero_record[28] = {2,    0, 0, 0, 0, 0, 0, 0, 0,
						0x40, 0, 0, 0, 0, 0, 0, 0, 0x30};

	make_stream();
	CU_ASSERT(!memcmp(stream, head, sizeof(head)));
	CU_ASSERT(!memcmp(stream + 112, "pool/vm1", 9) && !memcmp(stream + 240, "monday", 7) &&
		  !memcmp(stream + 344, "tuesday", 8));
	CU_ASSERT(!memcmp(stream + DIFF_HEADER_BYTES + DIFF_RECORD_BYTES + C, zero_record,
			  sizeof(zero_record)));
	CU_ASSERT_EQUAL(stream_len,
			DIFF_HEADER_BYTES + 4 * DIFF_RECORD_BYTES + 3 * C + DIFF_END_BYTES);
}

static void any_changed_bit_is_found(void)
{
	struct vms_errmsg e = {""};
	unsigned n, bad = 0;

	make_stream();
	for (uint64_t i = 0; i < stream_len; i++) {
		uint8_t bit = (uint8_t)(1u << (i % 8));

		stream[i] ^= bit;
		bad += read_all(&n, &e) >= 0;
		stream[i] ^= bit;
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(read_all(&n, &e), 0);
	CU_ASSERT_EQUAL(n, 3);
}

static void a_stream_cut_anywhere_is_found(void)
{
	struct vms_errmsg e = {""};
	uint64_t whole;
	unsigned n, bad = 0;

	make_stream();
	whole = stream_len;
	for (stream_len = 0; stream_len < whole; stream_len++)
		bad += read_all(&n, &e) >= 0;
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "breaks off"));
	stream_len = whole + 1;
	CU_ASSERT_EQUAL(read_all(&n, &e), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "follows"));
}

/* Records that are each right, but do not belong: only the end's sum can tell. */
static void a_missing_record_is_found(void)
{
	struct vms_errmsg e = {""};
	uint64_t at = DIFF_HEADER_BYTES + DIFF_RECORD_BYTES + C;
	unsigned n;

	make_stream();
	memmove(stream + at, stream + at + DIFF_RECORD_BYTES, stream_len - at - DIFF_RECORD_BYTES);
	stream_len -= DIFF_RECORD_BYTES;
	CU_ASSERT_EQUAL(read_all(&n, &e), VMS_E_CORRUPT);
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "SHA-256"));
}

static int read_with_record(const struct diff_record *rec, struct vms_errmsg *e)
{
	unsigned n;

	make_stream();
	diff_record_encode(stream + DIFF_HEADER_BYTES, rec);
	return read_all(&n, e);
}

static void impossible_records_are_refused(void)
{
	const struct diff_record bad[] = {
		{.type = DIFF_ZERO, .offset = 0, .len = 0},
		{.type = DIFF_ZERO, .offset = 100, .len = C},
		{.type = DIFF_ZERO, .offset = 0, .len = 100},
		{.type = DIFF_ZERO, .offset = 2 << 20, .len = C}, /* behind the end */
		{.type = DIFF_ZERO, .offset = C, .len = 2 << 20},
		{.type = DIFF_ZERO, .offset = UINT64_MAX - C + 1, .len = C},
		{.type = DIFF_ZERO, .offset = C, .len = VMS_VOL_BYTES_MAX},
		{.type = DIFF_DATA, .offset = 0, .len = C, .payload_bytes = 2 * C},
		{.type = DIFF_DATA,
		 .offset = 0,
		 .len = DIFF_DATA_MAX + C,
		 .payload_bytes = DIFF_DATA_MAX + C},
		{.type = DIFF_DATA,
		 .offset = VMS_SUBEXT_BYTES - C,
		 .len = 2 * C,
		 .payload_bytes = 2 * C}, /* over a block's edge */
		{.type = DIFF_END, .offset = C, .payload_bytes = DIFF_END_BYTES},
		{.type = DIFF_END, .payload_bytes = 1},
		{.type = 3},
		{.type = 127},
		{.type = 200}, /* may be skipped, but the header does not say so */
	};
	struct vms_errmsg e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(read_with_record(&bad[i], &e), VMS_E_CORRUPT);
}

static int decode(const struct diff_header *h, struct vms_errmsg *e)
{
	uint8_t b[DIFF_HEADER_BYTES];
	struct diff_header out;

	diff_header_encode(b, h);
	return diff_header_decode(b, &out, e);
}

static void headers_are_checked(void)
{
	struct vms_errmsg e = {""};
	struct diff_header h = header(), full = header();

	CU_ASSERT_EQUAL(decode(&h, &e), 0);
	h.skip = h.info = 1u << 5; /* not known, no harm */
	CU_ASSERT_EQUAL(decode(&h, &e), 0);
	h.needed = 1;
	CU_ASSERT_EQUAL(decode(&h, &e), VMS_E_VERSION);
	memset(full.from_uuid, 0, 16);
	CU_ASSERT_EQUAL(decode(&full, &e), VMS_E_CORRUPT); /* from nothing, with a name */
	full.from[0] = 0;
	full.from_bytes = 0;
	CU_ASSERT_EQUAL(decode(&full, &e), 0);
	h = header();
	h.to_bytes = 100;
	CU_ASSERT_EQUAL(decode(&h, &e), VMS_E_CORRUPT);
	h = header();
	strcpy(h.volume, "a\nb");
	CU_ASSERT_EQUAL(decode(&h, &e), VMS_E_CORRUPT);
	h = header();
	h.to[0] = 0;
	CU_ASSERT_EQUAL(decode(&h, &e), VMS_E_CORRUPT);
}

static void types_to_be_skipped_are(void)
{
	const struct diff_record rec = {
		.type = 130, .payload_bytes = 5, .crc = vms_crc32c(0, "hello", 5)};
	struct diff_header h = header();
	struct vms_errmsg e = {""};
	struct diff_writer *w;
	uint8_t head[DIFF_RECORD_BYTES];
	unsigned n;

	h.skip = 1;
	stream_len = 0;
	CU_ASSERT_EQUAL_FATAL(diff_writer_open(&w, &h, put, NULL, &e), 0);
	diff_writer_close(w);
	diff_record_encode(head, &rec);
	put(NULL, head, sizeof(head), &e);
	put(NULL, "hello", 5, &e);
	/* it is passed over; then the stream ends too early */
	CU_ASSERT_EQUAL(read_all(&n, &e), VMS_E_CORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "breaks off after 549"));
	CU_ASSERT_EQUAL(n, 0);
}

static const struct vms_test tests[] = {
	VMS_TEST(what_is_written_is_read),   VMS_TEST(the_layout_is_the_documented_one),
	VMS_TEST(any_changed_bit_is_found),  VMS_TEST(a_stream_cut_anywhere_is_found),
	VMS_TEST(a_missing_record_is_found), VMS_TEST(impossible_records_are_refused),
	VMS_TEST(headers_are_checked),	     VMS_TEST(types_to_be_skipped_are),
};
VMS_TEST_MAIN("diff", tests)
