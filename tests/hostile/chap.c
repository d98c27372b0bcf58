// SPDX-License-Identifier: GPL-2.0-only
/*
 * CHAP with values that are none, out of order, left out (RFC 7143, 12.1). What is right
 * and what the responses are: tests/it/iscsi_chap.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define STAY 0x00
#define ON   0x83 /* security stage, to full feature phase */

static struct text t;

/* Whatever happens: not let in. The scripts fail logins; let the address cool down. */
static int refused(struct ini *s)
{
	int rc = opcode(s) == OP_LOGIN_RSP && !s->hdr[36]
			 ? fail("was let in, or asked to go on (flags %02x)", s->hdr[1])
			 : 0;

	if (!rc && expect_closed(s, ANSWER_MS))
		rc = -1;
	ini_close(s);
	return rc;
}

static int step(struct ini *s, uint8_t flags)
{
	struct login_req r = login_req(0x600, flags);

	if (login_put(s, &r, &t))
		return -1;
	return recv_pdu(s, 9000);
}

static int begin(struct ini *s)
{
	if (ini_connect(s, 0))
		return -1;
	text_init(&t);
	text_key(&t, "InitiatorName", "iqn.2011-06.org.vmstore:hostile");
	text_key(&t, "TargetName", chap_target);
	text_key(&t, "AuthMethod", "CHAP");
	if (step(s, STAY))
		return -1;
	return s->hdr[36] ? fail("refused before CHAP: %02x%02x", s->hdr[36], s->hdr[37]) : 0;
}

static int challenged(struct ini *s)
{
	if (begin(s))
		return -1;
	text_init(&t);
	text_key(&t, "CHAP_A", "7");
	if (step(s, STAY))
		return -1;
	return answer_key(s, "CHAP_C") ? 0 : fail("no challenge: %02x%02x", s->hdr[36], s->hdr[37]);
}

/* A good login between failed ones: the next ones do not have to wait. */
static int reset_backoff(void)
{
	struct ini s;
	int rc = login(&s, 0x601, true);

	ini_close(&s);
	return rc;
}

static int with_key(int (*to)(struct ini *), const char *key, const char *value, uint8_t flags)
{
	struct ini s;

	if (reset_backoff() || to(&s))
		return -1;
	text_init(&t);
	if (key)
		text_key(&t, key, value);
	if (step(&s, flags))
		return strstr(why, "closed") ? (ini_close(&s), 0) : -1;
	return refused(&s);
}

static int t_algorithms(void)
{
	static char many[6000];
	static const char *const a[] = {"", ",", "0", "-5", "05", "5x", "7 ", "4294967301", many};

	memset(many, ',', sizeof(many) - 1);
	for (size_t i = 0; i < NR(a); i++)
		if (with_key(begin, "CHAP_A", a[i], STAY))
			return fail("CHAP_A=%.20s: %.200s", a[i], why);
	return with_key(begin, NULL, NULL, STAY) || with_key(begin, "CHAP_R", "0x00", ON) ? -1 : 0;
}

static int response(const char *name, const char *value)
{
	struct ini s;

	if (reset_backoff() || challenged(&s))
		return -1;
	text_init(&t);
	if (name)
		text_key(&t, "CHAP_N", name);
	if (value)
		text_key(&t, "CHAP_R", value);
	if (step(&s, ON))
		return strstr(why, "closed") ? (ini_close(&s), 0) : -1;
	return refused(&s);
}

static int t_responses(void)
{
	static char hex[4000], b64[4000];
	static const char *const r[] = {
		"",	"0x",  "0X",	 "0b",	"0x0",	     "0xzz", "0x00zz",
		"1234", "0b=", "0b====", "0bA", "0bAAA\x80", hex,    b64};

	memset(hex, 'f', sizeof(hex) - 1), memcpy(hex, "0x", 2);
	memset(b64, 'A', sizeof(b64) - 1), memcpy(b64, "0b", 2);
	for (size_t i = 0; i < NR(r); i++)
		if (response(chap_user, r[i]))
			return fail("CHAP_R=%.20s: %.200s", r[i], why);
	return 0;
}

static int t_users(void)
{
	static char huge[7000];
	static const char *const n[] = {"", "nobody", "%s%n", huge, NULL};

	memset(huge, 'u', sizeof(huge) - 1);
	for (size_t i = 0; i < NR(n); i++)
		if (response(n[i],
			     "0x0000000000000000000000000000000000000000000000000000000000000000"))
			return fail("CHAP_N=%.20s: %.200s", n[i] ? n[i] : "none", why);
	return response(chap_user, NULL);
}

/* On to the full feature phase, or to the operational stage, with nothing proven. */
static int t_skipped(void)
{
	static const uint8_t flags[] = {0x81, 0x83, 0x87, 0x04, 0x84, 0x85};

	for (size_t i = 0; i < NR(flags); i++)
		if (with_key(begin, NULL, NULL, flags[i]) ||
		    with_key(challenged, NULL, NULL, flags[i]))
			return fail("flags %02x: %.200s", flags[i], why);
	return 0;
}

/* Starts where no authentication is, or offers none. */
static int t_none(void)
{
	static const char *const m[] = {"None", "None,None", "", "KRB5", "CHAPx", "chap"};
	struct login_req r = login_req(0x602, STAY);
	struct ini s;

	for (size_t i = 0; i <= NR(m); i++) {
		if (reset_backoff())
			return -1;
		text_init(&t);
		text_key(&t, "InitiatorName", "iqn.2011-06.org.vmstore:hostile");
		text_key(&t, "TargetName", chap_target);
		if (i < NR(m))
			text_key(&t, "AuthMethod", m[i]);
		r.flags = i < NR(m) ? ON : OPER_TO_FFP;
		if (login_once(&s, &r, &t) < 0 && !strstr(why, "closed"))
			return -1;
		if (refused(&s))
			return fail("AuthMethod %s: %.200s", i < NR(m) ? m[i] : "left out", why);
	}
	return 0;
}

/* The challenge of another connection, and the same one twice. */
static int t_replayed(void)
{
	char first[512];
	struct ini a, b;

	if (reset_backoff() || challenged(&a))
		return -1;
	snprintf(first, sizeof(first), "%s", answer_key(&a, "CHAP_C"));
	if (challenged(&b))
		return -1;
	if (!strcmp(first, answer_key(&b, "CHAP_C")))
		return fail("two connections have the same challenge");
	/* a new CHAP_A on the first is no new start */
	text_init(&t);
	text_key(&t, "CHAP_A", "5");
	if (step(&a, STAY) && !strstr(why, "closed"))
		return -1;
	ini_close(&b);
	return refused(&a);
}

const struct hostile chap_scripts[] = {
	{"algorithms", t_algorithms, 0},
	{"responses", t_responses, 0},
	{"users", t_users, 0},
	{"skipped", t_skipped, 0},
	{"no-authentication", t_none, 0},
	{"replayed", t_replayed, 0},
	{NULL, NULL, 0},
};
