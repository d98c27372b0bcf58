// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into a gateway by tests/it/ghost.sh: what it connects to a port between
 * GHOST_FIRST and GHOST_LAST goes to the port GHOST_SHIFT above, where the test's network
 * listens.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static long number(const char *name)
{
	const char *text = getenv(name);

	return text ? atol(text) : 0;
}

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	static int (*real)(int, const struct sockaddr *, socklen_t);
	struct sockaddr_in in;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "connect");
	if (to->sa_family != AF_INET || len < sizeof(in))
		return real(fd, to, len);
	memcpy(&in, to, sizeof(in));
	if (ntohs(in.sin_port) < number("GHOST_FIRST") || ntohs(in.sin_port) > number("GHOST_LAST"))
		return real(fd, to, len);
	in.sin_port = htons((in_port_t)(ntohs(in.sin_port) + number("GHOST_SHIFT")));
	return real(fd, (struct sockaddr *)&in, sizeof(in));
}
