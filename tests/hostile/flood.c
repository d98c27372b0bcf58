// SPDX-License-Identifier: GPL-2.0-only
/*
 * Much of everything: connections, sessions, memory. What one initiator can make the
 * target keep is bounded (doc/security.md), and the others hardly notice.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

#define HALF_OPEN  1000
#define LOGIN_MS   10000 /* the target's deadline for a login */
#define GROWTH_MIB 1000	 /* of all hogs of a script together, with the sanitizer */

static int closed_by_target(struct ini *s)
{
	char c;
	ssize_t n;

	while ((n = recv(s->fd, &c, 1, MSG_DONTWAIT)) > 0)
		;
	return n == 0 || (n < 0 && errno != EAGAIN);
}

/* A thousand connections that stop before, inside and after the first request; each is
 * closed at the deadline, none much before. */
static int t_half_open(void)
{
	static struct ini s[HALF_OPEN];
	struct login_req r = login_req(0x900, 0x04);
	static struct text t;
	int64_t t0 = now_ms(), first = 0;
	int open = 0;

	text_init(&t);
	text_names(&t, "Normal");
	for (int i = 0; i < HALF_OPEN; i++) {
		if (ini_connect(&s[i], 0))
			return fail("connection %d: %.200s", i, why);
		if (i % 4 == 1)
			send_all(&s[i], "\x43", 1);
		if (i % 4 == 2)
			send_all(&s[i], "\x43\x87\0\0\0\0\0\x20", 8);
		if (i % 4 == 3 && login_put(&s[i], &r, &t))
			return fail("login %d: %.200s", i, why);
	}
	if (still_serving())
		return fail("with %d half-open connections: %.200s", HALF_OPEN, why);
	do {
		usleep(100000);
		open = 0;
		for (int i = 0; i < HALF_OPEN; i++)
			open += !closed_by_target(&s[i]);
		if (open < HALF_OPEN && !first)
			first = now_ms() - t0;
	} while (open && now_ms() - t0 < LOGIN_MS + ANSWER_MS);
	for (int i = 0; i < HALF_OPEN; i++)
		ini_close(&s[i]);
	if (open)
		return fail("%d are still open after %d s", open, (int)(now_ms() - t0) / 1000);
	return first >= LOGIN_MS - 1000 ? 0 : fail("the first was closed after %d ms", (int)first);
}

/* More of them than are kept: the longest waiting makes room. */
static int t_half_open_too_many(void)
{
	enum { NR_CONNS = 1400 };
	static struct ini s[NR_CONNS];
	int64_t end;
	int open;

	for (int i = 0; i < NR_CONNS; i++)
		if (ini_connect(&s[i], 0))
			return fail("connection %d: %.200s", i, why);
	if (still_serving())
		return fail("with %d half-open connections: %.200s", NR_CONNS, why);
	end = now_ms() + LOGIN_MS / 2; /* later they end for another reason */
	do {
		usleep(50000);
		open = 0;
		for (int i = 0; i < NR_CONNS; i++)
			open += !closed_by_target(&s[i]);
	} while (open > 1030 && now_ms() < end);
	for (int i = 0; i < NR_CONNS; i++)
		ini_reset(&s[i]);
	return open <= 1030 ? 0 : fail("%d half-open connections are kept", open);
}

static int t_connections(void)
{
	struct ini s;

	for (int i = 0; i < 2000; i++) {
		if (ini_connect(&s, 0))
			return fail("connection %d: %.200s", i, why);
		if (i & 1)
			ini_reset(&s);
		else
			ini_close(&s);
	}
	return 0;
}

/* Sessions of one initiator, all there at once. */
static int t_sessions(void)
{
	enum { NR_SESSIONS = 255 };
	static struct ini s[NR_SESSIONS];
	uint8_t buf[BLOCK], h[BHS];

	for (int i = 0; i < NR_SESSIONS; i++) {
		if (login_ready(&s[i], (uint16_t)(0xa00 + i), true))
			return fail("session %d: %.200s", i, why);
		for (int k = 0; k < i && i % 16 == 0; k++) { /* a sign of life */
			hdr_init(&s[k], h, OP_NOP_OUT | IMMEDIATE, 0x80);
			put32(h + 16, RESERVED), put32(h + 20, 1), put32(h + 24, s[k].cmd_sn);
			send_pdu(&s[k], h, NULL, 0);
		}
	}
	for (int i = 0; i < NR_SESSIONS; i++)
		if (read_block(&s[i], 0, buf))
			return fail("session %d: %.200s", i, why);
	for (int i = 0; i < NR_SESSIONS; i++) {
		rw10(&s[i], 0x28, 0, 128, NULL, 0);
		if (i & 1)
			ini_reset(&s[i]);
		else
			ini_close(&s[i]);
	}
	return 0;
}

/* ---- memory ------------------------------------------------------------------------ */

#define HOGS 24
static struct ini hog[HOGS];

static int hogs_begin(long *rss)
{
	for (int i = 0; i < HOGS; i++)
		if (login_ready(&hog[i], (uint16_t)(0xb00 + i), true))
			return fail("session %d: %.200s", i, why);
	*rss = target_rss_kib();
	return 0;
}

/* The others went on, memory is bounded, and the hogs are closed within ms (0: they may
 * stay). */
static int hogs_end(long rss, int ms)
{
	int64_t end = now_ms() + ms;
	long grown = (target_rss_kib() - rss) / 1024;
	int open = HOGS;

	if (witness_goes_on(5, ANSWER_MS) || still_serving())
		return fail("others do not go on: %.200s", why);
	grown = grown > (target_rss_kib() - rss) / 1024 ? grown : (target_rss_kib() - rss) / 1024;
	while (ms && open && now_ms() < end) {
		usleep(50000);
		open = 0;
		for (int i = 0; i < HOGS; i++)
			/* it has never read: what it sees is at the end of a full socket */
			open += send(hog[i].fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) == 0 &&
				!(poll(&(struct pollfd){.fd = hog[i].fd, .events = POLLRDHUP}, 1,
				       0) == 1);
	}
	for (int i = 0; i < HOGS; i++)
		ini_reset(&hog[i]);
	if (ms && open)
		return fail("%d of %d are still there after %d ms", open, HOGS, ms);
	return grown < GROWTH_MIB ? 0 : fail("the target has grown by %ld MiB", grown);
}

/* Long reads whose answers nobody takes. */
static int t_never_reads(void)
{
	uint8_t cdb[16] = {0x88};
	long rss;

	if (hogs_begin(&rss))
		return -1;
	put32(cdb + 10, 4096);
	for (int i = 0; i < HOGS; i++)
		for (int k = 0; k < 100; k++)
			command(&hog[i], cdb, 0xc0, 4096 * BLOCK, NULL, 0);
	usleep(300000);
	return hogs_end(rss, ANSWER_MS);
}

/* The same, and it goes on talking: as many as get memory at a time (256 MiB). */
#define TALKERS 8
static int t_talks_and_never_reads(void)
{
	uint8_t cdb[16] = {0x88}, h[BHS];
	int64_t end = now_ms() + ANSWER_MS;
	int alive = TALKERS;
	long rss;

	if (hogs_begin(&rss))
		return -1;
	put32(cdb + 10, 4096);
	for (int i = 0; i < TALKERS; i++)
		for (int k = 0; k < 20; k++)
			command(&hog[i], cdb, 0xc0, 4096 * BLOCK, NULL, 0);
	while (alive && now_ms() < end) {
		alive = 0;
		for (int i = 0; i < TALKERS; i++) {
			hdr_init(&hog[i], h, OP_NOP_OUT | IMMEDIATE, 0x80);
			put32(h + 16, RESERVED), put32(h + 20, 1), put32(h + 24, hog[i].cmd_sn);
			alive += !send_pdu(&hog[i], h, NULL, 0);
		}
		usleep(100000);
	}
	if (alive)
		return fail("%d sessions that read nothing live on", alive);
	return hogs_end(rss, 0);
}

/* First bursts are announced, and do not come. */
static int t_announces(void)
{
	uint8_t h[BHS];
	long rss;

	if (hogs_begin(&rss))
		return -1;
	for (int i = 0; i < HOGS; i++)
		for (int k = 0; k < 128; k++) {
			hdr_init(&hog[i], h, OP_SCSI, 0x21);
			put32(h + 16, hog[i].itt++), put32(h + 20, 262144);
			put32(h + 24, hog[i].cmd_sn++);
			h[32] = 0x2a, h[39] = 2;
			if (send_pdu(&hog[i], h, NULL, 0))
				return fail("session %d, write %d: %.200s", i, k, why);
		}
	return hogs_end(rss, 0);
}

/* All but the end of many writes. */
static int t_sends_all_but_the_end(void)
{
	static uint8_t data[262144];
	uint8_t h[BHS];
	long rss;

	if (hogs_begin(&rss))
		return -1;
	for (int i = 0; i < HOGS; i++)
		for (int k = 0; k < 100; k++) {
			hdr_init(&hog[i], h, OP_SCSI, 0x21);
			put32(h + 16, hog[i].itt++), put32(h + 20, 2 << 20);
			put32(h + 24, hog[i].cmd_sn++);
			h[32] = 0x2a, h[39] = 0x10;
			if (send_pdu(&hog[i], h, data, k % 8 ? 4096 : sizeof(data) - 4))
				return fail("session %d, write %d: %.200s", i, k, why);
		}
	return hogs_end(rss, 0);
}

/* Each hog sends n requests with data, until the target takes no more. */
static int hogs_send(int op, int n)
{
	static uint8_t data[65536];
	struct timeval tv = {.tv_usec = 100000};
	uint8_t h[BHS];
	long rss;

	if (hogs_begin(&rss))
		return -1;
	for (int i = 0; i < HOGS; i++) {
		setsockopt(hog[i].fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		for (int k = 0; k < n; k++) {
			hdr_init(&hog[i], h, op | IMMEDIATE, 0x80);
			put32(h + 16, hog[i].itt++), put32(h + 24, hog[i].cmd_sn);
			if (send_pdu(&hog[i], h, data, sizeof(data)))
				break;
		}
	}
	return hogs_end(rss, 0);
}

/* Pings, whose answers nobody takes. */
static int t_pings(void)
{
	return hogs_send(OP_NOP_OUT, 400);
}

/* Text that is refused. */
static int t_texts(void)
{
	return hogs_send(OP_TEXT, 200);
}

const struct hostile flood_scripts[] = {
	{"connections", t_connections, HOSTILE_HEAVY},
	{"sessions", t_sessions, HOSTILE_HEAVY},
	{"never-reads", t_never_reads, HOSTILE_HEAVY},
	{"talks-and-never-reads", t_talks_and_never_reads, HOSTILE_HEAVY},
	{"announces", t_announces, HOSTILE_HEAVY},
	{"all-but-the-end", t_sends_all_but_the_end, HOSTILE_HEAVY},
	{"pings", t_pings, HOSTILE_HEAVY},
	{"texts", t_texts, HOSTILE_HEAVY},
	{"half-open-1000", t_half_open, HOSTILE_HEAVY},
	{"half-open-1400", t_half_open_too_many, HOSTILE_HEAVY},
	{NULL, NULL, 0},
};
