// SPDX-License-Identifier: GPL-2.0-only
/* Addresses, and sockets that listen. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "cluster/net_int_posix.h"
#include "utils/lib/assert.h"

#define LISTEN_BACKLOG 512

static int look_up(const char *host, const char *port, int flags, struct addrs *to)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
	struct addrinfo *all, *ai;
	int rc = getaddrinfo(host, port, &hints, &all);

	if (rc)
		return rc;
	to->n = 0;
	for (ai = all; ai && to->n < NAME_ADDRS_MAX; ai = ai->ai_next) {
		memset(&to->a[to->n], 0, sizeof(to->a[0]));
		memcpy(&to->a[to->n].ss, ai->ai_addr, ai->ai_addrlen);
		to->len[to->n++] = ai->ai_addrlen;
	}
	freeaddrinfo(all);
	return 0;
}

int net_lookup(const char *host, const char *port, struct addrs *to)
{
	return look_up(host, port, 0, to);
}

int net_parse(const char *address, struct addrs *to, char *host, size_t room, char **port,
	      struct vms_errmsg *msg)
{
	struct sockaddr_un *un = &to->a[0].un;
	int rc;

	memset(to, 0, sizeof(*to));
	if (!strncmp(address, "unix:", 5)) {
		if (strlen(address + 5) >= sizeof(un->sun_path))
			return vms_fail(msg, VMS_E_INVAL,
					"address \"%s\": the path is longer than %zu characters",
					address, sizeof(un->sun_path) - 1);
		un->sun_family = AF_UNIX;
		strcpy(un->sun_path, address + 5);
		to->len[0] = sizeof(*un);
		to->n = 1;
		return 0;
	}
	if ((size_t)snprintf(host, room, "%s", address) >= room || !(*port = strrchr(host, ':')) ||
	    !(*port)[1])
		return vms_fail(msg, VMS_E_INVAL,
				"address \"%s\": expected HOST:PORT, [V6]:PORT or unix:/PATH",
				address);
	*(*port)++ = 0;
	if (host[0] == '[' && (*port)[-2] == ']') {
		(*port)[-2] = 0;
		memmove(host, host + 1, strlen(host));
	}
	rc = look_up(host, *port, AI_NUMERICHOST, to);
	if (rc == EAI_NONAME)
		return VMS_E_AGAIN;
	return rc ? vms_fail(msg, VMS_E_INVAL, "address \"%s\": %s", address, gai_strerror(rc)) : 0;
}

void net_set_options(int fd, int family)
{
	int one = 1, user_timeout_ms = 15000;

	if (family == AF_UNIX)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	/* A peer whose machine died must not hold its queue for minutes. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
}

void net_peer_text(int fd, char *out, size_t room)
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
	char host[HOST_TEXT_MAX], *port;
	struct addrs to;
	const union any_addr *a = &to.a[0];
	struct source *s;
	struct stat st;
	int fd, one = 1, rc = net_parse(address, &to, host, sizeof(host), &port, msg);

	if (rc == VMS_E_AGAIN) {
		rc = net_lookup(host, port, &to);
		if (rc)
			return vms_fail(msg, VMS_E_INVAL, "address \"%s\": %s", address,
					gai_strerror(rc));
	} else if (rc) {
		return rc;
	}
	fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return vms_fail(msg, VMS_E_IO, "no socket for %s: %s", address, strerror(errno));
	if (a->sa.sa_family == AF_UNIX) {
		if (!lstat(a->un.sun_path, &st) && S_ISSOCK(st.st_mode)) {
			if (unix_alive(a, to.len[0])) {
				close(fd);
				return vms_fail(msg, VMS_E_EXIST,
						"%s is served by a running process already",
						address);
			}
			unlink(a->un.sun_path); /* left behind by a killed process */
		}
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	if (bind(fd, &a->sa, to.len[0]) || listen(fd, LISTEN_BACKLOG)) {
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
	s->local = a->sa.sa_family == AF_UNIX;
	if (s->local)
		snprintf(s->path, sizeof(s->path), "%s", a->un.sun_path);
	DL_APPEND(n->sources, s);
	vms_assert(!net_source_watch(n, s));
	return 0;
}
