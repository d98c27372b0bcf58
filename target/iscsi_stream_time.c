// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time in the transport: who is pinged, who has been silent for too long, does not take
 * its answers, sends no data or does not log in; sessions that are asked to log out.
 *
 * Owner: the loop's thread.
 */
#include "target/iscsi_stream_int.h"

#include <limits.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define DISCOVERY_IDLE_FACTOR 6	  /* x login deadline */
#define DATA_STEP_BYTES	      512 /* of a write's data: less in a login's time is none */
#define TICK_MS		      250

static int timer_fd = -1;
static int nop_interval_ms = 500, t_nop_ms = 1500, login_ms = 10000;

/* T_nop for this connection: its target's own setting, or the process's. */
static void stream_ping_times(struct stream_conn *sc, int *interval, int *silence)
{
	const struct iscsi_connection *conn = &sc->iscsi_conn;

	if (conn->nop_interval) {
		int64_t count = conn->nop_count ? conn->nop_count : 1;

		*interval = conn->nop_interval < INT_MAX / 1000 ? conn->nop_interval * 1000
								: INT_MAX;
		*silence = *interval < INT_MAX / count ? (int)(*interval * count) : INT_MAX;
	} else {
		*interval = nop_interval_ms;
		*silence = t_nop_ms;
	}
}

bool stream_silent(struct stream_conn *sc)
{
	int interval, silence;

	if (!sc->ping_out)
		return false;
	stream_ping_times(sc, &interval, &silence);
	/* T_nop counts from the last sign of life; should this process have been
	 * late with the ping, half of it is left for the answer at least. */
	return tgt_turn_now_ms - sc->alive_ms > silence &&
	       tgt_turn_now_ms - sc->ping_ms > silence / 2;
}

void stream_nop_reply(struct iscsi_connection *conn, uint32_t ttt)
{
	struct stream_conn *sc = SC(conn);

	if (sc->ping_out && sc->ping_ttt == ttt)
		sc->ping_out = false;
}

/* It takes no byte of its answers, whatever else it sends: they hold memory. */
static bool stuck(const struct stream_conn *sc)
{
	return (sc->backlog || sc->login_out_len) &&
	       tgt_turn_now_ms - sc->taken_ms > 2 * (int64_t)t_nop_ms;
}

/* It has announced, or was asked for, data of writes, and hardly any comes. */
static bool data_overdue(struct stream_conn *sc)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;

	if (!conn->session->writes.bytes || conn->data_bytes - sc->data_seen >= DATA_STEP_BYTES ||
	    !iscsi_waits_for_data(conn)) {
		sc->data_seen = conn->data_bytes;
		sc->data_ms = tgt_turn_now_ms;
	}
	return tgt_turn_now_ms - sc->data_ms > login_ms;
}

static void send_ping(struct stream_conn *sc)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;
	struct iscsi_task *task = stream_alloc_task(conn, 0);

	if (!task)
		return;
	task->conn = conn;
	task->tag = ISCSI_RESERVED_TAG;
	task->req.opcode = ISCSI_OP_NOOP_IN;
	task->req.itt = cpu_to_be32(ISCSI_RESERVED_TAG);
	sc->ping_ttt++;
	if (sc->ping_ttt == ISCSI_RESERVED_TAG)
		sc->ping_ttt = 1;
	task->req.ttt = cpu_to_be32(sc->ping_ttt);
	sc->ping_out = true;
	sc->ping_ms = tgt_turn_now_ms;
	list_add_tail(&task->c_list, &conn->tx_clist);
	stream_event_modify(conn, EPOLLIN | EPOLLOUT);
}

/* Asynchronous message (RFC 7143, 11.9). */
static void send_async(struct stream_conn *sc, uint8_t what, uint16_t param1, uint16_t param3)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;
	struct iscsi_task *task = stream_alloc_task(conn, 0);
	struct iscsi_async *msg;

	if (!task)
		return;
	task->conn = conn;
	task->tag = ISCSI_RESERVED_TAG;
	msg = (struct iscsi_async *)&task->req;
	memset(msg, 0, sizeof(*msg));
	msg->opcode = ISCSI_OP_ASYNC_EVENT;
	msg->flags = ISCSI_FLAG_CMD_FINAL;
	memset(msg->rsvd4, 0xff, 4); /* where an initiator task tag would be */
	msg->async_event = what;
	msg->param1 = cpu_to_be16(param1);
	msg->param3 = cpu_to_be16(param3);
	list_add_tail(&task->c_list, &conn->tx_clist);
	stream_event_modify(conn, EPOLLIN | EPOLLOUT);
}

void tgt_logout_sessions(unsigned round, unsigned seconds, struct tgt_logouts *n)
{
	struct stream_conn *sc;

	list_for_each_entry(sc, &stream.all, all)
	{
		struct iscsi_connection *conn = &sc->iscsi_conn;

		if (conn->state != STATE_SCSI)
			continue;
		if (sc->leave_round != round) {
			sc->leave_round = round;
			sc->leaving = false;
			sc->leave_ms = tgt_turn_now_ms + (int64_t)seconds * 1000;
			if (seconds) {
				send_async(sc, ISCSI_ASYNC_MSG_REQUEST_LOGOUT, 0,
					   (uint16_t)seconds);
				n->asked++;
			}
		}
		if (tgt_turn_now_ms < sc->leave_ms)
			continue;
		if (!sc->leaving) {
			/* it may come back at once, nothing is kept for it */
			sc->leaving = true;
			sc->leave_ms = tgt_turn_now_ms + TICK_MS;
			send_async(sc, ISCSI_ASYNC_MSG_DROPPING_CONNECTION, conn->cid, 0);
			continue;
		}
		eprintf("%s has not logged out within %u s: closing\n", conn->initiator, seconds);
		n->dropped++;
		stream_doom(sc);
	}
}

/* Its turn has come: the login's time counts from now. */
void stream_unhold(struct stream_conn *sc)
{
	sc->hold_ms = 0;
	sc->born_ms = sc->alive_ms = tgt_turn_now_ms;
	if (stream_watch(sc, EPOLLIN))
		stream_doom(sc);
}

void stream_tick(int fd, int events, void *data)
{
	struct stream_conn *sc;
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return;
	list_for_each_entry(sc, &stream.all, all)
	{
		struct iscsi_connection *conn = &sc->iscsi_conn;
		int interval, silence;

		if (conn->state == STATE_CLOSE) {
			if (sc->last_words && tgt_turn_now_ms - sc->taken_ms > login_ms)
				stream_give_up(sc);
			continue;
		}
		if (conn->state == STATE_SCSI) {
			if (stuck(sc) || data_overdue(sc)) {
				eprintf("%s: %s, closing\n", conn->initiator,
					stuck(sc) ? "does not take its answers"
						  : "does not send its data");
				stream_give_up(sc);
				continue;
			}
			stream_ping_times(sc, &interval, &silence);
			if (!interval)
				continue;
			if (stream_silent(sc)) {
				eprintf("%s: no sign of life for %d ms, closing\n", conn->initiator,
					silence);
				stream_give_up(sc);
			} else if (!sc->ping_out && tgt_turn_now_ms - sc->ping_ms >= interval &&
				   tgt_turn_now_ms - sc->alive_ms >= interval) {
				/* Only silent ones: traffic is a sign of life itself, and
				 * libiscsi up to 1.19 (QEMU) gives a connection up when
				 * its answer to a ping queues behind its own Data-Out. */
				send_ping(sc);
			}
		} else if (stuck(sc)) {
			stream_give_up(sc);
		} else if (conn->state == STATE_FULL) {
			if (tgt_turn_now_ms - sc->alive_ms >
			    (int64_t)login_ms * DISCOVERY_IDLE_FACTOR)
				stream_doom(sc);
		} else if (sc->hold_ms) {
			if (tgt_turn_now_ms >= sc->hold_ms)
				stream_unhold(sc);
		} else if (tgt_turn_now_ms - sc->born_ms > login_ms) {
			stream_doom(sc);
		}
	}
}

void tgt_set_timing(int interval_ms, int silence_ms, int login_deadline_ms)
{
	nop_interval_ms = interval_ms;
	t_nop_ms = silence_ms;
	login_ms = login_deadline_ms;
}

int stream_time_open(void)
{
	struct itimerspec its = {
		.it_interval = {.tv_nsec = TICK_MS * 1000000L},
		.it_value = {.tv_nsec = TICK_MS * 1000000L},
	};
	const char *s = getenv("VMS_TIME_FACTOR");
	int factor = s ? atoi(s) : 1;

	if (factor > 1)
		tgt_set_timing(nop_interval_ms * factor, t_nop_ms * factor, login_ms * factor);

	timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (timer_fd < 0 || timerfd_settime(timer_fd, 0, &its, NULL) ||
	    tgt_event_add(timer_fd, EPOLLIN, stream_tick, NULL)) {
		eprintf("timerfd: %m\n");
		return -1;
	}
	return 0;
}

void stream_time_close(void)
{
	if (timer_fd < 0)
		return;
	tgt_event_del(timer_fd);
	close(timer_fd);
	timer_fd = -1;
}
