// SPDX-License-Identifier: GPL-2.0-only
#include "include/wire.h"
#include "tests/unit/cunit.h"

#include <stdlib.h>
#include <string.h>

#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

#define BODY_BYTES    40u
#define PAYLOAD_BYTES 600u

static uint8_t body[BODY_BYTES], payload[PAYLOAD_BYTES];

static void sample(struct vms_msg *m, struct vms_iov iov[2], uint16_t flags)
{
	for (unsigned i = 0; i < BODY_BYTES; i++)
		body[i] = (uint8_t)(i * 7 + 1);
	for (unsigned i = 0; i < PAYLOAD_BYTES; i++)
		payload[i] = (uint8_t)(i * 13 + 5);
	iov[0] = (struct vms_iov){payload, 100};
	iov[1] = (struct vms_iov){payload + 100, PAYLOAD_BYTES - 100};
	*m = (struct vms_msg){
		.type = VMS_MSG_READ_ADDR,
		.flags = flags,
		.status = (flags & VMS_F_REPLY) ? VMS_E_GONE : 0,
		.req_id = 0x1122334455667788ull,
		.partition = 1023,
		.epoch = 77,
		.sender = 3,
		.incarnation = 0xabcdef,
		.slot = 99,
		.sequence = 0xfedcba9876543210ull,
		.tick = 1234567,
		.tick_incarnation = 42,
		.branch = 5,
		.snap_gen = 6,
		.lun_fence = 7,
		.extent = 8,
		.aux = 9,
		.body_bytes = BODY_BYTES,
		.body = body,
		.payload_bytes = PAYLOAD_BYTES,
		.payload = iov,
		.npayload = 2,
	};
}

/* malloc'd to the exact size, so that the sanitizers see every overrun. */
static uint8_t *frame_of(const struct vms_msg *m, size_t *len)
{
	uint8_t *f, *p;

	*len = VMS_FRAME_HEADER_BYTES + m->body_bytes + m->payload_bytes;
	f = malloc(*len);
	vms_msg_encode_header(m, f);
	p = f + VMS_FRAME_HEADER_BYTES;
	if (m->body_bytes)
		memcpy(p, m->body, m->body_bytes);
	p += m->body_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(p, m->payload[i].base, m->payload[i].len);
		p += m->payload[i].len;
	}
	return f;
}

static uint8_t *sample_frame(size_t *len, uint16_t flags)
{
	struct vms_iov iov[2];
	struct vms_msg m;

	sample(&m, iov, flags);
	return frame_of(&m, len);
}

static void round_trip_keeps_every_field(void)
{
	static const uint16_t flags[] = {0, VMS_F_PAYLOAD_CRC, VMS_F_REPLY | VMS_F_FINAL,
					 VMS_F_FUA | VMS_F_MEMORY | VMS_F_RETRY | VMS_F_CLOSE};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct vms_iov iov[2], got_iov;
		struct vms_msg m, g;
		uint8_t *f;
		size_t len;

		sample(&m, iov, flags[i]);
		f = frame_of(&m, &len);
		CU_ASSERT_EQUAL(vms_msg_frame_bytes(f, len), (int64_t)len);
		CU_ASSERT_EQUAL_FATAL(vms_msg_decode(f, len, &g, &got_iov), 0);
		CU_ASSERT(g.type == m.type && g.flags == m.flags && g.status == m.status);
		CU_ASSERT(g.req_id == m.req_id && g.partition == m.partition && g.epoch == m.epoch);
		CU_ASSERT(g.sender == m.sender && g.incarnation == m.incarnation);
		CU_ASSERT(g.slot == m.slot && g.sequence == m.sequence);
		CU_ASSERT(g.tick == m.tick && g.tick_incarnation == m.tick_incarnation);
		CU_ASSERT(g.branch == m.branch && g.snap_gen == m.snap_gen);
		CU_ASSERT(g.lun_fence == m.lun_fence && g.extent == m.extent && g.aux == m.aux);
		CU_ASSERT(g.body_bytes == BODY_BYTES && !memcmp(g.body, body, BODY_BYTES));
		CU_ASSERT(g.npayload == 1 && g.payload_bytes == PAYLOAD_BYTES);
		CU_ASSERT(g.payload[0].len == PAYLOAD_BYTES);
		CU_ASSERT(!memcmp(g.payload[0].base, payload, PAYLOAD_BYTES));
		free(f);
	}
}

static void layout_is_the_documented_one(void)
{
	struct vms_msg m = {.type = VMS_MSG_TICK,
			    .flags = VMS_F_REPLY,
			    .status = VMS_E_BUSY,
			    .req_id = 0x0102030405060708ull,
			    .partition = VMS_PART_NONE,
			    .tick = 0x1112131415161718ull,
			    .aux = 0x21222324};
	uint8_t h[VMS_FRAME_HEADER_BYTES];
	uint32_t crc;

	vms_msg_encode_header(&m, h);
	CU_ASSERT(!memcmp(h, "VMS1\x01\x02\x01\x00", 8));
	CU_ASSERT_EQUAL(vms_get_le64(h + 16), m.req_id);
	CU_ASSERT_EQUAL((int32_t)vms_get_le32(h + 24), VMS_E_BUSY);
	CU_ASSERT_EQUAL(vms_get_le32(h + 28), 0xffffffffu);
	CU_ASSERT_EQUAL(vms_get_le64(h + 64), m.tick);
	CU_ASSERT_EQUAL(vms_get_le32(h + 108), 0x21222324u);
	crc = vms_get_le32(h + 120);
	vms_put_le32(h + 120, 0);
	CU_ASSERT_EQUAL(vms_crc32c(0, h, sizeof(h)), crc);
}

static void every_truncation_is_refused(void)
{
	struct vms_iov iov;
	struct vms_msg m;
	size_t len;
	uint8_t *f = sample_frame(&len, VMS_F_PAYLOAD_CRC);

	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = malloc(n ? n : 1);

		memcpy(cut, f, n);
		CU_ASSERT(vms_msg_decode(cut, n, &m, &iov) < 0);
		CU_ASSERT_EQUAL(vms_msg_frame_bytes(cut, n),
				n < VMS_FRAME_HEADER_BYTES ? 0 : (int64_t)len);
		free(cut);
	}
	free(f);
}

static void every_flipped_bit_is_refused(void)
{
	struct vms_iov iov;
	struct vms_msg m;
	size_t len;
	uint8_t *f = sample_frame(&len, VMS_F_PAYLOAD_CRC);
	unsigned accepted = 0;

	for (size_t bit = 0; bit < len * 8; bit++) {
		f[bit / 8] ^= (uint8_t)(1u << bit % 8);
		accepted += vms_msg_decode(f, len, &m, &iov) >= 0;
		f[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_EQUAL(accepted, 0);
	CU_ASSERT_EQUAL(vms_msg_decode(f, len, &m, &iov), 0);
	free(f);
}

/* A frame with a right CRC may still be nonsense. */
static void impossible_headers_are_refused(void)
{
	static const struct {
		unsigned off, size;
		uint32_t value;
	} bad[] = {
		{0, 4, 0x32534d56},	  /* magic */
		{4, 1, 2},		  /* version */
		{5, 1, 0},		  /* type */
		{5, 1, 64},		  /* type */
		{6, 2, 0x80},		  /* unknown flag */
		{8, 4, (256u << 10) + 1}, /* body */
		{12, 4, (4u << 20) + 1},  /* payload */
		{24, 4, 1},		  /* positive status */
		{112, 4, 1},		  /* reserved */
		{116, 4, 1},		  /* payload CRC without its flag */
		{124, 4, 1},		  /* reserved */
	};
	struct vms_iov iov;
	struct vms_msg m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len;
		uint8_t *f = sample_frame(&len, 0);

		for (unsigned b = 0; b < bad[i].size; b++)
			f[bad[i].off + b] = (uint8_t)(bad[i].value >> 8 * b);
		vms_put_le32(f + 120, 0);
		vms_put_le32(f + 120, vms_crc32c(0, f, VMS_FRAME_HEADER_BYTES + BODY_BYTES));
		CU_ASSERT_EQUAL(vms_msg_decode(f, len, &m, &iov), VMS_E_PROTO);
		free(f);
	}
}

static void reply_echoes_what_names_the_request(void)
{
	struct vms_iov iov[2];
	struct vms_msg m, re;

	sample(&m, iov, VMS_F_FUA | VMS_F_PAYLOAD_CRC);
	vms_msg_reply_init(&re, &m, VMS_E_BUSY);
	CU_ASSERT(re.type == m.type && re.flags == VMS_F_REPLY && re.status == VMS_E_BUSY);
	CU_ASSERT(re.req_id == m.req_id && re.partition == m.partition && re.epoch == m.epoch);
	CU_ASSERT(re.branch == m.branch && re.extent == m.extent);
	CU_ASSERT(re.sender == m.sender && re.incarnation == m.incarnation);
	CU_ASSERT(re.slot == m.slot && re.sequence == m.sequence);
	CU_ASSERT(!re.body_bytes && !re.payload_bytes && !re.tick && !re.aux);
}

/* ---- WRITE body ---- */

static int decode_write(uint8_t kind, const struct vms_piece *p, unsigned n, uint64_t payload_bytes,
			struct vms_piece *out)
{
	uint8_t *b = malloc(VMS_WRITE_BODY_BYTES(n)), got_kind;
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .body = b,
			    .body_bytes = VMS_WRITE_BODY_BYTES(n),
			    .payload_bytes = payload_bytes};
	int rc;

	vms_write_body_encode(b, kind, p, n);
	rc = vms_write_body_decode(&m, &got_kind, out);
	if (rc > 0)
		CU_ASSERT_EQUAL(got_kind, kind);
	free(b);
	return rc;
}

static void write_pieces_round_trip(void)
{
	static struct vms_piece in[VMS_WRITE_PIECES_MAX], out[VMS_WRITE_PIECES_MAX];
	static const struct vms_piece zero[] = {
		{0, 1, 0x3, 0, 0}, {1, 500, 0xff, 0, 0}, {501, 523, 0xff, 0, 0}};
	uint64_t bytes = 0;

	for (unsigned i = 0; i < VMS_WRITE_PIECES_MAX; i++) {
		in[i] = (struct vms_piece){(uint16_t)i, 1, (uint8_t)(i % 255 + 1), 0, i * 77};
		bytes += (uint64_t)vms_mask_sectors(in[i].mask) * VMS_LB_BYTES;
	}
	CU_ASSERT_EQUAL(decode_write(VMS_WRITE_DATA, in, 1024, bytes, out), 1024);
	for (unsigned i = 0; i < 1024; i++)
		CU_ASSERT(out[i].chunk == i && out[i].count == 1 && out[i].mask == in[i].mask &&
			  out[i].crc == in[i].crc);
	CU_ASSERT_EQUAL(decode_write(VMS_WRITE_ORWRITE, in, 1024, bytes, out), 1024);
	CU_ASSERT_EQUAL(decode_write(VMS_WRITE_CAW, in, 1024, 2 * bytes, out), 1024);
	CU_ASSERT_EQUAL(decode_write(VMS_WRITE_ZERO, zero, 3, 0, out), 3);
	CU_ASSERT_EQUAL(out[2].count, 523);
}

static void bad_write_pieces_are_refused(void)
{
	static const struct {
		uint8_t kind;
		struct vms_piece p[2];
		unsigned n;
		uint64_t payload_bytes;
	} bad[] = {
		{0, {{0, 1, 0xff, 0, 0}}, 1, 4096},			/* kind */
		{5, {{0, 1, 0xff, 0, 0}}, 1, 4096},			/* kind */
		{1, {{0, 1, 0, 0, 0}}, 1, 0},				/* empty mask */
		{1, {{0, 0, 0xff, 0, 0}}, 1, 4096},			/* no chunk */
		{1, {{1024, 1, 0xff, 0, 0}}, 1, 4096},			/* beyond extent */
		{1, {{0, 2, 0xff, 0, 0}}, 1, 8192},			/* data, two chunks */
		{1, {{0, 1, 0xff, 1, 0}}, 1, 4096},			/* flags */
		{1, {{1, 1, 0xff, 0, 0}, {0, 1, 0xff, 0, 0}}, 2, 8192}, /* descending */
		{1, {{1, 1, 0x0f, 0, 0}, {1, 1, 0xf0, 0, 0}}, 2, 4096}, /* same chunk */
		{1, {{0, 1, 0xff, 0, 0}}, 1, 4095},			/* payload short */
		{1, {{0, 1, 0x01, 0, 0}}, 1, 4096},			/* payload long */
		{3, {{0, 1, 0xff, 0, 0}}, 1, 4096},			/* compare half gone */
		{2, {{0, 1, 0xff, 0, 0}}, 1, 4096},			/* zero with data */
		{2, {{0, 2, 0x0f, 0, 0}}, 1, 0},			/* partial range */
		{2, {{1020, 5, 0xff, 0, 0}}, 1, 0},			/* beyond extent */
		{2, {{0, 4, 0xff, 0, 0}, {3, 1, 0xff, 0, 0}}, 2, 0},	/* overlap */
		{2, {{0, 1, 0xff, 0, 9}}, 1, 0},			/* crc of nothing */
	};
	static struct vms_piece out[VMS_WRITE_PIECES_MAX];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(
			decode_write(bad[i].kind, bad[i].p, bad[i].n, bad[i].payload_bytes, out),
			VMS_E_PROTO);
}

static void truncated_write_body_is_refused(void)
{
	static const struct vms_piece p[2] = {{0, 1, 0xff, 0, 1}, {5, 1, 0xff, 0, 2}};
	static struct vms_piece out[VMS_WRITE_PIECES_MAX];
	uint8_t full[VMS_WRITE_BODY_BYTES(2)], kind;

	vms_write_body_encode(full, VMS_WRITE_DATA, p, 2);
	for (unsigned n = 0; n < sizeof(full); n++) {
		uint8_t *b = malloc(n ? n : 1);
		struct vms_msg m = {
			.type = VMS_MSG_WRITE, .body = b, .body_bytes = n, .payload_bytes = 8192};

		memcpy(b, full, n);
		CU_ASSERT_EQUAL(vms_write_body_decode(&m, &kind, out), VMS_E_PROTO);
		free(b);
	}
}

/* ---- INVALIDATE body ---- */

static int decode_inval(const uint8_t *b, uint32_t bytes, uint32_t subs)
{
	struct vms_inval_run run[VMS_INVAL_RUNS_MAX];
	uint8_t *copy = malloc(bytes ? bytes : 1); /* so that ASan sees its end */
	struct vms_msg m = {
		.type = VMS_MSG_INVALIDATE, .body = copy, .body_bytes = bytes, .aux = subs};
	int n;

	memcpy(copy, b, bytes);
	n = vms_inval_decode(&m, run);
	for (int i = 0; i < n; i++)
		CU_ASSERT_EQUAL(run[i].chunk, vms_get_le16(b + 4 * i));
	free(copy);
	return n;
}

static void inval_bodies(void)
{
	struct vms_inval_run run[VMS_INVAL_RUNS_MAX + 1] = {{0, 1}, {126, 3}, {1023, 1}};
	uint8_t b[sizeof(run) / sizeof(run[0]) * VMS_INVAL_RUN_BYTES];

	vms_inval_encode(b, run, 3);
	CU_ASSERT_EQUAL(decode_inval(b, 0, 1), 0);
	CU_ASSERT_EQUAL(decode_inval(b, 12, 0x83), 3);
	for (uint32_t n = 1; n < 12; n++)
		CU_ASSERT_EQUAL(decode_inval(b, n, 0x83), n % 4 ? VMS_E_PROTO : (int)n / 4);
	CU_ASSERT_EQUAL(decode_inval(b, 12, 0x81), VMS_E_PROTO); /* not all are in aux */
	CU_ASSERT_EQUAL(decode_inval(b, 12, 0x03), VMS_E_PROTO);
	run[1].chunk = 1023; /* beyond the extent */
	vms_inval_encode(b, run, 2);
	CU_ASSERT_EQUAL(decode_inval(b, 8, 0xff), VMS_E_PROTO);
	run[1] = (struct vms_inval_run){0, 1}; /* twice */
	vms_inval_encode(b, run, 2);
	CU_ASSERT_EQUAL(decode_inval(b, 8, 0xff), VMS_E_PROTO);
	run[1] = (struct vms_inval_run){5, 0}; /* nothing */
	vms_inval_encode(b, run, 2);
	CU_ASSERT_EQUAL(decode_inval(b, 8, 0xff), VMS_E_PROTO);
	for (unsigned i = 0; i <= VMS_INVAL_RUNS_MAX; i++)
		run[i] = (struct vms_inval_run){(uint16_t)(2 * i), 1};
	vms_inval_encode(b, run, VMS_INVAL_RUNS_MAX + 1);
	CU_ASSERT_EQUAL(decode_inval(b, sizeof(b) - 4, 0xff), (int)VMS_INVAL_RUNS_MAX);
	CU_ASSERT_EQUAL(decode_inval(b, sizeof(b), 0xff), VMS_E_PROTO);
}

/* ---- HELLO body ---- */

static void hello_round_trips_and_refuses_cuts(void)
{
	struct vms_hello h = {.role = VMS_ROLE_GATEWAY,
			      .version_min = 1,
			      .version_max = 3,
			      .features = 0x8000000000000001ull,
			      .name = "gw-a",
			      .address = "127.0.3.1:3260"},
			 g;
	uint8_t b[VMS_HELLO_BODY_BYTES_MAX];
	struct vms_msg m = {.type = VMS_MSG_HELLO, .body = b};
	unsigned n;

	memset(h.cluster_uuid, 0x5a, 16);
	n = vms_hello_encode(b, &h);
	m.body_bytes = n;
	CU_ASSERT_EQUAL(vms_hello_decode(&m, &g), 0);
	CU_ASSERT(!memcmp(&g, &h, sizeof(h)));
	for (unsigned i = 0; i < n; i++) {
		uint8_t *cut = malloc(i ? i : 1);
		struct vms_msg c = {.type = VMS_MSG_HELLO, .body = cut, .body_bytes = i};

		memcpy(cut, b, i);
		CU_ASSERT_EQUAL(vms_hello_decode(&c, &g), VMS_E_PROTO);
		free(cut);
	}
	memset(h.name, 'n', 63);
	memset(h.address, 'a', 63);
	m.body_bytes = vms_hello_encode(b, &h);
	CU_ASSERT(m.body_bytes <= VMS_HELLO_BODY_BYTES_MAX);
	CU_ASSERT_EQUAL(vms_hello_decode(&m, &g), 0);
	CU_ASSERT_STRING_EQUAL(g.name, h.name);
	b[32] = 64; /* length of the name: one too long */
	CU_ASSERT_EQUAL(vms_hello_decode(&m, &g), VMS_E_PROTO);
	b[32] = 63;
	b[40] = 0; /* a name with a hole */
	CU_ASSERT_EQUAL(vms_hello_decode(&m, &g), VMS_E_PROTO);
	b[40] = 'n';
	b[0] = 0;
	CU_ASSERT_EQUAL(vms_hello_decode(&m, &g), VMS_E_PROTO);
	b[0] = 1;
	b[1] = 4; /* least version above greatest */
	CU_ASSERT_EQUAL(vms_hello_decode(&m, &g), VMS_E_PROTO);
}

static void every_type_has_a_name(void)
{
	CU_ASSERT_STRING_EQUAL(vms_msg_type_name(VMS_MSG_CAT_TXN), "CAT_TXN");
	CU_ASSERT_STRING_EQUAL(vms_msg_type_name(63), "unknown");
	CU_ASSERT_STRING_EQUAL(vms_msg_type_name(255), "unknown");
	for (uint8_t t = 1; t <= VMS_MSG_VIEW_STATE; t++)
		CU_ASSERT_STRING_NOT_EQUAL(vms_msg_type_name(t), "unknown");
}

static const struct vms_test tests[] = {
	VMS_TEST(round_trip_keeps_every_field),
	VMS_TEST(layout_is_the_documented_one),
	VMS_TEST(every_truncation_is_refused),
	VMS_TEST(every_flipped_bit_is_refused),
	VMS_TEST(impossible_headers_are_refused),
	VMS_TEST(reply_echoes_what_names_the_request),
	VMS_TEST(write_pieces_round_trip),
	VMS_TEST(bad_write_pieces_are_refused),
	VMS_TEST(truncated_write_body_is_refused),
	VMS_TEST(inval_bodies),
	VMS_TEST(hello_round_trips_and_refuses_cuts),
	VMS_TEST(every_type_has_a_name),
};

VMS_TEST_MAIN("cluster/msg", tests)
