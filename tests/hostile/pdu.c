// SPDX-License-Identifier: GPL-2.0-only
/*
 * Headers of a session's PDUs: opcodes, lengths, additional headers, LUNs, digests
 * (RFC 7143, 11.2, 11.3, 7.8).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <isa-l/crc.h>

#include "tests/hostile/hostile.h"

static uint8_t junk[400000];

/* The command is answered, or the target has closed the session; nothing else. */
static int closed_or_on(struct ini *s)
{
	if (next_pdu(s, ANSWER_MS))
		return strstr(why, "closed") ? 0 : -1;
	return goes_on(s);
}

static int t_opcodes(void)
{
	uint8_t h[BHS];
	struct ini s;

	for (int op = 0; op < 128; op++) {
		int o = op & 0x3f;

		if (o == OP_SCSI || o == OP_TMF || o == OP_LOGOUT || o == OP_NOP_OUT ||
		    o == OP_DATA_OUT)
			continue;
		if (login_ready(&s, 0x300, true))
			return fail("opcode %02x: %.200s", op, why);
		hdr_init(&s, h, op, 0x80);
		put32(h + 24, s.cmd_sn);
		send_pdu(&s, h, junk, 64); /* it may close before the data */
		if (o == OP_TEXT || o == OP_SNACK) {
			if (expect_reject(&s, 5))
				return fail("opcode %02x: %.200s", op, why);
			s.cmd_sn += o == OP_TEXT && !(op & IMMEDIATE);
			s.itt++;
			if (goes_on(&s))
				return fail("opcode %02x: %.200s", op, why);
		} else if (expect_closed(&s, ANSWER_MS)) {
			return fail("opcode %02x: %.200s", op, why);
		}
		ini_close(&s);
	}
	return 0;
}

/* Segments longer than MaxRecvDataSegmentLength (262144), of every kind. */
static int t_too_long(void)
{
	static const int ops[] = {OP_NOP_OUT,  OP_SCSI,	  OP_TMF,  OP_TEXT,
				  OP_DATA_OUT, OP_LOGOUT, OP_SNACK};
	static const uint32_t lens[] = {262145, 0x100000, 0xffffff};
	uint8_t h[BHS];
	struct ini s;

	for (size_t i = 0; i < NR(ops); i++)
		for (size_t l = 0; l < NR(lens); l++) {
			if (login_ready(&s, 0x301, true))
				return -1;
			hdr_init(&s, h, ops[i], 0x80);
			put32(h + 24, s.cmd_sn);
			h[5] = (uint8_t)(lens[l] >> 16), h[6] = (uint8_t)(lens[l] >> 8);
			h[7] = (uint8_t)lens[l];
			if (send_all(&s, h, BHS) || expect_closed(&s, ANSWER_MS))
				return fail("opcode %x, %u bytes: %.200s", ops[i], lens[l], why);
			ini_close(&s);
		}
	return 0;
}

/* Data where none belongs, additional headers where none belong. */
static int t_misplaced(void)
{
	static const struct {
		int op, flags, ahs;
		uint32_t len;
	} c[] = {
		{OP_TMF | IMMEDIATE, 0x81, 0, 4096},  {OP_LOGOUT | IMMEDIATE, 0x80, 0, 4},
		{OP_NOP_OUT | IMMEDIATE, 0x80, 1, 0}, {OP_NOP_OUT | IMMEDIATE, 0x80, 255, 0},
		{OP_DATA_OUT, 0x80, 1, 512},	      {OP_TMF | IMMEDIATE, 0x81, 4, 0},
		{OP_TEXT | IMMEDIATE, 0x80, 8, 0},    {OP_LOGOUT | IMMEDIATE, 0x80, 2, 0},
	};
	uint8_t h[BHS];
	struct ini s;

	for (size_t i = 0; i < NR(c); i++) {
		if (login_ready(&s, 0x302, true))
			return -1;
		hdr_init(&s, h, c[i].op, c[i].flags);
		h[4] = (uint8_t)c[i].ahs;
		put32(h + 24, s.cmd_sn);
		send_pdu(&s, h, junk, c[i].len);
		if (expect_closed(&s, ANSWER_MS))
			return fail("case %zu: %.200s", i, why);
		ini_close(&s);
	}
	return 0;
}

/* A command with an additional header. Returns as closed_or_on(). */
static int ahs_case(int words, int type, uint32_t len, int flags)
{
	uint8_t h[BHS], ahs[1020] = {0};
	struct ini s;
	int rc;

	if (login_ready(&s, 0x303, true))
		return -1;
	hdr_init(&s, h, OP_SCSI, flags);
	h[4] = (uint8_t)words;
	put32(h + 20, 512);
	put32(h + 24, s.cmd_sn++);
	s.itt++;
	h[32] = 0x7f; /* variable length */
	h[39] = (uint8_t)(len > 255 ? 255 : len);
	ahs[0] = (uint8_t)(len >> 8), ahs[1] = (uint8_t)len;
	ahs[2] = (uint8_t)type;
	for (size_t i = 4; i < sizeof(ahs); i++)
		ahs[i] = (uint8_t)rnd();
	send_all(&s, h, BHS);
	send_all(&s, ahs, (size_t)words * 4);
	rc = closed_or_on(&s);
	ini_close(&s);
	return rc;
}

static int t_additional_headers(void)
{
	static const uint32_t lens[] = {0, 1, 2, 5, 17, 245, 246, 1021, 0xffff};
	static const int words[] = {1, 2, 5, 64, 255};
	static const int flags[] = {0x81, 0xc1, 0xa1, 0xe1};

	for (size_t l = 0; l < NR(lens); l++)
		for (size_t w = 0; w < NR(words); w++)
			for (int type = 0; type < 4; type++)
				if (ahs_case(words[w], type, lens[l], flags[(l + w) % NR(flags)]))
					return fail("type %d, length %u in %d words: %.200s", type,
						    lens[l], words[w], why);
	return 0;
}

/* LUNs in all addressing methods: only ours is there. */
static int t_luns(void)
{
	struct ini s;

	if (login_ready(&s, 0x304, true))
		return -1;
	for (int i = 0; i < 400; i++) {
		uint8_t h[BHS], lun[8];
		uint32_t itt = s.itt++;
		bool ours;
		int st;

		for (int k = 0; k < 8; k++)
			lun[k] = i % 4 == 3 || k < 2 ? (uint8_t)rnd() : 0;
		if (i < 256)
			lun[0] = (uint8_t)i, lun[1] = i & 1 ? (uint8_t)lun_nr : 0;
		ours = (lun[0] == 0 || lun[0] == 0x40) && lun[1] == lun_nr;
		hdr_init(&s, h, OP_SCSI, 0x81);
		memcpy(h + 8, lun, 8);
		put32(h + 16, itt), put32(h + 20, 0), put32(h + 24, s.cmd_sn++);
		if (send_pdu(&s, h, NULL, 0))
			return -1;
		st = status_of(&s, itt, NULL, ANSWER_MS);
		if (st < 0)
			return fail("LUN %02x%02x: %.200s", lun[0], lun[1], why);
		if (ours && st && (s.data[2 + 2] & 15) != 6)
			return fail("LUN %02x%02x is ours, status %x", lun[0], lun[1], st);
		if (!ours && lun[1] != 0 && !(lun[0] >> 6) && !lun[0] && lun[1] != lun_nr &&
		    (st != 2 || s.data[2 + 12] != 0x25))
			return fail("LUN %02x%02x: status %x", lun[0], lun[1], st);
	}
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* ---- digests ----------------------------------------------------------------------- */

static int digest_session(struct ini *s, const char *keys, size_t len)
{
	if (login_extra(s, 0x305, keys, len))
		return -1;
	s->digests = true;
	return settle(s);
}
static const char both[] = "HeaderDigest=CRC32C\0DataDigest=CRC32C";

/* A write with its digests off by the two masks. */
static int wrong_digest(uint32_t header_xor, uint32_t data_xor)
{
	uint8_t h[BHS], data[BLOCK], buf[BLOCK];
	uint32_t crc;
	struct ini s;

	if (digest_session(&s, both, sizeof(both)) || write_block(&s, 70, 0x31))
		return -1;
	hdr_init(&s, h, OP_SCSI, 0xa1);
	put32(h + 20, BLOCK), put32(h + 24, s.cmd_sn);
	h[6] = BLOCK >> 8, h[32] = 0x2a, h[37] = 70, h[40] = 1;
	memset(data, 0x99, sizeof(data));
	crc = ~crc32_iscsi(h, BHS, ~0U) ^ header_xor;
	send_all(&s, h, BHS), send_all(&s, &crc, 4);
	crc = ~crc32_iscsi(data, BLOCK, ~0U) ^ data_xor;
	send_all(&s, data, BLOCK), send_all(&s, &crc, 4);
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	if (login_ready(&s, 0x305, true) || read_block(&s, 70, buf))
		return -1;
	ini_close(&s);
	return buf[0] == 0x31 ? 0 : fail("data with a wrong digest was written");
}

static int t_header_digest(void)
{
	return wrong_digest(1, 0) || wrong_digest(0x80000000, 0) || wrong_digest(~0U, 1) ? -1 : 0;
}
static int t_data_digest(void)
{
	return wrong_digest(0, 1) || wrong_digest(0, ~0U) ? -1 : 0;
}

/* Agreed on, and then left out. */
static int t_digest_left_out(void)
{
	static const uint8_t tur[16];
	struct ini s;

	if (digest_session(&s, both, sizeof(both)))
		return -1;
	s.digests = false;
	for (int i = 0; i < 3; i++)
		command(&s, tur, 0x80, 0, NULL, 0);
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

/* The digest of a header whose lengths were changed on the way: no memory is read by
 * them, and the data behind is not taken for a command. */
static int t_header_changed(void)
{
	uint8_t h[BHS];
	struct ini s;
	uint32_t crc;

	for (int i = 0; i < 48; i++) {
		if (digest_session(&s, both, sizeof(both)))
			return -1;
		hdr_init(&s, h, OP_SCSI, 0xa1);
		put32(h + 20, BLOCK), put32(h + 24, s.cmd_sn);
		h[6] = BLOCK >> 8, h[32] = 0x2a, h[37] = 71, h[40] = 1;
		crc = ~crc32_iscsi(h, BHS, ~0U);
		h[i] ^= 0x41;
		send_all(&s, h, BHS), send_all(&s, &crc, 4);
		/* enough for whatever it takes the lengths to be */
		for (int k = 0; k < 2; k++)
			send_all(&s, junk, sizeof(junk) / 2);
		if (expect_closed(&s, ANSWER_MS))
			return fail("byte %d: %.200s", i, why);
		ini_close(&s);
	}
	return 0;
}

/* A digest for a session that did not agree on one: 4 bytes of garbage. */
static int t_digest_not_agreed(void)
{
	static const uint8_t tur[16];
	struct ini s;

	if (login_ready(&s, 0x306, true))
		return -1;
	s.digests = true;
	for (int i = 0; i < 20; i++)
		command(&s, tur, 0x80, 0, NULL, 0);
	s.digests = false;
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

/* Whole sessions of random headers. */
static int t_garbage(void)
{
	struct ini s;

	for (int i = 0; i < 80; i++) {
		if (login_ready(&s, 0x307, true))
			return -1;
		for (int k = 0; k < 40; k++) {
			static const uint8_t ops[] = {0x40, 0x41, 0x42, 0x44, 0x05, 0x01, 0x10, 0};
			uint8_t h[BHS];

			for (int b = 0; b < BHS; b++)
				h[b] = (uint8_t)rnd();
			h[0] = ops[rnd() % NR(ops)];
			h[4] = rnd() % 8 ? 0 : h[4];
			h[8] = 0, h[9] = (uint8_t)lun_nr;
			put32(h + 24, s.cmd_sn);
			s.cmd_sn += !(h[0] & IMMEDIATE) && h[0] != 5 && h[0] != 0x10;
			if (h[0] == 0x01 || h[0] == 0x41) /* no writes to the others' blocks */
				h[1] &= 0xdf;
			if (send_pdu(&s, h, junk, rnd() % 3 ? 0 : rnd() % 600))
				break;
		}
		while (!recv_pdu(&s, 5))
			;
		ini_reset(&s);
	}
	return 0;
}

const struct hostile pdu_scripts[] = {
	{"opcodes", t_opcodes, 0},
	{"segments-too-long", t_too_long, 0},
	{"misplaced-data-and-headers", t_misplaced, 0},
	{"additional-headers", t_additional_headers, HOSTILE_HEAVY},
	{"luns", t_luns, 0},
	{"header-digest-wrong", t_header_digest, 0},
	{"data-digest-wrong", t_data_digest, 0},
	{"digest-left-out", t_digest_left_out, 0},
	{"header-changed", t_header_changed, HOSTILE_HEAVY},
	{"digest-not-agreed", t_digest_not_agreed, 0},
	{"garbage", t_garbage, HOSTILE_HEAVY | HOSTILE_RESETS},
	{NULL, NULL, 0},
};
