// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets: level-triggered epoll, or the owner's loop (vms_net_join); one read per ready
 * connection and poll, one writev per connection and flush.
 *
 * Out: frames are copied into a chain of blocks and written from there; a large payload
 * goes to the socket at once from where it lies, and only what the socket does not take is
 * copied. In: a buffer per connection, as large as the largest frame under way; frames are
 * handed out where they lie, only an incomplete one at the end may be moved, and
 * only when it would not fit behind where it lies.
 */
#include "cluster/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "utils/lib/assert.h"
#include "utils/lib/log.h"

#define QUEUE_BYTES_DEFAULT (64u << 20)
#define BLOCK_BYTES	    (64u << 10)
#define BLOCKS_SPARE_MAX    128u
#define IOV_MAX_NET	    128u
#define DIRECT_BYTES	    (32u << 10) /* payloads that are worth a system call of their own */
#define IN_BYTES_FIRST	    (256u << 10)
#define IN_BYTES_KEEP	    (1u << 20)
#define IN_BYTES_MOVE	    4096u /* moving less than this is cheaper than a short read */
#define EVENTS_PER_POLL	    64
#define CONNECT_MS_MAX	    5000u
#define LISTEN_BACKLOG	    512

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

struct block {
	struct block *next;
	size_t off, len;
	uint8_t data[];
};

enum conn_state { CONNECTING, HANDSHAKE, UP, CLOSING };

struct conn {
	vms_net_conn id;
	int fd;
	enum conn_state state;
	bool outgoing;
	const struct vms_transport *tr;
	void *t;
	uint32_t events;      /* what epoll watches */
	uint64_t deadline_ms; /* of connect and handshake */
	/* out */
	struct block *head, *tail;
	size_t queued_bytes;
	bool dirty; /* on the flush list */
	struct conn *flush_next;
	/* in */
	uint8_t *in;
	size_t in_room, in_head, in_tail;
	/* closing */
	int err;
	char why[96];
	struct conn *close_next;
	UT_hash_handle hh;
};

enum watch_kind { W_CONN, W_LISTEN, W_FD, W_KICK };

struct source {
	enum watch_kind kind;
	int fd;
	bool local;
	char path[108]; /* unix socket to unlink */
	void (*ready)(void *arg);
	void *arg;
	struct source *prev, *next;
};

struct vms_net {
	struct vms_net_handler h;
	size_t queue_bytes_max;
	int ep, kick;
	struct vms_net_loop loop; /* watches instead of ep, if watch is set */
	struct conn *conns;
	struct source *sources, *dead_sources;
	vms_net_conn next_id;
	struct conn *flush_list;
	struct conn *close_list, **close_tail;
	struct block *spare;
	unsigned nspare;
	unsigned nconnecting;
	struct vms_net_counters counters;
};

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

static int watch(struct vms_net *n, int op, int fd, uint32_t events, uint64_t key)
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

static int source_watch(struct vms_net *n, struct source *s)
{
	return watch(n, EPOLL_CTL_ADD, s->fd, EPOLLIN, source_key(s));
}

static void conn_watch(struct vms_net *n, struct conn *c, uint32_t events)
{
	if (c->events == events)
		return;
	vms_assert(
		!watch(n, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, events, conn_key(c)));
	c->events = events;
}

/* Before its descriptor is closed: an epoll forgets that by itself, another loop does not. */
static void conn_unwatch(struct vms_net *n, struct conn *c)
{
	if (n->loop.watch && c->events)
		(void)watch(n, EPOLL_CTL_DEL, c->fd, 0, conn_key(c));
	c->events = 0;
}

static struct conn *conn_find(const struct vms_net *n, vms_net_conn id)
{
	struct conn *c;

	HASH_FIND(hh, n->conns, &id, sizeof(id), c);
	return c;
}

static void block_free(struct vms_net *n, struct block *b)
{
	if (n->nspare < BLOCKS_SPARE_MAX) {
		b->next = n->spare;
		n->spare = b;
		n->nspare++;
	} else {
		free(b);
	}
}

/* All of one size, also for large frames: a block of their size would be mapped and
 * cleared by the kernel each time. */
static struct block *block_new(struct vms_net *n)
{
	struct block *b = n->spare;

	if (b) {
		n->spare = b->next;
		n->nspare--;
	} else {
		b = malloc(sizeof(*b) + BLOCK_BYTES);
		vms_assert(b);
	}
	b->next = NULL;
	b->off = b->len = 0;
	return b;
}

static void out_drop(struct vms_net *n, struct conn *c)
{
	while (c->head) {
		struct block *b = c->head;

		c->head = b->next;
		block_free(n, b);
	}
	c->tail = NULL;
	c->queued_bytes = 0;
}

/* Ends c: no more I/O on it; its closed() call comes from the next poll. */
static void conn_end(struct vms_net *n, struct conn *c, int err, const char *why)
{
	uint64_t one = 1;

	if (c->state == CLOSING)
		return;
	if (c->state == CONNECTING || c->state == HANDSHAKE)
		n->nconnecting--;
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
	out_drop(n, c);
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
	c->state = CONNECTING;
	c->deadline_ms = vms_clock_ms() + CONNECT_MS_MAX;
	n->nconnecting++;
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
	vms_assert(!source_watch(n, s));
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
		out_drop(n, c);
		HASH_DEL(n->conns, c);
		free(c->in);
		free(c);
	}
	DL_FOREACH_SAFE (n->sources, s, st) {
		DL_DELETE(n->sources, s);
		if (n->loop.watch)
			(void)watch(n, EPOLL_CTL_DEL, s->fd, 0, source_key(s));
		if (s->path[0])
			unlink(s->path);
		if (s->kind == W_LISTEN)
			close(s->fd);
		free(s);
	}
	DL_FOREACH_SAFE (n->dead_sources, s, st)
		free(s);
	while (n->spare) {
		struct block *b = n->spare;

		n->spare = b->next;
		free(b);
	}
	close(n->kick);
	close(n->ep);
	free(n);
}

/* ---- addresses ---- */

union any_addr {
	struct sockaddr sa;
	struct sockaddr_storage ss;
	struct sockaddr_un un;
};

static int resolve(const char *address, union any_addr *a, socklen_t *len, struct vms_errmsg *msg)
{
	char host[128], *port, *h = host;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
			*ai;
	int rc;

	memset(a, 0, sizeof(*a));
	if (!strncmp(address, "unix:", 5)) {
		if (strlen(address + 5) >= sizeof(a->un.sun_path))
			return vms_fail(msg, VMS_E_INVAL,
					"address \"%s\": the path is longer than %zu characters",
					address, sizeof(a->un.sun_path) - 1);
		a->un.sun_family = AF_UNIX;
		strcpy(a->un.sun_path, address + 5);
		*len = sizeof(a->un);
		return 0;
	}
	if ((size_t)snprintf(host, sizeof(host), "%s", address) >= sizeof(host) ||
	    !(port = strrchr(host, ':')) || !port[1])
		return vms_fail(msg, VMS_E_INVAL,
				"address \"%s\": expected HOST:PORT, [V6]:PORT or unix:/PATH",
				address);
	*port++ = 0;
	if (h[0] == '[' && port[-2] == ']') {
		port[-2] = 0;
		h++;
	}
	rc = getaddrinfo(h, port, &hints, &ai);
	if (rc == EAI_NONAME) {
		hints.ai_flags = AI_NUMERICSERV;
		rc = getaddrinfo(h, port, &hints, &ai);
	}
	if (rc)
		return vms_fail(msg, VMS_E_INVAL, "address \"%s\": %s", address, gai_strerror(rc));
	memcpy(&a->ss, ai->ai_addr, ai->ai_addrlen);
	*len = ai->ai_addrlen;
	freeaddrinfo(ai);
	return 0;
}

static void set_options(int fd, int family)
{
	int one = 1, user_timeout_ms = 15000;

	if (family == AF_UNIX)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	/* A peer whose machine died must not hold its queue for minutes. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
}

/* Does somebody answer on this unix socket? */
static bool unix_alive(const union any_addr *a, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool alive = fd >= 0 && !connect(fd, &a->sa, len);

	if (fd >= 0)
		close(fd);
	return alive;
}

int vms_net_listen(struct vms_net *n, const char *address, struct vms_errmsg *msg)
{
	union any_addr a;
	struct source *s;
	struct stat st;
	socklen_t len;
	int fd, one = 1, rc = resolve(address, &a, &len, msg);

	if (rc)
		return rc;
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return vms_fail(msg, VMS_E_IO, "no socket for %s: %s", address, strerror(errno));
	if (a.sa.sa_family == AF_UNIX) {
		if (!lstat(a.un.sun_path, &st) && S_ISSOCK(st.st_mode)) {
			if (unix_alive(&a, len)) {
				close(fd);
				return vms_fail(msg, VMS_E_EXIST,
						"%s is served by a running process already",
						address);
			}
			unlink(a.un.sun_path); /* left behind by a killed process */
		}
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	if (bind(fd, &a.sa, len) || listen(fd, LISTEN_BACKLOG)) {
		int e = errno;

		close(fd);
		if (e == EADDRINUSE)
			return vms_fail(msg, VMS_E_EXIST,
					"cannot listen on %s: another process uses this address; "
					"stop it or choose another port",
					address);
		return vms_fail(msg, e == EACCES ? VMS_E_PERM : VMS_E_IO, "cannot listen on %s: %s",
				address, strerror(e));
	}
	s = calloc(1, sizeof(*s));
	vms_assert(s);
	s->kind = W_LISTEN;
	s->fd = fd;
	s->local = a.sa.sa_family == AF_UNIX;
	if (s->local)
		snprintf(s->path, sizeof(s->path), "%s", a.un.sun_path);
	DL_APPEND(n->sources, s);
	vms_assert(!source_watch(n, s));
	return 0;
}

vms_net_conn vms_net_connect(struct vms_net *n, const char *address)
{
	struct conn *c = conn_new(n, -1, true);
	struct vms_errmsg msg;
	union any_addr a;
	socklen_t len;

	if (resolve(address, &a, &len, &msg)) {
		conn_end(n, c, VMS_E_INVAL, msg.text);
		return c->id;
	}
	c->fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		conn_end(n, c, VMS_E_IO, strerror(errno));
		return c->id;
	}
	set_options(c->fd, a.sa.sa_family);
	if (connect(c->fd, &a.sa, len) && errno != EINPROGRESS) {
		conn_end(n, c, VMS_E_DISCONNECTED, strerror(errno));
		return c->id;
	}
	conn_watch(n, c, EPOLLOUT);
	return c->id;
}

/* ---- sending ---- */

static void out_append(struct vms_net *n, struct conn *c, const void *data, size_t len)
{
	const uint8_t *p = data;

	c->queued_bytes += len;
	while (len) {
		struct block *b = c->tail;
		size_t k;

		if (!b || b->len == BLOCK_BYTES) {
			b = block_new(n);
			if (c->tail)
				c->tail->next = b;
			else
				c->head = b;
			c->tail = b;
		}
		k = BLOCK_BYTES - b->len < len ? BLOCK_BYTES - b->len : len;
		memcpy(b->data + b->len, p, k);
		b->len += k;
		p += k;
		len -= k;
	}
}

/* Takes what was written off the queue; returns how many bytes did not come from it. */
static size_t out_written(struct vms_net *n, struct conn *c, size_t done)
{
	n->counters.bytes_out += done;
	while (done && c->head) {
		struct block *b = c->head;
		size_t k = b->len - b->off < done ? b->len - b->off : done;

		b->off += k;
		done -= k;
		c->queued_bytes -= k;
		if (b->off == b->len) {
			c->head = b->next;
			if (!c->head)
				c->tail = NULL;
			block_free(n, b);
		}
	}
	return done;
}

/* One write of the queue and of the payload behind it. Returns how much of the payload the
 * socket took; the connection may have ended. */
static size_t out_direct(struct vms_net *n, struct conn *c, const struct vms_msg *m)
{
	struct vms_iov iov[IOV_MAX_NET];
	size_t want = c->queued_bytes + m->payload_bytes;
	unsigned niov = 0;
	int64_t done;

	for (struct block *b = c->head; b; b = b->next) {
		if (niov + m->npayload >= IOV_MAX_NET)
			return 0;
		iov[niov++] = (struct vms_iov){b->data + b->off, b->len - b->off};
	}
	memcpy(iov + niov, m->payload, m->npayload * sizeof(*iov));
	done = c->tr->writev(c->t, iov, niov + m->npayload);
	n->counters.writes++;
	if (done < 0 && done != VMS_E_AGAIN) {
		conn_end(n, c, VMS_E_DISCONNECTED, "the connection was lost while sending");
		return 0;
	}
	/* the rest has to wait for it anyway */
	if (done < 0 || (size_t)done < want)
		conn_watch(n, c, EPOLLIN | EPOLLOUT);
	return done < 0 ? 0 : out_written(n, c, (size_t)done);
}

int vms_net_send(struct vms_net *n, vms_net_conn id, const struct vms_msg *m)
{
	struct conn *c = conn_find(n, id);
	uint8_t hdr[VMS_FRAME_HEADER_BYTES];
	size_t bytes = sizeof(hdr) + m->body_bytes + m->payload_bytes, gone = 0;

	if (!c || c->state == CLOSING)
		return VMS_E_DISCONNECTED;
	if (c->queued_bytes + bytes > n->queue_bytes_max) {
		conn_end(n, c, VMS_E_FULL, "the peer does not take what is sent to it");
		return VMS_E_FULL;
	}
	vms_msg_encode_header(m, hdr);
	out_append(n, c, hdr, sizeof(hdr));
	out_append(n, c, m->body, m->body_bytes);
	if (m->payload_bytes >= DIRECT_BYTES && m->npayload < IOV_MAX_NET && c->state == UP &&
	    !(c->events & EPOLLOUT))
		gone = out_direct(n, c, m);
	if (c->state == CLOSING)
		return VMS_E_DISCONNECTED;
	for (unsigned i = 0; i < m->npayload; i++) {
		size_t skip = gone < m->payload[i].len ? gone : m->payload[i].len;

		gone -= skip;
		out_append(n, c, (const uint8_t *)m->payload[i].base + skip,
			   m->payload[i].len - skip);
	}
	n->counters.frames_out++;
	if (!c->dirty && c->head) {
		c->dirty = true;
		c->flush_next = n->flush_list;
		n->flush_list = c;
	}
	return 0;
}

/* Writes what the socket takes. */
static void out_write(struct vms_net *n, struct conn *c)
{
	while (c->head) {
		struct vms_iov iov[IOV_MAX_NET];
		unsigned niov = 0;
		size_t want = 0;
		int64_t done;

		for (struct block *b = c->head; b && niov < IOV_MAX_NET; b = b->next) {
			iov[niov++] = (struct vms_iov){b->data + b->off, b->len - b->off};
			want += b->len - b->off;
		}
		done = c->tr->writev(c->t, iov, niov);
		n->counters.writes++;
		if (done == VMS_E_AGAIN)
			break;
		if (done < 0) {
			conn_end(n, c, VMS_E_DISCONNECTED, "the connection was lost while sending");
			return;
		}
		out_written(n, c, (size_t)done);
		if ((size_t)done < want)
			break;
	}
	conn_watch(n, c, c->head ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void vms_net_flush(struct vms_net *n)
{
	while (n->flush_list) {
		struct conn *c = n->flush_list;

		n->flush_list = c->flush_next;
		c->dirty = false;
		/* with EPOLLOUT set the socket is full: epoll tells when it is not */
		if (c->state == UP && !(c->events & EPOLLOUT))
			out_write(n, c);
	}
}

void vms_net_close(struct vms_net *n, vms_net_conn id)
{
	struct conn *c = conn_find(n, id);

	if (!c || c->state == CLOSING)
		return;
	if (c->state == UP && c->head)
		out_write(n, c);
	conn_end(n, c, 0, "closed by this side");
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
		conn_end(n, c, VMS_E_DISCONNECTED,
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
			conn_end(n, c, (int)frame, "what arrived is no frame of this protocol");
			return;
		}
		if (!frame || (uint64_t)frame > have)
			return;
		rc = vms_msg_decode(c->in + c->in_head, (size_t)frame, &m, &iov);
		if (rc) {
			conn_end(n, c, rc,
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

static void peer_text(int fd, char *out, size_t room)
{
	union any_addr a;
	socklen_t len = sizeof(a);
	char host[64], port[8];

	if (getpeername(fd, &a.sa, &len) || a.sa.sa_family == AF_UNIX ||
	    getnameinfo(&a.sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, room, "local");
	else
		snprintf(out, room, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void conn_up(struct vms_net *n, struct conn *c)
{
	char peer[80];

	n->nconnecting--;
	c->state = UP;
	conn_watch(n, c, EPOLLIN);
	if (c->outgoing) {
		n->h.connected(n->h.ctx, c->id);
	} else {
		peer_text(c->fd, peer, sizeof(peer));
		n->h.accepted(n->h.ctx, c->id, peer);
	}
	/* what was queued before it was up */
	if (c->state == UP && c->head)
		out_write(n, c);
}

static void conn_handshake(struct vms_net *n, struct conn *c)
{
	bool want_write = false;
	int rc = c->tr->handshake(c->t, &want_write);

	if (rc == VMS_E_AGAIN)
		conn_watch(n, c, want_write ? EPOLLOUT : EPOLLIN);
	else if (rc)
		conn_end(n, c, rc, "the transport's handshake failed");
	else
		conn_up(n, c);
}

static void conn_connected(struct vms_net *n, struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
		conn_end(n, c, VMS_E_DISCONNECTED, strerror(err ? err : errno));
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
		set_options(fd, s->local ? AF_UNIX : AF_INET);
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
	case CONNECTING:
		conn_connected(n, c);
		break;
	case HANDSHAKE:
		conn_handshake(n, c);
		break;
	case UP:
		if (events & EPOLLOUT)
			out_write(n, c);
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

static void expire_connects(struct vms_net *n)
{
	uint64_t now = vms_clock_ms();
	struct conn *c, *t;

	HASH_ITER (hh, n->conns, c, t)
		if ((c->state == CONNECTING || c->state == HANDSHAKE) && now >= c->deadline_ms)
			conn_end(n, c, VMS_E_TIMEOUT, "no answer while connecting");
}

static void dispatch(struct vms_net *n, uint64_t key, uint32_t events)
{
	if (key & 1) {
		struct conn *c = conn_find(n, key >> 1);

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

	if (n->nconnecting)
		expire_connects(n);
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
		vms_assert(!source_watch(n, s));
	HASH_ITER (hh, n->conns, c, t)
		if (c->events)
			vms_assert(!watch(n, EPOLL_CTL_ADD, c->fd, c->events, conn_key(c)));
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
		(void)watch(n, EPOLL_CTL_DEL, fd, 0, source_key(s));
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
	if (source_watch(n, s)) {
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
