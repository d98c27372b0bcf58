// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transport's sending side: whatever a turn answers, on any connection, leaves at the
 * turn's end with one sendmsg per connection: headers from an arena of the turn, data from
 * where the command has it (its buffer, or pinned memory of the store). What the socket does
 * not take becomes the connection's backlog. Nothing here waits, spins or polls.
 *
 * Owner: the loop's thread.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <sys/uio.h>

#ifdef VMS_TEST_MUTANTS
#include "target/gateway.h"
#endif

#define TX_IOV_MAX	1024
#define TX_HEAD_BYTES	64 /* header, its digest, padding, data digest */
#define TX_PDUS_MAX	384
#define TX_GATHER_BYTES (1U << 20)
#define TX_ROUNDS	4	   /* sendmsg calls per connection and turn at most */
#define LOGIN_OUT_MAX	(4U << 20) /* a discovery answer lists thousands of targets */
#define TASK_CACHE_MAX	4096

/* Answers that the socket did not take: pieces in order, first one advanced. */
struct backlog {
	struct list_head tasks; /* released when all is sent (c_list) */
	int iov_nr, iov_at;
	struct iovec iov[TX_IOV_MAX];
	uint8_t heads[]; /* copies of the turn's arena */
};

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

/* ---- tasks and buffers ---------------------------------------------------- */

struct iscsi_task *stream_alloc_task(struct iscsi_connection *conn, size_t ext_len)
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

void stream_free_task(struct iscsi_task *task)
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

void *stream_alloc_data_buf(struct iscsi_connection *conn, size_t sz)
{
	return sz > TGT_DATA_BYTES_MAX ? NULL : tgt_buf_alloc(sz);
}

void stream_free_data_buf(struct iscsi_connection *conn, void *buf)
{
	tgt_buf_free(buf);
}

/* ---- sending --------------------------------------------------------------- */

/* out: the socket is full. Whoever has no session is not read meanwhile. */
static void stream_interest(struct stream_conn *sc, bool out)
{
	if (sc->fd < 0 || sc->iscsi_conn.state == STATE_CLOSE)
		return;
	if (stream_watch(sc, !out ? EPOLLIN : sc->late ? EPOLLOUT : EPOLLIN | EPOLLOUT))
		eprintf("epoll_ctl: %m\n");
}

static void stream_release_tasks(struct list_head *tasks)
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
	sc->iscsi_conn.tx_full = 1;
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
		/* one call reaches all of it: the socket is full, and a second would only say so */
		b->iov[b->iov_at].iov_base = (uint8_t *)b->iov[b->iov_at].iov_base + n;
		b->iov[b->iov_at].iov_len -= n;
		return 1;
	}
	sc->backlog = NULL;
	sc->iscsi_conn.tx_full = 0;
	stream_release_tasks(&b->tasks);
	free(b);
	return 0;
}

/* Bytes of the login and discovery phases. Returns as send_backlog(). */
static int send_login_bytes(struct stream_conn *sc)
{
	struct iovec iov = {.iov_base = sc->login_out + sc->login_out_at,
			    .iov_len = sc->login_out_len};
	ssize_t n = stream_send(sc, &iov, 1);

	if (n < 0)
		return -1;
	sc->login_out_at += n;
	sc->login_out_len -= n;
	if (n)
		sc->taken_ms = tgt_turn_now_ms;
	if (sc->login_out_len)
		return 1;
	free(sc->login_out);
	sc->login_out = NULL;
	sc->login_out_at = sc->login_out_cap = 0;
	return 0;
}

/* So many answers leave together. */
static int pdus_max(void)
{
#ifdef VMS_TEST_MUTANTS
	const char *mutant = getenv("VMS_GW_MUTANT");

	if (mutant && atoi(mutant) == VMS_GWM_SEND_ALONE)
		return 1;
#endif
	return TX_PDUS_MAX;
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

	while (tx.heads_nr < pdus_max() && tx.bytes < TX_GATHER_BYTES) {
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
			if (stream_watch(sc, EPOLLOUT))
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
			stream_release_tasks(&done);
		}
	}
out:
	stream_interest(sc, false);
	return again;
stalled:
	/* EPOLLOUT tells when to go on, whatever has been answered meanwhile */
	list_del_init(&sc->ready);
	stream_interest(sc, true);
	return 0;
}

/* Send everything; what is to be closed waits for its turn in stream.closing. */
void stream_flush_ready(void)
{
	struct list_head later;
	int again;

	INIT_LIST_HEAD(&later);
	while (!list_empty(&stream.ready)) {
		struct stream_conn *sc = list_first_entry(&stream.ready, struct stream_conn, ready);
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
				list_add_tail(&sc->ready, &stream.closing);
		} else if (again && list_empty(&sc->ready)) {
			list_add_tail(&sc->ready, &later);
		}
		conn_put(conn);
	}
	list_splice_init(&later, &stream.ready);
}

/* ---- what waits to be sent --------------------------------------------------- */

void stream_backlog_drop(struct stream_conn *sc)
{
	struct backlog *b = sc->backlog;

	if (!b)
		return;
	sc->backlog = NULL;
	sc->iscsi_conn.tx_full = 0;
	stream_release_tasks(&b->tasks);
	free(b);
}

/* Login and discovery phases only: sessions send through stream_flush(). */
size_t stream_write_begin(struct iscsi_connection *conn, void *buf, size_t nbytes)
{
	struct stream_conn *sc = SC(conn);

	size_t end = sc->login_out_at + sc->login_out_len;

	if (end + nbytes > LOGIN_OUT_MAX) {
		errno = ENOBUFS;
		return -1;
	}
	if (end + nbytes > sc->login_out_cap) {
		size_t cap = end + nbytes;
		uint8_t *p = realloc(sc->login_out, cap);

		if (!p) {
			errno = ENOMEM;
			return -1;
		}
		sc->login_out = p;
		sc->login_out_cap = cap;
	}
	memcpy(sc->login_out + end, buf, nbytes);
	sc->login_out_len += nbytes;
	stream_ready(sc);
	return nbytes;
}

void stream_write_end(struct iscsi_connection *conn)
{
}

void stream_event_modify(struct iscsi_connection *conn, int events)
{
	struct stream_conn *sc = SC(conn);

	sc->want_tx = events & EPOLLOUT;
	if (sc->want_tx && !sc->backlog)
		stream_ready(sc);
}
