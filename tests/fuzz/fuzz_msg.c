// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the wire protocol: frames, and the bodies of WRITE, HELLO and the
 * catalog's messages. First byte: 1 sets the frame's checksums right before it is
 * decoded, otherwise hardly an input would get past them.
 */
#include "cluster/cat_wire.h"
#include "include/wire.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/crc32c.h"

static void fix_crcs(uint8_t *f, size_t len)
{
	int64_t whole = vms_msg_frame_bytes(f, len);
	uint32_t body;

	if (whole <= 0 || (uint64_t)whole != len)
		return;
	body = vms_get_le32(f + 8);
	if (vms_get_le16(f + 6) & VMS_F_PAYLOAD_CRC)
		vms_put_le32(f + 116, vms_crc32c(0, f + VMS_FRAME_HEADER_BYTES + body,
						 vms_get_le32(f + 12)));
	vms_put_le32(f + 120, 0);
	vms_put_le32(f + 120, vms_crc32c(0, f, VMS_FRAME_HEADER_BYTES + body));
}

static void bodies(const struct vms_msg *m)
{
	static struct vms_piece pieces[VMS_WRITE_PIECES_MAX];
	static struct vms_cat_cmp cmp[VMS_CAT_TXN_OPS_MAX];
	static struct vms_cat_op op[VMS_CAT_TXN_OPS_MAX];
	static struct vms_cat_kv kv[VMS_CAT_REPLY_KV_MAX];
	const char *a, *b;
	struct vms_cat_reply re;
	static struct vms_inval_run run[VMS_INVAL_RUNS_MAX];
	uint8_t runs[VMS_INVAL_RUNS_MAX * VMS_INVAL_RUN_BYTES];
	struct vms_hello h;
	unsigned ncmp, nop;
	uint64_t id, from;
	uint8_t kind;
	int n;

	n = vms_write_body_decode(m, &kind, pieces);
	for (int i = 1; i < n; i++)
		vms_assert(pieces[i].chunk >= pieces[i - 1].chunk + pieces[i - 1].count);
	if (n > 0)
		vms_assert(pieces[n - 1].chunk + pieces[n - 1].count <= VMS_EXTENT_CHUNKS);
	n = vms_inval_decode(m, run);
	for (int i = 0; i < n; i++)
		vms_assert(run[i].count &&
			   (!i || run[i].chunk >= run[i - 1].chunk + run[i - 1].count) &&
			   run[i].chunk + run[i].count <= VMS_EXTENT_CHUNKS &&
			   m->aux >> run[i].chunk / VMS_SUBEXT_CHUNKS & 1);
	if (n > 0) {
		vms_inval_encode(runs, run, (unsigned)n);
		vms_assert(!memcmp(runs, m->body, m->body_bytes));
	}
	if (!vms_hello_decode(m, &h))
		vms_assert(strlen(h.name) < sizeof(h.name) && h.version_min);
	if (!vms_cat_get_decode(m, &a))
		vms_assert(vms_cat_key_ok(a, false));
	if (!vms_cat_range_decode(m, &a, &b))
		vms_assert(vms_cat_key_ok(a, true) && (!b || vms_cat_key_ok(b, false)));
	if (!vms_cat_watch_decode(m, &id, &from, &a))
		vms_assert(id && vms_cat_key_ok(a, true));
	if (!vms_cat_txn_decode(m, cmp, &ncmp, op, &nop)) {
		struct vms_buf again;

		/* what decodes encodes to the same bytes */
		vms_buf_init(&again, VMS_CAT_TXN_BYTES_MAX);
		vms_assert(!vms_cat_txn_encode(&again, cmp, ncmp, op, nop));
		vms_assert(vms_buf_len(&again) == m->payload_bytes);
		vms_buf_free(&again);
	}
	if (!vms_cat_reply_decode(m, &re, kv))
		for (unsigned i = 0; i < re.nkv; i++)
			vms_assert(!kv[i].val || strlen(kv[i].val) == kv[i].val_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t hdr[VMS_FRAME_HEADER_BYTES], *f;
	struct vms_iov iov;
	struct vms_msg m;

	if (size < 1)
		return 0;
	f = malloc(size);
	memcpy(f, data + 1, size - 1);
	if (data[0] & 1)
		fix_crcs(f, size - 1);
	if (!vms_msg_decode(f, size - 1, &m, &iov)) {
		vms_msg_encode_header(&m, hdr);
		vms_assert(!memcmp(hdr, f, sizeof(hdr)));
		bodies(&m);
	}
	free(f);
	return 0;
}

static size_t put(uint8_t *out, const struct vms_msg *m)
{
	size_t n = 1 + VMS_FRAME_HEADER_BYTES;

	out[0] = 1;
	vms_msg_encode_header(m, out + 1);
	if (m->body_bytes)
		memcpy(out + n, m->body, m->body_bytes);
	n += m->body_bytes;
	for (unsigned i = 0; i < m->npayload; i++) {
		memcpy(out + n, m->payload[i].base, m->payload[i].len);
		n += m->payload[i].len;
	}
	return n;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static const struct vms_piece data[] = {{3, 1, 0xff, 0, 1}, {9, 1, 0x0f, 0, 2}};
	static const struct vms_piece zero[] = {{0, 1, 0xf0, 0, 0}, {1, 40, 0xff, 0, 0}};
	static const struct vms_inval_run runs[] = {{3, 1}, {127, 2}, {1023, 1}};
	static const struct vms_cat_cmp cmp[] = {{"cluster", 7}, {"node/00000001", 0}};
	static const struct vms_cat_op op[] = {
		{"cluster", "{\"a\":1}", 0}, {"node/00000001", "{}", 9}, {"open/1", NULL, 0}};
	struct vms_cat_kv kv = {"volume/demo", "{}", 2, 11, 5}, gone = {"volume/x", NULL, 0, 12, 0};
	struct vms_hello h = {.role = VMS_ROLE_NODE,
			      .version_min = 1,
			      .version_max = 1,
			      .name = "node1",
			      .address = "127.0.0.1:7601"};
	uint8_t body[1024], payload[8192] = {1, 2, 3};
	struct vms_iov iov = {payload, 0};
	struct vms_msg m = {.type = VMS_MSG_WRITE,
			    .body = body,
			    .payload = &iov,
			    .npayload = 1,
			    .req_id = 5,
			    .sender = 1,
			    .incarnation = 2};
	struct vms_buf b;
	size_t n = 0;

	vms_buf_init(&b, 65536);
	switch (i) {
	case 0:
		vms_write_body_encode(body, VMS_WRITE_DATA, data, 2);
		m.body_bytes = VMS_WRITE_BODY_BYTES(2);
		iov.len = 12 * VMS_LB_BYTES;
		break;
	case 1:
		vms_write_body_encode(body, VMS_WRITE_ZERO, zero, 2);
		m.body_bytes = VMS_WRITE_BODY_BYTES(2);
		break;
	case 2:
		vms_write_body_encode(body, VMS_WRITE_CAW, data, 1);
		m.body_bytes = VMS_WRITE_BODY_BYTES(1);
		iov.len = 16 * VMS_LB_BYTES;
		m.flags = VMS_F_PAYLOAD_CRC;
		break;
	case 3:
		m.type = VMS_MSG_HELLO;
		m.body_bytes = vms_hello_encode(body, &h);
		break;
	case 4:
		m.type = VMS_MSG_CAT_GET;
		m.body_bytes = vms_cat_get_encode(body, "part/03ff");
		break;
	case 5:
		m.type = VMS_MSG_CAT_RANGE;
		m.body_bytes = vms_cat_range_encode(body, "part/", "part/0001");
		break;
	case 6:
		m.type = VMS_MSG_CAT_WATCH;
		m.body_bytes = vms_cat_watch_encode(body, 3, 99, "volume/");
		break;
	case 7:
		m.type = VMS_MSG_CAT_TXN;
		vms_assert(!vms_cat_txn_encode(&b, cmp, 2, op, 3));
		break;
	case 8:
		m.type = VMS_MSG_CAT_EVENT;
		vms_cat_reply_encode(body, 77, 0, true);
		m.body_bytes = VMS_CAT_REPLY_BODY_BYTES;
		vms_assert(!vms_cat_kv_encode(&b, &kv) && !vms_cat_kv_encode(&b, &gone));
		m.aux = 2;
		break;
	case 9:
		m.type = VMS_MSG_INVALIDATE;
		m.aux = 0x83;
		vms_inval_encode(body, runs, 3);
		m.body_bytes = 3 * VMS_INVAL_RUN_BYTES;
		break;
	default:
		vms_buf_free(&b);
		return 0;
	}
	if (vms_buf_len(&b)) {
		iov.base = vms_buf_data(&b);
		iov.len = vms_buf_len(&b);
		m.flags = VMS_F_PAYLOAD_CRC;
	}
	m.payload_bytes = iov.len;
	if (!iov.len)
		m.npayload = 0;
	n = put(out, &m);
	vms_buf_free(&b);
	return n;
}
