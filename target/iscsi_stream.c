// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP transport for tgt's iSCSI target, made for one loop with many sessions.
 *
 * Receiving: one read per ready connection and turn fills first what the
 * connection waits for (the rest of a data segment, in place; if it is small it
 * is copied), then one buffer that all connections share; every PDU in it is handled before
 * the next read. Nothing is left over: iscsid.c's receive state takes any number
 * of bytes at a time, so a connection at rest owns no receive buffer.
 *
 * Sending: whatever a turn answers, on any connection, leaves at the turn's end
 * with one sendmsg per connection: headers from an arena of the turn, data from
 * where the command has it (its buffer, or pinned memory of the store). If the
 * socket takes only a part, the rest becomes the connection's backlog (headers
 * copied, data still in place, its commands kept) and EPOLLOUT is asked for.
 * Nothing here waits, spins or polls.
 *
 * Order: sessions come first. New connections, requests of connections that have not
 * logged in (discovery among them) and closes are done when a turn has sent the
 * sessions' answers, a few of each (LATE_US, LATE_ROUNDS), the rest in later turns: a
 * burst of them takes little of anybody's turn, and goes on in each.
 *
 * Rules kept:
 *  - conn_close() may run inside any handler: whoever loops over a connection
 *    holds a reference (conn_get/conn_put).
 *  - A connection in STATE_CLOSE is never read again, not even a byte already in
 *    its socket ('Nothing late': tgt_close_initiators, silence beyond T_nop).
 *  - A task is released once its last byte was handed to the kernel, or its
 *    connection is gone; never earlier.
 *  - Descriptors are closed at conn_close(), although tasks may still hold the
 *    structure: the initiator learns at once.
 *
 * Owner: the loop's thread. Source of the protocol: RFC 7143.
 */
#include "target/iscsi_stream_int.h"

#include <time.h>

#define LATE_ROUNDS 16	/* a turn: accepts, requests before a session, closes; */
#define LATE_US	    100 /* no further round after that, but always one */

struct stream stream = {
	.all = LIST_HEAD_INIT(stream.all),
	.ready = LIST_HEAD_INIT(stream.ready),
	.closing = LIST_HEAD_INIT(stream.closing),
	.doors = {.fd = -1},
	.guests = {.fd = -1},
	.accepting = 1,
};

/* ---- what sessions do not wait for ------------------------------------------------ */

int64_t late_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* One of each kind. Returns whether there was any. */
static bool late_round(void)
{
	struct iscsi_portal *portal;
	struct stream_conn *sc;
	uint32_t events;
	bool any = false;

	portal = tgt_late_next(&stream.doors, &events);
	if (portal) {
		stream_accept(portal->fd);
		any = true;
	}
	sc = tgt_late_next(&stream.guests, &events);
	if (sc) {
		stream_event(sc->fd, (int)events, &sc->iscsi_conn);
		any = true;
	}
	if (!list_empty(&stream.closing)) {
		sc = list_first_entry(&stream.closing, struct stream_conn, ready);
		list_del_init(&sc->ready);
		if (!sc->iscsi_conn.closed)
			conn_close(&sc->iscsi_conn);
		any = true;
	}
	return any;
}

/* The end of a turn: send everything, then some of what may wait, then reads that may begin.
 * Returns 1 if the loop has to go on at once. */
int stream_flush(void)
{
	bool any = false;

	stream_flush_ready();
	if (stream.doors.ready || stream.guests.ready || !list_empty(&stream.closing)) {
		int64_t until = late_us() + LATE_US;

		for (int i = 0; i < LATE_ROUNDS && late_round(); i++) {
			any = true;
			if (late_us() >= until)
				break;
		}
		stream_flush_ready();
	}
	if (iscsi_turn_ends())
		any = true;
	/* a login may have given the gateway something to send: that is in the next turn */
	return any || !list_empty(&stream.ready) || !list_empty(&stream.closing);
}

void tgt_close_initiators(const char *why)
{
	struct stream_conn *sc;
	int nr = 0;

	list_for_each_entry(sc, &stream.all, all)
	{
		if (sc->iscsi_conn.state == STATE_CLOSE)
			continue;
		sc->at_once = true;
		stream_doom(sc);
		nr++;
	}
	if (nr)
		eprintf("closing %d initiator connections: %s\n", nr, why);
}

static void stream_force_close(struct iscsi_connection *conn)
{
	stream_doom(SC(conn));
}

static int stream_stop(void)
{
	struct iscsi_portal *portal, *next;
	struct stream_conn *sc;

	stream.accepting = 0;
	list_for_each_entry_safe(portal, next, &iscsi_portals_list, iscsi_portal_siblings)
		iscsi_delete_portal(portal->addr, portal->port);
	list_for_each_entry(sc, &stream.all, all)
	{
		sc->at_once = true;
		stream_doom(sc);
	}
	return stream.nr;
}

static int stream_login_complete(struct iscsi_connection *conn)
{
	struct iscsi_target *target = target_find_by_id(conn->tid);

	if (target) {
		conn->nop_interval = target->nop_interval;
		conn->nop_count = target->nop_count;
	}
	SC(conn)->ping_ms = SC(conn)->data_ms = tgt_turn_now_ms;
	vms_peer_passed(SC(conn)->from);
	return 0;
}

/* ---- settings by tgtadm ----------------------------------------------------------------- */

void iscsi_print_nop_settings(struct concat_buf *b, int tid)
{
	struct iscsi_target *target = target_find_by_id(tid);

	if (target && target->nop_interval)
		concat_printf(b, _TAB2 "Nop interval: %d\n" _TAB2 "Nop count: %d\n",
			      target->nop_interval, target->nop_count);
}

int iscsi_update_target_nop_count(int tid, int count)
{
	struct iscsi_target *target = target_find_by_id(tid);

	if (!target || count < 0)
		return -1;
	target->nop_count = count;
	return 0;
}

int iscsi_update_target_nop_interval(int tid, int interval)
{
	struct iscsi_target *target = target_find_by_id(tid);

	if (!target || interval < 0)
		return -1;
	target->nop_interval = interval;
	return 0;
}

void iscsi_set_nop_interval(int interval)
{
	default_nop_interval = interval;
}

void iscsi_set_nop_count(int count)
{
	default_nop_count = count;
}

/* ---- start and end ------------------------------------------------------------------------- */

static int stream_init(void)
{
	if (tgt_late_open(&stream.doors) || tgt_late_open(&stream.guests)) {
		eprintf("no epoll for portals and logins\n");
		return -1;
	}
	if (stream_time_open() || stream_conns_open())
		return -1;
	tgt_turn_flush_hook = stream_flush;

	if (portal_arguments && iscsi_param_parse_portals(portal_arguments, 1, 0))
		return -1;
	if (list_empty(&iscsi_portals_list) &&
	    iscsi_add_portal(NULL, ISCSI_LISTEN_PORT, iscsi_portal_group_tag))
		return -1;
	return 0;
}

static void stream_exit(void)
{
	struct iscsi_portal *portal, *next;

	list_for_each_entry_safe(portal, next, &iscsi_portals_list, iscsi_portal_siblings)
		iscsi_delete_portal(portal->addr, portal->port);
	tgt_late_close(&stream.doors);
	tgt_late_close(&stream.guests);
	stream_time_close();
}

struct iscsi_transport iscsi_stream = {
	.name = "iscsi",
	.rdma = 0,
	.data_padding = PAD_WORD_LEN,
	.ep_init = stream_init,
	.ep_exit = stream_exit,
	.ep_stop = stream_stop,
	.ep_login_complete = stream_login_complete,
	.ep_login_resume = stream_login_resume,
	.alloc_task = stream_alloc_task,
	.free_task = stream_free_task,
	.ep_read = stream_read,
	.ep_write_begin = stream_write_begin,
	.ep_write_end = stream_write_end,
	.ep_close = stream_close,
	.ep_force_close = stream_force_close,
	.ep_release = stream_release,
	.ep_show = stream_show,
	.ep_event_modify = stream_event_modify,
	.alloc_data_buf = stream_alloc_data_buf,
	.free_data_buf = stream_free_data_buf,
	.ep_getsockname = stream_getsockname,
	.ep_getpeername = stream_getpeername,
	.ep_nop_reply = stream_nop_reply,
};

__attribute__((constructor)) static void stream_register(void)
{
	iscsi_transport_register(&iscsi_stream);
}
