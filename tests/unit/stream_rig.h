/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The iSCSI transport with tgt's other objects in a test program: one target, real
 * sockets, turns by hand. For programs that include target/iscsi_stream_int.h (and the
 * headers it needs for that) before; one each: everything is static.
 */
#ifndef VMS_TESTS_STREAM_RIG_H
#define VMS_TESTS_STREAM_RIG_H

#include "tests/unit/tgtd_stub.h"

#define NAME "iqn.2011-06.org.vmstore:turn"

static int loop_fd = -1;
static struct {
	event_handler_t handler;
	void *data;
} ev_of[4096];

int tgt_event_add(int fd, int events, event_handler_t handler, void *data)
{
	struct epoll_event ev = {.events = (uint32_t)events, .data.fd = fd};

	vms_assert(fd < 4096);
	ev_of[fd].handler = handler;
	ev_of[fd].data = data;
	return epoll_ctl(loop_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}
int tgt_event_add_first(int fd, int events, event_handler_t handler, void *data)
{
	return tgt_event_add(fd, events, handler, data);
}
void tgt_event_del(int fd)
{
	ev_of[fd].handler = NULL;
	epoll_ctl(loop_fd, EPOLL_CTL_DEL, fd, NULL);
}
int tgt_event_modify(int fd, int events)
{
	struct epoll_event ev = {.events = (uint32_t)events, .data.fd = fd};

	return epoll_ctl(loop_fd, EPOLL_CTL_MOD, fd, &ev) ? -errno : 0;
}

/* What tgt's loop does with what epoll tells, once. */
static inline void stream_events(void)
{
	struct epoll_event ev[1024];
	int n = epoll_wait(loop_fd, ev, 1024, 0);

	for (int i = 0; i < n; i++)
		if (ev_of[ev[i].data.fd].handler)
			ev_of[ev[i].data.fd].handler(ev[i].data.fd, (int)ev[i].events,
						     ev_of[ev[i].data.fd].data);
}

static struct sockaddr_in where = {.sin_family = AF_INET};

static inline void setup(void)
{
	struct iscsi_portal *portal;

	if (loop_fd >= 0)
		return;
	loop_fd = epoll_create1(EPOLL_CLOEXEC);
	stream.peers = vms_peers_open(CONNS_PER_ADDRESS);
	vms_assert(loop_fd >= 0 && !tgt_late_open(&stream.doors) && !tgt_late_open(&stream.guests));
	vms_assert(!iscsi_add_portal((char *)"127.0.0.1", 0, 1));
	portal = list_first_entry(&iscsi_portals_list, struct iscsi_portal, iscsi_portal_siblings);
	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	where.sin_port = htons((uint16_t)portal->port);
	INIT_LIST_HEAD(&tgt_drivers[get_driver_index("iscsi")]->target_list);
	tgt_drivers[get_driver_index("iscsi")]->drv_state = DRIVER_INIT;
	target_make(1, NAME);
}

static inline int join(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	CU_ASSERT_FATAL(fd >= 0 && !connect(fd, (struct sockaddr *)&where, sizeof(where)));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static inline void login_send(int fd, int nr)
{
	uint8_t out[1024];
	size_t n = good_login(out, NAME);

	out[12] = (uint8_t)(nr >> 8), out[13] = (uint8_t)nr;
	/* and the second request, which has nothing more to say */
	memcpy(out + n, out, 48);
	memset(out + n + 4, 0, 4);
	n += 48;
	CU_ASSERT_EQUAL_FATAL(send(fd, out, n, MSG_NOSIGNAL), (ssize_t)n);
}

static inline int in_state(int state)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &stream.all, all) nr += sc->iscsi_conn.state == state;
	return nr;
}

#endif
