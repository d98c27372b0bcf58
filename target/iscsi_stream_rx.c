// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transport's receiving side, and logins: one read per ready connection and turn fills
 * first what the connection waits for, then one buffer that all share, in which every PDU is
 * handled before the next read. A connection at rest owns no receive buffer.
 *
 * Owner: the loop's thread.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <sys/uio.h>

#define RX_BUF_BYTES	(64U << 10)
#define RX_DIRECT_BYTES 4096
#define RX_TURN_BYTES	(512U << 10) /* per connection and turn */

/* What the running receive still has to hand out. */
static struct {
	struct iscsi_connection *conn;
	size_t direct; /* bytes that are already where they were wanted */
	uint8_t *p;
	size_t len;
	uint8_t buf[RX_BUF_BYTES];
} rx;

size_t stream_read(struct iscsi_connection *conn, void *buf, size_t nbytes)
{
	size_t n;

	if (rx.conn != conn || !(rx.direct + rx.len)) {
		errno = EAGAIN;
		return -1;
	}
	if (rx.direct) {
		n = nbytes < rx.direct ? nbytes : rx.direct;
		rx.direct -= n;
		return n;
	}
	n = nbytes < rx.len ? nbytes : rx.len;
	memcpy(buf, rx.p, n);
	rx.p += n;
	rx.len -= n;
	return n;
}

/* Its session begins: the loop watches it itself from now on. */
static void promote(struct stream_conn *sc)
{
	if (!sc->late || sc->iscsi_conn.state != STATE_SCSI)
		return;
	stream_unwatch(sc);
	stream_unsent_max(sc->fd, 0);
	sc->late = false;
	sc->watched = EPOLLIN;
	if (tgt_event_add(sc->fd, EPOLLIN, stream_event, &sc->iscsi_conn))
		stream_doom(sc);
}

/* A refused login's answer is about to be built: was it for its credentials? */
static void login_verdict(struct stream_conn *sc)
{
	const struct iscsi_login_rsp *rsp = (const struct iscsi_login_rsp *)&sc->iscsi_conn.rsp.bhs;

	if (sc->iscsi_conn.state != STATE_EXIT || !sc->want_tx ||
	    (rsp->opcode & ISCSI_OPCODE_MASK) != ISCSI_OP_LOGIN_RSP)
		return;
	if (rsp->status_class == ISCSI_STATUS_CLS_INITIATOR_ERR &&
	    rsp->status_detail == ISCSI_LOGIN_STATUS_AUTH_FAILED)
		vms_peer_failed(sc->from, tgt_turn_now_ms);
}

/* Build the answer of a login, text or logout request that waits in conn. */
static void login_answer(struct stream_conn *sc)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;

	login_verdict(sc);
	while (sc->want_tx && conn->state != STATE_SCSI && conn->state != STATE_CLOSE) {
		bool last = conn->state == STATE_EXIT;

		if (iscsi_tx_handler(conn) < 0)
			conn->state = STATE_CLOSE;
		else if (last && conn->state == STATE_CLOSE)
			sc->last_words = true;
	}
	sc->taken_ms = tgt_turn_now_ms;
	/* its next request is read when this answer has been taken: see flush_conn() */
	if (sc->login_out_len && stream_watch(sc, 0))
		stream_doom(sc);
	promote(sc);
}

/* A parked login goes on (the session it replaces is gone). */
void stream_login_resume(struct iscsi_connection *conn)
{
	struct stream_conn *sc = SC(conn);

	sc->want_tx = true;
	login_answer(sc);
	stream_ready(sc);
}

static void handle_bytes(struct stream_conn *sc)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;
	int state, iostate;

	for (;;) {
		state = conn->state;
		iostate = conn->rx_iostate;
		iscsi_rx_handler(conn);
		if (conn->state != STATE_SCSI) {
			if (sc->want_tx && !conn->login_parked)
				login_answer(sc);
			if (conn->login_parked) {
				/* nothing may follow before the answer */
				if (rx.direct + rx.len)
					conn->state = STATE_CLOSE;
				break;
			}
		}
		if (conn->state == STATE_CLOSE)
			break;
		if (!(rx.direct + rx.len) && conn->state == state && conn->rx_iostate == iostate)
			break;
	}
}

/*
 * A turn belongs to all: of small PDUs a connection gets one buffer full handled, before
 * its session begins one request (a list of all targets takes its time).
 */
static void receive(struct stream_conn *sc)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;
	struct iovec iov[2];
	size_t asked, total = 0;
	bool session, more;
	ssize_t n;

	do {
		session = conn->state == STATE_SCSI;
		/* small things are cheaper to copy than to read apart */
		iov[0].iov_len = 0;
		if (!conn->login_parked && conn->rx_size >= RX_DIRECT_BYTES) {
			iov[0].iov_base = conn->rx_buffer;
			iov[0].iov_len = conn->rx_size;
		}
		iov[1].iov_base = rx.buf;
		iov[1].iov_len = sizeof(rx.buf);
		if (!session && !conn->login_parked) /* never more than INCOMING_BUFSIZE */
			iov[1].iov_len = iov[0].iov_len ? 0 : (size_t)conn->rx_size;
		asked = iov[0].iov_len + iov[1].iov_len;
		do {
			n = iov[0].iov_len ? readv(sc->fd, iov, 2)
					   : recv(sc->fd, rx.buf, iov[1].iov_len, 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0 || conn->login_parked) {
			conn->state = STATE_CLOSE;
			return;
		}
		sc->alive_ms = tgt_turn_now_ms;
		rx.conn = conn;
		rx.direct = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
		rx.p = rx.buf;
		rx.len = n - rx.direct;
		handle_bytes(sc);
		rx.conn = NULL;
		rx.direct = rx.len = 0;
		total += n;
		more = session ? iov[0].iov_len && total < RX_TURN_BYTES
			       : conn->rx_buffer != (unsigned char *)&conn->req.bhs;
	} while (conn->state != STATE_CLOSE && (size_t)n == asked && more);
}

void stream_event(int fd, int events, void *data)
{
	struct iscsi_connection *conn = data;
	struct stream_conn *sc = SC(conn);

	conn_get(conn);
	/* bytes that come after the silence that condemns a path are stale */
	if (conn->state != STATE_CLOSE && stream_silent(sc))
		stream_give_up(sc);
	if (conn->state != STATE_CLOSE && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		receive(sc);
	if (conn->state == STATE_CLOSE || (events & EPOLLOUT))
		stream_ready(sc);
	conn_put(conn);
}
