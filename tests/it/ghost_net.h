/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A network in user space for tests/it/ghost.c: links that a thread of its own carries
 * from a local port to another address, and that the test holds or cuts while bytes are
 * on their way.
 *
 * What is held is late, not lost: it arrives when it is let go, also when its sender has
 * closed the connection or died meanwhile, as with a network that was broken for a while.
 * What is cut is lost, together with all that was held.
 */
#ifndef VMS_TEST_GHOST_NET_H
#define VMS_TEST_GHOST_NET_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link {
	/* set by the test, then net_wake() */
	atomic_bool hold_up;   /* from who connected to the address behind */
	atomic_bool hold_down; /* back */
	atomic_bool cut;       /* connections end, new ones are refused */
	atomic_bool newest;    /* of two connections the newer one's bytes are let go first */
	/* read by the test */
	atomic_size_t up_held, down_held; /* bytes that wait */
	atomic_size_t up_bytes;		  /* that came in to be carried up, ever */
	_Atomic int64_t down_ms;	  /* when something came down last, by now_ms() */
	/* the thread's */
	int fd;
	struct sockaddr_in to;
};

/* Listens on 127.0.0.1:port. Ends the program when that fails. */
void link_open(struct link *l, uint16_t port, const char *to_host, uint16_t to_port);
/* After all link_open(). */
void net_start(void);
/* Flags were changed: returns when the thread has seen them. */
void net_wake(void);

#endif
