// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much of what sessions ask to read begins in one turn of the loop: large reads share a
 * few MiB, small ones do not wait for them, and all of them come, in the order of their
 * session. Who takes no answers has hardly any begun. The transport and tgt's objects, real
 * sockets, turns by hand; what is counted are the commands that reach the target between two ends
 * of a turn.
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

#define BHS	   48u
#define SESSIONS   3
#define READS	   12 /* of each */
#define TURN_BYTES (2u << 20)

/* ---- what reaches the target ------------------------------------------------------------ */

static struct {
	uint64_t bytes, most; /* in this turn, in any */
	unsigned large, small, turns;
	uint32_t last[SESSIONS + 1]; /* by session, the last tag */
	bool out_of_order;
} begun;

int __real_target_cmd_queue(int tid, struct scsi_cmd *cmd);
int __wrap_target_cmd_queue(int tid, struct scsi_cmd *cmd);
int __real_iscsi_turn_ends(void);
int __wrap_iscsi_turn_ends(void);

int __wrap_target_cmd_queue(int tid, struct scsi_cmd *cmd)
{
	uint32_t n = scsi_get_in_length(cmd), tag = ntohl((uint32_t)cmd->tag);

	if (scsi_get_data_dir(cmd) == DATA_READ) {
		begun.out_of_order |= tag <= begun.last[tag >> 16];
		begun.last[tag >> 16] = tag;
		begun.bytes += n > 65536 ? n : 0;
		if (n > 65536)
			begun.large++;
		else
			begun.small++;
	}
	return __real_target_cmd_queue(tid, cmd);
}

int __wrap_iscsi_turn_ends(void)
{
	if (begun.bytes > begun.most)
		begun.most = begun.bytes;
	begun.turns += begun.bytes > 0;
	begun.bytes = 0;
	return __real_iscsi_turn_ends();
}

/* ---- what leaves -------------------------------------------------------------------------- */

static struct {
	int fd; /* took less than all in this turn */
	unsigned partly, in_vain;
} sent = {.fd = -1};

ssize_t __real_sendmsg(int s, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int s, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int s, const struct msghdr *msg, int flags)
{
	ssize_t n = __real_sendmsg(s, msg, flags), all = 0;

	for (size_t i = 0; i < msg->msg_iovlen; i++)
		all += (ssize_t)msg->msg_iov[i].iov_len;
	sent.in_vain += s == sent.fd;
	if (n > 0 && n < all)
		sent.fd = s, sent.partly++;
	return n;
}

/* ---- initiators ------------------------------------------------------------------------- */

static int fd[SESSIONS + 1];
static uint32_t sn[SESSIONS + 1];
static uint64_t got;
static int takes_nothing = -1, takes_little = -1; /* a few KiB in each turn */

static void turn(void)
{
	static uint8_t buf[1 << 20];
	ssize_t n;

	tgt_turn_now_ms++;
	sent.fd = -1;
	stream_events();
	stub_scheduled();
	stream_flush();
	for (int i = 0; i <= SESSIONS; i++)
		while (fd[i] > 0 && i != takes_nothing &&
		       (n = recv(fd[i], buf, i == takes_little ? 50000 : sizeof(buf),
				 MSG_DONTWAIT)) > 0) {
			got += (uint64_t)n;
			if (i == takes_little)
				break;
		}
}

#define TURNS_UNTIL(what)                                                                          \
	for (int64_t end = late_us() + 30000000; !(what);) {                                       \
		turn();                                                                            \
		if (late_us() > end) {                                                             \
			CU_FAIL_FATAL(#what " takes more than 30 s");                              \
		}                                                                                  \
	}

/* A command with its header only; blocks 0: TEST UNIT READY. */
static size_t put(uint8_t *h, int i, uint32_t blocks)
{
	uint32_t bytes = blocks * 512;

	memset(h, 0, BHS);
	h[0] = 0x01, h[1] = blocks ? 0xc1 : 0x81, h[9] = 1;
	h[17] = (uint8_t)i, h[19] = (uint8_t)sn[i];
	h[20] = (uint8_t)(bytes >> 24), h[21] = (uint8_t)(bytes >> 16),
	h[22] = (uint8_t)(bytes >> 8);
	h[27] = (uint8_t)sn[i]++;
	if (blocks) {
		h[32] = 0x28;
		h[39] = (uint8_t)(blocks >> 8), h[40] = (uint8_t)blocks;
	}
	return BHS;
}

static void sessions_join(void)
{
	uint8_t h[BHS];

	setup();
	for (int i = 0; i <= SESSIONS; i++) {
		int s = join();

		login_send(s, 100 + i);
		TURNS_UNTIL(in_state(STATE_SCSI) == i + 1);
		fd[i] = s;
		sn[i] = 1;
		/* takes the unit attention */
		CU_ASSERT_EQUAL_FATAL(send(s, h, put(h, i, 0), MSG_NOSIGNAL), (ssize_t)BHS);
		got = 0;
		TURNS_UNTIL(got >= BHS);
	}
	memset(&begun, 0, sizeof(begun));
}

static void sessions_leave(void)
{
	for (int i = 0; i <= SESSIONS; i++)
		close(fd[i]), fd[i] = 0;
	TURNS_UNTIL(!stream.nr);
}

static void ask(int i, unsigned n, uint32_t blocks)
{
	uint8_t out[READS * BHS];
	size_t len = 0;

	while (n--)
		len += put(out + len, i, blocks);
	CU_ASSERT_EQUAL_FATAL(send(fd[i], out, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* ---- tests ------------------------------------------------------------------------------ */

static void shared_out(void)
{
	sessions_join();
	for (int i = 0; i < SESSIONS; i++)
		ask(i, READS, 2048); /* 1 MiB */
	got = 0;
	TURNS_UNTIL(got >= (uint64_t)SESSIONS * READS << 20);
	CU_ASSERT_EQUAL(begun.large, SESSIONS * READS);
	CU_ASSERT_EQUAL(begun.most, TURN_BYTES);
	CU_ASSERT(begun.turns >= SESSIONS * READS / 2);
	CU_ASSERT(!begun.out_of_order);
	sessions_leave();
}

/* One that is larger than a turn's share begins all the same, alone. */
static void larger_than_a_turn(void)
{
	sessions_join();
	ask(0, 3, 16384); /* 8 MiB */
	got = 0;
	TURNS_UNTIL(got >= 3u << 23);
	CU_ASSERT_EQUAL(begun.large, 3);
	CU_ASSERT_EQUAL(begun.most, 8u << 20);
	CU_ASSERT_EQUAL(begun.turns, 3);
	sessions_leave();
}

/* Another session's small reads begin in the turn in which they come. */
static void small_ones_pass(void)
{
	sessions_join();
	for (int i = 0; i < SESSIONS; i++)
		ask(i, READS, 2048);
	TURNS_UNTIL(begun.large > 0);
	for (int k = 0; k < 3; k++) {
		unsigned before = begun.small;

		CU_ASSERT_FATAL(begun.large < SESSIONS * READS);
		ask(SESSIONS, 8, 8);
		turn(); /* on the loopback they are there at once, or a turn later */
		for (int64_t end = late_us() + 30000000; begun.small == before && late_us() < end;)
			stream_events();
		CU_ASSERT_EQUAL_FATAL(begun.small, before + 8);
	}
	TURNS_UNTIL(begun.large == SESSIONS * READS);
	sessions_leave();
}

/* Sessions that go while their reads wait take them along. */
static void gone(void)
{
	sessions_join();
	for (int i = 0; i < SESSIONS; i++)
		ask(i, READS, 2048);
	TURNS_UNTIL(begun.large > 0);
	CU_ASSERT(begun.large < SESSIONS * READS);
	sessions_leave();
	CU_ASSERT(begun.large < SESSIONS * READS);
	CU_ASSERT(!iscsi_turn_ends());
}

static struct stream_conn *first_session(void)
{
	return list_first_entry(&stream.all, struct stream_conn, all);
}

/* What it asks for does not begin, but for what a socket and one share hold; that of others
 * does. When it takes what it has been sent, the rest comes. */
static void taken_by_nobody(void)
{
	int bytes = 65536;
	unsigned n;

	sessions_join();
	CU_ASSERT_EQUAL_FATAL(
		setsockopt(first_session()->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	takes_nothing = 0;
	ask(0, READS, 2048);
	TURNS_UNTIL(first_session()->backlog);
	for (int i = 0; i < 100; i++)
		turn();
	n = begun.large;
	CU_ASSERT(n >= 1 && n <= 4);
	got = 0;
	ask(1, READS, 2048);
	TURNS_UNTIL(got >= (uint64_t)READS << 20);
	CU_ASSERT_EQUAL(begun.large, n + READS);
	takes_nothing = -1;
	TURNS_UNTIL(got >= (uint64_t)READS << 21);
	CU_ASSERT_EQUAL(begun.large, 2 * READS);
	CU_ASSERT(!begun.out_of_order);
	sessions_leave();
}

/* Who takes a little at a time is sent something once in a turn, not again to hear that there
 * is no room. */
static void taken_by_and_by(void)
{
	int bytes = 65536;

	sessions_join();
	CU_ASSERT_EQUAL_FATAL(
		setsockopt(first_session()->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	memset(&sent, 0, sizeof(sent));
	takes_little = 0;
	got = 0;
	ask(0, 4, 2048);
	TURNS_UNTIL(got >= 3u << 20);
	takes_little = -1;
	TURNS_UNTIL(got >= 4u << 20);
	CU_ASSERT(sent.partly > 1);
	CU_ASSERT_EQUAL(sent.in_vain, 0);
	sessions_leave();
}

static const struct vms_test tests[] = {
	VMS_TEST(shared_out), VMS_TEST(larger_than_a_turn), VMS_TEST(small_ones_pass),
	VMS_TEST(gone),	      VMS_TEST(taken_by_nobody),    VMS_TEST(taken_by_and_by),
};
VMS_TEST_MAIN("iscsi_reads", tests)
