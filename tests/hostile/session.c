// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sessions that replace each other, and sessions while the back end stands still: pings
 * are answered, and abort, reset, logout and reinstatement end only when what they
 * concern has ended (RFC 7143, 6.3.5, 11.5, 11.14).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/hostile.h"

static bool ends_command(const struct ini *s)
{
	return opcode(s) == OP_SCSI_RSP || (opcode(s) == OP_DATA_IN && s->hdr[1] & 1);
}

/* The same initiator port again and again, the old one never closed. */
static int t_storm(void)
{
	enum { NR_LOGINS = 200 };
	static struct ini s[NR_LOGINS];
	uint8_t data[BLOCK] = {0};

	for (int i = 0; i < NR_LOGINS; i++) {
		if (login(&s[i], 0x800, true))
			return fail("login %d: %.200s", i, why);
		for (int k = 0; k < 4; k++)
			rw10(&s[i], k & 1 ? 0x2a : 0x28, 130, 1, data, k & 1 ? BLOCK : 0);
	}
	for (int left = 4; left;) { /* what its own commands have come to */
		if (next_pdu(&s[NR_LOGINS - 1], ANSWER_MS))
			return fail("with %d answers to come: %.200s", left, why);
		left -= ends_command(&s[NR_LOGINS - 1]);
	}
	if (goes_on(&s[NR_LOGINS - 1]))
		return fail("the last one: %.200s", why);
	for (int i = 0; i < NR_LOGINS; i++)
		ini_close(&s[i]);
	return 0;
}

/* Many logins of one port at the same moment: one of them is the session. */
static int t_race(void)
{
	enum { NR_LOGINS = 60 };
	static struct ini s[NR_LOGINS];
	struct login_req r = login_req(0x801, OPER_TO_FFP);
	static struct text t;
	int in = 0;

	text_init(&t);
	text_names(&t, "Normal");
	for (int i = 0; i < NR_LOGINS; i++)
		if (ini_connect(&s[i], 0) || login_put(&s[i], &r, &t))
			return fail("login %d: %.200s", i, why);
	for (int i = 0; i < NR_LOGINS; i++) {
		int rc = recv_pdu(&s[i], ANSWER_MS);

		while (!rc && opcode(&s[i]) == OP_LOGIN_RSP && !s[i].hdr[36] &&
		       !(s[i].hdr[1] & 0x80))
			rc = login_put(&s[i], &r, NULL) || recv_pdu(&s[i], ANSWER_MS);
		if (!rc)
			s[i].exp_stat_sn = get32(s[i].hdr + 24) + 1;
	}
	for (int i = 0; i < NR_LOGINS; i++) {
		static const uint8_t tur[16];
		uint32_t itt = command(&s[i], tur, 0x80, 0, NULL, 0);

		in += status_of(&s[i], itt, NULL, ANSWER_MS) >= 0;
		ini_close(&s[i]);
	}
	return in == 1 ? 0 : fail("%d sessions of one port are alive", in);
}

/* ---- the back end stands still -------------------------------------------------------- */

static const char *stall_file(void)
{
	return getenv("HOSTILE_STALL");
}
static int stall(void)
{
	int fd = open(stall_file(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0)
		return fail("cannot make %.200s", stall_file());
	close(fd);
	return 0;
}
static void go_on(void)
{
	unlink(stall_file());
}

static int put_nop(struct ini *s, uint32_t itt)
{
	uint8_t h[BHS];

	hdr_init(s, h, OP_NOP_OUT | IMMEDIATE, 0x80);
	put32(h + 16, itt), put32(h + 24, s->cmd_sn);
	return send_pdu(s, h, NULL, 0);
}

/* Our pings are answered, we answer those of the target, and after longer than T_nop the
 * session is still there. */
static int t_pings_while_stalled(void)
{
	uint8_t data[BLOCK] = {7}, buf[BLOCK];
	int64_t end;
	uint32_t itt;
	struct ini s;
	int rc = -1;

	if (login_ready(&s, 0x802, true) || stall())
		return -1;
	itt = rw10(&s, 0x2a, 140, 1, data, BLOCK);
	for (end = now_ms() + 2200; now_ms() < end; usleep(100000)) {
		if (put_nop(&s, 0x5000) || next_pdu(&s, ANSWER_MS))
			goto out;
		if (opcode(&s) != OP_NOP_IN || get32(s.hdr + 16) != 0x5000) {
			fail("opcode %x instead of the ping's answer", opcode(&s));
			goto out;
		}
	}
	rc = quiet(&s, 1800); /* silent ourselves: its pings are answered in here */
out:
	go_on();
	if (!rc)
		rc = expect_good(&s, itt) || read_block(&s, 140, buf) || buf[0] != 7 ? -1 : 0;
	ini_close(&s);
	return rc;
}

/* A write stands still; what ends it must wait for it. what: 0 abort, 1 LUN reset, 2
 * logout, 3 reinstatement, 4 abort of the set. */
static int waits(int what)
{
	static const uint8_t fns[] = {1, 5, 0, 0, 2};
	uint8_t data[BLOCK], buf[BLOCK], h[BHS];
	struct login_req r = login_req(0x803, OPER_TO_FFP);
	static struct text t;
	struct ini s, n, *on = &s;
	uint32_t itt;
	int rc = -1;

	memset(data, 0x66, sizeof(data));
	n.fd = -1, n.data = NULL;
	if (login_ready(&n, 0x804, true) || write_block(&n, 150, 0x55))
		return -1;
	ini_close(&n);
	if (login_ready(&s, 0x803, true) || stall())
		return -1;
	itt = rw10(&s, 0x2a, 150, 1, data, BLOCK);
	/* the write is read before the rest, whatever the connection */
	if (put_nop(&s, 0x5001) || expect_op(&s, OP_NOP_IN, ANSWER_MS))
		goto out;
	if (what == 2) {
		hdr_init(&s, h, OP_LOGOUT | IMMEDIATE, 0x80);
		memset(h + 8, 0, 8), put32(h + 20, 0), put32(h + 24, s.cmd_sn);
		if (send_pdu(&s, h, NULL, 0))
			goto out;
	} else if (what == 3) {
		text_init(&t);
		text_key(&t, "InitiatorName", "iqn.2011-06.org.vmstore:raw");
		text_key(&t, "TargetName", target);
		memset(r.isid, 0, 6), r.isid[0] = 0x80, r.isid[4] = 0x08, r.isid[5] = 0x03;
		on = &n;
		if (ini_connect(&n, 0) || login_put(&n, &r, &t) || recv_pdu(&n, ANSWER_MS))
			goto out;
		/* the target has keys of its own to settle before */
		if (n.hdr[36] || n.hdr[1] & 0x80) {
			fail("the login did not wait");
			goto out;
		}
		if (login_put(&n, &r, NULL))
			goto out;
	} else {
		uint8_t lun[8] = {0, (uint8_t)lun_nr};

		hdr_init(&s, h, OP_TMF | IMMEDIATE, 0x80 | fns[what]);
		memcpy(h + 8, lun, 8);
		put32(h + 16, s.itt++), put32(h + 20, itt), put32(h + 24, s.cmd_sn);
		if (send_pdu(&s, h, NULL, 0))
			goto out;
	}
	rc = quiet(on, 500);
out:
	go_on();
	if (!rc) {
		int want = what == 2 ? OP_LOGOUT_RSP : what == 3 ? OP_LOGIN_RSP : OP_TMF_RSP;

		while (!(rc = next_pdu(on, ANSWER_MS)) && opcode(on) != want)
			;
		if (!rc)
			rc = what == 3 ? (on->hdr[36] ? -1 : 0) : 0;
	}
	/* nothing of it comes later */
	if (!rc) {
		ini_close(&s);
		if (login_ready(&s, 0x805, true) || write_block(&s, 150, 0x77))
			rc = -1;
		usleep(50000);
		if (!rc && (read_block(&s, 150, buf) || buf[0] != 0x77))
			rc = fail("the old write came later");
	}
	ini_close(&s);
	ini_close(&n);
	return rc;
}

static int t_abort_waits(void)
{
	return waits(0);
}
static int t_reset_waits(void)
{
	return waits(1);
}
static int t_logout_waits(void)
{
	return waits(2);
}
static int t_reinstatement_waits(void)
{
	return waits(3);
}
static int t_abort_set_waits(void)
{
	return waits(4);
}

/* A write of one block behind all that came before it. */
static uint32_t put_ordered(struct ini *s, uint32_t lba, const uint8_t *data)
{
	uint32_t itt = s->itt++;
	uint8_t h[BHS];

	hdr_init(s, h, OP_SCSI, 0xa0 | 2);
	put32(h + 16, itt), put32(h + 20, BLOCK), put32(h + 24, s->cmd_sn++);
	h[32] = 0x2a, h[40] = 1;
	put32(h + 34, lba);
	send_pdu(s, h, data, BLOCK);
	return itt;
}

static int expect_aborted(struct ini *s, uint32_t itt, int fn, const char *what)
{
	int st = status_of(s, itt, NULL, ANSWER_MS);

	return st == 0x40 ? 0
	       : st < 0	  ? fail("function %d, %s: %.150s", fn, what, strdupa(why))
			  : fail("function %d: %s ends %02x", fn, what, st);
}

/* Whoever loses commands by another session's request is told, once, of each (TAS is 1):
 * of those that never began at once, of one that had when it has ended; the request waits
 * for it. Who asked hears nothing of his own. Nothing of them has any effect. */
static int aborted_by(int fn)
{
	uint8_t data[BLOCK], buf[BLOCK], h[BHS];
	uint32_t begun, waiting, ordered, ttt;
	struct ini a, b;
	int rc = -1;

	memset(data, 0x66, sizeof(data));
	if (login_ready(&a, 0x806, true) || login_ready(&b, 0x807, true))
		return -1;
	for (uint32_t lba = 152; lba < 156; lba++)
		if (write_block(&a, lba, 0x11))
			return -1;
	if (stall())
		return -1;
	begun = rw10(&a, 0x2a, 152, 1, data, BLOCK);
	waiting = rw10(&a, 0x2a, 153, 1, NULL, 0);
	if (expect_r2t(&a, waiting, &ttt, NULL))
		goto out;
	ordered = put_ordered(&a, 154, data);
	rw10(&b, 0x2a, 155, 1, data, BLOCK);
	if (put_nop(&a, 0x5002) || expect_op(&a, OP_NOP_IN, ANSWER_MS) || put_nop(&b, 0x5002) ||
	    expect_op(&b, OP_NOP_IN, ANSWER_MS))
		goto out;
	hdr_init(&b, h, OP_TMF | IMMEDIATE, 0x80 | fn);
	h[8] = 0x40, h[9] = (uint8_t)lun_nr; /* the same LUN in the other manner */
	put32(h + 16, b.itt++), put32(h + 24, b.cmd_sn);
	if (send_pdu(&b, h, NULL, 0) || expect_aborted(&a, waiting, fn, "one without its data") ||
	    expect_aborted(&a, ordered, fn, "one that has not begun"))
		goto out;
	rc = quiet(&b, 200) || quiet(&a, 200);
out:
	go_on();
	if (rc)
		return -1;
	if (expect_op(&b, OP_TMF_RSP, ANSWER_MS) || b.hdr[2])
		return fail("function %d: answer %u: %.150s", fn, b.hdr[2], strdupa(why));
	if (expect_aborted(&a, begun, fn, "one that has begun") ||
	    data_out(&a, waiting, ttt, 0, 0, data, BLOCK, true))
		return -1;
	for (int k = 0; k < 2; k++) { /* a reset is told both; nothing else comes */
		struct ini *s = k ? &b : &a;
		int st = status_of(s, rw10(s, 0x28, 153, 1, NULL, 0), buf, ANSWER_MS);

		if (st != (fn == 4 ? 0 : 2))
			return st < 0 ? -1 : fail("function %d: the next one ends %02x", fn, st);
		for (uint32_t lba = 152; lba < 156; lba++)
			if (read_block(s, lba, buf) || buf[0] != 0x11 || buf[BLOCK - 1] != 0x11)
				return fail("function %d: block %u was written: %.100s", fn, lba,
					    strdupa(why));
	}
	ini_close(&a);
	ini_close(&b);
	return 0;
}

static int t_aborted_by_another(void)
{
	return aborted_by(4) || aborted_by(5) || aborted_by(6) ? -1 : 0;
}

const struct hostile session_scripts[] = {
	{"reinstatement-storm", t_storm, HOSTILE_HEAVY},
	{"reinstatement-race", t_race, 0},
	{"pings-while-stalled", t_pings_while_stalled, 0},
	{"abort-waits", t_abort_waits, 0},
	{"abort-set-waits", t_abort_set_waits, 0},
	{"reset-waits", t_reset_waits, HOSTILE_RESETS},
	{"aborted-by-another", t_aborted_by_another, HOSTILE_RESETS},
	{"logout-waits", t_logout_waits, 0},
	{"reinstatement-waits", t_reinstatement_waits, 0},
	{NULL, NULL, 0},
};
