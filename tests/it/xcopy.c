// SPDX-License-Identifier: GPL-2.0-only
/*
 * EXTENDED COPY between two LUNs of one target (tests/it/xcopy.sh).
 *
 *   xcopy fill URL MIB           random blocks, a third of them zeros
 *   xcopy copy FROM TO SEE MIB   the first MIB of FROM to TO, by commands of several
 *                                segments sent to FROM; compared through SEE
 *   xcopy shifted FROM TO SEE    the same by odd numbers of blocks
 *   xcopy stranger FROM OTHER    a LUN of another target cannot be named
 *   xcopy reserved FROM TO       another initiator has reserved TO: refused, unchanged
 *   xcopy abort FROM TO SEE MIB  ABORT TASK in the middle: nothing changes after its answer
 *   xcopy preempt FROM TO SEE MIB  the same by PREEMPT AND ABORT of TO, through SEE
 *   xcopy start FROM TO MIB      copies until TO cannot be reached any more
 */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEG_BLOCKS 32768u /* 16 MiB */
#define SEGS	   8u
#define IO_BLOCKS  2048u

struct lun {
	struct iscsi_context *c;
	int lun;
	uint8_t name[16]; /* NAA */
};

static int fails(const char *what)
{
	fprintf(stderr, "xcopy: %s\n", what);
	return 1;
}

/* A command to its end; NULL: the connection is gone. */
static struct scsi_task *command(const struct lun *l, const uint8_t *cdb, int dir, void *data,
				 int bytes)
{
	for (int i = 0;; i++) {
		struct scsi_task *t = calloc(1, sizeof(*t));
		struct iscsi_data out = {.size = (size_t)bytes, .data = data};

		memcpy(t->cdb, cdb, 16);
		t->cdb_size = cdb[0] < 0x20 ? 6 : cdb[0] < 0x60 ? 10 : 16;
		t->xfer_dir = bytes ? dir : SCSI_XFER_NONE;
		t->expxferlen = bytes;
		t = iscsi_scsi_command_sync(l->c, l->lun, t, dir == SCSI_XFER_WRITE ? &out : NULL);
		if (!t || i == 100 ||
		    !(t->status == SCSI_STATUS_BUSY || (t->status == SCSI_STATUS_CHECK_CONDITION &&
							t->sense.key == SCSI_SENSE_UNIT_ATTENTION)))
			return t;
		scsi_free_scsi_task(t);
		usleep(50000);
	}
}

static bool good(struct scsi_task *t)
{
	bool ok = t && t->status == SCSI_STATUS_GOOD;

	if (t && !ok)
		fprintf(stderr, "xcopy: opcode %02x: status %x, key %x, asc %04x\n", t->cdb[0],
			t->status, t->sense.key, t->sense.ascq);
	if (t)
		scsi_free_scsi_task(t);
	return ok;
}

static struct lun session(const char *text, const char *name)
{
	struct lun l = {iscsi_create_context(name), 0, {0}};
	struct iscsi_url *url = iscsi_parse_full_url(l.c, text);
	uint8_t cdb[16] = {0x12, 1, 0x83, 1, 0};
	struct scsi_task *t;

	if (!url)
		exit(fails("not an iscsi:// URL"));
	iscsi_set_session_type(l.c, ISCSI_SESSION_NORMAL);
	iscsi_set_targetname(l.c, url->target);
	iscsi_set_timeout(l.c, 60);
	if (iscsi_full_connect_sync(l.c, url->portal, url->lun))
		exit(fails(iscsi_get_error(l.c)));
	l.lun = url->lun;
	iscsi_destroy_url(url);
	t = command(&l, cdb, SCSI_XFER_READ, NULL, 256);
	if (!t || t->status || t->datain.size < 24 || (t->datain.data[5] & 15) != 3)
		exit(fails("no NAA designator comes first"));
	memcpy(l.name, t->datain.data + 8, 16);
	scsi_free_scsi_task(t);
	return l;
}
#define SESSION(url) session(url, "iqn.2011-06.org.vmstore:xcopy")

static void be(uint8_t *p, int bytes, uint64_t v)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static bool io(const struct lun *l, bool write, uint64_t lba, uint32_t n, uint8_t *buf)
{
	uint8_t cdb[16] = {write ? 0x8a : 0x88};
	struct scsi_task *t;

	be(cdb + 2, 8, lba);
	be(cdb + 10, 4, n);
	t = command(l, cdb, write ? SCSI_XFER_WRITE : SCSI_XFER_READ, buf, (int)(n * 512));
	if (!write && t && !t->status)
		memcpy(buf, t->datain.data, n * 512u);
	return good(t);
}

/* One EXTENDED COPY: ns segments of n blocks each, one behind the other. */
static unsigned make_list(uint8_t *p, uint8_t id, const struct lun *from, const struct lun *to,
			  uint64_t from_lba, uint64_t to_lba, uint32_t n, unsigned ns)
{
	const struct lun *l[2] = {from, to};

	memset(p, 0, 16 + 64 + 28 * SEGS);
	p[0] = id;
	be(p + 2, 2, 64);
	be(p + 8, 4, 28 * ns);
	for (int i = 0; i < 2; i++) {
		uint8_t *d = p + 16 + 32 * i;

		d[0] = 0xe4;
		d[4] = 1;
		d[5] = 3;
		d[7] = 16;
		memcpy(d + 8, l[i]->name, 16);
		be(d + 29, 3, 512);
	}
	for (unsigned i = 0; i < ns; i++) {
		uint8_t *d = p + 80 + 28 * i;

		d[0] = 2;
		d[3] = 24;
		d[7] = 1;
		be(d + 10, 2, n);
		be(d + 12, 8, from_lba + (uint64_t)i * n);
		be(d + 20, 8, to_lba + (uint64_t)i * n);
	}
	return 80 + 28 * ns;
}

static struct scsi_task *xcopy(const struct lun *at, uint8_t *list, unsigned len)
{
	uint8_t cdb[16] = {0x83};

	be(cdb + 10, 4, len);
	return command(at, cdb, SCSI_XFER_WRITE, list, (int)len);
}

static int fill(const char *url, unsigned mib)
{
	struct lun l = SESSION(url);
	uint8_t *buf = malloc(IO_BLOCKS * 512);
	uint64_t r = 88172645463325252ull;

	for (uint64_t lba = 0; lba < mib * 2048ull; lba += IO_BLOCKS) {
		for (unsigned i = 0; i < IO_BLOCKS * 64; i++) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			((uint64_t *)buf)[i] = r;
		}
		for (unsigned c = 0; c < IO_BLOCKS / 8; c++)
			if ((lba / 8 + c) / 5 % 3 == 1)
				memset(buf + 4096 * c, 0, 4096);
		if (!io(&l, true, lba, IO_BLOCKS, buf))
			return 1;
	}
	return 0;
}

static int compare(const struct lun *from, const struct lun *see, uint64_t from_lba,
		   uint64_t see_lba, uint64_t n)
{
	uint8_t *a = malloc(IO_BLOCKS * 512), *b = malloc(IO_BLOCKS * 512);

	for (uint64_t at = 0; at < n; at += IO_BLOCKS) {
		uint32_t k = n - at < IO_BLOCKS ? (uint32_t)(n - at) : IO_BLOCKS;

		if (!io(from, false, from_lba + at, k, a) || !io(see, false, see_lba + at, k, b))
			return 1;
		if (memcmp(a, b, k * 512u))
			return fails("the copy is not what was copied");
	}
	free(a);
	free(b);
	return 0;
}

static int status_of(const struct lun *at, uint8_t id, uint64_t bytes)
{
	uint8_t cdb[16] = {0x84, 0, id};
	struct scsi_task *t;
	const uint8_t *d;
	int rc = 0;

	be(cdb + 10, 4, 64);
	t = command(at, cdb, SCSI_XFER_READ, NULL, 64);
	if (!t || t->status || t->datain.size != 12)
		return fails("RECEIVE COPY STATUS fails");
	d = t->datain.data;
	if (d[4] != 1 || d[7] || (uint64_t)(d[8] << 24 | d[9] << 16 | d[10] << 8 | d[11]) != bytes)
		rc = fails("RECEIVE COPY STATUS tells something else");
	scsi_free_scsi_task(t);
	return rc;
}

static int copy(char **url, unsigned mib)
{
	struct lun from = SESSION(url[0]), to = SESSION(url[1]), see = SESSION(url[2]);
	uint8_t list[16 + 64 + 28 * SEGS];
	uint64_t left = mib * 2048ull, at = 0;

	while (left) {
		uint32_t n = left < SEG_BLOCKS ? (uint32_t)left : SEG_BLOCKS;
		unsigned ns = left / n < SEGS ? (unsigned)(left / n) : SEGS;
		unsigned len = make_list(list, 5, &from, &to, at, at, n, ns);

		if (!good(xcopy(&from, list, len)) || status_of(&from, 5, (uint64_t)n * ns * 512))
			return 1;
		at += (uint64_t)n * ns;
		left -= (uint64_t)n * ns;
	}
	return compare(&from, &see, 0, 0, at);
}

static int shifted(char **url)
{
	static const uint64_t t[][3] = {
		{3, 1001, 9000}, {8190, 16387, 20000}, {0, 5, 1}, {40, 8, 8191}};
	struct lun from = SESSION(url[0]), to = SESSION(url[1]), see = SESSION(url[2]);
	uint8_t list[16 + 64 + 28 * SEGS];

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unsigned len = make_list(list, 6, &from, &to, t[i][0], t[i][1], (uint32_t)t[i][2],
					 1);

		if (!good(xcopy(&from, list, len)) ||
		    compare(&from, &see, t[i][0], t[i][1], t[i][2]))
			return 1;
	}
	return 0;
}

/* COPY ABORTED with that code. */
static int is_aborted(struct scsi_task *t, int asc)
{
	bool ok = t && t->status == SCSI_STATUS_CHECK_CONDITION &&
		  t->sense.key == SCSI_SENSE_COPY_ABORTED && t->sense.ascq == asc;

	if (!ok && t)
		fprintf(stderr, "xcopy: status %x, key %x, asc %04x\n", t->status, t->sense.key,
			t->sense.ascq);
	if (t)
		scsi_free_scsi_task(t);
	return ok ? 0 : fails("it is not refused as it should be");
}

static int stranger(char **url)
{
	struct lun from = SESSION(url[0]), other = SESSION(url[1]);
	uint8_t list[16 + 64 + 28 * SEGS];
	unsigned len = make_list(list, 7, &from, &other, 0, 0, 100, 1);

	return is_aborted(xcopy(&from, list, len), 0x0d02);
}

static bool pr_out(const struct lun *l, uint8_t action, uint8_t type, uint64_t key, uint64_t new)
{
	uint8_t cdb[16] = {0x5f, action, type, 0, 0, 0, 0, 0, 24}, p[24] = {0};

	be(p, 8, key);
	be(p + 8, 8, new);
	return good(command(l, cdb, SCSI_XFER_WRITE, p, 24));
}

static int reserved(char **url)
{
	struct lun from = SESSION(url[0]), to = SESSION(url[1]);
	struct lun holder = session(url[1], "iqn.2011-06.org.vmstore:holder");
	uint8_t list[16 + 64 + 28 * SEGS], was[512], is[512];
	unsigned len = make_list(list, 8, &from, &to, 0, 0, 100, 1);
	int rc;

	memset(was, 0x77, sizeof(was));
	if (!io(&holder, true, 7, 1, was) || !pr_out(&holder, 0, 0, 0, 1) ||
	    !pr_out(&holder, 1, 1, 1, 0))
		return fails("cannot reserve");
	rc = is_aborted(xcopy(&from, list, len), 0x0d01);
	if (!rc && (!io(&holder, false, 7, 1, is) || memcmp(was, is, 512)))
		rc = fails("a reserved LUN was written");
	if (!pr_out(&holder, 3, 0, 1, 0))
		return 1;
	return rc || !good(xcopy(&from, list, len));
}

/* ---- abort ---- */

static bool ended, answered;
static int answer;

static void task_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
	ended = true;
}

static void tmf_cb(struct iscsi_context *c, int status, void *data, void *arg)
{
	answered = true;
	answer = status ? -1 : (int)*(uint32_t *)data;
}

static void serve(const struct lun *l, int ms)
{
	struct pollfd p = {.fd = iscsi_get_fd(l->c), .events = (short)iscsi_which_events(l->c)};

	if (poll(&p, 1, ms) > 0 && iscsi_service(l->c, p.revents))
		exit(fails(iscsi_get_error(l->c)));
}

/* ABORT TASK of t; true when it is answered as it should be. */
static bool abort_task(const struct lun *from, struct scsi_task *t)
{
	if (iscsi_task_mgmt_abort_task_async(from->c, t, tmf_cb, NULL))
		return false;
	while (!answered)
		serve(from, 100);
	return answer == 0 || answer == 1;
}

/* Both hosts are registered; the holder takes the other one out, commands and all. */
static bool preempt(const struct lun *holder, const struct lun *victim, bool begin)
{
	uint8_t cdb[16] = {0x5f, 5, 5, 0, 0, 0, 0, 0, 24}, p[24] = {0};

	if (begin)
		return pr_out(holder, 0, 0, 0, 1) && pr_out(victim, 0, 0, 0, 2) &&
		       pr_out(holder, 1, 5, 1, 0);
	be(p, 8, 1);
	be(p + 8, 8, 2);
	return good(command(holder, cdb, SCSI_XFER_WRITE, p, 24));
}

static int end_in_the_middle(char **url, unsigned mib, bool by_preempt)
{
	struct lun from = SESSION(url[0]), to = SESSION(url[1]);
	struct lun see = session(url[2], by_preempt ? "iqn.2011-06.org.vmstore:holder"
						    : "iqn.2011-06.org.vmstore:xcopy");
	/* TO as the session knows it that copies: registrations are of its nexus */
	struct lun victim = {from.c, to.lun, {0}};
	uint8_t list[16 + 64 + 28 * SEGS], *now, *later;
	unsigned ns = mib * 2048 / SEG_BLOCKS < SEGS ? mib * 2048 / SEG_BLOCKS : SEGS;
	unsigned len = make_list(list, 9, &from, &to, 0, 0, SEG_BLOCKS, ns), changed = 0;
	struct iscsi_data out = {.size = len, .data = list};
	struct scsi_task *t = calloc(1, sizeof(*t));
	uint64_t blocks = (uint64_t)ns * SEG_BLOCKS;

	now = malloc(blocks * 512);
	later = malloc(blocks * 512);
	memset(now, 0xee, IO_BLOCKS * 512);
	for (uint64_t at = 0; at < blocks; at += IO_BLOCKS)
		if (!io(&to, true, at, IO_BLOCKS, now))
			return 1;
	t->cdb[0] = 0x83;
	be(t->cdb + 10, 4, len);
	t->cdb_size = 16;
	t->xfer_dir = SCSI_XFER_WRITE;
	t->expxferlen = (int)len;
	if (by_preempt && !preempt(&see, &victim, true))
		return fails("cannot reserve");
	if (iscsi_scsi_command_async(from.c, from.lun, t, task_cb, &out, NULL))
		return 1;
	for (int i = 0; i < 10 && !ended; i++)
		serve(&from, 1);
	if (ended) {
		printf("xcopy: it was faster than its abort\n");
		return !by_preempt || preempt(&see, &victim, false) ? 0 : 1;
	}
	if (by_preempt ? !preempt(&see, &victim, false) : !abort_task(&from, t))
		return fails("it cannot be ended");
	/* from here on nothing of it may come */
	for (int pass = 0; pass < 2; pass++) {
		for (uint64_t at = 0; at < blocks; at += IO_BLOCKS)
			if (!io(&see, false, at, IO_BLOCKS, (pass ? later : now) + at * 512))
				return 1;
		if (!pass)
			usleep(500000);
	}
	if (memcmp(now, later, blocks * 512))
		return fails("blocks were written after the abort was answered");
	for (uint64_t at = 0; at < blocks; at += 8)
		changed += now[at * 512 + 5] != 0xee;
	printf("xcopy: ended when %u of %u chunks were written\n", changed, (unsigned)(blocks / 8));
	return by_preempt && !pr_out(&see, 3, 0, 1, 0);
}

static int start(char **url, unsigned mib)
{
	struct lun from = SESSION(url[0]), to = SESSION(url[1]);
	uint8_t list[16 + 64 + 28 * SEGS];
	uint32_t n = mib * 2048 / SEGS;
	unsigned len = make_list(list, 3, &from, &to, 0, 0, n, SEGS);

	printf("xcopy: ready\n");
	fflush(stdout);
	for (;;) {
		struct scsi_task *t = xcopy(&from, list, len);
		int status = t ? t->status : -1, key = t ? (int)t->sense.key : 0,
		    asc = t ? t->sense.ascq : 0;

		if (t)
			scsi_free_scsi_task(t);
		if (status == SCSI_STATUS_GOOD || status == SCSI_STATUS_BUSY)
			continue;
		/* it was ended, or cannot be named any more */
		if (status == SCSI_STATUS_CHECK_CONDITION && key == SCSI_SENSE_COPY_ABORTED &&
		    asc == 0x0d02)
			return 0;
		if (status == SCSI_STATUS_TASK_ABORTED ||
		    (status == SCSI_STATUS_CHECK_CONDITION && key == SCSI_SENSE_COPY_ABORTED))
			continue;
		fprintf(stderr, "xcopy: status %x, key %x, asc %04x\n", status, key, asc);
		return 1;
	}
}

int main(int argc, char **argv)
{
	char **a = argv + 2;

	if (argc == 4 && !strcmp(argv[1], "fill"))
		return fill(a[0], (unsigned)atoi(a[1]));
	if (argc == 6 && !strcmp(argv[1], "copy"))
		return copy(a, (unsigned)atoi(a[3]));
	if (argc == 5 && !strcmp(argv[1], "shifted"))
		return shifted(a);
	if (argc == 4 && !strcmp(argv[1], "stranger"))
		return stranger(a);
	if (argc == 4 && !strcmp(argv[1], "reserved"))
		return reserved(a);
	if (argc == 6 && !strcmp(argv[1], "abort"))
		return end_in_the_middle(a, (unsigned)atoi(a[3]), false);
	if (argc == 6 && !strcmp(argv[1], "preempt"))
		return end_in_the_middle(a, (unsigned)atoi(a[3]), true);
	if (argc == 5 && !strcmp(argv[1], "start"))
		return start(a, (unsigned)atoi(a[2]));
	fprintf(stderr, "usage: xcopy fill|copy|shifted|stranger|reserved|abort|preempt|start …\n");
	return 2;
}
