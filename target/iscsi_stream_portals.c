// SPDX-License-Identifier: GPL-2.0-only
/*
 * Portals: addresses at which the transport listens.
 *
 * Owner: the loop's thread.
 */
#include "target/iscsi_stream_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

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
	if (!portal->addr || tgt_late_add(&stream.doors, fd, EPOLLIN, portal)) {
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
		tgt_late_del(&stream.doors, portal->fd);
		close(portal->fd);
		list_del(&portal->iscsi_portal_siblings);
		free(portal->addr);
		free(portal);
		return 0;
	}
	eprintf("no portal %s:%d\n", addr, port);
	return -1;
}
