// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the table of reservations. The input is a record, then commands:
 * a record that is taken encodes to itself; whatever a command makes of the table is one
 * that all gateways can read; no answer is longer than its room.
 *
 * Input: u16 length, the text; then, each time, u8 nexus, u8 opcode, 9 more bytes of CDB,
 * u16 length, the parameter list.
 */
#include "target/pr.h"
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"
#include "utils/lib/bytes.h"

static const struct vms_pr_nexus nexus[4] = {
	{.initiator = "iqn.a", .isid = {1}, .target_port = 1},
	{.initiator = "iqn.b", .isid = {1}, .target_port = 1},
	{.initiator = "iqn.a", .isid = {1}, .target_port = 2},
	{.initiator = "iqn.a", .isid = {2}, .target_port = 1},
};

static void same(const struct vms_pr *a, const struct vms_pr *b)
{
	vms_assert(a->fence == b->fence && a->generation == b->generation && a->n == b->n &&
		   a->type == b->type && a->holder == b->holder && a->held == b->held &&
		   a->pending == b->pending && a->nevents == b->nevents);
	for (unsigned i = 0; i < a->n; i++)
		vms_assert(vms_pr_same_nexus(&a->reg[i].nexus, &b->reg[i].nexus) &&
			   a->reg[i].key == b->reg[i].key);
	for (unsigned i = 0; i < a->nevents; i++)
		vms_assert(vms_pr_same_nexus(&a->event[i].nexus, &b->event[i].nexus) &&
			   a->event[i].asc == b->event[i].asc &&
			   a->event[i].abort == b->event[i].abort);
}

/* NULL: longer than the catalog takes, which no change makes it. */
static bool comes_back(const struct vms_pr *t)
{
	char *text = vms_pr_encode(t);
	struct vms_pr back;

	if (!text)
		return false;
	vms_assert(!vms_pr_decode(&back, "pr/x", text, NULL));
	same(t, &back);
	vms_pr_free(&back);
	free(text);
	return true;
}

static void command(struct vms_pr *t, struct vms_rd *rd)
{
	static const uint16_t ports[] = {1, 2, 7};
	static const uint8_t ops[] = {0x5f, 0x5f, 0x5f, 0x5e, 0x16, 0x17, 0x56, 0x57};
	static uint8_t in[VMS_PR_IN_BYTES_MAX];
	unsigned who = vms_rd_u8(rd) & 3;
	uint8_t cdb[10] = {ops[vms_rd_u8(rd) & 7]}, *list;
	struct vms_pr_req q = {.cdb = cdb,
			       .who = {&nexus[who], {1 + (who == 2), 1, 1 + who}},
			       .port = ports,
			       .nports = 3,
			       .known = nexus,
			       .nknown = 4};
	struct vms_pr next;
	struct vms_sense s;
	uint16_t len;
	int rc;

	vms_rd_bytes(rd, cdb + 1, 9);
	len = vms_rd_u16(rd);
	if (len > vms_rd_left(rd))
		len = (uint16_t)vms_rd_left(rd);
	/* exactly as long as told, so that ASan sees every overrun */
	list = malloc(len ? len : 1);
	vms_rd_bytes(rd, list, len);
	q.list = list;
	q.list_bytes = len;
	(void)vms_pr_needs_ports(cdb, list, len);
	if (cdb[0] == 0x5e) {
		rc = vms_pr_in(t, cdb, in, &s);
		vms_assert(rc <= (int)sizeof(in));
	} else if ((rc = vms_pr_step(t, &q, &next, &s)) > 0) {
		next.fence = t->fence + 1;
		next.by = (struct vms_pr_owner){1, 1, next.fence};
		vms_assert(next.pending && next.n <= VMS_PR_REGISTRATIONS_MAX);
		if (comes_back(&next)) {
			vms_pr_free(t);
			*t = next;
		} else {
			vms_pr_free(&next);
		}
	} else {
		vms_assert(rc == 0 || s.status);
	}
	for (unsigned i = 0; i < 4; i++)
		(void)vms_pr_refuses(t, &(struct vms_pr_who){&nexus[i], {1, 1, i}}, VMS_ACC_WRITE);
	free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vms_errmsg e;
	struct vms_pr_ack ack;
	struct vms_pr t;
	struct vms_rd rd;
	uint16_t len;
	char *text;

	vms_rd_init(&rd, data, size);
	len = vms_rd_u16(&rd);
	if (len > vms_rd_left(&rd))
		len = (uint16_t)vms_rd_left(&rd);
	text = calloc(1, len + 1u);
	vms_rd_bytes(&rd, text, len);
	(void)vms_pr_ack_decode(&ack, "pr/x/1", text, &e);
	if (vms_pr_decode(&t, "pr/x", text, &e))
		vms_pr_init(&t);
	else if (t.fence && t.fence < INT64_MAX - 1000)
		(void)comes_back(&t);
	else
		vms_pr_free(&t);
	while (vms_rd_left(&rd))
		command(&t, &rd);
	vms_pr_free(&t);
	free(text);
	return 0;
}

/* ---- seeds ---- */

static void put_command(struct vms_wr *w, unsigned who, unsigned sa, uint8_t type, uint64_t key,
			uint64_t sa_key, uint8_t bits, const char *id)
{
	uint8_t list[128] = {0};
	uint32_t len = 24, n = 0;

	vms_put_be64(list, key);
	vms_put_be64(list + 8, sa_key);
	if (id) {
		uint8_t *p = list + (sa == 7 ? 24 : 28);

		n = ((uint32_t)strlen(id) + 4) & ~3u;
		n = n < 20 ? 20 : n;
		p[0] = strchr(id, ',') ? 0x45 : 0x05;
		vms_put_be16(p + 2, (uint16_t)n);
		memcpy(p + 4, id, strlen(id));
		vms_put_be32(list + (sa == 7 ? 20 : 24), n + 4);
		len = (sa == 7 ? 24 : 28) + n + 4;
	}
	if (sa == 7) {
		list[17] = bits;
		vms_put_be16(list + 18, type);
		type = 0;
	} else {
		list[20] = bits;
	}
	vms_wr_u8(w, (uint8_t)who);
	vms_wr_u8(w, 0);
	vms_wr_u8(w, (uint8_t)sa);
	vms_wr_u8(w, type);
	vms_wr_be16(w, 0);
	vms_wr_be32(w, len);
	vms_wr_u8(w, 0);
	vms_wr_u16(w, (uint16_t)len);
	vms_wr_bytes(w, list, len);
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static const char *const text[] = {
		"",
		"{\"fence\":9,\"generation\":3,\"type\":5,\"holder\":1,\"registrations\":"
		"[[\"iqn.a\",\"010000000000\",1,\"000000000000000a\"],"
		"[\"iqn.b%25\",\"010000000000\",1,\"000000000000000b\"]],"
		"\"by\":[1,2,\"0000000000000003\"],"
		"\"tell\":[[0,10757,true],[[\"iqn.c\",\"010000000000\",2],10755,false]]}",
		"{\"fence\":2,\"generation\":0,\"type\":0,\"holder\":-1,\"registrations\":[],"
		"\"reserve\":[1,1,\"0000000000000001\"]}",
		"{\"fence\":7,\"gateway\":1,\"incarnation\":3}",
	};
	struct vms_wr w;

	if (i >= sizeof(text) / sizeof(text[0]))
		return 0;
	vms_wr_init(&w, out, FUZZ_BYTES_MAX);
	vms_wr_u16(&w, (uint16_t)strlen(text[i]));
	vms_wr_bytes(&w, text[i], strlen(text[i]));
	put_command(&w, 0, 0, 0, 0, 0xa, 0, NULL);
	put_command(&w, 1, 0, 0, 0, 0xb, 8, "iqn.x,i,0x400000000001");
	put_command(&w, 2, 0, 0, 0, 0xa, 8 | 4, "iqn.a");
	put_command(&w, 0, 1, 5, 0xa, 0, 0, NULL);
	put_command(&w, 0, 7, 2, 0xa, 0xc, 2, "iqn.y,i,0x400000000002");
	put_command(&w, 1, 5, 1, 0xb, 0xc, 0, NULL);
	put_command(&w, 1, 3, 0, 0xb, 0, 0, NULL);
	return vms_wr_len(&w);
}
