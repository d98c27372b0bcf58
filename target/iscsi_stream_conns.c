// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections of the transport: who is let in, how many of them, where from, and what is
 * left to do when one goes.
 *
 * Owner: the loop's thread.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <unistd.h>

#define CONNS_MAX     8192
#define HALF_OPEN_MAX 1024 /* connections without a session, or for discovery */

#define GUEST_UNSENT_BYTES 16384 /* in the socket of one */

static int half_open_nr;
static int conns_max = CONNS_MAX;
static int spare_fd = -1;

int stream_conns_open(void)
{
	spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	stream.peers = vms_peers_open(CONNS_PER_ADDRESS);
	return stream.peers ? 0 : -1;
}

void tgt_set_limits(int connections, int per_address)
{
	conns_max = connections < CONNS_MAX ? connections : CONNS_MAX;
	if (stream.peers)
		vms_peers_limit(stream.peers, (unsigned)per_address);
}

void tgt_accept_logins(int on)
{
	stream.accepting = on;
}

int stream_watch(struct stream_conn *sc, uint32_t events)
{
	int err;

	if (sc->watched == events)
		return 0;
	err = sc->late ? tgt_late_modify(&stream.guests, sc->fd, events, sc)
		       : tgt_event_modify(sc->fd, (int)events);
	if (!err)
		sc->watched = events;
	return err;
}

void stream_unwatch(struct stream_conn *sc)
{
	if (sc->late)
		tgt_late_del(&stream.guests, sc->fd);
	else
		tgt_event_del(sc->fd);
}

/* Discovery sessions among them: nobody has to prove anything for one. */
static bool half_open(const struct iscsi_connection *conn)
{
	return conn->state != STATE_SCSI && conn->state != STATE_CLOSE;
}

/* Bytes that the kernel keeps unsent for it, at most; 0: as many as it likes. */
void stream_unsent_max(int fd, int bytes)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)))
		eprintf("TCP_NOTSENT_LOWAT: %m\n");
}

static int tune_socket(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return -1;
	stream_unsent_max(fd, GUEST_UNSENT_BYTES);
	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

/* The longest waiting of those that have not logged in makes room. */
static void drop_oldest_half_open(void)
{
	struct stream_conn *sc;

	list_for_each_entry(sc, &stream.all, all)
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

	list_for_each_entry(sc, &stream.all, all) nr += half_open(&sc->iscsi_conn);
	return nr;
}

static struct vms_peer *peer_of(const struct sockaddr_storage *ss, int64_t *hold_ms)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	return ss->ss_family == AF_INET6
		       ? vms_peer_get(stream.peers, v6->sin6_addr.s6_addr, 16, tgt_turn_now_ms,
				      hold_ms)
		       : vms_peer_get(stream.peers, (const uint8_t *)&v4->sin_addr, 4,
				      tgt_turn_now_ms, hold_ms);
}

void stream_accept_one(int fd, struct sockaddr_storage *peer, socklen_t peer_len)
{
	struct stream_conn *sc = NULL;
	struct iscsi_connection *conn;
	struct vms_peer *from = NULL;
	int64_t hold_ms;

	if (!stream.accepting || !is_system_available() || list_empty(&iscsi_targets_list) ||
	    stream.nr >= conns_max || tune_socket(fd))
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
	sc->watched = sc->hold_ms ? 0 : EPOLLIN;
	if (tgt_late_add(&stream.guests, fd, sc->watched, sc)) {
		conn_exit(conn);
		goto out;
	}
	INIT_LIST_HEAD(&sc->ready);
	list_add_tail(&sc->all, &stream.all);
	stream.nr++;
	return;
out:
	if (from)
		vms_peer_put(stream.peers, from);
	free(sc);
	close(fd);
}

void stream_accept(int afd)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	int fd = accept4(afd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		stream_accept_one(fd, &from, len);
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

size_t stream_close(struct iscsi_connection *conn)
{
	struct stream_conn *sc = SC(conn);
	static const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	conn->state = STATE_CLOSE;
	if (sc->fd >= 0) {
		/* what it does not take would stay in the kernel, and its end unseen */
		if (sc->backlog || sc->given_up)
			setsockopt(sc->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		stream_unwatch(sc);
		close(sc->fd);
		sc->fd = -1;
	}
	stream_backlog_drop(sc);
	return 0;
}

void stream_release(struct iscsi_connection *conn)
{
	struct stream_conn *sc = SC(conn);

	conn_exit(conn);
	list_del(&sc->all);
	list_del(&sc->ready);
	stream.nr--;
	vms_peer_put(stream.peers, sc->from);
	free(sc->login_out);
	free(sc);
}

int stream_show(struct iscsi_connection *conn, char *buf, int rest)
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

int stream_getsockname(struct iscsi_connection *conn, struct sockaddr *sa, socklen_t *len)
{
	return copy_name(&SC(conn)->local, SC(conn)->local_len, sa, len);
}

int stream_getpeername(struct iscsi_connection *conn, struct sockaddr *sa, socklen_t *len)
{
	return copy_name(&SC(conn)->peer, SC(conn)->peer_len, sa, len);
}
