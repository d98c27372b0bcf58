// SPDX-License-Identifier: GPL-2.0-only
/* A raw iSCSI initiator, see iscsi_ini.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <isa-l/crc.h>

#include "tests/it/iscsi_ini.h"

/* A scenario that fails may leave memory behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

const char *host, *port, *target;
unsigned int lun_nr;
char why[256];
int ini_mss;
unsigned int ini_pings;

int fail(const char *fmt, ...)
{
	char text[sizeof(why)]; /* why may be among the arguments */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(why, text, sizeof(why));
	return -1;
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void put32(uint8_t *p, uint32_t v)
{
	p[0] = v >> 24, p[1] = v >> 16, p[2] = v >> 8, p[3] = v;
}

uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

int ini_connect(struct ini *s, uint16_t isid)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	int ret = -1, one = 1;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->isid = isid;
	s->cmd_sn = 1;
	s->itt = 100;
	if (getaddrinfo(host, port, &hints, &ai))
		return fail("bad address %s:%s", host, port);
	s->fd = socket(ai->ai_family, SOCK_STREAM, 0);
	/* small segments: the target's kernel takes little of what nobody reads */
	if (s->fd >= 0 && ini_mss)
		setsockopt(s->fd, IPPROTO_TCP, TCP_MAXSEG, &ini_mss, sizeof(ini_mss));
	if (s->fd >= 0)
		ret = connect(s->fd, ai->ai_addr, ai->ai_addrlen);
	if (!ret) /* headers and data are sent apart */
		setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	freeaddrinfo(ai);
	return ret ? fail("connect: %s", strerror(errno)) : 0;
}

void ini_close(struct ini *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->data);
	s->data = NULL;
	s->fd = -1;
}

int send_all(struct ini *s, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = send(s->fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return fail("send: %s", strerror(errno));
		p += n;
		len -= n;
	}
	return 0;
}

int recv_all(struct ini *s, void *buf, size_t len, int64_t deadline)
{
	uint8_t *p = buf;

	while (len) {
		struct pollfd pfd = {.fd = s->fd, .events = POLLIN};
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&pfd, 1, left) <= 0)
			return fail("no answer in time");
		n = recv(s->fd, p, len, 0);
		if (n <= 0)
			return fail("connection closed by the target");
		p += n;
		len -= n;
	}
	return 0;
}

void hdr_init(struct ini *s, uint8_t *h, int op, int flags)
{
	memset(h, 0, BHS);
	h[0] = op;
	h[1] = flags;
	h[9] = lun_nr;
	put32(h + 16, s->itt);
	put32(h + 20, RESERVED);
	put32(h + 28, s->exp_stat_sn);
}

int send_pdu(struct ini *s, uint8_t *h, const void *data, uint32_t len)
{
	static const uint8_t zero[4];
	uint32_t crc;

	h[5] = len >> 16, h[6] = len >> 8, h[7] = len;
	if (send_all(s, h, BHS))
		return -1;
	if (s->digests) {
		crc = ~crc32_iscsi(h, BHS, ~0U);
		if (send_all(s, &crc, 4))
			return -1;
	}
	if (len && (send_all(s, data, len) || send_all(s, zero, -len & 3)))
		return -1;
	if (len && s->digests) {
		crc = crc32_iscsi((uint8_t *)data, len, ~0U);
		crc = ~crc32_iscsi((uint8_t *)zero, -len & 3, crc);
		return send_all(s, &crc, 4);
	}
	return 0;
}

int recv_pdu(struct ini *s, int ms)
{
	int64_t deadline = now_ms() + ms;
	uint32_t crc, pad;

	if (recv_all(s, s->hdr, BHS, deadline))
		return -1;
	if (s->digests) {
		if (recv_all(s, &crc, 4, deadline))
			return -1;
		if (crc != ~crc32_iscsi(s->hdr, BHS, ~0U))
			return fail("header digest of opcode %x is wrong", s->hdr[0]);
	}
	s->len = s->hdr[5] << 16 | s->hdr[6] << 8 | s->hdr[7];
	pad = (s->len + 3) & ~3U;
	free(s->data);
	s->data = malloc(pad + 1);
	if (pad && recv_all(s, s->data, pad, deadline))
		return -1;
	if (pad && s->digests) {
		if (recv_all(s, &crc, 4, deadline))
			return -1;
		if (crc != ~crc32_iscsi(s->data, pad, ~0U))
			return fail("data digest of opcode %x is wrong", s->hdr[0]);
	}
	switch (s->hdr[0] & 0x3f) {
	case 0x31: /* R2T and pings do not count */
		break;
	case 0x20:
		if (get32(s->hdr + 16) == RESERVED)
			break;
		/* fall through */
	default:
		if ((s->hdr[0] & 0x3f) != 0x25 || (s->hdr[1] & 1))
			s->exp_stat_sn = get32(s->hdr + 24) + 1;
	}
	s->exp_cmd_sn = get32(s->hdr + 28);
	s->max_cmd_sn = get32(s->hdr + 32);
	return 0;
}

int next_pdu(struct ini *s, int ms)
{
	uint8_t h[BHS];

	for (;;) {
		if (recv_pdu(s, ms))
			return -1;
		if ((s->hdr[0] & 0x3f) != 0x20 || get32(s->hdr + 16) != RESERVED)
			return 0;
		ini_pings++;
		hdr_init(s, h, 0x40, 0x80);
		put32(h + 16, RESERVED);
		memcpy(h + 20, s->hdr + 20, 4);
		put32(h + 24, s->cmd_sn);
		if (send_pdu(s, h, NULL, 0))
			return -1;
	}
}

int login_send(struct ini *s, const char *extra, size_t extra_len, int flags)
{
	char text[1024];
	uint8_t h[BHS];
	int n;

	n = snprintf(text, sizeof(text),
		     "InitiatorName=iqn.2011-06.org.vmstore:raw%cTargetName=%s%"
		     "cSessionType=Normal%c",
		     0, target, 0, 0);
	if (extra_len)
		memcpy(text + n, extra, extra_len);
	hdr_init(s, h, 0x43, flags);
	memset(h + 8, 0, 8);
	h[8] = 0x80;
	h[12] = s->isid >> 8, h[13] = s->isid;
	put32(h + 24, s->cmd_sn);
	put32(h + 28, 0);
	put32(h + 20, 0);
	return send_pdu(s, h, text, n + extra_len);
}

int login_extra(struct ini *s, uint16_t isid, const char *extra, size_t extra_len)
{
	if (ini_connect(s, isid) || login_send(s, extra, extra_len, OPER_TO_FFP) ||
	    recv_pdu(s, ANSWER_MS))
		return -1;
	/* the target may have keys of its own to settle */
	while ((s->hdr[0] & 0x3f) == 0x23 && !s->hdr[36] && !(s->hdr[1] & 0x80)) {
		uint8_t h[BHS];

		hdr_init(s, h, 0x43, OPER_TO_FFP);
		memcpy(h + 8, s->hdr + 8, 8);
		put32(h + 20, 0);
		put32(h + 24, s->cmd_sn);
		if (send_pdu(s, h, NULL, 0) || recv_pdu(s, ANSWER_MS))
			return -1;
	}
	if ((s->hdr[0] & 0x3f) != 0x23 || s->hdr[36])
		return fail("login refused: opcode %x status %02x%02x", s->hdr[0], s->hdr[36],
			    s->hdr[37]);
	return 0;
}

int login(struct ini *s, uint16_t isid, bool unsolicited)
{
	static const char yes[] =
		"InitialR2T=No\0ImmediateData=Yes\0MaxRecvDataSegmentLength=262144\0"
		"FirstBurstLength=262144\0MaxBurstLength=1048576";
	static const char no[] =
		"InitialR2T=Yes\0ImmediateData=No\0MaxRecvDataSegmentLength=262144\0"
		"MaxBurstLength=1048576";

	return unsolicited ? login_extra(s, isid, yes, sizeof(yes))
			   : login_extra(s, isid, no, sizeof(no));
}

uint32_t command(struct ini *s, const uint8_t *cdb, int flags, uint32_t edtl, const void *data,
		 uint32_t len)
{
	uint8_t h[BHS];
	uint32_t itt = s->itt++;

	hdr_init(s, h, 0x01, flags | 1);
	put32(h + 16, itt);
	put32(h + 20, edtl);
	put32(h + 24, s->cmd_sn++);
	memcpy(h + 32, cdb, 16);
	send_pdu(s, h, data, len);
	return itt;
}

uint32_t rw10(struct ini *s, int op, uint32_t lba, uint32_t blocks, const void *data, uint32_t len)
{
	uint8_t cdb[16] = {op};

	put32(cdb + 2, lba);
	cdb[7] = blocks >> 8, cdb[8] = blocks;
	return command(s, cdb, op == 0x28 ? 0xc0 : 0xa0, blocks * BLOCK, data, len);
}

int data_out(struct ini *s, uint32_t itt, uint32_t ttt, uint32_t sn, uint32_t off, const void *data,
	     uint32_t len, bool final)
{
	uint8_t h[BHS];

	hdr_init(s, h, 0x05, final ? 0x80 : 0);
	put32(h + 16, itt);
	put32(h + 20, ttt);
	put32(h + 36, sn);
	put32(h + 40, off);
	return send_pdu(s, h, data, len);
}

int tmf(struct ini *s, int fn, uint32_t rtt)
{
	uint8_t h[BHS];

	hdr_init(s, h, 0x42, 0x80 | fn);
	put32(h + 16, s->itt++);
	put32(h + 20, rtt);
	put32(h + 24, s->cmd_sn);
	put32(h + 32, s->cmd_sn - 1);
	return send_pdu(s, h, NULL, 0);
}

int status_of(struct ini *s, uint32_t itt, uint8_t *into, int ms)
{
	for (;;) {
		if (next_pdu(s, ms))
			return -1;
		if (get32(s->hdr + 16) != itt)
			return fail("an answer to tag %u instead of %u", get32(s->hdr + 16), itt);
		switch (s->hdr[0] & 0x3f) {
		case 0x25:
			if (into)
				memcpy(into + get32(s->hdr + 40), s->data, s->len);
			if (s->hdr[1] & 1)
				return s->hdr[3];
			break;
		case 0x21:
			return s->hdr[3];
		default:
			return fail("opcode %x instead of a status", s->hdr[0] & 0x3f);
		}
	}
}

int settle(struct ini *s)
{
	static const uint8_t tur[16];
	int i, st;

	for (i = 0; i < 8; i++) {
		st = status_of(s, command(s, tur, 0x80, 0, NULL, 0), NULL, ANSWER_MS);
		if (st <= 0)
			return st;
	}
	return fail("the LUN stays not ready");
}

int login_ready(struct ini *s, uint16_t isid, bool unsolicited)
{
	return login(s, isid, unsolicited) || settle(s);
}

int read_block(struct ini *s, uint32_t lba, uint8_t *buf)
{
	int st = status_of(s, rw10(s, 0x28, lba, 1, NULL, 0), buf, ANSWER_MS);

	return st > 0 ? fail("read ends with status %x", st) : st;
}

int write_block(struct ini *s, uint32_t lba, int byte)
{
	uint8_t buf[BLOCK];
	uint32_t itt;
	int st;

	memset(buf, byte, sizeof(buf));
	itt = rw10(s, 0x2a, lba, 1, buf, sizeof(buf));
	st = status_of(s, itt, NULL, ANSWER_MS);
	return st > 0 ? fail("write ends with status %x", st) : st;
}

int expect_closed(struct ini *s, int ms)
{
	int64_t deadline = now_ms() + ms;

	while (now_ms() < deadline)
		if (recv_pdu(s, deadline - now_ms()))
			return strstr(why, "closed") ? 0 : fail("still open after %d ms", ms);
	return fail("still open after %d ms", ms);
}

int still_serving(void)
{
	struct ini s;
	uint8_t buf[BLOCK];
	int ret = login_ready(&s, 0x7777, true) || read_block(&s, 0, buf) ? -1 : 0;

	ini_close(&s);
	return ret;
}
