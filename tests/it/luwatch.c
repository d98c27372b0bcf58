// SPDX-License-Identifier: GPL-2.0-only
/*
 * What initiators see of a change of their LUN: two sessions at each URL log in, get rid
 * of their unit attentions, a command is run that changes the LUN, and then, at once,
 * each session must be told exactly what is expected, once, and see the LUN as it is now.
 *
 *   luwatch [--expect ASC[,ASC...]] [--bytes N] [--wp 0|1] [--block LBA:BYTE] URL... -- COMMAND...
 *
 * --expect: additional sense codes and qualifiers of unit attentions, in hex (2a09)
 * --bytes:  READ CAPACITY(16)      --wp: write-protected in MODE SENSE
 * --block:  what a block holds, in each byte; with --wp 0 it is written again as well
 * --fill:   LBA:BYTE, written first
 * COMMAND may be missing: only the look. Exit code 0, or 1 with the reason.
 */
#include <getopt.h>
#include <inttypes.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SESSIONS_MAX 16
#define TELL_MAX     16

struct session {
	struct iscsi_context *ctx;
	const char *url;
	int lun, nr;
	unsigned told[TELL_MAX], ntold;
};
static struct session ses[SESSIONS_MAX];
static unsigned nses, expect[TELL_MAX], nexpect;
static int bad;

static void wrong(const struct session *s, const char *what)
{
	printf("luwatch: session %d at %s: %s\n", s->nr, s->url, what);
	bad = 1;
}

static void login(struct session *s, const char *url, int nr)
{
	char name[64];
	struct iscsi_url *u;

	snprintf(name, sizeof(name), "iqn.2011-06.org.vmstore:luwatch%d", nr);
	s->url = url;
	s->nr = nr;
	s->ctx = iscsi_create_context(name);
	u = s->ctx ? iscsi_parse_full_url(s->ctx, url) : NULL;
	if (!u) {
		printf("luwatch: %s: not an iscsi:// URL\n", url);
		exit(2);
	}
	s->lun = u->lun;
	iscsi_set_targetname(s->ctx, u->target);
	iscsi_set_session_type(s->ctx, ISCSI_SESSION_NORMAL);
	if (iscsi_full_connect_sync(s->ctx, u->portal, u->lun)) {
		printf("luwatch: %s: %s\n", url, iscsi_get_error(s->ctx));
		exit(1);
	}
	iscsi_destroy_url(u);
}

/* Keeps what the answer says of a change. True: ask again. */
static bool attention(struct session *s, const struct scsi_task *t)
{
	if (t->status == SCSI_STATUS_BUSY) {
		usleep(20000);
		return true;
	}
	if (t->status != SCSI_STATUS_CHECK_CONDITION || t->sense.key != SCSI_SENSE_UNIT_ATTENTION)
		return false;
	if (s->ntold < TELL_MAX)
		s->told[s->ntold++] = (unsigned)t->sense.ascq;
	return true;
}

static struct scsi_task *need(struct session *s, struct scsi_task *t)
{
	if (!t) {
		wrong(s, iscsi_get_error(s->ctx));
		exit(1);
	}
	return t;
}

/* Until TEST UNIT READY ends GOOD n times in a row. */
static void settle(struct session *s, int n)
{
	for (int good = 0, i = 0; good < n && i < 50; i++) {
		struct scsi_task *t = need(s, iscsi_testunitready_sync(s->ctx, s->lun));

		good = t->status == SCSI_STATUS_GOOD ? good + 1 : 0;
		if (!attention(s, t) && t->status != SCSI_STATUS_GOOD)
			wrong(s, "TEST UNIT READY fails");
		scsi_free_scsi_task(t);
	}
}

static void check_bytes(struct session *s, uint64_t want)
{
	struct scsi_task *t;
	struct scsi_readcapacity16 *rc;
	char text[128];

	while (attention(s, t = need(s, iscsi_readcapacity16_sync(s->ctx, s->lun))))
		scsi_free_scsi_task(t);
	rc = t->status ? NULL : scsi_datain_unmarshall(t);
	if (!rc || (rc->returned_lba + 1) * rc->block_length != want) {
		snprintf(text, sizeof(text), "READ CAPACITY says %" PRIu64 " bytes, not %" PRIu64,
			 rc ? (rc->returned_lba + 1) * rc->block_length : 0, want);
		wrong(s, text);
	}
	scsi_free_scsi_task(t);
}

static void check_wp(struct session *s, int want)
{
	struct scsi_task *t;

	while (attention(s, t = need(s, iscsi_modesense6_sync(s->ctx, s->lun, 0, 0, 0x3f, 0, 255))))
		scsi_free_scsi_task(t);
	if (t->status || t->datain.size < 4 || t->datain.data[2] >> 7 != want)
		wrong(s, want ? "MODE SENSE does not say write-protected"
			      : "MODE SENSE says write-protected");
	scsi_free_scsi_task(t);
}

static void write_block(struct session *s, uint32_t lba, int byte, int wp)
{
	struct scsi_task *t;
	uint8_t buf[512];

	memset(buf, byte, sizeof(buf));
	while (attention(s, t = need(s, iscsi_write10_sync(s->ctx, s->lun, lba, buf, 512, 512, 0, 0,
							   0, 0, 0))))
		scsi_free_scsi_task(t);
	if (wp ? t->sense.key != SCSI_SENSE_DATA_PROTECTION : t->status != SCSI_STATUS_GOOD)
		wrong(s, wp ? "a write does not end DATA PROTECT" : "a write fails");
	scsi_free_scsi_task(t);
}

static void check_block(struct session *s, uint32_t lba, int byte, int wp)
{
	struct scsi_task *t;
	char text[96];

	while (attention(
		s, t = need(s, iscsi_read10_sync(s->ctx, s->lun, lba, 512, 512, 0, 0, 0, 0, 0))))
		scsi_free_scsi_task(t);
	for (int i = 0; i < 512; i++)
		if (t->status || t->datain.size != 512 || t->datain.data[i] != byte) {
			snprintf(text, sizeof(text), "block %u: status %x, byte %x instead of %x",
				 lba, t->status, t->datain.size == 512 ? t->datain.data[i] : 0,
				 byte);
			wrong(s, text);
			break;
		}
	scsi_free_scsi_task(t);
	if (wp >= 0)
		write_block(s, lba, byte, wp);
}

static void check_told(struct session *s)
{
	char text[256] = "is told:";

	for (unsigned i = 0; i < s->ntold; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %04x", s->told[i]);
	if (s->ntold != nexpect)
		wrong(s, text);
	for (unsigned k = 0; k < nexpect; k++) {
		unsigned n = 0;

		for (unsigned i = 0; i < s->ntold; i++)
			n += s->told[i] == expect[k];
		if (n != 1) {
			wrong(s, text);
			return;
		}
	}
}

/* The command ends; meanwhile every session answers the gateway's pings, or it would be closed
 * for its silence and find all that it is told gone with it. One that is lost is wrong. */
static int run(char **command)
{
	struct pollfd p[SESSIONS_MAX];
	int status = 0;
	pid_t pid, got;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		execvp(command[0], command);
		_exit(127);
	}
	while (!(got = waitpid(pid, &status, WNOHANG))) {
		for (unsigned i = 0; i < nses; i++)
			p[i] = (struct pollfd){.fd = iscsi_get_fd(ses[i].ctx),
					       .events = (short)iscsi_which_events(ses[i].ctx)};
		if (poll(p, nses, 20) <= 0)
			continue;
		for (unsigned i = 0; i < nses; i++)
			if (p[i].revents && iscsi_service(ses[i].ctx, p[i].revents))
				wrong(&ses[i], "is lost while the command runs");
		if (bad) { /* the command ends by itself: nothing of it goes on after us */
			got = waitpid(pid, &status, 0);
			break;
		}
	}
	return got == pid ? status : -1;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {{"expect", 1, NULL, 'e'}, {"bytes", 1, NULL, 'b'},
					     {"wp", 1, NULL, 'w'},     {"block", 1, NULL, 'k'},
					     {"fill", 1, NULL, 'f'},   {NULL, 0, NULL, 0}};
	uint64_t bytes = 0;
	uint32_t lba = 0, fill = UINT32_MAX;
	int c, wp = -1, byte = -1, status = 0;

	while ((c = getopt_long(argc, argv, "+", opts, NULL)) >= 0) {
		if (c == 'e')
			for (char *p = strtok(optarg, ","); p && nexpect < TELL_MAX;
			     p = strtok(NULL, ","))
				expect[nexpect++] = (unsigned)strtoul(p, NULL, 16);
		else if (c == 'b')
			bytes = strtoull(optarg, NULL, 10);
		else if (c == 'w')
			wp = atoi(optarg);
		else if (c == 'f' && sscanf(optarg, "%u:%x", &lba, &fill) == 2)
			wp = 0;
		else if (c != 'k' || sscanf(optarg, "%u:%x", &lba, (unsigned *)&byte) != 2)
			return 2;
	}
	for (; optind < argc && strcmp(argv[optind], "--"); optind++)
		for (int i = 0; i < 2 && nses < SESSIONS_MAX; i++) {
			login(&ses[nses], argv[optind], (int)nses + 1);
			settle(&ses[nses], 2);
			ses[nses++].ntold = 0;
		}
	if (!nses)
		return 2;
	if (fill != UINT32_MAX)
		write_block(&ses[0], lba, (int)fill, 0);
	if (optind + 1 < argc) {
		status = run(argv + optind + 1);
		if (status) {
			printf("luwatch: the command failed, status %x\n", status);
			return 1;
		}
		if (bad)
			return 1;
	}
	for (unsigned i = 0; i < nses; i++) {
		if (bytes)
			check_bytes(&ses[i], bytes);
		if (wp >= 0)
			check_wp(&ses[i], wp);
		if (byte >= 0)
			check_block(&ses[i], lba, byte, wp);
	}
	for (unsigned i = 0; i < nses; i++) {
		settle(&ses[i], 3);
		check_told(&ses[i]);
		iscsi_logout_sync(ses[i].ctx);
		iscsi_destroy_context(ses[i].ctx);
	}
	return bad;
}
