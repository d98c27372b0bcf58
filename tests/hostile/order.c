// SPDX-License-Identifier: GPL-2.0-only
/*
 * Numbers and tags: command numbers outside of the window, twice, wrapping, missing;
 * task tags in use; acknowledgements of what was never sent (RFC 7143, 4.2.2).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

static const uint8_t tur[16];

/* TEST UNIT READY with this number. */
static uint32_t numbered(struct ini *s, uint32_t sn)
{
	uint8_t h[BHS];
	uint32_t itt = s->itt++;

	hdr_init(s, h, OP_SCSI, 0x81);
	put32(h + 16, itt), put32(h + 20, 0), put32(h + 24, sn);
	send_pdu(s, h, NULL, 0);
	return itt;
}

static int silence(struct ini *s, const char *what)
{
	return next_pdu(s, 60) ? 0 : fail("%s is answered (opcode %x)", what, opcode(s));
}

static int t_out_of_window(void)
{
	static const uint32_t off[] = {128,	   129,	       1000,	  0x7fffffff,
				       0x80000000, 0xffffff00, 0xffffffff};
	struct ini s;

	if (login_ready(&s, 0x400, true))
		return -1;
	for (size_t i = 0; i < NR(off); i++)
		numbered(&s, s.cmd_sn + off[i]);
	if (silence(&s, "a number outside of the window") || goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_twice(void)
{
	struct ini s;
	uint32_t itt;

	if (login_ready(&s, 0x401, true))
		return -1;
	itt = numbered(&s, s.cmd_sn);
	for (int i = 0; i < 50; i++)
		numbered(&s, s.cmd_sn);
	s.cmd_sn++;
	if (expect_good(&s, itt) || silence(&s, "a number that was used") || goes_on(&s))
		return -1;
	/* twice while it waits for its turn */
	itt = numbered(&s, s.cmd_sn + 1);
	numbered(&s, s.cmd_sn + 1);
	if (silence(&s, "a number too early"))
		return -1;
	if (expect_good(&s, numbered(&s, s.cmd_sn)) || expect_good(&s, itt))
		return -1;
	s.cmd_sn += 2;
	if (silence(&s, "the second one") || goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* Backwards: the whole window waits for its first. */
static int t_backwards(void)
{
	uint32_t itt[100];
	struct ini s;

	if (login_ready(&s, 0x402, true))
		return -1;
	for (uint32_t i = 99; i > 0; i--)
		itt[i] = numbered(&s, s.cmd_sn + i);
	if (silence(&s, "a number too early"))
		return -1;
	itt[0] = numbered(&s, s.cmd_sn);
	for (int i = 0; i < 100; i++)
		if (expect_good(&s, itt[i]))
			return fail("number %d: %.200s", i, why);
	s.cmd_sn += 100;
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* A gap that is never filled; the session goes with what waits, or lives on by immediate
 * requests. */
static int t_gap(void)
{
	uint8_t data[BLOCK] = {0};
	struct ini s;

	for (int k = 0; k < 3; k++) {
		if (login_ready(&s, 0x403, true))
			return -1;
		s.cmd_sn++;
		for (int i = 0; i < 60; i++)
			rw10(&s, 0x2a, 80, 1, data, i & 1 ? BLOCK : 0);
		for (int i = 0; i < 60; i++)
			rw10(&s, 0x28, 80, 8, NULL, 0);
		if (tmf(&s, k == 1 ? 2 : 1, s.itt - 5) || expect_op(&s, OP_TMF_RSP, ANSWER_MS))
			return -1;
		if (k == 2)
			ini_reset(&s);
		else
			ini_close(&s);
	}
	return 0;
}

/* Through the end of the numbers. */
static int t_wrap(void)
{
	struct ini s;

	if (ini_connect(&s, 0x404))
		return -1;
	s.cmd_sn = 0xfffffff0;
	if (login_send(&s, NULL, 0, OPER_TO_FFP) || recv_pdu(&s, ANSWER_MS))
		return -1;
	while (!(s.hdr[1] & 0x80) && !s.hdr[36])
		if (login_send(&s, NULL, 0, OPER_TO_FFP) || recv_pdu(&s, ANSWER_MS))
			return -1;
	for (int i = 0; i < 40; i++)
		if (status_of(&s, command(&s, tur, 0x80, 0, NULL, 0), NULL, ANSWER_MS) < 0)
			return fail("command %d: %.200s", i, why);
	/* a window of them at once over the end is the same; then old ones again */
	for (uint32_t i = 1; i < 60; i++)
		numbered(&s, s.cmd_sn - i);
	if (silence(&s, "an old number") || goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* What is acknowledged has never been sent. */
static int t_acknowledged(void)
{
	static const uint32_t sn[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
	struct ini s;

	if (login_ready(&s, 0x405, true))
		return -1;
	for (size_t i = 0; i < 5 * NR(sn); i++) {
		s.exp_stat_sn = sn[i % NR(sn)];
		if (expect_good(&s, command(&s, tur, 0x80, 0, NULL, 0)))
			return -1;
	}
	ini_close(&s);
	return 0;
}

/* A task tag that is in use: the first command has it. */
static int t_tag_in_use(void)
{
	uint8_t data[BLOCK], buf[BLOCK];
	uint32_t itt, ttt;
	struct ini s;

	if (login_ready(&s, 0x406, false) || settle(&s))
		return -1;
	itt = rw10(&s, 0x2a, 81, 1, NULL, 0);
	if (expect_r2t(&s, itt, &ttt, NULL))
		return -1;
	for (int i = 0; i < 20; i++) {
		s.itt = itt;
		command(&s, tur, 0x80, 0, NULL, 0);
	}
	s.cmd_sn -= 20;
	s.itt = itt + 1;
	memset(data, 0x21, sizeof(data));
	if (silence(&s, "a tag in use") || data_out(&s, itt, ttt, 0, 0, data, BLOCK, true) ||
	    expect_good(&s, itt) || read_block(&s, 81, buf) || buf[0] != 0x21)
		return fail("the first one: %.200s", why);
	ini_close(&s);
	return 0;
}

/* The tag that stands for none. */
static int t_reserved_tag(void)
{
	uint8_t buf[BLOCK];
	uint32_t itt;
	struct ini s;
	int st;

	if (login_ready(&s, 0x407, true))
		return -1;
	s.itt = RESERVED;
	itt = rw10(&s, 0x28, 0, 1, NULL, 0);
	st = status_of(&s, itt, buf, ANSWER_MS);
	s.itt = 5;
	if (st < 0 && strstr(why, "closed"))
		return ini_close(&s), 0;
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* NOP-Out that answers pings nobody sent, with and without data, and asks without a tag. */
static int t_pings(void)
{
	uint8_t h[BHS], data[2048] = {0};
	struct ini s;

	if (login_ready(&s, 0x408, true))
		return -1;
	for (int i = 0; i < 3000; i++) {
		hdr_init(&s, h, OP_NOP_OUT | IMMEDIATE, 0x80);
		put32(h + 16, RESERVED);
		put32(h + 20, rnd());
		put32(h + 24, s.cmd_sn);
		if (send_pdu(&s, h, data, rnd() % 4 ? 0 : rnd() % sizeof(data)))
			return -1;
	}
	if (goes_on(&s))
		return -1;
	/* neither an answer nor a question */
	hdr_init(&s, h, OP_NOP_OUT, 0x80);
	put32(h + 16, RESERVED), put32(h + 20, RESERVED), put32(h + 24, s.cmd_sn);
	if (send_pdu(&s, h, NULL, 0) || expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

/* The biggest ping, answered with no more than we take. */
static int t_ping_too_long(void)
{
	static const char keys[] = "MaxRecvDataSegmentLength=512";
	static uint8_t data[262144];
	uint8_t h[BHS];
	struct ini s;

	if (login_extra(&s, 0x409, keys, sizeof(keys)) || settle(&s))
		return -1;
	hdr_init(&s, h, OP_NOP_OUT | IMMEDIATE, 0x80);
	put32(h + 16, s.itt++), put32(h + 24, s.cmd_sn);
	if (send_pdu(&s, h, data, sizeof(data)) || expect_op(&s, OP_NOP_IN, ANSWER_MS))
		return -1;
	if (s.len > 512)
		return fail("%u bytes although 512 were declared", s.len);
	ini_close(&s);
	return 0;
}

/* Ordered commands wait for one that takes its time, and the connection is broken in the
 * same breath. */
static int t_ordered_then_broken(void)
{
	static uint8_t all[60 * BHS];
	struct ini s;

	for (int k = 0; k < 30; k++) {
		uint8_t *h = all;

		if (login_ready(&s, 0x40a, true))
			return -1;
		for (int i = 0; i < 50; i++, h += BHS) {
			hdr_init(&s, h, OP_SCSI, i < 4 ? 0xc1 : i & 1 ? 0x82 : 0x83);
			put32(h + 16, s.itt++);
			put32(h + 20, i < 4 ? BLOCK : 0);
			put32(h + 24, s.cmd_sn++);
			if (i < 4)
				h[32] = 0x28, h[40] = 1;
		}
		hdr_init(&s, h, 0x1f, 0x80); /* no such opcode */
		if (send_all(&s, all, (size_t)(h + BHS - all)))
			return -1;
		if (k & 1)
			ini_reset(&s);
		else if (expect_closed(&s, ANSWER_MS))
			return -1;
		ini_close(&s);
	}
	return 0;
}

const struct hostile order_scripts[] = {
	{"number-out-of-window", t_out_of_window, 0},
	{"number-twice", t_twice, 0},
	{"backwards", t_backwards, 0},
	{"gap-for-ever", t_gap, 0},
	{"wrap", t_wrap, 0},
	{"acknowledged-nonsense", t_acknowledged, 0},
	{"tag-in-use", t_tag_in_use, 0},
	{"reserved-tag", t_reserved_tag, 0},
	{"pings-of-nobody", t_pings, HOSTILE_HEAVY},
	{"ping-too-long", t_ping_too_long, 0},
	{"ordered-then-broken", t_ordered_then_broken, 0},
	{NULL, NULL, 0},
};
