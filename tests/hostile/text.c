// SPDX-License-Identifier: GPL-2.0-only
/*
 * Discovery sessions: what they may ask for, how often, and what they may not do
 * (RFC 7143, 4.3, 11.10).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

static struct text t;

static int discovery(struct ini *s)
{
	struct login_req r = login_req(0x500, OPER_TO_FFP);

	text_init(&t);
	text_names(&t, "Discovery");
	if (login_once(s, &r, &t))
		return fail("discovery: status %02x%02x %.150s", s->hdr[36], s->hdr[37], why);
	while (!(s->hdr[1] & 0x80))
		if (login_put(s, &r, NULL) || recv_pdu(s, ANSWER_MS))
			return -1;
	return 0;
}

static int ask(struct ini *s, int flags, uint32_t ttt, const void *p, size_t len)
{
	uint8_t h[BHS];

	hdr_init(s, h, OP_TEXT | IMMEDIATE, flags);
	put32(h + 16, s->itt++), put32(h + 20, ttt), put32(h + 24, s->cmd_sn);
	return send_pdu(s, h, p, (uint32_t)len);
}
static const char all[] = "SendTargets=All";

static int listed(struct ini *s)
{
	if (ask(s, 0x80, RESERVED, all, sizeof(all)) || recv_pdu(s, ANSWER_MS))
		return -1;
	if (opcode(s) != OP_TEXT_RSP || !answer_key(s, "TargetName") ||
	    !answer_key(s, "TargetAddress"))
		return fail("opcode %x, no list", opcode(s));
	return 0;
}

static int t_many_lists_in_one(void)
{
	struct text l = {.len = 0};
	struct ini s;

	if (discovery(&s) || listed(&s))
		return -1;
	for (int i = 0; i < 500; i++)
		text_raw(&l, all, sizeof(all));
	if (ask(&s, 0x80, RESERVED, l.buf, l.len) || recv_pdu(&s, ANSWER_MS))
		return -1;
	if (opcode(&s) != OP_REJECT || s.hdr[2] != 4)
		return fail("opcode %x", opcode(&s));
	if (listed(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_names(void)
{
	static const char *const of[] = {"SendTargets=iqn.nobody",
					 "SendTargets=",
					 "SendTargets=iqn.2011-06.org.vmstore:\x01\x7f",
					 "SendTarget=All",
					 "TargetName=x",
					 "sendtargets=All"};
	struct ini s;

	if (discovery(&s))
		return -1;
	for (size_t i = 0; i < NR(of); i++) {
		if (ask(&s, 0x80, RESERVED, of[i], strlen(of[i]) + 1) || recv_pdu(&s, ANSWER_MS))
			return -1;
		if (opcode(&s) != OP_TEXT_RSP || answer_key(&s, "TargetAddress"))
			return fail("%s: opcode %x", of[i], opcode(&s));
	}
	if (listed(&s))
		return -1;
	ini_close(&s);
	return 0;
}

static int t_malformed(void)
{
	static const struct {
		const char *p;
		size_t n;
	} c[] = {{"SendTargets", 12},
		 {"SendTargets=All", 15},
		 {"=All", 5},
		 {"\0SendTargets=All", 17}};
	struct ini s;

	if (discovery(&s))
		return -1;
	for (size_t i = 0; i < NR(c); i++) {
		if (ask(&s, 0x80, RESERVED, c[i].p, c[i].n) || recv_pdu(&s, ANSWER_MS))
			return -1;
		if (opcode(&s) != OP_REJECT)
			return fail("case %zu: opcode %x", i, opcode(&s));
	}
	/* continued text */
	if (ask(&s, 0x40, RESERVED, all, sizeof(all)) || recv_pdu(&s, ANSWER_MS))
		return -1;
	if (opcode(&s) != OP_REJECT)
		return fail("C bit: opcode %x", opcode(&s));
	if (listed(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* Going on with an answer that is not there. */
static int t_wrong_tag(void)
{
	struct ini s;

	if (discovery(&s) || listed(&s))
		return -1;
	for (int i = 0; i < 100; i++) {
		if (ask(&s, 0x80, rnd() & 0x7fffffff, NULL, 0) || recv_pdu(&s, ANSWER_MS))
			return -1;
		if (opcode(&s) != OP_REJECT)
			return fail("opcode %x", opcode(&s));
	}
	if (listed(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* SCSI and everything else in a discovery session: ends it. */
static int t_not_discovery(void)
{
	static const int ops[] = {OP_SCSI,
				  OP_SCSI | IMMEDIATE,
				  OP_TMF | IMMEDIATE,
				  OP_DATA_OUT,
				  OP_NOP_OUT | IMMEDIATE,
				  OP_SNACK,
				  OP_LOGIN | IMMEDIATE,
				  0x1c,
				  0x3f,
				  OP_TEXT_RSP};
	uint8_t h[BHS];
	struct ini s;

	for (size_t i = 0; i < NR(ops); i++) {
		if (discovery(&s))
			return -1;
		hdr_init(&s, h, ops[i], 0x81);
		put32(h + 24, s.cmd_sn);
		send_pdu(&s, h, h, i & 1 ? 48 : 0); /* it may close before the data */
		while (!recv_pdu(&s, ANSWER_MS))
			if (opcode(&s) != OP_REJECT && opcode(&s) != OP_LOGIN_RSP)
				return fail("opcode %x is answered with %x", ops[i], opcode(&s));
		if (!strstr(why, "closed"))
			return -1;
		ini_close(&s);
	}
	return 0;
}

/* Asks and asks, and reads nothing: it is not read any more, until its socket is full. */
static int t_never_reads(void)
{
	struct timeval tv = {.tv_usec = 300000};
	struct ini s;
	int i, rcv = 4096;

	if (discovery(&s))
		return -1;
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &rcv, sizeof(rcv));
	setsockopt(s.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	for (i = 0; i < 200000; i++) /* 12 MiB */
		if (ask(&s, 0x80, RESERVED, all, sizeof(all)))
			break;
	ini_close(&s);
	return i < 200000 ? 0 : fail("200000 lists were asked for and not one was read");
}

static int t_logout(void)
{
	uint8_t h[BHS];
	struct ini s;

	if (discovery(&s))
		return -1;
	hdr_init(&s, h, OP_LOGOUT | IMMEDIATE, 0x80);
	h[20] = 0x12, h[21] = 0x34; /* some connection */
	if (send_pdu(&s, h, NULL, 0) || recv_pdu(&s, ANSWER_MS))
		return -1;
	if (opcode(&s) != OP_LOGOUT_RSP)
		return fail("opcode %x", opcode(&s));
	ask(&s, 0x80, RESERVED, all, sizeof(all)); /* too late */
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

/* More lists than the socket takes, then the end: all answers come, the logout's last. */
static int t_lists_then_logout(void)
{
	enum { LISTS = 2000, EACH = BHS + sizeof(all) };
	static uint8_t out[LISTS * EACH + BHS]; /* fits into sockets that nobody reads */
	int n, rcv = 16384, snd = 2 * (int)sizeof(out);
	struct ini s;

	ini_mss = 536;
	n = discovery(&s);
	ini_mss = 0;
	if (n)
		return -1;
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &rcv, sizeof(rcv));
	setsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &snd, sizeof(snd));
	for (int i = 0; i <= LISTS; i++) {
		uint8_t *h = out + (size_t)i * EACH;

		hdr_init(&s, h, (i < LISTS ? OP_TEXT : OP_LOGOUT) | IMMEDIATE, 0x80);
		put32(h + 16, s.itt++), put32(h + 24, s.cmd_sn);
		if (i == LISTS)
			break;
		h[7] = sizeof(all);
		put32(h + 20, RESERVED);
		memcpy(h + BHS, all, sizeof(all));
	}
	if (send_all(&s, out, sizeof(out)))
		return -1;
	usleep(500000); /* the target answers what it may; a slower one just is not tested */
	while (n <= LISTS) {
		if (recv_pdu(&s, 3000))
			return fail("after %d of %d lists: %.200s", n, LISTS, why);
		if (opcode(&s) != OP_TEXT_RSP)
			break;
		n++;
	}
	if (opcode(&s) != OP_LOGOUT_RSP || n != LISTS)
		return fail("opcode %x after %d of %d lists", opcode(&s), n, LISTS);
	if (expect_closed(&s, 3000))
		return -1;
	ini_close(&s);
	return 0;
}

const struct hostile text_scripts[] = {
	{"many-lists-in-one", t_many_lists_in_one, 0},
	{"names", t_names, 0},
	{"malformed", t_malformed, 0},
	{"wrong-tag", t_wrong_tag, 0},
	{"not-discovery", t_not_discovery, 0},
	{"never-reads", t_never_reads, HOSTILE_HEAVY},
	{"logout", t_logout, 0},
	{"lists-then-logout", t_lists_then_logout, HOSTILE_HEAVY},
	{NULL, NULL, 0},
};
