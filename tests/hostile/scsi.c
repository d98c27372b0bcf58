// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands: all opcodes with garbage, allocation lengths, parameter lists that are short,
 * long, or lie about themselves. Every command is answered; what is wrong with it is
 * ILLEGAL REQUEST; the LUN's contents do not change by it (the well-behaved session
 * compares).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define PARAMS_MAX 4096

/* A command with data to it (len > 0) or from it (room > 0). Status, or -1. */
static int exec(struct ini *s, const uint8_t *cdb, const void *out, uint32_t len, uint32_t room)
{
	uint32_t itt = command(s, cdb, len ? 0xa0 : room ? 0xc0 : 0x80, len ? len : room, out, len);

	for (;;) {
		if (next_pdu(s, ANSWER_MS))
			return fail("opcode %02x: %.200s", cdb[0], why);
		if (get32(s->hdr + 16) != itt)
			return fail("opcode %02x: an answer to another tag", cdb[0]);
		if (opcode(s) == OP_DATA_IN && !(s->hdr[1] & 1))
			continue;
		if (opcode(s) == OP_DATA_IN || opcode(s) == OP_SCSI_RSP)
			return s->hdr[3];
		return fail("opcode %02x: PDU %x", cdb[0], opcode(s));
	}
}

/* The same for what must be refused with ILLEGAL REQUEST (unit attentions aside). */
static int illegal(struct ini *s, const uint8_t *cdb, const void *out, uint32_t len)
{
	for (int i = 0; i < 4; i++) {
		int st = exec(s, cdb, out, len, 0);

		if (st < 0)
			return -1;
		if (st == 2 && s->len > 4 && (s->data[2 + 2] & 15) == 6)
			continue;
		if (st != 2 || s->len < 4 || (s->data[2 + 2] & 15) != 5)
			return fail("opcode %02x: status %x, key %x", cdb[0], st,
				    st == 2 && s->len > 4 ? s->data[2 + 2] & 15 : 0);
		return 0;
	}
	return fail("unit attentions without end");
}

/* No writes to where others work, and nothing that keeps them out. */
static void tame(uint8_t *cdb)
{
	switch (cdb[0]) {
	case 0x04: /* FORMAT UNIT, RESERVE, RELEASE, START STOP UNIT, PREVENT */
	case 0x16:
	case 0x17:
	case 0x1b:
	case 0x1e:
	case 0x48: /* SANITIZE, RESERVE(10), RELEASE(10), PERSISTENT RESERVE OUT */
	case 0x56:
	case 0x57:
	case 0x5f:
		cdb[0] = 0;
		break;
	case 0x0a: /* 6 bytes: the LBA is the upper end of 21 bits */
	case 0x08:
		cdb[1] |= 0x1f;
		break;
	default: /* beyond the end */
		cdb[2] |= 0x80;
	}
}

static int all_opcodes(uint32_t out, uint32_t room)
{
	static uint8_t junk[PARAMS_MAX];
	uint8_t cdb[16];
	struct ini s;

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)rnd();
	if (login_ready(&s, 0xc00, true))
		return -1;
	for (int op = 0; op < 256; op++)
		for (int v = 0; v < 6; v++) {
			for (int i = 0; i < 16; i++)
				cdb[i] = v == 0 ? 0 : v == 1 ? 0xff : (uint8_t)rnd();
			cdb[0] = (uint8_t)op;
			tame(cdb);
			if (v == 5) /* service actions */
				cdb[1] = (uint8_t)(op + v) & 0x1f, cdb[15] = cdb[5] = 0;
			if (exec(&s, cdb, junk, out, room) < 0)
				return -1;
		}
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_opcodes_no_data(void)
{
	return all_opcodes(0, 0);
}
static int t_opcodes_read(void)
{
	return all_opcodes(0, 1) || all_opcodes(0, 65536) ? -1 : 0;
}
static int t_opcodes_write(void)
{
	return all_opcodes(1, 0) || all_opcodes(PARAMS_MAX, 0) ? -1 : 0;
}

/* Allocation lengths from nothing to everything, with room for less or more than it. */
static int t_allocation(void)
{
	static const struct {
		uint8_t cdb[16];
		int at, width;
	} c[] = {
		{{0x12}, 3, 2},		 {{0x12, 1, 0x00}, 3, 2}, {{0x12, 1, 0x80}, 3, 2},
		{{0x12, 1, 0x83}, 3, 2}, {{0x12, 1, 0xb0}, 3, 2}, {{0x12, 1, 0xb2}, 3, 2},
		{{0x1a, 0, 0x3f}, 4, 1}, {{0x5a, 0, 0x3f}, 7, 2}, {{0xa0}, 6, 4},
		{{0x9e, 0x10}, 10, 4},	 {{0x9e, 0x12}, 10, 4},	  {{0x03}, 4, 1},
		{{0x5e, 0}, 7, 2},	 {{0x5e, 1}, 7, 2},	  {{0x5e, 2}, 7, 2},
		{{0x5e, 3}, 7, 2},	 {{0xa3, 0x0c}, 6, 4},	  {{0xa3, 0x0a}, 6, 4},
		{{0x25}, 0, 0},
	};
	static const uint32_t alloc[] = {0,  1,	  3,   4,      7,	8,
					 31, 255, 256, 0xffff, 0x10000, 0xffffffff};
	static const uint32_t room[] = {0, 1, 8, 256, 70000};
	struct ini s;

	if (login_ready(&s, 0xc01, true))
		return -1;
	for (size_t i = 0; i < NR(c); i++)
		for (size_t a = 0; a < NR(alloc); a++) {
			uint8_t cdb[16];
			int st;

			memcpy(cdb, c[i].cdb, 16);
			for (int k = 0; k < c[i].width; k++)
				cdb[c[i].at + k] = (uint8_t)(alloc[a] >> 8 * (c[i].width - 1 - k));
			st = exec(&s, cdb, NULL, 0, room[(a + i) % NR(room)]);
			if (st < 0)
				return fail("case %zu, allocation %u: %.180s", i, alloc[a], why);
			if (opcode(&s) == OP_DATA_IN && s.len > alloc[a] && c[i].width == 4)
				return fail("case %zu: %u bytes, allocation %u", i, s.len,
					    alloc[a]);
		}
	ini_close(&s);
	return 0;
}

/* ---- parameter lists ----------------------------------------------------------------- */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v;
}

static int t_unmap(void)
{
	uint8_t cdb[16] = {0x42}, p[PARAMS_MAX] = {0};
	struct ini s;

	if (login_ready(&s, 0xc02, true))
		return -1;
	/* the list is shorter than it says, or is nothing but a header */
	for (uint32_t len = 1; len < 8; len++) {
		put16(cdb + 7, len);
		if (illegal(&s, cdb, p, len))
			return fail("%u bytes: %.200s", len, why);
	}
	/* lengths inside that lie: every answer is lawful, none may hang or read beyond */
	for (int i = 0; i < 200; i++) {
		uint32_t len = 8 + rnd() % 256;

		for (size_t k = 0; k < sizeof(p); k++)
			p[k] = (uint8_t)rnd();
		put16(p, i & 1 ? 0xffff : rnd() % 512);
		put16(p + 2, i & 2 ? 0xfff0 : rnd() % 512);
		for (uint32_t k = 8; k + 16 <= sizeof(p); k += 16)
			p[k] |= 0x80; /* beyond the end */
		put16(cdb + 7, i & 4 ? len : rnd());
		if (exec(&s, cdb, p, len, 0) < 0)
			return -1;
	}
	/* wraps: LBA + blocks beyond 2^64 */
	memset(p, 0xff, 8 + 16);
	put16(p, 22), put16(p + 2, 16);
	put16(cdb + 7, 24);
	if (illegal(&s, cdb, p, 24))
		return -1;
	/* more descriptors than are taken (VPD B0) */
	memset(p, 0, sizeof(p));
	put16(p, 4086), put16(p + 2, 4080);
	put16(cdb + 7, 4088);
	for (uint32_t k = 8; k + 16 <= sizeof(p); k += 16)
		put32(p + k + 4, 100000), put32(p + k + 8, 1);
	if (exec(&s, cdb, p, 4088, 0) < 0 || goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_mode_select(void)
{
	uint8_t p[512];
	struct ini s;

	if (login_ready(&s, 0xc03, true))
		return -1;
	for (int i = 0; i < 300; i++) {
		uint8_t cdb[16] = {i & 1 ? 0x15 : 0x55, 0x10};
		uint32_t len = rnd() % 256;

		for (size_t k = 0; k < sizeof(p); k++)
			p[k] = i % 3 ? (uint8_t)rnd() : 0;
		if (i % 3 == 1) { /* a page that claims to be long */
			memset(p, 0, 8);
			p[i & 1 ? 4 : 8] = 0x08, p[i & 1 ? 5 : 9] = 0xff;
		}
		if (i & 1)
			cdb[4] = (uint8_t)(i % 5 ? len : 255);
		else
			put16(cdb + 7, i % 5 ? len : 0xffff);
		if (exec(&s, cdb, p, len, 0) < 0)
			return -1;
	}
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* WRITE SAME of nothing, with too little, beyond the end; COMPARE AND WRITE likewise. */
static int t_write_same(void)
{
	uint8_t same[16] = {0x93}, caw[16] = {0x89}, p[4 * BLOCK] = {0};
	struct ini s;

	if (login_ready(&s, 0xc04, true))
		return -1;
	for (uint32_t len = 0; len <= sizeof(p); len += 171) {
		put32(same + 6, 0xfffffff0), put32(same + 10, 0x20);
		if (illegal(&s, same, p, len))
			return fail("%u bytes: %.200s", len, why);
		put32(caw + 6, 0xfffffff0), caw[13] = 1;
		if (illegal(&s, caw, p, len))
			return fail("COMPARE AND WRITE, %u bytes: %.200s", len, why);
	}
	/* lengths that do not fit: refused, or short; answered in any case */
	memset(same + 2, 0, 12), memset(caw + 2, 0, 12);
	put32(same + 6, 200000), put32(caw + 6, 200000);
	for (uint32_t n = 0; n < 256; n += 51)
		for (uint32_t len = 0; len <= sizeof(p); len += 340) {
			put32(same + 10, n), caw[13] = (uint8_t)n;
			if (exec(&s, same, p, len, 0) < 0 || exec(&s, caw, p, len, 0) < 0)
				return -1;
		}
	put32(same + 10, 0xffffffff);
	if (exec(&s, same, p, BLOCK, 0) < 0 || goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* PERSISTENT RESERVE OUT: every service action with lists of every length, with garbage,
 * and with transport ids that lie. */
static int t_reserve_out(void)
{
	uint8_t p[512];
	struct ini s;
	int rc = 0;

	if (login_ready(&s, 0xc05, true))
		return -1;
	for (int sa = 0; sa < 32 && !rc; sa++)
		for (uint32_t len = 0; len < 64 && !rc; len += sa == 7 || sa == 0 ? 1 : 5) {
			uint8_t cdb[16] = {0x5f, (uint8_t)sa, 0x05};

			memset(p, 0, sizeof(p));
			p[0] = 0x99; /* a key nobody has registered */
			put32(cdb + 5, len);
			rc = exec(&s, cdb, p, len, 0) < 0;
		}
	for (int i = 0; i < 300 && !rc; i++) {
		uint8_t cdb[16] = {0x5f, i & 1 ? 0x00 : 0x07, 0x05};
		uint32_t len = 24 + rnd() % 200, id = 28;

		memset(p, 0, sizeof(p));
		p[0] = 0x99;
		p[8] = 1;				 /* to register under it */
		p[20] = (uint8_t)(i % 3 ? 0x08 : rnd()); /* SPEC_I_PT */
		put32(p + 24, i % 5 ? len - 28 : rnd());
		if (!(i & 1)) { /* REGISTER AND MOVE */
			put32(p + 20, i % 3 ? len - 24 : 0xffffffff);
			id = 24;
		}
		p[id] = i % 4 ? 0x45 : (uint8_t)rnd(); /* iSCSI, name and ISID */
		put16(p + id + 2, i % 3 ? len - id - 4 : rnd());
		for (uint32_t k = id + 4; k < len; k++)
			p[k] = i % 7 ? 'a' + (uint8_t)(k % 26) : (uint8_t)rnd();
		if (i % 6 == 0)
			memcpy(p + id + 4, "iqn.x,i,0x", 10);
		put32(cdb + 5, i % 9 ? len : 0xffffffff);
		rc = exec(&s, cdb, p, len, 0) < 0;
	}
	/* whatever was registered goes */
	for (int i = 0; i < 2 && !rc; i++) {
		uint8_t cdb[16] = {0x5f, i ? 0x06 : 0x03};

		memset(p, 0, 24);
		p[i ? 8 : 0] = i ? 0 : 1;
		cdb[8] = 24;
		if (i)
			cdb[1] = 0x06;
		rc = exec(&s, cdb, p, 24, 0) < 0;
	}
	if (rc || goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* EXTENDED COPY and RECEIVE COPY RESULTS, whether they are served or not. */
static int t_extended_copy(void)
{
	uint8_t p[1024];
	struct ini s;

	if (login_ready(&s, 0xc06, true))
		return -1;
	for (int i = 0; i < 300; i++) {
		uint8_t cdb[16] = {i % 7 ? 0x83 : 0x84, (uint8_t)(i % 3 ? 0 : rnd() % 32)};
		uint32_t len = rnd() % 300;

		for (size_t k = 0; k < sizeof(p); k++)
			p[k] = i & 1 ? (uint8_t)rnd() : 0;
		put16(p + 2, i & 2 ? 64 : rnd()); /* target descriptors */
		put32(p + 8, i & 4 ? 28 : rnd()); /* segment descriptors */
		put32(p + 12, i & 8 ? 0 : rnd()); /* inline data */
		p[16] = 0xe4, p[48] = 0xe4;	  /* identification descriptors */
		p[16 + 7] = (uint8_t)(i & 16 ? 16 : rnd());
		p[80] = 2, put16(p + 82, i & 32 ? 24 : rnd());
		p[80 + 12] |= 0x80, p[80 + 20] |= 0x80; /* beyond the end */
		put32(cdb + 10, i % 5 ? len : 0xffffffff);
		if (exec(&s, cdb, p, len, 0) < 0)
			return -1;
	}
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

const struct hostile scsi_scripts[] = {
	{"opcodes-without-data", t_opcodes_no_data, HOSTILE_RESETS},
	{"opcodes-reading", t_opcodes_read, HOSTILE_RESETS},
	{"opcodes-writing", t_opcodes_write, HOSTILE_RESETS},
	{"allocation-lengths", t_allocation, 0},
	{"unmap-lists", t_unmap, 0},
	{"mode-select-lists", t_mode_select, HOSTILE_RESETS},
	{"write-same-and-compare", t_write_same, 0},
	{"reserve-out-lists", t_reserve_out, HOSTILE_RESETS},
	{"extended-copy-lists", t_extended_copy, 0},
	{NULL, NULL, 0},
};
