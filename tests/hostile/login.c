// SPDX-License-Identifier: GPL-2.0-only
/*
 * Logins: stages, names, keys, numbers, and what comes instead of a login (RFC 7143,
 * 6 and 11.12). Everybody can send this, before any authentication.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define F_T   0x80
#define F_C   0x40
#define CSG0  0x00
#define CSG1  0x04
#define CSG2  0x08
#define CSG3  0x0c
#define NSG0  0x00
#define NSG1  0x01
#define NSG2  0x02
#define NSG3  0x03
#define FFP   (F_T | CSG1 | NSG3)
#define IN    0x0000 /* status: let in, or asked to go on */
#define ERR   0x0200 /* initiator error */
#define CLOSE (-2)

static struct text t;

/* One request on a new connection: answered with this status (or CLOSE), then closed
 * unless it was a good one. */
static int once(const struct login_req *r, int want)
{
	struct ini s;
	int st = login_once(&s, r, &t), rc = 0;

	while (!st && (r->flags & (F_T | NSG3)) == FFP - CSG1 && !(s.hdr[1] & F_T)) {
		/* the target has keys of its own to settle */
		if (login_put(&s, r, NULL) || recv_pdu(&s, ANSWER_MS))
			st = -1;
		else
			st = s.hdr[36] << 8 | s.hdr[37];
	}
	if (st < 0 && want == CLOSE)
		rc = strstr(why, "closed") || strstr(why, "send:") ? 0 : -1;
	else if (st != want)
		rc = st < 0 ? -1 : fail("status %04x instead of %04x", st, want);
	else if (want >= 0x200)
		rc = expect_closed(&s, ANSWER_MS);
	ini_close(&s);
	return rc;
}

static int flags_give(uint8_t flags, int want)
{
	struct login_req r = login_req(0x200, flags);

	text_init(&t);
	text_names(&t, "Normal");
	text_key(&t, "AuthMethod", "None");
	return once(&r, want);
}

static int t_stages(void)
{
	static const struct {
		uint8_t flags;
		int want;
	} c[] = {
		{F_T | CSG2 | NSG3, ERR},
		{F_T | CSG3 | NSG3, ERR},
		{F_T | CSG1 | NSG2, ERR},
		{F_T | CSG0 | NSG2, ERR},
		{F_T | CSG1 | NSG1, ERR},
		{F_T | CSG1 | NSG0, ERR},
		{F_T | CSG0 | NSG0, ERR},
		{CSG2, ERR},
		{CSG3, ERR},
		{F_T | F_C | CSG1 | NSG3, ERR},
		{F_T | CSG0 | NSG1, IN},
		{FFP, IN},
	};

	for (size_t i = 0; i < NR(c); i++)
		if (flags_give(c[i].flags, c[i].want))
			return fail("flags %02x: %.200s", c[i].flags, why);
	return 0;
}

/* Into the operational stage and back. */
static int t_stage_back(void)
{
	struct login_req r = login_req(0x201, F_T | CSG0 | NSG1);
	struct ini s;

	text_init(&t);
	text_names(&t, "Normal");
	text_key(&t, "AuthMethod", "None");
	if (login_once(&s, &r, &t) != IN)
		return fail("security stage: %.200s", why);
	r.flags = F_T | CSG0 | NSG1;
	if (login_put(&s, &r, &t) || recv_pdu(&s, ANSWER_MS))
		return -1;
	if (opcode(&s) != OP_LOGIN_RSP || s.hdr[36] != 2)
		return fail("opcode %x status %02x", opcode(&s), s.hdr[36]);
	if (expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

static int names(const char *name, const char *tgt, const char *type, int want)
{
	struct login_req r = login_req(0x202, FFP);

	text_init(&t);
	if (name)
		text_key(&t, "InitiatorName", name);
	if (tgt)
		text_key(&t, "TargetName", tgt);
	if (type)
		text_key(&t, "SessionType", type);
	return once(&r, want);
}

static int t_names(void)
{
	static char n223[224], n224[225], n8000[8000];

	memset(n223, 'a', 223), memset(n224, 'a', 224), memset(n8000, 'a', 7999);
	memcpy(n223, "iqn.", 4), memcpy(n224, "iqn.", 4), memcpy(n8000, "iqn.", 4);
	if (names(NULL, target, "Normal", 0x207))
		return fail("no name: %.200s", why);
	if (names("", target, "Normal", ERR))
		return fail("an empty name: %.200s", why);
	if (names(n223, target, "Normal", IN))
		return fail("223 characters: %.200s", why);
	if (names(n224, target, "Normal", ERR))
		return fail("224 characters: %.200s", why);
	if (names(n8000, target, "Normal", ERR))
		return fail("7999 characters: %.200s", why);
	if (names("iqn.x", NULL, "Normal", 0x207))
		return fail("no target: %.200s", why);
	if (names("iqn.x", "", "Normal", 0x203))
		return fail("an empty target: %.200s", why);
	if (names("iqn.x", n224, "Normal", 0x203))
		return fail("an unknown target: %.200s", why);
	if (names("iqn.x", target, "Abnormal", 0x209))
		return fail("session type: %.200s", why);
	if (names("iqn.x", target, NULL, IN))
		return fail("the default type: %.200s", why);
	return 0;
}

/* Names that would forge lines of logs and lists. */
static int t_names_control(void)
{
	static const char *const bad[] = {"iqn.x\nERROR: all is lost", "iqn.x\x1b[2J", "iqn.x y",
					  "\x01", "iqn.\x7f"};

	for (size_t i = 0; i < NR(bad); i++)
		if (names(bad[i], target, "Normal", ERR))
			return fail("name %zu: %.200s", i, why);
	return 0;
}

static int t_alias_control(void)
{
	struct login_req r = login_req(0x203, FFP);

	text_init(&t);
	text_names(&t, "Normal");
	text_key(&t, "InitiatorAlias", "a\nLUN: 99\x1b[2J");
	return once(&r, IN);
}

static int t_ids(void)
{
	struct login_req r = login_req(0x204, FFP);

	text_init(&t);
	text_names(&t, "Normal");
	r.tsih = 0x1234;
	if (once(&r, 0x20a))
		return fail("a session that is not: %.200s", why);
	r = login_req(0x204, FFP);
	memset(r.isid, 0, 6);
	if (once(&r, 0x207))
		return fail("no ISID: %.200s", why);
	memset(r.isid, 0xff, 6);
	if (once(&r, IN))
		return fail("ISID of ones: %.200s", why);
	r = login_req(0x204, FFP);
	r.min_version = 1;
	if (once(&r, 0x205))
		return fail("version: %.200s", why);
	r = login_req(0x204, FFP);
	r.itt = RESERVED, r.cid = 0xffff;
	return once(&r, IN);
}

/* A second connection for a session of its own (MaxConnections is 1), and with other
 * tags than the session's. */
static int t_join(void)
{
	struct login_req r = login_req(0x205, FFP);
	struct ini a;
	uint16_t tsih;

	text_init(&t);
	text_names(&t, "Normal");
	if (login_once(&a, &r, &t) != IN)
		return fail("first login: %.200s", why);
	while (!(a.hdr[1] & 0x80))
		if (login_put(&a, &r, NULL) || recv_pdu(&a, ANSWER_MS))
			return -1;
	tsih = (uint16_t)(a.hdr[14] << 8 | a.hdr[15]);
	a.exp_stat_sn = get32(a.hdr + 24) + 1;
	r.tsih = tsih, r.cid = 7;
	if (once(&r, 0x208))
		return fail("joining: %.200s", why);
	r.tsih = (uint16_t)(tsih + 1);
	if (once(&r, 0x208) && once(&r, 0x20a))
		return fail("joining another: %.200s", why);
	if (goes_on(&a))
		return fail("the session was disturbed: %.200s", why);
	ini_close(&a);
	return 0;
}

static int t_not_immediate(void)
{
	struct login_req r = login_req(0x206, FFP);
	struct ini s;

	r.not_immediate = true;
	text_init(&t);
	text_names(&t, "Normal");
	if (ini_connect(&s, 0))
		return -1;
	for (int i = 0; i < 50; i++) {
		if (login_put(&s, &r, &t))
			break;
		if (recv_pdu(&s, ANSWER_MS))
			break;
		if (opcode(&s) != OP_REJECT)
			return fail("opcode %x instead of Reject", opcode(&s));
	}
	ini_close(&s);
	return 0;
}

/* ---- keys -------------------------------------------------------------------------- */

static void keys_begin(void)
{
	text_init(&t);
	text_names(&t, "Normal");
}

/* The answer to one key of a login that is otherwise fine. */
static int key_gives(const char *key, const char *value, const char *want)
{
	struct login_req r = login_req(0x207, CSG1);
	struct ini s;
	const char *got;
	int st;

	keys_begin();
	text_key(&t, key, value);
	st = login_once(&s, &r, &t);
	if (st < 0)
		return -1;
	got = answer_key(&s, key);
	if (st != IN || !got || strcmp(got, want))
		fail("%s=%.40s: status %04x, answer %.40s instead of %s", key, value, st,
		     got ? got : "none", want);
	else
		st = 0;
	if (st == IN && (!got || strcmp(got, want)))
		st = -1;
	ini_close(&s);
	return st;
}

static int t_numbers(void)
{
	static const char *const bad[] = {"0",	      "-1", "4294967296", "99999999999999999999",
					  "x",	      "",   "0x",	  "511",
					  "16777216", "1 2"};

	for (size_t i = 0; i < NR(bad); i++)
		if (key_gives("MaxBurstLength", bad[i], "Reject") ||
		    key_gives("FirstBurstLength", bad[i], "Reject"))
			return -1;
	return key_gives("MaxBurstLength", "0x2000", "8192") ||
			       key_gives("MaxConnections", "65535", "1") ||
			       key_gives("MaxConnections", "65536", "Reject") ||
			       key_gives("ErrorRecoveryLevel", "2", "0") ||
			       key_gives("ErrorRecoveryLevel", "3", "Reject") ||
			       key_gives("MaxOutstandingR2T", "65535", "1") ||
			       key_gives("MaxRecvDataSegmentLength", "511", "Reject") ||
			       key_gives("InitialR2T", "Maybe", "Reject") ||
			       key_gives("InitialR2T", "", "Reject") ||
			       key_gives("HeaderDigest", "MD5", "Reject") ||
			       key_gives("HeaderDigest", "", "Reject") ||
			       key_gives("HeaderDigest", ",", "Reject") ||
			       key_gives("DataPDUInOrder", "No", "Yes")
		       ? -1
		       : 0;
}

/* What is between the target and its configuration only. */
static int t_local_keys(void)
{
	return key_gives("MaxQueueCmd", "512", "NotUnderstood") ||
			       key_gives("MaxXmitDataSegmentLength", "16777215", "NotUnderstood")
		       ? -1
		       : 0;
}

static int t_unknown_keys(void)
{
	struct login_req r = login_req(0x208, CSG1);
	char key[32];

	keys_begin();
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof(key), "X-%d", i);
		text_key(&t, key, "");
	}
	return once(&r, IN);
}

/* As many as fit: their answers do not. */
static int t_thousands_of_keys(void)
{
	struct login_req r = login_req(0x209, CSG1);
	struct ini s;
	int st;

	keys_begin();
	while (t.len < 8000)
		text_raw(&t, "a=\0", 3);
	st = login_once(&s, &r, &t);
	if (st != IN && st != ERR)
		return st < 0 ? -1 : fail("status %04x", st);
	if (s.len > 8192)
		return fail("%u bytes of answer", s.len);
	ini_close(&s);
	return 0;
}

static int raw_keys(const void *p, size_t n, int want)
{
	struct login_req r = login_req(0x20a, FFP);

	keys_begin();
	text_raw(&t, p, n);
	return once(&r, want);
}

static int t_malformed(void)
{
	static char long_key[7000];

	memset(long_key, 'k', sizeof(long_key));
	if (raw_keys("NoEqualSign\0", 12, ERR))
		return fail("a key without '=': %.200s", why);
	if (raw_keys("MaxBurstLength=8192", 19, ERR))
		return fail("a value without its end: %.200s", why);
	if (raw_keys("=value\0", 7, ERR))
		return fail("a value without a key: %.200s", why);
	if (raw_keys(long_key, sizeof(long_key), ERR))
		return fail("7000 bytes without '=': %.200s", why);
	long_key[6990] = '=', long_key[6999] = 0;
	if (raw_keys(long_key, sizeof(long_key), ERR))
		return fail("a key of 6990 bytes: %.200s", why);
	if (raw_keys("\0\0\0\0", 4, IN))
		return fail("zeros at the end: %.200s", why);
	return 0;
}

static int t_too_long(void)
{
	struct login_req r = login_req(0x20b, FFP);

	for (uint32_t n = 8193; n < 70000; n *= 2) {
		keys_begin();
		while (t.len < n)
			text_raw(&t, "X-a=b\0", 6);
		if (once(&r, CLOSE))
			return fail("%u bytes: %.200s", n, why);
	}
	return 0;
}

/* The header says 16 MiB; nothing follows. */
static int t_length_of_16m(void)
{
	uint8_t h[BHS];
	struct ini s;

	if (ini_connect(&s, 0))
		return -1;
	hdr_init(&s, h, OP_LOGIN | IMMEDIATE, FFP);
	h[5] = h[6] = h[7] = 0xff;
	if (send_all(&s, h, BHS) || expect_closed(&s, ANSWER_MS))
		return -1;
	ini_close(&s);
	return 0;
}

/* An additional header of every length, with the text behind it. */
static int t_additional_header(void)
{
	static uint8_t ahs[1020];

	for (int words = 1; words < 256; words += 127) {
		uint8_t h[BHS];
		struct ini s;

		keys_begin();
		if (ini_connect(&s, 0))
			return -1;
		hdr_init(&s, h, OP_LOGIN | IMMEDIATE, FFP);
		memset(h + 8, 0, 8), h[8] = 0x80, h[13] = 3;
		put32(h + 20, 0), put32(h + 24, 1);
		h[4] = (uint8_t)words;
		h[6] = (uint8_t)(t.len >> 8), h[7] = (uint8_t)t.len;
		if (send_all(&s, h, BHS) || send_all(&s, ahs, (size_t)words * 4) ||
		    send_all(&s, t.buf, t.len) || send_all(&s, ahs, -t.len & 3))
			return -1;
		if (recv_pdu(&s, ANSWER_MS) && !strstr(why, "closed"))
			return -1;
		ini_close(&s);
	}
	return 0;
}

static int t_repeated_keys(void)
{
	struct login_req r = login_req(0x20c, CSG1);
	struct ini s;
	int st;

	keys_begin();
	for (int i = 0; i < 200; i++)
		text_key(&t, i & 1 ? "HeaderDigest" : "ImmediateData", i & 2 ? "None" : "Yes");
	st = login_once(&s, &r, &t);
	ini_close(&s);
	return st == IN || st == ERR ? 0 : fail("status %04x", st);
}

/* Text that goes on and on (C bit): let go on up to a bound. */
static int t_continued(void)
{
	struct login_req r = login_req(0x20d, F_C | CSG1);
	struct ini s;
	int i;

	/* in three pieces it is a login like any other */
	keys_begin();
	text_key(&t, "MaxBurstLength", "8192");
	if (ini_connect(&s, 0))
		return -1;
	for (i = 0; i < 3; i++) {
		struct text piece = {.len = 0};

		text_raw(&piece, t.buf + t.len / 3 * (uint32_t)i,
			 i < 2 ? t.len / 3 : t.len - t.len / 3 * 2);
		r.flags = i < 2 ? F_C | CSG1 : CSG1;
		if (login_put(&s, &r, &piece) || recv_pdu(&s, ANSWER_MS))
			return -1;
		if (opcode(&s) != OP_LOGIN_RSP || s.hdr[36] || (i < 2 && s.len))
			return fail("piece %d: opcode %x status %02x, %u bytes", i, opcode(&s),
				    s.hdr[36], s.len);
	}
	if (!answer_key(&s, "MaxBurstLength") || strcmp(answer_key(&s, "MaxBurstLength"), "8192"))
		return fail("a continued login is not understood");
	ini_close(&s);
	r.flags = F_C | CSG1;
	keys_begin();
	if (ini_connect(&s, 0))
		return -1;
	for (i = 0; i < 1000; i++) {
		if (login_put(&s, &r, &t) || recv_pdu(&s, ANSWER_MS))
			break;
		if (opcode(&s) != OP_LOGIN_RSP)
			return fail("opcode %x", opcode(&s));
		if (s.hdr[36])
			break;
		text_init(&t);
		for (int k = 0; k < 500; k++)
			text_raw(&t, "X-abcdefg=xyz\0", 14);
	}
	ini_close(&s);
	return i < 1000 ? 0 : fail("took 7 MB of text in one login");
}

/* ---- something else than a login ------------------------------------------------------ */

static int first_pdu(int op, int flags, const char *text, uint32_t len)
{
	uint8_t h[BHS];
	struct ini s;
	int rc;

	if (ini_connect(&s, 0))
		return -1;
	hdr_init(&s, h, op, flags);
	send_pdu(&s, h, text, len); /* it may close before the text */
	while (!(rc = recv_pdu(&s, ANSWER_MS)))
		if (opcode(&s) != OP_REJECT)
			return fail("opcode %x is answered with %x", op, opcode(&s));
	ini_close(&s);
	return strstr(why, "closed") ? 0 : -1;
}

static int t_no_login(void)
{
	static const char all[] = "SendTargets=All";

	for (int op = 0; op < 64; op++)
		if (op != OP_LOGIN && (first_pdu(op, 0x80, NULL, 0) ||
				       first_pdu(op | IMMEDIATE, 0x80, all, sizeof(all))))
			return fail("opcode %02x: %.200s", op, why);
	return 0;
}

/* The list of targets, of who has not logged in; also between the stages of a login. */
static int t_list_without_login(void)
{
	static const char all[] = "SendTargets=All";
	struct login_req r = login_req(0x20e, CSG0);
	uint8_t h[BHS];
	struct ini s;

	if (first_pdu(OP_TEXT, 0x80, all, sizeof(all)) ||
	    first_pdu(OP_TEXT | IMMEDIATE, 0x80, all, sizeof(all)))
		return fail("first: %.200s", why);
	for (int i = 0; i < 2; i++) {
		text_init(&t);
		text_names(&t, "Discovery");
		text_key(&t, "AuthMethod", "None");
		r.flags = i ? F_T | CSG0 | NSG1 : CSG0;
		if (login_once(&s, &r, &t) != IN)
			return fail("stage %d: %.200s", i, why);
		hdr_init(&s, h, OP_TEXT | IMMEDIATE, 0x80);
		send_pdu(&s, h, all, sizeof(all));
		while (!recv_pdu(&s, ANSWER_MS))
			if (opcode(&s) != OP_REJECT)
				return fail("answered with %x in stage %d", opcode(&s), i);
		if (!strstr(why, "closed"))
			return -1;
		ini_close(&s);
	}
	return 0;
}

static int t_login_in_session(void)
{
	struct login_req r = login_req(0x20f, FFP);
	struct ini s;

	if (login_ready(&s, 0x20f, true))
		return -1;
	keys_begin();
	login_put(&s, &r, &t); /* it may close before the text */
	while (!recv_pdu(&s, ANSWER_MS))
		if (opcode(&s) == OP_LOGIN_RSP)
			return fail("a login in full feature phase is answered");
	ini_close(&s);
	return strstr(why, "closed") ? 0 : -1;
}

/* Requests that do not wait for the answers. */
static int t_pipelined(void)
{
	struct login_req r = login_req(0x210, CSG1);
	struct ini s;

	keys_begin();
	if (ini_connect(&s, 0))
		return -1;
	for (int i = 0; i < 200; i++)
		if (login_put(&s, &r, &t))
			break;
	r.flags = FFP;
	login_put(&s, &r, &t);
	for (int i = 0; i < 201 && !recv_pdu(&s, 1000); i++)
		if (opcode(&s) != OP_LOGIN_RSP)
			return fail("opcode %x", opcode(&s));
	ini_close(&s);
	return 0;
}

/* Each request of a login is cut by RST at many places. */
static int t_reset_inside(void)
{
	uint8_t pdu[BHS + 256] = {0}, h[BHS];
	struct ini s;

	keys_begin();
	for (size_t cut = 1; cut < BHS + t.len; cut += 5) {
		if (ini_connect(&s, 0))
			return -1;
		hdr_init(&s, h, OP_LOGIN | IMMEDIATE, FFP);
		memset(h + 8, 0, 8), h[8] = 0x80, h[13] = 4;
		put32(h + 20, 0), put32(h + 24, 1);
		h[6] = (uint8_t)(t.len >> 8), h[7] = (uint8_t)t.len;
		memcpy(pdu, h, BHS);
		memcpy(pdu + BHS, t.buf, t.len);
		if (send_all(&s, pdu, cut))
			return -1;
		ini_reset(&s);
	}
	return 0;
}

static int t_garbage(void)
{
	uint8_t junk[4096];
	struct ini s;

	for (int i = 0; i < 60; i++) {
		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)rnd();
		junk[0] = i % 3 ? 0x43 : junk[0];
		junk[4] = i % 2 ? 0 : junk[4];
		junk[5] = 0, junk[6] &= 0x0f;
		if (ini_connect(&s, 0))
			return -1;
		send_all(&s, junk, sizeof(junk));
		while (!recv_pdu(&s, 200))
			;
		ini_close(&s);
	}
	return 0;
}

const struct hostile login_scripts[] = {
	{"stages", t_stages, 0},
	{"stage-back", t_stage_back, 0},
	{"names", t_names, 0},
	{"names-with-control-characters", t_names_control, 0},
	{"alias-with-control-characters", t_alias_control, 0},
	{"ids-and-version", t_ids, 0},
	{"join-a-session", t_join, 0},
	{"not-immediate", t_not_immediate, 0},
	{"numbers", t_numbers, 0},
	{"local-keys", t_local_keys, 0},
	{"unknown-keys", t_unknown_keys, 0},
	{"thousands-of-keys", t_thousands_of_keys, 0},
	{"malformed-text", t_malformed, 0},
	{"text-too-long", t_too_long, 0},
	{"length-of-16-mib", t_length_of_16m, 0},
	{"additional-header", t_additional_header, 0},
	{"repeated-keys", t_repeated_keys, 0},
	{"continued-without-end", t_continued, 0},
	{"no-login-at-all", t_no_login, 0},
	{"list-without-login", t_list_without_login, 0},
	{"login-in-a-session", t_login_in_session, 0},
	{"pipelined", t_pipelined, 0},
	{"reset-inside", t_reset_inside, HOSTILE_HEAVY},
	{"garbage", t_garbage, HOSTILE_HEAVY},
	{NULL, NULL, 0},
};
