/* SPDX-License-Identifier: GPL-2.0-only */
/* Private to net_posix.c (connections, receiving, the loop), net_send_posix.c, net_sock.c
 * (addresses, listening) and net_names_thread.c (names of hosts). */
#ifndef VMS_NET_INT_POSIX_H
#define VMS_NET_INT_POSIX_H

#include <sys/socket.h>
#include <sys/un.h>
#include <uthash.h>

#include "cluster/net.h"

#define IOV_MAX_NET    128u
#define HOST_TEXT_MAX  280u
#define NAME_ADDRS_MAX 4u /* of one name that are tried in turn */

union any_addr {
	struct sockaddr sa;
	struct sockaddr_storage ss;
	struct sockaddr_un un;
};

struct addrs {
	unsigned n;
	union any_addr a[NAME_ADDRS_MAX];
	socklen_t len[NAME_ADDRS_MAX];
};

struct net_name;

struct block {
	struct block *next;
	size_t off, len;
	uint8_t data[];
};

enum conn_state { RESOLVING, CONNECTING, HANDSHAKE, UP, CLOSING };

struct conn {
	vms_net_conn id;
	int fd;
	enum conn_state state;
	bool outgoing;
	const struct vms_transport *tr;
	void *t;
	uint32_t events;       /* what epoll watches */
	uint64_t deadline_ms;  /* of connect and handshake */
	struct net_name *name; /* what it connects to, when that is no number */
	unsigned name_change;  /* of its address, when c took that */
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
	uint64_t expire_ms; /* none of those has its deadline before */
	struct net_name *names;
	unsigned nlookups; /* under way */
	struct vms_net_counters counters;
};

/* ---- net_posix.c ---- */

int net_watch(struct vms_net *n, int op, int fd, uint32_t events, uint64_t key);
int net_source_watch(struct vms_net *n, struct source *s);
void net_conn_watch(struct vms_net *n, struct conn *c, uint32_t events);
struct conn *net_conn_find(const struct vms_net *n, vms_net_conn id);
/* No more I/O on c; its closed() call comes from the next poll. */
void net_conn_end(struct vms_net *n, struct conn *c, int err, const char *why);
/* Connects c, which has no descriptor yet, to a. */
void net_conn_dial(struct vms_net *n, struct conn *c, const union any_addr *a, socklen_t len);

void net_expire(struct vms_net *n); /* ends what has been connecting for too long */

/* ---- net_send_posix.c ---- */

void net_out_write(struct vms_net *n, struct conn *c); /* what the socket takes */
void net_out_drop(struct vms_net *n, struct conn *c);
void net_out_free(struct vms_net *n);

/* ---- net_sock.c ---- */

/* "HOST:PORT", "[V6]:PORT" or "unix:/PATH" without asking anybody. VMS_E_AGAIN: host (of
 * room bytes) and *port, behind it, are a name, which net_lookup() takes. */
int net_parse(const char *address, struct addrs *to, char *host, size_t room, char **port,
	      struct vms_errmsg *msg);
/* Blocks as long as the machine's resolver does. 0, or what gai_strerror() explains. */
int net_lookup(const char *host, const char *port, struct addrs *to);
void net_set_options(int fd, int family);
void net_peer_text(int fd, char *out, size_t room);

/* ---- net_names_thread.c ---- */

/* Names are looked up beside the loop, which must never wait for a name server. What a name
 * stood for the last time is taken at once, and looked up again for the next time. */

/* c (RESOLVING) connects to host:port, now or when that is known. */
void net_name_dial(struct vms_net *n, struct conn *c, const char *host, const char *port);
/* The address that c tried does not answer: the name's next one is tried the next time. */
void net_name_failed(struct conn *c);
void net_names_collect(struct vms_net *n); /* lookups that have ended */
void net_names_free(struct vms_net *n);

#endif
