// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hosts that reserve: sessions with names and ISIDs of their own, and what each of them
 * sends, one after the other, as the lines of standard input say.
 *
 *   open S URL HOST       session S of host HOST; unit attentions of a new session are
 *                         taken. The ISID is HOST's, the same through each gateway.
 *   close S
 *   S register KEY NEW [all] [HOST…]   REGISTER; all: ALL_TG_PT; HOSTs: SPEC_I_PT
 *   S ignore NEW          REGISTER AND IGNORE EXISTING KEY
 *   S reserve KEY TYPE, S release KEY TYPE, S clear KEY
 *   S preempt KEY TYPE VICTIM, S abort KEY TYPE VICTIM
 *   S move KEY NEW HOST PORT [unreg]   REGISTER AND MOVE
 *   S reserve6, S release6, S tur, S read, S write, S unmap, S caw, S writesame
 *   S keys K…             READ KEYS gives these, in any order
 *   S holder KEY TYPE     READ RESERVATION; KEY -: none
 *   S fill BYTE, S shows BYTE   4 KiB in each of SPREAD extents, written one after the
 *                         other, read
 *   S begin BYTE          these writes are sent, all at once, and not waited for; the gateway
 *                         has them when it returns
 *   S ended               now they are: `aborted` when all have ended GOOD, BUSY, CONFLICT, TASK
 *                         ABORTED or as unknown (ABORTED COMMAND, 2Eh/02h), and at least one
 *                         TASK ABORTED
 *   S agrees W OLD NEW    each extent reads as W's writes have ended: NEW where GOOD, OLD where
 *                         not, one of them where unknown
 *   S full N              READ FULL STATUS: N descriptors, as long as they say
 *   S caps                REPORT CAPABILITIES: all of it
 *   wait MS
 *   run COMMAND           by the shell; must succeed
 *
 * A command must end GOOD, or as said behind " = ": conflict, busy, ua:ASC, sense:KEY/ASC;
 * "soon:" before it: within 30 s, repeated until then (GOOD: "soon:good"), with a new
 * session if the old one is lost. BUSY is repeated, as initiators do: it says that nothing
 * has happened. Numbers are hexadecimal. Exit status 1 and the line at the first one that does not.
 */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS_MAX 16
#define WORDS_MAX    24
#define SOON_MS	     30000
#define SPREAD	     64u /* extents */
#define UNKNOWN	     "sense:b/2e02"
#define APART	     8192u /* blocks of one */

/* A write that was sent. */
struct begun {
	struct scsi_task *t;
	bool done;
	char how[64];
};
struct session {
	char id[16], host[32], url[256];
	struct iscsi_context *c;
	int lun;
	bool lost;
	struct begun begun[SPREAD];
	uint8_t data[4096]; /* theirs */
};
static struct session all[SESSIONS_MAX];
static unsigned line_no;
static char line_text[512];
static uint8_t answer[65536];
static unsigned answer_bytes;

static void die(const char *what, const char *got)
{
	fprintf(stderr, "line %u: %s: %s%s%s\n", line_no, line_text, what, got ? ": " : "",
		got ? got : "");
	exit(1);
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = bytes; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static uint64_t number(const char *w)
{
	char *end;
	uint64_t v = strtoull(w, &end, 16);

	if (*end || !*w)
		die("not a number", w);
	return v;
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Every session answers the gateway's pings meanwhile. */
static void pump(int ms)
{
	struct pollfd p[SESSIONS_MAX];
	struct session *of[SESSIONS_MAX];
	unsigned n = 0;

	for (struct session *s = all; s < all + SESSIONS_MAX; s++) {
		if (!s->c || s->lost)
			continue;
		of[n] = s;
		p[n++] = (struct pollfd){.fd = iscsi_get_fd(s->c),
					 .events = (short)iscsi_which_events(s->c)};
	}
	if (poll(p, n, ms) <= 0)
		return;
	for (unsigned i = 0; i < n; i++)
		if (p[i].revents && iscsi_service(of[i]->c, p[i].revents))
			of[i]->lost = true;
}

static void pause_ms(long ms)
{
	for (long end = now_ms() + ms, left; (left = end - now_ms()) > 0;)
		pump(left < 50 ? (int)left : 50);
}

/* ---- sessions ---- */

static unsigned host_number(const char *host)
{
	unsigned n = 0;

	for (const char *c = host; *c; c++)
		n = n * 31 + (unsigned char)*c;
	return n & 0xffff;
}

static struct session *find(const char *id)
{
	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		if (all[i].c && !strcmp(all[i].id, id))
			return &all[i];
	return NULL;
}

static const char *send_cdb(struct session *s, const uint8_t *cdb, unsigned cdb_bytes, int dir,
			    void *data, unsigned bytes);

static void begin(struct session *s, const struct iscsi_url *url)
{
	char name[64];

	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:host-%s", s->host);
	s->c = iscsi_create_context(name);
	if (!s->c)
		die("out of memory", NULL);
	iscsi_set_isid_en(s->c, 0x123456, host_number(s->host));
	iscsi_set_session_type(s->c, ISCSI_SESSION_NORMAL);
	iscsi_set_targetname(s->c, url->target);
	iscsi_set_noautoreconnect(s->c, 1);
	iscsi_set_timeout(s->c, 30);
	s->lost = true; /* until it is logged in */
}

/* Logs in, for a while again and again. */
static void log_in(struct session *s)
{
	struct iscsi_context *any = iscsi_create_context("iqn.2011-06.org.vmstore:any");
	struct iscsi_url *url = iscsi_parse_full_url(any, s->url);

	if (!url)
		die("not an iscsi:// URL", s->url);
	s->lun = url->lun;
	begin(s, url);
	for (long end = now_ms() + SOON_MS;
	     iscsi_connect_sync(s->c, url->portal) || iscsi_login_sync(s->c);) {
		if (now_ms() > end)
			die("no session", iscsi_get_error(s->c));
		pause_ms(200);
		iscsi_destroy_context(s->c);
		begin(s, url);
	}
	s->lost = false;
	iscsi_destroy_url(url);
	iscsi_destroy_context(any);
	for (unsigned i = 0; i < 5; i++)
		if (strncmp(send_cdb(s, (uint8_t[6]){0}, 6, SCSI_XFER_NONE, NULL, 0), "ua:", 3))
			break;
}

static void open_session(char **w, unsigned n)
{
	struct session *s = all;

	if (n != 4)
		die("open S URL HOST", NULL);
	while (s < all + SESSIONS_MAX && s->c)
		s++;
	if (s == all + SESSIONS_MAX || find(w[1]))
		die("no such session can be opened", w[1]);
	snprintf(s->id, sizeof(s->id), "%s", w[1]);
	snprintf(s->url, sizeof(s->url), "%s", w[2]);
	snprintf(s->host, sizeof(s->host), "%s", w[3]);
	log_in(s);
}

static void close_session(struct session *s)
{
	if (!s->lost)
		iscsi_logout_sync(s->c);
	iscsi_destroy_context(s->c);
	s->c = NULL;
}

/* ---- commands ---- */

static void ended(struct iscsi_context *c, int status, void *data, void *arg)
{
	(void)c;
	(void)status;
	(void)data;
	*(bool *)arg = true;
}

/* How it has ended, in words. */
static const char *outcome(const struct scsi_task *t)
{
	static char text[64];

	if (t->status == SCSI_STATUS_GOOD)
		snprintf(text, sizeof(text), "good");
	else if (t->status == SCSI_STATUS_RESERVATION_CONFLICT)
		snprintf(text, sizeof(text), "conflict");
	else if (t->status == SCSI_STATUS_BUSY)
		snprintf(text, sizeof(text), "busy");
	else if (t->status == SCSI_STATUS_TASK_ABORTED)
		snprintf(text, sizeof(text), "aborted");
	else if (t->status == SCSI_STATUS_CHECK_CONDITION &&
		 t->sense.key == SCSI_SENSE_UNIT_ATTENTION)
		snprintf(text, sizeof(text), "ua:%04x", (unsigned)t->sense.ascq);
	else if (t->status == SCSI_STATUS_CHECK_CONDITION)
		snprintf(text, sizeof(text), "sense:%x/%04x", (unsigned)t->sense.key,
			 (unsigned)t->sense.ascq);
	else
		snprintf(text, sizeof(text), "status:%x", (unsigned)t->status);
	return text;
}

static const char *send_cdb(struct session *s, const uint8_t *cdb, unsigned cdb_bytes, int dir,
			    void *data, unsigned bytes)
{
	const char *text;
	struct scsi_task *t = scsi_create_task((int)cdb_bytes, (unsigned char *)cdb, dir,
					       (int)bytes);
	struct iscsi_data out = {.size = bytes, .data = data};
	bool done = false;

	if (!t)
		die("out of memory", NULL);
	if (s->lost || iscsi_scsi_command_async(s->c, s->lun, t, ended,
						dir == SCSI_XFER_WRITE ? &out : NULL, &done))
		return "lost";
	while (!done && !s->lost)
		pump(1000);
	if (!done)
		return "lost";
	answer_bytes = t->datain.size > 0 ? (unsigned)t->datain.size : 0;
	if (answer_bytes > sizeof(answer))
		answer_bytes = sizeof(answer);
	memcpy(answer, t->datain.data ? t->datain.data : answer, answer_bytes);
	text = outcome(t);
	scsi_free_scsi_task(t);
	return text;
}

static unsigned transport_id(uint8_t *p, const char *host)
{
	/* as iscsi_set_isid_en() makes it */
	unsigned q = host_number(host), n;

	n = (unsigned)sprintf((char *)p + 4, "iqn.2011-06.org.vmstore:host-%s,i,0x40123456%04x",
			      host, q) +
	    1;
	n = (n + 3) & ~3u;
	p[0] = 0x45;
	put(p + 2, n, 2);
	return n + 4;
}

static const char *pr_out(struct session *s, unsigned sa, uint64_t type, uint64_t key,
			  uint64_t sa_key, uint8_t *list, unsigned bytes)
{
	uint8_t cdb[10] = {0x5f, (uint8_t)sa, (uint8_t)type};

	put(list, key, 8);
	put(list + 8, sa_key, 8);
	put(cdb + 5, bytes, 4);
	return send_cdb(s, cdb, 10, SCSI_XFER_WRITE, list, bytes);
}

static const char *pr_in(struct session *s, unsigned sa)
{
	uint8_t cdb[10] = {0x5e, (uint8_t)sa};

	put(cdb + 7, 32768, 2);
	return send_cdb(s, cdb, 10, SCSI_XFER_READ, NULL, 32768);
}

static const char *keys(struct session *s, char **w, unsigned n)
{
	static char text[512];
	const char *how = pr_in(s, 0);
	unsigned at = 0, have;
	bool used[64] = {false};

	if (strcmp(how, "good"))
		return how;
	have = (unsigned)get(answer + 4, 4) / 8;
	for (unsigned i = 0; i < have && i < 20; i++)
		at += (unsigned)snprintf(text + at, sizeof(text) - at, " %llx",
					 (unsigned long long)get(answer + 8 + 8 * i, 8));
	if (have != n)
		return at ? text : "none";
	for (unsigned k = 0; k < n; k++) {
		unsigned i = 0;

		while (i < have && (used[i] || get(answer + 8 + 8 * i, 8) != number(w[k])))
			i++;
		if (i == have)
			return text;
		used[i] = true;
	}
	return "good";
}

static const char *holder(struct session *s, const char *key, const char *type)
{
	static char text[64];
	const char *how = pr_in(s, 1);

	if (strcmp(how, "good"))
		return how;
	if (get(answer + 4, 4) == 0)
		return strcmp(key, "-") ? "none" : "good";
	snprintf(text, sizeof(text), "%llx %x", (unsigned long long)get(answer + 8, 8),
		 answer[21] & 15u);
	return strcmp(key, "-") && get(answer + 8, 8) == number(key) &&
			       (answer[21] & 15u) == number(type)
		       ? "good"
		       : text;
}

static const char *full(struct session *s, unsigned want)
{
	const char *how = pr_in(s, 3);
	unsigned at = 8, end, n = 0;
	static char text[32];

	if (strcmp(how, "good"))
		return how;
	end = 8 + (unsigned)get(answer + 4, 4);
	while (at + 24 <= end && end <= answer_bytes) {
		unsigned id = (unsigned)get(answer + at + 20, 4);
		const char *name = (const char *)answer + at + 28;

		if (answer[at + 24] != 0x45 || id % 4 || at + 24 + id > end ||
		    get(answer + at + 26, 2) + 4 != id ||
		    strncmp(name, "iqn.2011-06.org.vmstore:host-", 29) ||
		    !strstr(name, ",i,0x40123456"))
			return "a TransportID is wrong";
		at += 24 + id;
		n++;
	}
	snprintf(text, sizeof(text), "%u descriptors", n);
	return at == end && n == want ? "good" : text;
}

static const char *medium(struct session *s, const char *what)
{
	static uint8_t data[8192];
	uint8_t list[24] = {0};

	if (!strcmp(what, "tur"))
		return send_cdb(s, (uint8_t[6]){0}, 6, SCSI_XFER_NONE, NULL, 0);
	if (!strcmp(what, "reserve6"))
		return send_cdb(s, (uint8_t[6]){0x16}, 6, SCSI_XFER_NONE, NULL, 0);
	if (!strcmp(what, "release6"))
		return send_cdb(s, (uint8_t[6]){0x17}, 6, SCSI_XFER_NONE, NULL, 0);
	if (!strcmp(what, "read"))
		return send_cdb(s, (uint8_t[10]){0x28, 0, 0, 0, 0, 0, 0, 0, 8}, 10, SCSI_XFER_READ,
				NULL, 4096);
	if (!strcmp(what, "write"))
		return send_cdb(s, (uint8_t[10]){0x2a, 0, 0, 0, 0, 0, 0, 0, 8}, 10, SCSI_XFER_WRITE,
				data, 4096);
	if (!strcmp(what, "writesame"))
		return send_cdb(s, (uint8_t[10]){0x41, 0, 0, 0, 0, 0, 0, 0, 8}, 10, SCSI_XFER_WRITE,
				data, 512);
	if (!strcmp(what, "caw"))
		return send_cdb(s, (uint8_t[16]){0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16,
				SCSI_XFER_WRITE, data, 1024);
	if (!strcmp(what, "unmap")) {
		put(list, 22, 2);
		put(list + 2, 16, 2);
		put(list + 16, 8, 4);
		return send_cdb(s, (uint8_t[10]){0x42, 0, 0, 0, 0, 0, 0, 0, 24}, 10,
				SCSI_XFER_WRITE, list, 24);
	}
	die("no such command", what);
	return NULL;
}

/* ---- writes that are not waited for ---- */

static void cdb_at(uint8_t cdb[10], uint8_t op, unsigned extent)
{
	memset(cdb, 0, 10);
	cdb[0] = op;
	put(cdb + 2, (uint64_t)extent * APART, 4);
	cdb[8] = 8;
}

static const char *begin_writes(struct session *s, uint8_t byte)
{
	memset(s->data, byte, sizeof(s->data));
	for (unsigned i = 0; i < SPREAD; i++) {
		struct iscsi_data out = {.size = sizeof(s->data), .data = s->data};
		struct begun *b = &s->begun[i];
		uint8_t cdb[10];

		cdb_at(cdb, 0x2a, i);
		*b = (struct begun){
			.t = scsi_create_task(10, cdb, SCSI_XFER_WRITE, sizeof(s->data))};
		if (!b->t || iscsi_scsi_command_async(s->c, s->lun, b->t, ended, &out, &b->done))
			return "lost";
	}
	/* commands are taken in their order: when this one is answered all have been */
	return send_cdb(s, (uint8_t[6]){0}, 6, SCSI_XFER_NONE, NULL, 0);
}

static const char *writes_ended(struct session *s)
{
	long end = now_ms() + SOON_MS;
	static char text[64];
	unsigned good = 0, aborted = 0;

	for (unsigned i = 0; i < SPREAD; i++) {
		struct begun *b = &s->begun[i];

		while (!b->done && !s->lost && now_ms() < end)
			pump(100);
		if (!b->done)
			return s->lost ? "lost" : "never";
		snprintf(b->how, sizeof(b->how), "%s", outcome(b->t));
		scsi_free_scsi_task(b->t);
		b->t = NULL;
		good += !strcmp(b->how, "good");
		aborted += !strcmp(b->how, "aborted");
		if (strcmp(b->how, "good") && strcmp(b->how, "aborted") && strcmp(b->how, "busy") &&
		    strcmp(b->how, "conflict") && strcmp(b->how, UNKNOWN))
			return b->how;
	}
	snprintf(text, sizeof(text), "%u good, %u otherwise", good, SPREAD - good - aborted);
	return aborted ? "aborted" : text;
}

static const char *fill(struct session *s, uint8_t byte)
{
	const char *how = "good";
	uint8_t data[4096], cdb[10];

	memset(data, byte, sizeof(data));
	for (unsigned i = 0; i < SPREAD && !strcmp(how, "good"); i++) {
		cdb_at(cdb, 0x2a, i);
		how = send_cdb(s, cdb, 10, SCSI_XFER_WRITE, data, sizeof(data));
	}
	return how;
}

/* w NULL: NEW everywhere. */
static const char *compare(struct session *s, const struct session *w, uint8_t old_byte,
			   uint8_t new_byte)
{
	static char text[128];
	uint8_t want[4096], cdb[10];

	for (unsigned i = 0; i < SPREAD; i++) {
		bool new_there = !w || !strcmp(w->begun[i].how, "good");
		const char *how;

		cdb_at(cdb, 0x28, i);
		how = send_cdb(s, cdb, 10, SCSI_XFER_READ, NULL, sizeof(want));
		if (strcmp(how, "good"))
			return how;
		if (w && !strcmp(w->begun[i].how, UNKNOWN))
			new_there = answer[0] == new_byte;
		memset(want, new_there ? new_byte : old_byte, sizeof(want));
		if (answer_bytes == sizeof(want) && !memcmp(answer, want, sizeof(want)))
			continue;
		snprintf(text, sizeof(text), "extent %u has %02x, not %02x%s%s", i, answer[0],
			 want[0], w ? "; its write ended " : "", w ? w->begun[i].how : "");
		return text;
	}
	return "good";
}

static const char *command(struct session *s, char **w, unsigned n)
{
	static const struct {
		const char *name;
		unsigned sa, words;
	} outs[] = {{"ignore", 6, 3}, {"reserve", 1, 4}, {"release", 2, 4},
		    {"clear", 3, 3},  {"preempt", 4, 5}, {"abort", 5, 5}};
	uint8_t list[1024] = {0};
	unsigned bytes = 28;

	if (!strcmp(w[1], "keys"))
		return keys(s, w + 2, n - 2);
	if (!strcmp(w[1], "begin") && n == 3)
		return begin_writes(s, (uint8_t)number(w[2]));
	if (!strcmp(w[1], "ended") && n == 2)
		return writes_ended(s);
	if (!strcmp(w[1], "fill") && n == 3)
		return fill(s, (uint8_t)number(w[2]));
	if (!strcmp(w[1], "shows") && n == 3)
		return compare(s, NULL, 0, (uint8_t)number(w[2]));
	if (!strcmp(w[1], "agrees") && n == 5 && find(w[2]))
		return compare(s, find(w[2]), (uint8_t)number(w[3]), (uint8_t)number(w[4]));
	if (!strcmp(w[1], "holder") && n >= 3)
		return holder(s, w[2], n > 3 ? w[3] : "0");
	if (!strcmp(w[1], "full") && n == 3)
		return full(s, (unsigned)number(w[2]));
	if (!strcmp(w[1], "caps")) {
		const char *how = pr_in(s, 2);

		return strcmp(how, "good") || !memcmp(answer, "\0\10\15\221\352\1", 6) ? how
										       : "other";
	}
	if (!strcmp(w[1], "register") && n >= 4) {
		for (unsigned i = 4; i < n; i++) {
			if (!strcmp(w[i], "all")) {
				list[20] |= 4;
				continue;
			}
			list[20] |= 8;
			bytes += transport_id(list + bytes, w[i]);
		}
		put(list + 24, bytes - 28, 4);
		return pr_out(s, 0, 0, number(w[2]), number(w[3]), list, list[20] & 8 ? bytes : 24);
	}
	if (!strcmp(w[1], "move") && n >= 6) {
		list[17] = n > 6 ? 2 : 0;
		put(list + 18, number(w[5]), 2);
		bytes = transport_id(list + 24, w[4]);
		put(list + 20, bytes, 4);
		return pr_out(s, 7, 0, number(w[2]), number(w[3]), list, 24 + bytes);
	}
	for (unsigned i = 0; i < sizeof(outs) / sizeof(outs[0]); i++)
		if (!strcmp(w[1], outs[i].name) && n == outs[i].words)
			return pr_out(s, outs[i].sa, n > 3 ? number(w[3]) : 0,
				      outs[i].sa == 6 ? 0 : number(w[2]),
				      outs[i].sa == 6 ? number(w[2])
				      : n > 4	      ? number(w[4])
						      : 0,
				      list, 24);
	if (n != 2)
		die("wrong number of words", NULL);
	return medium(s, w[1]);
}

static void run_line(char *text)
{
	char *want = strstr(text, " = "), *w[WORDS_MAX], *save = NULL;
	const char *how = "lost";
	struct session *s;
	unsigned n = 0;
	long end, busy_end = now_ms() + SOON_MS;

	if (!strncmp(text, "run ", 4)) {
		pid_t pid = fork();
		int rc;

		if (!pid) {
			execl("/bin/sh", "sh", "-c", text + 4, (char *)NULL);
			_exit(127);
		}
		while (waitpid(pid, &rc, WNOHANG) == 0)
			pump(20);
		if (rc)
			die("the command failed", NULL);
		return;
	}
	if (want) {
		*want = 0;
		want += 3;
	}
	for (char *t = strtok_r(text, " ", &save); t && n < WORDS_MAX;
	     t = strtok_r(NULL, " ", &save))
		w[n++] = t;
	if (!n || w[0][0] == '#')
		return;
	if (!strcmp(w[0], "open")) {
		open_session(w, n);
		return;
	}
	if (!strcmp(w[0], "wait") && n == 2) {
		pause_ms(strtol(w[1], NULL, 10));
		return;
	}
	s = find(strcmp(w[0], "close") ? w[0] : n > 1 ? w[1] : "");
	if (!s || n < 2)
		die("no such session", w[0]);
	if (!strcmp(w[0], "close")) {
		close_session(s);
		return;
	}
	end = now_ms() + (want && !strncmp(want, "soon:", 5) ? SOON_MS : 0);
	if (want && !strncmp(want, "soon:", 5))
		want += 5;
	for (;;) {
		how = command(s, w, n);
		if (!strcmp(how, want ? want : "good"))
			return;
		if (now_ms() >= (strcmp(how, "busy") ? end : busy_end))
			break;
		pause_ms(100);
		if (s->lost) {
			iscsi_destroy_context(s->c);
			log_in(s);
		}
	}
	die("ends", how);
}

int main(void)
{
	char text[512];

	while (fgets(text, sizeof(text), stdin)) {
		line_no++;
		text[strcspn(text, "\n")] = 0;
		snprintf(line_text, sizeof(line_text), "%s", text);
		run_line(text);
	}
	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		if (all[i].c)
			close_session(&all[i]);
	printf("%u lines\n", line_no);
	return 0;
}
