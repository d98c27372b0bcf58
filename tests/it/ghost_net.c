// SPDX-License-Identifier: GPL-2.0-only
/* A network in user space, see ghost_net.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/it/ghost_net.h"
#include "tests/it/iscsi_ini.h"

#define LINKS_MAX 32
#define CONNS_MAX 128
#define HELD_MAX  (32u << 20)

/* One direction of a connection. */
struct way {
	int from, to;
	uint8_t *buf;
	size_t n, room;
	bool eof;  /* nothing more comes */
	bool done; /* and all of it was carried */
};

struct pair {
	struct link *l;
	struct way way[2]; /* up, down */
};

static struct link *links[LINKS_MAX];
static unsigned nlinks;
static struct pair *pairs[CONNS_MAX]; /* oldest first */
static unsigned npairs;
static int wake_fd;
static atomic_uint asked, seen;

static void die(const char *what)
{
	fprintf(stderr, "ghost: %s: %s\n", what, strerror(errno));
	exit(2);
}

void link_open(struct link *l, uint16_t port, const char *to_host, uint16_t to_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(to_port)};
	if (inet_pton(AF_INET, to_host, &l->to.sin_addr) != 1 || nlinks == LINKS_MAX) {
		errno = EINVAL;
		die(to_host);
	}
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l->fd, (struct sockaddr *)&at, sizeof(at)) || listen(l->fd, 64))
		die("port of a link");
	links[nlinks++] = l;
}

static void pair_end(unsigned i)
{
	struct pair *p = pairs[i];

	close(p->way[0].from);
	close(p->way[0].to);
	free(p->way[0].buf);
	free(p->way[1].buf);
	free(p);
	memmove(&pairs[i], &pairs[i + 1], (--npairs - i) * sizeof(pairs[0]));
}

static void pair_new(struct link *l, int fd)
{
	int to = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct pair *p;

	if (l->cut || npairs == CONNS_MAX ||
	    connect(to, (struct sockaddr *)&l->to, sizeof(l->to))) {
		close(to);
		close(fd);
		return;
	}
	setsockopt(to, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, 1, &one, sizeof(one));
	p = calloc(1, sizeof(*p));
	p->l = l;
	p->way[0].from = p->way[1].to = fd;
	p->way[0].to = p->way[1].from = to;
	pairs[npairs++] = p;
}

static void way_read(struct pair *p, unsigned d)
{
	struct way *w = &p->way[d];
	ssize_t n;

	if (w->room - w->n < 65536) {
		w->room = w->n + 262144;
		w->buf = realloc(w->buf, w->room);
		if (!w->buf)
			die("memory");
	}
	n = recv(w->from, w->buf + w->n, w->room - w->n, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		w->eof = true;
		return;
	}
	w->n += (size_t)n;
	if (d == 0)
		p->l->up_bytes += (size_t)n;
	else
		p->l->down_ms = now_ms();
}

/* False: the receiver is gone. */
static bool way_write(struct way *w)
{
	ssize_t n;

	while (w->n) {
		n = send(w->to, w->buf, w->n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		memmove(w->buf, w->buf + n, w->n - (size_t)n);
		w->n -= (size_t)n;
	}
	if (w->eof && !w->done) {
		w->done = true;
		shutdown(w->to, SHUT_WR);
	}
	return true;
}

static bool held(const struct pair *p, unsigned d)
{
	return d == 0 ? p->l->hold_up : p->l->hold_down;
}

static void turn(void)
{
	struct pollfd pfd[1 + LINKS_MAX + 4 * CONNS_MAX];
	unsigned n = 0, wrote = asked;

	for (unsigned i = npairs; i-- > 0;)
		if (pairs[i]->l->cut)
			pair_end(i);
	for (unsigned k = 0; k < 2 * npairs; k++) {
		/* oldest first, then those of links that want it the other way round */
		unsigned i = k < npairs ? k : 2 * npairs - 1 - k;
		struct pair *p = pairs[i];

		if (p->l->newest == (k < npairs))
			continue;
		for (unsigned d = 0; d < 2; d++)
			if (!held(p, d) && !way_write(&p->way[d])) {
				/* what goes the other way may still arrive */
				p->way[d].n = 0;
				p->way[d].eof = p->way[d].done = true;
			}
	}
	for (unsigned i = npairs; i-- > 0;)
		if (pairs[i]->way[0].done && pairs[i]->way[1].done)
			pair_end(i);
	for (unsigned i = 0; i < nlinks; i++) {
		size_t up = 0, down = 0;

		for (unsigned k = 0; k < npairs; k++)
			if (pairs[k]->l == links[i]) {
				up += pairs[k]->way[0].n;
				down += pairs[k]->way[1].n;
			}
		links[i]->up_held = up;
		links[i]->down_held = down;
	}
	seen = wrote;

	pfd[n++] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
	for (unsigned i = 0; i < nlinks; i++)
		pfd[n++] = (struct pollfd){.fd = links[i]->fd, .events = POLLIN};
	for (unsigned i = 0; i < npairs; i++)
		for (unsigned d = 0; d < 2; d++) {
			struct way *w = &pairs[i]->way[d];
			bool in = !w->eof && w->n < HELD_MAX;

			pfd[n++] = (struct pollfd){.fd = in ? w->from : -1, .events = POLLIN};
			pfd[n++] = (struct pollfd){.fd = w->n && !held(pairs[i], d) ? w->to : -1,
						   .events = POLLOUT};
		}
	if (poll(pfd, n, -1) < 0 && errno != EINTR)
		die("poll");
	n = 1 + nlinks;
	for (unsigned i = 0; i < npairs; i++)
		for (unsigned d = 0; d < 2; d++, n += 2)
			if (pfd[n].revents)
				way_read(pairs[i], d);
	if (pfd[0].revents) {
		eventfd_t v;

		eventfd_read(wake_fd, &v);
	}
	for (unsigned i = 0; i < nlinks; i++)
		if (pfd[1 + i].revents) {
			int fd = accept(links[i]->fd, NULL, NULL);

			if (fd >= 0)
				pair_new(links[i], fd);
		}
}

static void *carry(void *arg)
{
	(void)arg;
	for (;;)
		turn();
	return NULL;
}

void net_start(void)
{
	pthread_t t;

	wake_fd = eventfd(0, EFD_NONBLOCK);
	if (wake_fd < 0 || pthread_create(&t, NULL, carry, NULL))
		die("thread");
}

void net_wake(void)
{
	unsigned want = ++asked;

	eventfd_write(wake_fd, 1);
	while ((int)(seen - want) < 0)
		usleep(200);
}
