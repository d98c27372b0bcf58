// SPDX-License-Identifier: GPL-2.0-only
/* Task management and logout with tags, LUNs and numbers of nobody (RFC 7143, 11.5, 11.14). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

static int manage(struct ini *s, int fn, const uint8_t *lun, uint32_t rtt)
{
	uint8_t h[BHS];

	hdr_init(s, h, OP_TMF | IMMEDIATE, 0x80 | fn);
	if (lun)
		memcpy(h + 8, lun, 8);
	put32(h + 16, s->itt++), put32(h + 20, rtt), put32(h + 24, s->cmd_sn);
	if (send_pdu(s, h, NULL, 0) || expect_op(s, OP_TMF_RSP, ANSWER_MS))
		return -1;
	return s->hdr[2];
}

static int t_functions(void)
{
	struct ini s;

	if (login_ready(&s, 0x700, true))
		return -1;
	for (int fn = 0; fn < 128; fn++) {
		int r;

		if (fn >= 2 && fn <= 6 && fn != 3) /* those do something */
			continue;
		r = manage(&s, fn, NULL, 12345);
		if (r < 0)
			return fail("function %d: %.200s", fn, why);
		if (r == 0)
			return fail("function %d is answered 'done'", fn);
	}
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_tags(void)
{
	struct ini s;

	if (login_ready(&s, 0x701, true))
		return -1;
	for (int i = 0; i < 300; i++) {
		int r = manage(&s, 1, NULL, i < 3 ? RESERVED - (uint32_t)i : rnd());

		if (r != 1)
			return r < 0 ? -1 : fail("abort of nothing is answered %d", r);
	}
	/* of itself, and of the request before */
	if (manage(&s, 1, NULL, s.itt) != 1 || manage(&s, 1, NULL, s.itt - 1) != 1)
		return fail("abort of a task management request: %.200s", why);
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_luns(void)
{
	uint8_t lun[8] = {0};
	struct ini s;

	if (login_ready(&s, 0x702, true))
		return -1;
	for (int i = 0; i < 200; i++) {
		int fn = i % 3 == 0 ? 2 : i % 3 == 1 ? 4 : 5, r;

		for (int k = 0; k < 8; k++)
			lun[k] = (uint8_t)rnd();
		lun[0] |= 0x80; /* none of ours */
		r = manage(&s, fn, lun, 0);
		if (r != 2)
			return r < 0 ? -1
				     : fail("function %d of an unknown LUN is answered %d", fn, r);
	}
	if (goes_on(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* Another session's commands are not ours to abort. */
static int t_foreign(void)
{
	uint32_t itt, ttt;
	uint8_t data[BLOCK] = {0};
	struct ini a, b;

	if (login_ready(&a, 0x703, false) || login_ready(&b, 0x704, true))
		return -1;
	itt = rw10(&a, 0x2a, 90, 1, NULL, 0);
	if (expect_r2t(&a, itt, &ttt, NULL))
		return -1;
	if (manage(&b, 1, NULL, itt) != 1 || manage(&b, 2, NULL, 0) != 0)
		return fail("answers: %.200s", why);
	if (data_out(&a, itt, ttt, 0, 0, data, BLOCK, true) || expect_good(&a, itt))
		return -1;
	ini_close(&a);
	ini_close(&b);
	return 0;
}

/* Many requests for one command, and resets on top of each other. */
static int t_storm(void)
{
	struct ini s;
	uint8_t h[BHS];
	int answers = 0;

	for (int k = 0; k < 6; k++) {
		uint32_t itt;

		if (login_ready(&s, 0x705, k & 1))
			return -1;
		for (int i = 0; i < 20; i++)
			rw10(&s, i & 1 ? 0x2a : 0x28, 96, 64, NULL, 0);
		itt = s.itt - 7;
		for (int i = 0; i < 60; i++) {
			static const uint8_t fns[] = {1, 1, 2, 4, 5, 6};

			hdr_init(&s, h, OP_TMF | IMMEDIATE, 0x80 | fns[i % 6]);
			put32(h + 16, s.itt++), put32(h + 20, itt - (uint32_t)(i % 9));
			put32(h + 24, s.cmd_sn);
			if (send_pdu(&s, h, NULL, 0))
				return -1;
		}
		for (answers = 0; k < 4 && answers < 60;) {
			if (next_pdu(&s, ANSWER_MS))
				return fail("%d of 60 answers: %.200s", answers, why);
			answers += opcode(&s) == OP_TMF_RSP;
		}
		if (k < 4 && goes_on(&s))
			return -1;
		ini_reset(&s);
	}
	return 0;
}

static int leave(struct ini *s, int reason, uint16_t cid)
{
	uint8_t h[BHS];

	hdr_init(s, h, OP_LOGOUT | IMMEDIATE, 0x80 | reason);
	memset(h + 8, 0, 8);
	put32(h + 16, s->itt++);
	h[20] = (uint8_t)(cid >> 8), h[21] = (uint8_t)cid, h[22] = h[23] = 0;
	put32(h + 24, s->cmd_sn);
	if (send_pdu(s, h, NULL, 0) || expect_op(s, OP_LOGOUT_RSP, ANSWER_MS))
		return -1;
	return s->hdr[2];
}

/* Of a connection that is not, for recovery, for no reason; then a proper one. */
static int t_logouts(void)
{
	struct ini s;
	int r;

	if (login_ready(&s, 0x706, true))
		return -1;
	r = leave(&s, 1, 0x4321);
	if (r != 1)
		return r < 0 ? -1 : fail("an unknown connection: %d", r);
	r = leave(&s, 2, 0);
	if (r != 2)
		return r < 0 ? -1 : fail("for recovery: %d", r);
	r = leave(&s, 77, 0);
	if (r != 3)
		return r < 0 ? -1 : fail("for no reason: %d", r);
	if (goes_on(&s))
		return fail("after refused logouts: %.200s", why);
	r = leave(&s, 0, 0x1234);
	if (r)
		return r < 0 ? -1 : fail("of the session: %d", r);
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

/* With everything on its way: the answer is the last, and nothing happens after it. */
static int t_logout_busy(void)
{
	uint8_t data[8 * BLOCK], buf[BLOCK];
	struct ini s, w;

	for (int k = 0; k < 10; k++) {
		uint32_t open;

		if (login_ready(&s, 0x707, true) || login_ready(&w, 0x708, true))
			return -1;
		memset(data, 0x40 + k, sizeof(data));
		open = rw10(&s, 0x2a, 120, 8, NULL, 0); /* waits for its data */
		for (int i = 0; i < 40; i++)
			rw10(&s, 0x2a, 112, 8, data, sizeof(data));
		if (leave(&s, 0, 0) == -1) {
			/* answers before the logout's are fine */
			while (opcode(&s) != OP_LOGOUT_RSP) {
				if (opcode(&s) != OP_SCSI_RSP && opcode(&s) != OP_R2T)
					return fail("opcode %x", opcode(&s));
				if (next_pdu(&s, ANSWER_MS))
					return -1;
			}
		}
		if (s.hdr[2])
			return fail("logout is answered %d", s.hdr[2]);
		if (write_block(&w, 112, 0x77))
			return -1;
		data_out(&s, open, 1, 0, 0, data, BLOCK, true);
		if (expect_closed(&s, ANSWER_MS) || read_block(&w, 112, buf) || buf[0] != 0x77)
			return fail("a write after its session's logout: %.200s", why);
		ini_close(&s);
		ini_close(&w);
	}
	return 0;
}

/* In one packet with the logout, which has nothing to wait for: too late. */
static int t_after_logout(void)
{
	uint8_t h[2][BHS], buf[BLOCK], *p;
	struct ini s, w;

	if (login_ready(&s, 0x709, true) || login_ready(&w, 0x70a, true) ||
	    write_block(&w, 112, 0x33))
		return -1;
	p = malloc(3 * BHS + BLOCK);
	if (!p)
		return fail("out of memory");
	hdr_init(&s, h[0], OP_LOGOUT | IMMEDIATE, 0x80);
	memset(h[0] + 8, 0, 8);
	put32(h[0] + 16, s.itt++), put32(h[0] + 20, 0), put32(h[0] + 24, s.cmd_sn);
	hdr_init(&s, h[1], OP_SCSI, 0xa1);
	put32(h[1] + 16, s.itt++), put32(h[1] + 20, BLOCK), put32(h[1] + 24, s.cmd_sn++);
	h[1][6] = BLOCK >> 8;
	h[1][32] = 0x2a, h[1][37] = 112, h[1][40] = 1;
	memcpy(p, h, sizeof(h));
	memset(p + 2 * BHS, 0x44, BLOCK);
	/* and a ping: the logout's answer is the last */
	hdr_init(&s, p + 2 * BHS + BLOCK, OP_NOP_OUT | IMMEDIATE, 0x80);
	put32(p + 2 * BHS + BLOCK + 16, s.itt++), put32(p + 2 * BHS + BLOCK + 24, s.cmd_sn);
	if (send_all(&s, p, 3 * BHS + BLOCK) || expect_op(&s, OP_LOGOUT_RSP, 3000) ||
	    expect_closed(&s, 3000))
		return -1;
	free(p);
	ini_close(&s);
	if (read_block(&w, 112, buf))
		return -1;
	ini_close(&w);
	return buf[0] == 0x33 ? 0 : fail("a write behind its session's logout took effect");
}

const struct hostile tmf_scripts[] = {
	{"functions", t_functions, 0},
	{"tags", t_tags, 0},
	{"luns", t_luns, 0},
	{"commands-of-others", t_foreign, 0},
	{"storm", t_storm, HOSTILE_HEAVY | HOSTILE_RESETS},
	{"logouts", t_logouts, 0},
	{"logout-when-busy", t_logout_busy, 0},
	{"after-logout", t_after_logout, 0},
	{NULL, NULL, 0},
};
