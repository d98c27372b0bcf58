/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP transport for tgt's iSCSI target, made for one loop with many sessions.
 *
 * Receiving: one read per ready connection and turn fills first what the
 * connection waits for (the rest of a data segment, in place; if it is small it
 * is copied), then one buffer that all connections share; every PDU in it is handled before
 * the next read. Nothing is left over: iscsid.c's receive state takes any number
 * of bytes at a time, so a connection at rest owns no receive buffer.
 *
 * Sending: whatever a turn answers, on any connection, leaves at the turn's end
 * with one sendmsg per connection: headers from an arena of the turn, data from
 * where the command has it (its buffer, or pinned memory of the store). If the
 * socket takes only a part, the rest becomes the connection's backlog (headers
 * copied, data still in place, its commands kept) and EPOLLOUT is asked for.
 * Nothing here waits, spins or polls.
 *
 * Order: sessions come first. New connections, requests of connections that have not
 * logged in (discovery among them) and closes are done when a turn has sent the
 * sessions' answers, a few of each (LATE_US, LATE_ROUNDS), the rest in later turns: a
 * burst of them takes little of anybody's turn, and goes on in each.
 *
 * Rules kept:
 *  - conn_close() may run inside any handler: whoever loops over a connection
 *    holds a reference (conn_get/conn_put).
 *  - A connection in STATE_CLOSE is never read again, not even a byte already in
 *    its socket ('Nothing late': tgt_close_initiators, silence beyond T_nop).
 *  - A task is released once its last byte was handed to the kernel, or its
 *    connection is gone; never earlier.
 *  - Descriptors are closed at conn_close(), although tasks may still hold the
 *    structure: the initiator learns at once.
 *
 * Owner: the loop's thread. Source of the protocol: RFC 7143.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <isa-l/crc.h>

#include "iscsid.h"
#include "tgtd.h"
#include "target.h"
#include "util.h"

#include "target/peers.h"
#include "target/tgt_glue.h"
#include "target/tgt_late.h"

#define RX_BUF_BYTES	      (64U << 10)
#define RX_DIRECT_BYTES	      4096
#define RX_TURN_BYTES	      (512U << 10) /* per connection and turn */
#define TX_IOV_MAX	      1024
#define TX_HEAD_BYTES	      64 /* header, its digest, padding, data digest */
#define TX_PDUS_MAX	      384
#define TX_GATHER_BYTES	      (1U << 20)
#define TX_ROUNDS	      4	  /* sendmsg calls per connection and turn at most */
#define LATE_ROUNDS	      16  /* a turn: accepts, requests before a session, closes; */
#define LATE_US		      100 /* no further round after that, but always one */
#define CONNS_MAX	      8192
#define CONNS_PER_ADDRESS     4096
#define HALF_OPEN_MAX	      1024	 /* connections that have not logged in */
#define DISCOVERY_IDLE_FACTOR 6		 /* x login deadline */
#define LOGIN_OUT_MAX	      (4U << 20) /* a discovery answer lists thousands of targets */
#define DATA_STEP_BYTES	      512	 /* of a write's data: less in a login's time is none */
#define TASK_CACHE_MAX	      4096
#define TICK_MS		      250

/* Answers that the socket did not take: pieces in order, first one advanced. */
struct backlog {
	struct list_head tasks; /* released when all is sent (c_list) */
	int iov_nr, iov_at;
	struct iovec iov[TX_IOV_MAX];
	uint8_t heads[]; /* copies of the turn's arena */
};

struct stream_conn {
	int fd;	      /* -1 once closed */
	bool late;    /* watched by guests, not by the loop itself */
	bool at_once; /* its close does not wait */
	bool want_tx;
	bool epollout; /* EPOLLOUT is being asked for */
	bool ping_out; /* a ping waits for its answer */
	uint32_t ping_ttt;
	int64_t born_ms, alive_ms, ping_ms;
	unsigned leave_round; /* of tgt_logout_sessions(); 0: never asked to leave */
	bool leaving;	      /* told that it is dropped */
	bool last_words;      /* ends in order: closed when login_out has left */
	bool given_up;	      /* is silent, or takes nothing */
	int64_t leave_ms;     /* may stay until then */
	int64_t hold_ms;      /* not read before: logins from there have failed; 0: is read */
	int64_t taken_ms;     /* the backlog's last progress, or the last words' */
	int64_t data_ms;      /* data of writes came, or none was waited for */
	uint64_t data_seen;
	struct vms_peer *from;

	struct list_head all;
	struct list_head ready; /* has something to send, or (closing_conns) to be closed */

	/* bytes of the login and discovery phases */
	uint8_t *login_out;
	size_t login_out_len, login_out_cap;

	struct backlog *backlog;

	struct sockaddr_storage peer, local;
	socklen_t peer_len, local_len;

	struct iscsi_connection iscsi_conn;
};

static struct iscsi_transport iscsi_stream;

static LIST_HEAD(all_conns);
static LIST_HEAD(ready_conns);
static LIST_HEAD(closing_conns);
static struct tgt_late doors = {.fd = -1};  /* portals */
static struct tgt_late guests = {.fd = -1}; /* who has not logged in */
static int conns_nr, half_open_nr;
static int conns_max = CONNS_MAX;
static struct vms_peers *peers;
static int timer_fd = -1, spare_fd = -1;
static int accepting = 1;

static int nop_interval_ms = 500, t_nop_ms = 1500, login_ms = 10000;

/* What the running receive still has to hand out. */
static struct {
	struct iscsi_connection *conn;
	size_t direct; /* bytes that are already where they were wanted */
	uint8_t *p;
	size_t len;
	uint8_t buf[RX_BUF_BYTES];
} rx;

/* What the running send has gathered, for one connection. */
static struct {
	struct iovec iov[TX_IOV_MAX];
	int iov_nr;
	int heads_nr;
	size_t bytes;
	struct list_head tasks;
	uint8_t heads[TX_PDUS_MAX][TX_HEAD_BYTES];
} tx;

static struct iscsi_task *task_cache;
static int task_cache_nr;

static inline struct stream_conn *SC(struct iscsi_connection *conn)
{
	return container_of(conn, struct stream_conn, iscsi_conn);
}

static void stream_ready(struct stream_conn *sc)
{
	if (list_empty(&sc->ready))
		list_add_tail(&sc->ready, &ready_conns);
}

/* No further byte is read; conn_close() follows at the end of the turn. */
static void stream_doom(struct stream_conn *sc)
{
	sc->iscsi_conn.state = STATE_CLOSE;
	sc->last_words = false;
	stream_ready(sc);
}

/* The same for one that is silent: its end is not queued behind what it does not take. */
static void stream_give_up(struct stream_conn *sc)
{
	sc->given_up = sc->at_once = true;
	stream_doom(sc);
}

static void conn_event(int fd, int events, void *data);

static bool half_open(const struct iscsi_connection *conn)
{
	return conn->state != STATE_SCSI && conn->state != STATE_FULL && conn->state != STATE_CLOSE;
}

/* ---- tasks and buffers ---------------------------------------------------- */

static struct iscsi_task *stream_alloc_task(struct iscsi_connection *conn, size_t ext_len)
{
	struct iscsi_task *task;

	if (!ext_len && task_cache) {
		task = task_cache;
		task_cache = (struct iscsi_task *)task->ahs;
		task_cache_nr--;
	} else {
		task = malloc(sizeof(*task) + ext_len);
		if (!task)
			return NULL;
	}
	memset(task, 0, sizeof(*task) + ext_len);
	/* tells the kinds apart when it is freed */
	task->ext_len = ext_len;
	return task;
}

static void stream_free_task(struct iscsi_task *task)
{
	if (task->ext_len || task_cache_nr >= TASK_CACHE_MAX) {
		free(task);
		return;
	}
#if defined(__SANITIZE_ADDRESS__)
	free(task);
#else
	task->ahs = task_cache;
	task_cache = task;
	task_cache_nr++;
#endif
}

static void *stream_alloc_data_buf(struct iscsi_connection *conn, size_t sz)
{
	return sz > TGT_DATA_BYTES_MAX ? NULL : tgt_buf_alloc(sz);
}

static void stream_free_data_buf(struct iscsi_connection *conn, void *buf)
{
	tgt_buf_free(buf);
}

/* ---- sending --------------------------------------------------------------- */

static int watch(struct stream_conn *sc, int events)
{
	return sc->late ? tgt_late_modify(&guests, sc->fd, (uint32_t)events, sc)
			: tgt_event_modify(sc->fd, events);
}

static void unwatch(struct stream_conn *sc)
{
	if (sc->late)
		tgt_late_del(&guests, sc->fd);
	else
		tgt_event_del(sc->fd);
}

static void stream_interest(struct stream_conn *sc, bool out)
{
	if (sc->fd < 0 || sc->epollout == out)
		return;
	if (watch(sc, out ? EPOLLIN | EPOLLOUT : EPOLLIN))
		eprintf("epoll_ctl: %m\n");
	else
		sc->epollout = out;
}

static void release_tasks(struct list_head *tasks)
{
	struct iscsi_task *task;

	while (!list_empty(tasks)) {
		task = list_first_entry(tasks, struct iscsi_task, c_list);
		list_del_init(&task->c_list);
		iscsi_tx_release(task);
	}
}

static void tx_piece(void *p, size_t len)
{
	tx.iov[tx.iov_nr].iov_base = p;
	tx.iov[tx.iov_nr].iov_len = len;
	tx.iov_nr++;
	tx.bytes += len;
}

/* Pieces of pinned data that bytes [off, off+len) of the command fall into, as
 * many as there is room for. Returns the bytes covered. */
static size_t tx_pinned(const struct scsi_cmd *cmd, size_t off, size_t len, uint32_t *crc)
{
	size_t done = 0;
	int i;

	for (i = 0; i < cmd->in_iovcnt && done < len; i++) {
		size_t n = cmd->in_iov[i].iov_len;
		uint8_t *p = cmd->in_iov[i].iov_base;

		if (off >= n) {
			off -= n;
			continue;
		}
		if (tx.iov_nr >= TX_IOV_MAX - 1)
			break;
		p += off;
		n -= off;
		off = 0;
		if (n > len - done)
			n = len - done;
		if (crc)
			*crc = crc32_iscsi(p, n, *crc);
		tx_piece(p, n);
		done += n;
	}
	return done;
}

/* Number of pieces that bytes [off, off+len) of pinned data take. */
static int pinned_pieces(const struct scsi_cmd *cmd, size_t off, size_t len)
{
	int i, nr = 0;

	for (i = 0; i < cmd->in_iovcnt && len; i++) {
		size_t n = cmd->in_iov[i].iov_len;

		if (off >= n) {
			off -= n;
			continue;
		}
		n -= off;
		off = 0;
		len -= n < len ? n : len;
		nr++;
	}
	return nr;
}

/* Append the PDU in conn->rsp. Returns 0, or -1: the store's data is shorter
 * than what it announced, or in more pieces than one send can take. */
static int tx_pdu(struct iscsi_connection *conn, bool hdigest, bool ddigest)
{
	struct iscsi_task *task = conn->tx_task;
	uint8_t *head = tx.heads[tx.heads_nr++];
	size_t head_len = BHS_SIZE, tail_len = 0;
	size_t size = conn->rsp.datasize, pad = -size & 3;
	uint32_t crc = ~0U;

	memcpy(head, &conn->rsp.bhs, BHS_SIZE);
	if (hdigest) {
		uint32_t h = ~crc32_iscsi(head, BHS_SIZE, ~0U);

		memcpy(head + head_len, &h, 4);
		head_len += 4;
	}
	tx_piece(head, head_len);
	if (!size)
		return 0;

	if (conn->rsp.data) {
		if (ddigest)
			crc = crc32_iscsi(conn->rsp.data, size, crc);
		tx_piece(conn->rsp.data, size);
	} else if (tx_pinned(&task->scmd, conn->rsp.data_offset, size, ddigest ? &crc : NULL) !=
		   size) {
		return -1;
	}

	head += head_len;
	if (pad) {
		memset(head, 0, pad);
		if (ddigest)
			crc = crc32_iscsi(head, pad, crc);
		tail_len = pad;
	}
	if (ddigest) {
		crc = ~crc;
		memcpy(head + tail_len, &crc, 4);
		tail_len += 4;
	}
	if (tail_len)
		tx_piece(head, tail_len);
	return 0;
}

/* Put what sendmsg left over into the connection's backlog. */
static int tx_keep(struct stream_conn *sc, size_t sent)
{
	struct backlog *b;
	size_t heads = 0;
	uint8_t *arena = tx.heads[0], *at;
	int i, first = 0;

	while (sent >= tx.iov[first].iov_len) {
		sent -= tx.iov[first].iov_len;
		first++;
	}
	tx.iov[first].iov_base = (uint8_t *)tx.iov[first].iov_base + sent;
	tx.iov[first].iov_len -= sent;

	for (i = first; i < tx.iov_nr; i++) {
		uint8_t *p = tx.iov[i].iov_base;

		if (p >= arena && p < arena + sizeof(tx.heads))
			heads += tx.iov[i].iov_len;
	}
	b = malloc(sizeof(*b) + heads);
	if (!b)
		return -ENOMEM;
	b->iov_at = 0;
	b->iov_nr = tx.iov_nr - first;
	at = b->heads;
	for (i = 0; i < b->iov_nr; i++) {
		uint8_t *p = tx.iov[first + i].iov_base;
		size_t n = tx.iov[first + i].iov_len;

		b->iov[i].iov_base = p;
		b->iov[i].iov_len = n;
		if (p >= arena && p < arena + sizeof(tx.heads)) {
			memcpy(at, p, n);
			b->iov[i].iov_base = at;
			at += n;
		}
	}
	INIT_LIST_HEAD(&b->tasks);
	list_splice_init(&tx.tasks, &b->tasks);
	sc->backlog = b;
	sc->taken_ms = tgt_turn_now_ms;
	return 0;
}

static ssize_t stream_send(struct stream_conn *sc, struct iovec *iov, int nr)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = nr};
	ssize_t n;

	do {
		n = sendmsg(sc->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		n = 0;
	return n;
}

/* Send the backlog on. Returns 1: some is left; 0: none; -1: connection broken. */
static int send_backlog(struct stream_conn *sc)
{
	struct backlog *b = sc->backlog;
	ssize_t n;

	while (b->iov_at < b->iov_nr) {
		n = stream_send(sc, b->iov + b->iov_at, b->iov_nr - b->iov_at);
		if (n < 0)
			return -1;
		if (!n)
			return 1;
		/* the other side takes data */
		sc->alive_ms = sc->taken_ms = tgt_turn_now_ms;
		while (b->iov_at < b->iov_nr && (size_t)n >= b->iov[b->iov_at].iov_len) {
			n -= b->iov[b->iov_at].iov_len;
			b->iov_at++;
		}
		if (b->iov_at < b->iov_nr) {
			b->iov[b->iov_at].iov_base = (uint8_t *)b->iov[b->iov_at].iov_base + n;
			b->iov[b->iov_at].iov_len -= n;
		}
	}
	sc->backlog = NULL;
	release_tasks(&b->tasks);
	free(b);
	return 0;
}

/* Bytes of the login and discovery phases. Returns as send_backlog(). */
static int send_login_bytes(struct stream_conn *sc)
{
	struct iovec iov = {.iov_base = sc->login_out, .iov_len = sc->login_out_len};
	ssize_t n = stream_send(sc, &iov, 1);

	if (n < 0)
		return -1;
	sc->login_out_len -= n;
	if (n)
		sc->taken_ms = tgt_turn_now_ms;
	if (sc->login_out_len) {
		memmove(sc->login_out, sc->login_out + n, sc->login_out_len);
		return 1;
	}
	free(sc->login_out);
	sc->login_out = NULL;
	sc->login_out_cap = 0;
	return 0;
}

/* Gather PDUs of a session. Returns 0, or -1: the connection has to go. */
static int gather(struct iscsi_connection *conn)
{
	struct param *p = conn->session_param;
	bool hdigest = p[ISCSI_PARAM_HDRDGST_EN].val & DIGEST_CRC32C;
	bool ddigest = p[ISCSI_PARAM_DATADGST_EN].val & DIGEST_CRC32C;
	struct iscsi_task *task, *next;

	tx.iov_nr = tx.heads_nr = 0;
	tx.bytes = 0;
	INIT_LIST_HEAD(&tx.tasks);

	while (tx.heads_nr < TX_PDUS_MAX && tx.bytes < TX_GATHER_BYTES) {
		if (list_empty(&conn->tx_clist))
			break;
		next = list_first_entry(&conn->tx_clist, struct iscsi_task, c_list);
		/* header, contiguous data, tail; pinned data may need more */
		if (tx.iov_nr + 3 > TX_IOV_MAX)
			break;
		if (tx.iov_nr && next->scmd.in_iovcnt &&
		    tx.iov_nr + 3 +
				    pinned_pieces(&next->scmd, next->offset,
						  p[ISCSI_PARAM_MAX_XMIT_DLENGTH].val) >
			    TX_IOV_MAX)
			break;
		if (iscsi_task_tx_start(conn))
			break;
		if (tx_pdu(conn, hdigest, ddigest)) {
			eprintf("a command's data does not fit what it announced\n");
			task = conn->tx_task;
			conn->tx_task = NULL;
			list_add(&task->c_list, &tx.tasks);
			return -1;
		}
		task = iscsi_tx_queued(conn);
		if (task)
			list_add_tail(&task->c_list, &tx.tasks);
	}
	return 0;
}

/* Returns 1 if the connection still has something it may send now. */
static int flush_conn(struct stream_conn *sc)
{
	struct iscsi_connection *conn = &sc->iscsi_conn;
	int rounds, ret, again = 0;
	ssize_t sent;

	if (sc->fd < 0)
		return 0;
	if (sc->login_out_len) {
		ret = send_login_bytes(sc);
		if (ret < 0)
			stream_doom(sc);
		if (ret && sc->last_words) {
			/* nothing is read any more: an answer that is asked for has to go */
			if (watch(sc, EPOLLOUT))
				stream_doom(sc);
			return 0;
		}
		if (ret && conn->state != STATE_CLOSE)
			goto stalled;
	}
	if (conn->state != STATE_SCSI)
		goto out;
	if (sc->backlog) {
		ret = send_backlog(sc);
		if (ret < 0)
			conn->state = STATE_CLOSE;
		if (ret > 0)
			goto stalled;
	}
	for (rounds = 0; conn->state == STATE_SCSI; rounds++) {
		if (list_empty(&conn->tx_clist)) {
			sc->want_tx = false;
			break;
		}
		if (rounds == TX_ROUNDS) {
			again = 1;
			break;
		}
		ret = gather(conn);
		sent = ret ? -1 : tx.iov_nr ? stream_send(sc, tx.iov, tx.iov_nr) : 0;
		if (sent < 0)
			conn->state = STATE_CLOSE;
		else if ((size_t)sent < tx.bytes) {
			if (!tx_keep(sc, sent))
				goto stalled;
			conn->state = STATE_CLOSE;
		}
		{
			/* releasing may start commands, and gather is global */
			struct list_head done;

			INIT_LIST_HEAD(&done);
			list_splice_init(&tx.tasks, &done);
			release_tasks(&done);
		}
	}
out:
	stream_interest(sc, false);
	return again;
stalled:
	stream_interest(sc, true);
	return 0;
}

/* Send everything; what is to be closed waits for its turn in closing_conns. */
static void flush_ready(void)
{
	struct list_head later;
	int again;

	INIT_LIST_HEAD(&later);
	while (!list_empty(&ready_conns)) {
		struct stream_conn *sc = list_first_entry(&ready_conns, struct stream_conn, ready);
		struct iscsi_connection *conn = &sc->iscsi_conn;

		list_del_init(&sc->ready);
		conn_get(conn);
		again = flush_conn(sc);
		if (conn->state == STATE_CLOSE && !conn->closed &&
		    !(sc->last_words && sc->login_out_len)) {
			list_del_init(&sc->ready);
			if (sc->at_once)
				conn_close(conn);
			else
				list_add_tail(&sc->ready, &closing_conns);
		} else if (again && list_empty(&sc->ready)) {
			list_add_tail(&sc->ready, &later);
		}
		conn_put(conn);
	}
	list_splice_init(&later, &ready_conns);
}

/* ---- what iscsid.c asks of a transport -------------------------------------- */

static size_t stream_read(struct iscsi_connection *conn, void *buf, size_t nbytes)
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

/* Login and discovery phases only: sessions send through stream_flush(). */
static size_t stream_write_begin(struct iscsi_connection *conn, void *buf, size_t nbytes)
{
	struct stream_conn *sc = SC(conn);

	if (sc->login_out_len + nbytes > LOGIN_OUT_MAX) {
		/* it asks and asks, and does not read */
		errno = ENOBUFS;
		return -1;
	}
	if (sc->login_out_len + nbytes > sc->login_out_cap) {
		size_t cap = (sc->login_out_len + nbytes) * 2;
		uint8_t *p = realloc(sc->login_out, cap);

		if (!p) {
			errno = ENOMEM;
			return -1;
		}
		sc->login_out = p;
		sc->login_out_cap = cap;
	}
	memcpy(sc->login_out + sc->login_out_len, buf, nbytes);
	sc->login_out_len += nbytes;
	stream_ready(sc);
	return nbytes;
}

static void stream_write_end(struct iscsi_connection *conn)
{
}

static void stream_event_modify(struct iscsi_connection *conn, int events)
{
	struct stream_conn *sc = SC(conn);

	sc->want_tx = events & EPOLLOUT;
	if (sc->want_tx)
		stream_ready(sc);
}

/* Its session begins: the loop watches it itself from now on. */
static void promote(struct stream_conn *sc)
{
	if (!sc->late || sc->iscsi_conn.state != STATE_SCSI)
		return;
	unwatch(sc);
	sc->late = false;
	if (tgt_event_add(sc->fd, sc->epollout ? EPOLLIN | EPOLLOUT : EPOLLIN, conn_event,
			  &sc->iscsi_conn))
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
	promote(sc);
}

/* A parked login goes on (the session it replaces is gone). */
static void stream_login_resume(struct iscsi_connection *conn)
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

/* T_nop for this connection: its target's own setting, or the process's. */
static void ping_times(struct stream_conn *sc, int *interval, int *silence)
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

static bool silent_too_long(struct stream_conn *sc)
{
	int interval, silence;

	if (!sc->ping_out)
		return false;
	ping_times(sc, &interval, &silence);
	/* T_nop counts from the last sign of life; should this process have been
	 * late with the ping, half of it is left for the answer at least. */
	return tgt_turn_now_ms - sc->alive_ms > silence &&
	       tgt_turn_now_ms - sc->ping_ms > silence / 2;
}

static void conn_event(int fd, int events, void *data)
{
	struct iscsi_connection *conn = data;
	struct stream_conn *sc = SC(conn);

	conn_get(conn);
	/* bytes that come after the silence that condemns a path are stale */
	if (conn->state != STATE_CLOSE && silent_too_long(sc))
		stream_give_up(sc);
	if (conn->state != STATE_CLOSE && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		receive(sc);
	if (conn->state == STATE_CLOSE || (events & EPOLLOUT))
		stream_ready(sc);
	conn_put(conn);
}

/* ---- pings and deadlines ------------------------------------------------------ */

static void stream_nop_reply(struct iscsi_connection *conn, uint32_t ttt)
{
	struct stream_conn *sc = SC(conn);

	if (sc->ping_out && sc->ping_ttt == ttt)
		sc->ping_out = false;
}

/* It takes no byte of its answers, whatever else it sends: they hold memory. */
static bool stuck(const struct stream_conn *sc)
{
	return sc->backlog && tgt_turn_now_ms - sc->taken_ms > 2 * (int64_t)t_nop_ms;
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

	list_for_each_entry(sc, &all_conns, all)
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
static void stream_unhold(struct stream_conn *sc)
{
	sc->hold_ms = 0;
	sc->born_ms = sc->alive_ms = tgt_turn_now_ms;
	if (watch(sc, EPOLLIN))
		stream_doom(sc);
}

static void stream_tick(int fd, int events, void *data)
{
	struct stream_conn *sc;
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return;
	list_for_each_entry(sc, &all_conns, all)
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
			ping_times(sc, &interval, &silence);
			if (!interval)
				continue;
			if (silent_too_long(sc)) {
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

void tgt_set_limits(int connections, int per_address)
{
	conns_max = connections < CONNS_MAX ? connections : CONNS_MAX;
	if (peers)
		vms_peers_limit(peers, (unsigned)per_address);
}

void tgt_close_initiators(const char *why)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &all_conns, all)
	{
		if (sc->iscsi_conn.state == STATE_CLOSE)
			continue;
		sc->at_once = true;
		stream_doom(sc);
		nr++;
	}
	if (nr)
		eprintf("closing %d initiator connections: %s\n", nr, why);
}

void tgt_accept_logins(int on)
{
	accepting = on;
}

/* ---- connections ----------------------------------------------------------------- */

static int tune_socket(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return -1;
	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

/* The longest waiting of those that have not logged in makes room. */
static void drop_oldest_half_open(void)
{
	struct stream_conn *sc;

	list_for_each_entry(sc, &all_conns, all)
	{
		if (half_open(&sc->iscsi_conn)) {
			stream_doom(sc);
			return;
		}
	}
}

static int count_half_open(void)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &all_conns, all) nr += half_open(&sc->iscsi_conn);
	return nr;
}

static struct vms_peer *peer_of(const struct sockaddr_storage *ss, int64_t *hold_ms)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	return ss->ss_family == AF_INET6
		       ? vms_peer_get(peers, v6->sin6_addr.s6_addr, 16, tgt_turn_now_ms, hold_ms)
		       : vms_peer_get(peers, (const uint8_t *)&v4->sin_addr, 4, tgt_turn_now_ms,
				      hold_ms);
}

static void accept_one(int fd, struct sockaddr_storage *peer, socklen_t peer_len)
{
	struct stream_conn *sc = NULL;
	struct iscsi_connection *conn;
	struct vms_peer *from = NULL;
	int64_t hold_ms;

	if (!accepting || !is_system_available() || list_empty(&iscsi_targets_list) ||
	    conns_nr >= conns_max || tune_socket(fd))
		goto out;
	from = peer_of(peer, &hold_ms);
	if (!from)
		goto out;
	if (++half_open_nr > HALF_OPEN_MAX) {
		/* the count only goes up; take it anew when it matters */
		half_open_nr = count_half_open() + 1;
		if (half_open_nr > HALF_OPEN_MAX)
			drop_oldest_half_open();
	}

	sc = zalloc(sizeof(*sc));
	if (!sc)
		goto out;
	conn = &sc->iscsi_conn;
	if (conn_init(conn))
		goto out;

	sc->fd = fd;
	sc->born_ms = sc->alive_ms = tgt_turn_now_ms;
	sc->peer = *peer;
	sc->peer_len = peer_len;
	sc->local_len = sizeof(sc->local);
	if (getsockname(fd, (struct sockaddr *)&sc->local, &sc->local_len) ||
	    getrandom(&sc->ping_ttt, sizeof(sc->ping_ttt), 0) < 0) {
		conn_exit(conn);
		goto out;
	}
	conn->tp = &iscsi_stream;
	conn_read_pdu(conn);
	sc->from = from;
	if (hold_ms > tgt_turn_now_ms)
		sc->hold_ms = hold_ms;
	sc->late = true;
	if (tgt_late_add(&guests, fd, sc->hold_ms ? 0 : EPOLLIN, sc)) {
		conn_exit(conn);
		goto out;
	}
	INIT_LIST_HEAD(&sc->ready);
	list_add_tail(&sc->all, &all_conns);
	conns_nr++;
	return;
out:
	if (from)
		vms_peer_put(peers, from);
	free(sc);
	close(fd);
}

static void accept_next(int afd)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	int fd = accept4(afd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		accept_one(fd, &from, len);
	} else if ((errno == EMFILE || errno == ENFILE) && spare_fd >= 0) {
		/* out of descriptors: let it know, instead of spinning */
		close(spare_fd);
		fd = accept4(afd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			close(fd);
		spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		eprintf("out of file descriptors, refused a connection\n");
	} else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR &&
		   errno != ECONNABORTED) {
		eprintf("can't accept, %m\n");
	}
}

static size_t stream_close(struct iscsi_connection *conn)
{
	struct stream_conn *sc = SC(conn);
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	struct backlog *b = sc->backlog;

	conn->state = STATE_CLOSE;
	if (sc->fd >= 0) {
		/* what it does not take would stay in the kernel, and its end unseen */
		if (b || sc->given_up)
			setsockopt(sc->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		unwatch(sc);
		close(sc->fd);
		sc->fd = -1;
	}
	if (b) {
		sc->backlog = NULL;
		release_tasks(&b->tasks);
		free(b);
	}
	return 0;
}

static void stream_release(struct iscsi_connection *conn)
{
	struct stream_conn *sc = SC(conn);

	conn_exit(conn);
	list_del(&sc->all);
	list_del(&sc->ready);
	conns_nr--;
	vms_peer_put(peers, sc->from);
	free(sc->login_out);
	free(sc);
}

/* ---- what sessions do not wait for ------------------------------------------------ */

static int64_t late_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* One of each kind. Returns whether there was any. */
static bool late_round(void)
{
	struct iscsi_portal *portal;
	struct stream_conn *sc;
	uint32_t events;
	bool any = false;

	portal = tgt_late_next(&doors, &events);
	if (portal) {
		accept_next(portal->fd);
		any = true;
	}
	sc = tgt_late_next(&guests, &events);
	if (sc) {
		conn_event(sc->fd, (int)events, &sc->iscsi_conn);
		any = true;
	}
	if (!list_empty(&closing_conns)) {
		sc = list_first_entry(&closing_conns, struct stream_conn, ready);
		list_del_init(&sc->ready);
		if (!sc->iscsi_conn.closed)
			conn_close(&sc->iscsi_conn);
		any = true;
	}
	return any;
}

/* The end of a turn: send everything, then some of what may wait.
 * Returns 1 if the loop has to go on at once. */
static int stream_flush(void)
{
	bool any = false;

	flush_ready();
	if (doors.ready || guests.ready || !list_empty(&closing_conns)) {
		int64_t until = late_us() + LATE_US;

		for (int i = 0; i < LATE_ROUNDS && late_round(); i++) {
			any = true;
			if (late_us() >= until)
				break;
		}
		flush_ready();
	}
	/* a login may have given the gateway something to send: that is in the next turn */
	return any || !list_empty(&ready_conns) || !list_empty(&closing_conns);
}

static void stream_force_close(struct iscsi_connection *conn)
{
	stream_doom(SC(conn));
}

static int stream_stop(void)
{
	struct iscsi_portal *portal, *next;
	struct stream_conn *sc;

	accepting = 0;
	list_for_each_entry_safe(portal, next, &iscsi_portals_list, iscsi_portal_siblings)
		iscsi_delete_portal(portal->addr, portal->port);
	list_for_each_entry(sc, &all_conns, all)
	{
		sc->at_once = true;
		stream_doom(sc);
	}
	return conns_nr;
}

static int stream_login_complete(struct iscsi_connection *conn)
{
	struct iscsi_target *target = target_find_by_id(conn->tid);

	if (target) {
		conn->nop_interval = target->nop_interval;
		conn->nop_count = target->nop_count;
	}
	SC(conn)->ping_ms = SC(conn)->data_ms = tgt_turn_now_ms;
	vms_peer_passed(SC(conn)->from);
	return 0;
}

static int stream_show(struct iscsi_connection *conn, char *buf, int rest)
{
	struct stream_conn *sc = SC(conn);
	char dst[NI_MAXHOST];

	if (getnameinfo((struct sockaddr *)&sc->peer, sc->peer_len, dst, sizeof(dst), NULL, 0,
			NI_NUMERICHOST))
		return 0;
	return snprintf(buf, rest, "IP Address: %s", dst);
}

static int copy_name(const struct sockaddr_storage *from, socklen_t from_len, struct sockaddr *sa,
		     socklen_t *len)
{
	memcpy(sa, from, *len < from_len ? *len : from_len);
	*len = from_len;
	return 0;
}

static int stream_getsockname(struct iscsi_connection *conn, struct sockaddr *sa, socklen_t *len)
{
	return copy_name(&SC(conn)->local, SC(conn)->local_len, sa, len);
}

static int stream_getpeername(struct iscsi_connection *conn, struct sockaddr *sa, socklen_t *len)
{
	return copy_name(&SC(conn)->peer, SC(conn)->peer_len, sa, len);
}

/* ---- portals ------------------------------------------------------------------------ */

static int portal_socket(const struct addrinfo *ai)
{
	int one = 1, fd;

	fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if ((ai->ai_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, SOMAXCONN)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int portal_listen(const struct addrinfo *ai, int tpgt)
{
	struct iscsi_portal *portal;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[NI_MAXHOST], serv[NI_MAXSERV];
	int fd = portal_socket(ai);

	if (fd < 0)
		return -1;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) ||
	    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), serv, sizeof(serv),
			NI_NUMERICHOST | NI_NUMERICSERV))
		goto fail;
	portal = zalloc(sizeof(*portal));
	if (!portal)
		goto fail;
	portal->addr = strdup(host);
	portal->port = atoi(serv);
	portal->tpgt = tpgt;
	portal->fd = fd;
	portal->af = ai->ai_family;
	if (!portal->addr || tgt_late_add(&doors, fd, EPOLLIN, portal)) {
		free(portal->addr);
		free(portal);
		goto fail;
	}
	list_add(&portal->iscsi_portal_siblings, &iscsi_portals_list);
	return 0;
fail:
	close(fd);
	return -1;
}

int iscsi_add_portal(char *addr, int port, int tpgt)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list, *ai;
	char serv[16];
	int ret, nr = 0, err = 0;

	if (port < 0 || port > 65535) {
		eprintf("portal %s: port %d is not in 0..65535\n", addr ? addr : "*", port);
		return -1;
	}
	snprintf(serv, sizeof(serv), "%d", port);
	ret = getaddrinfo(addr, serv, &hints, &list);
	if (ret) {
		eprintf("portal %s:%d: %s\n", addr ? addr : "*", port, gai_strerror(ret));
		return -1;
	}
	for (ai = list; ai; ai = ai->ai_next) {
		if (!portal_listen(ai, tpgt))
			nr++;
		else
			err = errno;
	}
	freeaddrinfo(list);
	if (!nr) {
		eprintf("portal %s:%d: cannot listen: %s\n", addr ? addr : "*", port,
			strerror(err));
		return -1;
	}
	return 0;
}

int iscsi_delete_portal(char *addr, int port)
{
	struct iscsi_portal *portal;

	list_for_each_entry(portal, &iscsi_portals_list, iscsi_portal_siblings)
	{
		if (strcmp(addr, portal->addr) || port != portal->port)
			continue;
		tgt_late_del(&doors, portal->fd);
		close(portal->fd);
		list_del(&portal->iscsi_portal_siblings);
		free(portal->addr);
		free(portal);
		return 0;
	}
	eprintf("no portal %s:%d\n", addr, port);
	return -1;
}

/* ---- settings by tgtadm ----------------------------------------------------------------- */

void iscsi_print_nop_settings(struct concat_buf *b, int tid)
{
	struct iscsi_target *target = target_find_by_id(tid);

	if (target && target->nop_interval)
		concat_printf(b, _TAB2 "Nop interval: %d\n" _TAB2 "Nop count: %d\n",
			      target->nop_interval, target->nop_count);
}

int iscsi_update_target_nop_count(int tid, int count)
{
	struct iscsi_target *target = target_find_by_id(tid);

	if (!target || count < 0)
		return -1;
	target->nop_count = count;
	return 0;
}

int iscsi_update_target_nop_interval(int tid, int interval)
{
	struct iscsi_target *target = target_find_by_id(tid);

	if (!target || interval < 0)
		return -1;
	target->nop_interval = interval;
	return 0;
}

void iscsi_set_nop_interval(int interval)
{
	default_nop_interval = interval;
}

void iscsi_set_nop_count(int count)
{
	default_nop_count = count;
}

/* ---- start and end ------------------------------------------------------------------------- */

static int stream_init(void)
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
	if (tgt_late_open(&doors) || tgt_late_open(&guests)) {
		eprintf("no epoll for portals and logins\n");
		return -1;
	}
	if (timer_fd < 0 || timerfd_settime(timer_fd, 0, &its, NULL) ||
	    tgt_event_add(timer_fd, EPOLLIN, stream_tick, NULL)) {
		eprintf("timerfd: %m\n");
		return -1;
	}
	spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	peers = vms_peers_open(CONNS_PER_ADDRESS);
	if (!peers)
		return -1;
	tgt_turn_flush_hook = stream_flush;

	if (portal_arguments && iscsi_param_parse_portals(portal_arguments, 1, 0))
		return -1;
	if (list_empty(&iscsi_portals_list) &&
	    iscsi_add_portal(NULL, ISCSI_LISTEN_PORT, iscsi_portal_group_tag))
		return -1;
	return 0;
}

static void stream_exit(void)
{
	struct iscsi_portal *portal, *next;

	list_for_each_entry_safe(portal, next, &iscsi_portals_list, iscsi_portal_siblings)
		iscsi_delete_portal(portal->addr, portal->port);
	tgt_late_close(&doors);
	tgt_late_close(&guests);
	if (timer_fd >= 0) {
		tgt_event_del(timer_fd);
		close(timer_fd);
		timer_fd = -1;
	}
}

static struct iscsi_transport iscsi_stream = {
	.name = "iscsi",
	.rdma = 0,
	.data_padding = PAD_WORD_LEN,
	.ep_init = stream_init,
	.ep_exit = stream_exit,
	.ep_stop = stream_stop,
	.ep_login_complete = stream_login_complete,
	.ep_login_resume = stream_login_resume,
	.alloc_task = stream_alloc_task,
	.free_task = stream_free_task,
	.ep_read = stream_read,
	.ep_write_begin = stream_write_begin,
	.ep_write_end = stream_write_end,
	.ep_close = stream_close,
	.ep_force_close = stream_force_close,
	.ep_release = stream_release,
	.ep_show = stream_show,
	.ep_event_modify = stream_event_modify,
	.alloc_data_buf = stream_alloc_data_buf,
	.free_data_buf = stream_free_data_buf,
	.ep_getsockname = stream_getsockname,
	.ep_getpeername = stream_getpeername,
	.ep_nop_reply = stream_nop_reply,
};

__attribute__((constructor)) static void stream_register(void)
{
	iscsi_transport_register(&iscsi_stream);
}
