// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of what nodes tell each other for deduplication: bodies of MATCH_*, HOOK_*,
 * LIST_FETCH and CONFIRM, handled by a running node between two others. The input is a
 * row of messages: type (index below), aux, length (le16), body. The node answers each at
 * most once, does not stop, and goes on to serve.
 */
#include "backend/node.h"
#include "include/types.h"
#include "include/wire.h"
#include "tests/fuzz/driver.h"
#include "tests/sim/node_rig.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"
#include "utils/lib/vec.h"

static const uint8_t types[] = {VMS_MSG_MATCH_POLL,  VMS_MSG_MATCH_PULL,  VMS_MSG_MATCH_PAIRS,
				VMS_MSG_MATCH_REMAP, VMS_MSG_HOOK_LOOKUP, VMS_MSG_HOOK_ADD,
				VMS_MSG_LIST_FETCH,  VMS_MSG_CONFIRM};
#define TYPES (sizeof(types) / sizeof(types[0]))

static struct rig R;

/* A connection that node 2 has to node 1. */
static uint64_t peer(void)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		VMS_VEC_FOREACH (&R.conns, c)
			if (c->open && ((c->side[0] == 0 && c->side[1] == 1) ||
					(c->side[0] == 1 && c->side[1] == 0)))
				return c->id;
		rig_run(&R, 100);
	}
	vms_assert(!"nodes that do not connect");
	return 0;
}

static void start(void)
{
	R.match = true;
	rig_open(&R, 3, 2, 2, 1);
	vms_assert(rig_wait_active(&R, 60000));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t req = 1u << 20;

	if (!R.nnodes)
		start();
	for (size_t at = 0; at + 4 <= size;) {
		size_t n = vms_get_le16(data + at + 2);
		struct vms_msg m = {.type = types[data[at] % TYPES],
				    .partition = VMS_PART_NONE,
				    .aux = data[at + 1],
				    .req_id = req++,
				    .sender = 2,
				    .incarnation = 1};
		struct vms_node_event ev = {.type = VMS_NEV_MSG, .msg = &m};
		uint8_t *body;

		if (data[at] & 0x80) /* one that belongs to a partition */
			m.partition = data[at] >> 5 & 3;
		at += 4;
		n = n > size - at ? size - at : n;
		if (n > VMS_FRAME_BODY_BYTES_MAX)
			n = VMS_FRAME_BODY_BYTES_MAX;
		body = malloc(n ? n : 1); /* its own, so that a sanitizer sees its end */
		vms_assert(body);
		memcpy(body, data + at, n);
		m.body = body;
		m.body_bytes = (uint32_t)n;
		ev.conn = peer();
		ev.now_ms = R.now_us / 1000;
		vms_node_step(R.node[0].n, &ev);
		vms_node_turn_end(R.node[0].n, ev.now_ms);
		free(body);
		at += n;
		rig_run(&R, 5);
	}
	for (unsigned i = 0; i < R.nnodes; i++)
		vms_assert(R.node[i].n && !R.node[i].fatal);
	vms_assert(rig_active(&R));
	return 0;
}

static uint8_t *head(uint8_t *p, unsigned type, unsigned aux, unsigned bytes)
{
	p[0] = (uint8_t)type;
	p[1] = (uint8_t)aux;
	vms_put_le16(p + 2, (uint16_t)bytes);
	memset(p + 4, 0, bytes);
	return p + 4;
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	uint8_t *p = out, *b;

	switch (i) {
	case 0: /* poll, then a pull of the whole space from its beginning */
		p = head(p, 0, 0, 0);
		b = head(p, 1, 0, 36);
		vms_put_le32(b, 1);
		vms_put_le32(b + 8, 1);
		return (size_t)(b + 36 - out);
	case 1:
		for (unsigned k = 2; k < 4; k++) {
			b = head(p, k, k - 2, 48);
			for (unsigned j = 0; j < 2; j++) {
				vms_put_le64(b + 24 * j, vms_addr_make(5 + j, 64));
				vms_put_le64(b + 24 * j + 8, vms_addr_make(4, 64));
				vms_put_le64(b + 24 * j + 16, 1);
			}
			p = b + 48;
		}
		return (size_t)(p - out);
	case 2:
		for (unsigned k = 4; k < TYPES; k++) {
			b = head(p, k | 0x80, 1, 64);
			for (unsigned j = 0; j < 8; j++)
				vms_put_le64(b + 8 * j, vms_addr_make(4 + j, 64));
			p = b + 64;
		}
		return (size_t)(p - out);
	default:
		return 0;
	}
}
