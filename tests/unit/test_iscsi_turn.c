// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a turn of the loop does for connections that have not logged in: a few of each
 * kind, and after the sessions; nobody is left out for ever. Real sockets, the transport
 * itself, turns by hand; nothing is timed but the wait for what must come.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <driver.h> /* tgt's, not ours */
#include "scsi.h"
#include "tgtadm.h"

#include "tests/unit/cunit.h"
#include "tests/unit/stream_rig.h"

#define GUESTS	 200
#define BOUND	 16 /* of each kind in a turn */
#define LOGIN_MS 10000

/* ---- the loop ------------------------------------------------------------------------ */

/* What a turn did. */
static struct {
	int accepts, requests, closes, commands;
	bool again, session_first;
} did;

/* Connections that have not begun a session and were read in this turn. */
static int guests_read(void)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &stream.all, all) nr += sc->alive_ms == tgt_turn_now_ms &&
							sc->born_ms != tgt_turn_now_ms &&
							sc->data_ms < 0;
	return nr;
}

static int sessions_read(void)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &stream.all, all)
		nr += sc->alive_ms == tgt_turn_now_ms && sc->data_ms >= 0;
	return nr;
}

static void turn(void)
{
	int before = stream.nr, all;
	struct stream_conn *sc;

	/* data_ms tells who was a guest when the turn began */
	list_for_each_entry(sc, &stream.all, all)
		sc->data_ms = sc->iscsi_conn.state == STATE_SCSI ? tgt_turn_now_ms : -1;
	tgt_turn_now_ms++;
	stream_events();
	stub_scheduled();
	/* what is done before the end of the turn is what does not wait */
	did.session_first = !guests_read() && stream.nr == before;
	did.commands = sessions_read();
	did.again = stream_flush();
	did.requests = guests_read();
	did.accepts = did.closes = all = 0;
	list_for_each_entry(sc, &stream.all, all)
	{
		all++;
		did.accepts += sc->born_ms == tgt_turn_now_ms;
	}
	did.closes = before + did.accepts - all;
}

/* Turns until what, 30 s at most; within(did) holds in each. */
#define TURNS_UNTIL(what)                                                                          \
	for (int64_t end = late_us() + 30000000; !(what);) {                                       \
		turn();                                                                            \
		CU_ASSERT(did.accepts <= BOUND && did.requests <= BOUND && did.closes <= BOUND &&  \
			  did.session_first);                                                      \
		if (late_us() > end) {                                                             \
			CU_FAIL_FATAL(#what " takes more than 30 s");                              \
		}                                                                                  \
	}

/* ---- initiators ---------------------------------------------------------------------- */

static int guest[GUESTS];
static int session = -1;
static uint32_t cmd_sn;

static void ping_send(void)
{
	uint8_t h[48] = {0x40, 0x80};

	memset(h + 16, 0xff, 8);
	h[19] = 1, h[27] = (uint8_t)cmd_sn;
	CU_ASSERT_EQUAL_FATAL(send(session, h, sizeof(h), MSG_NOSIGNAL), (ssize_t)sizeof(h));
}

static void guests_join(void)
{
	int before = stream.nr;

	for (int i = 0; i < GUESTS; i++)
		guest[i] = join();
	TURNS_UNTIL(stream.nr == before + GUESTS);
}

static void guests_leave(void)
{
	int keep = in_state(STATE_SCSI);

	for (int i = 0; i < GUESTS; i++)
		close(guest[i]);
	TURNS_UNTIL(stream.nr <= 1 || stream.nr == keep - GUESTS);
}

static void session_join(void)
{
	session = join();
	TURNS_UNTIL(stream.nr == 1);
	login_send(session, 1000);
	TURNS_UNTIL(in_state(STATE_SCSI) == 1);
	cmd_sn = 1;
}

/* ---- tests --------------------------------------------------------------------------- */

/* Accepts, requests, closes: a burst of each takes many turns, and is over. */
static void bounded(void)
{
	setup();
	guests_join();
	for (int i = 0; i < GUESTS; i++)
		login_send(guest[i], i + 1);
	TURNS_UNTIL(in_state(STATE_SCSI) == GUESTS);
	for (int i = 0; i < GUESTS; i++)
		close(guest[i]);
	TURNS_UNTIL(!stream.nr);
	CU_ASSERT(!did.again || (turn(), !did.again)); /* and then the loop may sleep */
}

/* One who sends all the time does not keep the others out. */
static void nobody_starves(void)
{
	uint8_t half[48] = {0x43};

	setup();
	guests_join();
	/* these never stop: each request wants another one ("continue" bit) */
	half[1] = 0x44, half[8] = 0x80;
	for (int i = 1; i < GUESTS; i++)
		for (int k = 0; k < 50; k++)
			CU_ASSERT_EQUAL(send(guest[i], half, sizeof(half), MSG_NOSIGNAL),
					(ssize_t)sizeof(half));
	login_send(guest[0], 1);
	TURNS_UNTIL(in_state(STATE_SCSI) == 1);
	guests_leave();
	TURNS_UNTIL(!stream.nr);
}

/* A session is read in each turn in which it has sent something, whatever waits; and the
 * logins get on although it sends in each. */
static void sessions_first(void)
{
	int served = 0, n;

	setup();
	session_join();
	guests_join();
	for (int i = 0; i < GUESTS; i++)
		login_send(guest[i], i + 1);
	for (int64_t end = late_us() + 30000000; in_state(STATE_SCSI) <= GUESTS;) {
		ping_send();
		do { /* the loopback may take its time */
			n = 0;
			CU_ASSERT(!ioctl(container_of(stream.all.next, struct stream_conn, all)->fd,
					 FIONREAD, &n));
		} while (n < 48 && late_us() < end);
		turn();
		CU_ASSERT(did.commands >= 1 && did.requests <= BOUND && did.session_first);
		served += did.commands > 0;
		CU_ASSERT_FATAL(late_us() < end);
	}
	CU_ASSERT(served > GUESTS / BOUND);
	for (int i = 0; i < GUESTS; i++)
		close(guest[i]);
	close(session);
	TURNS_UNTIL(!stream.nr);
}

static int tick_fd[2];

static void tick(void)
{
	uint64_t one = 1;

	vms_assert(write(tick_fd[1], &one, sizeof(one)) == sizeof(one));
	stream_tick(tick_fd[0], EPOLLIN, NULL);
}

/* The deadline of logins holds for all of them, their closes are shared out; those of
 * tgt_close_initiators() are not. */
static void deadline(void)
{
	setup();
	vms_assert(!pipe(tick_fd));
	tgt_set_timing(500, 1500, LOGIN_MS);
	guests_join();
	tgt_turn_now_ms += LOGIN_MS + 1;
	tick();
	CU_ASSERT_EQUAL(in_state(STATE_CLOSE), GUESTS);
	CU_ASSERT_EQUAL(stream.nr, GUESTS);
	TURNS_UNTIL(!stream.nr);
	for (int i = 0; i < GUESTS; i++)
		close(guest[i]);

	guests_join();
	tgt_close_initiators("a test");
	stream_flush();
	CU_ASSERT_EQUAL(stream.nr, 0);
	for (int i = 0; i < GUESTS; i++)
		close(guest[i]);
}

static const struct vms_test tests[] = {
	VMS_TEST(bounded),
	VMS_TEST(nobody_starves),
	VMS_TEST(sessions_first),
	VMS_TEST(deadline),
};
VMS_TEST_MAIN("iscsi_turn", tests)
