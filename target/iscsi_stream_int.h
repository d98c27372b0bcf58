/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to target/iscsi_stream*.c: a connection of the transport, and what its files do
 * for each other. iscsid.h, tgtd.h and target.h are tgt's.
 *
 *   iscsi_stream.c          a turn of the loop, start and end, the table for iscsid.c
 *   iscsi_stream_conns.c    who is let in, and what is left of a connection that goes
 *   iscsi_stream_portals.c  listening
 *   iscsi_stream_rx.c       what comes, and logins
 *   iscsi_stream_tx.c       what leaves: one send per connection and turn
 *   iscsi_stream_time.c     pings, deadlines, logouts that are asked for
 */
#ifndef VMS_ISCSI_STREAM_INT_H
#define VMS_ISCSI_STREAM_INT_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h> /* before tgt's macros */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "iscsid.h"
#include "tgtd.h"
#include "target.h"
#include "util.h"

#include "target/peers.h"
#include "target/tgt_glue.h"
#include "target/tgt_late.h"

struct backlog;

#define CONNS_PER_ADDRESS 4096

struct stream_conn {
	int fd;	      /* -1 once closed */
	bool late;    /* watched by guests, not by the loop itself */
	bool at_once; /* its close does not wait */
	bool want_tx;
	bool ping_out; /* a ping waits for its answer */
	uint32_t ping_ttt;
	uint32_t watched; /* what its socket is watched for */
	int64_t born_ms, alive_ms, ping_ms;
	unsigned leave_round; /* of tgt_logout_sessions(); 0: never asked to leave */
	bool leaving;	      /* told that it is dropped */
	bool last_words;      /* ends in order: closed when login_out has left */
	bool given_up;	      /* is silent, or takes nothing */
	int64_t leave_ms;     /* may stay until then */
	int64_t hold_ms;      /* not read before: logins from there have failed; 0: is read */
	int64_t taken_ms;     /* the backlog's last progress, or the last words' */
	int64_t data_ms;      /* data of writes came, or none was waited for */
	uint64_t data_seen;
	struct vms_peer *from;

	struct list_head all;
	struct list_head ready; /* has something to send, or (closing_conns) to be closed */

	/* An answer of the login and discovery phases, from login_out_at on. Whoever has no
	 * session is not read while there is one. */
	uint8_t *login_out;
	size_t login_out_at, login_out_len, login_out_cap;

	struct backlog *backlog;

	struct sockaddr_storage peer, local;
	socklen_t peer_len, local_len;

	struct iscsi_connection iscsi_conn;
};

extern struct iscsi_transport iscsi_stream;

/* All of the transport. */
extern struct stream {
	struct list_head all;	  /* connections, oldest first */
	struct list_head ready;	  /* have something to send, or are to be closed */
	struct list_head closing; /* have been sent what they are still told */
	struct tgt_late doors;	  /* portals */
	struct tgt_late guests;	  /* who has not logged in */
	struct vms_peers *peers;
	int nr; /* connections */
	int accepting;
} stream;

static inline struct stream_conn *SC(struct iscsi_connection *conn)
{
	return container_of(conn, struct stream_conn, iscsi_conn);
}

static inline void stream_ready(struct stream_conn *sc)
{
	if (list_empty(&sc->ready))
		list_add_tail(&sc->ready, &stream.ready);
}

/* No further byte is read; conn_close() follows at the end of the turn. */
static inline void stream_doom(struct stream_conn *sc)
{
	sc->iscsi_conn.state = STATE_CLOSE;
	sc->last_words = false;
	stream_ready(sc);
}

/* The same for one that is silent: its end is not queued behind what it does not take. One
 * without a session has nothing that could be late. */
static inline void stream_give_up(struct stream_conn *sc)
{
	sc->given_up = true;
	sc->at_once = !sc->late;
	stream_doom(sc);
}

/* ---- iscsi_stream.c ---- */
int stream_flush(void); /* the end of a turn; 1: go on at once */
int64_t late_us(void);

/* ---- iscsi_stream_conns.c ---- */
int stream_conns_open(void);
void stream_accept(int afd); /* the next one at that portal */
void stream_accept_one(int fd, struct sockaddr_storage *peer, socklen_t peer_len);
size_t stream_close(struct iscsi_connection *conn);
void stream_release(struct iscsi_connection *conn);
int stream_watch(struct stream_conn *sc, uint32_t events);
void stream_unwatch(struct stream_conn *sc);
void stream_unsent_max(int fd, int bytes);
int stream_show(struct iscsi_connection *conn, char *buf, int rest);
int stream_getsockname(struct iscsi_connection *conn, struct sockaddr *sa, socklen_t *len);
int stream_getpeername(struct iscsi_connection *conn, struct sockaddr *sa, socklen_t *len);

/* ---- iscsi_stream_rx.c ---- */
void stream_event(int fd, int events, void *data);
size_t stream_read(struct iscsi_connection *conn, void *buf, size_t nbytes);
void stream_login_resume(struct iscsi_connection *conn);

/* ---- iscsi_stream_tx.c ---- */
struct iscsi_task *stream_alloc_task(struct iscsi_connection *conn, size_t ext_len);
void stream_free_task(struct iscsi_task *task);
void *stream_alloc_data_buf(struct iscsi_connection *conn, size_t sz);
void stream_free_data_buf(struct iscsi_connection *conn, void *buf);
size_t stream_write_begin(struct iscsi_connection *conn, void *buf, size_t nbytes);
void stream_write_end(struct iscsi_connection *conn);
void stream_event_modify(struct iscsi_connection *conn, int events);
void stream_flush_ready(void);
void stream_backlog_drop(struct stream_conn *sc);

/* ---- iscsi_stream_time.c ---- */
int stream_time_open(void);
void stream_time_close(void);
bool stream_silent(struct stream_conn *sc);	  /* for too long */
void stream_tick(int fd, int events, void *data); /* of the timer */
void stream_unhold(struct stream_conn *sc);
void stream_nop_reply(struct iscsi_connection *conn, uint32_t ttt);

#endif
