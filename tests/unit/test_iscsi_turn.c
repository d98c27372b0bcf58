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
#include "tests/unit/tgtd_stub.h"

#define GUESTS	 200
#define BOUND	 16 /* of each kind in a turn */
#define LOGIN_MS 10000
#define NAME	 "iqn.2011-06.org.vmstore:turn"

/* ---- the loop ------------------------------------------------------------------------ */

static int loop_fd = -1;
static struct {
	event_handler_t handler;
	void *data;
} ev_of[1024];

int tgt_event_add(int fd, int events, event_handler_t handler, void *data)
{
	struct epoll_event ev = {.events = (uint32_t)events, .data.fd = fd};

	vms_assert(fd < 1024);
	ev_of[fd].handler = handler;
	ev_of[fd].data = data;
	return epoll_ctl(loop_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}
int tgt_event_add_first(int fd, int events, event_handler_t handler, void *data)
{
	return tgt_event_add(fd, events, handler, data);
}
void tgt_event_del(int fd)
{
	ev_of[fd].handler = NULL;
	epoll_ctl(loop_fd, EPOLL_CTL_DEL, fd, NULL);
}
int tgt_event_modify(int fd, int events)
{
	struct epoll_event ev = {.events = (uint32_t)events, .data.fd = fd};

	return epoll_ctl(loop_fd, EPOLL_CTL_MOD, fd, &ev) ? -errno : 0;
}

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
	struct epoll_event ev[1024];
	int n, before = stream.nr, all;
	struct stream_conn *sc;

	/* data_ms tells who was a guest when the turn began */
	list_for_each_entry(sc, &stream.all, all)
		sc->data_ms = sc->iscsi_conn.state == STATE_SCSI ? tgt_turn_now_ms : -1;
	tgt_turn_now_ms++;
	n = epoll_wait(loop_fd, ev, 1024, 0);
	for (int i = 0; i < n; i++)
		if (ev_of[ev[i].data.fd].handler)
			ev_of[ev[i].data.fd].handler(ev[i].data.fd, (int)ev[i].events,
						     ev_of[ev[i].data.fd].data);
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

static struct sockaddr_in where = {.sin_family = AF_INET};

static int guest[GUESTS];
static int session = -1;
static uint32_t cmd_sn;

static void setup(void)
{
	struct iscsi_portal *portal;

	if (loop_fd >= 0)
		return;
	loop_fd = epoll_create1(EPOLL_CLOEXEC);
	stream.peers = vms_peers_open(CONNS_PER_ADDRESS);
	vms_assert(loop_fd >= 0 && !tgt_late_open(&stream.doors) && !tgt_late_open(&stream.guests));
	vms_assert(!iscsi_add_portal((char *)"127.0.0.1", 0, 1));
	portal = list_first_entry(&iscsi_portals_list, struct iscsi_portal, iscsi_portal_siblings);
	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	where.sin_port = htons((uint16_t)portal->port);
	INIT_LIST_HEAD(&tgt_drivers[get_driver_index("iscsi")]->target_list);
	tgt_drivers[get_driver_index("iscsi")]->drv_state = DRIVER_INIT;
	target_make(1, NAME);
}

static int join(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	CU_ASSERT_FATAL(fd >= 0 && !connect(fd, (struct sockaddr *)&where, sizeof(where)));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void login_send(int fd, int nr)
{
	uint8_t out[1024];
	size_t n = good_login(out, NAME);

	out[12] = (uint8_t)(nr >> 8), out[13] = (uint8_t)nr;
	/* and the second request, which has nothing more to say */
	memcpy(out + n, out, 48);
	memset(out + n + 4, 0, 4);
	n += 48;
	CU_ASSERT_EQUAL_FATAL(send(fd, out, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void ping_send(void)
{
	uint8_t h[48] = {0x40, 0x80};

	memset(h + 16, 0xff, 8);
	h[19] = 1, h[27] = (uint8_t)cmd_sn;
	CU_ASSERT_EQUAL_FATAL(send(session, h, sizeof(h), MSG_NOSIGNAL), (ssize_t)sizeof(h));
}

static int in_state(int state)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &stream.all, all) nr += sc->iscsi_conn.state == state;
	return nr;
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
