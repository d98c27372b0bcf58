// SPDX-License-Identifier: GPL-2.0-only
/*
 * One LUN seen through two gateways (tests/it/scsi_paths.sh).
 *
 *   two_paths identity URL URL    what must be equal is, what must differ does: INQUIRY,
 *                                 every VPD page, capacity, REPORT TARGET PORT GROUPS
 *   two_paths atomic URL URL N    each gateway writes N times with WRITE ATOMIC(16) over
 *                                 the same 128 KiB while others read it through both: a
 *                                 mixture is never seen
 *   two_paths reset URL URL N     LOGICAL UNIT RESET N times through the first while the
 *                                 second is busy: each is answered, and told there once
 *   two_paths halves URL URL N    the same with two WRITEs for each half: exits 0 if a
 *                                 mixture was seen, so that the test is worth something
 */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS	    256u
#define BYTES	    (BLOCKS * 512u)
#define PLACES	    3
#define REPEATS_MAX 600

/* the first and the last place of an extent, and one over two pages of the index */
static const uint64_t place[PLACES] = {0, 8192 - BLOCKS, 1024 - BLOCKS / 2};

struct path {
	struct iscsi_context *c;
	int lun;
};

struct shared {
	volatile int writers;
	volatile unsigned mixed, reads, failed;
};

static struct path session(const char *text, const char *name)
{
	struct iscsi_context *c;
	struct iscsi_url *url;
	struct path p;
	char iqn[64];

	snprintf(iqn, sizeof(iqn), "iqn.2011-06.org.vmstore:%s", name);
	c = iscsi_create_context(iqn);
	url = c ? iscsi_parse_full_url(c, text) : NULL;
	if (!url) {
		fprintf(stderr, "two_paths: %s: not an iscsi:// URL\n", text);
		exit(2);
	}
	iscsi_set_session_type(c, ISCSI_SESSION_NORMAL);
	iscsi_set_targetname(c, url->target);
	iscsi_set_timeout(c, 60);
	if (iscsi_full_connect_sync(c, url->portal, url->lun)) {
		fprintf(stderr, "two_paths: %s: %s\n", text, iscsi_get_error(c));
		exit(1);
	}
	p = (struct path){c, url->lun};
	iscsi_destroy_url(url);
	return p;
}

/* A command with data in either direction; what initiators repeat is repeated. Returns
 * the task, whose status is GOOD, or NULL when it ended otherwise. */
static struct scsi_task *command(const struct path *p, const uint8_t *cdb, int cdb_bytes, int dir,
				 uint8_t *data, int bytes)
{
	for (int i = 0; i < REPEATS_MAX; i++) {
		struct scsi_task *t = calloc(1, sizeof(*t));
		struct iscsi_data out = {.size = (size_t)bytes, .data = data};
		int status;

		if (!t)
			exit(1);
		memcpy(t->cdb, cdb, (size_t)cdb_bytes);
		t->cdb_size = cdb_bytes;
		t->xfer_dir = dir;
		t->expxferlen = bytes;
		t = iscsi_scsi_command_sync(p->c, p->lun, t, dir == SCSI_XFER_WRITE ? &out : NULL);
		status = t ? t->status : -1;
		if (status == SCSI_STATUS_GOOD)
			return t;
		if (status != SCSI_STATUS_BUSY && status != SCSI_STATUS_TASK_SET_FULL &&
		    !(status == SCSI_STATUS_CHECK_CONDITION &&
		      (t->sense.key == SCSI_SENSE_UNIT_ATTENTION ||
		       t->sense.key == SCSI_SENSE_COMMAND_ABORTED))) {
			fprintf(stderr, "two_paths: opcode %02x: status %x, %s\n", cdb[0], status,
				iscsi_get_error(p->c));
			if (t)
				scsi_free_scsi_task(t);
			return NULL;
		}
		scsi_free_scsi_task(t);
		usleep(50000);
	}
	fprintf(stderr, "two_paths: opcode %02x: given up\n", cdb[0]);
	return NULL;
}

/* ---- identity ---- */

static struct scsi_task *ask(const struct path *p, uint8_t op, uint8_t b1, uint8_t page)
{
	uint8_t cdb[16] = {op, b1};
	int len = 12;

	switch (op) {
	case 0x12:
		cdb[2] = page;
		cdb[3] = 4;
		len = 6;
		break;
	case 0x9e:
		cdb[13] = 32;
		len = 16;
		break;
	default:
		cdb[8] = 4;
	}
	return command(p, cdb, len, SCSI_XFER_READ, NULL, op == 0x9e ? 32 : 1024);
}

static int fails(const char *what, unsigned page)
{
	fprintf(stderr, "two_paths: %s (page %02x)\n", what, page);
	return 1;
}

/* Designators of one page 83: equal but for those of association 1, which differ. */
static int page_83(const uint8_t *a, const uint8_t *b, int n)
{
	unsigned types = 0, port = 0;

	for (int at = 4; at < n; at += 4 + a[at + 3]) {
		bool differ = memcmp(a + at, b + at, 4u + a[at + 3]);
		bool of_port = (a[at + 1] >> 4 & 3) == 1;

		if (differ != of_port)
			return fails(of_port ? "a port's designator is the same on both"
					     : "a designator of the LUN differs",
				     0x83);
		*(of_port ? &port : &types) |= 1u << (a[at + 1] & 15);
	}
	if ((types & (1u << 3 | 1u << 8)) != (1u << 3 | 1u << 8) ||
	    port != (1u << 4 | 1u << 5 | 1u << 8))
		return fails("a designator is missing", 0x83);
	return 0;
}

static unsigned designator(const uint8_t *p, int n, int type)
{
	for (int at = 4; at < n; at += 4 + p[at + 3])
		if (p[at + 1] >> 4 == 9 && (p[at + 1] & 15) == type)
			return (unsigned)p[at + 6] << 8 | p[at + 7];
	return 0;
}

static int identity(const char *const url[2])
{
	struct path p[2] = {session(url[0], "id0"), session(url[1], "id1")};
	struct scsi_task *list = ask(&p[0], 0x12, 1, 0), *t[2];
	unsigned port[2] = {0, 0}, seen = 0;

	if (!list)
		return 1;
	for (int i = 3; i < list->datain.size; i++) {
		uint8_t page = i == 3 ? 0 : list->datain.data[i];

		for (int k = 0; k < 2; k++)
			if (!(t[k] = ask(&p[k], 0x12, 1, page)))
				return 1;
		if (t[0]->datain.size != t[1]->datain.size)
			return fails("the page has two lengths", page);
		if (page == 0x83) {
			if (page_83(t[0]->datain.data, t[1]->datain.data, t[0]->datain.size))
				return 1;
			for (int k = 0; k < 2; k++) {
				port[k] = designator(t[k]->datain.data, t[k]->datain.size, 4);
				if (port[k] != designator(t[k]->datain.data, t[k]->datain.size, 5))
					return fails("port and group have two numbers", page);
			}
		} else if (memcmp(t[0]->datain.data, t[1]->datain.data,
				  (size_t)t[0]->datain.size)) {
			return fails("the page differs", page);
		}
		scsi_free_scsi_task(t[0]);
		scsi_free_scsi_task(t[1]);
	}
	scsi_free_scsi_task(list);
	static const uint8_t other[3][2] = {{0x12, 0}, {0x9e, 0x10}, {0xa3, 0x0a}};

	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 2; k++)
			if (!(t[k] = ask(&p[k], other[i][0], other[i][1], 0)))
				return 1;
		if (t[0]->datain.size != t[1]->datain.size ||
		    memcmp(t[0]->datain.data, t[1]->datain.data, (size_t)t[0]->datain.size))
			return fails("an answer differs", other[i][0]);
		if (other[i][0] == 0x12 && (t[0]->datain.data[5] & 0x30) != 0x10)
			return fails("TPGS is not 01b", 0);
		if (other[i][0] == 0xa3)
			for (int at = 4; at + 12 <= t[0]->datain.size; at += 12) {
				const uint8_t *d = t[0]->datain.data + at;
				unsigned id = (unsigned)d[10] << 8 | d[11];

				if (d[0] & 15)
					return fails("a port is not active/optimized", 0);
				seen += id == port[0] || id == port[1];
			}
		scsi_free_scsi_task(t[0]);
		scsi_free_scsi_task(t[1]);
	}
	if (seen != 2)
		return fails("REPORT TARGET PORT GROUPS does not tell both ports", 0);
	printf("two_paths: equal but for ports %u and %u\n", port[0], port[1]);
	return 0;
}

/* ---- writes of 128 KiB ---- */

static bool mixed(const uint8_t *p)
{
	return memcmp(p, p + 8, BYTES - 8);
}

static int write_at(const struct path *p, bool halves, uint64_t lba, uint8_t *buf)
{
	for (unsigned part = 0; part < (halves ? 2 : 1); part++) {
		uint32_t n = halves ? BLOCKS / 2 : BLOCKS;
		uint8_t cdb[16] = {halves ? 0x8a : 0x9c};
		struct scsi_task *t;

		for (int i = 0; i < 8; i++)
			cdb[2 + i] = (uint8_t)((lba + part * n) >> (56 - 8 * i));
		cdb[12] = (uint8_t)(n >> 8);
		cdb[13] = (uint8_t)n;
		t = command(p, cdb, 16, SCSI_XFER_WRITE, buf + part * n * 512u, (int)(n * 512u));
		if (!t)
			return 1;
		scsi_free_scsi_task(t);
	}
	return 0;
}

static int writer(const char *url, unsigned number, bool halves, unsigned n)
{
	struct path p = session(url, number ? "writer1" : "writer0");
	uint64_t word = (uint64_t)(number + 1) << 56;
	uint64_t *buf = malloc(BYTES);

	if (!buf)
		return 1;
	for (unsigned i = 0; i < n; i++) {
		word++;
		for (unsigned k = 0; k < BYTES / 8; k++)
			buf[k] = word;
		if (write_at(&p, halves, place[i % PLACES], (uint8_t *)buf))
			return 1;
	}
	return 0;
}

static int reader(const char *url, unsigned number, struct shared *s)
{
	struct path p = session(url, number ? "reader1" : "reader0");

	for (unsigned i = 0; s->writers; i++) {
		uint8_t cdb[16] = {0x88};
		uint64_t lba = place[i % PLACES];
		struct scsi_task *t;

		for (int k = 0; k < 8; k++)
			cdb[2 + k] = (uint8_t)(lba >> (56 - 8 * k));
		cdb[12] = (uint8_t)(BLOCKS >> 8);
		t = command(&p, cdb, 16, SCSI_XFER_READ, NULL, BYTES);
		if (!t || t->datain.size != (int)BYTES)
			return 1;
		__sync_fetch_and_add(&s->reads, 1);
		if (mixed(t->datain.data))
			__sync_fetch_and_add(&s->mixed, 1);
		scsi_free_scsi_task(t);
	}
	return 0;
}

static int race(const char *const url[2], bool halves, unsigned n)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct path p = session(url[0], "first");
	uint8_t *zero = calloc(1, BYTES);
	int status;

	if (s == MAP_FAILED || !zero)
		return 1;
	for (int i = 0; i < PLACES; i++)
		if (write_at(&p, true, place[i], zero))
			return 1;
	s->writers = 2;
	for (unsigned i = 0; i < 4; i++)
		if (!fork()) {
			int rc = i < 2 ? writer(url[i], i, halves, n)
				       : reader(url[i - 2], i - 2, s);

			if (rc)
				__sync_fetch_and_add(&s->failed, 1);
			if (i < 2)
				__sync_fetch_and_sub(&s->writers, 1);
			_exit(rc);
		}
	while (wait(&status) > 0)
		;
	printf("two_paths: %u writes, %u reads, %u of them a mixture\n", 2 * n, s->reads, s->mixed);
	if (s->failed)
		return fails("a command failed", 0);
	return halves ? !s->mixed : s->mixed != 0 || s->reads < n / 4;
}

/* ---- resets ---- */

struct busy {
	struct path p;
	unsigned inflight, good, aborted, told, others;
	uint8_t *data;
	uint64_t lba;
	bool stop;
};

static void busy_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
	struct scsi_task *t = data;
	struct busy *b = arg;

	b->inflight--;
	if (status == SCSI_STATUS_GOOD)
		b->good++;
	else if (status == SCSI_STATUS_TASK_ABORTED)
		b->aborted++;
	else if (status == SCSI_STATUS_CHECK_CONDITION &&
		 t->sense.key == SCSI_SENSE_UNIT_ATTENTION && t->sense.ascq == 0x2903)
		b->told++;
	else if (status != SCSI_STATUS_BUSY && status != SCSI_STATUS_TASK_SET_FULL)
		b->others++;
	scsi_free_scsi_task(t);
}

static void busy_turn(struct busy *b, int ms)
{
	struct pollfd f = {.fd = iscsi_get_fd(b->p.c)};

	while (!b->stop && b->inflight < 16) {
		if (!iscsi_write16_task(b->p.c, b->p.lun, b->lba, b->data, BYTES, 512, 0, 0, 0, 0,
					0, busy_cb, b))
			exit(fails("a write cannot be sent", 0));
		b->lba = (b->lba + BLOCKS) % (64 * BLOCKS);
		b->inflight++;
	}
	f.events = (short)iscsi_which_events(b->p.c);
	if (poll(&f, 1, ms) > 0 && iscsi_service(b->p.c, f.revents))
		exit(fails(iscsi_get_error(b->p.c), 0));
}

static bool reset_answered;
static int reset_answer;

static void reset_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
	reset_answered = true;
	reset_answer = status ? -1 : (int)*(uint32_t *)data;
}

static int resets(const char *const url[2], unsigned n)
{
	struct path p = session(url[0], "resets");
	struct busy b = {.p = session(url[1], "busy"), .data = calloc(1, BYTES)};

	for (unsigned i = 0; i < n; i++) {
		unsigned told = b.told;

		for (unsigned k = 0; k < 20; k++)
			busy_turn(&b, 5);
		told = b.told;
		reset_answered = false;
		if (iscsi_task_mgmt_lun_reset_async(p.c, p.lun, reset_cb, NULL))
			return fails("a reset cannot be sent", 0);
		for (unsigned k = 0; k < 6000 && !reset_answered; k++) {
			struct pollfd f = {.fd = iscsi_get_fd(p.c),
					   .events = (short)iscsi_which_events(p.c)};

			busy_turn(&b, 5);
			if (poll(&f, 1, 0) > 0 && iscsi_service(p.c, f.revents))
				return fails(iscsi_get_error(p.c), 0);
		}
		if (!reset_answered || reset_answer)
			return fails("a reset is not answered FUNCTION COMPLETE", 0);
		/* what is sent from here on hears of it, unless one before has */
		for (unsigned k = 0; k < 2000 && b.told == told; k++)
			busy_turn(&b, 5);
		if (b.told != told + 1)
			return fails("the other gateway's nexus was not told once", 0);
	}
	b.stop = true;
	for (unsigned k = 0; k < 6000 && b.inflight; k++)
		busy_turn(&b, 5);
	printf("two_paths: %u resets; at the other gateway %u writes GOOD, %u TASK ABORTED, %u "
	       "told\n",
	       n, b.good, b.aborted, b.told);
	if (b.inflight || b.others || b.told != n || !b.good)
		return fails("commands are lost, fail otherwise, or hear of it twice", 0);
	return 0;
}

int main(int argc, char **argv)
{
	const char *const *url = (const char *const *)argv + 2;

	if (argc == 4 && !strcmp(argv[1], "identity"))
		return identity(url);
	if (argc == 5 && !strcmp(argv[1], "atomic"))
		return race(url, false, (unsigned)atoi(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "reset"))
		return resets(url, (unsigned)atoi(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "halves"))
		return race(url, true, (unsigned)atoi(argv[4]));
	fprintf(stderr, "usage: two_paths identity|atomic|reset|halves URL URL [N]\n");
	return 2;
}
