// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the stream of export-diff. First byte: bit 0 sets the checksums of
 * header and records right, so that what they guard is reached.
 */
#include "tests/fuzz/driver.h"
#include "utils/image/diff.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

struct input {
	const uint8_t *p;
	size_t at, n;
};

static int64_t get(void *arg, void *buf, uint64_t len, struct vms_errmsg *msg)
{
	struct input *in = arg;
	size_t n = in->n - in->at < len ? in->n - in->at : (size_t)len;

	memcpy(buf, in->p + in->at, n);
	in->at += n;
	return (int64_t)n;
}

static void set_right(uint8_t *p, size_t n)
{
	if (n < DIFF_HEADER_BYTES)
		return;
	vms_put_le32(p + 508, vms_crc32c(0, p, 508));
	for (size_t at = DIFF_HEADER_BYTES; at + DIFF_RECORD_BYTES <= n;) {
		uint32_t payload = vms_get_le32(p + at + 4);

		if (payload <= n - at - DIFF_RECORD_BYTES && payload)
			vms_put_le32(p + at + 24,
				     vms_crc32c(0, p + at + DIFF_RECORD_BYTES, payload));
		vms_put_le32(p + at + 28, vms_crc32c(0, p + at, 28));
		if (payload > n - at - DIFF_RECORD_BYTES)
			break;
		at += DIFF_RECORD_BYTES + payload;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[DIFF_DATA_MAX];
	struct vms_errmsg e = {""};
	struct diff_reader *r;
	struct diff_header h;
	struct diff_record rec;
	struct input in;
	uint64_t next = 0;
	uint8_t *copy;
	int rc;

	if (!size)
		return 0;
	copy = malloc(size);
	memcpy(copy, data, size);
	if (data[0] & 1)
		set_right(copy + 1, size - 1);
	in = (struct input){copy + 1, 0, size - 1};
	if (!diff_reader_open(&r, &h, get, &in, &e)) {
		while ((rc = diff_reader_next(r, &rec, buf, &e)) == 1) {
			/* what is handed out can be applied as it is */
			vms_assert(rec.offset >= next && rec.len &&
				   rec.offset + rec.len <= h.to_bytes);
			vms_assert(rec.type != DIFF_DATA || rec.len <= DIFF_DATA_MAX);
			next = rec.offset + rec.len;
		}
		vms_assert(rc <= 0);
		diff_reader_close(r);
	} else {
		vms_assert(e.text[0]);
	}
	free(copy);
	return 0;
}

struct output {
	uint8_t *p;
	size_t n;
};
static int put(void *arg, const void *data, uint64_t len, struct vms_errmsg *msg)
{
	struct output *o = arg;

	memcpy(o->p + o->n, data, len);
	o->n += len;
	return 0;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	struct diff_header h = {.to_bytes = 1 << 20, .volume = "v", .to = "b", .to_uuid = {1}};
	struct output o = {out, 1};
	struct diff_writer *w;
	uint8_t data[2 * VMS_CHUNK_BYTES];

	if (i > 3)
		return 0;
	memset(data, 0xa5, sizeof(data));
	out[0] = i & 1;
	if (i & 2) {
		h.from_uuid[0] = 2;
		h.from_bytes = 4096;
		strcpy(h.from, "a");
	}
	vms_assert(!diff_writer_open(&w, &h, put, &o, NULL));
	vms_assert(!diff_writer_zero(w, 0, VMS_CHUNK_BYTES, NULL));
	if (i)
		vms_assert(!diff_writer_data(w, 8192, data, i > 1 ? 8192 : 4096, NULL));
	vms_assert(!diff_writer_end(w, NULL));
	diff_writer_close(w);
	return o.n;
}
