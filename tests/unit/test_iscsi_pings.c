// SPDX-License-Identifier: GPL-2.0-only
/*
 * What sessions may hold with the data of pings, all together. The transport and tgt's
 * objects, real sockets, turns by hand; what is counted are sessions that stay.
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

/* A ping that wants an answer, with so many bytes of its data. */
static void ping(int fd, uint32_t len, uint32_t sent)
{
	static uint8_t out[BHS + PING_FAIR];

	memset(out, 0, sizeof(out));
	out[0] = 0x40, out[1] = 0x80;
	out[5] = (uint8_t)(len >> 16), out[6] = (uint8_t)(len >> 8), out[7] = (uint8_t)len;
	out[19] = 9;
	memset(out + 20, 0xff, 4);
	out[27] = 1;
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

static const struct vms_test tests[] = {
	VMS_TEST(together),
};
VMS_TEST_MAIN("iscsi_pings", tests)
