// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets: level-triggered epoll, or the owner's loop (vms_net_join); one read per ready
 * connection and poll, one writev per connection and flush.
 *
 * In: a buffer per connection, as large as the largest frame under way; frames are
 * handed out where they lie, only an incomplete one at the end may be moved, and
 * only when it would not fit behind where it lies.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "cluster/net_int_posix.h"
#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define QUEUE_BYTES_DEFAULT (64u << 20)
#define IN_BYTES_FIRST	    (256u << 10)
#define IN_BYTES_KEEP	    (1u << 20)
#define IN_BYTES_MOVE	    4096u /* moving less than this is cheaper than a short read */
#define EVENTS_PER_POLL	    64
#define CONNECT_MS_MAX	    5000u

/* ---- transport: plain TCP and unix sockets; t is the fd + 1 ---- */

static int fd_of(void *t)
{
	return (int)(intptr_t)t - 1;
}

static void *tcp_open(int fd, bool outgoing)
{
	return (void *)(intptr_t)(fd + 1);
}

static int tcp_handshake(void *t, bool *want_write)
{
	return 0;
}

static int64_t io_result(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? VMS_E_AGAIN
									 : VMS_E_DISCONNECTED;
}

static int64_t tcp_read(void *t, void *buf, size_t room_bytes)
{
	return io_result(recv(fd_of(t), buf, room_bytes, 0));
}

static int64_t tcp_writev(void *t, const struct vms_iov *iov, unsigned niov)
{
	struct iovec v[IOV_MAX_NET];
	struct msghdr mh = {.msg_iov = v, .msg_iovlen = niov};

	vms_assert(niov <= IOV_MAX_NET);
	for (unsigned i = 0; i < niov; i++)
		v[i] = (struct iovec){(void *)iov[i].base, iov[i].len};
	return io_result(sendmsg(fd_of(t), &mh, MSG_NOSIGNAL));
}

static void tcp_close(void *t)
{
	close(fd_of(t));
}

static const struct vms_transport tcp = {
	.struct_bytes = sizeof(tcp),
	.open = tcp_open,
	.handshake = tcp_handshake,
	.read = tcp_read,
	.writev = tcp_writev,
	.close = tcp_close,
};

/* ---- state ---- */

uint64_t vms_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t vms_clock_ms(void)
{
	return vms_clock_us() / 1000;
}

int net_watch(struct vms_net *n, int op, int fd, uint32_t events, uint64_t key)
{
	struct epoll_event ev = {.events = events, .data.u64 = key};

	if (n->loop.watch)
		return n->loop.watch(n->loop.ctx, fd, key, op == EPOLL_CTL_DEL ? 0 : events,
				     op == EPOLL_CTL_MOD);
	return epoll_ctl(n->ep, op, fd, &ev);
}

/* The loop carries the id of a connection (odd) or a source's address (even). */
static uint64_t conn_key(const struct conn *c)
{
	return c->id << 1 | 1;
}

static uint64_t source_key(const struct source *s)
{
	return (uintptr_t)s;
}

int net_source_watch(struct vms_net *n, struct source *s)
{
	return net_watch(n, EPOLL_CTL_ADD, s->fd, EPOLLIN, source_key(s));
}

void net_conn_watch(struct vms_net *n, struct conn *c, uint32_t events)
{
	if (c->events == events)
		return;
	vms_assert(!net_watch(n, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, events,
			      conn_key(c)));
	c->events = events;
}

/* Before its descriptor is closed: an epoll forgets that by itself, another loop does not. */
static void conn_unwatch(struct vms_net *n, struct conn *c)
{
	if (n->loop.watch && c->events)
		(void)net_watch(n, EPOLL_CTL_DEL, c->fd, 0, conn_key(c));
	c->events = 0;
}

struct conn *net_conn_find(const struct vms_net *n, vms_net_conn id)
{
	struct conn *c;

	HASH_FIND(hh, n->conns, &id, sizeof(id), c);
	return c;
}

void net_conn_end(struct vms_net *n, struct conn *c, int err, const char *why)
{
	uint64_t one = 1;

	if (c->state == CLOSING)
		return;
	if (c->state < UP)
		n->nconnecting--;
	if (c->state == CONNECTING && c->name)
		net_name_failed(c);
	c->state = CLOSING;
	c->err = err;
	snprintf(c->why, sizeof(c->why), "%s", why);
	conn_unwatch(n, c);
	if (c->t)
		c->tr->close(c->t);
	else if (c->fd >= 0)
		close(c->fd);
	c->t = NULL;
	c->fd = -1;
	net_out_drop(n, c);
	c->close_next = NULL;
	*n->close_tail = c;
	n->close_tail = &c->close_next;
	/* wake an outer epoll */
	(void)!write(n->kick, &one, sizeof(one));
}

static struct conn *conn_new(struct vms_net *n, int fd, bool outgoing)
{
	struct conn *c = calloc(1, sizeof(*c));

	vms_assert(c);
	c->id = n->next_id++;
	c->fd = fd;
	c->outgoing = outgoing;
	c->tr = &tcp;
	c->state = RESOLVING;
	c->deadline_ms = vms_clock_ms() + CONNECT_MS_MAX;
	if (!n->nconnecting++ || c->deadline_ms < n->expire_ms)
		n->expire_ms = c->deadline_ms;
	n->counters.connections++;
	HASH_ADD(hh, n->conns, id, sizeof(c->id), c);
	return c;
}

struct vms_net *vms_net_new(const struct vms_net_handler *h, size_t queue_bytes_max)
{
	struct vms_net *n = calloc(1, sizeof(*n));
	struct source *s;

	vms_assert(n);
	n->h = *h;
	n->queue_bytes_max = queue_bytes_max ? queue_bytes_max : QUEUE_BYTES_DEFAULT;
	n->next_id = 1;
	n->close_tail = &n->close_list;
	n->ep = epoll_create1(EPOLL_CLOEXEC);
	n->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vms_assert(n->ep >= 0 && n->kick >= 0);
	s = calloc(1, sizeof(*s));
	vms_assert(s);
	s->kind = W_KICK;
	s->fd = n->kick;
	DL_APPEND(n->sources, s);
	vms_assert(!net_source_watch(n, s));
	return n;
}

void vms_net_free(struct vms_net *n)
{
	struct source *s, *st;
	struct conn *c, *ct;

	if (!n)
		return;
	HASH_ITER (hh, n->conns, c, ct) {
		conn_unwatch(n, c);
		if (c->t)
			c->tr->close(c->t);
		else if (c->fd >= 0)
			close(c->fd);
		net_out_drop(n, c);
		HASH_DEL(n->conns, c);
		free(c->in);
		free(c);
	}
	DL_FOREACH_SAFE (n->sources, s, st) {
		DL_DELETE(n->sources, s);
		if (n->loop.watch)
			(void)net_watch(n, EPOLL_CTL_DEL, s->fd, 0, source_key(s));
		if (s->path[0])
			unlink(s->path);
		if (s->kind == W_LISTEN)
			close(s->fd);
		free(s);
	}
	DL_FOREACH_SAFE (n->dead_sources, s, st)
		free(s);
	net_out_free(n);
	net_names_free(n);
	close(n->kick);
	close(n->ep);
	free(n);
}

void net_conn_dial(struct vms_net *n, struct conn *c, const union any_addr *a, socklen_t len)
{
	c->state = CONNECTING;
	c->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		net_conn_end(n, c, VMS_E_IO, strerror(errno));
		return;
	}
	net_set_options(c->fd, a->sa.sa_family);
	if (connect(c->fd, &a->sa, len) && errno != EINPROGRESS) {
		net_conn_end(n, c, VMS_E_DISCONNECTED, strerror(errno));
		return;
	}
	net_conn_watch(n, c, EPOLLOUT);
}

vms_net_conn vms_net_connect(struct vms_net *n, const char *address)
{
	struct conn *c = conn_new(n, -1, true);
	char host[HOST_TEXT_MAX], *port;
	struct vms_errmsg msg;
	struct addrs to;
	int rc = net_parse(address, &to, host, sizeof(host), &port, &msg);

	if (rc == VMS_E_AGAIN)
		net_name_dial(n, c, host, port);
	else if (rc)
		net_conn_end(n, c, VMS_E_INVAL, msg.text);
	else
		net_conn_dial(n, c, &to.a[0], to.len[0]);
	return c->id;
}

void vms_net_close(struct vms_net *n, vms_net_conn id)
{
	struct conn *c = net_conn_find(n, id);

	if (!c || c->state == CLOSING)
		return;
	if (c->state == UP && c->head)
		net_out_write(n, c);
	net_conn_end(n, c, 0, "closed by this side");
}

/* ---- receiving ---- */

/* Makes room for the rest of the incomplete frame at in_head, of which
 * frame_bytes is the length (as far as known). */
static void in_room(struct conn *c, size_t frame_bytes)
{
	size_t have = c->in_tail - c->in_head;

	if (!have) {
		c->in_head = c->in_tail = 0;
		if (c->in_room > IN_BYTES_KEEP) {
			free(c->in);
			c->in = NULL;
			c->in_room = 0;
		}
	}
	if (c->in_room < frame_bytes || !c->in_room) {
		size_t room = frame_bytes > IN_BYTES_FIRST ? frame_bytes : IN_BYTES_FIRST;
		uint8_t *p = malloc(room);

		vms_assert(p);
		if (have)
			memcpy(p, c->in + c->in_head, have);
		free(c->in);
		c->in = p;
		c->in_room = room;
	} else if (c->in_head && (c->in_room - c->in_head < frame_bytes || have <= IN_BYTES_MOVE)) {
		memmove(c->in, c->in + c->in_head, have);
	} else {
		return;
	}
	c->in_head = 0;
	c->in_tail = have;
}

static void conn_read(struct vms_net *n, struct conn *c)
{
	int64_t got, frame = 0;

	if (c->in_tail - c->in_head >= VMS_FRAME_HEADER_BYTES)
		frame = vms_msg_frame_bytes(c->in + c->in_head, c->in_tail - c->in_head);
	in_room(c, frame > 0 ? (size_t)frame : VMS_FRAME_HEADER_BYTES);
	got = c->tr->read(c->t, c->in + c->in_tail, c->in_room - c->in_tail);
	n->counters.reads++;
	if (got == VMS_E_AGAIN)
		return;
	if (got <= 0) {
		net_conn_end(n, c, VMS_E_DISCONNECTED,
			     got ? "the connection was reset" : "closed by the peer");
		return;
	}
	c->in_tail += (size_t)got;
	n->counters.bytes_in += (uint64_t)got;
	while (c->state == UP) {
		size_t have = c->in_tail - c->in_head;
		struct vms_iov iov;
		struct vms_msg m;
		int rc;

		frame = vms_msg_frame_bytes(c->in + c->in_head, have);
		if (frame < 0) {
			net_conn_end(n, c, (int)frame, "what arrived is no frame of this protocol");
			return;
		}
		if (!frame || (uint64_t)frame > have)
			return;
		rc = vms_msg_decode(c->in + c->in_head, (size_t)frame, &m, &iov);
		if (rc) {
			net_conn_end(n, c, rc,
				     rc == VMS_E_CORRUPT ? "a frame failed its checksum"
							 : "a frame holds impossible values");
			return;
		}
		c->in_head += (size_t)frame;
		n->counters.frames_in++;
		n->h.frame(n->h.ctx, c->id, &m);
	}
}

/* ---- the loop ---- */

static void conn_up(struct vms_net *n, struct conn *c)
{
	char peer[80];

	n->nconnecting--;
	c->state = UP;
	net_conn_watch(n, c, EPOLLIN);
	if (c->outgoing) {
		n->h.connected(n->h.ctx, c->id);
	} else {
		net_peer_text(c->fd, peer, sizeof(peer));
		n->h.accepted(n->h.ctx, c->id, peer);
	}
	/* what was queued before it was up */
	if (c->state == UP && c->head)
		net_out_write(n, c);
}

static void conn_handshake(struct vms_net *n, struct conn *c)
{
	bool want_write = false;
	int rc = c->tr->handshake(c->t, &want_write);

	if (rc == VMS_E_AGAIN)
		net_conn_watch(n, c, want_write ? EPOLLOUT : EPOLLIN);
	else if (rc)
		net_conn_end(n, c, rc, "the transport's handshake failed");
	else
		conn_up(n, c);
}

static void conn_connected(struct vms_net *n, struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
		net_conn_end(n, c, VMS_E_DISCONNECTED, strerror(err ? err : errno));
		return;
	}
	c->t = c->tr->open(c->fd, true);
	c->state = HANDSHAKE;
	conn_handshake(n, c);
}

static void do_accept(struct vms_net *n, struct source *s)
{
	for (unsigned i = 0; i < 64; i++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c;

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				vms_log_ratelimited(vms_clock_ms(), VMS_LOG_ERROR,
						    "cannot accept connections: too many open "
						    "files; raise the limit (LimitNOFILE)");
			return;
		}
		net_set_options(fd, s->local ? AF_UNIX : AF_INET);
		c = conn_new(n, fd, false);
		c->t = c->tr->open(fd, false);
		c->state = HANDSHAKE;
		conn_handshake(n, c);
	}
}

static void source_ready(struct vms_net *n, struct source *s)
{
	uint64_t count;

	switch (s->kind) {
	case W_LISTEN:
		do_accept(n, s);
		break;
	case W_FD:
		if (s->ready)
			s->ready(s->arg);
		break;
	case W_KICK:
		(void)!read(n->kick, &count, sizeof(count));
		break;
	case W_CONN:
		break;
	}
}

static void conn_ready(struct vms_net *n, struct conn *c, uint32_t events)
{
	switch (c->state) {
	case RESOLVING:
		break;
	case CONNECTING:
		conn_connected(n, c);
		break;
	case HANDSHAKE:
		conn_handshake(n, c);
		break;
	case UP:
		if (events & EPOLLOUT)
			net_out_write(n, c);
		if (c->state == UP && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			conn_read(n, c);
		break;
	case CLOSING:
		break;
	}
}

/* Tell the owner about ended connections; its calls may end more. */
static void reap_closed(struct vms_net *n)
{
	while (n->close_list) {
		struct conn *c = n->close_list, **pp;

		n->close_list = c->close_next;
		if (!n->close_list)
			n->close_tail = &n->close_list;
		for (pp = &n->flush_list; *pp; pp = &(*pp)->flush_next)
			if (*pp == c) {
				*pp = c->flush_next;
				break;
			}
		HASH_DEL(n->conns, c);
		n->counters.connections--;
		n->h.closed(n->h.ctx, c->id, c->err, c->why);
		free(c->in);
		free(c);
	}
}

void net_expire(struct vms_net *n)
{
	uint64_t now = vms_clock_ms(), next = UINT64_MAX;
	struct conn *c, *t;

	if (now < n->expire_ms)
		return;
	HASH_ITER (hh, n->conns, c, t) {
		if (c->state >= UP)
			continue;
		if (now >= c->deadline_ms)
			net_conn_end(n, c, VMS_E_TIMEOUT,
				     c->state == RESOLVING ? "its name is not looked up in time"
							   : "no answer while connecting");
		else if (c->deadline_ms < next)
			next = c->deadline_ms;
	}
	n->expire_ms = next;
}

static void dispatch(struct vms_net *n, uint64_t key, uint32_t events)
{
	if (key & 1) {
		struct conn *c = net_conn_find(n, key >> 1);

		if (c)
			conn_ready(n, c, events);
	} else {
		source_ready(n, (struct source *)(uintptr_t)key);
	}
}

/* Behind what was ready. */
static void tidy(struct vms_net *n)
{
	struct source *s, *t;

	if (n->nlookups)
		net_names_collect(n);
	if (n->nconnecting)
		net_expire(n);
	reap_closed(n);
	DL_FOREACH_SAFE (n->dead_sources, s, t) {
		DL_DELETE(n->dead_sources, s);
		free(s);
	}
}

void vms_net_ready(struct vms_net *n, uint64_t key, uint32_t events)
{
	dispatch(n, key, events);
	tidy(n);
}

void vms_net_join(struct vms_net *n, const struct vms_net_loop *loop)
{
	struct epoll_event none = {0};
	struct source *s;
	struct conn *c, *t;

	DL_FOREACH (n->sources, s)
		(void)epoll_ctl(n->ep, EPOLL_CTL_DEL, s->fd, &none);
	HASH_ITER (hh, n->conns, c, t)
		if (c->events)
			(void)epoll_ctl(n->ep, EPOLL_CTL_DEL, c->fd, &none);
	n->loop = *loop;
	DL_FOREACH (n->sources, s)
		vms_assert(!net_source_watch(n, s));
	HASH_ITER (hh, n->conns, c, t)
		if (c->events)
			vms_assert(!net_watch(n, EPOLL_CTL_ADD, c->fd, c->events, conn_key(c)));
}

int vms_net_poll(struct vms_net *n, int timeout_ms)
{
	struct epoll_event ev[EVENTS_PER_POLL];
	int k;

	if (n->close_list)
		timeout_ms = 0;
	else if (n->nconnecting && (timeout_ms < 0 || timeout_ms > 500))
		timeout_ms = 500;
	k = epoll_wait(n->ep, ev, EVENTS_PER_POLL, timeout_ms);
	for (int i = 0; i < k; i++)
		dispatch(n, ev[i].data.u64, ev[i].events);
	tidy(n);
	return k < 0 ? 0 : k;
}

int vms_net_watch_fd(struct vms_net *n, int fd, void (*ready)(void *arg), void *arg)
{
	struct source *s;

	DL_FOREACH (n->sources, s)
		if (s->kind == W_FD && s->fd == fd)
			break;
	if (!ready) {
		if (!s)
			return VMS_E_NOENT;
		(void)net_watch(n, EPOLL_CTL_DEL, fd, 0, source_key(s));
		/* an event of this poll may still name it */
		s->ready = NULL;
		DL_DELETE(n->sources, s);
		DL_APPEND(n->dead_sources, s);
		return 0;
	}
	if (s)
		return VMS_E_EXIST;
	s = calloc(1, sizeof(*s));
	vms_assert(s);
	s->kind = W_FD;
	s->fd = fd;
	s->ready = ready;
	s->arg = arg;
	if (net_source_watch(n, s)) {
		free(s);
		return VMS_E_INVAL;
	}
	DL_APPEND(n->sources, s);
	return 0;
}

int vms_net_fd(const struct vms_net *n)
{
	return n->ep;
}

const struct vms_net_counters *vms_net_counters(const struct vms_net *n)
{
	return &n->counters;
}
