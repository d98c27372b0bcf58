/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Connections of a process: framing over a transport seam, on one epoll loop.
 * The one place with sockets (net_posix.c, net_send_posix.c, net_sock.c,
 * net_names_thread.c). Plain TCP now; TLS 1.3 fits in as
 * another vms_transport without touching the callers.
 *
 * Used by vmstored (node and catalog), the tools, and the gateway, whose loop
 * is tgt's: that watches the descriptors itself (vms_net_join). A loop that has not much
 * to do may watch vms_net_fd() and call vms_net_poll(net, 0) when it is ready (an epoll
 * fd inside an epoll).
 *
 * Frames are queued per connection and written at vms_net_flush() with one
 * writev per connection; a frame with a large payload is written at once, along with
 * what is queued before it, so that its payload need not be copied; received frames of one read are
 * handed out one by one. The out-queue is bounded: beyond it send answers VMS_E_FULL and the
 * connection is closed. Owner: one thread.
 */
#ifndef VMS_NET_H
#define VMS_NET_H

#include "include/wire.h"

/* What carries the bytes. Results: bytes moved, 0 (read: end of stream),
 * VMS_E_AGAIN (wait for the fd), VMS_E_DISCONNECTED. handshake: 0 done, VMS_E_AGAIN
 * with *want_write set to what it waits for, or an error. */
struct vms_transport {
	uint32_t struct_bytes; /* sizeof(struct vms_transport), append-only */
	void *(*open)(int fd, bool outgoing);
	int (*handshake)(void *t, bool *want_write);
	int64_t (*read)(void *t, void *buf, size_t room_bytes);
	int64_t (*writev)(void *t, const struct vms_iov *iov, unsigned niov);
	void (*close)(void *t); /* closes the fd too */
};

struct vms_net_counters {
	uint64_t frames_in, frames_out, bytes_in, bytes_out;
	uint64_t reads, writes; /* system calls */
	uint64_t connections;	/* now */
};

struct vms_net;
typedef uint64_t vms_net_conn; /* never reused; 0: none */

struct vms_net_handler {
	void *ctx;
	void (*accepted)(void *ctx, vms_net_conn c, const char *peer);
	void (*connected)(void *ctx, vms_net_conn c); /* outgoing connection is up */
	/* err: why (VMS_E_DISCONNECTED, VMS_E_PROTO, ...; 0: by vms_net_close); also
	 * after a failed connect. Each connection is closed once, from vms_net_poll or
	 * vms_net_ready. */
	void (*closed)(void *ctx, vms_net_conn c, int err, const char *why);
	void (*frame)(void *ctx, vms_net_conn c, const struct vms_msg *m);
};

/* queue_bytes_max: bound of each connection's out-queue (0: 64 MiB). */
struct vms_net *vms_net_new(const struct vms_net_handler *h, size_t queue_bytes_max);
void vms_net_free(struct vms_net *n);
/* "host:port", "[v6]:port" or "unix:/path". VMS_E_EXIST: address in use. A host
 * that is not numeric is looked up here and now, which may take as long as name servers do. */
int vms_net_listen(struct vms_net *n, const char *address, struct vms_errmsg *msg);
/* Never fails at once: connected or closed follows (within 5 s). A host that is not numeric
 * is looked up beside the loop; what it stood for before is used meanwhile, and when no name
 * server answers. Of several addresses the next one is tried after one that failed. */
vms_net_conn vms_net_connect(struct vms_net *n, const char *address);
/* Keeps nothing of m. Frames for closed connections are dropped (VMS_E_DISCONNECTED). */
int vms_net_send(struct vms_net *n, vms_net_conn c, const struct vms_msg *m);
/* Sends what is queued as far as the socket takes it, then closes. No frame of c is
 * handed out after this. */
void vms_net_close(struct vms_net *n, vms_net_conn c);
void vms_net_flush(struct vms_net *n); /* end of a turn */
int vms_net_fd(const struct vms_net *n);

/* Somebody else's loop. watch: call vms_net_ready(n, key, events) whenever fd is ready for
 * events (EPOLL*, level-triggered); `again`: it is watched already, for other events.
 * events 0: not any more, and with this key not once more, also if the loop knows already
 * that it is ready (fd may be closed next). 0, or the loop cannot. */
struct vms_net_loop {
	void *ctx;
	int (*watch)(void *ctx, int fd, uint64_t key, uint32_t events, bool again);
};
/* All that is watched goes over to that loop, which lives until vms_net_free; vms_net_fd and
 * vms_net_poll are not used any more. The handler runs from vms_net_ready only. */
void vms_net_join(struct vms_net *n, const struct vms_net_loop *loop);
void vms_net_ready(struct vms_net *n, uint64_t key, uint32_t events);

/* Wait up to timeout_ms (-1: for ever) and handle what is ready; the handler
 * runs from here only. Also watches extra fds given by vms_net_watch_fd. */
int vms_net_poll(struct vms_net *n, int timeout_ms);
/* ready NULL: watch it no more. */
int vms_net_watch_fd(struct vms_net *n, int fd, void (*ready)(void *arg), void *arg);
const struct vms_net_counters *vms_net_counters(const struct vms_net *n);

/* ms of the boot clock (runs through suspend), us of the same. */
uint64_t vms_clock_ms(void);
uint64_t vms_clock_us(void);

#endif
