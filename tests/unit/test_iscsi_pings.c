// SPDX-License-Identifier: GPL-2.0-only
/*
 * What sessions may hold with the data of pings, all together, and with data that nobody
 * wants. The transport and tgt's objects, real sockets, turns by hand; what is counted are
 * sessions that stay, and buffers.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <driver.h> /* tgt's, not ours */
#include "scsi.h"
#include "tgtadm.h"

#include "tests/unit/cunit.h"
#include "tests/unit/stream_rig.h"

#define BHS	  48u
#define EACH	  (256u << 10) /* MaxRecvDataSegmentLength of the target */
#define ALL	  (64u << 20)
#define SESSIONS  (ALL / EACH + 20)
#define PING_FAIR 4096u

static void turn(void)
{
	tgt_turn_now_ms++;
	stream_events();
	stub_scheduled();
	stream_flush();
}

#define TURNS_UNTIL(what)                                                                          \
	for (int64_t end = late_us() + 30000000; !(what);) {                                       \
		turn();                                                                            \
		if (late_us() > end) {                                                             \
			CU_FAIL_FATAL(#what " takes more than 30 s");                              \
		}                                                                                  \
	}

static int session_join(int nr)
{
	int fd = join(), before = in_state(STATE_SCSI);
	uint8_t answer[1024];

	login_send(fd, nr);
	TURNS_UNTIL(in_state(STATE_SCSI) == before + 1);
	turn();
	CU_ASSERT_FATAL(recv(fd, answer, sizeof(answer), 0) > 0);
	return fd;
}

/* The header of a ping that wants an answer, in cleared memory. */
static void ping_header(uint8_t *out, uint32_t len, uint8_t tag)
{
	out[0] = 0x40, out[1] = 0x80;
	out[5] = (uint8_t)(len >> 16), out[6] = (uint8_t)(len >> 8), out[7] = (uint8_t)len;
	out[19] = tag;
	memset(out + 20, 0xff, 4);
	out[27] = 1;
}

/* One with so many bytes of its data. */
static void ping(int fd, uint32_t len, uint32_t sent)
{
	static uint8_t out[BHS + PING_FAIR];

	memset(out, 0, sizeof(out));
	ping_header(out, len, 9);
	CU_ASSERT_EQUAL_FATAL(send(fd, out, BHS + sent, MSG_NOSIGNAL), (ssize_t)(BHS + sent));
}

/* Pings that do not end: as many are kept as fit into what all have together, the others'
 * sessions are closed. Who pings with little goes on, and when they have gone all may again. */
static void together(void)
{
	static int fd[SESSIONS];
	uint8_t answer[BHS + PING_FAIR];
	size_t have = 0;
	ssize_t n;
	int good;

	setup();
	good = session_join(1000);
	for (unsigned i = 0; i < SESSIONS; i++)
		fd[i] = session_join((int)i + 1);
	CU_ASSERT_EQUAL(in_state(STATE_SCSI), SESSIONS + 1);
	for (unsigned i = 0; i < SESSIONS; i++) {
		ping(fd[i], EACH, 1);
		TURNS_UNTIL(stream.nr < (int)SESSIONS + 1 || i < ALL / EACH);
	}
	TURNS_UNTIL(stream.nr == (int)(ALL / EACH) + 1);
	ping(good, PING_FAIR, PING_FAIR);
	while (have < sizeof(answer)) {
		n = recv(good, answer + have, sizeof(answer) - have, MSG_DONTWAIT);
		CU_ASSERT_FATAL(n != 0 && (n > 0 || errno == EAGAIN));
		have += n > 0 ? (size_t)n : 0;
		turn();
	}
	CU_ASSERT_EQUAL(answer[0], 0x20);
	CU_ASSERT_EQUAL(stream.nr, (int)(ALL / EACH) + 1);
	for (unsigned i = 0; i < SESSIONS; i++)
		close(fd[i]);
	TURNS_UNTIL(stream.nr == 1);
	for (unsigned i = 0; i < ALL / EACH; i++) {
		fd[i] = session_join((int)i + 1);
		ping(fd[i], EACH, 1);
	}
	for (int i = 0; i < 100; i++)
		turn();
	CU_ASSERT_EQUAL(stream.nr, (int)(ALL / EACH) + 1);
	for (unsigned i = 0; i < ALL / EACH; i++)
		close(fd[i]);
	close(good);
	TURNS_UNTIL(!stream.nr);
}

/* Bytes of pings that are not answered, all connections together. */
static uint64_t open_bytes(void)
{
	struct stream_conn *sc;
	uint64_t n = 0;

	list_for_each_entry(sc, &stream.all, all) n += sc->iscsi_conn.ping_bytes;
	return n;
}

/* What has no data is let through by a connection that has some already, also when all have
 * more than together they may: the little that each may have goes beyond that. */
static void without_data(void)
{
	enum { FULL = ALL / EACH, LITTLE = 512 };
	static int fd[FULL + 2];
	uint8_t both[BHS + LITTLE + BHS] = {0};
	size_t have = 0;
	int good;

	setup();
	good = session_join(1000);
	for (int i = 0; i < FULL + 2; i++) {
		fd[i] = session_join(i + 1);
		ping(fd[i], i < FULL ? EACH : PING_FAIR, 1);
	}
	TURNS_UNTIL(open_bytes() == ALL + 2 * PING_FAIR);
	ping_header(both, LITTLE, 9);
	ping_header(both + BHS + LITTLE, 0, 10);
	CU_ASSERT_EQUAL_FATAL(send(good, both, sizeof(both), MSG_NOSIGNAL), (ssize_t)sizeof(both));
	memset(both, 0, sizeof(both));
	for (int64_t end = late_us() + 30000000; have < sizeof(both); turn()) {
		ssize_t n = recv(good, both + have, sizeof(both) - have, MSG_DONTWAIT);

		CU_ASSERT_FATAL(n > 0 || (n < 0 && errno == EAGAIN && late_us() < end));
		have += n > 0 ? (size_t)n : 0;
	}
	CU_ASSERT(both[0] == 0x20 && both[19] == 9);
	CU_ASSERT(both[BHS + LITTLE] == 0x20 && both[BHS + LITTLE + 19] == 10);
	CU_ASSERT_EQUAL(in_state(STATE_SCSI), FULL + 3);
	for (int i = 0; i < FULL + 2; i++)
		close(fd[i]);
	close(good);
	TURNS_UNTIL(!stream.nr);
}

static unsigned buffers;
void *__real_tgt_buf_alloc(uint32_t len_bytes);
void *__wrap_tgt_buf_alloc(uint32_t len_bytes);

void *__wrap_tgt_buf_alloc(uint32_t len_bytes)
{
	buffers++;
	return __real_tgt_buf_alloc(len_bytes);
}

static void put(int fd, const uint8_t *p, size_t n)
{
	for (int64_t end = late_us() + 30000000; n;) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		CU_ASSERT_FATAL((sent > 0 || errno == EAGAIN) && late_us() < end);
		p += sent > 0 ? sent : 0;
		n -= sent > 0 ? (size_t)sent : 0;
		turn();
	}
}

/* Data-Out of no command, on two connections by turns: it takes no buffer, and both go on. */
static void of_nobody(void)
{
	static uint8_t out[BHS + EACH];
	uint8_t answer[BHS];
	int fd[2];

	setup();
	for (int i = 0; i < 2; i++)
		fd[i] = session_join(i + 1);
	out[0] = 0x05, out[1] = 0x80, out[5] = EACH >> 16, out[19] = 77, out[23] = 5;
	buffers = 0;
	for (size_t at = 0; at < sizeof(out); at += sizeof(out) / 16)
		for (int i = 0; i < 2; i++)
			put(fd[i], out + at, sizeof(out) / 16);
	for (int i = 0; i < 2; i++) {
		ping(fd[i], 0, 0);
		for (int64_t end = late_us() + 30000000; late_us() < end;) {
			if (recv(fd[i], answer, BHS, MSG_DONTWAIT) == BHS)
				break;
			turn();
		}
		CU_ASSERT_EQUAL(answer[0], 0x20);
		CU_ASSERT_EQUAL(answer[19], 9);
	}
	CU_ASSERT_EQUAL(in_state(STATE_SCSI), 2);
	CU_ASSERT_EQUAL(buffers, 0);
	close(fd[0]), close(fd[1]);
	TURNS_UNTIL(!stream.nr);
}

static const struct vms_test tests[] = {
	VMS_TEST(together),
	VMS_TEST(without_data),
	VMS_TEST(of_nobody),
};
VMS_TEST_MAIN("iscsi_pings", tests)
