// SPDX-License-Identifier: GPL-2.0-only
/* What the scripts have in common, see hostile.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

uint32_t rnd(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15U;

	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return (uint32_t)(x >> 16);
}

/* ---- text ------------------------------------------------------------------------ */

void text_init(struct text *t)
{
	t->len = 0;
}

void text_raw(struct text *t, const void *p, size_t len)
{
	if (len > sizeof(t->buf) - t->len)
		len = sizeof(t->buf) - t->len;
	memcpy(t->buf + t->len, p, len);
	t->len += (uint32_t)len;
}

void text_key(struct text *t, const char *key, const char *value)
{
	text_raw(t, key, strlen(key));
	text_raw(t, "=", 1);
	text_raw(t, value, strlen(value) + 1);
}

void text_names(struct text *t, const char *session_type)
{
	text_key(t, "InitiatorName", "iqn.2011-06.org.vmstore:hostile");
	if (strcmp(session_type, "Discovery"))
		text_key(t, "TargetName", target);
	text_key(t, "SessionType", session_type);
}

struct login_req login_req(uint16_t isid, uint8_t flags)
{
	return (struct login_req){
		.flags = flags,
		.isid = {0x80, 0, 0, 0, (uint8_t)(isid >> 8), (uint8_t)isid},
		.itt = 77,
	};
}

int login_put(struct ini *s, const struct login_req *r, const struct text *t)
{
	uint8_t h[BHS];

	hdr_init(s, h, OP_LOGIN | (r->not_immediate ? 0 : IMMEDIATE), r->flags);
	h[3] = r->min_version;
	memcpy(h + 8, r->isid, 6);
	h[14] = (uint8_t)(r->tsih >> 8), h[15] = (uint8_t)r->tsih;
	put32(h + 16, r->itt);
	h[20] = (uint8_t)(r->cid >> 8), h[21] = (uint8_t)r->cid;
	h[22] = h[23] = 0;
	put32(h + 24, s->cmd_sn);
	return send_pdu(s, h, t ? t->buf : NULL, t ? t->len : 0);
}

int login_once(struct ini *s, const struct login_req *r, const struct text *t)
{
	if (ini_connect(s, 0) || login_put(s, r, t) || recv_pdu(s, ANSWER_MS))
		return -1;
	if (opcode(s) != OP_LOGIN_RSP)
		return fail("opcode %x instead of a login response", opcode(s));
	return s->hdr[36] << 8 | s->hdr[37];
}

const char *answer_key(const struct ini *s, const char *key)
{
	size_t n = strlen(key);
	uint32_t at = 0;

	while (at < s->len) {
		const char *p = (const char *)s->data + at;

		if (s->len - at > n && !memcmp(p, key, n) && p[n] == '=')
			return p + n + 1;
		at += (uint32_t)strnlen(p, s->len - at) + 1;
	}
	return NULL;
}

/* ---- answers ---------------------------------------------------------------------- */

int opcode(const struct ini *s)
{
	return s->hdr[0] & 0x3f;
}

int expect_op(struct ini *s, int op, int ms)
{
	if (next_pdu(s, ms))
		return -1;
	return opcode(s) == op ? 0 : fail("opcode %x instead of %x", opcode(s), op);
}

int quiet(struct ini *s, int ms)
{
	int64_t end = now_ms() + ms;
	uint8_t h[BHS];

	while (now_ms() < end) {
		if (recv_pdu(s, (int)(end - now_ms())))
			return strstr(why, "in time") ? 0 : -1;
		if (opcode(s) != OP_NOP_IN || get32(s->hdr + 16) != RESERVED)
			return fail("opcode %x although nothing can have ended", opcode(s));
		hdr_init(s, h, OP_NOP_OUT | IMMEDIATE, 0x80);
		put32(h + 16, RESERVED);
		memcpy(h + 20, s->hdr + 20, 4);
		put32(h + 24, s->cmd_sn);
		if (send_pdu(s, h, NULL, 0))
			return -1;
	}
	return 0;
}

int expect_reject(struct ini *s, int reason)
{
	if (expect_op(s, OP_REJECT, ANSWER_MS))
		return -1;
	return s->hdr[2] == reason ? 0 : fail("reject reason %x instead of %x", s->hdr[2], reason);
}

int expect_r2t(struct ini *s, uint32_t itt, uint32_t *ttt, uint32_t *len)
{
	if (expect_op(s, OP_R2T, ANSWER_MS))
		return -1;
	if (get32(s->hdr + 16) != itt)
		return fail("R2T for %u instead of %u", get32(s->hdr + 16), itt);
	*ttt = get32(s->hdr + 20);
	if (len)
		*len = get32(s->hdr + 44);
	return 0;
}

int expect_sense(struct ini *s, uint32_t itt, int key, int asc_ascq)
{
	int st = status_of(s, itt, NULL, ANSWER_MS), got;

	if (st < 0)
		return -1;
	if (st != 2 || s->len < 2 + 14)
		return fail("status %x with %u bytes instead of CHECK CONDITION", st, s->len);
	got = s->data[2 + 12] << 8 | s->data[2 + 13];
	if ((s->data[2 + 2] & 15) != key || (asc_ascq && got != asc_ascq))
		return fail("sense %x/%04x instead of %x/%04x", s->data[2 + 2] & 15, got, key,
			    asc_ascq);
	return 0;
}

int expect_good(struct ini *s, uint32_t itt)
{
	int st = status_of(s, itt, NULL, ANSWER_MS);

	return st > 0 ? fail("status %x instead of GOOD", st) : st;
}

int goes_on(struct ini *s)
{
	uint8_t buf[BLOCK];

	return settle(s) || read_block(s, 0, buf);
}

long target_rss_kib(void)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tgtd_pid);
	f = tgtd_pid ? fopen(path, "r") : NULL;
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

void ini_reset(struct ini *s)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (s->fd >= 0)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	ini_close(s);
}
