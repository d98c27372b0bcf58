// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target of the iSCSI layer: the transport (iscsi_stream*.c) and tgt's own objects - PDUs,
 * login and text, CHAP, task management, and the stock SCSI layer on a null store - fed through a
 * real socket.
 *
 * Input: u8 flags: bit 0 a good login first; bit 1 the target with CHAP; bit 2 answers are
 * not read; bit 3 the input comes in pieces; then what the initiator sends.
 * After each input the connection must be gone, whatever it was.
 *
 * tgtd.c gives way to tests/unit/tgtd_stub.h: one turn of the loop is run by hand.
 */
#include "target/iscsi_stream_int.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <driver.h> /* tgt's, not ours */
#include "scsi.h"
#include "tgtadm.h"
#include "tgtadm_error.h"

#define FUZZ_MUTATIONS 5000u /* each has a connection of its own */
#include "tests/fuzz/driver.h"
#include "utils/lib/assert.h"

#include "tests/unit/tgtd_stub.h"

int tgt_event_add(int fd, int events, event_handler_t handler, void *data)
{
	return 0;
}
int tgt_event_add_first(int fd, int events, event_handler_t handler, void *data)
{
	return 0;
}
void tgt_event_del(int fd)
{
}
int tgt_event_modify(int fd, int events)
{
	return 0;
}

/* ---- the target ---------------------------------------------------------------------- */

#define NAME	  "iqn.2011-06.org.vmstore:fuzz"
#define CHAP_NAME "iqn.2011-06.org.vmstore:fuzz-chap"

static int listener = -1;
static struct sockaddr_in where = {.sin_family = AF_INET};

static void setup(void)
{
	socklen_t len = sizeof(where);

	if (listener >= 0)
		return;
	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	vms_assert(listener >= 0 && !bind(listener, (struct sockaddr *)&where, len) &&
		   !listen(listener, 8) && !getsockname(listener, (struct sockaddr *)&where, &len));
	stream.peers = vms_peers_open(CONNS_PER_ADDRESS);
	vms_assert(!tgt_late_open(&stream.guests));
	INIT_LIST_HEAD(&tgt_drivers[get_driver_index("iscsi")]->target_list);
	tgt_drivers[get_driver_index("iscsi")]->drv_state = DRIVER_INIT;
	target_make(1, NAME);
	target_make(2, CHAP_NAME);
	vms_assert(!account_add((char *)"someone", (char *)"a-long-secret-1"));
	vms_assert(!account_ctl(2, ACCOUNT_TYPE_INCOMING, (char *)"someone", 1));
}

static void turn(struct iscsi_connection *conn, int fd, bool drain)
{
	static uint8_t sink[1 << 16];

	tgt_turn_now_ms++;
	if (conn && stream.nr)
		stream_event(SC(conn)->fd, EPOLLIN, conn);
	stub_scheduled();
	while (stream_flush())
		;
	while (drain && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static void feed(struct iscsi_connection *conn, int fd, const uint8_t *p, size_t n, bool drain)
{
	while (n) {
		size_t step = n < 32768 ? n : 32768;
		ssize_t sent = send(fd, p, step, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		p += sent, n -= (size_t)sent;
		for (int i = 0; i < 6 && stream.nr; i++)
			turn(conn, fd, drain);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t login[1024];
	struct linger now = {.l_onoff = 1};
	int one = 1;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct iscsi_connection *conn;
	uint8_t flags = size ? data[0] : 0;
	bool drain = !(flags & 4);
	int fd, afd;

	setup();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	vms_assert(fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&where, sizeof(where))) {
		close(fd);
		return 0;
	}
	afd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	vms_assert(afd >= 0);
	stream_accept_one(afd, &from, len);
	vms_assert(stream.nr == 1);
	conn = &list_entry(stream.all.prev, struct stream_conn, all)->iscsi_conn;
	if (SC(conn)->hold_ms) { /* failed logins make the next wait */
		tgt_turn_now_ms = SC(conn)->hold_ms;
		stream_unhold(SC(conn));
	}
	if (flags & 1) {
		size_t n = good_login(login, NAME);

		feed(conn, fd, login, n, true);
		for (int i = 0; i < 3 && stream.nr && conn->state != STATE_SCSI; i++) {
			memset(login + 4, 0, 4); /* no more text */
			feed(conn, fd, login, 48, true);
		}
	}
	for (size_t at = 1; at < size && stream.nr;) {
		size_t step = flags & 8 ? 1U + (data[at] & 63) : size - at;

		if (step > size - at)
			step = size - at;
		feed(conn, fd, data + at, step, drain);
		at += step;
	}
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	for (int i = 0; i < 100 && stream.nr; i++)
		turn(conn, -1, false);
	vms_assert(!stream.nr && list_empty(&stream.all));
	tgt_turn_now_ms += 70000; /* failed logins are forgotten */
	return 0;
}

/* ---- seeds --------------------------------------------------------------------------- */

static uint8_t *pdu(uint8_t *p, int op, int flags, uint32_t itt, uint32_t w20, uint32_t sn,
		    const void *text, size_t len)
{
	memset(p, 0, 48);
	p[0] = (uint8_t)op, p[1] = (uint8_t)flags, p[9] = 1;
	p[19] = (uint8_t)itt;
	p[20] = (uint8_t)(w20 >> 24), p[21] = (uint8_t)(w20 >> 16), p[22] = (uint8_t)(w20 >> 8);
	p[23] = (uint8_t)w20;
	p[27] = (uint8_t)sn;
	p[6] = (uint8_t)(len >> 8), p[7] = (uint8_t)len;
	memset(p + 48, 0, (len + 3) & ~(size_t)3);
	if (len)
		memcpy(p + 48, text, len);
	return p + 48 + ((len + 3) & ~(size_t)3);
}

static size_t fuzz_seed(unsigned i, uint8_t *out)
{
	static const char chap[] = "InitiatorName=iqn.fuzz\0TargetName=" CHAP_NAME
				   "\0AuthMethod=CHAP,None";
	static const char alg[] = "CHAP_A=8,7,6,5";
	static const char resp[] = "CHAP_N=someone\0CHAP_R=0x00112233445566778899aabbccddeeff\0"
				   "CHAP_I=7\0CHAP_C=0b00112233445566778899";
	static const char disc[] = "InitiatorName=iqn.fuzz\0SessionType=Discovery\0AuthMethod=None";
	static const char keys[] =
		"InitiatorName=iqn.fuzz\0TargetName=" NAME
		"\0HeaderDigest=CRC32C,None\0DataDigest=None\0MaxBurstLength="
		"65536\0ErrorRecoveryLevel=2\0"
		"DefaultTime2Wait=5\0MaxConnections=4\0X-org.x=1\0IFMarker=Yes\0OFMarkInt=1~2";
	static const char all[] = "SendTargets=All";
	static uint8_t data[4096];
	uint8_t *p = out + 1;

	out[0] = 1;
	switch (i) {
	case 0: /* reads and writes with and without immediate data */
		for (uint32_t k = 0; k < 6; k++) {
			uint8_t *h = p;

			p = pdu(p, 0x01, k & 1 ? 0xa1 : 0xc1, 10 + k, 1024, 1 + k, data,
				k & 1 ? 512 : 0);
			h[32] = k & 1 ? 0x2a : 0x28, h[40] = 2;
		}
		p = pdu(p, 0x05, 0x80, 11, 0xffffffff, 0, data, 512);
		break;
	case 1: /* announced data, then a second write, then aborts */
		for (uint32_t k = 0; k < 3; k++) {
			uint8_t *h = p;

			p = pdu(p, 0x01, 0x21, 10 + k, 4096, 1 + k, NULL, 0);
			h[32] = 0x2a, h[40] = 8;
		}
		p = pdu(p, 0x05, 0x00, 10, 0xffffffff, 0, data, 2048);
		p = pdu(p, 0x42, 0x81, 20, 11, 4, NULL, 0);
		p = pdu(p, 0x42, 0x85, 21, 0, 4, NULL, 0);
		p = pdu(p, 0x05, 0x80, 12, 0xffffffff, 0, data, 4096);
		break;
	case 2: /* pings, text, SNACK, logout */
		p = pdu(p, 0x40, 0x80, 10, 0xffffffff, 1, data, 100);
		p = pdu(p, 0x44, 0x80, 11, 0xffffffff, 1, all, sizeof(all));
		p = pdu(p, 0x10, 0x80, 12, 0xffffffff, 1, NULL, 0);
		p = pdu(p, 0x00, 0x80, 13, 0xffffffff, 1, NULL, 0);
		p = pdu(p, 0x46, 0x80, 14, 0, 2, NULL, 0);
		break;
	case 3: { /* an additional header, bidirectional */
		uint8_t *h = p;

		p = pdu(p, 0x01, 0xe1, 10, 512, 1, NULL, 0);
		h[4] = 7, h[32] = 0x7f;
		memset(p, 0, 28);
		p[1] = 17, p[2] = 1, p[21] = 5, p[22] = 2, p[26] = 2;
		p += 28;
		break;
	}
	case 4: /* numbers out of order, tags twice */
		for (uint32_t k = 0; k < 8; k++)
			p = pdu(p, k & 1 ? 0x41 : 0x01, 0x80, 10 + k / 2, 0, 8 - k, NULL, 0);
		break;
	case 5: /* CHAP */
		out[0] = 0;
		p = pdu(p, 0x43, 0x00, 1, 0, 1, chap, sizeof(chap));
		p = pdu(p, 0x43, 0x00, 1, 0, 1, alg, sizeof(alg));
		p = pdu(p, 0x43, 0x83, 1, 0, 1, resp, sizeof(resp));
		break;
	case 6: /* discovery */
		out[0] = 0;
		p = pdu(p, 0x43, 0x83, 1, 0, 1, disc, sizeof(disc));
		p = pdu(p, 0x43, 0x87, 1, 0, 1, NULL, 0);
		p = pdu(p, 0x44, 0x80, 2, 0xffffffff, 1, all, sizeof(all));
		p = pdu(p, 0x46, 0x80, 3, 0, 1, NULL, 0);
		break;
	case 7: /* a login with many keys, in pieces */
		out[0] = 8;
		p = pdu(p, 0x43, 0x44, 1, 0, 1, keys, 60);
		p = pdu(p, 0x43, 0x87, 1, 0, 1, keys + 60, sizeof(keys) - 60);
		p = pdu(p, 0x43, 0x87, 1, 0, 1, NULL, 0);
		p = pdu(p, 0x01, 0x80, 10, 0, 1, NULL, 0);
		break;
	case 8: /* ordered commands, and answers that are not read */
		out[0] = 5;
		for (uint32_t k = 0; k < 40; k++) {
			uint8_t *h = p;

			p = pdu(p, 0x01, 0xc0 | (k % 4), 10 + k, 65536, 1 + k, NULL, 0);
			h[32] = 0x28, h[40] = 128;
		}
		break;
	default:
		return 0;
	}
	for (uint8_t *h = out + 1; h < p && (h[0] & 0x3f) == 3;) /* ISIDs of logins */
		h[9] = 0, h[8] = 0x80, h[13] = 2, h = p;
	return (size_t)(p - out);
}
