// SPDX-License-Identifier: GPL-2.0-only
/*
 * A raw iSCSI initiator: what libiscsi, which behaves, cannot be made to send.
 *
 *   iscsi_raw HOST PORT TARGET LUN [SCENARIO]...
 *
 * Runs the scenarios (default: all that need nothing special) against a running tgtd
 * whose LUN may be overwritten; one line each; exit status 1 if one failed. Each scenario
 * ends with proof that the target still serves a new session. Source: RFC 7143 (the
 * sections are named at the scenarios).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <isa-l/crc.h>

#include "tests/it/iscsi_ini.h"

/* ---- scenarios -------------------------------------------------------------- */

/* A write by R2T whose Data-Out points elsewhere ends with an error, the LUN is
 * unchanged, and the session goes on (11.4.7.2, 11.7). */
static int t_data_out_abuse(void)
{
	static const struct {
		const char *what;
		uint32_t off, len, sn, ttt_xor;
	} bad[] = {
		{"offset beyond the buffer", 1 << 20, 512, 0, 0},
		{"offset wraps", 0xfffffe00, 512, 0, 0},
		{"longer than asked for", 0, 8192, 0, 0},
		{"DataSN 5", 0, 512, 5, 0},
	};
	static uint8_t junk[8192];
	uint8_t buf[BLOCK];
	struct ini s, w;
	unsigned int i;

	memset(junk, 0xee, sizeof(junk));
	if (login_ready(&w, 2, true) || write_block(&w, 8, 0x11) || write_block(&w, 9, 0x11))
		return -1;
	ini_close(&w);
	if (login_ready(&s, 1, false))
		return -1;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t itt = rw10(&s, 0x2a, 8, 2, NULL, 0), ttt;

		if (next_pdu(&s, ANSWER_MS))
			return -1;
		if ((s.hdr[0] & 0x3f) != 0x31)
			return fail("%s: no R2T", bad[i].what);
		ttt = get32(s.hdr + 20);
		if (data_out(&s, itt, ttt, bad[i].sn, bad[i].off, junk, bad[i].len, true))
			return -1;
		if (status_of(&s, itt, NULL, ANSWER_MS) != 2)
			return fail("%s: no CHECK CONDITION (%s)", bad[i].what, why);
	}
	/* a wrong transfer tag is dropped, the right one still counts */
	{
		uint32_t itt = rw10(&s, 0x2a, 8, 1, NULL, 0), ttt;

		if (next_pdu(&s, ANSWER_MS))
			return -1;
		ttt = get32(s.hdr + 20);
		if (data_out(&s, itt, ttt ^ 1, 0, 0, junk, 512, true) ||
		    data_out(&s, itt, ttt, 0, 0, memset(buf, 0x11, BLOCK), 512, true) ||
		    status_of(&s, itt, NULL, ANSWER_MS) != 0)
			return -1;
	}
	for (i = 8; i < 10; i++)
		if (read_block(&s, i, buf) || buf[0] != 0x11 || buf[BLOCK - 1] != 0x11)
			return fail("block %u was changed", i);
	ini_close(&s);
	return 0;
}

/* Text and SNACK in a normal session: Reject, and the session goes on (11.17). */
static int t_reject(void)
{
	static const char text[] = "SendTargets=All";
	uint8_t h[BHS];
	struct ini s;
	int i;

	if (login_ready(&s, 20, true))
		return -1;
	for (i = 0; i < 2; i++) {
		hdr_init(&s, h, i ? 0x10 : 0x04, 0x80);
		put32(h + 16, s.itt++);
		put32(h + 24, i ? 0 : s.cmd_sn++);
		if (send_pdu(&s, h, text, i ? 0 : sizeof(text)) || next_pdu(&s, ANSWER_MS))
			return -1;
		if ((s.hdr[0] & 0x3f) != 0x3f || s.len != BHS || s.data[0] != h[0])
			return fail("opcode %x instead of Reject to %x", s.hdr[0] & 0x3f, h[0]);
	}
	if (settle(&s))
		return -1;
	ini_close(&s);
	return 0;
}

/* Reads longer than MaxBurstLength come in sequences, each ended by F (11.7.1). */
static int t_burst(void)
{
	static const char keys[] = "MaxRecvDataSegmentLength=8192\0MaxBurstLength=20000";
	uint32_t seq = 0, total = 0;
	struct ini s;

	if (login_extra(&s, 21, keys, sizeof(keys)) || settle(&s))
		return -1;
	rw10(&s, 0x28, 0, 256, NULL, 0);
	do {
		if (next_pdu(&s, ANSWER_MS))
			return -1;
		if ((s.hdr[0] & 0x3f) != 0x25 || get32(s.hdr + 40) != total)
			return fail("opcode %x offset %u instead of %u", s.hdr[0] & 0x3f,
				    get32(s.hdr + 40), total);
		seq += s.len;
		total += s.len;
		if (s.len > 8192 || seq > 20000)
			return fail("%u bytes in a PDU, %u in a sequence", s.len, seq);
		if (s.hdr[1] & 0x80)
			seq = 0;
	} while (!(s.hdr[1] & 1));
	if (total != 256 * BLOCK)
		return fail("%u bytes", total);
	ini_close(&s);
	return 0;
}

/* Immediate requests are outside of the window; without bound they are not: an
 * initiator that asks and never reads loses its connection. */
static int t_flood(void)
{
	uint8_t h[BHS], data[512] = {0};
	struct timeval tv = {.tv_usec = 200000};
	struct ini s;
	int i, sent = 0, full = 0;

	if (login_ready(&s, 22, true))
		return -1;
	setsockopt(s.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	for (i = 0; i < 40000 && !full; i++) {
		hdr_init(&s, h, 0x40, 0x80);
		put32(h + 16, s.itt++);
		put32(h + 24, s.cmd_sn);
		full = send_pdu(&s, h, data, sizeof(data));
		sent++;
	}
	if (sent == 40000)
		return fail("%d pings were taken without one answer being read", sent);
	ini_close(&s);
	return 0;
}

/* Segments nobody has a place for end the connection, nothing else (11.2.1). */
static int t_bad_headers(void)
{
	static uint8_t big[300000];
	uint8_t h[BHS];
	struct ini s;
	int i;

	for (i = 0; i < 6; i++) {
		if (login_ready(&s, 3, true))
			return -1;
		hdr_init(&s, h, 0x40, 0x80);
		put32(h + 24, s.cmd_sn);
		switch (i) {
		case 0: /* TMF with data */
			h[0] = 0x42, h[1] = 0x81;
			send_pdu(&s, h, big, 4096);
			break;
		case 1: /* NOP-Out with an additional header */
			h[4] = 200;
			send_pdu(&s, h, big, 4096);
			break;
		case 2: /* longer than declared */
			send_pdu(&s, h, big, sizeof(big));
			break;
		case 3: /* immediate data beyond the expected length */
			h[0] = 0x01, h[1] = 0xa1, h[32] = 0x2a;
			put32(h + 20, 512);
			send_pdu(&s, h, big, 65536);
			break;
		case 4: /* an extended CDB of length 0 */
			h[0] = 0x01, h[1] = 0x81, h[4] = 2;
			put32(h + 20, 0);
			send_all(&s, h, BHS);
			memset(big, 0, 8);
			big[2] = 1;
			send_all(&s, big, 8);
			break;
		case 5: /* an opcode that does not exist */
			h[0] = 0x0b;
			send_pdu(&s, h, NULL, 0);
			break;
		}
		if (expect_closed(&s, ANSWER_MS))
			return fail("case %d: not closed", i);
		ini_close(&s);
	}
	return 0;
}

/* 4 GiB announced: refused without asking for it, and without the memory. */
static int t_giant_length(void)
{
	uint8_t cdb[16] = {0x8a};
	struct ini s;
	int i, st;

	if (login_ready(&s, 4, false))
		return -1;
	put32(cdb + 10, 1 << 22);
	for (i = 0; i < 40; i++) {
		st = status_of(&s, command(&s, cdb, 0xa0, 0xfffffe00, NULL, 0), NULL, ANSWER_MS);
		if (st != 2)
			return fail("a write of 4 GiB ends with %d (%s)", st, why);
	}
	cdb[0] = 0x88;
	st = status_of(&s, command(&s, cdb, 0xc0, 0xfffffe00, NULL, 0), NULL, ANSWER_MS);
	if (st != 2)
		return fail("a read of 4 GiB ends with %d (%s)", st, why);
	ini_close(&s);
	return 0;
}

/* Beyond MaxCmdSN: ignored, and the window itself moves on (4.2.2.1). */
static int t_window(void)
{
	static const uint8_t tur[16];
	uint32_t room, itt = 0, i;
	struct ini s;

	if (login_ready(&s, 5, false))
		return -1;
	room = s.max_cmd_sn - s.cmd_sn + 1;
	if (room < 16 || room > 1024)
		return fail("a window of %u commands", room);
	/* writes that wait for their data fill it */
	for (i = 0; i < room; i++)
		itt = rw10(&s, 0x2a, 16, 1, NULL, 0);
	for (i = 0; i < room; i++) {
		if (next_pdu(&s, ANSWER_MS) || (s.hdr[0] & 0x3f) != 0x31)
			return fail("R2T %u of %u did not come (%s)", i, room, why);
	}
	if (s.max_cmd_sn != s.exp_cmd_sn - 1)
		return fail("the window is open by %d with %u commands outstanding",
			    (int)(s.max_cmd_sn - s.exp_cmd_sn + 1), room);
	command(&s, tur, 0x80, 0, NULL, 0);
	if (!next_pdu(&s, 400))
		return fail("a command beyond the window was answered (opcode %x)", s.hdr[0]);
	s.cmd_sn--;
	if (tmf(&s, 1, itt) || next_pdu(&s, ANSWER_MS) || (s.hdr[0] & 0x3f) != 0x22 || s.hdr[2])
		return fail("abort of a waiting command: opcode %x response %u", s.hdr[0],
			    s.hdr[2]);
	itt = command(&s, tur, 0x80, 0, NULL, 0);
	if (status_of(&s, itt, NULL, ANSWER_MS))
		return fail("no answer after the window opened: %s", why);
	ini_close(&s);
	return 0;
}

/* A write that waits for data is aborted or reset: its data, when it comes, goes nowhere
 * (SAM: no effect after the answer). Who loses it by another session is told. */
static int t_abort_waiting(void)
{
	uint8_t junk[BLOCK], buf[BLOCK];
	struct ini s, w;
	uint32_t itt, ttt;
	int fn, st;

	memset(junk, 0xdd, sizeof(junk));
	for (fn = 1; fn <= 6; fn++) {
		if (fn == 3) /* CLEAR ACA */
			continue;
		if (login_ready(&w, 7, true) || write_block(&w, 20, 0x22))
			return -1;
		if (login_ready(&s, 6, false))
			return -1;
		itt = rw10(&s, 0x2a, 20, 1, NULL, 0);
		if (next_pdu(&s, ANSWER_MS) || (s.hdr[0] & 0x3f) != 0x31)
			return fail("no R2T");
		ttt = get32(s.hdr + 20);
		/* resets come from another session */
		if (fn >= 4) {
			if (tmf(&w, fn, 0) || next_pdu(&w, ANSWER_MS) ||
			    (w.hdr[0] & 0x3f) != 0x22 || w.hdr[2])
				return fail("function %d: opcode %x response %u", fn, w.hdr[0],
					    w.hdr[2]);
			st = status_of(&s, itt, NULL, ANSWER_MS);
			if (st != 0x40)
				return fail("function %d: the write ends %d (%s)", fn, st, why);
		} else if (tmf(&s, fn, itt) || next_pdu(&s, ANSWER_MS) ||
			   (s.hdr[0] & 0x3f) != 0x22 || s.hdr[2]) {
			return fail("function %d: opcode %x response %u", fn, s.hdr[0], s.hdr[2]);
		}
		if (data_out(&s, itt, ttt, 0, 0, junk, BLOCK, true))
			return -1;
		if (settle(&s) || settle(&w) || read_block(&w, 20, buf))
			return fail("function %d: %s", fn, why);
		if (buf[0] != 0x22)
			return fail("function %d: the aborted write took effect", fn);
		ini_close(&s);
		ini_close(&w);
	}
	return 0;
}

/* The same initiator port again: the old connection goes, the new one works, from
 * either stage (6.3.5). */
static int t_reinstate(void)
{
	uint8_t buf[BLOCK];
	struct ini a, b;
	int i;

	for (i = 0; i < 3; i++) {
		if (login_ready(&a, 9, true))
			return -1;
		rw10(&a, 0x28, 0, 128, NULL, 0);
		rw10(&a, 0x28, 0, 128, NULL, 0);
		if (login_ready(&b, 9, true))
			return fail("second login: %s", why);
		if (read_block(&b, 0, buf) || expect_closed(&a, ANSWER_MS))
			return fail("after reinstatement: %s", why);
		ini_close(&a);
		ini_close(&b);
	}
	return 0;
}

/* A session that does not read: others do not notice, and it gets everything
 * when it reads on. */
static int t_slow_reader(void)
{
	uint8_t buf[BLOCK];
	struct ini s, q;
	int64_t t;
	int slow = 0;
	uint64_t bytes = 0;
	int i, left = 24;

	if (login_ready(&s, 10, true) || login_ready(&q, 11, true))
		return -1;
	for (i = 0; i < 24; i++)
		rw10(&s, 0x28, 0, 1024, NULL, 0);
	/* a busy machine holds one of them up, not every other one */
	for (i = 0; i < 400; i++) {
		t = now_ms();
		if (read_block(&q, 0, buf))
			return -1;
		slow += now_ms() - t > 100;
	}
	if (slow > 200)
		return fail("%d of 400 reads of another session waited", slow);
	/* a file store completes in any order */
	while (left) {
		if (next_pdu(&s, ANSWER_MS))
			return fail("with %d of 24 reads to come: %s", left, why);
		if ((s.hdr[0] & 0x3f) != 0x25)
			return fail("opcode %x status %d", s.hdr[0], s.hdr[3]);
		bytes += s.len;
		if (s.hdr[1] & 1)
			left--;
	}
	if (bytes != 24ULL * 1024 * BLOCK)
		return fail("%llu bytes instead of 12 MiB", (unsigned long long)bytes);
	ini_close(&s);
	ini_close(&q);
	return 0;
}

/* It goes away with everything in flight. */
static int t_vanish(void)
{
	struct ini s;
	int i, k;

	for (k = 0; k < 20; k++) {
		if (login_ready(&s, 12 + k % 3, k & 1))
			return -1;
		for (i = 0; i < 30; i++) {
			rw10(&s, 0x28, i * 8, 256, NULL, 0);
			rw10(&s, 0x2a, 64, 8, NULL, 0);
		}
		if (k & 2)
			usleep(3000);
		ini_close(&s);
	}
	return 0;
}

static int t_digests(void)
{
	static const char keys[] = "HeaderDigest=CRC32C,None\0DataDigest=CRC32C,None\0"
				   "MaxRecvDataSegmentLength=8192";
	static uint8_t out[64 << 10], in[64 << 10];
	struct ini s;
	uint32_t i;

	if (login_extra(&s, 16, keys, sizeof(keys)))
		return -1;
	s.digests = true;
	if (settle(&s))
		return -1;
	for (i = 0; i < sizeof(out); i++)
		out[i] = i * 7 + (i >> 8);
	if (status_of(&s, rw10(&s, 0x2a, 200, 128, out, sizeof(out)), NULL, ANSWER_MS))
		return fail("write: %s", why);
	if (status_of(&s, rw10(&s, 0x28, 200, 128, NULL, 0), in, ANSWER_MS))
		return fail("read: %s", why);
	if (memcmp(in, out, sizeof(in)))
		return fail("data differs");
	/* one bit wrong: not written, connection closed (7.8) */
	{
		uint8_t h[BHS];
		uint32_t crc;

		hdr_init(&s, h, 0x01, 0xa1);
		put32(h + 20, 512);
		put32(h + 24, s.cmd_sn);
		h[32] = 0x2a, h[37] = 200, h[40] = 1, h[6] = 2;
		crc = ~crc32_iscsi(h, BHS, ~0U);
		send_all(&s, h, BHS);
		send_all(&s, &crc, 4);
		memset(out, 0x99, 512);
		crc = ~crc32_iscsi(out, 512, ~0U) ^ 1;
		send_all(&s, out, 512);
		send_all(&s, &crc, 4);
	}
	if (expect_closed(&s, ANSWER_MS))
		return fail("a wrong digest was taken");
	ini_close(&s);
	if (login_ready(&s, 16, true) || read_block(&s, 200, in) || in[0] == 0x99)
		return fail("data with a wrong digest was written");
	ini_close(&s);
	return 0;
}

/* Silence: closed after T_nop (1.5 s); half a login: closed after 10 s. */
static int t_silence(void)
{
	struct ini s, half;
	int64_t t0 = now_ms();

	if (ini_connect(&half, 17) || login_ready(&s, 18, true))
		return -1;
	if (expect_closed(&s, ANSWER_MS) || now_ms() - t0 < 1000)
		return fail("a silent session: %s", why);
	ini_close(&s);
	send_all(&half, "\x43", 1);
	if (expect_closed(&half, 10000 + ANSWER_MS))
		return fail("half a login: %s", why);
	ini_close(&half);
	return 0;
}

/* Many sessions at once; more half logins than the target keeps. */
/* A sign of life of each (an answer to no ping): it takes its time until all are there. */
static void alive(struct ini *s, int n)
{
	uint8_t h[BHS];

	for (int k = 0; k < n; k++) {
		hdr_init(&s[k], h, 0x40, 0x80); /* NOP-Out, immediate */
		put32(h + 16, RESERVED);
		put32(h + 20, 1);
		put32(h + 24, s[k].cmd_sn);
		send_pdu(&s[k], h, NULL, 0);
	}
}

static int t_many(void)
{
	enum { NR = 300, HALF = 1200 };
	static struct ini s[NR], half[HALF];
	uint8_t buf[BLOCK];
	int i;

	for (i = 0; i < NR; i++) {
		if (login_ready(&s[i], 1000 + i, true))
			return fail("session %d: %s", i, why);
		if (i % 16 == 0)
			alive(s, i);
	}
	for (i = 0; i < NR; i++)
		rw10(&s[i], 0x28, i, 1, NULL, 0);
	for (i = 0; i < NR; i++)
		if (status_of(&s[i], s[i].itt - 1, buf, ANSWER_MS))
			return fail("session %d: %s", i, why);
	for (i = 0; i < HALF; i++) {
		if (ini_connect(&half[i], 3000))
			return fail("connection %d: %s", i, why);
		if (i % 100 == 0)
			alive(s, NR);
	}
	if (read_block(&s[0], 0, buf))
		return -1;
	if (still_serving())
		return -1;
	for (i = 0; i < HALF; i++)
		ini_close(&half[i]);
	for (i = 0; i < NR; i++)
		ini_close(&s[i]);
	return 0;
}

/* Space gets short (tgtd-fake: a byte more in $FAKE_WARNINGS): each nexus is told once,
 * 38h/07h THIN PROVISIONING SOFT THRESHOLD REACHED. */
static int t_thin_warning(void)
{
	static const uint8_t tur[16];
	const char *path = getenv("FAKE_WARNINGS");
	struct ini s[2];
	FILE *f;

	for (int i = 0; i < 2; i++)
		if (login_ready(&s[i], 20 + i, true))
			return -1;
	for (int round = 0; round < 2; round++) {
		int told[2] = {0, 0};

		f = path ? fopen(path, "a") : NULL;
		if (!f || fputc('x', f) == EOF || fclose(f))
			return fail("FAKE_WARNINGS names no file");
		for (int i = 0; i < 8; i++) {
			struct ini *t = &s[i % 2];
			const uint8_t *sense;
			int st = status_of(t, command(t, tur, 0x80, 0, NULL, 0), NULL, ANSWER_MS);

			if (st < 0)
				return -1;
			if (!st)
				continue;
			sense = t->data + 2;
			if (st != 2 || t->len < 20 || (sense[2] & 15) != 6 || sense[12] != 0x38 ||
			    sense[13] != 0x07)
				return fail("status %x, sense %x/%x/%x", st, sense[2] & 15,
					    sense[12], sense[13]);
			told[i % 2]++;
		}
		if (told[0] != 1 || told[1] != 1)
			return fail("told %d and %d times", told[0], told[1]);
	}
	ini_close(&s[0]);
	ini_close(&s[1]);
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(void);
	bool only_named;
} scenarios[] = {
	{"data-out-abuse", t_data_out_abuse, false},
	{"bad-headers", t_bad_headers, false},
	{"reject", t_reject, false},
	{"burst", t_burst, false},
	{"flood", t_flood, false},
	{"giant-length", t_giant_length, false},
	{"window", t_window, false},
	{"abort-waiting", t_abort_waiting, false},
	{"reinstate", t_reinstate, false},
	{"slow-reader", t_slow_reader, false},
	{"vanish", t_vanish, false},
	{"digests", t_digests, false},
	{"many", t_many, false},
	{"silence", t_silence, false},
	{"thin-warning", t_thin_warning, true},
};

int main(int argc, char **argv)
{
	unsigned int i, ran = 0, failed = 0, nr = sizeof(scenarios) / sizeof(scenarios[0]);
	int a;

	if (argc < 5) {
		fprintf(stderr, "usage: iscsi_raw HOST PORT TARGET LUN [SCENARIO]...\n");
		return 2;
	}
	host = argv[1];
	port = argv[2];
	target = argv[3];
	lun_nr = atoi(argv[4]);
	for (i = 0; i < nr; i++) {
		bool want = argc == 5 && !scenarios[i].only_named;
		int ret;

		for (a = 5; a < argc; a++)
			want |= !strcmp(argv[a], scenarios[i].name);
		if (!want)
			continue;
		why[0] = 0;
		ret = scenarios[i].fn();
		if (!ret)
			ret = still_serving() ? fail("not serving afterwards: %s", why) : 0;
		printf("%s %s%s%s\n", ret ? "FAILED" : "ok", scenarios[i].name, ret ? ": " : "",
		       ret ? why : "");
		fflush(stdout);
		failed += ret != 0;
		ran++;
	}
	if (!ran) {
		fprintf(stderr, "iscsi_raw: no scenario of that name\n");
		return 2;
	}
	return failed ? 1 : 0;
}
