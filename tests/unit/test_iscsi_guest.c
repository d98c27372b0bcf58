// SPDX-License-Identifier: GPL-2.0-only
/*
 * What who has no session can make the target keep and do: one answer that is not taken, and
 * no turn of the loop for it, a place among 1,024, an end among others, a look at as
 * much text as its answer has room for. The transport and tgt's objects, real sockets, turns by
 * hand; what is counted are requests, bytes and connections.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <driver.h> /* tgt's, not ours */
#include "scsi.h"
#include "tgtadm.h"

#include "tests/unit/cunit.h"
#include "tests/unit/stream_rig.h"

#define BHS	 48u
#define ASKED	 6000 /* lists: far more than the socket takes */
#define T_NOP_MS 1500
#define LOGIN_MS 10000
#define KEPT	 1024 /* connections without a session */
#define MANY	 40
#define BOUND	 16 /* closes in a turn */
#define TARGETS	 200
#define QUIET_US 250000

static bool again;

static void turn(void)
{
	tgt_turn_now_ms++;
	stream_events();
	stub_scheduled();
	again = stream_flush();
}

/* Would the loop sleep now? */
static bool sleeps(void)
{
	struct pollfd p = {.fd = loop_fd, .events = POLLIN};

	return !again && !poll(&p, 1, 0);
}

#define TURNS_UNTIL(what)                                                                          \
	for (int64_t end = late_us() + 30000000; !(what);) {                                       \
		turn();                                                                            \
		if (late_us() > end) {                                                             \
			CU_FAIL_FATAL(#what " takes more than 30 s");                              \
		}                                                                                  \
	}

/* Until nothing has moved for a time: longer than the kernel's timers for late acknowledgements
 * and for what a small window holds back (200 ms), which make room once more. */
static void until_quiet(bool (*moved)(void))
{
	int64_t now, since = late_us(), end = since + 30000000;

	do {
		usleep(5000);
		now = late_us();
		CU_ASSERT_FATAL(now < end);
		if (moved())
			since = late_us();
	} while (now < since + QUIET_US);
}

static int tick_fd[2] = {-1, -1};

static void tick(void)
{
	uint64_t one = 1;

	if (tick_fd[0] < 0)
		vms_assert(!pipe(tick_fd));
	tgt_set_timing(500, T_NOP_MS, LOGIN_MS);
	vms_assert(write(tick_fd[1], &one, sizeof(one)) == sizeof(one));
	stream_tick(tick_fd[0], EPOLLIN, NULL);
}

static struct stream_conn *newest(void)
{
	return container_of(stream.all.prev, struct stream_conn, all);
}

static void login_text_send(int fd, const char *text, size_t n)
{
	static uint8_t out[BHS + 8192];

	memset(out, 0, sizeof(out));
	out[0] = 0x43, out[1] = 0x87, out[8] = 0x80, out[13] = 1, out[27] = 1;
	out[6] = (uint8_t)(n >> 8), out[7] = (uint8_t)n;
	memcpy(out + BHS, text, n);
	n = BHS + ((n + 3) & ~3ul);
	CU_ASSERT_EQUAL_FATAL(send(fd, out, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* most: MaxRecvDataSegmentLength; 0: not said */
static void discovery_send(int fd, unsigned most)
{
	char text[256];
	size_t n = (size_t)snprintf(text, sizeof(text),
				    "InitiatorName=iqn.fuzz%cSessionType=Discovery%c", 0, 0);

	if (most)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "MaxRecvDataSegmentLength=%u%c",
				      most, 0);
	login_text_send(fd, text, n);
}

/* A discovery session whose socket takes little. */
static int discovery(void)
{
	int fd = join(), few = 32768, before = in_state(STATE_FULL);
	uint8_t answer[4096];

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof(few));
	discovery_send(fd, 0);
	TURNS_UNTIL(in_state(STATE_FULL) == before + 1);
	CU_ASSERT(recv(fd, answer, sizeof(answer), 0) >= (ssize_t)BHS);
	return fd;
}

/* Asks for the list of targets n times; what the socket does not take comes with the turns. */
static void ask(int fd, int n)
{
	static const char all[16] = "SendTargets=All";
	uint8_t out[BHS + sizeof(all)] = {0x44, 0x80, [7] = sizeof(all)};
	int64_t end = late_us() + 30000000;

	memset(out + 20, 0xff, 4);
	memcpy(out + BHS, all, sizeof(all));
	for (int i = 0; i < n && late_us() < end; i++) {
		ssize_t sent;

		out[18] = (uint8_t)(i >> 8), out[19] = (uint8_t)i;
		while ((sent = send(fd, out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 &&
		       late_us() < end)
			turn();
		CU_ASSERT_EQUAL_FATAL(sent, (ssize_t)sizeof(out));
	}
}

static bool read_all(int fd, uint8_t *p, size_t n)
{
	int64_t end = late_us() + 30000000;

	for (size_t got = 0; got < n; turn()) {
		ssize_t k = recv(fd, p + got, n - got, MSG_DONTWAIT);

		if (k == 0 || (k < 0 && errno != EAGAIN) || late_us() > end)
			return false;
		got += k > 0 ? (size_t)k : 0;
	}
	return true;
}

/* The next answer's opcode, or -1. */
static int answer(int fd, uint8_t *hdr)
{
	uint8_t data[8192];
	size_t n;

	if (!read_all(fd, hdr, BHS))
		return -1;
	n = ((size_t)hdr[5] << 16 | (size_t)hdr[6] << 8 | hdr[7]) + 3;
	return n < sizeof(data) && read_all(fd, data, n & ~3ul) ? hdr[0] & 0x3f : -1;
}

static void leave(int fd)
{
	close(fd);
	TURNS_UNTIL(!stream.nr);
}

static uint32_t answered; /* requests of the newest */

static bool answers_more(void)
{
	uint32_t before = answered;

	TURNS_UNTIL(newest()->login_out_len && sleeps());
	answered = newest()->iscsi_conn.stat_sn;
	return answered != before;
}

/* Asks and asks, and does not read: requests wait in the socket, one answer here, and the loop
 * sleeps. As soon as it reads it is served, nothing is lost. */
static void never_reads(void)
{
	struct stream_conn *sc;
	uint8_t hdr[BHS];
	int fd, i, unsent;
	size_t kept;

	setup();
	fd = discovery();
	sc = newest();
	ask(fd, ASKED);
	until_quiet(answers_more);
	kept = sc->login_out_len;
	CU_ASSERT(kept > 0 && kept <= 256);
	CU_ASSERT(sc->login_out_cap <= 256);
	CU_ASSERT(!ioctl(sc->fd, SIOCOUTQNSD, &unsent));
	/* the bound, and what the kernel had begun to fill */
	CU_ASSERT(unsent > 0 && unsent <= 16384 + 65536);
	CU_ASSERT(answered < ASKED / 2);
	for (i = 0; i < 100; i++) {
		turn();
		CU_ASSERT(sleeps());
	}
	CU_ASSERT_EQUAL(sc->iscsi_conn.stat_sn, answered);
	CU_ASSERT_EQUAL(sc->login_out_len, kept);
	for (i = 0; i < ASKED && answer(fd, hdr) == 0x24; i++)
		CU_ASSERT_EQUAL(hdr[18] << 8 | hdr[19], i & 0xffff);
	CU_ASSERT_EQUAL(i, ASKED);
	TURNS_UNTIL(sleeps());
	CU_ASSERT_PTR_NULL(sc->login_out);
	leave(fd);
}

/* An answer of which not one byte is taken for 2 T_nop ends the connection; one that is taken
 * slowly does not. */
static void takes_nothing(void)
{
	uint8_t some[16384];
	int fd;

	setup();
	fd = discovery();
	ask(fd, ASKED);
	TURNS_UNTIL(newest()->login_out_len && sleeps());
	for (int i = 0; i < 5; i++) {
		ssize_t left = (ssize_t)newest()->login_out_len, tries = 0;
		uint32_t n = newest()->iscsi_conn.stat_sn;

		CU_ASSERT_FATAL(left > 0);
		tgt_turn_now_ms += T_NOP_MS;
		/* a window's worth, until something has left */
		while ((ssize_t)newest()->login_out_len == left &&
		       newest()->iscsi_conn.stat_sn == n && tries++ < 1000) {
			CU_ASSERT_FATAL(recv(fd, some, sizeof(some), 0) > 0);
			turn();
		}
		TURNS_UNTIL(newest()->login_out_len && sleeps());
		tick();
		CU_ASSERT_EQUAL_FATAL(in_state(STATE_FULL), 1);
	}
	tgt_turn_now_ms += 2 * T_NOP_MS + 1;
	tick();
	CU_ASSERT_EQUAL(in_state(STATE_FULL), 0);
	stream_flush();
	CU_ASSERT_EQUAL(stream.nr, 0);
	close(fd);
}

/* Bytes into a socket until it takes no more; how many. */
static size_t fill(int fd)
{
	static const uint8_t bytes[4096];
	size_t sent = 0;
	ssize_t n;

	while ((n = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
		sent += (size_t)n;
	return sent;
}

static size_t filled; /* of all sockets */

static bool fills(void)
{
	size_t before = filled;
	struct stream_conn *sc;

	list_for_each_entry(sc, &stream.all, all) filled += fill(sc->fd);
	return filled != before;
}

/* The answer to a logout comes although the socket is full when it is asked for. */
static void last_words(void)
{
	uint8_t out[BHS] = {0x46, 0x80, [19] = 7}, hdr[BHS];
	int fd;

	setup();
	fd = discovery();
	filled = 0;
	until_quiet(fills);
	CU_ASSERT_EQUAL_FATAL(send(fd, out, BHS, MSG_NOSIGNAL), (ssize_t)BHS);
	TURNS_UNTIL(newest()->last_words);
	CU_ASSERT_EQUAL(newest()->login_out_len, BHS);
	TURNS_UNTIL(sleeps());
	CU_ASSERT_EQUAL(stream.nr, 1);
	for (; filled; filled--)
		CU_ASSERT_FATAL(read_all(fd, hdr, 1));
	CU_ASSERT(read_all(fd, hdr, BHS));
	CU_ASSERT_EQUAL(hdr[0], 0x26);
	CU_ASSERT_EQUAL(hdr[19], 7);
	TURNS_UNTIL(!stream.nr);
	CU_ASSERT_EQUAL(recv(fd, hdr, 1, 0), 0);
	close(fd);
}

/* Connections with an answer that has not left. */
static int waiting(void)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &stream.all, all) nr += sc->login_out_len > 0;
	return nr;
}

/* Many whose time is over at once are closed a few in a turn, as all who have no session. */
static void ends_shared_out(void)
{
	int fd[MANY], before;

	setup();
	for (int i = 0; i < MANY; i++)
		fd[i] = discovery();
	until_quiet(fills);
	for (int i = 0; i < MANY; i++)
		ask(fd[i], 1);
	TURNS_UNTIL(waiting() == MANY);
	tgt_turn_now_ms += 2 * T_NOP_MS + 1;
	tick();
	CU_ASSERT_EQUAL(in_state(STATE_CLOSE), MANY);
	while (stream.nr) {
		before = stream.nr;
		turn();
		CU_ASSERT(stream.nr >= before - BOUND);
		CU_ASSERT_FATAL(stream.nr < before);
	}
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
}

/* May so many files be open? Beyond the hard limit only with privilege. */
static bool may_open(rlim_t files)
{
	struct rlimit have;

	vms_assert(!getrlimit(RLIMIT_NOFILE, &have));
	if (have.rlim_cur >= files)
		return true;
	have.rlim_cur = files;
	if (have.rlim_max < files)
		have.rlim_max = files;
	return !setrlimit(RLIMIT_NOFILE, &have);
}

/* Discovery sessions are among those of whom 1,024 are kept: the one that came first makes
 * room for the next login. */
static void places(void)
{
	static int fd[KEPT + 1];
	char c;

	setup();
	if (!may_open(2 * (KEPT + 1) + 50)) {
		printf("[too few files may be open: skipped] ");
		return;
	}
	for (int i = 0; i < KEPT; i++) {
		fd[i] = join();
		discovery_send(fd[i], 0);
		turn();
	}
	TURNS_UNTIL(in_state(STATE_FULL) == KEPT);
	fd[KEPT] = join();
	login_send(fd[KEPT], 1);
	TURNS_UNTIL(in_state(STATE_SCSI) == 1);
	TURNS_UNTIL(stream.nr == KEPT);
	while (recv(fd[0], &c, 1, MSG_DONTWAIT) == 1)
		;
	CU_ASSERT_EQUAL(recv(fd[0], &c, 1, 0), 0);
	for (int i = 0; i <= KEPT; i++)
		close(fd[i]);
	TURNS_UNTIL(!stream.nr);
}

/* ---- text ------------------------------------------------------------------------------- */

static unsigned looked_up;
int __real_param_index_by_name(char *name, struct iscsi_key *keys);
int __wrap_param_index_by_name(char *name, struct iscsi_key *keys);

int __wrap_param_index_by_name(char *name, struct iscsi_key *keys)
{
	looked_up++;
	return __real_param_index_by_name(name, keys);
}

/* 500 unknown keys fill an answer; the rest is not even looked at. */
static void too_many_keys(void)
{
	static char text[8100] = "InitiatorName=iqn.fuzz\0SessionType=Discovery";
	uint8_t hdr[BHS];
	size_t n = 45;
	int fd;

	setup();
	fd = join();
	for (; n + 3 < sizeof(text); n += 3)
		memcpy(text + n, "a=", 3);
	looked_up = 0;
	login_text_send(fd, text, n);
	CU_ASSERT_EQUAL(answer(fd, hdr), 0x23);
	CU_ASSERT_EQUAL(hdr[36], 2);
	CU_ASSERT_EQUAL(hdr[37], 0);
	CU_ASSERT(looked_up > 500 && looked_up < 1100);
	leave(fd);
}

/* The list of targets as it comes to one who takes that much at a time; its length. */
static size_t list(unsigned most, char *text, size_t room)
{
	static const char all[16] = "SendTargets=All";
	uint8_t out[BHS + sizeof(all)] = {0x44, 0x80, [7] = sizeof(all)}, hdr[BHS];
	size_t len = 0, n, asked = sizeof(out);
	int fd = join();

	discovery_send(fd, most);
	CU_ASSERT_FATAL(answer(fd, hdr) == 0x23 && !hdr[36]);
	if (!(hdr[1] & 0x80)) {
		login_text_send(fd, "", 0);
		CU_ASSERT_FATAL(answer(fd, hdr) == 0x23 && !hdr[36]);
	}
	memset(out + 20, 0xff, 4);
	memcpy(out + BHS, all, sizeof(all));
	do {
		CU_ASSERT_EQUAL_FATAL(send(fd, out, asked, MSG_NOSIGNAL), (ssize_t)asked);
		CU_ASSERT_FATAL(read_all(fd, hdr, BHS) && hdr[0] == 0x24);
		n = (size_t)hdr[5] << 16 | (size_t)hdr[6] << 8 | hdr[7];
		CU_ASSERT_FATAL(n <= most && len + n + 3 <= room);
		CU_ASSERT_FATAL(read_all(fd, (uint8_t *)text + len, (n + 3) & ~3ul));
		len += n;
		/* the rest: by the tag, without text */
		memcpy(out + 20, hdr + 20, 4);
		out[7] = 0;
		asked = BHS;
	} while (!(hdr[1] & 0x80));
	leave(fd);
	return len;
}

/* Asked for again and again and not read, a list of n bytes lies here twice: as a whole, and as
 * the answer that waits. With places() that bounds what all of them together take. */
static void holds_two_lists(size_t n)
{
	struct stream_conn *sc;
	int fd = join(), few = 32768;
	uint8_t hdr[BHS];

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof(few));
	discovery_send(fd, 1 << 20);
	CU_ASSERT_FATAL(answer(fd, hdr) == 0x23 && !hdr[36]);
	if (!(hdr[1] & 0x80)) {
		login_text_send(fd, "", 0);
		CU_ASSERT_FATAL(answer(fd, hdr) == 0x23 && !hdr[36]);
	}
	sc = newest();
	ask(fd, 300);
	until_quiet(answers_more);
	CU_ASSERT(sc->login_out_len > 0 && sc->login_out_cap <= BHS + n + 3);
	CU_ASSERT(sc->iscsi_conn.rsp_buffer_size <= (int)n + 3);
	CU_ASSERT(answered < 150);
	leave(fd);
}

static void lists(void)
{
	static char whole[64 << 10], cut[64 << 10], arg[64];
	size_t n, lines = 0;

	setup();
	for (int i = 0; i < TARGETS; i++) {
		snprintf(arg, sizeof(arg), "targetname=iqn.list:%d", i * i * i);
		vms_assert(!tgt_target_create(get_driver_index("iscsi"), 100 + i, arg));
		vms_assert(!acl_add(100 + i, (char *)"ALL"));
	}
	n = list(1 << 20, whole, sizeof(whole));
	for (size_t at = 0; at < n; at += strlen(whole + at) + 1)
		lines += !strncmp(whole + at, "TargetName=iqn.list:", 20);
	CU_ASSERT_EQUAL(lines, TARGETS);
	CU_ASSERT(n > 8192); /* more than the buffer that is there from the beginning */
	for (unsigned most = 512; most < 520; most++) {
		CU_ASSERT_EQUAL(list(most, cut, sizeof(cut)), n);
		CU_ASSERT(!memcmp(cut, whole, n));
	}
	holds_two_lists(n);
}

static const struct vms_test tests[] = {
	VMS_TEST(never_reads),	   VMS_TEST(takes_nothing), VMS_TEST(last_words),
	VMS_TEST(ends_shared_out), VMS_TEST(places),	    VMS_TEST(too_many_keys),
	VMS_TEST(lists),
};
VMS_TEST_MAIN("iscsi_guest", tests)
