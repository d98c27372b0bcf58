// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a gateway that is being emptied, or that sends logins elsewhere, tells a raw
 * initiator; for tests/it/gateways.sh.
 *
 *   iscsi_gate HOST PORT TARGET login ISID         log in and out: "here", "to HOST:PORT", or
 *                                                  the status, such as "0301"
 *   iscsi_gate HOST PORT TARGET storm N SECONDS    N logins of N initiators, each sent on at
 *                                                  most once; held so long; prints for each
 *                                                  portal how many sessions came to it
 *   iscsi_gate HOST PORT TARGET obey ISID          stay until asked to log out, do so: prints
 *                                                  the time given
 *   iscsi_gate HOST PORT TARGET ignore ISID        stay until asked to log out, do not: prints
 *                                                  the time given, whether event 2 came, and
 *                                                  after how many ms the connection ended
 *   iscsi_gate HOST PORT TARGET discover           TargetAddress of TARGET, one a line
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "iscsi_ini.h"

#define ASYNC	  0x32
#define LOGIN_RSP 0x23
#define STORM_MAX 256

static char moved[128]; /* TargetAddress of the last login answer */
static char home_host[64], home_port[16];

static const char *key(const struct ini *s, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = (const char *)s->data, *end = p + s->len; p < end; p += strlen(p) + 1)
		if (!strncmp(p, name, n) && p[n] == '=')
			return p + n + 1;
	return NULL;
}

/* One login as initiator `name`: status class and detail, -1 with why. */
static int try_login(struct ini *s, const char *name, uint16_t isid)
{
	char text[512];
	uint8_t h[BHS];
	int n;

	moved[0] = 0;
	if (ini_connect(s, isid))
		return -1;
	n = snprintf(text, sizeof(text),
		     "InitiatorName=%s%cTargetName=%s%cSessionType=Normal%c"
		     "InitialR2T=Yes%cImmediateData=No%c",
		     name, 0, target, 0, 0, 0, 0);
	for (;;) {
		hdr_init(s, h, 0x43, OPER_TO_FFP);
		memset(h + 8, 0, 8);
		h[8] = 0x80;
		h[12] = (uint8_t)(isid >> 8);
		h[13] = (uint8_t)isid;
		put32(h + 20, 0);
		put32(h + 24, s->cmd_sn);
		if (send_pdu(s, h, text, (uint32_t)n) || recv_pdu(s, ANSWER_MS))
			return -1;
		if ((s->hdr[0] & 0x3f) != LOGIN_RSP)
			return fail("opcode %x instead of a login answer", s->hdr[0]);
		if (s->hdr[36]) {
			const char *a = key(s, "TargetAddress");

			snprintf(moved, sizeof(moved), "%s", a ? a : "");
			return s->hdr[36] << 8 | s->hdr[37];
		}
		if (s->hdr[1] & 0x80)
			return 0;
		n = 0;
	}
}

static int do_logout(struct ini *s)
{
	uint8_t h[BHS];

	hdr_init(s, h, 0x46, 0x80);
	put32(h + 16, s->itt++);
	put32(h + 24, s->cmd_sn);
	if (send_pdu(s, h, NULL, 0) || next_pdu(s, ANSWER_MS))
		return -1;
	return (s->hdr[0] & 0x3f) == 0x26 && !s->hdr[2] ? 0 : fail("no answer to the logout");
}

static int one_login(uint16_t isid)
{
	struct ini s = {0};
	int rc = try_login(&s, "iqn.2011-06.org.vmstore:gate", isid);

	if (rc < 0)
		return -1;
	if (!rc)
		puts("here");
	else if (rc == 0x101)
		printf("to %s\n", moved);
	else
		printf("%04x\n", rc);
	rc = rc ? 0 : do_logout(&s);
	ini_close(&s);
	return rc;
}

/* The address without the group behind it. */
static void go_to(const char *address)
{
	const char *colon = strrchr(address, ':');

	snprintf(home_host, sizeof(home_host), "%.*s", (int)(colon - address), address);
	snprintf(home_port, sizeof(home_port), "%s", colon + 1);
	home_port[strcspn(home_port, ",")] = 0;
	host = home_host;
	port = home_port;
}

static int storm(unsigned n, unsigned seconds)
{
	static struct ini s[STORM_MAX];
	static char where[STORM_MAX][128];
	const char *first_host = host, *first_port = port;

	if (n > STORM_MAX)
		return fail("at most %d", STORM_MAX);
	for (unsigned i = 0; i < n; i++) {
		char name[64];
		int rc;

		snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:storm-%u", i);
		host = first_host;
		port = first_port;
		snprintf(where[i], sizeof(where[i]), "%s:%s", host, port);
		rc = try_login(&s[i], name, 1);
		if (rc == 0x101) {
			ini_close(&s[i]);
			memset(&s[i], 0, sizeof(s[i]));
			snprintf(where[i], sizeof(where[i]), "%s", moved);
			go_to(where[i]);
			rc = try_login(&s[i], name, 1);
		}
		if (rc < 0)
			return -1;
		if (rc)
			return fail("login %u at %s: %04x %s", i, where[i], rc, moved);
	}
	for (unsigned i = 0; i < n; i++) {
		unsigned count = 0;
		bool before = false;

		for (unsigned k = 0; k < n; k++) {
			count += !strcmp(where[k], where[i]);
			before |= k < i && !strcmp(where[k], where[i]);
		}
		if (!before)
			printf("%s %u\n", where[i], count);
	}
	fflush(stdout);
	/* pings are answered, so that the sessions live */
	for (int64_t end = now_ms() + seconds * 1000; now_ms() < end; usleep(50000))
		for (unsigned i = 0; i < n; i++)
			(void)next_pdu(&s[i], 1);
	return 0;
}

static int until_asked(uint16_t isid, bool obey)
{
	struct ini s = {0};
	int rc = try_login(&s, "iqn.2011-06.org.vmstore:gate", isid);
	unsigned seconds;
	bool told = false;
	int64_t t0;

	if (rc)
		return rc < 0 ? -1 : fail("login: %04x", rc);
	puts("in");
	fflush(stdout);
	do
		if (next_pdu(&s, 20000))
			return -1;
	while ((s.hdr[0] & 0x3f) != ASYNC);
	t0 = now_ms();
	if (s.hdr[36] != 1 || get32(s.hdr + 16) != RESERVED || s.hdr[38] || s.hdr[39] ||
	    s.hdr[40] || s.hdr[41])
		return fail("asynchronous message: event %u", s.hdr[36]);
	seconds = (unsigned)(s.hdr[42] << 8 | s.hdr[43]);
	printf("%u%s", seconds, obey ? "\n" : "");
	fflush(stdout);
	if (obey)
		return do_logout(&s);
	while (!next_pdu(&s, 20000))
		told |= (s.hdr[0] & 0x3f) == ASYNC && s.hdr[36] == 2;
	printf(" %s %lld\n", told ? "told" : "untold", (long long)(now_ms() - t0));
	return 0;
}

static int discover(void)
{
	struct ini s = {0};
	char text[256];
	uint8_t h[BHS];
	bool ours = false;
	int n;

	if (ini_connect(&s, 9))
		return -1;
	n = snprintf(text, sizeof(text),
		     "InitiatorName=iqn.2011-06.org.vmstore:gate%cSessionType=Discovery%c", 0, 0);
	hdr_init(&s, h, 0x43, OPER_TO_FFP);
	h[8] = 0x80;
	put32(h + 20, 0);
	put32(h + 24, s.cmd_sn);
	if (send_pdu(&s, h, text, (uint32_t)n) || recv_pdu(&s, ANSWER_MS))
		return -1;
	if ((s.hdr[0] & 0x3f) != LOGIN_RSP || s.hdr[36])
		return fail("discovery login: %02x%02x", s.hdr[36], s.hdr[37]);
	n = snprintf(text, sizeof(text), "SendTargets=All%c", 0);
	hdr_init(&s, h, 0x44, 0x80);
	put32(h + 16, 7);
	put32(h + 20, RESERVED);
	put32(h + 24, s.cmd_sn);
	if (send_pdu(&s, h, text, (uint32_t)n) || next_pdu(&s, ANSWER_MS))
		return -1;
	if ((s.hdr[0] & 0x3f) != 0x24)
		return fail("opcode %x instead of a text answer", s.hdr[0]);
	for (const char *p = (const char *)s.data, *end = p + s.len; p < end; p += strlen(p) + 1) {
		if (!strncmp(p, "TargetName=", 11))
			ours = !strcmp(p + 11, target);
		else if (ours && !strncmp(p, "TargetAddress=", 14))
			puts(p + 14);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 4 ? argv[4] : "";
	unsigned a = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
	int rc;

	if (argc < 5) {
		fprintf(stderr, "usage: iscsi_gate HOST PORT TARGET "
				"login|storm|obey|ignore|discover ...\n");
		return 2;
	}
	host = argv[1];
	port = argv[2];
	target = argv[3];
	if (!strcmp(what, "login"))
		rc = one_login((uint16_t)a);
	else if (!strcmp(what, "storm"))
		rc = storm(a, argc > 6 ? (unsigned)atoi(argv[6]) : 1);
	else if (!strcmp(what, "discover"))
		rc = discover();
	else
		rc = until_asked((uint16_t)a, !strcmp(what, "obey"));
	if (rc)
		fprintf(stderr, "iscsi_gate %s: %s\n", what, why);
	return rc ? 1 : 0;
}
